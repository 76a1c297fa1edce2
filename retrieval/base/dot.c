/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debian compiles for processors of 2003.  The fast versions are compiled beside, and chosen when the library is loaded.
 */
#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base.h"
#include "dot.h"

static float floats_plain(const float *a, const float *b, size_t n)
{
        float sum[8] = { 0 };
        size_t i = 0;

        for (; i + 8 <= n; i += 8)
                for (size_t k = 0; k < 8; k++)
                        sum[k] += a[i + k] * b[i + k];
        for (; i < n; i++)
                sum[0] += a[i] * b[i];
        return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static int32_t bytes_plain(const int8_t *a, const int8_t *b, size_t n)
{
        int32_t sum = 0;

        for (size_t i = 0; i < n; i++)
                sum += a[i] * b[i];
        return sum;
}

static void rows_plain(const int16_t *q, const int8_t *row, size_t n_rows, size_t n, int32_t *ret)
{
        for (size_t r = 0; r < n_rows; r++, row += n) {
                int32_t sum = 0;

                for (size_t i = 0; i < n; i++)
                        sum += q[i] * row[i];
                ret[r] = sum;
        }
}

static float (*floats)(const float *a, const float *b, size_t n) = floats_plain;
static int32_t (*bytes)(const int8_t *a, const int8_t *b, size_t n) = bytes_plain;
static void (*many)(const int16_t *q, const int8_t *row, size_t n_rows, size_t n, int32_t *ret) = rows_plain;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float floats_avx2(const float *a, const float *b, size_t n)
{
        __m256 x = _mm256_setzero_ps(), y = x, z = x, w = x;
        float lane[8], rest = 0;
        size_t i = 0;

        for (; i + 32 <= n; i += 32) {
                x = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), x);
                y = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), y);
                z = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), z);
                w = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), w);
        }
        for (; i + 8 <= n; i += 8)
                x = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), x);
        for (; i < n; i++)
                rest += a[i] * b[i];
        _mm256_storeu_ps(lane, _mm256_add_ps(_mm256_add_ps(x, y), _mm256_add_ps(z, w)));
        return rest + ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

__attribute__((target("avx2"))) static int32_t bytes_avx2(const int8_t *a, const int8_t *b, size_t n)
{
        __m256i x = _mm256_setzero_si256(), y = x;
        int32_t lane[8], sum = 0;
        size_t i = 0;

        for (; i + 32 <= n; i += 32) {
                __m256i p = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(a + i)));
                __m256i q = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(b + i)));
                __m256i r = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(a + i + 16)));
                __m256i s = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(b + i + 16)));

                x = _mm256_add_epi32(x, _mm256_madd_epi16(p, q));
                y = _mm256_add_epi32(y, _mm256_madd_epi16(r, s));
        }
        for (; i < n; i++)
                sum += a[i] * b[i];
        _mm256_storeu_si256((__m256i *)(void *)lane, _mm256_add_epi32(x, y));
        for (size_t k = 0; k < 8; k++)
                sum += lane[k];
        return sum;
}

__attribute__((target("avx2"))) static inline int32_t sum_of(__m256i x)
{
        __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));

        y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
        y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1));
        return _mm_cvtsi128_si32(y);
}

__attribute__((target("avx2"))) static void rows_avx2(const int16_t *q, const int8_t *row, size_t n_rows, size_t n, int32_t *ret)
{
        for (size_t r = 0; r < n_rows; r++, row += n) {
                __m256i x = _mm256_setzero_si256(), y = x;
                int32_t sum = 0;
                size_t i = 0;

                for (; i + 32 <= n; i += 32) {
                        __m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(row + i)));
                        __m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(row + i + 16)));

                        x = _mm256_add_epi32(x, _mm256_madd_epi16(a, _mm256_loadu_si256((const __m256i *)(const void *)(q + i))));
                        y = _mm256_add_epi32(y, _mm256_madd_epi16(b, _mm256_loadu_si256((const __m256i *)(const void *)(q + i + 16))));
                }
                for (; i < n; i++)
                        sum += q[i] * row[i];
                ret[r] = sum + sum_of(_mm256_add_epi32(x, y));
        }
}

__attribute__((constructor)) static void choose(void)
{
        __builtin_cpu_init();
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
                return;
        floats = floats_avx2;
        bytes = bytes_avx2;
        many = rows_avx2;
}
#endif

float dot_floats(const float *a, const float *b, size_t n)
{
        return floats(a, b, n);
}

int32_t dot_bytes(const int8_t *a, const int8_t *b, size_t n)
{
        return bytes(a, b, n);
}

void dot_rows(const int16_t *q, const int8_t *rows, size_t n_rows, size_t n, int32_t *ret)
{
        many(q, rows, n_rows, n, ret);
}

float dot_quantise(const float *v, size_t n, int8_t *ret)
{
        float largest = 0;

        for (size_t i = 0; i < n; i++)
                largest = fmaxf(largest, fabsf(v[i]));
        if (!(largest > 0)) {
                memset(ret, 0, n);
                return 0;
        }
        for (size_t i = 0; i < n; i++)
                ret[i] = (int8_t)lrintf(v[i] * (127 / largest));
        return largest / 127;
}

float dot_normalise(float *v, size_t n)
{
        float square = dot_floats(v, v, n), length = sqrtf(square);

        if (!(length > 1e-20f))
                return 0;
        for (size_t i = 0; i < n; i++)
                v[i] /= length;
        return length;
}

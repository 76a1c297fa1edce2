/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers are read as digits with a fraction, in units of a thousandth of a millisecond, and rounded up: a client that is told to
 * wait 1.5 ms must not come back after one.
 */
#include "header_times.h"

#include <curl/curl.h>

#include "base.h"

#define DAY_MS INT64_C(86400000)

static struct pm_str header(const struct h1_header *headers, size_t n, const char *name)
{
        return h1_header(&(struct h1_head){ .headers = headers, .n_headers = n }, name);
}

/* "1", "1.5", ".5" at the start of s, in thousandths; moves s on.  False: no number, or beyond all sense. */
static bool take_number(struct pm_str *s, int64_t *ret)
{
        int64_t v = 0, scale = 1000;
        size_t i = 0, digits = 0;
        bool rest = false;

        for (; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++, digits++) {
                v = v * 10 + (s->p[i] - '0');
                if (v > DAY_MS * 1000)
                        v = DAY_MS * 1000; /* further digits change nothing */
        }
        v *= 1000;
        if (i < s->n && s->p[i] == '.')
                for (i++; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++, digits++) {
                        scale /= 10;
                        v += (s->p[i] - '0') * scale;
                        rest = rest || (scale == 0 && s->p[i] != '0');
                }
        if (digits == 0)
                return false;
        *ret = v + rest;
        s->p += i;
        s->n -= i;
        return true;
}

/* Thousandths of a unit into milliseconds, rounded up, at most a day. */
static int64_t in_ms(int64_t thousandths, int64_t unit_us)
{
        double us = (double)thousandths * (double)unit_us / 1000;

        if (us >= (double)DAY_MS * 1000)
                return DAY_MS;
        return ((int64_t)us + ((double)(int64_t)us < us) + 999) / 1000;
}

static bool read_number(struct pm_str s, int64_t unit_us, int64_t *ret_ms)
{
        int64_t v;

        if (!take_number(&s, &v) || s.n)
                return false;
        *ret_ms = in_ms(v, unit_us);
        return true;
}

static bool take_unit(struct pm_str *s, int64_t *ret_us)
{
        static const struct {
                const char *name;
                int64_t us;
        } units[] = { { "ms", 1000 }, { "us", 1 }, { "s", 1000000 }, { "m", 60000000 }, { "h", INT64_C(3600000000) }, { "d", INT64_C(86400000000) } };

        for (size_t i = 0; i < LENGTH_OF(units); i++) {
                size_t n = strlen(units[i].name);

                if (s->n >= n && memcmp(s->p, units[i].name, n) == 0) {
                        *ret_us = units[i].us;
                        s->p += n;
                        s->n -= n;
                        return true;
                }
        }
        return false;
}

/* "6m0s", "1h2m3.5s", "12ms"; a number alone is seconds. */
static bool read_duration(struct pm_str s, int64_t *ret_ms)
{
        int64_t total = 0, v, unit;

        if (s.n == 0)
                return false;
        if (read_number(s, 1000000, ret_ms))
                return true;
        while (s.n) {
                if (!take_number(&s, &v) || !take_unit(&s, &unit))
                        return false;
                total = MIN(total + in_ms(v, unit), DAY_MS);
        }
        *ret_ms = total;
        return true;
}

static bool read_date(struct pm_str s, int64_t *ret_s)
{
        char text[64];
        time_t t;

        if (s.n < 10 || s.n >= sizeof text)
                return false;
        memcpy(text, s.p, s.n);
        text[s.n] = 0;
        t = curl_getdate(text, NULL);
        if (t == (time_t)-1)
                return false;
        *ret_s = (int64_t)t;
        return true;
}

static int64_t rate_limit_reset(const struct h1_header *headers, size_t n)
{
        static const char *const names[][2] = { { "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests" },
                                                { "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens" } };
        int64_t used_up = -1, any = -1, v;

        for (size_t i = 0; i < LENGTH_OF(names); i++) {
                struct pm_str left = header(headers, n, names[i][1]);

                if (!read_duration(header(headers, n, names[i][0]), &v))
                        continue;
                any = MAX(any, v);
                if (left.n == 0 || (left.n == 1 && left.p[0] == '0'))
                        used_up = MAX(used_up, v);
        }
        return used_up >= 0 ? used_up : any;
}

int64_t header_retry_ms(const struct h1_header *headers, size_t n, bool rate_limited, int64_t wall_s)
{
        struct pm_str after = header(headers, n, "retry-after");
        int64_t v;

        if (read_number(header(headers, n, "retry-after-ms"), 1000, &v) || read_number(after, 1000000, &v))
                return v;
        if (read_date(after, &v)) {
                (void)read_date(header(headers, n, "date"), &wall_s);
                return MIN(MAX(v - wall_s, 0), DAY_MS / 1000) * 1000;
        }
        return rate_limited ? rate_limit_reset(headers, n) : -1;
}

int64_t header_patience_ms(const struct h1_head *head)
{
        static const struct {
                const char *name;
                int64_t unit_us;
        } limits[] = { { "x-stainless-read-timeout", 1000000 }, { "x-stainless-timeout", 1000000 }, { "x-request-timeout-ms", 1000 } };
        int64_t least = 0, v;

        for (size_t k = 0; k < head->n_headers; k++) { /* one walk: nearly no client sends any */
                const struct h1_header *h = &head->headers[k];

                if (h->name.n < sizeof "x-stainless-timeout" - 1 || (h->name.p[0] | 0x20) != 'x')
                        continue;
                for (size_t i = 0; i < LENGTH_OF(limits); i++)
                        if (h->name.n == strlen(limits[i].name) && strncasecmp(h->name.p, limits[i].name, h->name.n) == 0 &&
                            read_number(h->value, limits[i].unit_us, &v) && v > 0)
                                least = least ? MIN(least, v) : v;
        }
        return least;
}

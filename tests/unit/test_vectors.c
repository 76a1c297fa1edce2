/* SPDX-License-Identifier: Apache-2.0 */
/* Files of vectors: ours there and back, NumPy's, and what is refused. */
#include <criterion/criterion.h>
#include <math.h>

#include "base.h"
#include "npy.h"
#include "vectors.h"

static char why[256];

static struct id_map *three(void)
{
        struct id_map *x;
        uint32_t n;

        cr_assert_eq(id_map_create(&x), 0);
        cr_assert_eq(id_map_add(x, "ann", 3, &n), 0);
        cr_assert_eq(id_map_add(x, "bob", 3, &n), 0);
        cr_assert_eq(id_map_add(x, "c\xc3\xa9line", 7, &n), 0);
        return x;
}

Test(vectors, there_and_back)
{
        char file[] = "/tmp/test-vectors-XXXXXX";
        float v[] = { 1, 2, 3, 4, 5, 6 };
        struct id_map *names = three();
        struct vectors_side side = { id_map_view(names), v }, none = { .row = NULL };
        struct vectors got;
        const char *meta[] = { "method", "test", NULL };

        (void)close(mkstemp(file));
        cr_assert_eq(vectors_write(file, &none, &side, 2, meta, why, sizeof why), 0, "%s", why);
        cr_assert_eq(vectors_open(file, &got, why, sizeof why), 0, "%s", why);
        cr_assert_eq(got.dim, 2);
        cr_assert_eq(got.users.names.n, 0);
        cr_assert_eq(got.items.names.n, 3);
        cr_assert_eq(id_map_find(&got.items.names, "c\xc3\xa9line", 7), 2);
        cr_assert_float_eq((double)got.items.row[5], 6, 0);
        cr_assert_str_eq(tensors_meta(got.file, "method"), "test");
        vectors_close(&got);
        v[3] = NAN;
        cr_assert_eq(vectors_write(file, &side, &side, 2, NULL, why, sizeof why), 0, "%s", why);
        cr_assert_eq(vectors_open(file, &got, why, sizeof why), -EINVAL);
        cr_assert_str_eq(why, "'item.vector': row 1, column 1 is not a finite number");
        cr_assert_eq(truncate(file, 300), 0);
        cr_assert_eq(vectors_open(file, &got, why, sizeof why), -EINVAL);
        id_map_destroy(names);
        (void)unlink(file);
}

/* A .npy file as NumPy writes it. */
static size_t npy_make(char *to, unsigned version, const char *dictionary, const void *data, size_t n)
{
        size_t length = strlen(dictionary), begin = version == 1 ? 10 : 12;

        memcpy(to, "\x93NUMPY", 6);
        to[6] = (char)version;
        to[7] = 0;
        to[8] = (char)(length & 255);
        to[9] = (char)(length >> 8);
        if (version > 1)
                to[10] = to[11] = 0;
        memcpy(to + begin, dictionary, length);
        memcpy(to + begin + length, data, n);
        return begin + length + n;
}

Test(vectors, numpy_files)
{
        static const struct {
                const char *dictionary;
                size_t bytes, rows, cols;
                const char *says; /* NULL: good */
        } cases[] = {
                { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n", 24, 3, 2, NULL },
                { "{'shape': (6,), 'fortran_order': False, 'descr': '<f4'}\n", 24, 6, 1, NULL },
                { "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }\n", 24, 1, 3, NULL },
                { "{'descr': '<f2', 'fortran_order': False, 'shape': (4, 3), }\n", 24, 4, 3, NULL },
                { "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), }\n", 24, 0, 0, "its numbers are '<i4', 'fort, '<f2'" },
                { "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }\n", 24, 0, 0, "Fortran" },
                { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1), }\n", 24, 0, 0, "more than two dimensions" },
                { "{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", 24, 0, 0, "neither (rows, columns)" },
                { "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }\n", 24, 0, 0, "3 x 3 numbers of 4 bytes" },
                { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }\n", 24, 0, 0, "larger than memory" },
                { "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }\n", 0, 0, 0, "promised" },
                { "{'descr': '<f4', 'fortran_order': False}\n", 24, 0, 0, "no 'shape'" },
                { "", 24, 0, 0, "its numbers are nothing" },
        };
        const float data[6] = { 1, 2, 3, 4, 5, 6 };

        for (size_t i = 0; i < LENGTH_OF(cases); i++)
                for (unsigned version = 1; version <= 3; version++) {
                        char bytes[512];
                        size_t n = npy_make(bytes, version, cases[i].dictionary, data, cases[i].bytes);
                        struct npy x;
                        int r = npy_parse(bytes, n, &x, why, sizeof why);

                        cr_assert_eq(r, cases[i].says ? -EINVAL : 0, "%zu: %s", i, why);
                        if (cases[i].says) {
                                cr_assert(strstr(why, cases[i].says), "%zu: %s", i, why);
                                continue;
                        }
                        cr_assert_eq(x.rows, cases[i].rows);
                        cr_assert_eq(x.cols, cases[i].cols);
                        for (size_t cut = 0; cut < n; cut++)
                                cr_assert_eq(npy_parse(bytes, cut, &x, why, sizeof why), -EINVAL, "%zu bytes of %zu", cut, n);
                }
}

Test(vectors, half_precision_and_what_is_not_finite)
{
        char file[] = "/tmp/test-vectors-XXXXXX.npy", bytes[512];
        const uint16_t halves[4] = { 0x3c00, 0xc000, 0x0001, 0x3555 }, bad[4] = { 0x3c00, 0x3c00, 0x7c00, 0 };
        const char *dictionary = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }\n";
        int fd = mkstemps(file, 4);
        size_t n = npy_make(bytes, 1, dictionary, halves, 8), rows, cols;
        float *v;

        cr_assert_eq(write(fd, bytes, n), (ssize_t)n);
        cr_assert_eq(vectors_import(file, NULL, &v, &rows, &cols, why, sizeof why), 0, "%s", why);
        cr_assert_float_eq((double)v[0], 1, 0);
        cr_assert_float_eq((double)v[1], -2, 0);
        cr_assert_float_eq((double)v[2], 5.9604644775390625e-8, 0);
        cr_assert_float_eq((double)v[3], 0.333251953125, 0);
        free(v);
        n = npy_make(bytes, 1, dictionary, bad, 8);
        cr_assert_eq(pwrite(fd, bytes, n, 0), (ssize_t)n);
        cr_assert_eq(vectors_import(file, NULL, &v, &rows, &cols, why, sizeof why), -EINVAL);
        cr_assert_str_eq(why, "row 1, column 0 is not a finite number");
        (void)close(fd);
        (void)unlink(file);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format: "\x93NUMPY", a version, the header's length, a Python dictionary of three entries in any order, the numbers.
 */
#include "base.h"
#include "error.h"
#include "npy.h"

/* What stands behind 'key': in the header, or NULL. */
static const char *value_of(const char *header, const char *key)
{
        char quoted[32];
        const char *at;

        (void)snprintf(quoted, sizeof quoted, "'%s':", key);
        at = strstr(header, quoted);
        if (!at)
                return NULL;
        at += strlen(quoted);
        return at + strspn(at, " ");
}

static int read_shape(const char *at, struct npy *ret, char *why, size_t why_size)
{
        unsigned long long side[2] = { 1, 1 };
        size_t n = 0;
        char *end;

        if (!at || *at != '(')
                return set_error(why, why_size, "its header has no 'shape'");
        at++;
        while (*at >= '0' && *at <= '9') {
                if (n == 2)
                        return set_error(why, why_size, "it has more than two dimensions: a matrix was expected");
                errno = 0;
                side[n++] = strtoull(at, &end, 10);
                if (errno)
                        return set_error(why, why_size, "its shape is larger than memory");
                at = end + strspn(end, ", ");
        }
        if (*at != ')' || n == 0)
                return set_error(why, why_size, "its shape is neither (rows, columns) nor (rows,)");
        ret->rows = (size_t)side[0];
        ret->cols = (size_t)side[1];
        return 0;
}

static int read_header(const char *header, struct npy *ret, char *why, size_t why_size)
{
        const char *type = value_of(header, "descr"), *order = value_of(header, "fortran_order");

        if (!type || strncmp(type, "'<f", 3) != 0 || !strchr("248", type[3]) || type[3] == '\0' || type[4] != '\'')
                return set_error(why, why_size, "its numbers are %.12s, '<f2', '<f4' or '<f8' were expected", type ? type : "nothing");
        ret->item = (size_t)(type[3] - '0');
        if (!order || strncmp(order, "False", 5) != 0)
                return set_error(why, why_size, "it is in Fortran order: save numpy.ascontiguousarray() of it");
        return read_shape(value_of(header, "shape"), ret, why, why_size);
}

int npy_parse(const void *bytes, size_t n, struct npy *ret, char *why, size_t why_size)
{
        const unsigned char *p = bytes;
        struct npy x = { 0 };
        size_t length, begin, size;
        char header[1024];
        int r;

        if (n < 12 || memcmp(p, "\x93NUMPY", 6) != 0 || p[6] < 1 || p[6] > 3)
                return set_error(why, why_size, "not a .npy file of version 1 to 3");
        begin = p[6] == 1 ? 10 : 12;
        length = p[6] == 1 ? (size_t)p[8] | (size_t)p[9] << 8
                           : (size_t)p[8] | (size_t)p[9] << 8 | (size_t)p[10] << 16 | (size_t)p[11] << 24;
        if (length >= sizeof header)
                return set_error(why, why_size, "its header has %zu bytes, below %zu are read", length, sizeof header);
        if (length > n - begin)
                return set_error(why, why_size, "cut: its header needs %zu bytes, the file has %zu", length, n - begin);
        memcpy(header, p + begin, length);
        header[length] = '\0';
        r = read_header(header, &x, why, why_size);
        if (r < 0)
                return r;
        x.data = begin + length;
        if (__builtin_mul_overflow(x.rows, x.cols, &size) || __builtin_mul_overflow(size, x.item, &size) || size != n - x.data)
                return set_error(why, why_size, "%zu x %zu numbers of %zu bytes were promised, %zu bytes are there: cut?", x.rows, x.cols,
                                 x.item, n - x.data);
        *ret = x;
        return 0;
}

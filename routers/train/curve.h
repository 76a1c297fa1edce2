/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curve.h - lines and named points over two axes, as SVG.
 */
#ifndef PM_CURVE_H
#define PM_CURVE_H

#include <stdbool.h>
#include <stddef.h>

#define CURVE_SERIES_MAX 8

struct curve_point {
        double x, y;
        const char *name; /* written beside it; NULL: none */
};

struct curve_series {
        const char *name;
        const struct curve_point *point;
        size_t n;
        bool apart; /* dots, not joined by a line */
};

struct curve {
        const char *title, *x_name, *y_name;
        struct curve_series series[CURVE_SERIES_MAX];
        size_t n_series;
};

/* 0 or -errno.  Points that are not finite are left out; names are escaped. */
int curve_write(const struct curve *c, const char *path);
#endif

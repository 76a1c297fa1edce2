/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chart.h - grouped bars as SVG.
 */
#ifndef PM_CHART_H
#define PM_CHART_H

#include <stddef.h>

#define CHART_GROUPS_MAX 16
#define CHART_SERIES_MAX 4

struct chart_group {
        const char *name;
        double value[CHART_SERIES_MAX]; /* 0..1 */
};

struct chart {
        const char *title;
        const char *series[CHART_SERIES_MAX];
        size_t n_series;
        struct chart_group group[CHART_GROUPS_MAX];
        size_t n_groups;
};

/* 0 or -errno.  Names are the caller's own words: they are not escaped. */
int chart_write(const struct chart *c, const char *path);
#endif

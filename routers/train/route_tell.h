/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_tell.h - what `eval route` found, as a table for people, as JSON, as lines for programs, and drawn.
 */
#ifndef PM_ROUTE_TELL_H
#define PM_ROUTE_TELL_H

#include "route_frontier.h"
#include "route_measure.h"

struct route_report {
        const struct route_set *test;
        const struct route_scores *scores;
        const struct expert_facts *facts;            /* NULL: not known */
        bool elsewhere;                              /* trained on another set, without folds */
        double margin;
        struct route_figures figures[ROUTE_METHODS];
        bool noise;
        struct route_noise noisy[GARBLES][ROUTE_METHODS], noisy_margin[GARBLES][ROUTE_METHODS];
        bool pair;
        size_t strong, weak;
        struct apgr apgr[ROUTE_METHODS];
        struct route_point curve[ROUTE_METHODS][ROUTE_CURVE];
        size_t n_curve[ROUTE_METHODS];
        struct route_frontier_point frontier[ROUTE_FRONTIER_MAX];
        size_t n_frontier;
        struct route_frontier_point light[ROUTE_CURVE]; /* all loaded, fewer and fewer active */
        size_t n_light;
};

void route_tell_people(const struct route_report *r);
int route_tell_json(const struct route_report *r); /* on stdout; 0 or -ENOMEM */
/* 0, or -errno after a message. */
int route_tell_lines(const struct route_report *r, const char *path);
int route_tell_drawn(const struct route_report *r, const char *path);
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue_build_parts.h - a catalogue in the making, between catalogue_build.c, which computes it, and catalogue_write.c.
 */
#ifndef PM_CATALOGUE_BUILD_PARTS_H
#define PM_CATALOGUE_BUILD_PARTS_H

#include "catalogue_build.h"
#include "cooccurrence.h"

/* One side, in its new numbering. */
struct side {
        size_t n, dim, placed, n_cells, n_near;
        uint32_t *order;      /* [n] the old number of each new one */
        uint32_t *number;     /* [n] the new number of each old one */
        struct id_map *names;
        float *vector, *scale, *centre;
        int8_t *code;
        uint32_t *first, *near;
};

struct build {
        const struct catalogue_recipe *recipe;
        struct side items, users;
        uint32_t *count;                  /* [items] new numbering */
        uint32_t *popular;
        uint64_t *history_start;
        uint32_t *history;
        uint32_t *near_user;              /* [users][near] */
        struct sparse tagged;
        struct cooccurrence also;
        char *why;
        size_t why_size;
};

/* Tells what comes next. */
static inline void build_stage(const struct build *b, const char *what)
{
        if (b->recipe->stage)
                b->recipe->stage(b->recipe->ctx, what);
}

/* The folder's files, the manifest last.  0, or -errno; what errno does not tell is in b->why. */
int catalogue_write(const struct build *b, const char *folder);
#endif

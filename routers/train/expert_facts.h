/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert_facts.h - what experts cost: their sizes, memory, prices and hosts, from a file.
 *
 * Tab-separated, a line an expert.  The first line names the columns: "#expert" first, then any of these, in any order:
 *
 *         loaded   what it takes while it is loaded, in billions of parameters (a mixture of experts: all of them)
 *         active   what computes a token, in billions of parameters; where the column is missing: as loaded
 *         memory   GiB that it takes on its host
 *         price    USD per million tokens, or whatever a prompt costs there: only means of it are taken
 *         host     where it lies; "-": on any
 *
 *         #expert	loaded	active	price
 *         mixtral-8x7b	46.7	12.9	0.6
 *         phi-3-mini	3.8	3.8	-
 *
 * "-" is a number that is not known.  Lines that begin with "# " are comments.
 */
#ifndef PM_EXPERT_FACTS_H
#define PM_EXPERT_FACTS_H

#include <stddef.h>

enum expert_fact { FACT_LOADED, FACT_ACTIVE, FACT_MEMORY, FACT_PRICE, EXPERT_FACTS };

#define EXPERT_FACTS_HELP "what experts cost: a line '#expert' and some of loaded, active (billions of parameters), memory (GiB), price, host; then a line an expert"

struct expert_facts {
        size_t n;                      /* as many as were asked for, in that order */
        double *value[EXPERT_FACTS];   /* [n]; NAN: not known; NULL: no such column */
        char **host;                   /* [n]; NULL: on any */
};

extern const char *const expert_fact_names[EXPERT_FACTS];

/* The facts of those experts.  0, or -errno after a message on stderr: an expert without a line is one. */
int expert_facts_read(const char *path, char *const *experts, size_t n, struct expert_facts *ret);
/* 0, or -EINVAL after a message: of some expert it is not known. */
int expert_facts_need(const struct expert_facts *f, enum expert_fact which, const char *path, char *const *experts, const char *for_what);
void expert_facts_finish(struct expert_facts *f);
#endif

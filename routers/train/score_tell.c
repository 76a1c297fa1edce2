/* SPDX-License-Identifier: Apache-2.0 */
#include "score_tell.h"

#include <math.h>

#include "apgr.h"
#include "base.h"

int score_read(const struct jsonl_source *in, const char *outcomes, const char *experts, struct jsonl_rows *rows, struct outcomes *table, float **target)
{
        size_t matched = 0;
        int r = jsonl_read(in, rows);

        if (r == 0)
                r = outcomes_read(outcomes, experts, table);
        if (r < 0)
                return r;
        *target = calloc(rows->n * table->n_experts + 1, sizeof **target);
        if (!*target)
                return -ENOMEM;
        for (size_t i = 0; i < rows->n; i++) {
                const float *row = outcomes_find(table, rows->list[i].id);

                matched += row != NULL;
                for (size_t k = 0; k < table->n_experts; k++)
                        (*target)[i * table->n_experts + k] = row ? row[k] : NAN;
        }
        if (matched == 0) {
                (void)fprintf(stderr, "no id of %s is in %s: is --id %s the right field?\n", in->path, outcomes, in->id);
                return -EINVAL;
        }
        if (matched < rows->n)
                (void)fprintf(stderr, "%zu of %zu prompts have no outcomes\n", rows->n - matched, rows->n);
        return 0;
}

int score_read_parents(const struct jsonl_source *in, const char *parent, const struct jsonl_rows *rows, size_t **ret, size_t *ret_n)
{
        struct jsonl_source again = *in;
        struct jsonl_rows of;
        int r;

        again.label = parent;
        r = jsonl_read(&again, &of);
        if (r < 0)
                return r;
        *ret = calloc(rows->n_labels + 1, sizeof **ret);
        for (size_t c = 0; *ret && c < rows->n_labels; c++)
                (*ret)[c] = SIZE_MAX;
        r = *ret ? 0 : -ENOMEM;
        if (r == 0 && of.n != rows->n) {
                (void)fprintf(stderr, "%s: %zu lines have '%s', %zu have '%s'\n", in->path, of.n, parent, rows->n, in->label);
                r = -EINVAL;
        }
        for (size_t i = 0; r == 0 && i < of.n; i++) {
                size_t *to = *ret + rows->list[i].label;

                if (*to == SIZE_MAX)
                        *to = of.list[i].label;
                if (*to != of.list[i].label) {
                        (void)fprintf(stderr, "%s: '%s' is of '%s' and of '%s'\n", in->path, rows->labels[rows->list[i].label], of.labels[*to],
                                      of.labels[of.list[i].label]);
                        r = -EINVAL;
                }
        }
        *ret_n = of.n_labels;
        jsonl_finish(&of);
        return r;
}

/* Are all of a prompt's outcomes known, and does each way say something of it? */
static bool whole(const float *target, size_t at, size_t experts, const struct score_choices *ways, size_t n_ways)
{
        for (size_t k = 0; k < experts; k++)
                if (isnan(target[at + k]))
                        return false;
        for (size_t w = 0; w < n_ways; w++)
                if (isnan(ways[w].score[at]))
                        return false;
        return true;
}

static size_t best_of(const float *score, size_t experts)
{
        size_t best = 0;

        for (size_t k = 1; k < experts; k++)
                if (score[k] > score[best])
                        best = k;
        return best;
}

/* Of two experts, the one with the better mean being the strong one: how much of the gap between them each way regains. */
static int tell_pairs(const float *target, size_t n, const struct score_choices *ways, size_t n_ways, bool json)
{
        CLEANUP(free_p) double *rank = calloc(3 * n + 1, sizeof *rank);
        double *high = rank + n, *low = high + n, ahead = 0;

        if (!rank)
                return -ENOMEM;
        if (!json)
                (void)printf("\nshare of the gap that is regained (APGR), and of strong calls for 20, 50 and 80 %% of it\n");
        for (size_t i = 0; i < n; i++)
                if (whole(target, 2 * i, 2, ways, n_ways))
                        ahead += (double)target[2 * i + 1] - (double)target[2 * i];
        for (size_t w = 0; w < n_ways; w++) {
                size_t strong = ahead > 0, m = 0;
                struct apgr a;
                int r;

                for (size_t i = 0; i < n; i++)
                        if (whole(target, 2 * i, 2, ways, n_ways)) {
                                rank[m] = (double)ways[w].score[2 * i + strong] - (double)ways[w].score[2 * i + !strong];
                                high[m] = (double)target[2 * i + strong];
                                low[m++] = (double)target[2 * i + !strong];
                        }
                r = apgr_measure(rank, high, low, m, 0, 0, &a);
                if (r == -ENOMEM)
                        return r;
                if (r == 0)
                        (void)printf(json ? ", \"APGR of %s\": [%.4f, %.3f, %.3f, %.3f]" : "  %-19s %.4f, strong calls %.3f %.3f %.3f\n", ways[w].name, a.apgr,
                                     a.calls[0], a.calls[1], a.calls[2]);
        }
        return 0;
}

int score_tell(const float *target, size_t n, size_t experts, struct score_choices *ways, size_t n_ways, bool json)
{
        double chance = 0, oracle = 0;
        size_t known = 0;
        int r;

        for (size_t w = 0; w < n_ways; w++)
                ways[w].earned = 0;
        for (size_t i = 0; i < n; i++) {
                const float *y = target + i * experts;

                if (!whole(target, i * experts, experts, ways, n_ways))
                        continue;
                known++;
                oracle += (double)y[best_of(y, experts)];
                for (size_t k = 0; k < experts; k++)
                        chance += (double)y[k] / (double)experts;
                for (size_t w = 0; w < n_ways; w++)
                        ways[w].earned += (double)y[best_of(ways[w].score + i * experts, experts)];
        }
        if (known == 0) {
                (void)fprintf(stderr, "there is no prompt of which all outcomes are known\n");
                return -ENODATA;
        }
        (void)printf(json ? "{\"prompts\": %zu, \"random\": %.4f" : "mean outcome of the chosen expert, %zu prompts\n  random              %.4f\n", known,
                     chance / (double)known);
        for (size_t w = 0; w < n_ways; w++) {
                ways[w].earned /= (double)known;
                (void)printf(json ? ", \"%s\": %.4f" : "  %-19s %.4f\n", ways[w].name, ways[w].earned);
        }
        (void)printf(json ? ", \"oracle\": %.4f" : "  oracle              %.4f\n", oracle / (double)known);
        r = experts == 2 ? tell_pairs(target, n, ways, n_ways, json) : 0;
        if (json)
                (void)puts("}");
        return r;
}

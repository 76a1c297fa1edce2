/* SPDX-License-Identifier: Apache-2.0 */
/*
 * knn QUESTIONS OUTCOMES EXPERTS K [FIELD [TEXT]]: the baseline beside the category router.  For each question the expert with the best mean
 * outcome on the K most similar questions of the other folds, or other values of FIELD (cosine of the same TF-IDF features), as "id<TAB>expert" lines.
 *
 * Lists of questions by bucket; a bucket that more than a quarter of all questions have is left out: it tells them apart little.
 */
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "ngrams.h"
#include "outcomes.h"
#include "jsonl.h"

#define BITS 17
#define BUCKETS ((size_t)1 << BITS)

struct posting {
        uint32_t *doc;
        size_t n, room;
};

struct corpus {
        struct jsonl_rows rows;    /* the label is the fold */
        struct outcomes outcomes;
        struct posting *posting;   /* [BUCKETS] */
        float *weight;             /* [BUCKETS] squared idf; 0: left out */
        float *norm;               /* [rows.n] */
};

static int add(struct posting *p, uint32_t doc)
{
        if (p->n == p->room) {
                size_t room = MAX(p->room * 2, (size_t)4);
                uint32_t *grown = realloc(p->doc, room * sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                p->doc = grown;
                p->room = room;
        }
        p->doc[p->n++] = doc;
        return 0;
}

static int gather(struct corpus *c, struct ngrams *f)
{
        for (size_t i = 0; i < c->rows.n; i++) {
                ngrams_begin(f, c->rows.list[i].text, c->rows.list[i].n, BITS, NGRAMS_TEXT_MAX);
                while (ngrams_next(f))
                        for (size_t k = 0; k < f->n; k++)
                                if (add(&c->posting[f->bucket[k]], (uint32_t)i) < 0)
                                        return -ENOMEM;
        }
        for (size_t b = 0; b < BUCKETS; b++) {
                double idf = log((1. + (double)c->rows.n) / (1. + (double)c->posting[b].n)) + 1;

                if (c->posting[b].n == 0 || c->posting[b].n > c->rows.n / 4)
                        continue;
                c->weight[b] = (float)(idf * idf);
                for (size_t k = 0; k < c->posting[b].n; k++)
                        c->norm[c->posting[b].doc[k]] += c->weight[b];
        }
        return 0;
}

/* The index of the expert that does best on the neighbours of question q. */
static size_t choose(const struct corpus *c, size_t q, size_t k, struct ngrams *f, float *score)
{
        double sum[OUTCOMES_EXPERTS_MAX] = { 0 };
        size_t best = 0;

        memset(score, 0, c->rows.n * sizeof *score);
        ngrams_begin(f, c->rows.list[q].text, c->rows.list[q].n, BITS, NGRAMS_TEXT_MAX);
        while (ngrams_next(f))
                for (size_t i = 0; i < f->n; i++) {
                        const struct posting *p = &c->posting[f->bucket[i]];
                        float w = c->weight[f->bucket[i]];

                        for (size_t d = 0; w > 0 && d < p->n; d++)
                                score[p->doc[d]] += w;
                }
        for (size_t d = 0; d < c->rows.n; d++)
                score[d] = c->rows.list[d].label == c->rows.list[q].label || c->norm[d] <= 0 ? -1 : score[d] / sqrtf(c->norm[d]);
        for (size_t i = 0; i < k; i++) {
                const float *row;
                size_t top = 0;

                for (size_t d = 1; d < c->rows.n; d++)
                        if (score[d] > score[top])
                                top = d;
                row = score[top] >= 0 ? outcomes_find(&c->outcomes, c->rows.list[top].id) : NULL;
                for (size_t e = 0; row && e < c->outcomes.n_experts; e++)
                        sum[e] += isnan(row[e]) ? 0 : (double)row[e];
                score[top] = -1;
        }
        for (size_t e = 1; e < c->outcomes.n_experts; e++)
                if (sum[e] > sum[best])
                        best = e;
        return best;
}

static int run(struct corpus *c, size_t k)
{
        CLEANUP(free_p) struct ngrams *f = malloc(sizeof *f);
        CLEANUP(free_p) float *score = calloc(c->rows.n, sizeof *score);

        c->posting = calloc(BUCKETS, sizeof *c->posting);
        c->weight = calloc(BUCKETS, sizeof *c->weight);
        c->norm = calloc(c->rows.n, sizeof *c->norm);
        if (!f || !score || !c->posting || !c->weight || !c->norm || gather(c, f) < 0)
                return -ENOMEM;
        for (size_t q = 0; q < c->rows.n; q++)
                (void)printf("%s\t%s\n", c->rows.list[q].id, c->outcomes.experts[choose(c, q, k, f, score)]);
        return 0;
}

int main(int argc, char **argv)
{
        struct corpus c = { .norm = NULL };
        struct jsonl_source in = { .text = "question,options", .label = "fold", .id = "id" };
        int r;

        if (argc < 5 || argc > 7) {
                (void)fprintf(stderr, "usage: knn QUESTIONS OUTCOMES EXPERTS K\n");
                return 2;
        }
        in.path = argv[1];
        in.label = argc > 5 ? argv[5] : in.label;
        in.text = argc > 6 ? argv[6] : in.text;
        r = jsonl_read(&in, &c.rows);
        if (r == 0)
                r = outcomes_read(argv[2], argv[3], &c.outcomes);
        if (r == 0)
                r = run(&c, (size_t)strtol(argv[4], NULL, 10));
        for (size_t b = 0; c.posting && b < BUCKETS; b++)
                free(c.posting[b].doc);
        free(c.posting);
        free(c.weight);
        free(c.norm);
        outcomes_finish(&c.outcomes);
        jsonl_finish(&c.rows);
        return r < 0;
}

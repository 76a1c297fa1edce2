/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests_index CATALOGUE FACTORY FILE: a FAISS index of a catalogue's items, for interests_bench --faiss.
 */
#include "base.h"
#include "catalogue.h"

#define SAMPLE 65536

/* On every so-manieth vector: they lie by cell, so the first ones would be all alike. */
static int train(struct index *x, const struct catalogue *c, size_t n, char *why, size_t why_size)
{
        size_t dim = c->by_interest.dim, step = MAX(n / SAMPLE, (size_t)1), taken = 0;
        CLEANUP(free_p) float *v = malloc((n / step + 1) * dim * sizeof *v);

        if (!v)
                return -ENOMEM;
        for (size_t i = 0; i < n; i += step)
                memcpy(v + taken++ * dim, c->by_interest.vector + i * dim, dim * sizeof *v);
        return index_train(x, v, taken, why, why_size);
}

int main(int argc, char **argv)
{
        struct catalogue *c = NULL;
        struct index *x = NULL;
        char why[384] = "";
        size_t n;
        int r;

        if (argc != 4) {
                (void)fprintf(stderr, "usage: interests_index CATALOGUE FACTORY FILE\n");
                return 2;
        }
        r = catalogue_open(argv[1], false, &c, why, sizeof why);
        if (r == 0) {
                n = c->by_interest.start[c->by_interest.n_cells];
                r = index_create(c->by_interest.dim, argv[2], INDEX_INNER_PRODUCT, &x, why, sizeof why);
                if (r == 0)
                        r = train(x, c, n, why, sizeof why);
                if (r == 0)
                        r = index_add(x, c->by_interest.vector, n, why, sizeof why);
                if (r == 0)
                        r = index_save(x, argv[3], why, sizeof why);
        }
        if (r < 0)
                (void)fprintf(stderr, "%s\n", why);
        index_destroy(x);
        catalogue_close(c);
        return r < 0;
}

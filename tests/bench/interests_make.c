/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests_make FOLDER ITEMS USERS [DIM]: a generated catalogue of any size, the same for the same numbers: FOLDER/edges.tsv and
 * FOLDER/vectors.safetensors.
 *
 * Topics, one for about fifty items, in groups of thirty that are alike; their sizes follow a power law.  An item's vector is its
 * topic's with noise (likeness about .6 to another of the topic); how often it is taken follows a power law within the topic.  A user
 * has one to eight topics, the first ones heavier and often of one group, takes 5 to 40 items of them, and its vector is their mean
 * with noise.
 */
#include <math.h>

#include "base.h"
#include "dot.h"
#include "noise.h"
#include "vectors.h"

struct world {
        size_t items, users, topics, dim;
        float *topic;      /* [topics][dim] */
        uint32_t *first;   /* [topics + 1] items of a topic lie one behind the other */
        float *item, *user;
        struct id_map *item_names, *user_names;
};

static double uniform(uint64_t what, uint64_t a, uint64_t b)
{
        return noise_uniform(noise_bits(what, a, b));
}

static float normal(uint64_t what, uint64_t a, uint64_t b)
{
        return (float)(sqrt(-2 * log(1 - uniform(what, a, b))) * cos(2 * M_PI * uniform(what + 1000, a, b)));
}

/* A number below n, with probability falling as 1 / (number + 3). */
static size_t zipf(double u, size_t n)
{
        return MIN((size_t)(3 * (pow((double)(n + 3) / 3, u) - 1)), n - 1);
}

static void around(float *v, size_t dim, const float *centre, double spread, uint64_t what, uint64_t a)
{
        for (size_t k = 0; k < dim; k++)
                v[k] = (centre ? centre[k] : 0) + (float)(spread / sqrt((double)dim)) * normal(what, a, k);
        (void)dot_normalise(v, dim);
}

static int make_items(struct world *w)
{
        CLEANUP(free_p) float *group = malloc((w->topics / 30 + 1) * w->dim * sizeof *group);
        CLEANUP(free_p) double *weight = malloc(w->topics * sizeof *weight);
        double total = 0, sum = 0;

        if (!group || !weight)
                return -ENOMEM;
        for (size_t g = 0; g <= w->topics / 30; g++)
                around(group + g * w->dim, w->dim, NULL, 1, 1, g);
        for (size_t t = 0; t < w->topics; t++) {
                around(w->topic + t * w->dim, w->dim, group + t / 30 * w->dim, .9, 2, t);
                total += weight[t] = pow(uniform(3, t, 0) + .01, -.7);
        }
        for (size_t t = 0; t < w->topics; t++) {
                sum += weight[t];
                w->first[t + 1] = MAX((uint32_t)((double)w->items * sum / total), w->first[t]);
        }
        w->first[w->topics] = (uint32_t)w->items;
        for (size_t t = 0; t < w->topics; t++)
                for (size_t i = w->first[t]; i < w->first[t + 1]; i++)
                        around(w->item + i * w->dim, w->dim, w->topic + t * w->dim, .8, 4, i);
        return 0;
}

static void make_user(struct world *w, size_t u, FILE *edges)
{
        size_t n_topics = 1 + zipf(uniform(5, u, 0), 8), n = 5 + zipf(uniform(6, u, 0), 36), topic[8];
        float *v = w->user + u * w->dim;

        for (size_t k = 0; k < n_topics; k++) { /* popular topics are taken more; the second one is often of the same group */
                topic[k] = zipf(uniform(7, u, k), w->topics) * 2654435761u % w->topics;
                if (k > 0 && uniform(8, u, k) < .4)
                        topic[k] = topic[0] / 30 * 30 + (size_t)(uniform(9, u, k) * 30);
                topic[k] = MIN(topic[k], w->topics - 1);
        }
        memset(v, 0, w->dim * sizeof *v);
        for (size_t i = 0; i < n; i++) {
                size_t t = topic[zipf(uniform(10, u, i), n_topics)], size = w->first[t + 1] - w->first[t], item;

                if (size == 0)
                        continue;
                item = w->first[t] + zipf(uniform(11, u, i), size);
                (void)fprintf(edges, "u%zu\ti%zu\n", u, item);
                for (size_t k = 0; k < w->dim; k++)
                        v[k] += w->item[item * w->dim + k];
        }
        around(v, w->dim, v, dot_normalise(v, w->dim) > 0 ? .5 : 1, 12, u);
}

static int make_names(size_t n, char prefix, struct id_map **ret)
{
        int r = id_map_create(ret);

        for (size_t i = 0; r == 0 && i < n; i++) {
                char id[32];
                uint32_t number;

                r = id_map_add(*ret, id, (size_t)snprintf(id, sizeof id, "%c%zu", prefix, i), &number);
        }
        return r;
}

static int make(struct world *w, const char *folder)
{
        char path[PATH_MAX], why[256];
        struct vectors_side users, items;
        FILE *edges;
        int r;

        w->topic = malloc(w->topics * w->dim * sizeof *w->topic);
        w->first = calloc(w->topics + 1, sizeof *w->first);
        w->item = malloc(w->items * w->dim * sizeof *w->item);
        w->user = malloc(w->users * w->dim * sizeof *w->user);
        if (!w->topic || !w->first || !w->item || !w->user || make_items(w) < 0 ||
            make_names(w->items, 'i', &w->item_names) < 0 || make_names(w->users, 'u', &w->user_names) < 0)
                return -ENOMEM;
        (void)snprintf(path, sizeof path, "%s/edges.tsv", folder);
        edges = fopen(path, "we");
        if (!edges)
                return -errno;
        (void)fprintf(edges, "#user\titem\n");
        for (size_t u = 0; u < w->users; u++)
                make_user(w, u, edges);
        if (fclose(edges) != 0)
                return -EIO;
        items = (struct vectors_side){ id_map_view(w->item_names), w->item };
        users = (struct vectors_side){ id_map_view(w->user_names), w->user };
        (void)snprintf(path, sizeof path, "%s/vectors.safetensors", folder);
        r = vectors_write(path, &users, &items, w->dim, (const char *[]){ "method", "generated", NULL }, why, sizeof why);
        if (r < 0)
                (void)fprintf(stderr, "%s\n", why);
        return r;
}

int main(int argc, char **argv)
{
        struct world w = { .items = argc > 3 ? (size_t)strtoul(argv[2], NULL, 10) : 0, .users = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 0,
                           .dim = argc > 4 ? (size_t)strtoul(argv[4], NULL, 10) : 128 };
        int r;

        if (w.items == 0 || w.users == 0 || w.dim == 0 || w.items > ID_MAP_NUMBER_MAX || w.users > ID_MAP_NUMBER_MAX || w.dim > VECTORS_DIM_MAX) {
                (void)fprintf(stderr, "usage: interests_make FOLDER ITEMS USERS [DIM]\n");
                return 2;
        }
        w.topics = MAX(w.items / 50, (size_t)1);
        r = make(&w, argv[1]);
        if (r < 0)
                (void)fprintf(stderr, "%s: %s\n", argv[1], ERRNO_TEXT(r));
        free(w.topic);
        free(w.first);
        free(w.item);
        free(w.user);
        id_map_destroy(w.item_names);
        id_map_destroy(w.user_names);
        return r < 0;
}

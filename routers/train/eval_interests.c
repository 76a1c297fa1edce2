/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train eval interests: a catalogue on edges that it was not trained on, beside the baselines that embarrass weak systems.
 *
 * Every user with something in its history and something held back is asked for; all items are ranked but those of the history.
 * Recall is the mean over users of hits / held-back items.
 */
#include <jansson.h>

#include "arguments.h"
#include "base.h"
#include "catalogue_build.h"
#include "chart.h"
#include "commands.h"
#include "edges.h"
#include "interests_options.h"
#include "noise.h"
#include "parallel.h"
#include "retrieve.h"

/* Settings beside the catalogue's own, which come first. */
struct sets {
        const char *list[64];
        size_t n;
};

struct eval_interests_task {
        struct edges edges;
        const char *catalogue, *test, *only, *svg;
        bool exact, json, save;
        long sample, seed, threads;
        struct interests_settings settings;
        struct sets sets;
        struct retrieve_quality quality[RETRIEVE_METHODS];
};

static int take_set(void *sets, const char *value)
{
        struct sets *s = sets;

        if (s->n == LENGTH_OF(s->list)) {
                (void)fprintf(stderr, "--set: at most %zu times\n", LENGTH_OF(s->list));
                return -EINVAL;
        }
        s->list[s->n++] = value;
        return 0;
}

static const struct argument table[] = {
        ARGUMENT_TEXT(struct eval_interests_task, catalogue, "catalogue", "FOLDER", PM_REQUIRED, NULL, "of pointsman-train interests"),
        ARGUMENT_TEXT(struct eval_interests_task, test, "test", "SPLIT", 0, NULL, "the edges that are to be found again; with a file "
                      "without splits, all of it"),
        EDGES_ARGUMENTS(struct eval_interests_task, edges, PM_REQUIRED),
        ARGUMENT_TAKEN(struct eval_interests_task, sets, "set", "KEY=VALUE", take_set, INTERESTS_OPTIONS_HELP),
        ARGUMENT_FLAG(struct eval_interests_task, exact, "exact", "every search looks at all vectors"),
        ARGUMENT_MANY(struct eval_interests_task, sample, "sample", NULL, 1, "so many users, chosen by --seed (all)"),
        ARGUMENT_TEXT(struct eval_interests_task, only, "only", "METHOD,...", 0, NULL,
                      "some of: popularity, user vector, history centroid, mixture, knn-embed, co-citation, blend"),
        ARGUMENT_NUMBER(struct eval_interests_task, seed, "seed", "0", 0, INT_MAX, "of what is drawn"),
        ARGUMENT_NUMBER(struct eval_interests_task, threads, "threads", NULL, 1, PARALLEL_THREADS_MAX,
                        "threads that compute (one per processor)"),
        ARGUMENT_FLAG(struct eval_interests_task, save, "save", "write settings and figures into the catalogue's manifest"),
        ARGUMENT_FLAG(struct eval_interests_task, json, "json", "one JSON object instead of the table"),
        ARGUMENT_OUTPUT(struct eval_interests_task, svg, "svg", "FILE", 0, ARGUMENT_WRITTEN, "a chart of the recalls"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "eval interests", .table = table };

/* ---- who is asked for what ---------------------------------------------------------------------------------------------------- */

/* The catalogue's numbers of the graph's ids. */
static uint32_t *translate(const struct id_map *from, const struct id_map_view *to)
{
        struct id_map_view ids = id_map_view(from);
        uint32_t *number = malloc((ids.n + 1) * sizeof *number);

        for (size_t i = 0; number && i < ids.n; i++) {
                size_t n;
                const char *id = id_map_at(&ids, (uint32_t)i, &n);

                number[i] = id_map_find(to, id, n);
        }
        return number;
}

static bool contains(const uint32_t *list, size_t n, uint32_t x)
{
        for (size_t i = 0; i < n; i++)
                if (list[i] == x)
                        return true;
        return false;
}

/* Users with a history in the catalogue and something held back; what was held back, in the catalogue's numbers, and how much of it is in no history. */
static int choose_users(struct eval_interests_task *t, const struct catalogue *c, const struct sparse *held, struct retrieve_case **ret, size_t *ret_n,
                        size_t *ret_new, uint32_t *wanted)
{
        CLEANUP(free_p) uint32_t *user = translate(t->edges.graph.users, &c->users), *item = translate(t->edges.graph.items, &c->items);
        struct retrieve_case *list = malloc((held->rows + 1) * sizeof *list);
        size_t n = 0, at = 0;

        if (!user || !item || !list) {
                free(list);
                return -ENOMEM;
        }
        for (size_t u = 0; u < held->rows; u++) {
                size_t history;
                const uint32_t *known = lists_at(&c->history, user[u], &history);

                if (held->start[u] == held->start[u + 1] || history == 0)
                        continue;
                list[n++] = (struct retrieve_case){ user[u], wanted + at, (size_t)(held->start[u + 1] - held->start[u]) };
                for (uint64_t i = held->start[u]; i < held->start[u + 1]; i++) {
                        *ret_new += !contains(known, history, item[held->col[i]]);
                        wanted[at++] = item[held->col[i]]; /* ID_MAP_NONE cannot be found, and counts all the same */
                }
        }
        for (size_t i = 0; t->sample > 0 && i < MIN(n, (size_t)t->sample); i++) { /* the first ones of a shuffled list */
                size_t j = i + (size_t)(noise_bits((uint64_t)t->seed, i, 0) % (n - i));
                struct retrieve_case x = list[i];

                list[i] = list[j];
                list[j] = x;
        }
        *ret = list;
        *ret_n = t->sample > 0 ? MIN(n, (size_t)t->sample) : n;
        return 0;
}

/* ---- telling ------------------------------------------------------------------------------------------------------------------ */

static json_t *figures(const struct eval_interests_task *t, size_t users)
{
        json_t *all = json_pack("{s:s, s:s, s:I, s:b}", "edges", t->edges.graph.digest, "test", t->test ? t->test : "", "users",
                                (json_int_t)users, "exact", t->exact), *methods = json_object();

        for (size_t m = 0; m < RETRIEVE_METHODS; m++) {
                const struct retrieve_quality *q = &t->quality[m];
                json_t *o = json_object();

                for (size_t k = 0; q->asked && k < RETRIEVE_CUTS; k++) {
                        char name[16];

                        (void)snprintf(name, sizeof name, "at_%zu", retrieve_cuts[k]);
                        json_object_set_new(o, name, json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "recall", q->recall[k], "ndcg", q->ndcg[k],
                                                               "hit_rate", q->hit[k], "diversity", q->diversity[k], "interests_covered",
                                                               q->cells[k], "catalogue_covered", q->coverage[k]));
                }
                if (q->asked)
                        json_object_set(methods, retrieve_names[m], o);
                json_decref(o);
        }
        json_object_set_new(all, "methods", methods);
        return all;
}

static void print_table(const struct eval_interests_task *t, size_t users)
{
        (void)printf("%zu users%s\n\n%-17s", users, t->exact ? ", exact search" : "", "");
        for (size_t k = 0; k < RETRIEVE_CUTS; k++)
                (void)printf(" recall@%-2zu", retrieve_cuts[k]);
        for (size_t k = 0; k < RETRIEVE_CUTS; k++)
                (void)printf("  ndcg@%-2zu", retrieve_cuts[k]);
        (void)printf("  hit@10  hit@50 divers@20 inter@20 catal@20 us/user\n");
        for (size_t m = 0; m < RETRIEVE_METHODS; m++) {
                const struct retrieve_quality *q = &t->quality[m];

                if (!q->asked)
                        continue;
                (void)printf("%-17s %9.4f %9.4f %9.4f %8.4f %8.4f %8.4f %7.4f %7.4f %9.4f %8.4f %8.4f %7.0f\n", retrieve_names[m],
                             q->recall[0], q->recall[1], q->recall[2], q->ndcg[0], q->ndcg[1], q->ndcg[2], q->hit[0], q->hit[2],
                             q->diversity[1], q->cells[1], q->coverage[1], q->microseconds);
        }
        if (t->quality[RETRIEVE_KNN_EMBED].asked && t->quality[RETRIEVE_USER_VECTOR].asked) {
                const struct retrieve_quality *a = &t->quality[RETRIEVE_KNN_EMBED], *b = &t->quality[RETRIEVE_USER_VECTOR];

                if (b->recall[0] > 0)
                        (void)printf("\nknn-embed over its own user vector: %.2f at 10, %.2f at 20, %.2f at 50\n", a->recall[0] / b->recall[0],
                             a->recall[1] / b->recall[1], a->recall[2] / b->recall[2]);
        }
}

static int draw(const struct eval_interests_task *t)
{
        struct chart chart = { .title = "Recall: what was held back, found among the first 10, 20, 50", .n_groups = 0,
                               .series = { "@10", "@20", "@50" }, .n_series = RETRIEVE_CUTS };
        int r;

        for (size_t m = 0; m < RETRIEVE_METHODS && chart.n_groups < CHART_GROUPS_MAX; m++) {
                struct chart_group *g = &chart.group[chart.n_groups];

                if (!t->quality[m].asked)
                        continue;
                g->name = retrieve_names[m];
                for (size_t k = 0; k < RETRIEVE_CUTS; k++)
                        g->value[k] = t->quality[m].recall[k];
                chart.n_groups++;
        }
        r = chart_write(&chart, t->svg);
        if (r < 0)
                (void)fprintf(stderr, "%s: cannot write: %s\n", t->svg, ERRNO_TEXT(r));
        return r;
}

static int tell(const struct eval_interests_task *t, size_t users)
{
        json_t *all = figures(t, users);
        char *text = json_dumps(all, JSON_REAL_PRECISION(5)), why[256];
        int r = 0;

        if (t->json) {
                (void)json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
                (void)putchar('\n');
        } else {
                print_table(t, users);
        }
        if (t->svg)
                r = draw(t);
        if (r == 0 && t->save) {
                r = catalogue_tune(t->catalogue, &t->settings, text, why, sizeof why);
                if (r < 0)
                        (void)fprintf(stderr, "%s: %s\n", t->catalogue, why);
        }
        free(text);
        json_decref(all);
        return r;
}

static int evaluate(struct eval_interests_task *t)
{
        CLEANUP(free_p) struct retrieve_case *cases = NULL;
        CLEANUP(free_p) uint32_t *wanted = NULL;
        struct sparse *held = &t->edges.matrix;
        struct catalogue *c = NULL;
        size_t n = 0, n_new = 0;
        char why[320];
        int r = catalogue_open(t->catalogue, true, &c, why, sizeof why);

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->catalogue, why);
                return r;
        }
        t->settings = c->settings;
        for (size_t i = 0; r == 0 && i < t->sets.n; i++)
                r = interests_options_set(&t->settings, t->sets.list[i]);
        if (t->exact)
                t->settings.budget = 0;
        t->edges.use = t->test;
        t->edges.quiet = true;
        if (r == 0)
                r = edges_read(&t->edges);
        if (r == 0)
                wanted = malloc((sparse_cells(held) + 1) * sizeof *wanted);
        if (r == 0)
                r = wanted ? choose_users(t, c, held, &cases, &n, &n_new, wanted) : -ENOMEM;
        if (r == 0 && n == 0) {
                (void)fprintf(stderr, "%s: no user has both a history in the catalogue and an edge of split '%s'\n",
                              t->edges.source.path, t->test ? t->test : "");
                r = -ENODATA;
        }
        if (r == 0 && n_new == 0) {
                (void)fprintf(stderr, "%s: all edges%s%s%s are in the catalogue's histories, so nothing was held back that could be found: name a split that was not "
                              "trained on, --test SPLIT\n", t->edges.source.path, t->test ? " of split '" : "", t->test ? t->test : "", t->test ? "'" : "");
                r = -ENODATA;
        }
        if (r == 0)
                r = retrieve_measure(c, &(struct retrieve_setup){ cases, n, t->settings, t->only, (unsigned)t->threads }, t->quality);
        if (r == 0)
                r = tell(t, n);
        catalogue_close(c);
        return r;
}

int command_eval_interests(int argc, char **argv)
{
        struct eval_interests_task t = { .threads = (long)parallel_processors() };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r == 0 && t.save)
                r = argument_output("--save", t.catalogue, ARGUMENT_FOLDER);
        if (r != 0)
                return r - 1;
        r = evaluate(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "eval: out of memory\n");
        edges_finish(&t.edges);
        return r < 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train eval route: what routing is worth on recorded outcomes, beside what it must be better than.
 *
 * Every method is trained on the other folds, or on another set, and asked about each prompt.
 */
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "commands.h"
#include "nearest.h"
#include "ngrams.h"
#include "parallel.h"
#include "route_tell.h"

struct eval_route_task {
        struct route_source in, from;
        struct route_settings settings;
        struct route_rule rule;
        const char *facts_path, *pair, *frontier, *tsv, *svg;
        long folds, neighbours, resamples, threads;
        bool json, walk;
        struct route_set test, train;
        struct expert_facts facts;
        struct route_scores scores;
        struct route_report report;
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct eval_route_task, in.outcomes, "outcomes", "FILE", PM_REQUIRED, NULL, OUTCOMES_HELP),
        ARGUMENT_TEXT(struct eval_route_task, in.rows.path, "in", "FILE", PM_REQUIRED, NULL, "the prompts, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct eval_route_task, in.rows.text, "text", "FIELD,...", PM_REQUIRED, NULL,
                      "what the prompt is; fields are joined by newlines, a list gives a line for each item"),
        ARGUMENT_TEXT(struct eval_route_task, in.rows.label, "label", "FIELD", PM_REQUIRED, NULL, "its category"),
        ARGUMENT_TEXT(struct eval_route_task, in.rows.id, "id", "FIELD", 0, "id", "what joins both files"),
        JSONL_ARGUMENT_WHERE(struct eval_route_task, in.rows),
        JSONL_ARGUMENT_MAX_BAD(struct eval_route_task, in.rows.max_bad, "100"),
        ARGUMENT_TEXT(struct eval_route_task, in.columns, "experts", "A,B,...", 0, NULL, OUTCOMES_COLUMNS_HELP),
        ARGUMENT_TEXT(struct eval_route_task, facts_path, "facts", "FILE", 0, NULL, EXPERT_FACTS_HELP),
        ARGUMENT_HEADING("\nWhat is trained on:"),
        ARGUMENT_NUMBER(struct eval_route_task, folds, "folds", "5", 2, 100, "parts by a hash of the prompt, each asked of what the others have taught"),
        ARGUMENT_TEXT(struct eval_route_task, in.salt, "salt", "TEXT", 0, "route", "of that hash"),
        ARGUMENT_TEXT(struct eval_route_task, in.fold, "fold", "FIELD", 0, NULL, "or a field says the part"),
        ARGUMENT_TEXT(struct eval_route_task, from.rows.path, "train-in", "FILE", 0, NULL, "or train on these prompts, of the same fields"),
        ARGUMENT_TEXT(struct eval_route_task, from.outcomes, "train-outcomes", "FILE", 0, NULL, "and their outcomes, of the same experts"),
        ARGUMENT_HEADING("\nHow:"),
        ARGUMENT_TEXT(struct eval_route_task, settings.only, "only", "METHOD,...", 0, NULL,
                      "some of: random, prompt length, best single, true category, likeliest category, posterior x table, nearest prompts, heads, expected score, oracle"),
        ARGUMENT_NUMBER(struct eval_route_task, neighbours, "neighbours", "80", 1, NEAREST_MAX, "nearest prompts that are asked"),
        ARGUMENT_REAL(struct eval_route_task, settings.shrink, "shrink", "20", 0, 1e6, "prompts of overall quality that every category begins with"),
        ARGUMENT_REAL(struct eval_route_task, settings.cost, "cost", "3", 1e-4, 1e4, "of the category model: higher fits closer"),
        ARGUMENT_NUMBER(struct eval_route_task, settings.bits, "bits", "17", NGRAMS_BITS_MIN, NGRAMS_BITS_MAX, "2^N buckets of its features"),
        ARGUMENT_REAL(struct eval_route_task, rule.lambda, "lambda", "0", 0, 1e6, "the score that a unit of price is worth"),
        ARGUMENT_REAL(struct eval_route_task, rule.mu, "mu", "0", 0, 1e6, "the score that a billion active parameters is worth"),
        ARGUMENT_REAL(struct eval_route_task, rule.margin, "margin", "0", 0, 1,
                      "what an expert must lead by in expected score to be chosen before the best single one"),
        ARGUMENT_HEADING("\nWhat else is measured:"),
        ARGUMENT_TEXT(struct eval_route_task, pair, "pair", "STRONG,WEAK", 0, NULL,
                      "a strong and a weak expert: APGR, and the strong calls for 20, 50 and 80 % of the gap, as RouteLLM has them"),
        ARGUMENT_FLAG(struct eval_route_task, settings.noise, "noise",
                      "decisions and score that change with mistyped, shouted, shortened and polite prompts"),
        ARGUMENT_FLAG(struct eval_route_task, walk, "frontier", "compositions within budgets of loaded parameters, and of few active ones, beside single experts; needs --facts"),
        ARGUMENT_TEXT(struct eval_route_task, frontier, "budgets", "FROM:TO:STEP", 0, NULL, "of the frontier (24, each a factor more)"),
        ARGUMENT_MANY(struct eval_route_task, resamples, "resamples", "1000", 0, "that the intervals are made of"),
        ARGUMENT_NUMBER(struct eval_route_task, settings.seed, "seed", "0", 0, INT_MAX, "of all that is drawn"),
        ARGUMENT_NUMBER(struct eval_route_task, threads, "threads", NULL, 1, PARALLEL_THREADS_MAX, "that compute (as many as there are processors)"),
        ARGUMENT_FLAG(struct eval_route_task, json, "json", "one JSON object instead of the tables"),
        ARGUMENT_OUTPUT(struct eval_route_task, tsv, "tsv", "FILE", 0, ARGUMENT_WRITTEN, "all points, tab-separated"),
        ARGUMENT_OUTPUT(struct eval_route_task, svg, "svg", "FILE", 0, ARGUMENT_WRITTEN,
                        "score against active parameters, or with --pair against strong calls; needs --facts or --pair"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "eval route", .table = table };

/* 0, or 2 after a message. */
static int check(const struct eval_route_task *t)
{
        if (route_methods_check(t->settings.only) < 0)
                return 2;
        if (!t->from.rows.path != !t->from.outcomes)
                return argument_missing("eval route", t->from.rows.path ? "--train-outcomes" : "--train-in");
        if ((t->walk || t->rule.lambda > 0 || t->rule.mu > 0) && !t->facts_path)
                return argument_missing("eval route", "--facts");
        if (t->frontier && !t->walk)
                return argument_missing("eval route", "--frontier");
        if (t->svg && !t->facts_path && !t->pair)
                return argument_missing("eval route", "--facts");
        if (t->walk && !route_method_wanted(t->settings.only, ROUTE_POSTERIOR)) {
                (void)fprintf(stderr, "eval route: --frontier chooses by 'posterior x table', which --only leaves out\n");
                return 2;
        }
        return 0;
}

static int find_expert(const struct route_set *s, const char *name, size_t n, size_t *ret)
{
        for (size_t k = 0; k < s->experts; k++)
                if (strlen(s->table.experts[k]) == n && memcmp(s->table.experts[k], name, n) == 0) {
                        *ret = k;
                        return 0;
                }
        (void)fprintf(stderr, "--pair: no expert is called '%.*s'\n", (int)n, name);
        return -EINVAL;
}

static int read_pair(struct eval_route_task *t)
{
        const char *comma = t->pair ? strchr(t->pair, ',') : NULL;
        int r;

        if (!t->pair)
                return 0;
        if (!comma) {
                (void)fprintf(stderr, "--pair '%s': must be STRONG,WEAK\n", t->pair);
                return -EINVAL;
        }
        r = find_expert(&t->test, t->pair, (size_t)(comma - t->pair), &t->report.strong);
        return r == 0 ? find_expert(&t->test, comma + 1, strlen(comma + 1), &t->report.weak) : r;
}

/* The other set's experts must be these, in this order. */
static int read_other(struct eval_route_task *t)
{
        int r;

        if (!t->from.outcomes)
                return 0;
        t->from.rows.text = t->in.rows.text;
        t->from.rows.label = t->in.rows.label;
        t->from.rows.id = t->in.rows.id;
        t->from.rows.max_bad = t->in.rows.max_bad;
        t->from.columns = t->in.columns;
        t->from.salt = t->in.salt;
        t->from.folds = 1;
        r = route_set_read(&t->from, &t->train);
        for (size_t k = 0; r == 0 && k < MAX(t->train.experts, t->test.experts); k++)
                if (t->train.experts != t->test.experts || strcmp(t->train.table.experts[k], t->test.table.experts[k]) != 0) {
                        (void)fprintf(stderr, "%s: its experts are not those of %s, in that order: choose and name them with --experts\n", t->from.outcomes,
                                      t->in.outcomes);
                        r = -EINVAL;
                }
        return r;
}

static int read_all(struct eval_route_task *t)
{
        int r = route_set_read(&t->in, &t->test);

        if (r == 0)
                r = read_other(t);
        if (r == 0)
                r = read_pair(t);
        if (r == 0 && t->facts_path)
                r = expert_facts_read(t->facts_path, t->test.table.experts, t->test.experts, &t->facts);
        if (r == 0 && t->rule.lambda > 0)
                r = expert_facts_need(&t->facts, FACT_PRICE, t->facts_path, t->test.table.experts, "--lambda");
        if (r == 0 && (t->rule.mu > 0 || t->walk))
                r = expert_facts_need(&t->facts, FACT_ACTIVE, t->facts_path, t->test.table.experts, t->walk ? "--frontier" : "--mu");
        if (r == 0 && t->walk)
                r = expert_facts_need(&t->facts, FACT_LOADED, t->facts_path, t->test.table.experts, "--frontier");
        return r;
}

static bool active_known(const struct eval_route_task *t)
{
        for (size_t k = 0; k < t->test.experts; k++)
                if (!t->facts_path || !t->facts.value[FACT_ACTIVE] || isnan(t->facts.value[FACT_ACTIVE][k]))
                        return false;
        return true;
}

static int measure(struct eval_route_task *t)
{
        struct route_report *y = &t->report;
        struct route_measure m = { &t->test, &t->scores, t->facts_path ? &t->facts : NULL, (size_t)t->resamples, t->settings.seed };
        struct route_rule bare = t->rule;
        int r;

        *y = (struct route_report){ .test = &t->test, .scores = &t->scores, .facts = m.facts, .elsewhere = t->from.outcomes != NULL,
                                    .margin = t->rule.margin, .noise = t->settings.noise, .pair = t->pair != NULL, .strong = y->strong, .weak = y->weak };
        bare.margin = 0;
        r = route_measure_methods(&m, &t->rule, y->figures);
        if (r == 0 && y->noise)
                r = route_measure_noise(&m, &bare, y->noisy);
        if (r == 0 && y->noise)
                r = route_measure_noise(&m, &t->rule, y->noisy_margin);
        if (r == 0 && y->pair) {
                r = route_measure_pair(&m, y->strong, y->weak, y->apgr);
                if (r == -ERANGE)
                        (void)fprintf(stderr, "--pair: '%s' is no better than '%s' on these prompts\n", t->test.table.experts[y->strong],
                                      t->test.table.experts[y->weak]);
        }
        for (int i = 0; r == 0 && active_known(t) && i < ROUTE_METHODS; i++)
                if (i != ROUTE_RANDOM && i != ROUTE_ORACLE)
                        r = route_measure_curve(&m, i, y->curve[i], &y->n_curve[i]);
        if (r == 0 && t->walk)
                r = route_frontier(&m, t->frontier, y->frontier, &y->n_frontier);
        if (r == 0 && t->walk)
                r = route_frontier_active(&m, y->light, &y->n_light);
        return r;
}

static int evaluate(struct eval_route_task *t)
{
        int r = read_all(t);

        if (r == 0)
                r = route_methods_score(t->from.outcomes ? &t->train : &t->test, &t->test, &t->settings, &t->scores);
        if (r == 0)
                r = measure(t);
        if (r == 0 && t->json)
                r = route_tell_json(&t->report);
        else if (r == 0)
                route_tell_people(&t->report);
        if (r == 0 && t->tsv)
                r = route_tell_lines(&t->report, t->tsv);
        if (r == 0 && t->svg)
                r = route_tell_drawn(&t->report, t->svg);
        return r;
}

int command_eval_route(int argc, char **argv)
{
        struct eval_route_task *t = calloc(1, sizeof *t);
        int r, status;

        if (!t)
                return 1;
        t->threads = (long)parallel_processors();
        r = arguments_read(&arguments, argc, argv, t);
        status = r ? r - 1 : check(t);
        if (r == 0 && status == 0) {
                t->in.folds = (unsigned)t->folds;
                t->settings.neighbours = (size_t)t->neighbours;
                t->settings.threads = (unsigned)t->threads;
                r = evaluate(t);
                if (r == -ENOMEM)
                        (void)fprintf(stderr, "eval: out of memory\n");
                status = r < 0;
        }
        route_scores_finish(&t->scores);
        route_set_finish(&t->test);
        route_set_finish(&t->train);
        expert_facts_finish(&t->facts);
        free(t);
        return status;
}

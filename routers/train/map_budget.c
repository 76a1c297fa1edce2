/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options become a programme; what the programme says becomes words.  Conditions that no map can keep are refused with the nearest ones
 * that can: for each budget the smallest with which the others can be kept.
 */
#include <math.h>

#include "base.h"
#include "curve.h"
#include "map_budget.h"
#include "progress.h"

#define STEPS 20        /* of a frontier whose range is not given */
#define STEPS_MAX 1000

static const char *const options[PROGRAMME_BUDGETS] = { "--max-loaded", "--max-active", "--max-price" };
static const enum expert_fact fact_of[PROGRAMME_BUDGETS] = { FACT_LOADED, FACT_ACTIVE, FACT_PRICE };
static const char *const units[PROGRAMME_BUDGETS] = { "parameters loaded, billions", "active parameters at the mean, billions", "price at the mean" };

/* The programme with what it borrows. */
struct problem {
        const struct map_budget *b;
        const struct map_choice *c;
        struct programme p;
        struct expert_facts facts;
        double *loss, *weight, *room;
        size_t *host, *old;
        bool *pinned, *barred;
        json_t *old_json;
};

int map_budget_take_name(void *names, const char *value)
{
        struct map_names *n = names;

        if (n->n == MAP_BUDGET_NAMES_MAX) {
                (void)fprintf(stderr, "'%s': at most %d of these\n", value, MAP_BUDGET_NAMES_MAX);
                return -EINVAL;
        }
        n->list[n->n++] = value;
        return 0;
}

bool map_budget_wanted(const struct map_budget *b)
{
        bool any = b->frontier || b->old || b->hosts.n || b->least.n || b->pins.n;

        for (int i = 0; i < PROGRAMME_BUDGETS; i++)
                any = any || !isnan(b->budget[i]);
        return any;
}

/* ---- options ------------------------------------------------------------------------------------------------------------------ */

static size_t find(const char *const *names, size_t n, const char *name, size_t length)
{
        for (size_t i = 0; i < n; i++)
                if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
                        return i;
        return PROGRAMME_NONE;
}

/* NAME=NUMBER, split at the last '='. */
static int split_number(const char *option, const char *text, double max, size_t *ret_length, double *ret)
{
        const char *equals = strrchr(text, '=');

        if (!equals || equals == text) {
                (void)fprintf(stderr, "%s '%s': must be NAME=NUMBER\n", option, text);
                return -EINVAL;
        }
        *ret_length = (size_t)(equals - text);
        return argument_real(option, equals + 1, 0, max, ret);
}

static int read_pins(struct problem *x)
{
        for (size_t i = 0; i < x->b->pins.n; i++) {
                const char *name = x->b->pins.list[i];
                size_t k = find((const char *const *)x->c->expert, x->c->experts, name, strlen(name));

                if (k == PROGRAMME_NONE) {
                        (void)fprintf(stderr, "--pin: no expert is called '%s'\n", name);
                        return -EINVAL;
                }
                x->pinned[k] = true;
        }
        return 0;
}

static int read_least(struct problem *x)
{
        const struct map_choice *c = x->c;

        for (size_t i = 0; i < x->b->least.n; i++) {
                size_t length, m, best = 0;
                double least;
                int r = split_number("--quality", x->b->least.list[i], 1, &length, &least);

                if (r < 0)
                        return r;
                m = find(c->category, c->categories, x->b->least.list[i], length);
                if (m == PROGRAMME_NONE) {
                        (void)fprintf(stderr, "--quality: no category is called '%.*s'\n", (int)length, x->b->least.list[i]);
                        return -EINVAL;
                }
                for (size_t k = 0; k < c->experts; k++) {
                        x->barred[m * c->experts + k] = x->barred[m * c->experts + k] || c->score[m * c->experts + k] < least;
                        if (c->score[m * c->experts + k] > c->score[m * c->experts + best])
                                best = k;
                }
                if (c->score[m * c->experts + best] < least) {
                        (void)fprintf(stderr, "--quality: no expert has %g at '%s'; the best is %s with %.4f\n", least, c->category[m], c->expert[best],
                                      c->score[m * c->experts + best]);
                        return -ENOSPC;
                }
        }
        return 0;
}

static int read_hosts(struct problem *x)
{
        const char *name[MAP_BUDGET_NAMES_MAX];
        size_t length[MAP_BUDGET_NAMES_MAX];
        int r;

        if (x->b->hosts.n == 0)
                return 0;
        for (size_t h = 0; h < x->b->hosts.n; h++) {
                name[h] = x->b->hosts.list[h];
                r = split_number("--host", name[h], 1e9, &length[h], &x->room[h]);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < h; i++)
                        if (length[i] == length[h] && memcmp(name[i], name[h], length[h]) == 0) {
                                (void)fprintf(stderr, "--host: '%.*s' is there twice\n", (int)length[h], name[h]);
                                return -EINVAL;
                        }
        }
        r = expert_facts_need(&x->facts, FACT_MEMORY, x->b->facts, x->c->expert, "--host");
        for (size_t k = 0; r == 0 && k < x->c->experts; k++) {
                const char *wanted = x->facts.host[k];

                x->host[k] = PROGRAMME_NONE;
                for (size_t h = 0; wanted && h < x->b->hosts.n; h++)
                        if (strlen(wanted) == length[h] && memcmp(wanted, name[h], length[h]) == 0)
                                x->host[k] = h;
                if (wanted && x->host[k] == PROGRAMME_NONE) {
                        (void)fprintf(stderr, "%s: expert '%s' lies on '%s', whose memory no --host says\n", x->b->facts, x->c->expert[k], wanted);
                        r = -EINVAL;
                }
        }
        x->p.hosts = x->b->hosts.n;
        x->p.room = x->room;
        x->p.host = x->host;
        x->p.memory = x->facts.value[FACT_MEMORY];
        return r;
}

static int read_old(struct problem *x)
{
        json_t *rankings;
        json_error_t e;

        if (!x->b->old)
                return 0;
        x->old_json = json_load_file(x->b->old, JSON_REJECT_DUPLICATES, &e);
        rankings = json_object_get(x->old_json, "rankings");
        if (!json_is_object(rankings)) {
                (void)fprintf(stderr, "%s: not a map of pointsman-train map%s%s\n", x->b->old, x->old_json ? "" : ": ", x->old_json ? "" : e.text);
                return -EINVAL;
        }
        for (size_t m = 0; m < x->c->categories; m++) {
                const char *first = json_string_value(json_array_get(json_object_get(rankings, x->c->category[m]), 0));

                x->old[m] = first ? find((const char *const *)x->c->expert, x->c->experts, first, strlen(first)) : PROGRAMME_NONE;
        }
        x->p.old = x->old;
        x->p.inertia = x->b->inertia;
        return 0;
}

static int read_facts(struct problem *x)
{
        int r;

        if (!x->b->facts) {
                bool needed = x->b->hosts.n > 0 || x->b->frontier;

                for (int i = 0; i < PROGRAMME_BUDGETS; i++)
                        needed = needed || !isnan(x->b->budget[i]);
                if (!needed)
                        return 0;
                (void)fprintf(stderr, "map: --facts is needed: what do the experts cost?\n");
                return -EINVAL;
        }
        r = expert_facts_read(x->b->facts, x->c->expert, x->c->experts, &x->facts);
        for (int i = 0; r == 0 && i < PROGRAMME_BUDGETS; i++) {
                if (!isnan(x->b->budget[i]))
                        r = expert_facts_need(&x->facts, fact_of[i], x->b->facts, x->c->expert, options[i]);
                x->p.cost[i] = x->facts.value[fact_of[i]];
        }
        return r;
}

static int problem_init(struct problem *x, const struct map_budget *b, const struct map_choice *c)
{
        double all = 0;
        int r;

        *x = (struct problem){ .b = b, .c = c };
        x->loss = calloc(c->categories * c->experts, sizeof *x->loss);
        x->weight = calloc(c->categories, sizeof *x->weight);
        x->room = calloc(b->hosts.n + 1, sizeof *x->room);
        x->host = calloc(c->experts, sizeof *x->host);
        x->old = calloc(c->categories, sizeof *x->old);
        x->pinned = calloc(c->experts, sizeof *x->pinned);
        x->barred = calloc(c->categories * c->experts, sizeof *x->barred);
        if (!x->loss || !x->weight || !x->room || !x->host || !x->old || !x->pinned || !x->barred)
                return -ENOMEM;
        for (size_t i = 0; i < c->categories * c->experts; i++)
                x->loss[i] = 1 - c->score[i];
        for (size_t m = 0; m + 1 < c->categories; m++)
                all += c->prompts[m];
        for (size_t m = 0; m + 1 < c->categories; m++)
                x->weight[m] = (1 - b->general_share) * c->prompts[m] / all;
        x->weight[c->categories - 1] = b->general_share;
        x->p = (struct programme){ .categories = c->categories, .experts = c->experts, .loss = x->loss, .weight = x->weight, .pinned = x->pinned,
                                   .barred = x->barred, .seconds = (double)b->seconds };
        for (int i = 0; i < PROGRAMME_BUDGETS; i++)
                x->p.budget[i] = isnan(b->budget[i]) ? INFINITY : b->budget[i];
        r = read_facts(x);
        if (r == 0)
                r = read_pins(x);
        if (r == 0)
                r = read_least(x);
        if (r == 0)
                r = read_hosts(x);
        return r == 0 ? read_old(x) : r;
}

static void problem_finish(struct problem *x)
{
        expert_facts_finish(&x->facts);
        free(x->loss);
        free(x->weight);
        free(x->room);
        free(x->host);
        free(x->old);
        free(x->pinned);
        free(x->barred);
        json_decref(x->old_json);
}

/* ---- what cannot be kept ------------------------------------------------------------------------------------------------------ */

/* The smallest of each budget beside the other conditions, or without the other budgets.  Returns how many were found. */
static size_t say_least(const struct problem *x, bool alone)
{
        size_t found = 0;

        for (int i = 0; i < PROGRAMME_BUDGETS; i++) {
                struct programme p = x->p;
                double least;

                for (int other = 0; alone && other < PROGRAMME_BUDGETS; other++)
                        p.budget[other] = INFINITY;
                if (!isfinite(x->p.budget[i]) || programme_least(&p, i, &least) < 0)
                        continue;
                found++;
                /* rounded up, so that what is said can be asked for */
                (void)fprintf(stderr, "%s %g is too little%s: the smallest that can be kept is %.10g\n", options[i], x->p.budget[i],
                              alone ? ", even without the other budgets" : "", ceil(least * 1e6 - 1e-3) / 1e6);
        }
        return found;
}

static int refuse(const struct problem *x)
{
        if (say_least(x, false) == 0 && say_least(x, true) == 0)
                (void)fprintf(stderr, "no map keeps these conditions, whatever the budgets%s\n",
                              x->p.hosts ? ": no --host has memory for an expert of each category, and for those of --pin" : "");
        return -ENOSPC;
}

static int failed(const struct problem *x, int r)
{
        progress_done();
        if (r == -ENOSPC)
                return refuse(x);
        if (r == -ENOSYS)
                (void)fprintf(stderr, "map: this pointsman-train was built without Cbc, which solves maps under conditions (Debian: coinor-libcbc-dev)\n");
        else if (r == -ETIME)
                (void)fprintf(stderr, "map: no proof that it is the best one within --seconds %ld\n", x->b->seconds);
        else if (r == -ERANGE)
                (void)fprintf(stderr, "map: the solver's answer breaks a condition by more than rounding: scale sizes and budgets so that they are alike\n");
        return r;
}

/* ---- the frontier ------------------------------------------------------------------------------------------------------------- */

struct frontier {
        enum programme_budget which;
        double from, to, step;
        FILE *tsv;
        struct curve_point *point;
        size_t n;
};

/* BUDGET or BUDGET=FROM:TO:STEP */
static int read_range(const struct map_budget *b, struct frontier *f)
{
        size_t n = strcspn(b->frontier, "=");
        char text[3][32];
        int used = 0;

        f->which = PROGRAMME_BUDGETS;
        for (int i = 0; i < PROGRAMME_BUDGETS; i++)
                if (strlen(options[i] + 6) == n && memcmp(options[i] + 6, b->frontier, n) == 0)
                        f->which = i;
        if (f->which == PROGRAMME_BUDGETS) {
                (void)fprintf(stderr, "--frontier '%s': must begin with loaded, active or price\n", b->frontier);
                return -EINVAL;
        }
        f->from = f->to = f->step = (double)NAN;
        if (b->frontier[n] == '\0')
                return 0;
        if (sscanf(b->frontier + n, "=%31[^:]:%31[^:]:%31[^:]%n", text[0], text[1], text[2], &used) != 3 || b->frontier[n + (size_t)used]) {
                (void)fprintf(stderr, "--frontier '%s': the range must be FROM:TO:STEP\n", b->frontier);
                return -EINVAL;
        }
        if (argument_real("--frontier", text[0], 0, 1e12, &f->from) < 0 || argument_real("--frontier", text[1], f->from, 1e12, &f->to) < 0 ||
            argument_real("--frontier", text[2], 1e-9, 1e12, &f->step) < 0)
                return -EINVAL;
        if ((f->to - f->from) / f->step >= STEPS_MAX) {
                (void)fprintf(stderr, "--frontier '%s': more than %d steps\n", b->frontier, STEPS_MAX);
                return -EINVAL;
        }
        return 0;
}

/* From the smallest that can be kept to what the best map without that budget takes. */
static int find_range(const struct problem *x, struct frontier *f)
{
        struct programme p = x->p;
        struct programme_answer a = { 0 };
        int r = programme_least(&p, f->which, &f->from);

        p.budget[f->which] = INFINITY;
        if (r == 0)
                r = programme_solve(&p, &a);
        if (r == 0) {
                f->to = a.cost[f->which];
                f->step = MAX((f->to - f->from) / STEPS, 1e-9);
        }
        programme_answer_finish(&a);
        return r;
}

static void put_point(const struct problem *x, struct frontier *f, double budget, const struct programme_answer *a)
{
        bool begun = false;

        (void)fprintf(f->tsv, "%.6g\t%.6f", budget, 1 - a->loss);
        for (int i = 0; i < PROGRAMME_BUDGETS; i++)
                if (x->p.cost[i] && isfinite(a->cost[i]))
                        (void)fprintf(f->tsv, "\t%.6g", a->cost[i]);
                else
                        (void)fputs("\t-", f->tsv);
        (void)fputc('\t', f->tsv);
        for (size_t k = 0; k < x->c->experts; k++)
                if (a->loaded[k]) {
                        (void)fprintf(f->tsv, "%s%s", begun ? "," : "", x->c->expert[k]);
                        begun = true;
                }
        (void)fputc('\n', f->tsv);
        f->point[f->n++] = (struct curve_point){ budget, 1 - a->loss, NULL };
}

static int draw_frontier(const struct problem *x, const struct frontier *f)
{
        CLEANUP(free_p) struct curve_point *alone = calloc(x->c->experts, sizeof *alone);
        const double *cost = x->p.cost[f->which];
        struct curve curve = { .title = "The best map within a budget", .x_name = units[f->which], .y_name = "mean score", .n_series = 2,
                               .series = { { "composition", f->point, f->n, false }, { "one expert alone", alone, x->c->experts, true } } };
        int r;

        if (!alone)
                return -ENOMEM;
        for (size_t k = 0; k < x->c->experts; k++) {
                alone[k] = (struct curve_point){ cost[k], 0, x->c->expert[k] };
                for (size_t m = 0; m < x->c->categories; m++)
                        alone[k].y += x->weight[m] * x->c->score[m * x->c->experts + k];
        }
        r = curve_write(&curve, x->b->svg);
        if (r < 0)
                (void)fprintf(stderr, "%s: cannot write: %s\n", x->b->svg, ERRNO_TEXT(r));
        return r;
}

static int walk_frontier(struct problem *x, struct frontier *f)
{
        struct programme p = x->p;
        size_t steps = (size_t)floor((f->to - f->from) / f->step + 1e-6) + 1, infeasible = 0;
        int r = 0;

        f->point = calloc(steps, sizeof *f->point);
        if (!f->point)
                return -ENOMEM;
        (void)fputs("#budget\tscore\tloaded\tactive\tprice\texperts\n", f->tsv);
        for (size_t i = 0; r == 0 && i < steps; i++) {
                struct programme_answer a = { 0 };

                progress_show("frontier", i, steps);
                p.budget[f->which] = f->from + (double)i * f->step;
                r = programme_solve(&p, &a);
                if (r == 0)
                        put_point(x, f, p.budget[f->which], &a);
                infeasible += r == -ENOSPC;
                r = r == -ENOSPC ? 0 : r;
                programme_answer_finish(&a);
        }
        progress_done();
        if (r == 0 && f->n == 0) {
                x->p.budget[f->which] = f->to;
                return -ENOSPC;
        }
        if (r == 0 && infeasible)
                (void)fprintf(stderr, "--frontier: no map for the %zu smallest budgets\n", infeasible);
        return r;
}

static int make_frontier(struct problem *x)
{
        struct frontier f = { .tsv = stdout };
        int r = read_range(x->b, &f);
        bool bad;

        if (r == 0)
                r = expert_facts_need(&x->facts, fact_of[f.which], x->b->facts, x->c->expert, "--frontier");
        if (r < 0)
                return r;
        if (isnan(f.from))
                r = find_range(x, &f);
        if (r == 0 && x->b->tsv && !(f.tsv = fopen(x->b->tsv, "we"))) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", x->b->tsv, ERRNO_TEXT(errno));
                return -EIO;
        }
        if (r == 0)
                r = walk_frontier(x, &f);
        if (r < 0)
                r = failed(x, r);
        if (r == 0 && x->b->svg)
                r = draw_frontier(x, &f);
        free(f.point);
        bad = ferror(f.tsv) != 0;
        if (f.tsv != stdout && (fclose(f.tsv) != 0 || bad) && r == 0) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", x->b->tsv, ERRNO_TEXT(EIO));
                r = -EIO;
        }
        return r;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------------- */

int map_budget_solve(const struct map_budget *b, const struct map_choice *c, struct programme_answer *ret)
{
        struct programme_answer a = { 0 };
        struct problem x;
        int r = problem_init(&x, b, c);

        if (r == 0 && (b->tsv || b->svg) && !b->frontier) {
                (void)fprintf(stderr, "map: --tsv and --svg are of a frontier, and there is no --frontier\n");
                r = -EINVAL;
        }
        if (r == 0) {
                progress_show("solving", 0, 0);
                r = programme_solve(&x.p, &a);
                progress_done();
                if (r < 0)
                        r = failed(&x, r);
        }
        if (r == 0 && b->frontier)
                r = make_frontier(&x);
        problem_finish(&x);
        if (r < 0)
                programme_answer_finish(&a);
        else
                *ret = a;
        return r;
}

json_t *map_budget_tell(const struct map_budget *b, const struct map_choice *c, const struct programme_answer *a)
{
        static const char *const sums[PROGRAMME_BUDGETS] = { "loaded", "mean_active", "mean_price" };
        json_t *o = json_pack("{s:f, s:o, s:o}", "score", 1 - a->loss, "experts", json_array(), "budgets", json_object());

        if (b->hosts.n)
                json_object_set_new(o, "hosts", json_object());

        for (size_t k = 0; k < c->experts; k++) {
                if (a->loaded[k])
                        json_array_append_new(json_object_get(o, "experts"), json_string(c->expert[k]));
                if (a->loaded[k] && a->place[k] != PROGRAMME_NONE) {
                        const char *host = b->hosts.list[a->place[k]];

                        json_object_set_new(json_object_get(o, "hosts"), c->expert[k], json_stringn(host, (size_t)(strrchr(host, '=') - host)));
                }
        }
        for (int i = 0; i < PROGRAMME_BUDGETS; i++) {
                if (!isnan(b->budget[i]))
                        json_object_set_new(json_object_get(o, "budgets"), options[i] + 2, json_real(b->budget[i]));
                if (b->facts && isfinite(a->cost[i]))
                        json_object_set_new(o, sums[i], json_real(a->cost[i]));
        }
        if (b->old)
                json_object_set_new(o, "changes", json_integer((json_int_t)a->changes));
        return o;
}

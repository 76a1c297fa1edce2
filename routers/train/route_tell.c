/* SPDX-License-Identifier: Apache-2.0 */
#include "route_tell.h"

#include <jansson.h>
#include <math.h>

#include "base.h"
#include "curve.h"

static double mean_of_expert(const struct route_report *r, size_t expert)
{
        double sum = 0;

        for (size_t i = 0; i < r->test->rows.n; i++)
                sum += (double)r->test->outcome[i][expert];
        return sum / (double)r->test->rows.n;
}

static double fact(const struct route_report *r, enum expert_fact which, size_t expert)
{
        return r->facts && r->facts->value[which] ? r->facts->value[which][expert] : (double)NAN;
}

/* A number, or a dash. */
static const char *number(double x, int decimals, const char *unit, char buf[32])
{
        if (!isfinite(x))
                return "-";
        (void)snprintf(buf, 32, "%.*f%s", decimals, x, unit);
        return buf;
}

/* ---- for people ------------------------------------------------------------------------------------------------------------- */

static void put_methods(const struct route_report *r)
{
        char a[32], p[32];

        (void)printf("%-20s %7s %15s %17s %8s %8s %5s\n", "", "score", "95 %", "over best single", "active", "price", "used");
        for (int m = 0; m < ROUTE_METHODS; m++) {
                const struct route_figures *f = &r->figures[m];

                if (f->there)
                        (void)printf("%-20s %7.4f %7.4f-%.4f %+8.4f +-%.4f %8s %8s %5zu\n", route_names[m], f->score, f->interval.low, f->interval.high,
                                     f->gain, f->gain_error, number(f->active, 2, "", a), number(f->price, 4, "", p), f->used);
        }
        (void)printf("\n%-36s %7s %8s %8s\n", "one expert alone", "score", "active", "price");
        for (size_t k = 0; k < r->test->experts; k++)
                (void)printf("%-36s %7.4f %8s %8s\n", r->test->table.experts[k], mean_of_expert(r, k), number(fact(r, FACT_ACTIVE, k), 2, "", a),
                             number(fact(r, FACT_PRICE, k), 4, "", p));
}

static void put_noise(const struct route_report *r, const char *title, const struct route_noise noisy[GARBLES][ROUTE_METHODS])
{
        (void)printf("\n%-20s", title);
        for (int g = 0; g < GARBLES; g++)
                (void)printf(" %15s", garble_names[g]);
        (void)putchar('\n');
        for (int m = 0; m < ROUTE_METHODS; m++) {
                if (!r->scores->noisy[0][m])
                        continue;
                (void)printf("%-20s", route_names[m]);
                for (int g = 0; g < GARBLES; g++)
                        (void)printf(" %6.1f%% %+7.4f", 100 * noisy[g][m].flips, -noisy[g][m].lost);
                (void)putchar('\n');
        }
}

static void put_pair(const struct route_report *r)
{
        char c[3][32];

        (void)printf("\n%s (%.4f) or %s (%.4f)\n%-20s %7s %15s   strong calls for 20/50/80 %% of the gap\n", r->test->table.experts[r->strong],
                     mean_of_expert(r, r->strong), r->test->table.experts[r->weak], mean_of_expert(r, r->weak), "", "APGR", "95 %");
        for (int m = 0; m < ROUTE_METHODS; m++) {
                const struct apgr *y = &r->apgr[m];

                if (!isnan(y->apgr))
                        (void)printf("%-20s %7.3f %7.3f-%.3f  %8s %s %s\n", route_names[m], y->apgr, y->interval.low, y->interval.high,
                                     number(100 * y->calls[0], 0, " %", c[0]), number(100 * y->calls[1], 0, " %", c[1]),
                                     number(100 * y->calls[2], 0, " %", c[2]));
        }
}

static void put_composition(const struct route_report *r, const struct route_frontier_point *y)
{
        char b[32], l[32];

        (void)printf("%8s %8s %7.1f %8.4f %8.2f   %-28s %.4f  %+.4f +-%.4f%s\n", number(y->budget, 2, "", b), number(y->loaded, 2, "", l), y->experts,
                     y->point.score, y->point.active, r->test->table.experts[y->rival], y->point.score - y->lead, y->lead, y->lead_error,
                     y->lead > 1e-9 ? "  ahead" : "");
}

static void put_frontier(const struct route_report *r)
{
        static const char title[] = "  loaded experts    score   active   best single expert of up to twice the active parameters";

        (void)printf("\n  budget %s\n", title);
        for (size_t i = 0; i < r->n_frontier; i++)
                put_composition(r, &r->frontier[i]);
        (void)printf("\nweighed  %s\n", title);
        for (size_t i = 0; i < r->n_light; i++)
                put_composition(r, &r->light[i]);
}

void route_tell_people(const struct route_report *r)
{
        (void)printf("%zu prompts, %zu experts, %zu categories, ", r->test->rows.n, r->test->experts, r->scores->labels);
        if (r->elsewhere)
                (void)printf("trained on another set\n\n");
        else
                (void)printf("%zu folds, each asked of what the others have taught\n\n", r->scores->folds);
        put_methods(r);
        if (r->pair)
                put_pair(r);
        if (r->noise)
                put_noise(r, "flips, score", r->noisy);
        if (r->noise && r->margin > 0)
                put_noise(r, "with the margin", r->noisy_margin);
        if (r->n_frontier)
                put_frontier(r);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------- */

static void add(json_t *o, const char *key, double x)
{
        if (isfinite(x))
                json_object_set_new(o, key, json_real(x));
}

static json_t *method_json(const struct route_report *r, int m)
{
        static const char *const calls[APGR_SHARES] = { "calls_20", "calls_50", "calls_80" };
        const struct route_figures *f = &r->figures[m];
        json_t *o = json_object();

        add(o, "score", f->score);
        add(o, "low", f->interval.low);
        add(o, "high", f->interval.high);
        add(o, "gain", f->gain);
        add(o, "gain_error", f->gain_error);
        add(o, "mean_active", f->active);
        add(o, "mean_price", f->price);
        json_object_set_new(o, "used", json_integer((json_int_t)f->used));
        if (r->pair && !isnan(r->apgr[m].apgr)) {
                add(o, "apgr", r->apgr[m].apgr);
                add(o, "apgr_low", r->apgr[m].interval.low);
                add(o, "apgr_high", r->apgr[m].interval.high);
                for (int i = 0; i < APGR_SHARES; i++)
                        add(o, calls[i], r->apgr[m].calls[i]);
        }
        for (int g = 0; r->noise && r->scores->noisy[0][m] && g < GARBLES; g++) {
                json_t *n = json_pack("{s:f, s:f}", "flips", r->noisy[g][m].flips, "lost", r->noisy[g][m].lost);

                if (r->margin > 0) {
                        add(n, "flips_margin", r->noisy_margin[g][m].flips);
                        add(n, "lost_margin", r->noisy_margin[g][m].lost);
                }
                if (g == 0)
                        json_object_set_new(o, "noise", json_object());
                json_object_set_new(json_object_get(o, "noise"), garble_names[g], n);
        }
        return o;
}

static json_t *compositions_json(const struct route_report *r, const struct route_frontier_point *y, size_t n)
{
        json_t *list = json_array();

        for (size_t i = 0; i < n; i++) {
                json_t *o = json_object();

                add(o, "budget", y[i].budget);
                add(o, "loaded", y[i].loaded);
                add(o, "experts", y[i].experts);
                add(o, "score", y[i].point.score);
                add(o, "mean_active", y[i].point.active);
                json_object_set_new(o, "rival", json_string(r->test->table.experts[y[i].rival]));
                add(o, "lead", y[i].lead);
                add(o, "lead_error", y[i].lead_error);
                json_array_append_new(list, o);
        }
        return list;
}

int route_tell_json(const struct route_report *r)
{
        json_t *methods = json_object(), *alone = json_object();
        json_t *o = json_pack("{s:I, s:I, s:I, s:f, s:o, s:o}", "prompts", (json_int_t)r->test->rows.n, "categories", (json_int_t)r->scores->labels, "folds",
                              (json_int_t)(r->elsewhere ? 0 : r->scores->folds), "margin", r->margin, "methods", methods, "alone", alone);

        for (int m = 0; m < ROUTE_METHODS; m++)
                if (r->figures[m].there)
                        json_object_set_new(methods, route_names[m], method_json(r, m));
        for (size_t k = 0; k < r->test->experts; k++)
                add(alone, r->test->table.experts[k], mean_of_expert(r, k));
        if (r->n_frontier) {
                json_object_set_new(o, "frontier", compositions_json(r, r->frontier, r->n_frontier));
                json_object_set_new(o, "few_active", compositions_json(r, r->light, r->n_light));
        }
        if (!o)
                return -ENOMEM;
        (void)json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        (void)putchar('\n');
        json_decref(o);
        return 0;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------ */

static void put_line(FILE *f, const char *what, const char *name, double at, double score, double active, double price, double loaded)
{
        char text[5][32];

        (void)fprintf(f, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", what, name, number(at, 4, "", text[0]), number(score, 6, "", text[1]),
                      number(active, 4, "", text[2]), number(price, 4, "", text[3]), number(loaded, 4, "", text[4]));
}

static void put_lines(const struct route_report *r, FILE *f)
{
        const double none = (double)NAN;

        (void)fputs("#what\tname\tat\tscore\tactive\tprice\tloaded\n", f);
        for (size_t k = 0; k < r->test->experts; k++)
                put_line(f, "alone", r->test->table.experts[k], none, mean_of_expert(r, k), fact(r, FACT_ACTIVE, k), fact(r, FACT_PRICE, k),
                         fact(r, FACT_LOADED, k));
        for (int m = 0; m < ROUTE_METHODS; m++) {
                if (r->figures[m].there)
                        put_line(f, "method", route_names[m], none, r->figures[m].score, r->figures[m].active, r->figures[m].price, none);
                for (size_t i = 0; i < r->n_curve[m]; i++)
                        put_line(f, "curve", route_names[m], none, r->curve[m][i].score, r->curve[m][i].active, r->curve[m][i].price, none);
                for (int i = 0; r->pair && !isnan(r->apgr[m].apgr) && i < APGR_EDGES; i++)
                        put_line(f, "strong calls", route_names[m], r->apgr[m].share[i], r->apgr[m].score[i], none, none, none);
                for (int g = 0; r->noise && r->scores->noisy[0][m] && g < GARBLES; g++) {
                        char name[64];

                        (void)snprintf(name, sizeof name, "%s, %s", route_names[m], garble_names[g]);
                        put_line(f, "flips", name, r->noisy[g][m].flips, r->figures[m].score - r->noisy[g][m].lost, none, none, none);
                }
        }
        for (size_t i = 0; i < r->n_frontier; i++)
                put_line(f, "frontier", r->test->table.experts[r->frontier[i].rival], r->frontier[i].budget, r->frontier[i].point.score,
                         r->frontier[i].point.active, r->frontier[i].point.price, r->frontier[i].loaded);
}

int route_tell_lines(const struct route_report *r, const char *path)
{
        FILE *f = fopen(path, "we");
        bool bad;

        if (f) {
                put_lines(r, f);
                bad = ferror(f) != 0;
                if (fclose(f) == 0 && !bad)
                        return 0;
        }
        (void)fprintf(stderr, "%s: cannot write: %s\n", path, ERRNO_TEXT(errno));
        return -EIO;
}

/* ---- drawn ------------------------------------------------------------------------------------------------------------------ */

static void add_series(struct curve *c, const char *name, const struct curve_point *point, size_t n, bool apart)
{
        if (n > 0 && c->n_series < CURVE_SERIES_MAX)
                c->series[c->n_series++] = (struct curve_series){ name, point, n, apart };
}

static int write_curve(const struct curve *c, const char *path)
{
        int r = curve_write(c, path);

        if (r < 0)
                (void)fprintf(stderr, "%s: cannot write: %s\n", path, ERRNO_TEXT(r));
        return r;
}

static int draw_pair(const struct route_report *r, const char *path)
{
        struct curve c = { .title = "Score against the share of strong calls", .x_name = "share of strong calls", .y_name = "mean score" };
        struct curve_point point[ROUTE_METHODS][APGR_EDGES];

        for (int m = 0; m < ROUTE_METHODS; m++) {
                if (isnan(r->apgr[m].apgr) || m == ROUTE_ORACLE)
                        continue;
                for (int i = 0; i < APGR_EDGES; i++)
                        point[m][i] = (struct curve_point){ r->apgr[m].share[i], r->apgr[m].score[i], NULL };
                add_series(&c, route_names[m], point[m], APGR_EDGES, false);
        }
        return write_curve(&c, path);
}

static int draw_active(const struct route_report *r, const char *path)
{
        struct curve c = { .title = "Score against active parameters", .x_name = "active parameters at the mean, billions", .y_name = "mean score" };
        struct curve_point alone[OUTCOMES_EXPERTS_MAX], point[ROUTE_METHODS][ROUTE_CURVE], frontier[ROUTE_FRONTIER_MAX];

        for (size_t k = 0; k < r->test->experts; k++)
                alone[k] = (struct curve_point){ fact(r, FACT_ACTIVE, k), mean_of_expert(r, k), r->test->table.experts[k] };
        add_series(&c, "one expert alone", alone, r->test->experts, true);
        for (int m = 0; m < ROUTE_METHODS; m++) {
                if (m == ROUTE_ORACLE || m == ROUTE_LENGTH || m == ROUTE_SINGLE || m == ROUTE_LIKELIEST)
                        continue;
                for (size_t i = 0; i < r->n_curve[m]; i++)
                        point[m][i] = (struct curve_point){ r->curve[m][i].active, r->curve[m][i].score, NULL };
                add_series(&c, route_names[m], point[m], r->n_curve[m], false);
        }
        for (size_t i = 0; i < r->n_frontier; i++)
                frontier[i] = (struct curve_point){ r->frontier[i].point.active, r->frontier[i].point.score, NULL };
        add_series(&c, "within budgets of loaded", frontier, r->n_frontier, true);
        return write_curve(&c, path);
}

int route_tell_drawn(const struct route_report *r, const char *path)
{
        return r->pair ? draw_pair(r, path) : draw_active(r, path);
}

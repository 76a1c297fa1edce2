/* SPDX-License-Identifier: Apache-2.0 */
/* interests.so: what a request may carry, bad requests, and what open() refuses, on a small generated catalogue. */
#include "on_mockhost.h"

#include "../unit/small_catalogue.h"

static struct on o;

static void open_it(const char *more)
{
        char json[256];

        (void)snprintf(json, sizeof json, "{\"index\": \"%s\"%s}", folder, more);
        cr_assert_eq(on_open(&o, "PM_ROUTERS", "interests", json, NULL), 0, "%s", o.why);
}

static void begin(void)
{
        small_catalogue(folder, NULL);
        open_it("");
}

static void end(void)
{
        on_close(&o);
        folder_end();
}

TestSuite(interests, .init = begin, .fini = end);

static struct mock_result ask(const struct mock_ask *a)
{
        struct mock_ask with = *a;
        struct mock_result r;

        with.kind = PM_RECOMMEND;
        mockhost_run(o.host, &with, &r);
        return r;
}

static bool holds(const struct mock_result *r, const char *id)
{
        for (size_t i = 0; i < r->n_items; i++)
                if (r->items[i]->id.n == strlen(id) && memcmp(r->items[i]->id.p, id, r->items[i]->id.n) == 0)
                        return true;
        return false;
}

static void is_good(const struct mock_result *r, size_t n)
{
        cr_assert_eq(r->end, MOCK_CANDIDATES, "%s: %s", mock_end_text(r->end), r->text ? r->text : "");
        cr_assert_eq(r->n_items, n, "%zu items, %zu wanted", r->n_items, n);
        for (size_t i = 0; i < n; i++) {
                cr_assert(i == 0 || r->items[i]->score <= r->items[i - 1]->score, "place %zu", i);
                cr_assert(r->items[i]->source);
                for (size_t k = 0; k < i; k++)
                        cr_assert(r->items[i]->id.n != r->items[k]->id.n || memcmp(r->items[i]->id.p, r->items[k]->id.p, r->items[i]->id.n) != 0);
        }
}

Test(interests, a_known_user_a_bare_history_and_both)
{
        struct mock_result r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10 });

        is_good(&r, 10);
        cr_assert_eq(r.steps, 2);
        cr_assert_eq(r.offloads, 1, "one job");
        cr_assert(r.items[0]->interest);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .history = (const char *[]){ "i1", "i5", "i9", "i13", NULL }, .wanted = 10 });
        is_good(&r, 10);
        cr_assert(!holds(&r, "i5"));
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "u5", .history = (const char *[]){ "i2", "i6", NULL }, .wanted = 10 });
        is_good(&r, 10);
        cr_assert(!holds(&r, "i2") && !holds(&r, "i6"));
        mock_result_finish(&r);
}

Test(interests, who_asks_why_is_told)
{
        struct mock_result r = ask(&(struct mock_ask){ .user = "u5", .history = (const char *[]){ "i2", "nothing", NULL }, .wanted = 10, .explain = 1 });
        json_t *told, *interests;
        double sum = 0;

        is_good(&r, 10);
        cr_assert(r.explained);
        told = json_loads(r.explained, 0, NULL);
        cr_assert_eq(strncmp(json_string_value(json_object_get(told, "catalogue")), "interests-", 10), 0);
        cr_assert_eq(json_integer_value(json_object_get(told, "history_known")), 1);
        interests = json_object_get(told, "interests");
        cr_assert_gt(json_array_size(interests), 1);
        for (size_t i = 0; i < json_array_size(interests); i++) {
                cr_assert(json_is_string(json_object_get(json_array_get(interests, i), "id")));
                sum += json_real_value(json_object_get(json_array_get(interests, i), "weight"));
        }
        cr_assert_float_eq(sum, 1, 1e-3);
        json_decref(told);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10 });
        cr_assert_null(r.explained);
        mock_result_finish(&r);
}

Test(interests, bad_input_is_answered)
{
        static const char *const nobody[] = { "no such item", "", "i1\xff", NULL }, *const twice[] = { "i1", "i1", "i5", "i1", NULL };
        struct mock_result r = ask(&(struct mock_ask){ .user = "nobody", .wanted = 7 });

        is_good(&r, 7);
        cr_assert_str_eq(r.items[0]->source, "popular");
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .wanted = 7 });
        is_good(&r, 7);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .history = nobody, .exclude = nobody, .wanted = 7 });
        is_good(&r, 7);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .history = twice, .exclude = twice, .wanted = 7 });
        is_good(&r, 7);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 0 });
        is_good(&r, 0);
        cr_assert_eq(r.offloads, 0);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "nobody", .wanted = 100000 });
        is_good(&r, SMALL_ITEMS + 1);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "u120", .wanted = 5 });
        is_good(&r, 5);
        mock_result_finish(&r);
}

Test(interests, what_the_body_may_say)
{
        static const struct {
                const char *body;
                size_t n;
                const char *fails; /* in which member; NULL: good */
        } cases[] = {
                { "{}", 10, NULL },
                { "{\"seen\": \"keep\"}", 10, NULL },
                { "{\"allow\": [\"i3\", \"i7\", \"i3\", \"nothing\"], \"seen\": \"keep\"}", 2, NULL },
                { "{\"allow\": []}", 0, NULL },
                { "{\"allow\": [\"i3\", \"i7\"], \"deny\": [\"i7\"], \"seen\": \"keep\"}", 1, NULL },
                { "{\"filter\": {\"kind\": 2}, \"seen\": \"keep\"}", 10, NULL },
                { "{\"filter\": {\"kind\": [\"1\", 3], \"odd\": true}, \"seen\": \"keep\"}", 10, NULL },
                { "{\"filter\": {\"kind\": 1, \"odd\": false}}", 0, NULL },
                { "{\"filter\": {\"colour\": \"red\"}}", 0, NULL },
                { "{\"filter\": {\"kind\": []}}", 0, NULL },
                { "{\"filter\": {}}", 10, NULL },
                { "{\"filter\": {\"kind\": [1, 9223372036854775807]}, \"seen\": \"keep\"}", 10, NULL },
                { "{\"seen\": true}", 0, "seen" },
                { "{\"seen\": \"maybe\"}", 0, "seen" },
                { "{\"allow\": \"i1\"}", 0, "allow" },
                { "{\"deny\": [\"i1\", 2]}", 0, "deny" },
                { "{\"filter\": [1]}", 0, "filter" },
                { "{\"filter\": {\"kind\": {}}}", 0, "filter" },
                { "{\"filter\": {\"kind\": [1.5]}}", 0, "filter" },
                { "{\"filter\": {\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,"
                  "\"p\":1,\"q\":1}}", 0, "filter" },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                struct mock_result r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10, .body = mock_str(cases[i].body) });

                if (cases[i].fails) {
                        cr_assert_eq(r.end, MOCK_REJECTED, "%s: %s", cases[i].body, mock_end_text(r.end));
                        cr_assert_str_eq(r.param, cases[i].fails, "%s: %s", cases[i].body, r.text);
                } else {
                        is_good(&r, cases[i].n);
                }
                mock_result_finish(&r);
        }
}

/* A filter of more values than it looks at is the client's to know, not one that is cut. */
Test(interests, a_filter_of_too_many_values_is_rejected)
{
        char body[4096] = "{\"filter\": {\"kind\": [0";
        struct mock_result r;

        for (size_t i = 0; i < 256; i++)
                (void)snprintf(body + strlen(body), sizeof body - strlen(body), ",%zu", i);
        (void)snprintf(body + strlen(body), sizeof body - strlen(body), "]}}");
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10, .body = mock_str(body) });
        cr_assert_eq(r.end, MOCK_REJECTED);
        cr_assert_str_eq(r.param, "filter");
        cr_assert(strstr(r.text, "1 attributes with 257 values, at most 16 with 256"), "%s", r.text);
        mock_result_finish(&r);
}

/* Every one of a long list counts, the first as the last. */
Test(interests, none_of_a_long_list_is_passed_over)
{
        enum { LONG = 120000 };
        const char **deny = calloc(LONG + 1, sizeof *deny);
        struct mock_result r = ask(&(struct mock_ask){ .user = "u5", .wanted = 1 });
        char best[32];

        is_good(&r, 1);
        (void)snprintf(best, sizeof best, "%.*s", (int)r.items[0]->id.n, r.items[0]->id.p);
        mock_result_finish(&r);
        for (size_t i = 0; i < LONG; i++)
                deny[i] = "nothing";
        deny[0] = best;
        r = ask(&(struct mock_ask){ .user = "u5", .exclude = deny, .wanted = 1 });
        is_good(&r, 1);
        cr_assert(!holds(&r, best));
        mock_result_finish(&r);
        free(deny);
}

Test(interests, excluded_items_stay_away)
{
        struct mock_result r = ask(&(struct mock_ask){ .user = "u5", .wanted = 3 });
        char id[3][32];
        const char *exclude[4] = { id[0], id[1], id[2], NULL };

        is_good(&r, 3);
        for (size_t i = 0; i < 3; i++)
                (void)snprintf(id[i], sizeof id[i], "%.*s", (int)r.items[i]->id.n, r.items[i]->id.p);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "u5", .exclude = exclude, .wanted = 10 });
        is_good(&r, 10);
        for (size_t i = 0; i < 3; i++)
                cr_assert(!holds(&r, id[i]), "%s", id[i]);
        mock_result_finish(&r);
}

Test(interests, operations_that_fail)
{
        struct mock_result r = ask(&(struct mock_ask){ .user = "u5", .wanted = 3, .faults = { .busy_at = 1 } });

        cr_assert_eq(r.end, MOCK_FAILED);
        cr_assert(strstr(r.text, "could not run in the pool (-1)"), "%s", r.text);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 3, .faults = { .timeout_at = 1 } });
        cr_assert_eq(r.end, MOCK_FAILED);
        mock_result_finish(&r);
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 3, .faults = { .leave_at = 1 } });
        cr_assert_eq(r.end, MOCK_LEFT);
        mock_result_finish(&r);
        r = on_ask(&o, "a prompt");
        cr_assert_eq(r.end, MOCK_PASSED, "it does not route");
        mock_result_finish(&r);
}

Test(interests, options_override_what_was_trained)
{
        struct mock_result r;
        size_t by_interest = 0;

        on_close(&o);
        open_it(", \"also\": 0, \"votes\": 0, \"popular\": 0, \"near\": 1, \"interests\": 3");
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10 });
        is_good(&r, 10);
        for (size_t i = 0; i < 10; i++)
                by_interest += strcmp(r.items[i]->source, "interest") == 0;
        cr_assert_eq(by_interest, 10);
        mock_result_finish(&r);
        on_close(&o);
        open_it(", \"near\": 0, \"also\": 0, \"votes\": 0, \"popular\": 1");
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10 });
        is_good(&r, 10);
        cr_assert_str_eq(r.items[0]->source, "popular");
        mock_result_finish(&r);
}

Test(interests, open_says_what_it_found)
{
        struct on other;
        char path[128];

        cr_assert_neq(on_open(&other, "PM_ROUTERS", "interests", "{\"index\": \"/nowhere\"}", NULL), 0);
        cr_assert(strstr(other.why, "index '/nowhere': manifest.json: cannot open"), "%s", other.why);
        on_close(&other);
        cr_assert_neq(on_open(&other, "PM_ROUTERS", "interests", "{}", NULL), 0);
        cr_assert(strstr(other.why, "key 'index' is required"), "%s", other.why);
        on_close(&other);
        (void)snprintf(path, sizeof path, "%s/" CATALOGUE_ARRAYS, folder);
        on_close(&o);
        cr_assert_eq(truncate(path, 5000), 0);
        (void)snprintf(path, sizeof path, "{\"index\": \"%s\"}", folder);
        cr_assert_neq(on_open(&other, "PM_ROUTERS", "interests", path, NULL), 0);
        cr_assert(strstr(other.why, "cut, or of another training?"), "%s", other.why);
        on_close(&other);
        folder_end();
        begin();
}

/* ---- routing by example --------------------------------------------------------------------------------------------------------- */

/* An encoder that knows four words: the vector of an item of that kind.  Others it fails on, or gives zeros. */
static bool encode(void *ctx, const char *encoder, struct pm_str text, struct mock_vector *ret)
{
        static const char *const words[] = { "zero", "one", "two", "three" };
        static const float zeros[16];
        const struct catalogue *c = ctx;

        *ret = (struct mock_vector){ .dim = 16, .v = zeros };
        if (strcmp(encoder, "words") != 0)
                return false;
        if (text.n == 4 && memcmp(text.p, "fail", 4) == 0)
                ret->status = PM_EUNREACHABLE;
        if (text.n == 5 && memcmp(text.p, "short", 5) == 0)
                ret->dim = 7;
        for (size_t i = 0; i < 4; i++)
                if (text.n == strlen(words[i]) && memcmp(text.p, words[i], text.n) == 0) {
                        char id[8];
                        uint32_t item;

                        (void)snprintf(id, sizeof id, "i%zu", 4 + i);
                        item = id_map_find(&c->items, id, 2);
                        ret->v = c->by_interest.vector + (size_t)item * 16;
                }
        return true;
}

static struct mock_result talk(const char *const *turns)
{
        struct pm_message m[16];
        struct mock_result r;
        size_t n = 0;

        for (; turns[n]; n++)
                m[n] = (struct pm_message){ mock_str(n % 2 ? "assistant" : "user"), mock_str(turns[n]) };
        mockhost_run(o.host, &(struct mock_ask){ .text = mock_str(turns[n - 1]), .messages = m, .n_messages = n }, &r);
        return r;
}

Test(interests, a_conversation_is_routed_by_example)
{
        char json[256], why[256];
        struct catalogue *c;
        struct mock_setup setup = { .embed = encode };
        struct mock_result r;
        double sure, both;

        cr_assert_eq(catalogue_open(folder, true, &c, why, sizeof why), 0, "%s", why);
        on_close(&o);
        setup.ctx = c;
        (void)snprintf(json, sizeof json, "{\"index\": \"%s\", \"encoder\": \"words\", \"alike\": 10}", folder);
        cr_assert_eq(on_open(&o, "PM_ROUTERS", "interests", json, &setup), 0, "%s", o.why);
        r = talk((const char *[]){ "zero", NULL });
        cr_assert_eq(r.end, MOCK_DECIDED, "%s %s", mock_end_text(r.end), r.text);
        cr_assert_str_eq(r.expert, "small");
        cr_assert_eq(r.embeds, 1);
        sure = r.confidence;
        cr_assert_gt(sure, .5);
        mock_result_finish(&r);
        r = talk((const char *[]){ "two", "an answer", "two", NULL });
        cr_assert_str_eq(r.expert, "large");
        cr_assert_eq(r.embeds, 2);
        mock_result_finish(&r);
        r = talk((const char *[]){ "two", "an answer", "zero", NULL });
        cr_assert_str_eq(r.expert, "small", "the later turn counts more");
        both = r.confidence;
        cr_assert_lt(both, sure, "and the earlier one counts too");
        cr_assert_eq(r.n_fallbacks, 1);
        cr_assert_str_eq(r.fallbacks[0], "large");
        mock_result_finish(&r);
        r = talk((const char *[]){ "fail", "an answer", "zero", NULL });
        cr_assert_str_eq(r.expert, "small", "an older turn is done without");
        mock_result_finish(&r);
        r = talk((const char *[]){ "fail", NULL });
        cr_assert_eq(r.end, MOCK_FAILED);
        mock_result_finish(&r);
        r = talk((const char *[]){ "short", NULL });
        cr_assert_eq(r.end, MOCK_FAILED);
        cr_assert(strstr(r.text, "gives 7 numbers, the catalogue has 16"), "%s", r.text);
        mock_result_finish(&r);
        r = talk((const char *[]){ "unheard of", NULL });
        cr_assert_eq(r.end, MOCK_PASSED, "a vector of zeros");
        mock_result_finish(&r);
        for (unsigned at = 1; at <= 2; at++) {
                struct mock_ask busy = { .text = mock_str("zero"), .faults = { .busy_at = at } }, left = { .text = mock_str("zero"), .faults = { .leave_at = at } };

                mockhost_run(o.host, &busy, &r);
                cr_assert_eq(r.end, MOCK_FAILED);
                mock_result_finish(&r);
                mockhost_run(o.host, &left, &r);
                cr_assert_eq(r.end, MOCK_LEFT);
                mock_result_finish(&r);
        }
        on_close(&o);
        setup.experts = &(const struct pm_expert){ .name = "other" };
        setup.n_experts = 1;
        cr_assert_neq(on_open(&o, "PM_ROUTERS", "interests", json, &setup), 0);
        cr_assert(strstr(o.why, "no item has the attribute 'expert' with the name of a configured expert"), "%s", o.why);
        on_close(&o);
        catalogue_close(c);
        open_it("");
}

/* A folder is replaced while it is open: those who have it keep the old files, a new open sees the new ones. */
Test(interests, a_folder_that_is_replaced)
{
        struct mock_result r;
        char again[64];

        (void)snprintf(again, sizeof again, "/tmp/test-interests-XXXXXX");
        small_catalogue(again, "Flat");
        for (size_t i = 0; i < 2; i++) {
                char from[128], to[128];
                static const char *const files[] = { CATALOGUE_ARRAYS, CATALOGUE_INDEX, CATALOGUE_MANIFEST };

                for (size_t f = 0; i == 0 && f < LENGTH_OF(files); f++) {
                        (void)snprintf(from, sizeof from, "%s/%s", again, files[f]);
                        (void)snprintf(to, sizeof to, "%s/%s", folder, files[f]);
                        cr_assert_eq(rename(from, to), 0);
                }
                r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10 });
                is_good(&r, 10);
                mock_result_finish(&r);
        }
        on_close(&o);
        open_it("");
        r = ask(&(struct mock_ask){ .user = "u5", .wanted = 10 });
        is_good(&r, 10);
        mock_result_finish(&r);
        folder_remove(again);
}

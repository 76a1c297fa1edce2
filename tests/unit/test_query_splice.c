/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies sent on with only the members changed that must be. */
#include "query_fixture.h"

TestSuite(query_splice, .init = begin, .fini = end);

static char *joined(const struct iovec *pieces, size_t n)
{
        size_t length = 0;
        char *out;

        for (size_t i = 0; i < n; i++) {
                cr_assert_gt(pieces[i].iov_len, 0, "no empty pieces");
                length += pieces[i].iov_len;
        }
        out = arena_alloc(&arena, length + 1);
        length = 0;
        for (size_t i = 0; i < n; i++) {
                memcpy(out + length, pieces[i].iov_base, pieces[i].iov_len);
                length += pieces[i].iov_len;
        }
        out[length] = 0;
        return out;
}

static const char *spliced(const char *model, const char *extra)
{
        struct iovec *pieces;
        size_t n;

        cr_assert_eq(splice(&query, model, extra, NULL, &arena, &pieces, &n), 0);
        return joined(pieces, n);
}

#define USAGE "\"stream_options\":{\"include_usage\":true}"

Test(query_splice, changes_only_what_must_change)
{
        static const struct {
                enum expert_api api;
                const char *body, *model, *extra, *expected;
        } rows[] = {
                /* the model */
                { EXPERT_CHAT, "{\"model\":\"auto\"," HI "}", "math-7b", NULL, "{\"model\":\"math-7b\"," HI "}" },
                { EXPERT_CHAT, " { " HI ", \"model\" : \"auto\" ,\"seed\":1.50 } ", "x", NULL, " { " HI ", \"model\" : \"x\" ,\"seed\":1.50 } " },
                { EXPERT_CHAT, "{\"model\":\"same\"," HI "}", "same", NULL, "{\"model\":\"same\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"s\\u0061me\"," HI "}", "same", NULL, "{\"model\":\"s\\u0061me\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"auto\"," HI "}", "a\"b\\c\n\xC3\xA9", NULL, "{\"model\":\"a\\\"b\\\\c\\n\xC3\xA9\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"D:\\new\"," HI "}", "D:\\new", NULL, "{\"model\":\"D:\\\\new\"," HI "}" },
                { EXPERT_CHAT, "{\"metadata\":{\"model\":\"auto\"},\"model\":\"auto\"," HI "}", "x", NULL, "{\"metadata\":{\"model\":\"auto\"},\"model\":\"x\"," HI "}" },
                { EXPERT_EMBEDDINGS, "{\"input\":\"\\\"model\\\":\\\"auto\\\"\",\"model\":\"auto\"}", "x", NULL, "{\"input\":\"\\\"model\\\":\\\"auto\\\"\",\"model\":\"x\"}" },
                /* usage */
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true," HI "}", "m", NULL, "{" USAGE ",\"model\":\"m\",\"stream\":true," HI "}" },
                { EXPERT_CHAT, " {\n\"model\":\"m\",\"stream\":true," HI "}", "n", NULL, " {" USAGE ",\n\"model\":\"n\",\"stream\":true," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":false," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":false," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":null," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{}," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{ \n}," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\": false }," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\": true }," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":null}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"x\":\"{\\\"include_usage\\\":true}\"}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":\"{\\\"include_usage\\\":true}\"}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{ \"include_obfuscation\":false, \"include_usage\":false}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{ \"include_obfuscation\":false, \"include_usage\":true}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"a\":{\"include_usage\":true}}," HI "}", "m", NULL,
                  "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"a\":{\"include_usage\":true}}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}", "m", NULL, "{\"model\":\"m\",\"stream\":true," USAGE "," HI "}" },
                { EXPERT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"x\",\"stream\":true}", "m", NULL, "{" USAGE ",\"model\":\"m\",\"prompt\":\"x\",\"stream\":true}" },
                { EXPERT_RESPONSES, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}", "m", NULL, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}" },
                { EXPERT_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}", "m", NULL, "{\"model\":\"m\",\"input\":\"x\",\"stream\":true}" },
                /* extra */
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{}", "{\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", " { \"lora\" : { \"a\" : .5e0 } } ", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", " { \"lora\" : { \"a\" : 0.50 } } ", "{\"lora\":{ \"a\" : 0.50 },\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"top_p\": 1 ," HI "}", "m", "{\"top_p\":0.5}", "{\"model\":\"m\",\"top_p\": 0.5 ," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"a\":1,\"b\":[{}]," HI ",\"c\":3}", "n", "{\"c\":\"C\",\"d\":null,\"a\":[1],\"e\":{}}",
                  "{\"d\":null,\"e\":{},\"model\":\"n\",\"a\":[1],\"b\":[{}]," HI ",\"c\":\"C\"}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"a\":1," HI "}", "m", "{\"a\":2,\"a\":3}", "{\"model\":\"m\",\"a\":3," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{\"z\":2,\"z\":3,\"\\u007a\":4}", "{\"\\u007a\":4,\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"t\\u006fp_p\":1," HI "}", "m", "{\"top_\\u0070\":2}", "{\"model\":\"m\",\"t\\u006fp_p\":2," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"a\":1,\"a\":2," HI "}", "m", "{\"a\":3}", "{\"model\":\"m\",\"a\":3," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"top_p\":1," HI ", \"TOP_P\" : 2 , \"top_p\":3}", "m", "{\"top_p\":9}",
                  "{\"model\":\"m\",\"top_p\":9," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"Top_P\" : 1," HI "}", "m", "{\"top_p\":9}", "{\"model\":\"m\",\"top_p\":9," HI "}" },
                { EXPERT_CHAT, "{\"\xC5\xBF" "eed\":1,\"model\":\"m\"," HI ",\"\\u212Aey\":5}", "m", "{\"seed\":9,\"key\":7}",
                  "{\"seed\":9,\"model\":\"m\"," HI ",\"key\":7}" },
                { EXPERT_CHAT, "{\"\xC3\xA9TAT\":1,\"model\":\"m\"," HI ",\"e\xEF\xAC\x83\":5}", "m", "{\"\\u00e9tat\":9,\"effi\":7}",
                  "{\"\\u00e9tat\":9,\"model\":\"m\"," HI ",\"effi\":7}" },
                { EXPERT_CHAT, "{\"model\":\"m\",\"x\":{\"a\":1}," HI "}", "m", "{\"a\":3}", "{\"a\":3,\"model\":\"m\",\"x\":{\"a\":1}," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{\"model\":\"evil\",\"mod\\u0065l\":1,\"stream\":true,\"stream_options\":null,\"s\":1}",
                  "{\"s\":1,\"model\":\"m\"," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"auto\",\"stream\":true," HI "}", "n", "{\"s\":1}", "{" USAGE ",\"s\":1,\"model\":\"n\",\"stream\":true," HI "}" },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "[]", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "{\"a\":1", NULL },
                { EXPERT_CHAT, "{\"model\":\"m\"," HI "}", "m", "null", NULL },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct iovec *pieces;
                size_t n;
                int e;

                cr_assert_eq(parse(rows[i].api, rows[i].body), 0, "%s: %s", rows[i].body, why.message);
                e = splice(&query, rows[i].model, rows[i].extra, NULL, &arena, &pieces, &n);
                if (!rows[i].expected) {
                        cr_assert_eq(e, -EINVAL, "%s", rows[i].extra);
                        continue;
                }
                cr_assert_eq(e, 0);
                cr_assert_str_eq(joined(pieces, n), rows[i].expected);
                if (strcmp(rows[i].body, rows[i].expected) == 0)
                        cr_assert(n == 1 && pieces[0].iov_base == (const void *)query.body.p, "untouched, and not copied");
        }
}

Test(query_splice, leaves_out_what_an_expert_is_not_to_see)
{
        static const struct {
                const char *body, *model, *extra, *expected;
        } rows[] = {
                { "{\"model\":\"m\",\"models\":[\"x\"]," HI "}", "m", NULL, "{\"model\":\"m\"," HI "}" },
                { "{\"models\":[\"x\"],\"route\":1,\"model\":\"m\"," HI "}", "n", NULL, "{\"model\":\"n\"," HI "}" },
                { "{\"model\":\"m\"," HI " , \"Models\" : 1 }", "m", NULL, "{\"model\":\"m\"," HI " }" },
                { "{\"model\":\"m\"," HI ",\"route\":1,\"models\":2,\"route\":3}", "m", NULL, "{\"model\":\"m\"," HI "}" },
                { "{\"route\":1,\"model\":\"m\",\"models\":2," HI ",\"\\u0072oute\":3}", "m", NULL, "{\"model\":\"m\"," HI "}" },
                { "{\"route\":1,\"model\":\"m\",\"stream\":true," HI "}", "m", "{\"s\":1}", "{" USAGE ",\"s\":1,\"model\":\"m\",\"stream\":true," HI "}" },
                { "{\"route\":1,\"model\":\"m\"," HI ",\"Route\":2}", "m", "{\"route\":7}", "{\"route\":7,\"model\":\"m\"," HI "}" },
                { "{\"model\":\"m\",\"x\":{\"models\":1}," HI ",\"routes\":1}", "m", NULL, "{\"model\":\"m\",\"x\":{\"models\":1}," HI ",\"routes\":1}" },
        };
        static const struct pm_str names[] = { { &"\"models\""[1], 6 }, { &"\"route\""[1], 5 } };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct iovec *pieces;
                size_t n;

                cr_assert_eq(parse(EXPERT_CHAT, rows[i].body), 0, "%s: %s", rows[i].body, why.message);
                cr_assert_eq(splice(&query, rows[i].model, rows[i].extra, &(struct expert_drop){ names, 2 }, &arena, &pieces, &n), 0);
                cr_assert_str_eq(joined(pieces, n), rows[i].expected);
        }
}

/* 32,000 members of a router's, and as many of the client's, took seconds when each was compared with all. */
Test(query_splice, members_by_name_cost_one_walk, .timeout = 30)
{
        enum { MEMBERS = PM_EXTRA_MEMBERS_MAX, CLIENTS = 200000 };
        char *extra = arena_alloc(&arena, 64 * MEMBERS), *body = arena_alloc(&arena, 32 * CLIENTS + 100);
        size_t n = 0, members;
        struct iovec *pieces;
        const char *clause;

        for (unsigned i = 0; i < MEMBERS; i++)
                n += (size_t)snprintf(extra + n, 64, "%s\"Extra_%u\":%u", i ? "," : "{", i, i);
        memcpy(extra + n, "}", 2);
        cr_assert_eq(edits_extra_check((struct pm_str){ extra, n + 1 }, &members, &clause), 0);
        cr_assert_eq(members, MEMBERS);
        n = (size_t)snprintf(body, 100, "{\"model\":\"m\"," HI);
        for (unsigned i = 0; i < CLIENTS; i++)
                n += (size_t)snprintf(body + n, 32, ",\"EXTRA_%u\":0", i);
        memcpy(body + n, "}", 2);
        cr_assert_eq(parse(EXPERT_CHAT, body), 0, "%s", why.message);
        cr_assert_eq(splice(&query, "m", extra, NULL, &arena, &pieces, &n), 0);
        cr_assert_eq(n, 2 * MEMBERS + 1, "%zu: each took a place of its own", n);
        memcpy(extra + strlen(extra) - 1, ",\"z\":1}", 8);
        cr_assert_eq(edits_extra_check((struct pm_str){ extra, strlen(extra) }, NULL, &clause), -E2BIG);
        cr_assert_str_eq(clause, "has more than 256 members");
}

/* ---- random bodies against Jansson -------------------------------------------------------------------------------------- */
static uint64_t seed = 0x2545F4914F6CDD1Dull;

static unsigned dice(unsigned sides)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (unsigned)((seed >> 20) % sides);
}

static const char *one_of(const char *const *list, size_t n)
{
        return list[dice((unsigned)n)];
}
#define ONE_OF(...) one_of((const char *const[]){ __VA_ARGS__ }, LENGTH_OF(((const char *const[]){ __VA_ARGS__ })))

static const char *value(void)
{
        return ONE_OF("1", "-0.5e3", "true", "null", "\"\"", "\"text\"", "\"\\\"model\\\":\\\"auto\\\"\"", "[]", "{}", "[1,[2,{\"model\":\"x\"}]]",
                      "{\"stream_options\":{\"include_usage\":false},\"stream\":true}", "\"\\ud83d\\ude00\\u0000\xE4\xBD\xA0\"", "[ \"}\" , \"]\" ]");
}

static const char *space(void)
{
        return ONE_OF("", "", "", " ", "\n\t", "\r\n  ");
}

static size_t add(char *out, size_t n, size_t room, const char *name, const char *v)
{
        return n + (size_t)snprintf(out + n, room - n, "%s%s\"%s\"%s:%s%s%s", n ? "," : "", space(), name, space(), space(), v, space());
}

static const char *other_name(void)
{
        return ONE_OF("temperature", "top_p", "to\\u0070_p", "metadata", "x", "x", "\\\"", "tools", "\xC3\xA9", "nn\\u0000");
}

/* The members that stand in the body in some order. */
static size_t random_body(char *out, size_t room)
{
        unsigned order[8], n_order = 0;
        size_t n = 0;

        for (unsigned i = 0; i < 8; i++)
                if (i < 2 || dice(2))
                        order[n_order++] = i;
        for (unsigned i = n_order; i > 1; i--) {
                unsigned k = dice(i), t = order[k];

                order[k] = order[i - 1];
                order[i - 1] = t;
        }
        for (unsigned i = 0; i < n_order; i++)
                switch (order[i]) {
                case 0:
                        n = add(out, n, room, ONE_OF("model", "mod\\u0065l"), ONE_OF("\"auto\"", "\"target\"", "\"t\\u0061rget\"", "\"a\\\\b\""));
                        break;
                case 1:
                        n = add(out, n, room, "messages", "[{\"role\":\"user\",\"content\":\"a \\\"stream\\\": { b\"} ]");
                        break;
                case 2:
                        n = add(out, n, room, "stream", ONE_OF("true", "true", "false", "null"));
                        break;
                case 3:
                        n = add(out, n, room, "stream_options", ONE_OF("null", "{}", "{ }", "{\"include_usage\":true}", "{ \"include_usage\" : false }",
                                                                       "{\"a\":\"\\\"\",\"include_usage\":null}", "{\"a\":[1]}", "{\n\"a\":{},\"b\":\"}\"}"));
                        break;
                default:
                        n = add(out, n, room, other_name(), value());
                }
        return n;
}

Test(query_splice, spliced_bodies_are_what_jansson_would_make, .timeout = 60)
{
        size_t compared = 0;

        for (unsigned round = 0; round < 20000; round++) {
                char inside[2048], body[2100], more[2048], extra[2100];
                json_t *expected, *got, *added = NULL, *v;
                const char *name, *text;
                size_t n = 0;

                (void)random_body(inside, sizeof inside);
                (void)snprintf(body, sizeof body, "%s{%s}%s", space(), inside, space());
                for (unsigned i = dice(4); i; i--)
                        n = add(more, n, sizeof more, dice(6) ? other_name() : ONE_OF("model", "stream", "str\\u0065am_options", "tools"), value());
                more[n] = 0;
                (void)snprintf(extra, sizeof extra, "%s{%s}", space(), more);
                cr_assert_eq(parse(EXPERT_CHAT, body), 0, "%s: %s", body, why.message);
                text = spliced("target", dice(4) ? extra : (n = 0, NULL));
                cr_assert_eq(js_check((struct pm_str){ text, strlen(text) }, 64, NULL, NULL), 0, "%s", text);

                expected = json_loads(body, JSON_ALLOW_NUL, NULL);
                got = json_loads(text, JSON_ALLOW_NUL, NULL);
                if (n)
                        added = json_loads(extra, JSON_ALLOW_NUL, NULL);
                if (expected && (!n || added)) { /* it takes no NUL in names */
                        compared++;
                        cr_assert_not_null(got, "%s", text);
                        json_object_set_new(expected, "model", json_string("target"));
                        if (json_is_true(json_object_get(expected, "stream"))) {
                                if (!json_is_object(json_object_get(expected, "stream_options")))
                                        json_object_set_new(expected, "stream_options", json_object());
                                json_object_set_new(json_object_get(expected, "stream_options"), "include_usage", json_true());
                        }
                        json_object_foreach(added, name, v)
                                if (strcmp(name, "model") != 0 && strcmp(name, "stream") != 0 && strcmp(name, "stream_options") != 0)
                                        json_object_set(expected, name, v);
                        cr_assert(json_equal(expected, got), "%s\nwith %s\nis   %s", body, n ? extra : "nothing", text);
                }
                json_decref(expected);
                json_decref(got);
                json_decref(added);
                arena_finish(&arena);
        }
        cr_assert_gt(compared, 8000, "%zu", compared);
}

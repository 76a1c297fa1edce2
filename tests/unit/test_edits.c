/* SPDX-License-Identifier: Apache-2.0 */
/* A list of edits, and a body as it says: in order, without overlap, in one walk. */
#include "query_fixture.h"

TestSuite(edits, .init = begin, .fini = end);

static struct pm_str str(const char *s)
{
        return (struct pm_str){ s, strlen(s) };
}

/* "-EINVAL" where it is refused. */
static const char *edited(const struct edits *e)
{
        struct iovec *pieces;
        size_t n, length = 0;
        int err = query_splice(query.body, e, &arena, &pieces, &n);
        char *out = arena_zalloc(&arena, query.body.n + 4096);

        if (err < 0)
                return err == -EINVAL ? "-EINVAL" : "another error";
        for (size_t i = 0; i < n; i++) {
                cr_assert_gt(pieces[i].iov_len, 0, "no empty pieces");
                memcpy(out + length, pieces[i].iov_base, pieces[i].iov_len);
                length += pieces[i].iov_len;
        }
        return out;
}

static struct edits of(const char *body)
{
        cr_assert_eq(parse(EXPERT_CHAT, body), 0, "%s: %s", body, why.message);
        return EDITS(&arena);
}

/* The n-th `what` in the body. */
static struct pm_str part(const char *what, unsigned n)
{
        const char *p = query.body.p - 1;

        do
                p = memmem(p + 1, query.body.n - (size_t)(p + 1 - query.body.p), what, strlen(what));
        while (p && n-- > 0);
        cr_assert_not_null(p, "%s", what);
        return (struct pm_str){ p, strlen(what) };
}

static int replace(struct edits *e, const char *what, unsigned n, const char *with)
{
        struct pm_str p = part(what, n);

        return edits_replace(e, (size_t)(p.p - query.body.p), p.n, str(with));
}

#define BODY "{\"model\":\"m\",\"a\":1,\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}],\"b\":2}"

Test(edits, none)
{
        struct edits e = of(BODY);

        cr_assert(!edits_any(&e));
        cr_assert_str_eq(edited(&e), BODY);
}

Test(edits, places_in_whatever_order_they_are_added)
{
        struct edits e = of(BODY);

        cr_assert_eq(replace(&e, "three", 0, "3"), 0);
        cr_assert_eq(replace(&e, "one", 0, "1"), 0);
        cr_assert_eq(replace(&e, " two ", 0, ""), 0);
        cr_assert(edits_any(&e) && edits_in_order(&e, query.body.n));
        cr_assert_str_eq(edited(&e), "{\"model\":\"m\",\"a\":1,\"messages\":[{\"role\":\"user\",\"content\":\"13\"}],\"b\":2}");
}

Test(edits, many_places)
{
        char body[4096], expected[4096];
        size_t n = (size_t)snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\""), at = n;
        size_t m = (size_t)snprintf(expected, sizeof expected, "%s", body);
        struct edits e;

        for (unsigned i = 0; i < 100; i++) {
                n += (size_t)snprintf(body + n, sizeof body - n, "%02u.", i);
                m += (size_t)snprintf(expected + m, sizeof expected - m, "<%u>.", i);
        }
        (void)snprintf(body + n, sizeof body - n, "\"}]}");
        (void)snprintf(expected + m, sizeof expected - m, "\"}]}");
        e = of(body);
        for (unsigned i = 0; i < 100; i++) { /* 0, 99, 1, 98, ... */
                unsigned k = i % 2 ? 99 - i / 2 : i / 2;

                cr_assert_eq(edits_replace(&e, at + 3 * k, 2, str(arena_printf(&arena, "<%u>", k))), 0);
        }
        cr_assert_str_eq(edited(&e), expected);
}

Test(edits, overlap_is_refused)
{
        struct edits e = of(BODY);

        cr_assert_eq(replace(&e, "two", 0, "2"), 0);
        cr_assert_eq(replace(&e, "two", 0, "2"), -EINVAL, "twice");
        cr_assert_eq(replace(&e, "two three", 0, "2"), -EINVAL, "beginning with it");
        cr_assert_eq(replace(&e, "one two", 0, "2"), -EINVAL, "ending with it");
        cr_assert_eq(replace(&e, "w", 0, "2"), -EINVAL, "inside");
        cr_assert_eq(replace(&e, "one two three", 0, "2"), -EINVAL, "around it");
        cr_assert_eq(replace(&e, " ", 0, "_"), 0, "next to it");
        cr_assert_eq(replace(&e, " ", 1, "_"), 0, "and behind it");
        cr_assert_eq(edits_replace(&e, SIZE_MAX, 2, str("")), -EINVAL);
        cr_assert_eq(e.n_places, 3, "what is refused is not there");
        cr_assert_str_eq(edited(&e), "{\"model\":\"m\",\"a\":1,\"messages\":[{\"role\":\"user\",\"content\":\"one_2_three\"}],\"b\":2}");
}

Test(edits, what_is_put_in_stands_where_it_was_added)
{
        struct edits e = of(BODY);
        struct pm_str two = part("two", 0);
        size_t at = (size_t)(two.p - query.body.p);

        cr_assert_eq(edits_replace(&e, at, 3, str("2")), 0);
        cr_assert_eq(edits_replace(&e, at, 0, str("a")), 0);
        cr_assert_eq(edits_replace(&e, at, 0, str("b")), 0);
        cr_assert_eq(edits_replace(&e, at + 3, 0, str("c")), 0);
        cr_assert_eq(edits_replace(&e, at + 1, 0, str("d")), -EINVAL, "into what goes");
        cr_assert_str_eq(edited(&e), "{\"model\":\"m\",\"a\":1,\"messages\":[{\"role\":\"user\",\"content\":\"one ab2c three\"}],\"b\":2}");
}

/* A list that somebody has put together himself. */
Test(edits, what_is_out_of_order_is_refused)
{
        static const struct {
                struct edit_place places[2];
                bool good;
        } rows[] = {
                { { { 50, 2, { "x", 1 } }, { 60, 2, { "y", 1 } } }, true },
                { { { 50, 2, { "x", 1 } }, { 52, 2, { "y", 1 } } }, true },
                { { { 50, 0, { "x", 1 } }, { 50, 0, { "y", 1 } } }, true },
                { { { 60, 2, { "x", 1 } }, { 50, 2, { "y", 1 } } }, false },
                { { { 50, 2, { "x", 1 } }, { 51, 2, { "y", 1 } } }, false },
                { { { 50, 2, { "x", 1 } }, { 50, 2, { "x", 1 } } }, false },
                { { { 50, 2, { "x", 1 } }, { 500, 2, { "y", 1 } } }, false },
                { { { 50, 2, { "x", 1 } }, { 60, SIZE_MAX, { "y", 1 } } }, false },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct edits e = of(BODY);
                struct edit_place places[2] = { rows[i].places[0], rows[i].places[1] };

                e.places = places;
                e.n_places = 2;
                cr_assert_eq(edits_in_order(&e, query.body.n), rows[i].good, "row %zu", i);
                cr_assert_eq(strcmp(edited(&e), "-EINVAL") != 0, rows[i].good, "row %zu", i);
        }
}

Test(edits, members)
{
        struct edits e = of(BODY);

        cr_assert_eq(edits_set(&e, "b", str(" [3] ")), 0);
        cr_assert_eq(edits_set(&e, "c", str("\"new\"")), 0);
        cr_assert_eq(edits_remove(&e, "A"), 0, "in whatever letters");
        cr_assert_eq(edits_remove(&e, "none"), 0);
        cr_assert_str_eq(edited(&e), "{\"c\":\"new\",\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}],\"b\":[3]}");
        cr_assert_eq(edits_set(&e, "C", str("true")), 0, "the last one counts");
        cr_assert_eq(edits_remove(&e, "b"), 0);
        cr_assert_eq(edits_set(&e, "a", str("7")), 0);
        cr_assert_str_eq(edited(&e), "{\"C\":true,\"model\":\"m\",\"a\":7,\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]}");
}

Test(edits, members_that_cannot_be)
{
        struct edits e = of(BODY);

        cr_assert_eq(edits_set(&e, "x", str("")), -EINVAL);
        cr_assert_eq(edits_set(&e, "x", (struct pm_str){ 0 }), -EINVAL, "no value is not: it goes");
        cr_assert_eq(edits_set(&e, "x", str("{")), -EINVAL);
        cr_assert_eq(edits_set(&e, "x", str("1,\"y\":2")), -EINVAL);
        cr_assert_eq(edits_set(&e, "", str("1")), -EINVAL);
        cr_assert_eq(edits_set(&e, "x\"y", str("1")), -EINVAL);
        cr_assert_eq(edits_set(&e, "x\\u0079", str("1")), -EINVAL);
        cr_assert_eq(edits_set(&e, "\xC3\xA9", str("1")), -EINVAL);
        cr_assert_eq(edits_set(&e, "Model", str("\"x\"")), -EINVAL, "ours to say");
        cr_assert_eq(edits_remove(&e, "stream"), -EINVAL);
        cr_assert_eq(edits_remove(&e, "stream_options"), -EINVAL);
        cr_assert_eq(edits_set_all(&e, str("[]")), -EINVAL);
        cr_assert(!edits_any(&e));
}

Test(edits, what_is_edited_in_a_member_goes_with_it)
{
        struct edits e = of(BODY);

        cr_assert_eq(replace(&e, "two", 0, "2"), 0);
        cr_assert_eq(replace(&e, "1", 0, "0"), 0);
        cr_assert_eq(edits_set(&e, "messages", str("[]")), 0);
        cr_assert_str_eq(edited(&e), "{\"model\":\"m\",\"a\":0,\"messages\":[],\"b\":2}");
        cr_assert_eq(edits_remove(&e, "messages"), 0);
        cr_assert_str_eq(edited(&e), "{\"model\":\"m\",\"a\":0,\"b\":2}");
        cr_assert_eq(edits_remove(&e, "a"), 0);
        cr_assert_str_eq(edited(&e), "{\"model\":\"m\",\"b\":2}");
}

Test(edits, across_the_border_of_a_member_that_goes)
{
        struct edits e = of(BODY);

        cr_assert_eq(replace(&e, "1,\"messages\"", 0, "1,\"messages\""), 0);
        cr_assert_eq(edits_remove(&e, "messages"), 0);
        cr_assert_str_eq(edited(&e), "-EINVAL");
        e = of(BODY);
        cr_assert_eq(replace(&e, "}],\"b\"", 0, "}],\"b\""), 0);
        cr_assert_eq(edits_remove(&e, "messages"), 0);
        cr_assert_str_eq(edited(&e), "-EINVAL");
        e = of(BODY);
        cr_assert_eq(replace(&e, "\"a\":1,\"messages\":[{", 0, "\"messages\":[{"), 0);
        cr_assert_eq(edits_set(&e, "A", str("2")), 0);
        cr_assert_str_eq(edited(&e), "-EINVAL", "around it, too");
}

#define SAID(raw) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"" raw "\"}]}"

Test(edits, text_is_escaped_and_never_cuts_what_belongs_together)
{
        static const struct {
                const char *body, *what, *with, *expected;
        } rows[] = {
                { SAID("my 4111"), "4111", "****", SAID("my ****") },
                { SAID("my 4111"), "my 4111", "", SAID("") },
                { SAID("my 4111"), "my", "\"\\\n\xC3\xA9", SAID("\\\"\\\\\\n\xC3\xA9 4111") },
                { SAID("a\\nb"), "\\n", " ", SAID("a b") },
                { SAID("a\\u0041b"), "\\u0041", "A", SAID("aAb") },
                { SAID("a\\\\nb"), "nb", "c", SAID("a\\\\c") },
                { SAID("a\\\\\\nb"), "b", "c", SAID("a\\\\\\nc") },
                { SAID("a\\nb"), "nb", "c", "-EINVAL" },
                { SAID("a\\nb"), "a\\", "c", "-EINVAL" },
                { SAID("a\\u0041b"), "041", "c", "-EINVAL" },
                { SAID("a\\u0041b"), "1b", "c", "-EINVAL" },
                { SAID("a\\u0041b"), "\\u00", "c", "-EINVAL" },
                { SAID("a\xC3\xA9"), "\xA9", "c", "-EINVAL" },
                { SAID("a\xC3\xA9"), "a\xC3", "c", "-EINVAL" },
                { SAID("a\xC3\xA9"), "\xC3\xA9", "e", SAID("ae") },
                { SAID("a\\\"b"), "\\\"", "'", SAID("a'b") },
                { SAID("ab"), "ab\"", "c", "-EINVAL" },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct edits e = of(rows[i].body);
                int err = edits_text(&e, query.body, part(rows[i].what, 0), str(rows[i].with));

                cr_assert_str_eq(err == -EINVAL ? "-EINVAL" : edited(&e), rows[i].expected, "row %zu", i);
                cr_assert_eq(e.n_places, err < 0 ? 0 : 1);
        }
}

Test(edits, text_outside_of_the_body)
{
        struct edits e = of(BODY);

        cr_assert_eq(edits_text(&e, query.body, (struct pm_str){ query.body.p, 3 }, str("x")), -EINVAL);
        cr_assert_eq(edits_text(&e, query.body, (struct pm_str){ query.body.p + 3, query.body.n }, str("x")), -EINVAL);
        cr_assert_eq(edits_text(&e, query.body, (struct pm_str){ "elsewhere", 3 }, str("x")), -EINVAL);
}

/* What a stage of the request wants, then what one of the attempt wants, then the attempt itself. */
Test(edits, lists_are_added_to_each_other)
{
        struct edits e = of("{\"model\":\"auto\",\"stream\":true,\"a\":1,\"messages\":[{\"role\":\"user\",\"content\":\"one two\"}]}"), more = EDITS(&arena);

        cr_assert_eq(replace(&more, "two", 0, "2"), 0);
        cr_assert_eq(edits_set(&more, "a", str("2")), 0);
        cr_assert_eq(edits_set(&e, "a", str("3")), 0);
        cr_assert_eq(query_edits(&query, "m", true, &e), 0);
        cr_assert_eq(edits_add(&e, &more), 0);
        cr_assert_str_eq(edited(&e), "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\",\"stream\":true,\"a\":2,"
                                     "\"messages\":[{\"role\":\"user\",\"content\":\"one 2\"}]}");
        cr_assert_eq(edits_add(&e, &more), -EINVAL, "the same place twice");
}

Test(edits, usage_is_asked_for_only_where_it_is_wanted)
{
        struct edits e = of("{\"model\":\"m\",\"stream\":true," HI "}");

        cr_assert_eq(query_edits(&query, "m", false, &e), 0);
        cr_assert(!edits_any(&e));
        cr_assert_eq(query_edits(&query, "m", true, &e), 0);
        cr_assert_eq(e.n_places, 1);
}

Test(edits, without_memory)
{
        struct arena small;
        bool some = false, all = false;

        (void)of(BODY);
        for (size_t room = 0; room < 4096 && !all; room += 16) {
                struct iovec *pieces;
                struct edits e;
                int err;
                size_t n;

                arena_init(&small, NULL, room);
                e = EDITS(&small);
                err = query_edits(&query, "other", true, &e);
                if (err == 0)
                        err = edits_text(&e, query.body, part("two", 0), str("2"));
                if (err == 0)
                        err = edits_set(&e, "c", str("1"));
                if (err == 0)
                        err = edits_remove(&e, "a");
                if (err == 0)
                        err = query_splice(query.body, &e, &small, &pieces, &n);
                cr_assert(err == 0 || err == -ENOMEM, "%d", err);
                some |= err < 0;
                all = err == 0;
                arena_finish(&small);
        }
        cr_assert(some && all);
}

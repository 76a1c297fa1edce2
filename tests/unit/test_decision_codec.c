/* SPDX-License-Identifier: Apache-2.0 */
/* A decision into bytes and back; bytes that are none. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "cache_cli.h"
#include "decision_codec.h"

#include "base.h"

static struct pm_str str(const char *text)
{
        return (struct pm_str){ text, text ? strlen(text) : 0 };
}

static bool same(struct pm_str a, struct pm_str b)
{
        return !a.p == !b.p && a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static char long_reason[20000];

static struct cached_decision full(void)
{
        struct cached_decision k = { .ends_ms = INT64_C(1795577014063), .confidence = .625, .unsure = true, .key = decision_encoded_key(str("d|acme|auto|abc")), .expert = str("large"), .router = str("by_rules"),
                          .category = str("maths & more"), .reason = str("because"), .extra = str("{\"a\":1}"), .n_fallbacks = 2 };

        k.fallbacks[0] = str("small");
        k.fallbacks[1] = str("coder");
        return k;
}

static struct pm_str written(const struct cached_decision *k)
{
        size_t n = decision_encoded_size(k);
        unsigned char *p = malloc(n); /* exactly: AddressSanitizer sees a byte too many */

        cr_assert_not_null(p);
        decision_encode(k, p);
        return (struct pm_str){ (char *)p, n };
}

static void expect_same(const struct cached_decision *a, const struct cached_decision *b)
{
        cr_expect_eq(a->ends_ms, b->ends_ms);
        cr_expect_eq(a->confidence, b->confidence);
        cr_expect_eq(a->unsure, b->unsure);
        cr_expect_eq(a->only, b->only);
        cr_expect_eq(a->key, b->key);
        cr_expect(same(a->expert, b->expert) && same(a->router, b->router) && same(a->category, b->category) &&
                  same(a->reason, b->reason) && same(a->extra, b->extra));
        cr_assert_eq(a->n_fallbacks, b->n_fallbacks);
        for (size_t i = 0; i < a->n_fallbacks; i++)
                cr_expect(same(a->fallbacks[i], b->fallbacks[i]));
}

Test(kept, comes_back_as_it_was)
{
        struct cached_decision cases[5] = { full(), { .expert = str("a"), .ends_ms = -1 }, full(), full(), { .expert = str("a"), .only = true } }, back;

        memset(long_reason, 'r', sizeof long_reason - 1);
        cases[2].reason = str(long_reason);
        cases[2].confidence = 1;
        cases[3].category = str(""); /* empty is not absent */
        cases[3].n_fallbacks = DECISION_FALLBACKS_MAX;
        for (size_t i = 0; i < DECISION_FALLBACKS_MAX; i++)
                cases[3].fallbacks[i] = str("f");
        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                struct pm_str bytes = written(&cases[i]);

                cr_assert_eq(decision_decode(bytes, &back), 0);
                expect_same(&cases[i], &back);
                cr_expect_eq(back.expert.p[back.expert.n], 0, "texts can be used as they lie");
                free((char *)(uintptr_t)bytes.p);
        }
}

Test(kept, a_key_is_known_by_its_digest)
{
        /* base64url of 00 01 .. 07 and more, and what is not there */
        const unsigned char expected[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
        uint64_t key = decision_encoded_key(str("p|acme|a|b|AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"));

        cr_expect_arr_eq((const unsigned char *)&key, expected, sizeof key);
        cr_expect_eq(decision_encoded_key(str("")), 0);
        cr_expect_eq(decision_encoded_key(str("d|t|r|")), 0);
        cr_expect_neq(decision_encoded_key(str("d|t|r|_")), 0);
}

Test(kept, is_compact)
{
        struct cached_decision k = full();

        cr_expect_leq(decision_encoded_size(&k), 22 + 8 * 2 + strlen("large" "by_rules" "maths & more" "because" "{\"a\":1}" "small" "coder"));
}

Test(kept, any_cut_or_longer_text_is_refused)
{
        struct cached_decision k = full(), back;
        struct pm_str bytes = written(&k);
        char *more = malloc(bytes.n + 1);

        for (size_t n = 0; n < bytes.n; n++) {
                char *cut = malloc(n + 1);

                memcpy(cut, bytes.p, n);
                cr_expect_eq(decision_decode((struct pm_str){ cut, n }, &back), -EINVAL, "cut at %zu", n);
                free(cut);
        }
        memcpy(more, bytes.p, bytes.n);
        more[bytes.n] = 0;
        cr_expect_eq(decision_decode((struct pm_str){ more, bytes.n + 1 }, &back), -EINVAL);
        free(more);
        free((char *)(uintptr_t)bytes.p);
}

Test(kept, foreign_bytes_are_refused)
{
        struct cached_decision k = full(), back;
        struct pm_str bytes = written(&k);
        char *p = (char *)(uintptr_t)bytes.p;

        p[0] = DECISION_CODEC_VERSION + 1;
        cr_expect_eq(decision_decode(bytes, &back), -EPROTO, "another version is told apart");
        p[0] = DECISION_CODEC_VERSION;
        memcpy(p + 9, &(float){ 1.5f }, 4);
        cr_expect_eq(decision_decode(bytes, &back), -EINVAL);
        memcpy(p + 9, &(uint32_t){ 0x7FC00000 }, 4); /* no number */
        cr_expect_eq(decision_decode(bytes, &back), -EINVAL);
        memcpy(p + 9, &(float){ .5f }, 4);
        p[13] = 2; /* a flag that nobody knows */
        cr_expect_eq(decision_decode(bytes, &back), -EINVAL);
        p[13] = 1;
        p[23] = 0; /* inside of the expert's name */
        cr_expect_eq(decision_decode(bytes, &back), -EINVAL);
        p[23] = 'l';
        cr_expect_eq(decision_decode(bytes, &back), 0);
        p[22] = 0; /* no expert: then all the rest is somewhere else too */
        cr_expect_eq(decision_decode(bytes, &back), -EINVAL);
        memset(p + 22, 0xFF, 5);
        cr_expect_eq(decision_decode(bytes, &back), -EINVAL, "a length beyond any");
        free(p);
}

/* ---- as lines ------------------------------------------------------------------------------------------------------------ */

Test(kept, a_line_comes_back_as_it_was)
{
        struct cached_decision k = full(), back;
        CLEANUP(free_p) char *line = decisions_line(str("d|acme|auto|abc"), &k);
        void *memory = NULL;
        struct pm_str key;
        char why[200];

        cr_assert_not_null(line);
        cr_assert_null(strchr(line, '\n'));
        cr_assert_eq(decisions_read_line(line, strlen(line), &key, &back, &memory, why, sizeof why), 0, "%s", why);
        cr_expect(same(key, str("d|acme|auto|abc")));
        expect_same(&k, &back);
        json_decref(memory);
}

Test(kept, bad_lines_say_what_is_wrong)
{
        static const struct {
                const char *line, *why;
        } bad[] = {
                { "", "no JSON object" },
                { "[]", "no JSON object: another value" },
                { "{\"key\":\"x\"}", "'key' is not that of a decision" },
                { "{\"key\":\"a|t|r|x\",\"ends_ms\":1,\"expert\":\"e\"}", "'key' is not" },
                { "{\"key\":\"d|t|r|x\",\"expert\":\"e\"}", "'ends_ms' is missing" },
                { "{\"key\":\"d|t|r|x\",\"ends_ms\":1}", "'expert' is missing" },
                { "{\"key\":\"d|t|r|x\",\"ends_ms\":1,\"expert\":\"e\",\"confidence\":2}", "'confidence' is not in 0..1" },
                { "{\"key\":\"d|t|r|x\",\"ends_ms\":1,\"expert\":\"e\",\"fallbacks\":3}", "'fallbacks' is no list" },
                { "{\"key\":\"d|t|r|x\",\"ends_ms\":1,\"expert\":\"e\",\"fallbacks\":[\"\"]}", "something else than names" },
                { "{\"key\":\"d|t|r|x\",\"ends_ms\":1,\"expert\":\"e\",\"extra\":\"[1]\"}", "'extra' is no JSON object" },
                { "{\"key\":\"d|t|r|x\",\"ends_ms\":18446744073709551616,\"expert\":\"e\"}", "no JSON object" },
                { "{\"key\":\"d|t|r|x\",\"key\":\"d|t|r|x\",\"ends_ms\":1,\"expert\":\"e\"}", "duplicate" },
        };

        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                struct pm_str key;
                void *memory;
                struct cached_decision k;
                char why[200] = "";

                cr_expect_eq(decisions_read_line(bad[i].line, strlen(bad[i].line), &key, &k, &memory, why, sizeof why), -EINVAL);
                cr_expect_not_null(strstr(why, bad[i].why), "%s: %s", bad[i].line, why);
        }
}

/* What no gateway would take back is told to whoever brings it in. */
Test(kept, lines_with_more_than_a_gateway_would_use_are_refused)
{
        static const char *const members[] = { "expert", "router", "category", "reason", "extra" };
        char line[80000], why[200];

        for (size_t i = 0; i < LENGTH_OF(members); i++)
                for (int over = 0; over < 2; over++) {
                        size_t most = i == 4 ? 65536 : 1024;
                        int n = snprintf(line, sizeof line, "{\"key\":\"d|t|r|x\",\"ends_ms\":1%s,\"%s\":\"%s", i == 0 ? "" : ",\"expert\":\"e\"", members[i],
                                         i == 4 ? "{\\\"a\\\":1" : "");
                        struct pm_str key;
                        struct cached_decision k;
                        void *memory;
                        int r;

                        memset(line + n, i == 4 ? ' ' : 'x', most + (size_t)over - (i == 4 ? 7 : 0));
                        n += (int)(most + (size_t)over - (i == 4 ? 7 : 0));
                        n += snprintf(line + n, sizeof line - (size_t)n, "%s\"}", i == 4 ? "}" : "");
                        r = decisions_read_line(line, (size_t)n, &key, &k, &memory, why, sizeof why);
                        cr_expect_eq(r, over ? -EINVAL : 0, "%s: %s", members[i], why);
                        if (r == 0)
                                json_decref(memory);
                }
}

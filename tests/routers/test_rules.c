/* SPDX-License-Identifier: Apache-2.0 */
/* rules.so: each condition, their order, what is refused at open, and that no expression can stall a step. */
#include "on_mockhost.h"

static struct on on;

static void open_rules(const char *json)
{
        cr_assert_eq(on_open(&on, "PM_ROUTERS", "rules", json, NULL), 0, "%s", on.why);
}

static void refused(const char *json, const char *says)
{
        cr_assert_eq(on_open(&on, "PM_ROUTERS", "rules", json, NULL), -EINVAL, "%s was accepted", json);
        cr_assert(strstr(on.why, says), "%s\nis not in\n%s", says, on.why);
        on_close(&on);
}

/* Asks and compares the expert (NULL: pass) and, if given, the reason. */
static void goes(const struct mock_ask *ask, const char *expert, const char *reason)
{
        struct mock_result r;

        mockhost_run(on.host, ask, &r);
        cr_assert_eq(r.end, expert ? MOCK_DECIDED : MOCK_PASSED, "'%s': %s %s", ask->text.p, mock_end_text(r.end), r.text);
        cr_assert(!expert || strcmp(r.expert, expert) == 0, "'%s': %s", ask->text.p, r.expert);
        cr_assert(!reason || strcmp(r.reason, reason) == 0, "%s", r.reason);
        mock_result_finish(&r);
}

static void text_goes(const char *text, const char *expert)
{
        goes(&(struct mock_ask){ .text = mock_str(text) }, expert, NULL);
}

Test(rules, the_first_whose_conditions_all_hold)
{
        struct mock_result r;

        open_rules("{\"rules\": [{\"name\": \"both\", \"keywords\": [\"python\"], \"tenants\": \"acme\", \"expert\": \"coder\"},"
                   " {\"keywords\": [\"python\", \"poem\"], \"expert\": \"large\", \"fallbacks\": [\"coder\", \"small\"], \"category\":"
                   " \"art\", \"reason\": \"because\", \"extra\": \"{\\\"temperature\\\": 1}\"}, {\"expert\": \"small\"}]}");
        goes(&(struct mock_ask){ .text = mock_str("Python!"), .tenant = "acme" }, "coder", "rule 'both'");
        goes(&(struct mock_ask){ .text = mock_str("Python!"), .tenant = "acme2" }, "large", "because");
        goes(&(struct mock_ask){ .text = mock_str("pythons") }, "small", "rule 3");
        r = on_ask(&on, "a poem");
        cr_assert_str_eq(r.category, "art");
        cr_assert_str_eq(r.extra, "{\"temperature\": 1}");
        cr_assert(r.n_fallbacks == 2 && strcmp(r.fallbacks[0], "coder") == 0 && r.confidence == 1);
        mock_result_finish(&r);
        on_close(&on);
}

Test(rules, keywords_are_whole_words_in_any_case_and_script)
{
        open_rules("{\"rules\": [{\"keywords\": [\"c++\", \"straße\", \"ÉCOLE\", \"密码\", \"he\", \"she said\", \"пароль\", \"x_y\"],"
                   " \"expert\": \"coder\"}]}");
        text_goes("I like C++.", "coder");
        text_goes("c++11 is old", "coder");
        text_goes("vc++", NULL);
        text_goes("DIE STRASSE", "coder");
        text_goes("Straßenbahn", NULL);
        text_goes("une école", "coder");
        text_goes("une e\xcc\x81" "cole", "coder"); /* the accent as a combining mark */
        text_goes("écoles", NULL);
        text_goes("如何重置我的密码？", "coder");
        text_goes("СБРОСИТЬ ПАРОЛЬ", "coder");
        text_goes("пароля", NULL);
        text_goes("the", NULL);
        text_goes("then she says", NULL);
        text_goes("what She Said", "coder");
        text_goes("he", "coder");
        text_goes("ax_y x_yz x_y", "coder");
        text_goes("ax_y x_yz x-y", NULL);
        text_goes("", NULL);
        text_goes("broken \xff\xc3 he \xe5", "coder");
        text_goes("h\xff" "e", NULL);
        on_close(&on);
}

/* Keywords that are ends and parts of one another, by many rules: the automaton's links. */
Test(rules, overlapping_keywords)
{
        open_rules("{\"rules\": [{\"keywords\": [\"new york city\"], \"expert\": \"large\"}, {\"keywords\": [\"york\", \"city\"],"
                   " \"expert\": \"coder\"}, {\"keywords\": [\"york\", \"new\"], \"expert\": \"small\"}]}");
        text_goes("in New York City", "large");
        text_goes("in New York Town", "coder");
        text_goes("something new", "small");
        text_goes("newyork", NULL);
        on_close(&on);
}

/* Every keyword of many is found, and belongs to its own rule. */
Test(rules, many_rules_and_keywords)
{
        static const char *const experts[] = { "small", "large", "coder" };
        char *json = NULL, text[64];
        size_t n = 0;
        FILE *out = open_memstream(&json, &n);

        (void)fputs("{\"rules\": [", out);
        for (int i = 0; i < 300; i++)
                (void)fprintf(out, "%s{\"keywords\": [\"key%d\", \"%d words\"], \"expert\": \"%s\"}", i ? "," : "", i, i, experts[i % 3]);
        (void)fputs("]}", out);
        (void)fclose(out);
        open_rules(json);
        for (int i = 0; i < 300; i++) {
                (void)snprintf(text, sizeof text, "the KEY%d here", i);
                text_goes(text, experts[i % 3]);
                (void)snprintf(text, sizeof text, "%d words", i);
                text_goes(text, experts[i % 3]);
        }
        text_goes("key300", NULL);
        on_close(&on);
        free(json);
}

Test(rules, headers_models_and_tenants)
{
        static const char *const gold[] = { "X-Tier", "gold", NULL }, *const silver[] = { "x-tier", "silver 2", NULL },
                          *const both[] = { "x-tier", "gold", "x-beta", "", NULL };

        open_rules("{\"rules\": [{\"headers\": [{\"name\": \"x-tier\", \"value\": \"gold\"}, {\"name\": \"x-beta\"}], \"expert\": \"coder\"},"
                   " {\"headers\": [{\"name\": \"x-tier\", \"value\": \"gold\"}], \"expert\": \"large\"},"
                   " {\"headers\": [{\"name\": \"x-tier\", \"regex\": \"^silver \\\\d$\"}], \"expert\": \"small\"},"
                   " {\"models\": [\"fast\", \"faster\"], \"expert\": \"small\"}]}");
        goes(&(struct mock_ask){ .text = mock_str("a"), .headers = gold }, "large", NULL);
        goes(&(struct mock_ask){ .text = mock_str("b"), .headers = silver }, "small", NULL);
        goes(&(struct mock_ask){ .text = mock_str("c"), .headers = both }, "large", NULL); /* an empty header is as none */
        goes(&(struct mock_ask){ .text = mock_str("d"), .model = "faster" }, "small", NULL);
        goes(&(struct mock_ask){ .text = mock_str("e") }, NULL, NULL);
        on_close(&on);
}

Test(rules, sizes_of_the_conversation)
{
        static const struct pm_message turns[] = { { { "user", 4 }, { "\xc3\xa9\xc3\xa9\xc3\xa9", 6 } }, { { "assistant", 9 }, { "1234", 4 } },
                                                   { { "user", 4 }, { "56", 2 } } };

        open_rules("{\"rules\": [{\"min_messages\": 3, \"min_bytes\": 12, \"max_chars\": 9, \"expert\": \"large\"},"
                   " {\"max_bytes\": 5, \"expert\": \"small\"}, {\"min_chars\": 6, \"max_messages\": 1, \"expert\": \"coder\"}]}");
        goes(&(struct mock_ask){ .text = { "56", 2 }, .messages = turns, .n_messages = 3 }, "large", NULL);
        goes(&(struct mock_ask){ .text = { "56", 2 }, .messages = turns, .n_messages = 2 }, NULL, NULL);
        text_goes("12345", "small");
        text_goes("123456", "coder");
        on_close(&on);
}

Test(rules, expressions)
{
        open_rules("{\"rules\": [{\"regex\": \"(?i)\\\\bselect\\\\b.*\\\\bfrom\\\\b\", \"expert\": \"coder\"},"
                   " {\"regex\": \"^\\\\p{Lu}\", \"expert\": \"large\"}]}");
        text_goes("SELECT a FROM b", "coder");
        text_goes("Élan", "large");
        text_goes("selected", NULL);
        text_goes("\xff\xfe select x from y", "coder");
        on_close(&on);
}

/* The worst that an expression can do is to count as "no match", in less than a few milliseconds. */
Test(rules, an_expression_that_explodes_is_stopped)
{
        struct mock_result r;
        char text[6000];

        memset(text, 'a', sizeof text);
        text[sizeof text - 2] = '!';
        text[sizeof text - 1] = '\0';
        open_rules("{\"rules\": [{\"name\": \"evil\", \"regex\": \"(a+)+$\", \"expert\": \"coder\"}, {\"regex\": \"^(a|a)*$\", \"expert\":"
                   " \"coder\"}, {\"regex\": \"^(.*a)*$\", \"expert\": \"coder\"}, {\"regex\": \"^(a|aa)+$\", \"expert\": \"coder\"},"
                   " {\"expert\": \"small\"}]}");
        r = on_ask(&on, text);
        cr_assert_eq(r.end, MOCK_DECIDED, "%s", r.text);
        cr_assert_str_eq(r.expert, "small");
        cr_assert(strstr(r.log, "warn: rule 'evil': its expression was stopped (match limit exceeded), using \"no match\""), "%s", r.log);
        cr_assert(r.steps_us < 50000, "%.0f us", r.steps_us); /* minutes without limits; much below, but for sanitizers */
        mock_result_finish(&r);
        on_close(&on);
}

/* An honest expression that has to remember every character of a long text. */
Test(rules, an_expression_that_needs_much_stack)
{
        char text[12000];

        memset(text, 'a', sizeof text);
        text[sizeof text - 1] = '\0';
        open_rules("{\"rules\": [{\"regex\": \"^(?:(?!forbidden).)*$\", \"expert\": \"small\"}]}");
        text_goes(text, "small");
        memcpy(text + 11000, "forbidden", 9);
        text_goes(text, NULL);
        on_close(&on);
        open_rules("{\"rules\": [{\"regex\": \"^(a|b)*$\", \"expert\": \"small\"}]}");
        memset(text + 11000, 'b', 9);
        text_goes(text, "small");
        text[11000] = 'c';
        text_goes(text, NULL);
        on_close(&on);
}

Test(rules, languages)
{
        char file[4096], line[1024];
        FILE *f;

        open_rules("{\"rules\": [{\"languages\": [\"de\", \"zh\"], \"expert\": \"large\"}, {\"languages\": [\"en\"], \"expert\": \"small\"}]}");
        (void)snprintf(file, sizeof file, "%s/languages.tsv", secure_getenv("PM_TEST_DATA"));
        f = fopen(file, "re");
        cr_assert(f);
        while (fgets(line, sizeof line, f)) {
                const char *expert = strncmp(line, "de", 2) == 0 || strncmp(line, "zh", 2) == 0 ? "large"
                                     : strncmp(line, "en", 2) == 0                              ? "small"
                                                                                                : NULL;

                line[strcspn(line, "\n")] = '\0';
                text_goes(line + 3, expert);
        }
        (void)fclose(f);
        text_goes("2 + 2", NULL);
        on_close(&on);
}

/* What a host does when an expert is down: it leaves it out of the query's experts. */
Test(rules, an_expert_that_is_not_usable_gives_way)
{
        struct pm_expert experts[LENGTH_OF(three_experts)];
        struct mock_setup setup = { .experts = experts, .n_experts = LENGTH_OF(experts) };

        memcpy(experts, three_experts, sizeof experts);
        cr_assert_eq(on_open(&on, "PM_ROUTERS", "rules", "{\"rules\": [{\"keywords\": \"a\", \"expert\": \"coder\", \"fallbacks\": [\"large\","
                             " \"small\"]}, {\"keywords\": \"b\", \"expert\": \"coder\"}]}", &setup), 0, "%s", on.why);
        text_goes("a", "coder");
        experts[2].name = "gone";
        text_goes("a", "large");
        text_goes("b", NULL);
        experts[1].name = "gone too";
        text_goes("a", "small");
        on_close(&on);
}

Test(rules, every_mistake_at_open)
{
        refused("{\"rules\": []}", "has 0 entries, which is not in 1..1024");
        refused("{\"rules\": [{\"name\": \"a\", \"regex\": \"(x\", \"expert\": \"small\"}, {\"regex\": \"[\", \"expert\": \"big\", \"fallbacks\":"
                " [\"huge\"], \"languages\": [\"german\"], \"extra\": \"[]\", \"min_chars\": 3, \"max_chars\": 2, \"keywords\": [\"\"]}]}",
                "router 'rules': rule 'a': regex '(x', at character 2: missing closing parenthesis; rule 2: keyword '' is empty");
        refused("{\"rules\": [{\"expert\": \"big\", \"languages\": [\"xx\"]}]}", "rule 1: language 'xx' is none that can be recognised: en de");
        refused("{\"rules\": [{\"expert\": \"big\"}]}", "rule 1: no expert is called 'big'");
        refused("{\"rules\": [{\"expert\": \"small\", \"extra\": \"{\"}]}", "rule 1: extra is no JSON object: ");
        refused("{\"rules\": [{\"expert\": \"small\", \"min_bytes\": 3, \"max_bytes\": 2}]}", "rule 1: min_bytes is above max_bytes");
        refused("{\"rules\": [{\"expert\": \"small\", \"headers\": [{\"name\": \"a\", \"value\": \"b\", \"regex\": \"c\"}]}]}",
                "header 'a' has both a value and a regex");
        refused("{\"rules\": [{\"expert\": \"small\", \"keyword\": \"b\"}]}", "rules.rules[0]: unknown key 'keyword' - did you mean 'keywords'?");
}

/* A rule with this extra, a JSON text in which quotes stand as \". */
static const char *with_extra(const char *before, size_t members, const char *each, size_t n, const char *middle, const char *after_each, const char *end)
{
        static char json[100000];
        size_t at = (size_t)snprintf(json, sizeof json, "{\"rules\": [{\"expert\": \"small\", \"extra\": \"%s", before);

        for (size_t i = 0; i < members; i++)
                at += (size_t)snprintf(json + at, sizeof json - at, "\\\"m%zu\\\":1,", i);
        for (size_t i = 0; i < n; i++)
                at += (size_t)snprintf(json + at, sizeof json - at, "%s", each);
        at += (size_t)snprintf(json + at, sizeof json - at, "%s", middle);
        for (size_t i = 0; i < n; i++)
                at += (size_t)snprintf(json + at, sizeof json - at, "%s", after_each);
        (void)snprintf(json + at, sizeof json - at, "%s\"}]}", end);
        return json;
}

static void accepted(const char *json)
{
        cr_assert_eq(on_open(&on, "PM_ROUTERS", "rules", json, NULL), 0, "%s", on.why);
        on_close(&on);
}

Test(rules, extra_that_no_gateway_would_take)
{
        refused(with_extra("{\\\"a\\\":\\\"", 0, "x", 65529, "", "", "\\\"}"), "rule 1: extra has 65537 bytes, at most 65536 are allowed");
        accepted(with_extra("{\\\"a\\\":\\\"", 0, "x", 65528, "", "", "\\\"}"));
        refused(with_extra("{", 256, "", 0, "\\\"a\\\":1", "", "}"), "rule 1: extra has 257 members, at most 256 are allowed");
        accepted(with_extra("{", 255, "", 0, "\\\"a\\\":1", "", "}"));
        refused(with_extra("{\\\"a]\\\":", 0, "[", 64, "1", "]", "}"), "rule 1: extra is nested 65 deep, at most 64 levels are allowed");
        accepted(with_extra("{\\\"a[\\\":", 0, "[", 63, "1", "]", "}"));
}

Test(rules, a_rule_that_can_never_match_is_warned_of)
{
        open_rules("{\"rules\": [{\"name\": \"all\", \"expert\": \"small\"}, {\"name\": \"late\", \"regex\": \"x\", \"expert\": \"large\"}]}");
        cr_assert_str_eq(mockhost_log(on.host), "warn: rule 'late' can never match: rule 'all' before it has no conditions\n");
        on_close(&on);
}

/* fallbacks: [] is another thing than none given: here and nowhere else, there or not. */
Test(rules, an_empty_list_of_fallbacks_means_nowhere_else)
{
        static const char *const coder[] = { "coder", NULL }, *const both[] = { "coder", "large", NULL };
        const struct { const char *text; const char *const *resting; const char *expert; bool only; } cases[] = {
                { "invoice", NULL, "coder", true }, { "invoice", coder, "coder", true },  { "invoice", both, "coder", true },
                { "poem", NULL, "coder", false },   { "poem", coder, "large", false },    { "poem", both, NULL, false },
                { "song", NULL, "coder", false },   { "song", coder, NULL, false },
        };

        open_rules("{\"rules\": [{\"keywords\": [\"invoice\"], \"expert\": \"coder\", \"fallbacks\": []},"
                   " {\"keywords\": [\"poem\"], \"expert\": \"coder\", \"fallbacks\": [\"large\"]}, {\"keywords\": [\"song\"], \"expert\": \"coder\"}]}");
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct mock_ask ask = { .text = mock_str(cases[i].text), .resting = cases[i].resting };
                struct mock_result r;

                mockhost_run(on.host, &ask, &r);
                cr_assert_eq(r.end, cases[i].expert ? MOCK_DECIDED : MOCK_PASSED, "%zu: %s %s", i, mock_end_text(r.end), r.text);
                cr_assert(!cases[i].expert || strcmp(r.expert, cases[i].expert) == 0, "%zu: %s", i, r.expert);
                cr_assert(!cases[i].expert || r.only == cases[i].only, "%zu", i);
                cr_assert(!r.only || r.n_fallbacks == 0, "%zu", i);
                mock_result_finish(&r);
        }
        on_close(&on);
}

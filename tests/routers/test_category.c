/* SPDX-License-Identifier: Apache-2.0 */
/* category.so: the shipped model on prompts that anyone can place, rankings and fallbacks, and what open() refuses. */
#include "on_mockhost.h"

#include <stdlib.h>

#include "base.h"
#include "classifier.h"
#include "encoder.h"

#define MODEL "../../configs/models/mmlupro-category.safetensors"
#define MAP "../../configs/models/mmlupro-map.json"

static const struct pm_expert five[] = {
        { .name = "mixtral-8x7b" }, { .name = "mathstral-7b" }, { .name = "yi-34b" }, { .name = "phi-3-mini" }, { .name = "llama-3.1-8b" },
};

static struct mock_setup setup_of(const struct pm_expert *experts, size_t n)
{
        return (struct mock_setup){ .base = secure_getenv("PM_TEST_DATA"), .experts = experts, .n_experts = n };
}

static int open_with(struct on *o, const char *json, const struct pm_expert *experts, size_t n)
{
        struct mock_setup setup = setup_of(experts, n);

        return on_open(o, "PM_ROUTERS", "category", json, &setup);
}

static const char shipped[] = "{\"model\": \"" MODEL "\", \"map\": \"" MAP "\"}";

Test(category, places_what_anyone_can_place)
{
        static const struct {
                const char *text, *category, *expert;
        } cases[] = {
                { "Find the integral of x squared over the ring Z_7 of all polynomials", "math", "mathstral-7b" },
                { "Under the statute of frauds, is an oral contract between the plaintiff and the defendant enforceable in court?", "law",
                  "yi-34b" },
                { "In the cells of plants, which organelle makes glucose, and how did natural selection favor such species?", "biology", "mixtral-8x7b" },
                { "In chess tournaments of psychology students, which reinforcement schedule did Skinner use in conditioning experiments?",
                  "psychology", "yi-34b" },
        };
        struct on o;

        cr_assert_eq(open_with(&o, shipped, five, 5), 0, "%s", o.why);
        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                struct mock_result r = on_ask(&o, cases[i].text);

                cr_assert_eq(r.end, MOCK_DECIDED, "%s", r.text ? r.text : "");
                cr_assert_str_eq(r.category, cases[i].category);
                cr_assert_str_eq(r.expert, cases[i].expert);
                cr_assert_eq(r.n_fallbacks, 4);
                cr_assert(r.confidence >= .5 && r.confidence <= 1);
                cr_assert_eq(strncmp(r.reason, "category ", 9), 0, "%s", r.reason);
                cr_assert_eq(r.steps, 1);
                cr_assert_eq(r.allocated, 0, "the short way allocates nothing");
                mock_result_finish(&r);
        }
        on_close(&o);
}

Test(category, no_text_and_no_confidence_are_general)
{
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, "{\"model\": \"" MODEL "\", \"map\": \"" MAP "\", \"threshold\": 1}", five, 5), 0, "%s", o.why);
        r = on_ask(&o, "");
        cr_assert_str_eq(r.category, "general");
        cr_assert_str_eq(r.expert, "llama-3.1-8b");
        cr_assert_eq(strncmp(r.reason, "category general: no text: llama-3.1-8b 0.4", 43), 0, "%s", r.reason);
        mock_result_finish(&r);
        r = on_ask(&o, "What is the integral of x?");
        cr_assert_str_eq(r.category, "general");
        cr_assert(strstr(r.reason, "is not sure"), "%s", r.reason);
        mock_result_finish(&r);
        on_close(&o);
}

Test(category, a_long_prompt_leaves_the_loop)
{
        static char text[100000];
        struct mock_ask ask = { .text = { text, sizeof text } };
        struct mock_result r;
        struct on o;

        memset(text, ' ', sizeof text);
        memcpy(text + sizeof text - 73, "Find the integral of x squared over the ring Z_7 of all polynomials here ", 73);
        cr_assert_eq(open_with(&o, shipped, five, 5), 0, "%s", o.why);
        mockhost_run(o.host, &ask, &r);
        cr_assert_eq(r.end, MOCK_DECIDED);
        cr_assert_str_eq(r.category, "math");
        cr_assert_eq(r.offloads, 1);
        mock_result_finish(&r);
        ask.faults.busy_at = 1;
        mockhost_run(o.host, &ask, &r);
        cr_assert_eq(r.end, MOCK_FAILED);
        mock_result_finish(&r);
        on_close(&o);
        cr_assert_eq(open_with(&o, "{\"model\": \"" MODEL "\", \"map\": \"" MAP "\", \"max_text\": \"4KiB\"}", five, 5), 0, "%s", o.why);
        ask.faults.busy_at = 0;
        mockhost_run(o.host, &ask, &r);
        cr_assert_str_eq(r.category, "math");
        cr_assert_eq(r.offloads, 0);
        mock_result_finish(&r);
        on_close(&o);
}

Test(category, experts_that_are_not_configured_are_passed_over)
{
        static const struct pm_expert two[] = { { .name = "phi-3-mini" }, { .name = "yi-34b" } };
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, shipped, two, 2), 0, "%s", o.why);
        cr_assert(strstr(mockhost_log(o.host), " ranks experts that are not configured, passing them over: mixtral-8x7b, "), "%s", mockhost_log(o.host));
        r = on_ask(&o, "Find the integral of x squared over the ring Z_7 of all polynomials");
        cr_assert_str_eq(r.expert, "phi-3-mini");
        cr_assert_eq(r.n_fallbacks, 1);
        cr_assert_str_eq(r.fallbacks[0], "yi-34b");
        mock_result_finish(&r);
        on_close(&o);
}

Test(category, a_table_in_place_and_categories_that_inherit_general)
{
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, "{\"model\": \"" MODEL "\", \"experts\": {\"math\": {\"ranking\": [\"coder\", \"large\"]},"
                                   " \"general\": {\"ranking\": [\"small\"]}}}", three_experts, 3), 0, "%s", o.why);
        r = on_ask(&o, "Find the integral of x squared over the ring Z_7 of all polynomials");
        cr_assert_str_eq(r.expert, "coder");
        mock_result_finish(&r);
        r = on_ask(&o, "In the cells of plants, which organelle makes glucose, and how did natural selection favor such species?");
        cr_assert_str_eq(r.category, "biology");
        cr_assert_str_eq(r.expert, "small");
        mock_result_finish(&r);
        on_close(&o);
}

#define ENCODER "../../configs/models/pointsman-static"

/* Writes a model of two categories that looks at nothing but the first dimension of the vector. */
static void write_dense(const char *path, const char *digest)
{
        static int8_t rows[(1 << 8) * 16];
        static const float scale[2] = { 1, 1 }, bias[2] = { 0, 0 };
        static float dense[256 * 2];
        static const char *const labels[2] = { "left", "right" };
        struct classifier_parts p = { .bits = 8, .categories = 2, .labels = labels, .rows = rows, .scale = scale, .bias = bias, .idf_step = 1,
                                      .slope = 1, .threshold = 0, .text_max = 4096, .dim = 256, .dense = dense, .encoder = digest };
        struct classifier *c;
        char why[256];

        for (size_t i = 0; i < 1 << 8; i++)
                rows[i * 16 + 2] = 1;
        dense[0] = 10;
        dense[1] = -10;
        c = classifier_create(&p);
        cr_assert(c);
        cr_assert_eq(classifier_save(c, path, NULL, why, sizeof why), 0, "%s", why);
        classifier_destroy(c);
}

Test(category, a_model_that_looks_at_vectors)
{
        static const struct pm_expert two[] = { { .name = "small" }, { .name = "large" } };
        static const char *const texts[] = { "transfer money to my savings account", "the enzyme folds a protein", "who won the war?" };
        char name[] = "/tmp/pointsman-dense.XXXXXX", json[512], digest[65], path[PATH_MAX], why[256];
        int fd = mkstemp(name);
        struct encoder *e;
        struct on o;

        cr_assert_geq(fd, 0);
        (void)close(fd);
        (void)snprintf(path, sizeof path, "%s/" ENCODER, secure_getenv("PM_TEST_DATA"));
        cr_assert_eq(encoder_open(path, &e, why, sizeof why), 0, "%s", why);
        cr_assert_eq(encoder_digest(e, digest), 0);
        write_dense(name, digest);
        (void)snprintf(json, sizeof json, "{\"model\": \"%s\", \"encoder\": \"" ENCODER "\", \"experts\": {\"left\": {\"ranking\": [\"small\"]},"
                                          "\"right\": {\"ranking\": [\"large\"]}, \"general\": {\"ranking\": [\"large\"]}}}", name);
        cr_assert_eq(open_with(&o, json, two, 2), 0, "%s", o.why);
        for (size_t i = 0; i < LENGTH_OF(texts); i++) {
                struct mock_result r = on_ask(&o, texts[i]);
                float v[ENCODER_DIM_MAX];

                cr_assert_eq(encoder_encode(e, NULL, texts[i], strlen(texts[i]), 0, v, NULL), 0);
                cr_assert_str_eq(r.category, v[0] > 0 ? "left" : "right");
                cr_assert_eq(r.allocated, 0);
                mock_result_finish(&r);
        }
        on_close(&o);
        (void)snprintf(json, sizeof json, "{\"model\": \"%s\", \"experts\": {\"general\": {\"ranking\": [\"large\"]}}}", name);
        cr_assert_neq(open_with(&o, json, two, 2), 0);
        cr_assert(strstr(o.why, "'encoder' must name"), "%s", o.why);
        on_close(&o);
        digest[0] = digest[0] == '0' ? '1' : '0';
        write_dense(name, digest);
        (void)snprintf(json, sizeof json, "{\"model\": \"%s\", \"encoder\": \"" ENCODER "\", \"experts\": {\"general\": {\"ranking\": [\"large\"]}}}",
                       name);
        cr_assert_neq(open_with(&o, json, two, 2), 0);
        cr_assert(strstr(o.why, "it is not the one"), "%s", o.why);
        on_close(&o);
        encoder_destroy(e);
        (void)unlink(name);
}

/* A model that says "left" of every text, or is in two minds. */
static void write_task(const char *path, bool sure)
{
        static int8_t rows[(1 << 8) * 16];
        static const float scale[2] = { 1, 1 };
        static const char *const labels[2] = { "left", "right" };
        const float bias[2] = { sure ? 1 : 0, 0 };
        struct classifier_parts p = { .bits = 8, .categories = 2, .labels = labels, .rows = rows, .scale = scale, .bias = bias, .idf_step = 1,
                                      .slope = 1, .threshold = .6, .text_max = 4096 };
        struct classifier *c;
        char why[256];

        for (size_t i = 0; i < 1 << 8; i++)
                rows[i * 16 + 2] = 1;
        c = classifier_create(&p);
        cr_assert(c);
        cr_assert_eq(classifier_save(c, path, NULL, why, sizeof why), 0, "%s", why);
        classifier_destroy(c);
}

static void decides(struct on *o, const char *text, const char *category, const char *expert)
{
        struct mock_result r = on_ask(o, text);

        cr_assert_eq(r.end, MOCK_DECIDED, "%s", r.text ? r.text : "");
        cr_assert_str_eq(r.category, category);
        cr_assert_str_eq(r.expert, expert);
        cr_assert_eq(!!strstr(r.reason, ", task left (0.99)"), !!strchr(category, '/'), "%s", r.reason);
        mock_result_finish(&r);
}

Test(category, a_task_beside_the_category)
{
        static const char integral[] = "Find the integral of x squared over the ring Z_7 of all polynomials";
        static const char cells[] = "In the cells of plants, which organelle makes glucose, and how did natural selection favor such species?";
        static const char table[] = "\"math\": {\"ranking\": [\"coder\"]}, \"math/left\": {\"ranking\": [\"large\", \"small\"]}, "
                                    "\"general\": {\"ranking\": [\"small\"]}";
        char name[] = "/tmp/pointsman-task.XXXXXX", json[768];
        int fd = mkstemp(name);
        struct on o;

        cr_assert_geq(fd, 0);
        (void)close(fd);
        write_task(name, true);
        (void)snprintf(json, sizeof json, "{\"model\": \"" MODEL "\", \"task_model\": \"%s\", \"experts\": {%s}}", name, table);
        cr_assert_eq(open_with(&o, json, three_experts, 3), 0, "%s", o.why);
        decides(&o, integral, "math/left", "large");
        decides(&o, cells, "biology/left", "small");
        decides(&o, "Hello there", "general/left", "small");
        on_close(&o);
        write_task(name, false);
        cr_assert_eq(open_with(&o, json, three_experts, 3), 0, "%s", o.why);
        decides(&o, integral, "math", "coder");
        on_close(&o);
        (void)snprintf(json, sizeof json, "{\"model\": \"" MODEL "\", \"task_model\": \"%s\", \"experts\": {\"math/up\": {\"ranking\": [\"coder\"]}, %s}}",
                       name, table);
        cr_assert_neq(open_with(&o, json, three_experts, 3), 0);
        cr_assert(strstr(o.why, "'math/up'") && strstr(o.why, "nor are there such a one and a task of"), "%s", o.why);
        on_close(&o);
        (void)snprintf(json, sizeof json, "{\"model\": \"" MODEL "\", \"task_model\": \"/nonexistent\", \"experts\": {%s}}", table);
        cr_assert_neq(open_with(&o, json, three_experts, 3), 0);
        cr_assert(strstr(o.why, "task_model '/nonexistent'"), "%s", o.why);
        on_close(&o);
        (void)unlink(name);
}

#define SAYS(role, text) { { role, sizeof role - 1 }, { text, sizeof text - 1 } }

Test(category, a_short_last_message_is_read_with_those_before_it)
{
        static const struct pm_message talk[] = { SAYS("system", "You know all about contracts, courts and plaintiffs under the statute of frauds."),
                                                  SAYS("user", "Find the integral of x squared over the ring Z_7 of all polynomials"),
                                                  SAYS("assistant", "It is not defined."), SAYS("user", ""), SAYS("assistant", "Yes?"), SAYS("user", "and why?") };
        struct mock_ask ask = { .text = mock_str("and why?"), .messages = talk, .n_messages = LENGTH_OF(talk) };
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_with(&o, shipped, five, 5), 0, "%s", o.why);
        mockhost_run(o.host, &ask, &r);
        cr_assert_str_eq(r.category, "math");
        mock_result_finish(&r);
        ask.messages = talk + 5;
        ask.n_messages = 1;
        mockhost_run(o.host, &ask, &r);
        cr_assert_str_neq(r.category, "math");
        mock_result_finish(&r);
        on_close(&o);
        cr_assert_eq(open_with(&o, "{\"model\": \"" MODEL "\", \"map\": \"" MAP "\", \"short_text\": 0}", five, 5), 0, "%s", o.why);
        ask.messages = talk;
        ask.n_messages = LENGTH_OF(talk);
        mockhost_run(o.host, &ask, &r);
        cr_assert_str_neq(r.category, "math", "the last message alone");
        mock_result_finish(&r);
        on_close(&o);
}

static void refused(const char *json, const char *said)
{
        struct on o;

        cr_assert_neq(open_with(&o, json, three_experts, 3), 0, "%s", json);
        cr_assert(strstr(o.why, said), "%s: said '%s'", json, o.why);
        on_close(&o);
}

/* ---- expected scores ---------------------------------------------------------------------------------------------------- */

#define TABLE "\"rankings\": {\"math\": [\"large\", \"coder\", \"small\"], \"general\": [\"small\", \"coder\", \"large\"]}, " \
              "\"scores\": {\"math\": {\"large\": 0.9, \"coder\": 0.7, \"small\": 0.2}, \"general\": {\"small\": 0.6, \"coder\": 0.5, \"large\": 0.4}}"
#define MATH "Find the integral of x squared over the ring Z_7 of all polynomials"

static char map_name[] = "/tmp/pointsman-scores.XXXXXX";

/* With further options; `more` members of the map. */
static int open_map(struct on *o, const char *more, const char *options)
{
        char json[1024];
        FILE *f;
        int fd;

        memcpy(map_name + sizeof map_name - 7, "XXXXXX", 6);
        fd = mkstemp(map_name);
        f = fd < 0 ? NULL : fdopen(fd, "we");
        cr_assert(f && fprintf(f, "{\"kind\": \"pointsman.map\", \"version\": 1, %s" TABLE "}", more) > 0 && fclose(f) == 0);
        (void)snprintf(json, sizeof json, "{\"model\": \"" MODEL "\", \"map\": \"%s\"%s}", map_name, options);
        fd = open_with(o, json, three_experts, 3);
        (void)unlink(map_name);
        return fd;
}

static void goes_to(struct on *o, const struct mock_ask *ask, const char *expert, const char *second, const char *said)
{
        struct mock_result r;

        mockhost_run(o->host, ask, &r);
        cr_assert_eq(r.end, MOCK_DECIDED, "%s", r.text ? r.text : "");
        cr_assert_str_eq(r.expert, expert, "%s", r.reason);
        cr_assert(second ? r.n_fallbacks > 0 && strcmp(r.fallbacks[0], second) == 0 : r.n_fallbacks == 0, "%s", r.reason);
        cr_assert(strstr(r.reason, said), "'%s' is not in '%s'", said, r.reason);
        mock_result_finish(&r);
}

Test(category, the_expected_score_less_the_price_decides)
{
        static const char *const cheap[] = { "X-Tier", "cheap", NULL }, *const none[] = { "x-tier", "golden", NULL };
        struct mock_ask ask = { .text = { MATH, sizeof MATH - 1 } };
        struct on o;

        cr_assert_eq(open_map(&o, "", ""), 0, "%s", o.why);
        goes_to(&o, &ask, "large", "coder", "): large 0.8");
        on_close(&o);
        /* three read for one written: small .125, coder 1.5, large 3.5 */
        cr_assert_eq(open_map(&o, "", ", \"lambda\": 0.12"), 0, "%s", o.why);
        goes_to(&o, &ask, "coder", "large", "-0.180, large 0.8");
        on_close(&o);
        cr_assert_eq(open_map(&o, "", ", \"tier_header\": \"x-tier\", \"tiers\": {\"cheap\": {\"lambda\": 1}, \"best\": {}}"), 0, "%s", o.why);
        goes_to(&o, &ask, "large", "coder", "large 0.8");
        ask.headers = cheap;
        goes_to(&o, &ask, "small", "coder", "; tier cheap");
        ask.headers = none;
        goes_to(&o, &ask, "large", "coder", "; no such tier");
        on_close(&o);
        ask.headers = NULL;
        cr_assert_eq(open_map(&o, "", ", \"mu\": 0.01, \"nu\": 0.1, \"expenses\": {\"large\": {\"active\": 70, \"seconds\": 1}, \"coder\": {\"active\": 8}}"), 0, "%s",
                     o.why);
        goes_to(&o, &ask, "coder", "small", "-0.080, small 0.2");
        on_close(&o);
}

Test(category, who_rests_is_passed_over_and_all_resting_passes)
{
        static const char *const large[] = { "large", NULL }, *const all[] = { "large", "small", "coder", NULL };
        struct mock_ask ask = { .text = { MATH, sizeof MATH - 1 }, .resting = large };
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_map(&o, "", ""), 0, "%s", o.why);
        goes_to(&o, &ask, "coder", "small", "): coder 0.6");
        ask.resting = all;
        mockhost_run(o.host, &ask, &r);
        cr_assert_eq(r.end, MOCK_PASSED);
        mock_result_finish(&r);
        on_close(&o);
}

Test(category, doubt_is_the_scores_of_general)
{
        struct mock_ask ask = { .text = { MATH, sizeof MATH - 1 }, .explain = 1 };
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_map(&o, "", ", \"max_entropy\": 0"), 0, "%s", o.why);
        mockhost_run(o.host, &ask, &r);
        cr_assert_str_eq(r.category, "general");
        cr_assert(r.unsure && strstr(r.reason, "but others are near"), "%s", r.reason);
        cr_assert(r.explained && strstr(r.explained, "\"likeliest\":\"math\"") && strstr(r.explained, "\"expert\":\"small\""), "%s", r.explained);
        mock_result_finish(&r);
        on_close(&o);
        cr_assert_eq(open_map(&o, "\"unsure\": {\"confidence\": 0.0, \"margin\": 1}, ", ""), 0, "%s", o.why);
        mockhost_run(o.host, &ask, &r);
        cr_assert(r.unsure, "the map says that a margin below 1 is not sure: %s", r.reason);
        mock_result_finish(&r);
        ask.text = mock_str("");
        goes_to(&o, &ask, "small", "coder", "category general: no text: small 0.600, coder 0.500, large 0.400");
        on_close(&o);
}

Test(category, rankings_decide_where_they_are_wanted_or_all_that_there_is)
{
        struct mock_ask ask = { .text = { MATH, sizeof MATH - 1 } };
        struct on o;

        cr_assert_eq(open_map(&o, "", ", \"by\": \"rankings\""), 0, "%s", o.why);
        goes_to(&o, &ask, "large", "coder", "category math (");
        on_close(&o);
        cr_assert_eq(open_map(&o, "\"composition\": {}, ", ""), 0, "%s", o.why);
        goes_to(&o, &ask, "large", "coder", ")");
        on_close(&o);
        cr_assert_neq(open_map(&o, "", ", \"by\": \"rankings\", \"lambda\": 1"), 0);
        cr_assert(strstr(o.why, "lambda, mu, nu and tiers are weighed against scores"), "%s", o.why);
        on_close(&o);
        cr_assert_neq(open_map(&o, "", ", \"tiers\": {\"cheap\": {}}"), 0);
        cr_assert(strstr(o.why, "'tier_header' must say which header"), "%s", o.why);
        on_close(&o);
        cr_assert_neq(open_map(&o, "", ", \"tier_header\": \"x-tier\""), 0);
        cr_assert(strstr(o.why, "there are no 'tiers'"), "%s", o.why);
        on_close(&o);
        cr_assert_neq(open_map(&o, "", ", \"expenses\": {\"larger\": {}}"), 0);
        cr_assert(strstr(o.why, "'larger' is not a configured expert"), "%s", o.why);
        on_close(&o);
        refused("{\"model\": \"" MODEL "\", \"by\": \"scores\", \"experts\": {\"general\": {\"ranking\": [\"small\"]}}}", "has no scores, only rankings");
}

Test(category, a_map_has_a_limit)
{
        char name[] = "/tmp/pointsman-map.XXXXXX", json[256];
        int fd = mkstemp(name);

        cr_assert_geq(fd, 0);
        cr_assert_eq(ftruncate(fd, (4 << 20) + 1), 0);
        (void)snprintf(json, sizeof json, "{\"model\": \"" MODEL "\", \"map\": \"%s\"}", name);
        refused(json, "must be a file of at most 4 MiB");
        (void)close(fd);
        (void)unlink(name);
}

Test(category, what_cannot_work_is_refused_when_opened)
{
        refused("{}", "model");
        refused("{\"model\": \"/nonexistent\", \"map\": \"" MAP "\"}", "model '/nonexistent': cannot open: No such file");
        refused("{\"model\": \"" MAP "\", \"map\": \"" MAP "\"}", "not a safetensors file");
        refused("{\"model\": \"" MODEL "\"}", "either 'map' or 'experts'");
        refused("{\"model\": \"" MODEL "\", \"map\": \"" MODEL "\"}", "mmlupro-category.safetensors'");
        refused("{\"model\": \"" MODEL "\", \"map\": \"/dev/zero\"}", "map '/dev/zero': must be a file of at most 4 MiB");
        refused(shipped, "none of them is configured; configured are: small, large, coder");
        refused("{\"model\": \"" MODEL "\", \"experts\": {\"maths\": {\"ranking\": [\"small\"]}}}", "category 'maths', which model");
        refused("{\"model\": \"" MODEL "\", \"experts\": {\"math\": {\"ranking\": [\"small\"]}}}", "ranks 0 experts for category 'general'");
        refused("{\"model\": \"" MODEL "\", \"experts\": {\"general\": {\"ranking\": [\"small\", \"small\"]}}}", "'small' is ranked twice");
        refused("{\"model\": \"" MODEL "\", \"map\": \"" MAP "\", \"encoder\": \"" ENCODER "\"}", "is not used");
        refused("{\"model\": \"" MODEL "\", \"map\": \"" MAP "\", \"max_text\": 10}", "max_text: 10 bytes are too few");
        refused("{\"model\": \"" MODEL "\", \"map\": \"" MAP "\", \"treshold\": 0.4}", "did you mean 'threshold'");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* score.so: the best expected score less its cost, a share for the strong expert, and what open() refuses. */
#include "on_mockhost.h"

#include <stdlib.h>

#include "base.h"
#include "../unit/small_scorer.h"

static char model[] = "/tmp/pointsman-score.XXXXXX";

static void begin(void)
{
        int fd = mkstemp(model);

        cr_assert_geq(fd, 0);
        (void)close(fd);
        small_scorer_save(model);
}

static void end(void)
{
        (void)unlink(model);
        memcpy(model + sizeof model - 7, "XXXXXX", 6);
}

static int open_score(struct on *o, const char *options, const struct pm_expert *experts, size_t n)
{
        struct mock_setup setup = { .experts = experts, .n_experts = n };
        char json[1024];

        (void)snprintf(json, sizeof json, "{\"model\": \"%s\"%s}", model, options);
        return on_open(o, "PM_ROUTERS", "score", json, &setup);
}

static void goes_to(struct on *o, const struct mock_ask *ask, const char *expert, const char *second, const char *said)
{
        struct mock_result r;

        mockhost_run(o->host, ask, &r);
        cr_assert_eq(r.end, MOCK_DECIDED, "%s", r.text ? r.text : "");
        cr_assert_str_eq(r.expert, expert, "%s", r.reason);
        cr_assert(second ? r.n_fallbacks > 0 && strcmp(r.fallbacks[0], second) == 0 : r.n_fallbacks == 0, "%s", r.reason);
        cr_assert(strstr(r.reason, said), "'%s' is not in '%s'", said, r.reason);
        cr_assert(r.confidence >= 0 && r.confidence <= 1);
        mock_result_finish(&r);
}

static struct mock_ask ask_for(const char *text)
{
        return (struct mock_ask){ .text = mock_str(text) };
}

Test(score, the_best_expected_score_decides, .init = begin, .fini = end)
{
        struct mock_ask alpha = ask_for("alpha"), beta = ask_for("beta"), nothing = ask_for("");
        struct mock_result r;
        struct on o;

        cr_assert_eq(open_score(&o, "", three_experts, 3), 0, "%s", o.why);
        goes_to(&o, &alpha, "small", "coder", "expected score: small ");
        goes_to(&o, &beta, "large", "coder", "expected score: large ");
        goes_to(&o, &nothing, "coder", "small", "expected score: coder 0.600, small 0.500, large 0.400");
        alpha.explain = 1;
        mockhost_run(o.host, &alpha, &r);
        cr_assert_str_eq(r.category, "a");
        cr_assert(!r.unsure && r.allocated == 0);
        cr_assert(r.explained && strstr(r.explained, "\"likeliest\":\"a\"") && strstr(r.explained, "\"expert\":\"coder\""), "%s", r.explained);
        mock_result_finish(&r);
        on_close(&o);
}

Test(score, prices_tiers_and_who_rests, .init = begin, .fini = end)
{
        static const char *const cheap[] = { "x-tier", "cheap", NULL }, *const large[] = { "large", NULL };
        struct mock_ask beta = ask_for("beta");
        struct on o;

        /* blended: small .125, coder 1.5, large 3.5 */
        cr_assert_eq(open_score(&o, ", \"lambda\": 0.2", three_experts, 3), 0, "%s", o.why);
        goes_to(&o, &beta, "coder", "large", "-0.300, large ");
        on_close(&o);
        cr_assert_eq(open_score(&o, ", \"tier_header\": \"x-tier\", \"tiers\": {\"cheap\": {\"lambda\": 1}}", three_experts, 3), 0, "%s", o.why);
        goes_to(&o, &beta, "large", "coder", "large ");
        beta.headers = cheap;
        goes_to(&o, &beta, "small", "coder", "; tier cheap");
        beta.headers = NULL;
        beta.resting = large;
        goes_to(&o, &beta, "coder", "small", "coder ");
        on_close(&o);
}

Test(score, a_share_for_the_strong_one, .init = begin, .fini = end)
{
        static const char *const rests[] = { "large", NULL };
        struct mock_ask alpha = ask_for("alpha"), beta = ask_for("beta");
        struct on o;

        /* on beta large is ahead of small by about .8: that is within the first 30 %, not within the first 5 */
        cr_assert_eq(open_score(&o, ", \"strong\": \"large\", \"weak\": \"small\", \"strong_share\": 0.3", three_experts, 3), 0, "%s", o.why);
        goes_to(&o, &alpha, "small", "large", ": small ");
        goes_to(&o, &beta, "large", "small", ": large ");
        beta.resting = rests;
        goes_to(&o, &beta, "small", "coder", ": small ");
        beta.resting = NULL;
        on_close(&o);
        cr_assert_eq(open_score(&o, ", \"strong\": \"large\", \"weak\": \"small\", \"strong_share\": 0", three_experts, 3), 0, "%s", o.why);
        goes_to(&o, &beta, "small", "large", ": small ");
        on_close(&o);
        cr_assert_eq(open_score(&o, ", \"strong\": \"large\", \"weak\": \"small\", \"strong_share\": 1", three_experts, 3), 0, "%s", o.why);
        goes_to(&o, &alpha, "large", "small", ": large ");
        on_close(&o);
}

Test(score, a_long_prompt_leaves_the_loop, .init = begin, .fini = end)
{
        static char text[100000];
        struct mock_ask ask = { .text = { text, sizeof text } };
        struct mock_result r;
        struct on o;

        memset(text, ' ', sizeof text);
        memcpy(text + sizeof text - 5, "alpha", 5);
        cr_assert_eq(open_score(&o, "", three_experts, 3), 0, "%s", o.why);
        mockhost_run(o.host, &ask, &r);
        cr_assert_str_eq(r.expert, "small");
        cr_assert_eq(r.offloads, 1);
        mock_result_finish(&r);
        ask.faults.busy_at = 1;
        mockhost_run(o.host, &ask, &r);
        cr_assert_eq(r.end, MOCK_FAILED);
        mock_result_finish(&r);
        on_close(&o);
}

Test(score, experts_that_are_not_configured_are_passed_over, .init = begin, .fini = end)
{
        static const struct pm_expert two[] = { { .name = "large" }, { .name = "other" } };
        struct mock_ask alpha = ask_for("alpha");
        struct on o;

        cr_assert_eq(open_score(&o, "", two, 2), 0, "%s", o.why);
        cr_assert(strstr(mockhost_log(o.host), "passing them over: small, coder"), "%s", mockhost_log(o.host));
        goes_to(&o, &alpha, "large", NULL, "large ");
        on_close(&o);
}

static void refused(const char *options, const char *said)
{
        struct on o;

        cr_assert_neq(open_score(&o, options, three_experts, 3), 0, "%s", options);
        cr_assert(strstr(o.why, said), "%s: said '%s'", options, o.why);
        on_close(&o);
}

Test(score, what_cannot_work_is_refused_when_opened, .init = begin, .fini = end)
{
        static const struct pm_expert other[] = { { .name = "other" } };
        struct on o;

        refused(", \"encoder\": \"/nonexistent\"", "is for nothing");
        refused(", \"strong\": \"large\"", "one without the other");
        refused(", \"strong\": \"large\", \"weak\": \"large\"", "are the same expert");
        refused(", \"strong\": \"larger\", \"weak\": \"large\"", "does not know expert 'larger'");
        refused(", \"strong\": \"large\", \"weak\": \"small\", \"lambda\": 1", "are for nothing beside it");
        refused(", \"max_text\": 10", "max_text: 10 bytes are too few");
        refused(", \"strong_share\": 2", "strong_share");
        refused(", \"expenses\": {\"larger\": {}}", "is not a configured expert");
        cr_assert_neq(open_score(&o, "", other, 1), 0);
        cr_assert(strstr(o.why, "knows small, coder, large, and none of them is a configured expert"), "%s", o.why);
        on_close(&o);
        (void)truncate(model, 100);
        refused("", "model '/tmp/pointsman-score.");
}

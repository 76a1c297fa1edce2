/* SPDX-License-Identifier: Apache-2.0 */
/* Routers, good and bad, run by the gateway's own loop: endings, refusals, deadline. */
#include "routing_fixture.h"

#include <event2/buffer.h>
#include <math.h>

TestSuite(route, .init = bench_begin, .fini = bench_end, .timeout = 30);

/* ---- endings ------------------------------------------------------------------------------------------------------------ */
static pm_step decides_route(void *self, struct pm_query *q)
{
        char expert[8], category[16], reason[32], extra[64];
        const char *fallbacks[] = { "law", "nobody", "code", "law", "code", NULL };
        pm_step got;

        count(self);
        (void)snprintf(expert, sizeof expert, "code");
        (void)snprintf(category, sizeof category, "engineering");
        (void)snprintf(reason, sizeof reason, "it is about %d+2", 2);
        (void)snprintf(extra, sizeof extra, " {\"lora\":[{\"id\":1}]}");
        got = pm_decide(q, .expert = expert, .fallbacks = fallbacks, .category = category, .confidence = .75, .reason = reason, .extra = extra);
        memset(expert, 'x', sizeof expert); /* the step's memory goes */
        memset(category, 'x', sizeof category);
        memset(reason, 'x', sizeof reason);
        memset(extra, 'x', sizeof extra);
        memset(fallbacks, 0, sizeof fallbacks);
        return got;
}
ROUTER(decides);

Test(route, follows_a_decision_and_keeps_its_words)
{
        struct trial t = ask_routers(&decides, &math);

        cr_assert(t.at_once);
        cr_assert_eq(t.d.how, DECISION_COMPUTED);
        cr_assert(goes_to(&t, "code"));
        cr_assert_eq(t.d.router, &bench.routers[0]);
        cr_assert_str_eq(t.fallbacks, "law math", "its own without the unknown, the doubled and the chosen, then the others");
        cr_assert_str_eq(t.category, "engineering");
        cr_assert_str_eq(t.reason, "it is about 2+2");
        cr_assert_str_eq(t.extra, " {\"lora\":[{\"id\":1}]}");
        cr_assert_float_eq(t.d.confidence, .75, 1e-12);
        cr_assert_eq(atomic_load(&bench.calls[1]), 0, "the next one is not asked");
        cr_assert_eq(ended(0, ROUTER_DECIDED), 1);
}

static pm_step cuts_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .expert = "code", .category = "g\xC3\xB6n\xC3", .reason = "\xE4\xBD\xA0\n\"\xE4\xBD", .confidence = 1 + 1e-9);
}
ROUTER(cuts);

Test(route, mends_words_that_were_cut)
{
        struct trial t = ask_routers(&cuts, NULL);

        cr_assert_str_eq(t.category, "g\xC3\xB6n\xEF\xBF\xBD");
        cr_assert_str_eq(t.reason, "\xE4\xBD\xA0\n\"\xEF\xBF\xBD\xEF\xBF\xBD");
        cr_assert_eq(t.d.confidence, 1);
}

Test(route, completes_fallbacks_up_to_the_limit)
{
        struct trial t = ask_routers(&math, NULL);

        cr_assert_str_eq(t.fallbacks, "law code", "the default first");
        cr_assert(!t.d.category && !t.d.reason && !t.d.extra);
        bench.route.fallbacks = 1;
        t = ask_routers(&math, NULL);
        cr_assert_str_eq(t.fallbacks, "law");
        t = ask_routers(&decides, NULL);
        cr_assert_str_eq(t.fallbacks, "law", "a router's own are cut too");
        bench.route.fallbacks = 0;
        t = ask_routers(&decides, NULL);
        cr_assert_eq(t.d.n_fallbacks, 0);
        bench.route.fallbacks = 8;
        bench.route.preset = NULL;
        t = ask_routers(&math, NULL);
        cr_assert_str_eq(t.fallbacks, "law code");
}

static pm_step passes_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_pass(q);
}
ROUTER(passes);

static pm_step fails_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_fail(q, "no %s: %d", "model", 42);
}
ROUTER(fails);

static pm_step silent_route(void *self, struct pm_query *q)
{
        (void)q;
        count(self);
        return (pm_step){ 0 };
}
ROUTER(silent);

static pm_step doubles_route(void *self, struct pm_query *q)
{
        count(self);
        (void)pm_decide(q, .expert = "law");
        return pm_decide(q, .expert = "law");
}
ROUTER(doubles);

static void never(void *arg)
{
        (void)arg;
        abort();
}

static pm_step contradicts_route(void *self, struct pm_query *q)
{
        count(self);
        (void)pm_pass(q);
        return pm_offload(q, never, NULL, contradicts_route);
}
ROUTER(contradicts);

static pm_step forges_route(void *self, struct pm_query *q)
{
        pm_step got = pm_decide(q, .expert = "law", .extra = "{}");

        count(self);
        got.ticket++;
        return got;
}
ROUTER(forges);

static pm_step stranger_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .expert = "chemistry");
}
ROUTER(stranger);

static pm_step nobody_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .category = "none");
}
ROUTER(nobody);

static pm_step bad_extra_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .expert = "law", .extra = "{\"a\":1");
}
ROUTER(bad_extra);

static pm_step list_extra_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .expert = "law", .extra = " [1]");
}
ROUTER(list_extra);

static pm_step too_sure_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .expert = "law", .confidence = 1.5);
}
ROUTER(too_sure);

static pm_step unsure_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .expert = "law", .confidence = (double)NAN);
}
ROUTER(unsure);

static pm_step recommends_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_candidates(q, NULL, 0);
}
ROUTER(recommends);

static pm_step blind_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_offload(q, NULL, NULL, blind_route);
}
ROUTER(blind);

static pm_step no_then_embed_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_embed(q, "e5", q->text, NULL);
}
ROUTER(no_then_embed);

static pm_step no_then_call_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_call(q, NULL, .expert = "math");
}
ROUTER(no_then_call);

/* Never ends: what it asks for cannot be had, and it is told at once. */
static pm_step endless_route(void *self, struct pm_query *q)
{
        if (count(self) > 1)
                assert(q->status == PM_EINVAL && q->http_status == 0);
        return pm_embed(q, "no such encoder", q->text, endless_route);
}
ROUTER(endless);

Test(route, asks_the_next_router_when_one_does_not_answer_well)
{
        static const struct {
                const struct pm_router *router;
                enum metrics_decision how;
                const char *says; /* NULL: nothing to say */
                unsigned steps;
        } rows[] = {
                { &passes, ROUTER_PASSED, NULL, 1 },
                { &fails, ROUTER_FAILED, "router 'fails' failed: no model: 42", 1 },
                { &silent, ROUTER_BROKEN, "router 'silent' is broken: it returned without a move", 1 },
                { &doubles, ROUTER_BROKEN, "router 'doubles' is broken: it made two moves in one step", 1 },
                { &contradicts, ROUTER_BROKEN, "router 'contradicts' is broken: it made two moves in one step", 1 },
                { &forges, ROUTER_BROKEN, "router 'forges' is broken: it returned a step that its move did not make", 1 },
                { &stranger, ROUTER_BROKEN, "router 'stranger' is refused: it decided for 'chemistry', which is not among the 3 experts that it was offered", 1 },
                { &nobody, ROUTER_BROKEN, "router 'nobody' is refused: it decided for '(NULL)'", 1 },
                { &bad_extra, ROUTER_BROKEN, "router 'bad_extra' is refused: it gave an 'extra' that is not a JSON object", 1 },
                { &list_extra, ROUTER_BROKEN, "router 'list_extra' is refused: it gave an 'extra' that is not a JSON object", 1 },
                { &too_sure, ROUTER_BROKEN, "router 'too_sure' is refused: it stated a confidence of 1.5, which is not in 0..1", 1 },
                { &unsure, ROUTER_BROKEN, "router 'unsure' is refused: it stated a confidence of ", 1 },
                { &recommends, ROUTER_BROKEN, "router 'recommends' is refused: it answered a chat query with candidates", 1 },
                { &blind, ROUTER_BROKEN, "router 'blind' is refused: it called pm_offload without work", 1 },
                { &no_then_embed, ROUTER_BROKEN, "router 'no_then_embed' is refused: it called pm_embed without", 1 },
                { &no_then_call, ROUTER_BROKEN, "router 'no_then_call' is refused: it called pm_call without", 1 },
                { &endless, ROUTER_BROKEN, "router 'endless' is broken: it took more than 64 steps for one query", 65 },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                char text[4096];
                struct trial t;

                atomic_store(&bench.calls[0], 0);
                t = ask_and_read_log(rows[i].router, &math, text, sizeof text);
                cr_assert_eq(t.d.how, DECISION_COMPUTED, "%s", rows[i].router->name);
                cr_assert(goes_to(&t, "math"), "%s", rows[i].router->name);
                cr_assert_eq(t.d.router, &bench.routers[1]);
                cr_assert(!t.d.extra && !t.d.category, "nothing is left of the last router's decision");
                cr_assert_eq(atomic_load(&bench.calls[0]), rows[i].steps, "%s: %u", rows[i].router->name, atomic_load(&bench.calls[0]));
                cr_assert_eq(ended(0, rows[i].how), 1, "%s", rows[i].router->name);
                if (rows[i].says)
                        cr_assert(strstr(text, rows[i].says) && strstr(text, "id=req-1"), "%s: %s", rows[i].router->name, text);
                else
                        cr_assert_null(strstr(text, "router"), "%s", text);
        }
}

static pm_step keeps_ticket_again(void *self, struct pm_query *q)
{
        count(self);
        (void)pm_decide(q, .expert = "law");
        return *(pm_step *)q->state; /* of the step before */
}

static pm_step keeps_ticket_route(void *self, struct pm_query *q)
{
        pm_step *kept = pm_alloc(q, sizeof *kept);

        count(self);
        q->state = kept;
        return *kept = pm_embed(q, "unknown", q->text, keeps_ticket_again);
}
ROUTER(keeps_ticket);

Test(route, takes_no_step_of_another_time)
{
        struct trial t = ask_routers(&keeps_ticket, &math);

        cr_assert(goes_to(&t, "math"));
        cr_assert_eq(atomic_load(&bench.calls[0]), 2);
        cr_assert_eq(ended(0, ROUTER_BROKEN), 1);
}

Test(route, falls_back_to_the_default)
{
        static const struct pm_router only_recommends = { .size = sizeof(struct pm_router), .name = "only_recommends", .recommend = passes_route };
        struct trial t = ask_routers(&passes, &fails);

        cr_assert_eq(t.d.how, DECISION_DEFAULT);
        cr_assert(goes_to(&t, "law"));
        cr_assert_null(t.d.router);
        cr_assert_str_eq(t.reason, "no router decided");
        cr_assert_str_eq(t.fallbacks, "math code");
        t = ask_routers(&only_recommends, NULL);
        cr_assert_str_eq(t.reason, "no router decided");
        cr_assert_eq(atomic_load(&bench.calls[0]), 1, "it does not route");
        t = ask_routers(&only_recommends, &math);
        cr_assert(goes_to(&t, "math"));
        t = ask_routers(NULL, NULL);
        cr_assert_str_eq(t.reason, "the route has no routers");
        cr_assert(goes_to(&t, "law"));
        bench.route.preset = NULL;
        t = ask_routers(NULL, NULL);
        cr_assert(goes_to(&t, "math"), "the first");
}

/* ---- one expert and no other ---- */
static pm_step alone_route(void *self, struct pm_query *q)
{
        static const char *const after[] = { "code", NULL };

        count(self);
        return pm_decide(q, .expert = "math", .fallbacks = after, .only = 1);
}
ROUTER(alone);

static pm_step lost_route(void *self, struct pm_query *q)
{
        count(self);
        return pm_decide(q, .expert = "chemistry", .only = 1);
}
ROUTER(lost);

Test(route, one_expert_and_no_other)
{
        struct trial t = ask_routers(&alone, &passes);

        cr_assert(goes_to(&t, "math") && t.d.only && t.d.n_fallbacks == 0);
        atomic_store(&bench.experts[0].state->down, 1);
        t = ask_routers(&alone, &math);
        cr_assert(goes_to(&t, "math") && t.d.only && t.d.n_fallbacks == 0, "there or not");
        atomic_store(&bench.experts[0].state->down, 0);
        t = ask_routers(&lost, &math);
        cr_assert(!t.d.expert && t.d.only, "nobody else may have it");
        cr_assert_eq(ended(0, ROUTER_BROKEN), 1);
        cr_assert_eq(atomic_load(&bench.calls[1]), 0);
}

/* ---- who is offered ---------------------------------------------------------------------------------------------------- */
Test(route, offers_only_experts_that_could_answer)
{
        struct trial t;

        atomic_store(&bench.experts[1].state->down, 1);
        t = ask_routers(&passes, NULL);
        cr_assert(goes_to(&t, "math"), "the default is down: the first");
        cr_assert_str_eq(t.fallbacks, "code");
        bench.experts[0].apis = EXPERT_EMBEDDINGS;
        t = ask_routers(&math, NULL);
        cr_assert(goes_to(&t, "code"), "no chat, no offer: as if it had passed");
        cr_assert_eq(ended(0, ROUTER_BROKEN), 0);
        atomic_store(&bench.experts[2].state->down, 1);
        t = ask_routers(&passes, NULL);
        cr_assert_null(t.d.expert);
        cr_assert_eq(t.d.how, DECISION_DEFAULT);
        cr_assert_str_eq(t.reason, "no expert is available");
        cr_assert_eq(t.d.n_fallbacks, 0);
        cr_assert_eq(atomic_load(&bench.calls[0]), 2, "nobody is asked then");
        for (size_t i = 0; i < EXPERTS; i++)
                atomic_store(&bench.experts[i].state->down, 0);
}

/* ---- time --------------------------------------------------------------------------------------------------------------- */
static pm_step slow_route(void *self, struct pm_query *q)
{
        count(self);
        (void)usleep(30000);
        return pm_pass(q);
}
ROUTER(slow);

Test(route, counts_steps_that_stall_a_worker)
{
        char text[4096], *all, expected[96];
        struct evbuffer *out = evbuffer_new();
        struct trial t = ask_and_read_log(&slow, &math, text, sizeof text);

        cr_assert(goes_to(&t, "math"));
        cr_assert(strstr(text, "router 'slow' blocked the event loop of worker 3 for "), "%s", text);
        metrics_write(out, &(struct metrics_gauges){ 0 });
        all = (char *)evbuffer_pullup(out, -1);
        (void)snprintf(expected, sizeof expected, "pointsman_router_stalls_total{router=\"slow\"} 1\n");
        cr_assert_not_null(memmem(all, evbuffer_get_length(out), expected, strlen(expected)));
        (void)snprintf(expected, sizeof expected, "pointsman_router_stalls_total{router=\"math\"} 0\n");
        cr_assert_not_null(memmem(all, evbuffer_get_length(out), expected, strlen(expected)));
        evbuffer_free(out);
        (void)ask_and_read_log(&slow, &math, text, sizeof text);
        cr_assert_null(strstr(text, "held up"), "once a minute is enough: %s", text);
}

Test(route, asks_nobody_after_the_deadline)
{
        struct trial t;

        bench.route.deadline_ms = 10;
        t = ask_routers(&slow, &math);
        cr_assert_eq(t.d.how, DECISION_DEFAULT);
        cr_assert_str_eq(t.reason, "the route's deadline has passed");
        cr_assert_eq(atomic_load(&bench.calls[1]), 0);
}

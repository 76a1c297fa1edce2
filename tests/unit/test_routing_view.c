/* SPDX-License-Identifier: Apache-2.0 */
/* What a router sees of a query, and for how long: all of it, or what it says that it reads. */
#include "routing_fixture.h"

TestSuite(routing_view, .init = bench_begin, .fini = bench_end, .timeout = 30);

static char order[8];

static void note(void *arg)
{
        (void)strncat(order, arg, 1);
}

static bool is(struct pm_str s, const char *text)
{
        return s.n == strlen(text) && memcmp(s.n ? s.p : "", text, s.n) == 0;
}

static pm_step looks_again(void *self, struct pm_query *q)
{
        count(self);
        assert(q->state == self && q->status == PM_EINVAL);
        assert(q->left_ms > 0 && q->left_ms <= 5000);
        return pm_pass(q);
}

static pm_step looks_route(void *self, struct pm_query *q)
{
        unsigned char *m = pm_alloc(q, 100000);
        static char a[] = "a", b[] = "b", c[] = "c";

        count(self);
        assert(q->size == sizeof *q && q->kind == PM_CHAT && q->host->major == PM_ABI_MAJOR && q->state == NULL && q->status == PM_OK);
        assert(is(q->id, "req-1") && is(q->model, "auto") && is(q->text, "What is 2+2?"));
        assert(q->n_messages == 2 && is(q->messages[0]->role, "system") && is(q->messages[0]->text, "s") && is(q->messages[1]->role, "user"));
        assert(q->body.n > 0 && q->body.p[0] == '{' && q->left_ms <= 5000);
        assert(is(pm_header(q, "X-Team"), "red, green, blue") && is(pm_header(q, "x-one"), "1") && is(pm_header(q, "x-on"), ""));
        assert(pm_header(q, "x-empty").n == 0);
        for (size_t i = 0; i < 100000; i++)
                assert(m[i] == 0);
        assert(pm_alloc(q, 16 << 20) != NULL);
        assert(pm_alloc(q, (16 << 20) + 1) == NULL && pm_alloc(q, 0) != NULL);
        assert(pm_defer(q, note, a) == 0 && pm_defer(q, note, b) == 0 && pm_defer(q, note, c) == 0);
        pm_log(q, PM_DEBUG, "a line of %zu experts", q->n_experts);
        q->state = self;
        if (is(q->tenant, "acme"))
                assert(q->n_experts == 1 && strcmp(q->experts[0]->name, "code") == 0);
        else
                assert(q->n_experts == 3 && strcmp(q->experts[2]->name, "code") == 0 && q->experts[2]->price_in == 3 && q->experts[0]->context == 4096 &&
                       q->experts[0]->in_flight == 0 && q->experts[0]->first_token_ms == 0 && is(q->tenant, ""));
        return pm_embed(q, "unknown", q->text, looks_again);
}
ROUTER(looks);

static pm_step clean_route(void *self, struct pm_query *q)
{
        count(self);
        assert(q->state == NULL && q->status == PM_OK);
        return pm_decide(q, .expert = "code");
}
ROUTER(clean);

Test(routing_view, shows_the_query_and_keeps_memory_until_it_ends)
{
        static const struct h1_header headers[] = {
                { { "X-TEAM", 6 }, { "red", 3 } }, { { "x-one", 5 }, { "1", 1 } },    { { "x-team", 6 }, { "green", 5 } },
                { { "x-empty", 7 }, { "", 0 } },   { { "x-teams", 7 }, { "no", 2 } }, { { "X-Team", 6 }, { "blue", 4 } },
        };
        static const struct h1_head head = { .headers = headers, .n_headers = LENGTH_OF(headers) };
        struct expert *may[] = { &bench.experts[2] };
        const struct tenant acme = { .name = "acme", .experts = may, .n_experts = 1 };
        struct trial t = { .head = &head };

        use(&looks, &clean);
        trial_go(&t);
        trial_wait(&t);
        cr_assert(goes_to(&t, "code"));
        cr_assert_eq(atomic_load(&bench.calls[0]), 2);
        cr_assert_str_eq(order, "cba", "last first");
        t = (struct trial){ .head = &head, .tenant = &acme };
        trial_go(&t);
        trial_wait(&t);
        cr_assert(goes_to(&t, "code"));
        cr_assert_eq(t.d.n_fallbacks, 0, "no other is allowed");
}

/* What a router that declares what it reads could see; who declares nothing is asked next. */
static struct seen {
        size_t text, body, user, tenant, n_messages;
        bool messages, team, other;
} seen[2];

static void look(struct pm_query *q, struct seen *s)
{
        *s = (struct seen){ .text = q->text.n, .body = q->body.n, .user = q->user.n, .tenant = q->tenant.n, .n_messages = q->n_messages,
                            .messages = q->messages, .team = pm_header(q, "X-Team").n, .other = pm_header(q, "x-other").n };
}

static pm_step declares_route(void *self, struct pm_query *q)
{
        count(self);
        look(q, &seen[0]);
        return pm_pass(q);
}

static pm_step sees_all_route(void *self, struct pm_query *q)
{
        count(self);
        look(q, &seen[1]);
        return pm_decide(q, .expert = "code");
}
ROUTER(sees_all);

Test(routing_view, shows_a_router_what_it_declares_and_nothing_else)
{
        static const struct h1_header headers[] = { { { "x-team", 6 }, { "red", 3 } }, { { "x-other", 7 }, { "1", 1 } } };
        static const struct h1_head head = { .headers = headers, .n_headers = LENGTH_OF(headers) };
        static const char *named[] = { "x-team" };
        static const char body[] = "{\"model\":\"auto\",\"user\":\"u1\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},"
                                   "{\"role\":\"user\",\"content\":\"Hi?\"}]}";
        const struct tenant acme = { .name = "acme", .experts = bench.expert_list, .n_experts = EXPERTS };
        const struct seen all = { 3, sizeof body - 1, 2, 4, 2, true, true, true };
        const struct { unsigned reads; struct seen sees; } cases[] = {
                { PM_READS_NOTHING, { 0 } },
                { PM_READS_TEXT, { .text = 3 } },
                { PM_READS_MESSAGES, { .text = 3, .n_messages = 2, .messages = true } },
                { PM_READS_BODY, { .body = sizeof body - 1 } },
                { PM_READS_USER, { .user = 2 } },
                { PM_READS_TENANT, { .tenant = 4 } },
                { PM_READS_HEADERS, { .team = true } },
                { PM_READS_TEXT | PM_READS_HEADERS, { .text = 3, .team = true } },
                { 0, all },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                const struct pm_router declares = { .size = sizeof declares, .name = "declares", .route = declares_route, .reads = cases[i].reads };
                struct trial t = { .head = &head, .tenant = &acme, .body = body };
                const struct seen *s = &cases[i].sees;

                use(&declares, &sees_all);
                bench.routers[0].read_headers = named; /* without PM_READS_HEADERS they do not count */
                bench.routers[0].n_read_headers = 1;
                trial_go(&t);
                trial_wait(&t);
                cr_assert(goes_to(&t, "code"));
                for (size_t k = 0; k < 2; k++, s = &all) {
                        cr_assert_eq(seen[k].text, s->text, "reads %u, router %zu", cases[i].reads, k);
                        cr_assert_eq(seen[k].body, s->body, "reads %u, router %zu", cases[i].reads, k);
                        cr_assert_eq(seen[k].user, s->user, "reads %u, router %zu", cases[i].reads, k);
                        cr_assert_eq(seen[k].tenant, s->tenant, "reads %u, router %zu", cases[i].reads, k);
                        cr_assert(seen[k].n_messages == s->n_messages && seen[k].messages == s->messages, "reads %u, router %zu", cases[i].reads, k);
                        cr_assert(seen[k].team == s->team && seen[k].other == s->other, "reads %u, router %zu", cases[i].reads, k);
                }
        }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stages_fixture.h - four stages: one that masks card numbers, one that waits, one that refuses, one that counts.
 */
#ifndef PM_TEST_STAGES_FIXTURE_H
#define PM_TEST_STAGES_FIXTURE_H

#include "request_fixture.h"

#include <event2/event.h>

#include "js.h"
#include "stages.h"

#define CARD "4111111111111111"
#define MASKED "************1111"

static void use(const struct stage *const *list, size_t n)
{
        front.g->stages = list;
        front.g->n_stages = n;
}
#define USE(...)                                                      \
        do {                                                          \
                static const struct stage *const used_[] = { __VA_ARGS__ }; \
                use(used_, LENGTH_OF(used_));                         \
        } while (0)

/* ---- one that masks card numbers ------------------------------------------------------------------------------------------ */

enum { DIGITS_MIN = 13, DIGITS_MAX = 19, TAIL_MAX = 64 };

struct masker {
        char tail[TAIL_MAX]; /* of the answer so far: what may be the beginning of a number */
        size_t n;
};

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool luhn(const char *digits, size_t n)
{
        int sum = 0;

        for (size_t i = 0; i < n; i++) {
                int d = digits[n - 1 - i] - '0';

                if (i % 2)
                        d = 2 * d > 9 ? 2 * d - 9 : 2 * d;
                sum += d;
        }
        return sum % 10 == 0;
}

/* The digits that begin at p, with single blanks and dashes between them: where they end. */
static size_t run_of(const char *p, size_t n, char digits[DIGITS_MAX + 1], size_t *ret_digits)
{
        size_t i = 0, d = 0;

        while (i < n && (is_digit(p[i]) || ((p[i] == ' ' || p[i] == '-') && i + 1 < n && is_digit(p[i + 1])))) {
                if (is_digit(p[i]) && d <= DIGITS_MAX)
                        digits[d < DIGITS_MAX ? d : DIGITS_MAX] = p[i], d++;
                i++;
        }
        *ret_digits = d;
        return i;
}

/* Masks in place.  How much of it is final: the rest may go on to be a number. */
static size_t mask(char *p, size_t n, bool last)
{
        for (size_t i = 0; i < n;) {
                char digits[DIGITS_MAX + 1];
                size_t d, length;

                if (!is_digit(p[i])) {
                        i++;
                        continue;
                }
                length = run_of(p + i, n - i, digits, &d);
                if (!last && d <= DIGITS_MAX && (i + length == n || (i + length + 1 == n && (p[n - 1] == ' ' || p[n - 1] == '-'))))
                        return i;
                if (d >= DIGITS_MIN && d <= DIGITS_MAX && luhn(digits, d))
                        for (size_t k = i, left = d; left > 4; k++)
                                if (is_digit(p[k]))
                                        p[k] = '*', left--;
                i += length;
        }
        return n;
}

/* A string of a body: its numbers are edited where they lie. */
static void mask_string(struct stage_run *s, struct pm_str body, struct pm_str value)
{
        for (size_t i = 1; i + 1 < value.n;) {
                char digits[DIGITS_MAX + 1], text[2 * DIGITS_MAX];
                size_t d, length;

                if (!is_digit(value.p[i])) {
                        i += value.p[i] == '\\' ? 2 : 1;
                        continue;
                }
                length = run_of(value.p + i, value.n - 1 - i, digits, &d);
                if (length < sizeof text) {
                        memcpy(text, value.p + i, length);
                        (void)mask(text, length, true);
                        if (memcmp(text, value.p + i, length) != 0)
                                cr_assert_eq(edits_text(s->edits, body, (struct pm_str){ value.p + i, length }, (struct pm_str){ text, length }), 0);
                }
                i += length;
        }
}

static enum next mask_request(struct stage_run *s)
{
        const struct query *q = &s->request->query;
        struct pm_str key;
        struct js j;

        for (size_t i = 0; i < q->n_turns; i++) {
                struct pm_str content = q->turns[i].content;

                if (js_type(content) == JS_STRING)
                        mask_string(s, q->body, content);
                if (js_type(content) != JS_ARRAY)
                        continue;
                js_start(&j, content, 512);
                for (js_enter(&j); js_more(&j, &key);) {
                        struct pm_str text = js_member(js_take(&j), "text");

                        if (js_type(text) == JS_STRING)
                                mask_string(s, q->body, text);
                }
        }
        return GO;
}

static enum next mask_attempt(struct stage_run *s, const struct expert *e)
{
        (void)e;
        if (!s->own)
                s->own = arena_zalloc(&s->request->arena, sizeof(struct masker));
        cr_assert(s->own);
        ((struct masker *)s->own)->n = 0; /* what was said by another is not the beginning of this answer */
        return GO;
}

/* choices[0].`of`.content; p NULL: there is none. */
static struct pm_str content_of(struct pm_str data, const char *of)
{
        struct pm_str choices = js_member(data, "choices"), key;
        struct js j;

        if (js_type(choices) != JS_ARRAY)
                return (struct pm_str){ 0 };
        js_start(&j, choices, 512);
        if (!js_enter(&j) || !js_more(&j, &key))
                return (struct pm_str){ 0 };
        choices = js_member(js_member(js_take(&j), of), "content");
        return js_type(choices) == JS_STRING ? choices : (struct pm_str){ 0 };
}

static enum next mask_event(struct stage_run *s, struct stage_event *ev)
{
        struct pm_str content = content_of(ev->data, ev->what == STAGE_WHOLE ? "message" : "delta"), text;
        struct masker *m = s->own;
        size_t n, final;
        char *all;

        if (ev->what == STAGE_WHOLE) {
                mask_string(s, ev->data, content);
                return GO;
        }
        if (!content.p && m->n) { /* the text is over */
                (void)mask(m->tail, m->n, true);
                cr_assert_eq(stages_emit(s, (struct pm_str){ 0 }, (struct pm_str){ all = arena_printf(ev->arena, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%.*s\"}}]}",
                                                                                                     (int)m->n, m->tail), strlen(all) }), 0);
                m->n = 0;
        }
        if (!content.p)
                return GO;
        text = js_text(content, ev->arena);
        n = m->n + text.n;
        all = arena_alloc(ev->arena, n + 1);
        memcpy(all, m->tail, m->n);
        memcpy(all + m->n, text.p, text.n);
        final = mask(all, n, false);
        cr_assert_leq(n - final, (size_t)TAIL_MAX);
        memcpy(m->tail, all + final, n - final);
        m->n = n - final;
        if (final == 0 && text.n)
                ev->data = (struct pm_str){ 0 };
        else if (final != text.n || memcmp(all, text.p, final) != 0)
                cr_assert_eq(edits_text(s->edits, ev->data, (struct pm_str){ content.p + 1, content.n - 2 }, (struct pm_str){ all, final }), 0);
        return GO;
}

static const struct stage masker = { .name = "mask", .on_request = mask_request, .on_attempt = mask_attempt, .on_event = mask_event };

/* ---- one that waits for a while, where it is told to ---------------------------------------------------------------------- */

enum moment { AT_REQUEST = 1, AT_ATTEMPT = 2, AT_EVENT = 4, AT_END = 8 };

static struct {
        unsigned moments, waits, cancelled;
        long ms;
} waiting;

struct waiter {
        struct event *timer;
        bool over;
};

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        struct stage_run *s = arg;
        struct waiter *w = s->own;

        (void)fd, (void)what;
        event_free(TAKE(w->timer));
        w->over = true;
        stages_wake(s);
}

static enum next wait_at(struct stage_run *s, enum moment m)
{
        struct timeval t = { waiting.ms / 1000, waiting.ms % 1000 * 1000 };
        struct waiter *w = s->own;

        if (!w)
                w = s->own = arena_zalloc(&s->request->arena, sizeof *w);
        if (!(waiting.moments & m) || TAKE(w->over))
                return GO;
        if (!w->timer) {
                waiting.waits++;
                w->timer = evtimer_new(s->request->worker->loop.base, on_time, s);
                cr_assert(w->timer && evtimer_add(w->timer, &t) == 0);
        }
        return WAIT;
}

static enum next wait_request(struct stage_run *s)
{
        (void)edits_set(s->edits, "waited", (struct pm_str){ "true", 4 }); /* twice, of which the first time counts for nothing */
        return wait_at(s, AT_REQUEST);
}

static enum next wait_attempt(struct stage_run *s, const struct expert *e)
{
        (void)e;
        cr_assert_eq(stages_header(s, "x-waited", "yes"), 0);
        return wait_at(s, AT_ATTEMPT);
}

static enum next wait_event(struct stage_run *s, struct stage_event *ev)
{
        if (ev->what == STAGE_EVENT && content_of(ev->data, "delta").p)
                cr_assert_eq(stages_emit(s, (struct pm_str){ 0 }, (struct pm_str){ "{\"x\":1}", 7 }), 0);
        return wait_at(s, ev->what == STAGE_END ? AT_END : AT_EVENT);
}

static void wait_cancel(struct stage_run *s)
{
        struct waiter *w = s->own;

        waiting.cancelled++;
        event_free(TAKE(w->timer));
}

static const struct stage waiter = { .name = "wait", .on_request = wait_request, .on_attempt = wait_attempt, .on_event = wait_event, .cancel = wait_cancel };

static void wait_in(unsigned moments, long ms)
{
        waiting.moments = moments;
        waiting.ms = ms;
        waiting.waits = waiting.cancelled = 0;
}

/* ---- one that refuses what has a bad word in it, and experts by name ------------------------------------------------------ */

static bool has(struct pm_str text, const char *word)
{
        return text.n && memmem(text.p, text.n, word, strlen(word));
}

static enum next refuse_request(struct stage_run *s)
{
        if (has(s->request->query.body, "answered here")) {
                (void)reply_json(s->request, 200, (struct pm_str){ "{\"here\":true}", 13 });
                return DONE;
        }
        return has(s->request->query.body, "bad word") ? stages_refuse(s, 403, "policy_violation", "this is a %s word", "bad") : GO;
}

static enum next refuse_attempt(struct stage_run *s, const struct expert *e)
{
        const char *name = s->stage->self;

        if (has(s->request->query.body, "nowhere"))
                return stages_refuse(s, 451, NULL, "to nobody");
        return name && strcmp(e->name, name) == 0 ? DONE : GO;
}

static enum next refuse_event(struct stage_run *s, struct stage_event *ev)
{
        if (has(ev->data, "the end"))
                return DONE;
        return has(ev->data, "secret") ? stages_refuse(s, 403, "policy_violation", "the answer has a \"secret\"") : GO;
}

static char alpha_name[] = "alpha";
static const struct stage refuser = { .name = "refuse", .on_request = refuse_request, .on_attempt = refuse_attempt, .on_event = refuse_event };
static const struct stage not_alpha = { .name = "not-alpha", .self = alpha_name, .on_attempt = refuse_attempt };

/* ---- one that counts ------------------------------------------------------------------------------------------------------ */

static struct {
        unsigned requests, attempts, events, wholes, ends, settled;
        struct stage_cost cost;
        char expert[16], end[32], order[64];
} counted;

static void note(const struct stage_run *s, char what)
{
        size_t n = strlen(counted.order);

        (void)snprintf(counted.order + n, sizeof counted.order - n, "%c%s ", what, (const char *)s->stage->self);
}

static enum next count_request(struct stage_run *s)
{
        counted.requests++;
        note(s, 'r');
        return GO;
}

static enum next count_attempt(struct stage_run *s, const struct expert *e)
{
        counted.attempts++;
        note(s, 'a');
        (void)snprintf(counted.expert, sizeof counted.expert, "%s", e->name);
        cr_assert_eq(stages_header(s, "x-attempt", e->name), 0);
        cr_assert_eq(edits_set(s->edits, "attempt", (struct pm_str){ counted.attempts == 1 ? "1" : "2", 1 }), 0);
        return GO;
}

static enum next count_event(struct stage_run *s, struct stage_event *ev)
{
        counted.wholes += ev->what == STAGE_WHOLE;
        counted.events += ev->what == STAGE_EVENT;
        counted.ends += ev->what == STAGE_END;
        note(s, "wee"[ev->what]);
        return GO;
}

static void count_settle(struct stage_run *s, const struct stage_cost *c)
{
        (void)s;
        counted.settled++;
        counted.cost = *c;
        (void)snprintf(counted.end, sizeof counted.end, "%s", c->end);
}

static char one[] = "1", two_[] = "2";
static const struct stage tally = { .name = "count", .self = one, .on_request = count_request, .on_attempt = count_attempt, .on_event = count_event, .on_settle = count_settle };
static const struct stage second = { .name = "second", .self = two_, .on_request = count_request, .on_attempt = count_attempt, .on_event = count_event, .on_settle = count_settle };
static const struct stage no_stage = { .name = "none" };
#endif

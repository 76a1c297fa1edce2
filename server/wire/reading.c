/* SPDX-License-Identifier: Apache-2.0 */
#include "reading.h"

#include <event2/buffer.h>

#include "base.h"

enum { HOLD_MAX = 64 << 10, LOOK = 64 };

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Does p begin as a line of an event stream does?  *maybe: it is too short to say. */
static bool begins_events(const char *p, size_t n, bool *maybe)
{
        static const char *const fields[] = { ":", "data:", "event:", "id:", "retry:" };

        *maybe = false;
        for (size_t i = 0; i < LENGTH_OF(fields); i++) {
                size_t length = strlen(fields[i]);

                if (memcmp(p, fields[i], MIN(n, length)) != 0)
                        continue;
                if (n >= length)
                        return true;
                *maybe = true;
        }
        return false;
}

bool reading_look_quickly(struct reading *x, struct evbuffer *in)
{
        const char *first = (const char *)evbuffer_pullup(in, 1);

        if (!first || *first != '{')
                return false;
        x->kind = READING_WHOLE;
        return true;
}

void reading_look(struct reading *x, struct evbuffer *in, bool ended, bool says_events)
{
        char start[LOOK];
        bool maybe;

        for (;;) {
                ev_ssize_t got = evbuffer_copyout(in, start, sizeof start);
                size_t n = (size_t)MAX(got, 0), at = 0;

                if (x->skipped == 0 && n > 0 && memcmp(start, "\xEF\xBB\xBF", MIN(n, 3u)) == 0) {
                        if (n < 3 && !ended)
                                return;
                        at = MIN(n, 3u);
                }
                while (at < n && is_blank(start[at]))
                        at++;
                (void)evbuffer_drain(in, at);
                x->skipped += at;
                if (at < n) {
                        if (says_events && start[at] != '{')
                                x->kind = READING_EVENTS;
                        else if (begins_events(start + at, n - at, &maybe))
                                x->kind = READING_EVENTS;
                        else if (!maybe || ended)
                                x->kind = READING_WHOLE;
                        return;
                }
                if (n < sizeof start) {
                        if (ended)
                                x->kind = says_events ? READING_EVENTS : READING_WHOLE;
                        return;
                }
        }
}

void reading_add(struct reading *x, const struct facts *f)
{
        choices_add(&x->begun, &f->begun);
        choices_add(&x->ended, &f->ended);
        x->content |= f->content;
        x->finished |= f->finished;
        if (f->has_usage) {
                x->tokens_in = f->tokens_in;
                x->tokens_out = f->tokens_out;
        }
}

bool reading_has_all(const struct reading *x, int64_t asked)
{
        struct choice_set all = { 0 };

        for (int64_t i = 0; i < MIN(asked, FACTS_CHOICES); i++)
                all.bits[i / 64] |= UINT64_C(1) << (i % 64);
        return reading_ended(x) && choices_cover(&x->ended, &all);
}

bool reading_hold(struct reading *x, struct arena *a, struct pm_str event)
{
        size_t room = MAX(2 * x->held_room, 1024);
        char *p;

        if (x->held_n + event.n > HOLD_MAX)
                return false;
        if (x->held_n + event.n > x->held_room) {
                while (room < x->held_n + event.n)
                        room *= 2;
                p = arena_alloc(a, room);
                if (!p)
                        return false;
                if (x->held_n)
                        memcpy(p, x->held, x->held_n);
                x->held = p;
                x->held_room = room;
        }
        memcpy(x->held + x->held_n, event.p, event.n);
        x->held_n += event.n;
        return true;
}

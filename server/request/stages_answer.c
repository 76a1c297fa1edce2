/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer on its way back through the stages.
 *
 * One event at a time is on its way, with those that stages emit ahead of it: a list whose first one goes through all stages that are
 * left for it, and out, before the next one moves.  So each stage sees events in their order, and nothing overtakes.
 */
#include "base.h"
#include "js.h"
#include "stages_parts.h"

enum { SCRATCH_MAX = 64 << 20 };

/* On its way from the expert to the client.  Bytes are malloc's, since answers may be longer than a request's arena likes. */
struct on_way {
        struct on_way *next;
        size_t left;             /* so many stages are to see it */
        enum stage_what what;
        struct pm_str raw, name; /* raw: as it came; empty: it was changed, or a stage has made it */
        struct pm_str data;
        char *changed;           /* holds `data`; NULL: it lies in bytes */
        char bytes[];
};

static void free_way(struct on_way *w)
{
        while (w) {
                struct on_way *next = w->next;

                free(w->changed);
                free(w);
                w = next;
        }
}

static struct on_way *on_way_create(enum stage_what what, struct pm_str name, struct pm_str data, size_t left)
{
        struct on_way *w = malloc(sizeof *w + name.n + data.n);

        if (!w)
                return NULL;
        if (name.n)
                memcpy(w->bytes, name.p, name.n);
        if (data.n)
                memcpy(w->bytes + name.n, data.p, data.n);
        *w = (struct on_way){ .what = what, .left = left, .name = { w->bytes, name.n }, .data = { w->bytes + name.n, data.n } };
        return w;
}

int stages_take(struct request *r, enum stage_what what, const struct stage_event *ev, struct pm_str raw)
{
        struct stages *all = r->stages;
        struct on_way *w, **last = &all->way;

        if (all->ended)
                return 0;
        all->ended = what == STAGE_END;
        w = on_way_create(what, raw.n ? (struct pm_str){ 0 } : ev->name, raw.n ? raw : ev->data, all->n);
        if (!w)
                return -ENOMEM;
        if (raw.n) {
                w->raw = w->data;
                w->name = (struct pm_str){ w->raw.p + (ev->name.n ? ev->name.p - raw.p : 0), ev->name.n };
                w->data = (struct pm_str){ w->raw.p + (ev->data.p - raw.p), ev->data.n };
        }
        while (*last)
                last = &(*last)->next;
        *last = w;
        return 0;
}

int stages_emit(struct stage_run *s, struct pm_str name, struct pm_str data)
{
        struct stages *all = s->request->stages;
        struct on_way *w;

        if (!all->in_hand || all->way->what == STAGE_WHOLE || data.n == 0 || js_check(data, 512, NULL, NULL) < 0)
                return -EINVAL;
        if (data.n > (size_t)s->request->generation->limits.buffer - MIN(all->emitted_n, (size_t)s->request->generation->limits.buffer))
                return -ENOBUFS;
        w = on_way_create(STAGE_EVENT, name, data, (size_t)(s - all->runs));
        if (!w)
                return -ENOMEM;
        all->emitted_n += data.n;
        *all->emitted_last = w;
        all->emitted_last = &w->next;
        return 0;
}

/* New data, from where it is to go away. */
static int change(struct on_way *w, const struct iovec *pieces, size_t n)
{
        size_t length = pieces_length(pieces, n);
        char *to = length ? malloc(length) : NULL;

        if (length && !to)
                return -ENOMEM;
        if (length)
                pieces_join(pieces, n, to);
        free(w->changed);
        w->changed = to;
        w->data = (struct pm_str){ to, length };
        w->raw = (struct pm_str){ 0 };
        return 0;
}

static int change_as_said(struct request *r, struct on_way *w, const struct stage_event *ev, const struct edits *e, struct arena *a)
{
        union { const char *from; void *to; } bytes = { ev->data.p };
        struct iovec all = { bytes.to, ev->data.n }, *pieces = &all;
        size_t n = 1;
        int err = 0;

        if (ev->data.p == w->data.p && ev->data.n == w->data.n) {
                if (!edits_any(e))
                        return 0;
                err = r->wire->splice(w->data, e, a, &pieces, &n);
        } else if (ev->data.n && js_check(ev->data, 512, NULL, NULL) < 0) {
                err = -EINVAL;
        }
        return err < 0 ? err : change(w, pieces, n);
}

/* What it has emitted goes ahead of the one in hand, if what it said counts. */
static void put_ahead(struct stages *all, bool counts)
{
        struct on_way *ahead = TAKE(all->emitted);

        if (!ahead)
                return;
        if (!counts) {
                free_way(ahead);
                return;
        }
        *all->emitted_last = all->way;
        all->way = ahead;
}

/* A stage ends the stream: those behind it are told so after this event. */
static int end_after(struct stages *all, struct on_way *w)
{
        struct on_way *end;

        if (w->what != STAGE_EVENT || all->ended)
                return 0;
        end = on_way_create(STAGE_END, (struct pm_str){ 0 }, (struct pm_str){ 0 }, w->left);
        if (!end)
                return -ENOMEM;
        all->ended = true;
        end->next = w->next;
        w->next = end;
        return 0;
}

/* The next stage sees the first one on the way.  GO: it has, or r is answered. */
static enum next show(struct request *r)
{
        struct stages *all = r->stages;
        struct on_way *w = all->way;
        struct stage_run *s = &all->runs[w->left - 1];
        struct arena scratch;
        struct stage_event ev = { .what = w->what, .name = w->name, .data = w->data, .arena = &scratch };
        struct edits edits = EDITS(&scratch);
        enum next said = GO;
        int err = 0;

        if (!s->stage->on_event) {
                w->left--;
                return GO;
        }
        arena_init(&scratch, &r->worker->loop.arenas, SCRATCH_MAX);
        all->emitted_last = &all->emitted;
        all->emitted_n = 0;
        all->in_hand = true;
        stages_ask(all, s, w->what == STAGE_END ? NULL : &edits);
        said = s->stage->on_event(s, &ev);
        stages_asked(all, s, said);
        all->in_hand = false;
        if (said != WAIT && !all->refused && w->what != STAGE_END)
                err = change_as_said(r, w, &ev, &edits, &scratch);
        arena_finish(&scratch);
        if (err == 0 && said != WAIT)
                w->left--;
        if (err == 0 && said == DONE && !all->refused)
                err = end_after(all, w);
        put_ahead(all, err == 0 && said != WAIT && !all->refused);
        if (said == WAIT)
                return stages_wait(r, s);
        if (all->refused)
                return stages_refuse_now(r);
        if (err == -ENOMEM)
                return relay_no_memory(r);
        if (err < 0 || (w->what == STAGE_WHOLE && w->data.n == 0))
                return stages_fault(r, s, err < 0 ? "has made an event of the answer that is no JSON" : "has left nothing of the answer");
        return GO;
}

/* As an event of a stream: what was changed may have line ends between its tokens, where a blank is as good. */
static struct pm_str event_bytes(const struct request *r, const struct on_way *w, char **ret_heap)
{
        static const char event[] = "event: ", data[] = "data: ";
        struct pm_str end = r->wire->event_end;
        size_t n = w->name.n ? sizeof event - 1 + w->name.n + 1 : 0;
        char *out;

        if (w->raw.n)
                return w->raw;
        out = *ret_heap = malloc(n + sizeof data - 1 + w->data.n + end.n);
        if (!out)
                return (struct pm_str){ 0 };
        if (n) {
                memcpy(out, event, sizeof event - 1);
                memcpy(out + sizeof event - 1, w->name.p, w->name.n);
                out[n - 1] = '\n';
        }
        memcpy(out + n, data, sizeof data - 1);
        n += sizeof data - 1;
        for (size_t i = 0; i < w->data.n; i++)
                out[n++] = (char)(w->data.p[i] == '\n' || w->data.p[i] == '\r' ? ' ' : w->data.p[i]);
        memcpy(out + n, end.p, end.n);
        return (struct pm_str){ out, n + end.n };
}

static void free_way_p(struct on_way **w)
{
        free_way(*w);
}

/* All stages have seen it. */
static enum next put(struct request *r, struct on_way *gone)
{
        CLEANUP(free_way_p) struct on_way *w = gone;
        CLEANUP(free_p) char *heap = NULL;
        struct pm_str bytes;

        if (w->what == STAGE_END)
                return relay_complete(r);
        if (w->what == STAGE_WHOLE)
                return relay_whole(r, w->changed ? w->data : (struct pm_str){ 0 });
        if (w->data.n == 0)
                return GO;
        bytes = event_bytes(r, w, &heap);
        if (!bytes.p)
                return relay_no_memory(r);
        relay_put(r, bytes);
        return GO;
}

enum next stages_run(struct request *r)
{
        struct stages *all = r->stages;

        while (all->way) {
                struct on_way *w = all->way;
                bool held = w->what == STAGE_EVENT && w->data.n == 0;
                enum next next;

                if (w->left > 0 && !held) {
                        next = show(r);
                } else {
                        all->way = TAKE(w->next);
                        next = put(r, w);
                }
                if (next == WAIT || r->at != STEP_relay)
                        return next;
        }
        return GO;
}

void stages_attempt_over(struct request *r)
{
        struct stages *all = r->stages;

        stages_stop_waiting(all);
        free_way(TAKE(all->way));
}

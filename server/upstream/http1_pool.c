/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections at rest, by endpoint.
 *
 * The newest is taken first, so that those which were not needed for TRANSPORT_IDLE_US stay at the end and are closed: as many are
 * kept as were needed at once within that time.  The endpoint's idle_max is a bound, not a target.  The read event stays armed at
 * rest, so that an expert that closes its end, or speaks out of turn, is seen at once; what has come since the loop last looked
 * is seen when the connection is taken.
 */
#include <event2/buffer.h>
#include <event2/event.h>

#include "h1.h"
#include "http1_parts.h"

#include "base.h"

/* ---- connections -------------------------------------------------------------------------------------------------------- */

static void leave(struct conn *c)
{
        struct http1_rest *r = &c->plain->rest[c->slot];

        if (!c->resting)
                return;
        *(c->newer ? &c->newer->older : &r->newest) = c->older;
        *(c->older ? &c->older->newer : &r->oldest) = c->newer;
        c->newer = c->older = NULL;
        c->resting = false;
        r->n--;
}

void http1_conn_stop(struct conn *c)
{
        if (c->fd < 0)
                return;
        (void)event_del(&c->readable);
        (void)event_del(&c->writable);
        (void)close(c->fd);
        c->fd = -1;
        c->keep = false;
}

void http1_conn_free(struct conn *c)
{
        if (!c)
                return;
        leave(c);
        http1_conn_stop(c);
        h1_destroy(c->h1);
        if (c->out)
                evbuffer_free(c->out);
        free(c);
}

bool http1_conn_watch(struct conn *c, bool on)
{
        if (c->reading == on)
                return true;
        if ((on ? event_add(&c->readable, NULL) : event_del(&c->readable)) < 0)
                return false;
        c->reading = on;
        return true;
}

/* ---- the pool ----------------------------------------------------------------------------------------------------------- */

bool http1_pool_room(struct http1 *p, unsigned slot)
{
        unsigned n = MAX(2 * p->n_slots, slot + 8);
        struct http1_rest *rest;

        if (slot < p->n_slots)
                return true;
        rest = realloc(p->rest, n * sizeof *rest);
        if (!rest)
                return false;
        memset(rest + p->n_slots, 0, (n - p->n_slots) * sizeof *rest);
        p->rest = rest;
        p->n_slots = n;
        return true;
}

struct conn *http1_pool_take(struct http1 *p, unsigned slot, size_t head_max)
{
        struct conn *c = p->rest[slot].newest, *older;

        for (; c; c = older) {
                older = c->older;
                if (c->head_max != head_max)
                        continue; /* made under another configuration's limit */
                if (!upstream_socket_spoke(c->fd)) {
                        leave(c);
                        return c;
                }
                http1_conn_free(c);
        }
        return NULL;
}

void http1_pool_give(struct http1 *p, struct conn *c, unsigned most)
{
        struct http1_rest *r = &p->rest[c->slot];

        if (!c->keep || c->fd < 0 || r->n >= most || !http1_conn_watch(c, true)) {
                http1_conn_free(c);
                return;
        }
        h1_next(c->h1);
        c->user = NULL;
        c->got = false;
        c->keep = false;
        c->idle_since = now_us();
        c->resting = true;
        c->newer = NULL;
        c->older = r->newest;
        *(r->newest ? &r->newest->newer : &r->oldest) = c;
        r->newest = c;
        r->n++;
        upstream_tick_by(p->upstream, c->idle_since + TRANSPORT_IDLE_US);
}

bool http1_pool_spare(struct http1 *p)
{
        struct conn *oldest = NULL;

        for (unsigned i = 0; i < p->n_slots; i++)
                if (p->rest[i].oldest && (!oldest || p->rest[i].oldest->idle_since < oldest->idle_since))
                        oldest = p->rest[i].oldest;
        http1_conn_free(oldest);
        return oldest != NULL;
}

int64_t http1_sweep(struct http1 *p, int64_t now)
{
        int64_t soonest = DEADLINE_NONE;

        for (unsigned i = 0; i < p->n_slots; i++) {
                struct http1_rest *r = &p->rest[i];

                while (r->oldest && now - r->oldest->idle_since >= TRANSPORT_IDLE_US)
                        http1_conn_free(r->oldest);
                if (r->oldest)
                        soonest = MIN(soonest, r->oldest->idle_since + TRANSPORT_IDLE_US);
        }
        return soonest;
}

void http1_pool_finish(struct http1 *p)
{
        for (unsigned i = 0; i < p->n_slots; i++)
                while (p->rest[i].oldest)
                        http1_conn_free(p->rest[i].oldest);
        free(p->rest);
}

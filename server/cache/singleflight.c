/* SPDX-License-Identifier: Apache-2.0 */
/* The leaders of all keys are in a table of chains; those that wait hang on their leader, in order. */
#include "singleflight.h"

#include <event2/event.h>

#include "cache_parts.h"
#include "loop.h"

#include "base.h"

static bool same_key(const struct cache_key *a, const struct cache_key *b)
{
        return a->hash == b->hash && a->local.n == b->local.n && memcmp(a->local.p, b->local.p, a->local.n) == 0;
}

static void stop_waiting(struct singleflight *f)
{
        *f->pprev = f->next;
        if (f->next)
                f->next->pprev = f->pprev;
        else
                f->leader->last = f->pprev;
        f->leader->n_waiting--;
        f->leader = NULL;
        if (f->timer)
                event_free(TAKE(f->timer));
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        struct singleflight *f = arg;

        (void)fd, (void)what;
        stop_waiting(f);
        f->on_result(f, (struct pm_str){ 0 }, SINGLEFLIGHT_LATE);
}

/* False: no memory. */
static bool set_timer(struct cache *c, struct singleflight *f, int64_t until_us)
{
        int64_t left = MAX(until_us - now_us(), 0);
        struct timeval t = { left / 1000000, left % 1000000 };

        f->timer = evtimer_new(c->loop->base, on_time, f);
        if (f->timer && evtimer_add(f->timer, &t) == 0)
                return true;
        if (f->timer)
                event_free(TAKE(f->timer));
        return false;
}

enum singleflight_role singleflight_join(struct cache *c, struct singleflight *f, const struct cache_key *key, int64_t until_us)
{
        struct singleflight **chain = &c->singleflights[key->hash % SINGLEFLIGHT_CHAINS], *leader = *chain;

        assert(!f->is_leader && !f->leader);
        f->key = *key;
        while (leader && !same_key(&leader->key, key))
                leader = leader->chain;
        if (!leader) {
                f->is_leader = true;
                f->first = NULL;
                f->last = &f->first;
                f->n_waiting = 0;
                f->chain = *chain;
                *chain = f;
                return SINGLEFLIGHT_LEADS;
        }
        if (leader->n_waiting == SINGLEFLIGHT_WAITERS_MAX || (until_us && !set_timer(c, f, until_us)))
                return SINGLEFLIGHT_ALONE;
        f->leader = leader;
        f->next = NULL;
        f->pprev = leader->last;
        *leader->last = f;
        leader->last = &f->next;
        leader->n_waiting++;
        return SINGLEFLIGHT_WAITS;
}

void singleflight_end(struct cache *c, struct singleflight *f, struct pm_str value, enum singleflight_result result)
{
        struct singleflight **p = &c->singleflights[f->key.hash % SINGLEFLIGHT_CHAINS];

        if (f->leader)
                stop_waiting(f);
        if (!f->is_leader)
                return;
        while (*p != f)
                p = &(*p)->chain;
        *p = f->chain;
        f->is_leader = false;
        while (f->first) {
                struct singleflight *one = f->first;

                stop_waiting(one);
                one->on_result(one, value, result);
        }
}

void singleflight_leave(struct cache *c, struct singleflight *f)
{
        singleflight_end(c, f, (struct pm_str){ 0 }, SINGLEFLIGHT_LEFT);
}

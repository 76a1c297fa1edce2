/* SPDX-License-Identifier: Apache-2.0 */
/* The leaders of all keys are in a table of chains; those that wait hang on their leader, in order. */
#include "singleflight.h"

#include "cache_parts.h"
#include "list.h"

#include "base.h"

static bool same_key(const struct cache_key *a, const struct cache_key *b)
{
        return a->hash == b->hash && a->local.n == b->local.n && memcmp(a->local.p, b->local.p, a->local.n) == 0;
}

bool singleflight_join(struct cache *c, struct singleflight *f, const struct cache_key *key)
{
        struct singleflight **chain = &c->singleflights[key->hash % SINGLEFLIGHT_CHAINS], *leader = *chain, **last;

        assert(!f->is_leader && !f->leader);
        f->key = *key;
        while (leader && !same_key(&leader->key, key))
                leader = leader->chain;
        if (!leader) {
                f->is_leader = true;
                f->first = NULL;
                f->chain = *chain;
                *chain = f;
                return true;
        }
        f->leader = leader;
        f->next = NULL;
        for (last = &leader->first; *last;)
                last = &(*last)->next;
        f->pprev = last;
        *last = f;
        return false;
}

static void stop_waiting(struct singleflight *f)
{
        LIST_UNLINK(f);
        f->leader = NULL;
}

void singleflight_end(struct cache *c, struct singleflight *f, struct pm_str value, bool failed)
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
                one->on_result(one, value, failed);
        }
}

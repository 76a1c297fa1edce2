/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_store.h"

#include <event2/event.h>

#include "list.h"

#include <criterion/criterion.h>

struct memory_call {
        struct memory_call *next, **pprev;
        struct memory_store *m;
        struct store_call *call;
        enum memory_script script;
        char key[160];
        int64_t max; /* items; 0: it wants no value */
        bool value;
        struct event *timer;
};

static struct memory_store *memory_of(struct store *s)
{
        return CONTAINER_OF(s, struct memory_store, store);
}

/* ---- what it has --------------------------------------------------------------------------------------------------------- */

struct memory_entry *memory_store_entry(struct memory_store *m, struct pm_str key)
{
        for (size_t i = 0; i < m->n_entries; i++)
                if (strlen(m->entries[i].key) == key.n && memcmp(m->entries[i].key, key.p, key.n) == 0)
                        return &m->entries[i];
        return NULL;
}

static struct memory_entry *entry_made(struct memory_store *m, struct pm_str key)
{
        struct memory_entry *e = memory_store_entry(m, key);

        if (!e) {
                cr_assert(m->n_entries < LENGTH_OF(m->entries) && key.n < sizeof e->key);
                e = &m->entries[m->n_entries++];
                *e = (struct memory_entry){ .n = 0 };
                memcpy(e->key, key.p, key.n);
        }
        return e;
}

void memory_store_put(struct memory_store *m, struct pm_str key, const void *p, size_t n)
{
        struct memory_entry *e = entry_made(m, key);

        cr_assert_leq(n, sizeof e->bytes);
        memcpy(e->bytes, p, n);
        e->n = n;
        e->list = false;
}

static void entry_drop(struct memory_store *m, struct pm_str key)
{
        struct memory_entry *e = memory_store_entry(m, key);

        if (e)
                *e = m->entries[--m->n_entries];
}

/* ---- calls --------------------------------------------------------------------------------------------------------------- */

static void call_free(struct memory_call *k)
{
        LIST_UNLINK(k);
        k->m->under_way--;
        event_free(k->timer);
        free(k);
}

static enum store_result find(struct memory_call *k, struct pm_str items[64], struct store_reply *ret)
{
        struct memory_entry *e = memory_store_entry(k->m, (struct pm_str){ k->key, strlen(k->key) });

        if (!e)
                return STORE_NONE;
        if (!e->list) {
                ret->value = (struct pm_str){ e->bytes, e->n };
                return STORE_OK;
        }
        for (char *p = e->bytes; p < e->bytes + e->n && (int64_t)ret->n_items < MIN(k->max, 64); p += strlen(p) + 1)
                items[ret->n_items++] = (struct pm_str){ p, strlen(p) };
        ret->items = items;
        return STORE_OK;
}

static void on_reply(evutil_socket_t fd, short what, void *arg)
{
        static const enum store_result results[] = { [MEMORY_HAS_NOTHING] = STORE_NONE, [MEMORY_SAYS_ERROR] = STORE_ERROR, [MEMORY_HAS_ANOTHER] = STORE_ERROR,
                                                     [MEMORY_IS_LATE] = STORE_LATE, [MEMORY_IS_LOST] = STORE_LOST };
        struct memory_call *k = arg;
        struct store_call *c = k->call;
        struct store_reply r = { .foreign = k->script == MEMORY_HAS_ANOTHER };
        struct pm_str items[64];
        struct memory_entry kept; /* done() may write over it */
        enum store_result result = STORE_OK;

        (void)fd, (void)what;
        if (k->script != MEMORY_ANSWERS)
                result = results[k->script];
        else if (k->value)
                result = find(k, items, &r);
        if (r.value.p) {
                memcpy(kept.bytes, r.value.p, r.value.n);
                r.value.p = kept.bytes;
        }
        if (result == STORE_ERROR)
                r.value = (struct pm_str){ "no", 2 };
        call_free(k);
        c->ticket = 0;
        c->done(c, result, &r);
}

static void let(struct memory_call *k, int64_t us)
{
        (void)evtimer_add(k->timer, (&(struct timeval){ us / 1000000, us % 1000000 }));
}

static int begin(struct memory_store *m, struct store_call *c, struct pm_str key, bool value, int64_t max, int64_t timeout_us)
{
        struct memory_call *k;

        if (m->script == MEMORY_IS_UNREACHABLE)
                return -EAGAIN;
        if (!c)
                return 0;
        cr_assert(c->ticket == 0 && key.n < sizeof k->key);
        k = calloc(1, sizeof *k);
        k->m = m;
        k->call = c;
        k->script = m->script;
        k->value = value;
        k->max = max;
        memcpy(k->key, key.p, key.n);
        k->timer = evtimer_new(m->base, on_reply, k);
        c->ticket = ++m->last_ticket;
        LIST_PUSH(&m->calls, k);
        m->under_way++;
        if (k->script == MEMORY_IS_LATE)
                let(k, timeout_us);
        else if (!m->held)
                let(k, 0);
        return 0;
}

void memory_store_let(struct memory_store *m)
{
        m->held = false;
        for (struct memory_call *k = m->calls; k; k = k->next)
                if (k->script != MEMORY_IS_LATE)
                        let(k, 0);
}

static int memory_get(struct store *s, struct store_call *c, struct pm_str key, int64_t timeout_us)
{
        memory_of(s)->reads++;
        return begin(memory_of(s), c, key, true, 0, timeout_us);
}

static int memory_list(struct store *s, struct store_call *c, struct pm_str key, int64_t max, int64_t timeout_us)
{
        memory_of(s)->lists++;
        return begin(memory_of(s), c, key, true, max, timeout_us);
}

static int memory_set(struct store *s, struct store_call *c, struct pm_str key, struct pm_str value, int64_t lives_ms, int64_t timeout_us)
{
        struct memory_store *m = memory_of(s);

        m->sets++;
        if (m->script == MEMORY_ANSWERS) {
                memory_store_put(m, key, value.p, value.n);
                memory_store_entry(m, key)->lives_ms = lives_ms;
        }
        return begin(m, c, key, false, 0, timeout_us);
}

static int memory_remove(struct store *s, struct store_call *c, struct pm_str key, int64_t timeout_us)
{
        struct memory_store *m = memory_of(s);

        m->removes++;
        if (m->script == MEMORY_ANSWERS)
                entry_drop(m, key);
        return begin(m, c, key, false, 0, timeout_us);
}

static int memory_push(struct store *s, struct pm_str key, struct pm_str item, int64_t keep, int64_t lives_ms, int64_t timeout_us)
{
        struct memory_store *m = memory_of(s);
        struct memory_entry *e;
        size_t n = 0;

        m->pushes++;
        if (m->script == MEMORY_ANSWERS) {
                e = entry_made(m, key);
                cr_assert_leq(e->n + item.n + 1, sizeof e->bytes);
                memmove(e->bytes + item.n + 1, e->bytes, e->n);
                memcpy(e->bytes, item.p, item.n);
                e->bytes[item.n] = '\0';
                e->n += item.n + 1;
                for (int64_t i = 0; i < keep && n < e->n; i++)
                        n += strlen(e->bytes + n) + 1;
                e->n = n;
                e->list = true;
                e->lives_ms = lives_ms;
        }
        return begin(m, NULL, key, false, 0, timeout_us);
}

static void memory_cancel(struct store *s, struct store_call *c)
{
        struct memory_store *m = memory_of(s);
        struct memory_call *next;

        for (struct memory_call *k = m->calls; k; k = next) {
                next = k->next;
                if (c->ticket && k->call == c) {
                        m->cancelled++;
                        call_free(k);
                }
        }
        c->ticket = 0;
}

static bool memory_ready(struct store *s)
{
        return memory_of(s)->script != MEMORY_IS_UNREACHABLE;
}

static int64_t memory_rtt_us(struct store *s)
{
        (void)s;
        return 100;
}

static void memory_destroy(struct store *s)
{
        struct memory_store *m = memory_of(s);

        while (m->calls)
                call_free(m->calls);
        if (m->gone)
                *m->gone = true;
        free(m);
}

static const struct store_ops memory_ops = {
        .ready = memory_ready, .whole = memory_ready, .rtt_us = memory_rtt_us, .get = memory_get, .set = memory_set, .remove = memory_remove,
        .push = memory_push, .list = memory_list, .cancel = memory_cancel, .destroy = memory_destroy,
};

struct memory_store *memory_store_create(struct event_base *base)
{
        struct memory_store *m = calloc(1, sizeof *m);

        cr_assert_not_null(m);
        m->store.ops = &memory_ops;
        m->base = base;
        return m;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is woken runs in passes over a list: a pass runs what was on the list when it began, and after a few passes in a row, or a
 * millisecond of them, the sockets have their turn.
 */
#include "loop.h"

#include <errno.h>
#include <event2/event.h>

#include "log.h"
#include "metrics.h"

#include "base.h"

#define ARENA_BLOCKS_KEPT 256
#define PASSES_IN_A_ROW 8
#define PASSES_US 1000

static void append(struct loop *l, struct wake *k)
{
        k->next = NULL;
        k->pprev = l->ready_last;
        *l->ready_last = k;
        l->ready_last = &k->next;
}

void loop_wake(struct loop *l, struct wake *k)
{
        if (k->pprev)
                return;
        if (!l->ready)
                event_active(l->run, 0, 0); /* no system call: the loop is between two looks at the sockets */
        append(l, k);
}

void loop_unwake(struct loop *l, struct wake *k)
{
        if (!k->pprev)
                return;
        *k->pprev = k->next;
        if (k->next)
                k->next->pprev = k->pprev;
        else
                l->ready_last = k->pprev;
        k->next = NULL;
        k->pprev = NULL;
}

static void run_pass(struct loop *l)
{
        struct wake *k;

        append(l, &l->mark);
        while ((k = l->ready) != &l->mark) {
                loop_unwake(l, k);
                k->fn(k->arg);
        }
        loop_unwake(l, &l->mark);
}

void loop_run_woken(struct loop *l)
{
        while (l->ready)
                run_pass(l);
}

static void on_run(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval at_once = { 0, 0 };
        struct loop *l = arg;

        (void)fd;
        if (what & EV_TIMEOUT)
                l->passes = 0;
        if (l->passes == 0)
                l->passes_began_us = now_us();
        run_pass(l);
        if (l->after_run)
                l->after_run(l->owner);
        if (!l->ready)
                l->passes = 0;
        else if (++l->passes < PASSES_IN_A_ROW && now_us() - l->passes_began_us < PASSES_US)
                event_active(l->run, 0, 0);
        else
                (void)event_add(l->run, &at_once); /* after the next look at the sockets */
}

int loop_init(struct loop *l, unsigned id, void (*after_run)(void *owner), void *owner)
{
        struct event_config *config = event_config_new();

        *l = (struct loop){ .id = id, .after_run = after_run, .owner = owner };
        l->ready_last = &l->ready;
        arena_pool_init(&l->arenas, ARENA_BLOCKS_KEPT);
        if (!config)
                return -ENOMEM;
        (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* one thread only */
        (void)event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
        l->base = event_base_new_with_config(config);
        event_config_free(config);
        if (!l->base)
                return -ENOMEM;
        l->resolver.base = l->base;
        l->run = event_new(l->base, -1, 0, on_run, l);
        l->log = log_buffer_create(l->base);
        l->metrics = metrics_shard_create();
        if (!l->run || !l->log || !l->metrics)
                return -ENOMEM;
        return inbox_init(&l->inbox, l->base, owner);
}

void loop_finish_inbox(struct loop *l)
{
        inbox_finish(&l->inbox);
        loop_run_woken(l);
}

void loop_finish(struct loop *l)
{
        log_buffer_destroy(TAKE(l->log));
        metrics_shard_destroy(TAKE(l->metrics));
        if (l->run)
                event_free(TAKE(l->run));
        resolver_finish(&l->resolver);
        arena_pool_finish(&l->arenas);
        if (l->base)
                event_base_free(TAKE(l->base));
}

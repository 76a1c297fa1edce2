/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.h - one whole exchange with an expert on behalf of a router: a bounded request, a bounded reply, a deadline.
 *
 * For pm_call and pm_embed.  Lives inside its owner; the owner is woken once, when `done` has become true.
 */
#ifndef PM_EXCHANGE_H
#define PM_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "arena.h"
#include "worker.h"

struct event;
struct expert;
struct endpoint;
struct transfer;

struct exchange {
        struct worker *worker;
        struct arena *arena;   /* the reply goes there */
        struct wake *owner;
        struct wake wake;      /* the transfer's */
        struct event *timer;
        struct expert *expert;
        struct endpoint *endpoint;
        struct transfer *transfer;
        struct iovec body;
        size_t max_reply;

        bool done;
        int status;            /* enum pm_status */
        int http_status;
        struct pm_str reply;
        char error[200];       /* when status is not PM_OK: one clause */
};

/* Body, path and what they point to must live as long as the ask.  Never calls the owner from inside. */
void exchange_start(struct exchange *a, struct worker *w, struct arena *arena, struct wake *owner, struct expert *e,
                    const char *path, struct pm_str body, int64_t timeout_ms, size_t max_reply);
/* In any state; after it the owner is not woken by this ask any more. */
void exchange_cancel(struct exchange *a);
#endif

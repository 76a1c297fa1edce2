/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mockhost_parts.h - what mockhost.c (queries and their steps) and mockhost_moves.c (what a step may call, and what that starts)
 * share; for nobody else.
 */
#ifndef PM_MOCKHOST_PARTS_H
#define PM_MOCKHOST_PARTS_H

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "mockhost.h"
#include "mempool.h"

enum move {
        NO_MOVE,
        DECIDE,
        CANDIDATES,
        PASS,
        FAIL,
        REJECT,
        LAST_ENDING = REJECT,
        EMBED,
        CALL,
        OFFLOAD,
        TWO_MOVES
};

struct deferred {
        void (*fn)(void *arg);
        void *arg;
        struct deferred *before;
};

/* A reply with keep_s, of one tenant. */
struct kept_reply {
        const char *expert, *path;
        struct pm_str tenant, body, reply;
        int64_t ends_us;           /* by now_us() */
        const struct run *sent_by; /* in the background: it arrives when this query ends */
        struct kept_reply *next;
};

struct mockhost {
        const struct pm_router *router;
        const char *instance;
        struct mock_setup setup;
        struct mempool *memory;
        void *self;
        const struct pm_expert **experts;
        const char **expert_names;
        const char **read_headers; /* of a router that declares what it reads */
        size_t n_read_headers;
        atomic_uint_fast64_t tickets;
        char *why; /* of the open() that runs */
        size_t why_n;
        bool refused, insists;
        char *log;
        size_t log_n;
        pthread_mutex_t lock; /* of what is kept, and of memory once queries run */
        struct kept_reply *kept;
};

/* One query on its way.  `query` is what the router sees. */
struct run {
        struct pm_query query;
        struct mockhost *h;
        const struct mock_ask *ask;
        struct mock_result *result;
        struct mempool *memory;
        uint64_t ticket;
        enum move move;
        pm_step_fn *then;
        const char *encoder;
        struct pm_str text;
        struct pm_call call;
        const char *wrong;         /* what a host would not have asked about: in the body; NULL: nothing */
        const char *wrong_param;
        void (*work)(void *job);
        void *job;
        struct deferred *deferred;
        unsigned operations, defers;
        atomic_bool in_step, misused;
        char *log;
        size_t log_n;
        double began;
};

extern const struct pm_host mockhost_functions;

/* Carries out the continuation that a step asked for.  False: the client left meanwhile. */
bool mockhost_operate(struct run *r);
/* What is kept of the last call's reply. */
void mockhost_shorten(struct run *r, int seconds);
/* The query has ended: what it has sent for in the background is there. */
void mockhost_arrive(struct run *r);

/* Copies that live as long as the result. */
const char *run_keep(struct run *r, const char *text);
struct pm_str run_keep_str(struct run *r, struct pm_str s);

/* Adds "level: text\n" to a growing heap string. */
void mockhost_append(char **log, size_t *n, enum pm_level level, const char *fmt, va_list args)
        __attribute__((format(printf, 4, 0)));
#endif

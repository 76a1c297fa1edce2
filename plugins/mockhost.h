/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mockhost.h - a host without a server: runs a router's steps over one query to the end, for tests and for pm-try.
 *
 * It keeps the promises of pm_router.h to the letter and watches that the router keeps its own: a forged or missing move, two
 * moves, a host function called from an offload's work or a query that never ends makes the result MOCK_BROKEN, with a sentence.
 * Embeddings and calls are answered from tables or by functions; replies with keep_s are kept so long for their tenant, and what is called
 * for in the background is there when the query has ended; faults can be put in at any operation.
 *
 * mockhost_open, mockhost_close and mockhost_observe on one thread; mockhost_run on many at a time, as workers do.
 */
#ifndef PM_MOCKHOST_H
#define PM_MOCKHOST_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"
#include "pm_router.h"

struct mockhost;
struct mempool;

/* The answer to a pm_embed of exactly this text (NULL: of any) from this encoder (NULL: any). */
struct mock_vector {
        const char *encoder, *text;
        const float *v;
        size_t dim;
        int status;            /* not 0: the operation fails with it */
};

/* The answer to a pm_call to this expert (NULL: any) whose body contains `contains` (NULL: any). */
struct mock_reply {
        const char *expert, *contains;
        int http_status;       /* 0: 200 */
        const char *body;
        int status;            /* not 0: the operation fails with it */
};

struct mock_setup {
        const char *instance;                 /* NULL: the router's own name */
        const char *base;                     /* folder of relative paths; NULL: paths stay as they are */
        const struct pm_expert *experts;      /* copied by reference: must outlive the host */
        size_t n_experts;
        const struct mock_vector *vectors;
        size_t n_vectors;
        const struct mock_reply *replies;
        size_t n_replies;
        /* Asked first where given; they fill *ret and return true, or false for "look into the table". */
        bool (*embed)(void *ctx, const char *encoder, struct pm_str text, struct mock_vector *ret);
        bool (*call)(void *ctx, const struct pm_call *c, struct mock_reply *ret);
        void *ctx;
        bool threads;                         /* offloads on a thread of their own; else inline, between the steps */
        int limit_ms;                         /* for one query; 0: 1000 */
        unsigned max_steps;                   /* 0: 64 */
        size_t alloc_max;                     /* pm_alloc returns NULL above; 0: 16 MiB */
};

/* Faults of one query; operations (embed, call, offload) and steps are counted from 1, 0 is never. */
struct mock_faults {
        unsigned busy_at;      /* this operation cannot start: PM_EBUSY */
        unsigned timeout_at;   /* this operation runs out of time: PM_ETIMEOUT */
        unsigned leave_at;     /* the client leaves while this operation is under way; an offload's work still runs to its end */
        unsigned defer_at;     /* this pm_defer has no memory: its function is called at once, -1 returned */
};

struct mock_ask {
        enum pm_kind kind;                    /* 0: PM_CHAT */
        struct pm_str text;                   /* the last user message */
        const struct pm_message *messages;    /* none: one message of the user with `text` */
        size_t n_messages;
        const char *tenant, *model, *id;      /* NULL: "", "auto", "mock-1" */
        struct pm_str body;                   /* empty: made from model and messages; recommend: allow, deny, filter, seen are read out of it */
        const char *const *headers;           /* name, value, ..., NULL */
        const char *user;
        const char *const *resting;           /* experts that are not there now, NULL at the end */
        const char *const *history, *const *exclude; /* NULL at the end */
        size_t wanted;
        int explain;
        int64_t later_s;                      /* asked so many seconds later than it is: for what is kept only */
        struct mock_faults faults;
};

enum mock_end {
        MOCK_DECIDED = 1,
        MOCK_CANDIDATES,
        MOCK_PASSED,
        MOCK_FAILED,   /* pm_fail, with its text */
        MOCK_REFUSED,  /* a decision that no host may follow: unknown expert, extra that is no JSON object, ... */
        MOCK_BROKEN,   /* the router broke a rule of the ABI */
        MOCK_LATE,     /* not done within limit_ms */
        MOCK_LEFT,     /* the client left, as the faults asked */
        MOCK_REJECTED  /* pm_reject, or the host itself, of a recommend query: the client's mistake, in `param` */
};

/* What came out; all it points to lives until mock_result_finish(). */
struct mock_result {
        enum mock_end end;
        const char *expert, *category, *reason, *extra;
        double confidence;
        bool provisional;             /* the host would not keep it */
        bool unsure;                  /* nor a conversation at its expert */
        bool only;                    /* no other expert may answer */
        const char *const *fallbacks; /* known experts only, NULL at the end */
        size_t n_fallbacks;
        const struct pm_item *const *items;
        size_t n_items;
        const char *explained;        /* by pm_explain, if the query asked for it and it is a JSON object */
        const char *text;             /* why it failed, was refused or rejected, or is broken */
        const char *param;            /* rejected: the member of the body; may be NULL */
        const char *log;              /* "warn: text\n" for each pm_log */
        unsigned steps, embeds, calls, offloads, defers;
        unsigned kept;                /* calls that were answered from what is kept; `calls`: how often an expert was asked, in the background, too */
        size_t allocated;             /* bytes by pm_alloc */
        double steps_us, longest_us;  /* in the router's steps: all, and the longest */
        double total_us;              /* with the operations */
        struct mempool *memory;
};

/* Fills the router's struct from `options` (NULL: none given) and opens it.  0, or -errno and why in full, line after line. */
int mockhost_open(const struct pm_router *router, const struct node *options, const struct mock_setup *setup,
                  struct mockhost **ret, char *why, size_t n);
void mockhost_close(struct mockhost *h);                  /* NULL is fine */
void *mockhost_self(struct mockhost *h);
const char *mockhost_log(const struct mockhost *h);       /* what open() logged */

void mockhost_run(struct mockhost *h, const struct mock_ask *ask, struct mock_result *ret);
void mockhost_observe(struct mockhost *h, const struct pm_outcome *o);
void mock_result_finish(struct mock_result *r);

const char *mock_end_text(enum mock_end end);             /* "decided", "passed", ... */

static inline struct pm_str mock_str(const char *text)
{
        size_t n = 0;

        while (text && text[n])
                n++;
        return (struct pm_str){ text, n };
}
#endif

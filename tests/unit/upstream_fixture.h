/* SPDX-License-Identifier: Apache-2.0 */
/* upstream_fixture.h - what tests of the client side share: a loop without a thread, an owner that counts its wakes, and the ways
 * to a peer. */
#ifndef PM_UPSTREAM_FIXTURE_H
#define PM_UPSTREAM_FIXTURE_H

#include "arena.h"
#include "expert.h"
#include "loop.h"
#include "peer.h"
#include "upstream.h"

struct bench {
        struct loop loop;
        struct upstream *u;
        struct arena a;
        struct event *beat;
        struct endpoint e;
};

struct owner {
        struct wake wake;
        struct transfer *t;
        unsigned woken;
};

/* Which transport, over what. */
struct way {
        const char *name, *scheme;
        enum peer_kind kind;
        bool plain;
};
enum { WAY_PLAIN, WAY_CURL, WAY_TLS, WAYS };
extern const struct way ways[WAYS];

void bench_init(struct bench *b);
void bench_finish(struct bench *b);
/* The bench's endpoint is that URL, or that peer. */
void aim(struct bench *b, const char *url, bool plain);
void aim_at(struct bench *b, const struct way *w, struct peer *p);
/* One look at the sockets, then the wakes. */
void turn(struct bench *b);
void run_ms(struct bench *b, int64_t ms);
struct upstream_call call_of(struct bench *b); /* a POST of "hello", with generous limits */
void open_with(struct bench *b, struct owner *o, const struct upstream_call *call);
void open_one(struct bench *b, struct owner *o);
/* Until that state or a later one; TRANSFER_DONE: until its end, good or bad. */
void wait_state(struct bench *b, struct owner *o, enum transfer_state s);
/* A whole exchange that must succeed. */
void exchange(struct bench *b, bool reused);
/* A peer that answers every request with "hello". */
void serves(struct peer_conn *c);

#define WAIT(b, condition)                                                                                                      \
        do {                                                                                                                     \
                int64_t limit_ = now_us() + 20000000;                                                                            \
                while (!(condition)) {                                                                                           \
                        if (now_us() >= limit_)                                                                                  \
                                cr_assert_fail("waited for " #condition);                                                        \
                        turn(b);                                                                                                 \
                }                                                                                                                \
        } while (0)
#endif

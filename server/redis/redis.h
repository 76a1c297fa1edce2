/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis.h - one thread's Redis: commands with deadlines in milliseconds, on the owner's event base; one server, Sentinel or Cluster.
 *
 * Redis is never needed.  What is dead, slow, full, read-only, wrongly configured or talks nonsense costs a command its own time limit
 * at most, and after `failures` in a row nothing at all until a probe of ours has succeeded.  All functions run on the thread of the
 * base (or before its loop does), none of them blocks, none calls `done` from inside.  Replies find their call by a ticket: a call
 * that is late, cancelled or gone with its owner is never touched again.
 */
#ifndef PM_REDIS_H
#define PM_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"
#include "redis_stats.h"
#include "store.h"

struct event_base;
struct resolver;
struct redis;
struct redisReply; /* <hiredis/hiredis.h> */

enum redis_mode { REDIS_SINGLE, REDIS_SENTINEL, REDIS_CLUSTER };

struct redis_config {
        enum redis_mode mode;
        const char *const *servers;  /* "redis://host:port", "host:port", "unix:/path": the server, the sentinels, some of the cluster's nodes */
        size_t n_servers;
        const char *master;          /* Sentinel: its name there */
        const char *user, *password; /* NULL: none; a password alone is that of the user "default" */
        const char *sentinel_user, *sentinel_password;
        int64_t database;            /* not with Cluster */
        int64_t connect_ms;          /* name, TCP, AUTH, SELECT together */
        int64_t failures, open_ms;   /* so many time-outs or lost connections in a row open the breaker for so long; then one probe.  0: never */
        size_t waiting_max;          /* commands under way; above it -EBUSY */
        size_t reply_max;            /* bytes of one reply in memory; a longer one costs the connection */
};

enum redis_result {
        REDIS_ANSWERED,   /* a reply that is neither nil nor an error */
        REDIS_NIL,
        REDIS_SAID_ERROR, /* -OOM, -WRONGTYPE, ... */
        REDIS_LATE,       /* the time limit has passed; it may have been carried out */
        REDIS_LOST        /* the connection has gone, or the reply made no sense */
};

/* Lives inside its owner; zeroed at first.  The owner calls redis_cancel() before it dies while ticket is not 0. */
struct redis_call {
        /* Once, from the loop.  The call may be used again from inside; redis_destroy() may not be called there.  reply: NULL but for
         * ANSWERED and SAID_ERROR, gone when this returns. */
        void (*done)(struct redis_call *c, enum redis_result result, const struct redisReply *reply);
        uint64_t ticket; /* 0: not under way */
};

/* Is it usable?  0, or -EINVAL and a sentence in why: what was found and what would be right.  Touches no network. */
int redis_check(const struct redis_config *c, char *why, size_t n);

/* Copies the configuration, which redis_check() must have accepted; connects once the loop runs.  resolver (NULL: one of its own)
 * and stats (may be NULL) must outlive it.  NULL: no memory. */
struct redis *redis_create(struct event_base *base, struct resolver *resolver, const struct redis_config *c, struct redis_stats *stats);
/* NULL is fine.  Calls under way never get `done`. */
void redis_destroy(struct redis *r);

/* Would a command go out now?  (In a cluster: a command for some of the slots.) */
bool redis_ready(const struct redis *r);
/* And for all of the slots? */
bool redis_whole(const struct redis *r);
/* Smoothed time from a command to its reply; 0: none seen yet. */
int64_t redis_rtt_us(const struct redis *r);

/*
 * Sends a command of binary-safe words, which are copied.  argv[key] decides the slot in a cluster; key < 0: there is none, any node
 * will do.  All commands of one loop turn leave in one write.  c NULL: no caller waits for the reply (it is counted all the same).
 *
 * 0: done() will come within timeout_us (and the loop's millisecond).  -EAGAIN: no connection, or the breaker is open; costs nothing.
 * -EBUSY: waiting_max commands are under way, or 16 MiB wait to be written.  -ENOMEM.  Then done() does not come.
 */
int redis_command(struct redis *r, struct redis_call *c, int key, int argc, const char *const *argv, const size_t *argvlen, int64_t timeout_us);
/* The same for GET key, and for SET key value PX px_ms (px_ms 0: no expiry). */
int redis_get(struct redis *r, struct redis_call *c, struct pm_str key, int64_t timeout_us);
int redis_set(struct redis *r, struct redis_call *c, struct pm_str key, struct pm_str value, int64_t px_ms, int64_t timeout_us);
/* In any state; after it done() is not called.  The reply is ignored when it comes. */
void redis_cancel(struct redis *r, struct redis_call *c);

/* Redis as a store, which redis_destroy() takes with it, and which takes the redis with it; NULL is fine. */
struct store *redis_store(struct redis *r);

/*
 * All keys that match a pattern of SCAN, of all masters; one batch under way, then a rest as long as it took, so that others are not
 * hurt.  As SCAN has it: a key may come twice, and one that came or went meanwhile may be missing.  Removal is UNLINK, in a cluster
 * each key by its slot.  -EAGAIN: a master cannot be reached now, or slots have none; -ESTALE: slots went from one master to another.
 */
/* timeout_us: of each command.  0: end() will come.  -ENOMEM: it will not. */
int redis_scan(struct redis *r, struct store_scan *s, struct pm_str pattern, int64_t timeout_us);
/* In any state; end() is not called any more. */
void redis_scan_cancel(struct store_scan *s);
#endif

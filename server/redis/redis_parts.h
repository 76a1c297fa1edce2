/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_parts.h - private to the files of the Redis client.
 *
 * A *conn* is a connection to one address: it connects, does the handshake (AUTH, SELECT, a probe), sends commands in order, and waits
 * after a failure.  A *pending* is one command in flight: its ticket stays in the connection's ring until the reply comes, even when its
 * caller has stopped waiting.  redis.c has the pending commands, redis_conn.c and redis_connect.c the connections; the other files
 * decide which connection serves what.
 */
#ifndef PM_REDIS_PARTS_H
#define PM_REDIS_PARTS_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <hiredis/hiredis.h>
#include <stdatomic.h>

#include "arena.h"
#include "connect.h"
#include "redis.h"
#include "redis_address.h"
#include "resolver.h"

#define REDIS_OUT_MAX ((size_t)16 << 20) /* bytes that wait to be written to one server */
#define REDIS_INNER_MAX ((size_t)8 << 20) /* bytes of a reply to what we ask ourselves: a table, a batch of keys */
#define NEVER_US INT64_MAX

struct redis_conn;
struct sentinel;

/* ---- connections -------------------------------------------------------------------------------------------------------- */
enum redis_conn_state {
        REDIS_CONN_OFF,        /* until redis_conn_start() */
        REDIS_CONN_WAITING,    /* until the timer */
        REDIS_CONN_CONNECTING, /* name, TCP */
        REDIS_CONN_HANDSHAKE,  /* AUTH, SELECT */
        REDIS_CONN_PROBING,    /* PING or what the kind says */
        REDIS_CONN_UP
};

/* Why a line is logged: each at most once a minute. */
enum redis_conn_said { SAID_GONE, SAID_LATE, SAID_REFUSED, SAID_OVERSIZED, SAID_ERROR, SAID_SENTINEL, SAID_N };

/* What a connection is for.  The functions run from the loop, outside of any redis_*() call of the owner. */
struct redis_conn_kind {
        const char *probe;                         /* one word that a usable server answers */
        const char *(*probed)(const redisReply *r); /* NULL: usable, else a clause; NULL function: any reply but -LOADING and its like */
        void (*up)(struct redis_conn *conn);       /* NULL: no callback */
        void (*down)(struct redis_conn *conn);     /* after the commands on it were lost; not told by redis_conn_stop() */
        bool sentinel;                             /* the sentinels' user and password, no database */
        bool retries;                              /* by itself, after a while */
};

struct sent {
        uint64_t ticket; /* 0: the reply is ignored */
        int64_t at_us;
};

struct redis_conn {
        struct redis *r;
        const struct redis_conn_kind *kind;
        struct redis_conn *next, **pprev; /* all of r's */
        struct redis_address to;
        enum redis_conn_state state;
        unsigned epoch;             /* goes up whenever the connection is closed */
        int fd;
        struct event readable, writable, flush, timer;
        redisReader *reader;
        size_t reply_cost;          /* memory of the reply that is being read */
        size_t reply_limit;         /* what it may be */
        bool oversized;

        char *out;                  /* [out_at, out_n): not written yet */
        size_t out_at, out_n, out_size;
        bool flushing;

        struct sent *ring;          /* commands without a reply yet, oldest at head */
        size_t ring_size, head, n_sent;

        struct connect_try connect;
        unsigned handshake_replies; /* handshake: replies to AUTH and SELECT still to come */

        int64_t fail_row;           /* connections lost or not made, since a command was answered */
        int64_t late_row;           /* time-outs (and answers like -LOADING), likewise */
        int64_t late_counted_us;    /* when the last one was; commands sent before that are not a further one */
        bool too_late;              /* the last straw, while the time-outs of one moment are gone through */
        int64_t probe_us;           /* how fast the probe must be; 0: connect_ms */
        int64_t backoff_us;
        int64_t wait_until_us;      /* after a failure: not before */
        bool open;                  /* the breaker */
        void *owner;                /* kind's own */
};

void redis_conn_init(struct redis_conn *conn, struct redis *r, const struct redis_conn_kind *kind, const struct redis_address *to);
/* Commands on it are dropped without a word. */
void redis_conn_finish(struct redis_conn *conn);
/* Connects after that time, in OFF and WAITING. */
void redis_conn_start(struct redis_conn *conn, int64_t delay_us);
/* Closes it; what was on it is lost.  OFF. */
void redis_conn_stop(struct redis_conn *conn);
/* The connection is no good: closes it, says so in the log, what was on it is lost, and kind->retries decides what comes. */
void redis_conn_fail(struct redis_conn *conn, enum redis_conn_said cause, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A command of it has come to a good end: all is well. */
void redis_conn_record_success(struct redis_conn *conn);
/* One more time-out, or its like, of a command that was sent then.  True: that was the last straw; redis_conn_fail() is the caller's. */
bool redis_conn_record_timeout(struct redis_conn *conn, int64_t sent_us, int64_t now);
/* redis_writer.c: appends a command; it leaves with the others of this turn of the loop.  0, -EBUSY, -ENOMEM.  The bytes are the
 * last *ret_n of out. */
int redis_conn_push(struct redis_conn *conn, uint64_t ticket, int64_t now, int argc, const char *const *argv,
                    const size_t *argvlen, size_t *ret_n);
int redis_conn_push_bytes(struct redis_conn *conn, uint64_t ticket, int64_t now, const char *p, size_t n);
void redis_conn_flush(evutil_socket_t fd, short what, void *conn); /* an event's function */

/* A line a minute and cause at most. */
void redis_conn_say(struct redis_conn *conn, enum redis_conn_said cause, const char *text);

/* redis_connect.c: from the address to a connected socket, then redis_conn_connected(). */
void redis_conn_connect(struct redis_conn *conn);
void redis_conn_connect_next(struct redis_conn *conn, int error);
void redis_conn_connected(struct redis_conn *conn);

/* ---- pending ------------------------------------------------------------------------------------------------------------ */
struct pending {
        struct pending *next, **pprev; /* used, expired or free */
        struct redis_call *call;    /* these two NULL: no caller waits */
        struct store_call *store_call;
        struct redis_conn *conn;
        uint64_t ticket;            /* of this use */
        int64_t deadline_us, timeout_us;
        bool inner;                 /* our own: not counted, and its reply may be larger */
        /* in a cluster: what was sent, to send it again */
        char *bytes;
        size_t n_bytes, bytes_size;
        unsigned redirects;
        bool parked;                /* waits for its connection to be up, or for retry_us; in no ring */
        bool asking;
        int64_t retry_us;           /* 0: for the connection */
};

struct redis {
        struct store store;         /* these two: redis_store.c */
        void (*store_done)(struct store_call *c, enum redis_result result, const redisReply *reply);
        struct event_base *base;
        struct redis_config config;
        struct arena arena;         /* the configuration's */
        struct redis_stats *stats, own_stats;
        struct redis_conn *conns;
        redisReplyObjectFunctions hiredis_makers, makers; /* of the readers' objects: theirs, and ours that count */
        struct pending *pending, *used, *expired, *free;
        size_t n_touched;           /* entries that were ever used */
        struct event tick;
        int64_t tick_at_us;
        int64_t rtt_us;
        uint64_t random;
        struct resolver *resolver, own_resolver;
        bool was_ready;
        struct redis_conn *main;          /* the server, or Sentinel's master; NULL in a cluster */
        struct sentinel *sentinel;
        struct cluster *cluster;
};

/* Sends on that connection.  As redis_command(). */
int redis_send(struct redis *r, struct redis_conn *conn, struct redis_call *c, bool inner, int argc, const char *const *argv,
               const size_t *argvlen, int64_t timeout_us);
/* The first server from number *i on that has keys of its own, *i becomes its number; NULL: there are no more. */
struct redis_conn *redis_master(struct redis *r, size_t *i);
/* The most that the reply to that may be in memory. */
size_t redis_reply_limit(struct redis *r, uint64_t ticket);
/* What was redirected goes to that connection: at once, or when it is up, or at retry_us if that is not 0. */
void redis_park(struct redis *r, struct pending *s, struct redis_conn *conn, int64_t retry_us, bool asking);
/* The connection is up: what is parked for it goes out; or it is down: that is lost. */
void redis_unpark(struct redis *r, struct redis_conn *conn, bool up);
/* The reply to what was sent. */
void redis_reply(struct redis *r, struct redis_conn *conn, const struct sent *s, const redisReply *reply, int64_t now);
/* The connection has gone: the call's end, if anybody still waits. */
void redis_lost(struct redis *r, uint64_t ticket);
/* What has that ticket, if anything, is waited for no more. */
void redis_drop(struct redis *r, uint64_t ticket);
/* The gauge, after any connection went up or down. */
void redis_readiness(struct redis *r);
/* redis_sentinel.c.  -ENOMEM leaves nothing behind. */
int redis_sentinel_create(struct redis *r);
void redis_sentinel_destroy(struct redis *r);
/* redis_cluster.c.  The connection for a key (NULL: for any); NULL: none. */
int redis_cluster_create(struct redis *r);
void redis_cluster_destroy(struct redis *r);
struct redis_conn *redis_cluster_conn(struct redis *r, const struct pm_str *key);
struct redis_conn *redis_cluster_master(struct redis *r, size_t *i);
bool redis_cluster_ready(const struct redis *r);
bool redis_cluster_complete(const struct redis *r); /* each slot has a master, */
bool redis_cluster_whole(const struct redis *r);    /* and it can be reached */
/* Goes up when a slot is found to have another master than before. */
uint64_t redis_cluster_moves(const struct redis *r);
/* An error: true if the command goes elsewhere because of it. */
bool redis_cluster_redirect(struct redis *r, struct redis_conn *conn, struct pending *s, const redisReply *reply, int64_t now);
/* -LOADING and others that mean: alive, and of no use now. */
bool redis_useless(const redisReply *reply);
/* 0 .. n-1. */
uint64_t redis_random(struct redis *r, uint64_t n);
#endif

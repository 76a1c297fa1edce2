/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection and its breaker.  Of hiredis only the reader is used: its asynchronous half resolves names on the loop, has no limit
 * for connecting and allocates for every command.  Replies come in the order of the commands (redis_writer.c) and are matched with a ring
 * of tickets.  The reader's makers of objects are wrapped, so that what a reply may cost is known while it is read, not when it is
 * complete.
 *
 * After a failure the connection waits: 50 ms, doubling to 4 s, and up to a quarter more by chance; `open_ms` at least when the breaker is open.  A
 * connection that was closed for being late must answer its probe as fast as a command would have to, and one more time-out closes it again:
 * so a Redis that is only slow costs one command in a while.
 */
#include "list.h"
#include "log.h"
#include "redis_parts.h"
#include "text.h"
#include "throttle.h"

#include "base.h"

#define BACKOFF_MIN_US 50000
#define BACKOFF_MAX_US 4000000
#define READ_SIZE 16384
#define DEPTH_MAX 8             /* arrays in arrays of a reply */
#define PROBE_MIN_US 2000       /* the loop's clock has milliseconds */

enum { HANDSHAKE = 1, PROBE = 2 }; /* tickets; those of commands are far above */

/* ---- words -------------------------------------------------------------------------------------------------------------- */
/* Of the process: a hundred workers that lose the same Redis are one event. */
static _Atomic int64_t said_us[SAID_N];
static _Atomic bool said_down;

void redis_conn_say(struct redis_conn *conn, enum redis_conn_said cause, const char *text)
{
        const char *then = conn->kind->sentinel ? "; trying another sentinel" : cause == SAID_ERROR ? "" : "; continuing without Redis";
        char to[ADDRESS_TEXT_MAX];

        if (!throttle_shared(&said_us[conn->kind->sentinel ? SAID_SENTINEL : cause], now_us()))
                return;
        if (cause != SAID_ERROR && !conn->kind->sentinel)
                atomic_store_explicit(&said_down, true, memory_order_relaxed);
        log_msg(NULL, PM_WARN, "redis %s: %s%s", redis_address_text(&conn->to, to, sizeof to), text, then);
}

/* ---- the reader --------------------------------------------------------------------------------------------------------- */
#if HIREDIS_MAJOR >= 1
typedef size_t elements_n;
#else
typedef int elements_n;
#endif

#define ORIGINAL(t) (((const struct redis_conn *)(t)->privdata)->r->hiredis_makers)

static bool costs(const redisReadTask *t, size_t n)
{
        struct redis_conn *conn = t->privdata;

        if (n > conn->reply_limit || conn->reply_cost + n > conn->reply_limit) {
                conn->oversized = true;
                return false; /* the maker says NULL, the reader "out of memory" */
        }
        conn->reply_cost += n;
        return true;
}

static void *make_string(const redisReadTask *t, char *p, size_t n)
{
        return costs(t, sizeof(redisReply) + n) ? ORIGINAL(t).createString(t, p, n) : NULL;
}

/* hiredis 1 reads arrays in arrays without end, and frees them by recursion. */
static bool shallow(const redisReadTask *t)
{
        unsigned depth = 0;

        for (const redisReadTask *up = t; up && depth <= DEPTH_MAX; up = up->parent)
                depth++;
        if (depth > DEPTH_MAX)
                ((struct redis_conn *)t->privdata)->oversized = true;
        return depth <= DEPTH_MAX;
}

static void *make_array(const redisReadTask *t, elements_n n)
{
        return shallow(t) && costs(t, sizeof(redisReply)) && costs(t, (size_t)n * sizeof(void *)) ? ORIGINAL(t).createArray(t, n) : NULL;
}

static void *make_integer(const redisReadTask *t, long long v)
{
        return costs(t, sizeof(redisReply)) ? ORIGINAL(t).createInteger(t, v) : NULL;
}

static void *make_nil(const redisReadTask *t)
{
        return costs(t, sizeof(redisReply)) ? ORIGINAL(t).createNil(t) : NULL;
}

#if HIREDIS_MAJOR >= 1 /* of RESP3, which nobody has asked for; a server may send them all the same */
static void *make_double(const redisReadTask *t, double v, char *p, size_t n)
{
        return costs(t, sizeof(redisReply) + n) ? ORIGINAL(t).createDouble(t, v, p, n) : NULL;
}

static void *make_bool(const redisReadTask *t, int v)
{
        return costs(t, sizeof(redisReply)) ? ORIGINAL(t).createBool(t, v) : NULL;
}
#endif

static bool reader_create(struct redis_conn *conn)
{
        struct redis *r = conn->r;

        conn->reader = redisReaderCreate();
        if (!conn->reader)
                return false;
        r->hiredis_makers = r->makers = *conn->reader->fn; /* the same each time */
        r->makers.createString = make_string;
        r->makers.createArray = make_array;
        r->makers.createInteger = make_integer;
        r->makers.createNil = make_nil;
#if HIREDIS_MAJOR >= 1
        r->makers.createDouble = make_double;
        r->makers.createBool = make_bool;
#endif
        conn->reader->fn = &r->makers;
        conn->reader->privdata = conn;
        conn->reply_cost = 0;
        conn->oversized = false;
        return true;
}

/* ---- the handshake ------------------------------------------------------------------------------------------------------ */
static int push_words(struct redis_conn *conn, uint64_t ticket, int argc, const char *const *argv)
{
        size_t n[4];

        for (int i = 0; i < argc; i++)
                n[i] = strlen(argv[i]);
        return redis_conn_push(conn, ticket, now_us(), argc, argv, n, NULL);
}

static void limit(struct redis_conn *conn, int64_t us)
{
        (void)event_add(&conn->timer, &(struct timeval){ us / 1000000, us % 1000000 });
}

static void probe(struct redis_conn *conn)
{
        int64_t left = MAX(conn->connect.until_us - now_us(), 0);

        conn->state = REDIS_CONN_PROBING;
        limit(conn, conn->probe_us ? MIN(MAX(conn->probe_us, PROBE_MIN_US), left) : left);
        if (push_words(conn, PROBE, 1, &conn->kind->probe) < 0)
                redis_conn_fail(conn, SAID_GONE, "out of memory");
}

static void handshake(struct redis_conn *conn)
{
        const struct redis_config *c = &conn->r->config;
        const char *user = conn->kind->sentinel ? c->sentinel_user : c->user;
        const char *password = conn->kind->sentinel ? c->sentinel_password : c->password;
        char number[24];
        int rc = 0;

        conn->state = REDIS_CONN_HANDSHAKE;
        conn->handshake_replies = 0;
        if (password) {
                const char *words[] = { "AUTH", user ? user : password, password };

                rc = push_words(conn, HANDSHAKE, user ? 3 : 2, words);
                conn->handshake_replies++;
        }
        if (c->database && !conn->kind->sentinel && rc == 0) {
                const char *words[] = { "SELECT", number };

                (void)snprintf(number, sizeof number, "%" PRId64, c->database);
                rc = push_words(conn, HANDSHAKE, 2, words);
                conn->handshake_replies++;
        }
        if (rc < 0)
                redis_conn_fail(conn, SAID_GONE, "out of memory");
        else if (conn->handshake_replies == 0)
                probe(conn);
}

static void on_ready(struct redis_conn *conn)
{
        char to[ADDRESS_TEXT_MAX];

        (void)event_del(&conn->timer);
        conn->state = REDIS_CONN_UP;
        conn->open = false;
        /* half open: it was too slow; one more time-out, and it is closed again */
        conn->late_row = conn->probe_us ? conn->r->config.failures - 1 : 0;
        if (!conn->kind->sentinel) {
                atomic_fetch_add_explicit(&conn->r->stats->connects, 1, memory_order_relaxed);
                if (atomic_load_explicit(&said_down, memory_order_relaxed) && atomic_exchange(&said_down, false))
                        log_msg(NULL, PM_INFO, "redis %s: connected again", redis_address_text(&conn->to, to, sizeof to));
        }
        redis_readiness(conn->r);
        if (conn->kind->up)
                conn->kind->up(conn);
}

/* A reply to what the connection itself has asked. */
static void on_handshake_reply(struct redis_conn *conn, uint64_t ticket, const redisReply *reply)
{
        bool error = reply->type == REDIS_REPLY_ERROR;
        const char *why;

        if (ticket == HANDSHAKE) {
                if (error)
                        redis_conn_fail(conn, SAID_REFUSED, "handshake (AUTH, SELECT) refused: %s", reply->str);
                else if (--conn->handshake_replies == 0)
                        probe(conn);
                return;
        }
        why = conn->kind->probed ? conn->kind->probed(reply) : NULL;
        if (redis_useless(reply))
                redis_conn_fail(conn, SAID_REFUSED, "%s", reply->str);
        else if (why)
                redis_conn_fail(conn, SAID_REFUSED, "%s", why);
        else
                on_ready(conn); /* -NOPERM to a PING: a user with few rights; alive all the same */
}

/* ---- in ----------------------------------------------------------------------------------------------------------------- */
/* False: the connection is not the same any more. */
static bool take(struct redis_conn *conn, const redisReply *reply, int64_t now)
{
        unsigned epoch = conn->epoch;
        struct sent s;

        if (conn->n_sent == 0) {
                redis_conn_fail(conn, SAID_GONE, "unexpected reply");
                return false;
        }
        s = conn->ring[conn->head];
        conn->head = (conn->head + 1) & (conn->ring_size - 1);
        conn->n_sent--;
        if (conn->state == REDIS_CONN_UP)
                redis_reply(conn->r, conn, &s, reply, now);
        else
                on_handshake_reply(conn, s.ticket, reply);
        return conn->epoch == epoch;
}

static void reader_fault(struct redis_conn *conn)
{
        if (conn->oversized) {
                atomic_fetch_add_explicit(&conn->r->stats->oversized, 1, memory_order_relaxed);
                redis_conn_fail(conn, SAID_OVERSIZED, "reply larger than %zu bytes (cache.redis.reply)", conn->reply_limit);
        } else {
                redis_conn_fail(conn, SAID_GONE, "protocol error: %s", conn->reader->errstr);
        }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
        struct redis_conn *conn = arg;
        char buf[READ_SIZE], text[80];
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        int64_t now;

        (void)what;
        if (n <= 0) {
                if (n == 0)
                        redis_conn_fail(conn, SAID_GONE, "connection closed by the server");
                else if (errno != EAGAIN && errno != EINTR)
                        redis_conn_fail(conn, SAID_GONE, "%s", errno_clause(errno, text, sizeof text));
                return;
        }
        now = now_us();
        if (redisReaderFeed(conn->reader, buf, (size_t)n) != REDIS_OK) {
                reader_fault(conn);
                return;
        }
        for (;;) {
                void *reply = NULL;
                bool same;

                conn->reply_limit = redis_reply_limit(conn->r, conn->n_sent ? conn->ring[conn->head].ticket : 0);
                if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
                        reader_fault(conn);
                        return;
                }
                if (!reply)
                        break;
                conn->reply_cost = 0;
                same = take(conn, reply, now);
                freeReplyObject(reply);
                if (!same)
                        return;
        }
        /* a string is kept back by the reader until it is complete */
        if (conn->reader->len - conn->reader->pos > conn->reply_limit) {
                conn->oversized = true;
                reader_fault(conn);
        }
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct redis_conn *conn = arg;

        (void)fd, (void)what;
        switch (conn->state) {
        case REDIS_CONN_WAITING:
                redis_conn_connect(conn);
                break;
        case REDIS_CONN_CONNECTING:
                if (conn->fd >= 0) {
                        (void)event_del(&conn->writable);
                        (void)close(conn->fd);
                        conn->fd = -1;
                }
                if (now_us() < conn->connect.until_us && connect_more(&conn->connect)) {
                        redis_conn_connect_next(conn, ETIMEDOUT);
                        break;
                }
                redis_conn_fail(conn, SAID_GONE, "connect timeout after %" PRId64 " ms", conn->r->config.connect_ms);
                break;
        case REDIS_CONN_HANDSHAKE:
                redis_conn_fail(conn, SAID_LATE, "handshake (AUTH, SELECT) timed out after %" PRId64 " ms", conn->r->config.connect_ms);
                break;
        case REDIS_CONN_PROBING:
                redis_conn_fail(conn, SAID_LATE, "timeout: no reply to %s", conn->kind->probe);
                break;
        case REDIS_CONN_OFF:
        case REDIS_CONN_UP:
                break;
        }
}

void redis_conn_connected(struct redis_conn *conn)
{
        struct event_base *base = conn->r->base;

        (void)event_assign(&conn->readable, base, conn->fd, EV_READ | EV_PERSIST, on_readable, conn);
        (void)event_assign(&conn->writable, base, conn->fd, EV_WRITE, redis_conn_flush, conn);
        if (!reader_create(conn) || event_add(&conn->readable, NULL) < 0) {
                redis_conn_fail(conn, SAID_GONE, "out of memory for a connection");
                return;
        }
        limit(conn, MAX(conn->connect.until_us - now_us(), 0));
        handshake(conn);
}

/* What was on it is still in the ring. */
static void disconnect(struct redis_conn *conn)
{
        (void)event_del(&conn->timer);
        (void)event_del(&conn->flush);
        connect_cancel(&conn->connect);
        if (conn->fd >= 0) {
                (void)event_del(&conn->writable);
                if (conn->reader)
                        (void)event_del(&conn->readable);
                (void)close(conn->fd);
                conn->fd = -1;
        }
        if (conn->reader)
                redisReaderFree(TAKE(conn->reader));
        free(TAKE(conn->out));
        conn->out_at = conn->out_n = conn->out_size = 0;
        conn->flushing = false;
        conn->epoch++;
        conn->state = REDIS_CONN_OFF;
}

/* Commands may be sent from inside: they find a connection that is not up. */
static void lose_ring(struct redis_conn *conn)
{
        struct sent *ring = TAKE(conn->ring);
        size_t head = conn->head, n = conn->n_sent, size = conn->ring_size;

        conn->head = conn->n_sent = conn->ring_size = 0;
        for (size_t i = 0; i < n; i++)
                redis_lost(conn->r, ring[(head + i) & (size - 1)].ticket);
        free(ring);
}

void redis_conn_init(struct redis_conn *conn, struct redis *r, const struct redis_conn_kind *kind, const struct redis_address *to)
{
        *conn = (struct redis_conn){ .r = r, .kind = kind, .to = *to, .fd = -1 };
        LIST_PUSH(&r->conns, conn);
        (void)event_assign(&conn->timer, r->base, -1, 0, on_timer, conn);
        (void)event_assign(&conn->flush, r->base, -1, 0, redis_conn_flush, conn);
}

void redis_conn_finish(struct redis_conn *conn)
{
        disconnect(conn);
        free(TAKE(conn->ring));
        LIST_UNLINK(conn);
}

void redis_conn_start(struct redis_conn *conn, int64_t delay_us)
{
        assert(conn->state <= REDIS_CONN_WAITING);
        conn->state = REDIS_CONN_WAITING;
        limit(conn, delay_us);
}

void redis_conn_stop(struct redis_conn *conn)
{
        disconnect(conn);
        redis_readiness(conn->r);
        lose_ring(conn);
}

void redis_conn_fail(struct redis_conn *conn, enum redis_conn_said cause, const char *fmt, ...)
{
        const struct redis_config *c = &conn->r->config;
        char text[256];
        va_list args;
        int64_t wait;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        disconnect(conn);
        conn->fail_row++;
        conn->probe_us = cause == SAID_LATE ? conn->probe_us : 0;
        if (c->failures > 0 && !conn->open && (conn->fail_row >= c->failures || conn->late_row >= c->failures)) {
                conn->open = true;
                if (!conn->kind->sentinel)
                        atomic_fetch_add_explicit(&conn->r->stats->openings, 1, memory_order_relaxed);
        }
        conn->late_row = 0;
        conn->backoff_us = MIN(MAX(conn->backoff_us * 2, BACKOFF_MIN_US), BACKOFF_MAX_US);
        wait = conn->open ? MAX(conn->backoff_us, c->open_ms * 1000) : conn->backoff_us;
        wait += (int64_t)redis_random(conn->r, (uint64_t)wait / 4);
        conn->wait_until_us = now_us() + wait;
        if (conn->kind->retries)
                redis_conn_start(conn, wait);
        redis_conn_say(conn, cause, text);
        redis_readiness(conn->r);
        lose_ring(conn);
        if (conn->kind->down)
                conn->kind->down(conn);
}

void redis_conn_record_success(struct redis_conn *conn)
{
        conn->fail_row = conn->late_row = conn->backoff_us = conn->probe_us = 0;
}

bool redis_conn_record_timeout(struct redis_conn *conn, int64_t sent_us, int64_t now)
{
        int64_t failures = conn->r->config.failures;

        if (sent_us < conn->late_counted_us)
                return false; /* they waited together: one event */
        conn->late_counted_us = now;
        conn->late_row++;
        return failures > 0 && conn->late_row >= failures;
}

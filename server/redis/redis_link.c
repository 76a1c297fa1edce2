/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection and its breaker.  Of hiredis only the reader is used: its asynchronous half resolves names on the loop, has no limit
 * for connecting and allocates for every command.  Replies come in the order of the commands (redis_out.c) and are matched with a ring
 * of tickets.  The reader's makers of objects are wrapped, so that what a reply may cost is known while it is read, not when it is
 * complete.
 *
 * After a failure the link waits: 50 ms, doubling to 4 s, and up to a quarter more by chance; `open_ms` at least when the breaker is open.  A
 * link that was closed for being late must answer its probe as fast as a command would have to, and one more time-out closes it again:
 * so a Redis that is only slow costs one command in a while.
 */
#include "log.h"
#include "list.h"
#include "redis_parts.h"
#include "text.h"
#include "throttle.h"

#include "base.h"

#define BACKOFF_MIN_US 50000
#define BACKOFF_MAX_US 4000000
#define READ_SIZE 16384
#define DEPTH_MAX 8             /* arrays in arrays of a reply */
#define PROBE_MIN_US 2000       /* the loop's clock has milliseconds */

enum { GREETING = 1, PROBE = 2 }; /* tickets; those of commands are far above */

/* ---- words -------------------------------------------------------------------------------------------------------------- */
/* Of the process: a hundred workers that lose the same Redis are one event. */
static _Atomic int64_t said_us[SAID_N];
static _Atomic bool said_down;

void link_say(struct link *l, enum link_said cause, const char *text)
{
        const char *then = l->kind->sentinel ? "; trying another sentinel" : cause == SAID_ERROR ? "" : "; continuing without Redis";
        char to[ADDRESS_TEXT_MAX];

        if (!throttle_shared(&said_us[l->kind->sentinel ? SAID_SENTINEL : cause], now_us()))
                return;
        if (cause != SAID_ERROR && !l->kind->sentinel)
                atomic_store_explicit(&said_down, true, memory_order_relaxed);
        log_msg(NULL, PM_WARN, "redis %s: %s%s", redis_address_text(&l->to, to, sizeof to), text, then);
}

/* ---- the reader --------------------------------------------------------------------------------------------------------- */
#if HIREDIS_MAJOR >= 1
typedef size_t elements_n;
#else
typedef int elements_n;
#endif

#define ORIGINAL(t) (((const struct link *)(t)->privdata)->r->hiredis_makers)

static bool costs(const redisReadTask *t, size_t n)
{
        struct link *l = t->privdata;

        if (n > l->reply_limit || l->reply_cost + n > l->reply_limit) {
                l->oversized = true;
                return false; /* the maker says NULL, the reader "out of memory" */
        }
        l->reply_cost += n;
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
                ((struct link *)t->privdata)->oversized = true;
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

static bool reader_create(struct link *l)
{
        struct redis *r = l->r;

        l->reader = redisReaderCreate();
        if (!l->reader)
                return false;
        r->hiredis_makers = r->makers = *l->reader->fn; /* the same each time */
        r->makers.createString = make_string;
        r->makers.createArray = make_array;
        r->makers.createInteger = make_integer;
        r->makers.createNil = make_nil;
#if HIREDIS_MAJOR >= 1
        r->makers.createDouble = make_double;
        r->makers.createBool = make_bool;
#endif
        l->reader->fn = &r->makers;
        l->reader->privdata = l;
        l->reply_cost = 0;
        l->oversized = false;
        return true;
}

/* ---- the greeting ------------------------------------------------------------------------------------------------------- */
static int push_words(struct link *l, uint64_t ticket, int argc, const char *const *argv)
{
        size_t n[4];

        for (int i = 0; i < argc; i++)
                n[i] = strlen(argv[i]);
        return link_push(l, ticket, now_us(), argc, argv, n, NULL);
}

static void limit(struct link *l, int64_t us)
{
        (void)event_add(&l->timer, &(struct timeval){ us / 1000000, us % 1000000 });
}

static void probe(struct link *l)
{
        int64_t left = MAX(l->connect.until_us - now_us(), 0);

        l->state = LINK_PROBING;
        limit(l, l->probe_us ? MIN(MAX(l->probe_us, PROBE_MIN_US), left) : left);
        if (push_words(l, PROBE, 1, &l->kind->probe) < 0)
                link_fail(l, SAID_GONE, "out of memory");
}

static void greet(struct link *l)
{
        const struct redis_config *c = &l->r->config;
        const char *user = l->kind->sentinel ? c->sentinel_user : c->user;
        const char *password = l->kind->sentinel ? c->sentinel_password : c->password;
        char number[24];
        int rc = 0;

        l->state = LINK_GREETING;
        l->greetings = 0;
        if (password) {
                const char *words[] = { "AUTH", user ? user : password, password };

                rc = push_words(l, GREETING, user ? 3 : 2, words);
                l->greetings++;
        }
        if (c->database && !l->kind->sentinel && rc == 0) {
                const char *words[] = { "SELECT", number };

                (void)snprintf(number, sizeof number, "%" PRId64, c->database);
                rc = push_words(l, GREETING, 2, words);
                l->greetings++;
        }
        if (rc < 0)
                link_fail(l, SAID_GONE, "out of memory");
        else if (l->greetings == 0)
                probe(l);
}

static void rise(struct link *l)
{
        char to[ADDRESS_TEXT_MAX];

        (void)event_del(&l->timer);
        l->state = LINK_UP;
        l->open = false;
        /* half open: it was too slow; one more time-out, and it is closed again */
        l->late_row = l->probe_us ? l->r->config.failures - 1 : 0;
        if (!l->kind->sentinel) {
                atomic_fetch_add_explicit(&l->r->stats->connects, 1, memory_order_relaxed);
                if (atomic_load_explicit(&said_down, memory_order_relaxed) && atomic_exchange(&said_down, false))
                        log_msg(NULL, PM_INFO, "redis %s: connected again", redis_address_text(&l->to, to, sizeof to));
        }
        redis_readiness(l->r);
        if (l->kind->up)
                l->kind->up(l);
}

/* A reply to what the link itself has asked. */
static void greeted(struct link *l, uint64_t ticket, const redisReply *reply)
{
        bool error = reply->type == REDIS_REPLY_ERROR;
        const char *why;

        if (ticket == GREETING) {
                if (error)
                        link_fail(l, SAID_REFUSED, "handshake (AUTH, SELECT) refused: %s", reply->str);
                else if (--l->greetings == 0)
                        probe(l);
                return;
        }
        why = l->kind->probed ? l->kind->probed(reply) : NULL;
        if (redis_useless(reply))
                link_fail(l, SAID_REFUSED, "%s", reply->str);
        else if (why)
                link_fail(l, SAID_REFUSED, "%s", why);
        else
                rise(l); /* -NOPERM to a PING: a user with few rights; alive all the same */
}

/* ---- in ----------------------------------------------------------------------------------------------------------------- */
/* False: the connection is not the same any more. */
static bool take(struct link *l, const redisReply *reply, int64_t now)
{
        unsigned epoch = l->epoch;
        struct sent s;

        if (l->n_sent == 0) {
                link_fail(l, SAID_GONE, "unexpected reply");
                return false;
        }
        s = l->ring[l->head];
        l->head = (l->head + 1) & (l->ring_size - 1);
        l->n_sent--;
        if (l->state == LINK_UP)
                redis_reply(l->r, l, &s, reply, now);
        else
                greeted(l, s.ticket, reply);
        return l->epoch == epoch;
}

static void reader_fault(struct link *l)
{
        if (l->oversized) {
                atomic_fetch_add_explicit(&l->r->stats->oversized, 1, memory_order_relaxed);
                link_fail(l, SAID_OVERSIZED, "reply larger than %zu bytes (cache.redis.reply)", l->reply_limit);
        } else {
                link_fail(l, SAID_GONE, "protocol error: %s", l->reader->errstr);
        }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
        struct link *l = arg;
        char buf[READ_SIZE], text[80];
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        int64_t now;

        (void)what;
        if (n <= 0) {
                if (n == 0)
                        link_fail(l, SAID_GONE, "connection closed by the server");
                else if (errno != EAGAIN && errno != EINTR)
                        link_fail(l, SAID_GONE, "%s", errno_clause(errno, text, sizeof text));
                return;
        }
        now = now_us();
        if (redisReaderFeed(l->reader, buf, (size_t)n) != REDIS_OK) {
                reader_fault(l);
                return;
        }
        for (;;) {
                void *reply = NULL;
                bool same;

                l->reply_limit = redis_reply_limit(l->r, l->n_sent ? l->ring[l->head].ticket : 0);
                if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
                        reader_fault(l);
                        return;
                }
                if (!reply)
                        break;
                l->reply_cost = 0;
                same = take(l, reply, now);
                freeReplyObject(reply);
                if (!same)
                        return;
        }
        /* a string is kept back by the reader until it is complete */
        if (l->reader->len - l->reader->pos > l->reply_limit) {
                l->oversized = true;
                reader_fault(l);
        }
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct link *l = arg;

        (void)fd, (void)what;
        switch (l->state) {
        case LINK_WAITING:
                link_connect(l);
                break;
        case LINK_CONNECTING:
                if (l->fd >= 0) {
                        (void)event_del(&l->writable);
                        (void)close(l->fd);
                        l->fd = -1;
                }
                if (now_us() < l->connect.until_us && connect_more(&l->connect)) {
                        link_connect_next(l, ETIMEDOUT);
                        break;
                }
                link_fail(l, SAID_GONE, "connect timeout after %" PRId64 " ms", l->r->config.connect_ms);
                break;
        case LINK_GREETING:
                link_fail(l, SAID_LATE, "handshake (AUTH, SELECT) timed out after %" PRId64 " ms", l->r->config.connect_ms);
                break;
        case LINK_PROBING:
                link_fail(l, SAID_LATE, "timeout: no reply to %s", l->kind->probe);
                break;
        case LINK_OFF:
        case LINK_UP:
                break;
        }
}

void link_connected(struct link *l)
{
        struct event_base *base = l->r->base;

        (void)event_assign(&l->readable, base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
        (void)event_assign(&l->writable, base, l->fd, EV_WRITE, link_flush, l);
        if (!reader_create(l) || event_add(&l->readable, NULL) < 0) {
                link_fail(l, SAID_GONE, "out of memory for a connection");
                return;
        }
        limit(l, MAX(l->connect.until_us - now_us(), 0));
        greet(l);
}

/* What was on it is still in the ring. */
static void hang_up(struct link *l)
{
        (void)event_del(&l->timer);
        (void)event_del(&l->flush);
        connect_cancel(&l->connect);
        if (l->fd >= 0) {
                (void)event_del(&l->writable);
                if (l->reader)
                        (void)event_del(&l->readable);
                (void)close(l->fd);
                l->fd = -1;
        }
        if (l->reader)
                redisReaderFree(TAKE(l->reader));
        free(TAKE(l->out));
        l->out_at = l->out_n = l->out_size = 0;
        l->flushing = false;
        l->epoch++;
        l->state = LINK_OFF;
}

/* Commands may be sent from inside: they find a link that is not up. */
static void lose_ring(struct link *l)
{
        struct sent *ring = TAKE(l->ring);
        size_t head = l->head, n = l->n_sent, size = l->ring_size;

        l->head = l->n_sent = l->ring_size = 0;
        for (size_t i = 0; i < n; i++)
                redis_lost(l->r, ring[(head + i) & (size - 1)].ticket);
        free(ring);
}

void link_init(struct link *l, struct redis *r, const struct link_kind *kind, const struct redis_address *to)
{
        *l = (struct link){ .r = r, .kind = kind, .to = *to, .fd = -1 };
        LIST_PUSH(&r->links, l);
        (void)event_assign(&l->timer, r->base, -1, 0, on_timer, l);
        (void)event_assign(&l->flush, r->base, -1, 0, link_flush, l);
}

void link_finish(struct link *l)
{
        hang_up(l);
        free(TAKE(l->ring));
        LIST_UNLINK(l);
}

void link_start(struct link *l, int64_t delay_us)
{
        assert(l->state <= LINK_WAITING);
        l->state = LINK_WAITING;
        limit(l, delay_us);
}

void link_stop(struct link *l)
{
        hang_up(l);
        redis_readiness(l->r);
        lose_ring(l);
}

void link_fail(struct link *l, enum link_said cause, const char *fmt, ...)
{
        const struct redis_config *c = &l->r->config;
        char text[256];
        va_list args;
        int64_t wait;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        hang_up(l);
        l->fail_row++;
        l->probe_us = cause == SAID_LATE ? l->probe_us : 0;
        if (c->failures > 0 && !l->open && (l->fail_row >= c->failures || l->late_row >= c->failures)) {
                l->open = true;
                if (!l->kind->sentinel)
                        atomic_fetch_add_explicit(&l->r->stats->openings, 1, memory_order_relaxed);
        }
        l->late_row = 0;
        l->backoff_us = MIN(MAX(l->backoff_us * 2, BACKOFF_MIN_US), BACKOFF_MAX_US);
        wait = l->open ? MAX(l->backoff_us, c->open_ms * 1000) : l->backoff_us;
        wait += (int64_t)redis_random(l->r, (uint64_t)wait / 4);
        l->wait_until_us = now_us() + wait;
        if (l->kind->retries)
                link_start(l, wait);
        link_say(l, cause, text);
        redis_readiness(l->r);
        lose_ring(l);
        if (l->kind->down)
                l->kind->down(l);
}

void link_well(struct link *l)
{
        l->fail_row = l->late_row = l->backoff_us = l->probe_us = 0;
}

bool link_strike(struct link *l, int64_t sent_us, int64_t now)
{
        int64_t failures = l->r->config.failures;

        if (sent_us < l->late_counted_us)
                return false; /* they waited together: one event */
        l->late_counted_us = now;
        l->late_row++;
        return failures > 0 && l->late_row >= failures;
}

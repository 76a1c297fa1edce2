/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands under way.  Each has a slot; its ticket (slot, generation) travels with the command, and only a ticket that is still that
 * slot's finds the call again.  One timer serves all deadlines: it is set to the soonest, never set back when a command ends in time,
 * and looks through what is under way when it fires.  So a command that is answered in time costs no timer at all.
 */
#include "redis.h"

#include "list.h"
#include "redis_parts.h"

#include "base.h"

#define KEEP_BYTES 4096  /* a larger copy of a command is given back after its end */
#define TICK_MIN_US 500  /* the timer does not fire more often */
#define COUNT(r, what) atomic_fetch_add_explicit(&(r)->stats->what, 1, memory_order_relaxed)

/* ---- configuration ------------------------------------------------------------------------------------------------------ */
#define CHECK(ok, ...)                                                                             \
        do {                                                                                       \
                if (!(ok)) {                                                                       \
                        (void)snprintf(why, n, __VA_ARGS__);                                       \
                        return -EINVAL;                                                            \
                }                                                                                  \
        } while (0)

int redis_check(const struct redis_config *c, char *why, size_t n)
{
        struct redis_address a;
        char clause[256];

        CHECK(c->mode == REDIS_SINGLE || c->mode == REDIS_SENTINEL || c->mode == REDIS_CLUSTER, "the mode must be single, sentinel or cluster");
        CHECK(c->n_servers > 0, "an address is missing, for example redis://127.0.0.1:6379");
        CHECK(c->mode != REDIS_SINGLE || c->n_servers == 1, "%zu addresses, but without Sentinel and Cluster there is one server", c->n_servers);
        for (size_t i = 0; i < c->n_servers; i++) {
                if (redis_address_parse(c->servers[i], REDIS_PORT, &a, clause, sizeof clause) < 0) {
                        (void)snprintf(why, n, "'%s': %s", c->servers[i], clause);
                        return -EINVAL;
                }
                CHECK(c->mode != REDIS_CLUSTER || a.host[0], "'%s': the nodes of a cluster have host and port", c->servers[i]);
        }
        CHECK(c->mode != REDIS_SENTINEL || (c->master && c->master[0]), "the name of the master that the sentinels watch is missing");
        CHECK(!c->user || c->password, "a user without a password");
        CHECK(!c->sentinel_user || c->sentinel_password, "a user for the sentinels without a password");
        CHECK(c->database >= 0 && c->database <= INT_MAX, "database %" PRId64 ": it must be 0 or more", c->database);
        CHECK(c->mode != REDIS_CLUSTER || c->database == 0, "database %" PRId64 ": a cluster has only database 0", c->database);
        CHECK(c->connect_ms >= 1 && c->connect_ms <= 60000, "%" PRId64 " ms to connect is not in 1..60000", c->connect_ms);
        CHECK(c->failures >= 0 && c->failures <= 1000000, "%" PRId64 " failures are not in 0..1000000", c->failures);
        CHECK(c->open_ms >= 0 && c->open_ms <= 3600000, "%" PRId64 " ms of an open breaker is not in 0..3600000", c->open_ms);
        CHECK(c->waiting_max >= 1 && c->waiting_max <= 1000000, "%zu commands under way is not in 1..1000000", c->waiting_max);
        CHECK(c->reply_max >= 1024 && c->reply_max <= (64 << 20), "a reply of %zu bytes is not in 1024..67108864", c->reply_max);
        return 0;
}

/* False: no memory. */
static bool copy_text(struct arena *a, const char **text)
{
        const char *copy = *text ? arena_strndup(a, *text, strlen(*text)) : NULL;
        bool ok = copy || !*text;

        *text = copy;
        return ok;
}

static bool config_copy(struct redis *r, const struct redis_config *c)
{
        struct redis_config *o = &r->config;
        const char **texts[] = { &o->master, &o->user, &o->password, &o->sentinel_user, &o->sentinel_password };
        const char **servers = arena_alloc(&r->arena, c->n_servers * sizeof *servers);
        bool ok = servers;

        *o = *c;
        o->servers = servers;
        for (size_t i = 0; ok && i < c->n_servers; i++) {
                servers[i] = c->servers[i];
                ok = copy_text(&r->arena, &servers[i]);
        }
        for (size_t i = 0; ok && i < LENGTH_OF(texts); i++)
                ok = copy_text(&r->arena, texts[i]);
        return ok;
}

/* ---- pending ------------------------------------------------------------------------------------------------------------ */
/* Without memory it is not sent again: the redirection is the answer. */
static void keep_bytes(struct pending *s, const char *p, size_t n)
{
        if (n > s->bytes_size) {
                free(s->bytes);
                s->bytes = malloc(n);
                s->bytes_size = s->bytes ? n : 0;
        }
        s->n_bytes = s->bytes ? n : 0;
        if (s->bytes)
                memcpy(s->bytes, p, n);
}

static void drop_bytes(struct pending *s)
{
        s->n_bytes = 0;
        if (s->bytes_size > KEEP_BYTES) {
                free(TAKE(s->bytes));
                s->bytes_size = 0;
        }
}

static struct pending *slot_of(struct redis *r, uint64_t ticket)
{
        size_t i = (size_t)(uint32_t)ticket;

        return i > 0 && i <= r->n_touched && r->pending[i - 1].ticket == ticket ? &r->pending[i - 1] : NULL;
}

static struct pending *slot_take(struct redis *r)
{
        struct pending *s = r->free;

        if (s) {
                LIST_UNLINK(s);
        } else if (r->n_touched < r->config.waiting_max) {
                s = &r->pending[r->n_touched++];
                s->ticket = UINT64_C(1) << 32 | r->n_touched;
        } else {
                return NULL;
        }
        LIST_PUSH(&r->used, s);
        return s;
}

/* Its ticket is no good from here on. */
static void slot_release(struct redis *r, struct pending *s)
{
        LIST_UNLINK(s);
        s->ticket += UINT64_C(1) << 32;
        if (s->ticket >> 32 == 0)
                s->ticket += UINT64_C(1) << 32;
        s->call = NULL;
        s->store_call = NULL;
        s->parked = s->asking = false;
        s->redirects = 0;
        drop_bytes(s);
        LIST_PUSH(&r->free, s);
}

static void count(struct redis *r, enum redis_result result)
{
        _Atomic uint64_t *const of[] = {
                [REDIS_ANSWERED] = &r->stats->answered, [REDIS_NIL] = &r->stats->nil, [REDIS_SAID_ERROR] = &r->stats->errors,
                [REDIS_LATE] = &r->stats->late, [REDIS_LOST] = &r->stats->lost,
        };

        atomic_fetch_add_explicit(of[result], 1, memory_order_relaxed);
}

/* The owner may do anything from inside but destroy the redis. */
static void finish(struct redis *r, struct pending *s, enum redis_result result, const redisReply *reply)
{
        struct redis_call *c = s->call;
        struct store_call *by_store = s->store_call;

        if (!s->inner)
                count(r, result);
        slot_release(r, s);
        if (c) {
                c->ticket = 0;
                c->done(c, result, reply);
        }
        if (by_store)
                r->store_done(by_store, result, reply);
}

/* ---- deadlines ---------------------------------------------------------------------------------------------------------- */
static void tick_by(struct redis *r, int64_t at, int64_t now)
{
        int64_t us = MAX(at - now, TICK_MIN_US);

        r->tick_at_us = at;
        (void)event_add(&r->tick, &(struct timeval){ us / 1000000, us % 1000000 });
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
        struct redis *r = arg;
        int64_t now = now_us(), soonest = NEVER_US;
        struct pending *due = NULL, *s, *next;

        (void)fd, (void)what;
        r->tick_at_us = NEVER_US;
        for (s = r->used; s; s = next) {
                next = s->next;
                if (s->deadline_us <= now) {
                        LIST_UNLINK(s);
                        LIST_PUSH(&r->expired, s);
                        continue;
                }
                soonest = MIN(soonest, s->deadline_us);
                if (s->parked && s->retry_us && s->retry_us <= now) {
                        LIST_UNLINK(s);
                        LIST_PUSH(&due, s);
                } else if (s->parked && s->retry_us) {
                        soonest = MIN(soonest, s->retry_us);
                }
        }
        while (r->expired) {
                struct redis_conn *conn;

                s = r->expired;
                conn = s->conn;
                if (conn->state == REDIS_CONN_UP && !s->parked && redis_conn_record_timeout(conn, s->deadline_us - s->timeout_us, now)) {
                        conn->probe_us = s->timeout_us;
                        conn->too_late = true;
                }
                finish(r, s, REDIS_LATE, NULL);
        }
        while (due) {
                s = due;
                LIST_UNLINK(s);
                LIST_PUSH(&r->used, s);
                redis_park(r, s, s->conn, 0, s->asking); /* goes out, if the connection is up */
        }
        /* from the beginning after each: a failure may change the list */
        for (struct redis_conn *conn = r->conns; conn;) {
                struct redis_conn *then = conn->next;

                if (TAKE(conn->too_late) && conn->state == REDIS_CONN_UP) {
                        redis_conn_fail(conn, SAID_LATE, "consecutive timeouts: %" PRId64, r->config.failures);
                        then = r->conns;
                }
                conn = then;
        }
        if (soonest < r->tick_at_us)
                tick_by(r, soonest, now);
}

/* ---- replies ------------------------------------------------------------------------------------------------------------ */
static bool begins(const redisReply *reply, const char *word)
{
        size_t n = strlen(word);

        return reply->len >= n && memcmp(reply->str, word, n) == 0;
}

bool redis_useless(const redisReply *reply)
{
        static const char *const words[] = { "LOADING", "NOAUTH", "MASTERDOWN", "BUSY " };

        for (size_t i = 0; reply->type == REDIS_REPLY_ERROR && i < LENGTH_OF(words); i++)
                if (begins(reply, words[i]))
                        return true;
        return false;
}

void redis_reply(struct redis *r, struct redis_conn *conn, const struct sent *sent, const redisReply *reply, int64_t now)
{
        struct pending *s = slot_of(r, sent->ticket);
        int64_t took = MAX(now - sent->at_us, 1);
        char text[200];

        r->rtt_us = r->rtt_us ? r->rtt_us + (took - r->rtt_us) / 8 : took;
        if (!s) {
                if (sent->ticket)
                        COUNT(r, ignored);
                return;
        }
        if (r->cluster && reply->type == REDIS_REPLY_ERROR && redis_cluster_redirect(r, conn, s, reply, now)) {
                redis_conn_record_success(conn);
                return;
        }
        if (reply->type != REDIS_REPLY_ERROR) {
                redis_conn_record_success(conn);
                finish(r, s, reply->type == REDIS_REPLY_NIL ? REDIS_NIL : REDIS_ANSWERED, reply->type == REDIS_REPLY_NIL ? NULL : reply);
                return;
        }
        (void)snprintf(text, sizeof text, "says '%.160s'", reply->str);
        if (redis_useless(reply)) {
                bool last = redis_conn_record_timeout(conn, sent->at_us, now);

                finish(r, s, REDIS_SAID_ERROR, reply);
                if (last)
                        redis_conn_fail(conn, SAID_REFUSED, "%s", text);
                return;
        }
        if (r->config.mode == REDIS_SENTINEL && conn == r->main && begins(reply, "READONLY")) {
                finish(r, s, REDIS_SAID_ERROR, reply);
                redis_conn_fail(conn, SAID_REFUSED, "%s", text); /* another is the master now */
                return;
        }
        redis_conn_record_success(conn);
        redis_conn_say(conn, SAID_ERROR, text);
        finish(r, s, REDIS_SAID_ERROR, reply);
}

size_t redis_reply_limit(struct redis *r, uint64_t ticket)
{
        const struct pending *s = slot_of(r, ticket);

        return s && s->inner ? MAX(REDIS_INNER_MAX, r->config.reply_max) : r->config.reply_max;
}

void redis_lost(struct redis *r, uint64_t ticket)
{
        struct pending *s = slot_of(r, ticket);

        if (s)
                finish(r, s, REDIS_LOST, NULL);
}

/* ---- again -------------------------------------------------------------------------------------------------------------- */
static void send_again(struct redis *r, struct pending *s, int64_t now)
{
        const char *const asking[] = { "ASKING" };
        int rc = 0;

        s->parked = false;
        COUNT(r, redirects);
        if (s->asking)
                rc = redis_conn_push(s->conn, 0, now, 1, asking, (const size_t[]){ 6 }, NULL);
        if (rc == 0)
                rc = redis_conn_push_bytes(s->conn, s->ticket, now, s->bytes, s->n_bytes);
        if (rc < 0)
                finish(r, s, REDIS_LOST, NULL);
}

void redis_park(struct redis *r, struct pending *s, struct redis_conn *conn, int64_t retry_us, bool asking)
{
        int64_t now = now_us();

        s->conn = conn;
        s->asking = asking;
        s->retry_us = retry_us;
        s->parked = true;
        if (retry_us == 0 && conn->state == REDIS_CONN_UP)
                send_again(r, s, now);
        else if (retry_us && retry_us < r->tick_at_us)
                tick_by(r, retry_us, now);
}

void redis_unpark(struct redis *r, struct redis_conn *conn, bool up)
{
        struct pending *found = NULL, *s, *next;
        int64_t now = now_us();

        for (s = r->used; s; s = next) {
                next = s->next;
                if (s->parked && s->conn == conn) {
                        LIST_UNLINK(s);
                        LIST_PUSH(&found, s);
                }
        }
        while (found) {
                s = found;
                if (!up) {
                        finish(r, s, REDIS_LOST, NULL);
                        continue;
                }
                LIST_UNLINK(s);
                LIST_PUSH(&r->used, s);
                send_again(r, s, now);
        }
}

/* ---- commands ----------------------------------------------------------------------------------------------------------- */
int redis_send(struct redis *r, struct redis_conn *conn, struct redis_call *c, bool inner, int argc, const char *const *argv,
               const size_t *argvlen, int64_t timeout_us)
{
        struct pending *s = slot_take(r);
        int64_t now = now_us();
        size_t n = 0;
        int rc;

        assert(!c || c->ticket == 0);
        if (!s)
                return -EBUSY;
        rc = redis_conn_push(conn, s->ticket, now, argc, argv, argvlen, &n);
        if (rc < 0) {
                slot_release(r, s);
                return rc;
        }
        if (r->cluster && !inner)
                keep_bytes(s, conn->out + conn->out_n - n, n);
        s->call = c;
        s->conn = conn;
        s->inner = inner;
        s->timeout_us = timeout_us;
        s->deadline_us = now + timeout_us;
        if (s->deadline_us < r->tick_at_us)
                tick_by(r, s->deadline_us, now);
        if (c)
                c->ticket = s->ticket;
        return 0;
}

int redis_command(struct redis *r, struct redis_call *c, int key, int argc, const char *const *argv, const size_t *argvlen, int64_t timeout_us)
{
        struct redis_conn *conn = r->main;
        int rc;

        if (r->cluster)
                conn = redis_cluster_conn(r, key >= 0 && key < argc ? &(struct pm_str){ argv[key], argvlen[key] } : NULL);
        if (!conn || conn->state != REDIS_CONN_UP) {
                COUNT(r, refused);
                return -EAGAIN;
        }
        rc = redis_send(r, conn, c, false, argc, argv, argvlen, timeout_us);
        if (rc == -EBUSY)
                COUNT(r, busy);
        return rc;
}

int redis_get(struct redis *r, struct redis_call *c, struct pm_str key, int64_t timeout_us)
{
        const char *const argv[] = { "GET", key.p };
        const size_t n[] = { 3, key.n };

        return redis_command(r, c, 1, 2, argv, n, timeout_us);
}

int redis_set(struct redis *r, struct redis_call *c, struct pm_str key, struct pm_str value, int64_t px_ms, int64_t timeout_us)
{
        char number[24];
        const char *const argv[] = { "SET", key.p, value.p, "PX", number };
        size_t n[] = { 3, key.n, value.n, 2, 0 };

        n[4] = (size_t)snprintf(number, sizeof number, "%" PRId64, px_ms);
        return redis_command(r, c, 1, px_ms > 0 ? 5 : 3, argv, n, timeout_us);
}

void redis_drop(struct redis *r, uint64_t ticket)
{
        struct pending *s = ticket ? slot_of(r, ticket) : NULL;

        if (s)
                slot_release(r, s);
}

void redis_cancel(struct redis *r, struct redis_call *c)
{
        redis_drop(r, TAKE(c->ticket));
}

struct redis_conn *redis_master(struct redis *r, size_t *i)
{
        return r->cluster ? redis_cluster_master(r, i) : *i == 0 ? r->main : NULL;
}

bool redis_ready(const struct redis *r)
{
        return r->was_ready;
}

bool redis_whole(const struct redis *r)
{
        return r->was_ready && (!r->cluster || redis_cluster_whole(r));
}

void redis_readiness(struct redis *r)
{
        bool ready = r->cluster ? redis_cluster_ready(r) : r->main->state == REDIS_CONN_UP;

        if (ready != r->was_ready)
                atomic_fetch_add_explicit(&r->stats->up, ready ? 1 : -1, memory_order_relaxed);
        r->was_ready = ready;
}

int64_t redis_rtt_us(const struct redis *r)
{
        return r->rtt_us;
}

/* xorshift64*: jitter, nothing secret */
uint64_t redis_random(struct redis *r, uint64_t n)
{
        r->random ^= r->random >> 12;
        r->random ^= r->random << 25;
        r->random ^= r->random >> 27;
        return n ? (r->random * UINT64_C(0x2545f4914f6cdd1d) >> 11) % n : 0;
}

/* ---- one server --------------------------------------------------------------------------------------------------------- */
static const struct redis_conn_kind single = { .probe = "PING", .retries = true };

static int single_create(struct redis *r)
{
        struct redis_address a;
        char why[256];

        if (redis_address_parse(r->config.servers[0], REDIS_PORT, &a, why, sizeof why) < 0)
                return -EINVAL;
        r->main = calloc(1, sizeof *r->main);
        if (!r->main)
                return -ENOMEM;
        redis_conn_init(r->main, r, &single, &a);
        redis_conn_start(r->main, 0);
        return 0;
}

static int mode_create(struct redis *r)
{
        switch (r->config.mode) {
        case REDIS_SENTINEL:
                return redis_sentinel_create(r);
        case REDIS_CLUSTER:
                return redis_cluster_create(r);
        case REDIS_SINGLE:
                break;
        }
        return single_create(r);
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */
struct redis *redis_create(struct event_base *base, struct resolver *resolver, const struct redis_config *c, struct redis_stats *stats)
{
        struct redis *r = calloc(1, sizeof *r);

        if (!r)
                return NULL;
        r->base = r->own_resolver.base = base;
        r->resolver = resolver ? resolver : &r->own_resolver;
        r->stats = stats ? stats : &r->own_stats;
        r->tick_at_us = NEVER_US;
        r->random = (uint64_t)now_us() ^ (uint64_t)(uintptr_t)r ^ (uint64_t)getpid() << 40;
        r->random |= 1;
        arena_init(&r->arena, NULL, 1 << 20);
        (void)event_assign(&r->tick, base, -1, 0, on_tick, r);
        r->pending = calloc(c->waiting_max, sizeof *r->pending);
        if (!r->pending || !config_copy(r, c) || mode_create(r) < 0) {
                redis_destroy(r);
                return NULL;
        }
        return r;
}

void redis_destroy(struct redis *r)
{
        if (!r)
                return;
        (void)event_del(&r->tick);
        if (r->was_ready)
                atomic_fetch_sub_explicit(&r->stats->up, 1, memory_order_relaxed);
        redis_sentinel_destroy(r);
        redis_cluster_destroy(r);
        if (r->main) {
                redis_conn_finish(r->main);
                free(r->main);
        }
        resolver_finish(&r->own_resolver);
        arena_finish(&r->arena);
        for (size_t i = 0; i < r->n_touched; i++)
                free(r->pending[i].bytes);
        free(r->pending);
        free(r);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which server is the master?  The sentinels are asked in turn until one knows; what it names must say itself (ROLE) that it is one.
 * They are asked again when the master is lost, too late or read-only, as long as there is none, and now and then while all is well,
 * since a master that was cut off from them goes on answering us.  While there is none, commands are refused at once.
 */
#include "redis_parts.h"

#include "base.h"

#define LOOK_MIN_US 50000    /* between two questions without a master; doubles */
#define LOOK_MAX_US 1000000
#define LOOK_UP_US 2000000   /* with one */

struct sentinel {
        struct redis *r;
        struct redis_conn ask;         /* to one of them */
        struct redis_call call;  /* the question */
        struct event timer;      /* when to look again */
        size_t at, tried;        /* which of them; how many in a row did not help */
        int64_t pace_us;
};

static void look_in(struct sentinel *s, int64_t us)
{
        us += (int64_t)redis_random(s->r, (uint64_t)us / 4);
        (void)event_add(&s->timer, &(struct timeval){ us / 1000000, us % 1000000 });
}

/* What would be right, some time after a look that did not help. */
static void look_later(struct sentinel *s)
{
        s->pace_us = MIN(MAX(s->pace_us * 2, LOOK_MIN_US), LOOK_MAX_US);
        look_in(s, s->r->main->state == REDIS_CONN_UP ? LOOK_UP_US : s->pace_us);
}

/* This one did not help. */
static void next_sentinel(struct sentinel *s)
{
        const struct redis_config *c = &s->r->config;
        char why[256];

        redis_conn_stop(&s->ask);
        s->at = (s->at + 1) % c->n_servers;
        (void)redis_address_parse(c->servers[s->at], REDIS_SENTINEL_PORT, &s->ask.to, why, sizeof why);
        if (++s->tried < c->n_servers) {
                redis_conn_start(&s->ask, 0);
        } else {
                s->tried = 0;
                look_later(s);
        }
}

static void use_master(struct sentinel *s, const struct redis_address *to)
{
        struct redis_conn *conn = s->r->main;

        if (!redis_address_same(&conn->to, to)) {
                if (conn->to.host[0])
                        atomic_fetch_add_explicit(&s->r->stats->failovers, 1, memory_order_relaxed);
                redis_conn_stop(conn);
                redis_conn_record_success(conn); /* whatever was the matter, it was with another server */
                conn->open = false;
                conn->to = *to;
                s->pace_us = 0;
                redis_conn_start(conn, 0);
        } else if (conn->state == REDIS_CONN_OFF) {
                redis_conn_start(conn, MAX(conn->wait_until_us - now_us(), 0));
        }
        look_later(s);
}

static void on_told(struct redis_call *c, enum redis_result result, const redisReply *reply)
{
        struct sentinel *s = CONTAINER_OF(c, struct sentinel, call);
        struct redis_address to;
        char text[256];

        if (result == REDIS_ANSWERED && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
            reply->element[0]->type == REDIS_REPLY_STRING && reply->element[1]->type == REDIS_REPLY_STRING &&
            redis_address_set(&to, (struct pm_str){ reply->element[0]->str, reply->element[0]->len },
                              strtol(reply->element[1]->str, NULL, 10)) == 0) {
                s->tried = 0;
                use_master(s, &to);
                return;
        }
        if (result == REDIS_LOST)
                return; /* ask_down() follows */
        if (result == REDIS_NIL || result == REDIS_ANSWERED) {
                (void)snprintf(text, sizeof text, "this sentinel has no master named '%.128s'", s->r->config.master);
                redis_conn_say(&s->ask, SAID_REFUSED, text);
        }
        next_sentinel(s);
}

static void question(struct sentinel *s)
{
        const char *const argv[] = { "SENTINEL", "get-master-addr-by-name", s->r->config.master };
        const size_t n[] = { 8, 23, strlen(s->r->config.master) };

        if (redis_send(s->r, &s->ask, &s->call, true, 3, argv, n, s->r->config.connect_ms * 1000) < 0)
                look_later(s); /* too much is under way */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct sentinel *s = arg;

        (void)fd, (void)what;
        if (s->ask.state == REDIS_CONN_OFF)
                redis_conn_start(&s->ask, 0);
        else if (s->ask.state == REDIS_CONN_UP && s->call.ticket == 0)
                question(s);
}

static void ask_up(struct redis_conn *conn)
{
        question(conn->owner);
}

static void ask_down(struct redis_conn *conn)
{
        struct sentinel *s = conn->owner;

        redis_cancel(s->r, &s->call);
        next_sentinel(s);
}

static const char *is_master(const redisReply *r)
{
        if (r->type != REDIS_REPLY_ARRAY || r->elements < 1 || r->element[0]->type != REDIS_REPLY_STRING)
                return r->type == REDIS_REPLY_ERROR ? "ROLE failed (is the user allowed to run it?)" : "ROLE failed";
        return strcmp(r->element[0]->str, "master") == 0 ? NULL : "is not the master";
}

static void master_up(struct redis_conn *conn)
{
        struct sentinel *s = conn->owner;

        s->pace_us = 0;
        look_in(s, LOOK_UP_US);
}

static void master_down(struct redis_conn *conn)
{
        struct sentinel *s = conn->owner;

        s->pace_us = 0;
        look_later(s);
}

static const struct redis_conn_kind ask_kind = { .probe = "PING", .up = ask_up, .down = ask_down, .sentinel = true };
static const struct redis_conn_kind master_kind = { .probe = "ROLE", .probed = is_master, .up = master_up, .down = master_down };

int redis_sentinel_create(struct redis *r)
{
        struct sentinel *s = calloc(1, sizeof *s);
        struct redis_address to;
        char why[256];

        r->sentinel = s;
        r->main = calloc(1, sizeof *r->main);
        if (!s || !r->main || redis_address_parse(r->config.servers[0], REDIS_SENTINEL_PORT, &to, why, sizeof why) < 0) {
                free(TAKE(r->sentinel));
                free(TAKE(r->main));
                return -ENOMEM;
        }
        s->r = r;
        s->call.done = on_told;
        redis_conn_init(&s->ask, r, &ask_kind, &to);
        redis_conn_init(r->main, r, &master_kind, &(struct redis_address){ .port = 0 });
        s->ask.owner = r->main->owner = s;
        (void)event_assign(&s->timer, r->base, -1, 0, on_timer, s);
        redis_conn_start(&s->ask, 0);
        return 0;
}

void redis_sentinel_destroy(struct redis *r)
{
        struct sentinel *s = TAKE(r->sentinel);

        if (!s)
                return;
        (void)event_del(&s->timer);
        redis_conn_finish(&s->ask);
        free(s);
}

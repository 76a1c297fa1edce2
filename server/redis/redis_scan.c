/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCAN from master to master.  A step asks for one batch; when it has come (and, if keys are to be removed, the last of them has gone)
 * the next step follows after a rest as long as the step took.  A removal is one command of many keys where one server has all; in a
 * cluster each key goes by its slot, some at a time, and finds its way when the slot has moved meanwhile.
 */
#include "redis_parts.h"

#include "base.h"

#define COUNT_A_STEP "500"
#define REMOVALS 64      /* under way at a time */
#define KEYS_A_REMOVAL 500

struct removal {
        struct redis_call call;
        struct redis_scan_state *state;
        size_t n; /* keys */
};

struct redis_scan_state {
        struct redis *redis;
        struct store_scan *scan;
        struct redis_call call;
        struct event rest;
        char *pattern;
        size_t n_pattern;
        int64_t timeout_us, began_us;
        size_t master; /* of which it is the turn */
        uint64_t moves; /* of slots, before the first batch */
        char cursor[24];
        struct pm_str *keys; /* of the batch; to be removed from n_sent on */
        char *bytes;
        size_t n_keys, n_sent;
        struct removal removals[REMOVALS];
};

static void state_free(struct redis_scan_state *t)
{
        (void)event_del(&t->rest);
        redis_cancel(t->redis, &t->call);
        for (size_t i = 0; i < REMOVALS; i++)
                redis_cancel(t->redis, &t->removals[i].call);
        free(t->pattern);
        free(t->keys);
        free(t->bytes);
        free(t);
}

void redis_scan_cancel(struct store_scan *s)
{
        struct redis_scan_state *t = TAKE(s->state);

        if (t)
                state_free(t);
}

static void end(struct redis_scan_state *t, int result)
{
        struct store_scan *s = t->scan;

        redis_scan_cancel(s);
        s->end(s, result);
}

static uint64_t moves(const struct redis *r)
{
        return r->cluster ? redis_cluster_moves(r) : 0;
}

/* Slots without a master have keys all the same; and what went from a master that had yet to come to one that was through is missing. */
static int all_seen(const struct redis_scan_state *t)
{
        const struct redis *r = t->redis;

        return moves(r) != t->moves ? -ESTALE : r->cluster && !redis_cluster_complete(r) ? -EAGAIN : 0;
}

static void step(struct redis_scan_state *t)
{
        struct redis *r = t->redis;
        struct redis_conn *conn = redis_master(r, &t->master);
        const char *const argv[] = { "SCAN", t->cursor, "MATCH", t->pattern, "COUNT", COUNT_A_STEP };
        const size_t n[] = { 4, strlen(t->cursor), 5, t->n_pattern, 5, sizeof COUNT_A_STEP - 1 };
        int rc;

        t->began_us = now_us();
        if (!conn && t->master > 0) {
                end(t, all_seen(t));
                return;
        }
        rc = conn && conn->state == REDIS_CONN_UP ? redis_send(r, conn, &t->call, true, LENGTH_OF(argv), argv, n, t->timeout_us) : -EAGAIN;
        if (rc < 0)
                end(t, rc == -EBUSY ? -EAGAIN : rc);
}

static void on_rest(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what;
        step(arg);
}

/* The batch is done with. */
static void rest(struct redis_scan_state *t)
{
        int64_t us = MIN(now_us() - t->began_us, 1000000);

        if (strcmp(t->cursor, "0") == 0)
                t->master++;
        (void)event_add(&t->rest, &(struct timeval){ us / 1000000, us % 1000000 });
}

/* ---- removals ----------------------------------------------------------------------------------------------------------- */
static int send_removal(struct redis_scan_state *t, struct removal *v)
{
        struct redis *r = t->redis;
        size_t many = r->config.mode == REDIS_CLUSTER ? 1 : KEYS_A_REMOVAL;
        const char *argv[1 + KEYS_A_REMOVAL] = { "UNLINK" };
        size_t n[1 + KEYS_A_REMOVAL] = { 6 };
        int rc;

        v->n = MIN(many, t->n_keys - t->n_sent);
        for (size_t i = 0; i < v->n; i++) {
                argv[1 + i] = t->keys[t->n_sent + i].p;
                n[1 + i] = t->keys[t->n_sent + i].n;
        }
        rc = redis_command(r, &v->call, 1, (int)(1 + v->n), argv, n, t->timeout_us);
        if (rc == 0)
                t->n_sent += v->n;
        return rc;
}

static void remove_more(struct redis_scan_state *t)
{
        unsigned under_way = 0;

        for (size_t i = 0; i < REMOVALS; i++)
                under_way += t->removals[i].call.ticket != 0;
        for (size_t i = 0; i < REMOVALS && t->n_sent < t->n_keys; i++) {
                int rc = t->removals[i].call.ticket == 0 ? send_removal(t, &t->removals[i]) : 0;

                if (rc == -EBUSY && under_way > 0)
                        return; /* we are called again when one of them has ended */
                if (rc < 0) {
                        end(t, rc == -EBUSY ? -EAGAIN : rc);
                        return;
                }
                under_way++;
        }
        if (under_way == 0)
                rest(t);
}

static void on_removed(struct redis_call *c, enum redis_result result, const redisReply *reply)
{
        struct removal *v = CONTAINER_OF(c, struct removal, call);
        struct store_scan *s = v->state->scan;

        if (result == REDIS_ANSWERED && reply->type == REDIS_REPLY_INTEGER)
                s->removed += (uint64_t)MAX(reply->integer, 0);
        else
                s->failed += v->n;
        remove_more(v->state);
}

/* ---- batches ------------------------------------------------------------------------------------------------------------ */
/* The keys as pieces of the reply; copied if they are to be removed. */
static int take_keys(struct redis_scan_state *t, const redisReply *list)
{
        size_t bytes = 0, n = 0;

        free(TAKE(t->keys));
        free(TAKE(t->bytes));
        t->n_keys = t->n_sent = 0;
        for (size_t i = 0; i < list->elements; i++)
                bytes += list->element[i]->len;
        t->keys = calloc(MAX(list->elements, 1), sizeof *t->keys);
        t->bytes = malloc(MAX(bytes, 1));
        if (!t->keys || !t->bytes)
                return -ENOMEM;
        for (size_t i = 0; i < list->elements; i++) {
                const redisReply *key = list->element[i];

                if (key->type != REDIS_REPLY_STRING)
                        return -EIO;
                memcpy(t->bytes + n, key->str, key->len);
                t->keys[t->n_keys++] = (struct pm_str){ t->bytes + n, key->len };
                n += key->len;
        }
        return 0;
}

static void on_batch(struct redis_call *c, enum redis_result result, const redisReply *reply)
{
        struct redis_scan_state *t = CONTAINER_OF(c, struct redis_scan_state, call);
        struct store_scan *s = t->scan;
        int rc;

        if (result != REDIS_ANSWERED || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
            reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len >= sizeof t->cursor ||
            reply->element[1]->type != REDIS_REPLY_ARRAY) {
                end(t, result == REDIS_LATE ? -ETIMEDOUT : -EIO);
                return;
        }
        memcpy(t->cursor, reply->element[0]->str, reply->element[0]->len + 1);
        rc = take_keys(t, reply->element[1]);
        if (rc < 0) {
                end(t, rc);
                return;
        }
        s->seen += t->n_keys;
        if (s->batch && t->n_keys > 0) {
                s->batch(s, t->keys, t->n_keys);
                if (s->state != t)
                        return; /* cancelled from inside */
        }
        if (s->remove && t->n_keys > 0)
                remove_more(t);
        else
                rest(t);
}

int redis_scan(struct redis *r, struct store_scan *s, struct pm_str pattern, int64_t timeout_us)
{
        struct redis_scan_state *t = calloc(1, sizeof *t);
        char *copy = malloc(MAX(pattern.n, 1));

        if (!t || !copy) {
                free(t);
                free(copy);
                return -ENOMEM;
        }
        if (pattern.n > 0)
                memcpy(copy, pattern.p, pattern.n);
        s->state = t;
        t->redis = r;
        t->scan = s;
        t->pattern = copy;
        t->n_pattern = pattern.n;
        t->timeout_us = timeout_us;
        t->moves = moves(r);
        t->cursor[0] = '0';
        t->call.done = on_batch;
        for (size_t i = 0; i < REMOVALS; i++) {
                t->removals[i].call.done = on_removed;
                t->removals[i].state = t;
        }
        (void)event_assign(&t->rest, r->base, -1, 0, on_rest, t);
        event_active(&t->rest, EV_TIMEOUT, 0);
        return 0;
}

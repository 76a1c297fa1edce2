/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which node has the slot?  A table says so, read with CLUSTER SLOTS from any node that answers.  It may be wrong at any time, and the nodes
 * then say what is right: MOVED corrects one slot at once and lets the table be read again (not more often than twice a second), ASK is for
 * this command only, TRYAGAIN means in a moment.  A command is kept until its answer, so that it can be sent again; all of it happens within
 * the command's own limit.  A node's loss costs the commands on it; the table is then read once a second until its slots have a new master.
 * When a node says that the cluster is down, commands are refused for half a second.
 */
#include "redis_parts.h"
#include "redis_slots.h"

#include "base.h"

#define NODES_MAX 1000
#define NO_NODE UINT16_MAX
#define REFRESH_MIN_US 500000 /* between two readings of the table */
#define REFRESH_DOWN_US 1000000 /* as long as a node with slots is away */
#define REDIRECTS_MAX 30      /* of one command: about a second of to and fro */
#define AGAIN_US 4000         /* after TRYAGAIN, as long as the command has time */
#define ASKED_US 10000000     /* a node without slots stays so long after the last ASK */

struct node {
        struct redis_conn conn;
        size_t slots;        /* that the table gives it */
        int64_t asked_us;    /* the last ASK that named it */
};

struct cluster {
        struct redis *r;
        struct node *nodes[NODES_MAX]; /* with gaps */
        size_t n_nodes;
        struct redis_call call;        /* CLUSTER SLOTS */
        struct redis_conn *asked;            /* where it went */
        struct event timer;            /* the next reading */
        struct event sweep;            /* nodes that are nothing any more */
        int64_t read_us;
        bool down;                     /* somebody has said -CLUSTERDOWN; until the next reading */
        uint64_t moves;
        uint16_t table[REDIS_SLOTS], fresh[REDIS_SLOTS];
};

static const struct redis_conn_kind node_kind;
static void refresh(struct cluster *c);

static void refresh_in(struct cluster *c, int64_t us)
{
        /* the soonest counts */
        if (!event_pending(&c->timer, EV_TIMEOUT, NULL) || us < REFRESH_DOWN_US)
                (void)event_add(&c->timer, &(struct timeval){ us / 1000000, us % 1000000 });
}

/* Soon, and not more often than it may be. */
static void refresh_soon(struct cluster *c)
{
        if (c->call.ticket == 0)
                refresh_in(c, MIN(MAX(c->read_us + REFRESH_MIN_US - now_us(), 0), REFRESH_MIN_US));
}

/* ---- nodes -------------------------------------------------------------------------------------------------------------- */
/* NO_NODE: there are too many, or no memory. */
static uint16_t node_at(struct cluster *c, const struct redis_address *to)
{
        size_t gap = c->n_nodes;
        struct node *n;

        for (size_t i = 0; i < c->n_nodes; i++) {
                if (c->nodes[i] && redis_address_same(&c->nodes[i]->conn.to, to))
                        return (uint16_t)i;
                if (!c->nodes[i])
                        gap = i;
        }
        n = gap < NODES_MAX ? calloc(1, sizeof *n) : NULL;
        if (!n)
                return NO_NODE;
        redis_conn_init(&n->conn, c->r, &node_kind, to);
        n->conn.owner = c;
        redis_conn_start(&n->conn, 0);
        c->nodes[gap] = n;
        c->n_nodes = MAX(c->n_nodes, gap + 1);
        return (uint16_t)gap;
}

static bool any_node_with_slots(const struct cluster *c)
{
        for (size_t i = 0; i < c->n_nodes; i++)
                if (c->nodes[i] && c->nodes[i]->slots > 0)
                        return true;
        return false;
}

static void add_seeds(struct cluster *c)
{
        struct redis_address to;
        char why[256];

        for (size_t i = 0; i < c->r->config.n_servers; i++)
                if (redis_address_parse(c->r->config.servers[i], REDIS_PORT, &to, why, sizeof why) == 0)
                        (void)node_at(c, &to);
}

/* Not from inside a node's own event: it may be the one that goes. */
static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
        struct cluster *c = arg;
        int64_t now = now_us();

        (void)fd, (void)what;
        for (size_t i = 0; i < c->n_nodes && any_node_with_slots(c); i++) {
                struct node *n = c->nodes[i];

                if (!n || n->slots > 0 || now - n->asked_us < ASKED_US)
                        continue;
                c->nodes[i] = NULL;
                redis_conn_stop(&n->conn);
                redis_unpark(c->r, &n->conn, false);
                redis_conn_finish(&n->conn);
                free(n);
        }
        redis_readiness(c->r);
}

/* Of those that serve; begin by chance, so that not every worker asks the same one. */
static struct redis_conn *any_link(struct cluster *c)
{
        size_t begin = (size_t)redis_random(c->r, c->n_nodes);

        for (size_t i = 0; i < c->n_nodes; i++) {
                struct node *n = c->nodes[(begin + i) % c->n_nodes];

                if (n && n->conn.state == REDIS_CONN_UP)
                        return &n->conn;
        }
        return NULL;
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */
static int on_range(void *arg, unsigned first, unsigned last, const struct redis_address *master)
{
        struct cluster *c = arg;
        uint16_t i = node_at(c, master);

        if (i == NO_NODE)
                return -ENOMEM;
        for (unsigned s = first; s <= last; s++)
                c->fresh[s] = i;
        return 0;
}

static void count_slots(struct cluster *c)
{
        for (size_t i = 0; i < c->n_nodes; i++)
                if (c->nodes[i])
                        c->nodes[i]->slots = 0;
        for (unsigned s = 0; s < REDIS_SLOTS; s++)
                if (c->table[s] != NO_NODE)
                        c->nodes[c->table[s]]->slots++;
}

/* Each slot has a node that serves. */
static bool whole(const struct cluster *c)
{
        for (unsigned s = 0; s < REDIS_SLOTS; s++)
                if (c->table[s] == NO_NODE || c->nodes[c->table[s]]->conn.state != REDIS_CONN_UP)
                        return false;
        return true;
}

static void use_fresh(struct cluster *c)
{
        uint16_t left[NODES_MAX] = { 0 };
        bool moved = false;

        for (unsigned i = 0; i < REDIS_SLOTS; i++)
                if (c->table[i] != NO_NODE && c->table[i] == c->fresh[i])
                        left[c->table[i]]++;
        for (size_t i = 0; i < c->n_nodes; i++)
                if (c->nodes[i] && c->nodes[i]->slots > 0 && left[i] == 0 && c->nodes[i]->conn.state != REDIS_CONN_UP)
                        atomic_fetch_add_explicit(&c->r->stats->failovers, 1, memory_order_relaxed);
        /* one that has not heard yet who has a slot knows less than we do */
        for (unsigned i = 0; i < REDIS_SLOTS; i++)
                if (c->fresh[i] != NO_NODE || (c->table[i] != NO_NODE && c->nodes[c->table[i]]->conn.state != REDIS_CONN_UP)) {
                        moved = moved || c->table[i] != c->fresh[i];
                        c->table[i] = c->fresh[i];
                }
        c->moves += moved;
        count_slots(c);
        if (!whole(c))
                refresh_in(c, REFRESH_DOWN_US);
        event_active(&c->sweep, EV_TIMEOUT, 0);
}

static void on_slots(struct redis_call *call, enum redis_result result, const redisReply *reply)
{
        struct cluster *c = CONTAINER_OF(call, struct cluster, call);
        char text[200];
        int rc = -EINVAL;

        if (result == REDIS_ANSWERED) {
                memset(c->fresh, 0xff, sizeof c->fresh);
                rc = redis_slots_read(reply, &c->asked->to, on_range, c);
        }
        if (rc == 0 && reply->elements > 0) {
                use_fresh(c);
                redis_readiness(c->r);
                return;
        }
        if (result == REDIS_SAID_ERROR) {
                (void)snprintf(text, sizeof text, "CLUSTER SLOTS failed: '%.120s'", reply->str);
                redis_conn_say(c->asked, SAID_REFUSED, text);
        } else if (result == REDIS_ANSWERED) {
                redis_conn_say(c->asked, SAID_REFUSED, reply->type == REDIS_REPLY_ARRAY && reply->elements == 0 ? "has no hash slots of its cluster" :
                         "malformed reply to CLUSTER SLOTS");
        }
        refresh_in(c, REFRESH_DOWN_US);
}

static void refresh(struct cluster *c)
{
        const char *const argv[] = { "CLUSTER", "SLOTS" };
        const size_t n[] = { 7, 5 };
        struct redis_conn *conn = any_link(c);

        if (c->call.ticket != 0)
                return;
        if (TAKE(c->down))
                redis_readiness(c->r);
        c->read_us = now_us();
        if (!conn)
                add_seeds(c); /* the first one that answers is asked */
        if (!conn || redis_send(c->r, conn, &c->call, true, 2, argv, n, c->r->config.connect_ms * 1000) < 0) {
                refresh_in(c, REFRESH_DOWN_US);
                return;
        }
        c->asked = conn;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what;
        refresh(arg);
}

static void node_up(struct redis_conn *conn)
{
        struct cluster *c = conn->owner;

        redis_unpark(c->r, conn, true);
        if (!any_node_with_slots(c))
                refresh_soon(c);
}

static void node_down(struct redis_conn *conn)
{
        struct cluster *c = conn->owner;

        redis_unpark(c->r, conn, false);
        refresh_soon(c);
}

static const struct redis_conn_kind node_kind = { .probe = "PING", .up = node_up, .down = node_down, .retries = true };

/* ---- what redis.c asks -------------------------------------------------------------------------------------------------- */
struct redis_conn *redis_cluster_conn(struct redis *r, const struct pm_str *key)
{
        struct cluster *c = r->cluster;
        uint16_t i;

        if (c->down)
                return NULL;
        if (!key)
                return any_link(c);
        i = c->table[redis_slot_of_key(*key)];
        return i == NO_NODE ? NULL : &c->nodes[i]->conn;
}

struct redis_conn *redis_cluster_master(struct redis *r, size_t *i)
{
        struct cluster *c = r->cluster;

        for (; *i < c->n_nodes; ++*i)
                if (c->nodes[*i] && c->nodes[*i]->slots > 0)
                        return &c->nodes[*i]->conn;
        return NULL;
}

bool redis_cluster_ready(const struct redis *r)
{
        const struct cluster *c = r->cluster;

        for (size_t i = 0; i < c->n_nodes && !c->down; i++)
                if (c->nodes[i] && c->nodes[i]->slots > 0 && c->nodes[i]->conn.state == REDIS_CONN_UP)
                        return true;
        return false;
}

bool redis_cluster_complete(const struct redis *r)
{
        for (unsigned s = 0; s < REDIS_SLOTS; s++)
                if (r->cluster->table[s] == NO_NODE)
                        return false;
        return true;
}

bool redis_cluster_whole(const struct redis *r)
{
        return !r->cluster->down && whole(r->cluster);
}

uint64_t redis_cluster_moves(const struct redis *r)
{
        return r->cluster->moves;
}

bool redis_cluster_redirect(struct redis *r, struct redis_conn *conn, struct pending *s, const redisReply *reply, int64_t now)
{
        struct cluster *c = r->cluster;
        struct redis_address to;
        unsigned slot = 0;
        enum redis_move move = redis_move_read((struct pm_str){ reply->str, reply->len }, &conn->to, &slot, &to);
        uint16_t i;

        if (move == REDIS_DOWN) {
                c->down = true;
                redis_readiness(r);
                refresh_in(c, REFRESH_MIN_US);
                return false;
        }
        if (move == REDIS_NO_MOVE || s->n_bytes == 0)
                return false;
        if (move == REDIS_TRYAGAIN) {
                redis_park(r, s, conn, now + AGAIN_US, s->asking);
                return true;
        }
        i = node_at(c, &to);
        if (i == NO_NODE)
                return false;
        if (move == REDIS_MOVED) {
                uint16_t before = c->table[slot];

                if (before != i) {
                        if (before != NO_NODE)
                                c->nodes[before]->slots--;
                        c->table[slot] = i;
                        c->nodes[i]->slots++;
                        c->moves++;
                        redis_readiness(r);
                }
                refresh_soon(c);
        } else {
                c->nodes[i]->asked_us = now;
        }
        conn = &c->nodes[i]->conn;
        if (++s->redirects > REDIRECTS_MAX || (conn->state == REDIS_CONN_WAITING && conn->fail_row > 0))
                return false; /* to where nobody is */
        /* two that each name the other will agree in a while */
        redis_park(r, s, conn, s->redirects < 3 ? 0 : now + (INT64_C(1000) << MIN(s->redirects - 3, 5)), move == REDIS_ASK);
        return true;
}

int redis_cluster_create(struct redis *r)
{
        struct cluster *c = calloc(1, sizeof *c);

        if (!c)
                return -ENOMEM;
        r->cluster = c;
        c->r = r;
        c->call.done = on_slots;
        memset(c->table, 0xff, sizeof c->table);
        (void)event_assign(&c->timer, r->base, -1, 0, on_timer, c);
        (void)event_assign(&c->sweep, r->base, -1, 0, on_sweep, c);
        add_seeds(c);
        return 0;
}

void redis_cluster_destroy(struct redis *r)
{
        struct cluster *c = TAKE(r->cluster);

        if (!c)
                return;
        (void)event_del(&c->timer);
        (void)event_del(&c->sweep);
        for (size_t i = 0; i < c->n_nodes; i++)
                if (c->nodes[i]) {
                        redis_conn_finish(&c->nodes[i]->conn);
                        free(c->nodes[i]);
                }
        free(c);
}

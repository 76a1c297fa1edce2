/* SPDX-License-Identifier: Apache-2.0 */
/* The client and a real cluster, three masters with a replica each: slots that move under traffic, a master that dies. */
#include "redis_fixture.h"

#include <signal.h>

#include "keyscan.h"
#include "redis_slots.h"
#include "settings.h"

#define NODES 6

static struct server nodes[NODES];
static char ids[NODES][41];
TestSuite(redis_cluster, .init = stand_begin, .fini = stand_end, .timeout = 60);

/* ---- the cluster -------------------------------------------------------------------------------------------------------- */
static bool info_has(int i, const char *what)
{
        return strstr(server_say(&nodes[i], "CLUSTER INFO"), what);
}

static void begin(void)
{
        static const unsigned from[] = { 0, 5461, 10923 }, to[] = { 5460, 10922, 16383 };
        static char bus[NODES][12];

        for (int i = 0; i < NODES; i++) {
                nodes[i].bus = free_port();
                (void)snprintf(bus[i], sizeof bus[i], "%u", nodes[i].bus);
                SERVER_START_TCP(&nodes[i], "--cluster-enabled", "yes", "--cluster-port", bus[i], "--cluster-node-timeout", "1000",
                                 "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0");
                (void)snprintf(ids[i], sizeof ids[i], "%s", server_say(&nodes[i], "CLUSTER MYID"));
                cr_assert_str_eq(server_say(&nodes[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1), "OK");
                if (i < 3)
                        cr_assert_str_eq(server_say(&nodes[i], "CLUSTER ADDSLOTSRANGE %u %u", from[i], to[i]), "OK");
        }
        for (int i = 1; i < NODES; i++)
                cr_assert_str_eq(server_say(&nodes[0], "CLUSTER MEET 127.0.0.1 %u %u", nodes[i].port, nodes[i].bus), "OK");
        for (int i = 0; i < NODES; i++)
                UNTIL(info_has(i, "cluster_known_nodes:6") && strstr(server_say(&nodes[i], "CLUSTER NODES"), ids[(i + 3) % NODES]));
        for (int i = 3; i < NODES; i++)
                UNTIL(strcmp(server_say(&nodes[i], "CLUSTER REPLICATE %s", ids[i - 3]), "OK") == 0);
        for (int i = 0; i < NODES; i++)
                UNTIL(info_has(i, "cluster_state:ok"));
        for (int i = 3; i < NODES; i++)
                UNTIL(strstr(server_say(&nodes[i], "INFO replication"), "master_link_status:up"));
}

static void open_ready(int n)
{
        const char *servers[] = { nodes[0].url, nodes[1].url, nodes[5].url };

        stand.config.mode = REDIS_CLUSTER;
        stand.config.servers = servers;
        stand.config.n_servers = (size_t)n;
        stand_open(NULL);
        stand.config.servers = NULL;
        UNTIL(redis_ready(stand.r));
}

/* ---- traffic ------------------------------------------------------------------------------------------------------------ */
enum { KEYS = 3000, FLOWS = 8 };
#define LIMIT 1000000 /* us; two masters may take a while to agree who has a slot */

static struct flow {
        struct asked a;
        int64_t sent;
        bool sets, waits;
        unsigned key;
} flows[FLOWS];
static unsigned at, refused, ended[5], wrong;
static bool stored[KEYS];

static void flow_turn(struct flow *f)
{
        char key[32], value[32];

        (void)snprintf(key, sizeof key, "k:%u", f->key);
        if (f->waits && !f->a.done)
                return;
        if (f->waits) {
                ended[f->a.result]++;
                cr_assert_lt(f->a.at_us - f->sent, LIMIT + SLACK, "a command has a limit");
                if (f->a.result == REDIS_ANSWERED && f->sets)
                        stored[f->key] = true;
                else if (f->a.result == REDIS_ANSWERED)
                        wrong += strcmp(f->a.text, key) != 0;
                else if (f->a.result == REDIS_NIL)
                        wrong += stored[f->key]; /* lost on the way */
        }
        f->key = at++ % KEYS;
        f->sets = !stored[f->key];
        f->sent = now_us();
        (void)snprintf(key, sizeof key, "k:%u", f->key);
        (void)snprintf(value, sizeof value, "k:%u", f->key);
        f->waits = (f->sets ? ask_set(&f->a, key, value, LIMIT) : ask_get(&f->a, key, LIMIT)) == 0;
        refused += !f->waits;
}

static void traffic_turn(void)
{
        for (int i = 0; i < FLOWS; i++)
                flow_turn(&flows[i]);
        turn();
}

static unsigned n_stored(void)
{
        unsigned n = 0;

        for (int i = 0; i < KEYS; i++)
                n += stored[i];
        return n;
}

#define TRAFFIC_UNTIL(condition)                                                                   \
        do {                                                                                       \
                int64_t limit_ = now_us() + 25000000;                                              \
                while (!(condition) && now_us() < limit_)                                          \
                        traffic_turn();                                                            \
                cr_assert(condition, "not within 25 s: %s", #condition);                           \
        } while (0)

static void quiet(void)
{
        for (int i = 0; i < FLOWS; i++)
                UNTIL(!flows[i].waits || flows[i].a.done);
}

/* ---- slots that move ---------------------------------------------------------------------------------------------------- */
static void announce(unsigned slot, int a, int b)
{
        cr_assert_str_eq(server_say(&nodes[b], "CLUSTER SETSLOT %u IMPORTING %s", slot, ids[a]), "OK");
        cr_assert_str_eq(server_say(&nodes[a], "CLUSTER SETSLOT %u MIGRATING %s", slot, ids[b]), "OK");
}

static void move_keys(unsigned slot, int a, int b)
{
        for (;;) {
                char key[256];

                (void)snprintf(key, sizeof key, "%s", server_say(&nodes[a], "CLUSTER GETKEYSINSLOT %u 1", slot));
                if (!key[0])
                        return;
                cr_assert_str_eq(server_say(&nodes[a], "MIGRATE 127.0.0.1 %u %s 0 5000", nodes[b].port, key), "OK");
        }
}

static bool agreed(unsigned slot, const char *key, int b)
{
        char moved[64];

        (void)snprintf(moved, sizeof moved, "MOVED %u 127.0.0.1:%u", slot, nodes[b].port);
        for (int i = 0; i < 3; i++)
                if (i == b ? strncmp(server_say(&nodes[i], "TYPE %s", key), "MOVED", 5) == 0 : strcmp(server_say(&nodes[i], "TYPE %s", key), moved) != 0)
                        return false;
        return true;
}

static long epoch(int i)
{
        return strtol(strstr(server_say(&nodes[i], "CLUSTER INFO"), "cluster_current_epoch:") + 22, NULL, 10);
}

/* Until all say the same, also how often slots were given away: who has not heard that would take a later claim for an old one, and the
 * servers themselves would lose keys. */
static void hand_over(unsigned slot, const char *key, int a, int b)
{
        (void)server_say(&nodes[b], "CLUSTER SETSLOT %u NODE %s", slot, ids[b]);
        (void)server_say(&nodes[a], "CLUSTER SETSLOT %u NODE %s", slot, ids[b]);
        (void)server_say(&nodes[3 - a - b], "CLUSTER SETSLOT %u NODE %s", slot, ids[b]);
        do
                for (int t = 0; t < 20; t++)
                        traffic_turn();
        while (!agreed(slot, key, b) || epoch(0) != epoch(1) || epoch(1) != epoch(2));
}

Test(redis_cluster, serves_and_follows_slots_that_move)
{
        struct asked a, b;
        uint64_t before;
        unsigned slot;
        int from;

        begin();
        open_ready(1);
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > KEYS * 2);
        cr_assert_eq(ended[REDIS_SAID_ERROR] + ended[REDIS_LOST] + ended[REDIS_LATE], 0);
        cr_assert_eq(STAT(redirects), 0, "the table was right");
        refused = 0; /* before all nodes were connected */
        for (int i = 0; i < 3; i++)
                cr_assert_gt(strtol(server_say(&nodes[i], "DBSIZE"), NULL, 10), KEYS / 5);

        /* 40 slots that have keys, away from their master while it goes on */
        for (unsigned i = 0; i < 40; i++) {
                char key[32];

                (void)snprintf(key, sizeof key, "k:%u", i * 7);
                slot = redis_slot_of_key(str(key));
                from = slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2;
                announce(slot, from, (from + 1) % 3);
                for (int t = 0; t < 20; t++)
                        traffic_turn();
                move_keys(slot, from, (from + 1) % 3);
                hand_over(slot, key, from, (from + 1) % 3);
        }
        before = ended[REDIS_ANSWERED];
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > before + KEYS * 2);
        quiet();
        cr_assert_eq(ended[REDIS_SAID_ERROR] + ended[REDIS_LOST] + ended[REDIS_LATE] + refused, 0, "none fails: %u %u %u %u",
                     ended[REDIS_SAID_ERROR], ended[REDIS_LOST], ended[REDIS_LATE], refused);
        cr_assert_eq(ended[REDIS_NIL], 0);
        cr_assert_eq(wrong, 0);
        cr_assert_gt(STAT(redirects), 0);
        cr_assert_lt(STAT(redirects), 1000, "the table is corrected, not every command redirected");
        cr_assert_eq(STAT(failovers), 0);

        /* ASK: what is not there any more is asked for where it may be; half here, half there: in a moment */
        cr_assert_eq(ask_words(NULL, 1, SOON, "SET {t}a 1"), 0);
        cr_assert_eq(ask_words(&a, 1, SOON, "SET {t}b 2"), 0);
        UNTIL(a.done);
        slot = redis_slot_of_key(str("t"));
        from = slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2;
        announce(slot, from, (from + 1) % 3);
        cr_assert_str_eq(server_say(&nodes[from], "MIGRATE 127.0.0.1 %u {t}a 0 5000", nodes[(from + 1) % 3].port), "OK");
        before = STAT(redirects);
        cr_assert_eq(ask_get(&a, "{t}a", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "1");
        cr_assert_eq(STAT(redirects), before + 1);
        cr_assert_eq(ask_words(&b, 1, SOON, "MGET {t}a {t}b"), 0);
        UNTIL(STAT(redirects) > before + 3);
        cr_assert_eq(b.done, 0);
        move_keys(slot, from, (from + 1) % 3);
        UNTIL(b.done);
        cr_assert_eq(b.result, REDIS_ANSWERED);
        cr_assert_eq(b.n, 2);
        hand_over(slot, "{t}", from, (from + 1) % 3);

        redis_destroy(TAKE(stand.r));
        cr_assert_eq(STAT(up), 0);
}

static struct store_scan all;
static unsigned all_ended;
static int all_result;

static void on_end(struct store_scan *s, int result)
{
        (void)s;
        all_ended++;
        all_result = result;
}

Test(redis_cluster, goes_through_all_keys_of_all_masters)
{
        begin();
        stand.config.waiting_max = 40; /* fewer than the removals would like */
        open_ready(3);
        TRAFFIC_UNTIL(n_stored() == KEYS);
        quiet();
        all = (struct store_scan){ .end = on_end };
        cr_assert_eq(redis_scan(stand.r, &all, str("k:1*"), SOON), 0);
        UNTIL(all_ended);
        cr_assert_eq(all_result, 0);
        cr_assert_eq(all.seen, 1111);
        all = (struct store_scan){ .end = on_end, .remove = true };
        cr_assert_eq(redis_scan(stand.r, &all, str("k:*"), SOON), 0);
        UNTIL(all_ended == 2);
        cr_assert_eq(all_result, 0, "%d", all_result);
        cr_assert_eq(all.failed, 0);
        cr_assert_eq(all.removed, KEYS);
        for (int i = 0; i < 3; i++)
                cr_assert_str_eq(server_say(&nodes[i], "DBSIZE"), "0");
}

Test(redis_cluster, says_when_a_slot_moved_while_it_went_through)
{
        struct asked a;
        char key[32] = "";
        int64_t until;

        begin();
        open_ready(3);
        UNTIL(redis_whole(stand.r));
        for (unsigned i = 0; redis_slot_of_key(str(key)) > 5460 || !*key; i++)
                (void)snprintf(key, sizeof key, "k:%u", i);
        announce(redis_slot_of_key(str(key)), 0, 1);
        for (int i = 1; i >= 0; i--)
                cr_assert_str_eq(server_say(&nodes[i], "CLUSTER SETSLOT %u NODE %s", redis_slot_of_key(str(key)), ids[1]), "OK");
        cr_assert_eq(ask_get(&a, key, SOON), 0); /* the first master says so before it has its turn */
        all = (struct store_scan){ .end = on_end };
        cr_assert_eq(redis_scan(stand.r, &all, str("*"), SOON), 0);
        UNTIL(all_ended);
        cr_assert_eq(all_result, -ESTALE, "%d", all_result);
        for (until = now_us() + SOON; all_result == -ESTALE && now_us() < until;) { /* until all have heard of it */
                all = (struct store_scan){ .end = on_end };
                all_ended = 0;
                cr_assert_eq(redis_scan(stand.r, &all, str("*"), SOON), 0);
                UNTIL(all_ended);
        }
        cr_assert_eq(all_result, 0, "%d", all_result);
}

static unsigned swept;
static const char *swept_why;

static void on_swept(struct keyscan *s, const char *why)
{
        (void)s;
        swept++;
        swept_why = why;
}

/* The first of them can be asked some time before the last. */
Test(redis_cluster, is_swept_when_all_masters_can_be_asked)
{
        const char *servers[3];
        struct redis_settings settings = { .servers = { servers, 3 }, .mode = REDIS_CLUSTER, .connect_time = 2000, .failures = 3, .open_time = 300,
                                           .waiting = 100, .reply = 1 << 20 };
        struct keyscan s = { .remove = true, .end = on_swept };

        begin();
        for (int i = 0; i < 3; i++)
                servers[i] = nodes[i].url;
        for (unsigned i = 0; i < 60; i++) {
                char key[32];
                unsigned slot;

                (void)snprintf(key, sizeof key, "k:%u", i);
                slot = redis_slot_of_key(str(key));
                cr_assert_str_eq(server_say(&nodes[slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2], "SET %s 1", key), "OK");
        }
        cr_assert_eq(kill(nodes[1].pid, SIGSTOP), 0);
        cr_assert_eq(keyscan_begin(&s, stand.base, &settings, str("k:")), 0);
        UNTIL(s.store->ops->ready(s.store));
        for (int64_t until = now_us() + 50000; now_us() < until;)
                turn();
        cr_assert_eq(swept, 0, "%s", swept_why);
        cr_assert_eq(kill(nodes[1].pid, SIGCONT), 0);
        UNTIL(swept);
        cr_assert_null(swept_why, "%s", swept_why);
        cr_assert_eq(s.removed, 60);
        keyscan_finish(&s);
}

Test(redis_cluster, outlives_a_master)
{
        unsigned before, good;
        int64_t killed;

        begin();
        open_ready(3);
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > KEYS * 2);
        server_kill(&nodes[1]);
        killed = now_us();
        before = ended[REDIS_ANSWERED];
        TRAFFIC_UNTIL(STAT(failovers) == 1);
        (void)fprintf(stderr, "failover after %" PRId64 " ms: %u refused, %u lost, %u late, %u errors, %u answered\n", (now_us() - killed) / 1000, refused,
                      ended[REDIS_LOST], ended[REDIS_LATE], ended[REDIS_SAID_ERROR], ended[REDIS_ANSWERED] - before);
        cr_assert_leq(ended[REDIS_LOST], FLOWS);
        /* all of it is well again, and nobody was told a value that is not so */
        TRAFFIC_UNTIL(refused > 0);
        do {
                unsigned bad = refused + ended[REDIS_LOST] + ended[REDIS_LATE] + ended[REDIS_SAID_ERROR];

                good = ended[REDIS_ANSWERED];
                TRAFFIC_UNTIL(ended[REDIS_ANSWERED] + ended[REDIS_NIL] > good + KEYS);
                if (bad == refused + ended[REDIS_LOST] + ended[REDIS_LATE] + ended[REDIS_SAID_ERROR])
                        break;
        } while (now_us() - killed < 25000000);
        cr_assert_lt(now_us() - killed, 25000000);
        cr_assert_str_eq(server_say(&nodes[4], "ROLE"), "master");
        quiet();
        redis_destroy(TAKE(stand.r));
        cr_assert_eq(STAT(up), 0);
}

Test(redis_cluster, starts_with_seeds_that_are_dead)
{
        struct asked a;
        char dead[40];
        const char *servers[] = { dead, nodes[4].url };

        begin();
        (void)snprintf(dead, sizeof dead, "127.0.0.1:%u", free_port());
        stand.config.mode = REDIS_CLUSTER;
        stand.config.servers = servers;
        stand.config.n_servers = 2; /* the other is a replica */
        stand_open(NULL);
        stand.config.servers = NULL;
        UNTIL(redis_ready(stand.r));
        UNTIL(ask_words(&a, 1, SOON, "SET k v") == 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "OK");
        cr_assert_eq(ask_words(&a, -1, SOON, "PING"), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "PONG");
}

/* ---- a node that lies --------------------------------------------------------------------------------------------------- */
static void open_fake(const char *slots, const char *answer)
{
        const char *servers[] = { fake.url };

        fake_start("+PONG\r\n", slots, answer, answer ? strlen(answer) : 0);
        stand.config.mode = REDIS_CLUSTER;
        stand.config.servers = servers;
        stand.config.n_servers = 1;
        stand_open(NULL);
        stand.config.servers = NULL;
}

Test(redis_cluster, round_and_round_ends_in_time)
{
        char slots[128], moved[64];
        struct asked a;
        int64_t sent;

        slots[0] = moved[0] = 0; /* filled in once the port is known */
        open_fake(slots, moved);
        (void)snprintf(slots, sizeof slots, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%u\r\n", fake.port);
        fake.answer_n = (size_t)snprintf(moved, sizeof moved, "-MOVED 7 127.0.0.1:%u\r\n", fake.port);
        UNTIL(redis_ready(stand.r));
        sent = now_us();
        cr_assert_eq(ask_get(&a, "k", 60000), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_LATE);
        cr_assert(a.at_us - sent >= 60000 && a.at_us - sent < 60000 + SLACK);
        cr_assert(STAT(redirects) >= 1 && STAT(redirects) <= 9, "%d: it waits longer each time", (int)STAT(redirects));
        cr_assert(redis_ready(stand.r), "nothing is the matter with the connection");

        /* a destination where nobody is */
        fake.answer_n = (size_t)snprintf(moved, sizeof moved, "-ASK 7 127.0.0.1:%u\r\n", free_port());
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_LOST);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_SAID_ERROR);
        redis_destroy(TAKE(stand.r));
        fake_stop();
        cr_assert_eq(STAT(up), 0);
}

Test(redis_cluster, table_that_makes_no_sense)
{
        static const char *const bad[] = { "+OK\r\n", "*0\r\n", "-NOPERM this user has no permissions\r\n", "-ERR This instance has cluster support disabled\r\n",
                                           "*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n", "!\r\n", "*1000000000\r\n" };

        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                struct asked a;

                open_fake(bad[i], NULL);
                for (int64_t until = now_us() + 100000; now_us() < until; turn())
                        cr_assert_eq(ask_get(&a, "k", SOON), -EAGAIN, "%s", bad[i]);
                cr_assert_not(redis_ready(stand.r));
                redis_destroy(TAKE(stand.r));
                fake_stop();
        }
}

Test(redis_cluster, slots_without_a_master_are_not_taken_for_empty)
{
        static const char none[] = "*2\r\n$1\r\n0\r\n*0\r\n";
        static const struct {
                unsigned last;
                int result;
        } rows[] = { { 16383, 0 }, { 16382, -EAGAIN } };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                char slots[128] = "";

                open_fake(slots, none);
                (void)snprintf(slots, sizeof slots, "*1\r\n*3\r\n:0\r\n:%u\r\n*2\r\n$0\r\n\r\n:%u\r\n", rows[i].last, fake.port);
                UNTIL(redis_ready(stand.r));
                cr_assert_eq(redis_whole(stand.r), rows[i].result == 0);
                all = (struct store_scan){ .end = on_end };
                all_ended = 0;
                cr_assert_eq(redis_scan(stand.r, &all, str("*"), SOON), 0);
                UNTIL(all_ended);
                cr_assert_eq(all_result, rows[i].result, "%d", all_result);
                redis_destroy(TAKE(stand.r));
                fake_stop();
        }
}

/* ---- words -------------------------------------------------------------------------------------------------------------- */
Test(redis_cluster, slots_of_keys)
{
        static const char *const keys[] = { "", "123456789", "foo", "{user1000}.following", "foo{}{bar}", "foo{{bar}}zap", "foo{bar}{zap}", "}{", "{", "{}", "a{b" };
        struct server *s = &nodes[0];
        char bus[12];

        s->bus = free_port();
        (void)snprintf(bus, sizeof bus, "%u", s->bus);
        SERVER_START_TCP(s, "--cluster-enabled", "yes", "--cluster-port", bus);
        for (size_t i = 0; i < LENGTH_OF(keys); i++)
                cr_assert_eq(redis_slot_of_key(str(keys[i])), (unsigned)strtoul(server_say(s, "CLUSTER KEYSLOT %s", keys[i]), NULL, 10), "%s", keys[i]);
        cr_assert_eq(redis_slot_of_key(str("123456789")), 0x31c3);
}

static char ranges[1024];

static int on_range(void *arg, unsigned first, unsigned last, const struct redis_address *to)
{
        char text[300];
        size_t n = strlen(ranges);

        (void)arg;
        (void)snprintf(ranges + n, sizeof ranges - n, "%u-%u %s;", first, last, redis_address_text(to, text, sizeof text));
        return 0;
}

static int read_table(const char *text)
{
        struct redis_address from = { .host = "asked", .port = 1 };
        redisReader *r = redisReaderCreate();
        void *reply = NULL;
        int rc;

        ranges[0] = 0;
        cr_assert_eq(redisReaderFeed(r, text, strlen(text)), 0);
        cr_assert(redisReaderGetReply(r, &reply) == 0 && reply, "%s", text);
        rc = redis_slots_read(reply, &from, on_range, NULL);
        freeReplyObject(reply);
        redisReaderFree(r);
        return rc;
}

Test(redis_cluster, reads_tables)
{
        static const char *const bad[] = {
                "+OK\r\n", ":1\r\n", "*1\r\n:1\r\n", "*1\r\n*2\r\n:0\r\n:1\r\n", "*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
                "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n", "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
                "*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n", "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
                "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n", "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$3\r\na b\r\n:1\r\n",
                "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n", "*1\r\n*3\r\n$1\r\n0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
                "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n", "$-1\r\n",
        };

        cr_assert_eq(read_table("*0\r\n"), 0);
        cr_assert_str_eq(ranges, "");
        cr_assert_eq(read_table("*3\r\n*3\r\n:0\r\n:5460\r\n*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n*4\r\n:5461\r\n:5461\r\n*2\r\n$3\r\n::1\r\n:7001\r\n*2\r\n"
                                "$1\r\nx\r\n:1\r\n*3\r\n:9\r\n:10\r\n*4\r\n$-1\r\n:7002\r\n$2\r\nid\r\n*0\r\n"), 0);
        cr_assert_str_eq(ranges, "0-5460 127.0.0.1:7000;5461-5461 [::1]:7001;9-10 asked:7002;");
        for (size_t i = 0; i < LENGTH_OF(bad); i++)
                cr_assert_eq(read_table(bad[i]), -EINVAL, "%s", bad[i]);
}

Test(redis_cluster, reads_redirections)
{
        static const struct {
                const char *text;
                enum redis_move move;
                unsigned slot;
                const char *to;
        } rows[] = {
                { "MOVED 3999 127.0.0.1:6381", REDIS_MOVED, 3999, "127.0.0.1:6381" },
                { "ASK 0 host.example:1", REDIS_ASK, 0, "host.example:1" },
                { "MOVED 16383 ::1:6381", REDIS_MOVED, 16383, "[::1]:6381" },
                { "MOVED 5 :6381", REDIS_MOVED, 5, "asked:6381" },
                { "CLUSTERDOWN The cluster is down", REDIS_DOWN, 0, NULL },
                { "CLUSTERDOWN Hash slot not served", REDIS_NO_MOVE, 0, NULL },
                { "TRYAGAIN Multiple keys request during rehashing of slot", REDIS_TRYAGAIN, 0, NULL },
                { "MOVED 16384 a:1", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 99999999999999999999 a:1", REDIS_NO_MOVE, 0, NULL },
                { "MOVED -1 a:1", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 1 a:65536", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 1 a:0", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 1 a:1x", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 1 a", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 1 ", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 1", REDIS_NO_MOVE, 0, NULL },
                { "MOVED ", REDIS_NO_MOVE, 0, NULL },
                { "MOVED 1 a b:1", REDIS_NO_MOVE, 0, NULL },
                { "ERR", REDIS_NO_MOVE, 0, NULL },
                { "", REDIS_NO_MOVE, 0, NULL },
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct redis_address from = { .host = "asked", .port = 1 }, to = { .port = 7 };
                char text[300];
                unsigned slot = 0;

                cr_assert_eq(redis_move_read(str(rows[i].text), &from, &slot, &to), rows[i].move, "%s", rows[i].text);
                cr_assert_eq(slot, rows[i].slot, "%s", rows[i].text);
                if (rows[i].to)
                        cr_assert_str_eq(redis_address_text(&to, text, sizeof text), rows[i].to);
                else
                        cr_assert_eq(to.port, 7, "untouched");
        }
}

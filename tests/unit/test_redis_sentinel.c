/* SPDX-License-Identifier: Apache-2.0 */
/* The client behind three real sentinels, a master and a replica: whoever dies, commands end in time, and the new master is found. */
#include "redis_fixture.h"

#include <signal.h>

#define LIMIT 50000 /* of a command under traffic */

static struct server data[2], sentinels[3];
TestSuite(redis_sentinel, .init = stand_begin, .fini = stand_end, .timeout = 60);

static void replicate(const char *pass)
{
        char port[12];

        (void)snprintf(port, sizeof port, "%u", data[0].port);
        if (pass) {
                SERVER_START_TCP(&data[1], "--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay", "0", "--requirepass", pass, "--masterauth", pass);
                return;
        }
        SERVER_START_TCP(&data[1], "--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay", "0");
}

static void watch(const char *extra)
{
        char lines[1024];

        for (int i = 0; i < 3; i++) {
                (void)snprintf(lines, sizeof lines, "sentinel monitor pm 127.0.0.1 %u 2\nsentinel down-after-milliseconds pm 500\n"
                               "sentinel failover-timeout pm 2000\n%s", data[0].port, extra);
                server_start_file(&sentinels[i], "--sentinel", lines);
        }
        /* all know one another and the replica */
        for (int i = 0; i < 3; i++) {
                char text[4096];
                const char *at;

                do {
                        (void)snprintf(text, sizeof text, "%s", server_say(&sentinels[i], "INFO sentinel"));
                        at = strstr(text, "slaves=1,sentinels=3");
                        if (!at)
                                usleep(20000);
                } while (!at);
        }
}

static void open_with(const char *first)
{
        const char *servers[] = { first ? first : sentinels[0].url, sentinels[1].url, sentinels[2].url };

        stand.config.mode = REDIS_SENTINEL;
        stand.config.master = "pm";
        stand.config.servers = servers;
        stand.config.n_servers = 3;
        stand_open(NULL);
        stand.config.servers = NULL;
}

static void begin(void)
{
        SERVER_START_TCP(&data[0], "--repl-diskless-sync-delay", "0");
        replicate(NULL);
        watch("");
}

static struct asked traffic;
static unsigned refused, ended[5];

static void traffic_turn(void)
{
        static int64_t sent;

        if (traffic.done || !sent) {
                if (traffic.done) {
                        ended[traffic.result]++;
                        cr_assert_lt(traffic.at_us - sent, LIMIT + SLACK, "a command has a limit");
                }
                sent = now_us();
                if (ask_set(&traffic, "k", "v", LIMIT) < 0)
                        refused++, traffic.done = 0, sent = 0;
        }
        turn();
}

/* One SET after another until it happens. */
#define TRAFFIC_UNTIL(condition)                                                                   \
        do {                                                                                       \
                int64_t limit_ = now_us() + 25000000;                                              \
                while (!(condition) && now_us() < limit_)                                          \
                        traffic_turn();                                                            \
                cr_assert(condition, "not within 25 s: %s", #condition);                           \
        } while (0)

Test(redis_sentinel, follows_when_the_master_dies)
{
        unsigned before;

        begin();
        open_with(NULL);
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > 100);
        cr_assert_gt(server_number(&data[0], "commandstats", "cmdstat_set:calls"), 100);
        server_kill(&data[0]);
        before = ended[REDIS_ANSWERED];
        TRAFFIC_UNTIL(STAT(failovers) == 1 && ended[REDIS_ANSWERED] > before + 100);
        cr_assert_eq(STAT(up), 1);
        cr_assert_str_eq(server_say(&data[1], "ROLE"), "master");
        cr_assert_gt(server_number(&data[1], "commandstats", "cmdstat_set:calls"), 100);
        cr_assert_eq(ended[REDIS_SAID_ERROR], 0);

        /* the old one comes back, first as a master that nobody named, then as a replica: nobody goes there */
        server_again(&data[0]);
        before = ended[REDIS_ANSWERED];
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > before + 500);
        cr_assert(strstr(server_say(&data[1], "CLIENT LIST"), " cmd=set "));
        redis_destroy(TAKE(stand.r));
        cr_assert_eq(STAT(up), 0);
}

Test(redis_sentinel, follows_when_the_master_is_changed_alive)
{
        unsigned before;

        begin();
        open_with(NULL);
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > 100);
        cr_assert_str_eq(server_say(&sentinels[1], "SENTINEL FAILOVER pm"), "OK");
        TRAFFIC_UNTIL(STAT(failovers) == 1);
        before = ended[REDIS_ANSWERED];
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > before + 100);
        cr_assert_str_eq(server_say(&data[1], "ROLE"), "master");
}

Test(redis_sentinel, follows_when_the_master_stands_still)
{
        unsigned before;

        begin();
        open_with(NULL);
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > 100);
        (void)kill(data[0].pid, SIGSTOP);
        TRAFFIC_UNTIL(STAT(failovers) == 1);
        before = ended[REDIS_ANSWERED];
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > before + 100);
        cr_assert_gt(ended[REDIS_LATE], 0);
        cr_assert_leq(ended[REDIS_LATE], 4);
}

Test(redis_sentinel, other_sentinels_are_asked_when_one_is_dead)
{
        char dead[40];
        unsigned before;

        begin();
        (void)snprintf(dead, sizeof dead, "127.0.0.1:%u", free_port());
        open_with(dead);
        UNTIL(redis_ready(stand.r));
        /* without any sentinel what stands goes on */
        for (int i = 0; i < 3; i++)
                server_kill(&sentinels[i]);
        before = ended[REDIS_ANSWERED];
        TRAFFIC_UNTIL(ended[REDIS_ANSWERED] > before + 200);
        cr_assert_eq(ended[REDIS_LOST] + ended[REDIS_LATE] + refused, 0);
}

Test(redis_sentinel, read_only_answer_makes_it_look_again)
{
        struct asked a;

        begin();
        open_with(NULL);
        UNTIL(redis_ready(stand.r));
        /* nobody has told the sentinels: they take it for a mistake and mend it in time */
        (void)server_say(&data[0], "REPLICAOF 127.0.0.1 %u", data[1].port);
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_SAID_ERROR, "%d", (int)a.result);
        cr_assert(strncmp(a.text, "READONLY", 8) == 0);
        cr_assert_not(redis_ready(stand.r));
        cr_assert_eq(ask_set(&a, "k", "v", SOON), -EAGAIN);
        (void)server_say(&data[0], "REPLICAOF NO ONE");
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "OK");
}

Test(redis_sentinel, passwords_of_both_kinds)
{
        struct asked a;

        SERVER_START_TCP(&data[0], "--repl-diskless-sync-delay", "0", "--requirepass", "secret", "--masterauth", "secret");
        cr_assert(strncmp(server_say(&data[0], "GET k"), "NOAUTH", 6) == 0);
        replicate("secret");
        for (int i = 0; i < 3; i++) {
                char lines[512];

                (void)snprintf(lines, sizeof lines, "sentinel monitor pm 127.0.0.1 %u 2\nsentinel auth-pass pm secret\nrequirepass watch\n"
                               "sentinel sentinel-pass watch\n", data[0].port);
                server_start_file(&sentinels[i], "--sentinel", lines);
        }
        stand.config.password = "secret";
        stand.config.database = 2;
        stand.config.sentinel_password = "wrong";
        open_with(NULL);
        for (int i = 0; i < 60; i++)
                turn();
        cr_assert_not(redis_ready(stand.r));
        redis_destroy(TAKE(stand.r));
        stand.config.sentinel_password = "watch";
        open_with(NULL);
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "OK");
}

Test(redis_sentinel, unknown_name)
{
        struct asked a;

        begin();
        open_with(NULL);
        redis_destroy(TAKE(stand.r)); /* before the loop has run */
        stand.config.master = "other";
        stand.config.n_servers = 1;
        stand_open(sentinels[0].url);
        for (int64_t until = now_us() + 500000; now_us() < until; turn())
                cr_assert_eq(ask_get(&a, "k", SOON), -EAGAIN);
        cr_assert_eq(STAT(connects), 0);
}

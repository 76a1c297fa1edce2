/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis client against servers that are killed, slow, full, closed to it, or lie. */
#include "redis_fixture.h"

#include <signal.h>

#include "redis_address.h"

static struct server server;
TestSuite(redis_trouble, .init = stand_begin, .fini = stand_end, .timeout = 60);

Test(redis_trouble, comes_back_after_kill_9)
{
        struct asked a[10];

        SERVER_START(&server);
        stand_ready(server.url);
        for (int round = 0; round < 3; round++) {
                int64_t before = now_us();

                (void)kill(server.pid, SIGSTOP);
                for (int i = 0; i < 10; i++)
                        cr_assert_eq(ask_get(&a[i], "k", SOON), 0);
                turn();
                server_kill(&server);
                UNTIL(a[9].done);
                for (int i = 0; i < 10; i++)
                        cr_assert_eq(a[i].result, REDIS_LOST);
                cr_assert_lt(now_us() - before, SLACK, "a lost connection is known at once");
                cr_assert_eq(ask_get(&a[0], "k", SOON), -EAGAIN);
                server_again(&server);
                UNTIL(redis_ready(stand.r));
                cr_assert_eq(ask_get(&a[0], "k", SOON), 0);
                UNTIL(a[0].done);
                cr_assert_eq(a[0].result, REDIS_NIL);
        }
        cr_assert_eq(STAT(connects), 4);
        cr_assert_eq(STAT(lost), 30);
        stand_close_clean();
}

Test(redis_trouble, absent_from_the_beginning)
{
        struct asked a;
        char url[40];
        int64_t until;

        (void)snprintf(url, sizeof url, "127.0.0.1:%u", free_port());
        stand_open(url);
        until = now_us() + 700000;
        while (now_us() < until) {
                cr_assert_eq(ask_get(&a, "k", SOON), -EAGAIN);
                turn();
        }
        /* 50, 100 ms, then the breaker's 300: with what chance adds three to five attempts, one opening */
        cr_assert_eq(STAT(openings), 1);
        cr_assert_eq(STAT(connects), 0);
        stand_close_clean();
}

Test(redis_trouble, slow_one_opens_the_breaker_and_closes_it_again)
{
        struct asked a;
        int64_t paused, sent;

        SERVER_START(&server);
        stand_ready(server.url);
        paused = now_us();
        (void)server_say(&server, "CLIENT PAUSE 1500 ALL");
        for (int i = 1; i <= 3; i++) {
                sent = now_us();
                cr_assert_eq(ask_get(&a, "k", 20000), 0, "%d", i);
                UNTIL(a.done);
                cr_assert_eq(a.result, REDIS_LATE);
                cr_assert(a.at_us - sent >= 20000 && a.at_us - sent < 20000 + SLACK, "%" PRId64 " us", a.at_us - sent);
        }
        cr_assert_eq(STAT(openings), 1);
        cr_assert_not(redis_ready(stand.r));
        /* until the pause is over, each probe fails and no command goes out */
        while (now_us() - paused < 1200000) {
                cr_assert_eq(ask_get(&a, "k", 20000), -EAGAIN);
                turn();
        }
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(STAT(openings), 1);
        cr_assert_eq(STAT(late), 3);

        /* half open: a single time-out closes the door again */
        (void)server_say(&server, "CLIENT PAUSE 300 ALL");
        cr_assert_eq(ask_get(&a, "k", 20000), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_LATE);
        cr_assert_not(redis_ready(stand.r));
        cr_assert_eq(STAT(openings), 2);
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_NIL);
        stand_close_clean();
}

Test(redis_trouble, hiccup_is_one_time_out_however_many_wait)
{
        struct asked a[50];

        SERVER_START(&server);
        stand_ready(server.url);
        (void)server_say(&server, "CLIENT PAUSE 100 ALL");
        for (int i = 0; i < 50; i++)
                cr_assert_eq(ask_get(&a[i], "k", 10000), 0);
        UNTIL(a[49].done);
        cr_assert_eq(a[49].result, REDIS_LATE);
        cr_assert(redis_ready(stand.r));
        UNTIL(STAT(ignored) == 50); /* the late replies, each to its own ticket */
        cr_assert_eq(STAT(late), 50);
        cr_assert_eq(STAT(openings), 0);
        cr_assert_eq(ask_get(&a[0], "k", SOON), 0);
        UNTIL(a[0].done);
        cr_assert_eq(a[0].result, REDIS_NIL);
        stand_close_clean();
}

Test(redis_trouble, limits_of_each_command_are_kept)
{
        struct asked a[6];
        static const int64_t limits[] = { 300000, 50000, 200000, 10000, 100000, 150000 };
        int64_t sent;

        SERVER_START(&server);
        stand.config.failures = 100;
        stand_ready(server.url);
        (void)server_say(&server, "CLIENT PAUSE 3000 ALL");
        sent = now_us();
        for (int i = 0; i < 6; i++)
                cr_assert_eq(ask_get(&a[i], "k", limits[i]), 0);
        UNTIL(a[0].done);
        for (int i = 0; i < 6; i++) {
                cr_assert_eq(a[i].result, REDIS_LATE);
                cr_assert(a[i].at_us - sent >= limits[i] && a[i].at_us - sent < limits[i] + SLACK, "%" PRId64 " us for %" PRId64,
                          a[i].at_us - sent, limits[i]);
                for (int j = 0; j < 6; j++)
                        cr_assert(limits[j] <= limits[i] || a[j].at_us >= a[i].at_us);
        }
        stand_close_clean();
}

Test(redis_trouble, full_one_still_reads)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "CONFIG SET maxmemory-policy noeviction maxmemory 1kb");
        stand_ready(server.url);
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_SAID_ERROR);
        cr_assert(strncmp(a.text, "OOM ", 4) == 0, "%s", a.text);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_NIL);
        cr_assert(redis_ready(stand.r));
        stand_close_clean();
}

Test(redis_trouble, read_only_one_still_reads)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "SET k v");
        (void)server_say(&server, "REPLICAOF 127.0.0.1 %u", free_port());
        stand_ready(server.url);
        cr_assert_eq(ask_set(&a, "k", "w", SOON), 0);
        UNTIL(a.done);
        cr_assert(strncmp(a.text, "READONLY", 8) == 0, "%s", a.text);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "v");
        stand_close_clean();
}

/* ---- who may ------------------------------------------------------------------------------------------------------------ */
static void never_ready(void)
{
        struct asked a;

        stand_open(fake.fd > 0 ? fake.url : server.url);
        UNTIL(STAT(openings) == 1);
        cr_assert_eq(STAT(connects), 0);
        cr_assert_eq(ask_get(&a, "k", SOON), -EAGAIN);
        redis_destroy(TAKE(stand.r));
}

Test(redis_trouble, password_is_told)
{
        struct asked a;

        SERVER_START(&server, "--requirepass", "secret");
        never_ready(); /* -NOAUTH to the probe */
        atomic_store(&stand.stats.openings, 0);
        stand.config.password = "wrong";
        never_ready();
        atomic_store(&stand.stats.openings, 0);
        stand.config.password = "secret";
        stand_ready(server.url);
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "OK");
        stand_close_clean();
}

Test(redis_trouble, user_with_few_rights_is_enough)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "ACL SETUSER gate on >pw ~pm:* +get +set");
        stand.config.user = "gate";
        stand.config.password = "pw";
        stand_ready(server.url); /* though PING is not among them */
        cr_assert_eq(ask_set(&a, "pm:k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "OK");
        cr_assert_eq(ask_get(&a, "other", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_SAID_ERROR);
        cr_assert(strncmp(a.text, "NOPERM", 6) == 0, "%s", a.text);
        stand_close_clean();
}

Test(redis_trouble, password_that_is_set_later)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "ACL SETUSER gate on >pw ~* +@all");
        stand.config.user = "gate";
        stand.config.password = "pw";
        stand_ready(server.url);
        (void)server_say(&server, "ACL DELUSER gate"); /* closes the connection */
        UNTIL(!redis_ready(stand.r));
        UNTIL(STAT(openings) == 1);
        (void)server_say(&server, "ACL SETUSER gate on >pw ~* +@all");
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_NIL);
        stand_close_clean();
}

Test(redis_trouble, names_are_resolved_on_the_loop)
{
        struct asked a;
        char url[64];

        SERVER_START_TCP(&server);
        (void)snprintf(url, sizeof url, "redis://localhost:%u", server.port);
        stand_open(url);
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        stand_close_clean();

        stand.config.connect_ms = 100;
        stand_open("no-such-host.invalid:6379");
        for (int i = 0; i < 30; i++) {
                int64_t before = now_us();

                turn();
                cr_assert_lt(now_us() - before, SLACK, "a name must not block the loop");
        }
        cr_assert_not(redis_ready(stand.r));
        redis_destroy(TAKE(stand.r)); /* with a lookup under way */
        turn();
}

/* ---- a server that lies ------------------------------------------------------------------------------------------------- */
Test(redis_trouble, nonsense_is_a_lost_connection)
{
        static const struct {
                const char *text;
                size_t n;
        } rows[] = {
#define ROW(t) { t, sizeof t - 1 }
                ROW("HTTP/1.1 400 Bad Request\r\n\r\n"),
                ROW("\0\0\0\0\r\n"),
                ROW("$1000000000\r\nabc\r\n+OK\r\n:1\r\n:2\r\n:3\r\n" "$1000000000000000000000\r\n"),
                ROW("*2147483647\r\n"),
                ROW("*4294967296\r\n:1\r\n"),
                ROW("*-7\r\n"),
                ROW("$-7\r\n"),
                ROW(":12a\r\n"),
                ROW("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"),
                ROW("+one\r\n+two\r\n+three\r\n"), /* more than was asked for */
                ROW("*100000\r\n:1\r\n"),
#undef ROW
        };

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                bool asked_for = i == 9, waits = i == 2;
                struct asked a;

                fake_start("+PONG\r\n", NULL, rows[i].text, rows[i].n);
                stand.config.failures = 1;
                stand.config.reply_max = 65536;
                stand_ready(server.url);
                /* a length within reason is waited for, and no more; the gigabyte gets no memory and so no answer in time */
                cr_assert_eq(ask_get(&a, "k", waits ? 30000 : SOON), 0, "%zu", i);
                UNTIL(a.done);
                cr_assert_eq(a.result, asked_for ? REDIS_ANSWERED : waits ? REDIS_LATE : REDIS_LOST, "%zu: %d", i, (int)a.result);
                UNTIL(!redis_ready(stand.r));
                stand_close_clean();
                fake_stop();
        }
}

Test(redis_trouble, endless_line_gets_no_memory)
{
        CLEANUP(free_p) char *line = malloc(200000);
        struct asked a;

        memset(line, '+', 200000);
        fake_start("+PONG\r\n", NULL, line, 200000);
        stand.config.reply_max = 65536;
        stand_ready(server.url);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_LOST);
        cr_assert_eq(STAT(oversized), 1);
        stand_close_clean();
        fake_stop();
}

Test(redis_trouble, loading_counts_as_down)
{
        static const char loading[] = "-LOADING Redis is loading the dataset in memory\r\n";
        struct asked a;

        fake_start(loading, NULL, NULL, 0);
        never_ready();
        fake_stop();

        /* and while it serves: as many in a row as time-outs */
        fake_start("+PONG\r\n", NULL, loading, sizeof loading - 1);
        atomic_store(&stand.stats.openings, 0);
        stand_ready(server.url);
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(ask_get(&a, "k", SOON), 0, "%d", i);
                UNTIL(a.done);
                cr_assert_eq(a.result, REDIS_SAID_ERROR);
        }
        cr_assert_not(redis_ready(stand.r));
        cr_assert_eq(STAT(openings), 1);
        stand_close_clean();
        fake_stop();
}

Test(redis_trouble, silence_after_connecting_ends)
{
        int64_t before = now_us();

        fake_start("", NULL, NULL, 0);
        stand.config.connect_ms = 100;
        stand.config.failures = 1;
        stand.config.open_ms = 60000;
        stand_open(fake.url);
        UNTIL(STAT(openings) == 1);
        cr_assert(now_us() - before >= 90000 && now_us() - before < 90000 + SLACK);
        stand_close_clean();
        fake_stop();
}

/* ---- words -------------------------------------------------------------------------------------------------------------- */
Test(redis_trouble, one_line_a_minute_and_one_when_it_is_back)
{
        char text[8192] = "";
        int lines = 0, saved = dup(2);
        FILE *log = tmpfile();
        size_t n;

        SERVER_START_TCP(&server);
        stand_ready(server.url);
        (void)dup2(fileno(log), 2);
        server_kill(&server);
        UNTIL(STAT(openings) == 1);
        for (int64_t until = now_us() + 700000; now_us() < until;)
                turn();
        server_again(&server);
        UNTIL(redis_ready(stand.r));
        (void)dup2(saved, 2);
        rewind(log);
        n = fread(text, 1, sizeof text - 1, log);
        text[n] = 0;
        (void)fclose(log);
        for (const char *p = text; (p = strstr(p, "level=warn")); p++)
                lines++;
        cr_assert_eq(lines, 1, "%s", text);
        cr_assert(strstr(text, "continuing without Redis"), "%s", text);
        cr_assert(strstr(text, "connected again"), "%s", text);
        stand_close_clean();
        (void)close(saved);
}

Test(redis_trouble, check_says_what_is_wrong)
{
        static const struct {
                const char *server, *says;
        } rows[] = {
                { "redis://127.0.0.1:6379", NULL },
                { "REDIS://Host.example", NULL },
                { "redis://127.0.0.1:6379/", NULL },
                { "cache:6380", NULL },
                { "[::1]:6379", NULL },
                { "[::1]", NULL },
                { "unix:/run/redis/redis.sock", NULL },
                { "rediss://cache:6379", "tunnel" },
                { "http://cache", "redis://host:port" },
                { "redis://user:pw@cache", "keys of their own" },
                { "redis://cache/3", "the database has a key of its own" },
                { "redis://cache?x=1", "nothing may follow" },
                { "cache:0", "1..65535" },
                { "cache:65536", "1..65535" },
                { "cache:", "1..65535" },
                { "cache:63 79", "1..65535" },
                { "::1", "must be in brackets" },
                { "[::1", "'[' without ']'" },
                { "[::1]6379", "after ']' only ':port'" },
                { "", "no host name" },
                { ":6379", "no host name" },
                { "ca che", "not a host name" },
                { "unix:relative", "begin with '/'" },
                { "unix:/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901", "at most 107" },
        };
        struct redis_config good = { .n_servers = 1, .connect_ms = 100, .failures = 3, .open_ms = 100, .waiting_max = 10, .reply_max = 4096 };
        const char *two[] = { "a", "b" };
        char why[256];

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct redis_config c = good;
                int rc;

                c.servers = &rows[i].server;
                why[0] = 0;
                rc = redis_check(&c, why, sizeof why);
                cr_assert_eq(rc, rows[i].says ? -EINVAL : 0, "%s: %s", rows[i].server, why);
                if (rows[i].says)
                        cr_assert(strstr(why, rows[i].says), "%s: %s", rows[i].server, why);
        }
        good.servers = two;
#define WRONG(text, ...)                                                                           \
        do {                                                                                       \
                struct redis_config c = good;                                                      \
                __VA_ARGS__;                                                                       \
                cr_assert_eq(redis_check(&c, why, sizeof why), -EINVAL, "%s", text);               \
                cr_assert(strstr(why, text), "%s", why);                                           \
        } while (0)
        WRONG("one server", c.n_servers = 2);
        WRONG("address is missing", c.n_servers = 0);
        WRONG("name of the master", c.mode = REDIS_SENTINEL);
        WRONG("only database 0", c.mode = REDIS_CLUSTER, c.database = 1);
        WRONG("a user without a password", c.user = "u");
        WRONG("to connect", c.connect_ms = 0);
        WRONG("under way", c.waiting_max = 0);
        WRONG("a reply of", c.reply_max = 10);
        WRONG("0 or more", c.database = -1);
        two[0] = "unix:/x";
        WRONG("host and port", c.mode = REDIS_CLUSTER);
}

Test(redis_trouble, addresses_of_other_servers)
{
        struct redis_address a = { 0 }, b = { 0 };
        char text[300];

        cr_assert_eq(redis_address_set(&a, str("fe80::1"), 6379), 0);
        cr_assert_str_eq(redis_address_text(&a, text, sizeof text), "[fe80::1]:6379");
        cr_assert_eq(redis_address_set(&b, str("Cache-1"), 1), 0);
        cr_assert_eq(redis_address_set(&a, str("cache-1"), 1), 0);
        cr_assert(redis_address_same(&a, &b));
        cr_assert_eq(redis_address_set(&a, str("cache-1"), 0), -EINVAL);
        cr_assert_eq(redis_address_set(&a, str("cache-1"), 65536), -EINVAL);
        cr_assert_eq(redis_address_set(&a, str(""), 1), -EINVAL);
        cr_assert_eq(redis_address_set(&a, str("a b"), 1), -EINVAL);
        cr_assert(redis_address_same(&a, &b), "untouched");
}

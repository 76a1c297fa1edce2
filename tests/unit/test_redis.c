/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis client against real servers that the test starts, and against one that lies. */
#include "redis_stand.h"

#include <signal.h>

#include "redis_address.h"

static struct server server;
TestSuite(redis, .init = stand_begin, .fini = stand_end, .timeout = 60);

static void open_ready(void)
{
        stand_open(fake.fd > 0 ? fake.url : server.url);
        UNTIL(redis_ready(stand.r));
}

/* Nothing is left behind: the gauge, the counters of what was sent. */
static void close_clean(void)
{
        redis_destroy(TAKE(stand.r));
        cr_assert_eq(STAT(up), 0);
}

/* ---- commands ----------------------------------------------------------------------------------------------------------- */
Test(redis, gets_and_sets)
{
        struct asked a, b;

        SERVER_START(&server);
        stand_open(server.url);
        cr_assert_eq(ask_get(&a, "k", SOON), -EAGAIN, "before the loop has run");
        cr_assert_eq(STAT(refused), 1);
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(STAT(up), 1);
        cr_assert_eq(STAT(connects), 1);
        cr_assert_eq(redis_rtt_us(stand.r), 0);

        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        cr_assert_neq(a.call.ticket, 0);
        cr_assert_eq(a.done, 0, "never from inside");
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_NIL);
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        cr_assert_eq(ask_get(&b, "k", SOON), 0);
        UNTIL(b.done);
        cr_assert_eq(a.done, 1);
        cr_assert_eq(a.result, REDIS_ANSWERED);
        cr_assert_str_eq(a.text, "OK");
        cr_assert_eq(b.result, REDIS_ANSWERED);
        cr_assert_str_eq(b.text, "v");
        cr_assert_gt(redis_rtt_us(stand.r), 0);
        cr_assert_eq(STAT(answered), 2);
        cr_assert_eq(STAT(nil), 1);
        close_clean();
}

Test(redis, takes_any_bytes)
{
        static const char key[] = "k\0\r\n\xff*3", value[] = "$1\r\n\0\xfe\x80";
        struct asked a = { .call.done = on_done };

        SERVER_START(&server);
        open_ready();
        cr_assert_eq(redis_set(stand.r, NULL, (struct pm_str){ key, sizeof key }, (struct pm_str){ value, sizeof value }, 0, SOON), 0);
        cr_assert_eq(redis_get(stand.r, &a.call, (struct pm_str){ key, sizeof key }, SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.n, sizeof value);
        cr_assert_arr_eq(a.text, value, sizeof value);
        UNTIL(STAT(answered) == 2); /* what nobody waited for is counted */

        cr_assert_eq(redis_set(stand.r, NULL, (struct pm_str){ NULL, 0 }, (struct pm_str){ NULL, 0 }, 0, SOON), 0);
        a.done = 0;
        cr_assert_eq(redis_get(stand.r, &a.call, (struct pm_str){ NULL, 0 }, SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_ANSWERED);
        cr_assert_eq(a.n, 0);
        close_clean();
}

Test(redis, carries_lists_and_numbers)
{
        struct asked a;

        SERVER_START(&server);
        open_ready();
        for (int i = 0; i < 5; i++)
                cr_assert_eq(ask_words(NULL, 1, SOON, "LPUSH list %d", i), 0);
        cr_assert_eq(ask_words(NULL, 1, SOON, "LTRIM list 0 2"), 0);
        cr_assert_eq(ask_words(NULL, 1, SOON, "EXPIRE list 100"), 0);
        cr_assert_eq(ask_words(&a, 1, SOON, "LRANGE list 0 -1"), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_ANSWERED);
        cr_assert_eq(a.n, 3);
        cr_assert_eq(ask_words(&a, 1, SOON, "TTL list"), 0);
        UNTIL(a.done);
        cr_assert(a.integer > 90 && a.integer <= 100);
        cr_assert_eq(ask_words(&a, 1, SOON, "GET list"), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_SAID_ERROR);
        cr_assert(strncmp(a.text, "WRONGTYPE", 9) == 0, "%s", a.text);
        cr_assert_eq(STAT(errors), 1);
        cr_assert(redis_ready(stand.r));
        close_clean();
}

Test(redis, sends_a_thousand_at_once)
{
        enum { N = 1000 };
        static struct asked set[N], get[N];
        char key[32];
        int64_t reads;

        SERVER_START(&server);
        open_ready();
        reads = server_number(&server, "stats", "total_reads_processed");
        for (int i = 0; i < N; i++) {
                (void)snprintf(key, sizeof key, "key:%d", i);
                cr_assert_eq(ask_set(&set[i], key, key, SOON), 0);
                cr_assert_eq(ask_get(&get[i], key, SOON), 0);
        }
        UNTIL(get[N - 1].done);
        for (int i = 0; i < N; i++) {
                (void)snprintf(key, sizeof key, "key:%d", i);
                cr_assert_eq(set[i].result, REDIS_ANSWERED);
                cr_assert_eq(get[i].done, 1);
                cr_assert_str_eq(get[i].text, key);
        }
        /* one write of ours is a few reads of the server's, 16 KiB each, and not two thousand */
        reads = server_number(&server, "stats", "total_reads_processed") - reads;
        cr_assert(reads < 30, "%" PRId64 " reads for 2000 commands", reads);
        close_clean();
}

Test(redis, values_expire)
{
        struct asked a;

        SERVER_START(&server);
        open_ready();
        cr_assert_eq(redis_set(stand.r, NULL, str("k"), str("v"), 60, SOON), 0);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_ANSWERED);
        do {
                cr_assert_eq(ask_get(&a, "k", SOON), 0);
                UNTIL(a.done);
        } while (a.result == REDIS_ANSWERED);
        cr_assert_eq(a.result, REDIS_NIL);
        close_clean();
}

Test(redis, uses_its_database)
{
        struct asked a;

        SERVER_START(&server);
        stand.config.database = 7;
        open_ready();
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert(strstr(server_say(&server, "INFO keyspace"), "db7:keys=1"));
        close_clean();
}

/* ---- limits of ours ----------------------------------------------------------------------------------------------------- */
Test(redis, bounds_what_is_under_way)
{
        struct asked a[5];

        SERVER_START(&server);
        stand.config.waiting_max = 4;
        open_ready();
        for (int i = 0; i < 4; i++)
                cr_assert_eq(ask_get(&a[i], "k", SOON), 0);
        cr_assert_eq(ask_get(&a[4], "k", SOON), -EBUSY);
        cr_assert_eq(a[4].call.ticket, 0);
        cr_assert_eq(STAT(busy), 1);
        UNTIL(a[3].done);
        cr_assert_eq(ask_get(&a[4], "k", SOON), 0);
        UNTIL(a[4].done);
        close_clean();
}

Test(redis, bounds_what_waits_to_be_written)
{
        const size_t big = 6 << 20;
        CLEANUP(free_p) char *value = calloc(1, big);
        struct asked a[3] = { { .call.done = on_done }, { .call.done = on_done }, { .call.done = on_done } };

        SERVER_START(&server);
        open_ready();
        for (int i = 0; i < 3; i++)
                cr_assert_eq(redis_set(stand.r, &a[i].call, str("k"), (struct pm_str){ value, big }, 0, SOON), i < 2 ? 0 : -EBUSY);
        UNTIL(a[0].done && a[1].done);
        cr_assert_eq(a[1].result, REDIS_ANSWERED);
        cr_assert_eq(a[2].done, 0);
        close_clean();
}

Test(redis, reply_that_is_too_long_costs_the_connection)
{
        struct asked a;

        SERVER_START(&server);
        stand.config.reply_max = 4096;
        open_ready();
        (void)server_say(&server, "SETRANGE big 100000 x");
        cr_assert_eq(ask_get(&a, "big", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_LOST);
        cr_assert_eq(STAT(oversized), 1);
        cr_assert_not(redis_ready(stand.r));
        UNTIL(redis_ready(stand.r));
        /* small on the wire, large in memory */
        for (int i = 0; i < 10; i++)
                (void)server_say(&server, "RPUSH list 1 2 3 4 5 6 7 8 9 0");
        cr_assert_eq(ask_words(&a, 1, SOON, "LRANGE list 0 -1"), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_LOST);
        cr_assert_eq(STAT(oversized), 2);
        close_clean();
}

Test(redis, cancelled_call_hears_nothing)
{
        struct asked a, b;
        CLEANUP(free_p) struct asked *gone = calloc(1, sizeof *gone);

        SERVER_START(&server);
        open_ready();
        (void)server_say(&server, "SET k v");
        cr_assert_eq(ask_get(gone, "k", SOON), 0);
        cr_assert_eq(ask_get(&a, "none", SOON), 0);
        redis_cancel(stand.r, &gone->call);
        cr_assert_eq(gone->call.ticket, 0);
        redis_cancel(stand.r, &gone->call); /* again: nothing */
        free(TAKE(gone));
        /* the slot is used again before the old reply comes */
        cr_assert_eq(ask_set(&b, "other", "o", SOON), 0);
        UNTIL(b.done);
        cr_assert_eq(a.result, REDIS_NIL);
        cr_assert_str_eq(b.text, "OK");
        cr_assert_eq(STAT(ignored), 1);
        close_clean();
}

static struct asked chain;
static unsigned chained;

static void ask_again(struct redis_call *c, enum redis_result result, const redisReply *reply)
{
        on_done(c, result, reply);
        if (++chained < 100)
                cr_assert_eq(redis_get(stand.r, c, str("k"), SOON), 0);
}

Test(redis, call_is_used_again_from_inside)
{
        SERVER_START(&server);
        open_ready();
        chain.call.done = ask_again;
        cr_assert_eq(redis_get(stand.r, &chain.call, str("k"), SOON), 0);
        UNTIL(chained == 100);
        cr_assert_eq(STAT(nil), 100);
        close_clean();
}

Test(redis, destroyed_with_calls_under_way)
{
        struct asked a[20];

        SERVER_START(&server);
        open_ready();
        for (int i = 0; i < 20; i++)
                cr_assert_eq(ask_get(&a[i], "k", SOON), 0);
        turn();
        for (int i = 10; i < 20; i++)
                a[i].done = 0, (void)ask_get(&a[i], "k", SOON);
        redis_destroy(TAKE(stand.r));
        for (int i = 0; i < 20; i++) {
                unsigned done = a[i].done;

                turn();
                cr_assert_eq(a[i].done, done);
        }
        cr_assert_eq(STAT(up), 0);
}

/* ---- all keys ----------------------------------------------------------------------------------------------------------- */
static struct {
        struct redis_scan scan;
        unsigned batches, ended, other;
        int result;
        unsigned cancel_at;
} all;

static void on_batch(struct redis_scan *s, const struct pm_str *keys, size_t n)
{
        all.batches++;
        for (size_t i = 0; i < n; i++)
                all.other += keys[i].n < 3 || memcmp(keys[i].p, "pm:", 3) != 0;
        if (all.batches == all.cancel_at)
                redis_scan_cancel(s);
}

static void on_end(struct redis_scan *s, int result)
{
        cr_assert_null(s->state);
        all.ended++;
        all.result = result;
}

static void scan_begin(const char *pattern, bool unlink)
{
        all.scan = (struct redis_scan){ .unlink = unlink, .batch = on_batch, .end = on_end };
        all.batches = all.ended = all.other = 0;
        cr_assert_eq(redis_scan(stand.r, &all.scan, str(pattern), SOON), 0);
        cr_assert_eq(all.batches + all.ended, 0, "never from inside");
}

static void fill(unsigned n)
{
        (void)server_say(&server, "EVAL %s 0 %u", "for i=1,ARGV[1] do redis.call('SET','pm:'..i,i) redis.call('SET','other:'..i,i) end return 1", n);
}

Test(redis, goes_through_all_keys_beside_others)
{
        struct asked a = { .done = 1 };
        unsigned asks = 0;

        SERVER_START(&server);
        open_ready();
        fill(5000);
        scan_begin("pm:*", false);
        while (!all.ended) {
                if (a.done) {
                        cr_assert_eq(ask_get(&a, "pm:1", SOON), 0);
                        asks++;
                }
                turn();
        }
        UNTIL(a.done);
        cr_assert_eq(all.result, 0);
        cr_assert_eq(all.scan.seen, 5000);
        cr_assert_eq(all.other, 0);
        cr_assert_gt(all.batches, 5);
        cr_assert_gt(asks, 5);
        cr_assert_eq(STAT(answered), asks, "the scan's own commands are not the owner's");

        scan_begin("pm:*", true);
        UNTIL(all.ended);
        cr_assert_eq(all.result, 0);
        cr_assert_eq(all.scan.removed, 5000);
        cr_assert_eq(all.scan.failed, 0);
        cr_assert_str_eq(server_say(&server, "DBSIZE"), "5000");

        /* none left, cancelled from inside, cancelled at once, cut */
        scan_begin("pm:*", true);
        UNTIL(all.ended);
        cr_assert_eq(all.scan.seen, 0);
        all.cancel_at = 2;
        scan_begin("*", false);
        UNTIL(all.batches == 2);
        scan_begin("*", false);
        redis_scan_cancel(&all.scan);
        for (int i = 0; i < 10; i++)
                turn();
        cr_assert_eq(all.batches + all.ended, 0);
        all.cancel_at = 0;
        scan_begin("*", false);
        UNTIL(all.batches == 1);
        server_kill(&server);
        UNTIL(all.ended);
        cr_assert(all.result == -EIO || all.result == -EAGAIN, "%d", all.result);
        scan_begin("*", false);
        UNTIL(all.ended);
        cr_assert_eq(all.result, -EAGAIN);
        close_clean();
}

/* ---- a Redis that is in trouble ----------------------------------------------------------------------------------------- */
Test(redis, comes_back_after_kill_9)
{
        struct asked a[10];

        SERVER_START(&server);
        open_ready();
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
        close_clean();
}

Test(redis, absent_from_the_beginning)
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
        close_clean();
}

Test(redis, slow_one_opens_the_breaker_and_closes_it_again)
{
        struct asked a;
        int64_t paused, sent;

        SERVER_START(&server);
        open_ready();
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
        close_clean();
}

Test(redis, hiccup_is_one_time_out_however_many_wait)
{
        struct asked a[50];

        SERVER_START(&server);
        open_ready();
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
        close_clean();
}

Test(redis, limits_of_each_command_are_kept)
{
        struct asked a[6];
        static const int64_t limits[] = { 300000, 50000, 200000, 10000, 100000, 150000 };
        int64_t sent;

        SERVER_START(&server);
        stand.config.failures = 100;
        open_ready();
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
        close_clean();
}

Test(redis, full_one_still_reads)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "CONFIG SET maxmemory-policy noeviction maxmemory 1kb");
        open_ready();
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_SAID_ERROR);
        cr_assert(strncmp(a.text, "OOM ", 4) == 0, "%s", a.text);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_NIL);
        cr_assert(redis_ready(stand.r));
        close_clean();
}

Test(redis, read_only_one_still_reads)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "SET k v");
        (void)server_say(&server, "REPLICAOF 127.0.0.1 %u", free_port());
        open_ready();
        cr_assert_eq(ask_set(&a, "k", "w", SOON), 0);
        UNTIL(a.done);
        cr_assert(strncmp(a.text, "READONLY", 8) == 0, "%s", a.text);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "v");
        close_clean();
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

Test(redis, password_is_told)
{
        struct asked a;

        SERVER_START(&server, "--requirepass", "secret");
        never_ready(); /* -NOAUTH to the probe */
        atomic_store(&stand.stats.openings, 0);
        stand.config.password = "wrong";
        never_ready();
        atomic_store(&stand.stats.openings, 0);
        stand.config.password = "secret";
        open_ready();
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "OK");
        close_clean();
}

Test(redis, user_with_few_rights_is_enough)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "ACL SETUSER gate on >pw ~pm:* +get +set");
        stand.config.user = "gate";
        stand.config.password = "pw";
        open_ready(); /* though PING is not among them */
        cr_assert_eq(ask_set(&a, "pm:k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert_str_eq(a.text, "OK");
        cr_assert_eq(ask_get(&a, "other", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_SAID_ERROR);
        cr_assert(strncmp(a.text, "NOPERM", 6) == 0, "%s", a.text);
        close_clean();
}

Test(redis, password_that_is_set_later)
{
        struct asked a;

        SERVER_START(&server);
        (void)server_say(&server, "ACL SETUSER gate on >pw ~* +@all");
        stand.config.user = "gate";
        stand.config.password = "pw";
        open_ready();
        (void)server_say(&server, "ACL DELUSER gate"); /* closes the connection */
        UNTIL(!redis_ready(stand.r));
        UNTIL(STAT(openings) == 1);
        (void)server_say(&server, "ACL SETUSER gate on >pw ~* +@all");
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_NIL);
        close_clean();
}

Test(redis, names_are_resolved_on_the_loop)
{
        struct asked a;
        char url[64];

        SERVER_START_TCP(&server);
        (void)snprintf(url, sizeof url, "redis://localhost:%u", server.port);
        stand_open(url);
        UNTIL(redis_ready(stand.r));
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        close_clean();

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
Test(redis, nonsense_is_a_lost_connection)
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
                open_ready();
                /* a length within reason is waited for, and no more; the gigabyte gets no memory and so no answer in time */
                cr_assert_eq(ask_get(&a, "k", waits ? 30000 : SOON), 0, "%zu", i);
                UNTIL(a.done);
                cr_assert_eq(a.result, asked_for ? REDIS_ANSWERED : waits ? REDIS_LATE : REDIS_LOST, "%zu: %d", i, (int)a.result);
                UNTIL(!redis_ready(stand.r));
                close_clean();
                fake_stop();
        }
}

Test(redis, endless_line_gets_no_memory)
{
        CLEANUP(free_p) char *line = malloc(200000);
        struct asked a;

        memset(line, '+', 200000);
        fake_start("+PONG\r\n", NULL, line, 200000);
        stand.config.reply_max = 65536;
        open_ready();
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_LOST);
        cr_assert_eq(STAT(oversized), 1);
        close_clean();
        fake_stop();
}

Test(redis, loading_counts_as_down)
{
        static const char loading[] = "-LOADING Redis is loading the dataset in memory\r\n";
        struct asked a;

        fake_start(loading, NULL, NULL, 0);
        never_ready();
        fake_stop();

        /* and while it serves: as many in a row as time-outs */
        fake_start("+PONG\r\n", NULL, loading, sizeof loading - 1);
        atomic_store(&stand.stats.openings, 0);
        open_ready();
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(ask_get(&a, "k", SOON), 0, "%d", i);
                UNTIL(a.done);
                cr_assert_eq(a.result, REDIS_SAID_ERROR);
        }
        cr_assert_not(redis_ready(stand.r));
        cr_assert_eq(STAT(openings), 1);
        close_clean();
        fake_stop();
}

Test(redis, silence_after_connecting_ends)
{
        int64_t before = now_us();

        fake_start("", NULL, NULL, 0);
        stand.config.connect_ms = 100;
        stand.config.failures = 1;
        stand.config.open_ms = 60000;
        stand_open(fake.url);
        UNTIL(STAT(openings) == 1);
        cr_assert(now_us() - before >= 90000 && now_us() - before < 90000 + SLACK);
        close_clean();
        fake_stop();
}

/* ---- words -------------------------------------------------------------------------------------------------------------- */
Test(redis, one_line_a_minute_and_one_when_it_is_back)
{
        char text[8192] = "";
        int lines = 0, saved = dup(2);
        FILE *log = tmpfile();
        size_t n;

        SERVER_START_TCP(&server);
        open_ready();
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
        cr_assert(strstr(text, "going on without it"), "%s", text);
        cr_assert(strstr(text, "is back"), "%s", text);
        close_clean();
        (void)close(saved);
}

Test(redis, check_says_what_is_wrong)
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
                { "::1", "in brackets" },
                { "[::1", "']' is missing" },
                { "[::1]6379", "1..65535" },
                { "", "missing" },
                { ":6379", "missing" },
                { "ca che", "characters" },
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

Test(redis, addresses_of_other_servers)
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

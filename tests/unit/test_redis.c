/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis client against real servers that the test starts, and against one that lies. */
#include "redis_fixture.h"

#include <signal.h>

#include "redis_address.h"

static struct server server;
TestSuite(redis, .init = stand_begin, .fini = stand_end, .timeout = 60);

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
        stand_close_clean();
}

Test(redis, takes_any_bytes)
{
        static const char key[] = "k\0\r\n\xff*3", value[] = "$1\r\n\0\xfe\x80";
        struct asked a = { .call.done = on_done };

        SERVER_START(&server);
        stand_ready(server.url);
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
        stand_close_clean();
}

Test(redis, carries_lists_and_numbers)
{
        struct asked a;

        SERVER_START(&server);
        stand_ready(server.url);
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
        stand_close_clean();
}

Test(redis, sends_a_thousand_at_once)
{
        enum { N = 1000 };
        static struct asked set[N], get[N];
        char key[32];
        int64_t reads;

        SERVER_START(&server);
        stand_ready(server.url);
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
        stand_close_clean();
}

Test(redis, values_expire)
{
        struct asked a;

        SERVER_START(&server);
        stand_ready(server.url);
        cr_assert_eq(redis_set(stand.r, NULL, str("k"), str("v"), 60, SOON), 0);
        cr_assert_eq(ask_get(&a, "k", SOON), 0);
        UNTIL(a.done);
        cr_assert_eq(a.result, REDIS_ANSWERED);
        do {
                cr_assert_eq(ask_get(&a, "k", SOON), 0);
                UNTIL(a.done);
        } while (a.result == REDIS_ANSWERED);
        cr_assert_eq(a.result, REDIS_NIL);
        stand_close_clean();
}

Test(redis, uses_its_database)
{
        struct asked a;

        SERVER_START(&server);
        stand.config.database = 7;
        stand_ready(server.url);
        cr_assert_eq(ask_set(&a, "k", "v", SOON), 0);
        UNTIL(a.done);
        cr_assert(strstr(server_say(&server, "INFO keyspace"), "db7:keys=1"));
        stand_close_clean();
}

/* ---- limits of ours ----------------------------------------------------------------------------------------------------- */
Test(redis, bounds_what_is_under_way)
{
        struct asked a[5];

        SERVER_START(&server);
        stand.config.waiting_max = 4;
        stand_ready(server.url);
        for (int i = 0; i < 4; i++)
                cr_assert_eq(ask_get(&a[i], "k", SOON), 0);
        cr_assert_eq(ask_get(&a[4], "k", SOON), -EBUSY);
        cr_assert_eq(a[4].call.ticket, 0);
        cr_assert_eq(STAT(busy), 1);
        UNTIL(a[3].done);
        cr_assert_eq(ask_get(&a[4], "k", SOON), 0);
        UNTIL(a[4].done);
        stand_close_clean();
}

Test(redis, bounds_what_waits_to_be_written)
{
        const size_t big = 6 << 20;
        CLEANUP(free_p) char *value = calloc(1, big);
        struct asked a[3] = { { .call.done = on_done }, { .call.done = on_done }, { .call.done = on_done } };

        SERVER_START(&server);
        stand_ready(server.url);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(redis_set(stand.r, &a[i].call, str("k"), (struct pm_str){ value, big }, 0, SOON), i < 2 ? 0 : -EBUSY);
        UNTIL(a[0].done && a[1].done);
        cr_assert_eq(a[1].result, REDIS_ANSWERED);
        cr_assert_eq(a[2].done, 0);
        stand_close_clean();
}

Test(redis, reply_that_is_too_long_costs_the_connection)
{
        struct asked a;

        SERVER_START(&server);
        stand.config.reply_max = 4096;
        stand_ready(server.url);
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
        stand_close_clean();
}

Test(redis, cancelled_call_hears_nothing)
{
        struct asked a, b;
        CLEANUP(free_p) struct asked *gone = calloc(1, sizeof *gone);

        SERVER_START(&server);
        stand_ready(server.url);
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
        stand_close_clean();
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
        stand_ready(server.url);
        chain.call.done = ask_again;
        cr_assert_eq(redis_get(stand.r, &chain.call, str("k"), SOON), 0);
        UNTIL(chained == 100);
        cr_assert_eq(STAT(nil), 100);
        stand_close_clean();
}

Test(redis, destroyed_with_calls_under_way)
{
        struct asked a[20];

        SERVER_START(&server);
        stand_ready(server.url);
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
        struct store_scan scan;
        unsigned batches, ended, other;
        int result;
        unsigned cancel_at;
} all;

static void on_batch(struct store_scan *s, const struct pm_str *keys, size_t n)
{
        all.batches++;
        for (size_t i = 0; i < n; i++)
                all.other += keys[i].n < 3 || memcmp(keys[i].p, "pm:", 3) != 0;
        if (all.batches == all.cancel_at)
                redis_scan_cancel(s);
}

static void on_end(struct store_scan *s, int result)
{
        cr_assert_null(s->state);
        all.ended++;
        all.result = result;
}

static void scan_begin(const char *pattern, bool unlink)
{
        all.scan = (struct store_scan){ .remove = unlink, .batch = on_batch, .end = on_end };
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
        stand_ready(server.url);
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
        stand_close_clean();
}

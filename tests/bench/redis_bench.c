/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_bench URL COUNT [DEPTH [refused]]: how long a GET of 200 bytes takes through our client, on one loop.
 *
 * DEPTH gets (1) are kept under way, each asked again from inside its answer.  Prints p50, p99 and commands a second.  With `refused`
 * nothing listens at URL, and COUNT refusals are timed.  redis.sh runs it, also under callgrind with two counts: their difference is
 * the price of a command without that of starting.
 */
#include <event2/event.h>
#include <hiredis/hiredis.h>

#include "redis.h"

#include "base.h"

#define DEPTH_MAX 1000

static struct get {
        struct redis_call call;
        int64_t at;
} calls[DEPTH_MAX];

static struct event_base *base;
static struct redis *r;
static const struct pm_str key = { "pm:bench", 8 };
static int64_t *took;
static size_t count, asked, answered, wrong;

static int64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return x < y ? -1 : x > y;
}

static void ask(struct get *g)
{
        g->at = now_ns();
        if (asked < count && redis_get(r, &g->call, key, 5000000) == 0)
                asked++;
}

static void on_get(struct redis_call *c, enum redis_result result, const struct redisReply *reply)
{
        struct get *g = CONTAINER_OF(c, struct get, call);

        took[answered++] = now_ns() - g->at;
        wrong += result != REDIS_ANSWERED || reply->len != 200;
        ask(g);
}

int main(int argc, char **argv)
{
        const char *servers[] = { argc > 1 ? argv[1] : "" };
        struct redis_config c = { .servers = servers, .n_servers = 1, .connect_ms = 1000, .failures = 5, .open_ms = 1000, .waiting_max = DEPTH_MAX + 1,
                                  .reply_max = 1 << 20 };
        size_t depth = argc > 3 ? (size_t)MIN(MAX(strtol(argv[3], NULL, 10), 1), DEPTH_MAX) : 1;
        bool refused = argc > 4;
        char value[200], why[256];
        int64_t begin;

        count = argc > 2 ? (size_t)MAX(strtol(argv[2], NULL, 10), 1) : 0;
        if (count == 0 || redis_check(&c, why, sizeof why) < 0) {
                (void)fprintf(stderr, "usage: redis_bench URL COUNT [DEPTH [refused]]\n");
                return 2;
        }
        base = event_base_new();
        took = calloc(count, sizeof *took);
        r = redis_create(base, NULL, &c, NULL);
        assert(took && r);
        memset(value, 'v', sizeof value);
        for (int64_t until = now_us() + (refused ? 50000 : 3000000); !redis_ready(r) && now_us() < until;)
                (void)event_base_loop(base, EVLOOP_ONCE);
        if (refused) {
                begin = now_ns();
                for (size_t i = 0; i < count; i++)
                        wrong += redis_get(r, &calls[0].call, key, 5000) != -EAGAIN;
                (void)printf("refused: %.1f ns each, %zu went out\n", (double)(now_ns() - begin) / (double)count, wrong);
                return wrong > 0;
        }
        if (!redis_ready(r)) {
                (void)fprintf(stderr, "redis_bench: no Redis at %s\n", servers[0]);
                return 1;
        }
        (void)redis_set(r, NULL, key, (struct pm_str){ value, sizeof value }, 0, 1000000);
        begin = now_ns();
        for (size_t i = 0; i < depth; i++) {
                calls[i].call.done = on_get;
                ask(&calls[i]);
        }
        while (answered < count)
                (void)event_base_loop(base, EVLOOP_ONCE);
        begin = now_ns() - begin;
        qsort(took, count, sizeof *took, by_value);
        (void)printf("%s depth %zu: p50 %.1f us, p99 %.1f us, %.0f a second, %zu wrong\n", servers[0], depth, (double)took[count / 2] / 1e3,
                     (double)took[count * 99 / 100] / 1e3, (double)count * 1e9 / (double)begin, wrong);
        redis_destroy(r);
        event_base_free(base);
        free(took);
        return wrong > 0;
}

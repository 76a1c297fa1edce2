/* SPDX-License-Identifier: Apache-2.0 */
/* What may be kept, looked up beside a Redis that says what it is told to, when it is let. */
#include "route_bench.h"

#include <signal.h>

#include "cache.h"
#include "lookup.h"
#include "peer.h"
#include "redis.h"

/* ---- a Redis ------------------------------------------------------------------------------------------------------------ */
static struct {
        struct peer *peer;
        atomic_bool held; /* what is asked for is not told yet */
        atomic_uint looked, told;
        char value[64];   /* of whatever key; written by the test before it is asked, by SET afterwards */
        size_t n;         /* 0: there is none */
} redis;

/* "$3\r\nGET\r\n", cut to what there is room for. */
static bool read_word(FILE *f, char *out, size_t room, size_t *ret_n)
{
        char line[32];
        size_t n;

        if (!fgets(line, sizeof line, f) || line[0] != '$')
                return false;
        n = strtoul(line + 1, NULL, 10) + 2;
        if (n > room || fread(out, 1, n, f) != n)
                return false;
        *ret_n = n - 2;
        out[n - 2] = 0;
        return true;
}

static bool reply_value(struct peer_conn *c)
{
        char head[32];

        atomic_fetch_add(&redis.looked, 1);
        for (int i = 0; i < 10000 && atomic_load(&redis.held); i++)
                peer_sleep(2);
        if (!redis.n)
                return peer_say(c, "$-1\r\n");
        (void)snprintf(head, sizeof head, "$%zu\r\n", redis.n);
        return peer_say(c, head) && peer_send(c, redis.value, redis.n) && peer_say(c, "\r\n");
}

static bool serve(struct peer_conn *c, FILE *f)
{
        char line[32], words[5][256];
        size_t n[5] = { 0 }, count;

        if (!fgets(line, sizeof line, f) || line[0] != '*')
                return false;
        count = strtoul(line + 1, NULL, 10);
        for (size_t i = 0; i < count; i++)
                if (i >= LENGTH_OF(words) || !read_word(f, words[i], sizeof words[i], &n[i]))
                        return false;
        if (strcmp(words[0], "GET") == 0)
                return reply_value(c);
        if (strcmp(words[0], "SET") != 0)
                return peer_say(c, "+PONG\r\n");
        redis.n = MIN(n[2], sizeof redis.value);
        memcpy(redis.value, words[2], redis.n);
        atomic_fetch_add(&redis.told, 1);
        return peer_say(c, "+OK\r\n");
}

static void play(struct peer_conn *c)
{
        FILE *f = fdopen(dup(c->fd), "r");

        while (f && serve(c, f))
                ;
        if (f)
                (void)fclose(f);
}

/* ---- lookups on the worker ---------------------------------------------------------------------------------------------- */
struct look {
        struct message go, done, gone;
        struct arena arena;
        struct lookup l;
        struct wake wake;
        sem_t ran;
        const char *gives;  /* what it computes */
        int64_t keep_ms;

        atomic_int state;
        atomic_uint woken;
        atomic_bool follows, computes; /* as lookup_follows() has it */
        char value[64];
};

#define WAIT_UNTIL(condition)                                                                      \
        do {                                                                                       \
                int64_t until_ = now_us() + 20000000;                                              \
                while (!(condition) && now_us() < until_)                                          \
                        (void)usleep(1000);                                                        \
                cr_assert(condition, "in time: %s", #condition);                                   \
        } while (0)

static void note(struct look *k, enum lookup_state state)
{
        bool computes = false;

        if (state == LOOKUP_FOUND)
                (void)snprintf(k->value, sizeof k->value, "%.*s", (int)k->l.value.n, k->l.value.p);
        atomic_store(&k->follows, lookup_follows(&k->l, &computes));
        atomic_store(&k->computes, computes);
        atomic_store(&k->state, (int)state);
}

static void on_woken(void *arg)
{
        struct look *k = arg;

        note(k, lookup_state(&k->l));
        atomic_fetch_add(&k->woken, 1);
}

static void begins(struct message *m, void *owner)
{
        struct look *k = CONTAINER_OF(m, struct look, go);
        struct worker *w = owner;

        arena_init(&k->arena, NULL, 1 << 20);
        k->wake = (struct wake){ .fn = on_woken, .arg = k };
        k->l = (struct lookup){ .worker = w, .arena = &k->arena, .owner = &k->wake, .of = CACHE_REPLIES, .redis_us = 10000000 };
        cache_sum_begin(w->cache);
        cache_sum_text(w->cache, (struct pm_str){ "text", 4 });
        if (!cache_sum_key(w->cache, &bench.generation, CACHE_KEY_REPLY, NULL, &bench.route, &k->arena, &k->l.key))
                abort();
        note(k, lookup_begin(&k->l));
        (void)sem_post(&k->ran);
}

static void has_computed(struct message *m, void *owner)
{
        struct look *k = CONTAINER_OF(m, struct look, done);

        (void)owner;
        lookup_done(&k->l, (struct pm_str){ k->gives, k->gives ? strlen(k->gives) : 0 }, k->keep_ms);
        (void)sem_post(&k->ran);
}

static void goes(struct message *m, void *owner)
{
        struct look *k = CONTAINER_OF(m, struct look, gone);

        (void)owner;
        lookup_cancel(&k->l);
        arena_finish(&k->arena);
        (void)sem_post(&k->ran);
}

static void tell(struct look *k, struct message *m, void (*deliver)(struct message *m, void *owner))
{
        m->deliver = deliver;
        inbox_post(&bench.w->inbox, m);
        while (sem_wait(&k->ran) < 0 && errno == EINTR)
                ;
}

static void look_begin(struct look *k)
{
        (void)sem_init(&k->ran, 0, 0);
        tell(k, &k->go, begins);
}

static void look_done(struct look *k, const char *gives, int64_t keep_ms)
{
        k->gives = gives;
        k->keep_ms = keep_ms;
        tell(k, &k->done, has_computed);
}

static void look_end(struct look *k)
{
        tell(k, &k->gone, goes);
        (void)sem_destroy(&k->ran);
}

static void begin(void)
{
        static char url[64];
        static const char *servers[] = { url };
        static struct cache_settings settings = { .vectors = 1 << 20, .redis = { .servers = { servers, 1 }, .timeout = 10000, .connect_time = 10000,
                .failures = 5, .open_time = 1000, .waiting = 1 << 20, .reply = 1 << 20, .prefix = "pm:" } };

        (void)signal(SIGPIPE, SIG_IGN);
        redis.peer = peer_start(PEER_TCP, play);
        (void)snprintf(url, sizeof url, "127.0.0.1:%u", redis.peer->port);
        bench_cache = &settings;
        bench_begin();
        WAIT_UNTIL(atomic_load(&cache_redis_stats()->up) == 1);
}

static void end(void)
{
        bench_end();
}

TestSuite(lookup, .init = begin, .fini = end, .timeout = 60);

/* ---- who waits for what ------------------------------------------------------------------------------------------------- */

#define STATE(k) ((enum lookup_state)atomic_load(&(k)->state))

Test(lookup, who_waits_is_told_when_redis_had_nothing)
{
        static struct look leader, one, other;

        atomic_store(&redis.held, true);
        look_begin(&leader);
        look_begin(&one);
        look_begin(&other);
        cr_assert(STATE(&leader) == LOOKUP_WAITS && !atomic_load(&leader.follows));
        cr_assert(atomic_load(&one.follows) && !atomic_load(&one.computes));
        atomic_store(&redis.held, false);
        WAIT_UNTIL(STATE(&leader) == LOOKUP_COMPUTE);
        WAIT_UNTIL(atomic_load(&one.woken) == 1 && atomic_load(&other.woken) == 1);
        cr_assert(STATE(&one) == LOOKUP_WAITS && atomic_load(&one.follows) && atomic_load(&one.computes), "and waits on");
        look_end(&other);
        look_done(&leader, "told", 60000);
        WAIT_UNTIL(STATE(&one) == LOOKUP_FOUND);
        cr_assert_str_eq(one.value, "told");
        WAIT_UNTIL(atomic_load(&redis.told) == 1);
        cr_assert_eq(atomic_load(&redis.looked), 1);
        cr_assert_eq(atomic_load(&other.woken), 1);
        look_end(&leader);
        look_end(&one);
}

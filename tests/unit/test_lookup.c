/* SPDX-License-Identifier: Apache-2.0 */
/* What may be kept, looked up beside a Redis that says what it is told to, when it is let. */
#include "routing_fixture.h"

#include <event2/buffer.h>
#include <openssl/sha.h>
#include <signal.h>

#include "cache.h"
#include "cache_store.h"
#include "lookup.h"
#include "peer.h"
#include "redis.h"

/* ---- a Redis ------------------------------------------------------------------------------------------------------------ */
static struct {
        struct peer *peer;
        atomic_bool held; /* what is asked for is not told yet */
        atomic_uint looked, told;
        pthread_mutex_t lock;
        struct kept_bytes {
                size_t n; /* 0: there is none */
                char p[64];
        } value;          /* of whatever key */
} redis = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct kept_bytes redis_value(void)
{
        struct kept_bytes v;

        (void)pthread_mutex_lock(&redis.lock);
        v = redis.value;
        (void)pthread_mutex_unlock(&redis.lock);
        return v;
}

static void redis_set_value(const char *p, size_t n)
{
        (void)pthread_mutex_lock(&redis.lock);
        redis.value.n = MIN(n, sizeof redis.value.p);
        memcpy(redis.value.p, p, redis.value.n);
        (void)pthread_mutex_unlock(&redis.lock);
}

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
        struct kept_bytes v;
        char head[32];

        atomic_fetch_add(&redis.looked, 1);
        for (int i = 0; i < 10000 && atomic_load(&redis.held); i++)
                peer_sleep(2);
        v = redis_value();
        if (!v.n)
                return peer_say(c, "$-1\r\n");
        (void)snprintf(head, sizeof head, "$%zu\r\n", v.n);
        return peer_say(c, head) && peer_send(c, v.p, v.n) && peer_say(c, "\r\n");
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
        redis_set_value(words[2], n[2]);
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
        atomic_bool computes; /* the one that it waits for */
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
        if (state == LOOKUP_FOUND)
                (void)snprintf(k->value, sizeof k->value, "%.*s", (int)k->l.value.n, k->l.value.p);
        atomic_store(&k->computes, lookup_leader_computes(&k->l));
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
        k->l = (struct lookup){ .loop = &w->loop, .cache = w->cache, .arena = &k->arena, .owner = &k->wake, .of = METRICS_CACHE_REPLIES, .store_us = 10000000 };
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
        inbox_post(&bench.w->loop.inbox, m);
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
        cr_assert(STATE(&leader) == LOOKUP_FETCHING);
        cr_assert(STATE(&one) == LOOKUP_JOINED && !atomic_load(&one.computes));
        atomic_store(&redis.held, false);
        WAIT_UNTIL(STATE(&leader) == LOOKUP_COMPUTE);
        WAIT_UNTIL(atomic_load(&one.woken) == 1 && atomic_load(&other.woken) == 1);
        cr_assert(STATE(&one) == LOOKUP_JOINED && atomic_load(&one.computes), "and waits on");
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

/* ---- what Redis has ----------------------------------------------------------------------------------------------------- */

enum { VERSION = 3, ANOTHERS = 100 };

/* A value with its head, of which Redis has the first `most` bytes.  ANOTHERS: all is good, but for another key. */
static void redis_has(int version, int64_t ends_ms, const char *value, size_t most)
{
        struct { uint64_t n; char text[4]; } summed = { 4, { 't', 'e', 'x', 't' } }; /* as begins() does */
        unsigned char digest[SHA256_DIGEST_LENGTH];
        char all[64];

        (void)SHA256((const unsigned char *)&summed, 12, digest);

        all[0] = (char)version;
        for (int i = 0; i < 8; i++)
                all[1 + i] = (char)((uint64_t)ends_ms >> 8 * i & 0xFF);
        memcpy(all + 9, digest, 8);
        all[9] ^= (char)(version == ANOTHERS);
        if (version == ANOTHERS)
                all[0] = VERSION;
        memcpy(all + 17, value, strlen(value));
        redis_set_value(all, MIN(17 + strlen(value), most));
}

static uint64_t counted(enum metrics_recall how)
{
        static const char *const names[] = { [METRICS_RECALL_LOCAL] = "local", [METRICS_RECALL_SHARED] = "shared", [METRICS_RECALL_MISS] = "miss", [METRICS_RECALL_STALE] = "stale",
                                             [METRICS_RECALL_FOREIGN] = "foreign" };
        struct evbuffer *out = evbuffer_new();
        char line[100];
        const char *at;
        uint64_t n;

        (void)snprintf(line, sizeof line, "pointsman_cache_lookups_total{cache=\"replies\",result=\"%s\"} ", names[how]);
        metrics_write(out, &(struct metrics_gauges){ .workers = 1 });
        (void)evbuffer_add(out, "", 1);
        at = strstr((const char *)evbuffer_pullup(out, -1), line);
        cr_assert_not_null(at);
        n = strtoull(at + strlen(line), NULL, 10);
        evbuffer_free(out);
        return n;
}

/* A lookup until the store has answered. */
static enum lookup_state look(char *value, size_t n)
{
        struct look k = { .state = 0 };
        enum lookup_state state;

        look_begin(&k);
        WAIT_UNTIL(STATE(&k) != LOOKUP_FETCHING);
        state = STATE(&k);
        look_end(&k);
        if (value)
                (void)snprintf(value, n, "%s", k.value);
        return state;
}

Test(lookup, what_redis_had_is_kept_here_as_long_as_there)
{
        char value[64];

        redis_has(VERSION, cache_now_ms() + 3000, "one", SIZE_MAX);
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(look(value, sizeof value), LOOKUP_FOUND);
                cr_assert_str_eq(value, "one");
        }
        cr_assert_eq(atomic_load(&redis.looked), 1);
        cr_assert(counted(METRICS_RECALL_SHARED) == 1 && counted(METRICS_RECALL_LOCAL) == 2);
        (void)usleep(3200000);
        cr_assert_eq(look(NULL, 0), LOOKUP_COMPUTE, "it has ended, in Redis too, whose clock may be late");
        cr_assert_eq(atomic_load(&redis.looked), 2);
        cr_assert_eq(counted(METRICS_RECALL_STALE), 1);
}

Test(lookup, what_was_computed_says_when_it_ends)
{
        static struct look k;
        struct kept_bytes v;
        char value[64];
        int64_t now = cache_now_ms();

        look_begin(&k);
        WAIT_UNTIL(STATE(&k) == LOOKUP_COMPUTE);
        look_done(&k, "computed", 600000);
        look_end(&k);
        WAIT_UNTIL(atomic_load(&redis.told) == 1);
        v = redis_value();
        cr_assert(v.n == 17 + 8 && v.p[0] == 3 && memcmp(v.p + 17, "computed", 8) == 0);
        for (int64_t i = 0, ends = 0; i < 8; i++) {
                ends |= (int64_t)(unsigned char)v.p[1 + i] << 8 * i;
                cr_assert(i < 7 || (ends >= now + 600000 && ends < now + 660000));
        }
        cr_assert_eq(look(value, sizeof value), LOOKUP_FOUND);
        cr_assert_str_eq(value, "computed");
        cr_assert_eq(atomic_load(&redis.looked), 1);
}

Test(lookup, what_is_foreign_is_passed_over)
{
        int64_t later = cache_now_ms() + 60000;

        redis_has(2, later, "another version", SIZE_MAX);
        cr_assert_eq(look(NULL, 0), LOOKUP_COMPUTE);
        redis_has(VERSION, later, "", SIZE_MAX);
        cr_assert_eq(look(NULL, 0), LOOKUP_COMPUTE);
        for (size_t most = 16; most > 0; most--) {
                redis_has(VERSION, later, "cut", most);
                cr_assert_eq(look(NULL, 0), LOOKUP_COMPUTE);
        }
        redis_has(ANOTHERS, later, "of another key", SIZE_MAX);
        cr_assert_eq(look(NULL, 0), LOOKUP_COMPUTE);
        cr_assert_eq(counted(METRICS_RECALL_FOREIGN), 19);
        redis_has(VERSION, -1, "long ago", SIZE_MAX);
        cr_assert_eq(look(NULL, 0), LOOKUP_COMPUTE);
        cr_assert_eq(counted(METRICS_RECALL_STALE), 1);
        redis_has(VERSION, later, "good", SIZE_MAX);
        cr_assert_eq(look(NULL, 0), LOOKUP_FOUND);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what Redis has, through a worker that asks a Redis of ours.  The first byte says as what: 'd' a decision, 'p' a pin, 'a' a
 * whole answer, 's' one that was a stream, 'v' a vector, 'r' an expert's reply to a router, 'h' a user's history (a length and so many
 * bytes, again and again).
 *
 * A value counts, or it is passed over as if it were not there; the client never gets an error for it, nor an expert that its route does
 * not have.  Each question is a new one, so that it is Redis that answers and not what was kept before.
 */
#include <ctype.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

#include "decision_codec.h"
#include "fixture.h"
#include "fixture_shop.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define TRIES_MAX 20000

/* ---- a Redis that knows one value ----------------------------------------------------------------------------------------- */

static struct {
        int fd;
        pthread_mutex_t lock;
        char kind;
        struct pm_str value;
} redis = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct words {
        struct pm_str word[8];
        size_t n;
};

/* "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n": what a line's number is; `at` goes behind the line.  -1: it is not all there. */
static long number(const char **at, const char *end)
{
        const char *stop = memchr(*at, '\n', (size_t)(end - *at));
        long v;

        if (!stop)
                return -1;
        v = strtol(*at + 1, NULL, 10);
        *at = stop + 1;
        return v;
}

/* One command; its length, or 0: it is not all there. */
static size_t command(const char *p, size_t n, struct words *ret)
{
        const char *at = p, *end = p + n;
        long words = n ? number(&at, end) : -1;

        ret->n = 0;
        for (long i = 0; i < words; i++) {
                long size = at < end ? number(&at, end) : -1;

                if (size < 0 || end - at < size + 2)
                        return 0;
                if (ret->n < LENGTH_OF(ret->word))
                        ret->word[ret->n++] = (struct pm_str){ at, (size_t)size };
                at += size + 2;
        }
        return words < 0 ? 0 : (size_t)(at - p);
}

static bool is(struct pm_str word, const char *text)
{
        return word.n == strlen(text) && strncasecmp(word.p, text, word.n) == 0;
}

/* The letter before the first '|' of a key. */
static char kind_of(struct pm_str key)
{
        const char *bar = memchr(key.p, '|', key.n);

        return bar && bar > key.p ? bar[-1] : 0;
}

static void say(int fd, const void *p, size_t n)
{
        (void)!send(fd, p, n, MSG_NOSIGNAL | MSG_MORE);
}

static void say_bulk(int fd, struct pm_str s)
{
        char head[32];

        say(fd, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", s.n));
        say(fd, s.p, s.n);
        say(fd, "\r\n", 2);
}

/* A value counts under its own key only, whose digest's begin it must have: what would be refused for that alone says nothing. */
static void say_value(int fd, struct pm_str key)
{
        static char copy[1 << 20];
        size_t at = redis.kind == 'd' || redis.kind == 'p' ? 1 + 8 + 4 + 1 : 1 + 8, n = MIN(redis.value.n, sizeof copy);
        uint64_t digest = decision_encoded_key(key);

        if (n > 0)
                memcpy(copy, redis.value.p, n);
        if (n >= at + sizeof digest)
                memcpy(copy + at, &digest, sizeof digest);
        say_bulk(fd, (struct pm_str){ copy, n });
}

static void say_list(int fd, struct pm_str v)
{
        struct pm_str item[64];
        char head[32];
        size_t n = 0;

        for (size_t at = 0; at < v.n && n < LENGTH_OF(item); n++) {
                size_t left = v.n - at - 1, size = MIN((size_t)(unsigned char)v.p[at], left);

                item[n] = (struct pm_str){ v.p + at + 1, size };
                at += 1 + size;
        }
        say(fd, head, (size_t)snprintf(head, sizeof head, "*%zu\r\n", n));
        for (size_t i = 0; i < n; i++)
                say_bulk(fd, item[i]);
}

static void answer(int fd, const struct words *w)
{
        bool get = w->n > 1 && is(w->word[0], "GET"), list = w->n > 1 && is(w->word[0], "LRANGE");

        (void)pthread_mutex_lock(&redis.lock);
        if (list && redis.kind == 'h')
                say_list(fd, redis.value);
        else if (get && kind_of(w->word[1]) == redis.kind)
                say_value(fd, w->word[1]);
        else if (get)
                say(fd, "$-1\r\n", 5);
        else if (list)
                say(fd, "*0\r\n", 4);
        else
                say(fd, "+OK\r\n", 5);
        (void)pthread_mutex_unlock(&redis.lock);
}

static void serve(int fd)
{
        static char in[1 << 20];
        size_t n = 0;
        ssize_t got;

        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        while ((got = recv(fd, in + n, sizeof in - n, 0)) > 0) {
                struct words w;
                size_t used, at = 0;

                n += (size_t)got;
                while (at < n && (used = command(in + at, n - at, &w)) > 0) {
                        answer(fd, &w);
                        at += used;
                }
                (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)); /* all that was held back with MSG_MORE */
                memmove(in, in + at, n - at);
                n -= at;
        }
        (void)close(fd);
}

static void *run(void *arg)
{
        int fd;

        while ((fd = accept4(redis.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                serve(fd);
        return arg;
}

static unsigned redis_start(void)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof a;
        pthread_t thread;

        redis.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert(redis.fd >= 0 && bind(redis.fd, (struct sockaddr *)&a, n) == 0 && listen(redis.fd, 8) == 0);
        assert(getsockname(redis.fd, (struct sockaddr *)&a, &n) == 0);
        assert(pthread_create(&thread, NULL, run, NULL) == 0 && pthread_detach(thread) == 0);
        return ntohs(a.sin_port);
}

static void redis_has(char kind, struct pm_str value)
{
        (void)pthread_mutex_lock(&redis.lock);
        redis.kind = kind;
        redis.value = value;
        (void)pthread_mutex_unlock(&redis.lock);
}

/* ---- a gateway that asks it ------------------------------------------------------------------------------------------------ */

static const char configuration[] =
        "{\"listen\": \"127.0.0.1:1\", \"workers\": 1, \"log\": {\"level\": \"error\", \"requests\": false}, \"plugin_dirs\": [\"%s\", \"%s\"],"
        "\"experts\": {\"one\": {\"endpoints\": \"http://127.0.0.1:2/v1\"}, \"two\": {\"endpoints\": \"http://127.0.0.1:3/v1\"},"
        " \"three\": {\"endpoints\": \"http://127.0.0.1:4/v1\", \"retries\": 0},"
        " \"secret\": {\"endpoints\": \"http://127.0.0.1:5/v1\", \"apis\": [\"chat\", \"embeddings\"], \"retries\": 0}},"
        "\"embedders\": {\"e\": {\"expert\": \"secret\", \"keep\": \"1h\"}},"
        "\"routers\": {\"shop\": {\"plugin\": \"interests\", \"index\": \"%s\", \"verify\": false},"
        " \"words\": {\"plugin\": \"rules\", \"rules\": [{\"keywords\": [\"zebra\"], \"expert\": \"two\"}]},"
        " \"vector\": {\"plugin\": \"uses_embed\", \"encoder\": \"e\", \"experts\": [\"one\", \"two\"]},"
        " \"reply\": {\"plugin\": \"uses_call\", \"ask\": \"secret\", \"keep_s\": 3600}},"
        "\"routes\": {\"d\": {\"routers\": [\"words\"], \"experts\": [\"one\", \"two\"], \"cache\": {\"decisions\": \"shared\", \"pin\": \"0s\"}},"
        " \"p\": {\"routers\": [\"words\"], \"experts\": [\"one\", \"two\"], \"cache\": {\"decisions\": \"off\", \"pin\": \"30m\"}},"
        " \"a\": {\"routers\": [\"words\"], \"experts\": [\"three\"], \"cache\": {\"decisions\": \"off\", \"pin\": \"0s\", \"answers\": \"1h\"}},"
        " \"v\": {\"routers\": [\"vector\"], \"experts\": [\"one\", \"two\"], \"deadline\": \"20s\", \"cache\": {\"decisions\": \"off\", \"pin\": \"0s\"}},"
        " \"r\": {\"routers\": [\"reply\"], \"experts\": [\"one\", \"two\"], \"deadline\": \"20s\", \"cache\": {\"decisions\": \"off\", \"pin\": \"0s\"}},"
        " \"h\": {\"routers\": [\"shop\"], \"deadline\": \"20s\"}},"
        "\"feedback\": {\"keep\": 5}, \"cache\": {\"memory\": \"64KiB\", \"answers\": \"64KiB\", \"pins\": \"64KiB\", \"vectors\": \"64KiB\","
        " \"redis\": {\"servers\": [\"redis://127.0.0.1:%u\"], \"timeout\": \"900ms\", \"failures\": 1000}}}";

/* Asks something new of that kind. */
static int ask(char kind, struct pm_str *ret)
{
        static unsigned long turn;
        char body[256], header[64];
        int n;

        turn++;
        (void)snprintf(header, sizeof header, "x-session-id: %lu\r\n", turn);
        if (kind == 'h')
                n = snprintf(body, sizeof body, "{\"model\": \"h\", \"user\": \"u%lu\", \"seen\": \"keep\"}", turn);
        else if (kind == 'a' || kind == 's')
                n = snprintf(body, sizeof body, "{\"model\": \"a\", \"temperature\": 0, \"stream\": %s, \"messages\": [{\"role\": \"user\", \"content\": \"%lu\"}]}",
                             kind == 's' ? "true" : "false", turn);
        else
                n = snprintf(body, sizeof body, "{\"model\": \"%c\", \"input\": \"%lu\"}", kind, turn);
        return stand_post(kind == 'h' ? "/v1/recommend" : kind == 'a' || kind == 's' ? "/v1/chat/completions" : "/v1/route", header,
                          (struct pm_str){ body, (size_t)n }, ret);
}

/* Its decision, as a kept one.  True: it came from Redis. */
static bool check_decision(struct pm_str answer, struct pm_str value)
{
        json_t *o = json_loadb(answer.p, answer.n, JSON_REJECT_DUPLICATES, NULL);
        const char *expert = json_string_value(json_object_get(o, "expert")), *how = json_string_value(json_object_get(o, "decision"));
        bool shared = how && (strcmp(how, "cached-shared") == 0 || strcmp(how, "pinned") == 0);
        struct cached_decision k;

        assert(expert && how && (strcmp(expert, "one") == 0 || strcmp(expert, "two") == 0));
        if (shared) /* and nothing but what it says */
                assert(decision_decode(value, &k) == 0 && k.expert.n == strlen(expert) && memcmp(k.expert.p, expert, k.expert.n) == 0);
        json_decref(o);
        return shared;
}

static void check(char kind, int status, struct pm_str answer, struct pm_str value)
{
        json_t *o;

        if (kind == 'd' || kind == 'p' || kind == 'v' || kind == 'r') {
                assert(status == 200);
                (void)check_decision(answer, value);
        } else if (status == 200 && (kind == 'a' || kind == 's')) {
                assert(answer.n > 0 && answer.n <= value.n && memcmp(value.p + value.n - answer.n, answer.p, answer.n) == 0);
        } else {
                assert(kind == 'h' ? status == 200 : status == 502 || status == 503); /* nobody is there but Redis */
                o = json_loadb(answer.p, answer.n, JSON_REJECT_DUPLICATES, NULL);
                assert(json_is_object(o));
                json_decref(o);
        }
}

/* Redis is connected to while the worker runs: it is there when it has decided something. */
static void begin(void)
{
        static char text[8192];
        unsigned char value[64];
        struct cached_decision k = { .ends_ms = INT64_MAX, .expert = { "two", 3 } };
        struct pm_str kept = { (char *)value, decision_encoded_size(&k) }, answer;
        int n;

        shop_write();
        n = snprintf(text, sizeof text, configuration, ROUTERS, TEST_ROUTERS, stand_folder(), redis_start());
        assert(n > 0 && (size_t)n < sizeof text && kept.n <= sizeof value);
        stand_open(text);
        decision_encode(&k, value);
        redis_has('d', kept);
        for (int tries = 0;; tries++) {
                assert(tries < TRIES_MAX && ask('d', &answer) == 200);
                if (check_decision(answer, kept))
                        return;
                (void)usleep(1000);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static bool begun;
        struct pm_str value = { (const char *)data + 1, n - 1 }, answer;
        char kind = n > 0 ? (char)data[0] : 0;
        int status;

        if (!begun)
                begin();
        begun = true;
        if (!kind || !strchr("dpasvrh", kind))
                return 0;
        redis_has(kind == 's' ? 'a' : kind, value);
        status = ask(kind, &answer);
        check(kind, status, answer, value);
        redis_has(0, (struct pm_str){ NULL, 0 });
        return 0;
}

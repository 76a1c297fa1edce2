/* SPDX-License-Identifier: Apache-2.0 */
#include "request_fixture.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "cache.h"
#include "callout.h"
#include "event_log.h"
#include "limiter.h"
#include "log.h"
#include "options.h"
#include "paths.h"
#include "pool.h"
#include "settings.h"
#include "shared_cache.h"

/* ---- experts ------------------------------------------------------------------------------------------------------------- */

enum { SCRIPT_MAX = 16 };

struct line {
        char *bytes, *more;
        size_t n, more_n;
        enum mock_then then;
        unsigned times; /* that `more` is said */
};

static struct player {
        struct peer *peer;
        struct line script[SCRIPT_MAX];
        _Atomic unsigned n, at, let; /* let: so many pauses are over */
        unsigned pauses;
} players[MOCKS];

static struct player *player_of(const struct peer_conn *c)
{
        for (;;)
                for (size_t i = 0; i < MOCKS; i++)
                        if (players[i].peer == c->peer)
                                return &players[i];
}

static void play(struct peer_conn *c)
{
        struct player *p = player_of(c);

        while (peer_take(c)) {
                unsigned n = atomic_load(&p->n), at = atomic_fetch_add(&p->at, 1);
                const struct line *l = &p->script[n ? MIN(at, n - 1) : 0];

                if (n == 0 || !peer_send(c, l->bytes, l->n))
                        return;
                for (unsigned i = 0; i < l->times; i++) {
                        for (unsigned want = ++p->pauses; atomic_load(&p->let) < want;)
                                peer_sleep(1);
                        if (!peer_send(c, l->more, l->more_n))
                                return;
                }
                if (l->then == THEN_HANG)
                        peer_wait_end(c);
                if (l->then == THEN_RESET)
                        peer_reset(c);
                if (l->then != THEN_NEXT)
                        return;
        }
}

static void script(enum mock m, struct line l)
{
        struct player *p = &players[m];
        unsigned n = atomic_load(&p->n);

        cr_assert_lt(n, (unsigned)SCRIPT_MAX);
        p->script[n] = l;
        atomic_store(&p->n, n + 1);
}

void mock_raw(enum mock m, enum mock_then then, const char *bytes, size_t n)
{
        char *copy = malloc(n + 1);

        script(m, (struct line){ .bytes = memcpy(copy, bytes, n), .n = n, .then = then });
}

void mock_says(enum mock m, const char *status, const char *headers, const char *body)
{
        struct line l = { .then = THEN_NEXT };
        int n = asprintf(&l.bytes, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s", status, strlen(body), headers, body);

        l.n = (size_t)n;
        script(m, l);
}

static size_t chunked(char **out, const char *head, const char *events, bool ends)
{
        size_t n = strlen(events);
        int all = n ? asprintf(out, "%s%zx\r\n%s\r\n%s", head, n, events, ends ? "0\r\n\r\n" : "") : asprintf(out, "%s%s", head, ends ? "0\r\n\r\n" : "");

        return (size_t)all;
}

static const char stream_head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

void mock_streams(enum mock m, enum mock_then then, const char *events)
{
        struct line l = { .then = then };

        l.n = chunked(&l.bytes, stream_head, events, then == THEN_NEXT);
        script(m, l);
}

void mock_pauses(enum mock m, enum mock_then then, const char *events, const char *more)
{
        struct line l = { .then = then, .times = 1 };

        l.n = chunked(&l.bytes, stream_head, events, false);
        l.more_n = chunked(&l.more, "", more, then == THEN_NEXT);
        script(m, l);
}

void mock_trickles(enum mock m, const char *events, const char *more, unsigned times)
{
        struct line l = { .then = THEN_HANG, .times = times };

        l.n = chunked(&l.bytes, stream_head, events, false);
        l.more_n = chunked(&l.more, "", more, false);
        script(m, l);
}

void mock_go_on(enum mock m)
{
        atomic_fetch_add(&players[m].let, 1);
}

unsigned mock_asked(enum mock m)
{
        return atomic_load(&players[m].peer->requests);
}

bool mock_was_asked(enum mock m, const char *text)
{
        return peer_was_asked(players[m].peer, text);
}

/* ---- memory that lives as long as the front ------------------------------------------------------------------------------ */

static void *kept[1024];
static size_t n_kept;

static size_t keep(void *p)
{
        cr_assert_lt(n_kept, LENGTH_OF(kept));
        kept[n_kept] = p;
        return n_kept++;
}

char *front_text(const char *fmt, ...)
{
        va_list args;
        char *text;

        va_start(args, fmt);
        cr_assert_geq(vasprintf(&text, fmt, args), 0);
        va_end(args);
        (void)keep(text);
        return text;
}

/* ---- the gateway --------------------------------------------------------------------------------------------------------- */

struct front front;
static struct event *beat;
static int log_fd = -1;

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what, (void)arg;
        (void)loop_clock(&front.worker.loop, now_us());
}

static void put_built(const char *variable, const char *name)
{
        char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        char *slash;

        cr_assert_gt(n, 0);
        path[n] = '\0';
        slash = strrchr(path, '/');
        (void)snprintf(slash, sizeof path - (size_t)(slash - path), "/../../%s", name);
        (void)setenv(variable, path, 1);
}

static struct generation *load(const char *yaml)
{
        char name[] = "/tmp/pm-test-request.XXXXXX";
        struct problems *p = problems_create(50);
        struct generation *g = NULL;
        int fd = mkstemp(name);

        cr_assert(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
        (void)close(fd);
        cr_assert_eq(generation_load(name, 1, p, &g), 0, "%s", problems_text(p));
        (void)unlink(name);
        problems_destroy(p);
        return g;
}

static int listen_somewhere(void)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof a;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 64) == 0);
        cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
        front.port = ntohs(a.sin_port);
        return fd;
}

static void worker_begin(struct worker *w)
{
        static const struct timeval often = { 0, 2000 };

        w->generation = generation_take(front.g);
        w->pool = pool_create(1);
        w->apis = paths_all(&w->n_apis);
        w->limiter = &limiter_in_flight;
        cr_assert_eq(loop_init(&w->loop, 0, NULL, w), 0);
        w->upstream = upstream_create(&w->loop);
        w->cache = cache_create(&w->loop, front.g);
        w->event_log = event_log_create(w->loop.base);
        w->callouts = callouts_create(w);
        cr_assert(w->pool && w->upstream && w->cache && w->event_log && w->callouts);
        beat = event_new(w->loop.base, -1, EV_PERSIST, on_beat, NULL);
        cr_assert_eq(event_add(beat, &often), 0);
}

void front_begin(const char *yaml)
{
        static const char *const variables[MOCKS] = { "ALPHA", "BETA", "GAMMA" };
        struct http_setup setup = { .handler = &request_handler, .owner = &front.worker, .n = 1 };
        const char *why = NULL;
        int fd;

        (void)signal(SIGPIPE, SIG_IGN);
        log_setup(PM_DEBUG, LOG_LOGFMT);
        for (size_t i = 0; i < MOCKS; i++) {
                char url[64];

                players[i].peer = peer_start(PEER_TCP, play);
                cr_assert(players[i].peer);
                (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", players[i].peer->port);
                (void)setenv(variables[i], url, 1);
        }
        put_built("DECIDER", "tests/routers/uses_reads.so");
        put_built("ITEMS", "tests/routers/uses_candidates.so");
        front.g = load(yaml);
        cr_assert_eq(shared_cache_bound(SHARED_CACHE_PINS, (size_t)front.g->cache->pins), 0);
        cr_assert_eq(shared_cache_bound(SHARED_CACHE_STATES, (size_t)front.g->cache->responses), 0);
        cr_assert_eq(shared_cache_bound(SHARED_CACHE_HISTORIES, (size_t)front.g->feedback->memory), 0);
        worker_begin(&front.worker);
        fd = listen_somewhere();
        setup.limits = &front.g->limits;
        setup.listeners = front.g->listeners;
        setup.fds = &fd;
        front.http = http_create(&front.worker.loop, &setup, &why);
        cr_assert(front.http, "%s", why);
        log_fd = memfd_create("log", MFD_CLOEXEC);
        cr_assert(log_fd >= 0 && dup2(log_fd, STDERR_FILENO) >= 0);
}

/* Nothing is left behind: no request holds the generation, no endpoint is reserved. */
void front_end(void)
{
        struct worker *w = &front.worker;

        http_destroy(TAKE(front.http));
        loop_run_woken(&w->loop);
        pool_destroy(w->pool);
        loop_finish_inbox(&w->loop);
        callouts_destroy(w->callouts);
        upstream_destroy(w->upstream);
        cache_destroy(w->cache);
        event_log_destroy(w->event_log);
        event_free(beat);
        for (size_t i = 0; i < front.g->n_experts; i++) {
                const struct expert *e = front.g->experts[i];

                cr_assert_eq(atomic_load(&e->state->in_flight), 0, "%s", e->name);
                for (size_t k = 0; k < e->n_endpoints; k++)
                        cr_assert_eq(atomic_load(&e->endpoints[k]->state->in_flight), 0, "%s", e->name);
        }
        cr_assert_eq(atomic_load(&front.g->holders), 2, "some request is still there");
        generation_release(w->generation);
        loop_finish(&w->loop);
        generation_release(front.g);
        while (n_kept > 0)
                free(kept[--n_kept]);
}

void front_turn(void)
{
        (void)event_base_loop(front.worker.loop.base, EVLOOP_ONCE);
}

void front_turn_ms(int ms)
{
        for (int64_t end = now_us() + ms * INT64_C(1000); now_us() < end;)
                front_turn();
}

const char *front_log(void)
{
        static char text[1 << 16];
        static off_t read_to;
        ssize_t n;

        log_buffer_flush(front.worker.loop.log);
        n = pread(log_fd, text, sizeof text - 1, read_to);
        text[MAX(n, 0)] = '\0';
        read_to += MAX(n, 0);
        return text;
}

double front_metric(const char *series)
{
        struct evbuffer *out = evbuffer_new();
        char *line;
        double v = 0;

        metrics_write(out, &(struct metrics_gauges){ 0 });
        for (size_t n = strlen(series); (line = evbuffer_readln(out, NULL, EVBUFFER_EOL_LF)); free(line))
                if (strncmp(line, series, n) == 0 && line[n] == ' ')
                        v = strtod(line + n, NULL);
        evbuffer_free(out);
        return v;
}

/* ---- clients ------------------------------------------------------------------------------------------------------------- */

static void send_all(const struct client *c, const char *text, size_t n)
{
        for (size_t at = 0; at < n;) {
                ssize_t r = send(c->fd, text + at, n - at, MSG_NOSIGNAL);

                at += (size_t)MAX(r, 0);
                if (at < n)
                        front_turn();
        }
}

struct client client_says(const char *text)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(front.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct client c = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .slot = keep(NULL) };

        cr_assert(c.fd >= 0 && connect(c.fd, (struct sockaddr *)&a, sizeof a) == 0);
        (void)fcntl(c.fd, F_SETFL, O_NONBLOCK);
        send_all(&c, text, strlen(text));
        return c;
}

struct client client_asks(const char *path, const char *headers, const char *body)
{
        struct client c;
        char *text;
        int n;

        if (body)
                n = asprintf(&text, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n%s", path, strlen(body), headers, body);
        else
                n = asprintf(&text, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", path, headers);
        cr_assert_gt(n, 0);
        c = client_says(text);
        free(text);
        return c;
}

void client_hears(struct client *c)
{
        for (;;) {
                ssize_t r;

                if (c->room - c->n < 65536)
                        kept[c->slot] = c->got = realloc(c->got, c->room = MAX(2 * c->room, (size_t)1 << 18));
                r = recv(c->fd, c->got + c->n, c->room - c->n - 1, 0);
                if (r <= 0) {
                        c->eof = c->eof || r == 0 || errno != EAGAIN;
                        c->got[c->n] = '\0';
                        return;
                }
                c->n += (size_t)r;
        }
}

/* The chunks become one. */
static void unchunk(struct client *c, char *body)
{
        char *in = body, *out = body, *end = c->got + c->n;

        for (;;) {
                char *line = memmem(in, (size_t)(end - in), "\r\n", 2);
                size_t n = line ? strtoul(in, NULL, 16) : 0;

                if (!line || line + 2 + n + 2 > end)
                        break;
                if (n == 0) {
                        c->whole = true;
                        break;
                }
                memmove(out, line + 2, n);
                out += n;
                in = line + 2 + n + 2;
        }
        *out = '\0';
}

void client_waits(struct client *c)
{
        int64_t until = now_us() + 20000000;
        const char *length;
        char *end;

        while (!c->eof) {
                cr_assert_lt(now_us(), until, "it does not end: %s", c->got ? c->got : "");
                front_turn();
                client_hears(c);
        }
        (void)close(c->fd);
        end = strstr(c->got, "\r\n\r\n");
        cr_assert(end, "no answer: '%s'", c->got);
        end[2] = '\0';
        c->head = c->got;
        c->body = end + 4;
        c->status = (int)strtol(c->got + 9, NULL, 10);
        if (strcasestr(c->head, "transfer-encoding: chunked"))
                unchunk(c, end + 4);
        else if ((length = strcasestr(c->head, "content-length: ")))
                c->whole = c->n - (size_t)(c->body - c->got) == strtoul(length + 16, NULL, 10);
}

void client_leaves(struct client *c)
{
        (void)close(c->fd);
}

struct client ask(const char *path, const char *headers, const char *body)
{
        struct client c = client_asks(path, headers, body);

        client_waits(&c);
        return c;
}

const char *header(const struct client *c, const char *name)
{
        static char value[1024];
        size_t n = strlen(name);

        for (const char *line = c->head; (line = strstr(line, "\r\n"));) {
                line += 2;
                if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
                        line += n + 1 + strspn(line + n + 1, " ");
                        (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(line, "\r"), line);
                        return value;
                }
        }
        return NULL;
}

bool says(const struct client *c, const char *text)
{
        return strstr(c->body, text) != NULL;
}

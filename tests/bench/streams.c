/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.c - bench-load: so many requests at such a concurrency, streamed or not, each answer checked.
 *
 * wrk measures speed but reads no streams; this counts what came. One thread on libevent; each connection sends its next request when
 * the answer to the last has ended. Every answer must be whole: status 200, and in a stream [DONE] as the last event and as many
 * events with content as were told to be expected. Prints one JSON object; the exit status is 1 if any answer was not right.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <getopt.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base.h"

struct client {
        struct bufferevent *bev;
        http_parser parser;
        bool busy, headers, done;
        long events;
        int64_t sent_at, first_at, last_at;
        char tail[16]; /* the last bytes of a body: an event may be split anywhere */
        size_t tail_n;
};

static struct {
        const char *address, *path, *body, *key;
        long port, requests, concurrency, expect, seconds;
        bool stream;
} options = { .address = "127.0.0.1", .path = "/v1/chat/completions", .body = NULL, .requests = 1000, .concurrency = 1, .seconds = 120 };

static struct event_base *base;
static char *request;
static size_t request_n;
static long begun, ended, right, wrong_status, wrong_events, cut, refused;
static uint64_t body_bytes, all_events;
static int64_t *totals, *firsts, worst_gap;

static void client_connect(struct client *c);
static void client_next(struct client *c);

/* ---- answers ---------------------------------------------------------------------------------------------------------------- */

static void answer_ended(struct client *c, bool whole)
{
        int64_t now = now_us();

        c->busy = false;
        totals[ended] = now - c->sent_at;
        firsts[ended] = (c->first_at ? c->first_at : now) - c->sent_at;
        ended++;
        all_events += (uint64_t)c->events;
        if (!whole)
                cut++;
        else if (c->parser.status_code != 200)
                wrong_status++;
        else if (options.stream && (!c->done || (options.expect > 0 && c->events != options.expect)))
                wrong_events++;
        else
                right++;
        if (ended == options.requests)
                event_base_loopbreak(base);
}

/* Counts "content":" that begin in this piece or at the seam with the one before. */
static void scan(struct client *c, const char *p, size_t n)
{
        static const char mark[] = "\"content\":\"", done[] = "data: [DONE]";
        char seam[64];
        size_t take = MIN(n, sizeof seam - sizeof c->tail);
        const char *at;
        size_t from = 0;

        memcpy(seam, c->tail, c->tail_n);
        memcpy(seam + c->tail_n, p, take);
        while ((at = memmem(seam + from, c->tail_n + take - from, mark, sizeof mark - 1)) && (size_t)(at - seam) < c->tail_n) {
                c->events++;
                from = (size_t)(at - seam) + 1;
        }
        if (memmem(seam, c->tail_n + take, done, sizeof done - 1) || memmem(p, n, done, sizeof done - 1))
                c->done = true;
        for (at = p; (at = memmem(at, n - (size_t)(at - p), mark, sizeof mark - 1)); at++)
                c->events++;
        if (n >= sizeof mark - 2) {
                c->tail_n = sizeof mark - 2;
                memcpy(c->tail, p + n - c->tail_n, c->tail_n);
        } else {
                size_t keep = MIN(c->tail_n, sizeof mark - 2 - n);

                memmove(c->tail, c->tail + c->tail_n - keep, keep);
                memcpy(c->tail + keep, p, n);
                c->tail_n = keep + n;
        }
}

static int on_body(http_parser *h, const char *p, size_t n)
{
        struct client *c = h->data;
        int64_t now = now_us();

        if (!c->first_at)
                c->first_at = now;
        else if (now - c->last_at > worst_gap)
                worst_gap = now - c->last_at;
        c->last_at = now;
        body_bytes += n;
        if (options.stream)
                scan(c, p, n);
        return 0;
}

static int on_complete(http_parser *h)
{
        struct client *c = h->data;

        answer_ended(c, true);
        return 0;
}

static const http_parser_settings settings = { .on_body = on_body, .on_message_complete = on_complete };

/* ---- connections ------------------------------------------------------------------------------------------------------------ */

static void client_drop(struct client *c)
{
        if (c->bev)
                bufferevent_free(c->bev);
        c->bev = NULL;
}

static void on_read(struct bufferevent *bev, void *arg)
{
        struct client *c = arg;
        struct evbuffer *in = bufferevent_get_input(bev);
        size_t n = evbuffer_get_length(in), used;
        bool was_busy = c->busy, again;

        used = n ? http_parser_execute(&c->parser, &settings, (const char *)evbuffer_pullup(in, -1), n) : 0;
        again = http_should_keep_alive(&c->parser);
        evbuffer_drain(in, n);
        if (used != n && c->busy)
                answer_ended(c, false);
        if (c->busy || !was_busy)
                return;
        if (used != n || !again) {
                client_drop(c);
                client_connect(c);
                return;
        }
        client_next(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
        struct client *c = arg;

        (void)bev;
        if (what & BEV_EVENT_CONNECTED) {
                client_next(c);
                return;
        }
        if (c->busy) {
                http_parser_execute(&c->parser, &settings, "", 0); /* an answer may end with its connection */
                if (c->busy)
                        answer_ended(c, false);
        } else if (begun < options.requests && !(what & BEV_EVENT_EOF)) {
                refused++;
                begun++;
                totals[ended] = firsts[ended] = 0;
                if (++ended == options.requests)
                        event_base_loopbreak(base);
        }
        client_drop(c);
        if (begun < options.requests)
                client_connect(c);
}

static void client_connect(struct client *c)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port) };
        int one = 1;

        if (begun >= options.requests)
                return;
        (void)inet_pton(AF_INET, options.address, &a.sin_addr);
        c->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
        assert(c->bev);
        bufferevent_setcb(c->bev, on_read, NULL, on_event, c);
        bufferevent_enable(c->bev, EV_READ | EV_WRITE);
        if (bufferevent_socket_connect(c->bev, (struct sockaddr *)&a, sizeof a) == 0)
                (void)setsockopt(bufferevent_getfd(c->bev), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void client_next(struct client *c)
{
        if (begun >= options.requests) {
                client_drop(c);
                return;
        }
        begun++;
        http_parser_init(&c->parser, HTTP_RESPONSE);
        c->parser.data = c;
        c->busy = true;
        c->done = false;
        c->events = 0;
        c->tail_n = 0;
        c->first_at = 0;
        c->sent_at = now_us();
        bufferevent_write(c->bev, request, request_n);
}

/* ---- report ----------------------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return x < y ? -1 : x > y;
}

static double ms_at(int64_t *sorted, double share)
{
        return ended ? (double)sorted[(size_t)((double)(ended - 1) * share)] / 1e3 : 0;
}

static void report(int64_t took)
{
        qsort(totals, (size_t)ended, sizeof *totals, by_size);
        qsort(firsts, (size_t)ended, sizeof *firsts, by_size);
        (void)printf("{\"requests\":%ld,\"right\":%ld,\"wrong_status\":%ld,\"wrong_events\":%ld,\"cut\":%ld,\"refused\":%ld,\"unfinished\":%ld,"
                     "\"seconds\":%.3f,\"events\":%" PRIu64 ",\"bytes\":%" PRIu64
                     ",\"total_p50_ms\":%.3f,\"total_p99_ms\":%.3f,\"first_p50_ms\":%.3f,\"first_p99_ms\":%.3f,\"worst_gap_ms\":%.3f}\n",
                     ended, right, wrong_status, wrong_events, cut, refused, options.requests - ended, (double)took / 1e6, all_events, body_bytes,
                     ms_at(totals, .5), ms_at(totals, .99), ms_at(firsts, .5), ms_at(firsts, .99), (double)worst_gap / 1e3);
}

static int read_options(int argc, char **argv)
{
        static const struct option known[] = {
                { "address", 1, NULL, 'a' },     { "port", 1, NULL, 'p' },   { "path", 1, NULL, 'u' },    { "body", 1, NULL, 'b' },
                { "requests", 1, NULL, 'n' },    { "stream", 0, NULL, 's' }, { "expect", 1, NULL, 'e' },  { "concurrency", 1, NULL, 'c' },
                { "key", 1, NULL, 'k' },         { "seconds", 1, NULL, 't' }, { NULL, 0, NULL, 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
                switch (c) {
                case 'a': options.address = optarg; break;
                case 'p': options.port = strtol(optarg, NULL, 10); break;
                case 'u': options.path = optarg; break;
                case 'b': options.body = optarg; break;
                case 'n': options.requests = strtol(optarg, NULL, 10); break;
                case 'c': options.concurrency = strtol(optarg, NULL, 10); break;
                case 'e': options.expect = strtol(optarg, NULL, 10); break;
                case 't': options.seconds = strtol(optarg, NULL, 10); break;
                case 'k': options.key = optarg; break;
                case 's': options.stream = true; break;
                default: return -EINVAL;
                }
        if (!options.body || options.port < 1 || options.port > 65535 || options.requests < 1 || options.concurrency < 1 ||
            options.concurrency > 65536 || options.seconds < 1) {
                (void)fprintf(stderr, "usage: bench-load --port N --body JSON [--address IPV4] [--path P] [--requests N] [--concurrency N] [--key K]\n"
                                      "                  [--stream [--expect EVENTS]] [--seconds LIMIT]\n");
                return -EINVAL;
        }
        return 0;
}

int main(int argc, char **argv)
{
        struct client *clients;
        char head[1024];
        int64_t began;
        int n;

        if (read_options(argc, argv) < 0)
                return 2;
        n = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s%s%sContent-Length: %zu\r\n\r\n",
                     options.path, options.key ? "Authorization: Bearer " : "", options.key ? options.key : "", options.key ? "\r\n" : "",
                     strlen(options.body));
        if (n < 0 || (size_t)n >= sizeof head)
                return 2;
        request_n = (size_t)n + strlen(options.body);
        request = malloc(request_n + 1);
        totals = calloc((size_t)options.requests, sizeof *totals);
        firsts = calloc((size_t)options.requests, sizeof *firsts);
        clients = calloc((size_t)options.concurrency, sizeof *clients);
        base = event_base_new();
        assert(request && totals && firsts && clients && base);
        memcpy(request, head, (size_t)n);
        memcpy(request + n, options.body, strlen(options.body));

        began = now_us();
        for (long i = 0; i < MIN(options.concurrency, options.requests); i++)
                client_connect(&clients[i]);
        event_base_loopexit(base, &(struct timeval){ options.seconds, 0 });
        event_base_dispatch(base);
        report(now_us() - began);

        for (long i = 0; i < options.concurrency; i++)
                client_drop(&clients[i]);
        event_base_free(base);
        free(clients);
        free(firsts);
        free(totals);
        free(request);
        return right == options.requests ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pair.c - bench-pair: one request at a time, to each place in turn.
 *
 * What a proxy adds to a latency is a difference, and a tail is easily lost in a machine's own noise. So every place is asked in every
 * turn: whatever disturbs the machine disturbs all of them alike. Connections are kept; nine zeros in a body become the turn's number.
 * Prints a JSON list with the quantiles of each place, in microseconds.
 */
#include <arpa/inet.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base.h"

#define MAX_PLACES 16
#define WARM 200 /* turns that do not count */

struct place {
        int fd;
        char *request;
        size_t n;
        char *number; /* nine digits in request, or NULL */
        int64_t *us;
        bool complete;
};

static int on_complete(http_parser *h)
{
        struct place *p = h->data;

        p->complete = true;
        return 0;
}

static const http_parser_settings settings = { .on_message_complete = on_complete };

static int place_open(struct place *p, long port, const char *body, long turns)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
        size_t room = strlen(body) + 256;
        int one = 1, n;

        p->request = malloc(room);
        p->us = calloc((size_t)turns, sizeof *p->us);
        assert(p->request && p->us);
        n = snprintf(p->request, room, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
        assert(n > 0 && (size_t)n < room);
        p->n = (size_t)n;
        p->number = strstr(p->request, "000000000");
        p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&a, sizeof a) < 0 || setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
                return -errno;
        return 0;
}

static int place_ask(struct place *p, long turn, int64_t *ret)
{
        char in[16384];
        http_parser h;
        int64_t began;

        for (int i = 8; p->number && i >= 0; i--, turn /= 10)
                p->number[i] = (char)('0' + turn % 10);
        http_parser_init(&h, HTTP_RESPONSE);
        h.data = p;
        p->complete = false;
        began = now_us();
        if (send(p->fd, p->request, p->n, MSG_NOSIGNAL) != (ssize_t)p->n)
                return -EPIPE;
        while (!p->complete) {
                ssize_t got = recv(p->fd, in, sizeof in, 0);

                if (got <= 0 || http_parser_execute(&h, &settings, in, (size_t)got) != (size_t)got)
                        return -EPIPE;
        }
        *ret = now_us() - began;
        return h.status_code == 200 && http_should_keep_alive(&h) ? 0 : -EPROTO;
}

static int by_size(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return x < y ? -1 : x > y;
}

static int run(struct place *places, int n, long turns)
{
        for (long t = -WARM; t < turns; t++)
                for (int i = 0; i < n; i++) {
                        int64_t us;
                        int r = place_ask(&places[i], t + WARM, &us);

                        if (r < 0) {
                                (void)fprintf(stderr, "bench-pair: place %d, turn %ld: %s\n", i, t, ERRNO_TEXT(r));
                                return r;
                        }
                        if (t >= 0)
                                places[i].us[t] = us;
                }
        return 0;
}

int main(int argc, char **argv)
{
        struct place places[MAX_PLACES] = { 0 };
        long turns = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
        int n = (argc - 2) / 2, r = 0;

        if (argc < 4 || argc % 2 || n > MAX_PLACES || turns < 1) {
                (void)fprintf(stderr, "usage: bench-pair TURNS PORT BODY [PORT BODY]...\n");
                return 2;
        }
        for (int i = 0; i < n && r == 0; i++) {
                r = place_open(&places[i], strtol(argv[2 + 2 * i], NULL, 10), argv[3 + 2 * i], turns);
                if (r < 0)
                        (void)fprintf(stderr, "bench-pair: port %s: %s\n", argv[2 + 2 * i], ERRNO_TEXT(r));
        }
        if (r == 0)
                r = run(places, n, turns);
        for (int i = 0; i < n; i++) {
                struct place *p = &places[i];

                if (r == 0) {
                        qsort(p->us, (size_t)turns, sizeof *p->us, by_size);
                        (void)printf("%s{\"p50\":%" PRId64 ",\"p90\":%" PRId64 ",\"p99\":%" PRId64 "}", i ? "," : "[", p->us[(turns - 1) / 2],
                                     p->us[(turns - 1) * 9 / 10], p->us[(turns - 1) * 99 / 100]);
                }
                close_p(&p->fd);
                free(p->request);
                free(p->us);
        }
        if (r == 0)
                (void)printf("]\n");
        return r < 0 ? 1 : 0;
}

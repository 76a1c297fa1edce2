/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread is the client; what it sends goes through a real socket, so that the worker sees what it would see. */
#include "fixture.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "config.h"
#include "event_log.h"
#include "gateway.h"
#include "h1.h"
#include "log.h"
#include "options.h"
#include "pool.h"
#include "worker_thread.h"

#include "base.h"

#define ANSWER_S 30 /* under a sanitizer, on a busy machine */

static struct {
        char folder[64];
        struct event_base *base; /* of the main thread; it never runs */
        struct inbox inbox;
        struct generation *generation;
        struct pool *pool;
        struct worker *worker;
        struct sockaddr_in address;
        int fd;                  /* the client's; -1: not connected */
        struct h1 *h1;
        char *body;
        size_t n, room;
} s = { .fd = -1 };

static void nobody(struct message *m, void *owner)
{
        (void)m, (void)owner;
}

static void remove_folder(void)
{
        DIR *d = s.folder[0] ? opendir(s.folder) : NULL;
        const struct dirent *e;

        while (d && (e = readdir(d)) != NULL)
                (void)unlinkat(dirfd(d), e->d_name, 0);
        if (d)
                (void)closedir(d);
        (void)rmdir(s.folder);
}

const char *stand_folder(void)
{
        if (!s.folder[0]) {
                (void)snprintf(s.folder, sizeof s.folder, "/tmp/fuzz-stand-XXXXXX");
                assert(mkdtemp(s.folder) && atexit(remove_folder) == 0);
        }
        return s.folder;
}

static int listening(void)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        socklen_t n = sizeof s.address;

        s.address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        assert(fd >= 0 && bind(fd, (struct sockaddr *)&s.address, n) == 0 && listen(fd, 8) == 0);
        assert(getsockname(fd, (struct sockaddr *)&s.address, &n) == 0);
        return fd;
}

void stand_open(const char *configuration)
{
        struct problems *p = problems_create(20);
        struct worker_setup setup = { .home = &s.inbox, .n_fds = 1, .drained = nobody };
        const char *why = "";
        char file[128];
        FILE *f;
        int fd;

        (void)snprintf(file, sizeof file, "%s/pointsman.yaml", stand_folder());
        f = fopen(file, "we");
        assert(f && fputs(configuration, f) >= 0 && fclose(f) == 0);
        log_setup(PM_ERROR, LOG_LOGFMT);
        assert(p && gateway_prepare() == 0);
        if (generation_load(file, 1, p, &s.generation) < 0) {
                (void)fputs(problems_text(p), stderr);
                abort();
        }
        problems_destroy(p);
        s.base = event_base_new();
        s.pool = pool_create(1);
        assert(s.base && s.pool && inbox_init(&s.inbox, s.base, &s) == 0);
        fd = listening();
        setup.generation = s.generation;
        setup.pool = s.pool;
        setup.fds = &fd;
        s.worker = worker_create(&setup, &why);
        if (!s.worker) {
                (void)fprintf(stderr, "no worker: %s\n", why);
                abort();
        }
        assert(atexit(stand_close) == 0);
}

static void hang_up(void)
{
        if (s.fd >= 0)
                (void)close(s.fd);
        s.fd = -1;
        h1_destroy(TAKE(s.h1));
}

void stand_close(void)
{
        if (!s.worker)
                return;
        hang_up();
        free(TAKE(s.body));
        s.room = 0;
        worker_stop(s.worker);
        pool_destroy(TAKE(s.pool));
        worker_destroy(TAKE(s.worker));
        event_log_end();
        inbox_finish(&s.inbox);
        generation_release(TAKE(s.generation));
        event_base_free(TAKE(s.base));
}

static void dial(void)
{
        static const struct timeval patience = { ANSWER_S, 0 };

        s.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        s.h1 = h1_create(H1_RESPONSES, 65536, 100);
        assert(s.fd >= 0 && s.h1 && setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
        assert(connect(s.fd, (struct sockaddr *)&s.address, sizeof s.address) == 0);
}

static void send_all(const void *data, size_t n, int flags)
{
        for (const char *p = data; n > 0;) {
                ssize_t m = send(s.fd, p, n, MSG_NOSIGNAL | flags);

                if (m <= 0)
                        return; /* it has answered already, and closes */
                p += m;
                n -= (size_t)m;
        }
}

static void add(struct pm_str piece)
{
        if (s.n + piece.n > s.room) {
                s.room = 2 * (s.n + piece.n);
                s.body = realloc(s.body, s.room);
                assert(s.body);
        }
        memcpy(s.body + s.n, piece.p, piece.n);
        s.n += piece.n;
}

/* One whole answer.  Its status; *keep: the connection may be used again. */
static int receive(bool *keep)
{
        char in[16384];
        int status = 0;

        s.n = 0;
        for (;;) {
                ssize_t n = recv(s.fd, in, sizeof in, 0);
                size_t at = 0;

                assert(n > 0); /* it answers, and in time */
                for (enum h1_event e = H1_HEAD; e != H1_MORE;) {
                        struct pm_str piece = { NULL, 0 };
                        size_t used;

                        e = h1_feed(s.h1, in + at, (size_t)n - at, &used, &piece);
                        at += used;
                        assert(e != H1_ERROR);
                        if (e == H1_HEAD) {
                                status = h1_head(s.h1)->status;
                                *keep = h1_head(s.h1)->keep_alive;
                        } else if (e == H1_BODY) {
                                add(piece);
                        } else if (e == H1_END) {
                                assert(at == (size_t)n); /* and nothing that nobody asked for */
                                h1_next(s.h1);
                                return status;
                        }
                }
        }
}

int stand_post(const char *path, const char *headers, struct pm_str body, struct pm_str *ret)
{
        char head[1024];
        int n = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", path,
                         body.n, headers);
        bool keep = false;
        int status;

        assert(n > 0 && (size_t)n < sizeof head);
        if (s.fd < 0)
                dial();
        send_all(head, (size_t)n, body.n ? MSG_MORE : 0);
        send_all(body.p, body.n, 0);
        status = receive(&keep);
        if (!keep)
                hang_up();
        *ret = (struct pm_str){ s.body, s.n };
        return status;
}

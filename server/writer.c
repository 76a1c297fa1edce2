/* SPDX-License-Identifier: Apache-2.0 */
/* What does not go out stays, in order, up to a limit: then whoever adds is told. */
#include "writer.h"

#include <event2/event.h>
#include <fcntl.h>

#include "log.h"
#include "worker.h"

#include "base.h"

enum { GATHER_S = 1, WAITING_MAX = 4 << 20, SAY_AGAIN_US = 60000000 };

struct writer {
        struct worker *worker;
        struct event *timer;
        const char *file; /* of what waits; heap */
        char *text;
        size_t n, room;
        int64_t said_us;
};

/* Once a minute: a full disk must not fill the log too. */
static void complain(struct writer *w, const char *what, int error)
{
        int64_t now = now_us();

        if (w->said_us && now - w->said_us < SAY_AGAIN_US)
                return;
        w->said_us = now;
        log_msg(w->worker->log, PM_ERROR, "cannot %s feedback.file '%s': %s, keeping %zu bytes for later", what, w->file, ERRNO_TEXT(error), w->n);
}

/* The file's first writer names its columns. */
static int open_file(const char *file)
{
        static const char columns[] = "user\titem\tweight\ttime\n";
        int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

        if (fd >= 0 && write(fd, columns, sizeof columns - 1) < 0) {
                int error = errno;

                (void)close(fd);
                errno = error;
                return -1;
        }
        return fd >= 0 || errno != EEXIST ? fd : open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
}

static void flush(struct writer *w)
{
        CLEANUP(close_p) int fd = -1;
        ssize_t n;

        if (w->n == 0)
                return;
        fd = open_file(w->file);
        if (fd < 0) {
                complain(w, "open", errno);
                return;
        }
        n = write(fd, w->text, w->n);
        if (n < 0 || (size_t)n < w->n)
                complain(w, "write to", n < 0 ? errno : ENOSPC);
        if (n > 0) {
                memmove(w->text, w->text + n, w->n - (size_t)n);
                w->n -= (size_t)n;
        }
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval second = { GATHER_S, 0 };
        struct writer *w = arg;

        (void)fd, (void)what;
        flush(w);
        if (w->n)
                (void)event_add(w->timer, &second);
}

struct writer *writer_create(struct worker *worker)
{
        struct writer *w = calloc(1, sizeof *w);

        if (!w)
                return NULL;
        w->worker = worker;
        w->timer = evtimer_new(worker->base, on_time, w);
        if (w->timer)
                return w;
        free(w);
        return NULL;
}

void writer_destroy(struct writer *w)
{
        if (!w)
                return;
        flush(w);
        if (w->n)
                log_msg(NULL, PM_ERROR, "%zu bytes of feedback are lost: '%s' did not take them", w->n, w->file);
        event_free(w->timer);
        free((char *)(uintptr_t)w->file);
        free(w->text);
        free(w);
}

int writer_add(struct writer *w, const char *file, const struct edge *e)
{
        static const struct timeval second = { GATHER_S, 0 };
        size_t need = e->user.n + e->item.n + 80;

        if (w->file && strcmp(w->file, file) != 0) {
                flush(w); /* a reload has named another */
                if (w->n)
                        return -ENOSPC;
                free((char *)(uintptr_t)TAKE(w->file));
        }
        if (!w->file && !(w->file = strdup(file)))
                return -ENOMEM;
        if (w->n + need > WAITING_MAX) {
                flush(w);
                if (w->n + need > WAITING_MAX)
                        return -ENOSPC;
        }
        if (w->n + need > w->room) {
                size_t room = MAX(2 * w->room, (size_t)4096) + need;
                char *more = realloc(w->text, room);

                if (!more)
                        return -ENOMEM;
                w->text = more;
                w->room = room;
        }
        if (w->n == 0)
                (void)event_add(w->timer, &second);
        w->n += (size_t)snprintf(w->text + w->n, w->room - w->n, "%.*s\t%.*s\t%.9g\t%" PRId64 "\n", (int)e->user.n, e->user.p, (int)e->item.n,
                                 e->item.p, e->weight, e->time);
        return 0;
}

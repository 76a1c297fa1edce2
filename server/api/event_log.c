/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker gathers lines and hands them to the one thread that writes, because a disk, or a server behind it, may take any time.  Lines
 * that cannot be written yet stay in order.  Each file has a limit for all workers together; above it event_log_add() fails.
 */
#include "event_log.h"

#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "crash.h"
#include "log.h"
#include "throttle.h"

#include "base.h"

enum { GATHER_S = 1, WAITING_MAX = 4 << 20, RETRY_S = 1, END_S = 5, TAIL = 4096, LOCK_MS = 1000, LOCK_STEP_MS = 5, OPEN_AGAIN = 3 };

/* Of one worker. */
struct event_log {
        struct event *timer;
        char *file; /* of what was gathered */
        char *text;
        size_t n, room;
};

/* On its way to the file. */
struct batch {
        struct batch *next;
        char *file, *text;
        size_t n, at; /* bytes, and of these written: whole lines */
        bool failed;  /* under the lock: it has been tried */
        int refused;  /* under the lock: the errno of an open() that will not come right by waiting */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more, empty;
static pthread_t thread;
static struct batch *first, **last = &first; /* under the lock, as the next ones */
static bool started, stopping;
static _Atomic size_t waiting;               /* bytes handed over */
static _Atomic size_t n_refused;             /* batches that have been */
static int64_t said_us;                      /* the thread's */

/* ---- the thread ---------------------------------------------------------------------------------------------------------- */

/* Once a minute: a full disk must not fill the log too. */
static void complain(const struct batch *b, const char *what, int error)
{
        if (!throttle(&said_us, now_us()))
                return;
        log_msg(NULL, PM_ERROR, "cannot %s feedback.file '%s': %s; %zu bytes stay buffered", what, b->file, ERRNO_TEXT(error),
                atomic_load_explicit(&waiting, memory_order_relaxed));
}

static bool is_regular(const struct stat *s)
{
        return S_ISREG(s->st_mode);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Other processes write to the same file: what they are in the middle of is no half line, and none of ours goes between.  1: the file is
 * ours until it is closed; 0: there are no locks; else -errno. */
static int lock_file(int fd)
{
        static const struct timespec moment = { 0, LOCK_STEP_MS * 1000000 };
        struct stat s;

        if (fstat(fd, &s) < 0 || (!is_regular(&s) && !S_ISFIFO(s.st_mode)))
                return 0;
        for (int ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; ms += LOCK_STEP_MS) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return 0;
                if (ms >= LOCK_MS)
                        return -EWOULDBLOCK;
                (void)nanosleep(&moment, NULL);
        }
        return 1;
}

/*
 * Half a line at the end is what a process left that ended on a full disk: what is appended behind it would become a line of somebody else's.  A
 * file that cannot be read, or is a pipe, is taken as it is.  Where there are no locks nothing is cut: it may be the beginning of another's line.
 */
static void cut_half_line(int fd, const char *file, bool locked)
{
        CLEANUP(close_p) int in = -1;
        char tail[TAIL];
        struct stat s, same;
        const char *end;
        off_t from;
        ssize_t n;

        if (fstat(fd, &s) < 0 || !is_regular(&s) || s.st_size == 0)
                return;
        in = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (in < 0 || fstat(in, &same) < 0 || !is_same(&s, &same)) /* moved away just now */
                return;
        from = MAX(s.st_size - TAIL, 0);
        n = pread(in, tail, sizeof tail, from);
        if (n <= 0 || from + n != s.st_size || tail[n - 1] == '\n')
                return;
        end = memrchr(tail, '\n', (size_t)n);
        if (!locked || (!end && from > 0)) { /* no line of ours is that long */
                log_msg(NULL, PM_WARN, "feedback.file '%s' had no newline at its end; added one", file);
                (void)!write(fd, "\n", 1);
                return;
        }
        n -= end ? end + 1 - tail : 0;
        if (ftruncate(fd, s.st_size - n) == 0)
                log_msg(NULL, PM_WARN, "feedback.file '%s' ended in an incomplete line; truncated by %zd bytes", file, n);
}

/* The file's first writer names its columns.  0 or -errno. */
static int name_columns(int fd)
{
        static const char columns[] = "user\titem\tweight\ttime\n";
        struct stat s;
        ssize_t n;

        if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode) || s.st_size > 0)
                return 0;
        n = write(fd, columns, sizeof columns - 1);
        if (n < 0)
                return -errno;
        if (n == (ssize_t)sizeof columns - 1)
                return 0;
        (void)!ftruncate(fd, 0); /* else the next one cuts it */
        return -ENOSPC;
}

static int open_path(const char *file)
{
        int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

        return fd < 0 && errno == EEXIST ? open(file, O_WRONLY | O_APPEND | O_CLOEXEC) : fd;
}

/* The file, ready for a whole line; or -1, errno and what could not be done. */
static int open_file(const char *file, const char **ret_what, bool *ret_locked)
{
        struct stat s, named;
        int fd, r;

        for (int again = 0;; again++) {
                *ret_what = "open";
                fd = open_path(file);
                if (fd < 0)
                        return -1;
                r = lock_file(fd);
                if (r != 1 || again == OPEN_AGAIN || (fstat(fd, &s) == 0 && stat(file, &named) == 0 && is_same(&s, &named)))
                        break;
                (void)close(fd); /* it was moved away while we waited for it */
        }
        *ret_locked = r == 1;
        *ret_what = "lock";
        if (r >= 0) {
                *ret_what = "write to";
                cut_half_line(fd, file, *ret_locked);
                r = name_columns(fd);
                if (r == 0)
                        return fd;
        }
        (void)close(fd);
        errno = -r;
        return -1;
}

/* Writes what it can.  Returns how much of it counts: up to the last newline.  A part of a line behind it is cut off again; where that
 * fails, the next open of the file ends it with a newline. */
static size_t write_lines(int fd, bool locked, const char *text, size_t n, int *ret_error)
{
        size_t done = 0, half;
        const char *end;
        struct stat s;
        off_t at;

        *ret_error = 0;
        while (done < n && !*ret_error) {
                ssize_t m = write(fd, text + done, n - done);

                if (m > 0)
                        done += (size_t)m;
                else if (m == 0 || errno != EINTR)
                        *ret_error = m == 0 ? ENOSPC : errno;
        }
        end = done ? memrchr(text, '\n', done) : NULL;
        half = done - (end ? (size_t)(end + 1 - text) : 0);
        at = half && locked ? lseek(fd, 0, SEEK_CUR) : -1;
        if (at > 0 && fstat(fd, &s) == 0 && s.st_size == at)
                (void)!ftruncate(fd, at - (off_t)half);
        return done - half;
}

/* Full disks and tables of files come right by themselves. */
static bool is_passing(int error)
{
        return error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR || error == EAGAIN;
}

/* False: some of it is left.  *ret_refused is batch.refused. */
static bool write_batch(struct batch *b, int *ret_refused)
{
        const char *what;
        bool locked;
        CLEANUP(close_p) int fd = open_file(b->file, &what, &locked);
        size_t kept;
        int error;

        *ret_refused = 0;
        if (fd < 0) {
                *ret_refused = is_passing(errno) ? 0 : errno;
                complain(b, what, errno);
                return false;
        }
        kept = write_lines(fd, locked, b->text + b->at, b->n - b->at, &error);
        if (error)
                complain(b, "write to", error);
        b->at += kept;
        atomic_fetch_sub_explicit(&waiting, kept, memory_order_relaxed);
        return b->at == b->n;
}

static void batch_free(struct batch *b)
{
        free(b->file);
        free(b->text);
        free(b);
}

static void wait_a_while(void)
{
        struct timespec until;

        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += RETRY_S;
        (void)pthread_cond_timedwait(&more, &lock, &until);
}

/* Under the lock. */
static void set_refused(struct batch *b, int refused)
{
        if (!b->refused != !refused)
                atomic_fetch_add_explicit(&n_refused, refused ? (size_t)1 : SIZE_MAX, memory_order_relaxed);
        b->refused = refused;
}

/* Under the lock: what a reload has sent to another file does not wait for one that takes nothing. */
static void let_others_pass(struct batch *b)
{
        struct batch *other = b->next;

        while (other && strcmp(other->file, b->file) == 0)
                other = other->next;
        if (!other)
                return;
        first = b->next;
        b->next = NULL;
        *last = b;
        last = &b->next;
}

static void *event_log_main(void *arg)
{
        crash_thread_begin();
        pthread_mutex_lock(&lock);
        for (;;) {
                struct batch *b = first;
                bool done, last_try = stopping;
                int refused;

                if (!b && stopping)
                        break;
                if (!b) {
                        (void)pthread_cond_wait(&more, &lock);
                        continue;
                }
                pthread_mutex_unlock(&lock);
                done = write_batch(b, &refused); /* it stays first: only we take from the front */
                pthread_mutex_lock(&lock);
                set_refused(b, refused);
                if (!done && !last_try) {
                        b->failed = true;
                        let_others_pass(b);
                        if (!stopping && first->failed)
                                wait_a_while();
                        continue;
                }
                if (!done)
                        log_msg(NULL, PM_ERROR, "feedback lost: %zu bytes could not be written to '%s'", b->n - b->at, b->file);
                set_refused(b, 0);
                first = b->next;
                if (!first)
                        last = &first;
                atomic_fetch_sub_explicit(&waiting, b->n - b->at, memory_order_relaxed);
                batch_free(b);
        }
        started = false;
        pthread_cond_broadcast(&empty);
        pthread_mutex_unlock(&lock);
        return arg;
}

/* Under the lock: at the first event. */
static int start_thread(void)
{
        pthread_condattr_t monotonic;
        sigset_t former;
        int r;

        if (started)
                return 0;
        (void)pthread_condattr_init(&monotonic);
        (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&more, &monotonic);
        (void)pthread_cond_init(&empty, &monotonic);
        (void)pthread_condattr_destroy(&monotonic);
        stopping = false;
        crash_block_signals(&former);
        r = pthread_create(&thread, NULL, event_log_main, NULL);
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (r != 0)
                return -r;
        (void)pthread_setname_np(thread, "feedback");
        started = true;
        return 0;
}

void event_log_end(void)
{
        struct timespec until;
        bool over;

        pthread_mutex_lock(&lock);
        if (!started) {
                pthread_mutex_unlock(&lock);
                return;
        }
        stopping = true;
        pthread_cond_broadcast(&more);
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += END_S;
        while (started && pthread_cond_timedwait(&empty, &lock, &until) == 0)
                ;
        over = !started;
        pthread_mutex_unlock(&lock);
        if (over) {
                (void)pthread_join(thread, NULL);
                return;
        }
        (void)pthread_detach(thread);
        log_msg(NULL, PM_ERROR, "feedback lost: %zu bytes, writing to the file hangs", atomic_load_explicit(&waiting, memory_order_relaxed));
}

/* ---- a worker ------------------------------------------------------------------------------------------------------------ */

/* 0, or -errno: it goes on waiting here. */
static int hand_over(struct event_log *w)
{
        struct batch *b;
        int r;

        if (w->n == 0)
                return 0;
        b = calloc(1, sizeof *b);
        if (!b)
                return -ENOMEM;
        pthread_mutex_lock(&lock);
        r = start_thread();
        if (r == 0) {
                *b = (struct batch){ .file = TAKE(w->file), .text = TAKE(w->text), .n = w->n };
                *last = b;
                last = &b->next;
                atomic_fetch_add_explicit(&waiting, b->n, memory_order_relaxed);
                pthread_cond_signal(&more);
                w->n = w->room = 0;
        }
        pthread_mutex_unlock(&lock);
        if (r < 0)
                free(b);
        return r;
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval second = { GATHER_S, 0 };
        struct event_log *w = arg;

        (void)fd, (void)what;
        if (hand_over(w) < 0)
                (void)event_add(w->timer, &second);
}

struct event_log *event_log_create(struct event_base *base)
{
        struct event_log *w = calloc(1, sizeof *w);

        if (!w)
                return NULL;
        w->timer = evtimer_new(base, on_time, w);
        if (w->timer)
                return w;
        free(w);
        return NULL;
}

void event_log_destroy(struct event_log *w)
{
        if (!w)
                return;
        if (hand_over(w) < 0)
                log_msg(NULL, PM_ERROR, "feedback lost: %zu bytes, out of memory or threads", w->n);
        event_free(w->timer);
        free(w->file);
        free(w->text);
        free(w);
}

/* 0, or -errno: what waits for this file could not be written, and nothing more is taken. */
static int refuses(const char *file)
{
        int error = 0;

        if (LIKELY(atomic_load_explicit(&n_refused, memory_order_relaxed) == 0))
                return 0;
        pthread_mutex_lock(&lock);
        for (const struct batch *b = first; b && !error; b = b->next)
                if (b->refused && strcmp(b->file, file) == 0)
                        error = b->refused;
        pthread_mutex_unlock(&lock);
        return -error;
}

/* Is there room for so much more of what w gathers? */
static bool has_room(const struct event_log *w, size_t need)
{
        size_t of_file = w->n + need;

        if (LIKELY(atomic_load_explicit(&waiting, memory_order_relaxed) + of_file <= WAITING_MAX))
                return true;
        pthread_mutex_lock(&lock); /* a file that was left by a reload may have all of it */
        for (const struct batch *b = first; b; b = b->next)
                of_file += strcmp(b->file, w->file) == 0 ? b->n - b->at : 0;
        pthread_mutex_unlock(&lock);
        return of_file <= WAITING_MAX;
}

int event_log_add(struct event_log *w, const char *file, const struct edge *edges, size_t n_edges)
{
        static const struct timeval second = { GATHER_S, 0 };
        int refused = refuses(file);
        size_t need = 0;

        for (size_t i = 0; i < n_edges; i++)
                need += edges[i].user.n + edges[i].item.n + 80;
        if (refused < 0)
                return refused;
        if (w->file && strcmp(w->file, file) != 0) { /* a reload has named another */
                int r = hand_over(w);

                if (r < 0)
                        return r;
                free(TAKE(w->file));
        }
        if (!w->file && !(w->file = strdup(file)))
                return -ENOMEM;
        if (!has_room(w, need))
                return -ENOSPC;
        if (w->n + need > w->room) {
                size_t room = MAX(2 * w->room, (size_t)4096) + need;
                char *bigger = realloc(w->text, room);

                if (!bigger)
                        return -ENOMEM;
                w->text = bigger;
                w->room = room;
        }
        if (w->n == 0)
                (void)event_add(w->timer, &second);
        for (const struct edge *e = edges; e < edges + n_edges; e++)
                w->n += (size_t)snprintf(w->text + w->n, w->room - w->n, "%.*s\t%.*s\t%.9g\t%" PRId64 "\n", (int)e->user.n,
                                         e->user.p, (int)e->item.n, e->item.p, e->weight, e->time);
        return 0;
}

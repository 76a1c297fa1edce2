/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ring of bytes, one thread.  The ring begins anew whenever it is empty, so that a process that logs little touches little of
 * it.  Its lock is never held over a system call.
 */
#include "log_out.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "crash.h"
#include "log.h"

#include "base.h"

#define RING_SIZE ((size_t)4 << 20)
#define PIECE ((size_t)256 << 10)
#define PIPE_PIECE ((size_t)4096) /* what a pipe that says POLLOUT takes without blocking */
#define STOP_MS 1000
#define CRASH_MS 300

enum { DIRECT, THREAD, CLOSED };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some, none;
static pthread_t thread;
static char *ring;              /* under the lock, as all of these */
static size_t from;
static _Atomic size_t waiting;  /* bytes; atomic for a crash that looks on */
static bool stopping, torn;     /* torn: the last thing written was a part of a line */
static int mode = DIRECT;
static _Atomic uint64_t dropped;

uint64_t log_dropped(void)
{
        return atomic_load_explicit(&dropped, memory_order_relaxed);
}

static void count_dropped(const char *p, size_t n)
{
        uint64_t lines = 0;

        for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
                lines++;
        atomic_fetch_add_explicit(&dropped, lines, memory_order_relaxed);
}

static ssize_t write_some(const char *p, size_t n)
{
        ssize_t done;

        do
                done = write(STDERR_FILENO, p, n);
        while (done < 0 && errno == EINTR);
        return done;
}

/* Without a thread: what standard error does not take at once is dropped. */
static void write_directly(const char *p, size_t n)
{
        const char *begin = p;

        if (torn)
                torn = write_some("\n", 1) != 1;
        while (n && !torn) {
                ssize_t done = write_some(p, n);

                if (done <= 0) {
                        torn = p > begin && p[-1] != '\n';
                        break;
                }
                p += done;
                n -= (size_t)done;
        }
        if (n)
                count_dropped(p, n);
}

/* Whole lines, as many as there is room for. */
static void put_in_ring(const char *p, size_t n)
{
        size_t have = atomic_load_explicit(&waiting, memory_order_relaxed), room = RING_SIZE - have, take = MIN(n, room), at, first;

        if (take < n) {
                const char *end = take ? memrchr(p, '\n', take) : NULL;

                take = end ? (size_t)(end - p) + 1 : 0;
                count_dropped(p + take, n - take);
        }
        if (take == 0)
                return;
        if (have == 0)
                from = 0;
        at = (from + have) % RING_SIZE;
        first = MIN(take, RING_SIZE - at);
        memcpy(ring + at, p, first);
        memcpy(ring, p + first, take - first);
        atomic_store_explicit(&waiting, have + take, memory_order_relaxed);
        if (have == 0)
                pthread_cond_signal(&some);
}

void log_out(const char *lines, size_t n)
{
        pthread_mutex_lock(&lock);
        if (mode == DIRECT)
                write_directly(lines, n);
        else if (mode == THREAD)
                put_in_ring(lines, n);
        else
                count_dropped(lines, n);
        pthread_mutex_unlock(&lock);
}

/* ---- the thread ---------------------------------------------------------------------------------------------------------- */

/* Without the lock: the bytes are the thread's until it says that they are gone. */
static size_t write_piece(const char *p, size_t n)
{
        ssize_t done;

        if (torn && (done = write_some("\n", 1)) == 1)
                torn = false;
        done = write_some(p, n);
        if (done > 0)
                return (size_t)done;
        if (done < 0 && errno == EAGAIN) { /* somebody shares it with us and does not want to block */
                (void)poll(&(struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT }, 1, 100);
                return 0;
        }
        count_dropped(p, n); /* nobody can have it */
        torn = true;
        return n;
}

static void *out_main(void *arg)
{
        uint64_t told = log_dropped();

        crash_thread_begin();
        pthread_mutex_lock(&lock);
        for (;;) {
                size_t have, done;

                while ((have = atomic_load_explicit(&waiting, memory_order_relaxed)) == 0 && !stopping)
                        pthread_cond_wait(&some, &lock);
                if (have == 0)
                        break;
                have = MIN(MIN(have, RING_SIZE - from), PIECE);
                pthread_mutex_unlock(&lock);
                done = write_piece(ring + from, have); /* only we move `from` while something waits */
                pthread_mutex_lock(&lock);
                from = (from + done) % RING_SIZE;
                if (atomic_fetch_sub_explicit(&waiting, done, memory_order_relaxed) == done)
                        pthread_cond_broadcast(&none);
                if (log_dropped() != told && atomic_load_explicit(&waiting, memory_order_relaxed) < RING_SIZE / 2) {
                        uint64_t now = log_dropped();

                        pthread_mutex_unlock(&lock);
                        log_msg(NULL, PM_WARN, "%" PRIu64 " log lines dropped: standard error was slow or closed", now - told);
                        told = now;
                        pthread_mutex_lock(&lock);
                }
        }
        pthread_mutex_unlock(&lock);
        return arg;
}

int log_start(void)
{
        pthread_condattr_t monotonic;
        sigset_t former;
        int r;

        assert(mode == DIRECT);
        ring = malloc(RING_SIZE);
        if (!ring)
                return -ENOMEM;
        (void)pthread_condattr_init(&monotonic);
        (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&some, NULL);
        (void)pthread_cond_init(&none, &monotonic);
        (void)pthread_condattr_destroy(&monotonic);
        stopping = false;
        crash_block_signals(&former);
        r = pthread_create(&thread, NULL, out_main, NULL);
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (r != 0) {
                free(TAKE(ring));
                return -r;
        }
        (void)pthread_setname_np(thread, "log");
        pthread_mutex_lock(&lock);
        mode = THREAD;
        pthread_mutex_unlock(&lock);
        return 0;
}

void log_stop(void)
{
        struct timespec until;
        bool empty;

        pthread_mutex_lock(&lock);
        if (mode != THREAD || stopping) {
                pthread_mutex_unlock(&lock);
                return;
        }
        stopping = true;
        pthread_cond_signal(&some);
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += STOP_MS / 1000;
        while (atomic_load_explicit(&waiting, memory_order_relaxed) && pthread_cond_timedwait(&none, &lock, &until) == 0)
                ;
        empty = atomic_load_explicit(&waiting, memory_order_relaxed) == 0;
        mode = empty ? DIRECT : CLOSED; /* the thread may stand in write() for ever: nobody waits for it */
        pthread_mutex_unlock(&lock);
        if (!empty)
                return;
        (void)pthread_join(thread, NULL);
        free(TAKE(ring));
        (void)pthread_cond_destroy(&some);
        (void)pthread_cond_destroy(&none);
}

/* ---- a crash ------------------------------------------------------------------------------------------------------------- */

void log_out_drain(void)
{
        for (int ms = 0; ms < CRASH_MS && atomic_load_explicit(&waiting, memory_order_relaxed); ms += 2)
                (void)nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

void log_out_now(const char *p, size_t n)
{
        while (n) {
                ssize_t done;

                if (poll(&(struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT }, 1, CRASH_MS) <= 0)
                        return;
                done = write(STDERR_FILENO, p, MIN(n, PIPE_PIECE));
                if (done <= 0)
                        return;
                p += done;
                n -= (size_t)done;
        }
}

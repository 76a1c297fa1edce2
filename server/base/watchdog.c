/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each thread has an entry in a list, in its own thread-local memory.  The watchdog adds up, look by look, how long an entry has not
 * changed.  A look counts at most two intervals, so that no thread is blamed after the whole process was stopped.  Time that a thread was
 * runnable without a core is subtracted, as the kernel reports it.
 */
#include "watchdog.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "crash.h"
#include "list.h"
#include "loader.h"
#include "log.h"

#include "base.h"

#define LOOK_US 100000
#define RELIEVE_US 10000 /* between looks while a worker hangs: new connections wait no longer */
#define HANGS_US 1000000
#define EXCUSED(still) ((still) / 4 * 3) /* waiting for a core explains that much of a silence at most: even a starved loop turns now and then */
#define SAY_AGAIN_US 10000000

struct entry {
        struct entry *next, **pprev; /* pprev NULL: not in the list */
        char name[16];
        enum watchdog_kind kind;
        void *owner;
        const struct loader_running *running;
        pid_t tid;
        _Atomic unsigned beats;

        int scheduling;          /* the thread's own view of its /proc file */
        int64_t waited_us;       /* at the last beat */

        unsigned beats_seen, entered_seen; /* from here on the watchdog's */
        int64_t still_us, cpu_before, waited_before;
        int64_t said_us;
        bool hangs;
};

static _Thread_local struct entry mine = { .scheduling = -1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static pthread_t thread;
static struct entry *entries;                      /* under the lock, as all below it */
static void (*relieve_fn)(void *arg, void *owner); /* NULL: calm */
static void *relieve_arg;
static bool running, stopping;
static _Atomic int64_t limit_us, end_by_us;
static _Atomic unsigned hanging;

/* ---- what a thread says of itself ---------------------------------------------------------------------------------------- */

/* Microseconds on a core and waiting for one, since the thread began; false: the kernel does not say. */
static bool read_scheduling(int fd, int64_t *cpu_us, int64_t *waited_us)
{
        char text[96], *end;
        ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);

        if (n <= 0)
                return false;
        text[n] = '\0';
        *cpu_us = (int64_t)(strtoull(text, &end, 10) / 1000);
        *waited_us = (int64_t)(strtoull(end, NULL, 10) / 1000);
        return true;
}

void watchdog_thread_begin(const char *name, enum watchdog_kind kind, void *owner)
{
        struct entry *e = &mine;
        int64_t cpu;

        (void)snprintf(e->name, sizeof e->name, "%s", name);
        e->kind = kind;
        e->owner = owner;
        e->running = loader_running_now();
        e->tid = (pid_t)syscall(SYS_gettid);
        e->waited_us = 0;
        if (kind == WATCHDOG_WORKER)
                e->scheduling = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        (void)read_scheduling(e->scheduling, &cpu, &e->waited_us);
        pthread_mutex_lock(&lock);
        e->hangs = false;
        e->still_us = 0;
        LIST_PUSH(&entries, e);
        pthread_mutex_unlock(&lock);
}

static void no_longer_hangs(struct entry *e)
{
        if (e->hangs && e->kind == WATCHDOG_WORKER)
                atomic_fetch_sub_explicit(&hanging, 1, memory_order_relaxed);
        e->hangs = false;
        e->still_us = 0;
}

void watchdog_thread_end(void)
{
        struct entry *e = &mine;

        pthread_mutex_lock(&lock);
        no_longer_hangs(e);
        LIST_UNLINK(e);
        pthread_mutex_unlock(&lock);
        close_p(&e->scheduling);
        e->scheduling = -1;
}

void watchdog_beat(void)
{
        int64_t cpu;

        atomic_fetch_add_explicit(&mine.beats, 1, memory_order_relaxed);
        (void)read_scheduling(mine.scheduling, &cpu, &mine.waited_us);
}

int64_t watchdog_waited_us(void)
{
        int64_t cpu, waited;

        return read_scheduling(mine.scheduling, &cpu, &waited) ? MAX(waited - mine.waited_us, 0) : 0;
}

/* ---- looking ------------------------------------------------------------------------------------------------------------- */

static void scheduling_of(const struct entry *e, int64_t *cpu_us, int64_t *waited_us)
{
        CLEANUP(close_p) int fd = -1;
        char path[64];

        *cpu_us = *waited_us = 0;
        (void)snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", (int)e->tid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        (void)read_scheduling(fd, cpu_us, waited_us);
}

/* "worker 3 hangs in a step of router 'x'" */
static void say_where(const struct entry *e, char *out, size_t size)
{
        const char *router = atomic_load_explicit(&e->running->router, memory_order_relaxed);
        const char *call = atomic_load_explicit(&e->running->call, memory_order_relaxed);

        (void)snprintf(out, size, "%s%s%s%s%s%s", e->name, router ? " in " : "", router && call ? call : "",
                       router ? " of router '" : "", router ? router : "", router ? "'" : "");
}

static void end_process(const char *line)
{
        log_msg(NULL, PM_ERROR, "%s", line);
        log_stop();
        _exit(EXIT_FAILURE);
}

/* A pool's thread that runs nothing is at rest; a loop beats at rest, too. */
static bool has_moved(struct entry *e)
{
        unsigned beats = atomic_load_explicit(&e->beats, memory_order_relaxed);
        unsigned entered = atomic_load_explicit(&e->running->entered, memory_order_relaxed);
        bool rests = e->kind == WATCHDOG_POOL && !atomic_load_explicit(&e->running->router, memory_order_relaxed);
        bool moved = rests || beats != e->beats_seen || (e->kind == WATCHDOG_POOL && entered != e->entered_seen);

        e->beats_seen = beats;
        e->entered_seen = entered;
        return moved;
}

/* How long it hangs of its own; 0: it does not. */
static int64_t look_at(struct entry *e, int64_t step_us)
{
        int64_t cpu, waited, own, now;
        char where[256];

        if (has_moved(e)) {
                if (e->hangs)
                        log_msg(NULL, PM_WARN, "%s responds again after %.1f s", e->name, (double)e->still_us / 1e6);
                no_longer_hangs(e);
                return 0;
        }
        if (e->still_us == 0)
                scheduling_of(e, &e->cpu_before, &e->waited_before);
        e->still_us += step_us;
        if (e->still_us < HANGS_US)
                return 0;
        scheduling_of(e, &cpu, &waited);
        own = e->still_us - MIN(MAX(waited - e->waited_before, 0), EXCUSED(e->still_us));
        if (own < HANGS_US)
                return 0;
        now = now_us();
        if (!e->hangs || now - e->said_us >= SAY_AGAIN_US) {
                say_where(e, where, sizeof where);
                log_msg(NULL, PM_ERROR, "%s has hung for %.1f s, %.1f s of it CPU time%s", where, (double)own / 1e6,
                        (double)(cpu - e->cpu_before) / 1e6, e->kind == WATCHDOG_WORKER ? "; other workers take its new connections" : "");
                e->said_us = now;
        }
        if (!e->hangs && e->kind == WATCHDOG_WORKER)
                atomic_fetch_add_explicit(&hanging, 1, memory_order_relaxed);
        e->hangs = true;
        return own;
}

static void too_long(const struct entry *e, int64_t own_us, int64_t limit)
{
        char where[256], line[512];

        say_where(e, where, sizeof where);
        (void)snprintf(line, sizeof line, "%s has hung for %.1f s, and 'watchdog' allows %.1f s: exiting", where,
                       (double)own_us / 1e6, (double)limit / 1e6);
        end_process(line);
}

static void look(int64_t step_us)
{
        const int64_t limit = atomic_load_explicit(&limit_us, memory_order_relaxed);
        unsigned pool = 0, pool_over = 0;
        const struct entry *last = NULL;
        int64_t last_own = 0;

        for (struct entry *e = entries; e && relieve_fn; e = e->next) {
                int64_t own = look_at(e, step_us);

                pool += e->kind == WATCHDOG_POOL;
                if (limit && own >= limit) {
                        if (e->kind == WATCHDOG_WORKER)
                                too_long(e, own, limit);
                        pool_over++;
                        last = e;
                        last_own = own;
                }
                if (own && e->kind == WATCHDOG_WORKER)
                        relieve_fn(relieve_arg, e->owner);
        }
        if (pool_over && pool_over == pool)
                too_long(last, last_own, limit);
}

/* Whoever is still entered has not ended. */
static void check_end(void)
{
        int64_t end_by = atomic_load_explicit(&end_by_us, memory_order_relaxed);
        char line[1024] = "does not stop in time: exiting", where[256];
        size_t n = strlen(line);

        if (!end_by || now_us() < end_by)
                return;
        for (const struct entry *e = entries; e && n < sizeof line - 1; e = e->next) {
                say_where(e, where, sizeof where);
                n += (size_t)snprintf(line + n, sizeof line - n, "%s%s", e == entries ? "; not over yet: " : ", ", where);
        }
        end_process(line);
}

static void *watchdog_main(void *arg)
{
        int64_t before = now_us(), now, interval;

        crash_thread_begin();
        pthread_mutex_lock(&lock);
        while (!stopping) {
                struct timespec until;

                interval = relieve_fn && watchdog_hanging() ? RELIEVE_US : LOOK_US;
                (void)clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_nsec += interval * 1000;
                until.tv_sec += until.tv_nsec / 1000000000;
                until.tv_nsec %= 1000000000;
                (void)pthread_cond_timedwait(&wake, &lock, &until);
                now = now_us();
                look(MIN(now - before, 2 * interval));
                before = now;
                check_end();
        }
        pthread_mutex_unlock(&lock);
        return arg;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

int watchdog_start(void (*relieve)(void *arg, void *owner), void *arg)
{
        pthread_condattr_t monotonic;
        sigset_t former;
        int r;

        assert(!running);
        (void)pthread_condattr_init(&monotonic);
        (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&wake, &monotonic);
        (void)pthread_condattr_destroy(&monotonic);
        relieve_fn = relieve;
        relieve_arg = arg;
        stopping = false;
        crash_block_signals(&former);
        r = pthread_create(&thread, NULL, watchdog_main, NULL);
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (r == 0)
                (void)pthread_setname_np(thread, "watchdog");
        running = r == 0;
        return -r;
}

void watchdog_limit(int64_t ms)
{
        atomic_store_explicit(&limit_us, ms * 1000, memory_order_relaxed);
}

void watchdog_calm(void)
{
        pthread_mutex_lock(&lock);
        relieve_fn = NULL;
        for (struct entry *e = entries; e; e = e->next)
                no_longer_hangs(e);
        pthread_mutex_unlock(&lock);
}

void watchdog_end_by(int64_t us)
{
        int64_t present = atomic_load_explicit(&end_by_us, memory_order_relaxed);

        while ((!present || us < present) &&
               !atomic_compare_exchange_weak_explicit(&end_by_us, &present, us, memory_order_relaxed, memory_order_relaxed))
                ;
}

void watchdog_stop(void)
{
        if (!running)
                return;
        pthread_mutex_lock(&lock);
        stopping = true;
        pthread_cond_signal(&wake);
        pthread_mutex_unlock(&lock);
        (void)pthread_join(thread, NULL);
        (void)pthread_cond_destroy(&wake);
        running = false;
}

unsigned watchdog_hanging(void)
{
        return atomic_load_explicit(&hanging, memory_order_relaxed);
}

bool watchdog_is_hanging(const void *owner)
{
        for (const struct entry *e = entries; e; e = e->next)
                if (e->owner == owner && e->kind == WATCHDOG_WORKER)
                        return e->hangs;
        return true; /* it is over */
}

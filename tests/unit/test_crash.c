/* SPDX-License-Identifier: Apache-2.0 */
/* Children that die on purpose, and what they say. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "crash.h"
#include "loader.h"

#include "base.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* whose own handlers follow ours, and end the process in their way */
#else
#define SANITIZED 0
#endif

static char said[1 << 16];

/* How a child that runs fn ends. */
static int ending_of(void (*fn)(void))
{
        size_t n = 0;
        ssize_t got;
        int ends[2], status;
        pid_t pid;

        cr_assert_eq(pipe(ends), 0);
        pid = fork();
        if (pid == 0) {
                (void)dup2(ends[1], STDERR_FILENO);
                crash_setup();
                fn();
                _exit(0);
        }
        (void)close(ends[1]);
        while (n < sizeof said - 1 && (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0)
                n += (size_t)got;
        said[n] = '\0';
        (void)close(ends[0]);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return status;
}

static void expect(void (*fn)(void), int sig, const char *line)
{
        int status = ending_of(fn);

        cr_assert_eq(strncmp(said, line, strlen(line)), 0, "%s", said);
        if (SANITIZED)
                cr_assert_neq(status, 0);
        else
                cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == sig, "status %x", (unsigned)status);
}

/* A page that may not be read: a fault like a plugin's. */
static void fault(void)
{
        volatile char *p = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        (void)*p;
}

static void fault_in_open(void)
{
        (void)loader_enter("knn", "open");
        fault();
}

static void *faulty_step(void *arg)
{
        crash_thread_begin();
        (void)loader_enter("knn", "a step");
        fault();
        return arg;
}

static void fault_in_a_step(void)
{
        pthread_t t;

        (void)pthread_create(&t, NULL, faulty_step, NULL);
        (void)pthread_join(t, NULL);
}

static volatile unsigned deepest = UINT_MAX; /* further than any stack */

static int deeper(unsigned depth)
{
        volatile char here[4096];

        here[0] = (char)depth;
        return depth == deepest ? 0 : deeper(depth + 1) + here[0];
}

static void *overflow(void *arg)
{
        crash_thread_begin();
        (void)loader_enter("recursive", "a step");
        (void)deeper(0);
        return arg;
}

static void overflow_in_a_step(void)
{
        pthread_t t;

        (void)pthread_create(&t, NULL, overflow, NULL);
        (void)pthread_join(t, NULL);
}

static void abort_of_ours(void)
{
        loader_leave(loader_enter("knn", "a step"));
        abort();
}

static void sent_by_another(void)
{
        (void)kill(getpid(), SIGBUS);
        (void)sleep(5);
}

static void nothing(void)
{
        sigset_t former, now;

        crash_block_signals(&former);
        (void)pthread_sigmask(SIG_SETMASK, NULL, &now);
        if (!sigismember(&now, SIGTERM) || sigismember(&now, SIGSEGV) || sigismember(&now, SIGABRT))
                _exit(1);
}

Test(crash, names_the_router_and_the_signal, .timeout = 60)
{
        expect(fault_in_open, SIGSEGV, "pointsman: crashed (signal 11) in open of router 'knn'\n");
        expect(fault_in_a_step, SIGSEGV, "pointsman: crashed (signal 11) in a step of router 'knn'\n");
        expect(abort_of_ours, SIGABRT, "pointsman: crashed (signal 6)\n");
        expect(sent_by_another, SIGBUS, "pointsman: crashed (signal 7)\n");
}

Test(crash, a_stack_overflow_is_named_too, .timeout = 60)
{
        expect(overflow_in_a_step, SIGSEGV, "pointsman: crashed (signal 11) in a step of router 'recursive'\n");
}

Test(crash, threads_leave_signals_to_the_main_thread_but_not_fatal_ones)
{
        cr_assert_eq(ending_of(nothing), 0);
}

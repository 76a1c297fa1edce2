/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handler uses nothing but poll(), write() and what was laid ready.  It puts the former action back (the default, or a sanitizer's),
 * which then does what it would have done without us: a fault happens again on return, any other signal is raised again.
 */
#include "crash.h"

#include <stdatomic.h>

#include "loader.h"
#include "log.h"

#include "base.h"

static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
static struct sigaction former[LENGTH_OF(fatal)];
static _Thread_local char alternate[16 * 1024] __attribute__((aligned(16)));

/* Appends as far as there is room. */
static size_t append(char *out, size_t at, size_t size, const char *text)
{
        while (*text && at < size)
                out[at++] = *text++;
        return at;
}

static void on_fatal(int sig, siginfo_t *info, void *context)
{
        const struct loader_running *now = loader_running_now();
        const char *router = atomic_load_explicit(&now->router, memory_order_relaxed);
        const char *call = atomic_load_explicit(&now->call, memory_order_relaxed);
        char line[256], number[3] = { (char)('0' + sig / 10), (char)('0' + sig % 10) };
        size_t n = 0, size = sizeof line - 2;

        (void)context;
        n = append(line, n, size, "pointsman: crashed (signal ");
        n = append(line, n, size, sig < 10 ? number + 1 : number);
        n = append(line, n, size, ")");
        if (router) {
                n = append(line, n, size, " in ");
                n = append(line, n, size, call ? call : "code");
                n = append(line, n, size, " of router '");
                n = append(line, n, size, router);
                n = append(line, n, size + 1, "'");
        }
        line[n++] = '\n';
        log_crash(line, n);
        for (size_t i = 0; i < LENGTH_OF(fatal); i++)
                if (fatal[i] == sig)
                        (void)sigaction(sig, &former[i], NULL);
        if (info->si_code <= 0) /* sent, not a fault: it would not come again */
                (void)raise(sig);
}

void crash_thread_begin(void)
{
        const stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
        stack_t present;

        if (sigaltstack(NULL, &present) == 0 && (present.ss_flags & SS_DISABLE)) /* a sanitizer brings one, and frees it */
                (void)sigaltstack(&stack, NULL);
}

void crash_setup(void)
{
        struct sigaction action = { .sa_sigaction = on_fatal, .sa_flags = SA_ONSTACK | SA_SIGINFO };

        crash_thread_begin();
        (void)sigemptyset(&action.sa_mask);
        for (size_t i = 0; i < LENGTH_OF(fatal); i++)
                (void)sigaction(fatal[i], &action, &former[i]);
}

void crash_block_signals(sigset_t *before)
{
        sigset_t all;

        (void)sigfillset(&all);
        for (size_t i = 0; i < LENGTH_OF(fatal); i++)
                (void)sigdelset(&all, fatal[i]); /* blocked, they would kill without a word */
        (void)pthread_sigmask(SIG_SETMASK, &all, before);
}

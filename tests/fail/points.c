/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The executable's own malloc() is that of all libraries, too: behind it is the C library's, or a sanitizer's.
 *
 * Blocks are kept in a table of open addressing, from points_track() on.  What is lost is found as a collector would: nothing that lies in a
 * variable, on the stack or in a block that is not lost points at it.
 */
#include "points.h"

#pragma GCC visibility push(default) /* the libraries are to find them */

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define BELOW(name) __interceptor_##name
int __interceptor_posix_memalign(void **ret, size_t align, size_t n);
#else
#define BELOW(name) __libc_##name
void *__libc_memalign(size_t align, size_t n);
#endif
void *BELOW(malloc)(size_t n);
void *BELOW(calloc)(size_t n, size_t size);
void *BELOW(realloc)(void *p, size_t n);
void BELOW(free)(void *p);

enum { ROOM = 1 << 18, TRACE = 32, THREAD = 2304 /* sizeof(struct pthread) of glibc */ };

struct block {
        void *p; /* NULL: free; GONE: there was one */
        size_t n;
};

/* Who made the block of this slot; apart, since it is seldom asked for. */
static struct made_by {
        void *frames[TRACE];
        int n;
} made_by[ROOM];

#define GONE ((void *)1)

static struct {
        _Atomic bool armed, tracking, tracing;
        _Atomic unsigned long seen;
        unsigned long at;
        bool on, evhttp;
        struct points_failure *failure;
        pthread_mutex_t lock;
        struct block blocks[ROOM];
        size_t n, high; /* live; slots that are not free */
} s = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local bool exempt, inside;

/*
 * Libraries that do not survive it by their own fault: the function of theirs that asked.  By name, never by number, each with its reason.
 */
static const char *const not_survived[] = {
        "omp_set_num_threads", /* libgomp: ends the process, "libgomp: Out of memory allocating ... bytes" */
        "GOMP_parallel",       /* the same */
        "curl_easy_reset",     /* libcurl 7.88: says nothing, and leaves a handle whose next transfer has no buffer */
        "bufferevent_setwatermark", /* libevent 2.1 looks into the NULL; memory_read_ahead() has seen to it that there is memory */
};

static bool is_in(const char *name, const char *const *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(name, list[i]) == 0)
                        return true;
        return false;
}

/*
 * Does libevent ask, on behalf of nobody but itself?  A connection of its HTTP server (2.1) that lacks memory is closed without a word, or told
 * that its request is bad, or waits for what is there already, or is a NULL that it looks into.
 */
static bool libevent_alone(void *const *frames, int n)
{
        Dl_info us, info;
        bool others = false;

        (void)dladdr(&s, &us);
        for (int i = 0; i < n && dladdr(frames[i], &info); i++) {
                if (info.dli_fbase == us.dli_fbase && others)
                        return false;
                others = others || info.dli_fbase != us.dli_fbase;
                if (info.dli_sname && (strcmp(info.dli_sname, "event_base_loop") == 0 || strcmp(info.dli_sname, "evhttp_send_reply") == 0))
                        return true; /* evhttp_send_reply() leaves out the status line that there is no memory for */
        }
        return false;
}

static bool survives(void *const *frames, int n)
{
        for (int i = 0; i < n; i++) {
                Dl_info info;

                if (!dladdr(frames[i], &info))
                        continue;
                if (strstr(info.dli_fname, "/libgfortran.so"))
                        return false; /* ends the process while it is loaded: "Allocating cleared memory failed"; its own names are hidden */
                if (!info.dli_sname)
                        continue;
                if (is_in(info.dli_sname, not_survived, sizeof not_survived / sizeof not_survived[0]))
                        return false;
        }
        return !s.evhttp || !libevent_alone(frames, n);
}

static bool fails(void)
{
        unsigned long i;
        bool yes = false;

        if (!atomic_load_explicit(&s.armed, memory_order_relaxed) || exempt || inside)
                return false;
        i = atomic_fetch_add(&s.seen, 1) + 1;
        if (s.at == 0 || (i != s.at && !(s.on && i > s.at)))
                return false;
        inside = true;
        if (i == s.at) {
                s.failure->n = backtrace(s.failure->frames, POINTS_FRAMES);
                s.failure->passed = !survives(s.failure->frames, s.failure->n);
                s.failure->hit = true;
                yes = !s.failure->passed;
        } else {
                void *frames[POINTS_FRAMES];

                yes = survives(frames, backtrace(frames, POINTS_FRAMES));
        }
        inside = false;
        if (yes)
                errno = ENOMEM;
        return yes;
}

/* ---- what is live --------------------------------------------------------------------------------------------------------- */

static size_t slot_of(const void *p)
{
        return (size_t)(((uintptr_t)p >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40) % ROOM;
}

static void *note(void *p, size_t n)
{
        void *frames[TRACE];
        int n_frames = 0;
        size_t i;

        if (!p || inside || !atomic_load_explicit(&s.tracking, memory_order_relaxed))
                return p;
        if (atomic_load_explicit(&s.tracing, memory_order_relaxed)) {
                inside = true;
                n_frames = backtrace(frames, TRACE);
                inside = false;
        }
        (void)pthread_mutex_lock(&s.lock);
        for (i = slot_of(p); s.blocks[i].p && s.blocks[i].p != GONE; i = (i + 1) % ROOM)
                ;
        s.high += !s.blocks[i].p;
        if (s.high > ROOM * 3 / 4) {
                static const char text[] = "fail: too many blocks for the table\n";

                (void)!write(STDERR_FILENO, text, sizeof text - 1);
                abort();
        }
        s.blocks[i].p = p;
        s.blocks[i].n = n;
        s.n++;
        if (n_frames > 0) {
                made_by[i].n = n_frames;
                memcpy(made_by[i].frames, frames, (size_t)n_frames * sizeof *frames);
        }
        (void)pthread_mutex_unlock(&s.lock);
        return p;
}

static void forget(const void *p)
{
        if (!p || !atomic_load_explicit(&s.tracking, memory_order_relaxed))
                return;
        (void)pthread_mutex_lock(&s.lock);
        for (size_t i = slot_of(p); s.blocks[i].p; i = (i + 1) % ROOM)
                if (s.blocks[i].p == p) {
                        s.blocks[i].p = GONE;
                        s.n--;
                        break;
                }
        (void)pthread_mutex_unlock(&s.lock);
}

/* ---- the allocator -------------------------------------------------------------------------------------------------------- */

void *malloc(size_t n)
{
        return fails() ? NULL : note(BELOW(malloc)(n), n);
}

void *calloc(size_t n, size_t size)
{
        return fails() ? NULL : note(BELOW(calloc)(n, size), n * size);
}

void *realloc(void *p, size_t n)
{
        void *r;

        if (fails())
                return NULL;
        forget(p); /* before: another thread may get the same address at once */
        r = BELOW(realloc)(p, n);
        if (!r && n > 0)
                (void)note(p, 0);
        return note(r, n);
}

void free(void *p)
{
        forget(p);
        BELOW(free)(p);
}

int posix_memalign(void **ret, size_t align, size_t n)
{
        if (fails())
                return ENOMEM;
#ifdef __SANITIZE_ADDRESS__
        if (BELOW(posix_memalign)(ret, align, n) != 0)
                return ENOMEM;
#else
        *ret = BELOW(memalign)(align, n);
        if (!*ret)
                return ENOMEM;
#endif
        (void)note(*ret, n);
        return 0;
}

#ifdef __SANITIZE_ADDRESS__ /* whose own would not come here */
char *strdup(const char *text)
{
        size_t n = strlen(text) + 1;
        char *p = malloc(n);

        return p ? memcpy(p, text, n) : NULL;
}
#endif

/* ---- the header's functions ----------------------------------------------------------------------------------------------- */

void points_exempt(bool yes)
{
        exempt = yes;
}

void points_evhttp(void)
{
        s.evhttp = true;
}

void points_track(bool trace)
{
        atomic_store(&s.tracing, trace);
        atomic_store(&s.tracking, true);
}

void points_arm(unsigned long n, bool on, struct points_failure *ret)
{
        void *frames[4];

        (void)backtrace(frames, 4); /* its first call loads a library */
        s.at = n;
        s.failure = ret;
        s.on = on;
        atomic_store(&s.seen, 0);
        atomic_store(&s.armed, true);
}

unsigned long points_disarm(void)
{
        atomic_store(&s.armed, false);
        return atomic_load(&s.seen);
}

void points_show(void *const *frames, int n)
{
        inside = true;
        backtrace_symbols_fd(frames, n, STDERR_FILENO);
        inside = false;
}

/* ---- what nobody points at ------------------------------------------------------------------------------------------------ */

/* The live ones by address; `seen` are pointed at from where a pointer may be, or from one that is. */
static struct held {
        uintptr_t from, to;
        size_t slot;
        bool seen;
} held[ROOM];
static size_t n_held, queue[ROOM], n_queued;

static int by_address(const void *a, const void *b)
{
        const struct held *x = a, *y = b;

        return x->from < y->from ? -1 : x->from > y->from;
}

static void look_for(uintptr_t word)
{
        size_t low = 0, high = n_held;

        while (low < high) {
                size_t mid = (low + high) / 2;

                if (word < held[mid].from)
                        high = mid;
                else if (word >= held[mid].to)
                        low = mid + 1;
                else {
                        if (!held[mid].seen)
                                queue[n_queued++] = mid;
                        held[mid].seen = true;
                        return;
                }
        }
}

__attribute__((no_sanitize("address"))) static void look_through(uintptr_t from, uintptr_t to)
{
        for (from = (from + 7) & ~(uintptr_t)7; from + 8 <= to; from += 8)
                look_for(*(const uintptr_t *)from);
}

static int look_through_object(struct dl_phdr_info *info, size_t size, void *arg)
{
        const struct {
                uintptr_t p;
                size_t n;
        } ours[] = { { (uintptr_t)&s, sizeof s }, { (uintptr_t)held, sizeof held }, { (uintptr_t)queue, sizeof queue }, { (uintptr_t)made_by, sizeof made_by } };

        (void)size, (void)arg;
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *h = &info->dlpi_phdr[i];
                uintptr_t from = info->dlpi_addr + h->p_vaddr, to = from + h->p_memsz;

                if (h->p_type == PT_TLS && info->dlpi_tls_data)
                        look_through((uintptr_t)info->dlpi_tls_data, (uintptr_t)info->dlpi_tls_data + h->p_memsz);
                if (h->p_type != PT_LOAD || !(h->p_flags & PF_W))
                        continue;
                while (from < to) { /* but for what we know ourselves */
                        uintptr_t until = to, next = to;

                        for (size_t k = 0; k < sizeof ours / sizeof ours[0]; k++)
                                if (from <= ours[k].p && ours[k].p < until) {
                                        until = ours[k].p;
                                        next = until + ours[k].n;
                                }
                        look_through(from, until);
                        from = next;
                }
        }
        return 0;
}

extern void *__libc_stack_end;

/* What a library loses by its own fault when it has no memory: the block was made on behalf of this function of its. */
static const char *const loses[] = {
        "EVP_MD_fetch",   /* OpenSSL 3.0: its map of names takes a name that it could not copy for a new one, and drops the old entry */
        "OSSL_DECODER_CTX_new_for_pkey", /* the same */
        "dlopen",         /* glibc 2.36: of a library that it cannot map, the names that it has made of it so far */
};

static bool by_its_own_fault(const struct made_by *b)
{
        for (int i = 0; i < b->n; i++) {
                Dl_info info;

                if (!dladdr(b->frames[i], &info) || !info.dli_sname)
                        continue;
                if (is_in(info.dli_sname, loses, sizeof loses / sizeof loses[0]))
                        return true;
        }
        return false;
}

size_t points_lost(bool show)
{
        const bool traced = atomic_load(&s.tracing);
        size_t lost = 0;

        atomic_store(&s.tracking, false);
        for (size_t i = 0; i < ROOM; i++)
                if (s.blocks[i].p && s.blocks[i].p != GONE)
                        held[n_held++] = (struct held){ (uintptr_t)s.blocks[i].p, (uintptr_t)s.blocks[i].p + (s.blocks[i].n ? s.blocks[i].n : 1), i, false };
        qsort(held, n_held, sizeof held[0], by_address);
        (void)dl_iterate_phdr(look_through_object, NULL);
        look_through((uintptr_t)__builtin_frame_address(0), (uintptr_t)__libc_stack_end);
        look_through((uintptr_t)pthread_self(), (uintptr_t)pthread_self() + THREAD); /* pthread_setspecific() */
        while (n_queued > 0) {
                const struct held *h = &held[queue[--n_queued]];

                look_through(h->from, h->to);
        }
        for (size_t i = 0; i < n_held; i++) {
                const struct block *b = &s.blocks[held[i].slot];

                if (held[i].seen || (traced && by_its_own_fault(&made_by[held[i].slot])))
                        continue;
                lost++;
                if (show) {
                        (void)dprintf(STDERR_FILENO, "lost: %zu bytes\n", b->n);
                        points_show(made_by[held[i].slot].frames, made_by[held[i].slot].n);
                }
        }
        return lost;
}

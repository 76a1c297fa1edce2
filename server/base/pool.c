/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One list under one lock: jobs take a millisecond or more, so the lock costs next to nothing.  A job's `state` changes under the
 * lock.  While it is QUEUED, a pool thread may take it out to run it, its owner to cancel it, and the end of the pool to return it unrun.
 */
#include "pool.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>

#include "crash.h"
#include "watchdog.h"

#include "base.h"

enum { JOB_IDLE, JOB_QUEUED, JOB_RUNNING, JOB_HOME };

struct pool {
        pthread_mutex_t lock;
        pthread_cond_t work;
        struct pool_job *first, *last;
        _Atomic size_t waiting;
        _Atomic unsigned begun;
        bool stopping;
        unsigned n;
        pthread_t threads[];
};

static int read_adds(struct dl_phdr_info *info, size_t size, void *arg)
{
        unsigned long long *adds = arg;

        (void)size;
        *adds = info->dlpi_adds;
        return 1;
}

/* A router may bring OpenMP when it is loaded, out of sight of RTLD_DEFAULT, and the setting belongs to a thread. */
void pool_calm_openmp(void)
{
        static const char *const libraries[] = { "libgomp.so.1", "libomp.so.5", "libiomp5.so" };
        static _Thread_local unsigned long long seen;
        unsigned long long adds = 0;

        (void)dl_iterate_phdr(read_adds, &adds);
        if (adds == seen)
                return;
        seen = adds;
        for (size_t i = 0; i < LENGTH_OF(libraries); i++) {
                void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
                void (*set)(int) = NULL;

                if (!library)
                        continue;
                *(void **)&set = dlsym(library, "omp_set_num_threads");
                if (set)
                        set(1);
                (void)dlclose(library);
        }
}

static void on_home(struct message *m, void *owner)
{
        struct pool_job *j = CONTAINER_OF(m, struct pool_job, home);

        (void)owner;
        assert(j->state == JOB_HOME);
        j->state = JOB_IDLE;
        j->done(j);
}

static void job_unlink(struct pool *p, struct pool_job *j)
{
        assert(j->state == JOB_QUEUED);
        *(j->prev ? &j->prev->next : &p->first) = j->next;
        *(j->next ? &j->next->prev : &p->last) = j->prev;
        j->next = j->prev = NULL;
        atomic_fetch_sub_explicit(&p->waiting, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&j->customer->waiting, 1, memory_order_relaxed);
}

static void *pool_main(void *arg)
{
        struct pool *p = arg;

        char name[16];

        crash_thread_begin();
        (void)snprintf(name, sizeof name, "pool/%u", atomic_fetch_add_explicit(&p->begun, 1, memory_order_relaxed));
        (void)pthread_setname_np(pthread_self(), name);
        watchdog_thread_begin(name, WATCHDOG_POOL, p);
        pthread_mutex_lock(&p->lock);
        for (;;) {
                struct pool_job *j;

                while (!p->first && !p->stopping)
                        pthread_cond_wait(&p->work, &p->lock);
                if (p->stopping)
                        break;
                j = p->first;
                job_unlink(p, j);
                j->state = JOB_RUNNING;
                pthread_mutex_unlock(&p->lock);

                pool_calm_openmp();
                j->work(j->arg);

                pthread_mutex_lock(&p->lock);
                j->state = JOB_HOME;
                inbox_post(j->inbox, &j->home); /* from here on j may be gone */
        }
        pthread_mutex_unlock(&p->lock);
        watchdog_thread_end();
        return NULL;
}

struct pool *pool_create(unsigned threads)
{
        struct pool *p = calloc(1, sizeof *p + threads * sizeof p->threads[0]);
        sigset_t former;

        assert(threads > 0);
        if (!p)
                return NULL;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->work, NULL);
        crash_block_signals(&former);
        for (; p->n < threads; p->n++)
                if (pthread_create(&p->threads[p->n], NULL, pool_main, p) != 0)
                        break;
        (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (p->n < threads) {
                pool_destroy(p);
                return NULL;
        }
        return p;
}

void pool_destroy(struct pool *p)
{
        if (!p)
                return;
        pthread_mutex_lock(&p->lock);
        p->stopping = true;
        pthread_cond_broadcast(&p->work);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->n; i++)
                (void)pthread_join(p->threads[i], NULL);
        while (p->first) {
                struct pool_job *j = p->first;

                job_unlink(p, j);
                j->state = JOB_HOME;
                inbox_post(j->inbox, &j->home);
        }
        pthread_cond_destroy(&p->work);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

int pool_submit(struct pool *p, struct pool_job *j)
{
        int r = 0;

        assert(j->work && j->done && j->inbox && j->customer);
        pthread_mutex_lock(&p->lock);
        assert(j->state == JOB_IDLE);
        if (p->stopping || atomic_load_explicit(&j->customer->waiting, memory_order_relaxed) >= j->customer->max) {
                r = -EBUSY;
        } else {
                j->home.deliver = on_home;
                j->state = JOB_QUEUED;
                j->next = NULL;
                j->prev = p->last;
                *(p->last ? &p->last->next : &p->first) = j;
                p->last = j;
                atomic_fetch_add_explicit(&p->waiting, 1, memory_order_relaxed);
                atomic_fetch_add_explicit(&j->customer->waiting, 1, memory_order_relaxed);
                pthread_cond_signal(&p->work);
        }
        pthread_mutex_unlock(&p->lock);
        return r;
}

bool pool_withdraw(struct pool *p, struct pool_job *j)
{
        bool mine;

        pthread_mutex_lock(&p->lock);
        mine = j->state == JOB_QUEUED;
        if (mine) {
                job_unlink(p, j);
                j->state = JOB_IDLE;
        }
        pthread_mutex_unlock(&p->lock);
        return mine;
}

size_t pool_waiting(const struct pool *p)
{
        return atomic_load_explicit(&p->waiting, memory_order_relaxed);
}

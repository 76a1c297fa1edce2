/* SPDX-License-Identifier: Apache-2.0 */
/* interests.so, asked from several threads at once, each with its offload on a further one; runs under ThreadSanitizer too. */
#include <pthread.h>
#include <stdatomic.h>

#include "on_mockhost.h"

#define THREADS 4
#define ASKS 100

static struct on o;
static atomic_int wrong;

static void *many(void *arg)
{
        unsigned number = *(const unsigned *)arg;

        for (unsigned i = 0; i < ASKS; i++) {
                char user[16];
                const char *history[] = { "i3", "i40", "i77", NULL };
                struct mock_ask ask = { .kind = PM_RECOMMEND, .user = user, .history = i % 3 ? NULL : history, .wanted = i % 30 };
                struct mock_result r;

                (void)snprintf(user, sizeof user, "u%u", (number * ASKS + i) % 330); /* some of them are not known */
                mockhost_run(o.host, &ask, &r);
                if (r.end != MOCK_CANDIDATES || r.n_items != i % 30)
                        atomic_fetch_add(&wrong, 1);
                mock_result_finish(&r);
        }
        return NULL;
}

Test(interests_threads, many_at_a_time, .timeout = 60)
{
        struct mock_setup setup = { .base = secure_getenv("PM_TEST_DATA"), .threads = true, .limit_ms = 30000 };
        static unsigned number[THREADS];
        pthread_t thread[THREADS];

        cr_assert_eq(on_open(&o, "PM_ROUTERS", "interests", "{\"index\": \"../../configs/models/demo-interests\"}", &setup), 0, "%s", o.why);
        for (unsigned i = 0; i < THREADS; i++) {
                number[i] = i;
                cr_assert_eq(pthread_create(&thread[i], NULL, many, &number[i]), 0);
        }
        for (size_t i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_join(thread[i], NULL), 0);
        cr_assert_eq(atomic_load(&wrong), 0, "%d answers", atomic_load(&wrong));
        on_close(&o);
}

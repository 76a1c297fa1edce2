/* SPDX-License-Identifier: Apache-2.0 */
/* An instance is a process: its id is drawn when it is first needed. */
#include "hops.h"

#include <pthread.h>
#include <sys/random.h>

#include "base.h"

enum { ID = 16, ROOM = HOPS_MAX * (ID + 2) }; /* what HOPS_MAX instances take: "id, id" */

static char ours[ID + 1];

static void draw(void)
{
        uint64_t n;

        if (getrandom(&n, sizeof n, 0) != sizeof n)
                n = (uint64_t)now_us() * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)getpid();
        (void)snprintf(ours, sizeof ours, "%016" PRIx64, n);
}

static const char *our_id(void)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        (void)pthread_once(&once, draw);
        return ours;
}

const char *hops_end(struct pm_str passed)
{
        size_t n = 1;

        if (passed.n == 0)
                return NULL;
        if (memmem(passed.p, passed.n, our_id(), ID))
                return "it has passed this gateway before: one of its experts is this gateway, or leads back to it";
        for (size_t i = 0; i < passed.n; i++)
                n += passed.p[i] == ',';
        if (n >= HOPS_MAX || passed.n > ROOM)
                return "it has passed 8 gateways already";
        return NULL;
}

size_t hops_line(struct pm_str passed, char *out)
{
        static const char name[] = HOPS_HEADER ": ";
        size_t n = sizeof name - 1, kept = MIN(passed.n, (size_t)ROOM);

        _Static_assert(sizeof name + ROOM + sizeof ", " + ID + sizeof "\r\n" <= HOPS_LINE_MAX, "a line has room");
        memcpy(out, name, n);
        if (kept) {
                memcpy(out + n, passed.p, kept);
                n += kept;
                memcpy(out + n, ", ", 2);
                n += 2;
        }
        memcpy(out + n, our_id(), ID);
        n += ID;
        memcpy(out + n, "\r\n", 2);
        return n + 2;
}

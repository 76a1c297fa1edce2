/* SPDX-License-Identifier: Apache-2.0 */
/* beside.h - experts and a Redis, each a process of its own, whose memory is not what a test is about. */
#ifndef TESTS_FAIL_BESIDE_H
#define TESTS_FAIL_BESIDE_H

struct beside {
        unsigned plain, tls; /* ports of the experts */
        char ca[128];        /* whom to trust for the second */
};

extern struct beside beside;

/* Redis listens on `redis` in the folder; ${PM_FAIL_REDIS} is its path. */
void beside_start(const char *folder);
void beside_stop(void);
#endif

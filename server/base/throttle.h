/* SPDX-License-Identifier: Apache-2.0 */
/* throttle.h - a log line that comes once a minute at most, however often there is a reason. */
#ifndef PM_THROTTLE_H
#define PM_THROTTLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define THROTTLE_US INT64_C(60000000)

/* Both: last_us, 0 at first, is when it was said; true: say it now.  now: now_us(). */
static inline bool throttle(int64_t *last_us, int64_t now)
{
        if (*last_us && now - *last_us < THROTTLE_US)
                return false;
        *last_us = now;
        return true;
}

/* Of several threads one says it. */
static inline bool throttle_shared(_Atomic int64_t *last_us, int64_t now)
{
        int64_t last = atomic_load_explicit(last_us, memory_order_relaxed);

        return (last == 0 || now - last >= THROTTLE_US) && atomic_compare_exchange_strong(last_us, &last, now);
}
#endif

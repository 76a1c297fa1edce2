/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.h - what a client may ask of the gateway: /limits/ of the file as it is filled and as it is used.
 */
#ifndef PM_LIMIT_H
#define PM_LIMIT_H

#include <stdint.h>

/* Sizes in bytes, times in milliseconds. */
struct limits {
        int64_t head, headers, body, memory, depth, messages, connections;
        int64_t head_time, body_time, idle_time, write_time, request_time, drain_time;
        int64_t buffer, event, ids, items;
};
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - what all requests of the process hold together: bodies, what was read from them, answers on their way.
 *
 * Above limits.memory nothing new is taken in (503); what runs goes on, within its own limits.  Any thread.  Small amounts are summed up by
 * thread, so the sum may be off by 64 KiB for each.
 */
#ifndef PM_MEMORY_H
#define PM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bufferevent;

void memory_limit(int64_t bytes); /* from now on */
int64_t memory_used(void);

/* More, or less, is held; this cannot be refused. */
void memory_held(int64_t bytes);
/* So much more is to be held.  False: there is no room, and nothing was counted. */
bool memory_take(int64_t bytes);
/* Is there room for anything? */
bool memory_room(void);

/* It reads no further ahead than so many bytes: 0, or -ENOMEM, and then it has no such limit. */
int memory_read_ahead(struct bufferevent *bev, size_t max);

/* Memory that was freed goes back to the system.  Main thread, before others. */
void memory_setup(void);
#endif

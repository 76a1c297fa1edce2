/* SPDX-License-Identifier: Apache-2.0 */
/* redis_slots.h - a cluster's words: the slot of a key, the table of slots, redirections.  Pure functions; replies can be anything. */
#ifndef PM_REDIS_SLOTS_H
#define PM_REDIS_SLOTS_H

#include "redis_address.h"

#define REDIS_SLOTS 16384

struct redisReply;

/* CRC-16/XMODEM of the key, or of what its first {...} holds. */
unsigned redis_slot_of_key(struct pm_str key);

/*
 * Reads the reply to CLUSTER SLOTS, which came from `from` (an empty host in it means the same host): fn for each range of slots and
 * its master.  0, -EINVAL if anything is not as it should be, or what fn said if that is negative; fn has seen what came before.
 */
int redis_slots_read(const struct redisReply *reply, const struct redis_address *from,
                     int (*fn)(void *arg, unsigned first, unsigned last, const struct redis_address *master), void *arg);

enum redis_move { REDIS_NO_MOVE, REDIS_MOVED, REDIS_ASK, REDIS_TRYAGAIN, REDIS_DOWN };
/* An error's text; "MOVED 3999 127.0.0.1:6381" and "ASK ..." fill slot and to; DOWN is the whole cluster. */
enum redis_move redis_move_read(struct pm_str text, const struct redis_address *from, unsigned *slot, struct redis_address *to);
#endif

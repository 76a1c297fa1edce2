/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_codec.h - a user's last items as bytes: two bytes of length (of this machine's order: it stays in the process) and the item, the
 * newest first.  Any thread; no memory is taken.
 */
#ifndef PM_HISTORY_CODEC_H
#define PM_HISTORY_CODEC_H

#include <stddef.h>

#include "pm_router.h"

enum { HISTORY_ITEM_MAX = 4096, HISTORY_MAX = 65536 };

/* The items, which point into value: at most `max`, and none from where it is cut.  Returns how many. */
size_t history_decode(struct pm_str value, struct pm_str *items, size_t max);

/*
 * Writes `item`, of 1 to HISTORY_ITEM_MAX bytes, and then what is in `before`: at most `keep` items in all, and no more than fit into `out`
 * of HISTORY_MAX bytes.  Returns the length.
 */
size_t history_push(struct pm_str before, struct pm_str item, size_t keep, char *out);
#endif

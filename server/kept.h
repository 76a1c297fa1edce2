/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.h - a decision as it is kept: a few bytes with a version, the same in a worker's memory and in Redis.
 *
 * Version 1, little-endian: version (1 byte), when it ends (8: milliseconds since 1970), confidence (4: IEEE float), then texts, each
 * as its length plus one (LEB128, 0: there is none), its bytes and a NUL: expert, router, category, reason, extra; then the number
 * of fallbacks (LEB128) and their names.  Names, not numbers, so that gateways of other configurations can read it.  What was read is
 * not trusted: whoever uses it looks the names up.
 */
#ifndef PM_KEPT_H
#define PM_KEPT_H

#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

enum { KEPT_VERSION = 1, KEPT_FALLBACKS_MAX = 64 };

/* Texts point into what was read, with a NUL behind them; p NULL: there is none. */
struct kept {
        int64_t ends_ms;
        double confidence;
        struct pm_str expert, router, category, reason, extra;
        struct pm_str fallbacks[KEPT_FALLBACKS_MAX];
        size_t n_fallbacks;
};

/* How many bytes it takes; fallbacks above the limit are left out. */
size_t kept_size(const struct kept *k);
/* Writes exactly so many. */
void kept_write(const struct kept *k, unsigned char *out);
/* 0; -EPROTO: another version; -EINVAL: no such value.  Reads nothing beyond value. */
int kept_read(struct pm_str value, struct kept *ret);
#endif

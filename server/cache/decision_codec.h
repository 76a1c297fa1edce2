/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decision_codec.h - a decision as it is kept: a few bytes with a version, the same in a worker's memory and in Redis.
 *
 * Version 2, little-endian: version (1 byte), when it ends (8: milliseconds since 1970), confidence (4: IEEE float), flags (1: bit 0 unsure, bit 1 only),
 * the first bytes of its key's digest (8, so that a value under another's key is told apart), then texts, each as its length plus one (LEB128, 0: there is none), its bytes and a NUL: expert, router, category, reason, extra; then the number
 * of fallbacks (LEB128) and their names.  Names, not numbers, so that gateways of other configurations can read it.  What was read is
 * not trusted: the caller looks the names up.
 */
#ifndef PM_DECISION_CODEC_H
#define PM_DECISION_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

enum { DECISION_CODEC_VERSION = 2, DECISION_FALLBACKS_MAX = 64 };

/* Texts point into what was read, with a NUL behind them; p NULL: there is none. */
struct cached_decision {
        int64_t ends_ms;
        double confidence;
        bool unsure, only;       /* only: without fallbacks */
        uint64_t key;            /* cache_key.hash; the same as decision_encoded_key() of the key's text */
        struct pm_str expert, router, category, reason, extra;
        struct pm_str fallbacks[DECISION_FALLBACKS_MAX];
        size_t n_fallbacks;
};

/* The first bytes of the digest that stands at a key's end, in base64url; what is not there counts as zeros. */
uint64_t decision_encoded_key(struct pm_str key);

/* How many bytes it takes; fallbacks above the limit are left out. */
size_t decision_encoded_size(const struct cached_decision *k);
/* Writes exactly so many. */
void decision_encode(const struct cached_decision *k, unsigned char *out);
/* 0; -EPROTO: another version; -EINVAL: no such value.  Reads nothing beyond value. */
int decision_decode(struct pm_str value, struct cached_decision *ret);
#endif

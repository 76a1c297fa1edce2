/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer_codec.h - a whole answer as it is kept: bytes with a version, the same in a worker's memory and in Redis.
 *
 * Version 2, little-endian: version (1 byte), when it ends (8: milliseconds since 1970), the first bytes of its key's digest (8), then length
 * and bytes (4 and so many) of the expert's name and of the content type, then the body as it went out, which is never empty.  What was read is
 * not trusted: its user looks the name up and reads the body as an expert's.
 */
#ifndef PM_ANSWER_CODEC_H
#define PM_ANSWER_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "pm_router.h"

enum { ANSWER_CODEC_VERSION = 2 };

/* Texts point into what was read. */
struct cached_answer {
        int64_t ends_ms;
        uint64_t key; /* cache_key.hash */
        struct pm_str expert, type, body;
};

/* How many bytes it takes. */
size_t answer_encoded_size(const struct cached_answer *k);
/* Writes exactly so many, but for the body's: returns where that is to go. */
char *answer_encode(const struct cached_answer *k, char *out);
/* 0; -EPROTO: another version; -EINVAL: no such value.  Reads nothing beyond value. */
int answer_decode(struct pm_str value, struct cached_answer *ret);
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envelope.h - the header of a cached value, in memory and in Redis: a version byte, which rejects values of other formats; the expiry
 * time (8 bytes, little-endian, milliseconds since 1970), with which a value from Redis can be cached in memory; and the first 8 bytes
 * of the digest of its key, which reject a value that was stored under another key.
 */
#ifndef PM_ENVELOPE_H
#define PM_ENVELOPE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "pm_router.h"

enum { ENVELOPE_SIZE = 1 + 8 + 8 };

/* Where the value goes. */
static inline char *envelope_put(char *out, unsigned char version, int64_t ends_ms, uint64_t key)
{
        uint64_t ends = htole64((uint64_t)ends_ms);

        *out = (char)version;
        memcpy(out + 1, &ends, sizeof ends);
        memcpy(out + 9, &key, sizeof key); /* bytes of a digest have no order */
        return out + ENVELOPE_SIZE;
}

/* Of at least ENVELOPE_SIZE bytes. */
static inline int64_t envelope_ends(const char *p)
{
        uint64_t ends;

        memcpy(&ends, p + 1, sizeof ends);
        return (int64_t)le64toh(ends);
}

/* The value, at least a byte; p NULL: a foreign one. */
static inline struct pm_str envelope_value(struct pm_str kept, unsigned char version, uint64_t key)
{
        if (kept.n <= ENVELOPE_SIZE || (unsigned char)kept.p[0] != version || memcmp(kept.p + 9, &key, sizeof key) != 0)
                return (struct pm_str){ NULL, 0 };
        return (struct pm_str){ kept.p + ENVELOPE_SIZE, kept.n - ENVELOPE_SIZE };
}
#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "answer_codec.h"

#include <endian.h>

#include "base.h"
#include "envelope.h"

static bool take_text(struct pm_str *rest, struct pm_str *ret)
{
        uint32_t n;

        if (rest->n < sizeof n)
                return false;
        memcpy(&n, rest->p, sizeof n);
        n = le32toh(n);
        if (n > rest->n - sizeof n)
                return false;
        *ret = (struct pm_str){ rest->p + sizeof n, n };
        *rest = (struct pm_str){ rest->p + sizeof n + n, rest->n - sizeof n - n };
        return true;
}

static char *put_text(char *out, struct pm_str s)
{
        uint32_t n = htole32((uint32_t)s.n);

        memcpy(out, &n, sizeof n);
        memcpy(out + sizeof n, s.p, s.n);
        return out + sizeof n + s.n;
}

size_t answer_encoded_size(const struct cached_answer *k)
{
        return ENVELOPE_SIZE + 4 + k->expert.n + 4 + k->type.n + k->body.n;
}

char *answer_encode(const struct cached_answer *k, char *out)
{
        return put_text(put_text(envelope_put(out, ANSWER_CODEC_VERSION, k->ends_ms, k->key), k->expert), k->type);
}

int answer_decode(struct pm_str value, struct cached_answer *ret)
{
        struct cached_answer k;
        struct pm_str rest;

        if (value.n < ENVELOPE_SIZE)
                return -EINVAL;
        if (value.p[0] != ANSWER_CODEC_VERSION)
                return -EPROTO;
        k.ends_ms = envelope_ends(value.p);
        memcpy(&k.key, value.p + 9, sizeof k.key);
        rest = (struct pm_str){ value.p + ENVELOPE_SIZE, value.n - ENVELOPE_SIZE };
        if (!take_text(&rest, &k.expert) || !take_text(&rest, &k.type) || rest.n == 0)
                return -EINVAL;
        k.body = rest;
        *ret = k;
        return 0;
}

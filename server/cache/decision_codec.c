/* SPDX-License-Identifier: Apache-2.0 */
/* Every length is checked against what is left before it is used; a value must end where its last text does. */
#include "decision_codec.h"

#include <endian.h>

#include "base.h"
#include "base64.h"

enum { HEAD = 1 + 8 + 4 + 1 + 8, UNSURE = 1, ONLY = 2 };

uint64_t decision_encoded_key(struct pm_str key)
{
        const char *bar = key.n ? memrchr(key.p, '|', key.n) : NULL, *p = bar ? bar + 1 : key.p, *end = key.n ? key.p + key.n : p;
        unsigned char bytes[9] = { 0 };
        uint64_t hash;

        for (size_t bit = 0; bit < 66 && p < end; bit += 6, p++) {
                unsigned v = (unsigned)MAX(base64_value(*p, true), 0);

                for (size_t i = 0; i < 6; i++)
                        if (v >> (5 - i) & 1)
                                bytes[(bit + i) / 8] |= (unsigned char)(0x80 >> (bit + i) % 8);
        }
        memcpy(&hash, bytes, sizeof hash);
        return hash;
}

/* ---- out ------------------------------------------------------------------------------------------------------------------ */

static size_t number_size(uint64_t v)
{
        size_t n = 1;

        while (v >>= 7)
                n++;
        return n;
}

static size_t text_size(struct pm_str s)
{
        return s.p ? number_size(s.n + 1) + s.n + 1 : 1;
}

size_t decision_encoded_size(const struct cached_decision *k)
{
        size_t fallbacks = MIN(k->n_fallbacks, (size_t)DECISION_FALLBACKS_MAX);
        size_t n = HEAD + text_size(k->expert) + text_size(k->router) + text_size(k->category) + text_size(k->reason) +
                   text_size(k->extra) + number_size(fallbacks);

        for (size_t i = 0; i < fallbacks; i++)
                n += text_size(k->fallbacks[i]);
        return n;
}

static unsigned char *put_number(unsigned char *out, uint64_t v)
{
        for (; v > 0x7F; v >>= 7)
                *out++ = (unsigned char)(v | 0x80);
        *out++ = (unsigned char)v;
        return out;
}

static unsigned char *put_text(unsigned char *out, struct pm_str s)
{
        out = put_number(out, s.p ? s.n + 1 : 0);
        if (!s.p)
                return out;
        memcpy(out, s.p, s.n);
        out[s.n] = 0;
        return out + s.n + 1;
}

void decision_encode(const struct cached_decision *k, unsigned char *out)
{
        size_t fallbacks = MIN(k->n_fallbacks, (size_t)DECISION_FALLBACKS_MAX);
        uint64_t ends = htole64((uint64_t)k->ends_ms);
        float confidence = (float)k->confidence;
        uint32_t bits;

        *out++ = DECISION_CODEC_VERSION;
        memcpy(out, &ends, sizeof ends);
        out += sizeof ends;
        memcpy(&bits, &confidence, sizeof bits);
        bits = htole32(bits);
        memcpy(out, &bits, sizeof bits);
        out += sizeof bits;
        *out++ = (unsigned char)((k->unsure ? UNSURE : 0) | (k->only ? ONLY : 0));
        memcpy(out, &k->key, sizeof k->key); /* bytes of a digest have no order */
        out = put_text(out + sizeof k->key, k->expert);
        out = put_text(out, k->router);
        out = put_text(out, k->category);
        out = put_text(out, k->reason);
        out = put_text(out, k->extra);
        out = put_number(out, fallbacks);
        for (size_t i = 0; i < fallbacks; i++)
                out = put_text(out, k->fallbacks[i]);
}

/* ---- in ------------------------------------------------------------------------------------------------------------------- */

struct in {
        const char *at, *end;
        bool bad;
};

static uint64_t get_number(struct in *in)
{
        uint64_t v = 0;

        for (unsigned shift = 0; shift < 35; shift += 7) {
                unsigned char c;

                if (in->at == in->end)
                        break;
                c = (unsigned char)*in->at++;
                v |= (uint64_t)(c & 0x7F) << shift;
                if (c < 0x80)
                        return v;
        }
        in->bad = true;
        return 0;
}

/* A text that a C string can be. */
static struct pm_str get_text(struct in *in)
{
        uint64_t n = get_number(in);
        struct pm_str s = { 0 };

        if (in->bad || n == 0)
                return s;
        if (n > (uint64_t)(in->end - in->at) || in->at[n - 1] != 0 || memchr(in->at, 0, (size_t)n - 1)) {
                in->bad = true;
                return s;
        }
        s = (struct pm_str){ in->at, (size_t)n - 1 };
        in->at += n;
        return s;
}

int decision_decode(struct pm_str value, struct cached_decision *ret)
{
        struct in in = { value.p, value.p + value.n, false };
        uint64_t ends, n;
        float confidence;
        uint32_t bits;

        if (value.n == 0)
                return -EINVAL;
        if ((unsigned char)value.p[0] != DECISION_CODEC_VERSION)
                return -EPROTO;
        if (value.n < HEAD)
                return -EINVAL;
        memcpy(&ends, value.p + 1, sizeof ends);
        memcpy(&bits, value.p + 9, sizeof bits);
        bits = le32toh(bits);
        memcpy(&confidence, &bits, sizeof confidence);
        ret->ends_ms = (int64_t)le64toh(ends);
        ret->confidence = (double)confidence;
        if (!(ret->confidence >= 0 && ret->confidence <= 1) || (unsigned char)value.p[13] > (UNSURE | ONLY))
                return -EINVAL;
        ret->unsure = value.p[13] & UNSURE;
        ret->only = value.p[13] & ONLY;
        memcpy(&ret->key, value.p + 14, sizeof ret->key);
        in.at += HEAD;
        ret->expert = get_text(&in);
        ret->router = get_text(&in);
        ret->category = get_text(&in);
        ret->reason = get_text(&in);
        ret->extra = get_text(&in);
        n = get_number(&in);
        if (in.bad || n > DECISION_FALLBACKS_MAX)
                return -EINVAL;
        ret->n_fallbacks = (size_t)n;
        for (size_t i = 0; i < n; i++) {
                ret->fallbacks[i] = get_text(&in);
                in.bad = in.bad || ret->fallbacks[i].n == 0;
        }
        return in.bad || in.at != in.end || ret->expert.n == 0 || (ret->only && n) ? -EINVAL : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A stream read whole and the same stream in pieces must give the same events and facts.  The first byte seeds the pieces. */
#include <event2/buffer.h>

#include "facts.h"
#include "scan.h"

#include "base.h"

#define EVENT_MAX 2048

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
        const unsigned char *c = p;

        for (size_t i = 0; i < n; i++)
                h = (h ^ c[i]) * UINT64_C(0x100000001b3);
        return h;
}

static uint64_t mix_str(uint64_t h, struct pm_str s)
{
        return mix(mix(h, &s.n, sizeof s.n), s.p, s.n);
}

/* Digests all events; the result of the last sse_next() counts too. */
static uint64_t digest(const char *p, size_t n, unsigned seed)
{
        struct evbuffer *in = evbuffer_new();
        uint64_t h = UINT64_C(0xcbf29ce484222325);
        struct stream_event e;
        struct stream_reader s;
        int r = 0;

        stream_reader_init(&s, EVENT_MAX);
        for (size_t at = 0; at < n && r >= 0;) {
                size_t piece = n;

                if (seed) {
                        seed = seed * 1103515245 + 12345;
                        piece = 1 + (seed >> 16) % 37;
                }
                piece = MIN(piece, n - at);
                if (seed & 0x100000) {
                        struct evbuffer *chain = evbuffer_new(); /* a chain of its own */

                        evbuffer_add(chain, p + at, piece);
                        evbuffer_add_buffer(in, chain);
                        evbuffer_free(chain);
                } else {
                        evbuffer_add(in, p + at, piece);
                }
                at += piece;
                while ((r = sse_next(&s, in, at == n, &e)) == 1) {
                        struct facts f = { 0 };

                        assert(e.raw.n > 0 && e.raw.n <= EVENT_MAX);
                        assert(e.data.n == 0 || (e.data.p >= e.raw.p && e.data.p + e.data.n <= e.raw.p + e.raw.n));
                        assert(!memchr(e.data.n ? e.data.p : "", '\n', e.data.n));
                        facts_read_event(&e, &f);
                        h = mix_str(mix_str(mix_str(h, e.raw), e.name), e.data);
                        h = mix_str(mix_str(h, f.id), f.model);
                        h = mix(h, (int64_t[]){ f.json, f.error, f.n_choices, f.finished, f.has_usage, f.content, f.tokens_in, f.tokens_out,
                                                (int64_t)f.begun.bits[0], (int64_t)f.ended.bits[0] }, 10 * sizeof(int64_t));
                        if (f.usage.n) {
                                facts_blank(e.data, f.usage);
                                facts_read_event(&e, &f);
                                assert(f.json);
                        }
                        evbuffer_drain(in, e.raw.n);
                }
        }
        assert(r < 0 || evbuffer_get_length(in) == 0);
        h = mix(h, &r, sizeof r);
        evbuffer_free(in);
        return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const struct scan_shape shape = { "choices", '[', "" };
        const char *p = (const char *)data;
        struct facts f;
        uint64_t whole;

        if (n < 2)
                return 0;
        facts_read((struct pm_str){ p + 1, n - 1 }, &f);
        if (f.json) { /* what is one object closes, in pieces too */
                struct scan s = { 0 };

                for (size_t at = 1; at < n; at += 7)
                        assert(scan_feed(&s, &shape, p + at, MIN(7, n - at)));
                assert(scan_closed(&s));
        }
        whole = digest(p + 1, n - 1, 0);
        for (unsigned i = 1; i < 4; i++)
                assert(digest(p + 1, n - 1, data[0] * 7u + i) == whole);
        return 0;
}

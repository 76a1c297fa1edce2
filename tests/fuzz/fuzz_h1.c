/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same bytes whole, cut in two at some place, and in pieces of changing size must give the same events, for both sides.
 * The first two bytes of the input say how to cut.
 */
#include "h1.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define HEAD_MAX 1024
#define HEADERS_MAX 8

/* A digest of the events; pieces of one body are joined. */
struct digest {
        uint64_t sum;
        size_t heads, ends;
        int error;
};

static void mix(struct digest *d, const void *p, size_t n)
{
        const unsigned char *b = p;

        for (size_t i = 0; i < n; i++)
                d->sum = (d->sum ^ b[i]) * UINT64_C(0x100000001b3);
}

static void mix_str(struct digest *d, struct pm_str s)
{
        mix(d, s.p, s.n);
        mix(d, "|", 1);
}

static void mix_head(struct digest *d, const struct h1_head *head)
{
        char facts[128];
        int n = snprintf(facts, sizeof facts, "%d %d %d %d%d%d%d%d %lld %zu", (int)head->method, head->status, head->minor,
                         head->keep_alive, head->chunked, head->has_length, head->expect_continue, head->upgrade,
                         (long long)head->length, head->n_headers);

        mix(d, facts, (size_t)n);
        mix_str(d, head->target);
        mix_str(d, head->path);
        mix_str(d, head->query);
        for (size_t i = 0; i < head->n_headers; i++) {
                mix_str(d, head->headers[i].name);
                mix_str(d, head->headers[i].value);
                assert(!memchr(head->headers[i].value.p, '\n', head->headers[i].value.n));
        }
        assert(!(head->chunked && head->has_length));
        d->heads++;
}

/* False: no more can come. */
static bool feed(struct h1 *h, struct digest *d, const char *p, size_t n)
{
        CLEANUP(free_p) char *copy = malloc(n ? n : 1);
        size_t at = 0;

        assert(copy);
        memcpy(copy, p, n);
        for (;;) {
                struct pm_str piece = { NULL, 0 };
                size_t used;
                enum h1_event e = h1_feed(h, copy + at, n - at, &used, &piece);
                const char *why;

                assert(used <= n - at);
                at += used;
                switch (e) {
                case H1_MORE:
                        assert(at == n);
                        return true;
                case H1_HEAD:
                        mix_head(d, h1_head(h));
                        break;
                case H1_BODY:
                        assert(piece.n > 0 && piece.p >= copy && piece.p + piece.n <= copy + n);
                        mix(d, piece.p, piece.n);
                        break;
                case H1_END:
                        mix(d, "end", 3);
                        d->ends++;
                        h1_next(h);
                        break;
                case H1_ERROR:
                        d->error = h1_error(h, &why);
                        assert(strlen(why) > 8);
                        return false;
                }
        }
}

static struct digest play(enum h1_side side, const char *p, size_t n, size_t first, size_t later)
{
        struct digest d = { .sum = UINT64_C(0xcbf29ce484222325) };
        struct h1 *h = h1_create(side, HEAD_MAX, HEADERS_MAX);
        size_t at = 0;
        bool going = true;

        assert(h);
        while (going && at < n) {
                size_t take = MIN(at == 0 ? first : later, n - at);

                going = feed(h, &d, p + at, take);
                at += take;
        }
        if (going && h1_eof(h) == H1_ERROR)
                d.error = 1;
        h1_destroy(h);
        return d;
}

/* Before a malformed chunk the last piece may or may not be seen. */
static void same(struct digest a, struct digest b)
{
        assert(a.heads == b.heads && a.ends == b.ends && a.error == b.error);
        assert(a.sum == b.sum || a.error != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        const char *p = (const char *)data + 2;
        size_t first, later;

        if (n < 3)
                return 0;
        n -= 2;
        first = 1 + (data[0] | (size_t)(data[1] & 15) << 8) % n;
        later = 1 + (data[1] >> 4);
        for (enum h1_side side = H1_REQUESTS; side <= H1_RESPONSES; side++) {
                struct digest whole = play(side, p, n, n, n);

                same(whole, play(side, p, n, first, n));
                same(whole, play(side, p, n, first, later));
                same(whole, play(side, p, n, 1, 1));
        }
        return 0;
}

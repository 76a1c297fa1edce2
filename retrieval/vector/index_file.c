/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format is FAISS's own (impl/index_write.cpp of 1.7): four letters, a header, then fields as they lie in memory; a vector is a
 * 64-bit count and its elements.  Everything is little-endian here as there.
 */
#include "base.h"
#include "index_file.h"

/*
 * Where an index stands, and what may stand there.  FAISS's kinds do not all fit into each other: most pairs that are not listed end the
 * process at the first search (an exception inside an OpenMP region).
 */
enum place { ALONE, REFINED, REFINING, STORED, QUANTISING, PLACES };
enum kind { FLAT, SCALAR, GRAPH, INVERTED, REFINEMENT, KINDS };

static const struct {
        const char *what;
        bool may[KINDS];
} places[PLACES] = {
        [ALONE] = { "alone", { [FLAT] = true, [SCALAR] = true, [GRAPH] = true, [INVERTED] = true, [REFINEMENT] = true } },
        [REFINED] = { "below a refinement", { [FLAT] = true, [SCALAR] = true, [GRAPH] = true, [INVERTED] = true } },
        [REFINING] = { "as a refinement", { [FLAT] = true, [SCALAR] = true } },
        [STORED] = { "below a graph", { [FLAT] = true, [SCALAR] = true } },
        [QUANTISING] = { "before inverted lists", { [FLAT] = true, [SCALAR] = true, [GRAPH] = true } },
};

static const struct {
        char letters[5];
        enum kind kind;
} kinds[] = { { "IxFI", FLAT }, { "IxF2", FLAT }, { "IxSQ", SCALAR }, { "IHNf", GRAPH }, { "IHNs", GRAPH }, { "IwFl", INVERTED }, { "IwSq", INVERTED },
              { "IxRF", REFINEMENT } };

struct index_reader {
        const unsigned char *p;
        size_t n, at;
        char *why;
        size_t why_size;
        bool bad;
};

struct header {
        char kind[5];
        int32_t dim, metric;
        int64_t count;
};

struct vector {
        const unsigned char *p;
        size_t n;
};

PRINTF(2, 3) static int refuse(struct index_reader *r, const char *fmt, ...)
{
        va_list args;

        if (!r->bad) { /* the first reason is the one */
                va_start(args, fmt);
                (void)vsnprintf(r->why, r->why_size, fmt, args);
                va_end(args);
        }
        r->bad = true;
        return -EINVAL;
}

static const unsigned char *bytes(struct index_reader *r, size_t n)
{
        const unsigned char *p = r->p + r->at;

        if (r->bad)
                return NULL;
        if (n > r->n - r->at) {
                (void)refuse(r, "cut: %zu bytes are wanted at byte %zu of %zu", n, r->at, r->n);
                return NULL;
        }
        r->at += n;
        return p;
}

static void value(struct index_reader *r, void *ret, size_t n)
{
        const unsigned char *p = bytes(r, n);

        memset(ret, 0, n);
        if (p)
                memcpy(ret, p, n);
}

static uint64_t u64(struct index_reader *r)
{
        uint64_t x;

        value(r, &x, sizeof x);
        return x;
}

static int32_t i32(struct index_reader *r)
{
        int32_t x;

        value(r, &x, sizeof x);
        return x;
}

static struct vector vector(struct index_reader *r, size_t item)
{
        uint64_t n = u64(r);
        size_t size;

        if (r->bad || __builtin_mul_overflow(n, item, &size)) {
                (void)refuse(r, "a list of %" PRIu64 " elements is longer than memory", n);
                return (struct vector){ NULL, 0 };
        }
        return (struct vector){ bytes(r, size), r->bad ? 0 : (size_t)n };
}

static int32_t i32_at(const struct vector *v, size_t i)
{
        int32_t x;

        memcpy(&x, v->p + 4 * i, 4);
        return x;
}

static uint64_t u64_at(const struct vector *v, size_t i)
{
        uint64_t x;

        memcpy(&x, v->p + 8 * i, 8);
        return x;
}

static struct header header(struct index_reader *r)
{
        struct header h = { .kind = "" };
        unsigned char trained;

        value(r, h.kind, 4);
        h.dim = i32(r);
        value(r, &h.count, 8);
        (void)u64(r);
        (void)u64(r);
        value(r, &trained, 1);
        h.metric = i32(r);
        if (r->bad)
                return h;
        if (h.dim < 1 || h.dim > 65536 || h.count < 1 || h.count > INT32_MAX || trained != 1 || h.metric < 0 || h.metric > 1)
                (void)refuse(r, "not a trained index of FAISS: '%.4s', %d dimensions, %" PRId64 " vectors, metric %d",
                             h.kind, h.dim, h.count, h.metric);
        return h;
}

static struct header any(struct index_reader *r, enum place place);

/* Another index within this one, which must be of so many vectors. */
static void within(struct index_reader *r, enum place place, const struct header *of, int64_t count)
{
        struct header inner = any(r, place);

        if (!r->bad && (inner.dim != of->dim || inner.count != count))
                (void)refuse(r, "an index of %" PRId64 " vectors of %d dimensions lies where one of %" PRId64 " of %d is wanted", inner.count,
                             inner.dim, count, of->dim);
}

static void flat(struct index_reader *r, const struct header *h)
{
        struct vector codes = vector(r, 4);

        if (!r->bad && codes.n != (size_t)h->count * (size_t)h->dim)
                (void)refuse(r, "%zu numbers for %" PRId64 " vectors of %d", codes.n, h->count, h->dim);
}

/* Returns the bytes of a code; 0 after a refusal. */
static size_t quantiser(struct index_reader *r, const struct header *h)
{
        enum { EIGHT_BITS, FOUR_BITS, HALF_FLOATS = 4 };
        int32_t type = i32(r), range = i32(r);
        size_t dim, size, wanted;
        struct vector trained;
        float argument;

        value(r, &argument, 4);
        dim = (size_t)u64(r);
        size = (size_t)u64(r);
        trained = vector(r, 4);
        wanted = type == EIGHT_BITS ? (size_t)h->dim : type == FOUR_BITS ? ((size_t)h->dim + 1) / 2 : 2 * (size_t)h->dim;
        if (!r->bad && ((type != EIGHT_BITS && type != FOUR_BITS && type != HALF_FLOATS) || range < 0 || range > 3 || dim != (size_t)h->dim ||
                        size != wanted || trained.n != (type == HALF_FLOATS ? 0 : 2 * (size_t)h->dim)))
                (void)refuse(r, "a scalar quantiser of type %d with codes of %zu bytes for %zu dimensions cannot be checked", type, size, dim);
        return r->bad ? 0 : size;
}

static void quantised(struct index_reader *r, const struct header *h)
{
        size_t size = quantiser(r, h);
        struct vector codes = vector(r, 1);

        if (!r->bad && codes.n != size * (size_t)h->count)
                (void)refuse(r, "%zu bytes of codes for %" PRId64 " vectors of %zu", codes.n, h->count, size);
}

/* Every link must lead to a node that is there, and that lives on that level. */
static void links(struct index_reader *r, const struct vector *sums, const struct vector *levels,
                  const struct vector *begins, const struct vector *links)
{
        size_t n = levels->n;

        for (size_t i = 0; i < n; i++) {
                int32_t level = i32_at(levels, i);
                uint64_t begin = u64_at(begins, i), end = u64_at(begins, i + 1);

                if (level < 1 || (size_t)level >= sums->n || begin > end || end > links->n ||
                    end - begin != (uint64_t)i32_at(sums, (size_t)level)) {
                        (void)refuse(r, "HNSW: node %zu has level %d and links %" PRIu64 " to %" PRIu64 " of %zu", i, level,
                                     begin, end, links->n);
                        return;
                }
                for (int32_t l = 0; l < level; l++)
                        for (uint64_t k = begin + (uint64_t)i32_at(sums, (size_t)l); k < begin + (uint64_t)i32_at(sums, (size_t)l + 1); k++) {
                                int32_t to = i32_at(links, k);

                                if (to < -1 || (to >= 0 && ((size_t)to >= n || i32_at(levels, (size_t)to) <= l))) {
                                        (void)refuse(r, "HNSW: node %zu has a link to %d of %zu on level %d", i, to, n, l);
                                        return;
                                }
                        }
        }
}

static void hnsw(struct index_reader *r, const struct header *h)
{
        struct vector sums, levels, begins, neighbours;
        int32_t entry, top, construct, search, beam;

        (void)vector(r, 8);
        sums = vector(r, 4);
        levels = vector(r, 4);
        begins = vector(r, 8);
        neighbours = vector(r, 4);
        entry = i32(r);
        top = i32(r);
        construct = i32(r);
        search = i32(r);
        beam = i32(r);
        if (r->bad)
                return;
        if (levels.n != (size_t)h->count || begins.n != levels.n + 1 || sums.n < 2 || sums.n > 64 || i32_at(&sums, 0) != 0 || construct < 1 ||
            search < 1 || beam < 1 || construct > 100000 || search > 100000 || beam > 100000) {
                (void)refuse(r, "HNSW: %zu levels and %zu begins for %" PRId64 " vectors, efSearch %d", levels.n, begins.n, h->count, search);
                return;
        }
        for (size_t i = 1; i < sums.n; i++)
                if (i32_at(&sums, i) < i32_at(&sums, i - 1) || i32_at(&sums, i) > 1 << 20) {
                        (void)refuse(r, "HNSW: %d links up to level %zu", i32_at(&sums, i), i);
                        return;
                }
        links(r, &sums, &levels, &begins, &neighbours);
        if (r->bad)
                return;
        if (entry < 0 || (size_t)entry >= levels.n || top < 0 || i32_at(&levels, (size_t)entry) != top + 1)
                (void)refuse(r, "HNSW: it begins at node %d of %zu, on level %d", entry, levels.n, top);
        within(r, STORED, h, h->count);
}

static void lists(struct index_reader *r, const struct header *h, size_t n_lists, size_t code)
{
        uint64_t n, size, total = 0;
        char kind[5] = "", type[5] = "";
        struct vector sizes;

        value(r, kind, 4);
        n = u64(r);
        size = u64(r);
        value(r, type, 4);
        if (r->bad)
                return;
        if (strcmp(kind, "ilar") != 0 || n != n_lists || size != code || (strcmp(type, "full") != 0 && strcmp(type, "sprs") != 0)) {
                (void)refuse(r, "inverted lists '%.4s' '%.4s': %" PRIu64 " of codes of %" PRIu64 " bytes, %zu of %zu are wanted", kind, type,
                             n, size, n_lists, code);
                return;
        }
        sizes = vector(r, 8);
        if (!r->bad && (strcmp(type, "full") == 0 ? sizes.n != n_lists : sizes.n % 2 != 0))
                (void)refuse(r, "%zu sizes for %zu inverted lists", sizes.n, n_lists);
        for (size_t i = 0; !r->bad && i < sizes.n; i++) {
                struct vector ids;
                size_t bytes_n;

                if (strcmp(type, "sprs") == 0 && (u64_at(&sizes, i) >= n_lists || (i > 1 && u64_at(&sizes, i) <= u64_at(&sizes, i - 2)))) {
                        (void)refuse(r, "inverted list %" PRIu64 " of %zu is out of order", u64_at(&sizes, i), n_lists);
                        return;
                }
                if (strcmp(type, "sprs") == 0)
                        i++;
                size = u64_at(&sizes, i);
                total += size;
                if (size > (uint64_t)h->count || __builtin_mul_overflow(size, code, &bytes_n)) {
                        (void)refuse(r, "an inverted list of %" PRIu64 ", of %" PRId64 " vectors", size, h->count);
                        return;
                }
                (void)bytes(r, bytes_n);
                ids = (struct vector){ bytes(r, (size_t)size * 8), (size_t)size };
                for (size_t k = 0; !r->bad && k < ids.n; k++)
                        if (u64_at(&ids, k) >= (uint64_t)h->count)
                                (void)refuse(r, "an inverted list holds vector %" PRIu64 " of %" PRId64, u64_at(&ids, k), h->count);
        }
        if (!r->bad && total != (uint64_t)h->count)
                (void)refuse(r, "inverted lists hold %" PRIu64 " vectors of %" PRId64, total, h->count);
}

static void inverted(struct index_reader *r, const struct header *h, bool scalar)
{
        uint64_t n = u64(r), probe = u64(r);
        size_t code = (size_t)h->dim * 4;
        unsigned char map, residual;

        if (!r->bad && (n == 0 || n > 1 << 24 || probe == 0 || probe > n)) {
                (void)refuse(r, "%" PRIu64 " inverted lists, of which %" PRIu64 " are looked into", n, probe);
                return;
        }
        within(r, QUANTISING, h, (int64_t)n);
        value(r, &map, 1);
        if (!r->bad && (map != 0 || vector(r, 8).n != 0))
                (void)refuse(r, "an inverted index with a direct map cannot be checked");
        if (scalar) {
                code = quantiser(r, h);
                if (u64(r) != code && !r->bad)
                        (void)refuse(r, "codes of two sizes");
                value(r, &residual, 1);
                if (!r->bad && residual > 1)
                        (void)refuse(r, "a flag that is %u", residual);
        }
        lists(r, h, (size_t)n, code);
}

static void refined(struct index_reader *r, const struct header *h)
{
        float factor;

        within(r, REFINED, h, h->count);
        within(r, REFINING, h, h->count);
        value(r, &factor, 4);
        if (!r->bad && !(factor >= 1 && factor <= 1000))
                (void)refuse(r, "refinement of %g times as many", (double)factor);
}

static struct header any(struct index_reader *r, enum place place)
{
        struct header h = header(r);
        size_t i = 0;

        if (r->bad)
                return h;
        while (i < LENGTH_OF(kinds) && strcmp(kinds[i].letters, h.kind) != 0)
                i++;
        if (i == LENGTH_OF(kinds)) {
                (void)refuse(r, "an index of kind '%.4s' cannot be checked; Flat, SQ8, SQ4, SQfp16, HNSW and IVF over them, and RFlat can",
                             h.kind);
                return h;
        }
        if (!places[place].may[kinds[i].kind]) {
                (void)refuse(r, "an index of kind '%.4s' cannot stand %s", h.kind, places[place].what);
                return h;
        }
        switch (kinds[i].kind) {
        case FLAT:
                flat(r, &h);
                break;
        case SCALAR:
                quantised(r, &h);
                break;
        case GRAPH:
                hnsw(r, &h);
                break;
        case INVERTED:
                inverted(r, &h, strcmp(h.kind, "IwSq") == 0);
                break;
        case REFINEMENT:
                refined(r, &h);
                break;
        case KINDS:
                break;
        }
        return h;
}

int index_file_check(const void *data, size_t n, struct index_file *ret, char *why, size_t why_size)
{
        struct index_reader r = { .p = data, .n = n, .why = why, .why_size = why_size };
        struct header h = any(&r, ALONE);

        if (!r.bad && r.at != n)
                (void)refuse(&r, "%zu bytes lie behind the index", n - r.at);
        if (r.bad)
                return -EINVAL;
        *ret = (struct index_file){ h.dim, h.metric, h.count };
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse.c - events split where they lie.
 *
 * The splitter remembers how far it has looked, so a byte is looked at once however the event arrives; bytes are moved only when
 * an event does not lie in one piece.  Nearly all events are one "data:" line and "\n\n": those cost two memchr and no more.
 */
#include "sse.h"

#include <event2/buffer.h>

#include "base.h"

/* ---- where an event ends ------------------------------------------------------------------------------------------------ */
/* The end of the first empty line of p[0..n), or 0; goes on where the last call stopped. */
static size_t find_end(struct stream_reader *s, const char *p, size_t n)
{
        const char *lf = NULL;
        size_t at = s->scanned, lf_at = 0;
        bool lf_known = false;

        while (at < n) {
                const char *cr;
                size_t end, next;

                if (!lf_known || (lf && lf_at < at)) { /* looked for once for all lines that end in \r */
                        lf = memchr(p + at, '\n', n - at);
                        lf_at = lf ? (size_t)(lf - p) : n;
                        lf_known = true;
                }
                cr = memchr(p + at, '\r', lf_at - at);
                if (cr) {
                        end = (size_t)(cr - p);
                        if (end + 1 == n) {
                                s->scanned = end; /* \r, and \n may follow */
                                return 0;
                        }
                        next = p[end + 1] == '\n' ? end + 2 : end + 1;
                } else if (lf) {
                        end = lf_at;
                        next = end + 1;
                } else {
                        break;
                }
                if (end == s->line) {
                        s->scanned = s->line = 0;
                        return next;
                }
                at = s->line = next;
        }
        s->scanned = n;
        return 0;
}

/* ---- what it holds ------------------------------------------------------------------------------------------------------ */
struct line {
        const char *p;
        size_t n;      /* without its ending */
        size_t ending; /* 0, 1 or 2 */
};

/* Where a walk over lines is.  The next \n is kept: lines that end in \r must not look for it again and again. */
struct lines {
        const char *at, *end, *lf; /* lf: the first \n from `at` on, or end */
};

static const char *find(const char *p, const char *end, char c)
{
        const char *at = memchr(p, c, (size_t)(end - p));

        return at ? at : end;
}

static struct lines lines_of(const char *p, size_t n)
{
        return (struct lines){ p, p + n, find(p, p + n, '\n') };
}

static bool line_step(struct lines *s, struct line *ret)
{
        const char *stop;

        if (s->at == s->end)
                return false;
        if (s->lf < s->at)
                s->lf = find(s->at, s->end, '\n');
        stop = find(s->at, s->lf, '\r');
        ret->p = s->at;
        ret->n = (size_t)(stop - s->at);
        if (stop == s->end)
                ret->ending = 0;
        else
                ret->ending = stop < s->lf && stop + 1 == s->lf && s->lf < s->end ? 2 : 1;
        s->at = stop + ret->ending;
        return true;
}

/* The value of "name: value", one space dropped; false: another field. */
static inline bool field(const struct line *l, const char *name, size_t n_name, struct pm_str *ret)
{
        size_t skip = n_name;

        if (l->n < n_name || memcmp(l->p, name, n_name) != 0)
                return false;
        if (l->n > n_name) {
                if (l->p[n_name] != ':')
                        return false;
                skip = l->n > n_name + 1 && l->p[n_name + 1] == ' ' ? n_name + 2 : n_name + 1;
        }
        *ret = (struct pm_str){ l->p + skip, l->n - skip };
        return true;
}

/*
 * Several data lines: the event is written anew with the other lines first, then all data as one line, of the same length as
 * before, since every joined line loses at least "data:" and gains one space.
 */
static int join(char *raw, size_t n)
{
        CLEANUP(free_p) char *copy = malloc(n);
        size_t used = 0, tail, pad;
        struct pm_str value;
        struct lines rest;
        struct line l;
        bool first = true;

        if (!copy)
                return -ENOMEM;
        rest = lines_of(raw, n);
        while (line_step(&rest, &l) && l.n > 0)
                if (!field(&l, "data", 4, &value)) {
                        memcpy(copy + used, l.p, l.n);
                        used += l.n;
                        copy[used++] = '\n';
                }
        tail = (size_t)(rest.end - rest.at) + (l.n == 0 ? l.ending : 0);
        rest = lines_of(raw, n);
        while (line_step(&rest, &l) && l.n > 0) {
                if (!field(&l, "data", 4, &value))
                        continue;
                memcpy(copy + used, first ? "data:" : " ", first ? 5 : 1);
                used += first ? 5 : 1;
                memcpy(copy + used, value.p, value.n);
                used += value.n;
                first = false;
        }
        /* What is left over becomes spaces; then the line's own ending and the empty line. */
        assert(used + tail < n);
        pad = n - used - tail;
        memset(copy + used, ' ', pad);
        used += pad;
        if (tail > 0 || raw[n - 1] == '\n' || raw[n - 1] == '\r')
                copy[used - 1] = '\n';
        memcpy(copy + used, raw + n - tail, tail);
        memcpy(raw, copy, n);
        return 0;
}

/* The fields of one event; how many data lines it has. */
static unsigned read_lines(const char *raw, size_t n, struct stream_event *ret)
{
        struct stream_event e = { .raw = { raw, n } };
        struct lines rest = lines_of(raw, n);
        struct pm_str value;
        unsigned n_data = 0;
        struct line l;

        while (line_step(&rest, &l) && l.n > 0) {
                if (field(&l, "data", 4, &value)) {
                        e.data = value;
                        n_data++;
                } else if (field(&l, "event", 5, &value)) {
                        e.name = value;
                }
        }
        *ret = e;
        return n_data;
}

static struct pm_str without_blanks(struct pm_str s)
{
        while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
                s = (struct pm_str){ s.p + 1, s.n - 1 };
        while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
                s.n--;
        return s;
}

/* Does it end in one kind of line ends, and an empty line? */
static bool ends_well(struct pm_str raw)
{
        return (raw.n >= 2 && (memcmp(raw.p + raw.n - 2, "\n\n", 2) == 0 || memcmp(raw.p + raw.n - 2, "\r\r", 2) == 0)) ||
               (raw.n >= 4 && memcmp(raw.p + raw.n - 4, "\r\n\r\n", 4) == 0);
}

static int read_fields(char *raw, size_t n, struct stream_event *ret)
{
        int r;

        if (read_lines(raw, n, ret) > 1) {
                r = join(raw, n);
                if (r < 0)
                        return r;
                (void)read_lines(raw, n, ret);
        }
        ret->ragged = !ends_well(ret->raw);
        ret->has_data = ret->data.p != NULL;
        ret->data = without_blanks(ret->data);
        ret->done = ret->data.n == 6 && memcmp(ret->data.p, "[DONE]", 6) == 0;
        return 1;
}

/* One byte order mark may stand before the first event.  False: it is not known yet whether it does. */
static bool past_mark(struct stream_reader *s, struct evbuffer *in, bool ended)
{
        static const char mark[3] = "\xEF\xBB\xBF";
        char start[3];
        ev_ssize_t n = evbuffer_copyout(in, start, sizeof start);

        if (n <= 0)
                return false;
        if (memcmp(start, mark, (size_t)n) == 0) {
                if (n < 3 && !ended)
                        return false;
                if (n == 3)
                        (void)evbuffer_drain(in, sizeof mark);
        }
        s->begun = true;
        return true;
}

int sse_next(struct stream_reader *s, struct evbuffer *in, bool ended, struct stream_event *ret)
{
        size_t total, n, end;
        char *p;

        if (UNLIKELY(!s->begun) && !past_mark(s, in, ended))
                return 0;
        total = evbuffer_get_length(in);
        if (total == 0)
                return 0;
        n = MIN(evbuffer_get_contiguous_space(in), total);
        for (;;) {
                p = (char *)evbuffer_pullup(in, (ev_ssize_t)n);
                if (!p)
                        return -ENOMEM;
                if (n > s->scanned) {
                        end = find_end(s, p, n);
                        if (end > 0)
                                break;
                }
                if (n == total) {
                        if (total > s->max)
                                return -EMSGSIZE;
                        if (!ended)
                                return 0;
                        s->scanned = s->line = 0;
                        end = total;
                        break;
                }
                if (n > s->max)
                        return -EMSGSIZE;
                /* Twice as much each time, so that an event of many pieces is not moved at each of them. */
                n = MIN(total, 2 * n + 4096);
        }
        if (end > s->max)
                return -EMSGSIZE;
        if (LIKELY(end > 9 && memcmp(p, "data: ", 6) == 0 && p[6] > ' ' && p[end - 3] > ' ' && p[end - 1] == '\n' && p[end - 2] == '\n' &&
                   !memchr(p, '\n', end - 2) && !memchr(p, '\r', end - 2))) {
                *ret = (struct stream_event){ .raw = { p, end }, .data = { p + 6, end - 8 }, .has_data = true };
                ret->done = end == 14 && memcmp(p + 6, "[DONE]", 6) == 0;
                return 1;
        }
        return read_fields(p, end, ret);
}

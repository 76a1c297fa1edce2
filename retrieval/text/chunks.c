/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over the lines: a part grows by whole lines until it has to end, and is cut into windows when it is handed out.
 */
#include "chunks.h"

#include <stdbool.h>
#include <string.h>

#include "base.h"

struct splitter {
        struct chunk *ret;
        size_t n, max, window;
        const char *end; /* of the text */
};

static bool blank(char c)
{
        return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static struct chunk trimmed(const char *p, const char *end)
{
        while (p < end && blank(*p))
                p++;
        while (end > p && blank(end[-1]))
                end--;
        return (struct chunk){ p, (size_t)(end - p) };
}

/* How much of a long part the next window takes: up to a blank in its second half, else between characters. */
static size_t cut(const char *p, size_t window)
{
        size_t n = window;

        while (n > window / 2 && !blank(p[n]))
                n--;
        if (n > window / 2)
                return n;
        for (n = window; n > window - 4 && ((unsigned char)p[n] & 0xC0) == 0x80; n--)
                ;
        return n;
}

static void hand_out(struct splitter *s, const char *p, const char *end)
{
        struct chunk c = trimmed(p, end);

        while (c.n > 0 && s->n < s->max) {
                size_t n = c.n <= s->window ? c.n : cut(c.p, s->window);

                s->ret[s->n++] = trimmed(c.p, c.p + n);
                c = trimmed(c.p + n, c.p + c.n);
        }
}

/* The fence that a line begins with: '`', '~' or 0. */
static char fence_of(struct chunk line)
{
        return line.n >= 3 && (line.p[0] == '`' || line.p[0] == '~') && line.p[1] == line.p[0] && line.p[2] == line.p[0] ? line.p[0] : 0;
}

size_t chunks_split(const char *text, size_t n, size_t window, struct chunk *ret, size_t max)
{
        struct splitter s = { .ret = ret, .max = max, .window = window, .end = text + n };
        const char *begin = text, *at = text;
        char fence = 0; /* inside of a block: what ends it */

        assert(window >= CHUNKS_WINDOW_MIN);
        while (at < s.end && s.n < max) {
                const char *newline = memchr(at, '\n', (size_t)(s.end - at));
                const char *next = newline ? newline + 1 : s.end;
                struct chunk line = trimmed(at, next);
                char mark = fence_of(line);
                bool opens = mark && !fence, closes = fence && mark == fence;

                if (opens || (!fence && line.n == 0)) {
                        if (trimmed(begin, at).n >= CHUNKS_SHORT) {
                                hand_out(&s, begin, at);
                                begin = at;
                        }
                        fence = mark;
                } else if (closes) {
                        fence = 0;
                        hand_out(&s, begin, next);
                        begin = next;
                }
                at = next;
        }
        if (trimmed(begin, s.end).n < CHUNKS_SHORT && s.n > 0 && s.n < max) {
                /* A short end goes with what precedes it, where both fit into a window. */
                struct chunk *last = &ret[s.n - 1];
                struct chunk both = trimmed(last->p, s.end);

                if (both.n <= window) {
                        *last = both;
                        return s.n;
                }
        }
        hand_out(&s, begin, s.end);
        return s.n;
}

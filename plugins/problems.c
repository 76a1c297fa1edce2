/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with a file, collected so that one run shows all of it, and the small questions that every message asks: where
 * does this value stand, which key comes nearest to the one that was written.
 *
 * A line is "file:line:column: path: text".  Parts that are not known are left out.  Above the maximum only the number is kept,
 * so a file of a million mistakes costs the memory of the first few.
 */
#include "options.h"

#include <arpa/inet.h>

#include "base.h"

#define LINE_MAX_BYTES 1024
#define NEAREST_MAX 64
#define HIDDEN_MIN 4 /* what is shorter is no secret, and stands in words by chance */
#define HIDDEN_PART 8

/* A value from the environment. */
struct hidden {
        char *value, *shown, *file; /* the scalar that it is a part of */
        int line, column;
        bool everywhere;
};

struct problems {
        struct hidden *hidden;
        size_t n_hidden;
        size_t count, listed, max, used, room;
        char *text;
        bool no_memory; /* from here on they are only counted */
};

#define OVERFLOW_MAX 96 /* the last line, when there were more than are listed */

struct problems *problems_create(size_t max)
{
        struct problems *p = calloc(1, sizeof *p);

        if (p)
                p->max = max;
        return p;
}

void problems_destroy(struct problems *p)
{
        if (!p)
                return;
        for (size_t i = 0; i < p->n_hidden; i++) {
                free(p->hidden[i].value);
                free(p->hidden[i].shown);
                free(p->hidden[i].file);
        }
        free(p->text);
        free(p->hidden);
        free(p);
}

/* Makes room for n more bytes, the overflow line and a NUL. */
static bool make_room(struct problems *p, size_t n)
{
        size_t need = p->used + n + OVERFLOW_MAX + 1, room = MAX(p->room, (size_t)1024);
        char *grown;

        if (need <= p->room)
                return true;
        while (room < need)
                room *= 2;
        grown = realloc(p->text, room);
        if (!grown)
                return false;
        p->text = grown;
        p->room = room;
        return true;
}

static size_t put_place(char *line, size_t size, const struct node *at, const char *path)
{
        int n = 0;

        if (at && at->file && at->line > 0)
                n = snprintf(line, size, "%.300s:%d:%d: ", at->file, at->line, at->column);
        else if (at && at->file)
                n = snprintf(line, size, "%.300s: ", at->file);
        if (path && *path)
                n += snprintf(line + n, size - (size_t)n, "%.300s: ", path);
        return (size_t)n;
}

/* 127.0.0.1, [::1]:8080, localhost:8080. */
static bool is_address(const char *value)
{
        const char *colon = strrchr(value, ':');
        size_t n = colon && colon[1] && !colon[1 + strspn(colon + 1, "0123456789")] ? (size_t)(colon - value) : strlen(value);
        char host[INET6_ADDRSTRLEN + 2];
        unsigned char address[16];

        if (inet_pton(AF_INET6, value, address) == 1)
                return true;
        if (n >= sizeof host)
                return false;
        memcpy(host, value, n);
        host[n] = '\0';
        if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
                host[n - 1] = '\0';
                return inet_pton(AF_INET6, host + 1, address) == 1;
        }
        return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, address) == 1;
}

/* Numbers and addresses stand in messages that have nothing to do with the variable. */
static bool may_be_secret(const char *value)
{
        return strlen(value) >= HIDDEN_PART && value[strspn(value, "0123456789")] && !is_address(value);
}

void problems_hide(struct problems *p, const struct node *at, const char *value, const char *shown)
{
        struct hidden *grown = NULL, one;

        if (strlen(value) < HIDDEN_MIN)
                return;
        one = (struct hidden){ strdup(value), strdup(shown), strdup(at && at->file ? at->file : ""), at ? at->line : 0, at ? at->column : 0,
                               !at || may_be_secret(value) };
        if (one.value && one.shown && one.file)
                grown = realloc(p->hidden, (p->n_hidden + 1) * sizeof *grown);
        if (!grown) { /* then nothing is shown any more */
                p->no_memory = true;
                free(one.value);
                free(one.shown);
                free(one.file);
                return;
        }
        p->hidden = grown;
        p->hidden[p->n_hidden++] = one;
}

/* Puts `with` in place of line[at .. at + n); what does not fit any more is cut. */
static void replace(char *line, size_t at, size_t n, const char *with)
{
        char rest[LINE_MAX_BYTES];

        (void)snprintf(rest, sizeof rest, "%s", line + at + n);
        (void)snprintf(line + at, LINE_MAX_BYTES - at, "%s%s", with, rest);
}

static bool is_part_of(const struct hidden *h, const struct node *at)
{
        return at && at->line > 0 && at->line == h->line && at->column == h->column && strcmp(at->file ? at->file : "", h->file) == 0;
}

/* Values are shown cut, so a long beginning of one is as good as all of it. */
static void hide_values(const struct problems *p, const struct node *about, char *line, size_t from)
{
        for (size_t i = 0; i < p->n_hidden; i++) {
                const char *value = p->hidden[i].value;
                size_t least = MIN(strlen(value), (size_t)HIDDEN_PART), shown = strlen(p->hidden[i].shown);

                if (!p->hidden[i].everywhere && !is_part_of(&p->hidden[i], about))
                        continue;
                for (size_t at = from; line[at]; at++) {
                        size_t n = 0;

                        while (value[n] && line[at + n] == value[n])
                                n++;
                        if (n < least)
                                continue;
                        replace(line, at, n, p->hidden[i].shown);
                        at = MIN(at + shown, strlen(line)) - 1;
                        if (!p->hidden[i].everywhere) /* messages begin with the value; after it come names that may have it in them by chance */
                                break;
                }
        }
}

/* The user and password of a URL, and its query, which may have a key. */
static void hide_in_urls(char *line, size_t from)
{
        for (char *url = strstr(line + from, "://"); url; url = strstr(url, "://")) {
                size_t n, authority, question;
                char *at;

                url += 3;
                n = strcspn(url, " '\"\n\t");
                authority = strcspn(url, "/? '\"\n\t");
                at = memrchr(url, '@', MIN(n, strlen(url)));
                if (at && (size_t)(at - url) > authority && !memchr(url, '?', (size_t)(at - url)))
                        authority = (size_t)(at - url); /* a password with a slash in it: none that a URL may have, but one it has */
                if (at && at > url && (size_t)(at - url) <= authority && strncmp(url, "***", 3) != 0)
                        replace(line, (size_t)(url - line), (size_t)(at - url), "***");
                n = strcspn(url, " '\"\n\t");
                question = strcspn(url, "? '\"\n\t");
                if (question + 1 < n && url[question] == '?')
                        replace(line, (size_t)(url + question + 1 - line), n - question - 1, "***");
        }
}

void problems_add(struct problems *p, const struct node *at, const char *path, const char *fmt, ...)
{
        char line[LINE_MAX_BYTES];
        size_t n;
        va_list args;

        if (p->count++ >= p->max || p->no_memory)
                return;
        p->listed++;
        n = put_place(line, sizeof line, at, path);
        va_start(args, fmt);
        (void)vsnprintf(line + n, sizeof line - n, fmt, args);
        va_end(args);
        hide_values(p, at, line, n);
        hide_in_urls(line, n);
        n = strlen(line);
        for (size_t i = 0; i < n; i++) /* one mistake is one line, whatever stood in the file */
                if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
                        line[i] = '?';
        if (!make_room(p, n + 1)) {
                p->no_memory = true;
                p->listed--;
                return;
        }
        memcpy(p->text + p->used, line, n);
        p->used += n;
        p->text[p->used++] = '\n';
        p->text[p->used] = '\0';
}

size_t problems_count(const struct problems *p)
{
        return p->count;
}

const char *problems_text(const struct problems *p)
{
        if (!p->text)
                return p->count ? "out of memory: cannot list what is wrong with the file\n" : "";
        if (p->count > p->listed) /* make_room() kept the bytes for this line */
                (void)snprintf(p->text + p->used, p->room - p->used, "... and %zu more%s\n", p->count - p->listed,
                               p->no_memory ? "; out of memory: cannot list them" : "");
        return p->text;
}

struct node *node_get(const struct node *map, const char *key)
{
        if (!map || map->kind != NODE_MAP)
                return NULL;
        for (size_t i = 0; i < map->n; i++)
                if (map->keys[i] && map->keys[i]->text && strcmp(map->keys[i]->text, key) == 0)
                        return map->items[i];
        return NULL;
}

static int fold(char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A' + 'a';
        return c == '-' ? '_' : c;
}

/* Edits (insert, delete, replace, swap of neighbours) between two names, both at most NEAREST_MAX long. */
static size_t edits(const char *a, size_t na, const char *b, size_t nb)
{
        size_t row[3][NEAREST_MAX + 1];
        size_t *before = row[0], *last = row[1], *now = row[2];

        for (size_t j = 0; j <= nb; j++)
                last[j] = j;
        for (size_t i = 1; i <= na; i++) {
                size_t *spare = before;

                now[0] = i;
                for (size_t j = 1; j <= nb; j++) {
                        size_t cost = fold(a[i - 1]) == fold(b[j - 1]) ? 0 : 1;

                        now[j] = MIN(MIN(last[j], now[j - 1]) + 1, last[j - 1] + cost);
                        if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                                now[j] = MIN(now[j], before[j - 2] + 1);
                }
                before = last;
                last = now;
                now = spare;
        }
        return last[nb];
}

const char *options_nearest(const char *wrong, const char *const *known, size_t n)
{
        size_t length = strlen(wrong), best = MAX((size_t)1, length / 3) + 1;
        const char *nearest = NULL;

        if (length == 0 || length > NEAREST_MAX)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                size_t there = known[i] ? strlen(known[i]) : 0, distance;

                if (there == 0 || there > NEAREST_MAX)
                        continue;
                distance = edits(wrong, length, known[i], there);
                if (distance < best && distance < there) { /* not every letter may have changed */
                        best = distance;
                        nearest = known[i];
                }
        }
        return nearest;
}

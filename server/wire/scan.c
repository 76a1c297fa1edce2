/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings are most of an answer and are passed over eight bytes at a time; of the rest only brackets, and the names of the outermost
 * object, mean anything here.
 */
#include "scan.h"

#include "base.h"

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* From inside a string to the first quote, backslash or control character, or the end. */
static const char *skip_text(const char *p, const char *end)
{
        while (end - p >= 8) {
                uint64_t v, quote, slash, hit;

                memcpy(&v, p, 8);
                quote = v ^ (ONES * '"');
                slash = v ^ (ONES * '\\');
                hit = (((quote - ONES) & ~quote) | ((slash - ONES) & ~slash) | ((v - ONES * 0x20) & ~v)) & HIGHS;
                if (hit)
                        return p + __builtin_ctzll(hit) / 8;
                p += 8;
        }
        while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
                p++;
        return p;
}

static bool is_name(const struct scan *s, const char *name)
{
        return s->name_n == strlen(name) && memcmp(s->name_text, name, s->name_n) == 0;
}

static void keep_name(struct scan *s, const char *p, size_t n)
{
        for (size_t i = 0; i < n && s->name_n < SCAN_NAME; i++)
                s->name_text[s->name_n++] = p[i]; /* one that is longer is none of ours */
}

/* The first byte of a member's value. */
static void on_value(struct scan *s, const struct scan_shape *shape, char c)
{
        s->value = false;
        s->error |= is_name(s, "error") && c != 'n' && c != 'f';
        s->found |= c == shape->begins && is_name(s, shape->name);
}

static bool in_object(const struct scan *s)
{
        return s->objects[(s->depth - 1) / 64] >> ((s->depth - 1) % 64) & 1;
}

static bool open(struct scan *s, bool object)
{
        if (s->depth == SCAN_DEPTH || (s->depth == 0 && !object))
                return false;
        if (object)
                s->objects[s->depth / 64] |= UINT64_C(1) << (s->depth % 64);
        else
                s->objects[s->depth / 64] &= ~(UINT64_C(1) << (s->depth % 64));
        s->depth++;
        s->begun = true;
        s->name = s->depth == 1;
        return true;
}

static bool close_bracket(struct scan *s, bool object)
{
        if (s->depth == 0 || in_object(s) != object)
                return false;
        s->depth--;
        s->ended = s->depth == 0;
        s->name = false;
        return true;
}

/* Any byte that is not inside a string. */
static bool take(struct scan *s, const struct scan_shape *shape, char c)
{
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
                return true;
        if (s->ended || (!s->begun && c != '{'))
                return false;
        if (s->value && c != ':')
                on_value(s, shape, c);
        switch (c) {
        case '{':
        case '[':
                return open(s, c == '{');
        case '}':
        case ']':
                return close_bracket(s, c == '}');
        case '"':
                s->string = true;
                if (s->name)
                        s->name_n = 0;
                return true;
        case ',':
                s->name = s->depth == 1;
                return true;
        case ':':
                return in_object(s);
        default:
                return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' || c == 'E';
        }
}

bool scan_feed(struct scan *s, const struct scan_shape *shape, const char *p, size_t n)
{
        const char *end = p + n, *stop;

        while (p < end && !s->bad) {
                if (!s->string) {
                        s->bad = !take(s, shape, *p++);
                        continue;
                }
                if (s->escape) {
                        if (s->name)
                                keep_name(s, p, 1);
                        s->escape = false;
                        p++;
                        continue;
                }
                stop = skip_text(p, end);
                if (s->name)
                        keep_name(s, p, (size_t)(stop - p));
                p = stop;
                if (p == end)
                        break;
                if (*p == '"') {
                        s->string = false;
                        s->value = TAKE(s->name);
                } else if (*p == '\\') {
                        s->escape = true;
                } else {
                        s->bad = true; /* a control character must be escaped */
                }
                p++;
        }
        return !s->bad;
}

const char *scan_fault(const struct scan *s, const struct scan_shape *shape)
{
        if (s->bad)
                return "with something that is not a JSON object";
        if (s->error)
                return "with an error";
        return s->ended && !s->found ? shape->fault : NULL; /* what is missing may come yet */
}

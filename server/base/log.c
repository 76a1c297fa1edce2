/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields are formatted by hand, because a request's line is on the path of each request: bytes that need no care are copied in
 * runs, numbers are written backwards, and the date is made once a second.  Whole lines leave, by log_out.c.
 */
#include "log.h"

#include <event2/event.h>
#include <stdatomic.h>

#include "log_out.h"
#include "text.h"
#include "throttle.h"

#include "base.h"

#define VALUE_MAX 1024
#define MSG_MAX 2048
#define TAIL 24 /* room kept for the line's end */
#define BUFFER_SIZE (64 * 1024)

struct log_buffer {
        struct event *timer;
        bool armed;
        size_t n;
        char text[BUFFER_SIZE];
};

static _Atomic int least = PM_INFO, line_format = LOG_LOGFMT;
static _Thread_local struct log_buffer *mine; /* this thread's, for its crash */

void log_setup(enum pm_level at_least, enum log_format format)
{
        atomic_store_explicit(&least, (int)at_least, memory_order_relaxed);
        atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
}

bool log_wants(enum pm_level level)
{
        return (int)level >= atomic_load_explicit(&least, memory_order_relaxed);
}

/* ---- a worker's lines --------------------------------------------------------------------------------------------------- */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct log_buffer *b = arg;

        (void)fd, (void)what;
        b->armed = false;
        log_buffer_flush(b);
}

struct log_buffer *log_buffer_create(struct event_base *base)
{
        struct log_buffer *b = malloc(sizeof *b);

        if (!b)
                return NULL;
        b->n = 0;
        b->armed = false;
        b->timer = event_new(base, -1, 0, on_timer, b);
        if (!b->timer) {
                free(b);
                return NULL;
        }
        return b;
}

void log_buffer_flush(struct log_buffer *b)
{
        if (b->n)
                log_out(b->text, b->n);
        b->n = 0;
}

void log_buffer_destroy(struct log_buffer *b)
{
        if (!b)
                return;
        log_buffer_flush(b);
        if (mine == b)
                mine = NULL;
        event_free(b->timer);
        free(b);
}

void log_crash(const char *line, size_t n)
{
        const struct log_buffer *b = mine;

        log_out_drain();
        if (b)
                log_out_now(b->text, MIN(b->n, sizeof b->text));
        log_out_now(line, n);
}

static void buffer_add(struct log_buffer *b, const char *p, size_t n, bool now)
{
        static const struct timeval soon = { 0, 100 * 1000 };

        mine = b;
        if (n > sizeof b->text - b->n)
                log_buffer_flush(b);
        memcpy(b->text + b->n, p, n);
        b->n += n;
        if (now)
                log_buffer_flush(b);
        else if (!b->armed)
                b->armed = event_add(b->timer, &soon) == 0;
}

/* ---- fields ------------------------------------------------------------------------------------------------------------- */
static void put(struct log_line *l, const char *p, size_t n)
{
        memcpy(l->text + l->n, p, n);
        l->n += n;
}

static bool room(const struct log_line *l, size_t n)
{
        return l->n + n + TAIL <= sizeof l->text;
}

/* `key=` or `,"key":`, if it and `need` more bytes have room. */
static bool key_begin(struct log_line *l, struct pm_str key, size_t need)
{
        char *p = l->text + l->n;

        if (!l->on)
                return false;
        if (!room(l, key.n + need + 8)) {
                l->cut = true;
                return false;
        }
        if (l->json) {
                *p++ = ',';
                *p++ = '"';
        } else {
                *p++ = ' ';
        }
        memcpy(p, key.p, key.n);
        p += key.n;
        if (l->json) {
                *p++ = '"';
                *p++ = ':';
        } else {
                *p++ = '=';
        }
        l->n = (size_t)(p - l->text);
        return true;
}

/* How many bytes the UTF-8 character at p has; 0: it is none. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
        unsigned c = p[0];

        if (c < 0xc2 || c > 0xf4)
                return 0;
        if (c < 0xe0)
                return n >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
        if (n < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
                return 0;
        if (c < 0xf0) {
                if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f))
                        return 0;
                return 3;
        }
        if (n < 4 || (p[3] & 0xc0) != 0x80 || (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
                return 0;
        return 4;
}

static uint32_t utf8_code(const unsigned char *p, size_t length)
{
        uint32_t code = p[0] & (0xffu >> (length + 1));

        for (size_t i = 1; i < length; i++)
                code = code << 6 | (p[i] & 0x3f);
        return code;
}

/* What a terminal or a viewer obeys in place of showing it: controls, separators of lines, directions, joiners, tags. */
static bool invisible(uint32_t c)
{
        return c <= 0x9f || c == 0xad || c == 0x61c || c == 0x180e || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
               (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

/* How many bytes may stand as they are; 0: none, and *code is the character that *n bytes make, or 0 if one byte makes none. */
static size_t shown_length(const unsigned char *p, size_t left, uint32_t *code, size_t *n)
{
        const size_t length = utf8_length(p, left);

        *n = length ? length : 1;
        *code = length ? utf8_code(p, length) : 0;
        return length && !invisible(*code) ? length : 0;
}

/* 1: as it is; 2: makes a logfmt value quoted; 3: escaped; of bytes from 0x80 on: 4, part of a longer character. */
static inline unsigned class_of(unsigned char c)
{
        static const unsigned char classes[256] = {
                3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
                2, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1,
                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1,
                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3,
                4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
                4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
                4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
                4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
        };

        return classes[c];
}

static void put_escaped(struct log_line *l, unsigned char c)
{
        static const char hex[] = "0123456789abcdef";
        char out[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
        const char *at = c ? strchr("\"\"\\\\\nn\rr\tt", c) : NULL;

        if (c >= 0x80) {
                put(l, "\\ufffd", 6);
        } else if (at) {
                out[1] = at[1];
                put(l, out, 2);
        } else {
                put(l, out, 6);
        }
}

static void put_unit(struct log_line *l, unsigned unit)
{
        static const char hex[] = "0123456789abcdef";

        put(l, (char[]){ '\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15] }, 6);
}

/* As JSON writes it. */
static void put_code(struct log_line *l, uint32_t code)
{
        if (code > 0xffff) {
                put_unit(l, 0xd800 + ((code - 0x10000) >> 10));
                put_unit(l, 0xdc00 + ((code - 0x10000) & 0x3ff));
        } else {
                put_unit(l, code);
        }
}

static void put_quoted(struct log_line *l, const char *text, size_t size)
{
        const unsigned char *p = (const unsigned char *)text, *end = p + size, *run = p;

        put(l, "\"", 1);
        while (p < end) {
                unsigned c = class_of(*p);
                uint32_t code = 0;
                size_t n = 1, skip = c <= 2 ? 1 : c == 4 ? shown_length(p, (size_t)(end - p), &code, &n) : 0;

                if (skip) {
                        p += skip;
                        continue;
                }
                put(l, (const char *)run, (size_t)(p - run));
                if (code)
                        put_code(l, code);
                else
                        put_escaped(l, *p);
                p += n;
                run = p;
        }
        put(l, (const char *)run, (size_t)(p - run));
        put(l, "\"", 1);
}

/* Bytes that the value takes at most, and whether it must be quoted. */
static size_t measure(const char *text, size_t n, bool *quote)
{
        const unsigned char *p = (const unsigned char *)text, *end = p + n;
        size_t extra = 2;

        while (p < end && class_of(*p) == 1) /* most values are nothing else */
                p++;
        *quote = n == 0;
        while (p < end) {
                unsigned c = class_of(*p);
                uint32_t code;
                size_t bytes = 1, length = c == 4 ? shown_length(p, (size_t)(end - p), &code, &bytes) : c < 3;

                *quote |= c > 1;
                extra += length ? 0 : 5 * bytes;
                p += bytes;
        }
        return n + extra;
}

static void put_value(struct log_line *l, struct pm_str key, struct pm_str value, size_t max)
{
        bool quote, shorter = value.n > max;
        size_t need;

        if (!l->on)
                return;
        if (shorter) {
                value.n = max;
                while (value.n > max - 4 && ((unsigned char)value.p[value.n] & 0xc0) == 0x80)
                        value.n--; /* not inside a character */
        }
        need = measure(value.p, value.n, &quote) + 3;
        while (max == MSG_MAX && !room(l, need + key.n + 8)) { /* a message is never left out */
                value.n /= 2;
                shorter = true;
                need = measure(value.p, value.n, &quote) + 3;
        }
        if (!key_begin(l, key, need))
                return;
        if (l->json || quote || shorter) {
                put_quoted(l, value.p, value.n);
                if (shorter) {
                        l->n--;
                        put(l, "...\"", 4);
                        l->cut = true;
                }
        } else {
                put(l, value.p, value.n);
        }
}

/* "2026-01-31T12:34:56.789Z"; the part up to the second is kept. */
static void put_time(struct log_line *l)
{
        static _Thread_local time_t second = -1;
        static _Thread_local char date[32];
        struct timespec now;
        unsigned ms;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec != second) {
                struct tm tm;

                (void)gmtime_r(&now.tv_sec, &tm);
                (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S.", &tm);
                second = now.tv_sec;
        }
        put(l, date, 20);
        ms = (unsigned)(now.tv_nsec / 1000000);
        put(l, (char[]){ (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z' }, 4);
}

void log_begin(struct log_line *l, struct log_buffer *to, enum pm_level level, const char *msg)
{
        static const char *const names[] = { "debug", "debug", "info", "warn", "error" };

        l->to = to;
        l->level = level;
        l->on = log_wants(level);
        l->json = atomic_load_explicit(&line_format, memory_order_relaxed) == LOG_JSON;
        l->cut = false;
        l->n = 0;
        if (!l->on)
                return;
        if (l->json) {
                put(l, "{\"time\":\"", 9);
                put_time(l);
                put(l, "\"", 1);
        } else {
                put(l, "time=", 5);
                put_time(l);
        }
        log_text(l, "level", names[level]);
        put_value(l, (struct pm_str){ "msg", 3 }, (struct pm_str){ msg, strlen(msg) }, MSG_MAX);
}

void log_put_str(struct log_line *l, struct pm_str key, struct pm_str value)
{
        put_value(l, key, value, VALUE_MAX);
}

void log_put_int(struct log_line *l, struct pm_str key, int64_t value)
{
        char text[24], *end = text + sizeof text;
        char *p = text_digits(end, value < 0 ? -(uint64_t)value : (uint64_t)value);

        if (value < 0)
                *--p = '-';
        if (key_begin(l, key, sizeof text))
                put(l, p, (size_t)(end - p));
}

void log_put_real(struct log_line *l, struct pm_str key, double value)
{
        char text[40], *end = text + sizeof text, *p;
        double size = value < 0 ? -value : value;
        uint64_t whole, part;

        if (!key_begin(l, key, sizeof text))
                return;
        if (!(size < 1e12)) { /* also NaN and infinities, which JSON has not */
                put(l, "null", 4);
                return;
        }
        whole = (uint64_t)size;
        part = (uint64_t)((size - (double)whole) * 1e6 + .5);
        if (part == 1000000) {
                whole++;
                part = 0;
        }
        p = end;
        if (part) {
                int n = 6;

                for (; part % 10 == 0; part /= 10)
                        n--;
                while (n--) {
                        *--p = (char)('0' + part % 10);
                        part /= 10;
                }
                *--p = '.';
        }
        p = text_digits(p, whole);
        if (value < 0)
                *--p = '-';
        put(l, p, (size_t)(end - p));
}

void log_end(struct log_line *l)
{
        if (!l->on)
                return;
        if (l->cut && l->json)
                put(l, ",\"cut\":true", 11);
        else if (l->cut)
                put(l, " cut=true", 9);
        if (l->json)
                put(l, "}", 1);
        put(l, "\n", 1);
        assert(l->n <= sizeof l->text);
        if (l->to)
                buffer_add(l->to, l->text, l->n, l->level >= PM_WARN);
        else
                log_out(l->text, l->n);
}

void log_msg(struct log_buffer *to, enum pm_level level, const char *fmt, ...)
{
        struct log_line l;
        char text[MSG_MAX + 8];
        va_list args;

        if (!log_wants(level))
                return;
        va_start(args, fmt);
        if (vsnprintf(text, sizeof text, fmt, args) < 0)
                text[0] = '\0';
        va_end(args);
        log_begin(&l, to, level, text);
        log_end(&l);
}

bool log_may_say(struct log_said *s, int who)
{
        size_t place = (unsigned)who % LENGTH_OF(s->last);

        if (s->last[place].who != who)
                s->last[place].at = 0;
        s->last[place].who = who;
        return throttle(&s->last[place].at, now_us());
}

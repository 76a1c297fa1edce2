/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line an event, logfmt or JSON, to standard error.
 *
 * A line is built field by field into a bounded buffer.  Lines of a worker (requests) gather in its log_buffer and go out when
 * it is full, after 100 ms, or at once from `warn` up; lines of other threads go out at once.  Controls, characters that a viewer
 * obeys without showing them, and invalid UTF-8 are escaped in values, so that nobody can forge a line.  Times are UTC, RFC 3339 with
 * milliseconds.  Between log_start() and log_stop() a thread writes what goes out, so no other thread waits for a slow reader of
 * standard error: beyond 4 MiB of waiting lines, further ones are dropped and counted.
 */
#ifndef PM_LOG_H
#define PM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pm_router.h"

struct event_base;
struct log_buffer;

enum log_format { LOG_LOGFMT, LOG_JSON };

/* Main thread, before others start or at a reload; any thread sees it soon. */
void log_setup(enum pm_level least, enum log_format format);
bool log_wants(enum pm_level level);
uint64_t log_dropped(void); /* lines, since the start */

int log_start(void); /* 0 or -errno: then each thread writes its own lines, as before */
/* Any thread.  Writes what is left; if standard error does not take it within a second it is lost, and so is what comes later. */
void log_stop(void);
/* For a handler of a fatal signal: what waits, this thread's lines, and then this one, as far as standard error takes them soon. */
void log_crash(const char *line, size_t n);

/* Of one thread, that of base.  NULL: no memory. */
struct log_buffer *log_buffer_create(struct event_base *base);
void log_buffer_flush(struct log_buffer *b);
void log_buffer_destroy(struct log_buffer *b);

/* A line in the making; lives on the stack.  A value above 1 KiB (msg: 2 KiB) is cut and ends in "..."; a line above its size
 * is cut at a field; both say cut=true. */
struct log_line {
        struct log_buffer *to; /* NULL: written at once */
        enum pm_level level;
        bool on;               /* the level is wanted */
        bool json, cut;
        size_t n;
        char text[4096];
};

void log_begin(struct log_line *l, struct log_buffer *to, enum pm_level level, const char *msg);
void log_put_str(struct log_line *l, struct pm_str key, struct pm_str value);
void log_put_int(struct log_line *l, struct pm_str key, int64_t value);
void log_put_real(struct log_line *l, struct pm_str key, double value);
/* Inline, so that the compiler measures the keys. */
static inline void log_str(struct log_line *l, const char *key, struct pm_str value) /* empty values are left out */
{
        if (value.n)
                log_put_str(l, (struct pm_str){ key, strlen(key) }, value);
}

static inline void log_text(struct log_line *l, const char *key, const char *value) /* NULL or "": left out */
{
        if (value && *value)
                log_put_str(l, (struct pm_str){ key, strlen(key) }, (struct pm_str){ value, strlen(value) });
}

static inline void log_int(struct log_line *l, const char *key, int64_t value)
{
        log_put_int(l, (struct pm_str){ key, strlen(key) }, value);
}

static inline void log_real(struct log_line *l, const char *key, double value)
{
        log_put_real(l, (struct pm_str){ key, strlen(key) }, value);
}

void log_end(struct log_line *l);

/* Throttles log lines of one thread to one a minute per subject, a number from 0; subjects that share a slot may log more.  True: log now. */
struct log_said {
        struct { int who; int64_t at; } last[64];
};
bool log_may_say(struct log_said *s, int who);

/* The short way: log_msg(NULL, PM_WARN, "cannot reach '%s': %s", ...). */
void log_msg(struct log_buffer *to, enum pm_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#endif

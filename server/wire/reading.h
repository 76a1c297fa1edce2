/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reading.h - what has been read of one attempt's answer, and whether that is an answer.
 *
 * All that the gateway learns from the bytes of an answer lies here and nowhere else, and begins anew with each attempt, so that
 * nothing of an answer that failed is taken for part of the next.  Streams and whole answers are judged by the same facts.
 */
#ifndef PM_READING_H
#define PM_READING_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "facts.h"
#include "scan.h"
#include "sse.h"

enum reading_kind { READING_UNKNOWN, READING_WHOLE, READING_EVENTS };

struct reading {
        enum reading_kind kind;        /* by its first bytes */
        size_t skipped;                /* blanks before them, gone from the transfer's buffer */
        struct stream_reader reader;   /* a stream: where the next event begins */
        bool wide;                     /* the transfer may hold more than limits.buffer, for an event that is longer */
        struct scan scan;              /* a long whole answer: its structure */
        size_t scanned;                /* so many bytes of the transfer's buffer have been through it */
        struct choice_set begun, ended;
        bool content, finished;        /* the first token, a finish reason (or response.completed) has come */
        char *held;                    /* events before the first token: they go out with it */
        size_t held_n, held_room;
        int64_t tokens_in, tokens_out; /* -1: not said */
        int64_t first_token;           /* by now_us(); 0: not yet */
};

#define READING_NONE ((struct reading){ .tokens_in = -1, .tokens_out = -1 })

/* What comes: decided by the first bytes, since servers name the type of their streams as they like.  `ended`: nothing more will.
 * Blanks and a byte order mark before them are drained. */
void reading_look(struct reading *x, struct evbuffer *in, bool ended, bool says_events);
/* The same, where the very first byte says it whatever the headers say: '{', as in nearly all whole answers. */
bool reading_look_quickly(struct reading *x, struct evbuffer *in);
/* What an event, or a whole answer, says is added up. */
void reading_add(struct reading *x, const struct facts *f);
/* Has each choice that began ended? */
static inline bool reading_ended(const struct reading *x)
{
        return x->finished && choices_cover(&x->ended, &x->begun);
}
/* And are there as many as `asked`? */
bool reading_has_all(const struct reading *x, int64_t asked);
/* Keeps an event until the first token; false: there is too much of that, or no memory. */
bool reading_hold(struct reading *x, struct arena *a, struct pm_str event);
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_head.h - a complete head's bytes into a struct h1_head, for h1.c alone.
 *
 * The grammar library has accepted the head and said where its parts are; this pass refuses what would let a message mean two
 * things and finds the facts that framing depends on.
 */
#ifndef PM_H1_HEAD_H
#define PM_H1_HEAD_H

#include "h1.h"

#define H1_TARGET_MAX 8192u /* above: 414 */
#define H1_RAW_SLACK 8u     /* readable bytes beyond raw[n): text is compared by words */

/* One header, in offsets. */
struct h1_span {
        uint32_t name, name_n, value, value_n; /* value_n 0: value means nothing */
};

struct h1_raw {
        enum h1_side side;
        const char *raw; /* the head, its last CR LF included */
        size_t n;
        uint32_t target, target_n; /* requests */
        enum h1_method method;
        int status;                /* responses */
        const struct h1_span *spans;
        size_t n_spans;
        struct h1_header *headers; /* room for n_spans */
};

/* 0, or the HTTP status of a refusal with one sentence in *why. */
int h1_head_take(const struct h1_raw *r, struct h1_head *ret, const char **why);
#endif

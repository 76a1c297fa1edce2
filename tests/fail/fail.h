/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail.h - one scenario in a process of its own, and what it says of itself.
 */
#ifndef TESTS_FAIL_FAIL_H
#define TESTS_FAIL_FAIL_H

#define TOKEN "a-token-of-the-tests"

#include <stdbool.h>
#include <stddef.h>

#include "points.h"

enum kind { LOAD, START, ASK, RELOAD, DESCRIBE };

enum eyes { COUNT, TRACE, SHOW }; /* what is lost: how much, but for what libraries lose; each of it */

struct scenario {
        const char *name;
        enum kind kind;
        const char *path, *body, *right; /* what an answer has that is as it should be; `right` may have a status line's beginning */
        bool warm;                       /* once before, so that something is kept */
        const char *calm;                /* what it has, too, when nothing fails; NULL: nothing */
        const char *more;                /* of the configuration; NULL: "" */
        const char *config;              /* a file that is there, in place of one that is made */
        const char *mistake;             /* LOAD: refused, with this among the words */
        const char *method;              /* NULL: POST if there is a body, else GET */
        bool keyed;                      /* with TOKEN as an API key */
        bool admin;                      /* asked of the administrative listener */
        bool lines;                      /* the answer has as many lines as when nothing fails */
        bool traffic;                    /* RELOAD: chats go on meanwhile */
};

/* What a child says of itself. */
struct report {
        unsigned long calls; /* points that were passed */
        bool whole;          /* the answer was right all the same */
        bool ended;
        size_t lost, lines;
        char wrong[512];     /* what was found; empty: nothing */
        char answer[1024];   /* its beginning */
        char log[8192];      /* its last lines */
        struct points_failure failure;
};

extern const struct scenario scenarios[]; /* the first is a chat */
extern struct report *report; /* shared with the child */
extern char folder[], file[128];

/* Something is wrong; the first such thing is kept. */
void found(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern size_t calm_lines; /* of an answer when nothing fails; 0: not known yet */

/* The n-th allocation fails, with `on` all after it, too; 0: none.  Ends the process, which is a fork. */
_Noreturn void child(const struct scenario *s, unsigned long n, bool on, enum eyes eyes);
#endif

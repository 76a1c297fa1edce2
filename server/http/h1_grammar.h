/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_grammar.h - llhttp, or http-parser where that is what the system has, under one set of names; for h1.c alone.
 *
 * Static functions, since they are called for each piece of each message.  Heads are parsed with one table of callbacks and chunked
 * bodies with another; a callback that calls grammar_pause() ends the run behind the bytes that it was called for.
 */
#ifndef PM_H1_GRAMMAR_H
#define PM_H1_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_include) && __has_include(<llhttp.h>)
#include <llhttp.h>
#define H1_LLHTTP 1
typedef llhttp_t parser;
typedef llhttp_settings_t grammar_callbacks;
#else
#include <http_parser.h>
#define H1_LLHTTP 0
typedef http_parser parser;
typedef http_parser_settings grammar_callbacks;
#endif

enum ran { RAN_ALL, RAN_PAUSED, RAN_WRONG };

struct grammar {
        parser parser;
        bool in_chunks;
#if !H1_LLHTTP
        bool owes_lf; /* paused on the head's last LF, which the parser wants to see again */
#endif
};

static inline int grammar_pause(parser *p)
{
#if H1_LLHTTP
        (void)p;
        return HPE_PAUSED;
#else
        http_parser_pause(p, 1);
        return 0;
#endif
}

static inline void grammar_start(struct grammar *g, bool requests, const grammar_callbacks *head, void *data)
{
#if H1_LLHTTP
        llhttp_init(&g->parser, requests ? HTTP_REQUEST : HTTP_RESPONSE, head);
#else
        (void)head;
        http_parser_init(&g->parser, requests ? HTTP_REQUEST : HTTP_RESPONSE);
        g->owes_lf = false;
#endif
        g->in_chunks = false;
        g->parser.data = data;
}

/* Before the first chunk. */
static inline void grammar_enter_chunks(struct grammar *g, const grammar_callbacks *chunks)
{
        g->in_chunks = true;
#if H1_LLHTTP
        g->parser.settings = (void *)(uintptr_t)chunks;
        llhttp_resume(&g->parser);
#else
        if (g->owes_lf) {
                g->owes_lf = false;
                http_parser_pause(&g->parser, 0);
                (void)http_parser_execute(&g->parser, chunks, "\n", 1);
        }
#endif
}

/* *pos: bytes used; after RAN_WRONG the offset of the byte that was wrong. */
static inline enum ran grammar_run(struct grammar *g, const grammar_callbacks *with, const char *data, size_t n, size_t *pos)
{
#if H1_LLHTTP
        enum llhttp_errno e = llhttp_execute(&g->parser, data, n);

        (void)with;
        if (e == HPE_OK) {
                *pos = n;
                return RAN_ALL;
        }
        *pos = (size_t)(llhttp_get_error_pos(&g->parser) - data);
        if (e != HPE_PAUSED)
                return RAN_WRONG;
        if (g->in_chunks)
                llhttp_resume(&g->parser);
        return RAN_PAUSED;
#else
        size_t used = http_parser_execute(&g->parser, with, data, n);
        enum http_errno e = HTTP_PARSER_ERRNO(&g->parser);

        *pos = used;
        if (e == HPE_OK)
                return used == n ? RAN_ALL : RAN_WRONG;
        if (e != HPE_PAUSED)
                return RAN_WRONG;
        if (g->in_chunks) {
                http_parser_pause(&g->parser, 0);
        } else {
                g->owes_lf = true;
                *pos = used + 1;
        }
        return RAN_PAUSED;
#endif
}

static inline int grammar_error(const struct grammar *g)
{
#if H1_LLHTTP
        return (int)llhttp_get_errno(&g->parser);
#else
        return (int)g->parser.http_errno;
#endif
}

static inline const char *grammar_complaint(const struct grammar *g)
{
#if H1_LLHTTP
        const char *why = llhttp_get_error_reason(&g->parser);

        return why ? why : "invalid message";
#else
        return http_errno_description(HTTP_PARSER_ERRNO(&g->parser));
#endif
}

/* Once in the process. */
static inline void grammar_setup(void)
{
#if !H1_LLHTTP
        http_parser_set_max_header_size(INT32_MAX); /* limits are ours */
#endif
}
#endif

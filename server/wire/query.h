/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.h - the client's body: understood, not rebuilt.
 *
 * query_parse() goes over the bytes once, proves that they are JSON of the shape that the API asks for, and keeps the places of
 * the members that matter.  query_splice() says how to send the same bytes on with only a few edits (edits.h): pieces of the
 * client's own body with a few new ones between them.  Nothing is re-serialised.
 */
#ifndef PM_QUERY_H
#define PM_QUERY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "arena.h"
#include "expert_api.h"
#include "pm_router.h"

struct edits;

struct query_limits {
        size_t depth, messages;
};

/* A turn as it lies in the body: values with quotes or brackets. */
struct query_turn {
        struct pm_str role, content;
};

struct query {
        enum expert_api api;
        struct pm_str body;
        struct pm_str model;          /* its text */
        bool stream;
        bool wants_usage;             /* stream_options.include_usage was true */
        struct pm_str model_value;    /* its place, with quotes */
        struct pm_str stream_value, stream_options; /* their places; p NULL: not there */
        struct query_turn *turns;     /* messages, input items, prompts */
        size_t n_turns;
        /* what says which conversation it is, and whether an answer may be kept: places; p NULL: not there */
        struct pm_str user, prompt_cache_key, previous_response_id, conversation, metadata, temperature, tools, functions;
        /* of the last item of a Responses `input` that has such and is not the user's: whose state it is; p NULL: there is none */
        struct pm_str item_id, sealed;
        bool ambiguous;               /* one of these stands there twice, and parsers differ on which counts */
};

/* What is wrong with a body, in the terms of the OpenAI error object. */
struct query_error {
        const char *message; /* in the arena, or static */
        const char *param;   /* "messages[2].content"; NULL: none */
        const char *code;    /* NULL: none */
};

/* 0, or -EINVAL with *why.  q points into body and a. */
int query_parse(struct pm_str body, enum expert_api api, const struct query_limits *limits, struct arena *a, struct query *ret,
                struct query_error *why);

/* Bodies of /v1/route: a chat request, {"input": text} or {"input": [text, ...]}; `model` may be missing (then "auto").
 * *ret has n queries, one for each text. */
int query_parse_route(struct pm_str body, const struct query_limits *limits, struct arena *a, struct query **ret,
                      size_t *ret_n, bool *ret_list, struct query_error *why);

/* Fills text, messages, n_messages, body and user of a pm_query.  0 or -ENOMEM. */
int query_texts(const struct query *q, struct arena *a, struct pm_query *pm);
/* The same without messages: only the last one of the user is looked at. */
int query_last_text(const struct query *q, struct arena *a, struct pm_query *pm);
/* The text of a turn's content or role, parts joined by newlines.  0 or -ENOMEM. */
int query_text_of(struct pm_str value, struct arena *a, struct pm_str *ret);
bool query_is_user(const struct query_turn *t);
/* The place of the conversation's id: `conversation`, or the one in it; p NULL: there is none. */
struct pm_str query_conversation(const struct query *q);
/* The same, or what clients put into metadata to name it. */
struct pm_str query_conversation_name(const struct query *q);

/*
 * Might the prompt fit into so many tokens (0: unknown)?  False: surely not.  Conservative, see query_size.c.  *least: how many it has
 * at least, counted when first needed; -1 before.
 */
bool query_fits(const struct query *q, int64_t context, int64_t *least);

/* What makes a body one for an expert that calls itself `model`: that name, and `usage`: that is asked for in streams of /chat/completions and
 * /completions.  0 or -ENOMEM, or -EINVAL: the list has edits there. */
int query_edits(const struct query *q, const char *model, bool usage, struct edits *e);

/*
 * The pieces to send: a body, a proved JSON object, as `e` says.  They point into the body, what the edits hold, and the arena.  0, -ENOMEM, or -EINVAL: the
 * edits overlap or are out of order, or one begins in a member that another takes away and ends outside of it.
 */
int query_splice(struct pm_str body, const struct edits *e, struct arena *a, struct iovec **ret, size_t *ret_n);
#endif

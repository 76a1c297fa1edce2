/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.h - what the gateway must know of an answer, read from one event of a stream or from a whole answer by the same walk.
 */
#ifndef PM_FACTS_H
#define PM_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "expert_api.h"
#include "pm_router.h"
#include "sse.h"

#define FACTS_CHOICES 128 /* the most that can be asked for; further ones are not told apart */

/* A bit for each choice. */
struct choice_set {
        uint64_t bits[FACTS_CHOICES / 64];
};

struct facts {
        bool json;             /* one valid JSON object */
        bool error;            /* {"error": ...}, {"object":"error"}, {"detail": ...} alone, finish_reason "error", "event: error", response.failed */
        bool failed;           /* response.failed: an error that is the API's own last event */
        bool closes;           /* an event response.completed or .incomplete: the API's own last event of an answer */
        bool finished;         /* some choice has a finish reason; response.completed or .incomplete */
        bool content;          /* a delta with some text, tool call, reasoning, ...: the first token has come */
        bool has_usage;        /* a usage object */
        bool has_output, has_data; /* of /responses: a list; of /embeddings: a list with something in it */
        bool waits;            /* of /responses: queued or in progress, as background answers are */
        unsigned n_choices, n_messages, n_texts; /* choices, and those with a message and with a text */
        struct choice_set begun, ended; /* choices that are there; those with a finish reason */
        int64_t tokens_in, tokens_out;  /* from usage; -1: not there */
        struct pm_str id, model; /* slices; empty: not there, or written with escapes */
        struct pm_str usage;     /* the whole member, name and value; empty: not there */
        bool usage_null;
};

/* An event of /chat/completions, /completions or /responses. */
void facts_read_event(const struct stream_event *e, struct facts *ret);
/* A whole JSON answer. */
void facts_read(struct pm_str body, struct facts *ret);
/* Why a 2xx with this body is no answer of that API, as a clause; NULL: it is one. */
const char *facts_fault(const struct facts *f, enum expert_api api);
/* An event without choices: does it say nothing but usage? */
bool facts_only_usage(struct pm_str data);
/* Makes a member of the object `data` into spaces, with its comma.  What it points to must be ours to change. */
void facts_blank(struct pm_str data, struct pm_str member);

static inline void choices_add(struct choice_set *to, const struct choice_set *more)
{
        for (unsigned i = 0; i < FACTS_CHOICES / 64; i++)
                to->bits[i] |= more->bits[i];
}

static inline bool choices_any(const struct choice_set *s)
{
        uint64_t any = 0;

        for (unsigned i = 0; i < FACTS_CHOICES / 64; i++)
                any |= s->bits[i];
        return any != 0;
}

/* Are all of `of` in `s`? */
static inline bool choices_cover(const struct choice_set *s, const struct choice_set *of)
{
        uint64_t missing = 0;

        for (unsigned i = 0; i < FACTS_CHOICES / 64; i++)
                missing |= of->bits[i] & ~s->bits[i];
        return missing == 0;
}
#endif

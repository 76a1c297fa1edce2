/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refusal.h - what an expert says in place of an answer, in whatever shape, and whose fault that is.
 *
 * One table for whole answers and for a stream's first event.  Shapes: OpenAI's and Anthropic's object, an error that is a text
 * (Ollama, TGI), members at the root (vLLM, Mistral), FastAPI's `detail`, lists (Gemini), /v1/responses' events, plain text.
 * Reads only; any thread.
 */
#ifndef PM_REFUSAL_H
#define PM_REFUSAL_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "pm_router.h"

enum refusal_kind {
        REFUSAL_FAULT,   /* the expert's own: 5xx, 408, what we cannot interpret */
        REFUSAL_DOUBT,   /* 500 or 501 with an error in JSON: perhaps the request's */
        REFUSAL_BUSY,    /* 429, 503 or 529 that says for how long: not now */
        REFUSAL_QUOTA,   /* 402, 429 insufficient_quota: nor later */
        REFUSAL_ACCESS,  /* 401, 403, 404: our configuration's */
        REFUSAL_CONTEXT, /* the prompt is longer than what the model can take */
        REFUSAL_OPTIONS, /* it does not know stream_options */
        REFUSAL_REQUEST  /* another 4xx, or a content filter: the request's */
};

struct refusal {
        enum refusal_kind kind;
        int status;          /* for the client.  Of an event: what its code or type stands for */
        bool event;
        bool json;
        bool clean;          /* not long, no secret in it, its code the one that clients know: may be sent on as it is, if its shape is the wire's */
        /* Texts for people and clients: bounded, without control characters and keys; NULL: it does not say. */
        const char *message, *type, *param, *code;
};

/*
 * The body of an answer that is not a 2xx.  `told`: it said how long to wait.  `secrets`: ready-made header lines whose values must
 * not be repeated to anyone.  body is a slice of what lives at least as long as the refusal is read; texts are in the arena.
 */
void refusal_read(int status, bool told, struct pm_str body, struct pm_str secrets, struct arena *a, struct refusal *ret);
/* The same for an event of a stream, or a 200 whose body is an error: the status is what it says, or 500. */
void refusal_read_event(struct pm_str data, struct pm_str secrets, struct arena *a, struct refusal *ret);

/* An expert's words for a client or a log: at most 500 bytes, on one line, keys as "***".  "" if there is no memory. */
const char *refusal_words(struct pm_str text, struct pm_str secrets, struct arena *a);
#endif

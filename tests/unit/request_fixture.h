/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_fixture.h - requests as clients make them, from the front's socket to scripted experts, without a process: one loop, which
 * the test turns, with a configuration of the test's own.
 *
 * ${ALPHA}, ${BETA} and ${GAMMA} in it are the experts' URLs; ${DECIDER} is a router that goes to the expert whose name is in the text,
 * ${ITEMS} one that recommends item-1, item-2, ...
 */
#ifndef PM_TEST_REQUEST_FIXTURE_H
#define PM_TEST_REQUEST_FIXTURE_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "expert.h"
#include "peer.h"
#include "request_parts.h"

#include "base.h"

/* ---- experts ------------------------------------------------------------------------------------------------------------- */

enum mock { ALPHA, BETA, GAMMA, MOCKS };
enum mock_then { THEN_NEXT, THEN_CLOSE, THEN_RESET, THEN_HANG };

/* What an expert says to its next request; the last of these is said to all further ones.  headers: whole lines. */
void mock_says(enum mock m, const char *status, const char *headers, const char *body);
/* Bytes as they are. */
void mock_raw(enum mock m, enum mock_then then, const char *bytes, size_t n);
/* A stream of events; `then` other than THEN_NEXT: it has no end. */
void mock_streams(enum mock m, enum mock_then then, const char *events);
/* A stream that goes on with `more` when the test lets it: mock_go_on(). */
void mock_pauses(enum mock m, enum mock_then then, const char *events, const char *more);
/* And one that hangs after it has said `more` so many times, each when the test lets it. */
void mock_trickles(enum mock m, const char *events, const char *more, unsigned times);
void mock_go_on(enum mock m);
unsigned mock_asked(enum mock m);
/* Stands that in its last request? */
bool mock_was_asked(enum mock m, const char *text);

#define ANSWER(text) "{\"id\":\"c\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"" text "\"}," \
                     "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}}"
#define ERROR(message, code) "{\"error\":{\"message\":\"" message "\",\"type\":\"t\",\"param\":null,\"code\":" code "}}"
#define EVENT(json) "data: " json "\n\n"
#define DELTA(text) EVENT("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}")
#define ROLE EVENT("{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}")
#define STOP EVENT("{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}")
#define USAGE EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}}")
#define DONE_EVENT "data: [DONE]\n\n"

/* ---- the gateway --------------------------------------------------------------------------------------------------------- */

extern struct front {
        struct worker worker;
        struct generation *g;
        struct http *http;
        uint16_t port;
} front;

#define EXPERTS "experts: {alpha: {endpoints: '${ALPHA}', retries: 0}, beta: {endpoints: '${BETA}', retries: 0}}\n"
#define ROUTERS "routers: {decider: {plugin: '${DECIDER}'}}\n"
/* A route to alpha and beta whose decisions are kept as `cache` says. */
#define ROUTE(cache) ROUTERS "routes: {auto: {routers: decider, experts: [alpha, beta], default: beta, deadline: 10s, cache: {" cache "}}}\n"

void front_begin(const char *yaml);
void front_end(void);
void front_turn(void);
void front_turn_ms(int ms);
/* Lives until front_end(). */
char *front_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What it has logged since. */
const char *front_log(void);
/* A series as it stands in /metrics; 0: not there. */
double front_metric(const char *series);

#define FRONT_UNTIL(condition)                                                                     \
        do {                                                                                       \
                int64_t until_ = now_us() + 20000000;                                              \
                while (!(condition) && now_us() < until_)                                          \
                        front_turn();                                                              \
                cr_assert(condition, "in time: %s", #condition);                                   \
        } while (0)

/* ---- clients ------------------------------------------------------------------------------------------------------------- */

struct client {
        int fd;
        char *got;
        size_t n, room, slot;
        bool eof;
        /* when it is over */
        int status;
        const char *head, *body; /* the body without its chunks */
        bool whole;              /* it came to its end */
};

/* Bytes as they are. */
struct client client_says(const char *text);
/* headers: whole lines; body NULL: a GET. */
struct client client_asks(const char *path, const char *headers, const char *body);
void client_hears(struct client *c); /* what is there now */
void client_waits(struct client *c); /* until it is over */
void client_leaves(struct client *c);
struct client ask(const char *path, const char *headers, const char *body);
/* A header's value, valid until the next one; NULL: it has none. */
const char *header(const struct client *c, const char *name);
bool says(const struct client *c, const char *text); /* in its body */

#define CHAT "/v1/chat/completions"
#define SAYING(model, text) "{\"model\":\"" model "\",\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]}"
#define STREAMING(model, text) "{\"model\":\"" model "\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]}"

#define IS(c, status_)                                                                                                          \
        do {                                                                                                                    \
                const struct client is_ = (c);                                                                                  \
                cr_assert_eq(is_.status, status_, "%d, not %d: %s\n%s", is_.status, status_, is_.head, is_.body);                \
        } while (0)
#define HAS(c, text)                                                                                                            \
        do {                                                                                                                    \
                const struct client has_ = (c);                                                                                 \
                cr_assert(says(&has_, text), "no '%s' in %s", text, has_.body);                                                 \
        } while (0)
#define HEADER(c, name, value)                                                                                                  \
        do {                                                                                                                    \
                const struct client asked_ = (c);                                                                               \
                const char *got_ = header(&asked_, name);                                                                       \
                cr_assert(got_ && strcmp(got_, value) == 0, "%s: %s, not %s\n%s", name, got_ ? got_ : "(none)", value, asked_.body); \
        } while (0)
#endif

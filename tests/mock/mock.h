/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mock.h - the parts of mock-expert, a scripted OpenAI-compatible server.
 *
 * expert.c reads the command line and owns the threads; serve.c (requests in) and reply.c (answers out) speak HTTP on bufferevents;
 * answer.c makes what an expert would say; fault.c says what goes wrong; journal.c keeps what was asked, for the tests that compare.
 */
#ifndef MOCK_H
#define MOCK_H

#include <jansson.h>
#include <openssl/types.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base.h"

#define MAX_PORTS 64
#define MAX_BODY (64u << 20) /* a request's body; more is a 413 */

/* ---- bytes that grow -------------------------------------------------------------------------------------------------------- */

struct buf {
        char *p;
        size_t n, cap;
};

void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_json(struct buf *b, const char *s, size_t n); /* escaped as the inside of a JSON string */
void buf_base64(struct buf *b, const void *p, size_t n);
void buf_free(struct buf *b);

/* ---- faults ----------------------------------------------------------------------------------------------------------------- */

/* What goes wrong with one answer. -1: not asked for. */
struct fault {
        long status, retry_after, retry_after_ms, html, empty;
        long delay_ms, stall_after, cut_after, malformed_at, no_done, no_finish, error_event, error_object;
        long reset, never, slow_read, split;
        long context_length, content_filter, crlf, comments, choices_null, no_final_newline, http10, close, drop, usage_absent;
        long big, tokens, rate;
        char finish[32], say[256];
};

extern const struct fault FAULT_NONE;

/* "status=429;retry-after=1".  On failure why says what was not understood; *ret is untouched. */
int fault_parse(const char *text, size_t n, struct fault *ret, char *why, size_t why_n);
bool fault_any(const struct fault *f);
void fault_help(FILE *to);

/* Rules are taken in order: the first that fits an expert and path and has times left is used up by one. All threads. */
int rules_set(const json_t *list, char *why, size_t why_n);
int rules_load(const char *file, char *why, size_t why_n);
bool rules_take(const char *expert, const char *path, size_t path_n, struct fault *ret);
void rules_clear(void);

/* ---- experts and their journal ---------------------------------------------------------------------------------------------- */

struct expert {
        char name[128];
        int port;
        bool tls;
        _Atomic long open, accepted, requests, in_flight, max_in_flight, cancelled;
};

struct options {
        struct expert ports[MAX_PORTS];
        int port_n;
        char bind[64];
        const char *cert, *key, *script;
        long tokens, rate, first_ms, dimension, threads, log;
};

extern struct options options;

/* What a request left behind, for GET /mock/log and /mock/stats. All threads. */
int64_t journal_request(const struct expert *e, int64_t conn, const char *method, const char *target, size_t target_n,
                        const char *heads, size_t heads_n, const void *body, size_t body_n);
void journal_outcome(int64_t seq, int status, size_t events, size_t bytes, const char *ended);
void journal_cancelled(struct expert *e, int64_t seq, size_t events, size_t bytes);
json_t *journal_log(void);
json_t *journal_stats(void);
void journal_reset(void);
void journal_free(void);

/* ---- answers ---------------------------------------------------------------------------------------------------------------- */

enum kind { CHAT, TEXT, RESPONSES, EMBEDDINGS };

/* One understood request and what will be said to it. Belongs to one thread; counted, because a stream may outlive the memo. */
struct plan {
        int refs;
        enum kind kind;
        bool stream, include_usage, length_cut, base64;
        long tokens, prompt_tokens;
        int64_t created;
        char model[128], id[64];
        size_t id_digits; /* offset in id of the 16 digits that are the answer's own */
        struct buf words; /* JSON-escaped, each with its leading space */
        uint32_t *word_at;
        size_t word_n;
        json_t *input; /* embeddings */
        long dimension;
};

/* On failure why is the message of the 400 and *param, a constant, its place (or NULL). */
int plan_make(const struct expert *e, enum kind kind, const char *body, size_t n, const struct fault *f, struct plan **ret,
              const char **param, char *why, size_t why_n);
struct plan *plan_hold(struct plan *p);
void plan_drop(struct plan *p);
void plan_name(struct plan *p, uint64_t serial); /* gives the next answer its own id */

void answer_whole(const struct plan *p, const struct fault *f, struct buf *out);
void answer_error(int status, const char *message, const char *param, const char *code, struct buf *out);
void answer_models(struct buf *out);

/* A stream is events 0 to stream_events() - 1; stream_token() says how many tokens come before one is due. */
size_t stream_events(const struct plan *p, const struct fault *f);
long stream_token(const struct plan *p, size_t i);
void stream_event(const struct plan *p, const struct fault *f, size_t i, struct buf *out);

/* ---- serving ---------------------------------------------------------------------------------------------------------------- */

/* One event loop. Everything in it is touched by its thread only. */
struct loop;

struct loop *loop_new(SSL_CTX *tls);
int loop_listen(struct loop *l, struct expert *e, int fd);
void loop_run(struct loop *l);
void loop_stop(struct loop *l); /* any thread, and signal handlers */
void loop_free(struct loop *l);

static inline int64_t unix_us(void)
{
        struct timespec t;

        clock_gettime(CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pm_router.h - the router ABI of pointsman; the one header that a plugin needs.
 *
 * A router is a shared object that says where a request belongs.  It exports one function, written by PM_ROUTER(), that returns its table.
 * route() and every continuation have the same type: they look at the query, and return their next *move*.  An ending (pm_decide,
 * pm_candidates, pm_pass, pm_fail, pm_reject) answers the query; a continuation (pm_embed, pm_call, pm_offload) names the function that goes
 * on when the operation is done.  The host carries a move out after the step has returned, so nothing runs inside your call; one operation is
 * in flight, so a client that leaves is the host's business and never yours.
 *
 * Threads: open and close run on the main thread; route, recommend, observe and continuations on a worker, many at a time for one `self`, so
 * what `self` points to must not change after open unless you guard it; pm_offload's work on a pool thread.  A step that takes longer than a
 * millisecond belongs in pm_offload; above 5 ms the host's log names the router.
 *
 * Memory: what the query points to, and what pm_alloc returns, lives until the query ends; then pm_defer's functions run, last first.
 * Strings are not NUL-terminated unless their type is const char *.  Standard C11; also compiles as C++17.
 */
#ifndef PM_ROUTER_H
#define PM_ROUTER_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A host loads a plugin of its own major and of a minor not above its own.  Structs grow only at the end. */
#define PM_ABI_MAJOR 1
#define PM_ABI_MINOR 3
struct pm_query; struct pm_host;

/* Bytes: UTF-8 text where it came from JSON.  p may be NULL when n is 0. */
struct pm_str { const char *p; size_t n; };

/* What a step returns.  Only a move makes a valid one; it is good for this step and no other. */
typedef struct pm_step { uint64_t ticket; } pm_step;
typedef pm_step pm_step_fn(void *self, struct pm_query *q);
enum pm_kind { PM_CHAT = 1, PM_RECOMMEND = 2 };
enum pm_level { PM_DEBUG = 1, PM_INFO = 2, PM_WARN = 3, PM_ERROR = 4 };

/* Why an operation failed, in q->status; 0 is success. */
enum pm_status {
        PM_OK = 0,
        PM_EBUSY = -1,        /* could not start: the pool's queue or a limit is full */
        PM_ETIMEOUT = -2,     /* the operation's own limit passed */
        PM_EUNREACHABLE = -3, /* connection refused, reset or cut */
        PM_EUPSTREAM = -4,    /* an answer came, but not a 2xx: see q->http_status and q->reply */
        PM_ETOOBIG = -5,      /* the reply was longer than max_reply */
        PM_EINVAL = -6,       /* unknown expert or encoder, or an answer that could not be read */
        PM_ECRASHED = -7,     /* the work of an offload could not finish */
        PM_ELATER = -8        /* since 1.2: pm_call in the background: not there yet */
};

/* An expert that is healthy and that the tenant may use.  Prices in USD per million tokens; 0 where not configured. */
struct pm_expert {
        const char *name;
        double price_in, price_out;
        int64_t context;       /* tokens; 0: not configured */
        double first_token_ms; /* smoothed; 0: none seen yet */
        int64_t in_flight;     /* requests at this expert now, from this gateway */
};

/* One turn of the conversation; text is all text parts joined by newlines, images and the like left out. */
struct pm_message { struct pm_str role, text; };

/* One retrieved item, best first.  score: higher is better; interest and source may be NULL. */
struct pm_item {
        struct pm_str id;
        double score;
        const char *interest, *source;
};

/* An attribute that an item must have, with one of these values: texts, or whole numbers, true and false as they are written. */
struct pm_filter { struct pm_str key; const struct pm_str *const *values; size_t n; };

/* The question.  Read-only but for `state`, which is yours to carry something from step to step. */
struct pm_query {
        uint32_t size; /* of this struct as the host knows it */
        enum pm_kind kind;
        const struct pm_host *host;
        void *state;

        struct pm_str id;     /* the request's id, as in the log and in x-request-id */
        struct pm_str tenant; /* empty: no keys are configured */
        struct pm_str model;  /* the model that the client asked for: a route's name, for example "auto" */
        int64_t left_ms;      /* time left for routing when this step began */
        /* chat */
        struct pm_str text; /* the last user message */
        const struct pm_message *const *messages; size_t n_messages;
        struct pm_str body; /* the client's bytes, valid JSON */
        const struct pm_expert *const *experts; size_t n_experts;
        struct pm_str user; /* empty: unknown; chat: the body's `user` (since 1.1) */
        /* recommend */
        const struct pm_str *const *history; size_t n_history;
        size_t wanted; /* how many candidates */
        const struct pm_str *const *exclude; size_t n_exclude; /* since 1.3 also what the body says in `deny` */

        /* the last operation's result; a vector and a reply live until the query ends */
        int status;           /* enum pm_status */
        int http_status;      /* pm_call: of the answer, 0 if none came */
        struct pm_str reply;  /* pm_call: the answer's body */
        const float *vector; size_t dim; /* pm_embed: as the encoder gave them */
        int explain;          /* since 1.1: an explanation is wanted, see pm_explain */
        /* recommend, since 1.3: only these items (NULL: any); their attributes; may what the user has taken come again? */
        const struct pm_str *const *allow; size_t n_allow;
        const struct pm_filter *const *filters; size_t n_filters;
        int keep_seen;
};

/* ---- moves -------------------------------------------------------------------------------------------------------------- */
/* Of `extra`: bytes, members, levels of brackets.  Beyond them a decision is refused. */
#define PM_EXTRA_BYTES_MAX 65536u
#define PM_EXTRA_MEMBERS_MAX 256u
#define PM_EXTRA_DEPTH_MAX 64u

/* Where the request goes.  Strings are copied by the host before the step's memory can go. */
struct pm_decision {
        const char *expert;           /* one of q->experts.  Another of pm_open.experts: as pm_pass, but for `only` and (since 1.3) where the
                                       * route has no fallbacks; an unknown one: the decision is refused and the next router is asked */
        const char *const *fallbacks; /* best first, NULL at the end; may be NULL.  Unknown and unhealthy ones are passed over */
        const char *category;         /* may be NULL */
        double confidence;            /* 0..1; 0: not stated */
        const char *reason;           /* one line for people; may be NULL */
        const char *extra;            /* a JSON object whose members are merged into the upstream body; may be NULL */
        int provisional;              /* since 1.2: for this request only, a better one is under way: the host does not keep it */
        int unsure;                   /* since 1.3: as good as a default: no conversation is kept at this expert for it */
        int only;                     /* since 1.3: here and nowhere else.  No fallbacks; the expert may be any of pm_open.experts, and where it
                                       * is not there, or not for this tenant, the client is told so.  See pm_open.insists */
};

/* A request through the gateway's own client to a configured expert (its address, key, health and limits apply). */
struct pm_call {
        const char *expert;
        const char *path;   /* below the expert's base URL; NULL: "/chat/completions" */
        struct pm_str body; /* JSON */
        int timeout_ms;     /* 0: 2000; never more than the time left, unless in the background */
        size_t max_reply;   /* bytes; 0: 1 MiB */
        int keep_s;         /* the host may answer the same body from its cache for so long; 0: never */
        int background;     /* since 1.2, with keep_s: a kept reply, else PM_ELATER at once, and the host asks for the next query to find */
};

/* The host's functions, reached through the macros below. */
struct pm_host {
        uint32_t size;
        uint16_t major, minor;
        pm_step (*decide)(struct pm_query *q, const struct pm_decision *d);
        pm_step (*candidates)(struct pm_query *q, const struct pm_item *const *items, size_t n);
        pm_step (*pass)(struct pm_query *q);
        pm_step (*fail)(struct pm_query *q, const char *fmt, ...);
        pm_step (*embed)(struct pm_query *q, const char *encoder, struct pm_str text, pm_step_fn *then);
        pm_step (*call)(struct pm_query *q, pm_step_fn *then, const struct pm_call *c);
        pm_step (*offload)(struct pm_query *q, void (*work)(void *job), void *job, pm_step_fn *then);
        void *(*alloc)(struct pm_query *q, size_t n);
        int (*defer)(struct pm_query *q, void (*fn)(void *arg), void *arg);
        void (*log)(struct pm_query *q, enum pm_level level, const char *fmt, ...);
        struct pm_str (*header)(struct pm_query *q, const char *name);
        void (*explain)(struct pm_query *q, const char *json); /* since 1.1 */
        pm_step (*reject)(struct pm_query *q, const char *param, const char *fmt, ...); /* since 1.3 */
        void (*keep)(struct pm_query *q, int seconds); /* since 1.3 */
};

/* This request belongs to that expert: pm_decide(q, .expert = "math", .confidence = .9). */
#define pm_decide(q, ...) ((q)->host->decide((q), &(const struct pm_decision){ __VA_ARGS__ }))
/* These items answer a recommend query: n pointers, best first; items must live as long as the query (pm_alloc). */
#define pm_candidates(q, items, n) ((q)->host->candidates((q), (items), (n)))
#define pm_pass(q) ((q)->host->pass((q))) /* not mine: the next router is asked, and after the last one the route's default */
/* Could not decide, and that is a fault: logged and counted, then as pm_pass. */
#define pm_fail(q, ...) ((q)->host->fail((q), __VA_ARGS__))
/* Recommend, since 1.3: the client's mistake, in this member of the body (or NULL): it is told so (400), and no other router is asked. */
#define pm_reject(q, param, ...) ((q)->host->reject((q), (param), __VA_ARGS__))
/* Turn text into a vector; then q->vector and q->dim.  The text is copied. */
#define pm_embed(q, encoder, text, then) ((q)->host->embed((q), (encoder), (text), (then)))
/* Ask an expert something; then q->http_status and q->reply.  pm_call(q, then, .expert = "small", .body = ...).  Copied. */
#define pm_call(q, then, ...) ((q)->host->call((q), (then), &(const struct pm_call){ __VA_ARGS__ }))
/* Run work(job) on a pool thread.  It may touch job and what open() built, not q, and call no host function.  If the client
 * leaves, the host keeps the query's memory until work has returned. */
#define pm_offload(q, work, job, then) ((q)->host->offload((q), (work), (job), (then)))

/* ---- helpers ------------------------------------------------------------------------------------------------------------ */
/* Zeroed memory that lives as long as the query; never NULL for n up to 16 MiB, NULL above. */
#define pm_alloc(q, n) ((q)->host->alloc((q), (n)))
/* Run fn(arg) when the query ends, on its worker, last first.  0, or -1 when there was no memory (then fn has been called). */
#define pm_defer(q, fn, arg) ((q)->host->defer((q), (fn), (arg)))
/* A line in the gateway's log, with the request's id and the router's name. */
#define pm_log(q, level, ...) ((q)->host->log((q), (level), __VA_ARGS__))
/* An explanation: the members of this JSON object are shown with the answer.  Copied; worth making only if q->explain. */
#define pm_explain(q, json) ((q)->host->explain((q), (json)))
/* Since 1.3: q->reply, cached because of keep_s, stays cached for at most so many seconds from now; 0: no longer. */
#define pm_keep(q, seconds) ((q)->host->keep((q), (seconds)))
/* A header of the client's request, joined by ", " if it came more than once; empty if it did not; names ignore case. */
#define pm_header(q, name) ((q)->host->header((q), (name)))

/* ---- options ------------------------------------------------------------------------------------------------------------ */
enum pm_type {
        PM_BOOL = 1, PM_INT, PM_REAL, /* int, int64_t, double */
        PM_STR,       /* const char *, NULL if not given and without preset */
        PM_PATH,      /* const char *, a file; made absolute against the configuration file's folder */
        PM_SIZE,      /* int64_t bytes: 512, 64KiB, 4MiB, 1GiB */
        PM_TIME,      /* int64_t milliseconds: 250ms, 2s, 5m, 1h */
        PM_CHOICE,    /* int64_t, index into `choices`, a "a|b|c" string */
        PM_STRS, PM_TABLE, /* struct pm_strs; a struct in place, described by `sub` */
        PM_TABLES,    /* struct pm_tables: a list of maps, or a map of maps when `sub` has a PM_KEY */
        PM_KEY        /* const char *: in the `sub` of a PM_TABLES, receives the entry's name in a map of maps */
};

#define PM_REQUIRED 1u /* the key must be there */
#define PM_SECRET 2u   /* never shown */
struct pm_strs { const char *const *items; size_t n; }; /* items NULL: the key is absent */
struct pm_tables { void *items; size_t n; }; /* n structs of the option's `sub_size` */

/* One key.  A table of them ends with a NULL key.  Write them with the PM_*_OPTION macros, which check the field's type. */
struct pm_option {
        const char *key;
        enum pm_type type;
        unsigned flags;
        size_t offset;
        const char *preset;     /* as it would stand in the file; NULL: zero */
        double min, max;        /* for numbers, sizes and times; both 0: no range.  For lists: how many items */
        const char *choices;    /* PM_CHOICE */
        const struct pm_option *sub; size_t sub_size; /* PM_TABLE, PM_TABLES */
        const char *help;       /* one sentence, no full stop */
};

#ifdef __cplusplus
#define PM_FIELD(T, field, type) (offsetof(T, field) + 0 * sizeof(&((T *)0)->field == (type *)0))
#else
#define PM_FIELD(T, field, type) _Generic(&((T *)0)->field, type *: offsetof(T, field))
#endif
#define PM_OPT_(T, f, ctype, type, k, fl, preset, min, max, choices, sub, ssize, help) \
        { k, type, fl, PM_FIELD(T, f, ctype), preset, min, max, choices, sub, ssize, help }

#define PM_BOOL_OPTION(T, f, k, preset, help) PM_OPT_(T, f, int, PM_BOOL, k, 0, preset, 0, 0, NULL, NULL, 0, help)
#define PM_INT_OPTION(T, f, k, preset, lo, hi, help) PM_OPT_(T, f, int64_t, PM_INT, k, 0, preset, lo, hi, NULL, NULL, 0, help)
#define PM_REAL_OPTION(T, f, k, preset, lo, hi, help) PM_OPT_(T, f, double, PM_REAL, k, 0, preset, lo, hi, NULL, NULL, 0, help)
#define PM_STR_OPTION(T, f, k, fl, preset, help) PM_OPT_(T, f, const char *, PM_STR, k, fl, preset, 0, 0, NULL, NULL, 0, help)
#define PM_PATH_OPTION(T, f, k, fl, preset, help) PM_OPT_(T, f, const char *, PM_PATH, k, fl, preset, 0, 0, NULL, NULL, 0, help)
#define PM_SIZE_OPTION(T, f, k, preset, lo, hi, help) PM_OPT_(T, f, int64_t, PM_SIZE, k, 0, preset, lo, hi, NULL, NULL, 0, help)
#define PM_TIME_OPTION(T, f, k, preset, lo, hi, help) PM_OPT_(T, f, int64_t, PM_TIME, k, 0, preset, lo, hi, NULL, NULL, 0, help)
#define PM_CHOICE_OPTION(T, f, k, preset, list, help) PM_OPT_(T, f, int64_t, PM_CHOICE, k, 0, preset, 0, 0, list, NULL, 0, help)
#define PM_STRS_OPTION(T, f, k, fl, lo, hi, help) PM_OPT_(T, f, struct pm_strs, PM_STRS, k, fl, NULL, lo, hi, NULL, NULL, 0, help)
#define PM_TABLE_OPTION(T, f, S, k, subtable, help) PM_OPT_(T, f, S, PM_TABLE, k, 0, NULL, 0, 0, NULL, subtable, sizeof(S), help)
#define PM_TABLES_OPTION(T, f, S, k, fl, lo, hi, subtable, help) \
        PM_OPT_(T, f, struct pm_tables, PM_TABLES, k, fl, NULL, lo, hi, NULL, subtable, sizeof(S), help)
#define PM_KEY_OPTION(T, f) PM_OPT_(T, f, const char *, PM_KEY, "", 0, NULL, 0, 0, NULL, NULL, 0, "")
#define PM_END_OPTION { NULL, PM_BOOL, 0, 0, NULL, 0, 0, NULL, NULL, 0, NULL }

/* ---- the router --------------------------------------------------------------------------------------------------------- */
/* What its decisions depend on, or'ed, so that the host may keep them: what is not named here is not shown to it.  Options, files of
 * PM_PATHs, and the experts' names, prices and contexts always count.  0: on more (load, time, chance): none is kept, all is shown. */
enum pm_reads { PM_READS_NOTHING = 1, PM_READS_TEXT = 2, PM_READS_MESSAGES = 4, PM_READS_BODY = 8, PM_READS_USER = 16,
                PM_READS_TENANT = 32, PM_READS_HEADERS = 64 /* those that open() has named by o->reads_header() */ };

/* What open() is told. */
struct pm_open {
        uint32_t size;
        const char *instance;             /* the router's name in the configuration */
        const char *const *experts; size_t n_experts; /* all that are configured */
        void (*log)(const struct pm_open *o, enum pm_level level, const char *fmt, ...);
        int (*refuse)(const struct pm_open *o, const char *fmt, ...); /* says why open() fails; returns -1 */
        void (*reads_header)(const struct pm_open *o, const char *name); /* since 1.1; copied */
        /* Since 1.3: some decisions will be `only`: the router is asked, too, where a conversation stays with an expert; then only such
         * a decision counts. */
        void (*insists)(const struct pm_open *o);
};

/* How a routed request ended. */
struct pm_outcome {
        uint32_t size;
        struct pm_str id;
        const char *expert, *category; /* the expert that answered; category may be NULL */
        int http_status;
        int64_t tokens_in, tokens_out; /* -1: the expert did not say */
        double first_token_ms, total_ms;
        double cost;                   /* USD; 0 if prices are not configured */
        int complete;                  /* the answer reached its end and the client took it */
};

struct pm_router {
        uint32_t size;         /* sizeof(struct pm_router) as the plugin knows it */
        uint16_t major, minor; /* PM_ABI_MAJOR, PM_ABI_MINOR as the plugin knows them */
        const char *name, *version, *summary;
        size_t self_size; /* the host allocates self, zeroed, and fills it from the options before open */
        const struct pm_option *options;                   /* NULL: none */
        int (*open)(void *self, const struct pm_open *o);  /* 0, or refuse(); may block; may be NULL */
        void (*close)(void *self);                         /* after the last query; may be NULL */
        pm_step_fn *route;                                 /* chat; NULL: this router only recommends */
        pm_step_fn *recommend;                             /* NULL: this router only routes */
        void (*observe)(void *self, const struct pm_outcome *o); /* may be NULL; must not block */
        unsigned reads;                                    /* enum pm_reads; since 1.1 */
};

#if defined(__GNUC__)
#define PM_EXPORT __attribute__((visibility("default")))
#else
#define PM_EXPORT
#endif
typedef const struct pm_router *pm_router_entry(void); /* the one symbol that a plugin exports */
#define PM_ROUTER(...)                                                                                            \
        PM_EXPORT const struct pm_router *pm_router_table(void);                                                  \
        const struct pm_router *pm_router_table(void)                                                             \
        {                                                                                                         \
                static const struct pm_router table = { .size = sizeof(struct pm_router), .major = PM_ABI_MAJOR, \
                                                        .minor = PM_ABI_MINOR, __VA_ARGS__ };                     \
                return &table;                                                                                    \
        }

#ifdef __cplusplus
}
#endif
#endif

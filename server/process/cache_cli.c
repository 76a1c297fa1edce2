/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export sweeps the keys and asks for the value of each; import sends SETs, so many under way at a time.  Both run one event loop of
 * their own until all has been said.
 */
#include "cache_cli.h"

#include <event2/event.h>
#include <jansson.h>

#include "cache.h"
#include "config.h"
#include "decision_codec.h"
#include "edits.h"
#include "gateway.h"
#include "keyscan.h"
#include "log.h"
#include "routing.h"
#include "settings.h"

#include "base.h"

enum { LINE_MAX_BYTES = 1 << 20, UNDER_WAY_MAX = 512, NAMED = 10, NAMES_MAX = 1024, SHOW_EVERY = 10000, PROBLEMS_MAX = 200 };

/* ---- lines --------------------------------------------------------------------------------------------------------------- */

static json_t *text(struct pm_str s)
{
        return s.p ? json_stringn(s.p, s.n) : json_null();
}

char *decisions_line(struct pm_str key, const struct cached_decision *k)
{
        json_t *fallbacks = json_array(), *o;
        char *line;

        for (size_t i = 0; i < k->n_fallbacks; i++)
                if (json_array_append_new(fallbacks, text(k->fallbacks[i])) < 0) {
                        json_decref(fallbacks);
                        return NULL;
                }
        o = json_pack("{s:o, s:I, s:o, s:o, s:o, s:o, s:f, s:o, s:o}", "key", text(key), "ends_ms", (json_int_t)k->ends_ms,
                      "expert", text(k->expert), "fallbacks", fallbacks, "router", text(k->router), "category",
                      text(k->category), "confidence", k->confidence, "reason", text(k->reason), "extra", text(k->extra));
        if (o && k->unsure)
                (void)json_object_set_new(o, "unsure", json_true());
        if (o && k->only)
                (void)json_object_set_new(o, "only", json_true());
        line = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
        json_decref(o);
        return line;
}

static struct pm_str member(json_t *o, const char *name)
{
        json_t *v = json_object_get(o, name);

        return json_is_string(v) ? (struct pm_str){ json_string_value(v), json_string_length(v) } : (struct pm_str){ 0 };
}

int decisions_read_line(const char *line, size_t n, struct pm_str *key, struct cached_decision *k, void **ret_memory, char *why, size_t size)
{
        json_error_t error;
        json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error), *list, *ends;
        const char *wrong = NULL, *extra;

        if (!json_is_object(o)) {
                (void)snprintf(why, size, "no JSON object: %s", o ? "another value" : error.text);
                json_decref(o);
                return -EINVAL;
        }
        *key = member(o, "key");
        list = json_object_get(o, "fallbacks");
        ends = json_object_get(o, "ends_ms");
        *k = (struct cached_decision){ .ends_ms = json_integer_value(ends), .confidence = json_number_value(json_object_get(o, "confidence")),
                            .expert = member(o, "expert"), .router = member(o, "router"), .category = member(o, "category"),
                            .reason = member(o, "reason"), .extra = member(o, "extra"), .unsure = json_is_true(json_object_get(o, "unsure")),
                            .only = json_is_true(json_object_get(o, "only")),
                            .key = decision_encoded_key(*key) };
        if (key->n < 3 || (key->p[0] != 'd' && key->p[0] != 'p') || key->p[1] != '|')
                wrong = "'key' is not that of a decision (d|TENANT|ROUTE|...) or of a pin (p|...)";
        else if (!json_is_integer(ends))
                wrong = "'ends_ms' is missing: when it ends, in milliseconds since 1970";
        else if (k->expert.n == 0)
                wrong = "'expert' is missing";
        else if (!(k->confidence >= 0 && k->confidence <= 1))
                wrong = "'confidence' is not in 0..1";
        else if (key->n > NAMES_MAX || k->expert.n > NAMES_MAX || k->router.n > NAMES_MAX)
                wrong = "'key', 'expert' or 'router' is longer than 1 KiB";
        else if (k->category.n > DECISION_WORDS_MAX || k->reason.n > DECISION_WORDS_MAX)
                wrong = "'category' or 'reason' is longer than 1 KiB";
        else if (k->extra.p && edits_extra_check(k->extra, NULL, &extra) < 0)
                wrong = "'extra' is no JSON object, or has more than 64 KiB or 256 members: no gateway would use it";
        else if (k->only && json_array_size(list))
                wrong = "'only' has 'fallbacks': one of the two would be right";
        else if (list && (!json_is_array(list) || json_array_size(list) > DECISION_FALLBACKS_MAX))
                wrong = "'fallbacks' is no list, or has more than 64 names";
        for (size_t i = 0; !wrong && i < json_array_size(list); i++) {
                json_t *v = json_array_get(list, i);

                if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) > NAMES_MAX)
                        wrong = "'fallbacks' has something else than names";
                else
                        k->fallbacks[k->n_fallbacks++] = (struct pm_str){ json_string_value(v), json_string_length(v) };
        }
        if (wrong) {
                (void)snprintf(why, size, "%s", wrong);
                json_decref(o);
                return -EINVAL;
        }
        *ret_memory = o;
        return 0;
}

/* ---- both ways ----------------------------------------------------------------------------------------------------------- */

struct carrier {
        struct event_base *base;
        struct settings *settings;
        struct arena arena;
        struct keyscan sweep;
        struct pm_str prefix;
        unsigned under_way;
        bool swept, started;
        const char *why;         /* it cannot go on */
        uint64_t done, foreign, failed;
        FILE *out;
};

struct carried {
        struct store_call call;
        struct carrier *t;
        size_t n;
        char key[];
};

/* Only the settings: routers and their models are not needed to look into Redis. */
static int load(struct carrier *t, const char *file)
{
        struct problems *p = problems_create(PROBLEMS_MAX);
        int e = p ? config_load(file, &t->arena, p, NULL, &t->settings) : -ENOMEM;

        if (e == 0 && t->settings->cache.redis.servers.n == 0)
                problems_add(p, NULL, "cache.redis", "%s has no Redis: add 'servers'", file);
        if (!p || problems_count(p)) {
                (void)fputs(p ? problems_text(p) : "pointsman: out of memory\n", stderr);
                e = -EINVAL;
        }
        problems_destroy(p);
        return e;
}

static int begin(struct carrier *t, const char *file)
{
        log_setup(PM_WARN, LOG_LOGFMT);
        arena_init(&t->arena, NULL, SIZE_MAX);
        if (load(t, file) < 0)
                return -EINVAL;
        t->prefix = (struct pm_str){ t->settings->cache.redis.prefix, strlen(t->settings->cache.redis.prefix ? t->settings->cache.redis.prefix : "") };
        t->base = gateway_prepare() < 0 ? NULL : event_base_new();
        if (!t->base)
                (void)fputs("pointsman: out of memory\n", stderr);
        return t->base ? 0 : -ENOMEM;
}

static int end(struct carrier *t, const char *verb)
{
        while (t->under_way) /* each has its time limit */
                (void)event_base_loop(t->base, EVLOOP_ONCE);
        keyscan_finish(&t->sweep);
        if (t->base) {
                event_base_free(t->base);
                (void)fprintf(stderr, "%" PRIu64 " %s", t->done, verb);
                if (t->foreign)
                        (void)fprintf(stderr, ", %" PRIu64 " passed over", t->foreign);
                if (t->failed)
                        (void)fprintf(stderr, ", %" PRIu64 " failed", t->failed);
                (void)fprintf(stderr, "%s%s\n", t->why ? "; " : "", t->why ? t->why : "");
        }
        arena_finish(&t->arena);
        return !t->base || t->why || t->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void progress(const struct carrier *t, const char *verb)
{
        if (isatty(STDERR_FILENO) && t->done % SHOW_EVERY == 0)
                (void)fprintf(stderr, "\r%" PRIu64 " %s ", t->done, verb);
}

static void on_over(struct keyscan *s, const char *why)
{
        struct carrier *t = CONTAINER_OF(s, struct carrier, sweep);

        t->why = why;
        t->swept = true;
        if (why || t->under_way == 0)
                (void)event_base_loopbreak(t->base);
}

static struct carried *callout(struct carrier *t, struct pm_str key, void (*done)(struct store_call *, enum store_result, const struct store_reply *))
{
        struct carried *e = calloc(1, sizeof *e + key.n);

        if (!e)
                return NULL;
        e->call.done = done;
        e->t = t;
        e->n = key.n;
        memcpy(e->key, key.p, key.n);
        return e;
}

static void over(struct carried *e)
{
        struct carrier *t = e->t;

        free(e);
        t->under_way--;
        if (t->swept && t->under_way == 0)
                (void)event_base_loopbreak(t->base);
}

/* ---- export -------------------------------------------------------------------------------------------------------------- */

static void on_value(struct store_call *c, enum store_result result, const struct store_reply *reply)
{
        struct carried *e = CONTAINER_OF(c, struct carried, call);
        struct carrier *t = e->t;
        CLEANUP(free_p) char *line = NULL;
        struct cached_decision k;

        if (result == STORE_OK && reply->value.p) {
                if (decision_decode(reply->value, &k) == 0)
                        line = decisions_line((struct pm_str){ e->key + t->prefix.n, e->n - t->prefix.n }, &k);
                if (line && fprintf(t->out, "%s\n", line) > 0)
                        t->done++;
                else
                        t->foreign++;
                progress(t, "exported");
        } else if (result != STORE_NONE) { /* it may have ended meanwhile */
                t->failed++;
        }
        over(e);
}

static void on_keys(struct keyscan *s, const struct pm_str *keys, size_t n)
{
        struct carrier *t = CONTAINER_OF(s, struct carrier, sweep);

        for (size_t i = 0; i < n; i++) {
                const char *own = keys[i].p + t->prefix.n;
                struct carried *e;

                if (keys[i].n < t->prefix.n + 2 || own[1] != '|' || (own[0] != 'd' && own[0] != 'p'))
                        continue; /* an answer, or somebody else's */
                e = callout(t, keys[i], on_value);
                if (e && keyscan_get(s, &e->call, keys[i]) == 0) {
                        t->under_way++;
                } else {
                        free(e);
                        t->failed++;
                }
        }
}

int decisions_export(const char *file, FILE *out)
{
        struct carrier t = { .out = out, .sweep = { .batch = on_keys, .end = on_over } };

        if (begin(&t, file) == 0) {
                if (keyscan_begin(&t.sweep, t.base, &t.settings->cache.redis, (struct pm_str){ "", 0 }) == 0)
                        (void)event_base_dispatch(t.base);
                else
                        t.why = "out of memory";
                if (fflush(out) != 0 && !t.why)
                        t.why = "the output does not take it";
        }
        return end(&t, "exported");
}

/* ---- import -------------------------------------------------------------------------------------------------------------- */

static void on_set(struct store_call *c, enum store_result result, const struct store_reply *reply)
{
        static const char lost[] = "Redis did not answer in time, or the connection was lost";
        struct carried *e = CONTAINER_OF(c, struct carried, call);
        struct carrier *t = e->t;

        if (result == STORE_OK) {
                t->done++;
        } else if (++t->failed <= NAMED) {
                struct pm_str why = result == STORE_ERROR ? reply->value : (struct pm_str){ lost, sizeof lost - 1 };

                (void)fprintf(stderr, "pointsman: '%.*s' is not stored: %.*s\n", (int)e->n, e->key, (int)why.n, why.p);
        }
        progress(t, "imported");
        over(e);
}

static void import_line(struct carrier *t, const char *line, size_t n, size_t number)
{
        void *memory = NULL;
        struct pm_str key;
        struct cached_decision k;
        char why[200];
        int64_t now;

        if (decisions_read_line(line, n, &key, &k, &memory, why, sizeof why) < 0) {
                if (++t->failed <= NAMED)
                        (void)fprintf(stderr, "pointsman: line %zu: %s\n", number, why);
                return;
        }
        now = cache_now_ms();
        if (k.ends_ms <= now) {
                t->foreign++;
        } else {
                size_t size = decision_encoded_size(&k), whole = t->prefix.n + key.n;
                CLEANUP(free_p) unsigned char *value = malloc(size);
                CLEANUP(free_p) char *name = malloc(whole);
                struct carried *e = NULL;

                if (value && name) {
                        decision_encode(&k, value);
                        if (t->prefix.n)
                                memcpy(name, t->prefix.p, t->prefix.n);
                        memcpy(name + t->prefix.n, key.p, key.n);
                        e = callout(t, (struct pm_str){ name, whole }, on_set);
                }
                if (e && keyscan_set(&t->sweep, &e->call, (struct pm_str){ name, whole }, (struct pm_str){ (char *)value, size }, k.ends_ms - now) == 0) {
                        t->under_way++;
                } else {
                        free(e);
                        if (++t->failed <= NAMED)
                                (void)fprintf(stderr, "pointsman: line %zu: Redis does not take it now\n", number);
                }
        }
        json_decref(memory);
}

int decisions_import(const char *file, FILE *in)
{
        struct carrier t = { .sweep = { .end = on_over } };
        CLEANUP(free_p) char *line = NULL;
        size_t room = 0, number = 0;
        ssize_t n;

        if (begin(&t, file) < 0)
                return end(&t, "imported");
        if (sweep_connect(&t.sweep, t.base, &t.settings->cache.redis) < 0)
                t.why = "out of memory";
        else
                (void)event_base_dispatch(t.base);
        t.swept = false;
        while (!t.why && (n = getline(&line, &room, in)) >= 0) {
                number++;
                while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                        n--;
                if (n == 0)
                        continue;
                if (n > LINE_MAX_BYTES)
                        t.failed++;
                else
                        import_line(&t, line, (size_t)n, number);
                while (t.under_way >= UNDER_WAY_MAX)
                        (void)event_base_loop(t.base, EVLOOP_ONCE);
        }
        if (!t.why && ferror(in))
                t.why = "the input cannot be read on";
        return end(&t, "imported");
}

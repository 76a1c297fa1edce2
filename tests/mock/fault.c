/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - what goes wrong, and when.
 *
 * A fault is written "name=value;name;name=value", in a request's x-mock-fault header or in a script of rules. One table names them
 * all: it parses, and it is what --help prints.
 */
#include "mock.h"

static const struct name {
        const char *name;
        long bare; /* the value of the name alone; -1: needs a value */
        size_t at;
        const char *help;
} names[] = {
        { "status", -1, offsetof(struct fault, status), "=CODE: answer with this status and an error in OpenAI's shape" },
        { "retry-after", 1, offsetof(struct fault, retry_after), "=SECONDS: that header" },
        { "retry-after-ms", 1, offsetof(struct fault, retry_after_ms), "=MS: that header" },
        { "html", 1, offsetof(struct fault, html), "the error's body is an HTML page, as a proxy's" },
        { "empty", 1, offsetof(struct fault, empty), "the error's body is empty" },
        { "context-length", 1, offsetof(struct fault, context_length), "400 context_length_exceeded" },
        { "content-filter", 1, offsetof(struct fault, content_filter), "400 content_filter" },
        { "delay-ms", -1, offsetof(struct fault, delay_ms), "=MS: before the first byte" },
        { "accept-never-answer", 1, offsetof(struct fault, never), "read the request, then silence" },
        { "reset", 1, offsetof(struct fault, reset), "TCP reset instead of an answer; with cut-after: after those bytes" },
        { "slow-read", 1, offsetof(struct fault, slow_read), "read the request's body at 1 kB each 20 ms" },
        { "cut-after", -1, offsetof(struct fault, cut_after), "=N: close after N bytes of the body" },
        { "stall-after", -1, offsetof(struct fault, stall_after), "=N: silence after N events" },
        { "malformed-at", -1, offsetof(struct fault, malformed_at), "=N: event N (from 0) is cut JSON" },
        { "error-event", 3, offsetof(struct fault, error_event), "=N: event N is {\"error\":...} and the last" },
        { "error-object", 3, offsetof(struct fault, error_object), "=N: event N is {\"object\":\"error\",...} and the last" },
        { "no-done", 1, offsetof(struct fault, no_done), "the stream ends without [DONE] (response.completed)" },
        { "no-finish", 1, offsetof(struct fault, no_finish), "no event has a finish_reason" },
        { "choices-null", 1, offsetof(struct fault, choices_null), "an event before the first, and the usage chunk, with choices: null" },
        { "usage-absent", 1, offsetof(struct fault, usage_absent), "no usage, even when asked" },
        { "split", 1, offsetof(struct fault, split), "=N: every write has N bytes, one a millisecond" },
        { "crlf", 1, offsetof(struct fault, crlf), "lines of events end in CRLF" },
        { "comments", 1, offsetof(struct fault, comments), "a comment line before every event" },
        { "no-final-newline", 1, offsetof(struct fault, no_final_newline), "the last event has no line end" },
        { "http10", 1, offsetof(struct fault, http10), "answer as HTTP/1.0: the end is the connection's" },
        { "close", 1, offsetof(struct fault, close), "connection: close" },
        { "drop", 1, offsetof(struct fault, drop), "close after the answer without having said so" },
        { "big", -1, offsetof(struct fault, big), "=N: the answer's text has N bytes" },
        { "tokens", -1, offsetof(struct fault, tokens), "=N: instead of --tokens" },
        { "rate", -1, offsetof(struct fault, rate), "=N: instead of --rate" },
};

const struct fault FAULT_NONE = {
        .status = -1, .retry_after = -1, .retry_after_ms = -1, .html = -1, .empty = -1, .delay_ms = -1, .stall_after = -1,
        .cut_after = -1, .malformed_at = -1, .no_done = -1, .no_finish = -1, .error_event = -1, .error_object = -1, .reset = -1,
        .never = -1, .slow_read = -1, .split = -1, .context_length = -1, .content_filter = -1, .crlf = -1, .comments = -1,
        .choices_null = -1, .no_final_newline = -1, .http10 = -1, .close = -1, .drop = -1, .usage_absent = -1, .big = -1,
        .tokens = -1, .rate = -1,
};

static long *field(struct fault *f, const struct name *n)
{
        return (long *)(void *)((char *)f + n->at);
}

bool fault_any(const struct fault *f)
{
        return memcmp(f, &FAULT_NONE, sizeof *f) != 0;
}

void fault_help(FILE *to)
{
        for (size_t i = 0; i < LENGTH_OF(names); i++)
                (void)fprintf(to, "  %-20s %s\n", names[i].name, names[i].help);
        (void)fprintf(to, "  %-20s %s\n", "finish", "=WORD: the finish_reason");
        (void)fprintf(to, "  %-20s %s\n", "say", "=WORDS: the whole text of the answer");
}

static int one(const char *p, size_t n, struct fault *f, char *why, size_t why_n)
{
        const char *eq = memchr(p, '=', n);
        size_t name_n = eq ? (size_t)(eq - p) : n;
        char value[256] = "", *end;

        if (eq) {
                size_t m = n - name_n - 1;

                if (m == 0 || m >= sizeof value) {
                        (void)snprintf(why, why_n, "fault '%.*s': a value of 1 to %zu characters", (int)n, p, sizeof value - 1);
                        return -EINVAL;
                }
                memcpy(value, eq + 1, m);
                value[m] = 0;
        }
        if (name_n == 6 && memcmp(p, "finish", 6) == 0 && eq && strlen(value) < sizeof f->finish) {
                (void)snprintf(f->finish, sizeof f->finish, "%s", value);
                return 0;
        }
        if (name_n == 3 && memcmp(p, "say", 3) == 0 && eq) {
                (void)snprintf(f->say, sizeof f->say, "%s", value);
                return 0;
        }
        for (size_t i = 0; i < LENGTH_OF(names); i++) {
                long v = names[i].bare;

                if (strlen(names[i].name) != name_n || memcmp(names[i].name, p, name_n) != 0)
                        continue;
                if (eq) {
                        errno = 0;
                        v = strtol(value, &end, 10);
                        if (errno || *end)
                                v = -1;
                }
                if (v < 0) {
                        (void)snprintf(why, why_n, "fault '%.*s': needs a number from 0", (int)name_n, p);
                        return -EINVAL;
                }
                *field(f, &names[i]) = v;
                return 0;
        }
        (void)snprintf(why, why_n, "unknown fault '%.*s' (see mock-expert --help)", (int)name_n, p);
        return -EINVAL;
}

int fault_parse(const char *text, size_t n, struct fault *ret, char *why, size_t why_n)
{
        struct fault f = FAULT_NONE;
        const char *p = text, *end = text + n;

        while (p < end) {
                const char *semi = memchr(p, ';', (size_t)(end - p)), *stop = semi ? semi : end;
                const char *next = semi ? semi + 1 : end;
                int r;

                while (p < stop && (*p == ' ' || *p == '\t'))
                        p++;
                while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
                        stop--;
                r = p == stop ? 0 : one(p, (size_t)(stop - p), &f, why, why_n);
                if (r < 0)
                        return r;
                p = next;
        }
        *ret = f;
        return 0;
}

/* ---- rules ------------------------------------------------------------------------------------------------------------------ */

struct rule {
        char expert[128], path[64]; /* empty: any */
        long skip, times;           /* times -1: always */
        struct fault fault;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule *rules;
static size_t rule_n;
static atomic_bool any_rules; /* spares the lock where there is no script */

static int rule_read(const json_t *o, struct rule *ret, char *why, size_t why_n)
{
        const char *expert = "", *path = "", *fault = NULL, *key;
        json_t *value;
        struct rule r = { .times = 1 };
        int always = 0;

        if (!json_is_object(o)) {
                (void)snprintf(why, why_n, "a rule is an object");
                return -EINVAL;
        }
        json_object_foreach((json_t *)(uintptr_t)o, key, value) {
                bool ok = true;

                if (strcmp(key, "expert") == 0)
                        ok = (expert = json_string_value(value)) != NULL;
                else if (strcmp(key, "path") == 0)
                        ok = (path = json_string_value(value)) != NULL;
                else if (strcmp(key, "fault") == 0)
                        ok = (fault = json_string_value(value)) != NULL;
                else if (strcmp(key, "times") == 0)
                        ok = json_is_integer(value) && (r.times = (long)json_integer_value(value)) > 0;
                else if (strcmp(key, "skip") == 0)
                        ok = json_is_integer(value) && (r.skip = (long)json_integer_value(value)) >= 0;
                else if (strcmp(key, "always") == 0)
                        ok = json_is_boolean(value) && ((always = json_is_true(value)), true);
                else
                        ok = false;
                if (!ok) {
                        (void)snprintf(why, why_n, "rule: '%s' is not known or of a wrong type (expert, path, fault, times, skip, always)",
                                       key);
                        return -EINVAL;
                }
        }
        if (!fault) {
                (void)snprintf(why, why_n, "rule: 'fault' is required");
                return -EINVAL;
        }
        if (always)
                r.times = -1;
        (void)snprintf(r.expert, sizeof r.expert, "%s", expert);
        (void)snprintf(r.path, sizeof r.path, "%s", path);
        if (fault_parse(fault, strlen(fault), &r.fault, why, why_n) < 0)
                return -EINVAL;
        *ret = r;
        return 0;
}

int rules_set(const json_t *root, char *why, size_t why_n)
{
        const json_t *list = json_is_object(root) && json_object_get(root, "rules") ? json_object_get(root, "rules") : root;
        size_t n = json_is_array(list) ? json_array_size(list) : 1;
        struct rule *fresh = calloc(n ? n : 1, sizeof *fresh), *old;

        assert(fresh);
        for (size_t i = 0; i < n; i++)
                if (rule_read(json_is_array(list) ? json_array_get(list, i) : list, &fresh[i], why, why_n) < 0) {
                        free(fresh);
                        return -EINVAL;
                }
        pthread_mutex_lock(&lock);
        old = rules;
        rules = fresh;
        rule_n = n;
        atomic_store(&any_rules, n > 0);
        pthread_mutex_unlock(&lock);
        free(old);
        return 0;
}

int rules_load(const char *file, char *why, size_t why_n)
{
        json_error_t e;
        json_t *root = json_load_file(file, 0, &e);
        int r;

        if (!root) {
                (void)snprintf(why, why_n, "%s:%d:%d: %s", file, e.line, e.column, e.text);
                return -EINVAL;
        }
        r = rules_set(root, why, why_n);
        json_decref(root);
        return r;
}

bool rules_take(const char *expert, const char *path, size_t path_n, struct fault *ret)
{
        bool found = false;

        if (!atomic_load_explicit(&any_rules, memory_order_acquire))
                return false;
        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < rule_n && !found; i++) {
                struct rule *r = &rules[i];

                if (r->times == 0 || (r->expert[0] && strcmp(r->expert, expert) != 0) ||
                    (r->path[0] && !memmem(path, path_n, r->path, strlen(r->path))))
                        continue;
                if (r->skip > 0) {
                        r->skip--;
                        break; /* this one goes well: later rules wait behind it */
                }
                if (r->times > 0)
                        r->times--;
                *ret = r->fault;
                found = true;
        }
        pthread_mutex_unlock(&lock);
        return found;
}

void rules_clear(void)
{
        struct rule *old;

        pthread_mutex_lock(&lock);
        old = rules;
        rules = NULL;
        rule_n = 0;
        atomic_store(&any_rules, false);
        pthread_mutex_unlock(&lock);
        free(old);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A body as each API's, and what would be sent on: it must be valid JSON, and Jansson must take it if it takes the body. */
#include <jansson.h>

#include "js.h"
#include "query.h"

#include "base.h"

#define MEMORY_MAX ((size_t)64 << 20)

static const struct query_limits limits = { .depth = 32, .messages = 16 };

static bool jansson_takes(const char *p, size_t n)
{
        json_t *t = json_loadb(p, n, 0, NULL);

        json_decref(t);
        return t != NULL;
}

static bool has_true(const struct query *q, const char *p, size_t n)
{
        json_t *t = json_loadb(p, n, 0, NULL);
        bool found = !t || json_is_true(json_object_get(json_object_get(t, "stream_options"), "include_usage"));

        json_decref(t);
        return !q->stream || found;
}

static void splice(const struct query *q, const char *extra, struct arena *a)
{
        static const struct pm_str names[] = { { &"\"models\""[1], 6 }, { &"\"x\""[1], 1 } };
        const struct expert_drop drop = { names, extra ? LENGTH_OF(names) : 0 };
        struct iovec *pieces;
        size_t n, length = 0;
        char *out;

        if (query_splice(q, "the \"model\"", extra, &drop, a, &pieces, &n) < 0)
                return; /* extra came from the input: what is no object is refused */
        for (size_t i = 0; i < n; i++)
                length += pieces[i].iov_len;
        out = arena_alloc(a, length);
        assert(out);
        length = 0;
        for (size_t i = 0; i < n; i++) {
                memcpy(out + length, pieces[i].iov_base, pieces[i].iov_len);
                length += pieces[i].iov_len;
        }
        assert(js_check((struct pm_str){ out, length }, 512, NULL, NULL) == 0);
        assert(js_string_is(js_member(js_trim((struct pm_str){ out, length }), "model"), "the \"model\""));
        if (!extra)
                assert(jansson_takes(out, length) || !jansson_takes(q->body.p, q->body.n));
        if (q->api == EXPERT_CHAT || q->api == EXPERT_COMPLETIONS)
                assert(has_true(q, out, length));
}

static void understand(struct pm_str body, enum expert_api api, const char *extra)
{
        struct pm_query pm = { 0 };
        struct query_error why;
        struct arena a;
        struct query q;

        arena_init(&a, NULL, MEMORY_MAX);
        if (query_parse(body, api, &limits, &a, &q, &why) == 0) {
                assert(js_check(body, limits.depth, NULL, NULL) == 0);
                assert(query_texts(&q, &a, &pm) == 0);
                assert(pm.n_messages == q.n_turns && q.model.n > 0);
                for (size_t i = 0; i < pm.n_messages; i++)
                        assert(pm.messages[i]->text.n <= body.n && (pm.messages[i]->text.p || pm.messages[i]->text.n == 0));
                splice(&q, NULL, &a);
                splice(&q, "{\"temperature\":0,\"x\":[{}],\"model\":\"no\"}", &a);
                splice(&q, extra, &a);
        } else {
                assert(why.message);
        }
        arena_finish(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const enum expert_api apis[] = { EXPERT_CHAT, EXPERT_COMPLETIONS, EXPERT_RESPONSES, EXPERT_EMBEDDINGS };
        struct pm_str body = { (const char *)data, n };
        CLEANUP(free_p) char *extra = calloc(1, n + 1);
        struct query_error why;
        struct query *list;
        struct arena a;
        size_t n_list;
        bool is_list;

        assert(extra);
        if (n)
                memcpy(extra, data, n);
        for (size_t i = 0; i < LENGTH_OF(apis); i++)
                understand(body, apis[i], extra);
        arena_init(&a, NULL, MEMORY_MAX);
        if (query_parse_route(body, &limits, &a, &list, &n_list, &is_list, &why) == 0) {
                assert(n_list >= 1 && n_list <= limits.messages && (is_list || n_list == 1));
                for (size_t i = 0; i < n_list; i++) {
                        struct pm_query pm = { 0 };

                        assert(query_texts(&list[i], &a, &pm) == 0);
                }
        } else {
                assert(why.message);
        }
        arena_finish(&a);
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A body as each API's, and what would be sent on: it must be valid JSON, and Jansson must take it if it takes the body. */
#include <jansson.h>

#include "edits.h"
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

static struct pm_str joined(const struct iovec *pieces, size_t n, struct arena *a)
{
        size_t length = 0;
        char *out;

        for (size_t i = 0; i < n; i++)
                length += pieces[i].iov_len;
        out = arena_alloc(a, length);
        assert(out);
        length = 0;
        for (size_t i = 0; i < n; i++) {
                memcpy(out + length, pieces[i].iov_base, pieces[i].iov_len);
                length += pieces[i].iov_len;
        }
        return (struct pm_str){ out, length };
}

/* As an attempt does it. */
static void splice(const struct query *q, const char *extra, struct arena *a)
{
        static const struct pm_str names[] = { { &"\"models\""[1], 6 }, { &"\"x\""[1], 1 } };
        struct edits e = EDITS(a);
        struct iovec *pieces;
        struct pm_str out;
        size_t n;

        assert(query_edits(q, "the \"model\"", true, &e) == 0);
        if (extra)
                assert(edits_drop(&e, &(struct expert_drop){ names, LENGTH_OF(names) }) == 0);
        if (extra && edits_set_all(&e, (struct pm_str){ extra, strlen(extra) }) < 0)
                return; /* extra came from the input: what is no object is refused */
        assert(query_splice(q->body, &e, a, &pieces, &n) == 0);
        out = joined(pieces, n, a);
        assert(js_check(out, 512, NULL, NULL) == 0);
        assert(js_string_is(js_member(js_trim(out), "model"), "the \"model\""));
        if (!extra)
                assert(jansson_takes(out.p, out.n) || !jansson_takes(q->body.p, q->body.n));
        if (q->api == EXPERT_CHAT || q->api == EXPERT_COMPLETIONS)
                assert(has_true(q, out.p, out.n));
}

/* Parts of the turns' strings become other text, in an order that the body's bytes give: what is refused is left alone, and what remains is JSON. */
static void edit_texts(const struct query *q, struct arena *a)
{
        struct edits e = EDITS(a);
        struct iovec *pieces;
        uint64_t dice = 1;
        size_t n;

        for (size_t i = 0; i < q->body.n; i++)
                dice = (dice ^ (unsigned char)q->body.p[i]) * 0x100000001B3;
        for (size_t i = 0; i < 8 && q->n_turns; i++) {
                struct pm_str s = q->turns[(dice >> 8) % q->n_turns].content;
                size_t from, to;

                dice = dice * 0x5851F42D4C957F2D + 1;
                if (js_type(s) != JS_STRING)
                        continue;
                from = 1 + (dice >> 16) % (s.n - 1);
                to = from + (dice >> 40) % (s.n - from);
                (void)edits_text(&e, q->body, (struct pm_str){ s.p + from, to - from }, (struct pm_str){ &"\"\\\n\xC3\xA9"[dice >> 62], 2 });
        }
        assert(edits_in_order(&e, q->body.n));
        (void)edits_set(&e, "temperature", (struct pm_str){ "0", 1 });
        (void)edits_remove(&e, (dice >> 33) % 2 ? "messages" : "x");
        assert(query_edits(q, "m", true, &e) == 0);
        assert(query_splice(q->body, &e, a, &pieces, &n) == 0);
        assert(js_check(joined(pieces, n, a), 512, NULL, NULL) == 0);
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
                edit_texts(&q, &a);
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

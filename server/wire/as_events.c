/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers that know no streams, or not for this request (tools, a cache before them), answer a request for one as a whole.  A client
 * that asked for a stream sees nothing of that, so it is told as one.  Members are passed on as they lie: no number is read, so none
 * is too long or loses a digit.
 */
#include "as_events.h"

#include <event2/buffer.h>

#include "base.h"
#include "js.h"

#define DEPTH 512 /* as facts.c reads */

/* Each chunk repeats what the answer has beside its choices: an answer of many choices and much beside them must not become gigabytes. */
#define CHUNKS_MAX ((size_t)32 << 20)

struct telling {
        struct evbuffer *out;
        struct pm_str beside; /* the members that all chunks have */
        size_t n;
        bool no_memory, too_long;
};

static void put(struct telling *t, struct pm_str s)
{
        t->n += s.n;
        t->too_long |= t->n > CHUNKS_MAX;
        t->no_memory |= !t->too_long && evbuffer_add(t->out, s.p, s.n) < 0;
}

static void put_text(struct telling *t, const char *s)
{
        put(t, (struct pm_str){ s, strlen(s) });
}

static void put_number(struct telling *t, size_t n)
{
        char text[24];

        (void)snprintf(text, sizeof text, "%zu", n);
        put_text(t, text);
}

/* JSON without the space between its parts, so that it is one line. */
static size_t compact(struct pm_str text, char *out)
{
        bool inside = false;
        size_t n = 0;

        for (size_t i = 0; i < text.n; i++) {
                char c = text.p[i];

                if (!inside && (c == ' ' || c == '\n' || c == '\r' || c == '\t'))
                        continue;
                out[n++] = c;
                if (c == '"')
                        inside = !inside;
                else if (c == '\\' && i + 1 < text.n)
                        out[n++] = text.p[++i];
        }
        return n;
}

/* All members but those, each with a comma after it. */
static void put_members(struct telling *t, struct pm_str object, const char *const *but)
{
        struct pm_str key, value;
        struct js j;

        js_start(&j, object, DEPTH);
        if (!js_enter(&j))
                return;
        while (js_more(&j, &key)) {
                const char *const *b = but;

                value = js_take(&j);
                while (*b && !js_equal(key, *b))
                        b++;
                if (*b)
                        continue;
                put(t, (struct pm_str){ key.p - 1, (size_t)(value.p + value.n - (key.p - 1)) });
                put_text(t, ",");
        }
}

/* Reads them once for all chunks, into the buffer given; -ENOMEM. */
static int read_beside(struct telling *t, struct pm_str answer, struct evbuffer *to)
{
        static const char *const own[] = { "choices", "usage", "object", NULL };
        struct telling beside = { .out = to };
        size_t n;

        put_members(&beside, answer, own);
        n = evbuffer_get_length(to);
        t->beside = (struct pm_str){ n ? (const char *)evbuffer_pullup(to, -1) : "", n };
        return beside.no_memory || !t->beside.p ? -ENOMEM : 0;
}

/* One chunk, up to its choices. */
static void begin(struct telling *t, enum expert_api api)
{
        put_text(t, "data: {");
        put(t, t->beside);
        put_text(t, api == EXPERT_CHAT ? "\"object\":\"chat.completion.chunk\",\"choices\":[" : "\"object\":\"text_completion\",\"choices\":[");
}

/* A message as a delta: there, tool calls are numbered.  Returns how many there are. */
static size_t put_message(struct telling *t, struct pm_str message)
{
        static const char *const own[] = { "tool_calls", NULL };
        struct pm_str calls = js_member(message, "tool_calls"), call, none;
        struct js j;
        size_t n = 0;

        if (!calls.p || js_type(calls) != JS_ARRAY) {
                put(t, message);
                return 0;
        }
        put_text(t, "{");
        put_members(t, message, own);
        put_text(t, "\"tool_calls\":[");
        js_start(&j, calls, DEPTH);
        for ((void)js_enter(&j); js_more(&j, &none); n++) {
                if (n)
                        put_text(t, ",");
                call = js_take(&j);
                if (js_type(call) != JS_OBJECT || js_member(call, "index").p) {
                        put(t, call);
                        continue;
                }
                put(t, (struct pm_str){ call.p, call.n - 1 });
                put_text(t, call.n > 2 ? ",\"index\":" : "\"index\":");
                put_number(t, n);
                put_text(t, "}");
        }
        put_text(t, "]}");
        return n;
}

static void put_index(struct telling *t, struct pm_str index, size_t nth)
{
        put_text(t, "\"index\":");
        if (index.p)
                put(t, index);
        else
                put_number(t, nth);
        put_text(t, ",\"finish_reason\":");
}

/* Two chunks: all of the message, and the finish reason. */
static int put_chat(struct telling *t, struct pm_str choice, size_t nth)
{
        static const char *const own[] = { "message", "delta", "index", "finish_reason", NULL };
        struct pm_str message = js_member(choice, "message"), index = js_member(choice, "index"), finish = js_member(choice, "finish_reason");
        size_t calls;

        if (!message.p || js_type(message) != JS_OBJECT) { /* facts.c takes one that was filtered for an answer, too */
                if (!finish.p || !js_string_is(finish, "content_filter"))
                        return -EINVAL;
                message = (struct pm_str){ "{}", 2 };
        }
        begin(t, EXPERT_CHAT);
        put_text(t, "{");
        put_members(t, choice, own);
        put_index(t, index, nth);
        put_text(t, "null,\"delta\":");
        calls = put_message(t, message);
        put_text(t, "}]}\n\n");
        begin(t, EXPERT_CHAT);
        put_text(t, "{\"delta\":{},");
        put_index(t, index, nth);
        if (finish.p && js_type(finish) != JS_NULL)
                put(t, finish);
        else
                put_text(t, calls ? "\"tool_calls\"" : "\"stop\"");
        put_text(t, "}]}\n\n");
        return 0;
}

static int put_answer(struct telling *t, struct pm_str answer, enum expert_api api, bool usage)
{
        struct pm_str choices = js_member(answer, "choices"), said = js_member(answer, "usage"), choice, none;
        struct js j;
        size_t n = 0;
        int r;

        if (!choices.p || js_type(choices) != JS_ARRAY)
                return -EINVAL;
        js_start(&j, choices, DEPTH);
        for ((void)js_enter(&j); js_more(&j, &none); n++) {
                choice = js_take(&j);
                if (js_type(choice) != JS_OBJECT)
                        return -EINVAL;
                if (t->too_long)
                        return -E2BIG;
                if (api == EXPERT_CHAT) {
                        r = put_chat(t, choice, n);
                        if (r < 0)
                                return r;
                        continue;
                }
                begin(t, api);
                put(t, choice);
                put_text(t, "]}\n\n");
        }
        if (n == 0)
                return -EINVAL;
        if (usage && said.p && js_type(said) == JS_OBJECT) {
                begin(t, api);
                put_text(t, "],\"usage\":");
                put(t, said);
                put_text(t, "}\n\n");
        }
        return t->no_memory ? -ENOMEM : t->too_long ? -E2BIG : 0;
}

int as_events(struct pm_str answer, enum expert_api api, bool usage, struct evbuffer *out)
{
        struct telling t = { .out = out };
        struct evbuffer *beside;
        struct pm_str compacted;
        char *line;
        int r;

        if (api != EXPERT_CHAT && api != EXPERT_COMPLETIONS)
                return -ENOTSUP;
        if (js_check(answer, DEPTH, NULL, NULL) < 0)
                return -EINVAL;
        line = malloc(answer.n + 1);
        beside = evbuffer_new();
        r = line && beside ? 0 : -ENOMEM;
        if (r == 0) {
                compacted = (struct pm_str){ line, compact(answer, line) };
                r = read_beside(&t, compacted, beside);
                if (r == 0)
                        r = put_answer(&t, compacted, api, usage);
        }
        if (beside)
                evbuffer_free(beside);
        free(line);
        return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One walk over what an answer says.  A delta costs no more than its bytes: nothing is copied, and members that are not needed are
 * skipped.
 */
#include "facts.h"

#include "js.h"

#include "base.h"

#define DEPTH 512 /* nesting in an answer: the reader's own limit */

struct key {
        struct pm_str text; /* raw */
        bool escaped;
};

static inline bool more(struct js *j, struct key *k)
{
        if (!js_more(j, &k->text))
                return false;
        k->escaped = j->escaped;
        return true;
}

#define KEY_IS(key, name)                                                                                                       \
        (((key).text.n == sizeof(name) - 1 && memcmp((key).text.p, name, sizeof(name) - 1) == 0) ||                               \
         UNLIKELY((key).escaped && js_equal((key).text, name)))

static inline bool is_string(struct pm_str v)
{
        return v.n && v.p[0] == '"';
}

/* Takes the next value.  Is it something other than null, false, "", [] and {}? */
static bool take_something(struct js *j)
{
        struct pm_str v = js_take(j);
        size_t i = 1;

        switch (js_type(v)) {
        case JS_NONE:
        case JS_NULL:
        case JS_FALSE:
                return false;
        case JS_STRING:
                return v.n > 2;
        case JS_OBJECT:
        case JS_ARRAY:
                while (i < v.n - 1 && (v.p[i] == ' ' || v.p[i] == '\n' || v.p[i] == '\r' || v.p[i] == '\t'))
                        i++;
                return i < v.n - 1;
        case JS_NUMBER:
        case JS_TRUE:
                break;
        }
        return true;
}

static void take_name(struct js *j, struct pm_str *ret)
{
        struct pm_str v = js_take(j);

        if (is_string(v) && v.n > 2 && !j->escaped)
                *ret = (struct pm_str){ v.p + 1, v.n - 2 };
}

static int64_t take_tokens(struct js *j)
{
        int64_t n;

        return js_int(js_take(j), &n) && n >= 0 ? n : -1;
}

/* Goes into the object that comes next; anything else is passed over. */
static bool enter_object(struct js *j)
{
        if (js_peek(j) == JS_OBJECT)
                return js_enter(j);
        (void)js_take(j);
        return false;
}

static void read_usage(struct js *j, struct facts *f)
{
        struct key key;

        if (!enter_object(j))
                return;
        f->has_usage = true;
        while (more(j, &key)) {
                if (KEY_IS(key, "prompt_tokens") || KEY_IS(key, "input_tokens"))
                        f->tokens_in = take_tokens(j);
                else if (KEY_IS(key, "completion_tokens") || KEY_IS(key, "output_tokens"))
                        f->tokens_out = take_tokens(j);
                else
                        (void)js_take(j);
        }
}

/* A delta or a message: whatever is more than the role is content (text, reasoning, refusal, tool calls, audio, ...). */
static void read_delta(struct js *j, struct facts *f)
{
        struct key key;

        if (!enter_object(j))
                return;
        while (more(j, &key)) {
                bool something = take_something(j);

                f->content |= something && !KEY_IS(key, "role");
        }
}

static void put_choice(struct choice_set *s, int64_t index)
{
        if (index >= 0 && index < FACTS_CHOICES)
                s->bits[index / 64] |= UINT64_C(1) << (index % 64);
}

static void read_choice(struct js *j, struct facts *f)
{
        int64_t index = f->n_choices++, said;
        bool ended = false, message = false, text = false, filtered = false;
        struct pm_str value;
        struct key key;

        if (!enter_object(j))
                return;
        while (more(j, &key)) {
                if (KEY_IS(key, "index")) {
                        if (js_int(js_take(j), &said))
                                index = said;
                } else if (KEY_IS(key, "delta")) {
                        read_delta(j, f);
                } else if (KEY_IS(key, "message")) {
                        message = js_peek(j) == JS_OBJECT;
                        read_delta(j, f);
                } else if (KEY_IS(key, "finish_reason")) {
                        value = js_take(j);
                        ended = is_string(value) && value.n > 2;
                        if (ended) {
                                f->error |= js_string_is(value, "error");
                                filtered = js_string_is(value, "content_filter"); /* is an answer without one, too */
                        }
                } else if (KEY_IS(key, "text")) {
                        text = js_peek(j) == JS_STRING;
                        f->content |= take_something(j);
                } else if (KEY_IS(key, "error")) {
                        f->error |= take_something(j);
                } else {
                        (void)js_take(j);
                }
        }
        f->n_messages += message || filtered;
        f->n_texts += text || filtered;
        put_choice(&f->begun, index);
        if (ended) {
                f->finished = true;
                put_choice(&f->ended, index);
        }
}

static void read_choices(struct js *j, struct facts *f)
{
        struct pm_str none;

        if (js_peek(j) != JS_ARRAY) {
                (void)js_take(j);
                return;
        }
        if (js_enter(j))
                while (js_more(j, &none))
                        read_choice(j, f);
}

/* The object inside the events of /responses; its status is also said by the event's type. */
static void read_response(struct js *j, struct facts *f)
{
        struct key key;

        if (!enter_object(j))
                return;
        while (more(j, &key)) {
                if (KEY_IS(key, "usage"))
                        read_usage(j, f);
                else if (KEY_IS(key, "id"))
                        take_name(j, &f->id);
                else if (KEY_IS(key, "model"))
                        take_name(j, &f->model);
                else if (KEY_IS(key, "error"))
                        f->error |= take_something(j);
                else
                        (void)js_take(j);
        }
}

/* Events of /responses that every answer begins with, before the model has said anything. */
static bool is_prelude(struct pm_str type, bool message)
{
        return js_string_is(type, "response.created") || js_string_is(type, "response.queued") || js_string_is(type, "response.in_progress") ||
               js_string_is(type, "response.content_part.added") || (message && js_string_is(type, "response.output_item.added"));
}

static bool ends_in(struct pm_str s, const char *end, size_t n)
{
        return s.n > n && memcmp(s.p + s.n - n, end, n) == 0;
}

/* response.output_text.delta and its many siblings: all that bring content end in .delta. */
static void read_type(struct facts *f, struct pm_str type, bool delta, bool message)
{
        if (js_string_is(type, "error")) {
                f->error = true;
        } else if (js_string_is(type, "response.failed")) {
                f->error = f->failed = true;
        } else if (js_string_is(type, "response.completed") || js_string_is(type, "response.incomplete")) {
                f->closes = f->finished = f->content = true;
        } else if (ends_in(type, ".delta\"", 7)) {
                f->content |= delta;
        } else if (type.n > 11 && memcmp(type.p, "\"response.", 10) == 0) {
                f->content |= !is_prelude(type, message);
        }
}

static bool is_message(struct pm_str item)
{
        return js_type(item) == JS_OBJECT && js_string_is(js_member(item, "type"), "message");
}

static void read_object(struct js *j, struct facts *f)
{
        struct pm_str type = { 0 }, status = { 0 }, item = { 0 };
        bool delta = false, detail = false;
        struct key key;

        while (more(j, &key)) {
                if (KEY_IS(key, "id")) {
                        take_name(j, &f->id);
                } else if (KEY_IS(key, "model")) {
                        take_name(j, &f->model);
                } else if (KEY_IS(key, "choices")) {
                        read_choices(j, f);
                } else if (KEY_IS(key, "usage")) {
                        f->usage_null = js_peek(j) == JS_NULL;
                        read_usage(j, f);
                        f->usage = (struct pm_str){ key.text.p - 1, (size_t)(j->at - (key.text.p - 1)) };
                } else if (KEY_IS(key, "error")) {
                        f->error |= take_something(j);
                } else if (KEY_IS(key, "object")) {
                        f->error |= js_string_is(js_take(j), "error");
                } else if (KEY_IS(key, "type")) {
                        type = js_take(j);
                } else if (KEY_IS(key, "delta")) {
                        delta = take_something(j);
                } else if (KEY_IS(key, "response")) {
                        read_response(j, f);
                } else if (KEY_IS(key, "item")) {
                        item = js_take(j);
                } else if (KEY_IS(key, "status")) {
                        status = js_take(j);
                } else if (KEY_IS(key, "output")) {
                        f->has_output = js_peek(j) == JS_ARRAY;
                        f->content |= take_something(j) && f->has_output;
                } else if (KEY_IS(key, "data")) {
                        f->has_data = js_peek(j) == JS_ARRAY;
                        f->has_data &= take_something(j);
                } else if (KEY_IS(key, "detail")) {
                        detail = take_something(j);
                } else {
                        (void)js_take(j);
                }
        }
        if (UNLIKELY(type.n > 0))
                read_type(f, type, delta, is_message(item));
        if (UNLIKELY(status.n > 0)) {
                /* a whole answer of /responses */
                f->finished |= f->has_output && (js_string_is(status, "completed") || js_string_is(status, "incomplete"));
                f->error |= js_string_is(status, "failed");
                f->waits = js_string_is(status, "queued") || js_string_is(status, "in_progress");
        }
        f->error |= detail && !f->n_choices && !f->has_output && !f->has_data;
}

void facts_read(struct pm_str body, struct facts *ret)
{
        struct js j;

        *ret = (struct facts){ .tokens_in = -1, .tokens_out = -1 };
        js_start(&j, body, DEPTH);
        if (js_peek(&j) != JS_OBJECT || !js_enter(&j))
                return;
        read_object(&j, ret);
        ret->json = js_finish(&j) == 0;
        if (UNLIKELY(!ret->json))
                *ret = (struct facts){ .tokens_in = -1, .tokens_out = -1 };
}

void facts_read_event(const struct stream_event *e, struct facts *ret)
{
        facts_read(e->data, ret);
        if (e->name.n == 5 && memcmp(e->name.p, "error", 5) == 0)
                ret->error = true;
}

/* ---- whole answers ------------------------------------------------------------------------------------------------------ */
const char *facts_fault(const struct facts *f, enum expert_api api)
{
        if (!f->json)
                return "with something that is not a JSON object";
        if (f->error)
                return "with an error";
        switch (api) {
        case EXPERT_CHAT:
                return f->n_choices == 0 ? "without choices" : f->n_messages < f->n_choices ? "with a choice without a message" : NULL;
        case EXPERT_COMPLETIONS:
                return f->n_choices == 0 ? "without choices" : f->n_texts < f->n_choices ? "with a choice without a text" : NULL;
        case EXPERT_RESPONSES:
                return f->has_output || f->waits ? NULL : "without output";
        case EXPERT_EMBEDDINGS:
                return f->has_data ? NULL : "without data";
        }
        return NULL;
}

/* ---- usage that the client did not ask for ------------------------------------------------------------------------------- */
bool facts_only_usage(struct pm_str data)
{
        struct key key;
        struct js j;

        js_start(&j, data, DEPTH);
        if (js_peek(&j) != JS_OBJECT || !js_enter(&j))
                return false;
        while (more(&j, &key))
                if (take_something(&j) && !KEY_IS(key, "usage") && !KEY_IS(key, "id") && !KEY_IS(key, "object") &&
                    !KEY_IS(key, "created") && !KEY_IS(key, "model") && !KEY_IS(key, "system_fingerprint") &&
                    !KEY_IS(key, "service_tier") && !KEY_IS(key, "provider") && !KEY_IS(key, "obfuscation"))
                        return false;
        return true;
}

static bool is_space(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void facts_blank(struct pm_str data, struct pm_str member)
{
        char *start = (char *)(uintptr_t)data.p, *from = start + (member.p - data.p), *to = from + member.n;
        char *after = to, *before = from;

        while (after < start + data.n && is_space(*after))
                after++;
        while (before > start && is_space(before[-1]))
                before--;
        if (after < start + data.n && *after == ',')
                to = after + 1;
        else if (before > start && before[-1] == ',')
                from = before - 1;
        memset(from, ' ', (size_t)(to - from));
}

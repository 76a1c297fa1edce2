/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only walker of the client's JSON.  Members that pointsman does not know are proved to be JSON and otherwise left alone; the
 * known ones are checked for their type, because a wrong one would be read differently by us and by the expert.  For the same
 * reason a known member may stand in the body only once, and in no other letters: parsers differ on which of two counts, and on case.
 */
#include "query.h"

#include "alike.h"
#include "base.h"
#include "js.h"

struct reader {
        struct js j;
        struct arena *arena;
        const struct query_limits *limits;
        struct query *q;
        struct query_error *why;
        size_t room; /* of q->turns */
};

static int wrong(struct reader *r, const char *param, const char *fmt, ...) PRINTF(3, 4);
static int wrong(struct reader *r, const char *param, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        r->why->message = arena_vprintf(r->arena, fmt, args);
        va_end(args);
        if (!r->why->message)
                r->why->message = "the request is invalid";
        r->why->param = param;
        return -EINVAL;
}

/* The grammar's own error, with line and column for people and the offset for programs. */
static int not_json(struct reader *r)
{
        size_t line = 1, column = 1;

        for (const char *p = r->j.start; p < r->j.at; p++) {
                column++;
                if (*p == '\n') {
                        line++;
                        column = 1;
                }
        }
        return wrong(r, NULL, "the body is not valid JSON: %s (line %zu, column %zu, byte %zu of %zu)", r->j.why, line,
                     column, (size_t)(r->j.at - r->j.start), (size_t)(r->j.end - r->j.start));
}

static const char *type_name(struct pm_str value)
{
        switch (js_type(value)) {
        case JS_OBJECT:
                return "an object";
        case JS_ARRAY:
                return "an array";
        case JS_STRING:
                return "a string";
        case JS_NUMBER:
                return "a number";
        case JS_TRUE:
        case JS_FALSE:
                return "a boolean";
        case JS_NULL:
                return "null";
        case JS_NONE:
                break;
        }
        return "nothing";
}

static bool is_bool(struct pm_str v)
{
        return js_type(v) == JS_TRUE || js_type(v) == JS_FALSE;
}

static int once(struct reader *r, struct pm_str *place, struct pm_str value, const char *name)
{
        if (place->p)
                return wrong(r, name, "'%s' appears more than once in the body", name);
        *place = value;
        return 0;
}

/* Some experts would take it for ours. */
static int respelled(struct reader *r, struct pm_str key, const char *name, const char *param)
{
        return wrong(r, param, "'%.*s' would be read as '%s' by some experts, and not by others: write '%s', or leave it out",
                     (int)MIN(key.n, (size_t)60), key.p, name, name);
}

static struct query_turn *add_turn(struct reader *r)
{
        struct query *q = r->q;

        if (q->n_turns == r->room) {
                size_t room = r->room ? 2 * r->room : 4;
                struct query_turn *more = arena_alloc(r->arena, room * sizeof *more);

                if (!more)
                        return NULL;
                if (q->n_turns)
                        memcpy(more, q->turns, q->n_turns * sizeof *more);
                q->turns = more;
                r->room = room;
        }
        q->turns[q->n_turns] = (struct query_turn){ 0 };
        return &q->turns[q->n_turns++];
}

static const char *place_of(struct reader *r, const char *list, const char *member)
{
        const char *s = arena_printf(r->arena, "%s[%zu]%s%s", list, r->q->n_turns - 1, member ? "." : "", member ? member : "");

        return s ? s : list;
}

/* One element of `messages`, or of a Responses `input` list; `loose` items (function calls and the like) need no role. */
static int read_turn(struct reader *r, const char *list, bool loose)
{
        struct query_turn *t = add_turn(r);
        struct pm_str key, id = { 0 }, sealed = { 0 };

        if (!t)
                return wrong(r, list, "the conversation needs more memory than a request may use");
        if (!js_enter(&r->j)) {
                struct pm_str v = js_take(&r->j);

                return r->j.error ? not_json(r) : wrong(r, place_of(r, list, NULL), "expected an object, found %s", type_name(v));
        }
        while (js_more(&r->j, &key)) {
                struct pm_str v = js_take(&r->j);

                if (r->j.error)
                        break;
                if (js_equal(key, "role")) {
                        if (t->role.p)
                                return wrong(r, place_of(r, list, "role"), "'role' appears more than once");
                        t->role = v;
                } else if (js_equal(key, "content")) {
                        if (t->content.p)
                                return wrong(r, place_of(r, list, "content"), "'content' appears more than once");
                        t->content = v;
                } else if (loose && js_equal(key, "id")) {
                        id = v;
                } else if (loose && js_equal(key, "encrypted_content")) {
                        sealed = v;
                } else if (alike_odd(key)) {
                        char folded[ALIKE_ROOM];
                        struct pm_str name = alike_name(key, folded);

                        if (alike_is(name, "role"))
                                return respelled(r, key, "role", place_of(r, list, "role"));
                        if (alike_is(name, "content"))
                                return respelled(r, key, "content", place_of(r, list, "content"));
                }
        }
        if (r->j.error)
                return not_json(r);
        if (loose && !js_string_is(t->role, "user")) {
                r->q->item_id = js_type(id) == JS_STRING ? id : r->q->item_id;
                r->q->sealed = js_type(sealed) == JS_STRING ? sealed : r->q->sealed;
        }
        if (!t->role.p && loose) {
                t->role = (struct pm_str){ "\"\"", 2 }; /* a function's output and the like: nobody's words */
                return 0;
        }
        if (js_type(t->role) != JS_STRING)
                return wrong(r, place_of(r, list, "role"), "expected a string, found %s", type_name(t->role));
        switch (js_type(t->content)) {
        case JS_STRING:
        case JS_ARRAY:
        case JS_NONE: /* no words, which the expert may judge: a call of tools, a tool's empty result, ... */
        case JS_NULL:
                return 0;
        default:
                break;
        }
        return wrong(r, place_of(r, list, "content"), "expected a string or an array of parts, found %s", type_name(t->content));
}

static int read_turns(struct reader *r, const char *list, bool loose)
{
        struct pm_str key;

        js_enter(&r->j);
        while (js_more(&r->j, &key)) {
                if (r->q->n_turns >= r->limits->messages)
                        return wrong(r, list, "more than %zu entries", r->limits->messages);
                if (loose && js_peek(&r->j) == JS_STRING) {
                        struct query_turn *t = add_turn(r);

                        if (!t)
                                return wrong(r, list, "the request needs more memory than one request may use");
                        t->content = js_take(&r->j);
                        continue;
                }

                int e = read_turn(r, list, loose);

                if (e < 0)
                        return e;
        }
        return r->j.error ? not_json(r) : 0;
}

/* `prompt` of completions and `input` of embeddings: a string, strings, or tokens, which say nothing to a router. */
static int read_plain(struct reader *r, const char *name)
{
        struct pm_str v, key;

        if (js_peek(&r->j) == JS_ARRAY) {
                js_enter(&r->j);
                while (js_more(&r->j, &key)) {
                        v = js_take(&r->j);
                        if (r->j.error)
                                break;
                        if (js_type(v) == JS_NUMBER || js_type(v) == JS_ARRAY)
                                continue;
                        if (js_type(v) != JS_STRING)
                                return wrong(r, name, "expected strings or tokens in the list, found %s", type_name(v));

                        struct query_turn *t = add_turn(r);

                        if (!t)
                                return wrong(r, name, "the request needs more memory than one request may use");
                        t->content = v;
                }
                return r->j.error ? not_json(r) : 0;
        }
        v = js_take(&r->j);
        if (r->j.error)
                return not_json(r);
        if (js_type(v) == JS_NULL && r->q->api == EXPERT_COMPLETIONS)
                return 0;
        if (js_type(v) != JS_STRING)
                return wrong(r, name, "expected a string or a list, found %s", type_name(v));

        struct query_turn *t = add_turn(r);

        if (!t)
                return wrong(r, name, "the request needs more memory than one request may use");
        t->content = v;
        return 0;
}

static int read_responses_input(struct reader *r)
{
        struct query_turn *t;
        struct pm_str v;

        if (js_peek(&r->j) == JS_ARRAY)
                return read_turns(r, "input", true);
        v = js_take(&r->j);
        if (r->j.error)
                return not_json(r);
        if (js_type(v) != JS_STRING)
                return wrong(r, "input", "expected a string or an array of items, found %s", type_name(v));
        t = add_turn(r);
        if (!t)
                return wrong(r, "input", "the request needs more memory than one request may use");
        t->content = v;
        return 0;
}

/* The member that carries the conversation; *seen keeps it from standing there twice. */
static int read_conversation(struct reader *r, const char *name, bool *seen)
{
        if (*seen)
                return wrong(r, name, "'%s' appears more than once in the body", name);
        *seen = true;
        switch (r->q->api) {
        case EXPERT_CHAT:
                if (js_peek(&r->j) != JS_ARRAY) {
                        struct pm_str v = js_take(&r->j);

                        return r->j.error ? not_json(r) : wrong(r, name, "expected an array of messages, found %s", type_name(v));
                }
                return read_turns(r, name, false);
        case EXPERT_RESPONSES:
                return read_responses_input(r);
        case EXPERT_COMPLETIONS:
        case EXPERT_EMBEDDINGS:
                break;
        }
        return read_plain(r, name);
}

static int check_stream_options(struct reader *r)
{
        struct query *q = r->q;
        struct pm_str v, raw;
        const char *name;

        if (!q->stream_options.p || js_type(q->stream_options) == JS_NULL)
                return 0;
        if (js_type(q->stream_options) != JS_OBJECT)
                return wrong(r, "stream_options", "expected an object, found %s", type_name(q->stream_options));
        if (alike_find(q->stream_options, (const char *const[]){ "include_usage" }, 1, &name, &raw))
                return wrong(r, "stream_options.include_usage", "'include_usage' appears more than once, perhaps spelled differently");
        v = js_member(q->stream_options, "include_usage");
        if (v.p && !is_bool(v) && js_type(v) != JS_NULL)
                return wrong(r, "stream_options.include_usage", "expected a boolean, found %s", type_name(v));
        q->wants_usage = js_type(v) == JS_TRUE;
        return 0;
}

static const char *conversation_name(enum expert_api api)
{
        switch (api) {
        case EXPERT_CHAT:
                return "messages";
        case EXPERT_COMPLETIONS:
                return "prompt";
        case EXPERT_RESPONSES:
        case EXPERT_EMBEDDINGS:
                break;
        }
        return "input";
}

#define KNOWN(name, field, ours) { name, sizeof(name) - 1, offsetof(struct query, field), ours }
/* Members that we look at, apart from the conversation; `ours` may stand there only once. */
static const struct {
        const char *name;
        size_t n, place;
        bool ours;
} known[] = {
        KNOWN("model", model_value, true), KNOWN("stream", stream_value, true), KNOWN("stream_options", stream_options, true),
        KNOWN("user", user, false), KNOWN("prompt_cache_key", prompt_cache_key, false), KNOWN("conversation", conversation, true),
        KNOWN("previous_response_id", previous_response_id, true),
        KNOWN("metadata", metadata, false), KNOWN("temperature", temperature, false), KNOWN("tools", tools, false),
        KNOWN("functions", functions, false),
};

/* Is this odd name a spelling of a member that says what is asked, of whom and how much?  Else NULL. */
static const char *taken_for(struct pm_str key)
{
        static const char *const more[] = { "messages", "prompt", "input", "n", "max_tokens", "max_completion_tokens", "max_output_tokens",
                                            "tool_choice", "response_format", "store" };

        char folded[ALIKE_ROOM];
        struct pm_str name;

        if (!alike_odd(key))
                return NULL;
        name = alike_name(key, folded);
        for (size_t i = 0; i < LENGTH_OF(known); i++)
                if (alike_is(name, known[i].name))
                        return known[i].name;
        for (size_t i = 0; i < LENGTH_OF(more); i++)
                if (alike_is(name, more[i]))
                        return more[i];
        return NULL;
}

/* The member's place among the known ones, `ours` being what an odd name may be taken for; LENGTH_OF(known): it is none of them. */
static size_t known_at(struct pm_str key, const char *ours)
{
        size_t i = 0;

        if (ours && !js_equal(key, ours))
                return LENGTH_OF(known);
        while (i < LENGTH_OF(known) && (ours ? ours != known[i].name : key.n != known[i].n || memcmp(key.p, known[i].name, key.n) != 0))
                i++;
        return i;
}

/* `route_body`: /v1/route, where the model may be missing. */
static int parse(struct pm_str body, enum expert_api api, const struct query_limits *limits, struct arena *a, bool route_body,
                 struct query *ret, struct query_error *why)
{
        struct query q = { .api = api, .body = body };
        struct reader r = { .arena = a, .limits = limits, .q = &q, .why = why };
        const char *conversation = conversation_name(api);
        struct pm_str key;
        bool seen = false;
        int e = 0;

        *why = (struct query_error){ 0 };
        js_start(&r.j, body, limits->depth);
        if (js_peek(&r.j) != JS_OBJECT) {
                struct pm_str v = js_take(&r.j);

                if (body.n == 0)
                        return wrong(&r, NULL, "the body is empty; a JSON object is needed");
                return r.j.error || js_finish(&r.j) < 0 ? not_json(&r)
                                                          : wrong(&r, NULL, "the body must be a JSON object, found %s", type_name(v));
        }
        js_enter(&r.j);
        while (e == 0 && js_more(&r.j, &key)) {
                if (js_equal(key, conversation)) {
                        e = read_conversation(&r, conversation, &seen);
                        continue;
                }

                struct pm_str v = js_take(&r.j);
                const char *ours = taken_for(key);
                size_t i = known_at(key, ours);

                if (r.j.error)
                        break;
                if (ours && !js_equal(key, ours))
                        e = respelled(&r, key, ours, ours);
                if (i == LENGTH_OF(known))
                        continue;

                struct pm_str *place = (struct pm_str *)(void *)((char *)&q + known[i].place);

                if (known[i].ours) {
                        e = once(&r, place, v, known[i].name);
                } else {
                        q.ambiguous = q.ambiguous || place->p;
                        *place = v;
                }
        }
        if (e < 0)
                return e;
        if (js_finish(&r.j) < 0)
                return not_json(&r);

        if (!q.model_value.p && route_body) {
                q.model = (struct pm_str){ "auto", 4 };
        } else {
                if (!q.model_value.p)
                        return wrong(&r, "model", "'model' is required: \"auto\", a route or an expert (GET /v1/models lists them)");
                if (js_type(q.model_value) != JS_STRING)
                        return wrong(&r, "model", "expected a string, found %s", type_name(q.model_value));
                q.model = js_text(q.model_value, a);
                if (q.model.n == 0)
                        return wrong(&r, "model", "'model' is empty");
        }
        if (q.stream_value.p && !is_bool(q.stream_value) && js_type(q.stream_value) != JS_NULL)
                return wrong(&r, "stream", "expected a boolean, found %s", type_name(q.stream_value));
        q.stream = js_type(q.stream_value) == JS_TRUE;
        if (!seen && route_body)
                return wrong(&r, conversation, "'messages' or 'input' is required");
        if (!seen && api != EXPERT_COMPLETIONS && api != EXPERT_RESPONSES)
                return wrong(&r, conversation, "'%s' is required", conversation);
        if (api == EXPERT_CHAT && q.n_turns == 0)
                return wrong(&r, conversation, "'messages' is empty; at least one is needed");
        e = check_stream_options(&r);
        if (e == 0)
                *ret = q;
        return e;
}

int query_parse(struct pm_str body, enum expert_api api, const struct query_limits *limits, struct arena *a, struct query *ret,
                struct query_error *why)
{
        return parse(body, api, limits, a, false, ret, why);
}

int query_parse_route(struct pm_str body, const struct query_limits *limits, struct arena *a, struct query **ret,
                      size_t *ret_n, bool *ret_list, struct query_error *why)
{
        struct query *list, one;
        struct pm_str messages;
        int e;

        /* which of the shapes is it?  Prove the text first. */
        if (js_check(body, limits->depth, NULL, NULL) == 0)
                messages = js_member(js_trim(body), "messages");
        else
                messages = (struct pm_str){ 0 };
        e = parse(body, messages.p ? EXPERT_CHAT : EXPERT_EMBEDDINGS, limits, a, true, &one, why);
        if (e < 0)
                return e;
        *ret_list = !messages.p && js_type(js_member(js_trim(body), "input")) == JS_ARRAY;
        if (!*ret_list) {
                list = arena_alloc(a, sizeof *list);
                if (!list) {
                        *why = (struct query_error){ .message = "out of memory" };
                        return -EINVAL;
                }
                one.api = EXPERT_CHAT;
                *list = one;
                *ret = list;
                *ret_n = 1;
                return 0;
        }
        if (one.n_turns == 0 || one.n_turns > limits->messages) {
                const char *s = arena_printf(a, "expected 1 to %zu texts in 'input', found %zu", limits->messages, one.n_turns);

                *why = (struct query_error){ .message = s ? s : "too many texts in 'input'", .param = "input" };
                return -EINVAL;
        }
        list = arena_alloc(a, one.n_turns * sizeof *list);
        if (!list) {
                *why = (struct query_error){ .message = "out of memory" };
                return -EINVAL;
        }
        for (size_t i = 0; i < one.n_turns; i++) {
                list[i] = one;
                list[i].api = EXPERT_CHAT;
                list[i].turns = &one.turns[i];
                list[i].n_turns = 1;
        }
        *ret = list;
        *ret_n = one.n_turns;
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Servers that know no streams, or not for this request (tools, a cache before them), answer a request for one as a whole.  A client
 * that asked for a stream sees nothing of that, so it is told as one.  Seldom, so Jansson does it.
 */
#include "as_events.h"

#include <event2/buffer.h>
#include <jansson.h>

#include "base.h"

static void json_decref_p(json_t **o)
{
        json_decref(*o);
}

/* What all chunks of one answer have in common. */
static json_t *chunk_of(const json_t *answer, const char *object)
{
        json_t *chunk = json_object(), *value;
        const char *key;

        json_object_foreach((json_t *)(uintptr_t)answer, key, value)
                if (strcmp(key, "choices") != 0 && strcmp(key, "usage") != 0 && strcmp(key, "object") != 0)
                        (void)json_object_set(chunk, key, value);
        (void)json_object_set_new(chunk, "object", json_string(object));
        return chunk;
}

static int put(struct evbuffer *out, const json_t *chunk)
{
        char *text = chunk ? json_dumps(chunk, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
        int r = text && evbuffer_add_printf(out, "data: %s\n\n", text) > 0 ? 0 : -ENOMEM;

        free(text);
        return r;
}

/* Tool calls of a delta are numbered. */
static void number_calls(json_t *delta)
{
        json_t *call;
        size_t i;

        json_array_foreach(json_object_get(delta, "tool_calls"), i, call)
                if (json_is_object(call) && !json_object_get(call, "index"))
                        (void)json_object_set_new(call, "index", json_integer((json_int_t)i));
}

/* One chunk with this choice alone. */
static int put_choice(struct evbuffer *out, json_t *chunk, json_t *choice)
{
        json_t *list = json_array();

        if (!list || json_array_append(list, choice) < 0 || json_object_set_new(chunk, "choices", list) < 0)
                return -ENOMEM;
        return put(out, chunk);
}

static int put_chat(struct evbuffer *out, json_t *chunk, json_t *choice, size_t index)
{
        CLEANUP(json_decref_p) json_t *first = json_copy(choice), *last = json_pack("{s:{}}", "delta");
        json_t *message = json_object_get(choice, "message"), *finish = json_object_get(choice, "finish_reason");
        json_t *number = json_object_get(choice, "index");
        int r;

        if (!first || !last)
                return -ENOMEM;
        if (!json_is_object(message))
                return -EINVAL;
        number_calls(message);
        (void)json_object_del(first, "message");
        (void)json_object_set(first, "delta", message);
        (void)json_object_set_new(first, "index", number ? json_incref(number) : json_integer((json_int_t)index));
        (void)json_object_set(last, "index", json_object_get(first, "index"));
        (void)json_object_set_new(first, "finish_reason", json_null());
        (void)json_object_set_new(last, "finish_reason", finish && !json_is_null(finish) ? json_incref(finish)
                                    : json_string(json_array_size(json_object_get(message, "tool_calls")) ? "tool_calls" : "stop"));
        r = put_choice(out, chunk, first);
        return r < 0 ? r : put_choice(out, chunk, last);
}

int as_events(struct pm_str answer, enum expert_api api, bool usage, struct evbuffer *out)
{
        CLEANUP(json_decref_p) json_t *root = NULL, *chunk = NULL;
        json_t *choices, *choice, *said;
        size_t i;
        int r = 0;

        if (api != EXPERT_CHAT && api != EXPERT_COMPLETIONS)
                return -ENOTSUP;
        root = json_loadb(answer.p, answer.n, JSON_ALLOW_NUL, NULL);
        choices = json_object_get(root, "choices");
        if (!json_is_array(choices) || json_array_size(choices) == 0)
                return -EINVAL;
        chunk = chunk_of(root, api == EXPERT_CHAT ? "chat.completion.chunk" : "text_completion");
        if (!chunk)
                return -ENOMEM;
        json_array_foreach(choices, i, choice) {
                if (!json_is_object(choice))
                        return -EINVAL;
                r = api == EXPERT_CHAT ? put_chat(out, chunk, choice, i) : put_choice(out, chunk, choice);
                if (r < 0)
                        return r;
        }
        said = json_object_get(root, "usage");
        if (!usage || !json_is_object(said))
                return 0;
        if (json_object_set_new(chunk, "choices", json_array()) < 0 || json_object_set(chunk, "usage", said) < 0)
                return -ENOMEM;
        return put(out, chunk);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a query says, for routers and for keys: its texts, whose words they are, and the name of its conversation. */
#include "query.h"

#include "base.h"
#include "js.h"

/* The text parts of an array of parts, joined by newlines. */
static int join_parts(struct pm_str content, struct arena *a, struct pm_str *ret)
{
        struct js j;
        struct pm_str key;
        char *out = arena_alloc(a, content.n);
        size_t n = 0;

        if (!out)
                return -ENOMEM;
        js_start(&j, content, 512);
        js_enter(&j);
        while (js_more(&j, &key)) {
                struct pm_str part = js_take(&j);
                struct pm_str text = js_type(part) == JS_STRING ? part : js_member(part, "text");

                if (js_type(text) != JS_STRING)
                        continue;
                if (n)
                        out[n++] = '\n';
                n += js_unescape(text, out + n);
        }
        *ret = (struct pm_str){ out, n };
        return 0;
}

int query_text_of(struct pm_str content, struct arena *a, struct pm_str *ret)
{
        *ret = (struct pm_str){ 0 };
        if (js_type(content) == JS_ARRAY)
                return join_parts(content, a, ret);
        if (js_type(content) != JS_STRING)
                return 0;
        *ret = js_text(content, a);
        return ret->p ? 0 : -ENOMEM;
}

/* A turn without a role is the user's. */
bool query_is_user(const struct query_turn *t)
{
        return !t->role.p || js_string_is(t->role, "user");
}

struct pm_str query_conversation(const struct query *q)
{
        struct pm_str id = js_type(q->conversation) == JS_OBJECT ? js_member(q->conversation, "id") : q->conversation;

        return js_type(id) == JS_STRING ? id : (struct pm_str){ 0 };
}

struct pm_str query_conversation_name(const struct query *q)
{
        struct pm_str id = query_conversation(q);

        if (!id.p && js_type(q->metadata) == JS_OBJECT)
                id = js_member(q->metadata, "conversation_id");
        return id;
}

static void whole_body(const struct query *q, struct arena *a, struct pm_query *pm)
{
        pm->body = q->body;
        pm->user = q->user.p ? js_text(q->user, a) : (struct pm_str){ 0 };
}

int query_texts(const struct query *q, struct arena *a, struct pm_query *pm)
{
        struct pm_message *messages = arena_alloc(a, (q->n_turns + 1) * sizeof *messages);
        const struct pm_message **list = arena_alloc(a, (q->n_turns + 1) * sizeof *list);

        if (!messages || !list)
                return -ENOMEM;
        pm->text = (struct pm_str){ 0 };
        for (size_t i = 0; i < q->n_turns; i++) {
                struct pm_message *m = &messages[i];

                list[i] = m;
                m->role = (struct pm_str){ "user", 4 };
                if (q->turns[i].role.p && query_text_of(q->turns[i].role, a, &m->role) < 0)
                        return -ENOMEM;
                if (query_text_of(q->turns[i].content, a, &m->text) < 0)
                        return -ENOMEM;
                if (m->role.n == 4 && memcmp(m->role.p, "user", 4) == 0)
                        pm->text = m->text;
        }
        pm->messages = list;
        pm->n_messages = q->n_turns;
        whole_body(q, a, pm);
        return 0;
}

int query_last_text(const struct query *q, struct arena *a, struct pm_query *pm)
{
        pm->text = (struct pm_str){ 0 };
        whole_body(q, a, pm);
        for (size_t i = q->n_turns; i-- > 0;)
                if (query_is_user(&q->turns[i]))
                        return query_text_of(q->turns[i].content, a, &pm->text);
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's bytes with a few members changed: a list of edits, in the order of their places, becomes a list of pieces.  What is
 * not edited goes out from where it came in.
 */
#include "query.h"

#include "base.h"
#include "js.h"

struct edit {
        size_t at, skip;  /* in the body */
        struct pm_str with;
};

struct splice {
        struct edit *edits;
        size_t n, room;
        struct arena *arena;
};

static int add_edit(struct splice *s, size_t at, size_t skip, struct pm_str with)
{
        size_t i;

        if (!with.p)
                return -ENOMEM;
        if (s->n == s->room) {
                size_t room = s->room ? 2 * s->room : 8;
                struct edit *more = arena_alloc(s->arena, room * sizeof *more);

                if (!more)
                        return -ENOMEM;
                if (s->n)
                        memcpy(more, s->edits, s->n * sizeof *more);
                s->edits = more;
                s->room = room;
        }
        for (i = s->n; i > 0 && s->edits[i - 1].at > at; i--)
                s->edits[i] = s->edits[i - 1];
        s->edits[i] = (struct edit){ at, skip, with };
        s->n++;
        return 0;
}

static struct pm_str quoted(struct arena *a, const char *text)
{
        size_t n = strlen(text);
        char *out = arena_alloc(a, 6 * n + 2);

        if (!out)
                return (struct pm_str){ 0 };
        out[0] = '"';
        n = 1 + js_escape((struct pm_str){ text, n }, out + 1);
        out[n++] = '"';
        return (struct pm_str){ out, n };
}

static struct pm_str literal(const char *s)
{
        return (struct pm_str){ s, strlen(s) };
}

static int splice_usage(const struct query *q, struct splice *s, size_t open)
{
        struct pm_str so = q->stream_options, v;

        if (!q->stream || (q->api != EXPERT_CHAT && q->api != EXPERT_COMPLETIONS) || q->wants_usage)
                return 0;
        if (!so.p)
                return add_edit(s, open, 0, literal("\"stream_options\":{\"include_usage\":true},"));
        if (js_type(so) != JS_OBJECT)
                return add_edit(s, (size_t)(so.p - q->body.p), so.n, literal("{\"include_usage\":true}"));
        v = js_member(so, "include_usage");
        if (v.p)
                return add_edit(s, (size_t)(v.p - q->body.p), v.n, literal("true"));
        for (size_t i = 1; i < so.n; i++)
                if (so.p[i] == '"')
                        return add_edit(s, (size_t)(so.p + 1 - q->body.p), 0, literal("\"include_usage\":true,"));
        return add_edit(s, (size_t)(so.p - q->body.p), so.n, literal("{\"include_usage\":true}"));
}

/* Two raw names, either of which may have escapes. */
static bool same_name(struct pm_str a, struct pm_str b, struct arena *arena)
{
        struct pm_str x, y;

        if (a.n == b.n && memcmp(a.p, b.p, a.n) == 0)
                return true;
        if (!memchr(a.p, '\\', a.n) && !memchr(b.p, '\\', b.n))
                return false;
        x = js_text((struct pm_str){ a.p - 1, a.n + 2 }, arena);
        y = js_text((struct pm_str){ b.p - 1, b.n + 2 }, arena);
        return x.p && y.p && x.n == y.n && memcmp(x.p, y.p, x.n) == 0;
}

/* Does the object that j reads have a member of that name further on?  j is a copy. */
static bool comes_again(struct js j, struct pm_str name, struct arena *a)
{
        struct pm_str key;

        while (js_more(&j, &key)) {
                (void)js_take(&j);
                if (same_name(key, name, a))
                        return true;
        }
        return false;
}

static int splice_extra(const struct query *q, const char *extra, struct splice *s, size_t open)
{
        struct pm_str e = literal(extra), name, key;
        struct js j, b;

        if (js_check(e, 64, NULL, NULL) < 0)
                return -EINVAL;
        e = js_trim(e);
        js_start(&j, e, 64);
        if (js_peek(&j) != JS_OBJECT)
                return -EINVAL;
        js_enter(&j);
        while (js_more(&j, &name)) {
                struct pm_str value = js_take(&j), there = { 0 };
                int err;

                if (js_equal(name, "model") || js_equal(name, "stream") || js_equal(name, "stream_options"))
                        continue; /* ours to say */
                if (comes_again(j, name, s->arena))
                        continue; /* the last one counts */
                js_start(&b, q->body, 512);
                js_enter(&b);
                while (js_more(&b, &key)) {
                        struct pm_str v = js_take(&b);

                        if (same_name(key, name, s->arena))
                                there = v;
                }
                if (there.p) {
                        err = add_edit(s, (size_t)(there.p - q->body.p), there.n, value);
                } else {
                        char *m = arena_alloc(s->arena, name.n + value.n + 4);

                        if (!m)
                                return -ENOMEM;
                        m[0] = '"';
                        memcpy(m + 1, name.p, name.n);
                        memcpy(m + 1 + name.n, "\":", 2);
                        memcpy(m + 3 + name.n, value.p, value.n);
                        m[3 + name.n + value.n] = ',';
                        err = add_edit(s, open, 0, (struct pm_str){ m, name.n + value.n + 4 });
                }
                if (err < 0)
                        return err;
        }
        return 0;
}

int query_splice(const struct query *q, const char *model, const char *extra, struct arena *a, struct iovec **ret, size_t *ret_n)
{
        struct splice s = { .arena = a };
        size_t open = (size_t)(js_trim(q->body).p - q->body.p) + 1, at = 0, n = 0;
        struct iovec *out;
        int e = 0;

        if (q->model_value.p && !js_string_is(q->model_value, model))
                e = add_edit(&s, (size_t)(q->model_value.p - q->body.p), q->model_value.n, quoted(a, model));
        if (e == 0)
                e = splice_usage(q, &s, open);
        if (e == 0 && extra)
                e = splice_extra(q, extra, &s, open);
        if (e < 0)
                return e;
        out = arena_alloc(a, (2 * s.n + 1) * sizeof *out);
        if (!out)
                return -ENOMEM;
        for (size_t i = 0; i < s.n; i++) {
                const struct edit *d = &s.edits[i];
                union { const char *from; void *to; } body = { q->body.p + at }, with = { d->with.p };

                if (d->at > at)
                        out[n++] = (struct iovec){ body.to, d->at - at };
                out[n++] = (struct iovec){ with.to, d->with.n };
                at = d->at + d->skip;
        }
        if (at < q->body.n) {
                union { const char *from; void *to; } rest = { q->body.p + at };

                out[n++] = (struct iovec){ rest.to, q->body.n - at };
        }
        *ret = out;
        *ret_n = n;
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's bytes with a few members changed: a list of edits, in the order of their places, becomes a list of pieces.  What is
 * not edited goes out from where it came in.
 */
#include "query.h"

#include "alike.h"
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

/* ---- members by name: a router's own, and those that an expert is not to see ---------------------------------------------- */

struct change {
        struct pm_str folded;      /* by alike_fold() */
        struct pm_str text;        /* the name, escapes resolved */
        struct pm_str name, value; /* raw; value.p NULL: the client's member goes */
        size_t order;
        bool placed;
};

struct changes {
        struct change *list;
        const struct change **sorted; /* by the folded name, each once: the last one counts */
        size_t n, all, room, longest; /* n: of the sorted ones, all: of the list */
};

static int by_name(const struct pm_str *a, const struct pm_str *b)
{
        int c = memcmp(a->p, b->p, MIN(a->n, b->n));

        return c ? c : a->n < b->n ? -1 : a->n > b->n;
}

static int compare(const void *a, const void *b)
{
        const struct change *x = *(const struct change *const *)a, *y = *(const struct change *const *)b;
        int c = by_name(&x->folded, &y->folded);

        return c ? c : x->order < y->order ? -1 : x->order > y->order;
}

static int add_change(struct changes *c, struct pm_str name, struct pm_str value, struct arena *a)
{
        char *folded = arena_alloc(a, name.n + 2);
        struct pm_str text = js_text((struct pm_str){ name.p - 1, name.n + 2 }, a);

        if (!folded || !text.p)
                return -ENOMEM;
        assert(c->n < c->room);
        c->list[c->n] = (struct change){ .folded = { folded, alike_fold(name, folded) }, .text = text, .name = name, .value = value, .order = c->n };
        c->longest = MAX(c->longest, c->list[c->n].folded.n);
        c->n++;
        return 0;
}

static bool ours_to_say(struct pm_str name)
{
        return alike(name, "model") || alike(name, "stream") || alike(name, "stream_options");
}

/* What is to be dropped comes first: a router's own member of that name is sent. */
static int list_changes(struct changes *c, const char *extra, const struct expert_drop *drop, struct arena *a)
{
        struct pm_str e = extra ? literal(extra) : (struct pm_str){ 0 }, name;
        size_t members = 0, unique = 0;
        const char *why;
        struct js j;
        int err = 0;

        if (extra && query_extra_check(e, &members, &why) < 0)
                return -EINVAL;
        c->room = members + (drop ? drop->n : 0);
        c->list = arena_alloc(a, (c->room + 1) * sizeof *c->list);
        c->sorted = arena_alloc(a, (c->room + 1) * sizeof *c->sorted);
        if (!c->list || !c->sorted)
                return -ENOMEM;
        for (size_t i = 0; drop && i < drop->n && err == 0; i++)
                err = add_change(c, drop->names[i], (struct pm_str){ 0 }, a);
        if (extra) {
                js_start(&j, js_trim(e), 64);
                for (js_enter(&j); err == 0 && js_more(&j, &name);) {
                        struct pm_str value = js_take(&j);

                        if (!ours_to_say(name))
                                err = add_change(c, name, value, a);
                }
        }
        if (err < 0)
                return err;
        c->all = c->n;
        for (size_t i = 0; i < c->n; i++)
                c->sorted[i] = &c->list[i];
        qsort(c->sorted, c->n, sizeof *c->sorted, compare);
        for (size_t i = 0; i < c->n; i++) {
                if (i + 1 < c->n && by_name(&c->sorted[i]->folded, &c->sorted[i + 1]->folded) == 0)
                        c->list[c->sorted[i]->order].placed = true; /* a later one counts in its place */
                else
                        c->sorted[unique++] = c->sorted[i];
        }
        c->n = unique;
        return 0;
}

/* NULL: the client's member stays as it is.  `scratch` has room for six times the longest name, and two bytes. */
static struct change *change_of(struct changes *c, struct pm_str key, char *scratch)
{
        struct pm_str folded = key;
        size_t from = 0, to = c->n;

        if (key.n > 6 * c->longest)
                return NULL;
        if (alike_folds(key))
                folded = (struct pm_str){ scratch, alike_fold(key, scratch) };
        while (from < to) {
                size_t middle = from + (to - from) / 2;
                int d = by_name(&folded, &c->sorted[middle]->folded);

                if (d == 0)
                        return &c->list[c->sorted[middle]->order];
                if (d < 0)
                        to = middle;
                else
                        from = middle + 1;
        }
        return NULL;
}

/* Members that go, one after another: with the comma behind them, or, at the end, with the one before them. */
struct run {
        size_t from, to, before; /* `before`: where the last member that stays has ended, or the object begun */
        bool open, any;          /* `any`: some member stays before it */
};

static int end_run(struct run *run, struct splice *s, bool last, size_t next)
{
        size_t from = last && run->any ? run->before : run->from, to = last ? run->to : next;

        if (!run->open)
                return 0;
        run->open = false;
        return add_edit(s, from, to - from, literal(""));
}

/* "name":value */
static struct pm_str member(struct pm_str name, struct pm_str value, const char *after, struct arena *a)
{
        size_t n = strlen(after);
        char *m = arena_alloc(a, name.n + value.n + n + 3);

        if (!m)
                return (struct pm_str){ 0 };
        m[0] = '"';
        memcpy(m + 1, name.p, name.n);
        memcpy(m + 1 + name.n, "\":", 2);
        memcpy(m + 3 + name.n, value.p, value.n);
        memcpy(m + 3 + name.n + value.n, after, n);
        return (struct pm_str){ m, name.n + value.n + n + 3 };
}

/* Is it the name itself, and not one like it? */
static bool is_called(struct pm_str key, struct pm_str text, char *scratch)
{
        if (memchr(key.p, '\\', key.n))
                key = (struct pm_str){ scratch, js_unescape((struct pm_str){ key.p - 1, key.n + 2 }, scratch) };
        return key.n == text.n && memcmp(key.p, text.p, key.n) == 0;
}

/*
 * One walk over the body.  A router's member takes the place of the client's first one of that name, in whatever letters; further ones go,
 * since experts differ on which of them counts.
 */
static int splice_members(const struct query *q, const char *extra, const struct expert_drop *drop, struct splice *s, size_t open)
{
        struct changes c = { .list = NULL };
        struct run run = { .before = open };
        struct pm_str key;
        char *scratch;
        struct js j;
        int err = list_changes(&c, extra, drop, s->arena);

        scratch = err < 0 ? NULL : arena_alloc(s->arena, 6 * c.longest + 2);
        if (!scratch)
                return err < 0 ? err : -ENOMEM;
        js_start(&j, q->body, 512);
        for (js_enter(&j); err == 0 && js_more(&j, &key);) {
                struct pm_str v = js_take(&j);
                struct change *d = change_of(&c, key, scratch);
                size_t at = (size_t)(key.p - 1 - q->body.p), end = (size_t)(v.p + v.n - q->body.p);

                if (d && (!d->value.p || d->placed)) {
                        if (!run.open)
                                run.from = at;
                        run.open = true;
                        run.to = end;
                        continue;
                }
                err = end_run(&run, s, false, at);
                if (err == 0 && d && is_called(key, d->text, scratch))
                        err = add_edit(s, (size_t)(v.p - q->body.p), v.n, d->value);
                else if (err == 0 && d)
                        err = add_edit(s, at, end - at, member(d->name, d->value, "", s->arena));
                if (d)
                        d->placed = true;
                run.any = true;
                run.before = end;
        }
        if (err == 0)
                err = end_run(&run, s, true, 0);
        for (size_t i = 0; err == 0 && i < c.all; i++)
                if (c.list[i].value.p && !c.list[i].placed)
                        err = add_edit(s, open, 0, member(c.list[i].name, c.list[i].value, ",", s->arena));
        return err;
}

int query_extra_check(struct pm_str extra, size_t *ret_members, const char **why)
{
        struct pm_str key;
        size_t n = 0;
        struct js j;

        if (extra.n > PM_EXTRA_BYTES_MAX) {
                *why = "is longer than 64 KiB";
                return -E2BIG;
        }
        if (js_check(extra, PM_EXTRA_DEPTH_MAX, NULL, NULL) < 0 || js_type(js_trim(extra)) != JS_OBJECT) {
                *why = "is not a JSON object";
                return -EINVAL;
        }
        js_start(&j, js_trim(extra), PM_EXTRA_DEPTH_MAX);
        for (js_enter(&j); js_more(&j, &key); n++)
                (void)js_take(&j);
        if (n > PM_EXTRA_MEMBERS_MAX) {
                *why = "has more than 256 members";
                return -E2BIG;
        }
        if (ret_members)
                *ret_members = n;
        return 0;
}

int query_splice(const struct query *q, const char *model, const char *extra, const struct expert_drop *drop,
                 struct arena *a, struct iovec **ret, size_t *ret_n)
{
        struct splice s = { .arena = a };
        size_t open = (size_t)(js_trim(q->body).p - q->body.p) + 1, at = 0, n = 0;
        struct iovec *out;
        int e = 0;

        if (q->model_value.p && !js_string_is(q->model_value, model))
                e = add_edit(&s, (size_t)(q->model_value.p - q->body.p), q->model_value.n, quoted(a, model));
        if (e == 0)
                e = splice_usage(q, &s, open);
        if (e == 0 && (extra || (drop && drop->n)))
                e = splice_members(q, extra, drop, &s, open);
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
                if (d->with.n)
                        out[n++] = (struct iovec){ with.to, d->with.n };
                at = MAX(at, d->at + d->skip); /* something may be put in where a run of members goes */
        }
        if (at < q->body.n) {
                union { const char *from; void *to; } rest = { q->body.p + at };

                out[n++] = (struct iovec){ rest.to, q->body.n - at };
        }
        *ret = out;
        *ret_n = n;
        return 0;
}

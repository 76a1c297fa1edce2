/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's bytes with a few of them changed: a list of edits becomes a list of pieces.  What is not edited goes out from where it
 * came in.  Only edits of members by name need a walk over the body, and one is enough for all of them.
 */
#include "alike.h"
#include "base.h"
#include "edits.h"
#include "js.h"
#include "query.h"

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

/* Behind the bracket that opens the body. */
static size_t open_of(struct pm_str body)
{
        return (size_t)(js_trim(body).p - body.p) + 1;
}

/* ---- what makes it a request for that expert ------------------------------------------------------------------------------ */

static int ask_usage(const struct query *q, struct edits *e)
{
        struct pm_str so = q->stream_options, v;

        if (!q->stream || (q->api != EXPERT_CHAT && q->api != EXPERT_COMPLETIONS) || q->wants_usage)
                return 0;
        if (!so.p)
                return edits_replace(e, open_of(q->body), 0, literal("\"stream_options\":{\"include_usage\":true},"));
        if (js_type(so) != JS_OBJECT)
                return edits_replace(e, (size_t)(so.p - q->body.p), so.n, literal("{\"include_usage\":true}"));
        v = js_member(so, "include_usage");
        if (v.p)
                return edits_replace(e, (size_t)(v.p - q->body.p), v.n, literal("true"));
        for (size_t i = 1; i < so.n; i++)
                if (so.p[i] == '"')
                        return edits_replace(e, (size_t)(so.p + 1 - q->body.p), 0, literal("\"include_usage\":true,"));
        return edits_replace(e, (size_t)(so.p - q->body.p), so.n, literal("{\"include_usage\":true}"));
}

int query_edits(const struct query *q, const char *model, bool usage, struct edits *e)
{
        int err = 0;

        if (q->model_value.p && !js_string_is(q->model_value, model)) {
                struct pm_str name = quoted(e->arena, model);

                err = name.p ? edits_replace(e, (size_t)(q->model_value.p - q->body.p), q->model_value.n, name) : -ENOMEM;
        }
        return err == 0 && usage ? ask_usage(q, e) : err;
}

/* ---- members by name ------------------------------------------------------------------------------------------------------ */

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
        size_t n, all, longest;       /* n: of the sorted ones, all: of the list */
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

static int read_change(const struct edit_member *m, size_t order, struct arena *a, struct change *ret)
{
        struct change c = { .folded = m->name, .text = m->name, .name = m->name, .value = m->value, .order = order };

        if (alike_folds(m->name)) {
                char *folded = arena_alloc(a, m->name.n + 2);

                if (!folded)
                        return -ENOMEM;
                c.folded = (struct pm_str){ folded, alike_fold(m->name, folded) };
        }
        if (memchr(m->name.p, '\\', m->name.n))
                c.text = js_text((struct pm_str){ m->name.p - 1, m->name.n + 2 }, a);
        if (!c.text.p)
                return -ENOMEM;
        *ret = c;
        return 0;
}

static int list_changes(struct changes *c, const struct edits *e, struct arena *a)
{
        size_t n = e->n_members, unique = 0;

        c->list = arena_alloc(a, n * (sizeof *c->list + sizeof *c->sorted));
        if (!c->list)
                return -ENOMEM;
        c->sorted = (const struct change **)(c->list + n);
        for (size_t i = 0; i < n; i++) {
                int err = read_change(&e->members[i], i, a, &c->list[i]);

                if (err < 0)
                        return err;
                c->longest = MAX(c->longest, c->list[i].folded.n);
                c->sorted[i] = &c->list[i];
        }
        c->all = n;
        qsort(c->sorted, n, sizeof *c->sorted, compare);
        for (size_t i = 0; i < n; i++) {
                if (i + 1 < n && by_name(&c->sorted[i]->folded, &c->sorted[i + 1]->folded) == 0)
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

static int end_run(struct run *run, struct edits *found, bool last, size_t next)
{
        size_t from = last && run->any ? run->before : run->from, to = last ? run->to : next;

        if (!run->open)
                return 0;
        run->open = false;
        return edits_replace(found, from, to - from, literal(""));
}

/* "name":value into out, which has room for size_of() bytes; returns its end. */
static size_t size_of(const struct change *c)
{
        return c->name.n + c->value.n + 3;
}

static char *put_member(char *out, const struct change *c)
{
        *out++ = '"';
        memcpy(out, c->name.p, c->name.n);
        out += c->name.n;
        *out++ = '"';
        *out++ = ':';
        memcpy(out, c->value.p, c->value.n);
        return out + c->value.n;
}

/* Is it the name itself, and not one like it? */
static bool is_called(struct pm_str key, struct pm_str text, char *scratch)
{
        if (memchr(key.p, '\\', key.n))
                key = (struct pm_str){ scratch, js_unescape((struct pm_str){ key.p - 1, key.n + 2 }, scratch) };
        return key.n == text.n && memcmp(key.p, text.p, key.n) == 0;
}

/* The change's place: the value alone, where the client has written the name as we do. */
static int change_at(struct change *c, bool same_name, size_t at, struct pm_str value, struct pm_str body, struct edits *found)
{
        size_t from = (size_t)(value.p - body.p);
        char *m;

        c->placed = true;
        if (same_name)
                return edits_replace(found, from, value.n, c->value);
        m = arena_alloc(found->arena, size_of(c));
        if (!m)
                return -ENOMEM;
        return edits_replace(found, at, from + value.n - at, (struct pm_str){ m, (size_t)(put_member(m, c) - m) });
}

/* What the client does not have comes first, in the order of the list. */
static int add_members(const struct changes *c, size_t open, struct edits *found)
{
        size_t n = 0;
        char *all, *to;

        for (size_t i = 0; i < c->all; i++)
                if (c->list[i].value.p && !c->list[i].placed)
                        n += size_of(&c->list[i]) + 1;
        if (n == 0)
                return 0;
        all = to = arena_alloc(found->arena, n);
        if (!all)
                return -ENOMEM;
        for (size_t i = 0; i < c->all; i++)
                if (c->list[i].value.p && !c->list[i].placed) {
                        to = put_member(to, &c->list[i]);
                        *to++ = ',';
                }
        return edits_replace(found, open, 0, (struct pm_str){ all, n });
}

/*
 * One walk over the body: where the members are.  A new value takes the place of the client's first one of that name, in whatever
 * letters; further ones go, since experts differ on which of them counts.
 */
static int find_members(struct pm_str body, const struct edits *e, struct edits *found)
{
        struct changes c = { .list = NULL };
        size_t open = open_of(body);
        struct run run = { .before = open };
        struct pm_str key;
        char *scratch;
        struct js j;
        int err = list_changes(&c, e, found->arena);

        scratch = err < 0 ? NULL : arena_alloc(found->arena, 6 * c.longest + 2);
        if (!scratch)
                return err < 0 ? err : -ENOMEM;
        js_start(&j, body, 512);
        for (js_enter(&j); err == 0 && js_more(&j, &key);) {
                struct pm_str v = js_take(&j);
                struct change *d = change_of(&c, key, scratch);
                size_t at = (size_t)(key.p - 1 - body.p), end = (size_t)(v.p + v.n - body.p);

                if (d && (!d->value.p || d->placed)) {
                        if (!run.open)
                                run.from = at;
                        run.open = true;
                        run.to = end;
                        continue;
                }
                err = end_run(&run, found, false, at);
                if (err == 0 && d)
                        err = change_at(d, is_called(key, d->text, scratch), at, v, body, found);
                run.any = true;
                run.before = end;
        }
        if (err == 0)
                err = end_run(&run, found, true, 0);
        return err < 0 ? err : add_members(&c, open, found);
}

/* ---- the pieces ----------------------------------------------------------------------------------------------------------- */

struct splice {
        const char *body;
        size_t at, n;     /* so much of the body is done with; so many pieces are there */
        struct iovec *out;
};

static void put_piece(struct splice *p, const char *from, size_t n)
{
        union { const char *from; void *to; } bytes = { from };

        if (n)
                p->out[p->n++] = (struct iovec){ bytes.to, n };
}

static void put_edit(struct splice *p, const struct edit_place *d)
{
        if (d->at > p->at)
                put_piece(p, p->body + p->at, d->at - p->at);
        put_piece(p, d->with.p, d->with.n);
        p->at = MAX(p->at, d->at + d->n);
}

/* Both in the order of their places.  What is edited in a member goes with it. */
static int merge(struct splice *p, const struct edits *places, const struct edits *members)
{
        const struct edit_place *a = places->places, *b = members->places;
        const struct edit_place *a_end = a + places->n_places, *b_end = b + members->n_places;

        for (; a < a_end; a++) {
                for (; b < b_end && (b->at < a->at || (b->at == a->at && a->n)); b++) {
                        if (b->at < p->at)
                                return -EINVAL; /* an edit goes beyond the member that it begins in */
                        put_edit(p, b);
                }
                if (a->at >= p->at)
                        put_edit(p, a);
                else if (a->at + a->n > p->at)
                        return -EINVAL;
        }
        for (; b < b_end; b++) {
                if (b->at < p->at)
                        return -EINVAL;
                put_edit(p, b);
        }
        return 0;
}

int query_splice(struct pm_str body, const struct edits *e, struct arena *a, struct iovec **ret, size_t *ret_n)
{
        struct splice p = { .body = body.p };
        struct edits found = EDITS(a);
        int err = edits_in_order(e, body.n) ? 0 : -EINVAL;

        if (err == 0 && e->n_members)
                err = find_members(body, e, &found);
        if (err < 0)
                return err;
        p.out = arena_alloc(a, (2 * (e->n_places + found.n_places) + 1) * sizeof *p.out);
        if (!p.out)
                return -ENOMEM;
        err = merge(&p, e, &found);
        if (err < 0)
                return err;
        put_piece(&p, p.body + p.at, body.n - p.at);
        *ret = p.out;
        *ret_n = p.n;
        return 0;
}

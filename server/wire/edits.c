/* SPDX-License-Identifier: Apache-2.0 */
#include "edits.h"

#include "alike.h"
#include "base.h"
#include "js.h"

enum { ROOM = 8 };

/* Room for one more of `size` bytes each; the old ones are moved. */
static void *grown(struct arena *a, void *list, size_t n, size_t room, size_t size)
{
        void *more = arena_alloc(a, room * size);

        if (more && n)
                memcpy(more, list, n * size);
        return more;
}

/* ---- places --------------------------------------------------------------------------------------------------------------- */

int edits_replace(struct edits *e, size_t at, size_t n, struct pm_str with)
{
        size_t i = e->n_places;

        if (n > SIZE_MAX - at)
                return -EINVAL;
        while (i > 0 && (e->places[i - 1].at > at || (e->places[i - 1].at == at && e->places[i - 1].n > n)))
                i--; /* what is put in stands before what is replaced there */
        if ((i > 0 && e->places[i - 1].at + e->places[i - 1].n > at) || (i < e->n_places && at + n > e->places[i].at))
                return -EINVAL;
        if (e->n_places == e->places_room) {
                size_t room = e->places_room ? 2 * e->places_room : ROOM;
                struct edit_place *more = grown(e->arena, e->places, e->n_places, room, sizeof *more);

                if (!more)
                        return -ENOMEM;
                e->places = more;
                e->places_room = room;
        }
        if (i < e->n_places)
                memmove(e->places + i + 1, e->places + i, (e->n_places - i) * sizeof *e->places);
        e->places[i] = (struct edit_place){ at, n, with };
        e->n_places++;
        return 0;
}

static bool continues(unsigned char c)
{
        return (c & 0xC0) == 0x80;
}

/* How many backslashes stand before p? */
static size_t backslashes(const char *from, const char *p)
{
        size_t n = 0;

        while (p > from && p[-1] == '\\') {
                p--;
                n++;
        }
        return n;
}

static bool inside_escape(const char *from, const char *p)
{
        for (ptrdiff_t back = 1; back < 6 && p - back >= from; back++)
                if (p[-back] == '\\' && backslashes(from, p - back) % 2 == 0)
                        return back < (p[1 - back] == 'u' ? 6 : 2);
        return false;
}

int edits_text(struct edits *e, struct pm_str body, struct pm_str part, struct pm_str text)
{
        const char *from = body.p, *end = body.p + body.n, *to = part.p + part.n;
        char *with;

        if (part.p <= from || to >= end || to < part.p)
                return -EINVAL;
        if (continues((unsigned char)*part.p) || continues((unsigned char)*to) || inside_escape(from, part.p) || inside_escape(from, to))
                return -EINVAL;
        for (const char *p = part.p; p < to; p++) {
                if (*p == '"' || (unsigned char)*p < 0x20)
                        return -EINVAL;
                p += *p == '\\';
        }
        with = arena_alloc(e->arena, 6 * text.n + 1);
        if (!with)
                return -ENOMEM;
        return edits_replace(e, (size_t)(part.p - from), part.n, (struct pm_str){ with, js_escape(text, with) });
}

bool edits_in_order(const struct edits *e, size_t n)
{
        size_t at = 0;

        for (size_t i = 0; i < e->n_places; i++) {
                const struct edit_place *p = &e->places[i];

                if (p->at < at || p->at > n || p->n > n - p->at)
                        return false;
                at = p->at + p->n;
        }
        return true;
}

/* ---- members -------------------------------------------------------------------------------------------------------------- */

static int room_for(struct edits *e, size_t n)
{
        size_t room = MAX(e->n_members + n, 2 * e->members_room);
        struct edit_member *more;

        if (e->n_members + n <= e->members_room)
                return 0;
        more = grown(e->arena, e->members, e->n_members, room, sizeof *more);
        if (!more)
                return -ENOMEM;
        e->members = more;
        e->members_room = room;
        return 0;
}

static bool ours_to_say(struct pm_str name)
{
        return alike(name, "model") || alike(name, "stream") || alike(name, "stream_options");
}

static int add_member(struct edits *e, const char *name, struct pm_str value)
{
        size_t n = strlen(name);
        char *quoted;

        for (size_t i = 0; i < n; i++)
                if (name[i] < 0x20 || name[i] > 0x7E || name[i] == '"' || name[i] == '\\')
                        return -EINVAL;
        if (n == 0 || ours_to_say((struct pm_str){ name, n }))
                return -EINVAL;
        quoted = arena_alloc(e->arena, n + 2);
        if (!quoted || room_for(e, 1) < 0)
                return -ENOMEM;
        quoted[0] = quoted[n + 1] = '"';
        memcpy(quoted + 1, name, n);
        e->members[e->n_members++] = (struct edit_member){ { quoted + 1, n }, value };
        return 0;
}

int edits_set(struct edits *e, const char *name, struct pm_str value)
{
        value = js_trim(value);
        if (!value.p || js_check(value, PM_EXTRA_DEPTH_MAX, NULL, NULL) < 0)
                return -EINVAL;
        return add_member(e, name, value);
}

int edits_remove(struct edits *e, const char *name)
{
        return add_member(e, name, (struct pm_str){ 0 });
}

int edits_extra_check(struct pm_str extra, size_t *ret_members, const char **why)
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

int edits_set_all(struct edits *e, struct pm_str object)
{
        struct pm_str name;
        const char *why;
        struct js j;
        size_t n;

        if (edits_extra_check(object, &n, &why) < 0)
                return -EINVAL;
        if (room_for(e, n) < 0)
                return -ENOMEM;
        js_start(&j, js_trim(object), PM_EXTRA_DEPTH_MAX);
        for (js_enter(&j); js_more(&j, &name);) {
                struct pm_str value = js_take(&j);

                if (!ours_to_say(name))
                        e->members[e->n_members++] = (struct edit_member){ name, value };
        }
        return 0;
}

int edits_drop(struct edits *e, const struct expert_drop *drop)
{
        if (room_for(e, drop->n) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < drop->n; i++)
                e->members[e->n_members++] = (struct edit_member){ .name = drop->names[i] };
        return 0;
}

int edits_add(struct edits *e, const struct edits *more)
{
        int err = room_for(e, more->n_members);

        for (size_t i = 0; err == 0 && i < more->n_members; i++)
                e->members[e->n_members++] = more->members[i];
        for (size_t i = 0; err == 0 && i < more->n_places; i++)
                err = edits_replace(e, more->places[i].at, more->places[i].n, more->places[i].with);
        return err;
}

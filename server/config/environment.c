/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text is copied from one "${" to the next.  What a variable holds is not expanded again.
 */
#include "environment.h"
#include "utf8.h"

#include "base.h"

#define NAME_SHOWN 60

/* Text in the making. */
struct text {
        char *p;
        size_t n, room;
};

static void text_free(struct text *t)
{
        free(t->p);
}

static int text_add(struct text *t, const char *p, size_t n)
{
        if (t->n + n + 1 > t->room) {
                size_t room = MAX(2 * t->room, t->n + n + 64);
                char *grown = realloc(t->p, room);

                if (!grown)
                        return -ENOMEM;
                t->p = grown;
                t->room = room;
        }
        memcpy(t->p + t->n, p, n);
        t->n += n;
        t->p[t->n] = '\0';
        return 0;
}

static size_t name_length(const char *p)
{
        size_t n = 0;

        while ((p[n] >= 'A' && p[n] <= 'Z') || (p[n] >= 'a' && p[n] <= 'z') || p[n] == '_' || (n && p[n] >= '0' && p[n] <= '9'))
                n++;
        return n;
}

/* Mistakes show the variable's name in place of its value. */
static void hide(struct environment *e, const struct node *at, const char *name, const char *value)
{
        char shown[NAME_SHOWN + 8];

        (void)snprintf(shown, sizeof shown, "${%.*s}", NAME_SHOWN, name);
        problems_hide(e->problems, at, value, shown);
}

/* One variable: *p stands behind "${", and then behind its '}'.  -EINVAL: a mistake, which has been noted. */
static int expand_one(struct environment *e, struct node *at, const char *path, const char **ret, struct text *out)
{
        const char *p = *ret;
        size_t n = name_length(p);
        char name[256];
        const char *value, *end = strchr(p, '}');

        if (n == 0 || n >= sizeof name || !end || (p[n] != '}' && strncmp(p + n, ":-", 2) != 0)) {
                problems_add(e->problems, at, path, "'${%.*s' is not ${NAME} or ${NAME:-default}; a literal '${' is written '$${'",
                             end ? (int)MIN(end + 1 - p, (ptrdiff_t)NAME_SHOWN) : NAME_SHOWN, p);
                return -EINVAL;
        }
        memcpy(name, p, n);
        name[n] = '\0';
        value = secure_getenv(name);
        *ret = end + 1;
        if (p[n] == ':' && (!value || !*value))
                return text_add(out, p + n + 2, (size_t)(end - p) - n - 2);
        if (!value) {
                problems_add(e->problems, at, path, "the environment has no variable '%.*s': set it, or give a default: ${%.*s:-default}",
                             NAME_SHOWN, name, NAME_SHOWN, name);
                return -EINVAL;
        }
        if (!utf8_valid(value)) {
                problems_add(e->problems, at, path, "the value of the variable '%.*s' is not UTF-8", NAME_SHOWN, name);
                return -EINVAL;
        }
        if (strlen(value) > e->left) {
                problems_add(e->problems, at, path, "with the variable '%.*s' the environment adds too much to this file", NAME_SHOWN, name);
                return -EINVAL;
        }
        e->left -= strlen(value);
        at->secret = true;
        hide(e, at, name, value);
        return text_add(out, value, strlen(value));
}

int environment_expand(struct environment *e, struct node *scalar, const char *path)
{
        CLEANUP(text_free) struct text out = { 0 };
        const char *p = scalar->text, *dollar, *kept;
        int r = 0;

        if (!strstr(p, "${"))
                return 0;
        scalar->quoted = false; /* quotes were needed to write it in {a: "${X}"}; they do not make a text of it */
        while (r == 0 && (dollar = strstr(p, "${"))) {
                bool literal = dollar > p && dollar[-1] == '$'; /* $${ */

                r = text_add(&out, p, (size_t)(dollar - p) - literal);
                p = dollar + 2;
                if (r == 0)
                        r = literal ? text_add(&out, "${", 2) : expand_one(e, scalar, path, &p, &out);
        }
        if (r == 0)
                r = text_add(&out, p, strlen(p));
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        kept = arena_strndup(e->arena, out.p, out.n);
        if (!kept)
                return -ENOMEM;
        scalar->text = kept;
        return 0;
}

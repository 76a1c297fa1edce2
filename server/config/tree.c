/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libyaml's events become nodes.  The events are read by two functions that call each other, read_list() and read_map(), at most
 * TREE_DEPTH_MAX deep.
 *
 * An alias shares its anchor's node, so a small file can mean a huge tree ("billion laughs").  Each node therefore knows how many
 * values it stands for and how deep it is, and an alias costs all of them: a later walk of the tree is bounded.
 *
 * Two kinds of mistakes: after those of the grammar there is no tree; the others are noted and reading goes on, so that one run
 * shows all of them.
 */
#include <yaml.h>

#include "environment.h"
#include "tree.h"
#include "tree_json.h"

#include "base.h"

#define NAME_SHOWN 60
#define PATH_SIZE 160

struct tree_node {
        struct node node;
        const char *written;  /* scalar: as in the file */
        size_t values, depth; /* what it stands for when all aliases are written out */
};

struct anchor {
        struct anchor *next;
        const char *name;
        struct tree_node *node;
};

struct reader {
        yaml_parser_t yaml;
        const char *text, *file;
        size_t n;
        struct arena *arena;
        struct problems *problems;
        struct anchor *anchors;
        struct environment environment;
        size_t values;
        char path[PATH_SIZE]; /* of the value that is read now, cut if it is long */
};

/* A list in the making; its end moves into the arena. */
struct growing {
        struct node **items;
        size_t n, room;
};

static void growing_free(struct growing *g)
{
        free(g->items);
}

static int growing_add(struct growing *g, struct node *item)
{
        if (g->n == g->room) {
                size_t room = g->room ? 2 * g->room : 16;
                struct node **grown = reallocarray(g->items, room, sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                g->items = grown;
                g->room = room;
        }
        g->items[g->n++] = item;
        return 0;
}

static struct node **growing_keep(const struct growing *g, struct arena *a)
{
        struct node **kept = arena_zalloc(a, (g->n + 1) * sizeof *kept);

        if (kept && g->n)
                memcpy(kept, g->items, g->n * sizeof *kept);
        return kept;
}

/* Zeroed; NULL: no memory. */
static void *keep(struct reader *r, size_t n)
{
        return arena_zalloc(r->arena, n);
}

static struct node place(const struct reader *r, const yaml_mark_t *mark)
{
        return (struct node){ .file = r->file, .line = (int)MIN(mark->line + 1, (size_t)INT_MAX),
                              .column = (int)MIN(mark->column + 1, (size_t)INT_MAX) };
}

/* ---- mistakes of the grammar --------------------------------------------------------------------------------------------- */

static PRINTF(3, 4) int broken(const struct reader *r, const yaml_mark_t *mark, const char *fmt, ...)
{
        struct node at = place(r, mark);
        char text[512];
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        problems_add(r->problems, &at, NULL, "%s", text);
        return -EINVAL;
}

/* libyaml knows only the offset of a byte that it could not read. */
static yaml_mark_t mark_of(const struct reader *r, size_t offset)
{
        yaml_mark_t mark = { 0 };

        for (size_t i = 0; i < MIN(offset, r->n); i++) {
                if (r->text[i] == '\n') {
                        mark.line++;
                        mark.column = 0;
                } else if ((r->text[i] & 0xc0) != 0x80) {
                        mark.column++;
                }
        }
        return mark;
}

/* The other way round; 0: the end. */
static char byte_at(const struct reader *r, const yaml_mark_t *mark)
{
        size_t line = 0, column = 0;

        for (size_t i = 0; i < r->n; i++) {
                if ((r->text[i] & 0xc0) == 0x80)
                        continue;
                if (line == mark->line && column == mark->column)
                        return r->text[i];
                if (r->text[i] == '\n') {
                        line++;
                        column = 0;
                } else {
                        column++;
                }
        }
        return 0;
}

static int grammar(const struct reader *r)
{
        const yaml_parser_t *y = &r->yaml;
        const char *what = y->problem ? y->problem : "cannot be read";
        yaml_mark_t mark;

        if (y->error == YAML_MEMORY_ERROR)
                return broken(r, &y->mark, "out of memory: cannot read the file");
        if (y->error == YAML_READER_ERROR) {
                mark = mark_of(r, y->problem_offset);
                if (y->problem_value >= 0)
                        return broken(r, &mark, "%s (0x%02x)", what, (unsigned)y->problem_value);
                return broken(r, &mark, "%s", what);
        }
        if (strstr(what, "cannot start any token") && byte_at(r, &y->problem_mark) == '\t')
                return broken(r, &y->problem_mark, "found a tab; YAML indents with spaces");
        if (y->context)
                return broken(r, &y->problem_mark, "%s %s in line %zu", what, y->context, y->context_mark.line + 1);
        return broken(r, &y->problem_mark, "%s", what);
}

static int next_event(struct reader *r, yaml_event_t *event)
{
        return yaml_parser_parse(&r->yaml, event) ? 0 : grammar(r);
}

/* ---- scalars ------------------------------------------------------------------------------------------------------------- */

static bool is_null(const char *text)
{
        return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 || strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, struct tree_node *t)
{
        const char *text = (const char *)event->data.scalar.value, *tag = (const char *)event->data.scalar.tag;

        if (strlen(text) != event->data.scalar.length)
                return broken(r, &event->start_mark, "a text holds a NUL byte");
        t->node.quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || (tag && strcmp(tag, YAML_STR_TAG) == 0);
        t->node.kind = !t->node.quoted && is_null(text) ? NODE_NULL : NODE_SCALAR;
        t->written = t->node.text = arena_strndup(r->arena, text, event->data.scalar.length);
        return t->node.text ? 0 : -ENOMEM;
}

/* ---- collections --------------------------------------------------------------------------------------------------------- */

static int read_value(struct reader *r, yaml_event_t *event, size_t depth, struct tree_node **ret);

/* The path goes on with a key, or with an index if key is NULL; the caller cuts it to its old length again. */
static void path_push(struct reader *r, const char *key, size_t i)
{
        size_t n = strlen(r->path);

        if (key)
                (void)snprintf(r->path + n, sizeof r->path - n, "%s%.60s", n ? "." : "", key);
        else
                (void)snprintf(r->path + n, sizeof r->path - n, "[%zu]", i);
}

static struct tree_node *of(struct node *n)
{
        return CONTAINER_OF(n, struct tree_node, node);
}

/* Counts n further values. */
static int count(struct reader *r, const yaml_mark_t *mark, size_t n)
{
        if (n > TREE_VALUES_MAX - r->values)
                return broken(r, mark, "the file has more than %zu values, aliases written out", TREE_VALUES_MAX);
        r->values += n;
        return 0;
}

static void adopt(struct tree_node *parent, const struct tree_node *child)
{
        parent->values += child->values;
        parent->depth = MAX(parent->depth, child->depth + 1);
}

static int read_list(struct reader *r, struct tree_node *t, size_t depth)
{
        CLEANUP(growing_free) struct growing items = { 0 };

        t->node.kind = NODE_LIST;
        for (;;) {
                size_t n = strlen(r->path);
                struct tree_node *item;
                yaml_event_t event;
                int e = next_event(r, &event);

                if (e < 0)
                        return e;
                if (event.type == YAML_SEQUENCE_END_EVENT) {
                        yaml_event_delete(&event);
                        break;
                }
                path_push(r, NULL, items.n);
                e = read_value(r, &event, depth, &item);
                r->path[n] = '\0';
                if (e == 0)
                        e = growing_add(&items, &item->node);
                if (e < 0)
                        return e;
                adopt(t, item);
        }
        t->node.items = growing_keep(&items, r->arena);
        t->node.n = items.n;
        return t->node.items ? 0 : -ENOMEM;
}

static int read_key(struct reader *r, yaml_event_t *event, struct node **ret)
{
        struct tree_node *key = keep(r, sizeof *key);
        int e;

        if (!key) {
                yaml_event_delete(event);
                return -ENOMEM;
        }
        key->node = place(r, &event->start_mark);
        if (event->type != YAML_SCALAR_EVENT)
                e = broken(r, &event->start_mark, "a key must be a text");
        else
                e = read_scalar(r, event, key);
        if (e == 0 && (key->node.kind == NODE_NULL || !*key->node.text))
                e = broken(r, &event->start_mark, "a key is missing before ':'");
        if (e == 0)
                e = count(r, &event->start_mark, 1);
        yaml_event_delete(event);
        *ret = &key->node;
        return e;
}

static bool is_merge(const struct node *key)
{
        return !key->quoted && strcmp(key->text, "<<") == 0;
}

struct pair {
        struct node *key, *value;
        size_t order;
};

static int by_key(const void *a, const void *b)
{
        const struct pair *x = a, *y = b;
        int c = strcmp(x->key->text, y->key->text);

        return c ? c : x->order < y->order ? -1 : 1;
}

static int by_order(const void *a, const void *b)
{
        const struct pair *x = a, *y = b;

        return x->order < y->order ? -1 : x->order > y->order;
}

/* Keys twice: the first of the same rank stays.  Those that the file wrote itself (before `merged`) are mistakes. */
static int drop_doubles(struct reader *r, struct growing *keys, struct growing *items, size_t merged)
{
        CLEANUP(free_p) struct pair *pairs = calloc(keys->n + 1, sizeof *pairs);
        size_t kept = 0;

        if (!pairs)
                return -ENOMEM;
        for (size_t i = 0; i < keys->n; i++)
                pairs[i] = (struct pair){ keys->items[i], items->items[i], i };
        qsort(pairs, keys->n, sizeof *pairs, by_key);
        for (size_t i = 0; i < keys->n; i++) {
                if (kept == 0 || strcmp(pairs[kept - 1].key->text, pairs[i].key->text) != 0)
                        pairs[kept++] = pairs[i];
                else if (pairs[i].order < merged)
                        problems_add(r->problems, pairs[i].key, r->path, "duplicate key '%.*s', first in line %d", NAME_SHOWN,
                                     pairs[i].key->text, pairs[kept - 1].key->line);
        }
        qsort(pairs, kept, sizeof *pairs, by_order);
        for (size_t i = 0; i < kept; i++) {
                keys->items[i] = pairs[i].key;
                items->items[i] = pairs[i].value;
        }
        keys->n = items->n = kept;
        return 0;
}

static int merge_map(struct reader *r, struct tree_node *t, const struct node *from, struct growing *keys,
                     struct growing *items, const yaml_mark_t *mark)
{
        if (from->kind != NODE_MAP)
                return broken(r, mark, "'<<' merges a map or a list of maps, such as *defaults");
        for (size_t i = 0; i < from->n; i++) {
                if (growing_add(keys, from->keys[i]) < 0 || growing_add(items, from->items[i]) < 0)
                        return -ENOMEM;
                adopt(t, of(from->items[i]));
        }
        return 0;
}

static int merge(struct reader *r, struct tree_node *t, const struct node *from, struct growing *keys, struct growing *items)
{
        yaml_mark_t mark = { .line = (size_t)from->line - 1, .column = (size_t)from->column - 1 };
        int e = 0;

        if (from->kind != NODE_LIST)
                return merge_map(r, t, from, keys, items, &mark);
        for (size_t i = 0; i < from->n && e == 0; i++)
                e = merge_map(r, t, from->items[i], keys, items, &mark);
        return e;
}

static int read_map(struct reader *r, struct tree_node *t, size_t depth)
{
        CLEANUP(growing_free) struct growing keys = { 0 }, items = { 0 }, merges = { 0 };
        size_t own;
        int e;

        t->node.kind = NODE_MAP;
        for (;;) {
                struct tree_node *item;
                size_t n = strlen(r->path);
                struct node *key;
                yaml_event_t event;

                e = next_event(r, &event);
                if (e < 0)
                        return e;
                if (event.type == YAML_MAPPING_END_EVENT) {
                        yaml_event_delete(&event);
                        break;
                }
                e = read_key(r, &event, &key);
                if (e == 0)
                        e = next_event(r, &event);
                if (e == 0) {
                        path_push(r, key->text, 0);
                        e = read_value(r, &event, depth, &item);
                        r->path[n] = '\0';
                }
                if (e == 0 && is_merge(key))
                        e = growing_add(&merges, &item->node);
                else if (e == 0 && (growing_add(&keys, key) < 0 || growing_add(&items, &item->node) < 0))
                        e = -ENOMEM;
                if (e == 0 && keys.n > TREE_KEYS_MAX)
                        e = broken(r, &r->yaml.mark, "a map has more than %d keys", TREE_KEYS_MAX);
                if (e < 0)
                        return e;
                adopt(t, item);
        }
        own = keys.n;
        for (size_t i = 0; i < merges.n; i++) {
                e = merge(r, t, merges.items[i], &keys, &items);
                if (e < 0)
                        return e;
        }
        e = drop_doubles(r, &keys, &items, own);
        if (e < 0)
                return e;
        t->node.keys = growing_keep(&keys, r->arena);
        t->node.items = growing_keep(&items, r->arena);
        t->node.n = keys.n;
        return t->node.keys && t->node.items ? 0 : -ENOMEM;
}

/* ---- values -------------------------------------------------------------------------------------------------------------- */

static int anchor_add(struct reader *r, const char *name, struct tree_node *node)
{
        struct anchor *a = keep(r, sizeof *a);

        if (!a)
                return -ENOMEM;
        *a = (struct anchor){ r->anchors, name, node };
        r->anchors = a;
        return 0;
}

static int read_alias(struct reader *r, const yaml_event_t *event, size_t depth, struct tree_node **ret)
{
        const char *name = (const char *)event->data.alias.anchor;

        for (const struct anchor *a = r->anchors; a; a = a->next) {
                if (strcmp(a->name, name) != 0)
                        continue;
                if (depth + a->node->depth > TREE_DEPTH_MAX)
                        return broken(r, &event->start_mark, "the file is nested deeper than %d, aliases written out", TREE_DEPTH_MAX);
                *ret = a->node;
                return count(r, &event->start_mark, a->node->values);
        }
        return broken(r, &event->start_mark, "alias '*%.*s' has no anchor '&%.*s' that ends before it", NAME_SHOWN, name, NAME_SHOWN, name);
}

static int check_tag(const struct reader *r, const yaml_event_t *event, const char *tag)
{
        if (!tag || strncmp(tag, "tag:yaml.org,2002:", 18) == 0)
                return 0;
        return broken(r, &event->start_mark, "unknown tag '%.*s'", NAME_SHOWN, tag);
}

static int read_plain(struct reader *r, yaml_event_t *event, size_t depth, struct tree_node **ret)
{
        struct tree_node *t = keep(r, sizeof *t);
        yaml_char_t *anchor = NULL, *tag = NULL;
        const char *name;
        int e = count(r, &event->start_mark, 1);

        if (!t)
                return -ENOMEM;
        if (event->type == YAML_SCALAR_EVENT) {
                anchor = event->data.scalar.anchor;
                tag = event->data.scalar.tag;
        } else if (event->type == YAML_SEQUENCE_START_EVENT) {
                anchor = event->data.sequence_start.anchor;
                tag = event->data.sequence_start.tag;
        } else if (event->type == YAML_MAPPING_START_EVENT) {
                anchor = event->data.mapping_start.anchor;
                tag = event->data.mapping_start.tag;
        }
        name = anchor ? arena_strndup(r->arena, (const char *)anchor, strlen((const char *)anchor)) : NULL;
        if (anchor && !name)
                return -ENOMEM;
        t->node = place(r, &event->start_mark);
        t->values = 1;
        t->depth = 1;
        if (e == 0)
                e = check_tag(r, event, (const char *)tag);
        if (e == 0 && depth > TREE_DEPTH_MAX)
                e = broken(r, &event->start_mark, "the file is nested deeper than %d", TREE_DEPTH_MAX);
        if (e < 0)
                return e;
        if (event->type == YAML_SCALAR_EVENT) {
                e = read_scalar(r, event, t);
                if (e == 0)
                        e = environment_expand(&r->environment, &t->node, r->path);
        } else if (event->type == YAML_SEQUENCE_START_EVENT) {
                e = read_list(r, t, depth + 1);
        } else {
                e = read_map(r, t, depth + 1);
        }
        if (e == 0 && name)
                e = anchor_add(r, name, t);
        *ret = t;
        return e;
}

/* Consumes the event. */
static int read_value(struct reader *r, yaml_event_t *event, size_t depth, struct tree_node **ret)
{
        int e = event->type == YAML_ALIAS_EVENT ? read_alias(r, event, depth, ret) : read_plain(r, event, depth, ret);

        yaml_event_delete(event);
        return e;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------ */

static int read_document(struct reader *r, struct node **ret)
{
        struct tree_node *root = NULL;
        yaml_event_t event;
        int e;

        for (;;) {
                e = next_event(r, &event);
                if (e < 0)
                        return e;
                if (event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT) {
                        if (event.type == YAML_DOCUMENT_START_EVENT && root)
                                e = broken(r, &event.start_mark, "a second document begins here; a file has one");
                } else if (event.type == YAML_STREAM_END_EVENT) {
                        yaml_event_delete(&event);
                        break;
                } else if (event.type != YAML_DOCUMENT_END_EVENT) {
                        e = read_value(r, &event, 1, &root);
                        if (e < 0)
                                return e;
                        continue;
                }
                yaml_event_delete(&event);
                if (e < 0)
                        return e;
        }
        if (!root) {
                root = keep(r, sizeof *root);
                if (!root)
                        return -ENOMEM;
                root->node = (struct node){ .kind = NODE_NULL, .file = r->file, .line = 1, .column = 1 };
        }
        *ret = &root->node;
        return 0;
}

int tree_parse(const char *text, size_t n, const char *file, struct arena *a, struct problems *p, struct node **ret)
{
        CLEANUP(free_p) char *copy = NULL;
        struct reader r = { .arena = a, .problems = p, .environment = { .arena = a, .problems = p, .left = TREE_EXPANDED_MAX } };
        struct node whole = { .file = file };
        int e;

        if (n > TREE_BYTES_MAX) {
                problems_add(p, &whole, NULL, "the file has more than %zu MiB", TREE_BYTES_MAX >> 20);
                return -EINVAL;
        }
        if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
                text += 3;
                n -= 3;
        }
        errno = 0;
        copy = tree_json(text, n, &n);
        if (!copy && errno == ENOMEM) {
                problems_add(p, &whole, NULL, "out of memory: cannot read the file");
                return -EINVAL;
        }
        r.text = copy ? copy : text;
        r.n = n;
        r.file = arena_strndup(a, file, strlen(file));
        if (!r.file || !yaml_parser_initialize(&r.yaml)) {
                problems_add(p, &whole, NULL, "out of memory: cannot read the file");
                return -EINVAL;
        }
        yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.yaml, (const unsigned char *)r.text, r.n);
        e = read_document(&r, ret);
        yaml_parser_delete(&r.yaml);
        if (e == -ENOMEM)
                problems_add(p, &whole, NULL, "out of memory: cannot read the file");
        return e < 0 ? -EINVAL : 0;
}

const char *tree_written(const struct node *scalar)
{
        const struct tree_node *t = (const void *)scalar; /* node is its first member */

        return t->written;
}

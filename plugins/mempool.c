/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation is a piece of a list that is freed at once.  Slow next to an arena, but each piece has its own red zones under
 * AddressSanitizer, which is what a tool for testing plugins wants.
 */
#include "mempool.h"

#include "base.h"

struct piece {
        struct piece *next;
        max_align_t data[];
};

struct mempool {
        struct piece *pieces;
};

struct mempool *mempool_create(void)
{
        struct mempool *s = calloc(1, sizeof *s);

        assert(s);
        return s;
}

void mempool_destroy(struct mempool *s)
{
        struct piece *next;

        if (!s)
                return;
        for (struct piece *p = s->pieces; p; p = next) {
                next = p->next;
                free(p);
        }
        free(s);
}

void *mempool_alloc(struct mempool *s, size_t n)
{
        struct piece *p;

        assert(n <= SIZE_MAX - sizeof *p);
        p = calloc(1, sizeof *p + n);
        assert(p);
        p->next = s->pieces;
        s->pieces = p;
        return p->data;
}

void *mempool_alloc_v(void *s, size_t n)
{
        return mempool_alloc(s, n);
}

char *mempool_text(struct mempool *s, const char *text, size_t n)
{
        char *copy = mempool_alloc(s, n + 1);

        if (n)
                memcpy(copy, text, n);
        return copy;
}

struct node *mempool_map(struct mempool *s, const char *file)
{
        struct node *map = mempool_alloc(s, sizeof *map);

        *map = (struct node){ .kind = NODE_MAP, .file = file };
        return map;
}

static struct node *scalar(struct mempool *s, const char *file, const char *text, size_t n, bool quoted)
{
        struct node *v = mempool_alloc(s, sizeof *v);

        *v = (struct node){ .kind = NODE_SCALAR, .file = file, .text = mempool_text(s, text, n), .quoted = quoted };
        return v;
}

static void append(struct mempool *s, struct node *into, struct node *key, struct node *item)
{
        size_t n = into->n + 1;
        struct node **items = mempool_alloc(s, n * sizeof *items), **keys = mempool_alloc(s, n * sizeof *keys);

        if (into->n) {
                memcpy(items, into->items, into->n * sizeof *items);
                memcpy(keys, into->keys, into->n * sizeof *keys);
        }
        items[into->n] = item;
        keys[into->n] = key;
        into->items = items;
        into->keys = keys;
        into->n = n;
}

struct node *mempool_node(struct mempool *s, const json_t *value, const char *file)
{
        struct node *v;
        char number[64];

        if (json_is_string(value))
                return scalar(s, file, json_string_value(value), strlen(json_string_value(value)), true);
        if (json_is_boolean(value))
                return scalar(s, file, json_is_true(value) ? "true" : "false", json_is_true(value) ? 4 : 5, false);
        if (json_is_integer(value)) {
                (void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
                return scalar(s, file, number, strlen(number), false);
        }
        if (json_is_real(value)) {
                (void)snprintf(number, sizeof number, "%.17g", json_real_value(value));
                return scalar(s, file, number, strlen(number), false);
        }
        v = mempool_map(s, file);
        v->kind = json_is_object(value) ? NODE_MAP : json_is_array(value) ? NODE_LIST : NODE_NULL;
        v->n = json_is_object(value) ? json_object_size(value) : json_array_size(value);
        v->items = mempool_alloc(s, v->n * sizeof *v->items);
        v->keys = mempool_alloc(s, v->n * sizeof *v->keys);
        if (json_is_array(value)) {
                for (size_t i = 0; i < v->n; i++)
                        v->items[i] = mempool_node(s, json_array_get(value, i), file);
        } else if (json_is_object(value)) {
                json_t *object, *item;
                const char *key;
                size_t i = 0;

                memcpy(&object, &value, sizeof object); /* the iterator wants it without const, and changes nothing */
                json_object_foreach(object, key, item) {
                        v->keys[i] = scalar(s, file, key, strlen(key), true);
                        v->items[i++] = mempool_node(s, item, file);
                }
        }
        return v;
}

/* Puts a value under one key, in the place of an earlier one. */
static void put(struct mempool *s, struct node *map, const char *key, size_t n, struct node *item)
{
        for (size_t i = 0; i < map->n; i++)
                if (strlen(map->keys[i]->text) == n && memcmp(map->keys[i]->text, key, n) == 0) {
                        map->items[i] = item;
                        return;
                }
        append(s, map, scalar(s, map->file, key, n, false), item);
}

int mempool_set(struct mempool *s, struct node *map, const char *assignment)
{
        const char *equals = strchr(assignment, '='), *key = assignment, *dot;
        struct node *value;
        json_t *json;

        if (!equals || equals == assignment)
                return -EINVAL;
        while ((dot = memchr(key, '.', (size_t)(equals - key)))) {
                char *name = mempool_text(s, key, (size_t)(dot - key));
                struct node *below = node_get(map, name);

                if (!below) {
                        below = mempool_map(s, map->file);
                        put(s, map, name, strlen(name), below);
                }
                if (below->kind != NODE_MAP)
                        return -EINVAL;
                map = below;
                key = dot + 1;
        }
        if (key == equals)
                return -EINVAL;
        if (equals[1] && strchr("[{\"", equals[1])) {
                json = json_loads(equals + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
                if (!json)
                        return -EINVAL;
                value = mempool_node(s, json, map->file);
                json_decref(json);
        } else {
                value = scalar(s, map->file, equals + 1, strlen(equals + 1), false);
        }
        put(s, map, key, (size_t)(equals - key), value);
        return 0;
}

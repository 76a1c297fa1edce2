/* SPDX-License-Identifier: Apache-2.0 */
/* How long a prompt is at least: text counts, pictures and escapes do not, and who has room is never said to have none. */
#include <criterion/criterion.h>

#include "query.h"

#include "base.h"

static struct arena arena;

static struct query parse(enum expert_api api, const char *body)
{
        static const struct query_limits limits = { .depth = 16, .messages = 64 };
        struct query_error why;
        struct query q;

        cr_assert_eq(query_parse((struct pm_str){ body, strlen(body) }, api, &limits, &arena, &q, &why), 0, "%s", why.message);
        return q;
}

static int64_t least_of(enum expert_api api, const char *body)
{
        struct query q = parse(api, body);
        int64_t least = -1;

        (void)query_fits(&q, 1, &least);
        return least;
}

/* n times what, as a string with quotes */
static const char *many(const char *what, size_t n)
{
        size_t m = strlen(what);
        char *out = arena_alloc(&arena, n * m + 3);

        out[0] = '"';
        for (size_t i = 0; i < n; i++)
                memcpy(out + 1 + i * m, what, m);
        memcpy(out + 1 + n * m, "\"", 2);
        return out;
}

Test(query_size, tokens_at_least)
{
        arena_init(&arena, NULL, 64 << 20);
        cr_assert_eq(least_of(EXPERT_CHAT, arena_printf(&arena, "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":%s},{\"role\":\"user\",\"content\":%s}]}",
                                                        many("word ", 100), many("word ", 50))), 150);
        cr_assert_eq(least_of(EXPERT_CHAT, arena_printf(&arena, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":%s}]}", many("\\n\\\"\\\\ab", 100))), 100,
                     "escapes are what they stand for");
        cr_assert_eq(least_of(EXPERT_CHAT, arena_printf(&arena, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":%s}]}", many("\\u4e2d", 100))), 60);
        cr_assert_eq(least_of(EXPERT_CHAT, arena_printf(&arena, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"},"
                                                                "{\"type\":\"image_url\",\"image_url\":{\"url\":%s}}]}]}", many("AAAA", 10000))), 1,
                     "a picture is no text");
        cr_assert_eq(least_of(EXPERT_COMPLETIONS, arena_printf(&arena, "{\"model\":\"m\",\"prompt\":%s}", many("word ", 100))), 100);
        cr_assert_eq(least_of(EXPERT_RESPONSES, arena_printf(&arena, "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":%s}]}]}",
                                                             many("word ", 100))), 100);
        arena_finish(&arena);
}

Test(query_size, fits)
{
        struct query q;
        int64_t least = -1;

        arena_init(&arena, NULL, 64 << 20);
        q = parse(EXPERT_CHAT, arena_printf(&arena, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":%s}]}", many("word ", 20480)));
        cr_assert(query_fits(&q, 0, &least) && query_fits(&q, 1000000, &least));
        cr_assert_eq(least, -1, "not even counted");
        cr_assert(!query_fits(&q, 4096, &least), "100 KiB are no 4,096 tokens");
        cr_assert_eq(least, 20480);
        cr_assert(query_fits(&q, 20480, &least) && !query_fits(&q, 20479, &least));
        arena_finish(&arena);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Equal options, files and experts have one fingerprint; whatever differs has another. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "config.h"
#include "expert.h"
#include "fingerprint.h"
#include "folder.h"
#include "tenant.h"

#include "base.h"

#define SIZE FINGERPRINT_SIZE

TestSuite(fingerprint, .init = folder_begin, .fini = folder_end);

static bool same_files(const char *a, const char *b)
{
        unsigned char x[SIZE], y[SIZE];

        fingerprint_file(in_folder(a), x);
        fingerprint_file(in_folder(b), y);
        return memcmp(x, y, SIZE) == 0;
}

Test(fingerprint, of_files_is_of_their_contents)
{
        struct timespec times[2];
        struct stat st;

        put("a", "text");
        put("b", "text");
        put("c", "texT");
        cr_expect(same_files("a", "b"), "the name does not count");
        cr_expect_not(same_files("a", "c"));
        cr_assert_eq(stat(in_folder("b"), &st), 0);
        put("b", "tExt"); /* of the same length, with the same times as far as anybody can set them */
        times[0] = st.st_atim;
        times[1] = st.st_mtim;
        cr_assert_eq(utimensat(AT_FDCWD, in_folder("b"), times, 0), 0);
        cr_expect_not(same_files("a", "b"), "what is remembered goes by more than length and time");
        cr_expect_not(same_files("a", "absent"));
        cr_expect(same_files("absent", "absent too"));
}

Test(fingerprint, of_folders_is_of_all_files_in_them)
{
        cr_assert_eq(mkdir(in_folder("x"), 0700), 0);
        cr_assert_eq(mkdir(in_folder("y"), 0700), 0);
        cr_assert_eq(mkdir(in_folder("x/sub"), 0700), 0);
        cr_assert_eq(mkdir(in_folder("y/sub"), 0700), 0);
        put("x/1", "one");
        put("x/sub/2", "two");
        put("y/1", "one");
        put("y/sub/2", "two");
        cr_expect(same_files("x", "y"));
        put("y/sub/2", "twO");
        cr_expect_not(same_files("x", "y"));
        put("y/sub/2", "two");
        cr_expect(same_files("x", "y"));
        cr_assert_eq(rename(in_folder("y/1"), in_folder("y/one")), 0);
        cr_expect_not(same_files("x", "y"), "inside a folder the name counts");
}

/* ---- routers ------------------------------------------------------------------------------------------------------------- */

struct part {
        const char *name;
        int64_t weight;
};

struct self {
        int64_t k;
        double share;
        int on;
        const char *text, *model, *secret;
        struct pm_strs words;
        struct part part;
        struct pm_tables parts;
};

static const struct pm_option part_options[] = {
        PM_STR_OPTION(struct part, name, "name", 0, NULL, "a name"),
        PM_INT_OPTION(struct part, weight, "weight", "1", 0, 9, "a weight"),
        PM_END_OPTION
};

static const struct pm_option options[] = {
        PM_INT_OPTION(struct self, k, "k", "3", 1, 9, "k"),
        PM_REAL_OPTION(struct self, share, "share", NULL, 0, 1, "share"),
        PM_BOOL_OPTION(struct self, on, "on", "true", "on"),
        PM_STR_OPTION(struct self, text, "text", 0, NULL, "text"),
        PM_PATH_OPTION(struct self, model, "model", 0, NULL, "model"),
        PM_STR_OPTION(struct self, secret, "secret", PM_SECRET, NULL, "secret"),
        PM_STRS_OPTION(struct self, words, "words", 0, 0, 9, "words"),
        PM_TABLE_OPTION(struct self, part, struct part, "part", part_options, "a part"),
        PM_TABLES_OPTION(struct self, parts, struct part, "parts", 0, 0, 9, part_options, "parts"),
        PM_END_OPTION
};

static const struct pm_router table = { .name = "mine", .version = "1", .self_size = sizeof(struct self), .options = options };

struct print {
        unsigned char of[SIZE];
};

static struct print print_of(const struct pm_router *t, const struct self *s)
{
        struct fingerprint_files files;
        struct print p;
        struct arena a;

        arena_init(&a, NULL, 1 << 20);
        cr_assert_eq(fingerprint_router(in_folder("plugin.so"), t, s, &a, p.of, &files), 0);
        arena_finish(&a);
        return p;
}

#define EXPECT_OTHER(change, what)                                                              \
        do {                                                                                    \
                struct self s_ = base;                                                          \
                struct print p_;                                                                \
                                                                                                \
                change;                                                                         \
                p_ = print_of(&table, &s_);                                                     \
                cr_expect_neq(memcmp(p_.of, first.of, SIZE), 0, what);                          \
        } while (0)

Test(fingerprint, of_a_router_is_of_all_that_it_is_made_of)
{
        static const char *const words[] = { "a", "bc" }, *const other_words[] = { "ab", "c" };
        static struct part parts[] = { { "x", 1 }, { "y", 2 } };
        struct pm_router newer = table;
        struct self base, again;
        struct print first, p;

        put("plugin.so", "code");
        put("model", "weights");
        put("copy", "weights");
        base = (struct self){ .k = 3, .share = .5, .on = 1, .text = "t", .model = in_folder("model"), .words = { words, 2 },
                              .part = { "p", 1 }, .parts = { parts, 2 } };
        first = print_of(&table, &base);
        again = base;
        again.model = in_folder("copy");
        p = print_of(&table, &again);
        cr_expect_eq(memcmp(p.of, first.of, SIZE), 0, "another file with the same contents");
        EXPECT_OTHER(s_.k = 4, "a number");
        EXPECT_OTHER(s_.share = .5000001, "a real number");
        EXPECT_OTHER(s_.on = 0, "a switch");
        EXPECT_OTHER(s_.text = NULL, "a text that is not there");
        EXPECT_OTHER(s_.text = "", "an empty text");
        EXPECT_OTHER(s_.secret = "s", "a secret");
        EXPECT_OTHER(s_.words.items = other_words, "the same letters in other words");
        EXPECT_OTHER(s_.words.n = 1, "a shorter list");
        EXPECT_OTHER(s_.part.weight = 2, "a part");
        EXPECT_OTHER(s_.parts.n = 1, "fewer parts");
        newer.version = "2";
        p = print_of(&newer, &base);
        cr_expect_neq(memcmp(p.of, first.of, SIZE), 0, "another version");
        put("model", "Weights");
        EXPECT_OTHER((void)s_, "another model");
        put("model", "weights");
        p = print_of(&table, &base);
        cr_expect_eq(memcmp(p.of, first.of, SIZE), 0, "the model as it was");
        put("plugin.so", "other code");
        EXPECT_OTHER((void)s_, "other code");
}

Test(fingerprint, a_file_that_changes_while_it_is_opened_is_nobodys)
{
        struct fingerprint_files files;
        unsigned char one[SIZE], two[SIZE];
        struct self base;
        struct arena a;

        arena_init(&a, NULL, 1 << 20);
        put("plugin.so", "code");
        put("model", "weights");
        base = (struct self){ .model = in_folder("model") };
        cr_assert_eq(fingerprint_router(in_folder("plugin.so"), &table, &base, &a, one, &files), 0);
        memcpy(two, one, SIZE);
        fingerprint_settle(&files, two);
        cr_expect_eq(memcmp(one, two, SIZE), 0, "nothing has changed");
        put("model", "others");
        fingerprint_settle(&files, two);
        cr_expect_neq(memcmp(one, two, SIZE), 0);
        fingerprint_settle(&files, one);
        cr_expect_neq(memcmp(one, two, SIZE), 0, "nor that of another time");
        arena_finish(&a);
}

/* ---- routes -------------------------------------------------------------------------------------------------------------- */

Test(fingerprint, of_a_route_is_of_its_experts)
{
        struct router router = { .name = "r" }, *routers[] = { &router };
        struct endpoint endpoint = { .url = "http://a/v1" }, *endpoints[] = { &endpoint };
        struct expert one = { .name = "one", .model = "m1", .endpoints = endpoints, .n_endpoints = 1 }, two = { .name = "two", .model = "m2" };
        struct expert *experts[] = { &one, &two };
        struct generation g = { .experts = experts, .n_experts = 2 };
        struct route r = { .name = "auto", .routers = routers, .n_routers = 1, .experts = experts, .n_experts = 2, .preset = &one, .fallbacks = 2 };
        struct tenant t = { .experts = experts, .n_experts = 2 };
        unsigned char first[SIZE], now[SIZE];

#define DIFFERS(change, back, what)                                        \
        do {                                                               \
                change;                                                    \
                cr_assert_eq(fingerprint_route(&g, &r, 1, now), 0);        \
                cr_expect_neq(memcmp(first, now, SIZE), 0, what);          \
                back;                                                      \
                cr_assert_eq(fingerprint_route(&g, &r, 1, now), 0);        \
                cr_expect_eq(memcmp(first, now, SIZE), 0);                 \
        } while (0)

        cr_assert_eq(fingerprint_route(&g, &r, 1, first), 0);
        DIFFERS(one.price_in = 1, one.price_in = 0, "a price");
        DIFFERS(one.context = 1, one.context = 0, "a context");
        DIFFERS(one.name = "eins", one.name = "one", "a name");
        DIFFERS(r.n_experts = 1, r.n_experts = 2, "fewer candidates");
        DIFFERS(r.preset = &two, r.preset = &one, "another default");
        DIFFERS(r.fallbacks = 1, r.fallbacks = 2, "fewer fallbacks");
        DIFFERS(router.fingerprint[5] = 1, router.fingerprint[5] = 0, "another router");
        DIFFERS(two.model = "m3", two.model = "m2", "a model that a router may ask");
        cr_assert_eq(fingerprint_answers(&r, first), 0);
        endpoint.url = "http://b/v1";
        cr_assert_eq(fingerprint_answers(&r, now), 0);
        cr_expect_neq(memcmp(first, now, SIZE), 0, "answers are of a server");
        cr_assert_eq(fingerprint_tenant(&t, first), 0);
        t.n_experts = 1;
        cr_assert_eq(fingerprint_tenant(&t, now), 0);
        cr_expect_neq(memcmp(first, now, SIZE), 0);
}

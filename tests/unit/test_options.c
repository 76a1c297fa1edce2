/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables: what they fill, and that every mistake of a file is found in one run and said in full. */
#include <criterion/criterion.h>

#include "mempool.h"
#include "options.h"

#include "base.h"

struct place {
        const char *name;
        int64_t rank;
        const char *note;
};

struct inner {
        int64_t depth;
        const char *need;
};

struct all {
        int on;
        int64_t k;
        double share;
        const char *name, *key, *file;
        int64_t bytes, wait, mode;
        struct pm_strs words;
        struct inner inner;
        struct pm_tables list, map;
};

static const struct pm_option inner_options[] = {
        PM_INT_OPTION(struct inner, depth, "depth", "3", 1, 9, "how deep"),
        PM_STR_OPTION(struct inner, need, "need", PM_REQUIRED, NULL, "what it needs"),
        PM_END_OPTION
};
static const struct pm_option list_options[] = {
        PM_STR_OPTION(struct place, note, "note", PM_REQUIRED, NULL, "a note"),
        PM_INT_OPTION(struct place, rank, "rank", "1", 0, 0, "a rank"),
        PM_END_OPTION
};
static const struct pm_option map_options[] = {
        PM_KEY_OPTION(struct place, name),
        PM_INT_OPTION(struct place, rank, "rank", "7", 0, 10, "a rank"),
        PM_END_OPTION
};
static const struct pm_option all_options[] = {
        PM_BOOL_OPTION(struct all, on, "on", "true", "is it on"),
        PM_INT_OPTION(struct all, k, "k", "10", 1, 1024, "neighbours that vote"),
        PM_REAL_OPTION(struct all, share, "share", "0.25", 0, 1, "a share"),
        PM_STR_OPTION(struct all, name, "name", 0, "none", "a name"),
        PM_STR_OPTION(struct all, key, "key", PM_SECRET, NULL, "a key"),
        PM_PATH_OPTION(struct all, file, "index", 0, "x/y.bin", "labelled prompts, a FAISS index"),
        PM_SIZE_OPTION(struct all, bytes, "bytes", "64KiB", 1024, 1073741824, "room"),
        PM_TIME_OPTION(struct all, wait, "wait", "1s", 0, 3600000, "patience"),
        PM_CHOICE_OPTION(struct all, mode, "mode", "fast", "slow|fast|exact", "how"),
        PM_STRS_OPTION(struct all, words, "words", 0, 0, 3, "some words"),
        PM_TABLE_OPTION(struct all, inner, struct inner, "inner", inner_options, "inside"),
        PM_TABLES_OPTION(struct all, list, struct place, "list", 0, 0, 2, list_options, "places in order"),
        PM_TABLES_OPTION(struct all, map, struct place, "map", 0, 0, 0, map_options, "places by name"),
        PM_END_OPTION
};

static struct mempool *memory;
static struct problems *problems;
static struct all all;

static void begin(void)
{
        memory = mempool_create();
        problems = problems_create(50);
        cr_assert(problems);
}

static void end(void)
{
        problems_destroy(problems);
        mempool_destroy(memory);
}

TestSuite(options, .init = begin, .fini = end);

/* Fills `all` from JSON and returns what was wrong with it. */
static const char *fill(const char *json)
{
        struct options_memory m = { mempool_alloc_v, memory };
        json_error_t error;
        json_t *value = json ? json_loads(json, 0, &error) : NULL;
        size_t before = problems_count(problems), n;

        cr_assert(!json || value, "%s: %s", json, error.text);
        memset(&all, 0, sizeof all);
        n = options_fill(all_options, &all, value ? mempool_node(memory, value, "t.yaml") : NULL, "routers.x", "/etc/pm",
                         NULL, &m, problems);
        json_decref(value);
        cr_assert_eq(n, problems_count(problems) - before);
        return problems_text(problems);
}

static void wrong(const char *json, const char *text)
{
        const char *got = fill(json);

        cr_assert_str_eq(got, text, "%s gave:\n%s", json, got);
}

static void right(const char *json)
{
        wrong(json, "");
}

Test(options, presets_apply_to_what_is_absent)
{
        right(NULL);
        cr_assert_eq(all.on, 1);
        cr_assert_eq(all.k, 10);
        cr_assert_eq(all.share, 0.25);
        cr_assert_str_eq(all.name, "none");
        cr_assert_null(all.key);
        cr_assert_str_eq(all.file, "/etc/pm/x/y.bin");
        cr_assert_eq(all.bytes, 65536);
        cr_assert_eq(all.wait, 1000);
        cr_assert_eq(all.mode, 1);
        cr_assert_eq(all.words.n, 0);
        cr_assert_eq(all.inner.depth, 3);
        cr_assert_null(all.inner.need, "a map that is not there demands nothing");
        cr_assert_eq(all.list.n + all.map.n, 0);
}

Test(options, values_of_every_type)
{
        const struct place *p;

        right("{\"on\": false, \"k\": 1024, \"share\": 1, \"name\": \"n\", \"key\": \"s\", \"index\": \"/abs\", \"bytes\": \"1.5MiB\","
              " \"wait\": \"0.25s\", \"mode\": \"exact\", \"words\": [\"a\", 2], \"inner\": {\"need\": \"x\", \"depth\": 9},"
              " \"list\": [{\"note\": \"one\"}, {\"note\": \"two\", \"rank\": -5}], \"map\": {\"b\": {\"rank\": 1}, \"a\": null}}");
        cr_assert_eq(all.on, 0);
        cr_assert_eq(all.k, 1024);
        cr_assert_eq(all.share, 1);
        cr_assert_str_eq(all.key, "s");
        cr_assert_str_eq(all.file, "/abs");
        cr_assert_eq(all.bytes, 3 << 19);
        cr_assert_eq(all.wait, 250);
        cr_assert_eq(all.mode, 2);
        cr_assert_eq(all.words.n, 2);
        cr_assert_str_eq(all.words.items[1], "2");
        cr_assert_eq(all.inner.depth, 9);
        cr_assert_eq(all.list.n, 2);
        p = all.list.items;
        cr_assert_str_eq(p[1].note, "two");
        cr_assert_eq(p[1].rank, -5);
        cr_assert_eq(p[0].rank, 1);
        cr_assert_eq(all.map.n, 2);
        p = all.map.items;
        cr_assert_str_eq(p[0].name, "b");
        cr_assert_eq(p[1].rank, 7);
}

Test(options, one_text_is_a_list_of_one)
{
        right("{\"words\": \"only\"}");
        cr_assert_eq(all.words.n, 1);
        cr_assert_str_eq(all.words.items[0], "only");
}

Test(options, every_mistake_in_one_run)
{
        wrong("{\"indx\": \"a\", \"k\": 4096, \"share\": \"much\", \"bytes\": \"7\", \"wait\": 5, \"mode\": \"fats\", \"on\": \"true\","
              " \"zebra\": 1, \"inner\": {}, \"list\": {}, \"map\": [], \"words\": [[]], \"index\": \"\"}",
              "t.yaml: routers.x: unknown key 'indx' - did you mean 'index'?\n"
              "t.yaml: routers.x: unknown key 'zebra' - known here: on, k, share, name, key, index, bytes, wait, mode, words, inner, "
              "list, map\n"
              "t.yaml: routers.x.on: found 'true' where true or false, without quotes, would be right (is it on)\n"
              "t.yaml: routers.x.k: 4096 is not in 1..1024 (neighbours that vote)\n"
              "t.yaml: routers.x.share: found 'much' where a number in 0..1, without quotes, would be right (a share)\n"
              "t.yaml: routers.x.index: is empty (labelled prompts, a FAISS index)\n"
              "t.yaml: routers.x.bytes: 7 is not in 1KiB..1GiB (room)\n"
              "t.yaml: routers.x.wait: found '5' where a time such as 250ms, 2s, 5m or 1h in 0..1h would be right (patience)\n"
              "t.yaml: routers.x.mode: 'fats' is not one of slow, fast, exact - did you mean 'fast'? (how)\n"
              "t.yaml: routers.x.words[0]: found an empty list where a text would be right (some words)\n"
              "t.yaml: routers.x.inner: key 'need' is required (what it needs)\n"
              "t.yaml: routers.x.list: found an empty map where a list of maps would be right (places in order)\n"
              "t.yaml: routers.x.map: found an empty list where a map of maps would be right (places by name)\n");
}

Test(options, wrong_kinds_and_numbers_of_entries)
{
        wrong("{\"k\": [1], \"name\": {\"a\": 1}, \"inner\": 3, \"words\": [1, 2, 3, 4], \"list\": [1, {\"note\": \"a\"}],"
              " \"map\": {\"a\": \"b\"}, \"share\": null}",
              "t.yaml: routers.x.k: found a list where a whole number in 1..1024 would be right (neighbours that vote)\n"
              "t.yaml: routers.x.name: found a map where a text would be right (a name)\n"
              "t.yaml: routers.x.words: has 4 entries, which is not in 0..3 (some words)\n"
              "t.yaml: routers.x.inner: found '3' where a map would be right (inside)\n"
              "t.yaml: routers.x.list[0]: found '1' where a map would be right (places in order)\n"
              "t.yaml: routers.x.map.a: found 'b' where a map would be right (places by name)\n");
}

/* A tree as a reader of YAML builds it: with places, and with what JSON cannot say. */
Test(options, places_doubled_keys_and_values_from_the_environment)
{
        struct node k1 = { .kind = NODE_SCALAR, .file = "pm.yaml", .line = 3, .column = 5, .text = "k" };
        struct node k2 = { .kind = NODE_SCALAR, .file = "pm.yaml", .line = 9, .column = 5, .text = "k" };
        struct node none = { .kind = NODE_NULL, .file = "pm.yaml", .line = 4, .column = 5 };
        struct node odd = { .kind = NODE_LIST, .file = "pm.yaml", .line = 4, .column = 1 };
        struct node on = { .kind = NODE_SCALAR, .text = "on" }, wait = { .kind = NODE_SCALAR, .text = "wait" };
        struct node v = { .kind = NODE_SCALAR, .file = "pm.yaml", .line = 3, .column = 8, .text = "hidden", .secret = true };
        struct node yes = { .kind = NODE_SCALAR, .text = "yes", .quoted = true, .secret = true };
        struct node *keys[] = { &k1, &k2, &odd, &on, &wait }, *items[] = { &v, &v, &v, &yes, &none };
        struct node map = { .kind = NODE_MAP, .file = "pm.yaml", .line = 3, .column = 5, .n = 5, .items = items, .keys = keys };
        struct options_memory m = { mempool_alloc_v, memory };

        memset(&all, 0, sizeof all);
        cr_assert_eq(options_fill(all_options, &all, &map, "p", NULL, NULL, &m, problems), 3);
        cr_assert_str_eq(problems_text(problems),
                         "pm.yaml:9:5: p: duplicate key 'k', first in line 3\n"
                         "pm.yaml:4:1: p: a key must be a text\n"
                         "pm.yaml:3:8: p.k: found a value from the environment where a whole number in 1..1024 would be right "
                         "(neighbours that vote)\n");
        cr_assert_eq(all.on, 1, "quotes around a variable do not make a text of its value");
        cr_assert_eq(all.wait, 1000);
        cr_assert_str_eq(all.file, "x/y.bin", "without a folder a path stays as it is");
}

Test(options, skipped_keys_and_a_list_in_place_of_a_map)
{
        static const char *const skip[] = { "plugin", NULL };
        struct options_memory m = { mempool_alloc_v, memory };
        json_t *value = json_pack("{s:s, s:i}", "plugin", "knn", "plugni", 1);

        cr_assert_eq(options_fill(inner_options, &all.inner, mempool_node(memory, value, NULL), "r", NULL, skip, &m, problems), 2);
        cr_assert_str_eq(problems_text(problems),
                         "r: unknown key 'plugni' - did you mean 'plugin'?\nr: key 'need' is required (what it needs)\n");
        json_decref(value);
        value = json_array();
        cr_assert_eq(options_fill(inner_options, &all.inner, mempool_node(memory, value, NULL), "r", NULL, NULL, &m, problems), 1);
        cr_assert(strstr(problems_text(problems), "r: found an empty list where a map would be right\n"));
        json_decref(value);
}

Test(options, numbers_are_read_strictly)
{
        static const char *const bad[] = {
                "{\"k\": \"\"}", "{\"k\": 1.5}", "{\"k\": 0}", "{\"share\": -0.1}", "{\"share\": 1.01}", "{\"bytes\": \"64kb\"}",
                "{\"bytes\": \"0.3KiB\"}", "{\"bytes\": \"-5KiB\"}", "{\"bytes\": \"99999999999999999999GiB\"}", "{\"wait\": \"2 hours\"}",
                "{\"wait\": \"1.\"}", "{\"wait\": \"s\"}", "{\"wait\": \"61m\"}", "{\"mode\": \"\"}", "{\"mode\": \"slow|fast\"}",
                "{\"k\": 99999999999999}",
        };

        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                (void)fill(bad[i]);
                cr_assert_eq(problems_count(problems), i + 1, "%s was accepted", bad[i]);
        }
        problems_destroy(problems);
        problems = problems_create(5);
        right("{\"wait\": \"0\", \"bytes\": \"1024\", \"mode\": \"slow\", \"k\": 1, \"share\": 1e-3}");
        cr_assert_eq(all.wait, 0);
}

Test(options, only_the_first_mistakes_are_kept)
{
        problems_destroy(problems);
        problems = problems_create(2);
        for (int i = 0; i < 5; i++)
                problems_add(problems, NULL, "a", "mistake %d\nof two lines", i);
        cr_assert_eq(problems_count(problems), 5);
        cr_assert_str_eq(problems_text(problems), "a: mistake 0?of two lines\na: mistake 1?of two lines\n... and 3 more\n");
        cr_assert_str_eq(problems_text(problems), "a: mistake 0?of two lines\na: mistake 1?of two lines\n... and 3 more\n");
}

Test(options, nearest_key)
{
        static const char *const keys[] = { "index", "listen", "timeout_ms", "k" };

        cr_assert_str_eq(options_nearest("indx", keys, 4), "index");
        cr_assert_str_eq(options_nearest("idnex", keys, 4), "index");
        cr_assert_str_eq(options_nearest("Listen", keys, 4), "listen");
        cr_assert_str_eq(options_nearest("timeout-ms", keys, 4), "timeout_ms");
        cr_assert_null(options_nearest("colour", keys, 4));
        cr_assert_null(options_nearest("q", keys, 4));
        cr_assert_null(options_nearest("", keys, 4));
}

Test(options, json_hides_secrets_and_keeps_units)
{
        char *text;

        right("{\"key\": \"very secret\", \"map\": {\"m\": {}}, \"words\": [\"a\"]}");
        text = options_to_json(all_options, &all);
        cr_assert_str_eq(text, "{\"on\":true,\"k\":10,\"share\":0.25,\"name\":\"none\",\"key\":\"***\",\"index\":\"/etc/pm/x/y.bin\","
                               "\"bytes\":\"64KiB\",\"wait\":\"1s\",\"mode\":\"fast\",\"words\":[\"a\"],\"list\":[],"
                               "\"map\":{\"m\":{\"rank\":7}}}");
        free(text);
}

Test(options, json_leaves_out_what_is_absent_and_no_list_is_not_an_empty_one)
{
        char *text;

        right("{\"words\": [], \"inner\": {\"need\": \"n\"}}");
        text = options_to_json(all_options, &all);
        cr_expect_not_null(strstr(text, "\"words\":[],\"inner\":{\"depth\":3,\"need\":\"n\"}"), "%s", text);
        free(text);
        right("{}");
        text = options_to_json(all_options, &all);
        cr_expect_null(strstr(text, "words"), "%s", text);
        cr_expect_null(strstr(text, "inner"), "its map would be refused without 'need': %s", text);
        cr_expect_null(strstr(text, "null"), "%s", text);
        right(text);
        free(text);
}

Test(options, the_reference_names_every_key_and_sub_table)
{
        char *text = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&text, &n);

        options_describe(out, all_options, "routers.x");
        (void)fclose(out);
        cr_assert(strstr(text, "| `k` | whole number, 1..1024 | `10` | neighbours that vote |\n"), "%s", text);
        cr_assert(strstr(text, "| `mode` | slow\\|fast\\|exact | `fast` | how |\n"));
        cr_assert(strstr(text, "| `key` | text |  | a key (secret) |\n"));
        cr_assert(strstr(text, "| `words` | list of texts, 0..3 entries |"));
        cr_assert(strstr(text, "### routers.x.inner\n") && strstr(text, "### routers.x.list[]\n") &&
                  strstr(text, "### routers.x.map.NAME\n"));
        cr_assert(strstr(text, "| `need` | text | *required* | what it needs |\n"));
        free(text);
}

#define ONE(...) ((const struct pm_option[]){ { __VA_ARGS__ }, PM_END_OPTION })

Test(options, broken_tables_are_refused)
{
        static struct pm_option forever[300];
        const struct { const struct pm_option *table; const char *says; } cases[] = {
                { ONE("a b", PM_INT, 0, 0, NULL, 0, 0, NULL, NULL, 0, "h"), "no name for a key" },
                { ONE("a", (enum pm_type)99, 0, 0, NULL, 0, 0, NULL, NULL, 0, "h"), "has type 99" },
                { ONE("a", PM_INT, 0, 60, NULL, 0, 0, NULL, NULL, 0, "h"), "of a struct of 64 bytes" },
                { ONE("a", PM_INT, 0, SIZE_MAX, NULL, 0, 0, NULL, NULL, 0, "h"), "of a struct of 64 bytes" },
                { ONE("a", PM_INT, 0, 4, NULL, 0, 0, NULL, NULL, 0, "h"), "no place for its type" },
                { ONE("a", PM_INT, 0, 0, "x", 0, 0, NULL, NULL, 0, "h"), "which is not a whole number" },
                { ONE("a", PM_INT, 0, 0, "9", 1, 8, NULL, NULL, 0, "h"), "which is not a whole number" },
                { ONE("a", PM_INT, 0, 0, NULL, 8, 1, NULL, NULL, 0, "h"), "has the range 8..1" },
                { ONE("a", PM_CHOICE, 0, 0, NULL, 0, 0, NULL, NULL, 0, "h"), "has no choices" },
                { ONE("a", PM_CHOICE, 0, 0, NULL, 0, 0, "x||y", NULL, 0, "h"), "an empty choice" },
                { ONE("a", PM_INT, PM_REQUIRED, 0, "1", 0, 0, NULL, NULL, 0, "h"), "required, but has the preset" },
                { ONE("a", PM_TABLE, 0, 0, NULL, 0, 0, NULL, NULL, 8, "h"), "without sub-table" },
                { ONE("a", PM_INT, 0, 0, NULL, 0, 0, NULL, NULL, 0, NULL), "no help text" },
                { ONE("", PM_KEY, 0, 0, NULL, 0, 0, NULL, NULL, 0, ""), "outside of the sub-table" },
                { (const struct pm_option[]){ { "a", PM_INT, 0, 0, NULL, 0, 0, NULL, NULL, 0, "h" },
                                              { "a", PM_INT, 0, 8, NULL, 0, 0, NULL, NULL, 0, "h" }, PM_END_OPTION }, "twice" },
                { (const struct pm_option[]){ { "a", PM_INT, 0, 0, NULL, 0, 0, NULL, NULL, 0, "h" },
                                              { "b", PM_BOOL, 0, 4, NULL, 0, 0, NULL, NULL, 0, "h" }, PM_END_OPTION }, "share a field" },
                { forever, "share a field" },
        };

        for (size_t i = 0; i < LENGTH_OF(forever); i++)
                forever[i] = (struct pm_option){ "a", PM_INT, 0, 0, NULL, 0, 0, NULL, NULL, 0, "h" };
        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                const char *bad = options_check_table(cases[i].table, 64);

                cr_assert(bad && strstr(bad, cases[i].says), "case %zu: %s", i, bad ? bad : "(accepted)");
        }
        cr_assert_null(options_check_table(all_options, sizeof all));
        cr_assert_null(options_check_table(NULL, 0));
        forever[0] = (struct pm_option){ "deep", PM_TABLES, 0, 0, NULL, 0, 0, NULL, forever, 16, "h" };
        forever[1] = (struct pm_option)PM_END_OPTION;
        cr_assert(strstr(options_check_table(forever, 64), "nested deeper"));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any JSON value as a map of options: whatever stands there, the table is filled or mistakes are told; the values in force can be
 * written; a value that was accepted lies in its range.
 */
#include "mempool.h"
#include "options.h"

#include "base.h"

struct sub {
        const char *name;
        int64_t rank;
        struct pm_strs words;
};

struct all {
        int on;
        int64_t k, bytes, wait, mode;
        double share;
        const char *name, *file;
        struct pm_strs words;
        struct sub in;
        struct pm_tables list, map;
};

static const struct pm_option list_options[] = {
        PM_STR_OPTION(struct sub, name, "name", PM_REQUIRED, NULL, "a name"),
        PM_INT_OPTION(struct sub, rank, "rank", "1", 0, 0, "a rank"),
        PM_STRS_OPTION(struct sub, words, "words", 0, 1, 4, "words"),
        PM_END_OPTION
};
static const struct pm_option map_options[] = {
        PM_KEY_OPTION(struct sub, name),
        PM_INT_OPTION(struct sub, rank, "rank", "7", 0, 10, "a rank"),
        PM_END_OPTION
};
static const struct pm_option all_options[] = {
        PM_BOOL_OPTION(struct all, on, "on", "true", "on"),
        PM_INT_OPTION(struct all, k, "k", "10", 1, 1024, "k"),
        PM_SIZE_OPTION(struct all, bytes, "bytes", "64KiB", 1024, 1073741824, "bytes"),
        PM_TIME_OPTION(struct all, wait, "wait", "1s", 0, 3600000, "wait"),
        PM_CHOICE_OPTION(struct all, mode, "mode", "fast", "slow|fast|exact", "mode"),
        PM_REAL_OPTION(struct all, share, "share", "0.5", 0, 1, "share"),
        PM_STR_OPTION(struct all, name, "name", PM_SECRET, NULL, "name"),
        PM_PATH_OPTION(struct all, file, "file", 0, NULL, "file"),
        PM_STRS_OPTION(struct all, words, "words", 0, 0, 8, "words"),
        PM_TABLE_OPTION(struct all, in, struct sub, "in", list_options, "in"),
        PM_TABLES_OPTION(struct all, list, struct sub, "list", 0, 0, 0, list_options, "list"),
        PM_TABLES_OPTION(struct all, map, struct sub, "map", 0, 0, 0, map_options, "map"),
        PM_END_OPTION
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        json_t *value = json_loadb((const char *)data, n, JSON_DECODE_ANY, NULL);
        struct mempool *s = mempool_create();
        struct options_memory memory = { mempool_alloc_v, s };
        struct problems *p = problems_create(20);
        struct node *map = value ? mempool_node(s, value, "fuzz.json") : mempool_map(s, NULL);
        char *assignment = mempool_text(s, (const char *)data, n), *text;
        struct all all = { 0 };
        size_t wrong;

        assert(p);
        if (!value)
                (void)mempool_set(s, map, assignment); /* not JSON: a `-o key=value` instead */
        wrong = options_fill(all_options, &all, map, "fuzz", "/base", NULL, &memory, p);
        assert(wrong == problems_count(p));
        assert((wrong == 0) == (*problems_text(p) == '\0'));
        if (wrong == 0) {
                assert(all.k >= 1 && all.k <= 1024 && all.bytes >= 1024 && all.wait <= 3600000 && all.mode >= 0 && all.mode <= 2);
                assert(all.share >= 0 && all.share <= 1 && all.words.n <= 8 && (!all.file || *all.file == '/'));
        }
        text = options_to_json(all_options, &all);
        assert(text || wrong);
        free(text);
        problems_destroy(p);
        mempool_destroy(s);
        json_decref(value);
        return 0;
}

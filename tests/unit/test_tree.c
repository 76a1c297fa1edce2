/* SPDX-License-Identifier: Apache-2.0 */
/* Texts into trees: what the tree is, where its mistakes are, and what is too much. */
#include <criterion/criterion.h>

#include "tree.h"

#include "base.h"

struct reading {
        struct arena arena;
        struct problems *problems;
        struct node *root;
        int result;
};

static void read_bytes(struct reading *r, const char *text, size_t n)
{
        r->root = NULL;
        arena_init(&r->arena, NULL, SIZE_MAX);
        r->problems = problems_create(20);
        r->result = tree_parse(text, n, "f", &r->arena, r->problems, &r->root);
        cr_assert_eq(r->result == 0, r->root != NULL);
        cr_assert(r->result == 0 || problems_count(r->problems) > 0, "a failure without a word");
}

static void read_text(struct reading *r, const char *text)
{
        read_bytes(r, text, strlen(text));
}

static void finish(struct reading *r)
{
        problems_destroy(r->problems);
        arena_finish(&r->arena);
}

/* {key: 'quoted', other: [plain, secret!, ~]} */
static void show(const struct node *n, FILE *out)
{
        switch (n->kind) {
        case NODE_NULL:
                (void)fputc('~', out);
                break;
        case NODE_SCALAR:
                (void)fprintf(out, n->quoted ? "'%s'%s" : "%s%s", n->text, n->secret ? "!" : "");
                break;
        case NODE_LIST:
        case NODE_MAP:
                (void)fputc(n->kind == NODE_LIST ? '[' : '{', out);
                for (size_t i = 0; i < n->n; i++) {
                        (void)fputs(i ? ", " : "", out);
                        if (n->kind == NODE_MAP)
                                (void)fprintf(out, "%s: ", n->keys[i]->text);
                        show(n->items[i], out);
                }
                (void)fputc(n->kind == NODE_LIST ? ']' : '}', out);
        }
}

static void check_tree(const char *text, const char *wanted)
{
        CLEANUP(free_p) char *shown = NULL;
        struct reading r;
        size_t n = 0;
        FILE *f = open_memstream(&shown, &n);

        read_text(&r, text);
        cr_assert_eq(r.result, 0, "%s: %s", text, problems_text(r.problems));
        cr_assert_str_eq(problems_text(r.problems), "");
        show(r.root, f);
        (void)fclose(f);
        cr_expect_str_eq(shown, wanted, "%s\nis    %s\nnot   %s", text, shown, wanted);
        finish(&r);
}

static void check_mistakes(const char *text, int result, const char *wanted)
{
        struct reading r;

        read_text(&r, text);
        cr_expect_eq(r.result, result, "%s", text);
        cr_expect_str_eq(problems_text(r.problems), wanted, "%s\nsays  %s\nnot   %s", text, problems_text(r.problems), wanted);
        finish(&r);
}

Test(tree, yaml)
{
        check_tree("", "~");
        check_tree("# nothing\n", "~");
        check_tree("a: 1\nb: '1'\nc: \"x\\ty\"\nd:\ne: ~\nf: null\ng: 'null'\n", "{a: 1, b: '1', c: 'x\ty', d: ~, e: ~, f: ~, g: 'null'}");
        check_tree("- a\n- [b, {c: d}]\n-\n  - e\n", "[a, [b, {c: d}], [e]]");
        check_tree("a: |\n  two\n  lines\nb: >\n  one\n  line\n", "{a: 'two\nlines\n', b: 'one line\n'}");
        check_tree("a: !!str 5\nb: !!int 5\n", "{a: '5', b: 5}");
        check_tree("\xef\xbb\xbf" "a: \xc3\xa4\r\nb: 2\r\n", "{a: \xc3\xa4, b: 2}");
        check_tree("---\na: 1\n...\n", "{a: 1}");
}

Test(tree, json)
{
        check_tree("{\n\t\"a\": {\"b\":[1,2.5,true,null,\"x\"]},\n\t\"c\":\"http:\\/\\/h\\/v1\"\n}\n",
                   "{a: {b: [1, 2.5, true, ~, 'x']}, c: 'http://h/v1'}");
        check_tree("{\"a\":\"\\u00e4\\n\\\"\\\\\",\"b\":\"\\ud83d\\ude00\\uD83D\\uDE00\",\"c\":\"\\\\ud83d\\\\ude00\"}",
                   "{a: '\xc3\xa4\n\"\\', b: '\xf0\x9f\x98\x80\xf0\x9f\x98\x80', c: '\\ud83d\\ude00'}");
        check_tree("{}", "{}");
        check_mistakes("{\"a\": \"\\ud83d\"}", -EINVAL, "f:1:10: found invalid Unicode character escape code while parsing a quoted scalar in line 1\n");
}

Test(tree, places)
{
        struct reading r;
        const struct node *b;

        read_text(&r, "a: 1\nb:\n  - x\n  - c: y\n");
        b = node_get(r.root, "b");
        cr_assert_not_null(b);
        cr_assert_eq(r.root->keys[1]->line, 2);
        cr_assert_eq(r.root->keys[1]->column, 1);
        cr_assert_eq(b->items[1]->line, 4);
        cr_assert_eq(b->items[1]->column, 5);
        cr_assert_eq(node_get(b->items[1], "c")->column, 8);
        cr_assert_str_eq(node_get(b->items[1], "c")->file, "f");
        finish(&r);
}

Test(tree, variables)
{
        struct reading r;

        cr_assert_eq(setenv("PM_T_SET", "v a", 1), 0);
        cr_assert_eq(setenv("PM_T_EMPTY", "", 1), 0);
        cr_assert_eq(unsetenv("PM_T_NOT"), 0);
        check_tree("a: ${PM_T_SET}\nb: '${PM_T_SET}'\nc: x${PM_T_SET}y${PM_T_NOT:-z}\n", "{a: v a!, b: v a!, c: xv ayz!}");
        check_tree("a: ${PM_T_NOT:-d}\nb: ${PM_T_EMPTY:-d}\nc: \"${PM_T_EMPTY}\"\nd: ${PM_T_NOT:-}\n", "{a: d, b: d, c: !, d: }");
        check_tree("a: $${PM_T_SET}\nb: $$ $5 ${PM_T_NOT:-$}\n", "{a: ${PM_T_SET}, b: $$ $5 $}");
        check_tree("${PM_T_SET}: 1\n", "{${PM_T_SET}: 1}");
        cr_assert_eq(setenv("PM_T_SET", "${PM_T_SET}", 1), 0);
        check_tree("a: ${PM_T_SET}", "{a: ${PM_T_SET}!}");
        read_text(&r, "a: x${PM_T_SET}");
        cr_assert_str_eq(tree_written(node_get(r.root, "a")), "x${PM_T_SET}");
        finish(&r);
}

Test(tree, variables_that_are_wrong)
{
        cr_assert_eq(unsetenv("PM_T_NOT"), 0);
        cr_assert_eq(setenv("PM_T_BYTES", "\xff", 1), 0);
        check_mistakes("a: {b: [1, \"${PM_T_NOT}\"]}\nc: ${PM_T_BYTES}\n", 0,
                       "f:1:12: a.b[1]: the environment has no variable 'PM_T_NOT': set it, or give a default: ${PM_T_NOT:-default}\n"
                       "f:2:4: c: the value of the variable 'PM_T_BYTES' is not UTF-8\n");
        check_mistakes("a: ${1X}\nb: ${X\nc: ${X:=d}\nd: ${}\n", 0,
                       "f:1:4: a: '${1X}' is not ${NAME} or ${NAME:-default}; a literal '${' is written '$${'\n"
                       "f:2:4: b: '${X' is not ${NAME} or ${NAME:-default}; a literal '${' is written '$${'\n"
                       "f:3:4: c: '${X:=d}' is not ${NAME} or ${NAME:-default}; a literal '${' is written '$${'\n"
                       "f:4:4: d: '${}' is not ${NAME} or ${NAME:-default}; a literal '${' is written '$${'\n");
}

Test(tree, a_large_environment_is_bounded)
{
        size_t one = 100000, n = 200, used = 0;
        CLEANUP(free_p) char *value = calloc(1, one + 1), *text = calloc(1, n * 16);
        struct reading r;

        cr_assert(value && text);
        memset(value, 'x', one);
        cr_assert_eq(setenv("PM_T_LARGE", value, 1), 0);
        for (size_t i = 0; i < n; i++)
                used += (size_t)snprintf(text + used, n * 16 - used, "- ${PM_T_LARGE}\n");
        read_text(&r, text);
        cr_assert_eq(problems_count(r.problems), n - TREE_EXPANDED_MAX / one);
        cr_assert(strstr(problems_text(r.problems), ": [167]: with the variable 'PM_T_LARGE' the environment adds too much to this file\n"));
        finish(&r);
        cr_assert_eq(unsetenv("PM_T_LARGE"), 0);
}

Test(tree, anchors)
{
        check_tree("a: &x {b: 1}\nc: *x\nd: [*x, *x]\n", "{a: {b: 1}, c: {b: 1}, d: [{b: 1}, {b: 1}]}");
        check_tree("a: &x 1\nb: &x 2\nc: *x\n", "{a: 1, b: 2, c: 2}");
        check_tree("base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {z: 4, <<: [{y: 5}, *b]}\n",
                   "{base: {x: 1, y: 2}, one: {y: 3, x: 1}, two: {z: 4, y: 5, x: 1}}");
        check_tree("'<<': 1\n", "{<<: 1}");
        check_mistakes("a: *x\n", -EINVAL, "f:1:4: alias '*x' has no anchor '&x' that ends before it\n");
        check_mistakes("a: &x [*x]\n", -EINVAL, "f:1:8: alias '*x' has no anchor '&x' that ends before it\n");
        check_mistakes("a: {<<: 5}\n", -EINVAL, "f:1:9: '<<' merges a map or a list of maps, such as *defaults\n");
}

Test(tree, billion_laughs)
{
        char text[2000] = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
        size_t used = strlen(text);

        for (int i = 1; i < 10; i++)
                used += (size_t)snprintf(text + used, sizeof text - used, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i,
                                         i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
        check_mistakes(text, -EINVAL, "f:6:20: the file has more than 262144 values, aliases written out\n");
}

Test(tree, depth)
{
        char text[1000] = "";
        size_t used = 0;

        memset(text, '[', 64);
        memset(text + 64, ']', 64);
        check_mistakes(text, 0, "");
        memset(text, '[', 65);
        memset(text + 65, ']', 65);
        check_mistakes(text, -EINVAL, "f:1:65: the file is nested deeper than 64\n");
        for (int i = 0; i < 4; i++) { /* each as deep as three lines before it */
                used += (size_t)snprintf(text + used, sizeof text - used, "a%d: &a%d [[[[[[[[[[[[[[[[[[[[%s%.0d]]]]]]]]]]]]]]]]]]]]\n", i, i,
                                         i == 0 ? "x" : i == 1 ? "*a0" : i == 2 ? "*a1" : "*a2", 0);
        }
        check_mistakes(text, -EINVAL, "f:4:29: the file is nested deeper than 64, aliases written out\n");
}

Test(tree, grammar)
{
        check_mistakes("a: b: c\n", -EINVAL, "f:1:5: mapping values are not allowed in this context\n");
        check_mistakes("a:\n\tb: 1\n", -EINVAL, "f:2:1: found a tab; YAML indents with spaces\n");
        check_mistakes("a: @x\t\n", -EINVAL, "f:1:4: found character that cannot start any token while scanning for the next token in line 1\n");
        check_mistakes("a: [1\nb: 2\n", -EINVAL, "f:2:2: did not find expected ',' or ']' while parsing a flow sequence in line 1\n");
        check_mistakes("a: 1\n---\nb: 2\n", -EINVAL, "f:2:1: a second document begins here; a file has one\n");
        check_mistakes("\xc3\xa4: 1\nb: \xff\n", -EINVAL, "f:2:4: invalid leading UTF-8 octet (0xff)\n");
        check_mistakes("a: \x01\n", -EINVAL, "f:1:4: control characters are not allowed (0x01)\n");
        check_mistakes("a: \"\\0\"\n", -EINVAL, "f:1:4: a text holds a NUL byte\n");
        check_mistakes("a: !mine {}\n", -EINVAL, "f:1:4: unknown tag '!mine'\n");
        check_mistakes("? [a]\n: 1\n", -EINVAL, "f:1:3: a key must be a text\n");
        check_mistakes("{\"\": 1}\n", -EINVAL, "f:1:2: a key is missing before ':'\n");
}

Test(tree, keys_twice)
{
        check_mistakes("a: 1\nb: {c: 1, c: 2, d: 3}\na: 4\na: 5\n", 0,
                       "f:2:11: b: duplicate key 'c', first in line 2\n"
                       "f:3:1: duplicate key 'a', first in line 1\n"
                       "f:4:1: duplicate key 'a', first in line 1\n");
}

Test(tree, sizes)
{
        size_t n = TREE_BYTES_MAX + 1, used = 0, room = (TREE_KEYS_MAX + 10) * 16;
        CLEANUP(free_p) char *text = malloc(n), *keys = malloc(room);
        struct reading r;

        cr_assert(text && keys);
        memset(text, '#', n);
        read_bytes(&r, text, n);
        cr_assert_str_eq(problems_text(r.problems), "f: the file has more than 16 MiB\n");
        finish(&r);
        read_bytes(&r, text, n - 1);
        cr_assert_eq(r.result, 0);
        finish(&r);
        for (int i = 0; i <= TREE_KEYS_MAX; i++)
                used += (size_t)snprintf(keys + used, room - used, "k%d: 1\n", i);
        read_bytes(&r, keys, used);
        cr_assert_eq(r.result, -EINVAL);
        cr_assert_str_eq(problems_text(r.problems), "f:10002:1: a map has more than 10000 keys\n");
        finish(&r);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Files of edges: the three forms, titles, what is refused and how it is told; the matrices that come of them. */
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base.h"
#include "graph.h"

static char why[256];
static struct graph g;

/* Reads text from a file; the settings but for the path are the caller's. */
static int read_text(const char *text, size_t n, bool zip, struct graph_source s)
{
        char file[] = "/tmp/test-graph-XXXXXX";
        int fd = mkstemp(file), r;

        cr_assert_geq(fd, 0);
        if (zip) {
                gzFile f = gzdopen(fd, "wb");

                cr_assert_eq(gzwrite(f, text, (unsigned)n), (int)n);
                cr_assert_eq(gzclose(f), Z_OK);
        } else {
                cr_assert_eq(write(fd, text, n), (ssize_t)n);
                (void)close(fd);
        }
        s.path = file;
        r = graph_read(&s, &g, why, sizeof why);
        (void)unlink(file);
        return r;
}

static int read_plain(const char *text, struct graph_source s)
{
        return read_text(text, strlen(text), false, s);
}

static uint32_t number(const struct id_map *names, const char *id)
{
        struct id_map_view v = id_map_view(names);

        return id_map_find(&v, id, strlen(id));
}

Test(graph, the_forms_say_the_same)
{
        static const char *const texts[] = {
                "ann\tbook\t2.5\t1700000000\ttrain\nbob\tbook\t1\t1700000009\ttest\nann\tpen\t1\t1700000005\ttrain\n",
                "ann,book,2.5,1700000000,train\nbob,book,1,1700000009,test\nann,pen,1,1700000005,train",
                "#user\titem\tweight\ttime\tsplit\nann\tbook\t2.5\t1700000000\ttrain\r\nbob\tbook\t1\t1700000009\ttest\n\nann\tpen\t1\t1700000005\ttrain\n",
                "split,Timestamp,dst,src,rating\ntrain,1700000000,book,ann,2.5\n\"test\",1700000009,\"book\",bob,1\ntrain,1700000005,pen,\"ann\",1\n",
                "{\"user\":\"ann\",\"item\":\"book\",\"weight\":2.5,\"time\":1700000000,\"split\":\"train\"}\n"
                "{\"user\":\"bob\",\"item\":\"book\",\"time\":1700000009,\"split\":\"test\"}\n"
                "{\"item\":\"pen\",\"user\":\"ann\",\"time\":1700000005,\"split\":\"train\",\"other\":[1]}\n",
        };

        for (size_t i = 0; i < 2 * LENGTH_OF(texts); i++) {
                const char *text = texts[i / 2];

                cr_assert_eq(read_text(text, strlen(text), i % 2, (struct graph_source){ .max_bad = 0 }), 0, "%zu: %s", i, why);
                cr_assert_eq(g.n, 3, "%zu", i);
                cr_assert_eq(g.bad, 0);
                cr_assert_eq(graph_users(&g), 2);
                cr_assert_eq(graph_items(&g), 2);
                cr_assert_eq(number(g.users, "bob"), 1);
                cr_assert_eq(number(g.items, "pen"), 1);
                cr_assert_eq(number(g.items, "ann"), ID_MAP_NONE);
                cr_assert_float_eq((double)g.edge[0].weight, 2.5, 0);
                cr_assert_eq(g.edge[1].time, 1700000009);
                cr_assert_eq(g.n_splits, 2);
                cr_assert_eq(g.edge[1].split, graph_split(&g, "test"));
                cr_assert_eq(graph_split(&g, "valid"), SIZE_MAX);
                graph_finish(&g);
        }
}

/* What POST /v1/feedback has let in at any time must not stop a training. */
Test(graph, the_ends_of_weights_and_times)
{
        static const char text[] = "user\titem\tweight\ttime\n"
                                   "u\ta\t4.94065646e-324\t9223372036854775807\nu\tb\t1e-45\t-9223372036854775808\nu\tc\t1e+30\t1.5e9\n"
                                   "u\td\t1\t9007199254740993\nu\te\t1\t9223372036854775808\nu\tf\t0\t1\nu\tg\t1.1e30\t1\nu\th\t1\t1e300\n"
                                   "u\ti\tnan\t1\nu\tj\t1\tinf\n";

        cr_assert_eq(read_plain(text, (struct graph_source){ .max_bad = 6 }), 0, "%s", why);
        cr_assert_eq(g.n, 4);
        cr_assert_eq(g.bad, 6);
        cr_assert_float_eq((double)g.edge[0].weight, 1e-30, 1e-36);
        cr_assert_eq(g.edge[0].time, INT64_MAX);
        cr_assert_float_eq((double)g.edge[1].weight, 1e-30, 1e-36);
        cr_assert_eq(g.edge[1].time, INT64_MIN);
        cr_assert_eq(g.edge[2].time, 1500000000);
        cr_assert_eq(g.edge[3].time, 9007199254740993, "no number is rounded");
        graph_finish(&g);
}

Test(graph, columns_by_name_and_by_number)
{
        struct graph_source s = { .user = "3", .item = "1" };

        cr_assert_eq(read_plain("book\tx\tann\nbook\ty\tbob\n", s), 0, "%s", why);
        cr_assert_eq(number(g.users, "bob"), 1);
        cr_assert_eq(g.n_splits, 1);
        graph_finish(&g);
        s = (struct graph_source){ .user = "reader", .item = "title" };
        cr_assert_eq(read_plain("# made on a Monday, by hand\nid,reader,title\n1,ann,\"War, and \"\"Peace\"\"\"\n", s), 0, "%s", why);
        cr_assert_eq(number(g.items, "War, and \"Peace\""), 0);
        graph_finish(&g);
        s = (struct graph_source){ .user = "reader", .item = "nosuch" };
        cr_assert_eq(read_plain("reader\ttitle\nann\tbook\n", s), -EINVAL);
        cr_assert(strstr(why, "line 1: no column 'reader'"), "%s", why);
        graph_finish(&g);
}

Test(graph, bad_lines_are_counted_and_the_first_ones_named)
{
        const char *text = "ann\tbook\t1\nann\n\tbook\t1\nann\tpen\t-1\nann\tpen\tnan\nann\tpen\t1e99\nann\tp\xff" "en\t1\nann\tpen\t1\n";

        cr_assert_eq(read_plain(text, (struct graph_source){ .max_bad = 6 }), 0, "%s", why);
        cr_assert_eq(g.n, 2);
        cr_assert_eq(g.bad, 6);
        cr_assert_eq(g.n_named, 6);
        cr_assert_eq(g.named[0].line, 2);
        cr_assert_str_eq(g.named[0].why, "has 1 columns, the item is in column 2");
        cr_assert_str_eq(g.named[1].why, "the user is empty");
        cr_assert_str_eq(g.named[2].why, "weight '-1' is not a number above 0, up to 1e30");
        cr_assert_str_eq(g.named[5].why, "the item is not UTF-8 text without control characters");
        graph_finish(&g);
        cr_assert_eq(read_plain(text, (struct graph_source){ .max_bad = 5 }), -EINVAL);
        cr_assert_str_eq(why, "6 unusable lines of 7, at most 5 are allowed");
        cr_assert_eq(g.n_named, 6, "what was read is told all the same");
        graph_finish(&g);
}

Test(graph, only_the_first_ten_are_named)
{
        char text[4096] = "ann\tbook\n";

        for (size_t i = 0, at = strlen(text); i < 30; i++)
                at += (size_t)snprintf(text + at, sizeof text - at, "line%zu\n", i);
        cr_assert_eq(read_plain(text, (struct graph_source){ .max_bad = 30 }), 0, "%s", why);
        cr_assert_eq(g.bad, 30);
        cr_assert_eq(g.n_named, GRAPH_NAMED_MAX);
        graph_finish(&g);
}

Test(graph, what_is_no_graph_is_refused)
{
        static const struct {
                const char *text;
                int error;
                const char *says;
        } cases[] = {
                { "", -ENODATA, "no edge in 0 lines" },
                { "\n\n", -ENODATA, "no edge in 2 lines" },
                { "user\titem\n", -ENODATA, "no edge in 1 lines" },
                { "just words\n", -EINVAL, "1 unusable lines of 1, at most 0 are allowed" },
                { "{\"user\":1}\n", -EINVAL, "1 unusable lines of 1" },
                { "{\"user\":1,\"item\":[]}\n", -EINVAL, "1 unusable lines of 1" },
        };
        char *cut;

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                cr_assert_eq(read_plain(cases[i].text, (struct graph_source){ .max_bad = 0 }), cases[i].error, "%zu: %s", i, why);
                cr_assert(strstr(why, cases[i].says), "%zu: %s", i, why);
                graph_finish(&g);
        }
        cr_assert_eq(graph_read(&(struct graph_source){ .path = "/no/such/file" }, &g, why, sizeof why), -ENOENT);
        graph_finish(&g);
        cut = calloc(1, GRAPH_LINE_MAX + 2);
        memset(cut, 'x', GRAPH_LINE_MAX + 1);
        cr_assert_eq(read_text(cut, GRAPH_LINE_MAX + 1, false, (struct graph_source){ .max_bad = 9 }), -EINVAL);
        free(cut);
        graph_finish(&g);
}

Test(graph, cut_gzip_is_not_taken_for_a_whole_file)
{
        char file[] = "/tmp/test-graph-XXXXXX", line[64];
        int fd = mkstemp(file);
        gzFile f = gzdopen(fd, "wb");
        struct graph_source s = { .path = file };
        struct stat st;

        for (unsigned i = 0; i < 20000; i++)
                (void)gzwrite(f, line, (unsigned)snprintf(line, sizeof line, "u%u\ti%u\n", i * 7919 % 1000, i * 104729 % 977));
        cr_assert_eq(gzclose(f), Z_OK);
        cr_assert_eq(graph_read(&s, &g, why, sizeof why), 0, "%s", why);
        graph_finish(&g);
        cr_assert_eq(stat(file, &st), 0);
        cr_assert_eq(truncate(file, st.st_size / 2), 0);
        cr_assert_eq(graph_read(&s, &g, why, sizeof why), -EIO);
        cr_assert(strstr(why, "truncated") || strstr(why, "damaged"), "%s", why);
        graph_finish(&g);
        (void)unlink(file);
}

Test(graph, matrices_add_up_or_count_once)
{
        const char *text = "ann\tbook\t2\nann\tbook\t3\nbob\tann\t1\nbob\tbob\t1\n";
        struct sparse m, t, s;

        cr_assert_eq(read_plain(text, (struct graph_source){ .one_kind = true }), 0, "%s", why);
        cr_assert_eq(graph_users(&g), 3);
        cr_assert_eq(graph_items(&g), 3);
        cr_assert_eq(graph_matrix(&g, SIZE_MAX, true, &m), 0);
        cr_assert_eq(sparse_cells(&m), 2, "two edges are one place, and bob's to himself is left out");
        cr_assert_float_eq((double)m.value[0], 5, 0);
        sparse_finish(&m);
        cr_assert_eq(graph_matrix(&g, SIZE_MAX, false, &m), 0);
        cr_assert_float_eq((double)m.value[0], 1, 0);
        cr_assert_eq(sparse_transpose(&m, &t), 0);
        cr_assert_eq(t.start[1] - t.start[0], 1, "who took ann");
        cr_assert_eq(t.col[0], 2, "bob");
        cr_assert_eq(sparse_symmetric(&m, &s), 0);
        cr_assert_eq(sparse_cells(&s), 4);
        cr_assert_eq(s.col[0], 1);
        cr_assert_eq(s.col[1], 2);
        sparse_finish(&s);
        sparse_finish(&t);
        sparse_finish(&m);
        graph_finish(&g);
}

Test(graph, ids_are_found_among_many)
{
        struct id_map *x;
        struct id_map_view v;
        char id[32];
        uint32_t n;

        cr_assert_eq(id_map_create(&x), 0);
        for (unsigned i = 0; i < 100000; i++) {
                int size = snprintf(id, sizeof id, "id-%u", i);

                cr_assert_eq(id_map_add(x, id, (size_t)size, &n), 0);
                cr_assert_eq(n, i);
        }
        v = id_map_view(x);
        cr_assert_eq(id_map_check(&v, why, sizeof why), 0, "%s", why);
        cr_assert_eq(id_map_find(&v, "id-77777", 8), 77777);
        cr_assert_eq(id_map_find(&v, "id-100000", 9), ID_MAP_NONE);
        cr_assert_eq(id_map_add(x, "", 0, &n), -EINVAL);
        v.n--;
        cr_assert_eq(id_map_check(&v, why, sizeof why), -EINVAL);
        id_map_destroy(x);
}

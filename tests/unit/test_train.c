/* SPDX-License-Identifier: Apache-2.0 */
/* From files to a model and a map: what is read, what is refused, and that the same input gives the same bytes. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <linear.h>
#include <math.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base.h"
#include "classifier.h"
#include "arguments.h"
#include "commands.h"
#include "digest.h"
#include "encoder.h"
#include "folder.h"
#include "jsonl.h"
#include "outcomes.h"
#include "softmax.h"

static void begin(void)
{
        cr_redirect_stderr();
        cr_redirect_stdout();
        folder_begin();
}

TestSuite(train, .init = begin, .fini = folder_end);

static struct jsonl_source source(void)
{
        return (struct jsonl_source){ .path = in_folder("a.jsonl"), .text = "q,o", .label = "c", .id = "id" };
}

Test(train, rows_take_what_was_asked_for)
{
        struct jsonl_source s = source();
        struct jsonl_rows rows;

        put("a.jsonl", "{\"id\":1,\"q\":\"one\",\"o\":[\"x\",2],\"c\":\"b\",\"f\":0}\n"
                       "\n"
                       "{\"id\":\"2\",\"q\":\"two\",\"o\":\"y\",\"c\":\"a\",\"f\":1}\r\n"
                       "{\"id\":3,\"q\":\"three\",\"o\":[],\"c\":\"a\",\"f\":true}");
        cr_assert_eq(jsonl_read(&s, &rows), 0);
        cr_assert_eq(rows.n, 3);
        cr_assert_str_eq(rows.list[0].text, "one\nx\n2");
        cr_assert_str_eq(rows.list[1].text, "two\ny");
        cr_assert_str_eq(rows.list[2].text, "three");
        cr_assert_str_eq(rows.list[0].id, "1");
        cr_assert_eq(rows.n_labels, 2);
        cr_assert_str_eq(rows.labels[0], "a");
        cr_assert_eq(rows.list[0].label, 1);
        cr_assert_eq(jsonl_drop(&rows, "a"), 2);
        cr_assert_eq(rows.n, 1);
        cr_assert_str_eq(rows.labels[rows.list[0].label], "b");
        jsonl_finish(&rows);

        cr_assert_eq(jsonl_where(&s, "f!=0"), 0);
        cr_assert_eq(jsonl_read(&s, &rows), 0);
        cr_assert_eq(rows.n, 2);
        jsonl_finish(&rows);
        cr_assert_eq(jsonl_where(&s, "f=true"), 0);
        cr_assert_eq(jsonl_read(&s, &rows), 0);
        cr_assert_eq(rows.n, 1);
        cr_assert_str_eq(rows.list[0].id, "3");
        jsonl_finish(&rows);
        cr_assert_eq(jsonl_where(&s, "c=none"), 0);
        cr_assert_eq(jsonl_read(&s, &rows), -ENODATA);
        cr_assert_eq(jsonl_where(&s, "no condition"), -EINVAL);
        cr_assert_eq(jsonl_where(&s, "!=x"), -EINVAL);
}

Test(train, bad_lines_are_counted_and_end_it_above_the_limit)
{
        struct jsonl_source s = source();
        struct jsonl_rows rows;

        put("a.jsonl", "{\"id\":1,\"q\":\"one\",\"o\":[],\"c\":\"b\"}\nnot json\n{\"id\":2,\"q\":\"t\",\"o\":[],\"c\":null}\n[1]\n");
        s.max_bad = 3;
        cr_assert_eq(jsonl_read(&s, &rows), 0);
        cr_assert_eq(rows.n, 1);
        jsonl_finish(&rows);
        s.max_bad = 2;
        cr_assert_eq(jsonl_read(&s, &rows), -EINVAL);
        s.path = "/nonexistent/file";
        cr_assert_eq(jsonl_read(&s, &rows), -ENOENT);
}

Test(train, a_cut_gzip_file_is_an_error_not_the_end)
{
        struct jsonl_source s = source();
        struct jsonl_rows rows;
        gzFile f = gzopen(in_folder("a.jsonl.gz"), "wb");

        for (int i = 0; i < 2000; i++)
                (void)gzprintf(f, "{\"id\":%d,\"q\":\"text %d\",\"o\":\"x\",\"c\":\"%c\"}\n", i, i * 7919, 'a' + i % 3);
        (void)gzclose(f);
        s.path = in_folder("a.jsonl.gz");
        cr_assert_eq(jsonl_read(&s, &rows), 0);
        cr_assert_eq(rows.n, 2000);
        jsonl_finish(&rows);
        cr_assert_eq(truncate(in_folder("a.jsonl.gz"), 5000), 0);
        cr_assert_eq(jsonl_read(&s, &rows), -EIO);
}

/* Prompts of three categories that anyone could tell apart. */
static void write_prompts(void)
{
        static const char *const words[3][4] = { { "matrix", "integral", "prime", "algebra" },
                                                 { "court", "contract", "statute", "verdict" },
                                                 { "neuron", "enzyme", "protein", "mitosis" } };
        static const char *const label[3] = { "math", "law", "biology" };
        FILE *f = fopen(in_folder("a.jsonl"), "we");

        cr_assert(f);
        for (int i = 0; i < 300; i++)
                (void)fprintf(f, "{\"id\":%d,\"q\":\"what about the %s and the %s number %c%c\",\"c\":\"%s\",\"part\":%d}\n", i,
                              words[i % 3][i / 3 % 4], words[i % 3][i / 12 % 4], 'a' + i % 26, 'a' + i / 26, label[i % 3], i % 10);
        for (int i = 0; i < 30; i++)
                (void)fprintf(f, "{\"id\":%d,\"q\":\"zzz yyy xxx %c\",\"c\":\"none\",\"part\":%d}\n", 1000 + i, 'a' + i % 26, i % 10);
        (void)fclose(f);
}

static int run(int (*command)(int, char **), const char *const *words)
{
        char *argv[40] = { NULL };
        int argc = 0, r;

        while (words[argc]) {
                argv[argc] = strdup(words[argc]);
                argc++;
        }
        arguments_program = "pointsman-train";
        optind = 0; /* glibc: begin anew */
        r = command(argc, argv);
        for (int i = 0; i < argc; i++)
                free(argv[i]);
        return r;
}

static void digest_of(const char *name, char hex[DIGEST_HEX])
{
        static char data[8 << 20];
        uint8_t sum[DIGEST_SIZE];
        struct digest d;
        FILE *f = fopen(in_folder(name), "re");
        size_t n;

        cr_assert(f);
        n = fread(data, 1, sizeof data, f);
        (void)fclose(f);
        digest_begin(&d);
        digest_add(&d, data, n);
        cr_assert_eq(digest_end(&d, sum), 0);
        digest_hex(sum, hex);
}

static int train_model(const char *out, const char *seed)
{
        return run(command_category, (const char *[]){ "category", "--in", in_folder("a.jsonl"), "--text", "q", "--label", "c", "--where",
                                                       "part!=9", "--unknown", "none", "--threshold-on", in_folder("a.jsonl"),
                                                       "--where", "part=9", "--out", in_folder(out), "--seed", seed, "--bits", "12",
                                                       NULL });
}

/* A model that looks at vectors, too, knows words that no prompt had; without its encoder it is not used. */
Test(train, with_an_encoder_words_are_known_by_their_kind)
{
        CLEANUP(free_p) char *folder_of_encoder = NULL;
        struct encoder *e = NULL;
        struct classifier *c;
        struct verdict v;
        char why[256];

        cr_assert(secure_getenv("PM_MODELS") && asprintf(&folder_of_encoder, "%s/pointsman-static", secure_getenv("PM_MODELS")) > 0);
        write_prompts();
        cr_assert_eq(run(command_category, (const char *[]){ "category", "--in", in_folder("a.jsonl"), "--text", "q", "--label", "c", "--unknown",
                                                             "none", "--out", in_folder("m.safetensors"), "--bits", "12", "--encoder",
                                                             folder_of_encoder, NULL }), 0);
        cr_assert_eq(run(command_eval, (const char *[]){ "eval", "category", "--model", in_folder("m.safetensors"), "--in", in_folder("a.jsonl"),
                                                         "--text", "q", "--label", "c", "--unknown", "none", "--encoder", folder_of_encoder,
                                                         NULL }), 0);
        cr_assert_eq(run(command_eval, (const char *[]){ "eval", "category", "--model", in_folder("m.safetensors"), "--in", in_folder("a.jsonl"),
                                                         "--text", "q", "--label", "c", "--unknown", "none", NULL }), 1, "no encoder");
        cr_assert_eq(run(command_map2d, (const char *[]){ "map2d", "--encoder", folder_of_encoder, "--in", in_folder("a.jsonl"), "--text", "q",
                                                          "--label", "c", "--most", "60", "--out", in_folder("map.json"), NULL }), 0);
        cr_assert_eq(classifier_open(in_folder("m.safetensors"), &c, why, sizeof why), 0, "%s", why);
        cr_assert_eq(classifier_parts(c)->dim, 256);
        cr_assert_eq(encoder_open(folder_of_encoder, &e, why, sizeof why), 0, "%s", why);
        cr_assert_eq(classifier_attach(c, e, why, sizeof why), 0, "%s", why);
        classifier_decide(c, "lawyers and judges", 18, 0, &v);
        cr_assert_str_eq(classifier_parts(c)->labels[v.category], "law");
        classifier_decide(c, "geometry, theorems", 18, 0, &v);
        cr_assert_str_eq(classifier_parts(c)->labels[v.category], "math");
        classifier_destroy(c);
        encoder_destroy(e);
}

/* A softmax of n-grams alone: the same bytes, confident of its own prompts, doubtful of what has no word of theirs; refused when misspelt. */
Test(train, a_softmax_of_all_categories)
{
        const char *const words[] = { "category", "--in", in_folder("a.jsonl"), "--text", "q", "--label", "c", "--unknown", "none", "--bits", "12",
                                      "--loss", "softmax", "--out", in_folder("m.safetensors"), NULL };
        const char *const wrong[] = { "category", "--loss", "soft", NULL };
        char a[DIGEST_HEX], b[DIGEST_HEX];
        float scores[CLASSIFIER_CATEGORIES_MAX];
        size_t best, other;
        struct classifier *c;
        double known;
        char why[256];

        write_prompts();
        cr_assert_eq(run(command_category, wrong), 2);
        cr_assert_eq(run(command_category, words), 0);
        digest_of("m.safetensors", a);
        cr_assert_eq(run(command_category, words), 0);
        digest_of("m.safetensors", b);
        cr_assert_str_eq(a, b);
        cr_assert_eq(classifier_open(in_folder("m.safetensors"), &c, why, sizeof why), 0, "%s", why);
        cr_assert_str_eq(classifier_meta(c, "loss"), "softmax");
        cr_assert(strtod(classifier_meta(c, "accepted_accuracy"), NULL) > .99);
        cr_assert(classifier_scores(c, "the verdict of the court", 24, 0, scores));
        known = classifier_logit(scores, 3, &best);
        cr_assert_str_eq(classifier_parts(c)->labels[best], "law");
        cr_assert(classifier_scores(c, "zzz yyy xxx w", 13, 0, scores));
        cr_assert_gt(known, classifier_logit(scores, 3, &other));
        classifier_destroy(c);
}

/* Prompts of two sources that have no word in common; `ours` are of no source and have the words of both. */
static void write_sources(bool ours)
{
        static const char *const words[2][2][2] = { { { "matrix", "prime" }, { "court", "verdict" } }, { { "addieren", "bruch" }, { "anwalt", "klage" } } };
        FILE *f = fopen(in_folder("a.jsonl"), "we");

        cr_assert(f);
        for (int i = 0; i < (ours ? 320 : 160); i++)
                (void)fprintf(f, "{\"q\":\"%s %c%c\",\"c\":\"%s\",\"from\":\"%s\"}\n", words[i / 80 % 2][i % 2][i / 2 % 2], 'a' + i % 23, 'a' + i / 23,
                              i % 2 ? "law" : "math", i >= 160 ? "" : i < 80 ? "english" : "german");
        (void)fclose(f);
}

static double accuracy_of_sources(const char *apart)
{
        const char *words[] = { "category", "--in", in_folder("a.jsonl"), "--text", "q", "--label", "c", "--bits", "12", "--out", in_folder("m.safetensors"),
                                apart ? "--apart" : NULL, apart, NULL };
        struct classifier *c;
        char why[256];
        double accuracy;

        cr_assert_eq(run(command_category, words), 0);
        cr_assert_eq(classifier_open(in_folder("m.safetensors"), &c, why, sizeof why), 0, "%s", why);
        accuracy = strtod(classifier_meta(c, "accepted_accuracy"), NULL);
        classifier_destroy(c);
        return accuracy;
}

Test(train, a_source_that_was_not_seen_is_harder_than_it_looks)
{
        write_sources(false);
        cr_assert_gt(accuracy_of_sources(NULL), .99);
        cr_assert_lt(accuracy_of_sources("from"), .75);
        write_sources(true);
        cr_assert_gt(accuracy_of_sources("from"), .99, "prompts of no source are always trained on");
        cr_assert_eq(run(command_category, (const char *[]){ "category", "--in", in_folder("a.jsonl"), "--text", "q", "--label", "c", "--apart", "other", "--out",
                                                             in_folder("n.safetensors"), NULL }), 1, "no such field");
        cr_assert_eq(run(command_category, (const char *[]){ "category", "--in", in_folder("a.jsonl"), "--text", "q", "--label", "c", "--where", "from=german",
                                                             "--apart", "from", "--out", in_folder("n.safetensors"), NULL }), 1, "one source");
        cr_assert_eq(access(in_folder("n.safetensors"), F_OK), -1);
}

/* Weights against a direct computation: at the optimum each is C times what its rows are wrong by. */
Test(train, a_softmax_ends_where_its_loss_is_least)
{
        static struct feature_node row[3][4] = { { { 1, 1 }, { 3, .2 }, { -1, 0 } }, { { 2, 1 }, { 3, .2 }, { -1, 0 } },
                                                 { { 1, .6 }, { 2, .8 }, { 3, .2 }, { -1, 0 } } };
        struct feature_node *x[] = { row[0], row[1], row[2] };
        const double y[] = { 0, 1, 2 };
        struct softmax m = { .features = 3, .categories = 3 };
        double gradient[3][3] = { { 0 } };

        cr_assert_eq(softmax_fit(x, y, 3, &(struct softmax_settings){ .cost = 2, .rounds = 5000, .seed = 3, .fade = 1 }, &m), 0);
        for (int i = 0; i < 3; i++) {
                double score[3] = { 0 }, sum = 0;

                for (int c = 0; c < 3; c++) {
                        for (struct feature_node *f = x[i]; f->index > 0; f++)
                                score[c] += f->value * (double)m.weight[(f->index - 1) * 3 + c];
                        sum += exp(score[c]);
                }
                for (int c = 0; c < 3; c++)
                        for (struct feature_node *f = x[i]; f->index > 0; f++)
                                gradient[f->index - 1][c] += f->value * ((i == c) - exp(score[c]) / sum);
        }
        for (int f = 0; f < 3; f++)
                for (int c = 0; c < 3; c++)
                        cr_assert_float_eq((double)m.weight[f * 3 + c], 2 * gradient[f][c], .01, "feature %d of category %d: %g, not %g", f, c,
                                           (double)m.weight[f * 3 + c], 2 * gradient[f][c]);
        softmax_finish(&m);
}

Test(train, the_same_input_gives_the_same_bytes)
{
        char a[DIGEST_HEX], b[DIGEST_HEX];
        struct classifier *c;
        struct verdict v;
        char why[256];

        write_prompts();
        cr_assert_eq(train_model("m.safetensors", "7"), 0);
        cr_assert_eq(train_model("n.safetensors", "7"), 0);
        digest_of("m.safetensors", a);
        digest_of("n.safetensors", b);
        cr_assert_str_eq(a, b);
        cr_assert_eq(classifier_open(in_folder("m.safetensors"), &c, why, sizeof why), 0, "%s", why);
        classifier_decide(c, "the verdict of the court", 24, 0, &v);
        cr_assert_str_eq(classifier_parts(c)->labels[v.category], "law");
        cr_assert_eq(classifier_parts(c)->categories, 3, "the unknown label is no category");
        cr_assert(classifier_parts(c)->threshold > 0);
        cr_assert(classifier_meta(c, "data_sha256") && classifier_meta(c, "accepted_accuracy"));
        classifier_destroy(c);
        cr_assert_eq(run(command_eval, (const char *[]){ "eval", "category", "--model", in_folder("m.safetensors"), "--in",
                                                         in_folder("a.jsonl"), "--text", "q", "--label", "c", "--unknown", "none",
                                                         "--predictions", in_folder("p.tsv"), "--json", NULL }), 0);
        cr_assert_eq(run(command_eval, (const char *[]){ "eval", "category", "--model", in_folder("m.safetensors"), "--in",
                                                         in_folder("a.jsonl"), "--text", "q", "--label", "c", NULL }),
                     1, "a label that the model does not know");
}

/* A category stands in lines of tables and in a header of every answer; an id in lines. */
Test(train, labels_that_break_lines_are_bad_lines_and_tables_keep_their_columns)
{
        char line[512];
        FILE *f;

        write_prompts();
        cr_assert_eq(train_model("m.safetensors", "7"), 0);
        put("b.jsonl", "{\"id\": \"1\\t2\\n\\\\3\", \"q\": \"the verdict of the court\", \"c\": \"law\"}\n{\"id\": 2, \"q\": \"x\", \"c\": \"la\\tw\"}\n"
                       "{\"id\": 3, \"q\": \"x\", \"c\": \"law\\n2\"}\n{\"id\": 4, \"q\": \"x\", \"c\": \"la\\u007fw\"}\n");
        cr_assert_eq(run(command_eval, (const char *[]){ "eval", "category", "--model", in_folder("m.safetensors"), "--in", in_folder("b.jsonl"), "--text",
                                                         "q", "--label", "c", "--max-bad", "2", NULL }), 1, "three lines are unusable");
        cr_assert_eq(run(command_eval, (const char *[]){ "eval", "category", "--model", in_folder("m.safetensors"), "--in", in_folder("b.jsonl"), "--text",
                                                         "q", "--label", "c", "--predictions", in_folder("p.tsv"), NULL }), 0);
        f = fopen(in_folder("p.tsv"), "re");
        cr_assert(f && fgets(line, sizeof line, f) && fgets(line, sizeof line, f));
        cr_assert_eq(strncmp(line, "1\\t2\\n\\\\3\tlaw\tlaw\t", 17), 0, "%s", line);
        cr_assert(!fgets(line, sizeof line, f), "one line a prompt");
        (void)fclose(f);
}

Test(train, too_few_prompts_to_say_how_good_it_is)
{
        put("a.jsonl", "{\"q\": \"one\", \"c\": \"a\"}\n{\"q\": \"two\", \"c\": \"b\"}\n");
        cr_assert_eq(run(command_category, (const char *[]){ "category", "--in", in_folder("a.jsonl"), "--text", "q", "--label", "c", "--out",
                                                             in_folder("few.safetensors"), NULL }), 1);
        cr_assert_eq(access(in_folder("few.safetensors"), F_OK), -1);
}

Test(train, an_output_that_cannot_be_is_told_before_the_work)
{
        static const char *const bad[] = { "/nonexistent/m", "/dev/null/m", "/tmp", "" };

        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                cr_assert_eq(run(command_category, (const char *[]){ "category", "--in", "none", "--text", "q", "--label", "c", "--out", bad[i], NULL }), 2);
                cr_assert_eq(run(command_embed, (const char *[]){ "embed", "--edges", "none", "--out", bad[i], NULL }), 2);
                cr_assert_eq(run(command_map, (const char *[]){ "map", "--outcomes", "none", "--labels", "none", "--label", "c", "--out", bad[i], NULL }), 2);
                cr_assert_eq(run(command_map2d, (const char *[]){ "map2d", "--encoder", "none", "--in", "none", "--text", "q", "--label", "c", "--out", bad[i],
                                                                  NULL }), 2);
                cr_assert_eq(run(command_instruct, (const char *[]){ "instruct", "--encoder", "none", "--experts", "none", "--out", bad[i], NULL }), 2);
                cr_assert_eq(run(command_predict, (const char *[]){ "predict", "category", "--model", "none", "--out", bad[i], NULL }), 2);
                cr_assert_eq(run(command_eval, (const char *[]){ "eval", "category", "--model", "none", "--in", "none", "--text", "q", "--label", "c",
                                                                 "--predictions", bad[i], NULL }), 2);
        }
        cr_assert_eq(run(command_embed, (const char *[]){ "embed", "--edges", "none", "--out", "/dev/null", NULL }), 2, "it would be replaced");
        cr_assert_eq(run(command_embed, (const char *[]){ "embed", "--edges", "none", "--out", in_folder("v"), NULL }), 1, "the edges are what is wrong");
}

static void predicts(const char *input, const char *const *more, int status, const char *output)
{
        const char *argv[16] = { "predict", "category", "--model", in_folder("m.safetensors"), "--in", in_folder("in"), "--out", in_folder("out") };
        char got[4096] = "";
        size_t n = 8;
        FILE *f;

        for (; *more; more++)
                argv[n++] = *more;
        put("in", input);
        cr_assert_eq(run(command_predict, argv), status, "%s", input);
        f = fopen(in_folder("out"), "re");
        cr_assert(f);
        got[fread(got, 1, sizeof got - 1, f)] = '\0';
        (void)fclose(f);
        for (char *p = got; (p = strstr(p, "0.")) != NULL; p++) /* how sure it is, is not this test's business */
                memmove(p + 1, p + strspn(p, "0123456789."), strlen(p + strspn(p, "0123456789.")) + 1);
        cr_assert_str_eq(got, output);
}
#define PREDICTS(input, status, output, ...) predicts(input, (const char *const[]){ __VA_ARGS__, NULL }, status, output)

Test(train, predicts_what_nobody_has_labelled)
{
        write_prompts();
        cr_assert_eq(train_model("m.safetensors", "7"), 0);
        PREDICTS("the verdict of the court\n\n  \nthe judge in court\r\n", 0, "#id\tcategory\tconfidence\tsure\n1\tlaw\t0\ttrue\n4\tlaw\t0\ttrue\n", "--tsv",
                 "--threshold", "0.1");
        PREDICTS("{\"id\":7,\"text\":\"the verdict of the court\"}\n{\"text\":[\"the verdict\",\"of the court\"]}\n", 0,
                 "{\"id\":7,\"category\":\"law\",\"confidence\":0,\"sure\":true}\n{\"id\":\"2\",\"category\":\"law\",\"confidence\":0,\"sure\":true}\n", "--threshold", "0.1");
        PREDICTS("#key\tq\nk1\tthe verdict of the court\n\tthe judge in court\n", 0, "#id\tcategory\tconfidence\tsure\nk1\tlaw\t0\tfalse\n3\tlaw\t0\tfalse\n", "--tsv",
                 "--id", "key", "--text", "q", "--threshold", "1");
        PREDICTS("the verdict\tof the court\n", 0, "#id\tcategory\tconfidence\tsure\n1\tlaw\t0\ttrue\n", "--tsv", "--plain", "--threshold", "0.1");
        PREDICTS("a\tb\n", 1, "", "--text", "q");
        PREDICTS("{\"text\":\n", 1, "", "--id", "id");
        PREDICTS("{\"text\":\"the verdict of the court\"}\n{}\n", 0, "#id\tcategory\tconfidence\tsure\n1\tlaw\t0\tfalse\n", "--tsv", "--max-bad", "1", "--threshold", "1");
        PREDICTS("", 1, "", "--id", "id");
}

Test(train, wrong_arguments_are_refused)
{
        static const char *const none[] = { "category", NULL };
        static const char *const seed[] = { "category", "--seed", "x", NULL };
        static const char *const extra[] = { "category", "what", NULL };
        static const char *const unknown[] = { "map", "--no-such-thing", NULL };
        static const char *const help[] = { "category", "--help", NULL };

        cr_assert_eq(run(command_category, none), 2);
        cr_assert_eq(run(command_category, seed), 2);
        cr_assert_eq(run(command_category, extra), 2);
        cr_assert_eq(run(command_map, unknown), 2);
        cr_assert_eq(run(command_eval, (const char *[]){ "eval", "nothing", NULL }), 2);
        cr_assert_eq(run(command_category, help), 0);
}

/* Presets are read as values are: a table with one that is none would not even show its help. */
Test(train, each_command_shows_its_table)
{
        static int (*const commands[])(int, char **) = { command_category, command_map, command_map2d, command_embed, command_instruct,
                                                         command_eval, command_eval_instruct, command_eval_score, command_predict, command_score, command_tune };

        for (size_t i = 0; i < LENGTH_OF(commands); i++)
                cr_assert_eq(run(commands[i], (const char *[]){ "x", "--help", NULL }), 0, "%zu", i);
}

Test(train, a_mistake_names_the_option_and_what_would_be_right)
{
#define WRONG(command, ...) cr_expect_eq(run(command, (const char *[]){ "x", __VA_ARGS__, NULL }), 2)
        WRONG(command_map, "--shrunk", "3");
        WRONG(command_map, "--no-such-thing=1");
        WRONG(command_instruct, "--t", "3");
        WRONG(command_embed, "--json");
        WRONG(command_category, "--json=1");
        WRONG(command_category, "--seed");
        WRONG(command_category, "--bits", "19");
        WRONG(command_map2d, "--perplexity", "nan");
        WRONG(command_embed, "--method", "knn");
        WRONG(command_embed, "--edges", "e");
        WRONG(command_map, "--outcomes", "o", "more");
        (void)fflush(stderr);
        cr_assert_stderr_eq_str("pointsman-train map: unknown option '--shrunk' - did you mean '--shrink'?\n"
                                "pointsman-train map: unknown option '--no-such-thing=1'; see pointsman-train map --help\n"
                                "pointsman-train instruct: several options begin with '--t'; see pointsman-train instruct --help\n"
                                "pointsman-train embed: unknown option '--json'; see pointsman-train embed --help\n"
                                "pointsman-train category: --json takes no value\n"
                                "pointsman-train category: --seed needs a value\n"
                                "--bits: '19' is not a whole number in 8..18\n"
                                "--perplexity: 'nan' is not a number in 2..200\n"
                                "--method: 'knn' is not one of fastrp|svd|als\n"
                                "pointsman-train embed: --out is required; see pointsman-train embed --help\n"
                                "pointsman-train map: unexpected argument 'more'; see pointsman-train map --help\n");
}

Test(train, map_ranks_with_shrinkage)
{
        json_t *map, *ranking;

        put("a.jsonl", "{\"id\":1,\"c\":\"x\"}\n{\"id\":2,\"c\":\"x\"}\n{\"id\":3,\"c\":\"y\"}\n{\"id\":4,\"c\":\"y\"}\n");
        put("o.tsv", "#id\tA\tB\tC\n1\t1\t0\t0\n2\t1\t0\t-\n3\t0\t1\t0\n4\t0\t1\t1\n");
        cr_assert_eq(run(command_map, (const char *[]){ "map", "--outcomes", in_folder("o.tsv"), "--labels", in_folder("a.jsonl"),
                                                        "--label", "c", "--experts", "big=A,B", "--shrink", "2", "--out",
                                                        in_folder("map.json"), NULL }), 0);
        map = json_load_file(in_folder("map.json"), 0, NULL);
        ranking = json_object_get(json_object_get(map, "rankings"), "x");
        cr_assert_eq(json_array_size(ranking), 2);
        cr_assert_str_eq(json_string_value(json_array_get(ranking, 0)), "big");
        ranking = json_object_get(json_object_get(map, "rankings"), "y");
        cr_assert_str_eq(json_string_value(json_array_get(ranking, 0)), "B");
        /* (2 right + 2 * overall .5) / (2 + 2) */
        cr_assert_float_eq(json_real_value(json_object_get(json_object_get(json_object_get(map, "scores"), "x"), "big")), .75, 1e-6);
        cr_assert(json_object_get(json_object_get(map, "rankings"), "general"));
        json_decref(map);
}

Test(train, wrong_outcomes_are_refused)
{
        static const char *const wrong[] = {
                "", "id\tA\n1\t0\n", "#id\n1\n", "#id\tA\n1\t2\n", "#id\tA\n1\tyes\n", "#id\tA\n1\t0\t1\n", "#id\tA\n1\t0\n1\t1\n",
                "#id\tA\n1\tnan\n", "#id\tA\n",
        };
        struct outcomes o;

        for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
                put("o.tsv", wrong[i]);
                cr_assert_lt(outcomes_read(in_folder("o.tsv"), NULL, &o), 0, "%s", wrong[i]);
        }
        put("o.tsv", "#id\tA\tB\n1\t0\t1\n");
        cr_assert_lt(outcomes_read(in_folder("o.tsv"), "A,A", &o), 0);
        cr_assert_lt(outcomes_read(in_folder("o.tsv"), "C", &o), 0);
        cr_assert_eq(outcomes_read(in_folder("o.tsv"), "second=B", &o), 0);
        cr_assert_str_eq(o.experts[0], "second");
        cr_assert_float_eq((double)outcomes_find(&o, "1")[0], 1, 1e-9);
        cr_assert_null(outcomes_find(&o, "2"));
        outcomes_finish(&o);
}

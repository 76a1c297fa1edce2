/* SPDX-License-Identifier: Apache-2.0 */
/* From outcomes, examples and sentences to an instruct model: who is preferred where, and that one more expert changes nothing of the others. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>

#include "base.h"
#include "commands.h"
#include "encoder.h"
#include "folder.h"
#include "gates.h"
#include "noise.h"
#include "training_set.h"

static char encoder_folder[PATH_MAX], why[256];

static void begin(void)
{
        cr_redirect_stderr();
        cr_redirect_stdout();
        folder_begin();
        (void)snprintf(encoder_folder, sizeof encoder_folder, "%s/pointsman-static", secure_getenv("PM_MODELS"));
}

TestSuite(instruct_train, .init = begin, .fini = folder_end);

static int train(const char *const *more)
{
        const char *words[40] = { "instruct", "--encoder", encoder_folder, "--threads", "2" };
        char *argv[41];
        int n = 5;

        for (; *more; more++)
                words[n++] = *more;
        for (int i = 0; i < n; i++)
                argv[i] = strdup(words[i]);
        argv[n] = NULL;
        optind = 0;
        n = command_instruct(n, argv);
        for (int i = 0; argv[i]; i++)
                free(argv[i]);
        return n;
}
#define TRAIN(...) train((const char *const[]){ __VA_ARGS__, NULL })

static struct gates *open_model(const char *name)
{
        struct gates *g = NULL;

        cr_assert_eq(gates_open(in_folder(name), &g, why, sizeof why), 0, "%s", why);
        return g;
}

/* The expert that leads from near, or from afar, for a text. */
static const char *leads(const struct gates *g, const char *text, bool afar)
{
        const struct gates_parts *p = gates_parts(g);
        float v[ENCODER_DIM_MAX], score[8];
        struct encoder *e;
        size_t best = 0;

        cr_assert_eq(encoder_open(encoder_folder, &e, why, sizeof why), 0, "%s", why);
        cr_assert_eq(training_set_encode(e, text, v), 0);
        encoder_destroy(e);
        if (afar)
                (void)gates_global(g, v, score, NULL);
        else
                gates_local(g, GATES_MEAN, v, 1, score);
        for (size_t k = 1; k < p->experts; k++)
                if (score[k] > score[best])
                        best = k;
        return p->names[best];
}

static const char experts[] =
        "{\"expert\": \"sums\", \"instruction\": \"Solve mathematics problems, requiring calculation and algebra.\", \"examples\": [\"What is 3 + 4 * 2?\","
        " \"Integrate x^2 from 0 to 1.\", \"Solve the equation 2x + 3 = 9.\"]}\n"
        "{\"expert\": \"coder\", \"examples\": [\"Write a Python function that reverses a list.\", \"Why does this loop in C never end?\"]}\n"
        "{\"expert\": \"poet\", \"description\": \"Write poems and stories, requiring feeling for rhythm and language.\"}\n";

Test(instruct_train, by_examples_and_sentences)
{
        const struct gates_parts *p;
        struct gates *g;

        put("e.jsonl", experts);
        cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--out", in_folder("m.safetensors")), 0);
        g = open_model("m.safetensors");
        p = gates_parts(g);
        cr_assert(p->experts == 3 && p->instructions == 2);
        cr_assert(p->gamma >= 100 && p->gamma <= 100 && p->beta >= 3 && p->beta <= 3 && p->threshold > .79 && p->threshold < .81, "the paper's");
        cr_assert(p->strengths[0] >= 1 && isnan(p->strengths[1]) && isnan(p->strengths[2]) && isnan(p->strengths[3]), "coder has no sentence");
        cr_assert_str_eq(leads(g, "Compute the derivative of x^3 and solve for x", false), "sums");
        cr_assert_str_eq(leads(g, "Fix the bug in my Python loop", false), "coder");
        cr_assert_str_eq(leads(g, "Write a poem about the rhythm of the sea", false), "poet");
        cr_assert_str_eq(leads(g, "Solve algebra problems, requiring exact calculation.", true), "sums");
        cr_assert_str_eq(leads(g, "Write short stories and verse.", true), "poet");
        gates_destroy(g);
}

/* All numbers of an expert, and what is frozen. */
static void same_expert(const struct gates *a, const struct gates *b, size_t k)
{
        const struct gates_parts *p = gates_parts(a), *q = gates_parts(b);

        cr_assert_str_eq(p->names[k], q->names[k]);
        cr_assert_eq(memcmp(p->gates + k * p->dim, q->gates + k * p->dim, p->dim * sizeof(float)), 0, "the gate of %s", p->names[k]);
        cr_assert_eq(memcmp(p->strengths + k * p->instructions, q->strengths + k * q->instructions, p->instructions * sizeof(float)), 0);
        for (size_t j = p->instructions; j < q->instructions; j++)
                cr_assert(isnan(q->strengths[k * q->instructions + j]));
}

Test(instruct_train, one_more_changes_nothing_of_the_others)
{
        const struct gates_parts *p, *q;
        struct gates *g, *h;

        put("e.jsonl", experts);
        cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--out", in_folder("m.safetensors")), 0);
        put("e.jsonl", "{\"expert\": \"lawyer\", \"description\": \"Answer questions about law and contracts.\", \"examples\": [\"Is an oral contract binding in court?\"]}\n");
        cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--add", in_folder("m.safetensors"), "--out", in_folder("n.safetensors")), 0);
        g = open_model("m.safetensors");
        h = open_model("n.safetensors");
        p = gates_parts(g);
        q = gates_parts(h);
        cr_assert(q->experts == 4 && q->instructions == 3);
        for (size_t k = 0; k < 3; k++)
                same_expert(g, h, k);
        cr_assert_eq(memcmp(p->centre, q->centre, p->dim * sizeof(float)), 0);
        cr_assert_eq(memcmp(p->reference, q->reference, (p->dim + 1) * sizeof(float)), 0);
        cr_assert_eq(memcmp(p->vectors, q->vectors, p->instructions * p->dim * sizeof(float)), 0);
        cr_assert_eq(memcmp(p->background, q->background, p->backgrounds * p->dim * sizeof(float)), 0);
        cr_assert_str_eq(leads(h, "Can my landlord end the contract in court?", false), "lawyer");
        cr_assert_str_eq(leads(h, "Fix the bug in my Python loop", false), "coder", "the others lead where they did");
        gates_destroy(g);
        gates_destroy(h);
        cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--add", in_folder("n.safetensors"), "--out", in_folder("m.safetensors")), 1, "it is there already");
}

/* Two tasks; `maths` is right in the one, `words` in the other, `even` in half of each. */
static void put_outcomes(bool third)
{
        static const char *const topics[2][6] = { { "number", "equation", "integral", "algebra", "sum", "fraction" },
                                                  { "poem", "novel", "verse", "story", "drama", "essay" } };
        FILE *q = fopen(in_folder("q.jsonl"), "we"), *o = fopen(in_folder("o.tsv"), "we");

        cr_assert(q && o);
        (void)fprintf(o, "#id\tmaths\twords%s\n", third ? "\teven" : "");
        for (int i = 0; i < 240; i++) {
                int task = i % 2;

                (void)fprintf(q, "{\"id\": \"%d\", \"task\": \"%s\", \"text\": \"Tell me about the %s and the %s of case %d.\"}\n", i, task ? "letters" : "sums",
                              topics[task][i / 2 % 6], topics[task][i / 12 % 6], i);
                (void)fprintf(o, "%d\t%d\t%d%s\n", i, task == 0 || i % 10 == 1, task == 1 || i % 10 == 2, third ? i / 2 % 2 ? "\t1" : "\t0" : "");
        }
        (void)fclose(q);
        (void)fclose(o);
        put("i.jsonl", "{\"task\": \"sums\", \"instruction\": \"Solve mathematics problems, requiring calculation.\"}\n"
                       "{\"task\": \"letters\", \"instruction\": \"Discuss literature, requiring knowledge of poems and novels.\"}\n");
}

Test(instruct_train, by_outcomes_and_one_more_by_its_own)
{
        const struct gates_parts *p, *q;
        struct gates *g, *h;

        put_outcomes(false);
        cr_assert_eq(TRAIN("--outcomes", in_folder("o.tsv"), "--in", in_folder("q.jsonl"), "--text", "text", "--label", "task", "--instructions",
                           in_folder("i.jsonl"), "--shrink", "10", "--out", in_folder("m.safetensors")), 0);
        g = open_model("m.safetensors");
        p = gates_parts(g);
        cr_assert(p->experts == 2 && p->instructions == 2);
        for (size_t j = 0; j < 2; j++) /* labels in order of names: letters, sums */
                for (size_t k = 0; k < 2; k++)
                        cr_assert((p->strengths[k * 2 + j] > .3f) == (k != j) && (p->strengths[k * 2 + j] < -.3f) == (k == j), "%zu %zu %g", k, j,
                                  (double)p->strengths[k * 2 + j]);
        cr_assert_str_eq(leads(g, "the integral of an equation", false), "maths");
        cr_assert_str_eq(leads(g, "a verse of a poem", false), "words");
        cr_assert_str_eq(leads(g, "Solve mathematics problems, requiring calculation.", true), "maths");
        cr_assert_str_eq(leads(g, "Interpret verse and drama, requiring knowledge of literature.", true), "words");
        cr_assert(gates_meta(g, "held_in") && strtod(gates_meta(g, "held_in"), NULL) > .95, "%s", gates_meta(g, "held_in"));

        put_outcomes(true);
        cr_assert_eq(TRAIN("--outcomes", in_folder("o.tsv"), "--columns", "even", "--in", in_folder("q.jsonl"), "--text", "text", "--label", "task",
                           "--instructions", in_folder("i.jsonl"), "--add", in_folder("m.safetensors"), "--out", in_folder("n.safetensors")), 0);
        h = open_model("n.safetensors");
        q = gates_parts(h);
        cr_assert(q->experts == 3 && q->instructions == 2, "the sentences are those that are there");
        for (size_t k = 0; k < 2; k++)
                same_expert(g, h, k);
        cr_assert(fabsf(q->strengths[4]) < .2f && fabsf(q->strengths[5]) < .2f, "%g %g", (double)q->strengths[4], (double)q->strengths[5]);
        cr_assert_str_eq(leads(h, "Solve mathematics problems, requiring calculation.", true), "maths");
        gates_destroy(g);
        gates_destroy(h);
}

/* Which expert is right has nothing to do with the words; `good` is right more often.  Gates learn noise, and without the means the choice was
 * worse than `good` alone, and nobody said so. */
Test(instruct_train, gates_that_know_nothing_are_no_worse_than_the_best_expert_alone)
{
        static const char *const topics[] = { "number", "poem", "river", "engine", "law", "cell", "star", "market" };
        FILE *q = fopen(in_folder("q.jsonl"), "we"), *o = fopen(in_folder("o.tsv"), "we");
        const struct gates_parts *p;
        struct gates *g;
        double held, single;

        cr_assert(q && o);
        (void)fprintf(o, "#id\tgood\tbad\tworse\n");
        for (unsigned i = 0; i < 400; i++) {
                (void)fprintf(q, "{\"id\": \"%u\", \"task\": \"%s\", \"text\": \"Tell me of the %s and the %s, number %u.\"}\n", i, i % 2 ? "odd" : "even",
                              topics[i * 7 % 8], topics[i * 5 / 3 % 8], i);
                (void)fprintf(o, "%u\t%d\t%d\t%d\n", i, noise_uniform(noise_bits(1, i, 0)) < .7, noise_uniform(noise_bits(1, i, 1)) < .4,
                              noise_uniform(noise_bits(1, i, 2)) < .35);
        }
        (void)fclose(q);
        (void)fclose(o);
        put("i.jsonl", "{\"task\": \"even\", \"instruction\": \"Solve mathematics problems, requiring calculation.\"}\n"
                       "{\"task\": \"odd\", \"instruction\": \"Discuss literature, requiring knowledge of poems and novels.\"}\n");
        for (int sentences = 0; sentences < 2; sentences++) { /* whose strengths hold the means too, where there are any */
                cr_assert_eq(TRAIN("--outcomes", in_folder("o.tsv"), "--in", in_folder("q.jsonl"), "--text", "text", "--label", "task", "--out",
                                   in_folder("m.safetensors"), sentences ? "--instructions" : NULL, in_folder("i.jsonl")), 0);
                g = open_model("m.safetensors");
                p = gates_parts(g);
                held = strtod(gates_meta(g, "held_in"), NULL);
                single = strtod(gates_meta(g, "single_in"), NULL);
                cr_assert(single > .6, "%g", single);
                cr_assert(held >= single - 1e-3, "%g, and %g alone", held, single);
                cr_assert(sentences || (p->delta > 0 && p->means && p->means[0] > p->means[1]), "%g", p->delta);
                cr_assert(p->sure >= .5 && p->sure <= .9, "%g", p->sure);
                gates_destroy(g);
        }
}

Test(instruct_train, the_same_input_gives_the_same_bytes)
{
        char a[1 << 16], b[1 << 16];
        FILE *f;
        size_t n = 0, m;

        put("e.jsonl", experts);
        for (int i = 0; i < 2; i++)
                cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--out", in_folder(i ? "n.safetensors" : "m.safetensors")), 0);
        cr_assert((f = fopen(in_folder("m.safetensors"), "re")) && (n = fread(a, 1, sizeof a, f)) > 1000);
        (void)fclose(f);
        cr_assert((f = fopen(in_folder("n.safetensors"), "re")) && (m = fread(b, 1, sizeof b, f)) == n);
        (void)fclose(f);
        cr_assert_eq(memcmp(a, b, n), 0);
}

Test(instruct_train, what_cannot_work_is_refused)
{
        static const char *const bad[] = { "{\"expert\": \"a\"}\n", "{\"instruction\": \"Do it well, please.\"}\n", "[1]\n", "{\"expert\": \"a\", \"examples\": [1]}\n",
                                           "{\"expert\": \"a\", \"description\": \"One two three.\"}\n{\"expert\": \"a\", \"description\": \"One two four.\"}\n" };

        cr_assert_eq(TRAIN("--out", in_folder("m.safetensors")), 2, "neither experts nor outcomes");
        cr_assert_eq(TRAIN("--experts", in_folder("nowhere"), "--out", in_folder("m.safetensors")), 1);
        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                put("e.jsonl", bad[i]);
                cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--out", in_folder("m.safetensors")), 1, "%s", bad[i]);
        }
        put("e.jsonl", experts);
        cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--window", "512", "--add", in_folder("n.safetensors"), "--out", in_folder("m.safetensors")), 2,
                     "the model says it");
        cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--combine", "sum", "--out", in_folder("m.safetensors")), 2);
        put("m.safetensors", "not a model");
        cr_assert_eq(TRAIN("--experts", in_folder("e.jsonl"), "--add", in_folder("m.safetensors"), "--out", in_folder("n.safetensors")), 1);
}

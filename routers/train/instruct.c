/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train instruct: a model for instruct.so.  Experts are known by recorded outcomes, or by themselves; with --add one more is taken
 * into a model that is there, of which nothing changes.
 */
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "chunks.h"
#include "commands.h"
#include "gates_fit.h"
#include "gating.h"
#include "instructions.h"
#include "parallel.h"

struct instruct_task {
        struct training_set_source source;
        struct gating_settings settings;
        struct instructions_ask ask;
        const char *encoder_folder, *add, *out;
        int combine;  /* COMBINE_NONE: not given */
        struct encoder *encoder;
        struct gates *old;
        struct training_set set;
        struct gating gating;
};

#define COMBINE_NONE (-1)

static const struct argument table[] = {
        ARGUMENT_HEADING("Experts that are described, one JSON object a line:"),
        ARGUMENT_TEXT(struct instruct_task, source.experts, "experts", "FILE", 0, NULL,
                      "{\"expert\": NAME, \"instruction\": SENTENCE, \"examples\": [PROMPT, ...]}; one of both is enough"),
        ARGUMENT_HEADING("\nExperts that are known by their outcomes on prompts of several tasks:"),
        TRAINING_SET_ARGUMENTS(struct instruct_task, source, 0, ""),
        ARGUMENT_HEADING(""),
        ARGUMENT_TEXT(struct instruct_task, ask.url, "ask", "URL", 0, NULL, "an OpenAI-compatible server "
                      "(http://127.0.0.1:8080/v1), asked for the sentences that are missing, from three prompts each; "
                      "its key, if it wants one, from the environment: POINTSMAN_ASK_KEY"),
        ARGUMENT_TEXT(struct instruct_task, ask.model, "ask-model", "NAME", 0, NULL, "the model that is asked"),
        ARGUMENT_OUTPUT(struct instruct_task, ask.out, "ask-out", "FILE", 0, ARGUMENT_WRITTEN,
                        "writes the sentences that came, as --instructions and --experts take them"),
        ARGUMENT_TEXT(struct instruct_task, add, "add", "MODEL", 0, NULL, "take the experts into this model; its own experts stay "
                      "as they are, to the bit"),
        ARGUMENT_HEADING(""),
        ARGUMENT_TEXT(struct instruct_task, encoder_folder, "encoder", "FOLDER", PM_REQUIRED, NULL,
                      "static encoder (Model2Vec's layout), the one that instruct.so is given"),
        ARGUMENT_CHOICE(struct instruct_task, combine, "combine", NULL, "mean|max", "of a prompt's parts (mean)"),
        ARGUMENT_NUMBER(struct instruct_task, source.window, "window", NULL, CHUNKS_WINDOW_MIN, 1 << 20,
                        "bytes; parts that are longer are cut (1024)"),
        ARGUMENT_REAL(struct instruct_task, settings.l2, "l2", "30", 1e-3, 1e6, "how much a gate is held back"),
        ARGUMENT_REAL(struct instruct_task, settings.shrink, "shrink", "150", 0, 1e6,
                      "prompts of overall quality that a task's strength begins with"),
        ARGUMENT_REAL(struct instruct_task, settings.sharpness, "sharpness", NULL, 0, 1e4,
                      "softmax over an expert's instructions: exp(X cos) (10)"),
        ARGUMENT_REAL(struct instruct_task, settings.gamma, "gamma", NULL, 0, 1e6,
                      "weight of the view from afar where an instruction is at least --threshold near; this and the next "
                      "two are tuned by cross-validation where there are outcomes (else 100)"),
        ARGUMENT_REAL(struct instruct_task, settings.beta, "beta", NULL, 0, 1e6, "and elsewhere (else 3)"),
        ARGUMENT_REAL(struct instruct_task, settings.threshold, "threshold", NULL, -1, 2, "how near that is (else 0.8)"),
        ARGUMENT_NUMBER(struct instruct_task, settings.seed, "seed", "0", 0, INT32_MAX, "of what is drawn"),
        ARGUMENT_NUMBER(struct instruct_task, settings.threads, "threads", NULL, 1, PARALLEL_THREADS_MAX,
                        "threads that compute (one per processor)"),
        ARGUMENT_OUTPUT(struct instruct_task, out, "out", "FILE", PM_REQUIRED, ARGUMENT_REPLACED, "safetensors"),
        ARGUMENT_END,
};

static const struct arguments arguments = {
        .command = "instruct",
        .forms = "usage: pointsman-train instruct --encoder FOLDER --out model.safetensors\n"
                 "           [--experts F.jsonl] [--outcomes F.tsv --in F.jsonl --text FIELD --label FIELD --instructions F.jsonl]\n"
                 "           [--add OLD.safetensors] [--ask URL --ask-model NAME]\n",
        .table = table,
};

/* 0: go on; else the exit status plus one. */
static int read_arguments(struct instruct_task *t, int argc, char **argv)
{
        int r = arguments_read(&arguments, argc, argv, t);

        if (r)
                return r;
        if (!t->source.experts && !t->source.outcomes) {
                (void)fprintf(stderr, "instruct: --experts or --outcomes must say what the experts are like\n");
                return 3;
        }
        if (training_set_missing("instruct", &t->source))
                return 3;
        if (t->add && (t->combine != COMBINE_NONE || t->source.window || !isnan(t->settings.sharpness))) {
                (void)fprintf(stderr, "instruct: --combine, --window and --sharpness are the model's: with --add they stay as they are\n");
                return 3;
        }
        if (t->ask.url && !t->ask.model)
                return 1 + argument_missing("instruct", "--ask-model");
        t->settings.combine = t->combine == 1 ? GATES_MAX : GATES_MEAN;
        if (!t->source.window)
                t->source.window = CHUNKS_WINDOW;
        if (isnan(t->settings.sharpness))
                t->settings.sharpness = 10;
        t->source.threads = t->settings.threads;
        return 0;
}

static int check_names(const struct instruct_task *t)
{
        for (size_t k = 0; t->old && k < t->set.n_experts; k++)
                for (size_t i = 0; i < gates_parts(t->old)->experts; i++)
                        if (strcmp(gates_parts(t->old)->names[i], t->set.experts[k].name) == 0) {
                                (void)fprintf(stderr, "model '%s' has an expert '%s' already\n", t->add, t->set.experts[k].name);
                                return -EEXIST;
                        }
        if (t->set.n_experts + (t->old ? gates_parts(t->old)->experts : 0) <= GATES_EXPERTS_MAX)
                return 0;
        (void)fprintf(stderr, "%zu experts are too many, at most %d are possible\n", t->set.n_experts, GATES_EXPERTS_MAX);
        return -E2BIG;
}

static void warn_missing(const struct training_set *l)
{
        for (size_t i = 0; i < l->rows.n_labels; i++)
                if (!l->task_instructions[i])
                        (void)fprintf(stderr, "task '%s' has no instruction (--instructions, or --ask): it is known from near alone\n", l->rows.labels[i]);
        for (size_t k = 0; k < l->n_experts; k++)
                if (!l->experts[k].by_outcomes && !l->experts[k].instruction)
                        (void)fprintf(stderr, "expert '%s' has no instruction (in --experts, or --ask): it is known from near alone\n", l->experts[k].name);
}

/* Beside what one expert for all would have got: who is not better than that routes for nothing. */
static void print_held(const struct instruct_task *t)
{
        const struct gating *g = &t->gating;
        size_t best = 0;

        if (isnan(g->held_in))
                return;
        for (size_t k = 1; k < g->parts.experts; k++)
                best = g->means[k] > g->means[best] ? k : best;
        if (isnan(g->held_out)) {
                (void)printf("cross-validated mean outcome: %.4f on prompts of known tasks; no task could be held out\n", g->held_in);
                (void)printf("the best expert alone:        %.4f ('%s')\n", g->single_in, g->names[best]);
        } else {
                (void)printf("cross-validated mean outcome: %.4f on prompts of known tasks, %.4f on tasks held out\n", g->held_in, g->held_out);
                (void)printf("the best expert alone:        %.4f, %.4f ('%s')\n", g->single_in, g->single_out, g->names[best]);
        }
        if (g->held_in < g->single_in || g->held_out < g->single_out)
                (void)fprintf(stderr, "warning: %s it is worse than '%s' alone: more prompts with outcomes, other experts, or no router at all\n",
                              g->held_in < g->single_in ? "on prompts of known tasks" : "on tasks that it does not know", g->names[best]);
        else if (!(g->held_in > g->single_in))
                (void)fprintf(stderr, "warning: it is no better than '%s' alone\n", g->names[best]);
}

static int save(struct instruct_task *t)
{
        struct gates_parts *p = &t->gating.parts;
        char hex[65], data[65], in[32] = "", out[32] = "", single[32] = "", why[256] = "";
        const char *meta[] = { "trained_on_sha256", data, "held_in", in, "held_out", out, "single_in", single, NULL };
        int r;

        p->encoder = hex;
        if (encoder_digest(t->encoder, hex) < 0 || training_set_digest(&t->set, data) < 0)
                return -ENOMEM;
        if (!isnan(t->gating.held_in))
                (void)snprintf(in, sizeof in, "%.4f", t->gating.held_in);
        if (!isnan(t->gating.held_out))
                (void)snprintf(out, sizeof out, "%.4f", t->gating.held_out);
        if (!isnan(t->gating.single_in))
                (void)snprintf(single, sizeof single, "%.4f", t->gating.single_in);
        r = gates_save(p, t->out, meta, why, sizeof why);
        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->out, why[0] ? why : ERRNO_TEXT(-r));
                return r;
        }
        (void)printf("%s: %zu experts, %zu instructions, %zu prompts of %zu tasks; gamma %g, beta %g, threshold %g, delta %g, sure from %g\n", t->out,
                     p->experts, p->instructions, t->set.n, t->set.rows.n_labels, p->gamma, p->beta, p->threshold, p->delta, p->sure);
        print_held(t);
        return 0;
}

static int run(struct instruct_task *t)
{
        int r = gating_open(t->encoder_folder, t->add, &t->encoder, &t->old);

        if (r == 0 && t->old)
                t->source.window = gates_parts(t->old)->window;
        if (r == 0)
                r = training_set_read(&t->source, t->encoder, &t->set);
        if (r == 0)
                r = check_names(t);
        if (r == 0 && t->ask.url)
                r = instructions_ask(&t->ask, &t->set);
        if (r < 0)
                return r;
        warn_missing(&t->set);
        r = gating_fit(&t->set, NULL, t->old, &t->settings, &t->gating);
        if (r == 0 && !t->old && t->source.outcomes)
                r = gating_tune(&t->set, &t->settings, &t->gating);
        return r < 0 ? r : save(t);
}

int command_instruct(int argc, char **argv)
{
        struct instruct_task t = { .combine = COMBINE_NONE, .settings = { .gamma = NAN, .beta = NAN, .threshold = NAN, .sharpness = NAN,
                                                                          .threads = parallel_processors() } };
        int r = read_arguments(&t, argc, argv);

        if (r)
                return r - 1;
        r = run(&t);
        gating_finish(&t.gating);
        training_set_finish(&t.set);
        gates_destroy(t.old);
        encoder_destroy(t.encoder);
        return r < 0;
}

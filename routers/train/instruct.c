/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train instruct: a model for instruct.so.  Experts are known by recorded outcomes, or by themselves; with --add one more is taken
 * into a model that is there, of which nothing changes.
 */
#include <math.h>

#include "base.h"
#include "chunks.h"
#include "commands.h"
#include "gates_fit.h"
#include "gating.h"
#include "instructions.h"
#include "parallel.h"

static const char help_text[] =
        "usage: pointsman-train instruct --encoder FOLDER --out model.safetensors\n"
        "           [--experts F.jsonl] [--outcomes F.tsv --in F.jsonl --text FIELD --label FIELD --instructions F.jsonl]\n"
        "           [--add OLD.safetensors] [--ask URL --ask-model NAME]\n"
        "\n"
        "Experts that are known by themselves, an object a line:\n"
        "  --experts FILE         {\"expert\": NAME, \"instruction\": SENTENCE, \"examples\": [PROMPT, ...]}; one of both is enough\n"
        "\n"
        "Experts that are known by how they did on prompts of several tasks:\n"
        LESSONS_HELP "\n"
        "  --ask URL              an OpenAI-compatible server (http://127.0.0.1:8080/v1), asked for the sentences that are missing, from three\n"
        "                         prompts each; its key, if it wants one, from the environment: POINTSMAN_ASK_KEY\n"
        "  --ask-model NAME       the model that is asked\n"
        "  --ask-out FILE         writes the sentences that came, as --instructions and --experts take them\n"
        "  --add MODEL            take the experts into this model; its own experts stay as they are, to the bit\n"
        "\n"
        "  --encoder FOLDER       static encoder (Model2Vec's layout), the one that instruct.so is given\n"
        "  --combine mean|max     of a prompt's parts (mean)\n"
        "  --window BYTES         parts that are longer are cut (1024)\n"
        "  --l2 L                 how much a gate is held back (30)\n"
        "  --shrink N             prompts of overall quality that a task's strength begins with (150)\n"
        "  --sharpness S          softmax over an expert's instructions: exp(S cos) (10)\n"
        "  --gamma G, --beta B, --threshold T   weight of the view from afar where an instruction is at least T near, and elsewhere\n"
        "                         (tuned by cross-validation where there are outcomes, else 100, 3 and 0.8)\n"
        "  --seed N, --threads N  (0, as many as there are processors)\n"
        "  --out FILE             safetensors\n";

struct task {
        struct lessons_source source;
        struct gating_settings settings;
        struct instructions_ask ask;
        const char *encoder_folder, *add, *out;
        bool shaped; /* an option was given that is the model's to say when there is one */
        struct encoder *encoder;
        struct gates *old;
        struct lessons lessons;
        struct gating gating;
};

enum argument { EXPERTS = 256, ASK, ASK_MODEL, ASK_OUT, ADD, ENCODER, COMBINE, WINDOW, L2, SHRINK, SHARPNESS, GAMMA, BETA, THRESHOLD, SEED, THREADS, OUT, HELP };

static const struct option long_options[] = {
        LESSONS_OPTIONS,
        { "experts", required_argument, NULL, EXPERTS },
        { "ask", required_argument, NULL, ASK },
        { "ask-model", required_argument, NULL, ASK_MODEL },
        { "ask-out", required_argument, NULL, ASK_OUT },
        { "add", required_argument, NULL, ADD },
        { "encoder", required_argument, NULL, ENCODER },
        { "combine", required_argument, NULL, COMBINE },
        { "window", required_argument, NULL, WINDOW },
        { "l2", required_argument, NULL, L2 },
        { "shrink", required_argument, NULL, SHRINK },
        { "sharpness", required_argument, NULL, SHARPNESS },
        { "gamma", required_argument, NULL, GAMMA },
        { "beta", required_argument, NULL, BETA },
        { "threshold", required_argument, NULL, THRESHOLD },
        { "seed", required_argument, NULL, SEED },
        { "threads", required_argument, NULL, THREADS },
        { "out", required_argument, NULL, OUT },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
};

static int take_number(struct task *t, int option, const char *value)
{
        static const struct { int option; const char *name; long min, max; } numbers[] = {
                { WINDOW, "--window", CHUNKS_WINDOW_MIN, 1 << 20 },
                { SEED, "--seed", 0, INT32_MAX }, { THREADS, "--threads", 1, PARALLEL_THREADS_MAX },
        };
        long n = 0;
        int r = -EINVAL;

        for (size_t i = 0; i < LENGTH_OF(numbers); i++)
                if (numbers[i].option == option)
                        r = argument_number(numbers[i].name, value, numbers[i].min, numbers[i].max, &n);
        if (r < 0)
                return r;
        switch (option) {
        case WINDOW: t->source.window = (size_t)n; break;
        case SEED: t->settings.seed = (unsigned)n; break;
        default: t->settings.threads = t->source.threads = (unsigned)n; break;
        }
        return 0;
}

static int take_combine(struct task *t, const char *value)
{
        if (strcmp(value, "mean") != 0 && strcmp(value, "max") != 0) {
                (void)fprintf(stderr, "--combine: '%s' is neither 'mean' nor 'max'\n", value);
                return -EINVAL;
        }
        t->settings.combine = value[1] == 'e' ? GATES_MEAN : GATES_MAX;
        return 0;
}

static int take_option(void *task, int option, const char *value)
{
        struct task *t = task;
        int r = lessons_option(&t->source, option, value);

        if (r <= 0)
                return r;
        t->shaped = t->shaped || option == COMBINE || option == WINDOW || option == SHARPNESS;
        switch (option) {
        case EXPERTS: t->source.experts = value; break;
        case ASK: t->ask.url = value; break;
        case ASK_MODEL: t->ask.model = value; break;
        case ASK_OUT: t->ask.out = value; break;
        case ADD: t->add = value; break;
        case ENCODER: t->encoder_folder = value; break;
        case COMBINE: return take_combine(t, value);
        case L2: return argument_real("--l2", value, 1e-3, 1e6, &t->settings.l2);
        case SHRINK: return argument_real("--shrink", value, 0, 1e6, &t->settings.shrink);
        case SHARPNESS: return argument_real("--sharpness", value, 0, 1e4, &t->settings.sharpness);
        case GAMMA: return argument_real("--gamma", value, 0, 1e6, &t->settings.gamma);
        case BETA: return argument_real("--beta", value, 0, 1e6, &t->settings.beta);
        case THRESHOLD: return argument_real("--threshold", value, -1, 2, &t->settings.threshold);
        case OUT: t->out = value; break;
        default: return take_number(t, option, value);
        }
        return 0;
}

/* 0: go on; else the exit status plus one. */
static int read_arguments(struct task *t, int argc, char **argv)
{
        int r = arguments_each(argc, argv, long_options, HELP, help_text, take_option, t);

        if (r)
                return r;
        if (optind < argc) {
                (void)fprintf(stderr, "instruct: what is '%s'?\n", argv[optind]);
                return 3;
        }
        if (!t->encoder_folder || !t->out)
                return 1 + argument_missing("instruct", !t->encoder_folder ? "--encoder" : "--out");
        if (!t->source.experts && !t->source.outcomes) {
                (void)fprintf(stderr, "instruct: --experts or --outcomes must say what the experts are like\n");
                return 3;
        }
        if (lessons_missing("instruct", &t->source))
                return 3;
        if (t->add && t->shaped) {
                (void)fprintf(stderr, "instruct: --combine, --window and --sharpness are the model's: with --add they stay as they are\n");
                return 3;
        }
        if (t->ask.url && !t->ask.model)
                return 1 + argument_missing("instruct", "--ask-model");
        if (t->ask.out && (r = argument_output("--ask-out", t->ask.out, false)) != 0)
                return r;
        return argument_output("--out", t->out, true);
}

static int check_names(const struct task *t)
{
        for (size_t k = 0; t->old && k < t->lessons.n_experts; k++)
                for (size_t i = 0; i < gates_parts(t->old)->experts; i++)
                        if (strcmp(gates_parts(t->old)->names[i], t->lessons.experts[k].name) == 0) {
                                (void)fprintf(stderr, "model '%s' has an expert '%s' already\n", t->add, t->lessons.experts[k].name);
                                return -EEXIST;
                        }
        if (t->lessons.n_experts + (t->old ? gates_parts(t->old)->experts : 0) <= GATES_EXPERTS_MAX)
                return 0;
        (void)fprintf(stderr, "%zu experts are too many, at most %d are possible\n", t->lessons.n_experts, GATES_EXPERTS_MAX);
        return -E2BIG;
}

static void warn_missing(const struct lessons *l)
{
        for (size_t i = 0; i < l->rows.n_labels; i++)
                if (!l->task_instructions[i])
                        (void)fprintf(stderr, "task '%s' has no instruction (--instructions, or --ask): it is known from near alone\n", l->rows.labels[i]);
        for (size_t k = 0; k < l->n_experts; k++)
                if (!l->experts[k].by_outcomes && !l->experts[k].instruction)
                        (void)fprintf(stderr, "expert '%s' has no instruction (in --experts, or --ask): it is known from near alone\n", l->experts[k].name);
}

/* Beside what one expert for all would have got: who is not better than that routes for nothing. */
static void print_held(const struct task *t)
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

static int save(struct task *t)
{
        struct gates_parts *p = &t->gating.parts;
        char hex[65], data[65], in[32] = "", out[32] = "", single[32] = "", why[256] = "";
        const char *meta[] = { "trained_on_sha256", data, "held_in", in, "held_out", out, "single_in", single, NULL };
        int r;

        encoder_digest(t->encoder, hex);
        p->encoder = hex;
        lessons_digest(&t->lessons, data);
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
                     p->experts, p->instructions, t->lessons.n, t->lessons.rows.n_labels, p->gamma, p->beta, p->threshold, p->delta, p->sure);
        print_held(t);
        return 0;
}

static int run(struct task *t)
{
        int r = gating_open(t->encoder_folder, t->add, &t->encoder, &t->old);

        if (r == 0 && t->old)
                t->source.window = gates_parts(t->old)->window;
        if (r == 0)
                r = lessons_read(&t->source, t->encoder, &t->lessons);
        if (r == 0)
                r = check_names(t);
        if (r == 0 && t->ask.url)
                r = instructions_ask(&t->ask, &t->lessons);
        if (r < 0)
                return r;
        warn_missing(&t->lessons);
        r = gating_fit(&t->lessons, NULL, t->old, &t->settings, &t->gating);
        if (r == 0 && !t->old && t->source.outcomes)
                r = gating_tune(&t->lessons, &t->settings, &t->gating);
        return r < 0 ? r : save(t);
}

int command_instruct(int argc, char **argv)
{
        struct task t = { .source = { .rows = { .id = "id", .max_bad = 100 }, .window = CHUNKS_WINDOW },
                          .settings = { .l2 = GATES_FIT_L2, .shrink = 150, .gamma = NAN, .beta = NAN, .threshold = NAN, .sharpness = 10 } };
        int r;

        t.source.threads = t.settings.threads = parallel_processors();
        r = read_arguments(&t, argc, argv);
        if (r)
                return r - 1;
        r = run(&t);
        gating_finish(&t.gating);
        lessons_finish(&t.lessons);
        gates_destroy(t.old);
        encoder_destroy(t.encoder);
        return r < 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train: the offline half of the routers.  Every subcommand reads files and writes a file or a table; nothing is sent
 * anywhere, but by `instruct --ask` to the server that it names.
 */
#include "arguments.h"
#include "base.h"
#include "commands.h"

static const struct {
        const char *name, *summary;
        int (*run)(int argc, char **argv);
} commands[] = {
        { "category", "train a category model on labelled prompts", command_category },
        { "eval", "measure a model, or routing itself: eval category --model M ..., eval route --outcomes F ...", command_eval },
        { "predict", "what a model says of prompts without labels: predict category --model M ...", command_predict },
        { "instruct", "train an instruct model: experts known by outcomes, examples or a sentence", command_instruct },
        { "embed", "vectors of users and items from a file of edges", command_embed },
#ifdef WITH_FAISS
        { "interests", "clusters, lists and an index of them, to recommend from", command_interests },
#endif
        { "map", "rank the experts of each category by recorded outcomes", command_map },
        { "tune", "when the category router is unsure, by what the chosen experts earn", command_tune },
        { "score", "train a score model: what is to be expected of each expert on a prompt", command_score },
        { "map2d", "draw prompts of several categories in a plane", command_map2d },
};

static void help(FILE *out)
{
        (void)fprintf(out, "usage: pointsman-train COMMAND [OPTION...]\n\n");
        for (size_t i = 0; i < LENGTH_OF(commands); i++)
                (void)fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
        (void)fprintf(out, "\npointsman-train COMMAND --help says more; pointsman-train --version\n");
}

int main(int argc, char **argv)
{
        const char *name = argc > 1 ? argv[1] : "";

        arguments_program = "pointsman-train";
        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
                help(stdout);
                return 0;
        }
        if (strcmp(name, "--version") == 0) {
                (void)printf("pointsman-train %s\n", PM_VERSION);
                return 0;
        }
        for (size_t i = 0; i < LENGTH_OF(commands); i++)
                if (strcmp(name, commands[i].name) == 0)
                        return commands[i].run(argc - 1, argv + 1);
        if (*name)
                (void)fprintf(stderr, "unknown command '%s'\n", name);
        help(stderr);
        return 2;
}

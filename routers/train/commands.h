/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - the subcommands of pointsman-train, and what their arguments have in common.
 */
#ifndef PM_COMMANDS_H
#define PM_COMMANDS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

/* argv[0] is the subcommand's name.  Exit status: 0, 1 after a message, 2 for wrong arguments. */
int command_category(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_map(int argc, char **argv);
int command_embed(int argc, char **argv);
int command_interests(int argc, char **argv);
int command_eval_interests(int argc, char **argv); /* argv[0]: "interests" */
int command_instruct(int argc, char **argv);
int command_eval_instruct(int argc, char **argv);  /* argv[0]: "instruct" */
int command_map2d(int argc, char **argv);
int command_predict(int argc, char **argv);

/* Gives each option to take(), which returns below 0 after a message.  0: go on; else the exit status plus one (help was shown, or an
 * argument is wrong).  optind then stands at the first argument that is no option. */
int arguments_each(int argc, char **argv, const struct option *options, int help, const char *help_text,
                   int (*take)(void *task, int option, const char *value), void *task);

/* A whole number within min..max, or -EINVAL after a message that names the option. */
int argument_number(const char *option, const char *text, long min, long max, long *ret);
int argument_real(const char *option, const char *text, double min, double max, double *ret);

/* Could that file be written, if all else goes well?  0; else 3 after a message: as read_arguments() says it.  `replaced`: by rename. */
int argument_output(const char *option, const char *path, bool replaced);
int argument_output_folder(const char *option, const char *path);

/* 2 after a message, if a required option is missing. */
int argument_missing(const char *command, const char *option);
#endif

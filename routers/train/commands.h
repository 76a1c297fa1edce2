/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - the subcommands of pointsman-train.
 */
#ifndef PM_COMMANDS_H
#define PM_COMMANDS_H

/* argv[0] is the subcommand's name.  Exit status: 0, 1 after a message, 2 for wrong arguments. */
int command_category(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_map(int argc, char **argv);
int command_embed(int argc, char **argv);
int command_interests(int argc, char **argv);
int command_eval_interests(int argc, char **argv); /* argv[0]: "interests" */
int command_instruct(int argc, char **argv);
int command_eval_instruct(int argc, char **argv);  /* argv[0]: "instruct" */
int command_eval_route(int argc, char **argv);     /* argv[0]: "route" */
int command_score(int argc, char **argv);
int command_eval_score(int argc, char **argv);     /* argv[0]: "score" */
int command_tune(int argc, char **argv);
int command_map2d(int argc, char **argv);
int command_predict(int argc, char **argv);
#endif

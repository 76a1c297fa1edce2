/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests_options.h - the settings of a catalogue by name, for --set.
 */
#ifndef PM_INTERESTS_OPTIONS_H
#define PM_INTERESTS_OPTIONS_H

#include "interests.h"

#define INTERESTS_OPTIONS_HELP                                                                   \
        "how candidates are found and weighed; may be repeated:\n"                               \
        "interests   at most so many of a user's (20)\n"                                         \
        "neighbours  users alike that smooth the mixture (10)\n"                                 \
        "own         weight of the user's own items against theirs (0.4)\n"                      \
        "near, also, votes, popular   weights of the sources: by interest, taken along, taken\n" \
        "            by users alike, popular; near alone keeps the interests in proportion\n"    \
        "self        with --one-kind: weight of the user's own item in its history\n"            \
        "sharpness   likeness s counts as exp(sharpness (s - 1))\n"                              \
        "pool        candidates by interest that are weighed, percent of what is wanted\n"       \
        "budget      vectors looked at for an interest; 0: all, which is exact"

/* What a catalogue begins with. */
struct interests_settings interests_options_default(void);

/* KEY=VALUE into a struct interests_settings; -EINVAL after a message. */
int interests_options_set(void *settings, const char *assignment);
#endif

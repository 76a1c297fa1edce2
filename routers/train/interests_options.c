/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table of names and ranges; the manifest has the same names.
 */
#include "arguments.h"
#include "base.h"
#include "interests_options.h"

static const struct {
        const char *name;
        size_t offset;
        bool whole;
        double min, max;
} keys[] = {
        { "interests", offsetof(struct interests_settings, interests), true, 1, 256 },
        { "neighbours", offsetof(struct interests_settings, neighbours), true, 0, 1024 },
        { "own", offsetof(struct interests_settings, own), false, 0, 1 },
        { "near", offsetof(struct interests_settings, near), false, 0, 1e6 },
        { "also", offsetof(struct interests_settings, also), false, 0, 1e6 },
        { "votes", offsetof(struct interests_settings, votes), false, 0, 1e6 },
        { "popular", offsetof(struct interests_settings, popular), false, 0, 1e6 },
        { "self", offsetof(struct interests_settings, self), false, 0, 1e6 },
        { "sharpness", offsetof(struct interests_settings, sharpness), false, 0, 100 },
        { "pool", offsetof(struct interests_settings, pool), true, 100, 10000 },
        { "budget", offsetof(struct interests_settings, budget), true, 0, 4e9 },
};

struct interests_settings interests_options_default(void)
{
        return (struct interests_settings){ .interests = 20, .neighbours = 10, .own = .4, .near = .3, .also = 1, .votes = .6,
                                            .popular = .02, .self = 1, .sharpness = 2, .pool = 100, .budget = 1500 };
}

int interests_options_set(void *settings, const char *assignment)
{
        struct interests_settings *s = settings;
        const char *equals = strchr(assignment, '=');
        size_t n = equals ? (size_t)(equals - assignment) : 0;

        for (size_t i = 0; equals && i < LENGTH_OF(keys); i++) {
                char option[64];
                double x = 0;
                uint32_t whole;

                if (strlen(keys[i].name) != n || strncmp(keys[i].name, assignment, n) != 0)
                        continue;
                (void)snprintf(option, sizeof option, "--set %s", keys[i].name);
                if (argument_real(option, equals + 1, keys[i].min, keys[i].max, &x) < 0)
                        return -EINVAL;
                whole = (uint32_t)x;
                if (keys[i].whole)
                        memcpy((char *)s + keys[i].offset, &whole, sizeof whole);
                else
                        memcpy((char *)s + keys[i].offset, &x, sizeof x);
                return 0;
        }
        (void)fprintf(stderr, "--set '%s': must be KEY=VALUE, with one of", assignment);
        for (size_t i = 0; i < LENGTH_OF(keys); i++)
                (void)fprintf(stderr, "%s %s", i ? "," : "", keys[i].name);
        (void)fputc('\n', stderr);
        return -EINVAL;
}

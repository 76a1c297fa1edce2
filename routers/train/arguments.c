/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines: one loop over the options of all subcommands; the whole text of a value must be what was asked for, and a message
 * names the option.
 */
#include "base.h"
#include "commands.h"

int arguments_each(int argc, char **argv, const struct option *options, int help, const char *help_text,
                   int (*take)(void *task, int option, const char *value), void *task)
{
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == help) {
                        (void)fputs(help_text, stdout);
                        return 1;
                }
                if (take(task, option, optarg) < 0)
                        return 3;
        }
        return 0;
}

int argument_number(const char *option, const char *text, long min, long max, long *ret)
{
        char *end;
        long n;

        errno = 0;
        n = strtol(text, &end, 10);
        if (end == text || *end || errno || n < min || n > max) {
                (void)fprintf(stderr, "%s: '%s' is not a whole number in %ld..%ld\n", option, text, min, max);
                return -EINVAL;
        }
        *ret = n;
        return 0;
}

int argument_real(const char *option, const char *text, double min, double max, double *ret)
{
        char *end;
        double x = strtod(text, &end);

        if (end == text || *end || !(x >= min && x <= max)) {
                (void)fprintf(stderr, "%s: '%s' is not a number in %g..%g\n", option, text, min, max);
                return -EINVAL;
        }
        *ret = x;
        return 0;
}

int argument_missing(const char *command, const char *option)
{
        (void)fprintf(stderr, "%s: %s is required; see pointsman-train %s --help\n", command, option, command);
        return 2;
}

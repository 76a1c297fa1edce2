/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines: one loop over the options of all subcommands; the whole text of a value must be what was asked for, and a message
 * names the option.
 */
#include <sys/stat.h>

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

/* The folder that a path lies in is one that can be written to. */
static bool folder_of_ok(const char *path)
{
        const char *slash = strrchr(path, '/');
        char folder[PATH_MAX];
        struct stat st;

        (void)snprintf(folder, sizeof folder, "%.*s", slash && slash != path ? (int)(slash - path) : 1, slash ? path : ".");
        if (stat(folder, &st) < 0)
                return false;
        if (!S_ISDIR(st.st_mode)) {
                errno = ENOTDIR;
                return false;
        }
        return access(folder, W_OK | X_OK) == 0;
}

int argument_output(const char *option, const char *path, bool replaced)
{
        struct stat st;
        bool there = stat(path, &st) == 0;

        errno = there && S_ISDIR(st.st_mode) ? EISDIR : !*path ? ENOENT : 0;
        if (there && errno == 0 && replaced && !S_ISREG(st.st_mode)) {
                (void)fprintf(stderr, "%s: '%s' is not a file: what is there would be replaced\n", option, path);
                return 3;
        }
        if (errno == 0 && (there && !replaced ? access(path, W_OK) == 0 : folder_of_ok(path)))
                return 0;
        (void)fprintf(stderr, "%s: cannot write '%s': %s\n", option, path, ERRNO_TEXT(errno));
        return 3;
}

int argument_output_folder(const char *option, const char *path)
{
        struct stat st;
        bool there = stat(path, &st) == 0;

        errno = there && !S_ISDIR(st.st_mode) ? ENOTDIR : !*path ? ENOENT : 0;
        if (errno == 0 && (there ? access(path, W_OK | X_OK) == 0 : folder_of_ok(path)))
                return 0;
        (void)fprintf(stderr, "%s: cannot write to folder '%s': %s\n", option, path, ERRNO_TEXT(errno));
        return 3;
}

int argument_missing(const char *command, const char *option)
{
        (void)fprintf(stderr, "%s: %s is required; see pointsman-train %s --help\n", command, option, command);
        return 2;
}

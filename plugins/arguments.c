/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines: getopt finds the options, whose values are read as strictly as those of a configuration file.  If an option is there
 * twice, the last one counts.
 */
#include <getopt.h>
#include <sys/stat.h>

#include "arguments.h"
#include "base.h"
#include "options_value.h"

#define ROWS_MAX 63
#define HELP_COLUMN 25
#define SHOWN_MAX 64
#define WIDTH 120
#define HELP 256 /* what getopt says for --help; for the n-th option n more */

const char *arguments_program = "";

static bool ended(const struct argument *row)
{
        return !row->is.key && !row->is.help;
}

/* How the option is called on the line. */
static const char *shown(const struct argument *row, char buf[SHOWN_MAX])
{
        (void)snprintf(buf, SHOWN_MAX, "%s%s", row->word ? "" : "--", row->is.key);
        return buf;
}

/* ---- values -------------------------------------------------------------------------------------------------------------- */

static void wrong_value(const char *option, const struct pm_option *o, const char *text)
{
        char range[VALUE_RANGE_MAX];

        (void)value_range(o, range);
        (void)fprintf(stderr, "%s: '%s' is not %s%s%s%s\n", option, text, o->type == PM_CHOICE ? "one of " : value_form(o->type),
                      o->type == PM_CHOICE ? o->choices : "", *range ? " in " : "", range);
}

static int store(const struct argument *row, void *self, const char *text, const char *command)
{
        void *field = (char *)self + row->is.offset;
        char option[SHOWN_MAX];
        struct value v;

        if (row->take)
                return row->take(field, text);
        if (row->is.type == PM_BOOL) {
                *(bool *)field = true;
                return 0;
        }
        if (row->is.type == PM_STR) {
                memcpy(field, &text, sizeof text);
                return 0;
        }
        if (value_parse(&row->is, text, &v) < 0) {
                wrong_value(row->word ? command : shown(row, option), &row->is, text);
                return -EINVAL;
        }
        if (row->is.type == PM_REAL)
                memcpy(field, &v.r, sizeof v.r);
        else if (row->size == sizeof(int))
                memcpy(field, &(int){ (int)v.i }, sizeof(int));
        else
                memcpy(field, &v.i, sizeof v.i);
        return 0;
}

int argument_real(const char *option, const char *text, double min, double max, double *ret)
{
        struct pm_option o = { .type = PM_REAL, .min = min, .max = max };
        struct value v;

        if (value_parse(&o, text, &v) < 0) {
                wrong_value(option, &o, text);
                return -EINVAL;
        }
        *ret = v.r;
        return 0;
}

/* ---- outputs ------------------------------------------------------------------------------------------------------------- */

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

int argument_output(const char *option, const char *path, enum argument_output how)
{
        struct stat st;
        bool there = stat(path, &st) == 0, folder = how == ARGUMENT_FOLDER, replaced = how == ARGUMENT_REPLACED;

        errno = there && S_ISDIR(st.st_mode) != folder ? (folder ? ENOTDIR : EISDIR) : !*path ? ENOENT : 0;
        if (there && errno == 0 && replaced && !S_ISREG(st.st_mode)) {
                (void)fprintf(stderr, "%s: '%s' is not a regular file and would be replaced\n", option, path);
                return 3;
        }
        if (errno == 0 && (there && !replaced ? access(path, folder ? W_OK | X_OK : W_OK) == 0 : folder_of_ok(path)))
                return 0;
        (void)fprintf(stderr, "%s: cannot write %s'%s': %s\n", option, folder ? "to folder " : "", path, ERRNO_TEXT(errno));
        return 3;
}

static int missing(const char *command, const char *option, const char *variable)
{
        (void)fprintf(stderr, "%s %s: %s is required%s%s%s; see %s %s --help\n", arguments_program, command, option, variable ? ", as $" : "",
                      variable ? variable : "", variable ? " is not set" : "", arguments_program, command);
        return 2;
}

int argument_missing(const char *command, const char *option)
{
        return missing(command, option, NULL);
}

static int check_filled(const struct arguments *a, void *self)
{
        int r = 0;

        for (const struct argument *row = a->table; r == 0 && !ended(row); row++) {
                const char *text = NULL;
                char option[SHOWN_MAX];

                if (row->is.type != PM_STR || (!(row->is.flags & PM_REQUIRED) && row->output == ARGUMENT_READ))
                        continue;
                (void)shown(row, option);
                memcpy(&text, (const char *)self + row->is.offset, sizeof text);
                if (row->environment && (!text || !*text)) {
                        text = secure_getenv(row->environment);
                        text = text && *text ? text : NULL;
                        memcpy((char *)self + row->is.offset, &text, sizeof text);
                }
                if (!text && (row->is.flags & PM_REQUIRED))
                        return 1 + missing(a->command, option, row->environment);
                if (text && row->output != ARGUMENT_READ)
                        r = argument_output(option, text, row->output);
        }
        return r;
}

/* ---- help ---------------------------------------------------------------------------------------------------------------- */

/* From a column on, in lines of the page's width; a line's end in the text is kept. */
static void put_wrapped(const char *text)
{
        const size_t room = WIDTH - HELP_COLUMN;

        while (*text) {
                size_t n = strcspn(text, "\n");

                if (n > room)
                        for (n = room; n > 1 && text[n] != ' '; n--)
                                ;
                (void)printf("%.*s\n", (int)n, text);
                text += n + (text[n] != '\0');
                if (*text)
                        (void)printf("%*s", HELP_COLUMN, "");
        }
}

static void put_row(const struct argument *row)
{
        const char *preset = row->is.preset;
        char text[2048], range[VALUE_RANGE_MAX];
        int n = row->word ? printf("  %s", row->is.key)
                          : printf(row->letter ? "  -%c, --%s%s%s" : "  %.0d--%s%s%s", row->letter, row->is.key, row->value ? " " : "",
                                   row->value ? row->value : "");
        bool told = *value_range(&row->is, range) && row->is.max < INT_MAX;

        if (n >= HELP_COLUMN - 1)
                n = printf("\n") - 1;
        (void)printf("%*s", HELP_COLUMN - n, "");
        (void)snprintf(text, sizeof text, "%s%s%s%s%s%s%s%s", row->is.help, told ? "; " : "", told ? range : "",
                       preset ? " (" : "", preset ? preset : "", preset ? ")" : "",
                       row->environment ? "; default: $" : "", row->environment ? row->environment : "");
        put_wrapped(text);
}

static void put_help(const struct arguments *a)
{
        if (a->forms) {
                (void)fputs(a->forms, stdout);
        } else {
                (void)printf("usage: %s %s", arguments_program, a->command);
                for (const struct argument *row = a->table; !ended(row); row++)
                        if (row->is.flags & PM_REQUIRED)
                                (void)printf(" --%s %s", row->is.key, row->value);
                (void)puts(" [OPTION...]");
        }
        (void)putchar('\n');
        for (const struct argument *row = a->table; !ended(row); row++)
                if (row->is.key)
                        put_row(row);
                else
                        (void)puts(row->is.help);
        if (a->note)
                (void)printf("\n%s\n", a->note);
}

/* ---- the line ------------------------------------------------------------------------------------------------------------ */

static void unknown_option(const struct arguments *a, const char *word)
{
        const char *known[ROWS_MAX + 1], *name = word + strspn(word, "-"), *nearest;
        size_t n = 0, length = strcspn(name, "="), begun = 0;
        char cut[64];

        for (const struct argument *row = a->table; !ended(row); row++)
                if (row->is.key && !row->word) {
                        begun += strncmp(row->is.key, name, length) == 0;
                        known[n++] = row->is.key;
                }
        (void)snprintf(cut, sizeof cut, "%.*s", (int)MIN(length, sizeof cut - 1), name);
        nearest = begun > 1 ? NULL : options_nearest(cut, known, n);
        if (nearest)
                (void)fprintf(stderr, "%s %s: unknown option '%s' - did you mean '--%s'?\n", arguments_program, a->command, word, nearest);
        else
                (void)fprintf(stderr, "%s %s: %s '%s'; see %s %s --help\n", arguments_program, a->command,
                              begun > 1 && length > 0 ? "several options begin with" : "unknown option", word, arguments_program, a->command);
}

/* What stands beside the options: the word of the command, a word that the table takes, or nothing. */
static int take_words(const struct arguments *a, const struct argument *row, int argc, char **argv, void *self)
{
        const char *word = strchr(a->command, ' ');
        int wanted = word || row ? 1 : 0;

        if (row && optind == argc && row->is.flags & PM_REQUIRED)
                return 1 + missing(a->command, row->is.key, NULL);
        if (row && optind < argc && store(row, self, argv[optind], a->command) < 0)
                return 3;
        if (word && (optind == argc || strcmp(argv[optind], word + 1) != 0))
                (void)fprintf(stderr, "%s\n", a->known);
        else if (optind + wanted < argc)
                (void)fprintf(stderr, "%s %s: unexpected argument '%s'; see %s %s --help\n", arguments_program, a->command, argv[optind + wanted],
                              arguments_program, a->command);
        else
                return 0;
        return 3;
}

int arguments_read(const struct arguments *a, int argc, char **argv, void *self)
{
        struct option options[ROWS_MAX + 2] = { { "help", no_argument, NULL, HELP } };
        const struct argument *of[ROWS_MAX + 1] = { NULL };
        const struct argument *word = NULL;
        char letters[2 * ROWS_MAX + 4] = ":h";
        int n = 1, option, r;

        for (const struct argument *row = a->table; !ended(row); row++) {
                if (row->word)
                        word = row;
                if (!row->is.key || row->word)
                        continue;
                assert(n <= ROWS_MAX);
                of[n] = row;
                options[n] = (struct option){ row->is.key, row->value ? required_argument : no_argument, NULL, HELP + n };
                n++;
                if (row->letter)
                        (void)snprintf(letters + strlen(letters), sizeof letters - strlen(letters), "%c%s", row->letter, row->value ? ":" : "");
                if (row->is.preset && store(row, self, row->is.preset, a->command) < 0)
                        return 3;
        }
        opterr = 0;
        while ((option = getopt_long(argc, argv, letters, options, NULL)) != -1) {
                if (option == HELP || option == 'h') {
                        put_help(a);
                        return 1;
                }
                for (int i = 1; i < n; i++)
                        option = of[i]->letter && of[i]->letter == option ? HELP + i : option;
                if (option > HELP && store(of[option - HELP], self, optarg, a->command) == 0)
                        continue;
                if (option < HELP && optopt >= HELP)
                        (void)fprintf(stderr, "%s %s: --%s %s\n", arguments_program, a->command, options[optopt - HELP].name,
                                      option == ':' ? "needs a value" : "takes no value");
                else if (option == ':')
                        (void)fprintf(stderr, "%s %s: -%c needs a value\n", arguments_program, a->command, optopt);
                else if (option < HELP)
                        unknown_option(a, optopt ? (const char[]){ '-', (char)optopt, '\0' } : argv[optind - 1]);
                return 3;
        }
        r = take_words(a, word, argc, argv, self);
        return r ? r : check_filled(a, self);
}

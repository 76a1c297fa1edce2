/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arguments.h - a command line as a table: it fills the command's struct, finds what is wrong, and is the command's --help.
 */
#ifndef PM_ARGUMENTS_H
#define PM_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

enum argument_output { ARGUMENT_READ, ARGUMENT_WRITTEN, ARGUMENT_REPLACED /* by rename */, ARGUMENT_FOLDER };

/* One option.  A table of them ends with ARGUMENT_END; write them with the macros, which check the field's type. */
struct argument {
        struct pm_option is;         /* its name without dashes, preset, range, help; no name and a help: a heading */
        char letter;                 /* -c for --config; 0: it has none */
        bool word;                   /* stands without an option: `route TEXT`.  At most one of a table */
        const char *environment;     /* the variable that counts if the option is not there; NULL: none */
        const char *value;           /* what --help calls its value; NULL: it has none */
        size_t size;                 /* of a whole number's field */
        enum argument_output output; /* checked before anything is computed */
        int (*take)(void *field, const char *value); /* reads what no type does; below 0 after a message */
};

struct arguments {
        const char *command;  /* "embed", or with the word that must follow, "eval category" */
        const char *known;    /* said if another word does */
        const char *forms;    /* lines of usage, which may end in a description; NULL: the required options, and others */
        const char *note;     /* below the options; may be NULL */
        const struct argument *table;
};

#define ARGUMENT_(T, f, offset_, type_, name, value_, ...) \
        { .is = { .key = name, .type = type_, .offset = offset_, __VA_ARGS__ }, .value = value_, .size = sizeof(((T *)0)->f) }
#define ARGUMENT_WHOLE(T, f) \
        _Generic(&((T *)0)->f, int *: offsetof(T, f), unsigned *: offsetof(T, f), long *: offsetof(T, f), unsigned long *: offsetof(T, f))

#define ARGUMENT_FLAG(T, f, name, help_) ARGUMENT_(T, f, PM_FIELD(T, f, bool), PM_BOOL, name, NULL, .help = help_)
#define ARGUMENT_TEXT(T, f, name, value, flags_, preset_, help_) \
        ARGUMENT_(T, f, PM_FIELD(T, f, const char *), PM_STR, name, value, .flags = flags_, .preset = preset_, .help = help_)
#define ARGUMENT_OUTPUT(T, f, name, value_, flags_, how, help_) \
        { .is = { .key = name, .type = PM_STR, .offset = PM_FIELD(T, f, const char *), .flags = flags_, .help = help_ }, .value = value_, .output = how }
#define ARGUMENT_NUMBER(T, f, name, preset_, lo, hi, help_) \
        ARGUMENT_(T, f, ARGUMENT_WHOLE(T, f), PM_INT, name, "N", .preset = preset_, .min = lo, .max = hi, .help = help_)
#define ARGUMENT_MANY(T, f, name, preset, lo, help) ARGUMENT_NUMBER(T, f, name, preset, lo, 0x1p63, help) /* without an upper end */
#define ARGUMENT_REAL(T, f, name, preset_, lo, hi, help_) \
        ARGUMENT_(T, f, PM_FIELD(T, f, double), PM_REAL, name, "X", .preset = preset_, .min = lo, .max = hi, .help = help_)
#define ARGUMENT_CHOICE(T, f, name, preset_, list, help_) \
        ARGUMENT_(T, f, ARGUMENT_WHOLE(T, f), PM_CHOICE, name, list, .preset = preset_, .choices = list, .help = help_)
#define ARGUMENT_TAKEN(T, f, name, value_, take_, help_) \
        { .is = { .key = name, .type = PM_STR, .offset = offsetof(T, f), .help = help_ }, .value = value_, .take = take_ }
#define ARGUMENT_FILE(T, f, letter_, name, environment_, help_) \
        { .is = { .key = name, .type = PM_STR, .offset = PM_FIELD(T, f, const char *), .flags = PM_REQUIRED, .help = help_ }, \
          .letter = letter_, .environment = environment_, .value = "FILE" }
#define ARGUMENT_WORD(T, f, name, help_) \
        { .is = { .key = name, .type = PM_STR, .offset = PM_FIELD(T, f, const char *), .help = help_ }, .word = true, .value = "" }
#define ARGUMENT_WORD_OF(T, f, list, help_) \
        { .is = { .key = list, .type = PM_CHOICE, .offset = ARGUMENT_WHOLE(T, f), .flags = PM_REQUIRED, .choices = list, .help = help_ }, \
          .word = true, .value = "", .size = sizeof(((T *)0)->f) }
#define ARGUMENT_HEADING(text) { .is = { .help = text } }
#define ARGUMENT_END { .value = NULL }

/* Whose commands these are: for messages and --help.  main() sets it first. */
extern const char *arguments_program;

/* Fills *self, the presets first.  0: go on; else the exit status plus one, after a message on stderr, or the help on stdout. */
int arguments_read(const struct arguments *a, int argc, char **argv, void *self);

/* 2 after a message: an option that others make necessary is missing. */
int argument_missing(const char *command, const char *option);

/* Could that be written, if all else goes well?  0; else 3 after a message. */
int argument_output(const char *option, const char *path, enum argument_output how);

/* A number within min..max, or -EINVAL after a message that names the option. */
int argument_real(const char *option, const char *text, double min, double max, double *ret);
#endif

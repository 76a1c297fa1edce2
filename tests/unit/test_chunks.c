/* SPDX-License-Identifier: Apache-2.0 */
/* A prompt in its parts: where it is cut, and that nothing but blanks is lost. */
#include <criterion/criterion.h>
#include <ctype.h>

#include "base.h"
#include "chunks.h"

#define LONG_A "The first paragraph is long enough to stand alone here."
#define LONG_B "And so is the second one, which says something of its own."
#define CODE "```c\nfor (;;)\n        i++;\n\nreturn i; /* after a blank line */\n```"

static struct chunk got[16];

static size_t split(const char *text, size_t window)
{
        return chunks_split(text, strlen(text), window, got, LENGTH_OF(got));
}

static bool is(size_t i, const char *text)
{
        return got[i].n == strlen(text) && memcmp(got[i].p, text, got[i].n) == 0;
}

Test(chunks, paragraphs_code_and_what_is_short)
{
        cr_assert_eq(split("", 1024), 0);
        cr_assert_eq(split(" \n\t\r\n ", 1024), 0);
        cr_assert(split("Hi!", 1024) == 1 && is(0, "Hi!"));
        cr_assert(split("  " LONG_A "\n\n \n" LONG_B "\n", 1024) == 2 && is(0, LONG_A) && is(1, LONG_B));
        cr_assert(split("Hi!\n\n" LONG_A, 1024) == 1 && is(0, "Hi!\n\n" LONG_A), "a short one goes with what follows");
        cr_assert(split(LONG_A "\n\nThanks!", 1024) == 1 && is(0, LONG_A "\n\nThanks!"), "or with what precedes it, at the end");
        cr_assert(split(LONG_A "\n" LONG_B, 1024) == 1, "one line break ends nothing");
        cr_assert(split(LONG_A "\n" CODE "\n" LONG_B, 1024) == 3 && is(0, LONG_A) && is(1, CODE) && is(2, LONG_B));
        cr_assert(split("Fix it:\n" CODE "\nIt must end.", 1024) == 1, "short words around a block");
        cr_assert(split(LONG_A "\n```\nnever closed\n\n" LONG_B, 1024) == 2 && is(1, "```\nnever closed\n\n" LONG_B));
        cr_assert(split(LONG_A "\n~~~\n```\n" LONG_B "\n~~~\n" LONG_A, 1024) == 3, "a fence of the other kind closes nothing");
}

Test(chunks, long_ones_are_cut_between_words)
{
        char text[4000];
        size_t n = 0, at = 0, parts;

        while (n < sizeof text - 16)
                n += (size_t)snprintf(text + n, sizeof text - n, "word%zu ", n);
        parts = chunks_split(text, n, 512, got, LENGTH_OF(got));
        cr_assert_eq(parts, 8);
        for (size_t i = 0; i < parts; i++) {
                cr_assert(got[i].n <= 512 && got[i].n > 256);
                cr_assert(strncmp(got[i].p, "word", 4) == 0 && !isspace((unsigned char)got[i].p[got[i].n - 1]));
                cr_assert_eq((size_t)(got[i].p - text), at, "nothing but a blank is between parts");
                at = (size_t)(got[i].p - text) + got[i].n + 1;
        }
        cr_assert_eq(chunks_split(text, n, 512, got, 3), 3);

        memset(text, 0, sizeof text);
        for (size_t i = 0; i < 300; i++)
                memcpy(text + 3 * i, "\xE2\x82\xAC", 3); /* no blank anywhere */
        cr_assert_eq(chunks_split(text, 900, 64, got, 16), 15);
        for (size_t i = 0; i < 15; i++)
                cr_assert(got[i].n % 3 == 0 && (unsigned char)got[i].p[0] == 0xE2, "characters stay whole");
}

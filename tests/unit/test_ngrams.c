/* SPDX-License-Identifier: Apache-2.0 */
/* Texts into buckets: what must be equal, what must differ, and that no bytes break it. */
#include <criterion/criterion.h>

#include "base.h"
#include "ngrams.h"

#define BITS 17

/* All buckets of a text, each once, as a set of flags. */
static size_t buckets(const char *text, size_t n, size_t limit, uint8_t *set)
{
        CLEANUP(free_p) struct ngrams *f = malloc(sizeof *f);
        size_t count = 0;

        cr_assert(f);
        memset(set, 0, (size_t)1 << BITS);
        ngrams_begin(f, text, n, BITS, limit);
        while (ngrams_next(f)) {
                cr_assert_leq(f->n, NGRAMS_BATCH);
                for (size_t i = 0; i < f->n; i++) {
                        cr_assert_lt(f->bucket[i], 1u << BITS);
                        cr_assert_eq(set[f->bucket[i]], 0, "a bucket was handed out twice");
                        set[f->bucket[i]] = 1;
                        count++;
                }
        }
        return count;
}

static bool same(const char *a, const char *b)
{
        static uint8_t x[1 << BITS], y[1 << BITS];

        (void)buckets(a, strlen(a), 16384, x);
        (void)buckets(b, strlen(b), 16384, y);
        return memcmp(x, y, sizeof x) == 0;
}

Test(ngrams, folds_what_does_not_matter)
{
        cr_assert(same("Hello World", "hello   WORLD"));
        cr_assert(same("a\tb\r\nc", "a b c"));
        cr_assert(same(" padded ", "padded"));
        cr_assert(same("sum 1234", "sum 9876"), "digits are one");
        cr_assert(same("\xc3\x84\x52GER", "\xc3\xa4rger"), "case beyond ASCII");
        cr_assert(same("caf\x65\xcc\x81", "caf\xc3\xa9"), "a combining mark after an ASCII letter");
        cr_assert(same("\xef\xbc\xa8\xef\xbd\x89", "hi"), "full width");
        cr_assert(same("\xef\xac\x81n", "fin"), "ligature");
        cr_assert(same("a\xc2\xa0" "b", "a b"), "no-break space");
        cr_assert(same("\xd9\xa1", "1"), "digits of other scripts");
        cr_assert(same("zero\xe2\x80\x8bwidth", "zerowidth"));
        cr_assert(same("stra\xc3\x9f" "e", "STRASSE"));
}

Test(ngrams, tells_apart_what_does)
{
        cr_assert(!same("physics", "chemistry"));
        cr_assert(!same("ab cd", "cd ab"));
        cr_assert(!same("a.b", "a,b"));
        cr_assert(!same("\xe7\x89\xa9\xe7\x90\x86", "\xe5\x8c\x96\xe5\xad\xa6"), "two words of Chinese");
        cr_assert(!same("", "a"));
}

Test(ngrams, counts_what_the_definition_says)
{
        static uint8_t set[1 << BITS];

        cr_assert_eq(buckets("", 0, 16384, set), 0);
        cr_assert_eq(buckets(NULL, 0, 16384, set), 0);
        cr_assert_eq(buckets(" \t\n ", 4, 16384, set), 0);
        /* " a ": runs " a", "a ", " a "; the word. */
        cr_assert_eq(buckets("a", 1, 16384, set), 4);
        /* " ab cd " has 6 + 5 + 4 + 3 runs, two words and a pair. */
        cr_assert_eq(buckets("ab cd", 5, 16384, set), 21);
}

Test(ngrams, many_batches_are_one_text)
{
        static char text[200000];
        static uint8_t whole[1 << BITS];
        uint64_t x = 1;
        size_t n;

        for (size_t i = 0; i < sizeof text; i++) {
                x = x * 6364136223846793005u + 1442695040888963407u;
                text[i] = "abcdefghijklmnopqrstuvwxyz     "[(x >> 33) % 31];
        }
        n = buckets(text, sizeof text, NGRAMS_TEXT_MAX, whole);
        cr_assert_gt(n, (size_t)1 << (BITS - 1), "%zu", n);
}

Test(ngrams, of_a_long_text_both_ends_are_read)
{
        static char text[4096], other[4096];
        static uint8_t a[1 << BITS], b[1 << BITS];

        memset(text, 'x', sizeof text);
        memcpy(text, "begin", 5);
        memcpy(text + sizeof text - 5, "ended", 5);
        memcpy(other, text, sizeof text);
        memset(other + 600, 'q', 2000);
        (void)buckets(text, sizeof text, 1024, a);
        (void)buckets(other, sizeof other, 1024, b);
        cr_assert_arr_eq(a, b, sizeof a, "the middle is not read");
        other[sizeof other - 1] = 'z';
        (void)buckets(other, sizeof other, 1024, b);
        cr_assert(memcmp(a, b, sizeof a) != 0, "the end is");
}

Test(ngrams, a_cut_does_not_halve_a_character)
{
        static char text[3 * 1000];
        static uint8_t a[1 << BITS], b[1 << BITS];

        for (size_t i = 0; i < sizeof text; i += 3)
                memcpy(text + i, "\xe7\x89\xa9", 3);
        (void)buckets(text, sizeof text, 100, a); /* neither 50 nor 2,950 is a multiple of three */
        /* what the cut leaves out stands like a blank */
        (void)buckets("\xe7\x89\xa9\xe7\x89\xa9\xe7\x89\xa9\xe7\x89\xa9\xe7\x89\xa9 \xe7\x89\xa9\xe7\x89\xa9\xe7\x89\xa9"
                      "\xe7\x89\xa9\xe7\x89\xa9", 31, 100, b);
        for (size_t i = 0; i < sizeof a; i++)
                cr_assert(!(a[i] && !b[i]), "a bucket that is not of whole characters");
}

Test(ngrams, any_bytes_are_fine)
{
        static uint8_t set[1 << BITS];
        char text[1024];
        uint64_t x = 7;

        for (int round = 0; round < 2000; round++) {
                size_t n = (size_t)round % sizeof text;

                for (size_t i = 0; i < n; i++) {
                        x = x * 6364136223846793005u + 1442695040888963407u;
                        text[i] = (char)(round % 3 ? x >> 40 : (x >> 40 | 0x80));
                }
                (void)buckets(text, n, 64 + (size_t)round, set);
        }
}

Test(ngrams, the_longest_expansion_fits)
{
        static uint8_t set[1 << BITS];
        static char text[3 * 4000];

        for (size_t i = 0; i < sizeof text; i += 3)
                memcpy(text + i, "\xef\xb7\xba", 3); /* U+FDFA becomes eighteen */
        cr_assert_gt(buckets(text, sizeof text, NGRAMS_TEXT_MAX, set), 18);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ngrams.h - text into hashed features: words, pairs of words, and runs of 2 to 5 characters, each counted as there or not.
 *
 * Training and serving go through here, so they cannot differ.  The text is folded first (NFKC, case, blanks collapsed to one
 * space, every digit a 0), then each word, pair and run becomes a bucket number; a bucket is handed out once for a text.
 * Any bytes are fine: what is not UTF-8 counts as U+FFFD.  No allocation, no state between texts; one struct per call, on the
 * stack (50 kB).  Thread-safe.  (The name features.h belongs to the C library.)
 *
 *         struct ngrams f;
 *
 *         ngrams_begin(&f, text, n, bits, limit);
 *         while (ngrams_next(&f))
 *                 for (size_t i = 0; i < f.n; i++)
 *                         use(f.bucket[i]);
 */
#ifndef PM_NGRAMS_H
#define PM_NGRAMS_H

#include <stddef.h>
#include <stdint.h>

#define NGRAMS_BITS_MIN 8
#define NGRAMS_BITS_MAX 18
#define NGRAMS_BATCH 4096
#define NGRAMS_TEXT_MIN 64
#define NGRAMS_TEXT_MAX (1024 * 1024)
#define NGRAMS_VERSION "words 1-2, characters 2-5, digits as 0, binary, 1" /* a model made for another is refused */

struct ngrams {
        uint32_t bucket[NGRAMS_BATCH]; /* this batch */
        size_t n;
        /* private */
        const char *part, *part_end;     /* what is still to be read of this part */
        const char *last, *last_end;     /* the part after it, or NULL */
        unsigned shift;
        uint64_t run;                    /* the last five characters, twelve bits each */
        uint64_t word, word_before;      /* hashes; 0: none */
        uint64_t seen[(1u << NGRAMS_BITS_MAX) / 64];
};

/*
 * Begins a text of n bytes with 2^bits buckets.  Of a text longer than `limit` bytes (NGRAMS_TEXT_MIN..MAX) the first and the
 * last limit/2 are read, cut between characters: a question stands at the begin of a prompt or at its end.
 */
void ngrams_begin(struct ngrams *f, const char *text, size_t n, unsigned bits, size_t limit);

/* The next batch: at least one bucket that this text has not had before; 0 at the end of the text. */
size_t ngrams_next(struct ngrams *f);
#endif

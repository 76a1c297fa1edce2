/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keywords (the first line, by commas) in any text (the rest), and its language.  For ASCII, what the automaton finds must be what
 * a simple search finds; for other bytes, it must end within the text.
 */
#include "keywords.h"
#include "language.h"

#include "base.h"

#define SETS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool is_word(char c)
{
        return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
}

static bool simple_search(const char *word, const char *text, size_t n)
{
        size_t length = strlen(word);

        for (size_t i = 0; i + length <= n; i++)
                if (strncasecmp(text + i, word, length) == 0 && memchr(text + i, '\0', length) == NULL &&
                    !(is_word(word[0]) && i > 0 && is_word(text[i - 1])) &&
                    !(is_word(word[length - 1]) && i + length < n && is_word(text[i + length])))
                        return true;
        return false;
}

static bool is_ascii(const char *text, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)text[i] >= 0x80)
                        return false;
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static struct language *language;
        const uint8_t *line = n ? memchr(data, '\n', n) : NULL;
        size_t n_words = line ? (size_t)(line - data) : n, n_text = line ? n - n_words - 1 : 0;
        CLEANUP(free_p) char *words = calloc(1, n_words + 1), *text = malloc(n_text + 1);
        struct keywords *k = keywords_create();
        const char *names[SETS], *code;
        uint64_t hits = 0;
        unsigned sets = 0;

        if (!language)
                language = language_create();
        assert(words && text && k && language);
        if (n_words)
                memcpy(words, data, n_words);
        if (n_text)
                memcpy(text, line + 1, n_text);
        for (char *p = words, *comma; p && sets < SETS; p = comma) {
                comma = strchr(p, ',');
                if (comma)
                        *comma++ = '\0';
                if (keywords_add(k, p, sets) == 0)
                        names[sets++] = p;
        }
        if (sets && keywords_build(k) == 0) {
                assert(keywords_find(k, text, n_text, &hits) == 0);
                for (unsigned i = 0; i < sets && is_ascii(text, n_text); i++)
                        if (is_ascii(names[i], strlen(names[i])))
                                assert((hits >> i & 1) == simple_search(names[i], text, n_text));
        }
        keywords_destroy(k);
        code = language_of(language, text, n_text);
        assert(!code || language_known(code));
        return 0;
}

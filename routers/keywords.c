/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An automaton of Aho and Corasick over the bytes of case-folded keywords.  Bytes that occur in no keyword share one class, so a
 * row of the table is as long as the keywords' alphabet and the table stays in the cache; upper case ASCII has the class of its
 * lower case, so a text of ASCII is searched where it lies.  Any other text is folded first (and composed, if it has combining
 * marks): a few hundred nanoseconds that most prompts never pay.
 *
 * A match counts if it is a whole word: no letter, digit or '_' goes on at either end.  Nothing is asked of an end that is itself
 * no such character ("c++"), nor in scripts that are written without spaces.
 */
#include <utf8proc.h>

#include "keywords.h"

#include "base.h"

#define NO_WORD UINT32_MAX

struct keyword_word {
        uint32_t set;
        uint32_t next;           /* the next keyword of the same text, or NO_WORD */
        uint16_t length;
        bool left, right;        /* does this end ask for a border? */
};

struct trie {
        uint32_t word;           /* first keyword that ends here, or NO_WORD */
        uint32_t child, sibling; /* 0: none; the root is nobody's child */
        uint16_t fail;
        unsigned char byte;
};

struct keywords {
        struct keyword_word *words;
        size_t n_words, words_room;
        struct trie *nodes;
        size_t n_nodes, nodes_room;
        unsigned char class[256];
        unsigned n_classes;
        uint16_t *go;            /* go[state * n_classes + class] */
        uint32_t *first;         /* of a state: its own first keyword */
        uint16_t *shorter;       /* of a state: the next state on the way of failures that ends a keyword; 0: none */
        unsigned char *ends;     /* of a state: does it or a shorter one end a keyword? */
};

static bool make_room(void *array, size_t *room, size_t n, size_t size)
{
        size_t more = *room ? *room * 2 : 64;
        void *old, *grown;

        if (n < *room)
                return true;
        memcpy(&old, array, sizeof old);
        grown = realloc(old, more * size);
        if (!grown)
                return false;
        memcpy(array, &grown, sizeof grown);
        *room = more;
        return true;
}

static bool is_word(utf8proc_int32_t c)
{
        if (c < 0x80)
                return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
        switch (utf8proc_category(c)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
                return true;
        default:
                return false;
        }
}

/* Scripts written without spaces: Thai, Lao, Burmese, Khmer, kana, Han. */
static bool is_unspaced(utf8proc_int32_t c)
{
        return (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) || (c >= 0x1780 && c <= 0x17ff) ||
               (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
               (c >= 0x20000 && c <= 0x3ffff);
}

static utf8proc_int32_t char_at(const char *text, size_t at, size_t n)
{
        utf8proc_int32_t c = ' ';

        if ((unsigned char)text[at] < 0x80)
                return (unsigned char)text[at];
        return utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(n - at), &c) > 0 ? c : ' ';
}

static utf8proc_int32_t char_before(const char *text, size_t at)
{
        size_t from = at - 1;

        while (from > 0 && at - from < 4 && ((unsigned char)text[from] & 0xc0) == 0x80)
                from--;
        return char_at(text, from, at);
}

static bool asks_border(utf8proc_int32_t c)
{
        return is_word(c) && !is_unspaced(c);
}

/* Case folding that keeps bytes which are no UTF-8.  Heap string of *ret_n bytes, or NULL. */
static char *fold(const char *text, size_t n, size_t *ret_n)
{
        const utf8proc_option_t options = UTF8PROC_CASEFOLD | UTF8PROC_COMPOSE | UTF8PROC_STABLE;
        char *out = malloc(n * 6 + 8); /* folding makes at most three characters of one */
        size_t used = 0;
        bool combining = false;

        if (!out)
                return NULL;
        for (size_t i = 0; i < n;) {
                unsigned char b = (unsigned char)text[i];
                utf8proc_int32_t c, folded[4];
                utf8proc_ssize_t took;
                int border = 0;

                if (b < 0x80) {
                        out[used++] = (char)(b >= 'A' && b <= 'Z' ? b | 0x20 : b);
                        i++;
                        continue;
                }
                took = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);
                if (took <= 0) {
                        out[used++] = text[i++];
                        continue;
                }
                combining = combining || (c >= 0x300 && c <= 0x36f);
                i += (size_t)took;
                took = utf8proc_decompose_char(c, folded, 4, UTF8PROC_CASEFOLD, &border);
                for (utf8proc_ssize_t k = 0; k < MIN(took, 4); k++)
                        used += (size_t)utf8proc_encode_char(folded[k], (utf8proc_uint8_t *)out + used);
        }
        if (combining) {
                utf8proc_uint8_t *composed = NULL;
                utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &composed, options);

                if (length >= 0) { /* else not wholly UTF-8: searched as it is folded so far */
                        free(out);
                        out = (char *)composed;
                        used = (size_t)length;
                }
        }
        *ret_n = used;
        return out;
}

/* ---- building ------------------------------------------------------------------------------------------------------------- */

struct keywords *keywords_create(void)
{
        CLEANUP(free_p) struct keywords *k = calloc(1, sizeof *k);

        if (!k || !make_room(&k->nodes, &k->nodes_room, 0, sizeof *k->nodes))
                return NULL;
        k->nodes[0] = (struct trie){ .word = NO_WORD };
        k->n_nodes = 1;
        return TAKE(k);
}

void keywords_destroy(struct keywords *k)
{
        if (!k)
                return;
        free(k->words);
        free(k->nodes);
        free(k->go);
        free(k->first);
        free(k->shorter);
        free(k->ends);
        free(k);
}

/* The child of a node by this byte, made if it is missing.  0: no room. */
static uint32_t descend(struct keywords *k, uint32_t at, unsigned char byte)
{
        uint32_t child = k->nodes[at].child;

        while (child && k->nodes[child].byte != byte)
                child = k->nodes[child].sibling;
        if (child)
                return child;
        if (k->n_nodes >= KEYWORDS_STATES_MAX || !make_room(&k->nodes, &k->nodes_room, k->n_nodes, sizeof *k->nodes))
                return 0;
        child = (uint32_t)k->n_nodes++;
        k->nodes[child] = (struct trie){ .word = NO_WORD, .sibling = k->nodes[at].child, .byte = byte };
        k->nodes[at].child = child;
        return child;
}

int keywords_add(struct keywords *k, const char *word, uint32_t set)
{
        CLEANUP(free_p) char *folded = NULL;
        size_t length = strlen(word), n = 0;
        utf8proc_int32_t c;
        uint32_t at = 0;

        if (length == 0 || length > KEYWORD_MAX)
                return -EINVAL;
        for (size_t i = 0; i < length;) {
                utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)word + i, (utf8proc_ssize_t)(length - i), &c);

                if (took <= 0)
                        return -EINVAL;
                i += (size_t)took;
        }
        folded = fold(word, length, &n);
        if (!folded || !make_room(&k->words, &k->words_room, k->n_words, sizeof *k->words))
                return -ENOMEM;
        if (n == 0) /* nothing but characters that folding drops */
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                at = descend(k, at, (unsigned char)folded[i]);
                if (at == 0)
                        return -E2BIG;
        }
        k->words[k->n_words] = (struct keyword_word){ .set = set, .next = k->nodes[at].word, .length = (uint16_t)n,
                                                      .left = asks_border(char_at(folded, 0, n)),
                                                      .right = asks_border(char_before(folded, n)) };
        k->nodes[at].word = (uint32_t)k->n_words++;
        return 0;
}

static void make_classes(struct keywords *k)
{
        k->n_classes = 1; /* class 0: bytes of no keyword */
        for (size_t i = 1; i < k->n_nodes; i++)
                if (k->class[k->nodes[i].byte] == 0)
                        k->class[k->nodes[i].byte] = (unsigned char)k->n_classes++; /* never 256: UTF-8 leaves bytes unused */
        for (unsigned c = 'A'; c <= 'Z'; c++)
                k->class[c] = k->class[c | 0x20];
}

/* Breadth first: the failure of a state lies nearer to the root, so its row is ready when it is copied. */
static void link_states(struct keywords *k, uint16_t *queue)
{
        size_t head = 0, tail = 0;

        queue[tail++] = 0;
        while (head < tail) {
                uint16_t at = queue[head++], fail = k->nodes[at].fail;
                uint16_t *row = k->go + (size_t)at * k->n_classes;

                if (at != 0)
                        memcpy(row, k->go + (size_t)fail * k->n_classes, k->n_classes * sizeof *row);
                for (uint32_t child = k->nodes[at].child; child; child = k->nodes[child].sibling) {
                        unsigned class = k->class[k->nodes[child].byte];

                        k->nodes[child].fail = at ? row[class] : 0; /* the row still is the failure's */
                        row[class] = (uint16_t)child;
                        queue[tail++] = (uint16_t)child;
                }
                k->first[at] = k->nodes[at].word;
                k->shorter[at] = at == 0 ? 0 : k->first[fail] != NO_WORD ? fail : k->shorter[fail];
                k->ends[at] = k->first[at] != NO_WORD || k->shorter[at] != 0;
        }
}

int keywords_build(struct keywords *k)
{
        CLEANUP(free_p) uint16_t *queue = calloc(k->n_nodes, sizeof *queue);

        make_classes(k);
        k->go = calloc(k->n_nodes * k->n_classes, sizeof *k->go);
        k->first = calloc(k->n_nodes, sizeof *k->first);
        k->shorter = calloc(k->n_nodes, sizeof *k->shorter);
        k->ends = calloc(k->n_nodes, sizeof *k->ends);
        if (!queue || !k->go || !k->first || !k->shorter || !k->ends)
                return -ENOMEM;
        link_states(k, queue);
        return 0;
}

/* ---- searching ------------------------------------------------------------------------------------------------------------ */

static void take_match(const struct keywords *k, uint16_t state, const char *text, size_t end, size_t n, uint64_t *hits)
{
        if (k->first[state] == NO_WORD)
                state = k->shorter[state];
        for (; state; state = k->shorter[state])
                for (uint32_t i = k->first[state]; i != NO_WORD; i = k->words[i].next) {
                        const struct keyword_word *w = &k->words[i];
                        size_t start = end - w->length;

                        if (w->left && start > 0 && is_word(char_before(text, start)))
                                break; /* the others here have the same text */
                        if (w->right && end < n && is_word(char_at(text, end, n)))
                                break;
                        hits[w->set / 64] |= (uint64_t)1 << w->set % 64;
                }
}

static void search(const struct keywords *k, const char *text, size_t n, uint64_t *hits)
{
        unsigned state = 0;

        for (size_t i = 0; i < n; i++) {
                state = k->go[state * k->n_classes + k->class[(unsigned char)text[i]]];
                if (UNLIKELY(k->ends[state]))
                        take_match(k, (uint16_t)state, text, i + 1, n, hits);
        }
}

static bool is_ascii(const char *text, size_t n)
{
        uint64_t all = 0, eight;
        size_t i = 0;

        for (; i + 8 <= n; i += 8) {
                memcpy(&eight, text + i, 8);
                all |= eight;
        }
        for (; i < n; i++)
                all |= (unsigned char)text[i];
        return (all & 0x8080808080808080u) == 0;
}

int keywords_find(const struct keywords *k, const char *text, size_t n, uint64_t *hits)
{
        CLEANUP(free_p) char *folded = NULL;
        size_t length;

        if (n == 0)
                return 0;
        if (is_ascii(text, n)) {
                search(k, text, n, hits);
                return 0;
        }
        folded = fold(text, n, &length);
        if (!folded)
                return -ENOMEM;
        search(k, folded, length, hits);
        return 0;
}

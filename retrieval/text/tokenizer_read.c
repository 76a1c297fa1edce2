/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.json into a tokenizer.  Every object's keys are listed: one that is not known here may change ids, so it is refused
 * rather than passed over.
 */
#include <jansson.h>
#include <sys/stat.h>

#include "base.h"
#include "error.h"
#include "tokenizer_parts.h"

#define TEXT_MAX 4096 /* bytes of an added token, or of what Replace puts in */

int tokenizer_refuse(char *why, size_t n, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(why, n, fmt, args);
        va_end(args);
        return -EINVAL;
}

int tokenizer_keys(json_t *j, const char *where, const char *const *keys, char *why, size_t why_size)
{
        const char *key;
        json_t *value;

        if (!json_is_object(j))
                return tokenizer_refuse(why, why_size, "%s must be an object", where);
        json_object_foreach(j, key, value) {
                size_t i = 0;

                while (keys[i] && strcmp(keys[i], key) != 0)
                        i++;
                if (!keys[i])
                        return tokenizer_refuse(why, why_size, "%s: '%.64s' is not known here", where, key);
        }
        return 0;
}

/* A truth of an object; `preset` where it is not there or null. */
static bool truth(json_t *j, const char *key, bool preset)
{
        json_t *value = json_object_get(j, key);

        return json_is_boolean(value) ? json_is_true(value) : preset;
}

static int to_points(const char *text, size_t n, uint32_t **ret, size_t *ret_n)
{
        const char *end = text + n;

        *ret = calloc(n + 1, sizeof **ret);
        *ret_n = 0;
        if (!*ret)
                return -ENOMEM;
        while (text < end)
                text += unicode_get(text, end, &(*ret)[(*ret_n)++]);
        return 0;
}

/* ---- normalizers --------------------------------------------------------------------------------------------------------- */

static int read_text(json_t *j, const char *where, const char *key, uint32_t **ret, size_t *ret_n, char *why, size_t why_size)
{
        json_t *value = json_object_get(j, key);

        if (!json_is_string(value) || json_string_length(value) > TEXT_MAX)
                return tokenizer_refuse(why, why_size, "%s: '%s' must be a text of at most %d bytes", where, key, TEXT_MAX);
        return to_points(json_string_value(value), json_string_length(value), ret, ret_n);
}

static int read_bert(json_t *j, struct normal *s, char *why, size_t why_size)
{
        static const char *const keys[] = { "type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase", NULL };

        s->kind = NORMAL_BERT;
        s->clean = truth(j, "clean_text", true);
        s->han = truth(j, "handle_chinese_chars", true);
        s->lower = truth(j, "lowercase", true);
        s->accents = truth(j, "strip_accents", s->lower);
        return tokenizer_keys(j, "BertNormalizer", keys, why, why_size);
}

static int read_replace(json_t *j, struct normal *s, char *why, size_t why_size)
{
        static const char *const keys[] = { "type", "pattern", "content", NULL };
        json_t *pattern = json_object_get(j, "pattern");
        const char *regex = json_string_value(json_object_get(pattern, "Regex"));
        int r = tokenizer_keys(j, "Replace", keys, why, why_size);

        if (r == 0)
                r = read_text(j, "Replace", "content", &s->to, &s->n_to, why, why_size);
        if (r < 0)
                return r;
        s->kind = NORMAL_REPLACE;
        if (regex) {
                s->kind = NORMAL_BLANKS;
                if (strcmp(regex, " {2,}") != 0)
                        return tokenizer_refuse(why, why_size, "Replace: the pattern '%.64s' is not known here", regex);
                return 0;
        }
        r = read_text(pattern, "Replace: 'pattern'", "String", &s->from, &s->n_from, why, why_size);
        if (r == 0 && s->n_from == 0)
                return tokenizer_refuse(why, why_size, "Replace: the pattern is empty");
        return r;
}

static int read_normal(json_t *j, struct tokenizer *t, char *why, size_t why_size)
{
        static const char *const plain[] = { "type", NULL };
        static const char *const forms[] = { "NFC", "NFD", "NFKC", "NFKD" };
        const char *type = json_string_value(json_object_get(j, "type"));
        struct normal *s = &t->normal[t->n_normal++];
        json_t *map;

        if (strcmp(type, "BertNormalizer") == 0)
                return read_bert(j, s, why, why_size);
        if (strcmp(type, "Replace") == 0)
                return read_replace(j, s, why, why_size);
        if (strcmp(type, "Prepend") == 0) {
                s->kind = NORMAL_PREPEND;
                return read_text(j, "Prepend", "prepend", &s->to, &s->n_to, why, why_size);
        }
        if (strcmp(type, "Strip") == 0) {
                s->kind = NORMAL_STRIP;
                s->left = truth(j, "strip_left", true);
                s->right = truth(j, "strip_right", true);
                return tokenizer_keys(j, "Strip", (const char *const[]){ "type", "strip_left", "strip_right", NULL }, why, why_size);
        }
        if (strcmp(type, "Precompiled") == 0) {
                s->kind = NORMAL_CHARSMAP;
                map = json_object_get(j, "precompiled_charsmap");
                if (!json_is_string(map))
                        return tokenizer_refuse(why, why_size, "Precompiled: 'precompiled_charsmap' must be a text");
                return charsmap_parse(json_string_value(map), json_string_length(map), &s->map, why, why_size);
        }
        for (size_t i = 0; i < LENGTH_OF(forms); i++)
                if (strcmp(type, forms[i]) == 0) {
                        s->kind = NORMAL_FORM;
                        s->form = (enum form)i;
                        return tokenizer_keys(j, type, plain, why, why_size);
                }
        s->kind = strcmp(type, "Lowercase") == 0 ? NORMAL_LOWER : NORMAL_STRIP_ACCENTS;
        if (s->kind == NORMAL_STRIP_ACCENTS && strcmp(type, "StripAccents") != 0)
                return tokenizer_refuse(why, why_size, "normalizer '%.64s' is not known here", type);
        return tokenizer_keys(j, type, plain, why, why_size);
}

/* One step, or a Sequence of them (of Sequences ...), each given to one(). */
static int each_step(json_t *j, const char *what, const char *list_key, const size_t *n, unsigned depth, struct tokenizer *t,
                     int (*one)(json_t *j, struct tokenizer *t, char *why, size_t why_size), char *why, size_t why_size)
{
        const char *type = json_string_value(json_object_get(j, "type"));
        json_t *list, *step;
        size_t i;
        int r = 0;

        if (!j || json_is_null(j))
                return 0;
        if (!type)
                return tokenizer_refuse(why, why_size, "a %s must be an object with a 'type'", what);
        if (strcmp(type, "Sequence") != 0) {
                if (*n == STEPS_MAX)
                        return tokenizer_refuse(why, why_size, "more than %d steps of %ss", STEPS_MAX, what);
                return one(j, t, why, why_size);
        }
        list = json_object_get(j, list_key);
        if (!json_is_array(list) || depth == 4)
                return tokenizer_refuse(why, why_size, "a %s: '%s' must be a list, at most 4 deep", what, list_key);
        json_array_foreach(list, i, step) {
                if (!json_is_object(step))
                        return tokenizer_refuse(why, why_size, "a %s: '%s' must be a list of objects", what, list_key);
                r = each_step(step, what, list_key, n, depth + 1, t, one, why, why_size);
                if (r < 0)
                        return r;
        }
        return 0;
}

int steps_parse_normal(json_t *j, struct tokenizer *t, char *why, size_t why_size)
{
        return each_step(j, "normalizer", "normalizers", &t->n_normal, 0, t, read_normal, why, why_size);
}

/* ---- pre-tokenizers ------------------------------------------------------------------------------------------------------ */

static int read_meta(json_t *j, struct split *s, char *why, size_t why_size)
{
        static const char *const keys[] = { "type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split", NULL };
        const char *scheme = json_string_value(json_object_get(j, "prepend_scheme"));
        json_t *value = json_object_get(j, "replacement");
        const char *text = json_string_value(value);

        s->kind = SPLIT_META;
        s->apart = truth(j, "split", true);
        if (!text || !*text || unicode_get(text, text + json_string_length(value), &s->replacement) != json_string_length(value))
                return tokenizer_refuse(why, why_size, "Metaspace: 'replacement' must be one character");
        if (!scheme)
                s->scheme = truth(j, "add_prefix_space", true) ? SCHEME_ALWAYS : SCHEME_NEVER;
        else if (strcmp(scheme, "always") == 0 || strcmp(scheme, "first") == 0 || strcmp(scheme, "never") == 0)
                s->scheme = *scheme == 'a' ? SCHEME_ALWAYS : *scheme == 'f' ? SCHEME_FIRST : SCHEME_NEVER;
        else
                return tokenizer_refuse(why, why_size, "Metaspace: prepend_scheme '%.32s' is not known here", scheme);
        return tokenizer_keys(j, "Metaspace", keys, why, why_size);
}

static int read_split(json_t *j, struct tokenizer *t, char *why, size_t why_size)
{
        const char *type = json_string_value(json_object_get(j, "type"));
        const char *behavior = json_string_value(json_object_get(j, "behavior"));
        struct split *s = &t->split[t->n_split++];

        if (strcmp(type, "Metaspace") == 0) {
                int r = read_meta(j, s, why, why_size);

                for (size_t i = 0; r == 0 && s->scheme == SCHEME_FIRST && i + 1 < t->n_split; i++)
                        if (t->split[i].kind == SPLIT_SPACE || t->split[i].kind == SPLIT_BERT) /* what is first is then a fine question */
                                return tokenizer_refuse(why, why_size, "Metaspace: prepend_scheme 'first' behind a pre-tokenizer that drops "
                                                                       "blanks is not known here");
                return r;
        }
        if (strcmp(type, "ByteLevel") == 0) {
                s->kind = SPLIT_BYTES;
                s->prefix = truth(j, "add_prefix_space", true);
                s->apart = truth(j, "use_regex", true);
                return tokenizer_keys(j, type, (const char *const[]){ "type", "add_prefix_space", "trim_offsets", "use_regex", NULL }, why,
                                      why_size);
        }
        if (strcmp(type, "Punctuation") == 0) {
                s->kind = SPLIT_PUNCTUATION;
                if (behavior && strcmp(behavior, "Isolated") != 0)
                        return tokenizer_refuse(why, why_size, "Punctuation: behavior '%.32s' is not known here", behavior);
                return tokenizer_keys(j, type, (const char *const[]){ "type", "behavior", NULL }, why, why_size);
        }
        if (strcmp(type, "Digits") == 0) {
                s->kind = SPLIT_DIGITS;
                s->apart = truth(j, "individual_digits", false);
                return tokenizer_keys(j, type, (const char *const[]){ "type", "individual_digits", NULL }, why, why_size);
        }
        s->kind = strcmp(type, "BertPreTokenizer") == 0 ? SPLIT_BERT : SPLIT_SPACE;
        if (s->kind == SPLIT_SPACE && strcmp(type, "WhitespaceSplit") != 0)
                return tokenizer_refuse(why, why_size, "pre-tokenizer '%.64s' is not known here", type);
        return tokenizer_keys(j, type, (const char *const[]){ "type", NULL }, why, why_size);
}

int steps_parse_split(json_t *j, struct tokenizer *t, char *why, size_t why_size)
{
        return each_step(j, "pre-tokenizer", "pretokenizers", &t->n_split, 0, t, read_split, why, why_size);
}

/* ---- added tokens -------------------------------------------------------------------------------------------------------- */

/* What the normalizers make of a token that is looked for behind them. */
static int normalized_text(const struct tokenizer *t, const char *text, size_t n, char **ret, size_t *ret_n)
{
        struct tokenizer_scratch *s = NULL;
        struct tokenizer shape = { .n_normal = t->n_normal }; /* not streaming: a scratch with buffers */
        int r = tokenizer_scratch_create(&shape, TEXT_MAX, &s);

        if (r < 0)
                return r;
        memcpy(shape.normal, t->normal, sizeof shape.normal);
        steps_normalize(&shape, s, text, n);
        *ret = malloc(4 * s->a.text.n + 1);
        *ret_n = 0;
        for (size_t i = 0; *ret && i < s->a.text.n; i++)
                *ret_n += unicode_put(s->a.text.c[i], *ret + *ret_n);
        tokenizer_scratch_destroy(s);
        return *ret ? 0 : -ENOMEM;
}

static void finder_notes(struct finder *f, unsigned char first)
{
        f->only = f->vocab.n == 1 || f->only == first ? first : -1;
        f->first[first] = true;
}

static int read_added(json_t *j, struct tokenizer *t, char *why, size_t why_size)
{
        static const char *const keys[] = { "id", "special", "content", "single_word", "lstrip", "rstrip", "normalized", NULL };
        json_t *content = json_object_get(j, "content"), *id = json_object_get(j, "id");
        const char *text = json_string_value(content);
        size_t n = json_string_length(content);
        bool normalized = truth(j, "normalized", !truth(j, "special", false));
        struct finder *f = normalized ? &t->normalized : &t->raw;
        CLEANUP(free_p) char *changed = NULL;
        int r = tokenizer_keys(j, "an added token", keys, why, why_size);

        if (r < 0)
                return r;
        if (!text || n == 0 || n > TEXT_MAX || !json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= (json_int_t)TOKENIZER_IDS_MAX)
                return tokenizer_refuse(why, why_size, "added token %zu: 'content' must be a text of 1 to %d bytes, 'id' below %zu",
                                        t->n_added, TEXT_MAX, TOKENIZER_IDS_MAX);
        if (truth(j, "single_word", false))
                return tokenizer_refuse(why, why_size, "added token '%.64s': 'single_word' is not known here", text);
        if (normalized && t->n_normal > 0) {
                r = normalized_text(t, text, n, &changed, &n);
                if (r < 0)
                        return r;
                text = changed;
        }
        t->added[t->n_added] = (struct added){ (uint32_t)json_integer_value(id), truth(j, "lstrip", false), truth(j, "rstrip", false) };
        t->ids = MAX(t->ids, (size_t)t->added[t->n_added].id + 1);
        if (n > 0) {
                r = vocab_add(&f->vocab, text, n, (uint32_t)t->n_added);
                if (r == -EEXIST)
                        return tokenizer_refuse(why, why_size, "added token '%.64s' is there twice", text);
                if (r < 0)
                        return r;
                finder_notes(f, (unsigned char)*text);
        }
        t->n_added++;
        return 0;
}

static int parse_added(json_t *list, struct tokenizer *t, char *why, size_t why_size)
{
        size_t n = json_array_size(list), bytes = 0, i;
        json_t *j;
        int r;

        if (list && !json_is_null(list) && !json_is_array(list))
                return tokenizer_refuse(why, why_size, "'added_tokens' must be a list");
        if (n > TOKENIZER_IDS_MAX)
                return tokenizer_refuse(why, why_size, "%zu added tokens, at most %zu are read", n, TOKENIZER_IDS_MAX);
        json_array_foreach(list, i, j)
                bytes += MIN(json_string_length(json_object_get(j, "content")), (size_t)TEXT_MAX);
        t->added = calloc(n + 1, sizeof *t->added);
        r = t->added ? vocab_create(&t->raw.vocab, n, bytes) : -ENOMEM;
        if (r == 0)
                r = vocab_create(&t->normalized.vocab, n, bytes);
        t->raw.only = t->normalized.only = -1;
        for (i = 0; r == 0 && i < n; i++)
                r = read_added(json_array_get(list, i), t, why, why_size);
        if (r == 0)
                r = vocab_prefixes(&t->raw.vocab);
        return r < 0 ? r : vocab_prefixes(&t->normalized.vocab);
}

/* ---- all together -------------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
        const uint32_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static uint32_t characters_in(const char *p, size_t n)
{
        uint32_t c = 0;

        for (size_t i = 0; i < n; i++)
                c += (p[i] & 0xc0) != 0x80;
        return c;
}

/* The median of the tokens' lengths in characters, added ones that are not in the model included, rounded down. */
static int measure(struct tokenizer *t, json_t *added)
{
        const struct vocab *v = &t->model.vocab;
        CLEANUP(free_p) uint32_t *length = calloc(v->n + t->n_added + 1, sizeof *length);
        size_t n = 0, i;
        json_t *j;

        if (!length)
                return -ENOMEM;
        for (i = 0; i <= v->mask; i++)
                if (v->slots[i].n)
                        length[n++] = characters_in(v->bytes + v->slots[i].begin, v->slots[i].n);
        json_array_foreach(added, i, j) {
                json_t *content = json_object_get(j, "content");

                if (vocab_get(v, json_string_value(content), json_string_length(content)) == TOKENIZER_NONE)
                        length[n++] = characters_in(json_string_value(content), json_string_length(content));
        }
        qsort(length, n, sizeof *length, by_number);
        t->median = n == 0 ? 0 : (length[(n - 1) / 2] + (size_t)length[n / 2]) / 2;
        return 0;
}

static int read_all(json_t *j, struct tokenizer *t, char *why, size_t why_size)
{
        static const char *const keys[] = { "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                                            "post_processor", "decoder", "model", NULL };
        int r = tokenizer_keys(j, "tokenizer", keys, why, why_size);

        if (r == 0)
                r = steps_parse_normal(json_object_get(j, "normalizer"), t, why, why_size);
        if (r == 0)
                r = steps_parse_split(json_object_get(j, "pre_tokenizer"), t, why, why_size);
        if (r == 0)
                r = model_parse(json_object_get(j, "model"), &t->model, why, why_size);
        if (r < 0)
                return r;
        t->ids = t->model.vocab.ids;
        r = parse_added(json_object_get(j, "added_tokens"), t, why, why_size);
        if (r < 0)
                return r;
        t->streaming = t->n_normal == 1 && t->normal[0].kind == NORMAL_BERT && t->n_split == 1 && t->split[0].kind == SPLIT_BERT &&
                       t->model.kind == MODEL_WORDPIECE && t->normalized.vocab.n == 0;
        if (t->streaming)
                bert_prepare(t);
        return measure(t, json_object_get(j, "added_tokens"));
}

static int from_json(json_t *j, const json_error_t *error, struct tokenizer **ret, char *why, size_t why_size)
{
        struct tokenizer *t = j ? calloc(1, sizeof *t) : NULL;
        int r;

        if (!j && json_lacked_memory())
                return tokenizer_refuse(why, why_size, "out of memory");
        if (!j)
                return tokenizer_refuse(why, why_size, "not valid JSON: %s (byte %d)", error->text, error->position);
        r = t ? read_all(j, t, why, why_size) : -ENOMEM;
        if (r < 0)
                tokenizer_destroy(t);
        else
                *ret = t;
        return r;
}

int tokenizer_parse(const char *text, size_t n, struct tokenizer **ret, char *why, size_t why_size)
{
        json_error_t error;
        json_t *j;
        int r;

        why[0] = '\0';
        if (n > TOKENIZER_FILE_MAX)
                return tokenizer_refuse(why, why_size, "%zu bytes are too many, at most %zu are read", n, TOKENIZER_FILE_MAX);
        errno = 0;
        j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        r = from_json(j, &error, ret, why, why_size);
        json_decref(j);
        return r;
}

int tokenizer_open(const char *path, struct tokenizer **ret, char *why, size_t why_size)
{
        json_error_t error;
        struct stat st;
        json_t *j;
        int r;

        why[0] = '\0';
        if (stat(path, &st) < 0) {
                r = -errno;
                (void)tokenizer_refuse(why, why_size, "cannot open: %s", ERRNO_TEXT(r));
                return r;
        }
        if (!S_ISREG(st.st_mode) || (size_t)st.st_size > TOKENIZER_FILE_MAX)
                return tokenizer_refuse(why, why_size, "must be a file of at most %zu MiB", TOKENIZER_FILE_MAX >> 20);
        errno = 0;
        j = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
        r = from_json(j, &error, ret, why, why_size);
        json_decref(j);
        return r;
}

void tokenizer_destroy(struct tokenizer *t)
{
        if (!t)
                return;
        for (size_t i = 0; i < t->n_normal; i++) {
                free(t->normal[i].from);
                free(t->normal[i].to);
                charsmap_finish(&t->normal[i].map);
        }
        model_finish(&t->model);
        vocab_finish(&t->raw.vocab);
        vocab_finish(&t->normalized.vocab);
        free(t->added);
        free(t);
}

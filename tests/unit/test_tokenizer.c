/* SPDX-License-Identifier: Apache-2.0 */
/* Ids of small tokenizers of every kind; files that are refused by name.  Against the package itself: tests/eval/tokens.py. */
#include <criterion/criterion.h>

#include "base.h"
#include "tokenizer.h"

static char why[256];

struct got {
        uint32_t id[512];
        size_t n, most;
};

static bool keep(void *ctx, const uint32_t *ids, size_t n)
{
        struct got *g = ctx;

        for (size_t i = 0; i < n && g->n < LENGTH_OF(g->id); i++)
                g->id[g->n++] = ids[i];
        return g->most == 0 || g->n < g->most;
}

static struct tokenizer *made(const char *json)
{
        struct tokenizer *t = NULL;

        cr_assert_eq(tokenizer_parse(json, strlen(json), &t, why, sizeof why), 0, "%s", why);
        return t;
}

/* The ids as text: "1 2 3". */
static const char *ids_of(const struct tokenizer *t, const char *text)
{
        static char line[4096];
        struct tokenizer_scratch *s = NULL;
        struct got g = { .n = 0 };
        size_t used = 0;

        cr_assert_eq(tokenizer_scratch_create(t, 4096, &s), 0);
        tokenizer_run(t, s, text, strlen(text), keep, &g);
        tokenizer_scratch_destroy(s);
        line[0] = '\0';
        for (size_t i = 0; i < g.n; i++)
                used += (size_t)snprintf(line + used, sizeof line - used, "%s%u", i ? " " : "", g.id[i]);
        return line;
}

#define WORDPIECE "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\"," \
                  "\"max_input_chars_per_word\":12,\"vocab\":{\"[UNK]\":0,\"un\":1,\"##aff\":2,\"##able\":3,\"want\":4,\"##ed\":5,\",\":6," \
                  "\"\xe4\xb8\xad\":7,\"cafe\":8,\"runn\":9,\"##ing\":10,\"a\":11,\"##a\":12,\"caf\xc3\xa9\":13,\"C\":14}}"
#define BERT "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true}," \
             "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
#define CLS "\"added_tokens\":[{\"id\":20,\"special\":true,\"content\":\"[CLS]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":true,\"normalized\":false}],"

Test(tokenizer, wordpiece)
{
        struct tokenizer *t = made("{" CLS BERT WORDPIECE "}");

        cr_assert(tokenizer_is_streaming(t));
        cr_assert_eq(tokenizer_size(t), 21);
        cr_assert_eq(tokenizer_unknown(t), 0);
        cr_assert_str_eq(ids_of(t, "UNaffed,running"), "1 2 5 6 9 10");
        tokenizer_destroy(t);
}

Test(tokenizer, wordpiece_of_many_texts)
{
        static const struct {
                const char *text, *ids;
        } cases[] = {
                { "", "" },
                { " \t\n", "" },
                { "unaffable", "1 2 3" },
                { "Wanted", "4 5" },
                { "want,ed", "4 6 0" },
                { "CAF\xc3\x89 cafe\xcc\x81", "8 8" },
                { "a\xe4\xb8\xad""a", "11 7 11" },
                { "aaaaaaaaaaaa", "11 12 12 12 12 12 12 12 12 12 12 12" },
                { "aaaaaaaaaaaaa", "0" },
                { "wa\xe2\x80\x8bnt \xef\xbf\xbd", "4" },
                { "a\xc2\xa0""a\xe3\x80\x80""a", "11 11 11" },
                { "want[CLS]  a", "4 20 11" },
                { "[CLS", "0 0" },
                { "\xff""a\xc3", "11" },
        };
        struct tokenizer *t = made("{" CLS BERT WORDPIECE "}");

        for (size_t i = 0; i < LENGTH_OF(cases); i++)
                cr_expect_str_eq(ids_of(t, cases[i].text), cases[i].ids, "'%s': %s, wanted %s", cases[i].text, ids_of(t, cases[i].text),
                                 cases[i].ids);
        tokenizer_destroy(t);
}

Test(tokenizer, one_pass_is_the_steps_one_after_the_other)
{
        static const char *const flags[] = { "true", "false" };
        uint64_t x = 7;

        for (unsigned kind = 0; kind < 16; kind++) {
                struct tokenizer *fast, *slow;
                char json[2048];

                for (int two = 0; two < 2; two++) {
                        (void)snprintf(json, sizeof json,
                                       "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s{\"type\":\"BertNormalizer\",\"clean_text\":%s,"
                                       "\"handle_chinese_chars\":%s,\"strip_accents\":%s,\"lowercase\":%s}]},"
                                       "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," WORDPIECE "}",
                                       two ? "{\"type\":\"Replace\",\"pattern\":{\"String\":\"never there\"},\"content\":\"\"}," : "",
                                       flags[kind & 1], flags[kind >> 1 & 1], flags[kind >> 2 & 1], flags[kind >> 3 & 1]);
                        *(two ? &slow : &fast) = made(json);
                }
                cr_assert(tokenizer_is_streaming(fast) && !tokenizer_is_streaming(slow));
                for (int i = 0; i < 500; i++) {
                        static const char *const parts[] = { "a", "want", "ed", " ", "\xcc\x81", "\xcc\xa7", "\xe0\xa5\x8d", "\xe3\x80\xae", ",",
                                                             "\xe4\xb8\xad", "\xc3\xa9", "C", "\xef\xa4\x80", "\xe2\x80\x8b", "\xff", "\xf0\x9d\x85\xa5",
                                                             "\xea\xb0\x81", "\x01", "\xc4\xb0", "\xe2\x80\x80" };
                        char text[256] = "", first[4096];

                        for (size_t n = 0; n < 1 + (size_t)i % 30; n++) {
                                size_t used = strlen(text);

                                x = x * 6364136223846793005u + 1442695040888963407u;
                                (void)snprintf(text + used, sizeof text - used, "%s", parts[(size_t)(x >> 33) % LENGTH_OF(parts)]);
                        }
                        (void)snprintf(first, sizeof first, "%s", ids_of(fast, text));
                        cr_assert_str_eq(ids_of(slow, text), first, "kind %u: '%s'", kind, text);
                }
                tokenizer_destroy(fast);
                tokenizer_destroy(slow);
        }
}

Test(tokenizer, unigram)
{
        struct tokenizer *t = made("{\"normalizer\":{\"type\":\"NFKC\"},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\","
                                   "\"prepend_scheme\":\"always\",\"split\":true},\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":false,"
                                   "\"vocab\":[[\"<unk>\",0],[\"\\u2581\",-3],[\"\\u2581ab\",-4],[\"a\",-2],[\"b\",-2.5],[\"c\",-2],[\"abc\",-3.5]]}}");

        cr_assert_str_eq(ids_of(t, "ab"), "2");
        cr_assert_str_eq(ids_of(t, "abc"), "2 5");     /* -6 before -6.5 */
        cr_assert_str_eq(ids_of(t, "xyz c"), "1 0 1 5"); /* unknown ones side by side are one */
        cr_assert_str_eq(ids_of(t, "\xef\xbd\x81"), "1 3");
        tokenizer_destroy(t);
}

Test(tokenizer, bpe)
{
        struct tokenizer *t = made("{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                                   "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"fuse_unk\":false,\"byte_fallback\":false,"
                                   "\"vocab\":{\"a\":0,\"b\":1,\"\xc4\xa0\":2,\"ab\":3,\"\xc4\xa0""ab\":4,\"aba\":5,\"'\":6,\"s\":7,\"'s\":8},"
                                   "\"merges\":[\"a b\",[\"\xc4\xa0\",\"ab\"],\"ab a\",\"' s\"]}}");

        cr_assert_str_eq(ids_of(t, "ab ab"), "3 4");
        cr_assert_str_eq(ids_of(t, "abab"), "3 3"); /* both pairs first, then nothing fits */
        cr_assert_str_eq(ids_of(t, "abaa"), "5 0");
        cr_assert_str_eq(ids_of(t, "ab's"), "3 8");
        cr_assert_str_eq(ids_of(t, "a  b"), "0 2 2 1");
        cr_assert_str_eq(ids_of(t, "xa"), "0"); /* no token and no name for the unknown: left out */
        tokenizer_destroy(t);
}

Test(tokenizer, added_tokens_in_normalized_text)
{
        struct tokenizer *t = made("{\"added_tokens\":[{\"id\":30,\"content\":\"Want A\",\"normalized\":true,\"lstrip\":true}]," BERT WORDPIECE "}");

        cr_assert_not(tokenizer_is_streaming(t));
        cr_assert_str_eq(ids_of(t, "a  WANT A, want"), "11 30 6 4");
        tokenizer_destroy(t);
}

Test(tokenizer, a_sink_that_has_enough_is_not_called_again)
{
        struct tokenizer *t = made("{" BERT WORDPIECE "}");
        struct got g = { .most = 1 };
        static char text[200000];

        memset(text, ',', sizeof text);
        tokenizer_run(t, NULL, text, sizeof text, keep, &g);
        cr_assert_leq(g.n, 256);
        tokenizer_destroy(t);
}

static void refused(const char *json, const char *said)
{
        struct tokenizer *t = NULL;

        why[0] = '\0';
        cr_assert_eq(tokenizer_parse(json, strlen(json), &t, why, sizeof why), -EINVAL, "%s", json);
        cr_assert(strstr(why, said), "%s: said '%s', wanted '%s'", json, why, said);
}

#define TINY "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":0}}"

Test(tokenizer, what_is_not_known_is_refused_by_name)
{
        struct tokenizer *t = made("{" TINY "}");

        tokenizer_destroy(t);
        refused("", "not valid JSON");
        refused("[]", "tokenizer must be an object");
        refused("{}", "model '' is not known");
        refused("{\"extra\":1," TINY "}", "'extra' is not known");
        refused("{\"normalizer\":{\"type\":\"Nmt\"}," TINY "}", "normalizer 'Nmt'");
        refused("{\"normalizer\":{\"type\":\"BertNormalizer\",\"lower\":true}," TINY "}", "BertNormalizer: 'lower'");
        refused("{\"normalizer\":3," TINY "}", "must be an object with a 'type'");
        refused("{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"\"}," TINY "}", "the pattern 'x+'");
        refused("{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}," TINY "}", "pattern is empty");
        refused("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!\"}," TINY "}", "not base64");
        refused("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}," TINY "}", "cannot hold a table");
        refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"}}," TINY "}", "pre-tokenizer 'Split'");
        refused("{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"__\"}," TINY "}", "one character");
        refused("{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}," TINY "}", "'last'");
        refused("{\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Removed\"}," TINY "}", "'Removed'");
        refused("{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\","
                "\"replacement\":\"_\",\"prepend_scheme\":\"first\"}]}," TINY "}", "'first' behind");
        refused("{\"added_tokens\":[{\"id\":0,\"content\":\"x\",\"single_word\":true}]," TINY "}", "'single_word'");
        refused("{\"added_tokens\":[{\"id\":-1,\"content\":\"x\"}]," TINY "}", "'id' below");
        refused("{\"added_tokens\":[{\"id\":0,\"content\":\"x\"},{\"id\":0,\"content\":\"x\"}]," TINY "}", "there twice");
        refused("{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{}}}", "1 to");
        refused("{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"v\":0}}}", "unk_token 'u'");
        refused("{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":99999999}}}", "must be in 0..");
        refused("{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"u\",\"vocab\":{\"u\":0},\"max_input_chars_per_word\":100000}}", "1..1000");
        refused("{\"model\":{\"type\":\"Unigram\",\"unk_id\":null,\"vocab\":[[\"a\",0]]}}", "unk_id");
        refused("{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",0],[\"a\",0]]}}", "there twice");
        refused("{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\"]]}}", "text and its score");
        refused("{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", "chance");
        refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a b\"]}}", "not of tokens");
        refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "two tokens");
        refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "'merges' must be a list");
}

Test(tokenizer, a_file_that_is_not_there)
{
        struct tokenizer *t = NULL;

        cr_assert_eq(tokenizer_open("/nonexistent/t.json", &t, why, sizeof why), -ENOENT);
        cr_assert_str_eq(why, "cannot open: No such file or directory");
        cr_assert_eq(tokenizer_open("/tmp", &t, why, sizeof why), -EINVAL);
}

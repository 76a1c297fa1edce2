/* SPDX-License-Identifier: Apache-2.0 */
#include "garble.h"

#include "base.h"
#include "noise.h"

const char *const garble_names[GARBLES] = { "typing", "lower case", "upper case", "words dropped", "politeness" };

static const char *const greetings[] = {
        "Hello! Could you please help me with this? ", "Hi there, I have a quick question: ", "Please, would you be so kind as to answer the following. ",
        "Good morning. I would be very grateful for your help with this one: ", "Hey, sorry to bother you, but ",
};
static const char *const thanks[] = { "", " Thank you very much!", " Thanks in advance.", "\nThanks :)" };

/* What lies left and right on a keyboard. */
static const char keys[] = "qwertyuiop asdfghjkl zxcvbnm";

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char beside(char c, bool right)
{
        char low = (char)(c | 0x20);
        const char *at = strchr(keys, low);
        char other = at ? (right && at[1] ? at[1] : at > keys ? at[-1] : at[1]) : c;

        return other == ' ' || !other ? c : (char)(other - (low - c));
}

static size_t type(const char *text, size_t n, uint64_t seed, char *out)
{
        size_t used = 0;

        for (size_t i = 0; i < n; i++) {
                uint64_t bits = noise_bits(seed, i, GARBLE_TYPING);
                unsigned how = (unsigned)(noise_mix(bits) & 7);

                if (!is_letter(text[i]) || noise_uniform(bits) >= GARBLE_TYPING_SHARE) {
                        out[used++] = text[i];
                } else if (how < 2 && i + 1 < n && is_letter(text[i + 1])) {
                        out[used++] = text[i + 1];
                        out[used++] = text[i++];
                } else if (how < 4) {
                        out[used++] = text[i];
                        out[used++] = text[i];
                } else if (how < 6) {
                        out[used++] = beside(text[i], how == 4);
                }
        }
        return used;
}

static size_t drop(const char *text, size_t n, uint64_t seed, char *out)
{
        size_t used = 0;

        for (size_t i = 0, end; i < n; i = end) {
                bool blank = strchr(" \t\n\r", text[i]) != NULL;

                for (end = i; end < n && (strchr(" \t\n\r", text[end]) != NULL) == blank; end++)
                        ;
                if (!blank && noise_uniform(noise_bits(seed, i, GARBLE_DROP)) < GARBLE_DROP_SHARE)
                        continue;
                memcpy(out + used, text + i, end - i);
                used += end - i;
        }
        return used;
}

static size_t fold_case(const char *text, size_t n, bool upper, char *out)
{
        for (size_t i = 0; i < n; i++)
                out[i] = !is_letter(text[i]) ? text[i] : (char)(upper ? text[i] & ~0x20 : text[i] | 0x20);
        return n;
}

static size_t be_polite(const char *text, size_t n, uint64_t seed, char *out)
{
        const char *before = greetings[noise_bits(seed, 0, GARBLE_POLITE) % LENGTH_OF(greetings)];
        const char *after = thanks[noise_bits(seed, 1, GARBLE_POLITE) % LENGTH_OF(thanks)];
        size_t used = strlen(before);

        memcpy(out, before, used);
        memcpy(out + used, text, n);
        used += n;
        memcpy(out + used, after, strlen(after));
        return used + strlen(after);
}

char *garble(enum garble how, const char *text, size_t n, uint64_t seed, size_t *ret_n)
{
        char *out = malloc(2 * n + 256);

        if (!out)
                return NULL;
        *ret_n = how == GARBLE_TYPING ? type(text, n, seed, out)
                 : how == GARBLE_DROP ? drop(text, n, seed, out)
                 : how == GARBLE_POLITE ? be_polite(text, n, seed, out)
                                        : fold_case(text, n, how == GARBLE_UPPER, out);
        out[*ret_n] = '\0';
        return out;
}

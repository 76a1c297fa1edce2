/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text is a row of runs of letters, digits, '-', '_' and '*', with anything between them; a run is hidden or not as a whole.
 */
#include "secrets.h"

#include "base.h"

enum { SENT_LEAST = 6, PIECE = 24 };

static bool in_run(unsigned char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '*';
}

static bool begins(struct pm_str run, const char *with)
{
        size_t n = strlen(with);

        return run.n > n && memcmp(run.p, with, n) == 0;
}

/* A piece without '-' and '_' that is long and has letters and digits. */
static bool long_piece(struct pm_str run)
{
        size_t n = 0;
        bool letter = false, digit = false;

        for (size_t i = 0; i < run.n; i++) {
                char c = run.p[i];

                if (c == '-' || c == '_') {
                        n = 0;
                        letter = digit = false;
                        continue;
                }
                n++;
                digit = digit || (c >= '0' && c <= '9');
                letter = letter || (c >= 'A' && c <= 'z');
                if (n >= PIECE && letter && digit)
                        return true;
        }
        return false;
}

static bool looks_secret(struct pm_str run)
{
        static const struct {
                const char *begin;
                size_t least; /* shorter ones are words: hf_transfer */
        } keys[] = { { "sk-", 6 }, { "sk_", 8 }, { "pk-", 16 }, { "rk-", 16 }, { "gsk_", 10 }, { "hf_", 20 }, { "xai-", 16 }, { "AIza", 16 },
                     { "AKIA", 16 }, { "nvapi-", 12 }, { "r8_", 16 }, { "ghp_", 16 }, { "eyJ", 16 }, { "pplx-", 16 }, { "tgp_", 16 }, { "fw_", 16 } };
        static const char *const ids[] = { "req_", "req-", "chatcmpl-", "cmpl-", "resp_", "msg_", "call_", "gen-" };

        for (size_t i = 0; i < LENGTH_OF(keys); i++)
                if (run.n >= keys[i].least && begins(run, keys[i].begin))
                        return true;
        for (size_t i = 0; i < LENGTH_OF(ids); i++)
                if (begins(run, ids[i]))
                        return false;
        return long_piece(run);
}

/* How many bytes at the start of text were sent as a header's value, or as what stands behind its first word ("Bearer"). */
static size_t was_sent(struct pm_str text, struct pm_str headers)
{
        const char *p = headers.p, *end = headers.n ? p + headers.n : p;

        while (p < end) {
                const char *line = memmem(p, (size_t)(end - p), "\r\n", 2), *colon = memchr(p, ':', (size_t)((line ? line : end) - p));
                const char *value = colon ? colon + 1 : NULL;

                if (!line)
                        line = end;
                for (int word = 0; value && word < 2; word++) {
                        size_t n;

                        while (value < line && *value == ' ')
                                value++;
                        n = (size_t)(line - value);
                        if (n >= SENT_LEAST && n <= text.n && memcmp(text.p, value, n) == 0)
                                return n;
                        value = memchr(value, ' ', n);
                }
                p = line + MIN((size_t)2, (size_t)(end - line));
        }
        return 0;
}

/* The next piece of text: how long it is, and whether it must be hidden. */
static size_t piece(struct pm_str text, struct pm_str headers, bool *ret_hide)
{
        struct pm_str run = { text.p, 0 };
        size_t sent = was_sent(text, headers);

        *ret_hide = true;
        if (sent)
                return sent;
        while (run.n < text.n && in_run((unsigned char)text.p[run.n])) {
                if (run.n && was_sent((struct pm_str){ text.p + run.n, text.n - run.n }, headers))
                        break;
                run.n++;
        }
        *ret_hide = looks_secret(run);
        return MAX(run.n, (size_t)1);
}

bool secrets_found(struct pm_str text, struct pm_str headers)
{
        for (size_t i = 0, n; i < text.n; i += n) {
                bool hide;

                n = piece((struct pm_str){ text.p + i, text.n - i }, headers, &hide);
                if (hide)
                        return true;
        }
        return false;
}

/* A whole character's length at p, or 0. */
static size_t character(const char *p, size_t n)
{
        unsigned char c = (unsigned char)*p;
        size_t m = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;

        if (m == 0 || m > n)
                return 0;
        for (size_t i = 1; i < m; i++)
                if (((unsigned char)p[i] & 0xC0) != 0x80)
                        return 0;
        return m;
}

size_t secrets_hide(struct pm_str text, struct pm_str headers, char *out, size_t room)
{
        size_t n = 0, used;

        for (size_t i = 0; i < text.n; i += used) {
                struct pm_str rest = { text.p + i, text.n - i };
                const char *put = rest.p;
                size_t m;
                bool hide;

                used = piece(rest, headers, &hide);
                m = used;
                if (hide) {
                        put = "***";
                        m = 3;
                } else if (used == 1 && !in_run((unsigned char)*rest.p)) {
                        m = used = character(rest.p, rest.n);
                        if (m == 0) {
                                put = "?";
                                m = used = 1;
                        } else if (m == 1 && ((unsigned char)*put < 0x20 || *put == 0x7F)) {
                                put = " ";
                        }
                }
                if (n + m > room) {
                        while (n > room - 3)
                                do
                                        n--;
                                while (n && ((unsigned char)out[n] & 0xC0) == 0x80);
                        memcpy(out + n, "...", 3);
                        return n + 3;
                }
                memcpy(out + n, put, m);
                n += m;
        }
        return n;
}

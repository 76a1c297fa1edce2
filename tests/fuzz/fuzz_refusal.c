/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an expert's refusal: "STATUS SECRET TIME\nbody".  What it says is one line of valid UTF-8, bounded, and never has the
 * secret in it; a body that may be sent on as it is has not, either.  Times in header lines are within a day.
 */
#include "header_times.h"
#include "js.h"
#include "refusal.h"
#include "secrets.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pm_str word(struct pm_str *line)
{
        const char *blank = line->n ? memchr(line->p, ' ', line->n) : NULL;
        struct pm_str w = { line->p, blank ? (size_t)(blank - line->p) : line->n };
        size_t used = blank ? w.n + 1 : w.n;

        line->p += used;
        line->n -= used;
        return w;
}

static void check_words(const char *words, struct pm_str secret)
{
        char quoted[6 * 512 + 2];
        size_t n;

        if (!words)
                return;
        n = strlen(words);
        assert(n <= 500);
        for (size_t i = 0; i < n; i++)
                assert((unsigned char)words[i] >= 0x20 && words[i] != 0x7f);
        quoted[0] = '"';
        n = js_escape((struct pm_str){ words, n }, quoted + 1);
        quoted[n + 1] = '"';
        assert(js_check((struct pm_str){ quoted, n + 2 }, 4, NULL, NULL) == 0);
        for (size_t i = 0; i < secret.n; i++)
                if (strchr("*?.", secret.p[i]))
                        return; /* what we write in place of something could look like it */
        if (secret.n >= 6)
                assert(!memmem(words, strlen(words), secret.p, secret.n));
}

static void check(const struct refusal *r, struct pm_str secret)
{
        check_words(r->message, secret);
        check_words(r->type, secret);
        check_words(r->code, secret);
        check_words(r->param, secret);
        assert(r->message || !r->json);
        assert(r->json || !r->clean);
}

static void times(struct pm_str value)
{
        static const char *const names[] = { "retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-request-timeout-ms", "x-stainless-timeout" };

        for (size_t i = 0; i < LENGTH_OF(names); i++) {
                struct h1_header h = { { names[i], strlen(names[i]) }, value };
                int64_t ms = header_retry_ms(&h, 1, true, 1700000000);

                assert(ms >= -1 && ms <= INT64_C(86400000));
                ms = header_patience_ms(&(struct h1_head){ .headers = &h, .n_headers = 1 });
                assert(ms >= 0 && ms <= INT64_C(86400000));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct pm_str body = { (const char *)data, size }, line, secret, headers;
        const char *end = size ? memchr(data, '\n', size) : NULL;
        struct arena a;
        struct refusal r;
        int64_t status;
        char *text;

        line = (struct pm_str){ body.p, end ? (size_t)(end - body.p) : 0 };
        if (end)
                body = (struct pm_str){ end + 1, size - line.n - 1 };
        arena_init(&a, NULL, 1 << 24);
        if (!js_int(word(&line), &status) || status < 300 || status > 599)
                status = 400;
        secret = word(&line);
        if (memchr(secret.n ? secret.p : "", '\r', secret.n) || secret.n > 100)
                secret.n = 0;
        text = arena_printf(&a, "Authorization: Bearer %.*s\r\n", (int)secret.n, secret.n ? secret.p : "");
        headers = (struct pm_str){ text, strlen(text) };
        if (headers.n != 24 + secret.n) /* a NUL in it */
                secret.n = 0;
        times(line);
        refusal_read((int)status, false, body, headers, &a, &r);
        check(&r, secret);
        if (r.clean)
                assert(!secrets_found(body, headers));
        refusal_read_event(body, headers, &a, &r);
        check(&r, secret);
        assert(r.status >= 400 && r.status < 600);
        arena_finish(&a);
        return 0;
}

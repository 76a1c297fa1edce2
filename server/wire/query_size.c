/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a prompt is at least, in tokens, without a tokenizer.
 *
 * Five bytes of text a token: English prose comes to 4 to 4.6 with today's vocabularies, other languages, code and numbers to less, so an
 * expert with a smaller context than this cannot take the prompt.  The text of messages counts, escapes resolved; pictures, sounds, the
 * names of tools and the answer do not.  An expert with a slightly larger context may still refuse the prompt; then one with a larger
 * context is tried.
 */
#include "query.h"

#include "base.h"
#include "js.h"

enum { TOKEN_BYTES = 5 };

/* A JSON string's text: \u00e4 is taken for three bytes, other escapes for one. */
static size_t string_bytes(struct pm_str v)
{
        size_t n = v.n - 2;

        for (const char *p = v.p + 1, *end = v.p + v.n - 1; (p = memchr(p, '\\', (size_t)(end - p))); p += 2)
                n -= p[1] == 'u' ? 3 : 1;
        return n;
}

static size_t text_bytes(struct pm_str content)
{
        struct pm_str key, part;
        size_t n = 0;
        struct js j;

        if (js_type(content) == JS_STRING)
                return string_bytes(content);
        if (js_type(content) != JS_ARRAY)
                return 0;
        js_start(&j, content, 512);
        for (js_enter(&j); js_more(&j, &key);) {
                part = js_take(&j);
                if (js_type(part) == JS_OBJECT)
                        part = js_member(part, "text");
                if (js_type(part) == JS_STRING)
                        n += string_bytes(part);
        }
        return n;
}

bool query_fits(const struct query *q, int64_t context, int64_t *least)
{
        size_t bytes = 0;

        if (context == 0 || q->body.n / TOKEN_BYTES <= (uint64_t)context)
                return true;
        if (*least < 0) {
                for (size_t i = 0; i < q->n_turns; i++)
                        bytes += text_bytes(q->turns[i].content);
                *least = (int64_t)(bytes / TOKEN_BYTES);
        }
        return *least <= context;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "embedding.h"

#include "base.h"
#include "base64.h"
#include "js.h"

enum { DIM_MAX = 65536 };

struct pm_str embedding_ask(const char *model, struct pm_str text, struct arena *a)
{
        size_t room = 6 * (text.n + strlen(model)) + 128, n;
        char *body = arena_alloc(a, room);

        if (!body)
                return (struct pm_str){ 0 };
        n = (size_t)snprintf(body, room, "{\"encoding_format\":\"base64\",\"model\":\"");
        n += js_escape((struct pm_str){ model, strlen(model) }, body + n);
        n += (size_t)snprintf(body + n, room - n, "\",\"input\":\"");
        n += js_escape(text, body + n);
        n += (size_t)snprintf(body + n, room - n, "\"}");
        return (struct pm_str){ body, n };
}

/* Little-endian float32s, as the API defines. */
static int from_base64(struct pm_str s, struct arena *a, const float **ret, size_t *ret_dim)
{
        unsigned char *out = arena_alloc(a, s.n / 4 * 3 + 3);
        size_t n = 0;
        int e;

        if (!out)
                return -ENOMEM;
        e = base64_decode(s.p, s.n, out, &n);
        if (e < 0)
                return e;
        if (n == 0 || n % sizeof(float) != 0 || n / sizeof(float) > DIM_MAX)
                return -EINVAL;
        *ret = (const float *)(const void *)out;
        *ret_dim = n / sizeof(float);
        return 0;
}

static int from_numbers(struct pm_str list, struct arena *a, const float **ret, size_t *ret_dim)
{
        struct pm_str key;
        struct js j;
        size_t n = 0;
        float *out;

        js_start(&j, list, 4);
        for (js_enter(&j); js_more(&j, &key); n++)
                if (js_type(js_take(&j)) != JS_NUMBER)
                        return -EINVAL;
        if (n == 0 || n > DIM_MAX)
                return -EINVAL;
        out = arena_alloc(a, n * sizeof *out);
        if (!out)
                return -ENOMEM;
        js_start(&j, list, 4);
        n = 0;
        for (js_enter(&j); js_more(&j, &key); n++)
                out[n] = strtof(js_take(&j).p, NULL); /* ends at the comma or bracket that follows */
        *ret = out;
        *ret_dim = n;
        return 0;
}

/* {"data":[{"embedding": ...}]} */
int embedding_read(struct pm_str reply, struct arena *a, const float **ret, size_t *ret_dim)
{
        struct pm_str data, value, key;
        struct js j;
        int e;

        if (js_check(reply, 16, NULL, NULL) < 0)
                return -EINVAL;
        data = js_member(js_trim(reply), "data");
        js_start(&j, data, 16);
        if (js_type(data) != JS_ARRAY || !js_enter(&j) || !js_more(&j, &key))
                return -EINVAL;
        value = js_member(js_take(&j), "embedding");
        if (js_type(value) == JS_STRING)
                e = from_base64(js_text(value, a), a, ret, ret_dim);
        else if (js_type(value) == JS_ARRAY)
                e = from_numbers(value, a, ret, ret_dim);
        else
                return -EINVAL;
        for (size_t i = 0; e == 0 && i < *ret_dim; i++)
                if (!__builtin_isfinite((*ret)[i]))
                        return -EINVAL;
        return e;
}

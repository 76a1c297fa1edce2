/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One text, one request with encoding_format base64 (a vector of 1,024 floats is then 5.5 kB instead of 20 and needs no number
 * parsing); backends that answer with a list of numbers all the same are read too.
 */
#include "embed.h"

#include "base.h"
#include "config.h"
#include "expert.h"
#include "js.h"

enum { REPLY_MAX = 4 << 20, DIM_MAX = 65536 };

static int base64_value(unsigned char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Little-endian float32s, as the API defines. */
static int from_base64(struct pm_str s, struct arena *a, const float **ret, size_t *ret_dim)
{
        unsigned char *out = arena_alloc(a, s.n / 4 * 3 + 3);
        unsigned bits = 0, have = 0;
        size_t n = 0;

        if (!out)
                return -ENOMEM;
        while (s.n && s.p[s.n - 1] == '=')
                s.n--;
        for (size_t i = 0; i < s.n; i++) {
                int v = base64_value((unsigned char)s.p[i]);

                if (v < 0)
                        return -EINVAL;
                bits = bits << 6 | (unsigned)v;
                have += 6;
                if (have >= 8) {
                        have -= 8;
                        out[n++] = (unsigned char)(bits >> have);
                }
        }
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
static int read_reply(struct pm_str reply, struct arena *a, const float **ret, size_t *ret_dim)
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

static void on_reply(void *arg)
{
        struct embed *e = arg;
        const struct ask *a = &e->ask;

        if (e->done || !a->done)
                return;
        e->done = true;
        e->status = a->status;
        snprintf(e->error, sizeof e->error, "%s", a->error);
        if (a->status == PM_OK && read_reply(a->reply, a->arena, &e->vector, &e->dim) < 0) {
                e->status = PM_EINVAL;
                snprintf(e->error, sizeof e->error, "'%s' did not answer with an embedding", a->expert->name);
        } else if (a->status == PM_OK && e->embedder->dim && (int64_t)e->dim != e->embedder->dim) {
                e->status = PM_EINVAL;
                snprintf(e->error, sizeof e->error, "'%s' answered with %zu dimensions, embedders.%s.dim says %" PRId64, a->expert->name,
                         e->dim, e->embedder->name, e->embedder->dim);
        }
        if (e->status < 0) {
                e->vector = NULL;
                e->dim = 0;
        }
        worker_wake(a->worker, e->owner);
}

void embed_start(struct embed *e, struct worker *w, struct arena *arena, struct wake *owner, const struct embedder *by,
                 struct pm_str text, int64_t timeout_ms)
{
        size_t room = 6 * (text.n + strlen(by->expert->model)) + 128, n;
        char *body = arena_alloc(arena, room);

        *e = (struct embed){ .owner = owner, .embedder = by };
        e->wake = (struct wake){ .fn = on_reply, .arg = e };
        if (!body) {
                e->ask = (struct ask){ .worker = w, .owner = &e->wake, .done = true };
                e->done = true;
                e->status = PM_ETOOBIG;
                snprintf(e->error, sizeof e->error, "no memory for a text of %zu bytes", text.n);
                worker_wake(w, owner);
                return;
        }
        n = (size_t)snprintf(body, room, "{\"encoding_format\":\"base64\",\"model\":\"");
        n += js_escape((struct pm_str){ by->expert->model, strlen(by->expert->model) }, body + n);
        n += (size_t)snprintf(body + n, room - n, "\",\"input\":\"");
        n += js_escape(text, body + n);
        n += (size_t)snprintf(body + n, room - n, "\"}");
        ask_start(&e->ask, w, arena, &e->wake, by->expert, by->path, (struct pm_str){ body, n }, timeout_ms, REPLY_MAX);
}

void embed_cancel(struct embed *e)
{
        if (!e->ask.worker)
                return;
        worker_unwake(e->ask.worker, e->owner);
        ask_cancel(&e->ask); /* takes e->wake off too */
        e->done = true;
}

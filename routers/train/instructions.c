/* SPDX-License-Identifier: Apache-2.0 */
#include "instructions.h"

#include <curl/curl.h>

#include "base.h"
#include "instruction.h"
#include "progress.h"

#define SAMPLES 3
#define ATTEMPTS 3
#define PROMPT_BYTES 2000
#define SECONDS 120
#define REPLY_MAX (1 << 20)

struct reply {
        char *p;
        size_t n;
};

static size_t take(char *data, size_t one, size_t n, void *arg)
{
        struct reply *r = arg;
        char *p = r->n + n <= REPLY_MAX ? realloc(r->p, r->n + n + 1) : NULL;

        (void)one; /* always 1 */
        if (!p)
                return 0;
        memcpy(p + r->n, data, n);
        r->p = p;
        r->n += n;
        return n;
}

static CURL *prepared(const struct instructions_ask *a, struct curl_slist **headers, struct reply *reply, char *error)
{
        const char *key = secure_getenv("POINTSMAN_ASK_KEY");
        char url[1024], bearer[1024];
        CURL *c = curl_easy_init();

        (void)snprintf(url, sizeof url, "%s/chat/completions", a->url);
        *headers = curl_slist_append(NULL, "Content-Type: application/json");
        if (key && *key) {
                (void)snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", key);
                *headers = curl_slist_append(*headers, bearer);
        }
        if (!c)
                return NULL;
        (void)curl_easy_setopt(c, CURLOPT_URL, url);
        (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, *headers);
        (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
        (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, reply);
        (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
        (void)curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)SECONDS);
        (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
        return c;
}

/* 0 and a sentence; -EAGAIN: what came is none; -EIO: no answer, or an error. */
static int ask_once(const struct instructions_ask *a, const char *body, char sentence[INSTRUCTION_MAX + 1], char *why, size_t n)
{
        struct curl_slist *headers = NULL;
        struct reply reply = { 0 };
        char error[CURL_ERROR_SIZE] = "";
        CURL *c = prepared(a, &headers, &reply, error);
        long status = 0;
        int r = -ENOMEM;

        if (c) {
                CURLcode e = curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);

                e = e ? e : curl_easy_perform(c);
                (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
                r = e || status != 200 ? -EIO : 0;
                if (e)
                        (void)snprintf(why, n, "%s", error[0] ? error : curl_easy_strerror(e));
                else if (status != 200)
                        (void)snprintf(why, n, "it answered %ld: %.*s", status, (int)MIN(reply.n, (size_t)160), reply.p ? reply.p : "");
        }
        if (r == 0 && instruction_read(reply.p ? reply.p : "", reply.n, sentence, why, n) < 0)
                r = -EAGAIN;
        curl_easy_cleanup(c);
        curl_slist_free_all(headers);
        free(reply.p);
        return r;
}

/* Of the prompts i that belong(): those whose text comes first by a hash, so that the same are drawn each time. */
static size_t draw(const struct training_set *l, size_t task, size_t expert, struct instruction_prompt *ret)
{
        uint64_t key[SAMPLES];
        size_t n = 0;

        for (size_t i = 0; i < l->n; i++) {
                struct instruction_prompt s;
                uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
                size_t at;

                if (task != SIZE_MAX ? l->task[i] != task : l->example_of[i] != expert)
                        continue;
                s.p = training_set_text(l, i, &s.n);
                for (size_t k = 0; k < s.n; k++)
                        h = (h ^ (unsigned char)s.p[k]) * 0x100000001b3u;
                for (at = n; at > 0 && key[at - 1] > h; at--)
                        if (at < SAMPLES) {
                                key[at] = key[at - 1];
                                ret[at] = ret[at - 1];
                        }
                if (at < SAMPLES) {
                        key[at] = h;
                        ret[at] = s;
                        n = MIN(n + 1, (size_t)SAMPLES);
                }
        }
        return n;
}

/* *ret stays NULL if the model does not say a sentence. */
static int ask_for(const struct instructions_ask *a, const struct training_set *l, size_t task, size_t expert, const char *name, char **ret)
{
        struct instruction_prompt samples[SAMPLES];
        size_t n = draw(l, task, expert, samples);
        CLEANUP(free_p) char *body = n ? instruction_body(a->model, samples, n, PROMPT_BYTES, INSTRUCTION_TOKENS) : NULL;
        char sentence[INSTRUCTION_MAX + 1], why[320] = "";
        int r = -EAGAIN;

        if (n == 0)
                return 0;
        if (!body)
                return -ENOMEM;
        for (int i = 0; i < ATTEMPTS && r == -EAGAIN; i++)
                r = ask_once(a, body, sentence, why, sizeof why);
        progress_done();
        if (r == -EIO)
                (void)fprintf(stderr, "%s: %s\n", a->url, why);
        if (r == -EAGAIN)
                (void)fprintf(stderr, "%s: no instruction for '%s': %s\n", a->url, name, why);
        if (r == 0)
                *ret = strdup(sentence);
        return r == -EAGAIN || (r == 0 && *ret) ? 0 : r < 0 ? r : -ENOMEM;
}

static void write_line(FILE *f, const char *kind, const char *name, const char *sentence)
{
        json_t *o = f && sentence ? json_pack("{s:s, s:s}", kind, name, "instruction", sentence) : NULL;

        if (o) {
                (void)json_dumpf(o, f, JSON_COMPACT | JSON_ENSURE_ASCII);
                (void)fputc('\n', f);
        }
        json_decref(o);
}

int instructions_ask(const struct instructions_ask *a, struct training_set *l)
{
        CLEANUP(fclose_p) FILE *f = a->out ? fopen(a->out, "we") : NULL;
        int r = 0;

        if (a->out && !f) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", a->out, ERRNO_TEXT(errno));
                return -EIO;
        }
        for (size_t t = 0; r == 0 && t < l->rows.n_labels; t++) {
                progress_show("asking", t, l->rows.n_labels + l->n_experts);
                if (!l->task_instructions[t])
                        r = ask_for(a, l, t, SIZE_MAX, l->rows.labels[t], &l->task_instructions[t]);
                write_line(f, "task", l->rows.labels[t], l->task_instructions[t]);
        }
        for (size_t k = 0; r == 0 && k < l->n_experts; k++) {
                struct training_expert *e = &l->experts[k];

                progress_show("asking", l->rows.n_labels + k, l->rows.n_labels + l->n_experts);
                if (!e->by_outcomes && !e->instruction)
                        r = ask_for(a, l, SIZE_MAX, k, e->name, &e->instruction);
                write_line(f, "expert", e->name, e->instruction);
        }
        progress_done();
        if (r == 0 && f && (fflush(f) != 0 || ferror(f))) {
                (void)fprintf(stderr, "%s: cannot write: %s\n", a->out, ERRNO_TEXT(errno));
                r = -EIO;
        }
        return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "embed_model.h"

#include <stdatomic.h>
#include <stdint.h>

#include "base.h"
#include "encoder.h"

enum { WORKERS_MAX = 1024 };

struct embed_model {
        struct encoder *encoder;
        size_t text_max;
        struct encoder_scratch *_Atomic scratch[WORKERS_MAX]; /* each worker's own, made when it first asks */
};

int embed_model_open(const char *folder, int64_t text_max, struct embed_model **ret, char *why, size_t n)
{
        struct embed_model *m = calloc(1, sizeof *m);
        int e;

        if (!m) {
                (void)snprintf(why, n, "out of memory");
                return -ENOMEM;
        }
        m->text_max = (size_t)text_max;
        e = encoder_open(folder, &m->encoder, why, n);
        if (e < 0) {
                free(m);
                return e;
        }
        *ret = m;
        return 0;
}

void embed_model_close(struct embed_model *m)
{
        if (!m)
                return;
        for (size_t i = 0; i < WORKERS_MAX; i++)
                encoder_scratch_destroy(m->scratch[i]);
        encoder_destroy(m->encoder);
        free(m);
}

size_t embed_model_dim(const struct embed_model *m)
{
        return encoder_dim(m->encoder);
}

/* *ret NULL: it needs none. */
static int scratch_of(const struct embed_model *m, unsigned worker, struct encoder_scratch **ret)
{
        union { const struct embed_model *from; struct embed_model *to; } mine = { m }; /* this worker's place in it */
        struct encoder_scratch *s;
        int e;

        *ret = NULL;
        if (!encoder_needs_scratch(m->encoder))
                return 0;
        assert(worker < WORKERS_MAX);
        s = m->scratch[worker];
        if (!s) {
                e = encoder_scratch_create(m->encoder, m->text_max, &s);
                if (e < 0)
                        return e;
                mine.to->scratch[worker] = s;
        }
        *ret = s;
        return 0;
}

int embed_model_run(const struct embed_model *m, unsigned worker, struct pm_str text, float *out, size_t *ret_tokens)
{
        struct encoder_scratch *scratch;
        int e = scratch_of(m, worker, &scratch);

        return e < 0 ? e : encoder_encode(m->encoder, scratch, text.n ? text.p : "", text.n, m->text_max, out, ret_tokens);
}

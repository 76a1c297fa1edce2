/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handful of inner products.  The softmax over an expert's own instructions needs each instruction's exponential once, and then two sums
 * an expert.
 */
#include "gates_parts.h"

#include <math.h>
#include <string.h>

#include "base.h"
#include "dot.h"

struct gates *gates_create(const struct gates_parts *parts)
{
        struct gates *g = calloc(1, sizeof *g);

        assert(parts->dim > 1 && parts->experts > 0 && parts->experts <= GATES_EXPERTS_MAX && parts->instructions <= GATES_INSTRUCTIONS_MAX);
        if (g)
                g->parts = *parts;
        return g;
}

void gates_destroy(struct gates *g)
{
        if (!g)
                return;
        gates_file_finish(g);
        free(g);
}

const struct gates_parts *gates_parts(const struct gates *g)
{
        return &g->parts;
}

void gates_layer_norm(float *v, size_t n)
{
        double mean = 0, square = 0;
        float scale;

        for (size_t i = 0; i < n; i++)
                mean += (double)v[i];
        mean /= (double)n;
        for (size_t i = 0; i < n; i++)
                square += ((double)v[i] - mean) * ((double)v[i] - mean);
        scale = square > 1e-24 ? (float)(1 / sqrt(square / (double)n)) : 0;
        for (size_t i = 0; i < n; i++)
                v[i] = (v[i] - (float)mean) * scale;
}

static bool all_zero(const float *v, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (v[i] < 0 || v[i] > 0)
                        return false;
        return true;
}

void gates_local(const struct gates *g, enum gates_combine combine, float *vectors, size_t n, float *local)
{
        const struct gates_parts *p = &g->parts;
        float scale = (float)(1 / sqrt((double)p->dim));
        size_t seen = 0;

        memset(local, 0, p->experts * sizeof *local);
        for (size_t c = 0; c < n; c++) {
                float *u = vectors + c * p->dim;

                if (all_zero(u, p->dim))
                        continue; /* no token of it is known */
                for (size_t i = 0; i < p->dim; i++)
                        u[i] -= p->centre[i];
                gates_layer_norm(u, p->dim);
                for (size_t k = 0; k < p->experts; k++) {
                        float s = scale * dot_floats(p->gates + k * p->dim, u, p->dim);

                        local[k] = combine == GATES_MEAN ? local[k] + s : seen == 0 ? s : MAX(local[k], s);
                }
                seen++;
        }
        for (size_t k = 0; combine == GATES_MEAN && seen > 1 && k < p->experts; k++)
                local[k] /= (float)seen;
        for (size_t k = 0; p->means && k < p->experts; k++)
                local[k] += (float)p->delta * p->means[k];
}

double gates_global(const struct gates *g, const float *vector, float *global, size_t *ret_nearest)
{
        const struct gates_parts *p = &g->parts;
        float near[GATES_INSTRUCTIONS_MAX], weight[GATES_INSTRUCTIONS_MAX];
        size_t nearest = 0;

        for (size_t j = 0; j < p->instructions; j++) {
                near[j] = dot_floats(p->vectors + j * p->dim, vector, p->dim);
                if (near[j] > near[nearest])
                        nearest = j;
        }
        for (size_t j = 0; j < p->instructions; j++)
                weight[j] = expf((near[j] - near[nearest]) * (float)p->sharpness);
        for (size_t k = 0; k < p->experts; k++) {
                const float *strength = p->strengths + k * p->instructions;
                float sum = 0, all = 0;

                for (size_t j = 0; j < p->instructions; j++)
                        if (!isnan(strength[j])) {
                                sum += weight[j] * strength[j] * near[j];
                                all += weight[j];
                        }
                global[k] = all > 0 ? sum / all : 0;
        }
        if (ret_nearest)
                *ret_nearest = nearest;
        return p->instructions ? (double)near[nearest] : 0;
}

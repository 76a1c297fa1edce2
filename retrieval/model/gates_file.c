/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file: safetensors of kind "pointsman.instruct".  Tensors, all F32: "centre" [dim], "gates" [experts, dim], "vectors"
 * [instructions, dim], "strengths" [experts, instructions] (a not-a-number: no instruction of this expert), "expected" [instructions],
 * "reference" [dim + 1], "background" [backgrounds, dim].  Metadata: "experts" and "instructions" (JSON lists of texts), "gamma", "beta",
 * "threshold", "sharpness", "combine" ("mean" or "max"), "window" and "encoder_sha256".
 */
#include <math.h>

#include "base.h"
#include "chunks.h"
#include "encoder.h"
#include "error.h"
#include "gates_parts.h"

static const char *const combines[] = { [GATES_MEAN] = "mean", [GATES_MAX] = "max" };

static void gates_p(struct gates **g)
{
        gates_destroy(*g);
}

void gates_file_finish(struct gates *g)
{
        json_decref(TAKE(g->names));
        json_decref(TAKE(g->texts));
        free(TAKE(g->name_list));
        free(TAKE(g->text_list));
        tensors_close(TAKE(g->file));
}

const char *gates_meta(const struct gates *g, const char *key)
{
        return g->file ? tensors_meta(g->file, key) : NULL;
}

int gates_check(const struct gates *g, const struct encoder *e, char *why, size_t why_size)
{
        char hex[65];

        if (encoder_dim(e) != g->parts.dim)
                return set_error(why, why_size, "its vectors have %zu dimensions, the model was trained with %zu", encoder_dim(e), g->parts.dim);
        if (encoder_digest(e, hex) < 0)
                return set_error(why, why_size, "no memory for its SHA-256");
        if (strcmp(hex, g->parts.encoder) != 0)
                return set_error(why, why_size, "it is not the one (%.12s...) that the model was trained with (%.12s...)", hex, g->parts.encoder);
        return 0;
}

/* ---- in ------------------------------------------------------------------------------------------------------------------- */

/* A list of texts, none empty, none twice where `unique`. */
static int read_texts(struct gates *g, const char *key, size_t max, size_t bytes, bool unique, json_t **ret_json,
                      const char ***ret, size_t *ret_n, char *why, size_t why_size)
{
        const char *text = tensors_meta(g->file, key);
        json_t *list;
        size_t n;

        errno = 0;
        list = text ? json_loads(text, 0, NULL) : NULL;
        n = json_array_size(list);
        *ret_json = list;
        if (text && !list && json_lacked_memory())
                return -ENOMEM;
        if (!json_is_array(list) || n > max)
                return set_error(why, why_size, "'%s' in its metadata must be a list of at most %zu texts", key, max);
        *ret = calloc(n + 1, sizeof **ret);
        if (!*ret)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                (*ret)[i] = json_string_value(json_array_get(list, i));
                if (!(*ret)[i] || !(*ret)[i][0] || strlen((*ret)[i]) > bytes)
                        return set_error(why, why_size, "'%s' in its metadata: item %zu is no text of 1 to %zu bytes", key, i, bytes);
                for (size_t k = 0; unique && k < i; k++)
                        if (strcmp((*ret)[k], (*ret)[i]) == 0)
                                return set_error(why, why_size, "'%s' in its metadata has '%.64s' twice", key, (*ret)[i]);
        }
        *ret_n = n;
        return 0;
}

static int read_real(const struct gates *g, const char *key, double min, double max, double *ret, char *why, size_t why_size)
{
        const char *text = tensors_meta(g->file, key);
        char *end = NULL;

        *ret = text ? strtod(text, &end) : NAN;
        if (!text || end == text || *end || !(*ret >= min && *ret <= max))
                return set_error(why, why_size, "'%s' in its metadata is '%.32s', wanted a number from %g to %g", key, text ? text : "", min, max);
        return 0;
}

/* rows 0: a vector of `columns`.  Numbers must be finite, unless `gaps`. */
static int read_floats(const struct gates *g, const char *name, size_t rows, size_t columns, bool gaps, const float **ret,
                       char *why, size_t why_size)
{
        const struct tensor *t = tensors_find(g->file, name);
        size_t n = (rows ? rows : 1) * columns;
        bool fits = t && t->type == TENSOR_F32 && (uintptr_t)t->data % sizeof(float) == 0;

        fits = fits && (rows ? t->rank == 2 && t->shape[0] == rows && t->shape[1] == columns : t->rank == 1 && t->shape[0] == columns);
        if (!fits && rows)
                return set_error(why, why_size, "tensor '%s' must be F32 of %zu x %zu", name, rows, columns);
        if (!fits)
                return set_error(why, why_size, "tensor '%s' must be F32 of %zu", name, columns);
        *ret = t->data;
        for (size_t i = 0; i < n; i++)
                if (!isfinite((*ret)[i]) && !(gaps && isnan((*ret)[i])))
                        return set_error(why, why_size, "tensor '%s' has a number that is not finite, the %zuth", name, i + 1);
        return 0;
}

/* One that older files have not got. */
static int read_newer(const struct gates *g, const char *key, double min, double max, double preset, double *ret, char *why, size_t why_size)
{
        *ret = preset;
        return tensors_meta(g->file, key) ? read_real(g, key, min, max, ret, why, why_size) : 0;
}

static int read_numbers(struct gates *g, char *why, size_t why_size)
{
        struct gates_parts *p = &g->parts;
        const char *combine = tensors_meta(g->file, "combine");
        double window = 0;
        int r = read_real(g, "gamma", 0, 1e6, &p->gamma, why, why_size);

        if (r == 0)
                r = read_real(g, "beta", 0, 1e6, &p->beta, why, why_size);
        if (r == 0)
                r = read_real(g, "threshold", -1, 2, &p->threshold, why, why_size);
        if (r == 0)
                r = read_real(g, "sharpness", 0, 1e4, &p->sharpness, why, why_size);
        if (r == 0)
                r = read_newer(g, "delta", 0, 1e6, 0, &p->delta, why, why_size);
        if (r == 0)
                r = read_newer(g, "sure", 0, 1, .5, &p->sure, why, why_size);
        if (r == 0)
                r = read_real(g, "window", CHUNKS_WINDOW_MIN, 1 << 20, &window, why, why_size);
        if (r < 0)
                return r;
        p->window = (size_t)window;
        for (size_t i = 0; i < LENGTH_OF(combines); i++)
                if (combine && strcmp(combine, combines[i]) == 0) {
                        p->combine = (enum gates_combine)i;
                        return 0;
                }
        return set_error(why, why_size, "'combine' in its metadata is '%.32s', wanted 'mean' or 'max'", combine ? combine : "");
}

static int read_tensors(struct gates *g, char *why, size_t why_size)
{
        struct gates_parts *p = &g->parts;
        const struct tensor *centre = tensors_find(g->file, "centre"), *background = tensors_find(g->file, "background");
        int r;

        if (!centre || centre->rank != 1 || centre->shape[0] < 2 || centre->shape[0] > 4096)
                return set_error(why, why_size, "tensor 'centre' must be F32 of 2 to 4096 numbers");
        p->dim = (size_t)centre->shape[0];
        if (!background || background->rank != 2 || background->shape[0] > GATES_BACKGROUND_MAX)
                return set_error(why, why_size, "tensor 'background' must be F32 of at most %d x %zu", GATES_BACKGROUND_MAX, p->dim);
        p->backgrounds = (size_t)background->shape[0];
        r = read_floats(g, "centre", 0, p->dim, false, &p->centre, why, why_size);
        if (r == 0)
                r = read_floats(g, "reference", 0, p->dim + 1, false, &p->reference, why, why_size);
        if (r == 0)
                r = read_floats(g, "gates", p->experts, p->dim, false, &p->gates, why, why_size);
        if (r == 0 && p->backgrounds)
                r = read_floats(g, "background", p->backgrounds, p->dim, false, &p->background, why, why_size);
        if (r == 0 && p->instructions)
                r = read_floats(g, "vectors", p->instructions, p->dim, false, &p->vectors, why, why_size);
        if (r == 0 && p->instructions)
                r = read_floats(g, "strengths", p->experts, p->instructions, true, &p->strengths, why, why_size);
        if (r == 0 && p->instructions)
                r = read_floats(g, "expected", 0, p->instructions, true, &p->expected, why, why_size);
        if (r == 0 && p->delta > 0)
                r = read_floats(g, "means", 0, p->experts, false, &p->means, why, why_size);
        for (size_t i = 0; r == 0 && p->means && i < p->experts; i++)
                if (p->means[i] < -1 || p->means[i] > 1)
                        return set_error(why, why_size, "tensor 'means' has %g, wanted -1 to 1", (double)p->means[i]);
        for (size_t i = 0; r == 0 && i < p->experts * p->instructions; i++)
                if (p->strengths[i] < -1 || p->strengths[i] > 1)
                        return set_error(why, why_size, "tensor 'strengths' has %g, wanted -1 to 1", (double)p->strengths[i]);
        return r;
}

int gates_open(const char *path, struct gates **ret, char *why, size_t why_size)
{
        CLEANUP(gates_p) struct gates *g = calloc(1, sizeof *g);
        const char *kind, *version;
        int r;

        why[0] = '\0';
        if (!g)
                return -ENOMEM;
        r = tensors_open(path, &g->file, why, why_size);
        if (r < 0)
                return r;
        kind = tensors_meta(g->file, "kind");
        version = tensors_meta(g->file, "version");
        if (!kind || strcmp(kind, "pointsman.instruct") != 0)
                return set_error(why, why_size, "kind is '%.64s', wanted 'pointsman.instruct': not a model of pointsman-train instruct", kind ? kind : "");
        if (!version || (strcmp(version, GATES_VERSION) != 0 && strcmp(version, GATES_VERSION_MEANS) != 0))
                return set_error(why, why_size, "version is '%.32s', this program reads '%s' and '%s': train it again",
                                 version ? version : "", GATES_VERSION, GATES_VERSION_MEANS);
        g->parts.encoder = tensors_meta(g->file, "encoder_sha256");
        if (!g->parts.encoder || strlen(g->parts.encoder) != 64)
                return set_error(why, why_size, "'encoder_sha256' in its metadata must be 64 hexadecimal digits");
        r = read_texts(g, "experts", GATES_EXPERTS_MAX, 256, true, &g->names, &g->name_list, &g->parts.experts, why, why_size);
        if (r == 0)
                r = read_texts(g, "instructions", GATES_INSTRUCTIONS_MAX, GATES_INSTRUCTION_BYTES, false, &g->texts,
                               &g->text_list, &g->parts.instructions, why, why_size);
        if (r == 0 && g->parts.experts == 0)
                r = set_error(why, why_size, "it knows no expert");
        g->parts.names = g->name_list;
        g->parts.texts = g->text_list;
        if (r == 0)
                r = read_numbers(g, why, why_size);
        if (r == 0)
                r = read_tensors(g, why, why_size);
        if (r == 0)
                r = tensors_settle(g->file, why, why_size);
        if (r < 0)
                return r;
        *ret = TAKE(g);
        return 0;
}

/* ---- out ------------------------------------------------------------------------------------------------------------------ */

static char *texts_json(const char *const *texts, size_t n)
{
        json_t *list = json_array();
        char *text;

        for (size_t i = 0; i < n; i++)
                (void)json_array_append_new(list, json_string(texts[i]));
        text = json_array_size(list) == n ? json_dumps(list, JSON_COMPACT) : NULL;
        json_decref(list);
        return text;
}

int gates_save(const struct gates_parts *p, const char *path, const char *const *meta, char *why, size_t why_size)
{
        size_t floats = sizeof(float);
        const struct tensor list[] = {
                { "centre", TENSOR_F32, 1, { p->dim }, p->centre, p->dim * floats },
                { "reference", TENSOR_F32, 1, { p->dim + 1 }, p->reference, (p->dim + 1) * floats },
                { "gates", TENSOR_F32, 2, { p->experts, p->dim }, p->gates, p->experts * p->dim * floats },
                { "background", TENSOR_F32, 2, { p->backgrounds, p->dim }, p->background, p->backgrounds * p->dim * floats },
                { "vectors", TENSOR_F32, 2, { p->instructions, p->dim }, p->vectors, p->instructions * p->dim * floats },
                { "strengths", TENSOR_F32, 2, { p->experts, p->instructions }, p->strengths, p->experts * p->instructions * floats },
                { "expected", TENSOR_F32, 1, { p->instructions }, p->expected, p->instructions * floats },
                { "means", TENSOR_F32, 1, { p->experts }, p->means, p->experts * floats },
        };
        bool means = p->means && p->delta > 0;
        CLEANUP(free_p) char *names = texts_json(p->names, p->experts), *texts = texts_json(p->texts, p->instructions);
        CLEANUP(free_p) const char **all = NULL;
        char number[7][32];
        size_t n = 0;

        if (!names || !texts)
                return set_error(why, why_size, "an expert's name or an instruction is not UTF-8");
        while (meta && meta[n])
                n += 2;
        (void)snprintf(number[0], sizeof number[0], "%.9g", p->gamma);
        (void)snprintf(number[1], sizeof number[1], "%.9g", p->beta);
        (void)snprintf(number[2], sizeof number[2], "%.9g", p->threshold);
        (void)snprintf(number[3], sizeof number[3], "%.9g", p->sharpness);
        (void)snprintf(number[4], sizeof number[4], "%zu", p->window);
        (void)snprintf(number[5], sizeof number[5], "%.9g", means ? p->delta : 0);
        (void)snprintf(number[6], sizeof number[6], "%.9g", p->sure);

        const char *const own[] = { "kind", "pointsman.instruct", "version", means ? GATES_VERSION_MEANS : GATES_VERSION, "experts", names, "instructions", texts, "gamma", number[0],
                                    "beta", number[1], "threshold", number[2], "sharpness", number[3], "window", number[4],
                                    "delta", number[5], "sure", number[6], "combine", combines[p->combine], "encoder_sha256", p->encoder };

        all = calloc(LENGTH_OF(own) + n + 1, sizeof *all);
        if (!all)
                return -ENOMEM;
        memcpy(all, own, sizeof own);
        if (n)
                memcpy(all + LENGTH_OF(own), meta, n * sizeof *all);
        return tensors_write(path, list, LENGTH_OF(list) - !means, all, why, why_size);
}

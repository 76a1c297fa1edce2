/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gates.h - which expert a conversation belongs to, seen from afar and from near: the scores of GLIDER (Li et al., 2024) in the form
 * that a gateway can carry, which knows no expert's hidden states.
 *
 *     s_k      = local_k + alpha * global_k
 *     local_k  = mean (or maximum) over the parts u of a prompt of  LN(v_k) . LN(u - centre) / sqrt(dim), and delta * mean_k
 *     global_k = sum_j w_kj strength_kj cos(e, g_j),   w_k = softmax over k's instructions j of  cos(e, g_j) * sharpness
 *     alpha    = gamma where the nearest instruction of any expert has cos >= threshold, else beta
 *
 * mean_k: by how much k did better than all together on what it was trained with, which the paper leaves out: without it, gates that know little
 * choose worse than the best expert alone.  u: the vector of a part; e: of the sentence that names the task; v_k: k's gate; LN: less its mean, over its deviation.  An expert with one
 * instruction of strength 1 has the paper's global score, cos(e, g_k).  One that is known by recorded outcomes has an instruction for each
 * task, and its strength there is by how much it did better than all together.
 *
 * Nothing in an expert's row depends on another's, so that one can be added to a file without touching the rest.  Read-only once
 * made: any thread.  Scoring allocates nothing.
 */
#ifndef PM_GATES_H
#define PM_GATES_H

#include <stddef.h>
#include <stdint.h>

#define GATES_EXPERTS_MAX 1024
#define GATES_INSTRUCTIONS_MAX 4096
#define GATES_INSTRUCTION_BYTES 1024
#define GATES_BACKGROUND_MAX 4096
#define GATES_VERSION "1"
#define GATES_VERSION_MEANS "2" /* with means */

struct encoder;
struct gates;
enum gates_combine { GATES_MEAN, GATES_MAX };

/* What a model is made of.  Pointers are borrowed: they must outlive the gates. */
struct gates_parts {
        size_t dim, experts, instructions, backgrounds;
        const char *const *names;        /* [experts] */
        const char *const *texts;        /* [instructions], sentences */
        const float *centre;             /* [dim]: mean of the vectors of parts that it was trained on */
        const float *gates;              /* [experts][dim], each layer-normalised; all zero: no gate, its local score is 0 */
        const float *vectors;            /* [instructions][dim], length one */
        const float *strengths;          /* [experts][instructions], -1..1; NAN: not an instruction of this expert */
        const float *expected;           /* [instructions]: mean outcome of those that it was trained with; NAN: not known */
        const float *reference;          /* [dim + 1]: the logit of their mean outcome, the last one its offset; what new gates are trained against */
        const float *background;         /* [backgrounds][dim]: vectors of parts, for experts that are known by examples alone */
        const float *means;              /* [experts], -1..1; NULL: not known, or of no weight */
        double gamma, beta, threshold, sharpness;
        double delta;                    /* weight of the means */
        double sure;                     /* share of the first against the second from which the choice was better than one expert for all; .5: always */
        enum gates_combine combine;
        size_t window;                   /* bytes, see chunks.h */
        const char *encoder;             /* encoder_digest() of the one that it was trained with */
};

/* From parts that are in order (asserted).  NULL: no memory. */
struct gates *gates_create(const struct gates_parts *parts);
/* From a file (safetensors), mapped.  0, or -errno and one line of why: what was found in one that is cut, foreign or out of order. */
int gates_open(const char *path, struct gates **ret, char *why, size_t why_size);
/* `meta` (key, value, ..., NULL; may be NULL) is added to what the model needs itself. */
int gates_save(const struct gates_parts *parts, const char *path, const char *const *meta, char *why, size_t why_size);
void gates_destroy(struct gates *g); /* NULL is fine */

const struct gates_parts *gates_parts(const struct gates *g);
const char *gates_meta(const struct gates *g, const char *key); /* NULL: not there, or not from a file */

/* 0, or -EINVAL and why: it is another encoder than the model was trained with. */
int gates_check(const struct gates *g, const struct encoder *e, char *why, size_t why_size);

/* v less its mean, over its deviation; zeros stay (Ba et al., 2016, without gain and bias). */
void gates_layer_norm(float *v, size_t n);

/* local[experts] of n parts' vectors, which are changed by it; zeros for n = 0 and for parts without any token. */
void gates_local(const struct gates *g, enum gates_combine combine, float *vectors, size_t n, float *local);
/* global[experts] of a sentence's vector of length one; returns the cosine of the nearest instruction, *ret_nearest (may be NULL) which. */
double gates_global(const struct gates *g, const float *vector, float *global, size_t *ret_nearest);
#endif

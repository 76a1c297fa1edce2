/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gating.h - from a training set to an instruct model: gates, instructions and their strengths, and the two weights that join them.
 */
#ifndef PM_GATING_H
#define PM_GATING_H

#include <stdbool.h>

#include "gates.h"
#include "training_set.h"

struct gating_settings {
        double l2;         /* of a gate, see gates_fit.h */
        double shrink;     /* a task's strength begins with so many prompts of the expert's overall one */
        double gamma, beta, threshold; /* NAN: tuned where there are outcomes, else the paper's 100, 3 and .8 */
        double sharpness;
        enum gates_combine combine;
        unsigned seed, threads;
};

/* A model with all that its parts point to; names and texts are the training set's and the old model's, which must outlive it. */
struct gating {
        struct gates_parts parts;
        const char **names, **texts;
        float *centre, *gates, *vectors, *strengths, *expected, *reference, *background, *means;
        double held_in, held_out; /* what tuning measured: mean outcome on prompts, and on tasks, that the fit did not see; NAN: not tuned */
        double single_in, single_out; /* the same of the one expert that was best on what the fit saw */
};

/* Encoder and model (NULL: none) that belong together.  0, or -errno after a message on stderr; what was opened is the caller's. */
int gating_open(const char *encoder_folder, const char *model, struct encoder **ret_encoder, struct gates **ret);

/*
 * Of the prompts i with use[i] (NULL: all).  `old` (NULL: none): all of it is kept as it is, what is
 * frozen comes from it, and the training set's experts come behind.  0, or -errno after a message on stderr.
 */
int gating_fit(const struct training_set *l, const bool *use, const struct gates *old, const struct gating_settings *s, struct gating *ret);
void gating_finish(struct gating *g);

/* Sets the parts' gamma, beta and threshold where the settings leave them open, delta and sure. */
int gating_tune(const struct training_set *l, const struct gating_settings *s, struct gating *g);

/* Scores of all experts for a prompt of the training set: from near, and from afar by a sentence's vector (NULL: the prompt's own).  *ret_near: cosine of
 * the nearest instruction; scratch: [TRAINING_SET_PARTS_MAX][dim]. */
void gating_score(const struct gates *g, const struct training_set *l, size_t i, const float *sentence, float *scratch,
                  float *local, float *global, double *ret_near);
#endif

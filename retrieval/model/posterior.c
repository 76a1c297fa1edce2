/* SPDX-License-Identifier: Apache-2.0 */
#include "posterior.h"

#include <math.h>

#include "base.h"

#define SOFT .2

void posterior_calibrated(double slope, double offset, size_t n, float *p, struct verdict *ret)
{
        double sum = 0, share, top, logit = classifier_logit(p, n, &ret->category);

        ret->confidence = 1 / (1 + exp(-(slope * logit + offset)));
        top = (double)p[ret->category];
        for (size_t i = 0; i < n; i++) {
                p[i] = (float)exp(((double)p[i] - top) * slope / CLASSIFIER_TEMPERATURE);
                sum += (double)p[i];
        }
        share = 1 / sum;
        for (size_t i = 0; i < n; i++)
                if (ret->confidence < share)
                        p[i] *= (float)ret->confidence;
                else if (i != ret->category && sum > 1)
                        p[i] *= (float)((1 - ret->confidence) / (sum - 1));
        if (ret->confidence >= share)
                p[ret->category] = sum > 1 ? (float)ret->confidence : 1;
        p[n] = ret->confidence < share ? (float)(1 - ret->confidence / share) : 0;
}

bool posterior_of(const struct classifier *c, const char *text, size_t n, size_t text_max, float *p, struct verdict *ret)
{
        size_t categories = classifier_parts(c)->categories;

        *ret = (struct verdict){ 0 };
        if (classifier_scores(c, text, n, text_max, p)) {
                posterior_calibrated(classifier_parts(c)->slope, classifier_parts(c)->offset, categories, p, ret);
                return true;
        }
        memset(p, 0, categories * sizeof *p);
        p[categories] = 1;
        return false;
}

double posterior_measure(enum posterior_measure m, const float *p, size_t categories, double confidence)
{
        double entropy = 0, first = 0, second = 0;

        if (m == POSTERIOR_CONFIDENCE)
                return confidence;
        for (size_t i = 0; i <= categories; i++) {
                double x = (double)p[i];

                if (m == POSTERIOR_ENTROPY)
                        entropy -= x > 0 ? x * log(x) : 0;
                second = x > first ? first : MAX(second, x);
                first = MAX(first, x);
        }
        return m == POSTERIOR_ENTROPY ? entropy / log((double)categories + 1) : first - second;
}

/* From 0 at a limit to 1 where what is left to the worst there can be has shrunk by a fifth. */
static double ramp(double beyond, double room)
{
        return beyond > 0 ? MIN(1., beyond / (SOFT * room)) : 0;
}

double posterior_doubt(const struct score_table_doubt *limits, const float *p, size_t categories, double confidence)
{
        double doubt = 0;

        if (!(confidence > 0))
                return 1;
        if (!isnan(limits->confidence))
                doubt = ramp(limits->confidence - confidence, limits->confidence);
        if (!isnan(limits->entropy))
                doubt = MAX(doubt, ramp(posterior_measure(POSTERIOR_ENTROPY, p, categories, confidence) - limits->entropy, 1 - limits->entropy));
        if (!isnan(limits->margin))
                doubt = MAX(doubt, ramp(limits->margin - posterior_measure(POSTERIOR_MARGIN, p, categories, confidence), limits->margin));
        return doubt;
}

void posterior_expect(const float *p, double doubt, const float *rows, size_t categories, size_t experts, float *expected)
{
        float general = (float)doubt + (float)(1 - doubt) * p[categories];

        for (size_t k = 0; k < experts; k++)
                expected[k] = general * rows[categories * experts + k];
        for (size_t i = 0; i < categories; i++) {
                float share = (float)(1 - doubt) * p[i];

                for (size_t k = 0; share > 0 && k < experts; k++)
                        expected[k] += share * rows[i * experts + k];
        }
}

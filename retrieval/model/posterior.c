/* SPDX-License-Identifier: Apache-2.0 */
#include "posterior.h"

#include <math.h>

#include "base.h"

void posterior_from(const struct classifier *c, float *p, struct verdict *ret)
{
        const struct classifier_parts *parts = classifier_parts(c);
        size_t n = parts->categories;
        double sum = 0, share, top;

        ret->confidence = classifier_confidence(c, p, &ret->category);
        top = (double)p[ret->category];
        for (size_t i = 0; i < n; i++) {
                p[i] = (float)exp(((double)p[i] - top) * parts->slope / CLASSIFIER_TEMPERATURE);
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
                posterior_from(c, p, ret);
                return true;
        }
        memset(p, 0, categories * sizeof *p);
        p[categories] = 1;
        return false;
}

double posterior_doubt(const struct score_table_doubt *limits, const float *p, size_t categories, double confidence)
{
        double doubt = 0, entropy = 0, first = 0, second = 0;

        if (!isnan(limits->confidence) && confidence < limits->confidence)
                doubt = 1 - confidence / limits->confidence;
        if ((isnan(limits->entropy) && isnan(limits->margin)) || !(confidence > 0))
                return confidence > 0 ? doubt : 1;
        for (size_t i = 0; i <= categories; i++) {
                double x = (double)p[i];

                entropy -= x > 0 ? x * log(x) : 0;
                second = x > first ? first : MAX(second, x);
                first = MAX(first, x);
        }
        entropy /= log((double)categories + 1);
        if (entropy > limits->entropy)
                doubt = MAX(doubt, (entropy - limits->entropy) / (1 - limits->entropy));
        if (first - second < limits->margin)
                doubt = MAX(doubt, 1 - (first - second) / limits->margin);
        return MIN(doubt, 1);
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

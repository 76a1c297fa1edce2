/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a score model: refused with a sentence, or estimates within 0..1. */
#include <math.h>
#include <unistd.h>

#include "base.h"
#include "scorer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct score_table_doubt limits = { .5, .9, .1 };
        char name[] = "/tmp/fuzz-scorer-XXXXXX", why[256] = "";
        int fd = mkstemp(name);
        struct scorer *s = NULL;

        assert(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
        if (scorer_open(name, &s, why, sizeof why) == 0) {
                float estimate[SCORER_EXPERTS_MAX];
                struct verdict v;
                double doubt;

                if (classifier_parts(scorer_classifier(s))->dim == 0) {
                        scorer_estimate(s, "one two three", 13, 0, &limits, estimate, &v, &doubt);
                        assert(v.category < scorer_parts(s)->categories && doubt >= 0 && doubt <= 1);
                        for (size_t k = 0; k < scorer_parts(s)->experts; k++)
                                assert(isnan(estimate[k]) || (estimate[k] >= 0 && estimate[k] <= 1));
                }
                (void)scorer_lead(s, 0, scorer_parts(s)->experts - 1, .3);
        } else {
                assert(why[0] && !s);
        }
        scorer_destroy(s);
        (void)unlink(name);
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model file of any bytes: refused with a reason, or whole, and then it decides.  The file is one in memory, so that the path
 * through the mapping is the one that serves.
 */
#include <sys/mman.h>

#include "base.h"
#include "classifier.h"
#include "tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        CLEANUP(close_p) int fd = memfd_create("model", MFD_CLOEXEC);
        struct classifier *c = NULL;
        struct tensors *t = NULL;
        char path[64], why[256] = "";

        if (tensors_parse(data, size, &t, why, sizeof why) == 0) {
                for (size_t i = 0; i < tensors_count(t); i++) {
                        const struct tensor *x = tensors_at(t, i);

                        assert((const uint8_t *)x->data >= data && x->bytes <= size);
                        assert((const uint8_t *)x->data + x->bytes <= data + size);
                        assert(tensors_find(t, x->name));
                }
                tensors_close(t);
        } else {
                assert(why[0]);
        }
        if (fd < 0 || write(fd, data, size) != (ssize_t)size)
                return 0;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (classifier_open(path, &c, why, sizeof why) == 0) {
                struct verdict v;

                if (classifier_parts(c)->dim) { /* it wants its encoder first */
                        classifier_destroy(c);
                        return 0;
                }
                classifier_decide(c, "what is the integral of x?", 26, 0, &v);
                assert(v.category < classifier_parts(c)->categories);
                assert(v.confidence >= 0 && v.confidence <= 1);
        } else {
                assert(why[0]);
        }
        classifier_destroy(c);
        return 0;
}

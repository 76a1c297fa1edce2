/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a FAISS index: what passes the check is given to FAISS and searched.  The check exists so that nothing that passes it can
 * end the process, so a crash in FAISS is a fault of the check.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"
#include "index.h"
#include "index_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define WANTED 5
#define DIM_MAX 64         /* longer vectors are the same code, and slow */
#define COUNT_MAX 100000

static void search(const struct index *x, size_t dim, float sign)
{
        struct index_hit hit[WANTED];
        float v[DIM_MAX];
        char why[256] = "";
        size_t found = 0;

        for (size_t i = 0; i < dim; i++)
                v[i] = sign * (float)((int)(i % 5) - 2) / 3;
        if (index_search(x, v, WANTED, hit, &found, why, sizeof why) < 0) {
                assert(why[0]);
                return;
        }
        assert(found <= WANTED);
        for (size_t i = 0; i < found; i++)
                assert(hit[i].id >= 0 && (size_t)hit[i].id < index_count(x));
}

/* As a manifest may tune it; what its kind does not have is refused. */
static void tune(struct index *x, size_t dim)
{
        static const char *const tunings[] = { "nprobe=3", "efSearch=1", "k_factor_rf=7" };
        char why[384] = "";

        for (size_t i = 0; i < LENGTH_OF(tunings); i++)
                if (index_tune(x, tunings[i], why, sizeof why) == 0)
                        search(x, dim, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(close_p) int fd = -1;
        char path[64], why[384] = "";
        struct index *x = NULL;
        struct index_file f;

        if (index_file_check(data, n, &f, why, sizeof why) < 0) {
                assert(why[0]);
                return 0;
        }
        assert(f.dim >= 1 && f.count >= 0);
        if (f.dim > DIM_MAX || f.count > COUNT_MAX)
                return 0;
        fd = memfd_create("fuzz-index", MFD_CLOEXEC);
        assert(fd >= 0 && write(fd, data, n) == (ssize_t)n);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (index_load(path, (size_t)f.dim, f.metric == 1 ? INDEX_L2 : INDEX_INNER_PRODUCT, &x, why, sizeof why) == 0) {
                assert(index_dim(x) == (size_t)f.dim && index_count(x) == (size_t)f.count);
                search(x, (size_t)f.dim, 1);
                search(x, (size_t)f.dim, -1);
                tune(x, (size_t)f.dim);
        } else {
                assert(why[0]);
        }
        index_destroy(x);
        return 0;
}

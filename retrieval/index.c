/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FAISS answers with numbers and keeps the sentence for each thread; both become 0 or -errno and `why` here.  Its C++ exceptions
 * end inside the C API.
 */
#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/index_io_c.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base.h"
#include "index.h"
#include "index_file.h"

struct index {
        FaissIndex *faiss;
        size_t dim;
};

static void index_p(struct index **x)
{
        index_destroy(*x);
}

static int failed(char *why, size_t n, const char *what)
{
        const char *text = faiss_get_last_error();

        (void)snprintf(why, n, "%s: %.160s", what, text ? text : "FAISS does not say why");
        return -EIO;
}

static FaissMetricType metric_of(enum index_metric metric)
{
        return metric == INDEX_L2 ? METRIC_L2 : METRIC_INNER_PRODUCT;
}

int index_create(size_t dim, const char *factory, enum index_metric metric, struct index **ret, char *why, size_t why_size)
{
        CLEANUP(index_p) struct index *x = calloc(1, sizeof *x);

        if (!x)
                return -ENOMEM;
        if (dim == 0 || dim > INDEX_DIM_MAX) {
                (void)snprintf(why, why_size, "%zu dimensions: 1..%d are possible", dim, INDEX_DIM_MAX);
                return -EINVAL;
        }
        x->dim = dim;
        if (faiss_index_factory(&x->faiss, (int)dim, factory, metric_of(metric)))
                return failed(why, why_size, factory);
        *ret = TAKE(x);
        return 0;
}

void index_destroy(struct index *x)
{
        if (!x)
                return;
        if (x->faiss)
                faiss_Index_free(x->faiss);
        free(x);
}

int index_train(struct index *x, const float *v, size_t n, char *why, size_t why_size)
{
        if (faiss_Index_is_trained(x->faiss))
                return 0;
        return faiss_Index_train(x->faiss, (idx_t)n, v) ? failed(why, why_size, "cannot train the index") : 0;
}

int index_add(struct index *x, const float *v, size_t n, char *why, size_t why_size)
{
        if (!faiss_Index_is_trained(x->faiss)) {
                (void)snprintf(why, why_size, "the index must be trained before vectors are added");
                return -EINVAL;
        }
        return faiss_Index_add(x->faiss, (idx_t)n, v) ? failed(why, why_size, "cannot add to the index") : 0;
}

int index_search(const struct index *x, const float *v, size_t k, struct index_hit *hit, size_t *ret_n, char *why, size_t why_size)
{
        float score[INDEX_K_MAX];
        idx_t id[INDEX_K_MAX];
        size_t n = 0;

        if (k == 0 || k > INDEX_K_MAX) {
                (void)snprintf(why, why_size, "%zu neighbours: 1..%d are possible", k, INDEX_K_MAX);
                return -EINVAL;
        }
        if (faiss_Index_search(x->faiss, 1, v, (idx_t)k, score, id))
                return failed(why, why_size, "cannot search the index");
        for (size_t i = 0; i < k; i++)
                if (id[i] >= 0) /* -1: fewer than k were found */
                        hit[n++] = (struct index_hit){ id[i], score[i] };
        *ret_n = n;
        return 0;
}

int index_save(const struct index *x, const char *path, char *why, size_t why_size)
{
        return faiss_write_index_fname(x->faiss, path) ? failed(why, why_size, "cannot write the index") : 0;
}

/* FAISS believes what it reads, so it is looked through first. */
static int check(const char *path, char *why, size_t why_size)
{
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct index_file f;
        struct stat st;
        void *map;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0) {
                r = -errno;
                (void)snprintf(why, why_size, "cannot open the index: %s", ERRNO_TEXT(r));
                return r;
        }
        if (!S_ISREG(st.st_mode) || st.st_size == 0) {
                (void)snprintf(why, why_size, "the index is not a file, or empty");
                return -EINVAL;
        }
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        r = index_file_check(map, (size_t)st.st_size, &f, why, why_size);
        (void)munmap(map, (size_t)st.st_size);
        return r;
}

int index_tune(struct index *x, const char *parameters, char *why, size_t why_size)
{
        FaissParameterSpace *space = NULL;
        int r = 0;

        if (faiss_ParameterSpace_new(&space) || faiss_ParameterSpace_set_index_parameters(space, x->faiss, parameters))
                r = failed(why, why_size, parameters);
        faiss_ParameterSpace_free(space);
        return r;
}

int index_load(const char *path, size_t dim, enum index_metric metric, struct index **ret, char *why, size_t why_size)
{
        CLEANUP(index_p) struct index *x = calloc(1, sizeof *x);
        int r;

        if (!x)
                return -ENOMEM;
        r = check(path, why, why_size);
        if (r < 0)
                return r;
        if (faiss_read_index_fname(path, 0, &x->faiss))
                return failed(why, why_size, "cannot read the index");
        x->dim = (size_t)faiss_Index_d(x->faiss);
        if (x->dim != dim || faiss_Index_metric_type(x->faiss) != metric_of(metric)) {
                (void)snprintf(why, why_size, "the index has %zu dimensions and metric %d, wanted %zu and %d", x->dim,
                               (int)faiss_Index_metric_type(x->faiss), dim, (int)metric_of(metric));
                return -EINVAL;
        }
        *ret = TAKE(x);
        return 0;
}

size_t index_dim(const struct index *x)
{
        return x->dim;
}

size_t index_count(const struct index *x)
{
        return (size_t)faiss_Index_ntotal(x->faiss);
}

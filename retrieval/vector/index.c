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

#include "base.h"
#include "index.h"
#include "index_file.h"
#include "snapshot.h"

#define REFINE_MAX 1000 /* as a file may say, too */

struct index {
        FaissIndex *faiss;
        size_t dim;
};

static void snapshot_p(struct snapshot **s)
{
        snapshot_release(*s);
}

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

/* NAME=VALUE, ... of the kinds that are read; FAISS believes any value, and makes room for so many candidates. */
static bool parameters_ok(const char *text)
{
        static const char *const names[] = { "nprobe", "efSearch", "quantizer_efSearch", "k_factor_rf" };

        for (const char *at = text;; at++) {
                const char *equals = strchr(at, '=');
                bool known = false;
                char *end;
                double x;

                for (size_t i = 0; equals && i < LENGTH_OF(names); i++)
                        known = known || (strlen(names[i]) == (size_t)(equals - at) && memcmp(names[i], at, strlen(names[i])) == 0);
                if (!known || equals[1] < '0' || equals[1] > '9')
                        return false;
                x = strtod(equals + 1, &end);
                if (!(x >= 1 && x <= (*at == 'k' ? REFINE_MAX : 65536)) || (*end && *end != ','))
                        return false;
                if (!*end)
                        return true;
                at = end;
        }
}

int index_tune(struct index *x, const char *parameters, char *why, size_t why_size)
{
        FaissParameterSpace *space = NULL;
        int r = 0;

        if (!parameters_ok(parameters)) {
                (void)snprintf(why, why_size, "'%.64s' must be nprobe, efSearch, quantizer_efSearch (1 to 65536) or k_factor_rf (1 to %d), as in "
                               "'nprobe=16'", parameters, REFINE_MAX);
                return -EINVAL;
        }
        if (faiss_ParameterSpace_new(&space) || faiss_ParameterSpace_set_index_parameters(space, x->faiss, parameters))
                r = failed(why, why_size, parameters);
        faiss_ParameterSpace_free(space);
        return r;
}

int index_try(const struct index *x, char *why, size_t why_size)
{
        CLEANUP(free_p) float *v = malloc(x->dim * sizeof *v);
        CLEANUP(free_p) struct index_hit *hit = malloc(INDEX_K_MAX * sizeof *hit);
        size_t n;
        int r = 0;

        if (!v || !hit)
                return -ENOMEM;
        for (size_t i = 0; i < x->dim; i++)
                v[i] = i % 2 ? 1 : -1;
        for (size_t k = 1; r == 0 && k <= INDEX_K_MAX; k *= INDEX_K_MAX)
                r = index_search(x, v, k, hit, &n, why, why_size);
        return r;
}

int index_load(const char *path, size_t dim, enum index_metric metric, struct index **ret, char *why, size_t why_size)
{
        CLEANUP(index_p) struct index *x = calloc(1, sizeof *x);
        CLEANUP(snapshot_p) struct snapshot *file = NULL;
        CLEANUP(fclose_p) FILE *f = NULL;
        struct index_file found;
        size_t n;
        void *p;
        int r;

        if (!x)
                return -ENOMEM;
        r = snapshot_take(path, &file);
        if (r < 0) {
                (void)snprintf(why, why_size, r == -EINVAL ? "the index is not a file, or empty" : "cannot open the index: %s", ERRNO_TEXT(r));
                return r;
        }
        p = snapshot_bytes(file, &n);
        r = index_file_check(p, n, &found, why, why_size); /* FAISS believes what it reads */
        if (r < 0)
                return r;
        f = fmemopen(p, n, "r"); /* those very bytes */
        if (!f)
                return -errno;
        if (faiss_read_index(f, 0, &x->faiss))
                return failed(why, why_size, "cannot read the index");
        if (snapshot_settle(file) < 0) {
                (void)snprintf(why, why_size, "the index was written into while it was read: files in use are replaced by rename");
                return -ESTALE;
        }
        x->dim = (size_t)faiss_Index_d(x->faiss);
        if (x->dim != dim || faiss_Index_metric_type(x->faiss) != metric_of(metric)) {
                (void)snprintf(why, why_size, "the index has %zu dimensions and metric %d, wanted %zu and %d", x->dim,
                               (int)faiss_Index_metric_type(x->faiss), dim, (int)metric_of(metric));
                return -EINVAL;
        }
        r = index_try(x, why, why_size);
        if (r < 0)
                return r;
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

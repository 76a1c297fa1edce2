/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FAISS works on all threads of OpenMP at once, so the number is set for the time of a call.  A k-means of a million vectors into ten
 * thousand cells is a matrix product for each round: OpenBLAS under FAISS does it.
 */
#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>
#include <cblas.h>
#include <dlfcn.h>

#include "base.h"
#include "cluster.h"

#define BLOCK 65536

/* FAISS brings the OpenMP of the compiler that built it, which need not be ours.  Returns the number before; 0: not told. */
static int set_threads(int n)
{
        static const char *const libraries[] = { "libgomp.so.1", "libomp.so.5", "libiomp5.so" };
        int before = 0;

        openblas_set_num_threads(n);
        for (size_t i = 0; i < LENGTH_OF(libraries); i++) {
                void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
                void (*set)(int);
                int (*get)(void);

                if (!library)
                        continue;
                *(void **)&set = dlsym(library, "omp_set_num_threads");
                *(void **)&get = dlsym(library, "omp_get_max_threads");
                if (get)
                        before = get();
                if (set && n > 0)
                        set(n);
                (void)dlclose(library);
        }
        return before;
}

static int failed(char *why, size_t n, const char *what)
{
        const char *text = faiss_get_last_error();

        (void)snprintf(why, n, "%s: %.160s", what, text ? text : "FAISS does not say why");
        return -EIO;
}

int cluster_train(const float *v, size_t n, size_t dim, const struct cluster_settings *s, float *centre, char *why, size_t why_size)
{
        FaissClusteringParameters parameters;
        FaissClustering *clustering = NULL;
        FaissIndexFlatIP *index = NULL;
        int before, r = 0;
        float *found;
        size_t size;

        if (s->k == 0 || s->k > n) {
                (void)snprintf(why, why_size, "%zu cells for %zu vectors: 1..%zu are possible", s->k, n, n);
                return -EINVAL;
        }
        faiss_ClusteringParameters_init(&parameters);
        parameters.niter = (int)s->rounds;
        parameters.seed = (int)s->seed;
        parameters.spherical = 1;
        parameters.min_points_per_centroid = 1;
        parameters.max_points_per_centroid = (int)s->sample;
        before = set_threads((int)s->threads);
        if (faiss_Clustering_new_with_params(&clustering, (int)dim, (int)s->k, &parameters) ||
            faiss_IndexFlatIP_new_with(&index, (idx_t)dim) || faiss_Clustering_train(clustering, (idx_t)n, v, index))
                r = failed(why, why_size, "cannot cluster");
        if (r == 0) {
                faiss_Clustering_centroids(clustering, &found, &size);
                assert(size == s->k * dim);
                memcpy(centre, found, size * sizeof *centre);
        }
        (void)set_threads(MAX(before, 1));
        faiss_Clustering_free(clustering);
        faiss_IndexFlatIP_free(index);
        return r;
}

int cluster_assign(const float *v, size_t n, size_t dim, const float *centre, size_t k, size_t near, unsigned threads,
                   uint32_t *ret, char *why, size_t why_size)
{
        CLEANUP(free_p) idx_t *id = malloc(MIN(n, (size_t)BLOCK) * near * sizeof *id + 1);
        CLEANUP(free_p) float *score = malloc(MIN(n, (size_t)BLOCK) * near * sizeof *score + 1);
        FaissIndexFlatIP *index = NULL;
        int before, r = 0;

        if (!id || !score)
                return -ENOMEM;
        assert(near <= k);
        before = set_threads((int)threads);
        if (faiss_IndexFlatIP_new_with(&index, (idx_t)dim) || faiss_Index_add(index, (idx_t)k, centre))
                r = failed(why, why_size, "cannot look up cells");
        for (size_t i = 0; r == 0 && i < n; i += BLOCK) {
                size_t rows = MIN(n - i, (size_t)BLOCK);

                if (faiss_Index_search(index, (idx_t)rows, v + i * dim, (idx_t)near, score, id))
                        r = failed(why, why_size, "cannot look up cells");
                for (size_t j = 0; r == 0 && j < rows * near; j++)
                        ret[i * near + j] = id[j] < 0 ? UINT32_MAX : (uint32_t)id[j];
        }
        (void)set_threads(MAX(before, 1));
        faiss_IndexFlatIP_free(index);
        return r;
}

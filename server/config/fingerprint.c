/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each text goes into the hash with its length before it, so that no two lists of texts look alike.
 */
#include "fingerprint.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "config.h"
#include "expert.h"
#include "sha256.h"
#include "tenant.h"

#include "base.h"

enum { REMEMBERED = 512, FOLDER_DEPTH = 4, FOLDER_FILES = 4096, PATHS_MAX = 256 };

/* ---- the hash ------------------------------------------------------------------------------------------------------------ */

static void sum_begin(struct sha256 *s)
{
        sha256_init(s);
        sha256_begin(s);
}

/* NULL is another one than "". */
static void sum_text(struct sha256 *s, const char *text)
{
        if (text)
                sha256_text(s, (struct pm_str){ text, strlen(text) });
        else
                sha256_bytes(s, &(uint64_t){ UINT64_MAX }, sizeof(uint64_t));
}

static void sum_real(struct sha256 *s, double v)
{
        sha256_bytes(s, &v, sizeof v);
}

static void sum_int(struct sha256 *s, int64_t v)
{
        sha256_bytes(s, &v, sizeof v);
}

static int sum_end(struct sha256 *s, unsigned char out[FINGERPRINT_SIZE])
{
        bool good = sha256_end(s, out);

        sha256_finish(s);
        return good ? 0 : -ENOMEM; /* OpenSSL lacks nothing else for it */
}

/* ---- files --------------------------------------------------------------------------------------------------------------- */

static struct remembered {
        dev_t dev;
        ino_t ino;
        off_t size;
        struct timespec changed, modified;
        unsigned char digest[FINGERPRINT_SIZE];
} remembered[REMEMBERED];
static size_t n_remembered, next_remembered;

static bool same(const struct remembered *r, const struct stat *st)
{
        return r->dev == st->st_dev && r->ino == st->st_ino && r->size == st->st_size &&
               r->changed.tv_sec == st->st_ctim.tv_sec && r->changed.tv_nsec == st->st_ctim.tv_nsec &&
               r->modified.tv_sec == st->st_mtim.tv_sec && r->modified.tv_nsec == st->st_mtim.tv_nsec;
}

static void of_error(int error, unsigned char out[FINGERPRINT_SIZE])
{
        memset(out, 0, FINGERPRINT_SIZE);
        memcpy(out, "unreadable", 10);
        memcpy(out + 10, &error, sizeof error);
}

static void of_contents(int fd, const struct stat *st, unsigned char out[FINGERPRINT_SIZE])
{
        CLEANUP(free_p) char *buf = malloc(1 << 20);
        struct remembered *r;
        struct stat after;
        struct sha256 s;
        ssize_t n = 0;

        for (size_t i = 0; i < n_remembered; i++)
                if (same(&remembered[i], st)) {
                        memcpy(out, remembered[i].digest, FINGERPRINT_SIZE);
                        return;
                }
        if (!buf) {
                of_error(ENOMEM, out);
                return;
        }
        sum_begin(&s);
        while ((n = read(fd, buf, 1 << 20)) > 0 || (n < 0 && errno == EINTR))
                if (n > 0)
                        sha256_bytes(&s, buf, (size_t)n);
        if (sum_end(&s, out) < 0 || n < 0) {
                of_error(n < 0 ? errno : ENOMEM, out);
                return;
        }
        if (fstat(fd, &after) < 0 || after.st_size != st->st_size || after.st_mtim.tv_nsec != st->st_mtim.tv_nsec)
                return; /* it is being written: right for what was read, not to be remembered */
        r = &remembered[next_remembered];
        next_remembered = (next_remembered + 1) % REMEMBERED;
        n_remembered = MAX(n_remembered, next_remembered ? next_remembered : REMEMBERED);
        *r = (struct remembered){ .dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .changed = st->st_ctim, .modified = st->st_mtim };
        memcpy(r->digest, out, FINGERPRINT_SIZE);
}

static int shown(const struct dirent *d)
{
        return d->d_name[0] != '.';
}

static void of_path(const char *path, int depth, size_t *files, unsigned char out[FINGERPRINT_SIZE]);

static void of_folder(const char *path, int depth, size_t *files, unsigned char out[FINGERPRINT_SIZE])
{
        struct dirent **list = NULL;
        int n = depth < FOLDER_DEPTH ? scandir(path, &list, shown, alphasort) : (errno = ELOOP, -1);
        int error = n < 0 ? errno : 0;
        struct sha256 s;

        sum_begin(&s);
        for (int i = 0; i < n; i++) {
                CLEANUP(free_p) char *below = NULL;
                unsigned char one[FINGERPRINT_SIZE];

                if (asprintf(&below, "%s/%s", path, list[i]->d_name) < 0)
                        below = NULL;
                if (below && ++*files <= FOLDER_FILES) {
                        of_path(below, depth + 1, files, one);
                        sum_text(&s, list[i]->d_name);
                        sha256_bytes(&s, one, sizeof one);
                } else {
                        error = below ? EFBIG : ENOMEM;
                }
                free(list[i]);
        }
        free(list);
        if (sum_end(&s, out) < 0 || error)
                of_error(error ? error : ENOMEM, out);
}

static void of_path(const char *path, int depth, size_t *files, unsigned char out[FINGERPRINT_SIZE])
{
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                of_error(errno, out);
        else if (S_ISDIR(st.st_mode))
                of_folder(path, depth, files, out);
        else if (S_ISREG(st.st_mode))
                of_contents(fd, &st, out);
        else
                of_error(EINVAL, out); /* a pipe or a device: nothing that could be read twice */
}

void fingerprint_file(const char *path, unsigned char out[FINGERPRINT_SIZE])
{
        size_t files = 0;

        of_path(path, 0, &files, out);
}

/* ---- routers ------------------------------------------------------------------------------------------------------------- */

struct visit {
        struct sha256 sum;
        struct arena *arena;
        struct fingerprint_files *files;
        bool no_memory;
};

static void add_file(struct visit *v, const char *path)
{
        struct fingerprint_files *f = v->files;

        if (f->n == PATHS_MAX || v->no_memory) {
                v->no_memory = true;
                return;
        }
        f->paths[f->n] = path;
        fingerprint_file(path, f->digests[f->n]);
        sha256_bytes(&v->sum, f->digests[f->n++], FINGERPRINT_SIZE);
}

static void add_option(void *arg, const struct pm_option *o, const char *text)
{
        struct visit *v = arg;

        sum_text(&v->sum, o->key);
        if (o->type == PM_PATH && text)
                add_file(v, text);
        else
                sum_text(&v->sum, text);
}

int fingerprint_router(const char *file, const struct pm_router *table, const void *self, struct arena *a,
                       unsigned char out[FINGERPRINT_SIZE], struct fingerprint_files *files)
{
        struct visit v = { .arena = a, .files = files };
        int e;

        *files = (struct fingerprint_files){ .paths = arena_alloc(a, PATHS_MAX * sizeof *files->paths),
                                             .digests = arena_alloc(a, PATHS_MAX * sizeof *files->digests) };
        if (!files->paths || !files->digests)
                return -ENOMEM;
        sum_begin(&v.sum);
        add_file(&v, file);
        sum_text(&v.sum, table->name);
        sum_text(&v.sum, table->version);
        options_each(table->options, self, add_option, &v);
        e = sum_end(&v.sum, out);
        return e < 0 ? e : v.no_memory ? -ENOMEM : 0;
}

void fingerprint_settle(const struct fingerprint_files *files, unsigned char out[FINGERPRINT_SIZE])
{
        for (size_t i = 0; i < files->n; i++) {
                unsigned char now[FINGERPRINT_SIZE];

                fingerprint_file(files->paths[i], now);
                if (memcmp(now, files->digests[i], sizeof now) != 0 && getrandom(out, FINGERPRINT_SIZE, 0) != FINGERPRINT_SIZE)
                        memset(out, 0xFF, FINGERPRINT_SIZE);
        }
}

/* ---- routes and tenants -------------------------------------------------------------------------------------------------- */

int fingerprint_route(const struct generation *g, const struct route *r, size_t n, unsigned char out[FINGERPRINT_SIZE])
{
        struct sha256 s;

        sum_begin(&s);
        sum_int(&s, (int64_t)n);
        for (size_t i = 0; i < n; i++) {
                sum_text(&s, r->routers[i]->name);
                sha256_bytes(&s, r->routers[i]->fingerprint, FINGERPRINT_SIZE);
        }
        sum_int(&s, (int64_t)r->n_experts);
        for (size_t i = 0; i < r->n_experts; i++) {
                const struct expert *e = r->experts[i];

                sum_text(&s, e->name);
                sum_real(&s, e->price_in);
                sum_real(&s, e->price_out);
                sum_int(&s, e->context);
                sum_int(&s, e->apis);
        }
        sum_text(&s, r->preset ? r->preset->name : NULL);
        sum_int(&s, r->fallbacks);
        /* what routers may ask on their way */
        for (size_t i = 0; i < g->n_embedders; i++) {
                sum_text(&s, g->embedders[i]->name);
                sum_text(&s, g->embedders[i]->expert ? g->embedders[i]->expert->model : NULL);
                sum_text(&s, g->embedders[i]->path);
                sum_int(&s, g->embedders[i]->dim);
                sha256_bytes(&s, g->embedders[i]->fingerprint, FINGERPRINT_SIZE);
        }
        for (size_t i = 0; i < g->n_experts; i++) {
                sum_text(&s, g->experts[i]->name);
                sum_text(&s, g->experts[i]->model);
        }
        return sum_end(&s, out);
}

int fingerprint_answers(const struct route *r, unsigned char out[FINGERPRINT_SIZE])
{
        struct sha256 s;

        sum_begin(&s);
        for (size_t i = 0; i < r->n_experts; i++) {
                const struct expert *e = r->experts[i];

                sum_text(&s, e->name);
                sum_text(&s, e->model);
                for (size_t k = 0; k < e->n_endpoints; k++)
                        sum_text(&s, e->endpoints[k]->url);
                sum_int(&s, (int64_t)e->drop.n);
                for (size_t k = 0; k < e->drop.n; k++)
                        sum_text(&s, e->drop.names[k].p); /* to its closing quote, which no name has */
        }
        return sum_end(&s, out);
}

int fingerprint_tenant(const struct tenant *t, unsigned char out[FINGERPRINT_SIZE])
{
        struct sha256 s;

        sum_begin(&s);
        for (size_t i = 0; i < t->n_experts; i++)
                sum_text(&s, t->experts[i] ? t->experts[i]->name : NULL);
        return sum_end(&s, out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies stand in a list, found by what stat() says of the file: the same file, unchanged, is the same bytes.  A file's clock ticks in steps
 * of some milliseconds, so one that was written just before it was read could be written again and say the same: it is not shared.
 * Copies are made unwritable, so that a stray pointer of ours cannot change them either.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base.h"
#include "snapshot.h"

#define TICK_NS 20000000

struct snapshot {
        struct snapshot *next;
        void *p;
        size_t n;
        unsigned users;       /* of a copy; 0: mapped */
        int fd;               /* of a mapped file that has not settled; else -1 */
        dev_t device;
        ino_t inode;
        int64_t written_ns, changed_ns; /* the contents, the inode */
        bool shared;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct snapshot *copies;

static int64_t ns(const struct timespec *t)
{
        return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static int copy(int fd, size_t n, void **ret)
{
        char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        size_t at = 0;
        int r = 0;

        if (p == MAP_FAILED)
                return -errno;
        while (r == 0 && at < n) {
                ssize_t got = read(fd, p + at, n - at);

                if (got > 0)
                        at += (size_t)got;
                else if (got == 0 || errno != EINTR)
                        r = got == 0 ? -EIO : -errno;
        }
        if (r == 0 && mprotect(p, n, PROT_READ) < 0)
                r = -errno;
        if (r < 0)
                (void)munmap(p, n);
        else
                *ret = p;
        return r;
}

/* With the lock. */
static struct snapshot *find(const struct snapshot *like)
{
        struct snapshot *s = copies;

        while (s && !(s->shared && s->device == like->device && s->inode == like->inode && s->n == like->n &&
                      s->written_ns == like->written_ns && s->changed_ns == like->changed_ns))
                s = s->next;
        return s;
}

static int take_copy(int fd, struct snapshot *s)
{
        struct timespec now;
        struct stat st;
        int r;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        r = copy(fd, s->n, &s->p);
        if (r < 0)
                return r;
        s->shared = fstat(fd, &st) == 0 && (size_t)st.st_size == s->n && ns(&st.st_mtim) == s->written_ns &&
                    ns(&st.st_ctim) == s->changed_ns && ns(&now) - s->changed_ns > TICK_NS;
        s->next = copies;
        copies = s;
        return 0;
}

int snapshot_take_up_to(const char *path, size_t copy_max, struct snapshot **ret)
{
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC);
        CLEANUP(free_p) struct snapshot *s = NULL;
        struct snapshot *there;
        struct stat st;
        int r = 0;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size < 1)
                return -EINVAL;
        s = malloc(sizeof *s);
        if (!s)
                return -ENOMEM;
        *s = (struct snapshot){ .n = (size_t)st.st_size, .fd = -1, .device = st.st_dev, .inode = st.st_ino, .written_ns = ns(&st.st_mtim),
                                .changed_ns = ns(&st.st_ctim) };
        if (s->n > copy_max) {
                s->p = mmap(NULL, s->n, PROT_READ, MAP_PRIVATE, fd, 0);
                if (s->p == MAP_FAILED)
                        return -errno;
                s->fd = fd;
                fd = -1;
                *ret = TAKE(s);
                return 0;
        }
        (void)pthread_mutex_lock(&lock);
        there = find(s);
        if (!there) {
                r = take_copy(fd, s);
                there = r == 0 ? TAKE(s) : NULL;
        }
        if (there) {
                there->users++;
                *ret = there;
        }
        (void)pthread_mutex_unlock(&lock);
        return r;
}

int snapshot_take(const char *path, struct snapshot **ret)
{
        return snapshot_take_up_to(path, SNAPSHOT_COPY_MAX, ret);
}

void *snapshot_bytes(const struct snapshot *s, size_t *ret_n)
{
        *ret_n = s->n;
        return s->p;
}

int snapshot_settle(struct snapshot *s)
{
        struct stat st;
        bool same;

        if (s->fd < 0)
                return 0;
        same = fstat(s->fd, &st) == 0 && (size_t)st.st_size == s->n && ns(&st.st_mtim) == s->written_ns; /* a rename over it changes its inode only */
        (void)close(s->fd);
        s->fd = -1;
        return same ? 0 : -ESTALE;
}

void snapshot_release(struct snapshot *s)
{
        struct snapshot **at = &copies;

        if (!s)
                return;
        (void)pthread_mutex_lock(&lock);
        if (s->users > 1) {
                s->users--;
                s = NULL;
        } else if (s->users == 1) {
                while (*at != s)
                        at = &(*at)->next;
                *at = s->next;
        }
        (void)pthread_mutex_unlock(&lock);
        if (!s)
                return;
        (void)munmap(s->p, s->n);
        close_p(&s->fd);
        free(s);
}

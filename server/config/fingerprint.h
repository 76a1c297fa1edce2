/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fingerprint.h - a SHA-256 of everything that decisions depend on: equal fingerprints, equal decisions.
 *
 * A cached decision is valid as long as nothing that it came from has changed: the router's code and options, the contents of its files (not
 * their names, so that gateways with different folders can share decisions), and the experts.  Main thread.
 */
#ifndef PM_FINGERPRINT_H
#define PM_FINGERPRINT_H

#include <stddef.h>

#include "arena.h"
#include "options.h"
#include "sha256.h"

#define FINGERPRINT_SIZE SHA256_SIZE

struct generation;
struct pm_router;
struct route;
struct tenant;

/* The files of a router, before open() and after it: if one has changed in between, the fingerprint becomes unique. */
struct fingerprint_files {
        const char **paths;
        unsigned char (*digests)[FINGERPRINT_SIZE];
        size_t n;
};

/* The fingerprint of the plugin `file` with the options in `self`.  *files, in the arena, is for fingerprint_settle().  0, -ENOMEM or -EIO. */
int fingerprint_router(const char *file, const struct pm_router *table, const void *self, struct arena *a,
                       unsigned char out[FINGERPRINT_SIZE], struct fingerprint_files *files);
/* After open(): if one of the files is not what it was, `out` becomes random. */
void fingerprint_settle(const struct fingerprint_files *files, unsigned char out[FINGERPRINT_SIZE]);

/* The fingerprint of a route: its first `n` routers, its candidate experts with their settings, embedders, other models. */
int fingerprint_route(const struct generation *g, const struct route *r, size_t n, unsigned char out[FINGERPRINT_SIZE]);
/* The fingerprint of what answers depend on: the models of the route's experts, and their endpoints. */
int fingerprint_answers(const struct route *r, unsigned char out[FINGERPRINT_SIZE]);
/* The fingerprint of the experts that a tenant may use. */
int fingerprint_tenant(const struct tenant *t, unsigned char out[FINGERPRINT_SIZE]);

/* The fingerprint of a file's contents, or of all files of a folder with their names.  Remembered by the file's identity, size and times,
 * so a reload does not read an unchanged model again.  A file that cannot be read has a fingerprint too: that of the error. */
void fingerprint_file(const char *path, unsigned char out[FINGERPRINT_SIZE]);
#endif

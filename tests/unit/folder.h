/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folder.h - a folder of the test's own, and files in it.
 */
#ifndef PM_TEST_FOLDER_H
#define PM_TEST_FOLDER_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"

static char folder[] = "/tmp/pointsman-test-XXXXXX";

static inline void folder_begin(void)
{
        cr_assert_not_null(mkdtemp(folder));
}

static inline int folder_forget(const char *path, const struct stat *st, int what, struct FTW *at)
{
        (void)st;
        (void)what;
        (void)at;
        return remove(path);
}

/* With all that is in it. */
static inline void folder_remove(const char *path)
{
        (void)nftw(path, folder_forget, 8, FTW_DEPTH | FTW_PHYS);
}

/* After it another one may begin. */
static inline void folder_end(void)
{
        folder_remove(folder);
        memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
}

/* A file's path there; valid for 64 further ones. */
static inline const char *in_folder(const char *name)
{
        static char paths[64][128];
        static unsigned turn;
        char *path = paths[turn++ % LENGTH_OF(paths)];

        (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
        return path;
}

static inline void put(const char *name, const char *text)
{
        FILE *f = fopen(in_folder(name), "we");

        cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", name);
}
#endif

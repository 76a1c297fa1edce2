/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The corpus of a fuzz target as a plain test: every file of the folders given, and every prefix of the small ones, through the
 * target.  What fails is an assertion, a sanitizer's report or a crash; a folder without a file is an error.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "base.h"

#define FILE_SIZE_MAX ((size_t)16 << 20)
#define PREFIXES_UP_TO 2048

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(const uint8_t *data, size_t n)
{
        /* a copy of that very size, so that a sanitizer sees an overrun by one */
        CLEANUP(free_p) uint8_t *exact = malloc(n ? n : 1);

        if (!exact)
                return -ENOMEM;
        memcpy(exact, data, n);
        (void)LLVMFuzzerTestOneInput(exact, n);
        return 0;
}

static int run_file(const char *path)
{
        CLEANUP(fclose_p) FILE *f = fopen(path, "re");
        CLEANUP(free_p) uint8_t *data = malloc(FILE_SIZE_MAX);
        size_t n;
        int r;

        if (!f)
                return -errno;
        if (!data)
                return -ENOMEM;
        n = fread(data, 1, FILE_SIZE_MAX, f);
        if (ferror(f))
                return -EIO;
        r = run(data, n);
        for (size_t i = 0; r == 0 && n <= PREFIXES_UP_TO && i < n; i++)
                r = run(data, i);
        return r;
}

static int run_folder(const char *folder, size_t *files)
{
        DIR *d = opendir(folder);
        const struct dirent *e;
        int r = 0;

        if (!d)
                return -errno;
        while (r == 0 && (e = readdir(d)) != NULL) {
                char path[PATH_MAX];
                struct stat s;

                if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path)
                        r = -ENAMETOOLONG;
                else if (stat(path, &s) < 0)
                        r = -errno;
                else if (S_ISREG(s.st_mode) && (r = run_file(path)) == 0)
                        ++*files;
                if (r < 0)
                        (void)fprintf(stderr, "%s: %s\n", path, ERRNO_TEXT(r));
        }
        (void)closedir(d);
        return r;
}

int main(int argc, char **argv)
{
        size_t files = 0;

        for (int i = 1; i < argc; i++)
                if (run_folder(argv[i], &files) < 0) {
                        (void)fprintf(stderr, "%s: cannot be read through\n", argv[i]);
                        return EXIT_FAILURE;
                }
        if (files == 0) {
                (void)fprintf(stderr, "no file in the corpus\n");
                return EXIT_FAILURE;
        }
        (void)printf("%zu files and their prefixes\n", files);
        return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "writable.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base.h"

int writable_check(const char *file, char *why, size_t size)
{
        const char *slash = strrchr(file, '/');
        CLEANUP(free_p) char *folder = slash ? strndup(file, MAX((size_t)(slash - file), (size_t)1)) : strdup(".");
        struct stat st;

        if (!folder)
                return -ENOMEM;
        if (stat(file, &st) == 0) {
                if (S_ISDIR(st.st_mode))
                        (void)snprintf(why, size, "'%s' is a folder, where a file would be right", file);
                else if (faccessat(AT_FDCWD, file, W_OK, AT_EACCESS) < 0)
                        (void)snprintf(why, size, "'%s' cannot be written to: %s", file, ERRNO_TEXT(errno));
                else
                        return 0;
        } else if (errno != ENOENT && errno != ENOTDIR) {
                (void)snprintf(why, size, "'%s' cannot be reached: %s", file, ERRNO_TEXT(errno));
        } else if (stat(folder, &st) < 0 || !S_ISDIR(st.st_mode)) {
                (void)snprintf(why, size, "the folder '%s' is not there: make it, or name another", folder);
        } else if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) < 0) {
                (void)snprintf(why, size, "no file can be made in '%s': %s", folder, ERRNO_TEXT(errno));
        } else {
                return 0;
        }
        return -EINVAL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a router's shared library: refused with a reason, or a library of this machine of which no part that would be mapped
 * lies behind the file's end.  It is looked at only: nobody gives it to dlopen().
 */
#include <link.h>
#include <sys/mman.h>

#include "loader_file.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Bytes [at, at + size) of n? */
static bool within(uint64_t at, uint64_t size, size_t n)
{
        return at <= n && size <= n - at;
}

/* The same in other words: with the whole file in memory. */
static bool lies_within(const uint8_t *data, size_t n)
{
        ElfW(Ehdr) e;

        memcpy(&e, data, sizeof e);
        for (unsigned i = 0; i < e.e_phnum; i++) {
                uint64_t at = i * sizeof(ElfW(Phdr));
                ElfW(Phdr) part;

                if (!within(e.e_phoff, at + sizeof part, n))
                        return false;
                memcpy(&part, data + e.e_phoff + at, sizeof part);
                if (part.p_type == PT_LOAD && !within(part.p_offset, part.p_filesz, n))
                        return false;
        }
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(close_p) int fd = memfd_create("fuzz-loader", MFD_CLOEXEC);
        char path[64], what[256] = "";
        int r;

        assert(fd >= 0 && write(fd, data, n) == (ssize_t)n);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        r = loader_check_file(path, what, sizeof what);
        if (r < 0) {
                assert(r == -ENOEXEC && what[0]);
                return 0;
        }
        assert(r == 0 && n >= sizeof(ElfW(Ehdr)) && memcmp(data, ELFMAG, SELFMAG) == 0 && lies_within(data, n));
        return 0;
}

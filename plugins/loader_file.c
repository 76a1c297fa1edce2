/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlopen() maps what a library's headers say, and a file that was cut while it was copied kills the process with SIGBUS.  So the
 * headers are read first: a shared library, of this machine, and no part of it behind the file's end.
 */
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>

#include "loader_file.h"

#include "base.h"

#define HEADERS_MAX 512 /* program headers; linkers write about ten */

/* The host's own kind of ELF; ElfW() names the structs of it. */
#if __SIZEOF_POINTER__ == 8
#define OWN_CLASS ELFCLASS64
#else
#define OWN_CLASS ELFCLASS32
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OWN_ORDER ELFDATA2LSB
#else
#define OWN_ORDER ELFDATA2MSB
#endif

static PRINTF(3, 4) int no_library(char *what, size_t n, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(what, n, fmt, args);
        va_end(args);
        return -ENOEXEC;
}

/* Which machine this is, as its own program says: the file of this very code. */
static unsigned own_machine(void)
{
        CLEANUP(close_p) int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        ElfW(Ehdr) own;

        return fd >= 0 && pread(fd, &own, sizeof own, 0) == (ssize_t)sizeof own ? own.e_machine : EM_NONE;
}

static int cut(char *what, size_t n, uint64_t needs, uint64_t size)
{
        return no_library(what, n, "it is cut: it should have %" PRIu64 " bytes or more, and has %" PRIu64, needs, size);
}

static int check_parts(int fd, const ElfW(Ehdr) *e, uint64_t size, char *what, size_t n)
{
        uint64_t sections = (uint64_t)e->e_shnum * e->e_shentsize;

        if (e->e_phnum == 0 || e->e_phnum > HEADERS_MAX || e->e_phentsize != sizeof(ElfW(Phdr)))
                return no_library(what, n, "its ELF header is damaged");
        if (e->e_shoff > size || sections > size - e->e_shoff)
                return cut(what, n, e->e_shoff + sections, size);
        for (unsigned i = 0; i < e->e_phnum; i++) {
                off_t at = (off_t)(e->e_phoff + i * sizeof(ElfW(Phdr)));
                ElfW(Phdr) part;

                if (e->e_phoff > size || pread(fd, &part, sizeof part, at) != (ssize_t)sizeof part)
                        return cut(what, n, e->e_phoff + (i + 1) * sizeof part, size);
                if (part.p_type == PT_LOAD && (part.p_offset > size || part.p_filesz > size - part.p_offset))
                        return cut(what, n, part.p_offset + part.p_filesz, size);
        }
        return 0;
}

int loader_check_file(const char *file, char *what, size_t n)
{
        CLEANUP(close_p) int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        unsigned machine;
        struct stat st;
        ElfW(Ehdr) e;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0) {
                r = -errno;
                (void)no_library(what, n, "%s", ERRNO_TEXT(r));
                return r;
        }
        if (!S_ISREG(st.st_mode))
                return no_library(what, n, "it is not a file");
        if (pread(fd, &e, sizeof e, 0) != (ssize_t)sizeof e || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0)
                return no_library(what, n, "it is no shared library (no ELF header)");
        machine = own_machine();
        if (e.e_ident[EI_CLASS] != OWN_CLASS || e.e_ident[EI_DATA] != OWN_ORDER || (machine != EM_NONE && e.e_machine != machine))
                return no_library(what, n, "it is built for another machine (ELF machine %u, this one is %u)", e.e_machine, machine);
        if (e.e_type != ET_DYN)
                return no_library(what, n, "it is an ELF file, but no shared library: link it with -shared");
        return check_parts(fd, &e, (uint64_t)st.st_size, what, n);
}

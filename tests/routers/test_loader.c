/* SPDX-License-Identifier: Apache-2.0 */
/* What the loader refuses, and in which words: the file, what was found, what would be right. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "on_mockhost.h"

static void refused(const char *name, int error, const char *says)
{
        struct plugin *p = NULL;
        char why[1024] = "";
        int r = loader_open(module_path("PM_TEST_ROUTERS", name), &p, why, sizeof why);

        cr_assert_eq(r, error, "%s: %d %s", name, r, why);
        cr_assert_null(p, "an output is untouched on failure");
        cr_assert(strstr(why, name) && strstr(why, says), "%s", why);
}

Test(loader, refuses_what_it_cannot_trust)
{
        refused("bad_abi_major", -ENOEXEC, "is built for ABI 2.0, and this host has 1.3: build it with this version's pm_router.h");
        refused("bad_abi_minor", -ENOEXEC, "needs ABI 1.4 or newer, and this host has 1.3");
        refused("bad_small_table", -ENOEXEC, "has a table of 16 bytes, where ABI 1.3 has ");
        refused("bad_no_symbol", -ENOEXEC, "is a library but no router: it does not export pm_router_table");
        refused("bad_options", -EINVAL, "has a broken table of options: key 'same' is in the table twice");
        refused("not_there", -ENOENT, "No such file or directory");
}

/* Writes the first n bytes of template.so, with one byte changed if `at` is not negative, and has them refused. */
static void refused_bytes(const char *data, size_t n, long at, char byte, const char *says)
{
        char file[] = "/tmp/pm_test_XXXXXX", why[1024] = "";
        int fd = mkstemp(file);
        struct plugin *p = NULL;

        cr_assert_eq(write(fd, data, n), (ssize_t)n);
        cr_assert(at < 0 || pwrite(fd, &byte, 1, at) == 1);
        (void)close(fd);
        cr_assert_eq(loader_open(file, &p, why, sizeof why), -ENOEXEC, "%zu bytes: %s", n, why);
        cr_assert(strstr(why, "cannot load plugin '") && strstr(why, file) && strstr(why, says), "%s", why);
        (void)unlink(file);
}

/* dlopen() maps what a file says of itself and dies of a cut one: SIGBUS.  So nothing that is cut may come to it. */
Test(loader, refuses_files_that_are_no_libraries_or_cut_ones)
{
        static char data[1 << 20];
        int fd = open(module_path("PM_ROUTERS", "template"), O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, data, sizeof data);
        struct plugin *p;
        char why[1024] = "";

        cr_assert(n > 4096 && n < (ssize_t)sizeof data);
        (void)close(fd);
        refused_bytes("#!/bin/sh\n", 10, -1, 0, "it is no shared library (no ELF header)");
        refused_bytes("", 0, -1, 0, "it is no shared library (no ELF header)");
        for (size_t cut = 64; cut < (size_t)n; cut += 509)
                refused_bytes(data, cut, -1, 0, "it is cut: ");
        refused_bytes(data, (size_t)n, 18, 0x14, "it is built for another machine");
        refused_bytes(data, (size_t)n, 16, 2, "it is an ELF file, but no shared library");
        cr_assert_eq(loader_open("/tmp", &p, why, sizeof why), -ENOEXEC);
        cr_assert(strstr(why, "it is not a file"), "%s", why);
}

Test(loader, opens_a_router_and_opens_it_again)
{
        const char *file = module_path("PM_ROUTERS", "template");
        struct plugin *first = NULL, *second = NULL;
        char why[1024];

        cr_assert_eq(loader_open(file, &first, why, sizeof why), 0, "%s", why);
        cr_assert_eq(loader_open(file, &second, why, sizeof why), 0, "%s", why);
        cr_assert_str_eq(first->router->name, "template");
        cr_assert_eq(first->router->size, sizeof(struct pm_router));
        cr_assert_eq(first->router->route, second->router->route);
        loader_free(first);
        cr_assert_str_eq(second->router->name, "template");
        loader_free(second);
        loader_free(NULL);
}

Test(loader, finds_names_in_folders)
{
        const char *dirs[] = { "/nowhere", secure_getenv("PM_ROUTERS") };
        char out[4096];

        cr_assert_eq(loader_find("template", dirs, 2, out, sizeof out), 0);
        cr_assert_str_eq(out, module_path("PM_ROUTERS", "template"));
        cr_assert_eq(loader_find("template.so", dirs, 2, out, sizeof out), 0);
        cr_assert_str_eq(out, module_path("PM_ROUTERS", "template"));
        cr_assert_eq(loader_find("./x/y", dirs, 2, out, sizeof out), 0);
        cr_assert_str_eq(out, "./x/y");
        cr_assert_eq(loader_find("no-such-router", dirs, 2, out, sizeof out), -ENOENT);
        cr_assert_eq(loader_find("", dirs, 2, out, sizeof out), -ENOENT);
        cr_assert_eq(loader_find("template", dirs, 2, out, 12), -ENAMETOOLONG);
        cr_assert_eq(loader_find("/a/long/path", dirs, 2, out, 5), -ENAMETOOLONG);
}

static void name_culprit(int sig)
{
        const char *who = loader_running_now()->router, *what = loader_running_now()->call;

        (void)sig;
        _exit(who && what && strcmp(who, "culprit") == 0 && strcmp(what, "open") == 0 ? 42 : 1);
}

/* The gateway cannot survive a crash in open(), but its handler can say who it was. */
Test(loader, a_crash_in_open_is_named)
{
        struct sigaction action = { .sa_handler = name_culprit };
        struct mock_setup setup = { .instance = "culprit" };
        struct on o;
        int status;
        pid_t child = fork();

        if (child == 0) {
                (void)sigaction(SIGSEGV, &action, NULL);
                (void)on_open(&o, "PM_TEST_ROUTERS", "bad_open_crash", NULL, &setup);
                _exit(2);
        }
        cr_assert(child > 0 && waitpid(child, &status, 0) == child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %x", (unsigned)status);
        cr_assert_null(loader_running_now()->router);
}

Test(loader, a_call_inside_of_a_call_gives_back_the_outer_one)
{
        struct loader_call outer = loader_enter("outer", "a step"), inner = loader_enter("inner", "a deferred function");

        cr_assert_str_eq(loader_running_now()->router, "inner");
        loader_leave(inner);
        cr_assert_str_eq(loader_running_now()->router, "outer");
        cr_assert_str_eq(loader_running_now()->call, "a step");
        loader_leave(outer);
        cr_assert_null(loader_running_now()->router);
        cr_assert_null(loader_running_now()->call);
        cr_assert_eq(loader_name("outer"), loader_name("outer"), "kept once");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child's two outputs go into one pipe, of which a bounded part is kept.  The end is the child's end (SIGCHLD), not the
 * pipe's: a plugin may have left a process behind that holds it open.
 */
#include "config_check.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base.h"

#define TEXT_MAX ((size_t)256 * 1024)
#define TIME_MAX_S 300

struct config_check {
        pid_t pid;
        int fd;
        bool too_long, cut; /* cut: there was no memory for a part of the text */
        struct event *readable, *ended, *late;
        struct evbuffer *text;
        config_check_done *done;
        void *arg;
};

static void config_check_free(struct config_check *c)
{
        if (c->readable)
                event_free(c->readable);
        if (c->ended)
                event_free(c->ended);
        if (c->late)
                event_free(c->late);
        if (c->text)
                evbuffer_free(c->text);
        close_p(&c->fd);
        free(c);
}

/* Reads what is there.  False: the end of the pipe. */
static bool read_on(struct config_check *c)
{
        char piece[4096];
        ssize_t n;

        while ((n = read(c->fd, piece, sizeof piece)) > 0)
                if (evbuffer_get_length(c->text) + (size_t)n <= TEXT_MAX && evbuffer_add(c->text, piece, (size_t)n) < 0)
                        c->cut = true;
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
        struct config_check *c = arg;

        (void)fd, (void)what;
        if (!read_on(c))
                (void)event_del(c->readable);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
        struct config_check *c = arg;

        (void)fd, (void)what;
        c->too_long = true;
        (void)kill(c->pid, SIGKILL);
}

/* What the child has said, and then what of it; NULL: there is no memory for that. */
static const char *text_of(struct config_check *c, int status)
{
        int r = 0;

        if (c->too_long)
                r = evbuffer_add_printf(c->text, "the check took longer than %d s and was ended\n", TIME_MAX_S);
        else if (WIFSIGNALED(status))
                r = evbuffer_add_printf(c->text, "the check was ended by signal %d\n", WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0 && evbuffer_get_length(c->text) == 0)
                r = evbuffer_add_printf(c->text, "the check ended with status %d\n", WEXITSTATUS(status));
        return r >= 0 && evbuffer_add(c->text, "", 1) == 0 ? (const char *)evbuffer_pullup(c->text, -1) : NULL;
}

static void on_child(evutil_socket_t sig, short what, void *arg)
{
        struct config_check *c = arg;
        const char *text;
        int status;

        (void)sig, (void)what;
        if (waitpid(c->pid, &status, WNOHANG) != c->pid)
                return;
        (void)read_on(c);
        text = c->cut ? NULL : text_of(c, status);
        c->done(c->arg, WIFEXITED(status) && WEXITSTATUS(status) == 0, text ? text : "out of memory: cannot show what the check said\n");
        config_check_free(c);
}

static int spawn(const char *file, int out, pid_t *ret)
{
        const char *const argv[] = { "pointsman", "check", "-c", file, NULL };
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attributes;
        sigset_t none, pipe_only;
        int r;

        (void)sigemptyset(&none);
        (void)sigemptyset(&pipe_only);
        (void)sigaddset(&pipe_only, SIGPIPE);
        (void)posix_spawn_file_actions_init(&files);
        (void)posix_spawnattr_init(&attributes);
        (void)posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        (void)posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
        (void)posix_spawn_file_actions_adddup2(&files, out, STDERR_FILENO);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &pipe_only);
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        /* the kernel's link works even if the file was replaced since */
        r = posix_spawn(ret, "/proc/self/exe", &files, &attributes, (char *const *)(uintptr_t)argv, environ);
        (void)posix_spawnattr_destroy(&attributes);
        (void)posix_spawn_file_actions_destroy(&files);
        return -r;
}

int config_check_start(struct event_base *base, const char *file, config_check_done *done, void *arg, struct config_check **ret)
{
        static const struct timeval limit = { TIME_MAX_S, 0 };
        struct config_check *c = calloc(1, sizeof *c);
        int ends[2], r;

        if (!c)
                return -ENOMEM;
        c->fd = -1;
        c->done = done;
        c->arg = arg;
        if (pipe2(ends, O_CLOEXEC) < 0) {
                r = -errno;
                config_check_free(c);
                return r;
        }
        c->fd = ends[0];
        (void)fcntl(c->fd, F_SETFL, O_NONBLOCK); /* our end only */
        c->text = evbuffer_new();
        c->readable = event_new(base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
        c->ended = evsignal_new(base, SIGCHLD, on_child, c);
        c->late = evtimer_new(base, on_late, c);
        r = -ENOMEM;
        if (c->text && c->readable && c->ended && c->late && event_add(c->ended, NULL) == 0 &&
            event_add(c->readable, NULL) == 0 && event_add(c->late, &limit) == 0)
                r = spawn(file, ends[1], &c->pid);
        (void)close(ends[1]);
        if (r < 0) {
                config_check_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

void config_check_cancel(struct config_check *c)
{
        int status;

        if (!c)
                return;
        (void)kill(c->pid, SIGKILL);
        (void)waitpid(c->pid, &status, 0);
        config_check_free(c);
}

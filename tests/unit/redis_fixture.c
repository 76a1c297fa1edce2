/* SPDX-License-Identifier: Apache-2.0 */
#include "redis_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define OPTIONS_MAX 40

struct stand stand;
struct fake fake;

/* ---- servers ------------------------------------------------------------------------------------------------------------ */
static struct { const char *words[OPTIONS_MAX]; } options_of[16];
static struct server *known[16];

static size_t index_of(struct server *s)
{
        for (size_t i = 0; i < LENGTH_OF(known); i++)
                if (known[i] == s || !known[i]) {
                        known[i] = s;
                        return i;
                }
        cr_assert_fail("too many servers");
        return 0;
}

pid_t child_start(const char *const *argv, const char *log)
{
        pid_t parent = getpid(), pid;
        int none = open("/dev/null", O_RDONLY | O_CLOEXEC), out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        cr_assert(none >= 0 && out >= 0);
        pid = fork();
        cr_assert(pid >= 0);
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(1);
                (void)dup2(none, 0);
                (void)dup2(out, 1);
                (void)dup2(out, 2);
                (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
                _exit(127);
        }
        (void)close(none);
        (void)close(out);
        return pid;
}

/* Below those that outgoing connections take, which could come between. */
unsigned free_port(void)
{
        static uint64_t seed;

        for (int i = 0; i < 1000; i++) {
                struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
                int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

                seed = (seed ^ (uint64_t)now_us() ^ (uint64_t)getpid() << 32) * UINT64_C(0x9e3779b97f4a7c15);
                a.sin_port = htons((uint16_t)(12000 + (seed >> 40) % 20000));
                rc = bind(fd, (struct sockaddr *)&a, sizeof a);
                (void)close(fd);
                if (rc == 0)
                        return ntohs(a.sin_port);
        }
        cr_assert_fail("no free port");
        return 0;
}

static redisContext *dial(struct server *s)
{
        struct timeval limit = { 2, 0 };
        char path[112];
        redisContext *c;

        if (s->port) {
                c = redisConnectWithTimeout("127.0.0.1", (int)s->port, limit);
        } else {
                (void)snprintf(path, sizeof path, "%s/s", s->dir);
                c = redisConnectUnixWithTimeout(path, limit);
        }
        if (c && !c->err)
                (void)redisSetTimeout(c, limit);
        return c;
}

void server_wait(struct server *s)
{
        int64_t until = now_us() + 10000000;
        int status;

        while (now_us() < until) {
                redisContext *c = dial(s);
                redisReply *r = c && !c->err ? redisCommand(c, "PING") : NULL;
                bool up = r && !(r->type == REDIS_REPLY_ERROR && strncmp(r->str, "LOADING", 7) == 0);

                freeReplyObject(r);
                redisFree(c);
                if (up)
                        return;
                if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
                        s->pid = 0;
                        cr_assert_fail("redis-server has ended at once with %d%s (see %s)", WEXITSTATUS(status),
                                       WEXITSTATUS(status) == 127 ? ": it is not installed; deploy/deps.sh does that" : "", s->log);
                }
                usleep(2000);
        }
        cr_assert_fail("redis-server does not answer (see %s)", s->log);
}

void server_again(struct server *s)
{
        const char *argv[OPTIONS_MAX + 24];
        char port[12], path[80];
        size_t n = 0;

        (void)snprintf(port, sizeof port, "%u", s->port);
        (void)snprintf(path, sizeof path, "%s/s", s->dir);
        for (const char *const *w = (const char *const[]){ "redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket", path, "--dir",
                                                           s->dir, "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "notice",
                                                           NULL }; *w; w++)
                argv[n++] = *w;
        for (const char *const *w = options_of[index_of(s)].words; *w; w++)
                argv[n++] = *w;
        argv[n] = NULL;
        s->pid = child_start(argv, s->log);
        server_wait(s);
}

void server_start_file(struct server *s, const char *mode, const char *lines)
{
        char path[80];
        FILE *f;

        (void)index_of(s);
        (void)snprintf(s->dir, sizeof s->dir, "/tmp/pm-redis.XXXXXX");
        cr_assert(mkdtemp(s->dir));
        (void)snprintf(s->log, sizeof s->log, "%s/log", s->dir);
        (void)snprintf(path, sizeof path, "%s/conf", s->dir);
        s->port = free_port();
        (void)snprintf(s->url, sizeof s->url, "127.0.0.1:%u", s->port);
        f = fopen(path, "we");
        cr_assert(f);
        (void)fprintf(f, "port %u\nbind 127.0.0.1\ndir %s\n%s", s->port, s->dir, lines);
        (void)fclose(f);
        s->pid = child_start((const char *const[]){ "redis-server", path, mode, NULL }, s->log);
        server_wait(s);
}

void server_start(struct server *s, bool tcp, const char *const *options)
{
        size_t i = index_of(s), n = 0;

        (void)snprintf(s->dir, sizeof s->dir, "/tmp/pm-redis.XXXXXX");
        cr_assert(mkdtemp(s->dir));
        (void)snprintf(s->log, sizeof s->log, "%s/log", s->dir);
        for (; options[n]; n++) {
                cr_assert(n + 1 < OPTIONS_MAX);
                options_of[i].words[n] = options[n];
        }
        options_of[i].words[n] = NULL;
        if (tcp) {
                s->port = free_port();
                (void)snprintf(s->url, sizeof s->url, "127.0.0.1:%u", s->port);
        } else {
                s->port = 0;
                (void)snprintf(s->url, sizeof s->url, "unix:%s/s", s->dir);
        }
        server_again(s);
}

void server_kill(struct server *s)
{
        if (s->pid > 0) {
                (void)kill(s->pid, SIGKILL);
                (void)waitpid(s->pid, NULL, 0);
        }
        s->pid = 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
        (void)st, (void)flag, (void)f;
        (void)remove(path);
        return 0;
}

void server_finish(struct server *s)
{
        server_kill(s);
        if (s->dir[0])
                (void)nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        s->dir[0] = 0;
}

const char *server_say(struct server *s, const char *fmt, ...)
{
        static char text[1 << 18];
        redisReply *r = NULL, *first;
        va_list args;

        /* a server that changes its role may close what it has just accepted */
        for (int i = 0; !r && i < 100; i++) {
                redisContext *c = dial(s);

                if (c && !c->err) {
                        va_start(args, fmt);
                        r = redisvCommand(c, fmt, args);
                        va_end(args);
                }
                if (c)
                        redisFree(c);
                if (!r)
                        usleep(10000);
        }
        cr_assert(r, "no reply to '%s' from %s", fmt, s->url);
        first = r->type == REDIS_REPLY_ARRAY && r->elements ? r->element[0] : r;
        if (first->type == REDIS_REPLY_INTEGER)
                (void)snprintf(text, sizeof text, "%lld", first->integer);
        else
                (void)snprintf(text, sizeof text, "%s", first->str ? first->str : "");
        freeReplyObject(r);
        return text;
}

int64_t server_number(struct server *s, const char *section, const char *field)
{
        const char *at = strstr(server_say(s, "INFO %s", section), field);

        cr_assert(at, "INFO %s has no %s", section, field);
        return strtoll(at + strlen(field) + 1, NULL, 10);
}

/* ---- the client --------------------------------------------------------------------------------------------------------- */
static struct event *beat;

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what, (void)arg;
}

void stand_begin(void)
{
        (void)signal(SIGPIPE, SIG_IGN);
        stand.base = event_base_new();
        beat = event_new(stand.base, -1, EV_PERSIST, on_beat, NULL);
        (void)event_add(beat, &(struct timeval){ 0, 5000 });
}

void stand_open(const char *url)
{
        struct redis_config *c = &stand.config;
        const char *servers[] = { url };
        char why[256];

        if (url) {
                c->servers = servers;
                c->n_servers = 1;
        }
        c->connect_ms = c->connect_ms ? c->connect_ms : 1000;
        c->failures = c->failures ? c->failures : 3;
        c->open_ms = c->open_ms ? c->open_ms : 300;
        c->waiting_max = c->waiting_max ? c->waiting_max : 2000;
        c->reply_max = c->reply_max ? c->reply_max : 1 << 20;
        cr_assert_eq(redis_check(c, why, sizeof why), 0, "%s", why);
        stand.r = redis_create(stand.base, NULL, c, &stand.stats);
        cr_assert(stand.r);
}

void stand_end(void)
{
        redis_destroy(TAKE(stand.r));
        if (!stand.base)
                return;
        event_free(beat);
        event_base_free(stand.base);
        for (size_t i = 0; i < LENGTH_OF(known); i++)
                if (known[i])
                        server_finish(known[i]);
}

void turn(void)
{
        (void)event_base_loop(stand.base, EVLOOP_ONCE);
}

struct pm_str str(const char *text)
{
        return (struct pm_str){ text, strlen(text) };
}

void on_done(struct redis_call *c, enum redis_result result, const redisReply *reply)
{
        struct asked *a = CONTAINER_OF(c, struct asked, call);

        a->done++;
        a->result = result;
        a->at_us = now_us();
        assert((reply != NULL) == (result == REDIS_ANSWERED || result == REDIS_SAID_ERROR));
        assert(c->ticket == 0);
        if (!reply)
                return;
        a->integer = reply->integer;
        a->n = reply->type == REDIS_REPLY_ARRAY ? reply->elements : reply->len;
        if (reply->str)
                memcpy(a->text, reply->str, MIN(reply->len, sizeof a->text - 1));
}

static void ask_begin(struct asked *a)
{
        *a = (struct asked){ .call.done = on_done };
}

int ask_get(struct asked *a, const char *key, int64_t timeout_us)
{
        ask_begin(a);
        return redis_get(stand.r, &a->call, str(key), timeout_us);
}

int ask_set(struct asked *a, const char *key, const char *value, int64_t timeout_us)
{
        ask_begin(a);
        return redis_set(stand.r, &a->call, str(key), str(value), 0, timeout_us);
}

int ask_words(struct asked *a, int key, int64_t timeout_us, const char *fmt, ...)
{
        const char *argv[32];
        size_t n[32];
        char text[1024], *save = text;
        int argc = 0;
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        for (char *w; argc < 32 && (w = strsep(&save, " "));) {
                argv[argc] = w;
                n[argc++] = strlen(w);
        }
        if (a)
                ask_begin(a);
        return redis_command(stand.r, a ? &a->call : NULL, key, argc, argv, n, timeout_us);
}

/* ---- a server that lies ------------------------------------------------------------------------------------------------- */
static void fake_reads(evutil_socket_t fd, short what, void *arg)
{
        struct fake *f = arg;
        char buf[65536];
        ssize_t n = recv(fd, buf, sizeof buf, 0);

        (void)what;
        if (n <= 0) {
                for (unsigned i = 0; i < f->n; i++)
                        if (f->reads[i] && event_get_fd(f->reads[i]) == fd)
                                event_free(TAKE(f->reads[i]));
                (void)close(fd);
        } else if (f->asked[fd]++ == 0) {
                (void)send(fd, f->greeting, strlen(f->greeting), MSG_NOSIGNAL);
        } else if (f->second && f->asked[fd] == 2) {
                (void)send(fd, f->second, strlen(f->second), MSG_NOSIGNAL);
        } else if (f->answer) {
                (void)send(fd, f->answer, f->answer_n, MSG_NOSIGNAL);
        }
}

static void fake_accepts(evutil_socket_t fd, short what, void *arg)
{
        struct fake *f = arg;
        int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        (void)what;
        cr_assert(c >= 0 && c < 4096 && f->n < LENGTH_OF(f->reads));
        f->asked[c] = 0;
        f->reads[f->n] = event_new(stand.base, c, EV_READ | EV_PERSIST, fake_reads, f);
        (void)event_add(f->reads[f->n++], NULL);
}

void fake_start(const char *greeting, const char *second, const char *answer, size_t n)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof a;

        fake = (struct fake){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), .greeting = greeting,
                              .second = second, .answer = answer, .answer_n = n };
        cr_assert_eq(bind(fake.fd, (struct sockaddr *)&a, sizeof a), 0);
        cr_assert_eq(listen(fake.fd, 8), 0);
        cr_assert_eq(getsockname(fake.fd, (struct sockaddr *)&a, &len), 0);
        fake.port = ntohs(a.sin_port);
        fake.accepts = event_new(stand.base, fake.fd, EV_READ | EV_PERSIST, fake_accepts, &fake);
        (void)event_add(fake.accepts, NULL);
        (void)snprintf(fake.url, sizeof fake.url, "127.0.0.1:%u", fake.port);
}

void fake_stop(void)
{
        event_free(fake.accepts);
        (void)close(TAKE(fake.fd));
        for (unsigned i = 0; i < fake.n; i++)
                if (fake.reads[i]) {
                        (void)close(event_get_fd(fake.reads[i]));
                        event_free(fake.reads[i]);
                }
}

void stand_ready(const char *url)
{
        stand_open(fake.fd > 0 ? fake.url : url);
        UNTIL(redis_ready(stand.r));
}

void stand_close_clean(void)
{
        redis_destroy(TAKE(stand.r));
        cr_assert_eq(STAT(up), 0);
}

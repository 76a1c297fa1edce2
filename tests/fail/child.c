/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one child: a gateway whose allocator fails once, and on another thread the client that asks it, reads its log and judges.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "config.h"
#include "fail.h"
#include "gateway.h"
#include "loader.h"
#include "options.h"

#include "base.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#define PATIENCE_MS 10000 /* for an answer, a line of the log, a start */
#define CHILD_S 60
#define LOG_MAX 262144
#define ANSWER_MAX 131072

static struct {
        const struct scenario *s;
        unsigned long n;
        bool on;
        enum eyes eyes;
        int log_fd, out; /* the log's reading end; what standard error was */
        char log[LOG_MAX];
        size_t log_n;
        char answer[ANSWER_MAX];
        unsigned port, admin_port;
} c;

void found(const char *fmt, ...)
{
        va_list args;

        if (report->wrong[0])
                return;
        va_start(args, fmt);
        (void)vsnprintf(report->wrong, sizeof report->wrong, fmt, args);
        va_end(args);
}

static _Atomic bool busy;

/* ---- the log -------------------------------------------------------------------------------------------------------------- */

static void read_log(int ms)
{
        struct pollfd p = { .fd = c.log_fd, .events = POLLIN };
        ssize_t n;

        if (poll(&p, 1, ms) <= 0)
                return;
        n = read(c.log_fd, c.log + c.log_n, LOG_MAX - 1 - c.log_n);
        c.log_n += n > 0 ? (size_t)n : 0;
        c.log[c.log_n] = '\0';
}

/* Waits for one of two texts behind `from`; which of them, NULL: neither came. */
static const char *await(size_t from, const char *a, const char *b)
{
        int64_t until = now_us() + PATIENCE_MS * 1000;

        for (;;) {
                if (strstr(c.log + from, a))
                        return a;
                if (b && strstr(c.log + from, b))
                        return b;
                if (now_us() > until || c.log_n == LOG_MAX - 1)
                        return NULL;
                read_log(100);
        }
}

static bool says_memory(const char *text)
{
        return strcasestr(text, "memory") || strstr(text, "malloc failure") /* OpenSSL */;
}

/* The log has a thread of its own. */
static bool log_says_memory(size_t from)
{
        for (int i = 0; i < 20 && !says_memory(c.log + from); i++)
                read_log(50);
        return says_memory(c.log + from);
}

/* ---- the client ----------------------------------------------------------------------------------------------------------- */

static bool has_all(const char *text, const char *needles)
{
        for (; *needles; needles += strlen(needles) + 1)
                if (!strstr(text, needles))
                        return false;
        return true;
}

/* One request on a connection of its own, until that is closed.  False: it was not in time. */
static bool ask(void)
{
        const unsigned port = c.s->admin ? c.admin_port : c.port;
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
        const struct timeval patience = { PATIENCE_MS / 1000, 0 };
        CLEANUP(close_p) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char head[2048];
        size_t n = 0;
        ssize_t got;
        const char *body = c.s->body ? c.s->body : "";
        int length = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n%s"
                              "Content-Length: %zu\r\n\r\n%s", c.s->method ? c.s->method : c.s->body ? "POST" : "GET", c.s->path,
                              c.s->admin || c.s->keyed ? "Authorization: Bearer " TOKEN "\r\n" : "", strlen(body), body);

        c.answer[0] = '\0';
        assert(fd >= 0 && length > 0 && (size_t)length < sizeof head && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
                return true; /* and nothing is there */
        (void)!send(fd, head, (size_t)length, MSG_NOSIGNAL);
        while ((got = recv(fd, c.answer + n, sizeof c.answer - 1 - n, 0)) > 0)
                n += (size_t)got;
        c.answer[n] = '\0';
        return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

static const char *body_of(const char *answer)
{
        const char *end = strstr(answer, "\r\n\r\n");

        return end ? end + 4 : "";
}

static size_t lines_of(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

static void judge(bool in_time, size_t log_from)
{
        bool right = has_all(c.answer, c.s->right) && (!c.s->lines || calm_lines == 0 || lines_of(body_of(c.answer)) == calm_lines), ours = strncmp(c.answer, "HTTP/1.1 503", 12) == 0 || strncmp(c.answer, "HTTP/1.1 500", 12) == 0;
        const char *body = strstr(c.answer, "\r\n\r\n");

        report->whole = right;
        report->lines = lines_of(body_of(c.answer));
        (void)snprintf(report->answer, sizeof report->answer, "%.1000s", c.answer);
        if (!in_time)
                found("no answer in time");
        else if (right || ((ours || c.s->admin) && body && (c.s->admin || strstr(body, "\"message\":\"")) && says_memory(body)))
                return;
        else if (!c.answer[0] && !log_says_memory(log_from))
                found("the connection was closed, and nothing says why");
        else if (c.answer[0] && strncmp(c.answer, "HTTP/1.1 200", 12) == 0 && (!body || !says_memory(body)) && !log_says_memory(log_from))
                found("the answer is cut, and nothing says why");
        else if (c.answer[0] && strncmp(c.answer, "HTTP/1.1 200", 12) != 0)
                found("another error: %.200s", body ? body + 4 : c.answer);
}

static void must_answer(const char *when, const char *right)
{
        if (!ask())
                found("%s no answer comes", when);
        else if (!has_all(c.answer, right))
                found("%s the answer is not the right one: %.200s", when, c.answer);
}

static bool await_start(void)
{
        const char *port, *which = await(0, "ready: ", "not started");

        if (!which)
                found("it neither starts nor says that it does not");
        if (!which || strcmp(which, "not started") == 0)
                return false;
        port = strstr(c.log, "address=127.0.0.1:");
        assert(port);
        c.port = (unsigned)strtoul(port + strlen("address=127.0.0.1:"), NULL, 10);
        port = strstr(c.log, "admin listening on 127.0.0.1:");
        c.admin_port = port ? (unsigned)strtoul(port + strlen("admin listening on 127.0.0.1:"), NULL, 10) : 0;
        return true;
}

/* Chats one after the other while a reload is under way: each is right, or a 503 that says why. */
static void *chatter(void *arg)
{
        (void)arg;
        points_exempt(true);
        while (atomic_load(&busy))
                judge(ask(), c.log_n);
        return NULL;
}

static void reload(bool must)
{
        size_t from = c.log_n;
        const char *end;

        (void)kill(getpid(), SIGHUP);
        end = await(from, " closed\"", "reload failed"); /* the last worker has let go of the old one */
        if (!end)
                found("the reload neither ends nor fails");
        else if (must && strcmp(end, " closed\"") != 0)
                found("the next reload fails");
        else if (strcmp(end, " closed\"") != 0 && !says_memory(c.log + from))
                found("the reload fails, and does not say why");
        else
                report->whole = strcmp(end, " closed\"") == 0;
}

static void play(void)
{
        size_t from;

        if (c.s->kind == START)
                c.s = &scenarios[0]; /* a chat, afterwards */
        if (c.s->kind == RELOAD) {
                bool traffic = c.s->traffic;
                pthread_t thread;

                c.s = &scenarios[0];
                points_arm(c.n, c.on, &report->failure);
                atomic_store(&busy, true);
                if (traffic)
                        assert(pthread_create(&thread, NULL, chatter, NULL) == 0);
                reload(false);
                atomic_store(&busy, false);
                if (traffic)
                        assert(pthread_join(thread, NULL) == 0);
                report->calls = points_disarm();
                must_answer("after the reload", c.s->right);
                reload(true);
                return;
        }
        if (c.s->warm)
                must_answer("before anything failed", "HTTP/1.1 200\0");
        from = c.log_n;
        if (c.s->admin)
                points_evhttp();
        points_arm(c.n, c.on, &report->failure);
        judge(ask(), from);
        report->calls = points_disarm();
        must_answer("afterwards", c.s->right);
}

static void *client(void *arg)
{
        (void)arg;
        points_exempt(true);
        if (!await_start()) {
                report->calls = points_disarm();
                if (c.s->kind != START)
                        found("it did not start");
                else if (!says_memory(c.log))
                        found("it did not start, and does not say why");
                return NULL;
        }
        if (c.s->kind == START) {
                report->calls = points_disarm();
                report->whole = true;
                c.s = &scenarios[0];
                must_answer("after the start", c.s->right);
        } else {
                play();
        }
        (void)kill(getpid(), SIGTERM);
        return NULL;
}

/* ---- a child -------------------------------------------------------------------------------------------------------------- */

/* Crashes of libraries by their own fault. */
static const struct {
        const char *library;
        int sig;
} crashes[] = {
        { "/libcurl.so", SIGFPE }, /* 7.88: a hash for whose table there was no memory is looked into all the same, modulo 0 */
};

static void on_crash(int sig)
{
        void *frames[POINTS_FRAMES];
        int n = backtrace(frames, POINTS_FRAMES);
        Dl_info at;

        for (size_t i = 0; i < LENGTH_OF(crashes); i++)
                if (n > 2 && sig == crashes[i].sig && dladdr(frames[2], &at) && strstr(at.dli_fname, crashes[i].library)) {
                        report->failure.passed = report->ended = true;
                        _exit(0);
                }
        found("signal %d", sig);
        if (c.eyes == SHOW) {
                (void)dup2(c.out, STDERR_FILENO);
                (void)dprintf(STDERR_FILENO, "---- the crash\n");
                points_show(frames, n);
        }
        (void)signal(sig, SIG_DFL);
        (void)raise(sig);
}

static int load_once(const char **ret_words)
{
        static struct problems *p;
        struct generation *g = NULL;
        int r;

        problems_destroy(p);
        p = problems_create(20);
        r = p ? generation_load(file, 1, p, &g) : -ENOMEM;
        *ret_words = p ? problems_text(p) : "";
        generation_destroy(g);
        return r;
}

/* As a process does that only checks, or, if `warm`, as one that has loaded the file before and may do so again. */
static void load(void)
{
        const char *words, *mistake = c.s->mistake;
        int r = c.s->warm ? load_once(&words) : 0;

        if (r < 0)
                found("refused before anything fails: %.300s", words);
        points_arm(c.n, c.on, &report->failure);
        r = load_once(&words);
        report->calls = points_disarm();
        report->whole = mistake ? r < 0 && strstr(words, mistake) : r == 0;
        if (r == 0 && mistake)
                found("the mistake is not seen");
        else if (r < 0 && r != -ENOMEM && !report->whole && !says_memory(words))
                found("refused for another reason: %.300s", words);
        if (c.s->warm && load_once(&words) < 0)
                found("afterwards it is refused: %.300s", words);
}

/* The reference of the configuration and of a router, as long as when nothing fails. */
static void describe(void)
{
        char why[512] = "";
        struct plugin *plugin;
        FILE *out = fdopen(memfd_create("reference", MFD_CLOEXEC), "w");
        int r;

        assert(out && setvbuf(out, c.answer, _IOFBF, sizeof c.answer) == 0);
        points_arm(c.n, c.on, &report->failure);
        config_describe(out);
        r = loader_open(ROUTERS "/rules.so", &plugin, why, sizeof why);
        if (r == 0) {
                options_describe(out, plugin->router->options, "routers.rules");
                loader_free(plugin);
        }
        report->calls = points_disarm();
        assert(fflush(out) == 0);
        report->lines = (size_t)ftell(out);
        report->whole = r == 0;
        if (r == 0 && calm_lines && report->lines != calm_lines)
                found("%zu bytes in place of %zu, and it says nothing", report->lines, calm_lines);
        else if (r < 0 && !says_memory(why))
                found("it says only '%s'", why);
        assert(fclose(out) == 0);
}

static void run(void)
{
        pthread_t thread;
        int ends[2];

        assert(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETPIPE_SZ, 1 << 20) > 0 && dup2(ends[1], STDERR_FILENO) >= 0);
        (void)close(ends[1]);
        c.log_fd = ends[0];
        assert(pthread_create(&thread, NULL, client, NULL) == 0);
        if (c.s->kind == START)
                points_arm(c.n, c.on, &report->failure);
        (void)gateway_run(&(struct gateway_options){ .file = file, .log_format = -1 });
        (void)pthread_join(thread, NULL);
        read_log(0);
}

_Noreturn void child(const struct scenario *s, unsigned long n, bool on, enum eyes eyes)
{
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(CHILD_S);
        for (size_t i = 0; i < 5; i++)
                (void)signal((const int[]){ SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL }[i], on_crash);
        c.s = s;
        c.n = n;
        c.on = on;
        c.eyes = eyes;
        c.out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
        assert(c.out >= 0);
        if (eyes != COUNT)
                points_track(true);
        if (s->kind == LOAD)
                load();
        else if (s->kind == DESCRIBE)
                describe();
        else
                run();
        (void)dup2(c.out, STDERR_FILENO);
        report->lost = points_lost(eyes == SHOW);
        (void)snprintf(report->log, sizeof report->log, "%.8000s", c.log + (c.log_n > 8000 ? c.log_n - 8000 : 0));
        if (eyes == SHOW)
                (void)dprintf(STDERR_FILENO, "---- the answer\n%s\n---- the log\n%s\n", report->answer, c.log);
#ifdef __SANITIZE_ADDRESS__
        if (__lsan_do_recoverable_leak_check())
                found("LeakSanitizer found a leak");
#endif
        report->ended = true;
        _exit(0);
}

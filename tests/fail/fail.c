/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole gateway whose allocator fails at the n-th call, for every n: while a file is loaded, while it starts, during a request of each
 * kind, and during a reload.
 *
 * Each n has a process of its own, which says to a shared page what became of it.  It is found fault with that it crashes, hangs, leaves a
 * block behind, is not whole again for the next request, or does not say clearly that memory was what it lacked: to the client as a 503
 * with an error object or an error event, in the log where no client can be told.  Experts and a Redis are processes beside it.
 */
#include <curl/curl.h>
#include <openssl/ssl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "beside.h"
#include "fail.h"

#include "base.h"

/* What takes long to open is there only where it is asked. */
#define MODEL "embedders: {static: {model: " SOURCE "/configs/models/pointsman-static}}\n"
#define SHOP "feedback: {file: feedback.tsv}\nroutes: {shop: {routers: [shop], deadline: 9s}}\n" \
             "routers: {shop: {plugin: interests, index: " SOURCE "/configs/models/demo-interests}}\n"
#define RULES "routers: {words: {plugin: rules, rules: [{keywords: [integral], expert: plain, fallbacks: [curl]}]}}\n" \
              "routes: {auto: {routers: [words], deadline: 9s}, kept: {routers: [words], deadline: 9s, cache: {answers: 1h}}}\n"
#define REDIS RULES "cache: {redis: {servers: ['unix:${PM_FAIL_REDIS}'], timeout: 900ms, failures: 1000}}\n"

#define CHAT(model, more) "{\"model\":\"" model "\"," more "\"messages\":[{\"role\":\"user\",\"content\":\"an integral\"}]}"
#define WHOLE "HTTP/1.1 200\0\"finish_reason\":\"stop\"\0"
#define STREAM "HTTP/1.1 200\0data: [DONE]\0"

/* Texts that must all be there, each ended by a NUL. */
const struct scenario scenarios[] = {
        { "chat", ASK, "/v1/chat/completions", CHAT("plain", ""), WHOLE },
        { "chat-stream", ASK, "/v1/chat/completions", CHAT("plain", "\"stream\":true,"), STREAM },
        { "chat-kept-connection", ASK, "/v1/chat/completions", CHAT("plain", ""), WHOLE, .warm = true },
        { "chat-routed", ASK, "/v1/chat/completions", CHAT("auto", ""), WHOLE "x-pointsman-expert: plain\0", .more = RULES },
        { "curl", ASK, "/v1/chat/completions", CHAT("curl", ""), WHOLE },
        { "curl-stream", ASK, "/v1/chat/completions", CHAT("curl", "\"stream\":true,"), STREAM },
        { "curl-kept-connection", ASK, "/v1/chat/completions", CHAT("curl", ""), WHOLE, .warm = true },
        { "tls-kept-connection", ASK, "/v1/chat/completions", CHAT("tls", "\"stream\":true,"), STREAM, .warm = true },
        { "stream-of-whole", ASK, "/v1/chat/completions", CHAT("whole", "\"stream\":true,"), STREAM },
        { "refused-by-expert", ASK, "/v1/chat/completions", CHAT("refuses", ""), "HTTP/1.1 400\0too many apples\0" },
        { "models", ASK, "/v1/models", NULL, "HTTP/1.1 200\0\"id\":\"tls\"\0" },
        { "route", ASK, "/v1/route", CHAT("auto", ""), "HTTP/1.1 200\0\"expert\":\"plain\"\0", .more = RULES },
        { "recommend", ASK, "/v1/recommend", "{\"model\":\"shop\",\"user\":\"u1\",\"n\":3}", "HTTP/1.1 200\0\"items\":[{\0", .more = SHOP },
        { "feedback", ASK, "/v1/feedback", "{\"events\":[{\"user\":\"u1\",\"item\":\"i1\"}]}", "HTTP/1.1 200\0\"accepted\":1\0", .more = SHOP },
        { "embeddings", ASK, "/v1/embeddings", "{\"model\":\"static\",\"input\":[\"an integral\",\"a verdict\"]}", "HTTP/1.1 200\0\"embedding\":\0",
          .more = MODEL },
        { "refused", ASK, "/v1/chat/completions", "{\"model\":\"plain\",\"messages\":3}", "HTTP/1.1 400\0\"type\":\"invalid_request_error\"\0" },
        { "unknown-url", ASK, "/v1/nothing", "{}", "HTTP/1.1 404\0unknown_url\0" },
        { "answer-in-memory", ASK, "/v1/chat/completions", CHAT("kept", "\"temperature\":0,"), WHOLE, .calm = "x-pointsman-answer: cached-local", .warm = true,
          .more = RULES },
        { "answer-in-redis", ASK, "/v1/chat/completions", CHAT("kept", "\"temperature\":0,"), WHOLE, .calm = "x-pointsman-answer: cached-shared", .more = REDIS },
        { "load", LOAD, .more = REDIS },
        { "start", START, .more = RULES },
        { "reload", RELOAD, .more = RULES },
        { "tls", ASK, "/v1/chat/completions", CHAT("tls", ""), WHOLE },
        { "load-model", LOAD, .more = MODEL },
        { "load-catalogue", LOAD, .more = SHOP },
};

struct report *report;
char folder[] = "/tmp/pm-fail-XXXXXX", file[128];

static void write_configuration(const struct scenario *of)
{
        FILE *f;

        (void)snprintf(file, sizeof file, "%s/%s.yaml", folder, of->name);
        f = fopen(file, "we");
        assert(f);
        (void)fprintf(f, "listen: 127.0.0.1:0\nworkers: 1\npool: {threads: 1}\nlog: {level: debug}\nplugin_dirs: [%s]\n"
                      "experts:\n"
                      "  plain: {endpoints: ['http://127.0.0.1:%u/v1'], key: 'k-${HOME}', headers: ['X-Title: t'], drop: [models]}\n"
                      "  curl: {endpoints: 'http://127.0.0.1:%u/v1', transport: curl}\n"
                      "  whole: {endpoints: 'http://127.0.0.1:%u/v1'}\n  refuses: {endpoints: 'http://127.0.0.1:%u/v1'}\n"
                      "  tls: {endpoints: 'https://127.0.0.1:%u/v1', ca: %s}\n%s", ROUTERS, beside.plain, beside.plain, beside.plain, beside.plain, beside.tls, beside.ca, of->more ? of->more : "");
        assert(fclose(f) == 0);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */

static void one(const struct scenario *s, unsigned long n, bool on, bool show)
{
        int status;
        pid_t pid;

        memset(report, 0, sizeof *report);
        pid = fork();
        assert(pid >= 0);
        if (pid == 0)
                child(s, n, on, show);
        assert(waitpid(pid, &status, 0) == pid);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                found("it hangs");
        else if (!report->ended)
                found("it ended with %s %d", WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

struct sums {
        unsigned long points, runs, whole, passed, found;
};

static bool try(const struct scenario *s, bool on, unsigned long step, unsigned long from, struct sums *sum)
{
        size_t lost;

        one(s, 0, false, false); /* what it looks like when nothing fails; and whatever Redis keeps of it */
        one(s, 0, false, false);
        if (s->calm && !strstr(report->answer, s->calm))
                found("there is no %s in %s", s->calm, report->answer);
        if (report->wrong[0]) {
                (void)printf("%s: does not work at all: %s\n%s\n", s->name, report->wrong, report->log);
                sum->found++;
                return false;
        }
        lost = report->lost;
        sum->points = report->calls;
        for (unsigned long n = from;; n += step) {
                one(s, n, on, false);
                sum->runs++;
                for (unsigned again = 0; again < 2 && !report->wrong[0] && report->lost > lost; again++)
                        one(s, n, on, false); /* threads that end take turns */
                if (!report->wrong[0] && report->lost > lost)
                        found("%zu blocks are lost", report->lost - lost);
                if (report->wrong[0]) {
                        sum->found++;
                        (void)printf("%s %lu%s: %s\n", s->name, n, on ? " and all after it" : "", report->wrong);
                        (void)fflush(stdout);
                } else if (!report->failure.hit) {
                        return true;
                }
                sum->whole += report->whole;
                sum->passed += report->failure.passed;
                if (n > 20 * sum->points + 1000)
                        return false;
        }
}

static int usage(void)
{
        (void)fputs("usage: fail [--on] [--step=N] [--from=N] [NAME...]    every point of these scenarios, or of all\n"
                    "       fail [--on] --show=N NAME                    one point: who was refused memory, and what came of it\n", stderr);
        return 2;
}

int main(int argc, char **argv)
{
        unsigned long step = 1, show = 0, from = 1;
        char command[160];
        bool on = false, wanted, bad = false;
        int i = 1;

        if (argc > 1 && strcmp(argv[1], "check") == 0)
                return 0; /* config_check.c has started us: the file is in order */
        for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
                if (strcmp(argv[i], "--on") == 0)
                        on = true;
                else if (strncmp(argv[i], "--step=", 7) == 0)
                        step = strtoul(argv[i] + 7, NULL, 10);
                else if (strncmp(argv[i], "--from=", 7) == 0)
                        from = strtoul(argv[i] + 7, NULL, 10);
                else if (strncmp(argv[i], "--show=", 7) == 0)
                        show = strtoul(argv[i] + 7, NULL, 10);
                else
                        return usage();
        }
        points_track(false);
        report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert(report != MAP_FAILED && step > 0);
        assert(mkdtemp(folder));
        beside_start(folder);
        assert(OPENSSL_init_ssl(0, NULL) == 1 && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
        for (size_t k = 0; k < LENGTH_OF(scenarios); k++) {
                const struct scenario *s = &scenarios[k];
                struct sums sum = { 0 };
                int64_t began = now_us();

                wanted = i == argc;
                for (int j = i; j < argc; j++)
                        wanted |= strcmp(argv[j], s->name) == 0;
                if (!wanted)
                        continue;
                write_configuration(s);
                if (show) {
                        one(s, 0, false, false);
                        one(s, show, on, true);
                        (void)fprintf(stderr, "---- who was refused memory\n");
                        points_show(report->failure.frames, report->failure.n); /* a fork of ours: the same addresses */
                        (void)printf("%s\n", report->wrong[0] ? report->wrong : "nothing wrong");
                        continue;
                }
                bad |= !try(s, on, step, from, &sum) || sum.found;
                (void)printf("%-22s %6lu points, %6lu runs: %6lu answered all the same, %lu passed over, %lu FOUND  (%.1f s)\n", s->name, sum.points,
                             sum.runs, sum.whole, sum.passed, sum.found, (double)(now_us() - began) / 1e6);
                (void)fflush(stdout);
        }
        beside_stop();
        (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
        (void)!system(command);
        return bad;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expert.c - mock-expert: one process that stands for many expert models.
 *
 * Each port is an expert with a name. Ports are opened before the first line is printed, so who has read "listening" can connect.
 * Every thread has its own event loop and, through SO_REUSEPORT, its own socket for each port.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

#include "mock.h"

#define MAX_THREADS 16

struct options options = { .bind = "127.0.0.1", .tokens = 32, .dimension = 256, .threads = 1, .log = 1024 };

static struct loop *loops[MAX_THREADS];

static void on_signal(int signo)
{
        (void)signo;
        for (long i = 0; i < options.threads; i++)
                if (loops[i])
                        loop_stop(loops[i]);
}

static void usage(FILE *to)
{
        (void)fprintf(to,
                      "usage: mock-expert --port PORT=NAME [--port ...] [options]\n"
                      "\n"
                      "A scripted, OpenAI-compatible server: one process, many experts, one port each.\n"
                      "Prints 'listening ADDRESS:PORT NAME plain|tls' for each port, then serves until SIGTERM.\n"
                      "\n"
                      "  --port PORT=NAME      an expert; PORT 0 picks a free one\n"
                      "  --tls-port PORT=NAME  the same over TLS (needs --cert and --key)\n"
                      "  --cert F --key F      PEM files of the server's certificate chain and key\n"
                      "  --bind ADDRESS        IPv4 address to listen on (127.0.0.1)\n"
                      "  --tokens N            length of an answer, unless the request's limit is lower (32)\n"
                      "  --rate N              tokens a second of a stream; 0: at once (0)\n"
                      "  --first-ms N          before the first byte of an answer (0)\n"
                      "  --dimension N         of embeddings (256)\n"
                      "  --threads N           event loops (1, at most %d)\n"
                      "  --log N               requests kept for GET /mock/log; 0: none, fastest (1024)\n"
                      "  --script F            rules, as for POST /mock/script\n"
                      "\n"
                      "Serves, with and without /v1: POST chat/completions, completions, responses, embeddings; GET models; GET /healthz.\n"
                      "The text of an answer names the expert and gives back the words of the last user message.\n"
                      "\n"
                      "Control, on every port:\n"
                      "  GET  /mock/log        the last requests: headers in order, body as base64, how they ended\n"
                      "  GET  /mock/stats      connections and requests of each expert, transfers that a client has left, with the time\n"
                      "  POST /mock/script     {\"rules\":[{\"expert\":\"yi-34b\",\"times\":1,\"fault\":\"status=500\"}]}\n"
                      "  POST /mock/reset      forgets log, stats and rules\n"
                      "A rule may have: expert, path (part of it), fault, times (1) or always, skip (so many go well first).\n"
                      "\n"
                      "Faults, joined by ';', in a rule or in a request's x-mock-fault header:\n",
                      MAX_THREADS);
        fault_help(to);
}

static int number(const char *name, const char *s, long low, long high, long *ret)
{
        char *end;
        long v;

        errno = 0;
        v = strtol(s, &end, 10);
        if (errno || *end || end == s || v < low || v > high) {
                (void)fprintf(stderr, "mock-expert: --%s: '%s' is not in %ld..%ld\n", name, s, low, high);
                return -EINVAL;
        }
        *ret = v;
        return 0;
}

static int port_option(const char *s, bool tls)
{
        struct expert *e = &options.ports[options.port_n];
        const char *eq = strchr(s, '=');
        char digits[8] = "";
        long port;

        if (options.port_n == MAX_PORTS || !eq || eq - s >= (long)sizeof digits || !eq[1] || strlen(eq + 1) >= sizeof e->name) {
                (void)fprintf(stderr, "mock-expert: --port: '%s' is not PORT=NAME, or more than %d of them\n", s, MAX_PORTS);
                return -EINVAL;
        }
        memcpy(digits, s, (size_t)(eq - s));
        if (number("port", digits, 0, 65535, &port) < 0)
                return -EINVAL;
        e->port = (int)port;
        e->tls = tls;
        (void)snprintf(e->name, sizeof e->name, "%s", eq + 1);
        options.port_n++;
        return 0;
}

/* Returns 1 to go on, else what main() returns, below or equal 0. */
static int read_options(int argc, char **argv)
{
        static const struct option known[] = {
                { "port", 1, NULL, 'p' },   { "tls-port", 1, NULL, 's' }, { "cert", 1, NULL, 'c' },      { "key", 1, NULL, 'k' },
                { "bind", 1, NULL, 'b' },   { "tokens", 1, NULL, 't' },   { "rate", 1, NULL, 'r' },      { "first-ms", 1, NULL, 'f' },
                { "threads", 1, NULL, 'n' }, { "log", 1, NULL, 'l' },     { "dimension", 1, NULL, 'd' }, { "script", 1, NULL, 'x' },
                { "help", 0, NULL, 'h' },   { NULL, 0, NULL, 0 },
        };
        int c, r = 0;

        while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1 && r == 0)
                switch (c) {
                case 'p': r = port_option(optarg, false); break;
                case 's': r = port_option(optarg, true); break;
                case 'c': options.cert = optarg; break;
                case 'k': options.key = optarg; break;
                case 'b': (void)snprintf(options.bind, sizeof options.bind, "%s", optarg); break;
                case 't': r = number("tokens", optarg, 1, 10000000, &options.tokens); break;
                case 'r': r = number("rate", optarg, 0, 1000000, &options.rate); break;
                case 'f': r = number("first-ms", optarg, 0, 3600000, &options.first_ms); break;
                case 'n': r = number("threads", optarg, 1, MAX_THREADS, &options.threads); break;
                case 'l': r = number("log", optarg, 0, 1000000, &options.log); break;
                case 'd': r = number("dimension", optarg, 1, 8192, &options.dimension); break;
                case 'x': options.script = optarg; break;
                case 'h': usage(stdout); return 0;
                default: return -EINVAL;
                }
        if (r < 0)
                return r;
        if (optind < argc || options.port_n == 0) {
                (void)fprintf(stderr, "mock-expert: at least one --port PORT=NAME is needed (--help)\n");
                return -EINVAL;
        }
        return 1;
}

static SSL_CTX *tls_open(void)
{
        bool wanted = false;
        SSL_CTX *ctx;

        for (int i = 0; i < options.port_n; i++)
                wanted |= options.ports[i].tls;
        if (!wanted)
                return NULL;
        ctx = SSL_CTX_new(TLS_server_method());
        assert(ctx);
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
        if (!options.cert || !options.key || SSL_CTX_use_certificate_chain_file(ctx, options.cert) != 1 ||
            SSL_CTX_use_PrivateKey_file(ctx, options.key, SSL_FILETYPE_PEM) != 1) {
                (void)fprintf(stderr, "mock-expert: --tls-port needs --cert and --key, PEM files that belong together\n");
                ERR_print_errors_fp(stderr);
                SSL_CTX_free(ctx);
                return NULL;
        }
        return ctx;
}

/* Opens one socket for a port; a port 0 becomes the one that was picked. */
static int port_open(struct expert *e)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)e->port) };
        socklen_t n = sizeof a;
        int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0 || inet_pton(AF_INET, options.bind, &a.sin_addr) != 1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
            (options.threads > 1 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) ||
            bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0 || getsockname(fd, (struct sockaddr *)&a, &n) < 0) {
                int e_no = errno;

                (void)fprintf(stderr, "mock-expert: cannot listen on %s:%d: %s\n", options.bind, e->port, ERRNO_TEXT(e_no));
                close_p(&fd);
                return -e_no;
        }
        e->port = ntohs(a.sin_port);
        return fd;
}

static void *thread_main(void *arg)
{
        loop_run(arg);
        return NULL;
}

static int serve(SSL_CTX *tls)
{
        pthread_t threads[MAX_THREADS];

        for (long t = 0; t < options.threads; t++) {
                loops[t] = loop_new(tls);
                for (int i = 0; i < options.port_n; i++) {
                        int fd = port_open(&options.ports[i]);

                        if (fd < 0 || loop_listen(loops[t], &options.ports[i], fd) < 0)
                                return -EADDRINUSE;
                }
        }
        for (int i = 0; i < options.port_n; i++)
                (void)printf("listening %s:%d %s %s\n", options.bind, options.ports[i].port, options.ports[i].name,
                             options.ports[i].tls ? "tls" : "plain");
        (void)fflush(stdout);
        for (long t = 1; t < options.threads; t++)
                if (pthread_create(&threads[t], NULL, thread_main, loops[t]) != 0)
                        return -EAGAIN;
        loop_run(loops[0]);
        for (long t = 1; t < options.threads; t++)
                pthread_join(threads[t], NULL);
        return 0;
}

int main(int argc, char **argv)
{
        struct sigaction stop = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN };
        char why[256];
        bool needs_tls = false;
        SSL_CTX *tls;
        int r = read_options(argc, argv);

        if (r <= 0)
                return r < 0 ? 2 : 0;
        sigaction(SIGPIPE, &ignore, NULL);
        sigaction(SIGTERM, &stop, NULL);
        sigaction(SIGINT, &stop, NULL);
        json_object_seed(0);
        if (options.script && rules_load(options.script, why, sizeof why) < 0) {
                (void)fprintf(stderr, "mock-expert: %s\n", why);
                return 2;
        }
        for (int i = 0; i < options.port_n; i++)
                needs_tls |= options.ports[i].tls;
        tls = tls_open();
        if (needs_tls && !tls)
                return 2;
        r = serve(tls);
        for (long t = 0; t < options.threads; t++)
                loop_free(loops[t]);
        SSL_CTX_free(tls);
        rules_clear();
        journal_free();
        return r < 0 ? 1 : 0;
}

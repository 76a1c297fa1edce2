/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base.h"

static struct peer *peers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the connections' lists and descriptors */

static pthread_cond_t over_said = PTHREAD_COND_INITIALIZER;
static bool over; /* the test is */

void peer_sleep(unsigned ms)
{
        struct timespec until;

        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += ms / 1000;
        until.tv_nsec += (long)(ms % 1000) * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&lock);
        while (!over && pthread_cond_timedwait(&over_said, &lock, &until) == 0)
                ;
        pthread_mutex_unlock(&lock);
}

/* ---- bytes -------------------------------------------------------------------------------------------------------------- */
static ssize_t receive(struct peer_conn *c, char *to, size_t n)
{
        return c->ssl ? SSL_read(c->ssl, to, (int)n) : recv(c->fd, to, n, 0);
}

bool peer_send(struct peer_conn *c, const void *p, size_t n)
{
        const char *at = p;

        while (n > 0) {
                ssize_t r = c->ssl ? SSL_write(c->ssl, at, (int)n) : send(c->fd, at, n, MSG_NOSIGNAL);

                if (r <= 0)
                        return false;
                at += r;
                n -= (size_t)r;
        }
        return true;
}

bool peer_say(struct peer_conn *c, const char *text)
{
        return peer_send(c, text, strlen(text));
}

/* Connections take turns: what is noted is of one request. */
static pthread_mutex_t note = PTHREAD_MUTEX_INITIALIZER;

static uint64_t take_head(struct peer_conn *c, size_t n)
{
        struct peer *p = c->peer;
        const char *length;
        uint64_t left;

        pthread_mutex_lock(&note);
        snprintf(p->head, sizeof p->head, "%.*s", (int)n, c->kept);
        snprintf(p->request, sizeof p->request, "%s", p->head);
        length = strcasestr(p->head, "\r\ncontent-length:");
        left = length ? strtoull(length + 17, NULL, 10) : 0;
        pthread_mutex_unlock(&note);
        return left;
}

static void note_body(struct peer *p, const char *text, size_t n)
{
        size_t used;

        pthread_mutex_lock(&note);
        used = strlen(p->request);
        snprintf(p->request + used, sizeof p->request - used, "%.*s", (int)n, text);
        pthread_mutex_unlock(&note);
}

bool peer_was_asked(const struct peer *p, const char *text)
{
        bool found;

        pthread_mutex_lock(&note);
        found = strstr(p->request, text) != NULL;
        pthread_mutex_unlock(&note);
        return found;
}

bool peer_take(struct peer_conn *c)
{
        struct peer *p = c->peer;
        uint64_t left, got = 0, sum = 0;
        char *end;
        size_t n;

        while (!(end = memmem(c->kept, c->n_kept, "\r\n\r\n", 4))) {
                ssize_t r = receive(c, c->kept + c->n_kept, sizeof c->kept - c->n_kept);

                if (r <= 0) {
                        atomic_fetch_add(&p->ends, 1);
                        return false;
                }
                c->n_kept += (size_t)r;
        }
        n = (size_t)(end + 4 - c->kept);
        left = take_head(c, n);
        memmove(c->kept, c->kept + n, c->n_kept - n);
        c->n_kept -= n;
        while (left > 0) {
                size_t take;

                if (c->n_kept == 0) {
                        ssize_t r = receive(c, c->kept, sizeof c->kept);

                        if (r <= 0) {
                                atomic_fetch_add(&p->ends, 1);
                                return false;
                        }
                        c->n_kept = (size_t)r;
                }
                take = MIN(c->n_kept, left);
                note_body(p, c->kept, take);
                for (size_t i = 0; i < take; i++)
                        sum = sum * 31 + (unsigned char)c->kept[i];
                got += take;
                left -= take;
                memmove(c->kept, c->kept + take, c->n_kept - take);
                c->n_kept -= take;
        }
        pthread_mutex_lock(&note);
        p->body_n = got;
        p->body_sum = sum;
        pthread_mutex_unlock(&note);
        c->requests++;
        atomic_fetch_add(&p->requests, 1);
        return true;
}

void peer_wait_end(struct peer_conn *c)
{
        while (receive(c, c->kept, sizeof c->kept) > 0)
                ;
        atomic_fetch_add(&c->peer->ends, 1);
}

void peer_reset(struct peer_conn *c)
{
        struct linger now = { 1, 0 };

        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* ---- TLS ---------------------------------------------------------------------------------------------------------------- */
/* A certificate that is its own authority, for localhost and 127.0.0.1, made now; p->path says where it lies. */
static SSL_CTX *make_tls(struct peer *p)
{
        EVP_PKEY *key = EVP_RSA_gen(2048);
        X509 *x = X509_new();
        SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
        static const struct {
                int id;
                const char *value;
        } extensions[] = { { NID_basic_constraints, "critical,CA:TRUE" }, { NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1" } };
        FILE *f;
        int fd;

        X509_set_version(x, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        X509_gmtime_adj(X509_getm_notBefore(x), -60);
        X509_gmtime_adj(X509_getm_notAfter(x), 3600);
        X509_set_pubkey(x, key);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(x));
        for (size_t i = 0; i < LENGTH_OF(extensions); i++) {
                X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, extensions[i].id, extensions[i].value);

                X509_add_ext(x, e, -1);
                X509_EXTENSION_free(e);
        }
        assert(X509_sign(x, key, EVP_sha256()) > 0);
        snprintf(p->path, sizeof p->path, "/tmp/pm-test-ca-XXXXXX");
        fd = mkstemp(p->path);
        assert(fd >= 0);
        f = fdopen(fd, "w");
        PEM_write_X509(f, x);
        fclose(f);
        assert(SSL_CTX_use_certificate(tls, x) == 1 && SSL_CTX_use_PrivateKey(tls, key) == 1);
        X509_free(x);
        EVP_PKEY_free(key);
        return tls;
}

/* ---- connections -------------------------------------------------------------------------------------------------------- */
static void *serve(void *arg)
{
        struct peer_conn *c = arg;

        if (c->peer->kind == PEER_TLS) {
                c->ssl = SSL_new(c->peer->tls);
                SSL_set_fd(c->ssl, c->fd);
                if (SSL_accept(c->ssl) != 1) {
                        atomic_fetch_add(&c->peer->ends, 1);
                        goto out;
                }
        }
        c->peer->play(c);
out:
        if (c->ssl) {
                (void)SSL_shutdown(c->ssl);
                SSL_free(c->ssl);
        }
        pthread_mutex_lock(&lock);
        close(c->fd);
        c->fd = -1;
        pthread_mutex_unlock(&lock);
        atomic_fetch_add(&c->peer->closed, 1);
        return NULL;
}

static void *accept_all(void *arg)
{
        struct peer *p = arg;
        int fd;

        while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
                struct peer_conn *c = calloc(1, sizeof *c);
                int one = 1;

                c->peer = p;
                c->fd = fd;
                (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                c->number = atomic_fetch_add(&p->connections, 1);
                assert(pthread_create(&c->thread, NULL, serve, c) == 0);
                c->next = p->conns;
                p->conns = c;
        }
        return NULL;
}

/* Before OpenSSL's own end: a handshake that is under way when its tables go would leave what it has fetched. */
static void stop_all(void)
{
        pthread_mutex_lock(&lock);
        over = true;
        pthread_cond_broadcast(&over_said);
        pthread_mutex_unlock(&lock);
        while (peers) {
                struct peer *p = peers;

                peers = p->next;
                (void)shutdown(p->fd, SHUT_RDWR); /* which ends accept() */
                pthread_join(p->thread, NULL);
                pthread_mutex_lock(&lock);
                for (struct peer_conn *c = p->conns; c; c = c->next)
                        if (c->fd >= 0)
                                (void)shutdown(c->fd, SHUT_RDWR);
                pthread_mutex_unlock(&lock);
                while (p->conns) {
                        struct peer_conn *c = p->conns;

                        p->conns = c->next;
                        pthread_join(c->thread, NULL);
                        free(c);
                }
                close(p->fd);
                SSL_CTX_free(p->tls);
                if (p->path[0])
                        (void)unlink(p->path);
                free(p);
        }
}

struct peer *peer_start(enum peer_kind kind, void (*play)(struct peer_conn *c))
{
        struct peer *p = calloc(1, sizeof *p);
        struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        struct sockaddr_un local = { .sun_family = AF_UNIX };
        struct sockaddr *a = (struct sockaddr *)&four;
        socklen_t n = sizeof four;

        (void)signal(SIGPIPE, SIG_IGN);
        if (!peers) {
                assert(OPENSSL_init_ssl(0, NULL) == 1); /* what is registered after it runs before it */
                assert(atexit(stop_all) == 0);
        }
        p->kind = kind;
        p->play = play;
        if (kind == PEER_TCP6) {
                a = (struct sockaddr *)&six;
                n = sizeof six;
        } else if (kind == PEER_UNIX) {
                snprintf(p->path, sizeof p->path, "/tmp/pm-test-%d.sock", (int)getpid());
                snprintf(local.sun_path, sizeof local.sun_path, "%s", p->path);
                (void)unlink(p->path);
                a = (struct sockaddr *)&local;
                n = sizeof local;
        } else if (kind == PEER_TLS) {
                p->tls = make_tls(p);
        }
        p->fd = socket(a->sa_family, SOCK_STREAM, 0);
        if (p->fd < 0 || bind(p->fd, a, n) < 0 || listen(p->fd, 512) < 0) {
                if (p->fd >= 0)
                        close(p->fd);
                free(p);
                return NULL;
        }
        if (kind != PEER_UNIX) {
                assert(getsockname(p->fd, a, &n) == 0);
                p->port = ntohs(kind == PEER_TCP6 ? six.sin6_port : four.sin_port);
        }
        assert(pthread_create(&p->thread, NULL, accept_all, p) == 0);
        p->next = peers;
        peers = p;
        return p;
}

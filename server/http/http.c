/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners, certificates, and the clock.
 *
 * Times are kept by one sweep over a worker's connections while it has any: a connection says what it waits for, and the sweep
 * sets and compares the deadline, so a request on a kept connection arms no timer.  A limit may be overrun by two sweeps.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "http_parts.h"
#include "listen.h"
#include "log.h"
#include "throttle.h"
#include "tlsfiles.h"

#include "base.h"

#define ACCEPTS_IN_A_ROW 64
#define AWAY_MAX 64u /* connections above the limit that are told so at a time, if nobody knows better; others wait to be accepted */
#define SWEEP_MS 250
#define RESUME_MS 100

/* ---- certificates ------------------------------------------------------------------------------------------------------- */

static void ctx_free(SSL_CTX **ctx)
{
        SSL_CTX_free(*ctx);
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *arg)
{
        static const unsigned char ours[] = "\x08http/1.1";
        unsigned char *chosen;

        (void)ssl, (void)arg;
        if (SSL_select_next_proto(&chosen, out_n, ours, sizeof ours - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED)
                return SSL_TLSEXT_ERR_ALERT_FATAL;
        *out = chosen;
        return SSL_TLSEXT_ERR_OK;
}

/* Each worker keeps its own text: it must outlive the struct http that could not be made. */
static int ctx_failed(const struct tls_files *f, const char *what, const char **why)
{
        static _Thread_local char text[512];
        int r;
        const char *reason = tlsfiles_error(&r);

        (void)snprintf(text, sizeof text, "%s (certificate '%s', key '%s')%s%s", what, f->certificate, f->key,
                       reason ? ": " : "", reason ? reason : "");
        *why = text;
        return r;
}

static int ctx_create(const struct tls_files *f, SSL_CTX **ret, const char **why)
{
        static const unsigned char name[] = "pointsman";
        CLEANUP(ctx_free) SSL_CTX *ctx = (errno = 0, SSL_CTX_new(TLS_server_method()));

        if (!ctx)
                return ctx_failed(f, "cannot set up TLS", why);
        (void)SSL_CTX_set_min_proto_version(ctx, f->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
        (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
        if (SSL_CTX_set_cipher_list(ctx, f->ciphers ? f->ciphers : "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
                return ctx_failed(f, "cannot use the ciphers", why);
        (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
        (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets are enough */
        (void)SSL_CTX_set_session_id_context(ctx, name, sizeof name - 1);
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
        if (SSL_CTX_use_certificate_chain_file(ctx, f->certificate) != 1)
                return ctx_failed(f, "cannot use the certificate", why);
        if (SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
                return ctx_failed(f, "cannot use the key", why);
        *ret = TAKE(ctx);
        return 0;
}

void http_set_limits(struct http *h, const struct limits *l)
{
        h->limits = *l;
}

int http_set_certificates(struct http *h, const struct listener *ls, size_t n, const char **why)
{
        SSL_CTX **fresh = calloc(h->n_listeners + 1, sizeof(*fresh));
        int r = fresh ? 0 : -ENOMEM;

        if (r < 0)
                *why = "out of memory";
        for (size_t i = 0; r == 0 && i < h->n_listeners && i < n; i++)
                if (h->listeners[i].tls && ls[i].tls.certificate)
                        r = ctx_create(&ls[i].tls, &fresh[i], why);
        for (size_t i = 0; fresh && i < h->n_listeners; i++) {
                if (r == 0 && fresh[i]) {
                        SSL_CTX *old = h->listeners[i].tls;

                        h->listeners[i].tls = fresh[i];
                        fresh[i] = old;
                }
                SSL_CTX_free(fresh[i]);
        }
        free(fresh);
        return r;
}

/* ---- times -------------------------------------------------------------------------------------------------------------- */

static int64_t time_for(const struct limits *l, enum http_wait wait)
{
        switch (wait) {
        case WAIT_HANDSHAKE:
        case WAIT_HEAD:
                return l->head_time;
        case WAIT_BODY:
                return l->body_time;
        case WAIT_IDLE:
                return l->idle_time;
        case WAIT_LINGER:
                return HTTP_LINGER_MS;
        case WAIT_NOTHING:
                break;
        }
        return 0;
}

/* Has a backlog, of which nothing has left for too long? */
static bool is_stuck(struct http_conn *c, int64_t now)
{
        size_t n = http_backlog(c);

        if (n == 0 || c->queued - n != c->taken || c->stuck_at == 0) {
                c->taken = c->queued - n;
                c->stuck_at = n ? now + c->http->limits.write_time * 1000 : 0;
                return false;
        }
        return now >= c->stuck_at;
}

static void sweep_one(struct http_conn *c, int64_t now)
{
        if (is_stuck(c, now)) {
                c->fail_at_end = true;
                conn_abort(c, DROP_CLIENT_STUCK);
                conn_update(c);
        } else if (c->wait != WAIT_NOTHING && (c->deadline == 0 || (c->wait == WAIT_IDLE && http_backlog(c) > 0))) {
                c->deadline = now + time_for(&c->http->limits, c->wait) * 1000;
        } else if (c->wait != WAIT_NOTHING && now >= c->deadline) {
                conn_late(c);
        }
}

static void schedule_sweep(struct http *h)
{
        const struct limits *l = &h->limits;
        int64_t least = MIN(MIN(l->head_time, l->body_time), MIN(l->idle_time, l->write_time));
        int64_t ms = MAX(MIN(least / 4, SWEEP_MS), 10);
        struct timeval t = { .tv_sec = 0, .tv_usec = ms * 1000 };

        h->sweeping = event_add(h->sweep, &t) == 0;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
        struct http *h = arg;
        struct http_conn *c = h->conns, *next;
        int64_t now = loop_clock(h->loop, now_us());

        (void)fd, (void)what;
        h->sweeping = false;
        for (; c; c = next) {
                next = c->next; /* a connection that goes takes no other with it */
                sweep_one(c, now);
        }
        if (h->conns)
                schedule_sweep(h);
}

/* ---- listening ---------------------------------------------------------------------------------------------------------- */

static void complain(struct http *h, const char *what)
{
        if (throttle(&h->complained_us, now_us()))
                log_msg(h->loop->log, PM_WARN, "cannot accept more connections: %s (logged once a minute)", what);
}

static void stop_listening(struct http *h)
{
        pthread_mutex_lock(&h->closing);
        for (size_t i = 0; i < h->n_listeners; i++) {
                struct http_listener *l = &h->listeners[i];

                if (l->event)
                        event_free(TAKE(l->event));
                if (l->fd >= 0)
                        (void)close(l->fd);
                l->fd = -1;
        }
        pthread_mutex_unlock(&h->closing);
}

static void resume_listening(struct http *h)
{
        h->resting = false;
        for (size_t i = 0; i < h->n_listeners; i++)
                if (h->listeners[i].event)
                        (void)event_add(h->listeners[i].event, NULL);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
        (void)fd, (void)what;
        resume_listening(arg);
}

/* Leave the queue alone until a connection has gone, or for a moment. */
static void rest(struct http *h)
{
        struct timeval t = { .tv_sec = 0, .tv_usec = RESUME_MS * 1000 };

        h->resting = true;
        for (size_t i = 0; i < h->n_listeners; i++)
                if (h->listeners[i].event)
                        (void)event_del(h->listeners[i].event);
        if (event_add(h->resume, &t) < 0)
                resume_listening(h);
}

static void peer_name(const struct sockaddr_storage *a, char *ret, size_t n)
{
        char host[INET6_ADDRSTRLEN] = "?";

        if (a->ss_family == AF_INET) {
                const struct sockaddr_in *in = (const void *)a;

                (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
                (void)snprintf(ret, n, "%s:%u", host, ntohs(in->sin_port));
        } else if (a->ss_family == AF_INET6) {
                const struct sockaddr_in6 *in6 = (const void *)a;

                (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
                (void)snprintf(ret, n, "[%s]:%u", host, ntohs(in6->sin6_port));
        } else {
                (void)snprintf(ret, n, "local");
        }
}

void http_room(struct http *h)
{
        if (h->resting && !h->draining) {
                (void)event_del(h->resume);
                resume_listening(h);
        }
}

static bool is_full(const struct http *h)
{
        const uint64_t most = MIN((uint64_t)h->limits.connections, h->clients);

        return h->n_conns - h->n_away >= most;
}

/* As many are told so as there may be, and the others wait in the kernel's queue for their turn to be told. */
static bool may_accept(struct http *h)
{
        return !is_full(h) || h->n_away < h->away_max;
}

static void take_connection(struct http_listener *l, int fd, const struct sockaddr_storage *from)
{
        struct http *h = l->http;
        bool above = is_full(h);
        char peer[INET6_ADDRSTRLEN + 10];
        struct http_conn *c;

        if (above)
                complain(h, "limits.connections or the limit of file descriptors is reached");
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        peer_name(from, peer, sizeof peer);
        c = conn_create(h, fd, l->tls, peer);
        if (!c) {
                complain(h, "out of memory");
                return;
        }
        c->loopback = l->loopback;
        if (!h->sweeping)
                schedule_sweep(h);
        if (above) {
                c->above_limit = true;
                h->n_away++;
                if (!l->tls)
                        conn_reject(c);
        }
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
        struct http_listener *l = arg;

        (void)what;
        for (int i = 0; i < ACCEPTS_IN_A_ROW; i++) {
                struct sockaddr_storage from = { 0 };
                socklen_t n = sizeof from;
                int taken;

                if (!may_accept(l->http)) {
                        rest(l->http);
                        return;
                }
                taken = accept4(fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (taken >= 0) {
                        take_connection(l, taken, &from);
                } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                        complain(l->http, ERRNO_TEXT(errno));
                        rest(l->http);
                        return;
                } else if (errno == EAGAIN) {
                        return;
                } /* else this connection is dead already: the next one */
        }
}

/* ---- for a worker that hangs -------------------------------------------------------------------------------------------- */

static bool relieve_one(struct http *h, size_t i, void (*take)(void *arg, struct http_given *given), void *arg)
{
        struct http_given *given = calloc(1, sizeof *given);
        socklen_t n = sizeof given->from;

        if (!given)
                return false;
        given->listener = i;
        given->fd = h->listeners[i].fd < 0 ? -1 : accept4(h->listeners[i].fd, (struct sockaddr *)&given->from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (given->fd < 0) {
                free(given);
                return false;
        }
        take(arg, given);
        return true;
}

void http_relieve(struct http *h, void (*take)(void *arg, struct http_given *given), void *arg)
{
        pthread_mutex_lock(&h->closing);
        for (size_t i = 0; i < h->n_listeners; i++)
                for (int k = 0; k < ACCEPTS_IN_A_ROW && relieve_one(h, i, take, arg); k++)
                        ;
        pthread_mutex_unlock(&h->closing);
}

void http_take(struct http *h, struct http_given *given)
{
        if (h->draining || given->listener >= h->n_listeners)
                (void)close(given->fd);
        else
                take_connection(&h->listeners[given->listener], given->fd, &given->from);
        free(given);
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

static int listener_open(struct http_listener *l, const struct listener *from, const char **why)
{
        if (from->tls.certificate) {
                int r = ctx_create(&from->tls, &l->tls, why);

                if (r < 0)
                        return r;
        }
        l->event = event_new(l->http->loop->base, l->fd, EV_READ | EV_PERSIST, on_acceptable, l);
        if (!l->event || evutil_make_socket_nonblocking(l->fd) < 0 || event_add(l->event, NULL) < 0) {
                *why = "out of memory for watching the listening socket";
                return -ENOMEM;
        }
        return 0;
}

struct http *http_create(struct loop *loop, const struct http_setup *setup, const char **why)
{
        const size_t n = setup->n;
        struct http *h = calloc(1, sizeof *h);
        struct http_listener *ls = calloc(n + 1, sizeof *ls);

        *why = "out of memory";
        if (!h || !ls) {
                for (size_t i = 0; i < n; i++)
                        (void)close(setup->fds[i]);
                free(h);
                free(ls);
                return NULL;
        }
        pthread_mutex_init(&h->closing, NULL);
        h->loop = loop;
        h->handler = setup->handler;
        h->owner = setup->owner;
        h->limits = *setup->limits;
        h->clients = setup->clients ? setup->clients : UINT_MAX;
        h->away_max = setup->away ? setup->away : AWAY_MAX;
        h->listeners = ls;
        h->n_listeners = n;
        for (size_t i = 0; i < n; i++)
                ls[i] = (struct http_listener){ .http = h, .fd = setup->fds[i],
                                                .loopback = setup->listeners[i].address && listen_is_loopback(setup->listeners[i].address) };
        h->sweep = event_new(loop->base, -1, 0, on_sweep, h);
        h->resume = event_new(loop->base, -1, 0, on_resume, h);
        if (!h->sweep || !h->resume) {
                http_destroy(h);
                return NULL;
        }
        for (size_t i = 0; i < n; i++)
                if (listener_open(&ls[i], &setup->listeners[i], why) < 0) {
                        http_destroy(h);
                        return NULL;
                }
        return h;
}

void http_drain(struct http *h)
{
        struct http_conn *next;

        if (h->draining)
                return;
        for (size_t i = 0; i < h->n_listeners; i++) /* who has connected already is served, or at least not reset */
                if (h->listeners[i].event)
                        on_acceptable(h->listeners[i].fd, EV_READ, &h->listeners[i]);
        h->draining = true;
        (void)event_del(h->resume);
        stop_listening(h);
        for (struct http_conn *c = h->conns; c; c = next) {
                next = c->next;
                if (!c->request && !c->head_received && h1_idle(c->h1)) {
                        c->close_after = true;
                        conn_update(c);
                }
        }
}

void http_cut_short(struct http *h)
{
        for (struct http_conn *c = h->conns; c; c = c->next)
                if (c->request)
                        h->handler->cut_short(c->request);
}

void http_destroy(struct http *h)
{
        struct http_conn *next;

        if (!h)
                return;
        stop_listening(h);
        for (struct http_conn *c = h->conns; c; c = next) {
                next = c->next;
                conn_abort(c, DROP_SHUTDOWN);
                conn_update(c);
        }
        for (size_t i = 0; i < h->n_listeners; i++)
                SSL_CTX_free(h->listeners[i].tls);
        if (h->sweep)
                event_free(h->sweep);
        if (h->resume)
                event_free(h->resume);
        pthread_mutex_destroy(&h->closing);
        free(h->listeners);
        free(h);
}

unsigned http_connections(const struct http *h)
{
        return h->n_conns;
}

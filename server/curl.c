/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl.c - everything that is not plain HTTP/1.1 over TCP: TLS, HTTP/2, proxies, Unix sockets; libcurl's multi on our loop.
 *
 * libcurl says which sockets and which time to wait for; events call curl_multi_socket_action(), and what has finished is
 * collected after it has returned.  Its callbacks only store what came: none of them adds, removes or closes a transfer.  Easy
 * handles are kept for further requests; connections, sessions and names live in the multi handle.
 */
#include <curl/curl.h>
#include <event2/buffer.h>
#include <event2/util.h>
#include <pthread.h>

#include "expert.h"
#include "h1.h"
#include "transport.h"
#include "worker.h"

#include "base.h"

#define HANDLES_KEPT 32
#define CONNECTIONS_KEPT 256l
#define LINE_MAX_BYTES 16384 /* of one request header */
#define RAW_KEPT 16384

struct curl {
        struct upstream *upstream;
        CURLM *multi;
        struct event timer;
        struct curl_passage *free;
        unsigned n_free;
};

struct socket_watch {
        struct curl *curl;
        struct event event;
};

/* A header's place in `raw`. */
struct span {
        size_t name, n_name, value, n_value;
};

struct curl_passage {
        struct passage a;
        struct curl *curl;
        CURL *easy;
        struct curl_slist *lines;
        bool running;     /* in the multi handle */
        bool connected, fresh, paused; /* fresh: a socket was made for it */

        size_t piece, at; /* of the body: what is sent next */
        int64_t body_n;

        char *raw;        /* the answer's header lines */
        size_t raw_n, raw_room, head_n;
        struct span spans[TRANSPORT_HEADERS_MAX];
        struct h1_header headers[TRANSPORT_HEADERS_MAX];
        size_t n_spans;
        const char *refused; /* why we ended it */

        char error[CURL_ERROR_SIZE];
        struct curl_passage *free_next;
};

static struct curl_passage *of(struct passage *a)
{
        return CONTAINER_OF(a, struct curl_passage, a);
}

/* ---- libcurl's callbacks ------------------------------------------------------------------------------------------------ */
static int on_new_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
        struct curl_passage *p = arg;

        (void)fd, (void)purpose;
        p->fresh = true;
        p->connected = false;
        return CURL_SOCKOPT_OK;
}

/* The connection stands, with TLS. */
static int on_ready_to_send(void *arg, char *ip, char *local_ip, int port, int local_port)
{
        struct curl_passage *p = arg;

        (void)ip, (void)local_ip, (void)port, (void)local_port;
        p->connected = true;
        p->a.t.reused = !p->fresh;
        passage_deadline(&p->a, now_us() + p->a.call.first_ms * 1000);
        return CURL_PREREQFUNC_OK;
}

static size_t on_wants_body(char *to, size_t one, size_t n, void *arg)
{
        struct curl_passage *p = arg;
        size_t done = 0;

        (void)one; /* always 1 */
        p->a.t.sent = true;
        while (done < n && p->piece < p->a.call.n_body) {
                const struct iovec *v = &p->a.call.body[p->piece];
                size_t take = MIN(n - done, v->iov_len - p->at);

                if (take > 0)
                        memcpy(to + done, (const char *)v->iov_base + p->at, take);
                done += take;
                p->at += take;
                if (p->at == v->iov_len) {
                        p->piece++;
                        p->at = 0;
                }
        }
        return done;
}

/* The request is sent again on another connection. */
static int on_seek(void *arg, curl_off_t to, int origin)
{
        struct curl_passage *p = arg;
        size_t left = (size_t)to;

        if (origin != SEEK_SET || to < 0 || to > p->body_n)
                return CURL_SEEKFUNC_FAIL;
        for (p->piece = 0; p->piece < p->a.call.n_body && left >= p->a.call.body[p->piece].iov_len; p->piece++)
                left -= p->a.call.body[p->piece].iov_len;
        p->at = left;
        return CURL_SEEKFUNC_OK;
}

static bool is_space(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* "HTTP/2 200 " */
static int read_status(const char *p, size_t n)
{
        const char *space = memchr(p, ' ', n);
        int status = 0;

        if (!space || n - (size_t)(space - p) < 4)
                return 0;
        for (int i = 1; i <= 3; i++) {
                if (space[i] < '0' || space[i] > '9')
                        return 0;
                status = 10 * status + (space[i] - '0');
        }
        return status;
}

/* As h1.c has it: what is relayed must not begin a line of its own. */
static bool has_control(const char *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (((unsigned char)p[i] < ' ' && p[i] != '\t') || p[i] == 0x7f)
                        return true;
        return false;
}

static bool keep_line(struct curl_passage *p, const char *line, size_t n)
{
        const char *colon = memchr(line, ':', n);
        size_t from, to = n;

        while (to > 0 && is_space(line[to - 1]))
                to--;
        if (!colon || colon == line || has_control(line, to) || is_space(line[0]) || is_space(colon[-1])) {
                p->refused = "a header of the answer is not 'Name: value'";
                return false;
        }
        if (p->n_spans == TRANSPORT_HEADERS_MAX) {
                p->refused = "the answer has too many headers";
                return false;
        }
        if (p->raw_n + n > p->raw_room) {
                size_t room = MAX(2 * p->raw_room, p->raw_n + n + 1024); /* bounded, as head_n is */
                char *raw = realloc(p->raw, room);

                if (!raw) {
                        p->refused = "no memory for the answer's head";
                        return false;
                }
                p->raw = raw;
                p->raw_room = room;
        }
        memcpy(p->raw + p->raw_n, line, n);
        for (from = (size_t)(colon - line) + 1; from < to && is_space(line[from]); from++)
                ;
        p->spans[p->n_spans++] = (struct span){ p->raw_n, (size_t)(colon - line), p->raw_n + from, to - from };
        p->raw_n += n;
        return true;
}

/* -1: not a length. */
static int64_t read_length(struct pm_str v)
{
        int64_t length = 0;

        if (v.n == 0 || v.n > 18)
                return -1;
        for (size_t i = 0; i < v.n; i++) {
                if (v.p[i] < '0' || v.p[i] > '9')
                        return -1;
                length = 10 * length + (v.p[i] - '0');
        }
        return length;
}

/* Refuses what could be read in two ways, as h1.c does. */
static bool took_head(struct curl_passage *p)
{
        bool coded = false;

        for (size_t i = 0; i < p->n_spans; i++) {
                const struct span *s = &p->spans[i];
                struct h1_header *h = &p->headers[i];

                *h = (struct h1_header){ { p->raw + s->name, s->n_name }, { p->raw + s->value, s->n_value } };
                coded |= h->name.n == 17 && strncasecmp(h->name.p, "transfer-encoding", 17) == 0;
                if (h->name.n != 14 || strncasecmp(h->name.p, "content-length", 14) != 0)
                        continue;
                if (p->a.t.length >= 0 || (p->a.t.length = read_length(h->value)) < 0) {
                        p->refused = "the answer's Content-Length is not one number";
                        return false;
                }
        }
        if (coded && p->a.t.length >= 0) {
                p->refused = "the answer has both Content-Length and Transfer-Encoding";
                return false;
        }
        p->a.t.headers = p->headers;
        p->a.t.n_headers = p->n_spans;
        passage_head(&p->a, now_us());
        return true;
}

/* One line a call; interim answers come first, trailers may come last. */
static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
        struct curl_passage *p = arg;
        bool ok = true;

        (void)one; /* always 1 */
        if (p->a.t.state != TRANSFER_OPENING)
                return n;
        p->head_n += n;
        if (p->head_n > p->a.call.head_max) {
                p->refused = "the answer's head is too large";
                return 0;
        }
        if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) {
                p->a.t.status = read_status(line, n);
                p->raw_n = p->n_spans = 0;
        } else if (n <= 2 && (n == 0 || is_space(line[0]))) {
                ok = p->a.t.status < 200 || took_head(p);
        } else {
                ok = keep_line(p, line, n);
        }
        return ok ? n : 0;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
        struct curl_passage *p = arg;
        int64_t now = now_us();

        (void)one; /* always 1 */
        if (p->a.t.state != TRANSFER_HEAD) {
                p->refused = "a body without a head";
                return 0;
        }
        if (evbuffer_get_length(p->a.t.in) >= p->a.call.high_water) {
                p->paused = true;
                p->a.deadline_us = DEADLINE_NONE; /* it is not the expert who is slow */
                return CURL_WRITEFUNC_PAUSE;
        }
        if (!passage_body(&p->a, data, n, now))
                return 0;
        passage_deadline(&p->a, now + p->a.call.idle_ms * 1000);
        return n;
}

/* ---- how it ended ------------------------------------------------------------------------------------------------------- */
/* libcurl's words for the error, as a clause. */
static const char *words(const struct curl_passage *p, CURLcode r)
{
        return p->error[0] ? p->error : curl_easy_strerror(r);
}

static void cut_short(struct curl_passage *p, CURLcode r)
{
        const struct transfer *t = &p->a.t;

        if (t->state == TRANSFER_OPENING && p->head_n == 0)
                passage_fail(&p->a, TRANSFER_RESET, "connection closed before any answer: %s", words(p, r));
        else if (t->state == TRANSFER_OPENING)
                passage_fail(&p->a, TRANSFER_RESET, "connection closed in the answer's head: %s", words(p, r));
        else if (t->length >= 0)
                passage_fail(&p->a, TRANSFER_RESET, "connection closed after %" PRIu64 " of %" PRId64 " bytes of the answer", p->a.body_got, t->length);
        else
                passage_fail(&p->a, TRANSFER_RESET, "connection closed after %" PRIu64 " bytes of an unfinished answer: %s", p->a.body_got, words(p, r));
}

static void fail_to_connect(struct curl_passage *p, CURLcode r)
{
        const struct endpoint *e = p->a.call.endpoint;
        char text[80];
        long error = 0;

        switch (r) {
        case CURLE_COULDNT_RESOLVE_HOST:
                passage_fail(&p->a, TRANSFER_CONNECT, "cannot resolve the name '%.80s'", e->host);
                break;
        case CURLE_COULDNT_RESOLVE_PROXY:
                passage_fail(&p->a, TRANSFER_CONNECT, "cannot resolve the proxy's name");
                break;
        case CURLE_OPERATION_TIMEDOUT:
                passage_fail(&p->a, TRANSFER_CONNECT_TIME, "not connected within %" PRId64 " ms", p->a.call.connect_ms);
                break;
        case CURLE_PEER_FAILED_VERIFICATION:
                passage_fail(&p->a, TRANSFER_CONNECT, "the certificate is not accepted: %s", words(p, r));
                break;
        case CURLE_SSL_CACERT_BADFILE:
                passage_fail(&p->a, TRANSFER_CONNECT, "the file of trusted certificates '%.80s' cannot be read", e->ca ? e->ca : "of the system");
                break;
        default:
                (void)curl_easy_getinfo(p->easy, CURLINFO_OS_ERRNO, &error);
                passage_fail(&p->a, TRANSFER_CONNECT, "%s",
                             r == CURLE_COULDNT_CONNECT && error ? errno_clause((int)error, text, sizeof text) : words(p, r));
                break;
        }
}

static void fail(struct curl_passage *p, CURLcode r)
{
        switch (r) {
        case CURLE_OUT_OF_MEMORY:
                passage_fail(&p->a, TRANSFER_MEMORY, "no memory");
                break;
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
        case CURLE_HTTP2_STREAM:
                if (strstr(p->error, "chunk")) /* libcurl's code for a chunk that is none is that of a reset, too */
                        passage_fail(&p->a, TRANSFER_PROTOCOL, "malformed chunked body");
                else if (p->connected)
                        cut_short(p, r);
                else
                        fail_to_connect(p, r);
                break;
        default:
                if (!p->connected)
                        fail_to_connect(p, r);
                else
                        passage_fail(&p->a, TRANSFER_PROTOCOL, "%s", p->refused ? p->refused : words(p, r));
                break;
        }
}

static void collect(struct curl *c)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(c->multi, &left))) {
                struct curl_passage *p;
                char *private = NULL;

                if (m->msg != CURLMSG_DONE || curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private) != CURLE_OK)
                        continue;
                p = (struct curl_passage *)(void *)private;
                if (p->a.t.state == TRANSFER_FAILED)
                        continue; /* a callback has said why */
                if (m->data.result != CURLE_OK)
                        fail(p, m->data.result);
                else if (p->a.t.state == TRANSFER_HEAD)
                        passage_done(&p->a);
                else
                        passage_fail(&p->a, TRANSFER_RESET, "connection closed in the answer's head"); /* libcurl finds that in order */
        }
}

/* ---- the loop ----------------------------------------------------------------------------------------------------------- */
static void on_socket(evutil_socket_t fd, short what, void *arg)
{
        struct socket_watch *s = arg;
        struct curl *c = s->curl;
        int running;

        (void)curl_multi_socket_action(c->multi, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0),
                                       &running); /* may free s */
        collect(c);
}

/* Never -1, which would end all transfers: without memory for an event this one waits in vain until its deadline. */
static int on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *watch)
{
        struct curl *c = arg;
        struct socket_watch *s = watch;
        short events;

        (void)easy;
        if (s)
                (void)event_del(&s->event);
        if (what == CURL_POLL_REMOVE) {
                (void)curl_multi_assign(c->multi, fd, NULL);
                free(s);
                return 0;
        }
        if (!s) {
                s = calloc(1, sizeof *s);
                if (!s)
                        return 0;
                s->curl = c;
                (void)curl_multi_assign(c->multi, fd, s);
        }
        events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
        if (event_assign(&s->event, c->upstream->worker->base, fd, events, on_socket, s) == 0)
                (void)event_add(&s->event, NULL);
        return 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct curl *c = arg;
        int running;

        (void)fd, (void)what;
        (void)curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        collect(c);
}

static int on_wants_timer(CURLM *multi, long ms, void *arg)
{
        struct timeval t = { ms / 1000, ms % 1000 * 1000 };
        struct curl *c = arg;

        (void)multi;
        if (ms < 0)
                (void)evtimer_del(&c->timer);
        else
                (void)evtimer_add(&c->timer, &t);
        return 0;
}

static void library_start(void)
{
        (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static struct curl *curl_create(struct upstream *u)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        struct curl *c = calloc(1, sizeof *c);

        (void)pthread_once(&once, library_start);
        if (!c)
                return NULL;
        c->upstream = u;
        c->multi = curl_multi_init();
        if (!c->multi || evtimer_assign(&c->timer, u->worker->base, on_timer, c) < 0) {
                (void)curl_multi_cleanup(c->multi);
                free(c);
                return NULL;
        }
        (void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
        (void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
        (void)curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_wants_timer);
        (void)curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
        (void)curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
        return c;
}

/* ---- the request -------------------------------------------------------------------------------------------------------- */
static bool add_line(struct curl_passage *p, const char *line)
{
        struct curl_slist *l = curl_slist_append(p->lines, line);

        if (!l)
                return false;
        p->lines = l;
        return true;
}

/* Ready-made lines as libcurl wants them: one string each; an empty value is written with ';'. */
static bool add_lines(struct curl_passage *p, struct pm_str lines, bool *typed)
{
        while (lines.n > 0) {
                const char *end = memmem(lines.p, lines.n, "\r\n", 2);
                size_t n = end ? (size_t)(end - lines.p) : lines.n;
                char line[LINE_MAX_BYTES], *colon;

                if (n >= sizeof line - 1) {
                        p->refused = "a header to send is longer than 16382 bytes";
                        return false;
                }
                memcpy(line, lines.p, n);
                line[n] = 0;
                colon = strchr(line, ':');
                if (colon && colon[1 + strspn(colon + 1, " \t")] == 0) {
                        colon[0] = ';';
                        colon[1] = 0;
                }
                *typed |= strncasecmp(line, "content-type:", 13) == 0;
                if (n > 0 && !add_line(p, line))
                        return false;
                n = end ? n + 2 : n;
                lines.p += n;
                lines.n -= n;
        }
        return true;
}

static bool set_headers(struct curl_passage *p)
{
        bool typed = false;

        /* What libcurl would add of its own is switched off: both transports send the same. */
        return add_line(p, "Expect:") && add_line(p, "Accept:") && add_lines(p, p->a.call.endpoint->fixed_headers, &typed) &&
               add_lines(p, p->a.call.headers, &typed) && (typed || add_line(p, "Content-Type:"));
}

#define SET(option, value)                                                                                                      \
        do {                                                                                                                     \
                if (curl_easy_setopt(p->easy, option, value) != CURLE_OK)                                                        \
                        return false;                                                                                            \
        } while (0)

/* Where to, and how the connection is made. */
static bool set_way(struct curl_passage *p)
{
        const struct upstream_call *call = &p->a.call;
        const struct endpoint *e = call->endpoint;
        bool tls = strncmp(e->url, "https:", 6) == 0;
        char url[8192];

        if ((size_t)snprintf(url, sizeof url, "%s%s%s", e->unix_path ? "http://localhost" : e->url, e->unix_path ? e->base : "",
                             call->path) >= sizeof url) {
                p->refused = "the URL is longer than 8191 bytes";
                return false;
        }
        SET(CURLOPT_URL, url);
        SET(CURLOPT_NOSIGNAL, 1l);
        SET(CURLOPT_QUICK_EXIT, 1l); /* closing must not wait for a resolver's thread */
        SET(CURLOPT_PROTOCOLS_STR, "http,https");
        SET(CURLOPT_FOLLOWLOCATION, 0l);
        SET(CURLOPT_PATH_AS_IS, 1l);
        SET(CURLOPT_TCP_NODELAY, 1l);
        SET(CURLOPT_CONNECTTIMEOUT_MS, (long)MAX(call->connect_ms, 1));
        SET(CURLOPT_MAXAGE_CONN, (long)(TRANSPORT_IDLE_US / 1000000));
        SET(CURLOPT_HTTP_VERSION, (long)(tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
        SET(CURLOPT_PIPEWAIT, 1l); /* rather one HTTP/2 connection than many */
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1l);
        SET(CURLOPT_BUFFERSIZE, 16384l);
        SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        if (e->ca) {
                SET(CURLOPT_CAINFO, e->ca);
                SET(CURLOPT_CAPATH, NULL); /* that authority, and none of the system's */
        }
        if (e->unix_path) {
                SET(CURLOPT_UNIX_SOCKET_PATH, e->unix_path);
                SET(CURLOPT_PROXY, "");
        }
        return true;
}

static bool set_request(struct curl_passage *p)
{
        SET(CURLOPT_PRIVATE, p);
        SET(CURLOPT_ERRORBUFFER, p->error);
        SET(CURLOPT_POST, 1l);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->body_n);
        SET(CURLOPT_HTTPHEADER, p->lines);
        SET(CURLOPT_READFUNCTION, on_wants_body);
        SET(CURLOPT_READDATA, p);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, p);
        SET(CURLOPT_HEADERFUNCTION, on_header);
        SET(CURLOPT_HEADERDATA, p);
        SET(CURLOPT_WRITEFUNCTION, on_body);
        SET(CURLOPT_WRITEDATA, p);
        SET(CURLOPT_SOCKOPTFUNCTION, on_new_socket);
        SET(CURLOPT_SOCKOPTDATA, p);
        SET(CURLOPT_PREREQFUNCTION, on_ready_to_send);
        SET(CURLOPT_PREREQDATA, p);
        return true;
}

/* ---- what upstream.c calls ---------------------------------------------------------------------------------------------- */
static void handle_destroy(struct curl_passage *p)
{
        curl_easy_cleanup(p->easy);
        if (p->a.t.in)
                evbuffer_free(p->a.t.in);
        free(p->raw);
        free(p);
}

void curl_destroy(struct curl *c)
{
        struct curl_passage *p;

        if (!c)
                return;
        while ((p = c->free)) {
                c->free = p->free_next;
                handle_destroy(p);
        }
        (void)curl_multi_cleanup(c->multi);
        (void)evtimer_del(&c->timer);
        free(c);
}

static struct curl_passage *handle_take(struct curl *c)
{
        struct curl_passage *p = c->free;

        if (p) {
                c->free = p->free_next;
                c->n_free--;
                return p;
        }
        p = calloc(1, sizeof *p);
        if (!p)
                return NULL;
        p->curl = c;
        p->easy = curl_easy_init();
        if (!p->easy) {
                free(p);
                return NULL;
        }
        return p;
}

static struct passage *curl_open(struct upstream *u, const struct upstream_call *call, struct wake *wake)
{
        struct curl *c = u->curl ? u->curl : (u->curl = curl_create(u));
        struct curl_passage *p = c ? handle_take(c) : NULL;
        int64_t now = now_us();

        if (!p)
                return NULL;
        if (!passage_init(&p->a, u, &curl_transport, call, wake, now)) {
                handle_destroy(p);
                return NULL;
        }
        p->running = p->connected = p->fresh = p->paused = false;
        p->piece = p->at = 0;
        p->body_n = 0;
        p->raw_n = p->head_n = p->n_spans = 0;
        p->refused = NULL;
        p->error[0] = 0;
        for (size_t i = 0; i < call->n_body; i++)
                p->body_n += (int64_t)call->body[i].iov_len;
        if (!passage_path_ok(&p->a))
                return &p->a;
        if (!set_way(p) || !set_headers(p) || !set_request(p)) {
                passage_fail(&p->a, p->refused ? TRANSFER_PROTOCOL : TRANSFER_MEMORY, "%s", p->refused ? p->refused : "no memory");
        } else if (curl_multi_add_handle(c->multi, p->easy) != CURLM_OK) {
                passage_fail(&p->a, TRANSFER_MEMORY, "no memory");
        } else {
                p->running = true;
                passage_deadline(&p->a, now + (call->connect_ms + call->first_ms) * 1000);
        }
        return &p->a;
}

static void curl_stop(struct curl_passage *p)
{
        if (!p->running)
                return;
        p->running = false;
        (void)curl_multi_remove_handle(p->curl->multi, p->easy); /* closes the connection of an unfinished one */
}

static void curl_consumed(struct passage *a)
{
        struct curl_passage *p = of(a);
        CURLcode r;

        if (!p->paused || a->t.state != TRANSFER_HEAD || evbuffer_get_length(a->t.in) >= a->call.high_water)
                return;
        p->paused = false;
        passage_deadline(a, now_us() + a->call.idle_ms * 1000);
        r = curl_easy_pause(p->easy, CURLPAUSE_CONT); /* gives on_body what was kept, which may pause again */
        if (r != CURLE_OK && a->t.state != TRANSFER_FAILED)
                fail(p, r);
}

static void curl_expired(struct passage *a, int64_t now)
{
        struct curl_passage *p = of(a);

        (void)now;
        curl_stop(p);
        if (p->connected)
                passage_fail_late(a);
        else
                fail_to_connect(p, CURLE_OPERATION_TIMEDOUT);
}

static void curl_close(struct passage *a)
{
        struct curl_passage *p = of(a);
        struct curl *c = p->curl;

        curl_stop(p);
        passage_finish(a);
        curl_slist_free_all(TAKE(p->lines));
        if (c->n_free == HANDLES_KEPT) {
                handle_destroy(p);
                return;
        }
        curl_easy_reset(p->easy);
        if (p->raw_room > RAW_KEPT) {
                free(TAKE(p->raw));
                p->raw_room = 0;
        }
        p->free_next = c->free;
        c->free = p;
        c->n_free++;
}

const struct transport curl_transport = {
        .open = curl_open,
        .consumed = curl_consumed,
        .expired = curl_expired,
        .close = curl_close,
};

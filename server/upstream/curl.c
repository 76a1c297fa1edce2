/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl.c - everything that is not plain HTTP/1.1 over TCP: TLS, HTTP/2, proxies, Unix sockets; libcurl's multi on our loop.
 *
 * libcurl says which sockets and which time to wait for; events call curl_multi_socket_action(), and what has finished is
 * collected after it has returned.  Its callbacks only store what came: none of them adds, removes or closes a transfer.  Easy
 * handles that have carried a request well are kept for further ones; connections, sessions and names live in the multi handle.
 */
#include <event2/buffer.h>
#include <event2/util.h>
#include <pthread.h>
#include <sys/socket.h>

#include "curl_parts.h"
#include "expert.h"
#include "h1.h"
#include "loop.h"

#include "base.h"

#define HANDLES_KEPT 32
#define CONNECTIONS_MAX 100000l /* open at once; what rests is bounded by endpoint and by time */

struct socket_watch {
        struct curl *curl;
        struct event event;
};

static struct curl_transfer *of(struct transfer_base *a)
{
        return CONTAINER_OF(a, struct curl_transfer, a);
}

/* ---- what rests too long ------------------------------------------------------------------------------------------------ */
/* libcurl closes what has rested too long, or was closed by the other side, only when a connection is wanted.  When no request has
 * wanted one for so long, this handle does, and is refused the socket. */
static void broom_destroy(struct curl *c)
{
        if (c->broom)
                (void)curl_multi_remove_handle(c->multi, c->broom);
        curl_easy_cleanup(TAKE(c->broom));
}

static void broom_start(struct curl *c)
{
        if (!c->broom)
                c->broom = curl_easy_init();
        if (!c->broom)
                return; /* the next time */
        if (curl_easy_setopt(c->broom, CURLOPT_URL, "http://127.0.0.1:1/") != CURLE_OK || curl_easy_setopt(c->broom, CURLOPT_NOSIGNAL, 1l) != CURLE_OK ||
            curl_easy_setopt(c->broom, CURLOPT_PROXY, "") != CURLE_OK || curl_easy_setopt(c->broom, CURLOPT_NOPROXY, "*") != CURLE_OK ||
            curl_easy_setopt(c->broom, CURLOPT_OPENSOCKETFUNCTION, curl_on_open_none) != CURLE_OK ||
            curl_easy_setopt(c->broom, CURLOPT_MAXAGE_CONN, (long)(TRANSPORT_IDLE_US / 1000000)) != CURLE_OK ||
            curl_multi_add_handle(c->multi, c->broom) != CURLM_OK)
                curl_easy_cleanup(TAKE(c->broom));
}

int64_t curl_sweep(struct curl *c, int64_t now)
{
        int64_t at = c->used_us + TRANSPORT_IDLE_US + 1000000;

        if (c->n_open == 0)
                return DEADLINE_NONE;
        if (now < at)
                return at;
        c->used_us = now;
        if (c->n_running == 0)
                curl_sockets_end(c); /* some of them were closed by the other side, which libcurl 7.88 does not see */
        if (!c->broom)
                broom_start(c);
        return now + TRANSPORT_IDLE_US;
}

/* ---- the loop ----------------------------------------------------------------------------------------------------------- */
/* libcurl looks at it on its next turn. */
static void nudge(struct curl_transfer *p)
{
        (void)curl_easy_pause(p->easy, CURLPAUSE_SEND);
        (void)curl_easy_pause(p->easy, CURLPAUSE_CONT);
}

/* A stream on that HTTP/2 connection, rather one that is not paused.  NULL: nobody. */
static struct curl_transfer *stream_on(const struct curl *c, int fd, const struct curl_transfer *but)
{
        struct curl_transfer *paused = NULL;

        for (struct transfer_base *a = c->upstream->open; a; a = a->next) {
                struct curl_transfer *p = of(a);

                if (a->transport != &curl_transport || p == but || !p->run.running || p->run.over || !p->run.h2 || p->run.fd != fd)
                        continue;
                if (!p->run.paused)
                        return p;
                paused = p;
        }
        return paused;
}

/* That a connection is at its end libcurl 7.88 tells the one transfer that has read so; the next one looks now, and so on, instead of waiting for
 * its deadline.  One that is paused looks when it goes on. */
static void tell_next(struct curl *c)
{
        struct curl_transfer *p = c->left ? stream_on(c, c->left_fd, NULL) : NULL;

        c->left = false;
        if (p && !p->run.paused)
                nudge(p);
}

void curl_left(const struct curl_transfer *p)
{
        if (!p->run.h2 || p->run.fd < 0)
                return;
        p->curl->left = true;
        p->curl->left_fd = p->run.fd;
}

static void collect(struct curl *c)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(c->multi, &left))) {
                char *private = NULL;

                if (m->msg != CURLMSG_DONE || curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private) != CURLE_OK)
                        continue;
                if (private)
                        (void)curl_ended((struct curl_transfer *)(void *)private, m->data.result);
                else
                        broom_destroy(c);
        }
        tell_next(c);
}

static const struct timeval never = { 86400, 0 };

/* Its owner is told at once, and takes it out of libcurl's hands; nobody would hear of its socket any more. */
static void deaf(struct curl_transfer *p)
{
        if (!p->run.running || p->run.over || p->a.t.state == TRANSFER_DONE || p->a.t.state == TRANSFER_FAILED)
                return;
        p->run.failed = true;
        transfer_fail(&p->a, TRANSFER_MEMORY, "out of memory to hear of its connection");
}

/* Those on that socket; -1: all, since libcurl does not say whose it could not go on with. */
static void deafen(struct curl *c, int fd)
{
        for (struct transfer_base *a = c->upstream->open; a; a = a->next)
                if (a->transport == &curl_transport && (fd < 0 || of(a)->run.fd == fd))
                        deaf(of(a));
}

static void act(struct curl *c, curl_socket_t fd, int what)
{
        int running;

        if (curl_multi_socket_action(c->multi, fd, what, &running) == CURLM_OUT_OF_MEMORY)
                deafen(c, -1);
        collect(c);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
        struct socket_watch *s = arg;

        act(s->curl, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0)); /* may free s */
}

static bool watch(struct curl *c, struct socket_watch *s, curl_socket_t fd, short events)
{
        return event_assign(&s->event, c->upstream->loop->base, fd, events, on_socket, s) == 0 && event_add(&s->event, NULL) == 0;
}

/* Never -1, which would end all transfers. */
static int on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *watched)
{
        struct curl *c = arg;
        struct socket_watch *s = watched;
        char *private = NULL;
        short events;

        curl_socket_watched(c, fd, what != CURL_POLL_REMOVE);
        if (s)
                (void)event_del(&s->event);
        if (what == CURL_POLL_REMOVE) {
                (void)curl_multi_assign(c->multi, fd, NULL);
                free(s);
                return 0;
        }
        if (!s) {
                s = calloc(1, sizeof *s);
                if (s)
                        s->curl = c;
                (void)curl_multi_assign(c->multi, fd, s);
        }
        events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
        if (s && watch(c, s, fd, events))
                return 0;
        if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private) == CURLE_OK && private)
                deaf((struct curl_transfer *)(void *)private);
        deafen(c, fd);
        return 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct curl *c = arg;

        (void)fd, (void)what;
        (void)evtimer_add(&c->timer, &never);
        act(c, CURL_SOCKET_TIMEOUT, 0);
}

/* It is set all the time: to set it anew takes no memory. */
static int on_wants_timer(CURLM *multi, long ms, void *arg)
{
        struct timeval t = { ms / 1000, ms % 1000 * 1000 };
        struct curl *c = arg;

        (void)multi;
        (void)evtimer_add(&c->timer, ms < 0 ? &never : &t);
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
        if (!c->multi || evtimer_assign(&c->timer, u->loop->base, on_timer, c) < 0 || evtimer_add(&c->timer, &never) < 0) {
                (void)curl_multi_cleanup(c->multi);
                free(c);
                return NULL;
        }
        (void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
        (void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
        (void)curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_wants_timer);
        (void)curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
        (void)curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
        return c;
}

/* ---- handles ------------------------------------------------------------------------------------------------------------ */
static void handle_destroy(struct curl_transfer *p)
{
        curl_easy_cleanup(p->easy);
        curl_slist_free_all(p->lines);
        curl_slist_free_all(p->resolve);
        h1_destroy(p->h1);
        if (p->a.t.in)
                evbuffer_free(p->a.t.in);
        free(p);
}

void curl_destroy(struct curl *c)
{
        struct curl_transfer *p;

        if (!c)
                return;
        while ((p = c->free)) {
                c->free = p->free_next;
                handle_destroy(p);
        }
        broom_destroy(c);
        (void)curl_multi_cleanup(c->multi); /* closes what rests */
        (void)evtimer_del(&c->timer);
        curl_sockets_finish(c);
        free(c->slots);
        free(c);
}

static struct curl_transfer *handle_take(struct curl *c)
{
        struct curl_transfer *p = c->free;

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

/* Only one that has done well: what libcurl left in it after anything else is not known. */
static void handle_give_back(struct curl_transfer *p)
{
        struct curl *c = p->curl;

        if (p->run.failed || p->a.t.state != TRANSFER_DONE || c->n_free == HANDLES_KEPT) {
                handle_destroy(p);
                return;
        }
        curl_easy_reset(p->easy);
        p->used = true;
        p->free_next = c->free;
        c->free = p;
        c->n_free++;
}

/* A reader whose next byte begins an answer. */
static bool reader_ready(struct curl_transfer *p, size_t head_max)
{
        if (p->h1 && p->head_max == head_max) {
                h1_reset(p->h1);
                return true;
        }
        h1_destroy(p->h1);
        p->h1 = h1_create(H1_RESPONSES, head_max, TRANSPORT_HEADERS_MAX);
        p->head_max = head_max;
        return p->h1 != NULL;
}

/* ---- requests ----------------------------------------------------------------------------------------------------------- */
struct curl_slot *curl_slot_of(struct curl_transfer *p)
{
        return &p->curl->slots[p->a.call.endpoint->state->slot];
}

static bool room_for_slot(struct curl *c, unsigned slot)
{
        unsigned n = MAX(2 * c->n_slots, slot + 8);
        struct curl_slot *slots;

        if (slot < c->n_slots)
                return true;
        slots = realloc(c->slots, n * sizeof *slots);
        if (!slots)
                return false;
        memset(slots + c->n_slots, 0, (n - c->n_slots) * sizeof *slots);
        c->slots = slots;
        c->n_slots = n;
        return true;
}

/* Gives what was kept to curl_on_body(), which may pause again. */
static void resume(struct curl_transfer *p)
{
        CURLcode r;

        p->run.paused = false;
        transfer_deadline(&p->a, now_us() + p->a.call.idle_ms * 1000);
        r = curl_easy_pause(p->easy, CURLPAUSE_CONT);
        if (r != CURLE_OK && p->a.t.state != TRANSFER_FAILED)
                curl_fail(p, r);
}

/* libcurl 7.88 leaves the RST_STREAM of a stream that is given up in a buffer until another stream sends or receives.  To go on after
 * a pause is to send: the window. */
void curl_flush(const struct curl_transfer *p)
{
        struct curl_transfer *other = p->run.h2 && p->run.fd >= 0 ? stream_on(p->curl, p->run.fd, p) : NULL;

        if (other && other->run.paused)
                resume(other);
        else if (other)
                nudge(other);
}

/* An unfinished answer is cancelled at the expert: by the end of its connection, or by RST_STREAM if others use that. */
static void stop(struct curl_transfer *p)
{
        if (!p->run.running)
                return;
        p->run.running = false;
        p->curl->n_running--;
        if (!p->run.ended)
                curl_slot_of(p)->running--;
        if (!p->run.over)
                (void)curl_no_reuse(p);
        (void)curl_multi_remove_handle(p->curl->multi, p->easy);
        if (!p->run.over)
                curl_flush(p);
}

/* What a kept handle does not take, a new one may. */
static bool request_set(struct curl_transfer *p)
{
        CURL *other;

        if (curl_request_set(p))
                return true;
        if (!p->used || !p->run.refused[0])
                return false;
        other = curl_easy_init();
        if (!other)
                return false;
        curl_easy_cleanup(p->easy);
        p->easy = other;
        p->used = false;
        p->run.refused[0] = 0;
        return curl_request_set(p);
}

static void start(struct curl_transfer *p)
{
        const struct upstream_call *call = &p->a.call;
        CURLMcode r;

        if (!request_set(p)) {
                p->run.failed = true;
                transfer_fail(&p->a, p->run.refused[0] ? TRANSFER_LOCAL : TRANSFER_MEMORY, "%s",
                             p->run.refused[0] ? p->run.refused : "out of memory for the request");
                return;
        }
        r = curl_multi_add_handle(p->curl->multi, p->easy);
        if (r != CURLM_OK) {
                p->run.failed = true;
                transfer_fail(&p->a, r == CURLM_OUT_OF_MEMORY ? TRANSFER_MEMORY : TRANSFER_LOCAL, "libcurl does not begin: %s", curl_multi_strerror(r));
                return;
        }
        p->run.running = true;
        p->curl->n_running++;
        (void)loop_clock(p->a.t.loop, now_us());
        p->run.missed_us = p->a.t.loop->missed_us;
        curl_slot_of(p)->running++;
        transfer_deadline(&p->a, now_us() + (call->connect_ms + call->first_ms) * 1000);
}

void curl_again(struct curl_transfer *p)
{
        int64_t body_n = p->run.body_n;

        stop(p);
        p->run = (struct curl_run){ .body_n = body_n, .fd = -1, .again = true };
        p->a.t.reused = false;
        h1_reset(p->h1);
        start(p);
}

static struct transfer_base *curl_open(struct upstream *u, const struct upstream_call *call, struct wake *wake)
{
        struct curl *c = u->curl ? u->curl : (u->curl = curl_create(u));
        struct curl_transfer *p = c && room_for_slot(c, call->endpoint->state->slot) ? handle_take(c) : NULL;

        if (!p)
                return NULL;
        if (!reader_ready(p, call->head_max) || !transfer_init(&p->a, u, &curl_transport, call, wake, now_us())) {
                handle_destroy(p);
                return NULL;
        }
        p->run = (struct curl_run){ .fd = -1 };
        for (size_t i = 0; i < call->n_body; i++)
                p->run.body_n += (int64_t)call->body[i].iov_len;
        if (transfer_path_ok(&p->a))
                start(p);
        return &p->a;
}

static void curl_consumed(struct transfer_base *a)
{
        struct curl_transfer *p = of(a);

        if (p->run.paused && a->t.state == TRANSFER_HEAD && evbuffer_get_length(a->t.in) < a->call.high_water)
                resume(p);
}

static void curl_expired(struct transfer_base *a, int64_t now)
{
        struct curl_transfer *p = of(a);

        if (p->run.unproved) {
                p->run.unproved = false;
                if (!upstream_socket_gone(p->run.fd)) {
                        transfer_deadline(a, MAX(p->run.sent_us + a->call.first_ms * 1000, now));
                        return;
                }
                (void)shutdown(p->run.fd, SHUT_RDWR); /* nor is it there for others */
                curl_again(p);
                return;
        }
        stop(p);
        p->run.failed = true;
        if (p->run.connected)
                transfer_fail_late(a);
        else
                curl_fail(p, CURLE_OPERATION_TIMEDOUT);
}

static void curl_close(struct transfer_base *a)
{
        struct curl_transfer *p = of(a);

        stop(p);
        transfer_finish(a);
        curl_slist_free_all(TAKE(p->lines));
        curl_slist_free_all(TAKE(p->resolve));
        p->curl->used_us = now_us();
        upstream_tick_by(a->upstream, p->curl->used_us + TRANSPORT_IDLE_US + 1000000);
        handle_give_back(p);
}

const struct transport curl_transport = {
        .open = curl_open,
        .consumed = curl_consumed,
        .expired = curl_expired,
        .close = curl_close,
};

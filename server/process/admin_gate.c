/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evhttp says neither how many connections it has nor when one ends.  So we make its bufferevents and hold one reference to each: when
 * its callbacks are gone, ours is the last.  A connection is closed by shutting its socket down, which evhttp takes for its end.
 * The descriptor is the bufferevent's (evhttp then only ends our side of the connection): closed before its bufferevent has left the loop,
 * its number would be another thread's by then.  So both go together, in the next look.
 */
#include "admin_gate.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <sys/socket.h>

#include "log.h"
#include "memory.h"
#include "throttle.h"

#include "base.h"

#define CONNECTIONS_MAX 16
#define BACKLOG 16 /* what one turn of the loop accepts */
#define LOOK_US 250000
#define UNREAD_MAX (64 * 1024) /* more than evhttp wants of a request at once */
#define REST_US 100000
#define WRONG_AT_ONCE 8
#define WRONG_WINDOW_US 10000000
#define WRONG_LATE_US 100000

struct guest {
        struct guest *next;
        struct bufferevent *bev;
        bool held, sent_away;
};

/* A wrong token that is answered later. */
struct late {
        struct late *next;
        struct admin_gate *gate;
        struct evhttp_request *req;
        struct event *timer;
        void (*answer)(struct evhttp_request *req);
};

struct admin_gate {
        struct evconnlistener *listener;
        struct event_base *base;
        struct event *resume, *look;
        struct guest *guests; /* newest first */
        struct late *late;
        unsigned wrong;       /* in this window */
        uint64_t wrong_unsaid;
        int64_t window_us, said_us;
        bool complained;
};

/* ---- connections --------------------------------------------------------------------------------------------------------- */

static bool is_over(struct bufferevent *bev)
{
        bufferevent_data_cb readable, writable;
        bufferevent_event_cb event;
        void *arg;

        bufferevent_getcb(bev, &readable, &writable, &event, &arg);
        return !readable && !writable && !event;
}

/* The callback of a failed accept() gets evhttp's argument; there is one administrative listener in a process. */
static struct admin_gate *the_gate;

static unsigned sweep(struct admin_gate *g)
{
        unsigned n = 0;

        for (struct guest **p = &g->guests; *p;) {
                struct guest *one = *p;

                if (is_over(one->bev)) {
                        *p = one->next;
                        (void)bufferevent_decref(one->bev);
                        free(one);
                        continue;
                }
                n += !one->sent_away;
                p = &one->next;
        }
        return n;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval again = { 0, LOOK_US };
        struct admin_gate *g = arg;

        (void)fd, (void)what;
        for (struct guest *one = g->guests; one; one = one->next)
                if (one->sent_away && !is_over(one->bev))
                        (void)shutdown(bufferevent_getfd(one->bev), SHUT_RDWR);
        (void)sweep(g);
        if (g->guests)
                (void)event_add(g->look, &again);
}

static void send_oldest_away(struct admin_gate *g)
{
        static const struct timeval at_once = { 0, 0 };
        struct guest *oldest = NULL;

        for (struct guest *one = g->guests; one; one = one->next)
                if (!one->held && !one->sent_away)
                        oldest = one;
        if (!oldest)
                return;
        oldest->sent_away = true;
        if (!g->complained)
                log_msg(NULL, PM_WARN, "admin: more than %d connections, the oldest ones are closed (logged once)", CONNECTIONS_MAX);
        g->complained = true;
        (void)event_add(g->look, &at_once); /* it may not have its socket yet */
}

/* evhttp has accepted a connection and wants a bufferevent for it. */
static struct bufferevent *on_guest(struct event_base *base, void *arg)
{
        static const struct timeval later = { 0, LOOK_US };
        struct admin_gate *g = arg;
        struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
        struct guest *one = bev ? calloc(1, sizeof *one) : NULL;

        if (!one || memory_read_ahead(bev, UNREAD_MAX) < 0) { /* a client may go on sending after evhttp has let go */
                free(one);
                return bev; /* NULL: evhttp tries, and fails */
        }
        if (sweep(g) >= CONNECTIONS_MAX)
                send_oldest_away(g);
        else if (!evtimer_pending(g->look, NULL))
                (void)event_add(g->look, &later);
        bufferevent_incref(bev);
        one->bev = bev;
        one->next = g->guests;
        g->guests = one;
        return bev;
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
        struct admin_gate *g = arg;

        (void)fd, (void)what;
        (void)sweep(g);
        (void)evconnlistener_enable(g->listener);
}

/* Out of descriptors: without a rest the loop would ask again at once, and write a line each time. */
static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
        static const struct timeval rest = { 0, REST_US };
        const int error = errno;
        struct admin_gate *g = the_gate;

        (void)arg;
        if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM)
                return; /* that connection is gone already */
        if (event_add(g->resume, &rest) == 0)
                (void)evconnlistener_disable(listener);
}

static struct guest *guest_of(struct admin_gate *g, struct evhttp_request *req)
{
        struct evhttp_connection *c = evhttp_request_get_connection(req);
        struct guest *one = g->guests;

        while (c && one && one->bev != evhttp_connection_get_bufferevent(c))
                one = one->next;
        return c ? one : NULL;
}

void admin_gate_hold(struct admin_gate *g, struct evhttp_request *req)
{
        struct guest *one = guest_of(g, req);

        if (one)
                one->held = true;
}

void admin_gate_release(struct admin_gate *g, struct evhttp_request *req)
{
        struct guest *one = guest_of(g, req);

        if (one)
                one->held = false;
}

/* ---- wrong tokens -------------------------------------------------------------------------------------------------------- */

static void say_wrong(struct admin_gate *g, struct evhttp_request *req, int64_t now)
{
        struct log_line l;
        char *address = NULL;
        ev_uint16_t port = 0;

        g->wrong_unsaid++;
        if (!throttle(&g->said_us, now))
                return;
        evhttp_connection_get_peer(evhttp_request_get_connection(req), &address, &port);
        log_begin(&l, NULL, PM_WARN, "admin: missing or wrong token (logged once a minute)");
        log_text(&l, "client", address);
        log_int(&l, "requests", (int64_t)g->wrong_unsaid);
        log_end(&l);
        g->wrong_unsaid = 0;
}

static void late_free(struct late *l)
{
        for (struct late **p = &l->gate->late; *p; p = &(*p)->next)
                if (*p == l) {
                        *p = l->next;
                        break;
                }
        event_free(l->timer);
        free(l);
}

static void on_left(struct evhttp_connection *connection, void *arg)
{
        (void)connection;
        late_free(arg);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
        struct late *l = arg;
        struct evhttp_request *req = l->req;
        void (*answer)(struct evhttp_request *) = l->answer;

        (void)fd, (void)what;
        evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
        late_free(l);
        answer(req);
}

void admin_gate_refuse(struct admin_gate *g, struct evhttp_request *req, void (*answer)(struct evhttp_request *req))
{
        static const struct timeval later = { 0, WRONG_LATE_US };
        int64_t now = now_us();
        struct late *l;

        if (now - g->window_us > WRONG_WINDOW_US) {
                g->window_us = now;
                g->wrong = 0;
        }
        say_wrong(g, req, now);
        l = ++g->wrong > WRONG_AT_ONCE ? calloc(1, sizeof *l) : NULL;
        if (l)
                l->timer = evtimer_new(g->base, on_late, l);
        if (!l || !l->timer || event_add(l->timer, &later) < 0) {
                if (l && l->timer)
                        event_free(l->timer);
                free(l);
                answer(req);
                return;
        }
        l->gate = g;
        l->req = req;
        l->answer = answer;
        l->next = g->late;
        g->late = l;
        evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_left, l);
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

struct admin_gate *admin_gate_create(struct evhttp *http, struct event_base *base, int fd)
{
        struct admin_gate *g = calloc(1, sizeof *g);
        struct evhttp_bound_socket *bound = NULL;

        if (g) {
                g->base = base;
                g->resume = evtimer_new(base, on_resume, g);
                g->look = evtimer_new(base, on_look, g);
        }
        if (g && g->resume && g->look && listen(fd, BACKLOG) == 0)
                bound = evhttp_accept_socket_with_handle(http, fd);
        if (!bound) {
                (void)close(fd);
                admin_gate_destroy(g);
                return NULL;
        }
        g->listener = evhttp_bound_socket_get_listener(bound);
        the_gate = g;
        evconnlistener_set_error_cb(g->listener, on_accept_failed);
        evhttp_set_bevcb(http, on_guest, g);
        return g;
}

void admin_gate_destroy(struct admin_gate *g)
{
        if (!g)
                return;
        assert(!g->late);
        while (g->guests) {
                struct guest *one = g->guests;

                g->guests = one->next;
                (void)bufferevent_decref(one->bev);
                free(one);
        }
        if (g->resume)
                event_free(g->resume);
        if (g->look)
                event_free(g->look);
        free(g);
}

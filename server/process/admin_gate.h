/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_gate.h - which connections the administrative listener serves, so that others cannot lock the administrator out.
 *
 * At most 16 connections: for one more the oldest goes, unless it waits for a reload or a removal.  Out of descriptors, it rests for a moment.  Wrong tokens
 * are in the log, with how many, and above a few in ten seconds each is answered late.  Main thread and its loop.
 */
#ifndef PM_ADMIN_GATE_H
#define PM_ADMIN_GATE_H

#include <stdbool.h>

struct admin_gate;
struct event_base;
struct evhttp;
struct evhttp_request;

/* fd listens already, and is http's from then on.  NULL: no memory, fd is closed. */
struct admin_gate *admin_gate_create(struct evhttp *http, struct event_base *base, int fd);
void admin_gate_destroy(struct admin_gate *g); /* after evhttp_free(), or before anything connected; NULL is fine */

/* This request's connection waits for something that takes its time. */
void admin_gate_hold(struct admin_gate *g, struct evhttp_request *req);
void admin_gate_release(struct admin_gate *g, struct evhttp_request *req);

/* A request with a wrong token: answer(req) follows at once or later, or never if its client leaves. */
void admin_gate_refuse(struct admin_gate *g, struct evhttp_request *req, void (*answer)(struct evhttp_request *req));
#endif

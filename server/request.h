/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - one request from its head to its log line; the steps are in request.c, in order.
 *
 * What http.c tells a request.  None of these runs a step inside the call: they record, wake, and the loop goes on.
 */
#ifndef PM_REQUEST_H
#define PM_REQUEST_H

#include "h1.h"

struct worker;
struct http_conn;
struct request;

/* A head has come.  The views in it are copied as far as they are needed.  NULL: no memory; the caller closes the connection. */
struct request *request_begin(struct worker *w, struct http_conn *c, const struct h1_head *head);
void request_body(struct request *r, const char *p, size_t n);
void request_body_end(struct request *r);
/* The body will not come as it should: an error of the grammar (status, why), or too slow (408). */
void request_body_failed(struct request *r, int status, const char *why);
/* The time to drain has passed: whoever asked is told so, in a stream by its last event, and nothing more comes. */
void request_cut_short(struct request *r);
/* The backlog has fallen: the relay may go on. */
void request_drained(struct request *r);

enum request_drop_why { DROP_CLIENT_LEFT, DROP_DEADLINE, DROP_SHUTDOWN, DROP_CLIENT_STUCK, DROP_NO_PROGRESS };
/* The one way out before the end: undoes what the request waits for, logs, frees, and tells nobody; http_request_over() is not
 * called, the connection is the caller's to close. */
void request_drop(struct request *r, enum request_drop_why why);

/* A message that never became a request (bad grammar, head too large or too slow): answered and logged once, then closed. */
void request_refuse(struct worker *w, struct http_conn *c, int status, const char *why);
#endif

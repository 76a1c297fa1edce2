/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - one request from its head to its log line; the steps are in request.c, in order.
 */
#ifndef PM_REQUEST_H
#define PM_REQUEST_H

#include "http.h"

/* What the front tells a request; its owner is a struct worker. */
extern const struct http_handler request_handler;
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* address.h - host and port from text: of endpoints, of Redis, of listeners.  Nothing is looked up. */
#ifndef PM_ADDRESS_H
#define PM_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "pm_router.h"

#define ADDRESS_HOST_MAX 253
#define ADDRESS_TEXT_MAX (ADDRESS_HOST_MAX + 9) /* "[", "]:", five digits, NUL */

struct host_port {
        char host[ADDRESS_HOST_MAX + 1]; /* small letters; an IPv6 address in its usual spelling, without brackets */
        bool v6;
        unsigned port;
};

/*
 * "host", "host:port", "[v6]" or "[v6]:port".  default_port stands for one that is not given; 0: one must be given, and it may be 0.
 * 0, or -EINVAL with a clause in *why.
 */
int address_parse(struct pm_str text, unsigned default_port, struct host_port *ret, const char **why);
/* Host and port apart, as another server wrote them: an IPv6 address has no brackets.  0 or -EINVAL. */
int address_set(struct host_port *a, struct pm_str host, long long port);
/* "host:port" or "[v6]:port" into buf, which it returns. */
const char *address_text(const struct host_port *a, char *buf, size_t n);
bool address_is_numeric(const struct host_port *a);
/* Can only this machine reach it? */
bool address_is_loopback(const struct host_port *a);
#endif

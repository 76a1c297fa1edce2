/* SPDX-License-Identifier: Apache-2.0 */
/* redis_address.h - where a Redis listens, from text: configuration, Sentinel's and Cluster's answers. */
#ifndef PM_REDIS_ADDRESS_H
#define PM_REDIS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"

#define REDIS_PORT 6379
#define REDIS_SENTINEL_PORT 26379

struct redis_address {
        char host[ADDRESS_HOST_MAX + 1]; /* a name or an address, without brackets; "": a Unix socket */
        char path[108];                /* the socket's, as long as the system takes it */
        unsigned port;
};

/* "redis://host:port", "host:port", "host", "unix:/path"; IPv6 in brackets.  0, or -EINVAL with a clause in why. */
int redis_address_parse(const char *text, unsigned default_port, struct redis_address *ret, char *why, size_t n);
/* Host and port as another server wrote them (an IPv6 address may come without brackets).  0 or -EINVAL. */
int redis_address_set(struct redis_address *a, struct pm_str host, long long port);
bool redis_address_same(const struct redis_address *a, const struct redis_address *b);
/* For people, into buf, which it returns: "127.0.0.1:6379", "[::1]:6379", "unix:/path". */
const char *redis_address_text(const struct redis_address *a, char *buf, size_t n);
#endif

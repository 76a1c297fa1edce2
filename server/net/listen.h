/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - listening sockets: addresses into file descriptors, one for each worker.
 *
 * The kernel spreads connections over the sockets of one address (SO_REUSEPORT), so workers share no queue.  The first socket of
 * an address is bound without that option: a second gateway on the same address is an error, not a silent half of the traffic.
 */
#ifndef PM_LISTEN_H
#define PM_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

struct problems;

struct tls_files {
        const char *certificate, *key; /* PEM; both or none */
        const char *ciphers;           /* for TLS 1.2; NULL: the preset's */
        bool only_13;
};

struct listener {
        const char *address; /* host:port */
        struct tls_files tls;
};

/* Room for "[address]:port". */
#define LISTEN_NAME_MAX 64

/*
 * Opens n sockets on "host:port", "[v6]:port" or "localhost:port"; with port 0 the first picks one for all.  name (LISTEN_NAME_MAX
 * bytes) gets the address as bound.  0; -errno, then nothing is open and p says why.
 */
int listen_open(const char *address, size_t n, struct problems *p, int *fds, char *name);

/* Can only this machine reach such an address? */
bool listen_is_loopback(const char *address);
#endif

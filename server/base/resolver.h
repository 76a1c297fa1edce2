/* SPDX-License-Identifier: Apache-2.0 */
/* resolver.h - libevent's resolver of names, one for each loop; made when a name is first asked for. */
#ifndef PM_RESOLVER_H
#define PM_RESOLVER_H

struct event_base;
struct evdns_base;

struct resolver {
        struct event_base *base;
        struct evdns_base *dns;
};

/* Reads /etc/hosts and /etc/resolv.conf once; without name servers names in hosts still resolve.  NULL: no memory. */
struct evdns_base *resolver_dns(struct resolver *r);
/* What is still asked fails; twice is fine. */
void resolver_finish(struct resolver *r);
#endif

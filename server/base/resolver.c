/* SPDX-License-Identifier: Apache-2.0 */
#include "resolver.h"

#include <event2/dns.h>
#include <event2/event.h>

#include "base.h"

struct evdns_base *resolver_dns(struct resolver *r)
{
        if (!r->dns) {
                r->dns = evdns_base_new(r->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
                if (r->dns)
                        (void)evdns_base_resolv_conf_parse(r->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
        }
        return r->dns;
}

void resolver_finish(struct resolver *r)
{
        if (r->dns)
                evdns_base_free(TAKE(r->dns), 1);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * browser.h - was a request sent by a web page of another origin, in a browser on this machine?
 *
 * Where no API keys are needed, everyone who can connect may send requests, and any web page can make its browser connect to loopback.  The
 * browser says where a request comes from (Origin, Sec-Fetch-Site) and which host it believes to talk to (Host).  The Host check stops DNS
 * rebinding: a name that the page's owner has pointed to this machine is not one of ours.
 */
#ifndef PM_BROWSER_H
#define PM_BROWSER_H

#include <stdbool.h>

#include "pm_router.h"

struct browser_says {
        struct pm_str host, origin, site; /* the headers' values; empty: not there */
};

/* Is it one of `origins` (or do they have "*")? */
bool browser_allowed(struct pm_str origin, const struct pm_strs *origins);
/* Is the host an address, localhost or one of `names`, whatever its port? */
bool browser_host_ok(struct pm_str host, const struct pm_strs *names);
/* The page that asks is our own, or allowed, or no page asks. */
bool browser_page_ok(const struct browser_says *s, const struct pm_strs *origins);
/* "https://app.example:8443": a scheme, a host, perhaps a port, and no path. */
bool browser_is_origin(const char *text);
#endif

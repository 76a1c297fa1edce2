/* SPDX-License-Identifier: Apache-2.0 */
/* Without API keys, requests of web pages are refused by the headers that browsers set: browser.h. */
#include "base.h"
#include "browser.h"
#include "request_parts.h"
#include "settings.h"

static enum next wrong_origin(struct request *r)
{
        struct pm_str origin = r->head->origin, site = r->head->fetch_site;

        if (!origin.n)
                return reply_error(r, 403, NULL, "origin_not_allowed", "no API keys are configured, so web pages of other origins may neither send requests nor link here, and the browser says that this request comes from one (Sec-Fetch-Site: %.*s); type the address into the browser",
                                   (int)MIN(site.n, (size_t)40), site.p ? site.p : "");
        if (!memmem(origin.p, origin.n, "://", 3))
                return reply_error(r, 403, NULL, "origin_not_allowed", "no API keys are configured, so cross-origin requests are refused, and this page has no origin of its own (Origin: %.*s), like a file or a sandboxed frame: serve it over HTTP, and add its origin to 'cors.origins'",
                                   (int)MIN(origin.n, (size_t)100), origin.p);
        return reply_error(r, 403, NULL, "origin_not_allowed", "no API keys are configured, so cross-origin requests are refused; 'cors.origins' can allow '%.*s'",
                           (int)MIN(origin.n, (size_t)100), origin.p);
}

enum next page_check(struct request *r)
{
        const struct settings *s = r->generation->settings;
        const struct h1_head *h = r->head;
        struct browser_says says = { h->host, h->origin, h->fetch_site };
        struct pm_str type;

        if (!r->generation->tenants) {
                if ((http_on_loopback(r->conn) || s->hosts.n) && !browser_host_ok(h->host, &s->hosts))
                        return reply_error(r, 403, NULL, "host_not_allowed", "no API keys are configured, so the Host must be an IP address, localhost or one of 'hosts', not '%.*s'", (int)MIN(h->host.n, (size_t)100), h->host.p ? h->host.p : "");
                if (!browser_page_ok(&says, &s->cors.origins))
                        return wrong_origin(r);
        }
        type = h->origin.n && h->method == H1_POST ? h1_header(h, "content-type") : (struct pm_str){ "application/json", 16 };
        if (type.n < 16 || strncasecmp(type.p, "application/json", 16) != 0 || (type.n > 16 && !strchr("; \t", type.p[16])))
                return reply_error(r, 415, NULL, "unsupported_content_type", "from a browser the Content-Type must be application/json");
        return GO;
}

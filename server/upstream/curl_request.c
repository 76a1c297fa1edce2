/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that libcurl gets for a request: URL, headers, body and callbacks.
 *
 * All of them are set anew for each request, and an option that fails is named: a pooled handle may refuse what a new one
 * takes (libcurl 7.88 keeps a receive buffer after some failures and on shared HTTP/2 connections, and then takes no other size).
 */
#include "curl_parts.h"
#include "expert.h"

#include "base.h"

#define LINE_MAX_BYTES 16384 /* of one request header */

/* ---- the body ----------------------------------------------------------------------------------------------------------- */
size_t curl_on_wants_body(char *to, size_t one, size_t n, void *arg)
{
        struct curl_transfer *p = arg;
        size_t done = 0;

        (void)one; /* always 1 */
        p->a.t.sent = true;
        while (done < n && p->run.piece < p->a.call.n_body) {
                const struct iovec *v = &p->a.call.body[p->run.piece];
                size_t take = MIN(n - done, v->iov_len - p->run.at);

                if (take > 0)
                        memcpy(to + done, (const char *)v->iov_base + p->run.at, take);
                done += take;
                p->run.at += take;
                if (p->run.at == v->iov_len) {
                        p->run.piece++;
                        p->run.at = 0;
                }
        }
        return done;
}

/* The request is sent again on another connection. */
int curl_on_seek(void *arg, curl_off_t to, int origin)
{
        struct curl_transfer *p = arg;
        size_t left = (size_t)to;

        if (origin != SEEK_SET || to < 0 || to > p->run.body_n)
                return CURL_SEEKFUNC_FAIL;
        for (p->run.piece = 0; p->run.piece < p->a.call.n_body && left >= p->a.call.body[p->run.piece].iov_len; p->run.piece++)
                left -= p->a.call.body[p->run.piece].iov_len;
        p->run.at = left;
        return CURL_SEEKFUNC_OK;
}

/* ---- the options -------------------------------------------------------------------------------------------------------- */
static bool add_line(struct curl_transfer *p, const char *line)
{
        struct curl_slist *l = curl_slist_append(p->lines, line);

        if (!l)
                return false;
        p->lines = l;
        return true;
}

/* Ready-made lines as libcurl wants them: one string each; an empty value is written with ';'. */
static bool add_lines(struct curl_transfer *p, struct pm_str lines, bool *typed)
{
        while (lines.n > 0) {
                const char *end = memmem(lines.p, lines.n, "\r\n", 2);
                size_t n = end ? (size_t)(end - lines.p) : lines.n;
                char line[LINE_MAX_BYTES], *colon;

                if (n >= sizeof line - 1) {
                        (void)snprintf(p->run.refused, sizeof p->run.refused, "a header to send is longer than 16382 bytes");
                        return false;
                }
                memcpy(line, lines.p, n);
                line[n] = 0;
                colon = strchr(line, ':');
                if (colon && colon[1 + strspn(colon + 1, " \t")] == 0) {
                        colon[0] = ';';
                        colon[1] = 0;
                }
                *typed |= strncasecmp(line, "content-type:", 13) == 0;
                if (n > 0 && !add_line(p, line))
                        return false;
                n = end ? n + 2 : n;
                lines.p += n;
                lines.n -= n;
        }
        return true;
}

static bool set_headers(struct curl_transfer *p)
{
        bool typed = false;

        /* What libcurl would add of its own is switched off: both transports send the same. */
        return add_line(p, "Expect:") && add_line(p, "Accept:") && add_lines(p, p->a.call.endpoint->fixed_headers, &typed) &&
               add_lines(p, p->a.call.headers, &typed) && (typed || add_line(p, "Content-Type:"));
}

static bool taken(struct curl_transfer *p, const char *option, CURLcode r)
{
        if (r == CURLE_OK)
                return true;
        if (r != CURLE_OUT_OF_MEMORY)
                (void)snprintf(p->run.refused, sizeof p->run.refused, "libcurl %s does not take %s: %s",
                               curl_version_info(CURLVERSION_NOW)->version, option, curl_easy_strerror(r));
        return false;
}

#define SET(option, value)                                                                                                      \
        do {                                                                                                                     \
                if (!taken(p, #option, curl_easy_setopt(p->easy, option, value)))                                                \
                        return false;                                                                                            \
        } while (0)

/* The environment's proxies (http_proxy, ALL_PROXY, NO_PROXY) are nobody's: keys would go where no configuration says so. */
static bool set_proxy(struct curl_transfer *p)
{
        const struct endpoint *e = p->a.call.endpoint;
        const char *proxy = e->proxy && !e->unix_path ? e->proxy : "";

        SET(CURLOPT_PROXY, proxy);
        SET(CURLOPT_NOPROXY, *proxy ? "" : "*");
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1l);
        return true;
}

/* The name could not be reached at the address that libcurl remembers. */
static bool set_moved(struct curl_transfer *p)
{
        const struct endpoint *e = p->a.call.endpoint;
        struct curl_slot *slot = curl_slot_of(p);
        char entry[300];

        if (slot->moved && !p->resolve && !e->unix_path) {
                (void)snprintf(entry, sizeof entry, "-%s:%u", e->host, e->port);
                p->resolve = curl_slist_append(NULL, entry);
                if (!p->resolve)
                        return false;
        }
        slot->moved = false;
        if (p->resolve)
                SET(CURLOPT_RESOLVE, p->resolve);
        return true;
}

/* Where to, and how the connection is made. */
static bool set_way(struct curl_transfer *p)
{
        const struct upstream_call *call = &p->a.call;
        const struct endpoint *e = call->endpoint;
        bool tls = strncmp(e->url, "https:", 6) == 0;
        char url[8192];

        if ((size_t)snprintf(url, sizeof url, "%s%s%s", e->unix_path ? "http://localhost" : e->url,
                             e->unix_path ? e->base : "", call->path) >= sizeof url) {
                (void)snprintf(p->run.refused, sizeof p->run.refused, "the URL is longer than 8191 bytes");
                return false;
        }
        SET(CURLOPT_URL, url);
        SET(CURLOPT_NOSIGNAL, 1l);
        SET(CURLOPT_QUICK_EXIT, 1l); /* closing must not wait for a resolver's thread */
        SET(CURLOPT_PROTOCOLS_STR, "http,https");
        SET(CURLOPT_FOLLOWLOCATION, 0l);
        SET(CURLOPT_PATH_AS_IS, 1l);
        SET(CURLOPT_CONNECTTIMEOUT_MS, (long)MAX(call->connect_ms, 1));
        SET(CURLOPT_MAXAGE_CONN, (long)(TRANSPORT_IDLE_US / 1000000));
        SET(CURLOPT_HTTP_VERSION, (long)(tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
        SET(CURLOPT_PIPEWAIT, 1l); /* rather one HTTP/2 connection than many */
        SET(CURLOPT_FRESH_CONNECT, p->run.again ? 1l : 0l);
        SET(CURLOPT_FORBID_REUSE, 0l);
        SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        if (e->ca) {
                SET(CURLOPT_CAINFO, e->ca);
                SET(CURLOPT_CAPATH, NULL); /* that authority, and none of the system's */
        }
        if (e->unix_path)
                SET(CURLOPT_UNIX_SOCKET_PATH, e->unix_path);
        return set_proxy(p) && set_moved(p);
}

static bool set_request(struct curl_transfer *p)
{
        SET(CURLOPT_PRIVATE, p);
        SET(CURLOPT_ERRORBUFFER, p->run.error);
        SET(CURLOPT_POST, 1l);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->run.body_n);
        SET(CURLOPT_HTTPHEADER, p->lines);
        SET(CURLOPT_HTTP_TRANSFER_DECODING, 0l); /* curl_answer.c reads the bytes as they came */
        SET(CURLOPT_HTTP_CONTENT_DECODING, 0l);
        SET(CURLOPT_READFUNCTION, curl_on_wants_body);
        SET(CURLOPT_READDATA, p);
        SET(CURLOPT_SEEKFUNCTION, curl_on_seek);
        SET(CURLOPT_SEEKDATA, p);
        SET(CURLOPT_HEADERFUNCTION, curl_on_header);
        SET(CURLOPT_HEADERDATA, p);
        SET(CURLOPT_WRITEFUNCTION, curl_on_body);
        SET(CURLOPT_WRITEDATA, p);
        SET(CURLOPT_OPENSOCKETFUNCTION, curl_on_open);
        SET(CURLOPT_OPENSOCKETDATA, p);
        SET(CURLOPT_CLOSESOCKETFUNCTION, curl_on_close);
        SET(CURLOPT_CLOSESOCKETDATA, p->curl); /* outlives the transfer_base */
        SET(CURLOPT_PREREQFUNCTION, curl_on_connected);
        SET(CURLOPT_PREREQDATA, p);
        return true;
}

bool curl_request_set(struct curl_transfer *p)
{
        return set_way(p) && (p->lines || set_headers(p)) && set_request(p);
}

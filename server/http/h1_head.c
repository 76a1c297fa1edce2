/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every byte of an accepted head is either a name, a colon, a value, blank space around a value, or a line's CR LF: whatever is
 * something else was leniency of the grammar library, and is refused here.  Names and values are looked at by words of eight
 * bytes, since this runs for each header of each message.
 */
#include "h1_head.h"

#include <ctype.h>

#include "base.h"

static int refuse(const char **why, int status, const char *sentence)
{
        *why = sentence;
        return status;
}

static uint64_t word(const char *p)
{
        uint64_t w;

        memcpy(&w, p, sizeof w);
        return w;
}

/* Lower-cases letters; '-' stays, and nothing else that a name may hold becomes a letter or '-'. */
#define FOLD 0x2020202020202020u

static bool same_name(const char *p, const char *lower, size_t n)
{
        size_t i;

        for (i = 0; i + 8 <= n; i += 8)
                if ((word(p + i) | FOLD) != word(lower + i))
                        return false;
        if (i == n)
                return true;
        return n >= 8 ? (word(p + n - 8) | FOLD) == word(lower + n - 8)
                      : (((word(p) | FOLD) ^ word(lower)) & ((UINT64_C(1) << (8 * n)) - 1)) == 0;
}

static bool same_text(struct pm_str s, const char *lower)
{
        size_t n = strlen(lower);

        return s.n == n && strncasecmp(s.p, lower, n) == 0;
}

/* Is the token in a comma-separated list? */
static bool has_token(struct pm_str list, const char *token)
{
        const char *p = list.p, *end = list.p + list.n;

        while (p < end) {
                const char *comma = memchr(p, ',', (size_t)(end - p));
                const char *to = comma ? comma : end;
                const char *next = comma ? comma + 1 : end;

                while (p < to && (*p == ' ' || *p == '\t'))
                        p++;
                while (p < to && (to[-1] == ' ' || to[-1] == '\t'))
                        to--;
                if (same_text((struct pm_str){ p, (size_t)(to - p) }, token))
                        return true;
                p = next;
        }
        return false;
}

static bool is_control(char c)
{
        return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* The grammar library looks at values, but not at their first byte, and at no byte of the lists that it reads itself. */
static bool has_control(struct pm_str s)
{
        for (size_t i = 0; i < s.n; i++)
                if (is_control(s.p[i]))
                        return true;
        return false;
}

struct facts {
        unsigned hosts;
        bool encoded, close, keep, coded_content;
};

static int read_length(struct h1_head *d, struct pm_str v, const char **why)
{
        int64_t length = 0;

        if (d->has_length)
                return refuse(why, 400, "more than one Content-Length");
        if (v.n == 0 || v.n > 18)
                return refuse(why, v.n ? 413 : 400, v.n ? "Content-Length is beyond all limits" : "Content-Length is empty");
        for (size_t i = 0; i < v.n; i++) {
                if (v.p[i] < '0' || v.p[i] > '9')
                        return refuse(why, 400, "Content-Length is not a decimal number");
                length = length * 10 + (v.p[i] - '0');
        }
        d->has_length = true;
        d->length = length;
        return 0;
}

/* The headers that matter here are told by length, then by name. */
static int learn(struct h1_head *d, struct facts *f, const struct h1_header *x, const char **why)
{
        const char *p = x->name.p;

        switch (x->name.n) {
        case 4:
                if (same_name(p, "host\0\0\0\0", 4)) {
                        f->hosts++;
                        d->host = x->value;
                }
                break;
        case 6:
                if (same_name(p, "origin\0\0", 6))
                        d->origin = x->value;
                if (same_name(p, "expect\0\0", 6))
                        d->expect_continue = same_text(x->value, "100-continue");
                break;
        case 7:
                if (same_name(p, "upgrade\0", 7))
                        d->upgrade = true;
                break;
        case 10:
                if (same_name(p, "connection", 10)) {
                        if (has_control(x->value))
                                return refuse(why, 400, "a control character in a header's value");
                        f->close |= has_token(x->value, "close");
                        f->keep |= has_token(x->value, "keep-alive");
                }
                break;
        case 14:
                if (same_name(p, "content-length", 14))
                        return read_length(d, x->value, why);
                if (same_name(p, "sec-fetch-site", 14))
                        d->fetch_site = x->value;
                break;
        case 17:
                if (same_name(p, "transfer-encoding", 17)) {
                        if (f->encoded)
                                return refuse(why, 400, "more than one Transfer-Encoding");
                        if (!same_text(x->value, "chunked"))
                                return refuse(why, 501, "a Transfer-Encoding other than one 'chunked'");
                        f->encoded = true;
                }
                break;
        case 16:
                if (same_name(p, "proxy-connection", 16) && has_control(x->value))
                        return refuse(why, 400, "a control character in a header's value");
                if (same_name(p, "x-pointsman-hops", 16) && d->hops.n == 0)
                        d->hops = x->value;
                if (same_name(p, "content-encoding", 16))
                        f->coded_content |= x->value.n > 0 && !same_text(x->value, "identity");
                break;
        default:
                break;
        }
        return 0;
}

static bool blank(const char *from, const char *to)
{
        for (; from < to; from++)
                if (*from != ' ' && *from != '\t')
                        return false;
        return true;
}

/* The bytes of a word that are below `low`, or are c, as their high bits; bits above the lowest one may be false. */
#define EACH(c) (UINT64_C(0x0101010101010101) * (uint64_t)(c))
#define HIGH EACH(0x80)
#define BYTES_BELOW(w, low) (((w) - EACH(low)) & ~(w) & HIGH)
#define BYTES_THAT_ARE(w, c) BYTES_BELOW((w) ^ EACH(c), 1)

/* The high bits of the first n bytes. */
static uint64_t first_bytes(size_t n)
{
        return n >= 8 ? HIGH : HIGH & ((UINT64_C(1) << (8 * n)) - 1);
}

static bool has_space(const char *p, size_t n)
{
        size_t i = 0;

        for (; n - i > 8; i += 8)
                if (BYTES_THAT_ARE(word(p + i), ' '))
                        return true;
        return (BYTES_THAT_ARE(word(p + i), ' ') & first_bytes(n - i)) != 0;
}

/* No space, no control, no '#', nothing above ASCII. */
static bool all_url(const char *p, size_t n)
{
        for (size_t i = 0; i < n; i += 8) {
                uint64_t w = word(p + i);

                if (((w & HIGH) | BYTES_BELOW(w, 0x21) | BYTES_THAT_ARE(w, 0x7f) | BYTES_THAT_ARE(w, '#')) & first_bytes(n - i))
                        return false;
        }
        return true;
}

/* One header line, raw[s->name .. next).  Whatever is neither name, colon, value nor space around it is a second meaning. */
static int take_line(const struct h1_raw *r, const struct h1_span *s, uint32_t next, struct h1_header *ret, const char **why)
{
        const char *name = r->raw + s->name, *colon = name + s->name_n, *end = r->raw + next - 2;
        const char *value = s->value_n ? r->raw + s->value : end;
        const char *value_end = value + s->value_n;

        if (end[0] != '\r' || end[1] != '\n')
                return refuse(why, 400, "a line does not end with CR LF");
        if (has_space(name, s->name_n) || *colon != ':')
                return refuse(why, 400, "a space in a header's name, or before its colon");
        if (!blank(colon + 1, value) || !blank(value_end, end))
                return refuse(why, 400, "a header is folded over several lines");
        while (value < value_end && (*value == ' ' || *value == '\t'))
                value++;
        while (value < value_end && (value_end[-1] == ' ' || value_end[-1] == '\t'))
                value_end--;
        if (value < value_end && is_control(*value))
                return refuse(why, 400, "a control character in a header's value");
        *ret = (struct h1_header){ { name, s->name_n }, { value, (size_t)(value_end - value) } };
        return 0;
}

/* "POST /path?query HTTP/1.1" CR LF, with single spaces.  *ret: where the headers begin. */
static int take_request_line(const struct h1_raw *r, struct h1_head *d, uint32_t *ret, const char **why)
{
        const char *target = r->raw + r->target, *end = target + r->target_n;
        const char *path = target, *query;

        if (r->target_n > H1_TARGET_MAX)
                return refuse(why, 414, "the request's target is longer than 8 KiB");
        if ((size_t)(r->raw + r->n - end) < 11 || memcmp(end, " HTTP/1.", 8) != 0 || memcmp(end + 9, "\r\n", 2) != 0) {
                if (*end == '\r' || (memcmp(end, " HTTP/", 6) == 0 && end[6] != '1'))
                        return refuse(why, 505, "the HTTP version is not 1.0 or 1.1");
                return refuse(why, 400, "the request line is not 'METHOD TARGET HTTP/1.1' with single spaces and CR LF");
        }
        if (end[8] != '0' && end[8] != '1')
                return refuse(why, 505, "the HTTP version is not 1.0 or 1.1");
        if (r->target < 2 || target[-1] != ' ' || target[-2] == ' ')
                return refuse(why, 400, "the request line is not 'METHOD TARGET HTTP/1.1' with single spaces and CR LF");
        if (!all_url(target, r->target_n))
                return refuse(why, 400, "the request's target holds a byte that must be percent-encoded");
        query = memchr(target, '?', r->target_n);
        if (*target != '/' && *target != '*') { /* http://host/path */
                const char *slashes = memmem(target, r->target_n, "://", 3);
                const char *to = query ? query : end;

                if (!slashes || slashes > to)
                        return refuse(why, 400, "the request's target is neither a path nor a URL");
                slashes = memchr(slashes + 3, '/', (size_t)(to - slashes - 3));
                path = slashes ? slashes : to;
        }
        d->minor = end[8] - '0';
        d->method = r->method;
        d->method_text = (struct pm_str){ r->raw, r->target - 1 };
        d->target = (struct pm_str){ target, r->target_n };
        d->path = (struct pm_str){ path, (size_t)((query ? query : end) - path) };
        d->query = query ? (struct pm_str){ query + 1, (size_t)(end - query - 1) } : (struct pm_str){ end, 0 };
        if (d->path.n == 0)
                d->path = (struct pm_str){ "/", 1 };
        *ret = r->target + r->target_n + 11;
        return 0;
}

static int take_status_line(const struct h1_raw *r, struct h1_head *d, uint32_t *ret, const char **why)
{
        const char *lf = memchr(r->raw, '\n', r->n);

        if (!lf || lf - r->raw < 13 || lf[-1] != '\r' || memcmp(r->raw, "HTTP/1.", 7) != 0 || r->raw[8] != ' ' ||
            (r->raw[7] != '0' && r->raw[7] != '1') || r->status < 100 || r->status > 999 ||
            !isdigit((unsigned char)r->raw[11]) || (r->raw[12] != ' ' && r->raw[12] != '\r'))
                return refuse(why, 400, "the status line is not 'HTTP/1.1 CODE REASON' with CR LF");
        d->minor = r->raw[7] - '0';
        d->status = r->status;
        *ret = (uint32_t)(lf + 1 - r->raw);
        return 0;
}

static int take_headers(const struct h1_raw *r, struct h1_head *d, uint32_t at, struct facts *f, const char **why)
{
        uint32_t last = (uint32_t)r->n - 2;
        int e;

        if (r->raw[last] != '\r' || r->raw[last + 1] != '\n')
                return refuse(why, 400, "a line does not end with CR LF");
        for (size_t i = 0; i < r->n_spans; i++) {
                const struct h1_span *s = &r->spans[i];

                if (s->name != at)
                        return refuse(why, 400, "a header line does not begin with a name");
                at = i + 1 < r->n_spans ? s[1].name : last;
                e = take_line(r, s, at, &r->headers[i], why);
                if (e == 0)
                        e = learn(d, f, &r->headers[i], why);
                if (e != 0)
                        return e;
        }
        if (at != last)
                return refuse(why, 400, "a header line does not begin with a name");
        d->headers = r->headers;
        d->n_headers = r->n_spans;
        return 0;
}

static inline bool is_host_name(char c)
{
        return (unsigned char)((c | 0x20) - 'a') < 26 || (unsigned char)(c - '0') < 10 || c == '.' || c == '-' || (c && strchr("_~!$&'()*+,;=%", c));
}

/* A name or an address and perhaps a port: nothing that another reader could take for a path, a user or a second host. */
static bool is_host(struct pm_str s)
{
        static const char six[] = "0123456789abcdefABCDEF:.";
        const char *p = s.n ? s.p : six, *end = p + s.n; /* an empty one has no place */

        if (p < end && *p == '[') {
                for (p++; p < end && *p && strchr(six, *p);)
                        p++;
                if (p == end || *p++ != ']')
                        return false;
        } else {
                while (p < end && *p != ':' && is_host_name(*p))
                        p++;
        }
        if (p < end && *p == ':')
                for (p++; p < end && isdigit((unsigned char)*p);)
                        p++;
        return p == end;
}

/* How the message ends, as far as its head says. */
static int take_framing(const struct h1_raw *r, struct h1_head *d, const struct facts *f, const char **why)
{
        bool request = r->side == H1_REQUESTS;

        if (f->encoded && d->has_length)
                return refuse(why, 400, "both Content-Length and Transfer-Encoding");
        if (f->encoded && d->minor == 0)
                return refuse(why, 400, "Transfer-Encoding in HTTP/1.0");
        if (request && (f->hosts > 1 || (f->hosts == 0 && d->minor == 1)))
                return refuse(why, 400, f->hosts ? "more than one Host" : "the Host header is missing");
        if (!request && f->coded_content && d->status >= 200 && d->status < 300)
                return refuse(why, 400, "a Content-Encoding, which was not asked for"); /* any other status says enough without its body */
        if (request && !is_host(d->host))
                return refuse(why, 400, "the Host header is not a host with or without a port");
        d->chunked = f->encoded;
        d->keep_alive = d->minor == 1 ? !f->close : f->keep && !f->close;
        d->expect_continue = d->expect_continue && request && d->minor == 1;
        return 0;
}

int h1_head_take(const struct h1_raw *r, struct h1_head *ret, const char **why)
{
        struct facts f = { 0 };
        uint32_t at;
        int e;

        *ret = (struct h1_head){ .length = -1 };
        e = r->side == H1_REQUESTS ? take_request_line(r, ret, &at, why) : take_status_line(r, ret, &at, why);
        if (e == 0)
                e = take_headers(r, ret, at, &f, why);
        return e ? e : take_framing(r, ret, &f, why);
}

const char *h1_reason(int status)
{
        switch (status) {
        case 100: return "Continue";
        case 200: return "OK";
        case 201: return "Created";
        case 202: return "Accepted";
        case 204: return "No Content";
        case 206: return "Partial Content";
        case 301: return "Moved Permanently";
        case 302: return "Found";
        case 304: return "Not Modified";
        case 307: return "Temporary Redirect";
        case 308: return "Permanent Redirect";
        case 400: return "Bad Request";
        case 401: return "Unauthorized";
        case 402: return "Payment Required";
        case 403: return "Forbidden";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 406: return "Not Acceptable";
        case 408: return "Request Timeout";
        case 409: return "Conflict";
        case 411: return "Length Required";
        case 413: return "Content Too Large";
        case 414: return "URI Too Long";
        case 415: return "Unsupported Media Type";
        case 417: return "Expectation Failed";
        case 422: return "Unprocessable Content";
        case 429: return "Too Many Requests";
        case 431: return "Request Header Fields Too Large";
        case 499: return "Client Closed Request";
        case 500: return "Internal Server Error";
        case 501: return "Not Implemented";
        case 502: return "Bad Gateway";
        case 503: return "Service Unavailable";
        case 504: return "Gateway Timeout";
        case 505: return "HTTP Version Not Supported";
        case 508: return "Loop Detected";
        case 529: return "Overloaded";
        default: return status < 200 ? "Informational" : status < 300 ? "Success" : status < 400 ? "Redirect"
                        : status < 500 ? "Client Error" : "Server Error";
        }
}

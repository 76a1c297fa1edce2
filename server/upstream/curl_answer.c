/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes by libcurl, and how it ended.
 *
 * One reader for both transports: h1.c.  libcurl is told to leave transfer codings alone (it still looks for the last chunk), so the
 * header lines and the body's bytes come here as they were on the wire and go through the same rules as http1.c's.  The lines that
 * libcurl makes of an HTTP/2 head are given the status line of HTTP/1.1 and go the same way.  So an answer is judged alike whatever
 * brought it, and nothing is decoded that has not been judged.
 */
#include <event2/buffer.h>

#include "curl_parts.h"
#include "expert.h"
#include "h1.h"
#include "text.h"

#include "base.h"

static bool take_head(struct curl_transfer *p)
{
        const struct h1_head *h = h1_head(p->h1);

        p->a.t.status = h->status;
        p->a.t.headers = h->headers;
        p->a.t.n_headers = h->n_headers;
        p->a.t.length = h->has_length ? h->length : -1;
        transfer_head(&p->a, now_us());
        if (h->status >= 200)
                return true;
        transfer_fail(&p->a, TRANSFER_PROTOCOL, "its answer is %d, which was not asked for", h->status);
        return false;
}

/* Those that are open and not in use at this one's endpoint, its own included, are more than may rest. */
static bool enough_rest(struct curl_transfer *p)
{
        const struct curl_slot *slot = curl_slot_of(p);

        return (int64_t)slot->open - slot->running > p->a.call.endpoint->idle_max;
}

bool curl_no_reuse(struct curl_transfer *p)
{
        return curl_easy_setopt(p->easy, CURLOPT_FORBID_REUSE, 1l) == CURLE_OK;
}

/* The transfer has failed, and libcurl resets the stream: see stop(). */
static size_t refuse(struct curl_transfer *p)
{
        (void)curl_no_reuse(p); /* the expert hears of it later */
        return 0;
}

/* False: the transfer has failed. */
static bool feed(struct curl_transfer *p, const char *data, size_t n)
{
        int64_t now = now_us();

        for (;;) {
                struct pm_str piece;
                const char *why;
                size_t used;

                switch (h1_feed(p->h1, data, n, &used, &piece)) {
                case H1_HEAD:
                        if (!take_head(p))
                                return false;
                        break;
                case H1_BODY:
                        if (!transfer_body(&p->a, piece.p, piece.n, now))
                                return false;
                        break;
                case H1_END:
                        if (!p->run.ended)
                                curl_slot_of(p)->running--;
                        p->run.ended = true;
                        /* More bytes than the answer, or no way to see that there are none: libcurl drops what lies behind an empty body. */
                        if (!p->run.h2 && (n > used || p->a.body_got == 0 || enough_rest(p)) && !curl_no_reuse(p)) {
                                transfer_fail(&p->a, TRANSFER_PROTOCOL, "more bytes than its answer");
                                return false;
                        }
                        return true;
                case H1_ERROR:
                        (void)h1_error(p->h1, &why);
                        transfer_fail(&p->a, TRANSFER_PROTOCOL, "its answer is not HTTP: %s", why);
                        return false;
                case H1_MORE:
                        return true;
                }
                data += used;
                n -= used;
        }
}

/* One line a call; interim answers come first, trailers of HTTP/2 may come last. */
size_t curl_on_header(char *line, size_t one, size_t n, void *arg)
{
        static const char h2[] = "HTTP/2 ", h1[] = "HTTP/1.1 ";
        struct curl_transfer *p = arg;

        (void)one; /* always 1 */
        p->run.head_n += n;
        if (p->run.unproved) { /* there is somebody */
                p->run.unproved = false;
                transfer_deadline(&p->a, p->run.sent_us + p->a.call.first_ms * 1000);
        }
        if (p->run.head_n > p->a.call.head_max) {
                transfer_fail(&p->a, TRANSFER_PROTOCOL, "its answer is not HTTP: the message's head is too large");
                return refuse(p);
        }
        if (p->a.t.state != TRANSFER_OPENING)
                return n;
        if (p->run.h2 && n >= sizeof h2 - 1 && memcmp(line, h2, sizeof h2 - 1) == 0) {
                if (!feed(p, h1, sizeof h1 - 1))
                        return refuse(p);
                return feed(p, line + sizeof h2 - 1, n - (sizeof h2 - 1)) ? n : refuse(p);
        }
        return feed(p, line, n) ? n : refuse(p);
}

size_t curl_on_body(char *data, size_t one, size_t n, void *arg)
{
        struct curl_transfer *p = arg;

        (void)one; /* always 1 */
        if (evbuffer_get_length(p->a.t.in) >= p->a.call.high_water) {
                p->run.paused = true;
                p->a.deadline_us = DEADLINE_NONE; /* it is not the expert who is slow */
                return CURL_WRITEFUNC_PAUSE;
        }
        if (!feed(p, data, n))
                return refuse(p);
        if (p->a.t.first_byte_us)
                transfer_deadline(&p->a, now_us() + p->a.call.idle_ms * 1000);
        return n;
}

/* ---- how it ended ------------------------------------------------------------------------------------------------------- */
/* libcurl's words for the error, as a clause. */
static const char *words(const struct curl_transfer *p, CURLcode r)
{
        return p->run.error[0] ? p->run.error : curl_easy_strerror(r);
}

static void cut_short(struct curl_transfer *p, CURLcode r)
{
        const struct transfer *t = &p->a.t;

        if (t->state == TRANSFER_OPENING && p->run.head_n == 0)
                transfer_fail(&p->a, TRANSFER_RESET, "connection closed before any answer: %s", words(p, r));
        else if (t->state == TRANSFER_OPENING)
                transfer_fail(&p->a, TRANSFER_RESET, "connection closed in the answer's head: %s", words(p, r));
        else if (t->length >= 0)
                transfer_fail(&p->a, TRANSFER_RESET, "connection closed after %" PRIu64 " of %" PRId64 " bytes of the answer", p->a.body_got, t->length);
        else
                transfer_fail(&p->a, TRANSFER_RESET, "connection closed after %" PRIu64 " bytes of an unfinished answer: %s", p->a.body_got, words(p, r));
}

static void fail_to_connect(struct curl_transfer *p, CURLcode r)
{
        const struct endpoint *e = p->a.call.endpoint;
        char text[80];
        long error = p->run.os_error;

        if (!error)
                (void)curl_easy_getinfo(p->easy, CURLINFO_OS_ERRNO, &error);
        if (p->run.os_error || (r == CURLE_COULDNT_CONNECT && upstream_errno_is_local((int)error))) {
                transfer_fail(&p->a, TRANSFER_LOCAL, "this machine cannot open another connection: %s", errno_clause((int)error, text, sizeof text));
                return;
        }
        if (r != CURLE_COULDNT_CONNECT && r != CURLE_OPERATION_TIMEDOUT && (error = upstream_descriptors_short()) != 0) {
                transfer_fail(&p->a, TRANSFER_LOCAL, "this machine cannot open another file: %s", errno_clause((int)error, text, sizeof text));
                return;
        }
        curl_slot_of(p)->moved = true;
        switch (r) {
        case CURLE_COULDNT_RESOLVE_HOST:
                transfer_fail(&p->a, TRANSFER_CONNECT, "cannot resolve the name '%.80s'", e->host);
                break;
        case CURLE_COULDNT_RESOLVE_PROXY:
                transfer_fail(&p->a, TRANSFER_CONNECT, "cannot resolve the proxy's name");
                break;
        case CURLE_OPERATION_TIMEDOUT:
                transfer_fail(&p->a, TRANSFER_CONNECT_TIME, "connect timeout: not connected within %" PRId64 " ms", p->a.call.connect_ms);
                break;
        case CURLE_PEER_FAILED_VERIFICATION:
                transfer_fail(&p->a, TRANSFER_CONNECT, "certificate verification failed: %s", words(p, r));
                break;
        case CURLE_SSL_CACERT_BADFILE:
                transfer_fail(&p->a, TRANSFER_CONNECT, "the file of trusted certificates '%.80s' cannot be read", e->ca ? e->ca : "of the system");
                break;
        case CURLE_OUT_OF_MEMORY:
                transfer_fail(&p->a, TRANSFER_MEMORY, "out of memory for a connection");
                break;
        default:
                transfer_fail(&p->a, TRANSFER_CONNECT, "%s",
                             r == CURLE_COULDNT_CONNECT && error ? errno_clause((int)error, text, sizeof text) : words(p, r));
                break;
        }
}

void curl_fail(struct curl_transfer *p, CURLcode r)
{
        if (!p->run.connected) {
                fail_to_connect(p, r);
                return;
        }
        switch (r) {
        case CURLE_OUT_OF_MEMORY: /* libcurl's code for a line beyond its bounds, too, which are wider than ours */
                transfer_fail(&p->a, TRANSFER_PROTOCOL, "its answer is not HTTP: a line of its head or its trailers is too long");
                break;
        case CURLE_HTTP2_STREAM:
                if (strstr(p->run.error, "PROTOCOL_ERROR")) /* nghttp2 has refused a malformed head, or a length that does not hold */
                        transfer_fail(&p->a, TRANSFER_PROTOCOL, "its answer is not HTTP: %s", words(p, r));
                else
                        cut_short(p, r);
                break;
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
                if (strstr(p->run.error, "chunk")) /* libcurl's code for a chunk that is none is that of a reset, too */
                        transfer_fail(&p->a, TRANSFER_PROTOCOL, "its answer is not HTTP: malformed chunked body");
                else
                        cut_short(p, r);
                break;
        default:
                transfer_fail(&p->a, TRANSFER_PROTOCOL, "its answer is not HTTP: %s", words(p, r));
                break;
        }
}

/* The connection is at its end, whatever libcurl calls it: over HTTP/2 it takes no further stream (GOAWAY), was ended for what came on another, or
 * was closed. */
static bool connection_ended(const struct curl_transfer *p, CURLcode r)
{
        return r == CURLE_SEND_ERROR || r == CURLE_RECV_ERROR || r == CURLE_GOT_NOTHING || r == CURLE_HTTP2 ||
               strstr(p->run.error, "end of the underlying stream");
}

/* A kept connection was closed before any byte of an answer came, as the plain transport sees it. */
static bool was_stale(const struct curl_transfer *p, CURLcode r)
{
        return p->a.t.reused && p->run.connected && !p->run.again && p->run.head_n == 0 && p->a.t.state == TRANSFER_OPENING && connection_ended(p, r);
}

/* libcurl's timer does not know of loop_clock(): the time was over while the loop did not turn. */
static bool was_missed(const struct curl_transfer *p, CURLcode r)
{
        (void)loop_clock(p->a.t.loop, now_us());
        return r == CURLE_OPERATION_TIMEDOUT && !p->run.connected && !p->run.again && p->a.t.loop->missed_us != p->run.missed_us;
}

bool curl_ended(struct curl_transfer *p, CURLcode r)
{
        p->run.over = true;
        if (connection_ended(p, r))
                curl_left(p);
        if (p->a.t.state == TRANSFER_FAILED) { /* a callback has said why */
                curl_flush(p);
                return true;
        }
        if ((r == CURLE_ABORTED_BY_CALLBACK && p->run.again && p->run.sent_us == 0) || was_stale(p, r) || was_missed(p, r)) {
                curl_again(p);
                return false;
        }
        p->run.failed = r != CURLE_OK;
        if (p->a.t.state == TRANSFER_HEAD && p->run.ended)
                transfer_done(&p->a);
        else if (r != CURLE_OK)
                curl_fail(p, r);
        else if (p->a.t.state == TRANSFER_HEAD && h1_eof(p->h1) == H1_END)
                transfer_done(&p->a);
        else
                cut_short(p, CURLE_PARTIAL_FILE); /* libcurl finds that in order */
        return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The front with TLS on its listener, and certificates that are replaced. */
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "http_fixture.h"

#include "base.h"

static char certificate_file[64], key_file[64];

/* A certificate for `name`, signed by itself. */
static void make_certificate(const char *name)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *x = X509_new();
        FILE *f;

        cr_assert(key && x);
        (void)ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        (void)X509_gmtime_adj(X509_getm_notBefore(x), 0);
        (void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
        (void)X509_set_pubkey(x, key);
        (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
        (void)X509_set_issuer_name(x, X509_get_subject_name(x));
        cr_assert_gt(X509_sign(x, key, EVP_sha256()), 0);
        f = fopen(certificate_file, "we");
        cr_assert(f && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
        f = fopen(key_file, "we");
        cr_assert(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
        X509_free(x);
        EVP_PKEY_free(key);
}

static void start_tls(void)
{
        (void)snprintf(certificate_file, sizeof certificate_file, "/tmp/pm-http-%d.pem", (int)getpid());
        (void)snprintf(key_file, sizeof key_file, "/tmp/pm-http-%d.key", (int)getpid());
        make_certificate("first");
        listener.tls = (struct tls_files){ .certificate = certificate_file, .key = key_file };
        start();
}

static void stop_tls(void)
{
        stop();
        (void)unlink(certificate_file);
        (void)unlink(key_file);
}

TestSuite(http_tls, .init = start_tls, .fini = stop_tls, .timeout = 30);

struct secure {
        struct client *c;
        SSL_CTX *ctx;
        SSL *ssl;
};

static void tls_wait(struct secure *s, int r, int64_t end)
{
        int e = SSL_get_error(s->ssl, r);

        cr_assert(e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE, "TLS error %d", e);
        cr_assert_lt(now_us(), end);
        turn();
}

static void tls_dial(struct secure *s, const char *protocols)
{
        int64_t end = now_us() + 8000000;
        int r;

        s->c = dial(&the_client);
        s->ctx = SSL_CTX_new(TLS_client_method());
        s->ssl = SSL_new(s->ctx);
        if (protocols)
                (void)SSL_set_alpn_protos(s->ssl, (const unsigned char *)protocols, (unsigned)strlen(protocols));
        (void)SSL_set_fd(s->ssl, s->c->fd);
        while ((r = SSL_connect(s->ssl)) != 1)
                tls_wait(s, r, end);
}

static void tls_say(struct secure *s, const char *text)
{
        int64_t end = now_us() + 8000000;
        int r;

        while ((r = SSL_write(s->ssl, text, (int)strlen(text))) <= 0)
                tls_wait(s, r, end);
}

static void tls_expect(struct secure *s, const char *text)
{
        struct client *c = s->c;
        int64_t end = now_us() + 8000000;
        char *at;

        while (!(at = memmem(c->got, c->n, text, strlen(text)))) {
                int r = SSL_read(s->ssl, c->got + c->n, (int)(sizeof c->got - 1 - c->n));

                if (r > 0)
                        c->n += (size_t)r;
                else
                        tls_wait(s, r, end);
        }
        at += strlen(text);
        c->n -= (size_t)(at - c->got);
        memmove(c->got, at, c->n);
}

/* true: a proper end. */
static bool tls_end(struct secure *s)
{
        int64_t end = now_us() + 8000000;

        for (;;) {
                char one[256];
                int r = SSL_read(s->ssl, one, sizeof one), e = SSL_get_error(s->ssl, r);

                if (r > 0)
                        continue;
                if (e == SSL_ERROR_ZERO_RETURN)
                        return true;
                if (e != SSL_ERROR_WANT_READ)
                        return false;
                cr_assert_lt(now_us(), end);
                turn();
        }
}

static void tls_hang_up(struct secure *s)
{
        SSL_free(s->ssl);
        SSL_CTX_free(s->ctx);
        hang_up(s->c);
}

Test(http_tls, requests)
{
        struct secure s;
        const unsigned char *chosen;
        unsigned n;

        tls_dial(&s, "\x02h2\x08http/1.1");
        SSL_get0_alpn_selected(s.ssl, &chosen, &n);
        cr_assert(n == 8 && memcmp(chosen, "http/1.1", 8) == 0);
        cr_assert_geq(SSL_version(s.ssl), TLS1_2_VERSION);
        tls_say(&s, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello");
        tls_expect(&s, "\r\n\r\nhello");
        tls_say(&s, "GET /big HTTP/1.1\r\n" H "\r\nPOST /echo HTTP/1.1\r\n" H
                    "Content-Length: 1\r\n\r\n2GET /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
        tls_expect(&s, "\n999 ");
        tls_expect(&s, "\r\n\r\n2HTTP/1.1 200 OK\r\n");
        tls_expect(&s, "Connection: close\r\n\r\n");
        cr_assert(tls_end(&s), "close_notify before the end");
        tls_hang_up(&s);
        TURN_UNTIL(http_connections(front) == 0);
}

Test(http_tls, streams_and_backlog)
{
        struct secure s;
        size_t all = 0;

        tls_dial(&s, NULL);
        tls_say(&s, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        tls_expect(&s, "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        fill_backlog(held->conn);
        while (drained == 0) {
                int r;

                turn();
                r = SSL_read(s.ssl, s.c->got, sizeof s.c->got - 1);
                all += r > 0 ? (size_t)r : 0;
                cr_assert_lt(all, 100u << 20);
        }
        cr_assert_leq(http_backlog(held->conn), 65536 / 4);
        http_stream_end(held->conn, true);
        request_finish(held);
        s.c->n = 0;
        tls_expect(&s, "\r\n0\r\n\r\n");
        tls_say(&s, "GET /hold HTTP/1.1\r\n" H "\r\n");
        TURN_UNTIL(held);
        tls_hang_up(&s);
        TURN_UNTIL(dropped == 1);
        cr_assert_eq(drop_why, DROP_CLIENT_LEFT);
        cr_assert_eq(http_connections(front), 0);
}

Test(http_tls, cut_of_an_old_stream_has_no_close_notify)
{
        struct secure s;

        tls_dial(&s, NULL);
        tls_say(&s, "GET /hold HTTP/1.0\r\n\r\n");
        TURN_UNTIL(held && held->body_end);
        http_stream_begin(held->conn, &ok, -1);
        http_stream_data(held->conn, "one", 3);
        tls_expect(&s, "\r\n\r\none");
        http_stream_end(held->conn, false);
        request_finish(held);
        cr_assert_not(tls_end(&s));
        tls_hang_up(&s);
}

Test(http_tls, early_answer_and_garbage)
{
        struct client *c = &the_client;
        struct secure s;

        tls_dial(&s, NULL);
        tls_say(&s, "POST /early HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\nabc");
        tls_expect(&s, "Connection: close\r\n\r\nearly");
        cr_assert(tls_end(&s));
        tls_hang_up(&s);
        dial(c);
        say(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        expect_eof(c);
        hang_up(c);
        TURN_UNTIL(http_connections(front) == 0);
        cr_assert_eq(begun, 1);
        cr_assert_eq(refused, 0);
}

static void expect_name(const char *wanted)
{
        char name[32];
        struct secure s;
        X509 *x;

        tls_dial(&s, NULL);
        x = SSL_get1_peer_certificate(s.ssl);
        cr_assert_gt(X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name), 0);
        cr_assert_str_eq(name, wanted);
        X509_free(x);
        tls_hang_up(&s);
}

Test(http_tls, reload)
{
        const char *why = NULL;

        expect_name("first");
        make_certificate("second");
        cr_assert_eq(http_set_certificates(front, &listener, 1, &why), 0);
        expect_name("second");
        cr_assert_eq(truncate(certificate_file, 10), 0);
        cr_assert_lt(http_set_certificates(front, &listener, 1, &why), 0);
        cr_assert(strstr(why, certificate_file), "%s", why);
        expect_name("second");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL reads the files and reports what is wrong.  A missing or unreadable file is found first and reported with the system's error.
 * A key with a passphrase is refused: OpenSSL would ask for it on the terminal, and a service has none.
 */
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "tlsfiles.h"

#include "base.h"

static void certificate_free(X509 **x)
{
        X509_free(*x);
}

static void key_free(EVP_PKEY **k)
{
        EVP_PKEY_free(*k);
}

static FILE *open_file(const char *file, char *why, size_t n)
{
        struct stat st;
        FILE *f = NULL;

        if (stat(file, &st) == 0 && !S_ISREG(st.st_mode)) { /* a pipe or a device could keep us for ever */
                (void)snprintf(why, n, "cannot read '%s': it is not a file", file);
                return NULL;
        }
        f = fopen(file, "re");
        if (!f)
                (void)snprintf(why, n, "cannot read '%s': %s", file, ERRNO_TEXT(errno));
        return f;
}

static int no_passphrase(char *buf, int size, int writing, void *arg)
{
        (void)buf;
        (void)size;
        (void)writing;
        *(bool *)arg = true;
        return -1;
}

static EVP_PKEY *read_key(FILE *f, bool *ret_asked)
{
        errno = 0;
        return PEM_read_PrivateKey(f, NULL, no_passphrase, ret_asked);
}

const char *tlsfiles_error(int *ret)
{
        unsigned long e, last = 0;
        bool nothing;

        *ret = errno == ENOMEM ? -ENOMEM : -EINVAL;
        while ((e = ERR_get_error()) != 0) {
                if (ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE)
                        *ret = -ENOMEM;
                last = e;
        }
        nothing = last == 0 || ERR_GET_REASON(last) == PEM_R_NO_START_LINE || ERR_GET_REASON(last) == ERR_R_UNSUPPORTED;
        return *ret == -ENOMEM ? "out of memory" : nothing ? NULL : ERR_reason_error_string(last);
}

static int refuse(const char *file, const char *what, char *why, size_t n)
{
        int r;
        const char *reason = tlsfiles_error(&r);

        if (r == -ENOMEM) {
                (void)snprintf(why, n, "cannot read '%s': out of memory", file);
                return r;
        }
        (void)snprintf(why, n, "'%s' holds no %s in PEM form%s%s%s", file, what, reason ? " (" : "", reason ? reason : "", reason ? ")" : "");
        return -EINVAL;
}

static X509 *read_certificate(FILE *f)
{
        errno = 0;
        return PEM_read_X509(f, NULL, NULL, NULL);
}

int tlsfiles_certificate(const char *file, char *why, size_t n)
{
        CLEANUP(fclose_p) FILE *f = open_file(file, why, n);
        CLEANUP(certificate_free) X509 *x = f ? read_certificate(f) : NULL;

        if (!f)
                return -EINVAL;
        return x ? 0 : refuse(file, "certificate", why, n);
}

int tlsfiles_authorities(const char *file, char *why, size_t n)
{
        return tlsfiles_certificate(file, why, n);
}

int tlsfiles_key(const char *file, char *why, size_t n)
{
        bool asked = false;
        CLEANUP(fclose_p) FILE *f = open_file(file, why, n);
        CLEANUP(key_free) EVP_PKEY *k = f ? read_key(f, &asked) : NULL;

        if (!f)
                return -EINVAL;
        if (!k && asked) {
                ERR_clear_error();
                (void)snprintf(why, n, "'%s' has a passphrase, which cannot be entered here: store it without one (openssl pkey)", file);
                return -EINVAL;
        }
        return k ? 0 : refuse(file, "private key", why, n);
}

int tlsfiles_pair(const char *certificate, const char *key)
{
        bool asked = false;
        char why[8];
        CLEANUP(fclose_p) FILE *c = open_file(certificate, why, sizeof why);
        CLEANUP(fclose_p) FILE *f = open_file(key, why, sizeof why);
        CLEANUP(certificate_free) X509 *x = c ? read_certificate(c) : NULL;
        CLEANUP(key_free) EVP_PKEY *k = f ? read_key(f, &asked) : NULL;
        bool match = x && k && X509_check_private_key(x, k) == 1;
        int r;

        (void)tlsfiles_error(&r);
        return match ? 0 : r;
}

int tlsfiles_ciphers(const char *list)
{
        SSL_CTX *ctx = (errno = 0, SSL_CTX_new(TLS_server_method()));
        bool known = ctx && SSL_CTX_set_cipher_list(ctx, list) == 1;
        int r;

        SSL_CTX_free(ctx);
        (void)tlsfiles_error(&r);
        return known ? 0 : ctx ? r : -ENOMEM;
}

bool tlsfiles_readable_by_all(const char *file)
{
        struct stat st;

        return stat(file, &st) == 0 && (st.st_mode & S_IROTH);
}

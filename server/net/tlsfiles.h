/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlsfiles.h - are these PEM files what they should be?  Asked while a configuration is checked, so that a wrong file is a
 * mistake of the configuration and not a failed handshake at night.  Main thread; reads files.
 */
#ifndef PM_TLSFILES_H
#define PM_TLSFILES_H

#include <stdbool.h>
#include <stddef.h>

/* A certificate; a private key without a passphrase; certificates of authorities, one or more.  0, or -EINVAL and `why`. */
int tlsfiles_certificate(const char *file, char *why, size_t n);
int tlsfiles_key(const char *file, char *why, size_t n);
int tlsfiles_authorities(const char *file, char *why, size_t n);

/* Does the key belong to the certificate?  Both have been checked alone.  0, -EINVAL or -ENOMEM. */
int tlsfiles_pair(const char *certificate, const char *key);

/* Suites in OpenSSL's words, at least one of which there is for TLS 1.2.  0, -EINVAL or -ENOMEM. */
int tlsfiles_ciphers(const char *list);

/* What OpenSSL has queued of errors, which are gone then: NULL, or the last one's words.  -ENOMEM in *ret if it lacked memory, whatever it
 * says after that of a file that it could not take apart, or if errno, which was 0 before, says so; else -EINVAL. */
const char *tlsfiles_error(int *ret);

/* May everybody on this machine read the file? */
bool tlsfiles_readable_by_all(const char *file);
#endif

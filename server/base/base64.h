/* SPDX-License-Identifier: Apache-2.0 */
/* base64.h - RFC 4648, with '+' and '/', or for names with '-' and '_'. */
#ifndef PM_BASE64_H
#define PM_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "pm_router.h"

/* 0..63, or -1: no letter of that alphabet. */
int base64_value(char c, bool url);
/* With '+' and '/', '=' at the end or none.  Into out, of text.n / 4 * 3 + 3 bytes.  0, or -EINVAL. */
int base64_decode(struct pm_str text, unsigned char *out, size_t *ret_n);
/* n is a multiple of 3: n / 3 * 4 letters, no NUL.  Their end. */
char *base64url_encode(const unsigned char *p, size_t n, char *out);
#endif

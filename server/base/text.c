/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <ctype.h>

#include "base.h"

const char *errno_clause(int error, char *buf, size_t n)
{
        char text[64];

        (void)snprintf(buf, n, "%s", strerror_r(error, text, sizeof text));
        if (n > 1 && isupper((unsigned char)buf[0]) && islower((unsigned char)buf[1]))
                buf[0] = (char)tolower((unsigned char)buf[0]);
        return buf;
}

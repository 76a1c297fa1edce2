/* SPDX-License-Identifier: Apache-2.0 */
/* cleanup.h - Jansson's part of clean-up by scope: CLEANUP(json_p) json_t *root. */
#ifndef PM_CLEANUP_H
#define PM_CLEANUP_H

#include <jansson.h>

static inline void json_p(json_t **j)
{
        json_decref(*j);
}
#endif

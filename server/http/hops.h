/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hops.h - requests that come round: an expert that is one of our own listeners, or a gateway behind which we stand ourselves.
 *
 * Every request that goes out carries x-pointsman-hops, the instances that it has passed, ours the last.  One that has passed us already is
 * answered 508, at its first return; a chain of gateways works up to HOPS_MAX of them.  Any thread.
 */
#ifndef PM_HOPS_H
#define PM_HOPS_H

#include "pm_router.h"

enum { HOPS_MAX = 8, HOPS_LINE_MAX = 256 };
#define HOPS_HEADER "x-pointsman-hops"

/* NULL: it may go on; else a clause that says why not.  passed: the header's value as it came, empty if it did not. */
const char *hops_end(struct pm_str passed);
/* "x-pointsman-hops: <passed>, <ours>\r\n" into out, without a NUL, which has room for HOPS_LINE_MAX bytes; returns its length.  passed: what hops_end() let
 * go on, or empty. */
size_t hops_line(struct pm_str passed, char *out);
#endif

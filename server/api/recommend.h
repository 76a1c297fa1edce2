/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recommend.h - what /v1/recommend and /v1/feedback have in common.
 */
#ifndef PM_RECOMMEND_H
#define PM_RECOMMEND_H

#include "pm_router.h"

struct request;
struct route;

/* The route that `model` names, or that recommends.  NULL: r is answered.  Proves that the body is a JSON object. */
const struct route *recommend_route_of(struct request *r, struct pm_str body);
#endif

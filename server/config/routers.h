/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routers.h - opens the routers of a configuration.  Main thread; may take long, since models are read.
 */
#ifndef PM_ROUTERS_H
#define PM_ROUTERS_H

#include <stddef.h>

struct generation;
struct problems;
struct settings;

/*
 * Finds each router's plugin, fills its struct from its own options and opens it, into g->routers.  What is found wrong, or
 * refused by a router, is added to p, and the next one follows.  Closing is deferred to the end of the generation's arena.
 */
void routers_open(struct generation *g, const struct settings *s, struct problems *p);

/* The file of a router without a configuration: `name` itself if it has a '/', else here, or where the shipped ones are.  0, -ENOENT or
 * -ENAMETOOLONG. */
int routers_find(const char *name, char *ret, size_t size);
#endif

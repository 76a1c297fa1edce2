/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin.h - the administrator's listener: experts and their health, routers, the configuration in force, reload, a page.
 *
 * On the main loop, where speed does not matter.  Every answer but the page itself wants the bearer token of the configuration in
 * force; without one every request is refused.
 */
#ifndef PM_ADMIN_H
#define PM_ADMIN_H

struct admin;
struct event_base;
struct gateway;
struct problems;

/* 0; -errno with an entry in p. */
int admin_create(struct gateway *g, struct event_base *base, const char *address, struct problems *p, struct admin **ret);
void admin_destroy(struct admin *a); /* NULL is fine */
#endif

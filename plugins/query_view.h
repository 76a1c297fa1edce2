/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query_view.h - what a router is shown of a query: all of it, or what its table says that it reads.
 *
 * A host keeps decisions by what a router declares.  So that a router cannot depend on more by mistake, nothing else is shown.
 */
#ifndef PM_QUERY_VIEW_H
#define PM_QUERY_VIEW_H

#include "pm_router.h"

/* The parts of a query that a router may be denied. */
struct query_view {
        struct pm_str text, body, user, tenant;
        const struct pm_message *const *messages;
        size_t n_messages;
};

static inline struct query_view view_of(const struct pm_query *q)
{
        return (struct query_view){ q->text, q->body, q->user, q->tenant, q->messages, q->n_messages };
}

/* Fills these parts of q for a router that declares `reads` (0: it declares nothing, and sees all). */
static inline void view_for(struct pm_query *q, const struct query_view *all, unsigned reads)
{
        static const struct pm_str nothing;

        q->text = !reads || reads & (PM_READS_TEXT | PM_READS_MESSAGES) ? all->text : nothing;
        q->body = !reads || reads & PM_READS_BODY ? all->body : nothing;
        q->user = !reads || reads & PM_READS_USER || q->kind == PM_RECOMMEND ? all->user : nothing;
        q->tenant = !reads || reads & PM_READS_TENANT ? all->tenant : nothing;
        q->messages = !reads || reads & PM_READS_MESSAGES ? all->messages : NULL;
        q->n_messages = q->messages ? all->n_messages : 0;
}
#endif

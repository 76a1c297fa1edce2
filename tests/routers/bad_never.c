/* SPDX-License-Identifier: Apache-2.0 */
/* Returns a step that no move made.  how: zero (all bits 0), forged (a made-up ticket), stale (the ticket of its last
 * step, which was good then), or other (a move is made, but another step returned).  Each query must fail, and the log name this router. */
#include "pm_router.h"

struct never {
        int64_t how;
};

static const struct pm_option options[] = {
        PM_CHOICE_OPTION(struct never, how, "how", "zero", "zero|forged|stale|other", "what is returned in place of a move"),
        PM_END_OPTION
};

static pm_step again(void *self, struct pm_query *q)
{
        const pm_step *last = q->state;

        (void)self;
        return *last;
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct never *n = self;
        pm_step *kept;

        if (n->how == 2) {
                q->state = kept = pm_alloc(q, sizeof *kept);
                return *kept = pm_embed(q, "any", q->text, again);
        }
        if (n->how == 3)
                (void)pm_pass(q);
        return (pm_step){ n->how ? 0x1234567812345678u : 0 };
}

PM_ROUTER(.name = "bad_never", .version = "1", .summary = "broken on purpose", .self_size = sizeof(struct never), .options = options,
          .route = route)

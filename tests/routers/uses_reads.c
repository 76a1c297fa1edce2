/* SPDX-License-Identifier: Apache-2.0 */
/* For what is kept of decisions: it says that it reads the text (built again: the body or the user too), and decides by the text.  The
 * first of the query's experts whose name is in it, else the first; passes if "pass" is in it, fails if "fail" is.  With `ask` that expert
 * is asked before, and a call that fails is a failure; with `ms` a pool thread sleeps before.  The reason is what the file `model` begins
 * with, or with `tell` how much of the query it can see; `tag` is the category; it is unsure if "perhaps" is in the text. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pm_router.h"

#ifndef READS
#define READS PM_READS_TEXT
#endif

struct uses {
        const char *ask, *model, *tag, *extra;
        int64_t ms;
        int tell;
        char reason[64];
};

static const struct pm_option options[] = {
        PM_STR_OPTION(struct uses, ask, "ask", 0, NULL, "an expert that is asked before"),
        PM_PATH_OPTION(struct uses, model, "model", 0, NULL, "a file whose first bytes are the reason"),
        PM_STR_OPTION(struct uses, tag, "tag", 0, NULL, "the category"),
        PM_BOOL_OPTION(struct uses, tell, "tell", "false", "say what it can see"),
        PM_STR_OPTION(struct uses, extra, "extra", 0, NULL, "members for the expert's body"),
        PM_INT_OPTION(struct uses, ms, "ms", "0", 0, 60000, "how long a pool thread sleeps before it is decided"),
        PM_END_OPTION
};

static int opened(void *self, const struct pm_open *o)
{
        struct uses *u = self;
        FILE *f = u->model ? fopen(u->model, "re") : NULL;

        (void)snprintf(u->reason, sizeof u->reason, "its text");
        if (!u->model)
                return 0;
        if (!f || !fgets(u->reason, sizeof u->reason, f)) {
                if (f)
                        (void)fclose(f);
                return o->refuse(o, "'%s' cannot be read", u->model);
        }
        (void)fclose(f);
        u->reason[strcspn(u->reason, "\n")] = '\0';
        return 0;
}

static int has(struct pm_str text, const char *word)
{
        size_t n = strlen(word);

        for (size_t i = 0; i + n <= text.n; i++)
                if (memcmp(text.p + i, word, n) == 0)
                        return 1;
        return 0;
}

static pm_step by_text(void *self, struct pm_query *q)
{
        const struct uses *u = self;
        const char *reason = u->reason;
        size_t chosen = 0;
        char sees[160];

        if (q->status < 0)
                return pm_fail(q, "what was asked before has failed (status %d, http %d)", q->status, q->http_status);
        if (has(q->text, "fail"))
                return pm_fail(q, "as the text wants");
        if (has(q->text, "pass") || q->n_experts == 0)
                return pm_pass(q);
        for (size_t i = q->n_experts; i-- > 0;)
                if (has(q->text, q->experts[i]->name))
                        chosen = i;
        if (u->tell) {
                (void)snprintf(sees, sizeof sees, "text %zu, messages %zu, body %zu, user %zu, tenant %zu, x-team %zu",
                               q->text.n, q->n_messages, q->body.n, q->user.n, q->tenant.n, pm_header(q, "x-team").n);
                reason = sees;
        }
        return pm_decide(q, .expert = q->experts[chosen]->name, .category = u->tag, .extra = u->extra, .confidence = 0.75, .reason = reason,
                         .unsure = has(q->text, "perhaps"));
}

static void doze(void *job)
{
        const int64_t *ms = job;
        struct timespec t = { *ms / 1000, *ms % 1000 * 1000000 };

        (void)nanosleep(&t, NULL);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct uses *u = self;
        static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Which?\"}]}";
        int64_t *ms;

        if (u->ask)
                return pm_call(q, by_text, .expert = u->ask, .body = { body, sizeof body - 1 }, .timeout_ms = 20000);
        if (u->ms == 0)
                return by_text(self, q);
        ms = pm_alloc(q, sizeof *ms);
        *ms = u->ms;
        return pm_offload(q, doze, ms, by_text);
}

PM_ROUTER(.name = "uses_reads", .version = "1", .summary = "for tests of what is kept", .self_size = sizeof(struct uses), .options = options,
          .open = opened, .route = route, .reads = READS)

/* SPDX-License-Identifier: Apache-2.0 */
/* Defers three functions in each query; each appends a line to `file`: "ID 3", "ID 2", "ID 1" in this order, ID being the
 * request's.  Between, it waits as `wait` says (none, embed, offload), so that tests can let the client leave meanwhile; then it
 * decides for the first expert.  observe() appends "ID observed EXPERT HTTP_STATUS COMPLETE".  close() appends "closed". */
#include <stdio.h>
#include <time.h>

#include "pm_router.h"

struct uses {
        const char *file;
        int64_t wait, ms;
};

struct line {
        const char *file;
        struct pm_str id;
        int number;
        int64_t ms;
};

static const struct pm_option options[] = {
        PM_PATH_OPTION(struct uses, file, "file", PM_REQUIRED, NULL, "where the lines are appended"),
        PM_CHOICE_OPTION(struct uses, wait, "wait", "none", "none|embed|offload", "what a query waits for"),
        PM_TIME_OPTION(struct uses, ms, "time", "100ms", 0, 60000, "how long an offload sleeps"),
        PM_END_OPTION
};

static void append(void *arg)
{
        const struct line *l = arg;
        FILE *f = fopen(l->file, "ae");

        if (!f)
                return;
        (void)fprintf(f, "%.*s %d\n", (int)l->id.n, l->id.p, l->number);
        (void)fclose(f);
}

static void nap(void *arg)
{
        const struct line *l = arg;
        struct timespec t = { l->ms / 1000, l->ms % 1000 * 1000000 };

        (void)nanosleep(&t, NULL);
}

static pm_step decide(void *self, struct pm_query *q)
{
        (void)self;
        return q->n_experts ? pm_decide(q, .expert = q->experts[0]->name) : pm_pass(q);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct uses *u = self;
        struct line *l = NULL;

        for (int i = 1; i <= 3; i++) {
                l = pm_alloc(q, sizeof *l);
                *l = (struct line){ .file = u->file, .id = q->id, .number = i, .ms = u->ms };
                if (pm_defer(q, append, l) < 0)
                        return pm_fail(q, "out of memory: cannot defer");
        }
        if (u->wait == 1)
                return pm_embed(q, "default", q->text, decide);
        return u->wait == 2 ? pm_offload(q, nap, l, decide) : decide(self, q);
}

static void observe(void *self, const struct pm_outcome *o)
{
        const struct uses *u = self;
        FILE *f = fopen(u->file, "ae");

        if (!f)
                return;
        (void)fprintf(f, "%.*s observed %s %d %d\n", (int)o->id.n, o->id.p, o->expert ? o->expert : "-", o->http_status, o->complete);
        (void)fclose(f);
}

static void closed(void *self)
{
        const struct uses *u = self;
        FILE *f = fopen(u->file, "ae");

        if (!f)
                return;
        (void)fputs("closed\n", f);
        (void)fclose(f);
}

PM_ROUTER(.name = "uses_defer", .version = "1", .summary = "for tests of pm_defer and observe", .self_size = sizeof(struct uses),
          .options = options, .route = route, .observe = observe, .close = closed)

/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the expert `ask` with the last user message and decides by its reply: the first of the query's experts whose name
 * is in the reply's text, else pass; fails when the call failed.  The reply may be kept for `keep_s` seconds.  The limits of the
 * call (`timeout`, `max_reply`) and its path can be set.  With `background` nobody waits: the first expert, provisionally, until the reply
 * is there.  A reply that names nobody is kept for `useless_s` seconds only.  With OLD_ABI it says that it was built for 1.1, where what follows keep_s in the struct is nobody's business. */
#include <jansson.h>
#include <string.h>

#include "pm_router.h"

#ifdef OLD_ABI
#undef PM_ABI_MINOR
#define PM_ABI_MINOR 1
#endif

struct uses {
        const char *ask, *path;
        int64_t timeout, max_reply, keep_s, useless_s;
        int background;
};

static const struct pm_option options[] = {
        PM_STR_OPTION(struct uses, ask, "ask", PM_REQUIRED, NULL, "the expert that is asked"),
        PM_STR_OPTION(struct uses, path, "path", 0, NULL, "the path below its base URL"),
        PM_TIME_OPTION(struct uses, timeout, "timeout", NULL, 0, 60000, "the call's own limit"),
        PM_SIZE_OPTION(struct uses, max_reply, "max_reply", NULL, 0, 16777216, "the longest reply"),
        PM_INT_OPTION(struct uses, keep_s, "keep_s", "0", 0, 3600, "seconds for which a reply may be kept"),
        PM_INT_OPTION(struct uses, useless_s, "useless_s", "-1", -1, 3600, "seconds for which one that names nobody may be kept; -1: as any"),
        PM_BOOL_OPTION(struct uses, background, "background", NULL, "does not wait for the reply"),
        PM_END_OPTION
};

static pm_step by_reply(void *self, struct pm_query *q)
{
        const struct uses *u = self;
        json_t *reply;
        const char *text = "";
        const struct pm_expert *chosen = NULL;

        if (q->status == PM_ELATER || (u->background && q->status == PM_EBUSY))
                return pm_decide(q, .expert = q->experts[0]->name, .reason = q->status == PM_EBUSY ? "busy" : "later", .provisional = 1);
        if (q->status < 0)
                return pm_fail(q, "call failed (status %d, http %d)", q->status, q->http_status);
        reply = json_loadb(q->reply.p, q->reply.n, 0, NULL);
        (void)json_unpack(json_array_get(json_object_get(reply, "choices"), 0), "{s:{s:s}}", "message", "content", &text);
        for (size_t i = 0; i < q->n_experts && !chosen; i++)
                if (strstr(text, q->experts[i]->name))
                        chosen = q->experts[i];
        json_decref(reply);
        if (!chosen && u->useless_s >= 0)
                pm_keep(q, (int)u->useless_s);
        return chosen ? pm_decide(q, .expert = chosen->name, .reason = "named in the reply", .provisional = PM_ABI_MINOR < 2) : pm_pass(q);
}

static void free_text(void *text)
{
        free(text);
}

static pm_step route(void *self, struct pm_query *q)
{
        const struct uses *u = self;
        json_t *body = json_pack("{s:s, s:[{s:s, s:s%}]}", "model", u->ask, "messages", "role", "user", "content", q->text.p ? q->text.p : "",
                                 q->text.n);
        char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

        json_decref(body);
        if (!text)
                return pm_fail(q, "the text is not UTF-8");
        if (pm_defer(q, free_text, text) < 0)
                return pm_fail(q, "out of memory");
        return pm_call(q, by_reply, .expert = u->ask, .path = u->path, .body = { text, strlen(text) }, .timeout_ms = (int)u->timeout,
                       .max_reply = (size_t)u->max_reply, .keep_s = (int)u->keep_s, .background = u->background);
}

PM_ROUTER(.name = "uses_call", .version = "1", .summary = "for tests of pm_call", .self_size = sizeof(struct uses), .options = options,
          .route = route, .reads = PM_READS_TEXT)

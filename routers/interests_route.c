/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same code over another catalogue: its items are prompts, each with the attribute "expert" (the one that did best on it).  The
 * user's turns are embedded one after the other, the last first; each is an interest, the older the lighter; the prompts that lie near
 * to them are taken in proportion, and vote for their experts.  So a conversation that turns from mathematics to law is led by both,
 * and by the later one more.
 *
 *         by_example: { plugin: interests, index: prompts/, encoder: default }
 */
#include <jansson.h>

#include "interests_router.h"

#include "base.h"
#include "dot.h"

#define TURNS_MAX 16
#define EXPERTS_MAX 256

/* What a conversation has come to. */
struct talk {
        struct router *router;
        struct pm_str text[TURNS_MAX];   /* the last turn first */
        size_t n, done;                  /* turns: to embed, embedded */
        float *vector;                   /* [n][dim] */
        float weight[TURNS_MAX];
        const char *const *expert;       /* [n_experts] names of the query's */
        size_t n_experts;
        float votes[EXPERTS_MAX];
        float total;
        int failed;
        char why[160];
};

static pm_step embedded(void *self, struct pm_query *q);

int interests_route_check(const struct router *x, const struct pm_open *o)
{
        char tag[ID_MAP_LENGTH_MAX + 1];

        if (!x->encoder)
                return 0;
        for (size_t i = 0; i < o->n_experts; i++) {
                int n = snprintf(tag, sizeof tag, "expert=%s", o->experts[i]);

                if ((size_t)n < sizeof tag && id_map_find(&x->catalogue->tags, tag, (size_t)n) != ID_MAP_NONE)
                        return 0;
        }
        return o->refuse(o, "index '%s': no item has the attribute 'expert' with the name of a configured expert, which `encoder` needs",
                         x->folder);
}

/* The prompts near to the turns, and whom they vote for. */
static void vote(void *arg)
{
        struct talk *t = arg;
        const struct catalogue *c = t->router->catalogue;
        struct interests_settings s = t->router->settings;
        struct interests_ask ask = { .user = ID_MAP_NONE, .vector = t->vector, .vector_weight = t->weight, .n_vectors = t->done,
                                     .wanted = (size_t)t->router->alike };
        struct interests_room *room = router_room_take(t->router);
        struct interests_answer a = { .n = 0 };

        s.also = s.votes = s.popular = 0;
        s.near = 1;
        t->failed = room ? interests_find(c, &s, &ask, room, &a, t->why, sizeof t->why) : -ENOMEM;
        for (size_t e = 0; t->failed == 0 && e < t->n_experts; e++) {
                char text[ID_MAP_LENGTH_MAX + 1];
                int n = snprintf(text, sizeof text, "expert=%s", t->expert[e]);
                uint32_t tag = (size_t)n < sizeof text ? id_map_find(&c->tags, text, (size_t)n) : ID_MAP_NONE;

                for (size_t i = 0; tag != ID_MAP_NONE && i < a.n; i++)
                        if (a.item[i].source == INTERESTS_NEAR && interests_has_tag(c, a.item[i].item, tag)) {
                                t->votes[e]++;
                                t->total++;
                        }
        }
        router_room_give(t->router, room);
}

/* {"turns":.., "votes":{EXPERT: number of prompts}} */
static void explain(struct pm_query *q, const struct talk *t)
{
        json_t *votes = json_object(), *o;
        char *text;

        for (size_t e = 0; e < t->n_experts; e++)
                if (t->votes[e] > 0)
                        (void)json_object_set_new(votes, t->expert[e], json_integer((json_int_t)t->votes[e]));
        o = json_pack("{s:I, s:o}", "turns", (json_int_t)t->done, "votes", votes);
        text = o ? json_dumps(o, JSON_COMPACT) : NULL;
        if (text)
                pm_explain(q, text);
        free(text);
        json_decref(o);
}

static pm_step voted(void *self, struct pm_query *q)
{
        const struct talk *t = q->state;
        bool taken[EXPERTS_MAX] = { false };
        const char **order;
        char reason[160];
        float most = 0;
        size_t n = 0;

        (void)self;
        if (q->status < 0)
                return pm_fail(q, "the search could not run in the pool (%d)", q->status);
        if (t->failed < 0)
                return pm_fail(q, "%s", t->why[0] ? t->why : ERRNO_TEXT(t->failed));
        order = pm_alloc(q, (t->n_experts + 1) * sizeof *order);
        while (n < t->n_experts) { /* most votes first; equal ones in the query's order */
                size_t best = t->n_experts;

                for (size_t e = 0; e < t->n_experts; e++)
                        if (!taken[e] && t->votes[e] > 0 && (best == t->n_experts || t->votes[e] > t->votes[best]))
                                best = e;
                if (best == t->n_experts)
                        break;
                taken[best] = true;
                most = n == 0 ? t->votes[best] : most;
                order[n++] = t->expert[best];
        }
        if (n == 0)
                return pm_pass(q);
        if (q->explain)
                explain(q, t);
        (void)snprintf(reason, sizeof reason, "%.0f of %.0f prompts that are like its last %zu turns", (double)most, (double)t->total, t->done);
        return pm_decide(q, .expert = order[0], .fallbacks = order + 1, .confidence = (double)(most / t->total), .reason = reason);
}

static pm_step embed_next(struct router *x, struct pm_query *q, const struct talk *t)
{
        return pm_embed(q, x->encoder, t->text[t->done], embedded);
}

static pm_step embedded(void *self, struct pm_query *q)
{
        struct router *x = self;
        struct talk *t = q->state;
        size_t dim = x->catalogue->by_interest.dim;

        if (q->status < 0 && t->done == 0)
                return pm_fail(q, "encoder '%s' failed (%d)", x->encoder, q->status);
        if (q->status == 0 && q->dim != dim)
                return pm_fail(q, "encoder '%s' gives %zu numbers, the catalogue has %zu", x->encoder, q->dim, dim);
        if (q->status == 0) {
                float *v = t->vector + t->done * dim;

                memcpy(v, q->vector, dim * sizeof *v);
                if (!(dot_normalise(v, dim) > 0) && t->done == 0)
                        return pm_pass(q); /* a text of which the encoder knows nothing */
                t->weight[t->done] = t->done ? t->weight[t->done - 1] * (float)x->fade : 1;
                t->done++;
                if (t->done < t->n)
                        return embed_next(x, q, t);
        }
        return pm_offload(q, vote, t, voted); /* an older turn that could not be embedded is done without */
}

pm_step interests_route(void *self, struct pm_query *q)
{
        struct router *x = self;
        const char **names;
        struct talk *t;

        if (!x->encoder || q->n_experts == 0)
                return pm_pass(q);
        t = q->state = pm_alloc(q, sizeof *t);
        t->router = x;
        for (size_t i = q->n_messages; i-- > 0 && t->n < (size_t)x->turns;) {
                const struct pm_message *m = q->messages[i];

                if (m->role.n == 4 && memcmp(m->role.p, "user", 4) == 0 && m->text.n > 0)
                        t->text[t->n++] = m->text;
        }
        if (t->n == 0)
                return pm_pass(q);
        t->n_experts = MIN(q->n_experts, (size_t)EXPERTS_MAX);
        names = pm_alloc(q, t->n_experts * sizeof *names);
        for (size_t i = 0; i < t->n_experts; i++)
                names[i] = q->experts[i]->name;
        t->expert = names;
        t->vector = pm_alloc(q, t->n * x->catalogue->by_interest.dim * sizeof *t->vector);
        return embed_next(x, q, t);
}

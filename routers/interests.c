/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests - candidates for a user, in proportion to the user's interests.
 *
 * kNN-Embed (El-Kishky et al., PAKDD 2023): a user is a mixture of clusters of items, smoothed by users alike; each cluster is searched
 * with a query of its own and gives as many candidates as it weighs; then they are weighed together with what was taken along, what
 * users alike took, and what is popular.  All of it is retrieval/vector/interests.c; here are the request and its one job on the pool.
 *
 *         catalogue: { plugin: interests, index: catalogue/ }        # the folder of pointsman-train interests
 *
 * Of the request: user, history (newest last), how many, and what may come back: exclude, allow, filter ({KEY: VALUE or [VALUE, ...], ...}) and
 * whether what was seen may come again.  The host has read them; the body is not read a second time.
 */
#include <jansson.h>

#include "interests_router.h"

#include "base.h"

#define TAGS_MAX 256           /* values of all filters */

static const struct pm_option options[] = {
        PM_PATH_OPTION(struct router, folder, "index", PM_REQUIRED, NULL, "folder of pointsman-train interests"),
        PM_BOOL_OPTION(struct router, verify, "verify", "true", "verify the digests of its files when it is opened"),
        PM_INT_OPTION(struct router, interests, "interests", "0", 0, 256, "maximum number of interests per user; 0: as trained"),
        PM_INT_OPTION(struct router, neighbours, "neighbours", "-1", -1, 1024, "number of similar users that smooth a user's interests; -1: as trained"),
        PM_REAL_OPTION(struct router, own, "own", "-1", -1, 1, "weight of a user's own items against those of similar users; -1: as trained"),
        PM_REAL_OPTION(struct router, near, "near", "-1", -1, 1e6, "weight of candidates near an interest; -1: as trained"),
        PM_REAL_OPTION(struct router, also, "also", "-1", -1, 1e6, "weight of items that other users took together with the user's (co-occurrence); -1: as trained"),
        PM_REAL_OPTION(struct router, votes, "votes", "-1", -1, 1e6, "weight of items that similar users took; -1: as trained"),
        PM_REAL_OPTION(struct router, popular, "popular", "-1", -1, 1e6, "weight of popular items; -1: as trained"),
        PM_REAL_OPTION(struct router, self, "self", "-1", -1, 1e6, "weight of the user's own item, where users are items; -1: as trained"),
        PM_INT_OPTION(struct router, pool, "pool", "0", 0, 10000, "number of candidates near interests, in percent of the items asked for; 0: as trained"),
        PM_INT_OPTION(struct router, budget, "budget", "-1", -1, 4000000000, "maximum number of vectors compared per interest; 0: all, -1: as trained"),
        PM_STR_OPTION(struct router, encoder, "encoder", 0, NULL,
                      "for chat: embedder of the user's turns; the index is then a catalogue of prompts with the attribute expert"),
        PM_INT_OPTION(struct router, turns, "turns", "4", 1, 16, "number of last turns of a conversation that are embedded"),
        PM_REAL_OPTION(struct router, fade, "fade", "0.5", 0.01, 1, "weight of a turn relative to the next one"),
        PM_INT_OPTION(struct router, alike, "alike", "40", 1, 1000, "number of nearest prompts that vote for an expert (k of kNN)"),
        PM_END_OPTION
};

/* ---- opening -------------------------------------------------------------------------------------------------------------- */

static void settle(struct router *x)
{
        struct interests_settings *s = &x->settings;

        *s = x->catalogue->settings;
        s->interests = x->interests > 0 ? (uint32_t)x->interests : s->interests;
        s->neighbours = x->neighbours >= 0 ? (uint32_t)x->neighbours : s->neighbours;
        s->own = x->own >= 0 ? x->own : s->own;
        s->near = x->near >= 0 ? x->near : s->near;
        s->also = x->also >= 0 ? x->also : s->also;
        s->votes = x->votes >= 0 ? x->votes : s->votes;
        s->popular = x->popular >= 0 ? x->popular : s->popular;
        s->self = x->self >= 0 ? x->self : s->self;
        s->pool = x->pool > 0 ? MAX((uint32_t)x->pool, 100) : s->pool;
        s->budget = x->budget >= 0 ? (uint32_t)x->budget : s->budget;
}

static void closed(void *self)
{
        struct router *x = self;

        while (x->n_rooms > 0)
                interests_room_destroy(x->room[--x->n_rooms]);
        catalogue_close(TAKE(x->catalogue));
        free(TAKE(x->names));
        if (TAKE(x->opened))
                (void)pthread_mutex_destroy(&x->lock);
}

static int opened(void *self, const struct pm_open *o)
{
        struct router *x = self;
        char why[384] = "";
        int r = catalogue_open(x->folder, x->verify, &x->catalogue, why, sizeof why);

        if (r < 0)
                return o->refuse(o, "index '%s': %s", x->folder, why[0] ? why : "out of memory");
        settle(x);
        x->names = calloc(x->catalogue->by_interest.n_cells + 1, sizeof *x->names);
        if (!x->names || pthread_mutex_init(&x->lock, NULL) != 0) {
                closed(x);
                return o->refuse(o, "out of memory");
        }
        x->opened = true;
        if (interests_route_check(x, o) < 0) {
                closed(x);
                return -1;
        }
        for (size_t i = 0; i < x->catalogue->by_interest.n_cells; i++)
                (void)snprintf(x->names[i], sizeof x->names[i], "%u", (unsigned)i);
        o->log(o, PM_INFO, "%s: %zu items in %zu interests, %zu users", x->catalogue->name, x->catalogue->items.n,
               x->catalogue->by_interest.n_cells, x->catalogue->users.n);
        return 0;
}

/* ---- the job ---------------------------------------------------------------------------------------------------------------- */

/* All that the pool's thread sees. */
struct job {
        struct router *router;
        struct pm_str user;
        const struct pm_str *const *history, *const *exclude, *const *allow;
        const struct pm_filter *const *filters;
        size_t n_history, n_exclude, n_allow, n_filters, wanted;
        bool keep_seen;
        struct interests_item *item;   /* [wanted] */
        size_t n;
        struct interests_part *part;   /* room for as many as there can be; NULL: nobody asks why */
        size_t n_parts, n_known;       /* n_known: ids of the request's history that the catalogue has */
        int failed;
        char why[160];
};

/* Numbers of a request's lists; freed at the job's end. */
struct request {
        uint32_t *number;              /* of all its ids */
        uint32_t tag[TAGS_MAX];
        size_t n_tags;
        struct interests_filter filter[INTERESTS_FILTERS_MAX];
};

static void request_finish(struct request *r)
{
        free(r->number);
}

struct interests_room *router_room_take(struct router *x)
{
        struct interests_room *room = NULL;

        (void)pthread_mutex_lock(&x->lock);
        if (x->n_rooms > 0)
                room = x->room[--x->n_rooms];
        (void)pthread_mutex_unlock(&x->lock);
        if (!room && interests_room_create(x->catalogue, &room) < 0)
                return NULL;
        return room;
}

void router_room_give(struct router *x, struct interests_room *room)
{
        if (!room)
                return;
        (void)pthread_mutex_lock(&x->lock);
        if (x->n_rooms < ROOMS_MAX)
                x->room[x->n_rooms++] = TAKE(room);
        (void)pthread_mutex_unlock(&x->lock);
        interests_room_destroy(room);
}

/* The numbers of a query's ids, the last one first, at *to, which moves on; those that are not known are left out. */
static const uint32_t *look_up(const struct catalogue *c, const struct pm_str *const *ids, size_t n, uint32_t **to, size_t *ret_n)
{
        const uint32_t *first = *to;

        for (size_t i = n; i-- > 0;) {
                uint32_t item = id_map_find(&c->items, ids[i]->p, ids[i]->n);

                if (item != ID_MAP_NONE)
                        *(*to)++ = item;
        }
        *ret_n = (size_t)(*to - first);
        return first;
}

/* An attribute that no item has is one that none passes. */
static uint32_t tag_of(const struct catalogue *c, struct pm_str key, struct pm_str value)
{
        char tag[ID_MAP_LENGTH_MAX + 1];
        size_t n = key.n + 1 + value.n;

        if (n > ID_MAP_LENGTH_MAX)
                return ID_MAP_NONE;
        memcpy(tag, key.p, key.n);
        tag[key.n] = '=';
        memcpy(tag + key.n + 1, value.p, value.n);
        return id_map_find(&c->tags, tag, n);
}

/* Within the bounds that recommend() has seen to. */
static void take_filters(const struct job *j, struct request *r, struct interests_ask *ask)
{
        for (size_t f = 0; f < j->n_filters; f++) {
                const struct pm_filter *from = j->filters[f];
                size_t first = r->n_tags;

                for (size_t i = 0; i < from->n; i++)
                        r->tag[r->n_tags++] = tag_of(j->router->catalogue, from->key, *from->values[i]);
                r->filter[ask->n_filters++] = (struct interests_filter){ &r->tag[first], r->n_tags - first };
        }
        ask->filter = r->filter;
}

static int take_request(const struct job *j, struct request *r, struct interests_ask *ask)
{
        const struct catalogue *c = j->router->catalogue;
        uint32_t *to = r->number = malloc((j->n_history + j->n_exclude + j->n_allow + 1) * sizeof *r->number);

        if (!to)
                return -ENOMEM;
        *ask = (struct interests_ask){ .user = id_map_find(&c->users, j->user.p, j->user.n), .wanted = j->wanted, .keep_seen = j->keep_seen,
                                       .only_allowed = j->allow != NULL };
        ask->history = look_up(c, j->history, j->n_history, &to, &ask->n_history);
        ask->barred = look_up(c, j->exclude, j->n_exclude, &to, &ask->n_barred);
        ask->allowed = look_up(c, j->allow, j->n_allow, &to, &ask->n_allowed);
        take_filters(j, r, ask);
        return 0;
}

static void find(void *arg)
{
        struct job *j = arg;
        struct interests_room *room = router_room_take(j->router);
        CLEANUP(request_finish) struct request request = { .n_tags = 0 };
        struct interests_answer answer;
        struct interests_ask ask;

        j->failed = room ? take_request(j, &request, &ask) : -ENOMEM;
        j->n_known = j->failed == 0 ? ask.n_history : 0;
        if (j->failed == 0)
                j->failed = interests_find(j->router->catalogue, &j->router->settings, &ask, room, &answer, j->why, sizeof j->why);
        if (j->failed == 0) {
                j->n = answer.n;
                if (answer.n > 0)
                        memcpy(j->item, answer.item, answer.n * sizeof *answer.item);
        }
        if (j->failed == 0 && j->part && answer.n_parts > 0) {
                j->n_parts = answer.n_parts;
                memcpy(j->part, answer.part, answer.n_parts * sizeof *answer.part);
        }
        router_room_give(j->router, room);
}

/* ---- the query ---------------------------------------------------------------------------------------------------------------- */

/* {"catalogue":.., "history_known":.., "interests":[{"id","weight"}]}, heaviest first. */
static void explain(const struct router *x, struct pm_query *q, const struct job *j)
{
        json_t *parts = json_array(), *o;
        char *text;

        for (size_t i = 0; i < j->n_parts; i++)
                (void)json_array_append_new(parts, json_pack("{s:s, s:f}", "id", x->names[j->part[i].interest], "weight",
                                                             (double)j->part[i].weight));
        o = json_pack("{s:s, s:I, s:o}", "catalogue", x->catalogue->name, "history_known", (json_int_t)j->n_known, "interests", parts);
        text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
        if (text)
                pm_explain(q, text);
        free(text);
        json_decref(o);
}

static pm_step found(void *self, struct pm_query *q)
{
        const struct router *x = self;
        const struct job *j = q->state;
        const struct pm_item **items;
        struct pm_item *item;

        if (q->status < 0)
                return pm_fail(q, "the search could not run in the pool (%d)", q->status);
        if (j->failed < 0)
                return pm_fail(q, "%s", j->why[0] ? j->why : ERRNO_TEXT(j->failed));
        if (q->explain)
                explain(x, q, j);
        items = pm_alloc(q, j->n * sizeof *items + 1);
        item = pm_alloc(q, j->n * sizeof *item + 1);
        for (size_t i = 0; i < j->n; i++) {
                const struct interests_item *from = &j->item[i];
                size_t n;
                const char *id = id_map_at(&x->catalogue->items, from->item, &n);

                item[i] = (struct pm_item){ .id = { id, n }, .score = (double)from->score,
                                            .interest = from->interest == IVF_NONE ? NULL : x->names[from->interest],
                                            .source = interests_source_name(from->source) };
                items[i] = &item[i];
        }
        return pm_candidates(q, items, j->n);
}

static pm_step recommend(void *self, struct pm_query *q)
{
        struct job *j = q->state = pm_alloc(q, sizeof *j);
        size_t wanted = MIN(q->wanted, (size_t)INTERESTS_WANTED_MAX), values = 0;

        for (size_t f = 0; f < q->n_filters; f++)
                values += q->filters[f]->n;
        if (q->n_filters > INTERESTS_FILTERS_MAX || values > TAGS_MAX)
                return pm_reject(q, "filter", "'filter' has %zu attributes with %zu values, at most %d with %d are looked at", q->n_filters, values,
                                 INTERESTS_FILTERS_MAX, TAGS_MAX);
        if (wanted == 0)
                return pm_candidates(q, NULL, 0);
        *j = (struct job){ .router = self, .user = q->user, .history = q->history, .n_history = q->n_history, .exclude = q->exclude,
                           .n_exclude = q->n_exclude, .allow = q->allow, .n_allow = q->n_allow, .filters = q->filters, .n_filters = q->n_filters,
                           .keep_seen = q->keep_seen, .wanted = wanted };
        j->item = pm_alloc(q, wanted * sizeof *j->item);
        if (q->explain)
                j->part = pm_alloc(q, INTERESTS_PARTS_MAX * sizeof *j->part);
        return pm_offload(q, find, j, found);
}

PM_ROUTER(.name = "interests", .version = "1", .summary = "recommends items, and routes chat by example: nearest-neighbour search for each interest of a user (kNN-Embed)",
          .self_size = sizeof(struct router), .options = options, .open = opened, .close = closed, .route = interests_route,
          .recommend = recommend)

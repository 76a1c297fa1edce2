/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interests - candidates for a user, in proportion to the user's interests.
 *
 * kNN-Embed (El-Kishky et al., PAKDD 2023): a user is a mixture of clusters of items, smoothed by users alike; each cluster is searched
 * with a query of its own and gives as many candidates as it weighs; then they are weighed together with what was taken along, what
 * users alike took, and what is popular.  All of it is retrieval/interests.c; here are the request and its one job on the pool.
 *
 *         catalogue: { plugin: interests, index: catalogue/ }        # the folder of pointsman-train interests
 *
 * Of the request: user, history (newest last), exclude and how many; and from its body, where they are there, "seen": "keep" or "drop", "allow" and
 * "deny" (lists of ids), "filter": {KEY: VALUE or [VALUE, ...], ...}.
 */
#include <jansson.h>

#include "interests_router.h"

#include "base.h"

#define BODY_MAX ((size_t)4 << 20)
#define IDS_MAX 100000         /* of one list of a request that are looked at */
#define TAGS_MAX 256           /* values of all filters */

static const struct pm_option options[] = {
        PM_PATH_OPTION(struct router, folder, "index", PM_REQUIRED, NULL, "folder of pointsman-train interests"),
        PM_BOOL_OPTION(struct router, verify, "verify", "true", "compare the digests of its files when it is opened"),
        PM_INT_OPTION(struct router, interests, "interests", "0", 0, 256, "at most so many of a user's; 0: as trained"),
        PM_INT_OPTION(struct router, neighbours, "neighbours", "-1", -1, 1024, "users alike that smooth the interests; -1: as trained"),
        PM_REAL_OPTION(struct router, own, "own", "-1", -1, 1, "weight of a user's own items against theirs; -1: as trained"),
        PM_REAL_OPTION(struct router, near, "near", "-1", -1, 1e6, "weight of candidates by interest; -1: as trained"),
        PM_REAL_OPTION(struct router, also, "also", "-1", -1, 1e6, "weight of what was taken along; -1: as trained"),
        PM_REAL_OPTION(struct router, votes, "votes", "-1", -1, 1e6, "weight of what users alike took; -1: as trained"),
        PM_REAL_OPTION(struct router, popular, "popular", "-1", -1, 1e6, "weight of what is popular; -1: as trained"),
        PM_REAL_OPTION(struct router, self, "self", "-1", -1, 1e6, "weight of the user's own item, where users are items; -1: as trained"),
        PM_INT_OPTION(struct router, pool, "pool", "0", 0, 10000, "candidates by interest, percent of what is wanted; 0: as trained"),
        PM_INT_OPTION(struct router, budget, "budget", "-1", -1, 4000000000, "vectors looked at for an interest; 0: all, -1: as trained"),
        PM_STR_OPTION(struct router, encoder, "encoder", 0, NULL,
                      "to route chat: embedder of the user's turns, over a catalogue of prompts with the attribute expert"),
        PM_INT_OPTION(struct router, turns, "turns", "4", 1, 16, "of a conversation that are embedded, the last ones"),
        PM_REAL_OPTION(struct router, fade, "fade", "0.5", 0.01, 1, "a turn's weight against that of the one after it"),
        PM_INT_OPTION(struct router, alike, "alike", "40", 1, 1000, "prompts that vote"),
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
        struct pm_str user, body;
        const struct pm_str *const *history, *const *exclude;
        size_t n_history, n_exclude, wanted;
        struct interests_item *item;   /* [wanted] */
        size_t n;
        struct interests_part *part;   /* room for as many as there can be; NULL: nobody asks why */
        size_t n_parts, n_known;       /* n_known: ids of the request's history that the catalogue has */
        int failed;
        char why[160];
};

/* Numbers of a request's lists; freed at the job's end. */
struct request {
        json_t *body;
        uint32_t *history, *barred, *allowed;
        uint32_t tag[TAGS_MAX];
        size_t n_tags;
        struct interests_filter filter[INTERESTS_FILTERS_MAX];
};

static void request_finish(struct request *r)
{
        json_decref(r->body);
        free(r->history);
        free(r->barred);
        free(r->allowed);
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

PRINTF(2, 3) static int refuse(struct job *j, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        (void)vsnprintf(j->why, sizeof j->why, fmt, args);
        va_end(args);
        return -EINVAL;
}

/* The numbers of a query's ids, the last one first; those that are not known are left out. */
static size_t look_up(const struct catalogue *c, const struct pm_str *const *ids, size_t n, uint32_t *to)
{
        size_t found = 0;

        for (size_t i = n, least = n > IDS_MAX ? n - IDS_MAX : 0; i-- > least;) {
                uint32_t item = ids_find(&c->items, ids[i]->p, ids[i]->n);

                if (item != IDS_NONE)
                        to[found++] = item;
        }
        return found;
}

/* The same for a list in the body. */
static int look_up_json(struct job *j, const char *key, json_t *list, uint32_t *to, size_t *ret_n)
{
        const struct catalogue *c = j->router->catalogue;

        if (!json_is_array(list) || json_array_size(list) > IDS_MAX)
                return refuse(j, "'%s' must be a list of at most %d ids", key, IDS_MAX);
        for (size_t i = 0; i < json_array_size(list); i++) {
                json_t *id = json_array_get(list, i);
                uint32_t item;

                if (!json_is_string(id))
                        return refuse(j, "'%s': item %zu is not a text", key, i);
                item = ids_find(&c->items, json_string_value(id), json_string_length(id));
                if (item != IDS_NONE)
                        to[(*ret_n)++] = item;
        }
        return 0;
}

static int add_tag(struct job *j, struct request *r, const char *key, json_t *value)
{
        const struct catalogue *c = j->router->catalogue;
        char tag[IDS_LENGTH_MAX + 1];
        int n = 0;

        if (json_is_string(value))
                n = snprintf(tag, sizeof tag, "%s=%s", key, json_string_value(value));
        else if (json_is_integer(value))
                n = snprintf(tag, sizeof tag, "%s=%lld", key, (long long)json_integer_value(value));
        else if (json_is_boolean(value))
                n = snprintf(tag, sizeof tag, "%s=%s", key, json_is_true(value) ? "true" : "false");
        if (n <= 0)
                return refuse(j, "'filter': '%.40s' must be a text, a whole number, true, false, or a list of them", key);
        if (r->n_tags == TAGS_MAX)
                return refuse(j, "'filter' has more than %d values", TAGS_MAX);
        r->tag[r->n_tags++] = (size_t)n < sizeof tag ? ids_find(&c->tags, tag, (size_t)n) : IDS_NONE;
        return 0;
}

static int read_filter(struct job *j, json_t *filter, struct request *r, struct interests_ask *ask)
{
        const char *key;
        json_t *value;

        if (!json_is_object(filter) || json_object_size(filter) > INTERESTS_FILTERS_MAX)
                return refuse(j, "'filter' must be an object of at most %d members", INTERESTS_FILTERS_MAX);
        json_object_foreach(filter, key, value) {
                size_t n = json_is_array(value) ? json_array_size(value) : 1, first = r->n_tags;

                for (size_t i = 0; i < n; i++)
                        if (add_tag(j, r, key, json_is_array(value) ? json_array_get(value, i) : value) < 0)
                                return -EINVAL;
                r->filter[ask->n_filters++] = (struct interests_filter){ &r->tag[first], r->n_tags - first };
        }
        ask->filter = r->filter;
        return 0;
}

/* What only the body says. */
static int read_body(struct job *j, struct request *r, struct interests_ask *ask)
{
        json_t *seen = json_object_get(r->body, "seen"), *deny = json_object_get(r->body, "deny");
        json_t *allow = json_object_get(r->body, "allow"), *filter = json_object_get(r->body, "filter");
        const char *text = json_string_value(seen);

        if (seen && (!text || (strcmp(text, "keep") != 0 && strcmp(text, "drop") != 0)))
                return refuse(j, "'seen' must be \"keep\" or \"drop\"");
        ask->keep_seen = text && strcmp(text, "keep") == 0;
        if (deny && look_up_json(j, "deny", deny, r->barred, &ask->n_barred) < 0)
                return -EINVAL;
        if (allow) {
                r->allowed = malloc((json_array_size(allow) + 1) * sizeof *r->allowed);
                if (!r->allowed)
                        return -ENOMEM;
                if (look_up_json(j, "allow", allow, r->allowed, &ask->n_allowed) < 0)
                        return -EINVAL;
                ask->allowed = r->allowed;
                ask->only_allowed = true;
        }
        return filter ? read_filter(j, filter, r, ask) : 0;
}

static int read_request(struct job *j, struct request *r, struct interests_ask *ask)
{
        const struct catalogue *c = j->router->catalogue;

        *ask = (struct interests_ask){ .user = ids_find(&c->users, j->user.p, j->user.n),
                                       .wanted = MIN(j->wanted, (size_t)INTERESTS_WANTED_MAX) };
        if (j->body.n > BODY_MAX)
                return refuse(j, "the body has %zu bytes, at most %zu are read", j->body.n, BODY_MAX);
        if (j->body.n > 0)
                r->body = json_loadb(j->body.p, j->body.n, 0, NULL);
        r->history = malloc((MIN(j->n_history, (size_t)IDS_MAX) + 1) * sizeof *r->history);
        r->barred = malloc((MIN(j->n_exclude, (size_t)IDS_MAX) + json_array_size(json_object_get(r->body, "deny")) + 1) *
                           sizeof *r->barred);
        if (!r->history || !r->barred)
                return -ENOMEM;
        ask->n_history = look_up(c, j->history, j->n_history, r->history);
        ask->n_barred = look_up(c, j->exclude, j->n_exclude, r->barred);
        ask->history = r->history;
        ask->barred = r->barred;
        return read_body(j, r, ask);
}

static void find(void *arg)
{
        struct job *j = arg;
        struct interests_room *room = router_room_take(j->router);
        CLEANUP(request_finish) struct request request = { .n_tags = 0 };
        struct interests_answer answer;
        struct interests_ask ask;

        j->failed = room ? read_request(j, &request, &ask) : -ENOMEM;
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
                const char *id = ids_at(&x->catalogue->items, from->item, &n);

                item[i] = (struct pm_item){ .id = { id, n }, .score = (double)from->score,
                                            .interest = from->interest == CELLS_NONE ? NULL : x->names[from->interest],
                                            .source = interests_source_name(from->source) };
                items[i] = &item[i];
        }
        return pm_candidates(q, items, j->n);
}

static pm_step recommend(void *self, struct pm_query *q)
{
        struct job *j = q->state = pm_alloc(q, sizeof *j);
        size_t wanted = MIN(q->wanted, (size_t)INTERESTS_WANTED_MAX);

        if (wanted == 0)
                return pm_candidates(q, NULL, 0);
        *j = (struct job){ .router = self, .user = q->user, .body = q->body, .history = q->history, .n_history = q->n_history,
                           .exclude = q->exclude, .n_exclude = q->n_exclude, .wanted = wanted };
        j->item = pm_alloc(q, wanted * sizeof *j->item);
        if (q->explain)
                j->part = pm_alloc(q, INTERESTS_PARTS_MAX * sizeof *j->part);
        return pm_offload(q, find, j, found);
}

PM_ROUTER(.name = "interests", .version = "1", .summary = "recommends, and routes by example: interests, each searched for (kNN-Embed)",
          .self_size = sizeof(struct router), .options = options, .open = opened, .close = closed, .route = interests_route,
          .recommend = recommend)

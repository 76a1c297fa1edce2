/* SPDX-License-Identifier: Apache-2.0 */
/* A catalogue: what comes back for whom, in which proportion, and what is refused when it is opened. */
#include <criterion/criterion.h>
#include <math.h>
#include <sys/stat.h>

#include "dot.h"
#include "interests.h"
#include "small_catalogue.h"

static char why[384];
static struct catalogue *c;
static struct interests_room *room;

static void begin(void)
{
        small_catalogue(folder, NULL);
        cr_assert_eq(catalogue_open(folder, true, &c, why, sizeof why), 0, "%s", why);
        cr_assert_eq(interests_room_create(c, &room), 0);
}

static void end(void)
{
        interests_room_destroy(room);
        catalogue_close(c);
        folder_end();
}

TestSuite(interests, .init = begin, .fini = end);

static uint32_t user(const char *id)
{
        uint32_t n = id_map_find(&c->users, id, strlen(id));

        cr_assert_neq(n, ID_MAP_NONE, "%s", id);
        return n;
}

static uint32_t item(const char *id)
{
        uint32_t n = id_map_find(&c->items, id, strlen(id));

        cr_assert_neq(n, ID_MAP_NONE, "%s", id);
        return n;
}

static unsigned kind_of(uint32_t i)
{
        size_t n;

        const char *id = id_map_at(&c->items, i, &n);

        return small_number(id, n) % 4;
}

static struct interests_answer find(const struct interests_settings *s, struct interests_ask ask)
{
        struct interests_answer a;

        cr_assert_eq(interests_find(c, s, &ask, room, &a, why, sizeof why), 0, "%s", why);
        cr_assert_leq(a.n, ask.wanted);
        for (size_t i = 0; i < a.n; i++) {
                cr_assert_lt(a.item[i].item, c->items.n);
                cr_assert(isfinite(a.item[i].score));
                cr_assert(i == 0 || a.item[i].score <= a.item[i - 1].score, "place %zu: %g after %g", i, (double)a.item[i].score,
                          i ? (double)a.item[i - 1].score : 0);
                for (size_t k = 0; k < i; k++)
                        cr_assert_neq(a.item[i].item, a.item[k].item, "twice");
        }
        return a;
}

static struct interests_settings only_near(void)
{
        struct interests_settings s = c->settings;

        s.also = s.votes = s.popular = 0;
        return s;
}

Test(interests, what_a_user_likes_comes_back_and_what_it_had_does_not)
{
        size_t right = 0, all = 0;

        for (unsigned u = 0; u < SMALL_USERS; u++) {
                char id[16];
                struct interests_answer a;
                size_t n;
                const uint32_t *had;

                (void)snprintf(id, sizeof id, "u%u", u);
                had = lists_at(&c->history, user(id), &n);
                if (n == 0)
                        continue;
                a = find(&c->settings, (struct interests_ask){ .user = user(id), .wanted = 5 });
                cr_assert_eq(a.n, 5);
                for (size_t i = 0; i < a.n; i++) {
                        right += kind_of(a.item[i].item) == u % 4 || kind_of(a.item[i].item) == (u + 1) % 4;
                        all++;
                        for (size_t k = 0; k < n; k++)
                                cr_assert_neq(a.item[i].item, had[k], "%s had it", id);
                }
        }
        cr_assert_geq(right * 100, all * 90, "%zu of %zu are of the two kinds that the user takes", right, all);
}

/* Counted by hand: the share of the user's items in each cell, mixed with the mean of the neighbours' shares. */
Test(interests, the_mixture_is_what_its_definition_says)
{
        struct interests_settings s = only_near();
        uint32_t u = user("u7");
        double share[8] = { 0 }, sum = 0;
        const struct interests_part *part;
        const float *query;
        size_t n, parts;
        const uint32_t *had = lists_at(&c->history, u, &n);

        for (size_t i = 0; i < n; i++)
                share[ivf_of(&c->by_interest, had[i])] += s.own / (double)n;
        for (size_t k = 0; k < s.neighbours; k++) {
                size_t m;
                const uint32_t *theirs = lists_at(&c->history, c->near[u * c->n_near + k], &m);

                for (size_t i = 0; i < m; i++)
                        share[ivf_of(&c->by_interest, theirs[i])] += (1 - s.own) / (double)m / s.neighbours;
        }
        cr_assert_eq(interests_mixture(c, &s, &(struct interests_ask){ .user = u }, room, &part, &parts, &query), 0);
        cr_assert_gt(parts, 1);
        for (size_t p = 0; p < parts; p++) {
                cr_assert_float_eq((double)part[p].weight, share[part[p].interest], 1e-5, "interest %u", part[p].interest);
                cr_assert_float_eq((double)dot_floats(query + p * 16, query + p * 16, 16), 1, 1e-5, "a query has length 1");
                sum += (double)part[p].weight;
        }
        cr_assert_float_eq(sum, 1, 1e-5);
        s.interests = 1;
        cr_assert_eq(interests_mixture(c, &s, &(struct interests_ask){ .user = u }, room, &part, &parts, &query), 0);
        cr_assert_eq(parts, 1);
        cr_assert_float_eq((double)part[0].weight, 1, 1e-6);
}

/* D'Hondt: in every prefix an interest has at least the whole part of its share less one, as far as it has items at all. */
Test(interests, every_prefix_is_in_proportion)
{
        struct interests_settings s = only_near();
        struct interests_answer a;
        size_t given[8] = { 0 };

        s.budget = 0;
        s.interests = 2;
        a = find(&s, (struct interests_ask){ .user = user("u9"), .wanted = 20, .keep_seen = true });
        cr_assert_eq(a.n_parts, 2);
        for (size_t i = 0; i < a.n; i++) {
                float claim = 0, second = 0;

                for (size_t p = 0; p < 2; p++) {
                        float mine = a.part[p].weight / (float)(given[p] + 1);

                        second = mine > claim ? claim : mine;
                        claim = fmaxf(claim, mine);
                }
                cr_assert_float_eq((double)a.item[i].score, (double)claim, 1e-6, "place %zu has the highest claim", i);
                for (size_t p = 0; p < 2; p++)
                        if (a.part[p].weight / (float)(given[p] + 1) >= claim) {
                                given[p]++;
                                break;
                        }
                (void)second;
        }
        for (size_t p = 0; p < 2; p++)
                cr_assert_geq((double)given[p], floor((double)a.part[p].weight * 20) - 1);
}

Test(interests, an_interest_that_has_no_more_hands_over)
{
        struct interests_settings s = only_near();
        struct interests_answer a = find(&s, (struct interests_ask){ .user = user("u9"), .wanted = 1000, .keep_seen = true });

        cr_assert_eq(a.n, SMALL_ITEMS + 1, "the whole catalogue, whatever has no vector at its end");
        a = find(&s, (struct interests_ask){ .user = user("u9"), .wanted = 1000 });
        cr_assert_lt(a.n, SMALL_ITEMS);
        a = find(&c->settings, (struct interests_ask){ .user = user("u9"), .wanted = 1000, .keep_seen = true });
        cr_assert_eq(a.n, SMALL_ITEMS + 1);
}

Test(interests, exact_and_by_bytes_agree_and_so_does_faiss)
{
        static const char *const factories[] = { "Flat", "HNSW16", "IVF4,Flat" };
        struct interests_settings s = only_near(), exact = s;
        char other[64];
        size_t same = 0;

        exact.budget = 0;
        for (unsigned u = 0; u < 20; u++) {
                struct interests_item kept[10];
                struct interests_answer a = find(&exact, (struct interests_ask){ .user = u, .wanted = 10 });
                size_t n = a.n;

                memcpy(kept, a.item, n * sizeof *kept);
                a = find(&s, (struct interests_ask){ .user = u, .wanted = 10 });
                for (size_t i = 0; i < n; i++)
                        for (size_t k = 0; k < a.n; k++)
                                same += kept[i].item == a.item[k].item;
        }
        cr_assert_geq(same, 190, "%zu of 200", same);
        for (size_t f = 0; f < LENGTH_OF(factories); f++) {
                struct catalogue *ours = c;
                struct interests_room *ours_room = room;

                (void)snprintf(other, sizeof other, "/tmp/pointsman-test-XXXXXX");
                small_catalogue(other, factories[f]);
                cr_assert_eq(catalogue_open(other, true, &c, why, sizeof why), 0, "%s: %s", factories[f], why);
                cr_assert(c->index);
                cr_assert_eq(interests_room_create(c, &room), 0);
                same = 0;
                for (unsigned u = 0; u < 20; u++) {
                        struct interests_answer a = find(&s, (struct interests_ask){ .user = u, .wanted = 10 });
                        uint32_t kept[10];
                        size_t n = a.n;

                        for (size_t i = 0; i < n; i++)
                                kept[i] = a.item[i].item;
                        a = (struct interests_answer){ 0 };
                        cr_assert_eq(interests_find(ours, &exact, &(struct interests_ask){ .user = u, .wanted = 10 }, ours_room, &a, why,
                                                    sizeof why), 0);
                        for (size_t i = 0; i < n; i++)
                                for (size_t k = 0; k < a.n; k++)
                                        same += kept[i] == a.item[k].item;
                }
                cr_assert_geq(same, f == 2 ? 100 : 180, "%s: %zu of 200", factories[f], same);
                interests_room_destroy(room);
                catalogue_close(c);
                folder_remove(other);
                c = ours;
                room = ours_room;
        }
}

Test(interests, a_bare_history_is_answered_like_its_user)
{
        size_t n, same = 0;
        const uint32_t *had = lists_at(&c->history, user("u11"), &n);
        struct interests_answer a = find(&c->settings, (struct interests_ask){ .user = user("u11"), .wanted = 10 });
        uint32_t kept[10], twice[256];

        for (size_t i = 0; i < 10; i++)
                kept[i] = a.item[i].item;
        for (size_t i = 0; i < n; i++)
                twice[i] = twice[n + i] = had[i];
        a = find(&c->settings, (struct interests_ask){ .user = ID_MAP_NONE, .history = twice, .n_history = 2 * n, .wanted = 10 });
        for (size_t i = 0; i < a.n; i++) {
                for (size_t k = 0; k < 10; k++)
                        same += a.item[i].item == kept[k];
                for (size_t k = 0; k < n; k++)
                        cr_assert_neq(a.item[i].item, had[k]);
        }
        cr_assert_geq(same, 6, "%zu of 10", same);
}

Test(interests, who_is_not_known_gets_what_is_popular)
{
        struct interests_answer a = find(&c->settings, (struct interests_ask){ .user = ID_MAP_NONE, .wanted = 10 });

        cr_assert_eq(a.n, 10);
        cr_assert_eq(a.n_parts, 0);
        for (size_t i = 0; i < a.n; i++) {
                cr_assert_eq(a.item[i].source, INTERESTS_POPULAR);
                cr_assert_eq(a.item[i].item, c->popular[i]);
        }
        a = find(&c->settings, (struct interests_ask){ .user = user("u120"), .wanted = 10 });
        cr_assert_eq(a.n, 10, "known, without anything");
        a = find(&c->settings, (struct interests_ask){ .user = ID_MAP_NONE, .history = (uint32_t[]){ item("i80") }, .n_history = 1, .wanted = 10 });
        cr_assert_eq(a.n, 10, "an item without a vector");
        a = find(&c->settings, (struct interests_ask){ .user = user("u1"), .wanted = 0 });
        cr_assert_eq(a.n, 0);
}

Test(interests, barred_allowed_and_filtered)
{
        uint32_t u = user("u5"), tag[2] = { id_map_find(&c->tags, "kind=2", 6), id_map_find(&c->tags, "kind=3", 6) };
        uint32_t odd = id_map_find(&c->tags, "odd=true", 8), none = ID_MAP_NONE, barred[3], allowed[5];
        struct interests_filter filter[2] = { { tag, 2 }, { &odd, 1 } }, never = { &none, 1 };
        struct interests_answer a = find(&c->settings, (struct interests_ask){ .user = u, .wanted = 10 });

        for (size_t i = 0; i < 3; i++)
                barred[i] = a.item[i].item;
        for (size_t i = 0; i < 5; i++)
                allowed[i] = a.item[9 - i].item;
        a = find(&c->settings, (struct interests_ask){ .user = u, .wanted = 10, .barred = barred, .n_barred = 3 });
        for (size_t i = 0; i < a.n; i++)
                for (size_t k = 0; k < 3; k++)
                        cr_assert_neq(a.item[i].item, barred[k]);
        for (int near = 0; near < 2; near++) { /* weighed, and in proportion only */
                struct interests_settings s = near ? only_near() : c->settings;

                a = find(&s, (struct interests_ask){ .user = u, .wanted = 10, .allowed = allowed, .n_allowed = 5, .only_allowed = true });
                cr_assert_eq(a.n, 5);
                a = find(&s, (struct interests_ask){ .user = u, .wanted = 10, .allowed = allowed, .n_allowed = 5, .only_allowed = true,
                                                     .barred = allowed, .n_barred = 2 });
                cr_assert_eq(a.n, 3, "barred counts more than allowed");
                a = find(&s, (struct interests_ask){ .user = u, .wanted = 10, .only_allowed = true });
                cr_assert_eq(a.n, 0, "nothing is allowed");
                a = find(&s, (struct interests_ask){ .user = u, .wanted = 10, .filter = filter, .n_filters = 1 });
                cr_assert_eq(a.n, 10);
                for (size_t i = 0; i < a.n; i++)
                        cr_assert_geq(kind_of(a.item[i].item), 2);
                a = find(&s, (struct interests_ask){ .user = u, .wanted = 10, .filter = filter, .n_filters = 2 });
                cr_assert_eq(a.n, 10);
                for (size_t i = 0; i < a.n; i++)
                        cr_assert_eq(kind_of(a.item[i].item), 3, "both hold");
                a = find(&s, (struct interests_ask){ .user = u, .wanted = 10, .filter = &never, .n_filters = 1 });
                cr_assert_eq(a.n, 0, "a tag that no item has");
        }
}

/* ---- folders ------------------------------------------------------------------------------------------------------------------ */

static void path_to(const char *name, char *path)
{
        (void)snprintf(path, PATH_MAX, "%s/%s", folder, name);
}

static void refused(bool verify, int error, const char *says)
{
        struct catalogue *x;

        cr_assert_eq(catalogue_open(folder, verify, &x, why, sizeof why), error, "%s", why);
        cr_assert(strstr(why, says), "'%s' does not say '%s'", why, says);
}

Test(interests, what_is_no_catalogue_is_refused)
{
        char path[PATH_MAX];
        struct stat st;
        FILE *f;
        char byte;

        path_to(CATALOGUE_ARRAYS, path);
        cr_assert_eq(stat(path, &st), 0);
        f = fopen(path, "r+e");
        (void)fseek(f, -3, SEEK_END); /* one byte of a text: only the digest can see it */
        cr_assert_eq(fread(&byte, 1, 1, f), 1);
        (void)fseek(f, -3, SEEK_END);
        (void)fputc(byte ^ 1, f);
        (void)fclose(f);
        refused(true, -EINVAL, "catalogue.safetensors: its SHA-256 is");
        cr_assert_eq(truncate(path, st.st_size - 100), 0);
        refused(true, -EINVAL, "bytes, the manifest says");
        refused(false, -EINVAL, "cut, or of another training?");
        (void)unlink(path);
        refused(true, -ENOENT, "catalogue.safetensors: cannot open");
        path_to(CATALOGUE_MANIFEST, path);
        f = fopen(path, "we");
        (void)fprintf(f, "{\"kind\": \"pointsman.map\", \"version\": 1}");
        (void)fclose(f);
        refused(true, -EINVAL, "its kind is 'pointsman.map', wanted 'pointsman.interests'");
        f = fopen(path, "we");
        (void)fprintf(f, "{\"kind\": \"pointsman.interests\", \"version\": 2}");
        (void)fclose(f);
        refused(true, -EINVAL, "version 2, this program reads version 1");
        f = fopen(path, "we");
        (void)fprintf(f, "{\"kind\": ");
        (void)fclose(f);
        refused(true, -EINVAL, "manifest.json: line 1");
        (void)unlink(path);
        refused(true, -ENOENT, "is it a folder of pointsman-train interests?");
}

/* Writes the arrays anew with one 4-byte number changed, and the manifest's digest left out. */
static void spoil(const char *tensor, size_t place, uint32_t value)
{
        char path[PATH_MAX];
        struct tensors *t;
        const struct tensor *x;
        size_t at;
        FILE *f;

        path_to(CATALOGUE_ARRAYS, path);
        cr_assert_eq(tensors_open(path, &t, why, sizeof why), 0, "%s", why);
        x = tensors_find(t, tensor);
        cr_assert(x && place * tensor_type_size(x->type) < x->bytes, "%s", tensor);
        at = (size_t)((const char *)x->data - (const char *)tensors_at(t, 0)->data); /* "item.start" stands first in the file */
        cr_assert_str_eq(tensors_at(t, 0)->name, "item.start");
        f = fopen(path, "r+e");
        cr_assert_eq(fseek(f, 0, SEEK_END), 0);
        {
                unsigned char head[8];
                uint64_t length = 0;

                rewind(f);
                cr_assert_eq(fread(head, 1, 8, f), 8);
                for (size_t i = 0; i < 8; i++)
                        length |= (uint64_t)head[i] << (8 * i);
                cr_assert_eq(fseek(f, (long)(8 + length + at + place * tensor_type_size(x->type)), SEEK_SET), 0);
        }
        cr_assert_eq(fwrite(&value, 4, 1, f), 1);
        (void)fclose(f);
        tensors_close(t);
}

Test(interests, numbers_that_would_harm_are_refused)
{
        static const struct {
                const char *tensor;
                size_t place;
                uint32_t value;
                const char *says;
        } cases[] = {
                { "history.of", 3, 81, "lists 'history'" },
                { "history.start", 5, 0xffffff00u, "lists 'history'" },
                { "also.of", 0, 0x80000000u, "lists 'also'" },
                { "tagged.of", 1, 0, "lists 'tagged'" },
                { "near", 7, 500, "'near' holds 500" },
                { "popular", 2, 81, "'popular' holds 81" },
                { "item.first", 3, 4000, "cell" },
                { "item.near", 9, 8, "is near cell 8 of 8" },
                { "item.vector", 37, 0x7fc00000u, "vectors: row 2, column 5 is not a finite number" },
                { "item.centre", 0, 0x7f800000u, "centres: row 0" },
                { "user.scale", 0, 0xff800000u, "scales" },
                { "also.best", 1, 0x7fc00000u, "'also.best' is not a sensible number" },
                { "item.slot", 1, 4321, "ids of 'item'" },
                { "item.start", 2, 0xfffffff0u, "ids of 'item'" },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                spoil(cases[i].tensor, cases[i].place, cases[i].value);
                refused(false, -EINVAL, cases[i].says);
                refused(true, -EINVAL, "SHA-256");
                folder_end();
                small_catalogue(folder, NULL);
        }
}

/* ---- one item, one user ------------------------------------------------------------------------------------------------------- */

Test(interests, one_edge_is_a_catalogue)
{
        struct catalogue_recipe p = { .rounds = 2, .threads = 1, .near = 2, .also = 2, .user_exponent = .5, .item_exponent = .5,
                                      .split = SIZE_MAX, .settings = c->settings };
        char other[] = "/tmp/test-interests-XXXXXX", path[PATH_MAX];
        float v[2] = { 1, 0 };
        struct id_map *users, *items;
        struct graph_edge edge = { .weight = 1 };
        struct graph g = { .edge = &edge, .n = 1, .digest = "" };
        struct sparse_cell cell = { 0, 0, 1 };
        struct catalogue *one, *ours = c;
        struct interests_room *ours_room = room;
        struct vectors_side side;
        struct vectors vectors;
        struct interests_answer a;
        struct sparse m;
        uint32_t n;

        cr_assert_eq(id_map_create(&users), 0);
        cr_assert_eq(id_map_create(&items), 0);
        cr_assert_eq(id_map_add(users, "u", 1, &n), 0);
        cr_assert_eq(id_map_add(items, "i", 1, &n), 0);
        g.users = users;
        g.items = items;
        cr_assert(mkdtemp(other));
        (void)snprintf(path, sizeof path, "%s/vectors", other);
        side = (struct vectors_side){ id_map_view(items), v };
        cr_assert_eq(vectors_write(path, &(struct vectors_side){ .row = NULL }, &side, 2, NULL, why, sizeof why), 0, "%s", why);
        cr_assert_eq(vectors_open(path, &vectors, why, sizeof why), 0, "%s", why);
        cr_assert_eq(sparse_create(1, 1, &cell, 1, &m), 0);
        p.graph = &g;
        p.matrix = &m;
        p.vectors = &vectors;
        cr_assert_eq(catalogue_build(&p, other, why, sizeof why), 0, "%s", why);
        cr_assert_eq(catalogue_open(other, true, &one, why, sizeof why), 0, "%s", why);
        c = one;
        cr_assert_eq(interests_room_create(one, &room), 0);
        a = find(&one->settings, (struct interests_ask){ .user = 0, .wanted = 10 });
        cr_assert_eq(a.n, 0, "the only item was had");
        a = find(&one->settings, (struct interests_ask){ .user = 0, .wanted = 10, .keep_seen = true });
        cr_assert_eq(a.n, 1);
        a = find(&one->settings, (struct interests_ask){ .user = ID_MAP_NONE, .wanted = 10 });
        cr_assert_eq(a.n, 1);
        interests_room_destroy(room);
        catalogue_close(one);
        c = ours;
        room = ours_room;
        sparse_finish(&m);
        vectors_close(&vectors);
        id_map_destroy(users);
        id_map_destroy(items);
        folder_remove(other);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for `pointsman decisions import`: refused with a reason, or a decision that Redis can be given and a gateway reads again as the
 * same, and that is written as a line which is accepted, too.
 */
#include <jansson.h>

#include "cache_cli.h"
#include "decision_codec.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_text(struct pm_str a, struct pm_str b)
{
        return !a.p == !b.p && a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void same(const struct cached_decision *a, const struct cached_decision *b)
{
        assert(a->ends_ms == b->ends_ms && (float)a->confidence == (float)b->confidence && a->n_fallbacks == b->n_fallbacks);
        assert(same_text(a->expert, b->expert) && same_text(a->router, b->router) && same_text(a->category, b->category));
        assert(same_text(a->reason, b->reason) && same_text(a->extra, b->extra));
        for (size_t i = 0; i < a->n_fallbacks; i++)
                assert(same_text(a->fallbacks[i], b->fallbacks[i]));
}

static void check_line(struct pm_str key, const struct cached_decision *k)
{
        CLEANUP(free_p) char *line = decisions_line(key, k);
        void *memory = NULL;
        struct pm_str key_again;
        struct cached_decision again;
        char why[200];

        assert(line && !strpbrk(line, "\r\n"));
        assert(decisions_read_line(line, strlen(line), &key_again, &again, &memory, why, sizeof why) == 0);
        assert(same_text(key, key_again) && again.ends_ms == k->ends_ms && same_text(again.expert, k->expert));
        json_decref(memory);
}

static void line(const char *p, size_t n)
{
        CLEANUP(free_p) unsigned char *value = NULL;
        char why[200] = "";
        void *memory = NULL;
        struct cached_decision k, again;
        struct pm_str key;
        size_t size;

        if (decisions_read_line(p, n, &key, &k, &memory, why, sizeof why) < 0) {
                assert(why[0] && !memory);
                return;
        }
        assert(key.n >= 3 && (key.p[0] == 'd' || key.p[0] == 'p') && key.p[1] == '|');
        size = decision_encoded_size(&k);
        value = malloc(size);
        assert(value);
        decision_encode(&k, value);
        assert(decision_decode((struct pm_str){ (char *)value, size }, &again) == 0);
        same(&k, &again);
        check_line(key, &k);
        json_decref(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *p = (const char *)data, *end = p + size;

        while (p < end) {
                const char *stop = memchr(p, '\n', (size_t)(end - p));

                stop = stop ? stop : end;
                line(p, (size_t)(stop - p));
                p = MIN(stop + 1, end);
        }
        return 0;
}

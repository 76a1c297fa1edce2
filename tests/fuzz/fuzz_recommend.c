/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A body as that of POST /v1/recommend ('r' before it) or /v1/feedback ('f'), through a worker and interests.so over a small catalogue.
 *
 * Refused with an error object, or answered as asked: no item of `deny` or `exclude`, none but those of `allow`, no more than `n`.  What
 * was accepted as feedback is read by the training's own reader at the end, without a bad line.
 */
#include <jansson.h>

#include "fixture.h"
#include "fixture_shop.h"
#include "graph.h"
#include "js.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t accepted; /* events */

/* What was taken is taken by the training, too. */
static void read_feedback(void)
{
        struct graph g = { .n = 0 };
        struct graph_source source = { .max_bad = 0 };
        char path[128], why[256] = "";

        stand_close();
        if (accepted == 0)
                return;
        (void)snprintf(path, sizeof path, "%s/feedback.tsv", stand_folder());
        source.path = path;
        if (graph_read(&source, &g, why, sizeof why) < 0 || g.bad > 0 || g.lines != accepted) {
                (void)fprintf(stderr, "%zu events were accepted, %zu lines are good, %zu bad: %s; %s\n", accepted, g.lines - g.bad, g.bad, why,
                              g.n_named ? g.named[0].why : "");
                abort();
        }
        graph_finish(&g);
}

static void begin(void)
{
        char text[2048];

        shop_write();
        (void)snprintf(text, sizeof text,
                       "{\"listen\": \"127.0.0.1:1\", \"workers\": 1, \"log\": {\"level\": \"error\", \"requests\": false}, \"plugin_dirs\": [\"%s\"],"
                       "\"limits\": {\"ids\": 16, \"items\": 8}, \"experts\": {\"one\": {\"endpoints\": \"http://127.0.0.1:1/v1\"}},"
                       "\"routers\": {\"shop\": {\"plugin\": \"interests\", \"index\": \"%s\", \"verify\": false}},"
                       "\"routes\": {\"shop\": {\"routers\": [\"shop\"], \"deadline\": \"20s\"}},"
                       "\"feedback\": {\"file\": \"%s/feedback.tsv\", \"keep\": 5, \"memory\": \"64KiB\"}}", ROUTERS, stand_folder(), stand_folder());
        stand_open(text);
        assert(atexit(read_feedback) == 0);
}

/* Is the text of the member `id` among those of a list?  As the gateway itself reads lists. */
static bool is_among(struct pm_str list, const char *id)
{
        struct pm_str key;
        bool found = false;
        struct js j;

        js_start(&j, list, 4);
        for (js_enter(&j); js_more(&j, &key);)
                found = js_string_is(js_take(&j), id) || found;
        return found;
}

static void check_items(struct pm_str body, const json_t *items)
{
        struct pm_str allow = js_member(body, "allow"), deny = js_member(body, "deny"), exclude = js_member(body, "exclude"), n = js_member(body, "n");
        int64_t wanted = 20;

        assert(json_is_array(items));
        assert(!n.p || js_int(n, &wanted));
        assert(json_array_size(items) <= (size_t)wanted);
        for (size_t i = 0; i < json_array_size(items); i++) {
                const char *id = json_string_value(json_object_get(json_array_get(items, i), "id"));

                assert(id);
                assert(js_type(deny) != JS_ARRAY || !is_among(deny, id));
                assert(js_type(exclude) != JS_ARRAY || !is_among(exclude, id));
                assert(js_type(allow) != JS_ARRAY || is_among(allow, id));
        }
}

static void check_answer(struct pm_str body, int status, struct pm_str answer, bool recommend)
{
        json_t *o = json_loadb(answer.p, answer.n, JSON_REJECT_DUPLICATES, NULL), *data;
        const char *object = json_string_value(json_object_get(o, "object"));

        assert(json_is_object(o));
        if (status != 200) {
                assert(json_is_string(json_object_get(json_object_get(o, "error"), "message")));
                assert(status == 400 || status == 404 || status == 413); /* the router refuses nothing that we have taken */
        } else if (!recommend) {
                accepted += (size_t)json_integer_value(json_object_get(o, "accepted"));
        } else if (object && strcmp(object, "list") == 0) {
                data = json_object_get(o, "data");
                for (size_t i = 0; i < json_array_size(data); i++)
                        check_items(body, json_object_get(json_array_get(data, i), "items"));
        } else {
                check_items(body, json_object_get(o, "items"));
        }
        json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static bool begun;
        struct pm_str body = { (const char *)data + 1, n - 1 }, answer;
        bool recommend = n > 0 && data[0] == 'r';
        int status;

        if (!begun)
                begin();
        begun = true;
        if (n == 0 || (!recommend && data[0] != 'f'))
                return 0;
        status = stand_post(recommend ? "/v1/recommend" : "/v1/feedback", "", body, &answer);
        check_answer(js_trim(body), status, answer, recommend);
        return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of request that are no chats: /v1/route, /v1/recommend, /v1/feedback, /v1/models, /v1/embeddings. */
#include "request_fixture.h"

static void routed(void)
{
        front_begin(EXPERTS ROUTE("decisions: local, pin: 0s"));
        mock_says(ALPHA, "200 OK", "", ANSWER("alpha"));
}

Test(request_api, explain, .init = routed, .fini = front_end)
{
        struct client c = ask("/v1/route", "", SAYING("auto", "alpha?"));

        IS(c, 200);
        HAS(c, "\"expert\":\"alpha\"");
        HAS(c, "\"decision\":\"computed\"");
        HAS(c, "\"fallbacks\":[\"beta\"]");
        HAS(c, "\"router\":\"decider\"");
        c = ask("/v1/route", "", "{\"model\":\"auto\",\"input\":[\"alpha?\",\"beta?\",\"alpha?\"]}");
        IS(c, 200);
        HAS(c, "\"object\":\"list\"");
        cr_assert(strstr(strstr(c.body, "\"expert\":\"alpha\""), "\"expert\":\"beta\""));
        IS(ask("/v1/route", "", "{\"model\":\"nobody\",\"input\":\"x\"}"), 404);
        IS(ask("/v1/route", "", "{"), 400);
        cr_assert_eq(mock_asked(ALPHA) + mock_asked(BETA), 0);
        cr_assert_eq(front_metric("pointsman_requests_total{api=\"route\",status=\"200\"}"), 2);
}

Test(request_api, nobody_recommends, .init = routed, .fini = front_end)
{
        struct client c;

        IS(ask("/v1/feedback", "", "{\"user\":\"u\",\"item\":\"i\"}"), 404);
        c = ask("/v1/recommend", "", "{\"user\":\"u\"}");
        IS(c, 404);
        HAS(c, "nothing_recommends");
        HAS(ask("/v1/recommend", "", "{\"user\":\"u\",\"model\":\"auto\"}"), "no router of route 'auto' recommends");
}

static void items(void)
{
        front_begin(EXPERTS "routers: {items: {plugin: '${ITEMS}'}}\nroutes: {catalogue: {routers: items}}\nfeedback: {keep: 3}\n");
}

/* The router gives item-1, item-2, ... but for what is in the history or excluded. */
Test(request_api, recommend, .init = items, .fini = front_end)
{
        static const struct {
                const char *body, *param;
        } bad[] = {
                { "[]", "null" }, { "{\"model\":7}", "\"model\"" }, { "{\"user\":7}", "\"user\"" }, { "{\"n\":0}", "\"n\"" }, { "{\"n\":1001}", "\"n\"" },
                { "{\"history\":7}", "\"history\"" }, { "{\"history\":[7]}", "\"history[0]\"" }, { "{\"users\":[]}", "\"users\"" },
                { "{\"users\":[\"a\"],\"user\":\"b\"}", "\"users\"" }, { "{\"explain\":7}", "\"explain\"" }, { "{\"seen\":\"maybe\"}", "\"seen\"" },
                { "{\"filter\":7}", "\"filter\"" }, { "{\"user\":\"a\",\"User\":\"b\"}", "\"user\"" },
        };
        struct client c = ask("/v1/recommend", "", "{\"user\":\"u\",\"history\":[\"item-2\",\"else\"],\"exclude\":[\"item-4\"],\"n\":3}");

        IS(c, 200);
        HAS(c, "\"object\":\"recommendation\"");
        cr_assert(says(&c, "\"item-1\"") && says(&c, "\"item-3\"") && says(&c, "\"item-5\"") && !says(&c, "\"item-2\"") && !says(&c, "\"item-4\""), "%s", c.body);
        c = ask("/v1/recommend", "", "{\"users\":[\"a\",\"b\"],\"n\":1}");
        IS(c, 200);
        cr_assert(says(&c, "\"user\":\"a\"") && says(&c, "\"user\":\"b\"") && says(&c, "\"object\":\"list\""), "%s", c.body);
        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                char param[64];

                c = ask("/v1/recommend", "", bad[i].body);
                cr_assert_eq(c.status, 400, "%s: %d %s", bad[i].body, c.status, c.body);
                (void)snprintf(param, sizeof param, "\"param\":%s", bad[i].param);
                HAS(c, param);
        }
}

/* What a user has taken counts at once, the newest few of it. */
Test(request_api, feedback, .init = items, .fini = front_end)
{
        static const char *const bad[] = { "{\"user\":\"u\"}", "{\"user\":\"\",\"item\":\"i\"}", "{\"user\":\"u\",\"item\":\"a\\u0000\"}",
                                           "{\"user\":\"u\",\"item\":\"i\",\"weight\":-1}", "{\"user\":\"u\",\"item\":\"i\",\"time\":-1}", "{\"events\":5}",
                                           "{\"events\":[{\"user\":\"u\",\"item\":\"i\"},{\"user\":\"u\"}]}" };
        struct client c = ask("/v1/feedback", "", "{\"user\":\"u\",\"item\":\"item-1\"}");

        IS(c, 200);
        cr_assert_str_eq(c.body, "{\"object\":\"feedback\",\"accepted\":1}");
        c = ask("/v1/recommend", "", "{\"user\":\"u\",\"n\":1}");
        HAS(c, "\"item-2\"");
        HAS(ask("/v1/recommend", "", "{\"user\":\"v\",\"n\":1}"), "\"item-1\"");
        HAS(ask("/v1/feedback", "", "{\"events\":[{\"user\":\"u\",\"item\":\"item-2\"},{\"user\":\"u\",\"item\":\"item-3\"},{\"user\":\"u\",\"item\":\"item-4\"}]}"),
            "\"accepted\":3");
        HAS(ask("/v1/recommend", "", "{\"user\":\"u\",\"n\":1}"), "\"item-1\"");
        for (size_t i = 0; i < LENGTH_OF(bad); i++) {
                c = ask("/v1/feedback", "", bad[i]);
                cr_assert_eq(c.status, 400, "%s: %d %s", bad[i], c.status, c.body);
        }
        HAS(ask("/v1/recommend", "", "{\"user\":\"u\",\"n\":1}"), "\"item-1\""); /* none of a list counts if one is wrong */
}

Test(request_api, models, .init = routed, .fini = front_end)
{
        struct client c = ask("/v1/models", "", NULL);

        IS(c, 200);
        HAS(c, "\"id\":\"alpha\"");
        HAS(c, "\"id\":\"auto\"");
        IS(ask("/v1/models/beta", "", NULL), 200);
        IS(ask("/v1/models/nobody", "", NULL), 404);
}

Test(request_api, embeddings, .fini = front_end)
{
        struct client c;

        front_begin("experts: {alpha: {endpoints: '${ALPHA}', apis: embeddings}}\nembedders: {static: {model: '${PM_MODELS}/pointsman-static'}}\n");
        mock_says(ALPHA, "200 OK", "", "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[1,2]}],\"usage\":{\"prompt_tokens\":3}}");
        c = ask("/v1/embeddings", "", "{\"model\":\"alpha\",\"input\":\"x\"}");
        IS(c, 200);
        HAS(c, "[1,2]");
        c = ask("/v1/embeddings", "", "{\"model\":\"static\",\"input\":[\"one\",\"two\"],\"dimensions\":4}");
        IS(c, 200);
        HAS(c, "\"index\":1");
        c = ask("/v1/embeddings", "", "{\"model\":\"static\",\"input\":\"one\",\"encoding_format\":\"base64\"}");
        IS(c, 200);
        HAS(c, "\"embedding\":\"");
        IS(ask("/v1/embeddings", "", "{\"model\":\"static\",\"input\":[1]}"), 400);
        IS(ask("/v1/embeddings", "", "{\"model\":\"static\",\"input\":\"x\",\"dimensions\":0}"), 400);
        IS(ask("/v1/embeddings", "", "{\"model\":\"static\",\"input\":\"x\",\"encoding_format\":\"hex\"}"), 400);
        IS(ask(CHAT, "", SAYING("static", "x")), 404);
}

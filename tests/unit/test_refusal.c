/* SPDX-License-Identifier: Apache-2.0 */
/* What experts say in place of an answer, as the servers of this world spell it; keys that stand in it; times in header lines. */
#include <criterion/criterion.h>

#include "h1.h"
#include "header_times.h"
#include "openai.h"
#include "refusal.h"
#include "secrets.h"

#include "base.h"

static struct pm_str str(const char *text)
{
        return (struct pm_str){ text, strlen(text) };
}

#define SHAPE(message, type, code) "{\"error\":{\"message\":\"" message "\",\"type\":\"" type "\",\"param\":null,\"code\":" code "}}"

static const struct {
        const char *body;
        int status;
        enum refusal_kind kind;
        bool in_shape;
        const char *message, *type, *param, *code;
} answers[] = {
        { SHAPE("m", "invalid_request_error", "null"), 400, REFUSAL_REQUEST, true, "m", "invalid_request_error", NULL, NULL },
        { SHAPE("m", "invalid_request_error", "\"c\""), 422, REFUSAL_REQUEST, true, "m", "invalid_request_error", NULL, "c" },
        { "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"code\":null}}", 400, REFUSAL_REQUEST, false, "m", "t", NULL, NULL },
        { "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":400}}", 400, REFUSAL_REQUEST, false, "m", "t", NULL, NULL },
        { "{\"error\":\"text\"}", 400, REFUSAL_REQUEST, false, "text", NULL, NULL, NULL },
        { "{\"error\":\"Bad Request\",\"message\":\"more words\"}", 400, REFUSAL_REQUEST, false, "more words", NULL, NULL, NULL },
        { "{\"detail\":\"text\"}", 422, REFUSAL_REQUEST, false, "text", NULL, NULL, NULL },
        { "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"messages\",0,\"role\"],\"msg\":\"Field required\"}]}", 422, REFUSAL_REQUEST,
          false, "Field required", "missing", "messages[0].role", NULL },
        { "{\"object\":\"error\",\"message\":\"m\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}", 400, REFUSAL_REQUEST, false, "m",
          "BadRequestError", NULL, NULL },
        { "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"m\"}}", 400, REFUSAL_REQUEST, false, "m",
          "invalid_request_error", NULL, NULL },
        { "[{\"error\":{\"code\":400,\"message\":\"m\",\"status\":\"INVALID_ARGUMENT\"}}]", 400, REFUSAL_REQUEST, false, "m", "INVALID_ARGUMENT",
          NULL, NULL },
        { "{\"errors\":[{\"code\":7003,\"message\":\"m\"}],\"success\":false}", 400, REFUSAL_REQUEST, false, "m", NULL, NULL, NULL },
        { "5", 400, REFUSAL_REQUEST, false, "5", NULL, NULL, NULL },
        { "\"words\"", 400, REFUSAL_REQUEST, false, "words", NULL, NULL, NULL },
        { "{}", 400, REFUSAL_REQUEST, false, "{}", NULL, NULL, NULL },
        { "too many tables", 400, REFUSAL_REQUEST, false, "too many tables", NULL, NULL, NULL },
        { "<html>no</html>", 400, REFUSAL_REQUEST, false, NULL, NULL, NULL, NULL },
        { "", 413, REFUSAL_REQUEST, false, NULL, NULL, NULL, NULL },
        { "{\"object\": \"error\", \"message\": {\"detail\": [{\"type\": \"extra_forbidden\", \"loc\": [\"body\", \"stream_options\"]}]}}", 422,
          REFUSAL_OPTIONS, false, NULL, "extra_forbidden", "stream_options", NULL },
        { SHAPE("Unknown name include_usage", "t", "null"), 400, REFUSAL_OPTIONS, true, NULL, "t", NULL, NULL },
        /* whose fault */
        { SHAPE("m", "t", "\"content_filter\""), 403, REFUSAL_REQUEST, true, "m", "t", NULL, "content_filter" },
        { SHAPE("m", "t", "null"), 401, REFUSAL_ACCESS, true, "m", "t", NULL, NULL },
        { "not here", 404, REFUSAL_ACCESS, false, "not here", NULL, NULL, NULL },
        { SHAPE("m", "insufficient_quota", "\"insufficient_quota\""), 429, REFUSAL_QUOTA, true, "m", "insufficient_quota", NULL, "insufficient_quota" },
        { "{\"error\":{\"message\":\"Insufficient Balance\"}}", 402, REFUSAL_QUOTA, false, "Insufficient Balance", NULL, NULL, NULL },
        { SHAPE("m", "requests", "\"rate_limit_exceeded\""), 429, REFUSAL_BUSY, true, "m", "requests", NULL, "rate_limit_exceeded" },
        { "", 429, REFUSAL_BUSY, false, NULL, NULL, NULL, NULL },
        { SHAPE("image input is not supported", "server_error", "null"), 500, REFUSAL_DOUBT, true, "image input is not supported", "server_error", NULL, NULL },
        { "<html>", 500, REFUSAL_FAULT, false, NULL, NULL, NULL, NULL },
        { "out of order", 500, REFUSAL_FAULT, false, "out of order", NULL, NULL, NULL },
        { SHAPE("m", "t", "null"), 502, REFUSAL_FAULT, true, "m", "t", NULL, NULL },
        { SHAPE("m", "t", "null"), 503, REFUSAL_FAULT, true, "m", "t", NULL, NULL },
        { SHAPE("m", "t", "null"), 408, REFUSAL_FAULT, true, "m", "t", NULL, NULL },
        /* too long: OpenAI, vLLM old and new, llama.cpp, Ollama, Anthropic, TGI, Gemini, LiteLLM */
        { SHAPE("m", "invalid_request_error", "\"context_length_exceeded\""), 400, REFUSAL_CONTEXT, true, "m", "invalid_request_error", NULL,
          "context_length_exceeded" },
        { "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens\","
          "\"type\":\"BadRequestError\",\"param\":null,\"code\":400}", 400, REFUSAL_CONTEXT, false, NULL, "BadRequestError", NULL, "context_length_exceeded" },
        { "{\"error\":{\"message\":\"The decoder prompt (length 9000) is longer than the maximum model length of 4096.\",\"type\":\"BadRequestError\","
          "\"param\":null,\"code\":400}}", 400, REFUSAL_CONTEXT, false, NULL, "BadRequestError", NULL, "context_length_exceeded" },
        { "{\"error\":{\"code\":400,\"message\":\"the request exceeds the available context size, try increasing it\","
          "\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":5000,\"n_ctx\":4096}}", 400, REFUSAL_CONTEXT, false, NULL,
          "exceed_context_size_error", NULL, "context_length_exceeded" },
        { "{\"error\":{\"code\":500,\"message\":\"the request exceeds the available context size\",\"type\":\"server_error\"}}", 500, REFUSAL_CONTEXT, false,
          NULL, "server_error", NULL, "context_length_exceeded" },
        { "{\"error\":\"the input length exceeds the context length\"}", 400, REFUSAL_CONTEXT, false, NULL, NULL, NULL, "context_length_exceeded" },
        { "{\"error\":{\"message\":\"prompt too long; exceeded max context length by 10 tokens\",\"type\":\"api_error\",\"param\":null,\"code\":null}}", 400,
          REFUSAL_CONTEXT, false, NULL, "api_error", NULL, "context_length_exceeded" },
        { "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 210000 tokens > 200000 maximum\"}}", 400,
          REFUSAL_CONTEXT, false, NULL, "invalid_request_error", NULL, "context_length_exceeded" },
        { "{\"error\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens\","
          "\"error_type\":\"validation\"}", 422, REFUSAL_CONTEXT, false, NULL, "validation", NULL, "context_length_exceeded" },
        { "{\"error\":\"Input validation error: `inputs` must have less than 4095 tokens. Given: 5000\",\"error_type\":\"validation\"}", 422,
          REFUSAL_CONTEXT, false, NULL, "validation", NULL, "context_length_exceeded" },
        { "[{\"error\":{\"code\":400,\"message\":\"The input token count (9) exceeds the maximum number of tokens allowed (8).\",\"status\":\"INVALID_ARGUMENT\"}}]",
          400, REFUSAL_CONTEXT, false, NULL, "INVALID_ARGUMENT", NULL, "context_length_exceeded" },
        /* SGLang, Cohere, LM Studio, Mistral, Together */
        { "{\"object\":\"error\",\"message\":\"The input (5000 tokens) is longer than the model's context length (4096 tokens).\","
          "\"type\":\"BadRequestError\",\"param\":null,\"code\":400}", 400, REFUSAL_CONTEXT, false, NULL, "BadRequestError", NULL, "context_length_exceeded" },
        { "{\"message\":\"too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000\"}", 400, REFUSAL_CONTEXT, false,
          NULL, NULL, NULL, "context_length_exceeded" },
        { "{\"error\":\"Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 "
          "tokens, which is not enough.\"}", 400, REFUSAL_CONTEXT, false, NULL, NULL, NULL, "context_length_exceeded" },
        { "{\"object\":\"error\",\"message\":\"Prompt contains 5000 tokens, too large for model with 4096 maximum context length\","
          "\"type\":\"invalid_request_prompt\",\"param\":null,\"code\":\"3051\"}", 400, REFUSAL_CONTEXT, false, NULL, "invalid_request_prompt", NULL,
          "context_length_exceeded" },
        { SHAPE("`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 `inputs` tokens", "invalid_request_error", "null"), 422,
          REFUSAL_CONTEXT, false, NULL, "invalid_request_error", NULL, "context_length_exceeded" },
        { SHAPE("maximum context length", "t", "null"), 429, REFUSAL_BUSY, true, NULL, "t", NULL, NULL },
};

static void same(const char *got, const char *wanted, size_t i, const char *what)
{
        cr_assert(wanted ? got && strcmp(got, wanted) == 0 : !got, "%zu: %s is '%s', not '%s'", i, what, got ? got : "(none)", wanted ? wanted : "(none)");
}

Test(refusal, answers)
{
        struct arena a;

        for (size_t i = 0; i < LENGTH_OF(answers); i++) {
                struct refusal r;

                arena_init(&a, NULL, 1 << 20);
                refusal_read(answers[i].status, false, str(answers[i].body), (struct pm_str){ 0 }, &a, &r);
                cr_assert_eq(r.kind, answers[i].kind, "%zu: %s: kind %d, not %d", i, answers[i].body, r.kind, answers[i].kind);
                cr_assert_eq(r.clean && openai_chat.is_error(str(answers[i].body)), answers[i].in_shape, "%zu: %s", i, answers[i].body);
                cr_assert_eq(r.status, answers[i].kind == REFUSAL_CONTEXT && answers[i].status == 500 ? 400 : answers[i].status);
                if (answers[i].message || !r.json)
                        same(r.message, answers[i].message, i, "message");
                cr_assert(r.message || !r.json, "JSON has always something to say");
                same(r.type, answers[i].type, i, "type");
                same(r.param, answers[i].param, i, "param");
                same(r.code, answers[i].code, i, "code");
                arena_finish(&a);
        }
}

Test(refusal, told_how_long)
{
        struct refusal r;
        struct arena a;

        arena_init(&a, NULL, 1 << 20);
        refusal_read(503, true, str(""), (struct pm_str){ 0 }, &a, &r);
        cr_assert_eq(r.kind, REFUSAL_BUSY);
        refusal_read(500, true, str("{}"), (struct pm_str){ 0 }, &a, &r);
        cr_assert_eq(r.kind, REFUSAL_DOUBT);
        arena_finish(&a);
}

Test(refusal, events)
{
        static const struct {
                const char *data;
                int status;
                enum refusal_kind kind;
        } events[] = {
                { SHAPE("too long", "invalid_request_error", "\"context_length_exceeded\""), 400, REFUSAL_CONTEXT },
                { SHAPE("m", "invalid_request_error", "null"), 400, REFUSAL_REQUEST },
                { "{\"error\":{\"message\":\"m\",\"code\":422}}", 422, REFUSAL_REQUEST },
                { "{\"error\":{\"message\":\"Provider returned error\",\"code\":502}}", 502, REFUSAL_FAULT },
                { "{\"error\":{\"message\":\"Overloaded\",\"code\":529}}", 529, REFUSAL_FAULT },
                { "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}", 503, REFUSAL_FAULT },
                { "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}", 429, REFUSAL_BUSY },
                { "{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\",\"param\":null,\"code\":\"insufficient_quota\"}}", 429, REFUSAL_QUOTA },
                { "{\"error\":{\"message\":\"m\",\"type\":\"authentication_error\"}}", 401, REFUSAL_ACCESS },
                { "{\"error\":\"prompt is too long\"}", 400, REFUSAL_CONTEXT },
                { "{\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}", 500, REFUSAL_DOUBT },
                { "{\"error\":\"boom\"}", 500, REFUSAL_DOUBT },
                { "{\"object\":\"error\",\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":400}", 400, REFUSAL_REQUEST },
                { "{\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\",\"param\":null}", 429, REFUSAL_BUSY },
                { "{\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}", 500, REFUSAL_DOUBT },
                { "not JSON", 500, REFUSAL_FAULT },
        };
        struct arena a;

        for (size_t i = 0; i < LENGTH_OF(events); i++) {
                struct refusal r;

                arena_init(&a, NULL, 1 << 20);
                refusal_read_event(str(events[i].data), (struct pm_str){ 0 }, &a, &r);
                cr_assert(r.status == events[i].status && r.kind == events[i].kind, "%s: %d, kind %d", events[i].data, r.status, r.kind);
                arena_finish(&a);
        }
}

Test(refusal, hostile_bodies)
{
        static char deep[4096], wide[1 << 20];
        struct refusal r;
        struct arena a;

        arena_init(&a, NULL, 1 << 20);
        for (size_t i = 0; i < sizeof deep - 1; i++)
                deep[i] = i < 60 ? '[' : i < 120 ? ']' : ' ';
        refusal_read(400, false, str(deep), (struct pm_str){ 0 }, &a, &r);
        cr_assert(r.json && r.message);
        memset(wide, 'x', sizeof wide - 1);
        memcpy(wide, "{\"error\":\"", 10);
        memcpy(wide + sizeof wide - 3, "\"}", 2);
        refusal_read(400, false, str(wide), str("Authorization: Bearer xxxxxxxxxxxxxxxxy\r\n"), &a, &r);
        cr_assert(r.json && strlen(r.message) <= 500);
        arena_finish(&a);

        arena_init(&a, NULL, 64); /* no memory */
        refusal_read(400, false, str(SHAPE("m\\n", "t", "null")), (struct pm_str){ 0 }, &a, &r);
        cr_assert_eq(r.kind, REFUSAL_REQUEST);
        arena_finish(&a);
}

/* ---- keys --------------------------------------------------------------------------------------------------------------- */

Test(secrets, hidden)
{
        static const char headers[] = "Authorization: Bearer hunter2-is-mine\r\nApi-Key: 0f1e2d\r\nX-Short: abc\r\n";
        static const struct {
                const char *text, *shown;
        } texts[] = {
                { "Incorrect API key provided: sk-proj-abcdEFGH1234. You can find yours", "Incorrect API key provided: ***. You can find yours" },
                { "key sk-ab***********yz is wrong", "key *** is wrong" },
                { "bad token 'hunter2-is-mine'", "bad token '***'" },
                { "bad header Bearer hunter2-is-mine!", "bad header ***!" },
                { "xhunter2-is-minex", "x***x" },
                { "0f1e2d and abc", "*** and abc" },
                { "AIzaSyA1234567890abcdefg", "***" },
                { "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.abc", "***.***.abc" },
                { "0123456789abcdef0123456789abcdef", "***" },
                { "the model meta-llama-3-70b-instruct-2024 in 4096 tokens", "the model meta-llama-3-70b-instruct-2024 in 4096 tokens" },
                { "request req_011CSHoEeqs5C35K2UUqR7Fyxx failed", "request req_011CSHoEeqs5C35K2UUqR7Fyxx failed" },
                { "550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000" },
                { "a\nb\tc\x7f\xff gr\xc3\xbc\xc3\x9f" "e", "a b c ? gr\xc3\xbc\xc3\x9f" "e" },
                { "pip install hf_transfer", "pip install hf_transfer" },
        };
        char out[200];

        for (size_t i = 0; i < LENGTH_OF(texts); i++) {
                size_t n = secrets_hide(str(texts[i].text), str(headers), out, sizeof out - 1);

                out[n] = 0;
                cr_assert_str_eq(out, texts[i].shown);
                cr_assert_eq(secrets_found(str(texts[i].text), str(headers)), strstr(texts[i].shown, "***") != NULL, "%s", texts[i].text);
        }
}

Test(secrets, cut_between_characters)
{
        char text[64] = "", out[64];

        for (size_t i = 0; i < 20; i++)
                memcpy(text + 2 * i, "\xc3\xbc", 3);
        for (size_t room = 3; room < 45; room++) {
                size_t n = secrets_hide(str(text), (struct pm_str){ 0 }, out, room);

                cr_assert_leq(n, room);
                if (room >= 40)
                        cr_assert(n == 40 && memcmp(out, text, 40) == 0);
                else
                        cr_assert(n >= 3 && n % 2 == 1 && memcmp(out + n - 3, "...", 3) == 0 && memcmp(out, text, n - 3) == 0, "%zu: %zu", room, n);
        }
}

/* ---- times -------------------------------------------------------------------------------------------------------------- */

Test(header_times, how_long_an_expert_rests)
{
        enum { NOW = 1445412480 }; /* Wed, 21 Oct 2015 07:28:00 GMT */
        static const struct {
                const char *name[3], *value[3];
                int64_t ms;
                bool not_for_503;
        } cases[] = {
                { { "Retry-After" }, { "45" }, 45000 },
                { { "retry-after" }, { "0" }, 0 },
                { { "retry-after" }, { "1.5" }, 1500 },
                { { "retry-after" }, { ".0001" }, 1 },
                { { "retry-after" }, { "99999999999999999999" }, 86400000 },
                { { "retry-after" }, { "-1" }, -1 },
                { { "retry-after" }, { "soon" }, -1 },
                { { "retry-after" }, { "" }, -1 },
                { { "retry-after-ms", "retry-after" }, { "1500.5", "60" }, 1501 },
                { { "retry-after-ms", "retry-after" }, { "nonsense", "60" }, 60000 },
                { { "retry-after" }, { "Wed, 21 Oct 2015 07:28:04 GMT" }, 4000 },
                { { "retry-after" }, { "Wednesday, 21-Oct-15 07:28:04 GMT" }, 4000 },
                { { "retry-after" }, { "Wed Oct 21 07:28:04 2015" }, 4000 },
                { { "retry-after", "date" }, { "Wed, 21 Oct 2015 07:28:04 GMT", "Wed, 21 Oct 2015 07:28:01 GMT" }, 3000 },
                { { "retry-after" }, { "Wed, 21 Oct 2015 07:27:00 GMT" }, 0 },
                { { "retry-after" }, { "Fri, 21 Oct 2033 07:27:00 GMT" }, 86400000 },
                { { "x-ratelimit-reset-requests" }, { "2s" }, 2000, true },
                { { "x-ratelimit-reset-tokens" }, { "6m0s" }, 360000, true },
                { { "x-ratelimit-reset-requests" }, { "12ms" }, 12, true },
                { { "x-ratelimit-reset-requests" }, { "1h2m3.5s" }, 3723500, true },
                { { "x-ratelimit-reset-requests" }, { "7" }, 7000, true },
                { { "x-ratelimit-reset-requests" }, { "7 parsecs" }, -1, true },
                { { "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens" }, { "9s", "12", "3s" }, 3000, true },
                { { "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens" }, { "9s", "0", "3s" }, 9000, true },
                { { "x-ratelimit-reset-requests", "retry-after" }, { "9s", "2" }, 2000 },
        };

        for (size_t i = 0; i < LENGTH_OF(cases); i++) {
                struct h1_header h[3];
                size_t n = 0;

                for (; n < 3 && cases[i].name[n]; n++)
                        h[n] = (struct h1_header){ str(cases[i].name[n]), str(cases[i].value[n]) };
                cr_assert_eq(header_retry_ms(h, n, true, NOW), cases[i].ms, "%zu: %s: %s", i, cases[i].name[0], cases[i].value[0]);
                cr_assert_eq(header_retry_ms(h, n, false, NOW), cases[i].not_for_503 ? -1 : cases[i].ms, "%zu", i);
        }
        cr_assert_eq(header_retry_ms(NULL, 0, true, NOW), -1);
}

Test(header_times, how_long_a_client_waits)
{
        struct h1_header h[] = { { str("X-Stainless-Read-Timeout"), str("600.0") }, { str("x-stainless-timeout"), str("1.25") },
                                 { str("x-request-timeout-ms"), str("1300") } };
        struct h1_head head = { .headers = h, .n_headers = 3 };

        cr_assert_eq(header_patience_ms(&head), 1250);
        h[1].value = str("0");
        cr_assert_eq(header_patience_ms(&head), 1300);
        h[2].value = str("1e3");
        cr_assert_eq(header_patience_ms(&head), 600000);
        h[0].value = str("NaN");
        cr_assert_eq(header_patience_ms(&head), 0);
        h[0].value = str("600 ");
        cr_assert_eq(header_patience_ms(&head), 0);
}

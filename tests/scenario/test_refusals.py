# SPDX-License-Identifier: Apache-2.0
"""What an expert says in place of an answer reaches the client in OpenAI's shape, and the log; keys do not."""
import json

import pytest

from harness import chat
from scripted import CHUNKS, answer, events, good, scripted, serve

RIGHT = '{ "error": {"message": "no",  "type": "invalid_request_error", "param": "messages", "code": null}, "more": 1 }'
SHAPES = [
    ('{"error":"bad tool"}', "bad tool", None),
    ('{"error":{"message":"bad tool","type":"invalid_request_error","code":null}}', "bad tool", None),
    ('{"error":{"message":"bad tool","type":"BadRequestError","param":null,"code":400}}', "bad tool", None),
    ('{"object":"error","message":"bad tool","type":"BadRequestError","param":null,"code":400}', "bad tool", None),
    ('{"detail":"bad tool"}', "bad tool", None),
    ('{"detail":[{"loc":["body","tools",0],"msg":"bad tool","type":"value_error"}]}', "bad tool", "tools[0]"),
    ('{"type":"error","error":{"type":"invalid_request_error","message":"bad tool"}}', "bad tool", None),
    ('[{"error":{"code":400,"message":"bad tool","status":"INVALID_ARGUMENT"}}]', "bad tool", None),
    ('"bad tool"', "bad tool", None),
    ("5", "5", None),
]


@pytest.mark.tsan
@pytest.mark.parametrize("stream", [False, True])
def test_other_shapes(upstream_world, stream):
    said = []
    expert = scripted(upstream_world, lambda *_: answer(said[-1], 422))
    gateway = serve(upstream_world, {"e": expert})

    for body, message, param in SHAPES:
        said.append(body)
        reply = gateway.chat("e", stream=stream)
        assert reply.status == 422 and reply.headers["content-type"] == "application/json", body
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}, body
        assert reply.error["message"] == message and reply.error["param"] == param and reply.error["code"] is None, reply.body
    assert expert.count() == len(SHAPES), "no retry: it would fail again"


def test_the_right_shape_stays_as_it_is(upstream_world):
    expert = scripted(upstream_world, lambda *_: answer(RIGHT, 400))
    gateway = serve(upstream_world, {"e": expert})

    assert gateway.chat("e").body.decode() == RIGHT
    assert "no" in gateway.request_lines(1)[0]["error"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_its_words_and_the_url_reach_client_and_log(upstream_world, status):
    body = {"error": {"message": "Incorrect API key provided: sk-proj-1234567890, nor s3cret-of-ours; see the manual", "type": "t"}}
    expert = scripted(upstream_world, lambda *_: answer(body, status))
    gateway = serve(upstream_world, {"e": expert.entry(retries=0, key="s3cret-of-ours")}, limits={"request_time": "900ms"})

    reply = gateway.chat("e")

    assert reply.status == (502 if status in (401, 403, 404, 500, 502, 503) else status)
    assert "Incorrect API key provided: ***, nor ***; see the manual" in reply.error["message"]
    line = gateway.request_lines(1)[0]
    assert "see the manual" in line["error"] and f"{expert.url}/chat/completions" in line["error"] and str(status) in line["error"]
    if status != 400:
        assert f"{expert.url}/chat/completions" in reply.error["message"]
    for text in [reply.body.decode(), *gateway.lines]:
        assert "sk-proj" not in text and "s3cret" not in text


def test_control_characters_and_length(plain_world):
    expert = scripted(plain_world, lambda *_: answer({"error": "a\n\u0000\x1b[31m" + "ü" * 5000}, 400))
    gateway = serve(plain_world, {"e": expert})

    message = gateway.chat("e").error["message"]

    assert message.startswith("a   [31mü") and message.endswith("...") and len(message.encode()) <= 500


@pytest.mark.parametrize("body,kind", [("<html>413</html>", "text/html"), ("", "text/plain"), ("too much", "text/plain")])
def test_a_page_in_place_of_a_refusal(upstream_world, body, kind):
    expert = scripted(upstream_world, lambda *_: answer(body, 413, content_type=kind))
    gateway = serve(upstream_world, {"e": expert.entry(retries=1)})

    reply = gateway.chat("e")

    assert reply.status == 413 and reply.error["code"] == "expert_refused" and "html" not in reply.error["message"]
    assert expert.count() == 1 and (not body.startswith("too") or body in reply.error["message"])


# ---- quota ----------------------------------------------------------------------------------------------------------------

QUOTA = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}


@pytest.mark.parametrize("status,body", [(429, QUOTA), (402, {"error": {"message": "Insufficient Balance", "type": "t"}})])
def test_a_quota_is_no_busy_signal(upstream_world, status, body):
    expert = scripted(upstream_world, lambda *_: answer(body, status))
    gateway = serve(upstream_world, {"e": expert.entry(retries=3)})

    reply = gateway.chat("e")

    assert reply.status == status and reply.error["code"] in ("insufficient_quota", None) and expert.count() == 1
    assert "retry-after" not in reply.headers and reply.headers.get("x-should-retry", "false") == "false"
    assert gateway.chat("e").status == status and expert.count() == 2, "the expert is not closed for it"


def test_a_quota_of_one_is_anothers_turn(upstream_world):
    poor, rich = scripted(upstream_world, lambda *_: answer(QUOTA, 429)), scripted(upstream_world, lambda body, _: good(body))
    gateway = serve(upstream_world, {"poor": poor, "rich": rich}, routes={"auto": {"default": "poor"}})

    assert gateway.chat("auto").headers["x-pointsman-expert"] == "rich"
    assert gateway.chat("auto", stream=True).headers["x-pointsman-expert"] == "rich"


# ---- too long -------------------------------------------------------------------------------------------------------------

TOO_LONG = {
    "openai": (400, {"error": {"message": "m", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}),
    "vllm": (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
                   "type": "BadRequestError", "param": None, "code": 400}),
    "vllm, newer": (400, {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model length of 4096.",
                                    "type": "BadRequestError", "param": None, "code": 400}}),
    "llama.cpp": (400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error",
                                  "n_prompt_tokens": 5000, "n_ctx": 4096}}),
    "ollama": (400, {"error": {"message": "prompt too long; exceeded max context length by 10 tokens", "type": "api_error", "param": None, "code": None}}),
    "anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
    "tgi": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.", "error_type": "validation"}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("contexts", [(4096, 131072), (0, 0), (4096, 0), (0, 131072)])
def test_a_prompt_too_long_goes_to_a_longer_context(upstream_world, contexts, stream):
    said = []
    short = scripted(upstream_world, lambda *_: answer(said[-1][1], said[-1][0]))
    long = scripted(upstream_world, lambda body, _: good(body))
    gateway = serve(upstream_world, {"short": short.entry(context=contexts[0]), "long": long.entry(context=contexts[1])},
                    routes={"auto": {"default": "short"}})

    for name, refusal in TOO_LONG.items():
        said.append(refusal)
        reply = gateway.chat("auto", stream=stream)
        assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "long", (name, reply.body)
        alone = gateway.chat("short", stream=stream)
        assert alone.status == refusal[0] and alone.error["code"] in ("context_length_exceeded", None), (name, alone.body)
    assert short.count() == 2 * len(TOO_LONG), "once each"


def test_no_shorter_one_is_asked_after_that(plain_world):
    refusal = answer(TOO_LONG["openai"][1], 400)
    short, long, other = (scripted(plain_world, lambda *_, a=a: a) for a in (refusal, answer("", 503), refusal))
    gateway = serve(plain_world, {"short": short.entry(context=4096), "long": long.entry(context=9000, retries=0), "other": other.entry(context=4096)},
                    routes={"auto": {"default": "short", "fallbacks": 2, "experts": ["short", "long", "other"]}})

    assert gateway.chat("auto").status == 502
    assert (short.count(), long.count(), other.count()) == (1, 1, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_who_surely_cannot_take_it_is_no_candidate(upstream_world, stream):
    short, long = (scripted(upstream_world, lambda body, _: good(body)) for _ in range(2))
    gateway = serve(upstream_world, {"short": short.entry(context=4096), "long": long.entry(context=131072)}, routes={"auto": {"default": "short"}})
    text = "word " * 20480

    assert gateway.chat("auto", "hi", stream=stream).headers["x-pointsman-expert"] == "short"
    assert gateway.chat("auto", text, stream=stream).headers["x-pointsman-expert"] == "long"
    assert gateway.chat("auto", "hi", stream=stream).headers["x-pointsman-expert"] == "short", "nothing of that is kept"
    assert gateway.chat("short", text, stream=stream).status == 200, "who names one gets it"
    long.says = lambda *_: answer("", 503)
    assert gateway.chat("auto", text, stream=stream).status == 502 and short.count() == 3, "nor is it asked in another's place"


def test_a_picture_is_no_long_text(plain_world):
    short = scripted(plain_world, lambda body, _: good(body))
    gateway = serve(plain_world, {"short": short.entry(context=4096), "long": short.entry(context=131072)}, routes={"auto": {"default": "short"}})
    picture = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400000}}]

    assert gateway.chat("auto", picture).headers["x-pointsman-expert"] == "short"


def test_where_all_are_too_short_the_longest_says_so(plain_world):
    refusal = answer(TOO_LONG["vllm"][1], 400)
    experts = {n: scripted(plain_world, lambda *_: refusal) for n in ("a", "b", "c")}
    gateway = serve(plain_world, {n: e.entry(context=c) for (n, e), c in zip(experts.items(), (1000, 3000, 2000))}, routes={"auto": {"default": "a"}})

    reply = gateway.chat("auto", "word " * 4000)

    assert reply.status == 400 and reply.error["code"] == "context_length_exceeded" and reply.headers["x-pointsman-expert"] == "b"
    assert [e.count() for e in experts.values()] == [0, 1, 0]


def test_a_decision_kept_for_a_short_talk_is_not_a_long_ones(plain_world):
    """What is kept is of the last message; the whole conversation may not fit."""
    expert = scripted(plain_world, lambda body, _: good(body))
    gateway = serve(plain_world, {"short": expert.entry(context=4096), "long": expert.entry(context=131072)},
                    routers={"r": {"plugin": "rules", "rules": [{"expert": "short"}]}}, routes={"auto": {"cache": {"pin": "0s"}}})
    earlier = [{"role": "user", "content": "word " * 20480}, {"role": "assistant", "content": "Well."}]

    def ask(messages):
        return gateway.post("/v1/chat/completions", {"model": "auto", "messages": [*messages, {"role": "user", "content": "And?"}]}).headers

    assert ask([])["x-pointsman-expert"] == "short"
    assert ask([])["x-pointsman-decision"] == "cached-local"
    assert ask(earlier)["x-pointsman-expert"] == "long"
    assert ask([])["x-pointsman-expert"] == "short"


# ---- an error where an answer should be -----------------------------------------------------------------------------------

IN_PLACE = [  # what is said, what a client of that one alone gets, whether another one answers in its place
    (TOO_LONG["openai"][1], 400, "context_length_exceeded", True),
    (TOO_LONG["vllm"][1], 400, "context_length_exceeded", True),
    (TOO_LONG["llama.cpp"][1], 400, "context_length_exceeded", True),
    (TOO_LONG["anthropic"][1], 400, "context_length_exceeded", True),
    (TOO_LONG["tgi"][1], 422, "context_length_exceeded", True),
    ({"error": {"message": "no such tool", "type": "invalid_request_error", "param": "tools", "code": None}}, 400, None, False),
    ({"error": {"message": "no such tool", "code": 422}}, 422, None, False),
    (QUOTA, 429, "insufficient_quota", True),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 502, "expert_failed", True),
    ({"error": {"message": "Provider returned error", "code": 502}}, 502, "expert_failed", True),
    ({"error": {"message": "wrong key", "type": "authentication_error"}}, 502, "expert_misconfigured", True),
    ({"error": "boom"}, 502, "expert_failed", True),
]


@pytest.mark.tsan
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_in_a_200_is_judged_as_a_status(upstream_world, stream):
    said = []
    bad = scripted(upstream_world, lambda body, _: events(said[-1]) if body.get("stream") else answer(said[-1]))
    fine = scripted(upstream_world, lambda body, _: good(body))
    gateway = serve(upstream_world, {"bad": bad, "fine": fine}, routes={"auto": {"default": "bad"}})

    for error, status, code, elsewhere in IN_PLACE:
        said.append(error)
        alone = gateway.chat("bad", stream=stream)
        assert (alone.status, alone.error["code"]) == (status, code), (error, alone.body)
        if code in ("expert_misconfigured", "insufficient_quota"):
            assert alone.headers["x-should-retry"] == "false", error
        if elsewhere:
            assert gateway.chat("auto", stream=stream).headers["x-pointsman-expert"] == "fine", error


def test_a_busy_stream_closes_its_expert_for_a_moment(upstream_world):
    limit = {"error": {"message": "m", "type": "rate_limit_error"}}
    busy, fine = scripted(upstream_world, lambda *_: events(limit)), scripted(upstream_world, lambda body, _: good(body))
    gateway = serve(upstream_world, {"busy": busy, "fine": fine}, routes={"auto": {"default": "busy"}})

    assert [gateway.chat("auto", stream=True).headers["x-pointsman-expert"] for _ in range(3)] == ["fine"] * 3
    assert busy.count() == 1


def test_a_clients_own_error_as_first_event_shuts_nobody(upstream_world):
    def says(body, _):
        return events(TOO_LONG["openai"][1]) if "TOOLONG" in str(body) else good(body)

    expert = scripted(upstream_world, says)
    gateway = serve(upstream_world, {"e": expert.entry(retries=1, breaker={"failures": 3, "open_time": "60s"})})

    for i in range(5):
        reply = gateway.chat("e", f"TOOLONG {i}", stream=True)
        assert reply.status == 400 and reply.error["code"] == "context_length_exceeded" and reply.error["message"] == "m", reply.body
    assert gateway.chat("e").status == 200 and expert.count() == 6


def test_keys_in_a_streams_error_are_hidden(upstream_world):
    said = {"error": {"message": "Incorrect API key provided: sk-proj-1234567890 or s3cret-of-ours", "type": "t"}}
    expert = scripted(upstream_world, lambda *_: events(CHUNKS[0], said))
    gateway = serve(upstream_world, {"e": expert.entry(retries=0, key="s3cret-of-ours")})

    reply = gateway.chat("e", stream=True)

    assert not reply.done and "Incorrect API key provided: *** or ***" in reply.error["message"]
    assert "Incorrect API key" in gateway.request_lines(1)[0]["error"]
    for text in [reply.body.decode(), *gateway.lines]:
        assert "sk-proj" not in text and "s3cret" not in text


def test_a_whole_answer_that_stalls_is_not_asked_for_twice(upstream_world):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    stalls, fine = scripted(upstream_world, lambda *_: [head, ...]), scripted(upstream_world, lambda body, _: good(body))
    gateway = serve(upstream_world, {"stalls": stalls.entry(retries=2, idle_time="300ms"), "fine": fine}, routes={"auto": {"default": "stalls"}})

    reply = gateway.chat("auto")

    assert reply.status == 504 and reply.error["code"] == "expert_timeout" and reply.headers["x-should-retry"] == "false"
    assert stalls.count() == 1 and fine.count() == 0, "it may have been paid for already"


# ---- stream_options -------------------------------------------------------------------------------------------------------

MISTRAL = {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}}


def no_options(body, _):
    return answer(MISTRAL, 422) if "stream_options" in body else good(body)


def test_stream_options_refused_are_left_out(upstream_world):
    expert = scripted(upstream_world, no_options)
    gateway = serve(upstream_world, {"e": expert.entry(retries=0, breaker={"failures": 1, "open_time": "60s"})})

    assert [gateway.chat("e", stream=True).text for _ in range(3)] == ["OK"] * 3
    assert ["stream_options" in body for body, _ in expert.seen] == [True, False, False, False], "learnt at the first refusal"
    own = gateway.chat("e", stream=True, stream_options={"include_usage": True})
    assert own.status == 422 and own.error["param"] == "stream_options", "what the client asks for is its own affair"


@pytest.mark.parametrize("usage,asked", [("always", [True]), ("never", [False])])
def test_usage_as_it_is_configured(plain_world, usage, asked):
    expert = scripted(plain_world, no_options)
    gateway = serve(plain_world, {"e": expert.entry(usage=usage)})

    assert gateway.chat("e", stream=True).status == (422 if usage == "always" else 200)
    assert ["stream_options" in body for body, _ in expert.seen] == asked


# ---- headers and types ----------------------------------------------------------------------------------------------------


def test_rate_limit_headers_are_proved(upstream_world):
    names = {"x-ratelimit-remaining-tokens": "7", 'x-ratelimit-"<>': "1", "x-ratelimit-" + "a" * 80: "1", "x-ratelimit-\xe9": "1"}

    def says(body, _):
        head, rest = good(body).split(b"\r\n", 1)
        return head + b"\r\n" + b"".join(f"{k}: {v}\r\n".encode("latin-1") for k, v in names.items()) + rest

    gateway = serve(upstream_world, {"e": scripted(upstream_world, says)})

    reply = gateway.chat("e")
    if reply.status == 200:  # a transport may refuse such a head altogether
        assert [n for n in reply.headers if n.startswith("x-ratelimit")] == ["x-ratelimit-remaining-tokens"]
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_embeddings_that_nobody_offers(plain_world):
    expert = scripted(plain_world, lambda body, _: good(body))
    gateway = serve(plain_world, {"e": expert})

    reply = gateway.post("/v1/embeddings", {"model": "auto", "input": "x"})

    assert reply.status == 400 and reply.error["param"] == "model" and "/v1/embeddings" in reply.error["message"]
    assert "retry-after" not in reply.headers and expert.count() == 0
    assert gateway.post("/v1/chat/completions", chat("auto")).status == 200
    assert json.loads(gateway.chat("auto").body)["choices"]

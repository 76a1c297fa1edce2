# SPDX-License-Identifier: Apache-2.0
"""What users of such gateways have reported, each as it should be; the numbers are those of the reports."""
import json

import pytest

from harness import chat
from scripted import GOOD, answer, events, good, scripted, serve


def chunk(delta, finish=None, index=0, **more):
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


def two(world, says, **sections):
    """What `says` answers for, and a good one behind it: (gateway, both)."""
    a, b = scripted(world, says), scripted(world, lambda body, _: good(body))
    rules = [{"keywords": ["bee"], "expert": "b"}, {"expert": "e", "fallbacks": ["b"]}]
    gateway = serve(world, {"e": a, "b": b}, routers={"r": {"plugin": "rules", "rules": rules}}, **sections)
    return gateway, a, b


def whole(reply):
    return reply.status == 200 and reply.complete and reply.done and not reply.error


def test_07_a_choice_that_never_finished(upstream_world):
    stream = events(chunk({"content": "a"}), chunk({}, "stop"), chunk({"content": "half of the sec"}, index=1))
    auto = {"routes": {"auto": {"cache": {"answers": "1m", "pin": "0s"}}}}
    gateway, a, _ = two(upstream_world, lambda *_: stream, **auto)

    for n in (1, 2):
        reply = gateway.chat("auto", stream=True, n=2, temperature=0)
        assert reply.status == 200 and not reply.done and not reply.complete and reply.error, reply.body
        assert a.count() == n, "and it is not kept"


@pytest.mark.parametrize("stream", [False, True])
def test_09_an_error_with_status_200(upstream_world, stream):
    gateway, a, _ = two(upstream_world, lambda *_: answer({"error": {"message": "out of memory", "code": 500}}))

    reply = gateway.chat("auto", stream=stream)

    assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "b" and a.count() == 1
    assert whole(reply) if stream else reply.json()["choices"]


def test_11_a_byte_order_mark_before_the_first_event(upstream_world):
    stream = answer("\ufeffdata: " + json.dumps(chunk({"content": "first "})) + "\n\ndata: " + json.dumps(chunk({"content": "second"})) + "\n\ndata: " +
                    json.dumps(chunk({}, "stop")) + "\n\ndata: [DONE]\n\n", content_type="text/event-stream")
    gateway, *_ = two(upstream_world, lambda *_: stream)

    reply = gateway.chat("e", stream=True)

    assert whole(reply) and reply.text == "first second"


@pytest.mark.parametrize("done", ["[DONE] ", " [DONE]", "[DONE]\t"])
def test_12_blanks_around_done(upstream_world, done):
    gateway, *_ = two(upstream_world, lambda *_: events(chunk({"content": "x"}), chunk({}, "stop"), done))

    assert whole(gateway.chat("e", stream=True))


def test_13_a_clients_own_error_shuts_nobody_out(upstream_world):
    error = {"error": {"message": "This model's maximum context length is 10 tokens", "type": "invalid_request_error", "param": "messages",
                       "code": "context_length_exceeded"}}

    def says(body, _):
        return good(body) if "fine" in json.dumps(body) else events(error)
    gateway = serve(upstream_world, {"e": scripted(upstream_world, says)})

    for _ in range(6):
        reply = gateway.chat("e", "TOOLONG", stream=True)
        assert reply.status == 400 and reply.error["code"] == "context_length_exceeded", reply.body
    assert gateway.chat("e", "fine").status == 200


def test_15_who_gave_an_answer_goes_on_from_it(upstream_world):
    def says(name):
        return lambda *_: answer({"id": f"resp_{name}", "object": "response", "status": "completed", "model": name, "output": [
            {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "OK", "annotations": []}]}]})
    a, b = scripted(upstream_world, says("A")), scripted(upstream_world, says("B"))
    gateway = serve(upstream_world, {"e": a, "b": b}, routers={"r": {"plugin": "rules", "rules": [{"keywords": ["bee"], "expert": "b"}, {"expert": "e"}]}})

    first = gateway.post("/v1/responses", {"model": "auto", "input": "tell me about bee"})
    assert first.status == 200 and first.headers["x-pointsman-expert"] == "b"
    for more in ("and more?", [{"type": "function_call_output", "call_id": "c", "output": "{}"}]):
        reply = gateway.post("/v1/responses", {"model": "auto", "input": more, "previous_response_id": first.json()["id"]})
        assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "b"


def test_17_what_stands_beside_usage_is_kept(upstream_world):
    last = {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            "timings": {"predicted_per_second": 28.2}}
    gateway, *_ = two(upstream_world, lambda *_: events(chunk({"content": "x"}, usage=None), chunk({}, "stop", usage=None), last, "[DONE]"))

    reply = gateway.chat("e", stream=True)

    assert whole(reply) and reply.chunks[-1]["timings"] == {"predicted_per_second": 28.2}
    assert not any("usage" in one for one in reply.chunks), "nobody asked for it"


def test_18_who_knows_no_stream_options(upstream_world):
    def says(body, _):
        if "stream_options" in body:
            return answer({"error": {"message": "Extra inputs are not permitted: stream_options", "type": "invalid_request_error", "param": "stream_options", "code": None}}, 422)
        return good(body)
    gateway = serve(upstream_world, {"e": scripted(upstream_world, says)})

    assert gateway.chat("e").status == 200 and whole(gateway.chat("e", stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_19_a_quota_that_is_used_up(upstream_world, stream):
    error = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}
    a = scripted(upstream_world, lambda *_: answer(error, 429))
    gateway = serve(upstream_world, {"e": a})

    reply = gateway.chat("e", stream=stream)

    assert reply.status == 429 and reply.error["code"] == "insufficient_quota" and a.count() == 1 and "retry-after" not in reply.headers


def test_26_a_prompt_cache_key_is_no_conversation(upstream_world):
    gateway, *_ = two(upstream_world, lambda body, _: good(body))

    assert gateway.chat("auto", "bee one", prompt_cache_key="support-v3").headers["x-pointsman-expert"] == "b"
    assert gateway.chat("auto", "something else", prompt_cache_key="support-v3").headers["x-pointsman-expert"] == "e"


def test_27_an_error_after_the_role(upstream_world):
    gateway, *_ = two(upstream_world, lambda *_: events(chunk({"role": "assistant", "content": ""}), {"error": {"message": "Overloaded", "code": 529}}))

    reply = gateway.chat("auto", stream=True)

    assert whole(reply) and reply.headers["x-pointsman-expert"] == "b" and reply.text == "OK"


def test_28_done_without_a_finish_reason(upstream_world):
    gateway, *_ = two(upstream_world, lambda *_: events(chunk({"content": "all of it"}), "[DONE]"))

    reply = gateway.chat("e", stream=True)

    assert whole(reply) and reply.text == "all of it"


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
def test_29_a_stream_that_is_called_something_else(upstream_world, content_type):
    stream = events(chunk({"content": "x"}), chunk({}, "stop"), "[DONE]").replace(b"text/event-stream", content_type.encode())
    gateway, *_ = two(upstream_world, lambda *_: stream)

    reply = gateway.chat("e", stream=True)

    assert whole(reply) and reply.text == "x" and reply.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("role", ["tool", "system", "user"])
def test_30_content_that_is_null(upstream_world, role):
    e = scripted(upstream_world, lambda body, _: good(body))
    gateway = serve(upstream_world, {"e": e})
    messages = [{"role": "user", "content": "hi"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": role, "content": None, **({"tool_call_id": "1"} if role == "tool" else {})}]

    assert gateway.post("/v1/chat/completions", {**chat("e"), "messages": messages}).status == 200
    assert e.seen[-1][0]["messages"] == messages


@pytest.mark.parametrize("body", [
    {"error": "text"}, {"object": "error", "message": "no"}, {"detail": "no"}, {**GOOD, "choices": None}, {**GOOD, "choices": []}, {"id": "x"}, {},
    {**GOOD, "choices": [{"index": 0, "finish_reason": "stop"}]}, {**GOOD, "choices": [{**GOOD["choices"][0], "finish_reason": "error"}]}], ids=lambda b: json.dumps(b)[:40])
def test_a_200_that_is_no_answer(upstream_world, body):
    gateway, a, _ = two(upstream_world, lambda *_: answer(body))

    reply = gateway.chat("auto")

    assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "b" and reply.json()["choices"][0]["message"]["content"] == "OK" and a.count() == 1


def test_an_answer_by_responses_that_is_never_completed(upstream_world):
    created = {"type": "response.created", "response": {"id": "r", "object": "response", "status": "in_progress", "output": []}}
    delta = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "half"}
    gateway, *_ = two(upstream_world, lambda *_: events(created, delta, "[DONE]"))

    reply = gateway.post("/v1/responses", {"model": "e", "input": "x", "stream": True})

    assert not reply.complete or not reply.done
    assert '"error"' in reply.body.decode()

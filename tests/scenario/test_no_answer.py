# SPDX-License-Identifier: Apache-2.0
"""A 2xx that is no answer is the expert's fault, whole and streamed: the next expert answers, and nothing of it is kept."""
import json
import threading

import pytest

from harness import CERTS, chat, free_port, until
from raw_expert import Raw, http

MESSAGE = {"role": "assistant", "content": "good"}
ANSWERS = {
    "/v1/chat/completions": {"id": "g", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
                             "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    "/v1/completions": {"id": "g", "object": "text_completion", "created": 1, "model": "m", "choices": [{"index": 0, "text": "good", "finish_reason": "stop"}]},
    "/v1/responses": {"id": "g", "object": "response", "status": "completed", "error": None, "model": "m",
                      "output": [{"type": "message", "content": [{"type": "output_text", "text": "good"}]}]},
    "/v1/embeddings": {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 1}},
}
ASKS = {"/v1/chat/completions": chat("auto"), "/v1/completions": {"model": "auto", "prompt": "x"}, "/v1/responses": {"model": "auto", "input": "x"},
        "/v1/embeddings": {"model": "auto", "input": "x"}}


def events(*datas, done=True):
    return b"".join(b"data: " + (d if isinstance(d, bytes) else json.dumps(d).encode()) + b"\n\n" for d in datas) + (b"data: [DONE]\n\n" if done else b"")


def delta(text, finish=None, index=0, **more):
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": index, "delta": {} if text is None else {"content": text}, "finish_reason": finish}], **more}


ROLE = {"id": "c1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
STREAMS = {
    "/v1/chat/completions": events(ROLE, delta("good"), delta(None, "stop")),
    "/v1/completions": events({"choices": [{"index": 0, "text": "good", "finish_reason": "stop"}]}),
    "/v1/responses": b'event: response.created\ndata: {"type":"response.created","response":{"id":"g"}}\n\n'
                     b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"good"}\n\n'
                     b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"g","error":null,"usage":{"input_tokens":1,"output_tokens":2}}}\n\n',
}


def serve(world, bad, good=None, apis=("chat", "completions", "responses", "embeddings"), **sections):
    """`bad` and `good`: bytes, or a function of a request's path and body. Returns both experts and the gateway."""
    tls = world.mode == "curl"

    def usual(path, body):
        stream = json.loads(body).get("stream")
        return http(STREAMS[path], "text/event-stream") if stream else http(json.dumps(ANSWERS[path]).encode())

    experts = {"bad": world.own(Raw(bad, tls=tls)), "good": world.own(Raw(good or usual, tls=tls))}
    config = {"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "admin": world.admin(), "experts": {}, "routes": {"auto": {"default": "bad", "fallbacks": 1}}}
    for name, e in experts.items():
        config["experts"][name] = {"endpoints": [e.url], "retries": 0, "apis": list(apis), "breaker": {"failures": 1000}, "idle_time": "2s", **({"ca": str(CERTS / "ca.pem")} if tls else {})}
    for name, value in sections.items():
        config[name] = {**config.get(name, {}), **value}
    return experts["bad"], experts["good"], world.gateway(config)


COMMON = [b"", b"{}", b'{"error":{"message":"Provider returned error","code":502}}', b'{"error":"text"}', b'{"object":"error","message":"no"}', b'"Internal error"',
          b'{"detail":"Not found"}', b'{"detail":[{"loc":["body"]}]}', b"<html></html>", b"[]", b'{"message":"no","code":500}', b'{"choices":[{"index":0,"mess']
OF_API = {
    "/v1/chat/completions": [b'{"choices":null}', b'{"choices":[]}', b'{"choices":[{"index":0,"finish_reason":"stop"}]}', b'{"choices":[{"message":null}]}',
                             b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"error"}]}', STREAMS["/v1/chat/completions"]],
    "/v1/completions": [b'{"choices":null}', b'{"choices":[]}', b'{"choices":[{"index":0,"finish_reason":"stop"}]}', STREAMS["/v1/completions"]],
    "/v1/responses": [b'{"status":"failed","output":[],"error":{"code":"server_error"}}', b'{"status":"completed"}', STREAMS["/v1/responses"]],
    "/v1/embeddings": [b'{"object":"list","data":[]}', b'{"object":"list"}', b'{"data":null}'],
}


@pytest.mark.parametrize("path", list(ASKS))
def test_whole(upstream_world, path):
    turn = COMMON + OF_API[path]
    got = iter(turn)
    bad, good, gateway = serve(upstream_world, lambda *_: http(next(got)), limits={"buffer": "64KiB"})

    for body in turn:
        reply = gateway.post(path, ASKS[path])
        assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "good" and reply.json() == ANSWERS[path], body
    assert bad.asked == good.asked == len(turn)
    assert gateway.metric("pointsman_expert_attempts_total", expert="bad", result="ok") == 0


@pytest.mark.parametrize("path", list(STREAMS))
def test_streamed(upstream_world, path):
    prelude = {"/v1/chat/completions": ROLE, "/v1/completions": {"choices": [{"index": 0, "text": "", "finish_reason": None}]},
               "/v1/responses": {"type": "response.created", "response": {"id": "g"}}}[path]
    turn = [http(b, "text/event-stream") for b in (
        b"", b"data: [DONE]\n\n", events(prelude), events(prelude, done=False), events({"error": {"message": "Overloaded", "code": 529}}),
        events(prelude, {"error": {"message": "Overloaded", "code": 529}}), events({"object": "error", "message": "x"}), events({"detail": "no"}),
        events({"choices": None}), events({"choices": []}), events(b"oops"), b'event: error\ndata: {"type":"error"}\n\n', b": nothing\n\n",
        b"data: {\n\n", b'{"error":"as JSON"}')]
    turn += [http(b) for b in COMMON + OF_API[path][:-1]]
    if path == "/v1/responses":
        turn += [http(events(prelude, {"type": "response.failed", "response": {"error": {"code": "x"}}}, done=False), "text/event-stream"), http(json.dumps(ANSWERS[path]).encode())]
    got = iter(turn)
    bad, good, gateway = serve(upstream_world, lambda *_: next(got))

    for answer in turn:
        reply = gateway.post(path, {**ASKS[path], "stream": True})
        assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "good" and reply.body == STREAMS[path] and reply.complete, answer
    assert bad.asked == good.asked == len(turn)


def test_a_coding_that_is_none(upstream_world):
    bad, good, gateway = serve(upstream_world, lambda path, body: http(
        STREAMS[path] if json.loads(body).get("stream") else json.dumps(ANSWERS[path]).encode(), headers="Content-Encoding: gzip\r\n"))

    for stream in (False, True):
        assert gateway.chat("auto", stream=stream).headers["x-pointsman-expert"] == "good"
    assert bad.asked == good.asked == 2


def test_alone_it_is_an_error_in_the_shape(upstream_world):
    bad, _, gateway = serve(upstream_world, lambda *_: http(b'{"error":"text"}'))

    for stream in (False, True):
        reply = gateway.post("/v1/chat/completions", {**chat("bad"), "stream": stream})
        assert reply.status == 502 and reply.error["code"] == "expert_failed"


def test_a_whole_answer_becomes_the_stream_that_was_asked_for(upstream_world):
    calls = [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    whole = {**ANSWERS["/v1/chat/completions"], "choices": [
        {"index": 0, "message": MESSAGE, "finish_reason": "stop"},
        {"index": 1, "message": {"role": "assistant", "content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    bad, good, gateway = serve(upstream_world, lambda path, _: http(json.dumps(whole if "chat" in path else ANSWERS[path]).encode()))

    reply = gateway.post("/v1/chat/completions", {**chat("auto"), "stream": True, "stream_options": {"include_usage": True}})
    text = gateway.post("/v1/completions", {"model": "auto", "prompt": "x", "stream": True})

    assert reply.headers["x-pointsman-expert"] == "bad" and reply.headers["content-type"] == "text/event-stream" and reply.done and reply.complete
    choices = [c for chunk in reply.chunks for c in chunk["choices"]]
    assert [c["finish_reason"] for c in choices] == [None, "stop", None, "tool_calls"] and choices[0]["delta"] == MESSAGE
    assert choices[2]["delta"]["tool_calls"] == [{**calls[0], "index": 0}]
    assert all(c["object"] == "chat.completion.chunk" and c["id"] == "g" for c in reply.chunks)
    assert reply.chunks[-1]["usage"]["total_tokens"] == 3 and reply.chunks[-1]["choices"] == []
    assert text.done and text.complete and [c["choices"][0]["text"] for c in text.chunks] == ["good"]
    assert good.asked == 0
    assert [line["tokens_out"] for line in gateway.request_lines(2) if line["path"] == "/v1/chat/completions"] == ["2"]


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/octet-stream", None])
@pytest.mark.parametrize("before", [b"", b": hello\n\n", b"\n\n", b"\xef\xbb\xbf", b"event: x\n", b"id: 1\n"])
def test_a_stream_under_another_type(plain_world, kind, before):
    _, good, gateway = serve(plain_world, lambda *_: http(before + STREAMS["/v1/chat/completions"], kind, piece=1))

    reply = gateway.chat("auto", stream=True)

    assert reply.text == "good" and reply.done and reply.complete and reply.headers["content-type"] == "text/event-stream" and good.asked == 0


def test_json_under_another_type(plain_world):
    _, good, gateway = serve(plain_world, lambda *_: http(b"\n\n\n" * 50 + json.dumps(ANSWERS["/v1/chat/completions"]).encode(), "text/plain"))

    reply = gateway.chat("auto")

    assert reply.json() == ANSWERS["/v1/chat/completions"] and reply.headers["content-type"] == "application/json" and good.asked == 0


TWO = {**chat("auto"), "n": 2}


@pytest.mark.parametrize("stream, end", [
    (events(delta("a"), delta(None, "stop"), delta("half", index=1)), "cut"),
    (events(delta("a"), delta(None, "stop"), delta("half", index=1), done=False), "cut"),
    (events(delta("a"), delta(None, "stop"), done=False), "cut"),
    (events(delta("a"), delta(None, "stop"), delta("b", index=1), delta(None, "length", 1), done=False), "whole"),
    (events(delta("a"), delta("b", index=1), delta(None, "stop", 1), delta(None, "stop")), "whole"),
    (events(delta("a"), delta(None, "stop")), "whole"),  # servers that do not know `n` give one choice, and say that this is all
    (events(delta("all of it")), "whole"),  # [DONE], by one that never says a finish reason
    (events(delta("x"), delta(None, "error")), "cut"),
])
def test_each_choice_ends(upstream_world, stream, end):
    _, _, gateway = serve(upstream_world, lambda *_: http(stream, "text/event-stream"))

    reply = gateway.post("/v1/chat/completions", {**TWO, "stream": True})

    assert reply.headers["x-pointsman-expert"] == "bad"
    if end == "cut":
        assert not reply.done and not reply.complete and reply.error["code"] in ("stream_cut", "expert_failed")
    else:
        assert reply.done and reply.complete and not reply.error


def test_response_failed_is_passed_on_once_it_has_begun(upstream_world):
    failed = b'event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"}}}\n\n'
    begun = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"ha"}\n\n'
    incomplete = b'event: response.incomplete\ndata: {"type":"response.incomplete","response":{"status":"incomplete"}}\n\n'
    got = iter([begun + failed, begun + events(), begun + incomplete])
    _, _, gateway = serve(upstream_world, lambda *_: http(next(got), "text/event-stream"))

    replies = [gateway.post("/v1/responses", {**ASKS["/v1/responses"], "stream": True}) for _ in range(3)]

    assert [name for name, _ in replies[0].named_events] == ["response.output_text.delta", "response.failed"] and replies[0].complete
    assert replies[1].named_events[-1][0] == "error" and not replies[1].complete
    assert replies[2].named_events[-1][0] == "response.incomplete" and replies[2].complete
    assert [line["end"] for line in gateway.request_lines(3)] == ["failed", "cut", "ok"]


def test_nothing_that_is_no_answer_is_kept(plain_world):
    bodies = [events(delta("x"), delta(None, "error")), events(delta("a"), delta(None, "stop"), delta("half", index=1)), events(delta("no end")),
              events(delta("a"), delta(None, "stop"))]
    made = {"routes": {"auto": {"default": "bad", "fallbacks": 1, "cache": {"answers": "1h"}}}}
    got = iter(b for b in bodies for _ in range(2))
    bad, _, gateway = serve(plain_world, lambda *_: http(next(got), "text/event-stream"), **made)

    for i, _ in enumerate(bodies):
        for _ in range(2):
            reply = gateway.post("/v1/chat/completions", {**TWO, "temperature": 0, "stream": True, "user": str(i)})
            assert "x-pointsman-answer" not in reply.headers
    assert bad.asked == 2 * len(bodies)


def test_usage_takes_nothing_else_along(upstream_world):
    extra = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 7}, "timings": {"predicted_per_second": 28.2}}
    stream = events(delta("x", usage=None), delta(None, "stop", usage=None), extra)
    plain = events(delta("x"), delta(None, "stop"), {"id": "c1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 7}, "system_fingerprint": "f"})
    got = iter([stream, stream, plain])
    _, _, gateway = serve(upstream_world, lambda *_: http(next(got), "text/event-stream"))

    silent = gateway.chat("auto", stream=True)
    asked = gateway.chat("auto", stream=True, stream_options={"include_usage": True})
    none = gateway.chat("auto", stream=True)

    assert all("usage" not in c for c in silent.chunks) and silent.chunks[-1] == {"choices": [], "timings": {"predicted_per_second": 28.2}}
    assert asked.chunks[-1] == extra and asked.chunks[0]["usage"] is None
    assert len(none.chunks) == 2 and none.done
    assert [line["tokens_out"] for line in gateway.request_lines(3)] == ["7", "7", "7"]


def test_the_first_token_is_waited_for_not_the_first_byte(upstream_world):
    """A role, empty deltas and comments hold nobody: when the limit passes, the fallback answers."""
    stop = threading.Event()

    def trickle(send, *_):
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + events(ROLE, done=False))
        while not stop.wait(0.05):
            send(events(delta(""), done=False) + b": still here\n\n")

    experts = {"bad": {"first_token_time": "500ms"}}
    bad, good, gateway = serve(upstream_world, trickle)
    config = json.loads(gateway.file.read_text())
    config["experts"]["bad"].update(experts["bad"])
    gateway.write(config)
    gateway.signal(1)
    until("reloaded", lambda: gateway.log(msg="reloaded, generation 2 is active"))

    reply = gateway.chat("auto", stream=True)

    assert reply.headers["x-pointsman-expert"] == "good" and reply.done and reply.body == STREAMS["/v1/chat/completions"]
    assert gateway.metric("pointsman_expert_attempts_total", expert="bad", result="timeout") == 1
    stop.set()


def long_answer(n, tail=b'"},"finish_reason":"stop"}]}'):
    return b'{"id":"g","choices":[{"index":0,"message":{"role":"assistant","content":"' + b"y" * n + tail


@pytest.mark.parametrize("size, buffer", [(2 << 20, "8MiB"), (300000, "64KiB")])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("tail, whole", [(b'"},"finish_reason":"stop"}]}', True), (b'"},"finish_reason":"stop"}]}\n', True), (b"", False), (b'"}}]', False), (b'"}}]}x', False),
                                         (b'"},"finish_reason":"stop"}],"error":{"message":"x"}}', False)])
def test_long_answers_are_judged_while_they_pass(upstream_world, size, buffer, framing, tail, whole):
    body = long_answer(size, tail)
    bad, good, gateway = serve(upstream_world, lambda *_: http(body, framing=framing), limits={"buffer": buffer})

    with gateway.wire() as wire:
        reply = wire.request("POST", "/v1/chat/completions", chat("auto")).reply()

    if whole:
        assert reply.status == 200 and reply.complete and reply.body == body and good.asked == 0
    elif buffer == "8MiB":
        assert reply.headers["x-pointsman-expert"] == "good" and reply.json() == ANSWERS["/v1/chat/completions"]
    else:
        assert reply.status == 200 and not reply.complete and body.startswith(reply.body)
        assert gateway.request_lines(1)[0]["end"] == "cut"


@pytest.mark.parametrize("start", [b"<html>", b'{"error":{"message":"', b'"text', b"{]"])
def test_long_nonsense_goes_to_the_next(upstream_world, start):
    bad, good, gateway = serve(upstream_world, lambda *_: http(start + b"z" * 300000), limits={"buffer": "64KiB"})

    assert gateway.chat("auto").json() == ANSWERS["/v1/chat/completions"] and good.asked == 1


def test_large_events(upstream_world):
    """An image in base64 is one event: longer than the buffer, up to limits.event; memory is not kept for it."""
    image = delta("i" * (6 << 20))
    got = iter([events(ROLE, image, delta(None, "stop")), events(ROLE, delta("small"), delta("e" * (9 << 20)))])
    _, _, gateway = serve(upstream_world, lambda *_: http(next(got), "text/event-stream"), limits={"buffer": "64KiB", "event": "8MiB"})

    fits = gateway.chat("auto", stream=True)
    reply = gateway.chat("auto", stream=True)

    assert fits.done and len(fits.text) == 6 << 20
    assert reply.text == "small" and not reply.complete and reply.error["code"] == "event_too_large" and "limits.event" in reply.error["message"]

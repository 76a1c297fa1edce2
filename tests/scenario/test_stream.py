# SPDX-License-Identifier: Apache-2.0
"""Streams: each event as it comes, whole or visibly not whole, and never faster than the client reads."""
import json
import os
import threading
import time

import pytest

from harness import CERTS, PATIENCE, SANITIZED, chat, free_port, until
from raw_expert import Raw

SAID = "alpha heard: Say something. alpha heard:"


@pytest.mark.tsan
def test_each_event_is_relayed_as_it_comes(world):
    mock, gateway = world.serve("alpha", options=["--tokens", "6", "--rate", "12"])

    reply = gateway.chat("alpha", stream=True)

    assert reply.status == 200 and reply.headers["content-type"].startswith("text/event-stream")
    assert "no-cache" in reply.headers["cache-control"]
    assert reply.done and reply.complete and reply.text == SAID
    times = [t for t, data in reply.pieces if b'"content":"' in data]
    gaps = [b - a for a, b in zip(times[1:], times[2:])]
    assert len(times) >= 6, "events are not gathered"
    assert sum(gaps) > 0.25, f"events came all at once: {times}"
    assert times[0] < 0.4, "the first event does not wait for the others"


def test_chunks_of_one_answer_agree(world):
    _, gateway = world.serve("alpha", options=["--tokens", "4"])

    chunks = gateway.chat("alpha", stream=True).chunks

    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk" and chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_usage_is_stripped_unless_the_client_asked(world):
    mock, gateway = world.serve("alpha", options=["--tokens", "5"])

    silent = gateway.chat("alpha", stream=True)
    off = gateway.chat("alpha", stream=True, stream_options={"include_usage": False})
    asked = gateway.chat("alpha", stream=True, stream_options={"include_usage": True})

    for reply in (silent, off):
        assert reply.done and all(c["choices"] and not c.get("usage") for c in reply.chunks)
    assert asked.done and asked.chunks[-1]["choices"] == [] and asked.chunks[-1]["usage"]["completion_tokens"] == 5
    for request in mock.requests("alpha"):
        assert b'"include_usage":true' in request["body"].replace(b" ", b""), "usage is always asked of the expert"
    lines = gateway.request_lines(3)
    assert [line["tokens_out"] for line in lines] == ["5", "5", "5"], "and counted, asked or not"


@pytest.mark.parametrize("fault", ["split=7", "split=1;tokens=2", "crlf", "comments", "crlf;comments;split=11", "choices-null", "no-final-newline",
                                   "close", "http10", "drop", "usage-absent", "big=300000"])
def test_what_upstreams_do_to_streams_is_survived(upstream_world, fault):
    mock, gateway = upstream_world.serve("alpha", options=["--tokens", "6"])
    mock.script(("alpha", fault))

    reply = gateway.chat("alpha", stream=True)

    assert reply.status == 200 and reply.complete and reply.done and reply.error is None, reply.body
    if fault.startswith("big"):
        assert len(reply.text) == 300000
    else:
        assert reply.text.startswith("alpha heard:")
    assert all(e == "[DONE]" or e.startswith("{") for e in reply.events)
    assert gateway.chat("alpha", stream=True).done, "and the next one goes well"
    assert [line["end"] for line in gateway.request_lines(2)] == ["ok", "ok"]


@pytest.mark.tsan
@pytest.mark.parametrize("fault, before", [
    ("cut-after=700", "alpha"), ("cut-after=700;reset", "alpha"), ("malformed-at=3", "alpha heard:"), ("error-event=3", "alpha heard:"),
    ("error-object=3", "alpha heard:"), ("no-finish;no-done", SAID), ("stall-after=3", "alpha heard:"), ("cut-after=700;http10", "alpha"),
])
def test_a_broken_stream_never_looks_whole(upstream_world, fault, before):
    mock, gateway = upstream_world.serve("alpha", options=["--tokens", "6", "--rate", "100"], expert={"idle_time": "400ms"})
    mock.script(mock.always("alpha", fault))

    reply = gateway.chat("alpha", stream=True)

    assert reply.status == 200 and not reply.done, "never [DONE] after a cut"
    assert reply.text.startswith(before), "what had come is not lost"
    assert reply.error and reply.error["message"], "the client is told, in the stream"
    assert "error" in reply.chunks[-1], "the error is the last event"
    line = gateway.request_lines(1)[0]
    assert line["end"] not in ("ok", "client_left") and line.get("error")
    mock.script()
    assert gateway.chat("alpha", stream=True).done


def test_a_whole_answer_that_is_cut_is_not_success(upstream_world):
    mock, gateway = upstream_world.serve("alpha", expert={"retries": 0})
    mock.script(mock.always("alpha", "cut-after=120"))

    with gateway.wire() as wire:
        reply = wire.request("POST", "/v1/chat/completions", chat("alpha")).reply()

    assert reply.status == 502 and reply.error and reply.complete, "an error; never a short answer with 200"


def test_a_stream_whose_finish_reason_came_may_lack_done(upstream_world):
    mock, gateway = upstream_world.serve("alpha", options=["--tokens", "6"])
    mock.script(("alpha", "no-done"))

    reply = gateway.chat("alpha", stream=True)

    assert reply.text == SAID and reply.error is None and reply.complete


def test_responses_stream_named_events(world):
    mock, gateway = world.serve("alpha", options=["--tokens", "3"])

    reply = gateway.post("/v1/responses", {"model": "alpha", "input": "Say something.", "stream": True})

    names = [name for name, _ in reply.named_events]
    assert names[0] == "response.created" and names[-1] == "response.completed"
    assert names.count("response.output_text.delta") == 3 and reply.complete
    assert b"stream_options" not in mock.requests("alpha")[0]["body"], "that member is not known to /v1/responses"
    line = gateway.request_lines(1)[0]
    assert line["tokens_out"] == "3"


def test_a_responses_stream_without_its_end_is_not_whole(upstream_world):
    mock, gateway = upstream_world.serve("alpha", options=["--tokens", "6", "--rate", "100"])
    mock.script(("alpha", "cut-after=900"))

    reply = gateway.post("/v1/responses", {"model": "alpha", "input": "Say something.", "stream": True})

    names = [name for name, _ in reply.named_events]
    assert "response.completed" not in names and ("error" in names or reply.error), reply.body
    assert gateway.request_lines(1)[0]["end"] != "ok"


@pytest.mark.parametrize("way", ["plain", "curl", "tls"])
@pytest.mark.parametrize("last", ["completed", "incomplete", "failed"])
@pytest.mark.parametrize("then", ["closes", "waits"])
def test_a_responses_stream_is_over_with_its_last_event(plain_world, way, last, then):
    """As chat is at [DONE]: no last chunk, or none for long, is no fault of an answer that is there."""
    left = threading.Event()

    def event(kind, **more):
        return f"event: response.{kind}\ndata: {json.dumps({'type': f'response.{kind}', **more})}\n\n".encode()

    def play(send, path, body):
        said = (event("created", response={"id": "r", "status": "in_progress"}) + event("output_text.delta", delta="Yes.") +
                event(last, response={"id": "r", "status": last, "output": [], **({"error": {"message": "No."}} if last == "failed" else {})}))
        send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(said), said))
        left.wait(PATIENCE if then == "waits" else 0.2)

    raw = plain_world.own(Raw(play, tls=way == "tls"))
    more = {"plain": {}, "curl": {"transport": "curl"}, "tls": {"ca": str(CERTS / "ca.pem")}}[way]
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "admin": plain_world.admin(), "experts": {"raw": {"endpoints": [raw.url], **more}}})

    try:
        reply = gateway.post("/v1/responses", {"model": "raw", "input": "Say something.", "stream": True})
    finally:
        left.set()

    assert reply.complete and [name for name, _ in reply.named_events] == ["response.created", "response.output_text.delta", f"response.{last}"], reply.body
    assert gateway.request_lines(1)[0]["end"] == ("failed" if last == "failed" else "ok")


def test_a_slow_reader_does_not_grow_the_gateway(world):
    size = 64 << 20
    mock = world.experts("alpha")
    small = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}  # else a sanitizer keeps what was freed
    gateway = world.gateway(world.config(mock, workers=1), env=small)
    gateway.chat("alpha", stream=True)
    mock.script(mock.always("alpha", f"big={size}"))
    before = gateway.resident()

    with gateway.wire(rcvbuf=65536) as wire:
        wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
        time.sleep(1.5)  # reads nothing
        during = gateway.resident()
        reply = wire.head()
        got = 0
        for piece in wire.pieces(reply):
            got += len(piece)
            if got > 4 << 20:
                break
        during = max(during, gateway.resident())
    gone = until("the transfer is cancelled", mock.cancelled)[-1]

    most = (24 if SANITIZED else 6) << 20
    assert during - before < most, f"{(during - before) >> 20} MiB more"
    assert gone["bytes"] < size // 2, "the expert was held back too"


def test_a_reader_who_takes_nothing_is_dropped(client_world):
    mock, gateway = client_world.serve("alpha", limits={"write_time": "500ms"})
    mock.script(mock.always("alpha", f"big={64 << 20}"))

    with gateway.wire(rcvbuf=65536) as wire:
        wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
        until("the transfer is cancelled", mock.cancelled)
        assert gateway.request_lines(1)[0]["end"] != "ok"


def test_a_slow_reader_gets_everything(world):
    mock, gateway = world.serve("alpha")
    mock.script(("alpha", f"big={3 << 20}"))

    with gateway.wire(rcvbuf=16384) as wire:
        wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
        reply = wire.head()
        for i, _ in enumerate(wire.pieces(reply)):
            if i % 100 == 0:
                time.sleep(0.01)

    assert reply.done and len(reply.text) == 3 << 20


def test_an_expert_that_reads_slowly_gets_everything(upstream_world):
    mock, gateway = upstream_world.serve("alpha")
    mock.script(("alpha", "slow-read"))

    assert gateway.chat("alpha", "x" * 40000).status == 200
    assert len(mock.requests("alpha")[0]["body"]) > 40000


@pytest.mark.tsan
def test_many_streams_at_once(world):
    mock, gateway = world.serve("alpha", "beta", options=["--tokens", "20", "--rate", "100"])
    wires = []
    for i in range(48):
        wires.append(gateway.wire())
        wires[-1].request("POST", "/v1/chat/completions", chat("alpha" if i % 2 else "beta", f"number {i}", stream=True))
    for i, wire in enumerate(wires):
        reply = wire.reply()
        assert reply.done and f"number {i}" in reply.text and reply.text.startswith("alpha" if i % 2 else "beta")
        wire.close()


def test_a_last_chunk_of_its_own_keeps_the_connection(plain_world):
    """Servers such as uvicorn send the last chunk a moment after [DONE]; the connection must serve the next stream too."""
    mock, gateway = plain_world.serve("alpha", options=["--tokens", "3"], workers=1)
    mock.script(mock.always("alpha", "split=60"))

    with gateway.wire() as wire:  # a client that leaves at once would take the expert's connection with it
        replies = [wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True)).reply() for _ in range(5)]

    assert all(reply.done and reply.complete for reply in replies)
    assert len({request["conn"] for request in mock.requests("alpha")}) == 1
    assert [line["end"] for line in gateway.request_lines(5)] == ["ok"] * 5


def test_an_event_beyond_its_limit_is_told_not_waited_for(upstream_world):
    """The last events of /v1/responses carry the whole text, and images: limits.event bounds them, not limits.buffer."""
    mock, gateway = upstream_world.serve("alpha", limits={"buffer": "16KiB", "event": "64KiB"})
    mock.script(("alpha", "big=50000"), ("alpha", "big=300000"))
    body = {"model": "alpha", "input": "Say much.", "stream": True}

    fits = gateway.post("/v1/responses", body)
    reply = gateway.post("/v1/responses", body)

    assert fits.complete and fits.named_events[-1][0] == "response.completed"
    assert "response.completed" not in [name for name, _ in reply.named_events] and not reply.complete
    assert reply.named_events[-1][0] == "error" and "limits.event" in reply.named_events[-1][1]

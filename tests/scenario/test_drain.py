# SPDX-License-Identifier: Apache-2.0
"""SIGTERM: what runs may finish within limits.drain_time; what does not is told so before it is cut."""
import signal
import time

import pytest

from harness import chat, until


@pytest.mark.tsan
@pytest.mark.parametrize("drain", ["0s", "700ms"])
def test_what_outlives_the_drain_is_told_before_it_is_cut(client_world, drain):
    mock, gateway = client_world.serve("alpha", "beta", options=["--tokens", "2000", "--rate", "20"], limits={"drain_time": drain})
    mock.script(mock.always("beta", "delay-ms=60000"))
    stream, responses, waiting, uploads, rests = (gateway.wire() for _ in range(5))

    stream.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
    responses.request("POST", "/v1/responses", {"model": "alpha", "input": "x", "stream": True})
    waiting.request("POST", "/v1/chat/completions", chat("beta"))
    uploads.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert rests.request("GET", "/healthz").reply().status == 200
    heads = [stream.head(), responses.head()]
    until("all are under way", lambda: mock.count("alpha") == 2 and mock.count("beta") == 1)
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    for wire, head in zip((stream, responses), heads):
        for _ in wire.pieces(head):
            pass
    refused = [waiting.reply(), uploads.reply()]

    assert time.monotonic() - began < 5
    assert heads[0].text and not heads[0].done and not heads[0].complete and heads[0].error["code"] == "shutting_down"
    assert heads[1].named_events[-1][0] == "error" and "shutting_down" in heads[1].named_events[-1][1] and not heads[1].complete
    for reply in refused:
        assert reply.status == 503 and reply.complete and reply.error["code"] == "shutting_down" and reply.headers["connection"] == "close"
    assert rests.ended()
    assert gateway.wait() == 0
    lines = [line for line in gateway.log(msg="request") if line["path"].startswith("/v1/")]
    assert len(lines) == 4 and {line["end"] for line in lines} == {"shutdown"}
    gateway.stop()


def test_what_finishes_within_the_drain_says_that_the_connection_closes(client_world):
    mock, gateway = client_world.serve("alpha", options=["--tokens", "5", "--rate", "20"])
    mock.script(mock.always("alpha", "delay-ms=500"))

    with gateway.wire() as wire:
        wire.request("POST", "/v1/chat/completions", chat("alpha"))
        until("it is under way", lambda: mock.count("alpha") == 1)
        gateway.signal(signal.SIGTERM)
        reply = wire.reply()

        assert reply.status == 200 and reply.complete and reply.headers["connection"] == "close" and wire.ended()
    assert gateway.wait() == 0

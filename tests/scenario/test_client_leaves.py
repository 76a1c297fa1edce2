# SPDX-License-Identifier: Apache-2.0
"""A client leaves: what it had asked for is cancelled within 100 ms."""
import json
import socket
import struct
import threading
import time

import pytest

from h2_server import H2Server
from harness import chat, free_port, until
from scripted import CHUNKS, GOOD

MOMENTS = {
    "waiting for the first byte": (True, "delay-ms=10000", 0),
    "waiting for a whole answer": (False, "delay-ms=10000", 0),
    "the expert never answers": (False, "accept-never-answer", 0),
    "in the middle of a stream": (True, "tokens=500;rate=20", 3),
    "in a stream that stalls": (True, "stall-after=3", 3),
}


@pytest.mark.tsan
@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_client_leaves(world, moment, how):
    stream, fault, events = MOMENTS[moment]
    mock, gateway = world.serve("alpha", expert={"idle_time": "30s", "first_token_time": "30s"})
    mock.script(("alpha", fault))

    wire = gateway.wire()
    wire.request("POST", "/v1/chat/completions", chat("alpha", stream=stream))
    until("the request is at the expert", lambda: mock.count("alpha") == 1)
    if events:
        reply = wire.head()
        pieces = wire.pieces(reply)
        for _ in range(events):
            next(pieces)
    if how == "resets":
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left = time.time()
    wire.close()

    gone = until("the transfer is cancelled", mock.cancelled)
    assert len(gone) == 1 and gone[0]["at"] - left < 0.1, f"{(gone[0]['at'] - left) * 1000:.0f} ms"
    line = gateway.request_lines(1)
    assert len(line) == 1 and line[0]["end"] == "client_left"
    assert gateway.chat("alpha").status == 200


def test_a_client_that_leaves_does_not_hurt_the_expert(plain_world):
    mock, gateway = plain_world.serve("alpha", expert={"breaker": {"failures": 2, "open_time": "30s"}})
    mock.script({"expert": "alpha", "fault": "delay-ms=10000", "times": 6})

    for i in range(6):
        wire = gateway.wire()
        wire.request("POST", "/v1/chat/completions", chat("alpha"))
        until("the request is at the expert", lambda i=i: mock.count("alpha") == i + 1)
        wire.close()
    until("all are cancelled", lambda: len(mock.cancelled()) == 6)

    assert gateway.chat("alpha").status == 200, "an expert is not to blame for its clients"


def test_leaving_before_the_body_is_complete(client_world):
    mock, gateway = client_world.serve("alpha")

    with gateway.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{")
        time.sleep(0.1)
    assert len(gateway.request_lines(1)) == 1
    assert mock.count("alpha") == 0 and gateway.chat("alpha").status == 200


# ---- HTTP/2 --------------------------------------------------------------------------------------------------------------

def first_event(conn, stream):
    conn.headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
    conn.data(stream, b"data: %s\n\n" % json.dumps(CHUNKS[0]).encode())


GIVEN_UP = {
    "a stream": (True, {}),
    "a whole answer": (False, {}),
    "a whole answer, too late": (False, {"x-request-timeout-ms": "300"}),
    "bytes that are no answer": (True, {}),
}


@pytest.mark.parametrize("beside", ["nobody", "a stream", "a stream that waits", "one whose client does not read"])
@pytest.mark.parametrize("what", GIVEN_UP)
def test_what_is_given_up_is_cancelled_over_h2(plain_world, what, beside):
    """With nobody else on the connection it ends; else the stream is reset, though the others are silent, and they go on."""
    stream, headers = GIVEN_UP[what]
    go_on = threading.Event()
    big = b"data: %s\n\n" % json.dumps({**CHUNKS[0], "choices": [{"index": 0, "delta": {"content": "x" * 60000}, "finish_reason": None}]}).encode()

    def says(c, number, body):
        asked = body["messages"][0]["content"]
        if asked == "well":
            return c.answer(number, GOOD)
        if asked == "beside":
            if beside != "a stream that waits":
                first_event(c, number)
            if beside == "one whose client does not read":
                for _ in range(100):
                    c.data(number, big)
            go_on.wait(30)
            if beside == "a stream that waits":
                first_event(c, number)
            c.data(number, b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(CHUNKS[1]).encode(), end=True)
        elif what == "a stream":
            first_event(c, number)
        elif what == "bytes that are no answer":
            c.headers(number, [(":status", "200"), ("content-type", "text/event-stream"), ("content-encoding", "gzip")])
            c.data(number, b"a" * 100)

    server = plain_world.own(H2Server(says))
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "limits": {"buffer": "64KiB"},
                                   "experts": {"bad": server.entry(breaker={"failures": 1000})}})
    assert gateway.chat("bad", "well").status == 200  # the connection stands
    other = None
    if beside != "nobody":
        other = gateway.wire(rcvbuf=4096)
        other.request("POST", "/v1/chat/completions", chat("bad", "beside", stream=True))
        until("the other is at the expert", lambda: len(server.seen) == 2)
        if beside == "one whose client does not read":
            time.sleep(0.3)  # all buffers fill: one that is paused is to carry the others' frames, too
    asked = len(server.seen) + 1
    wire = gateway.wire()
    wire.request("POST", "/v1/chat/completions", chat("bad", "gone", stream=stream), headers=headers)
    until("it is at the expert", lambda: len(server.seen) == asked)
    number = server.seen[-1][1]
    if what == "a stream":
        wire.head()
    if what in ("a stream", "a whole answer"):
        wire.close()
    else:
        assert wire.head().status == (504 if headers else 502)
    until("the expert hears of it", lambda: (1, None if other is None else number) in server.gone, 1)

    if other is not None:
        go_on.set()
        reply = other.head()
        assert reply.status == 200
        assert b"".join(other.pieces(reply)).endswith(b"data: [DONE]\n\n")
        other.close()
    assert gateway.chat("bad", "well").status == 200
    assert server.connections == (2 if other is None else 1)


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_an_answer_that_nobody_fetches(client_world, how):
    """The request has ended, its bytes wait for the client: the connection ends with the client, not with write_time."""
    mock = client_world.experts("alpha", options=["--tokens", "5"])
    gateway = client_world.gateway(client_world.config(mock, admin=client_world.admin(), limits={"write_time": "10m", "buffer": "16MiB"}))
    mock.script(("alpha", f"big={3 << 20}"))

    wire = gateway.wire(rcvbuf=4096)
    wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
    until("the request has ended", lambda: gateway.request_lines(1))
    until("it is the only client", lambda: gateway.admin("GET", "/admin/generation").json()["connections"] == 1)
    if how == "resets":
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()
    until("nothing is left of it", lambda: gateway.admin("GET", "/admin/generation").json()["connections"] == 0, 5)

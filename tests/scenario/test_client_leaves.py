# SPDX-License-Identifier: Apache-2.0
"""A client leaves: what it had asked for is cancelled within 100 ms."""
import socket
import struct
import time

import pytest

from harness import chat, until

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

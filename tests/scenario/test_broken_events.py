# SPDX-License-Identifier: Apache-2.0
"""A stream that breaks at any byte of its first events: the next expert answers, or the client sees the cut. Nothing hangs."""
import random
import socket
import struct
import threading

import pytest

from harness import PATIENCE, World, free_port, until
from listening import Listening, request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(content, finish="null"):
    return ('data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{%s},"finish_reason":%s}]}\n\n'
            % (content, finish)).encode()


ROLE = event('"role":"assistant","content":""')
SAY = event('"content":"half"')
WHOLE = ROLE + event('"content":"other"') + event("", '"stop"') + b"data: [DONE]\n\n"


class Raw(Listening):
    """An expert whose answer to the request numbered n (from 0) is `play(n)`: bytes, and how the connection ends."""

    def __init__(self, play):
        self.play = play
        self.asked = 0
        super().__init__()

    def serve(self, s):
        if not request(s.makefile("rb")):
            return
        with self.lock:
            n, self.asked = self.asked, self.asked + 1
        said, end = self.play(n)
        s.sendall(said)
        if end == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == "stall":
            self.over.wait(PATIENCE)
        else:
            s.shutdown(socket.SHUT_WR)
            s.recv(65536)


def serve(world, play, stalls=False, **limits):
    bad = world.own(Raw(play))
    good = world.own(Raw(lambda n: (HEAD + WHOLE, "fin")))
    expert = {"retries": 0, "breaker": {"failures": 1000}}
    short = {"idle_time": "300ms", "first_token_time": "300ms"} if stalls else {}
    gateway = world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "admin": world.admin(),
                             "experts": {"bad": {"endpoints": [bad.url], **expert, **short}, "good": {"endpoints": [good.url], **expert}},
                             "routes": {"auto": {"default": "bad", "fallbacks": 1}}, "limits": limits})
    return bad, good, gateway


def ask_all(gateway, n, at_once=32):
    """The same stream so many times, `at_once` at a time."""
    replies = [None] * n
    turn = iter(range(n))
    lock = threading.Lock()

    def client():
        while True:
            with lock:
                i = next(turn, None)
            if i is None:
                return
            replies[i] = gateway.chat("auto", stream=True)

    clients = [threading.Thread(target=client) for _ in range(at_once)]
    for c in clients:
        c.start()
    for c in clients:
        c.join(PATIENCE * 4)
    return replies


@pytest.mark.parametrize("end", ["fin", "reset", "stall"])
def test_cut_at_each_byte_of_the_first_events(plain_world: World, end):
    """Within the events that say nothing yet, the fallback answers; afterwards the cut is told. Every client gets its answer."""
    whole = ROLE + SAY
    bad, good, gateway = serve(plain_world, lambda n: (HEAD + whole[:n], end), stalls=end == "stall")

    replies = ask_all(gateway, len(whole) + 1)

    assert all(replies), "nobody hangs"
    for reply in replies:
        assert reply.status == 200
        if reply.headers["x-pointsman-expert"] == "good":
            assert reply.done and reply.complete and reply.text == "other" and not reply.error
        else:
            assert not reply.done and not reply.complete and reply.error and reply.text == "half"
    to_good = sum(r.headers["x-pointsman-expert"] == "good" for r in replies)
    # an event is there with its empty line; the last event of a stream that ends by itself may lack that
    assert to_good >= len(whole) - 2, "nothing of an answer had gone out"
    assert bad.asked == len(whole) + 1 and good.asked == to_good
    assert gateway.metric("pointsman_no_progress_total") == 0
    assert gateway.get("/healthz").status == 200


@pytest.mark.parametrize("first", [b"data: " + b"x" * 70000, b": " + b"y" * 70000, (b": " + b"y" * 30000 + b"\n") * 3, b"event: " + b"z" * 70000 + b"\n"])
def test_a_first_event_without_end(plain_world, first):
    bad, good, gateway = serve(plain_world, lambda n: (HEAD + first, "stall"), stalls=True, event="64KiB", buffer="16KiB")

    replies = ask_all(gateway, 8)

    assert all(r and r.done and r.text == "other" for r in replies) and good.asked == 8
    assert gateway.get("/healthz").status == 200


def test_events_at_random(plain_world):
    """Pieces of events in any order: each answer is whole and right, or visibly not whole, and the gateway lives."""
    parts = [ROLE, SAY, event("", '"stop"'), b"data: [DONE]\n\n", b": c\n\n", b"\n", b"\r\n\r\n", b"\r", b"data:\n\n", b"data: {}\n\n", b"data: [1]\n\n",
             b"event: error\ndata: {}\n\n", b'data: {"error":{"message":"no"}}\n\n', b"\xef\xbb\xbf", b"data: {\ndata: }\n\n", b"data", b": ", b"id: 1\n\n",
             b'data: {"choices":null}\n\n', b'{"a":1}', b"event: x\n", SAY[:40], SAY[40:]]

    def play(n):
        r = random.Random(n)
        return HEAD + b"".join(r.choice(parts) for _ in range(r.randint(0, 12))), r.choice(["fin", "reset", "fin"])

    bad, good, gateway = serve(plain_world, play)

    replies = ask_all(gateway, 600)

    assert all(r and r.status == 200 for r in replies)
    for r in replies:
        assert r.complete == (r.error is None), r.body
        assert not r.done or r.complete
    assert gateway.metric("pointsman_no_progress_total") == 0
    until("all requests are over", lambda: gateway.metric("pointsman_in_flight") == 0)

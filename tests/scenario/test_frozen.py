# SPDX-License-Identifier: Apache-2.0
"""A gateway that was stopped, as a suspended machine stops it, blames nobody for its own sleep: it reads first, then judges."""
import json
import signal
import threading
import time

import pytest

from harness import free_port, until
from scripted import CHUNKS, GOOD, Scripted, answer, good

ASLEEP = 3.5  # seconds, above the limits below
STREAM = [b"data: %s\n\n" % json.dumps(c).encode() for c in CHUNKS] + [b"data: [DONE]\n\n"]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def piece(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def says(body, _):
    """Half before the sleep, the rest in it; or all of it in the sleep."""
    if body["messages"][0]["content"] == "nothing yet":
        return [1.5, good(body)]
    if body.get("stream"):
        return [HEAD + piece(STREAM[0]), 1.5, piece(STREAM[1]) + piece(STREAM[2]) + b"0\r\n\r\n"]
    whole = answer(GOOD)
    return [whole[:-10], 1.5, whole[-10:]]


@pytest.mark.parametrize("way", ["plain", "curl", "tls"])
def test_a_sleep_is_nobodys_fault(plain_world, way):
    expert = plain_world.own(Scripted(says, tls=way == "tls"))
    limits = {"first_token_time": "2s", "answer_time": "2s", "idle_time": "2s", "retries": 0, **({"transport": "curl"} if way == "curl" else {})}
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "admin": plain_world.admin(),
                                   "limits": {"request_time": "4s"}, "experts": {"alpha": expert.entry(**limits)}})
    replies = {}

    def ask(text, stream):
        replies[text, stream] = gateway.chat("alpha", text, **({"stream": True} if stream else {}))

    threads = [threading.Thread(target=ask, args=a) for a in (("half", True), ("half", False), ("nothing yet", True), ("nothing yet", False))]
    for t in threads:
        t.start()
    until("all are at the expert", lambda: len(expert.seen) == 4)
    time.sleep(0.4)
    gateway.signal(signal.SIGSTOP)
    time.sleep(ASLEEP)
    gateway.signal(signal.SIGCONT)
    for t in threads:
        t.join()

    assert {k: (r.status, r.complete) for k, r in replies.items()} == {k: (200, True) for k in replies}
    assert all(r.done for k, r in replies.items() if k[1])
    until("all are counted", lambda: gateway.metric("pointsman_expert_attempts_total", expert="alpha", result="ok") == 4)
    assert gateway.metric("pointsman_expert_attempts_total", expert="alpha") == 4


def test_limits_hold_after_a_sleep(plain_world):
    """Moved, not lifted."""
    expert = plain_world.own(Scripted(lambda body, _: [...]))
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1,
                                   "experts": {"alpha": expert.entry(answer_time="2s", retries=0)}})
    got = []
    waits = threading.Thread(target=lambda: got.append(gateway.chat("alpha")))
    waits.start()
    until("it is at the expert", lambda: expert.seen)
    gateway.signal(signal.SIGSTOP)
    time.sleep(ASLEEP)
    gateway.signal(signal.SIGCONT)
    awake = time.monotonic()
    waits.join()
    assert got[0].status == 504 and 1 < time.monotonic() - awake < 6


class SlowToShakeHands(Scripted):
    def _serve(self, raw):
        self.over.wait(1)
        super()._serve(raw)


def test_a_handshake_in_the_sleep(plain_world):
    expert = plain_world.own(SlowToShakeHands(lambda body, _: good(body), tls=True))
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "admin": plain_world.admin(),
                                   "experts": {"alpha": expert.entry(connect_time="2s", retries=0)}})
    got = []
    waits = threading.Thread(target=lambda: got.append(gateway.chat("alpha")))
    waits.start()
    time.sleep(0.5)  # it is connected, and shakes hands
    gateway.signal(signal.SIGSTOP)
    time.sleep(ASLEEP)
    gateway.signal(signal.SIGCONT)
    waits.join()
    assert got[0].status == 200
    assert gateway.metric("pointsman_expert_attempts_total", expert="alpha") == 1

# SPDX-License-Identifier: Apache-2.0
"""What the scenarios of kept decisions share: a gateway whose router says what it reads, many clients at once, and a decision as bytes."""
import base64
import itertools
import struct
import threading
import time
from collections import Counter

from harness import BUILD, chat, until

ROUTERS = BUILD / "tests" / "routers"


def config(world, mock, router=None, cache=None, redis=None, route=None, **sections):
    """A route `auto` whose one router goes by the text: the expert whose name is in it, else alpha; beta if it does not decide."""
    router = {"plugin": str(ROUTERS / "uses_reads.so"), **(router or {})}
    route = {"routers": ["decider"], "experts": ["alpha", "beta"], "default": "beta", "deadline": "10s", **(route or {}),
             "cache": {"decisions": "shared" if redis else "local", "pin": "0s", **(cache or {})}}
    kept = sections.pop("kept", {})
    return world.config(mock, admin=world.admin(), routers={"decider": router}, routes={"auto": route},
                        cache={**kept, **({"redis": redis} if redis else {})}, **{"workers": 1, **sections})


def redis_settings(redis, **more):
    """Patient, for a machine that is busy."""
    return {"servers": [redis.unix], "timeout": "2s", **more}


def how(reply):
    """(expert, by what decision) of an answer."""
    assert reply.status == 200, (reply.status, reply.body)
    return reply.headers["x-pointsman-expert"], reply.headers["x-pointsman-decision"]


def decided(gateway, text="Alpha, or not?", headers=(), **members):
    return how(gateway.chat("auto", text, headers, **members))


def computed(gateway):
    """How often a router was asked."""
    return int(gateway.metric("pointsman_router_decisions_total"))


def reloaded(gateway, config):
    gateway.write(config)
    reply = gateway.admin("POST", "/admin/reload")
    assert reply.status == 200, reply.body


def redis_up(gateway, workers=1):
    until("Redis is used", lambda: gateway.metric("pointsman_redis_up") == workers)


class Answer:
    def __init__(self, number, reply, began, seconds):
        self.number = number
        self.status = reply.status if reply else 0
        self.complete = bool(reply and reply.complete)
        self.body = reply.body if reply else b""
        head = reply.headers if reply else {}
        self.expert = head.get("x-pointsman-expert")
        self.decision = head.get("x-pointsman-decision")
        self.overhead_us = int(head.get("x-pointsman-overhead-us", 0))
        self.began = began
        self.seconds = seconds

    @property
    def ok(self):
        return self.status == 200 and self.complete


class Crowd:
    """n requests on a few connections, each as soon as its connection is free; body(number) makes them."""

    def __init__(self, gateway, n, body, connections=8, headers=()):
        self.answers = []
        self._numbers = itertools.islice(itertools.count(), n)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(gateway, body, headers), daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _next(self):
        with self._lock:
            return next(self._numbers, None)

    def _ask(self, gateway, body, headers):
        wire = None
        while (number := self._next()) is not None:
            began, reply = time.monotonic(), None
            try:
                wire = wire or gateway.wire()
                reply = wire.request("POST", "/v1/chat/completions", body(number), headers).reply()
            except (OSError, AssertionError):
                wire = None  # told by a status of 0
            self.answers.append(Answer(number, reply, began, time.monotonic() - began))
        if wire:
            wire.close()

    def stop(self):
        """No further requests; those under way are still answered."""
        self._numbers = iter(())

    def answered(self, n):
        until(f"{n} answers", lambda: len(self.answers) >= n, 120)

    def end(self):
        """All answers, in the order in which they were sent."""
        for thread in self._threads:
            thread.join(240)
            assert not thread.is_alive(), "a client has no answer"
        return sorted(self.answers, key=lambda a: a.number)


def none_failed(answers):
    bad = [(a.number, a.status, a.body[:200]) for a in answers if not a.ok]
    assert not bad, f"{len(bad)} of {len(answers)} failed, first: {bad[:3]}"


def at_once(gateway, n, text, headers=(), **members):
    """n equal requests under way at the same time, each on a connection of its own; who closes them is the caller."""
    wires = [gateway.wire() for _ in range(n)]
    for wire in wires:
        wire.request("POST", "/v1/chat/completions", chat("auto", text, **members), {"Connection": "close", **dict(headers)})
    return wires


def replies_of(wires):
    replies = [w.reply() for w in wires]
    for wire in wires:
        wire.close()
    return replies


def hows(replies):
    return Counter(how(r)[1] for r in replies)


def quantile(values, share):
    values = sorted(values)
    return values[min(int(len(values) * share), len(values) - 1)]


# ---- a decision as it is kept: kept.h ---------------------------------------------------------------------------------------


def _number(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def _text(s):
    return b"\0" if s is None else _number(len(s.encode()) + 1) + s.encode() + b"\0"


def digest(key):
    """The first bytes of the digest at a key's end."""
    return base64.urlsafe_b64decode(key[-32:])[:8]


def kept_bytes(key, expert, router="decider", category=None, reason=None, extra=None, fallbacks=(), seconds=600, confidence=0.5, version=2, flags=0):
    return (bytes([version]) + struct.pack("<qfB", int((time.time() + seconds) * 1000), confidence, flags) + digest(key) +
            b"".join(_text(s) for s in (expert, router, category, reason, extra)) + _number(len(fallbacks)) + b"".join(_text(f) for f in fallbacks))

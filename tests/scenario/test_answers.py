# SPDX-License-Identifier: Apache-2.0
"""Answers that are none, and more than was asked for: the same verdict over plain, libcurl, TLS and HTTP/2."""
import gzip
import json
import os
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from h2_server import CONTINUATION, DATA, END_HEADERS, H2Server, HEADERS, PING, PUSH_PROMISE, SETTINGS, block
from harness import chat, free_port, until
from scripted import CHUNKS, GOOD, Scripted, answer, good

pytestmark = pytest.mark.tsan

WAYS = ["plain", "curl", "tls"]
BODY = json.dumps(GOOD).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


def start(world, way, says, **expert):
    """A gateway before `says` by that way, and a good expert beside it."""
    bad, well = world.own(Scripted(says, tls=way == "tls")), world.own(Scripted(lambda body, _: good(body)))
    experts = {"bad": bad.entry(**{"retries": 0, **({"transport": "curl"} if way == "curl" else {}), **expert}), "well": well.entry()}
    return bad, world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "experts": experts, "routes": {"auto": {}},
                               "admin": world.admin()})


def once(bytes_, end=True):
    """Those bytes to the first request, good answers to all others."""
    state = {"said": False}

    def says(body, headers):
        if state["said"]:
            return good(body)
        state["said"] = True
        return [bytes_, *([None] if end else [...])]

    return says


def layers(n, size):
    data = b"\0" * size
    for _ in range(n):
        data = gzip.compress(data)
    return data


def chunked(*pieces, end=b"0\r\n\r\n"):
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + end


def framed(line):
    """A good answer but for one line of its head."""
    return OK + line + b"\r\n" + LENGTH + b"\r\n" + BODY


REFUSED = {
    # codings
    "gzip, gzip": OK + b"Transfer-Encoding: gzip, gzip\r\n\r\n" + layers(2, 100000),
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(BODY)), gzip.compress(BODY)),
    "identity": OK + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + BODY,
    "chunked, chunked": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding of no name": OK + b"Transfer-Encoding:\r\n" + LENGTH + b"\r\n" + BODY,
    "xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n" + BODY,
    "chunked in HTTP/1.0": chunked(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "content in gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(BODY)) + gzip.compress(BODY),
    "gzip that is none": OK + b"Content-Encoding: gzip\r\n" + LENGTH + b"\r\n" + BODY,
    "content in deflate": OK + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(zlib.compress(BODY)) + zlib.compress(BODY),
    # lengths
    "a length and chunks": chunked(BODY).replace(b"\r\n\r\n", b"\r\n" + LENGTH + b"\r\n", 1),
    "two lengths": OK + LENGTH + LENGTH + b"\r\n" + BODY,
    "two other lengths": OK + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY,
    "a list of lengths": OK + b"Content-Length: %d, %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY,
    "a length below zero": OK + b"Content-Length: -5\r\n\r\n" + BODY,
    "a length with a sign": OK + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY,
    "a length in hex": OK + b"Content-Length: 0x10\r\n\r\n" + BODY,
    "a length beyond all": OK + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "a length of no digits": OK + b"Content-Length: \r\n\r\n" + BODY,
    # lines
    "LF after the status": b"HTTP/1.1 200 OK\nContent-Type: application/json\r\n" + LENGTH + b"\r\n" + BODY,
    "LF after a header": OK + b"X: y\n" + LENGTH + b"\r\n" + BODY,
    "LF before the body": OK + LENGTH + b"\n" + BODY,
    "CR in a value": framed(b"X: a\rb"),
    "NUL in a value": framed(b"X: a\0b"),
    "a control in a value": framed(b"X: a\x01b"),
    "a folded line": framed(b"X: a\r\n b"),
    "a space before the colon": framed(b"X : a"),
    "a space in a name": framed(b"x-ratelimit-a b: 1"),
    "quotes in a name": framed(b'x-ratelimit-"a": 1'),
    "a name above ASCII": framed(b"x-ratelimit-\xe9: 1"),
    "a name of nothing": framed(b": 1"),
    "no colon": framed(b"nothing to say"),
    "a line's end first": b"\r\n" + OK + LENGTH + b"\r\n" + BODY,
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "HTTP/2": b"HTTP/2 200 \r\n" + LENGTH + b"\r\n" + BODY,
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "HTTP": b"HTTP 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "a status of two digits": b"HTTP/1.1 20 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "a status below 100": b"HTTP/1.1 099 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + BODY,
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    # sizes
    "a large head": OK + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(80)) + LENGTH + b"\r\n" + BODY,
    "a long line": framed(b"X: " + b"a" * 200000),
    "a line without end": OK + b"X: " + b"a" * 2000000,
    "many headers": OK + b"X: a\r\n" * 150 + LENGTH + b"\r\n" + BODY,
    "interim answers without end": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 5000 + OK + LENGTH + b"\r\n" + BODY,
    # chunks
    "a chunk of no size": chunked(end=b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk below zero": chunked(end=b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk beyond all": chunked(end=b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than it says": chunked(end=b"%x\r\n%sxx\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "LF after a size": chunked(end=b"%x\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "LF after a chunk": chunked(end=b"%x\r\n%s\n0\r\n\r\n" % (len(BODY), BODY)),
    "CR in an extension": chunked(end=b"%x;a\rb\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "LF after the last chunk": chunked(BODY, end=b"0\n\r\n"),
    "an extension without end": chunked(end=b"5;" + b"a" * 100000),
    "a trailer of no colon": chunked(BODY, end=b"0\r\nnothing to say\r\n\r\n"),
    "a long trailer": chunked(BODY, end=b"0\r\nX: " + b"a" * 10000 + b"\r\n\r\n"),
    "trailers without end": chunked(BODY, end=b"0\r\n" + b"X: a\r\n" * 500000),
    # cuts
    "half a head": OK + b"Content-Le",
    "half a body": OK + LENGTH + b"\r\n" + BODY[:-5],
    "half a chunk": chunked(end=b"%x\r\n%s" % (len(BODY), BODY[:-5])),
    "no last chunk": chunked(BODY, end=b""),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_refused(plain_world, way):
    """All of them at one gateway: one after another, each beside a healthy expert, and nothing of it stays."""
    turn = {"says": None}
    bad, gateway = start(plain_world, way, lambda body, headers: turn["says"](body, headers), breaker={"failures": 1000})
    verdicts = {}

    for name, bytes_ in REFUSED.items():
        turn["says"] = once(bytes_)
        began = time.monotonic()
        reply = gateway.chat("bad")
        spent = time.monotonic() - began
        after = gateway.chat("bad")
        verdicts[name] = (reply.status, reply.error and reply.error["code"], spent < 5, after.status, after.body == BODY)
        assert gateway.chat("well").status == 200, name

    assert {n: v for n, v in verdicts.items() if v != (502, "expert_failed", True, 200, True)} == {}
    assert gateway.resident() < 300 << 20


ACCEPTED = {
    "a length": answer(GOOD),
    "chunks": chunked(BODY[:20], BODY[20:]),
    "an extension": chunked(end=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "trailers": chunked(BODY, end=b"0\r\nX: a\r\nY: b\r\n\r\n"),
    "Chunked": chunked(BODY).replace(b"chunked", b"Chunked"),
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + LENGTH + b"\r\n" + BODY,
    "no reason": b"HTTP/1.1 200\r\nContent-Type: application/json\r\n" + LENGTH + b"\r\n" + BODY,
    "content as it is": framed(b"Content-Encoding: identity"),
    "until the end": OK + b"\r\n" + BODY,
    "HTTP/1.0": OK.replace(b"1.1", b"1.0") + b"\r\n" + BODY,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not(plain_world, way):
    turn = {"says": None}
    _, gateway = start(plain_world, way, lambda body, headers: turn["says"](body, headers))
    for name, bytes_ in ACCEPTED.items():
        turn["says"] = once(bytes_, end=True)
        for _ in range(2):
            reply = gateway.chat("bad")
            assert (reply.status, reply.body) == (200, BODY), name


@pytest.mark.parametrize("way", WAYS)
def test_what_came_first_is_judged_first(plain_world, way):
    """The end that comes with the last bytes takes nothing of them away."""
    event = [b"data: %s\n\n" % json.dumps(c).encode() for c in CHUNKS]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    whole, half = b"".join(event) + b"data: [DONE]\n\n", event[0]

    def length(data, more):
        return head + b"Content-Length: %d\r\n\r\n%s" % (len(data) + more, data)

    def chunks(data):
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(data), data)

    turn = {"says": None}
    _, gateway = start(plain_world, way, lambda body, _: [turn["says"], None], breaker={"failures": 1000})
    for name, bytes_ in {"no last chunk": chunks(whole), "a length too large": length(whole, 10), "a malformed chunk": chunks(whole) + b"x\r\n"}.items():
        turn["says"] = bytes_
        reply = gateway.chat("bad", stream=True)
        assert (reply.status, reply.text, reply.done) == (200, "OK", True), name
    for name, bytes_ in {"half, no last chunk": chunks(half), "half, a length too large": length(half, 10)}.items():
        turn["says"] = bytes_
        reply = gateway.chat("bad", stream=True)
        assert (reply.status, reply.text, reply.done) == (200, "OK", False), name
        assert reply.body.count(b"stream_cut") == 1, name
    for name, bytes_ in {"nothing": chunks(b"")[:-5], "a comment": chunks(b": hi\n\n"), "an empty body": length(b"", 10)}.items():
        turn["says"] = bytes_
        assert gateway.chat("bad", stream=True).status == 502, name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize("when", ["at once", "at rest"])
@pytest.mark.parametrize("path", ["chat", "stream"])
def test_no_answer_reaches_another_client(plain_world, way, kind, when, path):
    """An expert that answers once too often: each client gets its own answer, and none the other's."""

    def mine(body):
        text = body["messages"][0]["content"]
        if body.get("stream"):
            data = b"".join(b"data: %s\n\n" % json.dumps(
                {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": d, "finish_reason": f}]}).encode()
                for d, f in (({"content": "answer to <" + text + ">"}, None), ({}, "stop"))) + b"data: [DONE]\n\n"
            type_ = b"text/event-stream"
        else:
            made = json.loads(BODY)
            made["choices"][0]["message"]["content"] = "answer to <" + text + ">"
            data, type_ = json.dumps(made).encode(), b"application/json"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + type_ + b"\r\n"
        if kind == "chunked":
            return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        return head + b"Content-Length: %d\r\n\r\n%s" % (len(data), data)

    def says(body, _):
        stray = mine({**body, "messages": [{"role": "user", "content": "STRAY"}]})
        return [mine(body) + stray, said.release] if when == "at once" else [mine(body), 0.05, stray, said.release]

    said = threading.Semaphore(0)
    bad, gateway = start(plain_world, way, says)
    for i in range(6):
        text = f"{'alice' if i % 2 else 'bob'} asks {i}"
        reply = gateway.chat("bad", text, **({"stream": True} if path == "stream" else {}))
        got = reply.text if path == "stream" else reply.json()["choices"][0]["message"]["content"]
        assert got == f"answer to <{text}>"
        assert said.acquire(timeout=10), "what is said at rest is said before the next request, which could not be told from its answer"
    assert len(bad.seen) == 6, "none was asked twice"


@pytest.mark.parametrize("way", ["curl", "tls"])
def test_codings_stop_nobody(plain_world, way):
    """20 KB that would be gigabytes: refused by the head, while another request is served."""
    bomb = OK + b"Transfer-Encoding: " + b", ".join([b"gzip"] * 4) + b"\r\n\r\n" + layers(4, 1 << 26)
    _, gateway = start(plain_world, way, lambda body, _: [bomb, None], breaker={"failures": 1000})
    for _ in range(3):
        began = time.monotonic()
        assert gateway.chat("bad").status == 502
        assert gateway.chat("well").status == 200
        assert time.monotonic() - began < 3


# ---- HTTP/2 --------------------------------------------------------------------------------------------------------------

HEAD = [(":status", "200"), ("content-type", "application/json")]


def over_h2(world, says, streams=100, **expert):
    server, well = world.own(H2Server(says, streams)), world.own(Scripted(lambda body, _: good(body)))
    return server, world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "routes": {"auto": {}}, "admin": world.admin(),
                                  "experts": {"bad": server.entry(breaker={"failures": 1000}, **expert), "well": well.entry()}})


def head_then_body(*more, without=()):
    def says(c, stream, body):
        c.headers(stream, [h for h in HEAD if h[0] not in without] + list(more))
        c.data(stream, BODY, end=True)
    return says


def continuations(c, stream, body):
    c.frame(HEADERS, 0, stream, block(HEAD))
    for i in range(20000):
        c.frame(CONTINUATION, 0, stream, block([("x-%d" % i, "a" * 100)]))


def large_head(c, stream, body):
    c.frame(HEADERS, 0, stream, block(HEAD))
    for i in range(5):
        c.frame(CONTINUATION, END_HEADERS if i == 4 else 0, stream, block([("x-%d" % i, "a" * 15000)]))
    c.data(stream, BODY, end=True)


def empty_continuations(c, stream, body):
    c.frame(HEADERS, 0, stream, block(HEAD))
    for _ in range(100000):
        c.frame(CONTINUATION, 0, stream)


def trailers(c, stream, body):
    c.headers(stream, HEAD)
    c.data(stream, BODY)
    for i in range(2000):
        c.headers(stream, [("x-%d-%d" % (i, j), "a" * 50) for j in range(100)])


def long_trailers(c, stream, body):
    c.headers(stream, HEAD)
    c.data(stream, BODY)
    for i in range(8):
        c.frame(HEADERS if i == 0 else CONTINUATION, (1 if i == 0 else 0) | (END_HEADERS if i == 7 else 0), stream,
                block([("x-%d-%d" % (i, j), "a" * 1000) for j in range(15)]))


def interim(c, stream, body):
    for _ in range(20000):
        c.headers(stream, [(":status", "103"), ("link", "x" * 50)])
    c.answer(stream, BODY)


def pushes(c, stream, body):
    c.frame(PUSH_PROMISE, END_HEADERS, stream, b"\0\0\0\2" + block([(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "x")]))
    c.answer(stream, BODY)


def too_large_frame(c, stream, body):
    c.headers(stream, HEAD)
    c.frame(0, 1, stream, b"a" * 100000)


H2_REFUSED = {
    "a coding": head_then_body(("transfer-encoding", "gzip, gzip")),
    "chunked": head_then_body(("transfer-encoding", "chunked")),
    "content in gzip": head_then_body(("content-encoding", "gzip")),
    "connection": head_then_body(("connection", "close")),
    "two lengths": head_then_body(("content-length", str(len(BODY))), ("content-length", "5")),
    "too short": head_then_body(("content-length", str(len(BODY) + 5))),
    "too long": head_then_body(("content-length", str(len(BODY) - 5))),
    "no status": head_then_body(without=[":status"]),
    "a status of words": lambda c, s, b: c.answer(s, BODY, status="abc"),
    "101": lambda c, s, b: c.answer(s, BODY, status="101"),
    "a name in capitals": head_then_body(("X-A", "b")),
    "a space in a name": head_then_body(("x-ratelimit-a b", "1")),
    "a name above ASCII": head_then_body(("x-ratelimit-\xe9", "1")),
    "a line's end in a value": head_then_body(("x-a", "b\r\nx-c: d")),
    "a control in a value": head_then_body(("x-a", "b\x01")),
    "NUL in a value": head_then_body(("x-a", "b\0c")),
    "many headers": head_then_body(*[("x-%d" % i, "a") for i in range(150)]),
    "a large head": large_head,
    "continuations": continuations,
    "empty continuations": empty_continuations,
    "trailers without end": trailers,
    "long trailers": long_trailers,
    "interim answers without end": interim,
    "data before the head": lambda c, s, b: c.data(s, BODY, end=True),
    "a push": pushes,
    "a frame too large": too_large_frame,
    "a reset at once": lambda c, s, b: c.reset(s, 2),
    "a reset in the body": lambda c, s, b: [c.headers(s, HEAD), c.data(s, BODY[:20]), c.reset(s, 2)],
    "an end in the body": lambda c, s, b: [c.headers(s, HEAD), c.data(s, BODY[:20]), c.cut()],
    "GOAWAY in the body": lambda c, s, b: [c.headers(s, HEAD), c.data(s, BODY[:20]), c.goaway(s, 2), c.cut()],
    "another protocol": lambda c, s, b: c.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" * 100),
}


@pytest.mark.parametrize("name", list(H2_REFUSED))
def test_what_is_refused_over_h2(plain_world, name):
    state = {"bad": True}

    def says(c, stream, body):
        if state["bad"]:
            H2_REFUSED[name](c, stream, body)
        else:
            c.answer(stream, BODY)

    server, gateway = over_h2(plain_world, says, answer_time="3s", idle_time="3s")
    began = time.monotonic()
    reply = gateway.chat("bad")
    spent = time.monotonic() - began
    assert gateway.chat("well").status == 200
    state["bad"] = False
    after = gateway.chat("bad")
    assert (reply.status, reply.error["code"], spent < 6) == (502, "expert_failed", True), (spent, reply.body)
    assert (after.status, after.body) == (200, BODY)
    assert gateway.resident() < (600 if "ASAN_OPTIONS" in os.environ else 200) << 20  # a sanitizer keeps what was freed


H2_ACCEPTED = {
    "plainly": lambda c, s, b: c.answer(s, BODY),
    "a length": head_then_body(("content-length", str(len(BODY)))),
    "an interim answer": lambda c, s, b: [c.headers(s, [(":status", "103"), ("link", "x")]), c.answer(s, BODY)],
    "trailers": lambda c, s, b: [c.headers(s, HEAD), c.data(s, BODY), c.headers(s, [("x-a", "b")], end=True)],
    "pings": lambda c, s, b: [*[c.frame(PING, 0, 0, b"12345678") for _ in range(500)], c.answer(s, BODY)],
    "settings": lambda c, s, b: [*[c.frame(SETTINGS, 0, 0) for _ in range(500)], c.answer(s, BODY)],
    "empty frames": lambda c, s, b: [c.headers(s, HEAD), *[c.frame(0, 0, s) for _ in range(2000)], c.data(s, BODY, end=True)],
    "frames at rest": lambda c, s, b: [c.answer(s, BODY), time.sleep(0.05), c.frame(PING, 0, 0, b"12345678")],
}


def test_what_is_not_refused_over_h2(plain_world):
    turn = {"says": None}
    server, gateway = over_h2(plain_world, lambda c, s, b: turn["says"](c, s, b))
    for name, says in H2_ACCEPTED.items():
        turn["says"] = says
        for _ in range(2):
            reply = gateway.chat("bad")
            assert (reply.status, reply.body) == (200, BODY), name
            time.sleep(0.1)
    assert server.connections == 1, "frames at rest are no reason to leave a connection"


def at_once(calls):
    """Runs them at the same time; their results in order."""
    results = [None] * len(calls)

    def run(i):
        results[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def test_one_h2_connection_carries_them_all(plain_world):
    """Bug 01: requests that overlap a slow one, again and again."""
    slow = threading.Event()

    def says(c, stream, body):
        if body["messages"][0]["content"] == "slow":
            slow.wait(20)
        c.answer(stream, BODY)

    server, gateway = over_h2(plain_world, says)
    results = []
    first = threading.Thread(target=lambda: results.append(gateway.chat("bad", "slow")))
    first.start()
    until("the slow one is there", lambda: server.seen)
    for _ in range(3):
        got = at_once([lambda: gateway.chat("bad", "quick")] * 16)
        assert [r.status for r in got] == [200] * 16, got[0].body
        got = at_once([lambda: gateway.chat("bad", "quick", stream=False, n=1)] * 4)
        assert [r.status for r in got] == [200] * 4
    slow.set()
    first.join()
    assert results[0].status == 200
    assert server.connections == 1
    for _ in range(3):
        assert gateway.chat("bad").status == 200


def test_more_streams_than_one_connection_takes(plain_world):
    server, gateway = over_h2(plain_world, lambda c, s, b: [time.sleep(0.2), c.answer(s, BODY)], streams=5)
    for _ in range(2):
        assert [r.status for r in at_once([lambda: gateway.chat("bad")] * 20)] == [200] * 20
    assert server.connections <= 20


def test_streams_reset_one_after_another(plain_world):
    """Rapid reset by the server: each request fails for itself, others go on, and nothing is kept of it."""
    def says(c, stream, body):
        if body["messages"][0]["content"] == "slow":
            time.sleep(1)
            c.answer(stream, BODY)
        else:
            c.reset(stream, 8)

    server, gateway = over_h2(plain_world, says)
    slow = []
    waits = threading.Thread(target=lambda: slow.append(gateway.chat("bad", "slow")))
    waits.start()
    until("the slow one is there", lambda: server.seen)
    for _ in range(10):
        assert {r.status for r in at_once([lambda: gateway.chat("bad", "quick")] * 10)} == {502}
    waits.join()
    assert slow[0].status == 200 and server.connections == 1


def test_goaway_is_followed(plain_world):
    """The server ends its connection in order after each second request: no request is lost."""
    def says(c, stream, body):
        if stream > 1:
            c.goaway(stream)
        c.answer(stream, BODY)

    server, gateway = over_h2(plain_world, says)
    assert [gateway.chat("bad").status for _ in range(8)] == [200] * 8
    assert server.connections >= 3


@pytest.mark.parametrize("how", ["refused", "cut", "cut beside one that runs", "broken"])
def test_requests_that_a_connection_did_not_take_are_sent_again(plain_world, how):
    """GOAWAY says which streams were never looked at; a kept connection that ends before an answer's first byte is tried once more, as by HTTP/1.1."""
    together, lock, held = [], threading.Lock(), threading.Event()

    def says(c, stream, body):
        text = body["messages"][0]["content"]
        if c.number > 1 or stream == 1:
            return c.answer(stream, BODY)
        if text == "hold":
            c.headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
            c.data(stream, b"data: %s\n\n" % json.dumps(CHUNKS[0]).encode())
            held.wait(30)
            return c.data(stream, b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(CHUNKS[1]).encode(), end=True)
        with lock:
            together.append(stream)
            if len(together) < 6:
                return
        if how == "refused":
            c.goaway(3)
            held.set()
        elif how.startswith("cut"):
            c.cut()
        else:
            c.frame(DATA, 0, 0, b"on no stream")

    server, gateway = over_h2(plain_world, says, retries=0)
    assert gateway.chat("bad").status == 200
    wire = gateway.wire()
    if how not in ("cut", "broken"):
        wire.request("POST", "/v1/chat/completions", chat("bad", "hold", stream=True))
        reply = wire.head()
    with ThreadPoolExecutor(6) as pool:
        got = [(r.status, r.body[:300] if r.status != 200 else b"") for r in pool.map(lambda i: gateway.chat("bad", "x"), range(6))]
    assert got == [(200, b"")] * 6
    if how == "refused":
        assert b"".join(wire.pieces(reply)).endswith(b"data: [DONE]\n\n"), "what was taken goes on"
    elif how not in ("cut", "broken"):
        assert b"stream_cut" in b"".join(wire.pieces(reply)) and not reply.complete, "and who has its beginning is told at once"
    wire.close()
    assert gateway.chat("bad").status == 200


def test_a_name_that_does_not_resolve_spoils_nothing(plain_world):
    """R2: one expert's name is nobody's; the others of the worker stay as they are."""
    server = plain_world.own(H2Server(lambda c, s, b: c.answer(s, BODY)))
    well = plain_world.own(Scripted(lambda body, _: good(body), tls=True))
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1,
                                   "experts": {"nobody": {"endpoints": ["https://no-such-host.invalid/v1"], "retries": 0, "connect_time": "5s"},
                                               "bad": server.entry(), "well": well.entry()}})
    for _ in range(3):
        lost = gateway.chat("nobody")
        assert lost.status == 502 and "memory" not in lost.error["message"]
        for name in ("bad", "well"):
            assert [gateway.chat(name).status for _ in range(3)] == [200] * 3


def test_a_slow_client_holds_nobody_else(plain_world):
    """An answer above limits.buffer whose client does not read, beside others on the same HTTP/2 connection."""
    def says(c, stream, body):
        if body["messages"][0]["content"] == "large":
            made = json.loads(BODY)
            made["choices"][0]["message"]["content"] = "x" * (12 << 20)
            c.answer(stream, made)
        else:
            c.answer(stream, BODY)

    server, gateway = over_h2(plain_world, says, idle_time="5s")
    with gateway.wire(rcvbuf=16384) as wire:
        wire.request("POST", "/v1/chat/completions", chat("bad", "large"))
        time.sleep(1)
        for _ in range(3):
            began = time.monotonic()
            assert gateway.chat("bad", "quick").status == 200
            assert time.monotonic() - began < 2
        assert gateway.resident() < 100 << 20
        reply = wire.reply()
    assert reply.complete and len(reply.body) > 12 << 20

# SPDX-License-Identifier: Apache-2.0
"""Bad input gets a clear error in OpenAI's shape, is logged once, and leaves other requests alone."""
import json
import time

import pytest

from harness import chat

GOOD = json.dumps(chat("alpha")).encode()
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def post(body, *headers):
    body = body if isinstance(body, bytes) else body.encode()
    return (POST + "".join(h + "\r\n" for h in headers) + f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def get(path, method="GET", extra=""):
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode()


MESSAGES = '"messages":[{"role":"user","content":"hi"}]'

# name: bytes of the client, status (one of), error code or None, what the message or param names
BODIES = {
    "not JSON": (post("hello"), 400, None),
    "truncated JSON": (post('{"model":"alpha","messages":[{"role":"us'), 400, None),
    "truncated in a string escape": (post('{"model":"alpha\\'), 400, None),
    "empty body": (post(""), 400, None),
    "JSON, but a list": (post("[1,2]"), 400, None),
    "JSON, but a number": (post("17"), 400, None),
    "two values": (post('{"model":"alpha",' + MESSAGES + "} {}"), 400, None),
    "trailing comma": (post('{"model":"alpha",' + MESSAGES + ",}"), 400, None),
    "bad number": (post('{"model":"alpha","temperature":01,' + MESSAGES + "}"), 400, None),
    "bad escape": (post('{"model":"alpha","messages":[{"role":"user","content":"\\x41"}]}'), 400, None),
    "control character in a string": (post('{"model":"alpha","messages":[{"role":"user","content":"a\nb"}]}'), 400, None),
    "lone surrogate": (post('{"model":"al\\ud800pha","messages":[{"role":"user","content":"x"}]}'), 404, None),
    "invalid UTF-8": (post(b'{"model":"alpha","messages":[{"role":"user","content":"\xff\xfe"}]}'), 400, None),
    "overlong UTF-8": (post(b'{"model":"alpha","messages":[{"role":"user","content":"\xc0\xaf"}]}'), 400, None),
    "NUL in the body": (post(b'{"model":"alpha",\x00' + MESSAGES.encode() + b"}"), 400, None),
    "deep nesting": (post('{"model":"alpha","x":' + "[" * 100000 + "]" * 100000 + "," + MESSAGES + "}"), 400, None),
    "deep nesting of objects": (post('{"model":"alpha",' + MESSAGES + ',"x":' + '{"a":' * 5000 + "1" + "}" * 5000 + "}"), 400, None),
    "model is a number": (post('{"model":5,' + MESSAGES + "}"), 400, "model"),
    "stream is a string": (post('{"model":"alpha","stream":"yes",' + MESSAGES + "}"), 400, "stream"),
    "messages is a string": (post('{"model":"alpha","messages":"hi"}'), 400, "messages"),
    "messages is missing": (post('{"model":"alpha"}'), 400, "messages"),
    "messages is empty": (post('{"model":"alpha","messages":[]}'), 400, "messages"),
    "a message is a number": (post('{"model":"alpha","messages":[1]}'), 400, "messages"),
    "a role is a number": (post('{"model":"alpha","messages":[{"role":1,"content":"x"}]}'), 400, "messages"),
    "content is a number": (post('{"model":"alpha","messages":[{"role":"user","content":7}]}'), 400, "messages"),
    "stream_options is a list": (post('{"model":"alpha","stream":true,"stream_options":[],' + MESSAGES + "}"), 400, "stream_options"),
    "unknown model": (post('{"model":"nobody",' + MESSAGES + "}"), 404, "model"),
    "wrong method": (get("/v1/chat/completions"), 405, None),
    "wrong method, unknown to HTTP": (get("/v1/chat/completions", "FETCH"), 501, None),
    "unknown path": (get("/v1/nothing"), 404, None),
    "unknown model in the path": (get("/v1/models/nobody"), 404, None),
    "root": (get("/"), 404, None),
    "missing length": (POST.encode() + b"\r\n", 411, None),
    "length is not a number": (POST.encode() + b"Content-Length: 12x\r\n\r\n", 400, None),
    "length is negative": (POST.encode() + b"Content-Length: -5\r\n\r\n", 400, None),
    "length beyond all numbers": (POST.encode() + b"Content-Length: 99999999999999999999999\r\n\r\n", 400, None),
    "two lengths": (POST.encode() + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, None),
    "length and chunks": (POST.encode() + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
    "another coding": (POST.encode() + b"Transfer-Encoding: gzip\r\n\r\n", 501, None),
    "bad chunk size": (POST.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400, None),
    "garbage instead of HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, None),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, None),
    "HTTP/9.9": (b"GET /v1/models HTTP/9.9\r\nHost: localhost\r\n\r\n", 505, None),
    "header without a colon": (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nbroken\r\n\r\n", 400, None),
    "space before the colon": (b"GET /v1/models HTTP/1.1\r\nHost : x\r\n\r\n", 400, None),
    "folded header": (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n 2\r\n\r\n", 400, None),
    "NUL in a header": (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: 1\x002\r\n\r\n", 400, None),
    "header bomb, many": (get("/v1/models", extra="".join(f"X-{i}: 1\r\n" for i in range(2000))), 431, None),
    "header bomb, one large": (get("/v1/models", extra="X-A: " + "a" * 200000 + "\r\n"), 431, None),
    "a target without end": (get("/" + "a" * 200000), 414, None),
}


@pytest.mark.tsan
@pytest.mark.parametrize("name", BODIES)
def test_bad_input_is_refused_once_and_nothing_else_is_hurt(client_world, name):
    data, status, names = BODIES[name]
    mock, gateway = client_world.serve("alpha")

    bystander = gateway.wire()  # connected before, in the middle of its own request while the bad one comes
    half = post(GOOD)
    bystander.send(half[:40])
    with gateway.wire() as wire:
        try:
            wire.send(data)
        except OSError:
            pass  # refused before all was sent
        reply = wire.reply()
    bystander.send(half[40:])
    other = bystander.reply()
    bystander.close()

    assert reply.status == status, reply.body
    assert reply.headers["content-type"].startswith("application/json") and reply.complete
    error = reply.error
    assert error and error["message"], "never an empty body, never HTML"
    assert error["type"] == "invalid_request_error" or reply.status in (501, 505)
    if names:
        assert names in (error["param"] or "") or f"'{names}'" in error["message"], error
    if name.startswith("unknown model"):
        assert error["code"] == "model_not_found"
    if reply.status == 405:
        assert "POST" in reply.headers["allow"]
    assert other.status == 200 and mock.count("alpha") == 1, "the bystander got its answer, the bad request reached nobody"
    assert len(gateway.request_lines(2)) == 2, "each is logged once"


def test_a_body_of_10_MB_is_refused_before_it_is_read(client_world):
    mock, gateway = client_world.serve("alpha")

    with gateway.wire() as wire:  # its length is known: the head is enough
        began = time.monotonic()
        wire.send(POST.encode() + b"Content-Length: 10000000\r\n\r\n")
        reply = wire.reply()
    assert reply.status == 413 and reply.error and time.monotonic() - began < 2
    reply = gateway.post("/v1/chat/completions", chat("alpha", "x" * 10_000_000))  # all of it is sent
    assert reply.status == 413 and reply.error
    with gateway.wire() as wire:  # its length is not known
        wire.send(POST.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(160):
                wire.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except OSError:
            pass
        reply = wire.reply()
    assert reply.status == 413 and reply.error
    assert mock.count("alpha") == 0
    assert len(gateway.request_lines(3)) == 3
    assert gateway.chat("alpha").status == 200


def test_a_body_below_the_limit_arrives_whole(world):
    mock, gateway = world.serve("alpha")
    body = json.dumps(chat("alpha", "é" * 1_000_000), ensure_ascii=False).encode()

    assert gateway.post("/v1/chat/completions", body).status == 200
    assert mock.requests("alpha")[0]["body"] == body


def test_a_chunked_body_is_understood(world):
    mock, gateway = world.serve("alpha")

    with gateway.wire() as wire:
        wire.send(POST.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(GOOD), 7):
            piece = GOOD[i:i + 7]
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")
        assert wire.reply().status == 200
    assert mock.requests("alpha")[0]["body"] == GOOD


def test_100_continue_is_answered(client_world):
    _, gateway = client_world.serve("alpha")

    with gateway.wire() as wire:
        wire.send(POST.encode() + f"Expect: 100-continue\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode())
        assert wire._line() == b"HTTP/1.1 100 Continue" and wire._line() == b""
        wire.send(GOOD)
        assert wire.reply().status == 200


def test_pipelined_requests_are_answered_in_order(world):
    mock, gateway = world.serve("alpha", "beta")
    mock.script({"expert": "alpha", "fault": "delay-ms=150"})

    with gateway.wire() as wire:
        wire.send(post(json.dumps(chat("alpha", "first"))) + get("/v1/models/beta") + post(json.dumps(chat("beta", "third"))))
        first, second, third = wire.reply(), wire.reply(), wire.reply()
    assert "alpha heard: first" in first.json()["choices"][0]["message"]["content"]
    assert second.json()["id"] == "beta"
    assert "beta heard: third" in third.json()["choices"][0]["message"]["content"]


def test_a_good_request_before_garbage_on_the_same_connection_is_answered(client_world):
    _, gateway = client_world.serve("alpha")

    with gateway.wire() as wire:
        wire.send(post(GOOD) + b"garbage\r\n\r\n")
        assert wire.reply().status == 200
        assert wire.reply().status == 400
        assert wire.ended(), "after a message that cannot be understood the next one's beginning is not known"


def test_a_request_byte_by_byte_is_a_request(client_world):
    _, gateway = client_world.serve("alpha")

    with gateway.wire() as wire:
        for byte in post(GOOD):
            wire.send(bytes([byte]))
        assert wire.reply().status == 200


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_request_that_never_ends_is_timed_out(client_world, part):
    _, gateway = client_world.serve("alpha", limits={"head_time": "300ms", "body_time": "300ms"})

    with gateway.wire() as wire:
        began = time.monotonic()
        wire.send(post(GOOD)[:20 if part == "head" else -5])
        reply = wire.reply()
        assert reply.status == 408 and reply.error
        assert 0.25 < time.monotonic() - began < 3
        assert wire.ended()
    assert len(gateway.request_lines(1)) == 1


def test_an_idle_connection_is_closed_in_silence(client_world):
    _, gateway = client_world.serve("alpha", limits={"idle_time": "300ms"})

    with gateway.wire() as wire:
        assert wire.request("GET", "/v1/models").reply().status == 200
        began = time.monotonic()
        assert wire.ended() and wire.buf == b""
        assert time.monotonic() - began > 0.2
    assert gateway.get("/v1/models").status == 200


def test_connections_beyond_the_limit_do_not_hurt_the_others(plain_world):
    _, gateway = plain_world.serve("alpha", limits={"connections": 8}, workers=1)
    crowd = []

    held = gateway.wire()
    assert held.request("GET", "/v1/models").reply().status == 200
    for _ in range(20):
        crowd.append(gateway.wire(timeout=1))
    assert held.request("GET", "/v1/models").reply().status == 200
    for wire in crowd + [held]:
        wire.close()
    time.sleep(0.2)
    assert gateway.chat("alpha").status == 200

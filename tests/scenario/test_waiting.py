# SPDX-License-Identifier: Apache-2.0
"""How long everybody waits: as an expert says, as a client says, and no longer than an answer can still come."""
import email.utils
import time

import pytest

from harness import until
from scripted import answer, good, scripted, seconds, serve

BUSY = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}


def date(in_seconds):
    return email.utils.formatdate(time.time() + in_seconds, usegmt=True)


def once(refusal):
    """Refuses the first request."""
    def says(body, _):
        says.asked.append(time.monotonic())
        return refusal() if len(says.asked) == 1 else good(body)
    says.asked = []
    return says


@pytest.mark.parametrize("headers,least,most", [
    (lambda: {"Retry-After": date(3)}, 1.5, 3.8),
    (lambda: {"Retry-After": "1.5"}, 1.5, 2.2),
    (lambda: {"retry-after-ms": "1500.5"}, 1.5, 2.2),
    (lambda: {"x-ratelimit-reset-requests": "2s"}, 2, 2.7),
    (lambda: {"x-ratelimit-reset-requests": "0m1.4s", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-tokens": "12ms"}, 1.4, 2.1),
], ids=["date", "fraction", "ms", "reset", "two resets"])
def test_it_is_asked_again_as_it_said(upstream_world, headers, least, most):
    says = once(lambda: answer(BUSY, 429, headers()))
    gateway = serve(upstream_world, {"e": scripted(upstream_world, says)})

    assert gateway.chat("e").status == 200
    assert least <= says.asked[1] - says.asked[0] < most + 1, says.asked


@pytest.mark.parametrize("stream", [False, True])
def test_while_an_expert_rests_clients_hear_for_how_long(upstream_world, stream):
    expert = scripted(upstream_world, lambda *_: answer(BUSY, 429, {"Retry-After": "45"}))
    gateway = serve(upstream_world, {"e": expert})

    first = gateway.chat("e", stream=stream)
    assert first.status == 429 and first.headers["retry-after"] == "45" and first.headers["x-should-retry"] == "true"
    for model in ("e", "auto"):
        reply = gateway.chat(model, stream=stream)
        assert reply.status == 429 and reply.error["code"] == "rate_limit_exceeded", reply.body
        assert 40 <= int(reply.headers["retry-after"]) <= 45 and reply.headers["x-should-retry"] == "true"
    assert expert.count() == 1


def test_an_hour_is_an_hour(plain_world):
    expert = scripted(plain_world, lambda *_: answer(BUSY, 429, {"Retry-After": "3600"}))
    gateway = serve(plain_world, {"e": expert})

    for _ in range(2):
        reply = gateway.chat("e")
        assert reply.status == 429 and 3590 <= int(reply.headers["retry-after"]) <= 3600
        assert reply.headers["x-should-retry"] == "false", "clients that come by themselves would come at once"
    assert expert.count() == 1


def test_an_open_breaker_says_how_long_too(plain_world):
    expert = scripted(plain_world, lambda *_: answer("", 503))
    gateway = serve(plain_world, {"e": expert.entry(retries=0, breaker={"failures": 1, "open_time": "20s"})})

    failed, rests = gateway.chat("e"), gateway.chat("e")

    assert failed.status == 502 and failed.headers["x-should-retry"] == "true" and "retry-after" not in failed.headers
    assert rests.status == 503 and rests.error["code"] == "expert_unavailable" and 15 <= int(rests.headers["retry-after"]) <= 23


def test_who_has_tried_twice_says_so(plain_world):
    expert = scripted(plain_world, lambda *_: answer(BUSY, 429, {"Retry-After": "0.2"}))
    gateway = serve(plain_world, {"e": expert})

    reply = gateway.chat("e")

    assert reply.status == 429 and expert.count() == 2 and reply.headers["x-should-retry"] == "false" and reply.headers["retry-after"] == "1"
    assert int(reply.headers["x-pointsman-overhead-us"]) < 150000, "waiting as told is not ours"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [500, 429, 401])
def test_a_body_that_trickles_holds_nobody(upstream_world, status, stream):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{{".encode()
    slow = scripted(upstream_world, lambda *_: [head] + [b" ", 0.2] * 100)
    fast = scripted(upstream_world, lambda body, _: good(body))
    gateway = serve(upstream_world, {"slow": slow, "fast": fast}, routes={"auto": {"default": "slow"}})

    reply, took = seconds(lambda: gateway.chat("auto", stream=stream))

    assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "fast" and took < (13 if status == 401 else 4)


def test_a_status_whose_body_is_cut_still_counts(upstream_world):
    head = b"HTTP/1.1 429 X\r\nContent-Type: application/json\r\nRetry-After: 40\r\nContent-Length: 900\r\n\r\n{"
    expert = scripted(upstream_world, lambda *_: [head, None])
    gateway = serve(upstream_world, {"e": expert})

    reply = gateway.chat("e")

    assert reply.status == 429 and reply.headers["retry-after"] == "40" and expert.count() == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name,value", [("x-stainless-read-timeout", "1"), ("x-stainless-timeout", "1.0"), ("x-request-timeout-ms", "1000")])
def test_a_clients_limit_is_kept(upstream_world, name, value, stream):
    expert = scripted(upstream_world, lambda *_: [...])
    gateway = serve(upstream_world, {"e": expert.entry(retries=1), "f": expert.entry(retries=1)})

    reply, took = seconds(lambda: gateway.chat("auto", stream=stream, headers={name: value}))

    assert reply.status == 504 and reply.error["code"] == "request_timeout" and "1000 ms" in reply.error["message"], reply.body
    assert 0.9 < took < 2.5 and reply.headers["x-should-retry"] == "false" and expert.count() == 1


def test_a_clients_limit_does_not_end_a_stream(plain_world):
    pieces = good({"stream": True})
    head, rest = pieces.split(b"\r\n\r\n", 1)
    events = [e + b"\n\n" for e in rest.split(b"\n\n") if e]
    expert = scripted(plain_world, lambda *_: [head + b"\r\n\r\n" + events[0], 0.8, events[1], 0.8, events[2]])
    gateway = serve(plain_world, {"e": expert})

    reply = gateway.chat("e", stream=True, headers={"x-stainless-read-timeout": "1"})

    assert reply.done and reply.text == "OK"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "NaN", "600"])
def test_a_limit_without_sense_is_none(plain_world, value):
    gateway = serve(plain_world, {"e": scripted(plain_world, lambda body, _: good(body))})

    assert gateway.chat("e", headers={"x-stainless-read-timeout": value}).status == 200


def test_first_tokens_are_streams(plain_world):
    expert = scripted(plain_world, lambda body, _: good(body) if body.get("stream") else [0.3, good(body)])
    admin = plain_world.admin()
    gateway = serve(plain_world, {"e": expert}, admin=admin)

    def first_token():
        return gateway.admin("GET", "/admin/experts").json()["experts"][0]["first_token_ms"]

    assert gateway.chat("e").status == 200
    assert first_token() == 0 and gateway.metric("pointsman_first_token_seconds_count") == 0, "a whole answer has none"
    assert gateway.chat("e", stream=True).done
    until("counted", lambda: gateway.metric("pointsman_first_token_seconds_count") == 1)
    assert 0 < first_token() < 250
    assert ["ttft_us" in line for line in gateway.request_lines(2)] == [False, True]

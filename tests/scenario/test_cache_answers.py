# SPDX-License-Identifier: Apache-2.0
"""Whole answers told again, to the byte: only where a route says so, only what would have come out the same, never an error."""
import copy
import struct

import pytest

from harness import chat, until
from kept import config, how, redis_settings, redis_up, reloaded
from redis_servers import Redis


def answering(world, mock, answers="1m", cache=None, **more):
    return config(world, mock, cache={"answers": answers, "decisions": "off", **(cache or {})}, **more)


def ask(gateway, text="beta?", headers=(), **members):
    return gateway.chat("auto", text, headers, **{"temperature": 0, **members})


def again(reply):
    return reply.headers.get("x-pointsman-answer")


def test_off_unless_a_route_says_so(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock))

    replies = [ask(gateway) for _ in range(3)]
    assert [again(r) for r in replies] == [None] * 3 and mock.count("beta") == 3
    assert gateway.lookups("answers") == {} and gateway.metric("pointsman_cache_entries", cache="answers") == 0


@pytest.mark.tsan
def test_told_again_as_it_was(world):
    mock = world.experts("alpha", "beta")
    gateway = world.gateway(answering(world, mock))

    first, second = ask(gateway), ask(gateway)

    assert how(first) == ("beta", "computed") and again(first) is None
    assert how(second) == ("beta", "cached-local") and again(second) == "cached-local"
    assert second.body == first.body and second.complete and mock.count("beta") == 1
    for name in ("content-type", "content-length"):
        assert second.headers[name] == first.headers[name]
    assert second.headers["x-request-id"] != first.headers["x-request-id"] and "x-pointsman-attempts" not in second.headers
    assert gateway.lookups("answers") == {"miss": 1, "local": 1} and gateway.metric("pointsman_cache_entries", cache="answers") == 1


@pytest.mark.tsan
@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_is_told_again_as_a_stream(world, usage):
    mock = world.experts("alpha", "beta", options=["--tokens", "40", "--rate", "400"])
    gateway = world.gateway(answering(world, mock))
    members = {"stream": True, **({"stream_options": {"include_usage": True}} if usage else {})}

    first = ask(gateway, **members)
    until("it is kept, a moment after its end", lambda: gateway.metric("pointsman_cache_entries", cache="answers") == 1)
    second = ask(gateway, **members)

    assert again(second) == "cached-local" and mock.count("beta") == 1
    assert second.body == first.body and first.done and second.done and second.complete and len(second.chunks) >= 40
    for name in ("content-type", "cache-control", "transfer-encoding"):
        assert second.headers[name] == first.headers[name]
    assert ("usage" in second.chunks[-1] and bool(second.chunks[-1]["usage"])) == usage
    whole = ask(gateway)
    assert again(whole) is None and whole.headers["content-type"].startswith("application/json"), "the same question not as a stream is another"


SAME = {"zero": {"temperature": 0}, "zero as a real": {"temperature": 0.0}, "no tools": {"tools": []}, "null tools": {"tools": None},
        "no functions": {"functions": []}}
NOT = {"temperature 1": {"temperature": 1}, "a little": {"temperature": 0.01}, "a text": {"temperature": "0"}, "null": {"temperature": None},
       "true": {"temperature": True}, "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
       "functions": {"functions": [{"name": "f"}]}, "odd tools": {"tools": {}}}


@pytest.mark.parametrize("members", [*SAME.values(), *NOT.values()], ids=[*SAME, *NOT])
def test_which_are_kept(plain_world, members):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock))

    replies = [ask(gateway, **members) for _ in range(2)]
    assert [again(r) for r in replies] == [None, "cached-local" if members in SAME.values() else None]
    assert mock.count("beta") == (1 if members in SAME.values() else 2)


def test_without_a_temperature_or_with_two(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock))

    for body in (b'{"model": "auto", "messages": [{"role": "user", "content": "beta?"}]}',
                 b'{"model": "auto", "temperature": 1, "temperature": 0, "messages": [{"role": "user", "content": "beta?"}]}',
                 b'{"model": "auto", "temperature": 0, "tools": [], "tools": [{}], "messages": [{"role": "user", "content": "beta?"}]}'):
        for _ in range(2):
            assert again(gateway.post("/v1/chat/completions", body)) is None, body
    for number in (b"0.0", b"-0", b"0e5", b"0.00E-3"):
        body = b'{"model": "auto", "temperature": ' + number + b', "messages": [{"role": "user", "content": "beta?"}]}'
        assert [again(gateway.post("/v1/chat/completions", body)) for _ in range(2)] == [None, "cached-local"], number
        assert again(gateway.post("/v1/chat/completions", body + b"\n")) in (None, "cached-local")
        assert again(gateway.post("/v1/chat/completions", body.replace(b'"auto", ', b'"auto",'))) is None, "one blank less is another body"


def test_which_apis(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock))

    def twice(path, body):
        return [again(gateway.post(path, {"model": "auto", "temperature": 0, **body})) for _ in range(2)]

    assert twice("/v1/completions", {"prompt": "beta?"}) == [None, "cached-local"]
    assert twice("/v1/chat/completions", {"messages": [{"role": "user", "content": "beta?"}]}) == [None, "cached-local"]
    assert twice("/v1/responses", {"input": "beta?"}) == [None, None], "it has a state at the expert"
    assert [again(gateway.chat("beta", "beta?", temperature=0)) for _ in range(2)] == [None, None], "no route was asked"
    assert gateway.post("/v1/route", chat("auto", "beta?", temperature=0)).json()["expert"] == "beta"


FAULTS = {"500": "status=500", "400": "status=400", "503": "status=503", "a filter": "content-filter", "cut": "cut-after=40"}
STREAM_FAULTS = {**FAULTS, "no end": "no-done;no-finish", "an error in it": "error-event=3", "malformed": "malformed-at=3", "cut": "cut-after=400",
                 "reset": "cut-after=400;reset"}


@pytest.mark.parametrize("stream, fault", [*[(False, f) for f in FAULTS.values()], *[(True, f) for f in STREAM_FAULTS.values()]],
                         ids=[*FAULTS, *[f"stream, {n}" for n in STREAM_FAULTS]])
def test_what_went_wrong_is_not_kept(upstream_world, stream, fault):
    mock = upstream_world.experts("alpha", "beta")
    gateway = upstream_world.gateway(answering(upstream_world, mock, expert={"retries": 0}, route={"fallbacks": 0}))

    mock.script({"expert": "beta", "fault": fault, "times": 2})
    for _ in range(2):
        assert again(ask(gateway, stream=stream)) is None
    assert mock.count("beta") == 2
    right = ask(gateway, stream=stream)
    assert right.status == 200 and again(right) is None and mock.count("beta") == 3
    until("it is kept, a moment after its end", lambda: gateway.metric("pointsman_cache_entries", cache="answers") == 1)
    told = ask(gateway, stream=stream)
    assert again(told) == "cached-local" and told.body == right.body, "and when it goes well it is kept"


def test_the_fallbacks_answer_is_its_own(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock, expert={"retries": 0}, route={"fallbacks": 1}))

    mock.script(("beta", "status=500"))
    assert how(ask(gateway))[0] == "alpha"
    reply = ask(gateway)
    assert again(reply) == "cached-local" and reply.headers["x-pointsman-expert"] == "alpha", "it says who has answered"


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_long_is_not_kept(plain_world, stream):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock, cache={"answer_size": "4KiB"}))

    mock.script({"expert": "beta", "fault": "tokens=2000", "times": 2})
    replies = [ask(gateway, stream=stream) for _ in range(2)]
    assert all(r.complete and len(r.body) > 4096 for r in replies) and [again(r) for r in replies] == [None, None]
    mock.script({"expert": "beta", "fault": "tokens=5", "times": 100})
    assert again(ask(gateway, stream=stream)) is None
    until("a short one is", lambda: again(ask(gateway, stream=stream)) == "cached-local")


def test_a_client_that_leaves_takes_it_with_it(client_world):
    mock = client_world.experts("alpha", "beta", options=["--tokens", "50", "--rate", "50"])
    gateway = client_world.gateway(answering(client_world, mock))

    with gateway.wire() as wire:
        wire.request("POST", "/v1/chat/completions", chat("auto", "beta?", temperature=0, stream=True))
        next(wire.pieces(wire.head()))
    until("it is seen", lambda: gateway.log(msg="request", end="client_left"))
    assert gateway.metric("pointsman_cache_entries", cache="answers") == 0
    assert again(ask(gateway, stream=True)) is None


def test_it_ends_and_can_be_wanted_anew(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock, answers="700ms"))

    assert again(ask(gateway)) is None
    until("it is told again", lambda: again(ask(gateway)) == "cached-local")
    until("it ends", lambda: again(ask(gateway)) is None, 5)
    first = ask(gateway, "another")
    for cache in ("off", "refresh"):
        other = ask(gateway, "another", {"x-pointsman-cache": cache})
        assert again(other) is None and other.body != first.body
    assert ask(gateway, "another").body in (other.body, first.body)


def test_refresh_replaces_it(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock))

    first = ask(gateway)
    assert ask(gateway).body == first.body
    off = ask(gateway, headers={"x-pointsman-cache": "off"})
    assert off.body != first.body and ask(gateway).body == first.body
    new = ask(gateway, headers={"x-pointsman-cache": "refresh"})
    assert new.body != first.body and ask(gateway).body == new.body


def test_reloads(plain_world):
    mock = plain_world.experts("alpha", "beta")
    settings = answering(plain_world, mock)
    gateway = plain_world.gateway(settings)

    assert [again(ask(gateway)) for _ in range(2)] == [None, "cached-local"]
    reloaded(gateway, settings)
    assert again(ask(gateway)) == "cached-local"
    for change in ({"model": "another-model"}, {"endpoints": [mock.url("alpha")]}, {"price_in": 1.0}):
        changed = copy.deepcopy(settings)
        changed["experts"]["beta"].update(change)
        reloaded(gateway, changed)
        assert again(ask(gateway)) is None, change
    del settings["routes"]["auto"]["cache"]["answers"]
    reloaded(gateway, settings)
    assert again(ask(gateway)) is None and gateway.metric("pointsman_cache_entries", cache="answers") == 0, "and the memory is given back"


def test_log_and_metrics(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock, expert={"price_in": 1.0, "price_out": 2.0}))

    ask(gateway)
    gateway.request_lines(1)
    tokens, cost = (gateway.metric(f"pointsman_expert_{m}", expert="beta") for m in ("tokens_total", "cost_usd_total"))
    assert tokens > 0 and cost > 0
    assert again(ask(gateway)) == "cached-local"
    lines = gateway.request_lines(2)
    assert "answer" not in lines[0] and lines[1]["answer"] == "cached-local" and lines[1]["expert"] == "beta" and lines[1]["status"] == "200"
    assert "tokens_out" not in lines[1] and "attempts" not in lines[1] and int(lines[1]["bytes_out"]) == int(lines[0]["bytes_out"])
    assert gateway.metric("pointsman_expert_tokens_total", expert="beta") == tokens, "nobody has made them"
    assert gateway.metric("pointsman_expert_cost_usd_total", expert="beta") == cost
    assert gateway.metric("pointsman_cache_bytes", cache="answers") > 100


@pytest.mark.tsan
@pytest.mark.parametrize("stream", [False, True])
def test_through_redis(plain_world, stream):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    settings = [answering(plain_world, mock, redis=redis_settings(redis)) for _ in range(3)]
    one, two, three = (plain_world.gateway(s) for s in settings)
    for gateway in (one, two, three):
        redis_up(gateway)

    first = ask(one, stream=stream)
    until("Redis has it", lambda: redis.keys("*a|*"))
    key = redis.keys("*a|*")[0]
    assert 30000 < redis.ask("PTTL", key) <= 60000
    replies = [ask(two, stream=stream) for _ in range(2)]
    assert [again(r) for r in replies] == ["cached-shared", "cached-local"] and {r.body for r in replies} == {first.body}
    assert how(replies[0]) == ("beta", "cached-shared") and mock.count("beta") == 1

    good = redis.ask("GET", key)
    cut = [good[:n] for n in (0, 1, 5, 9, 16, 17, 20, 25, 28)]
    other = [b"\x01" + good[1:], good[:9] + bytes([good[9] ^ 1]) + good[10:], b"\xff" * 100, good.replace(b"\x04\0\0\0beta", b"\x06\0\0\0nobody"), good[:17] + struct.pack("<I", 2**32 - 1) + good[21:],
             good.replace(b"text/event-stream" if stream else b"application/json", b"application/json" if stream else b"text/event-stream"),
             good.replace(b"application/json" if not stream else b"text/event-stream", b"a\r\nset-cookie: b=c"[:16 if not stream else 17])]
    body = good.index(first.body)
    name = good.index(b"{", body) + 1
    broken = [good[:body + len(first.body) // 2], good[:-1], good + b"{}", good[:body] + b"{}", good[:name] + b"\x01" + good[name + 1:],
              good.replace(b'"finish_reason":"', b'"finish_reason":null,"x":"'), good.replace(b'"choices"', b'"error":"no","choices"')]
    assert good not in broken and len(set(broken)) == len(broken)
    for n, value in enumerate(cut + other + broken, 1):
        redis.ask("SET", key, value)
        reply = ask(three, stream=stream, headers={"x-request-id": str(n)})
        assert again(reply) is None and reply.status == 200 and "set-cookie" not in reply.headers, value
        assert three.lookups("answers")["foreign"] == n, value
        assert three.admin("DELETE", "/admin/decisions?prefix=&kind=answers").status == 200
    redis.ask("SET", key, b"\x02" + struct.pack("<q", 1000) + good[9:])
    assert again(ask(three, stream=stream)) is None and three.lookups("answers")["stale"] == 1


def test_the_answer_comes_before_what_is_nearer(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    one, two = (plain_world.gateway(answering(plain_world, mock, redis=redis_settings(redis), cache={"decisions": "local", "pin": "1m"})) for _ in range(2))
    redis_up(one)
    redis_up(two)
    session = {"x-session-id": "s"}

    first = ask(one)
    until("Redis has it", lambda: redis.keys("*a|*"))
    assert how(two.chat("auto", "beta?", temperature=1)) == ("beta", "computed"), "the decision is in its memory now"
    assert how(two.chat("auto", "alpha?", session)) == ("alpha", "computed"), "and a pin"
    reply = ask(two, headers=session)
    assert again(reply) == "cached-shared" and reply.body == first.body


def test_redis_is_not_there(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(answering(plain_world, mock, redis=redis_settings(redis)))
    redis_up(gateway)

    redis.kill()
    assert [again(ask(gateway)) for _ in range(3)] == [None, "cached-local", "cached-local"]


def test_the_memory_for_them_is_bounded(plain_world):
    mock = plain_world.experts("alpha", "beta", options=["--tokens", "100"])
    gateway = plain_world.gateway(answering(plain_world, mock, kept={"answers": "64KiB"}))

    for i in range(150):
        assert again(ask(gateway, f"beta {i}")) is None
    assert gateway.metric("pointsman_cache_bytes", cache="answers") <= 65536
    kept = gateway.metric("pointsman_cache_entries", cache="answers")
    assert 5 < kept < 150 and gateway.metric("pointsman_cache_evictions_total", cache="answers") == 150 - kept
    assert again(ask(gateway, "beta 149")) == "cached-local" and again(ask(gateway, "beta 0")) is None


def test_a_long_answer_for_a_slow_client(client_world):
    mock = client_world.experts("alpha", "beta")
    gateway = client_world.gateway(answering(client_world, mock, cache={"answer_size": "4MiB"}))

    mock.script(("beta", "tokens=2000"))
    first = ask(gateway, stream=True)
    assert first.done and len(first.body) > 256 << 10
    until("it is kept", lambda: gateway.metric("pointsman_cache_entries", cache="answers") == 1)
    for _ in range(2):
        with gateway.wire(rcvbuf=4096) as wire:
            wire.request("POST", "/v1/chat/completions", chat("auto", "beta?", temperature=0, stream=True), {"Connection": "close"})
            reply = wire.head()
            pieces = wire.pieces(reply)
            next(pieces)
            assert gateway.get("/readyz").status == 200, "others are served meanwhile"
            for _ in pieces:
                pass
        assert again(reply) == "cached-local" and reply.body == first.body and reply.complete

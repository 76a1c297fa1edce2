# SPDX-License-Identifier: Apache-2.0
"""What routers ask experts for (pm_call): kept for whom and how long, asked for once at a time, and in the background without delaying anybody."""
import json
import statistics
import threading
import time

import pytest

import kept
from harness import run, until
from kept import ROUTERS, at_once, how, redis_settings, redis_up, reloaded, replies_of
from redis_servers import Redis

SLOW = 300     # ms that the judge takes: far more than all else, also on a busy machine
MANY = 64      # calls in the background that a worker has under way at most
FAILED = "background callout failed"


def config(world, mock, router=None, cache=None, plugin="uses_call", **more):
    """A route whose router goes by what the judge says (the mock gives the words back); each request asks the router."""
    router = {"plugin": str(ROUTERS / f"{plugin}.so"), "ask": "judge", "keep_s": 600, "timeout": "5s", **(router or {})}
    return kept.config(world, mock, router=router, cache={"decisions": "off", **(cache or {})}, **more)


def background(world, mock, router=None, **more):
    return config(world, mock, {"background": True, **(router or {})}, **more)


def experts(world):
    return world.experts("alpha", "beta", "judge")


def slow(mock):
    mock.script(mock.always("judge", f"delay-ms={SLOW}"))


def asked(mock):
    return mock.count("judge")


def timed(gateway, text="beta, please", headers=(), **members):
    """(expert, the router's reason, milliseconds)"""
    began = time.monotonic()
    reply = gateway.chat("auto", text, headers, **members)
    assert reply.status == 200, reply.body
    return reply.headers["x-pointsman-expert"], reply.headers.get("x-pointsman-reason"), 1000 * (time.monotonic() - began)


def said(gateway, text="beta, please", headers=(), **members):
    return timed(gateway, text, headers, **members)[:2]


FOUND, LATER, BUSY = ("beta", "named in the reply"), ("alpha", "later"), ("alpha", "busy")


def calls(gateway):
    """Of the router, by where replies came from, without zeros."""
    results = ("local", "shared", "joined", "asked", "failed", "sent", "later", "busy", "cancelled")
    found = {r: int(gateway.metric("pointsman_router_calls_total", router="decider", result=r)) for r in results}
    return {r: n for r, n in found.items() if n}


def sent_failed(gateway):
    return int(gateway.metric("pointsman_router_sent_failed_total", router="decider"))


def ended(gateway, mock):
    """Nothing is under way at the judge."""
    until("all that was sent for has ended", lambda: mock.stats("judge")["in_flight"] == 0)


@pytest.fixture
def redis(plain_world):
    return plain_world.own(Redis())


# ---- who is asked how often --------------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_asked_once_for_a_crowd(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(config(plain_world, mock))
    slow(mock)

    replies = replies_of(at_once(gateway, 30, "beta, please"))

    assert {how(r)[0] for r in replies} == {"beta"} and asked(mock) == 1
    found = calls(gateway)
    assert found.pop("asked") == 1 and sum(found.values()) == 29 and set(found) <= {"joined", "local"} and found["joined"] > 0, found
    expert, _, ms = timed(gateway)
    assert expert == "beta" and ms < SLOW and asked(mock) == 1
    assert said(gateway, "beta, another thing") == FOUND and asked(mock) == 2


def test_a_useless_reply_is_forgotten_also_in_redis(plain_world, redis):
    mock = experts(plain_world)
    gateways = [plain_world.gateway(config(plain_world, mock, {"useless_s": 0}, redis=redis_settings(redis))) for _ in range(2)]
    for gateway in gateways:
        redis_up(gateway)

    for n, gateway in enumerate(gateways * 2, 1):
        assert gateway.chat("auto", "nobody in particular").headers["x-pointsman-decision"] == "default" and asked(mock) == n
        until("Redis has nothing", lambda: not redis.keys("pointsman:r|*"))
    for gateway in gateways:
        assert said(gateway) == FOUND
    assert asked(mock) == len(gateways) * 2 + 1, "a good one is kept, and shared"


def test_kept_over_a_restart(plain_world, redis):
    mock = experts(plain_world)
    settings = config(plain_world, mock, redis=redis_settings(redis))
    one = plain_world.gateway(settings)
    redis_up(one)

    assert said(one) == FOUND and asked(mock) == 1
    key = until("Redis has it", lambda: redis.keys("pointsman:r|*|auto|*"))
    assert len(key) == 1 and 500 < redis.ask("PTTL", key[0]) / 1000 <= 600
    one.stop()
    two = plain_world.gateway(settings)
    redis_up(two)

    assert said(two) == FOUND and said(two, "beta, please") == FOUND
    assert asked(mock) == 1 and calls(two) == {"shared": 1, "local": 1} and two.lookups("replies") == {"shared": 1, "local": 1}
    two.stop()
    redis.ask("SET", key[0], b"\xffnothing of ours")
    three = plain_world.gateway(settings)
    redis_up(three)
    assert said(three) == FOUND and asked(mock) == 2 and three.lookups("replies")["foreign"] == 1


def test_tenants_share_nothing_unless_the_route_says_so(plain_world, redis):
    mock = experts(plain_world)
    keys = {name: f"sk-{name}-0123456789abcdef" for name in ("acme", "globex")}
    heads = [{"Authorization": f"Bearer {keys[name]}"} for name in ("acme", "globex", "acme", "globex")]
    tenants = {name: {"keys": [key]} for name, key in keys.items()}
    gateways = []

    for share, most in (("tenant", [1, 2, 2, 2]), ("all", [1, 1, 1, 1])):
        before = asked(mock)
        for _ in range(2):  # the second one has nothing in memory
            gateway = plain_world.gateway(config(plain_world, mock, cache={"share": share}, redis=redis_settings(redis), tenants=tenants))
            redis_up(gateway)
            counts = []
            for head in heads:
                assert said(gateway, headers=head) == FOUND
                counts.append(asked(mock) - before)
                until("Redis has it", lambda n=counts[-1]: len(redis.keys("pointsman:r|*")) == n + (2 if share == "all" else 0))
            gateways.append(counts)
        assert gateways[-2:] == [most, [most[-1]] * 4], share
    assert sorted(k.split("|")[1] for k in redis.keys("pointsman:r|*")) == ["*", "acme", "globex"]


def test_kept_as_long_as_the_router_says(plain_world, redis):
    mock = experts(plain_world)
    gateway = plain_world.gateway(config(plain_world, mock, {"keep_s": 1}, redis=redis_settings(redis)))
    redis_up(gateway)

    assert said(gateway) == FOUND and asked(mock) == 1
    time.sleep(1.2)  # what it waits for is the time itself
    assert said(gateway) == FOUND and asked(mock) == 2


@pytest.mark.parametrize("fault", ["status=500", "status=429", "status=404", "cut-after=50", "reset", "big=100000"])
def test_no_failure_is_kept(plain_world, redis, fault):
    mock = experts(plain_world)
    gateway = plain_world.gateway(config(plain_world, mock, {"max_reply": "64KiB"}, redis=redis_settings(redis),
                                         experts={"judge": {"retries": 0, "breaker": {"failures": 1000}}}))
    redis_up(gateway)
    mock.script(*[("judge", fault)] * 3)

    for n in range(1, 4):
        assert how(gateway.chat("auto", "alpha, please")) == ("beta", "default") and asked(mock) == n, "the route's default"
    assert redis.keys("pointsman:r|*") == [] and calls(gateway) == {"failed": 3}
    assert said(gateway, "alpha, please") == ("alpha", "named in the reply") and asked(mock) == 4
    assert said(gateway, "alpha, please") == ("alpha", "named in the reply") and asked(mock) == 4


def test_a_client_may_want_it_anew(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(config(plain_world, mock))

    assert said(gateway) == FOUND and asked(mock) == 1
    assert said(gateway, headers={"X-Pointsman-Cache": "off"}) == FOUND and asked(mock) == 2
    mock.script(("judge", "say=alpha it is"))
    assert said(gateway, headers={"X-Pointsman-Cache": "refresh"})[0] == "alpha" and asked(mock) == 3
    assert said(gateway)[0] == "alpha" and asked(mock) == 3, "what came anew is kept"


# ---- in the background -------------------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_nobody_waits_for_the_background(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock))
    for _ in range(3):
        timed(gateway, "a warm-up")
    slow(mock)
    before = asked(mock)

    expert, reason, ms = timed(gateway)
    at_judge = mock.stats("judge")["in_flight"]
    assert (expert, reason) == LATER and ms < SLOW / 2 and at_judge == 1, "its answer is there while the judge still thinks"
    assert said(gateway) == LATER and asked(mock) - before == 1
    until("the reply is there", lambda: said(gateway) == FOUND)
    expert, reason, ms = timed(gateway)
    assert (expert, reason) == FOUND and ms < SLOW / 2 and asked(mock) - before == 1


def test_who_asks_is_told_what_is_provisional(plain_world):
    mock = experts(plain_world)
    settings = background(plain_world, mock)
    gateway = plain_world.gateway(settings)
    slow(mock)

    def told():
        return gateway.post("/v1/route", {"model": "auto", "input": "beta, please"}).json()

    first = told()
    assert first["expert"] == "alpha" and first["provisional"] is True
    found = until("the reply is there", lambda: (got := told())["expert"] == "beta" and got)
    assert "provisional" not in found
    status, out, _ = run("route", "-c", gateway.file, "-", stdin="beta, please\nbeta, please\n")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["expert"], line["provisional"]) for line in lines] == [("alpha", True)] * 2 and status == 0, "it is done before the judge is"


def test_the_background_looks_into_redis_first(plain_world, redis):
    mock = experts(plain_world)
    settings = background(plain_world, mock, redis=redis_settings(redis))
    one = plain_world.gateway(settings)
    redis_up(one)
    assert said(one) == LATER
    until("Redis has it", lambda: redis.keys("pointsman:r|*"))
    one.stop()
    two = plain_world.gateway(settings)
    redis_up(two)

    replies = replies_of(at_once(two, 20, "beta, please"))

    assert {how(r)[0] for r in replies} == {"beta"} and asked(mock) == 1, "those that come while Redis is asked wait for that, too"
    assert set(calls(two)) <= {"shared", "joined", "local"} and calls(two)["shared"] == 1


def test_the_background_without_redis(plain_world, redis):
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock, redis={"servers": [redis.unix], "timeout": "50ms"}))
    redis_up(gateway)
    redis.kill()

    assert said(gateway) == LATER
    until("the reply is there", lambda: said(gateway) == FOUND)
    assert asked(mock) == 1


def test_what_is_provisional_is_not_kept(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock, cache={"decisions": "local", "pin": "1m", "answers": "1m"}))
    slow(mock)
    session = {"x-session-id": "s-1"}

    def decided():
        reply = gateway.chat("auto", "beta, please", session, temperature=0)
        return how(reply)

    for _ in range(3):
        assert decided() == ("alpha", "computed"), "neither the decision, nor a pin, nor the answer"
    assert mock.count("alpha") == 3
    until("the reply is there", lambda: decided()[0] == "beta")
    assert decided() == ("beta", "cached-local") and gateway.chat("auto", "alpha?", session, temperature=0).headers["x-pointsman-decision"] == "pinned"


def test_a_router_of_an_older_abi(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock, plugin="uses_call_old", cache={"decisions": "local"}))
    slow(mock)

    assert how(gateway.chat("auto", "beta, please")) == ("beta", "computed"), "it waits: its structs have no word of a background"
    assert how(gateway.chat("auto", "beta, please")) == ("beta", "cached-local"), "nor of what is provisional"
    assert asked(mock) == 1


@pytest.mark.parametrize("fault", ["down", "accept-never-answer", "status=500"])
def test_a_judge_that_does_not_answer_delays_nobody(plain_world, fault):
    mock = experts(plain_world)
    settings = background(plain_world, mock, {"timeout": "1s"}, experts={"judge": {"breaker": {"failures": 1000}}})
    if fault == "down":
        settings["experts"]["judge"]["endpoints"] = ["http://127.0.0.1:1/v1"]
    else:
        mock.script(mock.always("judge", fault))
    gateway = plain_world.gateway(settings)

    times = [timed(gateway, f"beta {i}") for i in range(40)]

    assert {t[:2] for t in times} == {LATER} and statistics.median(t[2] for t in times) < 100, times
    until("all have failed", lambda: sent_failed(gateway) == 40)
    assert len(gateway.log(msg=FAILED)) == 1, "one line a minute"
    assert gateway.log(msg=FAILED)[0]["router"] == "decider" and "'judge'" in gateway.log(msg=FAILED)[0]["error"]


@pytest.mark.tsan
def test_the_background_is_bounded_and_holds_up_no_end(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock, {"timeout": "60s"}, experts={"judge": {"in_flight": 1000}}))
    mock.script(mock.always("judge", "accept-never-answer"))

    texts = [f"beta {i}" for i in range(MANY + 6)]
    assert [said(gateway, t) for t in texts] == [LATER] * MANY + [BUSY] * 6
    assert said(gateway, texts[0]) == LATER, "one that is under way is no further one"
    until("all are asked", lambda: asked(mock) == MANY)
    assert calls(gateway) == {"sent": MANY, "busy": 6, "later": 1}

    reloaded(gateway, background(plain_world, mock, {"timeout": "50s"}, experts={"judge": {"in_flight": 1000}},
                                 listen={"address": f"127.0.0.1:{gateway.port}"}))
    assert said(gateway, "beta, after the reload") == BUSY, "they belong to the worker, whatever its configuration"
    began = time.monotonic()
    gateway.stop()  # and sees what the sanitizers say
    assert time.monotonic() - began < 10
    until("the judge sees them go", lambda: len(mock.cancelled()) == MANY)


@pytest.mark.tsan
def test_clients_leave_and_the_background_goes_on(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock))
    slow(mock)
    mock.script(mock.always("judge", f"delay-ms={SLOW}"), mock.always("alpha", "accept-never-answer"))

    wires = at_once(gateway, 8, "beta, please")
    until("all are with alpha, and the judge is asked", lambda: mock.count("alpha") == 8 and asked(mock) == 1)
    for wire in wires:
        wire.close()
    until("all have gone", lambda: len([c for c in mock.cancelled() if c["expert"] == "alpha"]) == 8)

    mock.script()
    until("the reply is there", lambda: said(gateway) == FOUND)
    assert asked(mock) == 1 and gateway.metric("pointsman_in_flight") == 0


@pytest.mark.tsan
def test_a_reload_while_one_is_under_way(plain_world):
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock))
    slow(mock)

    for i in range(5):
        assert said(gateway, f"beta {i}") == LATER
        reloaded(gateway, background(plain_world, mock, {"timeout": f"{6 + i}s"}, listen={"address": f"127.0.0.1:{gateway.port}"}))
    for i in range(5):
        until("the reply is there", lambda n=i: said(gateway, f"beta {n}") == FOUND)
    assert asked(mock) == 5 and sent_failed(gateway) == 0


@pytest.mark.parametrize("waits", [False, True])
def test_redis_is_replaced_while_one_is_under_way(plain_world, redis, waits):
    """The one that was asked at first goes some seconds after the reload; a call may take longer, and tells the one that is there now."""
    mock = experts(plain_world)
    router = {"timeout": "60s", "background": not waits}
    gateway = plain_world.gateway(config(plain_world, mock, router, redis=redis_settings(redis), route={"deadline": "60s"}))
    redis_up(gateway)
    mock.script(mock.always("judge", "delay-ms=4000"))

    wires = at_once(gateway, 1, "beta, please")
    until("the judge is asked", lambda: mock.stats("judge")["in_flight"] == 1)
    other = plain_world.own(Redis())
    reloaded(gateway, config(plain_world, mock, router, redis=redis_settings(other), route={"deadline": "60s"},
                             listen={"address": f"127.0.0.1:{gateway.port}"}))
    until("the worker has taken it", lambda: other.ask("CLIENT", "LIST").count(b"cmd=") > 1)
    assert mock.stats("judge")["in_flight"] == 1

    replies_of(wires)
    until("the new one has it", lambda: other.keys("pointsman:r|*"))
    assert redis.keys("pointsman:r|*") == [] and said(gateway) == FOUND and asked(mock) == 1


@pytest.mark.tsan
@pytest.mark.slow
def test_many_prompts_from_many_clients(plain_world, redis):
    """Workers, Redis and both kinds of waiting at once: each prompt is asked about once a worker at most, and nobody fails."""
    mock = experts(plain_world)
    gateway = plain_world.gateway(background(plain_world, mock, redis=redis_settings(redis), workers=2))
    redis_up(gateway, 2)
    mock.script(mock.always("judge", "delay-ms=20"))
    wrong = []

    def client(seed):
        for i in range(60):
            got = said(gateway, f"beta {(seed * 7 + i) % 23}")
            if got not in (FOUND, LATER):
                wrong.append(got)

    crowd = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()

    ended(gateway, mock)
    assert not wrong and 23 <= asked(mock) <= 46 and {said(gateway, f"beta {i}") for i in range(23)} == {FOUND}

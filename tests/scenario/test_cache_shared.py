# SPDX-License-Identifier: Apache-2.0
"""Decisions in a real Redis: what one gateway has decided another one knows, and no state of Redis fails a request."""
import json
import random
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import free_port, run, until
from kept import (Crowd, at_once, computed, config, decided, hows, how, kept_bytes, none_failed, quantile, redis_settings, redis_up, reloaded,
                  replies_of)
from redis_servers import Redis


def chat_of(text):
    return {"model": "auto", "messages": [{"role": "user", "content": text}]}


def shared(world, mock, redis, **more):
    """Starts a gateway that shares by this Redis."""
    settings = config(world, mock, redis=redis_settings(redis, **more.pop("redis_more", {})), **more)
    gateway = world.gateway(settings)
    redis_up(gateway, settings["workers"])
    return settings, gateway


# ---- two gateways ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_another_gateway_recomputes_nothing(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta", options=["--log", "0"])
    settings, one = shared(plain_world, mock, redis, workers=2)

    def body(i):
        i %= 1000
        return chat_of(f"{'beta' if i % 3 else 'alpha'}, conversation {i}")

    first = Crowd(one, 1000, body).end()
    until("Redis has them", lambda: redis.ask("DBSIZE") == 1000)
    _, two = shared(plain_world, mock, redis, workers=2)
    second = Crowd(two, 3000, body).end()

    none_failed(first + second)
    assert [a.expert for a in second[:1000]] == [a.expert for a in first]
    assert {a.decision for a in first} == {"computed"} and {a.decision for a in second} == {"cached-shared", "cached-local"}
    assert computed(one) == 1000 and computed(two) == 0, "nothing was decided twice"
    found = two.lookups()
    assert set(found) == {"shared", "local"} and found["shared"] + found["local"] == 3000 and 1000 <= found["shared"] <= 2000, found


def test_another_worker_and_another_gateway_find_it(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    _, one = shared(plain_world, mock, redis, router={"tag": "letters", "extra": '{"seed": 7}'}, workers=2)

    first = one.chat("auto", "beta?")
    assert how(first) == ("beta", "computed")
    until("Redis has it", lambda: redis.keys() != [])
    assert redis.keys()[0].startswith("pointsman:d|*|auto|") and 3000 < redis.ask("PTTL", redis.keys()[0]) / 1000 <= 3600
    replies = [one.chat("auto", "beta?") for _ in range(40)]
    assert hows(replies)["computed"] == 0 and hows(replies)["cached-shared"] <= 1 and computed(one) == 1

    _, two = shared(plain_world, mock, redis, router={"tag": "letters", "extra": '{"seed": 7}'})
    reply = two.chat("auto", "beta?")
    assert how(reply) == ("beta", "cached-shared") and how(two.chat("auto", "beta?")) == ("beta", "cached-local")
    for name in ("router", "category", "confidence", "reason"):
        assert reply.headers[f"x-pointsman-{name}"] == first.headers[f"x-pointsman-{name}"], name
    assert {json.loads(r["body"])["seed"] for r in mock.requests("beta")} == {7}, "what the router added goes with it"
    _, other = shared(plain_world, mock, redis, router={"tag": "another"})
    assert decided(other, "beta?") == ("beta", "computed"), "other options are another question"


def test_by_port_password_user_database_and_prefix(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    redis.ask("ACL", "SETUSER", "points", "on", ">very secret", "~mine*", "+get", "+set", "+select", "+ping")
    settings = config(plain_world, mock, redis={"servers": [redis.url], "user": "points", "password": "very secret", "database": 3,
                                                "prefix": "mine:", "timeout": "2s"})
    gateway = plain_world.gateway(settings)
    redis_up(gateway)

    assert decided(gateway)[1] == "computed"
    until("it is in database 3", lambda: "db3:keys=1" in redis.ask("INFO", "keyspace").decode())
    assert decided(plain_world.gateway({**settings, "listen": {"address": f"127.0.0.1:{free_port()}"}, "admin": plain_world.admin()}))[1] in (
        "cached-shared", "computed")


def test_asking_is_left_out_where_computing_is_cheaper(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta", "judge")
    _, quick = shared(plain_world, mock, redis, cache={"decisions": "auto"})
    mock.script(mock.always("judge", "delay-ms=50"))
    _, slow = shared(plain_world, mock, redis, router={"ask": "judge"}, cache={"decisions": "auto"})

    numbers = iter(range(100000))

    def unasked():
        before = redis.calls("GET")
        for _ in range(20):
            assert decided(quick, f"quick {next(numbers)}")[1] == "computed"
        return redis.calls("GET") == before

    until("a router of microseconds is asked before Redis", unasked)
    before = redis.calls("GET")
    for i in range(10):
        decided(slow, f"slow {i}")
    assert redis.calls("GET") - before == 10


# ---- Redis in real life ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_redis_is_killed_in_the_middle(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta", options=["--log", "0"])
    _, gateway = shared(plain_world, mock, redis, workers=2, log={"requests": False}, redis_more={"timeout": "5ms"})

    crowd = Crowd(gateway, 20000, lambda i: chat_of(f"beta, question {i % 15000}"))
    crowd.answered(5000)
    killed = time.monotonic()
    redis.kill()
    crowd.answered(12000)
    until("it is seen", lambda: gateway.metric("pointsman_redis_up") == 0)
    restarted = time.monotonic()
    redis.start()
    answers = crowd.end()

    none_failed(answers)
    assert len(answers) == 20000
    before = [a.overhead_us for a in answers if a.began < killed]
    down = [a.overhead_us for a in answers if killed < a.began < restarted]
    assert len(down) > 5000 and quantile(down, 0.99) < quantile(before, 0.99) + 20000, (quantile(before, 0.99), quantile(down, 0.99))
    until("it is used again", lambda: gateway.metric("pointsman_redis_up") == 2)
    assert decided(gateway, "afterwards")[1] == "computed"
    until("and told", lambda: redis.ask("DBSIZE") > 0)
    said = [line for line in gateway.lines if "redis" in line.lower() and "level=warn" in line]
    assert 1 <= len(said) <= 3, said


@pytest.mark.tsan
def test_a_slow_redis_costs_its_limit_and_then_nothing(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    _, gateway = shared(plain_world, mock, redis, redis_more={"timeout": "100ms", "failures": 3, "open_time": "60s"})

    redis.ask("CLIENT", "PAUSE", 60000, "ALL")
    times = []
    for i in range(10):
        reply = gateway.chat("auto", f"beta, question {i}")
        assert how(reply) == ("beta", "computed")
        times.append(int(reply.headers["x-pointsman-overhead-us"]) / 1000)
    waited = [ms for ms in times if ms >= 95]
    assert 1 <= len(waited) <= 4, f"three wait for their time, then it is left alone: {times}"
    assert max(times) < 1000 and min(times[-5:]) < 90, times
    assert gateway.metric("pointsman_redis_breaker_openings_total") == 1 and gateway.metric("pointsman_redis_up") == 0
    assert gateway.metric("pointsman_redis_commands_total", result="late") >= 1
    assert decided(gateway, "beta, question 3") == ("beta", "cached-local"), "memory is not touched by it"


def test_a_stopped_redis_goes_on_and_is_used_again(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    _, gateway = shared(plain_world, mock, redis, redis_more={"timeout": "50ms", "failures": 2, "open_time": "100ms"})

    assert decided(gateway, "q 0")[1] == "computed"
    redis.signal(signal.SIGSTOP)
    for i in range(1, 8):
        assert decided(gateway, f"q {i}")[1] == "computed"
    assert gateway.metric("pointsman_redis_up") == 0
    redis.signal(signal.SIGCONT)
    redis_up(gateway)
    before = redis.ask("DBSIZE")
    assert decided(gateway, "q 9")[1] == "computed"
    until("it is told again", lambda: redis.ask("DBSIZE") > before)


def test_a_full_redis(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    _, gateway = shared(plain_world, mock, redis)

    assert decided(gateway, "kept before")[1] == "computed"
    until("it is there", lambda: redis.ask("DBSIZE") == 1)
    redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    assert [decided(gateway, f"q {i}")[1] for i in range(20)] == ["computed"] * 20
    until("it is counted", lambda: gateway.metric("pointsman_redis_commands_total", result="error") >= 20)
    said = [line for line in gateway.lines if "level=warn" in line and "OOM" in line]
    assert len(said) == 1, "once a minute"
    assert gateway.metric("pointsman_redis_up") == 1, "it can still be read"
    _, two = shared(plain_world, mock, redis)
    assert decided(two, "kept before")[1] == "cached-shared"


@pytest.mark.parametrize("wrong", ["a password", "none", "a user"])
def test_a_wrong_password(plain_world, wrong):
    redis = plain_world.own(Redis(password="right-password"))
    mock = plain_world.experts("alpha", "beta")
    who = {"a password": {"password": "wrong-password"}, "none": {}, "a user": {"user": "nobody", "password": "right-password"}}[wrong]
    gateway = plain_world.gateway(config(plain_world, mock, redis=redis_settings(redis, open_time="20ms", **who), workers=2))

    until("it is said", lambda: [x for x in gateway.lines if "redis" in x and "level=warn" in x])
    for i in range(30):
        assert decided(gateway, f"q {i % 15}")[0] == "alpha"
    until("it was tried often", lambda: int(redis.info("total_connections_received")) > 8)
    said = [x for x in gateway.lines if "redis" in x and ("level=warn" in x or "level=error" in x)]
    assert len(said) == 1, said
    assert "right-password" not in "".join(gateway.lines) and "wrong-password" not in "".join(gateway.lines)
    assert gateway.metric("pointsman_redis_up") == 0


def test_nobody_listens_and_then_somebody_does(plain_world):
    redis = plain_world.own(Redis())
    redis.kill()
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, redis=redis_settings(redis)))

    assert [decided(gateway, "q")[1] for _ in range(3)] == ["computed", "cached-local", "cached-local"]
    redis.start()
    redis_up(gateway)
    assert decided(gateway, "another q")[1] == "computed"
    until("it is told", lambda: redis.ask("DBSIZE") == 1)


def test_something_else_listens(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, redis={"servers": [f"redis://127.0.0.1:{mock.ports['alpha']}"], "timeout": "500ms"}))

    assert [decided(gateway, f"q {i}")[1] for i in range(10)] == ["computed"] * 10
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        settings = config(plain_world, mock, redis={"servers": [f"redis://127.0.0.1:{silent.getsockname()[1]}"], "connect_time": "100ms"})
        gateway = plain_world.gateway(settings)
        assert [decided(gateway, f"q {i}")[1] for i in range(10)] == ["computed"] * 10


@pytest.mark.tsan
def test_a_reload_brings_another_redis(plain_world):
    first, second = plain_world.own(Redis()), plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    settings, gateway = shared(plain_world, mock, first, workers=2)

    assert decided(gateway, "q 1")[1] == "computed"
    until("the first has it", lambda: first.ask("DBSIZE") == 1)
    settings["cache"]["redis"] = redis_settings(second)
    reloaded(gateway, settings)

    def told():
        n = next(told.numbers)
        decided(gateway, f"q {n}")
        return second.ask("DBSIZE") >= 1

    told.numbers = iter(range(2, 10000))
    until("the second is told", told)
    before = first.ask("DBSIZE")
    for i in range(10):
        assert decided(gateway, f"then {i}")[1] == "computed"
    until("all of them", lambda: second.ask("DBSIZE") >= 11)
    assert first.ask("DBSIZE") - before <= 1, "but for the worker that had not looked yet"
    del settings["cache"]
    reloaded(gateway, settings)
    for i in range(10):
        assert decided(gateway, f"without {i}")[1] == "computed"


@pytest.mark.tsan
def test_reloads_change_redis_under_load(plain_world):
    first, second = plain_world.own(Redis()), plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta", options=["--log", "0"])
    settings, gateway = shared(plain_world, mock, first, workers=2, cache={"pin": "1m"}, log={"requests": False})

    def body(i):
        return {**chat_of(f"beta, question {i % 50}"), "prompt_cache_key": f"conversation {i % 70}"}

    crowd = Crowd(gateway, 1 << 30, body, connections=6)
    first.ask("CLIENT", "PAUSE", 300, "ALL")  # some requests wait for one that is replaced
    for redis in (second, first, None, second, None, first):
        settings["cache"] = {"redis": redis_settings(redis, timeout="300ms")} if redis else {}
        reloaded(gateway, settings)
        crowd.answered(len(crowd.answers) + 60)
    crowd.stop()
    none_failed(crowd.end())


@pytest.mark.tsan
def test_the_end_comes_while_redis_is_asked(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    _, gateway = shared(plain_world, mock, redis, redis_more={"timeout": "10s", "failures": 1000}, limits={"drain_time": "300ms"})

    redis.signal(signal.SIGSTOP)
    wires = at_once(gateway, 5, "q")
    until("they wait for Redis", lambda: gateway.metric("pointsman_in_flight") == 5)
    remover = socket.create_connection(("127.0.0.1", gateway.admin_port), 10)
    remover.sendall(b"DELETE /admin/decisions?prefix= HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin-secret\r\n\r\n")
    until("it is under way", lambda: gateway.admin("DELETE", "/admin/decisions?prefix=").status == 409)
    wires[0].close()
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    for wire in wires:
        wire.close()
    remover.close()


# ---- values that are not ours ------------------------------------------------------------------------------------------------


def truncations(value):
    return [value[:n] for n in (0, 1, 5, 9, 13, 14, len(value) // 2, len(value) - 1)]


def foreign_values(good, key):
    dice = random.Random(7)
    yield from truncations(good)
    yield good + b"x"
    yield bytes([1]) + good[1:]  # another version
    yield bytes([0]) + good[1:]
    yield b"\x02" + b"\xff" * 60
    for n in (1, 13, 40, 200, 5000):
        yield bytes(dice.randrange(256) for _ in range(n))
    for _ in range(10):  # one bit of the frame, which ends in the middle of a text or in none
        yield good[:22] + bytes([good[22] ^ 1 << dice.randrange(1, 7)]) + good[23:]
    yield kept_bytes(key, "nobody")
    yield kept_bytes(key, "judge")  # it exists, but this route has not got it
    yield kept_bytes(key, "beta", router="no such router")
    yield kept_bytes(key, "beta", fallbacks=["nobody"])
    yield kept_bytes(key, "beta", fallbacks=["alpha", ""])
    yield kept_bytes(key, "beta", fallbacks=["alpha"] * 65)
    yield kept_bytes(key, "beta", confidence=2.0)
    yield kept_bytes(key, "beta", confidence=float("nan"))
    yield kept_bytes(key, "", router=None)
    for extra in ("", "[]", "7", '{"a": 1', '{"a": 1} {"b": 2}', "\"text\"", "{'a': 1}", "null"):
        yield kept_bytes(key, "beta", extra=extra)
    yield good[:14] + bytes([good[14] ^ 1]) + good[15:]  # whole, but of another key
    yield kept_bytes(key, "beta", flags=4)
    yield kept_bytes(key, "beta", flags=2, fallbacks=["alpha"])  # this one and no other, and yet another
    yield kept_bytes(key, "beta", category="c" * 1025)
    yield kept_bytes(key, "beta", reason="r" * 5_000_000)
    yield kept_bytes(key, "beta", extra=json.dumps({f"m{i}": i for i in range(32_000)}))
    yield kept_bytes(key, "beta", extra=json.dumps({f"m{i}": i for i in range(257)}))


def test_values_of_others_are_passed_over_and_counted(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta", "judge")
    settings, gateway = shared(plain_world, mock, redis, kept={"memory": 0})

    assert decided(gateway, "alpha?") == ("alpha", "computed")
    until("it is there", lambda: redis.keys())
    key = redis.keys()[0]
    good = redis.ask("GET", key)
    assert decided(gateway, "alpha?") == ("alpha", "cached-shared")
    redis.ask("SET", key, kept_bytes(key, "beta", reason="by hand", extra='{"seed": 9}'))
    reply = gateway.chat("auto", "alpha?")
    assert how(reply) == ("beta", "cached-shared") and reply.headers["x-pointsman-reason"] == "by hand", "one that is right is believed"
    assert json.loads(mock.requests("beta")[-1]["body"])["seed"] == 9
    redis.ask("SET", key, kept_bytes(key, "beta", category="\u00e9\n", reason="a\r\nset-cookie: b=c"))
    reply = gateway.chat("auto", "alpha?")
    assert how(reply) == ("beta", "cached-shared") and "set-cookie" not in reply.headers
    assert reply.headers["x-pointsman-reason"] == "a??set-cookie: b=c", "no header of its own"
    redis.ask("SET", key, kept_bytes(key, "beta", seconds=-1))
    assert decided(gateway, "alpha?") == ("alpha", "computed") and gateway.lookups()["stale"] == 1

    values = list(foreign_values(good, key))
    for n, value in enumerate(values, 1):
        redis.ask("SET", key, value)
        assert decided(gateway, "alpha?") == ("alpha", "computed"), value
        until("it was overwritten", lambda: redis.ask("GET", key)[:9] != value[:9] or redis.ask("GET", key) != value)
        assert gateway.lookups()["foreign"] == n, value
    for make in (("RPUSH", key, "a", "b"), ("HSET", key, "a", "b"), ("SADD", key, "a")):
        redis.ask("DEL", key)
        redis.ask(*make)
        before = gateway.lookups()["foreign"]
        assert decided(gateway, "alpha?") == ("alpha", "computed"), make
        assert gateway.lookups()["foreign"] == before + 1, "another type is foreign too"
    assert gateway.metric("pointsman_redis_up") == 1, "the connection is good"


# ---- the administrator --------------------------------------------------------------------------------------------------------


def forget(gateway, query):
    reply = gateway.admin("DELETE", "/admin/decisions" + query)
    assert reply.status == 200, reply.body
    return reply.json()["removed"]


KEYS = {"acme": "sk-acme-0123456789abcdef", "acme2": "sk-acme2-0123456789abcdef"}


@pytest.mark.tsan
def test_decisions_are_removed_by_their_beginning(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    settings = config(plain_world, mock, redis=redis_settings(redis), workers=2, cache={"pin": "1m", "answers": "1m"},
                      tenants={name: {"keys": [key]} for name, key in KEYS.items()})
    settings["routes"]["auto2"] = {**settings["routes"]["auto"]}
    gateway = plain_world.gateway(settings)
    redis_up(gateway, 2)
    redis.ask("SET", "somebody else's", "1")

    def ask(who, route, text):
        return gateway.chat(route, text, {"Authorization": f"Bearer {KEYS[who]}", "x-session-id": text}, temperature=0)

    def fill():
        for who in KEYS:
            for route in ("auto", "auto2"):
                for i in range(3):
                    assert ask(who, route, f"{i}").status == 200
        until("Redis has decisions, pins and answers", lambda: len(redis.keys("pointsman:*")) == 36)

    def left(kind):
        return len(redis.keys(f"pointsman:{kind}|*"))

    fill()
    assert gateway.metric("pointsman_cache_entries", cache="pins") == 12 and gateway.metric("pointsman_cache_entries", cache="answers") == 12
    removed = forget(gateway, "?prefix=acme%7Cauto%7C")
    assert removed == {"memory": 3, "redis": 3} and left("d") == 9 and left("p") == left("a") == 12
    assert not redis.keys("pointsman:d|acme|auto|*") and len(redis.keys("pointsman:d|acme2|auto|*")) == 3, "neither tenant nor route is mixed up"
    assert gateway.metric("pointsman_cache_entries", cache="decisions") == 9
    removed = forget(gateway, "?prefix=acme2%7C&kind=pins")
    assert removed == {"memory": 6, "redis": 6} and left("p") == 6
    removed = forget(gateway, "?prefix=&kind=answers")
    assert removed == {"memory": 12, "redis": 12} and left("a") == 0 and left("d") == 9
    removed = forget(gateway, "?prefix=&kind=all")
    assert removed == {"memory": 15, "redis": 15} and redis.keys() == ["somebody else's"]
    assert all(gateway.metric("pointsman_cache_entries", cache=c) == 0 for c in ("decisions", "pins", "answers"))
    assert how(ask("acme", "auto", "1"))[1] == "computed", "and it is computed anew"
    for query in ("", "?prefix=a&kind=nonsense", "?kind=all", "?prefix=" + "x" * 400):
        assert gateway.admin("DELETE", "/admin/decisions" + query).status == 400, query
    assert gateway.admin("DELETE", "/admin/decisions?prefix=", token="wrong").status == 401
    for odd in ("*", "?", "[a-z]", "\\"):
        assert forget(gateway, "?prefix=" + "".join(f"%{ord(c):02X}" for c in odd))["redis"] == 0, "every character stands for itself"
    assert len(redis.keys("pointsman:d|*")) == 1

    redis.kill()
    reply = gateway.admin("DELETE", "/admin/decisions?prefix=&kind=all")
    assert reply.status == 502 and reply.json()["removed"]["memory"] >= 2 and "Redis" in reply.json()["error"]["message"]


def test_without_redis_memory_is_emptied(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, workers=2))

    at_once_replies = replies_of(at_once(gateway, 20, "q"))
    assert len(at_once_replies) == 20
    entries = gateway.metric("pointsman_cache_entries", cache="decisions")
    assert forget(gateway, "?prefix=*%7Cauto") == {"memory": entries, "redis": 0}
    assert decided(gateway, "q")[1] == "computed"


# ---- pointsman decisions -----------------------------------------------------------------------------------------------------


def test_out_and_in_again(plain_world):
    redis, other = plain_world.own(Redis()), plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    settings, gateway = shared(plain_world, mock, redis, router={"tag": "letters", "extra": '{"seed": 7}'}, cache={"pin": "1m"})
    for i in range(50):
        assert decided(gateway, f"{'beta' if i % 2 else 'alpha'} {i} \u00e9")[1] == "computed"
    until("all are there", lambda: redis.ask("DBSIZE") == 100)
    redis.ask("SET", "pointsman:d|x", "no decision")
    redis.ask("SET", "pointsman:a|x", "an answer")
    redis.ask("SET", "others", "1")

    status, out, err = run("decisions", "export", "-c", gateway.file)
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and "100 exported, 1 passed over" in err, err
    assert len(lines) == 100 and {line["key"][0] for line in lines} == {"d", "p"}
    one = next(line for line in lines if line["key"].startswith("d|*|auto|") and line["expert"] == "beta")
    assert one["category"] == "letters" and one["router"] == "decider" and one["confidence"] == 0.75 and one["extra"] == '{"seed": 7}'
    assert one["ends_ms"] > time.time() * 1000

    settings["cache"]["redis"] = redis_settings(other)
    warm = {**settings, "listen": {"address": f"127.0.0.1:{free_port()}"}, "admin": plain_world.admin()}
    file = plain_world.folder / "warm.yaml"
    file.write_text(json.dumps(warm))
    status, _, err = run("decisions", "import", "-c", file, stdin=out)
    assert status == 0 and "100 imported" in err, err
    assert other.keys() == [k for k in redis.keys() if k not in ("others", "pointsman:d|x", "pointsman:a|x")]
    for key in other.keys():
        assert other.ask("GET", key) == redis.ask("GET", key), key
        assert abs(other.ask("PTTL", key) - redis.ask("PTTL", key)) < 5000
    two = plain_world.gateway(warm)
    redis_up(two)
    for i in range(50):
        assert decided(two, f"{'beta' if i % 2 else 'alpha'} {i} \u00e9") == ("beta" if i % 2 else "alpha", "cached-shared")
    assert computed(two) == 0


def test_bad_lines_are_named(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    file = plain_world.folder / "c.yaml"
    file.write_text(json.dumps(config(plain_world, mock, redis=redis_settings(redis))))
    good = {"key": "d|*|auto|x", "ends_ms": int(time.time() * 1000) + 60000, "expert": "alpha"}
    bad = ["no JSON", "[]", "7", json.dumps({**good, "key": "x|y"}), json.dumps({**good, "key": "a|*|auto|x"}), json.dumps({**good, "ends_ms": "soon"}),
           json.dumps({**good, "expert": ""}), json.dumps({**good, "confidence": 7}), json.dumps({**good, "fallbacks": [1]}),
           json.dumps({**good, "fallbacks": {"a": 1}})]
    old = json.dumps({**good, "key": "d|*|auto|old", "ends_ms": 1000})
    oldest = json.dumps({**good, "key": "d|*|auto|oldest", "ends_ms": -2**63})

    status, _, err = run("decisions", "import", "-c", file, stdin="\n".join([json.dumps(good), *bad, "", old, oldest]) + "\n")

    assert status == 1 and redis.keys() == ["pointsman:d|*|auto|x"]
    assert "1 imported, 2 passed over, 10 failed" in err, err
    for n in range(2, 12):
        assert f"line {n}: " in err, err
    assert "'key' is not that of a decision" in err and "'confidence' is not in 0..1" in err and "'fallbacks'" in err
    status, _, err = run("decisions", "import", "-c", file, stdin="")
    assert status == 0 and "0 imported" in err


def test_no_redis_and_a_wrong_one(plain_world):
    mock = plain_world.experts("alpha", "beta")
    redis = plain_world.own(Redis(password="right-password"))
    files = {"none": None, "nobody": {"servers": [f"redis://127.0.0.1:{free_port()}"], "connect_time": "200ms"},
             "password": redis_settings(redis, password="wrong-password", connect_time="200ms")}
    for name, settings in files.items():
        (plain_world.folder / name).write_text(json.dumps(config(plain_world, mock, redis=settings)))

    with ThreadPoolExecutor() as pool:  # each waits a while for a Redis that may come
        ran = {(name, verb): pool.submit(run, "decisions", verb, "-c", plain_world.folder / name) for name in files for verb in ("export", "import")}
    for (name, _), done in ran.items():
        status, out, err = done.result()
        assert status == 1 and not out, err
        for word in {"none": ["no Redis", "servers"], "nobody": ["is unreachable", "refused"], "password": ["is unreachable", "WRONGPASS"]}[name]:
            assert word in err, err
        assert "wrong-password" not in err
    for words in (["sideways"], []):
        status, _, err = run("decisions", *words, "-c", plain_world.folder / "none")
        assert status == 2 and "export|import" in err, err

# SPDX-License-Identifier: Apache-2.0
"""Tenants never see each other's decisions and answers, unless the route says `share: all`; and then none that they may not use."""
import pytest

from harness import until
from kept import computed, config, how, kept_bytes, redis_settings, redis_up
from redis_servers import Redis

KEYS = {"acme": "sk-acme-0123456789abcdef", "globex": "sk-globex-0123456789abcdef"}


def tenants(**more):
    return {name: {"keys": [key], **more.get(name, {})} for name, key in KEYS.items()}


def ask(gateway, who, text, **members):
    return gateway.chat("auto", text, {"Authorization": f"Bearer {KEYS[who]}"}, **members)


def asked(gateway, who, text):
    return how(ask(gateway, who, text))


@pytest.mark.parametrize("share", ["tenant", "all"])
def test_decisions(plain_world, share):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    settings = [config(plain_world, mock, redis=redis_settings(redis), cache={"share": share}, tenants=tenants()) for _ in range(2)]
    one, two = (plain_world.gateway(s) for s in settings)
    redis_up(one)
    redis_up(two)

    assert asked(one, "acme", "beta?") == ("beta", "computed") and asked(one, "acme", "beta?") == ("beta", "cached-local")
    until("Redis has it", lambda: len(redis.keys()) == 1)
    if share == "tenant":
        assert asked(one, "globex", "beta?") == ("beta", "computed") and asked(one, "globex", "beta?") == ("beta", "cached-local")
        until("and this one", lambda: len(redis.keys()) == 2)
        assert asked(two, "globex", "beta?") == ("beta", "cached-shared") == asked(two, "acme", "beta?")
        assert [k.split("|")[1] for k in redis.keys()] == ["acme", "globex"]
    else:
        assert asked(one, "globex", "beta?") == ("beta", "cached-local")
        assert asked(two, "globex", "beta?") == ("beta", "cached-shared") and asked(two, "acme", "beta?") == ("beta", "cached-local")
        assert [k.split("|")[1] for k in redis.keys()] == ["*"]
    assert computed(one) == (2 if share == "tenant" else 1) and computed(two) == 0


@pytest.mark.parametrize("first, second", [("acme", "globex"), ("globex", "acme")])
def test_shared_decisions_are_for_those_who_may_use_the_same_experts(plain_world, first, second):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, cache={"share": "all"}, tenants=tenants(acme={"experts": ["alpha"]})))
    right = {"acme": "alpha", "globex": "beta"}

    for n in range(3):
        for who in (first, second):
            assert asked(gateway, who, "beta?") == (right[who], "cached-local" if n else "computed")
    refused = gateway.chat("beta", "q", {"Authorization": f"Bearer {KEYS['acme']}"})
    assert refused.status == 404


def test_what_redis_says_is_held_against_what_a_tenant_may(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, redis=redis_settings(redis), kept={"memory": 0}, cache={"answers": "1m"},
                                         tenants=tenants(acme={"experts": ["alpha"]})))
    redis_up(gateway)

    assert asked(gateway, "acme", "q") == ("alpha", "computed")
    until("Redis has it", lambda: redis.keys())
    key = redis.keys()[0]
    for value in (kept_bytes(key, "beta"), kept_bytes(key, "alpha", fallbacks=["beta"])):
        redis.ask("SET", key, value)
        assert asked(gateway, "acme", "q") == ("alpha", "computed")
        until("it is overwritten", lambda: redis.ask("GET", key) != value)
    assert gateway.lookups()["foreign"] == 2 and mock.count("beta") == 0

    assert how(ask(gateway, "acme", "an answer", temperature=0)) == ("alpha", "computed")
    until("Redis has the answer", lambda: redis.keys("*a|*"))
    key = redis.keys("*a|*")[0]
    forged = redis.ask("GET", key).replace(b"\x05\0\0\0alpha", b"\x04\0\0\0beta")
    redis.ask("SET", key, forged)
    other = plain_world.gateway(config(plain_world, mock, redis=redis_settings(redis), kept={"memory": 0}, cache={"answers": "1m"},
                                       tenants=tenants(acme={"experts": ["alpha"]})))
    redis_up(other)
    reply = ask(other, "acme", "an answer", temperature=0)
    assert reply.headers["x-pointsman-expert"] == "alpha" and "x-pointsman-answer" not in reply.headers
    assert other.lookups("answers")["foreign"] == 1


@pytest.mark.parametrize("share", ["tenant", "all"])
def test_answers(plain_world, share):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    one, two = (plain_world.gateway(config(plain_world, mock, redis=redis_settings(redis), cache={"share": share, "answers": "1m"}, tenants=tenants()))
                for _ in range(2))
    redis_up(one)
    redis_up(two)

    first = ask(one, "acme", "beta?", temperature=0)
    again = ask(one, "acme", "beta?", temperature=0)
    assert "x-pointsman-answer" not in first.headers and again.headers["x-pointsman-answer"] == "cached-local" and mock.count("beta") == 1
    until("Redis has it", lambda: len(redis.keys("*a|*")) == 1)
    other = ask(one, "globex", "beta?", temperature=0)
    until("Redis has that, too", lambda: len(redis.keys("*a|*")) == (2 if share == "tenant" else 1))
    elsewhere = ask(two, "globex", "beta?", temperature=0)
    if share == "tenant":
        assert "x-pointsman-answer" not in other.headers and mock.count("beta") == 2
        assert other.body != first.body, "the scripted expert's answers have numbers"
        assert elsewhere.headers["x-pointsman-answer"] == "cached-shared" and elsewhere.body == other.body
        assert sorted(k.split("|")[1] for k in redis.keys("*a|*")) == ["acme", "globex"]
    else:
        assert other.headers["x-pointsman-answer"] == "cached-local" and other.body == first.body
        assert elsewhere.headers["x-pointsman-answer"] == "cached-shared" and elsewhere.body == first.body and mock.count("beta") == 1


@pytest.mark.parametrize("first, second", [("acme", "globex"), ("globex", "acme")])
def test_shared_answers_are_for_those_who_may_use_the_same_experts(plain_world, first, second):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, cache={"share": "all", "answers": "1m"}, tenants=tenants(acme={"experts": ["alpha"]})))
    right = {"acme": "alpha", "globex": "beta"}

    for n in range(2):
        for who in (first, second):
            reply = ask(gateway, who, "beta?", temperature=0)
            assert reply.headers["x-pointsman-expert"] == right[who] and ("x-pointsman-answer" in reply.headers) == bool(n)
    assert mock.count("alpha") == mock.count("beta") == 1


@pytest.mark.parametrize("answers", ["0s", "1m"])
def test_a_router_that_goes_by_tenants_is_not_led_astray_by_sharing(plain_world, answers):
    mock = plain_world.experts("alpha", "beta")
    settings = config(plain_world, mock, cache={"share": "all", "answers": answers}, tenants=tenants())
    settings["routers"] = {"decider": {"plugin": "rules", "rules": [{"tenants": ["acme"], "expert": "alpha"}, {"expert": "beta", "min_bytes": 1}]}}
    gateway = plain_world.gateway(settings)

    for _ in range(2):
        assert ask(gateway, "acme", "q", temperature=0).headers["x-pointsman-expert"] == "alpha"
        assert ask(gateway, "globex", "q", temperature=0).headers["x-pointsman-expert"] == "beta"

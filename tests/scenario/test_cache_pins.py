# SPDX-License-Identifier: Apache-2.0
"""Conversations stay where they are: by whose name for them, on which worker and gateway, until when, and what ends it."""
import copy
import time

import pytest

from harness import chat, until
from kept import config, decided, how, redis_settings, redis_up, reloaded
from redis_servers import Redis

KEYS = {"acme": "sk-acme-0123456789abcdef", "globex": "sk-globex-0123456789abcdef"}
SESSION = {"x-session-id": "s-1"}


def pinned(world, mock, pin="1m", cache=None, **more):
    return config(world, mock, cache={"pin": pin, **(cache or {})}, **more)


def turns(*texts):
    """A conversation so far: the user's and the assistant's words in turn."""
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


def say(gateway, messages, headers=(), **members):
    reply = gateway.post("/v1/chat/completions", {"model": "auto", "messages": messages, **members}, headers)
    return how(reply)


def route(gateway, text, headers=(), **members):
    told = gateway.post("/v1/route", chat("auto", text, **members), headers).json()
    return told["expert"], told["decision"]


NAMES = {
    "user and conversation": ({"user": "u", "metadata": {"conversation_id": "c"}}, {}, {"user": "v", "metadata": {"conversation_id": "c"}}, {}),
    "user and conversation, by name": ({"conversation": "c-1"}, {}, {"conversation": "c-2"}, {}),
    "user and conversation, as an object": ({"conversation": {"id": "c-1"}}, {}, {"conversation": {"id": "c-2"}}, {}),
    "x-session-id": ({}, {"x-session-id": "1"}, {}, {"x-session-id": "2"}),
}


@pytest.mark.parametrize("name", NAMES)
def test_by_the_clients_own_name_for_it(plain_world, name):
    mine, my_head, other, other_head = NAMES[name]
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock))

    assert decided(gateway, "alpha?", my_head, **mine) == ("alpha", "computed")
    for i in range(3):
        reply = gateway.chat("auto", f"beta {i}?", my_head, **mine)
        assert how(reply) == ("alpha", "pinned"), "though it would be routed elsewhere"
        assert reply.headers["x-pointsman-reason"] == f"the conversation is pinned to alpha by {name.split(',')[0]}"
        assert reply.headers["x-pointsman-router"] == "decider"
    assert decided(gateway, "beta 4?", other_head, **other) == ("beta", "computed"), "another conversation"
    assert decided(gateway, "beta 5?") == ("beta", "computed"), "and one without a name"
    assert gateway.lookups("pins") == {"local": 3, "miss": 2} and gateway.metric("pointsman_routes_total", decision="pinned") == 3
    assert gateway.metric("pointsman_cache_entries", cache="pins") == 3


def test_by_its_first_messages(client_world):
    mock = client_world.experts("alpha", "beta")
    gateway = client_world.gateway(pinned(client_world, mock))
    system = [{"role": "system", "content": "Be brief."}]

    begins = turns("alpha, to begin with", "Yes?", "now beta")
    assert say(gateway, begins[:1]) == ("alpha", "computed")
    assert say(gateway, begins) == ("alpha", "pinned")
    assert say(gateway, turns(*[m["content"] for m in begins], "Well.", "beta, at last"), stream=True) == ("alpha", "pinned")
    assert say(gateway, turns("beta, to begin with", "Yes?", "now beta")) == ("beta", "computed"), "it began otherwise"
    assert say(gateway, system + begins) == ("beta", "cached-local"), "with a system message it is another one"
    assert say(gateway, system + begins) == ("beta", "pinned")
    assert say(gateway, begins[:1]) == ("alpha", "cached-local"), "whoever begins has no conversation yet"
    assert say(gateway, system) in (("alpha", "computed"), ("beta", "default")), "nor who says nothing"


def test_a_prompt_cache_key_is_no_conversation(plain_world):
    """All conversations of an application may share one, so that the expert's cache has their common beginning."""
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock))
    bucket = {"prompt_cache_key": "support-v3"}

    assert say(gateway, turns("alpha one"), **bucket) == ("alpha", "computed")
    assert say(gateway, turns("beta, something else"), **bucket) == ("beta", "computed"), "the first turn of another one"
    assert say(gateway, turns("alpha one", "Yes?", "now beta"), **bucket) == ("alpha", "pinned")
    assert say(gateway, turns("beta, something else", "Yes?", "now alpha"), **bucket) == ("beta", "pinned")
    assert say(gateway, turns("alpha one", "Yes?", "only beta"), prompt_cache_key="another") == ("beta", "computed"), "it tells apart what begins alike"


def test_who_is_not_sure_pins_nothing_and_the_first_who_is_does(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock))

    assert decided(gateway, "hi, perhaps", SESSION) == ("alpha", "computed")
    assert decided(gateway, "hi, perhaps", SESSION) == ("alpha", "cached-local"), "it is kept, and does not pin when it is found either"
    assert gateway.metric("pointsman_cache_entries", cache="pins") == 0
    assert decided(gateway, "pass", SESSION) == ("beta", "default")
    assert decided(gateway, "beta!", SESSION) == ("beta", "computed"), "the first one that is sure"
    assert decided(gateway, "alpha, perhaps", SESSION) == ("beta", "pinned") and decided(gateway, "alpha!", SESSION) == ("beta", "pinned")
    assert gateway.post("/v1/route", chat("auto", "hi, perhaps")).json()["unsure"] is True
    assert "unsure" not in gateway.post("/v1/route", chat("auto", "beta?")).json()


def test_an_unsure_decision_of_another_gateway_pins_nothing_either(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    one, two = (plain_world.gateway(pinned(plain_world, mock, redis=redis_settings(redis))) for _ in range(2))
    redis_up(one)
    redis_up(two)

    assert decided(one, "hi, perhaps", SESSION) == ("alpha", "computed")
    until("it is there", lambda: redis.keys("*d|*"))
    assert decided(two, "hi, perhaps", SESSION) == ("alpha", "cached-shared")
    assert decided(two, "beta!", SESSION) == ("beta", "computed") and not [k for k in redis.keys("*p|*") if b"alpha" in redis.ask("GET", k)]


def test_rules_that_always_hold_pin_nothing(plain_world):
    """The last rule is a default in other words."""
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock, router={"plugin": "rules", "rules": [{"keywords": ["bee"], "expert": "beta"}, {"expert": "alpha"}]}))

    assert decided(gateway, "hi", SESSION) == ("alpha", "computed") and decided(gateway, "about a bee", SESSION) == ("beta", "computed")
    assert decided(gateway, "thanks", SESSION) == ("beta", "pinned")


def test_a_rule_that_goes_by_a_header_stands_before_the_pin(plain_world):
    mock = plain_world.experts("alpha", "beta")
    rules = [{"headers": [{"name": "x-tier", "value": "gold"}], "expert": "beta"}, {"keywords": ["alpha"], "expert": "alpha"}, {"expert": "beta"}]
    gateway = plain_world.gateway(pinned(plain_world, mock, router={"plugin": "rules", "rules": rules}))
    gold = {**SESSION, "x-tier": "gold"}

    assert decided(gateway, "alpha?", SESSION) == ("alpha", "computed") and decided(gateway, "and?", SESSION) == ("alpha", "pinned")
    assert decided(gateway, "and?", gold) == ("beta", "computed") and decided(gateway, "alpha?", gold) == ("beta", "pinned")
    assert decided(gateway, "and?", SESSION) == ("alpha", "pinned"), "without it the conversation is where it was"


def test_a_pin_gives_way_where_its_expert_cannot_take_the_request(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock, experts={"alpha": {"apis": ["chat"]}}))

    assert decided(gateway, "alpha?", SESSION) == ("alpha", "computed")
    reply = gateway.post("/v1/completions", {"model": "auto", "prompt": "alpha?"}, SESSION)
    assert how(reply) == ("beta", "computed"), "alpha does not answer that API"


def test_other_apis(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock))

    def respond(text, **members):
        return how(gateway.post("/v1/responses", {"model": "auto", "input": text, **members}))

    def complete(text, headers=(), **members):
        return how(gateway.post("/v1/completions", {"model": "auto", "prompt": text, **members}, headers))

    assert respond("alpha?", conversation={"id": "c"}) == ("alpha", "computed") and respond("beta?", conversation="c") == ("alpha", "pinned")
    assert complete("alpha?", SESSION) == ("alpha", "computed") and complete("beta?", SESSION) == ("alpha", "pinned")
    assert complete("beta!") == ("beta", "computed") and complete("beta!") == ("beta", "cached-local"), "a prompt is all of its conversation"


@pytest.mark.tsan
def test_on_all_workers(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock, workers=3, cache={"decisions": "off"}))

    assert decided(gateway, "alpha", SESSION) == ("alpha", "computed")
    assert {decided(gateway, f"beta {i}", SESSION) for i in range(40)} == {("alpha", "pinned")}


@pytest.mark.tsan
def test_from_the_first_byte_of_an_answer_on(upstream_world):
    mock = upstream_world.experts("alpha", "beta", options=["--tokens", "20", "--rate", "20"])
    gateway = upstream_world.gateway(pinned(upstream_world, mock, workers=2))

    with gateway.wire() as wire:
        wire.request("POST", "/v1/chat/completions", chat("auto", "alpha", stream=True), SESSION)
        reply = wire.head()
        pieces = wire.pieces(reply)
        next(pieces)
        assert decided(gateway, "beta", SESSION, max_tokens=1) == ("alpha", "pinned"), "a turn beside it, or at once after it"
        for _ in pieces:
            pass
    assert reply.done


@pytest.mark.tsan
def test_on_all_gateways(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    one, two = (plain_world.gateway(pinned(plain_world, mock, redis=redis_settings(redis))) for _ in range(2))
    redis_up(one)
    redis_up(two)

    assert decided(one, "alpha?", SESSION) == ("alpha", "computed")
    until("the pin is there", lambda: redis.keys("*p|*"))
    assert 50000 < redis.ask("PTTL", redis.keys("*p|*")[0]) <= 60000
    assert decided(two, "beta?", SESSION) == ("alpha", "pinned") and decided(two, "beta?", SESSION) == ("alpha", "pinned")
    assert two.lookups("pins") == {"shared": 1, "local": 1}
    assert say(two, turns("alpha?", "Yes.", "beta?"), {"x-session-id": "another"}) == ("beta", "computed")

    assert decided(one, "beta!", {"x-session-id": "kept"}) == ("beta", "computed")
    assert decided(two, "beta!") in (("beta", "cached-shared"), ("beta", "computed"))
    key = [k for k in redis.keys("*p|*") if redis.ask("GET", k).find(b"alpha") > 0][0]
    for value in (b"", b"\x02", b"junk" * 20, redis.ask("GET", key)[:-1]):
        three = plain_world.gateway(pinned(plain_world, mock, redis=redis_settings(redis)))
        redis_up(three)
        redis.ask("SET", key, value)
        assert decided(three, "beta?", SESSION)[0] == "beta" and three.lookups("pins") == {"foreign": 1, "miss": 1}, value


def test_an_expert_that_is_down(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    one, two = (plain_world.gateway(pinned(plain_world, mock, redis=redis_settings(redis))) for _ in range(2))
    redis_up(one)
    redis_up(two)

    assert decided(one, "alpha?", SESSION) == ("alpha", "computed")
    until("the pin is there", lambda: redis.keys("*p|*"))
    assert decided(two, "alpha too?", SESSION) == ("alpha", "pinned")
    for gateway in (one, two):
        assert gateway.admin("POST", "/admin/experts/alpha?state=down").status == 200
    before = redis.ask("GET", redis.keys("*p|*")[0])
    assert decided(one, "alpha again?", SESSION) == ("beta", "computed")
    assert one.lookups("pins")["stale"] >= 1
    until("the pin has moved", lambda: redis.ask("GET", redis.keys("*p|*")[0]) != before)
    assert decided(two, "alpha again?", SESSION) == ("beta", "pinned"), "Redis knows better than memory"
    for gateway in (one, two):
        assert gateway.admin("POST", "/admin/experts/alpha?state=up").status == 200
        assert decided(gateway, "alpha at last?", SESSION) == ("beta", "pinned"), "it does not go back"


def test_a_context_that_does_not_fit_any_more(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock, experts={"alpha": {"context": 1000}}))

    assert decided(gateway, "alpha", SESSION) == ("alpha", "computed")
    assert say(gateway, turns("alpha", "Yes. " * 500, "beta"), SESSION) == ("alpha", "pinned"), "2,500 bytes are no 1,000 tokens"
    assert say(gateway, turns("alpha", "Yes. " * 2000, "beta"), SESSION) == ("beta", "computed")
    assert decided(gateway, "alpha", SESSION) == ("beta", "pinned"), "it stays there"


def test_it_goes_with_a_fallback_that_has_answered(upstream_world):
    mock = upstream_world.experts("alpha", "beta")
    gateway = upstream_world.gateway(pinned(upstream_world, mock, expert={"retries": 0}, route={"fallbacks": 1}))

    mock.script(("alpha", "status=500"))
    assert decided(gateway, "alpha?", SESSION) == ("beta", "computed")
    assert decided(gateway, "alpha!", SESSION) == ("beta", "pinned")
    mock.script(("beta", "status=503"))
    assert decided(gateway, "alpha.", SESSION) == ("alpha", "pinned"), "pinned to beta, answered by its fallback"
    assert decided(gateway, "beta.", SESSION) == ("alpha", "pinned")


def test_what_fails_does_not_pin(upstream_world):
    mock = upstream_world.experts("alpha", "beta")
    gateway = upstream_world.gateway(pinned(upstream_world, mock, expert={"retries": 0}, route={"fallbacks": 0}))

    mock.script(("alpha", "status=400"), ("alpha", "status=500"))
    assert [gateway.chat("auto", "alpha?", SESSION).status for _ in range(2)] == [400, 502]
    assert decided(gateway, "beta?", SESSION) == ("beta", "computed")


def test_it_ends_some_time_after_its_last_use(plain_world):
    redis = plain_world.own(Redis())
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock, pin="1s", redis=redis_settings(redis)))
    redis_up(gateway)

    assert decided(gateway, "alpha", SESSION) == ("alpha", "computed")
    began = time.monotonic()
    while time.monotonic() - began < 2:
        assert decided(gateway, "beta", SESSION) == ("alpha", "pinned"), "each use prolongs it"
        time.sleep(0.1)
    time.sleep(1.3)  # what is tested
    assert decided(gateway, "beta", SESSION) == ("beta", "computed")
    assert redis.calls("SET") < 12, "a busy conversation does not write each time"


def test_it_can_be_turned_off(plain_world):
    mock = plain_world.experts("alpha", "beta")
    settings = pinned(plain_world, mock, pin="0s")
    gateway = plain_world.gateway(settings)

    assert decided(gateway, "alpha", SESSION) == ("alpha", "computed") and decided(gateway, "beta", SESSION) == ("beta", "computed")
    assert gateway.lookups("pins") == {} and gateway.metric("pointsman_cache_entries", cache="pins") == 0
    settings["routes"]["auto"]["cache"]["pin"] = "1m"
    settings["cache"] = {"pins": 0}
    reloaded(gateway, settings)
    assert decided(gateway, "alpha", SESSION)[0] == "alpha" and decided(gateway, "beta", SESSION)[0] == "beta", "no memory for it either"


def test_route_shows_it_and_does_not_pin(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock, cache={"decisions": "off"}))

    assert route(gateway, "alpha?", SESSION) == ("alpha", "computed") == route(gateway, "alpha?", SESSION)
    assert decided(gateway, "beta?", SESSION) == ("beta", "computed")
    assert route(gateway, "alpha?", SESSION) == ("beta", "pinned")
    assert mock.count("alpha") == 0 and mock.count("beta") == 1


def test_what_a_client_wants_anew(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock))

    assert decided(gateway, "alpha?", SESSION) == ("alpha", "computed")
    assert decided(gateway, "beta?", {**SESSION, "x-pointsman-cache": "off"}) == ("beta", "computed")
    assert decided(gateway, "beta!", SESSION) == ("alpha", "pinned"), "off leaves it alone"
    assert decided(gateway, "beta?", {**SESSION, "x-pointsman-cache": "refresh"}) == ("beta", "computed")
    assert decided(gateway, "alpha!", SESSION) == ("beta", "pinned"), "refresh moves it"


def test_defaults_and_named_experts_do_not_pin(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock))

    assert decided(gateway, "pass", SESSION) == ("beta", "default")
    assert how(gateway.chat("beta", "alpha", SESSION))[0] == "beta"
    assert decided(gateway, "alpha", SESSION) == ("alpha", "computed")
    assert how(gateway.chat("beta", "alpha", SESSION)) != ("alpha", "pinned") and decided(gateway, "pass", SESSION) == ("alpha", "pinned")


@pytest.mark.parametrize("share", ["tenant", "all"])
def test_tenants_have_pins_of_their_own(plain_world, share):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(pinned(plain_world, mock, cache={"share": share}, tenants={name: {"keys": [key]} for name, key in KEYS.items()}))

    def ask(who, text):
        return decided(gateway, text, {**SESSION, "Authorization": f"Bearer {KEYS[who]}"})

    assert ask("acme", "alpha?") == ("alpha", "computed") and ask("globex", "beta?") == ("beta", "computed")
    assert ask("acme", "beta!") == ("alpha", "pinned") and ask("globex", "alpha!") == ("beta", "pinned")


def test_reloads_keep_them_but_not_to_experts_that_have_gone(plain_world):
    mock = plain_world.experts("alpha", "beta")
    settings = pinned(plain_world, mock)
    gateway = plain_world.gateway(settings)

    assert decided(gateway, "alpha?", SESSION) == ("alpha", "computed")
    changed = copy.deepcopy(settings)
    changed["routers"]["decider"]["tag"] = "changed"
    reloaded(gateway, changed)
    assert decided(gateway, "beta?", SESSION) == ("alpha", "pinned"), "routers may have changed, the conversation has not"
    del changed["experts"]["alpha"]
    changed["routes"]["auto"].update({"experts": ["beta"], "default": "beta"})
    reloaded(gateway, changed)
    assert decided(gateway, "beta?", SESSION) == ("beta", "computed") and gateway.lookups("pins")["foreign"] == 1
    assert decided(gateway, "beta, again?", SESSION) == ("beta", "pinned")

# SPDX-License-Identifier: Apache-2.0
"""Decisions kept in memory: what is found, for how long, what a reload does to it, who waits for whom, and what is never kept."""
import copy
import time

import pytest

from harness import chat, until
from kept import ROUTERS, at_once, computed, config, decided, hows, how, redis_settings, redis_up, reloaded, replies_of
from redis_servers import Redis


def ask_by(gateway, text, cache):
    return gateway.chat("auto", text, {"x-pointsman-cache": cache})


def test_what_is_found_is_told_and_counted(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, {"tag": "letters"}))

    first = [gateway.chat("auto", f"beta, question {i}") for i in range(20)]
    second = [gateway.chat("auto", f"beta, question {i}") for i in range(20)]
    third = [decided(gateway, f"alpha, question {i}") for i in range(10)]

    assert hows(first) == {"computed": 20} and hows(second) == {"cached-local": 20} and third == [("alpha", "computed")] * 10
    for a, b in zip(first, second):
        for name in ("expert", "router", "category", "confidence", "reason"):
            assert a.headers[f"x-pointsman-{name}"] == b.headers[f"x-pointsman-{name}"], name
    assert gateway.lookups() == {"miss": 30, "local": 20} and computed(gateway) == 30
    for decision, n in (("computed", 30), ("cached-local", 20), ("cached-shared", 0), ("pinned", 0), ("default", 0)):
        assert gateway.metric("pointsman_routes_total", route="auto", decision=decision) == n
    assert gateway.metric("pointsman_cache_entries", cache="decisions") == 30
    assert gateway.metric("pointsman_cache_bytes", cache="decisions") > 30 * 50
    assert mock.count("beta") == 40 and mock.count("alpha") == 10, "only decisions are kept"
    gateway.request_lines(50)
    log = gateway.log(msg="request", decision="cached-local")
    assert len(log) == 20 and all(line["expert"] == "beta" and line["router"] == "decider" for line in log)


def test_what_the_router_does_not_read_does_not_count(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock))

    assert decided(gateway, "beta?") == ("beta", "computed")
    assert decided(gateway, "beta?", temperature=0.7, user="somebody", max_tokens=3) == ("beta", "cached-local")
    assert decided(gateway, "beta?", {"x-other": "1"}) == ("beta", "cached-local")
    streamed = gateway.chat("auto", "beta?", stream=True)
    assert how(streamed) == ("beta", "cached-local") and streamed.done
    turns = [{"role": "user", "content": "alpha?"}, {"role": "assistant", "content": "No."}, {"role": "user", "content": "beta?"}]
    assert how(gateway.post("/v1/chat/completions", {"model": "auto", "messages": turns})) == ("beta", "cached-local")
    assert decided(gateway, "beta? ") == ("beta", "computed"), "one blank more is another text"


RULES = [{"headers": [{"name": "x-team", "value": "red"}], "expert": "beta"}, {"min_messages": 3, "expert": "gamma"},
         {"keywords": ["please"], "expert": "alpha"}]


def test_all_that_rules_read_counts_and_nothing_else(plain_world):
    mock = plain_world.experts("alpha", "beta", "gamma")
    settings = config(plain_world, mock, route={"experts": ["alpha", "beta", "gamma"]})
    settings["routers"]["decider"] = {"plugin": "rules", "rules": RULES}
    gateway = plain_world.gateway(settings)
    one = [{"role": "user", "content": "please"}]
    three = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}, *one]
    by_system, by_assistant = ([{"role": role, "content": "please"}, *one] for role in ("system", "assistant"))

    def asked(messages, headers=(), **more):
        return how(gateway.post("/v1/chat/completions", {"model": "auto", "messages": messages, **more}, dict(headers)))

    for n in range(2):
        by = "cached-local" if n else "computed"
        assert asked(one) == ("alpha", by)
        assert asked(one, {"X-Team": "red"}) == ("beta", by)
        assert asked(one, {"X-Team": "blue"}) == ("alpha", by), "a value that no rule names is another all the same"
        assert asked(three) == ("gamma", by), "its further messages are empty"
        assert asked(by_system) == asked(by_assistant) == ("alpha", by)
    assert asked(one, {"x-other": "red"}, temperature=0.5, user="somebody") == ("alpha", "cached-local")
    assert asked(three, {"x-teams": "red"}, max_tokens=7) == ("gamma", "cached-local")
    assert computed(gateway) == 6


@pytest.mark.parametrize("reads, counts", [("body", {"temperature", "user"}), ("user", {"user"})])
def test_a_body_or_a_user_that_is_read_counts(plain_world, reads, counts):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, {"plugin": str(ROUTERS / f"uses_reads_{reads}.so")}))

    assert decided(gateway, "beta?") == ("beta", "computed") and decided(gateway, "beta?") == ("beta", "cached-local")
    for member, value in (("temperature", 0.5), ("user", "somebody")):
        assert decided(gateway, "beta?", **{member: value}) == ("beta", "computed" if member in counts else "cached-local")
        assert decided(gateway, "beta?", **{member: value}) == ("beta", "cached-local")


def test_decisions_end(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, cache={"time": "500ms"}))

    began = time.monotonic()
    assert decided(gateway) == ("alpha", "computed")
    while time.monotonic() - began < 0.4:  # a tenth earlier at most
        assert decided(gateway)[1] == "cached-local" or time.monotonic() - began > 0.4
    until("it ends", lambda: decided(gateway)[1] == "computed", 5)
    assert time.monotonic() - began < 5 and decided(gateway)[1] == "cached-local", "and is kept anew"


def test_memory_is_bounded_and_old_ones_go(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, kept={"memory": "8KiB"}))

    for i in range(100):
        assert decided(gateway, f"question {i}") == ("alpha", "computed")
    assert gateway.metric("pointsman_cache_bytes", cache="decisions") <= 8192
    kept = gateway.metric("pointsman_cache_entries", cache="decisions")
    assert 10 < kept < 100 and gateway.metric("pointsman_cache_evictions_total", cache="decisions") == 100 - kept
    assert decided(gateway, "question 99")[1] == "cached-local" and decided(gateway, "question 0")[1] == "computed"


@pytest.mark.tsan
def test_workers_have_memories_of_their_own(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, workers=2))

    replies = [gateway.chat("auto", "beta, on each connection") for _ in range(60)]

    assert hows(replies) == {"computed": 2, "cached-local": 58}, "each worker computes it once"
    assert computed(gateway) == 2 and gateway.metric("pointsman_cache_entries", cache="decisions") == 2


@pytest.mark.parametrize("shared", [False, True])
def test_route_keeps_and_finds_too(plain_world, shared):
    redis = plain_world.own(Redis()) if shared else None
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, redis=redis_settings(redis) if redis else None))
    if redis:
        redis_up(gateway)

    many = gateway.post("/v1/route", {"input": ["beta 1", "alpha", "beta 1", "beta 2", "pass", "pass", "alpha"]}).json()["data"]
    assert [d["expert"] for d in many] == ["beta", "alpha", "beta", "beta", "beta", "beta", "alpha"]
    assert [d["decision"] for d in many] == ["computed", "computed", "cached-local", "computed", "default", "default", "cached-local"]
    assert decided(gateway, "beta 2") == ("beta", "cached-local"), "asked as a chat it is the same question"
    assert gateway.post("/v1/route", chat("auto", "alpha")).json()["decision"] == "cached-local"
    assert mock.count("alpha") == 0 and computed(gateway) == 5
    if redis:
        until("Redis has what was decided", lambda: len(redis.keys()) == 3)


# ---- reloads -----------------------------------------------------------------------------------------------------------------


def changed_option(c, _):
    c["routers"]["decider"]["tag"] = "another"


def changed_model(c, model):
    model.write_text("version two\n")


def changed_model_of_the_same_size(c, model):
    model.write_text("version 2\n")


def another_expert(c, _):
    c["routes"]["auto"]["experts"].append("gamma")


def one_expert_less(c, _):
    c["routes"]["auto"]["experts"].remove("beta")
    c["routes"]["auto"]["default"] = "alpha"


def changed_price(c, _):
    c["experts"]["alpha"]["price_in"] = 3.5


def changed_context(c, _):
    c["experts"]["alpha"]["context"] = 4096


def changed_default(c, _):
    c["routes"]["auto"]["default"] = "alpha"


@pytest.mark.tsan
@pytest.mark.parametrize("change", [changed_option, changed_model, changed_model_of_the_same_size, another_expert, one_expert_less, changed_price,
                                    changed_context, changed_default])
def test_a_reload_keeps_what_is_as_it_was_and_nothing_else(plain_world, change):
    model = plain_world.folder / "model"
    model.write_text("version 1\n")
    mock = plain_world.experts("alpha", "beta", "gamma")
    settings = config(plain_world, mock, {"model": str(model)})
    gateway = plain_world.gateway(settings)

    assert decided(gateway) == ("alpha", "computed")
    reloaded(gateway, settings)
    assert decided(gateway) == ("alpha", "cached-local"), "the same files"
    model.write_text("version 1\n")
    reloaded(gateway, settings)
    assert decided(gateway) == ("alpha", "cached-local"), "written anew, with the same contents"
    reloaded(gateway, {**settings, "limits": {"body": "1MiB"}, "log": {"level": "debug"}})
    assert decided(gateway) == ("alpha", "cached-local"), "what has nothing to do with it"

    new = copy.deepcopy(settings)
    change(new, model)
    reloaded(gateway, new)
    reply = gateway.chat("auto", "Alpha, or not?")
    assert how(reply) == ("alpha", "computed")
    assert reply.headers["x-pointsman-reason"] == model.read_text().strip()
    assert decided(gateway) == ("alpha", "cached-local")

    model.write_text("version 1\n")
    reloaded(gateway, settings)
    assert decided(gateway) == ("alpha", "cached-local"), "what was kept before is true again"


# ---- x-pointsman-cache -------------------------------------------------------------------------------------------------------


def test_a_client_may_want_it_anew(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock))

    assert how(ask_by(gateway, "q", "off")) == ("alpha", "computed")
    assert decided(gateway, "q") == ("alpha", "computed"), "off keeps nothing either"
    assert how(ask_by(gateway, "q", "off"))[1] == how(ask_by(gateway, "q", "OFF"))[1] == how(ask_by(gateway, "q", "refresh"))[1] == "computed"
    assert decided(gateway, "q")[1] == "cached-local"
    assert how(ask_by(gateway, "another", "Refresh"))[1] == "computed" and decided(gateway, "another")[1] == "cached-local", "refresh keeps it"
    for nonsense in ("nonsense", "of", "offf", "on", "refresh, off", "\u00e9".encode().decode("latin-1")):
        reply = ask_by(gateway, "q", nonsense)
        assert reply.status == 400 and reply.error["param"] == "x-pointsman-cache", nonsense
        assert "'off' or 'refresh'" in reply.error["message"]
    assert how(ask_by(gateway, "q", ""))[1] == "cached-local"


# ---- never kept --------------------------------------------------------------------------------------------------------------


def test_failures_and_defaults_are_never_kept(plain_world):
    mock = plain_world.experts("alpha", "beta", "judge")
    gateway = plain_world.gateway(config(plain_world, mock, {"ask": "judge"}))

    mock.script(*[("judge", "status=500"), ("judge", "status=400")])
    assert [decided(gateway, "q") for _ in range(4)] == [("beta", "default")] * 2 + [("alpha", "computed"), ("alpha", "cached-local")]
    for text in ("fail", "pass"):
        assert [decided(gateway, text) for _ in range(3)] == [("beta", "default")] * 3
    assert gateway.metric("pointsman_cache_entries", cache="decisions") == 1


def test_what_the_deadline_decides_is_not_kept(plain_world):
    mock = plain_world.experts("alpha", "beta", "judge")
    gateway = plain_world.gateway(config(plain_world, mock, {"ask": "judge"}, route={"deadline": "300ms"}))

    mock.script(("judge", "delay-ms=1500"))
    assert decided(gateway, "q") == ("beta", "default")
    assert decided(gateway, "q") == ("alpha", "computed")


def test_a_router_that_does_not_say_what_it_reads(plain_world):
    mock = plain_world.experts("alpha", "beta")
    settings = config(plain_world, mock)
    settings["routers"] = {"silent": {"plugin": str(ROUTERS / "uses_offload.so")}, "decider": settings["routers"]["decider"]}
    settings["routes"]["auto"]["routers"] = ["silent"]
    gateway = plain_world.gateway(settings)

    assert {decided(gateway, "q")[1] for _ in range(5)} == {"computed"}
    settings["routes"]["auto"]["routers"] = ["decider", "silent"]
    reloaded(gateway, settings)
    assert [decided(gateway, "beta")[1] for _ in range(2)] == ["computed", "cached-local"], "the first decides"
    assert {decided(gateway, "pass")[1] for _ in range(5)} == {"computed"}, "the silent one decides"
    settings["routes"]["auto"]["routers"] = ["silent", "decider"]
    reloaded(gateway, settings)
    assert {decided(gateway, "beta")[1] for _ in range(5)} == {"computed"}


def test_what_was_decided_without_an_expert_is_not_kept(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock))

    assert decided(gateway, "beta 1") == ("beta", "computed")
    assert gateway.admin("POST", "/admin/experts/beta?state=down").status == 200
    assert [decided(gateway, "beta 1") for _ in range(2)] == [("alpha", "computed")] * 2, "neither the old one nor this one"
    assert [decided(gateway, "beta 2") for _ in range(2)] == [("alpha", "computed")] * 2
    assert gateway.admin("POST", "/admin/experts/beta?state=up").status == 200
    assert decided(gateway, "beta 1") == ("beta", "cached-local") and decided(gateway, "beta 2") == ("beta", "computed")
    assert gateway.lookups()["stale"] == 2


def test_a_route_that_keeps_nothing(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(config(plain_world, mock, cache={"decisions": "off"}))

    assert {decided(gateway, "q")[1] for _ in range(4)} == {"computed"} and gateway.lookups() == {}


# ---- one computation at a time -----------------------------------------------------------------------------------------------


@pytest.mark.tsan
@pytest.mark.parametrize("router", [{"ask": "judge"}, {"ms": 700}], ids=["call", "offload"])
def test_fifty_at_once_are_one_computation(client_world, router):
    mock = client_world.experts("alpha", "beta", "judge")
    mock.script(mock.always("judge", "delay-ms=700"))
    gateway = client_world.gateway(config(client_world, mock, router))

    replies = replies_of(at_once(gateway, 50, "beta, all at once"))

    assert {how(r)[0] for r in replies} == {"beta"} and hows(replies)["computed"] == 1 and computed(gateway) == 1
    assert mock.count("judge") == (1 if "ask" in router else 0) and mock.count("beta") == 50
    found = gateway.lookups()
    assert found["miss"] == 1 and found.get("joined", 0) + found.get("local", 0) == 49 and found["joined"] >= 1, found


@pytest.mark.tsan
@pytest.mark.parametrize("router", [{"ask": "judge"}, {"ms": 700}], ids=["call", "offload"])
def test_when_the_leader_leaves_another_takes_over(plain_world, router):
    mock = plain_world.experts("alpha", "beta", "judge")
    mock.script(mock.always("judge", "delay-ms=700"))
    gateway = plain_world.gateway(config(plain_world, mock, router, pool={"threads": 2, "queue": 64}))

    leader = at_once(gateway, 1, "beta, for whom?")
    until("it is being computed", lambda: gateway.lookups().get("miss") == 1)
    others = at_once(gateway, 10, "beta, for whom?")
    time.sleep(0.1)  # for them to arrive; if one comes late, the outcome is the same
    leader[0].close()
    replies = replies_of(others)

    assert {how(r) for r in replies} <= {("beta", "computed"), ("beta", "cached-local")} and hows(replies)["computed"] == 1
    until("the first is seen to have left", lambda: gateway.log(msg="request", end="client_left"))
    assert gateway.lookups()["miss"] == 2 and decided(gateway, "beta, for whom?") == ("beta", "cached-local")


def test_when_it_fails_nobody_waits_again(plain_world):
    mock = plain_world.experts("alpha", "beta", "judge")
    mock.script(mock.always("judge", "delay-ms=500;status=500"))
    gateway = plain_world.gateway(config(plain_world, mock, {"ask": "judge"}, experts={"judge": {"retries": 0}}))

    began = time.monotonic()
    replies = replies_of(at_once(gateway, 8, "q"))

    assert {how(r) for r in replies} == {("beta", "default")}
    assert time.monotonic() - began < 3, "one computation after the other would be four seconds"


def test_who_waits_has_a_deadline_of_its_own(plain_world):
    mock = plain_world.experts("alpha", "beta", "judge")
    mock.script(mock.always("judge", "delay-ms=4000"))
    gateway = plain_world.gateway(config(plain_world, mock, {"ask": "judge"}, route={"deadline": "1s"}))

    began = time.monotonic()
    wires = at_once(gateway, 5, "q")
    late = None
    until("half a second", lambda: time.monotonic() - began > 0.5)
    late = at_once(gateway, 5, "q")
    replies = replies_of(wires)
    first_s = time.monotonic() - began
    later = replies_of(late)
    later_s = time.monotonic() - began

    assert {how(r) for r in replies + later} == {("beta", "default")}
    assert 0.9 < first_s < 2.5 and 1.4 < later_s < 3.5, (first_s, later_s)


@pytest.mark.tsan
def test_those_who_wait_may_leave(plain_world):
    mock = plain_world.experts("alpha", "beta", "judge")
    mock.script(mock.always("judge", "delay-ms=600"))
    gateway = plain_world.gateway(config(plain_world, mock, {"ask": "judge"}))

    wires = at_once(gateway, 20, "q")
    until("somebody computes", lambda: gateway.lookups().get("miss") == 1)
    for wire in wires[1:18:2]:  # the first computes
        wire.close()
    replies = replies_of([w for i, w in enumerate(wires) if not (i < 18 and i % 2)])

    assert {how(r)[0] for r in replies} == {"alpha"} and mock.count("judge") <= 2
    assert decided(gateway, "q") == ("alpha", "cached-local")


@pytest.mark.tsan
def test_questions_under_reloads(plain_world):
    mock = plain_world.experts("alpha", "beta", "judge")
    mock.script(mock.always("judge", "delay-ms=30"))
    settings = config(plain_world, mock, {"ask": "judge"}, workers=2)
    gateway = plain_world.gateway(settings)

    for n in range(6):
        settings["routers"]["decider"]["tag"] = f"tag-{n}"
        wires = at_once(gateway, 8, "beta") + at_once(gateway, 8, f"beta {n}")
        reloaded(gateway, settings)
        assert {how(r)[0] for r in replies_of(wires)} == {"beta"}
        reply = gateway.post("/v1/chat/completions", chat("auto", "beta"))
        assert reply.headers["x-pointsman-category"] == f"tag-{n}"

# SPDX-License-Identifier: Apache-2.0
"""A rule with `fallbacks: []` says here and nowhere else: what is meant for one expert reaches no other, whatever that one's state."""
import json

import pytest

from harness import chat, free_port, run, until

HOUSE = {"keywords": ["invoice"], "expert": "house", "reason": "stays in the house", "fallbacks": []}
SECRET = "Summarise this confidential invoice."


def config(world, mock, rule=HOUSE, house=(), route=None, rules=(), **sections):
    return world.config(mock, experts={"house": {"retries": 0, **dict(house)}}, admin=world.admin(), workers=1,
                        routers={"by_rules": {"plugin": "rules", "rules": [rule, *rules]}},
                        routes={"auto": {"routers": ["by_rules"], "default": "cloud", "deadline": "10s", **(route or {})}}, **sections)


def kept_from(mock, word="invoice"):
    return not any(word in r["body"].decode() for r in mock.requests("cloud"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reset", "status=500", "status=503", "status=429;retry-after=60"])
def test_it_fails_rests_and_nobody_else_is_asked(upstream_world, fault, stream):
    mock = upstream_world.experts("house", "cloud")
    gateway = upstream_world.gateway(config(upstream_world, mock))
    told = gateway.post("/v1/route", chat("auto", SECRET)).json()
    assert (told["expert"], told["fallbacks"], told["only"]) == ("house", [], True), told
    mock.script(mock.always("house", fault))

    for i in range(8):
        reply = gateway.chat("auto", f"{SECRET} {i}", stream=stream)  # one talk alone would not open a breaker
        assert reply.status == (429 if "429" in fault else 502 if i < 5 else 503), (i, reply.status, reply.body)
        assert reply.error and reply.headers["x-pointsman-reason"] == "stays in the house"
        assert reply.headers["x-pointsman-expert"] == "house"
    assert mock.count("house") < 8, "it rests"
    assert mock.count("cloud") == 0
    if "429" not in fault:
        assert reply.error["code"] == "expert_unavailable"
        opened = until("the log says so", lambda: [l for l in gateway.log(expert="house", level="warn") if l["msg"].startswith("circuit breaker open:")])[0]
        assert opened["endpoint"] == mock.url("house") and int(opened["failures"]) > 0 and int(opened["open_ms"]) > 0
    assert gateway.chat("auto", "Hello.").headers["x-pointsman-expert"] == "cloud", "what is not meant goes on"


def test_a_breaker_that_closes_is_told(plain_world):
    mock = plain_world.experts("house", "cloud")
    gateway = plain_world.gateway(config(plain_world, mock, house={"breaker": {"failures": 1, "open_time": "10ms"}}))
    mock.script(("house", "status=500"))

    assert gateway.chat("auto", SECRET).status == 502
    until("it is asked again", lambda: gateway.chat("auto", SECRET).status == 200)
    until("the log says so", lambda: [l for l in gateway.log(expert="house", level="warn") if l["msg"].startswith("circuit breaker closed:")])
    assert mock.count("cloud") == 0


@pytest.mark.parametrize("stream", [False, True])
def test_it_is_full(plain_world, stream):
    mock = plain_world.experts("house", "cloud")
    gateway = plain_world.gateway(config(plain_world, mock, house={"in_flight": 1}))
    mock.script(("house", "accept-never-answer"))

    with gateway.wire() as wire:
        wire.request("POST", "/v1/chat/completions", chat("auto", SECRET))
        until("it is busy", lambda: mock.count("house") == 1)
        reply = gateway.chat("auto", SECRET, stream=stream)
        assert (reply.status, reply.error["code"]) == (503, "expert_unavailable"), reply.body
    assert mock.count("cloud") == 0


def test_all_that_rests_is_the_only_one(plain_world):
    """Nobody is a candidate: the rule still says whom it means."""
    mock = plain_world.experts("house", "cloud")
    gateway = plain_world.gateway(config(plain_world, mock, route={"experts": ["house"], "default": "house"}, house={"breaker": {"failures": 1, "open_time": "30s"}}))
    mock.script(mock.always("house", "status=500"))

    assert [gateway.chat("auto", SECRET).error["code"] for _ in range(2)] == ["expert_failed", "expert_unavailable"]
    assert gateway.chat("auto", "Hello.").error["code"] == "no_expert_available"


def turns(*texts):
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_elsewhere_gives_way_and_one_here_stays(plain_world, stream):
    mock = plain_world.experts("house", "cloud")
    gateway = plain_world.gateway(config(plain_world, mock, route={"cache": {"pin": "1m"}}, rules=[{"keywords": ["poem"], "expert": "cloud"}],
                                         house={"breaker": {"failures": 1, "open_time": "30s"}}))
    session = {"x-session-id": "s"}

    def say(*texts):
        reply = gateway.post("/v1/chat/completions", {"model": "auto", "messages": turns(*texts), "stream": stream}, session)
        return reply.status, reply.headers.get("x-pointsman-expert"), reply.headers.get("x-pointsman-decision")

    assert say("a poem") == (200, "cloud", "computed")
    assert say("a poem", "yes", "well") == (200, "cloud", "pinned")
    assert say("a poem", "yes", SECRET)[:2] == (200, "house")
    assert say("a poem", "yes", SECRET, "yes", "a poem of it") == (200, "house", "pinned"), "now it stays here"
    mock.script(mock.always("house", "status=500"))
    for wanted in (502, 503, 503):
        status, expert, _ = say("a poem", "yes", SECRET, "yes", "a poem of it")
        assert status == wanted and expert == "house", "also when it rests: the invoice is in what was said before"
    assert kept_from(mock)


def test_a_kept_decision_is_the_same(plain_world):
    mock = plain_world.experts("house", "cloud")
    gateway = plain_world.gateway(config(plain_world, mock, route={"cache": {"decisions": "local", "pin": "0s"}}, house={"breaker": {"failures": 1, "open_time": "30s"}}))

    assert [gateway.chat("auto", SECRET).headers["x-pointsman-decision"] for _ in range(2)] == ["computed", "cached-local"]
    told = gateway.post("/v1/route", chat("auto", SECRET)).json()
    assert (told["decision"], told["only"], told["fallbacks"]) == ("cached-local", True, [])
    mock.script(mock.always("house", "status=500"))
    assert [gateway.chat("auto", SECRET).status for _ in range(4)] == [502, 503, 503, 503]
    assert mock.count("cloud") == 0


def test_what_goes_on_from_an_answer_elsewhere(plain_world):
    mock = plain_world.experts("house", "cloud")
    gateway = plain_world.gateway(config(plain_world, mock))

    def ask(text, **members):
        return gateway.post("/v1/responses", {"model": "auto", "input": text, **members})

    first = ask("Hello.")
    assert first.status == 200 and first.headers["x-pointsman-expert"] == "cloud", first.body
    before = {"previous_response_id": first.json()["id"]}
    assert ask("Go on.", **before).headers["x-pointsman-decision"] == "pinned"
    reply = ask(SECRET, **before)
    assert (reply.headers["x-pointsman-expert"], reply.headers["x-pointsman-reason"]) == ("house", "stays in the house")
    assert kept_from(mock)


def test_who_may_not_use_it_is_told(plain_world):
    mock = plain_world.experts("house", "cloud")
    gateway = plain_world.gateway(config(plain_world, mock, tenants={"acme": {"keys": ["sk-acme-0123456789abcdef"], "experts": ["cloud"]}}))

    for _ in range(2):
        reply = gateway.chat("auto", SECRET, {"Authorization": "Bearer sk-acme-0123456789abcdef"})
        assert (reply.status, reply.error["code"]) == (403, "expert_not_allowed"), reply.body
    assert mock.requests("house") == [] and mock.count("cloud") == 0


def test_a_route_without_fallbacks_asks_no_default_for_one_that_rests(plain_world):
    mock = plain_world.experts("house", "cloud")
    rule = {k: v for k, v in HOUSE.items() if k != "fallbacks"}
    gateway = plain_world.gateway(config(plain_world, mock, rule=rule, route={"fallbacks": 0}, house={"breaker": {"failures": 1, "open_time": "30s"}}))
    mock.script(mock.always("house", "status=500"))

    assert [gateway.chat("auto", SECRET).status for _ in range(4)] == [502, 503, 503, 503]
    assert mock.count("cloud") == 0


def test_without_an_empty_list_the_routes_answer_and_the_reason_says_so(plain_world):
    mock = plain_world.experts("house", "cloud")
    rule = {k: v for k, v in HOUSE.items() if k != "fallbacks"}
    gateway = plain_world.gateway(config(plain_world, mock, rule=rule))
    mock.script(mock.always("house", "status=500"))

    reply = gateway.chat("auto", SECRET)
    assert (reply.status, reply.headers["x-pointsman-expert"]) == (200, "cloud")
    assert reply.headers["x-pointsman-reason"] == "stays in the house; fallback for house"


def test_the_command_says_so(plain_world):
    file = plain_world.folder / "rules.yaml"
    file.write_text(json.dumps({"listen": f"127.0.0.1:{free_port()}", "experts": {n: {"endpoints": ["http://127.0.0.1:9/v1"]} for n in ("house", "cloud")},
                                "routers": {"by_rules": {"plugin": "rules", "rules": [HOUSE]}},
                                "routes": {"auto": {"routers": ["by_rules"], "default": "cloud"}}}))
    code, out, err = run("route", "-c", file, SECRET)
    told = json.loads(out)
    assert code == 0 and (told["expert"], told["fallbacks"], told["only"]) == ("house", [], True), (out, err)

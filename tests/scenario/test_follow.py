# SPDX-License-Identifier: Apache-2.0
"""What goes on from an answer of /v1/responses goes to the expert that gave it, which alone knows it."""
import json

import pytest

from harness import free_port, until
from kept import how, redis_settings, redis_up, reloaded
from redis_servers import Redis
from scripted import Scripted, answer

KEYS = {"acme": "sk-acme-0123456789abcdef", "globex": "sk-globex-0123456789abcdef"}
RULES = {"r": {"plugin": "rules", "rules": [{"keywords": ["bee"], "expert": "bee"}, {"keywords": ["elk"], "expert": "elk"}, {"expert": "elk"}]}}


class Expert(Scripted):
    """Answers /v1/responses with ids of its own, whole or as events, and keeps what it was sent."""

    def __init__(self, name, tls):
        self.name = name
        super().__init__(self._says, tls)

    @property
    def got(self):
        return [body for body, _ in self.seen]

    def response(self):
        n = len(self.seen)
        return {"id": f"resp_{self.name}_{n}", "object": "response", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
                "output": [{"type": "reasoning", "id": f"rs_{self.name}_{n}", "encrypted_content": f"sealed by {self.name}, {n}", "summary": []},
                           {"type": "message", "id": f"msg_{self.name}_{n}", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}]}

    def _says(self, body, _):
        response = self.response()
        if not body.get("stream"):
            return answer(response)
        events = [{"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
                  *({"type": "response.output_item.done", "output_index": i, "item": item} for i, item in enumerate(response["output"])),
                  {"type": "response.completed", "response": response}]
        return answer("".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events), content_type="text/event-stream")


@pytest.fixture
def experts(upstream_world):
    return {name: upstream_world.own(Expert(name, upstream_world.mode == "curl")) for name in ("elk", "bee")}


def config(world, experts, **sections):
    return {"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 2, "admin": world.admin(), "routers": RULES,
            "experts": {name: e.entry(retries=0) for name, e in experts.items()}, **sections}


def respond(gateway, input, key=None, headers=(), **members):
    head = {**dict(headers), **({"Authorization": f"Bearer {key}"} if key else {})}
    reply = gateway.post("/v1/responses", {"model": "auto", "input": input, **members}, head)
    if reply.status != 200:
        return reply
    if members.get("stream"):
        return how(reply), json.loads(reply.events[-1] if reply.events[-1] != "[DONE]" else reply.events[-2])["response"]
    return how(reply), reply.json()


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_turn_goes_to_who_gave_the_response(upstream_world, experts, stream):
    gateway = upstream_world.gateway(config(upstream_world, experts))
    where, first = respond(gateway, "tell me about a bee", stream=stream)

    assert where == ("bee", "computed")
    for _ in range(6):  # whichever worker it comes to
        assert respond(gateway, "and an elk?", previous_response_id=first["id"], stream=stream)[0] == ("bee", "pinned")
    output = [{"type": "function_call_output", "call_id": "c", "output": "{}"}]
    where, second = respond(gateway, output, previous_response_id=first["id"], headers={"x-pointsman-cache": "off"}, stream=stream)
    assert where == ("bee", "pinned"), "it is no cache"
    assert respond(gateway, "an elk", previous_response_id=second["id"])[0] == ("bee", "pinned")
    assert respond(gateway, "an elk", previous_response_id="resp_of_nobody")[0] == ("elk", "computed"), "the expert says that it does not know it"
    assert [b.get("previous_response_id") for b in experts["elk"].got] == ["resp_of_nobody"]


@pytest.mark.parametrize("stream", [False, True])
def test_items_and_encrypted_reasoning_go_back_to_whom_they_came_from(upstream_world, experts, stream):
    gateway = upstream_world.gateway(config(upstream_world, experts))
    _, first = respond(gateway, "a bee", stream=stream)
    reasoning, message = first["output"]
    user = {"role": "user", "content": "and an elk?"}

    assert respond(gateway, [{"role": "user", "content": "a bee"}, reasoning, message, user])[0] == ("bee", "pinned")
    nameless = {k: v for k, v in reasoning.items() if k != "id"}
    assert respond(gateway, [nameless, {"role": "assistant", "content": "Yes."}, user])[0] == ("bee", "pinned"), "by what only bee can read"
    assert respond(gateway, [{"type": "item_reference", "id": message["id"]}, user])[0] == ("bee", "pinned")
    assert respond(gateway, [{**user, "id": message["id"]}])[0] == ("elk", "computed"), "a user's words are nobody's state"


def test_a_conversation_at_an_expert(upstream_world, experts):
    gateway = upstream_world.gateway(config(upstream_world, experts, routes={"auto": {"cache": {"pin": "0s"}}}))

    assert respond(gateway, "a bee", conversation="conv_1")[0] == ("bee", "computed")
    for name in ("conv_1", {"id": "conv_1"}):
        assert respond(gateway, "an elk", conversation=name)[0] == ("bee", "pinned")
    assert respond(gateway, "an elk", conversation="conv_2")[0] == ("elk", "computed")


def test_an_expert_that_was_named_is_followed_too(upstream_world, experts):
    gateway = upstream_world.gateway(config(upstream_world, experts))
    _, first = respond(gateway, "an elk", model="bee")

    assert respond(gateway, "an elk", previous_response_id=first["id"])[0] == ("bee", "pinned")
    assert respond(gateway, "a bee", previous_response_id=first["id"], model="elk")[0][0] == "elk", "and a name is a name"


def test_an_expert_that_rests_or_is_gone_is_said(upstream_world, experts):
    settings = config(upstream_world, experts)
    gateway = upstream_world.gateway(settings)
    _, first = respond(gateway, "a bee")

    assert gateway.admin("POST", "/admin/experts/bee?state=down").status == 200
    reply = respond(gateway, "an elk", previous_response_id=first["id"])
    assert reply.status == 503 and "bee" in reply.error["message"] and experts["elk"].got == [], "nobody else knows it"
    assert respond(gateway, [first["output"][1], {"role": "user", "content": "an elk"}])[0] == ("elk", "computed"), "an item says all that it is"
    assert gateway.admin("POST", "/admin/experts/bee?state=up").status == 200
    assert respond(gateway, "an elk", previous_response_id=first["id"])[0] == ("bee", "pinned")

    del settings["experts"]["bee"]
    settings["routers"] = {"r": {"plugin": "rules", "rules": [{"expert": "elk"}]}}
    reloaded(gateway, settings)
    reply = respond(gateway, "an elk", previous_response_id=first["id"])
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "previous_response_id", "previous_response_not_found")
    reply = respond(gateway, [first["output"][0]])
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "input", "invalid_encrypted_content")
    assert respond(gateway, [first["output"][1], {"role": "user", "content": "an elk"}])[0][0] == "elk"


def test_tenants_do_not_follow_each_others(upstream_world, experts):
    gateway = upstream_world.gateway(config(upstream_world, experts, tenants={n: {"keys": [k]} for n, k in KEYS.items()}))
    _, first = respond(gateway, "a bee", KEYS["acme"])

    assert respond(gateway, "an elk", KEYS["globex"], previous_response_id=first["id"])[0] == ("elk", "computed")
    assert respond(gateway, "an elk", KEYS["acme"], previous_response_id=first["id"])[0] == ("bee", "pinned")


def test_through_redis_and_within_bounds(upstream_world, experts):
    redis = upstream_world.own(Redis())
    cache = {"redis": redis_settings(redis), "responses_time": "1h"}
    one, two, none = (upstream_world.gateway(config(upstream_world, experts, workers=1, cache=c)) for c in (cache, cache, {"responses": 0}))
    redis_up(one)
    redis_up(two)
    _, first = respond(one, "a bee")

    until("Redis has all of it", lambda: len(redis.keys("*s|*")) == 4)
    assert 3_500_000 < redis.ask("PTTL", redis.keys("*s|*")[0]) <= 3_600_000
    assert respond(two, "an elk", previous_response_id=first["id"])[0] == ("bee", "pinned")
    for key in redis.keys("*s|*"):
        redis.ask("SET", key, b"junk")
    assert respond(two, "an elk", previous_response_id=first["id"])[0] == ("elk", "computed"), "what is no such value says nothing"
    _, first = respond(none, "a bee")
    assert respond(none, "an elk", previous_response_id=first["id"])[0] == ("elk", "computed"), "nothing is remembered"


@pytest.mark.parametrize("body, param", [(b'{"model":"auto","input":"x","previous_response_id":"a","previous_response_id":"b"}', "previous_response_id"),
                                         (b'{"model":"auto","input":"x","previous_response_id":"a","Previous_Response_Id":"b"}', "previous_response_id"),
                                         (b'{"model":"auto","input":"x","conversation":"a","conversation":{"id":"b"}}', "conversation")])
def test_what_names_the_state_stands_there_once(upstream_world, experts, body, param):
    reply = upstream_world.gateway(config(upstream_world, experts)).post("/v1/responses", body)
    assert (reply.status, reply.error["param"]) == (400, param)

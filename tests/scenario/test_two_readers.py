# SPDX-License-Identifier: Apache-2.0
"""What a client sends is read in one way: by the gateway, and by whatever expert gets it."""
import json

import pytest

HI = [{"role": "user", "content": "hi"}]
KEY = "key-of-the-poor-tenant"
RULES = {"r": {"plugin": "rules", "rules": [{"expert": "small", "extra": '{"top_p": 0, "Seed": 7}'}]}}


def raw(members):
    """A body with these members in this order; names may come twice."""
    return ("{" + ",".join(f"{json.dumps(n, ensure_ascii=False)}:{json.dumps(v)}" for n, v in members) + "}").encode()


# One row for each path: what a good body has, and members that a reader without regard to case takes for others.
PATHS = {
    "/v1/chat/completions": ([("model", "small"), ("messages", HI)],
                             ["Model", "MODEL", "Stream", "\u017ftream", "STREAM_OPTIONS", "Messages", "me\u017fsages", "N", "Max_Tokens", "Tools", "User",
                              "me\u00dfages", "me\u1e9eages", "\ufb06ream", "\ufb05ream", "funct\u0131ons"]),
    "/v1/completions": ([("model", "small"), ("prompt", "hi")], ["Model", "Prompt", "STREAM", "n\u0000"]),
    "/v1/responses": ([("model", "small"), ("input", "hi")], ["mODEL", "Input", "\u0131nput", "\u0130nput", "Stream"]),
    "/v1/embeddings": ([("model", "vectors"), ("input", "hi")], ["Model", "INPUT"]),
    "/v1/route": ([("messages", HI)], ["Model", "Messages"]),
}


@pytest.fixture
def served(world):
    mock = world.experts("small", "large", "vectors")
    config = world.config(mock, experts={"vectors": {"apis": ["embeddings"]}, "small": {"drop": ["models", "route", "api_base"]}},
                          routers=RULES, tenants={"poor": {"keys": [KEY], "experts": ["small", "vectors"]}})
    return mock, world.gateway(config)


def post(gateway, path, body):
    return gateway.post(path, body, {"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("path", PATHS)
def test_another_spelling_of_a_member_is_refused_like_a_double(served, path):
    mock, gateway = served
    good, names = PATHS[path]
    assert post(gateway, path, raw(good)).status == 200
    before = len(mock.requests())
    for name in names:
        for members in ([(name, "large"), *good], [*good, (name, "large")]):
            reply = post(gateway, path, raw(members))
            folded = name.rstrip("\0").casefold().replace("i\u0307", "i").replace("\u0131", "i")
            assert (reply.status, reply.error["param"]) == (400, folded), (name, reply.body)
            assert folded in reply.error["message"]
    assert len(mock.requests()) == before, "no expert saw any of them"
    for name in ("mod\u00e9l", "\u043a\u043b\u044e\u0447", "\u6a21\u578b", "mode\u0142", "\u00b5odel", "Mod\u00e8l", "\ufb13", "\u2113model"):
        assert post(gateway, path, raw([*good, (name, 1)])).status == 200, name


def test_a_routers_member_is_the_only_one_of_its_name_that_arrives(served):
    mock, gateway = served
    body = raw([("Top_p", 2), ("model", "auto"), ("top_p", 1), ("messages", HI), ("TOP_P", 1.5), ("top_p", 0.5), ("seed", 1)])
    assert post(gateway, "/v1/chat/completions", body).status == 200
    sent = json.loads(mock.requests("small")[-1]["body"], object_pairs_hook=list)
    assert [(n, v) for n, v in sent if n.lower() in ("top_p", "seed")] == [("top_p", 0), ("Seed", 7)]


def test_members_that_an_expert_is_not_to_see_do_not_arrive(served):
    mock, gateway = served
    body = raw([("models", ["large"]), ("model", "small"), ("Route", "fallback"), ("messages", HI), ("top_p", 0.5), ("api_base", "http://evil"),
                ("MODELS", ["large"])])
    assert post(gateway, "/v1/chat/completions", body).status == 200
    assert json.loads(mock.requests("small")[-1]["body"], object_pairs_hook=list) == [
        ("model", "small"), ("messages", [[("role", "user"), ("content", "hi")]]), ("top_p", 0.5)]


@pytest.mark.parametrize("message", [{"role": "tool", "tool_call_id": "1", "content": None}, {"role": "system", "content": None}, {"role": "user"},
                                     {"role": "user", "content": None}, {"role": "developer", "content": None}])
def test_a_message_without_words_is_the_experts_to_judge(served, message):
    mock, gateway = served
    for model in ("small", "auto"):
        messages = [*HI, {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, message]
        reply = post(gateway, "/v1/chat/completions", raw([("model", model), ("messages", messages)]))
        assert reply.status == 200, reply.body
        assert json.loads(mock.requests("small")[-1]["body"])["messages"] == messages

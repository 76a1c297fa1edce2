# SPDX-License-Identifier: Apache-2.0
"""The instruct router and its language model: who waits, who is asked how often, what goes on without it, and adapters on the wire."""
import json
import subprocess
import threading
import time

import pytest

from harness import BUILD, ROOT, chat, until
from redis_servers import Redis

MODELS = ROOT / "configs" / "models"
EXPERTS = ["mixtral-8x7b", "mathstral-7b", "yi-34b", "phi-3-mini", "llama-3.1-8b"]
MATH = "Solve mathematics problems in algebra, calculus, probability and number theory, requiring step-by-step symbolic derivation."
QUESTION = "Find the integral of x squared over the ring Z_7 of all polynomials"
SLOW = 600  # ms that the language model takes: far more than all else, also on a busy machine


def config(world, mock, router=None, route=None, **sections):
    router = {"plugin": str(BUILD / "routers" / "instruct.so"), "model": str(MODELS / "mmlupro-instruct.safetensors"), "encoder": str(MODELS / "pointsman-static"), "llm": "small",
              "timeout": "5s", **(router or {})}
    route = {"routers": ["by_task"], "experts": EXPERTS, "default": "yi-34b", "deadline": "10s", **(route or {})}
    return world.config(mock, admin=world.admin(), routers={"by_task": router}, routes={"auto": route},
                        **{"workers": 1, **sections})


def slow(mock, how=""):
    mock.script(mock.always("small", f"delay-ms={SLOW};say={MATH}{how}"))


def timed(gateway, text=QUESTION, headers=None):
    began = time.monotonic()
    reply = gateway.chat("auto", text, headers or {})
    assert reply.status == 200, reply.body
    return reply.headers["x-pointsman-reason"], 1000 * (time.monotonic() - began), reply.headers["x-pointsman-decision"]


def asked(mock):
    return mock.count("small")


@pytest.fixture
def redis():
    server = Redis()
    yield server
    server.stop()


def test_inline_the_first_one_waits_and_the_model_is_asked_once(plain_world):
    mock = plain_world.experts(*EXPERTS, "small")
    gateway = plain_world.gateway(config(plain_world, mock, {"mode": "inline"}))
    slow(mock)
    answers = []
    crowd = [threading.Thread(target=lambda: answers.append(timed(gateway))) for _ in range(12)]

    for one in crowd:
        one.start()
    for one in crowd:
        one.join()

    assert len(answers) == 12 and all("task by 'small'" in reason for reason, _, _ in answers), answers
    assert max(ms for _, ms, _ in answers) >= SLOW
    assert asked(mock) == 1, "one prompt is asked about once, however many wait for it"
    reason, ms, how = timed(gateway)
    assert "task by 'small'" in reason and ms < SLOW and how == "cached-local" and asked(mock) == 1
    sent = json.loads(mock.requests("small")[0]["body"])
    assert sent["temperature"] == 0 and sent["messages"][-1]["content"].startswith("<request>\n" + QUESTION)


@pytest.mark.tsan
def test_in_the_background_nobody_waits(plain_world):
    mock = plain_world.experts(*EXPERTS, "small")
    gateway = plain_world.gateway(config(plain_world, mock))
    slow(mock)

    for _ in range(3):
        reason, ms, how = timed(gateway)
        assert "the prompt, while 'small' is asked" in reason and ms < SLOW / 2 and how == "computed", "a provisional decision is not kept"
    assert asked(mock) == 1
    until("the sentence is there", lambda: "task by 'small'" in timed(gateway)[0])
    reason, ms, how = timed(gateway)
    assert "task by 'small'" in reason and how == "cached-local" and asked(mock) == 1, "and what it leads to is"


@pytest.mark.parametrize("mode", ["inline", "background"])
@pytest.mark.parametrize("fault, why", [("status=500", "an error"), ("reset", "unreachable"), ("accept-never-answer", "too slow"), ("say=42", "wrote no sentence")])
def test_without_its_model_it_goes_on_and_says_so(plain_world, mode, fault, why):
    mock = plain_world.experts(*EXPERTS, "small")
    gateway = plain_world.gateway(config(plain_world, mock, {"mode": mode, "timeout": "400ms"}))
    mock.script(mock.always("small", fault))

    first = timed(gateway)
    if mode == "inline":
        assert why in first[0] and first[1] < 400 + 2000 and first[2] == "computed"
        return
    assert "the prompt, while 'small' is asked" in first[0], first
    if fault == "say=42":
        until("its nonsense is there", lambda: why in timed(gateway)[0])
    else:
        until("the failure is logged", lambda: gateway.log(msg="background callout failed"))
        assert "the prompt" in timed(gateway)[0]


def test_a_model_that_is_down_costs_nothing(plain_world):
    mock = plain_world.experts(*EXPERTS, "small")
    settings = config(plain_world, mock, {"mode": "background"})
    settings["experts"]["small"]["endpoints"] = ["http://127.0.0.1:1/v1"]
    gateway = plain_world.gateway(settings)

    times = [timed(gateway, f"{QUESTION} {i}")[1] for i in range(40)]

    assert sorted(times)[20] < 200, times


def test_what_was_said_survives_the_gateway(plain_world, redis):
    mock = plain_world.experts(*EXPERTS, "small")
    settings = config(plain_world, mock, {"mode": "inline"}, {"cache": {"decisions": "off"}}, cache={"redis": {"servers": [redis.unix], "timeout": "2s"}})
    slow(mock)
    for _ in range(2):
        gateway = plain_world.gateway(settings)
        until("Redis is used", lambda: gateway.metric("pointsman_redis_up") == 1)
        reason, _, how = timed(gateway)
        assert "task by 'small'" in reason and how == "computed" and asked(mock) == 1
        until("it was told", lambda: [key for key in redis.keys() if "r|" in key])
        gateway.stop()


def test_what_failed_is_not_kept_and_what_was_said_can_be_removed(plain_world):
    mock = plain_world.experts(*EXPERTS, "small")
    gateway = plain_world.gateway(config(plain_world, mock, {"mode": "inline"}, {"cache": {"decisions": "off"}}))
    mock.script({"expert": "small", "fault": "status=500"}, {"expert": "small", "fault": "cut-after=20"}, mock.always("small", f"say={MATH}"))

    reasons = [timed(gateway)[0] for _ in range(4)]

    assert ["task by 'small'" in reason for reason in reasons] == [False, False, True, True] and asked(mock) == 3
    removed = gateway.admin("DELETE", "/admin/decisions?prefix=&kind=replies")
    assert removed.status == 200 and "task by 'small'" in timed(gateway)[0] and asked(mock) == 4, removed.body


def test_tenants_do_not_share_what_was_said(plain_world):
    mock = plain_world.experts(*EXPERTS, "small")
    tenants = {name: {"keys": [f"key-of-{name}-0123456789abcdef"]} for name in ("one", "two")}
    keys = {name: {"authorization": f"Bearer key-of-{name}-0123456789abcdef"} for name in tenants}

    for share, times in (("tenant", 2), ("all", 1)):
        gateway = plain_world.gateway(config(plain_world, mock, {"mode": "inline"}, {"cache": {"decisions": "off", "share": share}}, tenants=tenants))
        slow(mock)
        before = asked(mock)
        for headers in (keys["one"], keys["two"], keys["one"]):
            assert "task by 'small'" in timed(gateway, headers=headers)[0]
        assert asked(mock) - before == times, share


@pytest.mark.tsan
def test_a_gateway_that_stops_does_not_wait_for_it(plain_world):
    mock = plain_world.experts(*EXPERTS, "small")
    gateway = plain_world.gateway(config(plain_world, mock, {"timeout": "60s"}))
    mock.script(mock.always("small", "accept-never-answer"))
    for i in range(100):
        assert "the prompt" in timed(gateway, f"{QUESTION} {i}")[0]
    assert asked(mock) == 64, "so many are under way at most"

    began = time.monotonic()
    assert gateway.admin("POST", "/admin/reload").status == 200
    timed(gateway)
    gateway.stop()

    assert time.monotonic() - began < 45, "which is not what a call may take"


def test_adapters_on_the_wire(plain_world):
    """As tools/server/README.md of llama.cpp says: "lora": a list of {"id": number, "scale": number}; those left out have scale 0."""
    mock = plain_world.experts("llama", "small")
    adapters = {name: {"server": "llama", "id": i} for i, name in enumerate(EXPERTS)}
    gateway = plain_world.gateway(config(plain_world, mock, {"mode": "off", "adapters": adapters, "top_k": 3}, {"experts": ["llama"], "default": "llama"}))

    body = chat("auto", QUESTION, temperature=0.25, vendor={"kept": 1})
    reply = gateway.post("/v1/chat/completions", body)

    sent = json.loads(mock.requests("llama")[-1]["body"])
    assert reply.status == 200 and sent["messages"] == body["messages"] and sent["temperature"] == 0.25 and sent["vendor"] == {"kept": 1}
    assert sent["model"] == "llama" and isinstance(sent["lora"], list) and 1 <= len(sent["lora"]) <= 3
    for one in sent["lora"]:
        assert set(one) == {"id", "scale"} and type(one["id"]) is int and 0 <= one["id"] < 5 and type(one["scale"]) is float and 0 <= one["scale"] <= 1
    assert len({one["id"] for one in sent["lora"]}) == len(sent["lora"]) and abs(sum(one["scale"] for one in sent["lora"]) - 1) < 1e-3
    assert sent["lora"] == sorted(sent["lora"], key=lambda one: -one["scale"])
    assert reply.headers["x-pointsman-category"] == EXPERTS[sent["lora"][0]["id"]]


def test_why_is_told(plain_world):
    mock = plain_world.experts(*EXPERTS, "small")
    gateway = plain_world.gateway(config(plain_world, mock, {"mode": "inline"}))
    slow(mock)

    why = gateway.post("/v1/route", chat("auto", QUESTION)).json()

    told = why["explanation"]
    assert told["instruction"] == MATH and told["instruction_from"] == "'small'" and told["asked_with"].startswith("instruct-")
    for one in told["experts"]:
        assert abs(one["score"] - one["local"] - told["alpha"] * one["global"]) < 1e-3
    assert told["experts"][0]["expert"] == why["expert"] and told["nearest"]["cosine"] > 0.8 and told["alpha"] == 100


# ---- training ------------------------------------------------------------------------------------------------------------------

LINES = [{"expert": "sums", "examples": ["What is 3 + 4?", "Solve 2x = 4.", "Integrate x.", "Differentiate x."]},
         {"expert": "poet", "instruction": "Write poems and stories, requiring feeling for language."}, {"expert": "coder", "examples": ["Reverse a list in C."]}]


def train(tmp_path, *more):
    (tmp_path / "experts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return subprocess.run([str(BUILD / "routers" / "train" / "pointsman-train"), "instruct", "--encoder", str(MODELS / "pointsman-static"), "--experts",
                           str(tmp_path / "experts.jsonl"), "--out", str(tmp_path / "m.safetensors"), *map(str, more)], capture_output=True, text=True, timeout=60)


def test_training_asks_for_the_sentences_that_are_missing(plain_world, tmp_path):
    mock = plain_world.experts("small")
    mock.script(mock.always("small", f"say={MATH}"))

    done = train(tmp_path, "--ask", mock.url("small"), "--ask-model", "small", "--ask-out", tmp_path / "said.jsonl")

    assert done.returncode == 0, done.stderr
    said = {line["expert"]: line["instruction"] for line in map(json.loads, (tmp_path / "said.jsonl").read_text().splitlines())}
    assert said == {"sums": MATH, "coder": MATH, "poet": LINES[1]["instruction"]}
    asked_for = [json.loads(r["body"])["messages"][-1]["content"] for r in mock.requests("small")]
    assert len(asked_for) == 2 and asked_for[0].count("<request>") == 3 and asked_for[1] == "<request>\nReverse a list in C.\n</request>\n"
    assert sum(example in asked_for[0] for example in LINES[0]["examples"]) == 3, "three samples"
    assert "3 experts, 2 instructions" in done.stdout, done.stdout


@pytest.mark.parametrize("fault, status, says", [("say=42", 0, "no instruction for 'sums': '42' has"), ("status=401", 1, "it answered 401"), ("reset", 1, "")])
def test_training_when_the_model_does_not_help(plain_world, tmp_path, fault, status, says):
    mock = plain_world.experts("small")
    mock.script(mock.always("small", fault))

    done = train(tmp_path, "--ask", mock.url("small"), "--ask-model", "small")

    assert done.returncode == status and says in done.stderr, done.stderr
    if status == 0:
        assert "expert 'sums' has no instruction" in done.stderr and mock.count("small") == 6, "three attempts each"
    else:
        assert mock.url("small") in done.stderr and not (tmp_path / "m.safetensors").exists()

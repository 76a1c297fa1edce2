# SPDX-License-Identifier: Apache-2.0
"""The configurations that we ship work as they are."""
import re

import pytest

from harness import ROOT, free_port, run

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def variables(file):
    """A value for each variable that has no preset."""
    return {name: "0123456789abcdef0123456789abcdef" for name in re.findall(r"\$\{([A-Z0-9_]+)\}", file.read_text())}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.name)
def test_check_accepts_it(file):
    status, out, err = run("check", "-c", file, env=variables(file))
    assert status == 0, out + err


EXPERTS = {"mixtral-8x7b": "MIXTRAL", "mathstral-7b": "MATHSTRAL", "yi-34b": "YI", "phi-3-mini": "PHI", "llama-3.1-8b": "LLAMA"}
PROMPTS = [
    ("A ball is thrown upwards at 12 m/s from a roof of 30 m. After which time does it hit the ground?\n(A) 2.1 s\n(B) 4.0 s", "physics"),
    ("A plaintiff sues for breach of contract because the defendant refused to perform. Which remedy will the court grant?", "law"),
    ("Which drug is the first choice for a patient with hypertension and heart failure, and what are its side effects?", "health"),
    ("What is the pH of a 0.1 M solution of acetic acid, whose dissociation constant is 1.8e-5?", "chemistry"),
]


def test_category_yaml_routes_by_what_is_asked(plain_world):
    mock = plain_world.experts(*EXPERTS)
    port = free_port()
    env = {"PORT": str(port), **{f"{short}_URL": mock.url(name) for name, short in EXPERTS.items()}}
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{port}"}}, file=ROOT / "configs" / "category.yaml", env=env)

    for prompt, category in PROMPTS:
        head = gateway.chat("auto", prompt).headers
        assert (head["x-pointsman-category"], head["x-pointsman-router"], head["x-pointsman-decision"]) == (category, "by_category", "computed"), prompt
        assert 0 < float(head["x-pointsman-confidence"]) <= 1
        assert mock.count(head["x-pointsman-expert"]) > 0
    first = gateway.post("/v1/route", {"input": PROMPTS[0][0]}).json()
    assert first["category"] == "physics" and len(first["fallbacks"]) == 2
    best = first["expert"]
    mock.script(mock.always(best, "status=503"))
    assert gateway.chat("auto", PROMPTS[0][0]).headers["x-pointsman-expert"] == first["fallbacks"][0], "the next best of that category"


def test_category_yaml_when_it_cannot_tell(plain_world):
    mock = plain_world.experts(*EXPERTS)
    port = free_port()
    env = {"PORT": str(port), **{f"{short}_URL": mock.url(name) for name, short in EXPERTS.items()}}
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{port}"}}, file=ROOT / "configs" / "category.yaml", env=env)

    for prompt in ("ok", "", "zzzz qqqq xxxx", "Hello there"):
        reply = gateway.chat("auto", prompt)
        assert reply.status == 200 and reply.headers["x-pointsman-category"] == "general", (prompt, reply.headers)

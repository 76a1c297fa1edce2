# SPDX-License-Identifier: Apache-2.0
"""score.so behind the gateway, with a model that pointsman-train makes of outcomes: whom prompts go to, tiers and prices, what is kept, and who
stands in."""
import json
import random
import subprocess

import pytest

from harness import BUILD, ROOT, chat

TRAIN = BUILD / "routers" / "train" / "pointsman-train"
NUMBERS = "How much is seven times the square root of {}?"
STORIES = "Tell a story of a fox and its {} friends."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """`small` is good at stories, `large` at numbers and a little better at all else."""
    folder, draw = tmp_path_factory.mktemp("score"), random.Random(4)
    prompts, outcomes = [], ["#id\tsmall\tlarge"]
    for i in range(300):
        numbers = i % 2 == 0
        prompts.append(json.dumps({"id": i, "prompt": (NUMBERS if numbers else STORIES).format(f"{i} {draw.choice('abcdefgh')}"),
                                   "kind": "numbers" if numbers else "stories"}))
        outcomes.append(f"{i}\t{int(draw.random() < (.2 if numbers else .8))}\t{int(draw.random() < (.95 if numbers else .7))}")
    (folder / "p.jsonl").write_text("\n".join(prompts) + "\n")
    (folder / "o.tsv").write_text("\n".join(outcomes) + "\n")
    done = subprocess.run([TRAIN, "score", "--in", folder / "p.jsonl", "--text", "prompt", "--label", "kind", "--outcomes", folder / "o.tsv", "--bits", "12",
                           "--parts", "3", "--out", folder / "m.safetensors"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "true category" in done.stdout
    return folder / "m.safetensors"


def serve(world, model, **options):
    mock = world.experts("small", "large")
    prices = {"small": {"price_in": .1, "price_out": .1}, "large": {"price_in": 5, "price_out": 15}}
    router = {"plugin": "score", "model": str(model), **options}
    return mock, world.gateway(world.config(mock, experts=prices, workers=1, expert={"retries": 0}, routers={"by_score": router},
                                            routes={"auto": {"routers": ["by_score"], "default": "small", "fallbacks": 1}}))


def expert(gateway, text, **headers):
    reply = gateway.chat("auto", text, headers=headers)
    assert reply.status == 200, reply.body
    return reply.headers["x-pointsman-expert"]


def test_the_better_expert_gets_the_prompt_and_the_next_best_stands_in(world, model):
    mock, gateway = serve(world, model)
    assert expert(gateway, NUMBERS.format("12 c")) == "large"
    assert expert(gateway, STORIES.format("12 c")) == "small"
    told = gateway.post("/v1/route", chat("auto", NUMBERS.format("13 d"))).json()
    assert told["expert"] == "large" and told["reason"].startswith("expected score: large 0."), told
    mock.script(mock.always("large", "status=503"))
    assert expert(gateway, NUMBERS.format("14 e")) == "small"


def test_a_tier_is_another_decision_and_kept_apart(world, model):
    _, gateway = serve(world, model, tier_header="x-tier", tiers={"cheap": {"lambda": 1}, "best": {}})
    for _ in range(2):  # the second time from what is kept
        assert expert(gateway, NUMBERS.format("20 a")) == "large"
        assert expert(gateway, NUMBERS.format("20 a"), **{"X-Tier": "cheap"}) == "small"
        assert expert(gateway, NUMBERS.format("20 a"), **{"X-Tier": "best"}) == "large"
    assert gateway.chat("auto", NUMBERS.format("20 a"), headers={"X-Tier": "cheap"}).headers["x-pointsman-decision"] == "cached-local"
    assert "no such tier" in gateway.chat("auto", NUMBERS.format("20 a"), headers={"X-Tier": "golden"}).headers["x-pointsman-reason"]


def test_a_share_of_prompts_for_the_strong_expert(world, model):
    _, gateway = serve(world, model, strong="large", weak="small", strong_share=.5)
    asked = [NUMBERS.format(f"{i} b") for i in range(40, 60)] + [STORIES.format(f"{i} b") for i in range(40, 60)]
    strong = [text for text in asked if expert(gateway, text) == "large"]
    assert 12 <= len(strong) <= 28, "half of them, as of those that the model was made of"
    assert sum("square root" in text for text in strong) > .9 * len(strong)


def test_a_map_with_scores_weighs_prices(world, tmp_path):
    """The shipped category model and map, which have scores for all five experts."""
    names = ["mixtral-8x7b", "mathstral-7b", "yi-34b", "phi-3-mini", "llama-3.1-8b"]
    mock = world.experts(*names)
    models = ROOT / "configs" / "models"
    router = {"plugin": "category", "model": str(models / "mmlupro-category.safetensors"), "map": str(models / "mmlupro-map.json"),
              "tier_header": "x-tier", "tiers": {"cheap": {"lambda": 1}}}
    gateway = world.gateway(world.config(mock, experts={n: {"price_in": 1, "price_out": 1} for n in names if n != "phi-3-mini"}, routers={"r": router},
                                         routes={"auto": {"routers": ["r"], "default": names[0]}}))
    text = "Find the integral of x squared over the ring Z_7 of all polynomials"
    reply = gateway.chat("auto", text)
    assert reply.headers["x-pointsman-expert"] == "mathstral-7b" and ": mathstral-7b 0." in reply.headers["x-pointsman-reason"], reply.headers
    reply = gateway.chat("auto", text, headers={"X-Tier": "cheap"})
    assert reply.headers["x-pointsman-expert"] == "phi-3-mini" and reply.headers["x-pointsman-reason"].endswith("; tier cheap"), reply.headers


@pytest.mark.parametrize("command", ["score", "tune"])
def test_an_encoder_that_training_cannot_use_is_refused(model, tmp_path, command):
    shipped = ROOT / "configs" / "models" / "pointsman-static"
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(shipped / name)
    tokenizer = json.loads((shipped / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))

    done = subprocess.run([TRAIN, command, "--in", model.parent / "p.jsonl", "--text", "prompt", "--label", "kind", "--outcomes", model.parent / "o.tsv",
                           "--encoder", tmp_path, "--out", tmp_path / "out"], capture_output=True, text=True, timeout=120)

    assert done.returncode == 1 and "not of BERT's kind" in done.stderr, (done.returncode, done.stderr)

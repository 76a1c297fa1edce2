# SPDX-License-Identifier: Apache-2.0
"""`pointsman-train eval route` from the command line, on prompts whose best expert is known: the categories have words of their own, two experts know
one category each, a third knows a little of all, and the figures are computed here once more."""
import json
import random
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from harness import BUILD

TRAIN = BUILD / "routers" / "train" / "pointsman-train"
WORDS = {"law": "court appeal contract statute judge plaintiff verdict clause".split(),
         "maths": "integral polynomial matrix theorem derivative lemma vector prime".split()}
RIGHT = {"lawyer": {"law": .9, "maths": .1}, "counter": {"law": .1, "maths": .9}, "both": {"law": .6, "maths": .6}}
PROMPTS = 500


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("route")
    for name, seed in (("a", 1), ("b", 2)):
        draw = random.Random(seed)
        rows, outcomes = [], ["#id\t" + "\t".join(RIGHT)]
        for i in range(PROMPTS):
            topic = draw.choice(list(WORDS))
            text = " ".join(draw.choice(WORDS[topic]) for _ in range(draw.randint(4, 12)))
            rows.append(json.dumps({"id": f"{name}{i}", "prompt": text, "topic": topic, "part": i % 3}))
            outcomes.append("\t".join([f"{name}{i}"] + [str(int(draw.random() < r[topic])) for r in RIGHT.values()]))
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
        (folder / f"{name}.tsv").write_text("\n".join(outcomes) + "\n")
    (folder / "facts.tsv").write_text("#expert\tloaded\tactive\tprice\nlawyer\t7\t7\t0.2\ncounter\t8\t8\t0.3\nboth\t30\t30\t1\n")
    return folder


def run(folder, *words, check=True):
    done = subprocess.run([TRAIN, "eval", "route", "--outcomes", folder / "a.tsv", "--in", folder / "a.jsonl", "--text", "prompt", "--label", "topic",
                           "--threads", "1", "--resamples", "100", *map(str, words)], capture_output=True, text=True, timeout=100)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def outcomes(folder, name="a"):
    lines = [line.split("\t") for line in (folder / f"{name}.tsv").read_text().splitlines()[1:]]
    return [dict(zip(RIGHT, map(int, line[1:]))) for line in lines]


def test_methods_beside_what_is_known(world):
    said = json.loads(run(world, "--facts", world / "facts.tsv", "--json").stdout)
    of, rows = said["methods"], outcomes(world)

    def mean(pick):
        return sum(map(pick, rows)) / len(rows)
    assert said["prompts"] == PROMPTS and said["folds"] == 5
    assert of["oracle"]["score"] == pytest.approx(mean(lambda r: max(r.values())), abs=1e-5)
    assert of["random"]["score"] == pytest.approx(mean(lambda r: sum(r.values()) / 3), abs=1e-5)
    assert of["random"]["mean_active"] == pytest.approx(15) and of["random"]["mean_price"] == pytest.approx(.5)
    assert said["alone"] == {name: pytest.approx(mean(lambda r, n=name: r[n]), abs=1e-5) for name in RIGHT}
    topics = [json.loads(line)["topic"] for line in (world / "a.jsonl").read_text().splitlines()]
    best = sum(r["lawyer" if t == "law" else "counter"] for r, t in zip(rows, topics)) / len(rows)
    assert of["true category"]["score"] == pytest.approx(best, abs=1e-5)
    for method in ("likeliest category", "posterior x table", "nearest prompts", "heads", "expected score"):
        assert of[method]["score"] == pytest.approx(best, abs=.03), method
        assert of[method]["low"] < of[method]["score"] < of[method]["high"] and of[method]["gain"] > 5 * of[method]["gain_error"]
        assert 7 <= of[method]["mean_active"] <= 9
    assert of["best single"]["score"] == pytest.approx(said["alone"]["both"], abs=1e-5) and of["best single"]["gain"] == 0


def test_the_same_twice_and_on_any_number_of_threads(world):
    once = run(world, "--json", "--noise").stdout
    assert once == run(world, "--json", "--noise").stdout == run(world, "--json", "--noise", "--threads", 3).stdout


def test_folds_of_a_field_or_another_set(world):
    assert "3 folds" in run(world, "--fold", "part").stdout
    done = run(world, "--train-in", world / "b.jsonl", "--train-outcomes", world / "b.tsv", "--json")
    of = json.loads(done.stdout)["methods"]
    assert json.loads(done.stdout)["folds"] == 0 and "true category" not in of
    assert of["posterior x table"]["score"] > of["best single"]["score"] + .1


def test_a_price_and_a_margin(world):
    free = json.loads(run(world, "--facts", world / "facts.tsv", "--json").stdout)["methods"]["posterior x table"]
    dear = json.loads(run(world, "--facts", world / "facts.tsv", "--lambda", "20", "--json").stdout)["methods"]["posterior x table"]
    assert dear["mean_price"] == pytest.approx(.2) and free["mean_price"] > .2 and dear["used"] == 1
    light = json.loads(run(world, "--facts", world / "facts.tsv", "--mu", "2", "--json").stdout)["methods"]["posterior x table"]
    assert light["mean_active"] == pytest.approx(7)
    wide = json.loads(run(world, "--margin", "0.9", "--json").stdout)["methods"]["posterior x table"]
    assert wide["used"] == 1 and wide["gain"] == 0


def test_a_strong_and_a_weak_expert(world):
    done = run(world, "--experts", "strong=both,weak=lawyer", "--pair", "strong,weak", "--json", "--svg", world / "pair.svg", "--tsv", world / "pair.tsv")
    of = json.loads(done.stdout)["methods"]
    # law is the weak one's: the half of all calls brings all of the gap, and more
    assert of["posterior x table"]["apgr"] > .9 > of["random"]["apgr"] + .2 and of["random"]["apgr"] == pytest.approx(.5, abs=.1)
    assert of["oracle"]["apgr"] >= of["posterior x table"]["apgr"] and of["posterior x table"]["calls_80"] < of["random"]["calls_80"]
    assert of["posterior x table"]["apgr_low"] < of["posterior x table"]["apgr"] < of["posterior x table"]["apgr_high"]
    points = [line.split("\t") for line in (world / "pair.tsv").read_text().splitlines() if line.startswith("strong calls\tposterior")]
    assert len(points) == 11 and float(points[0][2]) == 0 and float(points[-1][2]) == 1
    assert "posterior x table" in {t.text for t in ElementTree.parse(world / "pair.svg").iter("{http://www.w3.org/2000/svg}text")}
    assert "strong calls for 20/50/80" in run(world, "--experts", "strong=both,weak=lawyer", "--pair", "strong,weak").stdout
    done = run(world, "--pair", "lawyer,both", check=False)
    assert done.returncode == 1 and "'lawyer' is no better than 'both'" in done.stderr


def test_noise(world):
    of = json.loads(run(world, "--noise", "--margin", ".05", "--json").stdout)["methods"]
    noise = of["posterior x table"]["noise"]
    assert set(noise) == {"typing", "lower case", "upper case", "words dropped", "politeness"}
    assert noise["lower case"]["flips"] == noise["upper case"]["flips"] == 0, "features are folded"
    assert all(0 <= x["flips"] < .1 and x["flips_margin"] <= .1 and abs(x["lost"]) < .05 for x in noise.values())
    assert of["prompt length"]["noise"]["politeness"]["flips"] > 0 and "noise" not in of["best single"]
    assert "with the margin" in run(world, "--noise", "--margin", ".05").stdout


def test_the_frontier(world):
    done = run(world, "--facts", world / "facts.tsv", "--frontier", "--budgets", "7:45:1", "--svg", world / "f.svg", "--json", check=False)
    if "without Cbc" in done.stderr:
        pytest.skip("built without Cbc")
    points = json.loads(done.stdout)["frontier"]
    assert len(points) == 39 and points[0]["loaded"] == 7 and points[0]["experts"] == 1
    two = next(p for p in points if p["budget"] == 15)
    assert two["loaded"] == 15 and two["experts"] == 2 and two["score"] > .8 and two["lead"] > .2 and two["rival"] in ("lawyer", "counter")
    light = json.loads(done.stdout)["few_active"]
    assert light[0]["score"] == pytest.approx(json.loads(done.stdout)["methods"]["posterior x table"]["score"])
    assert all(a["mean_active"] > b["mean_active"] for a, b in zip(light, light[1:]))
    assert ElementTree.parse(world / "f.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize("words, status, why", [
    (["--only", "oracle,magic"], 2, "--only 'magic': known are random, prompt length"),
    (["--pair", "lawyer"], 1, "--pair 'lawyer': must be STRONG,WEAK"),
    (["--pair", "lawyer,nobody"], 1, "--pair: no expert is called 'nobody'"),
    (["--frontier"], 2, "eval route: --facts is required"),
    (["--svg", "x.svg"], 2, "eval route: --facts is required"),
    (["--train-in", "x"], 2, "eval route: --train-outcomes is required"),
    (["--experts", "both"], 1, "one expert alone: there is nothing to choose"),
    (["--folds", "1"], 2, "--folds: '1' is not a whole number in 2..100"),
    (["--id", "topic"], 1, "no prompt has an outcome of every expert"),
])
def test_mistakes(world, words, status, why):
    done = run(world, *words, check=False)
    assert done.returncode == status and why in done.stderr, done.stderr

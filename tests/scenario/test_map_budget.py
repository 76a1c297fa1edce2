# SPDX-License-Identifier: Apache-2.0
"""`pointsman-train map` under conditions, from the command line: budgets, hosts, least scores, an older map, the frontier; what it refuses, and with
which words.  Beside it stands an enumeration of all sets of experts."""
import itertools
import json
import random
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from harness import BUILD

TRAIN = BUILD / "routers" / "train" / "pointsman-train"
CATEGORIES = ["code", "law", "maths", "verse"]
# name: loaded, active, memory, price, host, and how often it is right at each category
EXPERTS = {"giant": (70, 70, 140, 0.9, "-", [.8, .8, .8, .8]), "coder": (7, 7, 14, 0.2, "east", [.8, .3, .5, .3]),
           "jurist": (13, 13, 26, 0.3, "west", [.2, .8, .3, .5]), "counter": (8, 2, 16, 0.1, "-", [.5, .3, .7, .2]),
           "tiny": (1, 1, 2, 0.05, "-", [.3, .3, .3, .3])}
PROMPTS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget")
    draw = random.Random(5)
    labels, outcomes = [], ["#id\t" + "\t".join(EXPERTS)]
    for i in range(PROMPTS * len(CATEGORIES)):
        category = i % len(CATEGORIES)
        labels.append(json.dumps({"id": str(i), "prompt": f"prompt {i}", "topic": CATEGORIES[category]}))
        outcomes.append("\t".join([str(i)] + [str(int(draw.random() < e[5][category])) for e in EXPERTS.values()]))
    (folder / "labels.jsonl").write_text("\n".join(labels) + "\n")
    (folder / "outcomes.tsv").write_text("\n".join(outcomes) + "\n")
    (folder / "facts.tsv").write_text("#expert\tactive\tloaded\tprice\tmemory\thost\n# a comment\n" + "".join(
        f"{name}\t{e[1]}\t{e[0]}\t{e[3]}\t{e[2]}\t{e[4]}\n" for name, e in EXPERTS.items()) + "unasked\t1\t1\t1\t1\t-\n")
    if "without Cbc" in run(folder, "--max-loaded", 100, check=False).stderr:
        pytest.skip("built without Cbc")
    return folder


def run(folder, *words, check=True, out="map.json"):
    done = subprocess.run([TRAIN, "map", "--outcomes", folder / "outcomes.tsv", "--labels", folder / "labels.jsonl", "--label", "topic", "--facts",
                           folder / "facts.tsv", "--out", folder / out, *map(str, words)], capture_output=True, text=True, timeout=60)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def best(scores, keeps):
    """The best score of any set of experts that `keeps` lets through."""
    sets = (s for n in range(1, len(EXPERTS) + 1) for s in itertools.combinations(EXPERTS, n))
    return max(sum(max(scores[c][e] for e in s) for c in CATEGORIES) / len(CATEGORIES) for s in sets if keeps(s))


def loaded(names):
    return sum(EXPERTS[e][0] for e in names)


def test_a_budget_of_loaded_parameters(world):
    run(world)
    scores = json.loads((world / "map.json").read_text())["scores"]
    for budget in (1, 8, 9, 16, 28, 29, 71, 200):
        run(world, "--max-loaded", budget)
        made = json.loads((world / "map.json").read_text())
        said = made["composition"]
        assert said["score"] == pytest.approx(best(scores, lambda s, b=budget: loaded(s) <= b), abs=1e-3)
        assert said["loaded"] == loaded(said["experts"]) <= budget
        for category in CATEGORIES + ["general"]:
            assert sorted(made["rankings"][category]) == sorted(said["experts"]) == sorted(made["scores"][category])
            assert made["rankings"][category][0] == max(said["experts"], key=made["scores"][category].get)


def test_means_are_bounded_by_giving_some_categories_a_lesser_expert(world):
    run(world, "--max-active", 20)
    made = json.loads((world / "map.json").read_text())
    firsts = [made["rankings"][c][0] for c in CATEGORIES]
    assert sum(EXPERTS[e][1] for e in firsts) / 4 == pytest.approx(made["composition"]["mean_active"], abs=1e-3)
    assert made["composition"]["mean_active"] <= 20
    run(world, "--max-price", "0.2")
    made = json.loads((world / "map.json").read_text())
    assert made["composition"]["mean_price"] <= 0.2


def test_what_cannot_be_kept_is_refused_with_what_could(world):
    done = run(world, "--max-active", 3, "--quality", "law=.6", check=False)
    assert done.returncode == 1
    least = re.search(r"--max-active 3 is too little: the smallest that can be kept is ([\d.]+)\n", done.stderr)
    assert least, done.stderr
    run(world, "--max-active", least[1], "--quality", "law=.6")
    assert run(world, "--max-active", float(least[1]) - .01, "--quality", "law=.6", check=False).returncode == 1

    done = run(world, "--max-loaded", .5, "--max-price", .01, check=False)
    assert "--max-loaded 0.5 is too little, even without the other budgets: the smallest that can be kept is 1\n" in done.stderr
    assert "--max-price 0.01 is too little, even without the other budgets: the smallest that can be kept is 0.05\n" in done.stderr
    done = run(world, "--quality", "verse=.95", check=False)
    assert done.returncode == 1 and re.search(r"--quality: no expert has 0.95 at 'verse'; the best is giant with 0\.\d+\n", done.stderr)


def test_hosts_have_memory_and_pins_stay(world):
    run(world, "--host", "east=32", "--host", "west=30")
    said = json.loads((world / "map.json").read_text())["composition"]
    assert "giant" not in said["experts"] and said["hosts"]["coder"] == "east" and said["hosts"]["jurist"] == "west"
    for host, room in (("east", 32), ("west", 30)):
        assert sum(EXPERTS[e][2] for e, h in said["hosts"].items() if h == host) <= room
    run(world, "--host", "east=32", "--host", "west=30", "--pin", "counter")
    said = json.loads((world / "map.json").read_text())["composition"]
    assert "counter" in said["experts"] and "counter" in said["hosts"]
    done = run(world, "--host", "east=32", "--host", "west=30", "--pin", "giant", check=False)
    assert done.returncode == 1 and "whatever the budgets: no --host has memory" in done.stderr
    done = run(world, "--host", "east=16", check=False)
    assert "expert 'jurist' lies on 'west', whose memory no --host says" in done.stderr


def test_an_older_map_stays_unless_a_change_is_worth_it(world):
    run(world, "--max-loaded", 29, out="old.json")
    old = json.loads((world / "old.json").read_text())["rankings"]
    run(world, "--max-loaded", 200, "--old", world / "old.json", "--inertia", 1)
    made = json.loads((world / "map.json").read_text())
    assert made["composition"]["changes"] == 0 and all(made["rankings"][c][0] == old[c][0] for c in CATEGORIES)
    run(world, "--max-loaded", 200, "--old", world / "old.json", "--inertia", 0)
    assert json.loads((world / "map.json").read_text())["composition"]["changes"] > 0


def test_the_frontier(world):
    run(world, "--frontier", "loaded", "--tsv", world / "f.tsv", "--svg", world / "f.svg")
    head, *lines = [line.split("\t") for line in (world / "f.tsv").read_text().splitlines()]
    assert head == ["#budget", "score", "loaded", "active", "price", "experts"]
    assert len(lines) == 21 and float(lines[0][0]) == 1 and lines[0][5] == "tiny"
    scores = [float(line[1]) for line in lines]
    assert scores == sorted(scores) and scores[-1] > scores[0]
    assert all(float(line[2]) == loaded(line[5].split(",")) <= float(line[0]) + 1e-6 for line in lines)
    drawn = ElementTree.parse(world / "f.svg").getroot()
    assert {"giant", "composition"} <= {t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text")}

    run(world, "--frontier", "price=0.05:0.45:0.1", "--tsv", world / "f.tsv")
    assert [line.split("\t")[0] for line in (world / "f.tsv").read_text().splitlines()[1:]] == ["0.05", "0.15", "0.25", "0.35", "0.45"]


@pytest.mark.parametrize("words, why", [
    (["--max-loaded", "many"], "--max-loaded: 'many' is not a number"),
    (["--pin", "nobody"], "--pin: no expert is called 'nobody'"),
    (["--quality", "maths"], "--quality 'maths': must be NAME=NUMBER"),
    (["--quality", "sports=.5"], "--quality: no category is called 'sports'"),
    (["--host", "east=16", "--host", "east=17"], "--host: 'east' is there twice"),
    (["--frontier", "weight"], "--frontier 'weight': must begin with loaded, active or price"),
    (["--frontier", "loaded=1:2"], "the range must be FROM:TO:STEP"),
    (["--svg", "f.svg", "--max-loaded", "9"], "there is no --frontier"),
])
def test_mistakes(world, words, why):
    done = run(world, *words, check=False)
    assert done.returncode in (1, 2) and why in done.stderr, done.stderr


@pytest.mark.parametrize("text, why", [
    ("", "no line for expert 'giant'"),
    ("expert\tloaded\ngiant\t1\n", ":1: the first line must be '#expert'"),
    ("#expert\tloaded\tweight\ngiant\t1\t2\n", ":1: column 'weight' is there twice, or not one of loaded"),
    ("#expert\tloaded\ngiant\tbig\n", ":2: loaded is 'big', which is not a number from 0 on"),
    ("#expert\tloaded\ngiant\t1\t2\n", ":2: 3 columns, the first line has 2"),
    ("#expert\tloaded\ngiant\t1\ngiant\t1\n", ":3: expert 'giant' is there twice"),
    ("#expert\tloaded\ngiant\t-\ncoder\t1\njurist\t1\ncounter\t1\ntiny\t1\n", "'loaded' of expert 'giant' is not known, and --max-loaded needs it"),
])
def test_facts_that_are_none(world, tmp_path, text, why):
    (tmp_path / "facts.tsv").write_text(text)
    done = subprocess.run([TRAIN, "map", "--outcomes", world / "outcomes.tsv", "--labels", world / "labels.jsonl", "--label", "topic", "--facts",
                           tmp_path / "facts.tsv", "--out", tmp_path / "map.json", "--max-loaded", "9"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and why in done.stderr, done.stderr

# SPDX-License-Identifier: Apache-2.0
"""Held-in and held-out expert choice; tests/eval/instruct.sh runs this.

    instruct.py TRAIN KNN ENCODER INSTRUCTIONS DATA WORK [SET...]

Held-in: four folds, measured on prompts of the fold that was left out.  Held-out: every task is left out once (MMLU's subjects a tenth
at a time), all else is trained on.  A task is named by its sentence, as an LLM would; "own": by the prompt's own vector, without an LLM.
"""
import gzip
import hashlib
import json
import math
import subprocess
import sys

train, knn, encoder, instructions, data, work = sys.argv[1:7]
wanted = sys.argv[7:] or ["mmlupro", "mmlu", "mmlu-pair"]
FOLDS, GROUPS = 4, 10
POOL = {"mixtral-8x7b": "Mixtral-8x7B-Instruct-v0.1", "mathstral-7b": "mathstral-7B", "yi-34b": "Yi-34B", "phi-3-mini": "Phi-3-mini-4k-instruct",
        "llama-3.1-8b": "Meta-Llama-3_1-8B-Instruct"}


def mmlupro():
    rows = [json.loads(line) for line in gzip.open(f"{data}/mmlupro/questions.dev.jsonl.gz", "rt", encoding="utf-8")]
    table = [line.rstrip("\n").split("\t") for line in gzip.open(f"{data}/mmlupro/outcomes.dev.tsv.gz", "rt")]
    column = [table[0].index(model) for model in POOL.values()]
    outcome = {cell[0]: [int(cell[c]) for c in column] for cell in table[1:]}
    for row in rows:
        yield {"id": str(row["id"]), "task": row["category"], "src": row["src"], "fold": row["fold"],
               "text": "\n".join([row["question"], *row["options"]]), "outcome": outcome[str(row["id"])]}


def mmlu():
    return ({**row, "task": row["src"]} for row in mmlupro() if row["src"].startswith("ori_mmlu-"))


def mmlu_pair():
    for line in gzip.open(f"{data}/routellm/mmlu.jsonl.gz", "rt", encoding="utf-8"):
        row = json.loads(line)
        if not row["contaminated"]:
            fold = int.from_bytes(hashlib.sha256(row["prompt"].encode()).digest()[:4], "big") % FOLDS
            yield {"id": row["id"], "task": "ori_mmlu-" + row["subject"], "fold": fold, "text": row["prompt"], "outcome": [row["weak"], row["strong"]]}


SETS = {"mmlupro": (mmlupro, list(POOL), 14), "mmlu": (mmlu, list(POOL), GROUPS), "mmlu-pair": (mmlu_pair, ["mixtral-8x7b", "gpt-4-1106"], GROUPS)}


def run(*words):
    return subprocess.run([train, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def choices(path, field):
    lines = [line.rstrip("\n").split("\t") for line in open(path, encoding="utf-8")]
    at = lines[0].index(field)
    return {line[0]: line[at] for line in lines[1:]}


def predict(where, rows_file, outcomes_file):
    """What each method chooses for all prompts, when trained where `where` holds."""
    chosen = {}
    trained = [word for condition in where for word in ("--where", condition)]
    common = ["--in", rows_file, "--text", "text", "--label", "task"]
    said = run("instruct", "--encoder", encoder, "--outcomes", outcomes_file, *common, "--instructions", instructions, *trained,
               "--out", f"{work}/m.safetensors")
    print("   ", said.splitlines()[0].split("; ")[-1], flush=True)
    measured = ["eval", "instruct", "--model", f"{work}/m.safetensors", "--encoder", encoder, "--outcomes", outcomes_file, *common,
                "--predictions", f"{work}/p.tsv", "--json"]
    run(*measured, "--instructions", instructions)
    for method in ("local", "local_other", "global", "joined"):
        chosen[method] = choices(f"{work}/p.tsv", method)
    run(*measured)
    for method in ("global", "joined"):
        chosen[method + ", own"] = choices(f"{work}/p.tsv", method)
    run("category", *common, *trained, "--out", f"{work}/c.safetensors")
    run("map", "--outcomes", outcomes_file, "--labels", rows_file, "--label", "task", *trained, "--out", f"{work}/c.map")
    rankings = json.load(open(f"{work}/c.map", encoding="utf-8"))["rankings"]
    chosen["single"] = dict.fromkeys(chosen["local"], rankings["general"][0])
    return chosen, rankings


def measure(name):
    load, experts, n_groups = SETS[name]
    rows = list(load())
    tasks = sorted({row["task"] for row in rows})
    rows_file, outcomes_file = f"{work}/rows.jsonl", f"{work}/outcomes.tsv"
    for row in rows:
        row["group"] = tasks.index(row["task"]) % n_groups
    with open(rows_file, "w", encoding="utf-8") as f:
        f.writelines(json.dumps({**{k: row[k] for k in ("id", "task", "fold", "group", "text")}, "any": "any"}) + "\n" for row in rows)
    with open(outcomes_file, "w", encoding="utf-8") as f:
        f.write("\t".join(["#id", *experts]) + "\n")
        f.writelines("\t".join([row["id"], *map(str, row["outcome"])]) + "\n" for row in rows)
    outcome = {row["id"]: dict(zip(experts, row["outcome"])) for row in rows}
    print(f"\n{name}: {len(rows)} prompts, {len(tasks)} tasks, {len(experts)} experts")
    for protocol, field, parts in (("held-in", "fold", FOLDS), ("held-out", "group", n_groups)):
        got = {}
        print(f"  {protocol}")
        neighbours = subprocess.run([knn, rows_file, outcomes_file, ",".join(experts), "40", field, "text"], check=True, stdout=subprocess.PIPE, text=True).stdout
        got["kNN over outcomes (40, TF-IDF)"] = dict(line.split("\t") for line in neighbours.splitlines())
        for part in range(parts):
            here = [row for row in rows if row[field] == part]
            chosen, rankings = predict([f"{field}!={part}"], rows_file, outcomes_file)
            chosen["category router"] = by_category(rows_file, rankings)
            if protocol == "held-in":
                chosen["best of the true task"] = {row["id"]: rankings[row["task"]][0] for row in here}
            for method, by in chosen.items():
                got.setdefault(method, {}).update({row["id"]: by[row["id"]] for row in here})
        table(got, outcome)


def by_category(rows_file, rankings):
    """The category of every prompt, whatever its own task is called, and the expert that is best there."""
    run("eval", "category", "--model", f"{work}/c.safetensors", "--in", rows_file, "--text", "text", "--label", "any", "--unknown", "any",
        "--predictions", f"{work}/c.tsv", "--json")
    return {key: rankings[category][0] for key, category in choices(f"{work}/c.tsv", "category").items()}


def table(got, outcome):
    keys = list(outcome)
    joined = [outcome[k][got["joined"][k]] for k in keys]
    print(f"  {'':34} {'mean':>7} {'less joined':>12} {'s.e.':>7}")
    lines = [("random", [sum(outcome[k].values()) / len(outcome[k]) for k in keys])]
    lines += [(method, [outcome[k][by[k]] for k in keys]) for method, by in got.items()]
    lines += [("oracle", [max(outcome[k].values()) for k in keys])]
    for method, values in lines:
        d = [a - b for a, b in zip(values, joined)]
        mean = sum(d) / len(d)
        error = math.sqrt(sum((x - mean) ** 2 for x in d) / (len(d) - 1) / len(d))
        print(f"  {method:34} {sum(values) / len(values):7.4f} {mean:+12.4f} {error:7.4f}", flush=True)


for name in wanted:
    measure(name)

# SPDX-License-Identifier: Apache-2.0
"""The tables of mmlupro.sh: category accuracy by fold, and the mean outcome of expert choice, all cross-validated."""
import gzip
import json
import sys

work, questions, outcomes, pool = sys.argv[1:5]
pool = dict(entry.split("=", 1) for entry in pool.split(","))

truth, fold_of = {}, {}
for line in gzip.open(questions, "rt", encoding="utf-8"):
    row = json.loads(line)
    truth[str(row["id"])], fold_of[str(row["id"])] = row["category"], row["fold"]
lines = gzip.open(outcomes, "rt").read().split("\n")
column = {name: i for i, name in enumerate(lines[0].split("\t"))}
outcome = {}
for line in lines[1:]:
    cell = line.split("\t")
    if cell[0] in truth:
        outcome[cell[0]] = {name: float(cell[column[model]]) for name, model in pool.items()}

right = total = 0
for fold in range(4):
    figures = json.load(open(f"{work}/{fold}.json"))
    print(f"  fold {fold}  {figures['accuracy']:.4f}  {figures['macro_f1']:.4f}  {figures['calibration_error']:.4f}"
          f"  ({figures['known']} prompts)")
    right, total = right + figures["accuracy"] * figures["known"], total + figures["known"]
print(f"  all     {right / total:.4f}\n")

said, maps = {}, {}
for fold in range(4):
    maps[fold] = json.load(open(f"{work}/{fold}.map"))["rankings"]
    for line in open(f"{work}/{fold}.tsv", encoding="utf-8"):
        if not line.startswith("#"):
            key, _, category, confidence = line.rstrip("\n").split("\t")
            said[key] = (category, float(confidence))
neighbours = dict(line.rstrip("\n").split("\t") for line in open(f"{work}/knn.tsv"))
keys = sorted(outcome, key=int)


def mean(choose):
    return sum(outcome[key][choose(key)] for key in keys) / len(keys)


def routed(threshold):
    def choose(key):
        category, confidence = said[key]
        return maps[fold_of[key]][category if confidence >= threshold else "general"][0]
    return mean(choose)


rows = [("random", sum(sum(o.values()) / len(o) for o in (outcome[k] for k in keys)) / len(keys))]
rows += [(f"always {name}", mean(lambda key, name=name: name)) for name in pool]
rows += [("best single of the other folds", mean(lambda key: maps[fold_of[key]]["general"][0])),
         ("40 nearest prompts (TF-IDF)", mean(lambda key: neighbours[key])),
         ("category router, no threshold", routed(0))]
rows += [(f"category router, threshold {t:.1f}", routed(t)) for t in (.3, .4, .5, .6, .7, .8)]
rows += [("best of the true category", mean(lambda key: maps[fold_of[key]][truth[key]][0])),
         ("oracle", sum(max(outcome[key].values()) for key in keys) / len(keys))]
print(f"mean outcome over {len(keys)} questions; rankings and models from the other three folds")
for name, value in rows:
    print(f"  {name:34} {value:.4f}")

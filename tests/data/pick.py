#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Picks the prompts of prompts.jsonl from the full data sets, the same ones each time.

usage: tests/data/pick.py DATA > tests/data/prompts.jsonl

DATA holds the sets that NOTICE names, a folder each.  A row's rank is the SHA-256 of its set and id, so nobody chose the
rows for the answers they get; of MMLU-Pro only fold 3 is taken.
"""
import gzip
import hashlib
import json
import sys


def rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def rank(name, row_id):
    return hashlib.sha256(f"{name}:{row_id}".encode()).digest()


def first_of_each(name, items, key, n, longest):
    """Of each group of items (key) the lowest rank; of these groups the n that come first in the alphabet."""
    best = {}
    for item in items:
        if len(item["prompt"]) > longest:
            continue
        group = item[key]
        if group not in best or rank(name, item["id"]) < rank(name, best[group]["id"]):
            best[group] = item
    return [best[group] for group in sorted(best)[:n]]


def main(data):
    out = []

    mmlu = [dict(r, prompt="\n".join([r["question"].strip()] +
                                     [f"{'ABCDEFGHIJ'[i]}. {o.strip()}" for i, o in enumerate(r["options"])]))
            for r in rows(f"{data}/mmlupro/questions.dev.jsonl.gz") if r["fold"] == 3]
    out += [("mmlupro", r) for r in first_of_each("mmlupro", mmlu, "category", 14, 900)]

    turns = [dict(r, prompt=r["turns"][0].strip()) for r in rows(f"{data}/routellm/mtbench.jsonl.gz")]
    out += [("mtbench", r) for r in first_of_each("mtbench", turns, "category", 8, 900)]

    hard = [dict(r, prompt=r["prompt"].strip()) for r in rows(f"{data}/arena_hard/v0.1.jsonl.gz")]
    hard = sorted((r for r in hard if len(r["prompt"]) <= 400), key=lambda r: rank("arena_hard", r["id"]))
    out += [("arena_hard", r) for r in hard[:8]]

    clinc = [dict(r, id=f"test-{i}", prompt=r["text"])
             for i, r in enumerate(rows(f"{data}/clinc150/full.jsonl.gz")) if r["split"] == "test"]
    known = sorted((r for r in clinc if r["intent"] != "oos"), key=lambda r: rank("clinc150", r["id"]))
    strange = sorted((r for r in clinc if r["intent"] == "oos"), key=lambda r: rank("clinc150", r["id"]))
    out += [("clinc150", r) for r in known[:4] + strange[:2]]

    for name, r in out:
        print(json.dumps({"set": name, "id": str(r["id"]), "prompt": r["prompt"]}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))

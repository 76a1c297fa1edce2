#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# BIG-Bench Hard as a test alone: two experts, each known by one sentence, chosen by the task's instruction.  Nothing is fitted on it, and the
# sentences below were worded before it was measured.  Outcomes are code-davinci-002's, answering at once and with a chain of thought.
. "$(dirname "$0")/common.sh"

cat > "$work/experts.jsonl" <<'END'
{"expert": "direct", "instruction": "Answers at once: recalls a fact, completes a sentence or judges it by common sense, without working anything out."}
{"expert": "chain", "instruction": "Reasons step by step before it answers: counts, calculates, tracks objects, deduces an order and solves logical puzzles."}
END
python3 - "$data/bbh" "$work" <<'END'
import gzip, json, sys
data, work = sys.argv[1:]
rows = [json.loads(line) for line in gzip.open(f"{data}/examples.dev.jsonl.gz", "rt", encoding="utf-8")]
rows = [row for row in rows if row["codex_direct"] is not None]
with open(f"{work}/rows.jsonl", "w", encoding="utf-8") as f:
    f.writelines(json.dumps({"id": str(r["id"]), "task": r["task"], "text": r["input"]}) + "\n" for r in rows)
with open(f"{work}/outcomes.tsv", "w", encoding="utf-8") as f:
    f.write("#id\tdirect\tchain\n")
    f.writelines(f"{r['id']}\t{r['codex_direct']}\t{r['codex_cot']}\n" for r in rows)
with open(f"{work}/tasks.jsonl", "w", encoding="utf-8") as f:
    f.writelines(json.dumps({"task": t["task"], "instruction": t["instruction"]}) + "\n"
                 for t in map(json.loads, gzip.open(f"{data}/tasks.dev.jsonl.gz", "rt", encoding="utf-8")))
END
encoder=$root/configs/models/pointsman-static
"$train" instruct --encoder "$encoder" --experts "$work/experts.jsonl" --out "$work/m.safetensors" > /dev/null
"$train" eval instruct --model "$work/m.safetensors" --encoder "$encoder" --outcomes "$work/outcomes.tsv" --in "$work/rows.jsonl" --text text --label task \
        --instructions "$work/tasks.jsonl" --predictions "$work/p.tsv" > /dev/null
python3 - "$work" <<'END'
import collections, json, sys
work = sys.argv[1]
outcome = {}
for line in list(open(f"{work}/outcomes.tsv"))[1:]:
    key, direct, chain = line.split()
    outcome[key] = {"direct": int(direct), "chain": int(chain)}
task, chosen = {}, collections.defaultdict(dict)
lines = [line.rstrip("\n").split("\t") for line in open(f"{work}/p.tsv", encoding="utf-8")]
for line in lines[1:]:
    task[line[0]] = line[1]
    for name, value in zip(lines[0][3:], line[3:]):
        chosen[name][line[0]] = value
keys = list(outcome)
mean = lambda pick: sum(outcome[k][pick(k)] for k in keys) / len(keys)
of_task = collections.defaultdict(lambda: collections.Counter())
for k in keys:
    of_task[task[k]].update(outcome[k])
best = {t: max(c, key=c.get) for t, c in of_task.items()}
dear = lambda pick: sum(pick(k) == "chain" for k in keys) / len(keys)
print(f"{len(keys)} prompts, {len(best)} tasks        accuracy   chains")
for name, pick in (("always direct", lambda k: "direct"), ("always chain", lambda k: "chain"), ("by the task's instruction", lambda k: chosen["global"][k]),
                   ("by the prompt's parts", lambda k: chosen["local"][k]), ("joined", lambda k: chosen["joined"][k]), ("per-task oracle", lambda k: best[task[k]])):
    print(f"  {name:30} {mean(pick):8.4f} {dear(pick):8.3f}")
print(f"  {'coin flips':30} {sum(sum(outcome[k].values()) / 2 for k in keys) / len(keys):8.4f} {0.5:8.3f}\n")
print("chosen by its instruction:")
for t in sorted(best):
    one = next(k for k in keys if task[k] == t)
    print(f"  {t:42} {chosen['global'][one]:8} {'' if chosen['global'][one] == best[t] else 'better: ' + best[t]}")
END

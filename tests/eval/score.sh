#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What expected scores are worth, on prompts that the model has not seen: MMLU-Pro with five experts, a fold left out each time; LLMRouter's tasks with
# five and nine; RouteLLM's pair on MMLU.  The last three are the trainer's own parts, of which it has chosen three numbers: ridge, and the weights of
# table and heads.  With an argument, only these: mid5, five, nine, pair.  Some ten minutes on one core.
. "$(dirname "$0")/common.sh"

encoder=$root/configs/models/pointsman-static
tasks=$data/outcomes/llmrouter_prompts.dev.jsonl.gz
their=$data/outcomes/llmrouter_outcomes.dev.tsv.gz
small=codegemma-7b,gemma-2-9b-it,llama-3.1-8b-instruct,mistral-7b-instruct-v0.3,qwen2.5-7b-instruct
wanted="${*:-mid5 five nine pair}"

is_wanted() { case " $wanted " in *" $1 "*) return 0 ;; *) return 1 ;; esac }

if is_wanted mid5; then
        echo "MMLU-Pro, five experts, leave one fold out"
        python3 - "$outcomes" "$pool" > "$work/five.tsv" <<'END'
import gzip
import sys

lines = [line.rstrip("\n").split("\t") for line in gzip.open(sys.argv[1], "rt")]
pool = dict(entry.split("=", 1) for entry in sys.argv[2].split(","))
columns = [lines[0].index(model) for model in pool.values()]
print("\t".join(["#id", *pool]))
for line in lines[1:]:
    print("\t".join([line[0], *(line[c] for c in columns)]))
END
        for fold in 0 1 2 3; do
                "$train" score --in "$questions" --text question,options --label category --outcomes "$outcomes" --experts "$pool" --encoder "$encoder" \
                        --parts 3 --where "fold!=$fold" --out "$work/m" > /dev/null
                "$train" eval score --model "$work/m" --encoder "$encoder" --in "$questions" --text question,options --label category \
                        --outcomes "$work/five.tsv" --where "fold=$fold" --json
        done > "$work/folds"
        python3 - "$work/folds" <<'END'
import json
import sys

folds = [json.loads(line) for line in open(sys.argv[1])]
total = sum(fold["prompts"] for fold in folds)
for name in folds[0]:
    if name != "prompts":
        print(f"  {name:18} {sum(fold[name] * fold['prompts'] for fold in folds) / total:.4f}")
END
fi
if is_wanted five; then
        echo "LLMRouter, five experts"
        "$train" score --in "$tasks" --text prompt --label task --outcomes "$their" --experts "$small" --encoder "$encoder" --out "$work/m"
fi
if is_wanted nine; then
        echo "LLMRouter, nine experts"
        "$train" score --in "$tasks" --text prompt --label task --outcomes "$their" --encoder "$encoder" --out "$work/m"
fi
if is_wanted pair; then
        echo "MMLU, RouteLLM's pair"
        python3 - "$data/routellm/mmlu.jsonl.gz" "$work" <<'END'
import gzip
import json
import sys

rows = [row for row in map(json.loads, gzip.open(sys.argv[1], "rt")) if not row["contaminated"]]
with open(f"{sys.argv[2]}/mmlu.jsonl", "w") as prompts, open(f"{sys.argv[2]}/mmlu.tsv", "w") as table:
    print("#id\tweak\tstrong", file=table)
    for row in rows:
        print(json.dumps({key: row[key] for key in ("id", "subject", "prompt")}), file=prompts)
        print(row["id"], row["weak"], row["strong"], sep="\t", file=table)
END
        "$train" score --in "$work/mmlu.jsonl" --text prompt --label subject --outcomes "$work/mmlu.tsv" --encoder "$encoder" --loss softmax --bits 16 \
                --out "$work/m"
fi

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What the instruct router costs.  First a decision without its language model, with 64 experts (57 subjects of MMLU and 7 categories of
# MMLU-Pro, each by its sentence and 20 questions) and then 65, by pm-try; then, through the gateway, what each mode adds to a request while
# the model takes 300 ms, and while it is down.
#   POINTSMAN_DATA (../shared/data)  POINTSMAN_BUILD (build)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${POINTSMAN_DATA:-$root/../shared/data}
build=${POINTSMAN_BUILD:-$root/build}
export POINTSMAN_BUILD=$build
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 - "$data" "$root/tests/eval/instructions.jsonl" "$work" <<'END'
import gzip, json, sys
data, instructions, work = sys.argv[1:]
said = {line["task"]: line["instruction"] for line in map(json.loads, open(instructions, encoding="utf-8"))}
examples, prompts = {}, []
for line in gzip.open(f"{data}/routellm/mmlu.jsonl.gz", "rt", encoding="utf-8"):
    row = json.loads(line)
    examples.setdefault("ori_mmlu-" + row["subject"], []).append(row["prompt"])
for line in gzip.open(f"{data}/mmlupro/questions.dev.jsonl.gz", "rt", encoding="utf-8"):
    row = json.loads(line)
    examples.setdefault(row["category"], []).append("\n".join([row["question"], *row["options"]]))
    prompts.append(examples[row["category"]][-1])
tasks = sorted(examples, key=lambda t: (not t.startswith("ori_"), t))[:65]
for name, part in (("64", tasks[:64]), ("65", tasks[64:])):
    with open(f"{work}/{name}.jsonl", "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"expert": t, "instruction": said[t], "examples": examples[t][:20]}) + "\n" for t in part)
for size in (200, 1000, 4000):
    text = "\n\n".join(prompts)
    with open(f"{work}/prompts-{size}.jsonl", "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"text": text[i * size:(i + 1) * size]}) + "\n" for i in range(300))
open(f"{work}/experts", "w").write(",".join(tasks))
END
encoder=$root/configs/models/pointsman-static
train=$build/routers/train/pointsman-train
"$train" instruct --encoder "$encoder" --experts "$work/64.jsonl" --out "$work/64.safetensors" >/dev/null
began=$(date +%s%N)
"$train" instruct --encoder "$encoder" --experts "$work/65.jsonl" --add "$work/64.safetensors" --out "$work/65.safetensors"
echo "the 65th expert was added in $((($(date +%s%N) - began) / 1000000)) ms"
for experts in 64 65; do
        for size in 200 1000 4000; do
                printf '%s experts, %4s characters: ' "$experts" "$size"
                taskset -c 0 "$build/plugins/pm-try" "$build/routers/instruct.so" -o model="$work/$experts.safetensors" -o encoder="$encoder" \
                        --experts "$(cat "$work/experts")" --repeat 20 --quiet "$work/prompts-$size.jsonl" 2>&1 | grep '^time'
        done
done
exec python3 "$(dirname "$0")/instruct.py" "$@"

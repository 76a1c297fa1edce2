#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Time and user-space instructions of one decision of the shipped category model, for short to long prompts, on core 0.
#   POINTSMAN_DATA (../shared/data)  POINTSMAN_BUILD (build)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${POINTSMAN_DATA:-$root/../shared/data}
bench=${POINTSMAN_BUILD:-$root/build}/tests/bench/category_bench
model=$root/configs/models/mmlupro-category.safetensors
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
zcat "$data/mmlupro/questions.dev.jsonl.gz" |
        python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(row["question"] + "\n" + "\n".join(row["options"]))' > "$work/prompts"

for length in 100 230 1000 4000 8000 16000; do
        "$bench" "$model" $length 40 < "$work/prompts"
done
if command -v valgrind > /dev/null; then
        for length in 100 230 1000 4000; do
                valgrind --tool=callgrind --callgrind-out-file="$work/cg" --toggle-collect=classifier_decide "$bench" "$model" \
                        $length 0 < "$work/prompts" 2> /dev/null
                sed -n "s/^\(totals\|summary\): *\([0-9]*\).*/$length characters: \2 instructions/p" "$work/cg" | head -1
        done
fi

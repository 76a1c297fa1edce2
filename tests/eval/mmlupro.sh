#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# MMLU-Pro, leave one fold out: how often the category is right, and what expert choice by category is worth.
# Model and rankings of each round see nothing of the fold that they are measured on.  About a minute on one core.
. "$(dirname "$0")/common.sh"

echo "category from question and options, trained on three folds, measured on the fourth (accuracy macro-F1 calibration-error)"
for fold in 0 1 2 3; do
        "$train" category --in "$questions" --text question,options --label category --where "fold!=$fold" \
                --out "$work/$fold.safetensors" "$@" > /dev/null
        "$train" eval category --model "$work/$fold.safetensors" --in "$questions" --text question,options --label category \
                --where "fold=$fold" --predictions "$work/$fold.tsv" --json > "$work/$fold.json"
        "$train" map --outcomes "$outcomes" --labels "$questions" --label category --where "fold!=$fold" --experts "$pool" \
                --out "$work/$fold.map" > /dev/null
done
"$build/tests/eval/knn" "$questions" "$outcomes" "$pool" 40 > "$work/knn.tsv"
python3 "$here/routing.py" "$work" "$questions" "$outcomes" "$pool"

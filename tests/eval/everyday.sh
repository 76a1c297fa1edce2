#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The everyday models of configs/chat.yaml: builds their training file from the data, trains both, says how good they are on sources that they
# did not see, on the hand-labelled prompts and by language, and beside baselines.  With --ship: puts them into configs/models.
# With --quick: the shipped ones, without training and without what takes long.
. "$(dirname "$0")/common.sh"
. "$here/python.sh"

"$python" "$here/everyday/build.py" "$data" "$work/training.jsonl.gz"
models=$work
if [ "${1:-}" = --quick ]; then
        models=$root/configs/models
else
        for head in field task; do
                weight=.4
                [ $head = task ] || weight=.2 # the vector knows English only, and the field is asked in many languages
                "$train" category --in "$work/training.jsonl.gz" --text text --label $head --where "$head!=-" --apart apart --bits 16 --text-max 4096 \
                        --cost 0.5 --loss hinge --dense-weight $weight \
                        --encoder "$root/configs/models/pointsman-static" --out "$work/chat-$head.safetensors"
        done
fi
[ "${1:-}" != --ship ] || cp "$work"/chat-*.safetensors "$root/configs/models/"
"$python" "$here/everyday/evaluate.py" "$train" "$build/tests/eval/encode" "$models" "$root/configs/models/pointsman-static" "$minilm" "$data" \
        "$root" "$work/training.jsonl.gz" "${1:-}"

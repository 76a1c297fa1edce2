#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# CLINC150 (Larson et al., 2019), Full, protocol oos-threshold: trained on the in-scope part of train, threshold chosen on val with
# oos as a class of its own, measured on test.  The seed moves the held-back part and the solver's order.  About a minute.
#   ENCODER  a folder: vectors of its model, too (configs/models/pointsman-static; five minutes)
. "$(dirname "$0")/common.sh"
file=$data/clinc150/full.jsonl.gz

printf '%-6s %10s %10s %10s %10s\n' seed in-scope oos-recall AUROC ECE
for seed in ${SEEDS:-0 1 2 3 4}; do
        "$train" category --in "$file" --text text --label intent --where split=train --unknown oos \
                --threshold-on "$file" --where split=val --seed "$seed" --out "$work/m.safetensors" \
                ${ENCODER:+--encoder "$ENCODER"} "$@" > /dev/null
        "$train" eval category --model "$work/m.safetensors" --in "$file" --text text --label intent --where split=test \
                --unknown oos ${ENCODER:+--encoder "$ENCODER"} --json > "$work/m.json"
        python3 -c 'import json, sys
f = json.load(open(sys.argv[2]))
print("%-6s %10.2f %10.2f %10.4f %10.4f" % (sys.argv[1], 100 * f["in_scope_accuracy"], 100 * f["unknown_recall"],
                                            f["unknown_auroc"], f["calibration_error"]))' "$seed" "$work/m.json"
done

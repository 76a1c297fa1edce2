#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Rebuilds configs/models from the data.  With --check: builds twice into a temporary folder, and says whether both are the same
# and whether the map and the model are those in configs/models.
. "$(dirname "$0")/common.sh"

make_models() {
        "$train" category --in "$questions" --text question,options --label category --seed 0 \
                --out "$1/mmlupro-category.safetensors"
        "$train" map --outcomes "$outcomes" --labels "$questions" --label category --experts "$pool" --out "$1/mmlupro-map.json"
        "$train" instruct --encoder "$root/configs/models/pointsman-static" --outcomes "$outcomes" --columns "$pool" --in "$questions" \
                --text question,options --label category --instructions "$here/instructions.jsonl" --seed 0 --out "$1/mmlupro-instruct.safetensors"
}

case "${1:-}" in
"")
        make_models "$root/configs/models" ;;
--check)
        mkdir "$work/a" "$work/b"
        make_models "$work/a" > /dev/null
        make_models "$work/b" > /dev/null
        status=0
        for file in mmlupro-category.safetensors mmlupro-map.json mmlupro-instruct.safetensors; do
                cmp "$work/a/$file" "$work/b/$file" && echo "same twice: $file" || status=1
                cmp "$work/a/$file" "$root/configs/models/$file" && echo "as shipped: $file" || status=1
        done
        exit $status ;;
*)
        echo "usage: models.sh [--check]" >&2
        exit 2 ;;
esac

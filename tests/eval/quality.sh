#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# N-grams, static vectors, both, and MiniLM: the same classifiers on CLINC150 and MMLU-Pro.  After distill.sh; a quarter of an hour.
. "$(dirname "$0")/common.sh"
. "$here/python.sh"
kept=$build/eval-teacher
"$python" "$here/distill.py" "$minilm" "$data" "$kept" "$work/plain" --plain > /dev/null
"$python" "$here/quality.py" "$build/tests/eval/encode" "$train" "$root/configs/models/pointsman-static" "$work/plain" "$minilm" "$data" "$kept"

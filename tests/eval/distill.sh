#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the static model: distill.sh OUT.  MiniLM reads 80,000 texts first: half an hour on one core, kept in the build folder.
. "$(dirname "$0")/common.sh"
. "$here/python.sh"
kept=$build/eval-teacher
mkdir -p "$kept"
"$python" "$here/distill_teacher.py" "$minilm" "$data" "$kept"
"$python" "$here/distill.py" "$minilm" "$data" "$kept" "${1:?usage: distill.sh OUT [--plain]}" ${2:+"$2"}

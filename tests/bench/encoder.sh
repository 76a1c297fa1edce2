#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Time of one encoding beside MiniLM's, on core 0.
#   POINTSMAN_DATA (../shared/data)  POINTSMAN_BUILD (build)  POINTSMAN_VENV (eval-venv in the build folder)
. "$(dirname "$0")/../eval/common.sh"
here=$root/tests/eval
# shellcheck source=../eval/python.sh
. "$here/python.sh"
taskset -c 0 "$python" "$root/tests/bench/encoder.py" "$build/tests/bench/encoder_bench" "${1:-$root/configs/models/pointsman-static}" "$minilm" "$data"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# 10,000 requests at concurrency 64, then 512 streams at once paced at 20 ms a token; three rounds. Ends with 1 if a single answer was
# not right or if memory grew between the second round and the third.
#
# usage: tests/bench/leak.sh [--rounds N] [--requests N] [--streams N] [--tokens N]      (build folder: $POINTSMAN_BUILD)
set -eu
cd "$(dirname "$0")"
exec python3 leak.py "$@"

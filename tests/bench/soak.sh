#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything at once for twenty minutes: whole answers and streams, clients that leave, experts that misbehave on both transports, bodies of
# 10 MB, recommendations, embeddings, Redis killed, files reloaded, some of them broken. Prints a table and a verdict; ends with 1 if memory
# grew, did not come back, if a right answer did not come, or if the gateway did not end with 0.
#
# usage: tests/bench/soak.sh [--minutes N] [--workers N] [--clients N]      (build folder: $POINTSMAN_BUILD)
# Needs redis-server.
set -eu
cd "$(dirname "$0")"
exec python3 soak.py "$@"

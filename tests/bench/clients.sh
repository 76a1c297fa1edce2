#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What more clients cost: CPU time a request and new connections to the expert, at 32, 256 and 1,024 clients, beside nginx in pairs of
# measurements; then 4,096 streams at once, all of which must be whole, and their first tokens. Prints Markdown tables.
#
# usage: tests/bench/clients.sh [--rounds N] [--seconds N] [--clients N,N,...] [--streams N] [--deltas N] [--no-requests] [--no-streams] [--json FILE]
# Needs wrk, taskset and nginx, two cores, and for so many streams 20,000 descriptors (ulimit -n). The build folder is $POINTSMAN_BUILD
# (build/ by default) and should be a release build: meson setup build --buildtype=release.
set -eu
cd "$(dirname "$0")"
exec python3 clients.py "$@"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Speed of the gateway beside nginx's proxy_pass and HAProxy, in interleaved rounds of one run; prints one Markdown table.
#
# usage: tests/bench/run.sh [--rounds N] [--seconds N] [--only NAME,...] [--no-instructions] [--json FILE]
# Needs wrk and taskset; nginx, haproxy and valgrind are used if they are there. The build folder is $POINTSMAN_BUILD (build/ by
# default) and should be a release build: meson setup build --buildtype=release.
set -eu
cd "$(dirname "$0")"
exec python3 bench.py "$@"

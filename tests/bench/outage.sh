#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a Redis that dies (or with --pause: hangs) in mid-load costs the requests: 20,000 questions to a gateway with it and, in turn, to
# one without.  Ends with 1 if a single answer was not right.
#
# usage: tests/bench/outage.sh [--requests N] [--clients N] [--timeout 5ms] [--pause]      (build folder: $POINTSMAN_BUILD)
set -eu
cd "$(dirname "$0")"
exec python3 outage.py "$@"

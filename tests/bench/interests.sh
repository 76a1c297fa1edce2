#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A generated catalogue: how long it takes to build, what it needs, what a recommendation costs, and what FAISS costs for the same.
#     interests.sh FOLDER [ITEMS [USERS [FACTORY:PARAMETERS...]]]      (1000000, as many; no FAISS)
# FOLDER keeps what was made.  A million of each takes a quarter of an hour on two cores and 5 GB of disk; each FAISS index its own time.
set -eu
build=${POINTSMAN_BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
folder=${1:?usage: interests.sh FOLDER [ITEMS [USERS [FACTORY:PARAMETERS...]]]}
items=${2:-1000000}
users=${3:-$items}
train=$build/routers/train/pointsman-train
mkdir -p "$folder"
timed() { command -v /usr/bin/time > /dev/null && set -- /usr/bin/time -f '  %e s, %M KiB at most' "$@"; "$@"; }

[ -f "$folder/vectors.safetensors" ] || timed "$build/tests/bench/interests_make" "$folder" "$items" "$users"
[ -f "$folder/cells/manifest.json" ] ||
        timed "$train" interests --edges "$folder/edges.tsv" --vectors "$folder/vectors.safetensors" --out "$folder/cells" --also 50 --near-budget 4000
[ $# -lt 3 ] && shift $# || shift 3
set -- $(for one; do
        index=$folder/$(printf %s "${one%%:*}" | tr -c 'A-Za-z0-9\n' _).index
        [ -f "$index" ] || timed "$build/tests/bench/interests_index" "$folder/cells" "${one%%:*}" "$index" >&2
        echo --faiss "$index:${one#*:}"
done)
OMP_NUM_THREADS=1 "$build/tests/bench/interests_bench" "$folder/cells" "$@"

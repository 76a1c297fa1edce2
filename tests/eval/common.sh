# shellcheck shell=sh disable=SC2034
# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts here: where the data and the built programs are, and a folder that goes away.
#   POINTSMAN_DATA   the data sets (../shared/data beside the repository)
#   POINTSMAN_BUILD  the build folder (build)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
data=${POINTSMAN_DATA:-$root/../shared/data}
build=${POINTSMAN_BUILD:-$root/build}
train=$build/routers/train/pointsman-train
[ -d "$data" ] || { echo "no data in $data: set POINTSMAN_DATA" >&2; exit 2; }
[ -x "$train" ] || { echo "no $train: build first, or set POINTSMAN_BUILD" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
questions=$data/mmlupro/questions.dev.jsonl.gz
outcomes=$data/mmlupro/outcomes.dev.tsv.gz
pool=mixtral-8x7b=Mixtral-8x7B-Instruct-v0.1,mathstral-7b=mathstral-7B,yi-34b=Yi-34B
pool=$pool,phi-3-mini=Phi-3-mini-4k-instruct,llama-3.1-8b=Meta-Llama-3_1-8B-Instruct

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Recommendation on a citation graph: kNN-Embed beside its baselines, diversity beside recall, and what each embedding is worth.
# A user is a citing paper, an item a cited one; settings were tuned on the valid edges, the test edges are reported.
#     interests.sh [DIM [METHOD-OPTION...]]      (512; options of pointsman-train embed, for example --method svd)
# EDGES names another file of edges with a split column; SPLIT another split.  About a minute on two cores.
. "$(dirname "$0")/common.sh"

edges=${EDGES:-$data/cit_hepth/edges.tsv.gz}
dim=${1:-512}
[ $# -eq 0 ] || shift
"$train" embed --edges "$edges" --one-kind --dim "$dim" --out "$work/vectors.safetensors" "$@"
"$train" interests --edges "$edges" --one-kind --vectors "$work/vectors.safetensors" --out "$work/catalogue"
"$train" eval interests --catalogue "$work/catalogue" --edges "$edges" --one-kind --test "${SPLIT:-test}" ${SVG:+--svg "$SVG"}

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Recommendation on a citation graph: kNN-Embed beside its baselines, diversity beside recall, and what each embedding is worth.
# A user is a citing paper, an item a cited one; settings were tuned on the valid edges, the test edges are reported.
#     interests.sh [DIM [METHOD-OPTION...]]      (512; options of pointsman-train embed, for example --method svd)
#
# cit-HepTh, 14,409 papers of the test split (recall at 10, 20, 50; diversity of the first 20):
#         popularity        .041 .058 .087   .895         mixture           .327 .455 .615   .810
#         user vector       .245 .372 .531   .735         knn-embed         .373 .506 .667   .778
#         history centroid  .347 .472 .628   .693         co-citation       .487 .600 .730   .794
#                                                         blend             .513 .631 .763   .785
# On 3,000 papers of the valid split, knn-embed at 10, 20, 50: FastRP of 256 numbers .368 .502 .658, of 512 .383 .510 .675;
# SVD of 256 .326 .440 .588; ALS of 128 .340 .476 .638, whose own user vector is the best of all: .297 .405 .563.
#
# EDGES names another file of edges with a split column; SPLIT another split.  About a minute on two cores.
. "$(dirname "$0")/common.sh"

edges=${EDGES:-$data/cit_hepth/edges.tsv.gz}
dim=${1:-512}
[ $# -eq 0 ] || shift
"$train" embed --edges "$edges" --one-kind --dim "$dim" --out "$work/vectors.safetensors" "$@"
"$train" interests --edges "$edges" --one-kind --vectors "$work/vectors.safetensors" --out "$work/catalogue"
"$train" eval interests --catalogue "$work/catalogue" --edges "$edges" --one-kind --test "${SPLIT:-test}" ${SVG:+--svg "$SVG"}

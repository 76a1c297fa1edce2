#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The instruct router on tasks that it was trained on (other prompts of them) and on tasks that it was not, beside its baselines.
#     instruct.sh [SET...]     (mmlupro mmlu mmlu-pair)
# Sets: 14 categories of MMLU-Pro; the 57 subjects of those of its questions that are MMLU's, both with five experts; and all of MMLU with
# GPT-4 and Mixtral, of which one leads nearly everywhere.  Sentences that name the tasks: instructions.jsonl, written by a language model
# that saw names and three prompts of each.  A quarter of an hour on two cores.
. "$(dirname "$0")/common.sh"
exec python3 "$here/instruct.py" "$train" "$build/tests/eval/knn" "$root/configs/models/pointsman-static" "$here/instructions.jsonl" "$data" "$work" "$@"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The instruct router on tasks that it was trained on (other prompts of them) and on tasks that it was not, beside its baselines.
#     instruct.sh [SET...]     (mmlupro mmlu mmlu-pair)
# Sets: 14 categories of MMLU-Pro; the 56 subjects of those of its questions that are MMLU's, both with five experts; and all of MMLU with
# GPT-4 and Mixtral, of which one leads nearly everywhere.  Sentences that name the tasks: instructions.jsonl, written by a language model
# from the tasks' names, before anything was measured.  A quarter of an hour on two cores.
#
# Mean outcome (joined: standard error of the difference to it in brackets), on the four folds that are here:
#                          mmlupro, 14 tasks       mmlu, 56 tasks          mmlu-pair, 57 tasks
#                          held-in    held-out     held-in    held-out     held-in    held-out
#         random           .4244      .4244        .4473      .4473        .7434      .7434
#         best single      .4425      .4425        .4681      .4681        .8059      .8059
#         kNN, 40          .4626      .4580        .4815      .4674        .8047      .7999
#         category router  .4713      .4566        .4923      .4752        .8107      .8040
#         local            .4730(27)  .4682(11)    .4863(49)  .4790(45)    .7589(28)  .7502(30)
#         global           .4726(32)  .4638(35)    .4939(33)  .4799(45)    .8114(1)   .8059(3)
#         joined           .4772      .4668        .4905      .4788        .8112      .8065
#         joined, own      .4733(27)  .4689(12)    .4923(40)  .4801(39)    .8072(8)   .8074(9)
#         oracle           .7406      .7406        .7524      .7524        .8587      .8587
. "$(dirname "$0")/common.sh"
exec python3 "$here/instruct.py" "$train" "$build/tests/eval/knn" "$root/configs/models/pointsman-static" "$here/instructions.jsonl" "$data" "$work" "$@"

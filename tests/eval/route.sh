#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What routing is worth on recorded outcomes: tests/eval/route.sh [PART...], all parts without one; sizes and prices are those of experts.tsv.
# Some minutes a part on one core.  Further options of `pointsman-train eval route` are taken from OPTIONS.
#   mid5 all26      MMLU-Pro, leave one fold out: five models of which none leads everywhere; all complete ones, within budgets
#   small5 all9     LLMRouter, five folds by hash
#   mmlu            RouteLLM's pair on MMLU, five folds by hash
#   gsm8k mtbench   the same pair, trained on its MMLU outcomes alone
#   gsm8k4          four models on GSM8K, which has no categories: by nearest prompts
# shellcheck disable=SC2086,SC2154 # OPTIONS are words; common.sh says where the data are
. "$(dirname "$0")/common.sh"

OPTIONS=${OPTIONS:-}
[ $# -gt 0 ] || set -- mid5 small5 all9 mmlu gsm8k mtbench gsm8k4 all26
python3 "$here/route_data.py" "$data" "$work"
sizes=$here/experts.tsv
llmrouter() {
        "$train" eval route --outcomes "$data/outcomes/llmrouter_outcomes.dev.tsv.gz" --in "$data/outcomes/llmrouter_prompts.dev.jsonl.gz" --text prompt \
                --label task --facts "$sizes" "$@" $OPTIONS
}
mmlupro() {
        "$train" eval route --outcomes "$outcomes" --in "$questions" --text question,options --label category --fold fold --facts "$sizes" "$@" $OPTIONS
}
pair() {
        name=$1
        shift
        "$train" eval route --outcomes "$work/$name.tsv" --in "$work/$name.jsonl" --text prompt --label task --pair strong,weak "$@" $OPTIONS
}

for part; do
        printf '\n== %s\n' "$part"
        case $part in
        mid5) mmlupro --experts Mixtral-8x7B-Instruct-v0.1,mathstral-7B,Yi-34B,Phi-3-mini-4k-instruct,Meta-Llama-3_1-8B-Instruct ;;
        all26) mmlupro --experts "$(grep -v '^#' "$sizes" | cut -f1 | head -n 26 | paste -sd,)" --frontier ;;
        small5) llmrouter --experts qwen2.5-7b-instruct,codegemma-7b,gemma-2-9b-it,llama-3.1-8b-instruct,mistral-7b-instruct-v0.3 ;;
        all9) llmrouter --frontier ;;
        mmlu) pair mmlu ;;
        gsm8k | mtbench) pair "$part" --train-in "$work/mmlu.jsonl" --train-outcomes "$work/mmlu.tsv" ;;
        gsm8k4) "$train" eval route --outcomes "$work/gsm8k4.tsv" --in "$work/gsm8k4.jsonl" --text prompt --label task \
                --only "random,prompt length,best single,nearest prompts,oracle" $OPTIONS ;;
        *) echo "route.sh: no part is called '$part'" >&2; exit 2 ;;
        esac
done

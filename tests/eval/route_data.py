# SPDX-License-Identifier: Apache-2.0
"""RouteLLM's and GSM8K's files as prompts and outcomes for route.sh: prompts that RouteLLM drops as contaminated are left out; MT-Bench is routed by its
first turn and scored by the mean of both."""
import gzip
import json
import sys

data, work = sys.argv[1:]


def rows(path):
    return map(json.loads, gzip.open(f"{data}/{path}", "rt", encoding="utf-8"))


def write(name, experts, lines):
    with open(f"{work}/{name}.jsonl", "w", encoding="utf-8") as prompts, open(f"{work}/{name}.tsv", "w", encoding="utf-8") as table:
        table.write("#id\t" + "\t".join(experts) + "\n")
        for i, (prompt, task, scores) in enumerate(lines):
            prompts.write(json.dumps({"id": str(i), "prompt": prompt, "task": task}) + "\n")
            table.write(f"{i}\t" + "\t".join(f"{x:g}" for x in scores) + "\n")


write("mmlu", ["strong", "weak"], ((r["prompt"], r["subject"], (r["strong"], r["weak"])) for r in rows("routellm/mmlu.jsonl.gz") if not r["contaminated"]))
write("mtbench", ["strong", "weak"], ((r["turns"][0], r["category"], (sum(r["strong"]) / 20, sum(r["weak"]) / 20))
                                      for r in rows("routellm/mtbench.jsonl.gz") if not r["contaminated"]))
write("gsm8k", ["strong", "weak"], ((r["prompt"], "gsm8k", (r["gpt4"]["correct"], r["mixtral"]["correct"]))
                                    for r in rows("outcomes/routellm_gsm8k_texts.dev.jsonl.gz")))
models = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
write("gsm8k4", models, ((r["question"], "gsm8k", [r[m]["correct"] for m in models]) for r in rows("outcomes/gsm8k_4models.dev.jsonl.gz")))

# SPDX-License-Identifier: Apache-2.0
"""The texts that the static model learns from, without their labels: shipped sets only, and nothing that is measured on.

CLINC150's train split; MMLU-Pro's folds 0 to 2, with their options one by one; MMLU questions of RouteLLM that are in none of MMLU-Pro's
other folds (the fold is a hash of the question, so those that are not shipped are left out, too); MT-Bench and Arena-Hard prompts.
"""
import gzip
import hashlib
import json
import re

FOLDS = (0, 1, 2)


def rows(data, name):
    return [json.loads(line) for line in gzip.open(f'{data}/{name}.jsonl.gz', 'rt', encoding='utf-8')]


def plain(question):
    return re.sub(r'\W+', ' ', question.lower()).strip()


def fold(question):
    return int.from_bytes(hashlib.sha256(('mmlupro:' + plain(question)).encode()).digest()[:8], 'big') % 5


def sets(data):
    """{name: sorted texts}."""
    questions = [r for r in rows(data, 'mmlupro/questions.dev') if r['fold'] in FOLDS]
    known = {plain(r['question']) for r in questions}
    mmlu = [r['prompt'] for r in rows(data, 'routellm/mmlu')]
    mmlu = [(re.split(r'\nA\. ', p)[0], re.sub(r'\nAnswer:$', '', p)) for p in mmlu]
    mmlu = [(q, p) for q, p in mmlu if fold(q) in FOLDS]
    parts = {r['question'] for r in questions} | {q for q, _ in mmlu} | {o for r in questions for o in r['options'] if len(o) > 12}
    chats = [r['prompt'] for r in rows(data, 'arena_hard/v0.1')] + [t for r in rows(data, 'routellm/mtbench') for t in r['turns']]
    return {
        'clinc': sorted({r['text'] for r in rows(data, 'clinc150/full') if r['split'] == 'train'}),
        'mmlupro': sorted({'\n'.join([r['question']] + r['options']) for r in questions}),
        'mmlu': sorted({p for q, p in mmlu if plain(q) not in known}),
        'chats': sorted(set(chats)),
        'parts': sorted(parts),
    }

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the training file of the everyday model: one JSON object a line with source, apart, field, task, text; "-" is "not said".

usage: build.py DATA OUT.jsonl.gz

DATA is the folder of the data sets.  labels.tsv says what a source's label means and how many rows of it are taken (0: all), rows.tsv
the same row by row where a source has no labels to go by; seeds-*.txt are prompts written for this.  From the texts come templated
requests: to translate, to rewrite, to extract.  The same data give the same bytes.
"""
import csv
import gzip
import hashlib
import json
import os
import sys

import templates

HERE = os.path.dirname(os.path.abspath(__file__))
TIMES = {'seeds_en': 3, 'oasst_lottery': 3, 'self_instruct': 2}  # what people really ask counts more often: few sources have it
OURS = ('seeds_', 'made_', 'frames_')  # not a source: always trained on
FOLDS = (0, 1, 2)  # of MMLU-Pro; fold 3 is for tests


def rank(*what):
    return hashlib.sha256(':'.join(map(str, what)).encode()).digest()


def read(path):
    with gzip.open(path, 'rt', encoding='utf-8') as f:
        return [json.loads(line) for line in f]


def table(name):
    with open(f'{HERE}/{name}', encoding='utf-8', newline='') as f:
        return list(csv.DictReader(f, delimiter='\t', quoting=csv.QUOTE_NONE))


def begins(text):
    return ' '.join(text.split())[:40]


def labelled(data):
    """(source, label or None, text) of all rows of the sets."""
    for r in read(f'{data}/clinc150/full.jsonl.gz'):
        if r['split'] == 'train' and r['intent'] != 'oos':
            yield 'clinc150', [r['intent']], r['text']
    for r in read(f'{data}/mmlupro/questions.dev.jsonl.gz'):
        if r['fold'] in FOLDS:
            text = r['question'].strip()
            if rank('options', r['id'])[0] < 160:  # most as they are pasted, some as a question alone
                letters = 'ABCDEFGHIJ' if rank('letters', r['id'])[0] < 160 else ''
                text = '\n'.join([text] + [(f'{letters[i]}. ' if letters else '') + o.strip() for i, o in enumerate(r['options'])])
            yield 'mmlupro', [r['src'], r['category']], text
    for r in read(f'{data}/outcomes/llmrouter_prompts.dev.jsonl.gz'):
        yield 'llmrouter', [r['task']], r['prompt'].strip()
    for name in ('humaneval', 'gsm8k_train', 'nl2bash', 'meqsum', 'medquad_questions', 'ms_chitchat', 'chatterbot', 'truthfulqa', 'snips',
                 'multidogo', 'bfcl_tools', 'belle_eval_zh', 'writingbench', 'longbench_write', 'prompts_cc0', 'vllm_sr_domain_cases'):
        for r in read(f'{data}/everyday/{name}.jsonl.gz'):
            label = str(r['label']).replace('\xa0', ' ')
            labels = [label]
            if name == 'ms_chitchat':
                labels = ['*']
            elif name == 'multidogo':
                labels = [label, label.split('/')[0]]
            elif name == 'bfcl_tools':
                labels = [r['task']]
            elif name == 'prompts_cc0':
                labels = ['/'.join(x for x in (r['domain'], r['task']) if x)]
            yield name, labels, r['text'].strip()


def main(data, out):
    means = {(r['source'], r['label']): (r['field'], r['task'], int(r['cap'])) for r in table('labels.tsv')}
    groups, used = {}, set()
    for source, labels, text in labelled(data):
        label = next((x for x in labels if (source, x) in means), None)
        if label is None or not text or (source, text) in used:
            continue
        used.add((source, text))
        groups.setdefault((source, label), []).append(text)
    rows = []
    for key in sorted(groups):
        field, task, cap = means[key]
        texts = sorted(groups[key], key=lambda t: rank(*key, t))
        rows += [(key[0], field, task, t) for t in (texts[:cap] if cap else texts)]
    sets = {name: read(f'{data}/everyday/{name}.jsonl.gz') for name in ('self_instruct', 'oasst_lottery')}
    for r in table('rows.tsv'):
        text = sets[r['source']][int(r['row'])]['text'].strip()
        if begins(text) != r['begins']:
            sys.exit(f"rows.tsv: {r['source']} {r['row']} begins with '{begins(text)}', not '{r['begins']}': another version of the set?")
        rows.append((r['source'], r['field'], r['task'], text))
    for name in ('seeds-en', 'seeds-languages'):
        field = task = None
        with open(f'{HERE}/{name}.txt', encoding='utf-8') as f:
            for line in f:
                line = line.rstrip('\n')
                if line.startswith('[') and line.endswith(']'):
                    field, task, _ = line[1:-1].split()
                elif line and not line.startswith('#'):
                    rows.append((name.replace('-', '_'), field, task, line.replace('\\n', '\n')))
    rows += templates.frames(f'{HERE}/frames.txt', rank, 110, 30)
    rows += templates.make(rows, rank)
    rows += templates.grammar(f'{HERE}/grammar.txt', rank)
    rows = [r for r in rows for _ in range(TIMES.get(r[0], 1))]
    rows = [r for r in rows if r[1] != '-' or r[2] != '-']
    rows.sort(key=lambda r: rank(*r))
    with open(out, 'wb') as raw, gzip.GzipFile(fileobj=raw, mode='wb', mtime=0, filename='') as f:
        for source, field, task, text in rows:
            f.write((json.dumps({'source': source, 'apart': '' if source.startswith(OURS) else source, 'field': field, 'task': task, 'text': text}, ensure_ascii=False) + '\n').encode())
    return 0


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

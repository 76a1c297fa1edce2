# SPDX-License-Identifier: Apache-2.0
"""Processor time of one text, one thread: our encoder, and MiniLM by ONNX Runtime on the same texts, in turns within one run.

    encoder.py ENCODER_BENCH MODEL MINILM DATA
"""
import gzip
import json
import os
import statistics
import subprocess
import sys
import time

bench, model, minilm_folder, data = sys.argv[1:5]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'eval'))
from minilm import MiniLM  # noqa: E402

SIZES, TEXTS, ROUNDS = (30, 200, 2000), 12, 101
minilm = MiniLM(minilm_folder, 512)
minilm.tokenizer.no_truncation()
questions = [json.loads(line)['question'] for line in gzip.open(f'{data}/mmlupro/questions.dev.jsonl.gz', 'rt', encoding='utf-8')]


def text_of(size, at):
    """Questions one after the other, cut at a word where the tokens are so many."""
    words = []
    while len(words) < size:
        words += questions[at % len(questions)].split()
        at += 1
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if len(minilm.tokenizer.encode(' '.join(words[:middle]), add_special_tokens=False).ids) <= size:
            low = middle
        else:
            high = middle - 1
    return ' '.join(words[:low])


print(f'{"tokens":>7} {"encoder":>10} {"MiniLM":>12} {"ratio":>8}   medians over {TEXTS} texts, microseconds of processor time')
for size in SIZES:
    texts = [text_of(size, 17 * i + 1) for i in range(TEXTS)]
    lines = '\n'.join(map(json.dumps, texts)) + '\n'
    ours, theirs = [], []
    minilm.tokenizer.enable_truncation(512)
    for half in range(2):  # ours, theirs, ours, theirs
        run = subprocess.run([bench, model, str(ROUNDS)], input=lines, capture_output=True, text=True, check=True)
        ours.append([line.split() for line in run.stdout.split('\n')[:-1]])
        for text in texts:
            took = []
            for _ in range(3):
                began = time.thread_time()
                minilm.encode([text])
                took.append((time.thread_time() - began) * 1e6)
            theirs.append(statistics.median(took))
    minilm.tokenizer.no_truncation()
    tokens = statistics.median(int(line[0]) for line in ours[0])
    us, them = statistics.median(float(line[1]) for half in ours for line in half), statistics.median(theirs)
    print(f'{tokens:7.0f} {us:10.2f} {them:12.1f} {them / us:7.0f}x' + ('   (MiniLM reads the first 512)' if size > 512 else ''))

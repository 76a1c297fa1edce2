# SPDX-License-Identifier: Apache-2.0
"""distill_teacher.py MINILM DATA WORK: MiniLM's vectors of the vocabulary and of the texts that distill.py learns from, as WORK/*.npy.

Half an hour on one core.  One thread and fixed batches, so the same numbers each time on one kind of processor.
"""
import os
import sys

import numpy as np

import distill_texts
from minilm import DIM, MiniLM

CLS, SEP, AT_ONCE = 101, 102, 512


def main():
    folder, data, work = sys.argv[1:4]
    minilm = MiniLM(folder)
    tokens = minilm.tokenizer.get_vocab_size()
    if not os.path.exists(f'{work}/vocabulary.npy'):
        vectors = np.zeros((tokens, DIM), np.float32)
        for i in range(0, tokens, AT_ONCE):
            vectors[i:i + AT_ONCE] = minilm.run([[CLS, t, SEP] for t in range(i, min(i + AT_ONCE, tokens))])
        np.save(f'{work}/vocabulary.npy', vectors)
    for name, texts in distill_texts.sets(data).items():
        if not os.path.exists(f'{work}/{name}.npy'):
            np.save(f'{work}/{name}.npy', minilm.encode(texts))
        print(f'{name}: {len(texts)} texts', flush=True)


if __name__ == '__main__':
    main()

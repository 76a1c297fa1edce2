#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fastrp.py TRAIN EDGES [--one-kind]: pointsman-train's FastRP against NumPy's float64, with the same random matrix.

EDGES is a tab-separated file with titles, gzip'd or plain; with a split column its train edges count.  Prints the largest difference
over all numbers, and fails above 1e-4.  Needs NumPy and SciPy.
"""
import gzip
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import scipy.sparse as sp

DIM, POWERS, BETA, SPARSITY, SEED = 256, (1, .5, 0, 2), -.6, 3, 11


def mix(x):
    x = x + np.uint64(0x9e3779b97f4a7c15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
    return x ^ x >> np.uint64(31)


def random_matrix(n):
    with np.errstate(over='ignore'):
        rows = mix(mix(np.array([SEED], np.uint64)) ^ np.arange(n, dtype=np.uint64))
        bits = mix(rows[:, None] ^ np.arange(DIM, dtype=np.uint64)[None, :])
    u = (bits >> np.uint64(11)).astype(np.float64) * 2.0 ** -53 * SPARSITY
    return np.where(u >= 1, 0, np.where(u < .5, 1, -1)) * np.sqrt(SPARSITY / DIM)


def read_edges(path, one_kind):
    users, items, pairs = {}, {}, set()
    if one_kind:
        items = users
    opener = gzip.open if path.endswith('.gz') else open
    with opener(path, 'rt', encoding='utf-8') as f:
        titles = f.readline().lstrip('#').rstrip('\n').split('\t')
        split = titles.index('split') if 'split' in titles else None
        for line in f:
            row = line.rstrip('\n').split('\t')
            u, i = users.setdefault(row[0], len(users)), items.setdefault(row[1], len(items))
            if (split is None or row[split] == 'train') and not (one_kind and u == i):
                pairs.add((u, i))
    u, i = np.array(sorted(pairs)).T
    return sp.csr_matrix((np.ones(len(u)), (u, i)), shape=(len(users), len(items)))


def reference(m, one_kind):
    s = ((m + m.T) > 0).astype(float) if one_kind else sp.bmat([[None, m], [m.T, None]])
    s = s.tocsr()
    degree = np.asarray(s.sum(1)).ravel()
    inverse = np.divide(1, degree, out=np.zeros_like(degree), where=degree > 0)
    weight = np.where(degree > 0, np.maximum(degree, 1) ** BETA, 0)
    x, v = random_matrix(s.shape[0]) * weight[:, None], 0
    for power in POWERS:
        x = inverse[:, None] * (s @ x)
        length = np.linalg.norm(x, axis=1, keepdims=True)
        v = v + power * np.divide(x, length, out=np.zeros_like(x), where=length > 0)
    return v


def tensors(path):
    with open(path, 'rb') as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), 'little')))
        data = f.read()
    return {k: np.frombuffer(data[v['data_offsets'][0]:v['data_offsets'][1]], np.float32).reshape(v['shape'])
            for k, v in header.items() if k.endswith('.vector')}


def main():
    train, edges, one_kind = sys.argv[1], sys.argv[2], '--one-kind' in sys.argv
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, 'v.safetensors')
        subprocess.run([train, 'embed', '--edges', edges, '--out', out, '--dim', str(DIM), '--powers', ','.join(map(str, POWERS)),
                        f'--beta={BETA}', '--sparsity', str(SPARSITY), '--seed', str(SEED)] + (['--one-kind'] if one_kind else []),
                       check=True)
        got = tensors(out)
    m = read_edges(edges, one_kind)
    want = reference(m, one_kind)
    worst = np.abs(got['user.vector'] - want[:m.shape[0]]).max()
    if not one_kind:
        worst = max(worst, np.abs(got['item.vector'] - want[m.shape[0]:]).max())
    print(f'largest difference {worst:.2e} over {want.size} numbers')
    return int(worst > 1e-4)


if __name__ == '__main__':
    sys.exit(main())

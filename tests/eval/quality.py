# SPDX-License-Identifier: Apache-2.0
"""How good are the features?  The same classifiers on n-grams, static vectors, both, and MiniLM's own vectors.

    quality.py ENCODE TRAIN MODEL PLAIN MINILM DATA WORK

CLINC150: 150 intents, in-scope part of train, measured on the in-scope part of test.  MMLU-Pro: 14 categories from question and options,
folds 0 to 2, measured on fold 3.  Nothing that is measured on was seen in distillation, nor in choosing: costs, the vector's weight and k were
chosen on CLINC150's val split and on fold 2.  MODEL is what ships, PLAIN the plain distillation (distill.py --plain).  The last line is a
model of pointsman-train (TRAIN) with its presets, rounded to eight bits as it is served.
Distillation has seen the texts of fold 2 without their labels, so what was chosen there (the vector's weight) may flatter the vector; the
figures of fold 3 and of CLINC150's test split do not.
"""
import gzip
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import scipy.sparse as sp
from sklearn.svm import LinearSVC

encode, train_program, model, plain, minilm_folder, data, work = sys.argv[1:8]
BITS, WEIGHT = 17, .4


def rows(name):
    return [json.loads(line) for line in gzip.open(f'{data}/{name}.jsonl.gz', 'rt', encoding='utf-8')]


def ours(what, with_, texts):
    return subprocess.run([encode, what, with_], input='\n'.join(map(json.dumps, texts)).encode() + b'\n', capture_output=True, check=True).stdout


def vectors(folder, texts):
    return np.frombuffer(ours('vectors', folder, texts), dtype='<f4').reshape(len(texts), -1)


def features(texts, train):
    """TF-IDF of the hashed n-grams, of length one, as the trainer weighs them."""
    ids = [np.array(line.split(), dtype=np.int32) for line in ours('features', str(BITS), texts).decode().split('\n')[:-1]]
    counts = [len(i) for i in ids]
    x = sp.csr_matrix((np.ones(sum(counts), np.float32), np.concatenate(ids), np.concatenate([[0], np.cumsum(counts)])),
                      shape=(len(ids), 1 << BITS))
    x = x @ sp.diags((np.log((1 + train.sum()) / (1 + np.asarray(x[train].sum(0)).ravel())) + 1).astype(np.float32))
    return (sp.diags(1 / np.sqrt(np.asarray(x.multiply(x).sum(1)).ravel())) @ x).tocsr().astype(np.float32)


def of_minilm(name, texts):
    path = f'{work}/minilm-{name}.npy'
    if not os.path.exists(path):
        from minilm import MiniLM
        np.save(path, MiniLM(minilm_folder).encode(texts))
    return np.load(path)


def linear(x, labels, train, test, cost):
    return (LinearSVC(C=cost, tol=.1, max_iter=200).fit(x[train], labels[train]).predict(x[test]) == labels[test]).mean()


def trained(texts, labels, train, test):
    """The same rows through the trainer and a file."""
    with tempfile.TemporaryDirectory() as folder:
        for name, use in (('train', train), ('test', test)):
            with open(f'{folder}/{name}.jsonl', 'w', encoding='utf-8') as f:
                f.writelines(json.dumps({'text': texts[i], 'label': labels[i]}) + '\n' for i in np.flatnonzero(use))
        what = ['--text', 'text', '--label', 'label', '--encoder', model, '--json', '--in']
        subprocess.run([train_program, 'category', *what, f'{folder}/train.jsonl', '--out', f'{folder}/m'], capture_output=True, check=True)
        return json.loads(subprocess.run([train_program, 'eval', 'category', '--model', f'{folder}/m', *what, f'{folder}/test.jsonl'],
                                         capture_output=True, check=True).stdout)['accuracy']


def nearest(similar, labels, train, test, k):
    best, known, right = np.argpartition(-similar, k, axis=1)[:, :k], labels[train], 0
    for i, truth in enumerate(labels[test]):
        votes = {}
        for j in best[i]:
            votes[known[j]] = votes.get(known[j], 0) + similar[i, j]
        right += max(sorted(votes), key=votes.get) == truth
    return right / test.sum()


def table(name, texts, labels, train, test, k):
    grams, static = features(texts, train), vectors(model, texts)
    dense = {'static, plain distillation': vectors(plain, texts), 'static': static, 'MiniLM': of_minilm(name, texts)}
    of_grams = np.asarray((grams[test] @ grams[train].T).todense())
    both = sp.hstack([grams, sp.csr_matrix(WEIGHT * static)]).tocsr()
    of_both = (of_grams + WEIGHT ** 2 * static[test] @ static[train].T) / (1 + WEIGHT ** 2)
    print(f'{name}: {train.sum()} texts to learn from, {test.sum()} to measure on\n  {"":28} linear   {k} nearest', flush=True)
    print(f'  {"n-grams":28} {linear(grams, labels, train, test, 3):.4f}   {nearest(of_grams, labels, train, test, k):.4f}', flush=True)
    for what, x in dense.items():
        print(f'  {what:28} {linear(x, labels, train, test, 1):.4f}   {nearest(x[test] @ x[train].T, labels, train, test, k):.4f}', flush=True)
    print(f'  {"n-grams and static":28} {linear(both, labels, train, test, 3):.4f}   {nearest(of_both, labels, train, test, k):.4f}', flush=True)
    print(f'  {"the trainer, of both":28} {trained(texts, labels, train, test):.4f}', flush=True)


def main():
    m = rows('mmlupro/questions.dev')
    fold = np.array([r['fold'] for r in m])
    table('mmlupro', ['\n'.join([r['question']] + r['options']) for r in m], np.array([r['category'] for r in m]), fold < 3, fold == 3, 20)
    c = [r for r in rows('clinc150/full') if r['intent'] != 'oos' and r['split'] in ('train', 'test')]
    split = np.array([r['split'] for r in c])
    table('clinc150', [r['text'] for r in c], np.array([r['intent'] for r in c]), split == 'train', split == 'test', 10)


if __name__ == '__main__':
    main()

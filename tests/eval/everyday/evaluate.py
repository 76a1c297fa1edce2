# SPDX-License-Identifier: Apache-2.0
"""How good are the everyday models, beside a TF-IDF linear SVM and the nearest prototype of a label?  tests/eval/everyday.sh runs this.

    evaluate.py TRAIN_PROGRAM ENCODE MODELS STATIC MINILM DATA ROOT TRAINING.jsonl.gz [--quick]

MODELS has chat-field and chat-task.  The SVM reads the same n-grams (words 1-2, characters 2-5, TF-IDF) and no vectors; a prototype is the
mean vector of a label's prompts in a source, and a label is as near as its nearest prototype.  --quick leaves out MiniLM and the sources.
"""
import collections
import csv
import gzip
import json
import subprocess
import sys

import numpy as np
import scipy.sparse as sp
from sklearn.metrics import f1_score
from sklearn.svm import LinearSVC

program, encode, models, static, minilm, data, root, training = sys.argv[1:9]
quick = '--quick' in sys.argv
BITS, LONGEST, PARTS, OF_A_KIND = 16, 4096, 5, 25  # so many prompts of a source, field and task are read by MiniLM, which takes long


def lines(path):
    with (gzip.open if path.endswith('.gz') else open)(path, 'rt', encoding='utf-8') as f:
        return [json.loads(line) for line in f]


def table(path):
    with open(path, encoding='utf-8', newline='') as f:
        return list(csv.DictReader(f, delimiter='\t', quoting=csv.QUOTE_NONE))


def clipped(text):
    b = text.encode()
    return text if len(b) <= LONGEST else (b[:LONGEST // 2] + b' ' + b[-LONGEST // 2:]).decode('utf-8', 'ignore')


def encoded(texts, what, argument):
    lines_in = ('\n'.join(json.dumps(clipped(t)) for t in texts) + '\n').encode()
    return subprocess.run([encode, what, argument], input=lines_in, capture_output=True, check=True).stdout


def features(texts):
    rows = encoded(texts, 'features', str(BITS)).decode().split('\n')[:len(texts)]
    index = [np.array(r.split(), dtype=np.int32) for r in rows]
    begin = np.concatenate([[0], np.cumsum([len(i) for i in index])])
    return sp.csr_matrix((np.ones(begin[-1], np.float32), np.concatenate(index), begin), shape=(len(texts), 1 << BITS))


def vectors(texts):
    return np.frombuffer(encoded(texts, 'vectors', static), '<f4').reshape(len(texts), -1)


class Svm:
    def __init__(self, x, y):
        self.idf = np.log((1 + x.shape[0]) / (1 + np.asarray(x.sum(0)).ravel())) + 1
        self.svm = LinearSVC(C=1, tol=.1).fit(self.weighed(x), y)

    def weighed(self, x):
        a = x @ sp.diags(self.idf)
        return sp.diags(1 / np.maximum(np.sqrt(np.asarray(a.multiply(a).sum(1)).ravel()), 1e-9)) @ a

    def predict(self, x):
        return self.svm.predict(self.weighed(x))


class Prototypes:
    def __init__(self, v, y, source):
        groups = sorted(set(zip(y, source)))
        self.labels = np.array([g[0] for g in groups])
        self.centre = np.array([v[(y == l) & (source == s)].mean(0) for l, s in groups])
        self.centre /= np.maximum(np.linalg.norm(self.centre, axis=1, keepdims=True), 1e-9)

    def predict(self, v):
        return self.labels[(v @ self.centre.T).argmax(1)]


def ours(head, rows):
    text = '\n'.join(json.dumps({'id': i, 'text': r['text']}) for i, r in enumerate(rows)).encode()
    out = subprocess.run([program, 'predict', 'category', '--model', f'{models}/chat-{head}.safetensors', '--encoder', static, '--tsv'], input=text,
                         capture_output=True, check=True).stdout.decode().strip().split('\n')[1:]
    said = [line.split('\t') for line in out]
    return np.array([s[1] for s in said]), np.array([float(s[2]) for s in said]), np.array([s[3] == 'true' for s in said])


def one_label(label):  # the hand labels tell writing code from mending it
    return 'code' if label == 'debug' else label


def truths(row, head):
    """What may be said of a row; where the two passes disagree, either."""
    return {one_label(row[k]) for k in (head, f'{head} again') if k in row} - {'-'}


def figures(name, rows, head, said, sure=None):
    judged = [i for i, r in enumerate(rows) if truths(r, head)]
    right = np.array([said[i] in truths(rows[i], head) for i in judged])
    first = [said[i] if said[i] in truths(rows[i], head) else one_label(rows[i][head]) for i in judged]
    macro = f1_score(first, [said[i] for i in judged], average='macro', zero_division=0, labels=sorted(set(first)))
    text = f'{name:34} {head:6} {len(judged):5d}  accuracy {right.mean():.3f}  macro-F1 {macro:.3f}'
    if sure is not None:
        kept = sure[judged]
        text += f'  unsure {1 - kept.mean():.3f}  right if sure {right[kept].mean():.3f}  sure and wrong {(kept & ~right).mean():.3f}'
    print(text, flush=True)


def parts_of(rows):
    """The parts that pointsman-train --apart makes."""
    count = collections.Counter(r['apart'] for r in rows if r['apart'])
    part, size = {'': PARTS}, [0] * PARTS
    for name in sorted(count, key=lambda s: (-count[s], s)):
        part[name] = size.index(min(size))
        size[part[name]] += count[name]
    return np.array([part[r['apart']] for r in rows])


def by_source(name, head, rows, part, y, make):
    said = np.full(len(rows), '', dtype=object)
    for p in range(PARTS):
        use, held = part != p, part == p
        m = make(use)
        said[held] = m(held)
    known = np.array([part[i] < PARTS and bool(((y == y[i]) & (part != part[i])).any()) for i in range(len(rows))])
    print(f'{name:34} {head:6} {known.sum():5d}  accuracy {(said[known] == y[known]).mean():.3f}  '
          f'macro-F1 {f1_score(list(y[known]), list(said[known]), average="macro", zero_division=0):.3f}', flush=True)


def main():
    rows = lines(training)
    prompts = {str(r['id']): r['prompt'] for r in lines(f'{data}/arena_hard/v0.1.jsonl.gz')}
    prompts |= {str(r['id']): r['turns'][0] for r in lines(f'{data}/routellm/mtbench.jsonl.gz')}
    hand = [dict(r, text=prompts[r['id']]) for r in table(f'{root}/tests/data/hand-labels.tsv')]
    spoken = table(f'{root}/tests/data/everyday-languages.tsv')
    sets = {'arena_hard (500)': [r for r in hand if r['set'] == 'arena_hard'], 'mtbench (80)': [r for r in hand if r['set'] == 'mtbench'],
            'both, passes agree': [r for r in hand if r['field'] == r['field again'] and r['task'] == r['task again']],
            '13 languages x 15': spoken}
    for head in ('field', 'task'):
        for name, of in sets.items():
            said, _, sure = ours(head, of)
            figures(f'{name}, as it ships', of, head, said, sure)
        said, _, sure = ours(head, spoken)
        by = collections.defaultdict(list)
        for r, s in zip(spoken, said):
            by[r['language']].append(s in truths(r, head))
        print(f'{head} by language: ' + '  '.join(f'{k} {np.mean(v):.2f}' for k, v in by.items()) + f'  (unsure {1 - sure.mean():.2f})\n', flush=True)
    taken = {head: [r for r in rows if r[head] != '-'] for head in ('field', 'task')}
    for head in ('field', 'task'):
        some = taken[head]
        texts, y, source = [r['text'] for r in some], np.array([r[head] for r in some]), np.array([r['source'] for r in some])
        x, v, part = features(texts), vectors(texts), parts_of(some)
        svm, near = Svm(x, y), Prototypes(v, y, source)
        for name, of in sets.items():
            figures(f'{name}, TF-IDF SVM', of, head, svm.predict(features([r['text'] for r in of])))
            figures(f'{name}, prototypes of static', of, head, near.predict(vectors([r['text'] for r in of])))
        if quick:
            continue

        def svm_of(use):
            m = Svm(x[use], y[use])
            return lambda held: m.predict(x[held])

        def prototypes_of(use):
            m = Prototypes(v[use], y[use], source[use])
            return lambda held: m.predict(v[held])

        by_source('sources not seen, TF-IDF SVM', head, some, part, y, svm_of)
        by_source('sources not seen, prototypes of static', head, some, part, y, prototypes_of)
    if quick:
        return 0
    sys.path.insert(0, f'{root}/tests/eval')
    from minilm import MiniLM
    model = MiniLM(minilm)
    count, seen, some = collections.Counter(), set(), []
    for r in rows:
        if len(r['text']) <= 700 and r['text'] not in seen:
            seen.add(r['text'])
            count[r['source'], r['field'], r['task']] += 1
            if count[r['source'], r['field'], r['task']] <= OF_A_KIND:
                some.append(r)
    w, source = model.encode([r['text'] for r in some]), np.array([r['source'] for r in some])
    of_set = {name: model.encode([r['text'][:1200] for r in of]) for name, of in sets.items() if name != 'both, passes agree'}
    for head in ('field', 'task'):
        y = np.array([r[head] for r in some])
        near = Prototypes(w[y != '-'], y[y != '-'], source[y != '-'])
        for name, u in of_set.items():
            figures(f'{name}, prototypes of MiniLM', sets[name], head, near.predict(u))
    return 0


sys.exit(main())

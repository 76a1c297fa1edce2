# SPDX-License-Identifier: Apache-2.0
"""distill.py MINILM DATA WORK OUT [--plain]: the static model that ships, from MiniLM's vectors in WORK (distill_teacher.py).

1. Each token of the vocabulary is a text of its own: MiniLM's vector of it, centred, in principal components, of which the weak ones
   are lifted (divided by the square root of their standard deviation), times a weight that falls with how common the token is
   (a / (a + p), p from its rank in the vocabulary, as Zipf has it).  That is plain distillation (--plain stops here).
2. The tokens' vectors are moved until a linear map of their mean points where MiniLM's vector of the whole text points, for texts of
   the shipped sets; the tokens themselves are texts among them, so that those in no text stay where they belong.  The map is thrown
   away: without it the vectors would have to forget whatever MiniLM forgets.  Adam, on the rows that a batch touches.
3. Eight bits, one scale for all.

Everything follows from the seed: the same vectors give the same bytes.
"""
import argparse
import json
import os

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import save_file
from tokenizers import Tokenizer

import distill_texts

DIM, SIF, LIFT = 256, 1e-4, .5
ROUNDS, BATCH, RATE, MAP_RATE, SEED = 8, 512, 5e-4, 1e-3, 0
LONGEST = 254  # tokens that MiniLM reads
BITS_AT = 6.   # the largest number of eight bits lies at so many standard deviations


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def means(tokenizer, texts, unknown, tokens):
    """[texts, tokens]: a row times the table is the mean of a text's vectors."""
    ids = [[i for i in e.ids if i != unknown] for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    counts = np.array([len(i) for i in ids])
    values = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
    matrix = sp.csr_matrix((values, np.concatenate([np.array(i, np.int32) for i in ids]), np.concatenate([[0], np.cumsum(counts)])),
                           shape=(len(texts), tokens))
    matrix.sum_duplicates()
    return matrix


def plain(vectors):
    centred = vectors - vectors.mean(0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    share = 1 / np.arange(2, len(vectors) + 2)
    weight = SIF / (SIF + share / share.sum())
    table = (centred @ axes[:DIM].T / spread[:DIM] ** LIFT * weight[:, None]).astype(np.float32)
    return table / np.linalg.norm(table, axis=1).mean()


class Adam:
    def __init__(self, like):
        self.first, self.second, self.step = np.zeros_like(like), np.zeros_like(like), 0

    def moved(self, gradient, rows, rate):
        self.first[rows] = .9 * self.first[rows] + .1 * gradient
        self.second[rows] = .999 * self.second[rows] + .001 * gradient * gradient
        return rate * (self.first[rows] / (1 - .9 ** self.step)) / (np.sqrt(self.second[rows] / (1 - .999 ** self.step)) + 1e-8)


def improved(table, matrix, wanted, say=print):
    rng = np.random.default_rng(SEED)
    mean = unit(matrix @ table)
    chart = np.linalg.solve(mean.T @ mean + np.eye(DIM, dtype=np.float32), mean.T @ wanted).astype(np.float32)
    chart *= 16 / np.linalg.norm(chart)
    of_table, of_chart = Adam(table), Adam(chart)
    steps = ROUNDS * -(-len(wanted) // BATCH)
    for round_ in range(ROUNDS):
        order, loss = rng.permutation(len(wanted)), 0
        for at in range(0, len(order), BATCH):
            some = order[at:at + BATCH]
            rows = np.unique(matrix[some].indices)
            part = matrix[some][:, rows]
            mean = part @ table[rows]
            seen = mean @ chart
            length = np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-9)
            cosine = (seen / length * wanted[some]).sum(1, keepdims=True)
            loss += float((1 - cosine).sum())
            gradient = -(wanted[some] - cosine * seen / length) / length
            of_table.step += 1
            of_chart.step += 1
            left = 1 - of_table.step / steps
            new_rows = of_table.moved(part.T @ (gradient @ chart.T), rows, RATE * left)
            chart = chart - of_chart.moved(mean.T @ gradient, slice(None), MAP_RATE * left)
            table[rows] -= new_rows
        say(f'round {round_ + 1}: 1 - cosine {loss / len(wanted):.4f}', flush=True)
    return table


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--plain', action='store_true')
    for name in ('minilm', 'data', 'work', 'out'):
        p.add_argument(name)
    a = p.parse_args()

    with open(f'{a.minilm}/tokenizer.json', encoding='utf-8') as f:
        j = json.load(f)
    vocab = j['model']['vocab']
    kept = [t for t in sorted(vocab, key=vocab.get) if t == '[UNK]' or not (t.startswith('[') and t.endswith(']') and len(t) > 2)]
    vectors = np.load(f'{a.work}/vocabulary.npy')[[vocab[t] for t in kept]]
    j['model']['vocab'] = {t: i for i, t in enumerate(kept)}
    unknown = j['model']['vocab']['[UNK]']
    j.update(truncation=None, padding=None, post_processor=None, added_tokens=[t for t in j['added_tokens'] if t['content'] == '[UNK]'])
    j['added_tokens'][0]['id'] = unknown
    tokenizer = Tokenizer.from_str(json.dumps(j))
    tokenizer.enable_truncation(LONGEST)

    table = plain(vectors)
    if not a.plain:
        alone = [i for i in range(len(kept)) if i != unknown]
        matrices = [sp.csr_matrix((np.ones(len(alone), np.float32), alone, np.arange(len(alone) + 1)), shape=(len(alone), len(kept)))]
        wanted = [vectors[alone]]
        for name, texts in distill_texts.sets(a.data).items():
            matrices.append(means(tokenizer, texts, unknown, len(kept)))
            wanted.append(np.load(f'{a.work}/{name}.npy'))
        table = improved(table, sp.vstack(matrices).tocsr(), np.vstack(wanted))
    scale = 127 / (BITS_AT * table.std())
    whole = np.clip(np.rint(table * scale), -127, 127).astype(np.int8)
    print(f'{(np.abs(table * scale) > 127).mean():.6f} of the numbers are cut by eight bits')

    os.makedirs(a.out, exist_ok=True)
    save_file({'embeddings': whole}, f'{a.out}/model.safetensors')
    os.chmod(f'{a.out}/model.safetensors', 0o644)
    tokenizer.no_truncation()
    tokenizer.save(f'{a.out}/tokenizer.json', pretty=False)
    with open(f'{a.out}/config.json', 'w', encoding='utf-8') as f:
        json.dump({'model_type': 'model2vec', 'architectures': ['StaticModel'], 'tokenizer_name': 'sentence-transformers/all-MiniLM-L6-v2',
                   'apply_pca': DIM, 'sif_coefficient': SIF, 'hidden_dim': DIM, 'normalize': True, 'max_length': None,
                   'embedding_dtype': 'int8', 'base_model': 'sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)'}, f, indent=1)
        f.write('\n')
    print(sum(os.path.getsize(f'{a.out}/{n}') for n in ('model.safetensors', 'tokenizer.json', 'config.json')), 'bytes')


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Are our vectors those of the package `model2vec`?  tests/eval/encoder.sh runs this.

    vectors.py ENCODE TOKENIZER.json DATA WORK [MODEL...]

Models of every layout with random numbers are made on a BERT tokenizer (MiniLM's), MODELs are folders beside them.  The package
answers in the model's own type; so halves are compared with the package on the same numbers as float32.
"""
import gzip
import json
import subprocess
import sys

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer

encode, tokenizer_file, data, work = sys.argv[1:5]
models = sys.argv[5:]
LIMIT = 1e-5


def texts():
    out = ['', ' ', 'a', '\u4e2d\u6587 caf\u00e9 na\u00efve', '\U0001f600', 'word ' * 3000]
    for name, key in (('clinc150/full', 'text'), ('mmlupro/questions.dev', 'question'), ('routellm/mmlu', 'prompt'), ('arena_hard/v0.1', 'prompt')):
        out += [json.loads(line)[key] for line in gzip.open(f'{data}/{name}.jsonl.gz', 'rt', encoding='utf-8')][:2000]
    return out


def compare(name, folder, wanted, lines):
    run = subprocess.run([encode, 'vectors', folder], input=lines, capture_output=True, check=False)
    if run.returncode:
        print(f'{name:28} REFUSED: {run.stderr.decode().strip()}')
        return 1
    ours = np.frombuffer(run.stdout, dtype='<f4').reshape(wanted.shape)
    off = np.abs(ours - wanted).max()
    print(f'{name:28} {len(wanted):6d} texts  dim {wanted.shape[1]:4d}  largest difference {off:.2e}', flush=True)
    return int(not off <= LIMIT)


def main():
    rng = np.random.default_rng(3)
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokens, lines_of = tokenizer.get_vocab_size(), texts()
    lines = ('\n'.join(map(json.dumps, lines_of)) + '\n').encode()
    table = rng.standard_normal((tokens, 96)).astype(np.float32) * .3
    weights, mapping = rng.random(tokens).astype(np.float32), rng.integers(0, 5000, tokens)
    wrong = 0
    for name, numbers, kind, more in (
            ('float32', table, np.float32, {}), ('float16', table, np.float16, {}), ('int8', table * 100, np.int8, {}),
            ('float64', table, np.float64, {}), ('float32, weights', table, np.float32, {'weights': weights}),
            ('float16, weights as halves', table, np.float16, {'weights': weights.astype(np.float16)}),
            ('int8, weights as doubles', table * 100, np.int8, {'weights': weights.astype(np.float64)}),
            ('int8, mapping and weights', table[:5000] * 100, np.int8, {'weights': weights, 'token_mapping': mapping}),
            ('float32, mapping', table[:5000], np.float32, {'token_mapping': mapping})):
        for normalize, most in ((True, None), (False, 512), (True, 20)):
            stored = np.clip(numbers, -127, 127).astype(kind)
            model = StaticModel(stored, tokenizer, config={}, normalize=normalize, max_length=most, **more)
            folder = f'{work}/model'
            model.save_pretrained(folder)
            judge = StaticModel(stored.astype(np.float32) if kind in (np.float16, np.float64) else stored, tokenizer, config={},
                                normalize=normalize, max_length=most, **{k: v.astype(np.float32) if k == 'weights' else v for k, v in more.items()})
            scale = 1 if normalize else max(1, np.abs(judge.encode(lines_of)).max())
            wanted = judge.encode(lines_of, use_multiprocessing=False)
            if not normalize: # to a part in 1e5 of the largest number
                run = subprocess.run([encode, 'vectors', folder], input=lines, capture_output=True, check=True)
                off = np.abs(np.frombuffer(run.stdout, dtype='<f4').reshape(wanted.shape) - wanted).max() / scale
                print(f'{name + ", as it is":28} {len(wanted):6d} texts  dim {wanted.shape[1]:4d}  largest difference {off:.2e} (relative)')
                wrong += int(not off <= LIMIT)
            else:
                wrong += compare(name + (f', {most} tokens' if most else ''), folder, wanted, lines)
    for folder in models:
        wrong += compare(folder.rstrip('/').rsplit('/', 1)[-1], folder, StaticModel.from_pretrained(folder).encode(lines_of), lines)
    return wrong > 0


if __name__ == '__main__':
    sys.exit(main())

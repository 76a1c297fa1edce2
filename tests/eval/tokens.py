# SPDX-License-Identifier: Apache-2.0
"""Are our token ids those of the package `tokenizers`?  tests/eval/tokens.sh runs this.

    tokens.py ENCODE TOKENIZER.json DATA WORK

ENCODE is build/tests/eval/encode; TOKENIZER.json a BERT one (MiniLM's); the others are trained here.  Every text of the shipped sets,
and 20,000 of random Unicode.  Prints texts and differences for each tokenizer; exit status 1 if there is one.
"""
import base64
import glob
import gzip
import json
import random
import subprocess
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

encode, bert_file, data, work = sys.argv[1:5]
RANDOM = 20000


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)


def shipped():
    out = set()
    for name in ('clinc150/full', 'mmlupro/questions.dev', 'routellm/mmlu', 'routellm/mtbench', 'arena_hard/v0.1'):
        for line in gzip.open(f'{data}/{name}.jsonl.gz', 'rt', encoding='utf-8'):
            row = json.loads(line)
            out.update(s for key in ('text', 'question', 'prompt', 'turns') for s in strings(row.get(key, [])))
            if 'options' in row:
                out.add('\n'.join([row['question']] + row['options']))
    return sorted(out)


def random_texts():
    r = random.Random(5)
    anywhere = [c for c in range(1, 0x110000) if not 0xd800 <= c <= 0xdfff]
    marks = list(range(0x300, 0x370)) + list(range(0x591, 0x5c8)) + list(range(0x1ab0, 0x1ae0)) + [0x94d, 0x302e, 0x302f, 0x1d165, 0x16ff0]
    scripts = [range(0x20, 0x7f), range(0xa0, 0x250), range(0x370, 0x530), range(0x590, 0x700), range(0x900, 0xe00),
               range(0xe00, 0x1100), range(0x1e00, 0x2100), range(0x2000, 0x2070), range(0x3000, 0x3100), range(0x4e00, 0x9fff),
               range(0xac00, 0xd7a4), range(0xf900, 0xfb00), range(0xfe00, 0x10000), range(0x1f300, 0x1f700), range(0, 0x20)]
    for _ in range(RANDOM):
        script, out = r.choice(scripts), []
        for _ in range(r.choice((1, 3, 10, 40, 120))):
            kind = r.random()
            if kind < .5:
                out.append(chr(r.choice(script)))
            elif kind < .6:
                out.append(chr(r.choice(anywhere)))
            elif kind < .7:
                out.append(chr(r.choice(marks)))
            elif kind < .75:
                out.append(r.choice(['[CLS]', '<unk>', '</s>', 'New York', ' new york', '\u2581', "it's", "we'll", '  ', '\t\n', '123', '<0x41>']))
            else:
                out.append(chr(r.choice(range(0x20, 0x7f))))
        yield ''.join(out).replace('\0', '')


def compare(name, tokenizer, texts):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    path = f'{work}/{name}.json'
    tokenizer.save(path)
    run = subprocess.run([encode, 'ids', path], input='\n'.join(map(json.dumps, texts)) + '\n', capture_output=True, text=True, check=False)
    if run.returncode:
        print(f'{name:32} REFUSED: {run.stderr.strip()}')
        return 1
    ours = [list(map(int, line.split())) for line in run.stdout.split('\n')[:-1]]
    theirs = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    wrong = [i for i in range(len(texts)) if ours[i] != theirs[i]]
    print(f'{name:32} {len(texts):6d} texts  {sum(map(len, theirs)):9d} ids  {len(wrong):5d} differences', flush=True)
    for i in wrong[:3]:
        k = next((k for k, (a, b) in enumerate(zip(ours[i], theirs[i])) if a != b), min(len(ours[i]), len(theirs[i])))
        print(f'    {texts[i][:80]!r}: id {k} ours {ours[i][k:k + 6]} theirs {theirs[i][k:k + 6]} '
              f'{[tokenizer.id_to_token(t) for t in theirs[i][k:k + 4]]}')
    return len(wrong)


def bert(**on):
    t = Tokenizer.from_file(bert_file)
    if on:
        t.normalizer = normalizers.BertNormalizer(**on)
    return t


def trained(model, trainer, normalizer, splitter, some):
    t = Tokenizer(model)
    if normalizer:
        t.normalizer = normalizer
    if splitter:
        t.pre_tokenizer = splitter
    t.train_from_iterator(some, trainer)
    return t


def charsmap(name):
    """The table of rewritten characters of a SentencePiece model trained with that rule."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb
    with open(f'{work}/spm.txt', 'w', encoding='utf-8') as f:
        f.write('\n'.join(f'a small text number {i}' for i in range(200)))
    sentencepiece.SentencePieceTrainer.train(input=f'{work}/spm.txt', model_prefix=f'{work}/spm', vocab_size=40, hard_vocab_limit=False,
                                             normalization_rule_name=name, minloglevel=2)
    m = pb.ModelProto()
    with open(f'{work}/spm.model', 'rb') as f:
        m.ParseFromString(f.read())
    return normalizers.Precompiled(m.normalizer_spec.precompiled_charsmap)


def main():
    texts = shipped()
    some = texts[::7]
    texts += list(random_texts())
    special = ['<s>', '<pad>', '</s>', '<unk>']
    bytes_ = [f'<0x{b:02X}>' for b in range(256)]
    N, P, T = normalizers, pre_tokenizers, trainers
    wrong = compare('wordpiece-minilm', bert(), texts)
    wrong += compare('wordpiece-cased', bert(lowercase=False), texts)
    wrong += compare('wordpiece-accents', bert(lowercase=False, strip_accents=True), texts)
    wrong += compare('wordpiece-lower-only', bert(lowercase=True, strip_accents=False, handle_chinese_chars=False), texts)
    wrong += compare('wordpiece-not-cleaned', bert(clean_text=False), texts)
    t = bert()
    t.add_tokens([AddedToken('New York', normalized=True), AddedToken('É', normalized=True), AddedToken('quantum', lstrip=True, rstrip=True)])
    wrong += compare('wordpiece-added-tokens', t, texts)
    t = bert()
    t.normalizer = N.Sequence([N.NFD(), N.StripAccents(), N.Lowercase(), N.Strip()])
    t.pre_tokenizer = P.Sequence([P.WhitespaceSplit(), P.Punctuation(), P.Digits(individual_digits=True)])
    wrong += compare('wordpiece-steps', t, texts)

    uni = lambda size=8000: T.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token='<unk>', show_progress=False)
    for rule in ('nmt_nfkc', 'nmt_nfkc_cf', 'nfkc'):
        n = N.Sequence([charsmap(rule), N.Replace(__import__('tokenizers').Regex(' {2,}'), ' ')])
        t = trained(models.Unigram(), uni(), n, P.Metaspace(), some)
        wrong += compare(f'unigram-{rule}', t, texts)
    t.pre_tokenizer = P.Metaspace(prepend_scheme='first')
    wrong += compare('unigram-first', t, texts)
    t.pre_tokenizer = P.Sequence([P.WhitespaceSplit(), P.Metaspace()])
    wrong += compare('unigram-split', t, texts)
    t.pre_tokenizer = P.Metaspace(split=False, prepend_scheme='never')
    t.normalizer = N.Sequence([N.NFKC(), N.Lowercase(), N.Prepend('\u2581')])
    wrong += compare('unigram-whole-text', t, texts)
    j = json.loads(t.to_str())
    j['model']['vocab'] += [[b, -20.0] for b in bytes_ if b not in {v[0] for v in j['model']['vocab']}]
    j['model']['byte_fallback'] = True
    wrong += compare('unigram-bytes', Tokenizer.from_str(json.dumps(j)), texts)

    t = trained(models.BPE(), T.BpeTrainer(vocab_size=8000, initial_alphabet=P.ByteLevel.alphabet(), show_progress=False),
                N.NFC(), P.ByteLevel(add_prefix_space=False), some)
    wrong += compare('bpe-bytelevel', t, texts)
    t.pre_tokenizer = P.ByteLevel(add_prefix_space=True)
    t.normalizer = N.NFKD()
    wrong += compare('bpe-bytelevel-prefix', t, texts)
    t.pre_tokenizer = P.Sequence([P.Digits(), P.ByteLevel(add_prefix_space=False, use_regex=False)])
    wrong += compare('bpe-bytelevel-no-regex', t, texts)
    t = trained(models.BPE(unk_token='<unk>', fuse_unk=True, byte_fallback=True),
                T.BpeTrainer(vocab_size=6000, special_tokens=special + bytes_, limit_alphabet=500, show_progress=False),
                N.Sequence([N.Prepend('\u2581'), N.Replace(' ', '\u2581')]), None, some[:3000])
    wrong += compare('bpe-llama', t, texts)
    for fuse in (False, True):
        t = trained(models.BPE(unk_token='<unk>', fuse_unk=fuse, end_of_word_suffix='</w>'),
                    T.BpeTrainer(vocab_size=4000, special_tokens=special, limit_alphabet=200, end_of_word_suffix='</w>', show_progress=False),
                    N.BertNormalizer(), P.BertPreTokenizer(), some)
        wrong += compare(f'bpe-suffix-fuse-{fuse}', t, texts)
    t = trained(models.BPE(unk_token='<unk>', continuing_subword_prefix='##', ignore_merges=True),
                T.BpeTrainer(vocab_size=4000, special_tokens=special, limit_alphabet=200, continuing_subword_prefix='##', show_progress=False),
                N.NFKC(), P.WhitespaceSplit(), some)
    wrong += compare('bpe-prefix', t, texts)
    t = trained(models.WordLevel(unk_token='<unk>'), T.WordLevelTrainer(vocab_size=5000, special_tokens=special, show_progress=False),
                N.Lowercase(), P.BertPreTokenizer(), some)
    wrong += compare('wordlevel', t, texts)
    return wrong > 0


if __name__ == '__main__':
    sys.exit(main())

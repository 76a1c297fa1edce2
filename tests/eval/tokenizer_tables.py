# SPDX-License-Identifier: Apache-2.0
"""Writes retrieval/text/tokenizer_tables.inc: what the Python package `tokenizers` says of each code point.

The package's tables of categories are those of an old Unicode, for its users' models depend on them, and others of a newer one than
ours; so both are asked and written down: whole where they are old, else as the difference to utf8proc of Unicode 15.

    python3 tests/eval/tokenizer_tables.py > retrieval/text/tokenizer_tables.inc     (pip: tokenizers, sentencepiece; libutf8proc)
"""
import ctypes
import ctypes.util
import io

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import normalizers, pre_tokenizers

utf8proc = ctypes.CDLL(ctypes.util.find_library('utf8proc') or 'libutf8proc.so.2')
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
utf8proc.utf8proc_grapheme_break.restype = ctypes.c_bool
utf8proc.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_int16) # category, combining class, ...
POINTS = [c for c in range(0x110000) if not 0xd800 <= c <= 0xdfff]
STABLE, COMPAT, COMPOSE, DECOMPOSE = 1 << 1, 1 << 2, 1 << 3, 1 << 4


def bert(**on):
    preset = {'clean_text': False, 'handle_chinese_chars': False, 'strip_accents': False, 'lowercase': False}
    return normalizers.BertNormalizer(**{**preset, **on}).normalize_str


def decomposed(c, how):
    room = (ctypes.c_int32 * 64)()
    boundary = ctypes.c_int(0)
    n = utf8proc.utf8proc_decompose_char(c, room, 64, STABLE | DECOMPOSE | how, ctypes.byref(boundary))
    return ''.join(map(chr, room[:n]))


def category(c):
    return utf8proc.utf8proc_category_string(c).decode()


def ranges(name, what, points):
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    print(f'/* {what} */\nstatic const struct range {name}[] = {{')
    line = ''
    for first, last in out:
        item = f' {{ {first:#x}, {last:#x} }},'
        if len(line) + len(item) > 110:
            print('       ' + line)
            line = ''
        line += item
    print('       ' + line + '\n};\n')


strip, clean, lower = bert(strip_accents=True), bert(clean_text=True), bert(lowercase=True)
marks, nfd, nfkd = normalizers.StripAccents().normalize_str, normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
split, pieces = pre_tokenizers.BertPreTokenizer().pre_tokenize_str, pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str

print(f'/* Written by tests/eval/tokenizer_tables.py from tokenizers {tokenizers.__version__} and utf8proc: do not edit. */\n')
ranges('nonspacing', 'BERT takes these for accents', [c for c in POINTS if strip(chr(c)) == ''])
ranges('marks', 'StripAccents removes these', [c for c in POINTS if marks(chr(c)) == ''])
ranges('punctuation', 'BERT takes these for punctuation', [c for c in POINTS if len(split(f'a{chr(c)}a')) == 3])
ranges('removed', "BERT's clean_text removes these", [c for c in POINTS if clean(chr(c)) == ''])
late = []
for point in POINTS:
    s = chr(point)
    if utf8proc.utf8proc_get_property(point)[1] == 0:
        continue
    known = nfd(s + '\u0334') != nfd(s) + '\u0334' or nfd('\u0301' + s) != '\u0301' + nfd(s)
    if not known and s != '\u0334':
        late.append(point)
ranges('unordered', 'marks without a combining class there', late)
ranges('whole', 'decomposed by utf8proc, not there', [c for c in POINTS if nfd(chr(c)) == chr(c) and decomposed(c, 0) != chr(c)])
ranges('whole_compat', 'the same of compatibility',
       [c for c in POINTS if nfkd(chr(c)) == chr(c) and decomposed(c, COMPAT) != chr(c)])
kind = {}
for point in POINTS:
    s = chr(point)
    kind[point] = 'L' if len(pieces('a' + s)) == 1 else 'N' if len(pieces('1' + s)) == 1 else ''
ranges('late_letters', 'letters there, unknown to utf8proc', [c for c in POINTS if kind[c] == 'L' and category(c)[0] != 'L'])
ranges('late_numbers', 'numbers there, unknown to utf8proc', [c for c in POINTS if kind[c] == 'N' and category(c)[0] != 'N'])

digits = pre_tokenizers.Digits().pre_tokenize_str
ranges('late_digits', "numbers of Digits, unknown to utf8proc",
       [c for c in POINTS if category(c)[0] != 'N' and category(c)[0] != 'L' and len(digits('1' + chr(c))) == 1])

# A table in which 'A' becomes 'a' only if its grapheme begins with it: what extends the grapheme is gone then.
written = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(f'a small text number {i}' for i in range(200)), model_writer=written,
                                         vocab_size=40, hard_vocab_limit=False, normalization_rule_name='nmt_nfkc_cf', minloglevel=2)
model = sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
folded = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap).normalize_str
ranges('late_extending', 'they extend a grapheme there, unknown to utf8proc',
       [c for c in POINTS if c > 0x7f and folded('A' + chr(c)) == 'a' and folded('x' + chr(c)) != 'x' and
        utf8proc.utf8proc_grapheme_break(ord('A'), c)])

print('/* Lower case that utf8proc does not know. */\nstatic const struct {\n        uint32_t first, last, to;\n} late_lower[] = {')
run = None
for point in POINTS:
    got = lower(chr(point))
    if len(got) != 1 or ord(got) == utf8proc.utf8proc_tolower(point):
        continue
    if run and run[1] == point - 1 and ord(got) - point == run[2] - run[0]:
        run[1] = point
        continue
    if run:
        print('        {{ {:#x}, {:#x}, {:#x} }},'.format(*run))
    run = [point, point, ord(got)]
print('        {{ {:#x}, {:#x}, {:#x} }},\n}};'.format(*run))

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From a file of edges to a served answer, as a person does it: pointsman-train embed, interests, eval interests, then pm-try; and what
# each says about input that cannot be.
#     recommend.sh POINTSMAN_TRAIN PM_TRY ROUTERS
set -eu
train=$(realpath "$1") try=$(realpath "$2") routers=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=1

fails() { echo "recommend.sh: $1" >&2; cat out err >&2; exit 1; }
runs() { want=$1; shift; set +e; "$@" > out 2> err; got=$?; set -e; test "$got" -eq "$want" || fails "status $got, not $want: $*"; }
says() { grep -qF -- "$1" err || fails "stderr lacks: $1"; }
prints() { grep -qF -- "$1" out || fails "stdout lacks: $1"; }

# Two tastes: user u takes items of its parity, three of four for training, and some noise.
awk 'BEGIN { print "#user\titem\tsplit"; srand(7)
        for (u = 0; u < 60; u++) for (i = 0; i < 40; i++)
                if (u % 2 == i % 2 ? rand() < .5 : rand() < .03) print "u" u "\ti" i "\t" (rand() < .75 ? "train" : "test") }' > edges.tsv
gzip -k edges.tsv
awk 'BEGIN { for (i = 0; i < 40; i++) printf "{\"id\": \"i%d\", \"even\": %s, \"tags\": [\"t%d\", %d]}\n", i, i % 2 ? "false" : "true", i % 5, i % 3 }' \
        > attributes.jsonl

for method in fastrp svd als; do
        runs 0 "$train" embed --edges edges.tsv.gz --dim 16 --method $method --threads 1 --out $method.safetensors
        prints "$method.safetensors: 40 vectors of items and 60 of users, 16 numbers each"
done
runs 0 "$train" embed --edges edges.tsv --dim 16 --threads 2 --out again.safetensors
cmp fastrp.safetensors again.safetensors || fails 'the same edges, gzip or not and on more threads, give other bytes'
runs 0 "$train" interests --edges edges.tsv --vectors fastrp.safetensors --attributes attributes.jsonl --out catalogue --cells 6 --near 5 --also 20
prints 'catalogue: interests-'
prints '40 items in 6 interests, 60 users'
prints '120 attributes of 10 kinds'

runs 0 "$train" eval interests --catalogue catalogue --edges edges.tsv --test test --exact --svg chart.svg
prints 'knn-embed over its own user vector: '
grep -q '^<svg .*</svg>$' chart.svg || grep -q '</svg>' chart.svg || fails 'no chart'
runs 0 "$train" eval interests --catalogue catalogue --edges edges.tsv --test test --json --save
python3 - <<'END' || fails 'the figures are not sound'
import json
o = json.load(open('out'))
m = o['methods']
assert set(m) == {'popularity', 'user vector', 'history centroid', 'mixture', 'knn-embed', 'co-citation', 'blend'}, m.keys()
for name, q in m.items():
    for a, b in (('at_10', 'at_20'), ('at_20', 'at_50')):
        assert 0 <= q[a]['recall'] <= q[b]['recall'] <= 1, (name, q)
    assert 0 <= q['at_10']['ndcg'] <= 1 and 0 <= q['at_10']['diversity'] <= 2 and 0 < q['at_20']['catalogue_covered'] <= 1, (name, q)
assert m['blend']['at_10']['recall'] > m['popularity']['at_10']['recall'] + .05, m
assert m['blend']['at_50']['recall'] == 1 == m['knn-embed']['at_50']['recall'], 'the whole catalogue was given'
assert json.load(open('catalogue/manifest.json'))['figures']['methods']['blend'] == m['blend']
END

printf '{"user": "u3", "n": 5}\n{"user": "nobody", "n": 2}\n{"history": ["i2", "i4", "i6"], "n": 3, "filter": {"even": true}}\n{"user": "u3", "n": 0}\n' > asks.jsonl
runs 0 "$try" "$routers/interests.so" -o index=catalogue asks.jsonl
prints '{"line":1,"end":"candidates","items":[{"id":"i'
prints '{"line":4,"end":"candidates","items":[],'

# Users are items there, or they are not: both must say the same.
awk 'BEGIN { for (i = 0; i < 30; i++) print "n" i "\tn" (i * 7 + 1) % 30 }' > links.tsv
runs 0 "$train" embed --edges links.tsv --one-kind --dim 8 --out links.safetensors
runs 1 "$train" interests --edges links.tsv --vectors links.safetensors --out links
says 'links.safetensors: made by embed --one-kind, users are items there: interests --one-kind takes it'
runs 0 "$train" interests --edges links.tsv --one-kind --vectors links.safetensors --out links
runs 0 "$train" embed --edges links.tsv --dim 8 --out pairs.safetensors
runs 1 "$train" interests --edges links.tsv --one-kind --vectors pairs.safetensors --out links
says 'pairs.safetensors: made by embed without --one-kind'

# Weights whose products are nothing, which wrote beyond a row's end.
awk 'BEGIN { for (u = 0; u < 40; u++) { print "u" u "\tbig\t1"; for (i = 0; i < 3; i++) print "u" u "\ti" i "\t1e-30" } }' > tiny.tsv
runs 0 "$train" embed --edges tiny.tsv --weighted --dim 4 --out tiny.safetensors
runs 0 "$train" interests --edges tiny.tsv --weighted --vectors tiny.safetensors --out tiny
runs 2 "$train" interests --edges tiny.tsv --vectors tiny.safetensors --out nowhere/at/all
says "--out: cannot write to folder 'nowhere/at/all': No such file or directory"

# What cannot be.
: > empty.tsv
runs 1 "$train" embed --edges empty.tsv --out x.safetensors
says 'empty.tsv: no edge in 0 lines'
printf 'a\n' > one.tsv
runs 1 "$train" embed --edges one.tsv --out x.safetensors --max-bad 0
says 'one.tsv:1: neither JSON nor columns separated by tabs or commas, ignoring the line'
runs 1 "$train" embed --edges edges.tsv --use nosuch --out x.safetensors
says "edges.tsv: no edge is of split 'nosuch'; there are: '"
runs 2 "$train" embed --edges edges.tsv
says 'embed: --out is required'
runs 2 "$train" embed --edges edges.tsv --out x --powers 0,0
says "--powers: '0,0' is not a list of 1 to 8 numbers, one of them not 0"
printf 'a\tx\n' > single.tsv
runs 0 "$train" embed --edges single.tsv --dim 4 --out single.safetensors
runs 0 "$train" interests --edges single.tsv --vectors single.safetensors --out single
prints '1 items in 1 interests, 1 users'
python3 - <<'END'
import struct
def npy(name, rows, cols, numbers):
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (rows, cols)
    head += ' ' * (63 - (len(head) + 10) % 64) + '\n'
    open(name, 'wb').write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode() + struct.pack('<%df' % len(numbers), *numbers))
npy('good.npy', 3, 2, [1, 0, 0, 1, 1, 1])
npy('nan.npy', 3, 2, [1, 0, 0, float('nan'), 1, 1])
END
printf 'x\ny\nz\n' > ids.txt
printf 'x\ny\nx\n' > twice.txt
runs 0 "$train" embed --items good.npy --item-ids ids.txt --out imported.safetensors
prints 'imported.safetensors: 3 vectors of items and 0 of users, 2 numbers each'
runs 0 "$train" interests --edges single.tsv --vectors imported.safetensors --out imported --cells 1
prints '3 items in 1 interests, 1 users'
runs 1 "$train" embed --items nan.npy --item-ids ids.txt --out x.safetensors
says 'nan.npy: row 1, column 1 is not a finite number'
runs 1 "$train" embed --items good.npy --item-ids twice.txt --out x.safetensors
says 'twice.txt:3: this id was there before'
runs 1 "$train" interests --edges edges.tsv --vectors edges.tsv --out x
says 'edges.tsv: not a safetensors file'
runs 1 "$train" eval interests --catalogue nowhere --edges edges.tsv
says 'nowhere: manifest.json: cannot open'
runs 1 "$train" eval interests --catalogue catalogue --edges edges.tsv --test test --only best
says "--only 'best': names a method that is not known"
runs 1 "$train" eval interests --catalogue catalogue --edges edges.tsv --test test --set own=2
says "--set own: '2' is not a number in 0..1"
runs 1 "$train" eval interests --catalogue catalogue --edges edges.tsv
says 'nothing was held back that could be found'
truncate -s 2000 catalogue/catalogue.safetensors
runs 1 "$train" eval interests --catalogue catalogue --edges edges.tsv --test test
says 'cut, or of another training?'

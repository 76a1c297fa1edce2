#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pm-try as a person uses it: its output, its exit status, and what it says about wrong input.
#     try.sh PM_TRY ROUTERS TEST_ROUTERS
set -eu
try=$(realpath "$1") routers=$2 bad=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fails() { echo "try.sh: $1" >&2; cat out err >&2; exit 1; }
runs() { want=$1; shift; set +e; "$try" "$@" > out 2> err; got=$?; set -e; test "$got" -eq "$want" || fails "status $got, not $want: $*"; }
says() { grep -qF -- "$1" err || fails "stderr lacks: $1"; }
prints() { grep -qF -- "$1" out || fails "stdout lacks: $1"; }

printf 'first prompt\n\nthird line, python\n' > plain.txt
runs 0 "$routers/template.so" -o expert=large plain.txt
test "$(wc -l < out)" -eq 2 || fails 'two prompts, two lines'
prints '{"line":3,"end":"decided","expert":"large","category":null,"confidence":0.0,"fallbacks":[],"reason":"the only one","steps":1,'
says 'experts    large 2'
says 'time       p50 '

cat > mixed.jsonl <<'END'
{"text": "plain field"}
{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "write"}, {"type": "text", "text": "python"}]}]}
{"text": broken}
{"question": "no text"}
END
echo '{"rules": [{"keywords": ["python"], "expert": "b"}]}' > rules.json
runs 1 "$routers/rules.so" --options rules.json --experts a,b mixed.jsonl
prints '{"line":1,"end":"passed"'
prints '{"line":2,"end":"decided","expert":"b"'
says 'mixed.jsonl:3: column '
says "mixed.jsonl:4: has no text field 'text' and no messages"
runs 0 "$routers/rules.so" -o 'rules=[{"headers": [{"name": "X-A", "value": "1"}], "expert": "b"}]' --experts b --header x-a=1 \
        --text question --quiet --repeat 3 --threads 2 - <<'END'
{"question": "a"}
END
says 'experts    b 1'
says 'prompts    1, 3 times, 2 threads'
test ! -s out || fails '--quiet prints decisions'

runs 1 "$routers/template.so" -o exprt=a plain.txt
says "command line: template: unknown key 'exprt' - did you mean 'expert'?"
says "key 'expert' is required"
runs 1 "$bad/bad_twice.so" plain.txt
prints '"end":"broken","text":"router '\''bad_twice'\'': step 1 made two moves"'
runs 1 "$bad/bad_abi_major.so" plain.txt
says 'is built for ABI 2.0, and this host has 1.3'
runs 1 no-such-router plain.txt
says "no router 'no-such-router' in . or "
runs 1 "$routers/template.so" -o expert=large nowhere.txt
says "cannot open 'nowhere.txt': No such file or directory"
runs 1 "$routers/template.so" --repeat 0 plain.txt
says "--repeat: '0' is not in 1.."
runs 1 "$routers/template.so"
says 'a PLUGIN and a file of PROMPTS would be right'
runs 0 --help
prints 'usage: pm-try PLUGIN'

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a decision costs: computed by rules.so and category.so, from a worker's memory, from Redis over a Unix socket and over loopback
# TCP; interleaved rounds of one run, on core 0 (Redis on core 1).  Then user-space instructions, as the difference of two runs.
#   POINTSMAN_DATA (../shared/data)  POINTSMAN_BUILD (build)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
data=${POINTSMAN_DATA:-$root/../shared/data}
build=${POINTSMAN_BUILD:-$root/build}
bench=$build/tests/bench/recall_bench
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
taskset -c 1 redis-server --port "$port" --bind 127.0.0.1 --unixsocket "$work/redis.sock" --save '' --appendonly no --dir "$work" >"$work/redis.log" &
zcat "$data/mmlupro/questions.dev.jsonl.gz" |
        python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    sys.stdout.write(row["question"] + " " + " ".join(row["options"]) + " ")' >"$work/texts"

# config NAME MEMORY SERVERS: three routes that differ in what they keep.
config() {
        python3 - "$root" "$build" "$2" "$3" >"$work/$1.yaml" <<'END'
import json, sys
root, build, memory, servers = sys.argv[1:]
model = f"{root}/configs/models/mmlupro"
names = {n for ranking in json.load(open(f"{model}-map.json"))["rankings"].values() for n in ranking}
off = {"decisions": "off", "pin": "0s"}
kept = {"decisions": "shared" if servers else "local", "pin": "0s", "time": "1h"}
print(json.dumps({
    "experts": {n: {"endpoints": ["http://127.0.0.1:9/v1"]} for n in sorted(names)},
    "plugin_dirs": [f"{build}/routers"],
    "routers": {"by_rules": {"plugin": "rules", "rules": [{"keywords": ["xylophone"], "expert": min(names)}, {"expert": max(names)}]},
                "by_category": {"plugin": "category", "model": f"{model}-category.safetensors", "map": f"{model}-map.json"}},
    "routes": {"rules": {"routers": ["by_rules"], "cache": off}, "category": {"routers": ["by_category"], "cache": off},
               "kept-rules": {"routers": ["by_rules"], "cache": kept}, "kept": {"routers": ["by_category"], "cache": kept}},
    "cache": {"memory": memory, **({"redis": {"servers": servers.split(), "timeout": "1s"}} if servers else {})}}))
END
}
config memory 16MiB ""
config unix 0 "unix:$work/redis.sock"
config tcp 0 "redis://127.0.0.1:$port"

until redis-cli -s "$work/redis.sock" ping >/dev/null 2>&1; do sleep 0.05; done
for length in 230 1000; do
        for _ in 1 2 3; do
                "$bench" "$work/memory.yaml" rules 40 $length <"$work/texts" | sed 's/^/computed by rules:      /'
                "$bench" "$work/memory.yaml" kept-rules 40 $length <"$work/texts" | sed 's/^/in memory, of rules:    /'
                "$bench" "$work/memory.yaml" category 40 $length <"$work/texts" | sed 's/^/computed by category:   /'
                "$bench" "$work/memory.yaml" kept 40 $length <"$work/texts" | sed 's/^/in memory, of category: /'
                "$bench" "$work/unix.yaml" kept 20 $length <"$work/texts" | sed 's/^/in Redis, Unix socket:  /'
                "$bench" "$work/tcp.yaml" kept 20 $length <"$work/texts" | sed 's/^/in Redis, loopback TCP: /'
        done
done

command -v valgrind >/dev/null || exit 0
# What valgrind runs has no SHA instructions: the processor's own SHA-256 takes about a tenth of those shown apart.
count() { # CONFIG ROUTE ROUNDS LENGTH: all, and those of SHA-256's blocks
        valgrind --tool=callgrind --callgrind-out-file="$work/cg" "$bench" "$work/$1.yaml" "$2" "$3" "$4" <"$work/texts" >/dev/null 2>"$work/valgrind.log"
        callgrind_annotate --threshold=100 "$work/cg" | awk '/PROGRAM TOTALS/ { gsub(",", "", $1); all = $1 } /libcrypto/ { gsub(",", "", $1); sha += $1 } END { print all, sha + 0 }'
}
for length in 230 1000; do
        for what in 'memory rules' 'memory kept-rules' 'memory category' 'memory kept' 'unix kept'; do
                read -r config route <<<"$what"
                read -r few few_sha < <(count "$config" "$route" 2 $length)
                read -r many many_sha < <(count "$config" "$route" 12 $length)
                sha=$(((many_sha - few_sha) / 2560))
                echo "$what, $length characters: $(((many - few) / 2560 - sha)) instructions a decision, parsing the body included, and $sha in SHA-256"
        done
done

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Time and user-space instructions of one GET of 200 bytes through the gateway's Redis client, against a redis-server of its own: over
# its Unix socket and over TCP, one at a time and 32 under way; and of a command that is refused because nothing is there.
#   POINTSMAN_BUILD (build)  PORT (16399)  COUNT (100000)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
bench=${POINTSMAN_BUILD:-$root/build}/tests/bench/redis_bench
port=${PORT:-16399} count=${COUNT:-100000}
work=$(mktemp -d)
redis-server --port "$port" --bind 127.0.0.1 --unixsocket "$work/s" --dir "$work" --save '' --appendonly no > "$work/log" 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$work"' EXIT
until redis-cli -s "$work/s" ping > "$work/ping" 2> /dev/null && grep -q PONG "$work/ping"; do
        kill -0 $server || { cat "$work/log" >&2; exit 1; }
        sleep 0.05
done

for url in "unix:$work/s" "127.0.0.1:$port"; do
        for depth in 1 32; do
                "$bench" "$url" "$count" $depth
        done
done
"$bench" "unix:$work/none" 1000000 1 refused 2> /dev/null
if command -v valgrind > /dev/null; then
        instructions() {
                valgrind --tool=callgrind --callgrind-out-file="$work/cg" "$bench" "$@" > /dev/null 2>&1
                sed -n 's/^\(totals\|summary\): *\([0-9]*\).*/\2/p' "$work/cg" | head -1
        }
        for depth in 1 32; do
                echo "depth $depth: $((($(instructions "unix:$work/s" 12000 $depth) - $(instructions "unix:$work/s" 2000 $depth)) / 10000)) instructions a GET"
        done
        echo "refused: $((($(instructions "unix:$work/none" 12000 1 refused) - $(instructions "unix:$work/none" 2000 1 refused)) / 10000)) instructions"
fi

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# POST /v1/recommend over loopback, wrk on the same cores, for a catalogue of interests.sh; then the same catalogue without the gateway.
#     recommend.sh FOLDER USERS [N]        FOLDER as interests.sh has made it; 20 items for each request
set -euo pipefail
build=${POINTSMAN_BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
folder=${1:?usage: recommend.sh FOLDER USERS [N]} users=${2:?how many users?} wanted=${3:-20}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
index=$(cd "$folder/cells" 2>/dev/null && pwd || (cd "$folder" && pwd))

cat >"$work/pointsman.yaml" <<END
listen: 127.0.0.1:$port
experts: {nobody: {endpoints: ["http://127.0.0.1:9/v1"]}}
routers: {catalogue: {plugin: interests, index: "$index", verify: false}}
routes: {items: {routers: [catalogue], deadline: 5s}}
log: {requests: false}
END
"$build/server/pointsman" serve -c "$work/pointsman.yaml" 2>"$work/log" &
gateway=$!
until curl --noproxy '*' -fsS -o /dev/null "http://127.0.0.1:$port/healthz" 2>/dev/null; do
        kill -0 $gateway 2>/dev/null || { cat "$work/log" >&2; exit 1; }
        sleep 0.1
done
for connections in 1 4 16 64; do
        printf 'wrk, %2d connections: ' $connections
        wrk -t1 -c$connections -d${SECONDS_EACH:-5}s -s "$here/recommend.lua" "http://127.0.0.1:$port" -- "$users" "$wanted" | sed -n 's/^requests: //p'
done
awk '/VmRSS|RssAnon/ { print "gateway", $1, $2 / 1024, "MiB" }' /proc/$gateway/status
kill $gateway
"$build/tests/bench/interests_bench" "$index"

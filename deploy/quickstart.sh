#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# From a clone to a running gateway: installs what is missing, builds, starts mock experts in place of the models that
# configs/chat.yaml names, starts the gateway, and routes some dozen real prompts through it.
set -euo pipefail
export LC_ALL=C.UTF-8

usage() {
        cat <<'END'
usage: [PORT=8080] deploy/quickstart.sh [--once]

  --once    stop after the table, with exit status 0
  --help    this text

Installs Debian packages (deploy/deps.sh --no-tests; root or sudo if any is missing), builds in build/, listens on
127.0.0.1:PORT and on the experts' ports of configs/chat.yaml.  Logs are in build/quickstart/.  Ctrl-C stops everything.
END
}

once=no
for arg; do
        case $arg in
        --help | -h) usage; exit 0 ;;
        --once) once=yes ;;
        *) echo "quickstart: unknown argument '$arg' (see --help)" >&2; exit 2 ;;
        esac
done

cd "$(dirname "$0")/.."
config=configs/chat.yaml prompts=tests/data/prompts.jsonl logs=build/quickstart
export PORT=${PORT:-8080}
base=http://127.0.0.1:$PORT
gateway='' experts=''

say() { printf '\n== %s\n' "$*"; }

# fail MESSAGE [LOG]: with the end of the log that explains it.
fail() {
        printf '\nquickstart: %s\n' "$1" >&2
        if [[ ${2:-} && -s $2 ]]; then
                printf -- '---- the end of %s\n' "$2" >&2
                tail -n 25 "$2" | cut -c1-400 >&2
        fi
        exit 1
}

alive() { kill -0 "$1" 2>/dev/null; }

# shellcheck disable=SC2317
stop() {
        local status=$?

        trap - EXIT INT TERM
        [[ ! $gateway ]] || kill -TERM "$gateway" 2>/dev/null || true
        [[ ! $gateway ]] || wait "$gateway" 2>/dev/null || true
        [[ ! $experts ]] || kill -TERM "$experts" 2>/dev/null || true
        [[ ! $experts ]] || wait "$experts" 2>/dev/null || true
        exit "$status"
}
trap stop EXIT
trap 'echo; exit 130' INT TERM

port_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Lines PORT=NAME, one for each expert of the configuration that lives on this machine.
experts_of() {
        awk '/^[^ #]/ { in_experts = /^experts:/ }
             in_experts && match($0, /^ ? ? ? ?[A-Za-z0-9][^ :]*:/) && !/^ *(endpoints|model|key)/ {
                     name = $1
                     sub(/:.*/, "", name)
             }
             in_experts && match($0, /http:\/\/[^\/ ]*:[0-9]+/) {
                     port = substr($0, RSTART, RLENGTH)
                     sub(/.*:/, "", port)
                     print port "=" name
             }' "$1"
}

# cell WIDTH TEXT: cut or padded to so many characters (printf counts bytes).
cell() {
        local text=$2

        ((${#text} <= $1)) || text=${text:0:$(($1 - 1))}…
        printf '%s%*s  ' "$text" $(($1 - ${#text})) ''
}

# header NAME: the value in the last reply's head.
header() { sed -n "s/^$1: *//Ip" "$logs/head" | tr -d '\r' | tail -n 1; }

# Before anything is installed or built, and all of them at once.
mapfile -t ports < <(experts_of "$config")
((${#ports[@]})) || fail "found no expert with an http:// endpoint in $config"
taken=
if port_busy "$PORT"; then
        free=$((PORT + 10))
        while port_busy "$free"; do free=$((free + 10)); done
        taken+=$'\n'"  port $PORT, the gateway's: choose another one, for example PORT=$free deploy/quickstart.sh"
fi
for p in "${ports[@]}"; do
        if port_busy "${p%%=*}"; then
                taken+=$'\n'"  port ${p%%=*}, where $config expects the expert ${p#*=}: stop what listens on it, or change the endpoint there"
        fi
done
[[ ! $taken ]] || fail "these ports are in use:$taken"

mkdir -p "$logs"
say "packages"
deploy/deps.sh --no-tests

say "build"
{ { [[ -f build/build.ninja ]] || meson setup build --buildtype=release; } && ninja -C build quickstart; } >"$logs/build.log" 2>&1 || fail "the build failed" "$logs/build.log"
echo "build/server/pointsman: $(build/server/pointsman version | head -n 1)"

say "mock experts"
build/tests/mock/mock-expert "${ports[@]/#/--port=}" --tokens 24 --first-ms 20 --rate 400 >"$logs/experts.log" 2>&1 &
experts=$!
for ((i = 0; i < 100; i++)); do
        alive "$experts" || fail "the mock experts ended" "$logs/experts.log"
        (($(grep -c ^listening "$logs/experts.log" || true) < ${#ports[@]})) || break
        sleep 0.05
done
((i < 100)) || fail "the mock experts did not begin to listen" "$logs/experts.log"
cat "$logs/experts.log"

say "gateway"
build/server/pointsman serve -c "$config" >"$logs/gateway.log" 2>&1 &
gateway=$!
for ((i = 0; i < 200; i++)); do
        alive "$gateway" || fail "the gateway ended" "$logs/gateway.log"
        ! curl --noproxy '*' -fs -o "$logs/body" --max-time 2 "$base/readyz" || break
        sleep 0.05
done
((i < 200)) || fail "the gateway was not ready after 10 s" "$logs/gateway.log"
echo "$base is ready"

say "real prompts, streamed, model \"auto\" (none was in the training data; the mock experts wait 20 ms before their first token)"
widths=(10 44 21 10 10)
heads=(set prompt category confidence expert)
for i in "${!heads[@]}"; do cell "${widths[i]}" "${heads[i]}"; done
printf '%12s  %14s\n' 'decision us' 'first token ms'
: >"$logs/decisions"
total=0
while IFS= read -r line; do
        literal=${line#*\"prompt\": }
        literal=${literal%\}}
        [[ $literal == \"*\" && $line == '{"set": "'* ]] || fail "line $((total + 1)) of $prompts is not {\"set\", \"id\", \"prompt\"}"
        times=$(printf '{"model":"auto","stream":true,"messages":[{"role":"user","content":%s}]}' "$literal" |
                curl --noproxy '*' -sSN --max-time 30 -D "$logs/head" -o "$logs/body" -w '%{http_code} %{time_starttransfer}' \
                        -H 'content-type: application/json' --data-binary @- "$base/v1/chat/completions" 2>"$logs/curl.log") ||
                fail "request $((total + 1)) failed: $(cat "$logs/curl.log")" "$logs/gateway.log"
        [[ ${times%% *} == 200 ]] || fail "request $((total + 1)) was answered ${times%% *}: $(head -c 400 "$logs/body")" "$logs/gateway.log"
        [[ $(tail -n 2 "$logs/body") == 'data: [DONE]'* ]] ||
                fail "the stream of request $((total + 1)) did not end in [DONE]: $(tail -c 400 "$logs/body")" "$logs/gateway.log"
        expert=$(header x-pointsman-expert)
        [[ $expert ]] || fail "the answer to request $((total + 1)) does not name its expert: $(cat "$logs/head")" "$logs/gateway.log"

        set=${line#*\"set\": \"}
        text=${literal:1:-1}
        text=${text//\\n/ }
        text=${text//\\\"/\"}
        category=$(header x-pointsman-category)
        confidence=$(header x-pointsman-confidence)
        decision=$(header server-timing | sed -n 's/.*route;dur=\([0-9.]*\).*/\1/p')
        [[ ! $decision ]] || awk -v ms="$decision" 'BEGIN { printf "%.0f\n", ms * 1000 }' >>"$logs/decisions"
        cell "${widths[0]}" "${set%%\"*}"
        cell "${widths[1]}" "$text"
        cell "${widths[2]}" "${category:--}"
        cell "${widths[3]}" "${confidence:--}"
        cell "${widths[4]}" "$expert"
        awk -v d="${decision:-}" -v t="${times#* }" \
                'BEGIN { printf "%12s  %14.1f\n", d == "" ? "-" : sprintf("%.0f", d * 1000), t * 1000 }'
        total=$((total + 1))
done <"$prompts"
((total > 0)) || fail "$prompts is empty"
sort -n "$logs/decisions" | awk -v n="$total" '
        { d[NR] = $1 }
        END {
                printf "\n%d prompts routed", n
                if (NR)
                        printf "; decision: median %d us, highest %d us", d[int((NR + 1) / 2)], d[NR]
                printf "\n"
        }'
[[ $once == no ]] || exit 0
trap 'echo; exit 0' INT TERM

cat <<END

== try it (Ctrl-C stops it; the log is $logs/gateway.log)

  curl $base/v1/models
  curl $base/v1/route -d '{"input": "Is the sum of two odd numbers even?"}'
  curl -N -D - $base/v1/chat/completions -H 'content-type: application/json' \\
       -d '{"model": "auto", "stream": true, "messages": [{"role": "user", "content": "What limits the speed of a chemical reaction?"}]}'

  # pip install openai
  from openai import OpenAI
  client = OpenAI(base_url="$base/v1", api_key="none")
  for chunk in client.chat.completions.create(model="auto", stream=True,
                                              messages=[{"role": "user", "content": "Why is the sky blue?"}]):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

== real models: cp $config configs/my.yaml, and put their endpoints in place of the mock experts', or add lines under experts:

  my-expert: {endpoints: [http://127.0.0.1:11434/v1], model: "llama3.1:8b"}             # Ollama
  my-expert: {endpoints: [http://127.0.0.1:8081/v1]}                                    # llama.cpp: llama-server --port 8081
  my-expert: {endpoints: [http://127.0.0.1:8000/v1], model: Qwen/Qwen2.5-7B-Instruct}   # vLLM
  my-expert: {endpoints: [https://api.example.com/v1], model: their-model, key: "\${EXAMPLE_API_KEY}"}  # a provider

  build/server/pointsman check -c configs/my.yaml && build/server/pointsman serve -c configs/my.yaml
END
status=0
wait "$gateway" || status=$?
gateway=''
fail "the gateway ended with status $status" "$logs/gateway.log"

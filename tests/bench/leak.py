# SPDX-License-Identifier: Apache-2.0
"""Many requests, then many streams at once, again and again: every answer right, and no memory kept."""
import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from parts import BUILD, LOAD, MOCK, POINTSMAN, Server, free_port, load, mock

SLACK = 512 << 10  # what an allocator may keep between two rounds without that being a leak


def body(stream):
    return {"model": "alpha", "stream": stream, "messages": [{"role": "user", "content": "A question of the usual length, asked again."}]}


def main():
    ask = argparse.ArgumentParser(prog="tests/bench/leak.sh", description=__doc__)
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--requests", type=int, default=10000)
    ask.add_argument("--streams", type=int, default=512)
    ask.add_argument("--tokens", type=int, default=100, help="of each answer, one each 20 ms")
    args = ask.parse_args()
    for program in (MOCK, POINTSMAN, LOAD):
        if not program.exists():
            sys.exit(f"{program} is not there: build first, or set POINTSMAN_BUILD (now {BUILD})")

    expert, ports = mock("--tokens", str(args.tokens), "--rate", "50")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        file = Path(folder) / "pointsman.yaml"
        file.write_text(json.dumps({"listen": {"address": f"127.0.0.1:{port}"},
                                    "experts": {"alpha": {"endpoints": [f"http://127.0.0.1:{ports['alpha']}/v1"]}}}))
        gateway = Server([POINTSMAN, "serve", "-c", file], None, port)
        wrong, resident = 0, []
        print("| round | requests right | req/s | streams right | first token p99 ms | longest pause ms | resident MiB |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for n in range(args.rounds):
            a = load(port, body(False), requests=args.requests, concurrency=64, seconds=300)
            b = load(port, body(True), requests=args.streams, concurrency=args.streams, seconds=300, stream=True, expect=args.tokens + 1)
            time.sleep(1)
            resident.append(gateway.resident())
            wrong += args.requests - a["right"] + args.streams - b["right"]
            print(f"| {n + 1} | {a['right']} of {args.requests} | {a['requests'] / a['seconds']:,.0f} | {b['right']} of {args.streams} "
                  f"| {b['first_p99_ms']:.1f} | {b['worst_gap_ms']:.1f} | {resident[-1] / 2**20:.2f} |", flush=True)
            if a["right"] != args.requests or b["right"] != args.streams:
                print(json.dumps([a, b]), file=sys.stderr)
        status = gateway.stop()
        expert.stop()
    grown = resident[-1] - resident[-2] if len(resident) > 1 else 0
    print(f"\n{wrong} answers not right; memory between the last two rounds: {grown / 1024:+.0f} KiB; the gateway ended with {status}.")
    return 0 if wrong == 0 and grown <= SLACK and status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

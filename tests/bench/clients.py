# SPDX-License-Identifier: Apache-2.0
"""What more clients cost, beside nginx.

What is measured runs on core 0; the load and the expert run on core 1. Each round measures both proxies, one right after the other and
every second round in the other order, so that a slow minute slows both; figures are medians over rounds, ratios those of the pairs.
"""
import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import CORE, OTHER, body_of, wrk
from parts import BUILD, LOAD, MOCK, POINTSMAN, Server, connections, gateway, load, mock, nginx

NAMES = ("nginx", "pointsman")


def spread(values, form="{:.1f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}-{form.format(max(values))})"


def ratio(rows, key):
    return spread([p[key] / n[key] if n[key] else float("inf") for n, p in zip(rows["nginx"], rows["pointsman"])], "{:.2f}")


def in_pairs(rounds, measure):
    """{name: [result of each round]}."""
    rows = {name: [] for name in NAMES}
    for n in range(rounds):
        for name in NAMES if n % 2 == 0 else NAMES[::-1]:
            rows[name].append(measure(name))
    return rows


# ---- requests ----


def requests(args, folder):
    expert, ports = mock("--tokens", "20", core=OTHER)
    port = ports["alpha"]
    servers = {"nginx": nginx(folder, port, CORE), "pointsman": gateway(folder, port, CORE)}
    wrong, table = 0, []
    try:
        for name in NAMES:
            wrk(servers[name].port, "alpha", "fixed", 1)
        for clients in args.clients:
            def measure(name):
                server = servers[name]
                cpu, before = server.cpu(), connections(port)
                got = wrk(server.port, "alpha", "fixed", args.seconds, clients)
                got["cpu"] = (server.cpu() - cpu) / max(got["requests"], 1) * 1e6
                got["new"] = connections(port) - before - 1  # that of the look itself
                got["new/1000"] = got["new"] / max(got["requests"], 1) * 1000
                return got
            rows = in_pairs(args.rounds, measure)
            wrong += sum(one["bad"] for row in rows.values() for one in row)
            table.append({"clients": clients, **rows})
            print(f"{clients} clients: done", file=sys.stderr)
    finally:
        for server in (*servers.values(), expert):
            server.stop()
    print(f"\nMedians of {args.rounds} pairs of {args.seconds} s, 230-byte request, answer of 20 tokens; lowest and highest in brackets.\n")
    print("| clients | | requests/s | CPU us a request | against nginx | new upstream connections | for 1,000 requests | p99 ms | errors |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for line in table:
        for name in NAMES:
            row = line[name]
            print(f"| {line['clients']:,} | {name} | {statistics.median(o['rate'] for o in row):,.0f} | {spread([o['cpu'] for o in row])} "
                  f"| {ratio(line, 'cpu') if name != 'nginx' else '-'} | {spread([o['new'] for o in row], '{:,.0f}')} "
                  f"| {spread([o['new/1000'] for o in row], '{:.2f}')} | {spread([o['p99'] / 1000 for o in row])} | {sum(o['bad'] for o in row)} |")
    return wrong, table


# ---- streams ----


def streams(args, folder):
    expert, ports = mock("--tokens", str(args.deltas), "--rate", str(args.rate), core=OTHER)
    port = ports["alpha"]
    servers = {"nginx": nginx(folder, port, CORE, buffering="off"),
               "pointsman": gateway(folder, port, CORE, limits={"connections": max(2 * args.streams, 64)})}
    body = {**body_of("alpha"), "stream": True, "max_tokens": args.deltas}

    def measure(name):
        server = servers[name]
        cpu, began = server.cpu(), time.monotonic()
        done = subprocess.run(["taskset", "-c", str(OTHER), *map(str, (LOAD, "--port", server.port, "--body", json.dumps(body), "--requests", args.streams,
                               "--concurrency", args.streams, "--seconds", 300, "--stream", "--expect", args.deltas + 1))], capture_output=True, text=True)
        if not done.stdout:
            sys.exit("bench-load: " + done.stderr)
        got = json.loads(done.stdout)
        got["cpu"] = (server.cpu() - cpu) / max(got["events"], 1) * 1e6
        got["resident"] = server.resident()
        print(f"{name}: {got['right']} of {args.streams} whole in {time.monotonic() - began:.1f} s", file=sys.stderr)
        return got
    try:
        for name in NAMES:
            load(servers[name].port, body, requests=8, concurrency=8, seconds=60, stream=True, expect=args.deltas + 1)
        rows = in_pairs(args.rounds, measure)
    finally:
        for server in (*servers.values(), expert):
            server.stop()
    print(f"\n{args.streams:,} streams at once of {args.deltas} deltas, {args.rate} a second each; medians of {args.rounds} pairs.\n")
    print("| | whole | first token p50 ms | against nginx | p99 ms | against nginx | longest pause ms | CPU us an event | resident MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in NAMES:
        row = rows[name]
        print(f"| {name} | {min(o['right'] for o in row):,} of {args.streams:,} | {spread([o['first_p50_ms'] for o in row])} "
              f"| {ratio(rows, 'first_p50_ms') if name != 'nginx' else '-'} | {spread([o['first_p99_ms'] for o in row])} "
              f"| {ratio(rows, 'first_p99_ms') if name != 'nginx' else '-'} | {spread([o['worst_gap_ms'] for o in row])} | {spread([o['cpu'] for o in row])} "
              f"| {statistics.median(o['resident'] for o in row) / 2**20:.0f} |")
    for name in NAMES:
        for one in rows[name]:
            if one["right"] != args.streams:
                print(f"\n{name}: {json.dumps({k: one[k] for k in ('right', 'wrong_status', 'wrong_events', 'cut', 'refused', 'unfinished')})}")
    return sum(args.streams - one["right"] for one in rows["pointsman"]), rows


def main():
    ask = argparse.ArgumentParser(prog="tests/bench/clients.sh", description=__doc__)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--seconds", type=int, default=4, help="of each measurement of requests")
    ask.add_argument("--clients", type=lambda s: [int(n) for n in s.split(",")], default=[32, 256, 1024])
    ask.add_argument("--streams", type=int, default=4096, help="at once")
    ask.add_argument("--deltas", type=int, default=64, help="of each stream")
    ask.add_argument("--rate", type=int, default=5, help="deltas a second of each stream: so that the machine, and not the expert, has time")
    ask.add_argument("--no-requests", action="store_true")
    ask.add_argument("--no-streams", action="store_true")
    ask.add_argument("--json", help="all single figures into this file")
    args = ask.parse_args()
    for program in ("wrk", "taskset", "nginx"):
        if not shutil.which(program):
            sys.exit(f"{program} is not installed (deploy/deps.sh --all)")
    for program in (MOCK, POINTSMAN, LOAD):
        if not program.exists():
            sys.exit(f"{program} is not there: build first, or set POINTSMAN_BUILD (now {BUILD})")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not args.no_streams and hard != resource.RLIM_INFINITY and hard < 2 * args.streams + 200:
        sys.exit(f"{args.streams} streams take {2 * args.streams} descriptors of a proxy; the hard limit is {hard} (ulimit -Hn)")
    wrong, figures = 0, {}
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder:
        for name, part, left_out in (("requests", requests, args.no_requests), ("streams", streams, args.no_streams)):
            if not left_out:
                (Path(folder) / name).mkdir()
                n, figures[name] = part(args, Path(folder) / name)
                wrong += n
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Speed beside nginx and HAProxy.

What is measured runs on core 0; the load and the expert run on core 1. Each round measures every row once, so that a slow minute of
the machine slows all of them. Figures are medians over rounds. CPU time is user and system time of the measured process and its
children over the requests of the round: the load generator saturates before a good proxy does, so requests a second say less.
"""
import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from parts import BUILD, HERE, LOAD, MOCK, PAIR, POINTSMAN, ROOT, Server, free_port, instructions_by_object, load, mock, nginx, short

CORE, OTHER = 0, 1
NOTHING_KEPT = {"decisions": "off", "pin": "0s"}
# name: (route or expert, request body, router that decides)
ROWS = {"pass-through": ("alpha", "fixed", None), "rules": ("rules", "varied", "by_rules"), "category": ("category", "varied", "by_category"),
        "keeping, new": ("keeping", "varied", "by_category"), "keeping, known": ("keeping", "fixed", "by_category")}
PATH = "/v1/chat/completions"


def find(pattern):
    """A shipped model or map, wherever configs/ keeps it."""
    found = sorted((ROOT / "configs").rglob(pattern))
    return found[0] if found else None


def gateway_config(folder, expert, category):
    port = free_port()
    config = {
        "listen": {"address": f"127.0.0.1:{port}"},
        "workers": 1,
        "log": {"requests": True},
        "experts": {"alpha": {"endpoints": [f"http://127.0.0.1:{expert}/v1"]}},
        "routers": {"by_rules": {"plugin": "rules", "rules": [
            {"headers": [{"name": "x-tier", "value": "gold"}], "expert": "alpha"}, {"keywords": ["roof", "ground"], "expert": "alpha"}]}},
        "routes": {"rules": {"routers": ["by_rules"], "default": "alpha", "deadline": "1s", "cache": NOTHING_KEPT}},
    }
    if category:
        names = names_in(category[1])
        for name in names:
            config["experts"].setdefault(name, {"endpoints": [f"http://127.0.0.1:{expert}/v1"]})
        config["routers"]["by_category"] = {"plugin": "category", "model": str(category[0]), "map": str(category[1])}
        route = {"routers": ["by_category"], "default": "alpha", "deadline": "1s"}
        config["routes"]["category"] = {**route, "cache": NOTHING_KEPT}
        config["routes"]["keeping"] = route  # what is kept by default: decisions in memory, and pins
    file = Path(folder) / "pointsman.yaml"
    file.write_text(json.dumps(config))
    return file, port


def names_in(map_file):
    """The experts that a category map names."""
    names = set()

    def walk(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "experts" and isinstance(inner, list):
                    names.update(x for x in inner if isinstance(x, str))
                elif key == "ranking" and isinstance(inner, list):
                    names.update(x if isinstance(x, str) else x.get("expert") for x in inner)
                else:
                    walk(inner)
        elif isinstance(value, list):
            if value and all(isinstance(x, str) for x in value):
                names.update(value)
            for inner in value:
                walk(inner)

    walk(json.loads(Path(map_file).read_text()))
    return sorted(n for n in names if n)


def wrk(port, model, kind, seconds, connections=32):
    out = subprocess.run(["taskset", "-c", str(OTHER), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / "wrk.lua"),
                          f"http://127.0.0.1:{port}{PATH}", "--", model, kind], capture_output=True, text=True)
    match = re.search(r"RESULT requests=(\d+) us=(\d+) bad=(\d+) p50=(\d+) p99=(\d+)", out.stdout)
    if not match:
        sys.exit(f"wrk: {out.stdout}{out.stderr}")
    requests, us, bad, p50, p99 = map(int, match.groups())
    return {"requests": requests, "rate": requests / us * 1e6, "bad": bad, "p50": p50, "p99": p99}


def decides(port, model, router):
    """What the gateway says about one request of a row: is that really what is measured?"""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "A ball falls from a roof to the ground. How fast is it?"}]})
    request = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", data=body.encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        head = reply.headers
    wanted = [("computed", router), ("cached-local", router)] if router else [("named", None)]
    got = (head["x-pointsman-decision"], head["x-pointsman-router"])
    return None if got in wanted else f"{model}: the decision was {got}, not one of {wanted}"


class Row:
    def __init__(self, name, port, server, model="alpha", kind="fixed"):
        self.name, self.port, self.server, self.model, self.kind = name, port, server, model, kind
        self.rates, self.cpus, self.p50s, self.p99s, self.added50, self.added99, self.bad = [], [], [], [], [], [], 0
        self.instructions = None

    def measure(self, seconds):
        before = self.server.cpu()
        got = wrk(self.port, self.model, self.kind, seconds)
        self.rates.append(got["rate"])
        self.cpus.append((self.server.cpu() - before) / max(got["requests"], 1) * 1e6)
        self.bad += got["bad"]

PROMPT = ("Question 000000000: a ball is thrown upwards at 12 m/s from a roof of 30 m; after which time does it hit the ground, and how fast is "
          "it then? Neglect")


def body_of(model):
    return {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 20}


def alone(rows, turns):
    """One request at a time, to each row in turn."""
    args = ["taskset", "-c", str(OTHER), PAIR, str(turns)]
    for row in rows:
        args += [str(row.port), json.dumps(body_of(row.model))]
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    for row, got in zip(rows, json.loads(done.stdout)):
        row.p50s.append(got["p50"])
        row.p99s.append(got["p99"])
        if row is not rows[0]:
            row.added50.append(row.p50s[-1] - rows[0].p50s[-1])
            row.added99.append(row.p99s[-1] - rows[0].p99s[-1])


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})" if values else "-"


def count_instructions(args, port, model, folder):
    """User-space instructions a request, by object, of a program under callgrind."""
    out = Path(folder) / f"callgrind.{model}"
    server = Server(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-line=no", "--trace-children=no", *args], None, port)
    try:
        body = body_of(model)
        load(port, body, requests=300, concurrency=32, seconds=120)
        subprocess.run(["callgrind_control", "-z", str(server.pid)], check=True, capture_output=True)
        got = load(port, body, requests=2000, concurrency=32, seconds=300)
        subprocess.run(["callgrind_control", "-d", str(server.pid)], check=True, capture_output=True)
        time.sleep(0.5)
    finally:
        server.stop()
    dumps = sorted(Path(folder).glob(out.name + ".*"), key=lambda p: p.stat().st_mtime)
    if got["right"] != got["requests"] or not dumps:
        return None
    by = {}
    for name, cost in instructions_by_object(dumps[0]).items():
        by[short(name or "?")] = by.get(short(name or "?"), 0) + cost / got["requests"]
    return by


def idle_memory(file, port):
    server = Server([POINTSMAN, "serve", "-c", file], CORE, port)
    time.sleep(1)
    private = server.private()
    server.stop()
    return private


def main():
    ask = argparse.ArgumentParser(prog="tests/bench/run.sh", description=__doc__)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--seconds", type=int, default=4, help="of each measurement")
    ask.add_argument("--only", help="rows, separated by semicolons: direct;nginx;haproxy;" + ";".join(ROWS))
    ask.add_argument("--no-instructions", action="store_true", help="leave callgrind out")
    ask.add_argument("--json", help="all single figures into this file")
    args = ask.parse_args()
    wanted = args.only.split(";") if args.only else ["direct", "nginx", "haproxy", *ROWS]
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            sys.exit(f"{program} is not installed")
    if not (MOCK.exists() and LOAD.exists() and PAIR.exists()):
        sys.exit(f"no mock-expert, bench-load or bench-pair in {BUILD}: build first, or set POINTSMAN_BUILD")

    folder = tempfile.mkdtemp(prefix="pointsman-bench-")
    servers, rows, notes = [], [], []
    try:
        expert, ports = mock("--tokens", "20", core=OTHER)
        servers.append(expert)
        port = ports["alpha"]
        rows.append(Row("direct", port, expert))
        if "nginx" in wanted and shutil.which("nginx"):
            servers.append(nginx(folder, port, CORE))
            rows.append(Row("nginx", servers[-1].port, servers[-1]))
        if "haproxy" in wanted and shutil.which("haproxy"):
            at = free_port()
            conf = Path(folder) / "haproxy.cfg"
            conf.write_text((HERE / "haproxy.cfg").read_text().format(port=at, expert=port))
            servers.append(Server(["haproxy", "-f", conf], CORE, at))
            rows.append(Row("haproxy", at, servers[-1]))
        model, table = find("*category*.safetensors"), find("*map*.json")
        by_category = {name for name, (_, _, router) in ROWS.items() if router == "by_category"}
        category = (model, table) if model and table and by_category & set(wanted) else None
        if set(ROWS) & set(wanted) and POINTSMAN.exists():
            file, at = gateway_config(folder, port, category)
            gateway = Server([POINTSMAN, "serve", "-c", file], CORE, at)
            servers.append(gateway)
            for name, (asked, kind, router) in ROWS.items():
                if name in wanted and (name not in by_category or category):
                    wrong = decides(at, asked, router)
                    if wrong:
                        notes.append(wrong)
                        continue
                    rows.append(Row(name, at, gateway, asked, kind))
            if by_category & set(wanted) and not category:
                notes.append("category: no trained model in configs/")
        rows = [r for r in rows if r.name in wanted or r.name == "direct"]

        for row in rows:
            wrk(row.port, row.model, row.kind, 1)  # warm
        for n in range(args.rounds):
            print(f"round {n + 1} of {args.rounds}", file=sys.stderr)
            for row in rows:
                row.measure(args.seconds)
            alone(rows, args.seconds * 500)

        private = {}
        for server in servers[1:]:
            server.stop()
        if POINTSMAN.exists() and any(r.server is not expert for r in rows if r.name in ROWS):
            private["idle, experts and rules"] = idle_memory(*gateway_config(folder, port, None))
            if category:
                private["idle, with the category model"] = idle_memory(*gateway_config(folder, port, category))
            if not args.no_instructions and shutil.which("valgrind"):
                for row in rows:
                    if row.name in ROWS and row.name != "keeping, new": # the counted load repeats one body
                        file, at = gateway_config(folder, port, category)
                        row.instructions = count_instructions([POINTSMAN, "serve", "-c", file], at, row.model, folder)
                        if row.instructions is None:
                            notes.append(f"{row.name}: callgrind's run was not clean")
        show(rows, private, notes, args)
        if args.json:
            Path(args.json).write_text(json.dumps([{k: v for k, v in vars(r).items() if k != "server"} for r in rows] + [private], indent=1))
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if any(r.bad for r in rows) else 0


def show(rows, private, notes, args):
    nginx = next((statistics.median(r.cpus) for r in rows if r.name == "nginx"), None)
    print(f"\nMedians of {args.rounds} interleaved rounds of {args.seconds} s, 32 connections, 230-byte request; lowest and highest in brackets. "
          "Measured process on one core, load and expert on the other.\n")
    print("| | requests/s | CPU us a request | against nginx | added p50 us | added p99 us | user instructions a request | errors |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        cpu = statistics.median(r.cpus)
        print(f"| {r.name} | {statistics.median(r.rates):,.0f} | {spread(r.cpus)} | {f'{cpu / nginx:.2f}' if nginx and r.name != 'direct' else '-'} "
              f"| {spread(r.added50)} | {spread(r.added99)} | {f'{sum(r.instructions.values()):,.0f}' if r.instructions else '-'} | {r.bad} |")
    direct = rows[0]
    print(f"\nDirect at concurrency 1: p50 {statistics.median(direct.p50s):.0f} us, p99 {statistics.median(direct.p99s):.0f} us; its CPU time is the mock "
          "expert's own.")
    for name, size in private.items():
        print(f"Private memory {name}: {size / 2**20:.1f} MiB.")
    for r in rows:
        if r.instructions:
            parts = sorted(r.instructions.items(), key=lambda p: -p[1])
            print(f"\n{r.name}, instructions by library: " + ", ".join(f"{n} {c:,.0f}" for n, c in parts if c >= 50) + ".")
    for note in notes:
        print(f"\nNot measured: {note}.")


if __name__ == "__main__":
    sys.exit(main())

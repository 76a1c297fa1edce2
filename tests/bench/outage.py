# SPDX-License-Identifier: Apache-2.0
"""What a dead Redis costs requests: each client asks a gateway with Redis and one without in turn, and Redis is killed in mid-load."""
import argparse
import itertools
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from parts import BUILD, MOCK, POINTSMAN, Server, free_port, mock, wait_for

OVERHEAD = re.compile(rb"\r\nx-pointsman-overhead-us: (\d+)\r\n")
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
SHARES = (0.5, 0.99, 0.999)


class Client:
    """One connection, kept."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, text):
        """(right, microseconds here, microseconds the gateway says it took)"""
        body = b'{"model":"auto","max_tokens":1,"messages":[{"role":"user","content":"%s"}]}' % text
        began = time.perf_counter()
        self.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                          % (len(body), body))
        got = b""
        while b"\r\n\r\n" not in got:
            data = self.sock.recv(65536)
            if not data:
                return False, 0, 0
            got += data
        head, _, rest = got.partition(b"\r\n\r\n")
        head += b"\r\n"
        left = int(LENGTH.search(head).group(1)) - len(rest)
        while left > 0:
            data = self.sock.recv(65536)
            if not data:
                return False, 0, 0
            left -= len(data)
        took = (time.perf_counter() - began) * 1e6
        return head.startswith(b"HTTP/1.1 200"), took, int(OVERHEAD.search(head).group(1))


def gateway(folder, name, experts, plugin, redis, timeout):
    port = free_port()
    config = {
        "listen": {"address": f"127.0.0.1:{port}"}, "workers": 1, "log": {"requests": False},
        "experts": {"alpha": {"endpoints": [f"http://127.0.0.1:{experts['alpha']}/v1"]}},
        "routers": {"decider": {"plugin": str(plugin)}},
        "routes": {"auto": {"routers": ["decider"], "cache": {"decisions": "shared" if redis else "local"}}},
    }
    if redis:
        config["cache"] = {"redis": {"servers": [f"unix:{redis}"], "timeout": timeout}}
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(config))
    return Server([POINTSMAN, "serve", "-c", file], None, port)


def quantile(values, share):
    values = sorted(values)
    return values[min(int(len(values) * share), len(values) - 1)]


def main():
    ask = argparse.ArgumentParser(prog="tests/bench/outage.sh", description=__doc__)
    ask.add_argument("--requests", type=int, default=20000, help="for each of the two gateways; Redis is killed after half of them")
    ask.add_argument("--clients", type=int, default=4)
    ask.add_argument("--timeout", default="5ms", help="cache.redis.timeout")
    ask.add_argument("--pause", action="store_true", help="Redis is stopped, not killed: it takes commands and does not answer")
    args = ask.parse_args()
    plugin = BUILD / "tests" / "routers" / "uses_reads.so"
    for program in (MOCK, POINTSMAN, plugin):
        if not program.exists():
            sys.exit(f"{program} is not there: build first, or set POINTSMAN_BUILD (now {BUILD})")
    if not shutil.which("redis-server"):
        sys.exit("redis-server is not there: deploy/deps.sh installs it")

    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        folder = Path(folder)
        port = free_port()
        redis = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", folder / "s", "--save", "", "--dir", folder],
                                 stdout=subprocess.DEVNULL)
        wait_for(port)
        experts, ports = mock("--tokens", "1")
        with_redis = gateway(folder, "with", ports, plugin, folder / "s", args.timeout)
        without = gateway(folder, "without", ports, plugin, None, args.timeout)
        time.sleep(0.3)  # connected by then; if not, "before" shows it
        numbers, lock, seen, down_at = itertools.count(), threading.Lock(), [], [None]

        def client():
            a, b = Client(with_redis.port), Client(without.port)
            while True:
                with lock:
                    n = next(numbers)
                if n >= args.requests:
                    return
                text = b"alpha, question %d" % n
                when = time.perf_counter()
                seen.append((when, a.ask(text), b.ask(text)))

        threads = [threading.Thread(target=client) for _ in range(args.clients)]
        for thread in threads:
            thread.start()
        while len(seen) < args.requests // 2:
            time.sleep(0.0005)
        if args.pause:
            redis.send_signal(19)
        else:
            redis.kill()
        down_at[0] = time.perf_counter()
        for thread in threads:
            thread.join()
        redis.kill()
        redis.wait()
        for server in (with_redis, without, experts):
            server.stop()

    wrong = sum(not a[0] or not b[0] for _, a, b in seen)
    phases = {"Redis there": [s for s in seen if s[0] < down_at[0]], "Redis down": [s for s in seen if s[0] >= down_at[0]]}
    print("| phase | requests | gateway | client p50 us | p99 | p99.9 | overhead p50 us | p99 | p99.9 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for phase, rows in phases.items():
        for which, name in ((1, "with Redis"), (2, "without")):
            cells = [f"{quantile([r[which][k] for r in rows], share):.0f}" for k in (1, 2) for share in SHARES]
            print(f"| {phase} | {len(rows)} | {name} | " + " | ".join(cells) + " |")
    for phase, rows in phases.items():
        added = [quantile([r[1][k] for r in rows], 0.99) - quantile([r[2][k] for r in rows], 0.99) for k in (1, 2)]
        print(f"\n{phase}: added at p99, against the gateway without in the same run: {added[0] / 1000:+.2f} ms seen by clients, "
              f"{added[1] / 1000:+.2f} ms overhead.")
    print(f"\n{len(seen) * 2 - wrong} of {args.requests * 2} answers right.")
    return 0 if wrong == 0 and len(seen) == args.requests else 1


if __name__ == "__main__":
    sys.exit(main())

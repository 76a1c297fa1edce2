# SPDX-License-Identifier: Apache-2.0
"""Everything at once, for long: is memory flat, does it come back, and is every answer right that should be?"""
import argparse
import collections
import json
import os
import random
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from parts import BUILD, LOAD, MOCK, POINTSMAN, ROOT, Server, free_port, load, mock, wait_for

CERTS = BUILD / "tests" / "mock"
TOKEN = "soak-soak-soak-soak"
MIB = 1 << 20
SAMPLE_S, REST_S = 10, 30
FLAT_FROM_MIN = 5             # until then caches, pools and the allocator fill
FLAT, BACK = 8 * MIB, 20 * MIB  # what memory may differ: between the first and the last third of the flat part; from the start, after the end
TOKENS = 20
FAULTS = {
    "reset": "reset", "cut": "cut-after=300", "stall": "stall-after=3", "malformed": "malformed-at=2", "error": "error-event=2", "object": "error-object=1",
    "no-done": "no-done", "silent": "accept-never-answer", "html": "status=502;html", "busy": "status=429;retry-after-ms=50", "dropped": "drop",
    "http10": "http10", "split": "split=7;tokens=3", "reset-late": "reset;cut-after=200",
}


def body(model, stream=False, text="A question of the usual length, asked again.", **more):
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}], **more}


class Client:
    """One connection, kept as long as it lasts."""

    def __init__(self, port, seconds=30):
        self.port, self.seconds, self.sock = port, seconds, None

    def close(self, hard=False):
        if self.sock and hard:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.sock:
            self.sock.close()
        self.sock = None

    def send(self, path, content, headers=""):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if not self.sock:
            self.sock = socket.create_connection(("127.0.0.1", self.port), self.seconds)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    def ask(self, path, content, headers=""):
        """(status, body); status 0: it was cut. A silence of `seconds` is an error that stops the soak."""
        self.send(path, content, headers)
        got = b""
        while b"\r\n\r\n" not in got:
            piece = self.sock.recv(65536)
            if not piece:
                return self.cut()
            got += piece
        head, _, rest = got.partition(b"\r\n\r\n")
        status = int(head[9:12])
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.I)
        chunked = re.search(rb"\r\ntransfer-encoding: chunked", head, re.I)
        while not (rest.endswith(b"0\r\n\r\n") if chunked else len(rest) >= int(length.group(1)) if length else False):
            piece = self.sock.recv(65536)
            if not piece:
                return self.cut()
            rest += piece
        if re.search(rb"\r\nconnection: close", head, re.I):
            self.close()
        return status, rest

    def cut(self):
        self.close()
        return 0, b""


class Load(threading.Thread):
    """Something that is done again and again, with a rest; counts how it ended. `right`: the outcomes that may be."""

    def __init__(self, soak, name, once, rest, right=None):
        super().__init__(name=name, daemon=True)
        self.soak, self.once, self.rest, self.right, self.ends, self.failed = soak, once, rest, right, collections.Counter(), None
        self.client = Client(soak.port)

    def run(self):
        try:
            while not self.soak.over.wait(self.rest * random.uniform(0.5, 1.5)):
                ends = self.once(self)
                for end, n in (ends if isinstance(ends, dict) else {ends: 1}).items():
                    self.ends[end] += n
        except Exception as e:  # whatever it was, the verdict names it
            self.failed = f"{type(e).__name__}: {e}"
        finally:
            self.client.close()

    def wrong(self):
        return sum(n for end, n in self.ends.items() if self.right is not None and end not in self.right)


class Soak:
    def __init__(self, args, folder):
        self.args, self.folder = args, Path(folder)
        self.over = threading.Event()
        self.port, self.admin = free_port(), free_port()
        self.redis, self.redis_port = None, free_port()
        self.file = self.folder / "pointsman.yaml"
        self.servers, self.loads, self.samples = [], [], []
        self.reloads = 0

    # ---- what runs ----

    def start_redis(self):
        self.redis = subprocess.Popen(["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder],
                                      stdout=subprocess.DEVNULL)
        wait_for(self.redis_port)

    def start_experts(self):
        good, self.good = mock("--tokens", str(TOKENS), "--dimension", "16")
        slow, self.slow = mock("--tokens", str(TOKENS), "--rate", "100")
        script = self.folder / "faults.json"
        script.write_text(json.dumps([{"expert": name, "always": True, "fault": fault} for name, fault in FAULTS.items()]))
        bad, self.bad = mock("--tokens", str(TOKENS), "--rate", "200", "--script", script, names=tuple(FAULTS))
        tls = Server([MOCK, "--log", "0", "--tokens", str(TOKENS), "--tls-port", "0=tls", "--cert", CERTS / "server.pem", "--key", CERTS / "server.key"])
        self.tls = int(tls.child.stdout.readline().split()[1].rsplit(":", 1)[1])
        self.servers += [good, slow, bad, tls]

    def shop(self):
        """The catalogue of four items that the fuzzers have."""
        data = (ROOT / "tests/fuzz/corpus/catalogue/arrays").read_bytes()[1:]
        shop = self.folder / "shop"
        shop.mkdir()
        (shop / "catalogue.safetensors").write_bytes(data)
        (shop / "manifest.json").write_text(json.dumps({
            "kind": "pointsman.interests", "version": 1, "files": {"catalogue.safetensors": {"bytes": len(data)}},
            "settings": {"interests": 4, "neighbours": 3, "own": 0.5, "near": 1, "also": 1, "votes": 1, "popular": 1, "self": 1, "sharpness": 2, "pool": 200,
                         "budget": 20}}))
        return shop

    def configuration(self, turn):
        at = "http://127.0.0.1:{}/v1".format
        patient = {"breaker": {"failures": 1000}, "retries": 0, "idle_time": "1s", "first_token_time": "1s", "answer_time": "1s"}
        experts = {
            "plain": {"endpoints": at(self.good["alpha"]), "apis": ["chat", "completions", "responses", "embeddings"]},
            "curl": {"endpoints": at(self.good["alpha"]), "transport": "curl"},
            "tls": {"endpoints": f"https://localhost:{self.tls}/v1", "ca": str(CERTS / "ca.pem")},
            "slow": {"endpoints": at(self.slow["alpha"])},
            "slow-curl": {"endpoints": at(self.slow["alpha"]), "transport": "curl"},
        }
        for name, port in self.bad.items():
            for transport in ("plain", "curl"):
                experts[f"{name}-{transport}"] = {"endpoints": at(port), "transport": transport, **patient}
        routers = {"words": {"plugin": "rules", "rules": [{"keywords": ["reset"], "expert": "reset-plain", "fallbacks": ["plain"]},
                                                         {"keywords": ["question"], "expert": ("plain", "curl")[turn % 2], "fallbacks": ["tls"]}]}}
        routes = {"auto": {"routers": ["words"], "default": "plain", "cache": {"decisions": "shared", "answers": "1m"}}}
        if self.shop_folder:
            routers["shop"] = {"plugin": "interests", "index": str(self.shop_folder), "verify": False}
            routes["shop"] = {"routers": ["shop"]}
        return {
            "listen": {"address": f"127.0.0.1:{self.port}"}, "admin": {"address": f"127.0.0.1:{self.admin}", "token": TOKEN},
            "workers": self.args.workers, "log": {"level": "error", "requests": False}, "limits": {"body": "12MiB"},
            "experts": experts, "routers": routers, "routes": routes,
            "embedders": {"static": {"model": str(ROOT / "configs/models/pointsman-static")}},
            "feedback": {"file": str(self.folder / "feedback.tsv"), "memory": "1MiB"},
            # small, so that what is kept is not taken for what is lost
            "cache": {"memory": "1MiB", "pins": "1MiB", "answers": "1MiB", "vectors": "1MiB", "redis": {"servers": [f"redis://127.0.0.1:{self.redis_port}"]}},
        }

    def ask_admin(self, path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", method=method, headers={"Authorization": "Bearer " + TOKEN})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    # ---- loads: one turn of each ----

    def bulk(self, models, stream, requests, concurrency):
        def once(_):
            got = load(self.port, body(random.choice(models), stream), requests=requests, concurrency=concurrency, seconds=120,
                       **({"stream": True, "expect": TOKENS + 1} if stream else {}))
            return {"right": got["right"], **({"wrong": requests - got["right"]} if requests != got["right"] else {})}
        return once

    def fault(self, me):
        name, stream = random.choice([*FAULTS]) + random.choice(("-plain", "-curl")), random.random() < 0.5
        status, _ = me.client.ask("/v1/chat/completions", body(name, stream))
        return str(status)

    def routed(self, me):
        text = random.choice(("reset", "question")) + f" {random.randrange(1000)}"
        status, _ = me.client.ask("/v1/chat/completions", body("auto", random.random() < 0.5, text, temperature=random.choice((0, 1))),
                                  f"x-session-id: {random.randrange(200)}\r\n")
        return str(status)

    def leave(self, me):
        """Anywhere: in the head, in the body, while it waits, in the stream; with a FIN or a reset."""
        client = Client(self.port)
        client.send("/v1/chat/completions", body(random.choice(("slow", "slow-curl", "stall-plain", "silent-curl", "tls")), random.random() < 0.8))
        client.sock.settimeout(random.uniform(0.001, 0.3))
        try:
            for _ in range(random.randrange(4)):
                client.sock.recv(random.randrange(1, 2000))
        except TimeoutError:
            pass
        client.close(hard=random.random() < 0.5)
        return "left"

    def big(self, me):
        content = json.dumps(body("plain", text="x" * 10_000_000)).encode()
        status, _ = me.client.ask("/v1/chat/completions", content)
        return str(status)

    def recommend(self, me):
        if random.random() < 0.3:
            status, _ = me.client.ask("/v1/feedback", {"user": f"u{random.randrange(5000)}", "item": random.choice("yzxw")})
        else:
            status, _ = me.client.ask("/v1/recommend", {"user": random.choice(("a", "b", f"u{random.randrange(5000)}")), "n": 3, "deny": ["w"], "explain": True})
        return str(status)

    def embed(self, me):
        status, _ = me.client.ask("/v1/embeddings", {"model": random.choice(("static", "plain")), "input": ["some words", f"number {random.random()}"] * 8})
        return str(status)

    def reload(self, _):
        self.reloads += 1
        broken = self.reloads % 4 == 0
        self.file.write_text("experts: {plain: {endpoints: [ftp://nowhere]}}\nrouters: [" if broken else json.dumps(self.configuration(self.reloads)))
        status, _ = self.ask_admin("/admin/reload", "POST")
        return "as expected" if (status == 200) != broken else f"{status}{' of a broken file' if broken else ''}"

    def kill_redis(self, _):
        self.redis.kill()
        self.redis.wait()
        time.sleep(random.uniform(0, 3))
        self.start_redis()
        return "restarted"

    def begin_loads(self):
        good = ["plain", "curl", "tls"]

        def add(name, once, rest, right=None, times=1):
            self.loads += [Load(self, name, once, rest, right) for _ in range(times)]
        add("whole", self.bulk(good, False, 1000, self.args.clients), 0.5, {"right"})
        add("streamed", self.bulk(["slow", "slow-curl", *good], True, 4 * self.args.clients, 2 * self.args.clients), 0.5, {"right"})
        add("fault", self.fault, 0.02, None, 4)
        add("routed", self.routed, 0.01, {"200"}, 2)
        add("leave", self.leave, 0.02, {"left"}, 2)
        add("10 MB", self.big, 2, {"200"}, 2)
        if self.shop_folder:
            add("recommend", self.recommend, 0.02, {"200"})
        add("embeddings", self.embed, 0.05, {"200"})
        add("reload", self.reload, 20, {"as expected"})
        add("Redis", self.kill_redis, 30, {"restarted"})
        for one in self.loads:
            one.start()

    # ---- measured ----

    def sample(self, gateway, began):
        found = re.search(r"^pointsman_in_flight (\d+)", self.ask_admin("/metrics")[1], re.M)
        one = {"s": time.monotonic() - began, "resident": gateway.resident(), "descriptors": len(os.listdir(f"/proc/{gateway.pid}/fd")),
               "threads": len(os.listdir(f"/proc/{gateway.pid}/task")), "in flight": int(found.group(1)), "cpu": gateway.cpu()}
        self.samples.append(one)
        return one

    def show(self, name, one):
        print(f"| {name} | {one['resident'] / MIB:.1f} | {one['descriptors']} | {one['threads']} | {one['in flight']} | {one['cpu']:.0f} |", flush=True)

    def run(self):
        self.shop_folder = self.shop() if (BUILD / "routers/interests.so").exists() else None
        self.start_redis()
        self.start_experts()
        self.file.write_text(json.dumps(self.configuration(0)))
        gateway = Server([POINTSMAN, "serve", "-c", self.file], None, self.port)
        self.servers.append(gateway)
        print("| after | resident MiB | descriptors | threads | in flight | CPU s |\n| --- | --- | --- | --- | --- | --- |")
        time.sleep(1)
        began = time.monotonic()
        start = self.sample(gateway, began)
        self.show("start", start)
        self.begin_loads()
        end = began + 60 * self.args.minutes
        while time.monotonic() < end and gateway.child.poll() is None:
            time.sleep(min(SAMPLE_S, max(end - time.monotonic(), 0.1)))
            if gateway.child.poll() is None:
                one = self.sample(gateway, began)
                if int(one["s"] / 60) > int(self.samples[-2]["s"] / 60) or time.monotonic() >= end:
                    self.show(f"{one['s'] / 60:.0f} min", one)
        self.over.set()
        for one in self.loads:
            one.join(180)
        hanging = [one.name for one in self.loads if one.is_alive()]
        samples = self.samples[1:]
        time.sleep(REST_S)
        last = self.sample(gateway, began) if gateway.child.poll() is None else None
        if last:
            self.show(f"{REST_S} s after the end", last)
        status = gateway.stop()
        return self.verdict(start, samples, last, status, hanging, gateway)

    def verdict(self, start, samples, last, status, hanging, gateway):
        wrong = []
        flat_from = 60 * min(FLAT_FROM_MIN, self.args.minutes / 3)
        flat = [one["resident"] for one in samples if one["s"] >= flat_from]
        third = max(len(flat) // 3, 1)
        grown = statistics.median(flat[-third:]) - statistics.median(flat[:third]) if flat else 0
        print("\n| load | ends |\n| --- | --- |")
        for name in dict.fromkeys(one.name for one in self.loads):
            same = [one for one in self.loads if one.name == name]
            ends = sum((one.ends for one in same), collections.Counter())
            print(f"| {name} | {', '.join(f'{n:,} {end}' for end, n in ends.most_common())} |")
            if not ends:
                wrong.append(f"{name}: nothing was done")
            if any(one.wrong() for one in same):
                wrong.append(f"{name}: {sum(one.wrong() for one in same)} did not end as they should")
            wrong += [f"{name}: {one.failed}" for one in same if one.failed]
        wrong += [f"{name}: still waiting after 180 s" for name in hanging]
        if grown > FLAT:
            wrong.append(f"memory grew by {grown / MIB:.1f} MiB from minute {flat_from / 60:.1f} on (at most {FLAT / MIB:.0f})")
        if not last:
            wrong.append("the gateway ended before its time: " + gateway.said()[-1000:])
        else:
            kept = last["resident"] - start["resident"]
            print(f"\nMemory from minute {flat_from / 60:.1f} on: {grown / MIB:+.1f} MiB; {REST_S} s after the end: {kept / MIB:+.1f} MiB against the start.")
            if kept > BACK:
                wrong.append(f"{kept / MIB:.1f} MiB more than at the start are left {REST_S} s after the end (at most {BACK / MIB:.0f})")
            if last["in flight"]:
                wrong.append(f"{last['in flight']} requests are still in flight")
            if last["threads"] > max(one["threads"] for one in samples):
                wrong.append("threads were added")
            if last["descriptors"] > max(one["descriptors"] for one in samples[:max(len(samples) // 3, 1)]):
                wrong.append(f"{last['descriptors']} descriptors are open, more than in the first third")
        if status != 0:
            wrong.append(f"it ended with {status}: {gateway.said()[-1000:]}")
        print("\n" + ("PASSED" if not wrong else "FAILED: " + "; ".join(wrong)))
        return 1 if wrong else 0


def main():
    ask = argparse.ArgumentParser(prog="tests/bench/soak.sh", description=__doc__)
    ask.add_argument("--minutes", type=float, default=20)
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--clients", type=int, default=16, help="that want whole answers; twice as many want streams")
    args = ask.parse_args()
    for program in (MOCK, POINTSMAN, LOAD):
        if not program.exists():
            sys.exit(f"{program} is not there: build first, or set POINTSMAN_BUILD (now {BUILD})")
    if not shutil.which("redis-server"):
        sys.exit("redis-server is not there: deploy/deps.sh installs it")
    with tempfile.TemporaryDirectory(prefix="pm-soak-") as folder:
        soak = Soak(args, folder)
        try:
            return soak.run()
        finally:
            soak.over.set()
            for server in soak.servers[::-1]:
                server.stop()
            if soak.redis:
                soak.redis.kill()
                soak.redis.wait()


if __name__ == "__main__":
    sys.exit(main())

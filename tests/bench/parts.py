# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: processes on a core, their CPU time and memory, and what callgrind counted."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))  # all of it is on this machine

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("POINTSMAN_BUILD", ROOT / "build")).resolve()
MOCK = BUILD / "tests" / "mock" / "mock-expert"
POINTSMAN = BUILD / "server" / "pointsman"
LOAD = BUILD / "tests" / "bench" / "bench-load"
PAIR = BUILD / "tests" / "bench" / "bench-pair"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise SystemExit(f"nothing listens on {port}")
            time.sleep(0.02)


class Server:
    """A program on a core; it and its children are measured together."""

    def __init__(self, args, core=None, port=None):
        pin = ["taskset", "-c", str(core)] if core is not None else []
        self.log = tempfile.TemporaryFile("w+")
        self.child = subprocess.Popen([*pin, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = port
        if port:
            wait_for(port)

    @property
    def pid(self):
        return self.child.pid

    def pids(self):
        out, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            out.append(pid)
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    todo += [int(c) for c in (task / "children").read_text().split()]
            except OSError:
                pass
        return out

    def cpu(self):
        """Seconds of CPU time, user and system, so far."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def private(self):
        """Bytes that are this process's own."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean:", "Private_Dirty:")):
                    total += int(line.split()[1]) * 1024
        return total

    def resident(self):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise SystemExit("the measured process has ended")

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return -9

    def said(self):
        self.log.seek(0)
        return self.log.read()[-4000:]


def mock(*options, core=None, names=("alpha",)):
    """A scripted expert; returns the server and its ports by name."""
    args = [MOCK, "--log", "0", *options]
    for name in names:
        args += ["--port", f"0={name}"]
    server = Server(args, core)
    ports = {}
    for _ in names:
        line = server.child.stdout.readline().split()
        if not line:
            raise SystemExit("mock-expert did not start: " + server.said())
        ports[line[2]] = int(line[1].rsplit(":", 1)[1])
    return server, ports


def nginx(folder, expert, core=None, buffering="on"):
    """nginx before that port, with nginx.conf. For streams it must not buffer."""
    port = free_port()
    conf = Path(folder) / "nginx.conf"
    conf.write_text((HERE / "nginx.conf").read_text().format(port=port, expert=expert, folder=folder, buffering=buffering))
    return Server(["nginx", "-c", conf, "-p", folder, "-e", f"{folder}/nginx.log"], core, port)


def gateway(folder, expert, core=None, **more):
    """A gateway of one worker before that port, whose one expert is called alpha."""
    port = free_port()
    file = Path(folder) / "pointsman.yaml"
    file.write_text(json.dumps({"listen": {"address": f"127.0.0.1:{port}"}, "workers": 1,
                                "experts": {"alpha": {"endpoints": [f"http://127.0.0.1:{expert}/v1"]}}, **more}))
    return Server([POINTSMAN, "serve", "-c", file], core, port)


def connections(port):
    """How many connections a mock expert has had so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/mock/stats", timeout=60) as reply:
        return json.load(reply)["accepted"]


def load(port, body, **options):
    """bench-load's report; flags by keyword."""
    args = [LOAD, "--port", port, "--body", json.dumps(body)]
    for name, value in options.items():
        args += [f"--{name}"] if value is True else [f"--{name}", value]
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit("bench-load: " + done.stderr)
    return json.loads(done.stdout)


# ---- callgrind ---------------------------------------------------------------------------------------------------------------


def instructions_by_object(file):
    """Self cost of each object (program or library) in a callgrind.out file."""
    names, sums, current, call = {}, {}, None, False

    def name(text):
        match = re.match(r"\((\d+)\)(?: (.*))?", text)
        if match.group(2):
            names[match.group(1)] = match.group(2)
        return names[match.group(1)]

    with open(file) as lines:
        for line in lines:
            if line.startswith("ob="):
                current = name(line[3:].strip())
            elif line.startswith("cob="):
                name(line[4:].strip())
            elif line.startswith("calls="):
                call = True  # the next line is the callee's cost, counted there
            elif line[0] in "0123456789+-*":
                if call:
                    call = False
                else:
                    sums[current] = sums.get(current, 0) + int(line.split()[1])
    return sums


def short(path):
    base = Path(path).name
    base = re.sub(r"^lib", "", re.sub(r"[-.]so.*|-\d[\d.]*\.so.*", "", base)) if ".so" in base else base
    return {"event_core": "libevent", "event_openssl": "libevent", "event_pthreads": "libevent", "http_parser": "http-parser", "c": "libc", "ld-linux-x86-64": "ld.so"}.get(base, base)

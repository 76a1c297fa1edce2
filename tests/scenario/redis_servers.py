# SPDX-License-Identifier: Apache-2.0
"""Real Redis servers for one scenario: alone, watched by Sentinels, as a cluster. On loopback, nothing on disk outlives them."""
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from harness import PATIENCE, free_port, until


class RedisError(Exception):
    """What Redis said instead of an answer."""


def _read(file):
    line = file.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("Redis has closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else file.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [_read(file) for _ in range(int(rest))]
    return rest.decode()


class Redis:
    """redis-server on a port and a Unix socket, without persistence. kill() and start() may follow each other."""

    def __init__(self, *options, config=None, cluster=False, password=None, sentinel=False):
        self.folder = Path(tempfile.mkdtemp(prefix="pm-redis-"))  # a Unix socket's path is short
        self.port = free_port()
        self.socket = self.folder / "s"
        self.password = password
        self.child = None
        self.args = ["redis-server"]
        if config is not None:
            (self.folder / "conf").write_text(config)
            self.args.append(self.folder / "conf")
        self.args += ["--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder, "--logfile", self.folder / "log"]
        if sentinel:
            self.args.append("--sentinel")
        else:
            self.args += ["--unixsocket", self.socket, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        if cluster:
            self.args += ["--cluster-enabled", "yes", "--cluster-port", free_port(), "--cluster-node-timeout", "1000",
                          "--cluster-require-full-coverage", "no"]
        if password:
            self.args += ["--requirepass", password]
        self.args += options
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    # -- life

    def start(self):
        self.child = subprocess.Popen([str(a) for a in self.args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("redis-server does not answer: " + str(self.folder / "log"), self._answers)

    def _answers(self):
        assert self.child.poll() is None, f"redis-server ended with {self.child.returncode}: " + self.said()[-2000:]
        try:
            return self.ask("PING") == "PONG"
        except (OSError, RedisError):
            return False

    def kill(self):
        """As kill -9 does it."""
        self.child.kill()
        self.child.wait(PATIENCE)

    def signal(self, number):
        self.child.send_signal(number)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()  # there is nothing to save
            self.child.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)

    def said(self):
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    # -- commands

    def ask(self, *words, timeout=PATIENCE):
        with socket.create_connection(("127.0.0.1", self.port), timeout) as s, s.makefile("rb") as file:
            for command in ([("AUTH", self.password)] if self.password else []) + [words]:
                made = [w if isinstance(w, bytes) else str(w).encode() for w in command]
                s.sendall(b"*%d\r\n" % len(made) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in made))
                answer = _read(file)
            return answer

    def keys(self, pattern="*"):
        return sorted(k.decode() for k in self.ask("KEYS", pattern))

    def info(self, field):
        for line in self.ask("INFO").decode().splitlines():
            if line.startswith(field + ":"):
                return line.split(":", 1)[1].strip()
        return None

    def calls(self, command):
        """How often it was asked for that; 0 after CONFIG RESETSTAT."""
        text = self.ask("INFO", "commandstats").decode()
        found = [line for line in text.splitlines() if line.startswith(f"cmdstat_{command.lower()}:")]
        return int(found[0].split("calls=", 1)[1].split(",", 1)[0]) if found else 0

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix(self):
        return f"unix:{self.socket}"


class Watched:
    """A master, a replica and three Sentinels."""

    def __init__(self):
        self.nodes = [Redis()]
        try:
            self.nodes.append(Redis("--replicaof", "127.0.0.1", self.nodes[0].port))
            self.sentinels = []
            for _ in range(3):
                self.sentinels.append(Redis(sentinel=True, config=(
                    f"sentinel monitor mine 127.0.0.1 {self.nodes[0].port} 2\n"
                    "sentinel down-after-milliseconds mine 500\nsentinel failover-timeout mine 4000\n")))
            until("the replica follows", lambda: self.nodes[1].info("master_link_status") == "up")
            until("the sentinels know each other and the replica", lambda: all(self._knows(s) for s in self.sentinels))
        except BaseException:
            self.stop()
            raise

    def _knows(self, sentinel):
        master = sentinel.ask("SENTINEL", "MASTER", "mine")
        fields = dict(zip(master[::2], master[1::2]))
        return fields[b"num-other-sentinels"] == b"2" and fields[b"num-slaves"] == b"1"

    def master(self):
        """The node that the first Sentinel names."""
        port = int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mine")[1])
        return next(n for n in self.nodes if n.port == port)

    def settings(self, **more):
        return {"mode": "sentinel", "master": "mine", "servers": [s.url for s in self.sentinels], **more}

    def stop(self):
        for one in getattr(self, "sentinels", []) + self.nodes:
            one.stop()


class Cluster:
    """Three masters with a replica each."""

    def __init__(self):
        self.nodes = []
        try:
            for _ in range(6):
                self.nodes.append(Redis(cluster=True))
            self.cli("create", *[f"127.0.0.1:{n.port}" for n in self.nodes], "--cluster-replicas", "1")
            until("the cluster is whole", lambda: all(self._whole(n) for n in self.nodes))
        except BaseException:
            self.stop()
            raise

    def cli(self, verb, *words):
        done = subprocess.run(["redis-cli", "--cluster", verb, *map(str, words), "--cluster-yes"], capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return done.stdout

    def _whole(self, node):
        told = node.ask("CLUSTER", "INFO").decode()
        return "cluster_state:ok" in told and "cluster_slots_ok:16384" in told and "cluster_known_nodes:6" in told and (
            len([line for line in self.table(node) if "slave" in line[2]]) == 3 and
            (node.info("role") == "master" or node.info("master_link_status") == "up"))

    def table(self, node):
        """CLUSTER NODES, a list of words for each."""
        return [line.split() for line in node.ask("CLUSTER", "NODES").decode().splitlines()]

    def masters(self, asked=None):
        """(node, id) of all masters that live, as one of the nodes sees it."""
        asked = asked or next(n for n in self.nodes if n.child.poll() is None)
        out = []
        for words in self.table(asked):
            if "master" in words[2] and "fail" not in words[2] and len(words) > 8:
                port = int(words[1].split("@")[0].rsplit(":", 1)[1])
                out.append((next(n for n in self.nodes if n.port == port), words[0]))
        return out

    def check(self):
        return subprocess.run(["redis-cli", "--cluster", "check", f"127.0.0.1:{self.nodes[0].port}"], capture_output=True, text=True, timeout=PATIENCE)

    def reshard(self, giver, taker, slots):
        """Moves so many slots with their keys, from one id to another; on a busy machine the nodes take a while to agree after the last time."""
        until("the nodes agree", lambda: self.check().returncode == 0)
        return self.cli("reshard", f"127.0.0.1:{self.nodes[0].port}", "--cluster-from", giver, "--cluster-to", taker, "--cluster-slots", slots)

    def keys(self, pattern="*"):
        return sorted(k for node, _ in self.masters() for k in node.keys(pattern))

    def settings(self, **more):
        return {"mode": "cluster", "servers": [n.url for n in self.nodes[:3]], **more}

    def stop(self):
        for one in self.nodes:
            one.stop()

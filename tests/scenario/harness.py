# SPDX-License-Identifier: Apache-2.0
"""What a scenario is made of: scripted experts, a gateway, a client that sees every byte.

A World owns the processes of one scenario and its mode: which transport leads to the experts, and whether clients speak TLS.
All that listens is on loopback; all waits have an end.
"""
import base64
import itertools
import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("POINTSMAN_BUILD", ROOT / "build")).resolve()
MOCK = BUILD / "tests" / "mock" / "mock-expert"
POINTSMAN = BUILD / "server" / "pointsman"
CERTS = BUILD / "tests" / "mock"
SANITIZED = "ASAN_OPTIONS" in os.environ or "TSAN_OPTIONS" in os.environ  # then memory keeps what was freed for a while
PATIENCE = 20.0  # seconds for anything that should happen at once; sanitizers and busy machines are slow

REPORT = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|LeakSanitizer|Assertion .* failed|Segmentation fault")


def until(what, condition, seconds=PATIENCE):
    """Polls until condition() is true and returns its value; fails with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < end, f"after {seconds} s: {what}"
        time.sleep(0.01)


# Below the ports that the kernel hands out, and for each of pytest's workers its own, so that nobody takes one between our look
# and the gateway's bind.  They begin anywhere, so that another run on the same machine is somewhere else.
_range = range(20000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
               21000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]))
_ports = itertools.islice(itertools.cycle(_range), os.getpid() * 37 % 1000, None)


def free_port():
    for port in _ports:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


# ---- the client ----------------------------------------------------------------------------------------------------------


class Reply:
    """An answer as it came. `complete`: it ended as its framing promised, not by a cut."""

    def __init__(self):
        self.status = 0
        self.headers = {}
        self.body = b""
        self.pieces = []  # (seconds since the request, bytes): one for each chunk, or read
        self.complete = False

    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """The data of each event of a stream, in order, unparsed."""
        return [data for _, data in self.named_events]

    @property
    def named_events(self):
        out = []
        for block in self.body.decode().replace("\r\n", "\n").split("\n\n"):
            name, data = None, []
            for line in block.split("\n"):
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data.append(line[5:].strip())
            if data:
                out.append((name, "\n".join(data)))
        return out

    @property
    def done(self):
        return bool(self.events) and self.events[-1] == "[DONE]"

    @property
    def chunks(self):
        return [json.loads(e) for e in self.events if e != "[DONE]"]

    @property
    def text(self):
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in self.chunks if c.get("choices"))

    @property
    def error(self):
        """The error of an answer or of the last event, with all four keys, or None."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            errors = [c["error"] for c in self.chunks if c.get("error")]
        else:
            errors = [self.json().get("error")] if self.body else []
        if not errors or not errors[-1]:
            return None
        assert set(errors[-1]) >= {"message", "type", "param", "code"}, f"not OpenAI's error shape: {errors[-1]}"
        return errors[-1]


class Wire:
    """One client connection. Bytes in, bytes out: nothing is added or mended."""

    def __init__(self, host, port, tls=None, timeout=PATIENCE, rcvbuf=None):
        raw = socket.socket()
        if rcvbuf:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        raw.settimeout(timeout)
        raw.connect((host, port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        self.buf = b""
        self.sent_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sent_at = time.monotonic()
        self.sock.sendall(data)
        return self

    def request(self, method, path, body=None, headers=(), host="localhost"):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        names = set()
        for name, value in dict(headers).items():
            lines.append(f"{name}: {value}")
            names.add(name.lower())
        if body is not None:
            if "content-type" not in names:
                lines.append("Content-Type: application/json")
            if "content-length" not in names and "transfer-encoding" not in names:
                lines.append(f"Content-Length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        try:
            self.send(head + (body or b""))
        except (ConnectionError, ssl.SSLError):
            pass  # refused in the middle of a large body: the answer is there to be read
        return self

    def _more(self):
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        self.buf += data
        return bool(data)

    def _line(self):
        while b"\r\n" not in self.buf:
            if not self._more():
                return None
        line, self.buf = self.buf.split(b"\r\n", 1)
        return line

    def head(self):
        """Reads a status line and headers; None when the connection ended instead."""
        reply = Reply()
        line = self._line()
        while line is not None and line.startswith(b"HTTP/1.1 100"):
            self._line()
            line = self._line()
        if line is None:
            return None
        match = re.fullmatch(rb"HTTP/1\.[01] (\d\d\d) ?.*", line)
        assert match, f"not a status line: {line!r}"
        reply.status = int(match.group(1))
        while True:
            line = self._line()
            if line is None:
                return None
            if not line:
                return reply
            name, _, value = line.partition(b":")
            name = name.decode().lower()
            assert name not in reply.headers or name in ("set-cookie", "server-timing"), f"header twice: {name}"
            reply.headers[name] = value.strip().decode("latin-1")

    def pieces(self, reply):
        """Yields pieces of the body as they come, filling the reply."""

        def piece(data):
            reply.body += data
            reply.pieces.append((time.monotonic() - self.sent_at, data))
            return data

        if reply.headers.get("transfer-encoding") == "chunked":
            while True:
                line = self._line()
                if line is None:
                    return
                n = int(line.split(b";")[0], 16)
                while len(self.buf) < n + 2:
                    if not self._more():
                        if self.buf:
                            yield piece(self.buf)
                        return
                data, self.buf = self.buf[:n], self.buf[n + 2:]
                if n == 0:
                    reply.complete = True
                    return
                yield piece(data)
        elif "content-length" in reply.headers:
            left = int(reply.headers["content-length"])
            while left:
                if not self.buf and not self._more():
                    return
                data, self.buf = self.buf[:left], self.buf[left:]
                left -= len(data)
                yield piece(data)
            reply.complete = True
        elif reply.status in (204, 304):
            reply.complete = True
        else:
            while self.buf or self._more():
                data, self.buf = self.buf, b""
                yield piece(data)
            reply.complete = True

    def reply(self):
        reply = self.head()
        assert reply is not None, "the connection ended without an answer"
        for _ in self.pieces(reply):
            pass
        return reply

    def ended(self, seconds=PATIENCE):
        """True when the gateway closes the connection within that time."""
        self.sock.settimeout(seconds)
        try:
            return not self._more()
        except TimeoutError:
            return False


# ---- processes -----------------------------------------------------------------------------------------------------------


class Process:
    """A child whose standard error is kept; stopped by SIGTERM, judged by its exit status and what it wrote."""

    def __init__(self, args, name, env=None):
        self.name = name
        self.lines = []
        self.judged = False
        self.child = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True, errors="replace", env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.child.pid

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, seconds=PATIENCE):
        code = self.child.wait(seconds)
        self.reader.join(PATIENCE)
        return code

    def stop(self):
        """Ends it and checks that it ended well. Later calls do nothing."""
        if self.judged:
            return
        self.judged = True
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            code = self.wait(PATIENCE * 2)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.name} did not end on SIGTERM:\n" + self.tail())
        bad = [line for line in self.lines if REPORT.search(line)]
        assert not bad, f"{self.name} reports:\n" + "\n".join(self.lines[-200:])
        assert code == 0, f"{self.name} ended with {code}:\n" + self.tail()

    def tail(self):
        return "\n".join(self.lines[-40:])

    def resident(self):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} is not there")


class Mock(Process):
    """Scripted experts: one port for each name."""

    def __init__(self, names, tls=False, options=()):
        kind = "--tls-port" if tls else "--port"
        args = [MOCK, "--port", "0=control"]
        for name in names:
            args += [kind, f"0={name}"]
        args += ["--cert", CERTS / "server.pem", "--key", CERTS / "server.key", *options]
        super().__init__(args, "mock-expert")
        self.tls = tls
        self.ports = {}
        for _ in range(len(names) + 1):
            line = self.child.stdout.readline().split()
            assert line and line[0] == "listening", f"mock-expert did not start:\n{self.tail()}"
            self.ports[line[2]] = int(line[1].rsplit(":", 1)[1])

    def url(self, name):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.ports[name]}/v1"

    def ask(self, method, path, body=None):
        with Wire("127.0.0.1", self.ports["control"]) as wire:
            reply = wire.request(method, path, body, {"Connection": "close"}).reply()
        assert reply.status == 200, reply.body
        return reply.json()

    def script(self, *rules):
        """Faults to come, in order; each rule is (expert, fault) for once, or a dict as mock-expert --help says."""
        made = [r if isinstance(r, dict) else {"expert": r[0], "fault": r[1]} for r in rules]
        self.ask("POST", "/mock/script", {"rules": made})

    def always(self, expert, fault):
        return {"expert": expert, "fault": fault, "always": True}

    def requests(self, expert=None):
        """What reached the experts, oldest first: dicts with `body` as bytes and `head` with lower-case names."""
        out = []
        for r in self.ask("GET", "/mock/log")["requests"]:
            if expert in (None, r["expert"]) and r["expert"] != "control":
                r["body"] = base64.b64decode(r["body_base64"])
                r["head"] = {k.lower(): v for k, v in r["headers"]}
                out.append(r)
        return out

    def count(self, expert):
        return len(self.requests(expert))

    def cancelled(self):
        return self.ask("GET", "/mock/stats")["cancelled"]

    def stats(self, expert):
        return self.ask("GET", "/mock/stats")["experts"][expert]


def logfmt(line):
    """key=value pairs of a line; values may be quoted with backslash escapes."""
    out = {}
    for key, quoted, bare in re.findall(r'([\w.\-]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line):
        out[key] = json.loads(f'"{quoted}"') if quoted else bare
    return out


class Gateway(Process):
    def __init__(self, world, config, arguments=(), env=None, ready=True, file=None, under=()):
        """`file`: one that exists, started as it is; `config` then only says where it listens. `under`: a command that runs it."""
        self.world = world
        self.port = config_port(config)
        self.admin_port = config_port(config, "admin")
        self.file = file or world.folder / f"pointsman-{self.port}.yaml"
        if not file:
            self.write(config)
        super().__init__([*under, POINTSMAN, "serve", "-c", self.file, *arguments], "pointsman", env)
        if ready:
            until("the gateway is not ready:\n" + str(config), self._is_ready)

    def write(self, config):
        self.file.write_text(config if isinstance(config, str) else json.dumps(config, indent=2))

    def _is_ready(self):
        assert self.child.poll() is None, f"the gateway ended with {self.child.returncode}:\n{self.tail()}"
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    # -- as a client

    def wire(self, **options):
        return Wire("127.0.0.1", self.port, self.world.client_tls, **options)

    def get(self, path, headers=()):
        with self.wire() as wire:
            return wire.request("GET", path, None, {"Connection": "close", **dict(headers)}).reply()

    def post(self, path, body, headers=()):
        with self.wire() as wire:
            return wire.request("POST", path, body, {"Connection": "close", **dict(headers)}).reply()

    def chat(self, model, text="Say something.", headers=(), **members):
        return self.post("/v1/chat/completions", chat(model, text, **members), headers)

    def admin(self, method, path, token="admin-secret", body=None):
        headers = {"Connection": "close"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if method == "POST" and body is None:
            body = b""
        with Wire("127.0.0.1", self.admin_port) as wire:
            return wire.request(method, path, body, headers).reply()

    @property
    def base_url(self):
        return f"{'https' if self.world.client_tls else 'http'}://localhost:{self.port}/v1"

    # -- what it counts and said

    def metric(self, name, **labels):
        """The sum of all series of that name with these labels."""
        total = 0.0
        for line in self.admin("GET", "/metrics").body.decode().splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match.group(1) == name:
                have = dict(re.findall(r'(\w+)="([^"]*)"', match.group(2) or ""))
                if all(have.get(k) == v for k, v in labels.items()):
                    total += float(match.group(3))
        return total

    def lookups(self, cache="decisions"):
        """What was looked for and where it was found, without zeros."""
        results = ("local", "shared", "joined", "miss", "stale", "foreign")
        found = {r: int(self.metric("pointsman_cache_lookups_total", cache=cache, result=r)) for r in results}
        return {r: n for r, n in found.items() if n}

    def log(self, **wanted):
        """Events of the log (logfmt or JSON) whose fields have these values."""
        out = []
        for line in list(self.lines):
            fields = json.loads(line) if line.startswith("{") else logfmt(line)
            if all(str(fields.get(k)) == str(v) for k, v in wanted.items()):
                out.append(fields)
        return out

    def request_lines(self, n):
        """Waits for n request lines, then a little longer so that one too many would be seen. The harness's own probes do not count."""

        def lines():
            return [line for line in self.log(msg="request") if line.get("path") != "/readyz"]

        until(f"{n} request lines", lambda: len(lines()) >= n)
        time.sleep(0.25)
        return lines()


def config_port(config, section="listen"):
    if isinstance(config, str):
        return 0
    part = config.get(section)
    if not part:
        return 0
    if isinstance(part, list):
        part = part[0]
    return int(part["address"].rsplit(":", 1)[1])


def chat(model, text="Say something.", **members):
    return {"model": model, "messages": [{"role": "user", "content": text}], **members}


# ---- the world of one scenario -------------------------------------------------------------------------------------------


class World:
    """mode: 'plain' (experts by http), 'curl' (experts by https, libcurl), 'tls' (experts by http, clients by https)."""

    def __init__(self, folder, mode):
        self.folder = Path(folder)
        self.mode = mode
        self.processes = []
        self.mocks = []
        self.client_tls = ssl.create_default_context(cafile=str(CERTS / "ca.pem")) if mode == "tls" else None

    def experts(self, *names, options=(), tls=None):
        """Starts scripted experts."""
        mock = Mock(names, tls=self.mode == "curl" if tls is None else tls, options=options)
        self.mocks.append(mock)
        self.processes.append(mock)
        return mock

    def expert(self, mock, name, **more):
        """The configuration of one expert."""
        entry = {"endpoints": [mock.url(name)], **more}
        if mock.tls:
            entry["ca"] = str(CERTS / "ca.pem")
        return entry

    def config(self, mock, experts=None, expert=(), **sections):
        """A whole configuration: all experts of the mock, with `expert` merged into each and `experts` into those it names."""
        names = [n for n in mock.ports if n != "control"]
        config = {"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 2, "experts": {}}
        for name in names:
            config["experts"][name] = self.expert(mock, name, **{**dict(expert), **(experts or {}).get(name, {})})
        if self.mode == "tls":
            config["listen"]["tls"] = {"certificate": str(CERTS / "server.pem"), "key": str(CERTS / "server.key")}
        for name, value in sections.items():
            if isinstance(config.get(name), dict) and isinstance(value, dict):
                config[name] = {**config[name], **value}
            else:
                config[name] = value
        return config

    def gateway(self, config, **options):
        gateway = Gateway(self, config, **options)
        self.processes.append(gateway)
        return gateway

    def serve(self, *names, options=(), **sections):
        """The usual start: scripted experts and a gateway before them."""
        mock = self.experts(*names, options=options)
        return mock, self.gateway(self.config(mock, **sections))

    def own(self, servers):
        """Anything with a stop(): it is stopped after those that use it."""
        self.processes.insert(0, servers)
        return servers

    def admin(self):
        return {"address": f"127.0.0.1:{free_port()}", "token": "admin-secret"}

    def close(self):
        problems = []
        for process in reversed(self.processes):
            try:
                process.stop()
            except AssertionError as e:
                problems.append(str(e))
        assert not problems, "\n".join(problems)


def run(*arguments, stdin="", env=None):
    """Runs `pointsman ...` to its end: (exit status, standard output, standard error)."""
    done = subprocess.run([str(POINTSMAN), *[str(a) for a in arguments]], input=stdin, capture_output=True, text=True, timeout=PATIENCE * 2,
                          env={**os.environ, **(env or {})})
    assert not REPORT.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


def curl_body(command):
    """The body that a curl command line of the reference sends, as bytes, or None."""
    words = shlex.split(command.replace("\\\n", " "))
    for flag, value in zip(words, words[1:]):
        if flag in ("-d", "--data"):
            return value.encode()
    return None

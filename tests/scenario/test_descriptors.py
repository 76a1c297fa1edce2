# SPDX-License-Identifier: Apache-2.0
"""More clients than the process may have descriptors: each gets an answer or an honest 503, and the administrator gets in."""
import json
import os
import selectors
import socket
import ssl
import time

import pytest

from harness import PATIENCE, SANITIZED, Wire, chat, until

FEW = ("prlimit", "--nofile=1024:1024")


class Crowd:
    """Many clients at once, each with one request; what each was given, byte by byte."""

    def __init__(self, port, n, request, tls=None):
        self.selector = selectors.DefaultSelector()
        self.port = port
        self.request = request
        self.tls = tls
        self.open = 0
        self.answers = []
        for _ in range(n):
            self.connect()

    def connect(self):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", self.port))
        state = {"out": self.request, "in": b"", "ready": False}
        self.selector.register(s, selectors.EVENT_WRITE, state)
        self.open += 1

    def over(self, s, state, how):
        self.selector.unregister(s)
        s.close()
        self.open -= 1
        self.answers.append((how, state["in"]))

    def step(self, s, state):
        if self.tls and not isinstance(s, ssl.SSLSocket):
            self.selector.unregister(s)
            s = self.tls.wrap_socket(s, server_hostname="localhost", do_handshake_on_connect=False)
            self.selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE, state)
        if self.tls and not state["ready"]:
            s.do_handshake()
            state["ready"] = True
        if state["out"]:
            state["out"] = state["out"][s.send(state["out"]):]
            if not state["out"]:
                self.selector.modify(s, selectors.EVENT_READ, state)
            return
        data = s.recv(65536)
        state["in"] += data
        if not data:
            self.over(s, state, "ended")

    def run(self, seconds=60, between=None):
        end = time.monotonic() + seconds
        while self.open and time.monotonic() < end:
            for key, _ in self.selector.select(0.1):
                try:
                    self.step(key.fileobj, key.data)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    pass
                except OSError as e:
                    s = next((k.fileobj for k in self.selector.get_map().values() if k.data is key.data), None)
                    if s is not None:
                        self.over(s, key.data, repr(e))
            if between:
                between()
        assert not self.open, f"{self.open} clients have neither an answer nor an end"
        return self.answers


def stream_request():
    body = json.dumps(chat("alpha", stream=True)).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n" \
           b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def judge(answers):
    """(whole streams, honest refusals, the rest)"""
    whole, refused, rest = 0, 0, []
    for how, data in answers:
        head = data.partition(b"\r\n\r\n")[0].lower()
        if head.startswith(b"http/1.1 200") and data.endswith(b"0\r\n\r\n") and b"data: [DONE]" in data:
            whole += 1
        elif head.startswith(b"http/1.1 503") and b"\r\nretry-after: " in head and b'"code":"overloaded"' in data and how == "ended":
            refused += 1
        else:
            rest.append((how, data[:300]))
    return whole, refused, rest


def test_more_streams_than_descriptors(client_world):
    clients = 600 if SANITIZED or client_world.mode == "tls" else 2000
    mock = client_world.experts("alpha", options=["--tokens", "10", "--rate", "10"])
    gateway = client_world.gateway(client_world.config(mock, admin=client_world.admin()), under=FEW)
    assert gateway.log(level="warn") and "limits.connections is 8192" in gateway.log(level="warn")[0]["msg"]
    looked = []

    def look():
        if len(looked) < 3:
            looked.append(gateway.admin("GET", "/metrics").status)

    whole, refused, rest = judge(Crowd(gateway.port, clients, stream_request(), client_world.client_tls).run(between=look))

    assert not rest, rest[:5]
    assert whole + refused == clients and whole >= 300 and refused > 0
    assert looked == [200] * 3
    assert mock.count("alpha") == whole
    assert gateway.chat("alpha").status == 200, "nobody was blamed"
    until("all have gone", lambda: gateway.metric("pointsman_connections") <= 2)
    assert not [line for line in gateway.lines if "Too many open files" in line]


def test_each_of_nine_thousand_is_told(plain_world):
    """limits.connections is reached by clients that rest; all others get their 503, and none a cut."""
    mock = plain_world.experts("alpha")
    gateway = plain_world.gateway(plain_world.config(mock, workers=1, limits={"connections": 50}))
    rest = [gateway.wire() for _ in range(50)]
    for wire in rest:
        wire.request("GET", "/healthz").reply()

    clients = 1500 if SANITIZED else 9000
    answers = []
    for _ in range(clients // 1500):
        answers += Crowd(gateway.port, 1500, stream_request()).run()
    whole, refused, odd = judge(answers)
    assert (whole, refused, odd) == (0, clients, [])
    for wire in rest:
        assert wire.request("GET", "/healthz").reply().status == 200
        wire.close()
    until("room again", lambda: gateway.get("/healthz").status == 200)


def test_clients_that_do_not_leave_hold_nobody_up(plain_world):
    """Those that are told and stay are closed within a second or so; the next ones get their turn."""
    mock = plain_world.experts("alpha")
    gateway = plain_world.gateway(plain_world.config(mock, workers=1, limits={"connections": 1}))
    first = gateway.wire()
    first.request("GET", "/healthz").reply()
    stubborn = [gateway.wire() for _ in range(150)]
    began = time.monotonic()
    for wire in stubborn:
        assert wire.head().status == 503
    assert gateway.wire().request("GET", "/healthz").reply().status == 503
    assert time.monotonic() - began < PATIENCE
    for wire in stubborn + [first]:
        wire.close()


# ---- the administrator ---------------------------------------------------------------------------------------------------------


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


def test_silent_ones_do_not_keep_the_administrator_out(plain_world):
    _, gateway = plain_world.serve("alpha", admin=plain_world.admin())
    gateway.admin("GET", "/metrics")
    before = descriptors(gateway)

    silent = [Wire("127.0.0.1", gateway.admin_port) for _ in range(200)]
    for _ in range(3):
        assert gateway.admin("GET", "/metrics").status == 200
    until("the oldest are sent away", lambda: descriptors(gateway) <= before + 20)
    for wire in silent:
        wire.close()
    until("all have gone", lambda: gateway.admin("GET", "/metrics").status == 200 and descriptors(gateway) <= before + 2)
    assert len(gateway.lines) < 60, "and the log stays short"


@pytest.mark.tsan
def test_administrators_and_clients_take_turns(plain_world):
    """Each has the descriptor's number of the one before, in another thread."""
    _, gateway = plain_world.serve("alpha", admin=plain_world.admin())
    for _ in range(50):
        assert gateway.admin("GET", "/metrics").status == 200
        with gateway.wire() as wire:
            assert wire.request("GET", "/healthz").reply().status == 200


def test_who_goes_on_sending_after_the_last_answer_is_cut_off(plain_world):
    _, gateway = plain_world.serve("alpha", admin=plain_world.admin())
    with Wire("127.0.0.1", gateway.admin_port) as wire:
        assert wire.request("GET", "/healthz", headers={"Connection": "close"}).reply().status == 401
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 1 << 30:
                sent += wire.sock.send(bytes(65536))
        assert sent < 16 << 20, "what the sockets hold, and not what the gateway would gather"


def test_out_of_descriptors_the_administrators_listener_rests(plain_world):
    _, gateway = plain_world.serve("alpha", admin=plain_world.admin())
    gateway.admin("GET", "/metrics")
    os.system(f"prlimit --pid {gateway.pid} --nofile={descriptors(gateway)}:20000")
    before = cpu(gateway)

    with Wire("127.0.0.1", gateway.admin_port) as waiting:
        waiting.request("GET", "/metrics", headers={"Authorization": "Bearer admin-secret"})
        time.sleep(2)  # the time in which it would have spun
        assert cpu(gateway) - before < 1
        assert len(gateway.lines) < 40, gateway.tail()
        os.system(f"prlimit --pid {gateway.pid} --nofile=1000:20000")
        assert waiting.reply().status == 200


def cpu(gateway):
    fields = open(f"/proc/{gateway.pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_wrong_tokens_are_told_and_slowed_down(plain_world):
    _, gateway = plain_world.serve("alpha", admin=plain_world.admin())

    for _ in range(8):
        assert gateway.admin("GET", "/metrics", "guess").status == 401
    began = time.monotonic()
    for _ in range(5):
        assert gateway.admin("GET", "/metrics", "guess").status == 401
    assert time.monotonic() - began >= 0.45, "a tenth of a second each, by a clock that may lag behind ours by milliseconds"
    with Wire("127.0.0.1", gateway.admin_port) as wire:  # leaves while its answer waits
        wire.request("GET", "/metrics", headers={"Authorization": "Bearer guess"})
    began = time.monotonic()
    assert gateway.admin("GET", "/metrics").status == 200, "the right one is not slowed down"
    lines = [line for line in gateway.lines if "missing or wrong token" in line]
    assert len(lines) == 1 and "client=127.0.0.1" in lines[0] and "guess" not in lines[0]


def test_a_short_token_is_refused(plain_world):
    from harness import run

    mock = plain_world.experts("alpha")
    file = plain_world.folder / "c.yaml"
    file.write_text(json.dumps(plain_world.config(mock, admin={"address": "127.0.0.1:0", "token": "short12"}), indent=1))

    status, out, err = run("check", "-c", file)

    assert status == 1 and "admin.token: has 7 characters, where at least 8 are needed" in out + err

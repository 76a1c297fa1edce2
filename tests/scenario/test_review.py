# SPDX-License-Identifier: Apache-2.0
"""Limits that meet: buffers and reloads, large events and error bodies, experts that trickle, clients that leave at the last moment."""
import signal
import time

import pytest

from harness import free_port, until
from listening import Listening, request

OK = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
ONE_CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":%s}]}\n\n'


def chunk(text):
    return f"{len(text):x}\r\n{text}\r\n".encode()


class Expert(Listening):
    """An expert that answers each request with what `answer` writes to the socket."""

    def __init__(self, answer, path=None):
        self.answer = answer
        super().__init__(path=path)

    def serve(self, s):
        if request(s.makefile("rb")):
            self.answer(self, s)


def config(world, experts, expert=(), **sections):
    made = {"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1,
            "experts": {name: world.own(e).entry(retries=0, **dict(expert)) for name, e in experts.items()}}
    made.update(sections)
    return made


def test_a_reload_raises_the_buffer_while_a_client_reads_slowly(plain_world):
    mock = plain_world.experts("alpha")
    made = plain_world.config(mock, limits={"buffer": "64KiB"})
    gateway = plain_world.gateway(made)
    mock.script(("alpha", "big=8000000"))

    with gateway.wire(rcvbuf=16384) as wire:
        wire.request("POST", "/v1/chat/completions", {"model": "alpha", "messages": [{"role": "user", "content": "x"}]})
        until("the request is at the expert", lambda: mock.count("alpha") == 1)
        time.sleep(0.5)
        made["limits"] = {"buffer": "8MiB"}
        gateway.write(made)
        gateway.signal(signal.SIGHUP)
        until("the reload", lambda: [line for line in gateway.lines if "generation 2 is active" in line])
        time.sleep(0.2)
        reply = wire.reply()
    assert reply.complete and len(reply.body) > 8000000


def test_an_error_body_above_the_buffer(plain_world):
    def answer(self, connection):
        body = '{"error":{"message":"' + "x" * 20000 + '","type":"server_error","param":null,"code":null}}'
        connection.sendall(f"HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        self.over.wait(20)

    expert = Expert(answer)
    gateway = plain_world.gateway(config(plain_world, {"alpha": expert}, limits={"buffer": "4KiB"}))
    began = time.monotonic()
    assert gateway.chat("alpha").status == 502
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("what", ["error", "whole answer", "stream"])
def test_an_expert_that_trickles_meets_the_deadline(plain_world, what):
    def answer(self, connection):
        status = "500 No" if what == "error" else "200 OK"
        kind = "text/event-stream" if what == "stream" else "application/json"
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        while not self.over.wait(0.1):
            connection.sendall(chunk(": wait\n\n" if what == "stream" else " "))

    expert = Expert(answer)
    gateway = plain_world.gateway(config(plain_world, {"alpha": expert}, limits={"request_time": "1s"}))
    began = time.monotonic()
    reply = gateway.chat("alpha", stream=what == "stream")
    assert reply.status == 504 and time.monotonic() - began < 5, reply.body
    assert len(gateway.request_lines(1)) == 1


def test_comments_are_no_first_token(plain_world):
    def comments(self, connection):
        connection.sendall(OK.format("text/event-stream").encode())
        while not self.over.wait(0.1):
            connection.sendall(chunk(": wait\n\n"))

    def good(self, connection):
        connection.sendall(OK.format("text/event-stream").encode() + chunk(ONE_CHUNK % '"stop"') + chunk("data: [DONE]\n\n") + b"0\r\n\r\n")

    slow, fast = Expert(comments), Expert(good)
    gateway = plain_world.gateway(config(plain_world, {"slow": slow, "fast": fast}, expert={"first_token_time": "500ms"},
                                         routes={"auto": {"experts": ["slow", "fast"], "default": "slow", "fallbacks": 1}}))
    reply = gateway.chat("auto", stream=True)
    assert reply.done and reply.text == "Hello" and reply.headers["x-pointsman-expert"] == "fast"


def test_http_1_0_sees_that_a_stop_cut_its_stream(plain_world):
    mock, gateway = plain_world.serve("alpha", expert={"idle_time": "30s"})
    mock.script(("alpha", "stall-after=3"))
    body = b'{"model":"alpha","stream":true,"messages":[{"role":"user","content":"x"}]}'

    with gateway.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        got = b""
        while got.count(b"data: ") < 3:
            got += (more := wire.sock.recv(65536))
            assert more, got
        gateway.signal(signal.SIGTERM)
        until("draining", lambda: [line for line in gateway.lines if "draining" in line])
        gateway.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            while wire.sock.recv(65536):
                pass
    assert gateway.wait() == 0


def test_overhead_is_what_the_head_says(plain_world):
    def answer(self, connection):
        body = '{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        time.sleep(0.05)  # an expert at work after its head
        connection.sendall(body.encode())

    def overhead():
        (line,) = [m for m in gateway.get("/metrics").body.decode().split("\n") if m.startswith("pointsman_overhead_seconds_sum")]
        return float(line.split()[-1])

    expert = Expert(answer)
    gateway = plain_world.gateway(config(plain_world, {"alpha": expert}))
    before = overhead()
    said = sum(int(gateway.chat("alpha").headers["x-pointsman-overhead-us"]) for _ in range(10)) / 1e6
    assert said <= overhead() - before < said + 0.1


def test_an_endpoint_that_is_busy_is_not_its_expert(upstream_world):
    mock = upstream_world.experts("one", "two")
    made = upstream_world.config(mock)
    made["experts"] = {"pair": {**upstream_world.expert(mock, "one"), "endpoints": [mock.url("one"), mock.url("two")]}}
    gateway = upstream_world.gateway(made)
    mock.script(mock.always("one", "status=429;retry-after=10"))

    began = time.monotonic()
    for _ in range(4):
        reply = gateway.chat("pair")
        assert reply.status == 200
    assert time.monotonic() - began < 5 and mock.count("one") == 1 and mock.count("two") == 4


def test_an_experts_head_adds_no_line_to_ours(plain_world, tmp_path):
    def answer(self, connection):
        body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\rX-Evil: yes\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    plain, by_curl = Expert(answer), plain_world.own(Expert(answer, tmp_path / "expert.sock"))
    made = config(plain_world, {"plain": plain, "curl": plain})
    made["experts"]["curl"]["endpoints"] = [by_curl.url]
    gateway = plain_world.gateway(made)
    for model in ("plain", "curl"):
        with gateway.wire() as wire:
            wire.request("POST", "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "x"}]},
                         {"Connection": "close"})
            got = b""
            while piece := wire.sock.recv(65536):
                got += piece
        assert got.startswith(b"HTTP/1.1 502 ") and b"\rX" not in got, model


def test_bad_grammar_has_an_id_too(client_world):
    _, gateway = client_world.serve("alpha")

    with gateway.wire() as wire:
        reply = wire.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n").reply()
    assert reply.status == 400 and reply.error
    assert gateway.request_lines(1)[0]["id"] == reply.headers["x-request-id"]

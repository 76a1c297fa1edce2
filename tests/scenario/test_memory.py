# SPDX-License-Identifier: Apache-2.0
"""All requests together hold no more than limits.memory, and what they held goes back to the system."""
import json
import ssl

import pytest

from harness import SANITIZED, chat, run, until

MIB = 1 << 20


def half(gateway, size, framing="Content-Length", model="alpha"):
    """A chat request of which all but the end is sent: the body is held."""
    wire = gateway.wire(timeout=60)
    body = json.dumps(chat(model, "x" * size)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    if framing == "chunked":
        wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(body) + body[:-1])
        rest = body[-1:] + b"\r\n0\r\n\r\n"
    else:
        wire.send(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1])
        rest = body[-1:]
    return wire, rest


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_bodies_together_have_a_bound(client_world, framing):
    mock = client_world.experts("alpha")
    gateway = client_world.gateway(client_world.config(mock, admin=client_world.admin(), workers=2, limits={"body": "4MiB", "memory": "16MiB"}))

    held = [half(gateway, 2 * MIB, framing) for _ in range(3)]
    until("they are held", lambda: gateway.metric("pointsman_request_memory_bytes") >= 6 * MIB - 2 * 65536)
    refused = []
    for _ in range(12):
        wire, _ = half(gateway, 2 * MIB, framing)
        wire.sock.settimeout(1)
        try:
            reply = wire.reply()
        except TimeoutError:
            held.append((wire, _))
            continue
        assert reply.status == 503 and reply.error["code"] == "overloaded" and "limits.memory" in reply.error["message"], reply.body
        assert reply.headers["retry-after"]
        refused.append(wire)
    assert len(refused) >= 5
    assert gateway.metric("pointsman_request_memory_bytes") <= 16 * MIB + 2 * 65536
    for wire, rest in held[:3]:
        wire.sock.settimeout(60)
        assert wire.send(rest).reply().status == 200, "those that were let in are served"
    for wire in refused + [wire for wire, _ in held]:
        wire.close()
    until("all is given back", lambda: gateway.metric("pointsman_request_memory_bytes") < 3 * 65536)
    assert gateway.chat("alpha").status == 200


def test_heads_count(client_world):
    mock = client_world.experts("alpha")
    gateway = client_world.gateway(client_world.config(mock, admin=client_world.admin(), workers=2,
                                                       limits={"body": "512KiB", "memory": "1MiB", "head": "256KiB"}))

    wires = [gateway.wire() for _ in range(16)]
    refused = []
    for wire in wires:
        try:
            wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 200000)
            wire.sock.settimeout(1)
            refused.append(wire.reply())
        except TimeoutError:
            pass  # held
        except (ConnectionError, ssl.SSLError):
            refused.append(None)  # refused while it was sending
    assert len(refused) >= 8
    assert all(r.status == 503 and "limits.memory" in r.error["message"] and r.headers["retry-after"] for r in refused if r) and any(refused)
    assert gateway.metric("pointsman_request_memory_bytes") <= 2 * MIB
    for wire in wires:
        wire.close()
    until("all is given back", lambda: gateway.metric("pointsman_request_memory_bytes") < 3 * 65536)


def test_answers_on_their_way_count(plain_world):
    """Clients that do not read: what waits for them is counted, and goes when they go."""
    mock = plain_world.experts("alpha", options=["--tokens", "400000"])
    gateway = plain_world.gateway(plain_world.config(mock, admin=plain_world.admin(), workers=1, limits={"buffer": "1MiB"}))

    slow = [gateway.wire(rcvbuf=4096).request("POST", "/v1/chat/completions", chat("alpha", stream=True)) for _ in range(4)]
    until("they wait", lambda: gateway.metric("pointsman_request_memory_bytes") >= 4 * MIB)
    for wire in slow:
        wire.close()
    until("and are gone", lambda: gateway.metric("pointsman_request_memory_bytes") < 3 * 65536)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed")
def test_memory_goes_back_to_the_system(plain_world):
    mock = plain_world.experts("alpha")
    gateway = plain_world.gateway(plain_world.config(mock, workers=2, limits={"body": "8MiB", "memory": "2GiB"}))
    gateway.chat("alpha")
    before = gateway.resident()

    held = [half(gateway, 5 * MIB, model="nobody") for _ in range(60)]
    until("they are held", lambda: gateway.resident() > before + 200 * MIB, seconds=60)
    for wire, rest in reversed(held):
        wire.send(rest)
    for wire, _ in held:
        assert wire.reply().status == 404
        wire.close()
    until("it is back", lambda: gateway.resident() < before + 40 * MIB)


def test_the_bound_is_no_less_than_one_body(plain_world):
    mock = plain_world.experts("alpha")
    file = plain_world.folder / "c.yaml"
    file.write_text(json.dumps(plain_world.config(mock, limits={"body": "8MiB", "memory": "4MiB"}), indent=1))

    status, out, err = run("check", "-c", file)

    assert status == 1 and "limits.memory" in out + err and "limits.body" in out + err

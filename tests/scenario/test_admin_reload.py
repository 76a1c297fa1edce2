# SPDX-License-Identifier: Apache-2.0
"""The administrative listener, reloads as new generations, and the end."""
import copy
import json
import signal
import socket
import time

import pytest

from harness import chat, until


def expert_ids(gateway):
    return {m["id"] for m in gateway.get("/v1/models").json()["data"]}


def hang_up(gateway, generation):
    """A reload by signal. It is said when all workers have been told; before that, one may answer by the new file and another by the old one."""
    gateway.signal(signal.SIGHUP)
    until("it is said", lambda: gateway.log(msg=f"reloaded, generation {generation} is active"))


# ---- the administrative listener ---------------------------------------------------------------------------------------------

ADMIN = ["/admin/experts", "/admin/routers", "/admin/config", "/admin/generation", "/metrics"]


def test_admin_needs_its_token(plain_world):
    _, gateway = plain_world.serve("alpha", admin=plain_world.admin())

    for path in ADMIN:
        for token in (None, "", "wrong", "admin-secret0"):
            assert gateway.admin("GET", path, token).status == 401, path
        assert gateway.admin("GET", path).status == 200, path
    assert gateway.admin("POST", "/admin/reload", "wrong").status == 401
    assert gateway.get("/admin/experts").status == 404, "not on the clients' listener"
    assert gateway.admin("POST", "/v1/chat/completions", body=json.dumps(chat("alpha")).encode()).status == 404


def test_admin_shows_what_is_in_force_without_secrets(plain_world):
    _, gateway = plain_world.serve("alpha", "beta", admin=plain_world.admin(), expert={"key": "sk-upstream-secret"},
                                   tenants={"acme": {"keys": ["sk-acme-0123456789abcdef"]}})

    everything = "".join(gateway.admin("GET", path).body.decode() for path in ADMIN)
    assert "alpha" in everything and "beta" in everything and "acme" in everything
    for secret in ("upstream-secret", "sk-acme-0123456789abcdef", "admin-secret"):
        assert secret not in everything
    experts = json.dumps(gateway.admin("GET", "/admin/experts").json())
    assert "alpha" in experts and "127.0.0.1" in experts


def test_an_expert_taken_out_by_hand(plain_world):
    mock, gateway = plain_world.serve("alpha", "beta", admin=plain_world.admin(), routes={"auto": {"default": "alpha", "fallbacks": 1}})

    assert gateway.chat("auto").headers["x-pointsman-expert"] == "alpha"
    assert gateway.admin("POST", "/admin/experts/alpha?state=down").status == 200
    assert gateway.chat("auto").headers["x-pointsman-expert"] == "beta"
    assert gateway.chat("alpha").status == 503
    assert gateway.admin("POST", "/admin/experts/alpha?state=up").status == 200
    assert gateway.chat("auto").headers["x-pointsman-expert"] == "alpha"
    assert gateway.admin("POST", "/admin/experts/nobody?state=up").status == 404
    assert gateway.admin("POST", "/admin/experts/alpha?state=sideways").status == 400


# ---- reloads -----------------------------------------------------------------------------------------------------------------


@pytest.mark.tsan
@pytest.mark.parametrize("how", ["SIGHUP", "admin"])
def test_a_good_reload(client_world, how):
    mock = client_world.experts("alpha", "beta", options=["--tokens", "20", "--rate", "20"])
    both = client_world.config(mock, admin=client_world.admin())
    one = copy.deepcopy(both)
    del one["experts"]["beta"]
    gateway = client_world.gateway(one)

    with gateway.wire() as wire:  # a stream of the old generation
        wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
        reply = wire.head()
        pieces = wire.pieces(reply)
        next(pieces)
        gateway.write(both)
        if how == "SIGHUP":
            hang_up(gateway, 2)
        else:
            assert gateway.admin("POST", "/admin/reload").status == 200
        assert "beta" in expert_ids(gateway)
        assert gateway.post("/v1/chat/completions", chat("beta", max_tokens=1)).status == 200
        for _ in pieces:
            pass
    assert reply.done and reply.complete, "what ran went on"

    gateway.write(one)
    hang_up(gateway, 3)
    assert "beta" not in expert_ids(gateway)
    assert gateway.chat("beta").status == 404


BAD = {
    "not YAML": "listen: [",
    "an unknown key": None,
    "a plugin that is missing": {"routers": {"x": {"plugin": "no-such-router"}}, "routes": {"auto": {"routers": ["x"]}}},
    "an unknown expert": {"routes": {"auto": {"default": "nobody"}}},
    "an empty file": "",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_reload_changes_nothing_and_says_why(plain_world, bad):
    mock = plain_world.experts("alpha")
    config = plain_world.config(mock, admin=plain_world.admin())
    gateway = plain_world.gateway(config)
    new = BAD[bad]
    if new is None:
        new = {**config, "lisden": {"address": "127.0.0.1:1"}}
    elif isinstance(new, dict):
        new = {**config, **new}

    gateway.write(new)
    before = len(gateway.lines)
    gateway.signal(signal.SIGHUP)
    until("it is said", lambda: [x for x in gateway.lines[before:] if "level=error" in x or "level=warn" in x])
    until("which file it is", lambda: gateway.file.name in "\n".join(gateway.lines[before:]))
    reply = until("the signal's reload is over", lambda: (r := gateway.admin("POST", "/admin/reload")).status != 409 and r)
    assert reply.status == 422 and reply.body
    assert gateway.chat("alpha").status == 200
    gateway.write(config)
    assert gateway.admin("POST", "/admin/reload").status == 200


@pytest.mark.tsan
def test_reloads_under_load(plain_world):
    mock, gateway = plain_world.serve("alpha", "beta", admin=plain_world.admin(), options=["--tokens", "10", "--rate", "200"])
    answers = 0

    wires = [gateway.wire() for _ in range(8)]
    for _ in range(12):
        for i, wire in enumerate(wires):
            wire.request("POST", "/v1/chat/completions", chat("alpha" if i % 2 else "beta", stream=bool(i % 3)))
        gateway.signal(signal.SIGHUP)
        for wire in wires:
            reply = wire.reply()
            assert reply.status == 200 and reply.complete
            answers += 1
    assert answers == 96
    [w.close() for w in wires]
    generation = json.dumps(gateway.admin("GET", "/admin/generation").json())
    assert generation


@pytest.mark.parametrize("client_world", ["tls"], indirect=True)
def test_a_certificate_that_is_not_there_changes_nothing(client_world):
    _, gateway = client_world.serve("alpha", admin=client_world.admin())

    gateway.file.write_text(gateway.file.read_text().replace("server.pem", "no-such.pem"))
    assert gateway.admin("POST", "/admin/reload").status >= 400
    assert gateway.chat("alpha").status == 200, "the old one stays"


# ---- the end -------------------------------------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_sigterm_lets_running_streams_end(world):
    mock, gateway = world.serve("alpha", options=["--tokens", "20", "--rate", "20"])

    idle = gateway.wire()
    assert idle.request("GET", "/v1/models").reply().status == 200
    with gateway.wire() as wire:
        wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
        reply = wire.head()
        pieces = wire.pieces(reply)
        next(pieces)
        gateway.signal(signal.SIGTERM)
        assert idle.ended(5), "resting connections are closed"

        def refused():
            try:
                with socket.create_connection(("127.0.0.1", gateway.port), 1):
                    return False
            except OSError:
                return True

        until("no new connections", refused, 5)
        for _ in pieces:
            pass
    assert reply.done and reply.complete
    assert gateway.wait() == 0
    assert len([x for x in gateway.log(msg="request") if x.get("stream") == "true"]) == 1


def test_sigterm_has_a_limit(world):
    mock, gateway = world.serve("alpha", options=["--tokens", "2000", "--rate", "20"], limits={"drain_time": "400ms"})

    with gateway.wire() as wire:
        wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
        reply = wire.head()
        pieces = wire.pieces(reply)
        next(pieces)
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        for _ in pieces:
            pass
    assert not reply.done, "cut, and not as if it were whole"
    assert gateway.wait(10) == 0 and 0.3 < time.monotonic() - began < 8


def test_a_second_sigterm_ends_at_once(plain_world):
    mock, gateway = plain_world.serve("alpha", options=["--tokens", "2000", "--rate", "20"])

    with gateway.wire() as wire:
        wire.request("POST", "/v1/chat/completions", chat("alpha", stream=True))
        next(wire.pieces(wire.head()))
        gateway.signal(signal.SIGTERM)
        time.sleep(0.2)
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(10) == 0

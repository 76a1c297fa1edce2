# SPDX-License-Identifier: Apache-2.0
"""Routers that work, and routers that misbehave: a mistake fails its query and names the router, never more than that."""
import json
import subprocess
import time

import pytest

from harness import BUILD, PATIENCE, POINTSMAN, chat, run, until

ROUTERS = BUILD / "tests" / "routers"


def plugin(name, **options):
    return {"plugin": str(ROUTERS / f"{name}.so"), **options}


def with_router(world, mock, router, route=None, **sections):
    return world.config(mock, routers={"culprit": router}, routes={"auto": {"routers": ["culprit"], "default": "alpha", **(route or {})}}, **sections)


# ---- refused when loaded -------------------------------------------------------------------------------------------------------

REFUSED = {
    "bad_abi_major": "major", "bad_abi_minor": "minor", "bad_small_table": "bad_small_table", "bad_no_symbol": "bad_no_symbol",
    "bad_options": "same", "bad_open_refuse": "no model in 'models', 0 files seen",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_loaded(plain_world, name):
    mock = plain_world.experts("alpha")
    file = plain_world.folder / "c.yaml"
    file.write_text(json.dumps(with_router(plain_world, mock, plugin(name)), indent=1))

    status, out, err = run("check", "-c", file)

    assert status == 1 and "c.yaml:" in out + err and ("culprit" in out + err or name in out + err) and REFUSED[name] in out + err, out + err


def test_a_library_that_is_none(plain_world):
    mock = plain_world.experts("alpha")
    file = plain_world.folder / "c.yaml"
    for content in (b"", b"\x7fELF", b"not a library at all" * 100):
        (plain_world.folder / "odd.so").write_bytes(content)
        file.write_text(json.dumps(with_router(plain_world, mock, {"plugin": str(plain_world.folder / "odd.so")})))
        status, out, err = run("check", "-c", file)
        assert status == 1 and "odd.so" in out + err


def test_a_crash_in_open_names_the_router(plain_world):
    mock = plain_world.experts("alpha")
    file = plain_world.folder / "c.yaml"
    file.write_text(json.dumps(with_router(plain_world, mock, plugin("bad_open_crash"))))

    done = subprocess.run([str(POINTSMAN), "check", "-c", str(file)], capture_output=True, text=True, timeout=PATIENCE)

    assert done.returncode != 0 and ("culprit" in done.stderr or "bad_open_crash" in done.stderr), done.stderr


def test_a_plugins_own_options_are_checked(plain_world):
    mock = plain_world.experts("alpha")
    file = plain_world.folder / "c.yaml"
    file.write_text(json.dumps(with_router(plain_world, mock, plugin("bad_stall", mss=5)), indent=1))

    status, out, err = run("check", "-c", file)

    assert status == 1 and "mss" in out + err and "did you mean 'ms'" in out + err


# ---- failed query by query -----------------------------------------------------------------------------------------------------

MISTAKES = [("bad_twice", {}), ("bad_never", {"how": "zero"}), ("bad_never", {"how": "forged"}), ("bad_never", {"how": "stale"}),
            ("bad_null_then", {}), ("bad_unknown_expert", {}), ("bad_loops", {})]


@pytest.mark.tsan
@pytest.mark.parametrize("name, options", MISTAKES, ids=[f"{n} {o.get('how', '')}".strip() for n, o in MISTAKES])
def test_a_mistake_fails_its_query_and_names_the_router(plain_world, name, options):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(with_router(plain_world, mock, plugin(name, **options)))

    for _ in range(20):
        reply = gateway.chat("auto")
        assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "alpha"
        assert reply.headers["x-pointsman-decision"] == "default"
    assert gateway.chat("beta").status == 200, "and nobody else notices"
    said = [line for line in gateway.lines if "culprit" in line and ("level=error" in line or "level=warn" in line)]
    assert said and len(said) < 20, "it is named, and not each time"


def test_the_next_router_is_asked(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(plain_world.config(
        mock, routers={"culprit": plugin("bad_twice"), "good": {"plugin": "rules", "rules": [{"keywords": ["please"], "expert": "beta"}]}},
        routes={"auto": {"routers": ["culprit", "good"], "default": "alpha"}}))

    assert gateway.chat("auto", "Now, please.").headers["x-pointsman-router"] == "good"
    assert gateway.chat("auto", "Now.").headers["x-pointsman-expert"] == "alpha"


def test_a_step_that_stalls_is_named(plain_world):
    mock = plain_world.experts("alpha")
    gateway = plain_world.gateway(with_router(plain_world, mock, plugin("bad_stall", ms=50)))

    assert gateway.chat("auto").headers["x-pointsman-router"] == "culprit"
    until("it is said who", lambda: [x for x in gateway.lines if "culprit" in x and "level=warn" in x])


def test_the_deadline_of_a_route(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(with_router(plain_world, mock, plugin("bad_slow_offload", ms=1500), {"deadline": "100ms", "default": "beta"}))

    began = time.monotonic()
    reply = gateway.chat("auto")

    assert reply.headers["x-pointsman-expert"] == "beta" and reply.headers["x-pointsman-decision"] == "default"
    assert time.monotonic() - began < 1.2


@pytest.mark.tsan
def test_clients_leave_while_work_runs(client_world):
    mock = client_world.experts("alpha")
    config = with_router(client_world, mock, plugin("bad_slow_offload", ms=1500), {"deadline": "5s"}, pool={"threads": 1, "queue": 64})
    gateway = client_world.gateway(config)

    wires = [gateway.wire().request("POST", "/v1/chat/completions", chat("auto")) for _ in range(12)]
    time.sleep(0.15)
    for wire in wires:
        wire.close()
    lines = gateway.request_lines(12)
    assert len(lines) == 12 and all(line["end"] == "client_left" for line in lines) and mock.count("alpha") == 0
    assert gateway.chat("auto").status == 200, "the pool is free again"


def test_a_full_pool_is_an_answer(plain_world):
    mock = plain_world.experts("alpha")
    config = with_router(plain_world, mock, plugin("bad_slow_offload", ms=300), {"deadline": "5s"}, pool={"threads": 1, "queue": 1})
    gateway = plain_world.gateway(config)

    wires = [gateway.wire().request("POST", "/v1/chat/completions", chat("auto")) for _ in range(8)]
    replies = [wire.reply() for wire in wires]
    [wire.close() for wire in wires]

    assert all(r.status == 200 for r in replies)
    decisions = [r.headers["x-pointsman-decision"] for r in replies]
    assert "default" in decisions and "computed" in decisions, decisions


# ---- moves that work -----------------------------------------------------------------------------------------------------------


def test_offload(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(with_router(plain_world, mock, plugin("uses_offload")))

    seen = {gateway.chat("auto", text).headers["x-pointsman-expert"] for text in ("a", "b")}  # neighbours in the alphabet: sums 97, 98
    assert seen == {"alpha", "beta"}
    assert gateway.chat("auto", "a").headers["x-pointsman-reason"] == "sum 97"


EMBED = {"default": {"expert": "vectors", "path": "/embeddings", "dim": 64}}


@pytest.mark.tsan
def test_embed(upstream_world):
    mock = upstream_world.experts("alpha", "beta", "vectors", options=["--dimension", "64"])
    gateway = upstream_world.gateway(with_router(upstream_world, mock, plugin("uses_embed", experts=["alpha", "beta"]), {"deadline": "5s"},
                                                 embedders=EMBED, experts={"vectors": {"apis": ["embeddings"]}}))

    seen = {}
    for text in ("one", "two", "three", "four", "five", "six"):
        head = gateway.chat("auto", text).headers
        assert head["x-pointsman-decision"] == "computed" and head["x-pointsman-reason"].startswith("largest of 64 floats")
        seen[text] = head["x-pointsman-expert"]
    assert set(seen.values()) == {"alpha", "beta"}
    for text, expert in seen.items():
        assert gateway.chat("auto", text).headers["x-pointsman-expert"] == expert, "the same text, the same vector"


@pytest.mark.parametrize("fault", ["status=500", "reset", "accept-never-answer", "cut-after=50", "status=429"])
def test_an_embedder_that_fails(upstream_world, fault):
    mock = upstream_world.experts("alpha", "beta", "vectors", options=["--dimension", "64"])
    gateway = upstream_world.gateway(with_router(upstream_world, mock, plugin("uses_embed", experts=["alpha", "beta"]), {"deadline": "400ms"},
                                                 embedders=EMBED, experts={"vectors": {"apis": ["embeddings"]}}))
    mock.script(mock.always("vectors", fault))

    reply, began = gateway.chat("auto"), time.monotonic()

    assert reply.status == 200 and reply.headers["x-pointsman-decision"] == "default" and time.monotonic() - began < 3


def test_call(upstream_world):
    mock = upstream_world.experts("alpha", "beta", "judge")
    gateway = upstream_world.gateway(with_router(upstream_world, mock, plugin("uses_call", ask="judge"), {"deadline": "5s"}))

    reply = gateway.chat("auto", "ask beta please")  # the mock expert gives the words back

    assert reply.headers["x-pointsman-expert"] == "beta" and reply.headers["x-pointsman-reason"] == "named in the reply"
    assert mock.count("judge") == 1 and mock.count("beta") == 1


@pytest.mark.tsan
@pytest.mark.parametrize("fault", ["accept-never-answer", "delay-ms=5000"])
def test_clients_leave_while_a_router_calls(upstream_world, fault):
    mock = upstream_world.experts("alpha", "judge")
    gateway = upstream_world.gateway(with_router(upstream_world, mock, plugin("uses_call", ask="judge"), {"deadline": "20s"}))
    mock.script(mock.always("judge", fault))

    wire = gateway.wire().request("POST", "/v1/chat/completions", chat("auto"))
    until("the call is at the judge", lambda: mock.count("judge") == 1)
    left = time.time()
    wire.close()

    gone = until("the call is cancelled", mock.cancelled)
    assert gone[0]["at"] - left < 0.1
    assert gateway.request_lines(1)[0]["end"] == "client_left" and mock.count("alpha") == 0


@pytest.mark.parametrize("wait", ["none", "offload"])
def test_what_was_deferred_runs_last_in_first_out(client_world, wait):
    file = client_world.folder / "deferred"
    mock = client_world.experts("alpha")
    gateway = client_world.gateway(with_router(client_world, mock, plugin("uses_defer", file=str(file), wait=wait), {"deadline": "5s"}))

    id = gateway.chat("auto").headers["x-request-id"]
    wire = gateway.wire().request("POST", "/v1/chat/completions", chat("auto"))
    if wait == "none":
        wire.reply()
    wire.close()
    until("all have run", lambda: file.exists() and sum(len(line.split()) == 2 for line in file.read_text().splitlines()) == 6)
    gateway.stop()

    lines = file.read_text().splitlines()
    first = [line.split()[1] for line in lines if line.startswith(id + " ")]
    assert [x for x in first if x in "123"] == ["3", "2", "1"]
    assert f"{id} observed alpha 200 1" in lines
    assert lines[-1] == "closed" and lines.count("closed") == 1


# ---- the shipped ones ------------------------------------------------------------------------------------------------------------


def test_rules_end_to_end(world):
    mock = world.experts("alpha", "beta", "gamma")
    gateway = world.gateway(world.config(
        mock, expert={"retries": 0},
        routers={"by_rules": {"plugin": "rules", "rules": [
            {"name": "vip", "headers": [{"name": "x-tier", "value": "gold"}], "expert": "gamma"},
            {"name": "code", "keywords": ["python", "compile"], "expert": "beta", "fallbacks": ["gamma"], "category": "code"},
            {"name": "sums", "regex": "\\d+\\s*\\+\\s*\\d+", "expert": "gamma", "category": "math"}]}},
        routes={"auto": {"routers": ["by_rules"], "default": "alpha"}}))

    def to(text, **headers):
        return gateway.chat("auto", text, headers=headers).headers

    assert to("Please compile this")["x-pointsman-category"] == "code"
    assert to("What is 3 + 4?")["x-pointsman-expert"] == "gamma"
    assert to("Please compile this", **{"X-Tier": "gold"})["x-pointsman-expert"] == "gamma"
    assert to("Hello")["x-pointsman-decision"] == "default"
    mock.script(mock.always("beta", "status=503"))
    assert to("Write python")["x-pointsman-expert"] == "gamma", "the rule's own fallback"


def test_a_wrong_model_file_is_refused(plain_world):
    mock = plain_world.experts("alpha")
    file = plain_world.folder / "c.yaml"
    model = plain_world.folder / "model.safetensors"
    table = plain_world.folder / "map.json"
    table.write_text("{}")
    for content in (b"", b"\x00" * 7, b"\xff" * 64, b"\x10" + b"\x00" * 7 + b'{"a":{"dtype":1}}', (1 << 40).to_bytes(8, "little") + b"{}", b"PK\x03\x04" * 100):
        model.write_bytes(content)
        config = plain_world.config(mock, routers={"culprit": {"plugin": "category", "model": str(model), "map": str(table)}},
                                    routes={"auto": {"routers": ["culprit"], "default": "alpha"}})
        file.write_text(json.dumps(config, indent=1))
        status, out, err = run("check", "-c", file)
        assert status == 1 and "model.safetensors" in out + err, out + err

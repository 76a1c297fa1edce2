# SPDX-License-Identifier: Apache-2.0
"""Experts fail: the next in the ranking answers; none left is a clear error that says whether to come back."""
import time

import pytest

from harness import chat, free_port, until

def route(**more):
    return {"routes": {"auto": {"default": "alpha", "fallbacks": 2, **more}}}


@pytest.mark.tsan
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["status=500", "status=503", "status=502;html", "status=504;empty", "reset", "status=429;retry-after=60"])
def test_expert_down_next_in_the_ranking(upstream_world, fault, stream):
    mock, gateway = upstream_world.serve("alpha", "beta", expert={"retries": 0}, **route())
    mock.script(mock.always("alpha", fault))

    reply = gateway.chat("auto", stream=stream)

    assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "beta", reply.body
    assert reply.headers["x-pointsman-attempts"] == "2"
    model = reply.chunks[0]["model"] if stream else reply.json()["model"]
    assert model == "beta", "the body's model is the one that served"
    assert mock.count("alpha") == 1 and mock.count("beta") == 1
    assert gateway.request_lines(1)[0]["expert"] == "beta"


def test_expert_whose_port_is_closed(upstream_world):
    mock = upstream_world.experts("alpha", "beta")
    config = upstream_world.config(mock, **route())
    scheme = "https" if upstream_world.mode == "curl" else "http"
    config["experts"]["alpha"]["endpoints"] = [f"{scheme}://127.0.0.1:{free_port()}/v1"]
    gateway = upstream_world.gateway(config)

    assert gateway.chat("auto").headers["x-pointsman-expert"] == "beta"
    direct = gateway.chat("alpha")
    assert direct.status == 502 and direct.error
    assert direct.headers["x-should-retry"] == "false" and "retry-after" not in direct.headers, "it has been tried twice"


def test_expert_that_speaks_no_http(upstream_world):
    mock = upstream_world.experts("beta")
    other = upstream_world.experts("garbage", tls=upstream_world.mode != "curl")  # TLS where plain is expected and the other way round
    config = upstream_world.config(mock, **route(default="odd"))
    scheme = "https" if upstream_world.mode == "curl" else "http"
    config["experts"]["odd"] = {"endpoints": [f"{scheme}://127.0.0.1:{other.ports['garbage']}/v1"], "retries": 0}
    gateway = upstream_world.gateway(config)

    assert gateway.chat("auto").headers["x-pointsman-expert"] == "beta"
    assert gateway.chat("odd").status == 502


@pytest.mark.parametrize("stream", [False, True])
def test_none_left(world, stream):
    mock, gateway = world.serve("alpha", "beta", expert={"retries": 0}, **route())
    mock.script(mock.always("alpha", "status=503"), mock.always("beta", "reset"))

    reply = gateway.chat("auto", stream=stream)

    assert reply.status == 502 and reply.error and reply.complete
    assert reply.headers["x-should-retry"] == "false" and "retry-after" not in reply.headers, "another one has been tried"
    assert mock.count("alpha") == 1 and mock.count("beta") == 1
    line = gateway.request_lines(1)
    assert len(line) == 1 and line[0]["status"] == str(reply.status) and line[0]["attempts"] == "2"


def test_a_named_expert_has_no_stand_in(world):
    mock, gateway = world.serve("alpha", "beta", expert={"retries": 0}, **route())
    mock.script(mock.always("alpha", "status=500"))

    reply = gateway.chat("alpha")

    assert reply.status >= 500 and reply.error
    assert mock.count("beta") == 0, "who asks for an expert by name gets that one or an error"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_clients_own_mistakes_are_passed_on(upstream_world, status):
    mock, gateway = upstream_world.serve("alpha", "beta", **route())
    mock.script(mock.always("alpha", f"status={status}"))

    reply = gateway.chat("alpha")

    assert reply.status == status and reply.error["message"] == "The mock expert was told to fail."
    assert mock.count("alpha") == 1 and mock.count("beta") == 0, "no retry: it would fail again"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_our_own_mistake_is_not_the_clients_fault(upstream_world, status):
    mock, gateway = upstream_world.serve("alpha", "beta", **route())
    mock.script(mock.always("alpha", f"status={status}"))

    assert gateway.chat("alpha").status >= 500, "a client that sees 401 would doubt its own key, one that sees 404 the name"


def test_endpoints_of_one_expert_share_the_load_and_stand_in(upstream_world):
    mock = upstream_world.experts("one", "two")
    config = upstream_world.config(mock, **route(default="pair"))
    config["experts"] = {"pair": {**upstream_world.expert(mock, "one"), "endpoints": [mock.url("one"), mock.url("two")]}}
    gateway = upstream_world.gateway(config)

    for _ in range(12):
        assert gateway.chat("pair").status == 200
    assert mock.count("one") > 0 and mock.count("two") > 0
    mock.script(mock.always("one", "status=503"))
    for _ in range(6):
        assert gateway.chat("pair").status == 200, "the other endpoint stands in"


def test_an_expert_at_its_limit_is_passed_over(upstream_world):
    mock, gateway = upstream_world.serve("alpha", "beta", experts={"alpha": {"in_flight": 1}}, workers=1, **route())
    mock.script(("alpha", "delay-ms=1500"))

    with gateway.wire() as first:
        first.request("POST", "/v1/chat/completions", chat("auto"))
        until("the first is at alpha", lambda: mock.count("alpha") == 1)
        second = gateway.chat("auto")
        assert second.headers["x-pointsman-expert"] == "beta"
        assert first.reply().headers["x-pointsman-expert"] == "alpha"


def test_keep_alive_to_experts(upstream_world):
    mock, gateway = upstream_world.serve("alpha", workers=1)

    for _ in range(20):
        assert gateway.chat("alpha").status == 200
    assert mock.stats("alpha")["accepted"] <= 2, "connections to experts are kept"


def test_a_kept_connection_that_has_died_costs_nothing(upstream_world):
    mock, gateway = upstream_world.serve("alpha", workers=1, expert={"retries": 1})
    mock.script({"expert": "alpha", "fault": "drop", "times": 10})

    for _ in range(10):
        assert gateway.chat("alpha").status == 200
        time.sleep(0.02)
    assert mock.count("alpha") == 10, "none was asked twice"


def test_the_deadline_of_a_request_ends_all_attempts(upstream_world):
    mock, gateway = upstream_world.serve("alpha", "beta", limits={"request_time": "700ms"}, **route())
    mock.script(mock.always("alpha", "accept-never-answer"), mock.always("beta", "accept-never-answer"))

    began = time.monotonic()
    reply = gateway.chat("auto")

    assert reply.status == 504 and reply.error and 0.5 < time.monotonic() - began < 3
    until("nothing is left running at the expert", lambda: mock.stats("alpha")["in_flight"] == 0)

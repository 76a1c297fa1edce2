# SPDX-License-Identifier: Apache-2.0
"""Whose fault it was: the address's, one model's and key's, or the request's own. Others must not pay for it."""
import signal

import pytest

from harness import free_port, until
from scripted import answer, good, scripted, serve

BREAKER = {"failures": 3, "open_time": "60s"}


def one_url(world, says, **more):
    """Two models, and two keys of the second, behind one URL."""
    expert = scripted(world, says)
    names = {"big": {"model": "big", "key": "k1"}, "mini": {"model": "mini", "key": "k1"}, "mine": {"model": "mini", "key": "k2"}}
    return expert, serve(world, {n: expert.entry(retries=0, breaker=BREAKER, **m) for n, m in names.items()},
                         routes={"auto": {"default": "big", "experts": ["big", "mini", "mine"]}}, **more)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", ["429", "503", "reset"])
def test_a_model_is_not_shut_for_what_its_neighbour_does(upstream_world, failure, stream):
    bad = {"429": answer({"error": {"message": "slow down"}}, 429, {"Retry-After": "60"}), "503": answer({"error": {}}, 503), "reset": None}

    def says(body, headers):
        return bad[failure] if (body["model"], headers["authorization"]) != ("mini", "Bearer k2") else good(body)

    _, gateway = one_url(upstream_world, says)

    for _ in range(4):
        assert gateway.chat("auto", stream=stream).headers["x-pointsman-expert"] == "mine"
        assert gateway.chat("big", stream=stream).status >= 429
        assert gateway.chat("mini", stream=stream).status >= 429
        assert gateway.chat("mine", stream=stream).status == 200, "the same model with another key"


def test_a_closed_port_is_every_models(upstream_world):
    scheme = "https" if upstream_world.mode == "curl" else "http"
    url = f"{scheme}://127.0.0.1:{free_port()}/v1"
    admin = upstream_world.admin()
    entry = {"endpoints": [url], "retries": 0, "breaker": BREAKER}
    gateway = serve(upstream_world, {"big": {**entry, "model": "big"}, "mini": {**entry, "model": "mini"}}, admin=admin)

    assert [gateway.chat("big").status for _ in range(3)] == [502, 502, 502]
    assert gateway.chat("mini").status == 503, "it is known that nobody is there"
    shown = gateway.admin("GET", "/admin/experts").json()["experts"]
    assert [e["endpoints"][0]["breaker"] for e in shown] == ["open", "open"] and shown[1]["endpoints"][0]["connect_failures"] == 3


def test_health_outlives_a_reload(plain_world):
    expert, gateway = one_url(plain_world, lambda body, _: answer({"error": {}}, 503) if body["model"] == "big" else good(body))

    for _ in range(3):
        gateway.chat("big")
    asked = expert.count("big")
    gateway.file.write_text(gateway.file.read_text() + "\n")
    gateway.signal(signal.SIGHUP)
    until("reloaded", lambda: any("reloaded, generation" in line for line in gateway.lines))
    assert gateway.chat("big").status == 503 and expert.count("big") == asked and gateway.chat("mini").status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_three_pictures_do_not_shut_a_model_that_reads(upstream_world, stream):
    """llama.cpp answers 500 for a picture to a text-only model."""
    refusal = answer({"error": {"code": 500, "message": "image input is not supported", "type": "server_error"}}, 500)

    def says(body, _):
        return refusal if "image" in str(body) else good(body)

    expert = scripted(upstream_world, says)
    gateway = serve(upstream_world, {"e": expert.entry(retries=1, breaker=BREAKER)})
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]

    for _ in range(6):
        reply = gateway.chat("e", picture, stream=stream)
        assert reply.status == 502 and "image input is not supported" in reply.error["message"]
    assert gateway.chat("e", stream=stream).status == 200


def test_a_500_that_many_conversations_meet_is_the_experts(plain_world):
    expert = scripted(plain_world, lambda *_: answer({"error": {"message": "out of memory", "type": "server_error"}}, 500))
    gateway = serve(plain_world, {"e": expert.entry(retries=0, breaker=BREAKER)})

    statuses = [gateway.chat("e", f"Question {i}").status for i in range(4)]

    assert statuses == [502, 502, 502, 503] and expert.count() == 3


@pytest.mark.parametrize("failure", [answer("<html>no</html>", 500, content_type="text/html"), answer("", 500), answer({"error": {}}, 502)])
def test_a_failure_that_is_nobodys_request_counts_at_once(plain_world, failure):
    expert = scripted(plain_world, lambda *_: failure)
    gateway = serve(plain_world, {"e": expert.entry(retries=0, breaker=BREAKER)})

    assert [gateway.chat("e").status for _ in range(4)] == [502, 502, 502, 503]


def test_a_clients_own_limit_shuts_nobody(upstream_world):
    expert = scripted(upstream_world, lambda body, _: [...] if "slow" in str(body) else good(body))
    gateway = serve(upstream_world, {"e": expert.entry(retries=0, breaker=BREAKER)})

    for _ in range(4):
        assert gateway.chat("e", "slow", headers={"x-request-timeout-ms": "200"}).status == 504
        assert gateway.chat("e", "slow", stream=True, headers={"x-request-timeout-ms": "200"}).status == 504
    assert gateway.chat("e").status == 200


def test_nor_where_only_a_head_has_come(upstream_world):
    heads = {True: b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
             False: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"}
    expert = scripted(upstream_world, lambda body, _: [heads[body.get("stream", False)], ...] if "slow" in str(body) else good(body))
    gateway = serve(upstream_world, {"e": expert.entry(retries=0, breaker=BREAKER)})

    for stream in (False, True) * 4:
        assert gateway.chat("e", "slow", stream=stream, headers={"x-request-timeout-ms": "200"}).status == 504
    assert gateway.chat("e").status == 200


def test_nor_does_the_limit_of_a_request(upstream_world):
    expert = scripted(upstream_world, lambda body, _: [...] if "slow" in str(body) else good(body))
    gateway = serve(upstream_world, {"e": expert.entry(retries=0, breaker=BREAKER)}, limits={"request_time": "300ms"})

    assert [gateway.chat("e", "slow").status for _ in range(4)] == [504] * 4
    assert gateway.chat("e").status == 200

# SPDX-License-Identifier: Apache-2.0
"""An expert that leads back to the gateway that asks it: the first return ends it."""
import pytest

from harness import free_port

LOOP = 508


def settings(world, url, port=None, **sections):
    return {"listen": {"address": f"127.0.0.1:{port or free_port()}"}, "workers": 2, "experts": {"next": {"endpoints": [url], "model": "next"}}, **sections}


@pytest.mark.parametrize("model", ["next", "auto"])
@pytest.mark.parametrize("stream", [False, True])
def test_our_own_listener(plain_world, model, stream):
    port = free_port()
    gateway = plain_world.gateway(settings(plain_world, f"http://127.0.0.1:{port}/v1", port))
    reply = gateway.chat(model, stream=stream)

    assert (reply.status, reply.error["code"]) == (LOOP, "loop_detected"), reply.body
    assert "expert 'next'" in reply.error["message"] and reply.headers["x-should-retry"] == "false" and "retry-after" not in reply.headers
    lines = gateway.request_lines(2)
    assert [line["status"] for line in lines] == [str(LOOP)] * 2, "it came back once"
    assert gateway.chat(model).status == LOOP, "and it closes no breaker: 508 is what it says each time"


def test_a_fallback_that_leads_on_answers(plain_world):
    mock = plain_world.experts("alpha")
    port = free_port()
    config = settings(plain_world, f"http://127.0.0.1:{port}/v1", port, routes={"auto": {"default": "next"}})
    config["experts"]["alpha"] = plain_world.expert(mock, "alpha")
    gateway = plain_world.gateway(config)

    assert gateway.chat("auto").headers["x-pointsman-expert"] == "alpha" and mock.count("alpha") == 1


def test_two_gateways_that_ask_each_other(plain_world):
    ports = [free_port(), free_port()]
    gateways = [plain_world.gateway(settings(plain_world, f"http://127.0.0.1:{ports[1 - i]}/v1", ports[i])) for i in range(2)]

    reply = gateways[0].chat("next")
    assert (reply.status, reply.error["code"]) == (LOOP, "loop_detected")
    assert len(gateways[0].request_lines(2)) == 2 and len(gateways[1].request_lines(1)) == 1


def test_a_chain_of_gateways_works_up_to_a_number(plain_world):
    mock = plain_world.experts("next")
    url, chain = mock.url("next"), []
    for _ in range(8):
        chain.append(plain_world.gateway(settings(plain_world, url)))
        url = f"http://127.0.0.1:{chain[-1].port}/v1"

    assert chain[-1].chat("next").status == 200
    passed = mock.requests("next")[-1]["head"]["x-pointsman-hops"].split(", ")
    assert len(passed) == len(set(passed)) == 8 and all(len(p) == 16 for p in passed)
    one_more = plain_world.gateway(settings(plain_world, url))
    assert one_more.chat("next").status == LOOP and mock.count("next") == 1


def test_what_a_client_says_of_hops(plain_world):
    mock, gateway = plain_world.serve("next")
    reply = gateway.chat("next", headers={"x-pointsman-hops": "0123456789abcdef"})
    assert reply.status == 200 and mock.requests("next")[-1]["head"]["x-pointsman-hops"].startswith("0123456789abcdef, ")
    for lie in (",".join("a" * 16 for _ in range(8)), "x" * 1000):
        assert gateway.chat("next", headers={"x-pointsman-hops": lie}).status == LOOP


def test_long_trace_headers_do_not_push_the_hops_out(plain_world):
    mock, gateway = plain_world.serve("next")
    for parent, state in ((1000, 1000), (55, 1950), (2000, 40), (3000, 3000)):
        reply = gateway.chat("next", headers={"traceparent": "0" * parent, "tracestate": "v=" + "1" * state})
        assert reply.status == 200 and len(mock.requests("next")[-1]["head"]["x-pointsman-hops"]) == 16, (parent, state)

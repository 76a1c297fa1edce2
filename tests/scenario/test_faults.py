# SPDX-License-Identifier: Apache-2.0
"""Sixteen faults of upstreams that a gateway must survive; S01 to S16 of a public board's scenarios."""
import time

import pytest

from harness import chat, until

pytestmark = pytest.mark.tsan


def start(world, *names, expert=None, **sections):
    sections.setdefault("routes", {"auto": {"default": names[0], "fallbacks": 2}})
    return world.serve(*names, options=["--tokens", "6", "--rate", "100"], expert=expert or {}, **sections)


def timed(call):
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_s01_429_with_retry_after_is_waited_for(upstream_world):
    mock, gateway = start(upstream_world, "alpha")
    mock.script(("alpha", "status=429;retry-after=1"))

    reply, seconds = timed(lambda: gateway.chat("alpha"))

    assert reply.status == 200 and 0.9 < seconds < 4 and mock.count("alpha") == 2


def test_s01_a_wait_beyond_the_deadline_is_not_begun(upstream_world):
    mock, gateway = start(upstream_world, "alpha", limits={"request_time": "2s"})
    mock.script(mock.always("alpha", "status=429;retry-after=60"))

    reply, seconds = timed(lambda: gateway.chat("alpha"))

    assert reply.status == 429 and seconds < 1 and int(reply.headers["retry-after"]) >= 1


def test_s02_429_without_end(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta")
    mock.script(mock.always("alpha", "status=429"), mock.always("beta", "status=429"))

    reply, seconds = timed(lambda: gateway.chat("auto"))

    assert reply.status == 429 and reply.error["code"] == "rate_limit_exceeded" and int(reply.headers["retry-after"]) >= 1
    assert mock.count("alpha") <= 2 and mock.count("beta") <= 2, "no hammering"


def test_s02_429_without_end_next_expert(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta")
    mock.script(mock.always("alpha", "status=429"))

    for _ in range(5):
        assert gateway.chat("auto").headers["x-pointsman-expert"] == "beta"
    assert mock.count("alpha") <= 2, "nor in the next requests"


def test_s03_one_500_is_retried_once(upstream_world):
    mock, gateway = start(upstream_world, "alpha")
    mock.script(("alpha", "status=500"))

    assert gateway.chat("alpha").status == 200
    assert mock.count("alpha") == 2


def test_s03_two_500_are_not(upstream_world):
    mock, gateway = start(upstream_world, "alpha")
    mock.script({"expert": "alpha", "fault": "status=500", "times": 2})

    assert gateway.chat("alpha").status >= 500
    assert mock.count("alpha") == 2


def test_s04_503_without_end_next_expert(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta")
    mock.script(mock.always("alpha", "status=503"))

    reply = gateway.chat("auto")

    assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "beta"


def test_s05_tcp_reset_next_attempt(upstream_world):
    mock, gateway = start(upstream_world, "alpha")
    mock.script(("alpha", "reset"))

    assert gateway.chat("alpha").status == 200
    assert mock.count("alpha") == 2


def test_s06_accepts_and_never_answers(upstream_world):
    mock, gateway = start(upstream_world, "alpha", expert={"first_token_time": "400ms", "answer_time": "400ms", "retries": 0})
    mock.script(mock.always("alpha", "accept-never-answer"))

    reply, seconds = timed(lambda: gateway.chat("alpha"))

    assert reply.status == 504 and reply.error and 0.3 < seconds < 3
    assert mock.count("alpha") == 1, "no silent second execution"


def test_s07_first_token_too_late_next_expert(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta", expert={"first_token_time": "400ms", "retries": 0})
    mock.script(mock.always("alpha", "delay-ms=20000"))

    reply, seconds = timed(lambda: gateway.chat("auto", stream=True))

    assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "beta" and seconds < 3
    until("the slow transfer is cancelled", mock.cancelled)


def test_s07_a_whole_answer_too_late_is_not_asked_for_twice(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta", expert={"answer_time": "400ms"})
    mock.script(mock.always("alpha", "delay-ms=20000"))

    reply, seconds = timed(lambda: gateway.chat("auto"))

    assert reply.status == 504 and reply.error["code"] == "expert_timeout" and 0.3 < seconds < 3
    assert mock.count("alpha") == 1 and mock.count("beta") == 0, "it may have been paid for already"
    until("the slow transfer is cancelled", mock.cancelled)


def broken(upstream_world, fault, **expert):
    mock, gateway = start(upstream_world, "alpha", expert=expert)
    mock.script(mock.always("alpha", fault))
    reply = gateway.chat("alpha", stream=True)
    assert not reply.done, "a truncated answer shown as success"
    assert reply.error and reply.error["message"]


def test_s08_stream_cut_in_the_middle(upstream_world):
    broken(upstream_world, "cut-after=800")


def test_s09_stream_stalls(upstream_world):
    broken(upstream_world, "stall-after=3", idle_time="400ms")


def test_s10_malformed_chunk(upstream_world):
    broken(upstream_world, "malformed-at=3")


def test_s11_stream_without_done_nor_finish_reason(upstream_world):
    broken(upstream_world, "no-finish;no-done")


def test_s12_context_length_exceeded_goes_to_a_longer_one(upstream_world):
    mock, gateway = start(upstream_world, "small", "same", "large", experts={"small": {"context": 8192}, "same": {"context": 8192},
                                                                           "large": {"context": 131072}})
    mock.script(mock.always("small", "context-length"), mock.always("same", "context-length"))

    reply = gateway.chat("auto")

    assert reply.status == 200 and reply.headers["x-pointsman-expert"] == "large"
    assert mock.count("small") == 1 and mock.count("same") == 0, "no retry where it cannot fit"


def test_s12_none_is_longer(upstream_world):
    mock, gateway = start(upstream_world, "alpha", experts={"alpha": {"context": 8192}})
    mock.script(mock.always("alpha", "context-length"))

    reply = gateway.chat("auto")

    assert reply.status == 400 and reply.error["code"] == "context_length_exceeded" and mock.count("alpha") == 1


def test_s13_content_filter_is_passed_on(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta")
    mock.script(mock.always("alpha", "content-filter"))

    reply = gateway.chat("auto")

    assert reply.status == 400 and reply.error["code"] == "content_filter"
    assert mock.count("alpha") == 1 and mock.count("beta") == 0


def test_s14_fallback_rejects_what_the_first_accepted(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta", expert={"retries": 0})
    mock.script(mock.always("alpha", "status=503"), mock.always("beta", "status=400"))
    body = chat("auto")
    body["messages"].append({"role": "assistant", "content": "Well, "})

    reply = gateway.post("/v1/chat/completions", body)

    assert reply.status >= 400 and reply.error


def test_s15_flapping_opens_the_breaker_and_it_comes_back(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta", workers=1,
                          expert={"retries": 0, "breaker": {"failures": 3, "open_time": "600ms"}})
    mock.script(mock.always("alpha", "status=503"))

    for _ in range(10):
        assert gateway.chat("auto").headers["x-pointsman-expert"] == "beta"
    assert mock.count("alpha") == 3, "after three failures it is left alone"
    mock.script()

    def back():
        time.sleep(0.1)
        return gateway.chat("auto").headers["x-pointsman-expert"] == "alpha"

    until("the expert is used again", back, 10)


def test_s16_the_fallback_answers_in_its_own_name(upstream_world):
    mock, gateway = start(upstream_world, "alpha", "beta", expert={"retries": 0},
                          experts={"alpha": {"model": "vendor/alpha"}, "beta": {"model": "vendor/beta"}})
    mock.script(mock.always("alpha", "status=500"))

    reply = gateway.chat("auto")

    assert reply.json()["model"] in ("vendor/beta", "beta") and reply.headers["x-pointsman-expert"] == "beta"
    assert b'"vendor/beta"' in mock.requests("beta")[0]["body"], "the fallback is asked under its own name"
    line = gateway.request_lines(1)[0]
    assert line["expert"] == "beta" and line["tokens_out"] == str(reply.json()["usage"]["completion_tokens"])

# SPDX-License-Identifier: Apache-2.0
"""A thread that does not come back is named while it hangs, costs nobody else anything, and never keeps the process from ending."""
import signal
import time

import pytest

from harness import BUILD, SANITIZED, chat, until

CULPRIT = str(BUILD / "tests" / "routers" / "bad_hang.so")


def serve(world, where="step", how="spin", **sections):
    mock = world.experts("alpha")
    options = {"plugin": CULPRIT, "where": where, "how": how, "time": sections.pop("time", "0s")}
    return world.gateway(world.config(mock, routers={"culprit": options}, routes={"auto": {"deadline": "60s"}}, **sections))


def hang(gateway):
    """Sends the prompt that does the harm; the connection stays open."""
    return gateway.wire(timeout=60).request("POST", "/v1/chat/completions", chat("auto", "hang now"))


def said(gateway, *words):
    return [line for line in list(gateway.lines) if all(word in line for word in words)]


def end_hard(gateway, signals):
    """The exit status after so many SIGTERMs, and the seconds from the last one to the end."""
    for i in range(signals):
        gateway.signal(signal.SIGTERM)
        until("the signal is in the log", lambda: said(gateway, "signal 15") or gateway.child.poll() is not None) if i == 0 else None
    began = time.monotonic()
    gateway.judged = True
    return gateway.wait(30), time.monotonic() - began


@pytest.mark.tsan
@pytest.mark.parametrize("how", ["spin", "sleep"])
def test_a_worker_that_hangs_is_named_and_costs_no_client(client_world, how):
    gateway = serve(client_world, how=how, workers=2, watchdog="0s", limits={"drain_time": "10m"})
    held = hang(gateway)

    until("it is named while it hangs", lambda: said(gateway, "has hung for", "in a step of router 'culprit'"))
    for _ in range(40):  # by the kernel's choice half of them belong to the worker that hangs
        assert gateway.get("/healthz").status == 200
    ready = gateway.get("/readyz")
    assert ready.status == 503 and ready.error["code"] == "worker_hangs"
    assert gateway.chat("alpha").status == 200

    status, seconds = end_hard(gateway, 2)
    assert status == 1 and seconds < (10 if SANITIZED else 3)
    assert said(gateway, "does not stop in time", "in a step of router 'culprit'"), gateway.tail()
    held.close()


@pytest.mark.tsan
def test_a_worker_that_comes_back_is_one_again(plain_world):
    gateway = serve(plain_world, how="sleep", workers=2, time="6s")
    held = hang(gateway)

    until("it is named", lambda: said(gateway, "has hung for", "'culprit'"))
    assert gateway.get("/readyz").status == 503
    assert held.reply().status == 200
    until("it goes on", lambda: said(gateway, "responds again after"))
    until("ready again", lambda: gateway.get("/readyz").status == 200)
    for _ in range(20):
        assert gateway.chat("auto", "fine").status == 200


def test_the_process_ends_by_itself(plain_world):
    gateway = serve(plain_world, workers=2, watchdog="2s")
    held = hang(gateway)

    gateway.judged = True
    assert gateway.wait(60) == 1
    assert said(gateway, "in a step of router 'culprit' has hung for", "'watchdog' allows 2.0 s: exiting"), gateway.tail()
    held.close()


@pytest.mark.tsan
def test_threads_of_the_pool_are_looked_at(plain_world):
    gateway = serve(plain_world, where="offload", how="sleep", workers=1, pool={"threads": 2}, watchdog="2s")

    first = hang(gateway)
    until("it is named", lambda: said(gateway, "pool/", "has hung for", "in an offload of router 'culprit'"))
    assert gateway.get("/readyz").status == 200, "a thread of the pool is left"
    second = hang(gateway)
    gateway.judged = True
    assert gateway.wait(60) == 1, "none is left"
    assert said(gateway, "in an offload of router 'culprit' has hung for", "exiting"), gateway.tail()
    first.close(), second.close()


def test_a_process_that_stood_still_accuses_nobody(plain_world):
    gateway = serve(plain_world, workers=2, watchdog="2s")

    gateway.signal(signal.SIGSTOP)
    time.sleep(3)  # the time itself is what is tested
    gateway.signal(signal.SIGCONT)
    assert gateway.chat("auto", "fine").status == 200
    time.sleep(0.5)
    assert not said(gateway, "has hung"), gateway.tail()


def test_draining_ends_although_a_worker_hangs(plain_world):
    gateway = serve(plain_world, workers=2, watchdog="0s", limits={"drain_time": "500ms"})
    held = hang(gateway)
    until("it is named", lambda: said(gateway, "has hung for"))

    status, seconds = end_hard(gateway, 1)
    assert status == 1 and seconds < 19
    assert said(gateway, "does not stop in time", "'culprit'"), gateway.tail()
    held.close()


@pytest.mark.parametrize("where, words", [("step", "a step"), ("offload", "an offload"), ("observe", "observe"), ("deferred", "a deferred function")])
def test_a_crash_names_the_call(plain_world, where, words):
    gateway = serve(plain_world, where=where, how="crash", workers=1)
    assert gateway.chat("auto", "the last one that went well").status == 200
    held = hang(gateway)

    gateway.judged = True
    assert gateway.wait(20) != 0
    assert said(gateway, f"crashed (signal 6) in {words} of router 'culprit'"), gateway.tail()
    if where != "offload":  # there another thread crashes than the one that gathers the lines
        assert gateway.log(msg="request", status="200", router="culprit"), "lines that were gathered are shown, too"
    held.close()


def test_a_crash_in_close_is_named(plain_world):
    gateway = serve(plain_world, where="close", how="crash")
    assert hang(gateway).reply().status == 200

    gateway.signal(signal.SIGTERM)
    gateway.judged = True
    assert gateway.wait(20) != 0
    assert said(gateway, "crashed (signal 6) in close of router 'culprit'"), gateway.tail()

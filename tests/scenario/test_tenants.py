# SPDX-License-Identifier: Apache-2.0
"""Who may ask, how much, and for what; and that nobody can ask for a place of his own."""
import json
import statistics
import time

import pytest

from harness import Wire, chat, free_port, run, until

ACME, GLOBEX = "sk-acme-0123456789abcdef", "sk-globex-0123456789abcdef"


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def tenants(**acme):
    return {"acme": {"keys": [ACME], **acme}, "globex": {"keys": [GLOBEX]}}


WRONG = [None, "Bearer ", "Bearer", "Basic " + ACME, "Bearer wrong", "Bearer " + ACME[:-1], "Bearer " + ACME + "x", "Bearer " + ACME.upper(),
         "Bearer " + "x" * 4000, "Bearer " + ACME[::-1], f"Bearer {ACME} {GLOBEX}", ACME]


def test_every_wrong_key_gets_the_same_answer(client_world):
    mock, gateway = client_world.serve("alpha", tenants=tenants())

    answers = []
    for value in WRONG:
        reply = gateway.chat("alpha", headers={} if value is None else {"Authorization": value})
        assert reply.status == 401 and reply.error["code"] == "invalid_api_key"
        answers.append((reply.body, sorted(h for h in reply.headers if h != "date"), reply.headers.get("www-authenticate")))
    assert len(set(map(str, answers))) == 1, "nothing to learn from an answer"
    assert mock.count("alpha") == 0
    lines = gateway.request_lines(len(WRONG))
    assert len(lines) == len(WRONG) and all(line["status"] == "401" for line in lines)
    assert not any(ACME[3:] in line for line in gateway.lines), "keys are not logged"
    assert gateway.chat("alpha", headers=bearer(ACME)).status == 200


@pytest.mark.slow
def test_every_wrong_key_takes_the_same_time(plain_world):
    _, gateway = plain_world.serve("alpha", tenants=tenants(), workers=1)

    def seconds(key, wire):
        began = time.perf_counter()
        assert wire.request("GET", "/v1/models", None, bearer(key)).reply().status == 401
        return time.perf_counter() - began

    keys = {"a wrong one": "sk-none-0123456789abcdef", "almost right": ACME[:-1] + "0", "another length": "x" * 200}
    times = {name: [] for name in keys}
    with gateway.wire() as wire:
        for _ in range(400):
            for name, key in keys.items():
                times[name].append(seconds(key, wire))
    medians = [statistics.median(t) for t in times.values()]
    assert max(medians) - min(medians) < 0.3 * min(medians), medians


def test_hashed_keys(plain_world):
    status, out, _ = run("hash-key", stdin=ACME + "\n")
    assert status == 0
    hashed = next(word for word in out.split() if word.startswith("sha256:"))
    again = next(word for word in run("hash-key", stdin=ACME + "\n")[1].split() if word.startswith("sha256:"))
    assert hashed != again and hashed.count(":") == 2, "salted"
    _, gateway = plain_world.serve("alpha", tenants={"acme": {"key_hashes": [hashed]}})

    assert gateway.chat("alpha", headers=bearer(ACME)).status == 200
    assert gateway.chat("alpha", headers=bearer(GLOBEX)).status == 401


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/alpha", "/v1/nothing", "/metrics"])
def test_what_needs_a_key(plain_world, path):
    _, gateway = plain_world.serve("alpha", tenants=tenants())

    wanted = {"/v1/nothing": (401, 404), "/metrics": (401, 403, 404)}.get(path, (401,))  # names of tenants are in the metrics
    assert gateway.get(path).status in wanted
    assert gateway.get("/healthz").status == 200, "a load balancer has no key"


@pytest.mark.tsan
def test_requests_in_flight(client_world):
    mock, gateway = client_world.serve("alpha", tenants=tenants(in_flight=2))
    mock.script({"expert": "alpha", "fault": "delay-ms=1500", "times": 2})

    held = []
    for i in range(2):
        held.append(gateway.wire().request("POST", "/v1/chat/completions", chat("alpha"), bearer(ACME)))
        until("it is at the expert", lambda i=i: mock.count("alpha") == i + 1)
    refused = gateway.chat("alpha", headers=bearer(ACME))
    other = gateway.chat("alpha", headers=bearer(GLOBEX))
    assert [w.reply().status for w in held] == [200, 200]
    [w.close() for w in held]

    assert refused.status == 429 and refused.error["code"] == "rate_limit_exceeded" and int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-should-retry"] == "true"
    assert [line["tenant"] for line in gateway.log(msg="request", status="429")] == ["acme"], "the log says whose limit it was"
    assert other.status == 200, "another tenant's limit is another one"
    until("room again", lambda: gateway.chat("alpha", headers=bearer(ACME)).status == 200, 5)


def test_limits_are_given_back_when_clients_leave(client_world):
    mock, gateway = client_world.serve("alpha", tenants=tenants(in_flight=1))
    mock.script({"expert": "alpha", "fault": "accept-never-answer", "times": 3})

    for i in range(3):
        wire = gateway.wire().request("POST", "/v1/chat/completions", chat("alpha"), bearer(ACME))
        until("it is at the expert", lambda i=i: mock.count("alpha") == i + 1)
        wire.close()
        until("it is cancelled", lambda i=i: len(mock.cancelled()) == i + 1)
        time.sleep(0.05)
    assert gateway.chat("alpha", headers=bearer(ACME)).status == 200


def test_a_tenant_sees_and_uses_what_it_may(plain_world):
    mock, gateway = plain_world.serve("alpha", "beta", tenants=tenants(experts=["alpha"]), routes={"auto": {"default": "beta"}},
                                      expert={"retries": 0})

    seen = {m["id"] for m in gateway.get("/v1/models", bearer(ACME)).json()["data"]}
    assert "alpha" in seen and "beta" not in seen
    assert gateway.chat("beta", headers=bearer(ACME)).status == 404
    assert gateway.get("/v1/models/beta", bearer(ACME)).status == 404
    assert gateway.chat("beta", headers=bearer(GLOBEX)).status == 200
    routed = gateway.chat("auto", headers=bearer(ACME))
    assert routed.status >= 400 or routed.headers["x-pointsman-expert"] == "alpha"
    assert mock.count("beta") == 1, "only globex's request reached it"


def test_the_clients_key_stays_here_and_ours_stays_hidden(world):
    mock, gateway = world.serve("alpha", tenants=tenants(), expert={"key": "sk-upstream-secret", "headers": ["X-Title: pointsman"]})

    reply = gateway.chat("alpha", headers={**bearer(ACME), "Cookie": "a=b", "X-Api-Key": ACME, "Proxy-Authorization": "Basic eDp5",
                                           "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})

    head = mock.requests("alpha")[0]["head"]
    assert head["authorization"] == "Bearer sk-upstream-secret" and head["x-title"] == "pointsman"
    assert not {"cookie", "x-api-key", "proxy-authorization"} & set(head)
    assert head["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert "upstream-secret" not in str(reply.headers) + reply.body.decode() + "\n".join(gateway.lines)


# ---- nobody can name an upstream ---------------------------------------------------------------------------------------------

WAYS = {
    "an address as model": lambda url, host: ("POST", "/v1/chat/completions", chat(url), {}),
    "a host as model": lambda url, host: ("POST", "/v1/chat/completions", chat(host), {}),
    "an absolute target": lambda url, host: ("POST", f"{url}/chat/completions", chat("alpha"), {}),
    "an authority target": lambda url, host: ("CONNECT", host, None, {}),
    "a Host header": lambda url, host: ("POST", "/v1/chat/completions", chat("alpha"), {"x-host": host, "X-Forwarded-Host": host, "Forwarded": f"host={host}"}),
    "our own header": lambda url, host: ("POST", "/v1/chat/completions", chat("alpha"), {"x-pointsman-expert": url, "x-pointsman-upstream": url}),
    "a member of the body": lambda url, host: ("POST", "/v1/chat/completions", chat("alpha", base_url=url, api_base=url, endpoint=url, endpoints=[url]), {}),
    "a path that climbs": lambda url, host: ("POST", f"/v1/../../{host}/v1/chat/completions", chat("alpha"), {}),
    "a double slash": lambda url, host: ("POST", f"//{host}/v1/chat/completions", chat("alpha"), {}),
    "a line break in the model": lambda url, host: ("POST", "/v1/chat/completions", chat(f"alpha\r\nHost: {host}\r\n\r\n"), {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_nobody_can_name_an_upstream(upstream_world, way):
    mock, gateway = upstream_world.serve("alpha")
    other = upstream_world.experts("not-ours", tls=False)
    host = f"127.0.0.1:{other.ports['not-ours']}"
    method, path, body, headers = WAYS[way](f"http://{host}/v1", host)

    with gateway.wire() as wire:
        reply = wire.request(method, path, body, headers, host=host).reply()

    assert other.stats("not-ours")["accepted"] == 0, "somebody else was asked"
    if reply.status == 200:
        request = mock.requests("alpha")[0]
        assert request["target"] == "/v1/chat/completions" and host not in json.dumps({k: v for k, v in request["head"].items()})


# ---- listeners ------------------------------------------------------------------------------------------------------------------


def test_a_listener_beyond_loopback_needs_keys(plain_world):
    mock = plain_world.experts("alpha")
    config = plain_world.config(mock, listen={"address": f"0.0.0.0:{free_port()}"})
    file = plain_world.folder / "c.yaml"

    def check(**more):
        file.write_text(json.dumps({**config, **more}))
        return run("check", "-c", file)

    status, out, err = check()
    assert status != 0 and "open" in out + err and "0.0.0.0" in out + err
    assert run("serve", "-c", file)[0] != 0
    assert check(tenants=tenants())[0] == 0
    assert check(open=True)[0] == 0
    gateway = plain_world.gateway({**config, "open": True})
    assert gateway.chat("alpha").status == 200


def test_several_listeners_and_a_picked_port(plain_world):
    mock = plain_world.experts("alpha")
    config = plain_world.config(mock)
    gateway = plain_world.gateway({**config, "listen": [config["listen"], {"address": "127.0.0.1:0"}]})

    lines = until("both are logged", lambda: (got := gateway.log(msg="listening"))[1:] and got)
    ports = {int(x["address"].rsplit(":", 1)[1]) for x in lines}
    assert gateway.port in ports and 0 not in ports and len(ports) == 2
    picked = (ports - {gateway.port}).pop()
    with Wire("127.0.0.1", picked) as wire:
        assert wire.request("GET", "/v1/models").reply().status == 200

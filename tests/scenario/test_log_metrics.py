# SPDX-License-Identifier: Apache-2.0
"""One line for each request, counters that add up, health, and the decision endpoint."""
import json
import re
import signal
import subprocess

import pytest

from harness import POINTSMAN, Wire, chat, config_port, logfmt, until

FIELDS = ["time", "level", "msg", "id", "model", "expert", "decision", "attempts", "status", "bytes_in", "bytes_out", "tokens_in", "tokens_out",
          "total_us", "end"]


def test_nobody_reads_the_log(plain_world):
    """A supervisor that has stopped reading standard error stops no worker, and costs lines only."""
    mock = plain_world.experts("alpha")
    config = plain_world.config(mock, admin=plain_world.admin())
    file = plain_world.folder / "silent.yaml"
    file.write_text(json.dumps(config))
    gateway = subprocess.Popen([str(POINTSMAN), "serve", "-c", str(file)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    port, admin_port = config_port(config), config_port(config, "admin")

    def connected():
        try:
            return Wire("127.0.0.1", port)
        except OSError:
            return None

    wires = [until("it listens", connected) for _ in range(8)]
    for wire in wires:
        wire.request("GET", "/healthz").reply()
    for i in range(4000):  # some 5 MiB of lines
        assert wires[i % 8].request("GET", "/" + "long" * 240).reply().status == 404
    with Wire("127.0.0.1", admin_port) as wire:
        metrics = wire.request("GET", "/metrics", headers={"Authorization": f"Bearer {config['admin']['token']}"}).reply().body.decode()
    dropped = int(re.search(r"^pointsman_log_lines_dropped_total (\d+)$", metrics, re.M).group(1))
    assert dropped > 0
    for wire in wires:
        wire.close()
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(20) == 0, "and the process ends without a reader"
    lines = gateway.stderr.read().decode().splitlines()
    gateway.stderr.close()
    assert all(line.startswith("time=") for line in lines)


@pytest.mark.parametrize("format", ["logfmt", "json"])
def test_one_line_for_each_request(plain_world, format):
    mock = plain_world.experts("alpha")
    gateway = plain_world.gateway(plain_world.config(mock, routes={"auto": {"default": "alpha"}}), arguments=[f"--log={format}"])

    replies = [gateway.chat("alpha"), gateway.chat("auto", stream=True), gateway.chat("nobody"), gateway.post("/v1/chat/completions", b"{"),
               gateway.get("/v1/nothing")]
    lines = gateway.request_lines(5)

    assert len(lines) == 5
    by_id = {line["id"]: line for line in lines}
    lines = [by_id[reply.headers["x-request-id"]] for reply in replies]  # workers write when they like
    assert [str(line["status"]) for line in lines] == ["200", "200", "404", "400", "404"]
    for field in FIELDS:
        assert field in lines[0] and field in lines[1], field
    steps = [k for k in lines[1] if k.endswith("_us")]
    assert {"total_us", "parse_us", "route_us", "forward_us"} <= set(steps)
    assert int(lines[1]["total_us"]) >= int(lines[1]["forward_us"])
    for line in gateway.lines:
        assert line.startswith("{") == (format == "json"), line


def test_nobody_can_forge_a_line(plain_world):
    _, gateway = plain_world.serve("alpha")
    evil = 'x" status=200\nlevel=error msg=forged id=1 \x1b[31m'

    gateway.chat(evil)
    gateway.chat("alpha", headers={"X-Client-Request-Id": 'a" msg=forged', "User-Agent": 'b\t"c'})

    lines = gateway.request_lines(2)
    assert sorted(line["status"] for line in lines) == ["200", "404"]
    assert not gateway.log(msg="forged") and not any("\x1b" in line for line in gateway.lines)
    assert all(logfmt(line).get("time") for line in gateway.lines)


def test_the_clients_request_id_is_logged(plain_world):
    _, gateway = plain_world.serve("alpha")

    gateway.chat("alpha", headers={"X-Client-Request-Id": "my-own-id-17"})
    gateway.request_lines(1)
    assert any("my-own-id-17" in line for line in gateway.lines)


SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[0-9.e+-]+|[+-]?Inf|NaN)')


def samples(text):
    """Every sample of a page of metrics, as {name: [(labels, value)]}; fails on what Prometheus would not read."""
    out, typed = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed, f"{name} twice"
            typed[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line}"
            base = re.sub(r"_(bucket|sum|count)$", "", match.group(1))
            assert match.group(1) in typed or base in typed, f"no TYPE before {line}"
            out.setdefault(match.group(1), []).append((match.group(2) or "", float(match.group(3))))
    return out


@pytest.mark.tsan
def test_metrics_add_up(plain_world):
    mock, gateway = plain_world.serve("alpha", "beta", options=["--tokens", "5"], expert={"retries": 0})
    mock.script(("beta", "status=500"))
    for _ in range(7):
        gateway.chat("alpha")
    gateway.chat("alpha", stream=True)
    gateway.chat("beta")
    gateway.chat("nobody")

    def page():
        return samples(gateway.get("/metrics").body.decode())

    def total(got, pattern, label=""):
        return sum(v for name, rows in got.items() if re.fullmatch(pattern, name) for labels, v in rows if label in labels)

    got = until("all are counted", lambda: (p := page()) and total(p, r"pointsman_requests_total") >= 10 and p)
    assert total(got, r"pointsman_requests_total", '"200"') >= 8
    assert total(got, r".*tokens.*", 'alpha') >= 40, "tokens of the answers"
    assert any("alpha" in labels for rows in got.values() for labels, _ in rows)
    assert any(name.endswith("_bucket") for name in got), "durations are histograms"
    assert any("resident" in name or "memory" in name for name in got)
    for name, rows in got.items():
        if name.endswith("_bucket"):
            series = {}
            for labels, value in rows:
                series.setdefault(re.sub(r'le="[^"]*",?', "", labels), []).append(value)
            for values in series.values():
                assert values == sorted(values), f"{name} is not cumulative"
    assert gateway.get("/metrics").headers["content-type"].startswith("text/plain")


def test_health(plain_world):
    _, gateway = plain_world.serve("alpha")

    for path in ("/healthz", "/readyz"):
        assert gateway.get(path).status == 200
        with gateway.wire() as wire:
            head = wire.request("HEAD", path).head()
            assert head.status == 200


def test_models(plain_world):
    _, gateway = plain_world.serve("alpha", "org/beta", routes={"auto": {"default": "alpha"}})

    listed = gateway.get("/v1/models").json()
    assert listed["object"] == "list" and {m["id"] for m in listed["data"]} == {"auto", "alpha", "org/beta"}
    assert all(set(m) >= {"id", "object", "created", "owned_by"} and m["object"] == "model" for m in listed["data"])
    assert gateway.get("/v1/models/org/beta").json()["id"] == "org/beta"
    assert gateway.get("/v1/models/org%2Fbeta").json()["id"] == "org/beta"


def test_route_says_where_and_why_without_asking_an_expert(plain_world):
    mock, gateway = plain_world.serve("alpha", "beta", routes={"auto": {"default": "beta"}})

    asked = gateway.post("/v1/route", chat("auto", "What is love?")).json()
    assert asked["object"] == "route" and asked["expert"] == "beta" and asked["decision"] == "default"
    assert set(asked["steps_us"]) == {"parse", "route"} and asked["steps_us"]["route"] < 1e6
    named = gateway.post("/v1/route", chat("alpha")).json()
    assert named["expert"] == "alpha" and named["decision"] == "named"
    text = gateway.post("/v1/route", {"input": "What is love?"}).json()
    assert text["expert"] == "beta"
    many = gateway.post("/v1/route", {"input": ["one", "two", "three"]}).json()
    assert many["object"] == "list" and [d["expert"] for d in many["data"]] == ["beta"] * 3
    assert gateway.post("/v1/route", {"input": 5}).status == 400
    assert gateway.post("/v1/route", {"input": []}).status == 400
    assert mock.requests() == []


def test_headers_of_an_answer(world):
    _, gateway = world.serve("alpha", routes={"auto": {"default": "alpha"}})

    for stream in (False, True):
        head = gateway.chat("auto", stream=stream).headers
        for name in ("x-request-id", "openai-processing-ms", "x-pointsman-expert", "x-pointsman-decision", "x-pointsman-attempts",
                     "x-pointsman-overhead-us"):
            assert head.get(name), name
        assert head["x-pointsman-decision"] == "default"
        assert "route;dur=" in head["server-timing"]
    assert gateway.chat("alpha").headers["x-pointsman-decision"] == "named"


def test_json_configuration_is_yaml_too(plain_world):
    mock = plain_world.experts("alpha")
    config = plain_world.config(mock)
    gateway = plain_world.gateway(config)
    assert json.loads(gateway.file.read_text()) == config and gateway.chat("alpha").status == 200

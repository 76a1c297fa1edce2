# SPDX-License-Identifier: Apache-2.0
"""Text to vector: a model in the process, for clients and for routers; backends whose vectors are kept."""
import base64
import json
import math
import socket
import struct
import subprocess

import pytest

from harness import BUILD, ROOT, run, until

WORDS = {"sum": [3.0, 0.0, 0.5, 0.0], "poem": [0.0, 2.0, 0.0, 0.5], "a": [0.1, 0.1, 0.1, 0.1]}
DIM = 4


def tiny_model(folder):
    """Model2Vec's layout: three words of four numbers each, and [UNK] without any."""
    folder.mkdir()
    vocabulary = {"[UNK]": 0, **{word: i + 1 for i, word in enumerate(WORDS)}}
    (folder / "config.json").write_text(json.dumps({"normalize": True}))
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "post_processor": None, "decoder": None,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                  "vocab": vocabulary}}))
    rows = [[0.0] * DIM, *WORDS.values()]
    data = b"".join(struct.pack("<4f", *row) for row in rows)
    head = json.dumps({"embeddings": {"dtype": "F32", "shape": [len(rows), DIM], "data_offsets": [0, len(data)]}}).encode()
    head += b" " * (-len(head) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    return folder


def vector(*words, dim=DIM):
    sums = [sum(WORDS[w][i] for w in words) for i in range(DIM)][:dim]
    norm = math.sqrt(sum(x * x for x in sums))
    return [x / norm for x in sums]


def near(a, b):
    return len(a) == len(b) and all(abs(x - y) < 1e-6 for x, y in zip(a, b))


def embed(gateway, given, **members):
    reply = gateway.post("/v1/embeddings", {"model": "tiny", "input": given, **members})
    assert reply.status == 200, reply.body
    return reply.json()


@pytest.mark.tsan
def test_a_model_in_the_process_answers(client_world, tmp_path):
    mock, gateway = client_world.serve("alpha", embedders={"tiny": {"model": str(tiny_model(tmp_path / "m"))}})
    for path, body in (("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": "a"}]}), ("/v1/completions", {"model": "tiny", "prompt": "a"}),
                       ("/v1/responses", {"model": "tiny", "input": "a"}), ("/v1/route", {"model": "tiny", "input": "a"})):
        reply = gateway.post(path, body)
        assert (reply.status, reply.error["code"]) == (404, "model_not_found") and "for embeddings only" in reply.error["message"], reply.body

    answer = embed(gateway, "a Sum")
    assert answer["object"] == "list" and answer["model"] == "tiny"
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert answer["data"][0]["index"] == 0 and near(answer["data"][0]["embedding"], vector("a", "sum"))
    many = embed(gateway, ["sum", "poem", "a"])["data"]
    assert [d["index"] for d in many] == [0, 1, 2] and near(many[1]["embedding"], vector("poem"))
    short = embed(gateway, "sum a poem", dimensions=2)["data"][0]["embedding"]
    assert near(short, vector("sum", "a", "poem", dim=2))
    text = embed(gateway, "poem", encoding_format="base64")["data"][0]["embedding"]
    assert near(list(struct.unpack("<4f", base64.b64decode(text))), vector("poem"))
    assert embed(gateway, "nobody knows")["data"][0]["embedding"] == [0, 0, 0, 0], "no known word: no direction"
    assert embed(gateway, "")["data"][0]["embedding"] == [0, 0, 0, 0]
    assert mock.count("alpha") == 0
    models = {m["id"]: m["owned_by"] for m in gateway.get("/v1/models").json()["data"]}
    assert models["tiny"] == "pointsman" and gateway.get("/v1/models/tiny").status == 200


def test_many_long_texts_do_not_hold_up_others(plain_world, tmp_path):
    _, gateway = plain_world.serve("alpha", embedders={"tiny": {"model": str(tiny_model(tmp_path / "m"))}}, workers=1, limits={"body": "32MiB"})

    texts = ["sum " * 2000] * 400 + ["poem"]
    with gateway.wire() as wire:
        wire.request("POST", "/v1/embeddings", {"model": "tiny", "input": texts})
        assert gateway.chat("alpha").status == 200
        data = wire.reply().json()["data"]
    assert len(data) == 401 and near(data[400]["embedding"], vector("poem")) and near(data[399]["embedding"], vector("sum"))
    assert not gateway.log(level="warn")


BAD = [({"input": 5}, "input"), ({"input": [1, 2]}, "input"), ({"input": [[1]]}, "input"), ({"input": []}, "input"), ({"input": ["a"] * 4097}, "input"),
       ({"input": "a", "dimensions": 0}, "dimensions"), ({"input": "a", "dimensions": 5}, "dimensions"), ({"input": "a", "dimensions": "2"}, "dimensions"),
       ({"input": "a", "encoding_format": "hex"}, "encoding_format"), ({}, "input")]


def test_what_is_refused(plain_world, tmp_path):
    _, gateway = plain_world.serve("alpha", embedders={"tiny": {"model": str(tiny_model(tmp_path / "m"))}})

    for body, param in BAD:
        reply = gateway.post("/v1/embeddings", {"model": "tiny", **body})
        assert reply.status == 400 and reply.error["param"] == param, (str(body)[:60], reply.body)
    assert gateway.chat("tiny").status == 404, "it holds no conversation"
    assert embed(gateway, "a")["data"]


def test_a_wrong_model_is_a_mistake_of_the_file(plain_world, tmp_path):
    model = tiny_model(tmp_path / "m")
    config = plain_world.config(plain_world.experts("alpha"), embedders={"tiny": {"model": str(model)}})
    file = tmp_path / "pm.yaml"

    def check(**embedder):
        file.write_text(json.dumps({**config, "embedders": {"tiny": {"model": str(model), **embedder}}}))
        return run("check", "-c", file)

    assert check()[0] == 0
    for embedder, said in (({"dim": 3}, "have 4 numbers, and 'dim' says 3"), ({"expert": "alpha"}, "one of them would be right"),
                           ({"model": str(tmp_path / "none")}, "embedders.tiny.model"), ({"text": "1"}, "text")):
        status, _, stderr = check(**embedder)
        assert status == 1 and said in stderr, stderr
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:-1])
    status, _, stderr = check()
    assert status == 1 and "embedders.tiny.model" in stderr, stderr


# ---- for routers -----------------------------------------------------------------------------------------------------------------


def by_vector(world, mock, embedder, **sections):
    return world.config(mock, plugin_dirs=[str(BUILD / "tests" / "routers")], expert={"apis": ["chat", "embeddings"]},
                        routers={"v": {"plugin": "uses_embed", "encoder": "e", "experts": ["alpha", "beta"]}}, embedders={"e": embedder},
                        **{"routes": {"auto": {"deadline": "5s"}}, **sections})


@pytest.mark.tsan
def test_routers_have_the_models_vectors(plain_world, tmp_path):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(by_vector(plain_world, mock, {"model": str(tiny_model(tmp_path / "m"))}))

    for text, expert in (("a sum", "alpha"), ("a poem", "beta"), ("Sum sum poem", "alpha")):
        reply = gateway.chat("auto", text)
        assert reply.headers["x-pointsman-expert"] == expert and reply.headers["x-pointsman-decision"] == "computed"
    assert all(r["target"].endswith("/chat/completions") for r in mock.requests()), "nobody was asked for a vector"


def asked(mock):
    return sum(r["target"].endswith("/embeddings") for r in mock.requests())


def test_a_backends_vectors_are_kept_and_asked_for_once(upstream_world):
    mock = upstream_world.experts("alpha", "beta")
    gateway = upstream_world.gateway(by_vector(upstream_world, mock, {"expert": "beta"}, workers=1))

    mock.script({"expert": "beta", "fault": "delay-ms=300"})
    wires = [gateway.wire().request("POST", "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "the same"}]})
             for _ in range(20)]
    replies = [wire.reply() for wire in wires]
    assert {r.headers["x-pointsman-router"] for r in replies} == {"v"} and asked(mock) == 1
    assert len({r.headers["x-pointsman-expert"] for r in replies}) == 1
    assert gateway.chat("auto", "the same").headers["x-pointsman-router"] == "v" and asked(mock) == 1
    assert gateway.chat("auto", "another").status == 200 and asked(mock) == 2
    metrics = gateway.get("/metrics").body.decode()
    for result, n in (("miss", 2), ("joined", 19), ("local", 1)):
        assert f'pointsman_cache_lookups_total{{cache="vectors",result="{result}"}} {n}' in metrics


def test_a_failing_backend_is_not_kept(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(by_vector(plain_world, mock, {"expert": "beta"}, workers=1))

    mock.script(("beta", "status=400"))
    assert gateway.chat("auto", "x").headers["x-pointsman-decision"] == "default"
    assert gateway.chat("auto", "x").headers["x-pointsman-decision"] == "computed" and asked(mock) == 2
    assert gateway.chat("auto", "x").headers["x-pointsman-decision"] == "computed" and asked(mock) == 2


def test_vectors_are_kept_nowhere_if_that_is_said(plain_world):
    mock = plain_world.experts("alpha", "beta")
    gateway = plain_world.gateway(by_vector(plain_world, mock, {"expert": "beta", "keep": "0s"}, workers=1))

    for n in (1, 2):
        assert gateway.chat("auto", "x").headers["x-pointsman-router"] == "v" and asked(mock) == n


def test_gateways_share_vectors(plain_world, tmp_path):
    socket = tmp_path / "redis.sock"
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(tmp_path)],
                              stdout=subprocess.DEVNULL)
    try:
        until("redis-server is there", socket.exists)
        mock = plain_world.experts("alpha", "beta")
        cache = {"redis": {"servers": [f"unix:{socket}"], "timeout": "2s"}}
        one, two = (plain_world.gateway(by_vector(plain_world, mock, {"expert": "beta"}, cache=cache, workers=1)) for _ in range(2))
        for gateway in (one, two):
            until("it has Redis", lambda gateway=gateway: "pointsman_redis_up 1" in gateway.get("/metrics").body.decode())
        first = one.chat("auto", "x").headers["x-pointsman-expert"]
        assert two.chat("auto", "x").headers["x-pointsman-expert"] == first and asked(mock) == 1
        assert 'cache="vectors",result="shared"} 1' in two.get("/metrics").body.decode()
        key = subprocess.run(["redis-cli", "-s", str(socket), "--raw", "keys", "pointsman:v*"], capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run(["redis-cli", "-s", str(socket), "set", key, "nonsense"], capture_output=True, check=True)
        three = plain_world.gateway(by_vector(plain_world, mock, {"expert": "beta"}, cache=cache, workers=1))
        until("it has Redis", lambda: "pointsman_redis_up 1" in three.get("/metrics").body.decode())
        assert three.chat("auto", "x").headers["x-pointsman-expert"] == first and asked(mock) == 2, "a foreign value is not used"
    finally:
        server.kill()
        server.wait()


def test_many_short_texts_leave_the_loop_its_turns(plain_world):
    """4096 texts of one letter took 160 ms in two turns; now others are served between pieces of a millisecond."""
    model = str(ROOT / "configs" / "models" / "pointsman-static")
    _, gateway = plain_world.serve("alpha", workers=1, embedders={"tiny": {"model": model}})

    with gateway.wire() as long, gateway.wire() as short:
        short.request("GET", "/healthz").reply()
        long.request("POST", "/v1/embeddings", {"model": "tiny", "input": ["a"] * 4096})
        long.sock.setblocking(False)
        served = 0
        while True:
            short.request("GET", "/healthz")
            assert short.reply().status == 200
            try:
                if long.sock.recv(1, socket.MSG_PEEK):
                    break
            except BlockingIOError:
                served += 1
        long.sock.setblocking(True)
        assert len(long.reply().json()["data"]) == 4096
    assert served >= 15, served

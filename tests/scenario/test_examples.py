# SPDX-License-Identifier: Apache-2.0
"""The reference's own request bodies are accepted and reach the expert byte for byte, but for the spliced members."""
import gzip
import json
import os
import re
from pathlib import Path

import pytest

from harness import curl_body

SHIPPED = Path(__file__).with_name("data") / "openai_examples.jsonl.gz"
DATA = os.environ.get("POINTSMAN_DATA")
FILE = Path(DATA) / "openai_openapi" / "examples.jsonl.gz" if DATA else SHIPPED
EXAMPLES = [json.loads(line) for line in gzip.open(FILE, "rt", encoding="utf-8")]
OURS = {"/chat/completions", "/completions", "/embeddings"}
ALL = ["chat", "completions", "responses", "embeddings"]

WITH_BODY = [e for e in EXAMPLES if e["method"] == "post" and e["path"] in OURS]
WITHOUT = [e for e in EXAMPLES if e not in WITH_BODY]


def name(example):
    return f"{example['method']} {example['path']} {example['title'] or ''}".strip()


def spliced(sent, model):
    """What should reach the expert, but for stream_options."""
    return re.sub(rb'("model"\s*:\s*)"[^"]*"', lambda m: m.group(1) + json.dumps(model).encode(), sent, count=1)


def without_usage_option(body):
    return re.sub(rb',\s*"stream_options"\s*:\s*\{\s*"include_usage"\s*:\s*true\s*\}|"stream_options"\s*:\s*\{\s*"include_usage"\s*:\s*true\s*\}\s*,',
                  b"", body, count=1)


def test_there_are_17():
    assert len(EXAMPLES) == 17 and len(WITH_BODY) == 8


@pytest.mark.parametrize("example", WITH_BODY, ids=name)
@pytest.mark.parametrize("way", ["by name", "routed"])
def test_forwarded_byte_for_byte(world, example, way):
    body = curl_body(example["curl"])
    wanted = json.loads(body)["model"]
    mock = world.experts("served")
    expert = world.expert(mock, "served", model="vendor/served-model", apis=ALL)
    config = world.config(mock)
    config["experts"] = {wanted if way == "by name" else "served": expert}
    if way == "routed":
        config["routes"] = {wanted: {"default": "served"}}
    gateway = world.gateway(config)

    reply = gateway.post("/v1" + example["path"], body, {"Authorization": "Bearer sk-of-the-client"})

    assert reply.status == 200 and reply.complete, reply.body
    request = mock.requests("served")[0]
    got, stream = request["body"], json.loads(body).get("stream")
    if stream:
        assert json.loads(got)["stream_options"] == {"include_usage": True} and reply.done
        got = without_usage_option(got)
    assert got == spliced(body, "vendor/served-model")
    assert request["target"] == "/v1" + example["path"]
    assert request["head"]["content-type"] == "application/json"
    assert int(request["head"]["content-length"]) == len(request["body"])


@pytest.mark.parametrize("example", WITHOUT, ids=name)
def test_the_others_get_a_clear_answer(plain_world, example):
    mock, gateway = plain_world.serve("VAR_chat_model_id")
    path = "/v1" + example["path"].replace("{model}", "VAR_chat_model_id").replace("{completion_id}", "chatcmpl-abc123")
    body = curl_body(example["curl"])

    with gateway.wire() as wire:
        reply = wire.request(example["method"].upper(), path, body).reply()

    if example["method"] == "get" and example["path"].startswith("/models"):
        assert reply.status == 200 and reply.json()["object"] in ("list", "model")
    else:
        assert reply.status == (405 if example["path"] in ("/chat/completions", "/models/{model}") else 404) and reply.error
    assert mock.count("VAR_chat_model_id") == 0


ODD = {
    "unknown members": b'{"model":"m","messages":[{"role":"user","content":"x"}],"zzz":{"a":[1,2,{"b":null}]},"temperature":1.0e-02}',
    "numbers as written": b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":12345678901234567890123,"top_p":0.10000000000000000001}',
    "white space": b' \r\n\t{ "messages" : [ { "role" : "user" , "content" : "x" } ] ,\n "model"\t:\t"m" } \n',
    "escapes": b'{"model":"\\u006d","messages":[{"role":"user","content":"\\ud83d\\ude00 \\/ \\u0041"}]}',
    "model among the content": b'{"messages":[{"role":"user","content":"\\"model\\":\\"n\\" {\\"model\\":1}"},{"role":"user","content":"x","model":"k"}],"model":"m"}',
    "UTF-8": '{"model":"m","messages":[{"role":"user","content":"Grüße, 世界 🚂"}]}'.encode(),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_but_right_bodies(world, case):
    body = ODD[case]
    mock = world.experts("served")
    config = world.config(mock)
    config["experts"] = {"m": world.expert(mock, "served", model="another-name")}
    gateway = world.gateway(config)

    assert gateway.post("/v1/chat/completions", body).status == 200
    got = mock.requests("served")[0]["body"]
    top = body.rindex(b'"model"') if case in ("model among the content", "white space") else body.index(b'"model"')
    assert got == body[:top] + spliced(body[top:], "another-name")


def test_stream_options_of_the_client_are_kept(world):
    body = (b'{"model":"m","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":false},'
            b'"messages":[{"role":"user","content":"x"}]}')
    mock = world.experts("served")
    config = world.config(mock)
    config["experts"] = {"m": world.expert(mock, "served", model="m")}
    gateway = world.gateway(config)

    assert gateway.post("/v1/chat/completions", body).done
    got = json.loads(mock.requests("served")[0]["body"])
    assert got["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert {k: v for k, v in got.items() if k != "stream_options"} == {k: v for k, v in json.loads(body).items() if k != "stream_options"}


def test_a_body_without_model_gets_one(world):
    mock = world.experts("served")
    config = world.config(mock, routes={"auto": {"default": "served"}})
    gateway = world.gateway(config)

    reply = gateway.post("/v1/chat/completions", b'{"messages":[{"role":"user","content":"x"}]}')

    if reply.status == 200:
        assert json.loads(mock.requests("served")[0]["body"])["model"] == "served"
    else:
        assert reply.status == 400 and "model" in (reply.error["param"] or "")

# SPDX-License-Identifier: Apache-2.0
"""Does server/openapi.yaml describe what is answered?  Real answers against its schemas, its examples against the gateway."""
import re

import jsonschema
import pytest
import yaml

from harness import BUILD, ROOT

DOCUMENT = yaml.safe_load((ROOT / "server" / "openapi.yaml").read_text())
OPENAI = {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/models", "/v1/models/"}


def test_it_has_every_path_that_is_ours():
    source = (ROOT / "server" / "process" / "paths.c").read_text()
    ours = set(re.findall(r'\.path = "([^"]+)"', source))
    assert ours - OPENAI == set(DOCUMENT["paths"])


def check(path, reply):
    operation = DOCUMENT["paths"][path]["post"]
    told = operation["responses"].get(str(reply.status), operation["responses"]["default"])
    while "$ref" in told:
        told = DOCUMENT["components"]["responses"][told["$ref"].rsplit("/", 1)[1]]
    schema = {**told["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(reply.json())


CASES = [("/v1/route", {"input": "a"}), ("/v1/route", {"input": ["a", "b"]}), ("/v1/route", {"messages": []}),
         ("/v1/recommend", {}), ("/v1/recommend", {"users": ["a", "b"], "n": 2}), ("/v1/recommend", {"n": 0}), ("/v1/recommend", {"user": "nobody"}),
         ("/v1/feedback", {"events": [{"user": "a", "item": "b", "weight": 2, "time": 5}]}), ("/v1/feedback", {"user": "a"})]


@pytest.mark.parametrize("path", ["/v1/route", "/v1/recommend", "/v1/feedback"])
def test_answers_are_as_described(plain_world, path):
    mock = plain_world.experts("alpha")
    gateway = plain_world.gateway(plain_world.config(mock, plugin_dirs=[str(BUILD / "tests" / "routers")], routers={
        "items": {"plugin": "uses_candidates"}, "one": {"plugin": "template", "expert": "alpha"}}))
    example = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    request = {**DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}

    jsonschema.Draft202012Validator(request).validate(example)
    reply = gateway.post(path, example)
    assert reply.status == 200, reply.body
    check(path, reply)
    for where, body in CASES:
        if where == path:
            check(path, gateway.post(path, body))

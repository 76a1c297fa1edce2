# SPDX-License-Identifier: Apache-2.0
"""The official openai client for Python, as people use it."""
import pytest

from harness import ROOT

openai = pytest.importorskip("openai", reason="pip install openai")
try:
    import httpx2 as http  # what openai 3 stands on
except ImportError:
    import httpx as http


@pytest.fixture
def start(client_world):
    def make(**sections):
        sections.setdefault("expert", {"apis": ["chat", "completions", "responses", "embeddings"], "retries": 0})
        sections.setdefault("routes", {"auto": {"default": "alpha"}})
        mock, gateway = client_world.serve("alpha", "org/beta", options=["--tokens", "8", "--rate", "200"], **sections)
        verify = client_world.client_tls or True
        clients.append(openai.OpenAI(base_url=gateway.base_url, api_key=sections.get("api_key", "sk-none"), max_retries=0,
                                     http_client=http.Client(verify=verify, trust_env=False)))
        return mock, gateway, clients[-1]

    clients = []
    yield make
    for client in clients:
        client.close()


ASK = [{"role": "user", "content": "Say something."}]


def test_models(start):
    _, _, client = start()

    ids = [m.id for m in client.models.list()]
    assert set(ids) >= {"auto", "alpha", "org/beta"}
    assert client.models.retrieve("org/beta").id == "org/beta", "ids may hold a slash"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_chat(start):
    _, _, client = start()

    answer = client.chat.completions.create(model="auto", messages=ASK)
    assert answer.choices[0].message.content.startswith("alpha heard: Say something.")
    assert answer.usage.completion_tokens == 8 and answer.model == "alpha" and answer.choices[0].finish_reason == "stop"


def test_streamed_chat_with_usage(start):
    _, _, client = start()

    chunks = list(client.chat.completions.create(model="auto", messages=ASK, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).startswith("alpha heard: Say something.")
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 8

    chunks = list(client.chat.completions.create(model="auto", messages=ASK, stream=True))
    assert all(c.choices for c in chunks) and chunks[-1].choices[0].finish_reason == "stop"


def test_the_streaming_helper(start):
    _, _, client = start()

    with client.chat.completions.stream(model="auto", messages=ASK) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content.startswith("alpha heard:")


def test_completions_responses_embeddings(start):
    _, _, client = start()

    assert client.completions.create(model="alpha", prompt="Once", max_tokens=3).choices[0].finish_reason == "length"
    assert client.responses.create(model="alpha", input="Say something.").output_text.startswith("alpha heard:")
    events = list(client.responses.create(model="alpha", input="Say something.", stream=True))
    assert events[-1].type == "response.completed" and events[-1].response.usage.output_tokens == 8
    vectors = client.embeddings.create(model="alpha", input=["a", "b"], dimensions=16)  # asks for base64 by itself
    assert len(vectors.data) == 2 and len(vectors.data[0].embedding) == 16 and isinstance(vectors.data[0].embedding[0], float)
    plain = client.embeddings.create(model="alpha", input="a", dimensions=16, encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(vectors.data[0].embedding, abs=1e-6)


def test_raw_response_headers(start):
    _, _, client = start()

    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ASK)
    assert raw.headers["x-request-id"] and raw.parse().id
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.headers["x-pointsman-expert"] == "alpha" and raw.headers["x-pointsman-decision"]
    assert int(raw.headers["x-pointsman-overhead-us"]) > 0 and raw.headers["x-pointsman-attempts"] == "1"
    again = client.chat.completions.with_raw_response.create(model="auto", messages=ASK)
    assert again.headers["x-request-id"] != raw.headers["x-request-id"]


ERRORS = [
    ("unknown model", None, dict(model="nobody"), "NotFoundError", "model_not_found"),
    ("wrong type", None, dict(messages="x"), "BadRequestError", None),
    ("context", "context-length", {}, "BadRequestError", "context_length_exceeded"),
    ("filter", "content-filter", {}, "BadRequestError", "content_filter"),
    ("rate", "status=429;retry-after=60", {}, "RateLimitError", "rate_limit_exceeded"),
    ("unprocessable", "status=422", {}, "UnprocessableEntityError", None),
    ("server", "status=500", {}, "InternalServerError", None),
    ("unreachable", "reset", {}, "InternalServerError", None),
]


@pytest.mark.parametrize("name, fault, arguments, wanted, code", ERRORS, ids=[e[0] for e in ERRORS])
def test_error_classes(start, name, fault, arguments, wanted, code):
    mock, _, client = start(limits={"request_time": "10s"})
    if fault:
        mock.script(mock.always("alpha", fault))

    with pytest.raises(getattr(openai, wanted)) as caught:
        client.chat.completions.create(**{"model": "alpha", "messages": ASK, **arguments})
    assert caught.value.body["message"] and set(caught.value.body) >= {"message", "type", "param", "code"}
    if code:
        assert caught.value.code == code
    assert caught.value.response.headers["x-request-id"]


def test_a_cut_stream_raises(start):
    mock, _, client = start()
    mock.script(mock.always("alpha", "cut-after=900"))

    with pytest.raises(openai.APIError):
        for _ in client.chat.completions.create(model="alpha", messages=ASK, stream=True):
            pass


def test_a_wrong_key(start):
    _, gateway, client = start(tenants={"acme": {"keys": ["sk-right-0123456789"]}})

    with pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert client.with_options(api_key="sk-right-0123456789").chat.completions.create(model="auto", messages=ASK).id


def test_retries_of_the_client_are_guided(start):
    mock, gateway, client = start()
    mock.script(mock.always("alpha", "status=500"))

    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="alpha", messages=ASK)
    assert caught.value.response.headers["x-should-retry"] == "true", "no other expert was there to try"


def test_the_shipped_encoder(start):
    """What it says of texts must be about their meaning: the nearest of four is the one that means the same."""
    _, _, client = start(embedders={"pointsman-static": {"model": str(ROOT / "configs" / "models" / "pointsman-static")}})
    texts = ["How do I open a bank account?", "The recipe needs two eggs and some flour.", "Which medicine helps against a headache?",
             "The car's engine does not start in the cold."]
    asked = ["I would like to become a customer of your bank", "baking a cake", "a pill for pain in the head", "my vehicle breaks down in winter"]

    for members in ({}, {"encoding_format": "float"}, {"dimensions": 128}):
        known, new = ([d.embedding for d in client.embeddings.create(model="pointsman-static", input=words, **members).data] for words in (texts, asked))
        assert len(known[0]) == members.get("dimensions", 256)
        for i, vector in enumerate(new):
            near = [sum(x * y for x, y in zip(vector, other)) for other in known]
            assert near.index(max(near)) == i, (members, asked[i], near)
    answer = client.embeddings.create(model="pointsman-static", input="two words")
    assert answer.model == "pointsman-static" and answer.usage.prompt_tokens == 2

# SPDX-License-Identifier: Apache-2.0
"""Pages in a browser on this machine: which may ask where no keys are needed, and which may read the answers."""
import json

import pytest

from harness import Wire, chat, free_port, run

KEY = "sk-acme-0123456789abcdef"
APP = "https://app.example"
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/recommend", "/v1/feedback", "/v1/route", "/v1/models", "/v1/models/auto",
         "/metrics", "/healthz"]


def ask(gateway, path="/v1/chat/completions", host="localhost", body=None, method=None, headers=()):
    with gateway.wire() as wire:
        if body is None and not path.startswith(("/v1/models", "/metrics", "/healthz")):
            body = chat("alpha")
        return wire.request(method or ("POST" if body else "GET"), path, body, {"Connection": "close", **dict(headers)}, host=host).reply()


@pytest.fixture
def served(client_world):
    return client_world.serve("alpha")


@pytest.mark.parametrize("path", PATHS)
def test_a_name_that_leads_here_by_rebinding_reads_nothing(served, path):
    mock, gateway = served
    for host in ("rebind.evil.example", f"rebind.evil.example:{gateway.port}", "localhost.evil.example", "127.0.0.1.evil.example", "evil", "127.1", "[::1"):
        reply = ask(gateway, path, host)
        assert (reply.status, reply.error["code"]) == ((400, None) if host == "[::1" else (403, "host_not_allowed")), (host, reply.body)
        assert "access-control-allow-origin" not in reply.headers
    assert mock.count("alpha") == 0


def test_addresses_and_localhost_are_ours(served):
    _, gateway = served
    for host in ("localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "app.localhost:3"):
        assert ask(gateway, host=host).status == 200, host


def test_http_1_0_needs_no_host(served):
    _, gateway = served
    body = chat("alpha")
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    with gateway.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert wire.reply().status == 200


PAGES = [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:3000"}, {"Sec-Fetch-Site": "cross-site"},
         {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
         {"Origin": "https://evil.example", "Content-Type": "text/plain"}]


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_other_origins_cannot_ask(served, path):
    mock, gateway = served
    for page in PAGES:
        reply = ask(gateway, path, headers=page)
        assert (reply.status, reply.error["code"]) == (403, "origin_not_allowed"), page
    assert mock.count("alpha") == 0


@pytest.mark.parametrize("page, wanted", [({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site: cross-site"), ({"Origin": "null"}, "Origin: null"),
                                          ({"Origin": "https://evil.example"}, "'cors.origins' can allow 'https://evil.example'")])
def test_the_refusal_names_what_would_help(served, page, wanted):
    _, gateway = served
    message = ask(gateway, "/v1/models", headers=page).error["message"]
    assert wanted in message and "would allow ''" not in message and "'null'" not in message, message


def test_our_own_page_and_who_is_no_browser_can(served):
    _, gateway = served
    scheme = "https" if gateway.world.client_tls else "http"
    for page in ({}, {"Origin": f"{scheme}://localhost"}, {"Origin": f"{scheme}://localhost", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert ask(gateway, headers=page).status == 200, page


def test_a_form_is_no_json(served):
    mock, gateway = served
    for kind in ("text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "application/jsonp", ""):
        reply = ask(gateway, headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin", "Content-Type": kind})
        assert (reply.status, reply.error["code"]) == (415, "unsupported_content_type"), kind
    assert mock.count("alpha") == 0
    assert ask(gateway, headers={"Content-Type": "text/plain"}).status == 200, "who is no browser may be careless"
    assert ask(gateway, headers={"Origin": "http://localhost", "Content-Type": "Application/JSON; charset=utf-8"}).status == 200


@pytest.mark.parametrize("host", ["a b/c@d", "a/b", "user@localhost", "localhost, evil", "localhost#x", "localhost?x", "[::1]x", "a:80:90", "a:b", "a\\b", "\"a\""])
def test_a_host_that_two_would_read_in_two_ways_is_refused(plain_world, host):
    mock, gateway = plain_world.serve("alpha", tenants={"acme": {"keys": [KEY]}})
    reply = ask(gateway, host=host, headers={"Authorization": f"Bearer {KEY}"})
    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error") and mock.count("alpha") == 0, reply.body


def test_names_of_ours(plain_world):
    _, gateway = plain_world.serve("alpha", hosts=["gateway.example"])
    assert ask(gateway, host="Gateway.Example:8080").status == 200 and ask(gateway, host="other.example").status == 403


def test_with_keys_the_key_is_what_counts(plain_world):
    _, gateway = plain_world.serve("alpha", tenants={"acme": {"keys": [KEY]}})
    reply = ask(gateway, host="gateway.example", headers={"Origin": APP, "Authorization": f"Bearer {KEY}"})
    assert reply.status == 200 and "access-control-allow-origin" not in reply.headers
    assert ask(gateway, method="OPTIONS", headers={"Origin": APP, "Access-Control-Request-Method": "POST"}).status == 405, "off unless it is wanted"


# ---- CORS -------------------------------------------------------------------------------------------------------------------


def preflight(gateway, origin=APP, path="/v1/chat/completions", **more):
    return ask(gateway, path, method="OPTIONS", body=b"", headers={"Origin": origin, "Access-Control-Request-Method": "POST",
                                                                    "Access-Control-Request-Headers": "authorization,content-type", **more})


@pytest.mark.parametrize("keys", [False, True])
def test_a_page_that_is_allowed_asks_and_reads(client_world, keys):
    tenants = {"tenants": {"acme": {"keys": [KEY]}}} if keys else {}
    mock, gateway = client_world.serve("alpha", cors={"origins": [APP], "max_age": "1h"}, limits={"body": "512KiB"}, **tenants)
    auth = {"Authorization": f"Bearer {KEY}"} if keys else {}

    reply = preflight(gateway, **{"Access-Control-Request-Private-Network": "true"})
    assert reply.status == 204 and reply.body == b""
    assert reply.headers["access-control-allow-origin"] == APP and reply.headers["access-control-allow-methods"] == "POST"
    assert reply.headers["access-control-allow-headers"] == "authorization,content-type" and reply.headers["access-control-max-age"] == "3600"
    assert reply.headers["access-control-allow-private-network"] == "true" and reply.headers["vary"].lower() == "origin"
    assert preflight(gateway, path="/v1/models").headers["access-control-allow-methods"] == "GET, HEAD"

    for stream in (False, True):
        reply = ask(gateway, body=chat("alpha", stream=stream), headers={"Origin": APP, "Sec-Fetch-Site": "cross-site", **auth})
        assert reply.status == 200 and reply.headers["access-control-allow-origin"] == APP
        exposed = reply.headers["access-control-expose-headers"]
        ours = [h for h in reply.headers if h.startswith("x-") and h not in ("x-accel-buffering", "x-content-type-options")]
        assert "x-request-id" in ours and set(ours) <= set(exposed.split(", ")), (exposed, ours)
    mock.script(("alpha", "status=500"), ("alpha", "status=500"))
    for reply, status in ((ask(gateway, headers={"Origin": APP, **auth}), 502), (ask(gateway, body=b"{", headers={"Origin": APP, **auth}), 400),
                          (ask(gateway, "/v1/nothing", headers={"Origin": APP, **auth}), 404)):
        assert reply.status == status and reply.headers["access-control-allow-origin"] == APP, "errors are read, too"
    reply = ask(gateway, "/v1/chat/completions", method="PUT", headers={"Origin": APP, **auth})
    assert reply.status == 405 and reply.headers["access-control-allow-origin"] == APP
    reply = ask(gateway, body=b"{" + b" " * (1 << 20) + b"}", headers={"Origin": APP, **auth})
    assert reply.status == 413 and reply.headers["access-control-allow-origin"] == APP
    reply = preflight(gateway, path="/chat/completions")
    assert reply.status == 204 and "POST" in reply.headers["access-control-allow-methods"], "or the page would not see the 404"
    assert "access-control-allow-origin" not in ask(gateway, "/v1/nothing", headers={"Origin": "https://evil.example", **auth}).headers
    if keys:
        reply = ask(gateway, headers={"Origin": APP})
        assert reply.status == 401 and reply.headers["access-control-allow-origin"] == APP

    for origin in ("https://evil.example", "https://app.example.evil.example", "http://app.example", "null", ""):
        reply = preflight(gateway, origin)
        assert reply.status == (405 if keys or not origin else 403) and not [h for h in reply.headers if h.startswith("access-control")], origin


def test_any_origin(plain_world):
    _, gateway = plain_world.serve("alpha", cors={"origins": ["*"]})
    assert preflight(gateway, "https://x.example").status == 204
    assert ask(gateway, headers={"Origin": "https://x.example"}).headers["access-control-allow-origin"] == "https://x.example"
    assert ask(gateway, host="rebind.evil.example", headers={"Origin": "http://rebind.evil.example"}).status == 403, "a name of ours is still wanted"


@pytest.mark.parametrize("section, wrong", [("cors: {origins: [app.example]}", "is no origin such as"), ("cors: {origins: ['https://app.example/']}", "is no origin such as"),
                                            ("hosts: ['https://gateway']", "is no name of a host"), ("hosts: ['gateway:8080']", "is no name of a host")])
def test_check_says_what_is_no_name(tmp_path, section, wrong):
    file = tmp_path / "c.yaml"
    file.write_text(f"experts: {{e: {{endpoints: http://127.0.0.1:1/v1}}}}\n{section}\n")
    status, _, err = run("check", "-c", file)
    assert status != 0 and wrong in err


# ---- the administrative listener ----------------------------------------------------------------------------------------------


def test_the_administrators_listener(plain_world):
    mock = plain_world.experts("alpha")
    gateway = plain_world.gateway(plain_world.config(mock, admin=plain_world.admin()))

    def admin(path, host="localhost", **headers):
        with Wire("127.0.0.1", gateway.admin_port) as wire:
            return wire.request("GET", path, None, {"Connection": "close", "Authorization": "Bearer admin-secret", **headers}, host=host).reply().status

    assert admin("/admin/experts") == 200 and admin("/", **{"Sec-Fetch-Site": "cross-site"}) == 200, "the page may be linked to"
    assert admin("/admin/experts", "rebind.evil.example") == 403 and admin("/", "rebind.evil.example:1") == 403
    assert admin("/admin/experts", Origin="https://evil.example") == 403 and admin("/metrics", **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert admin("/admin/experts", Origin="http://localhost", **{"Sec-Fetch-Site": "same-origin"}) == 200

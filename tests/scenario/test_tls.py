# SPDX-License-Identifier: Apache-2.0
"""What clients are offered by TLS: suites with forward secrecy only, in the server's order, and what the options change."""
import json
import shutil
import ssl
import subprocess

import pytest

from harness import CERTS, run


@pytest.fixture(params=["ec", "rsa"])
def certificate(request, tmp_path):
    """With an RSA key OpenSSL would offer the exchange of a key under it, too."""
    if request.param == "ec":
        return CERTS / "server.pem", CERTS / "server.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "k.pem"), "-out", str(tmp_path / "c.pem"),
                    "-subj", "/CN=localhost", "-days", "2"], check=True, capture_output=True)
    return tmp_path / "c.pem", tmp_path / "k.pem"


def serve(world, certificate, **tls):
    mock = world.experts("alpha")
    config = world.config(mock)
    config["listen"]["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1]), **tls}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    world.client_tls = context
    return world.gateway(config)


def offered(gateway, ciphers=None, version=ssl.TLSVersion.TLSv1_2):
    """(version, suite) of a handshake; None: there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    gateway.world.client_tls = context
    try:
        with gateway.wire() as wire:
            assert wire.request("GET", "/healthz").reply().status == 200
            return wire.sock.version(), wire.sock.cipher()[0]
    except (ssl.SSLError, ConnectionError):
        return None


def test_suites(plain_world, certificate):
    gateway = serve(plain_world, certificate)
    kind = "ECDSA" if certificate[0].parent == CERTS else "RSA"

    assert offered(gateway)[0] == "TLSv1.2" and offered(gateway, version=ssl.TLSVersion.TLSv1_3)[0] == "TLSv1.3"
    assert offered(gateway, f"ECDHE-{kind}-AES128-GCM-SHA256:ECDHE-{kind}-AES256-GCM-SHA384")[1] == f"ECDHE-{kind}-AES256-GCM-SHA384", "ours is the order"
    assert offered(gateway, f"ECDHE-{kind}-CHACHA20-POLY1305:ECDHE-{kind}-AES128-GCM-SHA256")[1] == f"ECDHE-{kind}-CHACHA20-POLY1305", "a phone's wish"
    for weak in ("AES128-GCM-SHA256", "AES256-SHA", f"ECDHE-{kind}-AES128-SHA", f"ECDHE-{kind}-AES256-SHA384"):
        assert offered(gateway, weak) is None, weak


def test_options(plain_world):
    pair = CERTS / "server.pem", CERTS / "server.key"

    newest = serve(plain_world, pair, min_version="1.3")
    assert offered(newest) is None and offered(newest, version=ssl.TLSVersion.TLSv1_3)[0] == "TLSv1.3"
    one = serve(plain_world, pair, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    assert offered(one)[1] == "ECDHE-ECDSA-AES128-GCM-SHA256" and offered(one, "ECDHE-ECDSA-AES256-GCM-SHA384") is None
    file = plain_world.folder / "c.yaml"
    file.write_text(json.dumps({"listen": {"address": "127.0.0.1:0", "tls": {"certificate": str(pair[0]), "key": str(pair[1]), "ciphers": "nonesuch"}},
                                "experts": {"a": {"endpoints": "http://127.0.0.1:9/v1"}}}, indent=1))
    status, out, err = run("check", "-c", file)
    assert status == 1 and "listen[0].tls.ciphers: OpenSSL knows no suite for TLS 1.2 in 'nonesuch'" in out + err


def test_a_key_that_all_may_read_is_said(plain_world, tmp_path):
    shutil.copy(CERTS / "server.key", tmp_path / "open.key")
    (tmp_path / "open.key").chmod(0o644)

    said = [line["msg"] for line in serve(plain_world, (CERTS / "server.pem", tmp_path / "open.key")).log(level="warn")]
    assert any("open.key" in msg and "is world-readable" in msg for msg in said)
    said = [line["msg"] for line in serve(plain_world, (CERTS / "server.pem", CERTS / "server.key")).log(level="warn")]
    assert not any("is world-readable" in msg for msg in said)

# SPDX-License-Identifier: Apache-2.0
"""The environment's proxies are not obeyed; an expert's own is."""
import json
import socket
import threading

import pytest

from harness import free_port, run
from listening import Listening
from scripted import Scripted, good

pytestmark = pytest.mark.tsan


class Proxy(Listening):
    """CONNECT and absolute-form POST, as an HTTP proxy has them; keeps what was asked."""

    def __init__(self):
        self.asked = []
        super().__init__()

    def serve(self, s):
        head = b""
        while b"\r\n\r\n" not in head:
            got = s.recv(65536)
            if not got:
                return
            head += got
        method, target = head.split(b" ", 2)[:2]
        self.asked.append((method.decode(), target.decode()))
        host, _, port = (target if method == b"CONNECT" else target.split(b"/")[2]).rpartition(b":")
        to = socket.create_connection((host, int(port)))
        if method == b"CONNECT":
            s.sendall(b"HTTP/1.1 200 Fine\r\n\r\n")
        else:
            to.sendall(head)
        threading.Thread(target=self._copy, args=(s, to), daemon=True).start()
        self._copy(to, s)

    @staticmethod
    def _copy(from_, to):
        try:
            while data := from_.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass


WAYS = {"plain": {}, "curl": {"transport": "curl"}, "tls": {}}


@pytest.mark.parametrize("way", list(WAYS))
def test_the_environment_is_not_obeyed(plain_world, way):
    expert, proxy = plain_world.own(Scripted(lambda body, _: good(body), tls=way == "tls")), plain_world.own(Proxy())
    url = f"http://127.0.0.1:{proxy.port}"
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1,
                                   "experts": {"alpha": expert.entry(key="secret", **WAYS[way])}},
                                  env={n: url for n in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")})
    assert gateway.chat("alpha").status == 200 and not proxy.asked


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_an_experts_own_is(plain_world, way):
    expert, proxy = plain_world.own(Scripted(lambda body, _: good(body), tls=way == "tls")), plain_world.own(Proxy())
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1,
                                   "experts": {"alpha": expert.entry(proxy=f"http://127.0.0.1:{proxy.port}")}},
                                  env={"no_proxy": "*", "NO_PROXY": "*"})
    assert [gateway.chat("alpha").status for _ in range(3)] == [200] * 3
    assert proxy.asked == ([("CONNECT", f"127.0.0.1:{expert.port}")] if way == "tls" else
                           [("POST", f"http://127.0.0.1:{expert.port}/v1/chat/completions")]), "one connection, by the proxy"


@pytest.mark.parametrize("more, wanted", [({"proxy": "host:3128"}, "does not begin with http://"), ({"proxy": "ftp://host"}, "does not begin with"),
                                          ({"proxy": "http://user:hidden@host", "transport": "plain"}, "'plain' knows no proxies"),
                                          ({"proxy": "http://host", "endpoints": ["unix:/run/x.sock:/v1"]}, "leads to no unix: endpoint")])
def test_what_is_no_proxy(tmp_path, more, wanted):
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps({"experts": {"a": {"endpoints": ["http://127.0.0.1:1/v1"], **more}}}))
    code, out, err = run("check", "-c", file)
    assert code == 1 and wanted in out + err and "hidden" not in out + err, out + err

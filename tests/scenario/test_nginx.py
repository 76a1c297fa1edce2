# SPDX-License-Identifier: Apache-2.0
"""Experts behind nginx, by HTTP/2 and by HTTP/1.1 with TLS: what most of them stand behind."""
import shutil
import threading
import time

import pytest

from harness import CERTS, Process, free_port, until
from scripted import Scripted, good

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed (deploy/deps.sh installs it)")

CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr error; user root;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl {http2};
    ssl_certificate {certs}/server.pem; ssl_certificate_key {certs}/server.key;
    location / {{ proxy_pass http://127.0.0.1:{to}; proxy_buffering off; proxy_http_version 1.1; }}
  }}
}}
"""


class Nginx(Process):
    def __init__(self, folder, to, http2):
        self.port = free_port()
        file = folder / f"nginx-{self.port}.conf"
        file.write_text(CONFIG.format(folder=folder, port=self.port, certs=CERTS, to=to, http2="http2" if http2 else ""))
        super().__init__([NGINX, "-c", file, "-p", folder], "nginx")

    def entry(self, **more):
        return {"endpoints": [f"https://127.0.0.1:{self.port}/v1"], "ca": str(CERTS / "ca.pem"), "retries": 0, **more}


@pytest.mark.parametrize("http2", [True, False])
def test_requests_that_overlap(plain_world, http2):
    slow = threading.Event()

    def says(body, headers):
        if body["messages"][0]["content"] == "slow":
            slow.wait(20)
        return good(body)

    expert = plain_world.own(Scripted(says))
    nginx = Nginx(plain_world.folder, expert.port, http2)
    plain_world.processes.insert(0, nginx)
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, "workers": 1, "admin": plain_world.admin(),
                                   "experts": {"alpha": nginx.entry(breaker={"failures": 1000})}})
    until("nginx answers", lambda: nginx.child.poll() is None and gateway.chat("alpha").status == 200)
    replies, first = [], []
    waits = threading.Thread(target=lambda: first.append(gateway.chat("alpha", "slow")))
    waits.start()
    until("the slow one is there", lambda: any(b["messages"][0]["content"] == "slow" for b, _ in expert.seen))

    def ask(i):
        for _ in range(10):
            reply = gateway.chat("alpha", "quick", **({"stream": True} if i % 2 else {}))
            replies.append((reply.status, reply.complete, reply.done if i % 2 else True))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    slow.set()
    waits.join()
    assert set(replies) == {(200, True, True)} and len(replies) == 160
    assert first[0].status == 200
    time.sleep(0.1)
    assert gateway.chat("alpha").status == 200

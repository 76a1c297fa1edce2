# SPDX-License-Identifier: Apache-2.0
"""What all servers that a scenario writes in Python have in common: a port, a thread for each connection, and requests read."""
import contextlib
import socket
import ssl
import threading

from harness import CERTS


class Listening:
    """Calls `serve(s)` for each connection, on a thread of its own; the connection ends with it. OSError: the gateway has had enough."""

    def __init__(self, tls=False, alpn=(), path=None):
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(CERTS / "server.pem", CERTS / "server.key")
            if alpn:
                self.tls.set_alpn_protocols(alpn)
        if path:
            self.listener = socket.create_server(str(path), family=socket.AF_UNIX)
            self.url = f"unix:{path}:/v1"
        else:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
            self.port = self.listener.getsockname()[1]
            self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                raw = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        with contextlib.suppress(OSError), raw:
            if raw.family != socket.AF_UNIX:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.tls.wrap_socket(raw, server_side=True) if self.tls else raw as s:
                self.serve(s)

    def serve(self, s):
        raise NotImplementedError

    def entry(self, **more):
        """An expert's configuration."""
        return {"endpoints": [self.url], **({"ca": str(CERTS / "ca.pem")} if self.tls else {}), **more}

    def stop(self):
        self.over.set()
        self.listener.close()


def request(file):
    """The next request of a connection: path, headers by their names in small letters, body. None: it has ended."""
    first = line = file.readline()
    headers = {}
    while line and (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if not line:
        return None
    return first.split()[1].decode(), headers, file.read(int(headers.get("content-length", 0)))

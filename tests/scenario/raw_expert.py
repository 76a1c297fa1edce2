# SPDX-License-Identifier: Apache-2.0
"""Experts whose every byte a scenario writes, for what the mock expert cannot do; by http or https."""
import contextlib
import inspect
import socket
import ssl
import threading

from harness import CERTS, PATIENCE


def http(body, kind="application/json", framing="chunked", status="200 OK", piece=None, headers=""):
    """A whole answer as bytes. framing: chunked, length, close. piece: bytes of each chunk."""
    head = f"HTTP/1.1 {status}\r\n" + (f"Content-Type: {kind}\r\n" if kind else "") + headers
    if framing == "length":
        return (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    if framing == "close":
        return (head + "Connection: close\r\n\r\n").encode() + body
    step = piece or max(len(body), 1)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + step]), body[i:i + step]) for i in range(0, len(body), step))
    return (head + "Transfer-Encoding: chunked\r\n\r\n").encode() + chunks + b"0\r\n\r\n"


class Raw:
    """Answers each request with what `play(path, body)` returns, or sends by itself with `play(send, path, body)`; then the connection ends."""

    def __init__(self, play, tls=False):
        self.play = play
        self.sends = len(inspect.signature(play).parameters) > 0 and list(inspect.signature(play).parameters)[0] == "send"
        self.asked = 0
        self.lock = threading.Lock()
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(CERTS / "server.pem", CERTS / "server.key")
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                connection = stack.enter_context(self.context.wrap_socket(connection, server_side=True))
            got = b""
            while b"\r\n\r\n" not in got:
                piece = connection.recv(65536)
                if not piece:
                    return
                got += piece
            head, body = got.split(b"\r\n\r\n", 1)
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            while len(body) < length:
                body += connection.recv(65536)
            path = head.split()[1].decode()
            with self.lock:
                self.asked += 1
                answer = None if self.sends else self.play(path, body)
            if self.sends:
                self.play(connection.sendall, path, body)
            else:
                connection.sendall(answer)
            if self.context:
                connection.unwrap()
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)

    def stop(self):
        self.listener.close()

# SPDX-License-Identifier: Apache-2.0
"""Experts whose every byte a scenario writes, for what the mock expert cannot do; by http or https."""
import inspect
import socket

from harness import PATIENCE
from listening import Listening, request


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


class Raw(Listening):
    """Answers each request with what `play(path, body)` returns, or sends by itself with `play(send, path, body)`; then the connection ends."""

    def __init__(self, play, tls=False):
        self.play = play
        self.sends = len(inspect.signature(play).parameters) > 0 and list(inspect.signature(play).parameters)[0] == "send"
        self.asked = 0
        super().__init__(tls)

    def serve(self, s):
        s.settimeout(PATIENCE)
        asked = request(s.makefile("rb"))
        if not asked:
            return
        path, _, body = asked
        with self.lock:
            self.asked += 1
            answer = None if self.sends else self.play(path, body)
        if self.sends:
            self.play(s.sendall, path, body)
        else:
            s.sendall(answer)
        if self.tls:
            s.unwrap()
        s.shutdown(socket.SHUT_WR)
        s.recv(65536)

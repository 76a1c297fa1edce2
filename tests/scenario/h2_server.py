# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 server of raw frames, for experts that behave as no library would let them."""
import json
import socket
import struct
import threading

from listening import Listening

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def integer(value, bits):
    """HPACK's integers, below a prefix of that many bits, which are zero."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def block(pairs):
    """A header block: literal fields, never indexed, no Huffman codes."""
    out = b""
    for name, value in pairs:
        name, value = (x if isinstance(x, bytes) else x.encode("latin-1") for x in (name, value))
        out += b"\x10" + integer(len(name), 7) + name + integer(len(value), 7) + value
    return out


class Conn:
    """One connection; what it sends is up to the scenario."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.lock = threading.Lock()
        self.bodies = {}

    def frame(self, kind, flags, stream, payload=b""):
        with self.lock:
            self.sock.sendall(struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload)

    def headers(self, stream, pairs, end=False, flags=END_HEADERS):
        self.frame(HEADERS, flags | (END_STREAM if end else 0), stream, block(pairs))

    def data(self, stream, payload, end=False):
        for at in range(0, max(len(payload), 1), 16384):
            piece = payload[at:at + 16384]
            self.frame(DATA, END_STREAM if end and at + 16384 >= len(payload) else 0, stream, piece)

    def reset(self, stream, code=0):
        self.frame(RST_STREAM, 0, stream, struct.pack(">I", code))

    def goaway(self, last, code=0):
        self.frame(GOAWAY, 0, 0, struct.pack(">II", last, code))

    def cut(self):
        self.sock.shutdown(socket.SHUT_RDWR)  # close() would wait for the thread that reads

    def answer(self, stream, body, status="200", headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers(stream, [(":status", status), ("content-type", "application/json"), *headers])
        self.data(stream, body, end=True)

    def _exactly(self, n):
        got = b""
        while len(got) < n:
            piece = self.sock.recv(n - len(got))
            if not piece:
                raise ConnectionError
            got += piece
        return got

    def run(self):
        assert self._exactly(24).startswith(b"PRI * HTTP/2.0")
        self.frame(SETTINGS, 0, 0, struct.pack(">HI", 3, self.server.streams))
        while True:
            head = self._exactly(9)
            size, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
            payload = self._exactly(size)
            if kind == SETTINGS and not flags & ACK:
                self.frame(SETTINGS, ACK, 0)
            elif kind == RST_STREAM:
                self.server.gone.append((self.number, stream))
            elif kind == DATA:
                self.bodies[stream] = self.bodies.get(stream, b"") + payload
                if size:
                    self.frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", size))
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                body = json.loads(self.bodies.pop(stream, b"") or b"{}")
                self.server.seen.append((self.number, stream, body))
                threading.Thread(target=self._say, args=(stream, body), daemon=True).start()

    def _say(self, stream, body):
        try:
            self.server.says(self, stream, body)
        except OSError:
            pass  # the gateway has had enough


class H2Server(Listening):
    """`says(conn, stream, body)` answers one request, on a thread of its own."""

    def __init__(self, says, streams=100):
        self.says, self.streams = says, streams
        self.seen, self.connections = [], 0
        self.gone = []  # (connection, stream) that was reset, (connection, None) that ended
        super().__init__(tls=True, alpn=["h2"])

    def entry(self, **more):
        return super().entry(**{"retries": 0, **more})

    def serve(self, s):
        self.connections += 1
        number = self.connections
        try:
            Conn(self, s, number).run()
        finally:
            self.gone.append((number, None))

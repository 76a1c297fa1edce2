# SPDX-License-Identifier: Apache-2.0
"""An expert that a scenario writes in Python: it sees the request and gives the bytes, for what the mock expert cannot say."""
import json
import time

from harness import free_port
from listening import Listening, request

GOOD = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}
CHUNKS = [{"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
          for delta, finish in (({"role": "assistant", "content": "OK"}, None), ({}, "stop"))]


def answer(body, status=200, headers=(), content_type="application/json"):
    """A whole answer's bytes; anything but bytes and str becomes JSON."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in dict(headers).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def events(*data):
    """A stream of these events, whole; anything but str becomes JSON."""
    return answer("".join(f"data: {d if isinstance(d, str) else json.dumps(d)}\n\n" for d in data), content_type="text/event-stream")


def good(body):
    return events(*CHUNKS, "[DONE]") if body.get("stream") else answer(GOOD)


class Scripted(Listening):
    """`says(body, headers)` gives the answer's bytes, or a list of bytes and seconds to wait between them; None: no answer.

    What can be called in a list is called when all before it has been sent.  A list may end in ... (Ellipsis): then the connection
    stays open in silence."""

    def __init__(self, says, tls=False):
        self.says = says
        self.seen = []
        super().__init__(tls)

    def count(self, model=None):
        return sum(model in (None, body.get("model")) for body, _ in self.seen)

    def serve(self, s):
        file = s.makefile("rb")
        while self._one(s, file):
            pass

    def _one(self, s, file):
        asked = request(file)
        if not asked:
            return False
        _, headers, body = asked
        body = json.loads(body or b"{}")
        self.seen.append((body, headers))
        said = self.says(body, headers)
        for piece in said if isinstance(said, list) else [said]:
            if piece is None:
                return False
            if piece is ...:
                self.over.wait(30)
                return False
            if callable(piece):
                piece()
            elif isinstance(piece, (int, float)):
                if self.over.wait(piece):
                    return False
            else:
                s.sendall(piece)
        return True


def scripted(world, says):
    """One that ends with the world, by the world's transport."""
    return world.own(Scripted(says, tls=world.mode == "curl"))


def serve(world, experts, **sections):
    """A gateway before scripted experts; an entry is one of them, or a whole configuration."""
    config = {"workers": 1, "experts": {n: e.entry(retries=0) if isinstance(e, Scripted) else e for n, e in experts.items()}, **sections}
    return world.gateway({"listen": {"address": f"127.0.0.1:{free_port()}"}, **config})


def seconds(call):
    began = time.monotonic()
    return call(), time.monotonic() - began

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is a program a house, with each room standing on those below it?

Reads the symbols of the rooms' libraries (nm), in the order of their meson.build, and prints who uses whom.  Fails if a symbol points
upward, or if files outside of one module (below) need each other.  Also counts struct tags and static functions that C allows to be
defined more than once and that grep, gdb and newcomers pay for.

usage: tests/rooms.py LIBRARY...          (libserver_base.a libserver_net.a ..., or libretrieval_base.a ... libtrain.a)
"""
import collections
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Files that are one module, each with its *_parts.h or the header that says so: they may call each other.
MODULES = [
    {'crash', 'log', 'log_out'},                               # the last lines of a crash are log lines
    {'http', 'http_conn', 'http_reply'},
    {'redis', 'redis_conn', 'redis_writer', 'redis_connect', 'redis_cluster', 'redis_sentinel'},
    {'upstream', 'http1', 'http1_connect', 'http1_pool', 'curl', 'curl_request', 'curl_answer', 'curl_socket'},
    {'routing', 'host_api'},
    {'request', 'limiter', 'page', 'recall', 'follow', 'answers', 'forward', 'fallback', 'relay', 'stages', 'stages_answer', 'settle', 'reply'},
    {'recommend', 'feedback'},
    {'gateway', 'paths', 'worker_thread', 'admin', 'purge'},
    {'tokenizer', 'tokenizer_charsmap', 'tokenizer_model_read', 'tokenizer_read', 'tokenizer_steps'},
    {'gates', 'gates_file'},
]


def room_name(library):
    """libserver_base.a is `base`, as the folder is; libretrieval_base.a is `retrieval_base`."""
    return re.sub(r'^lib(server_)?|\.a$', '', os.path.basename(library))


def symbols(library):
    """{room/object: (defined, wanted)} of a static library."""
    room = room_name(library)
    found = collections.defaultdict(lambda: (set(), set()))
    text = subprocess.run(['nm', '-A', library], capture_output=True, text=True, check=True).stdout
    for line in text.splitlines():
        m = re.match(r'.*?([\w-]+)(?:\.c)?\.o:\s*(?:[0-9a-f]+)?\s+(\w)\s+(\S+)$', line)
        if not m:
            continue
        name, kind, symbol = m.groups()
        name = room + '/' + name.removeprefix(room.split('_')[-1] + '_')
        if kind in 'TDBRV':
            found[name][0].add(symbol)
        elif kind == 'U':
            found[name][1].add(symbol)
    return found


def components(graph):
    """Strongly connected components of more than one node (Tarjan)."""
    index, low, stack, on, out = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in graph.get(v, ()):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            one = set()
            while v not in one:
                one.add(stack.pop())
            on.difference_update(one)
            if len(one) > 1:
                out.append(one)

    sys.setrecursionlimit(10000)
    for v in sorted(graph):
        if v not in index:
            visit(v)
    return out


def twice():
    """Struct tags and static functions of what ships that are defined in more than one file."""
    tags, functions = collections.Counter(), collections.Counter()
    folders = ('server', 'plugins', 'routers', 'retrieval')
    for base, _, files in (x for folder in folders for x in os.walk(os.path.join(ROOT, folder))):
        for name in files:
            if not name.endswith(('.c', '.h')):
                continue
            with open(os.path.join(base, name), encoding='utf-8') as f:
                text = f.read()
            tags.update(set(re.findall(r'^struct (\w+) \{', text, re.M)))
            functions.update(set(re.findall(r'^static (?!const struct|struct \w+ \w+[;=\[ ])[\w *]*?\b(\w+)\([^;{]*\)\n\{', text, re.M)))
    return sorted(n for n, c in tags.items() if c > 1), sorted(n for n, c in functions.items() if c > 1)


def main():
    rooms = [room_name(p) for p in sys.argv[1:]]
    if not rooms:
        print(__doc__)
        return 2
    objects, room_of, home = {}, {}, {}
    for room, path in zip(rooms, sys.argv[1:]):
        for name, both in symbols(path).items():
            objects[name] = both
            room_of[name] = room
            home.update({s: name for s in both[0]})

    graph = {o: {home[s] for s in both[1] if s in home and home[s] != o} for o, both in objects.items()}
    uses = collections.defaultdict(collections.Counter)
    upward = []
    for o, both in sorted(objects.items()):
        for s in sorted(both[1] & home.keys()):
            a, b = room_of[o], room_of[home[s]]
            if a != b:
                uses[a][b] += 1
            if rooms.index(b) > rooms.index(a):
                upward.append(f'{o} wants {s} of {home[s]}')
    bad = [sorted(c) for c in components(graph) if not any({os.path.basename(o) for o in c} <= m for m in MODULES)]
    tags, functions = twice()

    print('1..2')
    print(f'{"not ok" if upward else "ok"} 1 - {len(objects)} objects in {len(rooms)} rooms: no symbol points upward')
    for u in upward:
        print(f'#   {u}')
    print(f'{"not ok" if bad else "ok"} 2 - {len(components(graph))} groups of files need each other, each of them one module')
    for c in bad:
        print(f'#   {" ".join(c)}')
    for room in rooms:
        n = sum(1 for o in room_of if room_of[o] == room)
        print(f'# {room:16} {n:3} objects, uses {", ".join(f"{b} {uses[room][b]}" for b in rooms if uses[room][b]) or "nothing"}')
    print(f'# struct tags defined in more than one file: {len(tags)} ({" ".join(tags)})')
    print(f'# static functions defined in more than one file: {len(functions)}')
    return 1 if upward or bad else 0


if __name__ == '__main__':
    sys.exit(main())

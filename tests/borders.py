#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do the folders keep the borders that ARCHITECTURE.md draws?

Reads the table under "## Borders" there: a folder, the folders of ours that it may include from (a single file as `folder/file.h`), and
the library headers (prefixes).  Then reads every #include of every C file.  Also: each header compiles alone, the map names each
source file, only the cache calls a store, and no file exceeds the length that one purpose should need.  Prints one TAP line a check.
"""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ['plugins', 'retrieval', 'routers', 'server']
STANDARD = set('''assert ctype dirent dlfcn endian errno execinfo fcntl float inttypes limits locale malloc math netdb poll pthread signal spawn
sched stdarg stdatomic stdbool stddef stdint stdio stdlib string strings time ucontext unistd link elf fnmatch getopt termios'''.split())
SYSTEM = ('sys/', 'netinet/', 'arpa/', 'linux/', 'bits/')
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# A store is the cache's (server/store/store.h): nobody else calls one, and only the check of a configuration asks Redis's room for a word.
STORE_CALL = re.compile(r'\bstore\w*->ops->|\bredis_(?!check\b|stats\b|settings\b)\w+\s*\(')
STORE_ROOMS = ('server/redis/', 'server/cache/')
LONGEST = 600  # CONTRIBUTING: "below 600 lines"


def table():
    """{folder: (set of folders or files of ours, tuple of library prefixes)} from ARCHITECTURE.md."""
    rows, on = {}, False
    with open(os.path.join(ROOT, 'ARCHITECTURE.md'), encoding='utf-8') as f:
        for line in f:
            if line.startswith('## '):
                on = line.strip() == '## Borders'
            cells = [c.strip() for c in line.strip().strip('|').split('|')]
            if on and len(cells) >= 3 and cells[0].startswith('`'):
                names = [re.findall(r'`([^`]+)`', c) for c in cells[:3]]
                for folder in names[0]:
                    rows[folder.rstrip('/')] = ({n.rstrip('/') for n in names[1]}, tuple(names[2]))
    return rows


def sources(folder, endings=('.c', '.h')):
    for base, _, files in os.walk(os.path.join(ROOT, folder)):
        if 'example' in os.path.relpath(base, ROOT).split(os.sep):
            continue
        for name in sorted(files):
            if name.endswith(endings):
                yield os.path.relpath(os.path.join(base, name), ROOT)


def row_of(path, rows):
    """The most particular row: the file itself, then its folder."""
    while path:
        if path in rows:
            return path, rows[path]
        path = os.path.dirname(path)
    return None, None


def includes(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        for n, line in enumerate(f, 1):
            m = INCLUDE.match(line)
            if m:
                yield n, m.group(1) == '"', m.group(2)


def main():
    rows = table()
    ours = {}
    for folder in FOLDERS:
        for path in sources(folder):
            if path.endswith('.h'):
                ours.setdefault(os.path.basename(path), []).append(path)
    bad, checked, n_includes = [], 0, 0

    if not rows:
        bad.append('ARCHITECTURE.md has no table under "## Borders"')
    for folder in FOLDERS:
        for path in sources(folder):
            checked += 1
            name, row = row_of(path, rows)
            if row is None:
                bad.append(f'{path}: no row of the table covers it')
                continue
            may, libraries = row
            for line, local, header in includes(path):
                n_includes += 1
                where = f'{path}:{line}: {header}'
                if local:
                    own = os.path.join(os.path.dirname(path), header)
                    if os.path.exists(os.path.join(ROOT, own)) or header.endswith('.inc'):
                        continue
                    found = ours.get(os.path.basename(header))
                    if not found:
                        bad.append(f'{where}: no such header of ours')
                    elif not any(f in may or os.path.dirname(f) in may or (os.path.dirname(f) == os.path.dirname(path)) for f in found):
                        bad.append(f'{where}: {name} may not use {found[0]} (it may use {", ".join(sorted(may)) or "nothing"})')
                    continue
                stem = header[:-2] if header.endswith('.h') else header
                if stem in STANDARD or header.startswith(SYSTEM):
                    continue
                if not any(header == l or header.startswith(l.rstrip('*')) for l in libraries):
                    bad.append(f'{where}: {name} may not use this library (it may use {", ".join(libraries) or "none"})')

    results = [('borders: %d includes in %d files' % (n_includes, checked), bad)]

    bad = []
    for path in sources('server'):
        with open(os.path.join(ROOT, path), encoding='utf-8') as f:
            for n, line in enumerate(f, 1):
                if STORE_CALL.search(line) and not path.startswith(STORE_ROOMS):
                    bad.append(f'{path}:{n}: only server/cache calls a store: {line.strip()}')
    results.append(('only the cache calls a store', bad))

    bad, headers = [], [h for hs in ours.values() for h in hs]
    flags = ['-I' + d for d in sorted({os.path.dirname(os.path.join(ROOT, h)) for h in headers if os.path.dirname(h) != 'routers/train'})]
    pkg = subprocess.run(['pkg-config', '--cflags', 'faiss_c'], capture_output=True, text=True, check=False).stdout.split()
    with tempfile.TemporaryDirectory() as tmp:
        for h in sorted(headers):
            one = os.path.join(tmp, 'one.c')
            with open(one, 'w', encoding='utf-8') as f:
                f.write(f'#include "{os.path.join(ROOT, h)}"\n#include "{os.path.join(ROOT, h)}"\nextern int nothing;\n')
            cmd = ['cc', '-std=gnu11', '-D_GNU_SOURCE', '-Wall', '-Werror', '-fsyntax-only', *flags, *pkg, one]
            r = subprocess.run(cmd, capture_output=True, text=True, check=False)
            if r.returncode:
                bad.append(f'{h}: does not compile alone: {(r.stderr.splitlines() or ["?"])[0]}')
    results.append((f'headers compile alone and twice: {len(headers)}', bad))

    with open(os.path.join(ROOT, 'ARCHITECTURE.md'), encoding='utf-8') as f:
        text = f.read()
    stems = {os.path.splitext(p)[0] for folder in FOLDERS for p in sources(folder)}
    bad = [f'{s}: not on the map in ARCHITECTURE.md' for s in sorted(stems)
           if not re.search(r'(?<![\w])' + re.escape(os.path.basename(s)) + r'(?![\w])', text)]
    results.append((f'the map names every module: {len(stems)}', bad))

    bad = []
    for folder in [*FOLDERS, 'tests', 'deploy']:
        for path in sources(folder, ('.c', '.h', '.py', '.sh')):
            with open(os.path.join(ROOT, path), encoding='utf-8') as f:
                n = sum(1 for _ in f)
            if n >= LONGEST:
                bad.append(f'{path}: {n} lines; one purpose should need less than {LONGEST}')
    results.append(('no file has outgrown its purpose', bad))

    print(f'1..{len(results)}')
    for i, (what, wrong) in enumerate(results, 1):
        print(f'{"not ok" if wrong else "ok"} {i} - {what}')
        for w in wrong:
            print(f'# {w}')
    return 1 if any(w for _, w in results) else 0


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""deploy/quickstart.sh, as far as it goes before it installs and builds anything."""
import os
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_port_that_is_taken_is_named_before_anything_is_built():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([ROOT / "deploy" / "quickstart.sh", "--once"], env={**os.environ, "PORT": str(port)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and f"port {port}, the gateway's" in done.stderr, done.stderr
    assert "== " not in done.stdout, "nothing was begun"

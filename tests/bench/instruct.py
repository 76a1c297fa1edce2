# SPDX-License-Identifier: Apache-2.0
"""What the instruct router's language model adds to a request: each mode's gateway is asked in turn with one that never asks it."""
import argparse
import json
import tempfile
import time
from pathlib import Path

from outage import Client, quantile
from parts import BUILD, POINTSMAN, ROOT, Server, free_port, mock

EXPERTS = ["mixtral-8x7b", "mathstral-7b", "yi-34b", "phi-3-mini", "llama-3.1-8b"]
SAYS = "Solve mathematics problems in algebra and calculus, requiring step-by-step derivation."


def gateway(folder, name, ports, mode, small, timeout):
    port = free_port()
    models = ROOT / "configs" / "models"
    router = {"plugin": str(BUILD / "routers" / "instruct.so"), "model": str(models / "mmlupro-instruct.safetensors"),
              "encoder": str(models / "pointsman-static"), "mode": mode, "llm": "small", "timeout": timeout}
    config = {"listen": f"127.0.0.1:{port}", "workers": 1,
              "experts": {**{e: {"endpoints": [f"http://127.0.0.1:{ports[e]}/v1"]} for e in EXPERTS}, "small": {"endpoints": [f"http://127.0.0.1:{small}/v1"]}},
              "routers": {"by_task": router},
              "routes": {"auto": {"routers": ["by_task"], "experts": EXPERTS, "deadline": "10s", "cache": {"decisions": "off", "pin": "0s"}}}}
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(config))
    return Server([POINTSMAN, "serve", "-c", file], None, port)


def experts(folder):
    rules = folder / "rules.json"
    rules.write_text(json.dumps({"rules": [{"expert": "small", "fault": f"delay-ms=300;say={SAYS}", "always": True},
                                           {"expert": "hangs", "fault": "accept-never-answer", "always": True}]}))
    return mock("--tokens", "1", "--script", rules, names=[*EXPERTS, "small", "hangs"])


def main():
    ask = argparse.ArgumentParser(prog="tests/bench/instruct.sh", description=__doc__)
    ask.add_argument("--prompts", type=int, default=60)
    ask.add_argument("--timeout", default="1s", help="the router's limit for its model")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        folder = Path(folder)
        servers, ports = experts(folder)
        nobody = free_port()
        cases = [("300 ms", ports["small"], "background"), ("300 ms", ports["small"], "inline"), ("down", nobody, "background"), ("down", nobody, "inline"),
                 ("hangs", ports["hangs"], "background"), ("hangs", ports["hangs"], "inline")]
        print(f"\nadded to a request, ms, against mode off in the same run ({args.prompts} prompts; the model's limit is {args.timeout}):")
        print("| model | mode | cold p50 | p99 | warm p50 | p99 |\n| --- | --- | --- | --- | --- | --- |")
        for i, (what, small, mode) in enumerate(cases):
            pair = [gateway(folder, f"{i}-{m}", ports, m, small, args.timeout) for m in ("off", mode)]
            clients = [Client(server.port) for server in pair]
            for client in clients:
                client.ask(b"warm up")
            cells = []
            for phase in ("cold", "warm"):
                took = [[client.ask(b"What is the integral of x to the power of %d?" % n) for client in clients] for n in range(args.prompts)]
                assert all(right for pair_of in took for right, *_ in pair_of), "an answer was wrong"
                cells += [f"{(quantile([t[1][1] for t in took], share) - quantile([t[0][1] for t in took], share)) / 1000:+.2f}" for share in (0.5, 0.99)]
                if phase == "cold" and what == "300 ms":
                    time.sleep(1)  # what was sent for is there
            print(f"| {what} | {mode} | " + " | ".join(cells) + " |", flush=True)
            for server in pair:
                server.stop()
        servers.stop()


main()

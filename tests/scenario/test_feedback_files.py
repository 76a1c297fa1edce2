# SPDX-License-Identifier: Apache-2.0
"""feedback.file when others have a hand in it: several gateways, a disk that is full for a while, a reload to another one."""
import fcntl
import json
import os
import signal
import threading

from harness import BUILD, until


def config(world, **sections):
    base = {"plugin_dirs": [str(BUILD / "tests" / "routers")], "routers": {"items": {"plugin": "uses_candidates"}}, "routes": {"auto": {"routers": ["items"]}}}
    return world.config(world.experts("alpha"), **{**base, **sections})


def lines(file):
    return file.read_text().splitlines() if file.exists() else []


def test_several_gateways_write_one_file(plain_world, tmp_path):
    """Nobody takes another's line for half a line while that is being written."""
    file, rounds, events = tmp_path / "events.tsv", 12, 1000
    gateways = [plain_world.gateway(config(plain_world, feedback={"file": str(file)}, workers=2)) for _ in range(3)]

    def fill(g):
        for i in range(rounds):
            body = {"events": [{"user": f"{g}-{i}-{n}" + "u" * 480, "item": f"{g}-{i}-{n}" + "i" * 480} for n in range(events)]}
            until("there is room", lambda body=body: gateways[g].post("/v1/feedback", body).status == 200, 20)

    threads = [threading.Thread(target=fill, args=(g,)) for g in range(len(gateways))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for g in gateways:
        g.stop()
    got = lines(file)
    assert got[0] == "user\titem\tweight\ttime"
    broken = [line for line in got[1:] if line.count("\t") != 3 or line.split("\t")[0].rstrip("u") != line.split("\t")[1].rstrip("i")]
    assert not broken, broken[:3]
    assert len(got) - 1 == len(set(got[1:])) == len(gateways) * rounds * events


def open_files(gateway):
    folder = f"/proc/{gateway.pid}/fd"
    names = []
    for fd in os.listdir(folder):
        try:
            names.append(os.readlink(f"{folder}/{fd}"))
        except OSError:
            pass
    return names


def test_another_is_in_the_middle_of_a_line(plain_world, tmp_path):
    """Who writes holds the file's lock: what it has not finished yet is not cut off, and nothing is put into it."""
    file = tmp_path / "events.tsv"
    head = b"user\titem\tweight\ttime\n"
    gateway = plain_world.gateway(config(plain_world, feedback={"file": str(file)}, workers=1))

    with open(file, "ab", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(head + b"other\tit")
        assert gateway.post("/v1/feedback", {"user": "u", "item": "i", "time": 7}).status == 200
        until("it is said", lambda: any("cannot lock feedback.file" in line for line in gateway.lines), 10)
        assert file.read_bytes() == head + b"other\tit"
        other.write(b"em\t1\t6\n")
    until("the line is there", lambda: file.read_bytes() == head + b"other\titem\t1\t6\nu\ti\t1\t7\n", 10)
    other = open(file, "ab", buffering=0)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert gateway.post("/v1/feedback", {"user": "u", "item": "j", "time": 8}).status == 200
    until("it is waited for", lambda: str(file) in open_files(gateway), 10)
    file.rename(tmp_path / "old.tsv")
    other.close()
    until("a file that is moved away meanwhile is not written to", lambda: file.exists() and file.read_bytes() == head + b"u\tj\t1\t8\n", 10)


def many(user, n=1000):
    return {"events": [{"user": user, "item": "item-1" + "x" * 400, "time": 7}] + [{"user": "u" * 500, "item": "i" * 500, "time": 7}] * (n - 1)}


def history(gateway, user):
    item = gateway.post("/v1/recommend", {"user": user, "n": 1}).json()["items"][0]["id"]
    return item != "item-1"


def test_all_events_of_a_request_are_taken_or_none(plain_world):
    """Who is told 507 sends them again: none may count twice."""
    gateway = plain_world.gateway(config(plain_world, feedback={"file": "/dev/full"}, workers=1))

    def give(user, n):
        body = many(user, n)
        body["events"][0]["item"] = "item-1"
        return gateway.post("/v1/feedback", body).status

    assert [give(f"user-{i}", 1000) for i in range(5)] == [200, 200, 200, 200, 507]
    assert [history(gateway, f"user-{i}") for i in range(5)] == [True, True, True, True, False]
    assert give("user-4", 50) == 200 and history(gateway, "user-4"), "there is room for fewer"


def test_a_full_disk_does_not_hold_up_another_file(plain_world, tmp_path):
    """The operator names a file on another disk: what is sent there neither waits for the full one nor for its share of memory."""
    file = tmp_path / "events.tsv"
    gateway = plain_world.gateway(config(plain_world, feedback={"file": "/dev/full"}, workers=1))
    replies = [gateway.post("/v1/feedback", many("first")).status for _ in range(4)] + [gateway.post("/v1/feedback", many("first", n)).status for n in (500, 250, 120, 60)]
    assert replies.count(507) > 1, replies

    gateway.write({**json.loads(gateway.file.read_text()), "feedback": {"file": str(file)}})
    gateway.signal(signal.SIGHUP)
    until("the other is taken", lambda: gateway.post("/v1/feedback", many("second")).status == 200)
    until("it is written", lambda: len(lines(file)) > 1000)
    assert {line.split("\t")[0][:6] for line in lines(file)[1:]} == {"second", "uuuuuu"}

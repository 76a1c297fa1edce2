# SPDX-License-Identifier: Apache-2.0
"""POST /v1/recommend and /v1/feedback: who is asked, what counts, what is refused, what is written down."""
import json
import os
import resource
import signal
import subprocess
import time
import urllib.parse

import pytest

from harness import BUILD, run, until

ACME, GLOBEX = "sk-acme-0123456789abcdef", "sk-globex-0123456789abcdef"


def config(world, mock, **sections):
    """A router that gives item-1, item-2, ... but for what is in the history or excluded."""
    base = {"plugin_dirs": [str(BUILD / "tests" / "routers")], "routers": {"items": {"plugin": "uses_candidates"}, "one": {"plugin": "template", "expert": "alpha"}},
            "routes": {"auto": {"routers": ["one"]}, "catalogue": {"routers": ["items", "one"]}}}
    return world.config(mock, **{**base, **sections})


def serve(world, **sections):
    return world.gateway(config(world, world.experts("alpha"), **sections))


def recommend(gateway, key=None, **body):
    reply = gateway.post("/v1/recommend", body, {"Authorization": f"Bearer {key}"} if key else {})
    assert reply.status == 200, reply.body
    return reply.json()


def ids(answer):
    return [item["id"] for item in answer["items"]]


@pytest.fixture
def redis(tmp_path):
    """A Redis of this test: (its socket, how to kill it)."""
    socket = tmp_path / "redis.sock"
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(tmp_path)],
                              stdout=subprocess.DEVNULL)
    until("redis-server is there", socket.exists)
    yield socket, server
    server.kill()
    server.wait()


@pytest.mark.tsan
def test_items_for_a_user(client_world):
    gateway = serve(client_world)

    answer = recommend(gateway, user="u", history=["item-2", "else"], exclude=["item-4"], n=3)
    assert answer["object"] == "recommendation" and answer["model"] == "catalogue" and answer["user"] == "u"
    assert ids(answer) == ["item-1", "item-3", "item-5"]
    assert [i["interest"] for i in answer["items"]] == ["odd"] * 3 and answer["items"][0]["score"] == 1
    assert len(ids(recommend(gateway))) == 20, "a user never seen, and the preset number"
    answer = recommend(gateway, users=["a", "b\"ä"], n=1, model="catalogue")
    assert [(one["user"], ids(one)) for one in answer["data"]] == [("a", ["item-1"]), ("b\"ä", ["item-1"])]
    line = gateway.request_lines(3)[0]
    assert line["path"] == "/v1/recommend" and line["router"] == "items" and line["route"] == "catalogue"
    metrics = gateway.get("/metrics").body.decode()
    assert 'pointsman_requests_total{api="recommend",status="200"} 3' in metrics
    assert 'pointsman_router_decisions_total{router="items",result="decided"} 4' in metrics


BAD = [({"n": 0}, "n"), ({"n": -1}, "n"), ({"n": 1001}, "n"), ({"n": 1.5}, "n"), ({"n": "3"}, "n"), ({"history": "x"}, "history"),
       ({"history": ["a", 1]}, "history[1]"), ({"history": [""]}, "history[0]"), ({"exclude": {}}, "exclude"), ({"user": 5}, "user"),
       ({"user": "x" * 513}, "user"), ({"users": []}, "users"), ({"users": ["a"], "user": "b"}, "users"), ({"users": [None]}, "users[0]"),
       ({"seen": "x"}, "seen"), ({"filter": []}, "filter"), ({"filter": {"price": 1.5}}, "filter"), ({"filter": {"price": 2 ** 64}}, "filter"),
       ({"filter": {"parity": ["odd", 1.0]}}, "filter"), ({"filter": {f"a{i}": 1 for i in range(65)}}, "filter"), ({"filter": {"colour": "red"}}, "filter"),
       ({"filter": {"a": list(range(10001))}}, "filter"), ({"filter": {"a": {}}}, "filter"), ({"filter": {"a": ["x", None]}}, "filter"), ({"explain": 1}, "explain"), ({"allow": "x"}, "allow"), ({"deny": [3]}, "deny[0]"),
       ({"history": ["x"] * 10001}, "history"), ([], None), ("x", None)]


def test_what_is_refused(plain_world):
    gateway = serve(plain_world)

    for body, param in BAD:
        reply = gateway.post("/v1/recommend", body)
        assert reply.status == 400 and reply.error["param"] == param, (str(body)[:80], reply.body)
    for body in (b"", b"{", b'{"n":1', b'{"user":"\xff"}'):
        assert gateway.post("/v1/recommend", body).status == 400, body
    assert gateway.post("/v1/recommend", b'{"filter":{"parity":"odd","p\\u0061rity":"even"}}').error["param"] == "filter"
    reply = gateway.post("/v1/recommend", {"filter": {"colour": "red"}})
    assert reply.error["message"] == "items have no 'colour'" and "retry-after" not in reply.headers, "the router's own words, and no advice to retry"
    for model, path in ((model, path) for model in (5, [], {}, True) for path in ("/v1/recommend", "/v1/feedback")):
        reply = gateway.post(path, {"model": model, "user": "u", "item": "i"})
        assert reply.status == 400 and reply.error["param"] == "model", (path, model, reply.body)
    for model in ("nobody", "auto"):
        reply = gateway.post("/v1/recommend", {"model": model})
        assert reply.status == 404 and reply.error["param"] == "model", reply.body
    assert gateway.get("/v1/recommend").status == 405
    reply = gateway.post("/v1/recommend", {"user": "nobody"})
    assert reply.status == 503 and reply.error["code"] == "not_recommended", "its router passes"
    assert gateway.chat("auto").status == 200, "routers that recommend are not asked for chats"
    assert recommend(gateway)["items"]


STRANGE = ["18446744073709551616", "-9223372036854775809", "1e999", "-1e999", "1e-999", "0.1e-400", '"a\\u0000b"', '"\\ud800"', '{"a":1,"a":2}', '{"\\u0000":1}',
           "1" * 400, "[" * 30 + "]" * 30]


def test_what_else_stands_in_the_body_loses_nothing(plain_world):
    """A second reader that could not hold the rest of the body dropped deny, allow, filter and seen."""
    gateway = serve(plain_world)

    for rest in STRANGE:
        for place in ('{{"trace":{0},{1}}}', '{{{1},"trace":{0}}}'):
            def ask(members):
                reply = gateway.post("/v1/recommend", place.format(rest, members).encode())
                assert reply.status == 200, (rest, reply.body)
                return ids(reply.json())

            assert ask('"n":3,"deny":["item-1"],"exclude":["item-2"]') == ["item-3", "item-4", "item-5"], rest
            assert ask('"n":3,"allow":["item-7","item-9","a\\u0000b"]') == ["item-7", "item-9"], rest
            assert ask('"n":3,"allow":[]') == [], rest
            assert ask('"n":2,"filter":{"parity":"even"},"history":["item-4"]') == ["item-2", "item-6"], rest
            assert ask('"n":1,"seen":"keep","history":["item-1"]') == ["item-1"], rest
            assert ask('"n":1,"filter":{"parity":["even",2,true]}') == ["item-2"], rest


def test_null_is_what_is_not_given(plain_world):
    """As clients write that leave a field empty."""
    gateway = serve(plain_world)

    names = ("model", "user", "users", "history", "n", "exclude", "deny", "allow", "filter", "seen", "explain")
    nothing = recommend(gateway)
    assert recommend(gateway, **dict.fromkeys(names)) == nothing and len(nothing["items"]) == 20
    for name in names:
        assert recommend(gateway, **{name: None}) == nothing, name


def test_nothing_recommends(plain_world):
    _, gateway = plain_world.serve("alpha")

    reply = gateway.post("/v1/recommend", {})
    assert reply.status == 404 and reply.error["code"] == "nothing_recommends"
    assert gateway.post("/v1/feedback", {"user": "u", "item": "i"}).status == 404


@pytest.mark.tsan
def test_feedback_counts_at_once_on_every_worker(plain_world):
    gateway = serve(plain_world, workers=3, feedback={"keep": 2})

    for item in ("item-1", "item-2"):
        assert gateway.post("/v1/feedback", {"user": "u", "item": item}).json()["accepted"] == 1
    for _ in range(12): # each on a connection of its own
        assert ids(recommend(gateway, user="u", n=1)) == ["item-3"]
    assert ids(recommend(gateway, user="v", n=1)) == ["item-1"]
    assert gateway.post("/v1/feedback", {"events": [{"user": "u", "item": "item-3"}, {"user": "v", "item": "item-1", "weight": 2}]}).status == 200
    assert ids(recommend(gateway, user="u", n=3)) == ["item-1", "item-4", "item-5"], "the last two are kept"
    assert [ids(one) for one in recommend(gateway, users=["u", "v", "w"], n=1)["data"]] == [["item-1"], ["item-2"], ["item-1"]]


def test_feedback_is_shared_and_survives_without_redis(plain_world, redis):
    socket, server = redis
    cache = {"redis": {"servers": [f"unix:{socket}"], "timeout": "2s", "failures": 1}}
    mock = plain_world.experts("alpha")
    one, two = (plain_world.gateway(config(plain_world, mock, cache=cache)) for _ in range(2))
    for gateway in (one, two):
        until("it has Redis", lambda gateway=gateway: "pointsman_redis_up 2" in gateway.get("/metrics").body.decode())

    assert one.post("/v1/feedback", {"user": "u", "item": "item-1"}).status == 200
    until("the other gateway knows", lambda: ids(recommend(two, user="u", n=1)) == ["item-2"])
    server.kill()
    server.wait()
    assert ids(recommend(one, user="u", n=1)) == ["item-2"], "what it has seen itself"
    assert one.post("/v1/feedback", {"user": "u", "item": "item-2"}).status == 200
    assert ids(recommend(one, user="u", n=1)) == ["item-3"]


def test_tenants_have_users_of_their_own(plain_world):
    gateway = serve(plain_world, tenants={"acme": {"keys": [ACME]}, "globex": {"keys": [GLOBEX]}})

    reply = gateway.post("/v1/feedback", {"user": "u", "item": "item-1"}, {"Authorization": f"Bearer {ACME}"})
    assert reply.status == 200
    assert ids(recommend(gateway, ACME, user="u", n=1)) == ["item-2"]
    assert ids(recommend(gateway, GLOBEX, user="u", n=1)) == ["item-1"]
    assert gateway.post("/v1/recommend", {}).status == 401


BAD_EVENTS = [({}, "user"), ({"user": "a"}, "item"), ({"user": "a", "item": "b\n"}, "item"), ({"user": "a", "item": "b", "weight": 0}, "weight"),
              ({"user": "a", "item": "b", "weight": "1"}, "weight"), ({"user": "a", "item": "b", "time": -1}, "time"), ({"events": 5}, "events"),
              # what training could not read
              ({"user": "a", "item": "b", "time": 2**63 - 1}, "time"), ({"user": "a", "item": "b", "time": 9 * 10**15}, "time"),
              ({"user": "a", "item": "b", "weight": 1e-31}, "weight"), ({"user": "a", "item": "b", "weight": 1.1e9}, "weight"),
              ({"events": [{"user": "a", "item": "b", "time": 10**30}]}, "events[0].time"),
              # what another reader could take otherwise
              ({"user": "a", "item": "b", "User": "c"}, "user"), ({"events": [{"user": "a", "item": "b", "ITEM": "c"}]}, "events[0].item"),
              ({"events": [{"user": "a", "item": "b"}, {"user": "", "item": "c"}]}, "events[1].user"),
              ({"events": [{"user": "a", "item": "b"}] * 1001}, "events")]


@pytest.mark.parametrize("body, param", [(b'{"user":"u","Deny":["item-1"]}', "deny"), (b'{"deny":["item-1"],"deny":[]}', "deny"),
                                         (b'{"n":1,"N":1000}', "n"), (b'{"user":"u","u\\u0073er":"v"}', "user"), (b'{"FILTER":{}}', "filter")])
def test_members_in_two_spellings_are_refused(plain_world, body, param):
    reply = serve(plain_world).post("/v1/recommend", body)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body


def test_events_become_edges(plain_world, tmp_path):
    file = tmp_path / "events.tsv"
    gateway = serve(plain_world, feedback={"file": str(file)}, workers=1)

    for body, param in BAD_EVENTS:
        reply = gateway.post("/v1/feedback", body)
        assert reply.status == 400 and reply.error["param"] == param, (str(body)[:80], reply.body)
    before = int(time.time())
    assert gateway.post("/v1/feedback", {"user": "ü", "item": "a b"}).status == 200
    assert gateway.post("/v1/feedback", {"events": [{"user": "u", "item": "x", "weight": 2.5, "time": 7}, {"user": "u", "item": "y"}]}).status == 200
    until("the lines are there", lambda: file.exists() and file.read_text().count("\n") == 4)
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    assert rows[0] == ["user", "item", "weight", "time"] and rows[2] == ["u", "x", "2.5", "7"]
    assert rows[1][:3] == ["ü", "a b", "1"] and before <= int(rows[1][3]) <= time.time()
    os.rename(file, tmp_path / "old.tsv")
    assert gateway.post("/v1/feedback", {"user": "u", "item": "z"}).status == 200
    gateway.stop()  # what waits is written
    assert file.read_text().splitlines()[1].startswith("u\tz\t1\t") and "old" not in file.read_text()


def test_half_a_line_becomes_no_event(plain_world, tmp_path):
    """What a process left that ended on a full disk is cut off, and a short write leaves none."""
    file = tmp_path / "events.tsv"
    head = b"user\titem\tweight\ttime\nu\ta\t1\t7\n"
    file.write_bytes(head + b"user7\ti157\t1\t17")
    gateway = serve(plain_world, feedback={"file": str(file)}, workers=1)

    def post(*items):
        events = [{"user": "next", "item": item, "time": 8} for item in items]
        assert gateway.post("/v1/feedback", {"events": events}).status == 200

    lines = [f"next\ti{i}\t1\t8\n".encode() for i in range(9)]
    post("i0")
    until("the line is there", lambda: file.read_bytes() == head + lines[0])
    until("it is said", lambda: any("an incomplete line" in line for line in gateway.lines))

    room = len(head) + 3 * len(lines[0]) + 5
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    post(*(f"i{i}" for i in range(1, 9)))
    until("the disk is full", lambda: any("cannot write to feedback.file" in line for line in gateway.lines))
    until("whole lines are there", lambda: file.read_bytes() == head + b"".join(lines[:3]))
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    until("all are there", lambda: file.read_bytes() == head + b"".join(lines))


def test_a_file_that_does_not_answer_stops_no_worker(plain_world, tmp_path):
    """A pipe that nobody reads stands for a server of files that has gone away: open() does not come back."""
    file = tmp_path / "events.fifo"
    os.mkfifo(file)
    gateway = serve(plain_world, feedback={"file": str(file)}, workers=1)

    assert gateway.post("/v1/feedback", {"user": "u", "item": "first"}).status == 200
    until("a thread stands before it", lambda: any("wait_for_partner" in stack(gateway, task) for task in tasks(gateway)), seconds=10)
    for _ in range(20):
        assert gateway.get("/healthz").status == 200
    assert gateway.post("/v1/feedback", {"user": "u", "item": "second"}).status == 200
    time.sleep(1.2)  # gathered lines are handed over after a second
    with open(file, "rb") as reader:
        got = b""
        while got.count(b"\n") < 2:
            got += reader.read1()
    assert [line.split(b"\t")[1] for line in got.splitlines()] == [b"first", b"second"], "in order"

    assert gateway.post("/v1/feedback", {"user": "u", "item": "third"}).status == 200
    gateway.stop()
    assert any("feedback lost" in line for line in gateway.lines), gateway.tail()


def test_a_file_that_cannot_be_opened_is_said(plain_world, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    gateway = serve(plain_world, feedback={"file": str(folder / "events.tsv")}, workers=1)

    def give(item):
        return gateway.post("/v1/feedback", {"user": "u", "item": item})

    folder.rmdir()
    assert give("first").status == 200, "nothing is known of it yet"
    until("the client is told", lambda: give("again").status == 503)
    reply = give("again")
    assert reply.error["code"] == "feedback_not_written" and "No such file or directory" in reply.error["message"], reply.body
    config = json.loads(gateway.file.read_text())
    for wrong, wanted in ((folder / "events.tsv", f"the folder '{folder}' is not there"), (tmp_path, f"'{tmp_path}' is a folder")):
        gateway.write({**config, "feedback": {"file": str(wrong)}})
        status, out, err = run("check", "-c", gateway.file)
        assert status == 1 and "feedback.file" in out + err and wanted in out + err, out + err

    other = tmp_path / "other.tsv"
    gateway.write({**config, "feedback": {"file": str(other)}})
    gateway.signal(signal.SIGHUP)
    until("another file is taken", lambda: give("other").status == 200)
    until("what goes there does not wait for the first", lambda: other.exists() and "other" in other.read_text())
    folder.mkdir()
    until("nothing is lost", lambda: (folder / "events.tsv").exists() and "first" in (folder / "events.tsv").read_text())


def tasks(gateway):
    return os.listdir(f"/proc/{gateway.pid}/task")


def stack(gateway, task):
    try:
        with open(f"/proc/{gateway.pid}/task/{task}/wchan") as f:
            return f.read()
    except OSError:
        return ""


def test_the_administrator_removes_a_users_history(plain_world, redis):
    socket, _ = redis
    gateway = serve(plain_world, admin=plain_world.admin(), tenants={"acme": {"keys": [ACME]}}, cache={"redis": {"servers": [f"unix:{socket}"], "timeout": "2s"}})
    until("Redis is used", lambda: gateway.metric("pointsman_redis_up") == 2)

    def first(user):
        return ids(recommend(gateway, ACME, user=user, n=1))[0]

    def forget(**query):
        reply = gateway.admin("DELETE", "/admin/decisions?" + urllib.parse.urlencode(query))
        return reply.status, reply.json().get("removed")

    head = {"Authorization": f"Bearer {ACME}"}
    for user in ("u", "v", "\u00fc|x"):
        assert gateway.post("/v1/feedback", {"user": user, "item": "item-1"}, head).status == 200
    until("all count", lambda: [first(u) for u in ("u", "v", "\u00fc|x")] == ["item-2"] * 3)
    assert forget(kind="all", prefix="")[0] == 200 and first("u") == "item-2", "what cannot be computed again is not among all"
    for query in ({"kind": "histories", "prefix": "", "user": "u"}, {"kind": "histories", "prefix": "acme|", "user": "u"},
                  {"kind": "histories", "prefix": "acme|catalogue", "user": "u"}, {"kind": "pins", "prefix": "acme|catalogue|", "user": "u"}):
        assert forget(**query)[0] == 400, query
    assert forget(kind="histories", prefix="acme|catalogue|", user="u") == (200, {"memory": 1, "redis": 1})
    assert [first(u) for u in ("u", "v", "\u00fc|x")] == ["item-1", "item-2", "item-2"]
    assert forget(kind="histories", prefix="acme|catalogue|", user="\u00fc|x") == (200, {"memory": 1, "redis": 1}) and first("\u00fc|x") == "item-1"
    assert forget(kind="histories", prefix="acme|") == (200, {"memory": 1, "redis": 1}) and first("v") == "item-1"


def test_a_full_disk_is_said(plain_world):
    gateway = serve(plain_world, feedback={"file": "/dev/full"}, workers=1)

    assert gateway.post("/v1/feedback", {"user": "u", "item": "x"}).status == 200, "it waits for room"
    until("it is said", lambda: gateway.log(level="error"))
    assert "feedback.file" in gateway.log(level="error")[0]["msg"]
    many = {"events": [{"user": "u" * 500, "item": "x" * 500}] * 1000}
    replies = [gateway.post("/v1/feedback", many).status for _ in range(6)]
    assert replies[0] == 200 and replies[-1] == 507, replies
    assert ids(recommend(gateway, user="u", n=1)) == ["item-1"]

# SPDX-License-Identifier: Apache-2.0
"""interests.so behind POST /v1/recommend, with real catalogues made by pointsman-train: known users, bare histories, wrong questions, and
another index folder under load."""
import os
import random
import shutil
import subprocess

import pytest

from harness import BUILD, ROOT, SANITIZED, until
from kept import Crowd, none_failed

TRAIN = BUILD / "routers" / "train" / "pointsman-train"
DEMO = ROOT / "configs" / "models" / "demo-interests"


@pytest.fixture(scope="module", autouse=True)
def has_interests():
    if not (BUILD / "routers" / "interests.so").exists():
        pytest.skip("built without FAISS")


def catalogue(folder, seed, users=150, items=120, kinds=6):
    """Users who take items of two kinds each; item iN is of kind N mod kinds."""
    draw = random.Random(seed)
    edges = folder / f"edges-{seed}.tsv"
    rows = ["user\titem\n"]
    for u in range(users):
        mine = draw.sample(range(kinds), 2)
        rows += {f"u{u}\ti{draw.randrange(items // kinds) * kinds + draw.choice(mine)}\n" for _ in range(25)}
    edges.write_text("".join(rows))
    for words in (["embed", "--edges", edges, "--out", folder / f"v-{seed}.safetensors", "--dim", "16", "--seed", seed],
                  ["interests", "--edges", edges, "--vectors", folder / f"v-{seed}.safetensors", "--out", folder / f"c-{seed}", "--cells", kinds * 2]):
        done = subprocess.run([TRAIN, *map(str, words)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    return folder / f"c-{seed}"


def serve(world, index, **sections):
    mock = world.experts("alpha")
    return world.gateway(world.config(mock, routers={"catalogue": {"plugin": "interests", "index": str(index)}, "one": {"plugin": "template", "expert": "alpha"}},
                                      routes={"auto": {"routers": ["one"]}, "items": {"routers": ["catalogue"], "deadline": "10s"}},
                                      admin=world.admin(), **sections))


def recommend(gateway, **body):
    reply = gateway.post("/v1/recommend", body)
    assert reply.status == 200, reply.body
    return reply.json()


def ids(answer):
    return [item["id"] for item in answer["items"]]


def test_a_user_is_recommended_more_of_the_same_kinds(plain_world, tmp_path):
    gateway = serve(plain_world, catalogue(tmp_path, 1))

    history = ["i0", "i6", "i12", "i18", "i24"]  # all of one kind
    got = ids(recommend(gateway, history=history, n=10))
    assert len(set(got)) == 10 and not set(got) & set(history), "nothing twice, nothing that was taken"
    assert sum(int(i[1:]) % 6 == 0 for i in got) >= 7, got
    assert set(ids(recommend(gateway, history=history, n=120, seen="keep"))) & set(history)
    answer = recommend(gateway, user="u3", n=20, explain=True)
    assert answer["interests"] and abs(sum(i["weight"] for i in answer["interests"]) - 1) < 0.05, answer["interests"]
    assert [i["score"] for i in answer["items"]] == sorted((i["score"] for i in answer["items"]), reverse=True)
    assert "interests" not in recommend(gateway, user="u3", n=1)
    allowed = ["i1", "i7", "i13", "nobody's"]
    assert set(ids(recommend(gateway, user="u3", n=5, allow=allowed))) <= set(allowed)
    first = ids(recommend(gateway, user="u3", n=5))
    assert first[0] not in ids(recommend(gateway, user="u3", n=5, deny=[first[0]])) and first[0] not in ids(recommend(gateway, user="u3", n=5, exclude=[first[0]]))
    assert [ids(one) for one in recommend(gateway, users=["u3", "u4"], n=5)["data"]] == [first, ids(recommend(gateway, user="u4", n=5))]


def test_feedback_moves_a_new_user_at_once(plain_world, tmp_path):
    gateway = serve(plain_world, catalogue(tmp_path, 2))

    popular = ids(recommend(gateway, user="new", n=10))
    for item in ("i1", "i7", "i13", "i19"):
        assert gateway.post("/v1/feedback", {"user": "new", "item": item}).status == 200
    got = ids(recommend(gateway, user="new", n=10))
    assert got != popular and not set(got) & {"i1", "i7", "i13", "i19"}
    assert sum(int(i[1:]) % 6 == 1 for i in got) > sum(int(i[1:]) % 6 == 1 for i in popular), (popular, got)


def test_wrong_questions(plain_world):
    gateway = serve(plain_world, DEMO)

    everything = len(ids(recommend(gateway, n=1000)))
    assert everything == 400, "more than the catalogue has: all of it"
    assert len(ids(recommend(gateway, user="nobody", history=["unknown", "unknown"], n=7))) == 7, "then what is popular"
    assert len(ids(recommend(gateway, history=["i1"] * 5000, n=3))) == 3
    assert recommend(gateway, allow=[], n=3)["items"] == []
    assert recommend(gateway, n=3, filter={"colour": "none has one"})["items"] == []
    for body in ({"n": 0}, {"seen": "maybe"}, {"filter": 3}, {"deny": [1]}, {"filter": {"price": 1.5}}, {"filter": {f"a{i}": 1 for i in range(17)}}):
        assert gateway.post("/v1/recommend", body).status == 400, body
    best = ids(recommend(gateway, user="u1", n=2))
    reply = gateway.post("/v1/recommend", b'{"user":"u1","n":5,"deny":["%s","%s"],"trace":18446744073709551616}' % tuple(i.encode() for i in best))
    assert not set(best) & set(ids(reply.json()))


def test_cut_and_foreign_files_are_refused(plain_world, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(DEMO, broken)
    gateway = serve(plain_world, broken)
    before = ids(recommend(gateway, n=5))
    whole = (broken / "catalogue.safetensors").read_bytes()

    for wrong in (whole[:-1], whole[:5000], b"", whole[:4096] + bytes(64) + whole[4160:], b"no safetensors at all"):
        replacement = broken / "new"
        replacement.write_bytes(wrong)
        os.rename(replacement, broken / "catalogue.safetensors")
        reply = gateway.admin("POST", "/admin/reload")
        assert reply.status == 422 and b"broken" in reply.body, reply.body
        assert ids(recommend(gateway, n=5)) == before, "nothing has changed"
    (broken / "new").write_bytes(whole)
    os.rename(broken / "new", broken / "catalogue.safetensors")
    assert gateway.admin("POST", "/admin/reload").status == 200


def test_a_file_that_is_spoilt_in_place_harms_nobody_until_it_is_loaded(plain_world, tmp_path):
    """Cut, written over, gone: under a mapping these were SIGBUS, or numbers that nobody had checked."""
    folder = tmp_path / "index"
    shutil.copytree(DEMO, folder)
    gateway = serve(plain_world, folder)
    before = ids(recommend(gateway, user="u1", n=50))
    file = folder / "catalogue.safetensors"
    size = file.stat().st_size

    for spoilt in (b"", b"\xff" * size, b"\0" * (2 * size)):
        with open(file, "r+b") as f:  # the same inode
            f.truncate(len(spoilt))
            f.write(spoilt)
        assert ids(recommend(gateway, user="u1", n=50)) == before
        assert gateway.admin("POST", "/admin/reload").status == 422
    file.unlink()
    assert ids(recommend(gateway, user="u1", n=50)) == before


class Askers(Crowd):
    """A crowd for /v1/recommend."""

    def _ask(self, gateway, body, headers):
        class Detour:
            def __init__(self, wire):
                self.wire = wire

            def request(self, method, _path, *rest):
                return self.wire.request(method, "/v1/recommend", *rest)

            def __getattr__(self, name):
                return getattr(self.wire, name)

        class Door:
            @staticmethod
            def wire():
                return Detour(gateway.wire())

        super()._ask(Door, body, headers)


@pytest.mark.slow
def test_another_folder_ten_times_under_load(plain_world, tmp_path):
    folders = [catalogue(tmp_path, 10), catalogue(tmp_path, 11)]
    index = tmp_path / "index"
    shutil.copytree(folders[0], index)
    gateway = serve(plain_world, index)
    names = set()

    def swap(n):
        fresh = tmp_path / f"fresh-{n}"
        shutil.copytree(folders[n % 2], fresh)
        os.rename(index, tmp_path / f"old-{n}")
        os.rename(fresh, index)
        reply = gateway.admin("POST", "/admin/reload")
        assert reply.status == 200, reply.body
        names.add(recommend(gateway, n=1, explain=True)["catalogue"])

    Askers(gateway, 500, lambda i: {"user": f"u{i % 150}", "n": 20}).end()
    swap(1)  # what the first ones leave behind stays
    swap(2)
    before = gateway.resident()
    crowd = Askers(gateway, 1 << 30, lambda i: {"user": f"u{i % 150}", "history": [f"i{i % 120}"], "n": 20})
    for n in range(3, 13):
        crowd.answered(len(crowd.answers) + 100)
        swap(n)
    crowd.stop()
    answers = crowd.end()
    none_failed(answers)
    assert len(answers) >= 1000 and len(names) == 2
    if not SANITIZED:  # which keep what was freed for a while
        until("the old ones are closed", lambda: gateway.resident() < before + (3 << 20), 30)
    assert gateway.chat("auto").status == 200

# SPDX-License-Identifier: Apache-2.0
"""`pointsman route -`: one line one prompt, as it is or as JSON."""
import json

from harness import run


def test_lines_that_are_json_stand_for_what_they_have(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("""
experts: {small: {endpoints: http://127.0.0.1:1/v1}, large: {endpoints: http://127.0.0.1:1/v1}}
routers: {r: {plugin: rules, rules: [{name: two lines, regex: "first\\nsecond", expert: large}, {name: long, min_messages: 3, expert: large}, {expert: small}]}}
""")
    lines = [
        ("first second", "small", True),
        (json.dumps({"prompt": "first\nsecond \u00fc"}), "large", None),
        (json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}), "large", None),
        (json.dumps({"messages": [{"role": "user", "content": "first\nsecond"}]}), "large", None),
        (json.dumps({"neither": "first\nsecond"}), "small", True),
        ('{"prompt": "first\\nsecond"', "small", True),
        ('{"prompt": 5}', "small", True),
    ]
    status, out, err = run("route", "-c", file, "-", stdin="".join(line + "\n" for line, _, _ in lines))
    assert status == 0, err
    told = [json.loads(line) for line in out.splitlines()]
    assert [(t["expert"], t.get("unsure")) for t in told] == [(expert, unsure) for _, expert, unsure in lines], told

    status, out, err = run("route", "-c", file, "-", stdin='{"messages": []}\n{"messages": "x"}\nok\n')
    assert status == 1 and len(out.splitlines()) == 1 and err.count("cannot be routed") == 2

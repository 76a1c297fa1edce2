# SPDX-License-Identifier: Apache-2.0
"""configs/chat.yaml as it ships: what people send, in all the shapes that it comes in."""
from harness import ROOT, free_port

EXPERTS = ("coder", "reasoner", "writer", "linguist", "large", "small")


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


FUNCTION = """def mean(values):
    total = 0
    for v in values:
        total += v
    return total / len(values)
"""
MANUAL = "You are the assistant of a law firm. Section 12: the tenant shall return the keys to the landlord, and the lessor may sue for damages. "
LEASE = "The tenant pays the rent on the first day of each month. The landlord keeps the house in repair. The deposit is two months' rent. "
WEATHER = [user("What's the weather in Paris tomorrow?"),
           {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}]},
           {"role": "tool", "tool_call_id": "c1", "content": '{"celsius": 14, "sky": "rain"}'}]

CASES = {
    "code alone": ([user(FUNCTION)], "coding", "coder"),
    "an error alone": ([user("Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    import yaml\nModuleNotFoundError: No module named 'yaml'")], "coding", "coder"),
    "very short": ([user("hi")], "smalltalk", "small"),
    "a sum": ([user("12 * 17 + 4")], "mathematics", "reasoner"),
    "a follow-up": ([user("Why does my Python program raise a KeyError when the dictionary is empty?"), said("Because the key is missing."), user("and why?")], "coding", "coder"),
    "thanks in between": ([user("What are the symptoms of diabetes?"), said("Thirst, among others."), user("ok"), said("Anything else?"), user("and for children?")], "medicine", "large"),
    "a system prompt of 20 kB": ([{"role": "system", "content": MANUAL * 150}, user("Write a Python function that reverses a list.")], "coding", "coder"),
    "tools were used": (WEATHER, "commands", "small"),
    "a document with its question behind it": ([user(LEASE * 80 + "\n\nCan my landlord keep my deposit under this contract?")], "law", "large"),
    "parts": ([user([{"type": "text", "text": "Translate into German:"}, {"type": "text", "text": "Where is the station?"}])], "languages", "linguist"),
    "a poem": ([user("Write a poem about the sea.")], "creative", "writer"),
    "an order": ([user("Set a timer for ten minutes.")], "commands", "small"),
    "German": ([user("Schreibe eine Funktion in Java, die eine Liste sortiert.")], "coding", "coder"),
    "Chinese": ([user("用 Python 写一个函数，把列表反转。")], "coding", "coder"),
}


def test_chat_yaml_takes_everything_to_where_it_belongs(plain_world):
    mock = plain_world.experts(*EXPERTS)
    port = free_port()
    env = {"PORT": str(port), **{f"{name.upper()}_URL": mock.url(name) for name in EXPERTS}}
    gateway = plain_world.gateway({"listen": {"address": f"127.0.0.1:{port}"}}, file=ROOT / "configs" / "chat.yaml", env=env)

    wrong = []
    for name, (messages, field, expert) in CASES.items():
        reply = gateway.post("/v1/chat/completions", {"model": "auto", "messages": messages})
        assert reply.status == 200, (name, reply.body)
        head = reply.headers
        if (head["x-pointsman-category"].split("/")[0], head["x-pointsman-expert"]) != (field, expert):
            wrong.append((name, head["x-pointsman-category"], head["x-pointsman-expert"], head["x-pointsman-reason"]))
    assert not wrong
    for text in ("zzzz qqqq xxxx", "", "asdf jkl qwer"):
        head = gateway.chat("auto", text).headers
        assert head["x-pointsman-category"].split("/")[0] == "general", (text, head)
    asked = {"model": "auto", "messages": CASES["a follow-up"][0]}
    assert gateway.post("/v1/route", asked).json()["expert"] == "coder"

# SPDX-License-Identifier: Apache-2.0
"""A configuration's mistakes: all in one run, each with its place, what was found and what would be right."""
import re

import pytest

from harness import ROOT, run

GOOD = """\
listen: 127.0.0.1:8080
experts:
  alpha:
    endpoints: [http://127.0.0.1:9001/v1]
routes:
  auto: {default: alpha}
"""


def check(tmp_path, text, env=None):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    status, out, err = run("check", "-c", file, env=env)
    return status, out + err


def test_a_good_file(tmp_path):
    status, said = check(tmp_path, GOOD)
    assert status == 0, said


def test_every_mistake_in_one_run_with_its_place(tmp_path):
    status, said = check(tmp_path, """\
lisden: 127.0.0.1:8080
workers: many
limits:
  body: -1
  heat_time: 3s
experts:
  alpha:
    endpoint: [http://127.0.0.1:9001/v1]
  beta:
    endpoints: [ftp://127.0.0.1/v1]
    breaker: {failures: 0.5}
routes:
  auto: {default: alfa, fallbacks: 10000}
""")
    assert status == 1
    for line, what in ((1, "lisden"), (2, "workers"), (4, "body"), (5, "heat_time"), (8, "endpoint"), (10, "ftp"), (11, "failures"),
                       (13, "alfa"), (13, "fallbacks")):
        assert re.search(rf"c\.yaml:{line}:\d+: .*{what}", said), f"line {line}: {what} is missing in\n{said}"
    for near in ("listen", "head_time", "endpoints"):
        assert re.search(rf"did you mean '{near}'", said), f"'{near}' was near\n{said}"
    assert re.search(r"'alfa'.*alpha", said), "what there is instead"


ONE = {
    "two keys alike": ("experts:\n  a: {endpoints: [http://h/v1]}\n  a: {endpoints: [http://h/v1]}\n", ":3:", "a"),
    "no expert": ("listen: 127.0.0.1:0\n", "", "expert"),
    "an endpoint without host": ("experts: {a: {endpoints: ['http:///v1']}}\n", ":1:", "endpoints"),
    "no endpoint": ("experts: {a: {endpoints: []}}\n", ":1:", "endpoints"),
    "a time without unit": ("limits: {head_time: soon}\nexperts: {a: {endpoints: [http://h/v1]}}\n", ":1:", "head_time"),
    "an address": ("listen: nowhere\nexperts: {a: {endpoints: [http://h/v1]}}\n", ":1:", "nowhere"),
    "a certificate that is not there": ("listen: {address: '127.0.0.1:0', tls: {certificate: no.pem, key: no.key}}\n"
                                        "experts: {a: {endpoints: [http://h/v1]}}\n", ":1:", "no.pem"),
    "a variable that is not set": ("experts: {a: {endpoints: [http://h/v1], key: '${NOT_SET_AT_ALL}'}}\n", ":1:", "NOT_SET_AT_ALL"),
    "a router without plugin": ("experts: {a: {endpoints: [http://h/v1]}}\nrouters: {r: {k: 5}}\n", ":2:", "plugin"),
    "a router that is not there": ("experts: {a: {endpoints: [http://h/v1]}}\nroutes: {auto: {routers: [r]}}\n", ":2:", "r"),
    "a route named like an expert": ("experts: {a: {endpoints: [http://h/v1]}}\nroutes: {a: {default: a}}\n", ":2:", "a"),
    "a short key": ("experts: {a: {endpoints: [http://h/v1]}}\ntenants: {t: {keys: [short]}}\n", ":2:", "keys"),
    "a header that breaks out": ('experts: {a: {endpoints: [http://h/v1], headers: ["X-A: 1\\r\\nHost: evil"]}}\n', ":1:", "headers"),
    "tabs": ("experts:\n\ta: 1\n", ":2:", ""),
    "a list": ("- 1\n- 2\n", ":1:", ""),
    "aliases without end": ("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                            "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", ":", ""),
    "binary": ("\x00\x01\x02", ":", ""),
    "nesting": ("a: " + "[" * 2000 + "]" * 2000 + "\n", ":", ""),
}


@pytest.mark.parametrize("mistake", ONE)
def test_one_mistake(tmp_path, mistake):
    text, place, names = ONE[mistake]
    status, said = check(tmp_path, text)
    assert status == 1 and f"c.yaml{place}" in said and names in said, said
    assert "nitializer" not in said


def test_variables(tmp_path):
    text = "listen: '${WHERE:-127.0.0.1:8080}'\nexperts: {alpha: {endpoints: ['${BACKEND}/v1']}}\n"

    assert check(tmp_path, text, {"BACKEND": "http://127.0.0.1:9001"})[0] == 0
    status, said = check(tmp_path, text, {"BACKEND": "nonsense"})
    assert status == 1 and "'${BACKEND}/v1'" in said and "nonsense" not in said, "by its name, since it may be a secret"


def test_a_file_that_is_not_there(tmp_path):
    status, out, err = run("check", "-c", tmp_path / "none.yaml")
    assert status == 1 and "none.yaml" in out + err


def test_serve_refuses_what_check_refuses(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(GOOD + "lisden: 1\n")
    status, out, err = run("serve", "-c", file)
    assert status == 1 and "lisden" in out + err


FILE = ROOT / "configs" / "minimal.yaml"
LINES = [
    # arguments, exit status, what is said
    ("version", 0, "router ABI"), ("--version", 0, "router ABI"), ("--help", 0, "pointsman COMMAND --help"), ("help", 0, "hash-key"),
    ("describe", 0, "| `listen`"), ("describe rules", 0, "# Router `rules`"), ("describe nosuch", 1, "no router 'nosuch'"),
    ("serve --help", 0, "--log logfmt|json"), ("decisions -h", 0, "$POINTSMAN_CONFIG"),
    (f"check -c {FILE}", 0, "in order"), (f"check -c{FILE}", 0, "in order"), (f"check --config={FILE}", 0, "in order"),
    (f"check --config {FILE}", 0, "in order"), ("check -c nosuch.yaml", 1, "nosuch.yaml: cannot be read"),
    ("", 2, "usage: pointsman COMMAND"), ("nonsense", 2, "no command 'nonsense'"),
    ("serve", 2, "serve: --config is required, as $POINTSMAN_CONFIG is not set; see pointsman serve --help"),
    ("serve -c", 2, "serve: -c needs a value"), (f"serve -c {FILE} --log=xml", 2, "--log: 'xml' is not one of logfmt|json"),
    (f"check --confg {FILE}", 2, "check: unknown option '--confg' - did you mean '--config'?"), ("check -x", 2, "unknown option '-x'"),
    (f"check -c {FILE} more", 2, "check: unexpected argument 'more'; see pointsman check --help"), ("version 1", 2, "unexpected argument '1'"),
    (f"decisions -c {FILE}", 2, "decisions: export|import is required"),
    (f"decisions -c {FILE} exprot", 2, "decisions: 'exprot' is not one of export|import"),
]


@pytest.mark.parametrize("arguments, wanted, said", LINES, ids=[line[0] or "nothing" for line in LINES])
def test_a_command_line(arguments, wanted, said):
    status, out, err = run(*arguments.split())
    assert (status, "") == (wanted, err if wanted == 0 else out) and said in out + err


def test_the_environment_names_the_configuration():
    for arguments in (["check"], ["check", "-c", ""]):
        status, out, _ = run(*arguments, env={"POINTSMAN_CONFIG": str(FILE)})
        assert status == 0 and str(FILE) in out


SECRET = "hunter2-s3cret-value"
URL = f"https://user:{SECRET}@api.example:99999/v1?key={SECRET}"
LEAKS = {
    "a password in an endpoint": (f"experts: {{a: {{endpoints: ['https://user:{SECRET}@host/v1']}}}}\n", "https://***@host/v1"),
    "a key in an endpoint": (f"experts: {{a: {{endpoints: ['https://host/v1?key={SECRET}&x=1']}}}}\n", "https://host/v1?***"),
    "an endpoint twice": (f"experts: {{a: {{endpoints: ['http://user:{SECRET}@h/v1', 'http://user:{SECRET}@h/v1']}}}}\n", "***@h"),
    "by plain what is https": (f"experts: {{a: {{transport: plain, endpoints: ['${{SECRET_URL}}']}}}}\n", "${SECRET_URL}"),
    "a whole endpoint from the environment": ("experts: {a: {endpoints: ['${SECRET_URL}']}}\n", "${SECRET_URL}"),
    "a part of one": ("experts: {a: {endpoints: ['ftp://host/${SECRET}/v1']}}\n", "ftp://host/${SECRET}/v1"),
    "cut in the middle": ("experts: {a: {endpoints: ['http://127.0.0.1:1/v1']}}\nroutes: {auto: {default: '${LONG}'}}\n", "${LONG}"),
    "a number": ("experts: {a: {endpoints: ['http://127.0.0.1:1/v1'], context: '${SECRET}'}}\n", "context"),
    "Redis's": (f"experts: {{a: {{endpoints: ['http://127.0.0.1:1/v1']}}}}\ncache: {{redis: {{servers: ['redis://:{SECRET}@host:1']}}}}\n", "***@host"),
    "a rule's expert": ("experts: {a: {endpoints: ['http://127.0.0.1:1/v1']}}\nrouters: {r: {plugin: rules, rules: [{expert: '${SECRET}'}]}}\n", "${SECRET}"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_no_secret_stands_in_a_message(tmp_path, name):
    text, shown = LEAKS[name]
    status, said = check(tmp_path, text, env={"SECRET": SECRET, "SECRET_URL": URL, "LONG": SECRET * 10})
    assert status == 1 and shown in said, said
    assert "hunter2" not in said and "s3cret" not in said, said


def test_nor_in_what_the_administrator_is_told(plain_world):
    mock = plain_world.experts("alpha")
    config = plain_world.config(mock, admin=plain_world.admin())
    gateway = plain_world.gateway(config)
    gateway.write({**config, "experts": {"alpha": {"endpoints": [f"https://user:{SECRET}@host/v1"]}}})
    reply = gateway.admin("POST", "/admin/reload")
    assert reply.status == 422 and b"***@host" in reply.body and b"hunter2" not in reply.body
    assert not [line for line in gateway.lines if "hunter2" in line]


# ---- lists that restrict ------------------------------------------------------------------------------------------------------

KEY = "sk-acme-0123456789abcdef"


def test_an_empty_list_is_none_and_check_says_so(plain_world):
    mock = plain_world.experts("alpha", "beta")
    routes = {"auto": {"default": "alpha"}, "nobody": {"experts": []}, "unasked": {"routers": [], "default": "beta"}}
    tenants = {"all": {"keys": [KEY + "1"]}, "no-experts": {"keys": [KEY + "2"], "experts": []}, "no-routes": {"keys": [KEY + "3"], "routes": []}}
    config = plain_world.config(mock, routes=routes, tenants=tenants, experts={"beta": {"apis": []}},
                                routers={"r": {"plugin": "rules", "rules": [{"tenants": [], "expert": "beta"}, {"keywords": [], "expert": "beta"},
                                                                            {"languages": [], "expert": "beta"}, {"models": [], "expert": "beta"}, {"expert": "alpha"}]}})
    gateway = plain_world.gateway(config)

    def ask(model, who=1):
        reply = gateway.chat(model, "Say something.", {"Authorization": f"Bearer {KEY}{who}"})
        return reply.status, reply.headers.get("x-pointsman-expert"), reply.headers.get("x-pointsman-decision")

    assert ask("auto") == (200, "alpha", "computed"), "one of none is none: no rule but the last holds"
    assert ask("nobody")[0] == 400 and ask("unasked") == (200, "alpha", "default"), "and beta answers nothing"
    assert ask("beta")[0] == 400
    assert ask("alpha", 2)[0] == 404 and ask("auto", 2)[0] == 400
    assert ask("auto", 3)[0] == 404 and ask("alpha", 3)[0] == 200
    models = {who: [m["id"] for m in gateway.get("/v1/models", {"Authorization": f"Bearer {KEY}{who}"}).json()["data"]] for who in (1, 2, 3)}
    assert set(models[1]) == {"auto", "nobody", "unasked", "alpha", "beta"} and set(models[2]) == {"auto", "nobody", "unasked"} and set(models[3]) == {"alpha", "beta"}

    status, _, err = run("check", "-c", gateway.file)
    assert status == 0, err
    for path in ("routes.nobody.experts", "routes.unasked.routers", "tenants.no-experts.experts", "tenants.no-routes.routes", "experts.beta.apis"):
        assert re.search(rf"{re.escape(path)}: is empty, so ", err), (path, err)
    assert len(re.findall(r"rule \d can never match: '(tenants|keywords|languages|models)' is empty", err)) == 4, err

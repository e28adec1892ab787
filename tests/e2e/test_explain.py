"""weir explain, and POST /explain: what a policy makes of a request, and that asking takes nothing."""

import json

import pytest

YAML = """version: 1
listen: 127.0.0.1:18080
client_ip: { trust: [10.0.0.0/8] }
upstreams:
  app: 127.0.0.1:3000
  named: { endpoints: ["nowhere.invalid:80", { addr: "127.0.0.1:3001", backup: true }] }
policies:
  per-client: { rate: 10/s, burst: 200, key: client.ip }
  per-key: { rate: 1/s, burst: 5, key: header.x-api-key, missing: deny }
routes:
  - { name: chat, match: { path: /v1/chat/completions, methods: [POST], hosts: [api.example.com] }, to: app,
      use: [per-client, per-key] }
  - { name: free, match: { path: /free }, to: named }
  - { name: rest, to: app, use: [per-client] }
"""


@pytest.fixture
def explain(run, policy):
    """explain(arguments...) is what it says as JSON."""
    path = policy(YAML)

    def go(*args):
        got = run("explain", "-c", path, "--format", "json", *args)
        assert got.returncode == 0, got.stderr + got.stdout
        return json.loads(got.stdout)

    return go


# ---- the command line: wrong usage first

WRONG = [
    ("no path", [], "needs a path"),
    ("two paths", ["/a", "/b"], "nothing to do with"),
    ("two methods", ["--method", "GET", "POST /a"], "method is given twice"),
    ("a field without a name", ["-H", "x", "/"], "name: value"),
    ("a field with white space", ["-H", "x : y", "/"], "name: value"),
    ("a line break", ["-H", "x: a\r\ny: b", "/"], "line break"),
    ("no address", ["--client", "here", "/"], "IP address"),
    ("no repetition", ["--repeat", "250", "/"], "250@50ms"),
    ("a repetition of nothing", ["--repeat", "0@1s", "/"], "250@50ms"),
    ("too many", ["--repeat", "1000001@1s", "/"], "at most"),
    ("no status", ["--repeat", "1@1s", "--answer", "99", "/"], "503@20ms"),
    ("an answer to nothing", ["--answer", "200", "/"], "--repeat"),
    ("no such format", ["--format", "yaml", "/"], "text or json"),
    ("no such option", ["--metod", "GET", "/"], "--method"),
]


@pytest.mark.parametrize("args,say", [r[1:] for r in WRONG], ids=[r[0] for r in WRONG])
def test_bad_usage(run, policy, args, say):
    got = run("explain", "-c", policy(YAML), *args)
    assert got.returncode == 2 and say in got.stderr and not got.stdout


def test_a_wrong_configuration_is_explained_by_its_errors(run, policy):
    got = run("explain", "-c", policy(YAML.replace("burst: 5", "brust: 5")), "/")
    assert got.returncode == 1 and "did you mean `burst`" in got.stderr


# ---- what it says

def test_text(run, policy):
    got = run("explain", "-c", policy(YAML), "-H", "x-api-key: k", "--client", "192.0.2.9",
              "POST http://api.example.com/v1/chat/completions?x=1")
    for words in ("POST /v1/chat/completions?x=1 of api.example.com, from 192.0.2.9", "goes on to upstream app",
                  "client.ip = 192.0.2.9", "header.x-api-key = k", "200 of 200 left now", "127.0.0.1:3000"):
        assert words in got.stdout, f"{words} not in\n{got.stdout}"


def test_which_route_and_why_not_the_others(explain):
    got = explain("--method", "PUT", "--host", "api.example.com", "/x")
    assert got["route"] == "rest"
    assert [(r["name"], r.get("differs")) for r in got["routes"]] == [("chat", "path"), ("free", "path"), ("rest", None)]
    got = explain("/v1/chat/completions")
    assert [r.get("differs") for r in got["routes"]] == ["method", "path", None]
    got = explain("POST /v1/chat/completions")
    assert [r.get("differs") for r in got["routes"]] == ["host", "path", None]


def test_who_refuses(explain):
    got = explain("POST http://api.example.com/v1/chat/completions")
    assert got["outcome"] == {"decision": "deny", "status": 403, "reason": "missing_key", "policy": "per-key"}
    assert [p["decision"] for p in got["policies"]] == ["allow", "deny"]


def test_a_request_that_no_client_may_send(explain):
    got = explain("/a/../../b")
    assert got["outcome"]["status"] == 400 and got["route"] is None


def test_whose_request_it_is(explain):
    got = explain("-H", "X-Forwarded-For: 192.0.2.7", "--from", "10.0.0.1", "/")
    assert got["request"]["client"] == "192.0.2.7" and got["request"]["peer"] == "10.0.0.1"


def test_names_are_not_looked_up(explain):
    got = explain("/free")
    assert [(e["address"], e["backup"]) for e in got["upstream"]["endpoints"]] == \
        [("nowhere.invalid:80", False), ("127.0.0.1:3001", True)]


def test_repeat(explain):
    got = explain("--repeat", "250@50ms", "-H", "x-api-key: k", "POST http://api.example.com/v1/chat/completions")
    r = got["repeat"]
    # 5 at once, then one a second of the twenty that come in it: 12.45 s
    assert (r["n"], r["admitted"], r["refused"]) == (250, 17, 233)
    assert r["first_refusal"] == 6
    assert r["calls"][0] == {"first": 1, "last": 5, "status": 200, "reason": "ok", "policy": None,
                             "retry_after_ms_max": 0, "wait_ms_max": 0}
    assert r["policies"]["per-key"] == {"allow": 17, "deny": 233, "shadow_deny": 0, "skip": 0}


def test_repeat_in_words(run, policy):
    got = run("explain", "-c", policy(YAML), "--repeat", "250@0s", "/")
    for words in ("1-200", "201-250", "429 rate_limited by per-client, Retry-After 1: 0.100 s",
                  "admitted 200, refused 50 (the first: call 201, at 0.000 s)"):
        assert words in got.stdout, f"{words} not in\n{got.stdout}"


# ---- the running process

def ask(w, body, **more):
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    return w.admin("/explain", body=(body if isinstance(body, bytes) else json.dumps(body).encode()),
                   headers=headers, **more)


def limited(weir, **more):
    return weir(policies={"p": {"rate": "1/h", "burst": 3, "key": "header.x-key"}}, use=["p"], serve=True, **more)


def test_the_door(weir):
    w = limited(weir)
    assert w.admin("/explain").status == 405
    assert w.admin("/explain", body=b"{}", headers={"Content-Type": "text/plain"}).status == 415
    assert ask(w, {"path": "/"}, headers={"Origin": "http://evil.example"}).status == 403
    for bad in (b"", b"{", b"[]", b"path: /", b'{"path":1}', b'{"path":"/","x":"y"}', b'{"path":"/","headers":["a"]}',
                b'{"path":"/","headers":{"a":1}}', b"{}", b'{"path":"/","client":"x"}', b'{"path":"/\\n"}'):
        r = ask(w, bad)
        assert r.status == 400 and r.body.strip(), bad
    assert ask(w, b" " * 70000).status == 413


def test_it_says_what_is_left_and_takes_nothing(weir):
    w = limited(weir)
    w.fetch(headers={"X-Key": "secret"})
    for _ in range(5):
        got = ask(w, {"path": "/", "headers": {"X-Key": "secret"}}).json()
        assert got["outcome"]["decision"] == "allow" and got["policies"][0]["remaining"] == 2
    assert [w.fetch(headers={"X-Key": "secret"}).status for _ in range(3)] == [200, 200, 429]
    assert w.metric("weir_limit_decisions_total", policy="p", decision="allow") == 3


def test_it_says_the_wait(weir):
    w = limited(weir)
    refused = [w.fetch(headers={"X-Key": "secret"}) for _ in range(4)][3]
    r = ask(w, {"path": "/", "method": "POST", "headers": {"X-Key": ["secret"]}})
    out = r.json()["outcome"]
    assert (out["decision"], out["status"], out["policy"]) == ("deny", 429, "p")
    assert 0 <= int(refused.get("retry-after-ms")) - out["retry_after_ms"] < 5000
    assert b"secret" not in r.body
    assert ask(w, {"path": "/", "headers": {"X-Key": "another"}}).json()["outcome"]["decision"] == "allow"


def test_the_key_is_the_one_of_the_access_log(weir):
    w = limited(weir)
    w.fetch(headers={"X-Key": "secret"})
    got = ask(w, {"path": "/", "headers": {"X-Key": "secret"}}).json()
    assert got["policies"][0]["key_hash"] == w.access()[0]["key.hash"]

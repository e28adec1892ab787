"""The command line: check, dump, diff, schema, version, nginx's hands; exit statuses and what is said."""

import json
import pathlib
import re

import pytest

from certificates import certs
from tokens import jwks, key

GOOD = """version: 1
listen: 127.0.0.1:8080
upstreams:
  app: 127.0.0.1:3000
policies:
  per-client: { rate: 100/s, burst: 200, key: client.ip }
routes:
  - to: app
    use: [per-client]
"""

# id, what replaces what, what must be said (regular expressions)
WRONG = [
    ("unknown key", "burst: 200", "brust: 200", [r"unknown key `brust`", r"did you mean `burst`", r":6:\d+"]),
    ("unknown section", "routes:", "rotues:", [r"`rotues`", r"did you mean `routes`", r":7:1\b"]),
    ("duplicate key", "burst: 200", "rate: 1/s", [r"rate", r"(?i)duplicate|twice"]),
    ("null section", "upstreams:\n  app: 127.0.0.1:3000\n", "upstreams:\n", [r"(?i)indent"]),
    ("unknown policy", "[per-client]", "[per-clent]", [r"per-clent", r"did you mean `per-client`", r":9:\d+"]),
    ("unknown upstream", "to: app", "to: ap", [r"`ap`", r"did you mean `app`"]),
    ("unset variable", "127.0.0.1:3000", "${NO_SUCH_VARIABLE}", [r"NO_SUCH_VARIABLE"]),
    ("missing secret", "127.0.0.1:3000", "\"${file:/no/such/file}\"", [r"/no/such/file"]),
    ("tab", "  app:", "\tapp:", [r"(?i)tab"]),
    ("two documents", "routes:", "---\nroutes:", [r"(?i)document"]),
    ("bad rate", "100/s", "100/parsec", [r"100/parsec|rate"]),
    ("rate of nothing", "100/s", "0/s", [r":6:\d+"]),
    ("burst of nothing", "burst: 200", "burst: 0", [r"burst"]),
    ("bare duration", "version: 1", "version: 1\nshutdown: { drain: 25 }", [r"(?i)unit"]),
    ("bad boolean", "version: 1", "version: 1\nroutes2: yes", [r"routes2"]),
    ("yes is not true", "key: client.ip", "key: client.ip, shadow: yes", [r"shadow|true"]),
    ("bad address", "127.0.0.1:8080", "127.0.0.1:808080", [r":2:\d+"]),
    ("bad key", "client.ip", "client.hat", [r"client\.hat|key"]),
    ("a store that is nowhere", "burst: 200", "burst: 200, store: redis", [r"redis"]),
    ("a policy of the future", "rate: 100/s, burst: 200, key: client.ip", "tokens: 50/m", [r"kind"]),
    ("a section of the future", "version: 1", "version: 1\nmirror: { to: 'http://x' }", [r"unknown key `mirror`"]),
    ("another version", "version: 1", "version: 2", [r"version"]),
    ("header bytes out of bounds", "version: 1", "version: 1\nlimits: { header_bytes: 100GiB }", [r"header_bytes"]),
    ("invalid UTF-8", "to: app", "to: \"\\x80\"", [r":8:\d+"]),
]


@pytest.mark.parametrize("old,new,say", [r[1:] for r in WRONG], ids=[r[0] for r in WRONG])
def test_check_says_what_is_wrong(run, policy, old, new, say):
    assert old in GOOD
    got = run("check", "-c", policy(GOOD.replace(old, new)))
    assert got.returncode == 1, got.stderr + got.stdout
    for pattern in [*say, r"weir\.yaml:\d+:\d+", r"\d+ errors?"]:
        assert re.search(pattern, got.stderr + got.stdout), f"{pattern} not in:\n{got.stderr}{got.stdout}"


def test_check_is_content(run, policy):
    got = run("check", "-c", policy(GOOD))
    assert got.returncode == 0, got.stderr


def test_all_errors_at_once(run, policy):
    text = GOOD.replace("burst:", "brust:").replace("to: app", "to: nobody").replace("listen:", "lissen:")
    got = run("check", "-c", policy(text))
    out = got.stderr + got.stdout
    lines = [int(x) for x in re.findall(r"weir\.yaml:(\d+):\d+", out)]
    assert {2, 6, 8} <= set(lines) and lines == sorted(lines), out


def test_gcc_format(run, policy):
    got = run("check", "-c", policy(GOOD.replace("burst", "brust")), "--format", "gcc")
    assert re.search(r"^\S*weir\.yaml:6:\d+: error: .*brust", got.stderr + got.stdout, re.M)


def test_json_format(run, policy):
    got = run("check", "-c", policy(GOOD.replace("burst", "brust")), "--format", "json")
    found = json.loads(got.stdout or got.stderr)[0]
    assert (found["line"], found["severity"], found["suggestion"]) == (6, "error", "burst")
    assert {"file", "column", "end_column", "code", "message", "path"} <= set(found)


def test_github_format(run, policy):
    got = run("check", "-c", policy(GOOD.replace("burst", "brust")), "--format", "github")
    assert re.search(r"^::error file=\S*weir\.yaml,line=6,col=\d+", got.stdout + got.stderr, re.M)


def test_strict_turns_warnings_into_3(run, policy):
    path = policy(GOOD.replace("policies:", "policies:\n  unused: { rate: 1/s }"))
    assert run("check", "-c", path).returncode == 0
    assert run("check", "-c", path, "--strict").returncode == 3


def codes(got):
    return sorted({found["code"] for found in json.loads(got.stdout)})


def test_production_is_asked_for(run, policy):
    path = policy(GOOD.replace("100/s", "100/s, shadow: true"))
    assert run("check", "-c", path, "--strict").returncode == 0
    got = run("check", "-c", path, "--strict", "--production")
    assert got.returncode == 3 and "[W207]" in got.stderr and re.search(r"weir\.yaml:6:\d+", got.stderr)
    assert codes(run("check", "-c", path, "--production", "--format", "json")) == ["W202", "W207"]
    accepted = policy("accept: [W202, W207]\n" + path.read_text())
    assert run("check", "-c", accepted, "--strict", "--production").returncode == 0


def test_grace_is_what_a_shutdown_has(run, policy):
    path = policy("accept: [W202]\nshutdown: { delay: 5s, drain: 20s }\n" + GOOD)
    assert run("check", "-c", path, "--strict", "--production", "--grace", "26s").returncode == 0
    assert codes(run("check", "-c", path, "--production", "--grace", "25s", "--format", "json")) == ["W220"]
    for args in (["--grace", "26s"], ["--production", "--grace", "26"]):
        assert run("check", "-c", path, *args).returncode == 2


def test_production_looks_into_certificates(run, policy):
    pem = certs().file("month.pem")
    path = policy(GOOD.replace("127.0.0.1:8080", f"{{ addr: 0.0.0.0:8443, tls: {{ cert: {pem} }} }}"))
    assert codes(run("check", "-c", path, "--format", "json")) == []
    assert codes(run("check", "-c", path, "--production", "--format", "json")) == ["W208"]


WARNINGS = [
    ("unused policy", "policies:", "policies:\n  spare: { rate: 1/s }", "spare"),
    ("unused upstream", "upstreams:", "upstreams:\n  spare: 127.0.0.1:1", "spare"),
    ("shadowed route", "routes:", "routes:\n  - { name: all, to: app }", "(?i)shadow|never"),
    ("burst below a second", "burst: 200", "burst: 20", "burst"),
    ("a key anyone can set", "key: client.ip", "key: header.x-user", "(?i)header"),
    ("admin off loopback", "version: 1", "version: 1\nadmin: { listen: 0.0.0.0:9901 }", "(?i)token"),
]


@pytest.mark.parametrize("old,new,say", [r[1:] for r in WARNINGS], ids=[r[0] for r in WARNINGS])
def test_warnings(run, policy, old, new, say):
    got = run("check", "-c", policy(GOOD.replace(old, new)))
    out = got.stderr + got.stdout
    assert got.returncode == 0 and "warning" in out and re.search(say, out), out


def test_an_alias_bomb_is_an_error(run, policy):
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi"))
    got = run("check", "-c", policy(GOOD + text), timeout=20)
    assert got.returncode == 1 and got.stderr + got.stdout


def test_deep_nesting_is_an_error(run, policy):
    assert run("check", "-c", policy(GOOD + "x: " + "[" * 5000 + "]" * 5000)).returncode == 1


def test_nul_is_an_error(run, tmp_path):
    (tmp_path / "weir.yaml").write_bytes(GOOD.encode().replace(b"app", b"a\0p"))
    assert run("check", "-c", tmp_path / "weir.yaml").returncode == 1


def test_a_directory_is_an_error(run, tmp_path):
    assert run("check", "-c", tmp_path).returncode == 1


def test_variables(run, policy):
    text = GOOD.replace("100/s", "\"${RATE:-100/s}\"").replace("3000", "${PORT}")
    assert run("check", "-c", policy(text), env={"PORT": "3001"}).returncode == 0
    out = run("dump", "-c", policy(text), env={"PORT": "3001", "RATE": "7/s"}).stdout
    assert "127.0.0.1:3001" in out and "7/s" in out


def test_variables_are_not_yaml(run, policy):
    got = run("check", "-c", policy(GOOD.replace("100/s", "\"${RATE}\"")), env={"RATE": "1/s, burst: 5"})
    assert got.returncode == 1


def test_includes(run, policy):
    policy("policies: { extra: { rate: 5/s } }\n", "policies.d/b.yaml")
    policy("upstreams: { other: 127.0.0.1:4000 }\n", "policies.d/a.yaml")
    out = run("dump", "-c", policy("include: [policies.d/*.yaml]\n" + GOOD))
    assert out.returncode == 0 and "extra" in out.stdout and "127.0.0.1:4000" in out.stdout, out.stderr


def test_a_name_defined_twice_names_both_places(run, policy):
    policy("policies: { per-client: { rate: 5/s } }\n", "policies.d/b.yaml")
    got = run("check", "-c", policy("include: [policies.d/*.yaml]\n" + GOOD))
    out = got.stderr + got.stdout
    assert got.returncode == 1 and "b.yaml" in out and "weir.yaml" in out


def test_an_include_of_itself_ends(run, policy):
    got = run("check", "-c", policy("include: [weir.yaml]\n" + GOOD), timeout=20)
    assert got.returncode == 1


# ---- dump, diff, schema

def test_dump_is_a_fixed_point(run, policy):
    one = run("dump", "-c", policy(GOOD))
    assert one.returncode == 0 and "burst: 200" in one.stdout
    two = run("dump", "-c", policy(one.stdout, "again.yaml"))
    assert two.stdout == one.stdout, two.stderr


def test_dump_as_json_fills_in_defaults(run, policy):
    got = json.loads(run("dump", "-c", policy(GOOD), "--format", "json").stdout)
    assert got["policies"]["per-client"]["burst"] == 200
    assert got["routes"][0]["max_body"] and got["limits"]["headers"] == 100


def test_dump_redacts_secrets(run, policy):
    policy("hunter2\n", "secret")
    path = policy(GOOD.replace("to: app", "to: app\n    set: { authorization: \"Bearer ${file:%s}\" }"
                               % (policy("hunter2\n", "secret"))))
    for form in ("yaml", "json"):
        got = run("dump", "-c", path, "--format", form)
        assert got.returncode == 0 and "hunter2" not in got.stdout and "<redacted>" in got.stdout


def test_diff(run, policy):
    old = policy(GOOD, "old.yaml")
    new = policy(GOOD.replace("100/s", "300/s") + "  - { name: extra, match: { path: /x }, to: app }\n", "new.yaml")
    got = run("diff", old, new)
    assert re.search(r"per-client.*rate.*100/s.*300/s", got.stdout) and "extra" in got.stdout
    assert run("diff", old, old).stdout.strip() in ("", "no differences") or "no " in run("diff", old, old).stdout


def test_schema(run):
    got = run("schema")
    schema = json.loads(got.stdout)
    assert "draft-07" in schema["$schema"]
    assert {"version", "listen", "upstreams", "policies", "routes"} <= set(schema["properties"])


# ---- the rest

def test_version(run):
    assert re.search(r"\d+\.\d+\.\d+", run("version").stdout)
    assert {"version", "revision", "libevent", "libyaml"} <= set(json.loads(run("version", "--json").stdout))


@pytest.mark.parametrize("flag", ["-v", "-V"])
def test_nginx_version(run, flag):
    got = run(flag)
    assert got.returncode == 0 and re.search(r"\d+\.\d+\.\d+", got.stdout + got.stderr)


def test_nginx_t(run, policy):
    assert run("-t", "-c", policy(GOOD)).returncode == 0
    assert run("-t", "-c", policy(GOOD.replace("burst", "brust"))).returncode == 1
    assert run("-t", "-q", "-c", policy(GOOD)).stderr == ""


def test_nginx_T(run, policy):
    got = run("-T", "-c", policy(GOOD))
    assert got.returncode == 0 and "per-client" in got.stdout


@pytest.mark.parametrize("args", [(), ("no-such-command",), ("check", "--no-such-flag"),
                                  ("check", "-c"), ("dump", "--format", "xml", "-c", "x"), ("diff", "one")])
def test_bad_usage_is_2(run, args):
    got = run(*args)
    assert got.returncode == 2 and got.stderr


@pytest.mark.parametrize("args", [("help",), ("help", "run"), ("help", "check"), ("--help",)])
def test_help(run, args):
    got = run(*args)
    assert got.returncode == 0 and "weir" in got.stdout


def test_no_colour_when_not_a_terminal(run, policy):
    got = run("check", "-c", policy(GOOD.replace("burst", "brust")))
    assert "\x1b" not in got.stderr + got.stdout


EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "conf/examples"


@pytest.fixture
def mounts(tmp_path):
    """A folder with what is mounted beside a configuration."""
    certs().file("server.pem")
    for name, made in (("tls.crt", "server.pem"), ("tls.key", "server.pem.key"), ("ca.crt", "ca.pem")):
        (tmp_path / name).symlink_to(certs().path(made))
    (tmp_path / "jwks.json").write_text(jwks(key("ES256")))
    return str(tmp_path)


def expect_fine(got):
    assert got.returncode == 0 and "0 warnings" in got.stdout + got.stderr, got.stderr


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.name)
def test_examples_load(run, mounts, path):
    expect_fine(run("check", "-c", path, env={"TLS_DIR": mounts, "JWKS_DIR": mounts}))


# What each of them leaves out, since it is about something else; the others are as they would be in production.
LEFT_OUT = {
    "full.yaml": ["W204", "W207", "W210", "W212", "W215"],  # all that there is, the bad with the good
    "minimal.yaml": ["W202"], "quickstart.yaml": ["W202"],  # for a laptop: all calls come from it
    "redis.yaml": ["W212", "W213"],
    "routes.yaml": ["W202", "W204"],
}
DEPLOYED = ["kubernetes/base", "kubernetes/overlays/redis", "container", "package"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")) + [EXAMPLES.parents[1] / "deploy" / d / "weir.yaml" for d in DEPLOYED],
                         ids=lambda p: f"{p.parent.name}/{p.name}")
def test_production_is_content_with_what_is_to_be_copied(run, mounts, path):
    got = run("check", "-c", path, "--production", "--format", "json", env={"TLS_DIR": mounts, "JWKS_DIR": mounts, "REDIS_PASSWORD": "x"})
    assert codes(got) == LEFT_OUT.get(path.name, []), got.stdout


def test_what_the_readme_shows_loads(run, policy, mounts):
    text = (EXAMPLES.parents[1] / "README.md").read_text()
    shown = re.findall(r"```yaml\n(version: 1\n.*?)```", text, re.S)
    assert len(shown) == 2
    for yaml in shown:
        expect_fine(run("check", "-c", policy(re.sub(r"/(tls|jwks)/(?=\w)", mounts + "/", yaml))))

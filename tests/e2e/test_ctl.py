"""weir ctl, its completion and its manual pages."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import termios

import pytest

import harness
from harness import until


@pytest.fixture
def ctl(run):
    """ctl(w, "status"): asks that Weir."""
    def go(w, *args, env=None, admin=None):
        return run("ctl", *args, "--admin", admin or f"http://{w.admin_addr}", env=env)

    return go


def busy(weir, **more):
    return weir(serve=True, policies={"p": {"rate": "2/h", "burst": 2, "key": "header.x-user"}, "guard": {"breaker": 5}},
                use=["p", "guard"], **more)


# ---- what does not work

def test_nobody_answers(run):
    r = run("ctl", "status", "--admin", f"http://127.0.0.1:{harness.free_port()}")
    assert r.returncode == 1 and "no answer" in r.stderr and not r.stdout


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://127.0.0.1", "http://127.0.0.1:1/path", "unix:"])
def test_what_is_no_listener(run, url):
    r = run("ctl", "status", "--admin", url)
    assert r.returncode == 1 and r.stderr.startswith("weir: ")


@pytest.mark.parametrize("args", [
    [], ["stauts"], ["key"], ["breaker", "p", "app"], ["upstream", "app"], ["upstream", "app", "x", "--weight", "much"],
    ["log-level", "--for", "1s"], ["events", "--since", "x"], ["top", "--interval", "0"], ["top", "--interval", "1h"], ["explain"],
    ["explain", "/", "-H", "novalue"], ["drain", "now"], ["reload", "--what"]])
def test_bad_usage(run, args):
    assert run("ctl", *args, env={"WEIR_ADMIN": "http://127.0.0.1:1"}).returncode == 2


def test_what_answers_is_no_weir(run, upstreams):
    u, = upstreams(1)
    u.serve(lambda r: harness.response(200, b"<html>"))
    r = run("ctl", "status", "--admin", f"http://{u.addr}")
    assert r.returncode == 1 and "no Weir" in r.stderr


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\n", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
def test_an_answer_that_is_none(binary, upstreams, raw):
    u, = upstreams(1)
    with subprocess.Popen([binary, "ctl", "drain", "--admin", u.addr], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as p:
        wire = u.expect_request("POST /drain").wire
        wire.send(raw), wire.close()
        assert b"weir: no answer" in p.communicate(timeout=2 * harness.TIMEOUT)[1] and p.returncode == 1


def test_orders_that_are_refused(weir, ctl):
    w = busy(weir)
    for args in (["key", "nobody", "x"], ["breaker", "guard", "app", "shut"], ["upstream", "app", "nowhere", "drain"],
                 ["log-level", "loud"], ["drain", "--for", "31d"], ["limits", "p", "--top", "0"], ["key", "p"]):
        r = ctl(w, *args)
        assert r.returncode == 1 and r.stderr.startswith("weir: ") and not r.stdout, args


def test_a_refusal_for_scripts(weir, ctl):
    r = ctl(busy(weir), "key", "nobody", "x", "--json")
    assert r.returncode == 1 and json.loads(r.stdout)["status"] == 404


def test_a_refusal_for_people(run, upstreams):
    u, = upstreams(1)
    u.serve(lambda r: harness.response(409, b'{"error":"a reload is \\u001b[2J under way"}', headers={"Content-Type": "application/json"}))
    assert run("ctl", "reload", "--admin", f"http://{u.addr}").stderr == "weir: a reload is ?[2J under way (409)\n"


def test_who_does_not_answer_is_named(run, tmp_path):
    assert f"no answer from unix:{tmp_path}/none: No such" in run("ctl", "status", "--admin", f"unix:{tmp_path}/none").stderr
    assert "/etc/weir/weir.yaml" in run("ctl", "status", env={"WEIR_ADMIN": "", "WEIR_ADMIN_TOKEN": ""}).stderr


# ---- who may

def test_a_name_may_be_of_several_addresses(weir, ctl):
    w = weir()
    assert ctl(w, "status", admin=f"http://localhost:{w.admin_addr.rpartition(':')[2]}").returncode == 0


def test_tokens(weir, ctl, tmp_path):
    admin = {"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "token": "s3cret"}
    w = weir(admin=admin, checks=False)
    (tmp_path / "token").write_text("s3cret\n")
    assert (r := ctl(w, "status", admin=addr)).returncode == 1 and r.stderr == "weir: the admin token is needed: Authorization: Bearer ... (401)\n"
    assert ctl(w, "status", admin=addr, env={"WEIR_ADMIN_TOKEN": "wrong"}).returncode == 1
    assert ctl(w, "status", admin=addr, env={"WEIR_ADMIN_TOKEN": "s3cret"}).returncode == 0
    assert ctl(w, "status", "--token-file", tmp_path / "token", admin=addr).returncode == 0


def test_the_configuration_says_whom_to_ask(weir, run):
    w = weir(admin={"listen": f"127.0.0.1:{harness.free_port()}", "token": "s3cret"}, checks=False)
    assert "is healthy" in run("ctl", "status", "-c", w.path).stdout


def test_over_a_unix_socket(weir, ctl, tmp_path):
    path = f"unix:{tmp_path}/admin.sock"
    w = weir(serve=True, admin={"listen": path}, checks=False)
    assert "is healthy" in ctl(w, "status", admin=path).stdout
    assert "draining by order" in ctl(w, "drain", admin=path).stdout and w.probe("/ready").status == 503


@pytest.mark.parametrize("args", ["status", "limits", "limits p", "key p x", "breaker", "upstream", "drain", "undrain", "reload", "log-level",
                                  "events", "explain /", "config", "top"])
def test_all_of_it_for_scripts(weir, ctl, args):
    w = busy(weir)
    w.allow("drain")
    r = ctl(w, *args.split(), "--json")
    assert r.returncode == 0 and json.loads(r.stdout) and not r.stderr


def test_a_reader_that_has_gone(weir, binary):
    w = busy(weir)
    for args in (["status"], ["config"], ["events", "-f"]):
        p = subprocess.Popen([binary, "ctl", *args, "--admin", w.admin_addr], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdout.close()
        assert p.wait(2 * harness.TIMEOUT) in (-signal.SIGPIPE, 1) and p.stderr.read().count(b"\n") <= 1
        p.stderr.close()


# ---- what it shows and does

def test_status(weir, ctl):
    w = busy(weir)
    w.statuses(4)
    out = ctl(w, "status").stdout
    assert re.search(r"weir \S+ is healthy, up ", out) and re.search(r"ROUTE +IN-FLIGHT[^~]*\napp +0 +2 +0 +0 +2 ", out)
    both = json.loads(ctl(w, "status", "--json").stdout)
    assert both["health"]["status"] == "healthy" and both["stats"]["ready"]


def test_status_of_one_that_is_unwell(weir, ctl):
    w = weir(upstreams={"app": "127.0.0.1:1"}, serve=False)
    ctl(w, "upstream", "app", "127.0.0.1:1", "down")
    r = ctl(w, "status")
    assert r.returncode == 1 and "unhealthy" in r.stdout


def test_limits_and_keys(weir, ctl):
    w = busy(weir)
    for _ in range(5):
        w.fetch(headers={"X-User": "ann"})
    digest = re.search(r"p +([0-9a-f]{16}) +3\n", ctl(w, "limits", "p").stdout)[1]
    assert "0 of 2" in ctl(w, "key", "p", "ann").stdout
    assert "2 of 2" in ctl(w, "key", "p", "--hash", digest, "--reset").stdout
    assert w.fetch(headers={"X-User": "ann"}).status == 200
    assert json.loads(ctl(w, "limits", "--top", "3", "--json").stdout)["limits"][0]["top"][0]["hash"] == digest


def test_a_key_that_looks_like_an_option(weir, run):
    w = busy(weir)
    w.fetch(headers={"X-User": "--reset"})
    assert "1 of 2" in run("ctl", "key", "--admin", w.admin_addr, "--", "p", "--reset").stdout
    assert run("ctl", "key", "--admin", w.admin_addr, "p", "--rset").returncode == 2


def test_breakers(weir, ctl):
    w = busy(weir)
    w.allow("breaker")
    assert re.search(r"guard +app +\S+ +open +by order", ctl(w, "breaker", "guard", "app", "open", "--for", "1h").stdout)
    assert w.fetch().status == 503
    assert re.search(r"guard +app +\S+ +half_open +no", ctl(w, "breaker", "guard", "app", w.upstream.addr, "auto").stdout)
    assert w.fetch().status == 200 and re.search(r"guard +app +\S+ +closed +no", ctl(w, "breaker").stdout)


def test_upstreams(weir, ctl):
    w = busy(weir)
    addr = w.upstream.addr
    assert re.search(rf"app +{addr} +drain +7\n", ctl(w, "upstream", "app", addr, "drain", "--weight", "7").stdout)
    assert re.search(rf"app +{addr} +drain +7 ", ctl(w, "upstream").stdout)
    assert re.search(rf"app +{addr} +up +7\n", ctl(w, "upstream", "app", addr, "up").stdout)


def test_drain(weir, ctl):
    w = weir()
    assert "draining by order" in ctl(w, "drain", "--for", "1h").stdout and w.probe("/ready").status == 503
    assert "not draining" in ctl(w, "undrain").stdout and w.probe("/ready").status == 200


def test_reload(weir, ctl):
    w = busy(weir)
    assert "nothing has changed" in ctl(w, "reload").stdout
    w.write(policies={"p": {"rate": "3/h", "key": "header.x-user"}, "guard": {"breaker": 5}})
    assert "generation 3 is in force" in (out := ctl(w, "reload").stdout) and "rate" in out


def test_reload_of_nonsense(weir, ctl):
    w = busy(weir)
    w.allow("reload|error")
    w.write(policies={"p": {"brust": 5}})
    r = ctl(w, "reload")
    assert r.returncode == 1 and re.search(r"weir\.yaml:\d+:\d+: error\[E\d+\]", r.stdout) and "stays in force" in r.stdout
    assert json.loads(ctl(w, "reload", "--json").stdout)["diagnostics"]


def test_log_level(weir, ctl):
    w = weir()
    assert "debug, by order" in ctl(w, "log-level", "debug", "--for", "10m").stdout
    assert "debug" in ctl(w, "log-level").stdout
    assert ctl(w, "log-level", "auto").stdout == "info\n"


def test_events(weir, ctl):
    w = weir()
    until(lambda: "is ready" in ctl(w, "events").stdout, "the start is told")
    all_ = json.loads(ctl(w, "events", "--json").stdout)["events"]
    assert ctl(w, "events", "--since", all_[-1]["seq"]).stdout.count("\n") == 1


def test_events_are_followed(weir, binary, ctl, tmp_path):
    w = weir()
    with open(tmp_path / "out", "wb") as out:
        p = subprocess.Popen([binary, "ctl", "events", "-f", "--json", "--admin", w.admin_addr], stdout=out)
    try:
        ctl(w, "log-level", "warn")
        until(lambda: "by order" in (tmp_path / "out").read_text(), "it came")
    finally:
        p.terminate(), p.wait()
    assert all(json.loads(x)["seq"] for x in (tmp_path / "out").read_text().splitlines())


def test_followers_hear_of_the_end(weir, binary):
    w = weir()
    p = subprocess.Popen([binary, "ctl", "events", "-f", "--admin", w.admin_addr], stdout=subprocess.PIPE)
    p.stdout.readline()
    w.signal(signal.SIGTERM)
    assert w.wait_exit() == 0 and p.wait(2 * harness.TIMEOUT) in (0, 1)
    p.stdout.close()


def test_explain(weir, ctl):
    w = busy(weir)
    out = ctl(w, "explain", "/x?y=1", "--method", "POST", "-H", "x-user: ann", "--client", "10.0.0.9").stdout
    assert "route" in out and "app" in out and "p" in out
    assert json.loads(ctl(w, "explain", "/", "--json").stdout)


def test_config(weir, ctl):
    assert "routes:" in ctl(weir(), "config").stdout


def test_text_of_others_does_not_drive_the_terminal(run, upstreams):
    u, = upstreams(1)
    body = json.dumps({"events": [{"seq": 1, "time": "t", "level": "warn", "text": "\x1b[2J\x07evil\u009b2J"}]}).encode()
    u.serve(lambda r: harness.response(200, body, headers={"Content-Type": "application/json"}))
    out = run("ctl", "events", "--admin", f"http://{u.addr}").stdout
    assert "evil" in out and not set("\x1b\x07\x9b") & set(out)


@pytest.mark.parametrize("command", ["status", "events"])
def test_an_impostor_does_not_drive_the_terminal(run, upstreams, command):
    u, = upstreams(1)
    evil = "\x1b[2J\x9b\u202e"
    body = json.dumps({"events": [{"seq": 1, "time": evil, "level": evil, "text": evil}], "status": evil, "version": evil, "routes": [{"route": evil}],
                       "checks": [{"name": evil, "status": evil, "message": evil}], "config": {"sha256": evil * 4}}).encode()
    u.serve(lambda r: harness.response(200, body, headers={"Content-Type": "application/json"}))
    out = run("ctl", command, "--admin", f"http://{u.addr}").stdout
    assert "?[2J" in out and not set("\x1b\x9b\u202e") & set(out)


# ---- top

def test_top_once(weir, ctl):
    w = busy(weir)
    w.statuses(5)
    out = ctl(w, "top", "--once", "--interval", "0.2").stdout
    for head in ("ROUTE", "POLICY", "REFUSED-MOST", "UPSTREAM"):
        assert head in out, out
    assert set(json.loads(ctl(w, "top", "--json").stdout)) == {"stats", "limits", "breakers"}


def read_all(fd):
    seen = b""
    while select.select([fd], [], [], 0)[0]:
        seen += os.read(fd, 65536)
    return seen


class Terminal:
    """A terminal of 40 lines with `weir ctl top` on it."""

    def __init__(self, binary, w, size=(40, 100), **env):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, size)
        self.before = termios.tcgetattr(slave)
        self.slave, self.seen = slave, b""
        self.proc = subprocess.Popen([binary, "ctl", "top", "--interval", "0.2", "--admin", w.admin_addr], stdin=slave,
                                     stdout=slave, stderr=slave, start_new_session=True, env={**os.environ, **env})

    def read(self):
        self.seen += read_all(self.master)
        return self.seen

    def wait(self, mark):
        until(lambda: mark in self.read(), f"{mark} on the terminal")

    def end(self):
        until(lambda: self.read() and self.proc.poll() is not None, "it ended")
        self.read()
        same = termios.tcgetattr(self.slave)[:4] == self.before[:4]
        os.close(self.master), os.close(self.slave)
        return self.proc.returncode, same and self.seen.rstrip().endswith(b"\x1b[?1049l")


@pytest.mark.parametrize("end", [b"q", signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_top_gives_the_terminal_back(weir, binary, end):
    w = busy(weir)
    t = Terminal(binary, w)
    t.wait(b"ROUTE")
    os.write(t.master, end) if isinstance(end, bytes) else t.proc.send_signal(end)
    assert t.end() == (0, True)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (500, 2000), (65535, 65535), (0, 0)])
def test_top_on_terminals_of_any_size(weir, binary, size):
    t = Terminal(binary, busy(weir), size)
    t.wait(b"\x1b[J")
    termios.tcsetwinsize(t.slave, (24, 80)), t.proc.send_signal(signal.SIGWINCH)
    t.wait(b"ROUTE")
    os.write(t.master, b"q")
    assert t.end() == (0, True)


def test_top_ends_with_its_terminal(weir, binary):
    t = Terminal(binary, busy(weir))
    t.wait(b"ROUTE")
    os.close(t.slave), os.close(t.master)
    assert t.proc.wait(2 * harness.TIMEOUT) == 0


def test_keys_that_mean_nothing_ask_for_nothing(weir, binary):
    w = busy(weir)
    t = Terminal(binary, w)
    t.wait(b"ROUTE")
    os.write(t.master, b" "), t.wait(b"HALTED")
    asked = w.metric("weir_connections_total", listener=w.admin_addr)
    os.write(t.master, b"xyz" * 20 + b"q")
    assert t.end() == (0, True) and w.metric("weir_connections_total", listener=w.admin_addr) == asked


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_output_where_that_is_wanted(weir, binary, env):
    t = Terminal(binary, busy(weir), **env)
    t.wait(b"ROUTE")
    os.write(t.master, b"q")
    until(lambda: t.read() and t.proc.poll() == 0, "it ended")
    assert b"\x1b[1m" not in t.seen and ("TERM" not in env or b"\x1b" not in t.seen)


def test_top_is_live(weir, binary):
    w = busy(weir)
    t = Terminal(binary, w)
    t.wait(b"guard")
    w.statuses(4)
    t.wait(b"REFUSED-MOST")
    os.write(t.master, b" "), t.wait(b"HALTED"), os.write(t.master, b" +"), t.wait(b"every 0.4 s"), os.write(t.master, b"q")
    assert t.end() == (0, True)


def test_top_ends_when_weir_does(weir, binary):
    w = busy(weir)
    t = Terminal(binary, w)
    t.wait(b"ROUTE")
    w.signal(signal.SIGTERM)
    assert w.wait_exit() == 0
    t.wait(b"answers no more")
    until(lambda: t.proc.poll() == 1, "it ended")


# ---- completion and manual pages

def complete(run, *words):
    code = run("completion", "bash").stdout + f"""
COMP_WORDS=({' '.join(repr(w) for w in ("weir", *words))}); COMP_CWORD={len(words)}; _weir; printf '%s\\n' "${{COMPREPLY[@]}}"\n"""
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("words, want", [
    (("ch",), {"check"}), (("ctl", "un"), {"undrain"}), (("ctl", "log"), {"log-level"}), (("check", "--format", ""), {"human", "gcc", "json", "github"}),
    (("check", "--st"), {"--strict"}), (("ctl", "top", "--on"), {"--once"}), (("run", "--rate", ""), set()), (("completion", "z"), {"zsh"}), (("ctl", "log-level", "de"), {"debug"}),
    (("ctl", "breaker", "p", "app", ""), {"open", "closed", "auto"}), (("man", "weir.y"), {"weir.yaml.5"})])
def test_bash_completes(run, words, want):
    assert set(complete(run, *words)) == want


@pytest.mark.parametrize("words, want", [
    (("check", "--format", "="), "gcc"), (("check", "--format", "=", "gi"), "github"), (("check", "-c", "two w"), "two words.yaml"), (("check", "two"), "two words.yaml")])
def test_bash_completes_what_it_takes_apart(run, tmp_path, monkeypatch, words, want):
    (tmp_path / "two words.yaml").touch()
    monkeypatch.chdir(tmp_path)
    code = run("completion", "bash").stdout + f"\nCOMP_WORDS=(weir {' '.join(map(repr, words))}); COMP_CWORD={len(words)}; _weir; " \
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    assert want in subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()


def test_every_command_and_option_is_completed(run):
    for line in run("help").stdout.splitlines():
        if m := re.match(r"  ([a-z-]+) +[A-Z]", line):
            options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", run("help", m[1]).stdout, re.M))
            assert options <= set(complete(run, m[1], "--")), m[1]
    assert set(re.findall(r"^  ([a-z-]+) +[A-Z]", run("help", "ctl").stdout, re.M)) == set(complete(run, "ctl", ""))


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_zsh_completes(run, tmp_path):
    (tmp_path / "_weir").write_text(run("completion", "zsh").stdout)
    subprocess.run(["zsh", "-n", tmp_path / "_weir"], check=True)
    script = f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -d {tmp_path}/dump; print $_comps[weir]"
    assert subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, check=True).stdout == "_weir\n"


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_a_real_zsh_completes(run, binary, tmp_path):
    (tmp_path / "_weir").write_text(run("completion", "zsh").stdout)
    (tmp_path / ".zshrc").write_text(f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D; PS1='READY> '; weir() {{ }}")
    master, slave = pty.openpty()
    with subprocess.Popen(["zsh", "-d", "-i"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                          env={**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "xterm"}) as p:
        for typed, want in ((b"", b"READY> "), (b"weir ctl und\t", b"undrain"), (b"\x15weir ctl log-level deb\t", b"debug"),
                            (b"\x15weir check --format gi\t", b"github"), (b"\x15weir ctl top --on\t", b"--once")):
            os.write(master, typed)
            until(lambda seen=bytearray(), want=want: want in seen or seen.extend(read_all(master)), f"{want} is completed")
        p.kill()
    os.close(master), os.close(slave)


@pytest.mark.parametrize("page", ["weir.1", "weir.yaml.5"])
def test_manual_pages_are_clean(run, tmp_path, page):
    (tmp_path / page).write_text(run("man", page).stdout)
    r = subprocess.run(["mandoc", "-T", "lint", tmp_path / page], capture_output=True, text=True, check=False)
    assert not [x for x in r.stdout.splitlines() if "referenced manual not found" not in x]


def test_manual_pages_have_it_all(run, tmp_path):
    def text(page):
        (tmp_path / page).write_text(run("man", page).stdout)
        out = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=200", tmp_path / page], capture_output=True, text=True, check=True).stdout
        return re.sub(".\x08", "", out)

    for command in re.findall(r"^  ([a-z-]+) +[A-Z]", run("help", "ctl").stdout, re.M):
        assert f"weir ctl {command}" in text("weir.1")
    keys = set(re.findall(r"^\| `(\w+)` \|", run("reference").stdout, re.M))
    assert keys and all(re.search(rf"^ +{k}\b", text("weir.yaml.5"), re.M) for k in sorted(keys)[::9])

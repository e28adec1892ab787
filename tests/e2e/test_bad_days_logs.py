"""Bad days of logs: a disk that is full, readers that do not read or are gone, files moved away under load."""

import fcntl
import json
import os
import re
import resource
import signal
import threading

import pytest

from harness import until

UNLIMITED = resource.RLIM_INFINITY
LONG = "x" * 400


def room(w, most):
    """Files may grow to so many bytes; the write that gets there is cut short, and the next one fails."""
    hard = resource.prlimit(w.proc.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(w.proc.pid, resource.RLIMIT_FSIZE, (most, hard))


def numbers(kind, text):
    """Of the calls that whole lines of a log tell of."""
    lines = text.splitlines()
    assert text == "" or text.endswith("\n")
    if kind == "access":
        return [int(json.loads(x)["url.path"].split("/")[1]) for x in lines if "access.suppressed" not in x]
    pattern = {"text": r"begin /(\d+)/x* end", "events": r'\d{4}/.* \[error\] .*"GET /(\d+)/x* HTTP/1\.1", .*host: "test"'}[kind]
    return [int(re.fullmatch(pattern, x)[1]) for x in lines]


def logs(folder, kinds=("access", "text", "events"), **more):
    """The `log` section; the path of each."""
    paths = {k: folder / f"{k}.log" for k in ("access", "text", "events")}
    conf = {"access": str(paths["access"]) if "access" in kinds else "none", **more}
    if "text" in kinds:
        conf["text"] = {"t": {"path": str(paths["text"]), "format": "begin {path} end"}}
    if "events" in kinds:
        conf["events"] = {"e": {"path": str(paths["events"])}}
    return conf, {k: paths[k] for k in kinds}


def away(weir, conf, **more):
    """Every call fails, and is an event."""
    w = weir(log=conf, **more)
    w.upstream.refuse()
    return w


def ask(w, begin, end, status=502):
    c = w.client()
    for i in range(begin, end):
        c.ask(f"/{i}/{LONG}").expect(status)
    c.close()


def read(path):
    return path.read_text() if path.exists() else ""


# ---------------------------------------------------------------- a full disk

@pytest.mark.parametrize("kind", ["access", "text", "events"])
def test_a_full_disk(weir, tmp_path, kind):
    conf, paths = logs(tmp_path, [kind], buffer="32KiB")
    w = away(weir, conf)
    room(w, 15000)
    ask(w, 0, 200)
    until(lambda: "cannot write to" in w.stderr() and w.metric("weir_log_lines_dropped_total") > 0, "lines are dropped")
    room(w, UNLIMITED)
    until(lambda: "takes lines again" in w.stderr(), "it goes on")
    ask(w, 200, 201)
    got = until(lambda: 200 in (n := numbers(kind, read(paths[kind]))) and n, "the last line")
    assert len(got) == len(set(got)) == 201 - w.metric("weir_log_lines_dropped_total") and got == sorted(got)
    assert w.stderr().count("cannot write to") == 1 and str(paths[kind]) in w.stderr()


def test_a_full_disk_for_a_moment_costs_no_line(weir, tmp_path):
    conf, paths = logs(tmp_path)
    w = away(weir, conf, workers=2)
    room(w, 15000)
    ask(w, 0, 100)
    until(lambda: w.stderr().count("cannot write to") == 3, "all three are told")
    room(w, UNLIMITED)
    for kind, path in paths.items():
        until(lambda k=kind, p=path: "takes" in w.stderr() and read(p).endswith("\n") and sorted(numbers(k, read(p))) == list(range(100)), kind)
    assert w.metric("weir_log_lines_dropped_total") == 0


def test_a_disk_that_stays_full(weir):
    w = weir(serve=True, log={"access": "/dev/full", "text": {"t": {"path": "/dev/full"}}})
    assert w.statuses(300) == [200] * 300
    until(lambda: w.stderr().count("cannot write to") == 2, "each is told once")
    w.release(), w.signal(signal.SIGTERM)
    assert w.wait_exit() == 0 and w.stderr().count("lines are lost") == 2


# ---------------------------------------------------------------- nobody reads

def start_with(w, tmp_path, redirect):
    """Starts it from a shell that redirects."""
    script = tmp_path / "start"
    script.write_text(f'#!/bin/sh\nexec {w.binary} "$@" {redirect}\n')
    script.chmod(0o755)
    w.binary = str(script)
    w.start()
    return w


def test_an_end_with_many_logs_that_nobody_reads(weir, tmp_path):
    paths = [str(tmp_path / f"pipe{i}") for i in range(60)]
    for p in paths:
        os.mkfifo(p)
    held = [os.open(p, os.O_RDONLY | os.O_NONBLOCK) for p in paths]
    w = weir(serve=True, log={"access": "none", "text": {f"t{i}": {"path": p, "format": "{path}"} for i, p in enumerate(paths)}})
    assert w.statuses(20, "/" + "x" * 7000) == [200] * 20
    w.release(), w.signal(signal.SIGTERM)
    assert w.wait_exit() == 0 and w.stderr().count("lines are lost") == 60
    for fd in held:
        os.close(fd)


def test_nobody_reads_stderr(weir, tmp_path):
    os.mkfifo(tmp_path / "err")
    err = os.open(tmp_path / "err", os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(err, fcntl.F_SETPIPE_SZ, 4096)
    w = start_with(weir(serve=True, start=False), tmp_path, f"2>{tmp_path}/err")
    c = w.client(w.admin_addr)
    while not w.metric("weir_log_lines_dropped_total"):
        c.ask("/log-level", method="PUT", body=b'{"level":"info"}', host=w.admin_addr, headers={"Content-Type": "application/json"}).expect()
    assert w.statuses(20) == [200] * 20
    w.release(), w.signal(signal.SIGTERM)
    assert w.wait_exit() == 0 and os.read(err, 1 << 20).endswith(b"\n")
    os.close(err)


def test_who_read_stdout_is_gone(weir):
    w = weir(serve=True, stdout="pipe")
    w.proc.stdout.close()
    assert w.statuses(100) == [200] * 100
    until(lambda: "cannot write to" in w.stderr(), "it is told")
    assert w.statuses(100) == [200] * 100 and w.stderr().count("cannot write to") == 1


def test_who_read_stderr_is_gone(weir, tmp_path):
    os.mkfifo(tmp_path / "err")
    err = os.open(tmp_path / "err", os.O_RDWR | os.O_NONBLOCK)
    w = start_with(weir(serve=True, start=False), tmp_path, f"2>{tmp_path}/err")
    os.close(err)
    w.signal(signal.SIGUSR2)
    until(lambda: w.metric("weir_log_lines_dropped_total") > 0, "a line is dropped")
    assert w.statuses(20) == [200] * 20


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_started_without_standard_streams(weir, tmp_path, closed):
    w = start_with(weir(serve=True, start=False), tmp_path, closed)
    assert w.statuses(20) == [200] * 20
    w.signal(signal.SIGUSR2), w.reload()
    w.client().ask("/").expect(200, b"ok")
    names = [os.readlink(f"/proc/{w.proc.pid}/fd/{fd}") for fd in range(3)]
    assert names.count("/dev/null") == 1 + len(closed.split()) - ("<" in closed)


# ---------------------------------------------------------------- files that are moved away

@pytest.mark.parametrize("workers", [1, 2])
def test_rotation_under_load(weir, tmp_path, workers):
    conf, paths = logs(tmp_path, buffer="16MiB", refusals=10000)
    w = away(weir, conf, workers=workers)
    load = [threading.Thread(target=ask, args=(w, i * 1000, i * 1000 + 500)) for i in range(4)]
    [t.start() for t in load]
    old = {k: [] for k in paths}
    while any(t.is_alive() for t in load) and len(old["access"]) < 50:
        rotate(w, paths, old)
    [t.join() for t in load]
    want = [i * 1000 + j for i in range(4) for j in range(500)]
    for kind, path in paths.items():
        until(lambda k=kind, p=path: sum(read(x).count("\n") for x in [p, *old[k]]) >= 2000, f"all of {kind}")
        assert sorted(n for p in [path, *old[kind]] for n in numbers(kind, read(p))) == want
    assert w.metric("weir_log_lines_dropped_total") == 0


def rotate(w, paths, old):
    """As logrotate does: all are moved, then it signals."""
    for kind, path in paths.items():
        old[kind].append(path.with_suffix(f".{len(old[kind])}"))
        path.rename(old[kind][-1])
    w.signal(signal.SIGUSR1)
    until(lambda: all(p.exists() for p in paths.values()), "new files")


def gone(folder):
    folder.rename(folder.with_suffix(".away"))
    return folder.with_suffix(".away")


def replaced(folder):
    """What is there is no directory."""
    elsewhere = gone(folder)
    folder.write_text("")
    return elsewhere


@pytest.mark.parametrize("what", [gone, replaced])
def test_where_files_cannot_be_opened_again(weir, tmp_path, what):
    folder = tmp_path / "logs"
    folder.mkdir()
    conf, paths = logs(folder)
    w = away(weir, conf)
    w.allow("cannot reopen `.*; the old one goes on")
    ask(w, 0, 5)
    elsewhere = what(folder)
    w.signal(signal.SIGUSR1)
    until(lambda: w.stderr().count("cannot reopen") == 3, "all three are told")
    ask(w, 5, 10)
    for kind, path in paths.items():
        until(lambda k=kind, p=elsewhere / path.name: numbers(k, read(p)) == list(range(10)), kind)

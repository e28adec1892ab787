"""Memory nearly used up: new calls are refused before the kernel kills, and let in again; other calls go on.

Most tests play the cgroup with files in a folder; the last makes a real one, where that may be done."""

import contextlib
import os
import pathlib
import re

import pytest

import harness
from harness import until

MB = 1 << 20
V1 = {"max": "memory.limit_in_bytes", "current": "memory.usage_in_bytes"}


class Cgroup:
    """A folder that looks like one: `use` says how much of it is used, and how much of that are pages of files."""

    def __init__(self, folder, limit=100 * MB, names=None):
        folder.mkdir()
        self.folder, self.names = folder, {"max": "memory.max", "current": "memory.current", **(names or {})}
        self.file = "total_inactive_file" if names else "inactive_file"
        (folder / self.names["max"]).write_text(f"{limit}\n")
        for name in (self.names["current"], "memory.stat"):
            (folder / name).touch()
        self.use(10)

    def _put(self, name, text):  # in one write, lest half of it is read
        fd = os.open(self.folder / name, os.O_WRONLY)
        os.pwrite(fd, text.encode(), 0)
        os.close(fd)

    def use(self, percent, files=0):
        self._put("memory.stat", f"anon 1\n{self.file} {files * MB:<20}\nfile_mapped 5\n")
        self._put(self.names["current"], f"{percent * MB:<20}\n")

    def conf(self, **more):
        return {"cgroup": str(self.folder), **more}


@pytest.fixture
def cgroup(tmp_path):
    return Cgroup(tmp_path / "cgroup")


def used(w, percent):
    w.wait_metric("weir_memory_used_bytes", percent * MB)


def refuses(w, cgroup, percent=95):
    cgroup.use(percent)
    w.wait_metric("weir_memory_refusing", 1)


def test_calls_are_refused_and_let_in_again(weir, cgroup):
    w = weir(serve=True, memory=cgroup.conf())
    c = w.client().ask()
    c.expect(200)
    refuses(w, cgroup)
    r = c.ask().expect(503, retry_after=re.compile(r"\d+"), retry_after_ms=re.compile(r"\d{4,5}"))
    assert r.json()["reason"] == "memory_short" and w.access(2)[1]["reason"] == "memory_short"
    assert w.metric("weir_rejections_total", route="app", reason="memory_short") == 1
    cgroup.use(70)
    w.wait_metric("weir_memory_refusing", 0)
    c.ask().expect(200)


def test_between_the_two_shares_nothing_changes(weir, cgroup):
    w = weir(serve=True, memory=cgroup.conf())
    for percent, want in ((85, 200), (91, 503), (89, 503), (81, 503), (79, 200), (89, 200)):
        cgroup.use(percent)
        used(w, percent)
        until(lambda: w.fetch().status == want, f"{want} at {percent} %")
    assert w.metric("weir_memory_shortages_total") == 1 and w.metric("weir_memory_refusing") == 0


def test_calls_under_way_go_on(weir, cgroup):
    w = weir(memory=cgroup.conf())
    c = w.client().ask()
    w.upstream.expect_request()
    refuses(w, cgroup)
    w.upstream.answer(200, b"done")
    c.expect(200, b"done")
    c.ask().expect(503)


def test_nobody_is_let_in_to_the_upstream(weir, cgroup):
    w = weir(memory=cgroup.conf())
    refuses(w, cgroup)
    assert w.fetch(method="POST", body=b"x" * 1000).status == 503
    w.upstream.untouched(0.1)


def test_nobody_who_is_refused_is_handed_on_to_an_upstream(weir, cgroup):
    sorry = {"name": "sorry", "match": {"path": "/sorry"}, "respond": {"status": 200, "body": "sorry"}}
    second = {"name": "second", "match": {"from": "name"}, "to": "app"}
    page = [{"name": n, "match": {"path": f"/{n}"}, "to": "app", "errors": {"when": 503, **to}} for n, to in
            (("a", {"route": "second"}), ("b", {"path": "/sorry"}))]
    w = weir(serve=True, memory=cgroup.conf(), routes=[sorry, second, *page])
    c = w.client().ask("/a")
    c.expect(200)
    refuses(w, cgroup)
    assert c.ask("/a").expect(503).json()["reason"] == "memory_short" and w.upstream.requests == 1
    c.ask("/b").expect(200, b"sorry")


def test_new_connections_are_refused(weir, cgroup):
    w = weir(serve=True, memory=cgroup.conf())
    refuses(w, cgroup)
    w.client().ask().expect(503, b"", connection="close", retry_after=re.compile(r"\d+"))
    assert w.metric("weir_connections_refused_total", reason="memory_short", listener=w.addr) == 1


def test_probes_and_admin_answer(weir, cgroup):
    w = weir(memory=cgroup.conf())
    refuses(w, cgroup)
    assert w.probe("/ready").status == 200 and w.probe("/live").status == 200  # readiness is the pod's, not ours
    checks = {x["name"]: x for x in w.admin("/health").json()["checks"]}
    assert checks["memory"]["status"] == "degraded" and "95 of 100 MiB" in checks["memory"]["message"]
    assert w.stats()["memory"] == {"limit_bytes": 100 * MB, "used_bytes": 95 * MB, "refusing": True, "shortages": 1}
    until(lambda: "memory: 95 of 100 MiB are used: new calls are refused" in w.stderr(), "told")
    cgroup.use(10)
    until(lambda: "calls are let in again" in w.stderr(), "told")


def test_pages_of_files_do_not_count(weir, cgroup):
    w = weir(serve=True, memory=cgroup.conf())
    cgroup.use(99, files=50)
    used(w, 49)
    assert w.fetch().status == 200


def test_version_one(weir, tmp_path):
    cgroup = Cgroup(tmp_path / "cgroup", names=V1)
    w = weir(serve=True, memory=cgroup.conf())
    cgroup.use(99, files=50)
    used(w, 49)
    refuses(w, cgroup)
    assert w.fetch().status == 503


def test_a_limit_that_throttles_comes_first(weir, cgroup):
    (cgroup.folder / "memory.high").write_text(f"{50 * MB}\n")
    w = weir(serve=True, memory=cgroup.conf())
    refuses(w, cgroup, percent=46)
    assert w.metric("weir_memory_limit_bytes") == 50 * MB


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", ""])
def test_without_a_limit_nothing_is_refused(weir, tmp_path, limit):
    cgroup = Cgroup(tmp_path / "cgroup", limit=limit)
    cgroup.use(1 << 30)
    w = weir(serve=True, memory=cgroup.conf())
    assert w.fetch().status == 200 and w.metric("weir_memory_limit_bytes") == 0
    assert "memory" not in [x["name"] for x in w.admin("/health").json()["checks"]]


def test_reload_takes_other_shares(weir, cgroup):
    w = weir(serve=True, memory=cgroup.conf())
    cgroup.use(60)
    used(w, 60)
    w.reload(memory=cgroup.conf(refuse_above="50%"))
    w.wait_metric("weir_memory_refusing", 1)
    w.reload(memory=cgroup.conf(refuse_above="100%"))
    w.wait_metric("weir_memory_refusing", 0)
    cgroup.use(100)
    used(w, 100)
    assert w.fetch().status == 200


@pytest.mark.parametrize("share, percent", [("97%", 95), ("100%", 99)])
def test_a_reload_that_allows_more_ends_it_at_once(weir, cgroup, share, percent):
    w = weir(serve=True, memory=cgroup.conf())
    refuses(w, cgroup, percent)
    w.reload(memory=cgroup.conf(refuse_above=share))
    w.wait_metric("weir_memory_refusing", 0)
    assert w.fetch().status == 200


def test_a_folder_that_is_none_is_refused(weir, cgroup, tmp_path):
    w = weir(serve=True, memory=cgroup.conf())
    w.allow(".")
    w.reload(good=False, memory={"cgroup": str(tmp_path)})
    assert "neither memory.max" in w.stderr()
    refuses(w, cgroup)  # the old one is still looked at


def test_a_folder_that_goes_is_no_limit(weir, cgroup):
    w = weir(serve=True, memory=cgroup.conf())
    refuses(w, cgroup)
    os.truncate(cgroup.folder / "memory.current", 0)
    w.wait_metric("weir_memory_refusing", 0)
    assert w.fetch().status == 200


def test_tls_is_not_begun(weir, cgroup):
    w = weir(serve=True, memory=cgroup.conf(), tls=harness.certs().listener())
    c = w.client().ask()
    c.expect(200)
    refuses(w, cgroup)
    with pytest.raises(OSError):
        w.client()
    c.ask().expect(503)


def test_less_of_bodies_is_awaited(weir, cgroup):
    """A quarter of the limit is all that bodies may hold: the first goes on before it is whole."""
    (cgroup.folder / "memory.max").write_text(f"{4 * MB}\n")
    cgroup.use(1)
    w = weir(memory=cgroup.conf(), route={"await_body": "8MiB"})
    w.wait_metric("weir_memory_limit_bytes", 4 * MB)
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 1500000)
    assert w.upstream.accept() is not None
    c.close()


# ---- a real one

def _own_folder():
    """Where cgroups with a limit of memory may be made; None: nowhere."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return pathlib.Path("/sys/fs/cgroup/memory" + path), V1
    top = pathlib.Path("/sys/fs/cgroup" + path)
    names = {"max": "memory.max", "current": "memory.current"}
    able = top / "cgroup.subtree_control"
    return (top, names) if able.exists() and "memory" in able.read_text().split() else (None, None)


@pytest.fixture
def real(binary):
    """A cgroup with a limit, empty."""
    if harness.flavour_of(binary):
        pytest.skip("what a sanitizer needs beside is more than the limit")
    parent, names = _own_folder()
    folder = parent and parent / f"weir-test-{os.getpid()}-{harness.free_port()}"
    try:
        folder.mkdir()
        (folder / names["max"]).write_text(str(24 * MB))
    except (AttributeError, OSError) as e:
        with contextlib.suppress(AttributeError, OSError):
            folder.rmdir()
        pytest.skip(f"no cgroup with a limit can be made here: {e}")
    yield folder
    until(lambda: not (folder / "cgroup.procs").read_text(), "empty")
    folder.rmdir()


def kills(folder):
    """How often the kernel has killed there."""
    name = "memory.events" if (folder / "memory.events").exists() else "memory.oom_control"
    return int(re.search(r"^oom_kill (\d+)", (folder / name).read_text(), re.M)[1])


def enter(w, folder):
    """What Weir has so far stays where it was counted; what comes is counted in there.  A reload looks where it is."""
    (folder / "cgroup.procs").write_text(str(w.proc.pid))
    w.reload(limits={"awaited": "1GiB"})
    w.wait_metric("weir_memory_limit_bytes", 24 * MB)


def press(w, most=1000):
    """Calls whose bodies stay half sent, until Weir has had enough."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n"
    for i in range(most):
        w.client().send(head + b"x" * 200000, maybe=True)
        if i % 10 == 9 and w.metric("weir_memory_refusing") == 1:
            return
    raise AssertionError("it never has enough")


def test_the_kernel_never_kills(real, weir):
    w = weir(serve=True, route={"await_body": "1MiB"})
    enter(w, real)
    c = w.client().ask()
    c.expect(200)
    press(w)
    c.ask().expect(503)
    assert w.fetch().status == 503 and w.probe("/ready").status == 200 and w.alive() and kills(real) == 0
    w.release()
    until(lambda: w.fetch().status == 200, "calls pass again", timeout=5 * harness.TIMEOUT)
    assert kills(real) == 0

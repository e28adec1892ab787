"""Reload: by signal, by file, by link; good ones take, bad ones change nothing; nobody notices but by the change."""

import os
import signal
import threading
import time

import pytest

import harness
from harness import free_port, response, until


def rate(n, burst=None, per="m"):
    return {"p": {"rate": f"{n}/{per}", "burst": burst or n, "key": "client.ip"}}


def limited(weir, n, **more):
    return weir(policies=rate(n), use=["p"], serve=more.pop("serve", True), **more)


# ---- bad files

BAD = [
    ("not YAML", "version: [1"),
    ("empty", ""),
    ("unknown key", "version: 1\nlissen: 127.0.0.1:1\n"),
    ("unknown upstream", "version: 1\nlisten: 127.0.0.1:1\nupstreams: {a: '127.0.0.1:1'}\nroutes: [{to: b}]\n"),
    ("no longer there", None),
]


@pytest.mark.parametrize("text", [r[1] for r in BAD], ids=[r[0] for r in BAD])
def test_a_bad_file_changes_nothing_and_says_why(weir, text):
    w = limited(weir, 3)
    w.allow(".")
    assert w.statuses(2) == [200, 200]
    info = [x for x in w.metrics() if x[0] == "weir_config_info"]
    if text is None:
        os.unlink(w.path)
        before = w.reloads()
        w.signal(signal.SIGHUP)
        until(lambda: w.reloads() > before, "counted")
    else:
        w.reload(text, good=False)
    assert "weir.yaml" in w.stderr()
    assert w.statuses(2) == [200, 429]
    assert [x for x in w.metrics() if x[0] == "weir_config_info"] == info
    w.reload(policies=rate(1000, 1000, "s"))
    until(lambda: w.fetch().status == 200, "a good file is still taken")


def test_a_listener_that_cannot_be_bound_changes_nothing(weir):
    w = weir(serve=True)
    w.allow(".")
    taken = harness.socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    extra = free_port()
    w.reload(good=False, listen=[w.addr, f"127.0.0.1:{extra}", f"127.0.0.1:{taken.getsockname()[1]}"])
    with pytest.raises(ConnectionRefusedError):
        harness.connect(f"127.0.0.1:{extra}")
    assert w.fetch().status == 200
    taken.close()


@pytest.mark.parametrize("changes,named", [({"workers": 2}, ["workers"]), ({"pid_file": "./b"}, ["pid_file"]),
                                           ({"workers": 2, "pid_file": None}, ["workers", "pid_file"])],
                         ids=["workers", "pid_file", "both"])
def test_what_needs_a_restart_is_refused_by_name(weir, changes, named):
    w = weir(serve=True, workers=1, pid_file="./a")
    w.allow(".")
    w.reload(good=False, **changes)
    for key in ("workers", "pid_file"):
        assert (f"a changed `{key}` needs a restart" in w.stderr()) == (key in named)
    assert "weir.yaml:" in w.stderr() and w.fetch().status == 200


# ---- good files

def test_a_changed_limit_is_in_force(weir):
    w = limited(weir, 1)
    assert w.statuses(2) == [200, 429]
    w.reload(policies=rate(1000, 1000, "s"))
    until(lambda: w.fetch().status == 200, "the new limit")
    time.sleep(0.1)
    assert w.statuses(10) == [200] * 10


def test_a_kept_connection_takes_the_new_policy(weir):
    w = weir(serve=True)
    c = w.client().ask()
    c.expect(200)
    w.reload(routes=[{"name": "none", "match": {"path": "/none"}, "to": "app"}])
    c.ask().expect(404)


def test_a_call_ends_under_the_policy_it_began_with(weir, upstreams):
    other = upstreams(1)[0].serve(lambda r: response(200, b"new"))
    w = weir()
    c = w.client().ask("/old")
    w.upstream.expect_request("GET /old")
    w.reload(upstreams={"app": other.addr})
    assert w.fetch("/new").body == b"new"
    assert w.policies() == 2
    w.upstream.answer(200, b"old")
    c.expect(200, b"old")


def test_a_stream_outlives_many_reloads(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    c.read_head()
    for i in range(10):
        w.reload(limits={"headers": 100 + i})
        w.upstream.send(b"2\r\nhi\r\n")
        c.expect_bytes(b"2\r\nhi\r\n")
    assert w.policies() == 2, "those in between are freed"
    w.upstream.send(b"0\r\n\r\n")
    assert c.read_chunked() == (b"", [])


# ---- buckets

def test_no_limit_is_refilled(weir):
    w = limited(weir, 5)
    assert w.statuses(3) == [200] * 3
    w.reload(limits={"headers": 99})
    assert w.statuses(3) == [200, 200, 429]


@pytest.mark.parametrize("before,spent,after,left", [(10, 6, 20, 8), (20, 12, 10, 4), (10, 10, 20, 0), (10, 0, 4, 4)])
def test_a_changed_burst_keeps_the_filled_share(weir, before, spent, after, left):
    w = weir(policies={"p": {"rate": "1/h", "burst": before}}, use=["p"], serve=True)
    assert w.statuses(spent) == [200] * spent
    w.reload(policies={"p": {"rate": "1/h", "burst": after}})
    assert w.statuses(left + 1) == [200] * left + [429]


def test_a_changed_rate_keeps_the_filled_share(weir):
    w = weir(policies={"p": {"rate": "1/h", "burst": 10}}, use=["p"], serve=True)
    w.statuses(6)
    w.reload(policies={"p": {"rate": "1/m", "burst": 10}})
    assert w.statuses(5) == [200] * 4 + [429]


def test_another_key_is_another_bucket(weir):
    w = limited(weir, 1)
    assert w.statuses(2) == [200, 429]
    w.reload(policies={"p": {"rate": "1/m", "burst": 1, "key": "path"}})
    assert w.statuses(2) == [200, 429]


def test_counters_never_fall(weir):
    w = limited(weir, 3)
    w.statuses(5)
    w.reload(limits={"headers": 99})
    assert w.metric("weir_requests_total", route="app", code="200") == 3
    assert w.metric("weir_limit_decisions_total", policy="p", decision="deny") == 2
    assert w.metric("weir_connections_total", listener=w.addr) >= 1


# ---- listeners

def test_listeners_come_and_go(weir):
    w = weir(serve=True)
    extra = f"127.0.0.1:{free_port()}"
    w.reload(listen=[w.addr, extra])
    held = w.client(extra)
    held.ask().expect(200)
    assert w.fetch().status == 200
    w.reload(listen=w.addr)

    def closed():
        try:
            harness.connect(extra).close()
            return False
        except ConnectionRefusedError:
            return True

    until(closed, "the listener is gone")
    held.expect_closed()  # between calls, and not by a reset
    assert not held.was_reset
    assert w.fetch().status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_listener_gives_way_to_another_on_its_port(weir, workers):
    w = weir(serve=True, workers=workers)
    for listen in (f"0.0.0.0:{w.port}", f"[::]:{w.port}", {"addr": w.addr, "proxy_protocol": True}, w.addr):
        w.reload(listen=listen)
        assert isinstance(listen, dict) or w.fetch().status == 200


def test_a_listener_that_goes_drops_no_call(weir):
    w = weir()
    extra = f"127.0.0.1:{free_port()}"
    w.reload(listen=[w.addr, extra])
    c = w.client(extra).ask()
    w.upstream.expect_request()
    w.reload(listen=w.addr)
    w.upstream.answer(200, b"kept")
    c.expect(200, b"kept")


def test_a_unix_listener_comes_and_goes(weir, tmp_path):
    path = f"{tmp_path}/x.sock"
    w = weir(serve=True)
    w.reload(listen=[w.addr, f"unix:{path}"])
    assert w.fetch(addr=f"unix:{path}").status == 200
    w.reload(listen=w.addr)
    until(lambda: not os.path.exists(path), "the file is gone")


def test_the_log_target_changes(weir, tmp_path):
    w = weir(serve=True)
    w.fetch("/1")
    w.access(1)
    w.reload(log={"access": str(tmp_path / "a.log")})
    w.fds += 1
    w.fetch("/2")
    until(lambda: (tmp_path / "a.log").exists() and "/2" in (tmp_path / "a.log").read_text(), "the new file")


# ---- watching

def watched(weir, **more):
    return limited(weir, 1, watch=True, **more)


def taken(w, before, timeout=None):
    until(lambda: w.reloads() > before, "the file was taken", timeout or 3 * harness.TIMEOUT)


def test_watch_replaced_file(weir):
    w = watched(weir)
    assert w.statuses(2) == [200, 429]
    before = w.reloads()
    w.write(policies=rate(1000, 1000, "s"))
    taken(w, before)
    until(lambda: w.fetch().status == 200, "the new limit")


def test_watch_file_written_in_place(weir):
    w = watched(weir)
    before = w.reloads()
    text = w.config(policies=rate(77))
    with open(w.path, "w", encoding="utf-8") as f:
        f.write(text[:10])
        f.flush()
        f.write(text[10:])
    taken(w, before)
    until(lambda: w.metric("weir_config_last_reload_successful") == 1, "the whole file")
    w.allow(".")


def test_watch_bad_file_then_good(weir):
    w = watched(weir)
    w.allow(".")
    before = w.reloads()
    w.write("version: [")
    taken(w, before)
    assert w.metric("weir_config_last_reload_successful") == 0
    before = w.reloads()
    w.write(policies=rate(5))
    taken(w, before)
    until(lambda: w.metric("weir_config_last_reload_successful") == 1, "good again")


def test_watch_config_map(weir, tmp_path):
    """Kubernetes: weir.yaml -> ..data/weir.yaml, ..data -> ..<stamp>; an update swaps the link ..data."""
    mount = tmp_path / "mount"
    mount.mkdir()
    w = weir(policies=rate(1), use=["p"], serve=True, watch=True, start=False)

    def put(stamp, text):
        (mount / stamp).mkdir()
        (mount / stamp / "weir.yaml").write_text(text)
        (mount / "..data_tmp").symlink_to(stamp)
        os.replace(mount / "..data_tmp", mount / "..data")

    put("..one", w.config())
    (mount / "weir.yaml").symlink_to("..data/weir.yaml")
    w.path = str(mount / "weir.yaml")
    w.start()
    assert w.statuses(2) == [200, 429]
    for i, stamp in enumerate(["..two", "..three"]):
        before = w.reloads()
        put(stamp, w.config(policies=rate(1000 + i, 1000, "s")))
        taken(w, before)
    until(lambda: w.fetch().status == 200, "the new limit")


# ---- under load

def load(w, stop, errors, counts):
    c = w.client()
    n = 0
    while not stop.is_set():
        try:
            status = c.ask(f"/{n}").expect().status
            if status != 200:
                errors.append(status)
        except (AssertionError, OSError) as e:
            errors.append(e)
            c = w.client()
        n += 1
    counts.append(n)


def under_load(w, clients, work):
    stop, errors, counts = threading.Event(), [], []
    threads = [threading.Thread(target=load, args=(w, stop, errors, counts), daemon=True) for _ in range(clients)]
    for t in threads:
        t.start()
    try:
        work()
    finally:
        stop.set()
    for t in threads:
        t.join(harness.TIMEOUT)
    assert not errors, errors[:5]
    return sum(counts)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_reloads_under_load(weir, workers):
    rounds = 1000 if harness.SLOW == 1 else 150
    w = weir(policies={"q": {"rate": "100000/s"}}, use=["q"], serve=True, workers=workers)
    memory = []

    def work():
        end = time.monotonic() + 60 * harness.SLOW
        for i in range(100 * rounds):
            w.write(limits={"headers": 50 + i % 50}, policies={"q": {"rate": f"{100000 + i % 7}/s"}})
            w.signal(signal.SIGHUP)
            done = w.reloads()
            if not memory and done > rounds // 5:
                memory.append(w.memory())
            if done >= rounds:
                return
            assert time.monotonic() < end, f"only {done} reloads"

    assert under_load(w, 4, work) > rounds
    assert w.metric("weir_config_last_reload_successful") == 1
    until(lambda: w.policies() == 1, "old policies are gone")
    assert w.flavour or w.memory() - memory[0] < 1 << 20, f"{memory[0]} -> {w.memory()}"


def order(w):
    headers = {"Content-Type": "application/json"}
    return w.admin("/reload", method="POST", headers=headers, body=b"{}").status


def test_a_storm_from_everywhere(weir):
    """A thousand signals at once, orders, and a file that changes under --watch: no call is lost, and the last file counts."""
    w = weir(serve=True, watch=True)
    memory, fds, refused = w.memory(), w.count_fds(), []
    storm = [lambda: [w.signal(signal.SIGHUP) for _ in range(1000)],
             lambda: refused.extend(s for s in (order(w) for _ in range(30)) if s not in (200, 409, 503)),
             lambda: [(w.write(limits={"headers": 50 + i}), time.sleep(0.01)) for i in range(50)]]
    assert under_load(w, 4, lambda: harness.parallel(3, lambda i: storm[i]())) > 0
    assert not refused and w.reloads() < 1000, "signals that wait are one"
    until(lambda: b"headers: 99" in w.admin("/config").body, "the last file is in force")
    until(lambda: w.policies() == 1 and w.count_fds() <= fds + 10, "all others are gone")
    assert w.flavour or w.memory() - memory < 8 << 20


def test_listeners_flap_under_load(weir):
    w = weir(serve=True)
    extra = f"127.0.0.1:{free_port()}"

    def work():
        for i in range(30):
            w.reload(listen=[w.addr, extra] if i % 2 == 0 else w.addr)

    under_load(w, 4, work)


def test_s_reload(weir, run):
    """nginx hands: -s reload, where the process can be found."""
    w = limited(weir, 1)
    assert w.statuses(2) == [200, 429]
    before = w.reloads()
    w.write(policies=rate(1000, 1000, "s"))
    got = run("-s", "reload", "-c", w.path)
    if got.returncode == 0:
        taken(w, before)
    else:
        assert got.stderr

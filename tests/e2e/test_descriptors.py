"""No file descriptors left: clients wait, calls are refused, reloads fail, nothing spins, and operators still get in."""

import threading
import time

import pytest

import harness
from harness import readable, response, until

FEW = 64


@pytest.fixture
def few(weir):
    """Weir with few descriptors, and clients that take all that are for clients; others wait behind them."""
    def start(more=60, **sections):
        w = weir(nofile=FEW, limits={"connections": 10000}, **sections)
        w.allow("accept: ")
        held = [w.client() for _ in range(FEW + more)]
        until(lambda: w.metric("weir_accept_pauses_total", listener=w.addr), "it pauses")
        return w, held
    return start


def cpu(w):
    """Ticks so far, of all its threads."""
    with open(f"/proc/{w.proc.pid}/stat", encoding="ascii") as f:
        return sum(map(int, f.read().rpartition(")")[2].split()[11:13]))


def test_clients_wait_and_then_pass(few):
    """One after the other: all at once they would want more connections to the upstream than there may be."""
    w, held = few(serve=True)
    for _ in range(3):
        for c in held:
            c.ask().expect(200)
            c.close()
        held = [w.client() for _ in range(FEW + 30)]


def test_nothing_spins_and_the_log_is_told_once(few):
    w, _ = few(serve=True)
    before = cpu(w)
    time.sleep(1)
    assert cpu(w) - before < 50  # of a hundred, were one thread to spin
    assert w.stderr().count("accept: ") == 1


def test_operators_get_in(few):
    w, _ = few(serve=True)
    assert w.probe("/ready").status == 200 and w.probe("/metrics").status == 200
    assert w.admin("/health").status == 200 and w.count_fds() < FEW


def test_connections_to_upstreams_leave_some_for_operators(few):
    """Each of the first clients wants one of its own upstream: some get none, and are told when to come back."""
    gate = threading.Event()
    w, held = few(more=0, serve=lambda r: gate.wait(harness.TIMEOUT) and response(200, b"ok"))
    asking = [c.ask() for c in held[:30]]
    until(lambda: w.metric("weir_rejections_total", reason="no_descriptor"), "refused")
    refused = until(lambda: next((c for c in asking if readable([c])), None), "answered")
    refused.expect(503, retry_after="1", retry_after_ms="1000")
    assert w.admin("/health").status == 200
    assert w.metric("weir_upstream_attempts_total", result="failed") == 0, "it is no fault of the endpoint"
    gate.set()
    assert {c.expect().status for c in asking if c is not refused} == {200, 503}


def test_idle_connections_give_theirs_to_other_upstreams(weir, upstreams):
    """One upstream has had many calls at once, and now another has: together they would want too many."""
    go = {"/a": threading.Event(), "/b": threading.Event()}
    ups = [u.serve(lambda r: go[r.path].wait(harness.TIMEOUT) and response(200, b"ok")) for u in upstreams(2)]
    w = weir(nofile=FEW, upstreams={"a": ups[0].addr, "b": ups[1].addr},
             routes=[{"match": {"path": p}, "to": p[1]} for p in go])
    w.allow("accept: ")
    held = [w.client() for _ in range((FEW - 12 - w.count_fds()) // 2)]
    for path, gate in go.items():
        for c in held:
            c.ask(path)
        w.wait_metric("weir_upstream_connections", len(held), upstream=path[1], state="active")
        gate.set()
        assert [c.expect().status for c in held] == [200] * len(held)


def test_a_reload_works_or_changes_nothing(few):
    w, held = few(serve=True)
    w.reload(limits={"connections": 9999})
    w.allow(".")
    extra = [w.client(w.probes_addr) for _ in range(FEW)]  # these may take the last
    until(lambda: w.count_fds() >= FEW - 1, "none left")
    before = w.stderr().count("reload (SIGHUP)")
    w.signal(harness.signal.SIGHUP)
    until(lambda: w.stderr().count("reload (SIGHUP)") > before, "told")
    for c in (*extra, *held[1:]):
        c.close()
    assert "the running configuration stays" in w.stderr()
    held[0].ask().expect(200)
    until(lambda: w.metric("weir_config_last_reload_successful") == 0, "counted")
    w.reload(limits={"connections": 9998})


def test_reloads_leave_operators_theirs(few):
    """What the process opens anew takes the number of what it closes; no client who waits gets that."""
    w, _ = few(serve=True)
    for n in range(3):
        w.reload(limits={"connections": 9000 + n})
        time.sleep(0.3)  # three looks for free ones
    assert w.count_fds() < FEW - 4 and w.admin("/health").status == 200


def test_a_process_that_needs_them_all_itself(weir):
    """None can be kept back for others then: it says so, and serves with what there is."""
    def start(**more):
        w = weir(start=False, serve=True, **more)
        w.sections["listen"] = [w.addr, *(f"127.0.0.{2 + i}:{w.port}" for i in range(40))]
        w.write()
        w.start()
        return w

    w = start(nofile=start().fds + 10)
    w.allow("file descriptors are in use|accept: ")
    assert w.stderr().count("file descriptors are in use without any client") == 1
    for _ in range(5):
        c = w.client()
        c.ask().expect(200)
        c.close()

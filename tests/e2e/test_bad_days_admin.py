"""Bad days of the operator's side: probes and admin under floods, followers that do not read, pages that are left open,
collectors that are of no use when Weir ends."""

import contextlib
import pathlib
import re
import signal
import socket

import pytest

import harness
from harness import Upstream, until

ORDER = (b"PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
         b'{"level":"info"}')
HALVES = {"head": b"GET /live HTTP/1.1\r\nHost: localhost\r\n", "body": ORDER[:-3], "chunk": b"PUT /log-level HTTP/1.1\r\nHost: localhost\r\n"
          b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "nonsense": b"\x16\x03\x01\x00\xa5\r\n\r\n"}


def bounded(weir, **more):
    """Few connections for probes and admin each."""
    addr = [f"127.0.0.1:{harness.free_port()}" for _ in range(2)]
    limits = {k: more.pop(k) for k in ("streams", "requests", "events", "connections") if k in more}
    w = weir(start=False, serve=True, probes={"listen": addr[0], "connections": 4},
             admin={"listen": addr[1], "connections": 4, **limits}, **more)
    w.probes_addr, w.admin_addr = addr
    w.start()
    return w


@contextlib.contextmanager
def held(addr, n, said):
    """So many connections that say this, and stay."""
    socks = [harness.connect(addr) for _ in range(n)]
    for s in socks:
        with contextlib.suppress(ConnectionError):
            s.sendall(said)
    yield socks
    for s in socks:
        s.close()


def grew(w, before, mib):
    """By more than that; what a sanitizer keeps is not counted."""
    return not w.flavour and w.memory() > before + (mib << 20)


def heard(w, addr):
    with contextlib.suppress(OSError, AssertionError):
        return w.fetch("/live" if addr == w.probes_addr else "/health", addr=addr, host="localhost").status == 200


# ---------------------------------------------------------------- slow clients, many clients

@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("where", ["probes_addr", "admin_addr"])
def test_who_never_comes_to_an_end_keeps_nobody_out(weir, where, half):
    w = bounded(weir, limits={"header_timeout": "1h", "idle_timeout": "1h"})
    with held(getattr(w, where), 20, HALVES[half]):
        for _ in range(10):
            until(lambda: heard(w, getattr(w, where)), "an answer")
        assert w.statuses(5) == [200] * 5


def test_thousands_of_connections(weir):
    w = bounded(weir)
    memory = w.memory()
    with held(w.probes_addr, 1000, b""), held(w.admin_addr, 1000, b""), held(w.admin_addr, 500, HALVES["head"]):
        assert w.statuses(50) == [200] * 50
        until(lambda: heard(w, w.probes_addr) and heard(w, w.admin_addr), "answers")
        assert not grew(w, memory, 4)


def test_of_those_who_only_stay_the_first_goes(weir):
    """None of those whose calls are proxied does, though they came before."""
    w = bounded(weir, limits={"header_timeout": "1h", "idle_timeout": "1h"})
    calls = [w.client() for _ in range(50)]
    assert all(c.ask().expect().status == 200 for c in calls)
    first = w.client(w.probes_addr)
    later = [w.client(w.probes_addr) for _ in range(8)]
    first.expect_closed()
    later[-1].ask("/live", host="localhost").expect(200)
    assert all(c.ask().expect().status == 200 for c in calls)


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000000", b"Transfer-Encoding: chunked"])
def test_a_body_without_end(weir, framing):
    w = bounded(weir)
    memory = w.memory()
    c = w.client(w.admin_addr).send(b"POST /explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + framing + b"\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(3000):
            c.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
    assert not grew(w, memory, 2) and w.statuses(5) == [200] * 5
    until(lambda: heard(w, w.admin_addr), "an answer")


def test_answers_that_are_not_taken(weir):
    w = bounded(weir, requests=1000000)
    memory = w.memory()
    with held(w.admin_addr, 1, b"") as socks:
        socks[0].setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(100000):
                socks[0].send(b"GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
        assert w.statuses(20) == [200] * 20 and not grew(w, memory, 4)


def test_questions_by_the_hundred_at_once(weir):
    """All are answered, each before the next is looked at."""
    w = weir(probes=(addr := f"127.0.0.1:{harness.free_port()}"), start=False,
             routes=[{"name": f"r{i}", "match": {"path": f"/{i}"}, "respond": 200} for i in range(50)], upstreams=None)
    w.probes_addr = addr
    w.start()
    c = w.client(addr).send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
    assert [c.expect().status for _ in range(200)] == [200] * 200
    peak = pathlib.Path(f"/proc/{w.proc.pid}/status").read_text()
    assert w.flavour or int(re.search(r"VmHWM:\s+(\d+)", peak)[1]) < 24 << 10


# ---------------------------------------------------------------- followers

def orders(w, n):
    """So many events."""
    c = w.client(w.admin_addr)
    for _ in range(n // 100):
        c.send(ORDER * 100)
        for _ in range(100):
            c.expect(200)
    c.close()


def missed(w):
    """What a follower reads who comes back: whether it is told, and whether the number is that of the events between."""
    c = w.client(w.admin_addr).ask("/events", host="localhost")
    with contextlib.suppress(AssertionError, ConnectionError):
        c.read_until(b"\r\n\r\n")
        orders(w, 3000)
        text = c.read_until(b" events were missed\n\n") + c.read_until(b"}\n\n")
        number = re.search(rb": (\d+) events were missed\n\nid: (\d+)", text)
        return int(number[2]) - int(re.findall(rb"id: (\d+)\n", text[:number.start()])[-1]) - 1 == int(number[1])
    c.close()


def test_a_follower_that_does_not_read_is_told_what_it_missed(weir, tmp_path):
    w = weir(start=False, admin={"listen": f"unix:{tmp_path}/admin", "events": 5, "requests": 1000000})
    w.admin_addr = f"unix:{tmp_path}/admin"
    w.start()
    memory = w.memory()
    assert until(lambda: missed(w), "it is told", timeout=60)
    assert w.metric("weir_events_missed_total") > 0 and not grew(w, memory, 2)


def test_a_follower_gets_all_that_is_kept(weir):
    w = bounded(weir, events=3000, requests=1000000)
    orders(w, 3000)
    last = w.admin("/events?follow=false").json()["events"][-1]["seq"]
    c = w.client(w.admin_addr).ask("/events", host="localhost")
    assert c.read_until(f"id: {last}\n".encode()).count(b"\ndata: ") == 2999 and w.metric("weir_events_missed_total") == 0


def test_followers_leave_room_for_orders(weir):
    w = bounded(weir, streams=100)
    got = [w.client(w.admin_addr).ask("/events", host="localhost").read_head().status for _ in range(3)]
    assert got == [200] * 3 and w.admin("/events").status == 503
    assert all(w.admin("/health").status == 200 for _ in range(5))


# ---------------------------------------------------------------- a day

PAGES = ["/", "/stats.json", "/health", "/events?follow=false", "/limits", "/breakers", "/upstreams", "/config"]


def test_pages_left_open_for_a_day(weir):
    w = bounded(weir, requests=1000000, streams=3, connections=8)
    followers = [w.client(w.admin_addr).ask("/events", host="localhost") for _ in range(3)]
    poll(w, followers, 100)
    memory = w.memory()
    poll(w, followers, 1000)
    assert not grew(w, memory, 1)


def poll(w, followers, times):
    """What so many pages ask for, each on a connection of its own now and then; and what happens meanwhile."""
    for i in range(times):
        if i % 50 == 0:
            c = w.client(w.admin_addr)
        for page in PAGES:
            c.ask(page, host="localhost").expect(200)
        c.send(ORDER).expect(200)
        for f in followers:
            f.read_until(b"by order")
        if i % 50 == 49:
            c.close()
            w.wires.remove(c)


# ---------------------------------------------------------------- collectors, at the end

def traced(weir, endpoint, **more):
    return weir(serve=True, tracing={"endpoint": endpoint, "interval": "20ms", "timeout": "60s", **more})


def ends(w):
    w.release(), w.signal(signal.SIGTERM)
    return w.wait_exit() == 0


def test_a_collector_that_cannot_be_reached(weir):
    """Connections to it neither come about nor fail: its queue is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for s in waiting:
            s.setblocking(False)
            s.connect_ex(full.getsockname())
        w = traced(weir, f"http://127.0.0.1:{full.getsockname()[1]}", queue="64KiB")
        assert w.statuses(300, "/" + "x" * 500) == [200] * 300
        until(lambda: w.metric("weir_otlp_spans_total", result="dropped") > 0, "spans are dropped")
        assert ends(w) and "spans are lost" in w.stderr()
        [s.close() for s in waiting]


def test_a_collector_whose_name_is_not_known(weir):
    w = traced(weir, "http://nobody.invalid:4318")
    assert w.statuses(50) == [200] * 50 and ends(w) and "spans are lost" in w.stderr()


ENDLESS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
    "close": b"HTTP/1.1 200 OK\r\n\r\n",
    "interim": b"",
    "redirect": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1000000000000\r\n\r\n",
}


@pytest.mark.parametrize("how", ENDLESS)
def test_a_collector_that_answers_without_end(weir, how):
    def answer(r):
        r.wire.send(ENDLESS[how], maybe=True)
        with contextlib.suppress(OSError):
            while True:
                r.wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500 if how == "interim" else b" " * 10000)

    c = Upstream().serve(answer)
    w = traced(weir, f"http://{c.addr}", timeout="500ms")
    assert w.statuses(100) == [200] * 100
    until(lambda: w.fetch().status == 200 and c.requests > 1, "the next batch is sent", timeout=60)
    memory = w.memory()
    until(lambda: w.fetch().status == 200 and c.requests > 3, "and others", timeout=60)
    assert not grew(w, memory, 4) and ends(w)
    c.end()

"""Bad input and bad days that must be survived: afterwards a good call passes, and memory is what it was."""

import contextlib
import random
import socket
import threading
import time

import pytest

import harness
from harness import readable, request, response, until, writable

MB = 1 << 20
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def drip(c, block, total):
    """Sends block after block until the other side has had enough; returns how much went."""
    sent = 0
    while sent < total:
        until(lambda: writable(c, 0.1) or readable([c]), "read or refused")
        if readable([c]):
            break
        try:
            sent += c.sock.send(block)
        except ConnectionError:
            break
    return sent


def survives(w, before, room=8 * MB):
    w.upstream.close_all()
    w.upstream.handler or w.upstream.serve()
    assert w.fetch().status == 200
    assert w.flavour or w.memory() - before < room


ENDLESS = [
    ("a head of 10 MB", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 65536, 10 * MB, (431,)),
    ("a target of 10 MB", b"GET /", b"a" * 65536, 10 * MB, (414, 431)),
    ("a method of 10 MB", b"G", b"G" * 65536, 10 * MB, (400, 414, 431, 501)),
    ("fields without end", b"GET / HTTP/1.1\r\nHost: a\r\n", b"X-Y: z\r\n" * 1000, 10 * MB, (431,)),
    ("empty lines without end", b"", b"\r\n" * 32768, 10 * MB, (400, 431)),
    ("NULs", b"", b"\0" * 65536, 10 * MB, (400,)),
    ("noise", b"", bytes(random.Random(1).randrange(256) for _ in range(65536)), 10 * MB, (400, 414, 431)),
    ("chunk extensions without end", CHUNKED + b"1;", b"a=b;" * 16384, 10 * MB, (400, 413)),
    ("an extension on every chunk", CHUNKED, (b"1;" + b"x" * 500 + b"\r\na\r\n") * 100, 60 * MB, (400, 413)),
    ("trailers without end", CHUNKED + b"0\r\n", b"X-Y: z\r\n" * 1000, 10 * MB, (400, 413, 431)),
    ("zeros before a chunk size", CHUNKED, b"0" * 65536, 10 * MB, (400,)),
]


@pytest.mark.parametrize("head,block,total,want", [r[1:] for r in ENDLESS], ids=[r[0] for r in ENDLESS])
def test_endless(weir, head, block, total, want):
    w = weir(serve=True, route={"max_body": "1MiB"})
    before = w.memory()
    c = w.client().send(head)
    sent = drip(c, block, total)
    assert sent < total, "all of it was swallowed"
    assert c.expect().status in want
    c.close()
    survives(w, before)


def test_endless_answers(weir):
    w = weir()
    before = w.memory()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    c.read_head()
    block = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    done = 0
    while done < 100 * MB:
        w.upstream.send(block)
        c.read_exact(len(block))
        done += len(block)
    assert w.flavour or w.memory() - before < 4 * MB
    c.close()
    survives(w, before)


def test_interim_answers_without_end(weir):
    w = weir()
    before = w.memory()
    c = w.client().ask()
    w.upstream.expect_request()
    for _ in range(2000):
        w.upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 10, maybe=True)
        if readable([c]):
            c.sock.recv(1 << 20)
    assert w.flavour or w.memory() - before < 8 * MB
    c.close()
    survives(w, before)


def test_an_upstream_with_endless_extensions(weir):
    w = weir()
    before = w.memory()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;")
    sent = drip(w.upstream.wire, b"a=b;" * 16384, 10 * MB)
    assert sent < 10 * MB
    c.expect_closed(anything=True)
    survives(w, before)


def test_slow_heads_by_the_hundred(weir):
    w = weir(limits={"header_timeout": "500ms"}, serve=True)
    slow = [w.client().send(b"GET / HTTP/1.1\r\nHost: a\r\n") for _ in range(300)]
    assert w.fetch().status == 200
    for c in slow:
        c.expect(408)


POST, PREFACE = b"POST / HTTP/1.1\r\nHost: a\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
H2_POST = b"\0\0\6\1\4\0\0\0\1\x83\x86\x84\x41\1a"
SILENT = [
    b"", b"\r", b"\r\n", b"P", b"GET / HTTP/1.1\r\nHo", request(), request() + b"\r", request("/no", body=b"abc")[:-1],
    POST + b"Content-Length: 9\r\n\r\n", POST + b"Content-Length: 9\r\n\r\nabc", CHUNKED, CHUNKED + b"5\r\nab",
    CHUNKED + b"0\r\nx: ", POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n", CHUNKED.replace(b"/", b"/no", 1),
    b"no\r\n\r\n", PREFACE[:9], PREFACE[:24], PREFACE, PREFACE + b"\0", PREFACE + H2_POST, PREFACE + H2_POST[:4] + b"\0" + H2_POST[5:],
    PREFACE + H2_POST + b"\0\0\3\0\0\0\0\0\1ab", PREFACE + H2_POST.replace(b"\4\0", b"\5\0", 1),
]


def test_who_falls_silent_is_hung_up_on_wherever_that_is(weir):
    soon = "300ms"
    w = weir(serve=True, limits=dict.fromkeys(("header_timeout", "idle_timeout", "write_timeout"), soon), routes=[
        {"name": "no", "match": {"path": "/no"}, "respond": {"status": 403}},
        {"name": "app", "to": "app", "timeout": {"idle": soon, "first_byte": soon}}])
    for text in SILENT:
        w.client().send(text, maybe=True)
        with contextlib.suppress(OSError):  # it may have been too late already
            w.client().send(text, maybe=True).half_close()
    w.wait_metric("weir_connections_total", 2 * len(SILENT), listener=w.addr)
    w.wait_metric("weir_connections_active", 0, listener=w.addr, timeout=2 * harness.TIMEOUT)


def test_noise_on_every_byte(weir):
    """Good requests with a byte changed here and there: any answer will do, or none; nothing may break."""
    w = weir(serve=True)
    dice = random.Random(20260131)
    good = request("/a?b", headers={"X-A": "b", "Connection": "keep-alive"}, body=[b"abc", b"defg"])
    for _ in range(150):
        text = bytearray(good)
        for _ in range(dice.randrange(1, 4)):
            text[dice.randrange(len(text))] = dice.randrange(256)
        c = w.client().send(bytes(text), maybe=True).half_close()
        c.expect_closed(anything=True)
        c.close()
    assert w.fetch().status == 200


@contextlib.contextmanager
def enough_files(want):
    """For so many connections; how many there may be."""
    soft, hard = harness.resource.getrlimit(harness.resource.RLIMIT_NOFILE)
    if hard < want + 500:
        pytest.skip(f"only {hard} file descriptors here")
    harness.resource.setrlimit(harness.resource.RLIMIT_NOFILE, (min(hard, want + 2000), hard))
    try:
        yield hard
    finally:
        harness.resource.setrlimit(harness.resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_connections(weir):
    want = 10_000 if harness.SLOW == 1 else 2_000
    with enough_files(want) as hard:
        w = weir(limits={"connections": want + 100, "header_timeout": "60s", "idle_timeout": "60s"}, serve=True,
                 nofile=hard)
        idle = w.memory()
        held = [harness.connect(w.addr) for _ in range(want)]
        w.wait_metric("weir_connections_active", want, listener=w.addr)
        for s in held:
            s.sendall(request())
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
        if not w.flavour:
            assert (w.memory() - idle) / want < 2048
        assert w.fetch().status == 200
        for s in held:
            s.close()


def test_scrapes_during_ten_thousand_connections(weir):
    """Prometheus and the kubelet ask all the while, and calls go on: nothing is dropped, however long it takes."""
    want = 10_000 if harness.SLOW == 1 else 2_000
    with enough_files(want) as hard:
        w = weir(limits={"connections": want + 100, "header_timeout": "120s", "idle_timeout": "120s"}, serve=True,
                 nofile=hard)
        stop, asked = threading.Event(), []

        def ask(paths):
            while not stop.is_set():
                asked.extend(w.probe(p).status for p in paths)
                time.sleep(0.02)

        threads = [threading.Thread(target=ask, args=(p,)) for p in (["/live", "/ready"], ["/metrics"])]
        for t in threads:
            t.start()
        held = [harness.connect(w.addr, source=f"127.1.{i // 5000}.1") for i in range(want)]
        got = set()
        for s in held[::5]:
            s.sendall(request())
            got.add(s.recv(4096)[:12])
        until(lambda: len(asked) > 20, "they were asked again and again", timeout=60)
        stop.set()
        for t in threads:
            t.join(harness.TIMEOUT)
        assert got == {b"HTTP/1.1 200"} and set(asked) == {200}
        w.wait_metric("weir_connections_active", want, listener=w.addr)
        for s in held:
            s.close()


def test_no_file_descriptors_left(weir):
    w = weir(nofile=64, limits={"connections": 10000})
    w.allow("descriptor|files|accept|EMFILE")
    w.upstream.serve()
    held = []
    for _ in range(150):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", w.port))
        held.append(s)
    time.sleep(0.5)
    assert w.alive()
    with open(f"/proc/{w.proc.pid}/stat", encoding="ascii") as f:
        ticks = sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
    time.sleep(0.5)
    with open(f"/proc/{w.proc.pid}/stat", encoding="ascii") as f:
        spun = sum(map(int, f.read().rpartition(")")[2].split()[11:13])) - ticks
    assert spun < 30, "it spins while it cannot accept"
    for s in held:
        s.close()
    until(lambda: _good(w), "a good call passes again")


def _good(w):
    try:
        return w.fetch().status == 200
    except (AssertionError, OSError):
        return False


def test_no_descriptor_for_the_upstream(weir):
    """Clients hold all but a few: calls that need a connection are answered, not dropped."""
    w = weir(nofile=48, serve=True, limits={"connections": 10000})
    w.allow("descriptor|files|accept|EMFILE|socket")
    held = []
    while w.count_fds() < 47 and len(held) < 60:
        held.append(w.client())
        time.sleep(0.01)
    c = held[0]
    c.ask()
    r = c.expect()
    assert r.status in (200, 502, 503)
    for h in held:
        h.close()
    until(lambda: _good(w), "a good call passes again")


def test_an_upstream_that_lies_in_every_way(weir):
    """Good answers with a byte changed here and there: the client sees an answer, a 502 or a cut; nothing breaks."""
    dice = random.Random(7)
    good = response(200, [b"abc", b"defg"], {"X-A": "b"})

    def lie(r):
        text = bytearray(good)
        for _ in range(dice.randrange(1, 4)):
            text[dice.randrange(len(text))] = dice.randrange(256)
        r.wire.send(bytes(text))
        r.wire.close()

    w = weir(serve=lie)
    for i in range(150):
        c = w.client().ask(f"/{i}", headers={"Connection": "close"})
        c.expect_closed(anything=True)
        c.close()
    assert w.alive() and w.probe("/live").status == 200


def test_many_keys_do_not_grow_memory(weir):
    w = weir(policies={"p": {"rate": "1/s", "burst": 1, "key": "header.x-user", "max_keys": 1000}}, use=["p"],
             serve=True)
    before = w.memory()
    c = w.client()
    for i in range(5000):
        c.ask(headers={"X-User": f"user-{i}"}).expect()
    assert w.metric("weir_limit_keys", policy="p") <= 1100
    assert w.flavour or w.memory() - before < MB


def test_signals_by_the_hundred(weir):
    w = weir(serve=True)

    def hail():
        for _ in range(100):
            w.signal(harness.signal.SIGHUP)
            w.signal(harness.signal.SIGUSR1)
            w.signal(harness.signal.SIGPIPE)

    t = threading.Thread(target=hail)
    t.start()
    assert w.statuses(100) == [200] * 100
    t.join()


def test_the_loop_is_never_blocked_for_long(weir):
    """A machine that is busy with other things holds it up now and then: not each time."""
    w = weir(serve=True)

    def slow():
        lags = {labels["le"]: v for n, labels, v in w.metrics() if n == "weir_loop_lag_seconds_bucket"}
        return lags["+Inf"] - max(v for le, v in lags.items() if le != "+Inf" and float(le) <= 0.1)

    assert w.flavour or until(lambda: (before := slow(), harness.parallel(8, lambda i: w.statuses(100))) and slow() == before)

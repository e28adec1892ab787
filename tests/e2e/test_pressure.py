"""Back-pressure and leaving early: bounded memory whatever one side does, and the other side freed at once."""

import threading
import time

import harness
from harness import readable, request, until, writable

MB = 1 << 20
ROOM = {"": 4 * MB, "address": 64 * MB, "thread": 64 * MB}  # sanitizers hold freed memory back


def push(wire, total, block=b"x" * 65536):
    """Writes until nothing more is taken for half a second; returns how much went."""
    wire.sock.setblocking(False)
    sent = 0
    while sent < total and writable(wire, 0.5 * harness.SLOW):
        try:
            sent += wire.sock.send(block)
        except BlockingIOError:
            pass
    return sent


def test_client_that_never_reads(weir):
    w = weir()
    before = w.memory()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * MB))
    sent = push(w.upstream.wire, 200 * MB)
    assert sent < 100 * MB, "somebody swallowed it all"
    assert w.memory() - before < ROOM[w.flavour]
    c.close()
    w.upstream.wire.sock.settimeout(harness.TIMEOUT)
    w.upstream.wire.read_eof()


def test_client_that_never_reads_chunks(weir):
    w = weir()
    before = w.memory()
    w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert push(w.upstream.wire, 200 * MB, b"10000\r\n" + b"x" * 65536 + b"\r\n") < 100 * MB
    assert w.memory() - before < ROOM[w.flavour]


def test_client_that_reads_late_gets_it_all(weir):
    total = 30 * MB
    w = weir(serve=lambda r: harness.response(200, b"y" * total))
    c = w.client().ask()
    time.sleep(0.3)
    r = c.expect(200)
    assert len(r.body) == total and not r.body.strip(b"y")


def test_client_that_stalls_is_cut(weir):
    w = weir(limits={"write_timeout": f"{1000 * harness.SLOW:.0f}ms"})
    w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * MB))
    push(w.upstream.wire, 200 * MB)
    w.upstream.wire.sock.settimeout(harness.TIMEOUT)
    w.upstream.wire.read_eof()
    assert w.access()[0]["reason"] == "client_stalled"


def test_upstream_that_never_reads(weir):
    w = weir(route={"max_body": "1GiB"})
    before = w.memory()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (200 * MB))
    w.upstream.accept()
    assert push(c, 200 * MB) < 100 * MB
    assert w.memory() - before < ROOM[w.flavour]


def test_upload_through_a_slow_reader_is_whole(weir):
    total = 20 * MB
    w = weir()
    c = w.client()
    t = threading.Thread(target=lambda: c.send(request(body=b"z" * total)))
    t.start()
    time.sleep(0.3)
    r = w.upstream.expect_request()
    t.join()
    assert len(r.body) == total and not r.body.strip(b"z")
    w.upstream.answer()
    c.expect(200)


def test_pipelining_client_that_never_reads(weir):
    """Requests behind the one under way wait in the socket, not in memory."""
    w = weir()
    before = w.memory()
    c = w.client()
    push(c, 50 * MB, request("/" + "p" * 200) * 100)
    assert w.memory() - before < ROOM[w.flavour]
    w.upstream.expect_request()


# ---- the client goes away

def test_abort_before_the_answer_frees_the_upstream(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    c.reset()
    w.upstream.wire.expect_closed()
    assert w.access()[0]["reason"] == "client_abort"
    assert w.metric("weir_client_aborts_total", route="app") == 1


def test_abort_inside_an_answer_frees_the_upstream(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
    c.read_head()
    c.reset()
    w.upstream.wire.expect_closed()  # read with a deadline, before which nothing else would end it


def test_abort_inside_an_upload_frees_the_upstream(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
    w.upstream.expect_request(read_body=False)
    w.upstream.wire.expect_bytes(b"abc")
    c.reset()
    w.upstream.wire.expect_closed()


def test_close_between_events_is_noticed_at_the_next_one(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    c.read_head()
    c.close()

    def gone():
        w.upstream.send(b"2\r\nhi\r\n", maybe=True)
        return readable([w.upstream.wire], 0.02)

    until(gone, "the upstream is freed")


def test_aborts_by_the_hundred_leave_nothing(weir):
    w = weir()
    for i in range(100):
        c = w.client().ask(f"/{i}")
        if i % 3:
            w.upstream.expect_request()
        c.reset()
    w.wait_metric("weir_requests_in_flight", 0)


def test_abort_of_an_upload_that_nobody_reads(weir):
    """Reading has paused because the upstream takes no more; a reset must be noticed all the same."""
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (30 * MB))
    u = w.upstream.accept()
    push(c, 30 * MB)
    c.reset()
    w.wait_metric("weir_requests_in_flight", 0, route="app")
    u.read_eof()


def test_abort_with_requests_waiting_behind(weir):
    """Reading has paused; a reset must be noticed all the same."""
    w = weir()
    c = w.client()
    push(c, MB, request("/" + "p" * 200) * 100)
    w.upstream.expect_request()
    c.reset()
    w.upstream.wire.read_eof()
    w.upstream.untouched(0.05)


# ---- many at once

def test_a_hundred_clients_at_once(weir):
    w = weir(serve=lambda r: harness.response(200, r.target.encode()))

    def one(i):
        c = w.client()
        for j in range(20):
            c.ask(f"/{i}/{j}")
            c.expect(200, b"/%d/%d" % (i, j))

    harness.parallel(100, one)
    assert w.metric("weir_requests_total", code="200") == 2000


def test_a_hundred_streams_at_once(weir):
    w = weir()
    clients = [w.client().ask(f"/{i}") for i in range(100)]
    wires = [w.upstream.expect_request().wire for _ in clients]
    for u in wires:
        u.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for c in clients:
        assert c.read_head().status == 200
    for _ in range(5):
        for u in wires:
            u.send(b"5\r\nevent\r\n")
        for c in clients:
            c.expect_bytes(b"5\r\nevent\r\n")
    for u in wires:
        u.send(b"0\r\n\r\n")
    for c in clients:
        assert c.read_chunked() == (b"", [])

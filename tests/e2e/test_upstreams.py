"""The other side misbehaves: refused, reset, silent, malformed, truncated, lying; then pools and balancing."""

import collections
import signal
import socket
import threading
import time

import pytest

import harness
from harness import Upstream, readable, request, response, until

FAST = {"route": {"timeout": {"first_byte": "300ms", "idle": "300ms"}}}


def ended(w, reason):
    """The one access log line names the reason."""
    assert w.access()[0]["reason"] == reason


# ---- before the head of an answer: 502 and 504

def test_refused(weir):
    w = weir()
    w.upstream.refuse()
    c = w.client().ask()
    c.expect(502, content_type="application/problem+json")
    ended(w, "connect_failed")


def test_refused_and_the_connection_lives_on(weir):
    w = weir()
    w.upstream.refuse()
    assert w.statuses(3) == [502] * 3


def test_unix_socket_that_is_not_there(weir, tmp_path):
    w = weir(upstreams={"app": f"unix:{tmp_path}/none.sock"})
    w.client().ask().expect(502)
    ended(w, "connect_failed")


def test_name_that_does_not_resolve(weir):
    w = weir(upstreams={"app": "no-such-name.invalid:80"})
    r = w.client().ask().expect()
    assert r.status in (502, 503)


def test_closed_without_an_answer(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.close()
    c.expect(502)
    ended(w, "upstream_reset")


def test_reset_without_an_answer(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.reset()
    c.expect(502)
    ended(w, "upstream_reset")


def test_reset_while_the_body_is_sent(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 100_000)
    w.upstream.expect_request(read_body=False)
    w.upstream.reset()
    for _ in range(40):
        c.send(b"x" * 100_000, maybe=True)
        if readable([c], 0.01):
            break
    c.expect(502)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_answer_until_close_is_not_whole_when_the_upload_failed(weir, upstreams, tmp_path, kind):
    u = upstreams(1, f"unix:{tmp_path}/app.sock" if kind == "unix" else "127.0.0.1:0")[0]
    w = weir(upstreams={"app": u.addr})
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 50_000)
    u.expect_request(read_body=False)
    w.signal(signal.SIGSTOP)  # the upload goes on first, and fails: that its end was none in order is hidden then
    c.send(b"x" * 500_000)
    u.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart").reset()
    w.signal(signal.SIGCONT)
    assert c.read_head().status == 200 and not c.read_eof().endswith(b"0\r\n\r\n")


def test_silence_until_first_byte_timeout(weir):
    w = weir(**FAST)
    c = w.client().ask()
    w.upstream.expect_request()
    c.expect(504)
    w.upstream.wire.expect_closed()
    ended(w, "first_byte_timeout")


def test_total_timeout_before_the_head(weir):
    w = weir(route={"timeout": "300ms"})
    c = w.client().ask()
    w.upstream.expect_request()
    c.expect(504)
    ended(w, "total_timeout")


def test_connect_timeout(weir, upstreams):
    full = upstreams(1, backlog=0)[0]
    host, _, port = full.addr.rpartition(":")
    fillers = []
    for _ in range(8):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((host, int(port)))
        fillers.append(s)
    w = weir(upstreams={"app": {"endpoints": [full.addr], "connect_timeout": "200ms"}})
    w.client().ask().expect(504)
    ended(w, "connect_timeout")
    for s in fillers:
        s.close()


MALFORMED = [
    ("garbage", b"garbage\r\n\r\n"),
    ("a request", b"GET / HTTP/1.1\r\n\r\n"),
    ("NULs", b"\0" * 64 + b"\r\n\r\n"),
    ("HTTP/2", b"HTTP/2.0 200 OK\r\n\r\n"),
    ("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status below 100", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("bare CR in a value", b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"),
    ("obs-fold", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n"),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("length and chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    ("negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    ("another coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("a switch nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
]


@pytest.mark.parametrize("text", [r[1] for r in MALFORMED], ids=[r[0] for r in MALFORMED])
def test_malformed_answer(weir, text):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(text)
    c.expect(502, set_cookie=None)
    w.upstream.wire.expect_closed()
    ended(w, "upstream_malformed")


def test_answer_with_too_large_a_head(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\n" + b"X-Y: " + b"a" * 2_000_000 + b"\r\n\r\n", maybe=True)
    c.expect(502)
    ended(w, "upstream_head_too_large")


def test_head_cut_short(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    w.upstream.close()
    c.expect(502)


# ---- after the head: cut, and never made to look complete

def cut(c):
    """The answer has begun; it must end without its proper end (or not begin, where nothing was sent yet)."""
    head = c.read_head()
    if head.status == 502:
        return b"part"
    assert head.status == 200
    rest = c.read_eof()
    assert not rest.endswith(b"0\r\n\r\n")
    if head.has("content-length"):
        assert len(rest) < int(head.get("content-length"))
    else:
        assert head.has("transfer-encoding") or c.was_reset, "looks complete"
    return rest


BODIES = [
    ("length", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
    ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
    ("inside a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\npart"),
]


@pytest.mark.parametrize("text", [r[1] for r in BODIES], ids=[r[0] for r in BODIES])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_truncated(weir, text, how):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(text)
    until(lambda: c.buf or c.fill(), "the answer begins")
    getattr(w.upstream, how)()
    assert b"part" in cut(c)
    ended(w, "upstream_truncated")


@pytest.mark.parametrize("text", [b"zz\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n", b"fffffffffffffffff\r\n"])
def test_malformed_chunk(weir, text):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(BODIES[1][1] + text)
    cut(c)
    assert w.access()[0]["reason"] in ("upstream_malformed", "upstream_truncated")


def test_falls_silent_inside_the_body(weir):
    w = weir(route={"timeout": {"first_byte": "10s", "idle": "300ms"}})
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(BODIES[0][1])
    cut(c)
    w.upstream.wire.expect_closed()
    ended(w, "idle_timeout")


def test_total_timeout_inside_the_body(weir):
    w = weir(route={"timeout": "1500ms"})
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(BODIES[1][1])
    cut(c)
    ended(w, "total_timeout")


def test_events_keep_an_answer_alive_past_idle(weir):
    w = weir(route={"timeout": {"idle": "1500ms"}})
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(6):
        time.sleep(0.3)
        w.upstream.send(b"2\r\nhi\r\n")
    w.upstream.send(b"0\r\n\r\n")
    c.expect(200, b"hi" * 6)


def test_more_than_it_said(weir):
    w = weir()
    c = w.client().ask("/1")
    w.upstream.expect_request("GET /1")
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + response(200, b"evil"))
    c.expect(200, b"good")
    w.upstream.wire.eof or w.upstream.wire.read_eof()
    c.ask("/2")
    w.upstream.expect_request("GET /2")
    w.upstream.answer(200, b"fine")
    c.expect(200, b"fine")
    assert w.upstream.accepted == 2


def test_an_answer_before_the_question(weir):
    w = weir()
    c = w.client().ask("/1")
    w.upstream.expect_request()
    w.upstream.answer(200, b"one")
    c.expect(200, b"one")
    w.upstream.send(response(200, b"evil"))
    w.upstream.wire.read_eof()
    c.ask("/2")
    w.upstream.expect_request("GET /2")
    w.upstream.answer(200, b"two")
    c.expect(200, b"two")


# ---- kept-alive connections

def test_connection_close_from_the_upstream(weir):
    w = weir()
    c = w.client()
    for i in range(3):
        c.ask(f"/{i}")
        w.upstream.expect_request(f"GET /{i}")
        w.upstream.answer(200, b"x", {"Connection": "close"})
        c.expect(200, b"x", connection=None)
        w.upstream.close()
    assert w.upstream.accepted == 3


def stale(weir, **second):
    """One good call, then the upstream hangs up as the second arrives on the kept connection."""
    w = weir()
    c = w.client().ask("/1")
    w.upstream.expect_request()
    w.upstream.answer(200, b"one")
    c.expect(200, b"one")
    c.ask("/2", **second)
    w.upstream.expect_request(read_body=False)
    w.upstream.reset()
    return w, c


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_stale_connection_is_replayed_for_safe_calls(weir, method):
    w, c = stale(weir, method=method)
    w.upstream.expect_request(f"{method} /2")
    w.upstream.answer(200, b"" if method == "HEAD" else b"two")
    c.expect(200, head=method == "HEAD")
    assert w.access(2)[1]["attempts"] == 2


def test_stale_connection_is_not_replayed_for_others(weir):
    w, c = stale(weir, method="POST", body=b"pay")
    c.expect(502)
    w.upstream.untouched(0.1)
    ended_last = w.access(2)[1]["reason"]
    assert ended_last in ("upstream_stale", "upstream_reset")


def test_fresh_connection_is_not_replayed(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.reset()
    c.expect(502)
    w.upstream.untouched(0.1)


def test_idle_connection_that_was_closed_is_not_used(weir):
    w = weir()
    c = w.client().ask("/1")
    w.upstream.expect_request()
    w.upstream.answer(200, b"one")
    c.expect(200, b"one")
    w.upstream.close()
    w.wait_metric("weir_upstream_connections", 0)
    c.ask("/2", body=b"a post")
    w.upstream.expect_request("POST /2")
    w.upstream.answer(200, b"two")
    c.expect(200, b"two")


def test_post_does_not_go_over_a_connection_whose_end_has_come(weir):
    w = weir()
    c = w.client().ask("/1")
    w.upstream.expect_request()
    w.upstream.answer(200, b"one")
    c.expect(200, b"one")
    w.signal(signal.SIGSTOP)  # the call is found before the end is
    c.ask("/2", body=b"pay")
    w.upstream.close()
    w.signal(signal.SIGCONT)
    w.upstream.expect_request("POST /2", body=b"pay")
    w.upstream.answer(200, b"two")
    c.expect(200, b"two")


def test_pool_keeps_no_more_than_it_may(weir):
    w = weir(start=False)
    w.sections["upstreams"] = {"app": {"endpoints": [w.upstream.addr], "keepalive": 2}}
    w.write()
    w.start()
    clients = [w.client().ask(f"/{i}") for i in range(5)]
    wires = [w.upstream.expect_request().wire for _ in clients]
    for u in wires:
        u.answer()
    for c in clients:
        c.expect(200)
    until(lambda: len(readable(wires)) == 3, "three of five are closed")


def test_unix_upstream(weir, upstreams, tmp_path):
    u = upstreams(1, f"unix:{tmp_path}/app.sock")[0]
    w = weir(upstreams={"app": u.addr})
    c = w.client().ask("/u")
    u.expect_request("GET /u")
    u.answer(200, b"by file")
    c.expect(200, b"by file")


def test_ipv6_upstream(weir, upstreams):
    u = upstreams(1, "[::1]:0")[0]
    w = weir(upstreams={"app": u.addr})
    c = w.client().ask()
    u.expect_request()
    u.answer(200, b"six")
    c.expect(200, b"six")


def test_named_upstream(weir):
    w = weir(start=False)
    w.sections["upstreams"] = {"app": "localhost:" + w.upstream.addr.rpartition(":")[2]}
    w.write()
    w.start()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.answer(200, b"by name")
    c.expect(200, b"by name")


# ---- balancing

def spread(weir, ups, calls, endpoints=None, **cluster):
    """How often each upstream answers."""
    for i, u in enumerate(ups):
        if u.sock.fileno() >= 0:
            u.serve(lambda r, i=i: response(200, b"%d" % i))
    w = weir(upstreams={"app": {"endpoints": endpoints or [u.addr for u in ups], **cluster}})
    c = w.client()
    got = collections.Counter()
    for _ in range(calls):
        r = c.ask().expect()
        got[r.body.decode() if r.status == 200 else r.status] += 1
    return got


def test_round_robin(weir, upstreams):
    assert spread(weir, upstreams(3), 30) == {"0": 10, "1": 10, "2": 10}


def test_weights(weir, upstreams):
    ups = upstreams(2)
    got = spread(weir, ups, 40, [{"addr": ups[0].addr, "weight": 3}, {"addr": ups[1].addr}])
    assert got == {"0": 30, "1": 10}


def test_backup_rests_while_others_work(weir, upstreams):
    ups = upstreams(2)
    assert spread(weir, ups, 10, [{"addr": ups[0].addr}, {"addr": ups[1].addr, "backup": True}]) == {"0": 10}


def test_least_requests_avoids_the_busy_one(weir, upstreams):
    ups = upstreams(2)
    w = weir(upstreams={"app": {"endpoints": [u.addr for u in ups], "lb": "least-requests"}})
    w.client().ask("/long")
    busy = until(lambda: [u for u in ups if readable([u.sock])], "one is called")[0]
    busy.expect_request("GET /long")
    idle = ups[1 - ups.index(busy)]
    c = w.client()
    for i in range(6):
        c.ask(f"/{i}")
        idle.expect_request(f"GET /{i}")
        idle.answer(200, b"x")
        c.expect(200)
    busy.untouched()
    busy.answer(200, b"at last")


def test_attempts_are_counted(weir):
    w = weir(serve=True)
    assert w.statuses(3) == [200] * 3
    assert w.metric("weir_upstream_attempts_total", upstream="app", endpoint=w.upstream.addr) == 3


def test_requests_to_two_upstreams_do_not_mix(weir, upstreams):
    ups = upstreams(2)
    w = weir(upstreams={"a": ups[0].addr, "b": ups[1].addr},
             routes=[{"name": "a", "match": {"path": "/a"}, "to": "a"}, {"name": "b", "to": "b"}])
    c = w.client().send(request("/a") + request("/b"))
    ups[0].expect_request("GET /a")
    ups[0].answer(200, b"a")
    ups[1].expect_request("GET /b")
    ups[1].answer(200, b"b")
    c.expect(200, b"a")
    c.expect(200, b"b")


def test_a_dead_endpoint_fails_its_share_only(weir, upstreams):
    ups = upstreams(2)
    ups[1].refuse()
    got = spread(weir, ups, 20)
    assert got["0"] >= 10 and got["0"] + got[502] == 20


def test_upstream_comes_back(weir):
    w = weir()
    addr = w.upstream.addr
    w.upstream.refuse()
    assert w.fetch().status == 502
    w.upstream = Upstream(addr).serve()
    assert w.fetch().status == 200


def test_fallback_when_there_is_no_endpoint(weir, upstreams):
    other = upstreams(1)[0].serve(lambda r: response(200, b"other"))
    w = weir(upstreams={"app": "nowhere.invalid:80", "other": other.addr}, route={"fallback": "other"})
    assert w.client().ask().expect(200).body == b"other"
    assert w.access()[0]["upstream.endpoint"] == other.addr


def test_a_try_that_never_left_reinstates_nobody(weir, upstreams, tmp_path):
    """Who was passed over fails twice, is held, and has no connection for his next trial: then he has failed thrice, not once."""
    (up, spare), gate, log = upstreams(2), threading.Event(), tmp_path / "e"
    up.serve(lambda r: (up.requests < 3 or gate.wait(harness.TIMEOUT)) and r.wire.reset())
    ends = [{"addr": up.addr, "eject_after": 2, "eject_for": "1s"}, {"addr": spare.serve().addr}]
    w = weir(upstreams={"app": {"endpoints": ends, "lb": "round-robin", "max_connections": 1}}, log={"events": {"e": {"path": str(log), "level": "warn"}}})
    until(lambda: w.fetch() and up.requests == 2, "ejected")
    until(lambda: readable([w.client().ask()], 0.1) == [] and up.requests == 3, "its first trial, which is held")
    full = w.metric("weir_upstream_attempts_total", endpoint=up.addr, result="aborted")
    until(lambda: w.fetch() and w.metric("weir_upstream_attempts_total", endpoint=up.addr, result="aborted") > full, "its second trial")
    gate.set()
    until(lambda: log.read_text().count("passed over") == 2, "it has failed once more")

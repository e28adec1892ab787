"""WebSocket by extended CONNECT (RFC 8441), both ends in all pairs, frame by frame; HTTP/1 to HTTP/1 is in test_exchange.py."""

import base64
import hashlib
import signal
import time

import pytest

from h2wire import H2Client, H2Upstream, H2Wire

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}
CONNECT_PROTOCOL = 8


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def start(weir, upstreams=None, route=None, enable=1, **more):
    """A Weir with an upstream of HTTP/2 that takes extended CONNECT, or (no `upstreams`) one of HTTP/1."""
    route = {"upgrade": True} if route is None else route
    if upstreams is None:
        return weir(route=route, **more)
    up, = upstreams(1)
    w = weir(upstream=up, route=route, **more,
             upstreams={"app": {"endpoints": [up.addr], "http2": True, "keepalive_timeout": "3s"}})
    return w, H2Upstream(up, **({"enable_connect_protocol": enable} if enable else {}))


def connect(h, target="/chat", headers=(), protocol="websocket", method="CONNECT", end=False, scheme="http"):
    s = h.h2.get_next_available_stream_id()
    head = [(":method", method), (":protocol", protocol), (":scheme", scheme), (":path", target), (":authority", "test"),
            ("sec-websocket-version", "13"), *headers]
    h.h2.send_headers(s, [f for f in head if f[1] is not None], end_stream=end)
    h.flush()
    return s


def upgrade(w, more=None):
    """The same in HTTP/1; None takes a field out."""
    fields = {k: v for k, v in {"Host": "test", **UPGRADE, **(more or {})}.items() if v is not None}
    text = "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return w.client().send(f"GET /chat HTTP/1.1\r\n{text}\r\n".encode())


def opened(h, s):
    assert h.pump(lambda: h.of(s).headers or h.of(s).reset is not None)
    assert h.of(s).status == 200, h.of(s).headers
    for name in ("upgrade", "connection", "sec-websocket-accept", "content-length", "transfer-encoding"):
        assert h.of(s).get(name) is None, h.of(s).headers
    return h.of(s)


def switch(w, r, *more, key=None):
    fields = "".join(f"{k}: {v}\r\n" for k, v in more)
    accept = accept_of(key or r.get("sec-websocket-key"))
    w.upstream.send(("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     f"Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n").encode())


# ---- who is told

@pytest.mark.parametrize("upgrade", [True, False])
def test_it_is_offered_where_a_route_takes_it(weir, upgrade):
    w = weir(routes=[{"to": "app", "match": {"path": "/x"}, "upgrade": upgrade}, {"to": "app"}], serve=True)
    h = H2Client(w.client())
    h.fetch("/x", 200)
    assert h.h2.remote_settings.get(CONNECT_PROTOCOL, 0) == (1 if upgrade else 0)
    if not upgrade:
        h.expect(connect(h), 400)
    h.close()


def test_a_route_without_it_refuses(weir):
    w = weir(routes=[{"to": "app", "match": {"path": "/x"}, "upgrade": True}, {"to": "app"}])
    h = H2Client(w.client())
    h.expect(connect(h), 501)
    w.upstream.untouched(0.05)
    assert w.access(1)[0]["reason"] == "upgrade_refused"
    h.close()


@pytest.mark.parametrize("more, status", [
    ({"protocol": "connect-udp"}, 501), ({"protocol": ""}, 400), ({"method": "GET"}, 400), ({"scheme": None}, 400),
    ({"target": None}, 400), ({"target": "*"}, 400), ({"headers": [("content-length", "0")]}, 400),
    ({"headers": [("upgrade", "websocket")]}, 400), ({"headers": [("connection", "upgrade")]}, 400),
    ({"protocol": None}, 405), ({"headers": [(":protocol", "websocket")]}, 400),
], ids=str)
def test_what_is_no_extended_connect(weir, more, status):
    w = start(weir)
    h = H2Client(w.client())
    h.expect(connect(h, **more), status)
    w.upstream.untouched(0.05)
    h.sync()
    h.close()


# ---- HTTP/2 to HTTP/1

def test_h2_to_h1(weir):
    w = start(weir)
    h = H2Client(w.client())
    s = connect(h, "/chat?x=1", [("sec-websocket-protocol", "a, b"), ("sec-websocket-key", KEY), ("origin", "http://o")])
    h.send_body(s, b"early", end=False)
    r = w.upstream.expect_request("GET /chat?x=1 HTTP/1.1", connection="upgrade", upgrade="websocket", host="test",
                                  sec_websocket_version="13", sec_websocket_protocol="a, b", origin="http://o")
    key = r.get("sec-websocket-key")
    assert key != KEY and len(base64.b64decode(key)) == 16 and not r.has("transfer-encoding")
    switch(w, r, ("Sec-WebSocket-Protocol", "b"))
    assert opened(h, s).get("sec-websocket-protocol") == "b"
    assert w.upstream.wire.read_exact(5) == b"early"
    h.send_body(s, b"ping" * 1000, end=False)
    assert w.upstream.wire.read_exact(4000) == b"ping" * 1000
    w.upstream.send(b"pong" * 100000)
    assert h.pump(lambda: len(h.of(s).body) == 400000) and h.of(s).body == b"pong" * 100000
    h.h2.end_stream(s)
    h.flush()
    w.upstream.wire.expect_closed()
    w.upstream.close()
    assert h.pump(lambda: h.of(s).ended) and h.of(s).reset is None
    line = w.access(1)[0]
    assert (line["http.request.method"], line["http.response.status_code"], line["reason"]) == ("GET", 200, "ok")
    h.fetch("/x", 400, headers={"x": "\0"})  # the connection goes on
    h.close()


def test_each_has_a_key_of_its_own(weir):
    w = start(weir)
    h = H2Client(w.client())
    keys = set()
    for _ in range(3):
        s = connect(h)
        keys.add(w.upstream.expect_request("GET /chat").get("sec-websocket-key"))
        w.upstream.answer(403, b"no")
        h.expect(s, 403, b"no")
    assert len(keys) == 3
    h.close()


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
    + ACCEPT.encode() + b"\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
], ids=repr)
def test_answers_that_open_nothing(weir, answer):
    w = start(weir)
    h = H2Client(w.client())
    s = connect(h)
    w.upstream.expect_request("GET /chat")
    w.upstream.send(answer)
    h.expect(s, 502)
    assert w.access(1)[0]["reason"] == "upstream_malformed"
    h.close()


def test_the_client_resets_the_tunnel(weir):
    w = start(weir)
    h = H2Client(w.client())
    s = connect(h)
    switch(w, w.upstream.expect_request("GET /chat"))
    opened(h, s)
    h.h2.reset_stream(s, 8)
    h.flush()
    w.upstream.wire.expect_closed()
    h.sync()
    h.close()


def test_the_upstream_breaks_the_tunnel(weir):
    w = start(weir)
    h = H2Client(w.client())
    s = connect(h)
    switch(w, w.upstream.expect_request("GET /chat"))
    opened(h, s)
    w.upstream.send(b"bye")
    assert h.pump(lambda: h.of(s).body == b"bye")
    w.upstream.reset()
    assert h.wait(s).reset is not None
    h.sync()
    h.close()


def test_trailers_do_not_end_a_tunnel(weir):
    w = start(weir)
    h = H2Client(w.client())
    s = connect(h)
    switch(w, w.upstream.expect_request("GET /chat"))
    opened(h, s)
    h.h2.send_headers(s, [("x", "y")], end_stream=True)
    h.flush()
    assert h.wait(s).reset == 1
    h.close()


# ---- HTTP/2 to HTTP/2, HTTP/1 to HTTP/2

def answer_switch(r, *more):
    r.conn.h2.send_headers(r.stream, [(":status", "200"), *more])
    r.conn.flush()


def both_ways(send, seen, r):
    """`send` of the client, `seen` by it; the upstream's stream is r."""
    for i in range(3):
        send(b"ping%d" % i * 3000)
        assert r.conn.pump(lambda: r.body.endswith(b"ping%d" % i * 3000))
        r.conn.send_body(r.stream, b"pong%d" % i * 5000, end=False)
        assert seen(b"pong%d" % i * 5000)


def expect_connect(up, **fields):
    r = up.expect(whole=False)
    assert dict(r.headers)[":method"] == "CONNECT" and r.get(":protocol") == "websocket" and r.get(":scheme") == "http"
    assert r.get(":path") == "/chat" and r.get(":authority") == "test" and r.get("sec-websocket-version") == "13"
    for name in ("upgrade", "connection", "sec-websocket-key", "content-length", "host"):
        assert r.get(name) is None, r.headers
    assert not r.ended
    return r


def test_h2_to_h2(weir, upstreams):
    w, up = start(weir, upstreams)
    h = H2Client(w.client())
    s = connect(h)
    r = expect_connect(up)
    answer_switch(r, ("sec-websocket-protocol", "b"), ("content-length", "0"))
    assert opened(h, s).get("sec-websocket-protocol") == "b"
    both_ways(lambda b: h.send_body(s, b, end=False), lambda b: h.pump(lambda: h.of(s).body.endswith(b)), r)
    r.conn.h2.end_stream(r.stream)
    r.conn.flush()
    assert h.pump(lambda: h.of(s).ended)
    h.send_body(s, b"last words")
    assert r.conn.pump(lambda: r.ended) and r.body.endswith(b"last words") and r.reset is None
    assert w.access(1)[0]["reason"] == "ok" and h.of(s).reset is None
    t = connect(h)  # over the same connections
    r2 = expect_connect(up)
    assert r2.conn is r.conn
    up.reset(r2, 2)
    h.expect(t, 502)
    h.close()


def test_h1_to_h2(weir, upstreams):
    w, up = start(weir, upstreams)
    c = upgrade(w)
    r = expect_connect(up)
    answer_switch(r, ("sec-websocket-protocol", "b"))
    c.expect(101, upgrade="websocket", connection="upgrade", sec_websocket_accept=ACCEPT, sec_websocket_protocol="b")
    both_ways(c.send, lambda b: c.read_exact(len(b)) == b, r)
    r.conn.h2.end_stream(r.stream)
    r.conn.flush()
    c.expect_closed()
    c.close()
    assert r.conn.pump(lambda: r.ended or r.reset is not None)
    assert w.access(1)[0]["http.response.status_code"] == 101


@pytest.mark.parametrize("key", ["", "short", KEY + "=", None])
def test_keys_that_are_none(weir, upstreams, key):
    w, up = start(weir, upstreams)
    c = upgrade(w, {"Sec-WebSocket-Key": key})
    up.accept()
    c.expect(400)
    c.close()


@pytest.mark.parametrize("version", [1, 2])
def test_an_upstream_that_does_not_offer_it(weir, upstreams, version):
    w, up = start(weir, upstreams, enable=0)
    if version == 2:
        h = H2Client(w.client())
        s = connect(h)
        conn = up.accept()
        h.expect(s, 502)
        h.close()
    else:
        c = upgrade(w)
        conn = up.accept()
        c.expect(502)
        c.close()
    assert w.access(1)[0]["reason"] == "upstream_no_upgrade"
    assert not conn.new


def test_another_protocol_stays_with_http1(weir, upstreams):
    w, up = start(weir, upstreams)
    c = upgrade(w, {"Upgrade": "other"})
    up.accept()
    c.expect(502)
    assert w.access(1)[0]["reason"] == "upstream_no_upgrade"
    c.close()


def test_it_waits_for_the_settings(weir, upstreams):
    """RFC 8441 section 3: not before the upstream has said so."""
    w, up = start(weir, upstreams)
    h = H2Client(w.client())
    s = connect(h)
    wire = up.upstream.accept()
    time.sleep(0.1)
    assert wire.fill() and len(wire.buf) >= 24
    assert b"websocket" not in wire.buf
    c = H2Wire(wire, False, enable_connect_protocol=1)
    up.conns.append(c)
    r = expect_connect(up)
    answer_switch(r)
    opened(h, s)
    h.close()


@pytest.mark.parametrize("status", [200, 403, 503])
def test_declined_by_h2(weir, upstreams, status):
    w, up = start(weir, upstreams)
    h = H2Client(w.client())
    s = connect(h)
    r = expect_connect(up)
    if status == 200:
        up.answer(r, 200)  # opens, and ends its side
        opened(h, s)
        assert h.pump(lambda: h.of(s).ended)
        h.h2.end_stream(s)
        h.flush()
        assert r.conn.pump(lambda: r.ended)
    else:
        up.answer(r, status, b"no")
        h.expect(s, status, b"no")
        assert r.conn.pump(lambda: r.reset is not None)
    h.sync()
    h.close()


def test_a_drain_cuts_tunnels_at_its_end(weir):
    w = start(weir, shutdown={"delay": "0s", "drain": "2s"})
    h = H2Client(w.client())
    s = connect(h)
    switch(w, w.upstream.expect_request("GET /chat"))
    opened(h, s)
    w.signal(signal.SIGTERM)
    assert h.pump(lambda: h.goaway)
    h.send_body(s, b"still", end=False)
    assert w.upstream.wire.read_exact(5) == b"still"
    w.wait_exit()

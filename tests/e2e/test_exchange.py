"""Calls as they go through: framing both ways, keep-alive, pipelining, HTTP/1.0, interim answers, tunnels."""

import signal

import pytest

import harness
from harness import request, response


def test_get_and_back(weir):
    w = weir()
    c = w.client().ask("/a?b=c")
    w.upstream.expect_request("GET /a?b=c HTTP/1.1")
    w.upstream.answer(200, b"hello", {"X-Kept": "yes"})
    c.expect(200, b"hello", x_kept="yes")


def test_keep_alive_on_both_sides(weir):
    w = weir()
    c = w.client()
    for i in range(5):
        c.ask(f"/{i}")
        w.upstream.expect_request(f"GET /{i}")
        w.upstream.answer(200, b"%d" % i)
        c.expect(200, b"%d" % i)
    assert w.upstream.accepted == 1


def test_connection_close_is_obeyed(weir):
    w = weir()
    c = w.client().ask(headers={"Connection": "close"})
    w.upstream.expect_request(connection=None)
    w.upstream.answer(200, b"bye")
    c.refused(200)


def test_pipelined_requests_are_answered_in_order(weir):
    w = weir()
    c = w.client().send(b"".join(request(f"/{i}") for i in range(4)))
    for i in range(4):
        w.upstream.expect_request(f"GET /{i}")
        w.upstream.answer(200, b"%d" % i)
    for i in range(4):
        c.expect(200, b"%d" % i)


def test_pipelined_posts_keep_their_bodies(weir):
    w = weir()
    c = w.client().send(request("/1", body=b"one") + request("/2", body=[b"tw", b"o"]) + request("/3"))
    for i, body in ((1, b"one"), (2, b"two"), (3, b"")):
        w.upstream.expect_request(body=body)
        w.upstream.answer(200, b"%d" % i)
        c.expect(200, b"%d" % i)


def test_empty_lines_before_a_request(weir):
    w = weir()
    c = w.client().send(b"\r\n" + request("/x"))
    w.upstream.expect_request("GET /x")
    w.upstream.answer()
    c.expect(200)


def test_one_byte_at_a_time(weir):
    w = weir()
    c = w.client().send_bytewise(request("/slow", body=[b"ab", b"c"], trailers={"X-T": "1"}))
    w.upstream.expect_request("POST /slow", body=b"abc")
    w.upstream.wire.send_bytewise(response(200, [b"de", b"f"], trailers={"X-U": "2"}))
    assert c.expect(200, b"def").trailers == [("x-u", "2")]


# ---- bodies of requests

def test_body_by_length(weir):
    w = weir()
    c = w.client().ask(body=b"x" * 100_000)
    w.upstream.expect_request("POST /", body=b"x" * 100_000, content_length=100_000)
    w.upstream.answer()
    c.expect(200)


def test_chunked_body_with_trailers(weir):
    w = weir()
    c = w.client().ask(body=[b"abc", b"d" * 5000], headers={"TE": "trailers"}, trailers={"X-Sum": "1"})
    r = w.upstream.expect_request(body=b"abc" + b"d" * 5000, transfer_encoding="chunked")
    assert r.trailers == [("x-sum", "1")]
    w.upstream.answer()
    c.expect(200)


def test_chunk_extensions_are_read_and_not_passed_on(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                        b"3;a=b;c=\"d\"\r\nabc\r\n0;last\r\n\r\n")
    w.upstream.expect_request(read_body=False)
    w.upstream.wire.expect_bytes(b"3\r\nabc\r\n0\r\n\r\n")
    w.upstream.answer()
    c.expect(200)


def test_request_body_streams_before_its_end(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
    w.upstream.expect_request("POST /", read_body=False)
    w.upstream.wire.expect_bytes(b"first")
    c.send(b"later")
    w.upstream.wire.expect_bytes(b"later")
    w.upstream.answer()
    c.expect(200)


def test_answer_before_the_request_body_ends(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
    w.upstream.expect_request("POST /", read_body=False)
    w.upstream.answer(403, b"no", {"Connection": "close"}, phrase="Forbidden")
    c.expect(403, b"no")


def test_answer_of_an_upstream_that_hangs_up_on_the_upload(weir):
    w = weir()
    for _ in range(5):
        c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
        w.upstream.expect_request("POST /", read_body=False)
        w.signal(signal.SIGSTOP)  # so that more to write is found before the answer is
        c.send(b"more")
        w.upstream.answer(413, b"large", {"Connection": "close"}).reset()
        w.signal(signal.SIGCONT)
        c.expect(413, b"large")


# ---- bodies of answers

def test_chunked_answer_with_trailers(weir):
    w = weir()
    c = w.client().ask(headers={"TE": "trailers"})
    w.upstream.expect_request()
    w.upstream.answer(200, [b"one", b"two"], trailers={"X-Sum": "6"})
    assert c.expect(200, b"onetwo", transfer_encoding="chunked").trailers == [("x-sum", "6")]


def test_answer_until_close(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\n\r\nall there is")
    w.upstream.close()
    r = c.expect(200, b"all there is")
    assert r.has("transfer-encoding") or r.ended_by_close


def test_answer_streams_as_it_comes(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert c.read_head().status == 200
    for i in range(3):
        w.upstream.send(b"9\r\ndata: %d\n\n\r\n" % i)
        c.expect_bytes(b"9\r\ndata: %d\n\n\r\n" % i)
    w.upstream.send(b"0\r\n\r\n")
    assert c.read_chunked() == (b"", [])


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_by_status(weir, status):
    w = weir()
    c = w.client().ask("/1")
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 %d X\r\nETag: \"a\"\r\n\r\n" % status)
    c.expect(status, etag='"a"', transfer_encoding=None)
    c.ask("/2")
    w.upstream.expect_request("GET /2")
    w.upstream.answer(200, b"next")
    c.expect(200, b"next")


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_204_that_announces_a_body_is_the_last_of_its_connection(weir, framing):
    w = weir()
    c = w.client().ask("/1")
    w.upstream.expect_request("GET /1")
    w.upstream.send(b"HTTP/1.1 204 No Content\r\n" + framing + b"\r\n\r\n")
    c.expect(204, content_length=None, transfer_encoding=None)
    c.ask("/2")
    w.upstream.expect_request("GET /2")
    assert w.upstream.accepted == 2


def test_304_keeps_the_length_it_names(weir):
    w = weir()
    c = w.client().ask("/1").ask("/2")
    w.upstream.expect_request("GET /1")
    w.upstream.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n")
    c.expect(304)
    w.upstream.expect_request("GET /2")
    w.upstream.answer(200, b"next")
    c.expect(200, b"next")


@pytest.mark.parametrize("framing", [b"Content-Length: 12345", b"Transfer-Encoding: chunked", b"X-No: framing"])
def test_head_has_no_body_whatever_it_says(weir, framing):
    w = weir()
    c = w.client().ask("/1", method="HEAD")
    w.upstream.expect_request("HEAD /1")
    w.upstream.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    r = c.expect(200, head=True)
    assert b"Length" not in framing or r.get("content-length") == "12345"
    c.ask("/2")
    w.upstream.expect_request("GET /2")
    w.upstream.answer(200, b"next")
    c.expect(200, b"next")


def test_empty_body_stays_empty(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    c.expect(200, b"", content_length=0)


# ---- HTTP/1.0

def test_http10_closes(weir):
    w = weir()
    c = w.client().ask(version="1.0", host=None)
    w.upstream.expect_request("GET / HTTP/1.1", host=w.upstream.addr)  # many refuse an empty Host
    w.upstream.answer(200, b"old")
    c.expect(200, b"old", transfer_encoding=None)
    c.expect_closed()


def test_http10_keep_alive_when_asked(weir):
    w = weir()
    c = w.client()
    for i in range(2):
        c.ask(f"/{i}", version="1.0", headers={"Connection": "keep-alive"})
        w.upstream.expect_request(f"GET /{i}")
        w.upstream.answer(200, b"old")
        c.expect(200, b"old", connection="keep-alive")


def test_http10_client_gets_no_chunks(weir):
    w = weir()
    c = w.client().ask(version="1.0")
    w.upstream.expect_request()
    w.upstream.answer(200, [b"in ", b"parts"])
    r = c.expect(200, b"in parts", transfer_encoding=None)
    assert r.ended_by_close or r.has("content-length")


def test_http10_upstream(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
    w.upstream.close()
    c.expect(200, b"until the end")


# ---- interim answers

def test_100_continue_is_the_upstreams_to_give(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    w.upstream.expect_request("POST /", read_body=False)
    w.upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    c.expect(100)
    c.send(b"body")
    w.upstream.wire.expect_bytes(b"body")
    w.upstream.answer(200, b"done")
    c.expect(200, b"done")


def test_a_100_that_never_comes_is_the_upstreams_fault(weir):
    w = weir(route={"timeout": {"idle": "200ms"}})
    c = w.client().ask(method="POST", headers={"Expect": "100-continue", "Content-Length": 5})
    w.upstream.expect_request(read_body=False)
    c.refused(504)
    assert w.access()[0]["reason"] == "first_byte_timeout"


def test_expect_refused_by_the_upstream(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    w.upstream.expect_request("POST /", read_body=False)
    w.upstream.answer(417, b"", phrase="Expectation Failed")
    c.expect(417)


def test_early_hints_go_through(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
    c.expect(103, link="</a.css>")
    w.upstream.answer(200, b"page")
    c.expect(200, b"page")


def test_interim_answers_are_not_for_http10(weir):
    w = weir()
    c = w.client().ask(version="1.0")
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + response(200, b"page"))
    c.expect(200, b"page")


# ---- tunnels

HANDSHAKE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def tunnel(weir, **more):
    w = weir(route={"upgrade": True}, **more)
    c = w.client().ask("/ws", headers=HANDSHAKE)
    w.upstream.expect_request("GET /ws", upgrade="websocket", connection="upgrade")
    w.upstream.send(SWITCH)
    c.expect(101, upgrade="websocket")
    return w, c, w.upstream.wire


def test_only_to_what_the_client_offers(weir):
    w = weir(route={"upgrade": True})
    c = w.client().ask("/ws", headers={"Connection": "upgrade", "Upgrade": "a, websocket"})
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
    c.expect(502)


def test_upgrade_tunnels_both_ways(weir):
    _, c, u = tunnel(weir)
    for i in range(10):
        c.send(b"\x81\x05ping%d" % i)
        u.expect_bytes(b"\x81\x05ping%d" % i)
        u.send(b"\x81\x05pong%d" % i)
        c.expect_bytes(b"\x81\x05pong%d" % i)
    u.send(b"x" * 300_000)
    assert c.read_exact(300_000) == b"x" * 300_000


def test_tunnel_ends_when_the_upstream_ends(weir):
    _, c, u = tunnel(weir)
    u.send(b"bye")
    u.close()
    assert c.read_eof() == b"bye"


def test_tunnel_ends_when_the_client_ends(weir):
    _, c, u = tunnel(weir)
    c.send(b"bye")
    c.close()
    assert u.read_eof() == b"bye"


def test_bytes_right_behind_the_handshake(weir):
    w = weir(route={"upgrade": True})
    c = w.client().ask("/ws", headers=HANDSHAKE)
    w.upstream.expect_request("GET /ws")
    w.upstream.send(SWITCH + b"first frame")
    c.expect(101)
    c.expect_bytes(b"first frame")


def test_upgrade_declined_is_an_ordinary_answer(weir):
    w = weir(route={"upgrade": True})
    c = w.client().ask("/ws", headers=HANDSHAKE)
    w.upstream.expect_request("GET /ws")
    w.upstream.answer(200, b"no tunnel")
    c.expect(200, b"no tunnel")


@pytest.mark.parametrize("status,protocol,want", [(426, "websocket", "websocket"), (426, "h2c", None), (200, "h2,h2c", None),
                                                  (200, "websocket", None)])
def test_upgrade_is_offered_by_426_only(weir, status, protocol, want):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.answer(status, b"x", {"Connection": "Upgrade, Keep-Alive", "Upgrade": protocol})
    c.expect(status, b"x", upgrade=want, connection=want and "upgrade")


def test_upgrade_not_allowed_is_not_passed_on(weir):
    w = weir()
    c = w.client().ask("/ws", headers=HANDSHAKE)
    w.upstream.expect_request("GET /ws", upgrade=None)
    w.upstream.answer(200, b"plain")
    c.expect(200, b"plain", upgrade=None)


# ---- half-close and other endings

def test_the_host_of_an_absolute_url_counts_where_it_is_said(weir):
    w = weir(limits={"loose_host": True})
    w.client().send(b"GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n")
    w.upstream.expect_request("GET /x", host="b.example")


def test_half_close_is_an_abort_where_it_is_said(weir):
    w = weir(limits={"half_close": False})
    c = w.client().ask()
    w.upstream.expect_request()
    c.half_close()
    c.expect_closed()


def test_half_close_after_the_request_is_no_abort(weir):
    w = weir()
    c = w.client().ask().half_close()
    w.upstream.expect_request()
    w.upstream.answer(200, b"still here")
    c.expect(200, b"still here")
    c.expect_closed()


def test_half_close_while_an_answer_streams(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    c.read_head()
    c.half_close()
    c.expect_bytes(b"hello")
    w.upstream.send(b"world")
    c.expect_bytes(b"world")


def test_half_close_inside_a_body_is_the_end_of_it(weir):
    w = weir()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").half_close()
    w.upstream.expect_request(read_body=False)
    assert w.upstream.wire.read_eof() == b"half"
    c.expect_closed(anything=True)


def test_a_body_is_awaited(weir):
    w = weir(route={"await_body": "1KiB"})
    c = w.client().send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n")
    c.expect(100)
    assert not harness.readable([w.upstream.sock], 0.1)
    c.send(b"2\r\nde\r\n0\r\n\r\n")
    w.upstream.expect_request("POST /a", body=b"abcde", content_length="5", transfer_encoding=None, expect=None)
    w.upstream.answer(200, b"ok")
    c.expect(200, b"ok")


def test_no_more_than_that_of_a_body_is_awaited(weir):
    w = weir(route={"await_body": "1KiB"})
    c = w.client().send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + b"x" * 0x800 + b"\r\n")
    w.upstream.expect_request("POST /a", read_body=False, transfer_encoding="chunked")
    c.send(b"1\r\ny\r\n0\r\n\r\n")
    w.upstream.answer(200, b"ok")
    c.expect(200, b"ok")


def test_a_body_that_is_awaited_is_too_large(weir):
    w = weir(route={"await_body": "64KiB", "max_body": "1KiB"})
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    w.client().send(head + b"800\r\n" + b"x" * 0x800 + b"\r\n0\r\n\r\n").refused(413)
    w.upstream.untouched()


def test_all_bodies_that_are_awaited_are_bounded(weir):
    w = weir(limits={"awaited": "64KiB"}, route={"await_body": "1MiB"})
    head, piece = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"f000\r\n" + b"x" * 0xf000 + b"\r\n"
    first = w.client().send(head + piece)
    assert not harness.readable([w.upstream.sock], 0.1)
    second = w.client().send(head + piece)
    w.upstream.expect_request("POST /a", read_body=False, transfer_encoding="chunked")
    first.close(), second.close(), w.upstream.close()
    w.client().send(head + b"3\r\nabc\r\n").quiet().send(b"0\r\n\r\n")
    w.upstream.expect_request("POST /a", body=b"abc", content_length="3")


def test_who_calls_is_not_told(weir):
    w = weir(route={"forwarded": False})
    c = w.client().ask("/a", headers={"X-Forwarded-For": "1.2.3.4"})
    w.upstream.expect_request("GET /a", x_forwarded_for="1.2.3.4", via=None, x_request_id=None, traceparent=None, x_real_ip=None, forwarded=None)
    w.upstream.answer(200, b"ok")
    c.expect(200, b"ok", via=None)

"""What is refused before anybody sees it: malformed and ambiguous requests, each with its status (RFC 9112).

Behind every bad request stands a good one: it must never be answered, and no byte of either may reach the upstream.
"""

import time

import pytest

from harness import readable, request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
BEHIND = request("/smuggled")

BAD_HEADS = [
    # line ends and white space
    ("bare LF after the request line", 400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LF after a field", 400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    ("bare LF as the empty line", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare LFs throughout", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare CR in a value", 400, GET + b"X: a\rb\r\n\r\n"),
    ("bare CR hiding a field", 400, GET + b"X: a\rContent-Length: 5\r\n\r\n"),
    ("CR CR LF", 400, GET + b"X: a\r\r\n\r\n"),
    ("obs-fold with a space", 400, GET + b"X: a\r\n b\r\n\r\n"),
    ("obs-fold with a tab", 400, GET + b"X: a\r\n\tb\r\n\r\n"),
    ("obs-fold of Transfer-Encoding", 400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n"),
    ("space before the first field", 400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("space before the colon", 400, GET + b"X : b\r\n\r\n"),
    ("tab before the colon", 400, GET + b"X\t: b\r\n\r\n"),
    ("space before the colon of a length", 400, POST + b"Content-Length : 5\r\n\r\n"),
    ("space in a name", 400, GET + b"X Y: b\r\n\r\n"),
    ("empty name", 400, GET + b": b\r\n\r\n"),
    ("no colon", 400, GET + b"just text\r\n\r\n"),
    ("NUL in a value", 400, GET + b"X: a\0b\r\n\r\n"),
    ("NUL in a name", 400, GET + b"X\0: a\r\n\r\n"),
    ("NUL in the target", 400, b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("control character in a value", 400, GET + b"X: a\x01b\r\n\r\n"),
    ("vertical tab in a value", 400, GET + b"X: a\x0bb\r\n\r\n"),
    ("DEL in a value", 400, GET + b"X: a\x7fb\r\n\r\n"),
    ("high byte in a name", 400, GET + b"X\xe9: a\r\n\r\n"),
    ("quote in a name", 400, GET + b"\"X\": a\r\n\r\n"),
    # the request line
    ("no version", 400, b"GET /\r\nHost: a\r\n\r\n"),
    ("no target", 400, b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces", 400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("tab for a space", 400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space in the target", 400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space behind the version", 400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("space before the method", 400, b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method that is no token", 400, b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target that is no path", 400, b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("asterisk without OPTIONS", 400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("version in lower case", 400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("version with more digits", 400, b"GET / HTTP/1.11\r\nHost: a\r\n\r\n"),
    ("another protocol", 400, b"GET / ICY/1.1\r\nHost: a\r\n\r\n"),
    ("a TLS hello", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 40 + b"\r\n\r\n"),
    ("HTTP/2.0", 505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/3.0", 505, b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", 505, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    # Host
    ("no Host", 400, b"GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    ("two Hosts", 400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("two equal Hosts", 400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("Host with a space", 400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("Host with a slash", 400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("Host with user data", 400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("Host that is a list", 400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("Host with a bad port", 400, b"GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n"),
    ("authority that disagrees with Host", 400, b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("port that disagrees with Host", 400, b"GET http://a:81/ HTTP/1.1\r\nHost: a:82\r\n\r\n"),
    # paths that climb for some readers, and for others do not
    ("dots before an escaped slash", 400, b"GET /open/..%2fx HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("dots behind a backslash", 400, b"GET /open\\..\\x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("dots with a parameter", 400, b"GET /open/..;/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    # framing
    ("length and chunked", 400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked and length", 400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two unequal lengths", 400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    ("two equal lengths", 400, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"),
    ("a list of lengths", 400, POST + b"Content-Length: 5, 5\r\n\r\nabcde"),
    ("signed length", 400, POST + b"Content-Length: +5\r\n\r\nabcde"),
    ("negative length", 400, POST + b"Content-Length: -5\r\n\r\n"),
    ("hexadecimal length", 400, POST + b"Content-Length: 0x5\r\n\r\n"),
    ("empty length", 400, POST + b"Content-Length: \r\n\r\n"),
    ("length that overflows", 400, POST + b"Content-Length: 18446744073709551621\r\n\r\n"),
    ("length of many digits", 400, POST + b"Content-Length: " + b"9" * 300 + b"\r\n\r\n"),
    ("length with a word", 400, POST + b"Content-Length: 5 bytes\r\n\r\n"),
    ("chunked twice", 400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice in two fields", 400,
     POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", (400, 501), POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("empty coding", (400, 501), POST + b"Transfer-Encoding: \r\n\r\n"),
    ("quoted coding", (400, 501), POST + b"Transfer-Encoding: \"chunked\"\r\n\r\n"),
    ("coding with a parameter", (400, 501), POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n"),
    ("gzip", 501, POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    ("gzip, chunked", 501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("gzip and chunked in two fields", (400, 501),
     POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("identity", 501, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    ("a coding like chunked", 501, POST + b"Transfer-Encoding: xchunked\r\n\r\n"),
    ("chunked in HTTP/1.0", 400, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    # methods
    ("CONNECT", 405, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
]


@pytest.mark.parametrize("status,text", [r[1:] for r in BAD_HEADS], ids=[r[0] for r in BAD_HEADS])
def test_bad_head(weir, status, text):
    w = weir()
    c = w.client().send(text + BEHIND)
    r = c.expect(connection="close")
    assert r.status in (status if isinstance(status, tuple) else (status,)), f"{r.status} {r.body!r}"
    c.expect_closed()
    w.upstream.untouched()
    assert w.metric("weir_requests_total", code=str(r.status)) == 1


BAD_CHUNKS = [
    ("size that is no number", b"xyz\r\n"),
    ("empty size", b"\r\nabc\r\n"),
    ("negative size", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("signed size", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("0x before the size", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("space before the size", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("underscore in the size", b"1_0\r\nabc\r\n"),
    ("size that overflows", b"10000000000000000\r\nabc"),
    ("size of many digits", b"0" * 5000 + b"3\r\nabc\r\n"),
    ("bare LF after the size", b"3\nabc\r\n0\r\n\r\n"),
    ("bare CR after the size", b"3\rabc\r\n0\r\n\r\n"),
    ("chunk longer than its size", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("bare LF after the data", b"3\r\nabc\n0\r\n\r\n"),
    ("no line end after the data", b"3\r\nabc0\r\n\r\n"),
    ("bare LF in an extension", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    ("NUL in an extension", b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
    ("bare LF after the last chunk", b"0\n\r\n"),
    ("bare LF for the end", b"0\r\n\n"),
    ("malformed trailer", b"0\r\nX Y: 1\r\n\r\n"),
    ("folded trailer", b"0\r\nX: 1\r\n 2\r\n\r\n"),
]


@pytest.mark.parametrize("text", [r[1] for r in BAD_CHUNKS], ids=[r[0] for r in BAD_CHUNKS])
def test_bad_chunk(weir, text):
    w = weir()
    c = w.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + text + BEHIND)
    c.refused(400)
    u = w.upstream
    if readable([u.sock], 0.05):
        rest = u.accept().read_eof()
        assert b"smuggled" not in rest and not rest.endswith(b"0\r\n\r\n"), rest


ODD_BUT_GOOD = [
    ("coding in capitals", POST + b"Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
    ("size in capitals, with zeros", POST + b"Transfer-Encoding: chunked\r\n\r\n00A\r\n0123456789\r\n00\r\n\r\n",
     b"0123456789"),
    ("length 0", POST + b"Content-Length: 0\r\n\r\n", b""),
    ("white space around a length", POST + b"Content-Length: \t 3 \t\r\n\r\nabc", b"abc"),
    ("every token character in a name", GET + b"!#$%&'*+-.^_`|~09az: 1\r\n\r\n", b""),
    ("empty value", GET + b"X:\r\n\r\n", b""),
    ("tab in a value", GET + b"X: a\tb\r\n\r\n", b""),
    ("high bytes in a value", GET + b"X: caf\xe9\r\n\r\n", b""),
    ("a method of its own", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
    ("a host with a port", b"GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", b""),
    ("an IPv6 host", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", b""),
    ("a query with everything", b"GET /?a=b&c=%20?/;:@ HTTP/1.1\r\nHost: a\r\n\r\n", b""),
    ("a GET with a body", GET + b"Content-Length: 3\r\n\r\nabc", b"abc"),
]


@pytest.mark.parametrize("text,body", [r[1:] for r in ODD_BUT_GOOD], ids=[r[0] for r in ODD_BUT_GOOD])
def test_odd_but_good(weir, text, body):
    w = weir()
    c = w.client().send(text)
    w.upstream.expect_request(body=body)
    w.upstream.answer(200, b"fine")
    c.expect(200, b"fine")


# ---- limits on size and time

def test_head_too_large(weir):
    w = weir(limits={"header_bytes": "4KiB"})
    c = w.client().send(GET + b"X: " + b"a" * 5000 + b"\r\n\r\n", maybe=True)
    c.refused(431)
    w.upstream.untouched()


def test_too_many_fields(weir):
    w = weir(limits={"headers": 20})
    w.client().send(GET + b"X: a\r\n" * 25 + b"\r\n").refused(431)
    w.upstream.untouched()


def test_fields_up_to_the_limit(weir):
    w = weir(limits={"headers": 20})
    c = w.client().send(GET + b"X: a\r\n" * 19 + b"\r\n")
    w.upstream.expect_request()
    w.upstream.answer()
    c.expect(200)


def test_the_largest_head_there_may_be(weir):
    w = weir(limits={"header_bytes": "1MiB", "headers": 2000})
    fields = [(f"X-{i}", "v" * 1000) for i in range(1000)]
    c = w.client().ask(headers=fields)
    assert w.upstream.expect_request().get("x-999") == "v" * 1000
    w.upstream.answer(200, b"ok", fields)
    assert c.expect(200, b"ok").get("x-999") == "v" * 1000
    c.send(GET + b"X: " + b"a" * (1 << 20), maybe=True).refused(431)


def test_target_too_long(weir):
    w = weir(limits={"target_bytes": "1KiB"})
    w.client().ask("/" + "a" * 2000).refused(414)
    w.upstream.untouched()


def test_body_too_large_by_its_length(weir):
    w = weir(route={"max_body": "1KiB"})
    c = w.client().send(POST + b"Content-Length: 1025\r\n\r\n" + b"x" * 1025, maybe=True)
    c.refused(413)
    w.upstream.untouched()


def test_body_too_large_is_not_asked_for(weir):
    w = weir(route={"max_body": "1KiB"})
    w.client().send(POST + b"Content-Length: 1025\r\nExpect: 100-continue\r\n\r\n").refused(413)
    w.upstream.untouched()


def test_body_too_large_in_chunks(weir):
    w = weir(route={"max_body": "1KiB"})
    c = w.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n")
    w.upstream.expect_request(read_body=False)
    c.send(b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n", maybe=True)
    c.refused(413)
    assert not w.upstream.wire.read_eof().endswith(b"0\r\n\r\n")


def test_body_up_to_the_limit(weir):
    w = weir(route={"max_body": "1KiB"})
    c = w.client().ask(body=b"x" * 1024)
    w.upstream.expect_request(body=b"x" * 1024)
    w.upstream.answer()
    c.expect(200)


def test_slow_head(weir):
    w = weir(limits={"header_timeout": "300ms"})
    c = w.client().send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow")
    c.refused(408)
    w.upstream.untouched()


def test_dripping_head_gets_no_more_time(weir):
    w = weir(limits={"header_timeout": "400ms"})
    c = w.client()
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: ":
        c.send(bytes([byte]), maybe=True)
        time.sleep(0.03)
    c.expect(408, connection="close")


def test_silent_connection_is_closed_without_a_word(weir):
    w = weir(limits={"header_timeout": "200ms", "idle_timeout": "300ms"})
    w.client().expect_closed()


def test_idle_keep_alive_connection_is_closed(weir):
    w = weir(limits={"idle_timeout": "300ms"}, serve=True)
    c = w.client().ask()
    c.expect(200, b"ok")
    c.expect_closed()


@pytest.mark.parametrize("cut", [0, 10], ids=["between calls", "inside heads"])
def test_calls_refused_at_once_keep_their_connection_alive(weir, cut):
    w = weir(limits={"header_timeout": "1500ms", "idle_timeout": "1500ms"}, route={"match": {"path": "/x"}})
    c, text = w.client(), request("/nowhere")
    c.send(text[:cut])
    for _ in range(8):
        c.send(text[cut:] + text[:cut]).expect(404)
        time.sleep(0.25)


def test_slow_body(weir):
    w = weir(route={"timeout": {"idle": "300ms"}})
    c = w.client().send(POST + b"Content-Length: 10\r\n\r\nabc")
    w.upstream.expect_request(read_body=False)
    c.refused(408)
    assert w.upstream.wire.read_eof() == b"abc"

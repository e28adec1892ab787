"""What h2spec asks of a server, frame by frame over a socket, in plain text and over TLS: who breaks the rules hears the
right code, and nobody else is troubled.  (The rows are named after h2spec's; those of RFC 9113 alone are in
tests/conformance/rfc9113.)"""

import struct

import hpack
import pytest

from certificates import certs
from harness import response

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONT = range(10)
END, ACK, HEAD_END, PADDED, PRIO = 1, 1, 4, 8, 32
OK, PROTOCOL, INTERNAL, FLOW, _TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION = range(10)


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(*fields, method="POST", **pseudo):
    pseudo = {":method": method, ":scheme": "http", ":path": "/", ":authority": "test", **pseudo}
    return hpack.Encoder().encode([(k, v) for k, v in pseudo.items() if v is not None] + list(fields), huffman=False)


def get(stream=1, *fields, flags=END | HEAD_END, **pseudo):
    return frame(HEADERS, flags, stream, block(*fields, method="GET", **pseudo))


def post(stream=1, *fields, **pseudo):
    return frame(HEADERS, HEAD_END, stream, block(*fields, **pseudo))


def raw_head(fields, flags=END | HEAD_END, stream=1):
    return frame(HEADERS, flags, stream, hpack.Encoder().encode(fields, huffman=False))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def u32(n):
    return struct.pack(">I", n)


def data(text=b"x", flags=0, stream=1):
    return frame(DATA, flags, stream, text)


GOOD = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")]

# name, frames, what ends it: ("conn", codes), ("stream", codes), ("answer", status), ("ping",)
ROWS = [
    ("generic/1 idle", b"", ("ping",)),
    ("generic/2 half-closed", get(), ("answer", 200)),
    ("generic/3.1 DATA", post() + data(b"test", END), ("answer", 200)),
    ("generic/3.1 several DATA", post() + data(b"te") + data(b"st", END), ("answer", 200)),
    ("generic/3.1 padded DATA", post() + frame(DATA, END | PADDED, 1, b"\x06test" + bytes(6)), ("answer", 200)),
    ("generic/3.2 padded HEADERS", frame(HEADERS, END | HEAD_END | PADDED, 1, b"\x06" + block(method="GET") + bytes(6)),
     ("answer", 200)),
    ("generic/3.2 HEADERS with priority", frame(HEADERS, END | HEAD_END | PRIO, 1, u32(0) + b"\xff" + block(method="GET")),
     ("answer", 200)),
    ("generic/3.3 PRIORITY", frame(PRIORITY, 0, 1, u32(0) + b"\xff") + get(), ("answer", 200)),
    ("generic/3.3 PRIORITY on a higher stream", frame(PRIORITY, 0, 1, u32(0) + b"\xff") + get(3), ("answer", 200)),
    ("generic/3.3 PRIORITY before HEADERS, exclusive", frame(PRIORITY, 0, 1, u32(0x80000000) + b"\xff") + get(),
     ("answer", 200)),
    ("generic/3.4 RST_STREAM", post() + frame(RST, 0, 1, u32(CANCEL)), ("ping",)),
    ("generic/3.5 SETTINGS", settings((3, 100)), ("ping",)),
    ("generic/3.7 PING", frame(PING, 0, 0, b"12345678"), ("ping",)),
    ("generic/3.8 GOAWAY", frame(GOAWAY, 0, 0, u32(0) + u32(0)), ("ping",)),
    ("generic/3.9 WINDOW_UPDATE", frame(WINDOW, 0, 0, u32(1)), ("ping",)),
    ("generic/3.9 WINDOW_UPDATE of a stream", post() + frame(WINDOW, 0, 1, u32(1)) + data(b"x", END), ("answer", 200)),
    ("generic/3.10 CONTINUATION", frame(HEADERS, END, 1, block(method="GET")) +
     frame(CONT, HEAD_END, 1, hpack.Encoder().encode([("x", "y")])), ("answer", 200)),
    ("generic/3.10 several CONTINUATIONs", frame(HEADERS, END, 1, block(method="GET")) +
     frame(CONT, 0, 1, hpack.Encoder().encode([("x", "y")])) + frame(CONT, HEAD_END, 1, b""), ("answer", 200)),
    ("generic/4 HEAD", frame(HEADERS, END | HEAD_END, 1, block(method="HEAD")), ("answer", 200)),
    ("generic/5 Huffman", frame(HEADERS, END | HEAD_END, 1, hpack.Encoder().encode(GOOD, huffman=True)), ("answer", 200)),
    ("generic/5 a new name, never indexed", frame(HEADERS, END | HEAD_END, 1, block(method="GET") + b"\x10\x01a\x01b"),
     ("answer", 200)),
    ("4.1/1 a type that nobody knows", frame(0x16, 0, 0, bytes(8)), ("ping",)),
    ("4.1/2 a flag that nobody knows", frame(PING, 0x16, 0, bytes(8)), ("ping",)),
    ("4.1/3 the reserved bit", frame(PING, 0, 0x80000000, bytes(8)), ("ping",)),
    ("4.2/1 a frame of the largest size", post() + data(bytes(16384), END), ("answer", 200)),
    ("4.2/2 DATA above it", post() + data(bytes(16385), END), ("stream", SIZE)),
    ("4.2/3 HEADERS above it", frame(HEADERS, END | HEAD_END, 1, block(("x", "y" * 16385))), ("conn", SIZE)),
    ("4.3/1 a block that does not decode", frame(HEADERS, END | HEAD_END, 1, b"\xff\xff\xff\xff\xff\xff"),
     ("conn", COMPRESSION)),
    ("4.3/2 PRIORITY within a head", frame(HEADERS, END, 1, block()) + frame(PRIORITY, 0, 1, u32(0) + b"\xff"),
     ("conn", PROTOCOL)),
    ("4.3/3 HEADERS of another stream within", frame(HEADERS, END, 1, block()) + get(3), ("conn", PROTOCOL)),
    ("5.1/1 idle: DATA", data(b"test", END), ("conn", PROTOCOL)),
    ("5.1/2 idle: RST_STREAM", frame(RST, 0, 1, u32(CANCEL)), ("conn", PROTOCOL)),
    ("5.1/3 idle: WINDOW_UPDATE", frame(WINDOW, 0, 1, u32(100)), ("conn", PROTOCOL)),
    ("5.1/4 idle: CONTINUATION", frame(CONT, HEAD_END, 1, block()), ("conn", PROTOCOL)),
    ("5.1/5 half closed: DATA", get() + data(b"test", END), ("stream", CLOSED)),
    ("5.1/6 half closed: HEADERS", get() + get(), ("stream", CLOSED)),
    ("5.1/7 half closed: CONTINUATION", get() + frame(CONT, HEAD_END, 1, block()), ("conn", PROTOCOL, CLOSED)),
    ("5.1/8 closed by RST_STREAM: DATA", post() + frame(RST, 0, 1, u32(CANCEL)) + data(b"test", END), ("stream", CLOSED)),
    ("5.1/9 closed by RST_STREAM: HEADERS", post() + frame(RST, 0, 1, u32(CANCEL)) + get(), ("stream", CLOSED)),
    ("5.1/10 closed by RST_STREAM: CONTINUATION", post() + frame(RST, 0, 1, u32(CANCEL)) + frame(CONT, HEAD_END, 1, block()),
     ("conn", PROTOCOL, CLOSED)),
    ("5.1.1/1 an even stream", get(2), ("conn", PROTOCOL)),
    ("5.1.1/2 a lower stream", get(5) + get(3), ("conn", PROTOCOL)),
    ("5.1.2/1 too many streams", b"".join(post(2 * i + 1) for i in range(101)), ("stream", REFUSED)),
    ("5.3.1/1 HEADERS that depend on themselves", frame(HEADERS, END | HEAD_END | PRIO, 1, u32(1) + b"\xff" + block()),
     ("stream", PROTOCOL)),
    ("5.3.1/2 PRIORITY that depends on itself", post() + frame(PRIORITY, 0, 1, u32(1) + b"\xff"), ("stream", PROTOCOL)),
    ("5.4.1/1 the connection ends after an error", frame(PING, 0, 3, bytes(8)), ("conn", PROTOCOL)),
    ("5.5/1 an unknown frame", frame(0xff, 0, 1, b"12345678"), ("ping",)),
    ("5.5/2 an unknown frame within a head", frame(HEADERS, END, 1, block()) + frame(0xff, 0, 1, b"1"), ("conn", PROTOCOL)),
    ("6.1/1 DATA on stream 0", data(b"test", END, 0), ("conn", PROTOCOL)),
    ("6.1/3 DATA with too much padding", post() + frame(DATA, END | PADDED, 1, b"\x06test"), ("conn", PROTOCOL)),
    ("6.2/1 HEADERS without END_HEADERS, then PRIORITY", frame(HEADERS, 0, 1, block()) +
     frame(PRIORITY, 0, 1, u32(0) + b"\xff"), ("conn", PROTOCOL)),
    ("6.2/3 HEADERS on stream 0", get(0), ("conn", PROTOCOL)),
    ("6.2/4 HEADERS with too much padding", frame(HEADERS, END | HEAD_END | PADDED, 1, b"\xff" + block()),
     ("conn", PROTOCOL)),
    ("6.3/1 PRIORITY on stream 0", frame(PRIORITY, 0, 0, u32(0) + b"\xff"), ("conn", PROTOCOL)),
    ("6.3/2 PRIORITY of another length", post() + frame(PRIORITY, 0, 1, b"\x80\0\0\1"), ("stream", SIZE)),
    ("6.4/1 RST_STREAM on stream 0", frame(RST, 0, 0, u32(CANCEL)), ("conn", PROTOCOL)),
    ("6.4/2 RST_STREAM on an idle stream", frame(RST, 0, 1, u32(CANCEL)), ("conn", PROTOCOL)),
    ("6.4/3 RST_STREAM of another length", post() + frame(RST, 0, 1, b"\0\0\0"), ("conn", SIZE)),
    ("6.5/1 an acknowledgement with a payload", frame(SETTINGS, ACK, 0, b"\0"), ("conn", SIZE)),
    ("6.5/2 SETTINGS on a stream", frame(SETTINGS, 0, 1, struct.pack(">HI", 3, 100)), ("conn", PROTOCOL)),
    ("6.5/3 SETTINGS of another length", frame(SETTINGS, 0, 0, b"\0\3\0"), ("conn", SIZE)),
    ("6.5.2/1 ENABLE_PUSH", settings((2, 2)), ("conn", PROTOCOL)),
    ("6.5.2/2 INITIAL_WINDOW_SIZE", settings((4, 0x80000000)), ("conn", FLOW)),
    ("6.5.2/3 MAX_FRAME_SIZE too small", settings((5, 16383)), ("conn", PROTOCOL)),
    ("6.5.2/4 MAX_FRAME_SIZE too large", settings((5, 16777216)), ("conn", PROTOCOL)),
    ("6.5.2/5 one that nobody knows", settings((0xff, 1)), ("ping",)),
    ("6.5.3/1 one setting twice: the last one holds", settings((4, 100), (4, 1)) + get(), ("data", 1)),
    ("6.7/1 PING", b"", ("ping",)),
    ("6.7/2 an answer to no PING", frame(PING, ACK, 0, b"invalid!"), ("ping",)),
    ("6.7/3 PING on a stream", frame(PING, 0, 1, bytes(8)), ("conn", PROTOCOL)),
    ("6.7/4 PING of another length", frame(PING, 0, 0, bytes(6)), ("conn", SIZE)),
    ("6.8/1 GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), ("conn", PROTOCOL)),
    ("6.9/1 WINDOW_UPDATE of 0", frame(WINDOW, 0, 0, u32(0)), ("conn", PROTOCOL)),
    ("6.9/2 WINDOW_UPDATE of 0 on a stream", post() + frame(WINDOW, 0, 1, u32(0)), ("stream", PROTOCOL)),
    ("6.9/3 WINDOW_UPDATE of another length", frame(WINDOW, 0, 0, b"\0\0\1"), ("conn", SIZE)),
    ("6.9.1/1 no more than the window", settings((4, 1)) + get(), ("data", 1)),
    ("6.9.1/2 too wide a window", frame(WINDOW, 0, 0, u32(0x7fffffff)) * 2, ("conn", FLOW)),
    ("6.9.1/3 too wide a window of a stream", post() + frame(WINDOW, 0, 1, u32(0x7fffffff)) * 2, ("stream", FLOW)),
    ("6.9.2/1 SETTINGS after HEADERS", settings((4, 0)) + get() + settings((4, 1)), ("data", 1)),
    ("6.9.2/2 a negative window", settings((4, 3)) + get() + settings((4, 2)) + frame(WINDOW, 0, 1, u32(1)), ("data", 3)),
    ("6.9.2/3 INITIAL_WINDOW_SIZE above the bound", settings((4, 0x80000000)), ("conn", FLOW)),
    ("6.10/2 CONTINUATION, then another frame", frame(HEADERS, END, 1, block()) + frame(CONT, 0, 1, b"") + data(),
     ("conn", PROTOCOL)),
    ("6.10/3 CONTINUATION on stream 0", frame(HEADERS, END, 1, block()) + frame(CONT, HEAD_END, 0, b""), ("conn", PROTOCOL)),
    ("6.10/4 CONTINUATION behind END_HEADERS", get() + frame(CONT, HEAD_END, 1, b""), ("conn", PROTOCOL)),
    ("6.10/5 CONTINUATION behind a CONTINUATION that ended it", frame(HEADERS, END, 1, block()) +
     frame(CONT, HEAD_END, 1, b"") + frame(CONT, HEAD_END, 1, b""), ("conn", PROTOCOL)),
    ("6.10/6 CONTINUATION behind DATA", post() + data() + frame(CONT, HEAD_END, 1, b""), ("conn", PROTOCOL)),
    ("7/1 GOAWAY with an unknown code", frame(GOAWAY, 0, 0, u32(0) + u32(0xff)), ("ping",)),
    ("7/2 RST_STREAM with an unknown code", post() + frame(RST, 0, 1, u32(0xff)), ("ping",)),
    ("8.1/1 a second HEADERS without END_STREAM", post() + frame(HEADERS, HEAD_END, 1, block()), ("stream", PROTOCOL)),
    ("8.1.2/1 upper case", get(1, ("X-TEST", "ok")), ("stream", PROTOCOL)),
    ("8.1.2.1/1 an unknown pseudo field", get(1, **{":test": "ok"}), ("stream", PROTOCOL)),
    ("8.1.2.1/2 a response's pseudo field", get(1, **{":status": "200"}), ("stream", PROTOCOL)),
    ("8.1.2.1/3 a pseudo field in trailers", post() + raw_head([(":method", "GET")]), ("stream", PROTOCOL)),
    ("8.1.2.1/4 a pseudo field behind another", raw_head([*GOOD[:3], ("x", "y"), GOOD[3]]), ("stream", PROTOCOL)),
    ("8.1.2.2/1 Connection", get(1, ("connection", "keep-alive")), ("stream", PROTOCOL)),
    ("8.1.2.2/2 TE", get(1, ("te", "trailers, deflate")), ("stream", PROTOCOL)),
    ("8.1.2.3/1 an empty :path", get(1, **{":path": ""}), ("stream", PROTOCOL)),
    ("8.1.2.3/2 no :method", raw_head(GOOD[1:]), ("stream", PROTOCOL)),
    ("8.1.2.3/3 no :scheme", raw_head([GOOD[0], *GOOD[2:]]), ("stream", PROTOCOL)),
    ("8.1.2.3/4 no :path", raw_head([*GOOD[:2], GOOD[3]]), ("stream", PROTOCOL)),
    ("8.1.2.3/5 :method twice", raw_head([GOOD[0], *GOOD]), ("stream", PROTOCOL)),
    ("8.1.2.3/6 :scheme twice", raw_head([GOOD[1], *GOOD]), ("stream", PROTOCOL)),
    ("8.1.2.3/7 :path twice", raw_head([GOOD[2], *GOOD]), ("stream", PROTOCOL)),
    ("8.1.2.6/1 content-length against one DATA", post(1, ("content-length", "1")) + data(b"test", END), ("stream", PROTOCOL)),
    ("8.1.2.6/2 content-length against several DATA", post(1, ("content-length", "1")) + data(b"te") + data(b"st", END),
     ("stream", PROTOCOL)),
    ("8.2/1 PUSH_PROMISE", frame(PUSH, HEAD_END, 1, u32(2) + block()), ("conn", PROTOCOL)),
    ("hpack/2.3.3 an index beyond the tables", frame(HEADERS, END | HEAD_END, 1, block() + b"\xff\x49"),
     ("conn", COMPRESSION)),
    ("hpack/4.2 a size of the table at a block's end", frame(HEADERS, END | HEAD_END, 1, block() + b"\x3f\xe1\x0f"),
     ("conn", COMPRESSION)),
    ("hpack/5.2/1 Huffman padding longer than 7 bits", frame(HEADERS, END | HEAD_END, 1, block() + b"\0\x85\xf2\xb2\x4a\x84\xff"
                                                             b"\x84\x49\x50\x9f\xff"), ("conn", COMPRESSION)),
    ("hpack/5.2/2 Huffman padding of zeroes", frame(HEADERS, END | HEAD_END, 1, block() + b"\0\x85\xf2\xb2\x4a\x84\xff"
                                                    b"\x83\x49\x50\x90"), ("conn", COMPRESSION)),
    ("hpack/5.2/3 Huffman EOS", frame(HEADERS, END | HEAD_END, 1, block() + b"\0\x85\xf2\xb2\x4a\x84\xff\x86\x49\x51\xff\xff\xff"
                                      b"\xff\x90"[:14]), ("conn", COMPRESSION)),
    ("hpack/6.1 index 0", frame(HEADERS, END | HEAD_END, 1, block() + b"\x80"), ("conn", COMPRESSION)),
    ("hpack/6.3 a table above the bound", frame(HEADERS, END | HEAD_END, 1, b"\x3f\xe2\x1f" + block()),
     ("conn", COMPRESSION)),
]


class Peer:
    def __init__(self, wire):
        self.wire, self.frames, self.hpack = wire, [], hpack.Decoder()

    def next(self):
        """None when the connection is closed."""
        while len(self.wire.buf) < 9 or len(self.wire.buf) < 9 + int.from_bytes(self.wire.buf[:3], "big"):
            if not self.wire.fill():
                return None
        n = int.from_bytes(self.wire.take(3), "big")
        kind, flags, stream = struct.unpack(">BBI", self.wire.take(6))
        f = (kind, flags, stream, self.wire.take(n))
        self.frames.append(f)
        if kind == SETTINGS and not flags & ACK:
            self.wire.send(frame(SETTINGS, ACK), True)
        return f

    def hears(self, kind, check=lambda f: True):
        while True:
            f = self.next()
            if f is None or (f[0] == kind and check(f)):
                return f

    def pings(self):
        self.wire.send(frame(PING, 0, 0, b"are you?"), True)
        return self.hears(PING, lambda f: f[1] & ACK and f[3] == b"are you?") is not None


def code_of(f):
    return struct.unpack(">I", f[3][:4] if f[0] == RST else f[3][4:8])[0]


def check_connection_ends(p, codes):
    f = p.hears(GOAWAY)
    assert f is not None and code_of(f) in codes, p.frames
    while f is not None:
        f = p.next()


def check_stream_ends(p, codes):
    """By RST_STREAM; the whole connection may be over, too (RFC 9113 section 5.4.2)."""
    while True:
        f = p.next()
        assert f is not None, p.frames
        if f[0] in (RST, GOAWAY):
            assert code_of(f) in codes, p.frames
            return f[0] == GOAWAY or p.pings()


def check_answer(p, status):
    f = p.hears(HEADERS)
    assert f is not None, p.frames
    assert dict(p.hpack.decode(f[3]))[":status"] == str(status)
    assert p.pings(), p.frames


def check_data(p, total):
    """So many bytes of the answer come, a window's worth."""
    n = 0
    while n < total:
        f = p.hears(DATA)
        assert f is not None, p.frames
        n += len(f[3])
    assert n == total and p.pings()
    assert sum(len(f[3]) for f in p.frames if f[0] == DATA) == total


def serve(r):
    return response(200, b"hello")


def start(weir, tls):
    w = weir(serve=serve, tls=certs().listener() if tls else None)
    return w, lambda: Peer(w.client(tls=certs().client(alpn=["h2"]) if tls else None))


def check(p, frames, kind, *wanted):
    p.wire.send(PREFACE + settings() + frames, True)
    if kind == "conn":
        check_connection_ends(p, wanted)
    elif kind == "stream":
        check_stream_ends(p, wanted)
    elif kind == "answer":
        check_answer(p, *wanted)
    elif kind == "data":
        check_data(p, *wanted)
    else:
        assert p.pings(), p.frames


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_outcomes(weir, tls):
    """All rows with one Weir: who breaks the rules harms nobody but himself."""
    _, peer = start(weir, tls)
    wrong = []
    for name, frames, want in ROWS:
        p = peer()
        try:
            check(p, frames, *want)
        except AssertionError as e:
            wrong.append(f"{name}: {want}: {str(e)[:400]}")
        p.wire.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_bad_prefaces(weir, tls):
    """3.5/2: what is no preface at all, HTTP/1 answers in plain text."""
    _, peer = start(weir, tls)
    for first in (b"INVALID CONNECTION PREFACE\r\n\r\n", PREFACE[:-1] + b"X" + settings(), PREFACE + get(),
                  PREFACE + frame(PING, 0, 0, bytes(8)), PREFACE + frame(SETTINGS, ACK)):
        p = peer()
        p.wire.send(first, True)
        p.wire.read_eof()
        p.wire.close()

"""Where calls come in: TCP v4 and v6, unix sockets, PROXY protocol, several at once, and how many."""

import os
import socket
import struct

import pytest

import harness
from harness import free_port, request


def on(weir, listen, **more):
    return weir(listen=listen, serve=True, checks=True, **more)


def test_ipv6(weir):
    port = free_port()
    w = on(weir, f"[::1]:{port}")
    assert w.fetch(addr=f"[::1]:{port}").status == 200
    assert w.access()[0]["client.address"] == "::1"


def test_every_address(weir):
    port = free_port()
    w = on(weir, f"0.0.0.0:{port}")
    assert w.fetch(addr=f"127.0.0.1:{port}").status == 200


def test_port_alone(weir):
    port = free_port()
    w = on(weir, f":{port}")
    assert w.fetch(addr=f"127.0.0.1:{port}").status == 200


def test_several(weir):
    ports = [free_port(), free_port()]
    w = on(weir, [f"127.0.0.1:{p}" for p in ports])
    assert [w.fetch(addr=f"127.0.0.1:{p}").status for p in ports] == [200, 200]


def test_unix_socket(weir, tmp_path):
    path = f"unix:{tmp_path}/weir.sock"
    w = on(weir, path)
    assert w.fetch(addr=path).status == 200


def test_unix_socket_left_over_from_a_crash(weir, tmp_path):
    path = f"unix:{tmp_path}/weir.sock"
    w = on(weir, path)
    w.proc.kill()
    w.proc.wait()
    w.start()
    assert w.fetch(addr=path).status == 200


def test_unix_socket_is_gone_after_the_end(weir, tmp_path):
    w = on(weir, f"unix:{tmp_path}/weir.sock")
    w.signal(harness.signal.SIGTERM)
    assert w.wait_exit() == 0
    assert not os.path.exists(f"{tmp_path}/weir.sock")


def test_the_socket_of_somebody_else_is_left_alone(weir, tmp_path):
    w = weir(listen=f"unix:{tmp_path}/weir.sock", serve=True, checks=False)
    os.unlink(f"{tmp_path}/weir.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{tmp_path}/weir.sock")
        w.signal(harness.signal.SIGTERM)
        assert w.wait_exit() == 0 and os.path.exists(f"{tmp_path}/weir.sock")


def test_a_path_that_is_too_long_for_a_socket(run, tmp_path):
    (tmp_path / "weir.yaml").write_text(f"version: 1\nlisten: 'unix:/{'x' * 107}'\nroutes: []\n")
    assert "at most 107 bytes" in run("check", "-c", tmp_path / "weir.yaml").stderr


def test_unix_clients_share_one_bucket(weir, tmp_path):
    path = f"unix:{tmp_path}/weir.sock"
    w = weir(listen=path, serve=True, use=["p"], policies={"p": {"rate": "1/m", "burst": 1, "key": "client.ip"}})
    assert [w.fetch(addr=path).status for _ in range(2)] == [200, 429]


def test_address_in_use_is_an_error(weir, tmp_path):
    w = weir(serve=True)
    other = harness.socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    port = other.getsockname()[1]
    with pytest.raises(AssertionError, match="(?s)ended with 1.*in use"):
        harness.Weir(w.binary, tmp_path / "second", listen=f"127.0.0.1:{port}", upstream=w.upstream)
    other.close()


# ---- PROXY protocol

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command, family, body):
    return V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


IP4 = bytes([203, 0, 113, 7, 127, 0, 0, 1]) + struct.pack("!HH", 1234, 80)
IP6 = bytes.fromhex("20010db8000000000000000000000009") + bytes(16) + struct.pack("!HH", 1234, 80)

GOOD = [
    ("v1 TCP4", b"PROXY TCP4 203.0.113.7 127.0.0.1 1234 80\r\n", "203.0.113.7"),
    ("v1 TCP6", b"PROXY TCP6 2001:db8::9 ::1 1234 80\r\n", "2001:db8::9"),
    ("v1 UNKNOWN", b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ("v1 UNKNOWN with more", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
    ("v2 IPv4", v2(1, 0x11, IP4), "203.0.113.7"),
    ("v2 IPv6", v2(1, 0x21, IP6), "2001:db8::9"),
    ("v2 with TLVs", v2(1, 0x11, IP4 + b"\x04\x00\x03abc"), "203.0.113.7"),
    ("v2 LOCAL", v2(0, 0x00, b""), "127.0.0.1"),
    ("v2 LOCAL with addresses", v2(0, 0x11, IP4), "127.0.0.1"),
]


def proxied(weir):
    w = weir(start=False, serve=True)
    w.sections["listen"] = [{"addr": w.addr, "proxy_protocol": True}]
    w.write()
    w.start()
    return w


@pytest.mark.parametrize("header,client", [r[1:] for r in GOOD], ids=[r[0] for r in GOOD])
def test_proxy_protocol(weir, header, client):
    w = proxied(weir)
    c = w.client().send(header + request())
    c.expect(200, b"ok")
    c.ask().expect(200, b"ok")
    assert [x["client.address"] for x in w.access(2)] == [client] * 2


@pytest.mark.parametrize("header", [GOOD[0][1], GOOD[4][1]], ids=["v1", "v2"])
def test_proxy_protocol_bytewise(weir, header):
    w = proxied(weir)
    w.client().send_bytewise(header + request()).expect(200, b"ok")
    assert w.access()[0]["client.address"] == "203.0.113.7"


BAD = [
    ("none", request()),
    ("v1 without an end", b"PROXY TCP4 " + b"1" * 200),
    ("v1 with a bad address", b"PROXY TCP4 203.0.113.700 127.0.0.1 1 2\r\n"),
    ("v1 with a bad port", b"PROXY TCP4 203.0.113.7 127.0.0.1 99999 2\r\n"),
    ("v1 with too little", b"PROXY TCP4 203.0.113.7\r\n"),
    ("v1 of another family", b"PROXY UDP4 203.0.113.7 127.0.0.1 1 2\r\n"),
    ("v1 with a bare LF", b"PROXY TCP4 203.0.113.7 127.0.0.1 1 2\n"),
    ("v2 of another version", V2 + b"\x31\x11\x00\x0c" + IP4),
    ("v2 with an unknown command", v2(2, 0x11, IP4)),
    ("v2 too short for its family", v2(1, 0x11, IP4[:8])),
    ("v2 longer than anything", V2 + b"\x21\x11\xff\xff" + b"x" * 70000),
]


@pytest.mark.parametrize("header", [r[1] for r in BAD], ids=[r[0] for r in BAD])
def test_bad_proxy_header_is_cut(weir, header):
    w = proxied(weir)
    c = w.client().send(header + request("/behind"), maybe=True)
    rest = c.read_eof()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")
    w.upstream.untouched()
    assert w.upstream.requests == 0


def test_proxy_header_where_none_is_expected(weir):
    w = weir()
    w.client().send(GOOD[0][1] + request()).refused(400)
    w.upstream.untouched()


# ---- how many

def test_connections_have_a_bound(weir):
    w = weir(limits={"connections": 10}, serve=True)
    held = [w.client() for _ in range(10)]
    for c in held:
        c.ask().expect(200)
    extra = w.client()
    extra.send(request(), maybe=True)
    rest = extra.read_eof()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 503 ")
    assert w.metric("weir_connections_refused_total") == 1
    held.pop().close()
    w.wait_metric("weir_connections_active", 9, listener=w.addr)
    assert w.fetch().status == 200


def test_connections_are_counted(weir):
    w = weir(serve=True)
    held = [w.client() for _ in range(5)]
    w.wait_metric("weir_connections_active", 5, listener=w.addr)
    assert w.metric("weir_connections_total", listener=w.addr) == 5
    for c in held:
        c.close()
    w.wait_metric("weir_connections_active", 0, listener=w.addr)

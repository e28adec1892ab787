"""HTTP/2 by ALPN: clients, upstreams, all pairs of the two versions, and who gets what when they do not agree."""

import re
import shutil
import ssl
import subprocess

import pytest

from certificates import certs
from h2wire import H2Client, H2Upstream
from harness import Client, connect, free_port, response, secure, until
from test_http2 import needs, run

BOTH, H2, H1 = ["h2", "http/1.1"], ["h2"], ["http/1.1"]


def echo(r):
    return response(200, r.body, {"X-Path": r.path})


def secured(weir, upstreams, http2, alpn, *, serve=None, checks=None, **more):
    """A Weir with TLS at both ends."""
    up, = upstreams(1, tls=certs().server(alpn=alpn))
    conf = {**up.target(), "http2": http2, "keepalive_timeout": "60s", "connect_timeout": "60s"}
    w = weir(upstream=up, tls=certs().listener(), upstreams={"app": {**conf, **(checks or {})}}, serve=serve, **more)
    return w, up


def client(w, alpn=None):
    return w.client(tls=certs().client(alpn=alpn))


# ---- what is agreed

@pytest.mark.parametrize("alpn, want", [(BOTH, "h2"), (list(reversed(BOTH)), "h2"), (H2, "h2"), (H1, "http/1.1"), (None, None)], ids=str)
def test_clients(weir, alpn, want):
    w = weir(tls=certs().listener(), serve=echo)
    c = client(w, alpn)
    assert c.sock.selected_alpn_protocol() == want
    if want == "h2":
        h = H2Client(c)
        h.fetch("/x", 200, b"abc" * 30000, method="POST", body=b"abc" * 30000)
        h.close()
    else:
        c.ask("/x")
        c.expect(200)
    assert w.access(1)[0]["network.protocol.version"] == ("2" if want == "h2" else "1.1")


def test_the_scheme_is_told(weir):
    w = weir(tls=certs().listener())
    h = H2Client(client(w, BOTH))
    s = h.ask("/")
    w.upstream.expect_request("GET /", x_forwarded_proto="https", forwarded=re.compile("proto=https"))
    w.upstream.answer(200)
    h.expect(s, 200)
    h.close()


def test_http2_false_is_not_offered(weir):
    w = weir(start=False, serve=True)
    w.sections["listen"] = [{"addr": w.addr, "http2": False, "tls": certs().listener()}]
    w.tls = True
    w.write()
    w.start()
    assert client(w, BOTH).sock.selected_alpn_protocol() == "http/1.1"
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        client(w, H2)


def test_a_preface_that_was_not_agreed_upon(weir):
    """RFC 9113 section 3.2: over TLS it is ALPN that says so."""
    w = weir(tls=certs().listener())
    c = client(w, H1)
    c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    c.expect_closed(anything=True)
    w.upstream.untouched(0.05)


def test_no_preface_where_it_was_agreed_upon(weir):
    """Section 3.4."""
    w = weir(tls=certs().listener())
    c = client(w, H2)
    c.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    c.expect_closed(anything=True)
    w.upstream.untouched(0.05)


def test_behind_a_proxy_header(weir):
    w = weir(start=False, serve=True)
    w.sections["listen"] = [{"addr": w.addr, "proxy_protocol": True, "tls": certs().listener()}]
    w.write()
    w.start()
    sock = connect(w.addr)
    sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n")
    h = H2Client(Client(secure(sock, certs().client(alpn=BOTH))))
    h.fetch("/", 200)
    assert w.access(1)[0]["client.address"] == "192.0.2.7"
    h.close()


# ---- upstreams

@pytest.mark.parametrize("http2", [True, "auto"])
@pytest.mark.parametrize("alpn", [H2, BOTH], ids=str)
def test_upstreams_that_agree(weir, upstreams, http2, alpn):
    w, up = secured(weir, upstreams, http2, alpn)
    far = H2Upstream(up)
    c = client(w).ask("/x")
    r = far.expect("GET /x")
    assert r.get(":scheme") == "https"
    far.answer(r, 200, b"ok" * 30000)
    c.expect(200, b"ok" * 30000)
    h = H2Client(client(w, BOTH))
    streams = [h.ask(f"/{i}") for i in range(20)]
    for _ in streams:
        r = far.expect()
        assert r.conn is far.conns[0]  # one connection for all
        far.answer(r, 200, r.get(":path").encode())
    for i, s in enumerate(streams):
        h.expect(s, 200, b"/%d" % i)
    h.close()


@pytest.mark.parametrize("alpn", [H1, None], ids=str)
def test_auto_with_an_upstream_of_http1(weir, upstreams, alpn):
    w, up = secured(weir, upstreams, "auto", alpn, serve=echo)
    for version in (None, BOTH):
        c = client(w, version)
        if version is None:
            c.ask("/x").expect(200, x_path="/x")
            continue
        h = H2Client(c)
        streams = [h.ask(f"/{i}", method="POST", body=b"x" * 1000) for i in range(30)]  # all of them at once
        for i, s in enumerate(streams):
            h.expect(s, 200, b"x" * 1000, x_path=f"/{i}")
        h.close()
    assert {line["attempts"] for line in w.access(31)} == {1}


def test_true_with_an_upstream_of_http1(weir, upstreams):
    for alpn in (H1, None):
        w, up = secured(weir, upstreams, True, alpn, serve=True)
        assert w.fetch().status == 502
        assert w.access(1)[0]["reason"] == "tls_failed" and up.requests == 0


def test_false_does_not_ask(weir, upstreams):
    w, up = secured(weir, upstreams, False, BOTH, serve=echo)
    assert w.fetch("/x").get("x-path") == "/x"


def test_auto_without_tls_is_http1(weir, upstreams):
    up, = upstreams(1)
    up.serve(echo)
    w = weir(upstream=up, upstreams={"app": {"endpoints": [up.addr], "http2": "auto"}})
    assert w.fetch("/x").get("x-path") == "/x"


def test_an_upgrade_goes_by_http1_where_there_is_a_choice(weir, upstreams):
    w, up = secured(weir, upstreams, "auto", BOTH, route={"upgrade": True})
    far = H2Upstream(up)
    c = client(w).ask("/x")
    far.answer(far.expect("GET /x"), 200, b"ok")
    c.expect(200)
    c = client(w).send(b"GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    wire = up.accept()
    assert wire.sock.selected_alpn_protocol() == "http/1.1"
    assert wire.read_request().get("upgrade") == "websocket"
    wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
              b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    c.expect(101)
    c.send(b"ping")
    assert wire.read_exact(4) == b"ping"
    c.close()


@pytest.mark.parametrize("http2, alpn", [(True, H2), ("auto", H2), ("auto", H1)], ids=str)
def test_checks_speak_what_is_agreed(weir, upstreams, http2, alpn):
    up, = upstreams(1, tls=certs().server(alpn=alpn))
    if alpn == H1:
        up.serve()
    w = weir(upstreams={"app": {**up.target(), "http2": http2, "health": {"path": "/health", "every": "100ms", "rise": 1}}})
    if alpn == H2:
        far = H2Upstream(up)
        r = far.expect("GET /health")
        far.answer(r, 200)
    until(lambda: (w.metric("weir_upstream_health_checks_total", result="ok") or 0) > 0)


@pytest.mark.parametrize("change", [(False, "auto"), ("auto", False), ("auto", True), (True, "auto")], ids=str)
def test_a_reload_changes_what_is_spoken(weir, upstreams, change):
    w, up = secured(weir, upstreams, change[0], BOTH, checks={"keepalive_timeout": "300ms"})
    conf = {**up.target(), "keepalive_timeout": "300ms"}

    def speak(http2):
        c = client(w).ask("/x")
        if http2:
            far = H2Upstream(up)
            far.answer(far.expect("GET /x"), 200, b"ok")
        else:
            wire = up.accept()
            assert wire.read_request().target == "/x"
            wire.answer(200, b"ok")
        c.expect(200, b"ok")

    speak(change[0])
    w.reload(upstreams={"app": {**conf, "http2": change[1]}})
    w.wait_metric("weir_upstream_connections", 0)  # what is idle may be used up
    speak(change[1])


# ---- real software

@needs("curl")
def test_curl(weir, tmp_path):
    w = weir(tls=certs().listener(), serve=echo)
    body = bytes(range(256)) * 10000
    (tmp_path / "body").write_bytes(body)
    url = f"https://localhost:{w.addr.rpartition(':')[2]}/x"
    for version, want in (("--http2", b"2"), ("--http1.1", b"1.1")):
        out = run("curl", "-sf", version, "--cacert", certs().file("ca.pem"), "--data-binary", f"@{tmp_path}/body",
                  "-o", f"{tmp_path}/out", "-w", "%{http_version}", url)
        assert out == want and (tmp_path / "out").read_bytes() == body


@needs("nghttp", "h2load")
def test_nghttp_and_h2load(weir):
    w = weir(tls=certs().listener(), serve=echo)
    url = f"https://localhost:{w.addr.rpartition(':')[2]}/x"
    assert ":status: 200" in run("nghttp", "-nv", url).decode()
    out = run("h2load", "-n", "2000", "-c", "4", "-m", "10", url).decode()
    assert re.search(r"2000 succeeded, 0 failed, 0 errored", out), out
    assert "Application protocol: h2" in out


@pytest.mark.skipif(shutil.which("nghttpd") is None, reason="not installed: nghttpd")
def test_nghttpd(weir, tmp_path):
    (tmp_path / "file").write_bytes(b"z" * 300000)
    port = free_port()
    pem = certs().file("server.pem")
    proc = subprocess.Popen(["nghttpd", "-d", str(tmp_path), str(port), pem, pem], stdout=subprocess.DEVNULL)
    try:
        w = weir(upstreams={"app": {"endpoints": f"https://localhost:{port}", "http2": "auto",
                                    "tls": {"ca": certs().file("ca.pem")}, "keepalive_timeout": "300ms"}})
        until(lambda: w.fetch("/file").status == 200)
        assert w.fetch("/file").body == b"z" * 300000
    finally:
        proc.kill()
        proc.wait()

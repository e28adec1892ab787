"""TLS with upstreams: whom Weir believes, what it shows, how answers end, sessions, checks."""

import re
import signal
import ssl

import pytest

from certificates import certs
from harness import response, until


def secure(weir, upstreams, *, serve=True, server=None, tls_conf=None, **more):
    """A Weir in front of an upstream that speaks TLS."""
    up = upstreams(1, tls=server or certs().server(), tls_conf=tls_conf)[0]
    return weir(upstream=up, serve=serve, **more)


def failed(w, text):
    """502, with a reason that the log can explain."""
    assert w.fetch().status == 502
    assert w.access()[0]["reason"] == "tls_failed"
    assert re.search(r"warn TLS handshake with \S+ failed: .*" + text, w.stderr()), w.stderr()
    assert w.upstream.requests == 0


# ---------------------------------------------------------------- what fails

@pytest.mark.parametrize("cert, conf, text", [
    ("stranger", None, "certificate verify failed: unable to get local issuer certificate"),
    ("expired", None, "certificate has expired"),
    ("early", None, "certificate is not yet valid"),
    ("other", None, "IP address mismatch"),
    ("server", {}, "certificate verify failed"),  # the system does not trust our authority
    ("server", {"server_name": "nobody.test"}, "hostname mismatch"),
])
def test_who_is_not_believed(weir, upstreams, cert, conf, text):
    if conf:
        conf["ca"] = certs().file("ca.pem")
    failed(secure(weir, upstreams, server=certs().server(cert), tls_conf=conf), text)


def test_an_upstream_that_wants_a_certificate(weir, upstreams):
    """TLS 1.2: the handshake fails; 1.3: it is over for us, and the first answer is an alert."""
    server = certs().server(client_ca="ca", version=ssl.TLSVersion.TLSv1_2)
    failed(secure(weir, upstreams, server=server), "handshake failure")
    w = secure(weir, upstreams, server=certs().server(client_ca="ca"))
    assert w.fetch().status == 502 and w.upstream.requests == 0


def test_one_that_speaks_plain(weir, upstreams):
    w = weir(start=False)
    w.write(upstreams={"app": {"endpoints": "https://" + w.upstream.addr, "tls": {"ca": certs().file("ca.pem")}}})
    w.start()
    c = w.client().ask()
    w.upstream.accept().send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    c.expect(502)
    assert "wrong version number" in w.stderr()


def test_one_that_stalls(weir, upstreams):
    """The handshake is part of the connect, and of its time."""
    w = secure(weir, upstreams, serve=False, start=False)
    w.write(upstreams={"app": {**w.upstream.target(), "connect_timeout": "300ms"}})
    w.start()
    assert w.fetch().status == 504
    assert w.access()[0]["reason"] == "connect_timeout"


def test_old_versions(weir, upstreams):
    server = certs().server(version=ssl.TLSVersion.TLSv1_2)
    conf = {"ca": certs().file("ca.pem"), "min_version": "1.3"}
    failed(secure(weir, upstreams, server=server, tls_conf=conf), "protocol version")


@pytest.mark.parametrize("how", ["orderly", "cut"])
def test_an_answer_until_the_close(weir, upstreams, how):
    """Without close_notify nobody knows whether that was all of it (RFC 9112 section 9.8)."""
    w = secure(weir, upstreams, serve=False)
    c = w.client().ask()
    wire = w.upstream.expect_request().wire
    wire.send(b"HTTP/1.1 200 OK\r\n\r\nall of it?")
    c.read_until(b"all of it?")
    if how == "orderly":
        wire.say_end().close()
        c.expect_bytes(b"\r\n0\r\n\r\n")
    else:
        wire.close()
        assert b"0\r\n" not in c.read_eof()
        assert w.access()[0]["reason"] != "ok"


def test_an_answer_that_is_cut(weir, upstreams):
    w = secure(weir, upstreams, serve=False)
    c = w.client().ask()
    wire = w.upstream.expect_request().wire
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    c.read_until(b"half")
    wire.close()
    assert c.read_eof() == b""


def test_a_whole_answer_needs_no_goodbye(weir, upstreams):
    w = secure(weir, upstreams, serve=False)
    for _ in range(2):
        c = w.client().ask()
        w.upstream.expect_request().wire.send(response(200, b"whole")).close()
        c.expect(200, b"whole")


def test_an_answer_before_it_hung_up_on_the_upload(weir, upstreams):
    w = secure(weir, upstreams, serve=False)
    for _ in range(5):
        c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
        w.upstream.expect_request("POST /", read_body=False)
        w.signal(signal.SIGSTOP)  # so that more to write is found before the answer is
        c.send(b"more")
        w.upstream.answer(413, b"large", {"Connection": "close"}).reset()
        w.signal(signal.SIGCONT)
        c.expect(413, b"large")


def test_retry_after_a_failed_handshake(weir, upstreams):
    bad, good = upstreams(1, tls=certs().server("stranger")) + upstreams(1, tls=certs().server())
    bad.serve()
    good.serve()
    w = weir(upstreams={"app": {"endpoints": ["https://" + u.addr for u in (bad, good)], "tls": good.target()["tls"]}},
             policies={"again": {"retry": 1}}, use=["again"])
    assert [w.fetch().status for _ in range(4)] == [200] * 4


# ---------------------------------------------------------------- what is well

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_calls(weir, upstreams, version):
    w = secure(weir, upstreams, serve=False, server=certs().server(version=version, alpn=["http/1.1"]))
    c = w.client()
    for i in range(4):
        c.ask(f"/{i}", body=b"x" * 200000 * i or None)
        assert len(w.upstream.expect_request(f"{'POST' if i else 'GET'} /{i}", host="test").body) == 200000 * i
        w.upstream.answer(200, b"y" * 300000)
        c.expect(200, b"y" * 300000)
    assert w.upstream.accepted == 1
    assert w.upstream.wire.sock.selected_alpn_protocol() == "http/1.1"


def test_both_sides(weir, upstreams):
    w = secure(weir, upstreams, tls=certs().listener())
    assert w.statuses(3) == [200] * 3


def test_names(weir, upstreams):
    """A name is asked for; an address is verified, but not asked for (RFC 6066 section 3)."""
    asked = []
    server = certs().server()
    server.sni_callback = lambda sock, name, context: asked.append(name)
    up = upstreams(1, tls=server)[0].serve()
    port = up.addr.rpartition(":")[2]
    for endpoint, conf, name in ((f"https://127.0.0.1:{port}", {}, None), (f"https://localhost:{port}", {}, "localhost"),
                                 (f"https://127.0.0.1:{port}", {"server_name": "app.test"}, "app.test")):
        w = weir(upstreams={"app": {"endpoints": endpoint, "tls": {"ca": certs().file("ca.pem"), **conf}}})
        assert w.fetch().status == 200 and asked.pop() == name


def test_not_verified(weir, upstreams):
    w = secure(weir, upstreams, server=certs().server("stranger"), tls_conf={"verify": False})
    assert w.fetch().status == 200
    assert "W111" in w.stderr()


def test_our_certificate(weir, upstreams):
    conf = {"ca": certs().file("ca.pem"), "cert": certs().file("client.pem")}
    w = secure(weir, upstreams, server=certs().server(client_ca="ca"), tls_conf=conf)
    assert w.fetch().status == 200
    assert w.metric("weir_tls_certificate_expiry_timestamp_seconds", upstream="app") > 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(weir, upstreams, version):
    server, reused = certs().server(version=version), []

    def answer(r):
        reused.append(r.wire.sock.session_reused)
        return response(200, headers={"Connection": "close"})

    w = secure(weir, upstreams, serve=answer, server=server)
    assert w.statuses(4) == [200] * 4
    assert reused == [False, True, True, True]


def test_who_was_believed_before_is_not_for_ever(weir, upstreams):
    """Neither an idle connection nor a session outlives the rules that it was made under."""
    w = secure(weir, upstreams, server=certs().server("stranger"), tls_conf={"verify": False})
    assert w.statuses(2) == [200] * 2
    w.reload(upstreams={"app": {"endpoints": "https://" + w.upstream.addr, "tls": {"ca": certs().file("ca.pem")}}})
    assert w.fetch().status == 502
    w.reload(upstreams={"app": {"endpoints": "https://" + w.upstream.addr, "tls": {"ca": certs().file("ca2.pem")}}})
    assert w.fetch().status == 200


def test_checks(weir, upstreams):
    good, bad = upstreams(1, tls=certs().server()) + upstreams(1, tls=certs().server("stranger"))
    good.serve()
    bad.serve()
    w = weir(upstreams={"app": {"endpoints": ["https://" + u.addr for u in (good, bad)], "tls": good.target()["tls"],
                                "health": {"path": "/", "every": "1s", "timeout": "900ms", "fall": 1}}})
    until(lambda: w.metric("weir_upstream_endpoint_up", endpoint="https://" + bad.addr) == 0)
    until(lambda: w.metric("weir_upstream_health_checks_total", endpoint="https://" + bad.addr, result="tls"))
    until(lambda: w.metric("weir_upstream_health_checks_total", endpoint="https://" + good.addr, result="ok"))
    assert w.statuses(4) == [200] * 4


def test_events_are_not_kept(weir, upstreams):
    w = secure(weir, upstreams, serve=False)
    c = w.client().ask()
    wire = w.upstream.expect_request().wire
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    c.read_head()
    for i in range(5):
        wire.send(b"8\r\ndata: %d\n\r\n" % i)
        assert b"data: %d" % i in c.read_until(b"\n\r\n")


@pytest.mark.parametrize("conf, text", [
    ({"ca": "/nowhere"}, "E042.*authorities `/nowhere`: No such file"),
    ({"key": "/x"}, "E019.*beside `cert`"),
    ({"cert": "/nowhere"}, "E042.*certificate `/nowhere`"),
])
def test_configurations_that_are_refused(run, policy, conf, text):
    inner = ", ".join(f"{k}: {v}" for k, v in conf.items())
    path = policy(f"listen: 127.0.0.1:1\nupstreams:\n  app:\n    endpoints: https://a.test\n    tls: {{ {inner} }}\n"
                  "routes: [{ to: app }]\n")
    done = run("check", "-c", path)
    assert done.returncode == 1 and re.search(text, done.stderr) and ":5:" in done.stderr, done.stderr


def test_tls_that_nobody_needs_is_a_warning(run, policy):
    path = policy("listen: 127.0.0.1:1\nupstreams: { app: { endpoints: 'a:1', tls: { verify: true } } }\nroutes: [{ to: app }]\n")
    assert "W107" in run("check", "-c", path).stderr


"""TLS with clients: who gets in, what is shown to whom, how it ends, and what a reload does to it."""

import re
import shutil
import socket
import ssl
import struct
import subprocess
import time

import pytest

import harness
from certificates import certs
from harness import connect, free_port, request, secure, until


def serve(weir, **more):
    more.setdefault("tls", certs().listener())
    return weir(serve=True, **more)


def refused(w, **more):
    """What a client hears: TLS 1.3 tells it with the first read."""
    with pytest.raises(OSError) as e:
        c = w.client(**more)
        c.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        c.sock.recv(1) or (_ for _ in ()).throw(ConnectionError("closed"))
    return e.value


# ---------------------------------------------------------------- what fails

def test_plain_http_is_told_so(weir):
    w = serve(weir)
    c = harness.Client(connect(w.addr)).ask("/")
    assert b"TLS" in c.expect(400, connection="close").body
    c.expect_closed().close()


@pytest.mark.parametrize("hello", [b"\x16\x03\x01\x02\x00garbage" + bytes(600), b"SSH-2.0-x\r\n", b"\x80\x2e\x01\x00\x02" + bytes(100),
                                   bytes(300), b"\xff" * 300])
def test_garbage_for_a_hello(weir, hello):
    w = serve(weir)
    c = harness.Client(connect(w.addr)).send(hello).expect_closed(anything=True)
    c.close()
    w.wait_metric("weir_tls_handshakes_total", 1, result="failed")
    assert w.fetch().status == 200


def test_a_handshake_that_stalls(weir):
    w = serve(weir, limits={"handshake_timeout": "2s"})
    hello = hello_bytes()
    cs = [harness.Client(connect(w.addr)).send(hello[:n]) for n in (0, 1, 5, 100)]
    assert until(lambda: w.metric("weir_tls_handshakes_in_progress", listener=w.addr) == 4)
    for c in cs:
        c.expect_closed().close()
    w.wait_metric("weir_tls_handshakes_total", 4, result="timeout")


def hello_bytes():
    out = ssl.MemoryBIO()
    o = certs().client().wrap_bio(ssl.MemoryBIO(), out, server_hostname="test")
    with pytest.raises(ssl.SSLWantReadError):
        o.do_handshake()
    return out.read()


def test_handshakes_are_bounded_in_number(weir):
    w = serve(weir, limits={"handshakes": 3, "handshake_timeout": "20s"})
    idle = [harness.Client(connect(w.addr)) for _ in range(3)]
    until(lambda: w.metric("weir_tls_handshakes_in_progress", listener=w.addr) == 3)
    refused(w)
    assert w.metric("weir_connections_refused_total", reason="handshakes_full", listener=w.addr) == 1
    idle.pop().close()
    until(lambda: w.metric("weir_tls_handshakes_in_progress", listener=w.addr) == 2)
    assert w.fetch().status == 200
    [c.close() for c in idle]


def test_without_a_client_certificate(weir):
    w = serve(weir, tls=certs().listener(client_ca=True))
    assert "CERTIFICATE_REQUIRED" in str(refused(w)).upper()
    w.wait_metric("weir_tls_handshakes_total", 1, result="failed")
    assert "peer did not return a certificate" in w.stderr()


@pytest.mark.parametrize("cert, crl, good", [("client", False, True), ("client", True, True), ("revoked", True, False),
                                             ("revoked", False, True), ("stranger", False, False),
                                             ("expired", False, False)])
def test_client_certificates(weir, cert, crl, good):
    w = serve(weir, tls=certs().listener(client_ca=True, crl=crl))
    if good:
        assert w.fetch(tls=certs().client(cert=cert)).status == 200
    else:
        refused(w, tls=certs().client(cert=cert))


def test_optional_client_certificates(weir):
    w = serve(weir, tls=certs().listener(client_ca=True, client_auth="optional"))
    assert w.fetch().status == 200
    assert w.fetch(tls=certs().client(cert="client")).status == 200
    refused(w, tls=certs().client(cert="stranger"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_old_versions(weir, version):
    w = serve(weir, tls=certs().listener(min_version="1.3"))
    c = certs().client(version=version)
    c.set_ciphers("ALL:@SECLEVEL=0")
    refused(w, tls=c)


def test_a_protocol_that_nobody_speaks(weir):
    assert "no application protocol" in str(refused(serve(weir), tls=certs().client(alpn=["spdy/3"])))


def test_renegotiation_is_refused(weir):
    w = serve(weir)
    done = subprocess.run(["openssl", "s_client", "-connect", w.addr, "-tls1_2", "-quiet", "-no_ign_eof"], input=b"R\n",
                          capture_output=True, timeout=20, check=False)
    assert b"no renegotiation" in done.stderr or done.returncode != 0


@pytest.mark.parametrize("cut", [1, 4, 5, 20])
def test_cut_in_mid_record(weir, cut):
    """The request is never acted upon: it has not come whole."""
    w = serve(weir)
    record = sealed(w, request("/x", body=b"half"), cut)
    until(lambda: w.metric("weir_connections_active", listener=w.addr) == 0)
    assert record and w.upstream.requests == 0


def shake(o, into, out, sock):
    while True:
        try:
            o.do_handshake()
            return
        except ssl.SSLWantReadError:
            sock.sendall(out.read())
            into.write(sock.recv(65536))


def sealed(w, data, cut):
    """A handshake by hand; then all but the last bytes of a record, and the end."""
    sock = connect(w.addr)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = certs().client().wrap_bio(into, out, server_hostname="test")
    shake(o, into, out, sock)
    o.write(data)
    record = out.read()
    sock.sendall(record[:-cut])
    sock.close()
    return record


def test_a_body_that_was_cut_is_not_taken_for_whole(weir):
    w = weir(tls=certs().listener())
    c = w.client().send(b"POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    w.upstream.expect_request("POST /x", read_body=False)
    w.upstream.wire.read_until(b"half\r\n")
    c.close()
    w.upstream.wire.expect_closed(anything=False)


# ---------------------------------------------------------------- what is well

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_calls(weir, version):
    w = weir(tls=certs().listener())
    c = w.client(tls=certs().client(version=version, alpn=["http/1.1"]))
    assert c.sock.selected_alpn_protocol() == "http/1.1"
    for i in range(3):
        c.ask(f"/{i}", body=b"x" * 100000 * i or None)
        r = w.upstream.expect_request(x_forwarded_proto="https", forwarded=re.compile("proto=https"))
        assert len(r.body) == 100000 * i
        w.upstream.answer(200, b"y" * 300000)
        c.expect(200, b"y" * 300000)


def test_it_says_goodbye(weir):
    w = serve(weir)
    c = w.client().ask(headers={"Connection": "close"})
    c.expect(200)
    c.expect_closed()
    assert not c.was_cut and not c.was_reset


def test_an_answer_until_the_close_ends_with_close_notify(weir):
    w = weir(tls=certs().listener())
    c = w.client().send(b"GET / HTTP/1.0\r\nHost: t\r\n\r\n")
    w.upstream.expect_request().wire.send(b"HTTP/1.1 200 OK\r\n\r\nall of it").close()
    assert c.expect(200).body == b"all of it" and not c.was_cut


def test_pipelined_behind_the_handshake(weir):
    w = weir(tls=certs().listener())
    c = w.client().send(request("/1") + request("/2") + request("/3")[:10])
    for i in (1, 2):
        w.upstream.expect_request(f"GET /{i}")
        w.upstream.answer(200, b"%d" % i)
    c.expect(200, b"1")
    c.expect(200, b"2")
    c.send(request("/3")[10:])
    w.upstream.expect_request("GET /3")


def test_events_are_not_kept(weir):
    w = weir(tls=certs().listener())
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
    c.read_head()
    for i in range(5):
        w.upstream.send(b"8\r\ndata: %d\n\r\n" % i)
        assert b"data: %d" % i in c.read_until(b"\n\r\n")
    w.upstream.send(b"0\r\n\r\n")
    c.expect_bytes(b"0\r\n\r\n")


def test_back_pressure(weir):
    """A client that does not read holds its upstream back, and nothing is lost."""
    w = weir(tls=certs().listener())
    before, size = w.memory(), 30_000_000
    c = w.client().ask()
    wire = w.upstream.expect_request().wire
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    wire.sock.setblocking(False)
    sent = 0
    while sent < size and harness.writable(wire, 0.5):
        sent += wire.sock.send(b"z" * min(100000, size - sent))
    assert sent < size and w.memory() < before + 15_000_000
    wire.sock.settimeout(harness.TIMEOUT)
    c.read_head()

    def read(_):
        got = len(c.take(len(c.buf)))
        while got < size and c.fill():
            got += c.take(len(c.buf)).count(b"z")
        return got

    assert harness.parallel(2, lambda i: wire.send(b"z" * (size - sent)) if i else read(i))[0] == size


def test_several_certificates(weir):
    w = serve(weir, tls=[certs().listener(), certs().listener("other")])
    for name, alt in (("test", "app.test"), ("other.test", "other.test"), ("a.wild.test", "*.wild.test")):
        cert = w.client(name=name).sock.getpeercert()
        assert ("DNS", alt) in cert["subjectAltName"]
    for name in ("a.b.wild.test", "nobody.test"):
        with pytest.raises(ssl.SSLCertVerificationError):
            w.client(name=name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(weir, version):
    """By any worker, across a reload too."""
    w = serve(weir, workers=2)
    context, session = certs().client(version=version), None
    for i in range(6):
        c = w.client(tls=context, session=session).ask()
        c.expect(200)
        assert c.sock.session_reused == (i > 0)
        session = c.sock.session
        c.say_end().close()
        if i == 3:
            w.reload(limits={"headers": 50})
    assert w.metric("weir_tls_handshakes_total", result="resumed") == 5


def test_sessions_of_another_rule_are_not_resumed(weir):
    """A ticket is no way around the client's certificate."""
    w = serve(weir)
    context = certs().client()
    c = w.client(tls=context).ask()
    c.expect(200)
    session = c.sock.session
    c.close()
    w.reload(listen={"addr": w.addr, "tls": certs().listener(client_ca=True)})
    refused(w, tls=context, session=session)


def test_behind_a_proxy_header(weir):
    w = weir(serve=True, start=False)
    w.write(listen={"addr": w.addr, "proxy_protocol": True, "tls": certs().listener()})
    w.start()
    line = b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n"
    sock = connect(w.addr)
    sock.sendall(line)
    c = harness.Client(secure(sock, certs().client()))
    c.ask()
    c.expect(200)
    assert w.access()[0]["client.address"] == "192.0.2.7"
    c.close()
    sock = connect(w.addr)  # in one piece with the hello
    sock.sendall(line + hello_bytes())
    assert sock.recv(1000)[:1] == b"\x16"
    sock.close()


def test_plain_and_secure_side_by_side(weir):
    other = f"127.0.0.1:{free_port()}"
    w = weir(serve=lambda r: harness.response(200, r.get("x-forwarded-proto").encode()), tls=certs().listener(), start=False)
    w.write(listen=[{"addr": w.addr, "tls": certs().listener()}, other])
    w.start()
    assert w.fetch().body == b"https" and w.fetch(addr=other).body == b"http"


def test_curl(weir):
    w = serve(weir)
    done = subprocess.run(["curl", "-sS", "--http1.1", "--cacert", certs().file("ca.pem"), "-w", " %{ssl_verify_result} %{http_code}",
                           f"https://{w.addr}/", f"https://{w.addr}/"], capture_output=True, timeout=20, check=False)
    assert done.stdout == b"ok 0 200ok 0 200", done.stderr


def test_a_limit_by_the_name_of_the_certificate(weir):
    w = serve(weir, tls=certs().listener(client_ca=True, client_auth="optional"), use=["each"],
              policies={"each": {"rate": "1/h", "burst": 1, "key": "tls.san", "missing": "deny"}})
    known, other = certs().client(cert="client"), certs().client(cert="other")
    assert [w.fetch(tls=x).status for x in (known, known, other, other)] == [200, 429, 200, 429]
    assert w.fetch().status == 403


# ---------------------------------------------------------------- its life

def copy(name, to):
    shutil.copy(certs().file(name), str(to) + ".new")
    (to.parent / (to.name + ".new")).replace(to)


def shown(w, name="test"):
    c = w.client(name=name)
    alt = [v for _, v in c.sock.getpeercert()["subjectAltName"]]
    c.close()
    return alt


@pytest.mark.parametrize("watch", [False, True])
def test_a_new_certificate(weir, tmp_path, watch):
    """Open connections go on with the old one."""
    cert = tmp_path / "certs" / "tls.pem"
    cert.parent.mkdir()
    copy("server.pem", cert)
    w = serve(weir, tls={"cert": str(cert)}, watch=watch)
    c = w.client().ask()
    c.expect(200)
    copy("other.pem", cert)
    if not watch:
        w.reload()
    until(lambda: w.reloads() == 1, timeout=3 * harness.TIMEOUT)
    assert "other.test" in shown(w, "other.test")
    c.ask()
    c.expect(200)


def test_a_bad_certificate_leaves_the_old_one(weir, tmp_path):
    cert = tmp_path / "tls.pem"
    copy("server.pem", cert)
    w = serve(weir, tls={"cert": str(cert)})
    w.allow("reload")
    copy("expired.pem", cert)
    w.reload(good=False)
    assert re.search(r"error\[E042\]: certificate `.*tls.pem`: it expired on", w.stderr())
    assert "app.test" in shown(w)


def test_a_certificate_before_its_key(weir, tmp_path):
    """Each file is whole, the pair is not: the old one stays until it is."""
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    copy("server.pem", cert)
    copy("server.pem", key)
    w = serve(weir, tls={"cert": str(cert), "key": str(key)}, watch=True)
    w.allow("reload")
    w.allow("E042")
    copy("other.pem", cert)
    until(lambda: "it is not that of the certificate" in w.stderr(), timeout=3 * harness.TIMEOUT)
    assert "app.test" in shown(w)
    copy("other.pem", key)
    until(lambda: w.reloads() == 2, timeout=3 * harness.TIMEOUT)
    assert "other.test" in shown(w, "other.test")


def test_a_secret_that_kubernetes_swaps(weir, tmp_path):
    """tls.crt and tls.key lead over the link ..data to a folder that is another with each version."""
    for name, pem in (("..1", "server.pem"), ("..2", "other.pem")):
        (tmp_path / name).mkdir()
        for file in ("tls.crt", "tls.key"):
            copy(pem, tmp_path / name / file)
    (tmp_path / "..data").symlink_to("..1")
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    w = serve(weir, tls={"cert": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}, watch=True)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    until(lambda: w.reloads() == 1, timeout=3 * harness.TIMEOUT)
    assert "other.test" in shown(w, "other.test")


def test_the_client_ends_its_side_first(weir):
    """A close_notify behind the request is no hang-up."""
    w = weir(tls=certs().listener())
    sock = connect(w.addr)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = certs().client().wrap_bio(into, out, server_hostname="test")
    shake(o, into, out, sock)
    o.write(request("/x"))
    with pytest.raises(ssl.SSLWantReadError):
        o.unwrap()
    sock.sendall(out.read())
    w.upstream.expect_request("GET /x")
    w.upstream.answer(200, b"late")
    assert len(sock.recv(65536)) > 100 and w.access()[0]["reason"] == "ok"
    sock.close()


def test_sslscan(weir):
    w = serve(weir, tls=[certs().listener(), certs().listener("rsa")])
    for name in ("test", "rsa.test"):
        done = subprocess.run(["sslscan", "--no-colour", "--sni-name=" + name, w.addr], capture_output=True, timeout=60, check=True, text=True)
        offered = re.findall(r"(?:Preferred|Accepted)\s+TLSv1\.[23]\s+\d+ bits\s+(\S+)", done.stdout)
        assert len(offered) == 6 and all("GCM" in c or "POLY1305" in c for c in offered), done.stdout
        for text in ("SSLv3     disabled", "TLSv1.0   disabled", "TLSv1.1   disabled", "renegotiation not supported"):
            assert text in done.stdout, done.stdout


def test_reloads_among_handshakes(weir):
    """Several workers, full handshakes and resumed ones, while the rules for clients come and go."""
    w = serve(weir, workers=3)
    known = certs().client(cert="client")

    def client(i):
        session = None
        for _ in range(40):
            c = w.client(tls=known, session=session if i % 2 else None).ask()
            c.expect(200)
            session = c.sock.session
            c.say_end().close()

    def reloads():
        for k in range(12):
            w.reload(listen={"addr": w.addr, "tls": certs().listener(client_ca=k % 2 == 0, crl=k % 4 == 0)})

    harness.parallel(5, lambda i: client(i) if i else reloads(), timeout=60)
    assert w.metric("weir_tls_handshakes_total", result="failed") == 0
    assert w.metric("weir_tls_handshakes_in_progress", listener=w.addr) == 0


def test_from_plain_to_tls_and_back(weir):
    w = weir(serve=True)
    old = w.client().ask()
    old.expect(200)
    w.reload(listen={"addr": w.addr, "tls": certs().listener()})
    old.ask()
    old.expect(200)
    assert w.fetch(tls=certs().client()).status == 200
    w.reload(listen=w.addr)
    assert w.fetch().status == 200


def test_what_is_under_way_at_the_end(weir):
    """A handshake that began before TERM is let in, and one that never ends does not keep the process."""
    w = serve(weir, shutdown={"delay": "0s", "drain": "2s"})
    stalled = harness.Client(connect(w.addr))
    sock = connect(w.addr)
    until(lambda: w.metric("weir_tls_handshakes_in_progress", listener=w.addr) == 2)
    w.signal(harness.signal.SIGTERM)
    until(lambda: w.metric("weir_draining") == 1)
    c = harness.Client(secure(sock, certs().client())).ask()
    c.expect(200, connection="close")
    assert w.wait_exit() == 0
    for x in (c, stalled):
        x.close()


def test_expiry_is_seen(weir):
    w = serve(weir, tls=[certs().listener("soon"), certs().listener("soon")])
    assert sum(name == "weir_tls_certificate_expiry_timestamp_seconds" for name, _, _ in w.metrics()) == 1
    assert re.search(r"warning\[W110\].*expires on .* in 5 days", w.stderr())
    left = w.metric("weir_tls_certificate_expiry_timestamp_seconds", listener=w.addr) - time.time()
    assert 4.9 * 86400 < left < 5.2 * 86400


@pytest.mark.parametrize("tls, text", [
    ({"cert": "/nowhere.pem"}, r"E042.*certificate `/nowhere.pem`: No such file"),
    ({"cert": "early"}, "E042.*it is not valid before"),
    ({"cert": "server", "key": "client"}, "E042.*private key .*it is not that of the certificate"),
    ({"cert": "server", "client_auth": "optional"}, "E019.*client_auth"),
    ({"cert": "server", "min_version": "1.1"}, "E015|E014"),
    ({}, "E013.*cert"),
])
def test_configurations_that_are_refused(run, policy, tls, text):
    named = {k: certs().file(v + ".pem") if k in ("cert", "key") and "/" not in v else v for k, v in tls.items()}
    inner = ", ".join(f"{k}: {v}" for k, v in named.items())
    path = policy(f"listen:\n  addr: 127.0.0.1:1\n  tls: {{ {inner} }}\nupstreams: {{ app: 127.0.0.1:3 }}\nroutes: [{{ to: app }}]\n")
    done = run("check", "-c", path)
    assert done.returncode == 1 and re.search(text, done.stderr) and ":3:" in done.stderr, done.stderr


def test_no_descriptor_or_memory_is_left(weir):
    w = serve(weir)

    def some(n):
        for i in range(n):
            c = w.client()
            if i % 3:
                c.ask().expect(200)
            if i % 2:
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
            w.wires.remove(c)
        until(lambda: w.metric("weir_connections_active", listener=w.addr) == 0)
        return w.memory()

    some(50)
    before = some(50)
    after = some(150)
    assert w.flavour or after - before < 1_000_000  # sanitizers keep what was freed, and see leaks themselves



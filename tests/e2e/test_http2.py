"""HTTP/2 to clients (prior knowledge) and to upstreams: curl, nghttp and h2load, and both ends by hand."""

import re
import shutil
import signal
import struct
import subprocess
import threading

import pytest

from h2wire import H2Client, H2Upstream
from harness import free_port, response, until

def needs(*programs):
    missing = [p for p in programs if shutil.which(p) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


def run(*args):
    done = subprocess.run(args, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


def with_h2_upstream(weir, upstreams, serve=None, **more):
    """A Weir whose upstream speaks HTTP/2."""
    up, = upstreams(1)
    w = weir(upstream=up, upstreams={"app": {"endpoints": [up.addr], "http2": True, "keepalive_timeout": "60s"}}, **more)
    return w, H2Upstream(up)


def echo(r):
    return response(200, r.body, {"X-Method": r.line.split()[0], "X-Path": r.path})


# ---- clients of HTTP/2, upstreams of HTTP/1

def test_a_call(weir):
    w = weir()
    h = H2Client(w.client())
    s = h.ask("/a?b=c", headers={"x-y": "z", "cookie": "a=1"})
    r = w.upstream.expect_request("GET /a?b=c HTTP/1.1", host="test", x_y="z", cookie="a=1", via="2.0 weir")
    assert not r.has("transfer-encoding") and not r.has("content-length")
    w.upstream.answer(200, b"ok", {"X-Up": "Yes", "Connection": "X-Gone", "X-Gone": "1", "Keep-Alive": "timeout=5"})
    h.expect(s, 200, b"ok", x_up="Yes", connection=None, x_gone=None, keep_alive=None, content_length="2")
    line = w.access(1)[0]
    assert line["network.protocol.version"] == "2" and line["http.response.status_code"] == 200
    h.close()


def test_bodies_of_all_kinds(weir):
    w = weir(serve=echo)
    h = H2Client(w.client())
    for body in (b"", b"x", b"y" * 65536, bytes(range(256)) * 8000):
        h.fetch("/p", 200, body, method="POST", body=body)
        h.fetch("/p", 200, body, method="POST", body=body, headers={"content-length": str(len(body))})
    h.close()


def test_many_at_once(weir):
    w = weir(serve=echo)
    h = H2Client(w.client())
    streams = [h.ask(f"/{i}", method="POST", body=b"%d" % i * 1000) for i in range(90)]
    for i, s in enumerate(streams):
        h.expect(s, 200, b"%d" % i * 1000, x_path=f"/{i}")
    h.close()


def test_chunks_trailers_and_interim_answers(weir):
    w = weir()
    h = H2Client(w.client())
    s = h.ask("/", method="POST", body=b"abc", trailers=[("x-sum", "6")])
    w.upstream.expect_request("POST /", body=b"abc")
    w.upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    w.upstream.answer(200, [b"one", b"two"], trailers={"X-Sum": "6"})
    r = h.expect(s, 200, b"onetwo")
    assert r.trailers == [("x-sum", "6")] and r.interim[0]["link"] == "</x>"
    h.close()


def test_denied_uploads_never_upload(weir):
    w = weir(policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"], serve=True)
    h = H2Client(w.client())
    h.fetch("/", 200)
    s = h.ask("/", method="POST", end=False)
    r = h.expect(s, 429)
    assert int(r.get("retry-after")) > 0
    h.send_body(s, bytes(1 << 22), end=False)
    h.sync()
    assert h.of(s).reset is None  # it may end itself, and is stopped when that takes too much
    h.send_body(s, b"x", end=False)
    h.sync()
    assert h.of(s).reset == 0
    h.fetch("/", 429)
    h.close()


@needs("curl")
@pytest.mark.parametrize("size", [1000, 100_000, 5_000_000])
def test_refused_uploads_of_curl_are_answers(weir, tmp_path, size):
    w = weir(policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"], serve=True)
    H2Client(w.client()).fetch("/", 200)
    (tmp_path / "body").write_bytes(bytes(size))
    out = run("curl", "-sS", "-w", "%{http_code}", "-o", "/dev/null", "--http2-prior-knowledge",
              "--data-binary", f"@{tmp_path / 'body'}", f"http://{w.addr}/")
    assert out == b"429"


def test_a_hundred_continue(weir):
    w = weir()
    h = H2Client(w.client())
    s = h.ask("/", method="POST", headers={"expect": "100-continue", "content-length": "3"}, end=False)
    w.upstream.expect_request("POST /", read_body=False, expect="100-continue", content_length="3")
    w.upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert h.pump(lambda: h.of(s).interim)
    h.send_body(s, b"abc")
    assert w.upstream.wire.read_exact(3) == b"abc"
    w.upstream.answer(200, b"ok")
    h.expect(s, 200, b"ok")
    h.close()


@pytest.mark.parametrize("fields", [
    [("transfer-encoding", "chunked")], [("connection", "close")], [("content-length", "1"), ("content-length", "1")],
    [("x", "a\r\nX-Smuggled: 1")], [("x", "a\nb")], [("x", "a\0b")], [("X-Upper", "1")], [("x y", "1")], [("host", "other")],
    [("te", "gzip")], [("upgrade", "h2c")], [("x", " lead")], [(":path", "/again")], [(":status", "200")],
    [("content-length", "-1")], [("x:y", "1")], [("", "1")],
], ids=repr)
def test_nothing_is_smuggled(weir, fields):
    w = weir()
    h = H2Client(w.client())
    s = h.ask("/", headers=fields)
    h.expect(s, 400)
    w.upstream.untouched(0.05)
    h.close()


@pytest.mark.parametrize("target", ["", "x", "http://test/", "/a b", "/a#b", "/a\r\nX: y", "*", "/\0"])
def test_targets_that_are_none(weir, target):
    w = weir()
    h = H2Client(w.client())
    h.fetch(target, 400)
    w.upstream.untouched(0.05)
    h.close()


def test_content_length_and_data_agree(weir):
    w = weir()
    h = H2Client(w.client())
    s = h.ask("/", method="POST", headers={"content-length": "5"}, body=b"abc")
    r = h.wait(s)
    assert r.status == 400 or r.reset == 1
    h.close()


def test_a_cut_answer_is_reset(weir):
    w = weir()
    h = H2Client(w.client())
    s = h.ask("/")
    w.upstream.expect_request("GET /")
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").close()
    assert h.wait(s).reset == 2
    h.sync()
    h.close()


def test_an_aborted_call_ends_upstream_and_the_others_go_on(weir):
    w = weir()
    h = H2Client(w.client())
    a, b = h.ask("/a"), h.ask("/b")
    first = w.upstream.expect_request("GET /a")
    wire = first.wire
    w.upstream.expect_request("GET /b")
    h.h2.reset_stream(a, 8)
    h.flush()
    wire.expect_closed()
    w.upstream.answer(200, b"ok")
    h.expect(b, 200, b"ok")
    assert {x["reason"] for x in w.access(2)} == {"client_abort", "ok"}
    h.close()


def test_a_slow_reader_stops_its_own_stream_alone(weir):
    big = b"x" * 4_000_000
    w = weir(serve=lambda r: response(200, big if r.path == "/big" else b"ok"))
    h = H2Client(w.client(), window=65535)
    h.h2.increment_flow_control_window(1 << 20)
    slow = h.ask("/big")
    assert h.pump(lambda: len(h.of(slow).body) == 65535)
    before = w.memory()
    h.fetch("/small", 200, b"ok")
    assert w.memory() - before < 2 << 20
    h.h2.increment_flow_control_window(1 << 30)
    h.h2.increment_flow_control_window(1 << 30, slow)
    h.flush()
    h.expect(slow, 200, big)
    h.close()


def test_rapid_resets_are_bounded_and_counted(weir):
    w = weir(serve=True, limits={"http2": {"resets": 50}})
    h = H2Client(w.client())
    for _ in range(120):  # more than the bound on one side of the ten seconds' turn
        h.h2.reset_stream(h.ask("/"), 8)
    h.flush()
    h.pump(lambda: h.goaway)
    assert h.goaway[1] == 11
    w.wait_metric("weir_http2_floods_total", 1, kind="resets")
    h.close()


def test_continuations_are_bounded(weir):
    w = weir()
    c = w.client()
    h = H2Client(c)
    h.raw(b"\0\0\0\1\0\0\0\0\1" + b"\0\0\1\x09\0\0\0\0\1\x00" * 20)
    h.pump(lambda: h.goaway)
    assert h.goaway[1] == 11
    w.wait_metric("weir_http2_floods_total", 1, kind="head_frames")
    h.close()


@pytest.mark.parametrize("header_bytes", [32768, 131072])
def test_a_head_that_is_too_large_is_one_calls_fault(weir, header_bytes):
    w = weir(limits={"header_bytes": header_bytes})
    h = H2Client(w.client())
    a = h.ask("/", method="POST", end=False)
    for size in (header_bytes, header_bytes + 14000):
        h.expect(h.ask("/", headers=[("x", "X" * 16000)] * (size // 16000 + 1)), 431)
    h.send_body(a, b"x")
    w.upstream.expect_request("POST /", body=b"x")
    w.upstream.answer()
    h.expect(a, 200)
    h.close()


def test_an_answers_head_that_is_too_large_is_one_calls_fault(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams)
    c, other = w.client().ask("/0"), w.client()
    r = up.expect("GET /0")
    r.conn.sync()
    for size in (33000, 60000):
        other.ask("/1")
        up.answer(up.expect("GET /1"), 200, b"no", [("x", "X" * size)])
        other.expect(502)
    up.answer(r, 200, b"ok")
    c.expect(200)
    assert len(up.conns) == 1


def test_more_streams_than_there_may_be_are_refused(weir):
    w = weir(limits={"http2": {"streams": 2}})
    h = H2Client(w.client())
    h.sync()
    h.h2.remote_settings[3] = 100
    h.h2.remote_settings.acknowledge()
    a = h.ask("/a"), h.ask("/b")
    c = h.ask("/c")
    assert h.wait(c).reset == 7
    for s in a:
        w.upstream.expect_request()
        w.upstream.answer(200, b"ok")
    for s in a:
        h.expect(s, 200, b"ok")
    h.close()


def test_http1_beside_it(weir):
    w = weir(serve=True)
    H2Client(w.client()).fetch("/", 200)
    assert w.fetch("/").status == 200


def test_http2_false_refuses_the_preface(weir):
    w = weir(start=False, serve=True)
    w.sections["listen"] = [{"addr": w.addr, "http2": False}]
    w.write()
    w.start()
    w.client().send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").refused(505)


def test_a_preface_that_comes_in_pieces(weir):
    w = weir(serve=True)
    c = w.client()
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    c.send_bytewise(data)
    assert c.read_exact(9)[3] == 4
    c.close()


# ---- drain and reload

def test_drain_loses_no_call(weir):
    w = weir()
    h = H2Client(w.client())
    a = h.ask("/a")
    w.upstream.expect_request("GET /a")
    w.signal(signal.SIGTERM)
    assert h.pump(lambda: h.goaway)
    w.upstream.answer(200, b"ok")
    h.expect(a, 200, b"ok")
    assert not h.pump(lambda: False)
    assert w.wait_exit() == 0


def test_a_reload_keeps_the_connection(weir):
    w = weir()
    h = H2Client(w.client())
    a = h.ask("/a")
    w.upstream.expect_request("GET /a")
    w.reload(policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"])
    h_new = h.ask("/b")
    w.upstream.answer(200, b"old")
    h.expect(a, 200, b"old")
    w.upstream.expect_request("GET /b")
    w.upstream.answer(200, b"new")
    h.expect(h_new, 200, b"new")
    h.fetch("/c", 429)
    h.close()


@pytest.mark.parametrize("window", ["1KiB", "8MiB"])
def test_a_reload_takes_back_no_window(weir, window):
    """What a connection was told of windows holds; new ones are told anew."""
    w = weir(serve=echo)
    h = H2Client(w.client())
    h.fetch("/", 200)
    w.reload(limits={"http2": {"stream_window": window, "connection_window": "64MiB"}})
    body = b"x" * 300000
    for client in (h, H2Client(w.client())):
        client.fetch("/p", 200, body, method="POST", body=body)
        client.close()


def test_http2_comes_and_goes_with_a_reload(weir):
    """The listener stays open, and so do its connections; new ones are met as the new configuration says."""
    w = weir(serve=True)
    h = H2Client(w.client())
    h.fetch("/", 200)
    for http2 in (False, True):
        w.reload(listen={"addr": w.addr, "http2": http2})
        h.fetch("/", 200)
        c = w.client()
        c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert (c.read_exact(8) == b"HTTP/1.1") != http2
        c.close()
    assert w.stderr().count("listening on " + w.addr) == 1
    h.close()


def test_a_listener_that_goes_says_so(weir):
    w = weir()
    h = H2Client(w.client())
    a = h.ask("/a")
    w.upstream.expect_request("GET /a")
    old = w.addr
    w.addr = f"127.0.0.1:{free_port()}"
    w.reload()
    assert h.pump(lambda: h.goaway) and old != w.addr
    w.upstream.answer(200, b"ok")
    h.expect(a, 200, b"ok")
    assert not h.pump(lambda: False)
    h.close()


def test_an_idle_connection_is_told_to_go(weir):
    w = weir(serve=True, limits={"idle_timeout": "2s"})
    h = H2Client(w.client())
    h.fetch("/", 200)
    h.pump(lambda: h.goaway)
    assert h.goaway[1] == 0
    assert not h.pump(lambda: False)


# ---- upstreams of HTTP/2

@pytest.mark.parametrize("version", [1, 2])
def test_upstream_of_http2(weir, upstreams, version):
    w, up = with_h2_upstream(weir, upstreams)
    if version == 2:
        h = H2Client(w.client())
        s = h.ask("/a?b", method="POST", body=b"abc", trailers=[("x-t", "1")])
    else:
        c = w.client().ask("/a?b", method="POST", body=[b"abc"], headers={"TE": "trailers"}, trailers={"X-T": "1"})
    r = up.expect("POST /a?b")
    assert r.body == b"abc" and r.trailers == [("x-t", "1")] and r.get(":authority") == "test"
    assert r.get("te") == "trailers" and r.get(":scheme") == "http" and r.get("host") is None
    up.answer(r, 200, b"ok", [("x-up", "1")], trailers=[("grpc-status", "0")])
    if version == 2:
        assert h.expect(s, 200, b"ok", x_up="1").trailers == [("grpc-status", "0")]
        h.close()
    else:
        assert c.expect(200, b"ok", x_up="1").trailers == [("grpc-status", "0")]
        c.close()


def test_calls_share_a_connection(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams)
    cs = [w.client().ask(f"/{i}") for i in range(20)]
    rs = [up.expect() for _ in cs]
    assert len(up.conns) == 1 and up.upstream.accepted == 1
    for r in rs:
        up.answer(r, 200, r.get(":path").encode())
    for i, c in enumerate(cs):
        c.expect(200, b"/%d" % i)
        c.close()


def test_bodies_both_ways_upstream(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams)
    body = bytes(range(256)) * 8000
    h = H2Client(w.client())
    s = h.ask("/", method="POST", end=False)
    r = up.expect(whole=False)
    t = threading.Thread(target=h.send_body, args=(s, body))
    t.start()
    assert r.conn.pump(lambda: r.ended)
    t.join()
    assert r.body == body
    t = threading.Thread(target=up.answer, args=(r, 200, body))
    t.start()
    h.expect(s, 200, body)
    t.join()
    h.close()


def test_streams_both_ways_at_once(weir, upstreams):
    """As gRPC does it: neither side waits for the other's end."""
    w, up = with_h2_upstream(weir, upstreams)
    h = H2Client(w.client())
    s = h.ask("/x.Y/Z", method="POST", headers={"content-type": "application/grpc", "te": "trailers"}, end=False)
    r = up.expect("POST /x.Y/Z", whole=False)
    r.conn.h2.send_headers(r.stream, [(":status", "200"), ("content-type", "application/grpc")])
    for i in range(5):
        h.send_body(s, b"ask%d" % i, end=False)
        assert r.conn.pump(lambda i=i: r.body.endswith(b"ask%d" % i))
        r.conn.send_body(r.stream, b"answer%d" % i, end=False)
        assert h.pump(lambda i=i: h.of(s).body.endswith(b"answer%d" % i))
    h.send_body(s, b"")
    assert r.conn.pump(lambda: r.ended)
    r.conn.send_body(r.stream, b"", trailers=[("grpc-status", "0")])
    assert h.expect(s, 200).trailers == [("grpc-status", "0")]
    h.close()


def test_the_upstreams_bound_on_streams_is_kept(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams)
    up.settings["max_concurrent_streams"] = 2
    first = w.client().ask("/0")
    r0 = up.expect()
    r0.conn.sync()
    cs = [w.client().ask(f"/{i}") for i in range(1, 4)]
    r1 = up.expect()
    up.accept()
    others = [up.expect(), up.expect()]
    for r in [r0, r1, *others]:
        up.answer(r, 200, b"ok")
    for c in [first, *cs]:
        c.expect(200, b"ok")
        c.close()


def test_the_upstreams_bound_is_remembered(weir, upstreams):
    """A new connection is used before its settings come."""
    w, up = with_h2_upstream(weir, upstreams)
    up.settings["max_concurrent_streams"] = 1
    first = w.client().ask("/0")
    up.answer(up.expect(), 200, b"ok")
    first.expect(200)
    cs = [w.client().ask(f"/{i}") for i in range(1, 4)]
    rs = [up.expect()]
    for _ in range(2):
        up.accept()
        rs.append(up.expect())
    for r in rs:
        up.answer(r, 200, b"ok")
    for c in cs:
        c.expect(200)


def test_a_bound_that_is_no_more_is_forgotten(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams)
    up.settings["max_concurrent_streams"] = 1
    old = w.client().ask("/0")
    up.answer(up.expect(), 200, b"ok")
    old.expect(200)
    del up.settings["max_concurrent_streams"]
    cs, rs = [old.ask("/1")], [up.expect()]
    cs.append(w.client().ask("/2"))
    up.accept()
    rs.append(up.expect())
    up.conns[-1].sync()
    cs.append(w.client().ask("/3"))
    rs.append(up.expect("GET /3"))
    for c, r in zip(cs, rs):
        up.answer(r, 200, b"ok")
        c.expect(200)



@pytest.mark.parametrize("how", ["refused", "goaway"])
def test_what_was_not_looked_at_goes_again(weir, upstreams, how):
    """A POST, with its body."""
    w, up = with_h2_upstream(weir, upstreams)
    c = w.client().ask("/", method="POST", body=b"abc")
    r = up.expect()
    if how == "refused":
        up.reset(r, 7)
    else:
        r.conn.raw(b"\0\0\x08\7\0\0\0\0\0" + struct.pack(">II", 0, 0))
        up.accept()
    again = up.expect("POST /")
    assert again.body == b"abc"
    up.answer(again, 200, b"ok")
    c.expect(200, b"ok")
    assert w.access(1)[0]["attempts"] == 2
    c.close()


@pytest.mark.parametrize("body", [b"x" * 100000, b"abc"], ids=["large", "with trailers"])
def test_what_is_not_kept_does_not_go_again(weir, upstreams, body):
    """Half of it would look whole."""
    first, other = upstreams(2)
    endpoints = [first.addr, {"addr": other.addr, "backup": True}]
    w, up = weir(upstream=first, upstreams={"app": {"endpoints": endpoints, "http2": True}}), H2Upstream(first)
    h = H2Client(w.client())
    s = h.ask("/", method="PUT", end=False)
    r = up.expect(whole=False)
    if len(body) < 100:
        h.send_body(s, body, trailers=[("x-sum", "1")])
        assert r.conn.pump(lambda: r.ended)
    else:
        h.send_body(s, body[:70000], end=False)
        assert r.conn.pump(lambda: len(r.body) == 70000)
    up.reset(r, 7)
    h.expect(s, 503)
    assert w.access(1)[0]["attempts"] == 1
    h.close()


def test_a_lost_connection_is_502_for_all(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams)
    cs = [w.client().ask("/", method="POST", body=b"x") for _ in range(3)]
    for _ in cs:
        r = up.expect()
    r.conn.wire.reset()
    for c in cs:
        c.expect(502)
        c.close()


def test_those_who_do_not_read_stop_nobody_else(weir, upstreams):
    """Upstream they share a connection; what is kept for each is bounded, not what is kept for all."""
    w, up = with_h2_upstream(weir, upstreams, limits={"http2": {"stream_window": "16KiB", "connection_window": "64KiB"}})
    slow = H2Client(w.client(), window=0)
    for i in range(20):
        slow.ask(f"/{i}")
        r = up.expect(f"GET /{i}")
        r.conn.h2.send_headers(r.stream, [(":status", "200")])
        for _ in range(6):  # 64 KiB and what it takes to go beyond it are kept for the client; one window is held
            up.conns[0].send_body(r.stream, b"x" * 16384, end=False)
    h = H2Client(w.client())
    body = b"y" * 300000
    s = h.ask("/fast")
    thread = threading.Thread(target=lambda: up.answer(up.expect("GET /fast"), 200, body))
    thread.start()
    h.expect(s, 200, body)
    thread.join()
    h.close()
    slow.close()


def test_a_reset_answer_is_cut(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams)
    h = H2Client(w.client())
    s = h.ask("/")
    r = up.expect()
    r.conn.h2.send_headers(r.stream, [(":status", "200")])
    r.conn.flush()
    assert h.pump(lambda: h.of(s).headers)
    up.reset(r, 2)
    assert h.wait(s).reset == 2
    h.close()


@pytest.mark.parametrize("head", [
    [(":status", "200"), ("connection", "close")], [(":status", "200"), ("X-Upper", "1")], [("x", "y")],
    [(":status", "2000")], [(":status", "200"), ("x", "a\r\nb")],
    [(":status", "200"), ("content-length", "3"), ("content-length", "4")],
], ids=repr)
def test_malformed_answers_of_http2(weir, upstreams, head):
    w, up = with_h2_upstream(weir, upstreams)
    c = w.client().ask("/")
    r = up.expect()
    r.conn.h2.send_headers(r.stream, head, end_stream=True)
    r.conn.flush()
    c.expect(502)
    assert w.access(1)[0]["reason"] == "upstream_malformed"
    c.close()


def test_weir_behind_weir(weir):
    """Bodies through all of it, checks in HTTP/2, and a connection that many calls share."""
    app = weir(serve=echo)
    w = weir(upstreams={"app": {"endpoints": [app.addr], "http2": True, "keepalive_timeout": "300ms",
                                "health": {"path": "/health", "every": "100ms", "timeout": "60s"}}})
    body = bytes(range(256)) * 4000
    h = H2Client(w.client())
    streams = [h.ask(f"/{i}", method="POST", body=body) for i in range(10)]
    for i, s in enumerate(streams):
        h.expect(s, 200, body, x_path=f"/{i}")
    until(lambda: w.metric("weir_upstream_health_checks_total", result="ok"), "a check passed")
    assert w.metric("weir_upstream_endpoint_up") == 1
    assert not w.metric("weir_upstream_health_checks_total", result="broken")
    h.close()
    w.signal(signal.SIGTERM)  # before the app is looked over: its checks come on
    assert w.wait_exit() == 0


def test_hedges_share_a_connection(weir, upstreams):
    w, up = with_h2_upstream(weir, upstreams, use=["r"],
                             policies={"r": {"retry": 1, "hedge": {"after": "50ms", "budget": "100%"}}})
    h = H2Client(w.client())
    s = h.ask("/")
    first, second = up.expect(), up.expect()
    up.answer(second, 200, b"second")
    h.expect(s, 200, b"second")
    assert first.conn.pump(lambda: first.reset == 8)
    s = h.ask("/again")
    up.answer(up.expect("GET /again"), 200, b"ok")
    h.expect(s, 200, b"ok")
    h.close()


# ---- real software

@needs("curl")
def test_curl(weir, tmp_path):
    w = weir(serve=echo)
    body = bytes(range(256)) * 10000
    (tmp_path / "body").write_bytes(body)
    url = f"http://{w.addr}/x"
    assert run("curl", "-sf", "--http2-prior-knowledge", "--data-binary", f"@{tmp_path}/body", url) == body
    assert run("curl", "-sf", "--http2-prior-knowledge", "-X", "POST", "-H", "Transfer-Encoding: chunked", "-T",
               f"{tmp_path}/body", url) == body


@needs("nghttp", "h2load")
def test_nghttp_and_h2load(weir):
    w = weir(serve=echo)
    out = run("nghttp", "-nv", f"http://{w.addr}/x").decode()
    assert ":status: 200" in out
    out = run("h2load", "-n", "2000", "-c", "4", "-m", "10", f"http://{w.addr}/x").decode()
    assert re.search(r"2000 succeeded, 0 failed, 0 errored", out), out


def test_nothing_is_left_behind(weir):
    w = weir(serve=True)
    for _ in range(20):
        h = H2Client(w.client())
        for _ in range(5):
            h.ask("/")
        h.close()
    until(lambda: w.metric("weir_connections_active", listener=w.addr) == 0, "all connections closed")


def test_behind_a_proxy_header(weir):
    w = weir(start=False, serve=True)
    w.sections["listen"] = [{"addr": w.addr, "proxy_protocol": True}]
    w.write()
    w.start()
    c = w.client()
    c.send_bytewise(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n")
    h = H2Client(c)
    h.fetch("/", 200)
    assert w.access(1)[0]["client.address"] == "192.0.2.7"
    h.close()

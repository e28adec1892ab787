"""gRPC through Weir, frame by frame: refusals, deadlines, how answers are judged (real clients: tests/clients)."""

import signal
import time

import pytest

from h2wire import H2Client, H2Upstream
from harness import free_port, until

OK, UNKNOWN, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 4, 8, 12, 13, 14
TYPE = {"content-type": "application/grpc", "te": "trailers"}
METHOD = "/pkg.Service/Method"


def message(body=b"x"):
    return b"\0" + len(body).to_bytes(4, "big") + body


def start(weir, upstreams, **more):
    up, = upstreams(1)
    app = {"endpoints": [up.addr], "http2": True, "keepalive_timeout": "60s", **more.pop("upstream_more", {})}
    w = weir(upstream=up, upstreams={"app": app}, **more)
    return w, H2Upstream(up), H2Client(w.client())


def call(h, body=message(), end=True, **fields):
    return h.ask(METHOD, method="POST", headers={**TYPE, **{k.replace("_", "-"): v for k, v in fields.items()}}, body=body,
                 end=end)


def trailers_only(up, r, code, *more):
    up.answer(r, 200, headers=[("content-type", "application/grpc"), ("grpc-status", str(code)), *more], length=False)


def answer(up, r, body=message(b"y"), code=0):
    up.answer(r, 200, body, [("content-type", "application/grpc")], trailers=[("grpc-status", str(code)), ("x-bin", "AA")])


def expect_refusal(h, s, code, text=None):
    """One head that is the end, too."""
    r = h.expect(s, 200, b"", content_type="application/grpc", grpc_status=str(code), content_length=None)
    assert r.trailers is None and r.get("grpc-message")
    assert text is None or text in r.get("grpc-message"), r.headers
    return r


# ---- refusals

def test_a_limit_is_resource_exhausted(weir, upstreams):
    w, up, h = start(weir, upstreams, policies={"p%y": {"rate": "1/m", "burst": 1}}, use=["p%y"])
    s = call(h)
    answer(up, up.expect(f"POST {METHOD}"))
    h.expect(s, 200)
    r = expect_refusal(h, call(h), EXHAUSTED, "rate limit exceeded (policy p%25y); retry after ")
    ms = int(r.get("grpc-retry-pushback-ms"))
    assert 30000 < ms <= 60000 and int(r.get("retry-after")) == (ms + 999) // 1000 and r.get("ratelimit")
    line = w.access(2)[1]
    assert line["rpc.grpc.status_code"] == EXHAUSTED and line["http.response.status_code"] == 200
    assert line["outcome"] == "denied" and line["reason"] == "rate_limited"
    h.close()


@pytest.mark.parametrize("policy", [{"rate": "1/h", "burst": 1}, {"rate": "1/h", "burst": 1, "status": 503}], ids=str)
def test_a_limit_that_is_far_away_wants_no_retry(weir, upstreams, policy):
    _, up, h = start(weir, upstreams, policies={"p": policy}, use=["p"])
    s = call(h)
    answer(up, up.expect())
    h.expect(s, 200)
    assert expect_refusal(h, call(h), EXHAUSTED).get("grpc-retry-pushback-ms") == "-1"
    h.close()


def test_a_denied_stream_is_not_read(weir, upstreams):
    _, up, h = start(weir, upstreams, policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"])
    s = call(h)
    answer(up, up.expect())
    h.expect(s, 200)
    s = call(h, end=False)
    expect_refusal(h, s, EXHAUSTED)
    h.sync()
    assert h.of(s).reset == 0
    h.close()


def test_full_is_resource_exhausted(weir, upstreams):
    _, up, h = start(weir, upstreams, policies={"p": {"concurrency": 1}}, use=["p"])
    s = call(h)
    r = up.expect()
    expect_refusal(h, call(h), EXHAUSTED)
    answer(up, r)
    h.expect(s, 200)
    h.close()


def test_nobody_there_is_unavailable(weir):
    w = weir(upstreams={"app": {"endpoints": [f"127.0.0.1:{free_port()}"], "http2": True}})
    h = H2Client(w.client())
    expect_refusal(h, call(h), UNAVAILABLE, "could not connect")
    assert w.access(1)[0]["reason"] == "connect_failed"
    h.close()


def test_no_route_is_unimplemented(weir):
    w = weir(routes=[{"to": "app", "match": {"path": "/x"}}])
    h = H2Client(w.client())
    expect_refusal(h, call(h), UNIMPLEMENTED)
    h.close()


def test_an_upstream_that_breaks_is_unavailable(weir, upstreams):
    _, up, h = start(weir, upstreams)
    s = call(h)
    up.reset(up.expect(), 2)
    expect_refusal(h, s, UNAVAILABLE)
    h.close()


def test_too_much_is_resource_exhausted(weir, upstreams):
    _, up, h = start(weir, upstreams, route={"max_body": "1KiB"}, upstream_more={"keepalive_timeout": "300ms"})
    expect_refusal(h, call(h, body=message(b"z" * 5000)), EXHAUSTED)
    h.close()


@pytest.mark.parametrize("kind", ["application/grpc-web", "application/json"])
def test_others_are_told_as_ever(weir, kind):
    w = weir(policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"], serve=True)
    h = H2Client(w.client())
    for status in (200, 429):
        h.fetch(METHOD, status, method="POST", headers={"content-type": kind}, body=b"x")
    h.close()


# ---- answers

def test_streams_both_ways(weir, upstreams):
    w, up, h = start(weir, upstreams)
    s = call(h, body=None, end=False)
    r = up.expect(f"POST {METHOD}", whole=False)
    assert r.get("te") == "trailers" and r.get("content-type") == "application/grpc" and not r.get("grpc-timeout")
    c = r.conn
    c.h2.send_headers(r.stream, [(":status", "200"), ("content-type", "application/grpc")])
    c.flush()
    sent = got = b""
    for i in range(5):
        ping, pong = message(b"ping%d" % i), message(b"pong%d" % i)
        h.send_body(s, ping, end=False)
        sent += ping
        assert c.pump(lambda: r.body == sent)
        c.send_body(r.stream, pong, end=False)
        got += pong
        assert h.pump(lambda: h.of(s).body == got)
    h.h2.end_stream(s)
    h.flush()
    assert c.pump(lambda: r.ended)
    c.h2.send_headers(r.stream, [("grpc-status", "0"), ("grpc-message", ""), ("x-bin", "AA")], end_stream=True)
    c.flush()
    assert h.expect(s, 200, got).trailers == [("grpc-status", "0"), ("grpc-message", ""), ("x-bin", "AA")]
    line = w.access(1)[0]
    assert line["rpc.grpc.status_code"] == 0 and line["reason"] == "ok"
    h.close()


def test_trailers_only(weir, upstreams):
    w, up, h = start(weir, upstreams)
    s = call(h)
    trailers_only(up, up.expect(), 5, ("grpc-message", "no%20such"))
    r = h.expect(s, 200, b"", grpc_status="5", grpc_message="no%20such", content_length=None)
    assert r.trailers is None
    assert w.access(1)[0]["rpc.grpc.status_code"] == 5
    h.close()


# ---- deadlines

def test_a_deadline_that_passes(weir, upstreams):
    w, up, h = start(weir, upstreams)
    began = time.monotonic()
    s = call(h, grpc_timeout="2000m")
    r = up.expect()
    assert r.get("grpc-timeout").endswith("u") and 0 < int(r.get("grpc-timeout")[:-1]) <= 2000000
    expect_refusal(h, s, DEADLINE)
    assert time.monotonic() - began > 1.99
    assert r.conn.pump(lambda: r.reset is not None) and r.reset == 8
    line = w.access(1)[0]
    assert line["reason"] == "deadline_exceeded" and line["rpc.grpc.status_code"] == DEADLINE
    h.close()


def test_a_deadline_that_passes_in_an_answer(weir, upstreams):
    _, up, h = start(weir, upstreams)
    s = call(h, grpc_timeout="2000000u")
    r = up.expect()
    r.conn.h2.send_headers(r.stream, [(":status", "200"), ("content-type", "application/grpc")])
    r.conn.send_body(r.stream, message(b"half"), end=False)
    assert h.wait(s).reset == 8
    assert r.conn.pump(lambda: r.reset is not None)
    h.close()


def test_the_routes_total_is_a_deadline_too(weir, upstreams):
    _, up, h = start(weir, upstreams, route={"timeout": {"total": "2s"}})
    for fields in ({}, {"grpc_timeout": "1H"}):
        s = call(h, **fields)
        r = up.expect()
        assert 0 < int(r.get("grpc-timeout")[:-1]) <= 2000000
        expect_refusal(h, s, DEADLINE)
    h.close()


def test_no_time_is_too_late(weir, upstreams):
    w, up, h = start(weir, upstreams, policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"])
    for _ in range(3):
        expect_refusal(h, call(h, grpc_timeout="0n"), DEADLINE)
    s = call(h)
    answer(up, up.expect())
    h.expect(s, 200)
    h.close()


@pytest.mark.parametrize("text", ["", "1", "x", "1s", "123456789S", "-1S", "1 S"])
def test_deadlines_that_are_none(weir, upstreams, text):
    _, _, h = start(weir, upstreams)
    expect_refusal(h, call(h, grpc_timeout=text), INTERNAL)
    h.close()


# ---- how answers are judged

def test_answers_are_counted_by_their_status(weir, upstreams):
    """The status of HTTP is 200 all the same."""
    w, up, h = start(weir, upstreams)
    assert not [m for m in w.metrics() if m[0] == "weir_grpc_requests_total"]
    for code in (0, 0, UNAVAILABLE, 16):
        s = call(h)
        answer(up, up.expect(), code=code)
        h.expect(s, 200)
    s = call(h)
    trailers_only(up, up.expect(), "what")
    h.expect(s, 200)
    s = call(h)
    up.expect()
    h.h2.reset_stream(s, 8)
    h.flush()
    w.wait_metric("weir_requests_in_flight", 0)
    counts = {have["grpc_status"]: v for name, have, v in w.metrics() if name == "weir_grpc_requests_total"}
    assert len(counts) == 18
    assert {k: v for k, v in counts.items() if v} == {"0": 2, "14": 1, "16": 1, "2": 1, "_OTHER": 1}
    h.close()


def test_unavailable_is_a_failure_to_breakers(weir, upstreams):
    w, up, h = start(weir, upstreams, policies={"b": {"breaker": 2, "open_for": "30s"}}, use=["b"])
    for code in (UNAVAILABLE, 5, UNIMPLEMENTED, INTERNAL, UNAVAILABLE):
        s = call(h)
        trailers_only(up, up.expect(), code)
        h.expect(s, 200, grpc_status=str(code))
    r = expect_refusal(h, call(h), UNAVAILABLE, "circuit breaker")
    assert 0 < int(r.get("grpc-retry-pushback-ms")) <= 36000
    h.close()


def test_failures_in_trailers_count_as_well(weir, upstreams):
    w, up, h = start(weir, upstreams, policies={"b": {"breaker": 2, "open_for": "30s"}}, use=["b"])
    for _ in range(2):
        s = call(h)
        answer(up, up.expect(), code=UNAVAILABLE)
        h.expect(s, 200)
    expect_refusal(h, call(h), UNAVAILABLE)
    h.close()


def test_a_client_in_a_hurry_opens_no_breaker(weir, upstreams):
    w, up, h = start(weir, upstreams, policies={"b": {"breaker": 1, "open_for": "30s"}}, use=["b"])
    s = call(h, grpc_timeout="2S")
    up.expect()
    expect_refusal(h, s, DEADLINE)
    s = call(h, grpc_timeout="1M")
    trailers_only(up, up.expect(), DEADLINE)
    h.expect(s, 200, grpc_status=str(DEADLINE))
    s = call(h)
    answer(up, up.expect())
    h.expect(s, 200)
    h.close()


RETRY = {"r": {"retry": 2, "when": [503], "methods": ["POST"], "backoff": {"base": "1ms", "max": "2s"}, "budget": "100%"}}


def test_unavailable_is_tried_again(weir, upstreams):
    w, up, h = start(weir, upstreams, policies=RETRY, use=["r"])
    s = call(h)
    trailers_only(up, up.expect(), UNAVAILABLE)
    answer(up, up.expect())
    h.expect(s, 200, message(b"y"))
    line = w.access(1)[0]
    assert line["attempts"] == 2 and line["rpc.grpc.status_code"] == 0
    h.close()


def test_pushback_of_the_upstream_is_obeyed(weir, upstreams):
    w, up, h = start(weir, upstreams, policies=RETRY, use=["r"])
    s = call(h)
    r, began = up.expect(), time.monotonic()
    trailers_only(up, r, UNAVAILABLE, ("grpc-retry-pushback-ms", "200"))
    answer(up, up.expect())
    assert time.monotonic() - began > 0.19
    h.expect(s, 200)
    s = call(h)
    trailers_only(up, up.expect(), UNAVAILABLE, ("grpc-retry-pushback-ms", "-1"))
    h.expect(s, 200, grpc_status=str(UNAVAILABLE))
    assert w.access(2)[1]["attempts"] == 1
    h.close()


def test_what_was_answered_is_not_tried_again(weir, upstreams):
    w, up, h = start(weir, upstreams, policies=RETRY, use=["r"])
    s = call(h)
    answer(up, up.expect(), code=UNAVAILABLE)  # a message has come: the trailers are too late
    h.expect(s, 200, message(b"y"))
    assert w.access(1)[0]["attempts"] == 1
    h.close()


# ---- ends

def test_cancelled_here_is_cancelled_there(weir, upstreams):
    w, up, h = start(weir, upstreams)
    s = call(h, end=False)
    r = up.expect(whole=False)
    h.h2.reset_stream(s, 8)
    h.flush()
    assert r.conn.pump(lambda: r.reset is not None) and r.reset == 8
    assert w.access(1)[0]["reason"] == "client_abort"
    h.close()


def test_a_drain_loses_no_call(weir, upstreams):
    w, up, h = start(weir, upstreams, shutdown={"delay": "0s", "drain": "20s"})
    s = call(h)
    r = up.expect()
    w.signal(signal.SIGTERM)
    assert h.pump(lambda: h.goaway)
    answer(up, r)
    h.expect(s, 200, message(b"y"))
    until(lambda: w.proc.poll() is not None)

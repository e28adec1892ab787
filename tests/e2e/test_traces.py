"""Traces: what a scripted collector is sent, what becomes of bad collectors, and what goes upstream."""

import json
import re
import threading
import time

import pytest

from certificates import certs
from h2wire import H2Client, H2Upstream
from harness import Upstream, response, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
SERVER, CLIENT = 2, 3


def flat(attributes):
    """{key: value}; 64-bit integers must come as strings."""
    out = {}
    for a in attributes:
        (kind, v), = a["value"].items()
        assert kind != "intValue" or isinstance(v, str)
        assert a["key"] not in out
        out[a["key"]] = int(v) if kind == "intValue" else v
    return out


class Collector:
    """Keeps spans; answers what the script says, then 200."""

    def __init__(self, script=(), **more):
        self.requests, self.times, self.spans, self.script = [], [], [], list(script)
        self.up = Upstream(**more)
        self.up.serve(self.answer)

    def answer(self, r):
        self.requests.append(r)
        self.times.append(time.monotonic())
        a = self.script.pop(0) if self.script else response(200, b"{}")
        if callable(a):
            a = a(r)
        if a and b" 200 " in a.split(b"\r\n")[0]:
            for s in r.json()["resourceSpans"][0]["scopeSpans"][0]["spans"]:
                self.spans.append({**s, "attributes": flat(s["attributes"])})
        return a or b""

    def wait(self, n):
        return until(lambda: len(self.spans) >= n and self.spans, f"{n} spans")

    def conf(self, **more):
        scheme = "https" if self.up.tls else "http"
        return {"endpoint": f"{scheme}://{self.up.addr}", "interval": "20ms", **more}


@pytest.fixture
def traced(weir):
    """(weir, collector): traced(script, tracing={...}, ...)"""
    made = []

    def make(script=(), tracing=None, serve=True, collector=None, **more):
        c = Collector(script, **(collector or {}))
        made.append(c.up)
        return weir(serve=serve, tracing=c.conf(**(tracing or {})), **more), c

    yield make
    for u in made:
        u.end()


def kinds(spans, kind):
    return [s for s in spans if s["kind"] == kind]


def count(w, result):
    return w.metric("weir_otlp_spans_total", result=result)


# ---------------------------------------------------------------- bad collectors

def test_nobody_listens(traced):
    w, c = traced(tracing={"queue": "64KiB"})
    c.up.end()
    for _ in range(60):
        assert w.fetch("/" + "x" * 1000).status == 200
    until(lambda: count(w, "dropped") > 0, "spans are dropped")
    assert count(w, "sent") == 0 and "tracing: the collector" in w.stderr()
    assert w.fetch().status == 200


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_tried_again(traced, status):
    w, c = traced([response(status, b"", {"Retry-After": "0"})])
    w.fetch()
    c.wait(2)
    assert len(c.requests) == 2 and c.requests[0].body == c.requests[1].body
    w.wait_metric("weir_otlp_spans_total", 2, result="sent")


def test_retry_after_is_obeyed(traced):
    w, c = traced([response(503, b"", {"Retry-After": "2"})])
    w.fetch()
    c.wait(2)
    assert c.times[1] - c.times[0] > 1.99


@pytest.mark.parametrize("status", [400, 404, 401, 500, 301])
def test_not_tried_again(traced, status):
    w, c = traced([response(status, b"no")])
    w.fetch()
    w.wait_metric("weir_otlp_spans_total", 2, result="failed")
    w.fetch("/2")
    assert {s["attributes"].get("url.path") for s in c.wait(2)} >= {"/2"} and len(c.requests) == 2


@pytest.mark.parametrize("bad", [b"", b"HTTP/1.1 nonsense\r\n\r\n", b"HTTP/1.1 20"])
def test_broken_answers_are_tried_again(traced, bad):
    def broken(r):
        c.up.wires[-1].send(bad, maybe=True)
        c.up.wires[-1].close()

    w, c = traced([broken])
    w.fetch()
    c.wait(2)
    w.wait_metric("weir_otlp_spans_total", 2, result="sent")


def test_a_slow_collector(traced):
    w, c = traced([lambda r: time.sleep(0.5)], tracing={"timeout": "100ms"})
    w.fetch()
    c.wait(2)
    assert "does not answer in time" in w.stderr()


def test_partial_success(traced):
    said = {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too old\nor so"}}
    w, c = traced([response(200, json.dumps(said).encode())])
    w.fetch()
    w.wait_metric("weir_otlp_spans_total", 1, result="rejected")
    assert count(w, "sent") == 1 and "it says: too old or so" in w.stderr()


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"partialSuccess":7}', b'{"partialSuccess":{"rejectedSpans":"-1"}}',
                                  b"x" * 100000, b'{"partialSuccess":{"rejectedSpans":"99999999"}}'])
def test_odd_success(traced, body):
    w, c = traced([response(200, body)])
    w.fetch()
    until(lambda: count(w, "sent") + count(w, "rejected") == 2, "counted once")


def test_shutdown_does_not_wait_for_a_dead_collector(traced):
    w, c = traced([lambda r: time.sleep(20)], tracing={"interval": "60s"})
    w.fetch()
    begin = time.monotonic()
    w.release()
    w.signal(15)
    assert w.wait_exit() == 0 and time.monotonic() - begin < 15
    assert "spans are lost" in w.stderr()


@pytest.mark.parametrize("url", ["collector:4318", "ftp://x/", "http://", "http://h:99999/", "http://u:p@h:1/"])
def test_bad_endpoints(run, policy, url):
    r = run("check", "-c", policy(f"listen: 127.0.0.1:1\nupstreams: {{ a: 127.0.0.1:2 }}\nroutes: [{{ to: a }}]\n"
                                  f"tracing: {{ endpoint: '{url}' }}\n"))
    assert r.returncode == 1 and "`endpoint`" in r.stderr + r.stdout


# ---------------------------------------------------------------- spans

def test_two_spans_of_a_call(traced):
    w, c = traced(tracing={"service": "edge", "attributes": {"deployment.environment.name": "t"},
                           "headers": {"x-key": "k"}})
    w.fetch("/a?secret=1", headers={"User-Agent": "me"})
    s, y = sorted(c.wait(2), key=lambda s: s["kind"])
    r = c.requests[0]
    assert r.line == "POST /v1/traces HTTP/1.1" and r.get("x-key") == "k" and r.get("content-type") == "application/json"
    got = flat(r.json()["resourceSpans"][0]["resource"]["attributes"])
    assert got["service.name"] == "edge" and got["deployment.environment.name"] == "t" and got["host.name"]
    assert got["telemetry.sdk.name"] == "weir" and got["telemetry.sdk.language"] == "c" and got["telemetry.sdk.version"]
    check_call(w, s, y)


def check_call(w, s, y):
    a, b = s["attributes"], y["attributes"]
    assert s["kind"] == SERVER and y["kind"] == CLIENT and y["parentSpanId"] == s["spanId"]
    assert s["name"] == "GET app" and y["name"] == "GET" and "parentSpanId" not in s
    assert a["http.request.method"] == "GET" and a["url.path"] == "/a" and a["http.route"] == "app"
    assert a["http.response.status_code"] == 200 and a["client.address"] == "127.0.0.1" and a["url.scheme"] == "http"
    assert b["url.full"] == f"http://{w.upstream.addr}/a" and b["server.address"] == "127.0.0.1"
    assert "http.request.resend_count" not in b and s["status"] == {"code": 0} == y["status"]
    assert a["user_agent.original"] == "me" and a["weir.reason"] == "ok" and "secret" not in json.dumps([s, y])
    assert int(s["startTimeUnixNano"]) <= int(y["startTimeUnixNano"]) <= int(y["endTimeUnixNano"])
    assert int(y["endTimeUnixNano"]) <= int(s["endTimeUnixNano"]) and abs(int(s["startTimeUnixNano"]) / 1e9 - time.time()) < 60


def test_the_upstream_is_told_the_tries_span(traced):
    w, c = traced(serve=False)
    k = w.client().ask(headers={"traceparent": SAMPLED, "tracestate": "a=b"})
    told = w.upstream.expect_request(tracestate="a=b").get("traceparent")
    w.upstream.answer(200)
    k.expect(200)
    s, y = sorted(c.wait(2), key=lambda s: s["kind"])
    assert told == f"00-{TRACE}-{y['spanId']}-01" and s["parentSpanId"] == PARENT and s["traceId"] == y["traceId"] == TRACE
    assert s["traceState"] == "a=b" and s["flags"] == 0x301 and y["flags"] == 0x101


@pytest.mark.parametrize("given, want", [(["a=b", "c=d,e=f", "", "g@h=i"], "a=b,c=d,e=f,g@h=i"), (["a=" + "x" * 510], "a=" + "x" * 510),
                                         (["a=" + "x" * 254, "b=" + "x" * 253], "a=" + "x" * 254 + ",b=" + "x" * 253),
                                         (["a=" + "x" * 511], None), (["a=" + "x" * 300, "b=" + "x" * 300], None), ([""], None)])
def test_tracestate_of_several_fields_is_one(traced, given, want):
    w, c = traced(serve=False)
    k = w.client().ask(headers=[("traceparent", SAMPLED), *(("tracestate", x) for x in given)])
    r = w.upstream.expect_request()
    w.upstream.answer(200)
    k.expect(200)
    assert r.all("tracestate") == given and [s.get("traceState") for s in c.wait(2)] == [want] * 2


@pytest.mark.parametrize("given", [[SAMPLED, SAMPLED], [SAMPLED.upper()], [SAMPLED + " "], [SAMPLED[:-1]], ["01" + SAMPLED[2:] + "x"],
                                   [SAMPLED.replace(PARENT, "0" * 16)], [SAMPLED.replace("-01", "-0g")], [SAMPLED.replace("-", "_")]])
def test_what_is_no_traceparent(traced, given):
    w, c = traced()
    w.fetch(headers=[("traceparent", x) for x in given])
    whole = given == [SAMPLED + " "]  # white space around a value is none of it
    assert all((s["traceId"] == TRACE) == whole for s in c.wait(2))


def test_only_known_flags_go_on(traced):
    w, c = traced(serve=False)
    k = w.client().ask(headers={"traceparent": SAMPLED[:-2] + "ff"})
    told = w.upstream.expect_request().get("traceparent")
    w.upstream.answer(200)
    k.expect(200)
    assert told.endswith("-03") and {s["flags"] & 0xff for s in c.wait(2)} == {3}


@pytest.mark.parametrize("given", [f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-02"])
def test_not_sampled_goes_on_unchanged(traced, given):
    w, c = traced(serve=False)
    k = w.client().ask(headers={"traceparent": given, "tracestate": "a=b"})
    w.upstream.expect_request(tracestate="a=b", traceparent=given)
    w.upstream.answer(200)
    k.expect(200)
    assert w.metric("weir_otlp_spans_total") == 0 and not c.requests


@pytest.mark.parametrize("given", ["", "junk", SAMPLED.replace(TRACE, "0" * 32), "ff" + SAMPLED[2:], SAMPLED + "-x"])
def test_invalid_is_begun_anew(traced, given):
    w, c = traced(serve=False)
    k = w.client().ask(headers={"traceparent": given, "tracestate": "a=b"})
    told = w.upstream.expect_request(tracestate=None).get("traceparent")
    w.upstream.answer(200)
    k.expect(200)
    s, y = sorted(c.wait(2), key=lambda s: s["kind"])
    assert s["traceId"] != TRACE and "parentSpanId" not in s and told == f"00-{s['traceId']}-{y['spanId']}-01"


def test_a_later_version_is_told_as_ours(traced):
    w, c = traced(serve=False)
    k = w.client().ask(headers={"traceparent": "cc" + SAMPLED[2:] + "-more"})
    told = w.upstream.expect_request().get("traceparent")
    w.upstream.answer(200)
    k.expect(200)
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", told) and c.wait(2)[0]["traceId"] == TRACE


def test_ratio(traced):
    w, c = traced(tracing={"ratio": "0%"})
    w.fetch("/unsampled")
    w.fetch("/sampled", headers={"traceparent": SAMPLED})
    assert {s["attributes"].get("url.path") for s in kinds(c.wait(2), SERVER)} == {"/sampled"}


def test_retries_are_siblings(traced):
    answers = [response(503), response(503), response(200)]
    w, c = traced(serve=lambda r: answers.pop(0), policies={"again": {"retry": 2, "when": [503], "backoff": {"base": "1ms"}}},
                  use=["again"])
    w.fetch()
    spans = c.wait(4)
    (s,), tries = kinds(spans, SERVER), kinds(spans, CLIENT)
    assert {y["parentSpanId"] for y in tries} == {s["spanId"]} and len({y["spanId"] for y in tries}) == 3
    assert [y["attributes"].get("http.request.resend_count") for y in tries] == [None, 1, 2]
    assert [y["status"]["code"] for y in tries] == [2, 2, 0] and s["status"] == {"code": 0}
    assert [y["attributes"].get("error.type") for y in tries] == ["503", "503", None]


def test_a_refusal_is_a_span(traced):
    w, c = traced(policies={"one": {"rate": "1/h", "burst": 1}}, use=["one"])
    assert w.statuses(2) == [200, 429]
    s = [s for s in kinds(c.wait(3), SERVER) if s["attributes"]["http.response.status_code"] == 429][0]
    assert s["attributes"]["weir.policy"] == "one" and s["attributes"]["weir.denied"] is True
    assert s["status"] == {"code": 0} and s["attributes"]["weir.retry_after"] > 0


def test_what_a_trial_would_have_refused(traced):
    w, c = traced(policies={"trial": {"rate": "1/h", "burst": 1, "shadow": True}}, use=["trial"])
    assert w.statuses(2) == [200, 200]
    assert [s["attributes"].get("weir.shadow.policy") for s in kinds(c.wait(4), SERVER)] == [None, "trial"]


def test_a_refusal_continues_its_trace(traced):
    w, c = traced(policies={"one": {"rate": "1/h", "burst": 1}}, use=["one"])
    w.fetch()
    w.fetch("/no", headers={"traceparent": SAMPLED})
    s = [s for s in c.wait(3) if s["attributes"].get("url.path") == "/no"][0]
    assert s["traceId"] == TRACE and s["parentSpanId"] == PARENT


def test_an_upstream_that_is_away(traced):
    w, c = traced(serve=False)
    w.upstream.refuse()
    assert w.fetch().status == 502
    s, y = sorted(c.wait(2), key=lambda s: s["kind"])
    assert s["status"]["code"] == 2 and s["attributes"]["error.type"] == "502"
    assert y["status"]["code"] == 2 and y["attributes"]["error.type"] == "connect_failed"


def test_a_malformed_request_is_a_span(traced):
    w, c = traced()
    w.client().send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n").refused(400)
    s, = c.wait(1)
    assert s["attributes"]["http.response.status_code"] == 400 and s["kind"] == SERVER


def test_a_hedge_is_a_sibling(traced, upstreams):
    slow, fast = upstreams(2)
    slow.serve(lambda r: time.sleep(0.5) or response(200))
    fast.serve(lambda r: time.sleep(0.5) or response(200))
    w, c = traced(upstreams={"app": {"endpoints": [slow.addr, fast.addr]}}, use=["again"],
                  policies={"again": {"retry": 1, "hedge": {"after": "50ms", "budget": "100%"}}})
    w.fetch()
    tries = kinds(c.wait(3), CLIENT)
    assert [y["attributes"]["weir.attempt"] for y in tries] == ["first", "hedge"]
    assert sorted(y["attributes"]["weir.reason"] for y in tries) == ["hedged", "ok"]


def test_a_method_that_nobody_knows(traced):
    w, c = traced()
    w.fetch("/x", method="BREW")
    for s in c.wait(2):
        assert s["name"] == ("HTTP app" if s["kind"] == SERVER else "HTTP")
        assert s["attributes"]["http.request.method"] == "_OTHER" and s["attributes"]["http.request.method_original"] == "BREW"


def test_any_bytes_in_spans(traced):
    w, c = traced()
    nasty = bytes(x for x in range(0x20, 0x100) if x != 0x7f) + b"\t\xc3\xa9\xed\xa0\x80\xc0\xaf"
    raw = b"GET /%%22%%0a%%ff\"\\ HTTP/1.1\r\nHost: test\r\nUser-Agent: %b\r\ntraceparent: %b\r\ntracestate: %b\r\n\r\n"
    w.client().send(raw % (nasty * 20, SAMPLED.encode(), nasty)).expect(200)
    s, y = sorted(c.wait(2), key=lambda s: s["kind"])
    json.loads(c.requests[0].body.decode("utf-8", "strict"))
    assert s["attributes"]["url.path"] == '/%22%0a%ff"\\' and y["attributes"]["url.full"].endswith('/%22%0a%ff"\\')
    assert len(s["attributes"]["user_agent.original"]) <= 256 and "\ufffd" in s["traceState"] and "\n" not in json.dumps([s, y])


def test_over_http2(traced):
    w, c = traced()
    H2Client(w.client()).fetch("/h2", 200)
    s, y = sorted(c.wait(2), key=lambda s: s["kind"])
    assert s["attributes"]["network.protocol.version"] == "2" and y["parentSpanId"] == s["spanId"]


@pytest.mark.parametrize("code, bad", [(0, False), (5, False), (14, True), (13, True), (8, False)])
def test_what_grpc_calls_an_error_is_one(traced, upstreams, code, bad):
    app, = upstreams(1)
    w, c = traced(upstreams={"app": {"endpoints": [app.addr], "http2": True}})
    h, up = H2Client(w.client()), H2Upstream(app)
    s = h.ask("/s/m", method="POST", headers=[("content-type", "application/grpc"), ("te", "trailers")])
    up.answer(up.expect("POST /s/m"), 200, b"", headers=[("content-type", "application/grpc"), ("grpc-status", str(code))])
    h.expect(s, 200)
    a = kinds(c.wait(2), SERVER)[0]
    assert a["attributes"]["rpc.grpc.status_code"] == code and a["status"]["code"] == (2 if bad else 0)
    assert a["attributes"].get("error.type") == (str(code) if bad else None)


def test_an_upstream_of_http2(traced, upstreams):
    app, = upstreams(1)
    w, c = traced(upstreams={"app": {"endpoints": [app.addr], "http2": True}})
    up = H2Upstream(app)
    k = w.client().ask(headers={"traceparent": SAMPLED})
    r = up.expect("GET /")
    up.answer(r, 200, b"ok")
    k.expect(200, b"ok")
    y = kinds(c.wait(2), CLIENT)[0]
    assert r.get("traceparent") == f"00-{TRACE}-{y['spanId']}-01"


def test_where_nothing_is_forwarded(traced):
    w, c = traced(serve=False, route={"forwarded": False})
    k = w.client().ask(headers={"traceparent": SAMPLED})
    w.upstream.expect_request(traceparent=SAMPLED)
    w.upstream.answer(200)
    k.expect(200)
    assert {s["traceId"] for s in c.wait(2)} == {TRACE}


def test_fallback_and_who_was_asked(traced, upstreams):
    away, there = upstreams(2)
    away.refuse()
    there.serve()
    w, c = traced(upstreams={"app": away.addr, "else": there.addr}, route={"fallback": "else"},
                  policies={"guard": {"breaker": 1}}, use=["guard"])
    w.fetch()
    assert w.fetch("/2").status == 200
    y = [y for y in kinds(c.wait(4), CLIENT) if y["attributes"]["weir.upstream"] == "else"][0]
    assert y["attributes"]["weir.attempt"] == "fallback" and y["attributes"]["http.response.status_code"] == 200


# ---------------------------------------------------------------- batches, reloads, the end

def test_a_collector_over_tls(traced):
    tls = {"ca": certs().file("ca.pem")}
    w, c = traced(collector={"tls": certs().server()}, tracing={"tls": tls})
    w.fetch()
    assert len(c.wait(2)) == 2


def test_a_collector_that_is_not_trusted(traced):
    w, c = traced(collector={"tls": certs().server()})
    w.fetch()
    until(lambda: "TLS with it fails" in w.stderr(), "it is said")
    assert not c.spans


def test_a_collector_by_name(traced):
    w, c = traced(tracing={"endpoint": "http://localhost:{port}/x"}, start=False)
    w.sections["tracing"]["endpoint"] = f"http://localhost:{c.up.addr.rpartition(':')[2]}/x"
    w.write()
    w.start()
    w.fetch()
    assert c.wait(2) and c.requests[0].line == "POST /x HTTP/1.1"


def test_several_workers(traced):
    w, c = traced(workers=3)
    for _ in range(12):
        w.fetch()
    assert len({s["traceId"] for s in c.wait(24)}) == 12


def test_batches(traced):
    w, c = traced(tracing={"interval": "60s", "batch": 4})
    for _ in range(6):
        w.fetch()
    c.wait(12)
    assert [len(r.json()["resourceSpans"][0]["scopeSpans"][0]["spans"]) for r in c.requests] == [4, 4, 4]


def test_the_end_sends_what_waits(traced):
    w, c = traced(tracing={"interval": "600s"})
    w.fetch()
    w.release()
    w.signal(15)
    assert w.wait_exit() == 0 and len(c.spans) == 2


def test_reload_goes_elsewhere(traced):
    w, c = traced()
    w.fetch()
    c.wait(2)
    other = Collector()
    w.reload(tracing=other.conf(service="new", queue="4MiB"))
    w.fetch("/new")
    assert len(other.wait(2)) == 2 and len(c.spans) == 2
    other.up.end()


@pytest.mark.parametrize("answered", [True, False])
def test_reload_does_not_wait_for_the_old_collector(traced, answered):
    go = threading.Event()
    w, c = traced([lambda r: go.wait(20) and response(503, b"", {"Retry-After": "60"})])
    w.fetch()
    until(lambda: c.requests, "it is asked")
    other = Collector()
    if answered:
        go.set()
        until(lambda: "tried again" in w.stderr(), "it says no")
    w.reload(tracing=other.conf())
    go.set()
    assert {s["kind"] for s in other.wait(2)} == {SERVER, CLIENT} and not c.spans
    other.up.end()


def test_reload_turns_it_on_and_off(weir):
    c = Collector()
    w = weir(serve=True)
    w.fetch()
    w.reload(tracing=c.conf())
    w.fds += 16  # the thread's own
    w.fetch("/on")
    c.wait(2)
    w.reload(tracing=None)
    w.fetch("/off")
    assert {s["attributes"].get("url.path") for s in kinds(c.spans, SERVER)} == {"/on"}
    c.up.end()


def test_a_bad_reload_changes_nothing(traced):
    w, c = traced()
    w.allow("reload")
    w.reload(good=False, tracing={"endpoint": "nowhere"})
    w.fetch()
    c.wait(2)

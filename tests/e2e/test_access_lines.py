"""Access log lines: their fields, valid whatever clients send, and one line a call."""

import json
import re

import pytest

from h2wire import H2Client
from harness import response, until
from test_traces import PARENT, SAMPLED, TRACE, Collector

ONE = {"p": {"rate": "1/h", "burst": 1, "key": "client.ip"}}
ALWAYS = {"timestamp", "http.request.method", "url.path", "network.protocol.version", "server.address", "http.response.status_code",
          "client.address", "client.port", "http.request.body.size", "http.response.body.size", "duration", "outcome", "reason",
          "attempts", "request_id", "trace_id"}
NASTY = bytes(c for c in range(0x20, 0x100) if c != 0x7F) + b"\t\xc3\xa9\xf0\x9f\x90\x8a\xed\xa0\x80\xc0\xaf"


def strict(w, n):
    """As JSON in UTF-8 says, nothing twice."""
    def once(pairs):
        assert len({k for k, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    w.access(n)
    with open(w.out_path, "rb") as f:
        return [json.loads(x.decode("utf-8", "strict"), object_pairs_hook=once) for x in f.read().split(b"\n")[:-1]]


# ---- fields

def test_a_call_that_passes(weir):
    w = weir(serve=True, policies=ONE, use=["p"])
    w.fetch("/a?q=secret", host="shop:81", headers={"User-Agent": "me"})
    line, = strict(w, 1)
    assert set(line) == ALWAYS | {"http.route", "server.port", "user_agent.original", "duration.upstream", "policy", "key.hash", "limit",
                                  "remaining", "upstream", "upstream.endpoint"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert (line["server.address"], line["server.port"], line["outcome"], line["limit"], line["remaining"]) == ("shop", 81, "ok", 1, 0)
    assert re.fullmatch(r"[0-9a-f]{16}", line["key.hash"]) and 0 < line["duration.upstream"] <= line["duration"]


def test_a_call_that_is_refused(weir):
    w = weir(serve=True, policies=ONE, use=["p"])
    w.statuses(2)
    line = strict(w, 2)[1]
    assert set(line) == ALWAYS | {"http.route", "policy", "key.hash", "limit", "remaining", "retry_after"}
    assert line["outcome"] == "denied" and line["reason"] == "rate_limited" and line["retry_after"] > 3000


def test_a_call_that_a_trial_would_have_refused(weir):
    w = weir(serve=True, policies={"trial": {**ONE["p"], "shadow": True}, "few": {"rate": "2/h", "burst": 2}}, use=["trial", "few"])
    assert w.statuses(3) == [200, 200, 429]
    lines = strict(w, 3)
    assert [x.get("shadow.policy") for x in lines] == [None, "trial", "trial"] and [x["policy"] for x in lines] == ["few"] * 3
    (top,) = w.admin("/limits/trial?top=5").json()["top"]
    assert lines[1]["shadow.key.hash"] == top["hash"] and lines[1]["outcome"] == "ok"


def test_a_call_that_waits(weir):
    w = weir(policies={"c": {"concurrency": 1, "queue": {"size": 1, "wait": "5s"}}}, use=["c"])
    one = w.client().ask("/1")
    held = w.upstream.expect_request().wire
    two = w.client().ask("/2")
    w.wait_metric("weir_queue_length", 1)
    held.answer()
    one.expect(200)
    w.upstream.expect_request("GET /2").wire.answer()
    two.expect(200)
    waited = [x for x in strict(w, 2) if x["url.path"] == "/2"][0]
    assert 0 < waited["duration.queue"] <= waited["duration"] and waited["attempts"] == 1


def test_tries_and_failures(weir):
    w = weir(serve=lambda r: response(503), policies={"t": {"retry": 2, "when": [503], "backoff": {"base": "1ms"}}}, use=["t"])
    w.fetch("/503")
    w.upstream.end()
    w.fetch("/away")
    lines = strict(w, 2)
    assert [x["attempts"] for x in lines] == [3, lines[1]["attempts"]] and lines[0]["outcome"] == "ok"
    assert lines[1]["outcome"] == "failed" and lines[1]["reason"] == "connect_failed" and lines[1]["http.response.status_code"] == 502


def test_a_client_that_hangs_up(weir):
    w = weir()
    c = w.client().ask("/gone")
    w.upstream.expect_request()
    c.reset()
    line, = strict(w, 1)
    assert line["outcome"] == "aborted" and line["reason"] == "client_abort" and "http.response.status_code" not in line


def test_over_http2(weir):
    w = weir(serve=True)
    H2Client(w.client()).fetch("/h2", 200)
    line, = strict(w, 1)
    assert line["network.protocol.version"] == "2" and ALWAYS <= set(line)


@pytest.mark.parametrize("path, reason", [("/nowhere", "no_route"), ("/../x", "bad_request")])
def test_what_no_route_takes_has_ids_too(weir, path, reason):
    w = weir(serve=True, route={"match": {"path": "/app"}})
    r = w.fetch(path, headers={"traceparent": SAMPLED, "X-Request-Id": "mine"})
    line, = strict(w, 1)
    assert line["reason"] == reason and line["trace_id"] == TRACE and line["request_id"] == "mine" == r.get("x-request-id")


def test_a_body_that_is_too_large_has_ids_too(weir):
    w = weir(serve=True, route={"max_body": "1KiB"}, log={"access": "stdout", "fields": ["x-real-ip"]})
    w.fetch(method="POST", headers={"Content-Length": "2048", "traceparent": SAMPLED, "X-Real-IP": "6.6.6.6"})
    line, = strict(w, 1)
    assert line["reason"] == "body_too_large" and line["trace_id"] == TRACE and line["request_id"]
    assert line["http.request.header.x-real-ip"] == ["127.0.0.1"]


def test_ids_of_what_no_route_takes_and_fields(weir):
    w = weir(serve=True, route={"match": {"path": "/app"}}, log={"access": "stdout", "fields": ["x-real-ip", "x-a"]})
    assert w.fetch("/no", headers={"X-Real-IP": "6.6.6.6", "X-A": "1"}).status == 404
    line, = strict(w, 1)
    assert line["http.request.header.x-real-ip"] == ["127.0.0.1"] and line["http.request.header.x-a"] == ["1"] and line["trace_id"]


@pytest.mark.parametrize("host, address, port", [("shop", "shop", None), ("shop:81", "shop", 81), ("[::1]", "::1", None), ("[::1]:81", "::1", 81)])
def test_who_was_asked(weir, host, address, port):
    w = weir(serve=True)
    w.fetch(host=host)
    line, = strict(w, 1)
    assert (line["server.address"], line.get("server.port")) == (address, port)


def test_a_client_behind_others_has_no_port_of_theirs(weir):
    w = weir(serve=True, client_ip={"trust": ["127.0.0.0/8"]})
    w.fetch("/1", headers={"X-Forwarded-For": "192.0.2.7"})
    w.fetch("/2")
    lines = strict(w, 2)
    assert lines[0]["client.address"] == "192.0.2.7" and "client.port" not in lines[0]
    assert lines[1]["client.address"] == "127.0.0.1" and lines[1]["client.port"] > 0


def test_all_values_of_a_field(weir):
    w = weir(serve=True, log={"access": "stdout", "fields": ["x-a", "x-key", "cookie", "x-none"], "redact": ["x-key"]})
    w.fetch(headers=[("X-A", "1"), ("X-Key", "k1"), ("x-a", "2"), ("Cookie", "a=b"), ("X-Key", "k2")])
    line, = strict(w, 1)
    assert line["http.request.header.x-a"] == ["1", "2"] and line["http.request.header.cookie"] == ["a=b"]
    assert line["http.request.header.x-key"] == ["<redacted>"] * 2 and "http.request.header.x-none" not in line


def test_a_malformed_call_is_logged_with_the_trace_it_is_told_under(weir):
    c = Collector()
    w = weir(tracing=c.conf())
    w.client().send(b"GET / HTTP/1.1\r\nbad header\r\n\r\n").refused(400)
    assert c.wait(1)[0]["traceId"] == strict(w, 1)[0]["trace_id"]
    c.up.end()


def test_what_no_route_takes_continues_its_trace(weir):
    c = Collector()
    w = weir(tracing=c.conf(), route={"match": {"path": "/app"}})
    w.fetch("/no", headers={"traceparent": SAMPLED})
    s = c.wait(1)[0]
    assert s["traceId"] == TRACE and s["parentSpanId"] == PARENT and s["attributes"]["http.response.status_code"] == 404
    c.up.end()


# ---- bytes

def test_any_bytes_in_fields(weir):
    w = weir(serve=True, log={"access": "stdout", "fields": ["x-a", "x-b"]})
    raw = b"GET /a HTTP/1.1\r\nHost: test\r\nUser-Agent: %b\r\nX-A: %b\r\nX-B: %b\r\nX-Request-Id: %b\r\n\r\n"
    w.client().send(raw % ((NASTY,) * 4)).expect(200)
    w.client().send(raw % ((NASTY * 8,) * 4)).expect(200)
    for line in strict(w, 2):
        assert '"' in line["user_agent.original"] and "\\" in line["http.request.header.x-a"][0]
        assert "\u00e9\U0001f40a\ufffd" in line["http.request.header.x-b"][0] or line["http.request.header.x-b"][0].endswith("...")


@pytest.mark.parametrize("path", ["/%22%5c%0a%0d%00%1b%ff", '/a"b\\c{}[]|^`<>', "/" + "%0a" * 2000, "/\"" * 1500])
def test_any_path(weir, path):
    w = weir(serve=True)
    w.fetch(path)
    w.fetch("/after")
    lines = strict(w, 2)
    assert len(lines) == 2 and lines[1]["url.path"] == "/after"
    assert lines[0].get("url.path", path)[:2000] in path or lines[0]["url.path"].endswith("...")


@pytest.mark.parametrize("raw", [b"\x16\x03\x01\x02\x00\x01", b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", b"G\x00T / HTTP/1.1\r\n\r\n",
                                 b'B"\\R / HTTP/1.1\r\nHost: a\r\n\r\n', b"GET / HTTP/1.1\r\nHost: \"a\\\r\n\r\n"])
def test_what_is_no_request(weir, raw):
    w = weir(serve=True)
    w.client().send(raw + b"\r\n\r\n").refused(400)
    line, = strict(w, 1)
    assert line["http.response.status_code"] == 400 and line["outcome"] == "refused"


@pytest.mark.parametrize("escape, want", [("text", rb'/a?\x22 "q\x22\x5C\x09\xC3\xA9\xFF" -'), ("json", None)])
def test_lines_of_text_stay_lines(weir, tmp_path, escape, want):
    path = tmp_path / "lines"
    form = {"text": '{uri} "{header.x-a}" {header.x-none}', "json": '{"u":"{uri}","a":"{header.x-a}"}'}[escape]
    w = weir(serve=True, log={"access": "none", "text": {"t": {"path": str(path), "format": form, "escape": escape}}})
    w.client().send(b'GET /a?" HTTP/1.1\r\nHost: test\r\nX-A: q"\\\t\xc3\xa9\xff\r\n\r\n').expect(200)
    until(lambda: path.exists() and path.read_bytes().endswith(b"\n"), "a line")
    line = path.read_bytes()
    assert line.count(b"\n") == 1 and (line.startswith(want[:-1]) if want else json.loads(line.decode("utf-8", "replace")))


def test_the_summary_of_refusals_is_a_line_like_others(weir):
    w = weir(serve=True, policies=ONE, use=["p"], log={"access": "stdout", "refusals": 5})
    w.statuses(60)

    def told():
        return [x for x in strict(w, 1) if x.get("event.name") == "access.suppressed"]

    def lines():
        return [x for x in strict(w, 1) if x.get("outcome") == "denied"]

    until(lambda: sum(x["refusals"] for x in told()) + len(lines()) == 59, "each refusal is told of once")  # more than one second's
    assert set(told()[0]) == {"timestamp", "event.name", "refusals"}

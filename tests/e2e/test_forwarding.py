"""What Weir adds, removes and leaves alone: hop-by-hop fields, forwarding fields, ids, targets, routes."""

import re

import pytest

from harness import response

ALIASES = ["X_Forwarded_For", "x-forwarded_proto", "X_Forwarded_Port", "x_real_ip", "X_Request_Id", "Content_Length",
           "Transfer_Encoding", "Proxy_Connection", "X_Set"]
TRUST = {"client_ip": {"trust": ["127.0.0.0/8"], "header": "x-forwarded-for"}}


def seen(weir, text=None, target="/", conf=None, **more):
    """The request as the upstream got it."""
    w = weir(**(conf or {}))
    c = w.client().send(text) if text else w.client().ask(target, **more)
    r = w.upstream.expect_request()
    w.upstream.answer(200, b"ok")
    c.expect(200, b"ok", head=more.get("method") == "HEAD")
    return r


# ---- hop by hop

def test_hop_by_hop_fields_stay_here(weir):
    r = seen(weir, headers={"Connection": "keep-alive, X-Secret", "X-Secret": "1", "Keep-Alive": "timeout=5",
                            "Proxy-Connection": "keep-alive", "Proxy-Authorization": "Basic eA==",
                            "TE": "gzip", "X-Stays": "1"})
    r.check_fields({"x-secret": None, "keep-alive": None, "proxy-connection": None, "x-stays": "1"})
    assert "x-secret" not in (r.get("connection") or "").lower()
    assert r.get("te") in (None, "trailers")


@pytest.mark.parametrize("name", ["Host", "Content-Length"])
def test_connection_cannot_nominate_framing(weir, name):
    r = seen(weir, headers={"Connection": name}, body=b"abc")
    assert r.get("host") == "test" and r.body == b"abc"


def test_connection_cannot_nominate_chunked(weir):
    r = seen(weir, headers={"Connection": "Transfer-Encoding"}, body=[b"abc"])
    assert r.body == b"abc"


def test_connection_cannot_take_what_weir_adds(weir):
    r = seen(weir, headers={"Connection": "X-Forwarded-For, Via", "X-Forwarded-For": "9.9.9.9"})
    assert r.get("x-forwarded-for") == "127.0.0.1" and r.has("via")


def test_hop_by_hop_fields_of_answers_stay_here(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.answer(200, b"ok", {"Connection": "X-Secret", "X-Secret": "1", "Keep-Alive": "timeout=5",
                                   "X-Stays": "1", "Set-Cookie": "a=b"})
    c.expect(200, b"ok", x_secret=None, keep_alive=None, x_stays="1", set_cookie="a=b")


def test_order_and_repeats_are_kept(weir):
    r = seen(weir, headers=[("Cookie", "a=1"), ("X-A", "1"), ("X-A", "2"), ("Accept", "x")])
    assert r.all("x-a") == ["1", "2"]


# ---- who is calling

FORGED = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil",
          "Forwarded": "for=9.9.9.9;proto=https;host=evil"}


def test_what_an_untrusted_client_claims_is_replaced(weir):
    r = seen(weir, headers=FORGED)
    r.check_fields({"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": "test"})
    assert b"9.9.9.9" not in r.raw and b"evil" not in r.raw


def test_forwarding_fields_are_made(weir):
    r = seen(weir)
    r.check_fields({"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": "test"})


def test_a_trusted_forwarder_is_believed(weir):
    r = seen(weir, conf=TRUST, headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https",
                                        "X-Forwarded-Host": "shop.example"})
    r.check_fields({"x-forwarded-for": "203.0.113.7, 127.0.0.1", "x-forwarded-proto": "https",
                    "x-forwarded-host": "shop.example"})


CHAINS = [
    ("one hop", "203.0.113.7", "203.0.113.7"),
    ("the last that is not trusted", "1.1.1.1, 203.0.113.7, 127.0.0.9", "203.0.113.7"),
    ("all trusted: the first of them", "127.0.0.3, 127.0.0.2", "127.0.0.3"),
    ("garbage: the peer", "unknown", "127.0.0.1"),
    ("IPv6", "2001:db8::1", "2001:db8::1"),
]


@pytest.mark.parametrize("claim,client", [r[1:] for r in CHAINS], ids=[r[0] for r in CHAINS])
def test_client_address_behind_trusted_forwarders(weir, claim, client):
    w = weir(serve=True, **TRUST)
    w.fetch("/", headers={"X-Forwarded-For": claim})
    assert w.access()[0]["client.address"] == client


def test_via_is_added(weir):
    assert re.match(r"1\.1 \S+$", seen(weir).get("via"))


def test_via_is_appended(weir):
    r = seen(weir, headers={"Via": "1.0 fred"})
    assert re.match(r"1\.0 fred, 1\.1 \S+$", ", ".join(r.all("via")))


def test_via_names_the_version_received(weir):
    r = seen(weir, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert re.match(r"1\.0 \S+$", r.get("via"))


def test_request_id_is_made(weir):
    assert len(seen(weir).get("x-request-id")) >= 16


def test_request_id_is_passed(weir):
    assert seen(weir, headers={"X-Request-Id": "abc-123"}).all("x-request-id") == ["abc-123"]


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_traceparent_is_passed(weir):
    got = seen(weir, headers={"traceparent": TRACE, "tracestate": "a=b"})
    assert got.get("traceparent").split("-")[1] == TRACE.split("-")[1]
    assert got.get("tracestate") == "a=b"


@pytest.mark.parametrize("given", [None, "garbage", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "ff" + TRACE[2:],
                                   TRACE.upper()])
def test_traceparent_is_made(weir, given):
    r = seen(weir, headers={"traceparent": given} if given else {})
    got = r.all("traceparent")
    assert len(got) == 1 and re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", got[0])
    assert "0" * 32 not in got[0] and got[0] != given


def test_set_fields(weir):
    r = seen(weir, conf={"route": {"set": {"authorization": "Bearer inner", "x-new": "1"}}},
             headers={"Authorization": "Bearer outer"})
    r.check_fields({"authorization": "Bearer inner", "x-new": "1"})


# ---- targets

TARGETS = [
    ("as it came", b"GET /a//b/../c%2f%41?x=%20&y HTTP/1.1\r\nHost: test\r\n\r\n", "/a//b/../c%2f%41?x=%20&y"),
    ("an empty query", b"GET /a? HTTP/1.1\r\nHost: test\r\n\r\n", "/a?"),
    ("absolute form", b"GET http://test/x?y HTTP/1.1\r\nHost: test\r\n\r\n", "/x?y"),
    ("absolute form without a path", b"GET http://test HTTP/1.1\r\nHost: test\r\n\r\n", "/"),
    ("absolute form with a query only", b"GET http://test?x=1 HTTP/1.1\r\nHost: test\r\n\r\n", "/?x=1"),
    ("absolute form in HTTP/1.0, no Host", b"GET http://test/x HTTP/1.0\r\n\r\n", "/x"),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", "*"),
    ("OPTIONS of an absolute form without a path", b"OPTIONS http://test HTTP/1.1\r\nHost: test\r\n\r\n", "*"),
]


@pytest.mark.parametrize("text,target", [r[1:] for r in TARGETS], ids=[r[0] for r in TARGETS])
def test_target(weir, text, target):
    r = seen(weir, text)
    assert (r.target, r.version, r.get("host")) == (target, "HTTP/1.1", "test")


# ---- routes

def by_route(weir, upstreams, routes, calls):
    names = sorted({r["to"] for r in routes})
    ups = dict(zip(names, upstreams(len(names))))
    for name, u in ups.items():
        u.serve(lambda r, name=name: response(200, name.encode()))
    w = weir(upstreams={n: u.addr for n, u in ups.items()}, routes=routes)
    for ask, want in calls:
        r = w.fetch(**ask)
        assert (r.body.decode() if r.status == 200 else r.status) == want, ask


def test_paths(weir, upstreams):
    by_route(weir, upstreams, [
        {"name": "exact", "match": {"path": "/x"}, "to": "exact"},
        {"name": "under", "match": {"path": "/x/*"}, "to": "under"},
    ], [
        ({"target": "/x"}, "exact"), ({"target": "/x?q"}, "exact"), ({"target": "/x/y"}, "under"),
        ({"target": "/xy"}, 404), ({"target": "/a/../x"}, "exact"), ({"target": "/%78"}, "exact"),
        ({"target": "/x/../../etc"}, 400), ({"target": "//x//y"}, "under"), ({"target": "/"}, 404),
    ])


def test_hosts_and_methods(weir, upstreams):
    by_route(weir, upstreams, [
        {"name": "post", "match": {"methods": ["POST"]}, "to": "post"},
        {"name": "api", "match": {"hosts": ["api.example.com"]}, "to": "api"},
        {"name": "wild", "match": {"hosts": ["*.example.com"]}, "to": "wild"},
    ], [
        ({"method": "POST", "body": b"", "host": "api.example.com"}, "post"),
        ({"host": "api.example.com"}, "api"), ({"host": "API.example.com:8080"}, "api"),
        ({"host": "a.example.com"}, "wild"), ({"host": "a.b.example.com"}, "wild"),
        ({"host": "example.com"}, 404), ({"host": "other"}, 404),
    ])


def test_no_route_is_404_and_the_connection_lives_on(weir):
    w = weir(routes=[{"name": "x", "match": {"path": "/x"}, "to": "app"}], serve=True)
    c = w.client().ask("/y")
    assert c.expect(404).get("content-type").startswith("application/problem+json")
    c.ask("/x")
    c.expect(200, b"ok")


def test_trailers_claim_nothing(weir):
    w = weir(route={"set": {"x-set": "ours"}})
    names = ["X-Set", "X-Forwarded-Port", "X-Forwarded-For", "Host", "Authorization", *ALIASES, "X-Sum"]
    w.client().ask(body=[b"abc"], trailers=[(name, "5") for name in names])
    assert w.upstream.expect_request(body=b"abc").trailers == [("x-sum", "5")]


# ---- methods for proxies

@pytest.mark.parametrize("told,passed", [("10", "9"), ("1", "0"), ("x", "x"), ("-1", "-1"), ("99999999999999999999",) * 2])
def test_max_forwards_is_counted(weir, told, passed):
    w = weir()
    c = w.client().ask("*", method="OPTIONS", headers={"Max-Forwards": told})
    w.upstream.expect_request("OPTIONS *", max_forwards=passed)
    w.upstream.answer()
    c.expect(200)


def test_max_forwards_ends_here(weir):
    w = weir(serve=True)
    c = w.client().ask(method="OPTIONS", headers={"Max-Forwards": "0"})
    c.expect(204, allow=re.compile("GET.*OPTIONS"), content_type=None)
    w.upstream.untouched()
    c.ask(headers={"Max-Forwards": "0"}).expect(200)  # of no meaning for other methods


def test_trace_is_refused(weir):
    w = weir(route={"set": {"authorization": "secret"}})
    c = w.client().ask(method="TRACE")
    assert b"secret" not in c.expect(405, allow=re.compile("GET")).body
    w.upstream.untouched()


# ---- what is added to answers, and to requests that lack it

def test_answers_have_a_date(weir):
    w = weir()
    c = w.client()
    for date, want in (({}, re.compile(r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")), ({"Date": "then"}, "then")):
        c.ask()
        w.upstream.expect_request()
        w.upstream.answer(headers=date)
        c.expect(200, date=want)


def test_via_of_an_answer_names_the_version_received(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.answer(200, version="1.0", headers={"Connection": "keep-alive"})
    c.expect(200, via="1.0 weir")


@pytest.mark.parametrize("trust", [[], ["127.0.0.0/8"]])
def test_fields_that_cgi_takes_for_others_are_taken_out(weir, trust):
    w = weir(client_ip={"trust": trust}, route={"set": {"x-set": "ours"}})
    w.client().ask(headers=[*((name, "5") for name in ALIASES), ("Snake_Case", "kept"), ("user_agent", "kept")])
    r = w.upstream.expect_request(x_set="ours")
    assert not [name for name in ALIASES if r.has(name)] and r.has("snake_case") and r.has("user_agent")

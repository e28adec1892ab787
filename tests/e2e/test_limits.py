"""Rate limits seen from outside: who pays, when it passes again, what a refusal says and carries."""

import collections
import re
import time

import pytest

import harness
from harness import request, until


def limited(weir, rate="1/m", burst=3, **more):
    """A Weir with one limit `p` on its one route; the upstream answers by itself."""
    extra = {k: more.pop(k) for k in list(more) if k in ("key", "missing", "overrides", "shadow", "status")}
    policy = {"rate": rate, "burst": burst, "key": "client.ip", **extra}
    return weir(policies={"p": policy}, use=["p"], serve=more.pop("serve", True), **more)


# ---- the bucket

def test_burst_then_refused(weir):
    w = limited(weir, burst=3)
    assert w.statuses(5) == [200, 200, 200, 429, 429]
    assert w.upstream.requests == 3


def test_refusals_cost_nothing(weir):
    w = limited(weir, rate="2/s", burst=1)
    c, refused = w.client(), []
    while len(refused) < 20:
        r = c.ask().expect()
        refused += [r] if r.status == 429 else []
    time.sleep(int(r.get("retry-after-ms")) / 1000 + 0.02)
    assert c.ask().expect().status == 200


def timed(c):
    """One call: when it was asked, the answer, when that had come."""
    asked = time.monotonic()
    return asked, c.ask().expect(), time.monotonic()


def test_a_refusal_tells_the_truth_about_the_wait(weir):
    w = limited(weir, rate="1/s", burst=1)
    c = w.client()
    asked, refused, told = until(lambda: (r := timed(c))[1].status == 429 and r)
    wait = int(refused.get("retry-after-ms")) / 1000
    assert 0 < wait <= 1 and refused.get("retry-after") == "1"
    while (r := timed(c))[1].status == 429:
        assert r[0] < told + wait + 0.02
    assert r[1].status == 200 and r[2] > asked + wait - 0.02


def test_retry_after_seconds_are_rounded_up(weir):
    w = limited(weir, rate="1/h", burst=1)
    r = [w.fetch() for _ in range(2)][1]
    ms = int(r.get("retry-after-ms"))
    assert int(r.get("retry-after")) == -(-ms // 1000) and 3_540_000 <= ms <= 3_600_000


def test_unlimited(weir):
    w = limited(weir, rate="unlimited", burst=1)
    assert w.statuses(50) == [200] * 50


def test_a_route_without_use_is_not_limited(weir):
    w = weir(policies={"p": {"rate": "1/m", "burst": 1}}, serve=True,
             routes=[{"name": "limited", "match": {"path": "/l"}, "to": "app", "use": ["p"]},
                     {"name": "free", "to": "app"}])
    assert w.statuses(2, "/l") == [200, 429]
    assert w.statuses(5, "/free") == [200] * 5


def test_one_policy_on_two_routes_is_one_bucket(weir):
    w = weir(policies={"p": {"rate": "1/m", "burst": 2}}, serve=True,
             routes=[{"name": "a", "match": {"path": "/a"}, "to": "app", "use": ["p"]},
                     {"name": "b", "to": "app", "use": ["p"]}])
    assert w.statuses(1, "/a") + w.statuses(2, "/b") == [200, 200, 429]


def test_what_the_second_limit_refuses_does_not_pay_the_first(weir):
    w = weir(policies={"first": {"rate": "1/m", "burst": 3}, "second": {"rate": "1/m", "burst": 1, "key": "path"}},
             use=["first", "second"], serve=True)
    assert w.statuses(3, "/a") == [200, 429, 429]
    assert w.statuses(1, "/b") + w.statuses(1, "/c") == [200, 200]
    assert w.statuses(1, "/d") == [429]


def test_the_reply_names_the_policy_that_refused(weir):
    w = weir(policies={"wide": {"rate": "1/s", "burst": 9}, "narrow": {"rate": "1/h", "burst": 1}},
             use=["wide", "narrow"], serve=True)
    w.fetch()
    r = w.fetch()
    assert r.json()["violated-policies"] == ["narrow"] and int(r.get("retry-after")) > 3000


def test_limits_hold_across_workers(weir):
    w = limited(weir, rate="1/h", burst=40, workers=2)
    got = collections.Counter()
    for r in harness.parallel(30, lambda i: [w.fetch().status for _ in range(4)]):
        got.update(r)
    assert got == {200: 40, 429: 80}


def test_limits_hold_under_load_across_workers(weir):
    w = limited(weir, rate="1/h", burst=100, workers=2)

    def one(_):
        c, n = w.client(), 0
        for _ in range(50):
            n += c.ask().expect().status == 200
        return n

    assert sum(harness.parallel(16, one)) == 100


# ---- keys

KEYS = [
    ("header", "header.x-user", [{"headers": {"X-User": "a"}}, {"headers": {"x-user": "b"}}]),
    ("query", "query.user", [{"target": "/?user=a"}, {"target": "/x?y=1&user=b"}]),
    ("query, escaped", "query.user", [{"target": "/?user=a%20b"}, {"target": "/?user=a%21b"}]),
    ("cookie", "cookie.sid", [{"headers": {"Cookie": "x=1; sid=a"}}, {"headers": {"Cookie": "sid=b; x=1"}}]),
    ("host", "host", [{"host": "a.example"}, {"host": "b.example"}]),
    ("path", "path", [{"target": "/a?1"}, {"target": "/b?1"}]),
    ("method", "method", [{"method": "GET"}, {"method": "PUT"}]),
    ("compound", ["header.x-user", "path"], [{"headers": {"X-User": "a"}, "target": "/a"},
                                             {"headers": {"X-User": "a"}, "target": "/b"},
                                             {"headers": {"X-User": "b"}, "target": "/a"}]),
]


@pytest.mark.parametrize("key,calls", [r[1:] for r in KEYS], ids=[r[0] for r in KEYS])
def test_each_key_has_its_own_bucket(weir, key, calls):
    w = limited(weir, burst=1, key=key)
    for call in calls:
        assert [w.fetch(**call).status for _ in range(2)] == [200, 429], call


ONE_BUCKET = [
    ("hosts differ in case", "host", [{"host": "a.example"}, {"host": "A.EXAMPLE"}]),
    ("paths differ in spelling", "path", [{"target": "/a/b"}, {"target": "//a/./%62"}]),
    ("the query is not the path", "path", [{"target": "/a?x"}, {"target": "/a?y"}]),
    ("no key: all share", "header.x-user", [{}, {"host": "b"}]),
    ("a constant", "const.x", [{"target": "/a"}, {"target": "/b"}]),
]


@pytest.mark.parametrize("key,calls", [r[1:] for r in ONE_BUCKET], ids=[r[0] for r in ONE_BUCKET])
def test_one_bucket_for_both(weir, key, calls):
    w = limited(weir, burst=1, key=key)
    assert [w.fetch(**call).status for call in calls] == [200, 429]


def test_compound_parts_are_told_apart(weir):
    w = limited(weir, burst=1, key=["header.x-a", "header.x-b"])
    for a, b in (("1", "23"), ("12", "3"), ("123", "")):
        assert w.fetch(headers={"X-A": a, "X-B": b}).status == 200


def test_without_a_key_one_bucket(weir):
    w = weir(policies={"p": {"rate": "1/m", "burst": 2}}, use=["p"], serve=True)
    assert [w.fetch(f"/{i}").status for i in range(3)] == [200, 200, 429]


def test_clients_by_address(weir):
    w = limited(weir, burst=1)
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        assert [w.fetch(source=source).status for _ in range(2)] == [200, 429]


def test_clients_behind_a_trusted_forwarder(weir):
    w = limited(weir, burst=1, client_ip={"trust": ["127.0.0.1"], "header": "x-forwarded-for"})
    for ip in ("203.0.113.1", "203.0.113.2"):
        assert [w.fetch(headers={"X-Forwarded-For": ip}).status for _ in range(2)] == [200, 429]


def test_ipv6_clients_count_by_64(weir):
    w = limited(weir, burst=1, client_ip={"trust": ["127.0.0.1"], "header": "x-forwarded-for"})
    got = [w.fetch(headers={"X-Forwarded-For": ip}).status
           for ip in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]
    assert got == [200, 429, 200]


def test_an_untrusted_forwarder_gains_nothing(weir):
    w = limited(weir, burst=1)
    assert [w.fetch(headers={"X-Forwarded-For": f"203.0.113.{i}"}).status for i in range(2)] == [200, 429]


# ---- missing, overrides, shadow

MISSING = [("share", [200, 429]), ("skip", [200, 200]), ("deny", [403, 403])]


@pytest.mark.parametrize("mode,want", MISSING)
def test_missing_key(weir, mode, want):
    w = limited(weir, burst=1, key="header.x-user", missing=mode)
    assert [w.fetch().status for _ in range(2)] == want


def test_missing_key_denied_says_so(weir):
    w = limited(weir, key="header.x-user", missing="deny")
    assert w.fetch().status == 403
    assert w.access()[0]["reason"] == "missing_key"


def test_overrides_by_network(weir):
    w = limited(weir, burst=1, overrides=[{"match": "127.0.0.2/31", "rate": "unlimited"},
                                          {"match": "127.0.0.4", "rate": "1/m", "burst": 2}])
    assert [w.fetch(source="127.0.0.1").status for _ in range(2)] == [200, 429]
    assert [w.fetch(source="127.0.0.3").status for _ in range(5)] == [200] * 5
    assert [w.fetch(source="127.0.0.4").status for _ in range(3)] == [200, 200, 429]


def test_shadow_counts_and_never_refuses(weir):
    w = limited(weir, burst=2, shadow=True)
    assert w.statuses(5) == [200] * 5
    assert w.metric("weir_limit_decisions_total", policy="p", decision="shadow_deny") == 3


def test_decisions_are_counted(weir):
    w = weir(policies={"p": {"rate": "1/m", "burst": 2, "max_keys": 64}}, use=["p"], serve=True)
    w.statuses(5)
    assert w.metric("weir_limit_decisions_total", policy="p", decision="allow") == 2
    assert w.metric("weir_limit_decisions_total", policy="p", decision="deny") == 3
    assert w.metric("weir_rejections_total", route="app", policy="p", reason="rate_limited") == 3
    assert w.metric("weir_limit_keys", policy="p") == 1


def test_keys_are_counted_exactly(weir):
    w = limited(weir, rate="1/h", burst=1, key="header.x-user")
    assert w.metric("weir_limit_keys", policy="p") == 0
    for n in (1, 2, 30):
        for i in range(n):
            w.fetch(headers={"X-User": str(i)})
        assert w.metric("weir_limit_keys", policy="p") == n


# ---- denied uploads

def test_a_denied_upload_is_not_asked_for(weir):
    w = limited(weir, burst=1)
    w.fetch()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
    c.expect(429)
    assert w.upstream.requests == 1


def test_a_denied_upload_never_uploads(weir):
    w = limited(weir, burst=1)
    w.fetch()
    c = w.client().send(request(body=b"x" * 3_000_000), maybe=True)
    c.expect(429)
    assert w.upstream.requests == 1


def test_a_denied_small_post_keeps_the_connection(weir):
    w = limited(weir, burst=1)
    c = w.client()
    c.ask(body=b"abc").expect(200)
    for _ in range(3):
        c.ask(body=b"abc").expect(429)


def test_100_continue_only_after_admission(weir):
    w = weir(policies={"p": {"rate": "1/m", "burst": 1}}, use=["p"])
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    w.upstream.expect_request(read_body=False)
    w.upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    c.expect(100)
    c.send(b"abc")
    w.upstream.wire.expect_bytes(b"abc")
    w.upstream.answer()
    c.expect(200)


# ---- what a refusal carries

NUMBER = re.compile(r"^\d+$")


def refusal(weir, target="/", **more):
    w = limited(weir, rate="1/m", burst=2, **more)
    return [w.fetch(target) for _ in range(3)][2]


def test_refusal_headers(weir):
    r = refusal(weir)
    r.check_fields({"retry-after": NUMBER, "retry-after-ms": NUMBER, "x-ratelimit-limit": NUMBER,
                    "x-ratelimit-remaining": "0", "x-ratelimit-reset": NUMBER})
    assert re.fullmatch(r'"p";q=2;w=120', r.get("ratelimit-policy"))
    m = re.fullmatch(r'"p";r=0;t=(\d+)', r.get("ratelimit"))
    assert int(m[1]) <= int(r.get("retry-after")) == -(-int(r.get("retry-after-ms")) // 1000) and 30 < int(r.get("retry-after")) <= 60


def test_wait_over_a_minute_tells_sdks_not_to_retry(weir):
    w = limited(weir, rate="1/h", burst=1)
    assert [w.fetch() for _ in range(2)][1].get("x-should-retry") == "false"


def test_admitted_calls_carry_no_limit_headers(weir):
    r = limited(weir).fetch()
    r.check_fields({"ratelimit": None, "ratelimit-policy": None, "x-ratelimit-limit": None, "retry-after": None})


def test_the_upstreams_own_limit_headers_pass(weir):
    own = {"X-RateLimit-Limit": "7", "anthropic-ratelimit-requests-limit": "8", "Retry-After": "9"}
    w = limited(weir, serve=lambda r: harness.response(200, b"ok", own))
    w.fetch().check_fields({"x-ratelimit-limit": "7", "anthropic-ratelimit-requests-limit": "8", "retry-after": "9"})


def test_an_upstreams_own_429_passes_as_it_is(weir):
    w = limited(weir, serve=lambda r: harness.response(429, b"mine", {"Retry-After": "3"}, phrase="Slow Down"))
    r = w.fetch()
    assert (r.status, r.body, r.get("retry-after"), r.get("ratelimit")) == (429, b"mine", "3", None)


def test_problem_json(weir):
    r = refusal(weir)
    assert r.get("content-type").startswith("application/problem+json")
    body = r.json()
    assert body["status"] == 429 and body["title"] and body["violated-policies"] == ["p"]
    assert body["type"].endswith("quota-exceeded")


OPENAI = [("by the route", "/", {"route": {"dialect": "openai"}}), ("by the path", "/v1/chat/completions", {}),
          ("by another path", "/v1/embeddings", {}),
          ("behind a base path", "/openai/deployments/x/chat/completions?api-version=1", {})]


@pytest.mark.parametrize("target,conf", [r[1:] for r in OPENAI], ids=[r[0] for r in OPENAI])
def test_openai(weir, target, conf):
    conf = {"route": {"use": ["p"], **conf["route"]}} if conf else {}
    r = refusal(weir, target, **conf)
    error = r.json()["error"]
    assert r.get("content-type").startswith("application/json")
    assert error["code"] == "rate_limit_exceeded" and error["param"] is None and error["message"] and error["type"]


ANTHROPIC = [("by the route", "/", {"route": {"dialect": "anthropic"}}), ("by the path", "/v1/messages", {}),
             ("behind a base path", "/claude/v1/messages/count_tokens", {})]


@pytest.mark.parametrize("target,conf", [r[1:] for r in ANTHROPIC], ids=[r[0] for r in ANTHROPIC])
def test_anthropic(weir, target, conf):
    conf = {"route": {"use": ["p"], **conf["route"]}} if conf else {}
    body = refusal(weir, target, **conf).json()
    assert body["type"] == "error" and body["error"]["type"] == "rate_limit_error" and body["error"]["message"]


GEMINI = [("by the route", "/", {"route": {"dialect": "gemini"}}),
          ("by the path", "/v1beta/models/gemini-pro:generateContent", {}),
          ("behind a base path", "/google/v1/models/x:streamGenerateContent?alt=sse", {})]


@pytest.mark.parametrize("target,conf", [r[1:] for r in GEMINI], ids=[r[0] for r in GEMINI])
def test_gemini(weir, target, conf):
    conf = {"route": {"use": ["p"], **conf["route"]}} if conf else {}
    r = refusal(weir, target, **conf)
    error, ms = r.json()["error"], int(r.get("retry-after-ms"))
    assert r.get("content-type") == "application/json"
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED") and error["message"]
    assert error["details"] == [{"@type": "type.googleapis.com/google.rpc.RetryInfo",
                                 "retryDelay": f"{ms // 1000}.{ms % 1000:03}s"}]


@pytest.mark.parametrize("dialect,status,kind", [("anthropic", 529, "overloaded_error"), ("openai", 503, "server_error"),
                                                 ("gemini", 503, "UNAVAILABLE"), ("problem", 503, None)])
def test_an_open_breaker_in_every_dialect(weir, dialect, status, kind):
    w = weir(policies={"b": {"breaker": 1, "open_for": "60s"}}, use=["b"], route={"use": ["b"], "dialect": dialect},
             serve=lambda r: harness.response(500))
    assert w.fetch().status == 500
    r = w.fetch()
    body = r.json()
    assert r.status == status and 30 <= int(r.get("retry-after")) <= 72
    assert kind in (None, body.get("error", {}).get("type"), body.get("error", {}).get("status"))
    assert dialect != "problem" or body["type"].endswith("temporary-reduced-capacity")


def test_a_bad_gateway_says_when_to_come_back_only_if_a_breaker_opened(weir):
    w = weir(policies={"b": {"breaker": 2, "open_for": "20s"}}, use=["b"])
    w.upstream.refuse()
    first, second = w.fetch(), w.fetch()
    assert first.status == second.status == 502
    assert first.get("retry-after") is None and 15 <= int(second.get("retry-after")) <= 25


def test_the_reset_of_a_limit_that_lets_in_is_not_after_retry_after(weir):
    w = weir(policies={"wide": {"rate": "1/h", "burst": 9, "headers": True}, "narrow": {"rate": "1/m", "burst": 1}},
             use=["wide", "narrow"], serve=True)
    r = [w.fetch() for _ in range(2)][1]
    times = [int(x) for x in re.findall(r";t=(\d+)", r.get("ratelimit"))]
    assert len(times) == 2 and max(times) <= int(r.get("retry-after"))
    assert r.get("x-ratelimit-limit") == "1" and r.get("x-ratelimit-remaining") == "0"


@pytest.mark.parametrize("target,seconds,told", [("/", "1/60s", None), ("/", "1/90s", "false"), ("/", "1/h", "false"),
                                                 ("/v1/messages", "1/90s", "false")])
def test_sdks_are_told_not_to_wait_for_longer_than_they_do(weir, target, seconds, told):
    w = limited(weir, rate=seconds, burst=1)
    [w.fetch(target) for _ in range(2)][1].check_fields({"x-should-retry": told})


def test_a_call_that_can_never_fit(weir):
    w = weir(policies={"p": {"rate": "10/s", "burst": 20, "cost": "header.x-cost"}}, use=["p"], serve=True)
    r = w.fetch(headers={"X-Cost": "21"})
    assert r.status == 429 and "ever allows" in r.json()["detail"]
    r.check_fields({"x-should-retry": "false", "retry-after": "86400", "retry-after-ms": "86400000"})
    assert w.fetch(headers={"X-Cost": "20"}).status == 200


def test_a_head_is_refused_without_a_body(weir):
    w = limited(weir, burst=1)
    c = w.client()
    c.ask(method="HEAD").expect(200, head=True)
    c.ask(method="HEAD").expect(429, head=True)
    c.ask(method="HEAD").expect(429, head=True)


def test_http10_is_refused_in_its_own_way(weir):
    w = limited(weir, burst=1)
    w.fetch()
    c = w.client().ask(version="1.0")
    c.expect(429)
    c.expect_closed()


@pytest.mark.parametrize("name", ["a'b", "a.b", "a/b:c", "a{b}"])
def test_odd_names_are_carried_as_they_are(weir, name):
    w = weir(policies={name: {"rate": "1/m", "burst": 1}}, use=[name], serve=True)
    r = [w.fetch() for _ in range(2)][1]
    assert r.status == 429 and r.json()["violated-policies"] == [name]
    assert w.metric("weir_limit_decisions_total", policy=name, decision="deny") == 1

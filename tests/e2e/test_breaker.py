"""Circuit breakers seen from outside: what opens one, who is refused meanwhile, and how it closes."""

import json
import re
import signal
import time

import pytest

import harness
from harness import Upstream, response, until


def guarded(weir, breaker=3, serve=None, upstreams=None, route=None, admin=False, **more):
    """A Weir with one breaker `guard`; without upstreams or serve its one endpoint refuses connections."""
    policy = {"breaker": breaker, "open_for": "60s", **more}
    if upstreams is None and serve is None:
        upstreams = {"app": dead()}
    extra = {k: v for k, v in (("upstreams", upstreams), ("route", route), ("serve", serve)) if v is not None}
    return weir(policies={"guard": policy}, use=["guard"], **extra)


def dead():
    """An address that nobody listens on."""
    return f"127.0.0.1:{harness.free_port()}"


def fails(status=503, **headers):
    return lambda r: response(status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def state(w, **labels):
    names = ("closed", "open", "half_open")
    return [s for s in names if w.metric("weir_breaker_state", policy="guard", state=s, **labels)]


def transitions(w, to):
    return w.metric("weir_breaker_transitions_total", policy="guard", to=to)


def order(w, path, body, **headers):
    return w.admin(f"/breakers/{path}", method="PUT", body=json.dumps(body).encode(),
                   headers={"Content-Type": "application/json", **headers})


# ---- what opens it

def test_opens_after_refused_connects_with_one_endpoint(weir):
    w = guarded(weir, 3)
    assert w.statuses(5) == [502, 502, 502, 503, 503]
    assert state(w) == ["open"] and transitions(w, "open") == 1
    assert w.metric("weir_rejections_total", policy="guard", reason="breaker_open") == 2


def test_any_answer_ends_a_row(weir):
    answers = iter([503, 503, 404] * 9)
    w = guarded(weir, 3, serve=lambda r: response(next(answers)))
    assert w.statuses(9) == [503, 503, 404] * 3
    assert state(w) == ["closed"] and transitions(w, "open") == 0


def test_a_share_waits_for_enough_requests(weir):
    answers = iter([200, 500, 500, 200, 500, 200])
    w = guarded(weir, "50%", min_requests=6, serve=lambda r: response(next(answers)))
    assert w.statuses(5) == [200, 500, 500, 200, 500] and state(w) == ["closed"]
    assert w.statuses(2) == [200, 503] and state(w) == ["open"]


def test_429_counts_only_when_listed(weir):
    w = guarded(weir, 2, serve=fails(429))
    assert w.statuses(4) == [429] * 4
    w.reload(policies={"guard": {"breaker": 2, "failures": [429]}})
    assert w.statuses(4) == [429, 429, 503, 503]


def test_slow_to_begin(weir):
    w = guarded(weir, 9, min_requests=2, slow={"first_byte": "100ms"})
    w.reload(upstreams={"app": w.upstream.addr})
    w.upstream.serve(lambda r: time.sleep(0.15) or response(200))
    assert w.statuses(3) == [200, 200, 503]


def test_a_call_whose_time_is_up(weir, upstreams):
    w = guarded(weir, 1, upstreams={"app": upstreams(1)[0].addr}, route={"timeout": "200ms"})
    assert w.statuses(2) == [504, 503]


def test_aborts_do_not_count(weir, upstreams):
    u, = upstreams(1)
    w = guarded(weir, 1, upstreams={"app": u.addr})
    for _ in range(3):
        c = w.client().ask()
        u.expect_request()
        c.reset()
        w.wait_metric("weir_requests_in_flight", 0)
    assert state(w) == ["closed"]


# ---- what a refusal says

def test_retry_after_is_true_and_a_probe_closes_it(weir):
    addr = dead()
    w = guarded(weir, 1, open_for="2s", upstreams={"app": addr})
    w.fetch()
    r = w.fetch()
    ms = int(r.get("retry-after-ms"))
    assert r.status == 503 and int(r.get("retry-after")) == -(-ms // 1000) and 0 < ms <= 2400
    w.upstream.end()
    w.upstream = Upstream(addr).serve()
    time.sleep(ms / 1000 + 0.02)
    assert w.statuses(3) == [200] * 3 and state(w) == ["closed"]


def test_early_is_refused(weir):
    w = guarded(weir, 1)
    w.fetch()
    ms = int(w.fetch().get("retry-after-ms"))
    time.sleep(0.3)
    assert ms - 30_000 < int(w.fetch().get("retry-after-ms")) < ms - 290


def test_a_bad_gateway_says_when_it_opened_for_it(weir):
    w = guarded(weir, 2)
    assert w.fetch().get("retry-after-ms") is None
    r = w.fetch()
    assert r.status == 502 and 47_000 < int(r.get("retry-after-ms")) <= 72_000


def test_dialects(weir):
    w = guarded(weir, 1)
    w.fetch()
    r = w.fetch("/v1/chat/completions")
    assert (r.status, r.json()["error"]["type"], r.json()["error"]["code"]) == (
        503, "server_error", "service_unavailable")
    r = w.fetch("/v1/messages")
    assert (r.status, r.json()["error"]["type"]) == (529, "overloaded_error")
    assert 30 < int(r.get("retry-after")) <= 72


def test_an_upstreams_retry_after_lengthens(weir):
    w = guarded(weir, 1, max_open="10m", serve=fails(503, Retry_After="300"))
    w.fetch()
    assert 270_000 < int(w.fetch().get("retry-after-ms")) <= 300_000


def test_but_not_beyond_the_longest(weir):
    w = guarded(weir, 1, max_open="5m", serve=fails(503, Retry_After="86400"))
    w.fetch()
    assert 270_000 < int(w.fetch().get("retry-after-ms")) <= 300_000


def test_a_refused_call_pays_no_rate(weir):
    w = weir(policies={"rate": {"rate": "1/m", "burst": 4}, "guard": {"breaker": 1}}, use=["rate", "guard"],
             upstreams={"app": dead()})
    assert w.statuses(10) == [502] + [503] * 9


def test_the_access_log_names_it(weir):
    w = guarded(weir, 1)
    w.statuses(2)
    line = w.access(2)[1]
    assert (line["reason"], line["policy"]) == ("breaker_open", "guard")


def test_the_log_has_a_line_for_each_change(weir):
    w = guarded(weir, 2)
    w.statuses(4)
    lines = [x for x in w.stderr().splitlines() if "breaker guard" in x]
    assert len(lines) == 1
    assert re.search(r"warn breaker guard: upstream app, endpoint 127\.\S+: closed -> open for \d\d\.\d+ s: "
                     r"2 failures in a row", lines[0])


# ---- half open

def test_one_probe_at_a_time(weir):
    addr = dead()
    w = guarded(weir, 1, open_for="100ms", upstreams={"app": addr})
    w.fetch()
    w.upstream = Upstream(addr)
    time.sleep(0.13)
    probe = w.client().ask()
    w.upstream.expect_request()
    r = w.fetch()
    assert r.status == 503 and r.get("retry-after-ms") == "1000" and state(w) == ["half_open"]
    w.upstream.answer(200)
    probe.expect(200)
    assert state(w) == ["closed"]


def test_a_probe_that_goes_away_gives_its_place_back(weir):
    addr = dead()
    w = guarded(weir, 1, open_for="100ms", upstreams={"app": addr})
    w.fetch()
    w.upstream = Upstream(addr)
    time.sleep(0.13)
    probe = w.client().ask()
    w.upstream.expect_request()
    probe.reset()
    w.wait_metric("weir_requests_in_flight", 0)
    w.upstream.serve()
    assert w.fetch().status == 200 and state(w) == ["closed"]


@pytest.mark.parametrize("more", [{}, {"slow": {"over": "20s"}}])
def test_a_streamed_answer_does_not_keep_others_out(weir, more):
    addr = dead()
    w = guarded(weir, 1, open_for="100ms", upstreams={"app": addr}, **more)
    w.fetch()
    w.upstream = Upstream(addr)
    time.sleep(0.13)
    probe = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    until(lambda: state(w) == ["closed"])
    w.upstream.send(b"cd")
    probe.expect(200, b"abcd")


def test_a_tunnel_as_the_probe_does_not_keep_others_out(weir):
    addr = dead()
    w = guarded(weir, 1, open_for="100ms", upstreams={"app": addr}, route={"upgrade": True})
    w.fetch()
    w.upstream = Upstream(addr)
    time.sleep(0.13)
    probe = w.client().ask("/ws", headers={"Connection": "upgrade", "Upgrade": "websocket"})
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    probe.expect(101)
    assert state(w) == ["closed"]


def test_slow_clients_open_nothing(weir):
    w = weir(policies={"guard": {"breaker": 2, "min_requests": 2, "slow": {"first_byte": "2s"}},
                       "again": {"retry": 1, "per_try": "2s"}}, use=["again", "guard"], serve=True)
    slow = [w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na") for _ in range(3)]
    time.sleep(2.1)
    for c in slow:
        c.send(b"b").expect(200)
    assert state(w) == ["closed"]


def test_the_upstreams_own_answer_when_it_opens_between_tries(weir):
    own = lambda r: response(503, b"its own")  # noqa: E731
    w = weir(policies={"guard": {"breaker": 2, "failures": "5xx"},
                       "again": {"retry": 3, "when": "503", "backoff": {"base": "1ms", "max": "1ms"}}},
             use=["again", "guard"], serve=own)
    assert w.fetch().body == b"its own" and state(w) == ["open"] and w.upstream.requests == 2
    assert w.metric("weir_retries_total", route="app", reason="status") == 1
    assert w.metric("weir_retries_suppressed_total", route="app", reason="refused") == 1


def test_more_endpoints_than_bits(weir, upstreams):
    few = [u.serve() for u in upstreams(2)]
    endpoints = [dead() for _ in range(98)] + [u.addr for u in few]
    w = guarded(weir, 1, open_for="60s", upstreams={"app": {"endpoints": endpoints}})
    until(lambda: w.fetch() and transitions(w, "open") == 98)
    assert set(w.statuses(300)) == {200}


def test_a_failing_probe_doubles(weir):
    w = guarded(weir, 1, open_for="200ms")
    first = int(w.fetch().get("retry-after-ms"))
    time.sleep(first / 1000 + 0.01)
    r = w.fetch()
    assert r.status == 502 and transitions(w, "open") == 2
    assert 150 < first <= 240 and 310 < int(r.get("retry-after-ms")) <= 480


# ---- several endpoints

def test_traffic_goes_to_the_other_endpoint(weir, upstreams):
    good = upstreams(1)[0].serve()
    bad = upstreams(1)[0].serve(fails(500))
    w = guarded(weir, 2, open_for="10s", upstreams={"app": {"endpoints": [bad.addr, good.addr]}})
    assert sorted(w.statuses(10)) == [200] * 8 + [500] * 2
    assert state(w, endpoint=bad.addr) == ["open"] and state(w, endpoint=good.addr) == ["closed"]


def test_all_open(weir):
    w = guarded(weir, 1, open_for="10s", upstreams={"app": {"endpoints": [dead(), dead()]}})
    assert w.statuses(3) == [502, 503, 503]
    assert transitions(w, "open") == 2


def test_a_retry_passes_over_what_is_open(weir, upstreams):
    good = upstreams(1)[0].serve()
    addr = dead()
    w = weir(policies={"again": {"retry": 1, "when": ["connect"], "backoff": {"base": "1ms", "max": "1ms"}},
                       "guard": {"breaker": 1, "open_for": "10s"}},
             use=["again", "guard"], upstreams={"app": {"endpoints": [addr, good.addr]}})
    assert w.statuses(10) == [200] * 10 and good.requests == 10
    assert w.metric("weir_upstream_attempts_total", endpoint=addr, result="failed") == 1


def test_per_upstream(weir, upstreams):
    good, bad = upstreams(1)[0].serve(), upstreams(1)[0].serve(fails(500))
    w = guarded(weir, "50%", min_requests=4, per="upstream", upstreams={"app": {"endpoints": [bad.addr, good.addr]}})
    assert sorted(w.statuses(4)) == [200, 200, 500, 500]
    assert w.statuses(1) == [503] and state(w) == ["open"]


def test_the_fallback_takes_over(weir, upstreams):
    spare = upstreams(1)[0].serve(lambda r: response(200, b"spare"))
    w = guarded(weir, 2, open_for="10s", route={"fallback": "spare"},
                upstreams={"app": dead(), "spare": spare.addr})
    assert w.statuses(5) == [502, 502, 200, 200, 200]
    assert state(w, upstream="app") == ["open"] and state(w, upstream="spare") == ["closed"]
    assert w.metric("weir_rejections_total", policy="guard", reason="breaker_open") == 0


# ---- orders

def test_forced_open_for_a_while(weir):
    w = guarded(weir, 3, serve=True)
    r = order(w, "guard/app", {"state": "open", "for": "10m"})
    assert r.status == 200 and r.json()["breakers"][0]["forced"] is True
    assert w.fetch().status == 503 and w.metric("weir_breaker_forced", policy="guard", upstream="app") == 1
    assert w.admin("/health").json()["status"] == "degraded"
    order(w, "guard/app", {"state": "open", "for": "1s"})
    until(lambda: w.fetch().status == 200, "over")
    assert w.metric("weir_breaker_forced", policy="guard", upstream="app") == 0


def test_forced_closed_until_told(weir):
    w = guarded(weir, 1)
    assert order(w, "guard/app", {"state": "closed"}).status == 200
    assert w.statuses(3) == [502] * 3
    assert order(w, "guard/app", {"state": "auto"}).status == 200
    assert w.statuses(2) == [502, 503]


def test_one_endpoint_by_name(weir, upstreams):
    a, b = (u.serve() for u in upstreams(2))
    w = guarded(weir, 3, upstreams={"app": {"endpoints": [a.addr, b.addr]}})
    assert len(order(w, f"guard/app/{a.addr.replace(':', '%3A')}", {"state": "open"}).json()["breakers"]) == 1
    assert w.statuses(6) == [200] * 6 and b.requests == 6
    listed = {x["endpoint"]: x for x in w.admin("/breakers").json()["breakers"]}
    assert listed[a.addr]["state"] == "open" and listed[b.addr]["state"] == "closed"


def test_orders_that_are_refused(weir):
    w = guarded(weir, 3, serve=True)
    good = {"state": "open"}
    assert [order(w, "guard/app", x).status for x in ({"state": "ajar"}, {}, {"state": "open", "for": 5},
            {"state": "${file:/etc/hostname}"}, [], {"state": "open", "for": "10m", "x": 1})] == [400] * 6
    assert [order(w, x, good).status for x in ("other/app", "guard/other", "guard/app/1.2.3.4:5", "guard")] == [404] * 4
    assert order(w, "guard/app", good, Origin="http://evil.example").status == 403
    assert order(w, "guard/app", good, Origin="null").status == 403
    assert w.admin("/breakers/guard/app", method="PUT", body=b'{"state":"open"}').status == 415
    assert w.admin("/breakers/guard/app", method="POST", body=b"{}").status == 405 and w.fetch().status == 200
    assert order(w, "guard/app", good, Origin=f"http://{w.admin_addr}").status == 200


# ---- life

def test_health_shows_it(weir):
    w = guarded(weir, 1, open_for="10s")
    assert w.admin("/health").json()["status"] == "healthy"
    w.fetch()
    check = [c for c in w.admin("/health").json()["checks"] if c["name"] == "breaker.guard"][0]
    assert check["status"] == "degraded" and " is open for " in check["message"]


def test_a_drain_opens_nothing(weir):
    w = guarded(weir, 1, upstreams={"app": dead()})
    w.reload(shutdown={"delay": "60s", "drain": "1s"})
    w.signal(signal.SIGTERM)
    until(lambda: w.probe("/ready").status == 503)
    r = [w.fetch() for _ in range(3)][-1]
    assert r.status == 503 and w.access(3)[2]["reason"] == "draining"
    assert state(w) == ["closed"] and transitions(w, "open") == 0
    w.signal(signal.SIGTERM)
    assert w.wait_exit() == 1


def test_a_reload_keeps_it_open(weir):
    w = guarded(weir, 1)
    w.fetch()
    w.reload(policies={"guard": {"breaker": 5, "open_for": "1s"}})
    assert int(w.fetch().get("retry-after-ms")) > 30_000 and transitions(w, "open") == 1


def test_two_workers_share_it(weir):
    w = weir(workers=2, policies={"guard": {"breaker": 8, "open_for": "10s"}}, use=["guard"],
             upstreams={"app": dead()})
    got = [w.fetch().status for _ in range(24)]
    assert got == [502] * 8 + [503] * 16


def test_shadow_only_counts(weir):
    w = guarded(weir, 2, shadow=True)
    assert w.statuses(5) == [502] * 5
    assert state(w) == ["open"] and w.metric("weir_limit_decisions_total", policy="guard", decision="shadow_deny") == 3


def test_known_series_from_the_start(weir):
    w = guarded(weir, 2)
    assert state(w) == ["closed"]
    assert [transitions(w, x) for x in ("closed", "open", "half_open")] == [0, 0, 0]
    assert w.metric("weir_breaker_forced", policy="guard", upstream="app") == 0
    assert w.metric("weir_rejections_total", route="app", policy="guard", reason="breaker_open") == 0

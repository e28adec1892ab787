"""Retries: what is tried again, how often, when, and what the client gets when tries end."""

import time

import pytest

import harness
from harness import response, until

QUICK = {"base": "1ms", "max": "2ms"}


def retrying(weir, when, retries=2, **more):
    policy = {"retry": retries, "when": when, "backoff": QUICK, **more.pop("policy", {})}
    return weir(policies={"again": policy}, use=["again"], **more)


def script(*answers):
    """A handler that gives these answers in turn, the last for ever; bytes, or None to hang up."""
    left = list(answers)

    def handle(r):
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            r.wire.reset()
        return answer

    return handle


def test_a_status_is_tried_again(weir):
    w = retrying(weir, ["503"], serve=script(response(503, b"busy"), response(200, b"fine")))
    assert w.fetch().body == b"fine"
    assert w.upstream.requests == 2 and w.access()[0]["attempts"] == 2
    assert w.metric("weir_retries_total", route="app", reason="status") == 1


def test_the_last_answer_is_passed_on_whole(weir):
    w = retrying(weir, ["503"], serve=script(response(503, b"one"), response(503, b"two"),
                                             response(503, b"three" * 9999, headers={"X-Own": "yes"})))
    r = w.fetch()
    assert r.status == 503 and r.body == b"three" * 9999 and r.get("x-own") == "yes"
    assert w.metric("weir_retries_suppressed_total", route="app", reason="attempts") == 1


def test_other_statuses_are_not(weir):
    w = retrying(weir, ["503"], serve=script(response(500, b"bad"), response(200)))
    assert w.fetch().status == 500 and w.upstream.requests == 1


def test_a_reset_is_tried_again(weir):
    w = retrying(weir, ["reset"], serve=script(None, response(200, b"fine")))
    assert w.fetch().body == b"fine"


def test_refused_connects_end_in_502(weir):
    w = retrying(weir, ["connect"], retries=3)
    w.upstream.refuse()
    w.client().ask().expect(502)
    assert w.access()[0]["attempts"] == 4


def test_post_is_not_sent_twice(weir):
    w = retrying(weir, ["503"], serve=script(response(503), response(200)))
    assert w.fetch(method="POST", body=b"x").status == 503 and w.upstream.requests == 1
    assert w.metric("weir_retries_suppressed_total", route="app", reason="method") == 1


def test_post_is_sent_twice_where_the_policy_says_so(weir):
    bodies = []
    serve = script(response(503), response(200))
    w = retrying(weir, ["503"], policy={"methods": ["POST"]}, serve=lambda r: bodies.append(r.body) or serve(r))
    assert w.fetch(method="POST", body=b"y" * 60000).status == 200
    assert bodies == [b"y" * 60000] * 2


def test_a_body_too_large_to_keep(weir):
    w = retrying(weir, ["503"], policy={"body": "1KiB"}, serve=script(response(503), response(200)))
    assert w.fetch(method="PUT", body=b"y" * 100_000).status == 503
    assert w.metric("weir_retries_suppressed_total", route="app", reason="body") == 1


def test_an_upload_under_way_goes_on_into_the_next_try(weir):
    w = retrying(weir, ["503"])
    c = w.client().send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabcd")
    w.upstream.expect_request(read_body=False)
    w.upstream.wire.expect_bytes(b"abcd")
    w.upstream.answer(503)
    w.upstream.accept()
    c.send(b"efgh")
    w.upstream.expect_request("PUT /", body=b"abcdefgh")
    w.upstream.answer(200, b"whole")
    c.expect(200, b"whole")


def test_other_endpoints_first(weir, upstreams):
    bad, good = upstreams(1)[0].serve(lambda r: response(503)), upstreams(1)[0].serve()
    w = retrying(weir, ["503"], upstreams={"app": {"endpoints": [bad.addr, good.addr]}})
    assert w.statuses(6) == [200] * 6
    assert good.requests == 6


def test_per_try_timeout(weir):
    w = retrying(weir, ["timeout"], policy={"per_try": "1s"})
    c = w.client().ask()
    w.upstream.expect_request()
    first = w.upstream.wire
    w.upstream.accept()
    w.upstream.expect_request()
    w.upstream.answer(200, b"second")
    c.expect(200, b"second")
    first.expect_closed()


def test_per_try_timeout_ends_in_504(weir):
    w = retrying(weir, ["reset"], policy={"per_try": "200ms"})
    c = w.client().ask()
    w.upstream.expect_request()
    c.expect(504)
    assert w.access()[0]["reason"] == "try_timeout"


def test_retry_after_wins_over_the_backoff(weir):
    w = retrying(weir, ["429"], policy={"backoff": {"base": "1ms", "max": "2s"}},
                 serve=script(response(429, headers={"retry-after-ms": "300"}), response(200)))
    start = time.monotonic()
    assert w.fetch().status == 200
    assert time.monotonic() - start >= 0.3


def test_retry_after_beyond_the_longest_backoff(weir):
    w = retrying(weir, ["429"], serve=script(response(429, b"later", headers={"Retry-After": "7"}), response(200)))
    r = w.fetch()
    assert r.status == 429 and r.get("retry-after") == "7" and r.body == b"later"
    assert w.metric("weir_retries_suppressed_total", route="app", reason="retry_after") == 1


def test_no_retry_beyond_the_deadline(weir):
    w = retrying(weir, ["429"], route={"timeout": "200ms"}, policy={"backoff": {"base": "1s", "max": "2s"}},
                 serve=script(response(429, headers={"Retry-After": "1"}), response(200)))
    assert w.fetch().status == 429
    assert w.metric("weir_retries_suppressed_total", route="app", reason="deadline") == 1


def test_the_budget_bounds_an_outage(weir):
    w = retrying(weir, ["503"], retries=3, serve=lambda r: response(503))
    start = time.monotonic()
    assert set(w.statuses(100)) == {503}
    allowed = 100 + 20 + 30 + 3 * (time.monotonic() - start + 1)
    assert 140 <= w.upstream.requests <= allowed
    assert w.metric("weir_retries_suppressed_total", route="app", reason="budget") > 0


def spent(weir, **more):
    """A Weir whose retry budget is spent: what an SDK is told then. Three tries a second are always there."""
    w = retrying(weir, ["503", "connect"], policy={"budget": "0%"}, **more)
    while not w.metric("weir_retries_suppressed_total", route="app", reason="budget"):
        w.fetch()
    return w


def told_not_to(w):
    return until(lambda: (r := w.fetch()).get("x-should-retry") == "false" and r, "a budget that is spent")


def test_clients_shall_not_retry_in_our_place(weir):
    w = spent(weir, serve=lambda r: response(503, headers={"Retry-After": "2"} if r.path == "/later" else {}))
    told_not_to(w).check_fields({"retry-after": None})
    w.fetch("/later").check_fields({"retry-after": "2"})


def test_what_an_upstream_says_of_retries_stands(weir):
    w = spent(weir, serve=lambda r: response(503, headers={"x-should-retry": "true"}))
    w.fetch().check_fields({"x-should-retry": "true"})


def test_clients_shall_not_retry_a_bad_gateway_either(weir):
    upstream = harness.Upstream()
    upstream.refuse()
    w = spent(weir, upstream=upstream)
    told_not_to(w).check_fields({"retry-after": None})


def test_while_the_budget_lasts_nothing_is_said(weir):
    w = retrying(weir, ["503"], serve=lambda r: response(503))
    w.fetch().check_fields({"x-should-retry": None})


def test_a_clients_own_retries_are_charged(weir):
    w = retrying(weir, ["503"], policy={"budget": "0%"}, serve=lambda r: response(503))
    for _ in range(10):
        w.fetch(headers={"x-stainless-retry-count": "1"})
    assert w.upstream.requests <= 10 + 30


def test_a_client_that_leaves_during_the_backoff(weir):
    w = retrying(weir, ["503"], policy={"backoff": {"base": "1s", "max": "5s"}})
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.answer(503, headers={"Retry-After": "2"})
    time.sleep(0.1)
    c.reset()
    assert w.access()[0]["reason"] == "client_abort"


def test_a_reload_in_mid_backoff(weir):
    w = retrying(weir, ["503"], policy={"backoff": {"base": "1s", "max": "5s"}})
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.answer(503, headers={"retry-after-ms": "400"})
    w.reload(policies={"again": {"retry": 1}})
    w.upstream.accept()
    w.upstream.expect_request()
    w.upstream.answer(200, b"after all")
    c.expect(200, b"after all")


def test_shadow_tries_nothing_again(weir):
    w = retrying(weir, ["503"], policy={"shadow": True}, serve=script(response(503), response(200)))
    assert w.fetch().status == 503


def test_less_of_a_body_than_is_kept_for_dead_connections(weir):
    w = retrying(weir, ["503"], policy={"body": "0B"}, serve=lambda r: response(503))
    assert w.fetch(method="PUT", body=b"x").status == 503 and w.upstream.requests == 1
    assert w.metric("weir_retries_suppressed_total", route="app", reason="body") == 1


@pytest.mark.parametrize("name, value, tries", [("x-stainless-timeout", "1", 1), ("X-Stainless-Read-Timeout", "1.5", 1),
                                                ("x-envoy-expected-rq-timeout-ms", "900", 1), ("x-stainless-timeout", "60", 2)])
def test_no_retry_after_the_client_has_given_up(weir, name, value, tries):
    answers = script(response(503, headers={"retry-after-ms": "1000"}), response(200))
    w = retrying(weir, ["503"], policy={"backoff": {"base": "1ms", "max": "2s"}}, serve=answers)
    assert w.fetch(headers={name: value}).status == (200 if tries == 2 else 503) and w.upstream.requests == tries


def test_the_time_before_a_retry_is_no_overhead(weir):
    w = retrying(weir, ["503"], policy={"backoff": {"base": "1ms", "max": "2s"}},
                 serve=script(response(503, headers={"retry-after-ms": "1500"}), response(200)))
    assert w.fetch().status == 200
    w.wait_metric("weir_overhead_seconds_count", 1)
    assert w.metric("weir_overhead_seconds_sum") < 1.2


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 2x0 OK\r\n\r\n"])
def test_a_head_that_is_cut_short_or_malformed_is_a_reset(weir, head):
    w = retrying(weir, ["reset"])
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(head)
    w.upstream.close()
    w.upstream.accept()
    w.upstream.expect_request()
    w.upstream.answer(200, b"fine")
    c.expect(200, b"fine")


def test_shadow_bounds_no_try(weir):
    w = retrying(weir, ["503"], policy={"shadow": True, "per_try": "100ms"},
                 serve=lambda r: time.sleep(0.4) or response(200))
    assert w.fetch().status == 200


OWN = {"again": {"retry": 1, "when": "5xx", "backoff": {"base": "1ms"}}}


def test_the_upstreams_own_answer_when_its_checks_have_failed_too(weir, upstreams):
    a = upstreams(1)[0].serve(lambda r: response(500, b"its own"))
    w = weir(policies={**OWN, "guard": {"breaker": 1, "failures": "5xx", "open_for": "30s"}}, use=["guard", "again"],
             upstreams={"app": {"endpoints": [a.addr], "health": {"path": "/h", "every": "40ms", "fall": 1}}})
    until(lambda: w.metric("weir_upstream_endpoint_up", endpoint=a.addr) == 0, "down")
    assert w.fetch().body == b"its own"


def test_the_upstreams_own_answer_when_a_rate_shuts_the_fallback_too(weir, upstreams):
    a, b = upstreams(2)
    a.serve(lambda r: response(500, b"its own")), b.serve()
    w = weir(policies={**OWN, "few": {"rate": "1/h", "charge": "attempt"}}, use=["few", "again"],
             upstreams={"app": a.addr, "other": b.addr}, route={"fallback": "other"})
    assert w.fetch().body == b"its own"


def test_what_was_never_sent_goes_elsewhere_for_nothing(weir, upstreams):
    alive = upstreams(1)[0].serve()
    endpoints = [f"127.0.0.1:{harness.free_port()}", alive.addr]
    w = weir(policies={"few": {"rate": "1/h", "key": "path", "charge": "attempt"}}, use=["few"],
             upstreams={"app": {"endpoints": endpoints, "lb": "ring-hash", "hash": "path"}})
    assert [w.fetch(f"/{i}").status for i in range(20)] == [200] * 20

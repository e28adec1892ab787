"""Hedging: one more try beside a first that takes long; the first good answer, and no trace of the other."""

import json
import signal
import threading
import time

import pytest

from harness import response, until

HEDGE = {"after": "100ms", "budget": "100%"}


@pytest.fixture
def hedging(weir, upstreams):
    """A Weir with two endpoints and a policy that hedges."""
    def make(policy=None, endpoints=2, **more):
        a, b = upstreams(2)
        w = weir(policies={"again": {"retry": 1, "hedge": HEDGE, **(policy or {})}, **more.pop("policies", {})},
                 use=["again", *more.pop("use", [])],
                 upstreams={"app": {"endpoints": [a.addr, b.addr][:endpoints]}}, **more)
        return w, a, b

    return make


def both_asked(c, first, second):
    """The two wires of a call that is hedged; whichever endpoint was the first."""
    start = time.monotonic()
    c.ask("/slow")
    first.expect_request("GET /slow")
    second.expect_request("GET /slow")
    assert 0.09 < time.monotonic() - start < 5
    return first.wire, second.wire


def test_the_second_answer_is_passed_on_and_the_first_try_cut(hedging):
    w, a, b = hedging()
    c = w.client()
    one, two = both_asked(c, a, b)
    two.answer(200, b"second")
    c.expect(200, b"second")
    one.expect_closed()
    line = w.access()[0]
    assert line["attempts"] == 2 and line["upstream.endpoint"] == b.addr
    assert w.metric("weir_retries_total", route="app", reason="hedge") == 1


def test_the_first_may_win_after_all(hedging):
    w, a, b = hedging()
    c = w.client()
    one, two = both_asked(c, a, b)
    one.answer(200, b"first")
    c.expect(200, b"first")
    two.expect_closed()
    assert w.access()[0]["upstream.endpoint"] == a.addr


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_bad_answer_loses(hedging, status):
    w, a, b = hedging()
    c = w.client()
    one, two = both_asked(c, a, b)
    two.answer(status, b"bad")
    c.quiet()
    one.answer(200, b"good")
    c.expect(200, b"good")


def test_the_last_bad_answer_is_passed_on(hedging):
    w, a, b = hedging()
    c = w.client()
    one, two = both_asked(c, a, b)
    one.answer(500, b"one")
    two.answer(503, b"two")
    c.expect(503, b"two")


@pytest.mark.parametrize("which", [0, 1])
def test_when_one_breaks_the_other_goes_on(hedging, which):
    w, a, b = hedging()
    c = w.client()
    wires = both_asked(c, a, b)
    wires[which].reset()
    c.quiet()
    wires[1 - which].answer(200, b"left")
    c.expect(200, b"left")


def test_when_both_break_it_is_a_failure_as_any_other(hedging):
    w, a, b = hedging()
    c = w.client()
    for wire in both_asked(c, a, b):
        wire.reset()
    c.expect(502)
    assert w.access()[0]["reason"] == "upstream_reset"


def test_then_it_may_be_tried_again(hedging):
    w, a, b = hedging(policy={"when": "reset", "backoff": {"base": "1ms"}})
    c = w.client()
    for wire in both_asked(c, a, b):
        wire.reset()
    for u in (a, b):
        u.serve(lambda r: response(200, b"third"))
    c.expect(200, b"third")
    assert w.access()[0]["attempts"] == 3


def test_a_refused_connect_is_no_end(hedging):
    w, a, b = hedging()
    b.refuse()
    c = w.client().ask()
    a.expect_request()
    c.quiet(0.3)
    a.answer(200, b"first")
    c.expect(200, b"first")


def test_a_client_that_leaves_frees_both(hedging):
    w, a, b = hedging()
    c = w.client()
    one, two = both_asked(c, a, b)
    c.reset()
    one.expect_closed()
    two.expect_closed()
    assert w.access()[0]["reason"] == "client_abort"


def test_each_try_has_its_own_time(hedging):
    w, a, b = hedging(policy={"per_try": "1500ms"})
    c = w.client()
    start = time.monotonic()
    one, two = both_asked(c, a, b)
    one.expect_closed()
    two.expect_closed()
    c.expect(504)
    assert 1.58 <= time.monotonic() - start


def test_the_total_ends_both(hedging):
    w, a, b = hedging(route={"timeout": "2s"})
    c = w.client()
    wires = both_asked(c, a, b)
    c.expect(504)
    for wire in wires:
        wire.expect_closed()


@pytest.mark.parametrize("ask", [{"method": "POST", "body": b"x"}, {"method": "PUT", "body": b"x"}, {"method": "POST"},
                                 {"method": "DELETE"}])
def test_what_is_sent_once(hedging, ask):
    w, a, b = hedging(policy={"methods": ["GET", "PUT", "POST"]})
    c = w.client().ask(**ask)
    a.expect_request()
    b.untouched(0.3)
    a.answer(200, b"only")
    c.expect(200, b"only")


def test_the_budget(hedging):
    w, a, b = hedging(policy={"hedge": {"after": "20ms", "budget": "5%"}})
    made = lambda: w.metric("weir_retries_total", route="app", reason="hedge")  # noqa: E731
    refused = lambda: w.metric("weir_retries_suppressed_total", route="app", reason="hedge_budget")  # noqa: E731
    for u in (a, b):  # an answer comes when it has been decided
        u.serve(lambda r: until(lambda: made() + refused() >= int(r.path[1:])) and response(200))
    assert [w.fetch(f"/{i}").status for i in range(1, 61)] == [200] * 60
    assert a.requests + b.requests <= 63 and made() in (1, 2, 3) and refused() >= 57
    assert w.fetch("/1").get("x-should-retry") is None


def test_a_percentile_is_learned(hedging):
    slow, end = threading.Event(), threading.Event()
    serve = lambda r: (slow.is_set() and end.wait() and None) or response(200)  # noqa: E731
    w, a, b = hedging(policy={"hedge": {"after": "p95", "budget": "100%"}}, workers=1)
    a.serve(serve), b.serve(lambda r: response(200))
    assert w.statuses(300) == [200] * 300
    slow.set()
    assert w.statuses(20) == [200] * 20, "ten of them met the endpoint that does not answer"
    end.set()


def test_no_probe_of_a_breaker_is_spent_on_it(hedging):
    guard = {"breaker": 1, "failures": "5xx", "open_for": "200ms", "probes": 3}
    w, a, _ = hedging(policies={"guard": guard}, use=["guard"], endpoints=1)
    c = w.client().ask()
    a.expect_request()
    a.answer(500, headers={"Connection": "close"})
    c.expect(500)
    time.sleep(0.3)
    c = w.client().ask()
    a.expect_request()
    a.untouched(0.3)
    a.answer(200, b"probed")
    c.expect(200, b"probed")


def test_a_breaker_that_is_held_closed_forbids_none(hedging):
    w, a, b = hedging(policies={"guard": {"breaker": 3}}, use=["guard"])
    w.admin("/breakers/guard/app", method="PUT", body=json.dumps({"state": "closed"}).encode(),
            headers={"Content-Type": "application/json"})
    c = w.client()
    one, _ = both_asked(c, a, b)
    one.answer(200, b"first")
    c.expect(200, b"first")


def test_one_that_a_rate_refuses_is_nobodys_business(hedging):
    w, a, b = hedging(policies={"few": {"rate": "1/h", "charge": "attempt"}}, use=["few"])
    c = w.client().ask()
    a.expect_request()
    b.untouched(0.3)
    a.answer(200, b"only")
    c.expect(200, b"only", ratelimit=None)
    assert w.metric("weir_limit_decisions_total", policy="few", decision="deny") == 0


def test_a_reload_and_a_drain_in_the_middle(hedging):
    w, a, b = hedging()
    c = w.client()
    one, two = both_asked(c, a, b)
    w.reload(policies={"again": {"retry": 1}})
    w.signal(signal.SIGTERM)
    one.reset()
    two.answer(200, b"in peace")
    c.expect(200, b"in peace")
    assert w.wait_exit() == 0

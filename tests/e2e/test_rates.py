"""Every way to count calls, seen from outside: windows, several rates, costs, trials, delays, tries that pay."""

import re
import threading
import time

import pytest

import harness
from harness import parallel, response, until


def limited(weir, rate, **policy):
    """A Weir with one limit `p` on its one route; the upstream answers by itself."""
    more = {k: policy.pop(k) for k in ("serve", "use", "route", "workers") if k in policy}
    return weir(policies={"p": {"rate": rate, **policy}}, **{"use": ["p"], "serve": True, **more})


def in_a_window(seconds, work):
    """What work() found at the beginning of a window; one that ended meanwhile, on a busy machine, does not count."""
    while True:
        time.sleep(seconds - time.time() % seconds + 0.03)
        window, got = time.time() // seconds, work()
        if time.time() // seconds == window:
            return got


def refusal(w, **more):
    """The first answer that is one: when it was asked for, when it was there, and what it says of how long it is until the next passes."""
    while True:
        asked, r = time.time(), w.fetch(**more)
        if r.status == 429:
            return asked, time.time(), int(r.get("retry-after-ms")) / 1000


# ---- windows

def test_a_fixed_window_starts_anew_at_its_boundary(weir):
    w = limited(weir, "3/2s", algorithm="fixed-window")
    for _ in range(2):
        got, (asked, _, ms) = in_a_window(2, lambda: (w.statuses(4), refusal(w)))
        assert got == [200, 200, 200, 429] and 0 < ms <= 2 - asked % 2 + 0.01


def test_what_a_fixed_window_says_is_true(weir):
    w = limited(weir, "1/1s", algorithm="fixed-window")
    asked, told, wait = refusal(w)
    last = asked
    while (status := (begun := time.time()) and w.fetch().status) == 429:
        last = begun
    assert status == 200 and last <= told + wait + 0.01 and time.time() >= asked + wait - 0.01


def test_a_sliding_window_gives_back_what_has_slid_out(weir):
    w, keys = limited(weir, "4/2s", algorithm="sliding-window", key="path"), map(str, range(99))
    path, got, (asked, told, wait) = in_a_window(2, lambda: (p := "/" + next(keys), w.statuses(5, p), refusal(w, target=p)))
    assert got == [200] * 4 + [429] and abs(asked % 2 + wait - 2.5) < 0.01 + told - asked  # the window's end, and a quarter of the next
    time.sleep(max(0, told + wait - time.time()))
    assert w.fetch(path).status == 200
    assert w.fetch(path).status == 429 or time.time() > asked + wait + 0.5  # time for another


@pytest.mark.parametrize("algorithm, window, reset", [("token-bucket", 60, "60"), ("fixed-window", 60, None),
                                                      ("sliding-window", 60, None)])
def test_what_answers_tell(weir, algorithm, window, reset):
    w = limited(weir, "1/m", algorithm=algorithm, headers=True)
    first, second = w.fetch(), w.fetch()
    if second.status == 200:  # the minute has just ended
        first, second = second, w.fetch()
    assert first.get("ratelimit-policy") == second.get("ratelimit-policy") == f'"p";q=1;w={window}'
    assert first.get("ratelimit").startswith('"p";r=0;t=') and first.get("x-ratelimit-limit") == "1"
    t = int(second.get("ratelimit").rpartition("=")[2])
    assert second.status == 429 and t <= int(second.get("retry-after")) <= 121
    assert reset is None or first.get("x-ratelimit-reset") == reset


# ---- several rates

def test_of_several_rates_a_call_needs_them_all(weir):
    w, begun = limited(weir, ["2/s", "3/h"]), time.monotonic()
    assert w.statuses(3) == [200, 200, 429] or time.monotonic() - begun > 0.5
    r = until(lambda: (r := w.fetch()).status == 429 and int(r.get("retry-after")) > 1000 and r, "the other refuses")
    assert w.upstream.requests == 3
    assert r.get("ratelimit-policy") == '"p";q=3;w=3600' and r.get("x-should-retry") == "false"


def test_refused_by_one_of_them_has_paid_none(weir):
    w = limited(weir, ["1/1s", "3/30d"], algorithm="fixed-window")
    until(lambda: w.statuses(9).count(429) >= 8 and w.upstream.requests == 3, "one in each of three windows")
    until(lambda: int(w.fetch().get("retry-after", 0)) > 1, "those of the longer one are spent")
    assert w.upstream.requests == 3


def test_overrides_may_have_several_too(weir):
    w = limited(weir, "1/h", key="header.x-k", overrides=[{"match": "gold", "rate": ["5/m", "7/h"]}])
    assert w.statuses(2, headers={"x-k": "lead"}) == [200, 429]
    assert w.statuses(6, headers={"x-k": "gold"}) == [200] * 5 + [429]


# ---- costs

def test_a_cost(weir):
    w = limited(weir, "1/m", burst=10, cost=4)
    assert w.statuses(3) == [200, 200, 429]


@pytest.mark.parametrize("says, left", [("4", 6), ("1", 9), ("0", 9), ("-3", 9), ("x", 9), ("", 9), ("1.5", 9), ("10", 0)])
def test_a_cost_in_a_header(weir, says, left):
    w = limited(weir, "1/h", burst=10, cost="header.x-cost", headers=True)
    assert w.fetch(headers={"X-Cost": says}).get("x-ratelimit-remaining") == str(left)


@pytest.mark.parametrize("says", ["11", "999999999999999999999"])
def test_a_cost_that_never_passes(weir, says):
    w = limited(weir, "1/m", burst=10, cost="header.x-cost")
    r = w.fetch(headers={"X-Cost": says})
    assert r.status == 429 and r.get("x-should-retry") == "false"
    assert w.statuses(11) == [200] * 10 + [429]


# ---- trials

def test_a_share_of_the_keys_is_refused_and_always_the_same(weir):
    w = limited(weir, "1/h", key="header.x-k", enforce="30%")
    keys = [f"k{i}" for i in range(200)]
    first = [w.statuses(2, headers={"x-k": k})[1] for k in keys]
    assert 30 < first.count(429) < 90 and set(first) == {200, 429}
    assert [w.statuses(1, headers={"x-k": k})[0] for k in keys] == first
    assert w.metric("weir_limit_decisions_total", policy="p", decision="shadow_deny") == 2 * first.count(200)


def test_who_is_in_stays_in_when_the_share_grows(weir):
    w = limited(weir, "1/h", key="header.x-k", enforce="20%")
    keys = [f"k{i}" for i in range(60)]
    before = {k for k in keys if w.statuses(2, headers={"x-k": k})[1] == 429}
    w.reload(policies={"p": {"rate": "1/h", "key": "header.x-k", "enforce": "60%"}})
    after = {k for k in keys if w.statuses(1, headers={"x-k": k})[0] == 429}
    assert before < after and len(after) < 60


# ---- delays

def times_of(upstream_times):
    return lambda r: upstream_times.append((time.monotonic(), r.path)) or response(200)


def test_shaped_calls_come_out_evenly_and_in_order(weir):
    seen = []
    w = limited(weir, "10/s", burst=1, wait="3s", serve=times_of(seen))

    def evenly():
        """None is sooner than its turn; on a busy machine some may be later, and two at once."""
        seen.clear()
        begun, clients = time.monotonic(), [w.client().ask(f"/{i}") for i in range(12) if not time.sleep(0.005)]
        [c.expect(200) for c in clients]
        assert all(t >= begun + 0.1 * i - 0.002 for i, (t, _) in enumerate(sorted(seen)))
        gaps = [b[0] - a[0] for a, b in zip(seen, seen[1:])]
        return [p for _, p in seen] == [f"/{i}" for i in range(12)] and abs(sum(gaps) - 1.1) < 0.05 and min(gaps) > 0.06

    until(evenly, "evenly and in order", timeout=5 * harness.TIMEOUT)


def test_a_full_queue_refuses(weir):
    w = limited(weir, "1/2s", burst=1, wait="10s", queue=2, headers=True)
    w.fetch()
    waiting = [w.client().ask() for _ in range(2)]
    w.wait_metric("weir_queue_length", 2, policy="p")
    r = w.fetch()
    assert r.status == 429 and 0 < int(r.get("retry-after-ms")) <= 2000
    assert [c.expect().status for c in waiting] == [200, 200]
    assert w.metric("weir_queue_length", policy="p") == 0
    assert w.metric("weir_queue_wait_seconds_count", policy="p") == 2


def test_a_wait_too_long_is_refused(weir):
    w, begun = limited(weir, "1/2s", burst=1, wait="3s"), time.monotonic()
    w.fetch()
    waiting = w.client().ask()
    w.wait_metric("weir_queue_length", 1, policy="p")
    r = w.fetch()
    assert r.status == 429 and 1000 - 1000 * (time.monotonic() - begun) <= int(r.get("retry-after-ms")) <= 1000
    waiting.expect(200)


def test_a_wait_beyond_the_calls_own_time_is_refused_at_once(weir):
    w, begun = limited(weir, "1/2s", burst=1, wait="30s", route={"timeout": "1s"}), time.monotonic()
    w.fetch()
    r = w.fetch()
    assert r.status == 429 and 1000 - 1000 * (time.monotonic() - begun) <= int(r.get("retry-after-ms")) <= 1001
    assert w.metric("weir_queue_length", policy="p") == 0


def test_who_goes_away_leaves_its_place(weir):
    w = limited(weir, "1/2s", burst=1, wait="10s", queue=1)
    w.fetch()
    gone = w.client().ask("/gone")
    w.wait_metric("weir_queue_length", 1, policy="p")
    assert w.fetch().status == 429
    gone.reset()
    w.wait_metric("weir_queue_length", 0, policy="p")
    w.client().ask("/next").expect(200)
    assert w.upstream.requests == 2


def test_who_goes_away_from_the_middle_changes_nobodys_turn(weir):
    seen = []
    w, begun = limited(weir, "1/s", burst=1, wait="10s", serve=times_of(seen)), time.monotonic()
    w.fetch("/0")
    clients = []
    for i in range(1, 4):
        clients.append(w.client().ask(f"/{i}"))
        w.wait_metric("weir_queue_length", i, policy="p")
    clients[1].reset()
    clients[0].expect(200)
    clients[2].expect(200)
    assert [p for _, p in seen] == ["/0", "/1", "/3"] and seen[2][0] - begun > 2.9


def test_nobody_is_delayed_who_will_be_refused_anyway(weir):
    w = weir(policies={"slow": {"rate": "1/s", "burst": 1, "wait": "60s"}, "few": {"rate": "1/h", "key": "path"}},
             use=["slow", "few"], serve=True)
    assert w.fetch("/a").status == 200
    begin = time.monotonic()
    for _ in range(9):
        w.fetch("/a").check_fields({"x-ratelimit-limit": "1", "retry-after": re.compile("^3[56]..$")})
    assert w.fetch("/b").status == 200
    assert time.monotonic() - begin < 6  # nine have waited for nothing, and have left it the first turn


def test_a_delay_is_a_delay_in_the_log(weir):
    w, begun = limited(weir, "1/2s", burst=1, wait="5s"), time.monotonic()
    w.statuses(2)
    took, line = time.monotonic() - begun, w.access(2)[1]
    assert 2 + line["duration"] - took - 0.002 < line["duration.queue"] <= line["duration"]


# ---- tries

def test_every_try_pays(weir):
    answers = iter([response(503)] * 2 + [response(200)] * 9)
    w = weir(policies={"p": {"rate": "1/h", "burst": 5, "charge": "attempt", "headers": True},
                       "again": {"retry": 2, "when": ["503"], "backoff": {"base": "1ms", "max": "1ms"}}},
             use=["p", "again"], serve=lambda r: next(answers))
    assert w.fetch().status == 200 and w.upstream.requests == 3
    assert w.fetch().get("x-ratelimit-remaining") == "1"
    assert w.metric("weir_limit_decisions_total", policy="p", decision="allow") == 4


def test_a_try_that_cannot_pay_is_not_made(weir):
    w = weir(policies={"p": {"rate": "1/h", "burst": 2, "charge": "attempt"},
                       "again": {"retry": 5, "when": ["503"], "backoff": {"base": "1ms", "max": "1ms"}}},
             use=["p", "again"], serve=lambda r: response(503, b"its own"))
    assert w.fetch().body == b"its own" and w.upstream.requests == 2
    assert w.metric("weir_retries_suppressed_total", route="app", reason="refused") == 1


def test_what_no_policy_asked_for_is_free(weir):
    w = weir(policies={"p": {"rate": "1/h", "burst": 2, "charge": "attempt"}}, use=["p"])
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.answer(200)
    c.expect(200)
    kept = w.upstream.wire
    c.ask()
    kept.read_request()
    kept.close()
    w.upstream.accept()
    w.upstream.expect_request()
    w.upstream.answer(200, b"again")
    c.expect(200, b"again")


def test_by_default_tries_are_free(weir):
    answers = iter([response(503)] * 2 + [response(200)] * 9)
    w = weir(policies={"p": {"rate": "1/h", "burst": 2},
                       "again": {"retry": 2, "when": ["503"], "backoff": {"base": "1ms", "max": "1ms"}}},
             use=["p", "again"], serve=lambda r: next(answers))
    assert w.statuses(3) == [200, 200, 429]


# ---- reloads, and many at once

@pytest.mark.parametrize("first", ["token-bucket", "sliding-window", "fixed-window"])
@pytest.mark.parametrize("second", ["token-bucket", "sliding-window", "fixed-window"])
def test_another_algorithm_keeps_the_share(weir, first, second):
    def rate(n, algorithm):
        return {"p": {"rate": f"{n}/d", "algorithm": algorithm, **({"burst": n} if algorithm[0] == "t" else {})}}

    w = weir(policies=rate(10, first), use=["p"], serve=True)
    assert w.statuses(6) == [200] * 6
    w.reload(policies=rate(20, second))
    assert w.statuses(9) == [200] * 8 + [429]


@pytest.mark.parametrize("algorithm", ["token-bucket", "sliding-window", "fixed-window"])
def test_workers_let_in_exactly_the_limit_together(weir, algorithm):
    burst = {"burst": 100} if algorithm == "token-bucket" else {}
    w = limited(weir, ["100/d", "150/7d"], algorithm=algorithm, workers=4, **({"burst": [100, 150]} if burst else {}))
    got = sum(parallel(8, lambda i: w.statuses(40)), [])
    assert got.count(200) == 100 and got.count(429) == 220


def test_workers_share_one_queue(weir):
    seen, lock = [], threading.Lock()

    def serve(r):
        with lock:
            seen.append(time.monotonic())
        return response(200)

    w = limited(weir, "20/s", burst=1, wait="5s", workers=4, serve=serve)

    def as_one():
        seen[:] = [time.monotonic()]
        assert sum(parallel(10, lambda i: w.statuses(2)), []) == [200] * 20
        assert max(seen) - seen[0] > 0.94
        return max(seen) - seen[0] < 1.2

    until(as_one, "no slower than by one worker", timeout=5 * harness.TIMEOUT)
    until(lambda: w.metric("weir_queue_length", policy="p") == 0, "nobody is delayed any more")


# ---- what a refusal says

def test_the_wait_is_the_breakers_where_that_is_longer(weir):
    w = weir(policies={"p": {"rate": "6/m", "burst": 3}, "guard": {"breaker": 3, "open_for": "20s", "failures": "5xx"}},
             use=["p", "guard"], serve=lambda r: response(500))
    assert w.statuses(3) == [500] * 3
    r = w.fetch()
    assert r.status == 429 and int(r.get("retry-after")) > 10


def test_the_status_of_a_refusal_may_be_set(weir):
    w = weir(policies={"p": {"rate": "1/h", "status": 503}}, use=["p"], serve=True)
    assert w.fetch().status == 200
    r = w.fetch()
    assert r.status == 503 and int(r.get("retry-after")) > 3000 and r.json()["status"] == 503

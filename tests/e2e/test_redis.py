"""Limits that replicas share through a real Redis: what they let in together, what becomes of calls when it is gone."""

import collections
import socket
import time

import pytest

import harness
import redis_server
from harness import TIMEOUT, until
from redis_server import fallbacks, redis, share, turns, up  # noqa: F401 (redis is a fixture)

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="redis-server is not installed")


STRICT = [
    {"rate": "10/h", "burst": 10},
    {"rate": "10/h", "burst": None, "algorithm": "sliding-window"},
    {"rate": "10/m", "burst": None, "algorithm": "fixed-window"},
    {"rate": "10/d", "burst": None, "algorithm": "fixed-window"},
]


# ---- what they let in together

@pytest.mark.parametrize("policy", STRICT, ids=lambda p: p.get("algorithm", "token-bucket") + " " + p["rate"])
def test_two_replicas_share_a_limit_exactly(weir, redis, policy):
    if "fixed" in policy.get("algorithm", "") and policy["rate"].endswith("m") and time.time() % 60 > 50:
        time.sleep(11)  # not over the end of a window
    both = share(weir, redis(), share="strict", section={"timeout": "1s"}, **policy)
    assert collections.Counter(turns(both, 40)) == {200: 10, 429: 30}


def test_strict_is_exact_for_calls_at_once(weir, redis):
    both = share(weir, redis(), share="strict", burst=50, section={"timeout": "1s"}, workers=2)
    got = harness.parallel(16, lambda i: both[i % 2].statuses(20))
    assert sum(s.count(200) for s in got) == 50


def test_a_small_limit_is_exact_by_itself(weir, redis):
    both = share(weir, redis(), section={"timeout": "1s"})
    assert turns(both, 40).count(200) == 10


def test_leases_stay_within_their_bound(weir, redis):
    server = redis()
    both = share(weir, server, rate="1000/h", burst=1000, section={"timeout": "1s"})
    got = harness.parallel(8, lambda i: both[i % 2].statuses(200))
    admitted = sum(s.count(200) for s in got)
    assert 950 <= admitted <= 1000 + 50 + 5
    sent = sum(w.metric("weir_redis_operations_total", result="ok") for w in both)
    assert sent <= 0.5 * 1600
    assert sum(w.metric("weir_redis_fallback_decisions_total") for w in both) == 0


def test_each_key_has_its_own(weir, redis):
    both = share(weir, redis(), share="strict", burst=2, key="header.x-user", section={"timeout": "1s"})
    for user in ("ann", "bob"):
        assert turns(both, 6, headers={"X-User": user}).count(200) == 2
    assert turns(both, 6).count(200) == 2  # those without


def test_a_key_that_is_shared_is_shown_and_not_reset(weir, redis):
    w = share(weir, redis(), share="strict", burst=2, key="header.x-user", section={"timeout": "1s"})[0]
    w.fetch(headers={"X-User": "ann"})
    (limit,), target = w.admin("/limits").json()["limits"], f"/limits/{w.admin('/limits').json()['limits'][0]['policy']}/key?value=ann"
    until(lambda: (got := w.admin(target).json())["remaining"] == 1 and got["shared"], "what it knows of ann")
    r = w.admin(target, method="DELETE")
    assert r.status == 409 and b"overrides" in r.body and limit["shared"] and not limit["resettable"]


def test_names_in_redis_tell_nothing(weir, redis):
    server = redis()
    both = share(weir, server, share="strict", key=["client.ip", "header.x-user"], section={"timeout": "1s"})
    turns(both, 4, headers={"X-User": "margaret"})
    names = server.limits()
    assert len(names) == 1 and names[0].startswith("rl:{weir:")
    assert "margaret" not in names[0] and "127.0" not in names[0]
    assert server.ask("PTTL", names[0]) > 0  # it goes by itself


def test_several_rates_are_taken_together(weir, redis):
    both = share(weir, redis(), rate=["5/h", "100/d"], burst=[5, 100], share="strict", section={"timeout": "1s"})
    assert turns(both, 12).count(200) == 5


def test_what_a_later_limit_refuses_is_given_back(weir, redis):
    server = redis()
    w = weir(policies={"first": {"rate": "1/h", "burst": 3, "store": "redis", "share": "strict"},
                       "second": {"rate": "1/h", "burst": 1, "key": "path"}},
             use=["first", "second"], redis={"url": server.url(), "timeout": "1s"}, serve=True)
    until(lambda: up(w))
    assert w.statuses(3, "/a") == [200, 429, 429]
    assert w.statuses(1, "/b") + w.statuses(1, "/c") == [200, 200]
    assert w.statuses(1, "/d") == [429]


def test_headers_tell_what_is_left(weir, redis):
    both = share(weir, redis(), share="strict", burst=3, headers=True, section={"timeout": "1s"})
    left = [both[i % 2].fetch() for i in range(4)]
    assert [r.get("x-ratelimit-remaining") for r in left] == ["2", "1", "0", "0"]
    assert left[3].status == 429 and int(left[3].get("retry-after")) > 100


def test_a_trial_refuses_nobody_and_waits_for_nothing(weir, redis):
    both = share(weir, redis(), share="strict", burst=2, shadow=True)
    assert turns(both, 8) == [200] * 8
    assert sum(w.metric("weir_limit_decisions_total", decision="shadow_deny") for w in both) > 0


# ---- without Redis

WITHOUT = [("allow", {200}), ("deny", {503}), ("local", {200, 429})]


@pytest.mark.parametrize("mode, statuses", WITHOUT, ids=[m for m, _ in WITHOUT])
def test_redis_stopped(weir, redis, mode, statuses):
    server = redis()
    both = share(weir, server, share="strict", rate="36000/h", burst=20, on_error=mode, section={"timeout": "100ms"})
    until(lambda: turns(both, 4) == [200] * 4, "all are counted there")
    server.stop()
    try:
        until(lambda: not any(up(w) for w in both) or turns(both, 2) is None, "seen that it is gone")
        begin = time.monotonic()
        got = turns(both, 30)
        assert time.monotonic() - begin < TIMEOUT / 2
        assert set(got) <= statuses
        assert sum(w.metric("weir_redis_fallback_decisions_total", policy="p", mode=mode) for w in both) > 0
        if mode == "deny":
            r = both[0].fetch()
            assert int(r.get("retry-after")) >= 1 and r.get("x-ratelimit-limit") is None
    finally:
        server.go_on()
    until(lambda: all(up(w) for w in both), "it is back")
    until(lambda: (before := fallbacks(both), got := turns(both, 20)) and 200 in got and fallbacks(both) == before, "counted there again")
    for w in both:
        said = [x for x in w.stderr().splitlines() if "redis" in x]
        assert 2 <= len(said) <= 8, said


def test_a_stop_does_not_refill(weir, redis):
    server = redis()
    both = share(weir, server, share="strict", burst=10, section={"timeout": "500ms"})
    assert turns(both, 20).count(200) == 10
    server.stop()
    until(lambda: not any(up(w) for w in both) or turns(both, 2) is None)
    assert turns(both, 20).count(200) == 0
    server.go_on()
    until(lambda: all(up(w) for w in both))
    assert turns(both, 20).count(200) == 0


def test_redis_killed_and_started_empty(weir, redis):
    server = redis()
    both = share(weir, server, share="strict", burst=10, section={"timeout": "500ms"})
    assert turns(both, 20).count(200) == 10
    server.kill()
    until(lambda: not any(up(w) for w in both) or turns(both, 2) is None)
    assert turns(both, 10).count(200) == 0
    server.start()
    until(lambda: all(up(w) for w in both), timeout=3 * TIMEOUT)
    assert turns(both, 20).count(200) <= 10  # all that can be lost, once


def test_scripts_forgotten(weir, redis):
    server = redis()
    both = share(weir, server, share="strict", burst=10, section={"timeout": "1s"})
    got = turns(both, 4)
    server.ask("SCRIPT", "FLUSH")
    got += turns(both, 20)
    assert got.count(200) == 10
    assert all(up(w) for w in both)


def test_no_call_waits_for_a_connect(weir):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(8)
        begin = time.monotonic()
        w = weir(policies={"p": {"rate": "100/s", "store": "redis", "share": "strict", "on_error": "allow"}},
                 use=["p"], redis={"url": f"redis://127.0.0.1:{mute.getsockname()[1]}", "connect_timeout": "3s"},
                 serve=True)
        w.allow(r"redis")
        assert time.monotonic() - begin < 12
        begin = time.monotonic()
        assert w.statuses(50) == [200] * 50
        assert time.monotonic() - begin < 2.5
        assert not up(w)


def test_a_client_that_goes_while_its_call_waits(weir, redis):
    server = redis()
    both = share(weir, server, share="strict", burst=10, on_error="allow", section={"timeout": "1s"}, store_wait="900ms")
    server.stop()
    waiting = [both[i % 2].client().ask() for i in range(6)]
    time.sleep(0.1)
    for c in waiting[:3]:
        c.close()
    server.go_on()
    assert [c.expect().status for c in waiting[3:]] == [200] * 3
    assert turns(both, 20).count(200) >= 4  # the three have paid, or have not


# ---- by password, by name, over reloads

def test_password_and_name(weir, redis):
    server = redis(password="open sesame")
    w = weir(policies={"p": {"rate": "10/h", "burst": 3, "store": "redis", "share": "strict"}}, use=["p"], serve=True,
             redis={"url": f"redis://localhost:{server.port}", "password": "open sesame", "timeout": "1s"})
    until(lambda: up(w))
    assert w.statuses(5) == [200] * 3 + [429] * 2


def test_a_reload_keeps_what_was_spent(weir, redis):
    both = share(weir, redis(), share="strict", burst=10, section={"timeout": "1s"})
    policy = both[0].sections["policies"]["p"]
    assert turns(both, 5).count(200) == 5
    for w in both:
        w.reload(policies={"p": {**policy, "burst": 12}})
    assert turns(both, 20).count(200) == 6  # half of it, as of limits that are counted here


def test_another_rate_reaches_who_is_being_refused(weir, redis):
    w = share(weir, redis(), n=1, share="strict", rate="1/h", burst=1, section={"timeout": "1s"})[0]
    policy = w.sections["policies"]["p"]
    assert w.statuses(2) == [200, 429]
    w.reload(policies={"p": {**policy, "rate": "20/s", "burst": 20}})
    until(lambda: w.statuses(1) == [200])


def test_a_reload_that_fails_changes_no_limit(weir, redis):
    both = share(weir, redis(), share="strict", burst=10, section={"timeout": "1s"})
    policy = both[0].sections["policies"]["p"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        both[0].reload(policies={"p": {**policy, "burst": 5}}, good=False,
                       listen=[both[0].addr, f"127.0.0.1:{taken.getsockname()[1]}"])
        both[0].allow(r"failed|error")
    assert turns(both, 20).count(200) == 10


def test_another_redis_needs_a_restart(weir, redis):
    server = redis()
    w = share(weir, server, n=1)[0]
    w.allow(r"failed|error")
    w.reload(redis={"url": server.url(), "timeout": "5ms"}, good=False)
    assert "a changed `redis` needs a restart" in w.stderr()


def test_metrics_are_there_from_the_start(weir, redis):
    w = share(weir, redis(), n=1)[0]
    assert up(w) and w.metric("weir_redis_peers") == 1
    for result in ("ok", "refused", "timeout"):
        assert w.metric("weir_redis_operations_total", result=result) is not None
    assert w.metric("weir_redis_operation_duration_seconds_count") >= 1
    assert w.metric("weir_redis_fallback_decisions_total", policy="p", mode="local") == 0


def test_the_admin_listener_tells_of_it(weir, redis):
    server = redis()
    w = weir(policies={"p": {"rate": "9/h", "store": "redis"}}, use=["p"], redis={"url": server.url()}, serve=True)
    assert w.admin("/health").json()["status"] == "healthy" and w.stats()["redis"]["up"]
    server.kill()
    w.allow("redis")
    until(lambda: w.admin("/health").json()["status"] == "degraded", "redis is missed")
    check = next(c for c in w.admin("/health").json()["checks"] if c["name"] == "redis")
    assert check["message"].startswith("gone") and not w.stats()["redis"]["up"]


def test_a_redis_that_refuses_is_told_of_too(weir, redis):
    server = redis()
    w = weir(policies={"p": {"rate": "900/s", "store": "redis", "share": "strict"}}, use=["p"], redis={"url": server.url()}, serve=True)
    w.fetch()
    server.set("maxmemory", 1)
    w.allow("redis")
    until(lambda: w.fetch() and w.admin("/health").json()["status"] == "degraded", "keys are decided without it")
    server.set("maxmemory", 0)
    until(lambda: w.fetch() and w.admin("/health").json()["status"] == "healthy", "it counts again", timeout=30)

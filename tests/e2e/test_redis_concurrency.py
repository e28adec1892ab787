"""Caps on calls under way that replicas share through a real Redis: together never more, each permit given back once."""

import contextlib
import time

import pytest

import harness
import redis_server
from harness import TIMEOUT, until
from redis_server import fallbacks, redis, up  # noqa: F401 (redis: a fixture)

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="redis-server is not installed")

CAP = 3
LONG = 4 * TIMEOUT  # the time for which permits are held is over


def pair(weir, server, n=2, section=None, serve=False, workers=1, route=None, **policy):
    """n Weirs with one cap `p`, in front of one upstream."""
    p = {"concurrency": CAP, "store": "redis", **policy}
    section = {"url": server.url(), "timeout": "1s", "peers": n, **(section or {})}
    got = []
    for _ in range(n):
        got.append(weir(policies={"p": p}, use=["p"], redis=section, workers=workers, route=route, serve=serve and not got,
                        **({"upstream": got[0].upstream} if got else {})))
    for w in got:
        w.allow(r"redis")
        until(lambda w=w: up(w), "redis is up")
    return got


class Held:
    """A call that has reached the upstream and stays there."""

    def __init__(self, w, target="/", client=None, **more):
        self.client = client or w.client().ask(target, **more)
        self.request = w.upstream.expect_request()

    def end(self):
        self.request.wire.answer()
        self.client.expect(200)


def hold(weirs, n=CAP):
    """n calls under way, each at the next of them."""
    return [Held(weirs[i % len(weirs)]) for i in range(n)]


def full(w, **more):
    """What a call is told that finds no permit."""
    return w.fetch(**more)


def in_use(weirs):
    return sum(w.metric("weir_concurrency_in_use", policy="p") for w in weirs)


def queued(w, n):
    w.wait_metric("weir_queue_length", n, policy="p")


def decided(w):
    """Calls that were let in, and all that were decided."""
    allow, deny = (w.metric("weir_limit_decisions_total", policy="p", decision=d) for d in ("allow", "deny"))
    return allow, allow + deny


def try_one(w):
    """A call that is under way, or None: it was refused."""
    before = decided(w)
    c = w.client().ask()
    until(lambda: decided(w)[1] > before[1], "it is decided")
    if decided(w)[0] > before[0]:
        return Held(w, client=c)
    c.close()
    return None


def lets_in(w, timeout=None):
    """Asks until a call is let in, which stays under way."""
    return until(lambda: try_one(w), "a call is let in", timeout, every=0.1)


def refuses(w, timeout=None):
    """Asks until a call is refused; those before it are answered."""
    def refused():
        held = try_one(w)
        if held is not None:
            held.end()
        return held is None

    until(refused, "a call is refused", timeout, every=0.1)


class Count:
    """An upstream that counts how many calls it has at once."""

    def __init__(self, upstream):
        self.most = self.now = 0
        self.lock = harness.threading.Lock()
        upstream.serve(self.answer)

    def step(self, by):
        with self.lock:
            self.now += by
            self.most = max(self.most, self.now)

    def answer(self, _):
        self.step(1)
        time.sleep(0.005)
        self.step(-1)
        return harness.response(200, b"ok")


def again(weirs, n=CAP):
    """All that there are come free again, and no more."""
    got = [lets_in(weirs[i % len(weirs)]) for i in range(n)]
    if n > 1:
        assert [full(w).status for w in weirs] == [503] * len(weirs)
    for c in got:
        c.end()


# ---- together

def test_two_replicas_share_a_cap(weir, redis):
    both = pair(weir, redis())
    calls = hold(both)
    for w in both:
        r = full(w)
        assert r.status == 503 and r.json()["reason"] == "concurrency_full"
        assert int(r.get("retry-after")) >= 1
    assert in_use(both) == CAP
    for c in calls:
        c.end()
    assert in_use(both) == 0
    again([both[1]])


def test_a_full_key_is_429(weir, redis):
    both = pair(weir, redis(), key="header.x-tenant")
    calls = [Held(both[i % 2], headers={"X-Tenant": "a"}) for i in range(CAP)]
    r = full(both[1], headers={"X-Tenant": "a"})
    assert r.status == 429 and r.json()["reason"] == "concurrency_limited"
    r.check_fields({"ratelimit-policy": '"p";q=3;qu="concurrent-requests"', "x-ratelimit-remaining": "0"})
    calls.append(Held(both[1], headers={"X-Tenant": "b"}))
    for c in calls:
        c.end()


def test_overrides_have_a_cap_of_their_own(weir, redis):
    both = pair(weir, redis(), key="header.x-tenant",
                overrides=[{"match": "vip", "concurrency": 4}, {"match": "free", "concurrency": "unlimited"}])
    calls = [Held(both[i % 2], headers={"X-Tenant": "vip"}) for i in range(4)]
    assert full(both[0], headers={"X-Tenant": "vip"}).status == 429
    calls += [Held(both[0], headers={"X-Tenant": "free"}) for i in range(5)]
    for c in calls:
        c.end()


def test_never_more_under_load(weir, redis):
    both = pair(weir, redis(), workers=2)
    count = Count(both[0].upstream)
    got = sum(harness.parallel(12, lambda i: both[i % 2].statuses(30)), [])
    assert set(got) <= {200, 503} and got.count(200) >= CAP
    assert count.most <= CAP
    until(lambda: in_use(both) == 0)  # another worker counts after it has answered


def test_never_more_while_redis_stops_and_goes(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "50ms"}, on_error="deny", queue={"size": 100, "wait": "60s"})
    count = Count(both[0].upstream)

    over = harness.threading.Event()

    def calls(i):
        got = []
        while i > 0 and not over.is_set():
            got += both[i % 2].statuses(10)
        if i == 0:
            stop_and_go(server, both)
            over.set()
        return got

    assert set(sum(harness.parallel(9, calls), [])) <= {200, 503}
    assert count.most <= CAP
    until(lambda: in_use(both) == 0)
    assert [w.statuses(3) for w in both] == [[200] * 3] * 2


def told(weirs):
    return sum(w.metric("weir_limit_decisions_total", policy="p", decision="shadow_deny") for w in weirs)


def test_a_trial_refuses_nobody(weir, redis):
    both = pair(weir, redis(), shadow=True)
    calls = hold(both, 2 * CAP)
    while len(calls) < 5 * CAP and not told(both):  # what Redis has not answered yet refuses nobody
        calls += hold(both, 2)
    assert told(both) > 0
    for c in calls:
        c.end()
    assert in_use(both) == 0


# ---- given back, once

def test_held_to_the_last_byte(weir, redis):
    both = pair(weir, redis())
    calls = hold(both)
    for c in calls:
        c.request.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        c.client.read_until(b"first\r\n")
    assert [full(w).status for w in both] == [503, 503]
    calls[0].request.wire.send("0\r\n\r\n")
    calls[0].client.read_until(b"0\r\n\r\n")
    again([both[1]], 1)
    for c in calls[1:]:
        c.request.wire.send("0\r\n\r\n")
        c.client.read_until(b"0\r\n\r\n")


def test_websockets_hold_theirs(weir, redis):
    both = pair(weir, redis(), route={"upgrade": True}, concurrency=1)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    c = both[0].client().ask("/ws", headers=upgrade)
    wire = both[0].upstream.expect_request().wire
    wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    c.read_until(b"\r\n\r\n")
    assert full(both[1]).status == 503
    c.close()
    lets_in(both[1]).end()


def test_a_client_that_goes_away(weir, redis):
    both = pair(weir, redis())
    for _ in range(2):
        for c in [lets_in(both[i % 2]) for i in range(CAP)]:
            c.client.reset()
        until(lambda: in_use(both) == 0)


def test_an_upstream_that_fails(weir, redis):
    both = pair(weir, redis())
    for i in range(2 * CAP):
        c = both[i % 2].client().ask(method="POST", body=b"x")
        both[0].upstream.expect_request().wire.reset()
        c.expect(502)
    assert in_use(both) == 0
    again(both)


def test_retries_go_by_one_permit(weir, redis):
    w = pair(weir, redis(), n=1)[0]
    w.reload(policies={**w.sections["policies"], "again": {"retry": 2, "when": [503], "backoff": {"base": "1ms"}}},
             use=["p", "again"])
    c = w.client().ask()
    for _ in range(2):
        w.upstream.expect_request().wire.answer(503)
        assert w.metric("weir_concurrency_in_use", policy="p") <= 1
    w.upstream.expect_request().wire.answer()
    c.expect(200)
    assert in_use([w]) == 0


def test_what_a_later_policy_refuses(weir, redis):
    w = pair(weir, redis(), n=1)[0]
    w.reload(policies={**w.sections["policies"], "none": {"rate": "1/h", "burst": 1}}, use=["p", "none"])
    w.upstream.serve()
    assert w.statuses(10) == [200] + [429] * 9
    assert in_use([w]) == 0


def test_two_caps_of_one_call(weir, redis):
    server = redis()
    p = {"concurrency": 2, "store": "redis"}
    w = weir(policies={"a": p, "b": {**p, "concurrency": 1}}, use=["a", "b"],
             redis={"url": server.url(), "timeout": "1s"})
    until(lambda: up(w))
    c = Held(w)
    assert [full(w).status for _ in range(3)] == [503] * 3
    assert w.metric("weir_concurrency_in_use", policy="a") == 1
    c.end()


def test_a_crash_frees_its_permits(weir, redis):
    both = pair(weir, redis())
    calls = hold([both[0]])
    assert full(both[1]).status == 503
    both[0].kill()
    for c in calls:
        c.client.close()
        c.request.wire.close()
    lets_in(both[1], LONG).end()


def test_a_drain_gives_all_back(weir, redis):
    server = redis()
    both = pair(weir, server)
    calls = hold([both[0]])
    both[0].signal(harness.signal.SIGTERM)
    for c in calls:
        c.end()
    both[0].wait_exit()
    assert sum(server.held()) == 0
    got = [lets_in(both[1]) for _ in range(CAP)]
    assert full(both[1]).status == 503
    for c in got:
        c.end()


# ---- the queue

def test_served_when_the_other_replica_is_done(weir, redis):
    both = pair(weir, redis(), concurrency=1, queue={"size": 2, "wait": "60s"})
    first = Held(both[0])
    later = both[1].client().ask("/later", body=b"waits")
    queued(both[1], 1)
    first.end()
    both[0].upstream.expect_request("POST /later", body=b"waits").wire.answer(body=b"late")
    later.expect(200, b"late")
    assert both[1].metric("weir_queue_wait_seconds_count", policy="p") == 1


def test_served_when_one_here_is_done(weir, redis):
    w = pair(weir, redis(), n=1, concurrency=1, queue={"size": 2, "wait": "60s"})[0]
    first = Held(w)
    later = w.client().ask("/later")
    queued(w, 1)
    first.end()
    w.upstream.expect_request("GET /later").wire.answer()
    later.expect(200)


@pytest.mark.parametrize("key, status", [(None, 503), ("client.ip", 429)])
def test_a_wait_that_is_over(weir, redis, key, status):
    both = pair(weir, redis(), concurrency=1, queue={"size": 2, "wait": "200ms"}, **({"key": key} if key else {}))
    first = Held(both[0])
    assert full(both[1]).status == status
    queued(both[1], 0)
    assert both[1].metric("weir_queue_wait_seconds_count", policy="p") == 1
    first.end()


def test_a_full_queue_refuses_and_who_leaves_frees_its_place(weir, redis):
    both = pair(weir, redis(), concurrency=1, queue={"size": 1, "wait": "60s"})
    first = Held(both[0])
    gone = both[1].client().ask("/gone")
    queued(both[1], 1)
    assert full(both[1]).status == 503
    gone.reset()
    queued(both[1], 0)
    later = both[1].client().ask("/later")
    queued(both[1], 1)
    first.end()
    both[0].upstream.expect_request("GET /later").wire.answer()
    later.expect(200)


def test_priority(weir, redis):
    both = pair(weir, redis(), concurrency=1, queue={"size": 2, "wait": "60s", "priority": "header.priority"})
    first = Held(both[0])
    idle = both[1].client().ask("/idle", headers={"Priority": "u=7"})
    queued(both[1], 1)
    usual = both[1].client().ask("/usual")
    queued(both[1], 2)
    urgent = both[1].client().ask("/urgent", headers={"Priority": "u=0"})
    idle.expect(503)
    first.end()
    for c, target in ((urgent, "urgent"), (usual, "usual")):
        both[0].upstream.expect_request(f"GET /{target}").wire.answer()
        c.expect(200)


def test_no_replica_starves_in_the_queue(weir, redis):
    both = pair(weir, redis(), concurrency=1, queue={"size": 100, "wait": "60s"}, serve=True)
    assert all(s == [200] * 10 for s in harness.parallel(6, lambda i: both[i % 2].statuses(10)))
    assert in_use(both) == 0
    for w in both:
        queued(w, 0)


def test_workers_share_the_queue(weir, redis):
    both = pair(weir, redis(), queue={"size": 1000, "wait": "60s"}, workers=2)
    count = Count(both[0].upstream)
    assert all(s == [200] * 25 for s in harness.parallel(16, lambda i: both[i % 2].statuses(25)))
    assert count.most == CAP
    until(lambda: in_use(both) == 0)


def test_a_drain_ends_the_wait(weir, redis):
    w = pair(weir, redis(), n=1, concurrency=1, queue={"size": 5, "wait": "60s"})[0]
    first = Held(w)
    later = w.client().ask("/later")
    queued(w, 1)
    w.signal(harness.signal.SIGTERM)
    first.end()
    w.upstream.expect_request("GET /later").wire.answer()
    later.expect(200)
    assert w.wait_exit() == 0


# ---- without Redis

@contextlib.contextmanager
def stopped(server, weirs):
    """Stopped, and the Weirs have seen it."""
    server.stop()
    try:
        until(lambda: not any(up(w) for w in weirs), "seen that it is gone", LONG)
        yield
    finally:
        server.go_on()


def stop_and_go(server, weirs):
    """For longer than its timeout, and shorter."""
    for seconds in (0.1, 0.3, 1, 0.02):
        server.stop()
        time.sleep(seconds)
        server.go_on()
        until(lambda: all(up(w) for w in weirs), timeout=LONG)


def test_redis_stopped_local(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "500ms"})
    calls = hold(both)  # two here, one there
    with stopped(server, both):
        assert [full(w).status for w in both] == [503, 503]
        for c in calls:
            c.end()
        got = [lets_in(w, LONG) for w in both]
        for w in both:  # what it held has ended: an even share of three for two is one
            refuses(w, LONG)
        assert fallbacks(both, policy="p", mode="local") > 0
    until(lambda: all(up(w) for w in both), timeout=LONG)
    until(lambda: in_use(both) == 2)
    got.append(lets_in(both[0]))
    refuses(both[1])
    for c in got:
        c.end()


def test_redis_stopped_allow(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "500ms"}, on_error="allow")
    with stopped(server, both):
        calls = hold(both, 4 * CAP)
        assert fallbacks(both, policy="p", mode="allow") > 0
    until(lambda: all(up(w) for w in both), timeout=LONG)
    for w in both:
        refuses(w)
    for c in calls:
        c.end()
    assert in_use(both) == 0
    again(both)


def test_redis_stopped_deny(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "500ms"}, on_error="deny")
    first = Held(both[0])
    with stopped(server, both):
        r = full(both[1])
        assert r.status == 503 and r.json()["reason"] == "store_unavailable"
        assert int(r.get("retry-after")) >= 1
        assert fallbacks(both, policy="p", mode="deny") > 0
        assert both[1].metric("weir_rejections_total", policy="p", reason="store_unavailable") == 1
        assert both[1].access(1)[0]["reason"] == "store_unavailable"
        first.end()
    until(lambda: all(up(w) for w in both), timeout=LONG)
    lets_in(both[1]).end()


def test_redis_stopped_while_calls_wait(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "500ms"}, concurrency=1, queue={"size": 4, "wait": "60s"})
    first = Held(both[0])
    later = [w.client().ask(f"/{i}") for i, w in enumerate(both)]
    for w in both:
        queued(w, 1)
    with stopped(server, both):
        first.end()  # the permit is still its own: it goes on here
        both[0].upstream.expect_request("GET /0").wire.answer()
        later[0].expect(200)
        # and there an even share, one at least, when others' time is over
        both[1].wait_metric("weir_queue_length", 0, timeout=LONG, policy="p")
        both[0].upstream.expect_request("GET /1").wire.answer()
        later[1].expect(200)


def test_redis_stopped_turns_away_who_waits_with_deny(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "500ms"}, concurrency=1, on_error="deny",
                queue={"size": 4, "wait": "60s"})
    first = Held(both[0])
    later = both[1].client().ask("/later")
    queued(both[1], 1)
    with stopped(server, both):
        assert later.expect(503).json()["reason"] == "store_unavailable"
        first.end()


def test_redis_killed_and_started_empty(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "500ms"})
    calls = hold(both)
    server.kill()
    until(lambda: not any(up(w) for w in both), timeout=LONG)
    server.start()
    until(lambda: all(up(w) for w in both), timeout=LONG)
    until(lambda: sum(server.held()) == CAP, "told anew")
    assert [full(w).status for w in both] == [503, 503]
    for c in calls:
        c.end()
    again(both)


def test_scripts_forgotten(weir, redis):
    server = redis()
    both = pair(weir, server)
    server.ask("SCRIPT", "FLUSH")
    calls = hold(both)
    assert [full(w).status for w in both] == [503, 503]
    for c in calls:
        c.end()


def test_started_without_redis(weir, redis):
    server = redis()
    server.kill()
    w = weir(policies={"p": {"concurrency": 1, "store": "redis"}}, use=["p"], redis={"url": server.url()})
    w.allow(r"redis")
    first = Held(w)  # as far as it knows it is alone
    assert full(w).status == 503
    server.start()
    until(lambda: up(w), timeout=LONG)
    until(lambda: server.held() == [1])
    first.end()


# ---- reloads

def test_a_changed_cap_counts_those_under_way(weir, redis):
    both = pair(weir, redis())
    p = both[0].sections["policies"]["p"]
    calls = hold(both)
    for w in both:
        w.reload(policies={"p": {**p, "concurrency": CAP + 1}})
    calls += hold(both, 1)
    assert [full(w).status for w in both] == [503, 503]
    for w in both:
        w.reload(policies={"p": {**p, "concurrency": 2}})
    for c in calls[:2]:
        c.end()
    assert [full(w).status for w in both] == [503, 503]
    for c in calls[2:]:
        c.end()
    again(both, 2)


def test_a_raised_cap_lets_in_who_waits(weir, redis):
    both = pair(weir, redis(), concurrency=1, queue={"size": 4, "wait": "60s"})
    p = both[0].sections["policies"]["p"]
    first = Held(both[0])
    later = both[1].client().ask("/later")
    queued(both[1], 1)
    for w in both:
        w.reload(policies={"p": {**p, "concurrency": 2}})
    both[0].upstream.expect_request("GET /later").wire.answer()
    later.expect(200)
    first.end()


def test_from_local_to_redis_and_back(weir, redis):
    both = pair(weir, redis())
    shared = both[0].sections["policies"]["p"]
    calls = hold(both)
    both[0].reload(policies={"p": {"concurrency": 1}})
    calls.append(Held(both[0]))  # another count
    assert full(both[0]).status == 503
    both[0].reload(policies={"p": shared})
    assert full(both[0]).status == 503
    for c in calls:
        c.end()
    assert in_use(both) == 0
    again(both)


def test_a_policy_that_goes_while_calls_are_under_way(weir, redis):
    both = pair(weir, redis(), queue={"size": 4, "wait": "60s"})
    calls = hold(both)
    later = both[0].client().ask("/later")
    queued(both[0], 1)
    both[0].reload(policies={"other": {"rate": "100/s"}}, use=["other"])
    for c in calls:
        c.end()
    both[0].upstream.expect_request("GET /later").wire.answer()
    later.expect(200)
    for c in [lets_in(both[1], LONG) for _ in range(CAP)]:
        c.end()


# ---- what is seen

def test_metrics_and_the_access_log(weir, redis):
    w = pair(weir, redis(), n=1, queue={"size": 1, "wait": "200ms"})[0]
    for name, value in (("weir_concurrency_limit", CAP), ("weir_concurrency_in_use", 0), ("weir_queue_length", 0),
                        ("weir_queue_wait_seconds_count", 0), ("weir_redis_fallback_decisions_total", 0)):
        assert w.metric(name, policy="p") == value, name
    for reason in ("concurrency_full", "concurrency_limited", "store_unavailable"):
        assert w.metric("weir_rejections_total", policy="p", reason=reason) == 0
    calls = hold([w])
    assert full(w).status == 503
    line = w.access(1)[0]
    assert (line["reason"], line["policy"], line["limit"]) == ("concurrency_full", "p", CAP)
    for c in calls:
        c.end()


def test_what_is_refused_before_it_starts(weir, redis):
    w = pair(weir, redis(), n=1)[0]
    w.allow(r"failed|error")
    for wrong, said in (({"concurrency": "auto", "store": "redis"}, "learns the limit of one replica"),
                        ({"concurrency": 3, "on_error": "deny"}, "is for limits with `store: redis`"),
                        ({"concurrency": 3, "store": "redis", "share": "strict"}, "unknown key `share`")):
        w.reload(policies={"p": wrong}, good=False)
        assert said in w.stderr()

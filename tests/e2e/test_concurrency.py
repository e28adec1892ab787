"""Concurrency limits seen from outside: how long a slot is held, who waits, who is let in, what is counted."""

import re
import time

import pytest

import harness
from harness import until


def limited(weir, n=1, queue=None, **more):
    """A Weir with one limit `p` on its one route; the upstream is answered by hand."""
    extra = {k: more.pop(k) for k in list(more) if k in ("key", "missing", "overrides", "shadow", "min", "max")}
    policy = {"concurrency": n, **({"queue": queue} if queue else {}), **extra}
    return weir(policies={"p": policy}, use=["p"], **more)


def ask(w, target="/", **more):
    """A call that has reached the upstream: client, request."""
    c = w.client().ask(target, **more)
    return c, w.upstream.expect_request()


def queued(w, n):
    w.wait_metric("weir_queue_length", n, policy="p")


# ---- the slot

def test_held_to_the_last_byte(weir):
    w = limited(weir)
    c, r = ask(w)
    r.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    c.read_until(b"first\r\n")
    assert w.fetch().status == 503
    r.wire.send("0\r\n\r\n")
    c.read_until(b"0\r\n\r\n")
    c.ask()
    w.upstream.expect_request().wire.answer()
    c.expect(200)


def test_what_a_full_house_says(weir):
    w = limited(weir)
    c, r = ask(w)
    got = w.fetch()
    got.check_fields({"retry-after": "1", "retry-after-ms": "1000", "ratelimit": None, "x-ratelimit-limit": None})
    assert got.status == 503 and got.json()["reason"] == "concurrency_full"
    assert got.json()["violated-policies"] == ["p"]
    r.wire.answer()
    c.expect(200)


def test_what_a_full_key_says(weir):
    w = limited(weir, 2, key="header.x-tenant")
    calls = [ask(w, headers={"X-Tenant": "a"}) for _ in range(2)]
    got = w.fetch(headers={"X-Tenant": "a"})
    got.check_fields({"retry-after": "1", "ratelimit-policy": '"p";q=2;qu="concurrent-requests"',
                      "ratelimit": '"p";r=0;t=1', "x-ratelimit-limit": "2", "x-ratelimit-remaining": "0"})
    assert got.status == 429 and got.json()["reason"] == "concurrency_limited"
    calls.append(ask(w, headers={"X-Tenant": "b"}))
    for c, r in calls:
        r.wire.answer()
        c.expect(200)


def test_a_client_that_goes_away_gives_its_slot_back(weir):
    w = limited(weir)
    c, _ = ask(w)
    c.reset()
    w.wait_metric("weir_concurrency_in_use", 0, policy="p")
    c, r = ask(w)
    r.wire.answer()
    c.expect(200)


def test_an_upstream_that_fails_gives_the_slot_back(weir):
    w = limited(weir)
    for _ in range(3):
        c, r = ask(w, method="POST", body=b"x")
        r.wire.reset()
        c.expect(502)
    assert w.metric("weir_concurrency_in_use", policy="p") == 0


def test_shadow_refuses_nothing(weir):
    w = limited(weir, shadow=True)
    calls = [ask(w) for _ in range(3)]
    assert w.metric("weir_concurrency_in_use", policy="p") == 1
    assert w.metric("weir_limit_decisions_total", policy="p", decision="shadow_deny") == 2
    for c, r in calls:
        r.wire.answer()
        c.expect(200)


# ---- the queue

def test_served_when_the_first_ends(weir):
    w = limited(weir, queue={"size": 1, "wait": "60s"})
    c, r = ask(w)
    later = w.client().ask("/later", body=b"waits")
    queued(w, 1)
    later.quiet()
    r.wire.answer()
    c.expect(200)
    w.upstream.expect_request("POST /later", body=b"waits").wire.answer(body=b"late")
    later.expect(200, b"late")
    line = w.access(2)[1]
    assert line["duration.queue"] > 0.1 and line["policy"] == "p" and line["limit"] == 1


def test_a_full_queue_refuses(weir):
    w = limited(weir, queue={"size": 1, "wait": "60s"})
    c, r = ask(w)
    later = w.client().ask("/later")
    queued(w, 1)
    assert w.fetch().status == 503
    r.wire.answer()
    w.upstream.expect_request("GET /later").wire.answer()
    later.expect(200)
    c.expect(200)


@pytest.mark.parametrize("key,status,reason", [(None, 503, "concurrency_full"),
                                               ("client.ip", 429, "concurrency_limited")])
def test_a_wait_that_is_over(weir, key, status, reason):
    w = limited(weir, queue={"size": 5, "wait": "200ms"}, **({"key": key} if key else {}))
    c, r = ask(w)
    began = time.monotonic()
    got = w.client().ask("/later").expect(status, retry_after=re.compile(r"^\d+$"))
    assert time.monotonic() - began > 0.19
    assert got.json()["reason"] == reason
    queued(w, 0)
    assert w.metric("weir_queue_wait_seconds_count", policy="p") == 1
    r.wire.answer()
    c.expect(200)


def test_who_leaves_the_queue_frees_its_place(weir):
    w = limited(weir, queue={"size": 1, "wait": "60s"})
    c, r = ask(w)
    gone = w.client().ask("/gone")
    queued(w, 1)
    gone.reset()
    queued(w, 0)
    later = w.client().ask("/later")
    queued(w, 1)
    r.wire.answer()
    c.expect(200)
    w.upstream.expect_request("GET /later").wire.answer()
    later.expect(200)


@pytest.mark.parametrize("order,served", [("fifo", "0123"), ("lifo", "3210")])
def test_order(weir, order, served):
    w = limited(weir, queue={"size": 10, "wait": "60s", "order": order})
    c, r = ask(w)
    waiting = []
    for i in range(4):
        waiting.append(w.client().ask(f"/{i}"))
        queued(w, i + 1)
    for i in served:
        r.wire.answer()
        r = w.upstream.expect_request(f"GET /{i}")
    r.wire.answer()
    for x in (c, *waiting):
        x.expect(200)


def test_priority(weir):
    w = limited(weir, queue={"size": 2, "wait": "60s", "priority": "header.priority"})
    c, r = ask(w)
    idle = w.client().ask("/idle", headers={"Priority": "u=7"})
    queued(w, 1)
    usual = w.client().ask("/usual")
    queued(w, 2)
    urgent = w.client().ask("/urgent", headers={"Priority": "u=0, i"})
    idle.expect(503)  # gives way
    for x, target in ((urgent, "urgent"), (usual, "usual")):
        r.wire.answer()
        r = w.upstream.expect_request(f"GET /{target}")
    r.wire.answer()
    for x in (c, urgent, usual):
        x.expect(200)


def test_a_total_that_ends_in_the_queue(weir):
    w = limited(weir, queue={"size": 5, "wait": "60s"},
                routes=[{"name": "app", "to": "app", "use": ["p"], "match": {"path": "/held"}},
                        {"name": "short", "to": "app", "use": ["p"], "timeout": {"total": "200ms"}}])
    c, r = ask(w, "/held")
    w.client().ask("/short").expect(504)
    queued(w, 0)
    r.wire.answer()
    c.expect(200)
    w.upstream.untouched(0.1)


def test_a_drain_ends_the_wait(weir):
    w = limited(weir, queue={"size": 5, "wait": "60s"}, shutdown={"delay": "0s", "drain": "200ms"})
    c, _ = ask(w)
    later = w.client().ask("/later")
    queued(w, 1)
    w.signal(harness.signal.SIGTERM)
    later.expect_closed(anything=True)
    c.expect_closed(anything=True)
    assert w.wait_exit() == 0


# ---- reload

def test_a_raised_limit_lets_in(weir):
    w = limited(weir, 1, queue={"size": 5, "wait": "60s"})
    calls = [ask(w)]
    waiting = [w.client().ask(f"/{i}") for i in range(2)]
    queued(w, 2)
    w.reload(policies={"p": {"concurrency": 2, "queue": {"size": 5, "wait": "60s"}}})
    first = w.upstream.expect_request()
    queued(w, 1)
    assert w.metric("weir_concurrency_in_use", policy="p") == 2
    calls[0][1].wire.answer()
    second = w.upstream.expect_request()
    for r in (first, second):
        r.wire.answer()
    for c in (calls[0][0], *waiting):
        c.expect(200)
    w.wait_metric("weir_concurrency_in_use", 0, policy="p")


def test_a_lowered_limit_counts_those_under_way(weir):
    w = limited(weir, 3)
    calls = [ask(w) for _ in range(2)]
    w.reload(policies={"p": {"concurrency": 2}})
    assert w.fetch().status == 503
    for c, r in calls:
        r.wire.answer()
        c.expect(200)
    assert w.metric("weir_concurrency_in_use", policy="p") == 0


# ---- workers

def test_slots_are_those_of_all_workers(weir):
    w = limited(weir, 4, queue={"size": 100, "wait": "60s"}, workers=2)
    clients = [w.client().ask(f"/{i}") for i in range(40)]
    queued(w, 36)
    for _ in range(40):
        w.upstream.expect_request().wire.answer()
        assert w.metric("weir_concurrency_in_use", policy="p") <= 4
    for c in clients:
        c.expect(200)
    w.wait_metric("weir_concurrency_in_use", 0, policy="p")


def test_under_load_nothing_is_lost(weir):
    w = limited(weir, 3, queue={"size": 1000, "wait": "60s"}, workers=2, serve=True)

    def some(_):
        return w.statuses(50)

    assert all(s == [200] * 50 for s in harness.parallel(16, some))
    w.wait_metric("weir_concurrency_in_use", 0, policy="p")
    queued(w, 0)


# ---- auto

def test_auto_refuses_nobody_who_is_alone(weir):
    w = limited(weir, "auto", serve=True)
    assert w.statuses(50) == [200] * 50
    assert w.metric("weir_concurrency_limit", policy="p") == 20


# ---- what is seen

def test_metrics_from_the_start(weir):
    w = limited(weir, 5, queue=3)
    assert w.metric("weir_concurrency_limit", policy="p") == 5
    for name in ("weir_concurrency_in_use", "weir_queue_length", "weir_queue_wait_seconds_count"):
        assert w.metric(name, policy="p") == 0, name
    for reason in ("concurrency_full", "concurrency_limited"):
        assert w.metric("weir_rejections_total", policy="p", reason=reason) == 0
    until(lambda: w.stats()["policies"][0]["limit"] == 5, "stats.json")


def test_nobody_queues_who_will_be_refused_anyway(weir):
    w = weir(policies={"p": {"concurrency": 1, "queue": {"size": 1, "wait": "60s"}}, "few": {"rate": "1/h", "key": "path"}},
             use=["p", "few"])
    first, one = ask(w, "/a")
    w.fetch("/a").check_fields({"retry-after": "3600"})
    good = w.client().ask("/b")
    queued(w, 1)
    one.wire.answer()
    first.expect(200)
    w.upstream.expect_request("GET /b").wire.answer()
    good.expect(200)

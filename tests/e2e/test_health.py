"""Active checks: what makes an endpoint unhealthy, what brings it back, and what calls see of it."""

import re
import time

from harness import SLOW, Upstream, parallel, response, until

CHECK = {"path": "/health", "every": "40ms", "timeout": "60s", "fall": 3, "rise": 2}


class Patient(Upstream):
    """Answers checks as `state` says: a status, bytes, or None for not at all; calls get its name."""

    def __init__(self, name="", addr="127.0.0.1:0", state=200):
        super().__init__(addr)
        self.state, self.checks, self.last_check = state, 0, None
        self.serve(lambda r: self._check(r) if r.path == "/health" else response(200, name.encode()))

    def _check(self, r):
        self.checks, self.last_check = self.checks + 1, r
        if self.state is None:
            time.sleep(2 * SLOW)
        return self.state if isinstance(self.state, bytes) else response(self.state or 200, b"all is well")


def start(weir, upstreams, n=2, health=CHECK, **cluster):
    ps = [Patient(str(i)) for i in range(n)]
    upstreams.made.extend(ps)
    w = weir(upstreams={"app": {"endpoints": [p.addr for p in ps], "health": health, **cluster}})
    until(lambda: all(checks(w, p, "ok") for p in ps), "a first check of each")
    return w, ps


def wait_up(w, p, value):
    w.wait_metric("weir_upstream_endpoint_up", value, endpoint=p.addr)


def checks(w, p, result):
    return w.metric("weir_upstream_health_checks_total", endpoint=p.addr, result=result)


def rests(p):
    """No check came for a while."""
    before = p.checks
    time.sleep(0.2)
    return p.checks == before


def alone(a, b):
    """The one is checked on, the other is not."""
    before = a.checks, b.checks
    until(lambda: a.checks > before[0] + 3, "checked on")
    return b.checks == before[1]


def answers(w, n=8):
    return {w.fetch().body.decode() for _ in range(n)}


def test_goes_down_and_comes_back(weir, upstreams):
    w, (a, b) = start(weir, upstreams)
    assert answers(w) == {"0", "1"}
    b.state = 500
    wait_up(w, b, 0)
    assert answers(w) == {"0"} and checks(w, b, "status") >= 3
    b.state = 200
    wait_up(w, b, 1)
    assert answers(w) == {"0", "1"}


def test_how_often_and_how_long_it_was_down(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1)
    check = lambda: w.stats()["upstreams"][0]["endpoints"][0]["check"]
    assert check()["since"] is None and (check()["downs"], check()["down_time"]) == (0, 0)
    p.state = 500
    wait_up(w, p, 0)
    until(lambda: check()["down_time"] > 0.05, "the time goes on")
    p.state = 200
    wait_up(w, p, 1)
    assert check()["down_time"] == check()["down_time"] > 0.05 and check()["downs"] == 1 and check()["since"] >= 0


def test_takes_fall_failures_and_rise_successes(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1)
    p.state = 503
    wait_up(w, p, 0)
    p.state = 200
    wait_up(w, p, 1)
    lines = [x for x in w.stderr().splitlines() if "healthy" in x]
    assert len(lines) == 2, lines
    assert re.search(rf"warn upstream app: {p.addr} is unhealthy: 3 checks failed, the last with status 503", lines[0])
    assert re.search(rf"info upstream app: {p.addr} is healthy again: 2 checks passed", lines[1])


def test_the_first_check_decides_alone(weir, upstreams):
    dead = Patient("dead", state=500)
    upstreams.made.append(dead)
    w = weir(upstreams={"app": {"endpoints": [dead.addr], "health": {**CHECK, "every": "1h"}}})
    wait_up(w, dead, 0)
    assert dead.checks == 1


def test_what_a_check_looks_like(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1, {**CHECK, "path": "/health?deep=1", "host": "app.test", "method": "OPTIONS"})
    r = until(lambda: p.last_check, "a check")
    assert r.line == "OPTIONS /health?deep=1 HTTP/1.1"
    r.check_fields({"host": "app.test", "connection": "close", "user-agent": re.compile("^weir/.*health check")})


def test_status_and_body_are_as_expected(weir, upstreams):
    w, (a, b) = start(weir, upstreams, 2, {**CHECK, "status": [200, "418-419"], "body": "is well"})
    a.state = response(418, [b"all is", b" well"])  # the text across two chunks
    b.state = response(200, b"all is ill")
    wait_up(w, b, 0)
    until(lambda: checks(w, b, "body") >= 3, "not the text")
    assert checks(w, a, "status") == 0 and w.metric("weir_upstream_endpoint_up", endpoint=a.addr) == 1
    a.state = response(204)
    wait_up(w, a, 0)


def test_slow_refused_and_broken(weir, upstreams):
    w, (slow, refused, broken) = start(weir, upstreams, 3, {**CHECK, "timeout": f"{int(150 * SLOW)}ms"})
    slow.state, broken.state = None, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x00"
    broken.handler = lambda r: b"SSH-2.0 nonsense\r\n\r\n"
    refused.refuse()
    for p, result in (slow, "timeout"), (refused, "connect"), (broken, "broken"):
        until(lambda p=p, result=result: checks(w, p, result) >= 3, result)
        wait_up(w, p, 0)


def test_all_down_are_still_tried(weir, upstreams):
    w, ps = start(weir, upstreams)
    for p in ps:
        p.state = 500
    for p in ps:
        wait_up(w, p, 0)
    assert answers(w) == {"0", "1"}
    r = w.admin("/health")
    assert r.status == 503 and r.json()["status"] == "unhealthy"


def test_health_page(weir, upstreams):
    w, (a, b) = start(weir, upstreams)
    b.state = 500
    wait_up(w, b, 0)
    got = w.admin("/health").json()
    by = {c["name"]: c for c in got["checks"]}
    assert got["status"] == "degraded" and by["upstream.app"]["message"] == "1 of 2 endpoints are up"
    sick = by[f"upstream.app.{b.addr}"]
    assert sick["status"] == "degraded" and sick["consecutive_failures"] >= 3 and 0 < sick["duration"] < 5
    assert sick["message"] == "unhealthy: status 500" and by[f"upstream.app.{a.addr}"]["status"] == "healthy"


def test_stats_and_metrics_from_the_start(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1, {**CHECK, "every": "1h"})
    assert checks(w, p, "timeout") == 0 and checks(w, p, "address") == 0
    e = lambda: w.stats()["upstreams"][0]["endpoints"][0]
    until(lambda: e()["check"]["last"] == "ok", "it is told")
    assert e()["state"] == "up" and e()["check"]["checks"] == 1


def test_no_health_no_checks(weir):
    w = weir()
    assert w.metric("weir_upstream_endpoint_up") == 1 and w.metric("weir_upstream_health_checks_total") is None
    w.upstream.untouched(0.2)


def test_reload_keeps_the_state(weir, upstreams):
    w, (a, b) = start(weir, upstreams, 2, {**CHECK, "every": "30s"})
    sick = Patient("sick", state=500)
    upstreams.made.append(sick)
    app = {"endpoints": [a.addr, sick.addr], "health": {**CHECK, "every": "30s"}}
    w.reload(upstreams={"app": app})
    wait_up(w, sick, 0)  # its first check: at once, though 30 s lie between
    w.reload(upstreams={"app": {**app, "keepalive": 7}})
    assert w.metric("weir_upstream_endpoint_up", endpoint=sick.addr) == 0
    assert answers(w) == {"0"} and sick.checks == 1 and a.checks == 1


def test_checks_end_with_the_endpoint_or_with_health(weir, upstreams):
    w, (a, b) = start(weir, upstreams)
    until(lambda: a.checks > 2 and b.checks > 2, "checked")
    w.reload(upstreams={"app": {"endpoints": [a.addr], "health": CHECK}})
    until(lambda: alone(a, b), "b is let be")
    w.reload(upstreams={"app": a.addr})
    until(lambda: rests(a), "a is, too")


def test_without_health_again_all_are_well(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1)
    p.state = 500
    wait_up(w, p, 0)
    w.reload(upstreams={"app": p.addr})
    wait_up(w, p, 1)


def test_a_changed_rule_is_obeyed(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1, {**CHECK, "every": "1h"})
    p.state = 404
    w.reload(upstreams={"app": {"endpoints": [p.addr], "health": {**CHECK, "status": 404}}})
    until(lambda: checks(w, p, "ok") >= 2, "a 404 is fine now")


def test_unix_endpoint(weir, upstreams, tmp_path):
    p = Patient("file", f"unix:{tmp_path}/app.sock")
    upstreams.made.append(p)
    w = weir(upstreams={"app": {"endpoints": [p.addr], "health": CHECK}})
    until(lambda: (checks(w, p, "ok") or 0) >= 2, "checked")
    assert p.last_check.get("host") == "localhost"
    p.state = 500
    wait_up(w, p, 0)


def test_named_endpoint(weir, upstreams):
    p = Patient("name")
    upstreams.made.append(p)
    name = "localhost:" + p.addr.rpartition(":")[2]
    w = weir(upstreams={"app": {"endpoints": [name], "health": CHECK}})
    until(lambda: (w.metric("weir_upstream_health_checks_total", endpoint=name, result="ok") or 0) >= 2, "checked")


def test_a_backup_steps_in(weir, upstreams):
    a, b = Patient("first"), Patient("backup")
    upstreams.made.extend([a, b])
    w = weir(upstreams={"app": {"endpoints": [a.addr, {"addr": b.addr, "backup": True}], "health": CHECK}})
    assert answers(w) == {"first"}
    a.state = 500
    wait_up(w, a, 0)
    assert answers(w) == {"backup"}


def test_the_end_does_not_wait_for_checks(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1, {**CHECK, "timeout": "1h"})
    p.state = None
    until(lambda: p.checks > 0, "a check is under way")
    w.signal(15)
    assert w.wait_exit() == 0


def test_workers_checks_and_reloads_at_once(weir, upstreams):
    ps = [Patient(str(i)) for i in range(3)]
    upstreams.made.extend(ps)
    apps = [{"endpoints": [p.addr for p in ps[i:]], "health": {**CHECK, "fall": 1 + i}, "lb": "p2c-ewma",
             "slow_start": "1s"} for i in (0, 1)]
    w = weir(workers=2, upstreams={"app": apps[0]})

    def act(i):
        for k in range(20):
            ps[2].state = 200 + 300 * (k % 2)
            w.reload(upstreams={"app": apps[k % 2]}) if i == 0 and k % 4 == 0 else w.fetch()

    parallel(4, act)


# ---- orders

def order(w, p, state):
    body = b'{"state":"%s"}' % state.encode()
    r = w.admin(f"/upstreams/app/{p.addr}", method="PUT", body=body, headers={"content-type": "application/json"})
    assert r.status == 200 and r.json()["endpoints"][0]["endpoint"] == p.addr
    return r.json()["endpoints"][0]["state"]


def test_an_endpoint_is_drained(weir, upstreams):
    w, (a, b) = start(weir, upstreams)
    assert order(w, b, "drain") == "drain" and answers(w) == {"0"}
    assert w.metric("weir_upstream_endpoint_up", endpoint=b.addr) == 0
    before = b.checks
    until(lambda: b.checks > before + 2, "checked on")
    w.reload(upstreams={"app": {"endpoints": [a.addr, b.addr], "health": CHECK, "keepalive": 9}})
    assert answers(w) == {"0"}
    assert order(w, b, "up") == "up" and answers(w) == {"0", "1"}


def test_down_is_down_even_alone(weir, upstreams):
    w, (p,) = start(weir, upstreams, 1)
    assert order(w, p, "down") == "down"
    r = w.fetch()
    assert r.status == 503 and r.has("retry-after")
    until(lambda: rests(p), "no checks")
    assert order(w, p, "up") == "up" and answers(w) == {"0"}


def test_a_call_under_way_outlives_the_order(weir):
    w = weir()
    c = w.client().ask("/long")
    w.upstream.expect_request("GET /long")
    assert order(w, w.upstream, "down") == "down"
    w.upstream.answer(200, b"in peace")
    c.expect(200, b"in peace")
    w.wait_metric("weir_upstream_connections", 0)


# ---- balancing

def spread(weir, upstreams, calls=60, headers=lambda i: {}, **cluster):
    ps = [Patient(str(i)) for i in range(3)]
    upstreams.made.extend(ps)
    w = weir(upstreams={"app": {"endpoints": [p.addr for p in ps], **cluster}})
    c, got = w.client(), []
    for i in range(calls):
        got.append(c.ask(headers=headers(i)).expect(200).body.decode())
    return got


def test_p2c_uses_all(weir, upstreams):
    got = spread(weir, upstreams, lb="p2c-ewma")
    assert set(got) == {"0", "1", "2"}


def test_p2c_is_not_fooled_by_a_fast_429(weir, upstreams):
    ps = [Patient("slow"), Patient("fast")]
    upstreams.made.extend(ps)
    ps[0].handler = lambda r: (time.sleep(0.01), response(200, b"slow"))[1]
    ps[1].handler = lambda r: response(429, b"busy")
    w = weir(upstreams={"app": {"endpoints": [p.addr for p in ps], "lb": "p2c-ewma"}})
    got = w.statuses(60)
    assert got.count(429) < 15, got


def test_ring_hash_keeps_a_key_at_its_endpoint(weir, upstreams):
    got = spread(weir, upstreams, 60, lambda i: {"x-user": f"u{i % 20}"}, lb="ring-hash", hash="header.x-user")
    assert got[:20] == got[20:40] == got[40:60] and set(got) == {"0", "1", "2"}


def test_ring_hash_without_the_key_goes_anywhere(weir, upstreams):
    assert set(spread(weir, upstreams, lb="ring-hash", hash="header.x-user")) == {"0", "1", "2"}


def test_ring_hash_moves_only_the_keys_of_who_is_down(weir, upstreams):
    w, ps = start(weir, upstreams, 3, lb="ring-hash", hash=["client.ip", "header.x-user"])

    def owners():
        return [w.fetch(headers={"x-user": f"u{i}"}).body.decode() for i in range(20)]

    before = owners()
    ps[1].state = 500
    wait_up(w, ps[1], 0)
    for was, now in zip(before, owners()):
        assert now != "1" and (was == now or was == "1")

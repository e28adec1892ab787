"""What /stats.json counts of each endpoint: bytes, tries that failed and where they went next, who waits for a connection."""

import json
import socket

from harness import response, until


def endpoint(w, at=0):
    return w.stats()["upstreams"][0]["endpoints"][at]


def sees(w, at=0, **wanted):
    until(lambda: wanted.items() <= endpoint(w, at).items(), f"{wanted}, not {endpoint(w, at)}")


def retrying(weir, **more):
    return weir(policies={"again": {"retry": 2, "when": ["reset", "connect"]}}, use=["again"], **more)


def test_bytes(weir):
    w = weir(serve=lambda r: response(200, b"a" * 5000))
    assert w.fetch(method="POST", body=b"q" * 3000).status == 200
    sees(w, ok=1, failed=0, waiting=0, active_most=1, warmth=100)
    assert 3000 < endpoint(w)["request_bytes"] < 4000 and 5000 < endpoint(w)["response_bytes"] < 6000


def test_a_retry_here(weir):
    answers = [None, response(200)]
    w = retrying(weir, serve=lambda r: answers.pop(0) or r.wire.reset())
    assert w.fetch().status == 200
    sees(w, ok=1, failed=1, unreached=0, retries=1, redispatches=0)


def test_a_retry_elsewhere(weir, upstreams):
    gone, good = upstreams(1)[0], upstreams(1)[0].serve()
    gone.refuse()
    w = retrying(weir, upstreams={"app": {"endpoints": [gone.addr, good.addr]}})
    assert w.statuses(2) == [200, 200]
    sees(w, 0, failed=1, unreached=1, retries=0, request_bytes=0)
    sees(w, 1, ok=2, failed=0, retries=1, redispatches=1)


def test_a_route_that_takes_over_makes_no_retry(weir, upstreams):
    def drained(r):
        body = json.dumps({"state": "drain"}).encode()
        assert w.admin(f"/upstreams/app/{up.addr}", method="PUT", headers={"content-type": "application/json"}, body=body).status == 200
        r.wire.reset()
    up, other = upstreams(1)[0].serve(drained), upstreams(1)[0].serve()
    routes = [{"name": "other", "to": "other", "match": {"from": "name"}}, {"name": "app", "to": "app", "use": ["again"], "errors": {"when": [502, 503], "route": "other"}}]
    w = retrying(weir, upstreams={"other": other.addr, "app": up.addr}, routes=routes)
    assert w.fetch().status == 200
    sees(w, ok=1, failed=0, retries=0, redispatches=0)


def test_who_waits_for_a_connection(weir, upstreams):
    full = upstreams(1, backlog=0)[0]
    host, _, port = full.addr.rpartition(":")
    fillers = [socket.socket() for _ in range(8)]
    for s in fillers:
        s.setblocking(False)
        s.connect_ex((host, int(port)))
    w = weir(upstreams={"app": {"endpoints": [full.addr], "connect_timeout": "30s"}})
    c = w.client().ask()
    sees(w, waiting=1, active=1)
    c.reset()
    sees(w, waiting=0, active=0, aborted=1, unreached=0)
    for s in fillers:
        s.close()

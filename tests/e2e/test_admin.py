"""Orders to a running Weir: who may give them, what comes of them."""

import json
import os
import re
import socket
import stat

import pytest

import harness
from harness import until

JSON = {"Content-Type": "application/json"}
CHANGES = [("POST", "/reload"), ("POST", "/drain"), ("DELETE", "/drain"), ("PUT", "/log-level"), ("PUT", "/breakers/guard/app"),
           ("PUT", "/upstreams/app/x"), ("DELETE", "/limits/p/key?value=1"), ("POST", "/explain")]


def order(w, method, target, body=None, **headers):
    return w.admin(target, method=method, body=b"" if body is None else json.dumps(body).encode(),
                   headers={**JSON, **headers})


def secured(weir, token="s3cret", **more):
    admin = {"listen": f"127.0.0.1:{harness.free_port()}", "token": token, **more}
    w = weir(admin=admin, checks=False)
    w.admin_addr = admin["listen"]
    return w


def limited(weir, **more):
    policy = {"rate": "2/h", "burst": 2, "key": "header.x-user", **more}
    return weir(serve=True, policies={"p": policy}, use=["p"])


# ---- the door

@pytest.mark.parametrize("method, path", CHANGES)
def test_nothing_is_changed_by_get(weir, method, path):
    w = weir()
    path = path.split("?")[0] if path.startswith("/explain") else path
    r = w.admin(path)
    assert r.status in (405, 200, 404) and w.reloads() == 0 and not w.stats()["draining"]
    assert r.status != 200 or path in ("/drain", "/log-level") or path.startswith(("/limits", "/breakers", "/upstreams"))


@pytest.mark.parametrize("method, path", CHANGES)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", ""])
def test_pages_of_another_origin_change_nothing(weir, method, path, origin):
    w = weir()
    assert order(w, method, path, {}, Origin=origin).status == 403
    assert w.reloads() == 0 and not w.stats()["draining"]


@pytest.mark.parametrize("method, path", CHANGES)
@pytest.mark.parametrize("said", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_what_a_form_can_send_changes_nothing(weir, method, path, said):
    w = weir()
    assert w.admin(path, method=method, body=b"{}", headers={"Content-Type": said}).status == 415
    assert w.reloads() == 0 and not w.stats()["draining"]


@pytest.mark.parametrize("method, path", CHANGES)
def test_no_order_without_the_token(weir, method, path):
    w = secured(weir)
    assert order(w, method, path, {}).status == 401
    assert order(w, method, path, {}, Authorization="Bearer s3cres").status == 401
    assert w.reloads() == 0


def test_who_is_not_let_in_is_counted_and_said(weir):
    w = secured(weir)
    guesses = [w.admin("/health", headers={"Authorization": f"Bearer {i}"}).status for i in range(20)]
    assert set(guesses) == {401} and w.admin("/health").status == 401
    assert w.fetch("/health", addr=w.admin_addr, host="evil.example").status == 421
    assert [w.metric("weir_admin_denied_total", reason=r) for r in ("no_token", "wrong_token", "foreign_host")] == [1, 20, 1]
    assert 1 <= w.stderr().count("admin: a wrong token, from 127.0.0.1:") < 20


def test_anonymous_callers_may_only_read(weir):
    w = secured(weir, anonymous="read")
    assert w.admin("/health").status == 200
    assert order(w, "POST", "/drain").status == 401
    assert w.admin("/health", headers={"Authorization": "Bearer wrong"}).status == 401
    assert order(w, "POST", "/drain", Authorization="Bearer s3cret").status == 200


@pytest.mark.parametrize("method, path", CHANGES)
def test_no_order_under_a_name_of_somebody_else(weir, method, path):
    w = weir()
    r = w.fetch(path, addr=w.admin_addr, host="evil.example", method=method, body=b"{}", headers=JSON)
    assert r.status == 421 and w.reloads() == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b'"up"', b"{'for': 1}", b'{"for": "1h", "for": "2h"}', b'{"for": 600}',
                                  b'{"for": "31d"}', b'{"for": "0s"}', b'{"for": "${HOME}"}', b'{"until": "1h"}', b"\xff", b"a: &x [*x]"])
def test_a_malformed_order_is_no_order(weir, body):
    w = weir()
    r = w.admin("/drain", method="POST", body=body, headers=JSON)
    assert r.status == 400 and r.body.strip() and not w.stats()["draining"]


def test_an_order_that_is_too_long(weir):
    w = weir()
    assert order(w, "POST", "/drain", {"for": "1" * 2000}).status == 413
    assert order(w, "POST", "/drain", {"for": "1" * 80000}).status == 413
    assert w.probe("/ready").status == 200


def test_methods_that_a_page_does_not_take(weir):
    w = weir()
    assert order(w, "PUT", "/drain").get("allow") == "GET, HEAD, POST, DELETE"
    assert order(w, "PATCH", "/reload").get("allow") == "POST"


def test_all_that_a_request_says_of_itself_counts(weir):
    w = weir()
    for field, status in (("Origin", 403), ("Content-Type", 415)):
        good = {"Origin": f"http://{w.admin_addr}", "Content-Type": "application/json"}
        for more in ([(field, good[field]), (field, "text/plain")], [(field, "text/plain"), (field, good[field])]):
            fields = [x for x in good.items() if x[0] != field] + more
            assert w.admin("/drain", method="POST", body=b"{}", headers=fields).status == status
    assert not w.stats()["draining"]


def test_what_connect_is_told(weir):
    w = weir()
    c = w.client(w.admin_addr)
    c.send(b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n")
    assert c.expect(405).get("allow") == "GET, HEAD"


def test_no_body_is_waited_for_from_who_may_not_enter(weir):
    w = secured(weir)
    c = w.client(w.admin_addr)
    c.send(b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert c.expect(401).get("connection") == "close"


def test_which_token_is_asked_for(weir):
    w = secured(weir)
    assert w.admin("/health").get("www-authenticate") == 'Bearer realm="weir"'
    assert 'error="invalid_token"' in w.admin("/health", headers={"Authorization": "Bearer x"}).get("www-authenticate")


def test_refusals_for_those_who_read_json(weir):
    w = secured(weir)
    r = w.admin("/nowhere", headers={"Accept": "text/html, application/json;q=0.9"})
    assert r.status == 401 and r.json()["error"] == "the admin token is needed: Authorization: Bearer ..." and r.get("content-type") == "application/json"
    assert w.admin("/nowhere", headers={"Accept": "*/*"}).get("content-type").startswith("text/plain")


@pytest.mark.parametrize("umask, want", [(0, 0o660), (0o022, 0o640)])
def test_only_the_group_may_connect_to_the_socket(weir, tmp_path, umask, want):
    before = os.umask(umask)
    try:
        weir(admin=f"unix:{tmp_path}/admin.sock", checks=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "admin.sock").st_mode) == want


def test_a_new_token_takes_effect_with_a_reload(weir, tmp_path):
    (tmp_path / "token").write_text("first\n")
    w = secured(weir, f"${{file:{tmp_path}/token}}")
    c = w.client(w.admin_addr)
    (tmp_path / "token").write_text("second\n")
    assert order(w, "POST", "/reload", Authorization="Bearer first").status == 200
    got = [c.ask("/health", host=w.admin_addr, headers={"Authorization": f"Bearer {t}"}).expect().status for t in ("first", "second")]
    assert got == [401, 200]


# ---- who gave an order

def events(w, **headers):
    return [e["text"] for e in w.admin("/events?follow=false", headers=headers).json()["events"]]


def test_orders_are_logged_with_who_gave_them(weir):
    w = weir(serve=True, policies={"guard": {"breaker": 5}, "p": {"rate": "9/h", "key": "header.x-user"}}, use=["guard", "p"])
    w.allow("breaker|drain")
    for method, path, body in (("PUT", "/breakers/guard/app", {"state": "open", "for": "1h"}), ("POST", "/drain", {"for": "1h"}),
                               ("DELETE", "/drain", None), ("PUT", "/log-level", {"level": "info"}), ("POST", "/reload", {}),
                               ("PUT", f"/upstreams/app/{w.upstream.addr}", {"state": "drain"}), ("DELETE", "/limits/p/key?value=ann", None)):
        last = len(events(w))
        assert order(w, method, path, body).status == 200
        until(lambda: any(re.search(r"by order of 127\.0\.0\.1:\d+", x) for x in events(w)[last:]), f"who: {path}")


def test_orders_over_a_unix_socket_are_of_a_user(weir, run, tmp_path):
    w = weir(admin=f"unix:{tmp_path}/admin.sock", checks=False)
    w.allow("drain")
    assert run("ctl", "drain", "--admin", f"unix:{tmp_path}/admin.sock").returncode == 0
    assert re.search(rf"by order of uid {os.getuid()} \(process \d+\)", w.stderr())


def test_an_order_that_ends_says_so(weir):
    w = weir()
    w.allow("drain")
    order(w, "POST", "/drain", {"for": "1s"})
    until(lambda: any(x.startswith("drain: over, its time") for x in events(w)), "the end")


# ---- what is nobody's business

def test_the_configuration_in_force_tells_no_credentials(weir):
    keys = {"rate": "1/h", "key": "header.x-api-key", "overrides": [{"match": "sk-over", "rate": "2/h"}]}
    users = {"rate": "1/h", "key": "header.x-user", "overrides": [{"match": "ann", "rate": "2/h"}]}
    w = weir(policies={"k": keys, "u": users}, use=["k", "u"], route={"set": {"authorization": "Bearer sk-set", "x-team": "blue"},
             "match": {"when": {"header.x-api-key": ["sk-when"]}}}, values={"who": {"of": "{header.authorization}", "map": [
                 {"match": "sk-map", "value": "a"}]}})
    text = w.admin("/config").body.decode()
    assert "sk-" not in text and text.count("<redacted>") == 4 and "ann" in text and "blue" in text


def test_the_configuration_as_json(weir):
    w = secured(weir)
    fields = {"Authorization": "Bearer s3cret"}
    r = w.admin("/config?format=json", headers=fields)
    assert r.json()["admin"]["token"] == "<redacted>" and r.get("etag") != w.admin("/config", headers=fields).get("etag")
    assert w.admin("/config?format=json", headers={**fields, "If-None-Match": r.get("etag")}).status == 304
    assert w.admin("/config?format=xml", headers=fields).status == 400


def test_what_changes_tells_no_credentials(weir):
    w = weir(route={"set": {"authorization": "Bearer sk-one", "x-key": "{header.x-api-key}"}})
    w.write(route={"set": {"authorization": "Bearer sk-two", "x-key": "{header.x-api-key}"}})
    r = order(w, "POST", "/reload")
    assert any("authorization" in x for x in r.json()["changes"]) and b"sk-" not in r.body and "sk-" not in w.stderr()


def others_wait(w, addr):
    """Whether there was no room while three orders were on their way, and all three were carried out; they have a second."""
    busy = [w.client(addr) for _ in range(3)]
    head = "PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
    try:
        for c in busy:
            c.send(head, maybe=True)
        until(lambda: w.metric("weir_connections_active", listener=addr) == 3, "they are there", timeout=1)
        away = w.fetch("/health", addr=addr).status == 503
        return away and [c.send(b'{"level":"info"}', maybe=True).expect().status for c in busy] == [200] * 3
    except (AssertionError, OSError):
        return False
    finally:
        for c in busy:
            c.close()


def test_busy_callers_are_not_sent_away_for_others(weir):
    w = weir(admin={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "connections": 3})
    until(lambda: others_wait(w, addr), "no room for others", timeout=10 * harness.TIMEOUT)


def test_a_flood_of_admin_connections_takes_nothing_from_calls(weir):
    w = weir(serve=True, admin={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "connections": 5},
             limits={"connections": 3})
    idle = [w.client(addr) for _ in range(30)]
    until(lambda: w.metric("weir_connections_refused_total", listener=addr) == 25, "the rest was turned away")
    assert w.statuses(3) == [200, 200, 200] and w.probe("/ready").status == 200
    for c in idle:
        c.close()
    w.admin_addr = addr
    until(lambda: w.admin("/health").status == 200, "it answers again")


def test_a_flood_of_requests_takes_little_from_calls(weir):
    w = weir(serve=True, admin={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "requests": 5})
    c = w.client(addr)
    c.send(b"GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
    got = [c.expect().status for _ in range(300)]
    assert set(got) == {200, 429} and got.count(200) < 200 and w.statuses(3) == [200] * 3
    assert w.metric("weir_admin_requests_refused_total", listener="admin") == got.count(429)


def test_scrapes_have_a_budget_and_probes_none(weir):
    w = weir(start=False, probes={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "scrapes": 1}, checks=False)
    w.probes_addr = addr
    w.start()
    c = w.client(addr).send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
    got = [c.expect().status for _ in range(20)]  # in more than one second, if need be
    assert set(got) == {200, 429} and got.count(429) > 10
    assert w.probe("/ready").status == 200


# ---- reload

def test_reload_by_order(weir):
    w = limited(weir)
    w.write(policies={"p": {"rate": "9/h", "burst": 9, "key": "header.x-user"}})
    r = order(w, "POST", "/reload")
    assert r.status == 200 and r.json()["reloaded"] and r.json()["generation"] == 2
    assert any("burst" in x for x in r.json()["changes"]) and w.reloads() == 1
    assert r.json()["sha256"] == w.stats()["config"]["sha256"]


def test_a_bad_reload_says_where(weir):
    w = limited(weir)
    w.allow("error|reload")
    w.write(policies={"p": {"rate": "fast"}})
    r = order(w, "POST", "/reload")
    found = r.json()["diagnostics"][0]
    assert r.status == 422 and not r.json()["reloaded"] and found["line"] > 0 and found["file"].endswith("weir.yaml")
    assert r.json()["generation"] == 1 and w.fetch().status == 200


def test_reloads_that_nobody_waits_for(weir):
    w = weir(serve=True)
    for _ in range(20):
        c = w.client(w.admin_addr).ask("/reload", method="POST", host=w.admin_addr, headers=JSON, body=b"{}")
        c.close()
    until(lambda: order(w, "POST", "/reload").status == 200, "one has room")
    assert w.fetch().status == 200 and w.reloads() <= 21


def test_reloads_come_one_at_a_time(weir):
    w = weir(serve=True)
    many = [w.client(w.admin_addr).ask("/reload", method="POST", host=w.admin_addr, headers=JSON, body=b"{}") for _ in range(20)]
    got = [c.expect() for c in many]
    assert {r.status for r in got} <= {200, 409} and got[0].status == 200
    assert all(r.get("retry-after") == "1" for r in got if r.status == 409)
    until(lambda: w.reloads() == sum(r.status == 200 for r in got), "each was one")


# ---- drain

def test_drain_and_back(weir):
    w = weir(serve=True)
    assert order(w, "POST", "/drain").json()["draining"]
    assert w.probe("/ready").status == 503 and w.metric("weir_draining") == 1
    c = w.client().ask()
    assert c.expect(200).get("connection") == "close"
    assert order(w, "DELETE", "/drain").json() == {"draining": False, "by": "nobody", "left": 0}
    assert w.probe("/ready").status == 200 and w.statuses(2) == [200, 200]


def test_a_drain_may_end_by_itself(weir):
    w = weir()
    w.allow("drain")
    assert order(w, "POST", "/drain", {"for": "1h"}).json()["by"] == "order"
    assert 0 < w.admin("/drain").json()["left"] <= 3600
    order(w, "POST", "/drain", {"for": "1s"})
    until(lambda: w.probe("/ready").status == 200, "ready again")


# ---- log level

def test_log_level(weir):
    w = weir(log={"level": "warn"})
    assert order(w, "PUT", "/log-level", {"level": "loud"}).status == 400
    r = order(w, "PUT", "/log-level", {"level": "debug", "for": "10m"}).json()
    assert r["level"] == "debug" and r["configured"] == "warn" and 590 < r["left"] <= 600
    w.reload()
    assert w.admin("/log-level").json()["level"] == "debug"
    assert order(w, "PUT", "/log-level", {"level": "auto"}).json()["level"] == "warn"


def test_an_order_of_one_word(weir):
    w = weir(policies={"guard": {"breaker": 5}}, use=["guard"])
    w.allow("breaker")
    assert order(w, "PUT", "/log-level", "warn").json()["level"] == "warn"
    assert order(w, "PUT", "/breakers/guard/app", "open").json()["breakers"][0]["state"] == "open"
    assert order(w, "PUT", f"/upstreams/app/{w.upstream.addr}", "drain").json()["endpoints"][0]["state"] == "drain"
    assert order(w, "POST", "/drain", "10m").status == 400 and order(w, "PUT", "/log-level", "loud").status == 400


# ---- events

def follow(w, target="/events"):
    c = w.client(w.admin_addr).ask(target, host=w.admin_addr)
    assert c.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    return c


def test_events_tell_what_happened(weir):
    w = weir()
    w.reload()
    kinds = [e["kind"] for e in w.admin("/events?follow=false").json()["events"]]
    assert "reload" in kinds and "weir" in kinds
    assert w.admin("/events?since=x").status == 400
    last = w.admin("/events?follow=false").json()["events"][-1]["seq"]
    assert w.admin(f"/events?follow=false&since={last + 1}").json()["events"] == []


def test_a_failed_reload_says_where_the_error_is(weir):
    w = limited(weir)
    w.allow("the running configuration stays")
    w.reload(policies={"p": {"rate": "banana"}}, good=False)
    until(lambda: re.search(r"failed.*weir\.yaml:\d+:\d+: E015: .*a rate is",
                            w.admin("/events?follow=false").json()["events"][-1]["text"]), "the event")


def test_events_are_followed(weir):
    w = weir()
    c = follow(w)
    c.read_until(b"is ready")
    order(w, "PUT", "/log-level", {"level": "info"})
    assert b"log level: info" in c.read_until(b"by order")
    c.close()
    until(lambda: w.metric("weir_event_streams") == 0, "nobody follows")


def test_followers_are_bounded(weir):
    w = weir(admin={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "streams": 2}, checks=False)
    w.admin_addr = addr
    c, d = follow(w), follow(w)
    r = w.admin("/events")
    assert (r.status, r.get("retry-after"), r.get("retry-after-ms")) == (503, "10", "10000") and w.metric("weir_event_streams") == 2
    c.close()
    until(lambda: w.metric("weir_event_streams") == 1, "one has gone")
    d.close()


def test_events_are_bounded(weir):
    w = weir(admin={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "events": 5})
    w.admin_addr = addr
    for _ in range(10):
        order(w, "PUT", "/log-level", {"level": "info"})
    got = [e["seq"] for e in w.admin("/events?follow=false").json()["events"]]
    assert len(got) == 5 and got == list(range(got[0], got[0] + 5)) and w.metric("weir_events_room") == 5


def test_weir_ends_while_events_are_followed(weir):
    w = weir()
    c = follow(w)
    w.signal(15)
    assert w.wait_exit() == 0
    c.close()


@pytest.mark.parametrize("follow", ["0", "no", "FALSE", "", "falsely"])
def test_who_follows_says_so(weir, follow):
    assert weir().admin(f"/events?follow={follow}").status == 400


def test_other_pages_take_no_place_of_followers(weir):
    w = weir()
    assert w.admin("/events", headers={"Origin": "http://evil.example"}).status == 403
    follow(w).close()


# ---- upstreams

def test_one_endpoint_is_shown_alone(weir, upstreams):
    a, b = upstreams(2)
    w = weir(upstreams={"app": {"endpoints": [a.addr, b.addr]}})
    assert [e["endpoint"] for e in w.admin("/upstreams/app").json()["endpoints"]] == [a.addr, b.addr]
    assert [e["endpoint"] for e in w.admin(f"/upstreams/app/{b.addr.replace(':', '%3A')}").json()["endpoints"]] == [b.addr]
    for path in ("/upstreams/", "/upstreams/nope", "/upstreams/app/", "/upstreams/app/nope", "/upstreams/%zz"):
        assert w.admin(path).status == 404, path
    assert order(w, "PUT", "/upstreams/app", {"state": "down"}).status == 404 and w.admin("/upstreams").json()["endpoints"][0]["state"] == "up"


def test_the_weight_of_an_endpoint(weir, upstreams):
    a, b = upstreams(2)
    a.serve(lambda r: harness.response(200, b"a")), b.serve(lambda r: harness.response(200, b"b"))
    w = weir(upstreams={"app": {"endpoints": [a.addr, b.addr]}})
    assert order(w, "PUT", f"/upstreams/app/{a.addr}", {"weight": 1001}).status == 400
    assert order(w, "PUT", f"/upstreams/app/{a.addr}", {"weight": 9}).json()["endpoints"][0]["weight"] == 9
    assert sum(w.fetch().body == b"a" for _ in range(20)) == 18
    assert order(w, "PUT", f"/upstreams/app/{a.addr}", {"weight": 0}).json()["endpoints"][0]["weight"] == 1
    assert sum(w.fetch().body == b"a" for _ in range(10)) == 5


@pytest.mark.parametrize("body", [{}, {"weight": -1}, {"state": "gone"}, {"weight": "x"}, {"state": "up", "for": "1s"}])
def test_bad_orders_to_an_endpoint(weir, body):
    w = weir()
    assert order(w, "PUT", f"/upstreams/app/{w.upstream.addr}", body).status == 400
    assert w.admin("/upstreams").json()["endpoints"][0]["state"] == "up"


# ---- limits

def ask_as(w, user, n):
    return [w.fetch(headers={"X-User": user}).status for _ in range(n)]


@pytest.mark.parametrize("target, status", [
    ("/limits/nobody", 404), ("/limits/p/keys", 404), ("/limits/", 404), ("/limits/p?top=0", 400), ("/limits/p?top=x", 400),
    ("/limits/p?top=1025", 400), ("/limits/p/key", 400), ("/limits/p/key?value=a&value=b", 400), ("/limits/p/key?hash=12", 400),
    ("/limits/p/key?hash=zz23456789abcdef", 400), ("/limits/p/key?hash=0123456789abcdef&value=a", 400), ("/limits/guard", 404)])
def test_limits_that_are_not(weir, target, status):
    w = weir(policies={"p": {"rate": "2/h", "key": "header.x-user"}, "guard": {"breaker": 5}}, use=["p", "guard"])
    r = w.admin(target)
    assert r.status == status and r.body.strip()
    assert order(w, "DELETE", target).status in (404, 400, 405)


def test_who_is_refused_most(weir):
    w = limited(weir)
    ask_as(w, "greedy", 12), ask_as(w, "modest", 3), ask_as(w, "good", 2)
    got = w.admin("/limits/p?top=1").json()
    hashes = [x["key.hash"] for x in w.access(17) if x["http.response.status_code"] == 429]
    assert got["deny"] == 11 and got["allow"] == 6 and got["kind"] == "rate" and got["key"] == "header.x-user"
    assert got["top"] == [{"hash": hashes[0], "refused": 10, "error": 0}] and 0 <= got["window"] < 600
    both = w.admin("/limits?top=9").json()["limits"][0]["top"]
    assert [x["refused"] for x in both] == [10, 1] and "greedy" not in json.dumps(both)


def test_most_refused_keys_of_all_workers(weir):
    w = weir(serve=True, workers=2, policies={"p": {"rate": "1/h", "burst": 1, "key": "client.ip"}}, use=["p"])
    for _ in range(30):
        w.fetch()
    assert w.admin("/limits/p").json()["top"][0]["refused"] == 29


def test_a_key_in_shadow_is_seen_too(weir):
    w = limited(weir, shadow=True)
    assert ask_as(w, "a", 5) == [200] * 5
    assert w.admin("/limits/p").json()["top"][0]["refused"] == 3


def test_most_refused_keys_may_be_left_out(weir):
    w = weir(serve=True, admin={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "top_keys": 0},
             policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"])
    w.admin_addr = addr
    w.statuses(5)
    assert w.admin("/limits/p").json()["top"] == []


def test_how_it_stands_with_a_key(weir):
    w = limited(weir)
    ask_as(w, "ann b", 1)
    got = w.admin("/limits/p/key?value=ann%20b").json()
    assert (got["limit"], got["remaining"]) == (2, 1) and 0 < got["reset"] <= 1800
    assert w.admin(f"/limits/p/key?hash={got['hash']}").json()["remaining"] == 1
    assert w.admin("/limits/p/key?value=bob").json()["remaining"] == 2


def test_a_key_is_reset(weir):
    w = limited(weir)
    assert ask_as(w, "ann", 3) == [200, 200, 429] == ask_as(w, "bob", 3)
    assert order(w, "DELETE", "/limits/p/key?value=ann").json()["remaining"] == 2
    assert ask_as(w, "ann", 3) == [200, 200, 429] and ask_as(w, "bob", 1) == [429]
    top = w.admin("/limits/p?top=1").json()["top"][0]["hash"]
    assert w.admin(f"/limits/p/key?hash={top}", method="DELETE").status == 200


def test_a_key_of_several_windows_and_parts_is_reset(weir):
    w = weir(serve=True, policies={"p": {"rate": ["2/h", "3/d"], "key": ["client.ip", "header.x-user"]}}, use=["p"])
    assert ask_as(w, "ann", 3) == [200, 200, 429]
    target = "/limits/p/key?value=127.0.0.1&value=ann"
    assert w.admin(target).json()["remaining"] == 0 and w.admin("/limits/p/key?value=x&value=ann").status == 400
    assert order(w, "DELETE", target).status == 200 and ask_as(w, "ann", 3) == [200, 200, 429]


def test_an_override_by_address_counts_for_its_key(weir):
    w = weir(serve=True, use=["p"], policies={"p": {"rate": "2/h", "burst": 2, "key": "client.ip",
                                                    "overrides": [{"match": "127.0.0.0/8", "rate": "9/h", "burst": 9}]}})
    w.fetch()
    assert w.admin("/limits/p/key?value=127.0.0.1").json()["limit"] == 9
    assert w.admin("/limits/p/key?value=10.0.0.1").json()["limit"] == 2


@pytest.mark.parametrize("query", ["value=%zz&value=ann", "value=ann&value=%", "value=" + "&value=".join("abcdefghijklmnopqrstuvwxyz")])
def test_no_other_key_than_was_meant_is_reset(weir, query):
    w = limited(weir)
    assert order(w, "DELETE", f"/limits/p/key?{query}").status == 400


def test_a_policy_is_not_reset(weir):
    assert order(limited(weir), "DELETE", "/limits/p").get("allow") == "GET, HEAD"


def test_slots_come_back_by_themselves(weir):
    w = weir(policies={"c": {"concurrency": 2, "key": "header.x-user"}}, use=["c"])
    c = w.client().ask(headers={"X-User": "ann"})
    w.upstream.expect_request()
    assert w.admin("/limits/c/key?value=ann").json()["remaining"] == 1
    assert order(w, "DELETE", "/limits/c/key?value=ann").status == 409
    w.upstream.answer()
    c.expect(200)


def test_what_is_remembered_is_bounded(weir):
    w = weir(serve=True, admin={"listen": f"127.0.0.1:{harness.free_port()}", "top_keys": 4},
             policies={"p": {"rate": "1/d", "burst": 1, "key": "header.x-user"}}, use=["p"])
    for user in range(30):
        ask_as(w, f"u{user}", 2)
    assert w.metric("weir_limit_refused_keys", policy="p") == 4


# ---- what others ask for

def test_breakers_say_since_when_and_of_how_many(weir):
    w = weir(policies={"guard": {"breaker": "90%", "min_requests": 10}}, use=["guard"],
             serve=lambda r: harness.response(500 if r.path == "/bad" else 200))
    assert w.admin("/breakers").json()["breakers"][0]["since"] is None
    w.fetch("/bad"), w.fetch()
    b = w.admin("/breakers").json()["breakers"][0]
    assert (b["calls"], b["failures"], b["state"]) == (2, 1, "closed")
    order(w, "PUT", "/breakers/guard/app", {"state": "closed"})
    assert 0 <= w.admin("/breakers").json()["breakers"][0]["since"] < 60


def test_one_breaker_is_shown_alone(weir):
    w = weir(policies={"guard": {"breaker": 5}, "more": {"breaker": 6}, "p": {"rate": "1/h"}}, use=["guard", "more", "p"])
    for path in ("guard", "guard/app", f"guard/app/{w.upstream.addr}"):
        assert [b["policy"] for b in w.admin(f"/breakers/{path}").json()["breakers"]] == ["guard"]
    for path in ("", "p", "nope", "guard/", "guard/nope", "guard/app/nope", "guard/%zz"):
        assert w.admin(f"/breakers/{path}").status == 404, path
    assert order(w, "PUT", "/breakers/guard", {"state": "open"}).status == 404


def test_stats_say_which_policies_a_route_has(weir):
    w = limited(weir)
    assert w.stats()["chains"] == [{"route": "app", "to": "app", "policies": ["p"]}]


def test_idle_callers_make_room(weir):
    w = weir(admin={"listen": (addr := f"127.0.0.1:{harness.free_port()}"), "connections": 3})
    idle = [w.client(addr) for _ in range(20)]
    w.admin_addr = addr
    assert all(w.admin("/health").status == 200 for _ in range(5))
    for c in idle:
        c.close()

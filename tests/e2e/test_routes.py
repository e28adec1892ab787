"""What a route does beside sending a call on: answers of its own, header fields of answers, another path or host for the
upstream, regular expressions."""

import json
import re
import time

import pytest

from h2wire import H2Client, H2Upstream
from harness import Client, connect, free_port, parallel, response, until


def answers(weir, *respond, **more):
    """Routes /0, /1, ... with these answers, and one to the upstream."""
    routes = [{"name": f"r{i}", "match": {"path": f"/{i}*"}, "respond": r} for i, r in enumerate(respond)]
    return weir(routes=[*routes, {"name": "app", "to": "app"}], **more)


def get(w, target="/", status=200, body=None, **more):
    return w.client().ask(target, **more).expect(status, body)


def sent(weir, route, target, **more):
    """The request as the upstream got it."""
    w = weir(route=route, **more.pop("conf", {}))
    c = w.client().ask(target, **more)
    r = w.upstream.expect_request()
    w.upstream.answer(200, b"ok")
    c.expect(200, b"ok")
    return r, w


# ---- answers of its own: failures first

def test_policies_are_asked_before(weir):
    w = weir(policies={"p": {"rate": "1/h", "burst": 1}}, routes=[{"name": "a", "respond": 200, "use": ["p"]}], upstreams=None)
    get(w, "/", status=200)
    get(w, "/", status=429)
    assert [r["reason"] for r in w.access(2)] == ["responded", "rate_limited"]


def test_nobody_who_may_not_is_answered(weir):
    w = weir(auth={"api_key": {"header": "x-api-key", "allow": ["sha256:8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a"]}},
             routes=[{"name": "a", "respond": {"status": 200, "body": "in"}, "auth": "api_key"}], upstreams=None)
    get(w, "/", status=401)
    get(w, "/", status=200, headers={"X-Api-Key": "k"})


def test_trace_and_long_bodies_are_refused(weir):
    w = weir(routes=[{"name": "a", "respond": 200, "max_body": "1KiB"}], upstreams=None)
    w.client().ask("/", method="TRACE").expect(405)
    w.client().ask("/", body=b"x" * 2000).refused(413)


def test_nothing_is_answered(weir):
    w = answers(weir, {"close": True})
    w.client().ask("/0").expect_closed()
    w.client().send(b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").expect_closed()
    w.upstream.untouched()
    line = w.access(1)[0]
    assert line["reason"] == "dropped" and "http.response.status_code" not in line
    assert w.metric("weir_rejections_total", route="r0", reason="dropped") == 2


def test_nothing_is_answered_in_http2(weir):
    w = answers(weir, {"close": True}, 200)
    h = H2Client(w.client())
    s = h.ask("/0")
    h.pump(lambda: h.of(s).reset is not None, "a reset")
    h.fetch("/1", 200)


def test_a_body_that_is_not_wanted_ends_the_connection(weir):
    w = answers(weir, 404)
    c = w.client().send(b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1000)
    c.expect(404, b"", connection="close")
    w.client().send(b"POST /0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n").expect(404, connection="close")


def test_a_short_body_is_dropped_and_the_connection_stays(weir):
    w = answers(weir, 404)
    c = w.client()
    for _ in range(3):
        c.ask("/0", body=b"x" * 1000).expect(404, b"", connection=None)


def test_a_hundred_continue_is_never_asked_for(weir):
    c = answers(weir, 403).client()
    c.send(b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").expect(403, b"", connection="close")


# ---- what is answered

def test_an_answer(weir):
    w = answers(weir, {"status": 200, "body": "hello\n", "headers": {"X-A": "1", "cache-control": "no-store"}})
    r = get(w, "/0", status=200, body=b"hello\n")
    r.check_fields({"content-type": "text/plain; charset=utf-8", "x-a": "1", "cache-control": "no-store", "via": None,
                    "server": None})
    assert r.get("date") and r.get("x-request-id")
    w.upstream.untouched()


def test_it_is_counted_and_logged(weir):
    w = answers(weir, 404)
    get(w, "/0/x?y", status=404)
    line = w.access(1)[0]
    assert line["http.route"] == "r0" and line["outcome"] == "ok" and line["reason"] == "responded"
    assert line["url.path"] == "/0/x" and line["attempts"] == 0 and "upstream" not in line
    assert w.metric("weir_requests_total", route="r0", code="404", method="GET") == 1
    assert not w.metric("weir_rejections_total", route="r0")


@pytest.mark.parametrize("status,body", [(200, b"text"), (404, b"text"), (503, b"text"), (599, b"text")])
def test_head_has_the_length_alone(weir, status, body):
    c = answers(weir, {"status": status, "body": body.decode()}).client()
    c.ask("/0", method="HEAD").expect(status, head=True, content_length="4")
    c.ask("/0").expect(status, body)


@pytest.mark.parametrize("status", [204, 304])
def test_some_have_no_body(weir, status):
    w = answers(weir, status)
    for method in ("GET", "HEAD", "POST"):
        w.client().ask("/0", method=method).expect(status, content_length=None, content_type=None, transfer_encoding=None)
    assert not H2Client(w.client()).fetch("/0", status, b"").get("content-length")


def test_http_1_0(weir):
    w = answers(weir, {"status": 200, "body": "x"})
    w.client().ask("/0", version="1.0", host=None).expect(200, b"x", connection="close")


@pytest.mark.parametrize("location,want", [
    ("https://{host}{uri}", "https://test/0/a%20b?c=%22"), ("{scheme}://{authority}/x", "http://test:81/x"),
    ("/new{match.rest}?{query}", "/new/a%20b?c=%22"), ("/{query.c}", "/%22"), ("/{header.x-a}", "/a%20%22%3C")])
def test_redirects(weir, location, want):
    w = answers(weir, {"status": 301, "location": location})
    get(w, "/0/a%20b?c=%22", host="test:81", headers={"X-A": "a \"<"}, status=301, body=b"").check_fields({"location": want})


def test_what_clients_say_stays_in_its_place(weir):
    w = answers(weir, {"status": 302, "location": "/{query.q}", "headers": {"X-A": "{query.q}"}},
                {"status": 200, "body": '{"q":"{query.q}"}', "content_type": "application/json"},
                {"status": 200, "body": "<p>{query.q}", "content_type": "text/html"})
    r = get(w, "/0?q=%0d%0aX-B:%201", status=302)
    r.check_fields({"location": "/%0D%0AX-B:%201", "x-a": "%0D%0AX-B: 1", "x-b": None})
    assert json.loads(get(w, '/1?q=%22,%0a"').body) == {"q": '",\n"'}
    assert get(w, "/2?q=%3Cscript%3E").body == b"<p>&lt;script&gt;"


def test_a_body_from_a_file_is_text(weir, tmp_path):
    (tmp_path / "page").write_text("{host} {no}\n\n")
    w = answers(weir, {"status": 200, "body": "${file:%s}" % (tmp_path / "page")})
    get(w, "/0", status=200, body=b"{host} {no}\n")


def test_http2(weir):
    w = answers(weir, {"status": 200, "body": "x" * 65536, "headers": {"X-Upper": "A"}}, {"status": 308, "location": "{uri}"})
    h = H2Client(w.client())
    h.expect(h.ask("/0"), 200, b"x" * 65536, x_upper="A")
    h.expect(h.ask("/1?a"), 308, b"", location="/1?a")
    h.expect(h.ask("/0", method="HEAD"), 200, b"", content_length="65536")
    h.expect(h.ask("/1", method="POST", body=b"y" * 1000), 308, b"")


@pytest.mark.parametrize("status,code", [(404, 12), (403, 7), (429, 8), (503, 14), (500, 13), (301, 2)])
def test_grpc_is_told_in_its_own_way(weir, status, code):
    w = answers(weir, {"status": status, **({"location": "/"} if status == 301 else {"body": "x"})})
    h = H2Client(w.client())
    r = h.expect(h.ask("/0", method="POST", headers={"content-type": "application/grpc", "te": "trailers"}, body=b"\0" * 5), 200, b"")
    assert r.get("grpc-status") == str(code) and r.trailers is None


def test_an_answer_needs_no_upstream(weir):
    w = weir(routes=[{"name": "a", "respond": {"status": 200, "body": "a"}}], upstreams=None)
    get(w, "/", status=200, body=b"a")


def test_answers_change_with_a_reload(weir):
    w = answers(weir, {"status": 200, "body": "old"})
    c = w.client()
    c.ask("/0").expect(200, b"old")
    w.reload(routes=[{"name": "r0", "respond": {"status": 410, "body": "new"}}])
    c.ask("/0").expect(410, b"new")


def test_many_pipelined(weir):
    c = answers(weir, {"status": 200, "body": "{query.n}"}).client()
    c.send(b"".join(b"GET /0?n=%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(300)))
    for i in range(300):
        c.expect(200, b"%d" % i)


# ---- header fields of answers

def edited(weir, response_conf, status=200, headers=(), body=b"ok", **conf):
    w = weir(route={"response": response_conf}, serve=lambda r: response(status, body, headers), **conf)
    return get(w, "/", status=status)


def test_fields_are_set_added_and_taken_out(weir):
    r = edited(weir, {"set": {"x-a": "new"}, "add": {"set-cookie": "b=2"}, "remove": ["server", "x-b"]},
               headers=[("Server", "s"), ("X-A", "1"), ("x-a", "2"), ("X-B", "1"), ("Set-Cookie", "a=1")])
    assert r.all("x-a") == ["new"] and r.all("set-cookie") == ["a=1", "b=2"]
    r.check_fields({"server": None, "x-b": None, "via": "1.1 weir"})


@pytest.mark.parametrize("status,there", [(200, True), (201, True), (206, True), (302, True), (308, True), (202, False),
                                          (404, False), (500, False)])
def test_on_success_alone(weir, status, there):
    r = edited(weir, {"when": "success", "set": {"x-a": "1"}}, status=status)
    assert r.has("x-a") == there


def test_values_of_the_call(weir):
    r = edited(weir, {"set": {"x-a": "{client.ip} {host} {route} {request_id}", "x-empty": "{header.none}"}})
    assert re.fullmatch(r"127\.0\.0\.1 test app [0-9a-f]{32}", r.get("x-a")) and not r.has("x-empty")


def test_parts_of_values_are_replaced(weir):
    r = edited(weir, {"replace": {"Location": {"pattern": "~ ^http://app/v1/([a-z]*)", "with": "{scheme}://{host}/api/{match.1}"},
                                  "set-cookie": {"pattern": "~* (; *path=)/", "with": "{match.1}/app/"},
                                  "x-gone": {"pattern": "~ ^.*$", "with": "{header.none}"}}}, status=302,
               headers=[("Location", "http://app/v1/ab1?c"), ("Set-Cookie", "a=1; Path=/; Secure"), ("Set-Cookie", "b=2"),
                        ("Set-Cookie", "c=3;path=/x"), ("X-Gone", "a")])
    assert r.all("set-cookie") == ["a=1; Path=/app/; Secure", "b=2", "c=3;path=/app/x"]
    r.check_fields({"location": "http://test/api/ab1?c", "x-gone": None})


def test_what_is_not_found_stays(weir):
    r = edited(weir, {"replace": {"location": {"pattern": "~ ^http://app/", "with": "/"}, "x-hard": {"pattern": "~ ^(a+)+[bc]$", "with": ""}}},
               headers=[("Location", "/app/x"), ("X-Hard", "a" * 3000)])
    r.check_fields({"location": "/app/x", "x-hard": "a" * 3000})


def test_refusals_have_them_too(weir):
    w = weir(policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"], serve=True,
             route={"response": [{"set": {"x-all": "1"}, "remove": ["x-ratelimit-limit"]},
                                 {"when": "success", "set": {"x-good": "1"}}]})
    get(w, "/", status=200).check_fields({"x-all": "1", "x-good": "1"})
    get(w, "/", status=429).check_fields({"x-all": "1", "x-good": None, "x-ratelimit-limit": None, "x-ratelimit-reset": re.compile(".")})


def test_a_route_has_its_own_in_place_of_those_of_all(weir):
    w = weir(response={"set": {"x-all": "{path}"}}, routes=[
        {"name": "a", "match": {"path": "/a"}, "respond": 200},
        {"name": "b", "match": {"path": "/b"}, "respond": 200, "response": {"set": {"x-own": "1"}}}])
    get(w, "/a", status=200).check_fields({"x-all": "/a", "x-own": None})
    get(w, "/b", status=200).check_fields({"x-all": None, "x-own": "1"})
    get(w, "/c", status=404).check_fields({"x-all": "/c"})
    w.client().send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").refused(400)


def test_a_cut_head_has_them_without_a_call(weir):
    w = weir(response={"set": {"x-all": "[{path}{host}{client.ip}]"}}, serve=True)
    w.client().send(b"\x01\r\n\r\n").refused(400, x_all="[127.0.0.1]")


def test_fields_in_http2(weir, upstreams):
    up, = upstreams(1)
    w = weir(upstream=up, upstreams={"app": {"endpoints": [up.addr], "http2": True}},
             route={"response": {"set": {"X-A": "1"}, "remove": ["x-b"]}})
    h, u = H2Client(w.client()), H2Upstream(up)
    s = h.ask("/")
    u.answer(u.expect("GET /"), 200, b"y", [("x-b", "1")])
    h.expect(s, 200, b"y", x_a="1", x_b=None)


def test_interim_answers_are_left_alone(weir):
    w = weir(route={"response": {"set": {"x-a": "1"}}})
    c = w.client().ask("/")
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n").answer(200, b"ok")
    c.expect(103, x_a=None, link="a")
    c.expect(200, b"ok", x_a="1")


# ---- pages for errors

PAGES = [{"when": ["404"], "from": "upstream", "status": 200, "body": "none {path}", "headers": {"x-page": "1"}},
         {"when": ["429"], "from": "weir", "body": '{"slow":"{client.ip}"}', "content_type": "application/json"},
         {"when": ["5xx"], "status": 302, "location": "/sorry?{path}"}]


def paged(weir, status, headers=(), pages=None, **more):
    return weir(route={"errors": pages or PAGES}, serve=lambda r: response(status, b"theirs", headers), **more)


def test_pages_in_place_of_an_upstreams_answers(weir):
    w = paged(weir, 404, [("Set-Cookie", "a"), ("Server", "s"), ("WWW-Authenticate", "Basic"), ("Retry-After", "7")])
    r = get(w, "/a%20b", 200, b"none /a%20b")
    r.check_fields({"x-page": "1", "set-cookie": None, "server": None, "www-authenticate": "Basic", "retry-after": "7", "via": None,
                    "content-type": "text/plain; charset=utf-8"})
    line = w.access(1)[0]
    assert line["reason"] == "ok" and line["http.response.status_code"] == 200 and line["attempts"] == 1


def test_answers_without_a_page_are_left_alone(weir):
    w = paged(weir, 403, [("X-A", "1")])
    get(w, "/", 403, b"theirs").check_fields({"x-a": "1", "via": "1.1 weir"})
    w = paged(weir, 429)
    get(w, "/", 429, b"theirs")


def test_pages_in_place_of_refusals(weir):
    w = paged(weir, 200, policies={"p": {"rate": "1/h", "burst": 1}}, use=["p"])
    get(w, "/", 200, b"theirs")
    r = get(w, "/", 429, b'{"slow":"127.0.0.1"}', headers={"Content-Length": "0"})
    r.check_fields({"content-type": "application/json", "retry-after": re.compile(r"\d+"), "ratelimit": re.compile(".")})
    assert w.access(2)[1]["reason"] == "rate_limited" and w.metric("weir_rejections_total", policy="p") == 1


def test_pages_when_nobody_is_there(weir, upstreams):
    gone, = upstreams(1)
    gone.refuse()
    w = weir(upstreams={"app": gone.addr}, errors=[PAGES[2]])
    get(w, "/x", 302, b"", headers={}).check_fields({"location": "/sorry?/x"})
    assert w.access(1)[0]["reason"] == "connect_failed"


def test_pages_of_the_whole_configuration(weir):
    w = weir(errors=[{"when": "404", "status": 410, "body": "gone"}], routes=[{"name": "a", "match": {"path": "/a"}, "respond": 404}])
    get(w, "/b", 410, b"gone")
    get(w, "/a", 410, b"gone")


def test_pages_of_the_route_come_first_and_name_the_error(weir):
    page = {"when": "4xx", "body": "<b>{status} {phrase}</b>", "content_type": "text/html"}
    own = {"match": {"path": "/own"}, "respond": 404, "errors": {"when": 404, "body": "own"}}
    said = {"match": {"path": "/said"}, "respond": {"status": 404, "body": "said"}}
    more = {"match": {"path": "/more"}, "respond": {"status": 403, "headers": {"x-why": "so"}}}
    w = weir(errors=[page], routes=[{"name": r["match"]["path"][1:], **r} for r in (own, said, more)])
    get(w, "/own", 404, b"own")
    get(w, "/said", 404, b"said")
    get(w, "/none", 404, b"<b>404 Not Found</b>").check_fields({"content-type": "text/html"})
    get(w, "/more", 403, b"<b>403 Forbidden</b>").check_fields({"x-why": "so"})


def test_tries_and_breakers_see_the_answer(weir):
    pages = [{"when": ["503"], "status": 200, "body": "calm"}]
    w = paged(weir, 503, pages=pages, policies={"r": {"retry": 2, "when": [503]}, "b": {"breaker": 3, "open_for": "60s"}}, use=["r", "b"])
    get(w, "/", 200, b"calm")
    assert w.upstream.requests == 3
    get(w, "/", 200, b"calm").check_fields({"retry-after": re.compile(r"\d+")})
    assert [r["reason"] for r in w.access(2)] == ["ok", "breaker_open"] and w.upstream.requests == 3


def test_a_page_says_that_the_budget_is_spent(weir):
    w = paged(weir, 503, pages=[{"when": "503", "body": "calm"}], policies={"r": {"retry": 1, "when": [503], "budget": "0%"}}, use=["r"])
    until(lambda: get(w, "/", 503, b"calm").get("x-should-retry") == "false", "a budget that is spent")


def test_a_page_ends_the_rest(weir):
    w = weir(route={"errors": PAGES})
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
    w.upstream.expect_request("POST /", read_body=False)
    w.upstream.send(b"HTTP/1.1 404 No\r\nContent-Length: 1000000\r\n\r\n" + b"y" * 1000)
    c.expect(200, b"none /", connection="close")


def test_heads_and_pages_without_a_body(weir):
    w = paged(weir, 404, pages=[{"when": ["404"], "status": 204, "headers": {"x-a": "1"}}])
    get(w, "/", 204).check_fields({"content-length": None, "x-a": "1"})
    w = paged(weir, 404)
    w.client().ask("/", method="HEAD").expect(200, head=True, content_length="6")


def test_pages_in_http2_but_not_in_grpc(weir, upstreams):
    up, = upstreams(1)
    w = weir(upstream=up, upstreams={"app": {"endpoints": [up.addr], "http2": True}}, route={"errors": PAGES})
    h, u = H2Client(w.client()), H2Upstream(up)
    s = h.ask("/")
    u.answer(u.expect("GET /"), 404, b"y" * 1000)
    h.expect(s, 200, b"none /", x_page="1")
    s = h.ask("/", method="POST", headers={"content-type": "application/grpc", "te": "trailers"}, body=b"\0" * 5)
    u.answer(u.expect("POST /"), 404, b"theirs")
    h.expect(s, 404, b"theirs")


# ---- another path

@pytest.mark.parametrize("match,rewrite,target,want", [
    ("/api/*", {"prefix": "/"}, "/api/x?y=1", "/x?y=1"),
    ("/api/*", {"prefix": "/v1"}, "/api/x", "/v1/x"),
    ("/api/*", {"prefix": "/v1/"}, "/api/", "/v1/"),
    ("/api/*", {"prefix": "/v1"}, "/api//a%2fb/%7e?", "/v1/a%2Fb/~?"),
    ("/api*", {"prefix": "/v1"}, "/api", "/v1"),
    ("/*", {"path": "/all{path}"}, "/a/./b", "/all/a/b"),
    ("/*", {"path": "/one"}, "/a?q", "/one?q"),
    ("/*", {"path": "/one", "query": ""}, "/a?q", "/one"),
    ("/*", {"query": "a={query.a}&h={host}"}, "/a/./?a=%26", "/a/./?a=%26&h=test"),
    ("/*", {"query": "id={query.id}&role=user"}, "/?id=1%26role%3Dadmin", "/?id=1%26role%3Dadmin&role=user"),
    ("/re*", {"pattern": "~ ^/re/(.)", "path": "/q", "query": "id={match.1}&{query}"}, "/re/1", "/q?id=1"),
    ("/re*", {"pattern": "~ ^/re/(.)", "path": "/q", "query": "id={match.1}&{query}"}, "/rex?k=v", "/rex?k=v"),
    ("~ ^/u/([0-9]+)/(.*)$", {"path": "/user/{match.2}/{match.1}"}, "/u/7/x", "/user/x/7"),
    ("/p/*", {"pattern": "~ ^/p/([a-z]+)$", "path": "/q/{match.1}"}, "/p/abc", "/q/abc"),
    ("/p/*", {"pattern": "~ ^/p/([a-z]+)$", "path": "/q/{match.1}"}, "/p/./1", "/p/./1")])
def test_paths(weir, match, rewrite, target, want):
    r, w = sent(weir, {"match": {"path": match}, "rewrite": rewrite}, target)
    assert r.line == f"GET {want} HTTP/1.1" and w.access(1)[0]["url.path"] == target.partition("?")[0]


@pytest.mark.parametrize("target", ["/?to=a%20b", "/?to=/../../x", "/?to=/a/%2e%2e/%2e%2e", "/?to=/..%5Cx", "/?to=", "/"])
def test_a_path_that_is_none_is_refused(weir, target):
    w = weir(route={"rewrite": {"path": "{query.to}"}})
    w.client().ask(target).refused(400)
    w.upstream.untouched()


def test_nothing_of_a_value_becomes_a_request(weir):
    r, _ = sent(weir, {"rewrite": {"path": "/x/{query.a}"}}, "/?a=1%20HTTP/1.1%0d%0aX-B:%202%3f%23%25")
    assert r.line == "GET /x/1%20HTTP/1.1%0D%0AX-B:%202%3F%23%25?a=1%20HTTP/1.1%0d%0aX-B:%202%3f%23%25 HTTP/1.1"


def test_limits_count_by_what_the_client_asked_for(weir):
    w = weir(policies={"p": {"rate": "1/h", "burst": 1, "key": "path"}}, use=["p"], serve=True, route={"rewrite": {"path": "/one"}})
    assert [w.fetch(p).status for p in ("/a", "/b", "/a")] == [200, 200, 429]


def test_every_try_has_the_path(weir, upstreams):
    a, b = upstreams(2)
    w = weir(upstream=a, upstreams={"app": {"endpoints": [a.addr, b.addr]}}, policies={"r": {"retry": 1, "when": [503]}}, use=["r"],
             route={"match": {"path": "/a/*"}, "rewrite": {"prefix": "/b"}, "host": "upstream"})
    a.serve(lambda r: response(503, b"a"))
    b.serve(lambda r: response(200, f"{r.line} {r.get('host')}".encode()))
    for _ in range(2):
        get(w, "/a/x", status=200, body=f"GET /b/x HTTP/1.1 {b.addr}".encode())


def test_paths_in_http2(weir, upstreams):
    up, = upstreams(1)
    w = weir(upstream=up, upstreams={"app": {"endpoints": [up.addr], "http2": True}},
             route={"match": {"path": "/a/*"}, "rewrite": {"prefix": "/b"}, "host": "in.{host}"})
    h, u = H2Client(w.client()), H2Upstream(up)
    s = h.ask("/a/x?y")
    r = u.expect("GET /b/x?y")
    assert r.get(":authority") == "in.test"
    u.answer(r, 200, b"y")
    h.expect(s, 200, b"y")


# ---- another host, and fields of requests

@pytest.mark.parametrize("host,want", [(None, "test:81"), ("client", "test:81"), ("upstream", None), ("shop.internal", "shop.internal"),
                                       ("{host}", "test"), ("{host}:8080", "test:8080")])
def test_hosts(weir, host, want):
    r, w = sent(weir, {"host": host} if host else {}, "/a/./b?c", host="test:81")
    r.check_fields({"host": want or w.upstream.addr, "x-forwarded-host": "test:81"})
    assert r.line == "GET /a/./b?c HTTP/1.1" and r.all("host") == [r.get("host")]
    assert w.access(1)[0]["server.address"] == "test"


def test_a_host_that_is_none_is_refused(weir):
    w = weir(route={"host": "{header.x-to}"})
    w.client().ask("/").refused(400)
    w.client().ask("/", headers={"X-To": "a b"}).refused(400)
    w.upstream.untouched()


def test_fields_of_requests(weir):
    r, _ = sent(weir, {"set": {"accept-encoding": "", "x-uri": "{uri}", "x-none": "{cookie.none}", "x-key": "{{host}", "X-Scheme": "{scheme}"}},
                "/a?b", headers={"Accept-Encoding": "gzip", "X-Uri": "1", "X_Uri": "2", "X-None": "3"})
    r.check_fields({"accept-encoding": None, "x-uri": "/a?b", "x-none": None, "x-key": "{host}", "x-scheme": "http"})
    assert b"X_Uri" not in r.raw


# ---- regular expressions

def test_the_first_that_matches_wins(weir):
    paths = ["/a", "~ ^/a", "/a/*", "~* \\.PNG$", "/*"]
    w = weir(routes=[{"name": f"n{i}", "match": {"path": p}, "respond": {"status": 200, "body": str(i)}} for i, p in enumerate(paths)])
    got = {p: w.fetch(p).body.decode() for p in ("/a", "/ab", "/a/b", "/x.png", "/x.pnG", "/b", "/%61", "/x/../a/c")}
    assert got == {"/a": "0", "/ab": "1", "/a/b": "1", "/x.png": "3", "/x.pnG": "3", "/b": "4", "/%61": "0", "/x/../a/c": "1"}


def test_a_path_that_takes_too_long_is_refused_at_once(weir):
    w = weir(routes=[{"name": "guard", "match": {"path": "~ ^/(a+)+[bc]$"}, "respond": 403}, {"name": "app", "to": "app"}], serve=True)
    c, began = w.client(), time.monotonic()
    for _ in range(20):
        c.ask("/" + "a" * 8000).expect(400)
    assert time.monotonic() - began < 20  # unbounded, one would not end
    c.ask("/aaab").expect(403)
    c.ask("/aaa").expect(200)
    assert w.access(1)[0]["reason"] == "path_too_hard"


# ---- conditions

def conditional(weir, *when, **more):
    routes = [{"name": f"n{i}", "match": {"when": c}, "respond": {"status": 200, "body": str(i)}} for i, c in enumerate(when)]
    return weir(routes=[*routes, {"name": "rest", "respond": {"status": 200, "body": "rest"}}], upstreams=None, **more)


@pytest.mark.parametrize("when,yes,no", [
    ({"header.x-v": "2"}, {"X-V": "2"}, {"X-V": "22"}),
    ({"header.x-v": ["1", "2"]}, {"X-V": "2"}, {"X-V": "1,2"}),
    ({"header.x-v": "*"}, {"X-V": "a"}, {"X-V": ""}),
    ({"header.x-v": ""}, {"X-W": "2"}, {"X-V": "2"}),
    ({"header.user-agent": "~* bot|crawl"}, {"User-Agent": "GoogleBot/2"}, {"User-Agent": "curl"}),
    ({"header.a": "1", "header.b": "2"}, {"A": "1", "B": "2"}, {"A": "1"}),
    ({"cookie.beta": "yes"}, {"Cookie": "a=b; beta=yes"}, {"Cookie": "a=beta=yes"}),
    ({"header.x-v": "~ ."}, {"X-V": "a"}, {})])
def test_fields(weir, when, yes, no):
    w = conditional(weir, when)
    get(w, "/", 200, b"0", headers=yes)
    get(w, "/", 200, b"rest", headers=no)


def test_queries_and_listeners(weir):
    w = conditional(weir, {"query.v": "a b"}, {"server.port": "1"}, {"server.port": "~ ^[0-9]+$", "scheme": "http", "method": "PUT"})
    assert [w.client().ask(t, method=m).expect(200).body for t, m in (("/?x&v=a+b", "GET"), ("/?v=a", "GET"), ("/", "PUT"))] == [
        b"0", b"rest", b"2"]


def test_two_listeners(weir):
    port = free_port()
    w = conditional(weir, {"server.address": f"127.0.0.1:{port}"}, listen=["127.0.0.1:%d" % free_port(), f"127.0.0.1:{port}"],
                    start=False)
    w.write(listen=[w.addr, f"127.0.0.1:{port}"])
    w.start()
    get(w, "/", 200, b"rest")
    Client(connect(f"127.0.0.1:{port}")).ask("/").expect(200, b"0").check_fields({})


def test_addresses(weir):
    w = conditional(weir, {"client.ip": ["10.0.0.0/8", "::1"]}, {"client.ip": "127.0.0.0/8"},
                    client_ip={"trust": ["127.0.0.1"], "header": "x-forwarded-for"})
    assert [get(w, "/", headers=h).body for h in ({"X-Forwarded-For": "10.2.3.4"}, {}, {"X-Forwarded-For": "11.0.0.1"},
                                                  {"X-Forwarded-For": "::1"})] == [b"0", b"1", b"rest", b"0"]


def test_a_condition_that_takes_too_long_lets_nothing_by(weir):
    w = conditional(weir, {"header.x": "~ ^(a+)+[bc]$"})
    w.client().ask("/", headers={"X": "a" * 5000}).expect(400)


def test_conditions_are_explained(run, policy):
    path = policy("""listen: [127.0.0.1:18080, 127.0.0.1:18081]
routes:
  - { name: a, match: { when: { server.port: "18081", header.x-v: "2" } }, respond: { status: 200, body: a } }
  - { name: b, match: { when: { client.ip: [10.0.0.0/8] } }, respond: 403 }
  - { name: c, respond: { status: 301, location: "{scheme}://{server.address}" } }
""")
    assert "no: it wants another server.port, header.x-v" in run("explain", "-c", path, "http://h:18081/").stdout
    assert "yes: path /*, and its conditions hold" in run("explain", "-c", path, "-H", "X-V: 2", "http://h:18081/").stdout
    assert "by its route: 403" in run("explain", "-c", path, "--client", "10.1.1.1", "/").stdout
    assert "Location: http://127.0.0.1:18080" in run("explain", "-c", path, "/").stdout
    assert run("check", "--strict", "-c", path).returncode == 0


def test_patterns_in_several_workers(weir):
    w = weir(workers=2, serve=True, route={"match": {"path": "~ ^/(a+)$"}, "rewrite": {"path": "/{match.1}"}, "response": {"set": {"x-a": "{match.1}"}}})
    got = parallel(8, lambda i: [w.client().ask("/" + "a" * (i + 1)).expect(200).get("x-a") for _ in range(20)])
    assert got == [["a" * (i + 1)] * 20 for i in range(8)]


def test_hosts_by_pattern(weir):
    hosts = ["mail.*", "~ ^(?:a|b)\\d\\.x$", "*.x"]
    w = weir(routes=[{"name": f"n{i}", "match": {"hosts": [h]}, "respond": {"status": 200, "body": str(i)}} for i, h in enumerate(hosts)])
    got = [w.client().ask("/", host=h).expect().body.decode()[:1] for h in ("MAIL.a.b:80", "A1.x", "c1.x", "mail")]
    assert got == ["0", "1", "2", "{"]


# ---- told

def test_explained(run, policy):
    path = policy("""listen: 127.0.0.1:18080
upstreams: { app: 127.0.0.1:3000 }
policies: { p: { rate: 1/h, burst: 2 } }
routes:
  - { name: old, match: { path: /old/* }, respond: { status: 301, location: "https://{host}{uri}" }, use: [p] }
  - { name: hard, match: { path: "~ ^/(a+)+[bc]$" }, respond: { close: true } }
  - { name: app, to: app, host: in.example, rewrite: { path: "/v1{path}" } }
""")
    text = run("explain", "-c", path, "http://a.b/old/x?y").stdout
    assert "is answered by its route: 301" in text and "Location: https://a.b/old/x?y" in text
    assert "goes on to upstream app, as /v1/x?y of in.example" in run("explain", "-c", path, "/x?y").stdout
    assert "400 path_too_hard" in run("explain", "-c", path, "/" + "a" * 4000).stdout
    assert "is not answered: its connection is closed" in run("explain", "-c", path, "/aab").stdout


def test_explained_as_json(run, policy):
    path = policy("""listen: 127.0.0.1:18080
upstreams: { app: 127.0.0.1:3000 }
policies: { p: { rate: 1/h, burst: 2 } }
routes:
  - { name: old, match: { path: /old/* }, respond: { status: 302, location: "/new{match.rest}" }, use: [p] }
  - { name: app, to: app, rewrite: { query: "" } }
""")
    got = json.loads(run("explain", "-c", path, "--format", "json", "--repeat", "3@1s", "/old/x").stdout)
    assert got["outcome"] == {"decision": "respond", "delay_ms": 0, "status": 302, "location": "/newx"}
    assert [(c["last"], c["status"]) for c in got["repeat"]["calls"]] == [(2, 302), (3, 429)] and got["repeat"]["tries"] == 0
    got = json.loads(run("explain", "-c", path, "--format", "json", "/a?b").stdout)["outcome"]
    assert got["upstream_path"] == "/a" and got["upstream_query"] is None and got["upstream_host"] == "localhost"


def test_pages_are_explained(run, policy):
    path = policy("""listen: 127.0.0.1:18080
upstreams: { app: 127.0.0.1:3000 }
policies: { p: { rate: 1/h, burst: 1 } }
errors: [{ when: 404, status: 410 }, { when: [429], status: 503 }]
routes: [{ match: { path: /a }, to: app, use: [p] }]
""")
    got = json.loads(run("explain", "-c", path, "--format", "json", "--repeat", "2@1s", "/a").stdout)
    assert [c["status"] for c in got["repeat"]["calls"]] == [200, 503]
    assert "410 no_route" in run("explain", "-c", path, "/b").stdout


def test_dumped_and_read_again(run, policy):
    path = policy("""listen: 127.0.0.1:18080
upstreams: { app: 127.0.0.1:3000 }
response: [{ set: { x-a: "{host}" } }, { when: success, add: { x-b: "1" }, remove: [server], replace: { location: { pattern: "~ ^a", with: b } } }]
routes:
  - { name: a, match: { path: "~* ^/(a|b)$", hosts: ["~ x", "a.*"] }, respond: { status: 301, location: "/{match.1}" } }
  - { name: b, match: { path: /b* }, to: app, host: upstream, rewrite: { prefix: /c, query: "a={query.b}" } }
  - { name: c, match: { when: { client.ip: 10.0.0.0/8, header.x: ["", "~ y$"] } }, respond: 403 }
  - { name: d, respond: 404 }
errors: { when: [404, 5xx], from: weir, body: "{path}" }
""")
    first = run("dump", "-c", path).stdout
    again = run("dump", "-c", policy(first, "again.yaml"))
    assert again.stdout == first and not again.stderr and 'location: "/{match.1}"' in first


# ---- calls that a route sends on to another

SENT_ON = [{"name": "old", "match": {"path": "~ ^/old/(.*)$"}, "reroute": {"path": "/new/{match.1}", "query": "from=old&{query}"}},
           {"name": "round", "match": {"path": "/round*"}, "reroute": "{path}a"},
           {"name": "inside", "match": {"path": "/inside/*", "from": "route"}, "respond": {"status": 200, "body": "{path} {uri}"}},
           {"name": "outside", "match": {"path": "/inside/*"}, "respond": 404},
           {"name": "to-inside", "match": {"path": "/to/*"}, "reroute": "/inside/{match.rest}"}]


def test_reroute(weir):
    w = weir(routes=SENT_ON + [{"name": "app", "to": "app"}], serve=lambda r: response(200, r.target.encode()))
    get(w, "/old/x?a=b", 200, b"/new/x?from=old&a=b")
    get(w, "/to/x?y", 200, b"/inside/x /to/x?y")
    assert w.fetch("/inside/x").status == 404 and w.fetch("/round").status == 500
    logged = [(r["url.path"], r["reason"]) for r in w.access(4)]
    assert logged == [("/old/x", "ok"), ("/to/x", "responded"), ("/inside/x", "responded"), ("/round", "rerouted_too_often")]


def handing(weir, page, up, **more):
    routes = [{"name": "second", "match": {"from": "name"}, "to": "other", "set": {"x-second": "{path}"}},
              {"name": "page", "match": {"path": "/sorry"}, "respond": {"status": 200, "body": "sorry {uri}"}}]
    first = {"name": "app", "to": "app", "errors": page, "set": {"x-first": "1"}, **more.pop("route", {})}
    places = {"app": up.addr, "other": more.pop("other", up.addr)}
    return weir(routes=routes + [first], upstreams=places, **more)


@pytest.fixture
def failing(upstreams):
    up, = upstreams(1)
    return up.serve(lambda r: response(503, b"theirs"))


def test_an_error_is_answered_by_another_path(weir, failing):
    w = handing(weir, {"when": "5xx", "path": "/sorry", "status": 503}, failing)
    get(w, "/x?y", 503, b"sorry /x?y")
    w.client().ask("/x", method="POST", body=b"b" * 100000).expect(503, b"sorry /x")
    assert [r["reason"] for r in w.access(2)] == ["responded", "responded"] and failing.requests == 2


def test_an_error_goes_to_another_upstream(weir, upstreams, failing):
    other, = upstreams(1)
    w = handing(weir, {"when": [503], "route": "second"}, failing, other=other.addr)
    c = w.client().ask("/x?y", method="POST", body=b"body")
    r = other.expect_request("POST /x?y", body=b"body", x_second="/x")
    other.answer(201, b"done")
    c.expect(201, b"done")
    assert r.get("x-first") is None and r.get("x-request-id") and w.access(1)[0]["http.response.status_code"] == 201


def test_who_cannot_be_sent_again_keeps_his_error(weir, failing):
    w = handing(weir, {"when": [503], "route": "second"}, failing)
    w.client().ask("/x", method="POST", body=b"b" * 100000).expect(503, b"theirs")


def test_nobody_there_is_an_error_too(weir, upstreams, failing):
    gone, = upstreams(1)
    gone.refuse()
    w = handing(weir, {"when": 502, "path": "/sorry"}, gone, other=failing.addr)
    get(w, "/x", 200, b"sorry /x")


def test_a_refusal_goes_elsewhere(weir, upstreams):
    up, other = (u.serve() for u in upstreams(2))
    w = handing(weir, {"when": 429, "route": "second", "status": 202}, up, other=other.addr, policies={"p": {"rate": "1/h", "burst": 1}},
                route={"use": ["p"]})
    get(w, "/", 200, b"ok")
    get(w, "/", 202, b"ok")
    assert up.requests == other.requests == 1 and [r.get("limit") for r in w.access(2)][1]


def test_errors_are_handed_on_once(weir, failing):
    w = handing(weir, {"when": 503, "route": "app"}, failing)
    get(w, "/", 503, b"theirs")
    assert failing.requests == 2


BROKEN = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


def test_what_is_malformed_goes_to_no_upstream(weir):
    w = weir(errors=[{"when": 400, "route": "app"}])
    w.client().send(BROKEN).refused(400)
    w.upstream.untouched()
    c = w.client().send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    w.upstream.expect_request(read_body=False)
    c.send(b"zz\r\n").refused(400)


def test_what_is_malformed_has_its_page(weir):
    w = weir(errors=[{"when": 400, "path": "/sorry"}], routes=[{"name": "a", "match": {"path": "/sorry"}, "respond": {"status": 200, "body": "sorry"}}])
    w.client().send(BROKEN).expect(200, b"sorry")


def test_no_body_goes_elsewhere_with_a_hole(weir):
    second = {"name": "b", "to": "app", "match": {"from": "name"}}
    w = weir(routes=[{"name": "a", "to": "app", "max_body": "1KiB", "errors": {"when": 413, "route": "b"}}, second])
    c = w.client().send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    w.upstream.expect_request(read_body=False)
    c.send(b"800\r\n" + b"x" * 0x800 + b"\r\n0\r\n\r\n").refused(413)


def test_a_body_that_was_dropped_goes_nowhere(weir, failing):
    w = handing(weir, {"when": [503], "route": "second"}, failing, route={"body": "own"})
    w.client().ask("/x", method="POST", body=b"theirs").expect(503, b"theirs")
    assert failing.requests == 1
    get(w, "/x", 503, b"theirs")
    assert failing.requests == 3


def test_a_page_names_a_route(run, tmp_path):
    (tmp_path / "w.yaml").write_text("version: 1\nlisten: 127.0.0.1:80\nroutes: [{ respond: 404, errors: { when: 404, route: none } }]\n")
    got = run("check", "-c", "w.yaml")
    assert got.returncode != 0 and "there is no route `none`" in got.stdout + got.stderr

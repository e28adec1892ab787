"""Who calls: tokens and API keys, seen from outside."""

import hashlib
import json
import re
import time

import pytest

from certificates import certs
from h2wire import H2Client
from harness import parallel, response, until
from tokens import AUDIENCE, ISSUER, bearer, jwks, key, token

ALGS = ["RS256", "PS256", "ES256", "EdDSA", "HS256"]


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def guarded(weir, tmp_path):
    """A Weir that believes the tokens of some keys, and demands one of its calls."""
    def start(*keys, jwt=None, headers=None, api_key=None, serve=True, route=None, **more):
        (tmp_path / "jwks.json").write_text(jwks(*(keys or [key()])))
        auth = {"jwt": {"jwks": str(tmp_path / "jwks.json"), "issuer": ISSUER, "audience": AUDIENCE, **(jwt or {})}}
        auth.update({k: v for k, v in {"headers": headers, "api_key": api_key}.items() if v})
        w = weir(auth=auth, serve=serve, route=route if route is not None else {"auth": "jwt"}, **more)
        w.jwks = tmp_path / "jwks.json"
        return w
    return start


PER_TENANT = {"rate": "1/m", "burst": 2, "key": "jwt.tenant"}


# ---- tokens

@pytest.mark.parametrize("alg", ALGS)
def test_every_algorithm(guarded, alg):
    w = guarded(*[key(a) for a in ALGS])
    assert w.fetch(headers=bearer(token(key=key(alg)))).status == 200
    assert w.fetch(headers=bearer(token(key=key(alg, "stranger"), header={"kid": "first"}))).status == 401
    assert w.upstream.requests == 1


def test_nothing_sent(guarded):
    w = guarded()
    r = w.fetch()
    assert r.status == 401 and r.get("www-authenticate") == 'Bearer realm="weir"'
    assert r.get("x-should-retry") == "false" and r.json()["reason"] == "unauthenticated"


@pytest.mark.parametrize("claims, says", [
    ({"exp": int(time.time()) - 60}, "the token has expired"),
    ({"exp": None}, "the token does not say when it expires"),
    ({"nbf": int(time.time()) + 10**8}, "the token is not valid yet"),  # however long the tests before take
    ({"iss": "https://evil.test"}, "the token is of another issuer"),
    ({"aud": ["other"]}, "the token is for another audience"),
    ({"exp": "soon"}, "the claims of the token are malformed"),
])
def test_what_is_wrong_is_said(guarded, claims, says):
    r = guarded().fetch(headers=bearer(**claims))
    assert r.status == 401 and r.json()["detail"] == says
    assert r.get("www-authenticate") == f'Bearer realm="weir", error="invalid_token", error_description="{says}"'


def test_no_algorithm_is_no_signature(guarded):
    head, body, _ = token(header={"alg": "none"}).split(".")
    w = guarded()
    assert [w.fetch(headers=bearer(f"{head}.{body}.{x}")).status for x in ("", "AA")] == [401, 401]


def test_the_public_key_is_no_secret(guarded):
    rsa = key("RS256")
    forger = key("HS256", "forger")
    forger.secret = open(rsa.path, "rb").read()
    assert guarded(rsa).fetch(headers=bearer(token(key=forger, header={"kid": "first"}))).status == 401


def test_a_required_claim(guarded):
    w = guarded(jwt={"require": {"scope": ["admin", "write"], "org.id": "7"}})
    assert w.fetch(headers=bearer(scope="read write", org={"id": 7})).status == 200
    r = w.fetch(headers=bearer(scope="read", org={"id": 7}))
    assert r.status == 403 and 'error="insufficient_scope"' in r.get("www-authenticate")


def test_two_tokens_are_none(guarded):
    w = guarded()
    c = w.client().ask(headers=[*bearer().items(), *bearer().items()])
    assert c.expect(401).json()["detail"] == "credentials are given more than once"


def test_dialects(guarded):
    w = guarded()
    openai = w.fetch("/v1/chat/completions", method="POST").json()["error"]
    assert (openai["type"], openai["code"]) == ("invalid_request_error", "invalid_api_key")
    assert w.fetch("/v1/messages").json()["error"]["type"] == "authentication_error"
    assert w.fetch("/m:generateContent").json()["error"]["status"] == "UNAUTHENTICATED"


# ---- keys of limits

def test_a_claim_is_a_key(guarded):
    w = guarded(policies={"p": PER_TENANT}, use=["p"], route={})
    got = [w.fetch(headers=bearer(tenant=t)).status for t in "aaab"]
    assert got == [200, 200, 429, 200] and w.fetch().status == 401


def test_a_token_without_the_claim(guarded):
    w = guarded(policies={"p": PER_TENANT}, use=["p"], route={})
    r = w.fetch(headers=bearer())
    assert r.status == 403 and r.json()["reason"] == "missing_key" and r.get("www-authenticate")


@pytest.mark.parametrize("missing, nobody", [("share", 200), ("skip", 200), ("deny", 403)])
def test_missing_said(guarded, missing, nobody):
    w = guarded(policies={"p": {**PER_TENANT, "missing": missing}}, use=["p"], route={})
    assert w.fetch().status == nobody
    assert w.fetch(headers=bearer("not.a.token")).status == 401


def test_a_trial_refuses_nobody(guarded):
    w = guarded(policies={"p": {**PER_TENANT, "shadow": True}}, use=["p"], route={})
    got = [w.fetch(headers=h).status for h in ({}, bearer("sk-1"), bearer("a.b.c"), bearer(tenant="a"))]
    assert got == [200] * 4
    assert w.metric("weir_auth_total", result="malformed") == 2


def test_keys_of_upstreams_pass_untouched(guarded):
    w = guarded(route={}, serve=False)
    w.client().ask(headers={"Authorization": "Bearer sk-1"})
    w.upstream.expect_request("GET /", authorization="Bearer sk-1")


def test_a_limit_before_does_not_pay(guarded):
    policies = {"all": {"rate": "1/m", "burst": 1}, "p": PER_TENANT}
    w = guarded(policies=policies, use=["all", "p"], route={})
    assert [w.fetch().status for _ in range(3)] == [401] * 3
    assert w.fetch(headers=bearer(tenant="a")).status == 200


def test_a_limit_by_address_bounds_what_is_verified(guarded):
    policies = {"ip": {"rate": "1/m", "burst": 2, "key": "client.ip"}, "p": PER_TENANT}
    w = guarded(policies=policies, use=["ip", "p"], route={})
    assert [w.fetch(headers=bearer("no.good.token")).status for _ in range(3)] == [401, 401, 429]
    assert w.metric("weir_auth_total", method="jwt", result="malformed") == 2
    assert w.fetch(headers=bearer(tenant="a")).status == 429


# ---- API keys

def test_api_keys(weir, tmp_path):
    (tmp_path / "keys").write_text(f"# who may\n{sha256('one')} # the first\n\nsha256:{sha256('two').upper()}\n")
    w = weir(auth={"api_key": {"header": "x-api-key", "allow": [str(tmp_path / "keys"), sha256("three")]}},
             policies={"p": {"rate": "1/m", "burst": 1, "key": "api_key"}}, use=["p"], serve=True)
    got = [w.fetch(headers={"X-API-Key": k}).status for k in ("one", "two", "three", "four", "one")]
    assert got == [200, 200, 200, 401, 429]
    assert w.fetch().get("www-authenticate") == 'ApiKey realm="weir"'
    assert w.metric("weir_auth_total", method="api_key", result="unknown") == 1


def test_either_will_do(guarded):
    w = guarded(api_key={"header": "authorization", "allow": [sha256("sk-1")]}, route={"auth": ["jwt", "api_key"]})
    got = [w.fetch(headers=bearer(t)).status for t in (token(), "sk-1", "sk-2", token() + "A")]
    assert got == [200, 200, 401, 401] and w.fetch().status == 401


def test_keys_are_not_in_the_log(guarded):
    w = guarded(api_key={"header": "X-My-Key"}, policies={"p": {"rate": "9/s", "key": "api_key"}}, use=["p"],
                route={}, log={"fields": ["authorization", "x-my-key"]})
    w.fetch(headers={"X-My-Key": "secret-1", "Authorization": "Basic secret-1"})
    assert "x-my-key" in json.dumps(w.access(1)) and "secret-1" not in json.dumps(w.access(1))


# ---- what the upstream is told

def test_identity_headers(guarded):
    w = guarded(serve=False, headers={"x-user": "jwt.sub", "x-name": "jwt.name", "x-org": "jwt.org.id"})
    w.client().ask(headers={**bearer(name="a\r\nb", org={"id": 5}), "X_User": "eve", "X-Name": "eve", "x-user": "eve"})
    r = w.upstream.expect_request("GET /", x_user="alice", x_org="5", x_name=None)
    assert b"eve" not in r.raw


def test_they_are_stripped_on_every_route(guarded):
    w = guarded(route={}, serve=False, headers={"x-user": "jwt.sub"})
    w.client().ask(headers={"X-User": "eve", "X_USER": "eve", "Connection": "x-user", **bearer()})
    assert b"eve" not in w.upstream.expect_request("GET /", x_user=None).raw


def test_trailers_say_nothing_either(guarded):
    w = guarded(serve=False, headers={"x-user": "jwt.sub"})
    w.client().ask(method="POST", body=[b"x"], trailers={"X-User": "eve", "X-Sum": "1"}, headers=bearer())
    assert w.upstream.expect_request("POST /").trailers == [("x-sum", "1")]


def test_the_name_of_a_certificate(weir):
    w = weir(tls=certs().listener(client_ca=True, client_auth="optional"), auth={"headers": {"x-peer": "tls.san"}},
             serve=lambda r: response(200, headers={"X-Seen": r.get("x-peer", "-")}))
    seen = [w.fetch(tls=t, headers={"X-Peer": "eve"}).get("x-seen") for t in (certs().client(cert="client"), None)]
    assert seen == ["spiffe://test/client", "-"]


@pytest.mark.parametrize("trust, there", [([], False), (["127.0.0.0/8"], True)])
def test_certificates_are_of_those_who_are_trusted(weir, trust, there):
    w = weir(client_ip={"trust": trust})
    names = ["Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert"]
    w.client().ask(headers={**{n: "mallory" for n in names}, "Client_Cert": "mallory"})
    r = w.upstream.expect_request("GET /", client_cert="mallory" if there else None)
    assert [r.has(n) for n in names] == [there] * 3 and not r.has("client_cert")


# ---- connections

def test_keep_alive_and_pipelining_after_a_401(guarded):
    c = guarded().client()
    c.ask().ask(headers=bearer()).ask("/x", headers=bearer("a.b.c")).ask(headers=bearer())
    assert [c.expect().status for _ in range(4)] == [401, 200, 401, 200]


def test_streams_of_http2(guarded):
    w = guarded(headers={"x-user": "jwt.sub"}, serve=lambda r: response(200, headers={"X-Seen": r.get("x-user", "-")}))
    h = H2Client(w.client())
    tokens = [{}, *[{"authorization": f"Bearer {t}"} for t in (token(), token({"exp": 1}))]]
    streams = [h.ask(headers={"x-user": "eve", **t}) for t in tokens]
    h.expect(streams[0], 401, www_authenticate='Bearer realm="weir"')
    h.expect(streams[1], 200, x_seen="alice")
    h.expect(streams[2], 401, x_should_retry="false")
    h.close()


GRPC = {"content-type": "application/grpc", "te": "trailers"}


@pytest.mark.parametrize("claims, code, says", [
    (None, 16, "credentials are required"),
    ({"exp": 1}, 16, "the token has expired"),
    ({"scope": "read"}, 7, "do not allow this"),
])
def test_grpc_is_told_in_its_own_way(guarded, claims, code, says):
    w = guarded(jwt={"require": {"scope": "write"}})
    h = H2Client(w.client())
    shown = {k.lower(): v for k, v in bearer(**claims).items()} if claims else {}
    s = h.ask("/pkg.Service/Method", method="POST", headers={**GRPC, **shown}, end=False)
    r = h.expect(s, 200, b"", grpc_status=str(code), grpc_retry_pushback_ms="-1", content_length=None)
    assert says in r.get("grpc-message") and r.get("www-authenticate").startswith('Bearer realm="weir"')
    assert r.trailers is None and w.access(1)[0]["rpc.grpc.status_code"] == code
    w.upstream.untouched()
    h.close()


def test_head_is_told_without_a_body(guarded):
    w = guarded()
    c = w.client().ask(method="HEAD")
    c.expect(401, head=True, www_authenticate='Bearer realm="weir"', content_type="application/problem+json")
    c.ask(headers=bearer()).expect(200)
    h = H2Client(w.client())
    h.expect(h.ask(method="HEAD"), 401, b"", www_authenticate='Bearer realm="weir"')
    h.close()


def test_preflights_need_a_route_of_their_own(guarded):
    w = guarded(routes=[{"match": {"path": "/*", "methods": ["OPTIONS"]}, "to": "app", "auth": "none"},
                        {"to": "app", "auth": "jwt"}])
    assert [w.fetch(method=m).status for m in ("OPTIONS", "GET")] == [200, 401]


def test_no_100_before_a_401(guarded):
    w = guarded(serve=False)
    w.client().ask(method="POST", headers={"Expect": "100-continue", "Content-Length": "5"}).expect(401)
    w.upstream.untouched(0.05)


def test_a_stream_outlives_its_token_and_its_keys(guarded):
    w = guarded(serve=False, policies={"p": {"concurrency": 1, "key": "jwt.sub"}}, use=["p"], jwt={"cache": 0})
    c = w.client().ask(headers=bearer())
    w.upstream.expect_request("GET /")
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na\r\n\r\n\r\n")
    c.expect_bytes(b"HTTP/1.1 200")
    w.jwks.write_text(jwks(key("HS256", "next")))
    w.reload()
    w.upstream.send(b"5\r\nb\r\n\r\n\r\n0\r\n\r\n")
    assert b"b\r\n\r\n\r\n0\r\n\r\n" in c.read_until(b"0\r\n\r\n")


def test_rotated_keys(guarded):
    w = guarded()
    c = w.client().ask(headers=bearer())
    c.expect(200)
    w.jwks.write_text(jwks(key("HS256", "next")))
    w.reload()
    c.ask(headers=bearer()).expect(401)
    c.ask(headers=bearer(token(key=key("HS256", "next")))).expect(200)


def test_a_bad_key_set_changes_nothing(guarded):
    w = guarded()
    w.allow(".")
    w.jwks.write_text('{"keys": [{"kty": "oct", "k": "c2hvcnQ"}]}')
    w.reload(good=False)
    assert "has no `k` of 32 to 1024 bytes" in w.stderr() and w.fetch(headers=bearer()).status == 200


def test_watched(guarded):
    w = guarded(watch=True)
    assert w.fetch(headers=bearer()).status == 200
    w.jwks.write_text(jwks(key("HS256", "next")))
    until(lambda: w.fetch(headers=bearer()).status == 401, "the new keys are in force")


def test_rotation_under_load(guarded):
    # as issuers rotate: the new key is published, then signed with, then the old one is taken out
    old, new = key("ES256"), key("ES256", "next")
    w = guarded(old)
    now, last, done = [[token(key=old)]], {}, []

    def call(i):
        c = w.client()
        while not done:
            tokens = now[0]
            for t in tokens:
                c.ask(headers=bearer(t)).expect(200)
            last[i] = tokens

    def sign(*keys):
        now[0] = [token(key=k) for k in keys]
        until(lambda: all(last.get(i) is now[0] for i in range(4)), "all call with those")

    def rotate():
        sign(old)
        w.jwks.write_text(jwks(new, old))
        w.reload()
        sign(old, new)
        w.reload()
        sign(new)
        w.jwks.write_text(jwks(new))
        w.reload()
        sign(new)

    def work(i):
        try:
            return call(i) if i < 4 else rotate()
        finally:
            done.append(i)

    parallel(5, work)
    assert w.fetch(headers=bearer(token(key=old))).status == 401


def test_watched_as_kubernetes_swaps(guarded, tmp_path):
    mount = tmp_path / "mount"
    for name, k in (("..1", key()), ("..2", key("HS256", "next"))):
        (mount / name).mkdir(parents=True)
        (mount / name / "jwks.json").write_text(jwks(k))
    (mount / "..data").symlink_to("..1")
    (mount / "jwks.json").symlink_to("..data/jwks.json")
    w = guarded(jwt={"jwks": str(mount / "jwks.json")}, watch=True)
    assert w.fetch(headers=bearer()).status == 200
    (mount / "..data_tmp").symlink_to("..2")
    (mount / "..data_tmp").replace(mount / "..data")
    until(lambda: w.fetch(headers=bearer()).status == 401, "the new keys are in force")
    assert w.fetch(headers=bearer(token(key=key("HS256", "next")))).status == 200


def test_no_start_without_keys(guarded, run):
    w = guarded(jwt={"jwks": "/nowhere/jwks.json"}, start=False)
    r = run("run", "-c", w.path)
    assert r.returncode == 1 and re.search(r"weir.yaml:\d+:\d+", r.stderr) and "/nowhere/jwks.json" in r.stderr


def test_the_cache_is_seen(guarded):
    w = guarded(jwt={"leeway": "0s"})
    assert w.metric("weir_auth_total", method="jwt", result="expired") == 0
    text = token()
    assert [w.fetch(headers=bearer(text)).status for _ in range(3)] == [200] * 3
    assert w.metric("weir_auth_cache_total", result="hit") == 2
    brief = lambda: token({"exp": int(time.time()) + 2})
    text = until(lambda: w.fetch(headers=bearer(t := brief())).status == 200 and t, "one is known")
    until(lambda: w.fetch(headers=bearer(text)).status == 401, "it has expired, known or not")


def test_many_workers_one_key(guarded):
    w = guarded(key("RS256"), key("ES256"), workers=4, jwt={"cache": 4}, policies={"p": {**PER_TENANT, "burst": 10}},
                use=["p"])
    heads = [bearer(token({"tenant": str(i)}, key=key(a))) for i in range(4) for a in ("RS256", "ES256")]
    got = parallel(8, lambda i: [w.fetch(headers=heads[(i + n) % 8]).status for n in range(8)])
    assert sorted(sum(got, [])) == [200] * 40 + [429] * 24
    w.reload()
    assert w.fetch(headers=heads[0]).status == 429


def test_tries_do_not_ask_again(guarded):
    answers = [503, 200]
    w = guarded(policies={"r": {"retry": 1, "when": [503]}}, use=["r"], serve=lambda r: response(answers.pop(0)))
    assert w.fetch(headers=bearer()).status == 200
    assert w.metric("weir_auth_total", method="jwt", result="ok") == 1


# ---- the command line

def test_explain(guarded, run):
    w = guarded(policies={"p": PER_TENANT}, use=["p"])
    out = run("explain", "-c", w.path, "/", "-H", f"Authorization: Bearer {token({'tenant': 'a'})}").stdout
    assert re.search(r"jwt +ok", out) and "jwt.tenant = a" in out
    out = run("explain", "-c", w.path, "/", "-H", "Authorization: Bearer a.b.c").stdout
    assert "401 invalid_token" in out and "malformed" in out


def test_explain_of_the_admin(guarded):
    w = guarded(policies={"p": PER_TENANT}, use=["p"])
    ask = lambda h: w.admin("/explain", method="POST", headers={"Content-Type": "application/json"},
                            body=json.dumps({"path": "/", "headers": h}).encode()).json()
    assert ask(bearer(tenant="a"))["auth"] == {"jwt": "ok"} and w.fetch(headers=bearer(tenant="a")).status == 200
    refused = ask({})
    assert refused["auth"] == {"jwt": "missing"} and refused["outcome"]["reason"] == "unauthenticated"


BY_ADDRESS = {"ip": {"rate": "1/m", "burst": 2, "key": "client.ip"}, "p": PER_TENANT}


def test_explain_knows_who_is_asked_first(guarded):
    w = guarded(policies=BY_ADDRESS, use=["ip", "p"], route={})
    ask = lambda h: w.admin("/explain", method="POST", headers={"Content-Type": "application/json"},
                            body=json.dumps({"path": "/", "headers": h}).encode()).json()
    for status in (401, 401, 429, 429):
        told, bad = ask(bearer("a.b.c")), w.fetch(headers=bearer("a.b.c"))
        assert told["outcome"]["status"] == bad.status == status
        assert told["outcome"]["reason"] == bad.json()["reason"]
        assert [p["name"] for p in told["policies"]] == ["ip"] and told["auth"] == {"jwt": "malformed"}
    good = bearer(tenant="a")
    told = ask(good)
    assert told["outcome"]["policy"] == "ip" and [p["name"] for p in told["policies"]] == ["ip", "p"]
    assert w.fetch(headers=good).status == 429


def test_explain_repeats_what_is_not_believed(guarded, run):
    w = guarded(policies=BY_ADDRESS, use=["ip", "p"], route={})
    out = run("explain", "-c", w.path, "/", "--repeat", "4@1s", "-H", "Authorization: Bearer a.b.c").stdout
    assert re.search(r"1-2 +401", out) and re.search(r" 3 +429 \S+ by ip", out), out


def test_check_looks_at_the_keys(guarded, run):
    w = guarded()
    w.jwks.write_text(jwks({"kty": "EC", "crv": "P-521", "kid": "x"}))
    r = run("check", "-c", w.path)
    assert r.returncode == 1 and "E043" in r.stderr + r.stdout and "W112" in r.stderr + r.stdout

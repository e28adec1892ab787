"""Configurations put together at random, always the same ones: the real nginx and Weir answer alike, and upstreams are asked alike."""

import random

import pytest

from nginx_both import both, needs_nginx as pytestmark, seen  # noqa: F401

NAMES = ["/", "/a", "/a/", "/a/b", "/a/b/", "/x/", "= /a", "= /x/", "^~ /a/", "^~ /x", "~ \\.php$", "~* ^/A/.*P", "~ ^/x/(\\d+)", "~ b"]
PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/x", "/x/", "/x/1", "/x/y.php", "/a/p", "/b", "/x//1", "/a/../x/1", "/a/./b.php",
         "/ax", "/A/B.PHP", "/%61/%62", "/xb"]
EDITS = ["add_header X-A $request_uri;", "add_header X-B $arg_q always;", "allow 127.0.0.1; deny all;", "deny 127.0.0.0/8;", "allow 10.0.0.0/8; deny all;",
         "proxy_set_header Host $host:99;", "proxy_hide_header X-Other;", "if ($arg_q = 1) { return 418; }",
         "if ($request_method = POST) { return 302 /posted; }", "rewrite ^/[ax]/(.*)$ /n/$1 break;"]


def said(r, name):
    """What a location says; where nginx would double a slash, a difference is told."""
    ends = name.endswith("/")
    uris = [""] * 3 if name[0] == "~" else ["", "/up/" if ends or name[0] == "=" else "/up", "/up" if ends else "/v%20w"]
    passes = "proxy_pass http://127.0.0.1:APP%s;" % r.choice(uris)
    return r.choice([passes] * 5 + ["return 200 '%s $uri';" % name.replace("$", ""), "return 301 /to$request_uri;", "return 404;", "return 204;"])


def location(r, name, inside=""):
    edits = r.sample(EDITS, r.choice([0, 0, 1, 1, 2]))
    says = said(r, name)
    if any(e.startswith("rewrite") for e in edits):  # beside a path of the address it is not known, before conditions neither
        says, edits = "proxy_pass http://127.0.0.1:APP;", [e for e in edits if not e.startswith("if")]
    if name[0] in "/^" and r.random() < 0.4:
        inside = location(r, r.choice(["~ \\.php$", "~* ^/A/.*P", "~ b"]))
    return 'location %s { %s %s %s }' % (name, " ".join(edits), says, inside)


@pytest.mark.parametrize("seed", range(12))
def test_random(both, seed):
    r = random.Random(seed)
    names = {n.removeprefix("^~ "): n for n in r.sample(NAMES, r.randint(3, 8))}
    server = "server { listen 127.0.0.1:PORT; %s }" % " ".join(location(r, n) for n in {"/": "/", **names}.values())
    requests = [(r.choice(["GET", "GET", "POST"]), p + q, "h.org", {"X-Other": "o"}) for p in PATHS for q in ("", "?q=1")]
    both.compare(server, requests, seen("location", "x-a", "x-b", "x-other"))

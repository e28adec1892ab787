"""The same nginx.conf played by the real nginx and by Weir: `set`, by itself and in an `if`, and where proxy_pass goes by it."""

import pytest

from nginx_both import both, needs_nginx, seen  # noqa: F401

pytestmark = needs_nginx

ORIGINS = """server { listen 127.0.0.1:PORT; set $c ""; if ($http_origin ~ ^https://(.+)\\.a\\.org$) { set $c $1; }
    if ($request_method = OPTIONS) { set $c "${c}options"; }
    location / { if ($c = webanoptions) { return 204; } return 200 "c=$c"; }
    location /own { set $c own; return 200 "c=$c"; }
    location /out { location /out/in { return 200 "c=$c"; } set $c out; return 200 "$c"; }
    location /more { set $c "$c-more"; if ($arg_x) { set $c "$c-$arg_x"; } return 200 "<$c>"; }
    location /two { set $d 1; set $c $d$c; set $d 2; return 200 "$c|$d"; set $c never; } }"""


def test_what_a_variable_is(both):  # noqa: F811
    asked = [(m, p, "a.org", {"Origin": o}) for m in ("GET", "OPTIONS") for o in ("https://weban.a.org", "http://x", "https://x.a.org")
             for p in ("/", "/own", "/out", "/out/in", "/more", "/more?x=1", "/more?x=0", "/two")]
    both.compare(ORIGINS, asked, seen())


WHEN = ['$http_x', '$http_x = y', '$http_x != y', '$http_x = ""', '$http_x != ""', '$http_x ~ "^(y+)$"', '$http_x ~* Y', '$http_x !~ y', '$http_x !~* Y',
        '$arg_a = "~y"', '$arg_a = "*"', '$a = 1', '$a']


@pytest.mark.parametrize("when", WHEN)
def test_set_when(both, when):  # noqa: F811
    asked = [("GET", p, "a.org", {"X": x} if x is not None else {}) for x in (None, "", "0", "y", "yy", "Y", "ny\u00e4".encode().decode("latin1"))
             for p in ("/", "/?a=*", "/?a=~y", "/s")]
    both.compare("server { listen 127.0.0.1:PORT; set $a 0; if ($http_x = y) { set $a 1; } set $b no; if (%s) { set $b yes; } "
                 "location / { if ($b = yes) { return 403; } return 200 $b; } location /s { return 200 $b$a; } }" % when, asked, seen())


@pytest.mark.parametrize("given", ["on", "off", '""', "0", "1"])
def test_a_switch_in_the_file(both, given):  # noqa: F811
    both.compare("server { listen 127.0.0.1:PORT; set $m %s; location / { if ($m = on) { return 503; } return 200 up; } "
                 "location /b { if ($m) { return 403; } return 200 up; } location /c { if ($m != on) { return 404; } return 200 $m; } }" % given,
                 [("GET", p) for p in ("/", "/b", "/c")], seen())


POOLS = """map $http_x $pool { default one; y two; z ""; } map $http_x $url { default http://127.0.0.1:APP; y http://127.0.0.1:APP/u?v=1; }
upstream one { server 127.0.0.1:APP; } upstream two { server 127.0.0.1:APP; }
split_clients $http_x $part { 50% one; * two; } geo $place { default one; 10.0.0.0/8 two; }
server { listen 127.0.0.1:PORT; location / { proxy_pass http://$pool; } location /b/ { proxy_pass http://$pool/c; }
    location /url/ { proxy_pass $url; } location /part { proxy_pass http://$part; } location /geo { proxy_pass http://$place; }
    location /set { set $s one; if ($cookie_canary = 1) { set $s two; } proxy_pass http://$s; proxy_set_header X-Told $s; }
    location /const/ { set $u http://127.0.0.1:APP; proxy_pass $u; } location /path/ { set $u 127.0.0.1:APP/x; proxy_pass http://$u; } }"""


def test_where_calls_go(both):  # noqa: F811
    fields = [{}, {"X": "y"}, {"X": "z"}, {"X": "ab"}, {"Cookie": "canary=1"}, {"X-Status": "302", "X-Location": "http://127.0.0.1:1/"}]
    both.compare(POOLS, [("GET", p, "a.org", f) for f in fields for p in ("/", "/x?y", "/b/d", "/url/1?2", "/part", "/geo", "/set", "/const/a?b",
                                                                          "/path/", "/path/a?b")])


@pytest.mark.parametrize("line", ["proxy_pass http://$host", "proxy_pass http://$pool$http_y", 'set $c x; if ($http_a ~ (.)) { set $c y; } set $d $1; return 200 $d'])
def test_what_is_not_known_beforehand(run, tmp_path, line):
    (tmp_path / "nginx.conf").write_text("map $http_x $pool { default 127.0.0.1:1; y $http_z; } server { location / { %s; } }" % line)
    got = run("import-nginx", "nginx.conf")
    assert got.returncode in (1, 3) and "lost: " in got.stderr and "to: 127" not in got.stdout, got.stderr

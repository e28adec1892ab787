"""What clients are told, by the real nginx and by Weir started from the same nginx.conf: redirects, cookies, fields, errors."""

import harness
from nginx_both import both, needs_nginx as pytestmark, seen  # noqa: F401

LED = seen("location", "refresh", "set-cookie")


def get(path, **fields):
    return "GET", path, "a.org", {n.replace("_", "-"): v for n, v in fields.items()}


def places(port, app):
    urls = [f"http://127.0.0.1:{app}/", f"http://127.0.0.1:{app}/two/x?y=1", "http://other.org/two/", "/two/x", "/", "x",
            f"http://127.0.0.1:{port}/one/", f"http://127.0.0.1:{app}", "http://old.org:99/a/b"]
    return [(u, path) for u in urls for path in ("/one/", "/same/", "/off/", "/said/", "/re/", "/some/")]


def test_proxy_redirect(both):
    requests = [get(path, X_Status="302", X_Location=u, X_Refresh="5; url=" + u) for u, path in places(both.port, both.app)]
    both.compare("""server { listen 127.0.0.1:PORT; location /one/ { proxy_pass http://127.0.0.1:APP/two/; }
    location /same/ { proxy_pass http://127.0.0.1:APP; } location /off/ { proxy_redirect off; proxy_pass http://127.0.0.1:APP; }
    location /said/ { proxy_redirect http://other.org/two/ /here/; proxy_pass http://127.0.0.1:APP; }
    location /re/ { proxy_redirect ~*^http://O([a-z]+)\\.ORG(:\\d+)?/(.*)$ http://$host/$1/$3; proxy_pass http://127.0.0.1:APP; }
    location /some/ { proxy_pass http://127.0.0.1:APP/x/; proxy_redirect default; proxy_redirect http://other.org/ https://$host/o/; }
    }""", requests, LED)


def test_redirects_are_absolute(both):
    requests = [("GET", p, h, {}) for p in ("/a?b=c", "/uri/x?y", "/no/", "/name/", "/abs", "/code") for h in ("a.org", "B.org:99")]
    both.compare("""server { listen 127.0.0.1:PORT; server_name s.org; location /a { return 301 /b; }
    location /uri/ { return 307 $request_uri; } location /no/ { absolute_redirect off; return 302 /x; }
    location /name/ { server_name_in_redirect on; port_in_redirect off; return 302 /x; }
    location /abs { return http://$host/y; } location /code { return 308 https://$http_host$request_uri; } }""", requests)


def test_cookies_by_the_first_line_that_fits(both):
    cookies = ["a=b; path=/two/x; Domain=.two.org", "a=b; path=/three; domain=three.org", "a=b; path=/four; domain=four.org", "path=/two/; domain=TWO.org; path=/three"]
    both.compare("""server { listen 127.0.0.1:PORT; location / { proxy_pass http://127.0.0.1:APP;
    proxy_cookie_path /two/ /one/; proxy_cookie_path /three /5; proxy_cookie_path /two /6;
    proxy_cookie_domain two.org one.org; proxy_cookie_domain three.org $host; } }""", [get("/", X_Cookie=c) for c in cookies], seen("set-cookie"))


def test_cookies(both):
    cookies = ["a=b; path=/two/x; Domain=.two.org", "a=b;Path=/two", "a=b", "s1=x; domain=two.org; Secure", "A=1; SameSite=Lax; HttpOnly",
               "path=/two/; domain=TWO.org; path=/x/", "one=1; Path=/two/; secure; expires=Thu, 01 Jan 1970 00:00:00 GMT"]
    requests = [get(p, X_Cookie=c) for c in cookies for p in ("/c/", "/r/", "/f/", "/all/")]
    both.compare("""server { listen 127.0.0.1:PORT; proxy_pass_header X-Other;
    location /c/ { proxy_cookie_path /two/ /one/; proxy_cookie_domain two.org $host; proxy_pass http://127.0.0.1:APP; }
    location /r/ { proxy_cookie_path ~*^/TWO/(.*) /r/$1; proxy_cookie_domain ~two o; proxy_pass http://127.0.0.1:APP; }
    location /f/ { proxy_cookie_flags a httponly samesite=strict; proxy_cookie_flags one nosecure; proxy_pass http://127.0.0.1:APP; }
    location /all/ { proxy_cookie_flags one nosecure; proxy_cookie_flags ~ secure; proxy_pass http://127.0.0.1:APP; } }""", requests,
                 lambda status, body, fields: sorted(v.replace(";P", "; P") for n, v in fields if n.lower() == "set-cookie"))


def test_fields(both):
    requests = [get(p, X_Status=s, X_Other="o", X_Cache="private") for s in ("200", "404", "301") for p in "/a /b /c /d /e /f".split()]
    both.compare("""server { listen 127.0.0.1:PORT; add_header X-All all; expires epoch;
    location /a { proxy_pass http://127.0.0.1:APP; } location /b { add_header X-Own o always; expires max; proxy_pass http://127.0.0.1:APP; }
    location /c { proxy_hide_header X-Other; expires off; proxy_pass http://127.0.0.1:APP; }
    location /d { proxy_pass_header X-Accel-Expires; expires 1h; proxy_pass http://127.0.0.1:APP; }
    location /e { expires -1; proxy_pass http://127.0.0.1:APP; } location /f { expires 30d; return 200 x; } }""",
                 requests, seen("x-all", "x-own", "x-other", "x-accel-expires", "cache-control"))


def test_errors_of_nginx_itself(both):
    gone = harness.free_port()
    requests = [(m, p, "a.org", {}, b) for m, b in (("GET", b""), ("POST", b"x=y")) for p in (
        "/none", "/gone/x?y", "/named/x?y", "/own/x", "/as/", "/ret404", "/ret401", "/ret403", "/denied", "/only", "/plain/", "/url/")]
    both.compare("""server { listen 127.0.0.1:PORT; error_page 404 /nf; error_page 500 502 =503 /down; error_page 401 http://$host/login;
    location = /nf { return 200 "not found $uri $request_uri"; } location /down { return 200 "down"; }
    location = /none { return 404; } location /gone/ { proxy_pass http://127.0.0.1:GONE; }
    location /named/ { error_page 502 @up; proxy_pass http://127.0.0.1:GONE/z; }
    location /own/ { error_page 502 = @up; proxy_pass http://127.0.0.1:GONE; }
    location @up { proxy_set_header X-Told named; proxy_pass http://127.0.0.1:APP; }
    location /as/ { error_page 502 =200 /nf; proxy_pass http://127.0.0.1:GONE; } location /ret404 { return 404; }
    location /ret401 { return 401; } location /ret403 { return 403; } location /denied { deny all; error_page 403 = /down; return 200 x; }
    location /only { internal; return 200 only; } location /plain/ { error_page 500 /x; proxy_pass http://127.0.0.1:GONE; }
    location /url/ { error_page 502 =301 https://x.org$request_uri; proxy_pass http://127.0.0.1:GONE; } }""".replace("GONE", str(gone)),
                 requests)


def test_errors_of_upstreams(both):
    requests = [(m, p, "a.org", {"X-Status": s, "X-Other": "o"}, b) for m, b in (("GET", b""), ("POST", b"x=y"), ("HEAD", b""))
                for p in ("/off/", "/on/a?b", "/named/a?b", "/in/") for s in ("200", "404", "403", "503", "401", "301")]
    both.compare("""server { listen 127.0.0.1:PORT; error_page 404 /nf; error_page 503 = @up; error_page 401 http://$host/login;
    location /off/ { proxy_pass http://127.0.0.1:APP; } location /nf { return 200 "not found $uri"; }
    location /on/ { proxy_intercept_errors on; proxy_pass http://127.0.0.1:APP; }
    location @up { proxy_set_header X-Status ""; proxy_set_header X-Told named; proxy_pass http://127.0.0.1:APP; }
    location /named/ { proxy_intercept_errors on; error_page 404 403 @up; proxy_pass http://127.0.0.1:APP/q/; }
    location /in/ { proxy_intercept_errors on; error_page 404 =404 /inner; proxy_pass http://127.0.0.1:APP; }
    location /inner { internal; return 200 "inner $request_method"; } }""", requests, seen("location", "content-type", "x-other"))


def test_rewrites(both):
    paths = ["/s/x", "/t/a/b", "/old/a.b", "/moved/x/y", "/moved/z", "/add/x", "/none/x", "/last/x", "/last/in", "/loop/", "/flagless/a",
             "/if/x", "/ifre/x/y", "/exact", "/re.php", "/other", "/brk/a/b", "/x.jsp", "/two/1", "/two/2"]
    requests = [("GET", p + q, "a.org", f) for p in paths for q in ("", "?a=b&c") for f in ({}, {"X-Go": "1"})]
    both.compare("""server { listen 127.0.0.1:PORT; rewrite ^/s/(.*)$ https://$host/t/$1 permanent; rewrite ^/old/([a-z]+)\\.b$ /new/$1 last;
    location /t/ { return 200 "t $uri $args"; } location /new/ { return 200 "new $uri $request_uri"; }
    location /moved/ { rewrite ^/moved/(.)/(.*)$ /t/$2/$1 redirect; rewrite /z$ http://z.org/? permanent; return 200 "stays"; }
    location /add/ { rewrite ^(.*)$ $1?x=1 redirect; } location /none/ { rewrite ^ /t/none? redirect; }
    location /last/ { rewrite ^/last/x$ /t/last?y=2 last; rewrite ^/last/in$ /inside last; return 200 "last"; }
    location /inside { internal; return 200 "inside $uri"; } location /loop/ { rewrite ^ /loop/ last; }
    location /flagless/ { rewrite ^/flagless/(.*) /new/$1; }
    location /if/ { if ($http_x_go) { rewrite ^ /t/if redirect; } return 200 "no"; }
    location /ifre/ { if ($http_x_go = 1) { rewrite ^/ifre/(.*)/(.*)$ /new/$2/$1 last; } return 200 "no"; }
    location = /exact { rewrite ^ /t/exact last; } location ~ \\.php$ { rewrite ^/(.*)\\.php$ /new/$1 last; return 200 x; }
    location /brk/ { rewrite ^/brk/(.*)$ /b?p=$1 break; proxy_pass http://127.0.0.1:APP; }
    location /two/ { rewrite ^/two/(1)$ /t/$1 redirect; rewrite ^/two/(.*)$ /one break; proxy_pass http://127.0.0.1:APP; }
    location / { rewrite \\.jsp$ /t/jsp permanent; proxy_pass http://127.0.0.1:APP; } }""", requests)


def test_limit_except(both):
    requests = [(m, p, "a.org", {}) for m in ("GET", "HEAD", "POST", "PUT", "DELETE") for p in ("/a", "/b", "/c", "/d")]
    both.compare("""server { listen 127.0.0.1:PORT; location /a { limit_except GET { deny all; } proxy_pass http://127.0.0.1:APP; }
    location /b { limit_except POST PUT { allow 127.0.0.1; deny all; } proxy_pass http://127.0.0.1:APP; }
    location /c { deny 127.0.0.1; limit_except GET { allow all; } proxy_pass http://127.0.0.1:APP; }
    location /d { limit_except POST { deny 127.0.0.0/8; } error_page 403 = /a; proxy_pass http://127.0.0.1:APP; } }""", requests)

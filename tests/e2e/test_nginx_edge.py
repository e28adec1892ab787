"""What is odd in requests, and what no location takes: the real nginx and Weir, started from the same nginx.conf."""

import pytest

from nginx_both import both, needs_nginx as pytestmark, seen  # noqa: F401


@pytest.mark.parametrize("says", ["", "underscores_in_headers on;", "ignore_invalid_headers off;"])
def test_names_of_fields(both, says):
    requests = [("GET", p, "a.org", {n: "1", "X-Told": "t"}) for p in ("/", "/own")
                for n in ("x_own", "X-A", "x.a", "x!a", "x_a.b", "X-B-1", "Ab")]
    both.compare("server { listen 127.0.0.1:PORT; " + says + """ location / { return 200 "$http_x_told $http_x_a $http_x_b_1 $http_ab"; }
    location /own { proxy_set_header X-Told "$http_x_a|$http_x_told"; proxy_pass http://127.0.0.1:APP; } }""", requests)


def test_escapes_in_paths(both):
    paths = ["/a(b)/x", "/a%28b%29/x", "/a%28b)", "/s/x", "/s%2Fx", "/s%2fx%2F..%2Fy", "/s%2F..%2Fout", "/sp%20ace/x", "/sp%2520ace",
             "/q[1]", "/q%5B1%5D", "/q%5b1]", "/u/a%2Fb", "/u/a%28b", "/u%2Fa", "/re/a%2Fb.php", "/re/a%2eph%70", "/o%2Fp%3Bq", "/at%40/x", "/at@/x",
             "/deny%2Fx", "/%64eny%2fx", "/a%2F%2Fb", "/..%2Fs", "/%C3%A9", "/u/%C3%A9%2F%25", "/s/%2e%2e/deny/x", "/exact%2Fone", "/exact/one"]
    both.compare("""server { listen 127.0.0.1:PORT; location /a(b) { return 403; } location /s/ { proxy_pass http://127.0.0.1:APP; }
    location "/sp ace" { return 200 space; } location /q[1] { return 200 bracket; } location /u/ { proxy_pass http://127.0.0.1:APP/v/; }
    location ~ ^/re/.*/b\\.php$ { return 200 deep; } location ~ \\.php$ { return 200 php; } location /at@/ { return 200 at; }
    location = /exact/one { return 200 one; } location /deny/ { deny all; return 200 x; } location /\xe9 { return 200 e; }
    location /o/ { return 200 "$uri"; } location / { return 200 "other"; } }""", [("GET", p, "a.org", {}) for p in paths])


def test_what_no_location_takes(both):
    requests = [(m, p, "a.org", {}, b) for p in ("/none", "/int/x", "/f/x", "/f/app.conf", "/app.conf", "/r") for m, b in
                (("GET", b""), ("POST", b"x"), ("POST", b"x" * 300), ("HEAD", b""))]
    requests += [(m, p, "a.org", {}) for p in ("/int/x", "/f/x", "/f/app.conf", "/r") for m in ("PUT", "DELETE")]
    both.compare("""server { listen 127.0.0.1:PORT; client_max_body_size 100; add_header X-All a always; error_page 418 /x;
    location /int/ { internal; add_header X-Int i always; return 200 x; } location /f/ { alias FOLDER/; } location /r { return 200 r; }
    }
    """.replace("FOLDER", str(both.folder)), requests, seen("x-all", "x-int"))


def test_what_no_location_takes_is_limited(both):
    requests = [("GET", f"/{p}?k={k}", "a.org", {}) for k in "ab" for p in ("none", "none", "app.conf", "r", "r", "int/x")]
    both.compare("""limit_req_zone $arg_k zone=z:1m rate=1r/m; limit_req zone=z; server { listen 127.0.0.1:PORT; limit_req_status 429;
    location /r { return 200 r; } location /int/ { internal; return 200 x; } location /up { proxy_pass http://127.0.0.1:APP; } }""", requests)

"""What nginx's public tests of its own look at, played by the real nginx and by Weir started from the same nginx.conf."""

from nginx_both import both, needs_nginx as pytestmark, seen  # noqa: F401

LATER, EARLIER = "Wed, 08 Jul 2037 22:53:52 GMT", "Mon, 28 Sep 1970 06:00:00 GMT"


def test_dates_of_files(both):
    (both.folder / "t").write_text("x")
    requests = [("GET", p + "t", "a.org", {"If-Modified-Since": d}) for p in ("/", "/before/", "/off/") for d in (LATER, EARLIER, "soon")]
    both.compare("""server { listen 127.0.0.1:PORT; root FOLDER; location / { }
    location /before/ { alias FOLDER/; if_modified_since before; } location /off/ { alias FOLDER/; if_modified_since off; } }"""
                 .replace("FOLDER", str(both.folder)), requests)


def test_tries_in_texts(both):
    requests = [("GET", p, "a.org", {"X-Status": s}) for p in ("/a", "/b", "/t") for s in ("404", "500", "200")]
    both.compare("""upstream u { server 127.0.0.1:APP; } server { listen 127.0.0.1:PORT; proxy_intercept_errors on; error_page 404 500 /t;
    location /a { proxy_pass http://u; } location /b { error_page 404 =200 /t; proxy_pass http://127.0.0.1:APP; }
    location /t { return 200 "x${upstream_status}x $upstream_addr"; } }""", requests)


def test_fields_of_where_it_goes(both):
    both.compare("""server { listen 127.0.0.1:PORT; add_header X-To $proxy_host:$proxy_port; location / { return 200 x; }
    location /up { proxy_pass http://127.0.0.1:APP; } }""", [("GET", p, "a.org", {}) for p in ("/", "/up")], seen("x-to"))



def test_names_of_fields(both):
    requests = [("GET", "/", "a.org", {n: "told"}) for n in ("X-Told", "X_Told", "x_told", "_x", "X.Told")]
    for more in ("", "underscores_in_headers on;", "ignore_invalid_headers off;"):
        both.compare("server { listen 127.0.0.1:PORT; " + more + " location / { proxy_pass http://127.0.0.1:APP; } }", requests)


def test_lengths_and_types_in_texts(both):
    both.compare("""server { listen 127.0.0.1:PORT; location / { add_header X-T $content_type; add_header X-L $content_length; return 200 x; } }""",
                 [("POST", "/", "a.org", {"Content-Type": "a/b"}, b"abc")], seen("x-t", "x-l"))


def test_methods_of_files(both):
    (both.folder / "f").write_text("x")
    requests = [(m, p, "a.org", {}) for m in ("GET", "HEAD", "POST", "DELETE") for p in ("/f", "/none", "/all/f")]
    both.compare("""server { listen 127.0.0.1:PORT; root FOLDER; location / { limit_except GET { deny all; } }
    location /all/ { alias FOLDER/; } }""".replace("FOLDER", str(both.folder)), requests)


def test_includes_in_blocks(both):
    (both.folder / "text.conf").write_text("return 200 included;")
    (both.folder / "list.conf").write_text("deny all;")
    both.compare("""server { listen 127.0.0.1:PORT; if ($arg_s) { include text.conf; } location / { if ($arg_l) { include text.conf; } return 200 no; }
    location /lmt { limit_except GET { include list.conf; } proxy_pass http://127.0.0.1:APP; } }""",
                 [(m, p, "a.org", {}) for m in ("GET", "POST") for p in ("/", "/?s=1", "/?l=1", "/lmt", "/lmt?l=1")])

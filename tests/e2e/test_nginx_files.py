"""Files: the real nginx and Weir, started from the same nginx.conf, answer alike: status, fields and body."""

import http.client
import os
import re

import pytest

import harness
from test_nginx_choice import NGINX, compare, play_with  # noqa: F401

pytestmark = pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="there is no nginx")

AGE = "Sat, 21 Nov 2026 06:00:00 GMT"
OURS = {"date", "server", "x-request-id", "connection", "content-length", "content-type", "allow", "via"}

CONF = """daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null; events {{ }}
http {{ access_log off; root {folder}/www; client_body_temp_path {folder}/tmp;
server {{ listen 127.0.0.1:{app}; location / {{ return 200 "app $request_uri"; }} }}
server {{ listen 127.0.0.1:{port};
location / {{ index none.html index.html; }}
location = /50x.html {{ root {folder}/other; }}
location /types/ {{ alias {folder}/www/; types {{ text/x-t txt; text/x-h html htm; }} default_type text/x-d; }}
location /al/ {{ alias {folder}/www/dir/; }}
location /nos {{ alias {folder}/www/d; }}
location = /one.html {{ alias {folder}/www/a.txt; }}
location ~ ^/re/(.*)\\.x$ {{ alias {folder}/www/$1.txt; }}
location /try/ {{ try_files $uri $uri/ =404; }}
location /spa/ {{ try_files $uri /spa/index.html; }}
location /app/ {{ try_files $uri $uri/ @app; }}
location /front/ {{ try_files $uri @app; }}
location @app {{ proxy_pass http://127.0.0.1:{app}; }}
location /html/ {{ try_files $uri $uri.html $uri/index.html =410; }}
location /in/ {{ location /in/deeper {{ root {folder}/other; }} }}
location /add/ {{ add_header X-A b; add_header X-B c always; }}
location /deny/ {{ allow 10.0.0.1; deny all; }}
location ~ \\.php$ {{ return 403; }}
location /idx/ {{ index first.html second.html; }}
location /fb/ {{ try_files $uri /papi/x; }}
location /fq/ {{ try_files $uri $uri/ /papi/y?$args; }}
location /papi/ {{ proxy_pass http://127.0.0.1:{app}/changed/; }}
location /chars/ {{ charset utf-8; alias {folder}/www/; }}
location /charst/ {{ charset koi8-r; charset_types image/gif text/plain; alias {folder}/www/; }}
location /charsp/ {{ charset utf-8; proxy_pass http://127.0.0.1:{app}; }}
location /err/ {{ error_page 404 403 /50x.html; }}
location /errok/ {{ error_page 404 =200 /a.txt; }}
location /errno/ {{ error_page 404 /nowhere.html; }}
location /dead/ {{ proxy_pass http://127.0.0.1:1; error_page 500 502 503 504 /50x.html; }}
location /ia/ {{ index none.html /index.html; }}
}} }}"""

TEXTS = {"a.txt": "hello", "index.html": "root", "noext": "none", "x.GIF": "gif", "dir/index.html": "dir", "dir/b.html": "b",
         "types/q": "", "try/t.txt": "t", "try/d/index.html": "td", "try/e/x": "", "spa/index.html": "spa", "spa/f.js": "js",
         "app/s.css": "css", "app/d/index.html": "ad", "front/index.html": "front", "html/p.html": "p", "html/q/index.html": "q",
         "in/a.txt": "in", "add/a.txt": "add", "deny/a.txt": "deny", "s.php": "<?", "idx/second.html": "second", "sp ace": "sp",
         "é.txt": "accent", "empty.html": "", ".hid.txt": "hid", "a.b.html": "ab", "end.": "end", "ia/x": "", "err/x": "", "fq/x": ""}
OTHER = {"50x.html": "sorry", "in/deeper/y.txt": "y", "in/deeper.txt": "z"}

PATHS = ["/", "/index.html", "/a.txt", "/a.txt?x=y", "/noext", "/x.GIF", "/empty.html", "/.hid.txt", "/a.b.html", "/end.", "/nope", "/nope/",
         "/dir", "/dir?q=1", "/dir/", "/dir/b.html", "/dir/b.html/", "/a.txt/", "/a.txt/x", "/sp%20ace", "/%C3%A9.txt", "/%61.txt", "/./a.txt",
         "/dir/../a.txt", "//a.txt", "/x/../dir/", "/50x.html", "/types/a.txt", "/types/index.html", "/types/noext", "/al/", "/al/b.html",
         "/al", "/al/none", "/nosir/b.html", "/nos", "/one.html", "/re/a.x", "/re/none.x", "/try/t.txt", "/try/d", "/try/d/", "/try/e/", "/try/e",
         "/try/none", "/spa/", "/spa/f.js", "/spa/any/where", "/app/s.css", "/app/d", "/app/d/", "/app/api?x=1", "/front/", "/front/index.html",
         "/front/none", "/html/p", "/html/p.html", "/html/q", "/html/none", "/in/a.txt", "/in/deeper/y.txt", "/in/deeper.txt", "/add/a.txt",
         "/add/none", "/deny/a.txt", "/s.php", "/idx/", "/fb/none?x=1", "/fq/none?x=1", "/fq/none", "/papi/z", "/ia/", "/err/none", "/err/", "/errok/none", "/errno/none", "/dead/x", "/chars/", "/chars/x.GIF", "/chars/a.txt", "/chars/noext", "/charst/a.txt", "/charst/x.GIF", "/charst/", "/charsp/x", "/e/", "/e", "/out", "/fifo", "/../a.txt"]

FIELDS = [{"If-Modified-Since": AGE}, {"If-Modified-Since": AGE.replace("2026", "2027")}, {"If-None-Match": '"x"'}, {"If-None-Match": "*"},
          {"If-Match": '"x"'}, {"If-Match": "*"}, {"If-Unmodified-Since": AGE}, {"If-Unmodified-Since": "Fri, 20 Nov 2026 06:00:00 GMT"},
          {"Range": "bytes=0-1"}, {"Range": "bytes=-2"}, {"Range": "bytes=3-"}, {"Range": "bytes=9-"}, {"Range": "bytes=0-0,-1"},
          {"Range": "bytes=0-9,0-9"}, {"Range": "bytes=x"}, {"Range": "lines=1-2"}, {"Range": "bytes=0-1", "If-Range": AGE},
          {"Range": "bytes=0-1", "If-Range": '"x"'}, {"Range": "bytes=0-1", "If-None-Match": "*"}, {"Range": "bytes=4-2"}, {"Range": "bytes=-0"}]


def ask(port, method, path, fields):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.request(method, path, headers={"Host": f"a.org:{port}", **fields})
    r = c.getresponse()
    body, got = r.read(), {k.lower(): v for k, v in r.getheaders()}
    c.close()
    if r.status >= 400:
        got.pop("etag", None)  # nginx has one for pages of errors, too
    if (r.status >= 300 and not path.startswith(("/err/", "/dead/"))) or path.startswith("/app/api"):
        body = b""
    kind = got.get("content-type", "")
    if "boundary=" in kind:
        mark = kind.partition("boundary=")[2]
        kind, body = kind.replace(mark, "X"), re.sub(mark.encode(), b"X", body)
    like = {k: v for k, v in got.items() if k not in OURS}
    return r.status, like, (kind, got.get("content-length") if "boundary=" not in kind else None) if r.status < 300 else None, body


@pytest.fixture
def folder(tmp_path):
    for place, texts in (("www", TEXTS), ("other", OTHER)):
        for name, text in texts.items():
            path = tmp_path / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            os.utime(path, (1795240800, 1795240800))
    (tmp_path / "www/e").mkdir()
    (tmp_path / "www/out").symlink_to("../other/50x.html")
    os.mkfifo(tmp_path / "www/fifo")
    return tmp_path


def test_files(folder, binary, run):
    port, app = harness.free_port(), harness.free_port()
    requests = [("GET", p, {}) for p in PATHS] + [("GET", "/a.txt", f) for f in FIELDS]
    requests += [(m, p, {}) for m in ("HEAD", "POST", "PUT", "OPTIONS") for p in ("/a.txt", "/dir/", "/dir", "/none")]
    conf = folder / "nginx.conf"
    conf.write_text(CONF.format(folder=folder, port=port, app=app))
    got = run("import-nginx", "nginx.conf", "-o", "weir.yaml")
    assert got.returncode == 0, got.stdout + got.stderr
    assert run("check", "--strict", "-c", "weir.yaml").returncode == 0
    compare(requests, [play_with(ask, command, port, requests) for command in ([NGINX, "-p", folder, "-c", conf], [
        binary, "run", "-c", folder / "weir.yaml"])])


def test_where_nobody_says_where(folder, binary):
    port = harness.free_port()
    for sub in ("html", "conf"):
        (folder / sub).mkdir()
    (folder / "html/index.html").write_text("html")
    (folder / "rel").mkdir()
    (folder / "rel/x.html").write_text("rel")
    conf = folder / "conf/nginx.conf"
    conf.write_text(f"daemon off; user root; pid {folder}/nginx.pid; error_log /dev/null; events {{ }} http {{ access_log off; server {{ "
                    f"listen 127.0.0.1:{port}; location /x.html {{ root rel; }} }} }}")
    requests = [("GET", p, {}) for p in ("/", "/index.html", "/x.html", "/none")]
    (folder / "nginx").symlink_to(binary)
    compare(requests, [play_with(ask, [command, "-p", f"{folder}/", "-c", conf], port, requests)
                       for command in (NGINX, folder / "nginx")])

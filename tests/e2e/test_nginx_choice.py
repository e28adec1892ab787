"""The real nginx and Weir, started from the same nginx.conf: the same server, location and answer for every request."""

import http.client

import pytest

import harness
from nginx_both import NGINX, needs_nginx as pytestmark, serving  # noqa: F401


HEAD = """daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null; events {{ }}
http {{ access_log off; default_type text/plain;
server {{ listen 127.0.0.1:{app}; location / {{ return 200 "app $request_uri $http_host"; }} }}
"""

LOCATIONS = """
location / { return 200 "NAME root"; }
location = / { return 200 "NAME =root"; }
location = /exact { return 200 "NAME exact"; }
location /pre { return 200 "NAME pre"; }
location /pre/deep/ { return 200 "NAME deep"; }
location ^~ /stop/ { return 200 "NAME stop"; }
location ~ \\.php$ { return 200 "NAME php"; }
location ~* \\.(gif2|jpe?g2)$ { return 200 "NAME img"; }
location ~ ^/pre/[0-9]+ { return 200 "NAME num"; }
location /redir { return 302 https://$host$request_uri; }
location /json { default_type application/json; return 200 '{"uri":"$request_uri","m":"$request_method"}'; }
location /denied { deny all; return 200 x; }
location /nest/ { return 200 "NAME nest"; location /nest/in/ { return 200 "NAME in"; } }
location /no { return 204; }
location "/sp ace/" { return 200 "NAME space"; }
"""

SERVERS = {"A": "a.org www.a.org", "W": "*.a.org", "B": "*.b.a.org", "M": "mail.*", "R": "~^re(\\d+)\\.net$", "D": ".dot.org",
           "Z": ""}

CONDITIONS = """server {{ listen 127.0.0.1:{port}; proxy_set_header Host $host;
if ($http_block ~* "^bad|evil") {{ return 451; }}
location / {{ proxy_pass http://127.0.0.1:{app}; }}
location /opt/ {{ if ($request_method = 'OPTIONS') {{ add_header X-Told yes; return 204; }}
    add_header X-Told no always; proxy_pass http://127.0.0.1:{app}/; }}
location /sec/ {{ if ($http_x_secret != "s3c.et") {{ return 403; }} proxy_pass http://127.0.0.1:{app}/v1/; }}
location /meth/ {{ if ($request_method !~ ^(GET|POST)$ ) {{ return 405; }} rewrite ^/meth/(.*)$ /$1 break; proxy_pass http://127.0.0.1:{app}; }}
location /zero/ {{ if ($arg_z) {{ return 418; }} proxy_pass http://127.0.0.1:{app}; }}
location /host/ {{ if ($host != a.org) {{ return 301 https://a.org$request_uri; }} proxy_pass http://127.0.0.1:{app}; }}
location /loc/ {{ allow 127.0.0.1; deny all; proxy_pass http://127.0.0.1:{app}; }}
location /den/ {{ deny 127.0.0.0/8; allow all; proxy_pass http://127.0.0.1:{app}; }}
location /mix/ {{ allow 127.0.0.2; deny 127.0.0.0/8; proxy_pass http://127.0.0.1:{app}; }}
}} }}"""


def ask(port, method, path, host, fields):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": host, "Content-Length": "0", **fields}.items():
        c.putheader(name, value)
    c.endheaders()
    r = c.getresponse()
    body = r.read() if r.status == 200 else b""
    c.close()
    return r.status, body, r.getheader("Location"), r.getheader("X-Told")


def play(command, port, requests):
    return play_with(ask, command, port, requests)


def play_with(ask_one, command, port, requests):
    with serving(command, port):
        return [ask_one(port, *r) for r in requests]


@pytest.fixture
def both(run, binary, tmp_path):
    """both(text, requests): what nginx and Weir answer."""
    def go(text, port, requests):
        (tmp_path / "nginx.conf").write_text(text)
        got = run("import-nginx", "nginx.conf", "-o", "weir.yaml")
        assert got.returncode == 0, got.stdout + got.stderr
        assert run("check", "--strict", "-c", "weir.yaml").returncode == 0
        return (play([NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf"], port, requests),
                play([binary, "run", "-c", tmp_path / "weir.yaml"], port, requests))

    yield go
    harness.release_ports()


def compare(requests, answers):
    wrong = [(r, n, w) for r, n, w in zip(requests, *answers) if n != w]
    assert not wrong, "\n".join(f"{r}\n  nginx {n}\n  weir  {w}" for r, n, w in wrong)


def test_servers_and_locations(both, tmp_path):
    folder = tmp_path
    port, app = harness.free_port(), harness.free_port()
    text = HEAD.format(app=app, folder=folder) + "".join(
        f"server {{ listen 127.0.0.1:{port}{'' if names else ' default_server'}; {'server_name ' + names + ';' if names else ''} "
        f"{LOCATIONS.replace('NAME', name)} }}\n" for name, names in SERVERS.items()) + "}"
    hosts = ["a.org", "www.a.org", "x.a.org", "x.b.a.org", "b.a.org", "mail.com", "mail.a.org", "re12.net", "rex.net", "dot.org",
             "y.dot.org", "A.ORG", "a.org:80", "other"]
    paths = ["/", "/?x=1", "/exact", "/exact/", "/exactly", "/pre", "/prefix", "/pre/", "/pre/x", "/pre/deep", "/pre/deep/",
             "/pre/deep/x.php", "/pre/12", "/stop/", "/stop/x.php", "/x.php", "/x.PHP", "/x.gif2", "/X.JPG2", "/x.jpeg2?y",
             "/redir?a=b", "/redir/x", "/json?q=1", "/denied", "/nest/", "/nest/in/x", "/nest/in", "/no", "/sp%20ace/x",
             "/a/../exact", "/pre//deep/", "/%65xact", "/nope"]
    requests = [("GET", path, host, {}) for host in hosts for path in ("/", "/exact", "/x.php")]
    requests += [("GET", path, "a.org", {}) for path in paths]
    compare(requests, both(text, port, requests))


def test_conditions(both, tmp_path):
    folder = tmp_path
    port, app = harness.free_port(), harness.free_port()
    cases = {"/": [{}, {"Block": "BAD"}, {"Block": "xevil"}, {"Block": "ebad"}], "/opt/x?y": [{}],
             "/sec/x": [{}, {"X-Secret": "s3c.et"}, {"X-Secret": "s3cxet"}, {"X-Secret": "S3C.ET"}], "/meth/a/b?c": [{}],
             "/zero/?z=0": [{}], "/zero/?z=00": [{}], "/zero/?z=": [{}], "/zero/": [{}],
             "/host/a?b=c": [{}, {"Host": "A.ORG"}, {"Host": "a.org:99"}, {"Host": "b.org"}],
             "/loc/": [{}], "/den/": [{}], "/mix/": [{}]}
    requests = [(method, path, "a.org", fields) for path, all_fields in cases.items() for fields in all_fields
                for method in ("GET", "OPTIONS", "POST", "DELETE")]
    text = HEAD.format(app=app, folder=folder) + CONDITIONS.format(port=port, app=app)
    compare(requests, both(text, port, requests))


NESTED = """
location /a/ { return 200 "NAME a"; location /a/b/ { return 200 "NAME ab"; location ~ \\.x$ { return 200 "NAME ab.x"; } }
    location ~ \\.x$ { return 200 "NAME a.x"; } location = /a/b/eq { return 200 "NAME eq"; } location ^~ /a/s/ { return 200 "NAME as"; } }
location ^~ /k/ { return 200 "NAME k"; location ~ ^/k/(\\d+) { return 200 "NAME k$1"; } location /k/l/ { return 200 "NAME kl"; } }
location /k/o/ { return 200 "NAME ko"; }
location ~ \\.x$ { return 200 "NAME .x"; }
location ~* ^/U/ { return 200 "NAME u"; }
location ~ ^/(?<part>[a-z]+)/named$ { return 200 "NAME named"; }
location /m { return 200 "NAME m"; }
location = /m { return 200 "NAME =m"; }
location /m/n { return 200 "NAME mn $uri"; }
location @hidden { return 200 "NAME hidden"; }
location /fall/ { error_page 418 = @hidden; return 418; }
location /jump { rewrite ^/jump/(.*)$ /a/$1 last; return 200 "NAME jump"; }
location "/quo ted" { return 200 "NAME quoted"; }
location /pct%20x { return 200 "NAME pct"; }
location /~tilde { return 200 "NAME tilde"; }
location /a.b { return 200 "NAME dot"; }
"""

NESTED_PATHS = ["/", "/a", "/a/", "/a/x", "/a/y.x", "/a/b", "/a/b/", "/a/b/y.x", "/a/b/eq", "/a/b/eq/", "/a/s/", "/a/s/y.x", "/a/s",
                "/k", "/k/", "/k/y.x", "/k/12", "/k/12.x", "/k/l/", "/k/l/1", "/k/l/y.x", "/y.x", "/y.X", "/u/1", "/U/1", "/u",
                "/q/named", "/q/named/", "/Q/named", "/m", "/m/", "/mm", "/m/n", "/m/nn", "/m//n", "/m/./n", "/m/x/../n", "/a/l/y.x", "/k/o/p.x", "/k/o/",
                "/fall/", "/jump/b/y.x", "/jump/", "/jump", "/quo%20ted", "/quo%20ted/x", "/pct%2520x", "/%7Etilde", "/~tilde/x",
                "/a.b", "/aab", "/%61/x", "/a/b/../y.x", "//a/x", "/a/%2e%2e/m", "/a/..", "/m?/a/", "/a/b/?x=/m"]


def test_nested_locations(both, tmp_path):
    port, app = harness.free_port(), harness.free_port()
    names = {"N": "~^(?<sub>.+)\\.re\\.org$", "O": "www.o.org *.o.org", "P": "o.*", "Q": "*.sub.o.org q.org.", "E": "~^www\\."}
    text = HEAD.format(app=app, folder=tmp_path) + "".join(
        f'server {{ listen 127.0.0.1:{port}; server_name {s}; '
        f"{NESTED.replace('NAME', n)} }}\n" for n, s in names.items()) + "}"
    requests = [("GET", path, host, {}) for path in NESTED_PATHS for host in ("a.re.org", "www.o.org")]
    requests += [("GET", "/m", host, {}) for host in ("o.com", "o.org", "x.o.org", "x.sub.o.org", "sub.o.org", "www.re.org", "www.x.y",
                                                       "q.org", "q.org.", "WWW.O.ORG", "www.o.org.", "none", "re.org", "x.y.re.org:8")]
    compare(requests, both(text, port, requests))

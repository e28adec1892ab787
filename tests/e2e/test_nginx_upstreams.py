"""The real nginx and Weir, started from the same nginx.conf, before upstreams that fail in every way: who is asked, how often, what
the client is told, and what the upstream sees."""

import collections
import http.client
import socket
import threading
import time

import pytest

import harness
from nginx_both import NGINX, needs_nginx as pytestmark, serving  # noqa: F401


START = "daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null; events {{ }}\nhttp {{ access_log off;\n{text}\n}}"


class Scripted:
    """A server that does what it is told: a status, "reset", "garbage", "slow", "big"; `dead`: nobody listens."""

    def __init__(self, log, does):
        self.log, self.does, self.port = log, does, harness.free_port()
        if does != "dead":
            self.socket = socket.create_server(("127.0.0.1", self.port), backlog=64)
            self.thread = threading.Thread(target=self.accept, daemon=True)
            self.thread.start()

    def accept(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def close(self):
        if self.does != "dead":
            self.socket.shutdown(socket.SHUT_RDWR)
            self.thread.join()  # or it would accept for whoever has the descriptor next
            self.socket.close()

    def serve(self, c):
        with c:
            while head := self.read(c):
                self.log.append((self.port, head))
                if self.does == "reset":
                    return
                if self.does == "slow":
                    self.read(c)  # until who asked has had enough
                    return
                c.sendall(self.answer())
                if isinstance(self.does, bytes):
                    return
                while self.does == "switch" and (data := c.recv(4096)):
                    c.sendall(data.upper())

    def answer(self):
        if self.does == "garbage":
            return b"HTTP/1.1 200 OK\r\nno field\r\n\r\n"
        if self.does == "big":
            return b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100000 + b"\r\n\r\n"
        if isinstance(self.does, bytes):
            return self.does
        if self.does == "switch":
            return b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        if self.does == "hints":
            return b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n"
        return b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n%d" % (self.does, self.port % 100000)

    @staticmethod
    def read(c):
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                if not (more := c.recv(65536)):
                    return None
                data += more
            head, body = data.split(b"\r\n\r\n", 1)
            left = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            while left and len(body) < left[0]:
                body += c.recv(65536)
        except OSError:
            return None
        return (head + b"\r\n\r\n" + body).decode("latin1")


def ask(port, path="/", method="GET", fields=None, source=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=source and (source, 0))
    try:
        c.request(method, path, body=b"abc" if method == "POST" else None, headers=fields or {})
        r = c.getresponse()
        body = r.read()
        return r.status, body if r.status == 200 else b""
    finally:
        c.close()


@pytest.fixture
def rig(run, binary, tmp_path):
    """rig(text, play): what `play()` returns, and the requests that the upstreams saw, of nginx and then of Weir."""
    made, log = [], []

    def upstream(does=200):
        made.append(Scripted(log, does))
        return made[-1].port

    def once(command, port, play):
        with serving(command, port):
            log.clear()
            return play(), list(log)

    def go(text, port, play):
        (tmp_path / "nginx.conf").write_text(START.format(folder=tmp_path, text=text))
        got = run("import-nginx", "nginx.conf", "-o", "weir.yaml")
        assert got.returncode == 0, got.stdout + got.stderr
        assert run("check", "--strict", "-c", "weir.yaml").returncode == 0
        return (once([NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf"], port, play),
                once([binary, "run", "-c", tmp_path / "weir.yaml"], port, play))

    go.upstream, go.log = upstream, log
    yield go
    for one in made:
        one.close()
    harness.release_ports()


# --------------------------------------------------------------------------------------------------- proxy_next_upstream

NEXT = ["", "off", "error", "timeout", "invalid_header", "error timeout http_503", "error timeout invalid_header http_500 http_502 http_503 http_504",
        "error timeout http_403 http_404 http_429", "error timeout non_idempotent http_503", "error timeout invalid_header http_500; proxy_next_upstream_tries 2",
        "error timeout http_500 http_503; proxy_next_upstream_tries 1", "error timeout http_503; proxy_next_upstream_timeout ENOUGH"]
FAULTS = ["dead", "reset", "garbage", "big", "slow", 500, 502, 503, 504, 429, 403, 404, "hints"]
SHAPES = ["server {a};", "server {a}; server {ok};", "server {a}; server {ok} backup;", "server {a}; server {b}; server {ok} backup;",
          "server {a} max_fails=0; server {ok} max_fails=2; keepalive 4;"]


def matrix(rig, shape, fault, port):
    """A location for each way to say it, and for GET and for POST: a failure of one is none of another's.  Only who is slow can be too late."""
    a, b, ok = rig.upstream(fault), rig.upstream(fault), rig.upstream()
    names, text, places = {a: "a", b: "b", ok: "ok"}, "", []
    for i, words in enumerate(NEXT):
        for method in ("GET", "POST"):
            name = f"{method.lower()}{i}"
            servers = shape.format(a=f"127.0.0.1:{a}", b=f"127.0.0.1:{b}", ok=f"127.0.0.1:{ok}")
            text += f"upstream {name} {{ {servers} }}\n"
            places.append(f"location /{name} {{ proxy_pass http://{name}; {'proxy_next_upstream ' + words + ';' if words else ''} }}\n")
    read, enough = ("1s", "500ms") if fault == "slow" else ("20s", "20s")
    text += f"server {{ listen 127.0.0.1:{port}; proxy_read_timeout {read};\n{''.join(places)} }}"
    return text.replace("ENOUGH", enough), names


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", FAULTS)
def test_next_upstream(rig, shape, fault):
    port = harness.free_port()
    text, names = matrix(rig, shape, fault, port)
    cases = [(f"/{method.lower()}{i}", method) for i in range(len(NEXT)) for method in ("GET", "POST")]
    told = {}

    def one(case):
        told[case] = [ask(port, case[0], case[1])[0] for _ in range(3)]

    def play():
        each = [threading.Thread(target=one, args=(case,)) for case in cases]
        [t.start() for t in each]
        [t.join() for t in each]
        return dict(told)

    def seen(log, path):
        return [names[p] for p, head in log if head.split()[1] == path]

    (nginx, nginx_log), (weir, weir_log) = rig(text, port, play)
    wrong = [f"{NEXT[int(path.lstrip('/getpos'))]!r} {method}\n  nginx {nginx[path, method]} {seen(nginx_log, path)}\n"
             f"  weir  {weir[path, method]} {seen(weir_log, path)}" for path, method in cases
             if (nginx[path, method], seen(nginx_log, path)) != (weir[path, method], seen(weir_log, path))]
    assert not wrong, "\n".join(wrong)


# ------------------------------------------------------------------------------------------------------------- the choice

def compare(rig, text, port, play):
    nginx, weir = rig(text, port, play)
    assert nginx[0] == weir[0]
    assert [p for p, _ in nginx[1]] == [p for p, _ in weir[1]]
    return nginx


def server(port, locations):
    return f"server {{ listen 127.0.0.1:{port}; {locations} }}"


def balanced(rig, method, words, does=200):
    """An upstream of as many servers as there are words."""
    servers = [rig.upstream(does) for _ in words]
    return f"upstream u {{ {method} " + " ".join(f"server 127.0.0.1:{p} {w};" for p, w in zip(servers, words)) + " }\n"


@pytest.mark.parametrize("words", [["weight=5", "weight=1", "weight=2"], ["", "down", "weight=3", "backup"], ["weight=2", "weight=3 max_fails=0"],
                                   ["down", ""], ["down", "down"], ["backup", ""]], ids=" ".join)
def test_weights_in_the_same_order(rig, words):
    port = harness.free_port()
    text = balanced(rig, "", words) + server(port, "location / { proxy_pass http://u; }")
    compare(rig, text, port, lambda: [ask(port) for _ in range(24)])


KEYS = {"hash $request_uri;": lambda i: (f"/{i}?k={i}", {}), "hash $arg_k consistent;": lambda i: (f"/?k=key{i}", {}),
        "hash $http_x_user$uri consistent;": lambda i: (f"/{i % 7}", {"X-User": str(i)}), "hash $remote_addr;": lambda i: ("/", {}),
        "hash $cookie_a;": lambda i: ("/", {"Cookie": f"a={i}"})}


@pytest.mark.parametrize("words", [["", "", ""], ["weight=3", "down", "weight=2", ""]], ids=["even", "uneven"])
@pytest.mark.parametrize("method", KEYS)
def test_the_same_keys_go_to_the_same_servers(rig, method, words):
    port = harness.free_port()
    text = balanced(rig, method, words) + server(port, "location / { proxy_pass http://u; }")
    calls = [KEYS[method](i) for i in range(100)]
    compare(rig, text, port, lambda: [ask(port, path, fields=fields) for path, fields in calls])


@pytest.mark.parametrize("words", [["", "", ""], ["weight=3", "down", "weight=2", ""]], ids=["even", "uneven"])
def test_ip_hash(rig, words):
    port = harness.free_port()
    text = balanced(rig, "ip_hash;", words) + server(port, "location / { proxy_pass http://u; }")
    sources = [f"127.{i}.{i * 7 % 256}.{i % 3 + 1}" for i in range(100)]
    told, _ = compare(rig, text, port, lambda: [ask(port, source=source) for source in sources])
    assert len(set(told)) > 1


def test_an_unreachable_server_of_a_key_gives_way(rig):
    port, dead = harness.free_port(), rig.upstream("dead")
    text = balanced(rig, f"hash $arg_k consistent; server 127.0.0.1:{dead} max_fails=0;", ["", ""])
    text += server(port, "location / { proxy_pass http://u; }")
    compare(rig, text, port, lambda: [ask(port, f"/?k={i}") for i in range(60)])


@pytest.mark.parametrize("words,does", [
    (["max_fails=2 fail_timeout=60", ""], "reset"), (["max_fails=1 fail_timeout=50", "max_fails=1 fail_timeout=50"], "reset"),
    (["max_fails=3 fail_timeout=60", "backup max_fails=1 fail_timeout=60"], 503), (["weight=4 max_fails=2 fail_timeout=60", "max_fails=0"], "dead"),
    (["max_fails=1 fail_timeout=60"], "reset"), (["max_fails=1 fail_timeout=60", "max_fails=1 fail_timeout=60"], 404)], ids=str)
def test_failures_count(rig, words, does):
    port = harness.free_port()
    text = balanced(rig, "", words, does)
    text += server(port, "location / { proxy_pass http://u; proxy_next_upstream error http_503; }")
    compare(rig, text, port, lambda: [ask(port) for _ in range(6)] + [time.sleep(0)] + [ask(port) for _ in range(6)])


def test_a_server_comes_back_after_its_time(rig):
    port, ok = harness.free_port(), rig.upstream()
    text = balanced(rig, f"server 127.0.0.1:{ok};", ["max_fails=1 fail_timeout=3"], "reset")
    text += server(port, "location / { proxy_pass http://u; }")

    def play():
        told, begun = [ask(port) for _ in range(5)], time.monotonic()
        harness.until(lambda: ask(port) and sum(p != ok for p, _ in rig.log) == 2, "it is asked again")
        return told, time.monotonic() - begun > 1
    nginx, weir = rig(text, port, play)
    assert nginx[0] == weir[0] and nginx[0][1] and [p for p, _ in nginx[1]][:6] == [p for p, _ in weir[1]][:6]


# ------------------------------------------------------------------------------------------------ what the upstream sees

HEADS = """
location /plain/ { proxy_pass http://up; }
location /uri/ { proxy_pass http://up/v1/x/; }
location = /eq { proxy_pass http://up/other; }
location /host/ { proxy_pass http://up; proxy_set_header Host $host; }
location /set/ { proxy_pass http://up/; proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Accept-Encoding ""; proxy_set_header X-Q "$request_uri|$args|$arg_a|$http_x_q|$cookie_c|$request_method";
    proxy_set_header X-P "$proxy_host:$proxy_port"; proxy_set_header Cookie ""; proxy_set_header X-Server $server_name; }
location /one/ { proxy_http_version 1.1; proxy_pass http://up; }
location /kept/ { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://up; }
location /inherit/ { proxy_pass http://up; }
location /inherit/not/ { proxy_set_header X-B b; proxy_pass http://up; }
location /rw/ { rewrite ^/rw/(\\d+)/(.*)$ /n/$2/$1 break; proxy_pass http://up; }
"""
CLIENT = {"User-Agent": "it", "X-Forwarded-For": "1.2.3.4", "X-Real-IP": "5.6.7.8", "Via": "1.1 x", "X-Request-Id": "7", "X-Q": "q", "Cookie": "c=d; e=f",
          "Accept-Encoding": "gzip", "Forwarded": "for=9.9.9.9", "TE": "trailers", "Keep-Alive": "1", "X-Forwarded-Host": "evil", "lower": "Case"}


def as_seen(head):
    first, *fields = head.split("\r\n")
    return first, collections.Counter(fields)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_the_head(rig, method):
    port, app = harness.free_port(), rig.upstream()
    text = f"upstream up {{ server 127.0.0.1:{app}; keepalive 2; }}\n"
    text += server(port, "server_name first.org; proxy_set_header X-A a; " + HEADS)
    paths = ["/plain/a", "/plain/a%20b?x=1", "/plain/%7Ea", "/uri/", "/uri/a/b?x=1", "/eq", "/eq?a", "/host/", "/set/?a=1&b=2", "/set/a",
             "/one/", "/kept/", "/kept/again", "/inherit/x", "/inherit/not/x", "/rw/12/abc?z=1"]
    (nginx, nginx_log), (weir, weir_log) = rig(text, port, lambda: [ask(port, path, method, CLIENT)[0] for path in paths])
    wrong = [f"{path}\n  nginx {n}\n  weir  {w}" for path, n, w in zip(paths, nginx_log, weir_log) if as_seen(n[1]) != as_seen(w[1])]
    assert not wrong and nginx == weir, "\n".join(wrong)


def tell(port, *pieces):
    """The pieces, a while between them; what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as c:
        for piece in pieces:
            c.sendall(piece)
            time.sleep(0.1)
        got = b""
        while b"\r\n\r\n" not in got or not got.split(b"\r\n\r\n", 1)[1]:
            if not (more := c.recv(65536)):
                break
            got += more
    return got.split(b"\r\n")[0], got.split(b"\r\n\r\n", 1)[-1]


CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES = {"chunked": [CHUNKED + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"], "slow": [CHUNKED, b"3\r\nabc\r\n", b"0\r\n\r\n"],
          "empty": [CHUNKED, b"0\r\n\r\n"], "trailers": [CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"],
          "length": [b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", b"def"],
          "large": [CHUNKED + b"20000\r\n" + b"x" * 0x20000 + b"\r\n0\r\n\r\n"], "too large": [CHUNKED + b"30000\r\n" + b"x" * 0x30000 + b"\r\n0\r\n\r\n"],
          "expected": [b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", b"abc"]}


@pytest.mark.parametrize("more", ["", "proxy_http_version 1.1;"], ids=["1.0", "1.1"])
@pytest.mark.parametrize("body", BODIES)
def test_bodies(rig, body, more):
    port, app = harness.free_port(), rig.upstream()
    text = server(port, f"client_max_body_size 130k; location / {{ {more} proxy_pass http://127.0.0.1:{app}; }}")
    (nginx, nginx_log), (weir, weir_log) = rig(text, port, lambda: tell(port, *BODIES[body])[0][:12])
    assert nginx == weir and [as_seen(h) for _, h in nginx_log] == [as_seen(h) for _, h in weir_log]


UPGRADE = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"


@pytest.mark.parametrize("more", ["", UPGRADE], ids=["plain", "upgrade"])
def test_upgrade(rig, more):
    port, app = harness.free_port(), rig.upstream("switch" if more else 200)
    text = server(port, f"location / {{ {more} proxy_pass http://127.0.0.1:{app}; }}")
    asked = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    (nginx, nginx_log), (weir, weir_log) = rig(text, port, lambda: tell(port, asked, b"hello" if more else b""))
    assert nginx[0][:12] == weir[0][:12] and nginx[1] == weir[1]
    assert [h.lower().split("\r\n")[0] for _, h in nginx_log] == [h.lower().split("\r\n")[0] for _, h in weir_log]
    assert sorted(nginx_log[0][1].lower().split("\r\n")) == sorted(weir_log[0][1].lower().split("\r\n"))


# ------------------------------------------------------------------------------------------------------------ the answers

OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {"1.0 until it closes": b"HTTP/1.0 200 OK\r\n\r\nabc", "1.1 until it closes": OK + b"\r\nabc", "empty": OK + b"Content-Length: 0\r\n\r\n",
           "short": OK + b"Content-Length: 9\r\n\r\nabc", "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
           "chunked, short": OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc", "a chunk that is none": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
           "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", "204": b"HTTP/1.1 204 No\r\n\r\n",
           "304": b"HTTP/1.1 304 Not\r\nETag: x\r\n\r\n", "no phrase": b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
           "nothing": b"", "half a head": OK + b"X: y\r\n", "1.0 chunked": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
           "too long": OK + b"Content-Length: 2\r\n\r\nabc", "a status of its own": b"HTTP/1.1 299 Odd\r\nContent-Length: 3\r\n\r\nabc"}


def whole(port, method):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        c.request(method, "/a")
        r = c.getresponse()
        return r.status, r.read() if r.status < 500 else b""
    except http.client.IncompleteRead as e:
        return r.status, "short", e.partial
    except ConnectionError:
        return "nothing"
    finally:
        c.close()


@pytest.mark.parametrize("more", ["", "proxy_http_version 1.1;"], ids=["1.0", "1.1"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_answers(rig, answer, more):
    port, app = harness.free_port(), rig.upstream(ANSWERS[answer])
    text = server(port, f"location / {{ {more} proxy_pass http://127.0.0.1:{app}; }}")
    methods = ("GET", "POST") if ANSWERS[answer].partition(b"\r\n\r\n")[2] else ("GET", "HEAD", "POST")  # HEAD has no body
    (nginx, _), (weir, _) = rig(text, port, lambda: [whole(port, method) for method in methods])
    assert nginx == weir

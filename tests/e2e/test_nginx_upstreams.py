"""The real nginx and Weir, started from the same nginx.conf, before upstreams that fail in every way: who is asked, how often, what
the client is told, and what the upstream sees."""

import collections
import http.client
import os
import socket
import subprocess
import threading
import time

import pytest

import harness

NGINX = "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="there is no nginx")

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
                    time.sleep(1.5)
                    return
                c.sendall(self.answer())

    def answer(self):
        if self.does == "garbage":
            return b"HTTP/1.1 200 OK\r\nno field\r\n\r\n"
        if self.does == "big":
            return b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100000 + b"\r\n\r\n"
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
        return head.decode("latin1")


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
        served = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            log.clear()
            return play(), list(log)
        finally:
            served.kill()
            served.wait()

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
        "error timeout http_500 http_503; proxy_next_upstream_tries 1", "error timeout http_503; proxy_next_upstream_timeout 100ms"]
FAULTS = ["dead", "reset", "garbage", "big", "slow", 500, 502, 503, 504, 429, 403, 404, "hints"]
SHAPES = ["server {a};", "server {a}; server {ok};", "server {a}; server {ok} backup;", "server {a}; server {b}; server {ok} backup;",
          "server {a} max_fails=0; server {ok} max_fails=2; keepalive 4;"]


def matrix(rig, shape, fault, port):
    """A location for each way to say it, and for GET and for POST: a failure of one is none of another's."""
    a, b, ok = rig.upstream(fault), rig.upstream(fault), rig.upstream()
    names, text, places = {a: "a", b: "b", ok: "ok"}, "", []
    for i, words in enumerate(NEXT):
        for method in ("GET", "POST"):
            name = f"{method.lower()}{i}"
            servers = shape.format(a=f"127.0.0.1:{a}", b=f"127.0.0.1:{b}", ok=f"127.0.0.1:{ok}")
            text += f"upstream {name} {{ {servers} }}\n"
            places.append(f"location /{name} {{ proxy_pass http://{name}; {'proxy_next_upstream ' + words + ';' if words else ''} }}\n")
    text += f"server {{ listen 127.0.0.1:{port}; proxy_read_timeout 600ms;\n{''.join(places)} }}"
    return text, names


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

"""The same nginx.conf played by the real nginx and by Weir, which was started from what import-nginx makes of it."""

import contextlib
import http.client
import os
import socket
import subprocess

import pytest

import harness

NGINX = "/usr/sbin/nginx"
needs_nginx = pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="there is no nginx")

HEAD = """daemon off; master_process off; pid {folder}/{name}.pid; error_log {folder}/{name}.log; events {{ }}
http {{ access_log off; default_type text/plain; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
"""

# An app that answers what it is asked to: X-Status, X-Location, X-Cookie, X-Refresh, X-Other; and shows what it saw.
APP = HEAD + """server {{ listen 127.0.0.1:{app}; absolute_redirect off; underscores_in_headers on; merge_slashes off;
add_header Set-Cookie $http_x_cookie always; add_header Refresh $http_x_refresh always;
add_header X-Other $http_x_other always; add_header X-Accel-Expires 1 always; add_header Cache-Control $http_x_cache always;
""" + "\n".join(f"if ($http_x_status = {s}) {{{{ return {s} {'$http_x_location' if s in (301, 302) else repr(f'app {s} $request_uri')}; }}}}"
                for s in (201, 204, 301, 302, 304, 400, 401, 403, 404, 410, 429, 500, 502, 503, 504)) + """
return 200 "app $request_method $request_uri $http_host $http_x_told"; }}}}
"""


def ask(port, method, path, host="a.org", fields=None, body=b""):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    given = {"Host": host, "Content-Length": str(len(body)), **(fields or {})}
    for name, value in given.items():
        if value is not None:
            c.putheader(name, value)
    c.endheaders(body or None)
    try:
        r = c.getresponse()
        return r.status, r.read(), r.getheaders()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return 0, b"", []
    finally:
        c.close()


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def serving(command, port):
    served = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        harness.until(lambda: listens(port), "it listens")
        yield
    finally:
        served.kill()
        served.wait()


def play(command, port, requests, look):
    with serving(command, port):
        return [look(*ask(port, *r)) for r in requests]


def seen(*names):
    """What is compared: the status, a body that is not an error's, and these fields."""
    wanted = [n.lower() for n in names]

    def look(status, body, fields):
        ours = b"<hr><center>" in body
        if ours:  # all of it but who says so
            body = body[:body.index(b"<hr><center>")]
            fields = [(n, v) for n, v in fields if n.lower() != "retry-after"]
            return status, body, sorted((n.lower(), v) for n, v in fields if n.lower() in wanted)
        return (status, body, sorted((n.lower(), v) for n, v in fields if n.lower() in wanted))
    return look


class Both:
    def __init__(self, run, binary, folder):
        self.run, self.binary, self.folder = run, binary, folder
        self.port, self.app = harness.free_port(), harness.free_port()

    def compare(self, servers, requests, look=None, lost=0):
        """`servers`: text with PORT and APP in it."""
        look = look or seen("location", "content-type")
        text = (HEAD.format(folder=self.folder, name="nginx") + servers + "\n}").replace("PORT", str(self.port))
        (self.folder / "nginx.conf").write_text(text.replace("APP", str(self.app)))
        (self.folder / "app.conf").write_text(APP.format(folder=self.folder, name="app", app=self.app))
        got = self.run("import-nginx", "nginx.conf", "-o", "weir.yaml")
        assert got.returncode == (3 if lost else 0), got.stdout + got.stderr
        assert self.run("check", "--strict", "-c", "weir.yaml").returncode == 0
        with serving([NGINX, "-p", self.folder, "-c", self.folder / "app.conf"], self.app):
            nginx = play([NGINX, "-p", self.folder, "-c", self.folder / "nginx.conf"], self.port, requests, look)
            weir = play([self.binary, "run", "-c", self.folder / "weir.yaml"], self.port, requests, look)
        wrong = [(r, n, w) for r, n, w in zip(requests, nginx, weir) if n != w]
        assert not wrong, "\n".join(f"{r}\n  nginx {n}\n  weir  {w}" for r, n, w in wrong)


@pytest.fixture
def both(run, binary, tmp_path):
    yield Both(run, binary, tmp_path)
    harness.release_ports()

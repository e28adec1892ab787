"""The real nginx and Weir, started from the same nginx.conf, play the same arrivals: who is let in, who waits how long.

All arrivals stand off the boundaries of their limits by more than a busy machine makes of them (what happens at the boundary is
shown by tests/unit/filters/test_together.c, against nginx's arithmetic).  A run whose sender was late itself, or that was held up
as a whole, is played again."""

import http.server
import selectors
import socket
import threading
import time

import pytest

import harness
from nginx_both import NGINX, needs_nginx as pytestmark, serving  # noqa: F401

LATE, APART = 0.030, 0.100  # of the sender; between the delays of both

HEAD = "daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null crit; events {{ }} http {{ access_log off;\n"
ZONES = "".join(f"limit_req_zone $http_x_key zone={name}:1m rate={rate};\n" for name, rate in {
    "plain": "2r/s", "burst": "2r/s", "shaped": "5r/s", "part": "5r/s", "keys": "2r/s", "pool": "2r/s", "one": "2r/s", "two": "5r/s",
    "three": "2r/s", "four": "5r/s", "dry": "2r/s", "more": "2r/s", "minute": "90r/m", "own": "2r/s", "none": "1r/s"}.items())
PLACES = {
    "plain": "limit_req zone=plain;",
    "burst": "limit_req zone=burst burst=3 nodelay;",
    "shaped": "limit_req zone=shaped burst=4;",
    "part": "limit_req zone=part burst=5 delay=2;",
    "keys": "limit_req zone=keys burst=1 nodelay;",
    "low": "limit_req zone=pool burst=1 nodelay;",
    "high": "limit_req zone=pool burst=5 nodelay; limit_req_status 429;",
    "several": "limit_req zone=one burst=5 nodelay; limit_req zone=two burst=2 nodelay;",
    "longest": "limit_req zone=three burst=3; limit_req zone=four burst=9;",
    "dry": "limit_req zone=dry burst=1; limit_req zone=more burst=5 nodelay; limit_req_dry_run on;",
    "wet": "limit_req zone=more burst=2 nodelay;",
    "minute": "limit_req zone=minute burst=1 nodelay;",
    "own": "limit_req zone=own; limit_req_status 599;",
    "none": "limit_req zone=none;",
    "free": "",
}
SCRIPTS = {
    "at once": [("burst", 0)] * 6 + [("burst", 0.75)] * 3 + [("burst", 2.2)] * 4,
    "just under": [("plain", 0.6 * i) for i in range(6)],
    "just over": [("keys", 0.4 * i + 0.05) for i in range(9)],
    "ramp": [("plain", t) for t in (0, 0.75, 1.4, 1.6, 2.1, 2.35, 2.75, 3.0)],
    "shaped": [("shaped", 0)] * 7 + [("shaped", 1.3)] * 2,
    "in part": [("part", 0)] * 9 + [("part", 0.9)] * 3,
    "a pool": [("low", 0)] * 3 + [("high", 0.1)] * 6 + [("low", 1.2)] * 2 + [("high", 1.3)] * 3,
    "several": [("several", 0)] * 5 + [("several", 0.7)] * 5 + [("several", 1.9)] * 4,
    "the longest": [("longest", 0)] * 6 + [("longest", 2.2)] * 2,
    "dry run": [("dry", 0)] * 4 + [("wet", 0.1)] * 4,
    "a minute": [("minute", 0)] * 3 + [("minute", 0.5), ("minute", 1.0), ("minute", 1.1), ("minute", 2.0)],
    "a status": [("own", 0)] * 2,
}


class App(http.server.BaseHTTPRequestHandler):
    """Answers at once; below /held when it is let go."""
    protocol_version, go, held = "HTTP/1.1", threading.Event(), threading.Semaphore(0)

    def do_GET(self):
        if "/held" in self.path:
            App.held.release()
            App.go.wait(20)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Backend(http.server.ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture(scope="module")
def app():
    with Backend(("127.0.0.1", 0), App) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def request(port, path, key=None):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{f'X-Key: {key}' + chr(13) + chr(10) if key else ''}\r\n".encode())
    return s


def status_of(s):
    data = s.recv(4096)
    s.close()
    return int(data.split()[1]) if data else 0


def held_up(port, over, most):
    """What a call takes, at most, that no limit holds."""
    while not over.wait(0.02):
        begun = time.monotonic()
        status_of(request(port, "/free"))
        most[0] = max(most[0], time.monotonic() - begun)


def play(port, arrivals):
    """What send() returns, and whether all was in time: calls that nobody limits tell whether who answers was held up."""
    over, most = threading.Event(), [0.0]
    thread = threading.Thread(target=held_up, args=(port, over, most))
    thread.start()
    answers, late = send(port, arrivals)
    over.set()
    thread.join()
    return answers, late < LATE and most[0] < APART / 2


def send(port, arrivals):
    """[(time, path, key)] -> [(status, seconds)], and how late the sender was at most."""
    answers, late, waiting, start = [None] * len(arrivals), 0.0, selectors.DefaultSelector(), time.monotonic() + 0.05
    for i, (at, path, key) in enumerate(arrivals + [(arrivals[-1][0] + 3, None, None)]):
        while (left := start + at - time.monotonic()) > 0 and (path or waiting.get_map()):
            for ready, _ in waiting.select(left):
                waiting.unregister(ready.fileobj)
                answers[ready.data[0]] = (status_of(ready.fileobj), time.monotonic() - ready.data[1])
        if path:
            late = max(late, time.monotonic() - start - at)
            waiting.register(request(port, path, key), selectors.EVENT_READ, (i, time.monotonic()))
    return answers, late


@pytest.fixture
def both(run, binary, tmp_path):
    """both(text, port, work): what work() finds before nginx, and before Weir."""
    def go(text, port, work):
        (tmp_path / "nginx.conf").write_text(HEAD.format(folder=tmp_path) + text + "}")
        got = run("import-nginx", "nginx.conf", "-o", "weir.yaml")
        assert got.returncode == 0 and "adapted: limit" not in got.stdout, got.stdout + got.stderr
        assert run("check", "--strict", "-c", "weir.yaml").returncode == 0
        found = []
        for command in [NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf"], [binary, "run", "-c", tmp_path / "weir.yaml"]:
            with serving(command, port):
                found.append(work())
        return found

    yield go
    harness.release_ports()


def test_arrivals(both, app):
    port = harness.free_port()
    places = "".join(f"location /{name} {{ {limits} proxy_pass http://127.0.0.1:{app}; }}\n" for name, limits in PLACES.items())
    arrivals = sorted((at + 0.02 * list(SCRIPTS).index(name), f"/{place}", f"{name}{i % 2 if name == 'just over' else ''}".replace(" ", "-"), name)
                      for name, script in SCRIPTS.items() for i, (place, at) in enumerate(script))
    arrivals += [(arrivals[-1][0] + 0.1, "/none", None, "without a key")] * 3
    for again in (3, 2, 1, 0):
        played = both(ZONES + f"server {{ listen 127.0.0.1:{port};\n{places}}}", port, lambda: play(port, [a[:3] for a in arrivals]))
        if all(in_time for _, in_time in played):
            break
        if not again:
            pytest.skip("the sender was late each time")
    (nginx, _), (weir, _) = played
    wrong = [(a, n, w) for a, n, w in zip(arrivals, nginx, weir) if n[0] != w[0] or abs(n[1] - w[1]) > APART]
    assert not wrong, "\n".join(f"{a}\n  nginx {n}\n  weir  {w}" for a, n, w in wrong)
    assert {a[0] for a in nginx} == {200, 429, 503, 599} and max(a[1] for a in nginx) > 0.9


CONNECTIONS = """limit_conn_zone $http_x_key zone=by_key:1m; limit_conn_zone $server_name zone=all:1m; limit_conn_zone $http_x_key zone=dry:1m;
limit_req_zone $http_x_key zone=rate:1m rate=1r/m;
server {{ listen 127.0.0.1:{port}; server_name a; proxy_read_timeout 30s;
location /few {{ limit_conn by_key 1; limit_conn_status 429; proxy_pass http://127.0.0.1:{app}; }}
location /many {{ limit_conn by_key 3; limit_conn all 4; proxy_pass http://127.0.0.1:{app}; }}
location /dry {{ limit_conn dry 1; limit_conn_dry_run on; proxy_pass http://127.0.0.1:{app}; }}
location /rate {{ limit_req zone=rate burst=2 nodelay; limit_conn by_key 1; proxy_pass http://127.0.0.1:{app}; }} }}"""


def hold(port):
    """The statuses of calls one after the other while others of them are held: the same zone has other numbers elsewhere."""
    App.go.clear()
    order = [("few", "a"), ("few", "a"), ("many", "a"), ("many", "a"), ("many", "a"), ("few", "b"), ("many", "b"), ("many", "b"),
             ("many", "c"), ("many", None), ("few", None), ("few", None), ("dry", "d"), ("dry", "d"), ("rate", "a"), ("rate", "a"),
             ("rate", "a"), ("rate", "a")]
    held, answers = [], []
    for place, key in order:
        s = request(port, f"/{place}/held", key)
        harness.until(lambda: App.held.acquire(blocking=False) or harness.readable([s]), f"{place} {key}")
        answers.append((place, key, status_of(s) if harness.readable([s]) else held.append(s)))
    App.go.set()
    answers += [status_of(s) for s in held]
    return answers + [status_of(request(port, "/rate", "a")), status_of(request(port, "/few", "a"))]


def test_connections(both, app):
    port = harness.free_port()
    nginx, weir = both(CONNECTIONS.format(port=port, app=app), port, lambda: hold(port))
    assert nginx == weir
    assert [a[2] for a in nginx[:3]] == [None, 429, None]

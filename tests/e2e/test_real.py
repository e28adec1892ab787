"""Real software at both ends: curl and Python's clients before Weir, nginx and Python's server behind it, HAProxy in
front. Bodies are compared whole; each test is skipped where its program is not installed."""

import hashlib
import http.client
import http.server
import json
import random
import shutil
import subprocess
import threading

import pytest

from harness import TIMEOUT, connect, free_port, until

DATA = random.Random(1).randbytes(3_000_000)
BODIES = {n: DATA[:n] for n in (0, 1, 65536, 3_000_000)}


def needs(*programs):
    missing = [p for p in programs if shutil.which(p) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


def listens(addr):
    try:
        connect(addr).close()
        return True
    except OSError:
        return False


def sha(data):
    return hashlib.sha256(data).hexdigest()


def kept_for_a_moment(addr):
    """One upstream, whose idle connections are gone when the test is looked over."""
    return {"app": {"endpoints": [addr], "keepalive_timeout": "300ms"}}


@pytest.fixture
def program(tmp_path):
    """program(addr, words...) runs one until the test ends; it has to listen on addr."""
    running = []

    def run(addr, *words):
        with open(tmp_path / f"{words[0]}.out", "wb") as out:
            running.append(subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=tmp_path))
        until(lambda: listens(addr), f"{words[0]} listens on {addr}", 3 * TIMEOUT)

    yield run
    for p in running:
        p.kill()
        p.wait()


@pytest.fixture
def curl():
    def run(*words, data=b""):
        p = subprocess.run(["curl", "-sS", "--max-time", "30", *words], input=data, capture_output=True, check=False)
        assert p.returncode == 0, p.stderr
        return p.stdout

    return run


NGINX = """
daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; events {{}}
http {{ access_log off; gzip on; gzip_proxied any; gzip_types *; default_type text/plain; keepalive_requests 7;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s; server {{ listen {addr}; root {dir}/www; }} }}
"""


@pytest.fixture
def nginx(weir, program, tmp_path):
    """A Weir before an nginx that serves BODIES by their length."""
    (tmp_path / "www").mkdir()
    for n, body in BODIES.items():
        (tmp_path / "www" / str(n)).write_bytes(body)
    addr = f"127.0.0.1:{free_port()}"
    (tmp_path / "nginx.conf").write_text(NGINX.format(dir=tmp_path, addr=addr))
    program(addr, "nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path))
    return weir(upstreams=kept_for_a_moment(addr))


class Sums(http.server.BaseHTTPRequestHandler):
    """POST: the digest of what came. GET /N: N bytes, under 1.0 until the close."""

    def log_message(self, *_):
        pass

    def pieces(self):
        if self.headers.get("transfer-encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def do_POST(self):
        body = b"".join(self.pieces())
        self.answer(json.dumps({"sha": sha(body), "from": self.headers["x-forwarded-for"]}).encode())

    def do_GET(self):
        self.answer(BODIES[int(self.path[1:])])

    def answer(self, body):
        self.send_response(200)
        if self.protocol_version == "HTTP/1.1":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(params=["HTTP/1.0", "HTTP/1.1"])
def python(weir, request):
    """A Weir before a server of Python's library."""
    handler = type("Handler", (Sums,), {"protocol_version": request.param})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield weir(upstreams=kept_for_a_moment(f"127.0.0.1:{server.server_port}"))
    server.shutdown()
    server.server_close()


@needs("curl", "nginx")
def test_curl_and_nginx(nginx, curl):
    url = f"http://{nginx.addr}"
    for version in ("--http1.0", "--http1.1"):
        for n, body in BODIES.items():
            assert sha(curl(version, f"{url}/{n}")) == sha(body)
    assert curl(*[f"{url}/1"] * 20) == BODIES[1] * 20  # nginx closes every seventh
    assert curl("--compressed", f"{url}/65536") == BODIES[65536]
    assert b"Content-Encoding: gzip" in curl("-i", "-H", "Accept-Encoding: gzip", f"{url}/65536")
    assert curl("-r", "100-199", f"{url}/65536") == BODIES[65536][100:200]
    assert b"Content-Length: 65536" in curl("-I", f"{url}/65536")


@needs("curl", "nginx")
def test_curl_revalidates_and_resumes(nginx, curl, tmp_path):
    url, part, tag = f"http://{nginx.addr}/3000000", tmp_path / "part", str(tmp_path / "tag")
    part.write_bytes(DATA[:1_000_000])
    curl("-C", "-", "-o", str(part), url)
    assert sha(part.read_bytes()) == sha(DATA)
    curl("--etag-save", tag, "-o", "/dev/null", url)
    assert curl("--etag-compare", tag, "-w", "%{http_code}", url) == b"304"


@needs("curl")
def test_curl_uploads(python, curl):
    url = f"http://{python.addr}/"
    for n, body in BODIES.items():
        for how in (["-H", "Expect:"], ["-H", "Expect: 100-continue", "--expect100-timeout", "0.1"], ["--http1.0"]):
            got = curl(*how, "--data-binary", "@-", url, data=body)
            assert json.loads(got)["sha"] == sha(body), (n, how)
    got = curl("-T", "-", "-X", "POST", "-H", "Expect:", url, data=DATA)  # chunked
    assert json.loads(got)["sha"] == sha(DATA)


def test_python_keeps_its_connection(python):
    c = http.client.HTTPConnection(python.addr, timeout=TIMEOUT)
    for n, body in BODIES.items():
        c.request("GET", f"/{n}")
        assert sha(c.getresponse().read()) == sha(body)
        c.request("POST", "/", body=iter([body[:1000], body[1000:]]), encode_chunked=True,
                  headers={"Transfer-Encoding": "chunked"})
        assert json.loads(c.getresponse().read())["sha"] == sha(body)
    c.close()
    until(lambda: python.metric("weir_connections_total", listener=python.addr) == 1, "one connection for all")


@needs("haproxy")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_tells_the_client(weir, program, tmp_path, version):
    front = f"127.0.0.1:{free_port()}"
    w = weir(serve=lambda r: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + r.get("x-forwarded-for").encode())
    w.reload(listen=[{"addr": w.addr, "proxy_protocol": True}])
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 9s\n timeout server 9s\n"
        f"listen l\n bind {front}\n server weir {w.addr} {version}\n")
    program(front, "haproxy", "-f", str(tmp_path / "haproxy.cfg"))
    for _ in range(3):
        assert w.fetch(addr=front, source="127.0.0.9").body == b"127.0.0.9"

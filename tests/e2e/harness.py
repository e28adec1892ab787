"""Both ends of the wire, scripted, with a Weir between them.

    Wire      a socket with a buffer and a deadline on everything
    Client    a Wire to Weir: ask, send, expect
    Upstream  a listening socket that the test answers by hand, or that serves by itself in threads
    Weir      the process: configuration, reload, metrics, access log, and the checks at its end

Nothing here waits for long: every read has a deadline of TIMEOUT seconds, stretched for sanitizer builds.
"""

import contextlib
import json
import os
import pathlib
import random
import re
import resource
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

from certificates import certs


def flavour_of(binary):
    """What a build was made with: "address", "thread" or ""."""
    with open(binary, "rb") as f:
        data = f.read()
    return "address" if b"__asan_init" in data else "thread" if b"__tsan_init" in data else ""


SLOW = float(os.environ.get("WEIR_SLOW", "1"))
TIMEOUT = 6.0 * SLOW
CRLF = b"\r\n"
STDERR_BAD = re.compile(r"^\S+Z? error |panic|assert|AddressSanitizer|LeakSanitizer|ThreadSanitizer"
                        r"|UndefinedBehavior|runtime error|Segmentation", re.M | re.I)


# ---------------------------------------------------------------- small helpers

def until(check, what="", timeout=None, every=0.01):
    """Waits until check() is true and returns what it returned. Its last word comes after the end, however long the
    machine stood still."""
    end = time.monotonic() + (timeout or TIMEOUT)
    while True:
        late = time.monotonic() > end
        got = check()
        if got:
            return got
        if late:
            raise AssertionError(f"never came true: {what or check}")
        time.sleep(every)


def _poll(things, event, seconds):
    poll = select.poll()  # select() ends at 1024 descriptors
    by_fd = {t.fileno(): t for t in things}
    for fd in by_fd:
        poll.register(fd, event)
    return [by_fd[fd] for fd, _ in poll.poll(max(0, seconds) * 1000)]


def readable(things, seconds=0.0):
    """Those of the wires or sockets that have something to read, or have ended."""
    return _poll(things, select.POLLIN, seconds)


def writable(thing, seconds=0.0):
    return bool(_poll([thing], select.POLLOUT, seconds))


_held_ports = {}


def free_port():
    """A port below the ephemeral range that no other test process on this machine takes: an abstract socket is its
    lock (Weir listens with SO_REUSEPORT, so a bind alone would not tell two of them apart)."""
    for _ in range(2000):
        port = random.SystemRandom().randrange(10000, 32000)
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0weir-e2e-{port}")
            for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((host, port))
        except OSError:
            lock.close()
            continue
        _held_ports[port] = lock
        return port
    raise RuntimeError("no free port")


def release_ports():
    """At the end of a test."""
    while _held_ports:
        _held_ports.popitem()[1].close()


def connect(addr, source=None):
    """addr: "127.0.0.1:80", "[::1]:80" or "unix:/path"."""
    if addr.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(TIMEOUT)
        sock.connect(addr[5:])
        return sock
    host, _, port = addr.rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)), TIMEOUT,
                                    (source, 0) if source else None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def secure(sock, context, name="test", session=None):
    """The client's side of TLS, whole; an end without close_notify is not taken for one."""
    return context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False, session=session)


def parallel(n, work, timeout=None):
    """Runs work(0) ... work(n-1) in threads; returns the results in order, raises what one raised."""
    results, errors = [None] * n, []

    def one(i):
        try:
            results[i] = work(i)
        except BaseException as e:  # pylint: disable=broad-except
            errors.append(e)

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    end = time.monotonic() + (timeout or 5 * TIMEOUT)
    for t in threads:
        t.join(max(0.01, end - time.monotonic()))
        assert not t.is_alive(), "a worker thread hangs"
    if errors:
        raise errors[0]
    return results


# ---------------------------------------------------------------- messages

def _fields(headers):
    items = headers.items() if isinstance(headers, dict) else headers
    return b"".join(b"%s: %s\r\n" % (_bytes(k), _bytes(v)) for k, v in items)


def _bytes(x):
    return x if isinstance(x, bytes) else str(x).encode("latin-1")


def _body(body, trailers=None):
    """bytes: by length; a list of bytes: chunked; None: none."""
    if body is None:
        return b"", b""
    if isinstance(body, (list, tuple)):
        text = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in body)
        return b"Transfer-Encoding: chunked\r\n", text + b"0\r\n" + _fields(trailers or ()) + CRLF
    return b"Content-Length: %d\r\n" % len(body), body


def request(target="/", method=None, headers=(), body=None, host="test", version="1.1", trailers=None):
    framing, text = _body(body, trailers)
    line = b"%s %s HTTP/%s\r\n" % (_bytes(method or ("GET" if body is None else "POST")), _bytes(target),
                                   _bytes(version))
    named = b"Host: %s\r\n" % _bytes(host) if host is not None else b""
    return line + named + _fields(headers) + framing + CRLF + text


def response(status=200, body=b"", headers=(), phrase="OK", version="1.1", trailers=None):
    framing, text = _body(body, trailers)
    return b"HTTP/%s %d %s\r\n" % (_bytes(version), status, _bytes(phrase)) + _fields(headers) + framing + CRLF + text


class Message:
    """A request or response as it was on the wire."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw[:-4].split(CRLF)
        assert not any(b"\r" in x or b"\n" in x or b"\0" in x for x in lines), f"dirty head: {raw!r}"
        self.line = lines[0].decode("latin-1")
        self.fields = []
        for text in lines[1:]:
            assert re.match(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:", text), f"malformed field {text!r} in {raw!r}"
            name, _, value = text.partition(b":")
            self.fields.append((name.decode().lower(), value.strip().decode("latin-1")))
        self.body = b""
        self.trailers = []
        self.ended_by_close = False

    def all(self, name):
        return [v for k, v in self.fields if k == name.lower()]

    def get(self, name, default=None):
        got = self.all(name)
        return got[0] if got else default

    def has(self, name):
        return bool(self.all(name))

    def json(self):
        return json.loads(self.body)

    def check_fields(self, want):
        """want: {name: value | regex | None for "must not be there"}; _ in names stands for -."""
        for name, value in want.items():
            name = name.replace("_", "-")
            got = self.all(name)
            if value is None:
                assert not got, f"{name} is there: {got} in {self.raw!r}"
            elif isinstance(value, re.Pattern):
                assert len(got) == 1 and value.search(got[0]), f"{name}: {got}, wanted {value.pattern}"
            elif name in ("connection", "upgrade", "transfer-encoding"):
                assert [x.lower() for x in got] == [value], f"{name}: {got}, wanted {value!r}; head {self.raw!r}"
            else:
                assert got == [str(value)], f"{name}: {got}, wanted {value!r}; head {self.raw!r}"


class Response(Message):
    def __init__(self, raw):
        super().__init__(raw)
        m = re.fullmatch(r"HTTP/1\.([01]) (\d{3}) ?(.*)", self.line)
        assert m, f"not a status line: {self.line!r}"
        self.minor, self.status, self.phrase = int(m[1]), int(m[2]), m[3]


class Request(Message):
    def __init__(self, raw, wire):
        super().__init__(raw)
        self.method, self.target, self.version = self.line.split(" ")
        self.wire = wire

    @property
    def path(self):
        return self.target.partition("?")[0]


# ---------------------------------------------------------------- wires

class Wire:
    def __init__(self, sock):
        self.sock = sock
        self.buf = b""
        self.eof = False
        self.was_reset = False
        self.was_cut = False  # TLS: it ended without close_notify
        sock.settimeout(TIMEOUT)

    def fileno(self):
        return self.sock.fileno()

    def fill(self, timeout=None):
        """Reads some more; False at the end (orderly or not)."""
        if self.eof:
            return False
        self.sock.settimeout(timeout or TIMEOUT)
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            data, self.was_reset = b"", True
        except ssl.SSLEOFError:
            data, self.was_cut = b"", True
        except socket.timeout:
            raise AssertionError(f"nothing came; have {self.buf[:300]!r}") from None
        self.buf += data
        self.eof = data == b""
        return not self.eof

    def take(self, n):
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def read_exact(self, n):
        while len(self.buf) < n:
            assert self.fill(), f"closed after {len(self.buf)} of {n} bytes: {self.buf[:300]!r}"
        return self.take(n)

    def read_until(self, mark):
        at = self.buf.find(mark)
        while at < 0:
            had = max(0, len(self.buf) - len(mark))
            assert self.fill(), f"closed before {mark!r}: {self.buf[:300]!r}" + (" (reset)" if self.was_reset else "")
            at = self.buf.find(mark, had)
        return self.take(at + len(mark))

    def read_eof(self):
        parts = [self.take(len(self.buf))]
        while self.fill():
            parts.append(self.take(len(self.buf)))
        return b"".join(parts)

    def read_chunked(self):
        """Body and trailers of a chunked message; strict."""
        body = []
        while True:
            line = self.read_until(CRLF)
            assert re.fullmatch(rb"[0-9a-fA-F]+(;[^\r\n]*)?\r\n", line), f"bad chunk size {line!r}"
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            body.append(self.read_exact(size))
            assert self.read_exact(2) == CRLF
        trailers = []
        while True:
            line = self.read_until(CRLF)
            if line == CRLF:
                return b"".join(body), trailers
            name, _, value = line.partition(b":")
            trailers.append((name.decode().lower(), value.strip().decode()))

    def send(self, data, maybe=False):
        """maybe: the other side may well have hung up by now."""
        self.sock.settimeout(TIMEOUT)
        try:
            self.sock.sendall(_bytes(data))
        except (ConnectionError, socket.timeout):
            if not maybe:
                raise
        return self

    def send_bytewise(self, data):
        for i in range(len(data)):
            self.send(data[i:i + 1])
        return self

    def expect_bytes(self, want):
        got = self.read_exact(len(want))
        assert got == want, f"{got!r} is not {want!r}"
        return self

    def expect_closed(self, anything=False):
        rest = self.read_eof()
        assert anything or rest == b"", f"more bytes before the end: {rest[:300]!r}"
        return self

    def quiet(self, seconds=0.15):
        """Nothing comes for a moment, and the connection stays open."""
        assert not self.buf, f"bytes waiting: {self.buf[:300]!r}"
        ready = readable([self.sock], seconds * SLOW)
        if ready and isinstance(self.sock, ssl.SSLSocket):
            return self._quiet_tls(seconds)
        if ready:
            raise AssertionError(f"not quiet: {'closed' if not self.fill() else self.buf[:300]}")
        return self

    def _quiet_tls(self, seconds):
        """What made the socket readable may be a ticket."""
        self.sock.settimeout(seconds * SLOW)
        try:
            raise AssertionError(f"not quiet: {self.sock.recv(300)!r}")
        except socket.timeout:
            return self

    def say_end(self):
        """TLS: close_notify, and the other side's is waited for."""
        self.sock.settimeout(TIMEOUT)
        with contextlib.suppress(ssl.SSLError, OSError):
            self.sock.unwrap()
        return self

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.eof = True
        self.sock.close()


class Client(Wire):
    def ask(self, target="/", **more):
        """Sends a request (see request()) and expects nothing yet."""
        return self.send(request(target, **more))

    def read_head(self):
        return Response(self.read_until(CRLF + CRLF))

    def expect(self, status=None, body=None, head=False, **fields):
        """Reads a whole answer.  head: it answers a HEAD request."""
        r = self.read_head()
        if not (head or r.status < 200 or r.status in (204, 304)):
            self._read_body(r)
        assert status in (None, r.status), f"{r.status}, wanted {status}: {r.raw!r} {r.body[:500]!r}"
        assert body in (None, r.body), f"body {r.body[:300]!r} is not {body[:300]!r}"
        r.check_fields(fields)
        return r

    def _read_body(self, r):
        coding, lengths = r.all("transfer-encoding"), r.all("content-length")
        assert not (coding and lengths), f"both framings: {r.raw!r}"
        if coding:
            assert coding == ["chunked"], coding
            r.body, r.trailers = self.read_chunked()
        elif lengths:
            assert len(lengths) == 1 and lengths[0].isdigit(), lengths
            r.body = self.read_exact(int(lengths[0]))
        else:
            r.body, r.ended_by_close = self.read_eof(), True

    def refused(self, status, **fields):
        """An answer of Weir's own after which the connection ends."""
        r = self.expect(status, connection="close", **fields)
        self.expect_closed()
        return r


class UpstreamWire(Wire):
    # By a thread, which alone closes it: a poll goes by number, and what is closed before it gives its number to another
    # connection, which the poll then holds open for as long as it lasts.
    served = False

    def read_request(self, body=True):
        raw = self.read_until(CRLF + CRLF)
        r = Request(raw, self)
        if body:
            self.read_body(r)
        return r

    def read_body(self, r):
        if r.has("transfer-encoding"):
            assert r.all("transfer-encoding") == ["chunked"] and not r.has("content-length"), r.raw
            r.body, r.trailers = self.read_chunked()
        elif r.has("content-length"):
            assert len(r.all("content-length")) == 1, r.raw
            r.body = self.read_exact(int(r.get("content-length")))

    def answer(self, status=200, body=b"", headers=(), **more):
        return self.send(response(status, body, headers, **more))


class Upstream:
    """By hand: expect_request, send, answer, close, reset.  By itself: serve(handler)."""

    def __init__(self, addr="127.0.0.1:0", backlog=128, tls=None, tls_conf=None):
        """tls: an ssl.SSLContext; tls_conf: what Weir is told of it, else its authority."""
        self.tls, self.tls_conf = tls, tls_conf
        self.refused = []  # errors of handshakes
        if addr.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.bind(addr[5:])
            self.addr = addr
        else:
            host, _, port = addr.rpartition(":")
            family = socket.AF_INET6 if "[" in host else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((host.strip("[]"), int(port)))
            self.addr = f"{host}:{self.sock.getsockname()[1]}"
        self.sock.listen(backlog)
        self.wires = []
        self.wire = None       # that of the last request
        self.requests = 0      # served by serve()
        self.accepted = 0
        self.handler = None
        self.thread = None
        self.lock = threading.Lock()

    # ---- by hand

    def accept(self, timeout=None):
        ready = readable([self.sock], timeout or TIMEOUT)
        assert ready, "no connection came to the upstream"
        sock, _ = self.sock.accept()
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = UpstreamWire(self._secure(sock))
        self.wires.append(self.wire)
        self.accepted += 1
        return self.wire

    def _secure(self, sock):
        if self.tls is None:
            return sock
        sock.settimeout(TIMEOUT)
        return self.tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)

    def target(self):
        """What Weir is told of it."""
        if self.tls is None:
            return self.addr
        conf = {"ca": certs().file("ca.pem")} if self.tls_conf is None else self.tls_conf
        return {"endpoints": "https://" + self.addr, **({"tls": conf} if conf else {})}

    def _next(self, timeout=None):
        """The next connection that has something to say: a new one, or one kept alive."""
        end = time.monotonic() + (timeout or TIMEOUT)
        while True:
            for w in self.wires:
                if w.buf and not w.eof:
                    return w
            live = [w for w in self.wires if not w.eof and w.fileno() >= 0]
            ready = readable([self.sock, *live], max(0, end - time.monotonic()))
            assert ready, "no request came to the upstream"
            if self.sock in ready:
                self.accept()
            for w in ready:
                if w is not self.sock:
                    w.fill()

    def expect_request(self, line=None, body=None, read_body=True, **fields):
        """line: "GET /x" or "GET /x HTTP/1.1"."""
        self.wire = self._next()
        r = self.wire.read_request(body=read_body)
        if line is not None:
            assert (r.line + " ").startswith(line + " "), f"{r.line!r} is not {line!r}"
        assert body in (None, r.body), f"body {r.body[:300]!r} is not {body[:300]!r}"
        r.check_fields(fields)
        return r

    def answer(self, *args, **more):
        self.wire.answer(*args, **more)
        return self

    def send(self, data, maybe=False):
        self.wire.send(data, maybe)
        return self

    def close(self):
        self.wire.close()

    def reset(self):
        self.wire.reset()

    def untouched(self, seconds=0.0):
        """Nobody has called, and (given time) nobody does."""
        ready = readable([self.sock], seconds * SLOW)
        assert not ready, "the upstream was contacted: " + repr(self.accept().read_request(body=False).raw)
        for w in self.wires:
            if not w.eof and w.fileno() >= 0 and readable([w]) and w.fill():
                raise AssertionError(f"the upstream was sent {w.buf[:200]!r}")

    # ---- by itself

    def serve(self, handler=None):
        """handler(request) returns the bytes of an answer; (request, wire) -> None does it itself. None: 200 "ok"."""
        self.handler = handler or (lambda r: response(200, b"ok"))
        self.thread = threading.Thread(target=self._accept_loop, daemon=True)
        self.thread.start()
        return self

    def _accept_loop(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = self._add(sock) if self.tls is None else None
            threading.Thread(target=self._serve_one, args=(wire, sock), daemon=True).start()

    def _add(self, sock):
        wire = UpstreamWire(sock)
        wire.served = True
        sock.settimeout(None)
        with self.lock:
            self.wires.append(wire)
            self.accepted += 1
        return wire

    def _serve_one(self, wire, sock):
        try:
            wire = wire or self._add(self._secure(sock))
        except (OSError, ValueError) as e:
            self.refused.append(e)
            sock.close()
            return
        with contextlib.closing(wire), contextlib.suppress(AssertionError, OSError, ValueError):
            while True:
                r = self._read_idle(wire)
                if r is None:
                    break
                with self.lock:
                    self.requests += 1
                answer = self.handler(r)
                if answer is None:
                    continue
                wire.send(answer)

    @staticmethod
    def _read_idle(wire):
        while CRLF + CRLF not in wire.buf:
            ready = readable([wire], 120)
            if not ready or not wire.fill():
                return None
        return wire.read_request()

    # ---- the end

    def refuse(self):
        """From here on nobody listens at this address."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        if self.thread is not None:
            self.thread.join(TIMEOUT)
        self.sock.close()
        if self.addr.startswith("unix:"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.addr[5:])

    def close_all(self):
        for w in list(self.wires):
            with contextlib.suppress(OSError):
                w.sock.shutdown(socket.SHUT_RDWR)
            if not w.served:
                w.close()

    def end(self):
        self.refuse()
        self.close_all()


# ---------------------------------------------------------------- the process

def parse_metrics(text):
    """[(name, {label: value}, number)]"""
    rows = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        m = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?', line)
        assert m, f"not a metric line: {line!r}"
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[2] or ""))
        rows.append((m[1], labels, float(m[3])))
    return rows


class Weir:
    """A running Weir.  Top-level sections of the configuration are keyword arguments (Python values, written as
    JSON, which is YAML); `use` and `route` amend the one default route, `yaml` replaces the whole file."""

    def __init__(self, binary, folder, *, upstream=None, yaml=None, use=(), route=None, env=None, args=(),
                 nofile=None, stdout="file", start=True, checks=True, watch=False, tls=None, **sections):
        """tls: what the listener's `tls` says (a mapping or a list), see certificates.py; its clients speak it."""
        self.binary = binary
        self.flavour = flavour_of(binary)
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.upstream = upstream or Upstream()
        self.own_upstream = upstream is None
        self.port = free_port()
        self.probes_addr = f"127.0.0.1:{free_port()}"
        self.admin_addr = f"127.0.0.1:{free_port()}"
        self.addr = f"127.0.0.1:{self.port}"
        self.yaml, self.use, self.route, self.sections, self.tls = yaml, use, route, sections, tls
        self.path = os.path.join(self.folder, "weir.yaml")
        self.env = {**os.environ, **(env or {})}
        self.args = [*args, *(["--watch"] if watch else [])]
        self.nofile, self.stdout, self.checks = nofile, stdout, checks
        self.allowed = []
        self.wires = []
        self.proc = None
        self.fds = 0
        self.out_path = os.path.join(self.folder, "stdout")
        self.err_path = os.path.join(self.folder, "stderr")
        self.write()
        if start:
            self.start()

    # ---- configuration

    def config(self, **changes):
        conf = {
            "version": 1,
            "listen": {"addr": self.addr, "tls": self.tls} if self.tls else self.addr,
            "probes": self.probes_addr,
            "admin": {"listen": self.admin_addr},
            "shutdown": {"delay": "0s", "drain": "5s"},
            "upstreams": {"app": self.upstream.target()},
        }
        both = {**self.sections, **changes}
        use, route = both.pop("use", self.use), both.pop("route", self.route)
        conf["routes"] = [{"name": "app", "to": "app", **({"use": list(use)} if use else {}), **(route or {})}]
        conf.update(both)
        return "".join(f"{k}: {json.dumps(v)}\n" for k, v in conf.items() if v is not None)

    def write(self, text=None, **changes):
        """Writes the file as an editor does: beside it, then over it."""
        if text is None:
            text = self.yaml.format(listen=self.addr, upstream=self.upstream.addr, probes=self.probes_addr,
                                    admin=self.admin_addr) if self.yaml else self.config(**changes)
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(self.path + ".new", self.path)

    # ---- life

    def start(self):
        def limits():
            if self.nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, self.nofile))

        out = subprocess.PIPE if self.stdout == "pipe" else open(self.out_path, "wb")
        with open(self.err_path, "wb") as err:
            self.proc = subprocess.Popen([self.binary, "run", "-c", self.path, *self.args], stdin=subprocess.DEVNULL,
                                         stdout=out, stderr=err, env=self.env, preexec_fn=limits, cwd=self.folder)
        if self.stdout != "pipe":
            out.close()
        until(self._ready, "ready", timeout=3 * TIMEOUT)
        self.fds = self.count_fds()

    def _ready(self):
        if self.proc.poll() is not None:
            raise AssertionError(f"Weir ended with {self.proc.returncode} at once:\n{self.stderr()}")
        try:
            return self.probe("/ready").status == 200
        except OSError:
            return False

    def signal(self, which):
        self.proc.send_signal(which)
        if which == signal.SIGSTOP:  # it takes a moment until all its threads have stopped
            tasks = pathlib.Path(f"/proc/{self.proc.pid}/task")
            until(lambda: all((t / "stat").read_text().rpartition(")")[2].split()[0] == "T" for t in tasks.iterdir()),
                  "stopped")

    def wait_exit(self, timeout=None):
        try:
            return self.proc.wait(timeout or 2 * TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError("Weir does not end") from None

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    # ---- talking to it

    def client(self, addr=None, source=None, tls=None, **more):
        """tls: another context than the plainest, where the listener speaks TLS; more: see secure()."""
        c = Client(self._connect(addr, source, tls, **more))
        self.wires.append(c)
        return c

    def _connect(self, addr=None, source=None, tls=None, **more):
        sock = connect(addr or self.addr, source)
        if tls is None and (not self.tls or addr not in (None, self.addr)):
            return sock
        try:
            return secure(sock, tls or certs().client(), **more)
        except OSError:
            sock.close()
            raise

    def fetch(self, target="/", *, addr=None, source=None, **more):
        """One call on a connection of its own."""
        with contextlib.closing(Client(self._connect(addr, source, more.pop("tls", None)))) as c:
            headers = more.pop("headers", ())
            headers = list(headers.items() if isinstance(headers, dict) else headers)
            c.ask(target, headers=[*headers, ("Connection", "close")], **more)
            return c.expect(head=more.get("method") == "HEAD")

    def statuses(self, n, target="/", **more):
        """The statuses of n calls in a row, on one connection."""
        c = self.client()
        got = []
        for _ in range(n):
            c.ask(target, **more)
            got.append(c.expect().status)
        c.close()
        return got

    def probe(self, target):
        return self.fetch(target, addr=self.probes_addr)

    def admin(self, target, **more):
        return self.fetch(target, addr=self.admin_addr, host=self.admin_addr, **more)

    # ---- what it says of itself

    def metrics(self):
        r = self.probe("/metrics")
        assert r.status == 200, r.raw
        return parse_metrics(r.body.decode())

    def metric(self, name, **labels):
        """Sum of the series with these labels; None when there is none."""
        got = [v for n, have, v in self.metrics()
               if n == name and all(have.get(k) == str(x) for k, x in labels.items())]
        return sum(got) if got else None

    def wait_metric(self, name, value, timeout=None, **labels):
        until(lambda: self.metric(name, **labels) == value, f"{name}{labels} == {value}", timeout)

    def stats(self):
        return self.admin("/stats.json").json()

    def policies(self):
        """How many are alive: the one in force, and those that calls still run under."""
        return self.metric("weir_config_generations")

    def stderr(self):
        with open(self.err_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def access(self, n=1, timeout=None):
        """The first n access log lines, parsed; waits for them."""
        def lines():
            with open(self.out_path, "rb") as f:
                got = f.read().split(b"\n")[:-1]
            return len(got) >= n and got

        return [json.loads(x) for x in until(lines, f"{n} access log lines", timeout)]

    def count_fds(self):
        return len(os.listdir(f"/proc/{self.proc.pid}/fd"))

    def memory(self):
        """Private resident bytes."""
        with open(f"/proc/{self.proc.pid}/smaps_rollup", encoding="ascii") as f:
            return sum(int(x.split()[1]) for x in f if x.startswith("Private_")) * 1024

    # ---- reload

    def reloads(self):
        return self.metric("weir_config_reloads_total") or 0

    def reload(self, text=None, good=True, **changes):
        """Writes the file, sends HUP, waits until it took (or was refused)."""
        before = self.reloads()
        self.write(text, **changes)
        self.signal(signal.SIGHUP)
        until(lambda: self.reloads() > before, "a reload was counted")
        assert self.metric("weir_config_last_reload_successful") == (1 if good else 0), self.stderr()
        if good:
            self.sections.update({k: v for k, v in changes.items() if k not in ("use", "route")})
            self.use, self.route = changes.get("use", self.use), changes.get("route", self.route)

    # ---- the checks at the end

    def allow(self, pattern):
        """Lines of stderr that this test brings about on purpose."""
        self.allowed.append(re.compile(pattern))

    def _check_rest(self):
        self.wait_metric("weir_requests_in_flight", 0)

        def idle():
            return not sum(v for n, have, v in self.metrics() if n == "weir_connections_active"
                           and not have.get("listener", "").endswith((self.probes_addr, self.admin_addr)))

        until(idle, "weir_connections_active is 0")
        until(lambda: self.policies() == 1, "one policy alive")
        until(lambda: self.count_fds() <= self.fds, "the file descriptors of the start", every=0.02)

    def _fd_text(self):
        folder, found = f"/proc/{self.proc.pid}/fd", []
        for x in os.listdir(folder) if self.alive() else ():
            with contextlib.suppress(OSError):  # it has gone since
                found.append(os.readlink(f"{folder}/{x}"))
        return sorted(found)

    def _tcp_text(self):
        """Both ends of its connections: state (01 is open, 08 the other side has ended), bytes that wait, inode (0: gone)."""
        port = f"{int(self.addr.rpartition(':')[2]):04X}" if ":" in self.addr and not self.addr.startswith("unix:") else "none"
        with open("/proc/net/tcp", encoding="ascii") as f:
            return [" ".join([*x.split()[1:5], x.split()[9]]) for x in f if port in x.split()[1] + x.split()[2]]

    def _check_stderr(self):
        bad = [x for x in self.stderr().splitlines()
               if STDERR_BAD.search(x) and not any(p.search(x) for p in self.allowed)]
        assert not bad, "on stderr:\n" + self.stderr()[-8000:]

    def release(self):
        """Hangs up both ends, whoever else may still have a hand on them (a thread in poll, a fork before its exec)."""
        for w in self.wires:
            with contextlib.suppress(OSError):
                w.sock.shutdown(socket.SHUT_RDWR)
            w.close()
        self.upstream.close_all()

    def finish(self, failed=False):
        """Run by the fixture: everything must be given back, and the end must be in order."""
        if self.proc is None:
            return self.upstream.end()
        self.release()
        try:
            if self.checks and not failed and self.alive():
                try:
                    self._check_rest()
                except AssertionError as e:
                    raise AssertionError(f"{e}; open: {self._fd_text()}; connections: {self._tcp_text()}") from None
                self.signal(signal.SIGTERM)
                assert self.wait_exit() == 0, f"exit status {self.proc.returncode}\n{self.stderr()[-8000:]}"
            if not failed:
                self._check_stderr()
        finally:
            self.kill()
            self.upstream.end()
        return None

    def kill(self):
        if self.alive():
            self.proc.kill()
            self.proc.wait(10)
        if self.proc is not None and self.proc.stdout:
            self.proc.stdout.close()

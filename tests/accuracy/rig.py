"""What a cell runs on: a Redis, Weirs before one upstream, and forwarders that stand between them and break."""

import collections
import ctypes
import datetime
import http.client
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import harness  # noqa: E402
import redis_server  # noqa: E402

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
PATIENCE = 30.0


def prepare_child():
    """Gone when this script goes."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# ---------------------------------------------------------------- Redis


class Redis(redis_server.Redis):
    def operations(self):
        """Scripts that were run, but for those by which replicas are counted."""
        text = self.ask("INFO", "commandstats").decode()
        calls = {name: int(n) for name, n in re.findall(r"cmdstat_(\w+):calls=(\d+)", text)}
        return calls.get("evalsha", 0) + calls.get("eval", 0) - calls.get("zadd", 0)

    def follow(self, master):
        self.ask("REPLICAOF", "127.0.0.1", master.port)
        harness.until(lambda: b"master_link_status:up" in self.ask("INFO", "replication"), "the replica follows", PATIENCE)


# ---------------------------------------------------------------- Weir


class Weir:
    def __init__(self, binary, folder, conf, env):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.port, self.probes = harness.free_port(), harness.free_port()
        self.access = self.folder / "access.log"
        path = self.folder / "weir.yaml"
        path.write_text(conf(self))
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([binary, "run", "-c", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **env}, preexec_fn=prepare_child)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.probes, timeout=PATIENCE)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name, text=None, **labels):
        """The sum over all series of that name which have these labels; None: there is none."""
        found = []
        for line in (text or self.metrics()).splitlines():
            m = re.match(rf"{name}(?:\{{(.*)\}})? (\S+)$", line)
            if m and all(f'{key}="{value}"' in (m[1] or "") for key, value in labels.items()):
                found.append(float(m[2]))
        return sum(found) if found else None

    def ready(self, shared):
        if self.process.poll() is not None:
            raise RuntimeError(f"a Weir ended:\n{self.log()}")
        try:
            text = self.metrics()
        except OSError:
            return False
        return not shared or self.metric("weir_redis_up", text) == 1

    def waits(self, settled):
        """Seconds that admitted calls from that number on waited for Redis, by the access log: those that did wait."""
        found = []
        for line in self.access.read_bytes().splitlines():
            m = re.search(rb'"duration\.queue":([0-9.e-]+)', line)
            if m and b'"http.response.status_code":200' in line:
                number = re.search(rb'"url\.path":"/(\d+)"', line)
                if number and int(number[1]) >= settled:
                    found.append(float(m[1]))
        return found

    def away(self, since):
        """When it had no Redis, by its log: (begin, end) of those that ended after that time.  It finds out a little after
        the first call that waits, and goes by itself until the first answer."""
        found, begin = [], None
        for text, level, what in re.findall(r"^(\S+)Z (info|warn) redis \S+: (.*)", self.log(), re.M):
            at = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc).timestamp()
            if level == "warn":
                begin = begin or at - 0.1
            elif what == "reached" and begin:
                if at > since:
                    found.append((begin, at + 0.02))
                begin = None
        return found + ([(begin, time.time())] if begin else [])

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


# ---------------------------------------------------------------- what breaks


class Forwarder:
    """A TCP port before a server: bytes go on after `delay` seconds each way; where it is `cut`, none do, and whoever
    connects is not answered; `target` may change, for connections to come."""

    def __init__(self, target):
        self.target, self.delay, self.cut = target, 0.0, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.other, self.queue = {}, collections.deque()
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def end(self):
        self.ended = True
        self.thread.join()
        for s in list(self.other):
            s.close()
        self.listener.close()
        self.selector.close()

    def _accept(self):
        near, _ = self.listener.accept()
        far = socket.socket()
        try:
            far.connect(("127.0.0.1", self.target))
        except OSError:
            near.close()
            far.close()
            return
        for s, o in ((near, far), (far, near)):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.other[s] = o
            self.selector.register(s, selectors.EVENT_READ)

    def _drop(self, s):
        for end in (s, self.other.get(s)):
            if end in self.other:
                self.selector.unregister(end)
                del self.other[end]
                end.close()

    def _read(self, s):
        try:
            data = s.recv(65536)
        except OSError:
            data = b""
        self.queue.append((time.monotonic() + self.delay, s, data))

    def _write_due(self):
        while self.queue and self.queue[0][0] <= time.monotonic():
            _, s, data = self.queue.popleft()
            if s not in self.other:
                continue
            if data:
                try:
                    self.other[s].sendall(data)
                    continue
                except OSError:
                    pass
            self._drop(s)

    def _run(self):
        while not self.ended:
            if self.cut:
                time.sleep(0.005)
                continue
            wait = min(0.01, max(0.0, self.queue[0][0] - time.monotonic())) if self.queue else 0.01
            for key, _ in self.selector.select(wait):
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj in self.other:
                    self._read(key.fileobj)
            self._write_due()

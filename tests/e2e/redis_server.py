"""A real redis-server on a unix socket and a loopback port, and a client that speaks RESP2."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess

import harness
from harness import until

PATHS = [shutil.which("redis-server"), "/usr/bin/redis-server", "/usr/local/bin/redis-server"]
BINARY = next((p for p in PATHS if p and os.access(p, os.X_OK)), None)


class Redis:
    """Keeps nothing on disk; url() is what a Weir is told."""

    def __init__(self, folder, password=None):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.path = os.path.join(self.folder, "r.sock")
        self.port = harness.free_port()
        self.password = password
        self.proc = None
        self.start()

    def start(self):
        args = [BINARY, "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.path, "--save", "",
                "--appendonly", "no", "--dir", self.folder, "--maxmemory-policy", "noeviction"]
        if self.password:
            args += ["--requirepass", self.password]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers, "redis answers")

    def _answers(self):
        try:
            return self.ask("PING") == b"PONG"
        except OSError:
            return False

    def url(self, tcp=False, host="127.0.0.1"):
        if tcp:
            return f"redis://{':' + self.password + '@' if self.password else ''}{host}:{self.port}"
        return f"unix:{self.path}"

    def ask(self, *words):
        """One command on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(harness.TIMEOUT)
            s.connect(self.path)
            f = s.makefile("rwb")
            if self.password:
                self._put(f, "AUTH", self.password)
            return self._put(f, *words)

    @classmethod
    def _put(cls, f, *words):
        raw = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        f.write(b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in raw))
        f.flush()
        return cls._read(f)

    @classmethod
    def _read(cls, f):
        line = f.readline()
        if not line:
            raise ConnectionError("redis hung up")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise AssertionError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else f.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [cls._read(f) for _ in range(int(rest))]
        return rest

    def keys(self):
        return sorted(k.decode() for k in self.ask("KEYS", "*"))

    def limits(self):
        """Names of keys but for where replicas are counted."""
        return [k for k in self.keys() if not k.endswith(":peers")]

    def held(self):
        """How many permits each replica holds, of all keys."""
        keys = [k for k in self.limits() if k.endswith(":c")]
        return [int(v.split()[0]) for k in keys for v in self.ask("HGETALL", k)[1::2]]

    # ---- faults

    def stop(self):
        self.proc.send_signal(signal.SIGSTOP)
        stat = pathlib.Path(f"/proc/{self.proc.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "stopped")

    def go_on(self):
        self.proc.send_signal(signal.SIGCONT)

    def kill(self):
        if self.proc is not None and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait(10)

"""Real redis-servers, and what goes wrong with them.

    Redis      one on a unix socket and a loopback port, and a client that speaks RESP2
    Cluster    three of them that share the slots
    Watched    a master, a replica, and three sentinels that watch them
    Relay      a TCP relay that delays, stalls, cuts, and talks nonsense
    Calls      calls that go on while something happens, and how they fared

`share` starts Weirs that share one limit; the fixture `redis` starts servers and ends them.
"""

import collections
import contextlib
import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

import harness
from certificates import certs
from harness import TIMEOUT, until

PATHS = [shutil.which("redis-server"), "/usr/bin/redis-server", "/usr/local/bin/redis-server"]
BINARY = next((p for p in PATHS if p and os.access(p, os.X_OK)), None)
USUAL = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0",
         "--enable-debug-command", "yes", "--enable-protected-configs", "yes"]


class Redis:
    """Keeps nothing on disk unless `args` say so; url() is what a Weir is told."""

    def __init__(self, folder, password=None, args=(), tls=None, start=True, bind="127.0.0.1", port=None):
        """tls: the name of its certificate; "mutual": clients must have one as well."""
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.path = os.path.join(self.folder, "r.sock")
        self.port, self.bind = port or harness.free_port(), bind
        self.password = password
        self.args = [str(a) for a in args]
        if tls:
            self.tls_port = harness.free_port()
            self.args += tls_args(self.tls_port, tls)
        self.proc = None
        if start:
            self.start()

    def start(self, *more):
        own = self.args if self.args[:1] == ["sentinel.conf"] else [*USUAL, *self.args]
        args = [BINARY, *own, "--bind", self.bind, "--port", str(self.port), "--unixsocket", self.path, "--dir",
                self.folder, *more]
        if self.password:
            args += ["--requirepass", self.password]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        until(self._answers, "redis answers")
        return self

    def _answers(self):
        try:
            return self.ask("PING") == b"PONG"
        except OSError:
            return False
        except AssertionError as e:
            return str(e).startswith("LOADING")

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
            return None if rest == b"-1" else [cls._read(f) for _ in range(int(rest))]
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

    def hold(self, milliseconds):
        """It does nothing for so long; nobody waits for that here."""
        threading.Thread(target=self.ask, args=("DEBUG", "SLEEP", milliseconds / 1000), daemon=True).start()

    def run_for_ever(self):
        """A script that does not end, until unlock(); meanwhile it says BUSY."""
        def run():
            with contextlib.suppress(AssertionError, OSError):
                self.ask("EVAL", "while true do end", "0")

        self.set("busy-reply-threshold", 10)
        threading.Thread(target=run, daemon=True).start()

        def busy():
            try:
                return not self.ask("PING")
            except AssertionError as e:
                return str(e).startswith("BUSY")

        until(busy, "busy")

    def stop_script(self):
        self.ask("SCRIPT", "KILL")

    def set(self, name, value):
        self.ask("CONFIG", "SET", name, value)

    def cannot_save(self):
        """Its folder is gone, and it was to save something there."""
        gone = pathlib.Path(self.folder, "gone")
        gone.mkdir()
        self.set("dir", gone)
        gone.rmdir()
        self.set("save", "3600 1000000")
        self.ask("BGSAVE")
        until(lambda: b"rdb_last_bgsave_status:err" in self.ask("INFO", "persistence"), "cannot save")

    def change_password(self, password):
        """Who is there is let go, and must say it."""
        self.ask("CONFIG", "SET", "requirepass", password)
        self.password = password
        self.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def clients(self):
        return [c for c in self.ask("CLIENT", "LIST", "TYPE", "normal").decode().splitlines()
                if "cmd=client" not in c]


def tls_args(port, cert):
    mutual = cert == "mutual"
    path = certs().file("server.pem" if mutual else cert + ".pem")
    return ["--tls-port", str(port), "--tls-cert-file", path, "--tls-key-file", path,
            "--tls-ca-cert-file", certs().file("ca.pem"), "--tls-auth-clients", "yes" if mutual else "no"]


class Cluster:
    """Three masters on loopback; node[i] has the slots of range(*RANGES[i])."""

    RANGES = ((0, 5461), (5461, 10923), (10923, 16384))

    def __init__(self, folder, **more):
        args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *more.pop("args", ())]
        bus = [harness.free_port() for _ in range(3)]
        self.node = [Redis(f"{folder}/node{i}", args=[*args, "--cluster-port", bus[i]], **more) for i in range(3)]
        for n, (first, end) in zip(self.node, self.RANGES):
            n.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            n.ask("CLUSTER", "SET-CONFIG-EPOCH", self.node.index(n) + 1)
        for n in self.node[1:]:
            n.ask("CLUSTER", "MEET", "127.0.0.1", self.node[0].port, bus[0])
        until(self.whole, "a cluster of three", timeout=3 * TIMEOUT)

    def whole(self):
        return all(b"cluster_state:ok" in i and b"cluster_known_nodes:3" in i
                   for i in (n.ask("CLUSTER", "INFO") for n in self.node))

    def urls(self):
        return [n.url(tcp=True) for n in self.node]

    def names(self):
        return [n.ask("CLUSTER", "MYID").decode() for n in self.node]

    def limits(self):
        """{name of a key: index of its node}"""
        return {k: i for i, n in enumerate(self.node) if n.proc.poll() is None for k in n.limits()}

    def set_slot(self, slot, **said):
        """said: node0="MIGRATING <name>" ..."""
        for where, what in said.items():
            self.node[int(where[-1])].ask("CLUSTER", "SETSLOT", slot, *what.split())

    def kill(self):
        for n in self.node:
            n.kill()


class Watched:
    """A master with a replica, and three sentinels, which may know a user of their own."""

    def __init__(self, folder, password=None):
        self.master, self.replica = Redis(f"{folder}/a"), Redis(f"{folder}/b")
        self.replica.ask("REPLICAOF", "127.0.0.1", self.master.port)
        until(lambda: self.replica.ask("ROLE")[3] == b"connected", "replicated")  # sentinels look once in 10 s
        self.sentinel = []
        for i in range(3):
            path = pathlib.Path(folder, f"s{i}")
            path.mkdir(parents=True)
            lines = [f"sentinel monitor main 127.0.0.1 {self.master.port} 2",
                     "sentinel down-after-milliseconds main 300", "sentinel failover-timeout main 2000"]
            if password:
                lines += [f"sentinel sentinel-pass {password}"]
            (path / "sentinel.conf").write_text("\n".join(lines) + "\n", encoding="ascii")
            self.sentinel.append(Redis(path, args=["sentinel.conf", "--sentinel"], password=password))
        until(self._know, "the sentinels know each other", timeout=5 * TIMEOUT)

    def _know(self):
        return all(b"slaves=1,sentinels=3" in s.ask("INFO", "sentinel") for s in self.sentinel)

    def addresses(self):
        return [f"127.0.0.1:{s.port}" for s in self.sentinel]

    def fail_over(self):
        """By hand; the roles are changed when it returns."""
        until(self._may_fail_over, "a failover begins")
        until(self._promoted, "the replica is master", timeout=5 * TIMEOUT)
        self.master.ask("REPLICAOF", "127.0.0.1", self.replica.port)  # as a sentinel does, after eight seconds

    def _promoted(self):
        with contextlib.suppress(OSError):  # who asks just then is hung up on
            return self.replica.ask("ROLE")[0] == b"master"

    def _may_fail_over(self):
        try:
            return self.sentinel[0].ask("SENTINEL", "FAILOVER", "main") == b"OK"
        except AssertionError:
            return False

    def kill(self):
        for r in (*self.sentinel, self.master, self.replica):
            r.kill()


class Names:
    """What names stand for, to one Weir: an /etc/hosts of its own."""

    def __init__(self, path, **names):
        self.path = str(path)
        self.say(**names)

    def say(self, **names):
        with open(self.path, "w", encoding="ascii") as f:  # the same file: it is mounted
            f.write("".join(f"{addr} {name}\n" for name, addr in names.items()))

    def start(self, weir):
        wrapper = self.path + ".sh"
        with open(wrapper, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {self.path} /etc/hosts && exec \"$0\" \"$@\"' "
                    f"{weir.binary} \"$@\"\n")
        os.chmod(wrapper, 0o755)
        weir.binary = wrapper
        weir.start()


def cannot_move_names():
    return subprocess.run(["unshare", "-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0


class Relay:
    """Between Weirs and a Redis, byte by byte as `how` says, which may change at any time.

    how: "pass"; "delay" (both ways, by `delay` seconds); "hold" (nothing passes, nothing is lost); "deaf" (what
    comes from the server is lost); "garbage" (the server's answers are replaced by nonsense); "half" (half of the
    next answer, then the end); "refuse" (accepted and ended at once)."""

    def __init__(self, port, delay=0.05):
        self.target, self.delay, self.how = port, delay, "pass"
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]
        self.accepted, self.pairs = 0, []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def _accept(self):
        while True:
            try:
                near, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                if self.how == "refuse":
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.target), TIMEOUT)
            except OSError:
                near.close()
                continue
            for s in (near, far):
                s.settimeout(None)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source, sink, back):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                while self.how == "hold":
                    time.sleep(0.005)
                if self.how == "delay":
                    time.sleep(self.delay / 2)
                if back and self.how == "deaf":
                    continue
                if back and self.how == "garbage":
                    data = b"%nonsense\r\n" * 3
                if back and self.how == "half":
                    sink.sendall(data[:max(1, len(data) // 2)])
                    break
                sink.sendall(data)
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """All connections there are."""
        for pair in list(self.pairs):
            for s in pair:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
        self.pairs.clear()

    def kill(self):
        self.how = "pass"
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(TIMEOUT)  # else it may come to accept what has this number next
        self.sock.close()
        self.cut()


# ---------------------------------------------------------------- Weirs and their calls

@pytest.fixture
def redis(tmp_path):
    """redis(**more) starts one, redis(kind, ...) a Cluster, Watched or Relay; they are ended after the Weirs."""
    made = []

    def start(kind=Redis, *args, **more):
        made.append(kind(*args, **more) if kind is Relay else kind(tmp_path / f"redis{len(made)}", **more))
        return made[-1]

    yield start
    for r in made:
        r.kill()


def up(w):
    return w.metric("weir_redis_up") == 1


def turns(weirs, n, **more):
    """Statuses of n calls, each to the next of them."""
    clients = [w.client() for w in weirs]
    got = []
    for i in range(n):
        got.append(clients[i % len(clients)].ask(**more).expect().status)
    for c in clients:
        c.close()
    return got


def clean(policy):
    return {k: v for k, v in policy.items() if v is not None}


def share(weir, server, n=2, section=None, **policy):
    """n Weirs that share `policy`; server: something with a url(), one for each of them, or None: see section."""
    both = clean({"rate": "10/h", "burst": 10, **policy})
    if "algorithm" in both:
        both.pop("burst", None)
    servers = server if isinstance(server, list) else [server] * n
    workers, wait, names = both.pop("workers", 1), both.pop("until_up", True), both.pop("names", None)
    both["store"] = "redis"
    got = []
    for s in servers:
        told = {**({"url": s.url()} if s is not None else {}), "peers": n, **(section or {})}
        more = {"upstream": got[0].upstream} if got else {"serve": True}
        got.append(weir(policies={"p": both}, use=["p"], redis=clean(told), workers=workers, start=not names, **more))
        if names:
            names.start(got[-1])
    for w in got:
        w.allow(r"redis")
        if wait:
            until(lambda w=w: up(w), "redis is up", timeout=3 * TIMEOUT)
    return got


def said(w, pattern="redis"):
    """Lines of its log about redis."""
    return [x for x in w.stderr().splitlines() if re.match(r"\S+Z \w+ " + pattern, x)]


def results(weirs, **labels):
    return sum(w.metric("weir_redis_operations_total", **labels) for w in weirs)


def fallbacks(weirs, **labels):
    return sum(w.metric("weir_redis_fallback_decisions_total", **labels) for w in weirs)


class Calls:
    """Calls on two connections to each of them, for as long as the block lasts.

        with Calls(weirs) as calls: ...
        calls.count[200], calls.let_in["user1"], calls.longest, calls.errors

    Those of many users: each call is of the next of them."""

    def __init__(self, weirs, every=0.004, users=1):
        self.weirs, self.every = weirs, every
        self.names = itertools.cycle([f"user{i}" for i in range(users)])
        self.count, self.let_in, self.longest, self.errors = collections.Counter(), collections.Counter(), 0, []
        self.over = threading.Event()
        self.lock = threading.Lock()

    def _go_on(self, w):
        c = w.client()
        try:
            while not self.over.wait(self.every):
                user = next(self.names)
                begin = time.monotonic()
                status = c.ask(headers={"X-User": user}).expect().status
                with self.lock:
                    self.count[status] += 1
                    self.let_in[user] += status == 200
                    self.longest = max(self.longest, time.monotonic() - begin)
        except Exception as e:  # pylint: disable=broad-except
            self.errors.append(e)
        c.close()

    def __enter__(self):
        self.threads = [threading.Thread(target=self._go_on, args=(w,), daemon=True) for w in self.weirs * 2]
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join(5 * TIMEOUT)
            assert not t.is_alive(), "a call hangs"

    def more(self, n=20):
        """Until so many more of them were answered."""
        was = sum(self.count.values())
        until(lambda: self.errors or sum(self.count.values()) >= was + n, "calls go on", timeout=3 * TIMEOUT)

    def in_all(self, users=6):
        """How many the luckiest of some users was let in, when all that was left for them is spent, too."""
        return max(self.let_in[u] + turns(self.weirs, 24, headers={"X-User": u}).count(200)
                   for u in itertools.islice(self.names, users))

    def fared(self, *statuses, within=1.5):
        """Nothing but these, and none waited for long; returns how many of each."""
        assert not self.errors, self.errors
        assert set(self.count) <= set(statuses), self.count
        assert self.longest < within * harness.SLOW, self.longest
        return self.count

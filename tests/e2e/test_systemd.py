"""Weir and a service manager: what it tells over a real datagram socket, sockets it takes over, and the unit files."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

import harness
from harness import until

UNITS = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "systemd"
# Opens what systemd would, as descriptors from 3 on, and becomes Weir.
ACTIVATE = """#!{python}
import os, socket, sys
made = []
for text in {addresses!r}:
    unix = text.startswith("unix:")
    s = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, {kind})
    if not unix:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(text[5:] if unix else (text.rpartition(":")[0], int(text.rpartition(":")[2])))
    if {listen}:
        s.listen(128)
    made.append(os.dup(s.fileno()))
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(made)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.closerange(3 + len(high), 200)
os.environ.update(LISTEN_PID=str(os.getpid() + {pid_off}), LISTEN_FDS=str(len(high)))
os.execv({binary!r}, [{binary!r}, *sys.argv[1:]])
"""


class Manager:
    """The end of NOTIFY_SOCKET that systemd has."""

    def __init__(self, where):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(where.replace("@", "\0", 1))
        self.env = {"NOTIFY_SOCKET": where}

    def next(self, timeout=None):
        self.sock.settimeout(timeout or harness.TIMEOUT)
        return dict(line.split("=", 1) for line in self.sock.recv(4096).decode().splitlines())

    def silent(self, seconds):
        self.sock.settimeout(seconds)
        with contextlib.suppress(socket.timeout):
            return self.sock.recv(4096)

    def ask(self, key):
        """The next message that has this key; those before it are passed over."""
        end = time.monotonic() + 2 * harness.TIMEOUT
        while time.monotonic() < end:
            got = self.next()
            if key in got:
                return got
        raise AssertionError(f"{key} never came")


@pytest.fixture
def manager(tmp_path):
    made = []

    def make(where=None):
        made.append(Manager(where or str(tmp_path / "notify")))
        return made[-1]

    yield make
    for m in made:
        m.sock.close()


@pytest.mark.parametrize("where", [None, "@weir-e2e-notify-%d" % os.getpid()])
def test_it_says_when_it_is_ready_and_when_it_stops(weir, manager, where):
    m = manager(where)
    w = weir(serve=True, env=m.env, shutdown={"delay": "1s", "drain": "2s"})
    ready = m.next()
    assert ready["READY"] == "1" and re.fullmatch(r"Serving 1 routes, 0 policies, configuration [0-9a-f]{12}", ready["STATUS"])
    w.signal(signal.SIGTERM)
    stopping = m.next()
    assert stopping["STOPPING"] == "1" and stopping["STATUS"].startswith("Draining")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) == 33_000_000  # the delay, the drain and half a minute
    assert w.wait_exit() == 0


def test_nothing_is_said_before_the_listeners_are_open(weir, manager):
    m = manager()
    w = weir(env=m.env, start=False, serve=True)
    w.write("version: 1\nlisten: nowhere\n")
    with pytest.raises(AssertionError, match="ended with 1"):
        w.start()
    assert m.silent(0.1) is None
    w.write()
    w.start()
    assert m.next()["READY"] == "1" and w.fetch().status == 200


def test_a_reload_is_announced_and_so_is_how_it_went(weir, manager):
    m = manager()
    w = weir(serve=True, env=m.env)
    m.next()
    before = time.monotonic_ns() // 1000
    w.reload(policies={"p": {"rate": "1/s"}}, use=["p"])
    begun, done = m.next(), m.next()
    assert begun["RELOADING"] == "1" and before <= int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert done["READY"] == "1" and "1 policies" in done["STATUS"]


def test_a_reload_that_fails_is_over_too(weir, manager):
    m = manager()
    w = weir(serve=True, env=m.env)
    m.next()
    w.allow(r"lissen|reload|error")
    w.write("version: 1\nlissen: x\n")
    w.signal(signal.SIGHUP)
    assert m.next()["RELOADING"] == "1"
    done = m.next()
    assert done["READY"] == "1" and done["STATUS"].startswith("The last reload failed. Serving 1 routes")
    w.reload()
    assert m.next()["RELOADING"] == "1" and m.next()["STATUS"].startswith("Serving")


def test_the_watchdog_hears_of_it_while_its_workers_turn(weir, manager):
    m = manager()
    w = weir(serve=True, workers=2, env={**m.env, "WATCHDOG_USEC": "400000"})
    for _ in range(4):
        assert m.ask("WATCHDOG")["WATCHDOG"] == "1"
    assert w.fetch().status == 200


def test_a_worker_that_hangs_is_not_called_alive(weir, manager):
    m = manager()
    w = weir(serve=True, env={**m.env, "WATCHDOG_USEC": "400000"}, checks=False)
    m.ask("WATCHDOG")
    task = next(t for t in pathlib.Path(f"/proc/{w.proc.pid}/task").iterdir() if (t / "comm").read_text().strip() == "weir/0")
    with stopped(int(task.name)):
        until(lambda: m.silent(0.8) is None, "silence, after what was under way", timeout=30)
    assert m.ask("WATCHDOG")


@contextlib.contextmanager
def stopped(tid):
    """One thread of a process, held by ptrace."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    seize, interrupt, detach = 0x4206, 0x4207, 17
    if libc.ptrace(seize, tid, 0, 0) != 0:
        pytest.skip("ptrace is not allowed here")
    try:
        libc.ptrace(interrupt, tid, 0, 0)
        os.waitpid(tid, 0x40000000)  # __WALL
        yield
    finally:
        libc.ptrace(detach, tid, 0, 0)


@pytest.mark.parametrize("usec,pid", [("x", None), ("-1", None), ("400000", "1"), ("99999999999999999999", None)])
def test_a_watchdog_that_is_not_for_it(weir, manager, usec, pid):
    m = manager()
    weir(env={**m.env, "WATCHDOG_USEC": usec, **({"WATCHDOG_PID": pid} if pid else {})})
    assert "READY" in m.next() and m.silent(0.4) is None


@pytest.mark.parametrize("where", ["relative", "/no/such/folder/socket", "/" + "x" * 200])
def test_a_manager_that_is_not_there_stops_nothing(weir, where):
    w = weir(serve=True, env={"NOTIFY_SOCKET": where})
    assert w.fetch().status == 200 and re.search("NOTIFY_SOCKET|cannot be told", w.stderr())


# ---------------------------------------------------------------- sockets that are handed over

@pytest.fixture
def activated(weir, tmp_path):
    """Starts a Weir with sockets open from before: addresses() takes the Weir and says which."""
    def make(addresses=lambda w: [w.addr], kind="socket.SOCK_STREAM", listen=True, pid_off=0, **more):
        w = weir(start=False, serve=True, **more)
        script = tmp_path / "activate"
        script.write_text(ACTIVATE.format(python=sys.executable, addresses=addresses(w), kind=kind, listen=listen,
                                          pid_off=pid_off, binary=w.binary))
        script.chmod(0o755)
        w.binary = str(script)
        w.start()
        return w

    return make


def inodes(w, addr):
    """Of the sockets that listen on this address, whoever has them."""
    port = f":{int(addr.rpartition(':')[2]):04X}"
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {x.split()[9] for x in lines if x.split()[1].endswith(port) and x.split()[3] == "0A"}


@pytest.mark.parametrize("workers", [1, 3])
def test_listeners_are_taken_over_by_address(activated, workers):
    w = activated(lambda w: [w.probes_addr, w.addr, w.admin_addr], workers=workers)
    assert [w.fetch().status for _ in range(20)] == [200] * 20 and w.admin("/health").status == 200
    for addr in (w.addr, w.probes_addr, w.admin_addr):
        assert len(inodes(w, addr)) == 1 and f"listening on {addr}, inherited" in w.stderr()


def test_a_unix_socket_is_taken_over_and_its_file_stays(activated, tmp_path):
    path = tmp_path / "weir.sock"
    w = activated(lambda w: [f"unix:{path}"], listen=True, **{"workers": 2})
    assert "nothing in the configuration listens" in w.stderr()
    w.reload(listen=[w.addr, f"unix:{path}"])
    assert w.fetch(addr=f"unix:{path}").status == 200
    w.signal(signal.SIGTERM)
    assert w.wait_exit() == 0 and path.is_socket()


def test_an_address_that_goes_and_comes_back(activated):
    w = activated(lambda w: [w.addr], workers=2)
    before, other = inodes(w, w.addr), f"127.0.0.1:{harness.free_port()}"
    w.reload(listen=other)
    with contextlib.closing(harness.Client(harness.connect(w.addr)).ask()) as waiting:  # in the kernel's queue
        w.reload(listen=[other, w.addr])
        waiting.expect(200)
    assert inodes(w, w.addr) == before and w.fetch().status == 200
    w.reload(listen=w.addr)


@pytest.mark.parametrize("how,what", [
    (dict(kind="socket.SOCK_DGRAM", listen=False, addresses=lambda w: [f"127.0.0.1:{harness.free_port()}"]), "no listening stream socket"),
    (dict(listen=False, addresses=lambda w: [f"127.0.0.1:{harness.free_port()}"]), "no listening stream socket"),
    (dict(addresses=lambda w: [f"127.0.0.1:{harness.free_port()}"]), "nothing in the configuration listens there"),
])
def test_sockets_that_are_of_no_use(activated, how, what):
    w = activated(**how)
    assert what in w.stderr() and w.fetch().status == 200


def test_sockets_of_another_process_are_let_alone(activated):
    w = activated(lambda w: [f"127.0.0.1:{harness.free_port()}"], pid_off=1)
    assert "inherited" not in w.stderr() and "handed over" not in w.stderr() and w.fetch().status == 200


# ---------------------------------------------------------------- the unit files

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")


@needs_systemd
def test_the_service_is_locked_in():
    said = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / "weir.service")],
                          capture_output=True, text=True, timeout=60, check=False).stdout
    assert float(re.search(r"Overall exposure level for weir.service: ([0-9.]+)", said)[1]) <= 1.5, said


@needs_systemd
def test_the_units_are_understood(tmp_path, binary):
    """As systemd reads them, with this build as /usr/bin/weir."""
    for name in ("weir.service", "weir.socket"):
        (tmp_path / name).write_text((UNITS / name).read_text().replace("/usr/bin/weir", binary))
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / "weir.service"), str(tmp_path / "weir.socket")],
                          capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0 and "weir." not in said.stderr, said.stderr


def reload_by_unit(w):
    """What `systemctl reload weir` does: every ExecReload in order, up to the first that fails."""
    for command in re.findall(r"^ExecReload=(.*)", (UNITS / "weir.service").read_text(), re.M):
        argv = command.replace("/usr/bin/weir", w.binary).replace("/etc/weir/weir.yaml", w.path).replace("$MAINPID", str(w.proc.pid))
        done = subprocess.run(argv.split(), capture_output=True, timeout=30, check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


def test_a_reload_by_the_unit_fails_on_a_bad_file_and_sends_no_signal(weir):
    w = weir(serve=True)
    assert reload_by_unit(w) == 0
    until(lambda: w.metric("weir_config_reloads_total", result="success") == 1, "reloaded")
    w.write("version: 1\nlissen: x\n")
    assert reload_by_unit(w) == 1
    assert w.metric("weir_config_reloads_total", result="success") == 1 and w.metric("weir_config_last_reload_successful") == 1

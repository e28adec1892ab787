"""The life of a pod, replayed with processes in the order in which a kubelet does it, on deploy/kubernetes/base/weir.yaml.

    start: Weir -> its startup probe passes -> the app -> its readiness, asked through Weir -> it is an endpoint
    end:   it is no endpoint, which others hear a little later | preStop of the app -> TERM -> it ends -> TERM to Weir -> it ends
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import harness
from conftest import ROOT
from roots import sh

BASE = ROOT / "deploy/kubernetes/base"
APP = [sys.executable, "-I", "-S", str(ROOT / "tests/deploy/app.py")]
HEARD, PRE_STOP, CALLS = 0.05, 0.3, 20.0  # seconds: others hear of the end, the app's preStop (5 in the manifest), its calls
ROLLS = int(os.environ.get("WEIR_ROLLS", "200"))


def policy():
    text = (BASE / "weir.yaml").read_text()
    return text.replace("rate: 50/s, burst: 100", "rate: 100000/s, burst: 100000")  # one client makes all the calls here


def seconds(which):
    return float(re.search(rf"{which}: (\d+)s", policy())[1])


def hook():
    return re.search(r"preStop: { exec: { command: \[sh, -c, \"(.*)\"\] } }", (BASE.parent / "README.md").read_text())[1]


class Pod:
    def __init__(self, binary, folder):
        self.binary, self.folder = str(binary), folder
        self.port, self.probes, self.admin, self.app_port = (harness.free_port() for _ in range(4))
        folder.mkdir(parents=True)
        ours = {"0.0.0.0:8080": self.port, "0.0.0.0:9902": self.probes, "127.0.0.1:9901": self.admin, "127.0.0.1:3000": self.app_port}
        (folder / "weir.yaml").write_text(re.sub("|".join(ours), lambda m: f"127.0.0.1:{ours[m[0]]}", policy()))
        self.app = None
        self.coming = set()  # clients that were sent here and have no answer yet

    def begin(self):
        with open(self.folder / "stderr", "wb") as err:
            self.weir = subprocess.Popen([self.binary, "run", "-c", str(self.folder / "weir.yaml"), "--watch"], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=err)
        harness.until(self.passes, "the startup probe", every=0.005)
        assert self.asks(self.port, "/healthz") in (502, 503)  # no app yet: it is started now
        self.app = subprocess.Popen([*APP, str(self.app_port), str(CALLS)], stdin=subprocess.DEVNULL)
        harness.until(lambda: self.asks(self.port, "/healthz") == 200, "the app is ready", every=0.005)
        return self

    def passes(self):
        """The startup probe; a Weir that has ended will not pass it any more."""
        assert self.weir.poll() is None, f"exit {self.weir.returncode}: " + (self.folder / "stderr").read_text()
        return self.asks(self.probes, "/ready") == 200

    @staticmethod
    def asks(port, path):
        with contextlib.suppress(OSError, AssertionError):
            with contextlib.closing(harness.Client(harness.connect(f"127.0.0.1:{port}"))) as c:
                return c.ask(path, headers={"Connection": "close"}).expect().status

    def told_to_drain(self):
        """The README's preStop, where clients keep their connections."""
        done = sh("sh", "-c", hook().replace("127.0.0.1:9901", f"127.0.0.1:{self.admin}").replace("sleep 5", "true"))
        return json.loads(done.stdout)["draining"]

    def finish(self, drain=False):
        """Returns how long Weir took."""
        if drain:
            assert self.told_to_drain()
        time.sleep(PRE_STOP)
        harness.until(lambda: not self.coming, "answers to all who were sent here", every=0.005)  # a busy machine may need longer
        self.app.terminate()
        assert self.app.wait(CALLS + 5) == 0, "a call of the app did not end"
        told = time.monotonic()
        self.weir.terminate()
        assert self.weir.wait(seconds("delay") + seconds("drain") + 5) == 0
        took = time.monotonic() - told
        said = (self.folder / "stderr").read_text()
        assert "cutting" not in said and "AddressSanitizer" not in said, said
        return took

    def kill(self):
        for p in (self.app, self.weir):
            if p is not None and p.poll() is None:
                p.kill()
                p.wait()


class Service:
    """Endpoints, and clients that are sent to them, a connection each, as kube-proxy does it."""

    def __init__(self):
        self.endpoints, self.turn, self.lock = [], 0, threading.Lock()
        self.stopped, self.wrong, self.done = threading.Event(), [], {"call": 0, "stream": 0, "kept": 0}
        self.threads = []

    @contextlib.contextmanager
    def sent(self):
        """A client, and what it calls when its last answer has begun."""
        way = object()
        with self.lock:
            self.turn += 1
            pod = self.endpoints[self.turn % len(self.endpoints)]
            pod.coming.add(way)
        try:
            with contextlib.closing(harness.Client(harness.connect(f"127.0.0.1:{pod.port}"))) as c:
                yield c, lambda: pod.coming.discard(way)
        finally:
            pod.coming.discard(way)

    def call(self):
        with self.sent() as (c, _):
            assert c.ask("/", headers={"Connection": "close"}).expect().status == 200
        time.sleep(0.01)

    def stream(self):
        with self.sent() as (c, begun):
            c.ask("/sse?n=20&ms=25", headers={"Connection": "close"}).fill()
            begun()
            got = c.expect()
            assert got.status == 200 and got.body.count(b"data:") == 20

    def kept(self):
        """Calls on one connection, until it is told that it ends."""
        with self.sent() as (c, _):
            while not self.stopped.is_set():
                got = c.ask("/").expect()
                assert got.status == 200, f"on a kept connection: {got.status}"
                self.done["kept"] += 1
                if (got.get("connection") or "").lower() == "close":
                    return
                time.sleep(0.01)

    def run(self, kind):
        while not self.stopped.is_set():
            try:
                getattr(self, kind)()
                self.done[kind] += 1
            except BaseException as e:  # pylint: disable=broad-except
                self.wrong.append(f"{kind}: {type(e).__name__} {e}"[:300])
                return

    def begin(self, **kinds):
        self.threads = [threading.Thread(target=self.run, args=(k,), daemon=True) for k, n in kinds.items() for _ in range(n)]
        for t in self.threads:
            t.start()

    def end(self):
        self.stopped.set()
        for t in self.threads:
            t.join(30)


@pytest.fixture
def pods(binary, tmp_path):
    made = []

    def make():
        made.append(Pod(binary, tmp_path / f"pod{len(made)}"))
        return made[-1]

    yield make
    for p in made:
        p.kill()
    harness.release_ports()


def roll(service, pods, times, drain=False):
    """maxSurge 1, maxUnavailable 0: a new pod, and when it is ready the oldest one ends. How long each Weir took to end."""
    took, ends = [], []

    def end(pod):
        try:
            time.sleep(HEARD)
            with service.lock:
                service.endpoints.remove(pod)
            took.append(pod.finish(drain))
        except BaseException as e:  # pylint: disable=broad-except
            service.wrong.append(f"the end of a pod: {e!r}"[:500])

    for i in range(times):
        new = pods().begin()
        with service.lock:
            service.endpoints.append(new)
            old = service.endpoints[0] if len(service.endpoints) == 3 else service.endpoints[i % 2]
        ends.append(threading.Thread(target=end, args=(old,), daemon=True))
        ends[-1].start()
        harness.until(lambda: len(service.endpoints) <= 2, "others hear of it")
        assert not service.wrong, service.wrong
        while sum(t.is_alive() for t in ends) > 3:
            time.sleep(0.01)
    for t in ends:
        t.join(CALLS + 10)
    return took


def test_rolling_restarts_under_streams_lose_nothing(pods):
    service = Service()
    service.endpoints = [pods().begin(), pods().begin()]
    service.begin(call=2, stream=4)
    took = roll(service, pods, ROLLS)
    service.end()
    assert not service.wrong, service.wrong
    assert len(took) == ROLLS and max(took) < seconds("delay") + seconds("drain")
    assert service.done["stream"] > ROLLS / 4 and service.done["call"] > ROLLS


def test_connections_that_clients_keep_are_let_go_of_before_the_app_ends(pods, binary):
    if sh(binary, "help", "ctl", check=False).returncode != 0:
        pytest.skip("this build has no order to drain")
    service = Service()
    service.endpoints = [pods().begin(), pods().begin()]
    service.begin(kept=4, stream=2)
    took = roll(service, pods, max(5, ROLLS // 20), drain=True)
    service.end()
    assert not service.wrong and service.done["kept"] > 20 and max(took) < seconds("drain"), service.wrong


def test_a_weir_that_dies_is_started_again_beside_the_app(pods):
    pod = pods().begin()
    pod.weir.kill()
    pod.weir.wait()
    with open(pod.folder / "stderr", "ab") as err:
        pod.weir = subprocess.Popen([pod.binary, "run", "-c", str(pod.folder / "weir.yaml"), "--watch"], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=err)
    harness.until(lambda: pod.asks(pod.port, "/") == 200, "served again by the same app")
    assert pod.finish() < seconds("drain")


def test_a_job_ends(binary, tmp_path):
    """The container of the Job ends, then Weir is told to, and is gone at once."""
    text = (ROOT / "deploy/kubernetes/job.yaml").read_text().split("weir.yaml: |\n", 1)[1].split("---", 1)[0]
    api = harness.Upstream().serve()
    port, probes = harness.free_port(), harness.free_port()
    text = re.sub(r"^    ", "", text, flags=re.M).replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("0.0.0.0:9902", f"127.0.0.1:{probes}")
    (tmp_path / "weir.yaml").write_text(text.replace("https://api.example.com", api.addr))
    weir = subprocess.Popen([binary, "run", "-c", tmp_path / "weir.yaml"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        harness.until(lambda: Pod.asks(probes, "/ready") == 200, "the startup probe")
        work = "for i in 1 2 3 4 5 6 7; do curl -fsS --max-time 10 $API_URL/row/$i || exit 1; done"
        started = time.monotonic()
        assert subprocess.run(["sh", "-c", work], env={**os.environ, "API_URL": f"http://127.0.0.1:{port}"}, capture_output=True, check=False).returncode == 0
        assert time.monotonic() - started > 0.3  # five a second: it was made to wait, not refused
        ended = time.monotonic()
        weir.send_signal(signal.SIGTERM)
        api.close_all()
        assert weir.wait(10) == 0 and time.monotonic() - ended < 5
    finally:
        weir.kill()
        weir.wait()
        api.end()


def test_a_config_map_that_is_swapped_under_it(binary, tmp_path):
    """As a kubelet does it: weir.yaml -> ..data/weir.yaml, ..data -> a folder with a date; the link is replaced, the old folder goes."""
    mount, upstream = tmp_path / "weir", harness.Upstream().serve()
    mount.mkdir()
    w = harness.Weir(str(binary), tmp_path / "run", upstream=upstream, start=False, checks=False, watch=True)
    old = []

    def swap(text):
        folder = mount / f"..2026_{len(old)}"
        folder.mkdir()
        (folder / "weir.yaml").write_text(text)
        (mount / "..data_tmp").symlink_to(folder.name)
        (mount / "..data_tmp").replace(mount / "..data")
        for f in old[-1:]:
            (f / "weir.yaml").unlink()
            f.rmdir()
        old.append(folder)

    swap(w.config())
    (mount / "weir.yaml").symlink_to("..data/weir.yaml")
    w.path = str(mount / "weir.yaml")
    try:
        w.start()
        for i in range(1, 6):
            swap(w.config(policies={"p": {"rate": f"{i}/h", "burst": i}}, use=["p"]))
            harness.until(lambda n=i: w.reloads() == n, "it was read again")
            assert w.statuses(6).count(200) <= i
        swap("version: 1\nlissen: x\n")
        harness.until(lambda: w.metric("weir_config_last_reload_successful") == 0, "refused")
        assert w.fetch().status == 429  # the last good one goes on
        swap(w.config())
        harness.until(lambda: w.metric("weir_config_last_reload_successful") == 1 and w.fetch().status == 200, "good again")
    finally:
        w.kill()
        upstream.end()

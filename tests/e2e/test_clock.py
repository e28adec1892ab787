"""The wall clock is set, by NTP or by hand: limits go on as they were; dates, tokens and certificates follow it."""

import datetime
import email.utils
import json
import pathlib
import re
import shutil
import struct
import subprocess
import time

import pytest

import harness
from certificates import certs
from harness import response, until
from tokens import AUDIENCE, ISSUER, bearer, jwks, key, token

HOUR = 3600
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
SHIM = pathlib.Path(__file__).parents[1] / "accuracy" / "clock.c"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """What stands before the C library's clocks and adds what a file says."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", made, SHIM], check=True)
    return made


@pytest.fixture
def clocked(weir, binary, shim, tmp_path):
    """A Weir whose wall clock `w.step(seconds)` sets, to so much from the true one; it knows when that returns."""
    if harness.flavour_of(binary):
        pytest.skip("a sanitizer wants to be the first library")

    def start(**more):
        file = tmp_path / "offset"
        file.write_bytes(struct.pack("q", 0))
        w = weir(env={"LD_PRELOAD": str(shim), "CLOCK_OFFSET": str(file)}, **more)

        def step(seconds):
            with open(file, "r+b", buffering=0) as f:
                f.write(struct.pack("q", seconds))
            until(lambda: abs(date(w) - time.time() - seconds) < 60, "it follows")

        w.step = step
        return w
    return start


def date(w):
    """What Weir takes for the time, as its answers say."""
    return email.utils.parsedate_to_datetime(w.probe("/live").get("date")).timestamp()


@STEPS
def test_buckets_neither_fill_nor_empty(clocked, step):
    w = clocked(policies={"p": {"rate": "1/h", "burst": 3}}, use=["p"], serve=True)
    assert w.statuses(2) == [200, 200]
    w.step(step)
    assert w.statuses(2) == [200, 429]
    assert 3500 <= int(w.fetch().get("retry-after")) <= 3600
    w.step(0)
    assert w.fetch().status == 429


def test_a_window_that_is_over_is_over(clocked):
    """Windows stand on the wall clock: set forward, they end earlier.  They are long: none ends by itself here."""
    w = clocked(policies={"p": {"rate": "2/30d", "algorithm": "fixed-window"}}, use=["p"], serve=True)
    assert w.statuses(3) == [200, 200, 429]
    w.step(30 * 24 * HOUR)
    until(lambda: w.fetch().status == 200, "the next window")
    assert w.statuses(2) == [200, 429]


@pytest.mark.parametrize("algorithm", ["fixed-window", "sliding-window"])
def test_no_window_is_refilled_by_going_back(clocked, algorithm):
    w = clocked(policies={"p": {"rate": "2/30d", "algorithm": algorithm}}, use=["p"], serve=True)
    assert w.statuses(3) == [200, 200, 429]
    for step in (-HOUR, -31 * 24 * HOUR):
        w.step(step)
        time.sleep(2.1)  # a change counts once every thread may have seen it
        r = w.fetch()
        assert r.status == 429 and int(r.get("retry-after")) >= 1


def test_a_breaker_stays_open_as_long(clocked):
    guard = {"breaker": 1, "open_for": "30m", "max_open": "30m"}
    w = clocked(policies={"b": guard}, use=["b"], serve=lambda r: response(500, b""))
    w.fetch()
    until(lambda: w.fetch().status == 503, "open")
    for step in (HOUR, -HOUR):
        w.step(step)
        r = w.fetch()
        assert r.status == 503 and 20 * 60 < int(r.get("retry-after")) <= 40 * 60


def test_a_call_under_way_keeps_its_time(clocked):
    w = clocked(route={"timeout": {"total": "5m", "first_byte": "5m", "idle": "5m"}})
    c = w.client().ask()
    w.upstream.expect_request()
    w.step(HOUR)
    w.step(-HOUR)
    w.upstream.answer(200, b"ok")
    c.expect(200, b"ok")
    assert 0 <= w.access()[0]["duration"] < 300


def test_tokens_expire_by_the_wall_clock(clocked, tmp_path):
    (tmp_path / "jwks.json").write_text(jwks(key()))
    auth = {"jwt": {"jwks": str(tmp_path / "jwks.json"), "issuer": ISSUER, "audience": AUDIENCE}}
    w = clocked(auth=auth, route={"auth": "jwt"}, serve=True)
    mine = bearer(token({"exp": int(time.time()) + HOUR // 2}))
    assert w.fetch(headers=mine).status == 200
    w.step(HOUR)
    assert w.fetch(headers=mine).status == 401
    w.step(0)
    assert w.fetch(headers=mine).status == 200


def test_certificates_expire_by_the_wall_clock(clocked, upstreams):
    """That of an upstream is not believed any more; and it is again when the clock was wrong."""
    w = clocked(upstream=upstreams(1, tls=certs().server())[0], serve=True)
    assert w.fetch().status == 200
    w.step(365 * 24 * HOUR)
    w.upstream.close_all()
    until(lambda: w.fetch().status == 502, "not believed")
    assert "certificate has expired" in w.stderr()
    w.step(0)
    until(lambda: w.fetch().status == 200, "believed")


@STEPS
def test_dates_follow(clocked, step):
    w = clocked(serve=True)
    w.step(step)
    w.fetch()
    line = w.access()[0]
    at = datetime.datetime.fromisoformat(re.sub("Z$", "+00:00", line["timestamp"])).timestamp()
    assert abs(at - time.time() - step) < 60
    w.reload()
    assert abs(w.metric("weir_config_last_reload_success_timestamp_seconds") - time.time() - step) < 60
    assert w.admin("/health").json()["uptime"] >= 0 and json.loads(w.admin("/stats.json").body)

"""From the start to the end: readiness, delay, drain, the second signal."""

import re
import signal
import time

import pytest

import harness
from harness import until

TERM = signal.SIGTERM


def test_bad_configuration_is_exit_1(weir, run):
    w = weir(start=False)
    w.write("version: 1\nlissen: x\n")
    got = run("run", "-c", w.path)
    assert got.returncode == 1 and "lissen" in got.stderr and got.stdout == ""


def test_missing_file_is_exit_1(run):
    got = run("run", "-c", "no-such-file.yaml")
    assert got.returncode == 1 and "no-such-file.yaml" in got.stderr


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_an_address_that_another_serves(weir, run, policy, first, second):
    w = weir(workers=first, serve=True)
    for own in ({"probes": None, "admin": None}, {"listen": f"127.0.0.1:{harness.free_port()}", "admin": None}):
        got = run("run", "-c", policy(w.config(workers=second, **own), "second.yaml"))
        assert got.returncode == 1 and re.search(r"second.yaml:\d+:\d+", got.stderr)
        assert f"{w.probes_addr if 'listen' in own else w.addr}: Address already in use" in got.stderr
    assert w.fetch().status == 200


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_ends_with_0(weir, which):
    w = weir(serve=True)
    w.fetch()
    w.signal(which)
    assert w.wait_exit() == 0


def test_delay_not_ready_and_still_accepting(weir):
    w = weir(shutdown={"delay": "60s", "drain": "5s"}, serve=True)
    w.signal(TERM)
    until(lambda: w.probe("/ready").status == 503, "not ready")
    assert w.probe("/live").status == 200
    assert w.metric("weir_draining") == 1
    assert w.fetch().status == 200
    w.signal(TERM)
    assert w.wait_exit() == 1


def test_the_delay_ends(weir):
    w = weir(shutdown={"delay": "1s", "drain": "5s"}, serve=True)
    start = time.monotonic()
    w.signal(TERM)
    assert w.wait_exit() == 0
    assert time.monotonic() - start >= 0.95


def test_clients_are_sent_elsewhere_during_the_delay(weir):
    w = weir(shutdown={"delay": "60s", "drain": "5s"}, serve=True)
    c = w.client().ask()
    c.expect(200, connection=None)
    w.signal(TERM)
    until(lambda: w.metric("weir_draining") == 1, "draining")
    c.ask().expect(200, connection="close")
    c.expect_closed()
    w.client().ask().expect(200, connection="close")
    w.signal(TERM)
    assert w.wait_exit() == 1


def test_calls_end_in_peace(weir):
    w = weir(shutdown={"delay": "0s", "drain": "10s"})
    c = w.client().ask()
    w.upstream.expect_request()
    w.signal(TERM)
    time.sleep(0.2)
    assert w.alive()
    w.upstream.answer(200, b"in peace")
    c.expect(200, b"in peace", connection="close")
    c.expect_closed()
    assert w.wait_exit() == 0


def test_streams_go_on_through_the_drain(weir):
    w = weir(shutdown={"delay": "0s", "drain": "10s"})
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    c.read_head()
    w.signal(TERM)
    for _ in range(5):
        time.sleep(0.05)
        w.upstream.send(b"2\r\nhi\r\n")
        c.expect_bytes(b"2\r\nhi\r\n")
    w.upstream.send(b"0\r\n\r\n")
    assert c.read_chunked() == (b"", [])
    c.expect_closed()
    assert w.wait_exit() == 0


def test_what_lasts_longer_than_the_drain_is_cut(weir):
    w = weir(shutdown={"delay": "0s", "drain": "500ms"})
    c = w.client().ask()
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    c.read_head()
    start = time.monotonic()
    w.signal(TERM)
    assert c.read_eof() == b"abc"
    assert w.wait_exit() == 0
    assert time.monotonic() - start > 0.4
    assert w.access()[0]["reason"] == "cut"


def test_idle_connections_are_closed_at_once(weir):
    w = weir(serve=True)
    c = w.client().ask()
    c.expect(200)
    w.signal(TERM)
    c.expect_closed()
    assert w.wait_exit() == 0


def test_no_new_connections_in_the_drain(weir):
    w = weir(shutdown={"delay": "0s", "drain": "10s"})
    c = w.client().ask()
    w.upstream.expect_request()
    w.signal(TERM)

    def closed():
        try:
            harness.connect(w.addr).close()
            return False
        except ConnectionError:  # refused, or reset as it waited to be accepted
            return True

    until(closed, "the listener is closed")
    assert w.probe("/ready").status == 503
    w.upstream.answer()
    c.expect(200)
    assert w.wait_exit() == 0


def test_a_second_term_stops_at_once(weir):
    w = weir(shutdown={"delay": "30s", "drain": "30s"})
    w.client().ask()
    w.upstream.expect_request()
    w.signal(TERM)
    until(lambda: w.probe("/ready").status == 503, "not ready")
    w.signal(TERM)
    assert w.wait_exit() == 1


def test_app_gone_while_draining_is_503_and_opens_no_breaker(weir):
    w = weir(shutdown={"delay": "60s", "drain": "5s"}, policies={"guard": {"breaker": 1}}, use=["guard"])
    w.signal(TERM)
    until(lambda: w.probe("/ready").status == 503, "not ready")
    w.upstream.refuse()
    c = w.client().ask()
    c.expect(503, connection="close", retry_after="1")
    c.expect_closed()
    assert not w.metric("weir_breaker_transitions_total", to="open")
    w.kill()


def test_a_tunnel_is_cut_at_the_end_of_the_drain(weir):
    w = weir(route={"upgrade": True}, shutdown={"delay": "0s", "drain": "300ms"})
    c = w.client().ask("/ws", headers={"Connection": "Upgrade", "Upgrade": "x"})
    w.upstream.expect_request()
    w.upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    c.expect(101)
    w.signal(TERM)
    c.expect_closed()
    assert w.wait_exit() == 0


def test_flags_in_place_of_a_file(binary, upstreams):
    u = upstreams(1)[0].serve()
    port = harness.free_port()
    p = harness.subprocess.Popen([binary, "run", "--listen", f"127.0.0.1:{port}", "--to", u.addr, "--rate", "1/m",
                                  "--burst", "2"], stdout=harness.subprocess.DEVNULL,
                                 stderr=harness.subprocess.DEVNULL)

    def call():
        with harness.contextlib.suppress(OSError):
            c = harness.Client(harness.connect(f"127.0.0.1:{port}")).ask()
            status = c.expect().status
            c.close()
            return status

    try:
        until(call, "the first call")
        assert [call(), call()] == [200, 429]
        p.terminate()
        u.close_all()
        assert p.wait(15) == 0
    finally:
        p.kill()
        p.wait()


def test_usr2_writes_its_state(weir):
    w = weir()
    w.signal(signal.SIGUSR2)
    until(lambda: "state: policy" in w.stderr(), "state in the log")


def test_resident_memory_idle(weir):
    w = weir()
    if not w.flavour:
        assert w.memory() <= 4 << 20

"""What becomes of limits, and of the calls under way, when Redis or the way to it fails: each row of what may happen.

The rate is next to nothing, so that what was let in can be counted against the burst alone."""

import contextlib
import signal
import time

import pytest

import harness
import redis_server
from harness import TIMEOUT, until
from redis_server import (Calls, Redis, Relay, fallbacks, redis, results, said, share,  # noqa: F401 (redis: a fixture)
                          turns, up)

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="redis-server is not installed")

LONG = 3 * TIMEOUT
SECTION = {"timeout": "500ms", "connect_timeout": "1s"}


def pair(weir, server, **more):
    """Two that share ten calls of each user."""
    section = {**SECTION, **more.pop("section", {})}
    both = share(weir, server, share=more.pop("share", "strict"), section=section, key="header.x-user", **more)
    assert turns(both, 24).count(200) == 10  # of nobody
    return both


def down(weirs):
    until(lambda: not any(up(w) for w in weirs), "seen that it is gone", timeout=LONG)


def back(weirs):
    """It is there, and calls are counted in it."""
    def counted():
        before, sent = fallbacks(weirs), results(weirs, result="ok")
        turns(weirs, 2 * len(weirs), headers={"X-User": str(sent)})
        return fallbacks(weirs) == before and results(weirs, result="ok") > sent

    until(lambda: all(up(w) for w in weirs), "it is back", timeout=LONG)
    until(counted, "counted in redis", timeout=LONG)


def counted(weirs, sent, got):
    """Whether more than those `sent` were answered, and calls, which `got` tells, are not decided without Redis."""
    before = fallbacks(weirs)
    got += turns(weirs, 2 * len(weirs))
    return fallbacks(weirs) == before and results(weirs, result="ok") > sent


LATE = "did not answer in time"


def lines(weirs, word):
    """Each has said once what is wrong, and then that it is over; and where the machine was busy that Redis was late, too."""
    for w in weirs:
        got = said(w)
        warned = [x for x in got if " warn redis" in x]
        own = [x for x in warned if word in x]
        assert len(own) == 1 or own and word == LATE, got
        assert all(x in own or LATE in x for x in warned), got
        assert len([x for x in got if " info redis" in x]) >= 2 and len(got) <= 7, got


# ---- a fault of the server, seen and over: what shows it, what it costs

def stop(r):
    r.stop()


def go_on(r):
    r.go_on()


def kill(r):
    r.kill()


def start(r):
    r.start()


def pause(r):
    r.ask("CLIENT", "PAUSE", 100000, "WRITE")


def unpause(r):
    r.ask("CLIENT", "UNPAUSE")


FAULTS = {
    # name: how it begins, how it ends, what the log says, whether links end, and what becomes of operations
    "stopped": (stop, go_on, "did not answer in time", True, "timeout"),
    "killed": (kill, start, "cannot be connected to", True, "not_sent"),
    "out of memory": (lambda r: r.set("maxmemory", 1), lambda r: r.set("maxmemory", 0), "its memory is full: OOM",
                      False, "refused"),
    "read-only": (lambda r: r.ask("REPLICAOF", "127.0.0.1", 1), lambda r: r.ask("REPLICAOF", "NO", "ONE"),
                  "it is not a master", True, "refused"),
    "too few replicas": (lambda r: r.set("min-replicas-to-write", 1), lambda r: r.set("min-replicas-to-write", 0),
                         "too few replicas: NOREPLICAS", False, "refused"),
    "cannot save": (Redis.cannot_save, lambda r: r.set("save", ""), "cannot write to its disk: MISCONF", False,
                    "refused"),
    "busy": (Redis.run_for_ever, Redis.stop_script, "busy with a script: BUSY", False, "refused"),
    "paused": (pause, unpause, "did not answer in time", False, "timeout"),
    "another password": (lambda r: r.change_password("new"), lambda r: r.change_password(""), "NOAUTH", True,
                         "not_sent"),
    "no right": (lambda r: r.ask("ACL", "SETUSER", "default", "-evalsha"),
                 lambda r: r.ask("ACL", "SETUSER", "default", "+@all"), "the user may not do this: NOPERM", False,
                 "refused"),
}
MODES = {"local": {200, 429}, "allow": {200, 429}, "deny": {200, 429, 503}}


def seen(both, word, links_end, **counted):
    """The log says it, the metrics show it, and calls are decided without Redis."""
    until(lambda: all(any(word in x for x in said(w)) for w in both), word, timeout=LONG)
    until(lambda: results(both, **counted) > 0 and fallbacks(both) > 0, "counted", timeout=LONG)
    assert not links_end or not any(up(w) for w in both)


@pytest.mark.parametrize("name, mode", [(f, list(MODES)[i % 3]) for i, f in enumerate(FAULTS)])
def test_a_fault(weir, redis, name, mode):
    begin, end, word, links_end, result = FAULTS[name]
    both = pair(weir, server := redis(), on_error=mode)
    with Calls(both, users=500) as calls:
        begin(server)
        seen(both, word, links_end, result=result)
        end(server)
        back(both)
    assert calls.fared(*MODES[mode]) and turns(both, 20).count(200) == 0
    lines(both, word)
    assert mode == "allow" or calls.in_all() <= (20 if name == "killed" else 10) + 2


# ---- the way to it

def by_relay(weir, redis, delay=0.05, **more):
    """The two of them behind a relay; server, relay, Weirs."""
    server = redis()
    relay = redis(Relay, server.port, delay)
    return server, relay, pair(weir, relay, **more)


@pytest.mark.parametrize("how, word", [
    ("hold", "did not answer in time"), ("deaf", "did not answer in time"), ("garbage", "malformed"),
    ("half", "it closed the connection"), ("refuse", "the connection"),
])
def test_a_way_that_fails(weir, redis, how, word):
    _, relay, both = by_relay(weir, redis, section={})
    with Calls(both, users=500) as calls:
        relay.how = how
        if how == "refuse":
            relay.cut()
        down(both)
        relay.how = "pass"
        back(both)
    assert calls.fared(200, 429) and calls.in_all() <= 12
    lines(both, word)


def test_a_round_trip_of_50_ms(weir, redis):
    relay = redis(Relay, redis().port)
    both = share(weir, relay, rate="1000/h", burst=1000, store_wait="1s", section={"timeout": "1s", "connect_timeout": "1s"})
    relay.how = "delay"
    with Calls(both, every=0.001) as calls:
        until(lambda: calls.count[429] > 20, "all of it is spent", timeout=LONG)
    assert 950 <= calls.fared(200, 429)[200] <= 1000 + 50 + 5
    assert all(len(said(w)) == 1 for w in both) and fallbacks(both) == 0


def test_links_that_are_cut_again_and_again(weir, redis):
    server, relay, both = by_relay(weir, redis)
    fds = [w.count_fds() for w in both]
    with Calls(both, users=500) as calls:
        for _ in range(60):
            relay.cut()
            time.sleep(0.02)
        back(both)
    assert calls.fared(200, 429) and calls.in_all() <= 12 and all(len(said(w)) <= 5 for w in both)
    assert relay.accepted <= 60 and len(server.clients()) == 2  # tried less and less often
    until(lambda: all(w.count_fds() <= n + 4 for w, n in zip(both, fds)), "no descriptor is lost")


def test_clients_that_are_killed(weir, redis):
    server = redis()
    both = pair(weir, server)
    with Calls(both, users=300) as calls:
        for _ in range(10):
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            calls.more(10)
        back(both)
    assert calls.fared(200, 429) and calls.in_all() <= 12 and all(len(said(w)) <= 5 for w in both)


def test_one_of_three_is_cut_off(weir, redis):
    server = redis()
    relay = redis(Relay, server.port)
    three = share(weir, [server, server, relay], n=3, share="strict", rate="1000/h", burst=300, section=SECTION)
    assert turns(three, 30) == [200] * 30
    relay.how = "hold"
    down(three[2:])
    assert 270 <= turns(three, 600).count(200) <= 270 + 100  # and its own third, at most
    relay.how = "pass"
    back(three)
    assert turns(three, 300).count(200) <= 1


# ---- restarts, and what Redis forgets

def test_not_there_when_they_start(weir, redis):
    server = redis(start=False)
    both = share(weir, server, until_up=False, share="strict", section=SECTION, key="header.x-user")
    got = turns(both, 10)
    assert got.count(200) <= 2 and not any(up(w) for w in both)  # a call each
    assert all(w.probe("/ready").status == 200 for w in both)
    server.start()
    back(both)
    assert 8 <= (got + turns(both, 24)).count(200) <= 10
    for w in both:
        assert [x.split(" redis")[0].split()[-1] for x in said(w)] == ["warn", "warn", "info"], said(w)


def test_restarted_with_its_data(weir, redis):
    server = redis(args=["--appendonly", "yes", "--appendfsync", "always"])
    both = pair(weir, server)
    server.kill()
    down(both)
    server.start()
    back(both)
    more = share(weir, server, n=1, share="strict", section=SECTION, key="header.x-user")
    assert turns(both + more, 20).count(200) == 0


def test_while_it_is_loading(weir, redis):
    server = redis(args=["--loading-process-events-interval-bytes", "1024"])
    both = pair(weir, server)
    server.ask("DEBUG", "POPULATE", 3000)
    server.ask("SAVE")
    server.kill()
    down(both)
    server.start("--key-load-delay", "300")
    with Calls(both, users=300) as calls:
        back(both)
    assert calls.fared(200, 429) and all(len(said(w)) == 3 for w in both) and turns(both, 20).count(200) == 0


@pytest.mark.parametrize("words", [("SCRIPT", "FLUSH"), ("FLUSHALL",), ("CONFIG", "RESETSTAT")], ids=lambda w: w[0])
def test_forgotten_under_way(weir, redis, words):
    server = redis()
    both = pair(weir, server, section={"timeout": "1s"})
    with Calls(both, users=50) as calls:
        for _ in range(5):
            calls.more(50)
            server.ask(*words)
    calls.fared(200, 429)
    assert max(calls.let_in.values()) <= (60 if words[0] == "FLUSHALL" else 10)  # all of it, once for each time
    assert all(len(said(w)) == 1 and up(w) for w in both) and fallbacks(both) == 0


def test_held_up_for_a_moment(weir, redis):
    server = redis()
    both = pair(weir, server, section={"timeout": "1s"})
    with Calls(both, users=300) as calls:
        for _ in range(4):
            server.hold(150)
            calls.more(40)
    assert calls.fared(200, 429) and calls.in_all() <= 10 and all(len(said(w)) == 1 for w in both)


# ---- Weirs that come and go

def peers(weirs, n):
    until(lambda: all(w.metric("weir_redis_peers") == n for w in weirs), f"{n} replicas", timeout=LONG)


def test_replicas_that_come_and_go(weir, redis):
    rule = {"section": {"peers": None, **SECTION}, "rate": "1000/h", "burst": 1000}
    both = share(weir, server := redis(), **rule)
    peers(both, 2)
    third = share(weir, server, n=1, **rule)
    peers(both + third, 3)
    got = turns(both + third, 500)
    end(third)
    peers(both, 2)
    both[1].kill()
    assert 850 <= (got + turns(both[:1], 800)).count(200) <= 1000 + 50 + 50 + 5


def end(weirs):
    """By TERM, and soon."""
    begun = time.monotonic()
    for w in weirs:
        w.signal(signal.SIGTERM)
        assert w.wait_exit() == 0
    assert time.monotonic() - begun < 4 * harness.SLOW


@pytest.mark.parametrize("way", [stop, kill], ids=["stopped", "killed"])
def test_gone_while_they_reload_and_drain(weir, redis, way):
    both = pair(weir, server := redis())
    way(server)
    with Calls(both, users=100) as calls:
        for w in both:
            w.reload(policies={"p": {**w.sections["policies"]["p"], "burst": 12}})
        calls.more()
    assert calls.fared(200, 429)
    end(both)


def test_a_name_with_two_addresses_of_which_one_answers(weir, redis):
    server = redis()
    both = share(weir, None, share="strict", section={**SECTION, "url": f"redis://localhost:{server.port}"})
    with Calls(both) as calls:
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until(lambda: len(server.clients()) == 2, "found again", timeout=LONG)
    assert calls.fared(200, 429)[200] <= 10


# ---- what other limiters get wrong

def test_calls_that_are_refused_are_not_counted(weir, redis):
    server = redis()
    both = pair(weir, server)
    value = {k: server.ask("GET", k) for k in server.limits()}
    assert len(value) == 1 and turns(both, 50).count(200) == 0
    assert value == {k: server.ask("GET", k) for k in server.limits()}


def test_a_cost_of_several(weir, redis):
    both = share(weir, redis(), share="strict", burst=10, cost=4, section=SECTION)
    assert turns(both, 8).count(200) == 2


@pytest.mark.parametrize("begin, end", [(FAULTS[f][0], FAULTS[f][1]) for f in ("out of memory", "too few replicas")],
                         ids=["out of memory", "too few replicas"])
def test_what_was_spent_meanwhile_is_charged(weir, redis, begin, end):
    server = redis()
    both = share(weir, server, rate="10/h", burst=200, on_error="local", section=SECTION)
    got = turns(both, 40)
    begin(server)
    got += turns(both, 40)
    sent = results(both, result="ok")
    end(server)
    until(lambda: counted(both, sent, got), "counted in redis", timeout=LONG)
    got += turns(both, 400)
    assert 150 <= got.count(200) <= 200 + 10 + 20  # and what one let in before the other was back


def test_what_was_answered_and_not_heard_is_charged_once(weir, redis):
    _, relay, both = by_relay(weir, redis)
    users = [{"X-User": f"u{i}"} for i in range(5)]
    assert all(turns(both, 2, headers=u) == [200, 200] for u in users)
    relay.how = "deaf"
    down(both)
    relay.how = "pass"
    back(both)
    got = [turns(both, 14, headers=u).count(200) for u in users]
    assert max(got) <= 8 and sum(got) >= 5 * 8 - 2 * 5 - 2


@pytest.mark.parametrize("begin, end", [(stop, go_on), (kill, start)], ids=["stopped", "killed"])
def test_a_bound_through_an_outage(weir, redis, begin, end):
    both = share(weir, server := redis(), rate="200/s", burst=100, section={"timeout": "50ms"})
    begun = time.monotonic()
    with Calls(both, every=0.002) as calls:
        calls.more(200)
        begin(server)
        down(both)
        end(server)
        back(both)
        calls.more(400)
    most = 100 + 200 * (time.monotonic() - begun) + 15 + 15 + (100 if begin is kill else 0)  # that it forgot
    assert calls.fared(200, 429)[200] <= most


@pytest.mark.skipif(redis_server.cannot_move_names(), reason="no mount namespaces")
def test_a_name_that_moves(weir, redis, tmp_path):
    """As after a failover behind DNS: what it stands for is asked again, and the old server is left alone."""
    old = redis()
    new, names = redis(bind="127.0.0.2", port=old.port), redis_server.Names(tmp_path / "hosts", redis="127.0.0.1")
    w = share(weir, None, n=1, share="strict", key="header.x-user", section={**SECTION, "url": f"redis://redis:{old.port}"}, names=names)[0]
    assert w.statuses(12).count(200) == 10 and old.clients()
    names.say(redis="127.0.0.2")
    old.kill()
    until(new.clients, "found where it is now", timeout=LONG)
    back([w])
    assert said(w)[-1].endswith("reached")

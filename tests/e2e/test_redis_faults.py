"""What becomes of limits, and of the calls under way, when Redis or the way to it fails: each row of what may happen.

The rate is next to nothing, so that what was let in can be counted against the burst alone."""

import collections
import contextlib
import signal
import socket
import time

import pytest

import harness
import redis_server
from harness import TIMEOUT, until
from redis_server import (Calls, Redis, Relay, fallbacks, redis, results, said, share,  # noqa: F401 (redis: a fixture)
                          turns, up)

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="redis-server is not installed")

LONG = 3 * TIMEOUT
SECTION = {"timeout": "200ms", "connect_timeout": "2s"}


def pair(weir, server, **more):
    """Two that share ten calls of each user; they wait for Redis much shorter than for a connect to it."""
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


def lines(weirs, n, *words):
    """Each has said so many lines, of which the last but one has all the words."""
    for w in weirs:
        got = said(w)
        assert len(got) == n and all(x in got[-2] for x in words), got


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
    "out of memory": (Redis.refuse_memory, lambda r: r.ask("CONFIG", "SET", "maxmemory", 0), "its memory is full: OOM",
                      False, "refused"),
    "read-only": (lambda r: r.ask("REPLICAOF", "127.0.0.1", 1), lambda r: r.ask("REPLICAOF", "NO", "ONE"),
                  "it is not a master", True, "refused"),
    "too few replicas": (lambda r: r.ask("CONFIG", "SET", "min-replicas-to-write", 1),
                         lambda r: r.ask("CONFIG", "SET", "min-replicas-to-write", 0), "too few replicas", False, "refused"),
    "busy": (Redis.run_for_ever, Redis.stop_script, "busy with a script: BUSY", False, "refused"),
    "paused": (pause, unpause, "did not answer in time", False, "timeout"),
    "another password": (lambda r: r.change_password("new"), lambda r: r.change_password(""), "NOAUTH", True, "not_sent"),
    "no right": (lambda r: r.ask("ACL", "SETUSER", "default", "-evalsha"),
                 lambda r: r.ask("ACL", "SETUSER", "default", "+@all"), "the user may not do this: NOPERM", False, "refused"),
}
MODES = {"local": {200, 429}, "allow": {200, 429}, "deny": {200, 429, 503}}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(weir, redis, name):
    begin, end, word, ends_links, result = FAULTS[name]
    mode = list(MODES)[list(FAULTS).index(name) % 3]
    server = redis()
    both = pair(weir, server, on_error=mode)
    with Calls(both, users=500) as calls:
        begin(server)
        until(lambda: all(any(word in x for x in said(w)) for w in both), word, timeout=LONG)
        until(lambda: results(both, result=result) > 0 and fallbacks(both, mode=mode) > 0, "counted", timeout=LONG)
        assert not ends_links or not any(up(w) for w in both)
        end(server)
        back(both)
    calls.fared(*MODES[mode])
    assert turns(both, 20).count(200) == 0
    lines(both, 3, word)
    assert mode == "allow" or max(calls.let_in.values()) <= 10

"""The ways a Redis is run and reached: over TLS, by users with few rights, as a cluster, behind sentinels."""

import socket

import pytest

import harness
import redis_server
from certificates import certs
from harness import until
from redis_server import Calls, Cluster, Watched, redis, said, share, turns, up  # noqa: F401 (a fixture)

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="redis-server is not installed")
SLOW_IS_FINE = {"timeout": "1s", "connect_timeout": "500ms"}


def told(**more):
    return {**SLOW_IS_FINE, **more}


def ten_of(weirs, n=24):
    """They share ten calls, exactly."""
    assert turns(weirs, n).count(200) == 10


def never_up(weir, section, **policy):
    """Starts without it; returns one Weir and what it says of it, when it has said it."""
    w = share(weir, None, n=1, section=section, until_up=False, on_error="deny", **policy)[0]
    assert w.statuses(2) == [503, 503] and not up(w)
    w.allow(r"redis|TLS")
    return w, until(lambda: [x for x in said(w) if "is not there yet" not in x], "it says why")


# ---- one server

def test_unix_socket_and_database(weir, redis):
    server = redis()
    ten_of(share(weir, None, section=told(url=f"unix:{server.path}?db=3")))
    ten_of(share(weir, None, section=told(url=f"redis://127.0.0.1:{server.port}/4")))
    ten_of(share(weir, server, section=told(database=5)))
    info = server.ask("INFO", "keyspace")
    assert all(b"db%d:keys=" % n in info for n in (3, 4, 5)) and b"db0:" not in info


def test_a_database_that_is_not_there(weir, redis):
    _, lines = never_up(weir, told(url=f"redis://127.0.0.1:{redis().port}/99"))
    assert len(lines) == 1 and "it does not have the database: ERR DB index is out of range" in lines[0]


RIGHTS = ("resetchannels -@all +evalsha +eval +time +get +set +del +hmget +hset +hdel +hgetall +pexpire "
          "+zadd +zrem +zcard +zremrangebyscore +ping +role ~rl:*").split()


def test_a_user_with_the_rights_that_are_documented(weir, redis):
    server = redis()
    readme = (redis_server.pathlib.Path(__file__).parents[2] / "filters/store/README.md").read_text("utf-8")
    assert " ".join(RIGHTS) in " ".join(readme.split())
    server.ask("ACL", "SETUSER", "side", "on", ">s3cret", *RIGHTS)
    both = share(weir, None, section=told(url=f"redis://side:s3cret@127.0.0.1:{server.port}"))
    ten_of(both)
    assert len(said(both[0])) == 1 and server.ask("ACL", "LOG") == []


@pytest.mark.parametrize("right", ["+evalsha", "+time", "+set", "+zadd", "~rl:*"])
def test_one_right_is_missing(weir, redis, right):
    server = redis()
    few = [r for r in RIGHTS if r != right]
    server.ask("ACL", "SETUSER", "side", "on", ">s3cret", *few)
    w = share(weir, None, n=1, section=told(user="side", password="s3cret", url=f"redis://127.0.0.1:{server.port}"),
              until_up=False)[0]
    until(lambda: w.statuses(1) and any("the user may not do this" in x for x in said(w)), "it says so")
    w.statuses(60)
    assert len(said(w)) <= 4 and w.metric("weir_redis_operations_total", result="refused") >= 1


@pytest.mark.parametrize("section, why", [
    ({}, "NOAUTH"), ({"password": "wrong"}, "WRONGPASS"), ({"user": "nobody", "password": "open"}, "WRONGPASS"),
], ids=["none", "wrong", "user"])
def test_passwords_that_do_not_fit(weir, redis, section, why):
    server = redis(password="open")
    _, lines = never_up(weir, told(url=f"redis://127.0.0.1:{server.port}", **section))
    assert len(lines) == 1 and why in lines[0] and "wrong" not in lines[0].replace("WRONGPASS", "")


# ---- TLS

def tls_told(server, host="127.0.0.1", **tls):
    return told(url=f"rediss://{host}:{server.tls_port}", tls={"ca": certs().file("ca.pem"), **tls})


def test_tls(weir, redis):
    server = redis(tls="server")
    ten_of(share(weir, None, section=tls_told(server)))
    other = tls_told(server, host="localhost", server_name="app.test")
    ten_of(share(weir, None, section={**other, "namespace": "other"}))


@pytest.mark.parametrize("cert, tls, why", [
    ("server", {"ca": "ca2.pem"}, "self-signed certificate in certificate chain"),
    ("other", {}, "IP address mismatch"), ("expired", {}, "certificate has expired"),
    ("server", {"server_name": "other.test"}, "hostname mismatch"),
], ids=["authority", "address", "expired", "name"])
def test_tls_that_is_not_trusted(weir, redis, cert, tls, why):
    if "ca" in tls:
        tls = {"ca": certs().file(tls["ca"])}
    w, lines = never_up(weir, tls_told(redis(tls=cert), **tls))
    w.statuses(30)
    assert len(lines) == 1 and why in lines[0], lines
    assert not [x for x in w.stderr().splitlines() if "TLS" in x and x not in lines]


def test_tls_not_verified_when_told_so(weir, redis):
    ten_of(share(weir, None, section={**tls_told(redis(tls="expired")), "tls": {"verify": False}}))


def test_tls_both_ways(weir, redis):
    server = redis(tls="mutual")
    ten_of(share(weir, None, section=tls_told(server, cert=certs().file("client.pem"))))
    _, lines = never_up(weir, tls_told(server))
    assert len(lines) == 1


def test_plain_text_to_tls_and_the_other_way(weir, redis):
    server = redis(tls="server")
    _, lines = never_up(weir, told(url=f"redis://127.0.0.1:{server.tls_port}"))
    assert len(lines) == 1
    _, lines = never_up(weir, told(url=f"rediss://127.0.0.1:{server.port}"))
    assert len(lines) == 1 and "TLS" in lines[0]


# ---- a cluster

def many_keys(n=12):
    return [{"X-User": f"user{i}"} for i in range(n)]


def spend(weirs, users, times=12):
    """{user: how many were let in}"""
    return {u["X-User"]: turns(weirs, times, headers=u).count(200) for u in users}


@pytest.fixture
def cluster(weir, redis):
    """A cluster, two Weirs that share five calls of each user, and all of that spent."""
    def start(told_of=slice(None), **more):
        c = redis(Cluster, **more)
        both = share(weir, None, burst=5, key="header.x-user",
                     section=told(url=c.urls()[told_of], cluster=True, on_error="deny"))
        assert set(spend(both, many_keys()).values()) == {5}
        return c, both

    return start


def test_a_cluster_named_by_all_and_by_one(weir, cluster):
    c, both = cluster()
    assert set(c.limits().values()) == {0, 1, 2}
    more = share(weir, None, n=1, section=told(url=c.urls()[2], cluster=True), burst=5, key="header.x-user")
    assert spend(more, many_keys()) == spend(both, many_keys())  # nothing more for anybody
    assert [len(said(w)) for w in both] == [3, 3]  # one line for each node


def test_a_slot_that_moves(cluster):
    c, both = cluster()
    key = next(k for k, i in c.limits().items() if i == 2)
    slot, names = c.node[0].ask("CLUSTER", "KEYSLOT", key), c.names()
    c.set_slot(slot, node0=f"IMPORTING {names[2]}", node2=f"MIGRATING {names[0]}")
    assert set(spend(both, many_keys(), 4).values()) == {0}
    c.node[2].ask("MIGRATE", "127.0.0.1", c.node[0].port, key, 0, 5000)
    assert set(spend(both, many_keys(), 4).values()) == {0}  # by ASK
    c.set_slot(slot, node0=f"NODE {names[0]}", node2=f"NODE {names[0]}", node1=f"NODE {names[0]}")
    assert set(spend(both, many_keys(), 4).values()) == {0}  # by MOVED
    assert [len(said(w)) for w in both] == [3, 3] and all(up(w) for w in both)


def served(both):
    """Every user's calls are counted in Redis."""
    return 503 not in [s for u in many_keys() for s in turns(both, 2, headers=u)]


def test_a_node_of_a_cluster_dies_and_comes_back_empty(cluster):
    c, both = cluster()
    lost = list(c.limits().values()).count(1)
    c.node[1].kill()
    with Calls(both) as calls:
        until(lambda: all(any(f"{c.node[1].port}: it c" in x for x in said(w)) for w in both), "its loss is seen")
        c.node[1].start()
        until(c.whole, "whole again", timeout=5 * harness.TIMEOUT)
    assert calls.fared(200, 429, 503)
    until(lambda: served(both), "served again", timeout=3 * harness.TIMEOUT)
    assert sum(spend(both, many_keys()).values()) <= 5 * lost  # what it forgot, and nothing else


def test_slots_move_under_load(cluster):
    c, both = cluster()
    names, slots = c.names(), {c.node[0].ask("CLUSTER", "KEYSLOT", k): k for k, i in c.limits().items() if i == 2}
    with Calls(both, users=12) as calls:
        for slot, key in slots.items():
            c.set_slot(slot, node0=f"IMPORTING {names[2]}", node2=f"MIGRATING {names[0]}")
            calls.more(10)
            c.node[2].ask("MIGRATE", "127.0.0.1", c.node[0].port, key, 0, 5000)
            calls.more(10)
            c.set_slot(slot, node0=f"NODE {names[0]}", node2=f"NODE {names[0]}", node1=f"NODE {names[0]}")
    assert slots and calls.fared(429) and [len(said(w)) for w in both] == [3, 3]


def test_a_node_of_a_cluster_that_is_not_said_to_be_one(weir, redis):
    c = redis(Cluster)
    w = share(weir, None, n=1, burst=5, key="header.x-user", section=told(url=c.urls()[:1]), until_up=False)[0]
    spend([w], many_keys(), 1)
    assert len(said(w)) <= 4 and any("`cluster` does not say so: MOVED" in x for x in said(w))


def test_a_cluster_that_does_not_tell_its_slots(weir, redis):
    c = redis(Cluster)
    for n in c.node:
        n.ask("ACL", "SETUSER", "default", "-cluster|slots")
    both = share(weir, None, burst=5, key="header.x-user", section=told(url=c.urls()[0], cluster=True))
    until(lambda: spend(both, many_keys(30)[12:], 2) and all(len(said(w)) == 4 for w in both), "all are reached")
    assert set(spend(both, many_keys(6)).values()) == {5}  # by MOVED alone
    assert all(len([x for x in said(w) if "NOPERM" in x]) == 1 for w in both)


def test_a_cluster_that_is_none(weir, redis):
    server = redis()
    both = share(weir, None, section=told(url=f"redis://127.0.0.1:{server.port}", cluster=True))
    ten_of(both)
    assert all(len([x for x in said(w) if "cluster support disabled" in x]) == 1 for w in both)


def test_a_cluster_over_tls(weir, redis):
    c = redis(Cluster, tls="server", args=["--tls-cluster", "yes"])
    section = told(url=f"rediss://127.0.0.1:{c.node[0].tls_port}", cluster=True, tls={"ca": certs().file("ca.pem")})
    for n in c.node:  # its table tells the ports of TLS to who speaks it
        assert n.ask("CLUSTER", "INFO")
    both = share(weir, None, burst=5, key="header.x-user", section=section)
    assert set(spend(both, many_keys(6)).values()) == {5}


# ---- sentinels

def watched_told(w, **more):
    return told(timeout="200ms", sentinel={"master": "main", "addresses": w.addresses(), **more})


def settled(weirs):
    """They answer from Redis again."""
    until(lambda: all(up(w) for w in weirs) and fallbacks_stand(weirs), "counted in redis", timeout=5 * harness.TIMEOUT)


def fallbacks_stand(weirs):
    before = redis_server.fallbacks(weirs)
    turns(weirs, 4)
    return redis_server.fallbacks(weirs) == before


def test_a_failover_by_hand(weir, redis):
    s = redis(Watched)
    both = share(weir, None, section=watched_told(s), rate="10/h", burst=10)
    ten_of(both)
    with Calls(both) as calls:
        s.fail_over()
        until(lambda: all(str(s.replica.port) in said(w)[-1] for w in both), "moved", timeout=5 * harness.TIMEOUT)
        settled(both)
    assert calls.fared(200, 429)[200] == 0
    assert s.replica.clients() and turns(both, 8).count(200) == 0
    assert all(len(said(w)) <= 4 for w in both), said(both[0])


def test_a_master_that_is_killed(weir, redis):
    s = redis(Watched)
    both = share(weir, None, section=watched_told(s), rate="10/h", burst=10)
    ten_of(both)
    assert s.master.ask("WAIT", 1, 2000) == 1
    with Calls(both) as calls:
        s.master.kill()
        until(lambda: all(str(s.replica.port) in said(w)[-1] for w in both), "replaced", timeout=5 * harness.TIMEOUT)
        settled(both)
    assert calls.fared(200, 429)[200] == 0
    assert all(len(said(w)) <= 4 for w in both), said(both[0])


def test_a_replica_is_never_written_to(weir, redis):
    """Sentinels that name the wrong one: its role is asked."""
    master, replica = redis(), redis()
    replica.ask("REPLICAOF", "127.0.0.1", master.port)
    with socket.create_server(("127.0.0.1", 0)) as liar:
        tell = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(replica.port)), replica.port)
        harness.threading.Thread(target=answer_all, args=(liar, b"+PONG\r\n", tell), daemon=True).start()
        addr = f"127.0.0.1:{liar.getsockname()[1]}"
        _, lines = never_up(weir, told(sentinel={"master": "main", "addresses": [addr]}))
    assert len(lines) == 1 and "it is not a master" in lines[0]


def answer_all(sock, *answers):
    """Each connection: an answer for each thing that comes."""
    while True:
        try:
            c, _ = sock.accept()
            for a in answers:
                if not c.recv(4096):
                    break
                c.sendall(a)
        except OSError:
            return


def test_sentinels_with_a_password_of_their_own(weir, redis):
    s = redis(Watched, password="other")
    both = share(weir, None, section=watched_told(s, password="other"))
    ten_of(both)
    assert all(len(said(w)) == 1 for w in both)
    for wrong in ({}, {"password": "wrong"}):
        _, lines = never_up(weir, watched_told(s, **wrong))
        assert len(lines) == 1 and ("NOAUTH" in lines[0] or "WRONGPASS" in lines[0]), lines


def test_sentinels_that_do_not_know_the_name_and_of_which_two_are_dead(weir, redis):
    s = redis(Watched)
    section = watched_told(s)
    _, lines = never_up(weir, {**section, "sentinel": {**section["sentinel"], "master": "another"}})
    assert len(lines) == 1 and "another" in lines[0]
    for x in s.sentinel[:2]:
        x.kill()
    ten_of(share(weir, None, section=section))

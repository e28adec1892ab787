"""The real nginx and Weir, started from the same nginx.conf, while calls are held: who has the fewest, and who has enough."""

import threading

import pytest

import harness
from test_nginx_upstreams import Scripted, ask, pytestmark, rig, server  # noqa: F401


class Holding(Scripted):
    """Answers at once, but /hold only when it is let go; `order` has who was asked."""

    def serve(self, c):
        with c:
            while head := self.read(c):
                self.log.append((self.port, head))
                if " /hold" in head.split("\r\n")[0]:
                    self.does[1].wait(10)
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return


def play(port, log, steps, go):
    """h: a call that is held; q: one that is answered at once; r: all that are held are let go.  What each was told."""
    told, held = [], []
    go.clear()
    for step in steps:
        if step == "r":
            go.set()
            [t.join() for t in held]
            held.clear()
            go.clear()
        elif step == "q":
            told.append(ask(port)[0])
        else:
            before, said = len(log), []
            held.append(threading.Thread(target=lambda s=said: s.append(ask(port, "/hold")[0])))
            held[-1].start()
            harness.until(lambda b=before, s=said: len(log) > b or s)
            told.append(len(log) > before)
    go.set()
    [t.join() for t in held]
    return told


SERVERS = [["", "", ""], ["weight=3", "", "weight=2"], ["weight=5", "weight=1 max_conns=1", "backup"], ["max_conns=2", "max_conns=1", "max_conns=1 backup"],
           ["weight=2", "down", ""], ["max_conns=1", ""]]
STEPS = ["qqqqqqhhqhqhhqhqrqqqqhqhq", "hhhhhhhqqhhqqrqqhhhqq", "hqqqqhqqqqhqqqqrhhqhhq"]


@pytest.mark.parametrize("method", ["", "least_conn;"])
@pytest.mark.parametrize("words", SERVERS, ids=" ".join)
@pytest.mark.parametrize("steps", STEPS)
def test_calls_under_way(rig, method, words, steps):  # noqa: F811
    port, go = harness.free_port(), threading.Event()
    servers = [Holding(rig.log, ("holds", go)) for _ in words]
    text = f"upstream u {{ {method} zone z 64k; " + " ".join(f"server 127.0.0.1:{s.port} {w};" for s, w in zip(servers, words)) + " }\n"
    nginx, weir = rig(text + server(port, "location / { proxy_pass http://u; }"), port, lambda: play(port, rig.log, steps, go))
    [s.close() for s in servers]
    names = {s.port: i for i, s in enumerate(servers)}
    assert [(names[p], h.split()[1]) for p, h in nginx[1]] == [(names[p], h.split()[1]) for p, h in weir[1]]
    assert nginx[0] == weir[0]

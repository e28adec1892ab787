"""Metrics by name, type and label, under traffic of every kind: families, types, labels, sums that agree, what reloads leave as it was,
and nothing that a client or an upstream could make grow."""

import collections
import os
import re
import threading
import time

import pytest

import harness
import redis_server
from certificates import certs
from h2wire import H2Client
from harness import parse_metrics, response, until
from redis_server import redis  # noqa: F401 (a fixture)
from test_seen import promtool
from test_traces import Collector

NONE, LISTENER, ROUTE, POLICY, UPSTREAM, ENDPOINT = "", "listener", "route", "policy", "upstream", "upstream endpoint"
GAUGES = {
    "weir_build_info": "version revision compiler openssl", "weir_config_info": "sha256", "weir_config_last_reload_successful": NONE,
    "weir_config_last_reload_success_timestamp_seconds": NONE, "weir_draining": NONE, "weir_connections_active": LISTENER,
    "weir_requests_in_flight": ROUTE, "weir_limit_keys": POLICY, "weir_queue_length": POLICY, "weir_concurrency_in_use": POLICY,
    "weir_concurrency_limit": POLICY, "weir_breaker_state": "policy upstream endpoint state", "weir_breaker_forced": "policy upstream",
    "weir_upstream_connections": "upstream endpoint state", "weir_upstream_endpoint_up": ENDPOINT, "weir_redis_up": NONE,
    "process_resident_memory_bytes": NONE, "process_virtual_memory_bytes": NONE, "process_open_fds": NONE, "process_max_fds": NONE,
    "process_start_time_seconds": NONE, "weir_tls_handshakes_in_progress": LISTENER}
COUNTERS = {
    "weir_config_reloads_total": "result", "weir_connections_total": LISTENER, "weir_connections_refused_total": "listener reason",
    "weir_requests_total": "route method code", "weir_request_bytes_total": ROUTE, "weir_response_bytes_total": ROUTE,
    "weir_rejections_total": "route policy reason", "weir_client_aborts_total": ROUTE, "weir_limit_decisions_total": "policy decision",
    "weir_limit_key_evictions_total": POLICY, "weir_breaker_transitions_total": "policy upstream to", "weir_retries_total": "route reason",
    "weir_retries_suppressed_total": "route reason", "weir_upstream_attempts_total": "upstream endpoint result",
    "weir_upstream_health_checks_total": "upstream endpoint result", "weir_redis_operations_total": "result",
    "weir_redis_fallback_decisions_total": "policy mode", "weir_log_lines_dropped_total": NONE, "weir_otlp_spans_total": "result",
    "process_cpu_seconds_total": NONE, "weir_grpc_requests_total": "route grpc_status", "weir_tls_handshakes_total": "listener result"}
HISTOGRAMS = {
    "weir_request_duration_seconds": ROUTE, "weir_response_start_seconds": ROUTE, "weir_overhead_seconds": NONE,
    "weir_queue_wait_seconds": POLICY, "weir_upstream_attempt_duration_seconds": UPSTREAM, "weir_redis_operation_duration_seconds": NONE,
    "weir_loop_lag_seconds": NONE}

FOR_CALLS = set(HISTOGRAMS) - {"weir_overhead_seconds", "weir_loop_lag_seconds", "weir_redis_operation_duration_seconds"}


def families(text):
    """{name: (type, [(sample name, labels, value)])}; each with HELP, then TYPE, then its samples, and no series twice."""
    found, seen, helped = {}, set(), None
    assert text.endswith("\n") and "\n\n" not in text
    for line in text.splitlines():
        kind, name, rest = (line.split(" ", 3)[1:] + [""])[:3] if line.startswith("# ") else ("", "", "")
        if kind == "HELP":
            assert name not in found and re.fullmatch(r"[A-Z1].*[^.]\.", rest), line
            helped = name
        elif kind == "TYPE":
            assert helped == name, line
            found[name] = (rest, [])
        else:
            (sample, labels, value), = parse_metrics(line)
            assert sample in (helped, helped + "_bucket", helped + "_sum", helped + "_count") and value >= 0, line
            assert line.rpartition(" ")[0] not in seen, line
            seen.add(line.rpartition(" ")[0])
            found[helped][1].append((sample, labels, value))
    return found


def scrape(w):
    return families(w.probe("/metrics").body.decode())


def counters(w):
    """{(sample, labels): value} of all that must never fall."""
    return {(n, tuple(sorted(have.items()))): v for kind, rows in scrape(w).values() if kind != "gauge" for n, have, v in rows}


def fallen(before, after):
    return {k: (v, after[k]) for k, v in before.items() if k in after and after[k] < v}


POLICIES = {"p": {"rate": "1000/s", "key": "client.ip"}, "shared": {"rate": "1000/s", "store": "redis"}, "b": {"breaker": 50, "per": "endpoint"},
            "c": {"concurrency": 100, "queue": 1}, "t": {"retry": 1, "when": [503], "backoff": {"base": "1ms"}},
            "few": {"rate": "2/h", "burst": 2, "shadow": True}}


@pytest.mark.skipif(redis_server.BINARY is None, reason="redis-server is not installed")
def test_every_family_its_type_and_its_labels(weir, redis):  # noqa: F811
    c = Collector()
    w = weir(tls=certs().listener(), tracing=c.conf(), redis={"url": redis().url()}, policies=POLICIES, use=list(POLICIES), serve=True,
             upstreams={"app": {"endpoints": ["{up}"], "health": {"path": "/", "every": "1s"}}}, start=False)
    w.sections["upstreams"]["app"]["endpoints"] = [w.upstream.addr]
    w.write()
    w.start()
    w.fetch("/")
    grpc = H2Client(w.client(tls=certs().client(alpn=["h2"])))
    grpc.fetch("/s/m", method="POST", headers=[("content-type", "application/grpc"), ("te", "trailers")])
    until(lambda: w.metric("weir_redis_up") == 1 and c.spans and w.metric("weir_upstream_health_checks_total"), "all is at work")
    there = scrape(w)
    for kind, wanted in (("gauge", GAUGES), ("counter", COUNTERS), ("histogram", HISTOGRAMS)):
        for name, labels in wanted.items():
            assert there[name][0] == kind, name
            assert {frozenset(have) - {"le"} for _, have, _ in there[name][1]} == {frozenset(labels.split())}, name
    assert all(n.endswith("_total") == (kind == "counter") for n, (kind, _) in there.items())
    checked = promtool(w.probe("/metrics").body)
    assert checked.returncode == 0 and not checked.stdout + checked.stderr
    c.up.end()


def test_histograms_hold_together(weir):
    w = weir(serve=True, policies={"c": {"concurrency": 1, "queue": 1}}, use=["c"])
    w.statuses(20)
    for name, (kind, rows) in scrape(w).items():
        series = collections.defaultdict(list)
        for sample, have, v in rows if kind == "histogram" else ():
            series[tuple(sorted((k, x) for k, x in have.items() if k != "le"))].append((sample, have.get("le"), v))
        for got in series.values():
            steps = [v for sample, le, v in got if le]
            bounds = [float(le) for _, le, _ in got if le]
            assert steps == sorted(steps) and bounds == sorted(set(bounds)) and bounds[-1] == float("inf"), name
            assert [v for sample, _, v in got if sample == name + "_count"] == [steps[-1]], name
            assert len(got) == len(steps) + 2 and (300 in bounds) == (name in FOR_CALLS), name


def by_route(w, name):
    got = collections.Counter()
    for n, have, v in w.metrics():
        if n == name:
            got[have["route"]] += int(v)
    return got


def test_sums_agree_under_traffic_of_every_kind(weir):
    w = weir(policies={"t": {"retry": 1, "when": [503], "backoff": {"base": "1ms"}}, "p": {"rate": "1/h", "burst": 30}}, use=["p", "t"],
             route={"match": {"path": "/a*"}}, serve=lambda r: response({"/a1": 200, "/a2": 503, "/a3": 404}[r.path], b"x" * 10))
    paths = ["/a1", "/a2", "/a3", "/none", "/a1"]
    harness.parallel(5, lambda i: w.statuses(10, paths[i]))
    H2Client(w.client()).fetch("/a1", None)
    w.client().send(b"junk\r\n\r\n").refused(400)
    calls = by_route(w, "weir_requests_total")
    assert calls == {"app": 41, "_none": 11} == by_route(w, "weir_request_duration_seconds_count") == by_route(w, "weir_response_start_seconds_count")
    assert w.metric("weir_overhead_seconds_count") == 52 == len(w.access(52))
    assert by_route(w, "weir_rejections_total") == {"app": 11, "_none": 11} and w.metric("weir_limit_decisions_total", decision="deny") == 11
    tries = w.metric("weir_upstream_attempts_total")
    assert tries == 30 + w.metric("weir_retries_total", reason="status") == w.metric("weir_upstream_attempt_duration_seconds_count")
    assert w.metric("weir_response_bytes_total", route="app") >= 300


def test_a_call_that_ends_without_an_answer(weir):
    w = weir()
    c = w.client().ask()
    w.upstream.expect_request()
    c.reset()
    w.wait_metric("weir_client_aborts_total", 1, route="app")
    assert w.metric("weir_requests_total", route="app", code="0") == 1 == w.metric("weir_request_duration_seconds_count", route="app")
    assert w.metric("weir_upstream_attempts_total", result="aborted") == 1 and w.metric("weir_response_start_seconds_count", route="app") == 0


# ---- nothing grows

def test_clients_make_no_series(weir):
    w = weir(serve=True, policies={"p": {"rate": "1000/s", "key": "header.x-user"}, "q": {"rate": "1000/s", "key": "query.k"}}, use=["p", "q"],
             route={"match": {"path": "/a/*"}}, log={"access": "none"})

    def call(i):
        for p in ("/a", "/zzq"):
            w.fetch(f"{p}/zzq{i}?k=zzq{i}", host=f"zzq{i}.example", method=f"ZZQ{i}", headers={
                "X-User": f"zzq{i}", "User-Agent": f"zzq{i}", "X-Request-Id": f"zzq{i}", "Content-Type": f"application/zzq{i}", "Cookie": f"zzq{i}=1"})

    call(0)
    before = w.probe("/metrics").body
    for i in range(1, 40):
        call(i)
    after = w.probe("/metrics").body
    assert b"zzq" not in after.lower() and before.count(b"\n") == after.count(b"\n")


def test_upstreams_make_few_series(weir):
    codes = iter(range(200, 600))
    w = weir(serve=lambda r: response(next(codes), b""), log={"access": "none"})
    for _ in range(100):
        w.statuses(4)
    got = [have["code"] for n, have, _ in w.metrics() if n == "weir_requests_total" and have["route"] == "app"]
    assert len(got) <= 70 and "_OTHER" in got and w.metric("weir_requests_total", route="app") == 400


# ---- reloads

def test_no_counter_falls_with_a_reload(weir):
    w = weir(serve=True, policies=POLICIES | {"shared": {"rate": "9/s"}}, use=["p", "b", "c", "t", "few"])
    w.statuses(10)
    before = counters(w)
    other = {"policies": {"p": {"rate": "5/s", "key": "client.ip"}, "b": {"breaker": 3}}, "use": ["b", "p"]}
    for change in (other, {"policies": {"p": {"concurrency": 3}}, "use": ["p"]}, {"policies": POLICIES | {"shared": {"rate": "9/s"}}, "use": ["p"]}):
        w.reload(**change)
        w.statuses(2)
        now = counters(w)
        assert not {k: v for k, v in fallen(before, now).items() if "limit" not in k[0] and "breaker" not in k[0]}
        before = now


def test_a_route_that_goes_is_there_while_it_has_calls(weir):
    w = weir()
    c = w.client().ask()
    wire = w.upstream.expect_request().wire
    w.reload(routes=[{"name": "other", "to": "app"}])
    assert w.metric("weir_requests_in_flight", route="app") == 1
    wire.answer()
    c.expect(200)
    w.wait_metric("weir_requests_in_flight", None, route="app")
    assert w.metric("weir_requests_total", route="other") == 0 and w.metric("weir_upstream_attempts_total", result="ok") == 1


def test_decisions_of_a_policy_that_changes_count_on(weir):
    w = weir(serve=True, policies={"p": {"rate": "5/h", "burst": 5}}, use=["p"])
    assert w.statuses(7).count(429) == 2
    w.reload(policies={"p": {"rate": "1/h", "algorithm": "fixed-window"}})
    w.statuses(1)
    assert w.metric("weir_limit_decisions_total", policy="p") == 8 and w.metric("weir_limit_decisions_total", policy="p", decision="deny") >= 2


def test_scrapes_while_it_reloads(weir):
    w = weir(serve=True, workers=2, policies={"p": {"rate": "1000/s"}}, use=["p"])
    over, wrong = threading.Event(), []

    def watch():
        had = {}
        while not over.is_set():
            now = counters(w)
            wrong.extend(fallen(had, now).items())
            had = now
            w.statuses(2)

    threads = [threading.Thread(target=watch, daemon=True) for _ in range(3)]
    for t in threads:
        t.start()
    for i in range(12):
        w.reload(policies={"p": {"rate": f"{i + 1}00/s"}, f"more{i}": {"rate": "1/s"}}, routes=[
            {"name": "app", "to": "app", "use": ["p"]}, {"name": f"r{i % 3}", "match": {"path": "/x"}, "to": "app", "use": [f"more{i}"]}])
    over.set()
    for t in threads:
        t.join(30)
        assert not t.is_alive()
    assert not wrong, wrong[:5]


# ---- the process

def test_of_the_process_what_proc_says(weir):
    w = weir(serve=True, nofile=4000)
    proc = f"/proc/{w.proc.pid}"
    assert w.metric("process_max_fds") == 4000 and abs(w.metric("process_open_fds") - len(os.listdir(f"{proc}/fd"))) <= 2
    assert abs(w.metric("process_start_time_seconds") - time.time()) < 60
    with open(f"{proc}/statm", encoding="ascii") as f:
        size, resident = (int(x) * os.sysconf("SC_PAGESIZE") for x in f.read().split()[:2])
    assert w.metric("process_virtual_memory_bytes") == pytest.approx(size, rel=0.2)
    assert w.metric("process_resident_memory_bytes") == pytest.approx(resident, rel=0.5)
    w.statuses(200)
    assert 0 < w.metric("process_cpu_seconds_total") < 60


def test_what_it_was_built_from(weir, run):
    w = weir()
    (_, labels, one), = [r for r in w.metrics() if r[0] == "weir_build_info"]
    assert one == 1 and labels["version"] in run("version").stdout and labels["openssl"].startswith("OpenSSL ")
    (_, labels, one), = [r for r in w.metrics() if r[0] == "weir_config_info"]
    assert one == 1 and re.fullmatch(r"[0-9a-f]{64}", labels["sha256"])


def test_a_scraper_of_another_format_gets_this_one(weir):
    w = weir()
    accept = "application/openmetrics-text;version=1.0.0,application/vnd.google.protobuf;q=0.9,text/plain;version=0.0.4;q=0.5"
    r = w.fetch("/metrics", addr=w.probes_addr, headers={"Accept": accept, "Accept-Encoding": "gzip"})
    assert r.get("content-type") == "text/plain; version=0.0.4; charset=utf-8" and not r.has("content-encoding") and families(r.body.decode())

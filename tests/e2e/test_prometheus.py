"""What is shipped for Prometheus and Grafana: rules and expressions are sound, tested, explained, ask for metrics that a
running Weir has, and a real Prometheus scrapes one and raises an alert.  The files of docker compose are played by processes."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest

import harness
import redis_server
import test_metrics
from harness import until

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "weir.rules.yml"
BOARD = json.loads((DEPLOY / "grafana" / "weir.json").read_text())
COMPOSE = DEPLOY / "compose"


def promtool(*args):
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions():
    """Of the dashboard, with what Grafana puts in place of its variables."""
    found = [t["expr"] for p in BOARD["panels"] for t in p.get("targets", [])] + [a["expr"] for a in BOARD["annotations"]["list"]]
    return [re.sub(r"\$(job|instance|route)\b", ".*", e.replace("$__rate_interval", "1m")) for e in found]


def test_the_alerts_are_sound_and_fire_where_they_should():
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(DEPLOY / "prometheus" / "weir.test.yml"))


def test_every_alert_is_tried_where_it_fires_and_where_it_does_not():
    yaml = pytest.importorskip("yaml")
    alerts = {r["alert"]: r for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"] if "alert" in r}
    tried = [t for test in yaml.safe_load((RULES.parent / "weir.test.yml").read_text())["tests"] for t in test.get("alert_rule_test", ())]
    assert {t["alertname"] for t in tried if t.get("exp_alerts")} == set(alerts) == {t["alertname"] for t in tried if not t.get("exp_alerts")}
    for name, rule in alerts.items():
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"} and rule["labels"]["severity"] in ("page", "ticket"), name
        assert set(rule["annotations"]) == {"summary", "runbook"} and "{{" in rule["annotations"]["summary"], name


# What an operator reads elsewhere: ctl, or the number beside it.
NOT_DRAWN = {"process_virtual_memory_bytes"}


def test_the_dashboard_draws_every_metric():
    asked = set(re.findall(r"(?:weir|process)_[a-z0-9_]+", " ".join(expressions())))
    wanted = {*test_metrics.GAUGES, *test_metrics.COUNTERS, *(f"{h}_bucket" for h in test_metrics.HISTOGRAMS)}
    assert not wanted - asked - NOT_DRAWN


def test_what_rules_and_dashboards_ask_for_exists(weir):
    w = weir(serve=True, policies={"p": {"rate": "1/s"}, "b": {"breaker": 5}, "c": {"concurrency": 1, "queue": 1}}, use=["p", "b", "c"])
    w.fetch("/")
    text = w.probe("/metrics").body.decode()
    there = set(re.findall(r"^# TYPE (\S+)", text, re.M)) | set(re.findall(r"^# HELP (\S+)", text, re.M))
    for path in [RULES, *DEPLOY.glob("grafana/*.json")]:
        asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"(?<![\w:])(?:weir|process)_[a-z0-9_]+(?![\w:])", path.read_text())}
        assert asked <= there, f"{path.name}: {asked - there}"


def test_every_expression_of_the_dashboard_is_parsed(tmp_path):
    rules = {"groups": [{"name": "board", "rules": [{"record": f"e{i}", "expr": e} for i, e in enumerate(expressions())]}]}
    (tmp_path / "board.yml").write_text(json.dumps(rules))
    promtool("check", "rules", "--lint=none", str(tmp_path / "board.yml"))


def test_the_dashboard_holds_together():
    boxes = [(p["gridPos"], p["title"]) for p in BOARD["panels"]]
    assert len({p["id"] for p in BOARD["panels"]}) == len(boxes) == len({title for _, title in boxes})
    for i, (a, name) in enumerate(boxes):
        assert a["x"] + a["w"] <= 24
        for b, other in boxes[:i]:
            apart = a["x"] >= b["x"] + b["w"] or b["x"] >= a["x"] + a["w"] or a["y"] >= b["y"] + b["h"] or b["y"] >= a["y"] + a["h"]
            assert apart, f"{name} lies over {other}"
    variables = {v["name"] for v in BOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(BOARD["panels"]))) <= variables, "a variable that there is not"


# ---------------------------------------------------------------- a real one

class Prometheus:
    """Scrapes three times a second, with the shipped rules, whose `for` and ranges are made short.  A scrape may take as long
    as lies between two: on a machine that is busy one fails now and then, and WeirDown fires until the next."""

    def __init__(self, folder, target):
        folder.mkdir()
        self.addr = f"127.0.0.1:{harness.free_port()}"
        rules = re.sub(r"for: \w+", "for: 0s", RULES.read_text())
        (folder / "weir.rules.yml").write_text(re.sub(r"\[(5|10)m\]", "[3s]", rules))
        config = (COMPOSE / "prometheus.yml").read_text().replace("weir:9902", target).replace("5s", "300ms")
        (folder / "prometheus.yml").write_text(config)
        self.log = open(folder / "log", "wb")
        self.proc = subprocess.Popen(["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                      f"--web.listen-address={self.addr}"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until(lambda: self.ask("/-/ready", raw=True), "Prometheus is ready", timeout=30, every=0.1)

    def ask(self, path, raw=False, **query):
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://{self.addr}{path}?{urllib.parse.urlencode(query)}", timeout=10) as r:
                return True if raw else json.load(r)["data"]

    def value(self, expr):
        got = self.ask("/api/v1/query", query=expr)
        return float(got["result"][0]["value"][1]) if got and got["result"] else None

    def without_answer(self, exprs):
        """Those that nothing is found for; one that is no question raises."""
        return [e for e in exprs if not until(lambda: self.ask("/api/v1/query", query=e), "Prometheus answers")["result"]]

    def firing(self):
        alerts = until(lambda: self.ask("/api/v1/alerts"), "Prometheus answers")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def end(self):
        self.proc.terminate()
        self.proc.wait(20)
        self.log.close()


@pytest.fixture
def prometheus(tmp_path):
    made = []

    def make(target):
        made.append(Prometheus(tmp_path / "prometheus", target))
        return made[-1]

    yield make
    for p in made:
        p.end()


def test_a_real_prometheus_scrapes_it_and_an_alert_fires_and_ends(weir, prometheus):
    w = weir(serve=True, policies={"b": {"breaker": 2, "open_for": "60s"}}, use=["b"])
    p = prometheus(w.probes_addr)
    until(lambda: p.value('up{job="weir"}') == 1, "it is scraped", timeout=15)
    until(lambda: not p.firing() - {"WeirUpstreamFails"}, "no other alert fires", timeout=15)
    w.allow("lissen|reload|not loaded")
    w.reload("version: 1\nlissen: x\n", good=False)
    until(lambda: "WeirReloadFailed" in p.firing(), "the alert fires", timeout=15)
    w.reload(policies={"b": {"breaker": 2, "open_for": "60s"}})
    until(lambda: "WeirReloadFailed" not in p.firing(), "and ends", timeout=15)
    w.upstream.serve(lambda _: harness.response(500, b"no"))
    w.statuses(5)
    until(lambda: "WeirBreakerOpen" in p.firing(), "the breaker is open", timeout=15)


def test_an_alert_that_it_is_down(weir, prometheus):
    w = weir(serve=True)
    p = prometheus(w.probes_addr)
    until(lambda: p.value('up{job="weir"}') == 1, "it is scraped", timeout=15)
    w.kill()
    until(lambda: "WeirDown" in p.firing(), "it is down", timeout=15)


def test_an_alert_that_traces_are_lost(weir, prometheus):
    nobody = f"127.0.0.1:{harness.free_port()}"
    w = weir(serve=True, tracing={"endpoint": f"http://{nobody}", "queue": "64KiB", "interval": "10ms"})
    p = prometheus(w.probes_addr)
    until(lambda: p.value('up{job="weir"}') == 1, "it is scraped", timeout=15)
    until(lambda: w.statuses(50) and "WeirTracesLost" in p.firing(), "spans are dropped", timeout=15)


# ---------------------------------------------------------------- docker compose, by processes

def compose():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]


def test_the_services_are_there_and_find_what_they_mount():
    services = compose()
    assert set(services) == {"app", "redis", "weir", "prometheus", "grafana"}
    for name, s in services.items():
        assert set(s) <= {"image", "command", "volumes", "read_only", "user", "restart", "healthcheck", "build", "ports", "cap_drop",
                          "security_opt", "stop_grace_period", "depends_on", "environment"}, name
        assert set(s.get("depends_on", ())) <= set(services)
        for source, target, *_ in (v.split(":") for v in s.get("volumes", ())):
            assert (COMPOSE / source).exists() and target.startswith("/"), source
    assert (COMPOSE / services["weir"]["build"]["context"] / services["weir"]["build"]["dockerfile"]).exists()
    drain = re.search(r"delay: (\d+)s, drain: (\d+)s", (COMPOSE / "weir/weir.yaml").read_text())
    assert int(services["weir"]["stop_grace_period"][:-1]) > int(drain[1]) + int(drain[2])


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose")
def test_docker_compose_takes_it(tmp_path):
    """Debian's, which is of before `name:`; it asks no daemon."""
    text = (COMPOSE / "compose.yaml").read_text()
    (tmp_path / "good.yaml").write_text(re.sub(r"^name:.*\n", "", text, flags=re.M))
    (tmp_path / "bad.yaml").write_text(re.sub(r"^name:.*\n", "", text, flags=re.M).replace("cap_drop", "cap_dropp"))
    for name, status in (("good", 0), ("bad", 1)):
        done = subprocess.run(["docker-compose", "--project-directory", str(COMPOSE), "-f", str(tmp_path / f"{name}.yaml"), "config", "-q"],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stdout + done.stderr


def test_every_image_is_of_one_version():
    images = {s["image"] for s in compose().values()} - {"weir"}
    assert len(images) == 4 and all(re.search(r":v?\d+\.\d+\.\d+", i) for i in images), images


@pytest.mark.skipif(not redis_server.BINARY, reason="no redis-server")
def test_played_by_processes_every_panel_has_an_answer(weir, prometheus, tmp_path):
    """App, Redis, Weir and Prometheus with the files of docker compose, but for their addresses; then the dashboard's questions."""
    app = f"127.0.0.1:{harness.free_port()}"
    demo = subprocess.Popen(["/usr/bin/python3", str(DEPLOY / "demo/upstream"), "--listen", app], stdin=subprocess.DEVNULL)
    redis = redis_server.Redis(tmp_path / "redis")
    try:
        text = (COMPOSE / "weir/weir.yaml").read_text().replace("redis:6379", f"127.0.0.1:{redis.port}").replace("app:3000", app)
        text = text.replace("{", "{{").replace("}", "}}")
        text = text.replace("0.0.0.0:8080", "{listen}").replace("0.0.0.0:9902", "{probes}").replace("127.0.0.1:9901", "{admin}")
        w = weir(yaml=text, checks=False)
        p = prometheus(w.probes_addr)
        until(lambda: w.fetch("/").status == 200, "the app answers", timeout=30)
        until(lambda: p.value("weir_redis_up") == 1, "Redis is there", timeout=15)
        for _ in range(6):
            w.statuses(20)
        until(lambda: (p.value('sum(increase(weir_rejections_total{reason="rate_limited"}[1m]))') or 0) > 0, "refusals", timeout=15)
        wanted = [e for e in expressions() if not re.search(r"(> 0|== 0)$", e) and "_certificate_" not in e]  # no TLS there
        until(lambda: not p.without_answer(wanted), "every panel has an answer", timeout=15, every=0.2)
        p.without_answer(expressions())
        for rule in ("route:weir_requests:rate5m", "weir_overhead:p99_5m"):
            until(lambda r=rule: p.value(r) is not None, rule, timeout=15)
    finally:
        demo.terminate()
        demo.wait(10)
        redis.kill()

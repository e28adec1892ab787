"""What is shipped for Prometheus: the rules are sound, tested, explained, and ask for metrics that a running Weir has."""

import pathlib
import re
import subprocess

import harness

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "weir.rules.yml"


def promtool(*args):
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_are_sound_and_fire_where_they_should():
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(DEPLOY / "prometheus" / "weir.test.yml"))


def test_what_rules_and_dashboards_ask_for_exists(weir):
    w = weir(serve=True, policies={"p": {"rate": "1/s"}, "b": {"breaker": 5}, "c": {"concurrency": 1, "queue": 1}}, use=["p", "b", "c"])
    w.fetch("/")
    text = w.probe("/metrics").body.decode()
    there = set(re.findall(r"^# TYPE (\S+)", text, re.M)) | set(re.findall(r"^# HELP (\S+)", text, re.M))
    for path in [RULES, *DEPLOY.glob("grafana/*.json")]:
        asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"(?<![\w:])(?:weir|process)_[a-z0-9_]+(?![\w:])", path.read_text())}
        assert asked <= there, f"{path.name}: {asked - there}"

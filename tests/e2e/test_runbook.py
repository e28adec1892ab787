"""The runbook: a paragraph for every alert and none for others, commands that there are, words that the access log has."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import harness

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
RUNBOOK = (DEPLOY / "runbook.md").read_text()
RULES = (DEPLOY / "prometheus/weir.rules.yml").read_text()
SIZING = (DEPLOY / "sizing.md").read_text()


def test_every_alert_has_its_paragraph():
    headings = re.findall(r"^### (\w+)$", RUNBOOK, re.M)
    alerts = re.findall(r"alert: (\w+)\n(?:.*\n)*?.*runbook: deploy/runbook\.md#(\S+)", RULES)
    assert len(alerts) == RULES.count("alert: ") and {anchor for _, anchor in alerts} == {h.lower() for h in headings}
    for name, anchor in alerts:
        paragraph = re.search(rf"^### {anchor}$\n(.*?)(?=^###|\Z)", RUNBOOK, re.M | re.S | re.I)
        assert name.lower() == anchor or name in paragraph[1], name
        assert len(paragraph[1].split()) > 15, name


def commands():
    found = re.findall(r"^ {4}(weir [^#|\n…]*?)\s*(?:#.*|&&.*)?$", RUNBOOK, re.M) + re.findall(r"`(weir [a-z][^`]*)`", RUNBOOK)
    return sorted({c.strip() for c in found if "…" not in c})


def test_every_command_is_one_that_there_is(run):
    assert len(commands()) > 15
    for c in commands():
        words = c.split()
        topic = words[1:3] if words[1] == "ctl" else words[1:2]
        got = run("help", *topic)
        if got.returncode != 0 and words[1] == "ctl" and run("help", "ctl").returncode != 0:
            continue  # a build without it
        assert got.returncode == 0, c
        for option in re.findall(r"--[a-z-]+", c):
            assert option in got.stdout, f"{c}: {option}"


def test_the_orders_by_hand_do_what_it_says(weir, run):
    if run("help", "ctl").returncode != 0:
        pytest.skip("a build without ctl")
    w = weir(serve=True, policies={"per-client": {"rate": "1/h", "burst": 1, "key": "client.ip"}, "guard": {"breaker": "50%"}}, use=["per-client", "guard"])
    w.statuses(3)
    for c in commands():
        if not c.startswith("weir ctl") or re.search(r"\b(top|reload)\b|[A-Z]{3}", c):
            continue
        words = c.replace("203.0.113.9", "127.0.0.1").replace("10.0.0.7:3000", w.upstream.addr).split()[1:]
        got = run(*words, env={"WEIR_ADMIN": f"http://{w.admin_addr}"})
        assert got.returncode == 0 and got.stdout.strip(), f"{c}: {got.stdout}{got.stderr}"
    run("ctl", "undrain", env={"WEIR_ADMIN": f"http://{w.admin_addr}"})


def blocks():
    """What stands there to be typed, a paragraph each: the first look, and what to do."""
    text = RUNBOOK.split("**First look**", 1)[1].split("## What to do", 1)
    text = text[0] + text[1].split("\n## ", 1)[0]
    return [b.replace("weir ctl top", "weir ctl top --once") for b in re.findall(r"(?:^ {4}\S.*\n)+", text, re.M)]


@pytest.mark.skipif(not shutil.which("jq"), reason="no jq")
def test_every_block_runs_as_printed(weir, tmp_path):
    """By a shell that ends at the first command that fails; addresses and the file are this Weir's."""
    w = weir(serve=True, policies={"per-client": {"rate": "1/h", "burst": 1, "key": "client.ip"}, "guard": {"breaker": "50%"}}, use=["per-client", "guard"])
    good = w.config().replace("1/h", "2/h")
    (tmp_path / "weir").symlink_to(w.binary)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "WEIR_ADMIN": f"http://{w.admin_addr}"}
    w.allow("drain|forced|by order")
    for i, b in enumerate(blocks(), 1):
        w.statuses(2)
        w.access(2 * i)
        (tmp_path / "weir.yaml.good").write_text(good)
        b = b.replace("/etc/weir/weir.yaml", w.path).replace("10.0.0.7:3000", w.upstream.addr).replace("…", f"cat {w.out_path}")
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", b], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and done.stdout.strip(), f"{b}exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert len(blocks()) > 6 and pathlib.Path(w.path).read_text() == good and w.reloads() == 1


def test_words_that_are_quoted_are_ones_that_there_are(run):
    """Those with an underscore: keys of the configuration, fields and reasons of the access log, metrics."""
    there = run("reference").stdout + (DEPLOY.parent / "proxy/base/reason.def").read_text()
    there += "".join(p.read_text() for p in (DEPLOY.parent / "proxy").rglob("*.c"))
    words = set(re.findall(r"`([a-z]+_[a-z_]+)`", RUNBOOK))
    assert len(words) > 8 and not [w for w in words if not re.search(rf"\b{w}\b", there)]


def test_what_it_reads_in_the_access_log_is_there(weir):
    w = weir(serve=True, policies={"p": {"rate": "1/h", "key": "client.ip"}, "c": {"concurrency": 1, "queue": 1}}, use=["p", "c"])
    w.statuses(2)
    w.upstream.refuse()
    lines = w.access(2)
    asked = set(re.findall(r'\."?([a-z_.]+)"?(?=[,>= \]])', "\n".join(x for x in RUNBOOK.split("\n") if "| jq" in x)))
    assert asked >= {"outcome", "reason", "key.hash", "duration"}
    source = "\n".join(p.read_text() for p in (DEPLOY.parent / "proxy/core").glob("access_l*.c"))
    assert all(f"{name}" in lines[0] or name in lines[1] or f'"{name}"' in source for name in asked), asked
    assert lines[1]["outcome"] == "denied" and lines[1]["reason"] == "rate_limited"
    assert harness.until(lambda: w.metric("weir_rejections_total", reason="rate_limited") == 1)


def test_what_sizing_says_can_be_measured_again():
    known = re.search(r"^MEMORY = \{\n(.*?)^\}", (DEPLOY.parent / "tests/bench/sizing").read_text(), re.M | re.S)[1]
    rows = {r for names in re.findall(r"`--only ([\w,-]+)`", SIZING) for r in names.split(",")}
    assert len(rows) > 6 and all(f'"{r}": (' in known for r in rows)


def test_the_example_of_sizing_adds_up_and_is_what_the_manifests_ask_for():
    parts, together = re.search(r"^(\| process, log .*?)^(\| together .*?)$", SIZING, re.M | re.S).groups()
    rows = [re.findall(r"([\d.]+) MB \|", line) for line in parts.strip().split("\n")]
    limits = re.findall(r"(\d+)Mi", re.search(r"^\| \*\*limits.memory.*$", SIZING, re.M)[0])
    for column, folder in enumerate(("base/deployment.yaml", "overlays/production/sidecar.yaml")):
        total = sum(float(r[column]) for r in rows)
        assert abs(total - float(re.findall(r"[\d.]+", together)[column])) < 0.05 and total * 1.2 < int(limits[column]) * 2**20 / 1e6
        assert f"limits: {{ memory: {limits[column]}Mi }}" in (DEPLOY / "kubernetes" / folder).read_text()

"""weir import-nginx: what it says, what it writes, how it ends."""

import json
import re
import subprocess

import pytest

FINE = """limit_req_zone $binary_remote_addr zone=one:1m rate=10r/s;
server {
    listen 127.0.0.1:8080;
    location / { limit_req zone=one burst=5 nodelay; proxy_pass http://127.0.0.1:3000; proxy_set_header Host $host; }
}
"""
LOSING = FINE.replace("proxy_pass", "proxy_cache zone1; proxy_pass")


def test_nothing_lost(run, policy, tmp_path):
    got = run("import-nginx", policy(FINE, "nginx.conf"), "-o", tmp_path / "out.yaml")
    assert got.returncode == 0, got.stderr
    assert "7 directives: 7 exact, 0 adapted" in got.stdout
    assert "# nginx.conf:4" in (tmp_path / "out.yaml").read_text()
    assert run("check", "--strict", "-c", tmp_path / "out.yaml").returncode == 0


def test_something_lost(run, policy, tmp_path):
    got = run("import-nginx", policy(LOSING, "nginx.conf"))
    assert got.returncode == 3
    assert re.search(r"nginx\.conf:4: lost: proxy_cache zone1 \(.+\)", got.stderr)
    assert run("check", "--strict", "-c", policy(got.stdout)).returncode == 0


def test_strict_writes_nothing(run, policy, tmp_path):
    got = run("import-nginx", "--strict", policy(LOSING, "nginx.conf"), "-o", tmp_path / "out.yaml")
    assert got.returncode == 1 and "lost: proxy_cache" in got.stdout
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize("text,say", [
    ("server { listen 80", 'unexpected end of file, expecting ";" or "}" in {path}:1'),
    ("http {\n gzip maybe; }", 'invalid value "maybe" in "gzip" directive, it must be "on" or "off" in {path}:2'),
    ("include no.conf;", 'failed (2: No such file or directory) in {path}:1'),
])
def test_what_cannot_be_read(run, policy, tmp_path, text, say):
    path = policy(text, "nginx.conf")
    got = run("import-nginx", path, "-o", tmp_path / "out.yaml")
    assert got.returncode == 1 and say.replace("{path}", str(path)) in got.stderr
    assert not (tmp_path / "out.yaml").exists()


def test_nothing_left(run, policy):
    got = run("import-nginx", policy("events { }", "nginx.conf"))
    assert got.returncode == 1 and got.stdout == "" and "nothing is left to serve" in got.stderr


def test_json_report(run, policy, tmp_path):
    got = run("import-nginx", "--report", "json", policy(LOSING, "nginx.conf"), "-o", tmp_path / "out.yaml")
    report = json.loads(got.stdout)
    assert report["summary"]["lost"] == 1 and report["error"] is None
    assert [d["line"] for d in report["directives"] if d["class"] == "lost"] == [4]


def test_standard_input(binary):
    got = subprocess.run([binary, "import-nginx", "-"], input=FINE, capture_output=True, text=True, check=False)
    assert got.returncode == 0 and "# stdin:4" in got.stdout


def test_version(run, policy):
    path = policy(FINE.replace("listen", "http2 on; listen"), "nginx.conf")
    assert run("import-nginx", path).returncode == 0
    got = run("import-nginx", "--nginx-version", "1.24.0", path)
    assert got.returncode == 3 and "unknown: http2 on" in got.stderr
    assert run("import-nginx", "--nginx-version", "new", path).returncode == 2


def test_includes(run, policy, tmp_path):
    policy("server { listen 127.0.0.1:81; location / { proxy_pass http://a; } }", "sites/a.conf")
    got = run("import-nginx", policy("events { } http { include sites/*.conf; }", "nginx.conf"))
    assert got.returncode == 0 and "# sites/a.conf:1" in got.stdout

"""Access logs of an nginx.conf: the same calls, and line by line the same text from the real nginx and from Weir."""

import os
import re
import socket
import time

import pytest

import harness
from nginx_both import NGINX, needs_nginx, serving

pytestmark = needs_nginx
HEAD = """daemon off; master_process off; pid {logs}/pid; error_log {logs}/error.log info; events {{ }}
http {{ access_log off; default_type text/plain; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
"""
APP = """server { listen 127.0.0.1:APP; location / { return 200 "app"; } location /500 { return 500; } location /slow { proxy_pass http://127.0.0.1:9; } }
"""


def say(port, text):
    """The whole answer to what is sent as it stands."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(text.replace("\n", "\r\n").encode("latin-1"))
        got = b""
        while chunk := s.recv(65536):
            got += chunk
    return got


def get(path, fields="", version="1.0", method="GET"):
    return f"{method} {path} HTTP/{version}\nHost: a.org\nConnection: close\n{fields}\n"


def read_logs(folder):
    time.sleep(0.3)
    found = {f.name: f.read_text("latin-1") for f in folder.iterdir() if f.name.endswith(".log") and f.name != "error.log"}
    return {name: re.sub(r"\b\d+\.\d{3}\b", "0.000", text) for name, text in found.items()}


@pytest.fixture
def logs(run, binary, tmp_path):
    def compare(servers, *requests):
        port, app, dead = (harness.free_port() for _ in range(3))
        seen = []
        for player in ("nginx", "weir"):
            folder = tmp_path / player
            folder.mkdir()
            text = HEAD.format(folder=tmp_path, logs=folder) + APP * (player == "nginx") + servers + "\n}"
            for name, value in (("LOGS", folder), ("PORT", port), ("APP", app), ("DEAD", dead)):
                text = text.replace(name, str(value))
            (folder / "nginx.conf").write_text(text)
            (tmp_path / "app.conf").write_text((HEAD.format(folder=tmp_path, logs=tmp_path) + APP + "}").replace("APP", str(app)))
            command = [NGINX, "-p", folder, "-c", folder / "nginx.conf"]
            apps = []
            if player == "weir":
                got = run("import-nginx", str(folder / "nginx.conf"), "-o", "weir.yaml")
                assert got.returncode == 0, got.stdout + got.stderr
                command = [binary, "run", "-c", tmp_path / "weir.yaml"]
                apps = [NGINX, "-p", tmp_path, "-c", tmp_path / "app.conf"]
            with serving(apps or ["sleep", "100"], app if apps else port) if apps else open(os.devnull):
                with serving(command, port):
                    for r in requests:
                        say(port, r)
                    seen.append(read_logs(folder))
        assert seen[0] == seen[1]
        return seen[1]
    yield compare
    harness.release_ports()


def server(*lines):
    return "server { listen 127.0.0.1:PORT; server_name a.org; " + "\n".join(lines) + " }"


def test_combined(logs):
    conf = server("access_log LOGS/a.log;", 'location / { return 200 "hello"; }')
    calls = [get("/x?y=1", 'Referer: http://r/\nUser-Agent: a"b\\c\n'), get("/%41b", "Authorization: Basic am9lOng=\n")]
    def no_time(text):
        return re.sub(r"\[[^]]+\]", "[]", text)
    seen = logs(conf.replace("access_log LOGS/a.log", "access_log LOGS/a.log f") .replace("server {", """log_format f '$remote_addr - $remote_user "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'; server {""", 1), *calls)
    assert 'joe "GET /%41b HTTP/1.0" 200 5 "-" "-"' in no_time(seen["a.log"])


def test_request_values(logs):
    form = "log_format f '$uri|$request_uri|$args|$arg_a|$cookie_c|$http_x_a|$request_method|$server_protocol|$scheme|$host|$server_name|$server_port|$server_addr|$is|$request_length';"
    conf = form.replace("$is|", "") + server("access_log LOGS/a.log f;", 'location / { return 204; }')
    seen = logs(conf, get("/a%20b/../c//d?a=1&b=2", "Cookie: c=v; d=w\nX-A: é\n"), get("/", version="1.1"), get("/%22%5c%c3%a9", method="HEAD"))
    assert "/c/d|/a%20b/../c//d?a=1&b=2|a=1&b=2|1|v|" in seen["a.log"]


def test_answer_values(logs):
    form = "log_format f '$status $bytes_sent $body_bytes_sent $sent_http_x_a $sent_http_content_length $request_time';"
    conf = form.replace("$bytes_sent ", "") + server(
        "access_log LOGS/a.log f;", "add_header X-A yes;", 'location / { return 200 "hello"; }', "location /no { return 404 gone; }")
    assert logs(conf, get("/"), get("/no"), get("/", method="HEAD"))["a.log"].startswith("200 5 yes 5 ")


def test_tries(logs):
    form = "log_format f '$uri $status $upstream_addr $upstream_status $upstream_response_time $upstream_connect_time $upstream_header_time $upstream_http_content_type';"
    conf = form + "upstream u { server 127.0.0.1:DEAD max_fails=0; server 127.0.0.1:APP; }" + server(
        "access_log LOGS/a.log f;", "location / { proxy_pass http://u; }", "location /dead { proxy_pass http://127.0.0.1:DEAD; }")
    seen = logs(conf, get("/"), get("/500"), get("/dead"))
    assert re.search(r"^/dead 502 127.0.0.1:\d+ 502 0.000 - - -$", seen["a.log"], re.M)
    assert re.search(r"^/ 200 127.0.0.1:\d+, 127.0.0.1:\d+ 502, 200 0.000, 0.000 -, 0.000 -, 0.000 text/plain$", seen["a.log"], re.M)


@pytest.mark.parametrize("escape", ["default", "json", "none"])
def test_escapes(logs, escape):
    conf = f"log_format f escape={escape} '$uri|$http_x_a|$arg_none';" + server("access_log LOGS/a.log f;", "location / { return 200; }")
    logs(conf, get("/%22%5c%0a%01%c3%a9%7f", 'X-A: a"b\\c\td\xc3\xa9\n'))


def test_conditions_and_several(logs):
    conf = """log_format f '$uri'; map $status $failed { ~^[23] 0; default 1; } map $arg_m $mapped { yes 1; ~*^al 1; default ""; }""" + server(
        "access_log LOGS/a.log f if=$arg_log; access_log LOGS/b.log f; access_log LOGS/f.log f if=$failed;",
        "location / { return 200; }", "location /off { access_log off; return 200; }", "location /own { access_log LOGS/own.log f; return 404; }",
        "location /no { return 404; }", "location /m { access_log LOGS/m.log f if=$mapped; return 200; }")
    paths = ["/", "/?log=1", "/?log=0", "/?log=", "/off", "/own", "/no", "/m?m=yes", "/m?m=YES", "/m?m=Alx", "/m?m=no", "/m"]
    seen = logs(conf, *(get(p) for p in paths))
    assert seen["own.log"] == "/own\n" and seen["f.log"] == "/no\n" and seen["m.log"] == "/m\n" * 3


def test_limits(logs):
    conf = """log_format f '$uri $status $limit_req_status $limit_conn_status'; limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;
limit_conn_zone $binary_remote_addr zone=c:1m; """ + server(
        "access_log LOGS/a.log f;", "location / { proxy_pass http://127.0.0.1:APP; limit_req zone=one; limit_conn c 5; }",
        "location /dry { proxy_pass http://127.0.0.1:APP; limit_req zone=one; limit_req_dry_run on; }", "location /free { return 200; }")
    seen = logs(conf, get("/"), get("/"), get("/dry"), get("/free"))
    assert [line.split()[2] for line in seen["a.log"].splitlines()] == ["PASSED", "REJECTED", "REJECTED_DRY_RUN", "-"]


def test_connections(logs):
    conf = "log_format f '$uri $connection_requests $pipe $http_x_forwarded_for $proxy_add_x_forwarded_for $proxy_host $proxy_port';" + server(
        "access_log LOGS/a.log f;", "location / { return 200; }", "location /p { proxy_pass http://127.0.0.1:APP; }")
    two = "GET /1 HTTP/1.1\nHost: a.org\n\nGET /2 HTTP/1.1\nHost: a.org\nConnection: close\n\n"
    seen = logs(conf, two, get("/p", "X-Forwarded-For: 10.0.0.1, 10.0.0.2\n"))
    assert seen["a.log"].startswith("/1 1 . ")

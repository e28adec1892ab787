"""Access logs of an nginx.conf: the same calls, and line by line the same text from the real nginx and from Weir."""

import contextlib
import itertools
import os
import re
import socket
import struct
import subprocess
import threading

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
    found = {f.name: f.read_text("latin-1") for f in folder.iterdir() if f.name.endswith(".log") and f.name != "error.log"}
    return {name: re.sub(r"\b\d+\.\d{3}\b", "0.000", text) for name, text in found.items()}


def wait_for(check):
    """What does not come true is shown by whoever compares."""
    with contextlib.suppress(AssertionError):
        harness.until(check)


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
                    if player == "weir":  # which writes beside its answers
                        wait_for(lambda: read_logs(folder) == seen[0])
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


def words(text):
    """Lines without what differs from one run to another."""
    for pattern, instead in ((r"^\S+ \S+ ", ""), (r"\d+#\d+: \*\d+", "N"), (r"excess: 0\.\d+", "excess: 0.x"), (r"excess: 1\.000", "excess: 0.x"), ("/(nginx|weir)/none", "/none")):
        text = re.sub(pattern, instead, text, flags=re.M)
    return [line for line in text.splitlines() if "N " in line and not re.search("closed keepalive|waiting for request", line)]


def told(folder):
    return {f.name: words(f.read_text("latin-1")) for f in folder.iterdir() if f.name.endswith(".log")}


@pytest.fixture
def errors(binary, tmp_path):
    def compare(servers, *requests):
        port, dead = harness.free_port(), harness.free_port()
        seen = []
        for player, command in (("nginx", [NGINX]), ("weir", [binary, "run", "--nginx-conf"])):
            folder = tmp_path / player
            folder.mkdir()
            text = (HEAD.format(folder=tmp_path, logs=folder) + servers + "\n}").replace("LOGS", str(folder))
            (folder / "nginx.conf").write_text(text.replace("PORT", str(port)).replace("DEAD", str(dead)))
            last = [str(folder / "nginx.conf")] if player == "weir" else ["-p", folder, "-c", folder / "nginx.conf"]
            with serving(command + last, port):
                for r in requests:
                    say(port, r)
                wait_for(lambda: player == "nginx" or told(folder) == seen[0])
            seen.append(told(folder))
        differ = [(n, w) for name in seen[0] for n, w in itertools.zip_longest(seen[0][name], seen[1][name]) if n != w]
        assert not differ, "\n".join(f"nginx {n}\nweir  {w}" for n, w in differ)
        return seen[1]
    yield compare
    harness.release_ports()


LIMITS = """limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m; limit_conn_zone $binary_remote_addr zone=c:1m; """


def test_words_of_limits(errors):
    conf = LIMITS + server("location / { limit_req zone=one; proxy_pass http://127.0.0.1:DEAD; }",
                           "location /dry { limit_req zone=one; limit_req_dry_run on; proxy_pass http://127.0.0.1:DEAD; }",
                           "location /low { limit_req zone=one; limit_req_log_level notice; proxy_pass http://127.0.0.1:DEAD; error_log LOGS/low.log info; }")
    seen = errors(conf, get("/"), get("/"), get("/dry"), get("/low"))
    assert len(seen["error.log"]) == 4 and "limiting requests, dry run" in seen["error.log"][2]


def test_words_of_upstreams(errors):
    conf = "upstream u { server 127.0.0.1:DEAD max_fails=2; server 127.0.0.1:1; } " + server(
        "location / { proxy_pass http://127.0.0.1:DEAD; }", "location /u { proxy_pass http://u/x; }",
        "location /unix { proxy_pass http://unix:LOGS/none:/; }")
    seen = errors(conf, get("/"), get("/u/1"), get("/u/2"), get("/u/3"), get("/unix"))
    assert seen["error.log"][0].startswith('[error] N connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1,')


def test_words_of_requests(errors):
    conf = server("location /deny { deny all; return 200; proxy_pass http://127.0.0.1:DEAD; } location /shut { deny 127.0.0.1; proxy_pass http://127.0.0.1:DEAD; }",
                  "location / { client_max_body_size 5; proxy_pass http://127.0.0.1:DEAD; }", "location /quiet { error_log LOGS/q.log crit; client_max_body_size 5; proxy_pass http://127.0.0.1:DEAD; }")
    big = "POST {} HTTP/1.1\nHost: a.org\nContent-Length: 9\nConnection: close\n\n123456789"
    assert len(errors(conf, big.format("/"), big.format("/quiet"), get("/shut"), get("/deny"))["error.log"]) == 2


def test_log_that_cannot_be_opened(binary, tmp_path):
    for command in ([NGINX, "-p", tmp_path, "-c"], [binary, "run", "--nginx-conf"]):
        conf = HEAD.format(folder=tmp_path, logs=tmp_path) + "access_log /nowhere/a.log;" + server("").replace("PORT", str(harness.free_port())) + "}"
        (tmp_path / "n.conf").write_text(conf)
        got = subprocess.run(command + [tmp_path / "n.conf"], capture_output=True, text=True, timeout=20)
        assert got.returncode == 1 and re.search(r'\[emerg\].* open\(\) "/nowhere/a.log" failed \(2: No such file', got.stderr)


def break_off(server):
    """Answers by what is asked: not at all, with a reset, with what is no answer, with half of one."""
    answers = {b"/close": b"", b"/reset": None, b"/big": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000 + b"\r\n\r\n"}
    while asked := (c := server.accept()[0]).recv(65536):
        answer = answers.get(asked.split()[1], b"")
        if answer is None:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif answer:
            c.sendall(answer)
        c.close()


def test_words_of_broken_answers(errors):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=break_off, args=(server,), daemon=True)
        thread.start()
        conf = f"server {{ listen 127.0.0.1:PORT; server_name a.org; location / {{ proxy_pass http://127.0.0.1:{server.getsockname()[1]}; }} }}"
        seen = errors(conf, get("/close"), get("/reset"), get("/big"), get("/close"))
        socket.create_connection(server.getsockname()).close()
        thread.join(10)
    assert "recv() failed (104: Connection reset by peer) while reading response header from upstream" in seen["error.log"][1]

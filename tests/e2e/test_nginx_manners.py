"""Weir started where nginx was: its options, signals, pid file, words on stderr and in the error log.

    Hands     a folder with an nginx.conf, a link named `nginx` to Weir, and what was started there
"""

import os
import re
import signal
import socket
import subprocess

import pytest

from harness import TIMEOUT, Client, Upstream, connect, free_port, until

LOG_LINE = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[emerg\] \d+#\d+: ", re.M)


class Hands:
    def __init__(self, binary, folder):
        self.folder, self.port, self.procs = str(folder), free_port(), []
        os.makedirs(folder / "logs")
        os.makedirs(folder / "conf")
        self.nginx = str(folder / "nginx")
        os.symlink(binary, self.nginx)
        self.binary = binary
        self.write()

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def write(self, server='location / { return 200 "one"; }', main="daemon off;", http="", name="conf/nginx.conf"):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(f"{main}\nevents {{ }}\nhttp {{ access_log off; {http}\n"
                    f"server {{ listen 127.0.0.1:{self.port};\n{server}\n}} }}\n")

    def say(self, *args, binary=None):
        """Runs it to its end: exit status, stdout, stderr."""
        p = subprocess.run([binary or self.nginx, *args], capture_output=True, text=True, timeout=3 * TIMEOUT,
                           cwd=self.folder, check=False)
        return p.returncode, p.stdout, p.stderr

    def start(self, *args, command=None):
        p = subprocess.Popen(command or [self.nginx, "-p", self.folder, *args], cwd=self.folder,
                             stderr=subprocess.PIPE, text=True)
        self.procs.append(p)
        until(lambda: os.path.exists(self.path("logs/nginx.pid")) or p.poll() is not None or command, "a pid file")
        return p

    def get(self, path="/"):
        c = Client(connect(f"127.0.0.1:{self.port}"))
        c.ask(path, headers=[("Connection", "close")])
        answer = c.expect()
        c.close()
        return answer.status, bytes(answer.body)

    def serves(self, body):
        try:
            return self.get()[1] == body
        except OSError:
            return False


@pytest.fixture
def hands(binary, tmp_path):
    h = Hands(binary, tmp_path)
    yield h
    for p in h.procs:
        p.kill()
        p.wait()
        p.stderr.close()


# ---------------------------------------------------------------- what is refused, and in which words

EMERG = {
    'unknown directive "foo" in F:5': {"server": "foo on;"},
    'unknown directive "proxy_cache" in F:5': {"server": "location / { proxy_cache z; proxy_pass http://a; }"},
    '"location" directive is not allowed here in F:3': {"http": "location / { }"},
    'invalid number of arguments in "return" directive in F:5': {"server": "return 1 2 3;"},
    'invalid value "maybe" in "daemon" directive, it must be "on" or "off" in F:1': {"main": "daemon maybe;"},
    'unexpected "}" in F:6': {"server": "location / { return 200"},
    'unexpected end of file, expecting "}" in F:7': {"server": "location / {"},
    'open() "D/conf/none.conf" failed (2: No such file or directory) in F:3': {"http": "include none.conf;"},
    '"pid" directive is duplicate in F:1': {"main": "pid a; pid b;"},
    'unknown log format "later" in F:3': {"http": "access_log logs/a.log later; log_format later $status;"},
    'unknown "nobody" variable': {"server": "add_header X $nobody; return 200 $http_any$arg_b${uri};"},
    'unknown "no_key" variable': {"http": "limit_req_zone $no_key zone=z:1m rate=1r/s;"},
    'unknown "one" variable': {"server": "location ~ ^/(?<two>.)x$ { return 200 $two$1$one; }"},
}


@pytest.mark.parametrize("said", EMERG)
def test_what_nginx_would_refuse_is_refused_in_its_words(hands, said):
    hands.write(**EMERG[said])
    said = said.replace(" F:", f" {hands.path('conf/nginx.conf')}:").replace('"D/', f'"{hands.folder}/')
    status, _, err = hands.say("-p", hands.folder)
    assert (status, err.splitlines()[0]) == (1, f"nginx: [emerg] {said}")
    log = hands.read("logs/error.log")
    assert LOG_LINE.match(log) and said in log
    assert not os.path.exists(hands.path("logs/nginx.pid"))


def test_a_test_that_fails_says_so(hands):
    hands.write("foo on;")
    status, _, err = hands.say("-p", hands.folder, "-t")
    assert status == 1 and f"configuration file {hands.path('conf/nginx.conf')} test failed" in err


def test_no_events_are_no_configuration(hands):
    with open(hands.path("conf/nginx.conf"), "w", encoding="utf-8") as f:
        f.write("daemon off;")
    assert 'nginx: [emerg] no "events" section in configuration' in hands.say("-p", hands.folder)[2]


def test_directives_of_the_command_line_come_first(hands):
    status, _, err = hands.say("-p", hands.folder, "-t", "-g", "daemon off;")
    assert status == 1 and f'"daemon" directive is duplicate in {hands.path("conf/nginx.conf")}:1' in err
    assert 'unknown directive "foo" in command line' in hands.say("-p", hands.folder, "-g", "foo 1;")[2]
    assert 'unexpected end of parameter, expecting ";" in command line' in hands.say("-p", hands.folder, "-g", "user a")[2]


def test_options_that_are_wrong(hands):
    assert hands.say("-x") == (1, "", 'nginx: invalid option: "x"\n')
    assert hands.say("-s", "x") == (1, "", 'nginx: invalid option: "-s x"\n')
    assert hands.say("-c") == (1, "", 'nginx: option "-c" requires file name\n')
    assert hands.say("-c", hands.path("none"), "-t", "-p", hands.folder)[2].startswith(
        f'nginx: [emerg] open() "{hands.path("none")}" failed (2: No such file or directory)\n')


def test_an_order_without_anybody_to_take_it(hands):
    assert hands.say("-p", hands.folder, "-s", "reload") == (
        1, "", f'nginx: [error] open() "{hands.path("logs/nginx.pid")}" failed (2: No such file or directory)\n')
    with open(hands.path("logs/nginx.pid"), "w", encoding="utf-8") as f:
        f.write("\n")
    assert 'nginx: [error] invalid PID number "" in' in hands.say("-p", hands.folder, "-s", "stop")[2]


@pytest.mark.parametrize("daemon", ["on", "off"])
def test_a_port_in_use(hands, daemon):
    hands.write(main=f"daemon {daemon};")
    with socket.create_server(("127.0.0.1", hands.port)):
        status, _, err = hands.say("-p", hands.folder)
    assert status == 1 and not os.path.exists(hands.path("logs/nginx.pid"))
    assert err.startswith(f"nginx: [emerg] bind() to 127.0.0.1:{hands.port} failed (98: Address already in use)\n")


def test_a_pid_file_that_cannot_be_written(hands):
    hands.write(main="daemon off; pid none/nginx.pid;")
    status, _, err = hands.say("-p", hands.folder)
    assert status == 1
    assert f'nginx: [emerg] open() "{hands.path("none/nginx.pid")}" failed (2: No such file or directory)' in err


def test_an_error_log_that_cannot_be_opened(hands):
    hands.write(main="daemon off; error_log none/error.log;")
    status, _, err = hands.say("-p", hands.folder)
    assert status == 1 and f'[emerg] open() "{hands.path("none/error.log")}" failed (2: No such file or directory)' in err
    assert hands.say("-p", hands.folder, "-t", "-e", "none/x")[2].startswith(
        f'nginx: [alert] could not open error log file: open() "{hands.path("none/x")}" failed (2: No such')


# ---------------------------------------------------------------- what it says of itself

def test_its_version_is_one_of_nginx_and_what_it_was_made_with_is_true(hands):
    status, out, err = hands.say("-V")
    assert (status, out) == (0, "") and re.match(r"nginx version: nginx/[0-9.]+ \(weir [0-9.]+\)\n", err)
    assert re.search(r"built with OpenSSL \d\.\d\.\d", err) and "TLS SNI support enabled" in err
    assert "--with-http_ssl_module" in err and "--without-http-cache" in err
    assert "--without-http_proxy_module" not in err and "--without-http_limit_req_module" not in err
    assert hands.say("-v")[2] == err.splitlines()[0] + "\n"


def test_a_test_of_the_configuration(hands):
    conf = hands.path("conf/nginx.conf")
    assert hands.say("-p", hands.folder, "-t") == (
        0, "", f"nginx: the configuration file {conf} syntax is ok\nnginx: configuration file {conf} test is successful\n")
    assert hands.say("-p", hands.folder, "-tq") == (0, "", "")


def test_a_dump_has_all_files_once(hands):
    os.mkdir(hands.path("conf/d"))
    for name in ("a", "b"):
        with open(hands.path(f"conf/d/{name}.conf"), "w", encoding="utf-8") as f:
            f.write(f"location /{name} {{ return 200 {name}; }}\n")
    hands.write("include d/*.conf;")
    status, out, _ = hands.say("-p", hands.folder, "-T")
    assert status == 0 and re.findall(r"^# configuration file (.*):$", out, re.M) == [
        hands.path(f"conf/{n}") for n in ("nginx.conf", "d/a.conf", "d/b.conf")]
    assert "location /a { return 200 a; }" in out


def test_what_is_served_in_another_way_is_told_by_a_test(hands):
    hands.write('keepalive_disable msie6; location / { return 200 "one"; }')
    err = hands.say("-p", hands.folder, "-t")[2]
    assert 'nginx: [warn] "keepalive_disable" is served in another way' in err
    assert hands.say("-p", hands.folder, "-tq") == (0, "", "")


# ---------------------------------------------------------------- life

def test_the_pid_file_is_of_the_process_that_was_started_and_goes_with_it(hands):
    p = hands.start()
    assert int(until(lambda: hands.read("logs/nginx.pid"), "a number")) == p.pid
    assert hands.get() == (200, b"one")
    p.send_signal(signal.SIGQUIT)
    assert p.wait(TIMEOUT) == 0 and not os.path.exists(hands.path("logs/nginx.pid"))


def test_a_pid_file_of_ones_own_under_the_prefix(hands):
    hands.write(main="daemon off; pid own.pid;")
    p = hands.start(command=[hands.nginx, "-p", hands.folder])
    until(lambda: os.path.exists(hands.path("own.pid")), "a pid file")
    assert hands.say("-p", hands.folder, "-s", "stop")[0] == 0 and p.wait(TIMEOUT) == 0


def test_logs_are_where_nginx_would_write_them(hands):
    with open(hands.path("conf/nginx.conf"), "w", encoding="utf-8") as f:
        f.write(f"daemon off; events {{ }} http {{ server {{ listen 127.0.0.1:{hands.port}; return 200; }} }}")
    hands.start()
    hands.get("/told")
    until(lambda: os.path.exists(hands.path("logs/access.log")) and '"GET /told HTTP/1.1" 200 0' in
          hands.read("logs/access.log"), "a line of the access log")


def test_daemon_on_leaves_when_all_is_bound(hands):
    hands.write(main="daemon on;")
    assert hands.say("-p", hands.folder) == (0, "", "")
    assert hands.get() == (200, b"one")
    assert hands.say("-p", hands.folder, "-s", "quit")[0] == 0
    until(lambda: not os.path.exists(hands.path("logs/nginx.pid")), "its end")


def test_weir_itself_takes_nginx_options_and_files(hands):
    command = [hands.binary, "-p", hands.folder, "-c", "conf/nginx.conf"]
    hands.start(command=command)
    until(lambda: hands.serves(b"one"), "an answer")
    assert hands.say("-p", hands.folder, "-s", "stop", binary=hands.binary)[0] != 0  # nothing says that it is nginx's
    assert hands.say(*command[1:], "-s", "stop", binary=hands.binary)[0] == 0


def test_run_nginx_conf_stays_in_the_foreground(hands):
    hands.write(main="daemon on;")
    p = hands.start(command=[hands.binary, "run", "--nginx-conf", hands.path("conf/nginx.conf")])
    until(lambda: hands.serves(b"one"), "an answer")
    p.send_signal(signal.SIGTERM)
    assert p.wait(TIMEOUT) == 0


def busy(hands, main="daemon off;"):
    """A call under way, and the upstream's end of it."""
    app = Upstream()
    hands.write(main=main, server=f"keepalive_timeout 60s; location / {{ proxy_pass http://{app.addr}; }}")
    p = hands.start()
    c = Client(connect(f"127.0.0.1:{hands.port}"))
    c.ask("/slow")
    return app, p, c, app.accept()


def test_quit_lets_calls_under_way_end(hands):
    app, p, c, call = busy(hands)
    p.send_signal(signal.SIGQUIT)
    until(lambda: refused(hands), "no more connections")
    assert p.poll() is None
    call.read_request()
    call.answer(200, b"done")
    assert bytes(c.expect().body) == b"done" and p.wait(TIMEOUT) == 0
    app.close()


def refused(hands):
    try:
        connect(f"127.0.0.1:{hands.port}").close()
        return False
    except OSError:
        return True


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_end_it_at_once(hands, which):
    app, p, _, _ = busy(hands)
    p.send_signal(which)
    assert p.wait(TIMEOUT) == 0
    app.close()


def test_worker_shutdown_timeout_ends_what_does_not_end(hands):
    app, p, c, _ = busy(hands, main="daemon off; worker_shutdown_timeout 100ms;")
    p.send_signal(signal.SIGQUIT)
    assert p.wait(TIMEOUT) == 0
    c.read_eof()
    app.close()


def test_quit_closes_connections_that_wait(hands):
    p = hands.start()
    c = Client(connect(f"127.0.0.1:{hands.port}"))
    c.ask("/")
    assert c.expect().status == 200
    p.send_signal(signal.SIGQUIT)
    c.read_eof()
    assert p.wait(TIMEOUT) == 0


def test_hup_reads_the_configuration_again(hands):
    p = hands.start()
    hands.write('location / { return 200 "two"; }')
    p.send_signal(signal.SIGHUP)
    until(lambda: hands.serves(b"two"), "the new configuration")


def test_hup_with_a_bad_file_leaves_the_old_one_serving(hands):
    p = hands.start()
    hands.write("foo on;")
    p.send_signal(signal.SIGHUP)
    until(lambda: 'unknown directive "foo"' in hands.read("logs/error.log"), "why not")
    assert LOG_LINE.search(hands.read("logs/error.log"))
    assert hands.get() == (200, b"one") and p.poll() is None


def test_hup_with_a_port_in_use_leaves_the_old_one_serving(hands):
    p = hands.start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        hands.write(f'listen 127.0.0.1:{port}; location / {{ return 200 "two"; }}')
        p.send_signal(signal.SIGHUP)
        until(lambda: f"bind() to 127.0.0.1:{port} failed (98: Address already in use)" in hands.read("logs/error.log"),
              "why not")
    assert hands.get() == (200, b"one")


def test_the_log_before_the_configuration_is_read(hands):
    hands.write("foo on;", main="error_log logs/other.log;")
    hands.say("-p", hands.folder, "-e", "first.log")
    assert LOG_LINE.match(hands.read("first.log")) and not os.path.exists(hands.path("logs/other.log"))


def test_what_only_a_start_can_change_stays(hands):
    p = hands.start()
    hands.write('location / { return 200 "two"; }', main="daemon off; worker_processes 2; pid other.pid;")
    p.send_signal(signal.SIGHUP)
    until(lambda: hands.serves(b"two"), "the new configuration")
    assert "[warn]" in hands.read("logs/error.log") and os.path.exists(hands.path("logs/nginx.pid"))


def test_usr1_opens_the_error_log_again(hands):
    p = hands.start()
    os.rename(hands.path("logs/error.log"), hands.path("logs/old.log"))
    p.send_signal(signal.SIGUSR1)
    until(lambda: os.path.exists(hands.path("logs/error.log")), "a new log")
    hands.write("foo on;")
    p.send_signal(signal.SIGHUP)
    until(lambda: 'unknown directive "foo"' in hands.read("logs/error.log"), "a line in it")


def test_usr1_opens_all_logs_again_and_loses_no_line(hands):
    hands.write('access_log logs/access.log l; location / { return 200 "one"; }', http="log_format l $uri;")
    p = hands.start()
    for i in range(20):
        hands.get(f"/{i}")
        for name in ("access", "error"):
            os.rename(hands.path(f"logs/{name}.log"), hands.path(f"logs/{name}.{i}"))
        p.send_signal(signal.SIGUSR1)
        until(lambda: all(os.path.exists(hands.path(f"logs/{name}.log")) for name in ("access", "error")), "new logs")
    names = [*range(20), "log"]
    until(lambda: "".join(hands.read(f"logs/access.{x}") for x in names) == "".join(f"/{i}\n" for i in range(20)), "all lines")


def test_usr1_without_a_folder_to_open_logs_in(hands):
    hands.write('access_log logs/access.log l; location / { return 200 "one"; }', "daemon off; error_log logs/error.log info;", "log_format l $uri;")
    p = hands.start()
    until(lambda: "is ready" in hands.read("logs/error.log"), "it has looked for its pid file there")
    os.rename(hands.path("logs"), hands.path("away"))
    p.send_signal(signal.SIGUSR1)
    until(lambda: len(re.findall(r"\[emerg\].* open\(\) .*error.log. failed \(2: ", hands.read("away/error.log"))) == 1, "it is told")
    until(lambda: "access.log`: No such file or directory" in hands.read("away/error.log"), "of the other log, too")
    hands.get("/2")
    until(lambda: hands.read("away/access.log") == "/2\n", "the old one goes on")
    os.rename(hands.path("away"), hands.path("logs"))


def test_lines_of_heads_may_end_with_lf(hands):
    hands.start()
    with connect(f"127.0.0.1:{hands.port}") as s:
        s.sendall(b"\nGET / HTTP/1.0\nHost: localhost\n\n")
        assert b"200 OK" in s.recv(4096)

"""The real nginx and Weir, started from the same nginx.conf: the method, the fields and the body that upstreams see."""

import pytest

import harness
from nginx_both import both  # noqa: F401
from test_nginx_upstreams import BODIES, as_seen, ask, pytestmark, rig, server, tell  # noqa: F401

CLIENT = {"User-Agent": "it", "X-Told": "me", "Cookie": "c=d", "Content-Type": "text/x"}
LINES = ["proxy_method PUT;", "proxy_method POST; proxy_http_version 1.1;", "proxy_method GET;",
         "proxy_pass_request_headers off;", "proxy_pass_request_headers off; proxy_set_header Host b.org; proxy_set_header X-Told $http_x_told;",
         "proxy_pass_request_headers off; proxy_set_header X-Two $http_cookie; proxy_http_version 1.1;",
         "proxy_pass_request_body off; proxy_set_header Content-Length '';", "proxy_set_body 'a=$arg_a {x}';",
         "proxy_set_body 'method $request_method'; proxy_method PUT; proxy_http_version 1.1;"]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_what_is_sent(rig, line, method):  # noqa: F811
    port, app = harness.free_port(), rig.upstream()
    text = server(port, f"location / {{ {line} proxy_pass http://127.0.0.1:{app}; }}")
    (nginx, nginx_log), (weir, weir_log) = rig(text, port, lambda: [ask(port, p, method, CLIENT) for p in ("/", "/b?a=1&b=%7B")])
    assert nginx == weir and len(nginx_log) == 2
    for n, w in zip(nginx_log, weir_log):  # Weir says of a PUT of nothing that it is one
        assert as_seen(n[1]) == as_seen(w[1].replace("Content-Length: 0\r\n", "") if "Length: 0" not in n[1] else w[1])


@pytest.mark.parametrize("body", ["chunked", "slow", "length", "large", "expected"])
def test_another_body_than_that_which_came(rig, body):  # noqa: F811
    port, app = harness.free_port(), rig.upstream()
    text = server(port, f"proxy_set_body new; location / {{ proxy_pass http://127.0.0.1:{app}; }}"
                  f"location /a {{ proxy_pass http://127.0.0.1:{app}; proxy_request_buffering off; }}")
    (nginx, nginx_log), (weir, weir_log) = rig(text, port, lambda: tell(port, *BODIES[body])[0][:12])
    assert nginx == weir and [as_seen(h) for _, h in nginx_log] == [as_seen(h) for _, h in weir_log]


def test_another_body_goes_to_the_next_server_too(rig):  # noqa: F811
    port, bad, good = harness.free_port(), rig.upstream("reset"), rig.upstream()
    text = f"upstream u {{ server 127.0.0.1:{bad}; server 127.0.0.1:{good}; }}"
    text += server(port, "proxy_set_body new; location / { proxy_pass http://u; }")
    (nginx, nginx_log), (weir, weir_log) = rig(text, port, lambda: [ask(port, "/", "PUT") for _ in range(2)])
    assert nginx == weir and [as_seen(h) for _, h in nginx_log] == [as_seen(h) for _, h in weir_log]


BACK = "server { listen 127.0.0.1:PORT; server_name back; return 200 $remote_addr; }"


def test_where_calls_come_from(both):  # noqa: F811
    both.compare(BACK + """server { listen 127.0.0.1:PORT default_server; proxy_set_header Host back; proxy_bind 127.0.0.7;
        location / { proxy_pass http://127.0.0.1:PORT; } location /off { proxy_bind off; proxy_pass http://127.0.0.1:PORT; }
        location /else { proxy_bind 127.0.0.9; proxy_pass http://127.0.0.1:PORT; } }""",
                 [("GET", "/"), ("GET", "/off"), ("GET", "/else"), ("GET", "/")])


def test_calls_come_from_nowhere(weir):
    w = weir(upstreams={"app": {"endpoints": "127.0.0.1:1", "source": "192.0.2.1"}})
    w.client().ask().expect(502)


def test_what_cannot_be_said_is_not_let_in(run, tmp_path):
    for line in ("proxy_method $arg_m", "proxy_method put", "proxy_set_body $request_body"):
        (tmp_path / "nginx.conf").write_text("server { location / { proxy_pass http://127.0.0.1:1; %s; } }" % line)
        got = run("import-nginx", "nginx.conf")
        assert got.returncode in (1, 3) and "is seen to" in got.stderr and "to: 127" not in got.stdout, got.stderr

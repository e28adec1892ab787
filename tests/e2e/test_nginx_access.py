"""Whose address counts, and who is let in: the real nginx and Weir, started from the same nginx.conf."""

import http.client
import os

import pytest

import harness
from test_nginx_limits import both  # noqa: F401: the fixture

NGINX = "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="there is no nginx")

PLACES = """server {{ listen 127.0.0.1:{app}; location / {{ return 200 "$http_x_told"; }} }}
limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;
server {{ listen 127.0.0.1:{port}; {real} proxy_set_header X-Told "$remote_addr $proxy_add_x_forwarded_for";
location / {{ proxy_pass http://127.0.0.1:{app}; }}
location /some {{ allow 1.2.3.0/24; deny 1.2.0.0/16; allow 127.0.0.1; allow 2001:db8::/32; deny all; proxy_pass http://127.0.0.1:{app}; }}
location /but {{ deny 1.2.3.4; proxy_pass http://127.0.0.1:{app}; }}
location /any {{ satisfy any; allow 9.9.9.9; deny all; proxy_pass http://127.0.0.1:{app}; }}
location /first {{ limit_req zone=one; deny all; proxy_pass http://127.0.0.1:{app}; }} }}"""
REAL = {
    "x-real-ip": "set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8;",
    "x-forwarded-for": "set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For;",
    "recursive": "set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; real_ip_recursive on;",
    "of its own": "set_real_ip_from 127.0.0.1; real_ip_header CF-Connecting-IP; real_ip_recursive on;",
    "not trusted": "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For;",
}
ADDRESSES = ["1.2.3.4", "1.2.3.5", "1.2.9.9", "9.9.9.9", "2001:db8::1", "1.2.3.4, 10.0.0.7", "1.2.3.4,1.2.9.9", "nobody", "", "1.2.3.4:99",
             "[2001:db8::2]:5", "1.2.3.4, nobody", "nobody, 10.0.0.1, 10.0.0.2"]


def ask(port, requests):
    answers = []
    for path, fields in requests:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", path, headers=fields)
        r = c.getresponse()
        body = r.read().decode()
        answers.append((r.status, body if r.status == 200 else ""))
        c.close()
    return answers


@pytest.mark.parametrize("real", REAL)
def test_addresses(both, real):  # noqa: F811
    port, app = harness.free_port(), harness.free_port()
    requests = [(path, {}) for path in ("/", "/some", "/but", "/any", "/first", "/first")]
    requests += [(path, {name: value}) for name in ("X-Real-IP", "X-Forwarded-For", "CF-Connecting-IP") for value in ADDRESSES
                 for path in ("/", "/some", "/but", "/any", "/first", "/first")]
    nginx, weir = both(PLACES.format(port=port, app=app, real=REAL[real]), port, lambda: ask(port, requests))
    wrong = [(r, n, w) for r, n, w in zip(requests, nginx, weir) if n != w]
    assert not wrong, "\n".join(f"{r}\n  nginx {n}\n  weir  {w}" for r, n, w in wrong)
    assert {a[0] for a in nginx} == {200, 403, 503}

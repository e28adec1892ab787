"""map, geo and split_clients: the real nginx and Weir, started from the same nginx.conf, make the same of every request."""

import http.client
import os

import pytest

import harness
from test_nginx_limits import both  # noqa: F401: the fixture

NGINX = "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="there is no nginx")

MAPS = r"""
map $http_x_plan $plan { default "d-$arg_plan"; "GOLD" g; a b; \default e; \~x tilde; ~^vip-(.*)$ "v:$1"; ~*^big i; "" none; volatile; }
map $http_host $site { hostnames; default other; .example.com ex; *.sub.example.com sub; *.b.sub.example.com deep; www.* w;
    www.x.* wx; "a.example.com" a; ~\.org$ org; }
map "$arg_a:$arg_b" $pair { x:y 1; x: 2; : 3; ~^(?<l>[a-z]+):\1$ "twice"; }
geo $net { default out; 10.0.0.0/8 ten; 10.1.0.0/16 part; 127.0.0.0/8 loop; 127.0.0.1 me; ::1 six; 127.0.0.1 last; }
geo $arg_ip $from { default no; 1.2.0.0/16 wide; 1.2.3.0/24 near; 1.2.3.4 one; delete 1.2.3.0/24; 2001:db8::/32 doc; }
geo $arg_ip $range { ranges; default no; 1.2.3.4-1.2.3.99 r; 1.2.3.40-1.2.3.49 s; 9.0.0.0-9.255.255.255 t;
    10.10.3.0-10.11.2.255 f; 10.12.3.0-10.13.2.255 g; delete 10.10.3.0-10.11.2.255; 5.0.0.0-5.0.0.9 u; 5.0.0.2-5.0.0.3 v; delete 5.0.0.2-5.0.0.3; }
geo $near { default no; 127.0.0.0/8 loop; 192.0.2.0/24 test; proxy 127.0.0.1; proxy 10.0.0.0/8; }
geo $far { proxy_recursive; default no; 127.0.0.0/8 loop; 192.0.2.0/24 test; proxy 127.0.0.1; proxy 10.0.0.0/8; }
split_clients "$arg_s" $half { 50% a; 0.5% b; 12.25% c; * d; }
split_clients "${remote_addr}AAA$arg_s" $third { 33.33% a; 33.33% b; }
geo $exempt { default 1; 127.0.0.0/8 0; }
map $exempt $name { 0 ""; 1 $arg_a; }
map $name$http_x_plan $chain { default "$plan/$site"; "" empty; }
"""
PLACE = """server {{ listen 127.0.0.1:{port}; location / {{
    return 200 "$plan|$site|$pair|$net|$from|$range|$half|$third|$chain|$near|$far"; }} }}"""
FIELDS = [{}, *({"X-Plan": v} for v in ("gold", "Gold", "A", "default", "~x", "vip-", "vip-7/8", "VIP-1", "BIGGER", "bi", "~"))]
HOSTS = ["example.com", "x.example.com", "EXAMPLE.com", "sub.example.com", "y.sub.example.com", "z.b.sub.example.com", "a.example.com", "www.a",
         "www.x.y", "www.org", "www", "b.org", "examplexcom", "wwwx", "example.com.", "y.sub.example.com.", "a.example.com."]
QUERIES = ["", "plan=7", "a=x&b=y", "a=X&b=Y", "a=x", "a=ab&b=ab", "a=ab&b=AB", "a=&b="] + [
    f"ip={ip}" for ip in ("1.2.3.4", "1.2.3.5", "1.2.3.39", "1.2.3.40", "1.2.3.49", "1.2.3.50", "1.2.3.99", "1.2.3.100", "9.9.9.9",
                          "10.0.0.1", "x", "2001:db8::9", "2001:db9::9", "255.255.255.255", "0.0.0.0", "5.0.0.1", "5.0.0.2", "5.0.0.4", "10.10.9.0",
                          "10.12.3.0", "10.13.2.255", "10.13.3.0")]


def ask(port, requests):
    answers = []
    for host, query, fields in requests:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", f"/?{query}", headers={"Host": host, **fields})
        answers.append(c.getresponse().read().decode())
        c.close()
    return answers


def test_values(both):  # noqa: F811
    port = harness.free_port()
    requests = [("h", "", f) for f in FIELDS] + [(h, "", {}) for h in HOSTS] + [("h", q, {}) for q in QUERIES]
    requests += [("h", "", {"X-Forwarded-For": f}) for f in ("192.0.2.1", "10.0.0.1", "192.0.2.1, 10.0.0.1", "8.8.8.8, 192.0.2.1", "x", "")]
    requests += [("h", f"s=client-{i}", {}) for i in range(200)]
    nginx, weir = both(MAPS + PLACE.format(port=port), port, lambda: ask(port, requests))
    wrong = [(r, n, w) for r, n, w in zip(requests, nginx, weir) if n != w]
    assert not wrong, "\n".join(f"{r}\n  nginx {n}\n  weir  {w}" for r, n, w in wrong)
    assert len({n.split("|")[6] for n in nginx}) == 4 and len({n.split("|")[7] for n in nginx}) == 3

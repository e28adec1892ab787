"""What is odd in requests, and what no location takes: the real nginx and Weir, started from the same nginx.conf."""

import pytest

from nginx_both import both, needs_nginx as pytestmark, seen  # noqa: F401


@pytest.mark.parametrize("says", ["", "underscores_in_headers on;", "ignore_invalid_headers off;"])
def test_names_of_fields(both, says):
    requests = [("GET", p, "a.org", {n: "1", "X-Told": "t"}) for p in ("/", "/own")
                for n in ("x_own", "X-A", "x.a", "x!a", "x_a.b", "X-B-1", "Ab")]
    both.compare("server { listen 127.0.0.1:PORT; " + says + """ location / { return 200 "$http_x_told $http_x_a $http_x_b_1 $http_ab"; }
    location /own { proxy_set_header X-Told "$http_x_a|$http_x_told"; proxy_pass http://127.0.0.1:APP; } }""", requests)

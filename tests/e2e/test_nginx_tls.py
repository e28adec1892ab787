"""The same nginx.conf played by the real nginx and by Weir: TLS with upstreams (proxy_ssl_*), and with clients (ssl_*)."""

import http.client
import ssl

import pytest

import harness
from certificates import certs
from nginx_both import HEAD, NGINX, both, needs_nginx, seen, serving  # noqa: F401

pytestmark = needs_nginx

BACK = """server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {server}; ssl_certificate_key {server}; ssl_client_certificate {ca};
    ssl_verify_client optional; ssl_protocols TLSv1.2 TLSv1.3; return 200 "$ssl_server_name|$ssl_protocol|$ssl_client_verify|$host"; }} }}"""
CA = "proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca};"
LINES = ["", "proxy_ssl_server_name on;", "proxy_ssl_name app.test;", "proxy_ssl_server_name on; proxy_ssl_name app.test;", CA + "proxy_ssl_name app.test;",
         CA + "proxy_ssl_name nobody.test;", CA + "proxy_ssl_name app.test; proxy_ssl_server_name on;",
         "proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca2}; proxy_ssl_name app.test;", "proxy_ssl_protocols TLSv1.3;",
         "proxy_ssl_protocols TLSv1.2 TLSv1.3;", "proxy_ssl_certificate {client}; proxy_ssl_certificate_key {client};",
         "proxy_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;",
         "proxy_ssl_session_reuse off;"]


@pytest.fixture
def back(both):  # noqa: F811
    files = {n: certs().file(n + ".pem") for n in ("server", "ca", "ca2", "client", "other", "rsa")}
    port = harness.free_port()
    (both.folder / "back.conf").write_text(HEAD.format(folder=both.folder, name="back") + BACK.format(port=port, **files).replace("{{", "{"))
    with serving([NGINX, "-p", both.folder, "-c", both.folder / "back.conf"], port):
        yield port, files


def look(status, body, fields):
    """But for the name: Weir sends the one that it verifies."""
    return seen()(status, body[body.find(b"|"):] if status == 200 else body, fields)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("named", [False, True], ids=["address", "upstream"])
def test_upstreams(both, back, line, named):  # noqa: F811
    text = f"upstream up {{ server 127.0.0.1:{back[0]}; }} " if named else ""
    line += "" if "protocols" in line else "proxy_ssl_protocols TLSv1.2 TLSv1.3;"  # by default it goes by nginx's version
    text += "server { listen 127.0.0.1:PORT; location / { proxy_pass https://%s; %s } }" % ("up" if named else f"127.0.0.1:{back[0]}", line.format(**back[1]))
    both.compare(text, [("GET", "/")] * 2, look if "verify on" in line and "server_name on" not in line else seen(), lost="$" in line)


@pytest.mark.parametrize("name", ["old.test", "new.test"])
def test_a_certificate_with_a_common_name_alone(both, name):  # noqa: F811
    folder, port = both.folder, harness.free_port()
    certs().openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/old.key", "-out", f"{folder}/old.pem", "-subj", "/CN=old.test")
    (folder / "back.conf").write_text(HEAD.format(folder=folder, name="back") + f"""server {{ listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/old.pem; ssl_certificate_key {folder}/old.key; return 200 x; }} }}""")
    with serving([NGINX, "-p", folder, "-c", folder / "back.conf"], port):
        both.compare(f"""server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass https://127.0.0.1:{port}; proxy_ssl_server_name on;
            proxy_ssl_verify on; proxy_ssl_name {name}; proxy_ssl_trusted_certificate {folder}/old.pem; }} }}""", [("GET", "/")], seen())


LISTENER = """ssl_certificate {server}; ssl_certificate_key {server}; ssl_client_certificate {ca}; ssl_protocols TLSv1.2 TLSv1.3;
server {{ listen 127.0.0.1:PORT ssl default_server; server_name app.test; VERIFY return 200 "app $ssl_server_name $ssl_protocol"; }}
server {{ listen 127.0.0.1:PORT ssl; server_name other.test *.wild.test; ssl_certificate {other}; ssl_certificate_key {other}; return 200 "$host"; }}
server {{ listen 127.0.0.1:PORT ssl; server_name rsa.test; ssl_certificate {rsa}; ssl_certificate_key {rsa}; return 200 "rsa"; }}"""


def ask_tls(port, name, host, cert):
    """What it was told, and by whom."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if cert:
        context.load_cert_chain(certs().file(cert + ".pem"))
    try:
        with harness.socket.create_connection(("127.0.0.1", port), timeout=10) as raw, context.wrap_socket(raw, server_hostname=name) as s:
            c = http.client.HTTPConnection("x")
            c.sock = s
            c.request("GET", "/", headers={"Host": host})
            r = c.getresponse()
            return r.status, r.read() if r.status == 200 else b"", ssl.DER_cert_to_PEM_cert(s.getpeercert(True))
    except (ssl.SSLError, ConnectionError, http.client.HTTPException) as e:
        return type(e).__name__


@pytest.mark.parametrize("verify", ["", "ssl_verify_client optional;"])
def test_listeners(both, verify):  # noqa: F811
    files = {n: certs().file(n + ".pem") for n in ("server", "ca", "other", "rsa")}
    text = LISTENER.format(**files).replace("VERIFY", verify).replace("PORT", str(both.port))
    (both.folder / "nginx.conf").write_text(HEAD.format(folder=both.folder, name="nginx") + text + "}")
    got = both.run("import-nginx", "nginx.conf", "-o", "weir.yaml")
    assert got.returncode == 0, got.stderr
    asked = [(n, h, c) for n, h in (("app.test", "app.test"), ("other.test", "other.test"), ("a.wild.test", "a.wild.test"), ("rsa.test", "rsa.test"), (None, "x"), ("none.test", "x"))
             for c in (None, "client")]
    told = []
    for command in ([NGINX, "-p", both.folder, "-c", both.folder / "nginx.conf"], [both.binary, "run", "-c", both.folder / "weir.yaml"]):
        with serving(command, both.port):
            told.append([ask_tls(both.port, *a) for a in asked])
    assert not [x for x in zip(asked, *told) if x[1] != x[2]]

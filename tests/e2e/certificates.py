"""Certificates for the tests, made by the openssl command line in a folder that goes with the process.

    certs().file("server.pem")            a certificate and its key in one file, made when it is first asked for
    certs().listener(client_ca=True)      what a listener's `tls:` says
    certs().client(cert="client")         an ssl.SSLContext for a client
    certs().server(cert="server")         ... for a server
"""

import atexit
import functools
import os
import shutil
import ssl
import subprocess
import tempfile

CA_CONF = """
[ca]
default_ca = it
[it]
database = {dir}/index
serial = {dir}/serial
new_certs_dir = {dir}
default_md = sha256
policy = any
unique_subject = no
default_crl_days = 30
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = any
"""

NAMES = {  # what a certificate is for, where that is not its own name
    "server": "DNS:localhost,DNS:test,DNS:app.test,IP:127.0.0.1",
    "other": "DNS:other.test,DNS:*.wild.test",
    "rsa": "DNS:rsa.test",
    "client": "DNS:client.test,URI:spiffe://test/client",
}
DATES = {  # from, to; hours from now
    "expired": (-48, -24), "early": (24, 48), "soon": (-24, 24 * 5 + 1), "month": (-24, 24 * 20),
}


def stamp(hours):
    import datetime
    t = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
    return t.strftime("%y%m%d%H%M%SZ")


class Certificates:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-certs-")
        atexit.register(shutil.rmtree, self.dir, True)
        for name in ("ca", "ca2"):
            self.make_ca(name)

    def path(self, name):
        return os.path.join(self.dir, name)

    def openssl(self, *args):
        done = subprocess.run(["openssl", *args], cwd=self.dir, stdin=subprocess.DEVNULL, capture_output=True,
                              check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()

    def key(self, path):
        kind = ("RSA", "rsa_keygen_bits:2048") if path.startswith("rsa") else ("EC", "ec_paramgen_curve:P-256")
        self.openssl("genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", path)

    def make_ca(self, name):
        folder = self.path(name + ".d")
        os.mkdir(folder)
        with open(os.path.join(folder, "conf"), "w", encoding="ascii") as f:
            f.write(CA_CONF.format(dir=folder))
        with open(os.path.join(folder, "serial"), "w", encoding="ascii") as f:
            f.write("1000\n" if name == "ca" else "2000\n")
        open(os.path.join(folder, "index"), "w", encoding="ascii").close()
        self.key(name + ".key")
        self.openssl("req", "-x509", "-new", "-key", name + ".key", "-subj", f"/CN=weir test {name}", "-days", "30",
                     "-out", name + ".pem", "-config", os.path.join(folder, "conf"),
                     "-addext", "basicConstraints=critical,CA:TRUE")

    def make(self, name, ca="ca", out=None):
        """A certificate of this name, and its key behind it."""
        out = out or name + ".pem"
        start, end = DATES.get(name, (-1, 24 * 60))
        conf = os.path.join(self.path(ca + ".d"), "conf")
        self.key(out + ".key")
        self.openssl("req", "-new", "-key", out + ".key", "-subj", f"/CN={name}", "-out", out + ".csr", "-config", conf,
                     "-addext", f"subjectAltName={NAMES.get(name, NAMES['server'])}")
        self.openssl("ca", "-batch", "-notext", "-config", conf, "-cert", ca + ".pem", "-keyfile", ca + ".key", "-in",
                     out + ".csr", "-out", out + ".crt", "-startdate", stamp(start), "-enddate", stamp(end))
        with open(self.path(out + ".new"), "w", encoding="ascii") as f:
            for part in (out + ".crt", out + ".key"):
                with open(self.path(part), encoding="ascii") as g:
                    f.write(g.read())
        os.replace(self.path(out + ".new"), self.path(out))
        return self.path(out)

    def file(self, name):
        """"server.pem", or "stranger.pem" by the other authority; "ca.pem", "ca2.pem", "ca.crl"."""
        if not os.path.exists(self.path(name)):
            if name == "ca.crl":
                self.revoke()
            else:
                stem = name.removesuffix(".pem")
                self.make(stem, "ca2" if stem in ("stranger", "ca2server") else "ca")
        return self.path(name)

    def revoke(self):
        """A list with the certificate "revoked" on it."""
        conf = os.path.join(self.path("ca.d"), "conf")
        by = ("-config", conf, "-cert", "ca.pem", "-keyfile", "ca.key")
        self.file("revoked.pem")
        self.openssl("ca", *by, "-revoke", "revoked.pem.crt")
        self.openssl("ca", *by, "-gencrl", "-out", "ca.crl")

    # ---- both sides

    def listener(self, cert="server", client_ca=False, crl=False, **more):
        conf = {"cert": self.file(cert + ".pem"), **more}
        if client_ca:
            conf["client_ca"] = self.file("ca.pem")
        if crl:
            conf["crl"] = self.file("ca.crl")
        return conf

    def client(self, cert=None, ca="ca", verify=True, version=None, alpn=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname = verify
        c.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        c.load_verify_locations(self.file(ca + ".pem"))
        if cert:
            c.load_cert_chain(self.file(cert + ".pem"))
        if version:
            c.minimum_version = c.maximum_version = version
        if alpn:
            c.set_alpn_protocols(alpn)
        return c

    def server(self, cert="server", client_ca=None, version=None, alpn=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(self.file(cert + ".pem"))
        if client_ca:
            c.load_verify_locations(self.file(client_ca + ".pem"))
            c.verify_mode = ssl.CERT_REQUIRED
        if version:
            c.minimum_version = c.maximum_version = version
        if alpn:
            c.set_alpn_protocols(alpn)
        return c


@functools.lru_cache(maxsize=None)
def certs():
    return Certificates()

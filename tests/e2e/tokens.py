"""Tokens for the tests, signed by the openssl command line with keys in a folder that goes with the process.

    key("RS256")                     a key, made when it is first asked for; key("RS256", "next") is another one
    token(claims, key=...)           signed; exp, iss and aud are there unless claims say otherwise (None: left out)
    jwks(key, ...)                   the text of a key set
    bearer(...)                      the header of a call that shows such a token
"""

import atexit
import base64
import functools
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import tempfile
import time

ISSUER, AUDIENCE = "https://id.test", "app"

MAKE = {  # what `openssl genpkey` is told, and `openssl dgst` or `pkeyutl` to sign
    "RS256": (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], ["dgst", "-sha256", "-sign"]),
    "PS256": (["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
              ["dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "-sign"]),
    "ES256": (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], ["dgst", "-sha256", "-sign"]),
    "EdDSA": (["-algorithm", "ED25519"], ["pkeyutl", "-sign", "-rawin", "-inkey"]),
}


def b64(data):
    data = data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@functools.cache
def folder():
    path = tempfile.mkdtemp(prefix="weir-keys-")
    atexit.register(shutil.rmtree, path, True)
    return path


def openssl(*args):
    return subprocess.run(["openssl", *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def raw_es256(der):
    """The two integers of a DER signature, 32 bytes each, side by side."""
    at, out = 2, b""
    for _ in range(2):
        n = der[at + 1]
        out += der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + n
    return out


class Key:
    def __init__(self, alg, kid):
        self.alg, self.kid = alg, kid
        self.secret = hashlib.sha256(f"{alg} {kid}".encode()).digest()
        self.path = os.path.join(folder(), f"{alg}-{kid}.pem")
        if alg != "HS256":
            openssl("genpkey", *MAKE[alg][0], "-out", self.path)

    def jwk(self, **more):
        return {**self._members(), "kid": self.kid, "alg": self.alg, "use": "sig", **more}

    def _members(self):
        if self.alg == "HS256":
            return {"kty": "oct", "k": b64(self.secret)}
        if self.alg in ("RS256", "PS256"):
            n = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().partition("=")[2]
            return {"kty": "RSA", "n": b64(bytes.fromhex(n)), "e": "AQAB"}
        der = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")
        if self.alg == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "x": b64(der[-32:])}
        return {"kty": "EC", "crv": "P-256", "x": b64(der[-64:-32]), "y": b64(der[-32:])}

    def sign(self, data):
        if self.alg == "HS256":
            return hmac.new(self.secret, data, "sha256").digest()
        with tempfile.NamedTemporaryFile(dir=folder()) as f:
            f.write(data)
            f.flush()
            made = openssl(*MAKE[self.alg][1], self.path, *(["-in"] if self.alg == "EdDSA" else []), f.name)
        return raw_es256(made) if self.alg == "ES256" else made


@functools.cache
def key(alg="HS256", kid="first"):
    return Key(alg, kid)


def jwks(*keys):
    return json.dumps({"keys": [k.jwk() if isinstance(k, Key) else k for k in keys]})


def token(claims=None, key=None, header=None):
    signer = key or globals()["key"]()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + 600, **(claims or {})}
    header = {"alg": signer.alg, "kid": signer.kid, **(header or {})}
    parts = [b64(json.dumps({k: v for k, v in x.items() if v is not None})) for x in (header, claims)]
    return ".".join([*parts, b64(signer.sign(".".join(parts).encode()))])


def bearer(text=None, **claims):
    return {"Authorization": f"Bearer {text or token(claims)}"}

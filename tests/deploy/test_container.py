"""The image: built from its Dockerfile by buildah, with nothing in it but Weir, and run as a container runtime would."""

import json
import os
import pathlib
import re
import signal
import socket
import struct
import threading

import pytest

import harness
from certificates import certs
from conftest import ROOT
from roots import sh

# What a runtime does: a read-only file system, /proc, the names and the configuration mounted in, a user who is nobody.
RUN = """#!/bin/sh
exec unshare -m --propagation private sh -c '
mount --bind "{image}" "{image}" && mount -t proc proc "{image}/proc" && {mounts} && mount -o remount,ro,bind "{image}" &&
exec chroot --userspec=65532:65532 "{image}" {words}'
"""
NAME_SERVER = f"127.53.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"


class Buildah:
    def __init__(self, folder):
        self.options = ("--root", folder / "images", "--runroot", folder / "run")

    def __call__(self, *argv, **more):
        return sh("buildah", *self.options, *argv, **more).stdout.strip()


@pytest.fixture(scope="module")
def buildah(debian, work):
    b = Buildah(work)
    c = b("from", "scratch")
    b("add", "-q", c, debian, "/")
    b("config", "--env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", c)
    b("commit", "-q", "--rm", c, "localhost/debian:test")
    yield b
    sh("buildah", *b.options, "rm", "-a", check=False)
    sh("buildah", *b.options, "rmi", "-a", "-f", check=False)


@pytest.fixture(scope="module")
def image(buildah):
    """Its name, from the Dockerfile as it is but for the base, which comes from no registry."""
    buildah("bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--build-arg", "BASE=localhost/debian:test",
            "-f", ROOT / "deploy/container/Dockerfile", "-t", "weir:test", ROOT, timeout=500)
    return "localhost/weir:test"


@pytest.fixture(scope="module")
def files(buildah, image, tmp_path_factory):
    """Its file system, a copy."""
    where = tmp_path_factory.mktemp("image")
    c = buildah("from", "--pull-never", image)
    sh("cp", "-a", f"{buildah('mount', c)}/.", where)
    buildah("rm", c)
    return where


def test_it_is_small_and_holds_nothing_else(files):
    there = {"/" + str(p.relative_to(files)): p.lstat() for p in files.rglob("*") if not p.is_dir()}
    assert sum(s.st_size for s in there.values()) < 12_000_000
    others = {p for p in there if not re.fullmatch(r"(/usr)?/lib(64|/x86_64-linux-gnu|/aarch64-linux-gnu)?/[\w.+-]+\.so[.\d]*", p)}
    assert others == {"/usr/bin/weir", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/weir/weir.yaml",
                      "/etc/ssl/certs/ca-certificates.crt"}
    assert not [p for p, s in there.items() if s.st_mode & 0o6002], "set-uid, or anybody may write it"


def test_what_a_runtime_is_told(buildah, image):
    conf = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    assert conf["User"] == "65532:65532" and conf["Entrypoint"] == ["/usr/bin/weir"] and conf["StopSignal"] == "SIGTERM"
    assert "PATH=/usr/bin" in conf["Env"], "`weir` by its name, whoever runs it there"
    assert conf["Labels"]["org.opencontainers.image.title"] == "weir" and conf["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    assert conf["Healthcheck"]["Test"] == ["CMD", "/usr/bin/weir", "healthcheck"] and set(conf["ExposedPorts"]) == {"8080/tcp", "9902/tcp"}


@pytest.fixture
def contained(files, tmp_path):
    """Runs words in the image, with a folder mounted as /etc/weir, and files over others by their path."""
    (files / "proc").mkdir(exist_ok=True)
    (files / "etc/hosts").touch()
    (files / "etc/resolv.conf").touch()
    hosts, resolv, made = tmp_path / "hosts", tmp_path / "resolv.conf", []
    hosts.write_text("127.0.0.1 app\n")
    resolv.write_text(f"nameserver {NAME_SERVER}\noptions timeout:1\n")

    def make(folder, words, over=()):
        mounts = {"/etc/weir": folder, "/etc/hosts": hosts, "/etc/resolv.conf": resolv, **dict(over)}
        script = tmp_path / f"contained{len(made)}"
        binds = " && ".join(f'mount --bind "{source}" "{files}{target}"' for target, source in mounts.items())
        script.write_text(RUN.format(image=files, mounts=binds, words=words))
        script.chmod(0o755)
        made.append(script)
        return str(script)

    return make


@pytest.fixture
def name_server():
    """Knows one name, app.test, and its one address; says of all others that they are none."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((NAME_SERVER, 53))

    def answer():
        while True:
            asked, peer = s.recvfrom(512)
            if not asked:
                return
            end = asked.index(b"\0", 12) + 5
            ours, address = asked[12:end - 4] == b"\3app\4test\0", asked[end - 4:end - 2] == b"\0\1"
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1") if ours and address else b""
            head = asked[:2] + struct.pack(">HHHHH", 0x8180 if ours else 0x8183, 1, 1 if record else 0, 0, 0)
            s.sendto(head + asked[12:end] + record, peer)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"", (NAME_SERVER, 53))
    thread.join(10)
    s.close()


def test_it_runs_answers_for_its_health_reloads_and_ends(contained, tmp_path):
    folder = tmp_path / "weir"
    folder.mkdir()
    ask = contained(folder, "/usr/bin/weir healthcheck")
    w = harness.Weir(contained(folder, "/usr/bin/weir run -c /etc/weir/weir.yaml --watch"), folder, start=False, checks=False)
    try:
        w.upstream.serve()
        w.sections["upstreams"] = {"app": w.upstream.addr.replace("127.0.0.1", "app")}  # a name: the resolver is there
        w.write()
        assert sh(ask, check=False).returncode == 1
        w.start()
        assert w.fetch().status == 200 and sh(ask).stdout == "/ready 200\n"
        status = dict(re.findall(r"^(\w+):\s*(\S+)", open(f"/proc/{w.proc.pid}/status", encoding="utf-8").read(), re.M))
        assert status["Uid"] == "65532" and int(status["CapEff"], 16) == 0
        w.write(policies={"p": {"rate": "1/m"}}, use=["p"])
        harness.until(lambda: w.reloads() == 1, "the file was read again")
        assert w.statuses(2) == [200, 429]
        w.signal(signal.SIGTERM)
        assert w.wait_exit() == 0 and sh(ask, check=False).returncode == 1
    finally:
        w.kill()
        w.upstream.end()


def test_the_configuration_that_it_brings(contained, files, tmp_path):
    folder = tmp_path / "brought"
    sh("cp", "-r", files / "etc/weir", folder)
    said = sh(contained(folder, "/usr/bin/weir dump"), env={"WEIR_UPSTREAM": "app:3000", "WEIR_RATE": "7/s", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}).stdout
    assert "app:3000" in said and "7/s" in said
    assert "0 errors, 0 warnings" in sh(contained(folder, "/usr/bin/weir check --strict")).stderr


@pytest.mark.parametrize("ours,status", [(False, 502), (True, 200)])
def test_names_come_from_dns_and_upstreams_are_judged_by_the_authorities_in_it(contained, name_server, tmp_path, ours, status):
    """The image's own bundle does not know the test's authority; one that a runtime mounts over it does."""
    folder, bundle = tmp_path / "weir", tmp_path / "bundle.pem"
    bundle.write_text(pathlib.Path(certs().file("ca.pem")).read_text())
    over = {"/etc/ssl/certs/ca-certificates.crt": bundle} if ours else {}
    w = harness.Weir(contained(folder, "/usr/bin/weir run -c /etc/weir/weir.yaml", over), folder, checks=False, start=False,
                     upstream=harness.Upstream(tls=certs().server()))
    try:
        w.upstream.serve()
        w.sections["upstreams"] = {"app": w.upstream.addr.replace("127.0.0.1", "https://app.test")}
        w.write()
        w.start()
        assert w.fetch().status == status, w.stderr()
        assert w.upstream.requests == int(ours) and (ours or "CERTIFICATE" in w.stderr().upper()), w.stderr()
    finally:
        w.kill()
        w.upstream.end()

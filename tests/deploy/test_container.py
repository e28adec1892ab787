"""The image: built from its Dockerfile by buildah, with nothing in it but Weir, and run as a container runtime would."""

import json
import re
import signal

import pytest

import harness
from conftest import ROOT
from roots import sh

# What a runtime does: a read-only file system, /proc, the names and the configuration mounted in, a user who is nobody.
RUN = """#!/bin/sh
exec unshare -m --propagation private sh -c '
mount --bind "{image}" "{image}" && mount -t proc proc "{image}/proc" && mount --bind "{hosts}" "{image}/etc/hosts" &&
mount --bind "{folder}" "{image}/etc/weir" && mount -o remount,ro,bind "{image}" &&
exec chroot --userspec=65532:65532 "{image}" {words}'
"""


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
    assert conf["Healthcheck"]["Test"] == ["CMD", "/usr/bin/weir", "healthcheck"] and set(conf["ExposedPorts"]) == {"8080/tcp", "9902/tcp"}


@pytest.fixture
def contained(files, tmp_path):
    """Runs words in the image, beside the Weir whose folder is mounted as /etc/weir."""
    (files / "proc").mkdir(exist_ok=True)
    (files / "etc/hosts").touch()
    hosts, made = tmp_path / "hosts", []
    hosts.write_text("127.0.0.1 app\n")

    def make(folder, words):
        script = tmp_path / f"contained{len(made)}"
        script.write_text(RUN.format(image=files, hosts=hosts, folder=folder, words=words))
        script.chmod(0o755)
        made.append(script)
        return str(script)

    return make


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

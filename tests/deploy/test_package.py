"""The Debian package: built by CPack, judged by lintian, installed by apt, run under a systemd, upgraded, downgraded, purged."""

import re
import time

import pytest

from certificates import certs
from conftest import ROOT
from roots import sh

BROUGHT = ["/usr/bin/weir", "/etc/weir/weir.yaml", "/lib/systemd/system/weir.service", "/lib/systemd/system/weir.socket",
           "/usr/lib/sysusers.d/weir.conf", "/usr/share/doc/weir/copyright", "/usr/share/doc/weir/changelog.gz", "/usr/share/doc/weir/runbook.md", "/usr/share/doc/weir/sizing.md"]
PRINTED = {("man", "weir.1"): "/usr/share/man/man1/weir.1.gz", ("man", "weir.yaml.5"): "/usr/share/man/man5/weir.yaml.5.gz",
           ("completion", "bash"): "/usr/share/bash-completion/completions/weir",
           ("completion", "zsh"): "/usr/share/zsh/vendor-completions/_weir"}


def pack(binary, folder):
    for old in folder.glob("weir_*.deb"):
        old.unlink()
    sh("cpack", "-G", "DEB", "-B", folder, cwd=binary.parent)
    return next(folder.glob("weir_*.deb"))


@pytest.fixture(scope="module")
def deb(binary, work):
    return pack(binary, work)


@pytest.fixture(scope="module")
def installed(root, deb):
    """With everything that it brings along; `there` is what had weir in its name before."""
    root.there = traces(root)
    sh("cp", deb, root.path / "root/weir.deb")
    root.run("apt-get", "-qq", "update")
    root.run("apt-get", "-qq", "-y", "--no-install-recommends", "install", "/root/weir.deb")
    (root.path / "root/weir.deb").unlink()
    return root


def traces(root):
    """Files by its name, and those that would be left of its user."""
    found = root.run("find", "/", "-xdev", "(", "-name", "*weir*", "-o", "-nouser", "-o", "-nogroup", ")", "-not", "-path", "/proc/*", "-print")
    return set(found.stdout.split())


def test_it_has_what_it_should_and_lintian_finds_no_error(deb, binary):
    listed = sh("dpkg-deb", "-c", deb).stdout
    files = {m[1] for m in re.finditer(r" \.(/\S*[^/\s])$", listed, re.M)}
    prints = {path for words, path in PRINTED.items() if sh(binary, *words, check=False).returncode == 0}
    assert files >= set(BROUGHT) | prints, (set(BROUGHT) | prints) - files
    assert not {f for f in files if re.search(r"\.(h|a|o|cmake)$", f)}
    said = sh("lintian", "--no-cfg", "--allow-root", "--fail-on", "error", deb, check=False)
    assert said.returncode == 0 and "\nE:" not in "\n" + said.stdout, said.stdout + said.stderr


def test_packed_twice_it_is_the_same(binary, deb, tmp_path):
    assert pack(binary, tmp_path).read_bytes() == deb.read_bytes()


def test_apt_installs_it_with_what_it_needs(installed):
    assert installed.run("weir", "version").stdout.startswith("weir ")
    assert installed.run("weir", "check", "-c", "/etc/weir/weir.yaml", "--strict").returncode == 0
    assert installed.run("getent", "passwd", "weir").stdout.strip().endswith(":/usr/sbin/nologin")
    assert installed.run("dpkg-query", "-W", "-f", "${Conffiles}", "weir").stdout.split()[0] == "/etc/weir/weir.yaml"
    assert "not found" not in installed.run("ldd", "/usr/bin/weir").stdout


def ready(root):
    return root.run("weir", "healthcheck", check=False).returncode == 0


def shown(root, name, unit="weir.service"):
    return root.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def rate(root):
    """What is in force, as the running Weir says it."""
    asked = root.run("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9901; printf 'GET /config HTTP/1.1\\r\\nHost: localhost:9901\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3")
    return re.search(r"rate\W+(\d+)/s", asked.stdout)[1]


def until(check, seconds=10):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.05)


def logged(root, text):
    """The journal has it, which it gets a little after it was written."""
    return text in root.run("journalctl", "--no-pager", "-u", "weir").stdout


@pytest.fixture(scope="module")
def systemd(installed):
    yield installed.boot()
    installed.halt()


@pytest.fixture
def booted(systemd):
    """Starts are counted anew for each test: the unit allows ten in a minute."""
    systemd.run("systemctl", "reset-failed")
    return systemd


def test_nothing_runs_until_somebody_says_so(booted):
    assert shown(booted, "ActiveState") == "inactive" and shown(booted, "UnitFileState") == "disabled"


def test_it_starts_reloads_refuses_to_reload_and_stops_under_systemd(booted):
    booted.run("systemctl", "start", "weir")
    assert ready(booted) and shown(booted, "StatusText").startswith("Serving 1 routes") and rate(booted) == "50"
    booted.run("sh", "-c", "sed 's|50/s|60/s|; $a lissen: x' -i /etc/weir/weir.yaml")
    assert booted.run("systemctl", "reload", "weir", check=False).returncode != 0
    assert shown(booted, "ActiveState") == "active" and rate(booted) == "50"
    until(lambda: logged(booted, "did you mean `listen`"))
    booted.run("sed", "-i", "/lissen/d", "/etc/weir/weir.yaml")
    booted.run("systemctl", "reload", "weir")
    until(lambda: rate(booted) == "60")
    booted.run("systemctl", "stop", "weir")
    assert shown(booted, "Result") == "success" and not ready(booted)


def test_a_file_that_is_wrong_fails_the_start(booted):
    booted.run("sed", "-i", "$a lissen: x", "/etc/weir/weir.yaml")
    assert booted.run("systemctl", "start", "weir", check=False).returncode != 0
    booted.run("systemctl", "stop", "weir")
    booted.run("sed", "-i", "/lissen/d", "/etc/weir/weir.yaml")
    booted.run("systemctl", "reset-failed", "weir", check=False)


def test_it_is_locked_in(booted):
    booted.run("systemctl", "start", "weir")
    pid = shown(booted, "MainPID")
    status = dict(re.findall(r"^(\w+):\s*(\S+)", booted.run("cat", f"/proc/{pid}/status").stdout, re.M))
    assert status["Uid"] != "0" and int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    score = booted.run("systemd-analyze", "security", "--offline=true", "--no-pager", "/lib/systemd/system/weir.service", check=False).stdout
    assert float(re.search(r"Overall exposure level for weir.service: ([0-9.]+)", score)[1]) <= 1.5
    booted.run("systemctl", "stop", "weir")


def test_one_that_hangs_is_started_again(booted):
    booted.run("sh", "-ec", "mkdir -p /etc/systemd/system/weir.service.d; printf '[Service]\\nWatchdogSec=4s\\n' >/etc/systemd/system/weir.service.d/test.conf; "
               "systemctl daemon-reload; systemctl start weir")
    before = shown(booted, "MainPID")
    booted.run("kill", "-STOP", before)
    until(lambda: shown(booted, "MainPID") not in (before, "0") and ready(booted), 60)
    until(lambda: logged(booted, "Watchdog timeout"))
    booted.run("sh", "-ec", "systemctl stop weir; rm -r /etc/systemd/system/weir.service.d; systemctl daemon-reload")


def test_a_key_for_its_group_and_a_log_that_is_opened_anew(booted):
    """The README's way to a key, `/var/log/weir`, and the runbook's USR1."""
    certs().file("server.pem")
    sh("install", "-m", "644", certs().path("server.pem.crt"), booted.path / "etc/weir/cert.pem")
    sh("install", "-m", "600", certs().path("server.pem.key"), booted.path / "etc/weir/key.pem")
    said = "listen: { addr: 127.0.0.1:8080, tls: { cert: /etc/weir/cert.pem, key: /etc/weir/key.pem } }"
    booted.run("sed", f"s|^listen: .*|{said}\\nlog: {{ access: /var/log/weir/access.log }}|", "-i.before", "/etc/weir/weir.yaml")
    assert booted.run("systemctl", "start", "weir", check=False).returncode != 0
    booted.run("sh", "-ec", "chgrp weir /etc/weir/key.pem; chmod 640 /etc/weir/key.pem; systemctl start weir; systemctl reload weir")
    assert ready(booted) and booted.run("stat", "-c", "%U", "/var/log/weir/access.log").stdout == "weir\n"
    booted.run("mv", "/var/log/weir/access.log", "/var/log/weir/old.log")
    booted.run("systemctl", "kill", "-s", "USR1", "--kill-who=main", "weir")
    until((booted.path / "var/log/weir/access.log").exists)
    booted.run("systemctl", "stop", "weir")
    booted.run("sh", "-ec", "mv /etc/weir/weir.yaml.before /etc/weir/weir.yaml; rm -r /etc/weir/cert.pem /etc/weir/key.pem /var/log/weir/*")


def test_systemd_opens_the_port_below_1024_and_a_restart_refuses_nobody(booted):
    booted.run("sh", "-c", "mkdir -p /etc/systemd/system/weir.socket.d && printf '[Socket]\\nListenStream=\\nListenStream=127.0.0.1:80\\n' "
               ">/etc/systemd/system/weir.socket.d/port.conf && sed -i 's/127.0.0.1:8080/127.0.0.1:80/' /etc/weir/weir.yaml && systemctl daemon-reload")
    booted.run("systemctl", "start", "weir.socket")
    assert shown(booted, "ActiveState") == "inactive"
    calls = """call() { for i in $(seq 300); do exec 3<>/dev/tcp/127.0.0.1/80 || exit 1
        printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3; read -r line <&3 || exit 2; echo "$line"; sleep 0.005; done; }
        call & for i in 1 2 3; do systemctl restart weir || exit 3; done; wait $!"""
    said = booted.run("bash", "-c", calls, check=False)
    assert said.returncode == 0 and len(re.findall("HTTP/1.1 50[023]", said.stdout)) == 300, said.stdout + said.stderr  # there is no app
    until(lambda: logged(booted, "127.0.0.1:80, inherited"))
    booted.run("systemctl", "stop", "weir.socket", "weir.service")
    booted.run("rm", "-r", "/etc/systemd/system/weir.socket.d")


def later(deb, folder, version):
    """The package as a later release might be: its own version, and a configuration that it brings with another rate."""
    tree = folder / version
    sh("dpkg-deb", "-R", deb, tree)
    for name, old, new in (("DEBIAN/control", r"^Version: .*$", f"Version: {version}"), ("etc/weir/weir.yaml", r"rate: 50/s", "rate: 80/s")):
        text = (tree / name).read_text()
        assert re.search(old, text, re.M)
        (tree / name).write_text(re.sub(old, new, text, flags=re.M))
    sh("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, folder / f"weir-{version}.deb")
    return folder / f"weir-{version}.deb"


def put(root, deb):
    """What unattended upgrades do: an edited file is kept."""
    sh("cp", deb, root.path / "root/weir.deb")
    root.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y", "--allow-downgrades", "-o", "Dpkg::Options::=--force-confdef",
             "-o", "Dpkg::Options::=--force-confold", "install", "/root/weir.deb")
    (root.path / "root/weir.deb").unlink()
    return root.run("dpkg-query", "-W", "-f", "${Status} ${Version}", "weir").stdout


@pytest.fixture(scope="module")
def renewed(systemd, deb):
    """Purged and installed again under the systemd that runs."""
    systemd.run("apt-get", "-qq", "-y", "purge", "weir")
    return put(systemd, deb)


@pytest.fixture
def fresh(booted, renewed):
    return booted


def test_an_upgrade_restarts_what_runs_and_brings_its_own_file_where_nobody_edited(fresh, deb, tmp_path):
    assert shown(fresh, "ActiveState") == "inactive" and shown(fresh, "UnitFileState") == "disabled"
    fresh.run("systemctl", "enable", "--now", "weir")
    before = shown(fresh, "MainPID")
    assert put(fresh, later(deb, tmp_path, "0.9.0")) == "install ok installed 0.9.0"
    assert shown(fresh, "MainPID") not in (before, "0") and shown(fresh, "UnitFileState") == "enabled"
    assert ready(fresh) and rate(fresh) == "80"


def test_an_upgrade_and_a_downgrade_keep_what_was_edited(fresh, deb, tmp_path):
    put(fresh, deb)
    fresh.run("sed", "-i", "s|rate: [0-9]*/s|rate: 70/s|", "/etc/weir/weir.yaml")
    fresh.run("systemctl", "restart", "weir")
    for package, version in ((later(deb, tmp_path, "0.9.1"), "0.9.1"), (deb, "0.1.0")):
        before = shown(fresh, "MainPID")
        assert put(fresh, package).endswith(version)
        assert shown(fresh, "MainPID") not in (before, "0") and ready(fresh) and rate(fresh) == "70"


def test_an_upgrade_starts_nothing_that_was_stopped(fresh, deb, tmp_path):
    fresh.run("systemctl", "stop", "weir")
    put(fresh, later(deb, tmp_path, "0.9.2"))
    assert shown(fresh, "ActiveState") == "inactive" and shown(fresh, "UnitFileState") == "enabled"


def test_removed_while_it_runs_and_installed_again(fresh, deb):
    fresh.run("systemctl", "start", "weir")
    fresh.run("apt-get", "-qq", "-y", "remove", "weir")
    assert shown(fresh, "ActiveState") == "inactive" and shown(fresh, "LoadState") == "not-found"
    assert "rate: 70/s" in fresh.run("cat", "/etc/weir/weir.yaml").stdout
    put(fresh, deb)
    fresh.run("systemctl", "start", "weir")
    assert ready(fresh) and rate(fresh) == "70"
    fresh.run("apt-get", "-qq", "-y", "purge", "weir")  # under its feet
    assert shown(fresh, "ActiveState") == "inactive" and traces(fresh) == fresh.there
    put(fresh, deb)


def test_by_hand_as_the_readme_of_the_units_says(fresh, deb, binary):
    fresh.run("apt-get", "-qq", "-y", "purge", "weir")
    block = re.search(r"(?:^ {4}\S.*\n)+", (ROOT / "deploy/systemd/README.md").read_text(), re.M)[0]
    sh("cp", "-r", ROOT / "deploy", fresh.path / "root/deploy")
    sh("install", "-D", "-s", binary, fresh.path / "root/build/weir")
    fresh.run("sh", "-ec", "cd /root; " + block)
    assert ready(fresh) and shown(fresh, "UnitFileState") == "enabled" and shown(fresh, "FragmentPath") == "/etc/systemd/system/weir.service"
    fresh.run("sh", "-ec", "systemctl disable --now weir; rm -r /root/build /root/deploy /etc/systemd/system/weir.* /etc/weir /usr/bin/weir /usr/lib/sysusers.d/weir.conf; "
              "rm -rf /var/log/weir; userdel weir; systemctl daemon-reload")
    assert traces(fresh) == fresh.there
    put(fresh, deb)


def test_what_was_edited_stays_when_it_is_removed_and_nothing_when_it_is_purged(installed):
    installed.halt()
    installed.run("sed", "-i", "$a # edited", "/etc/weir/weir.yaml")
    installed.run("apt-get", "-qq", "-y", "remove", "weir")
    assert "# edited" in (installed.path / "etc/weir/weir.yaml").read_text() and not (installed.path / "usr/bin/weir").exists()
    installed.run("apt-get", "-qq", "-y", "purge", "weir")
    assert traces(installed) == installed.there
    assert installed.run("getent", "passwd", "weir", check=False).returncode == 2
    assert installed.run("getent", "group", "weir", check=False).returncode == 2

"""Small Debians to install things in: unpacked from a tar file, entered through namespaces, or booted."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

ENTER = """mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && r=$1 && shift && exec chroot "$r" "$@" """
# systemd as process 1 of namespaces of its own, with the devices that a container has
BOOT = """set -e
r=$1
mount --bind $r $r
mount -t proc proc $r/proc
mount -t sysfs -o ro sysfs $r/sys
mount -t tmpfs tmpfs $r/dev
for d in null zero full random urandom tty; do touch $r/dev/$d; mount --bind /dev/$d $r/dev/$d; done
ln -s pts/ptmx $r/dev/ptmx
ln -s /proc/self/fd $r/dev/fd
mount -t tmpfs tmpfs $r/run
mount -t cgroup2 cgroup2 $r/sys/fs/cgroup
cd $r
pivot_root . mnt
umount -l /mnt
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd systemd.unit=multi-user.target
"""


def need_root():
    if os.geteuid() != 0:
        pytest.skip("needs root")


def sh(*argv, check=True, timeout=240, **more):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False, **more)
    assert not check or done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def make_base(tar):
    if not tar.exists():
        new = tar.with_suffix(".new.tar")
        sh("mmdebstrap", "--variant=minbase", "--include=systemd-sysv,ca-certificates", "bookworm", new)
        new.rename(tar)
    return tar


class Root:
    def __init__(self, path, tar):
        self.path = pathlib.Path(path)
        self.init = None
        sh("tar", "-C", self.path, "--exclude=./dev/*", "-xf", tar)
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
        (self.path / "mnt").mkdir(exist_ok=True)

    def run(self, *argv, check=True, **more):
        """In it: under its systemd if that was booted, else in a chroot of a mount namespace."""
        if self.init is not None:
            return sh("nsenter", "-t", self.pid, "-m", "-p", "-n", "-u", "-i", "-C", *argv, check=check, **more)
        return sh("unshare", "-m", "--propagation", "private", "sh", "-c", ENTER, "sh", self.path, *argv, check=check,
                  env={"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}, **more)

    def boot(self):
        """Its systemd, up to `running`; skips the test where the machine does not let one boot."""
        v2 = pathlib.Path("/sys/fs/cgroup/unified")
        self.cgroup = (v2 if v2.is_dir() else v2.parent) / f"weir-test-{os.getpid()}"
        try:
            self.cgroup.mkdir()
        except OSError as e:
            pytest.skip(f"no cgroup for a systemd: {e}")
        script = f'echo $$ >{self.cgroup}/cgroup.procs && exec unshare -m -p -f -n -u -i -C --kill-child --propagation private sh -c "$2" sh "$1"'
        with open(self.path / "boot.log", "wb") as log:
            self.init = subprocess.Popen(["sh", "-c", script, "sh", str(self.path), BOOT], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.2)
            children = pathlib.Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children")
            if self.init.poll() is not None:
                break
            self.pid = (children.read_text().split() or [None])[0]
            if self.pid and self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                return self
        why = (self.path / "boot.log").read_text()[-500:]
        self.halt()
        pytest.skip(f"no systemd boots here: {why}")

    def halt(self):
        if self.init is None:
            return
        self.init.send_signal(signal.SIGKILL)  # and with it, its child and all that lives in those namespaces
        self.init.wait(30)
        self.init = None
        for _ in range(100):
            try:
                for d in sorted((p for p in self.cgroup.rglob("*") if p.is_dir()), reverse=True):
                    d.rmdir()
                self.cgroup.rmdir()
                break
            except OSError:
                time.sleep(0.1)

    def end(self):
        self.halt()
        shutil.rmtree(self.path, ignore_errors=True)

"""What is deployed, tried: WEIR_BIN is the build it is made from; roots and images go beside it, into deploy/."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "e2e")]

import roots  # noqa: E402  pylint: disable=wrong-import-position


@pytest.fixture(scope="session")
def binary():
    path = pathlib.Path(os.environ.get("WEIR_BIN", ROOT / "build-release/weir")).resolve()
    assert path.exists(), f"no Weir to deploy: {path}"
    return path


@pytest.fixture(scope="session")
def work(binary):
    path = binary.parent / "deploy"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="session")
def debian(work):
    """A tar file of the least Debian that has a systemd; made once for a build folder."""
    roots.need_root()
    return roots.make_base(work / "debian.tar")


@pytest.fixture(scope="module")
def root(debian, tmp_path_factory):
    """That Debian, unpacked: Root.run runs something in it, Root.boot starts its systemd."""
    made = roots.Root(tmp_path_factory.mktemp("root"), debian)
    yield made
    made.end()

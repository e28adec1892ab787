"""Fixtures: weir(...) starts one, upstreams(n) makes more upstreams, run(...) runs the command line.

WEIR_BIN names the build to test; several, separated by colons, run every test once for each.
"""

import contextlib
import itertools
import os
import pathlib
import subprocess
import tempfile

import pytest

import harness

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binaries():
    named = os.environ.get("WEIR_BIN")
    found = named.split(":") if named else [
        str(p) for p in (ROOT / "build-release/weir", ROOT / "build/weir") if p.exists()][:1]
    return [str(pathlib.Path(p).resolve()) for p in found]


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds")
    missing = [p for p in binaries() if not os.access(p, os.X_OK)]
    if missing or not binaries():
        raise pytest.UsageError(f"no Weir to test: {missing or 'set WEIR_BIN'}")
    for p in binaries():
        if harness.flavour_of(p):
            harness.SLOW = max(harness.SLOW, 3.0)
            harness.TIMEOUT = 6.0 * harness.SLOW


def pytest_generate_tests(metafunc):
    paths = binaries()
    if "binary" in metafunc.fixturenames and len(paths) > 1:
        metafunc.parametrize("binary", paths, ids=[pathlib.Path(p).parent.name for p in paths])


@pytest.fixture
def binary():
    return binaries()[0]


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)
    if report.failed:
        for w in getattr(item, "weirs", []):
            with contextlib.suppress(OSError), open(w.path, encoding="utf-8", errors="replace") as f:
                report.sections.append(("weir.yaml", f.read()[:4000]))
            if w.proc is not None:
                report.sections.append((f"weir stderr (exit {w.proc.poll()})", w.stderr()[-6000:]))


def _failed(node):
    report = getattr(node, "report_call", None)
    return report is None or report.failed


@pytest.fixture
def upstreams(request):
    """upstreams(3): three of them, hung up at the end."""
    made = []

    def make(n, *args, **more):
        new = [harness.Upstream(*args, **more) for _ in range(n)]
        made.extend(new)
        return new

    make.made = made
    yield make
    for u in made:
        u.end()


@pytest.fixture
def weir(request, binary, tmp_path, upstreams):
    """weir(**configuration) starts a Weir; see harness.Weir.  serve=True: the upstream answers 200 by itself."""
    made = request.node.weirs = []
    numbers = itertools.count()

    def start(serve=None, **more):
        begin = more.pop("start", True)
        w = harness.Weir(binary, tmp_path / f"weir{next(numbers)}", start=False, **more)
        made.append(w)
        if serve:
            w.upstream.serve(None if serve is True else serve)
        if begin:
            w.start()
        return w

    yield start
    # upstreams made beside it hang up first, or their idle connections would count as leaked
    for u in upstreams.made:
        u.close_all()
    problems = []
    for w in made:
        try:
            w.finish(failed=_failed(request.node))
        except AssertionError as e:
            problems.append(str(e))
    harness.release_ports()
    assert not problems, "\n".join(problems)


@pytest.fixture
def run(binary, tmp_path):
    """run("check", "-c", path): the command line, to its end.

    Its end is the end of the process, not of its pipes: what it prints goes to files.
    """
    def go(*args, env=None, timeout=30, cwd=None):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run([binary, *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                  timeout=timeout * harness.SLOW, env={**os.environ, **(env or {})}, cwd=cwd or tmp_path, check=False)
            for name, f in (("stdout", out), ("stderr", err)):
                f.seek(0)
                setattr(done, name, f.read().decode())
            return done

    return go


@pytest.fixture
def policy(tmp_path):
    """policy(text) writes a configuration and returns its path."""
    def write(text, name="weir.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write

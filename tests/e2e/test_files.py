"""Answers from files: one, or what is below a folder.  What must not be reached, what is not there, what changes while it is
sent; then what a client of files wants."""

import os
import random

import pytest

from certificates import certs
from h2wire import H2Client
from harness import until

BIG = random.Random(7).randbytes(3_000_000)


@pytest.fixture
def www(tmp_path):
    """A folder with files; beside it what must not be read."""
    folder = tmp_path / "www"
    for d in ("dir", "none", "deep/er"):
        (folder / d).mkdir(parents=True)
    for name, text in {"a.txt": "hello", "dir/index.html": "index", "sp ace.txt": "space", "empty": "", "x.TXT": "upper",
                       "deep/er/b.html": "deep", "p%.txt": "percent"}.items():
        (folder / name).write_text(text)
    (folder / "big").write_bytes(BIG)
    (tmp_path / "secret").write_text("secret")
    (folder / "out").symlink_to("../secret")
    (folder / "abs").symlink_to(tmp_path / "secret")
    (folder / "in").symlink_to("deep/../a.txt")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def files(weir, www):
    def go(respond=(), route=(), routes=(), **more):
        own = {"name": "f", "respond": {"files": str(www), **dict(respond)}, **dict(route)}
        return weir(routes=[own, *routes], **more)

    return go


def get(w, target, status=200, body=None, **more):
    return w.client().ask(target, **more).expect(status, body, head=more.get("method") == "HEAD")


# ---- what must not be had

@pytest.mark.parametrize("target", [
    "/../secret", "/%2e%2e/secret", "/..%2fsecret", "/%2e%2e%2fsecret", "/dir/../../secret", "/..\\secret", "/..%5csecret",
    "/./../secret", "//../secret", "/dir/..%2f..%2fsecret", "/..;/secret", "/a.txt%00", "/%00", "/a.txt%", "/a%zz", "/..%00/secret",
    "/dir%2f..%2f..%2fsecret", "/..%c0%afsecret", "/%252e%252e/secret", "/out", "/out/", "/abs", "/loop", "/dir%2findex.html"])
def test_nothing_outside_is_reached(files, target):
    assert get(files(), target, status=None).status in (400, 403, 404)


def test_links_lead_out_only_where_they_may(files, www):
    w = files({"links": "anywhere"})
    get(w, "/out", body=b"secret")
    get(w, "/abs", body=b"secret")
    get(w, "/../secret", status=400)
    get(w, "/loop", status=403)


def test_what_is_no_file_is_left_alone(files):
    w = files()
    for target, status in {"/fifo": 404, "/fifo/": 404, "/a.txt/": 404, "/a.txt/x": 404, "/nope": 404, "/nope/": 404, "/none/": 403,
                           "/none": 301, "/" + "x" * 300: 404, "/sp%20ace.txt/": 404}.items():
        get(w, target, status=status)
    assert w.access(3)[0]["reason"] == "no_file"


def test_devices_are_not_opened(files):
    w = files(more=None, respond={"files": "/dev"})
    get(w, "/zero", status=404)
    get(w, "/tty", status=404)


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be read")
def test_what_may_not_be_read(files, www):
    (www / "a.txt").chmod(0)
    get(files(), "/a.txt", status=403)


def test_a_folder_that_is_gone(files, tmp_path):
    w = files({"files": str(tmp_path / "later")})
    get(w, "/a.txt", status=404)
    (tmp_path / "later").mkdir()
    (tmp_path / "later/a.txt").write_text("later")
    get(w, "/a.txt", body=b"later")


@pytest.mark.parametrize("method, status", [("PUT", 405), ("DELETE", 405), ("OPTIONS", 405), ("POST", 405), ("FOO", 405), ("TRACE", 405)])
def test_other_methods(files, method, status):
    r = get(files(), "/a.txt", status=status, method=method)
    assert method == "TRACE" or r.get("Allow") == "GET, HEAD"


def test_becomes_shorter_while_it_is_sent(files, www):
    os.truncate(www / "big", 30_000_000)  # more than sockets take
    w = files()
    c = w.client().ask("/big")
    assert c.read_head().get("Content-Length") == "30000000"
    os.truncate(www / "big", 100_000)
    with pytest.raises((ConnectionError, AssertionError)):
        c.read_exact(30_000_000)
    until(lambda: w.access(1)[0]["reason"] == "file_truncated", "the log")


def test_huge_ranges(files):
    w = files()
    for value in ("bytes=99999999999999999999-", "bytes=-99999999999999999999999", "bytes=18446744073709551615-18446744073709551616"):
        r = get(w, "/a.txt", status=416, headers={"Range": value})
        assert r.get("Content-Range") == "bytes */5"
    get(w, "/a.txt", body=b"hello", headers={"Range": "bytes=" + ",".join(["0-0"] * 3000)})


def test_many_calls_keep_no_descriptor(files):
    w = files()
    c = w.client()
    for _ in range(3000):
        c.ask("/a.txt").expect(200, b"hello")
        c.ask("/nope").expect(404)
        c.ask("/dir").expect(301)
        c.ask("/a.txt", method="HEAD").expect(200, head=True)
    until(lambda: w.count_fds() <= w.fds + 1, "descriptors")


def test_who_hangs_up_leaves_no_descriptor(files):
    w = files()
    clients = [w.client().ask("/big") for _ in range(20)]
    for c in clients:
        c.read_head()
        c.reset()
    until(lambda: w.count_fds() <= w.fds, "descriptors")


def test_slow_readers_hold_little(files, www):
    (www / "big").write_bytes(BIG * 10)
    w = files()
    clients = [w.client().ask("/big") for _ in range(20)]
    heads = [c.read_head() for c in clients]
    get(w, "/a.txt", body=b"hello")
    assert all(h.get("Content-Length") == "30000000" for h in heads)
    assert clients[3].read_exact(30_000_000) == BIG * 10


def test_limits_come_first(files):
    w = files(route={"use": ["p"]}, policies={"p": {"rate": "1/h", "burst": 1}})
    get(w, "/a.txt", body=b"hello")
    get(w, "/a.txt", status=429)


def test_a_delayed_answer_is_whole_for_who_reads_late(files):
    slow = {"rate": "2/s", "burst": 1, "wait": "2s", "queue": 5, "algorithm": "leaky-bucket", "charge": "arrival"}
    w = files(route={"use": ["p"]}, policies={"p": slow})
    clients = [w.client().ask("/big") for _ in range(2)]
    for c in reversed(clients):
        c.expect(200, BIG)


# ---- what there is

def test_a_file(files):
    w = files()
    r = get(w, "/a.txt", body=b"hello")
    assert r.get("Content-Type") == "text/plain" and r.get("Accept-Ranges") == "bytes" and r.get("Content-Length") == "5"
    assert get(w, "/x.TXT", body=b"upper").get("Content-Type") == "text/plain"
    assert get(w, "/empty", body=b"").get("Content-Type") == "application/octet-stream"
    for target, body in {"/sp%20ace.txt": b"space", "/in": b"hello", "/p%25.txt": b"percent", "/dir/": b"index", "/./dir//x/../": b"index",
                         "/a.txt?q": b"hello"}.items():
        get(w, target, body=body)
    got = w.access(9)
    assert (got[0]["reason"], got[0]["http.response.body.size"]) == ("responded", 5)


def test_head_and_folders(files):
    w = files()
    r = get(w, "/big", method="HEAD")
    assert r.get("Content-Length") == "3000000"
    assert get(w, "/dir?a=b", status=301).get("Location") == "/dir/?a=b"
    assert get(w, "/deep/er", status=301).get("Location") == "/deep/er/"


def test_conditions(files, www):
    os.utime(www / "a.txt", (1795240800, 1795240800))
    w, age = files(), "Sat, 21 Nov 2026 06:00:00 GMT"
    r = get(w, "/a.txt")
    assert (r.get("ETag"), r.get("Last-Modified")) == ('"6b013360-5"', age)
    for name, value, status in [("If-None-Match", r.get("ETag"), 304), ("If-Modified-Since", age, 304), ("If-Match", '"x"', 412),
                                ("If-Unmodified-Since", age, 200), ("If-None-Match", '"x"', 200)]:
        got = get(w, "/a.txt", status=status, headers={name: value})
        assert status != 304 or not (got.has("Content-Length") or got.has("Content-Type"))


def test_ranges(files):
    w = files()
    r = get(w, "/big", status=206, body=BIG[1000:2_000_000], headers={"Range": "bytes=1000-1999999"})
    assert r.get("Content-Range") == "bytes 1000-1999999/3000000"
    r = get(w, "/big", status=206, headers={"Range": "bytes=0-9,-10,100-1500000"})
    assert r.get("Content-Type").startswith("multipart/byteranges; boundary=")
    assert all(part in r.body for part in (BIG[:10], BIG[-10:], BIG[100:1_500_001]))


def test_keep_alive_and_pipelines(files):
    c = files().client()
    for _ in range(5):
        c.ask("/big").expect(200, BIG)
    c.send(b"".join(b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % name for name in (b"a.txt", b"big", b"nope", b"a.txt")))
    for status, body in ((200, b"hello"), (200, BIG), (404, None), (200, b"hello")):
        c.expect(status, body)


def test_over_http2(files):
    w = files()
    c = H2Client(w.client())
    streams = [c.ask("/big") for _ in range(5)] + [c.ask("/a.txt"), c.ask("/big", method="HEAD")]
    for s, body in zip(streams, [BIG] * 5 + [b"hello", b""]):
        c.expect(s, 200, body)


def test_over_tls(files):
    w = files(tls=certs().listener())
    for _ in range(2):
        get(w, "/big", body=BIG)
    get(w, "/big", status=206, body=BIG[7:8], headers={"Range": "bytes=7-7"})


def test_one_file(files, www):
    one = {"name": "one", "match": {"path": "/one"}, "respond": {"file": str(www / "a.txt"), "content_type": "text/css"}}
    down = {"name": "down", "match": {"path": "/down"}, "respond": {"status": 503, "file": str(www / "a.txt"), "headers": {"x-a": "{path}"}}}
    w = files(route={"match": {"path": "/x/*"}}, routes=[one, down])
    assert get(w, "/one", body=b"hello").get("Content-Type") == "text/css"
    get(w, "/one", status=206, body=b"h", headers={"Range": "bytes=0-0"})
    get(w, "/one", status=405, method="POST")
    assert get(w, "/down", status=503, body=b"hello", method="POST", headers={"Range": "bytes=0-0"}).get("X-A") == "/down"


def test_pages_for_errors(weir, www):
    w = weir(errors=[{"when": [502, 500], "file": str(www / "a.txt")},
                                                               {"when": 404, "status": 200, "file": str(www / "dir/index.html")},
                                                               {"when": 503, "file": "/nowhere"}])
    for status, want, body in [(500, 500, b"hello"), (404, 200, b"index"), (503, 503, b"")]:
        c = w.client().ask("/x", headers={"If-Match": '"x"', "Range": "bytes=0-0"})
        w.upstream.expect_request()
        w.upstream.answer(status, b"broken")
        c.expect(want, body)
    w.upstream.refuse()
    get(w, "/y", status=502, body=b"hello", method="DELETE")


def test_a_page_that_is_missing_leaves_the_error(weir, www):
    w = weir(routes=[{"name": "f", "respond": {"files": str(www)}}], errors={"when": "4xx", "file": "/nowhere"}, upstreams=None)
    assert get(w, "/nope", status=404).json()["reason"] == "no_file"


def test_a_page_of_another_route(weir, www):
    w = weir(routes=[{"name": "f", "match": {"path": "/dir/*"}, "respond": {"files": str(www)}}],
             errors={"when": 404, "status": 404, "path": "/dir/index.html"}, upstreams=None)
    r = get(w, "/nope", status=404, body=b"index", method="POST", headers={"Range": "bytes=0-0", "If-Match": '"x"'})
    assert r.get("Content-Type") == "text/html" and not r.has("Accept-Ranges")
    get(w, "/dir/nope", status=404, body=b"index")
    get(w, "/dir/", status=206, body=b"i", headers={"Range": "bytes=0-0"})


def test_the_first_that_is_there(files):
    w = files({"try": ["{path}", "{path}.html", "{path}/", "/dir/index.html"], "otherwise": "404"})
    for target, body in {"/deep/er/b": b"deep", "/a.txt": b"hello", "/zzz": b"index", "/dir/": b"index"}.items():
        get(w, target, body=body)
    get(w, "/none", status=301)
    get(w, "/none/", status=403)


def test_otherwise(files, www):
    spa = {"name": "spa", "match": {"path": "/spa/*"}, "respond": {"files": str(www), "otherwise": "/dir/index.html"}}
    gone = {"name": "gone", "match": {"path": "/gone/*"}, "respond": {"files": str(www), "otherwise": "410"}}
    w = files(route={"match": {"path": "/x/*"}}, routes=[spa, gone])
    get(w, "/spa/any/thing", body=b"index")
    get(w, "/gone/x", status=410)


def test_files_first_then_the_app(files):
    w = files({"otherwise": "next"}, routes=[{"name": "app", "to": "app"}])
    w.upstream.serve()
    targets = {"/a.txt": "f", "/dir/": "f", "/dir": "app", "/none/": "app", "/api": "app", "/out": "app", "/": "app"}
    for target in targets:
        get(w, target)
    assert [r["http.route"] for r in w.access(len(targets))] == list(targets.values())


def test_below_another_path(files):
    w = files(route={"match": {"path": "/static/*"}, "rewrite": {"prefix": "/deep/"}})
    get(w, "/static/er/b.html", body=b"deep")
    assert get(w, "/static/er", status=301).get("Location") == "/static/er/"
    get(w, "/static/../a.txt", status=404)


def test_explain_looks(files, run):
    w = files()
    assert "200" in run("explain", "-c", w.path, "/a.txt").stdout
    assert "404 no_file" in run("explain", "-c", w.path, "/nope").stdout


def test_types(files):
    w = files({"types": {"TXT": "text/x-mine"}, "content_type": "text/none"})
    assert get(w, "/a.txt").get("Content-Type") == "text/x-mine"
    assert get(w, "/dir/").get("Content-Type") == "text/none"

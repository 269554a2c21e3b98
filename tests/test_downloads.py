"""Downloads from a real server on this machine: whole, broken off, resumed, wrong, refused."""

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from sparseshape_jax.cache import cache_folder
from sparseshape_jax.downloads import ATTEMPTS, download
from sparseshape_jax.errors import InputError
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.locate import cached, locate

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `CONTENT` at every path but /missing."""

    ranges = True
    breaks: list[int]
    """How many bytes to send before breaking off, for each of the first answers."""
    asked: list[str | None]
    """The Range header of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if asked and self.server.ranges else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        rest = CONTENT[start:]
        if self.server.breaks:
            rest = rest[: self.server.breaks.pop(0)]
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.breaks, server.asked = [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fetched(url: str, expected: str | None) -> Path:
    return download(url, expected, option="--weights FILE")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("expected", [SHA256, SHA256[:8], SHA256.upper(), None])
def test_download_once(server, cache, expected):
    path = fetched(server.url, expected)
    assert path == cache / "weights.pth"
    assert path.read_bytes() == CONTENT
    assert fetched(server.url, expected) == path
    assert server.asked == [None]
    assert names(cache) == ["weights.pth"]


def test_broken_connections_are_resumed(server, cache):
    server.breaks = [300_000, 0, 500_000]
    assert fetched(server.url, SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=300000-", "bytes=800000-"]


def test_a_download_that_gave_up_is_resumed_by_the_next_call(server, cache):
    server.breaks = [100_000] * ATTEMPTS
    with pytest.raises(InputError) as error:
        download(server.url, SHA256, option="--stimuli DIR")
    message = str(error.value)
    assert "\n" not in message
    for part in (server.url, SHA256, "--stimuli DIR", "400,000 of 1,000,000", "run again to resume"):
        assert part in message
    assert names(cache) == ["weights.pth.partial"]
    assert fetched(server.url, SHA256).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=400000-"
    assert names(cache) == ["weights.pth"]


def test_a_server_without_ranges_sends_everything_again(server, cache):
    server.ranges = False
    server.breaks = [300_000]
    assert fetched(server.url, SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_complete_but_not_yet_renamed(server, cache):
    cache.mkdir()
    (cache / "weights.pth.partial").write_bytes(CONTENT)
    assert fetched(server.url, SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("expected", ["0" * 64, "0badc0de"])
def test_wrong_hash_leaves_nothing(server, cache, expected):
    with pytest.raises(InputError, match=rf"another file.*{SHA256}.*{expected}.*--weights FILE"):
        fetched(server.url, expected)
    assert names(cache) == []


def test_a_resumed_download_of_something_else_leaves_nothing(server, cache):
    cache.mkdir()
    (cache / "weights.pth.partial").write_bytes(b"something else")
    with pytest.raises(InputError, match="another file"):
        fetched(server.url, SHA256)
    assert names(cache) == []
    assert fetched(server.url, SHA256).read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_fetched_again(server, cache):
    fetched(server.url, SHA256).write_bytes(b"damaged")
    assert fetched(server.url, SHA256).read_bytes() == CONTENT


def test_missing_file_and_no_server(server, cache):
    url = server.url.replace("weights.pth", "missing")
    with pytest.raises(InputError, match=rf"{url} \(Not Found\)"):
        fetched(url, SHA256)
    server.server_close()
    with pytest.raises(InputError, match="cannot download http://127"):
        fetched("http://127.0.0.1:9/weights.pth", SHA256)
    assert names(cache) == []


def test_unwritable_cache(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot write to the cache.*SPARSESHAPE_CACHE"):
        fetched(server.url, SHA256)


def test_two_at_a_time_download_once(server, cache):
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetched(server.url, SHA256))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "weights.pth"] * 4
    assert server.asked == [None]


def test_locate_downloads_entries(server, cache):
    entry = dataclasses.replace(CATALOG["resnet18"], url=server.url, sha256=SHA256[:8])
    assert not cached(entry)
    assert locate(entry).read_bytes() == CONTENT
    assert cached(entry)


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("SPARSESHAPE_CACHE", "~/here")
    assert cache_folder() == Path("~/here").expanduser()
    monkeypatch.delenv("SPARSESHAPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/sparseshape_jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("~/.cache/sparseshape_jax").expanduser()

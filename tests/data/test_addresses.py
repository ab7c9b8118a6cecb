"""No command is taken from a file, and nothing fetched because a file says so."""

from __future__ import annotations

import http.server
import json
import shutil
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from videofusion.cli import main
from videofusion.data.addresses import Fetch, fetching, scheme_of
from videofusion.data.checking import check_folder
from videofusion.data.layouts.detection import open_source
from videofusion.errors import InputError, RunError


@pytest.fixture
def shard(tmp_path: Path, video) -> Path:
    """A tar with a clip, alone in its folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    made = video(tmp_path / "made" / "0.mp4", 4)
    with tarfile.open(folder / "0.tar", "w") as tar:
        tar.add(made, "0.mp4")
    return folder / "0.tar"


def index(folder: Path, *urls: str, size: int = 0) -> Path:
    shards = [{"url": url, "nsamples": 1, "filesize": size} for url in urls]
    (folder / "index.json").write_text(json.dumps({"shardlist": shards}))
    return folder / "index.json"


COMMANDS = [
    "pipe:touch {ran}",
    "PIPE:touch {ran}",
    " pipe:touch {ran}",
    "\tpipe:touch {ran}",
    "pipe://touch {ran}",
    "exec:touch {ran}",
    "exec://touch {ran}",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
]
ADDRESSES = [
    "https://127.0.0.1:1/0.tar",
    "HTTP://127.0.0.1:1/0.tar",
    "http://[::1]/0.tar",
    "gs://bucket/0.tar",
    "s3://bucket/0.tar",
    "ftp://127.0.0.1/0.tar",
    "scp://127.0.0.1/0.tar",
    "hf://datasets/a/0.tar",
    "ais://bucket/0.tar",
    "htgs://bucket/0.tar",
    "dict://127.0.0.1:11211/x",
]
NAMES = [
    "ｐipe:touch {ran}",
    "http:/127.0.0.1/0.tar",
    "-",
    "--checkpoint=1",
    "|touch {ran}",
    "$(touch {ran})",
    "12:30.tar",
]


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("url", [*COMMANDS, *ADDRESSES, *NAMES])
def test_nothing_that_an_index_names_is_run_or_fetched(
    url: str, beside: bool, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(shard.parent)
    index(shard.parent, url.format(ran=tmp_path / "ran"), *["https://127.0.0.1:1/1.tar"] * beside)
    for words in (["data", "check", "."], ["data", "report", "."], ["data", "convert", ".", str(tmp_path / "out")]):
        code = main(words)
        told = capsys.readouterr()
        if url in NAMES and not beside:
            assert code in (1, 2) or "bad       1" in told.out
        else:
            assert code == 2
            assert "--fetch" in told.err
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["https", "cat {}"])
@pytest.mark.parametrize("url", COMMANDS)
def test_a_command_in_a_file_is_refused_whatever_is_allowed(url: str, how: str, shard: Path, tmp_path: Path) -> None:
    index(shard.parent, url.format(ran=tmp_path / "ran"))
    with fetching(how), pytest.raises(InputError, match="is not an address; an index may not name"):
        open_source(shard.parent)


@pytest.mark.parametrize(
    "end", ["';touch x'", "`touch x`", "$(touch x)", "\n", " -o x", "\x1b[2J", "|x", "\\x", "ö", ";x"]
)
def test_addresses_hold_no_letters_that_others_read_otherwise(end: str, shard: Path) -> None:
    index(shard.parent, f"https://127.0.0.1:1/0.tar{end}")
    with fetching("https"), pytest.raises(InputError, match="characters that are not allowed in an address") as refused:
        open_source(shard.parent)
    assert "\x1b" not in str(refused.value)


def test_schemes() -> None:
    assert [
        scheme_of(url) for url in ("https://a", "S3://a", "pipe:a", "a:b.tar", "12:30.tar", "a/b.tar", "c:\\a")
    ] == [
        *("https", "s3", "pipe"),
        *("", "", "", ""),
    ]


@pytest.mark.parametrize("how", ["", "http", "s3", "cat", "{}", "{} -", "cat '{}", "pipe"])
def test_other_ways_are_refused(how: str) -> None:
    with pytest.raises(InputError, match="fetch is"):
        Fetch.of(how)


def test_the_web_alone_is_of_the_web(shard: Path) -> None:
    index(shard.parent, "s3://bucket/0.tar")
    with fetching("https"), pytest.raises(InputError, match="is not a web address"):
        open_source(shard.parent)


@pytest.fixture
def server(shard: Path):
    """The tar over HTTP, with redirections to elsewhere; what was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(shard.read_bytes())

        def log_message(self, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()
        thread.join()


def test_an_address_is_fetched_where_that_is_allowed(
    server, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    address, asked = server
    monkeypatch.setenv("VIDEOFUSION_SHARDS", str(tmp_path / "cache"))
    index(shard.parent, f"{address}/0.tar?signed=a%20b&x=1", size=shard.stat().st_size)
    assert main(["data", "check", str(shard.parent)]) == 2
    assert asked == []
    assert main(["data", "check", str(shard.parent), "--fetch", "https"]) == 0
    assert asked == ["/0.tar?signed=a%20b&x=1"]
    copy = (
        f"{sys.executable} -c \"import shutil, sys; shutil.copyfileobj(open('{shard}', 'rb'), sys.stdout.buffer)\" {{}}"
    )
    index(shard.parent, "s3://bucket/0.tar")
    assert main(["data", "check", str(shard.parent), "--fetch", copy]) == 0
    capsys.readouterr()


def test_an_answer_may_not_lead_to_a_local_file_or_be_endless(
    server, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import videofusion.data.layouts.streaming as streaming

    monkeypatch.setattr(streaming.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("VIDEOFUSION_SHARDS", str(tmp_path / "cache"))
    address, _ = server
    index(shard.parent, f"{address}/to/0.tar")
    with fetching("https"), pytest.raises(RunError, match="cannot be fetched"):
        check_folder(shard.parent)
    index(shard.parent, f"{address}/0.tar", size=100)
    with fetching("https"), pytest.raises(RunError, match="more than 100 bytes"):
        check_folder(shard.parent)
    assert not list((tmp_path / "cache").iterdir())


def test_a_local_shard_beside_addresses_is_read_where_it_is(shard: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("VIDEOFUSION_SHARDS", str(tmp_path / "cache"))
    monkeypatch.chdir(shard.parent)
    shutil.copy(shard, shard.parent / "pipe:echo.tar")  # a name, as it has no address's slashes
    index(shard.parent, "0.tar", "s3://bucket/0.tar")
    with fetching("cat {}"):
        source = open_source(".")
    assert source.files[0].name == "0.tar/0.mp4"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "shards",
    [
        [{"url": "0.tar", "nsamples": 10**12}],
        [{"url": "0.tar", "nsamples": -1}],
        [{"url": "0.tar", "nsamples": "1" * 5000}],
        [{"url": "0.tar", "nsamples": 1e400}],
        [{"url": "0.tar\0", "nsamples": 1}],
        [["0.tar", 1]],
        {"url": "0.tar"},
        "0.tar",
    ],
)
def test_an_index_that_no_writer_writes_is_refused(shards: object, shard: Path) -> None:
    (shard.parent / "index.json").write_text(json.dumps({"shardlist": shards}))
    with pytest.raises(InputError, match="index"):
        open_source(shard.parent)


def test_training_on_such_a_folder_ends_before_it_begins(shard: Path, tmp_path: Path, capsys) -> None:
    index(shard.parent, f"pipe:touch {tmp_path / 'ran'}")
    for more in ([], ["--dry-run"], ["--fetch", "https"]):
        words = ["train", "folder64", "--run", str(tmp_path / "run"), "--data", str(shard.parent), "--device", "cpu"]
        assert main([*words, *more]) == 2
        assert "is not an address" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()

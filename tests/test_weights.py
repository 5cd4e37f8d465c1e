"""`bind-an-audio weights`: what a preset needs, downloads that break off, wrong files, and files put by hand."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from stages.commands import main as commands
from stages.full_size.weights import CATALOGUE, Published, download, needed, verified
from stages.params.schema import load_params

ROOT = Path(__file__).parent.parent
CONTENT = bytes(range(256)) * 20_000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `/short` breaks off in the middle, `/deaf` knows no ranges, `/none` is not there."""

    requests: list[tuple[str, str | None]] = []  # noqa: RUF012 - one server at a time

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.requests.append((self.path, wanted))
        if self.path == "/none":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and self.path != "/deaf" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        rest = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if self.path == "/short" and not start else rest)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server():
    Server.requests.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def published(folder, url, sha256=CHECKSUM):
    return Published(folder, "deep/x.bin", {}, "a file", 5.1, "MIT", sha256, None, url, None)


def test_the_full_preset_needs_every_part_once_and_the_default_nothing():
    full = needed(load_params(ROOT / "presets/full.yaml"))
    assert [file.name for file in full] == [
        "maa1_full.ckpt",
        "bigvgan/args.yml",
        "bigvgan/best_netG.pt",
        "bert-base-uncased/vocab.txt",
        "imagebind_huge.pth",
        "laion_clap/630k-audioset-best.pt",
        "roberta-base/vocab.json",
        "roberta-base/merges.txt",
    ]
    assert all(file.licence and file.source.startswith("https://") for file in full)
    assert needed(load_params(ROOT / "params.yaml")) == []


def test_every_entry_of_the_catalogue_has_one_source_and_a_known_reader():
    for entry in json.loads(CATALOGUE.read_text()):
        assert sum(name in entry for name in ("repository", "url", "page")) == 1
        assert set(entry["read_by"]) <= {
            "encoders",
            "encoders:make_an_audio",
            "encoders:laion_clap",
            "judges:laion_clap",
            "codec",
            "backbone",
        }
        assert entry["sha256"] is None or len(entry["sha256"]) == 64


def test_a_file_is_fetched_whole_and_leaves_nothing_beside_it(server, tmp_path):
    file = published(tmp_path, f"{server}/whole")
    assert verified(file) == "missing"
    download(file)
    assert file.path.read_bytes() == CONTENT
    assert verified(file) == "here"
    assert [path.name for path in file.path.parent.iterdir()] == ["x.bin"]
    file.path.write_bytes(CONTENT[:-1])
    assert verified(file) == "wrong"


def test_a_download_that_broke_off_is_resumed_where_it_stopped(server, tmp_path):
    file = published(tmp_path, f"{server}/short")
    with pytest.raises(ValueError, match="resumes"):
        download(file)
    assert not file.path.exists()
    download(file)
    assert file.path.read_bytes() == CONTENT
    assert Server.requests == [("/short", None), ("/short", f"bytes={len(CONTENT) // 2}-")]


def test_a_server_without_ranges_starts_over_and_a_whole_partial_is_enough(server, tmp_path):
    for path, begun in (("/deaf", CONTENT[:1000]), ("/whole", CONTENT)):
        file = published(tmp_path, f"{server}{path}")
        file.path.parent.mkdir(exist_ok=True)
        (file.path.parent / ".x.bin.partial").write_bytes(begun)
        download(file)
        assert file.path.read_bytes() == CONTENT
        file.path.unlink()


def test_a_wrong_file_does_not_reach_its_place(server, tmp_path):
    file = published(tmp_path, f"{server}/whole", sha256="0" * 64)
    with pytest.raises(ValueError, match="not the file that is known"):
        download(file)
    assert list(file.path.parent.iterdir()) == []


@pytest.mark.parametrize("url", ["/none", "http://127.0.0.1:9/x"])
def test_no_file_and_no_network_are_one_line(server, tmp_path, url):
    file = published(tmp_path, url if url.startswith("http") else server + url)
    with pytest.raises(ValueError, match="cannot be fetched") as caught:
        download(file)
    assert "\n" not in str(caught.value)


def test_the_command_says_where_each_file_goes_and_ends_with_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    with pytest.raises(ValueError, match="8 of 8 files are missing or wrong"):
        commands.main(["weights", "--preset", "full", "--list"])
    shown = capsys.readouterr().out
    assert "8 files, 8.5 GB" in shown
    assert "Put by hand: models/pretrained/full/bigvgan/best_netG.pt\n  from https://drive.google.com/" in shown
    assert "CC BY-NC-SA 4.0" in shown
    assert "d6f6c22bedcc" in shown


def test_the_command_without_a_network_still_lists_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request.urlopen", lambda *_a, **_k: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(ValueError, match="8 of 8"):
        commands.main(["weights", "--preset", "full"])
    shown = capsys.readouterr().out
    assert "imagebind_huge.pth: cannot be fetched (no network)" in shown
    assert shown.count("Put by hand: ") == 8


def test_the_command_is_content_when_all_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.setattr("stages.full_size.weights.verified", lambda _file: "here")
    commands.main(["weights", "--preset", "full"])
    assert "dvc add models/pretrained/full" in capsys.readouterr().out
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    commands.main(["weights"])
    assert "needs no published weights" in capsys.readouterr().out


def test_another_checkpoint_of_make_an_audio_does_instead(tmp_path):
    (file,) = [one for one in needed(load_params(ROOT / "presets/full.yaml")) if one.name == "maa1_full.ckpt"]
    here = Published(tmp_path, *[getattr(file, name) for name in list(Published.__dataclass_fields__)[1:]])
    assert verified(here) == "missing"
    (tmp_path / "maa1_caps.ckpt").write_bytes(b"x")
    assert verified(here) == "here"


def test_another_checkpoint_is_held_against_its_own_checksum(tmp_path):
    other = {"other.pt": CHECKSUM, "unknown.pt": None}
    file = Published(tmp_path, "first.pt", other, "a file", 5.1, "MIT", "0" * 64, None, "https://x", None)
    (tmp_path / "other.pt").write_bytes(CONTENT)
    assert verified(file) == "here"
    (tmp_path / "other.pt").write_bytes(CONTENT[:-1])
    assert verified(file) == "wrong"
    (tmp_path / "other.pt").rename(tmp_path / "unknown.pt")
    assert verified(file) == "here"

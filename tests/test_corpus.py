"""`prepare` and its readers: what a user's folder becomes, and what is said about what cannot be used."""

import csv
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
import yaml

from stages import prepare as stage
from stages.corpus.clips import accepted_clips, iterate_accepted_clips
from stages.corpus.readers import read_corpus
from stages.formats.files import read_jsonl, write_jsonl
from stages.params.data import Attribute, Prepare, SoundSource

ROOT = Path(__file__).parents[1]
SAMPLES = 20480


def settings_for(corpus, folder, **changes):
    values = {
        "seed": 1,
        "corpus": corpus,
        "folder": str(folder),
        "clips": 0,
        "foundation_clips": 0,
        "shard_size": 0,
        "clip_seconds": 1.28,
        "sources": list(get_args(SoundSource)),
        "attributes": list(get_args(Attribute)),
        "compositions": 0.0,
        "valid_share": 0.2,
        "test_share": 0.2,
    }
    return Prepare.model_validate(values | changes)


def tone(path, seconds=2.0, rate=22_050, channels=1, frequency=440.0, gain=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = gain * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate)


def prepared(monkeypatch, tmp_path, prepare):
    """Run the stage in `tmp_path` and return its rows and rejections."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"prepare": prepare.model_dump()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    stage.main()
    corpus = tmp_path / "data" / "corpus"
    return read_jsonl(corpus / "metadata.jsonl"), read_jsonl(corpus / "rejected.jsonl")


@pytest.fixture
def audiofolder(tmp_path):
    """Ten good clips in three formats, and one broken file of each kind."""
    folder = tmp_path / "raw"
    rows = []
    for number in range(10):
        name = f"clips/tone {number}.{('wav', 'flac', 'ogg')[number % 3]}"
        tone(folder / name, rate=(8000, 22_050, 44_100)[number % 3], channels=1 + number % 2)
        rows.append({"file_name": name, "caption": f"A tone  number {number} hums", "label": "tone"})
    (folder / "garbage.wav").write_bytes(b"RIFF no audio here")
    (folder / "zero.wav").write_bytes(b"")
    soundfile.write(folder / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(32_000), 16_000)
    soundfile.write(folder / "nan.wav", np.full(32_000, np.nan), 16_000, subtype="FLOAT")
    tone(folder / "short.wav", seconds=0.2)
    tone(folder / "wordless.wav")
    broken = ["garbage", "zero", "empty", "silent", "nan", "short", "gone"]
    rows += [{"file_name": f"{name}.wav", "caption": "Something sounds here"} for name in broken]
    rows += [{"file_name": "wordless.wav", "caption": " "}, {"caption": "No file at all"}]
    rows += [{"file_name": "../outside.wav", "caption": "Something outside"}]
    rows += [{"file_name": "clips/tone 0.wav", "caption": "A tone hums", "split": "sometimes"}]
    lines = [json.dumps(row) for row in rows] + ["{not json", "[1, 2]"]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


EXPECTED = {
    "garbage.wav": "unreadable",
    "zero.wav": "unreadable",
    "empty.wav": "empty",
    "silent.wav": "silent",
    "nan.wav": "not_finite",
    "short.wav": "too_short",
    "gone.wav": "missing",
    "wordless.wav": "no_caption",
    "../outside.wav": "file_name",
    "clips/tone 0.wav": "unknown_split",
    "metadata.jsonl, row 19": "file_name",
    "metadata.jsonl, row 22": "broken_row",
    "metadata.jsonl, row 23": "broken_row",
}


def test_an_audiofolder_becomes_clips_and_every_broken_file_is_listed(monkeypatch, tmp_path, audiofolder, capsys):
    rows, rejected = prepared(monkeypatch, tmp_path, settings_for("audiofolder", audiofolder))
    assert {row["file"]: row["reason"] for row in rejected} == EXPECTED
    assert len(rows) == 10
    for row in rows:
        wave, rate = soundfile.read(tmp_path / "data/corpus" / row["file_name"])
        info = soundfile.info(tmp_path / "data/corpus" / row["file_name"])
        assert (rate, len(wave), info.subtype, info.format) == (16_000, SAMPLES, "PCM_16", "FLAC")
        assert np.max(np.abs(wave)) == pytest.approx(0.5, abs=0.05)
        assert row["sources"] == ["tone"]
        assert row["attributes"] == {}
        assert "  " not in row["caption"]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert "2 unreadable" in capsys.readouterr().out


def test_a_csv_in_split_folders_keeps_its_splits(monkeypatch, tmp_path):
    for split in ("train", "validation", "test"):
        for name in "abc":
            tone(tmp_path / "raw" / split / f"{name}.wav")
        with open(tmp_path / "raw" / split / "metadata.csv", "w", newline="") as file:
            rows = [["a.wav", "A tone, it hums"], ["b.wav", "Another"], ["c.wav", "A third"]]
            csv.writer(file).writerows([["file_name", "text"], *rows])
    rows, rejected = prepared(monkeypatch, tmp_path, settings_for("audiofolder", tmp_path / "raw"))
    assert rejected == []
    assert {row["id"]: row["split"] for row in rows} == {
        f"{folder}-{name}": split
        for folder, split in (("train", "train"), ("validation", "valid"), ("test", "test"))
        for name in "abc"
    }
    assert rows[0]["caption"] == "A tone, it hums"


@pytest.mark.parametrize("corpus", ["audiofolder", "esc10", "esc50"])
def test_a_folder_that_is_missing_or_empty_is_one_clear_error(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"prepare\.folder=.*no such folder"):
        read_corpus(settings_for(corpus, tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=str(tmp_path)):
        read_corpus(settings_for(corpus, tmp_path))


def test_a_corpus_without_one_readable_clip_leaves_the_last_corpus_alone(monkeypatch, tmp_path):
    for number, split in enumerate(["train", "train", "valid", "test", "test", "test"]):
        row = {"file_name": f"{number}.wav", "caption": "A tone hums on", "split": split}
        for folder in ("good", "bad"):
            tone(tmp_path / folder / f"{number}.wav", rate=16_000)
            with open(tmp_path / folder / "metadata.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
    for number in (0, 1):
        (tmp_path / "bad" / f"{number}.wav").write_bytes(b"nothing")
    prepared(monkeypatch, tmp_path, settings_for("audiofolder", tmp_path / "good"))
    with pytest.raises(ValueError, match=r"=audiofolder: 0 train, 1 valid, 3 test clips \(2 unreadable\)"):
        prepared(monkeypatch, tmp_path, settings_for("audiofolder", tmp_path / "bad"))
    assert [row["id"] for row in read_jsonl(tmp_path / "data/corpus/metadata.jsonl")] == list("012345")
    assert not list((tmp_path / "data").glob(".*"))


def test_clips_read_one_by_one_are_those_read_at_once_and_a_missing_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = ["train", "test", "train", "valid", "train"]
    clips = [{"id": f"clip-{number}", "recording": str(number)} for number in range(6)]
    pairs = [{"id": f"clip-{number}", "split": split, "image": "x"} for number, split in enumerate(splits)]
    write_jsonl("data/corpus/metadata.jsonl", clips)
    write_jsonl("data/quality/accepted.jsonl", pairs)
    for split in ("train", "valid", "test"):
        assert list(iterate_accepted_clips(split)) == accepted_clips(split)
    assert [row["recording"] for row in iterate_accepted_clips("train")] == ["0", "2", "4"]
    write_jsonl("data/corpus/metadata.jsonl", clips[:4])
    with pytest.raises(ValueError, match=r"data/corpus/metadata.jsonl: clip-4 is missing or out of order"):
        list(iterate_accepted_clips("train"))


def test_rows_that_lose_something_are_rejected_by_their_number(monkeypatch, tmp_path):
    rows = [{"file_name": f"{number}.wav", "caption": f"Tone {number}"} for number in range(30)]
    for row in rows:
        tone(tmp_path / "raw" / row["file_name"], seconds=0.6, rate=16_000)
    lines = [json.dumps(row).encode() for row in rows]
    lines += [b'{"file_name": "0.wav", "caption": "half \\ud83d of it"}', '{"caption": "é"}'.encode("latin-1")]
    lines += [b"[" * 100_000, b'{"file_name": "0.wav", "label": "\\udc00"}']
    (tmp_path / "raw" / "metadata.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "raw" / "more").mkdir()
    (tmp_path / "raw" / "more" / "metadata.csv").write_text("file_name,caption\na.wav,A bell, then a horn\n")
    kept, rejected = prepared(monkeypatch, tmp_path, settings_for("audiofolder", tmp_path / "raw"))
    assert len(kept) == 30
    assert {row["file"]: row["reason"] for row in rejected} == {
        **{f"metadata.jsonl, row {number}": "broken_row" for number in (31, 32, 33, 34)},
        "more/metadata.csv, row 1": "broken_row",
    }


@pytest.mark.parametrize("name", ["n" * 230, "/".join(["f" * 90] * 4) + "/a", "n" * 320, "/".join(["f" * 200] * 25)])
def test_long_names_and_deep_folders_become_shorter_ids_or_missing_files(monkeypatch, tmp_path, name):
    raw, rows = tmp_path / "raw", []
    for number in range(30):
        row = {"file_name": f"{name}{number}.wav", "caption": f"Tone {number}"}
        for entry in (row, {"file_name": f"{number}.wav", "caption": f"Tone {number}"}):
            if len(entry["file_name"]) < 1000 and len(Path(entry["file_name"]).name) < 250:
                tone(raw / entry["file_name"], seconds=0.6, rate=16_000)
            rows.append(entry)
    (raw / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    kept, rejected = prepared(monkeypatch, tmp_path, settings_for("audiofolder", raw))
    assert len(kept) + len(rejected) == 60
    assert {row["reason"] for row in rejected} <= {"missing"}
    assert len({row["id"].lower() for row in kept}) == len(kept) >= 30
    assert max(len(row["id"]) for row in kept) <= 120


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({"train": 5, "valid": 2, "test": 2}, "5 train, 2 valid, 2 test clips"),
        ({"train": 5, "test": 9}, "5 train, 0 valid, 9 test clips"),
        ({"train": 5, "valid": 3}, "5 train, 3 valid, 0 test clips"),
        ({"train": 1, "valid": 1, "test": 3}, "1 train, 1 valid, 3 test clips"),
    ],
)
def test_what_later_stages_cannot_use_is_refused_before_audio_is_read(monkeypatch, tmp_path, counts, found):
    rows = [
        {"file_name": f"{split}/{number}.wav", "caption": f"A bell {number}"}
        for split, count in counts.items()
        for number in range(count)
    ]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(stage, "load_clip", lambda *_: pytest.fail("audio was read"))
    with pytest.raises(
        ValueError, match=rf"{found}.*need 2 train, 1 valid, 3 test.*prepare\.clips.*prepare\.test_share"
    ):
        prepared(monkeypatch, tmp_path, settings_for("audiofolder", tmp_path / "raw"))


@pytest.mark.parametrize("changes", [{"clips": 6}, {"clips": 40, "test_share": 0.0}, {"clips": 40, "valid_share": 0.0}])
def test_a_soundworld_without_a_split_is_refused_before_a_clip_is_made(monkeypatch, tmp_path, changes):
    monkeypatch.setattr("stages.corpus.soundworld.make", lambda *_: pytest.fail("a clip was made"))
    with pytest.raises(ValueError, match=r"prepare\.corpus=soundworld: .*need 2 train, 1 valid, 3 test"):
        prepared(monkeypatch, tmp_path, settings_for("soundworld", "", **changes))

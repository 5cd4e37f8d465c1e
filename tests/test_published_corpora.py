"""AudioCaps, Clotho and WavCaps as their authors lay them out: captions kept, what is gone listed."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from stages.corpus.readers import read_corpus
from tests.test_corpus import prepared, settings_for, tone

CORPORA = os.environ.get("BIND_AN_AUDIO_CORPORA")


@pytest.fixture(autouse=True)
def untracked(monkeypatch):
    monkeypatch.setenv("BIND_AN_AUDIO_TRACKING", "off")


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def audiocaps(tmp_path):
    folder = tmp_path / "audiocaps"
    header = ["audiocap_id", "youtube_id", "start_time", "caption"]
    train = [[str(n), f"video{n:06}", "30", f"A tone  number {n} hums"] for n in range(5)]
    write_csv(folder / "train.csv", [header, *train])
    test = [[str(100 + n), "-tEsT_vid01", "10", f"Caption {n} of one clip"] for n in range(5)]
    test += [["200", "gone_video1", "0", "A clip that is gone"], ["201", "worldless01", "0", " "]]
    write_csv(folder / "test.csv", [header, *test])
    names = ["video000000.wav", "video000001_30.flac", "Yvideo000002.wav", "video000003_30000_40000.wav", "4.wav"]
    for name in [*names, "-tEsT_vid01_10.wav"]:
        tone(folder / "audio" / name)
    return folder


def test_audiocaps_finds_audio_under_its_usual_names_and_lists_what_is_gone(monkeypatch, tmp_path, audiocaps, capsys):
    rows, rejected = prepared(monkeypatch, tmp_path, settings_for("audiocaps", audiocaps))
    assert Counter(row["split"] for row in rows) == {"train": 5, "test": 1}
    assert [row["caption"] for row in rows if row["split"] == "train"] == [f"A tone number {n} hums" for n in range(5)]
    assert {row["file"]: row["reason"] for row in rejected} == {
        "youtube gone_video1": "missing",
        "test.csv, row 7": "no_caption",
    }
    assert "1 missing" in capsys.readouterr().out


def test_several_captions_are_kept_and_the_seed_draws_one(monkeypatch, tmp_path, audiocaps):
    drawn = set()
    for seed in range(8):
        rows, _ = prepared(monkeypatch, tmp_path, settings_for("audiocaps", audiocaps, seed=seed))
        (clip,) = (row for row in rows if row["split"] == "test")
        assert clip["captions"] == [f"Caption {n} of one clip" for n in range(5)]
        assert clip["caption"] in clip["captions"]
        drawn.add(clip["caption"])
        assert all("captions" not in row for row in rows if row["split"] == "train")
    assert len(drawn) > 1


@pytest.mark.skipif(not CORPORA, reason="BIND_AN_AUDIO_CORPORA names no folder with audiocaps/")
def test_the_published_tables_are_read_whole(tmp_path):
    folder = tmp_path / "audiocaps"
    folder.mkdir()
    for name in ("val", "test"):
        (folder / f"{name}.csv").write_bytes((Path(CORPORA or "") / "audiocaps" / f"{name}.csv").read_bytes())
    with open(folder / "test.csv", encoding="utf-8") as file:
        videos = list(dict.fromkeys(row["youtube_id"] for row in csv.DictReader(file)))
    for video in videos[:10]:
        (folder / f"{video}.wav").touch()
    clips, rejected = read_corpus(settings_for("audiocaps", folder))
    assert len(clips) == 10
    assert {len(clip.captions) for clip in clips} == {5}
    assert {row["reason"] for row in rejected} == {"missing"}
    assert len(rejected) == 975 + 495 - 10


def test_clotho_reads_five_captions_a_clip_by_its_folders(monkeypatch, tmp_path):
    folder = tmp_path / "clotho"
    header = ["file_name", *(f"caption_{n}" for n in range(1, 6))]
    for part in ("development", "validation", "evaluation"):
        rows = [[f"A sound, {part}.wav", *(f"Caption {n}, {part}" for n in range(5))], ["gone.wav", *["Gone"] * 5]]
        write_csv(folder / f"clotho_captions_{part}.csv", [header, *rows])
        tone(folder / part / f"A sound, {part}.wav")
    rows, rejected = prepared(monkeypatch, tmp_path, settings_for("clotho", folder))
    assert {row["split"]: len(row["captions"]) for row in rows} == {"train": 5, "valid": 5, "test": 5}
    assert all(row["caption"] in row["captions"] for row in rows)
    assert [row["reason"] for row in rejected] == ["missing"] * 3


def test_wavcaps_reads_its_json_files_and_draws_splits(tmp_path):
    folder = tmp_path / "wavcaps"
    for part, ids in {"FreeSound": ["1", "2", "3"], "AudioSet_SL": ["Yab_cdefghij.wav", "1", "gone"]}.items():
        table = folder / "json_files" / part / "final.json"
        table.parent.mkdir(parents=True)
        data = [{"id": item, "caption": f"{part} {item} sounds", "duration": 3.0} for item in ids]
        table.write_text(json.dumps({"num_captions_per_audio": 1, "data": [*data, {"id": "5"}, "odd"]}))
        for item in ids:
            if item != "gone":
                (folder / part).mkdir(exist_ok=True)
                (folder / part / f"{item.removesuffix('.wav')}.flac").touch()
    (folder / "json_files" / "notes.json").write_text("[]")
    clips, rejected = read_corpus(settings_for("wavcaps", folder))
    assert {clip.file: clip.caption for clip in clips} == {
        "AudioSet_SL/1.flac": "AudioSet_SL 1 sounds",
        "AudioSet_SL/Yab_cdefghij.flac": "AudioSet_SL Yab_cdefghij.wav sounds",
        **{f"FreeSound/{n}.flac": f"FreeSound {n} sounds" for n in (1, 2, 3)},
    }
    assert Counter(row["reason"] for row in rejected) == {"missing": 1, "no_caption": 4}
    assert {clip.split for clip in clips} <= {"train", "valid", "test"}


@pytest.mark.parametrize("corpus", ["audiocaps", "clotho", "wavcaps"])
def test_a_folder_without_the_corpus_gets_one_line(tmp_path, corpus):
    with pytest.raises(ValueError, match=f"prepare.corpus={corpus} needs"):
        read_corpus(settings_for(corpus, tmp_path))


def test_a_table_saved_by_a_spreadsheet_is_read_alike(tmp_path, audiocaps):
    wanted = read_corpus(settings_for("audiocaps", audiocaps))
    for table in audiocaps.glob("*.csv"):
        with open(table, newline="", encoding="utf-8") as file:
            rows = [[f'"{cell}"' for cell in row] for row in csv.reader(file)]
        table.write_bytes(("\ufeff" + "\r\n".join(",".join(row) for row in rows) + "\r\n").encode())
    assert read_corpus(settings_for("audiocaps", audiocaps)) == wanted


def test_a_json_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "FreeSound").mkdir()
    text = json.dumps({"data": [{"id": "1", "caption": "A bell"}]})
    (tmp_path / "FreeSound/final.json").write_text(text, encoding="utf-8-sig")
    (tmp_path / "FreeSound/1.flac").touch()
    clips, _ = read_corpus(settings_for("wavcaps", tmp_path))
    assert [clip.caption for clip in clips] == ["A bell"]


def test_audiocaps_does_without_its_own_ids(tmp_path):
    write_csv(tmp_path / "test.csv", [["youtube_id", "start_time", "caption"], ["video1", "30", "A bell"]])
    (tmp_path / "video1_30.wav").touch()
    clips, _ = read_corpus(settings_for("audiocaps", tmp_path))
    assert [clip.caption for clip in clips] == ["A bell"]


@pytest.mark.parametrize(("corpus", "table"), [("audiocaps", "test.csv"), ("clotho", "clotho_captions_evaluation.csv")])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column .*holds nothing"),
        (b"youtube_id;file_name;caption;caption_1\nx;y;z;z\n", "no column .*holds youtube_id;file_name"),
        (b"youtube_id,file_name\nx,y\n", "no column caption"),
        ("youtube_id,file_name,caption,caption_1\nx,y,é,é\n".encode("latin-1"), "no readable CSV in UTF-8"),
    ],
)
def test_a_table_that_is_not_the_published_one_gets_one_line(tmp_path, corpus, table, content, words):
    (tmp_path / table).write_bytes(content)
    with pytest.raises(ValueError, match=f"{table}: {words}"):
        read_corpus(settings_for(corpus, tmp_path))

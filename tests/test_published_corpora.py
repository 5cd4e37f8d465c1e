"""AudioCaps, Clotho and WavCaps as their authors lay them out: captions kept, what is gone listed."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from stages.corpus.readers import read_corpus
from tests.test_corpus import prepared, settings_for, tone


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
    others = [
        ["300", "validclip01", "0", "A valid clip"],
        ["301", "otherclip01", "0", "One"],
        ["302", "thirdclip01", "0", "Two"],
    ]
    write_csv(folder / "val.csv", [header, others[0]])
    test += [*others[1:], ["200", "gone_video1", "0", "A clip that is gone"], ["201", "worldless01", "0", " "]]
    write_csv(folder / "test.csv", [header, *test])
    names = ["video000000.wav", "video000001_30.flac", "Yvideo000002.wav", "video000003_30000_40000.wav", "4.wav"]
    for name in [*names, "-tEsT_vid01_10.wav", "validclip01.wav", "otherclip01.wav", "thirdclip01.wav"]:
        tone(folder / "audio" / name)
    return folder


def test_audiocaps_finds_audio_under_its_usual_names_and_lists_what_is_gone(monkeypatch, tmp_path, audiocaps, capsys):
    rows, rejected = prepared(monkeypatch, tmp_path, settings_for("audiocaps", audiocaps))
    assert Counter(row["split"] for row in rows) == {"train": 5, "valid": 1, "test": 3}
    assert [row["caption"] for row in rows if row["split"] == "train"] == [f"A tone number {n} hums" for n in range(5)]
    assert {row["file"]: row["reason"] for row in rejected} == {
        "youtube gone_video1": "missing",
        "test.csv, row 9": "no_caption",
    }
    assert "1 missing" in capsys.readouterr().out


def test_several_captions_are_kept_and_the_seed_draws_one(monkeypatch, tmp_path, audiocaps):
    drawn = set()
    for seed in range(8):
        rows, _ = prepared(monkeypatch, tmp_path, settings_for("audiocaps", audiocaps, seed=seed))
        (clip,) = (row for row in rows if "-tEsT_vid01" in row["id"])
        assert clip["captions"] == [f"Caption {n} of one clip" for n in range(5)]
        assert clip["caption"] in clip["captions"]
        drawn.add(clip["caption"])
        assert all("captions" not in row for row in rows if row["split"] == "train")
    assert len(drawn) > 1


def test_the_published_tables_are_read_whole(tmp_path, corpora):
    folder = tmp_path / "audiocaps"
    folder.mkdir()
    for name in ("val", "test"):
        (folder / f"{name}.csv").write_bytes((corpora / "audiocaps" / f"{name}.csv").read_bytes())
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
        names = [f"A sound, {part} {number}.wav" for number in range(3)]
        rows = [[name, *(f"Caption {n}, {part}" for n in range(5))] for name in names]
        write_csv(folder / f"clotho_captions_{part}.csv", [header, *rows, ["gone.wav", *["Gone"] * 5]])
        for name in names:
            tone(folder / part / name)
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


@pytest.mark.parametrize(
    "name",
    [
        "Yab_cdefghi1_30.000_40.000.wav",
        "Yab_cdefghi1_30.wav",
        "ab_cdefghi1_30.0_40.0.flac",
        "ab_cdefghi1_30000_40000.flac",
        "ab_cdefghi1_30.000-40.000.mp3",
        "ab_cdefghi1_30.flac",
        "Yab_cdefghi1.wav",
        "ab_cdefghi1.ogg",
        "test/7.wav",
    ],
)
@pytest.mark.parametrize("table", ["test.csv", "csv_files_v1/test.csv", "metadata/evaluation.csv"])
def test_audiocaps_is_found_as_the_tools_that_download_it_lay_it_out(tmp_path, name, table):
    header = ["audiocap_id", "youtube_id", "start_time", "caption"]
    write_csv(tmp_path / table, [header, ["7", "ab_cdefghi1", "30", "A bell"]])
    (tmp_path / "audio" / name).parent.mkdir(parents=True)
    (tmp_path / "audio" / name).touch()
    clips, rejected = read_corpus(settings_for("audiocaps", tmp_path))
    assert [(clip.file, clip.split) for clip in clips] == [(f"audio/{name}", "test")]
    assert rejected == []


@pytest.mark.parametrize("id_", ["abcdefgh_12", "_2_bcdefgh1", "Y1234567_30", "-bcdefgh_30"])
@pytest.mark.parametrize("form", ["{}_30", "Y{}_30.000_40.000", "{}_30000_40000", "{}"])
def test_an_id_that_looks_like_a_start_is_still_an_id(tmp_path, id_, form):
    write_csv(tmp_path / "test.csv", [["youtube_id", "start_time", "caption"], [id_, "30", "A bell"]])
    (tmp_path / f"{form.format(id_)}.wav").touch()
    clips, _ = read_corpus(settings_for("audiocaps", tmp_path))
    assert len(clips) == 1


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["ab_cdefghi1_70.wav"], "missing"),
        (["train/7.wav"], "missing"),
        (["ab_cdefghi1.m4a"], ""),
        (["ab_cdefghi1.m4a", "ab_cdefghi1.wav"], ""),
        (["one/ab_cdefghi1.wav", "two/ab_cdefghi1.wav"], "ambiguous"),
        (["train/ab_cdefghi1.wav", "test/ab_cdefghi1.wav"], ""),
    ],
)
def test_no_audio_of_another_clip_is_taken_and_none_of_several_is_guessed(tmp_path, names, reason):
    header = ["audiocap_id", "youtube_id", "start_time", "caption"]
    rows = [["7", "ab_cdefghi1", "30", "A bell"], ["8", "other_video", "0", "A horn"]]
    write_csv(tmp_path / "test.csv", [header, *rows])
    for name in [*names, "other_video.wav"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clips, rejected = read_corpus(settings_for("audiocaps", tmp_path))
    assert [row["reason"] for row in rejected] == [reason] * bool(reason)
    assert [clip.file for clip in clips if "cdefghi1" in clip.id] == ([] if reason else [names[-1]])


def test_two_tables_of_one_split_are_refused(tmp_path):
    for table in ("test.csv", "csv_files_v2/test.csv"):
        write_csv(tmp_path / table, [["youtube_id", "start_time", "caption"], ["x", "30", "A bell"]])
    with pytest.raises(ValueError, match=r"csv_files_v2/test\.csv and test\.csv are both tables of test clips"):
        read_corpus(settings_for("audiocaps", tmp_path))


def test_clotho_tables_and_audio_may_lie_apart_and_names_need_not_agree_in_every_byte(tmp_path):
    names = ["caf\u00e9 noise.wav", " led by a space.wav", "rain: roof.wav"]
    write_csv(
        tmp_path / "clotho_csv_files" / "clotho_captions_evaluation.csv",
        [["file_name", "caption_1"], *([name, f"Caption {name}"] for name in [*names, "elsewhere.wav"])],
    )
    audio = tmp_path / "clotho_audio_files"
    for name in ("evaluation/cafe\u0301 noise.wav", "evaluation/ led by a space.wav", "evaluation/rain_ roof.wav"):
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        (audio / name).touch()
    (audio / "development").mkdir()
    (audio / "development" / "elsewhere.wav").touch()
    clips, rejected = read_corpus(settings_for("clotho", tmp_path))
    assert {clip.caption for clip in clips} == {" ".join(f"Caption {name}".split()) for name in names}
    assert [(row["file"], row["reason"]) for row in rejected] == [("elsewhere.wav", "missing")]


def test_wavcaps_as_unpacked_from_the_hub_with_blacklists_and_two_tables_of_a_source(tmp_path):
    tables = {
        "FreeSound/fsd_final.json": ["1", "2", "3", "9"],
        "FreeSound/fsd_final_2s.json": ["1", "2"],
        "AudioSet_SL/as_final.json": ["Yab_cdefghij.wav", "Ykl_mnopqrst.wav"],
        "SoundBible/json_files_SoundBible_sb_final.json": ["1", "4"],
    }
    for name, ids in tables.items():
        path = tmp_path / "json_files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"data": [{"id": item, "caption": f"Sound {item}"} for item in ids]}))
    banned = tmp_path / "json_files" / "blacklist" / "blacklist_exclude_test_ac.json"
    banned.parent.mkdir()
    banned.write_text(json.dumps({"AudioSet": ["Ykl_mnopqrst.wav"], "FreeSound": ["2", "4"]}))
    for name in (
        "FreeSound_flac/1",
        "FreeSound_flac/2",
        "AudioSet_SL_flac/Yab_cdefghij",
        "AudioSet_SL_flac/Ykl_mnopqrst",
        "SoundBible_flac/1",
        "SoundBible_flac/4",
        "SoundBible_flac/9",
        "FreeSound_flac/3",
    ):
        path = tmp_path / "mnt/waveforms" / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clips, rejected = read_corpus(settings_for("wavcaps", tmp_path))
    assert {clip.file.removeprefix("mnt/waveforms/"): clip.caption for clip in clips} == {
        "FreeSound_flac/1.flac": "Sound 1",
        "FreeSound_flac/3.flac": "Sound 3",
        "AudioSet_SL_flac/Yab_cdefghij.flac": "Sound Yab_cdefghij.wav",
        "SoundBible_flac/1.flac": "Sound 1",
        "SoundBible_flac/4.flac": "Sound 4",
    }
    assert {(row["file"], row["reason"]) for row in rejected} == {
        ("9", "missing"),
        ("2", "blacklisted"),
        ("Ykl_mnopqrst", "blacklisted"),
    }
    assert "blacklist_exclude_test_ac.json" in next(row["detail"] for row in rejected if row["reason"] == "blacklisted")


def test_half_a_character_in_a_json_is_one_rejected_row(tmp_path):
    table = tmp_path / "json_files" / "FreeSound" / "fsd_final.json"
    table.parent.mkdir(parents=True)
    table.write_text('{"data": [{"id": "1", "caption": "half \\ud83d of it"}, {"id": "2", "caption": "A bell"}]}')
    for number in "12":
        (tmp_path / f"{number}.flac").touch()
    clips, rejected = read_corpus(settings_for("wavcaps", tmp_path))
    assert [clip.caption for clip in clips] == ["A bell"]
    assert [row["file"] for row in rejected] == ["json_files/FreeSound/fsd_final.json, row 1"]

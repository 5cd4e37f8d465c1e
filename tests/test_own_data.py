"""A user's own folder: sounds, captions and photographs through the pipeline; what a poor one is told."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from stages import decompose, images, prepare, quality
from stages.formats.files import read_jsonl, write_jsonl
from stages.formats.shards import open_file
from stages.language.rules import decompose as by_rules
from stages.language.text import REMEDIES
from tests.scratch_clone import ROOT, change_params, lay_out_scratch_clone
from tests.shell import sh

BROUGHT = {"visual_part": "a grey heron by a river", "text_part": "calls once very hoarsely"}


def lay_out_corpus(folder: Path, rows: list[dict[str, str]]) -> None:
    """An audiofolder of noises and noisy photographs, `clip-0.wav` with `clip-0.jpg` and so on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, row in enumerate(rows):
        row.setdefault("file_name", f"clip-{number}.wav")
        soundfile.write(folder / row["file_name"], 0.1 * rng.standard_normal(24_000), 16_000)
        if row.get("image"):
            pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((160, 120)).save(folder / row["image"], quality=90)
    write_table(folder, rows)


def write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    write_jsonl(folder / "metadata.jsonl", [{"id": row["file_name"], **row} for row in rows])


def params_for(folder: Path, **changes: dict[str, Any]) -> None:
    """Smoke size on the audiofolder below `folder`."""
    changes["prepare"] = {"corpus": "audiofolder", "folder": "data/raw/mine", "clips": 0} | changes.get("prepare", {})
    change_params(folder / "params.yaml", ROOT / "presets/smoke.yaml", **changes)


def ten_clips() -> list[dict[str, str]]:
    """Without labels; half of them bring their parts."""
    captions = ["A small dog barks loudly on a beach", "A brass bell rings slowly in a church"]
    rows = [{"caption": captions[number % 2], "image": f"photo {number}.jpg"} for number in range(10)]
    for number, row in enumerate(rows):
        row["split"] = "test" if number < 3 else "valid" if number < 5 else "train"
        row |= BROUGHT if number % 2 else {}
    return rows


def without_parts(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows as of a corpus whose captions bring no parts of their own."""
    return [{key: value for key, value in row.items() if key not in BROUGHT} for row in rows]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIND_AN_AUDIO_TRACKING", "off")
    monkeypatch.setenv("BIND_AN_AUDIO_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
def test_sounds_captions_and_photographs_run_to_a_listening_page(tmp_path):
    """By the commands of docs/your_own_data.md, from a fresh clone."""
    clone, mine = tmp_path / "clone", tmp_path / "my_sounds"
    lay_out_scratch_clone(clone)
    rows = ten_clips()
    lay_out_corpus(mine, rows)
    columns = ["file_name", "caption", "image", "split", *BROUGHT]
    with open(mine / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    (mine / "metadata.jsonl").unlink()
    page = (ROOT / "docs/your_own_data.md").read_text(encoding="utf-8")
    commands = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)[0]
    told = sh(clone, "bash", "-ec", commands.replace("PATH/TO/my_sounds", str(mine)), BIND_AN_AUDIO_TRACKING="off")
    assert "10 captions have both parts" in told
    assert "10 of 10 accepted" in told

    accepted = read_jsonl(clone / "data/quality/accepted.jsonl")
    assert len(accepted) == 10
    for row in accepted:
        number = int(row["id"].removeprefix("clip-"))
        assert (clone / row["image"]).read_bytes() == (clone / "data/raw/mine" / rows[number]["image"]).read_bytes()
        if number % 2:
            assert {key: row[key] for key in BROUGHT} == BROUGHT
    evaluation = json.loads((clone / "metrics/evaluation.json").read_text())
    assert {"fad", "clap_score"} <= set(evaluation["experiment_a"]) & set(evaluation["experiment_b"])
    assert "source_accuracy" not in evaluation["experiment_a"]
    assert "data:image" in (clone / "metrics/listening/index.html").read_text()


def until_quality() -> None:
    for stage in (prepare, decompose, images, quality):
        stage.main()


@pytest.mark.parametrize("shard_size", [0, 3])
def test_pictures_and_parts_arrive_as_they_were_brought(here, shard_size):
    rows = ten_clips()
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here, images={"backend": "corpus", "shard_size": shard_size}, prepare={"shard_size": shard_size})
    until_quality()
    accepted = read_jsonl("data/quality/accepted.jsonl")
    assert [row["id"] for row in accepted] == [f"clip-{number}" for number in range(10)]
    for row, given in zip(accepted, rows, strict=True):
        with open_file(row["image"]) as file:
            assert file.read() == (here / "data/raw/mine" / given["image"]).read_bytes()
        if "text_part" in given:
            assert (row["visual_part"], row["text_part"]) == (given["visual_part"], given["text_part"])
    assert ("tar" in accepted[0]["image"]) == bool(shard_size)


def test_labels_that_only_test_clips_have_are_named(here, capsys):
    rows = [row | {"label": "dog" if number else "heron"} for number, row in enumerate(ten_clips())]
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here)
    prepare.main()
    assert "labels of test clips, which source accuracy leaves out: heron\n" in capsys.readouterr().out
    write_table(here / "data/raw/mine", [row | {"label": "dog"} for row in rows])
    prepare.main()
    assert "leaves out" not in capsys.readouterr().out


def test_parts_that_are_brought_are_checked_like_others(here, capsys):
    rows = ten_clips()
    rows[5] |= {"visual_part": "a heron", "text_part": "a heron calls hoarsely"}
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here, images={"backend": "corpus"})
    until_quality()
    printed = capsys.readouterr().out
    assert "data/quality: 9 of 10 pairs accepted\n" in printed
    assert "data/quality/rejected.jsonl: 1 visual_part_too_short: say more of what is seen" in printed
    (rejected,) = read_jsonl("data/quality/rejected.jsonl")
    assert (rejected["id"], rejected["reasons"]) == ("clip-5", ["visual_part_too_short", "shared_words"])
    assert "say more of what is seen" in rejected["remedies"][0]


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"image": "gone.jpg"}, "no_image", "gone.jpg: no such file"),
        ({"image": "clip-5.wav"}, "no_image", "a video's frame is saved as one of them"),
        ({"image": "../../params.yaml"}, "no_image", "no such file below the corpus folder"),
        ({"visual_part": ""}, "half_of_parts", "come together"),
    ],
)
def test_a_clip_whose_picture_or_parts_are_not_whole_is_listed(here, changes, reason, detail):
    rows = ten_clips()
    lay_out_corpus(here / "data/raw/mine", rows)
    rows[5] |= changes
    write_table(here / "data/raw/mine", rows)
    params_for(here, images={"backend": "corpus"})
    prepare.main()
    (rejected,) = read_jsonl("data/corpus/rejected.jsonl")
    assert (rejected["id"], rejected["reason"]) == ("clip-5", reason)
    assert detail in rejected["detail"]


def test_a_clip_without_a_picture_is_rejected_and_a_corpus_without_any_told_so(here, capsys):
    rows = ten_clips()
    rows[5]["image"] = ""
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here, images={"backend": "corpus"})
    until_quality()
    assert [row["reasons"] for row in read_jsonl("data/quality/rejected.jsonl")] == [["image_missing"]]
    assert "1 visual parts have no image: the clip brings none" in capsys.readouterr().out
    for row in rows:
        del row["image"]
    write_table(here / "data/raw/mine", rows)
    prepare.main()
    assert "0 of 10 clips bring their pictures" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no clip brings a picture; name one for each in a column `image`"):
        images.main()


def test_pictures_of_a_corpus_that_has_none_are_refused_before_anything_runs(here):
    params_for(here, prepare={"corpus": "soundworld", "clips": 96}, images={"backend": "corpus"})
    with pytest.raises(ValueError, match=r"images\.backend is corpus, but prepare\.corpus=soundworld brings no pict"):
        prepare.main()


def test_bare_nouns_end_with_a_list_that_says_what_to_do(here, capsys):
    names = ["frog", "sheep", "train", "cow", "pig", "hen", "clock", "church bell", "wave", "chainsaw"]
    rows = [row | {"caption": f"A {name}."} for row, name in zip(without_parts(ten_clips()), names, strict=True)]
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here)
    prepare.main()
    decompose.main()
    printed = capsys.readouterr().out
    assert '10 nothing_heard, such as "A frog.", "A sheep.", "A train."' in printed
    assert 'say how it sounds ("A small frog croaks loudly and slowly")' in printed
    images.main()
    with pytest.raises(ValueError, match=r"100\.0% of 10 pairs .*say how it sounds .*rejected\.jsonl"):
        quality.main()
    listed = read_jsonl(here / "cache/rejected.jsonl")
    assert [row["reasons"] for row in listed] == [["nothing_heard"]] * 10
    assert all("say how it sounds" in row["remedies"][0] for row in listed)


def test_what_users_are_told_to_write_passes_and_what_they_are_shown_does_not():
    page = (ROOT / "docs/your_own_data.md").read_text(encoding="utf-8")
    rows = re.findall(r'^\| `(\w+)` \("(.+?)"\) \|.*?: "(.+?)"', page, flags=re.MULTILINE)
    assert [reason for reason, _, _ in rows][:2] == ["nothing_heard", "nothing_seen"]
    for reason, poor, better in rows:
        assert by_rules(poor, 3, 7, add_words=False).reason == reason
        assert by_rules(better, 3, 7, add_words=False).reason is None
    told = re.findall(r'"([A-Z].+?)"', " ".join(REMEDIES.values()))
    assert len(told) == 2
    assert all(by_rules(example, 3, 7, add_words=False).reason is None for example in told)


def test_videos_and_ten_clips_without_splits_are_told_what_to_do(here):
    rows = [{key: value for key, value in row.items() if key != "split"} for row in ten_clips()]
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here, prepare={"valid_share": 0.01})
    with pytest.raises(ValueError, match=r"0 valid.* later stages need 2 train, 1 valid, 3 test; .* a column `split`"):
        prepare.main()
    rows = [{"file_name": f"clip-{number}.wav", **row} for number, row in enumerate(ten_clips())]
    rows[5]["file_name"] = "clip-5.mp4"
    (here / "data/raw/mine/clip-5.mp4").write_bytes(b"no sound that soundfile knows")
    write_table(here / "data/raw/mine", rows)
    prepare.main()
    (rejected,) = read_jsonl("data/corpus/rejected.jsonl")
    assert rejected["reason"] == "unreadable"
    assert "`ffmpeg -i clip-5.mp4 -vn clip-5.wav`" in rejected["detail"]


def test_a_corpus_of_videos_is_told_at_the_first_stage_how_to_take_them_apart(here):
    rows = [{key: value for key, value in row.items() if key != "image"} for row in ten_clips()]
    lay_out_corpus(here / "data/raw/mine", rows)
    for row in rows:
        sound = here / "data/raw/mine" / row["file_name"]
        row["file_name"] = sound.rename(sound.with_suffix(".mp4")).name
        sound.with_suffix(".mp4").write_bytes(b"no sound that soundfile knows")
    write_table(here / "data/raw/mine", rows)
    params_for(here)
    with pytest.raises(ValueError, match=r"10 unreadable.*\(clip-0.mp4: .*`ffmpeg -i clip-0.mp4 -vn clip-0.wav`\)"):
        prepare.main()


def test_frames_of_a_few_videos_are_pictures_like_others(here):
    """Two sounds of a video show the same one; they name the video as their recording."""
    rows = ten_clips()
    mine = here / "data/raw/mine"
    lay_out_corpus(mine, rows)
    (mine / "frames").mkdir()
    for number, row in enumerate(rows):
        photograph, video = row["image"], row["split"]
        row |= {"recording": f"{video}.mp4", "image": f"frames/{video}_{number // 2:04d}.jpg"}
        (mine / photograph).replace(mine / row["image"])
    write_table(mine, rows)
    params_for(here, images={"backend": "corpus"})
    until_quality()
    accepted = read_jsonl("data/quality/accepted.jsonl")
    assert len({row["image"] for row in rows}) < len(accepted) == 10
    for row, given in zip(accepted, rows, strict=True):
        assert Path(row["image"]).read_bytes() == (mine / given["image"]).read_bytes()


def test_captions_of_another_language_are_named_as_such(here, capsys):
    english, german = ten_clips()[:5], without_parts(ten_clips()[5:])
    rows = english + [row | {"caption": "Ein Hund bellt laut in der Nacht"} for row in german]
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here)
    prepare.main()
    assert (
        '5 captions are not English, such as "Ein Hund bellt laut in der Nacht": translate' in capsys.readouterr().out
    )
    decompose.main()
    assert '5 not_english, such as "Ein Hund bellt laut in der Nacht": translate it' in capsys.readouterr().out
    images.main()
    with pytest.raises(ValueError, match=r"50\.0% of 10 pairs .*not_english 5.*translate it"):
        quality.main()
    write_table(here / "data/raw/mine", [row | {"caption": "A dog barks"} for row in rows])
    prepare.main()
    assert "English" not in capsys.readouterr().out


def test_subjects_that_cannot_be_drawn_are_named_and_refused_where_that_is_asked_for(here, capsys):
    rows = without_parts(ten_clips())
    for row in rows[5:8]:
        row |= {"visual_part": "an old zither in a hall", "text_part": "plucked slowly and softly"}
    lay_out_corpus(here / "data/raw/mine", rows)
    params_for(here, quality={"undrawn_subjects": "reject", "max_reject_rate": 0.9})
    until_quality()
    printed = capsys.readouterr().out
    assert "show a subject as a word, for want of a pictogram: " in printed
    assert "zither (3)" in printed
    rejected = {row["id"]: row["reasons"] for row in read_jsonl("data/quality/rejected.jsonl")}
    assert rejected == {f"clip-{number}": ["subject_undrawn"] for number in (5, 6, 7)}

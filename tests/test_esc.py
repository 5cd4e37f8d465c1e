"""ESC-10 and ESC-50: their folders, folds and classes, and the captions that are written for their clips."""

import csv
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.esc_captions import caption_of, categories, third_person
from stages.corpus.readers import read_corpus
from stages.corpus.recordings import load_clip
from stages.corpus.signals import generator
from tests.test_corpus import SAMPLES, prepared, settings_for, tone


def test_esc10_folders_give_folds_classes_and_captions(monkeypatch, tmp_path):
    for fold in range(1, 6):
        tone(tmp_path / "raw" / "001 - Dog bark" / f"{fold}-{fold}00-A.ogg")
        tone(tmp_path / "raw" / "008 - Chainsaw" / f"{fold}-{fold}01-A.ogg")
        tone(tmp_path / "raw" / "008 - Chainsaw" / f"{fold}-{fold}01-B.ogg")
    tone(tmp_path / "raw" / "001 - Dog bark" / "9-1-A.ogg")
    tone(tmp_path / "raw" / "011 - Unicorn" / "1-1-A.ogg")
    (tmp_path / "raw" / "LICENSE").write_text("not a clip")
    rows, rejected = prepared(monkeypatch, tmp_path, settings_for("esc10", tmp_path / "raw"))
    assert Counter(row["split"] for row in rows) == {"train": 9, "valid": 3, "test": 3}
    assert {row["split"] for row in rows if "-5-" in row["id"]} == {"test"}
    assert {row["split"] for row in rows if "-4-" in row["id"]} == {"valid"}
    assert {tuple(row["sources"]) for row in rows} == {("dog",), ("chainsaw",)}
    assert sorted(row["reason"] for row in rejected) == ["file_name", "unknown_class"]


def test_esc50_layout_is_read_and_its_faults_are_listed(monkeypatch, tmp_path):
    table = [["filename", "fold", "target", "category", "esc10", "src_file", "take"]]
    for fold, take in ((1, "A"), (2, "A"), (3, "A"), (4, "A"), (5, "A"), (5, "B"), (5, "C")):
        tone(tmp_path / "raw" / "audio" / f"{fold}-7{fold}-{take}-0.wav")
        table.append([f"{fold}-7{fold}-{take}-0.wav", str(fold), "0", "dog", "True", f"7{fold}", take])
    table.append(["1-99-A-0.wav", "1", "0", "dog", "True", "99", "A"])
    table.append(["1-71-A-0.wav", "8", "0", "dog", "True", "71", "A"])
    table.append(["1-71-A-0.wav", "1", "0", "unicorn", "True", "71", "A"])
    (tmp_path / "raw" / "meta").mkdir()
    with open(tmp_path / "raw" / "meta" / "esc50.csv", "w", newline="") as file:
        csv.writer(file).writerows(table)
    rows, rejected = prepared(monkeypatch, tmp_path, settings_for("esc50", tmp_path / "raw"))
    assert [row["split"] for row in rows] == ["train", "train", "train", "valid", "test", "test", "test"]
    assert rows[0]["recording"] == "freesound-71"
    assert sorted(row["reason"] for row in rejected) == ["missing", "unknown_class", "unknown_fold"]


@given(category=st.sampled_from(sorted(categories())), seed=st.integers(0, 500), gain=st.floats(0.001, 0.9))
@settings(max_examples=150, deadline=None)
def test_esc_captions_name_no_loudness_that_is_not_there(category, seed, gain):
    rng = generator(seed)
    wave = gain * np.sin(np.arange(40_960) * 0.3) * np.repeat(rng.random(8), 5120)
    words = caption_of(category, wave, rng).lower().rstrip(".").replace(",", "").split()
    spoken = {"loudly", "noisily", "strongly"} & set(words), {"softly", "quietly", "faintly"} & set(words)
    energy = np.concatenate([[0.0], np.cumsum(wave**2)])
    loudest = 10 * np.log10(np.max(energy[4000:] - energy[:-4000]) / 4000)
    assert not spoken[0] or loudest > -17
    assert not spoken[1] or loudest < -33
    subject = next(
        phrase.split() for phrase, _ in categories()[category].seen if words[: len(phrase.split())] == phrase.split()
    )
    heard = words[len(subject) :]
    assert 3 <= len(subject) <= 7
    assert 3 <= len(heard) <= 7
    assert not set(subject) & set(heard)


def test_verbs_agree_with_their_subject():
    assert [third_person(verb) for verb in ("bark", "cry", "buzz", "flush", "sneeze", "play")] == [
        "barks",
        "cries",
        "buzzes",
        "flushes",
        "sneezes",
        "plays",
    ]
    assert len(categories()) == 50


def test_the_real_esc10_is_read_whole(corpora):
    folder = corpora / "esc10"
    clips, rejected = read_corpus(settings_for("esc10", folder))
    assert Counter(clip.split for clip in clips) == {"train": 240, "valid": 80, "test": 80}
    assert rejected == []
    fewer, _ = read_corpus(settings_for("esc10", folder, clips=50))
    assert Counter(clip.sources for clip in fewer) == {clip.sources: 5 for clip in clips}
    assert Counter(clip.split for clip in fewer) == {"train": 30, "valid": 10, "test": 10}
    for clip in fewer[::10]:
        assert np.max(np.abs(load_clip(folder / clip.file, SAMPLES))) > 0.001

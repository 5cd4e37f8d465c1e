"""A folder's metadata files: which rows become clips, of which split, and what is said about the others."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.readers import read_corpus
from tests.test_corpus import settings_for


def test_several_captions_of_one_file_stay_in_one_split_under_ids_of_their_own(tmp_path):
    rows = [{"file_name": f"{n}.wav", "caption": f"Caption {c} of clip {n}"} for n in range(20) for c in range(3)]
    rows.append({"file_name": "0--2.wav", "caption": "A name like a numbered one"})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    clips, rejected = read_corpus(settings_for("audiofolder", tmp_path))
    assert rejected == []
    assert len({clip.id for clip in clips}) == 61
    splits: dict[str, str] = {}
    for clip in clips:
        assert splits.setdefault(clip.file, clip.split) == clip.split
    assert set(splits.values()) == {"train", "valid", "test"}


def test_a_recording_given_in_two_splits_is_kept_in_the_first(tmp_path):
    rows = [{"file_name": f"{s}.wav", "caption": "A tone", "split": s, "recording": "r"} for s in ("train", "test")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    clips, rejected = read_corpus(settings_for("audiofolder", tmp_path))
    assert [clip.split for clip in clips] == ["train"]
    assert [row["reason"] for row in rejected] == ["recording_in_two_splits"]


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "file_name": st.one_of(st.text(max_size=12), st.sampled_from(["a.wav", "test/b.wav"]), st.integers()),
                "caption": st.one_of(st.text(max_size=12), st.none(), st.integers()),
                "split": st.one_of(st.sampled_from(["train", "dev", "TEST", "no"]), st.none(), st.integers()),
                "label": st.one_of(st.text(max_size=5), st.none(), st.lists(st.text(max_size=3), max_size=2)),
                "recording": st.one_of(st.text(max_size=3), st.none()),
            },
        ),
        min_size=1,
        max_size=12,
    ),
    limit=st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_metadata_holds_each_row_is_kept_or_rejected_once(tmp_path_factory, rows, limit):
    folder = tmp_path_factory.mktemp("any")
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    try:
        clips, rejected = read_corpus(settings_for("audiofolder", folder))
    except ValueError as error:
        assert "no usable audiofolder clip" in str(error)  # noqa: PT017
        return
    assert len(clips) + len(rejected) == len(rows)
    assert len({clip.id for clip in clips}) == len(clips)
    splits: dict[str, str] = {}
    for clip in clips:
        assert clip.caption
        assert clip.split in ("train", "valid", "test")
        assert "/" not in clip.id
        assert splits.setdefault(clip.recording, clip.split) == clip.split
    fewer, _ = read_corpus(settings_for("audiofolder", folder, clips=limit))
    assert len(fewer) == (min(limit, len(clips)) or len(clips))
    assert set(fewer) <= set(clips)


def listed(folder, rows, table="metadata.jsonl", **changes):
    """What the reader makes of rows of metadata, without audio."""
    (folder / table).parent.mkdir(parents=True, exist_ok=True)
    (folder / table).write_text("\n".join(map(json.dumps, rows)))
    return read_corpus(settings_for("audiofolder", folder, **changes))


WORDS = {
    **dict.fromkeys(["train", "training"], "train"),
    **dict.fromkeys(["valid", "validation", "val", "dev"], "valid"),
    **dict.fromkeys(["test", "testing", "eval", "evaluation"], "test"),
}


@given(
    word=st.sampled_from(sorted(WORDS)),
    change=st.sampled_from([str.lower, str.upper, str.title]),
    before=st.lists(st.sampled_from(["data", "clips", "a b"]), max_size=2),
    after=st.lists(st.sampled_from(["dogs", "x"]), max_size=2),
    beside_audio=st.booleans(),
    column=st.booleans(),
)
def test_each_word_for_a_split_counts_in_a_column_and_in_any_folder(
    tmp_path_factory, word, change, before, after, beside_audio, column
):
    folder, place = tmp_path_factory.mktemp("words"), [*before, *after] if column else [*before, change(word), *after]
    names = [f"{number}.wav" for number in range(12)]
    given_split = {"split": change(word)} if column else {}
    table = "/".join([*place, "metadata.jsonl"] if beside_audio else ["metadata.jsonl"])
    rows = [{"file_name": name if beside_audio else "/".join([*place, name]), "caption": "A"} for name in names]
    clips, rejected = listed(folder, [row | given_split for row in rows], table)
    assert rejected == []
    assert {clip.split for clip in clips} == {WORDS[word]}


def test_folders_that_contradict_each_other_are_rejected_unless_a_column_says_which(tmp_path, capsys):
    row = {"file_name": "train/eval/a.wav", "caption": "A bell"}
    clips, rejected = listed(tmp_path, [row, row | {"file_name": "train/eval/b.wav", "split": "test"}])
    assert [(clip.file, clip.split) for clip in clips] == [("train/eval/b.wav", "test")]
    assert [(row["reason"], row["detail"][:14]) for row in rejected] == [("unknown_split", "train and eval")]
    assert "1 clips look as if they were of another split, such as train/eval/b.wav" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"file_name": "train_01.wav"}, True),
        ({"file_name": "test-clean/1.wav"}, True),
        ({"file_name": "fold 3/1.wav"}, True),
        ({"file_name": "1.wav", "subset": "test"}, True),
        ({"file_name": "train/1.wav", "label": "train"}, False),
        ({"file_name": "test/1.wav"}, False),
        ({"file_name": "steam_train_12.wav", "label": "train"}, False),
        ({"file_name": "trained dogs/1.wav"}, False),
    ],
)
def test_what_looks_like_a_split_and_is_none_is_said(tmp_path, capsys, row, said):
    clips, _ = listed(tmp_path, [row | {"caption": "Something sounds"}])
    output = capsys.readouterr().out
    assert ("look as if they were of another split" in output) == said
    assert ("by a draw" in output) == (clips[0].file != "test/1.wav")


def test_audio_and_tables_that_no_metadata_names_are_counted_aloud(tmp_path, capsys):
    for name in ("a.wav", "b.wav", "c.mp3"):
        (tmp_path / name).touch()
    (tmp_path / "train.csv").write_text("file_name,caption")
    listed(tmp_path, [{"file_name": "a.wav", "caption": "A bell"}])
    assert "3 files of audio or tables stand in no metadata file, such as b.wav" in capsys.readouterr().out


@given(caption=st.text(min_size=1, max_size=30), ends=st.sampled_from(["\n", "\r\n"]), escaped=st.booleans())
def test_any_caption_comes_out_of_jsonl_whole_or_as_one_rejected_row(tmp_path_factory, caption, ends, escaped):
    folder = tmp_path_factory.mktemp("captions")
    rows = [{"file_name": "a.wav", "caption": caption}, {"file_name": "b.wav", "caption": "A bell"}]
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    (folder / "metadata.jsonl").write_bytes(ends.join(lines).encode("utf-8", "surrogatepass"))
    clips, rejected = read_corpus(settings_for("audiofolder", folder))
    assert len(clips) + len(rejected) == 2
    kept = {clip.file: clip.caption for clip in clips}
    assert kept["b.wav"] == "A bell"
    assert kept.get("a.wav", "") == (" ".join(caption.split()))


@pytest.mark.parametrize("text", ["One\u2028two", "One\x85two", "One\x0btwo", "One\x1ctwo"])
def test_line_ends_of_other_alphabets_do_not_cut_a_row_in_two(tmp_path, text):
    row = json.dumps({"file_name": "a.wav", "caption": text}, ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_text(row, encoding="utf-8")
    clips, rejected = read_corpus(settings_for("audiofolder", tmp_path))
    assert ([clip.caption for clip in clips], rejected) == (["One two"], [])


def test_a_csv_whose_quote_never_closes_is_one_line_and_no_long_caption(tmp_path):
    (tmp_path / "metadata.csv").write_text('file_name,caption\na.wav,"A bell\nb.wav,A horn\n')
    with pytest.raises(ValueError, match=r"metadata\.csv: no readable CSV"):
        read_corpus(settings_for("audiofolder", tmp_path))


def test_a_clip_that_two_metadata_files_list_is_taken_once(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "metadata.csv").write_text("file_name,caption\na.wav,A bell\nb.wav,A horn\n")
    (tmp_path / "x" / "metadata.jsonl").write_text(json.dumps({"file_name": "./a.wav", "caption": " A  bell"}))
    clips, rejected = listed(tmp_path, [{"file_name": "x\\b.wav", "caption": "A horn"}])
    assert sorted(clip.file for clip in clips) == ["x/a.wav", "x/b.wav"]
    assert [row["reason"] for row in rejected] == ["listed_twice", "listed_twice"]


def test_no_recording_is_not_one_recording(tmp_path):
    rows = [{"file_name": f"{number}.wav", "caption": "A bell", "recording": float("nan")} for number in range(40)]
    clips, _ = listed(tmp_path, rows)
    assert {clip.split for clip in clips} == {"train", "valid", "test"}


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "metadata.jsonl").write_text(json.dumps({"file_name": "a.wav", "caption": "A bell"}))
    (tmp_path / "raw" / "audio").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "raw")
    (tmp_path / "raw" / "self").symlink_to(tmp_path / "raw")
    clips, rejected = read_corpus(settings_for("audiofolder", tmp_path / "raw"))
    assert ([clip.file for clip in clips], rejected) == (["audio/a.wav"], [])

import json
import re
import resource
import shutil

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from stages.formats.files import (
    read_jsonl,
    read_tsv,
    replacing,
    replacing_folder,
    write_json,
    write_jsonl,
    write_text,
    write_tsv,
)
from stages.plumbing.running import run_command

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _half(path):
    path.write_text("half")
    (path.parent / "missing").read_text()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a.txt", "old\n")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt") as temporary:
        _half(temporary)
    assert (tmp_path / "a.txt").read_text() == "old\n"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_is_not_there_before_its_block_ends(tmp_path):
    with replacing(tmp_path / "deep" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "whole"


def test_a_folder_is_replaced_whole(tmp_path):
    for generation in ("first", "second"):
        with replacing_folder(tmp_path / "out") as temporary:
            (temporary / f"{generation}.txt").write_text("x")
    assert names(tmp_path / "out") == ["second.txt"]
    assert names(tmp_path) == ["out"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    with replacing_folder(tmp_path / "out") as temporary:
        (temporary / "old.txt").write_text("x")
    with pytest.raises(FileNotFoundError), replacing_folder(tmp_path / "out") as temporary:
        shutil.copy(tmp_path / "missing", temporary)
    assert names(tmp_path / "out") == ["old.txt"]
    assert names(tmp_path) == ["out"]


def test_what_a_killed_run_left_of_a_folder_is_swept(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "stale.txt").write_text("x")
    with replacing_folder(tmp_path / "out") as temporary:
        (temporary / "new.txt").write_text("x")
    assert names(tmp_path / "out") == ["new.txt"]


@given(rows=st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=4), max_size=5))
def test_rows_come_back_as_written_and_sorted_by_id(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [{**row, "id": str(index * 7 % 10)} for index, row in enumerate(rows)]
    write_jsonl(path, rows)
    assert read_jsonl(path) == sorted(rows, key=lambda row: row["id"])


@pytest.mark.parametrize(("line", "reason"), [('{"a": 1', "not JSON"), ("[1]", "not a JSON object")])
def test_a_broken_line_is_named(tmp_path, line, reason):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n' + line + "\n")
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line 3: {reason}"):
        read_jsonl(tmp_path / "rows.jsonl")


def test_nan_never_reaches_a_metrics_file(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_json_keeps_its_order_and_ends_with_a_line_end(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["b", "a"]
    assert "é" in text
    assert text.endswith("}\n")


def test_tables_have_a_header_and_six_digits(tmp_path):
    write_tsv(tmp_path / "a.tsv", [{"epoch": 1, "loss": 1 / 3}, {"epoch": 2, "loss": 1e-7}])
    assert (tmp_path / "a.tsv").read_text() == "epoch\tloss\n1\t0.333333\n2\t1e-07\n"


def test_a_table_is_read_as_it_was_written_quotes_and_gaps_among_it(tmp_path):
    rows = [{"caption": 'a "loud" bell', "note": ""}, {"caption": '"', "note": "rings\u2028twice"}]
    write_tsv(tmp_path / "a.tsv", rows)
    assert read_tsv(tmp_path / "a.tsv") == rows
    (tmp_path / "a.tsv").write_text("caption\tnote\na bell\n")
    assert read_tsv(tmp_path / "a.tsv") == [{"caption": "a bell", "note": ""}]
    (tmp_path / "a.tsv").write_text("")
    assert read_tsv(tmp_path / "a.tsv") == []


def save_jsonl(path):
    write_jsonl(path, ({"id": str(number)} for number in range(20_000)))


def save_weights(path):
    with replacing(path) as temporary:
        save_file({"a": np.zeros(200_000)}, temporary)


def save_clip(path):
    with replacing_folder(path) as folder:
        soundfile.write(folder / "a.flac", np.random.default_rng(1).random(200_000), 16_000, format="FLAC")


@pytest.mark.parametrize("save", [save_jsonl, save_weights, save_clip])
def test_whatever_library_meets_a_full_disk_the_user_reads_one_line_and_keeps_the_old_file(tmp_path, capsys, save):
    path = tmp_path / "out"
    old = path / "old.txt" if save is save_clip else path
    write_text(old, "old\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(SystemExit, match=r"^1$"):
            run_command(lambda: save(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"^error: {path}: cannot be written \(.+\); [\d,]+ MB are free there", line)
    assert names(tmp_path) == ["out"]
    assert old.read_text() == "old\n"


def test_a_place_where_no_folder_can_be_is_one_line_too(tmp_path):
    (tmp_path / "data").write_text("a file")
    for write in (replacing, replacing_folder):
        with pytest.raises(ValueError, match="data/out: cannot be written"), write(tmp_path / "data" / "out"):
            pass


def test_a_disk_that_was_full_when_a_writer_in_rust_met_it_is_told(tmp_path):
    error = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with (
        pytest.raises(ValueError, match=r"a: cannot be written \(No space left"),
        replacing(tmp_path / "a"),
    ):
        raise error


def test_an_error_that_is_no_fault_of_the_disk_stays_itself(tmp_path):
    for error in (PermissionError(13, "another file"), RuntimeError("a bug"), ValueError("a key")):
        with pytest.raises(type(error), match=str(error.args[-1])) as caught, replacing(tmp_path / "a"):
            raise error
        assert type(caught.value) is type(error)

"""Files of old revisions that nobody can read: one line with the file's name, or left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.commands.sync import read_metrics
from stages.tracking.machines import read_machines
from stages.tracking.revisions import flat_params, lock_hashes, read_yaml

MARKS = b"<<<<<<< HEAD\nstages: {}\n=======\nstages: {}\n>>>>>>> other\n"
NO_LOCK = [
    MARKS,
    b"a: [1",
    b"- 1",
    b"stages: 3",
    b"stages: {evaluate: {deps: [{md5: 1}], outs: [{md5: 1}]}}",
    b"stages: [1]",
    b"\xff: : 1",
]


@pytest.mark.parametrize("content", NO_LOCK)
def test_a_lock_that_cannot_be_read_is_one_line_with_its_name(content):
    for kind in ("deps", "outs"):
        with pytest.raises(ValueError, match=r"^dvc\.lock of abc: ") as caught:
            lock_hashes(content.decode(errors="replace"), kind, "dvc.lock of abc")
        assert "\n" not in str(caught.value)


@given(st.text())
def test_whatever_stands_in_an_old_file_of_dvcs_it_is_read_or_one_line(text):
    for read in (lambda: lock_hashes(text, "outs"), lambda: read_yaml(text, "params.yaml")):
        try:
            assert isinstance(read(), dict)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert isinstance(flat_params(text), dict)
    assert isinstance(read_machines(text), dict)


@pytest.mark.parametrize("content", [b"[1]", b"\xff", MARKS, b"3", b'{"a": {"b": "text"}}'])
def test_metrics_that_cannot_be_read_are_left_out(tmp_path, content):
    (tmp_path / "odd.json").write_bytes(content)
    (tmp_path / "train_b.json").write_text('{"epoch": 3}')
    found = read_metrics(tmp_path, ["odd.json", "train_b.json", "missing.json"])
    assert {name: value for name, value in found.items() if not name.startswith("odd")} == {"train_b.epoch": 3.0}

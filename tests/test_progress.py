"""Progress where stderr is no terminal."""

from __future__ import annotations

from stages.plumbing import progress as room
from stages.plumbing.progress import progress


def test_a_log_gets_no_carriage_returns_and_two_lines_for_what_is_quick(capfd):
    assert list(progress(range(5000), "pairs")) == list(range(5000))
    text = capfd.readouterr().err
    assert "\r" not in text
    first, last = text.splitlines()
    assert first.startswith("pairs:   0%|")
    assert last.startswith("pairs: 100%|")


def test_a_log_gets_a_line_whenever_the_time_has_come(capfd, monkeypatch):
    monkeypatch.setattr(room, "LOG_SECONDS", 0.0)
    assert list(progress(range(3), "train_b")) == [0, 1, 2]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 4
    assert all(line.startswith("train_b: ") for line in lines)

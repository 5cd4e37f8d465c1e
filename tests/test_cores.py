"""Work on all cores: the same results in the same order, whatever the number of processes."""

import os
import signal

import pytest

from stages.plumbing import cluster as cores


def process(_):
    return os.getpid()


def failed(number):
    raise ValueError(f"item {number} is bad")


def killed(number):
    if number == 40:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def numbered(number):
    return number, os.getpid()


def test_several_cores_share_the_work_and_keep_its_order(monkeypatch):
    monkeypatch.setattr(cores, "core_count", lambda: 2)
    numbers, processes = zip(*cores.on_all_cores(numbered, range(100)), strict=True)
    assert numbers == tuple(range(100))
    assert os.getpid() not in processes


def test_one_core_or_little_work_starts_no_process(monkeypatch):
    monkeypatch.setattr(cores, "core_count", lambda: 1)
    assert set(cores.on_all_cores(process, range(100))) == {os.getpid()}
    monkeypatch.setattr(cores, "core_count", lambda: 3)
    assert set(cores.on_all_cores(process, range(10))) == {os.getpid()}


def test_what_goes_wrong_in_a_process_is_raised_here(monkeypatch):
    monkeypatch.setattr(cores, "core_count", lambda: 2)
    with pytest.raises(ValueError, match="item 40 is bad"):
        list(cores.on_all_cores(failed, [40] * 64))
    with pytest.raises(ValueError, match="killed, most likely for want of memory"):
        list(cores.on_all_cores(killed, range(64)))


@pytest.mark.parametrize("corpus", ["soundworld", "audiofolder"])
def test_prepare_writes_the_same_bytes_on_one_core_and_on_two(monkeypatch, tmp_path, corpus):
    # Not above: the processes of the other tests import this file.
    from stages.corpus.clips import CORPUS
    from tests.test_corpus import prepared, settings_for, tone

    lines = []
    for number in range(66):
        tone(tmp_path / f"raw/{number}.wav", seconds=0.3 if number % 11 == 5 else 2.0, frequency=200 + 10 * number)
        lines.append(f'{{"file_name": "{number}.wav", "caption": "A tone hums"}}')
    (tmp_path / "raw/metadata.jsonl").write_text("\n".join(lines))
    settings = settings_for(corpus, tmp_path / "raw", clips=66)
    found = []
    for count in (1, 2):
        monkeypatch.setattr(cores, "core_count", lambda count=count: count)
        prepared(monkeypatch, tmp_path, settings)
        found.append({path.name: path.read_bytes() for path in sorted((tmp_path / CORPUS).iterdir())})
    assert found[0] == found[1]
    assert len(found[0]) == 68 - (6 if corpus == "audiofolder" else 0)

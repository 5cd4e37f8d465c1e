"""Replies in files of lines: what a worker wrote is known to the next one and to the driver, torn lines are not."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from stages.language_model.reply_journal import JournalReader, ReplyJournal
from stages.language_model.request_cache import Reply, RequestCache


@pytest.fixture
def cache(tmp_path):
    with closing(RequestCache(tmp_path / "replies.sqlite")) as opened:
        yield opened


def test_a_reply_is_on_disk_at_once_and_the_next_worker_of_the_run_knows_it(tmp_path):
    journal = ReplyJournal(tmp_path, "run", {"known": Reply("old", "batch")})
    journal.put("new", 'a "text"\nof two lines', "direct")
    journal.put("known", "another", "direct")
    other = ReplyJournal(tmp_path, "run", {})
    assert other.get("new") == Reply('a "text"\nof two lines', "direct")
    assert other.get("known") is None, "what was known before is not written again"
    assert ReplyJournal(tmp_path, "another", {}).get("new") is None
    assert journal.get("known") == Reply("old", "batch")


def test_a_line_that_a_kill_cut_off_is_no_reply_and_spoils_no_other(tmp_path, cache):
    journal = ReplyJournal(tmp_path, "run", {})
    journal.put("whole", "text", "direct")
    journal.close()
    (path,) = tmp_path.glob("run-*.jsonl")
    with open(path, "ab") as file:
        file.write(b'["torn", "te')
    assert ReplyJournal(tmp_path, "run", {}).get("torn") is None
    reader = JournalReader(tmp_path, cache)
    assert reader.adopt() == [Reply("text", "direct")]
    with open(path, "ab") as file:
        file.write(b'xt", "direct"]\n')
    assert reader.adopt() == [Reply("text", "direct")]
    assert cache.get("torn") == Reply("text", "direct")
    assert reader.adopt() == []


def test_what_the_cache_has_is_not_adopted_again(tmp_path, cache):
    cache.put("key", "first", "direct")
    ReplyJournal(tmp_path, "run", {}).put("key", "second", "direct")
    assert JournalReader(tmp_path, cache).adopt() == []
    assert cache.get("key") == Reply("first", "direct")


def test_a_runs_own_files_go_at_its_end_and_others_after_an_hour(tmp_path, cache):
    for run in ("mine", "yours", "old"):
        ReplyJournal(tmp_path, run, {}).put(run, "text", "direct")
    (old,) = tmp_path.glob("old-*")
    os.utime(old, (0, 0))
    reader = JournalReader(tmp_path, cache)
    reader.remove("mine")
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*.jsonl")} == {"yours", "old"}
    reader.remove()
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*.jsonl")} == {"yours"}


def test_a_folder_that_is_not_there_holds_nothing(tmp_path, cache):
    reader = JournalReader(tmp_path / "none", cache)
    assert reader.adopt() == []
    reader.remove()

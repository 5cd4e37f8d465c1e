"""Decomposition by a language model under faults, kills and in batches: nothing lost, nothing paid twice."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing

import pytest

from stages.commands.decomposition_report import read_captions
from stages.language_model.asking import CONCURRENCY
from stages.language_model.bill import cost, price_of
from tests.language_stage import CAPTIONS, asked, environment, kept_keys, lay_out, rows_of, stage
from tests.loopback_openai import FAULTS

KILLS = 4
ARRIVING = (None, "not_json", "rule", "refusal")  # these replies reach the stage whole


def kill_at_mark(folder, address, servers, **more):
    """Start the stage and kill it at the server's next mark."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.decompose"],
        cwd=folder,
        env=environment(address, **more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert servers.next_line() == "mark"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_faults_and_four_kills_over_real_captions_lose_no_caption_and_no_reply(corpora, tmp_path, start_server):
    captions = read_captions(corpora / "audiocaps/test.csv", "caption")[:1000]
    address, log = start_server(fault_share=0.25, time_out=3, mark_every=len(captions) // 5, latency=0.002)
    folder = lay_out(tmp_path / "killed", captions)
    kept = []
    for _ in range(KILLS):
        kill_at_mark(folder, address, start_server, BIND_AN_AUDIO_REQUEST_SECONDS="2")
        kept.append((kept_keys(folder), len(asked(log))))
    done = stage(folder, address, BIND_AN_AUDIO_REQUEST_SECONDS="2")
    assert done.returncode == 0, done.stderr[-2000:]
    requests = asked(log)
    for keys, length in kept:
        assert keys
        assert not keys & {request["key"] for request in requests[length:]}
    arrived = Counter(request["key"] for request in requests if request["fault"] in ARRIVING)
    assert arrived.total() - len(arrived) <= KILLS * CONCURRENCY  # only what was under way at a kill
    faults = Counter(request["fault"] for request in requests)
    assert set(FAULTS) <= set(faults)

    rows = rows_of(folder)
    assert [row["caption"] for row in rows] == captions
    assert all((row["visual_part"] is None) == (row["reason"] is not None) for row in rows)

    address, log = start_server()
    quiet = lay_out(tmp_path / "quiet", captions)
    assert stage(quiet, address).returncode == 0
    assert set(Counter(request["key"] for request in asked(log)).values()) == {1}
    assert (folder / "data/decomposed.jsonl").read_bytes() == (quiet / "data/decomposed.jsonl").read_bytes()


def test_batch_mode_gives_the_same_parts_and_retries_failed_rows(tmp_path, start_server):
    address, log = start_server()
    captions = [f"A dog number {n} barks loudly in a garden while a man speaks softly" for n in range(12)]
    direct = lay_out(tmp_path / "direct", captions)
    assert stage(direct, address).returncode == 0
    address, log = start_server()
    folder = lay_out(tmp_path / "batch", captions, mode="batch")
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    assert (folder / "data/decomposed.jsonl").read_bytes() == (direct / "data/decomposed.jsonl").read_bytes()
    rows = Counter(request["key"] for request in asked(log) if "key" in request)
    assert len(rows) == 12
    assert sorted(rows.values()) == [1] * 10 + [2] * 2
    half = cost(price_of("gpt-4.1"), "batch", 500, 20)
    assert f"12 replies used, {12 * half:.4f} USD" in done.stdout


def test_a_killed_batch_run_goes_on_with_the_batch_it_sent(tmp_path, start_server):
    address, log = start_server(mark_every=8)
    folder = lay_out(tmp_path / "batch", [f"{text} number {n}" for n, text in enumerate(CAPTIONS[:3])], mode="batch")
    (log / "hold").touch()
    kill_at_mark(folder, address, start_server)
    (log / "hold").unlink()
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    paths = Counter(request["path"] for request in asked(log) if "path" in request)
    assert paths["POST /v1/files"] == 1
    assert paths["POST /v1/batches"] == 1
    assert paths["GET /v1/batches?limit=100"] == 1, "its id was noted: no search among the server's batches"
    assert len(rows_of(folder)) == 3


def test_a_batch_that_was_made_and_not_answered_for_is_not_made_again(tmp_path, start_server):
    address, log = start_server(mark_every=6)
    folder = lay_out(tmp_path / "batch", CAPTIONS[:3], mode="batch")
    # Upload, search, and the batch with its three rows: its id is held back.
    (log / "hold_id").touch()
    kill_at_mark(folder, address, start_server)
    (log / "hold_id").unlink()
    assert stage(folder, address).returncode == 0
    paths = Counter(request.get("path") for request in asked(log))
    assert paths["POST /v1/files"] == paths["POST /v1/batches"] == 1
    assert len(rows_of(folder)) == 3


def test_a_batch_whose_id_was_not_noted_is_found_by_its_digest(tmp_path, start_server):
    address, log = start_server()
    folder = lay_out(tmp_path / "batch", CAPTIONS[:3], mode="batch")
    assert stage(folder, address).returncode == 0
    first = (folder / "data/decomposed.jsonl").read_bytes()
    with closing(sqlite3.connect(folder / ".cache/replies.sqlite")) as base:
        base.execute("UPDATE batches SET id = NULL, done = 0")
        base.execute("DELETE FROM replies")
        base.commit()
    assert stage(folder, address).returncode == 0
    assert (folder / "data/decomposed.jsonl").read_bytes() == first
    assert Counter(request.get("path") for request in asked(log))["POST /v1/batches"] == 1


def test_a_batch_that_the_budget_does_not_cover_is_not_sent(tmp_path, start_server):
    address, log = start_server()
    folder = lay_out(tmp_path / "batch", CAPTIONS, mode="batch", budget_usd=0.0001)
    done = stage(folder, address)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: decompose.budget_usd=0.0001: 0.0000 USD spent")
    assert not (log / "log.jsonl").read_text()

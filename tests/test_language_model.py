"""Decomposition by a language model, against a loopback server: nothing lost, nothing paid twice, nothing leaked."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from stages.commands.decomposition_report import read_captions
from stages.language.conversation import load_prompt, next_step, read_reply
from stages.language.prices import cost, price_of
from stages.language.text import text_problems
from stages.plumbing.files import read_jsonl, write_jsonl
from stages.plumbing.params import load_params
from stages.plumbing.request_cache import Reply, RequestCache, request_key
from tests.loopback_openai import FAULTS, STUBBORN, answer_to

ROOT = Path(__file__).parents[1]
CORPORA = os.environ.get("BIND_AN_AUDIO_CORPORA")
needs_audiocaps = pytest.mark.skipif(
    not CORPORA or not (Path(CORPORA) / "audiocaps" / "test.csv").is_file(),
    reason="BIND_AN_AUDIO_CORPORA names no folder with audiocaps/test.csv",
)
KEY = "sk-planted-key-0123456789"
CAPTIONS = [
    "A small brass bell in a church rings slowly and softly, fading away.",
    "A man speaks followed by a dog barking loudly",
    "Rain falls on a tin roof, steadily and quietly",
    "A siren wails loudly and slowly as it passes by",
    "Loud, continuous buzzing and hissing",
]


class Servers:
    """Starts loopback servers; each has a folder with its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def __call__(self, **settings):
        folder = self.folder / f"server-{len(self.processes)}"
        folder.mkdir()
        words = [f"{name}={value}" for name, value in settings.items()]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.loopback_openai", str(folder), *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return self.next_line(), folder

    def next_line(self) -> str:
        """Wait for the newest server's next line."""
        stdout = self.processes[-1].stdout
        assert stdout is not None
        return stdout.readline().strip()


@pytest.fixture
def start_server(tmp_path):
    servers = Servers(tmp_path)
    yield servers
    for process in servers.processes:
        process.kill()
        process.wait()


def lay_out(folder, captions, **changes):
    """A folder in which the stage runs: params and captions."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["decompose"] |= {"backend": "openai", **changes}
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    clips = [{"id": f"clip-{n:05}", "split": "train", "caption": text} for n, text in enumerate(captions)]
    write_jsonl(folder / "data/corpus/metadata.jsonl", clips)
    return folder


def environment(address, **more):
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": address,
        "BIND_AN_AUDIO_TRACKING": "off",
        "BIND_AN_AUDIO_POLL_SECONDS": "0.01",
        **more,
    }


def stage(folder, address, *words, **more):
    return subprocess.run(
        [sys.executable, "-m", "stages.decompose", *words],
        cwd=folder,
        env=environment(address, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def rows_of(folder):
    return read_jsonl(folder / "data/decomposed.jsonl")


def asked(log_folder):
    return read_jsonl(log_folder / "log.jsonl")


def test_captions_become_parts_and_each_distinct_one_is_asked_once(tmp_path, start_server):
    address, log = start_server(bodies=1)
    folder = lay_out(tmp_path / "run", [*CAPTIONS[:4], CAPTIONS[0], ""])
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    rows = rows_of(folder)
    assert [row["caption"] for row in rows] == [*CAPTIONS[:4], CAPTIONS[0], ""]
    for row in rows[:5]:
        assert {key: row[key] for key in ("visual_part", "text_part")} == answer_to(row["caption"])
        assert text_problems(row["visual_part"], row["text_part"], 3, 7) == []
        assert row["reason"] is None
    assert rows[5]["reason"] == "caption_empty"
    requests = asked(log)
    assert len(requests) == 4
    body = requests[0]["body"]
    assert body["model"] == "gpt-4.1"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["response_format"]["json_schema"]["schema"]["additionalProperties"] is False


def test_kept_replies_cost_no_call_and_one_new_caption_costs_one(tmp_path, start_server):
    address, log = start_server()
    folder = lay_out(tmp_path / "run", CAPTIONS[:3])
    assert stage(folder, address).returncode == 0
    first = (folder / "data/decomposed.jsonl").read_bytes()
    assert stage(folder, address).returncode == 0
    assert (folder / "data/decomposed.jsonl").read_bytes() == first
    assert len(asked(log)) == 3
    lay_out(folder, CAPTIONS[:4])
    assert stage(folder, address).returncode == 0
    assert len(asked(log)) == 4
    lay_out(folder, CAPTIONS[:4], temperature=0.5)
    assert stage(folder, address).returncode == 0
    assert len(asked(log)) == 8


def test_a_broken_rule_is_named_in_a_repair_turn_and_what_still_fails_is_rejected_with_it(tmp_path, start_server):
    address, log = start_server(bodies=1)
    folder = lay_out(tmp_path / "run", [CAPTIONS[4]], attempts=3)
    assert answer_to(CAPTIONS[4]) == STUBBORN
    assert stage(folder, address).returncode == 0
    (row,) = rows_of(folder)
    assert (row["visual_part"], row["text_part"], row["reason"]) == (None, None, "visual_part_too_short")
    turns = [request["body"]["messages"] for request in asked(log)]
    assert [len(messages) for messages in turns] == [2, 4, 6]
    assert turns[1][2] == {"role": "assistant", "content": json.dumps(STUBBORN)}
    assert "visual_part has 2 words; it must have 3 to 7 words" in turns[1][3]["content"]
    assert "'dog'" in turns[1][3]["content"]


def parts_reply(visual_part, text_part):
    content = json.dumps({"visual_part": visual_part, "text_part": text_part})
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<html>", "answer_not_json"),
        ("[]", "answer_not_json"),
        ('{"choices": []}', "answer_not_json"),
        ('{"choices": [{"message": {"content": "{"}}]}', "answer_not_json"),
        ('{"choices": [{"message": {"content": "{\\"visual_part\\": 1}"}}]}', "answer_not_json"),
        ('{"choices": [{"message": {"content": null, "refusal": "No."}}]}', "answer_refused"),
        ('{"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}', "answer_refused"),
        ('{"choices": [{"message": {"content": "{\\"vis"}, "finish_reason": "length"}]}', "answer_cut_off"),
    ],
)
def test_an_answer_that_is_none_says_why(text, problem):
    _, parts, found = read_reply(text)
    assert (parts, found) == (None, problem)


def test_parts_come_in_one_spelling():
    _, parts, problem = read_reply(parts_reply(' "A Small  Bell." ', "Rings SLOWLY,  softly!"))
    assert problem is None
    assert parts is not None
    assert (parts.visual_part, parts.text_part) == ("a small bell", "rings slowly softly")


def test_words_that_are_not_the_captions_are_named():
    params = load_params(ROOT / "params.yaml").decompose
    replies = iter([Reply(parts_reply("a brown dog outside", "barks twice loudly"), "direct")])
    step = next_step("A dog barking", "prompt", params, lambda key: next(replies, None))
    assert step.outcome is not None
    assert step.outcome.added == ("brown", "twice", "loudly")


def test_a_changed_prompt_is_noticed(monkeypatch):
    params = load_params(ROOT / "params.yaml").decompose
    prompt = load_prompt(params)
    assert "3 to 7 words" in prompt
    assert "{" not in prompt.replace('{"visual_part"', "")
    with pytest.raises(
        ValueError, match=r"decompose\.prompt_sha256=0000.*decomposition_prompt_v1\.txt has [0-9a-f]{64}"
    ):
        load_prompt(params.model_copy(update={"prompt_sha256": "0" * 64}))


@pytest.mark.parametrize(
    "file", ["params.yaml", *(f"presets/{path.name}" for path in (ROOT / "presets").glob("*.yaml"))]
)
def test_every_parameter_file_names_the_prompt_that_lies_there(file):
    load_prompt(load_params(ROOT / file).decompose)


def test_the_prompts_examples_keep_its_own_rules():
    text = load_prompt(load_params(ROOT / "params.yaml").decompose)
    examples = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert len(examples) >= 3
    for example in examples:
        assert text_problems(example["visual_part"], example["text_part"], 3, 7) == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("401:invalid_api_key", "error: OPENAI_API_KEY: the server does not take it (401)"),
        ("403:forbidden", "error: OPENAI_API_KEY: may not use decompose.model=gpt-4.1 (403)"),
        ("404:model_not_found", "error: decompose.model=gpt-4.1: the server knows no such model (404)"),
        ("429:insufficient_quota", "error: decompose: the account's quota is used up (insufficient_quota)"),
        ("400:bad_request", "error: decompose: the server refuses the request (400)"),
    ],
)
@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_errors_that_no_second_try_mends_end_at_once_in_one_line_without_the_key(
    tmp_path, start_server, error, line, mode
):
    address, log = start_server(error=error)
    folder = lay_out(tmp_path / "run", CAPTIONS, mode=mode)
    done = stage(folder, address)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(line)
    assert done.stderr.count("error:") == 1
    assert not (folder / "data/decomposed.jsonl").exists()
    assert 1 <= len(asked(log)) <= len(CAPTIONS)
    assert KEY not in done.stdout + done.stderr
    assert_no_key_below(folder)


def test_a_fatal_error_ends_the_run_while_others_wait_for_an_hour(tmp_path, start_server):
    address, _ = start_server(poison=1)
    folder = lay_out(tmp_path / "run", ["A poison", *CAPTIONS])
    done = stage(folder, address)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: OPENAI_API_KEY: the server does not take it (401)")


def assert_no_key_below(folder):
    for path in folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_without_a_key_one_line_says_what_to_set(tmp_path):
    folder = lay_out(tmp_path / "run", CAPTIONS)
    done = stage(folder, "", OPENAI_API_KEY="")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: OPENAI_API_KEY: not set")


def test_the_key_is_in_no_log_output_or_mlflow_entry(tmp_path, start_server, empty_store):
    address, _ = start_server(fault_share=0.5, time_out=0.01)
    folder = lay_out(tmp_path / "run", CAPTIONS)
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    done = stage(folder, address, BIND_AN_AUDIO_TRACKING="on", OPENAI_LOG="debug")
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    assert b"decompose.model" in (folder / "mlflow.db").read_bytes()
    assert (folder / ".cache/replies.sqlite").exists()
    assert_no_key_below(folder)


def test_estimate_prints_requests_tokens_and_cost_and_sends_nothing(tmp_path, start_server):
    address, log = start_server()
    folder = lay_out(tmp_path / "run", CAPTIONS)
    done = stage(folder, address, "--estimate")
    assert done.returncode == 0, done.stderr
    assert "5 requests to send, 0 captions answered already" in done.stdout
    assert "gpt-4.1, direct, prices of 20" in done.stdout
    assert "USD" in done.stdout
    assert not (log / "log.jsonl").read_text()
    assert not (folder / "data/decomposed.jsonl").exists()


def test_a_request_costs_what_the_table_says():
    price = price_of("gpt-4.1-2025-04-14")
    assert price is not None
    assert (price.input, price.cached_input, price.output) == (2.0, 0.5, 8.0)
    assert cost(price, "direct", 1_000_000, 100_000, cached=500_000) == pytest.approx(1.0 + 0.25 + 0.8)
    assert cost(price, "batch", 1_000_000, 0) == pytest.approx(1.0)
    assert price_of("llama3") is None


def test_the_budget_ends_a_run_cleanly_and_a_higher_one_goes_on_from_there(tmp_path, start_server):
    address, log = start_server()
    captions = [f"A dog number {n} barks loudly in a garden while a man speaks softly" for n in range(60)]
    each = cost(price_of("gpt-4.1"), "direct", 500, 20)
    folder = lay_out(tmp_path / "run", captions, budget_usd=20.5 * each)
    done = stage(folder, address, BIND_AN_AUDIO_CONCURRENCY="4")
    assert done.returncode == 1
    assert "error: decompose.budget_usd=" in done.stderr.splitlines()[-1]
    assert "raise the budget and run again" in done.stderr.splitlines()[-1]
    sent = len(asked(log))
    assert 15 <= sent <= 20
    lay_out(folder, captions, budget_usd=100.0)
    assert stage(folder, address).returncode == 0
    assert len(rows_of(folder)) == 60
    assert len(asked(log)) == 60


def kill_and_finish(folder, address, log, servers, kills):
    """Start the stage and kill it at the server's next mark, `kills` times; then run it out.

    Returns the last run and, per kill, the keys of the replies that were kept by then with the log's length.
    """
    kept = []
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.decompose"],
            cwd=folder,
            env=environment(address, BIND_AN_AUDIO_REQUEST_SECONDS="2"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert servers.next_line() == "mark"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept.append((kept_keys(folder), len(asked(log))))
    return stage(folder, address, BIND_AN_AUDIO_REQUEST_SECONDS="2"), kept


def kept_keys(folder):
    with closing(sqlite3.connect(folder / ".cache/replies.sqlite")) as base:
        return {key for (key,) in base.execute("SELECT key FROM replies")}


def assert_nothing_lost_or_asked_twice(tmp_path, start_server, captions, kills, mark_every):
    address, log = start_server(fault_share=0.15, time_out=3, mark_every=mark_every, latency=0.002)
    folder = lay_out(tmp_path / "killed", captions)
    done, kept = kill_and_finish(folder, address, log, start_server, kills)
    assert done.returncode == 0, done.stderr[-2000:]
    requests = asked(log)
    for keys, length in kept:
        assert keys
        assert not keys & {request["key"] for request in requests[length:]}
    faults = Counter(request["fault"] for request in requests)
    assert set(FAULTS) <= set(faults)

    rows = rows_of(folder)
    assert [row["caption"] for row in rows] == captions
    assert all((row["visual_part"] is None) == (row["reason"] is not None) for row in rows)

    address, _ = start_server()
    quiet = lay_out(tmp_path / "quiet", captions)
    assert stage(quiet, address).returncode == 0
    assert (folder / "data/decomposed.jsonl").read_bytes() == (quiet / "data/decomposed.jsonl").read_bytes()


@needs_audiocaps
def test_faults_and_kills_lose_no_caption_and_no_reply(tmp_path, start_server):
    captions = read_captions(Path(CORPORA or "") / "audiocaps" / "val.csv", "caption")[:300]
    assert_nothing_lost_or_asked_twice(tmp_path, start_server, captions, kills=3, mark_every=100)


@needs_audiocaps
@pytest.mark.slow
def test_faults_and_five_kills_over_5000_real_captions(tmp_path, start_server):
    captions = read_captions(Path(CORPORA or "") / "audiocaps" / "test.csv", "caption")
    captions += read_captions(Path(CORPORA or "") / "audiocaps" / "val.csv", "caption")
    assert_nothing_lost_or_asked_twice(tmp_path, start_server, captions[:5000], kills=5, mark_every=1000)


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
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.decompose"], cwd=folder, env=environment(address), stderr=subprocess.DEVNULL
    )
    assert start_server.next_line() == "mark"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (log / "hold").unlink()
    done = stage(folder, address)
    assert done.returncode == 0, done.stderr
    paths = Counter(request["path"] for request in asked(log) if "path" in request)
    assert paths["POST /v1/files"] == 1
    assert paths["POST /v1/batches"] == 1
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


def test_two_processes_may_use_one_cache(tmp_path):
    path = tmp_path / "replies.sqlite"
    with closing(RequestCache(path)) as one, closing(RequestCache(path)) as other:
        one.put("key", "first", "direct")
        other.put("key", "second", "batch")
        assert one.get("key") == other.get("key") == Reply("first", "direct")


def test_a_file_that_is_no_cache_is_named(tmp_path):
    (tmp_path / "replies.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ValueError, match=r"replies\.sqlite: no request cache"):
        RequestCache(tmp_path / "replies.sqlite")


def test_the_order_of_keys_makes_no_other_request():
    assert request_key({"a": 1, "b": [{"c": 2, "d": 3}]}) == request_key({"b": [{"d": 3, "c": 2}], "a": 1})
    assert request_key({"a": 1}) != request_key({"a": 2})

"""Decomposition by a language model: what is asked, how answers are read, what they cost, what is kept."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from stages.formats.keys import request_key
from stages.language.text import text_problems
from stages.language_model.answers import read_reply
from stages.language_model.bill import cost, price_of
from stages.language_model.conversation import load_prompt, next_step
from stages.language_model.request_cache import Reply, RequestCache
from stages.params.schema import load_params
from tests.language_stage import CAPTIONS, asked, lay_out, rows_of, stage
from tests.loopback_openai import STUBBORN, answer_to
from tests.scratch_clone import ROOT


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


def test_a_changed_parser_costs_no_call(tmp_path, start_server, monkeypatch):
    address, log = start_server(fault_share=0.3)
    folder = lay_out(tmp_path / "run", CAPTIONS)
    assert stage(folder, address, BIND_AN_AUDIO_REQUEST_SECONDS="2").returncode == 0
    before, count = rows_of(folder), len(asked(log))
    monkeypatch.setattr("stages.language_model.answers.process_text", str.upper)
    monkeypatch.setattr("stages.language_model.conversation.text_problems", lambda *_: [])
    assert stage(folder, address).returncode == 0
    assert len(asked(log)) == count
    after = rows_of(folder)
    assert after[0]["text_part"] == before[0]["text_part"].upper()
    assert (before[4]["reason"], after[4]["reason"]) == ("visual_part_too_short", None)


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
    assert cost(price, "batch", 1_000_000, 0, cached=500_000) == pytest.approx(1.0)
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


def test_two_processes_may_use_one_cache(tmp_path):
    path = tmp_path / "replies.sqlite"
    with closing(RequestCache(path)) as one, closing(RequestCache(path)) as other:
        first = one.put("key", parts_reply("a bell", "rings"), "direct")
        assert other.put("key", parts_reply("a dog", "barks"), "batch") == first
        assert one.get("key") == other.get("key") == first


def test_a_file_that_is_no_cache_is_named(tmp_path):
    (tmp_path / "replies.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ValueError, match=r"replies\.sqlite: no request cache"):
        RequestCache(tmp_path / "replies.sqlite")


def test_the_order_of_keys_makes_no_other_request():
    assert request_key({"a": 1, "b": [{"c": 2, "d": 3}]}) == request_key({"b": [{"d": 3, "c": 2}], "a": 1})
    assert request_key({"a": 1}) != request_key({"a": 2})

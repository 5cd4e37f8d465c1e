"""What is an answer of a language model and what is none; the parts are found wherever a model puts them."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.formats.keys import request_key
from stages.language_model.answers import NoAnswerError, answer_in, read_reply
from stages.language_model.conversation import ANSWER_TOKENS, next_step
from stages.language_model.request_cache import Reply, RequestCache
from stages.params.schema import load_params
from tests.language_stage import CAPTIONS
from tests.loopback_openai import NO_ANSWERS, answer_to, completion
from tests.scratch_clone import ROOT

PARTS = {"visual_part": "a small brass bell", "text_part": "rings slowly and softly"}
ANSWER = json.dumps(PARTS)
WORDS = tuple(PARTS.values())


def reply(content, finish_reason="stop", **message):
    return json.dumps({"choices": [{"message": {"content": content} | message, "finish_reason": finish_reason}]})


def parts_of(content, finish_reason="stop"):
    _, parts, problem = read_reply(reply(content, finish_reason))
    return (parts.visual_part, parts.text_part) if parts else problem


@pytest.mark.parametrize("text", NO_ANSWERS)
def test_what_is_no_answer_is_never_kept(tmp_path, text):
    with pytest.raises(NoAnswerError):
        answer_in(text)
    with closing(RequestCache(tmp_path / "replies.sqlite")) as cache:
        with pytest.raises(ValueError, match="status 200"):
            cache.put("key", text, "direct")
        assert cache.get("key") is None


whole = completion({"model": "m", "messages": [{}, {"content": "Caption: A dog barks loudly in a garden"}]})


@given(st.integers(0, len(whole) - 1))
def test_an_answer_cut_short_anywhere_is_none(length):
    assert answer_in(whole) == whole
    with pytest.raises(NoAnswerError):
        answer_in(whole[:length])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "error", "message"]), inner),
    max_leaves=6,
)


@given(anything, anything, anything)
def test_whatever_a_message_holds_it_is_no_answer_or_can_be_read(content, refusal, reason):
    for text in (reply(content, reason, refusal=refusal), json.dumps({"choices": content}), json.dumps(content)):
        try:
            answer_in(text)
        except NoAnswerError:
            continue
        read_reply(text)


@pytest.mark.parametrize(
    "content",
    [
        f"```json\n{ANSWER}\n```",
        f"```\n{ANSWER}\n```",
        f'<think>A bell {{is seen}}: {{"visual_part": "x", "text_part": "y"}}</think>\n{ANSWER}',
        f"The bell is seen.\n</think>\n\n{ANSWER}",
        f"<thinking>\nHm.\n</thinking>{ANSWER}",
        f"Here are the parts:\n\n{ANSWER}\n\nI hope that this helps!",
        json.dumps(PARTS | {"explanation": "The bell is seen."}),
        json.dumps({"decomposition": PARTS}),
        json.dumps([PARTS]),
        f'For example {{"visual_part": "a dog", "text_part": "barks"}}. So: {ANSWER}',
        ANSWER.replace("small brass", "small\n brass"),
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": ANSWER}],
    ],
)
def test_parts_are_found_in_fences_after_thoughts_in_prose_and_among_other_keys(content):
    assert parts_of(content) == WORDS


@given(st.text(), st.text())
def test_parts_are_found_in_any_prose(before, after):
    assert parts_of(before + ANSWER + after) == WORDS


@pytest.mark.parametrize(
    "content", ["", None, "{" * 5000, '{"a":' * 5000, f"<think>{ANSWER}", '{"visual_part": "a bell"}', "\ud83d {"]
)
def test_what_holds_no_parts_is_said_to_hold_none(content):
    assert parts_of(content) == "answer_not_json"
    assert parts_of(content, "length") == "answer_cut_off"


def test_half_a_character_in_an_answer_spoils_no_file(tmp_path):
    params = load_params(ROOT / "params.yaml").decompose
    text = reply('{"visual_part": "a bell \\ud83d", "text_part": 1} \ud83d')
    with closing(RequestCache(tmp_path / "replies.sqlite")) as cache:
        cache.put("key", text, "direct")
        replies = iter([cache.get("key")])
        step = next_step("A bell rings", "prompt", params, lambda key: next(replies, None))
    assert step.request is not None
    json.dumps(step.request, ensure_ascii=False).encode()


def asked_limits(thinks, attempts):
    """Limits that a model is asked with which needs so many tokens to think, and how the conversation ends."""
    params = load_params(ROOT / "params.yaml").decompose.model_copy(update={"attempts": attempts})
    replies: dict[str, Reply] = {}
    limits: list[int] = []

    def kept(key):
        return replies.get(key)

    while (step := next_step(CAPTIONS[0], "prompt", params, kept)).request is not None:
        limits.append(step.request["max_completion_tokens"])
        cut_off = limits[-1] < thinks
        content = None if cut_off else json.dumps(answer_to(CAPTIONS[0]))
        replies[request_key(step.request)] = Reply(reply(content, "length" if cut_off else "stop"), "direct")
    assert step.outcome is not None
    return limits, step.outcome.reason


def test_an_answer_cut_off_by_its_limit_is_asked_again_with_a_higher_one_and_costs_no_attempt():
    assert asked_limits(ANSWER_TOKENS, 1) == ([ANSWER_TOKENS], None)
    for thinks in (ANSWER_TOKENS + 1, 10 * ANSWER_TOKENS, 60 * ANSWER_TOKENS):
        limits, reason = asked_limits(thinks, 1)
        assert reason is None
        assert limits == sorted(set(limits))
        assert limits[-1] >= thinks


def test_a_model_that_never_stops_thinking_is_given_up():
    limits, reason = asked_limits(10**9, 2)
    assert reason == "answer_cut_off"
    assert len(limits) <= 6

"""What is said to a language model and what its answers mean; no network, so that every way of asking shares it.

A caption's conversation is a pure function of the replies so far: the request body is built from the prompt and the
caption, a bad answer gets a repair turn that names the broken rule, and `next_step` walks from the first request as
far as kept replies reach. Asking directly, asking in batches and going on after a kill are one and the same walk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stages.formats.keys import request_key
from stages.language.lexicon import function_class
from stages.language.rules import Decomposition, failed
from stages.language.text import content_lemmas, text_problems, words
from stages.language_model.answers import Parts, read_reply
from stages.language_model.request_cache import Reply
from stages.params.data import Decompose

PROMPTS = {"v1": "decomposition_prompt_v1.txt"}
ANSWER_TOKENS = 200  # two phrases of seven words take about 40
MOST_ANSWER_TOKENS, MORE_TOKENS = 12_800, 8  # for models that think first


@dataclass(frozen=True)
class Step:
    """Where a conversation stands: the request to send next, or how it ended; and the replies it used."""

    request: dict[str, Any] | None
    outcome: Decomposition | None
    replies: tuple[Reply, ...]


def load_prompt(params: Decompose) -> str:
    """Return the system prompt with the word limits filled in.

    Raises ValueError where the file is not the one whose hash stands in params.yaml.
    """
    text = (Path(__file__).parent / PROMPTS[params.prompt]).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != params.prompt_sha256:
        raise ValueError(
            f"decompose.prompt_sha256={params.prompt_sha256}: {PROMPTS[params.prompt]} has {digest}; write that "
            "into params.yaml if the change of the prompt is meant"
        )
    return text.replace("{min_words}", str(params.min_words)).replace("{max_words}", str(params.max_words))


def first_request(caption: str, prompt: str, params: Decompose) -> dict[str, Any]:
    """Body of the first request for a caption, in the format of OpenAI's chat completions."""
    return {
        "model": params.model,
        "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": f"Caption: {caption}"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "decomposition", "strict": True, "schema": _schema()},
        },
        "temperature": params.temperature,
        "seed": params.seed,
        "max_completion_tokens": ANSWER_TOKENS,
    }


def next_step(caption: str, prompt: str, params: Decompose, kept: Callable[[str], Reply | None]) -> Step:
    """Walk a caption's conversation as far as the `kept` replies (by key, None where not sent yet) reach.

    It ends in a request, or an outcome: the parts of the first answer that breaks no rule, else the first broken rule
    of the last answer as reason (`answer_refused`, `answer_not_json`, `answer_cut_off` or a code of `text_problems`).
    At most `attempts` answers are asked for; one that its limit cut off does not count and is asked for again with a
    higher limit.
    """
    if not words(caption):
        return Step(None, failed("caption_empty"), ())
    request = first_request(caption, prompt, params)
    replies: list[Reply] = []
    answers, reason = 0, ""
    while answers < params.attempts:
        reply = kept(request_key(request))
        if reply is None:
            return Step(request, None, tuple(replies))
        replies.append(reply)
        answer, parts, problem = read_reply(reply.text)
        if problem == "answer_cut_off" and request["max_completion_tokens"] < MOST_ANSWER_TOKENS:
            request = {**request, "max_completion_tokens": MORE_TOKENS * request["max_completion_tokens"]}
            continue
        answers += 1
        problems = [problem] if problem else []
        if parts is not None:
            problems = text_problems(parts.visual_part, parts.text_part, params.min_words, params.max_words)
            if not problems:
                added = added_words(caption, parts)
                outcome = Decomposition(parts.visual_part, parts.text_part, added, None)
                return Step(None, outcome, tuple(replies))
        reason = problems[0]
        complaint = " ".join(broken_rule(name, parts, params) for name in problems)
        # Servers refuse a turn without text.
        said = {"role": "assistant", "content": answer or "(no answer)"}
        turn = [said, {"role": "user", "content": f"{complaint} Answer again."}]
        request = {**request, "messages": [*request["messages"], *turn]}
    return Step(None, failed(reason), tuple(replies))


def broken_rule(problem: str, parts: Parts | None, params: Decompose) -> str:
    """Say in a sentence which rule an answer broke."""
    limits = f"{params.min_words} to {params.max_words} words"
    if problem == "answer_refused":
        return "The caption only describes sounds; splitting it does no harm."
    if problem in ("answer_not_json", "answer_cut_off"):
        return "The answer was no JSON object with exactly visual_part and text_part, both short phrases."
    assert parts is not None, problem
    if problem == "shared_words":
        shared = sorted(content_lemmas(parts.visual_part) & content_lemmas(parts.text_part))
        return f"Both phrases hold {', '.join(repr(word) for word in shared)}; no word may stand in both."
    if problem == "not_english":
        return "Both phrases must be English."
    name = "visual_part" if problem.startswith("visual_part") else "text_part"
    return f"{name} has {len(words(getattr(parts, name)))} words; it must have {limits}."


@cache
def _schema() -> dict[str, Any]:
    # Pydantic builds it anew at each call, which took longer than all else that a request costs here.
    return Parts.model_json_schema()


def added_words(caption: str, parts: Parts) -> tuple[str, ...]:
    """Words with content in the parts that are not the caption's, in any inflection."""
    own = content_lemmas(caption)
    found = words(parts.visual_part) + words(parts.text_part)
    return tuple(word for word in found if function_class(word) is None and not content_lemmas(word) & own)

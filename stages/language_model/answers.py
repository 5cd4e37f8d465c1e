"""What a server's reply of status 200 holds: whether it is an answer at all, what the model said, the parts in it."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stages.language.text import plain, process_text

FILTERED = "content_filter"
JSON = json.JSONDecoder(strict=False)  # models put line ends into strings


class Parts(BaseModel):
    """The answer's shape; what a schema cannot say is checked by `text_problems`."""

    model_config = ConfigDict(extra="forbid", title="decomposition")

    visual_part: str = Field(description="what a photograph of the scene would show")
    text_part: str = Field(description="what only the ear can tell")


class NoAnswerError(ValueError):
    """What came with status 200 is no answer; a second try may bring one."""


def answer_in(text: str) -> str:
    """Return a reply as it came. Raises NoAnswerError for a proxy's page, an error, no choice, half a reply."""
    reply = object_in(text, "choices")
    choices = reply["choices"]
    choice = choices[0] if isinstance(choices, list) and choices else None
    if reply.get("error") or not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise NoAnswerError(f"status 200 without a choice: {text}")
    # A generation that broke off says so, or names no reason for its end.
    ended, said = choice.get("finish_reason"), any(map(choice["message"].get, ("content", "refusal")))
    if choice.get("error") or ended == "error" or not (ended or said):
        raise NoAnswerError(f"status 200 with a generation that broke off: {text}")
    return text


def object_in(text: str, key: str) -> dict[str, Any]:
    """Read a JSON object that has a key. Raises NoAnswerError for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or key not in found:
        raise NoAnswerError(f"status 200 with no {key}: {text}")
    return found


def refusal(reason: str) -> str:
    """A reply as of a model that refuses: what stands for the error of a server whose filter refuses a caption."""
    message = {"role": "assistant", "content": None, "refusal": reason}
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    return json.dumps({"choices": [{"message": message, "finish_reason": FILTERED}], "usage": usage})


def read_reply(text: str) -> tuple[str, Parts | None, str | None]:
    """Read a reply that is an answer.

    Returns:
        What the model said, the parts in it (the text part through `process_text`), and what is wrong with the
        answer: None, `answer_refused`, `answer_cut_off` or `answer_not_json`.
    """
    choice = json.loads(text)["choices"][0]
    message = choice["message"]
    if message.get("refusal") or choice.get("finish_reason") == FILTERED:
        return _sendable(message.get("refusal")), None, "answer_refused"
    answer = _sendable(message.get("content"))
    parts = _parts_in(answer)
    if parts is not None:
        visual_part = plain(parts.visual_part).strip(" .\"'")
        return answer, Parts(visual_part=visual_part, text_part=process_text(parts.text_part)), None
    return answer, None, "answer_cut_off" if choice.get("finish_reason") == "length" else "answer_not_json"


def _parts_in(answer: str) -> Parts | None:
    """The last object with both parts, outside a model's thoughts; prose, Markdown and other keys may stand around."""
    said = re.sub(r"<think(?:ing)?>.*?(</think(?:ing)?>|\Z)", "", answer, flags=re.DOTALL)
    said = re.split(r"</think(?:ing)?>", said)[-1]  # some servers send the closing tag alone
    found = None
    for start in re.finditer("{", said):
        try:
            value, _ = JSON.raw_decode(said, start.start())
            found = Parts(**{name: value[name] for name in Parts.model_fields})
        except (ValueError, KeyError, RecursionError):
            continue
    return found


def _sendable(content: Any) -> str:
    """A message's content as one text that can be encoded; some servers send a list of pieces."""
    if isinstance(content, list):
        content = "".join(str(piece.get("text") or "") for piece in content if isinstance(piece, dict))
    return str(content or "").encode("utf-8", "replace").decode()

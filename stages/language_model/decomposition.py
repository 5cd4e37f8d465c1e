"""Decomposition by a language model behind OpenAI's protocol: GPT-4.1, or any server that speaks it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

from stages.language.rules import Decomposition
from stages.language_model.asking import ask_all
from stages.language_model.batches import ask_in_batches
from stages.language_model.bill import Bill
from stages.language_model.conversation import Step, load_prompt, next_step
from stages.language_model.request_cache import RequestCache
from stages.params.data import Decompose
from stages.plumbing.environment import cache_folder


def decompose_all(captions: list[str], params: Decompose) -> tuple[dict[str, Decomposition], dict[str, float]]:
    """Split distinct captions; replies that are kept are not asked for again.

    Returns:
        The decomposition of each caption, and numbers for MLflow: `replies` used and their `cost_usd`.

    Raises:
        ValueError: the prompt is not the one of params.yaml, the model's price is not known, the budget is reached, or
            the server gave an error that no second try can mend (key, quota, model).
    """
    prompt = load_prompt(params)
    with closing(RequestCache(cache_folder() / "replies.sqlite")) as cache:

        def step_of(caption: str) -> Step:
            return next_step(caption, prompt, params, cache.get)

        requests, bill = _open_requests(map(step_of, captions), params)
        if requests:
            print(bill.estimate(requests, len(captions) - len(requests)), flush=True)
            bill.check_price()
            ask = ask_in_batches if params.mode == "batch" else ask_all
            ask(captions, step_of, cache, bill)
        steps = {caption: step_of(caption) for caption in captions}
    total = Bill(params)
    found = {}
    for caption, step in steps.items():
        assert step.outcome is not None, caption
        total.add(step.replies)
        found[caption] = step.outcome
    print(f"{total.replies} replies used, {total.spent:.4f} USD")
    return found, {"replies": total.replies, "cost_usd": round(total.spent, 6)}


def estimate_all(captions: list[str], params: Decompose) -> str:
    """Say which requests, tokens and cost `decompose_all` would take; nothing is sent."""
    if params.backend == "rules":
        return "decompose.backend=rules asks no server: 0 requests, 0 USD"
    prompt = load_prompt(params)
    with closing(RequestCache(cache_folder() / "replies.sqlite")) as cache:
        steps = [next_step(caption, prompt, params, cache.get) for caption in captions]
    requests, bill = _open_requests(steps, params)
    return bill.estimate(requests, len(captions) - len(requests))


def _open_requests(steps: Iterable[Step], params: Decompose) -> tuple[list[dict[str, Any]], Bill]:
    """Return the requests that are still to be sent, and the bill of the replies that are kept."""
    requests, bill = [], Bill(params)
    for step in steps:
        bill.add(step.replies)
        if step.request is not None:
            requests.append(step.request)
    return requests, bill

"""Decomposition by a language model behind OpenAI's protocol: GPT-4.1, or any server that speaks it.

Replies are kept in `.cache/replies.sqlite`; those that workers of a cluster left in `.cache/replies` are taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from stages.language.rules import Decomposition
from stages.language_model.asking import ask_all
from stages.language_model.asking_on_cluster import ask_on_cluster
from stages.language_model.batches import ask_in_batches
from stages.language_model.bill import Bill, estimate
from stages.language_model.conversation import Step, load_prompt, next_step
from stages.language_model.reply_journal import JournalReader
from stages.language_model.request_cache import RequestCache
from stages.params.data import Decompose
from stages.plumbing.cluster import on_cluster
from stages.plumbing.environment import cache_folder

REPLIES, JOURNALS = "replies.sqlite", "replies"


def decompose_all(captions: list[str], params: Decompose) -> tuple[dict[str, Decomposition], dict[str, float]]:
    """Split distinct captions; replies that are kept are not asked for again.

    Returns:
        The decomposition of each caption, and numbers for MLflow: `replies` used and their `cost_usd`.

    Raises:
        ValueError: the prompt is not the one of params.yaml, the budget is reached, or the server gave an error that
            no second try can mend (key, quota, model).
    """
    prompt = load_prompt(params)
    with closing(open_cache()) as cache:

        def step_of(caption: str) -> Step:
            return next_step(caption, prompt, params, cache.get)

        bill = Bill(params)
        requests = _open_requests(captions, step_of, bill)
        if requests:
            print(estimate(requests, len(captions) - len(requests), bill), flush=True)
            if params.mode == "batch":
                ask_in_batches(captions, step_of, cache, bill)
            elif not on_cluster():
                ask_all(captions, step_of, cache, bill)
            else:
                ask_on_cluster(captions, prompt, params, bill, cache_folder() / REPLIES, cache_folder() / JOURNALS)
                bill.add(JournalReader(cache_folder() / JOURNALS, cache).adopt())
                left = [caption for caption in captions if step_of(caption).request is not None]
                if left:
                    ask_all(left, step_of, cache, bill)
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
    prompt, bill = load_prompt(params), Bill(params)
    with closing(open_cache()) as cache:
        requests = _open_requests(captions, lambda caption: next_step(caption, prompt, params, cache.get), bill)
    return estimate(requests, len(captions) - len(requests), bill)


def open_cache() -> RequestCache:
    """Open the file of kept replies, and take over what a killed run's workers left in journals."""
    cache = RequestCache(cache_folder() / REPLIES)
    reader = JournalReader(cache_folder() / JOURNALS, cache)
    reader.adopt()
    reader.remove()
    return cache


def _open_requests(captions: list[str], step_of: Callable[[str], Step], bill: Bill) -> list[dict[str, Any]]:
    """Return the next request of every caption that has one; replies that are kept go onto the bill."""
    requests = []
    for caption in captions:
        step = step_of(caption)
        bill.add(step.replies)
        if step.request is not None:
            requests.append(step.request)
    return requests

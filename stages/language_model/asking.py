"""Decomposition by a language model behind OpenAI's protocol: GPT-4.1, or any server that speaks it.

Every caption is asked about, many at a time, and each reply is kept before it is read. One process asks: it waits for
answers and for the server's limits, and is far from busy with either.
Environment: `BIND_AN_AUDIO_CONCURRENCY` requests at a time at most, `BIND_AN_AUDIO_REQUESTS_PER_MINUTE`,
`BIND_AN_AUDIO_TOKENS_PER_MINUTE`; the pace adapts to the server below these.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import Any

from stages.formats.keys import request_key
from stages.language.rules import Decomposition
from stages.language_model.batches import ask_in_batches
from stages.language_model.bill import Bill, answer_tokens, request_tokens
from stages.language_model.client import Client, StoppedError, until_stopped
from stages.language_model.conversation import Step, load_prompt, next_step
from stages.language_model.pace import Pace
from stages.language_model.request_cache import RequestCache
from stages.params.data import Decompose
from stages.plumbing.environment import cache_folder, number
from stages.plumbing.progress import progress

CONCURRENCY = 256


def decompose_all(captions: list[str], params: Decompose) -> tuple[dict[str, Decomposition], dict[str, float]]:
    """Split distinct captions; replies that are kept are not asked for again.

    Returns:
        The decomposition of each caption, and numbers for MLflow: `replies` used and their `cost_usd`.

    Raises:
        ValueError: the prompt is not the one of params.yaml, the model's price is not known, the budget is reached, or
            the server gave an error that no second try can mend (key, quota, model). What is under way then still
            arrives and is kept.
    """
    prompt = load_prompt(params)
    with closing(RequestCache(cache_folder() / "replies.sqlite")) as cache:

        def step_of(caption: str) -> Step:
            return next_step(caption, prompt, params, cache.get)

        requests, bill = _open_requests(map(step_of, captions), params)
        if requests:
            print(bill.estimate(requests, len(captions) - len(requests)), flush=True)
            bill.check_price()
            ask = ask_in_batches if params.mode == "batch" else _ask_directly
            asyncio.run(ask(captions, step_of, cache, bill))
        steps = [step_of(caption) for caption in captions]
    _, total = _open_requests(steps, params)
    found = {}
    for caption, step in zip(captions, steps, strict=True):
        assert step.outcome is not None, caption
        found[caption] = step.outcome
    print(f"{total.replies} replies used, {total.spent:.4f} USD")
    return found, {"replies": total.replies, "cost_usd": round(total.spent, 6)}


def estimate_all(captions: list[str], params: Decompose) -> str:
    """Say which requests, tokens and cost `decompose_all` would take; nothing is sent."""
    if params.backend == "rules":
        return "decompose.backend=rules asks no server: 0 requests, 0 USD"
    prompt = load_prompt(params)
    with closing(RequestCache(cache_folder() / "replies.sqlite")) as cache:
        requests, bill = _open_requests((next_step(one, prompt, params, cache.get) for one in captions), params)
    return bill.estimate(requests, len(captions) - len(requests))


def _open_requests(steps: Iterable[Step], params: Decompose) -> tuple[list[dict[str, Any]], Bill]:
    """Return the requests that are still to be sent, and the bill of the replies that are kept."""
    requests, bill = [], Bill(params)
    for step in steps:
        bill.add(step.replies)
        if step.request is not None:
            requests.append(step.request)
    return requests, bill


async def _ask_directly(captions: list[str], step_of: Callable[[str], Step], cache: RequestCache, bill: Bill) -> None:
    """Ask until every caption's conversation has ended; `bill` holds what was spent, and replies are added to it."""
    concurrency = int(max(1, number("BIND_AN_AUDIO_CONCURRENCY", CONCURRENCY)))
    stopped = asyncio.Event()
    limits = _limit("BIND_AN_AUDIO_REQUESTS_PER_MINUTE"), _limit("BIND_AN_AUDIO_TOKENS_PER_MINUTE")
    pace = Pace(*limits, concurrency, sleep=partial(until_stopped, stopped))
    waiting = iter(captions)
    problems: list[ValueError] = []
    done, under_way = 0, 0.0  # captions; US dollars of requests without an answer yet
    with progress((), "captions", total=len(captions)) as bar:
        client = Client(bill.model, pace, stopped)
        async with client.openai:

            async def work() -> None:
                nonlocal done
                for caption in waiting:
                    try:
                        await converse(caption)
                    except ValueError as error:
                        problems.append(error)
                        stopped.set()
                    except StoppedError:
                        pass
                    if stopped.is_set():
                        return
                    done += 1
                    projected = bill.spent / done * len(captions)
                    bar.set_postfix_str(f"{bill.spent:.4f} USD spent, {projected:.2f} projected", refresh=False)
                    bar.update()

            async def converse(caption: str) -> None:
                nonlocal under_way
                while (request := step_of(caption).request) is not None and not stopped.is_set():
                    price = bill.of_request(request)
                    bill.check(under_way + price, done, len(captions))
                    under_way += price
                    try:
                        text = await client.complete(request, request_tokens(request) + answer_tokens(request))
                    finally:
                        under_way -= price
                    bill.add([cache.put(request_key(request), text, "direct")])

            await asyncio.gather(*(work() for _ in range(min(concurrency, len(captions)))))
    if problems:
        raise problems[0]


def _limit(name: str) -> float | None:
    return number(name, 1.0) if os.environ.get(name) else None

"""Ask a language model about every caption, many at a time, and keep each reply before it is read.

One process asks: it waits for answers and for the server's limits, and is far from busy with either.
Environment: `BIND_AN_AUDIO_CONCURRENCY` requests at a time at most, `BIND_AN_AUDIO_REQUESTS_PER_MINUTE`,
`BIND_AN_AUDIO_TOKENS_PER_MINUTE`; the pace adapts to the server below these.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial

from stages.language_model.bill import Bill, answer_tokens, request_tokens
from stages.language_model.client import Client, StoppedError, until_stopped
from stages.language_model.conversation import Step
from stages.language_model.pace import Pace
from stages.language_model.request_cache import RequestCache
from stages.plumbing.environment import number, request_key
from stages.plumbing.progress import progress

CONCURRENCY = 256


def ask_all(captions: list[str], step_of: Callable[[str], Step], cache: RequestCache, bill: Bill) -> None:
    """Ask until every caption's conversation has ended; all replies are then in the cache.

    Args:
        captions: distinct captions.
        step_of: the next step of a caption's conversation, by what the cache holds.
        cache: takes each reply as it arrives.
        bill: what was spent so far; replies are added to it.

    Raises:
        ValueError: the budget is reached, or the server gave an error that no second try can mend. What is under way
            then still arrives and is kept.
    """
    asyncio.run(_ask_all(captions, step_of, cache, bill))


async def _ask_all(captions: list[str], step_of: Callable[[str], Step], cache: RequestCache, bill: Bill) -> None:
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

"""Ask a language model about every caption, many at a time, and keep each reply before it is read.

Environment: `BIND_AN_AUDIO_CONCURRENCY` requests at a time at most, `BIND_AN_AUDIO_REQUESTS_PER_MINUTE`,
`BIND_AN_AUDIO_TOKENS_PER_MINUTE`; the pace adapts to the server below these.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from stages.language_model.bill import USUAL_ANSWER_TOKENS, Bill, request_tokens
from stages.language_model.client import TRIES, client_settings, fatal, gave_up, jittered_pause, scrubbed
from stages.language_model.conversation import Step
from stages.language_model.pace import Pace, retry_after
from stages.language_model.request_cache import Replies, request_key
from stages.plumbing.environment import number
from stages.plumbing.progress import progress

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONCURRENCY = 256


class StoppedError(Exception):
    """The run ends for another request's sake; what waits need wait no longer."""


def ask_all(
    captions: list[str], step_of: Callable[[str], Step], cache: Replies, bill: Bill, share: float = 1.0
) -> None:
    """Ask until every caption's conversation has ended; all replies are then in the cache.

    Args:
        captions: distinct captions.
        step_of: the next step of a caption's conversation, by what the cache holds.
        cache: takes each reply as it arrives.
        bill: what was spent so far; replies are added to it.
        share: of the limits and the concurrency, where other processes take the rest.

    Raises:
        ValueError: the budget is reached, or the server gave an error that no second try can mend. What is under way
            then still arrives and is kept.
    """
    asyncio.run(_ask_all(captions, step_of, cache, bill, share))


async def _ask_all(
    captions: list[str], step_of: Callable[[str], Step], cache: Replies, bill: Bill, share: float
) -> None:
    from openai import AsyncOpenAI

    concurrency = max(1, int(share * number("BIND_AN_AUDIO_CONCURRENCY", CONCURRENCY)))
    stopped = asyncio.Event()
    limits = _limit("BIND_AN_AUDIO_REQUESTS_PER_MINUTE"), _limit("BIND_AN_AUDIO_TOKENS_PER_MINUTE")
    pace = Pace(*limits, concurrency, sleep=partial(_sleep, stopped=stopped), share=share)
    waiting = iter(captions)
    problems: list[ValueError] = []
    done, under_way = 0, 0.0  # captions; US dollars of requests without an answer yet
    with progress((), "captions", total=len(captions)) as bar:
        async with AsyncOpenAI(**client_settings(), max_retries=0) as client:

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
                while (step := step_of(caption)).request is not None and not stopped.is_set():
                    price = bill.of_request(step.request)
                    bill.check(under_way + price, done, len(captions))
                    under_way += price
                    try:
                        text = await ask(client, step.request, pace, stopped)
                    finally:
                        under_way -= price
                    key = request_key(step.request)
                    cache.put(key, text, "direct")
                    kept = cache.get(key)
                    assert kept is not None
                    bill.add([kept])

            await asyncio.gather(*(work() for _ in range(min(concurrency, len(captions)))))
    if problems:
        raise problems[0]


async def ask(client: AsyncOpenAI, request: dict[str, Any], pace: Pace, stopped: asyncio.Event) -> str:
    """Send one request until an answer arrives; return its raw text.

    429, 5xx, time-outs and broken connections are tried again after what the server asks for, or a jittered pause
    that doubles. Raises ValueError for every other error, and after TRIES failures in a row; StoppedError where
    `stopped` is set while it waits.
    """
    import openai

    tokens = request_tokens(request) + USUAL_ANSWER_TOKENS
    problem = ""
    for attempt in range(TRIES):
        pause = jittered_pause(attempt)
        async with pace.turn(tokens) as sent:
            if stopped.is_set():
                raise StoppedError
            try:
                response = await client.chat.completions.with_raw_response.create(**request)
            except openai.RateLimitError as error:
                headers = error.response.headers
                if stop := fatal(error, request["model"]):
                    raise stop from None
                asked = retry_after(headers)
                pace.refused(pause if asked is None else asked, headers, sent)
                problem, pause = "429 (too many requests)", 0.0
            except openai.OpenAIError as error:
                if stop := fatal(error, request["model"]):
                    raise stop from None
                pace.failed()
                problem = scrubbed(str(error))
            else:
                pace.accepted(response.headers, sent)
                return str(response.text)
        await _sleep(pause, stopped)
    raise gave_up(problem)


async def _sleep(pause: float, stopped: asyncio.Event) -> None:
    """Wait for so many seconds. Raises StoppedError as soon as `stopped` is set."""
    try:
        await asyncio.wait_for(stopped.wait(), pause)
    except TimeoutError:
        return
    raise StoppedError


def _limit(name: str) -> float | None:
    return number(name, 1.0) if os.environ.get(name) else None

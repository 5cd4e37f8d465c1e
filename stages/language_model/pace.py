"""How fast to ask a server that limits its callers: as fast as it allows and no faster.

Three sources tell the pace: limits that the user names (requests and tokens a minute), the server's `x-ratelimit-*`
headers (spend what remains, then go on at the rate at which it comes back), and, where the server sends none, its
refusals. The first tells roughly what it allows; from then on the share that it refuses is how far the rate lies above
its limit. Asking a little above that keeps the measure alive; where each refusal costs a long pause (`Retry-After` in
whole seconds), the pace stays a little below instead and feels its way up slowly. Not aiolimiter: its one rate is
fixed beforehand and learns from no answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

START_WIDTH = 48  # so many answers of half a second are 100 a second
CATCH_UP_SECONDS = 0.25  # a late wake-up may be made good by so much
MEASURE_SECONDS, MEASURE_LATENCIES = 0.5, 4  # a limit is not measured over less
MANY_REFUSALS, MANY_REQUESTS = 5, 100
LONG_PAUSE_SECONDS = 0.1
ABOVE_LIMIT, BELOW_LIMIT = 1.02, 0.985  # what is asked of a measured limit, by the pause that a refusal costs
GROWTH = 0.01  # a second, for each second without refusal; less where refusals cost much
UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Pace:
    """Turns to ask, handed out first come, first served; one event loop shares one `Pace`."""

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        concurrency: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start with the user's limits (None: none) and at most `concurrency` requests at a time."""
        self.concurrency = concurrency
        self.width = max(1.0, min(START_WIDTH, concurrency))  # how many at a time; grows while all goes well
        self.rate = None if requests_per_minute is None else requests_per_minute / 60
        self._most = self.rate
        self._token_rate = None if tokens_per_minute is None else tokens_per_minute / 60
        self._clock, self._sleep = clock, sleep
        self._active, self._gate, self._freed = 0, asyncio.Lock(), asyncio.Event()
        self._slot = self._token_slot = self._paused_until = self._since = self._grown = self._narrowed = clock()
        self._asked, self._refusals, self._latency = 0, 0, 0.0
        self._pause = self._delay = 0.0  # what the newest refusal cost, and how long it was under way
        self._remaining: dict[str, float] = {}  # by kind: requests, tokens
        self._interval: dict[str, float] = {}  # seconds until one more comes back
        self._told: dict[str, float] = {}  # when the newest headers came

    @asynccontextmanager
    async def turn(self, tokens: float) -> AsyncIterator[float]:
        """Wait until a request of about so many tokens may be sent; it counts as under way inside the block.

        Yields the time at which it is sent, which `accepted` and `refused` want back.
        """
        async with self._gate:
            while True:
                now = self._clock()
                due = max(self._slot, self._token_slot, self._paused_until)
                if self._active >= int(self.width):
                    self._freed.clear()
                    await self._freed.wait()
                elif due > now:
                    await self._sleep(due - now)
                else:
                    break
            self._measure(now)
            self._spend(now, tokens)
            self._active += 1
        try:
            yield now
        finally:
            self._active -= 1
            self._freed.set()

    def accepted(self, headers: Mapping[str, str], sent: float) -> None:
        """Learn from an answer: more at a time, a little faster, and what the headers say."""
        now = self._clock()
        self._latency += 0.1 * (now - sent - self._latency)
        self.width = min(self.width + 1, self.concurrency)
        if self.rate is not None:
            # The longer no refusal came, the faster: a limit that was measured too low is left in seconds.
            since = max(0.0, now - self._since)
            growth = GROWTH / max(1.0, self._pause / LONG_PAUSE_SECONDS) ** 2
            grown = self.rate * (1 + growth * (now - self._grown) * since)
            # Far above what is really asked a rate says nothing, and would take long to sink.
            highest = max(self.rate, 2 * self._asked / max(since, MEASURE_SECONDS))
            self.rate = min(grown, highest, self._most or grown)
        self._grown = now
        self._read(headers)

    def refused(self, retry_after: float, headers: Mapping[str, str], sent: float) -> None:
        """Learn from a 429: nothing is sent for `retry_after` seconds, then at the rate that was measured."""
        self._pause, self._delay = retry_after, self._clock() - sent
        self._paused_until = max(self._paused_until, self._clock() + retry_after)
        self._slot = max(self._slot, self._paused_until)  # a pause is not made good
        if self.rate is None and "requests" not in self._interval and sent >= self._narrowed:
            self._narrowed = self._clock()  # what was sent before it tells of the same shortage
            self.failed()
        # What was sent at an earlier rate says nothing of today's.
        self._refusals += sent >= self._since
        self._read(headers)

    def failed(self) -> None:
        """Learn from a time-out, a broken connection or a server error: fewer at a time."""
        self.width = max(1.0, self.width * 0.7)

    def _measure(self, now: float) -> None:
        """After a refusal's pause: the share that was refused is how far the rate lay above the limit."""
        if now - self._since < max(MEASURE_SECONDS, MEASURE_LATENCIES * self._latency):
            return
        if self.rate is None and not self._refusals:
            # Until here the limit was not reached: that time would make it look lower than it is.
            self._since, self._asked = now, 0
            return
        # A few refusals among few requests may be a server's hiccup and no limit.
        if self._refusals < MANY_REFUSALS and (not self._refusals or self._asked < MANY_REQUESTS):
            return
        if "requests" not in self._interval:
            kept = self._asked - self._refusals
            aim = ABOVE_LIMIT if self._pause < LONG_PAUSE_SECONDS else BELOW_LIMIT
            if self.rate is None:
                # The limit was reached when the refused request was sent; its way back is no time of use.
                self.rate = aim * max(kept, 1) / max(now - self._since - self._delay, MEASURE_SECONDS)
            else:
                self.rate *= aim * max(kept / self._asked, 0.5)
            if self._most is not None:
                self.rate = min(self.rate, self._most)
        self._since, self._asked, self._refusals = now, 0, 0

    def _spend(self, now: float, tokens: float) -> None:
        self._asked += 1
        earliest = now - CATCH_UP_SECONDS
        if self.rate is not None:
            self._slot = max(self._slot, earliest) + 1 / self.rate
        if self._token_rate is not None:
            self._token_slot = max(self._token_slot, earliest) + tokens / self._token_rate
        for kind, amount in (("requests", 1.0), ("tokens", tokens)):
            if kind in self._remaining:
                self._remaining[kind] -= amount
                if self._remaining[kind] < amount:
                    self._slot = max(self._slot, earliest) + amount * self._interval[kind]

    def _read(self, headers: Mapping[str, str]) -> None:
        """Take what remains, and how fast it comes back, from OpenAI's headers; a server may send none."""
        for kind in ("requests", "tokens"):
            try:
                limit = float(headers[f"x-ratelimit-limit-{kind}"])
                remaining = float(headers[f"x-ratelimit-remaining-{kind}"])
            except (KeyError, ValueError):
                continue
            reset = seconds(headers.get(f"x-ratelimit-reset-{kind}", ""))
            if reset is None or remaining >= limit:
                continue
            now = self._clock()
            left = remaining - (self._active - 1 if kind == "requests" else 0)
            if kind in self._remaining:
                # Answers overtake each other: what an older one says must not be spent a second time. Twice as fast as
                # it comes back, what was reckoned too low is made good.
                came_back = (now - self._told[kind]) / self._interval[kind] if self._interval[kind] else left
                left = min(left, self._remaining[kind] + 2 * came_back)
            self._interval[kind] = reset / (limit - remaining)
            self._remaining[kind], self._told[kind] = left, now


def seconds(text: str) -> float | None:
    """Read a duration as OpenAI's headers write it: `1s`, `6m0s`, `20ms`, or a bare number of seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not found or "".join(number + unit for number, unit in found) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in found)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a 429 asks to wait: `retry-after-ms`, `retry-after` in seconds or as a date; None where none is.

    A date counts from the server's own `date`: this machine's clock may be wrong.
    """
    milliseconds = headers.get("retry-after-ms", "")
    if re.fullmatch(r"\d+(\.\d+)?", milliseconds):
        return float(milliseconds) / 1000
    text = headers.get("retry-after", "")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        now = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError):
        return None

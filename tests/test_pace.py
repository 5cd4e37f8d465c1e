"""The pace of asking, on a clock that only the test moves: nobody waits, and every figure is exact."""

from __future__ import annotations

import asyncio
from collections import deque
from email.utils import formatdate

import pytest

from stages.language_model.pace import Pace, retry_after, seconds


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing that is due."""

    now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Bucket:
    """Takes `limit` requests a second, unused ones add up to a second's worth; says of a refusal when to come again."""

    def __init__(self, limit, headers=False, whole_seconds=False):
        self.limit, self.headers, self.whole_seconds = limit, headers, whole_seconds
        self.held, self.at = float(limit), 0.0

    def take(self, now):
        self.held = min(self.limit, self.held + (now - self.at) * self.limit)
        self.at = now
        taken = self.held >= 1 - 1e-9
        self.held -= taken
        said = {}
        if self.headers:
            said = {
                "x-ratelimit-limit-requests": str(self.limit),
                "x-ratelimit-remaining-requests": str(int(self.held)),
                "x-ratelimit-reset-requests": f"{(self.limit - self.held) / self.limit:.3f}s",
            }
        return taken, 1.0 if self.whole_seconds else (1 - self.held) / self.limit, said


def requests_sent(server, pace_of, count, latency, tokens=300.0, workers=256):
    """Send `count` requests through a `Pace`; return when each was accepted and how many were refused."""
    loop = SimulatedLoop()
    accepted, refused = [], []

    async def main():
        waiting = iter(range(count))

        async def work(pace):
            for _ in waiting:
                while True:
                    async with pace.turn(tokens) as sent:
                        await asyncio.sleep(latency / 2)
                        taken, wait, said = server.take(loop.time())
                        await asyncio.sleep(latency / 2)
                        if taken:
                            accepted.append(loop.time())
                            pace.accepted(said, sent)
                            break
                        refused.append(loop.time())
                        pace.refused(wait, said, sent)

        pace = pace_of(loop.time)
        await asyncio.gather(*(work(pace) for _ in range(workers)))

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return accepted, len(refused)


class Window:
    """Takes `limit` requests in any second; says of a refusal to come again in a whole second."""

    def __init__(self, limit):
        self.limit = limit
        self.taken: deque[float] = deque()

    def take(self, now):
        while self.taken and self.taken[0] <= now - 1:
            self.taken.popleft()
        if len(self.taken) == self.limit:
            return False, 1.0, {}
        self.taken.append(now)
        return True, 0.0, {}


def share_used(limit, accepted):
    """Share of the limit over the whole run; what the server held at the start is no rate."""
    return (len(accepted) - limit) / (accepted[-1] - accepted[0]) / limit


@pytest.mark.parametrize("limit", [20, 100])
@pytest.mark.parametrize(
    ("headers", "whole_seconds", "latency"),
    [
        (True, False, 0.02),
        (True, False, 0.5),
        (True, False, 1.0),
        (True, True, 0.02),
        (True, True, 0.5),
        (False, False, 0.02),
        (False, False, 0.5),
        (False, False, 1.0),
        (False, True, 0.02),
        (False, True, 0.2),
    ],
)
def test_a_servers_limit_is_used_to_95_percent_from_the_first_second_on(limit, headers, whole_seconds, latency):
    server = Bucket(limit, headers, whole_seconds)
    accepted, refused = requests_sent(server, lambda clock: Pace(None, None, 256, clock), limit * 30, latency)
    assert share_used(limit, accepted) >= 0.95
    assert refused < (0.1 if headers else 0.5) * len(accepted)


@pytest.mark.parametrize("limit", [20, 100])
@pytest.mark.parametrize(
    ("headers", "whole_seconds", "latency"),
    [(True, False, 0.005), (True, False, 0.5), (True, True, 0.005), (False, False, 0.005), (False, False, 0.5)],
)
def test_a_servers_limit_is_used_to_95_percent_by_64_at_a_time(limit, headers, whole_seconds, latency):
    server = Bucket(limit, headers, whole_seconds)
    accepted, refused = requests_sent(
        server, lambda clock: Pace(None, None, 64, clock), limit * 60, latency, workers=64
    )
    assert (len(accepted) - limit) / accepted[-1] >= 0.95 * limit
    assert refused < 0.6 * len(accepted)


@pytest.mark.parametrize("limit", [20, 100])
def test_a_limit_over_any_second_is_used_without_bouncing_off_it(limit):
    accepted, refused = requests_sent(Window(limit), lambda clock: Pace(None, None, 256, clock), limit * 60, 0.02)
    assert share_used(limit, accepted) >= 0.9
    assert refused < 0.05 * len(accepted)


@pytest.mark.parametrize("headers", [True, False])
def test_slow_answers_leave_a_limit_used_once_enough_is_under_way(headers):
    server = Bucket(100, headers)
    accepted, _ = requests_sent(server, lambda clock: Pace(None, None, 256, clock), 6000, 1.5)
    later = [time for time in accepted if time > 15]
    assert len(later) / (later[-1] - 15) >= 0.95 * 100


def test_with_headers_hardly_a_request_is_refused():
    _, refused = requests_sent(Bucket(50, headers=True), lambda clock: Pace(None, None, 64, clock), 3000, 0.05)
    assert refused < 60


def test_the_users_limit_of_requests_is_kept():
    unlimited = Bucket(10**9)
    accepted, _ = requests_sent(unlimited, lambda clock: Pace(600, None, 64, clock), 300, 0.2)
    assert max(sum(start <= other < start + 10 for other in accepted) for start in accepted) <= 100 + 5
    assert len(accepted) / accepted[-1] >= 0.95 * 10


def test_the_users_limit_of_tokens_is_kept():
    unlimited = Bucket(10**9)
    accepted, _ = requests_sent(unlimited, lambda clock: Pace(None, 60_000, 64, clock), 100, 0.2, tokens=500)
    assert len(accepted) / accepted[-1] == pytest.approx(2, rel=0.05)


def test_nothing_is_sent_before_a_refusals_time_is_over():
    loop = SimulatedLoop()

    async def main():
        pace = Pace(None, None, 4, loop.time)
        async with pace.turn(1) as sent:
            pace.refused(7.0, {}, sent)
        async with pace.turn(1):
            return loop.time()

    assert loop.run_until_complete(main()) == pytest.approx(7.0)
    loop.close()


def test_refusals_of_one_moment_narrow_once():
    pace = Pace(None, None, 256, lambda: 10.0)
    for _ in range(100):
        pace.accepted({}, 9.0)
    before = pace.width
    for _ in range(20):
        pace.refused(0.01, {}, 9.0)
    assert pace.width > 0.5 * before


def test_a_rate_does_not_grow_beyond_what_is_asked():
    loop = SimulatedLoop()

    async def main():
        pace = Pace(None, None, 4, loop.time)
        for number in range(2000):
            async with pace.turn(1) as sent:
                await asyncio.sleep(1)
                if number < 10:
                    pace.refused(0, {}, sent)
                else:
                    pace.accepted({}, sent)
        return pace.rate

    assert 1 <= loop.run_until_complete(main()) < 4
    loop.close()


def test_failures_narrow_and_answers_widen_what_is_under_way():
    pace = Pace(None, None, 64, lambda: 0.0)
    for _ in range(100):
        pace.accepted({}, 0.0)
    assert pace.width == 64
    for _ in range(100):
        pace.failed()
    assert pace.width == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("2", 2.0), ("soon", None), ("", None)],
)
def test_durations_of_headers(text, found):
    assert seconds(text) == found


def test_what_a_refusal_asks_to_wait():
    assert retry_after({"retry-after-ms": "250", "retry-after": "1"}) == 0.25
    assert retry_after({"retry-after": "3"}) == 3.0
    assert retry_after({"retry-after": formatdate(0, usegmt=True)}) == 0.0
    # By the server's clock, whatever this machine's says.
    assert retry_after({"retry-after": formatdate(130, usegmt=True), "date": formatdate(100, usegmt=True)}) == 30.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None

"""What requests cost and may cost: a dated table of prices, estimates, the budget and the progress line.

`prices.tsv` names per model, in US dollars a million tokens, the price of input, of input that the server had in its
prompt cache, of output, the day of these and where they were read: other people's copies, since OpenAI's own page could
not be reached. The Batch API takes half; input from the cache is no cheaper there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.formats.files import read_tsv
from stages.language_model.client import is_own_server
from stages.language_model.conversation import ANSWER_TOKENS
from stages.language_model.request_cache import Reply
from stages.params.data import Decompose

PRICES = Path(__file__).parent / "prices.tsv"
TIER_SHARES = {"direct": 1.0, "batch": 0.5}
CHARACTERS_PER_TOKEN = 4.0  # English; only estimates use it, bills count the server's tokens
USUAL_ANSWER_TOKENS = 40
USUAL_REQUEST_TOKENS = 600  # where a server counts no tokens


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens, and the day of that price (ISO)."""

    input: float
    cached_input: float
    output: float
    date: str


def price_of(model: str) -> Price | None:
    """Return a model's price; a dated snapshot (`gpt-4.1-2025-04-14`) costs what its model costs. None if unknown.

    Raises ValueError where the table has no numbers for it.
    """
    name = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)
    rows = {row["model"]: row for row in read_tsv(PRICES)}
    row = rows.get(model) or rows.get(name)
    if row is None:
        return None
    try:
        prices = {name: float(row[name]) for name in ("input", "cached_input", "output")}
    except ValueError:
        prices = {}
    if not prices or not all(0 <= number < float("inf") for number in prices.values()):
        raise ValueError(f"{PRICES}: {row['model']} needs three prices, a date and a source, each after a tab")
    return Price(**prices, date=row["date"])


def cost(price: Price | None, tier: str, tokens_in: float, tokens_out: float, cached: float = 0) -> float:
    """US dollars of so many tokens; 0 where the price is not known (a model of one's own server)."""
    if price is None:
        return 0.0
    if tier == "batch":
        cached = 0
    dollars = (tokens_in - cached) * price.input + cached * price.cached_input + tokens_out * price.output
    return TIER_SHARES[tier] * dollars / 1e6


def reply_cost(price: Price | None, reply: Reply) -> float:
    """US dollars of one reply by the tokens that the server counted; by an estimate where it counted none."""
    try:
        usage = json.loads(reply.text)["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return cost(price, reply.tier, usage["prompt_tokens"], usage["completion_tokens"], cached)
    except (ValueError, KeyError, TypeError, AttributeError):
        return cost(price, reply.tier, USUAL_REQUEST_TOKENS, estimated_tokens(reply.text))


def estimated_tokens(text: str) -> int:
    """Tokens of an English text, roughly: a quarter of its characters."""
    return round(len(text) / CHARACTERS_PER_TOKEN) + 1


def request_tokens(request: dict[str, Any]) -> int:
    """Estimated input tokens of a request: its messages and the answer's schema."""
    return estimated_tokens(json.dumps([request["messages"], request["response_format"]], ensure_ascii=False))


def answer_tokens(request: dict[str, Any]) -> int:
    """Estimated tokens of the answer; where the usual limit was too low already, all of the raised one."""
    limit: int = request["max_completion_tokens"]
    return limit if limit > ANSWER_TOKENS else USUAL_ANSWER_TOKENS


class Bill:
    """Adds up replies, those kept from earlier runs included; `spent` is in US dollars."""

    def __init__(self, params: Decompose) -> None:
        """Start with nothing spent; the model's price comes from the project's table."""
        self.price: Price | None = price_of(params.model)
        self.tier, self.budget, self.model = params.mode, params.budget_usd, params.model
        self.spent, self.replies = 0.0, 0

    def add(self, replies: Iterable[Reply]) -> None:
        """Count replies."""
        for reply in replies:
            self.spent += reply_cost(self.price, reply)
            self.replies += 1

    def of_request(self, request: dict[str, Any]) -> float:
        """Estimate what a request will cost."""
        return cost(self.price, self.tier, request_tokens(request), answer_tokens(request))

    def check_price(self) -> None:
        """Raise ValueError where the price is not known, unless the server is one's own: no budget would hold."""
        if problem := self._no_price():
            raise ValueError(problem)

    def check(self, under_way: float, caption: int, captions: int) -> None:
        """Raise ValueError where requests of `under_way` US dollars more would go over the budget."""
        if self.spent + under_way > self.budget:
            raise ValueError(
                f"decompose.budget_usd={self.budget:g}: {self.spent:.4f} USD spent, {caption} of {captions} captions "
                "done; every reply is kept, raise the budget and run again to go on"
            )

    def estimate(self, requests: list[dict[str, Any]], kept: int) -> str:
        """Say in a few lines what sending `requests` would take; `kept` captions need none."""
        tokens_in, tokens_out = sum(map(request_tokens, requests)), sum(map(answer_tokens, requests))
        dollars = sum(map(self.of_request, requests))
        price = f"{self.model}, {self.tier}, prices of {self.price.date}" if self.price else "a server of your own"
        return (
            f"{len(requests)} requests to send, {kept} captions answered already ({self.spent:.4f} USD)\n"
            f"about {tokens_in} tokens in and {tokens_out} out, repair turns not counted\n"
            f"{self._no_price() or f'about {dollars:.4f} USD ({price})'}; decompose.budget_usd={self.budget:g}"
        )

    def _no_price(self) -> str | None:
        if self.price or is_own_server():
            return None
        return (
            f"decompose.model={self.model}: its price is not in {PRICES.relative_to(PRICES.parents[2])}, so no budget "
            "would hold; add a line there (zeros for a server of your own)"
        )

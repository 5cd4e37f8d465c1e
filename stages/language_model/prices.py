"""What a request costs: a dated table of OpenAI's prices, in US dollars a million tokens.

`prices.tsv` names per model the price of input, of input that the server had in its prompt cache, of output, the day
of these and where they were read: other people's copies, since OpenAI's own page could not be reached. The Batch API
takes half; input from the cache is no cheaper there.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

from stages.language_model.request_cache import Reply

PRICES = Path(__file__).parent / "prices.tsv"
TIER_SHARES = {"direct": 1.0, "batch": 0.5}
CHARACTERS_PER_TOKEN = 4.0  # English; only estimates use it, bills count the server's tokens


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens, and the day of that price (ISO)."""

    input: float
    cached_input: float
    output: float
    date: str


def price_of(model: str) -> Price | None:
    """Return a model's price; a dated snapshot (`gpt-4.1-2025-04-14`) costs what its model costs. None if unknown."""
    name = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)
    with open(PRICES, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["model"] == name:
                return Price(float(row["input"]), float(row["cached_input"]), float(row["output"]), row["date"])
    return None


def estimated_tokens(text: str) -> int:
    """Tokens of an English text, roughly: a quarter of its characters."""
    return round(len(text) / CHARACTERS_PER_TOKEN) + 1


def cost(price: Price | None, tier: str, tokens_in: float, tokens_out: float, cached: float = 0) -> float:
    """US dollars of so many tokens; 0 where the price is not known (a model of one's own server)."""
    if price is None:
        return 0.0
    if tier == "batch":
        cached = 0
    dollars = (tokens_in - cached) * price.input + cached * price.cached_input + tokens_out * price.output
    return TIER_SHARES[tier] * dollars / 1e6


def reply_cost(price: Price | None, reply: Reply) -> float:
    """US dollars of one reply by the tokens that the server counted; 0 where it counted none."""
    try:
        usage = json.loads(reply.text)["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return cost(price, reply.tier, usage["prompt_tokens"], usage["completion_tokens"], cached)
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0

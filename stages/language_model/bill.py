"""What a run has cost and may cost: one place for estimates, the budget and the progress line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from stages.language_model.prices import Price, cost, estimated_tokens, price_of, reply_cost
from stages.language_model.request_cache import Reply
from stages.params.data import Decompose

USUAL_ANSWER_TOKENS = 40


class BudgetError(ValueError):
    """The next request would go over the budget."""


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

    def of_request(self, request: dict[str, Any], answer_tokens: int = USUAL_ANSWER_TOKENS) -> float:
        """Estimate what a request will cost."""
        return cost(self.price, self.tier, request_tokens(request), answer_tokens)

    def check(self, under_way: float, caption: int, captions: int) -> None:
        """Raise BudgetError where requests of `under_way` US dollars more would go over the budget."""
        if self.spent + under_way > self.budget:
            raise BudgetError(
                f"decompose.budget_usd={self.budget:g}: {self.spent:.4f} USD spent, {caption} of {captions} captions "
                "done; every reply is kept, raise the budget and run again to go on"
            )


def request_tokens(request: dict[str, Any]) -> int:
    """Estimated input tokens of a request: its messages and the answer's schema."""
    return estimated_tokens(json.dumps([request["messages"], request["response_format"]], ensure_ascii=False))


def estimate(requests: list[dict[str, Any]], kept: int, bill: Bill) -> str:
    """Say in a few lines what sending `requests` would take; `kept` captions need none."""
    tokens_in = sum(request_tokens(request) for request in requests)
    tokens_out = USUAL_ANSWER_TOKENS * len(requests)
    dollars = sum(bill.of_request(request) for request in requests)
    if bill.price is None:
        price = f"no price of {bill.model} in stages/language_model/prices.tsv: counted as 0"
    else:
        price = f"{bill.model}, {bill.tier}, prices of {bill.price.date}"
    return (
        f"{len(requests)} requests to send, {kept} captions answered already ({bill.spent:.4f} USD)\n"
        f"about {tokens_in} tokens in and {tokens_out} out, repair turns not counted\n"
        f"about {dollars:.4f} USD ({price}); decompose.budget_usd={bill.budget:g}"
    )

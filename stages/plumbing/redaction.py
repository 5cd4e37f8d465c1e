"""What others said, fit to be shown: without secrets, on one short line."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 300


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return at most LONGEST characters on one line, with *** for each secret; empty secrets are none."""
    # The longest first: one may be a part of another.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())[:LONGEST]

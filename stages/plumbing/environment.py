"""What environment variables say of folders and speed: no params, they change no result."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`BIND_AN_AUDIO_CACHE`, else `.cache/` of the user's repository, also from DVC's temporary folders."""
    return Path(os.environ.get("BIND_AN_AUDIO_CACHE") or Path(os.environ.get("DVC_ROOT", "."), ".cache"))


def number(name: str, default: float, may_be_zero: bool = False) -> float:
    """The positive number that a variable holds, `default` where it is unset or empty; ValueError names it."""
    text = os.environ.get(name, "").strip()
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or not (value or may_be_zero):
        wanted = "number of 0 or more" if may_be_zero else "positive number"
        raise ValueError(f"{name}={text}: no {wanted}; mend or unset it")
    return value

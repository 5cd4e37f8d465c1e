"""By what name the reply to a request is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def request_key(request: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a request's canonical JSON: equal requests have equal keys, whatever the order of theirs."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

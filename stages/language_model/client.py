"""The server that speaks OpenAI's protocol: how to reach it, which of its errors end a run, which are tried again.

Environment: `OPENAI_API_KEY`; `OPENAI_BASE_URL` for any compatible server (Ollama, vLLM);
`BIND_AN_AUDIO_REQUEST_SECONDS` until a request counts as lost. No line that is printed or raised holds a secret.
"""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from stages.plumbing.environment import number
from stages.plumbing.redaction import redacted

Answer = TypeVar("Answer")
TRIES = 12  # of one request, one after another
LONGEST_PAUSE = 60.0
TRANSIENT_STATUS = (408, 409, 429)
SECRET_VARIABLES = ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_WEBHOOK_SECRET")
SPENT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


def client_settings() -> dict[str, Any]:
    """Return the arguments of `openai.OpenAI` and `openai.AsyncOpenAI`.

    Raises ValueError where there is no key and the server is OpenAI's own.
    """
    key, address = os.environ.get("OPENAI_API_KEY", ""), os.environ.get("OPENAI_BASE_URL")
    if not key and not address:
        raise ValueError(
            "OPENAI_API_KEY: not set; decompose.backend=openai needs it (or OPENAI_BASE_URL for a server of your own), "
            "or take decompose.backend=rules"
        )
    return {"api_key": key or "none", "base_url": address, "timeout": number("BIND_AN_AUDIO_REQUEST_SECONDS", 60.0)}


def patiently(call: Callable[[], Answer], model: str) -> Answer:
    """Call until it succeeds; errors that a second try may mend are followed by a jittered pause that doubles.

    Raises ValueError for every other error, and after TRIES failures in a row.
    """
    import openai

    problem = ""
    for attempt in range(TRIES):
        try:
            return call()
        except openai.OpenAIError as error:
            if stop := fatal(error, model):
                raise stop from None
            problem = scrubbed(str(error))
        time.sleep(jittered_pause(attempt))
    raise gave_up(problem)


def jittered_pause(attempt: int) -> float:
    """Seconds to wait after the failure number `attempt`, counted from 0."""
    longest: float = min(LONGEST_PAUSE, 0.5 * 2**attempt)
    return longest * random.uniform(0.5, 1.5)  # noqa: S311 - no secret


def gave_up(problem: str) -> ValueError:
    """Say that the server failed too often."""
    return ValueError(f"decompose: the server failed {TRIES} times in a row ({problem}); replies are kept, run again")


def fatal(error: Exception, model: str) -> ValueError | None:
    """Turn an error that no second try can mend into a line for the user; None where trying again may help."""
    import openai

    if isinstance(error, openai.APIConnectionError):  # time-outs are of this kind
        return None
    if not isinstance(error, openai.APIStatusError):
        return ValueError(f"decompose: {type(error).__name__}: {scrubbed(str(error))}")
    status, code = error.status_code, str(error.code or error.type or "")
    if code in SPENT_CODES or status == 402:
        return ValueError(f"decompose: the account's quota is used up ({code or status}); add credit and run again")
    if status in TRANSIENT_STATUS or status >= 500:
        return None
    if status == 401:
        return ValueError("OPENAI_API_KEY: the server does not take it (401); set a valid key")
    if status == 403:
        return ValueError(f"OPENAI_API_KEY: may not use decompose.model={model} (403); ask for access or name another")
    if status == 404:
        return ValueError(f"decompose.model={model}: the server knows no such model (404); name one that it has")
    return ValueError(f"decompose: the server refuses the request ({status}): {scrubbed(error.message)}")


def scrubbed(text: str) -> str:
    """Return a short text on one line, without the key or any other secret that goes with a request."""
    return redacted(text, _secrets())


def _secrets() -> list[str]:
    """What the environment holds for the server's eyes alone; a server may say it back in an error."""
    found = [os.environ.get(name, "") for name in SECRET_VARIABLES]
    found += [line.partition(":")[2].strip() for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()]
    try:
        address = urlsplit(os.environ.get("OPENAI_BASE_URL", ""))
        name, password = unquote(address.username or ""), unquote(address.password or "")
    except ValueError:
        name, password = "", ""
    if name or password:
        found += [base64.b64encode(f"{name}:{password}".encode()).decode(), password]
    return found

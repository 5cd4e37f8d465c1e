"""The server that speaks OpenAI's protocol: how to reach it, which of its errors end a run, which are tried again.

Environment: `OPENAI_API_KEY`; `OPENAI_BASE_URL` for any compatible server (Ollama, vLLM);
`BIND_AN_AUDIO_REQUEST_SECONDS` until a request counts as lost. No line that is printed or raised holds a secret.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import re
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from stages.language_model.answers import FILTERED, NoAnswerError, answer_in, refusal
from stages.language_model.pace import Pace, retry_after
from stages.plumbing.environment import number

Answer = TypeVar("Answer")
TRIES = 12  # of one request, one after another
LONGEST_PAUSE = 60.0
LONGEST_LINE = 300
TOLD_SECONDS, MOST_SECONDS = 20.0, 86_400.0  # a longer pause is told; one that ends the run
TRANSIENT_STATUS = (408, 409, 425, 429)
SECRET_VARIABLES = ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_WEBHOOK_SECRET")
SPENT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
# What a server may refuse. Without max_completion_tokens its older name is sent, until that is refused as well.
OPTIONAL = ("seed", "response_format", "max_completion_tokens", "max_tokens")
OTHER_NAMES = {"response_format": "response[_ .]format|json_schema"}


class StoppedError(Exception):
    """The run ends for another request's sake; what waits need wait no longer."""


class NotFoundError(ValueError):
    """The server does not know the address, the model or the batch (404)."""


class FilteredError(ValueError):
    """The server's filter refuses a caption."""


class Client:
    """Sends requests at a pace and tries passing faults again; close its `openai` client in the end."""

    def __init__(self, model: str, pace: Pace | None = None, stopped: asyncio.Event | None = None) -> None:
        """Connect by the environment. Raises ValueError where that cannot be; `stopped` ends every wait."""
        from openai import AsyncOpenAI

        self.openai = AsyncOpenAI(**client_settings())
        self._seconds = number("BIND_AN_AUDIO_REQUEST_SECONDS", 60.0)
        self._model, self._pace = model, pace or Pace(None, None, 1)
        self._stopped = stopped or asyncio.Event()
        self.refused: set[str] = set()
        self._told = 0.0  # until when (`time.monotonic`) the pauses are known that were told

    async def complete(self, request: dict[str, Any], tokens: float) -> str:
        """Return the raw text of a chat request's answer; `tokens` is what it may take, both ways. Raises as `send`."""
        import openai

        async def create() -> Any:
            while True:
                body = self.fitted(request)
                try:
                    return await self.openai.chat.completions.with_raw_response.create(**body)
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    if not self.leave_out(body, f"{error.param or ''} {_reason(error)}"):
                        raise

        try:
            return await self.send(create, answer_in, tokens)
        except FilteredError as error:
            return refusal(str(error))

    def fitted(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return a request without what the server refuses; replies are kept under the whole request all the same."""
        body = dict(request)
        for name in filter(self.refused.__contains__, OPTIONAL):
            value = body.pop(name, None)
            if name == "max_completion_tokens":
                body["max_tokens"] = value
        return body

    def leave_out(self, body: dict[str, Any], reason: str) -> bool:
        """Leave out from now on what a refusal of `body` names; return whether it names anything."""
        names = [(name, OTHER_NAMES.get(name, name)) for name in OPTIONAL if name in body]
        named = {name for name, pattern in names if re.search(rf"\b({pattern})\b", reason)}
        for name in sorted(named - self.refused):
            _tell(f"the server refuses {name} and is asked without it ({scrubbed(reason)})")
        self.refused |= named
        return bool(named)

    async def send(
        self,
        call: Callable[[], Awaitable[Any]],
        read: Callable[[str], Answer],
        tokens: float = 0,
        patience: float = 1,
    ) -> Answer:
        """Return what `read` finds in the raw response of `call`, a request of `tokens`, once it is an answer.

        Passing faults (429, 5xx, time-outs, broken connections, what is no answer) are tried again after what the
        server asks for, or a jittered pause that doubles; a call is lost after `patience` times
        `BIND_AN_AUDIO_REQUEST_SECONDS`. Raises ValueError for an error that no second try mends or TRIES failures in a
        row, StoppedError where the run has ended meanwhile.
        """
        import openai

        problem = ""
        for attempt in range(TRIES):
            pause = min(LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            async with self._pace.turn(tokens) as sent:
                if self._stopped.is_set():
                    raise StoppedError
                try:
                    # The limit of openai's client is for each read: a body that drips would never reach it.
                    async with asyncio.timeout(patience * self._seconds):
                        response = await call()
                    answer = read(response.text)
                except openai.OpenAIError as error:
                    if stop := fatal(error, self._model):
                        raise stop from None
                    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
                    asked = retry_after(headers) or 0.0
                    if asked > MOST_SECONDS:
                        line = f"the server takes nothing before {_clock(asked)}; replies are kept, run again then"
                        raise ValueError(f"decompose: {line}") from None
                    problem = scrubbed(_reason(error))
                    if isinstance(error, openai.RateLimitError):
                        problem = "429 (too many requests)"
                        waited = pause if retry_after(headers) is None else asked
                        self._pace.refused(waited, headers, sent)
                        self._tell_pause(waited, problem)
                        pause = 0.0  # the pace waits, for everyone
                    else:
                        self._pace.failed()
                        pause = max(pause, asked)
                except (NoAnswerError, TimeoutError) as error:
                    problem = scrubbed(str(error)) or f"no whole answer within {patience * self._seconds:g} s"
                    self._pace.failed()
                else:
                    self._pace.accepted(response.headers, sent)
                    return answer
            self._tell_pause(pause, problem)
            await until_stopped(self._stopped, pause)
        raise ValueError(
            f"decompose: the server failed {TRIES} times in a row ({problem}); replies are kept, run again"
        )

    def _tell_pause(self, pause: float, problem: str) -> None:
        until = time.monotonic() + pause
        if pause > TOLD_SECONDS and until > self._told:
            self._told = until + TOLD_SECONDS
            _tell(f"{problem}; next try at {_clock(pause)}")


async def until_stopped(stopped: asyncio.Event, pause: float) -> None:
    """Wait for so many seconds. Raises StoppedError as soon as `stopped` is set."""
    try:
        await asyncio.wait_for(stopped.wait(), pause)
    except TimeoutError:
        return
    raise StoppedError


def client_settings() -> dict[str, Any]:
    """Return the arguments of `openai.AsyncOpenAI`.

    Raises ValueError where there is no key and the server is OpenAI's own, or where no request could be sent at all.
    """
    key, address = os.environ.get("OPENAI_API_KEY", ""), os.environ.get("OPENAI_BASE_URL")
    if not key and not address:
        raise ValueError(
            "OPENAI_API_KEY: not set; decompose.backend=openai needs it (or OPENAI_BASE_URL for a server of your own), "
            "or take decompose.backend=rules"
        )
    # Neither line shows the value: an address may hold a password.
    if address is not None and not _is_address(address):
        raise ValueError(
            "OPENAI_BASE_URL: no address such as http://localhost:11434/v1 (with http:// or https://, without spaces); "
            "mend it, or unset it for OpenAI's own server"
        )
    for name in SECRET_VARIABLES:
        if not re.fullmatch("[!-~]*", os.environ.get(name, "")):
            raise ValueError(f"{name}: holds a space, a line end or another character that no key has; set it again")
    return {"api_key": key or "none", "base_url": address, "max_retries": 0, "timeout": None}


def is_own_server() -> bool:
    """Whether `OPENAI_BASE_URL` names this machine or one of a private network, which sends no bill."""
    host = urlsplit(os.environ.get("OPENAI_BASE_URL", "")).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return bool(host) and ("." not in host or host.endswith((".local", ".localhost", ".internal", ".lan")))


def fatal(error: Exception, model: str) -> ValueError | None:
    """Turn an error that no second try can mend into a line for the user; None where trying again may help."""
    import openai

    if isinstance(error, openai.APIConnectionError):  # time-outs are of this kind
        return None
    if not isinstance(error, openai.APIStatusError):
        return ValueError(f"decompose: {type(error).__name__}: {scrubbed(_reason(error))}")
    status, code = error.status_code, str(error.code or error.type or "")
    if code == FILTERED:
        return FilteredError(scrubbed(_reason(error)))
    if code in SPENT_CODES or status == 402:
        return ValueError(f"decompose: the account's quota is used up ({code or status}); add credit and run again")
    if status in TRANSIENT_STATUS or status >= 500:
        return None
    if status == 401:
        return ValueError("OPENAI_API_KEY: the server does not take it (401); set a valid key")
    if status == 403:
        return ValueError(f"OPENAI_API_KEY: may not use decompose.model={model} (403); ask for access or name another")
    if status == 404:
        return NotFoundError(
            f"decompose.model={model}: the server knows no such model (404); name one that it has, or the base URL "
            "(OPENAI_BASE_URL) lacks /v1, or the server takes no batches (decompose.mode=batch)"
        )
    return ValueError(f"decompose: the server refuses the request ({status}): {scrubbed(_reason(error))}")


def scrubbed(text: str) -> str:
    """Return a short text on one line, without the key or any other secret that goes with a request."""
    # The longest first: one may be a part of another.
    for secret in sorted(filter(None, _secrets()), key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())[:LONGEST_LINE]


def _is_address(text: str) -> bool:
    try:
        address = urlsplit(text)
        has_port = address.port != 0  # raises for what is no port
        return bool(re.fullmatch(r"https?://\S+", text) and address.hostname and has_port)
    except ValueError:
        return False


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


def _reason(error: Exception) -> str:
    """What the server says; openai's client shows it only in OpenAI's own form."""
    import openai

    if isinstance(error, openai.APIStatusError) and " - " not in error.message:
        return f"{error.message} - {error.response.text}"
    return str(error)


def _clock(pause: float) -> str:
    return f"{datetime.now() + timedelta(seconds=pause):%Y-%m-%d %H:%M:%S}"


def _tell(line: str) -> None:
    print(f"decompose: {line}", file=sys.stderr, flush=True)

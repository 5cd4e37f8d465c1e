"""Ask a language model by OpenAI's Batch API: half the price, an answer within a day, the same replies in the cache.

A batch is noted before it is made and its id before it is polled, so a killed run goes on with the batch that it sent:
by its id, or by the digest in its metadata where the kill came before the id was noted.
Environment: `BIND_AN_AUDIO_POLL_SECONDS` between two looks at a batch.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from stages.formats.keys import request_key
from stages.language_model.answers import FILTERED, NoAnswerError, object_in, refusal
from stages.language_model.bill import Bill
from stages.language_model.client import OPTIONAL, Client, NotFoundError, scrubbed
from stages.language_model.conversation import Step
from stages.language_model.request_cache import RequestCache
from stages.plumbing.environment import number
from stages.plumbing.progress import progress

MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000  # OpenAI takes 200 MB a file
FILE_PATIENCE = 60  # a file takes so many times as long as another request
ENDPOINT: Final = "/v1/chat/completions"
MARK = "bind_an_audio"  # metadata key of a batch's digest
FRUITLESS_ROUNDS = 3
ENDED = ("completed", "expired", "cancelled", "failed")


class TooLargeError(ValueError):
    """The account's limit of tokens that may wait in batches does not allow a batch."""


async def ask_in_batches(captions: list[str], step_of: Callable[[str], Step], cache: RequestCache, bill: Bill) -> None:
    """Ask round by round until every caption's conversation has ended; replies are kept in `cache` and added to `bill`.

    A row that failed is asked for in the next round; after three rounds without a reply the run ends. Where a batch is
    over the server's limit of waiting tokens, it is halved, and one is sent at a time.

    Raises:
        ValueError: the budget would be passed by the next round, the server takes no batch or gives an error that no
            second try can mend.
    """
    await _Batches(cache, bill).ask(captions, step_of)


class _Batches:
    def __init__(self, cache: RequestCache, bill: Bill) -> None:
        self.cache, self.bill = cache, bill
        self.pause = number("BIND_AN_AUDIO_POLL_SECONDS", 30.0)
        self.most, self.reason = MOST_REQUESTS, "the rows are missing"  # why the newest row failed

    async def ask(self, captions: list[str], step_of: Callable[[str], Step]) -> None:
        bill, size, fruitless, before = self.bill, len(captions), 0, (0, 0, 0)
        self.client = Client(bill.model)
        async with self.client.openai:
            while True:
                try:
                    await self.collect_all()
                except TooLargeError:
                    if size == 1:
                        raise
                    self.most = size // 2
                steps = map(step_of, captions)
                waiting = {request_key(step.request): step.request for step in steps if step.request is not None}
                if not waiting:
                    return
                bill.check(sum(map(bill.of_request, waiting.values())), len(captions) - len(waiting), len(captions))
                now = bill.replies, len(self.client.refused), self.most
                fruitless = fruitless + 1 if now == before else 0
                if fruitless == FRUITLESS_ROUNDS:
                    raise ValueError(
                        f"decompose.mode=batch: {FRUITLESS_ROUNDS} batches in a row brought no reply for "
                        f"{len(waiting)} captions ({self.reason}); try decompose.mode=direct, replies are kept"
                    )
                before, size = now, min(self.most, len(waiting))
                for lines in self.files(waiting):
                    await self.send(lines)
                    if self.most < MOST_REQUESTS:
                        break

    def files(self, waiting: dict[str, dict[str, Any]]) -> Iterator[list[bytes]]:
        """Lines of the batch files that hold the requests by key, within the server's limits, ordered by key."""
        lines: list[bytes] = []
        size = 0
        for key in sorted(waiting):
            body = self.client.fitted(waiting[key])
            row = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            if lines and (len(lines) == self.most or size + len(line) > MOST_BYTES):
                yield lines
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        yield lines

    async def send(self, lines: list[bytes]) -> None:
        """Upload a file and make a batch of it; the note of it comes first, its id at once after."""
        content = b"".join(lines)
        # Rows that failed may be sent again: an equal file is another batch.
        digest = hashlib.sha256(b"%d" % self.cache.batch_count() + content).hexdigest()
        self.cache.put_batch(digest, None)
        api = self.client.openai
        upload = partial(api.files.with_raw_response.create, file=("requests.jsonl", content), purpose="batch")
        uploaded = await self.client.send(upload, partial(object_in, key="id"), patience=FILE_PATIENCE)

        async def make() -> Any:
            # Where an answer got lost the batch is there all the same.
            found = await api.batches.with_raw_response.list(limit=100)
            if _marked(found.text, digest):
                return found
            create = partial(api.batches.with_raw_response.create, endpoint=ENDPOINT, completion_window="24h")
            return await create(input_file_id=uploaded["id"], metadata={MARK: digest})

        def made(text: str) -> str:
            try:
                return str(object_in(text, "id")["id"])
            except NoAnswerError:
                return str(_marked(text, digest))

        batch = await self.client.send(make, made)
        self.cache.put_batch(digest, batch)
        print(f"batch {batch}: {len(lines)} requests sent", flush=True)

    async def find(self, digest: str) -> str | None:
        """Id of the server's batch with this digest in its metadata, among the last hundred."""
        listed = partial(self.client.openai.batches.with_raw_response.list, limit=100)
        return await self.client.send(listed, partial(_marked, digest=digest))

    async def collect_all(self) -> None:
        """Wait for every open batch, keep its replies, close it; one that the server does not have is closed as it is.

        Raises TooLargeError once all are closed, where one was too large.
        """
        too_large = None
        for digest, batch in self.cache.open_batches():
            try:
                await self.collect(batch or await self.find(digest), digest)
            except TooLargeError as error:
                too_large = error
            except NotFoundError:
                # A wrong address knows nothing at all, and says so here again.
                await self.find(digest)
                print(f"batch {batch}: the server does not have it any more; its captions are asked again", flush=True)
            self.cache.close_batch(digest)
        if too_large:
            raise too_large

    async def collect(self, batch_id: str | None, digest: str) -> None:
        """Wait for a batch and keep its replies; None was never made."""
        if batch_id is None:
            return
        self.cache.put_batch(digest, batch_id)
        api = self.client.openai
        look = partial(api.batches.with_raw_response.retrieve, batch_id)
        with progress((), f"batch {batch_id}") as bar:
            while (batch := await self.client.send(look, partial(object_in, key="status")))["status"] not in ENDED:
                counts = batch.get("request_counts") or {}
                bar.total = counts.get("total")
                bar.update((counts.get("completed") or 0) - bar.n)
                bar.set_postfix_str(f"{batch['status']}, {self.bill.spent:.4f} USD spent")
                await asyncio.sleep(self.pause)
        if batch["status"] == "failed":
            errors = (batch.get("errors") or {}).get("data") or []
            reasons = "; ".join(f"{error.get('code')}: {error.get('message')}" for error in errors[:3])
            kind = TooLargeError if "token limit" in reasons or "token_limit" in reasons else ValueError
            self.cache.close_batch(digest)
            raise kind(f"decompose: the server refused batch {batch_id} ({scrubbed(reasons)}); mend that, run again")
        for file in filter(None, (batch.get("output_file_id"), batch.get("error_file_id"))):
            content = partial(api.files.with_raw_response.content, file)
            for row in await self.client.send(content, _rows, patience=FILE_PATIENCE):
                self.keep(row)

    def keep(self, row: dict[str, Any]) -> None:
        """Put the reply of a result file's row into the cache by custom_id; a failed one is left to the next round."""
        key, response = row["custom_id"], row.get("response") or {}
        text = json.dumps(response.get("body"))
        if response.get("status_code") == 400 and f'"code": "{FILTERED}"' in text:
            response, text = {"status_code": 200}, refusal(scrubbed(text))
        if response.get("status_code") == 200:
            try:
                if self.cache.get(key) is None:
                    self.bill.add([self.cache.put(key, text, "batch")])
                return
            except NoAnswerError:
                pass  # as any other row that failed
        reason = f"{response.get('status_code')}: {text} {row.get('error') or ''}"
        self.reason = scrubbed(reason)
        if response.get("status_code") in (400, 422):
            self.client.leave_out(self.client.fitted(dict.fromkeys(OPTIONAL[:3])), reason)


def _marked(text: str, digest: str) -> str | None:
    """Id of the batch with this digest in its metadata in a list of batches."""
    marked = [batch for batch in object_in(text, "data")["data"] if (batch.get("metadata") or {}).get(MARK) == digest]
    return str(marked[0]["id"]) if marked else None


def _rows(text: str) -> list[dict[str, Any]]:
    return [object_in(line, "custom_id") for line in filter(str.strip, text.split("\n"))]

"""Ask a language model by OpenAI's Batch API: half the price, an answer within a day, the same replies in the cache.

A batch is noted before it is made and its id before it is polled, so a killed run goes on with the batch that it sent:
by its id, or by the digest in its metadata where the kill came before the id was noted.
Environment: `BIND_AN_AUDIO_POLL_SECONDS` between two looks at a batch.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from stages.language_model.bill import Bill
from stages.language_model.client import client_settings, patiently, scrubbed
from stages.language_model.conversation import Step
from stages.language_model.request_cache import RequestCache, request_key
from stages.plumbing.environment import number
from stages.plumbing.progress import progress

if TYPE_CHECKING:
    from openai import OpenAI

MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000  # OpenAI takes 200 MB a file
MARK = "bind_an_audio"  # metadata key of a batch's digest
FRUITLESS_ROUNDS = 3
ENDED = ("completed", "expired", "cancelled", "failed")


def ask_in_batches(captions: list[str], step_of: Callable[[str], Step], cache: RequestCache, bill: Bill) -> None:
    """Ask round by round until every conversation has ended; arguments as of `ask_all`.

    A row that failed is asked for in the next round; after three rounds without a reply the run ends.

    Raises:
        ValueError: the budget would be passed by the next round, the server takes no batch or gives an error that no
            second try can mend.
    """
    from openai import OpenAI

    fruitless = 0
    with OpenAI(**client_settings(), max_retries=0) as client:
        while True:
            for digest, batch in cache.open_batches():
                _collect(client, digest, batch, cache, bill)
            steps = [step_of(caption) for caption in captions]
            waiting = {request_key(step.request): step.request for step in steps if step.request is not None}
            if not waiting:
                return
            under_way = sum(bill.of_request(request) for request in waiting.values())
            bill.check(under_way, len(captions) - len(waiting), len(captions))
            before = bill.replies
            for lines in _files(waiting):
                _send(client, lines, cache, bill.model)
            for digest, batch in cache.open_batches():
                _collect(client, digest, batch, cache, bill)
            fruitless = 0 if bill.replies > before else fruitless + 1
            if fruitless == FRUITLESS_ROUNDS:
                raise ValueError(
                    f"decompose.mode=batch: {FRUITLESS_ROUNDS} batches in a row brought no reply for "
                    f"{len(waiting)} captions; try decompose.mode=direct, replies are kept"
                )


def _files(waiting: dict[str, dict[str, Any]]) -> Iterator[list[bytes]]:
    """Lines of the batch files that hold the requests by key, within the server's limits, in the order of the keys."""
    lines: list[bytes] = []
    size = 0
    for key in sorted(waiting):
        row = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": waiting[key]}
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        if lines and (len(lines) == MOST_REQUESTS or size + len(line) > MOST_BYTES):
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield lines


def _send(client: OpenAI, lines: list[bytes], cache: RequestCache, model: str) -> None:
    """Upload a file and make a batch of it; the note of it comes first, its id at once after."""
    content = b"".join(lines)
    # Rows that failed may be sent again: an equal file is another batch.
    digest = hashlib.sha256(b"%d" % cache.batch_count() + content).hexdigest()
    cache.put_batch(digest, None)
    uploaded = patiently(lambda: client.files.create(file=("requests.jsonl", content), purpose="batch"), model)

    def made() -> str:
        # Where an answer got lost the batch is there all the same.
        found = _batch_of(client, digest)
        return (
            found
            or client.batches.create(
                input_file_id=uploaded.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={MARK: digest},
            ).id
        )

    batch_id = patiently(made, model)
    cache.put_batch(digest, batch_id)
    print(f"batch {batch_id}: {len(lines)} requests sent", flush=True)


def _batch_of(client: OpenAI, digest: str) -> str | None:
    """Id of the server's batch with this digest in its metadata, among the last hundred."""
    batches = client.batches.list(limit=100).data
    return next((batch.id for batch in batches if (batch.metadata or {}).get(MARK) == digest), None)


def _collect(client: OpenAI, digest: str, batch_id: str | None, cache: RequestCache, bill: Bill) -> None:
    """Wait for a batch, keep its replies, close it; one that the server never made is closed as it is."""
    if batch_id is None:
        batch_id = patiently(lambda: _batch_of(client, digest), bill.model)
        if batch_id is None:
            cache.close_batch(digest)
            return
        cache.put_batch(digest, batch_id)
    known = batch_id
    pause = number("BIND_AN_AUDIO_POLL_SECONDS", 30.0)
    with progress((), f"batch {batch_id}") as bar:
        while (batch := patiently(lambda: client.batches.retrieve(known), bill.model)).status not in ENDED:
            if batch.request_counts:
                bar.total = batch.request_counts.total
                bar.update(batch.request_counts.completed - bar.n)
            bar.set_postfix_str(f"{batch.status}, {bill.spent:.4f} USD spent")
            time.sleep(pause)
    if batch.status == "failed":
        errors = (batch.errors.data if batch.errors else None) or []
        reasons = "; ".join(f"{error.code}: {error.message}" for error in errors[:3])
        cache.close_batch(digest)
        raise ValueError(f"decompose: the server refused batch {batch_id} ({scrubbed(reasons)}); mend that, run again")
    for file in filter(None, (batch.output_file_id, batch.error_file_id)):
        _keep(patiently(partial(client.files.content, file), bill.model).text, cache, bill)
    cache.close_batch(digest)


def _keep(text: str, cache: RequestCache, bill: Bill) -> None:
    """Put the replies of a result file into the cache by custom_id; failed rows are left to the next round."""
    for line in text.split("\n"):
        if not line.strip():
            continue
        row = json.loads(line)
        response = row.get("response") or {}
        if response.get("status_code") == 200:
            key = row["custom_id"]
            new = cache.get(key) is None
            cache.put(key, json.dumps(response["body"], ensure_ascii=False), "batch")
            kept = cache.get(key)
            if new and kept is not None:
                bill.add([kept])

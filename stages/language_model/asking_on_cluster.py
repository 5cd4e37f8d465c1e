"""Ask a language model from every machine of a Ray cluster: each its own server, or all together one server's limit.

The captions are dealt to the machines. Each converses as one process alone does (`ask_all`), with its part of the
concurrency, the limits and the budget, and keeps replies in a journal as they arrive; the driver takes these into its
cache meanwhile. So a killed worker or driver loses nothing that had arrived.

Environment: `OPENAI_API_KEY` and `OPENAI_BASE_URL` are each machine's own, exported before `ray start`.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from stages.language_model.asking import ask_all
from stages.language_model.bill import Bill, BudgetError
from stages.language_model.conversation import Step, next_step
from stages.language_model.reply_journal import JournalReader, ReplyJournal
from stages.language_model.request_cache import Reply, RequestCache
from stages.params.data import Decompose
from stages.plumbing.cluster import machine_count, map_batches
from stages.plumbing.progress import progress

LOOK_SECONDS = 1.0  # between two looks into the journals
Conversation = tuple[str, dict[str, Reply]]  # a caption, and what was answered to it so far, by request key


def ask_on_cluster(
    captions: list[str], prompt: str, params: Decompose, bill: Bill, cache_file: Path, journals: Path
) -> None:
    """Ask on all machines at once; what a machine's part of the budget left open is still open afterwards.

    Args:
        captions: distinct captions, one at least with a request to send.
        prompt: the system prompt.
        params: the `decompose` section.
        bill: what was spent so far; replies are added to it.
        cache_file: the driver's cache, which takes the replies.
        journals: the folder of the workers' journals; every machine sees it under this path.

    Raises:
        ValueError: the server gave an error that no second try can mend, a machine has no key or does not see the
            folder. What has arrived is in the cache.
    """
    with closing(RequestCache(cache_file)) as cache:
        conversations = list(_open_conversations(captions, prompt, params, cache))
    machines = min(machine_count(), len(conversations))
    run = uuid.uuid4().hex
    journals.mkdir(parents=True, exist_ok=True)
    mark = journals / f"{run}.run"
    mark.touch()
    part = params.model_copy(update={"budget_usd": max(0.0, bill.budget - bill.spent) / machines})
    dealt = [conversations[number::machines] for number in range(machines)]
    try:
        with _adopting(cache_file, journals, run, bill, len(conversations)):
            list(map_batches(partial(asker, prompt, part, journals.resolve(), run, 1 / machines), dealt))
    finally:
        mark.unlink(missing_ok=True)


def asker(
    prompt: str, params: Decompose, journals: Path, run: str, share: float
) -> Callable[[list[Conversation]], None]:
    """What converses on one machine, with `share` of the limits and the budget that `params` holds."""
    if not (journals / f"{run}.run").exists():
        raise ValueError(f"{journals}: a machine of the cluster does not see it; share the working folder, same path")

    def ask(conversations: list[Conversation]) -> None:
        known = {key: reply for _, replies in conversations for key, reply in replies.items()}
        with closing(ReplyJournal(journals, run, known)) as journal:

            def step_of(caption: str) -> Step:
                return next_step(caption, prompt, params, journal.get)

            bill = Bill(params)
            for caption, replies in conversations:
                bill.add(step_of(caption).replies[len(replies) :])  # of a worker that died
            try:
                ask_all([caption for caption, _ in conversations], step_of, journal, bill, share)
            except BudgetError:
                # What the other machines have left over of theirs, the driver spends.
                return

    return ask


def _open_conversations(
    captions: list[str], prompt: str, params: Decompose, cache: RequestCache
) -> Iterator[Conversation]:
    for caption in captions:
        known: dict[str, Reply] = {}

        def kept(key: str, known: dict[str, Reply] = known) -> Reply | None:
            reply = cache.get(key)
            if reply is not None:
                known[key] = reply
            return reply

        if next_step(caption, prompt, params, kept).request is not None:
            yield caption, known


@contextmanager
def _adopting(cache_file: Path, journals: Path, run: str, bill: Bill, total: int) -> Iterator[None]:
    """Take replies into the cache and onto the bill while the block goes on, and the last of them at its end."""
    over = threading.Event()

    def adopt() -> None:
        with closing(RequestCache(cache_file)) as cache, progress((), "replies", total=total) as bar:
            reader, before, adopted = JournalReader(journals, cache), bill.spent, 0
            while True:
                ended = over.wait(LOOK_SECONDS)
                new = reader.adopt()
                bill.add(new)
                adopted += len(new)
                projected = before + (bill.spent - before) / max(adopted, 1) * max(adopted, total)
                bar.set_postfix_str(f"{bill.spent:.4f} USD spent, {projected:.2f} projected", refresh=False)
                bar.update(len(new))
                if ended:
                    reader.remove(run)
                    return

    thread = threading.Thread(target=adopt)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

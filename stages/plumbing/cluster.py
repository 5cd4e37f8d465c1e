"""Work spread over this machine's cores or, where `RAY_ADDRESS` is set, over a Ray cluster by Ray Data.

Who does what changes neither results nor their order. Every machine of the cluster sees the working folder under the
same path (a network file system, say) and has this project installed.

Environment: `RAY_ADDRESS` is the head's `host:port`, `auto` on a machine of the cluster, or `local`;
`RAY_AUTH_MODE=token` where the cluster wants Ray's token.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
SetUp = Callable[[], Callable[[list[Item]], Result]]

CHUNK = 16  # items that travel together to another process
CONNECTION_SECONDS = 5.0
# A worker starts with its own machine's environment; of the driver's, it gets what decides results. No secrets.
PASSED_ON = ("BIND_AN_AUDIO_", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "CUBLAS_WORKSPACE_CONFIG")


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter."""
    waiting = iter(items)
    return iter(lambda: list(islice(waiting, size)), [])


def core_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores(work: Callable[[Item], Result], items: Sequence[Item], chunk: int = CHUNK) -> Iterator[Result]:
    """Yield `work(item)` of each item, in order: one process a core; this one where there is one core or little work.

    `work`, a module's function or a `functools.partial` of one, travels to other processes, and `chunk` items at a
    time; two chunks are worth a process. Raises what `work` raises, and ValueError where a process was killed.
    """
    processes = min(core_count(), len(items) // (2 * chunk))
    if processes < 2:
        yield from map(work, items)
        return
    # Spawned, not forked: a fork copies locks that the threads of torch or of a progress bar may hold.
    # Ctrl-C reaches them too, and ends them without a traceback of each.
    with ProcessPoolExecutor(processes, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:
        try:
            yield from pool.map(work, items, chunksize=chunk)
        except BrokenProcessPool:
            line = "a process of this stage was killed, most likely for want of memory; free some and run again"
            raise ValueError(line) from None


def map_batches(set_up: SetUp[Item, Result], batches: Iterable[list[Item]], gpu: bool = False) -> Iterator[Result]:
    """Yield the result of each batch, in order.

    `set_up` loads what the work needs and returns the function for one batch; it may travel to other processes. Without
    a cluster a list goes to all cores, each batch set up anew, and an iterator to this process. With `gpu` a worker has
    a GPU of its own, where there are any. Raises ValueError where no cluster answers, and what the work itself raises.
    """
    if os.environ.get("RAY_ADDRESS"):
        with _connection() as ray:
            yield from _mapped(ray, set_up, batches, gpu)
    elif isinstance(batches, Sequence) and not gpu:
        yield from on_all_cores(partial(_once, set_up), batches, chunk=5)
    else:
        yield from map(set_up(), batches)


def _once(set_up: SetUp[Item, Result], batch: list[Item]) -> Result:
    return set_up()(batch)


def _mapped(ray: Any, set_up: SetUp[Item, Result], batches: Iterable[list[Item]], gpu: bool) -> Iterator[Result]:
    resources = ray.cluster_resources()
    kind = "GPU" if gpu and resources.get("GPU") else "CPU"
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    rows = [{"batch": pickle.dumps(batch)} for batch in batches]
    size = max(1, min(int(resources[kind]), len(rows)))
    in_flight = 1 if len(rows) <= size else 2  # none may take two, only because it was up first
    # A block a batch: a worker gets one at a time, and a lost worker costs one.
    dataset = ray.data.from_items(rows, override_num_blocks=max(len(rows), 1)).map(
        _Worker,
        fn_constructor_args=(set_up, str(Path.cwd())),
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=in_flight),
        **{f"num_{kind.lower()}s": 1},
    )
    for row in dataset.iter_rows():
        kind, value = pickle.loads(row["result"])  # noqa: S301 - written by our own worker
        if kind == "error":
            raise value
        yield value


class _Worker:
    """What runs in each process of the cluster. A user's mistake travels back as itself, not as Ray's traceback."""

    def __init__(self, set_up: Callable[[], Callable[[Any], Any]], folder: str) -> None:
        os.chdir(folder)
        self.work = cache(set_up)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            result = "value", self.work()(pickle.loads(row["batch"]))  # noqa: S301 - written by our own driver
        except (ValueError, FileNotFoundError) as error:
            result = "error", error
        return {"result": pickle.dumps(result)}


@contextmanager
def _connection() -> Iterator[Any]:
    """Ray, connected to the cluster and quiet, until the block ends."""
    address = os.environ["RAY_ADDRESS"]
    # Ray's own log stays quiet: what fails is raised here as well. A thread of Ray's that outlives an error must not
    # start a Ray of its own after `ray.shutdown`.
    ours = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ENABLE_AUTO_CONNECT": "0"}
    os.environ.update(ours | os.environ)

    def amiss(what: str) -> ValueError:
        return ValueError(f"RAY_ADDRESS={address}: {what}")

    try:
        import ray
        import ray.data
    except ImportError:
        raise amiss('Ray is not installed; `pip install -c constraints.txt -e ".[cluster]"`') from None
    host, _, port = address.rpartition(":")
    if address not in ("auto", "local"):
        try:
            socket.create_connection((host, int(port)), timeout=CONNECTION_SECONDS).close()
        except (OSError, ValueError, OverflowError) as error:
            remedy = "give the host:port that `ray start --head` printed, or unset it to work on this machine alone"
            raise amiss(f"no Ray head answers there ({error}); {remedy}") from None
    # As many threads as this process would take: their number can show in the last digits.
    environment = {"OMP_NUM_THREADS": str(core_count())}
    environment |= {name: os.environ[name] for name in os.environ if name.startswith(PASSED_ON)}
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": environment})
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        remedy = "(RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on its machines)?"
        line = " ".join(str(error).split())[:200]
        raise amiss(f"{line}; is the cluster up (`ray status`), and does it want a token {remedy}") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()

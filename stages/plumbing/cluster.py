"""Work in batches: in this process, on all its cores or, where `RAY_ADDRESS` is set, over a Ray cluster by Ray Data.

The functions are the same in all cases, and so are their results and their order. Every machine of the cluster sees
the working folder under the same path (a network file system, say) and has this project installed.

Environment: `RAY_ADDRESS` is the head's `host:port`, `auto` on a machine of the cluster, or `local`;
`RAY_AUTH_MODE=token` where the cluster wants Ray's token.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from stages.plumbing.cores import core_count

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECTION_SECONDS = 5.0
# A worker starts with its own machine's environment; of the driver's, it gets what decides results. No secrets.
PASSED_ON = ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "CUBLAS_WORKSPACE_CONFIG")


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


def on_cluster() -> bool:
    """Whether work is spread over a cluster."""
    return bool(os.environ.get("RAY_ADDRESS"))


def map_batches(
    set_up: Callable[[], Callable[[list[Item]], Result]],
    batches: Iterable[list[Item]],
    gpu: bool = False,
    processes: int = 1,
) -> Iterator[Result]:
    """Yield the result of each batch, in order.

    Args:
        set_up: loads what the work needs, once a process, and returns the function for one batch. A module's function
            or a `functools.partial` of one, because it travels to other processes.
        batches: what to work on.
        gpu: whether a worker wants a GPU of its own, where the cluster has any.
        processes: how many work on this machine, where there is no cluster; more than one set up anew for each batch.

    Raises ValueError where the cluster cannot be reached, and what the work itself raises.
    """
    if on_cluster():
        with _connection() as ray:
            yield from _mapped(ray, set_up, batches, gpu)
    elif processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            yield from pool.map(_once, repeat(set_up), batches)
    else:
        yield from map(set_up(), batches)


def cores_for(batches: Sequence[object]) -> int:
    """How many processes are worth their start, of a second or two, where a batch takes some tenths of a second."""
    return min(core_count(), max(1, len(batches) // 10))


def _once(set_up: Callable[[], Callable[[list[Item]], Result]], batch: list[Item]) -> Result:
    return set_up()(batch)


def _mapped(
    ray: Any, set_up: Callable[[], Callable[[list[Item]], Result]], batches: Iterable[list[Item]], gpu: bool
) -> Iterator[Result]:
    resources = ray.cluster_resources()
    wanted = {"num_gpus": 1} if gpu and resources.get("GPU") else {"num_cpus": 1}
    workers = int(resources["GPU" if "num_gpus" in wanted else "CPU"])
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    rows = [{"batch": pickle.dumps(batch)} for batch in batches]
    size = max(1, min(workers, len(rows)))
    # Where each worker has one batch, none may take two because it was up first.
    in_flight = 1 if len(rows) <= size else 2
    # A block a batch: a worker gets one at a time, and a lost worker costs one.
    dataset = ray.data.from_items(rows, override_num_blocks=max(len(rows), 1)).map(
        _Worker,
        fn_constructor_args=(set_up, str(Path.cwd())),
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=in_flight),
        **wanted,
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
        self.set_up = set_up
        self.work: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            if self.work is None:
                self.work = self.set_up()
            result = "value", self.work(pickle.loads(row["batch"]))  # noqa: S301 - written by our own driver
        except (ValueError, FileNotFoundError) as error:
            result = "error", error
        return {"result": pickle.dumps(result)}


@contextmanager
def _connection() -> Iterator[Any]:
    """Ray, connected to the cluster of `RAY_ADDRESS` and quiet, until the block ends."""
    address = os.environ["RAY_ADDRESS"]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is raised here as well
    # A thread of Ray's that outlives an error must not start a Ray of its own after `ray.shutdown`.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise ValueError(
            f'RAY_ADDRESS={address}: Ray is not installed; `pip install -c constraints.txt -e ".[cluster]"`'
        ) from None
    host, _, port = address.rpartition(":")
    if address not in ("auto", "local"):
        try:
            socket.create_connection((host, int(port)), timeout=CONNECTION_SECONDS).close()
        except (OSError, ValueError, OverflowError) as error:
            raise ValueError(
                f"RAY_ADDRESS={address}: no Ray head answers there ({error}); give the host:port that "
                "`ray start --head` printed, or unset it to work on this machine alone"
            ) from None
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # As many threads as this process would take: their number can show in the last digits.
    environment.setdefault("OMP_NUM_THREADS", str(core_count()))
    environment |= {name: value for name, value in os.environ.items() if name.startswith("BIND_AN_AUDIO_")}
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": environment})
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        line = " ".join(str(error).split())[:200]
        raise ValueError(
            f"RAY_ADDRESS={address}: {line}; is the cluster up (`ray status`), and does it want a token "
            "(RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on its machines)?"
        ) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()

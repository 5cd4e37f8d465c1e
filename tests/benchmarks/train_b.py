"""An epoch of experiment B over 50,000 cached pairs, beside the machine.

The published size with random weights. Some updates at batch 4, 32 and 256 (7.5 GB) are measured in the loop that the
stage uses and multiplied. The limit is the operations at the rate of one large product, and 28
bytes a parameter (AdamW reads weight, gradient and moments and writes all but the gradient) at the rate of a copy. The
pairs are a file of zeros without blocks on the disk, mapped as the stage maps it.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stages.embedding.embeddings import EMPTY, Embeddings, load_embeddings
from stages.experiments import training_b
from stages.experiments.experiment_b import ExperimentB
from stages.experiments.training import teraflops_per_update
from stages.params.experiments import TrainB
from stages.params.schema import load_params
from stages.training.determinism import be_deterministic
from stages.training.loop import PLAIN_REGIME
from tests.benchmarks.table import Row, timed
from tests.benchmarks.updates import ROOT, Training, caught, products_a_second, seconds_an_update

PAIRS = 50_000


@dataclass(frozen=True)
class Size:
    """Sizes of what a pair becomes: tokens of a caption, width of contexts and embeddings, columns of a latent."""

    tokens: int
    context: int
    embedding: int
    columns: int


FULL, SMALL = Size(77, 1024, 1024, 78), Size(32, 128, 128, 20)


def rows(small: bool) -> list[Row]:
    """One row a batch size."""
    be_deterministic()
    size, pairs = (SMALL, 300) if small else (FULL, PAIRS)
    params = load_params(ROOT / ("params.yaml" if small else "presets/full.yaml")).train_b
    rate, copied = products_a_second(256 if small else 2048), bytes_a_second(1_000_000 if small else 50_000_000)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        write_zeros(Path(folder) / "train.safetensors", pairs, size)
        # Zeros would stand for missing embeddings.
        ones = torch.ones(1, size.embedding).expand(pairs, -1)
        data = replace(load_embeddings("train", Path(folder)), text=ones, image=ones)
        operations = 0.0
        for batch, updates in ((4, 6), (32, 3), (256, 3)):
            training = training_of_b(params.model_copy(update={"batch_size": batch}), data, Path(folder))
            # Counted at the smallest batch, of which the others are multiples.
            if not operations:
                operations = 1e12 * teraflops_per_update(training.network, training.loss, PLAIN_REGIME) / batch
            parameters = sum(parameter.numel() for parameter in training.network.parameters())
            limit = batch * operations / rate + 28 * parameters / copied
            with most_resident() as most:
                seconds, count = seconds_an_update(training, updates), pairs // batch
            what = (
                f"an epoch of B over {pairs} pairs at batch {batch}, from {seconds:.3g} s an update, "
                f"{limit:.3g} s by products and AdamW's bytes; {most():.1f} GB of own memory at most"
            )
            found.append(Row(f"train_b_epoch_batch_{batch}", what, count * seconds, limit_s=count * limit))
    return found


def training_of_b(params: TrainB, data: Embeddings, work: Path) -> Training:
    """What the stage hands to the loop."""
    config = {"fusion": params.fusion, "embedding_dim": data.text.shape[1]}
    config |= params.model_dump(include={"width", "blocks", "heads", "linear_path", "centre"})
    network = ExperimentB(config, torch.zeros(data.clap_tokens.shape[1:]))
    return caught(training_b, training_b.align, params, network, data, data, None, work)


def write_zeros(path: Path, pairs: int, size: Size) -> None:
    """A split's file of zeros, which takes no room on the disk."""
    shapes: dict[str, tuple[str, list[int]]] = {
        "clap_lengths": ("I64", [pairs]),
        "clap_tokens": ("F32", [pairs, size.tokens, size.context]),
        EMPTY: ("F32", [size.tokens, size.context]),
        "image": ("F32", [pairs, size.embedding]),
        "latents": ("F32", [pairs, 4, 10, size.columns]),
        "text": ("F32", [pairs, size.embedding]),
    }
    header: dict[str, Any] = {"__metadata__": {"ids": str([*range(pairs)])}}
    end = 0
    for name, (kind, shape) in shapes.items():
        begin, end = end, end + (8 if kind == "I64" else 4) * torch.Size(shape).numel()
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def bytes_a_second(count: int) -> float:
    """Bytes read and written a second by a copy of `count` numbers, the best of five."""
    source, target = torch.zeros(count), torch.zeros(count)
    return 8 * count / min(timed(lambda: target.copy_(source)) for _ in range(5))


def resident() -> float:
    """Gigabytes that are this process's own, mapped files aside."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("RssAnon"))


@contextmanager
def most_resident() -> Iterator[Callable[[], float]]:
    """The most of `resident` within the block, looked at every hundredth of a second."""
    seen, ended = [resident()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(seen)
    finally:
        ended.set()
        watcher.join()

"""How a step of `tests.gpu.run` is measured, on the device and against the CPU."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from stages.plumbing.device import device
from tests.gpu.run import Numbers

Result = TypeVar("Result")


def measured(run: Callable[[], Result], times: int = 1) -> tuple[Result, Numbers]:
    """Call so often; return the last result, and seconds and peak memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(times):
        synchronize()
        begun = time.perf_counter()
        result = run()
        synchronize()
        seconds.append(time.perf_counter() - begun)
    if device().startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 1e9
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    found = {"seconds": round(statistics.median(seconds[1:] or seconds), 4), "peak_gb": round(peak, 3)}
    return result, found | ({"first_s": round(seconds[0], 4)} if times > 1 else {})


def synchronize() -> None:
    """Wait for the card, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def on(where: str) -> Iterator[None]:
    """Within it, networks run there."""
    before = os.environ.get("BIND_AN_AUDIO_DEVICE")
    os.environ["BIND_AN_AUDIO_DEVICE"] = where
    try:
        yield
    finally:
        os.environ.pop("BIND_AN_AUDIO_DEVICE")
        if before is not None:
            os.environ["BIND_AN_AUDIO_DEVICE"] = before


@contextmanager
def without_tf32() -> Iterator[None]:
    """Within it, a card's float32 convolutions are of 32 bits, as its matrix products are anyway."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def gradients_of(network: nn.Module) -> Tensor:
    """All gradients in a row, on the CPU."""
    return torch.cat([one.grad.flatten().cpu() for one in network.parameters() if one.grad is not None])


def on_both(gradients: Callable[[], Tensor]) -> Numbers:
    """The difference of the device's gradients from the CPU's, both in float32."""
    with without_tf32():
        found = gradients()
    with on("cpu"):
        return {"difference": difference(found, gradients())}


def difference(found: Tensor | Mapping[str, Tensor], truth: Tensor | Mapping[str, Tensor]) -> float:
    """The largest difference as a share of the largest value; of named tensors the largest of theirs."""
    if isinstance(found, Mapping) and isinstance(truth, Mapping):
        return max(difference(found[name].float(), truth[name].float()) for name in truth)
    assert isinstance(found, Tensor)
    assert isinstance(truth, Tensor)
    largest = max(float(truth.abs().max()), 1e-30)
    return float(f"{float((found - truth).abs().max()) / largest:.2e}")

"""A network's forward pass on a card, recorded once for each shape and then replayed as a CUDA graph.

A clip takes the same few calls again and again, of thousands of kernels each, and one at a time Python cannot start
them as fast as a card computes them. Replayed, they are the same kernels and give the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

KEPT = 4  # shapes; a recording holds the memory that its pass needs
WARM_UPS = 3


@dataclass(frozen=True)
class RecordedPass:
    """The tensors that a recorded pass reads, the pass, and what it writes."""

    given: dict[str | int, Tensor]
    graph: Any
    made: Tensor


class Replayed:
    """A call for inference on a card: the first of its shapes is recorded, the next ones are replayed.

    The call takes and returns tensors alone, and which kernels it runs hangs on their shapes and not on their values.
    """

    def __init__(self, call: Callable[..., Tensor], where: str) -> None:
        self.call, self.where = call, where
        self.recordings: dict[tuple[Any, ...], RecordedPass] = {}

    def __call__(self, *unnamed: Tensor, **named: Tensor) -> Tensor:
        """What the call returns, in memory of its own."""
        given: dict[str | int, Tensor] = dict(enumerate(unnamed)) | named
        shapes = tuple((key, tensor.shape) for key, tensor in given.items())
        if shapes not in self.recordings:
            if len(self.recordings) == KEPT:
                del self.recordings[next(iter(self.recordings))]
            self.recordings[shapes] = self._record(given)
        recording = self.recordings[shapes]
        for key, tensor in given.items():
            recording.given[key].copy_(tensor)
        recording.graph.replay()
        return recording.made.clone()

    def _record(self, given: dict[str | int, Tensor]) -> RecordedPass:
        """Run the call beside the current stream first, as libraries set themselves up then, and record the next."""
        own = {key: tensor.to(self.where, copy=True) for key, tensor in given.items()}
        unnamed = [tensor for key, tensor in own.items() if isinstance(key, int)]
        named = {key: tensor for key, tensor in own.items() if isinstance(key, str)}
        beside, current = torch.cuda.Stream(), torch.cuda.current_stream()
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                self.call(*unnamed, **named)
        current.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            made = self.call(*unnamed, **named)
        return RecordedPass(own, graph, made)

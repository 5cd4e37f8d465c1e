"""Seeds and deterministic torch: the same inputs give the same bytes on one machine."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from the parts' text, equal in every process: `derive_seed(3, "clip-00012")`."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def be_deterministic(seed: int = 0) -> None:
    """Seed torch for the networks' initial weights and refuse operations without a deterministic form."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Filling new memory would show who reads it before writing; nobody does, and it takes 4 % of an update.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def batch_indices(update: int, count: int, batch_size: int, *seed: str | int) -> torch.Tensor:
    """Indices `[B]` of the batch at `update`: every epoch is a fresh permutation, its remainder is dropped.

    A function of its arguments alone, so that a resumed run sees the batches that it would have seen.
    """
    batch_size = min(batch_size, count)
    per_epoch = count // batch_size
    epoch, position = divmod(update, per_epoch)
    generator = torch.Generator().manual_seed(derive_seed(*seed, epoch))
    order = torch.randperm(count, generator=generator)
    return order[position * batch_size : (position + 1) * batch_size]

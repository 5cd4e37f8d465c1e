"""`data/embeddings/<split>.safetensors`: everything that training reads, so that no frozen tower runs there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from stages.formats.files import replacing

EMBEDDINGS = Path("data/embeddings")
EMPTY = "empty_tokens"

# A few rows of each tensor of `Embeddings`; of the last, which has none, the whole.
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Embeddings:
    """One split's tensors, row i belonging to `ids[i]`.

    text: ImageBind's text embeddings `[N, D]` of length 1.
    image: ImageBind's image embeddings `[N, D]` of length 1.
    clap_tokens: CLAP's text token features of the full captions `[N, T, C]`.
    clap_lengths: tokens that are no padding, `[N]`.
    latents: scaled mel latents `[N, L, 10, W]`.
    empty_tokens: CLAP's token features of "" `[T, C]`.
    """

    ids: list[str]
    text: Tensor
    image: Tensor
    clap_tokens: Tensor
    clap_lengths: Tensor
    latents: Tensor
    empty_tokens: Tensor

    def rows(self, indices: Tensor) -> Embeddings:
        """The rows at `indices` `[B]` alone, in memory."""
        parts = {name: tensor[indices] for name, tensor in self.tensors().items() if name != EMPTY}
        return Embeddings([self.ids[index] for index in indices.tolist()], **parts, empty_tokens=self.empty_tokens)

    def to(self, device: str) -> Embeddings:
        """The same with its tensors on another device."""
        return Embeddings(self.ids, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Each tensor by its name."""
        return {name: tensor for name, tensor in vars(self).items() if name != "ids"}


def write_embeddings(path: Path, ids: Sequence[str], batches: Iterable[Batch]) -> None:
    """Write a split as one safetensors file with the ids among its metadata.

    Each tensor's rows go into a file of its own first, a batch after the other, and are mapped from there, so that
    memory does not grow with the split; the disk holds it twice meanwhile.
    """
    shapes: dict[str, list[int]] = {}
    with TemporaryDirectory(dir=path.parent) as folder:
        for batch in batches:
            for name, tensor in batch.items():
                if name != EMPTY:
                    shape = shapes.setdefault(name, [0, *tensor.shape[1:]])
                    shape[0] += len(tensor)
                    with open(f"{folder}/{name}", "ab") as file:
                        file.write(tensor.contiguous().numpy().data)
        assert shapes["text"][0] == len(ids), f"{shapes['text'][0]} rows for {len(ids)} ids"
        whole = {
            name: torch.from_file(f"{folder}/{name}", size=math.prod(shape), dtype=batch[name].dtype).view(shape)
            for name, shape in shapes.items()
        }
        save_file({**whole, EMPTY: batch[EMPTY]}, path, metadata={"ids": json.dumps(ids)})


def keep_rows(path: Path, indices: Sequence[int], at_once: int = 32) -> None:
    """Write a split's file anew with the rows at `indices` alone."""
    with replacing(path) as temporary:
        whole = load_embeddings(path.stem, path.parent)
        parts = (whole.rows(part) for part in torch.tensor(indices).split(at_once))
        write_embeddings(temporary, [whole.ids[index] for index in indices], (part.tensors() for part in parts))


def load_embeddings(split: str, folder: Path = EMBEDDINGS) -> Embeddings:
    """Read a split; its tensors are mapped, so that of the file only the rows that are used are in memory."""
    with safe_open(folder / f"{split}.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        return Embeddings(ids=json.loads(file.metadata()["ids"]), **tensors)

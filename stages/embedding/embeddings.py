"""`data/embeddings/<split>.safetensors`: everything that training reads, so that no frozen tower runs there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor, dtype, float32, int64

from stages.formats.files import replacing

EMBEDDINGS = Path("data/embeddings")
EMPTY = "empty_tokens"
DTYPES = {float32: "F32", int64: "I64"}

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
    """Write a split as one safetensors file, a batch after the other, with the ids among its metadata.

    The bytes are those that `safetensors.torch.save_file` writes of the whole split, which it would want in memory:
    the shapes follow from the first batch and the number of ids, so every row's offset is known.
    """
    with open(path, "wb") as file:
        offsets: dict[str, int] = {}
        done = 0
        for batch in batches:
            rows = {name: tensor for name, tensor in batch.items() if name != EMPTY}
            if not offsets:
                shapes = {name: (len(ids), *tensor.shape[1:]) for name, tensor in rows.items()}
                shapes[EMPTY] = tuple(batch[EMPTY].shape)
                offsets = _write_header(file, {name: (shapes[name], batch[name].dtype) for name in batch}, ids)
                _write_at(file, offsets[EMPTY], batch[EMPTY])
            for name, tensor in rows.items():
                row_bytes = tensor[0].numel() * tensor.element_size()
                _write_at(file, offsets[name] + done * row_bytes, tensor)
            done += len(rows["text"])
    assert done == len(ids), f"{done} rows for {len(ids)} ids"


def keep_rows(path: Path, indices: Sequence[int], at_once: int = 32) -> None:
    """Write a split's file anew with the rows at `indices` alone."""
    with replacing(path) as temporary:
        whole = load_embeddings(path.stem, path.parent)
        parts = (whole.rows(part) for part in torch.tensor(indices).split(at_once))
        write_embeddings(temporary, [whole.ids[index] for index in indices], (part.tensors() for part in parts))


def _write_header(
    file: BinaryIO, layout: dict[str, tuple[tuple[int, ...], dtype]], ids: Sequence[str]
) -> dict[str, int]:
    """Write safetensors' header (its length in 8 bytes, then JSON filled up to 8 bytes); return tensors' offsets."""
    header: dict[str, Any] = {"__metadata__": {"ids": json.dumps(ids)}}
    offsets: dict[str, int] = {}
    end = 0
    # As the library sorts them: the widest type first, then by name.
    for name, (shape, kind) in sorted(layout.items(), key=lambda item: (-item[1][1].itemsize, item[0])):
        offsets[name], end = end, end + math.prod(shape) * kind.itemsize
        header[name] = {"dtype": DTYPES[kind], "shape": list(shape), "data_offsets": [offsets[name], end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return {name: 8 + len(text) + offset for name, offset in offsets.items()}


def _write_at(file: BinaryIO, offset: int, tensor: Tensor) -> None:
    file.seek(offset)
    file.write(tensor.contiguous().numpy().tobytes())


def load_embeddings(split: str, folder: Path = EMBEDDINGS) -> Embeddings:
    """Read a split; its tensors are mapped, so that of the file only the rows that are used are in memory."""
    with safe_open(folder / f"{split}.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        return Embeddings(ids=json.loads(file.metadata()["ids"]), **tensors)

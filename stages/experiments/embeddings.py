"""`data/embeddings/<split>.safetensors`: everything that training reads, so that no frozen tower runs there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

EMBEDDINGS = Path("data/embeddings")


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

    def to(self, device: str) -> Embeddings:
        """The same split with its tensors on another device."""
        return Embeddings(self.ids, **{name: value.to(device) for name, value in vars(self).items() if name != "ids"})


def save_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write a split as one safetensors file, the ids among its metadata."""
    tensors = {name: value for name, value in vars(embeddings).items() if name != "ids"}
    save_file(tensors, path, metadata={"ids": json.dumps(embeddings.ids)})


def load_embeddings(split: str, folder: Path = EMBEDDINGS) -> Embeddings:
    """Read a split."""
    with safe_open(folder / f"{split}.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        return Embeddings(ids=json.loads(file.metadata()["ids"]), **tensors)

"""What both experiments share: fusion, one embedding out of a text's and an image's, and how a run is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.formats.files import write_json
from stages.params.experiments import FusionKind

CONFIG, WEIGHTS = "config.json", "best.safetensors"
TEXT_SCALE = 100.0  # what ImageBind's own text output is multiplied by: a learned scale, held below this
HEADS = 4


class Fusion(nn.Module):
    """One embedding out of a text's and an image's, each brought to length 1 first.

    kind: `mean` averages. `raw_mean` averages what ImageBind gives, whose text carries a scale: almost all text.
        `weighted` learns the text's share; in `attention` a learned query attends to both; `text`, `image` take one.
    centre: takes a mean off each modality, see `centre_on`.

    An embedding of zeros is a missing one: the other stands alone. Two attributes matter in training alone:
    `modality_dropout`, the share of pairs that lose their text or, as often, their image, and `noise`, the length of
    the random vector that is added to the fused embedding.
    """

    text_mean: Tensor
    image_mean: Tensor

    def __init__(self, kind: FusionKind, embedding_dim: int, centre: bool = False) -> None:
        super().__init__()
        self.kind, self.centre, self.modality_dropout, self.noise = kind, centre, 0.0, 0.0
        self.text_logit = nn.Parameter(torch.zeros(())) if kind == "weighted" else None
        if kind == "attention":
            self.places = nn.Parameter(0.02 * torch.randn(3, embedding_dim))  # of query, text and image
            self.attention = nn.MultiheadAttention(embedding_dim, HEADS, batch_first=True)
        if centre:
            self.register_buffer("text_mean", torch.zeros(embedding_dim))
            self.register_buffer("image_mean", torch.zeros(embedding_dim))

    def centre_on(self, text: Tensor, image: Tensor) -> None:
        """From now on take the means of these embeddings `[N, D]` off (Zhang et al. 2024, C3, arXiv 2401.08567)."""
        self.text_mean, self.image_mean = (nn.functional.normalize(one, dim=-1).mean(0) for one in (text, image))

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Text and image embeddings `[B, D]` to fused ones `[B, D]`.

        Raises ValueError where what `kind` reads is missing.
        """
        both = torch.stack([text, image], dim=1)
        there = (both != 0).any(dim=-1)
        if self.training and self.modality_dropout:
            lost = torch.rand(len(both), 1) < self.modality_dropout
            which = nn.functional.one_hot(torch.randint(2, (len(both),)), 2).bool()
            there = there & ~(lost & which).to(there.device)
        both = nn.functional.normalize(both, dim=-1)
        if self.centre:
            both = nn.functional.normalize(both - torch.stack([self.text_mean, self.image_mean]), dim=-1)
        fused = self._attend(both, there) if self.kind == "attention" else self._average(both, there)
        if self.training and self.noise:
            fused = fused + self.noise * torch.randn(fused.shape).to(fused.device) / fused.shape[-1] ** 0.5
        return fused

    def _average(self, both: Tensor, there: Tensor) -> Tensor:
        shares = both.new_tensor({"text": [1.0, 0.0], "image": [0.0, 1.0]}.get(self.kind, [0.5, 0.5]))
        if self.text_logit is not None:
            shares = torch.stack([self.text_logit, -self.text_logit]).sigmoid()
        shares = shares * there
        total = shares.sum(dim=1, keepdim=True)
        if not total.all():
            raise ValueError(f"fusion {self.kind}: what it reads is missing; give it, or take an experiment of both")
        shares = shares / total
        if self.kind == "raw_mean":
            shares = shares * shares.new_tensor([TEXT_SCALE, 1.0])
        return (shares[..., None] * both).sum(dim=1)

    def _attend(self, both: Tensor, there: Tensor) -> Tensor:
        query = self.places[0].expand(len(both), 1, -1)
        attended, _ = self.attention(query, both + self.places[1:], both, key_padding_mask=~there, need_weights=False)
        fused: Tensor = attended[:, 0]
        return fused


def save_experiment(folder: Path, config: dict[str, Any], best: dict[str, Tensor]) -> None:
    """Write the best weights and the sizes that build their network again."""
    write_json(folder / CONFIG, config)
    save_file({name: tensor.contiguous() for name, tensor in best.items()}, folder / WEIGHTS)

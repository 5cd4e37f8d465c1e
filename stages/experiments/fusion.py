"""Fusion: one embedding out of a text's and an image's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Average of the two embeddings, each of length 1 first; `weighted` learns the text's share.

    Without the first step the average would be almost all text: ImageBind's text embedding carries a learned scale.
    """

    def __init__(self, kind: Literal["mean", "weighted"]) -> None:
        super().__init__()
        self.text_logit = nn.Parameter(torch.zeros(())) if kind == "weighted" else None

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Text and image embeddings `[B, D]` to fused ones `[B, D]`."""
        text, image = nn.functional.normalize(text, dim=-1), nn.functional.normalize(image, dim=-1)
        if self.text_logit is None:
            return (text + image) / 2
        share = self.text_logit.sigmoid()
        return share * text + (1 - share) * image

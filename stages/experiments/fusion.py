"""What both experiments share: fusion, one embedding out of a text's and an image's, and how a run is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.formats.files import write_json

CONFIG, WEIGHTS = "config.json", "best.safetensors"


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


def save_experiment(folder: Path, config: dict[str, Any], best: dict[str, Tensor]) -> None:
    """Write the best weights and the sizes that build their network again."""
    write_json(folder / CONFIG, config)
    save_file({name: tensor.contiguous() for name, tensor in best.items()}, folder / WEIGHTS)

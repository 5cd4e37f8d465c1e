"""Experiment A, direct replacement: the fused embedding, projected, stands where CLAP's token features stood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from stages.experiments.fusion import CONFIG, WEIGHTS, Fusion
from stages.formats.files import read_json
from stages.synthesis.unet import BACKBONE, Denoiser, build_like

EXPERIMENT_A = Path("models/experiment_a")


class ContextProjection(nn.Module):
    """Fused embedding `[B, D]` to a context `[B, length, C]` of `tokens` different tokens, each repeated equally.

    Attention over equally repeated tokens gives what attention over the tokens once gives, so the repetition only
    makes the context as long as the features of "", and both branches of guidance run in one batch.
    """

    def __init__(self, embedding_dim: int, context_dim: int, tokens: int, length: int) -> None:
        super().__init__()
        if length % tokens:
            raise ValueError(f"train_a.context_tokens={tokens} does not divide {length}, CLAP's tokens; take 1")
        self.tokens, self.length = tokens, length
        self.layers = nn.Sequential(
            nn.Linear(embedding_dim, 2 * context_dim),
            nn.GELU(),
            nn.Linear(2 * context_dim, tokens * context_dim),
        )
        self.norm = nn.LayerNorm(context_dim)

    def forward(self, fused: Tensor) -> Tensor:
        """Project `[B, D]` to `[B, length, C]`; the norm brings it to the scale of CLAP's features."""
        tokens = self.norm(self.layers(fused).unflatten(1, (self.tokens, -1)))
        repeated: Tensor = tokens.repeat_interleave(self.length // self.tokens, dim=1)
        return repeated


class ExperimentA(nn.Module):
    """What is trained: fusion, projection and a U-Net that starts as the backbone's.

    `config` holds `fusion`, `embedding_dim` D, `context_dim` C, `context_tokens` and `length` T.
    """

    def __init__(self, config: dict[str, Any], denoiser: Denoiser) -> None:
        super().__init__()
        self.fusion = Fusion(config["fusion"], config["embedding_dim"])
        self.projection = ContextProjection(
            config["embedding_dim"], config["context_dim"], config["context_tokens"], config["length"]
        )
        self.denoiser = denoiser

    def context(self, text: Tensor, image: Tensor) -> Tensor:
        """Text and image embeddings `[B, D]` to the U-Net's context `[B, T, C]`."""
        context: Tensor = self.projection(self.fusion(text, image))
        return context


def load_experiment_a(folder: Path = EXPERIMENT_A, backbone: Path = BACKBONE) -> ExperimentA:
    """Experiment A as trained, frozen, for evaluation; its U-Net is its own, in the shape of the backbone's."""
    network = ExperimentA(read_json(folder / CONFIG), build_like(backbone))
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.eval().requires_grad_(False)

"""Experiment B, CLAP alignment: the fused embedding becomes a token sequence like CLAP's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from stages.experiments.fusion import CONFIG, WEIGHTS, Fusion
from stages.formats.files import read_json
from stages.params.experiments import LossWeights

EXPERIMENT_B = Path("models/experiment_b")


class TokenGenerator(nn.Module):
    """Fused embedding `[B, D]` to token features `[B, T, C]`: learned queries, a transformer, CLAP's mean tokens.

    The transformer gives the difference to the training set's mean token sequence, which is where it starts from.
    """

    mean_tokens: Tensor

    def __init__(self, embedding_dim: int, mean_tokens: Tensor, width: int, blocks: int, heads: int) -> None:
        super().__init__()
        length, context_dim = mean_tokens.shape
        self.register_buffer("mean_tokens", mean_tokens.clone())
        self.queries = nn.Parameter(0.02 * torch.randn(length, width))
        self.enter = nn.Linear(embedding_dim, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, context_dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, fused: Tensor) -> Tensor:
        """Generate `[B, T, C]` from `[B, D]`; the embedding is scaled to unit variance on entry."""
        scaled = fused * fused.shape[-1] ** 0.5
        hidden = self.queries[None] + self.enter(scaled)[:, None]
        tokens: Tensor = self.mean_tokens + self.leave(self.norm(self.blocks(hidden)))
        return tokens


class ExperimentB(nn.Module):
    """What is trained: fusion and token generator.

    `config` holds `fusion`, `embedding_dim` D, `width`, `blocks` and `heads`; `mean_tokens` `[T, C]` becomes one of the
    weights.
    """

    def __init__(self, config: dict[str, Any], mean_tokens: Tensor) -> None:
        super().__init__()
        self.fusion = Fusion(config["fusion"])
        self.generator = TokenGenerator(
            config["embedding_dim"], mean_tokens, config["width"], config["blocks"], config["heads"]
        )

    def context(self, text: Tensor, image: Tensor) -> Tensor:
        """Text and image embeddings `[B, D]` to the U-Net's context `[B, T, C]`."""
        context: Tensor = self.generator(self.fusion(text, image))
        return context


def load_experiment_b(folder: Path = EXPERIMENT_B) -> ExperimentB:
    """Experiment B as trained, frozen, for evaluation."""
    weights = load_file(folder / WEIGHTS)
    network = ExperimentB(read_json(folder / CONFIG), weights["generator.mean_tokens"])
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def alignment_loss(predicted: Tensor, target: Tensor, weights: LossWeights) -> Tensor:
    """`mse * MSE + cosine * (1 - cosine similarity)`, the similarity over the feature dimension of `[B, T, C]`."""
    squared = F.mse_loss(predicted, target)
    distance = 1 - F.cosine_similarity(predicted, target, dim=-1).mean()
    return weights.mse * squared + weights.cosine * distance


def alignment_report(predicted: Tensor, target: Tensor, lengths: Tensor) -> dict[str, float]:
    """MSE and cosine similarity on the positions of words and of padding apart.

    Args:
        predicted: token features `[B, T, C]`.
        target: CLAP's token features `[B, T, C]`.
        lengths: number of tokens that are no padding, `[B]`.
    """
    words = torch.arange(target.shape[1])[None] < lengths[:, None]
    squared = (predicted - target).square().mean(dim=-1)
    cosine = F.cosine_similarity(predicted, target, dim=-1)
    return {
        "mse_words": float(squared[words].mean()),
        "mse_padding": float(squared[~words].mean()),
        "cosine_words": float(cosine[words].mean()),
        "cosine_padding": float(cosine[~words].mean()),
    }

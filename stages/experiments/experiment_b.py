"""Experiment B, CLAP alignment: the fused embedding becomes a token sequence like CLAP's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.experiments.fusion import CONFIG, WEIGHTS, Fusion
from stages.experiments.token_flow import TokenFlow, transformer
from stages.formats.files import read_json

EXPERIMENT_B = Path("models/experiment_b")
SIZES = ("width", "blocks", "heads", "linear_path")


class TokenGenerator(nn.Module):
    """Fused embedding `[B, D]` to token features `[B, T, C]`: learned queries, a transformer, CLAP's mean tokens.

    The transformer gives the difference to the training set's mean token sequence, which is where it starts from.
    With `linear_path`, a linear map from the embedding to all tokens is added: what goes through the transformer has
    its `width` alone to pass.
    """

    mean_tokens: Tensor

    def __init__(
        self, embedding_dim: int, mean_tokens: Tensor, width: int, blocks: int, heads: int, linear_path: bool = False
    ) -> None:
        super().__init__()
        length, context_dim = mean_tokens.shape
        self.register_buffer("mean_tokens", mean_tokens.clone())
        self.queries = nn.Parameter(0.02 * torch.randn(length, width))
        self.enter = nn.Linear(embedding_dim, width)
        self.blocks = transformer(width, blocks, heads)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, context_dim)
        self.linear_path = nn.Linear(embedding_dim, length * context_dim, bias=False) if linear_path else None
        for layer_from_zero in (self.leave, self.linear_path):
            for parameter in layer_from_zero.parameters() if layer_from_zero is not None else ():
                nn.init.zeros_(parameter)

    def forward(self, fused: Tensor) -> Tensor:
        """Generate `[B, T, C]` from `[B, D]`; the embedding is scaled to unit variance on entry."""
        scaled = fused * fused.shape[-1] ** 0.5
        hidden = self.queries[None] + self.enter(scaled)[:, None]
        tokens: Tensor = self.mean_tokens + self.leave(self.norm(self.blocks(hidden)))
        if self.linear_path is not None:
            tokens = tokens + self.linear_path(scaled).unflatten(1, self.mean_tokens.shape)
        return tokens


class ExperimentB(nn.Module):
    """What is trained: fusion, token generator and, where it has one, the flow.

    `config` holds `fusion`, `embedding_dim` D, `width`, `blocks` and `heads`, and may hold `linear_path`, `centre` and
    `flow`; `mean_tokens` `[T, C]` becomes one of the weights.
    """

    def __init__(self, config: dict[str, Any], mean_tokens: Tensor) -> None:
        super().__init__()
        self.fusion = Fusion(config["fusion"], config["embedding_dim"], config.get("centre", False))
        sizes = {name: config[name] for name in SIZES if name in config}
        self.generator = TokenGenerator(config["embedding_dim"], mean_tokens, **sizes)
        self.flow: TokenFlow | None = None
        if "flow" in config:
            self.flow = TokenFlow(mean_tokens, config["width"], config["blocks"], config["heads"], **config["flow"])

    def predict(self, text: Tensor, image: Tensor) -> Tensor:
        """Text and image embeddings `[B, D]` to CLAP's most likely tokens `[B, T, C]`."""
        predicted: Tensor = self.generator(self.fusion(text, image))
        return predicted

    def context(self, text: Tensor, image: Tensor, seeds: Sequence[int] = ()) -> Tensor:
        """Text and image embeddings `[B, D]` to the U-Net's context `[B, T, C]`, by a flow drawn with a seed a row."""
        predicted = self.predict(text, image)
        if self.flow is None:
            return predicted
        assert len(seeds) == len(predicted), "a flow draws each row's tokens by a seed of its own"
        return self.flow.draw(predicted, seeds)


def load_experiment_b(folder: Path = EXPERIMENT_B) -> ExperimentB:
    """Experiment B as trained, frozen, for evaluation."""
    weights = load_file(folder / WEIGHTS)
    network = ExperimentB(read_json(folder / CONFIG), weights["generator.mean_tokens"])
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)

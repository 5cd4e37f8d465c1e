"""Experiment A, direct replacement: the fused embedding, projected, stands where CLAP's token features stood."""

from __future__ import annotations

from torch import Tensor, nn


class ContextProjection(nn.Module):
    """Fused embedding `[B, D]` to a context `[B, length, C]` of `tokens` different tokens, each repeated equally.

    Attention over equally repeated tokens gives what attention over the tokens once gives, so the repetition only
    makes the context as long as the features of "", and both branches of guidance run in one batch.
    """

    def __init__(self, embedding_dim: int, context_dim: int, tokens: int, length: int) -> None:
        super().__init__()
        if length % tokens:
            raise ValueError(f"train_a.context_tokens={tokens} does not divide {length}; take 1, 7, 11 or 77")
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

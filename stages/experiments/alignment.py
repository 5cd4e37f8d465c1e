"""How near predicted token sequences come to CLAP's: experiment B's loss, its report, and what needs no training.

Token features are `[B, T, C]`; `lengths` `[B]` says how many tokens are no padding. The first token is CLAP's embedding
of the whole caption.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.embedding.embeddings import Embeddings
from stages.experiments.fusion import Fusion
from stages.params.experiments import LossWeights, PositionWeights

TEMPERATURE = 0.07
RIDGE = 0.03  # in units of the embeddings' mean variance
ROWS = 256


def alignment_loss(predicted: Tensor, target: Tensor, weights: LossWeights, importance: Tensor | None = None) -> Tensor:
    """`mse * MSE + cosine * (1 - cosine similarity)`, the similarity over the feature dimension of `[B, T, C]`.

    `importance` `[B, T]` weighs tokens; left out, all count alike, which is the published loss.
    """
    shares = torch.ones(target.shape[:2], device=target.device) if importance is None else importance
    shares = shares / shares.sum()
    squared = (shares * (predicted - target).square().mean(dim=-1)).sum()
    distance = 1 - (shares * F.cosine_similarity(predicted, target, dim=-1)).sum()
    return weights.mse * squared + weights.cosine * distance


def token_importance(lengths: Tensor, tokens: int, weights: PositionWeights) -> Tensor:
    """`[B, tokens]`: what each token counts, by its place."""
    place = torch.arange(tokens, device=lengths.device)[None]
    importance = torch.where(place < lengths[:, None], weights.words, weights.padding)
    return torch.where(place == 0, weights.first, importance)


def contrastive_loss(predicted: Tensor, target: Tensor, mean: Tensor) -> Tensor:
    """InfoNCE (van den Oord et al. 2018): which of the batch's captions a first token `[B, C]` is of; `mean` `[C]`.

    As in ECLIPSE (Patel et al. 2024, equation 6), on what is left of the features without their mean.
    """
    similarity = F.normalize(predicted - mean, dim=-1) @ F.normalize(target - mean, dim=-1).T
    return F.cross_entropy(similarity / TEMPERATURE, torch.arange(len(target), device=target.device))


def alignment_report(predicted: Tensor, target: Tensor, lengths: Tensor, mean_tokens: Tensor) -> dict[str, float]:
    """Errors at the first token, at all words (the first among them) and at the padding.

    mse, cosine: of prediction and target.
    explained: share of the targets' variance around `mean_tokens` `[T, C]` that is predicted; 1 at best.
    variance: the predictions' variance around it as a share of the targets'; below 1 is regression to the mean.
    """
    place = torch.arange(target.shape[1], device=lengths.device)[None]
    groups = {
        "first": (place == 0).expand(len(target), -1),
        "words": place < lengths[:, None],
        "padding": place >= lengths[:, None],
    }
    squared = (predicted - target).square().mean(dim=-1)
    cosine = F.cosine_similarity(predicted, target, dim=-1)
    own, wanted = ((tokens - mean_tokens).square().mean(dim=-1) for tokens in (predicted, target))
    report = {}
    for name, group in groups.items():
        if group.any():
            variance = float(wanted[group].mean().clamp(min=1e-12))
            report[f"mse_{name}"] = float(squared[group].mean())
            report[f"cosine_{name}"] = float(cosine[group].mean())
            report[f"explained_{name}"] = 1 - report[f"mse_{name}"] / variance
            report[f"variance_{name}"] = float(own[group].mean()) / variance
    return report


@torch.no_grad()
def baselines(train: Embeddings, valid: Embeddings) -> dict[str, Tensor]:
    """Token features `[N, T, C]` for the validation split by three rules that need no network.

    mean_tokens: the training captions' mean. nearest_caption: the tokens of the training pair whose averaged embedding
    is the most similar. ridge: ridge regression from averaged embeddings to all tokens.
    """
    fusion = Fusion("mean", train.text.shape[1])
    known, asked = fusion(train.text, train.image), fusion(valid.text, valid.image)
    nearest = (F.normalize(asked, dim=-1) @ F.normalize(known, dim=-1).T).argmax(dim=1)
    mean = train.clap_tokens.mean(dim=0)
    centred = (known - known.mean(dim=0)).double()
    squares = centred.T @ centred
    squares += RIDGE * squares.diagonal().mean() * torch.eye(len(squares), dtype=squares.dtype)
    # Piece after piece: of a large corpus the tokens are larger than the memory.
    products = torch.zeros(known.shape[1], mean.numel(), dtype=squares.dtype)
    for rows in torch.arange(len(known)).split(ROWS):
        products += centred[rows].T @ (train.clap_tokens[rows] - mean).flatten(1).double()
    slopes = torch.linalg.solve(squares, products)
    ridge = mean + ((asked - known.mean(dim=0)).double() @ slopes).float().unflatten(1, mean.shape)
    return {
        "mean_tokens": mean.expand(len(asked), -1, -1),
        "nearest_caption": train.clap_tokens[nearest],
        "ridge": ridge,
    }

"""Does an image show its visual part, do the two parts of a caption say the same? Cosines of ImageBind's embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from stages.embedding.embeddings import Batch
from stages.params.experiments import Embed

AGREEMENT, OTHERS, PARAPHRASE = "image_text_agreement", "image_text_agreement_others", "paraphrase_similarity"
SCORES = (AGREEMENT, OTHERS, PARAPHRASE)


def agreement_scores(image: Tensor, visual_part: Tensor, text_part: Tensor) -> dict[str, Tensor]:
    """Cosines `[B]` of embeddings `[B, D]` of length 1: image and visual part, image and others' parts, both parts.

    The second says what no agreement looks like: each image's mean over the visual parts of all others in the batch.
    """
    cosines = image @ visual_part.T
    others = (cosines.sum(dim=1) - cosines.diagonal()) / max(len(image) - 1, 1)
    return {
        AGREEMENT: cosines.diagonal(),
        OTHERS: others,
        PARAPHRASE: (visual_part * text_part).sum(dim=1),
    }


def without_scores(batches: Iterable[Batch], scores: dict[str, list[float]]) -> Iterator[Batch]:
    """Pass batches on without their scores, which are added to `scores`."""
    for batch in batches:
        for name in SCORES:
            scores.setdefault(name, []).extend(batch[name].tolist())
        yield {name: tensor for name, tensor in batch.items() if name not in SCORES}


def agreement_rows(
    ids: Sequence[str], split: str, scores: dict[str, list[float]], params: Embed
) -> list[dict[str, Any]]:
    """Each pair's scores, and as `left_out` the thresholds of `params` that it fails; -1 and 1 let all pass."""
    rows = []
    for item, agreement, paraphrase in zip(ids, scores[AGREEMENT], scores[PARAPHRASE], strict=True):
        left_out = []
        if params.min_image_text_agreement > -1 and agreement < params.min_image_text_agreement:
            left_out.append(AGREEMENT)
        if params.max_paraphrase_similarity < 1 and paraphrase > params.max_paraphrase_similarity:
            left_out.append(PARAPHRASE)
        known = {AGREEMENT: round(agreement, 4), PARAPHRASE: round(paraphrase, 4)}
        rows.append({"id": item, "split": split, **known, "left_out": left_out})
    return rows


def agreement_metrics(rows: Sequence[dict[str, Any]], others: Sequence[float]) -> dict[str, float]:
    """Means and extremes over all pairs, and how many are left out by which threshold."""
    agreement, paraphrase = ([row[name] for row in rows] for name in (AGREEMENT, PARAPHRASE))
    return {
        "pairs": len(rows),
        "left_out": sum(bool(row["left_out"]) for row in rows),
        **{f"left_out_{name}": sum(name in row["left_out"] for row in rows) for name in (AGREEMENT, PARAPHRASE)},
        f"{AGREEMENT}_mean": round(sum(agreement) / len(rows), 4),
        f"{AGREEMENT}_lowest": min(agreement),
        f"{OTHERS}_mean": round(sum(others) / len(rows), 4),
        f"{PARAPHRASE}_mean": round(sum(paraphrase) / len(rows), 4),
        f"{PARAPHRASE}_highest": max(paraphrase),
    }

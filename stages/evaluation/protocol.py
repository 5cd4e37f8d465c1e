"""The field's other measures of a set of clips, for metrics/details.tsv: `MORE_METRICS` says what each is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.corpus.clips import Row, whole_key
from stages.evaluation.distances import frechet_audio_distance, kernel_audio_distance
from stages.evaluation.scoring import CLAP, CLASSIFIER, ClipScores, Heard, known_mean
from stages.evaluation.systems import MORE_METRICS

KL_FLOOR = 1e-6
PERCENTILE = 0.05  # of real test clips, which so many may be called copies


def protocol_rows(
    scores: Mapping[str, ClipScores],
    train: tuple[Sequence[Row], Heard],
    coded: Heard,
    learned: Tensor,
    images: Mapping[str, Tensor],
    tags: Mapping[str, Tensor],
) -> list[dict[str, Any]]:
    """Rows `detail`, `system`, `value` of every measure in `MORE_METRICS` that the run tells, of every system.

    Args:
        scores: by system; `real` has one clip a caption.
        train: rows of the real training clips and what the judges make of them.
        coded: what the judges make of training clips that went through the codec.
        learned: CLAP's embeddings `[N, D]` of all real clips that any network learned from.
        images: cosines `[N]` of a system's clips and their captions' images under ImageBind, by system.
        tags: PANNs' logits `[N, 527]` by system; empty without its weights.
    """
    rows, real = [], scores["real"]
    limit = float(nearest(real.heard.spaces[CLAP], learned).quantile(PERCENTILE))
    for system, one in scores.items():
        found = _distances(one, train[1], coded)
        if one.heard.logits is not None and real.heard.logits is not None:
            found |= _tagged("classifier", one, one.heard.logits, real, real.heard.logits, splits=1)
        if tags:
            found |= _tagged("panns", one, tags[system], real, tags["real"], splits=10)
        if system in images:
            found["imagebind_score"] = float(images[system].mean())
        if system == "real":
            keys = [whole_key(row) for row in train[0]]
            found["take_distance"] = mean_distance(train[1].spaces[CLAP], keys)
        else:
            found["take_distance"] = mean_distance(one.heard.spaces[CLAP], [row["id"] for row in one.rows])
        found["near_training"] = float((nearest(one.heard.spaces[CLAP], learned) < limit).double().mean())
        rows += [
            {"detail": name, "system": system, "value": found[name]}
            for name in MORE_METRICS
            if name in found and math.isfinite(found[name])
        ]
    return rows


def _distances(one: ClipScores, train: Heard, coded: Heard) -> dict[str, float]:
    """Both distances, beside the headline's: on each space, to real and to coded training clips, averaged over takes.

    What cannot be told (fewer than two clips, a judge that hears nothing) is left out; `summarize` says why.
    """
    found = {}
    for space in one.heard.spaces:
        for real, ending in ((train, ""), (coded, "_coded")):
            if real.spaces[space] is train.main:
                continue
            for name, distance in (("fad", frechet_audio_distance), ("kad", kernel_audio_distance)):
                key = f"{name}{'_clap' if CLASSIFIER in one.heard.spaces and space == CLAP else ''}{ending}"
                found[key] = _mean_over_takes(one, distance, real.spaces[space], one.heard.spaces[space])
    return found


def _mean_over_takes(
    one: ClipScores, distance: Callable[[Tensor, Tensor], float], real: Tensor, generated: Tensor
) -> float:
    try:
        return float(np.mean([distance(real, generated[take]) for take in one.by_take()]))
    except ValueError:
        return math.nan


def _tagged(
    name: str, one: ClipScores, logits: Tensor, real: ClipScores, real_logits: Tensor, splits: int
) -> dict[str, float]:
    of_caption = {row["id"]: place for place, row in enumerate(real.rows)}
    target = real_logits[[of_caption[row["id"]] for row in one.rows]]
    scores = [inception_score(logits[take], splits) for take in one.by_take() if len(take) >= splits]
    return {f"{name}_kl": kl_divergence(target, logits), f"{name}_inception_score": known_mean(scores)}


def kl_divergence(real: Tensor, generated: Tensor) -> float:
    """Mean KL divergence of the classes' probabilities, real from generated, of logits `[N, K]`; 0 is best.

    As audioldm_eval's `kullback_leibler_divergence_softmax`: 1e-6 is added to what stands in the logarithm.
    """
    p, q = real.double().softmax(dim=1), generated.double().softmax(dim=1) + KL_FLOOR
    return float((torch.xlogy(p, p) - p * q.log()).sum(dim=1).mean())


def inception_score(logits: Tensor, splits: int = 1, seed: int = 2020) -> float:
    """Exponential of the mean KL divergence of a clip's class probabilities from the set's mean: logits `[N, K]`.

    1 where all clips sound alike or none sounds like a class, K at most. As audioldm_eval: the mean over `splits` equal
    parts in an order drawn with `seed`. A part needs many clips a class, so few clips are better not split.
    """
    order = np.random.RandomState(seed).permutation(len(logits))
    scores = []
    for part in range(splits):
        chosen = logits[order[part * len(logits) // splits : (part + 1) * len(logits) // splits]].double()
        p = chosen.softmax(dim=1)
        divergence = (p * (chosen.log_softmax(dim=1) - p.mean(dim=0).log())).sum(dim=1).mean()
        scores.append(float(divergence.exp()))
    return float(np.mean(scores))


def mean_distance(embeddings: Tensor, groups: Sequence[str]) -> float:
    """Mean distance between embeddings `[N, D]` of one group, each group counting once; NaN where all stand alone."""
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    pairs = (torch.nn.functional.pdist(embeddings[one].double()) for one in places.values() if len(one) > 1)
    return known_mean(float(distances.mean()) for distances in pairs)


def nearest(clips: Tensor, known: Tensor) -> Tensor:
    """Each clip's distance `[N]` to the nearest of `known` `[M, D]`, of embeddings `[N, D]`."""
    apart = torch.cdist(clips.double(), known.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return apart.amin(dim=1)

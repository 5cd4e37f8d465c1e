"""The claims of the original description, and what must hold for the study to mean anything, each decided by code.

A claim is a figure and a side of a line: `supported` where the whole 95 % interval lies on that side, `contradicted`
where it lies on the other, `not decided` where it holds the line, has no interval, or an arm was not run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from stages.evaluation.intervals import Estimate
from stages.study.estimates import Study

Verdict = Literal["supported", "contradicted", "not decided"]
HALF, MOST = 0.5, 0.7
EPOCHS = 6.5
FLOOR = 0.05


class Claim(NamedTuple):
    """What is claimed, the figure that it is held against, and the side of `line` that supports it.

    arms: what the figure is of; it has the seeds that all of them were run with.
    """

    words: str
    figure: str
    estimate: Callable[[Study], Estimate | None]
    side: Literal["above", "below"]
    line: float
    arms: tuple[str, ...]


class Decided(NamedTuple):
    """A claim's verdict with its figure; no `estimate` where an arm was not run."""

    claim: Claim
    estimate: Estimate | None
    verdict: Verdict


def decide(claim: Claim, study: Study) -> Decided:
    """Hold one claim against the study."""
    estimate = claim.estimate(study)
    if estimate is None or estimate.low is None or estimate.high is None:
        return Decided(claim, estimate, "not decided")
    above, below = estimate.low > claim.line, estimate.high < claim.line
    if claim.side == "below":
        above, below = below, above
    return Decided(claim, estimate, "supported" if above else "contradicted" if below else "not decided")


def _gap(first: str, second: str, words: str, metric: str = "fit") -> Claim:
    figure = f"{first} − {second}, {metric.replace('_', ' ')}"
    return Claim(words, figure, lambda study: study.difference(first, second, metric), "above", 0.0, (first, second))


def _stability(words: str, metric: str, figure: str) -> Claim:
    both = ("a-mean", "b-mean")
    return Claim(words, figure, lambda study: study.training_difference(*both, metric), "above", 0.0, both)


def _closed(arm: str, words: str, side: Literal["above", "below"], line: float, metric: str = "fit") -> Claim:
    figure = f"share of the way from floor to reference that {arm} comes, {metric.replace('_', ' ')}"
    return Claim(words, figure, lambda study: study.closed(arm, metric), side, line, (arm,))


def _mismatch(words: str, arm: str, side: Literal["above", "below"]) -> Claim:
    def change(study: Study) -> Estimate | None:
        after, before = (study.training(arm, f"cka_{when}") for when in ("after", "before"))
        if after is None or before is None:
            return None
        # The embeddings before are the same for every seed.
        ends = [None if end is None else end - before.value for end in (after.low, after.high)]
        return Estimate(after.value - before.value, *ends)

    return Claim(words, f"CKA with CLAP's tokens, {arm}'s context − fused embedding", change, side, 0.0, (arm,))


def _before(study: Study) -> Estimate | None:
    """How near the spaces are before any training: the same for every seed, so that seeds give it no interval."""
    before = study.training("a-mean", "cka_before")
    return None if before is None else Estimate(before.value, None, None)


CLAIMS = [
    Claim(
        "B converges in 5 to 6 epochs",
        "epochs until B's validation loss stays within 5 % of its last",
        lambda study: study.training("b-mean", "epochs_to_5_percent"),
        "below",
        EPOCHS,
        ("b-mean",),
    ),
    _stability(
        "A's loss varies more than B's at first",
        "variation_first",
        "coefficient of variation of the validation loss over the first 5 epochs, A − B",
    ),
    _stability(
        "A trains unstably, B stably",
        "variation_last",
        "coefficient of variation of the validation loss over the last 5 epochs, A − B",
    ),
    _stability(
        "A's validation gap is larger than B's",
        "train_valid_gap",
        "validation over training loss at the end, less 1, A − B",
    ),
    _closed("a-mean", "A's final performance is poor", "below", HALF),
    _closed("b-mean", "B is limited ...", "below", MOST),
    _closed("b-mean", "... but functional", "above", 0.2),
    _gap("b-mean", "a-mean", "B is better than A"),
    _gap("b-mean", "a-mean", "B's sources are heard more often than A's", "source_accuracy"),
    _gap("a-mean", "a-weighted", "A: averaging beats weighted fusion"),
    _gap("b-mean", "b-weighted", "B: averaging beats weighted fusion"),
    _gap("a-mean", "a-attention", "A: averaging beats attention"),
    _gap("b-mean", "b-attention", "B: averaging beats attention"),
    Claim(
        "ImageBind's and CLAP's spaces do not match",
        "CKA of fused embeddings with CLAP's mean tokens (1: equal spaces)",
        _before,
        "below",
        HALF,
        ("a-mean",),
    ),
    _mismatch("B's transformation brings the spaces together", "b-mean", "above"),
    _mismatch("A's projection leaves them apart", "a-mean", "below"),
    _gap("a-mean", "a-raw_mean", "The literal mean of raw embeddings, almost all text, is what makes A fail"),
]

CHECKS = [
    _closed("b_best-mean", "The best B closes 70 % of the way: sources", "above", MOST, "source_accuracy"),
    _closed("b_best-mean", "The best B closes 70 % of the way: attributes", "above", MOST, "attribute_adherence"),
    _closed("a-mean", "A closes 70 % of the way: sources", "above", MOST, "source_accuracy"),
    _closed("a-mean", "A closes 70 % of the way: attributes", "above", MOST, "attribute_adherence"),
    _gap("b_best-mean", "b-mean", "The treatment makes B better"),
    _gap("b-mean", "b-transformer", "A linear map beside the transformer makes B better"),
    _gap("b-flow", "b-mean", "A flow head makes B better"),
    _gap("b_best-mean", "a-mean", "The best B is better than A"),
    *(
        _gap(f"{arm}-mean", f"{arm}-{alone}", f"{name}: both modalities beat the {alone} alone")
        for arm, name in (("a", "A"), ("b", "B"), ("b_best", "The best B"))
        for alone in ("text", "image")
    ),
    _gap("reference-longer", "reference", "The reference itself gains from as many updates as A's U-Net has"),
    _gap("b-unet", "b-mean", "B gains from a U-Net that learns along"),
    _gap("a-tokens", "a-mean", "A gains from as many tokens as B has"),
    *(
        Claim(
            f"{name}: another caption's {swap} {words}",
            f"own − other {swap}, {metric}",
            lambda study, arm=arm, swap=swap, metric=metric: study.difference(  # type: ignore[misc]
                arm, arm, metric, other_clips=f"other_{swap}"
            ),
            "above",
            0.0,
            (arm,),
        )
        for arm, name in (("a-mean", "A"), ("b_best-mean", "The best B"))
        for swap, metric, words in (
            ("image", "seen", "spoils what is seen"),
            ("text", "heard", "spoils what is heard"),
            ("image", "heard", "also spoils what is heard"),
            ("text", "seen", "also spoils what is seen"),
        )
    ),
    *(
        Claim(
            f"{name}: with text and image of another caption nothing is left above the floor",
            "other both − floor, fit",
            lambda study, arm=arm: study.difference(arm, "floor", "fit", clips="other_both"),  # type: ignore[misc]
            "below",
            FLOOR,
            (arm,),
        )
        for arm, name in (("a-mean", "A"), ("b_best-mean", "The best B"), ("reference-longer", "The reference"))
    ),
]

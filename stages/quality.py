"""Keep the pairs of parts and images that are fit to learn from; say of each other one why not.

Command: `python -m stages.quality`
Reads data/decomposed.jsonl and data/images/ (files or tar shards), writes data/quality/{accepted,rejected}.jsonl and
metrics/quality.json, pair by pair. A few seconds for a thousand. To look at pairs: `bind-an-audio contact-sheet`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from stages.corpus.clips import DECOMPOSED, NEEDED, QUALITY, iterate_images, side_by_side
from stages.formats.files import jsonl_line, replacing, replacing_folder, write_json
from stages.imagery import checks
from stages.imagery.checks import PerceptualHashes, image_problems, perceptual_hash
from stages.language import text
from stages.language.text import is_profane, text_problems
from stages.params.data import Quality
from stages.params.schema import load_params
from stages.plumbing.environment import cache_folder
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.tracking.stage_runs import log_stage

FIGURES = "metrics/quality.json"
REMEDIES = text.REMEDIES | checks.REMEDIES
PAIR_KEYS = ("id", "split", "caption", "visual_part", "text_part")


def main() -> None:
    """Check every pair, refuse to go on where too many fail, write what passed and what did not."""
    params = load_params().quality
    given, kept, reasons_counted, with_added = Counter[str](), Counter[str](), Counter[str](), 0
    seen = PerceptualHashes(params.near_duplicate_bits)
    with replacing_folder(QUALITY) as folder:
        with (
            open(folder / "accepted.jsonl", "w", encoding="utf-8", newline="\n") as accepted,
            open(folder / "rejected.jsonl", "w", encoding="utf-8", newline="\n") as rejected,
        ):
            for pair, drawn in progress(side_by_side(DECOMPOSED, iterate_images(), "images"), "pairs"):
                row, image = {key: pair[key] for key in PAIR_KEYS}, drawn and drawn["file_name"]
                reasons = pair_problems(pair, image, params)
                if drawn and drawn["missing"] and params.undrawn_subjects == "reject":
                    reasons.append("subject_undrawn")
                if not reasons and image and params.near_duplicate_bits and seen.add(perceptual_hash(Path(image))):
                    reasons = ["image_near_duplicate"]
                given[pair["split"]] += 1
                if reasons:
                    reasons_counted.update(reasons)
                    remedies = [REMEDIES[reason] for reason in reasons if reason in REMEDIES]
                    rejected.write(jsonl_line({**row, "reasons": reasons, "remedies": remedies}))
                else:
                    kept[pair["split"]] += 1
                    with_added += bool(pair["added"])
                    accepted.write(jsonl_line({**row, "image": image}))
        pairs, accepted_count = given.total(), kept.total()
        try:
            check_reject_rate(pairs - accepted_count, pairs, reasons_counted, params.max_reject_rate)
            check_splits(given, kept, reasons_counted)
        except ValueError as error:
            # What was there before stays; whoever is to mend the pairs finds them beside the caches.
            with replacing(cache_folder() / "rejected.jsonl") as path:
                shutil.copyfile(folder / "rejected.jsonl", path)
            raise ValueError(
                f"{error}; all rejected pairs with their reasons: {path.parent / 'rejected.jsonl'}"
            ) from None
    print(f"{QUALITY}: {accepted_count} of {pairs} pairs accepted")
    for reason, count in reasons_counted.most_common():
        remedy = f": {REMEDIES[reason]}" if reason in REMEDIES else ""
        print(f"{QUALITY}/rejected.jsonl: {count} {reason}{remedy}")
    metrics: dict[str, float] = {
        "pairs": pairs,
        "accepted": accepted_count,
        "rejected": pairs - accepted_count,
        "accepted_share": round(accepted_count / pairs, 4),
        "added_words_share": round(with_added / max(accepted_count, 1), 4),
        **{f"rejected_{reason}": count for reason, count in sorted(reasons_counted.items())},
    }
    write_json(FIGURES, metrics)
    log_stage("quality", metrics)


def pair_problems(pair: dict[str, Any], image: str | None, params: Quality) -> list[str]:
    """List what is wrong with a pair and its image (a path) as reason codes; an empty list means it is accepted.

    The decomposer's own reason where it found no parts; else the codes of `text_problems`, `profane` where that is
    asked for, and the codes of `image_problems`, `image_missing` where there is no file.
    """
    if pair["reason"] is not None:
        return [pair["reason"]]
    problems = text_problems(pair["visual_part"], pair["text_part"], params.min_words, params.max_words)
    if params.profanity == "reject" and is_profane(f"{pair['visual_part']} {pair['text_part']}"):
        problems.append("profane")
    if image is None:
        return [*problems, "image_missing"]
    return problems + image_problems(Path(image), params.min_image_size, params.min_image_deviation)


def check_reject_rate(rejected: int, pairs: int, reasons: Counter[str], max_reject_rate: float) -> None:
    """Raise ValueError where more than a share of `max_reject_rate` of the pairs is rejected, or there are none."""
    if not pairs:
        raise ValueError(f"{DECOMPOSED}: holds no pairs; give `prepare` a corpus with captions")
    rate = rejected / pairs
    if rate > max_reject_rate:
        remedy = REMEDIES.get(reasons.most_common(1)[0][0], "mend the captions or images")
        raise ValueError(
            f"quality.max_reject_rate={max_reject_rate:g}: {rate:.1%} of {pairs} pairs were rejected "
            f"({common(reasons)}); {remedy}, or raise the limit"
        )


def check_splits(given: Counter[str], kept: Counter[str], reasons: Counter[str]) -> None:
    """Raise ValueError where too few of a split's pairs are left for the stages that train and evaluate."""
    for split, needed in NEEDED.items():
        if kept[split] < needed <= given[split]:
            raise ValueError(
                f"{DECOMPOSED}: {kept[split]} of {given[split]} {split} pairs are left, where later stages "
                f"need {needed} (rejected: {common(reasons)}); mend their captions or images, or raise prepare.clips"
            )


def common(reasons: Counter[str]) -> str:
    """The five commonest reasons with their counts."""
    return ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(5))


if __name__ == "__main__":
    run(main)

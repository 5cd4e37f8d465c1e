"""Keep the pairs of parts and images that are fit to learn from; say of each other one why not.

Command: `python -m stages.quality`
Reads data/decomposed.jsonl and data/images/ (PNG + metadata.jsonl), writes data/quality/{accepted,rejected}.jsonl and
metrics/quality.json. A few seconds for a thousand pairs. To look at pairs: `bind-an-audio contact-sheet`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from stages.imagery.checks import image_problems
from stages.imagery.duplicates import PerceptualHashes
from stages.language.profanity import is_profane
from stages.language.text import text_problems
from stages.plumbing.data_params import Quality
from stages.plumbing.files import read_jsonl, replacing_folder, write_json, write_jsonl
from stages.plumbing.params import load_params
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.plumbing.tracking import log_stage

DECOMPOSED = "data/decomposed.jsonl"
IMAGES = "data/images"
OUTPUT = "data/quality"
METRICS = "metrics/quality.json"
PAIR_KEYS = ("id", "split", "caption", "visual_part", "text_part")


def main() -> None:
    """Check every pair, refuse to go on where too many fail, write what passed and what did not."""
    params = load_params().quality
    pairs = read_jsonl(DECOMPOSED)
    images = {row["id"]: f"{IMAGES}/{row['file_name']}" for row in read_jsonl(f"{IMAGES}/metadata.jsonl")}
    accepted, rejected, with_added = [], [], 0
    seen = PerceptualHashes(params.near_duplicate_bits)
    for pair in progress(pairs, "pairs"):
        row = {key: pair[key] for key in PAIR_KEYS}
        reasons = pair_problems(pair, images.get(pair["id"]), params)
        if not reasons and params.near_duplicate_bits and seen.add(images[pair["id"]]):
            reasons = ["image_near_duplicate"]
        if reasons:
            rejected.append({**row, "reasons": reasons})
        else:
            accepted.append({**row, "image": images[pair["id"]]})
            with_added += bool(pair["added"])
    reasons_counted = Counter(reason for row in rejected for reason in row["reasons"])
    check_reject_rate(len(rejected), len(pairs), reasons_counted, params.max_reject_rate)

    with replacing_folder(OUTPUT) as folder:
        write_jsonl(folder / "accepted.jsonl", accepted)
        write_jsonl(folder / "rejected.jsonl", rejected)
    metrics: dict[str, float] = {
        "pairs": len(pairs),
        "accepted": len(accepted),
        "rejected": len(rejected),
        "accepted_share": round(len(accepted) / len(pairs), 4),
        "added_words_share": round(with_added / max(len(accepted), 1), 4),
        **{f"rejected_{reason}": count for reason, count in sorted(reasons_counted.items())},
    }
    write_json(METRICS, metrics)
    log_stage("quality", params, metrics)


def pair_problems(pair: dict[str, Any], image: str | None, params: Quality) -> list[str]:
    """List what is wrong with a pair and its image as reason codes; an empty list means it is accepted.

    Args:
        pair: a row of data/decomposed.jsonl.
        image: path of its image, None where there is none.
        params: the `quality` section.

    Returns:
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
        common = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(5))
        raise ValueError(
            f"quality.max_reject_rate={max_reject_rate:g}: {rate:.1%} of {pairs} pairs were rejected ({common}); "
            "mend the captions or images, or raise the limit"
        )


if __name__ == "__main__":
    run(main)

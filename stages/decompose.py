"""Split every caption into what is seen and what is heard.

Command: `python -m stages.decompose`
Reads data/corpus/metadata.jsonl, writes data/decomposed.jsonl: a visual part and a text part of `min_words` to
`max_words` words for each caption, or none and the reason. About a second for a thousand captions.
"""

from __future__ import annotations

from stages.language.rules import decompose
from stages.plumbing.files import read_jsonl, write_jsonl
from stages.plumbing.params import load_params
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.plumbing.tracking import log_stage

CORPUS = "data/corpus/metadata.jsonl"
DECOMPOSED = "data/decomposed.jsonl"


def main() -> None:
    """Decompose the corpus's captions."""
    params = load_params().decompose
    rows = []
    for clip in progress(read_jsonl(CORPUS), "captions"):
        found = decompose(clip["caption"], params.min_words, params.max_words)
        rows.append(
            {
                "id": clip["id"],
                "split": clip["split"],
                "caption": clip["caption"],
                "visual_part": found.visual_part,
                "text_part": found.text_part,
                "added": list(found.added),
                "reason": found.reason,
            }
        )
    write_jsonl(DECOMPOSED, rows)
    counts = {"captions": len(rows), "without_parts": sum(row["reason"] is not None for row in rows)}
    log_stage("decompose", params, counts)


if __name__ == "__main__":
    run(main)

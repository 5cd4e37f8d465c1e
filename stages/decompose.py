"""Split every caption into what is seen and what is heard.

Command: `python -m stages.decompose`; with `--estimate` it prints what the language model would cost and stops
Reads data/corpus/metadata.jsonl, writes data/decomposed.jsonl: a visual part and a text part of `min_words` to
`max_words` words for each caption, or none and the reason. Clips that bring their parts keep them. By rules about a
second for a thousand captions; by a language model as fast as its server allows (500 requests a minute: 100 minutes
for 50,000 captions).

Replies of the language model are kept in .cache/replies.sqlite as they arrive: a killed run goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import chain

from stages.formats.files import read_jsonl, write_jsonl
from stages.language.rules import Decomposition, decompose
from stages.language.text import outcomes
from stages.language_model.asking import decompose_all, estimate_all
from stages.params.data import Decompose
from stages.params.schema import load_params
from stages.plumbing.cluster import in_batches, map_batches
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.tracking.stage_runs import log_stage

CORPUS = "data/corpus/metadata.jsonl"
DECOMPOSED = "data/decomposed.jsonl"
BATCH = 200


def main() -> None:
    """Decompose the corpus's captions."""
    params = load_params().decompose
    clips = read_jsonl(CORPUS)
    captions = sorted({clip["caption"] for clip in clips if "visual_part" not in clip})
    if "--estimate" in sys.argv[1:]:
        print(estimate_all(captions, params))
        return
    if params.backend == "rules":
        batches = list(in_batches(captions, BATCH))
        results = map_batches(partial(rules, params), batches)
        parts_of = chain.from_iterable(progress(results, "captions", len(batches)))
        found = dict(zip(captions, parts_of, strict=True))
        costs: dict[str, float] = {}
    else:
        found, costs = decompose_all(captions, params)
    rows = []
    for clip in clips:
        own = "visual_part" in clip
        parts = Decomposition(clip["visual_part"], clip["text_part"], (), None) if own else found[clip["caption"]]
        rows.append({key: clip[key] for key in ("id", "split", "caption")} | asdict(parts))
    write_jsonl(DECOMPOSED, rows)
    print(f"{DECOMPOSED}:", *outcomes((row["caption"], row["reason"]) for row in rows), sep="\n  ")
    counts = {"captions": len(rows), "without_parts": sum(row["reason"] is not None for row in rows)}
    log_stage("decompose", counts | costs)


def rules(params: Decompose) -> Callable[[list[str]], list[Decomposition]]:
    """The decomposer by rules of a batch of captions."""
    add_words = params.added_words == "allow"
    return lambda captions: [decompose(caption, params.min_words, params.max_words, add_words) for caption in captions]


if __name__ == "__main__":
    run(main, "--estimate")

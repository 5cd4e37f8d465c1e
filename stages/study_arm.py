"""One arm of the study with one seed: trained, its test clips made once and scored by the judges.

Command: `python -m stages.study_arm ARM SEED`
Reads:   studies/arms.yaml, studies/results/references.json, data/embeddings/, data/quality/accepted.jsonl,
         data/corpus/, models/backbone/, models/codec/, models/judges/
Writes:  studies/results/ARM-SEED.json
Runtime: 1 to 2 minutes on one core.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.evaluation.scoring import load_scorers
from stages.formats.files import read_json, write_json
from stages.plumbing.running import run
from stages.study.arms import REFERENCES, RESULTS, arm_params, load_arm
from stages.study.trial import run_arm


def main() -> None:
    """Train, sample, score."""
    if len(sys.argv) != 3 or not sys.argv[2].isdigit():
        given = " ".join(sys.argv[1:]) or "nothing"
        raise ValueError(f"{given}: study_arm takes an arm and a seed, as in `python -m stages.study_arm a-mean 1`")
    name, seed = sys.argv[1], int(sys.argv[2])
    arm = load_arm(name)
    params = arm_params(arm, seed)
    references = read_json(REFERENCES)
    scorers = load_scorers(references["thresholds"])
    with TemporaryDirectory() as work:
        result = run_arm(arm, params, scorers, Path(work))
    write_json(
        RESULTS / f"{name}-{seed}.json",
        {"arm": name, "seed": seed, "instrument": references["instrument"], **arm.model_dump(), **result},
    )
    print(f"{name}, seed {seed}: {time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    run(main, *sys.argv[1:3])

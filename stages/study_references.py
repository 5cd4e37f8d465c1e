"""What the study holds its arms against: real clips, codec, reference and floor by caption, and the rulers.

Command: `python -m stages.study_references`
Reads:   data/samples/references/, data/corpus/, data/quality/accepted.jsonl, models/judges/
Writes:  studies/results/references.json
Runtime: about 30 s on 2 cores.

It also reads the hashes of everything that the arms depend on: the digest of them makes arms stale where one changes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import yaml

from stages.corpus.clips import accepted_clips, read_waveforms
from stages.evaluation.adherence import calibrate
from stages.evaluation.scoring import load_scorers, read_systems, score_clips
from stages.evaluation.systems import SYSTEMS, sample_folders
from stages.formats.files import write_json
from stages.params.schema import load_params
from stages.plumbing.running import run
from stages.study.arms import REFERENCES
from stages.study.trial import caption_scores
from stages.tracking.dependencies import content_md5

PIPELINE = Path("studies/dvc.yaml")


def main() -> None:
    """Calibrate on real training clips, score what the pipeline has made."""
    train = accepted_clips("train")
    thresholds = calibrate(train, read_waveforms(train))
    scorers = load_scorers(thresholds)
    folders = sample_folders()
    systems = read_systems({name: folders[name] for name, one in SYSTEMS.items() if one.group == "references"})
    scored = {name: caption_scores(score_clips(one, scorers)) for name, one in systems.items()}
    write_json(REFERENCES, {"instrument": instrument(), "thresholds": thresholds, "clips": scored})


def instrument() -> str:
    """One md5 of all that the arms depend on: this stage's deps and params in studies/dvc.yaml."""
    entry = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"]["references"]
    hashes = {path: content_md5(PIPELINE.parent / path) for path in entry["deps"]}
    params = load_params().model_dump(include=set(entry["params"][0]["../params.yaml"]))
    text = json.dumps([hashes, params], sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    run(main)

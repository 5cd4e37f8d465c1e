"""Whether a prompt or a seed decides how a clip sounds: mel correlation of clips, and how loud they are.

Command: `python -m tests.benchmarks.prompts FOLDER`, FOLDER being a finished run of the default params; a minute.
"""

from __future__ import annotations

import sys
import warnings
from itertools import combinations

import numpy as np

from stages.inference.generator import Generator, decibels
from stages.synthesis.mel import mel_spectrogram

PROMPTS = (
    "three slow rings",
    "a small frog croaks loudly",
    "a large dog barks twice, loudly",
    "a tiny bell rings rapidly and softly",
    "a huge drum sounds three times slowly",
    "rain splatters steadily",
    "a siren blares, growing louder",
    "a phone rings once",
)
SEEDS = range(4)


def main(folder: str) -> None:
    """Print a line an experiment: both mean correlations, the quietest and the loudest prompt."""
    warnings.simplefilter("ignore")
    make = Generator(folder, ("a", "b"))
    for name in make.experiments:
        clips = {(prompt, seed): make(prompt, seed=seed, experiment=name) for prompt in PROMPTS for seed in SEEDS}
        mels = {key: mel_spectrogram(clip[None])[0].numpy().ravel() for key, clip in clips.items()}
        pairs = {
            "prompts": [((one, seed), (other, seed)) for one, other in combinations(PROMPTS, 2) for seed in SEEDS],
            "seeds": [((prompt, one), (prompt, other)) for prompt in PROMPTS for one, other in combinations(SEEDS, 2)],
        }
        told = [
            f"across {kind} {np.mean([np.corrcoef(mels[one], mels[other])[0, 1] for one, other in several]):.2f}"
            for kind, several in pairs.items()
        ]
        levels = sorted((np.mean([decibels(clips[prompt, seed]) for seed in SEEDS]), prompt) for prompt in PROMPTS)
        ends = [f"{prompt!r} {level:.0f} dB" for level, prompt in (levels[0], levels[-1])]
        print(f"{name}: mel correlation {', '.join(told)}; {' to '.join(ends)}")


if __name__ == "__main__":
    main(*sys.argv[1:])

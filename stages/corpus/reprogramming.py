"""Two sources in one clip, after Make-An-Audio's prompt reprogramming (Huang et al. 2023, section 3.2).

The paper joins single-event clips to captions such as "X, then Y" and "X while Y" to teach order and overlap.
Here `then` joins two waveforms with a short crossfade and `while` mixes them; some pairs of sources are held out
of training, so that the test split shows whether a system composes what it never heard composed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.corpus.signals import Waveform, at_level
from stages.formats.audio import SAMPLE_RATE

CROSSFADE = int(0.04 * SAMPLE_RATE)


def held_out_pairs(sources: Sequence[str]) -> set[frozenset[str]]:
    """The pairs that only the test split may join: each source with the one half the list away, so that all occur."""
    names = sorted(sources)
    return {frozenset(pair) for pair in zip(names, names[len(names) // 2 :], strict=False)}


def part_samples(samples: int) -> int:
    """Length of each half that `joined_then` joins to a clip of `samples`."""
    return (samples + CROSSFADE) // 2


def joined_then(first: Waveform, second: Waveform) -> Waveform:
    """Play `first`, then `second`, `CROSSFADE` samples of them overlapping with equal power."""
    fade = np.sin(0.5 * np.pi * np.linspace(0, 1, CROSSFADE))
    overlap = first[-CROSSFADE:] * fade[::-1] + second[:CROSSFADE] * fade
    return np.concatenate([first[:-CROSSFADE], overlap, second[CROSSFADE:]])


def mixed_while(first: Waveform, second: Waveform) -> Waveform:
    """Play both at once, equally loud at their loudest."""
    return at_level(first, -20.0) + at_level(second, -20.0)

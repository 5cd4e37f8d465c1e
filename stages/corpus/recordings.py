"""Real recordings: from an audio file of any rate and length to one clip of 16 kHz mono."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.corpus.signals import Waveform
from stages.formats.audio import SAMPLE_RATE

SHORTEST_SECONDS = 0.5
SILENCE = 1e-4


class UnusableClipError(Exception):
    """A clip that cannot be used: `reason` is a code for rejected.jsonl, `detail` a line for its reader."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def load_clip(path: Path, samples: int) -> Waveform:
    """Read an audio file, mix to mono, resample to 16 kHz and take its loudest `samples`.

    Returns:
        Waveform `[samples]` in [-1, 1]. A recording that is shorter is followed by silence.

    Raises:
        UnusableClipError: missing, unreadable, empty, not_finite, too_short (below half a second) or silent.
    """
    import soundfile

    if not path.is_file():
        raise UnusableClipError("missing", "no such file")
    try:
        wave, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise UnusableClipError("unreadable", type(error).__name__) from None
    if not len(wave):
        raise UnusableClipError("empty", "no samples")
    mono = wave.mean(axis=1)
    if not np.all(np.isfinite(mono)):
        raise UnusableClipError("not_finite", "samples that are no numbers")
    if len(mono) < SHORTEST_SECONDS * rate:
        raise UnusableClipError("too_short", f"{len(mono) / rate:.3f} s, needs {SHORTEST_SECONDS} s")
    if rate != SAMPLE_RATE:
        import torch
        import torchaudio.functional

        mono = torchaudio.functional.resample(torch.from_numpy(mono), rate, SAMPLE_RATE).numpy()
    clip = np.clip(loudest_window(mono, samples), -1.0, 1.0)
    if float(np.max(np.abs(clip))) < SILENCE:
        raise UnusableClipError("silent", f"no sample above {SILENCE}")
    return np.pad(clip, (0, samples - len(clip)))


def loudest_window(wave: Waveform, samples: int) -> Waveform:
    """Take the `samples` in a row with the most energy, the earliest of equals; all of a shorter `wave`."""
    if len(wave) <= samples:
        return wave
    energy = np.concatenate([[0.0], np.cumsum(wave**2)])
    step = SAMPLE_RATE // 100
    starts = np.arange(0, len(wave) - samples + 1, step)
    # Rounding keeps equal windows equal whatever the order of summation.
    start = int(starts[np.argmax(np.round(energy[starts + samples] - energy[starts], 9))])
    return wave[start : start + samples]

"""Mel spectrograms of ten-second clips, beside librosa's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE
from stages.synthesis.mel import MEL_BANDS, PADDING, SILENCE, WINDOW, mel_spectrogram
from tests.benchmarks.table import Row, beside

CLIPS = 1_000


def rows(small: bool) -> list[Row]:
    """`CLIPS` clips, one after the other, as stages take them."""
    import librosa

    waveforms = 0.3 * torch.randn(2 if small else CLIPS, 10 * SAMPLE_RATE, generator=torch.Generator().manual_seed(1))
    settings: dict[str, Any] = {
        "sr": SAMPLE_RATE,
        "n_fft": WINDOW,
        "hop_length": HOP_LENGTH,
        "n_mels": MEL_BANDS,
        "fmin": 0,
    }

    def ours() -> Tensor:
        return torch.cat([mel_spectrogram(clip[None]) for clip in waveforms])

    def peer() -> Tensor:
        bands = []
        for clip in waveforms.numpy():
            padded = np.pad(clip.clip(-1, 1), PADDING, mode="reflect")
            bands.append(
                librosa.feature.melspectrogram(y=padded, center=False, power=1.0, fmax=SAMPLE_RATE / 2, **settings)
            )
        return torch.from_numpy(np.log10(np.stack(bands).clip(min=10**SILENCE)))

    what = f"log mels of {len(waveforms):,} clips of 10 s, one after the other, beside librosa's melspectrogram"
    return [beside("mel", what, ours, peer, repeats=3)]

"""What can be told from a waveform alone: its loudness curve, its separate events, how fast it repeats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stages.formats.audio import SAMPLE_RATE

FRAME = 256
Curve = npt.NDArray[np.float64]  # dB, one value each 16 ms, [frames]


def loudness_curve(waveform: npt.NDArray[np.floating[Any]]) -> Curve:
    """RMS in dB of each 16 ms, smoothed over about 50 ms and held above 50 dB below its maximum, `[frames]`."""
    frames = len(waveform) // FRAME
    energy = np.mean(np.asarray(waveform[: frames * FRAME], dtype=np.float64).reshape(frames, FRAME) ** 2, axis=1)
    energy = np.convolve(energy, np.array([0.25, 0.5, 0.25]), mode="same")
    decibels = 10 * np.log10(np.maximum(energy, 1e-12))
    curve: Curve = np.maximum(decibels, decibels.max() - 50)
    return curve


def loudness_change(curve: Curve) -> float:
    """By how many dB the loudest moment of the last two fifths exceeds that of the first two fifths."""
    part = 2 * len(curve) // 5
    return float(np.max(curve[-part:]) - np.max(curve[:part]))


def event_peaks(curve: Curve, rise: float = 5.0, within: float = 14.0) -> list[int]:
    """Frames at which separate events peak.

    A peak lies within `within` dB of the loudest one and at least `rise` dB above the lowest point since the last.
    """
    peaks: list[int] = []
    lowest, best = curve[0] - rise, None
    for frame, value in enumerate(curve):
        if best is None:
            lowest = min(lowest, value)
            if value >= lowest + rise:
                best = frame
        elif value > curve[best]:
            best = frame
        elif value <= curve[best] - rise:
            peaks.append(best)
            lowest, best = value, None
    if best is not None:
        peaks.append(best)
    return [peak for peak in peaks if curve[peak] >= curve.max() - within]


def rate(curve: Curve) -> float:
    """Repetitions a second of a loudness curve `[frames]`, 0.7 to 9: the first strong peak of its autocorrelation."""
    time = np.arange(len(curve))
    flat = curve - np.polyval(np.polyfit(time, curve, 1), time)
    size = 2 * len(flat)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(flat, size)) ** 2, size)[: len(flat)]
    correlation /= np.maximum(np.arange(len(flat), 0, -1), 1)
    frame_rate = SAMPLE_RATE / FRAME
    # A clip shorter than two slow repetitions is searched as far as it reaches.
    lags = np.arange(int(frame_rate / 9), min(int(frame_rate / 0.7), len(flat) - 1))
    inner = correlation[lags]
    is_peak = (inner >= correlation[lags - 1]) & (inner >= correlation[lags + 1])
    if not np.any(is_peak):
        return float(frame_rate / lags[-1])
    strongest = float(np.max(inner[is_peak]))
    return float(frame_rate / lags[is_peak & (inner >= strongest - 0.3 * abs(strongest))][0])

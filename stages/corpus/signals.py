"""Small building blocks of sound: shaped noise, decaying partials, swells, rooms and levels (numpy only)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.formats.audio import SAMPLE_RATE

Waveform = npt.NDArray[np.float64]  # mono, [samples]

LEVEL_WINDOW = SAMPLE_RATE // 4


def generator(*parts: object) -> np.random.Generator:
    """Return a random generator seeded by a digest of `parts`; equal parts give equal draws on every machine."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode("utf-8")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def seconds(samples: int) -> Waveform:
    """Time of each sample in seconds, `[samples]`."""
    time: Waveform = np.arange(samples) / SAMPLE_RATE
    return time


def shaped_noise(rng: np.random.Generator, samples: int, shape: Callable[[Waveform], Waveform]) -> Waveform:
    """White noise `[samples]` whose spectrum is multiplied by `shape(frequencies in Hz)`; unit RMS."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum * shape(frequencies), samples)
    return noise / max(float(np.sqrt(np.mean(noise**2))), 1e-12)


def band(center: float, octaves: float) -> Callable[[Waveform], Waveform]:
    """A bell curve over log frequency: `center` in Hz, one standard deviation = `octaves`."""

    def shape(frequencies: Waveform) -> Waveform:
        curve: Waveform = np.exp(-0.5 * (np.log2(np.maximum(frequencies, 1.0) / center) / octaves) ** 2)
        return curve

    return shape


def partials(frequencies: Waveform, amplitudes: Waveform, decays: Waveform, samples: int) -> Waveform:
    """Sum of exponentially decaying sines, `[samples]`.

    `frequencies` in Hz (those above 7.6 kHz are left out), `decays` are time constants in seconds; all `[partials]`.
    """
    time = seconds(samples)
    wave = np.zeros(samples)
    for frequency, amplitude, decay in zip(frequencies, amplitudes, decays, strict=True):
        if frequency < 7600:
            wave += amplitude * np.sin(2 * np.pi * frequency * time) * np.exp(-time / decay)
    return wave


def harmonics(fundamental: Waveform, amplitude_of: Callable[[Waveform], Waveform], limit: int = 24) -> Waveform:
    """A harmonic tone along a pitch curve.

    Args:
        fundamental: pitch of every sample in Hz, `[samples]`.
        amplitude_of: amplitude of a harmonic, given its frequency in Hz, `[samples] -> [samples]`.
        limit: the highest harmonic; those above 7.6 kHz fall silent.
    """
    phase = 2 * np.pi * np.cumsum(fundamental) / SAMPLE_RATE
    wave = np.zeros(len(fundamental))
    lowest = float(fundamental.min())
    for number in range(1, limit + 1):
        if number * lowest > 7600:
            break
        frequency = number * fundamental
        wave += np.where(frequency < 7600, amplitude_of(frequency), 0.0) * np.sin(number * phase)
    return wave


def pulse(samples: int, attack: float, decay: float) -> Waveform:
    """A gain that rises linearly in `attack` seconds and falls with time constant `decay`, `[samples]`, peak 1."""
    time = seconds(samples)
    gain: Waveform = np.minimum(time / attack, 1.0) * np.exp(-np.maximum(time - attack, 0.0) / decay)
    return gain


def placed(events: list[Waveform], times: Waveform, samples: int) -> Waveform:
    """Lay `events[i]` at `times[i]` seconds into `samples` of silence; what lies beyond the end is cut."""
    wave = np.zeros(samples)
    for event, start in zip(events, np.round(times * SAMPLE_RATE).astype(int), strict=True):
        end = min(samples, start + len(event))
        if end > start:
            wave[start:end] += event[: end - start]
    return wave


def swells(times: Waveform, samples: int, rise: float, fall: float) -> Waveform:
    """Gain between 0 and 1 that swells at each of `times` (s): half-sine up in `rise` s, down in `fall` s."""
    up = np.sin(0.5 * np.pi * np.linspace(0, 1, max(2, int(rise * SAMPLE_RATE)))) ** 2
    down = np.cos(0.5 * np.pi * np.linspace(0, 1, max(2, int(fall * SAMPLE_RATE)))) ** 2
    shape = np.concatenate([up, down])
    return np.minimum(placed([shape] * len(times), times, samples), 1.0)


def reverberated(wave: Waveform, rng: np.random.Generator, decay: float, wet: float) -> Waveform:
    """Add a room: convolution with noise that decays by 60 dB in `decay` seconds, mixed in by `wet` (RMS ratio)."""
    samples = len(wave)
    time = seconds(int(decay * SAMPLE_RATE))
    response = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay) * (time > 0.012)
    size = 1 << (samples + len(time) - 1).bit_length()
    spectrum = np.fft.rfft(wave, size) * np.fft.rfft(response, size)
    # Air and walls swallow the highs first.
    spectrum *= 1 / (1 + (np.fft.rfftfreq(size, 1 / SAMPLE_RATE) / 4000) ** 2)
    room = np.fft.irfft(spectrum, size)[:samples]
    return wave + room * wet * _rms(wave) / max(_rms(room), 1e-12)


def level(wave: npt.NDArray[np.floating[Any]]) -> float:
    """RMS in dBFS of the loudest quarter second, at least -120: how loud a clip is at its loudest."""
    window = min(LEVEL_WINDOW, len(wave))
    energy = np.concatenate([[0.0], np.cumsum(np.asarray(wave, dtype=np.float64) ** 2)])
    loudest = float(np.max(energy[window:] - energy[:-window])) / window
    return 10 * float(np.log10(max(loudest, 1e-12)))


def centroid(wave: npt.NDArray[np.floating[Any]]) -> float:
    """Mean of log2 frequency weighted by power between 60 Hz and 7.8 kHz: where a sound lies, in octaves over 1 Hz."""
    power = np.abs(np.fft.rfft(np.asarray(wave, dtype=np.float64))) ** 2
    frequencies = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    heard = (frequencies > 60) & (frequencies < 7800)
    return float(np.sum(power[heard] * np.log2(frequencies[heard])) / max(np.sum(power[heard]), 1e-12))


def at_level(wave: Waveform, decibels: float) -> Waveform:
    """Scale `wave` so that `level` is `decibels` dBFS, then `limited`."""
    return limited(wave * 10 ** ((decibels - level(wave)) / 20))


def limited(wave: Waveform) -> Waveform:
    """Bend peaks above 0.7 softly so that all stay within +-0.99."""
    excess = np.maximum(np.abs(wave) - 0.7, 0.0)
    return np.where(excess > 0, np.sign(wave) * (0.7 + 0.29 * np.tanh(excess / 0.29)), wave)


def ramped(wave: Waveform, decibels: float) -> Waveform:
    """Let the gain change evenly in dB by `decibels` from first to last sample (negative: fades)."""
    ramp = np.linspace(0, decibels, len(wave)) - max(decibels, 0.0)
    return wave * 10 ** (ramp / 20)


def _rms(wave: Waveform) -> float:
    return float(np.sqrt(np.mean(wave**2)))

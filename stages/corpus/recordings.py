"""Real recordings: from an audio file of any rate and length to one clip of 16 kHz mono, read in blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote

import numpy as np
import numpy.typing as npt

from stages.corpus.listing import ENCODED_ENDINGS
from stages.corpus.signals import Waveform
from stages.formats.audio import SAMPLE_RATE

SHORTEST_SECONDS = 0.5
LOWEST_RATE = 1000  # Hz; below it there is no sound to speak of, and a minute's samples last for hours
SILENCE = 1e-4
MOST_SAMPLES = 1 << 33  # over all channels: a day of stereo at 48 kHz; a small file may unpack to years
FULL_SCALE = 4.0  # a float sample above it is no overshoot: the file holds integers, which mean another level
CANCELLED = 0.1  # of the loudest channel's energy: a mean that keeps less is one of channels in antiphase
BLOCK = 1 << 16  # samples read at a time, over all channels
STEP = SAMPLE_RATE // 100  # from one window to the next

Channels = npt.NDArray[np.float64]  # [samples, channels]


class UnusableClipError(Exception):
    """A clip that cannot be used: `reason` is a code for rejected.jsonl, `detail` a line for its reader."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def load_clip(path: Path, samples: int) -> Waveform:
    """Read an audio file, mix to mono, resample to 16 kHz and take its loudest `samples`.

    Memory depends neither on the file's length nor on its rate. The mix is the mean of the channels, or the loudest
    of them where they cancel each other.

    Returns:
        Waveform `[samples]` in [-1, 1]. A recording that is shorter is followed by silence; one that overshoots is
        scaled down.

    Raises:
        UnusableClipError: missing, unreadable, empty, sample_rate (below 1 kHz), not_finite, out_of_range, too_short
            (below half a second), too_long or silent.
    """
    import soundfile

    if not os.path.isfile(path):
        raise UnusableClipError("missing", "no such file")
    try:
        clip = loudest_window(_resampled(path), samples)
    # A `.raw` file tells no rate: soundfile says so with a TypeError.
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        why = getattr(error, "error_string", type(error).__name__)
        if path.suffix.lower() in ENCODED_ENDINGS:
            command = f"ffmpeg -i {quote(path.name)} -vn {quote(path.stem + '.wav')}"
            why = f"{path.suffix} cannot be read; take its sound out: `{command}`"
        raise UnusableClipError("unreadable", why) from None
    peak = float(np.max(np.abs(clip)))
    if peak < SILENCE:
        raise UnusableClipError("silent", f"no sample above {SILENCE}")
    return np.pad(clip / max(1.0, peak), (0, samples - len(clip)))


def loudest_window(blocks: Iterable[Waveform], samples: int) -> Waveform:
    """Take the `samples` in a row with the most energy, the earliest of equals; all of a shorter recording."""
    best, most, held = np.zeros(0), -1.0, np.zeros(0)
    for block in blocks:
        held = np.concatenate([held, block])
        starts = np.arange(0, len(held) - samples + 1, STEP)
        if len(starts):
            sums = np.concatenate([[0.0], np.cumsum(held**2)])
            # Rounding keeps equal windows equal whatever the order of summation.
            energy = np.round(sums[starts + samples] - sums[starts], 9)
            if energy.max() > most:
                most, start = float(energy.max()), int(starts[np.argmax(energy)])
                best = held[start : start + samples].copy()
            held = held[starts[-1] + STEP :]
    return best if len(best) else held


def _resampled(path: Path) -> Iterator[Waveform]:
    """Mono at 16 kHz, block by block."""
    import soundfile
    import soxr

    info = soundfile.info(path)
    _check_header(info.frames, info.samplerate, info.channels)
    mix = _mix(path, info.channels)
    if info.samplerate == SAMPLE_RATE:
        yield from (block @ mix for block in _blocks(path))
        return
    stream = soxr.ResampleStream(info.samplerate, SAMPLE_RATE, 1, dtype="float64", quality="VHQ")
    for block in _blocks(path):
        yield stream.resample_chunk(block @ mix)
    yield stream.resample_chunk(np.zeros(0), last=True)


def _mix(path: Path, channels: int) -> Waveform:
    """How much of each channel mono is made of, `[channels]`."""
    mean = np.full(channels, 1 / channels)
    if channels == 1:
        return mean
    energies, energy = np.zeros(channels), 0.0
    for block in _blocks(path):
        energies += np.sum(block**2, axis=0)
        energy += float(np.sum((block @ mean) ** 2))
    if energy >= CANCELLED * energies.max():
        return mean
    loudest: Waveform = np.eye(channels)[np.argmax(energies)]
    return loudest


def _blocks(path: Path) -> Iterator[Channels]:
    import soundfile

    frames = 0
    with soundfile.SoundFile(path) as file:
        # A low rate grows in the resampler.
        at_once = max(1, int(BLOCK * min(1.0, file.samplerate / SAMPLE_RATE) / file.channels))
        while len(block := file.read(at_once, dtype="float64", always_2d=True)):
            frames += len(block)
            _check_length(frames, file.channels)
            peak = float(np.max(np.abs(block)))
            if not np.isfinite(peak):
                raise UnusableClipError("not_finite", "samples that are no numbers")
            if peak > FULL_SCALE:
                raise UnusableClipError("out_of_range", f"a float sample of {peak:g}: scale the file to [-1, 1]")
            yield block
        _check_header(frames, file.samplerate, file.channels)


def _check_length(frames: int, channels: int) -> None:
    if frames * channels > MOST_SAMPLES:
        raise UnusableClipError("too_long", f"more than {MOST_SAMPLES / 1e9:.1f} billion samples; cut the file")


def _check_header(frames: int, rate: int, channels: int) -> None:
    _check_length(frames, channels)
    if not frames:
        raise UnusableClipError("empty", "no samples")
    if rate < LOWEST_RATE:
        raise UnusableClipError("sample_rate", f"{rate} Hz, needs {LOWEST_RATE}; is the file's header right?")
    if frames < SHORTEST_SECONDS * rate:
        raise UnusableClipError("too_short", f"{frames / rate:.3f} s, needs {SHORTEST_SECONDS} s")

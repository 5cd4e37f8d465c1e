"""The sounding things of soundworld: one plain function per source, each a small physical or signal model.

Every function maps a `Draw` (what to play) and a random generator (the clip's own) to a waveform `[samples]`
of any level. `pitch` scales every frequency of a model, so that a small thing sounds about an octave above a
large one; `ring` scales how long struck things ring and `brightness` tilts their highs (metal against wood);
`times` are the onsets of events or swells, so that pace and count mean the same for every source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.corpus.signals import Waveform, band, harmonics, partials, placed, pulse, seconds, shaped_noise, swells
from stages.formats.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Draw:
    """What one take of one recording plays."""

    samples: int
    pitch: float  # factor on frequencies, 1 = middle size
    timbre: float  # -1 to 1, the recording's own colour
    ring: float  # factor on decay times
    brightness: float  # factor on high partials
    rate: float  # events or swells a second
    times: Waveform  # onsets in seconds, [events]


Source = Callable[[Draw, np.random.Generator], Waveform]


def _length(length: float) -> int:
    return int(length * SAMPLE_RATE)


def _repeated(draw: Draw, rng: np.random.Generator, event: Callable[[int], Waveform]) -> Waveform:
    """Play `event(number)` at every onset, each take a little softer or louder."""
    gains = 10 ** (rng.uniform(-1, 1, len(draw.times)) / 20)
    return placed([gain * event(number) for number, gain in enumerate(gains)], draw.times, draw.samples)


def bell(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Inharmonic partials of a church bell (hum, prime, tierce, quint, nominal) after a stroke."""
    ratios = np.array([0.5, 1.0, 1.19 + 0.02 * draw.timbre, 1.5, 2.0, 2.74, 3.0, 4.1])
    amplitudes = np.array([0.5, 1.0, 0.7, 0.4, 0.8, 0.4, 0.3, 0.2]) * draw.brightness ** np.arange(8)
    decays = 0.32 * draw.ring / ratios**0.7
    stroke = partials(620 * draw.pitch * ratios, amplitudes, decays, _length(1.6))
    click = shaped_noise(rng, 320, band(3000 * draw.pitch, 0.8)) * pulse(320, 0.001, 0.004)
    stroke[:320] += 0.5 * draw.brightness * click
    return _repeated(draw, rng, lambda _: stroke)


def drum(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Circular membrane (zeros of the Bessel functions) whose pitch drops after the blow, plus the stick."""
    samples = _length(0.6)
    time = seconds(samples)
    fundamental = 115 * draw.pitch * (1 + 0.5 * np.exp(-time / 0.03))
    phase = 2 * np.pi * np.cumsum(fundamental) / SAMPLE_RATE
    blow = np.zeros(samples)
    for order, ratio in enumerate([1.0, 1.594, 2.136, 2.296]):
        decay = 0.14 * draw.ring**0.5 / (1 + 0.5 * order)
        blow += 0.6**order * np.sin(ratio * phase) * np.exp(-time / decay)
    shell = partials(np.array([5.1, 7.3]) * 115 * draw.pitch, np.array([0.25, 0.2]), np.full(2, 0.12), samples)
    blow += shell * max(0.0, draw.brightness - 1) * 3

    def event(_: int) -> Waveform:
        stick = shaped_noise(rng, 800, band(900 * draw.pitch, 0.9)) * pulse(800, 0.001, 0.01)
        return blow + np.pad(0.25 * stick, (0, samples - 800))

    return _repeated(draw, rng, event)


def dog(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Barks: a rough voice whose pitch rises and falls under one wide formant."""
    samples = _length(0.17)
    arc = np.sin(np.pi * np.linspace(0, 1, samples) ** 0.7)
    formant = band(950 * draw.pitch * (1 + 0.1 * draw.timbre), 0.55)

    def event(_: int) -> Waveform:
        rough = 1 + 0.04 * np.interp(
            np.arange(samples), np.arange(0, samples, 80), rng.standard_normal(-(-samples // 80))
        )
        voice = harmonics(260 * draw.pitch * (1 + 0.5 * arc) * rough, formant)
        breath = shaped_noise(rng, samples, band(1500 * draw.pitch, 0.7))
        wave: Waveform = arc**1.2 * (voice + 0.25 * breath)
        return wave

    return _repeated(draw, rng, event)


def frog(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Croaks: damped resonances struck some thirty times a second, like a comb."""
    samples = _length(0.24)
    beat = partials(np.array([420.0, 1150.0]) * draw.pitch, np.array([1.0, 0.6]), np.array([0.012, 0.006]), 900)
    strokes = np.arange(0, 0.2, 1 / (34 + 4 * draw.timbre))
    croak = placed([beat * gain for gain in np.hanning(len(strokes) + 2)[1:-1]], strokes, samples)
    return _repeated(draw, rng, lambda _: croak)


def bird(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Chirps: a whistle that sweeps over most of an octave and back."""
    samples = _length(0.13)
    position = np.linspace(0, 1, samples)
    window = np.sin(np.pi * position) ** 1.5

    def event(_: int) -> Waveform:
        sweep = 2 ** (0.75 * np.abs(2 * position - 1) + rng.uniform(-0.05, 0.05))
        pitch = 2300 * draw.pitch * sweep
        wave: Waveform = window * harmonics(pitch, lambda f: np.where(f < 1.4 * pitch, 1.0, 0.12), 2)
        return wave

    return _repeated(draw, rng, event)


def cricket(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Chirps of four pure pulses at a steady, high pitch."""
    tone = np.sin(2 * np.pi * 4000 * draw.pitch * seconds(_length(0.018))) * np.hanning(_length(0.018))
    gap = 0.026 + 0.002 * draw.timbre
    chirp = placed([tone * g for g in (0.6, 0.9, 1.0, 0.9)], np.arange(4) * gap, _length(0.14))
    return _repeated(draw, rng, lambda _: chirp)


def clock(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Tick and tock, struck in turn: short rings of the case, the tock a fifth below the tick.

    They ring for some frames of a mel, because a click that is shorter than one does not pass a small codec.
    """

    def event(number: int) -> Waveform:
        frequencies = np.array([2100.0, 2250.0, 3300.0, 3500.0]) * draw.pitch * (1.0, 0.67)[number % 2]
        amplitudes = np.array([1.0, 0.8, 0.5, 0.4]) * draw.brightness ** np.arange(4)
        tick = partials(frequencies, amplitudes, np.array([0.08, 0.07, 0.05, 0.045]) * draw.ring**0.6, _length(0.35))
        tick[:160] += 0.5 * shaped_noise(rng, 160, band(2500 * draw.pitch, 0.8)) * pulse(160, 0.0005, 0.002)
        return tick

    return _repeated(draw, rng, event)


def footsteps(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Heel, then sole: two bursts of grit, with the ring of the ground under them."""
    samples = _length(0.3)
    ground = partials(
        np.array([1.0, 2.3, 3.6]) * 190 * draw.pitch,
        np.array([1.0, 0.5, 0.4]) * draw.brightness ** np.arange(3),
        np.array([0.05, 0.035, 0.03]) * draw.ring**0.6,
        samples,
    )

    def event(_: int) -> Waveform:
        heel = shaped_noise(rng, samples, band(800 * draw.pitch, 0.8)) * pulse(samples, 0.002, 0.016)
        sole = shaped_noise(rng, samples, band(1900 * draw.pitch, 0.7)) * pulse(samples, 0.02, 0.03)
        step: Waveform = 0.5 * ground + heel
        step[_length(0.07) :] += 0.6 * sole[: -_length(0.07)]
        return step

    return _repeated(draw, rng, event)


def phone(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Rings: two notes that alternate twenty times a second, as a clapper between two small bells."""
    length = min(0.5, 0.6 / draw.rate)
    samples = _length(length)
    time = seconds(samples)
    first = (np.sin(2 * np.pi * (20 + draw.timbre) * time) > 0).astype(float)
    wave = np.zeros(samples)
    for chosen, ratio in ((first, 1.0), (1 - first, 1.26)):
        for order, partial in enumerate((1.0, 2.76, 5.4)):
            if 900 * draw.pitch * ratio * partial < 7600:
                gain = (0.35 * draw.brightness) ** order
                wave += gain * chosen * np.sin(2 * np.pi * 900 * draw.pitch * ratio * partial * time)
    edge = np.minimum(1, np.minimum(time, time[::-1]) / 0.008)
    tail = partials(900 * draw.pitch * np.array([1.0, 1.26]), np.full(2, 0.4), np.full(2, 0.06 * draw.ring), 4000)
    ring = np.concatenate([wave * edge, tail])
    return _repeated(draw, rng, lambda _: ring)


def rain(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Hiss and a patter of drops, in gusts: many short resonances over noise without pitch."""
    gust = 0.12 + 0.88 * swells(draw.times, draw.samples, 0.25 / draw.rate, 0.6 / draw.rate)
    hiss = shaped_noise(rng, draw.samples, band(3300 * draw.pitch, 0.75))
    starts = rng.uniform(0, draw.samples / SAMPLE_RATE, int(90 * draw.samples / SAMPLE_RATE))
    drops = [
        gain * partials(np.array([f]), np.ones(1), np.array([0.006 * draw.ring**0.7]), _length(0.04))
        for f, gain in zip(
            2600 * draw.pitch * draw.brightness**1.5 * 2 ** rng.uniform(-0.4, 0.4, len(starts)),
            rng.uniform(0.5, 3.0, len(starts)),
            strict=True,
        )
    ]
    return gust * (0.5 * hiss + placed(drops, starts, draw.samples))


def waves(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Surf: a dark rush that rises slowly, with foam that hisses once the crest breaks."""
    rush = 0.08 + swells(draw.times, draw.samples, 0.55 / draw.rate, 0.35 / draw.rate)
    foam = swells(draw.times + 0.35 / draw.rate, draw.samples, 0.2 / draw.rate, 0.4 / draw.rate)
    dark = shaped_noise(rng, draw.samples, band(330 * draw.pitch, 0.8))
    light = shaped_noise(rng, draw.samples, band(1300 * draw.pitch, 0.6))
    return rush * dark + 0.45 * foam * light


def fire(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Crackle: clusters of sharp snaps of all strengths over a low flutter."""
    snaps, starts = [], []
    for onset in draw.times:
        for _ in range(int(rng.integers(4, 8))):
            starts.append(onset + abs(rng.normal(0, 0.12 / draw.rate)))
            center = 1900 * draw.pitch * 2 ** rng.uniform(-0.3, 0.3)
            snap = shaped_noise(rng, 400, band(center, 0.5)) * pulse(400, 0.0004, 0.004)
            snaps.append(snap * rng.uniform(0.3, 1.0))
    flutter = shaped_noise(rng, draw.samples, band(170 * draw.pitch, 0.6))
    return placed(snaps, np.array(starts), draw.samples) + 0.05 * flutter


def engine(draw: Draw, rng: np.random.Generator) -> Waveform:
    """A rumble of low harmonics under the whine of the gears; the throttle opens at every onset and both rise.

    The whine tells it from surf and wind once a codec has blurred the harmonics into noise.
    """
    throttle = swells(draw.times, draw.samples, 0.35 / draw.rate, 0.5 / draw.rate)
    pitch = 75 * draw.pitch * (1 + 0.25 * throttle)
    tone = harmonics(pitch, band(230 * draw.pitch * (1 + 0.1 * draw.timbre), 0.8), 24)
    exhaust = shaped_noise(rng, draw.samples, band(260 * draw.pitch, 0.5))
    gears = 1500 * draw.pitch * (1 + 0.03 * draw.timbre) * (1 + 0.25 * throttle)
    whine = harmonics(gears, lambda f: np.where(f < 1.5 * gears, 0.5, 0.25), 2)
    return (0.2 + 0.8 * throttle) * (tone + 0.4 * exhaust + whine)


def siren(draw: Draw, rng: np.random.Generator) -> Waveform:
    """A horn's tone whose pitch climbs and falls once per onset, strongest at the top."""
    climb = swells(draw.times, draw.samples, 0.5 / draw.rate, 0.5 / draw.rate)
    pitch = 560 * draw.pitch * 2 ** (0.7 * climb) * (1 + 0.001 * rng.standard_normal())
    slope = 1.3 + 0.2 * draw.timbre
    return (0.2 + 0.8 * climb) * harmonics(pitch, lambda f: (560 * draw.pitch / f) ** slope, 9)


def train(draw: Draw, rng: np.random.Generator) -> Waveform:
    """A steam train: sharp puffs of hissing steam over a held three-note whistle, well below them."""
    length = min(0.3, 0.75 / draw.rate)

    def event(_: int) -> Waveform:
        samples = _length(length)
        return shaped_noise(rng, samples, band(2600 * draw.pitch, 0.6)) * pulse(samples, 0.012, 0.3 * length)

    chord = np.array([1.0, 1.26, 1.5]) * 520 * draw.pitch * (1 + 0.03 * draw.timbre)
    whistle = partials(chord, np.ones(3), np.full(3, 1e3), draw.samples)
    return _repeated(draw, rng, event) + 0.13 * whistle


def wind(draw: Draw, rng: np.random.Generator) -> Waveform:
    """Howling: narrow bands of noise, a gust moves the weight from the lowest to the highest."""
    gust = swells(draw.times, draw.samples, 0.45 / draw.rate, 0.5 / draw.rate)
    wave = np.zeros(draw.samples)
    for position, ratio in enumerate((0.75, 1.0, 1.35)):
        weight = np.exp(-0.5 * ((gust - position / 2) / 0.3) ** 2)
        wave += weight * shaped_noise(rng, draw.samples, band(620 * draw.pitch * ratio, 0.09 + 0.02 * draw.timbre))
    return (0.12 + 0.88 * gust) * wave

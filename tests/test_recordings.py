"""From any audio file to a clip: bounded memory, no channel that vanishes, no level that is guessed."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.recordings import UnusableClipError, load_clip, loudest_window
from tests.test_corpus import SAMPLES, tone

PEAK = """
import resource, sys
from pathlib import Path
import numpy, soundfile, soxr
from stages.corpus.recordings import load_clip
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
load_clip(Path(sys.argv[1]), 20480)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def long_file(path, rate, channels, seconds):
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as file:
        block = np.random.default_rng(1).uniform(-0.1, 0.1, (rate, channels))
        for second in range(seconds):
            file.write(block * (5 if second == seconds // 2 else 1))


# 6 minutes of 48 kHz stereo took 2.7 GB, a second of 44,099 Hz took 17 GB.
@pytest.mark.parametrize(("rate", "channels", "seconds"), [(48_000, 2, 360), (44_099, 1, 2), (1000, 1, 2_000)])
def test_memory_depends_neither_on_length_nor_on_rate(tmp_path, rate, channels, seconds):
    long_file(tmp_path / "long.wav", rate, channels, seconds)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "long.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 * 1024  # KiB


@given(
    wave=st.lists(st.sampled_from([0.0, 0.1, -0.5, 0.9]), min_size=1, max_size=60).map(
        lambda values: np.repeat(values, 97)
    ),
    cuts=st.lists(st.integers(0, 6000), max_size=6),
    samples=st.integers(160, 2000),
)
def test_the_loudest_window_is_the_same_in_whatever_blocks_it_comes(wave, cuts, samples):
    starts = range(0, len(wave) - samples + 1, 160)
    wanted = max(starts, key=lambda start: np.round(np.sum(wave[start : start + samples] ** 2), 9), default=None)
    found = loudest_window(np.split(wave, sorted(min(cut, len(wave)) for cut in cuts)), samples)
    assert np.array_equal(found, wave if wanted is None else wave[wanted : wanted + samples])


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_099, 44_100, 47_999, 48_000, 96_000])
def test_any_rate_keeps_pitch_and_level(tmp_path, rate):
    tone(tmp_path / "a.wav", rate=rate, frequency=1000, gain=0.3)
    clip = load_clip(tmp_path / "a.wav", SAMPLES)
    assert np.argmax(np.abs(np.fft.rfft(clip[2000:18000]))) == 1000
    assert np.max(np.abs(clip[2000:-2000])) == pytest.approx(0.3, abs=0.003)


def test_a_sound_beyond_what_16_khz_can_hold_does_not_fold_back(tmp_path):
    tone(tmp_path / "a.wav", rate=48_000, frequency=11_000)
    assert np.max(np.abs(load_clip(tmp_path / "a.wav", SAMPLES)[2000:-2000])) < 1e-4


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_a_rate_that_no_recording_has_is_one_reason_at_once(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.full(100_000, 0.1), rate)
    with pytest.raises(UnusableClipError, match=r"sample_rate: \d+ Hz|too_short"):
        load_clip(tmp_path / "a.wav", SAMPLES)


def test_why_a_file_cannot_be_read_is_said_without_its_path(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    with pytest.raises(UnusableClipError, match=r"unreadable: Format not recognised\.$"):
        load_clip(tmp_path / "a.wav", SAMPLES)


def channels_of(path, *gains, rate=22_050):
    wave = np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    soundfile.write(path, np.stack([gain * wave for gain in gains], axis=1), rate, subtype="FLOAT")


@pytest.mark.parametrize(
    ("gains", "level"),
    [((0.4, -0.4), 0.4), ((0.4, -0.38), 0.4), ((0.5, 0, 0, 0, 0, 0), 0.5), ((0.4, 0.2), 0.3), ((0.4, 0.0), 0.2)],
)
def test_channels_that_cancel_each_other_do_not_vanish(tmp_path, gains, level):
    channels_of(tmp_path / "a.wav", *gains)
    assert np.max(np.abs(load_clip(tmp_path / "a.wav", SAMPLES)[2000:-2000])) == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize("peak", [13_000.0, 127.0, 8.0])
def test_float_samples_in_a_range_of_integers_are_rejected(tmp_path, peak):
    channels_of(tmp_path / "a.wav", peak)
    with pytest.raises(UnusableClipError, match=r"out_of_range.*scale the file"):
        load_clip(tmp_path / "a.wav", SAMPLES)


def test_an_overshoot_is_scaled_down_and_keeps_its_shape(tmp_path):
    channels_of(tmp_path / "a.wav", 1.6)
    clip = load_clip(tmp_path / "a.wav", SAMPLES)[2000:-2000]
    assert np.max(np.abs(clip)) == pytest.approx(1.0, abs=0.001)
    assert np.sqrt(np.mean(clip**2)) == pytest.approx(np.sqrt(0.5), abs=0.01)


@pytest.mark.parametrize(
    "name", ["a.raw", "a.m4a", "a.wav", "a.txt", f"{'n' * 320}.wav", f"{'d' * 300}/a.wav", "\0.wav"]
)
def test_what_is_no_audio_or_no_possible_name_is_one_reason(tmp_path, name):
    if len(name) < 10 and "\0" not in name:
        (tmp_path / name).write_bytes(b"\0\1" * 9000)
    with pytest.raises(UnusableClipError, match=r"unreadable|missing"):
        load_clip(tmp_path / name, SAMPLES)


def test_the_loudest_part_of_a_recording_is_taken(tmp_path):
    wave = 0.01 * np.ones(80_000)
    wave[50_000:60_000] = 0.6
    assert np.sum(loudest_window([wave], SAMPLES) == 0.6) == 10_000
    assert np.array_equal(loudest_window([wave[:100]], SAMPLES), wave[:100])
    tone(tmp_path / "short.wav", seconds=0.8, rate=16_000)
    clip = load_clip(tmp_path / "short.wav", SAMPLES)
    assert len(clip) == SAMPLES
    assert np.all(clip[12_800:] == 0)
    with pytest.raises(UnusableClipError, match="missing"):
        load_clip(tmp_path, SAMPLES)

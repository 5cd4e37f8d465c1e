"""The built-in corpus: what its clips, captions and splits promise."""

import hashlib
import re
import sys
from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus import soundworld_captions as vocabulary
from stages.corpus.signals import at_level, centroid, generator, level, limited
from stages.corpus.soundworld import CROSSFADE, SIZE_PITCH, SOURCES, joined_then, make
from stages.corpus.soundworld_plan import draw_recordings, held_out_pairs, plan
from stages.corpus.soundworld_sources import Draw
from stages.evaluation.probes import linear_probe
from stages.params.data import Attribute, SoundSource
from stages.synthesis.mel import mel_spectrogram
from tests.test_corpus import settings_for

ATTRIBUTES = get_args(Attribute)
HEARD_ALONE = {"pace", "loudness", "envelope"}


def prepare(**changes):
    usual = {"clips": 240, "clip_seconds": 2.56, "compositions": 0.25, "valid_share": 0.1}
    return settings_for("soundworld", "data/raw/none", **usual | changes)


WIDE = prepare(seed=5, clips=320, compositions=0.0, valid_share=0.0, test_share=0.5)


def made(settings):
    return [make(planned, settings) for planned in plan(settings)]


def digest(clips):
    return [(row, hashlib.sha256(wave.tobytes()).hexdigest()) for row, wave in clips]


@pytest.fixture(scope="module")
def clips():
    return made(prepare())


def test_the_same_params_give_the_same_bytes_and_another_seed_gives_others():
    small = prepare(clips=40, clip_seconds=1.28)
    assert digest(made(small)) == digest(made(small))
    other = dict(enumerate(digest(made(prepare(clips=40, clip_seconds=1.28, seed=2)))))
    assert all(other[number][1] != mark for number, (_, mark) in enumerate(digest(made(small))))


def test_every_clip_is_complete_audible_and_within_range(clips):
    assert [row["id"] for row, _ in clips] == sorted({row["id"] for row, _ in clips})
    for row, wave in clips:
        assert wave.shape == (40960,)
        assert np.all(np.isfinite(wave)), row["id"]
        assert np.max(np.abs(wave)) <= 0.99, row["id"]
        assert level(wave) > -45, row["id"]


def test_at_least_sixteen_sources_in_equal_numbers_in_every_split(clips):
    for split in ("train", "valid", "test"):
        counts = Counter(row["sources"][0] for row, _ in clips if row["split"] == split and not row["composition"])
        assert len(counts) == 16 or split == "valid"
        assert max(counts.values()) - min(counts.values()) <= 4


def test_shares_are_those_of_the_params(clips):
    splits = Counter(row["split"] for row, _ in clips)
    assert splits["test"] == pytest.approx(48, abs=4)
    assert splits["valid"] == pytest.approx(24, abs=4)
    assert sum(row["composition"] is not None for row, _ in clips) == 60


def test_no_recording_lies_in_two_splits(clips):
    splits: dict[str, str] = {}
    for row, _ in clips:
        for recording in row["recording"].split("+"):
            assert splits.setdefault(recording, row["split"]) == row["split"], recording
    assert len(splits) > 40


def test_held_out_pairs_occur_in_the_test_split_only(clips):
    held_out = held_out_pairs(list(SOURCES))
    assert set().union(*held_out) == set(SOURCES)
    assert len(held_out) == 8
    joined = [row for row, _ in clips if row["composition"]]
    for row in joined:
        assert row["held_out_pair"] == (frozenset(row["sources"]) in held_out)
        assert row["split"] == "test" or not row["held_out_pair"]
    test = [row["held_out_pair"] for row in joined if row["split"] == "test"]
    assert True in test
    assert False in test


@given(
    clips=st.integers(64, 400),
    compositions=st.floats(0.1, 0.9),
    test_share=st.floats(0.1, 0.4),
    seed=st.integers(0, 5),
)
@settings(max_examples=25, deadline=None)
def test_compositions_join_one_split_and_keep_the_held_out_pairs_for_its_test(clips, compositions, test_share, seed):
    planned = plan(prepare(clips=clips, compositions=compositions, test_share=test_share, seed=seed))
    assert [clip.id for clip in planned] == [f"soundworld-{number:05d}" for number in range(clips)]
    held_out = held_out_pairs(list(SOURCES))
    joined = [clip.recordings for clip in planned if len(clip.recordings) == 2]
    assert len(joined) == round(clips * compositions)
    for first, second in joined:
        assert first.split == second.split
        assert first.source != second.source
        assert first.split == "test" or frozenset((first.source, second.source)) not in held_out
    test = [frozenset((a.source, b.source)) in held_out for a, b in joined if a.split == "test"]
    alone = {clip.recordings[0].source for clip in planned if clip.recordings[0].split == "test"}
    if any(pair <= alone for pair in held_out) and len(test) > 1:
        assert abs(test.count(True) - test.count(False)) <= 1


def test_planning_twice_as_many_clips_is_at_most_about_twice_the_work():
    def work(clips):
        """Instructions of the interpreter that planning takes."""
        done = 0

        def trace(frame, event, argument):
            nonlocal done
            frame.f_trace_opcodes = True
            done += event == "opcode"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            plan(prepare(clips=clips))
        finally:
            sys.settrace(before)
        return done

    assert work(600) < 2.2 * work(300)


def test_too_few_clips_to_compose_say_what_to_change():
    with pytest.raises(ValueError, match=r"prepare\.clips "):
        plan(prepare(clips=2, compositions=0.5))


@given(clips=st.integers(1, 60), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_any_number_of_recordings_is_split_without_overlap(clips, seed):
    recordings = draw_recordings(prepare(seed=seed), "some", clips, {"test": 0.2, "valid": 0.1, "train": 1.0})
    assert len({recording.name for recording in recordings}) == clips
    counts = Counter(recording.split for recording in recordings)
    assert counts["test"] == round(0.2 * clips)
    assert counts["valid"] == round(0.1 * clips)
    assert counts["train"] >= 1


@given(clips=st.integers(64, 200), foundation=st.integers(1, 300), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_a_foundation_has_recordings_of_its_own_and_moves_no_other_clip(clips, foundation, seed):
    with_one = plan(prepare(clips=clips, foundation_clips=foundation, compositions=0.1, seed=seed))
    assert [clip.id for clip in with_one] == sorted({clip.id for clip in with_one})
    assert with_one[:clips] == plan(prepare(clips=clips, compositions=0.1, seed=seed))
    added = with_one[clips:]
    assert len(added) == foundation
    assert {recording.split for clip in added for recording in clip.recordings} == {"foundation"}
    theirs, ours = ({r.name for clip in part for r in clip.recordings} for part in (with_one[:clips], added))
    assert not theirs & ours
    held_out = held_out_pairs(list(SOURCES))
    assert not any(frozenset(recording.source for recording in clip.recordings) in held_out for clip in added)


def test_clips_of_a_foundation_are_made_like_others_and_leave_their_bytes():
    small = prepare(clips=24, compositions=0.25, clip_seconds=1.28)
    marked = digest(made(small.model_copy(update={"foundation_clips": 24})))
    assert marked[:24] == digest(made(small))
    assert {row["split"] for row, _ in marked[24:]} == {"foundation"}
    assert len({mark for _, mark in marked}) == 48


worlds = st.tuples(
    st.lists(st.sampled_from(sorted(SOURCES)), min_size=4, unique=True),
    st.lists(st.sampled_from(ATTRIBUTES), min_size=1, unique=True).filter(lambda named: HEARD_ALONE & set(named)),
)


def test_the_params_name_each_source_that_there_is():
    assert sorted(get_args(SoundSource)) == sorted(SOURCES) == sorted(vocabulary.WORDS)


@given(world=worlds)
@settings(max_examples=100, deadline=None)
def test_in_every_world_each_source_has_pairs_held_out_and_pairs_to_learn_from(world):
    sources, _ = world
    held_out = held_out_pairs(sources)
    assert set().union(*held_out) == set(sources)
    assert all(len(pair) == 2 for pair in held_out)
    for source in sources:
        assert any(frozenset((source, other)) not in held_out for other in set(sources) - {source})


def test_half_of_the_captions_do_not_give_the_source_away(clips):
    single = [row for row, _ in clips if not row["composition"]]
    telling = sum(
        bool(set(vocabulary.WORDS[row["sources"][0]].verbs) & set(re.findall(r"\w+", row["caption"]))) for row in single
    )
    assert 0.38 < telling / len(single) < 0.62


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_a_small_thing_sounds_about_an_octave_above_a_large_one(source):
    def height(size, timbre):
        times = np.arange(0.1, 2.5, 0.4)
        draw = Draw(40960, SIZE_PITCH[size], timbre, ring=1.0, brightness=1.0, rate=2.4, times=times)
        return centroid(SOURCES[source](draw, generator(source, timbre)))

    for timbre in (-1.0, 0.0, 1.0):
        assert 0.7 < height("small", timbre) - height("large", timbre) < 2.2


def test_what_a_small_codec_keeps_of_a_mel_still_tells_the_source():
    """A small codec keeps blocks of four bands by four frames, at best; what is louder than the room shows in them."""
    planned = [(clip, make(clip, WIDE)) for clip in plan(WIDE)]
    mels = mel_spectrogram(torch.tensor(np.stack([wave for _, (_, wave) in planned]), dtype=torch.float32))
    blocks = torch.nn.functional.avg_pool2d(mels[:, None], 4)[:, 0]
    blocks = blocks.maximum(blocks.amax(dim=(1, 2), keepdim=True) - 2.5)
    blocks = blocks - blocks.mean(dim=(1, 2), keepdim=True)
    loudest = blocks.sort(dim=2).values[:, :, -3:].mean(dim=2)
    moves = blocks.diff(dim=2).abs().mean(dim=2)
    features = torch.cat([blocks.mean(dim=2), blocks.std(dim=2), loudest, moves], dim=1)
    sources = [clip.recordings[0].source for clip, _ in planned]
    test = [clip.split == "test" for clip, _ in planned]

    def recognised(names):
        """Share of test clips of `names` whose source a linear probe reads off the blocks."""
        learned = [place for place in range(len(sources)) if not test[place]]
        asked = [place for place in range(len(sources)) if test[place] and sources[place] in names]
        truth, asked_truth = ([str(sources[place]) for place in places] for places in (learned, asked))
        return linear_probe(features[learned], truth, features[asked], asked_truth)

    assert recognised(set(SOURCES)) > 0.87
    assert recognised({"clock", "engine", "train", "waves", "wind"}) > 0.87


def test_joining_keeps_the_length_and_both_parts():
    samples = 40960
    first, second = (np.full((samples + CROSSFADE) // 2, value) for value in (0.1, -0.2))
    wave = joined_then(first, second)
    assert len(wave) == samples
    assert wave[0] == pytest.approx(0.1)
    assert wave[-1] == pytest.approx(-0.2)


@given(decibels=st.floats(-60, -10), gain=st.floats(0.001, 100), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_levels_come_out_as_asked_and_never_clip(decibels, gain, seed):
    noise = generator(seed).standard_normal(16000)
    assert level(at_level(gain * noise, decibels)) == pytest.approx(decibels, abs=0.3)
    assert np.max(np.abs(limited(gain * noise))) <= 0.99

"""One arm of the study: swapped pairs, scores by caption, and the controls that train the U-Net."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from stages.evaluation.scoring import ClipScores, Heard
from stages.params.schema import load_params
from stages.study.spaces import in_plane
from stages.study.trial import caption_scores, swapped, train_unet
from stages.synthesis.unet import build_denoiser
from tests.test_alignment import pairs
from tests.test_unet import SMALL as SMALL_UNET

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("swap", "changed"), [("image", {"image"}), ("text", {"text"}), ("both", {"image", "text"})])
def test_a_swap_takes_what_it_says_from_another_pair_and_nothing_else(swap, changed):
    own = pairs(6)
    other = swapped(own, swap)
    assert other.ids == own.ids
    assert torch.equal(other.latents, own.latents)
    for name in ("image", "text"):
        was, now = getattr(own, name), getattr(other, name)
        assert torch.equal(now, was.roll(3, 0) if name in changed else was)
    assert torch.equal(other.clap_tokens, own.clap_tokens.roll(3, 0) if swap == "both" else own.clap_tokens)


def test_scores_of_a_caption_are_of_all_its_takes():
    rows = [{"id": name} for name in ("b", "a", "b")]
    obeyed = [{"size": True, "pace": False}, {"count": True}, {"size": False, "pace": True}]
    heard = Heard({}, torch.zeros(3, 2), None)
    values = {
        "source_accuracy": [1.0, 0.0, 0.0],
        "attribute_adherence": [0.5, 1.0, 0.5],
        "seen": [1.0, 0.0, 0.0],
        "heard": [0.0, 1.0, 1.0],
        "clap_score": [0.2, 0.3, math.nan],
    }
    scores = caption_scores(ClipScores(rows, [0, 0, 1], heard, values, obeyed))
    assert scores["ids"] == ["a", "b"]
    assert scores["source_accuracy"] == [0.0, 0.5]
    assert scores["clap_score"] == [0.3, 0.2]
    assert scores["seen"] == [0.0, 0.5]
    assert scores["heard"] == [1.0, 0.5]
    assert scores["fit"] == [0.5, 0.5]
    untold = caption_scores(ClipScores(rows[:1], [0], heard, {"clap_score": [0.1]}, [{}]))
    assert untold["fit"] == untold["heard"] == [None]


def test_a_control_trains_the_u_net_under_contexts_that_stay(tmp_path):
    torch.manual_seed(0)
    params = load_params(ROOT / "presets/smoke.yaml")
    stage = params.train_a.stage_2.model_copy(update={"epochs": 1})
    params = params.model_copy(
        update={"train_a": params.train_a.model_copy(update={"stage_2": stage, "batch_size": 8})}
    )
    denoiser = build_denoiser(SMALL_UNET, latent_channels=4, context_dim=6)
    before = {name: weight.clone() for name, weight in denoiser.state_dict().items()}
    found = train_unet(denoiser, lambda rows: rows.clap_tokens, params, pairs(16), pairs(4, seed=1), tmp_path)
    assert found["unet_best_validation_diffusion_loss"] > 0
    assert any(not torch.equal(weight, before[name]) for name, weight in denoiser.state_dict().items())


def test_two_spaces_share_a_plane_that_keeps_apart_what_is_apart():
    random = torch.Generator().manual_seed(0)
    one = torch.randn(30, 6, generator=random) * 0.1 + torch.eye(6)[0]
    left, right = in_plane(one, one)
    assert torch.equal(left, right)
    left, right = in_plane(one, torch.randn(30, 4, generator=random) * 0.1 + torch.eye(4)[3])
    assert left.shape == right.shape == (30, 2)
    assert (left.mean(dim=0) - right.mean(dim=0)).norm() > 5 * left.std(dim=0).norm()

"""Experiments A and B: fusion, projection, alignment, their losses and how they are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stages.embedding.embeddings import Embeddings, load_embeddings, write_embeddings
from stages.experiments.experiment_a import ContextProjection, ExperimentA, load_experiment_a
from stages.experiments.experiment_b import ExperimentB, load_experiment_b
from stages.experiments.fusion import save_experiment
from stages.experiments.sampling import at_both_scales
from stages.experiments.training_a import train_stage
from stages.params.schema import load_params
from stages.synthesis.unet import build_denoiser, save_denoiser
from tests.test_unet import SMALL as SMALL_UNET

ROOT = Path(__file__).parent.parent


def test_projection_repeats_its_tokens_equally_so_that_attention_is_left_as_it_is():
    torch.manual_seed(0)
    fused = torch.randn(2, 8)
    projection = ContextProjection(8, 16, 7, 77)
    context = projection(fused)
    assert context.shape == (2, 77, 16)
    once = context[:, ::11]
    query = torch.randn(2, 5, 16)
    repeated = nn.functional.scaled_dot_product_attention(query, context, context)
    single = nn.functional.scaled_dot_product_attention(query, once, once)
    assert torch.allclose(repeated, single, atol=1e-5)
    assert not torch.allclose(once[:, 0], once[:, 1])


def test_projection_refuses_token_counts_that_do_not_divide():
    with pytest.raises(ValueError, match=r"context_tokens=5 does not divide 77"):
        ContextProjection(8, 16, 5, 77)


@pytest.mark.parametrize("fusion", ["mean", "weighted", "attention"])
def test_both_experiments_come_back_from_their_folders(tmp_path, fusion):
    torch.manual_seed(1)
    text, image = torch.randn(3, 8), torch.randn(3, 8)
    backbone = build_denoiser(SMALL_UNET, latent_channels=4, context_dim=6)
    save_denoiser(tmp_path / "backbone", backbone)
    config_a = {"fusion": fusion, "embedding_dim": 8, "context_dim": 6, "context_tokens": 7, "length": 77}
    trained = build_denoiser(SMALL_UNET, latent_channels=4, context_dim=6)
    first = ExperimentA(config_a, trained)
    save_experiment(tmp_path, config_a, first.state_dict())
    again = load_experiment_a(tmp_path, tmp_path / "backbone")
    assert torch.allclose(again.context(text, image), first.eval().context(text, image), atol=1e-6)
    for name, weight in again.denoiser.state_dict().items():
        assert torch.equal(weight, trained.state_dict()[name]), name

    config_b = {"fusion": fusion, "embedding_dim": 8, "width": 16, "blocks": 1, "heads": 2}
    config_b |= {"linear_path": True, "centre": True}
    second = ExperimentB(config_b, torch.randn(77, 6))
    for parameter in second.parameters():
        nn.init.normal_(parameter, std=0.1)
    save_experiment(tmp_path, config_b, second.state_dict())
    loaded = load_experiment_b(tmp_path)
    assert torch.allclose(loaded.context(text, image), second.eval().context(text, image), atol=1e-6)


@pytest.mark.parametrize("sizes", [[5], [2, 2, 1], [1, 4]])
def test_embeddings_written_in_batches_are_the_file_that_the_library_writes_at_once(tmp_path, sizes):
    ids = [f"clip-{number}-ü" for number in range(5)]
    whole = {
        "text": torch.randn(5, 4),
        "image": torch.randn(5, 4),
        "clap_tokens": torch.randn(5, 77, 6),
        "clap_lengths": torch.tensor([5, 9, 1, 2, 3]),
        "latents": torch.randn(5, 4, 10, 20),
    }
    empty_tokens = torch.randn(77, 6)
    batches = zip(*(tensor.split(sizes) for tensor in whole.values()), strict=True)
    named = (dict(zip(whole, batch, strict=True)) | {"empty_tokens": empty_tokens} for batch in batches)
    write_embeddings(tmp_path / "test.safetensors", ids, named)
    save_file(whole | {"empty_tokens": empty_tokens}, tmp_path / "all.safetensors", metadata={"ids": json.dumps(ids)})
    assert (tmp_path / "test.safetensors").read_bytes() == (tmp_path / "all.safetensors").read_bytes()
    again = load_embeddings("test", tmp_path)
    assert again.ids == ids
    part = again.rows(torch.tensor([3, 1]))
    assert part.ids == [ids[3], ids[1]]
    assert torch.equal(part.latents, whole["latents"][[3, 1]])
    assert torch.equal(part.clap_lengths, torch.tensor([2, 9]))
    assert torch.equal(part.empty_tokens, empty_tokens)


def test_each_stage_of_a_trains_what_it_says_whatever_the_share_of_dropped_captions(tmp_path):
    torch.manual_seed(0)
    data = Embeddings(
        ids=[f"clip-{number}" for number in range(6)],
        text=torch.randn(6, 8),
        image=torch.randn(6, 8),
        clap_tokens=torch.randn(6, 7, 6),
        clap_lengths=torch.full((6,), 5),
        latents=torch.randn(6, 4, 10, 8),
        empty_tokens=torch.randn(7, 6),
    )
    params = load_params(ROOT / "presets/smoke.yaml").train_a
    stage = params.stage_1.model_copy(update={"epochs": 1})
    config = {"fusion": "mean", "embedding_dim": 8, "context_dim": 6, "context_tokens": 1, "length": 7}
    for dropout in (0.0, 0.3):
        given = params.model_copy(
            update={"caption_dropout": dropout, "batch_size": 3, "stage_1": stage, "stage_2": stage}
        )
        network = ExperimentA(config, build_denoiser(SMALL_UNET, latent_channels=4, context_dim=6))
        for number, trains in ((1, False), (2, True)):
            before = {name: weight.clone() for name, weight in network.state_dict().items()}
            train_stage(number, network, data, data, given, tmp_path / f"{dropout}-{number}")
            changed = {name for name, weight in network.state_dict().items() if not torch.equal(weight, before[name])}
            assert any(name.startswith("projection.") for name in changed)
            assert any(name.startswith("denoiser.") for name in changed) == trains, (dropout, number)


def test_at_guidance_1_a_system_still_has_all_its_takes():
    sample = load_params(ROOT / "presets/smoke.yaml").sample
    values = {"guidance_scale": 1.0, "clips_per_caption": 3, "clips_per_caption_unguided": 1}
    guided, unguided = at_both_scales(
        "experiment_a", lambda rows, _: rows.clap_tokens, sample.model_copy(update=values)
    )
    assert (guided.takes, unguided.takes) == (3, 1)
    assert (guided.guidance_scale, unguided.guidance_scale) == (1.0, 1.0)

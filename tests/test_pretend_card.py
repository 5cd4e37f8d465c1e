"""Trainings, sampling and towers on a card, as far as a machine without one can tell: nothing mixes two devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from stages.embedding.embeddings import Embeddings
from stages.experiments import training, training_a, training_b
from stages.params.schema import load_params
from stages.synthesis.bigvgan import BigVGAN
from stages.synthesis.codec import Codec, build_vae
from stages.synthesis.samplers import sample_latents
from stages.synthesis.unet import build_denoiser
from stages.towers import imagebind as ib
from stages.towers.clap import Clap
from stages.training import loop, optimizers
from tests.pretend_card import CARD, OnCard, pretend_card
from tests.scratch_clone import ROOT

PARAMS: Any = load_params(ROOT / "presets/smoke.yaml")
TOKENS, WIDTH, PAIRS = PARAMS.encoders.clap.tokens, PARAMS.encoders.clap.embedding_dim, 6


@pytest.fixture(autouse=True)
def card(monkeypatch) -> Iterator[None]:
    """Networks and batches go to the pretended card; what needs a real one, or a file, is left out of the loop."""
    for module in (training, training_a, training_b):
        monkeypatch.setattr(module, "device", lambda: CARD)
    monkeypatch.setattr(
        optimizers, "build_optimizer", lambda _, parameters, rate: torch.optim.SGD(parameters, rate, foreach=False)
    )
    monkeypatch.setattr(loop, "save_checkpoint", lambda *_: None)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    torch.manual_seed(0)
    with pretend_card():
        yield


def pairs() -> Embeddings:
    text, image = torch.randn(2, PAIRS, 16)
    return Embeddings(
        ids=[str(number) for number in range(PAIRS)],
        text=text,
        image=image,
        clap_tokens=torch.randn(PAIRS, TOKENS, WIDTH),
        clap_lengths=torch.randint(3, TOKENS, (PAIRS,)),
        latents=torch.randn(PAIRS, 4, 10, 20),
        empty_tokens=torch.randn(TOKENS, WIDTH),
    )


def denoiser(**changes: Any) -> Any:
    return build_denoiser(PARAMS.backbone.model_copy(update=changes), 4, WIDTH).to(CARD)


def test_mixing_devices_is_refused():
    """Else the other tests would show nothing."""
    with pytest.raises(RuntimeError, match="add: tensors of two devices"):
        torch.randn(3).to(CARD) + torch.randn(3)


@pytest.mark.parametrize("fusion", ["mean", "weighted", "attention"])
def test_experiment_a_trains_on_a_card(tmp_path, fusion):
    stage = PARAMS.train_a.stage_1.model_copy(update={"epochs": 1})
    changes = {"fusion": fusion, "modality_dropout": 0.5, "batch_size": 3, "stage_1": stage, "stage_2": stage}
    data = pairs()
    trained = training_a.train_experiment_a(
        PARAMS.train_a.model_copy(update=changes), data, data.to(CARD), denoiser(channels=[16]), tmp_path
    )
    assert all(isinstance(tensor, OnCard) for tensor in trained.best.values())
    assert trained.metrics["updates"] == 4


@pytest.mark.parametrize(("last", "change"), [("finish", {"updates": 2}), ("flow", {"steps": 3})])
def test_experiment_b_trains_on_a_card_with_all_its_treatments(tmp_path, last, change):
    changes = {
        "batch_size": 3,
        "epochs": 1,
        "linear_path": True,
        "centre": True,
        "noise": 0.1,
        "modality_dropout": 0.5,
        "loss_weights": PARAMS.train_b.loss_weights.model_copy(update={"contrastive": 1.0}),
        "position_weights": PARAMS.train_b.position_weights.model_copy(update={"padding": 0.5}),
        last: getattr(PARAMS.train_b, last).model_copy(update=change),
    }
    data = pairs()
    trained = training_b.train_experiment_b(
        PARAMS.train_b.model_copy(update=changes), data, data.to(CARD), denoiser(), tmp_path
    )
    assert all(isinstance(tensor, OnCard) for tensor in trained.best.values())
    assert 0 <= trained.metrics["retrieval_recall_at_1"] <= 1


@pytest.mark.parametrize("sampler", ["dpm_solver", "ddim"])
def test_clips_are_sampled_on_a_card_and_end_on_the_cpu(sampler):
    latents = sample_latents(
        denoiser().eval(),
        torch.randn(2, TOKENS, WIDTH),
        torch.randn(TOKENS, WIDTH),
        seeds=[1, 2],
        latent_shape=(4, 10, 20),
        sampler=sampler,
        steps=4,
        guidance_scale=2.0,
        guidance_from_timestep=500,
    )
    vae, vocoder = build_vae(PARAMS.codec.vae).eval(), BigVGAN(PARAMS.codec.vocoder).eval()
    codec = Codec(vae, vocoder, 0.5, (4, 10, 20)).to(CARD)
    waveforms = codec.decode(latents)
    assert not isinstance(waveforms, OnCard)
    assert waveforms.shape == (2, 40_960)
    assert not isinstance(codec.encode(torch.randn(2, 80, 160)), OnCard)


@torch.no_grad()
def test_pairs_are_embedded_on_a_card():
    imagebind = ib.build_imagebind(PARAMS.encoders.imagebind).eval().to(CARD)
    clap = Clap(PARAMS.encoders.clap, 100).eval().to(CARD)
    found = [
        ib.embed_texts(imagebind, ib.tokenize(["a dog barks", "rain"])),
        ib.embed_images(imagebind, torch.zeros(2, 3, 224, 224, dtype=torch.uint8)),
        ib.embed_audio(imagebind, torch.zeros(2, 1, 128, 256)),
        clap.token_features(torch.ones(2, TOKENS, dtype=torch.long).to(CARD)),
    ]
    assert all(isinstance(one, OnCard) and one.held.isfinite().all() for one in found)

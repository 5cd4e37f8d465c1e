"""The diffusion loss: fixed or random noise, weighted timesteps, dropped captions, and the compute of an update."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.experiments.training import teraflops_per_update
from stages.synthesis.schedule import MAKE_AN_AUDIO
from stages.synthesis.unet import Denoiser
from stages.training.diffusion import (
    drop_context,
    fixed_diffusion_loss,
    random_diffusion_loss,
    timestep_weights,
)
from stages.training.loop import PLAIN_REGIME


class Predictor(Denoiser):
    """Stands where the U-Net stands: predicts the mean of its context as noise."""

    def __init__(self):
        super().__init__(None, MAKE_AN_AUDIO)

    def forward(self, latents, timesteps, context):
        return context.mean(dim=(1, 2)).view(-1, 1, 1, 1).expand_as(latents)


def test_fixed_diffusion_loss_is_the_same_at_every_call_and_ranks_contexts():
    latents = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    zero, five = torch.zeros(8, 3, 2), torch.full((8, 3, 2), 5.0)
    first = fixed_diffusion_loss(Predictor(), latents, zero)
    torch.manual_seed(99)
    assert fixed_diffusion_loss(Predictor(), latents, zero) == first
    assert first == pytest.approx(1.0, abs=0.15)
    assert fixed_diffusion_loss(Predictor(), latents, five) > 20


def test_weighted_loss_is_the_clean_latents_error_up_to_five():
    weights = timestep_weights(MAKE_AN_AUDIO)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    latents, noise = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
    signal = MAKE_AN_AUDIO.add_noise(latents + 1, noise * 0, torch.tensor([100, 300]))
    early, late = signal.square().flatten().tolist()
    assert float(weights[100] / weights[300]) == pytest.approx((1 - early) / early / ((1 - late) / late), rel=1e-4)
    assert weights[-1] == weights.max() == weights[900]


def test_weighting_shifts_the_training_loss_to_noisy_timesteps():
    class Blind(Denoiser):
        """Wrong about the noise at the noisiest timesteps alone."""

        def forward(self, noisy, timesteps, context):
            wrong = (timesteps > 800).float().view(-1, 1, 1, 1)
            return noise + wrong

    latents, context = torch.zeros(512, 1, 2, 2), torch.zeros(512, 1, 1)
    losses = {}
    for weighting in ("plain", "clean_latent"):
        torch.manual_seed(0)
        torch.randperm(512), torch.rand(512)
        noise = torch.randn_like(latents)
        torch.manual_seed(0)
        losses[weighting] = float(random_diffusion_loss(Blind(None, MAKE_AN_AUDIO), latents, context, weighting))
    assert losses["plain"] == pytest.approx(0.2, abs=0.05)
    assert losses["clean_latent"] > 1.5 * losses["plain"]


def test_dropped_contexts_are_the_features_of_the_empty_caption():
    torch.manual_seed(0)
    context, empty = torch.ones(1000, 2, 3), torch.zeros(2, 3)
    dropped = drop_context(context, empty, 0.1)
    whole_rows = dropped.flatten(1).unique(dim=1)
    assert whole_rows.shape == (1000, 1)
    assert 0.07 < 1 - dropped.mean() < 0.13
    assert torch.equal(drop_context(context, empty, 0.0), context)


def test_compute_is_counted_for_forward_and_backward():
    network = nn.Linear(10, 20, bias=False)
    counted = teraflops_per_update(network, lambda update: network(torch.ones(5, 10)).sum(), PLAIN_REGIME)
    assert counted * 1e12 == pytest.approx(2 * (2 * 5 * 10 * 20))
    assert network.weight.grad is None


class CountingUnet(Denoiser):
    """Predicts a noise that depends on everything it is given; remembers how much it was given at once."""

    def __init__(self):
        super().__init__(None, MAKE_AN_AUDIO)
        self.seen: list[int] = []

    def forward(self, latents, timesteps, context):
        self.seen.append(len(latents))
        given = context.mean(dim=(1, 2)) + timesteps / 1000
        return latents * given[:, None, None, None]


def test_many_validation_clips_are_measured_a_piece_at_a_time_and_weigh_alike(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    latents, context = torch.randn(300, 1, 2, 3, generator=generator), torch.randn(300, 2, 4, generator=generator)
    unet = CountingUnet()
    in_pieces = fixed_diffusion_loss(unet, latents, context, draws=2)
    assert unet.seen == [128, 128, 44] * 2
    monkeypatch.setattr("stages.training.diffusion.PIECE", 1000)
    assert in_pieces == pytest.approx(fixed_diffusion_loss(unet, latents, context, draws=2), rel=1e-6)

"""Muon: its steps have the same length in all directions, and a killed run goes on as if nothing had happened."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.training.loop import train
from stages.training.optimizers import Muon, orthogonalized, takes


class KilledError(Exception):
    pass


def problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small convolutional network, and inputs whose directions differ a hundredfold in size."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(16, 32, 3, padding=1), nn.Tanh(), nn.Conv1d(32, 16, 3, padding=1))
    inputs = torch.randn(32, 16, 8) * torch.logspace(-1, 1, 16)[:, None]
    return network, inputs, inputs.flip(1).sin()


def run(work, muon_rate: float, killed_at: int | None = None):
    network, inputs, targets = problem()

    def loss(update: int) -> torch.Tensor:
        if update == killed_at:
            raise KilledError
        squared: torch.Tensor = (network(inputs) - targets).square()
        return squared.mean()

    return train(
        network,
        loss,
        name="test",
        seed=0,
        updates=60,
        learning_rate=1e-3,
        work=work,
        epoch_updates=20,
        muon_rate=muon_rate,
    )


@pytest.mark.parametrize("shape", [(2, 64, 16), (2, 16, 288)])
def test_the_step_has_about_the_same_length_in_all_directions(shape):
    torch.manual_seed(0)
    uneven = torch.randn(shape) * torch.logspace(0, 1.5, shape[1])[:, None]
    steps = orthogonalized(uneven)
    assert steps.shape == shape
    before, after = (torch.linalg.svdvals(one) for one in (uneven, steps))
    assert float((before.amax(1) / before.amin(1)).min()) > 5
    assert float(after.min()) > 0.3
    assert float(after.max()) < 1.3
    # Turned the same way: the nearest orthogonal matrix is left over right singular vectors.
    left, _, right = torch.linalg.svd(uneven, full_matrices=False)
    similar = torch.cosine_similarity(steps.flatten(1), (left @ right).flatten(1))
    assert float(similar.min()) > 0.95


def test_it_takes_matrices_and_kernels_and_leaves_vectors_and_narrow_ones():
    shapes = [(16, 16), (16, 2, 3, 3), (64,), (4, 64, 3, 3), (64, 8)]
    assert [takes(torch.zeros(shape)) for shape in shapes] == [True, True, False, False, False]


def test_weights_shrink_by_decay_where_the_gradient_is_zero():
    parameter = nn.Parameter(torch.ones(16, 16))
    parameter.grad = torch.zeros(16, 16)
    Muon([parameter], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(parameter.detach(), torch.full((16, 16), 0.95))


def test_a_killed_run_ends_with_the_same_bytes_and_learns_more_than_without(tmp_path, monkeypatch):
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    whole = run(tmp_path / "whole", 0.02)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", 0.02, killed_at=33)
    again = run(tmp_path / "killed", 0.02)
    assert all(torch.equal(whole.last[name], again.last[name]) for name in whole.last)
    adamw = run(tmp_path / "adamw", 0.0)
    assert whole.curve[-1]["training_loss"] < 0.9 * adamw.curve[-1]["training_loss"]

"""Experiment B's flow: what it draws, what its seeds decide, and its training with the rest of B."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.experiments import training_b
from stages.experiments.experiment_b import load_experiment_b
from stages.experiments.fusion import save_experiment
from stages.experiments.token_flow import TokenFlow
from stages.params.experiments import Flow
from stages.params.schema import load_params
from stages.synthesis.unet import build_denoiser
from stages.training import loop
from tests.test_alignment import pairs
from tests.test_unet import SMALL as SMALL_UNET

ROOT = Path(__file__).parent.parent
FLOW = Flow(steps=4, noise=1.0)


def flow_of(tokens):
    flow = TokenFlow(tokens.mean(dim=0), width=32, blocks=1, heads=2, steps=16, noise=1.0)
    flow.scale_by(tokens)
    return flow


def loss_of(flow, predicted, target):
    return flow.loss(predicted, target, torch.rand(len(target)), torch.randn(target.shape))


def test_where_tokens_have_two_forms_the_flow_draws_either_and_never_their_mean():
    torch.manual_seed(0)
    form, mean = torch.randn(3, 4), 5 * torch.randn(3, 4)
    target = mean + torch.tensor([1.0, -1.0]).repeat(64)[:, None, None] * form
    predicted = target.mean(dim=0).expand_as(target)  # the best that a regression can say
    flow = flow_of(target)
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    for _ in range(300):
        loss = loss_of(flow, predicted, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = flow.draw(predicted, range(128))
    far = torch.stack([(drawn - mean - side * form).square().mean(dim=(1, 2)).sqrt() for side in (1, -1)])
    near = far.min(dim=0).values / form.square().mean().sqrt()
    assert (near < 0.3).float().mean() > 0.9
    assert 0.2 < far.argmin(dim=0).float().mean() < 0.8


def test_untrained_it_draws_normal_numbers_of_the_tokens_own_deviations_about_the_prediction():
    torch.manual_seed(0)
    tokens = torch.randn(500, 3, 4) * torch.tensor([0.5, 1.0, 2.0])[:, None] + 7
    flow = flow_of(tokens)
    predicted = torch.randn(3, 4)
    drawn = flow.draw(predicted.expand(2000, 3, 4), range(2000))
    assert torch.allclose(drawn.mean(dim=0), predicted, atol=0.2)
    assert torch.allclose(drawn.std(dim=0), tokens.std(dim=0), rtol=0.1)
    flow.noise = 0.5
    halved = flow.draw(predicted.expand(2000, 3, 4), range(2000))
    assert torch.allclose(halved - predicted, (drawn - predicted) / 2, atol=1e-4)
    # So for such tokens nothing is left to learn: the loss is that of numbers which cannot be known.
    apart = torch.randn(2000, 3, 4) * tokens.std(dim=0)
    loss = loss_of(flow, predicted.expand(2000, 3, 4), predicted + apart)
    assert loss.item() == pytest.approx(1, abs=0.1)


def test_numbers_that_hardly_vary_do_not_rule_the_loss():
    torch.manual_seed(0)
    tokens = torch.randn(200, 3, 4)
    tokens[:, 0] = 7 + 1e-4 * tokens[:, 0]
    assert loss_of(flow_of(tokens), tokens + 0.1, tokens).item() < 5


def test_a_rows_tokens_are_its_own_seeds_alone():
    torch.manual_seed(0)
    flow = flow_of(torch.randn(20, 3, 4))
    torch.nn.init.normal_(flow.leave.weight, std=0.5)
    predicted = torch.randn(3, 4).expand(3, 3, 4)
    drawn = flow.draw(predicted, [5, 6, 5])
    assert torch.allclose(drawn[0], drawn[2], atol=1e-5)
    assert not torch.allclose(drawn[0], drawn[1], atol=0.1)
    assert torch.allclose(flow.draw(predicted[:1], [6])[0], drawn[1], atol=1e-5)


@pytest.fixture
def train(tmp_path):
    """Trains B on some pairs with changes of params, without the U-Net but for the end."""
    train, valid = pairs(24), pairs(6, seed=1)
    denoiser = build_denoiser(SMALL_UNET, latent_channels=4, context_dim=6)
    params = load_params(ROOT / "presets/smoke.yaml").train_b.model_copy(update={"batch_size": 8, "epochs": 3})

    def trained(work="work", **changes):
        torch.manual_seed(0)
        given = params.model_copy(update=changes)
        return training_b.train_experiment_b(given, train, valid, denoiser, tmp_path / work, diffusion_curve=False)

    return trained


def test_b_with_a_flow_is_kept_whole_and_without_one_as_it_always_was(train, tmp_path):
    with_flow, without = train("with", flow=FLOW), train("without")
    assert with_flow.config == without.config | {"flow": {"steps": 4, "noise": 1.0}}
    assert {name for name in with_flow.best if not name.startswith("flow.")} == set(without.best)
    assert all(row["validation_flow_loss"] > 0 for row in with_flow.curve)
    assert "validation_flow_loss" not in without.curve[0]
    assert set(with_flow.metrics) - set(without.metrics) >= {"predicted_variance_words", "predicted_explained_first"}
    save_experiment(tmp_path, with_flow.config, with_flow.best)
    network, valid = load_experiment_b(tmp_path), pairs(6, seed=1)
    one, again, other = (network.context(valid.text, valid.image, range(at, at + 6)) for at in (0, 0, 9))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=0.1)
    with pytest.raises(AssertionError, match="a seed of its own"):
        network.context(valid.text, valid.image)


def test_the_flow_leaves_the_prediction_alone(train, monkeypatch):
    """It learns beside it: without a limit to their common gradient the prediction is that of a B without a flow."""
    monkeypatch.setattr(loop, "GRADIENT_NORM", 1e9)
    with_flow, without = train("with", flow=FLOW), train("without")
    assert [row["validation_loss"] for row in with_flow.curve] == pytest.approx(
        [row["validation_loss"] for row in without.curve], rel=1e-4
    )


def test_a_training_with_a_flow_that_was_killed_ends_with_the_weights_of_one_that_was_not(train, monkeypatch):
    whole = train("whole", flow=FLOW)
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    columns = training_b.alignment_columns

    def killed(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_b, "alignment_columns", killed)
    with pytest.raises(KeyboardInterrupt):
        train("killed", flow=FLOW)
    monkeypatch.setattr(training_b, "alignment_columns", columns)
    resumed = train("killed", flow=FLOW)
    assert resumed.curve == whole.curve
    assert all(torch.equal(resumed.best[name], tensor) for name, tensor in whole.best.items())


def test_a_flow_that_would_undo_the_finish_is_refused():
    params = load_params(ROOT / "params.yaml").train_b
    finish = params.finish.model_dump() | {"updates": 10}
    with pytest.raises(ValueError, match=r"undo finish\.updates; set one of them to 0"):
        type(params).model_validate(params.model_dump() | {"flow": {"steps": 8, "noise": 1.0}, "finish": finish})

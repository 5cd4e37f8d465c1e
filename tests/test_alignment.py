"""Fusion, and experiment B on its way to CLAP's tokens: loss, treatments, report, baselines, finish."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.embedding.embeddings import Embeddings
from stages.experiments.alignment import (
    alignment_loss,
    alignment_report,
    baselines,
    contrastive_loss,
    token_importance,
)
from stages.experiments.experiment_b import TokenGenerator
from stages.experiments.fusion import Fusion
from stages.experiments.training_b import train_experiment_b
from stages.formats.files import write_tsv
from stages.params.experiments import Finish, LossWeights, PositionWeights
from stages.params.schema import load_params
from stages.report.plots import read_curve
from stages.synthesis.unet import build_denoiser
from tests.test_unet import SMALL as SMALL_UNET

ROOT = Path(__file__).parent.parent
SEED_WEIGHTS = LossWeights(mse=2.0, cosine=1.0, contrastive=0.0)
TEXT, IMAGE = torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 1.0]])
NOTHING = torch.zeros(1, 2)


def pairs(count: int, seed: int = 0) -> Embeddings:
    """Pairs whose tokens are a linear map of the averaged embedding, and a little noise."""
    known = torch.Generator().manual_seed(7)
    slopes = torch.randn(8, 7 * 6, generator=known)
    drawn = torch.Generator().manual_seed(seed)
    text, image = (torch.nn.functional.normalize(torch.randn(count, 8, generator=drawn), dim=-1) for _ in range(2))
    return Embeddings(
        ids=[f"clip-{number}" for number in range(count)],
        text=text,
        image=image,
        clap_tokens=((text + image) / 2 @ slopes).unflatten(1, (7, 6))
        + 0.01 * torch.randn(count, 7, 6, generator=drawn),
        clap_lengths=torch.full((count,), 5),
        latents=torch.randn(count, 4, 10, 8, generator=drawn),
        empty_tokens=torch.randn(7, 6, generator=known),
    )


@pytest.mark.parametrize(
    ("kind", "both", "text_alone", "image_alone"),
    [
        ("mean", [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]),
        ("weighted", [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]),
        ("raw_mean", [50.0, 0.5], [100.0, 0.0], [0.0, 1.0]),
        ("text", [1.0, 0.0], [1.0, 0.0], None),
        ("image", [0.0, 1.0], None, [0.0, 1.0]),
    ],
)
def test_each_fusion_takes_what_it_says_and_one_modality_alone(kind, both, text_alone, image_alone):
    fusion = Fusion(kind, 2)
    for text, image, wanted in ((TEXT, IMAGE, both), (TEXT, NOTHING, text_alone), (NOTHING, IMAGE, image_alone)):
        if wanted is None:
            with pytest.raises(ValueError, match=f"fusion {kind}: what it reads is missing"):
                fusion(text, image)
        else:
            assert torch.allclose(fusion(text, image), torch.tensor([wanted]))


def test_weighted_fusion_learns_its_share():
    fusion = Fusion("weighted", 2)
    fusion(TEXT, IMAGE)[0, 0].backward()
    assert fusion.text_logit is not None
    assert fusion.text_logit.grad is not None
    assert fusion.text_logit.grad > 0


def test_attention_learns_from_both_and_leaves_out_what_is_missing():
    torch.manual_seed(0)
    fusion = Fusion("attention", 8).eval()
    text, image, other = torch.randn(3, 5, 8)
    assert not torch.allclose(fusion(text, image), fusion(text, other))
    assert not torch.allclose(fusion(text, image), fusion(other, image))
    alone = fusion(text, torch.zeros(5, 8))
    assert alone.isfinite().all()
    assert torch.allclose(alone, fusion(text, torch.zeros(5, 8)))
    assert not torch.allclose(alone, fusion(text, image))


def test_training_drops_and_disturbs_what_it_is_told_to_and_inference_nothing():
    torch.manual_seed(0)
    text, image = TEXT.expand(400, 2), IMAGE.expand(400, 2)
    fusion = Fusion("mean", 2)
    fusion.modality_dropout = 0.5
    fused = fusion.train()(text, image)
    alone = [int((fused == torch.tensor(one)).all(dim=1).sum()) for one in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5])]
    assert sum(alone) == 400
    assert alone[0] > 60
    assert alone[1] > 60
    assert alone[2] > 150
    fusion.modality_dropout, fusion.noise = 0.0, 0.3
    lengths = (fusion(text, image) - 0.5).norm(dim=1)
    assert 0.2 < lengths.square().mean().sqrt() < 0.4
    assert torch.equal(fusion.eval()(text, image), torch.full((400, 2), 0.5))


def test_a_centred_fusion_forgets_what_all_embeddings_of_a_modality_share():
    torch.manual_seed(0)
    offset = torch.nn.functional.one_hot(torch.tensor(0), 8) * 5.0
    text, image = torch.randn(64, 8) + offset, torch.randn(64, 8) - offset
    fusion = Fusion("image", 8, centre=True)
    assert fusion(text, image)[:, 0].mean() < -0.8
    fusion.centre_on(text, image)
    assert abs(fusion(text, image)[:, 0].mean()) < 0.1
    assert torch.allclose(fusion(text, image).norm(dim=1), torch.ones(64))


def test_alignment_loss_is_the_seeds():
    predicted = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    target = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]])
    mse, cosine = (0 + 0 + 4 + 4) / 4, (1 + 0) / 2
    assert alignment_loss(predicted, target, SEED_WEIGHTS) == pytest.approx(2 * mse + (1 - cosine))
    assert alignment_loss(target, target, SEED_WEIGHTS) == pytest.approx(0, abs=1e-6)
    only_cosine = LossWeights(mse=0.0, cosine=1.0, contrastive=0.0)
    assert alignment_loss(3 * target, target, only_cosine) == pytest.approx(0, abs=1e-6)


def test_tokens_count_by_their_place():
    weights = PositionWeights(first=8.0, words=1.0, padding=0.25)
    importance = token_importance(torch.tensor([2, 3]), 4, weights)
    assert importance.tolist() == [[8.0, 1.0, 0.25, 0.25], [8.0, 1.0, 1.0, 0.25]]
    target = torch.ones(1, 4, 2)
    wrong_at = [target.clone() for _ in range(4)]
    for place, predicted in enumerate(wrong_at):
        predicted[0, place] += 1
    losses = [float(alignment_loss(predicted, target, SEED_WEIGHTS, importance[:1])) for predicted in wrong_at]
    assert losses == pytest.approx([2 * share / 9.5 for share in (8.0, 1.0, 0.25, 0.25)], abs=1e-6)


def test_the_contrastive_term_tells_captions_apart():
    torch.manual_seed(0)
    target, mean = torch.randn(6, 16), torch.randn(16)
    right = contrastive_loss(target, target, mean)
    assert right < 0.2
    assert contrastive_loss(target.roll(1, 0), target, mean) > 5 * right
    # What all captions share tells none apart: moving it moves nothing.
    assert contrastive_loss(target + 3, target + 3, mean + 3) == pytest.approx(float(right), abs=1e-4)


def test_report_tells_words_from_padding_and_regression_to_the_mean():
    torch.manual_seed(0)
    mean = torch.randn(4, 2)
    target = mean + torch.randn(50, 4, 2)
    predicted = target.clone()
    predicted[:, 2:] = mean[2:] + 0.5 * (target[:, 2:] - mean[2:])
    report = alignment_report(predicted, target, torch.full((50,), 2), mean)
    assert report["mse_words"] == 0
    assert report["cosine_words"] == pytest.approx(1)
    assert report["explained_first"] == 1
    assert report["variance_words"] == pytest.approx(1)
    assert report["explained_padding"] == pytest.approx(0.75)
    assert report["variance_padding"] == pytest.approx(0.25)
    nothing = alignment_report(mean.expand_as(target), target, torch.full((50,), 2), mean)
    assert nothing["explained_words"] == 0
    assert nothing["variance_padding"] == 0


def test_ridge_finds_a_linear_truth_that_the_nearest_caption_and_the_mean_do_not():
    train, valid = pairs(200), pairs(20, seed=1)
    mean = train.clap_tokens.mean(0)
    found = {
        name: alignment_report(predicted, valid.clap_tokens, valid.clap_lengths, mean)["explained_words"]
        for name, predicted in baselines(train, valid).items()
    }
    assert found["mean_tokens"] == 0
    assert found["ridge"] > 0.95
    assert 0 < found["nearest_caption"] < 0.9


def test_generator_starts_at_the_mean_tokens_and_learns_a_sequence():
    torch.manual_seed(0)
    mean = torch.randn(5, 6)
    fused = torch.randn(4, 8)
    target = mean + torch.randn(4, 5, 6)
    for linear_path in (False, True):
        generator = TokenGenerator(8, mean, 16, 1, 2, linear_path)
        assert torch.allclose(generator(fused), mean.expand(4, 5, 6))
        optimizer = torch.optim.Adam(generator.parameters(), lr=0.01)
        first = float(alignment_loss(generator(fused), target, SEED_WEIGHTS))
        for _ in range(100):
            loss = alignment_loss(generator(fused), target, SEED_WEIGHTS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert float(loss) < 0.2 * first


def test_b_is_trained_with_all_treatments_and_the_u_net_stays_as_it_is(tmp_path):
    torch.manual_seed(0)
    train, valid = pairs(24), pairs(6, seed=1)
    denoiser = build_denoiser(SMALL_UNET, latent_channels=4, context_dim=6)
    before = {name: weight.clone() for name, weight in denoiser.state_dict().items()}
    changes = {"batch_size": 8, "epochs": 2, "linear_path": False}
    plain = load_params(ROOT / "presets/smoke.yaml").train_b.model_copy(update=changes)
    treatments = {
        "linear_path": True,
        "centre": True,
        "noise": 0.1,
        "modality_dropout": 0.2,
        "loss_weights": LossWeights(mse=2.0, cosine=1.0, contrastive=0.2),
        "position_weights": PositionWeights(first=8.0, words=1.0, padding=0.5),
        "finish": Finish(updates=12, learning_rate=3e-3, loss_weighting="clean_latent"),
    }
    published = train_experiment_b(plain, train, valid, denoiser, tmp_path / "plain")
    treated = train_experiment_b(plain.model_copy(update=treatments), train, valid, denoiser, tmp_path / "treated")
    del treatments["finish"]
    torch.manual_seed(0)
    unfinished = train_experiment_b(
        plain.model_copy(update=treatments), train, valid, denoiser, tmp_path / "unfinished"
    )
    assert "finished_validation_diffusion_loss" in treated.metrics
    assert "finished_validation_diffusion_loss" not in unfinished.metrics
    # What the finish takes counts at equal updates and compute (metrics/comparison.json): it was left out.
    write_tsv(tmp_path / "treated.tsv", treated.curve)
    curve = read_curve(tmp_path / "treated.tsv")
    assert [row["updates"] for row in curve] == [3, 6, 9, 12, 15, 18]
    assert (unfinished.metrics["updates"], treated.metrics["updates"]) == (6, 18)
    assert treated.metrics["teraflops"] == round(curve[-1]["teraflops"], 3)
    # An update through the U-Net, backward and forward, is more than one of the alignment.
    assert curve[-1]["teraflops"] - curve[1]["teraflops"] > 2 * curve[1]["teraflops"]
    leave = "generator.leave.weight"
    assert not torch.allclose(treated.best[leave], unfinished.best[leave], atol=1e-3)
    assert set(treated.best) - set(published.best) == {
        "fusion.text_mean",
        "fusion.image_mean",
        "generator.linear_path.weight",
    }
    assert {"ridge_validation_loss", "nearest_caption_validation_diffusion_loss", "cka_before"} < set(treated.metrics)
    assert all(torch.equal(weight, before[name]) for name, weight in denoiser.state_dict().items())

"""Image-text agreement and paraphrase overlap: reported for all pairs, and by thresholds a reason to leave some out."""

from __future__ import annotations

import json
from contextlib import chdir

import pytest
import torch

from stages import embed
from stages.embedding.agreement import agreement_metrics, agreement_rows, agreement_scores, without_scores
from stages.embedding.embeddings import load_embeddings
from stages.formats.files import read_jsonl
from stages.params.experiments import Embed
from tests.scratch_clone import change_params
from tests.shell import run_stages

OFF = {"text": "text_part", "min_image_text_agreement": -1.0, "max_paraphrase_similarity": 1.0}
SCORES = {
    "image_text_agreement": [0.9, 0.1, -0.2],
    "image_text_agreement_others": [0.0, 0.1, 0.2],
    "paraphrase_similarity": [0.95, 0.2, 0.8],
}


def test_scores_are_cosines_of_the_pair_and_means_over_the_others_visual_parts():
    axes = torch.eye(3)
    image = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]])
    others = agreement_scores(image, visual_part=axes, text_part=axes)["image_text_agreement_others"]
    assert torch.allclose(others, torch.tensor([0.0, 0.0, 0.3]))
    alone = agreement_scores(axes[:1], axes[:1], axes[:1])
    assert (float(alone["image_text_agreement"]), float(alone["image_text_agreement_others"])) == (1, 0)
    scores = agreement_scores(image=axes, visual_part=axes, text_part=axes.roll(1, dims=0))
    assert scores["image_text_agreement"].tolist() == [1, 1, 1]
    assert scores["image_text_agreement_others"].tolist() == [0, 0, 0]
    assert scores["paraphrase_similarity"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, [[], [], []]),
        ({"min_image_text_agreement": 0.1}, [[], [], ["image_text_agreement"]]),
        ({"max_paraphrase_similarity": 0.8}, [["paraphrase_similarity"], [], []]),
        (
            {"min_image_text_agreement": 0.0, "max_paraphrase_similarity": 0.5},
            [["paraphrase_similarity"], [], ["image_text_agreement", "paraphrase_similarity"]],
        ),
    ],
)
def test_a_threshold_leaves_out_what_lies_beyond_it_and_the_limits_nothing(changes, left_out):
    rows = agreement_rows(["a", "b", "c"], "train", SCORES, Embed.model_validate(OFF | changes))
    assert [row["left_out"] for row in rows] == left_out
    metrics = agreement_metrics(rows, SCORES["image_text_agreement_others"])
    assert metrics["left_out"] == sum(map(bool, left_out))
    assert metrics["left_out_image_text_agreement"] == sum("image_text_agreement" in one for one in left_out)
    assert (metrics["image_text_agreement_lowest"], metrics["paraphrase_similarity_highest"]) == (-0.2, 0.95)


def test_rounding_beyond_one_leaves_nothing_out_where_the_threshold_is_off():
    scores = SCORES | {"paraphrase_similarity": [1.0000001] * 3, "image_text_agreement": [-1.0000001] * 3}
    assert not any(
        row["left_out"] for row in agreement_rows(["a", "b", "c"], "test", scores, Embed.model_validate(OFF))
    )


def test_scores_do_not_reach_the_embeddings_file():
    batch = {"text": torch.ones(2, 3)} | {name: torch.tensor(values[:2]) for name, values in SCORES.items()}
    scores: dict[str, list[float]] = {}
    assert [list(one) for one in without_scores([batch, batch], scores)] == [["text"], ["text"]]
    assert [round(value, 4) for value in scores["paraphrase_similarity"]] == [0.95, 0.2, 0.95, 0.2]


@pytest.mark.slow
def test_pairs_that_fail_a_threshold_are_neither_trained_on_nor_sampled_and_are_listed(project):
    rows = read_jsonl(project / "data/embeddings/agreement.jsonl")
    metrics = json.loads((project / "metrics/embed.json").read_text())
    assert metrics["pairs"] == len(rows) == len(read_jsonl(project / "data/quality/accepted.jsonl"))
    assert metrics["left_out"] == 0
    middle = sorted(row["image_text_agreement"] for row in rows)[len(rows) // 2] + 0.00005
    before = {split: load_embeddings(split, project / "data/embeddings") for split in ("train", "test")}
    change_params(project / "params.yaml", embed={"min_image_text_agreement": middle}, sample={"captions": 0})
    run_stages(project, "embed", "sample_references")
    rows = read_jsonl(project / "data/embeddings/agreement.jsonl")
    kept = {row["id"] for row in rows if not row["left_out"]}
    assert all((row["image_text_agreement"] > middle) == (row["id"] in kept) for row in rows)
    for split, whole in before.items():
        part = load_embeddings(split, project / "data/embeddings")
        indices = [index for index, item in enumerate(whole.ids) if item in kept]
        assert part.ids == [whole.ids[index] for index in indices]
        assert 0 < len(indices) < len(whole.ids)
        assert torch.equal(part.latents, whole.latents[indices])
        assert torch.equal(part.clap_tokens, whole.clap_tokens[indices])
    sampled = {row["id"] for row in read_jsonl(project / "data/samples/references/codec/metadata.jsonl")}
    assert sampled == kept & set(before["test"].ids)

    change_params(project / "params.yaml", embed={"min_image_text_agreement": 1.0})
    before_it = (project / "data/embeddings/train.safetensors").read_bytes()
    with (
        chdir(project),
        pytest.raises(ValueError, match=r"^embed\.min_image_text_agreement=1 and max_paraphrase_similarity=1 leave no"),
    ):
        embed.main()
    assert (project / "data/embeddings/train.safetensors").read_bytes() == before_it

"""LAION-CLAP from local files: its text tower, its tokenizer, and both towers of a checkpoint."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.evaluation.scoring import Scorers, SystemClips, score_clips
from stages.formats.files import write_json
from stages.judging.clap_scorer import convert_scorer, load_scorer, principal_directions
from stages.published.encoders import convert_encoders
from stages.towers.clap import token_counts
from stages.towers.laion_clap import (
    CHECKPOINTS,
    ROBERTA_WIDTH,
    build_laion_clap,
    read_laion_clap,
    read_laion_weights,
    read_roberta_tower,
)
from stages.towers.roberta import PADDING, RobertaTokenizer, RobertaTower
from stages.towers.store import load_clap
from stages.weights.reading import only_one
from tests.test_published import published  # noqa: F401 - a fixture
from tests.test_towers import published_imagebind

CONFIG = {
    "vocab_size": 59,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "intermediate_size": 96,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def checkpoint(tower):
    """A text tower as the published file holds it: under `module.`, with position_ids and numpy's numbers beside."""
    state = {f"module.text_branch.{name}": value for name, value in tower.base.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    return {"epoch": np.int64(45), "name": "630k", "state_dict": state}


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return RobertaTower(CONFIG).eval()


@pytest.fixture
def tokenizer_folder(tmp_path):
    return write_tokenizer(tmp_path / "roberta-base")


def laion_clap(path):
    return read_laion_clap(read_laion_weights(path), path)


def write_tokenizer(folder):
    folder.mkdir()
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, *(f"Ġ{letter}" for letter in LETTERS), "do", "dog", "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g\n")
    return folder


def test_the_text_tower_comes_back_from_its_checkpoint(tower, tmp_path):
    torch.save(checkpoint(tower), tmp_path / "x.pt")
    again, config = read_roberta_tower(read_laion_weights(tmp_path / "x.pt"), "x")
    assert config == CONFIG
    tokens = torch.tensor([[0, 5, 6, 2] + [PADDING] * 73])
    other = tokens.clone()
    with torch.no_grad():
        features = again(tokens)
        assert torch.equal(features, tower(tokens))
        # Padding is masked, a word is not.
        assert features.shape == (1, 77, 64)
        other[0, 1] = 7
        assert not torch.allclose(tower(other)[0, 0], features[0, 0])


def test_a_checkpoint_with_fusion_or_without_a_text_tower_is_refused(tower, tmp_path):
    state = checkpoint(tower)
    state["state_dict"]["module.audio_branch.patch_embed.fusion_model.local_att.0.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="feature fusion"):
        read_laion_weights(tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x: no weight named embeddings\.word_embeddings\.weight"):
        read_roberta_tower({"a": torch.zeros(1)}, "x")
    torch.save(checkpoint(tower), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="no audio tower that is known"):
        laion_clap(tmp_path / "x.pt")


def test_the_tokenizer_reads_local_files_alone(tokenizer_folder):
    tokens = RobertaTokenizer(tokenizer_folder)(["dog", "a dog"])
    assert tokens.shape == (2, 77)
    assert tokens[0, :4].tolist() == [0, 57, 2, PADDING]
    assert token_counts(tokens, PADDING).tolist()[0] == 3
    (tokenizer_folder / "merges.txt").unlink()
    with pytest.raises(ValueError, match=r"merges\.txt: no such file; `bind-an-audio weights`"):
        RobertaTokenizer(tokenizer_folder)


def test_it_steers_instead_where_the_preset_says_so(tower, tokenizer_folder, published, tmp_path):  # noqa: F811
    (published / "laion_clap").mkdir()
    torch.save(checkpoint(tower), published / "laion_clap/630k-audioset-best.pt")
    (tmp_path / "encoders").mkdir()
    convert_encoders(tmp_path / "encoders", published, published_imagebind()[0], "laion_clap")
    clap, tokenizer = load_clap(tmp_path / "encoders")
    assert tokenizer.padding == PADDING
    tokens = tokenizer(["dog"])
    with torch.no_grad():
        assert torch.equal(clap.token_features(tokens), tower(tokens))
    (tokenizer_folder / "vocab.json").write_text(json.dumps({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}))
    (tokenizer_folder / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match=r"roberta-base: 6 words where the checkpoint has 59; take roberta-base's"):
        convert_encoders(tmp_path / "encoders", published, published_imagebind()[0], "laion_clap")


def write_laion_clap(folder, width=96):
    """A checkpoint of random weights in the published format below `folder`, with RoBERTa's tokenizer beside it."""
    torch.manual_seed(0)
    sizes = {**CONFIG, "hidden_size": ROBERTA_WIDTH, "num_attention_heads": 12}
    state = {f"module.{name}": value for name, value in build_laion_clap(width, sizes).state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    (folder / "laion_clap").mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": np.int64(3), "state_dict": state}, folder / "laion_clap/630k-audioset-best.pt")
    write_tokenizer(folder / "roberta-base")
    return state


@pytest.mark.slow
@pytest.mark.parametrize("width", [96, 128], ids=["HTSAT-tiny", "HTSAT-base"])
def test_both_towers_of_a_checkpoint_embed_to_length_one(tmp_path, width):
    state = write_laion_clap(tmp_path, width)
    clap = laion_clap(tmp_path / "laion_clap/630k-audioset-best.pt")
    with torch.no_grad():
        heard = clap.embed_audio(torch.randn(2, 48_000) / 10)
        read = clap.embed_texts(torch.tensor([[0, 5, 6, 2] + [PADDING] * 73]))
    assert heard.shape == (2, 512)
    assert torch.allclose(torch.cat([heard, read]).norm(dim=1), torch.ones(3), atol=1e-5)
    del state["module.audio_projection.2.bias"]
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"1 missing \(audio_projection\.2\.bias\)"):
        laion_clap(tmp_path / "x.pt")


@pytest.mark.slow
def test_it_scores_clips_where_the_preset_says_so(tmp_path):
    write_laion_clap(tmp_path / "weights")
    (tmp_path / "judges").mkdir()
    clips = torch.randn(5, 16_000, generator=torch.Generator().manual_seed(0)) / 10
    convert_scorer(tmp_path / "judges", tmp_path / "weights", clips.split(2), 64)
    write_json(tmp_path / "judges/config.json", {"sources": []})
    scorer = load_scorer(tmp_path / "judges")
    reference = laion_clap(tmp_path / "weights/laion_clap/630k-audioset-best.pt")
    rows: list[dict[str, Any]] = [
        {"id": str(place), "caption": caption, "sources": [], "attributes": {}}
        for place, caption in enumerate(["dog", "a dog", "do"])
    ]
    scores = score_clips(SystemClips(rows, [0, 0, 0], clips[:3]), Scorers(scorer, None, [], {}))
    with torch.no_grad():
        text = reference.embed_texts(RobertaTokenizer(tmp_path / "judges")([row["caption"] for row in rows]))
        audio = reference.embed_audio(clips[:3])
    assert scores.values["clap_score"] == pytest.approx((text * audio).sum(dim=1).tolist(), abs=1e-6)
    # Four directions tell five training clips apart, and keep their distances.
    assert scores.heard.main.shape == (3, 4)
    assert torch.allclose(torch.pdist(scores.heard.main), torch.pdist(audio), atol=1e-5)
    (tmp_path / "weights/roberta-base/vocab.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="no tokenizer of RoBERTa's kind"):
        convert_scorer(tmp_path / "judges", tmp_path / "weights", clips.split(2), 64)


@given(st.integers(2, 12), st.integers(3, 8), st.integers(1, 8))
def test_directions_are_those_of_the_greatest_variance(clips, dimensions, most):
    embeddings = torch.randn(clips, dimensions, generator=torch.Generator().manual_seed(clips)) * torch.arange(
        1, dimensions + 1
    )
    directions = principal_directions(embeddings, most)
    kept = directions.shape[1]
    assert kept == min(most, clips - 1, dimensions)
    assert torch.allclose(directions.T @ directions, torch.eye(kept), atol=1e-5)
    spread = torch.linalg.eigvalsh(torch.cov(embeddings.T)).flip(0)[:kept]
    assert torch.allclose((embeddings @ directions).var(dim=0), spread, rtol=1e-3, atol=1e-3)


def test_one_checkpoint_has_to_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"none of 630k-audioset-best\.pt, .* there; `bind-an-audio weights`"):
        only_one(tmp_path, CHECKPOINTS)
    (tmp_path / "630k-best.pt").touch()
    assert only_one(tmp_path, CHECKPOINTS).name == "630k-best.pt"
    (tmp_path / "630k-audioset-best.pt").touch()
    with pytest.raises(ValueError, match=r"630k-audioset-best\.pt and 630k-best\.pt there; keep the one to use"):
        only_one(tmp_path, CHECKPOINTS)

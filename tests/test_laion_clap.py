"""LAION-CLAP from local files: its text tower, its tokenizer, and both towers of a checkpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from stages.towers.clap import token_counts
from stages.towers.laion_clap import read_laion_clap, read_laion_weights, read_roberta_tower
from stages.towers.published import convert_encoders
from stages.towers.roberta import PADDING, RobertaTokenizer, RobertaTower
from stages.towers.store import load_clap
from tests.test_pretrained import published  # noqa: F401 - a fixture
from tests.test_towers import published_imagebind

CONFIG = {
    "vocab_size": 60,
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
    folder = tmp_path / "roberta-base"
    folder.mkdir()
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, *(f"Ġ{letter}" for letter in LETTERS), "do", "dog"]
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
        read_laion_clap(tmp_path / "x.pt")


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


@pytest.mark.slow
def test_both_towers_of_a_checkpoint_embed_to_length_one(tmp_path):
    import types

    from transformers import RobertaConfig, RobertaModel

    from stages.towers.laion_clap import _module
    from stages.towers.roberta import ROBERTA

    torch.manual_seed(0)
    module = _module("model")
    small = RobertaConfig(**{**CONFIG, "hidden_size": 768, "num_attention_heads": 12}, **ROBERTA)
    module.RobertaModel = types.SimpleNamespace(from_pretrained=lambda _name: RobertaModel(small))
    audio: dict[str, object] = {
        "audio_length": 1024,
        "clip_samples": 480_000,
        "mel_bins": 64,
        "sample_rate": 48_000,
        "window_size": 1024,
    }
    audio |= {
        "hop_size": 480,
        "fmin": 50,
        "fmax": 14_000,
        "class_num": 527,
        "model_type": "HTSAT",
        "model_name": "tiny",
    }
    text: dict[str, object] = {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 512,
        "heads": 8,
        "layers": 12,
        "model_type": "roberta",
    }
    state = {f"module.{name}": value for name, value in module.CLAP(768, audio, text).state_dict().items()}
    torch.save({"epoch": np.int64(3), "state_dict": state}, tmp_path / "x.pt")
    clap = read_laion_clap(tmp_path / "x.pt")
    with torch.no_grad():
        heard = clap.embed_audio(torch.randn(2, 48_000) / 10)
        read = clap.embed_texts(torch.tensor([[0, 5, 6, 2] + [PADDING] * 73]))
    assert heard.shape == (2, 512)
    assert torch.allclose(torch.cat([heard, read]).norm(dim=1), torch.ones(3), atol=1e-5)
    del state["module.audio_projection.2.bias"]
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"1 missing \(audio_projection\.2\.bias\)"):
        read_laion_clap(tmp_path / "x.pt")

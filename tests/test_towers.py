"""The conditioning towers: against reference tensors, and the contrastive loss's masks and hard partners."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from stages.judging.networks import build_scorer_clap, embed_captions
from stages.params.models import ImageBindSize, TowerSize
from stages.params.schema import load_params
from stages.published.encoders import imagebind_weights, read_text_tower
from stages.towers import imagebind as ib
from stages.towers.clap import Clap, Tokenizer, token_counts, word_pieces, write_vocabulary
from stages.towers.contrastive import contrastive_loss, equal_pairs, hard_partners, key_codes, with_hard_partners
from stages.towers.store import load_imagebind, load_trained_clap, save_encoders
from stages.weights.fitting import without_prefix
from tests.golden_weights import imagebind_weights_and_config

GOLDEN = Path(__file__).parent / "golden"
SMOKE = load_params(Path(__file__).parent.parent / "presets/smoke.yaml").encoders
assert SMOKE.source == "trained"


def test_text_tower_is_make_an_audios_and_built_from_its_weights_alone():
    path = GOLDEN / "maa_clap_text_tiny_state.safetensors"
    weights = without_prefix(load_file(path), "cond_stage_model.caption_encoder.")
    weights["base.embeddings.position_ids"] = torch.arange(96)[None]
    golden = load_file(GOLDEN / "maa_clap_text_tiny_io.safetensors")
    with torch.no_grad():
        features = read_text_tower(weights, "golden", heads=4)(golden["input_ids"])
    assert torch.allclose(features, golden["seq_out_no_mask"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(features, golden["seq_out_with_mask"], rtol=1e-4, atol=1e-3)
    del weights["base.encoder.layer.1.output.dense.bias"]
    with pytest.raises(ValueError, match=r"golden: .*1 missing \(base\.encoder\.layer\.1\.output\.dense\.bias\)"):
        read_text_tower(weights, "golden", heads=4)


def published_imagebind() -> tuple[ImageBindSize, dict[str, torch.Tensor]]:
    weights, config = imagebind_weights_and_config()
    towers = {
        name: TowerSize(
            width=config[f"{name}_embed_dim"], blocks=config[f"{name}_num_blocks"], heads=config[f"{name}_num_heads"]
        )
        for name in ("text", "vision", "audio")
    }
    return ImageBindSize(embedding_dim=config["out_embed_dim"], patch=14, **towers), weights


def test_imagebind_is_the_published_one():
    size, weights = published_imagebind()
    model = ib.build_imagebind(size, ("text", "vision"))
    model.load_state_dict(imagebind_weights(weights, size, ("text", "vision"), "golden"))
    golden = load_file(GOLDEN / "imagebind_tiny_io.safetensors")
    with torch.no_grad():
        text = model.eval()({"text": golden["tokens"]})["text"]
        vision = model({"vision": golden["image"].float()})["vision"]
    for ours, name in ((text, "text_out"), (vision, "vision_out")):
        assert float((ours - golden[name]).abs().max() / golden[name].abs().max()) < 1e-4, name
    assert torch.allclose(ib.unit(text).norm(dim=1), torch.ones(8), atol=1e-5)


def test_imagebinds_other_towers_are_left_out_and_anything_else_is_named():
    size, weights = published_imagebind()
    weights["modality_trunks.imu.blocks.0.norm_1.weight"] = torch.ones(2)
    assert not any("imu" in name for name in imagebind_weights(weights, size, ("text", "vision"), "golden"))
    weights["modality_trunks.smell.blocks.0.norm_1.weight"] = torch.ones(2)
    with pytest.raises(ValueError, match=r"golden: .*1 unknown \(modality_trunks\.smell"):
        imagebind_weights(weights, size, ("text", "vision"), "golden")
    with pytest.raises(ValueError, match=r"golden: .*missing \(modality_preprocessors\.audio"):
        imagebind_weights(weights, size, ("audio",), "golden")


def test_imagebind_huge_has_the_published_sizes():
    size = load_params(Path(__file__).parent.parent / "presets/full.yaml").encoders.imagebind
    with ib.WithoutMemory():
        model = ib.build_imagebind(size, ("text", "vision"))
        audio = ib.build_imagebind(size, ("audio",), published=True)
    shapes = {name: list(value.shape) for name, value in (model.state_dict() | audio.state_dict()).items()}
    assert shapes["modality_preprocessors.vision.rgbt_stem.proj.1.weight"] == [1280, 3, 2, 14, 14]
    assert shapes["modality_trunks.vision.blocks.31.mlp.fc1.weight"] == [5120, 1280]
    assert shapes["modality_trunks.text.blocks.23.mlp.fc1.weight"] == [4096, 1024]
    assert shapes["modality_trunks.audio.blocks.11.mlp.fc1.weight"] == [3072, 768]
    # 12 by 19 patches and the class token.
    assert shapes["modality_preprocessors.audio.pos_embedding_helper.pos_embed"] == [1, 229, 768]
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(987e6, rel=0.001)
    assert sum(value.numel() for value in model.state_dict().values() if not value.is_meta) < 1e5


def test_audio_is_heard_in_three_windows_that_cover_the_clip():
    heard: list[torch.Tensor] = []

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))  # its device is where inputs are sent

        def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            heard.append(inputs["audio"])
            return {"audio": inputs["audio"].mean(dim=(1, 2, 3))[:, None].expand(-1, 4)}

    tower = Tower()
    quiet = torch.randn(1, 160_000, generator=torch.Generator().manual_seed(0)) * 1e-3
    late = quiet.clone()
    late[:, 140_000:] *= 300
    ib.embed_audio_clips(tower, torch.cat([quiet, late]))
    assert [features.shape for features in heard] == [(2, 1, 128, 204)] * 3
    assert torch.equal(heard[0][0], heard[0][1])
    assert (heard[2][1] > heard[2][0]).float().mean() > 0.5
    heard.clear()
    ib.embed_audio_clips(tower, quiet[:, :8000])
    assert heard[0].shape == (1, 1, 128, 204)


def test_a_tower_of_ours_hears_the_beginning_and_a_published_one_the_whole_clip():
    torch.manual_seed(0)
    ours = ib.build_imagebind(SMOKE.imagebind).eval()
    published = ib.build_imagebind(SMOKE.imagebind, ("audio",), published=True).eval()
    clip = torch.randn(1, 160_000) / 10
    quiet_end = clip.clone()
    quiet_end[:, 80_000:] /= 1000
    with torch.no_grad():
        for tower, hears_the_end in ((ours, False), (published, True)):
            # One clip at a time: what is heard of it is less its mean.
            whole, cut = (ib.embed_waveforms(tower, one - one.mean()) for one in (clip, quiet_end))
            assert whole.shape == (1, SMOKE.imagebind.embedding_dim)
            assert (1 - float((whole * cut).sum()) > 1e-4) == hears_the_end


def test_imagebind_tokens_are_the_published_ones():
    golden = json.loads((GOLDEN / "imagebind_tokens.json").read_text())
    tokens = ib.tokenize(golden["texts"])
    assert tokens.shape == (len(golden["texts"]), 77)
    for row, wanted in zip(tokens.tolist(), golden["ids"], strict=True):
        assert [token for token in row if token] == wanted


def test_imagebind_has_three_towers_and_embeds_to_length_one():
    torch.manual_seed(0)
    model = ib.build_imagebind(SMOKE.imagebind).eval()
    trunks = model.modality_trunks
    assert isinstance(trunks, torch.nn.ModuleDict)
    assert set(trunks) == {"text", "vision", "audio"}
    with torch.no_grad():
        text = ib.embed_texts(model, ib.tokenize(["a dog", "three slow rings"]))
        image = ib.embed_images(model, torch.randint(0, 255, (2, 3, 224, 224), dtype=torch.uint8))
        audio = ib.embed_audio(model, ib.audio_features(torch.randn(2, 40_960) / 10))
    for embedding in (text, image, audio):
        assert embedding.shape == (2, SMOKE.imagebind.embedding_dim)
        assert torch.allclose(embedding.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(text[0], text[1])


def test_images_of_any_shape_become_squares(tmp_path):
    Image.fromarray(np.full((100, 300, 3), 200, np.uint8)).save(tmp_path / "wide.png")
    image = ib.read_image(tmp_path / "wide.png")
    assert image.shape == (3, 224, 224)
    assert image.min() == image.max() == 200
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png: not an image"):
        ib.read_image(tmp_path / "broken.png")


@given(st.lists(st.text(max_size=200), min_size=1, max_size=3))
def test_tokenizer_reads_any_text_into_77_tokens(tmp_path_factory, texts):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "vocab.txt"
    if not path.exists():
        write_vocabulary(path, word_pieces(["A small bell rings twice.", "the dog's bark"]))
    tokens = Tokenizer(path)(texts)
    assert tokens.shape == (len(texts), 77)
    assert (tokens >= 0).all()


def test_unknown_words_fall_apart_into_characters_and_not_into_unknowns(tmp_path):
    write_vocabulary(tmp_path / "vocab.txt", word_pieces(["A small bell rings twice."]))
    tokenizer = Tokenizer(tmp_path / "vocab.txt")
    known, unknown = tokenizer(["a small bell"])[0], tokenizer(["a zebra"])[0]
    assert token_counts(known[None]) == 5
    assert token_counts(unknown[None]) == 8
    assert 1 not in unknown.tolist()
    assert not torch.equal(tokenizer(["a zebra"]), tokenizer(["a cobra"]))


def test_equal_clips_are_no_negatives():
    left = torch.eye(3)
    right = torch.eye(3)[[0, 0, 2]]
    none_same = torch.eye(3, dtype=torch.bool)
    same = equal_pairs(torch.tensor([0, 0, 1]))
    scale = torch.tensor(10.0)
    unmasked = contrastive_loss(left[[0, 0, 2]], right, scale, none_same)
    masked = contrastive_loss(left[[0, 0, 2]], right, scale, same)
    assert unmasked > 0.4
    assert masked < 0.01


def rows_of(*attributes: dict[str, str]) -> list[dict[str, Any]]:
    return [{"sources": ["bell"], "attributes": one, "visual_part": "", "text_part": ""} for one in attributes]


def test_hard_partners_differ_in_one_heard_attribute_first():
    rows = rows_of(
        {"size": "small", "pace": "slow", "loudness": "loud"},
        {"size": "small", "pace": "fast", "loudness": "quiet"},
        {"size": "small", "pace": "fast", "loudness": "loud"},
        {"size": "small", "pace": "slow", "loudness": "loud"},
    )
    rows.append({"sources": ["dog"], "attributes": {"pace": "fast"}, "visual_part": "", "text_part": ""})
    partners = hard_partners(rows, most=2)
    assert partners[0].tolist() == [2, 1]
    assert partners[4].tolist() == [4, 4]
    batch = with_hard_partners(torch.tensor([0, 1]), partners, 0)
    assert batch.tolist() == [0, 1, 2, int(partners[1, 0])]


def test_key_codes_number_equal_keys_equally():
    codes = key_codes([{"k": "a"}, {"k": "b"}, {"k": "a"}], lambda row: row["k"])
    assert codes.tolist() == [0, 1, 0]


def test_encoders_come_back_from_their_folder(tmp_path):
    torch.manual_seed(0)
    write_vocabulary(tmp_path / "vocab.txt", word_pieces(["a bell rings"]))
    assert SMOKE.source == "trained"
    tokenizer = Tokenizer(tmp_path / "vocab.txt")
    imagebind, clap = ib.build_imagebind(SMOKE.imagebind).eval(), Clap(SMOKE.clap, tokenizer.vocabulary).eval()
    save_encoders(tmp_path, imagebind.state_dict(), SMOKE.imagebind, clap.state_dict(), SMOKE.clap)
    again, (clap_again, tokenizer_again) = load_imagebind(tmp_path), load_trained_clap(tmp_path)
    tokens = tokenizer_again(["a bell rings"])
    with torch.no_grad():
        assert torch.equal(clap_again.token_features(tokens), clap.token_features(tokens))
        words = ib.tokenize(["a bell"])
        assert torch.equal(ib.embed_texts(again, words), ib.embed_texts(imagebind, words))
    assert not any(parameter.requires_grad for parameter in clap_again.parameters())


@given(st.lists(st.integers(1, 75), min_size=1, max_size=5))
@settings(max_examples=20)
def test_what_comes_after_the_longest_text_of_a_batch_changes_nothing(lengths):
    torch.manual_seed(0)
    imagebind, clap = ib.build_imagebind(SMOKE.imagebind, ("text",)).eval(), build_scorer_clap(8, 50).eval()
    tokens, captions = torch.zeros(2, len(lengths), 77, dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens[row, : length + 2] = torch.tensor([49_406, *torch.randint(1, 40_000, (length,)).tolist(), 49_407])
        captions[row, : length + 2] = torch.randint(1, 50, (length + 2,))
    with torch.no_grad():
        whole = ib.unit(imagebind({"text": tokens})["text"])
        assert torch.allclose(ib.embed_texts(imagebind, tokens), whole, atol=1e-5)
        heard = clap.get_text_features(input_ids=captions, attention_mask=(captions != 0).long()).pooler_output
        assert torch.allclose(embed_captions(clap, captions), ib.unit(heard), atol=1e-5)


def test_a_table_of_the_corpus_words_embeds_as_that_of_all_words_and_learns_alike():
    torch.manual_seed(0)
    model = ib.build_imagebind(SMOKE.imagebind, ("text",)).eval()
    tokens = ib.tokenize(["a bell rings", "a dog barks twice", "rain"])
    whole = ib.embed_texts(model, tokens)
    (whole[:, 0] * 100).sum().backward()
    words, numbered = tokens.unique(return_inverse=True)
    embedding = "modality_preprocessors.text.token_embedding.weight"
    gradient = model.get_parameter(embedding).grad
    assert gradient is not None
    table = ib.keep_words(model, words)
    assert len(table) == 49_408
    part = ib.embed_texts(model, numbered)
    assert torch.equal(part, whole)
    (part[:, 0] * 100).sum().backward()
    learned = model.get_parameter(embedding).grad
    assert learned is not None
    assert torch.allclose(learned, gradient[words], atol=1e-5)

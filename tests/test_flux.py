"""FLUX by a tiny random pipeline in diffusers' folder format: same code, same cache, nothing learned."""

from __future__ import annotations

import os
import signal
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.formats.files import read_jsonl, write_jsonl
from stages.imagery import flux
from stages.params.schema import load_params
from tests.scratch_clone import ROOT, change_params

WIDTH = 32  # of every tower
TRANSFORMER = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": WIDTH,
    "axes_dims_rope": (4, 4, 8),
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 8),
    "latent_channels": 4,
    "norm_num_groups": 4,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "shift_factor": 0.1,
}


@pytest.fixture(scope="module")
def tiny_flux(tmp_path_factory):
    """A FluxPipeline of about 50,000 random weights, saved as diffusers saves it."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

    torch.manual_seed(0)
    letters = [*string.ascii_lowercase, *string.digits, ",", "."]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    end = vocabulary["<|endoftext|>"]
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=FluxTransformer2DModel(**TRANSFORMER, guidance_embeds=False),
        vae=AutoencoderKL(**VAE, scaling_factor=0.4),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=end - 1,
                eos_token_id=end,
                pad_token_id=end,
            )
        ),
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=64, d_model=WIDTH, d_kv=16, d_ff=WIDTH, num_layers=1, num_heads=2)
        ),
        tokenizer_2=T5TokenizerFast(
            vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -3.0) for letter in ["▁", *letters])],
            extra_ids=0,
        ),
    )
    folder = tmp_path_factory.mktemp("flux")
    pipeline.save_pretrained(folder)
    return folder


VISUAL_PARTS = ["a small brass bell", "a man and a dog", "a red car, wet street", "a frog by a pond", "waves on rocks"]


@pytest.fixture
def workspace(tmp_path, monkeypatch, tiny_flux):
    """A folder in which the stage runs with the tiny pipeline."""
    tiny = {"model": str(tiny_flux), "render_size": 64, "max_sequence_length": 32, "batch_size": 2}
    monkeypatch.chdir(tmp_path)
    change_params(source=ROOT / "params.yaml", images={"backend": "flux", "size": 64, "flux": tiny})
    rows = [{"id": f"clip-{n}", "visual_part": part, "reason": None} for n, part in enumerate(VISUAL_PARTS)]
    rows.append({"id": "clip-9", "visual_part": None, "reason": "nothing_seen"})
    write_jsonl("data/decomposed.jsonl", rows)
    return tmp_path


def run_stage():
    from stages.images import main

    main()


def outputs(workspace):
    return {path.name: path.read_bytes() for path in (workspace / "data/images").iterdir()}


@pytest.fixture
def drawn(monkeypatch):
    """Count the items that are really drawn, by their id."""
    items: list[str] = []
    draw = flux._draw

    def counted(pipeline, rows, seeds, params):
        items.extend(row["id"] for row in rows)
        draw(pipeline, rows, seeds, params)

    monkeypatch.setattr(flux, "_draw", counted)
    return items


def test_every_visual_part_gets_its_image_by_its_own_seed(workspace):
    run_stage()
    rows = read_jsonl("data/images/metadata.jsonl")
    assert [row["id"] for row in rows] == [f"clip-{n}" for n in range(5)]
    assert rows[0]["file_name"] == "clip-0_a-small-brass-bell.png"
    assert len({row["seed"] for row in rows}) == 5
    pictures = []
    for row in rows:
        with Image.open(f"data/images/{row['file_name']}") as image:
            assert image.size == (64, 64)
            assert image.mode == "RGB"
            pictures.append(np.asarray(image, dtype=float))
    assert all(picture.std() > 1 for picture in pictures)
    assert min(np.abs(pictures[0] - other).mean() for other in pictures[1:]) > 1


def test_the_same_params_give_the_same_bytes_and_another_seed_others(workspace, tmp_path, monkeypatch):
    run_stage()
    first = outputs(workspace)
    monkeypatch.setenv("BIND_AN_AUDIO_CACHE", str(tmp_path / "other-cache"))
    run_stage()
    assert outputs(workspace) == first
    change_params(images={"seed": 2})
    run_stage()
    assert all(outputs(workspace)[name] != content for name, content in first.items())


def test_finished_images_are_not_drawn_again(workspace, drawn):
    run_stage()
    assert sorted(drawn) == [f"clip-{n}" for n in range(5)]
    first = outputs(workspace)
    drawn.clear()
    run_stage()
    assert drawn == []
    assert outputs(workspace) == first
    change_params(images={"flux": {"prompt": "an oil painting of {visual_part}"}})
    run_stage()
    assert len(drawn) == 5


def test_a_half_done_batch_ends_with_the_same_bytes(workspace, drawn):
    run_stage()
    first = outputs(workspace)
    params = load_params().images
    row = {"id": "clip-0", "visual_part": VISUAL_PARTS[0]}
    flux.cached_image(row, flux.seed_of("clip-0", params.seed, 0), params).unlink()
    drawn.clear()
    run_stage()
    assert drawn == ["clip-0"]
    assert outputs(workspace) == first


@pytest.mark.parametrize("spoilt", [b"", b"<html>no space left</html>", "cut"])
def test_what_is_no_whole_image_in_the_cache_is_drawn_again(workspace, drawn, spoilt):
    run_stage()
    first = outputs(workspace)
    params = load_params().images
    kept = flux.cached_image({"id": "clip-0", "visual_part": VISUAL_PARTS[0]}, flux.seed_of("clip-0", 1, 0), params)
    kept.write_bytes(kept.read_bytes()[:2000] if spoilt == "cut" else spoilt)
    drawn.clear()
    run_stage()
    assert drawn == ["clip-0"]
    assert outputs(workspace) == first


KILLED = """
import os, signal
from stages.imagery import flux
draw = flux._draw
def counted(pipeline, rows, seeds, params):
    draw(pipeline, rows, seeds, params)
    with open("drawn.txt", "a") as file:
        file.writelines(row["id"] + "\\n" for row in rows)
    os.kill(os.getpid(), signal.SIGKILL)
flux._draw = counted
from stages.images import main
main()
"""


@pytest.mark.slow
def test_a_run_killed_again_and_again_draws_nothing_twice(workspace, drawn):
    kills = 2
    change_params(images={"flux": {"batch_size": 1}})
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(kills):
        done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not Path("data/images").exists()
    before = Path("drawn.txt").read_text().split()
    assert sorted(before) == [f"clip-{n}" for n in range(kills)]
    drawn.clear()
    run_stage()
    assert sorted(before + drawn) == [f"clip-{n}" for n in range(5)]
    assert len(read_jsonl("data/images/metadata.jsonl")) == 5


class Spoilt:
    """A pipeline whose first drawings of some items are black or no numbers."""

    def __init__(self, pipeline, spoil):
        self.pipeline, self.spoil = pipeline, spoil

    def __call__(self, *arguments, generator, **more):
        seeds = [each.initial_seed() for each in generator]
        result = self.pipeline(*arguments, generator=generator, **more)
        for pixels, seed in zip(result.images, seeds, strict=True):
            if seed in self.spoil:
                pixels[...] = self.spoil[seed]
        return result


def spoil(monkeypatch, seeds):
    load = flux.load_pipeline
    monkeypatch.setattr(flux, "load_pipeline", lambda params: Spoilt(load(params), seeds))


def test_black_images_and_no_numbers_are_drawn_anew_with_the_next_seed(workspace, monkeypatch, capsys):
    spoil(
        monkeypatch,
        {flux.seed_of("clip-1", 1, 0): 0.0, flux.seed_of("clip-2", 1, 0): np.nan, flux.seed_of("clip-2", 1, 1): 0.0},
    )
    run_stage()
    seeds = {row["id"]: row["seed"] for row in read_jsonl("data/images/metadata.jsonl")}
    assert seeds["clip-0"] == flux.seed_of("clip-0", 1, 0)
    assert seeds["clip-1"] == flux.seed_of("clip-1", 1, 1)
    assert seeds["clip-2"] == flux.seed_of("clip-2", 1, 2)
    assert "no image" not in capsys.readouterr().out


def test_what_stays_blank_has_no_image_and_is_counted(workspace, monkeypatch, capsys):
    spoil(monkeypatch, {flux.seed_of("clip-1", 1, attempt): 0.0 for attempt in range(3)})
    run_stage()
    assert [row["id"] for row in read_jsonl("data/images/metadata.jsonl")] == ["clip-0", "clip-2", "clip-3", "clip-4"]
    assert "1 visual parts have no image: each of 3 drawings was blank" in capsys.readouterr().out


def test_an_fp8_transformer_draws_nearly_the_same(workspace):
    run_stage()
    first = {path.name: np.asarray(Image.open(path), dtype=float) for path in Path("data/images").glob("*.png")}
    change_params(images={"flux": {"transformer": "fp8"}})
    run_stage()
    for name, picture in first.items():
        other = np.asarray(Image.open(f"data/images/{name}"), dtype=float)
        assert 0 < np.abs(other - picture).mean() < picture.std()


def test_fp8_leaves_no_linear_layer_in_16_bits(tiny_flux):
    """Those of the norms were left: with 15 GB a full-size transformer was too much for a card of 16."""
    import torch
    from diffusers import FluxTransformer2DModel

    transformer = FluxTransformer2DModel.from_pretrained(tiny_flux, subfolder="transformer", dtype=torch.bfloat16)
    flux.hold_in_fp8(transformer)
    linear = [module for module in transformer.modules() if isinstance(module, torch.nn.Linear)]
    assert {parameter.element_size() for module in linear for parameter in module.parameters()} == {1}


def test_nf4_without_a_card_gets_one_line(workspace, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    change_params(images={"flux": {"transformer": "nf4"}})
    with pytest.raises(ValueError, match=r"images\.flux\.transformer=nf4: needs a CUDA card.*bfloat16 or fp8"):
        run_stage()
    assert not Path("data/images").exists()


def test_a_model_that_is_not_there_gets_one_line(workspace):
    change_params(images={"flux": {"model": str(workspace / "nowhere")}})
    with pytest.raises(ValueError, match=r"images\.flux\.model=.*nowhere: cannot be loaded .*HF_TOKEN"):
        run_stage()
    assert not Path("data/images").exists()


def test_an_unknown_offload_gets_one_line(workspace, monkeypatch):
    monkeypatch.setenv("BIND_AN_AUDIO_OFFLOAD", "disk")
    with pytest.raises(ValueError, match="BIND_AN_AUDIO_OFFLOAD=disk: take one of none, model, sequential"):
        run_stage()


def test_the_stage_starts_without_torch():
    code = "import sys, stages.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

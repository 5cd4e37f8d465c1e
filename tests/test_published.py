"""Published checkpoints: read without running code, taken apart, converted whole; bad ones get one line."""

from __future__ import annotations

import collections
import os
import pickle
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from stages.backbone import read_denoiser
from stages.published.codec import convert_codec, read_vocoder
from stages.published.diffusers_names import read_unet, read_vae
from stages.published.encoders import convert_encoders, read_text_tower
from stages.published.make_an_audio import read_make_an_audio
from stages.synthesis.codec import load_codec
from stages.synthesis.unet import load_denoiser, save_denoiser
from stages.towers import imagebind as ib
from stages.towers.store import load_clap, load_imagebind, load_imagebind_audio
from stages.weights.reading import read_weights
from tests.golden_weights import drawn_weights
from tests.test_towers import published_imagebind

GOLDEN = Path(__file__).parent / "golden"


def make_an_audio_state():
    """The small reference weights under the prefixes of a whole checkpoint, as the published one is laid out."""
    state: dict[str, torch.Tensor] = {}
    state |= drawn_weights("maa_unet_small_state") | drawn_weights("maa_vae_small_state")
    text = load_file(GOLDEN / "maa_clap_text_tiny_state.safetensors")
    state |= {key: value.float() for key, value in text.items()}
    state["scale_factor"] = torch.tensor(0.3)
    state["betas"] = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    state["cond_stage_model.caption_encoder.base.embeddings.position_ids"] = torch.arange(96)[None]
    return state


class TrainerObject:
    """Stands for a class of a trainer that is not installed where the file is read."""

    def __init__(self):
        self.best = 3.5


@pytest.fixture
def lightning(monkeypatch):
    """A Lightning-like checkpoint's content whose trainer objects belong to a module that reading must not import."""
    module = types.ModuleType("some_trainer.callbacks")
    TrainerObject.__module__ = "some_trainer.callbacks"
    monkeypatch.setattr(module, "TrainerObject", TrainerObject, raising=False)
    monkeypatch.setitem(sys.modules, "some_trainer", types.ModuleType("some_trainer"))
    monkeypatch.setitem(sys.modules, "some_trainer.callbacks", module)
    return {
        "epoch": 7,
        "callbacks": {"checkpoint": TrainerObject(), TrainerObject: [TrainerObject()]},
        "hyper_parameters": collections.defaultdict(list, {"path": [Path("x")]}),
        "state_dict": collections.OrderedDict(make_an_audio_state()),
    }


@pytest.fixture
def published(tmp_path):
    """A folder of published files at the small sizes of the reference weights."""
    return write_published(tmp_path)


def write_published(tmp_path):
    torch.save({"epoch": 1, "state_dict": make_an_audio_state()}, tmp_path / "maa1_full.ckpt")
    (tmp_path / "bigvgan").mkdir()
    vocoder = load_file(GOLDEN / "bigvgan_v1_snakebeta_log_rb1_256x_state.safetensors")
    torch.save(
        {"generator": {name: value.float() for name, value in vocoder.items()}}, tmp_path / "bigvgan/best_netG.pt"
    )
    (tmp_path / "bigvgan/args.yml").write_text(
        "resblock: '1'\nnum_mels: 80\nupsample_rates: [4, 4, 2, 2, 2, 2]\nupsample_kernel_sizes: [8, 8, 4, 4, 4, 4]\n"
        "upsample_initial_channel: 64\nresblock_kernel_sizes: [3, 7, 11]\n"
        "resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]\nactivation: snakebeta\nsnake_logscale: true\n"
        "learning_rate: 0.0001\nsampling_rate: 16000\nhop_size: 256\n"
    )
    torch.save(audio_too(published_imagebind()[1]), tmp_path / "imagebind_huge.pth")
    (tmp_path / "bert-base-uncased").mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(195))]
    (tmp_path / "bert-base-uncased/vocab.txt").write_text("\n".join(words) + "\n")
    return tmp_path


def audio_too(weights):
    """The reference weights are of text and vision alone; a published file has the audio tower as well."""
    torch.manual_seed(0)
    audio = ib.build_imagebind(published_imagebind()[0], ("audio",), published=True)
    return {name: value.float() for name, value in weights.items()} | audio.state_dict()


def refused(path, *words, within=()):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what the tests look at
        read_weights(path, within)
    text = str(caught.value)
    assert "\n" not in text
    for word in (str(path), *words):
        assert word in text
    return text


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_trainer_objects_are_left_out_and_weights_are_read(tmp_path, lightning, monkeypatch, legacy):
    torch.save(lightning, tmp_path / "x.ckpt", _use_new_zipfile_serialization=not legacy)
    monkeypatch.delitem(sys.modules, "some_trainer.callbacks")
    weights = read_weights(tmp_path / "x.ckpt", ("state_dict",))
    wanted = make_an_audio_state()
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    assert "some_trainer.callbacks" not in sys.modules


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["alone", "beside", "among"])
@pytest.mark.parametrize("code", ["system", "eval", "import"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, legacy, place, code):
    mark = tmp_path / "mark"
    evil = {
        "system": Evil(os.system, f"touch {mark}"),
        "eval": Evil(eval, f"open({str(mark)!r}, 'w')"),
        "import": Evil(__import__, "antigravity"),
    }[code]
    content = {
        "alone": evil,
        "beside": {"state_dict": {"a": torch.zeros(2)}, "callbacks": evil},
        "among": {"state_dict": {"a": torch.zeros(2), "b": evil}},
    }[place]
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=not legacy)
    refused(tmp_path / "x.ckpt", "would run code", "nothing was run", within=("state_dict",))
    assert not mark.exists()
    assert "antigravity" not in sys.modules


def test_a_function_of_any_other_module_is_not_called_either(tmp_path):
    copied = tmp_path / "copied"
    torch.save({"state_dict": {"a": torch.zeros(2)}, "x": Evil(Path.touch, copied)}, tmp_path / "x.ckpt")
    assert list(read_weights(tmp_path / "x.ckpt", ("state_dict",))) == ["a"]
    torch.save({"state_dict": Evil(Path.touch, copied)}, tmp_path / "x.ckpt")
    refused(tmp_path / "x.ckpt", "holds no weights", within=("state_dict",))
    assert not copied.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_is_one_line(tmp_path, kind, share):
    path = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.ckpt")
    weights = {"a": torch.zeros(3000), "b": torch.ones(2)}
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "cut short", within=("state_dict",))


@given(st.binary(max_size=200))
def test_any_bytes_are_one_line(tmp_path_factory, content):
    for name in ("x.ckpt", "x.safetensors"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        refused(path)


def test_what_is_no_weights_is_one_line(tmp_path):
    refused(tmp_path / "none.ckpt", "no such file", "bind-an-audio weights")
    path = tmp_path / "x.ckpt"
    for content in ([1, 2], {"epoch": 3}, torch.zeros(3), {}):
        torch.save(content, path)
        refused(path, "holds no weights")
    path.write_bytes(pickle.dumps({"a": 1}))
    refused(path)
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    refused(path, "TorchScript")
    torch.save({"fine": torch.zeros(2), "bad": torch.tensor([1.0, float("nan")])}, path)
    refused(path, "not finite: bad")
    mask = torch.full((3, 3), float("-inf")).triu(1)
    torch.save({"text.mask": mask, "fine": torch.zeros(2)}, path)
    assert torch.equal(read_weights(path)["text.mask"], mask)
    torch.save({"text.mask": mask * float("nan")}, path)
    refused(path, "not finite: text.mask")
    save_file({"bad": torch.tensor([float("inf")])}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "not finite: bad")


def test_a_checkpoint_is_taken_apart(published):
    parts = read_make_an_audio(published)
    assert len(parts.unet) == len(drawn_weights("maa_unet_small_state"))
    assert parts.scale_factor == pytest.approx(0.3)
    read_unet(parts.unet, 4, "x")
    read_vae(parts.vae, "x")
    read_text_tower(parts.text, "x", heads=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: state.update({"model_ema.decay": torch.zeros(1)}),
            "no known part (model_ema.decay)",
        ),
        (lambda state: state.update({"cond_stage_model.x": torch.zeros(1)}), "no known part (cond_stage_model.x)"),
        (lambda state: state.pop("scale_factor"), "no scale_factor"),
        (
            lambda state: [state.pop(name) for name in list(state) if name.startswith("cond_stage")],
            "no weights named cond_stage_model.caption_encoder.*",
        ),
    ],
)
def test_a_checkpoint_with_parts_too_many_or_too_few_is_one_line(published, change, words):
    state = make_an_audio_state()
    change(state)
    torch.save({"state_dict": state}, published / "maa1_full.ckpt")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_make_an_audio(published)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_either_checkpoint_is_found_and_both_are_a_question(published):
    (published / "maa1_full.ckpt").rename(published / "maa1_caps.ckpt")
    assert read_make_an_audio(published).path.name == "maa1_caps.ckpt"
    shutil.copy(published / "maa1_caps.ckpt", published / "maa1_full.ckpt")
    with pytest.raises(ValueError, match="keep the one"):
        read_make_an_audio(published)
    with pytest.raises(ValueError, match=r"neither maa1_full\.ckpt nor maa1_caps\.ckpt"):
        read_make_an_audio(published / "bigvgan")


def test_published_files_become_our_folders_and_give_the_reference_outputs(published, tmp_path):
    codec_folder, backbone, encoders = (tmp_path / name for name in ("codec", "backbone", "encoders"))
    for folder in (codec_folder, backbone, encoders):
        folder.mkdir()
    convert_codec(codec_folder, published, samples=159_744)
    save_denoiser(backbone, read_denoiser(published, heads=4))
    counts = convert_encoders(encoders, published, published_imagebind()[0], "make_an_audio")
    assert not list(tmp_path.rglob("*.bin"))

    codec = load_codec(codec_folder)
    assert codec.latent_shape == (4, 10, 78)
    assert codec.scale_factor == pytest.approx(0.3)
    golden = load_file(GOLDEN / "maa_vae_small_io.safetensors")
    latents = codec.encode(golden["mel"][:, 0])
    torch.testing.assert_close(latents, golden["mean"] * 0.3, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codec.decode_mel(latents), golden["decoded_mean"][:, 0], rtol=1e-4, atol=1e-3)
    golden = load_file(GOLDEN / "bigvgan_v1_snakebeta_log_rb1_256x_io.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(codec.vocoder(golden["mel"]), golden["wav"][:, 0], rtol=1e-4, atol=1e-5)

    golden = load_file(GOLDEN / "maa_unet_small_io.safetensors")
    with torch.no_grad():
        noise = load_denoiser(backbone)(golden["x"], golden["t"], golden["context"])
    torch.testing.assert_close(noise, golden["out"], rtol=1e-4, atol=1e-4)

    imagebind, audio = load_imagebind(encoders), load_imagebind_audio(encoders)
    assert set(dict(imagebind.get_submodule("modality_trunks").named_children())) == {"text", "vision"}
    assert set(dict(audio.get_submodule("modality_trunks").named_children())) == {"audio"}
    golden = load_file(GOLDEN / "imagebind_tiny_io.safetensors")
    with torch.no_grad():
        text = ib.embed_texts(imagebind, golden["tokens"])
        heard = ib.embed_audio_clips(audio, torch.randn(2, 160_000) / 10)
    torch.testing.assert_close(text, ib.unit(golden["text_out"]), rtol=1e-4, atol=1e-5)
    assert heard.shape == (2, 24)
    assert counts["imagebind_parameters"] > counts["imagebind_audio_parameters"] > 0

    clap, tokenizer = load_clap(encoders)
    tokens = tokenizer(["word3 word5", ""])
    assert tokens.shape == (2, 77)
    with torch.no_grad():
        features = clap.token_features(tokens)
        expected = read_text_tower(read_make_an_audio(published).text, "x")(tokens)
    assert torch.equal(features, expected)


def test_a_vocoder_of_other_mels_is_refused(published):
    text = (published / "bigvgan/args.yml").read_text()
    for change, words in (
        (("sampling_rate: 16000", "sampling_rate: 22050"), "sampling_rate is 22050, Make-An-Audio's mels need 16000"),
        (("upsample_rates: [4, 4, 2,", "upsample_rates: [8, 4, 2,"), "hop_size is 512"),
        (("activation: snakebeta", "activation: snake"), "activation: Input should be 'snakebeta'"),
        (("learning_rate: 0.0001", "use_tanh_at_final: false"), "use_tanh_at_final: "),
        (("num_mels: 80\n", ""), "num_mels: "),
        (("resblock_kernel_sizes: [3, 7, 11]", "resblock_kernel_sizes: [3, 7]"), "differ in length"),
        ((text, "a: [1"), "not valid YAML"),
        ((text, ""), "holds no options"),
    ):
        (published / "bigvgan/args.yml").write_text(text.replace(*change))
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            read_vocoder(published)
        assert words in str(caught.value)
        assert "args.yml" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_nothing_half_converted_is_left_by_a_bad_file(published, tmp_path, monkeypatch):
    from stages.formats.files import replacing_folder

    monkeypatch.chdir(tmp_path)
    (published / "bigvgan/best_netG.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match="best_netG"), replacing_folder("models/codec") as folder:
        convert_codec(folder, published, 159_744)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_vocabulary_of_another_size_is_refused(published, tmp_path):
    (published / "bert-base-uncased/vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(ValueError, match=r"5 words where .*maa1_full\.ckpt has 200"):
        convert_encoders(tmp_path, published, published_imagebind()[0], "make_an_audio")

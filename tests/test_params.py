import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import example, given
from hypothesis import strategies as st

from stages.params.schema import load_params

ROOT = Path(__file__).parent.parent
GONE = object()
FILES = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]


@pytest.fixture
def changed(tmp_path):
    """Write a parameter file with some keys set or `GONE`; return the new file."""

    def write(changes, base="params.yaml"):
        whole = yaml.safe_load((ROOT / base).read_text(encoding="utf-8"))
        for key, value in changes.items():
            *path, last = key.split(".")
            section = whole
            for part in path:
                section = section[part]
            section[last] = value
            if value is GONE:
                del section[last]
        file = tmp_path / "params.yaml"
        file.write_text(yaml.safe_dump(whole), encoding="utf-8")
        return file

    return write


def complaint(file):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what the tests look at
        load_params(file)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_parameter_file_validates(file):
    load_params(file)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train_b.epoch", 3, ["train_b.epoch: unknown key", "did you mean epochs?"]),
        ("training", {}, ["training: unknown key"]),
        ("trainb", {"epochs": 3}, ["trainb: unknown key; did you mean train_b?"]),
        (
            "epochs",
            3,
            ["epochs: unknown key; did you mean train_a.stage_1.epochs or train_a.stage_2."],
        ),
        (
            "train_a.epochs",
            3,
            ["train_a.epochs: unknown key; did you mean train_a.stage_1.epochs or train_a"],
        ),
        ("codec.learning_rat", 1, ["did you mean codec.vae_training.learning_rate or codec.vocoder_training.learning"]),
        ("codec.vae.zzzzzz", 1, ["codec.vae.zzzzzz: unknown key", "remove it"]),
        ("train_b.epochs", "ten", ["train_b.epochs:", "integer", "'ten'"]),
        ("train_b.epochs", 2.5, ["train_b.epochs:", "2.5"]),
        ("train_b.epochs", True, ["train_b.epochs:"]),
        ("train_b.epochs", 0, ["train_b.epochs:", "0"]),
        ("train_b.learning_rate", "fast", ["train_b.learning_rate:", "'fast'"]),
        ("train_b.learning_rate", -1e-3, ["train_b.learning_rate:", "-0.001"]),
        ("train_b.learning_rate", float("nan"), ["train_b.learning_rate:"]),
        ("train_b.learning_rate", float("inf"), ["train_b.learning_rate:"]),
        ("train_a.fusion", "median", ["train_a.fusion:", "'median'"]),
        ("prepare", None, ["prepare:"]),
        ("backbone.channels", 48, ["backbone.channels:"]),
        ("codec.vae.channels", [16, 32], ["codec.vae.channels:"]),
        ("prepare.clip_seconds", 2.5, ["prepare:", "clip_seconds=2.5", "2.56"]),
        ("prepare.test_share", 0.95, ["prepare:", "valid_share + test_share"]),
        ("prepare.clips", 0, ["prepare:", "clips=0"]),
        ("prepare.sources", ["bell", "dog", "cat", "rain"], ["prepare.sources.2:", "'bell'", "'cat'"]),
        ("prepare.sources", ["bell", "dog", "rain"], ["prepare:", "sources=", "4 or more"]),
        ("prepare.sources", ["bell", "dog", "rain", "frog", "bell"], ["prepare:", "bell more than once"]),
        ("prepare.attributes", ["size", "count"], ["prepare:", "add pace, loudness or envelope"]),
        ("prepare.attributes", [], ["prepare:", "add pace, loudness or envelope"]),
        ("prepare.attributes", ["colour"], ["prepare.attributes.0:", "'size'", "'colour'"]),
        ("quality.min_words", 9, ["quality:", "min_words=9", "max_words"]),
        ("train_b.heads", 3, ["train_b:", "heads=3", "width"]),
        ("train_b.loss_weights", {"mse": 0.0, "cosine": 0.0, "contrastive": 0.2}, ["train_b.loss_weights:", "both 0"]),
        ("codec.vocoder.upsample_rates", [4, 4, 4, 2], ["codec.vocoder:", "128", "256"]),
        ("codec.vae.norm_groups", 7, ["codec.vae:", "norm_groups=7"]),
        ("encoders.imagebind.patch", 30, ["encoders.imagebind:", "patch=30"]),
        ("backbone.attention_heads", 5, ["backbone:", "attention_heads=5"]),
        ("codec.source", "bought", ["codec.source: trained or pretrained", "'bought'"]),
        ("codec.source", "pretrained", ["codec.seed: unknown key; remove it"]),
        ("judges.clap", "bought", ["judges.clap: trained or laion_clap", "'bought'"]),
        ("judges.clap", "laion_clap", ["judges.distance_dimensions: missing"]),
        ("judges.clap_embeding_dim", 3, ["judges.clap_embeding_dim: unknown key", "did you mean clap_embedding_dim?"]),
        ("judges", None, ["judges"]),
        ("backbone.ema_decoy", 0.5, ["backbone.ema_decoy: unknown key", "did you mean ema_decay?"]),
        ("sample.captions", 2, ["sample:", "captions=2", "need 3"]),
        ("sample.guidance_scale", 0.5, ["sample.guidance_scale:", "0.5"]),
    ],
)
def test_a_wrong_value_gets_one_line_that_names_the_key(changed, key, value, words):
    text = complaint(changed({key: value}))
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("base", "changes", "words"),
    [
        ("presets/esc10.yaml", {"prepare.foundation_clips": 7}, "prepare: foundation_clips=7: corpus=esc10 has no "),
        ("presets/full.yaml", {"encoders.clap": "laion_clap"}, "judges.clap and encoders.clap are both laion_clap"),
        ("params.yaml", {"train_a.stage_1.epochs": 0, "train_a.stage_2.epochs": 0}, "train_a: stage_1.epochs and "),
        ("params.yaml", {"train_b.loss_weights.cosine": GONE}, "train_b.loss_weights.cosine: missing"),
        # The mistyped key, and not only the one that is missing.
        ("params.yaml", {"train_b.epochs": GONE, "train_b.epoch": 10}, "train_b.epoch: unknown key; did you mean"),
        ("params.yaml", {"train_b.epochs": 0, "sample.steps": 0}, "(and 1 more)"),
    ],
)
def test_what_does_not_go_together_is_named(changed, base, changes, words):
    assert words in complaint(changed(changes, base))


def test_a_published_backbone_wants_what_it_was_trained_on(changed):
    full, small = (yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text()) for name in ("full", "smoke"))
    laion = {**full["encoders"], "clap": "laion_clap"}
    for changes, words in (
        ({"encoders": laion, "judges": small["judges"]}, "reads Make-An-Audio's own text features"),
        ({"encoders": small["encoders"]}, "set encoders.source: pretrained and encoders.clap: make_an_audio"),
        ({"codec": small["codec"]}, "set codec.source: pretrained, or train a backbone"),
    ):
        text = complaint(changed(changes, "presets/full.yaml"))
        assert f"backbone.source is pretrained: it {'denoises' if 'codec' in changes else 'reads'}" in text
        assert words in text
    trained = {"encoders": laion, "judges": small["judges"], "backbone": small["backbone"]}
    load_params(changed(trained, "presets/full.yaml"))


@pytest.mark.parametrize(("experiment", "elsewhere"), [(True, False), (True, True), (False, False)])
def test_after_a_refused_experiment_the_way_back_is_said(changed, monkeypatch, tmp_path, experiment, elsewhere):
    file = changed({"train_b.epochs": 0})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", "/" if elsewhere else str(tmp_path))
    if experiment:
        monkeypatch.setenv("DVC_EXP_NAME", "longer")
    said = "`git checkout params.yaml && dvc checkout`" in complaint(file)
    assert said == (experiment and not elsewhere)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "not valid YAML in line"),
        ("[" * 5000, "not valid YAML"),
        ("", "holds no sections"),
        ("- 1", "holds no sections"),
        (f"seed: {'9' * 5000}", "params.yaml: not valid YAML"),
    ],
)
def test_a_file_that_is_no_params_file(tmp_path, text, words):
    (tmp_path / "params.yaml").write_text(text)
    assert words in complaint(tmp_path / "params.yaml")


def test_a_missing_file(tmp_path):
    assert "no such file" in complaint(tmp_path / "params.yaml")


# DVC hashes what it reads itself. A schema that altered a value would change outputs that DVC takes for fresh.
def as_dvc_reads(text):
    return parse_yaml(text, "params.yaml")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_value_arrives_as_dvc_hashes_it(file):
    assert load_params(file).model_dump() == as_dvc_reads(file.read_text(encoding="utf-8"))


@given(st.floats(min_value=1e-12, max_value=1e3))
def test_a_rate_is_read_alike_with_or_without_yamls_float_syntax(rate):
    mantissa, _, exponent = f"{rate:e}".partition("e")
    for written in (f"{rate!r}", f"{mantissa}e{exponent}", f"{mantissa}E{int(exponent)}", f"+{rate!r}"):
        assert _read("learning_rate", written) == float(written)


@given(st.from_regex(r"[-+]?(0[xob]?)?[0-9_]{1,4}(:[0-9]{2})?(\.[0-9_]*)?([eE][-+]?[0-9]{1,2})?", fullmatch=True))
@example("010")  # eight in YAML 1.1, ten in DVC's YAML 1.2
@example("1_000")
@example("1:30")
def test_a_number_of_any_spelling_is_refused_or_arrives_as_dvc_hashes_it(written):
    for key in ("epochs", "learning_rate"):
        value = _read(key, written)
        assert value is None or value == as_dvc_reads(f"value: {written}")["value"]


def _read(key, written):
    """A value of `train_b` as a stage gets it, None where it is refused."""
    before, section, after = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("train_b:\n")
    text = before + section + re.sub(rf"(?m)^  {key}: .*$", f"  {key}: {written}", after, count=1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"
        file.write_text(text)
        try:
            return getattr(load_params(file).train_b, key)
        except ValueError:
            return None


def test_what_dvc_writes_for_a_small_rate_is_a_number(tmp_path, monkeypatch):
    from dvc.utils.hydra import apply_overrides

    file = tmp_path / "params.yaml"
    file.write_bytes((ROOT / "params.yaml").read_bytes())
    apply_overrides(file, ["train_b.learning_rate=2e-5"])
    assert "learning_rate: 2e-05" in file.read_text()
    assert load_params(file).train_b.learning_rate == 2e-5


def test_sections_cannot_be_changed_after_reading():
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.train_b.epochs = 3  # type: ignore[misc]


def test_a_stage_ends_in_one_line_and_exit_code_1(changed):
    file = changed({"train_b.epoch": 3})
    code = "from stages.plumbing.running import run; from stages.params.schema import load_params; run(load_params)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=file.parent, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: params.yaml: train_b.epoch: unknown key")

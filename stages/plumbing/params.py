"""The schema of params.yaml: one frozen section per stage, no defaults, unknown keys rejected.

Every value that changes a result stands in params.yaml and arrives in a stage as one of these sections.
A preset (`presets/*.yaml`) is a whole params.yaml and is held against the same schema by a test.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

SAMPLE_RATE = 16_000
HOP_LENGTH = 256
VAE_DOWNSAMPLING = 8


def _exponent(value: Any) -> Any:
    """Read `2e-05` as a number: DVC writes it so for `-S`, and YAML 1.1 takes it for a string."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Float = Annotated[float, BeforeValidator(_exponent)]
Positive = Annotated[float, BeforeValidator(_exponent), Field(gt=0)]
Share = Annotated[float, BeforeValidator(_exponent), Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
LossWeighting = Literal["plain", "clean_latent"]


class Section(BaseModel):
    """A part of params.yaml: frozen, strictly typed, without defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Prepare(Section):
    """`prepare`: which captioned audio, how many clips, how it is split."""

    seed: Seed
    corpus: Literal["soundworld", "audiofolder", "esc10", "esc50"]
    folder: str
    clips: Annotated[int, Field(ge=0)]
    clip_seconds: Positive
    compositions: Share
    valid_share: Share
    test_share: Share

    @model_validator(mode="after")
    def _possible(self) -> Prepare:
        samples = self.clip_seconds * SAMPLE_RATE
        block = HOP_LENGTH * VAE_DOWNSAMPLING
        if abs(samples / block - round(samples / block)) > 1e-6:
            raise ValueError(
                f"clip_seconds={self.clip_seconds} is no multiple of {block / SAMPLE_RATE} s, which the "
                "latent's width needs; take 2.56, 5.12 or 9.984"
            )
        if self.valid_share + self.test_share >= 1:
            raise ValueError(
                f"valid_share + test_share = {self.valid_share + self.test_share:g} leaves nothing to "
                "train on; keep their sum below 1"
            )
        if self.corpus == "soundworld" and self.clips < 1:
            raise ValueError("clips=0 means 'all', which soundworld has no end of; name a number")
        return self


class Decompose(Section):
    """`decompose`: how a caption is split into what is seen and what is heard."""

    backend: Literal["rules"]
    min_words: Count
    max_words: Count

    @model_validator(mode="after")
    def _ordered(self) -> Decompose:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} exceeds max_words={self.max_words}; no caption would fit")
        return self


class Images(Section):
    """`images`: who paints the visual parts."""

    seed: Seed
    backend: Literal["pictograms"]
    size: Annotated[int, Field(ge=64)]


class Quality(Section):
    """`quality`: which pairs of parts and which images are good enough."""

    min_words: Count
    max_words: Count
    min_image_size: Count
    min_image_deviation: Positive
    max_reject_rate: Share

    @model_validator(mode="after")
    def _ordered(self) -> Quality:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} exceeds max_words={self.max_words}; no caption could pass")
        return self


class TowerSize(Section):
    """Width, depth and heads of one transformer tower."""

    width: Count
    blocks: Count
    heads: Count

    @model_validator(mode="after")
    def _divides(self) -> TowerSize:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}; choose heads that do")
        return self


class ImageBindSize(Section):
    """Sizes of ImageBind's towers; `patch` is the image patch's side in pixels (224 in all)."""

    embedding_dim: Count
    patch: Count
    text: TowerSize
    vision: TowerSize
    audio: TowerSize

    @model_validator(mode="after")
    def _tiles(self) -> ImageBindSize:
        if 224 % self.patch:
            raise ValueError(f"patch={self.patch} does not divide 224; take 14, 16, 28 or 32")
        return self


class ClapSize(Section):
    """Sizes of the conditioning CLAP: BERT text tower, convolutional audio tower, shared space."""

    embedding_dim: Count
    text: TowerSize
    audio_channels: list[Count]


class Schedule(Section):
    """How long and how fast one network is trained."""

    updates: Count
    batch_size: Count
    learning_rate: Positive


class Encoders(Section):
    """`encoders`: the towers that condition: ImageBind and CLAP."""

    seed: Seed
    imagebind: ImageBindSize
    imagebind_training: Schedule
    clap: ClapSize
    clap_training: Schedule


class Judges(Section):
    """`judges`: the models that only score."""

    seed: Seed
    classifier_channels: list[Count]
    classifier_embedding_dim: Annotated[int, Field(ge=2, le=64)]
    classifier_training: Schedule
    clap_embedding_dim: Count
    clap_training: Schedule


class Vae(Section):
    """Sizes of the mel VAE (diffusers' AutoencoderKL): four levels, downsampling 8."""

    channels: Annotated[list[Count], Field(min_length=4, max_length=4)]
    latent_channels: Count
    layers_per_block: Count
    norm_groups: Count
    kl_weight: Positive
    latent_deviation: Positive
    segment_frames: Annotated[int, Field(ge=16, multiple_of=8)]

    @model_validator(mode="after")
    def _groups(self) -> Vae:
        for width in self.channels:
            if width % self.norm_groups:
                raise ValueError(f"norm_groups={self.norm_groups} does not divide channels={width}")
        return self


class Vocoder(Section):
    """Sizes of the BigVGAN generator; the upsampling rates multiply to the hop length, 256."""

    initial_channels: Count
    upsample_rates: list[Count]
    upsample_kernel_sizes: list[Count]
    resblock_kernel_sizes: list[Count]
    resblock_dilations: list[Count]
    segment_frames: Count

    @model_validator(mode="after")
    def _hop(self) -> Vocoder:
        product = 1
        for rate in self.upsample_rates:
            product *= rate
        if product != HOP_LENGTH:
            raise ValueError(f"upsample_rates multiply to {product}, but the mel's hop is {HOP_LENGTH}")
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ValueError("upsample_rates and upsample_kernel_sizes differ in length; give one kernel a rate")
        if self.initial_channels % 2 ** len(self.upsample_rates):
            raise ValueError(
                f"initial_channels={self.initial_channels} cannot be halved {len(self.upsample_rates)} times"
            )
        return self


class Codec(Section):
    """`codec`: mel VAE and BigVGAN."""

    seed: Seed
    vae: Vae
    vae_training: Schedule
    vocoder: Vocoder
    vocoder_training: Schedule


class Backbone(Section):
    """`backbone`: Make-An-Audio's CLAP-conditioned U-Net."""

    seed: Seed
    channels: list[Count]
    layers_per_block: Count
    attention_heads: Count
    norm_groups: Count
    caption_dropout: Share
    loss_weighting: LossWeighting
    ema_decay: Share
    training: Schedule

    @model_validator(mode="after")
    def _divides(self) -> Backbone:
        for width in self.channels:
            if width % self.norm_groups or width % self.attention_heads:
                raise ValueError(
                    f"channels={width} is not divisible by norm_groups={self.norm_groups} and "
                    f"attention_heads={self.attention_heads}"
                )
        return self


class Embed(Section):
    """`embed`: what ImageBind reads beside the image."""

    text: Literal["text_part", "caption"]


class AStage(Section):
    """One of experiment A's two training stages."""

    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Positive


class TrainA(Section):
    """`train_a`: fusion and projection in place of CLAP; then the U-Net with them."""

    seed: Seed
    fusion: Literal["mean", "weighted"]
    context_tokens: Literal[1, 7, 11, 77]
    caption_dropout: Share
    loss_weighting: LossWeighting
    batch_size: Count
    stage_1: AStage
    stage_2: AStage

    @model_validator(mode="after")
    def _trains(self) -> TrainA:
        if self.stage_1.epochs + self.stage_2.epochs < 1:
            raise ValueError("stage_1.epochs and stage_2.epochs are both 0; nothing would be trained")
        return self


class LossWeights(Section):
    """Weights of experiment B's two loss terms."""

    mse: Annotated[float, BeforeValidator(_exponent), Field(ge=0)]
    cosine: Annotated[float, BeforeValidator(_exponent), Field(ge=0)]

    @model_validator(mode="after")
    def _some(self) -> LossWeights:
        if self.mse + self.cosine == 0:
            raise ValueError("mse and cosine are both 0; there would be no loss")
        return self


class TrainB(Section):
    """`train_b`: fused embedding to a token sequence, supervised by CLAP's token features."""

    seed: Seed
    fusion: Literal["mean", "weighted"]
    width: Count
    blocks: Count
    heads: Count
    batch_size: Count
    epochs: Count
    learning_rate: Positive
    loss_weights: LossWeights

    @model_validator(mode="after")
    def _divides(self) -> TrainB:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}; choose heads that do")
        return self


class Sample(Section):
    """`sample_*`: how test clips are generated."""

    seed: Seed
    sampler: Literal["dpm_solver", "ddim"]
    steps: Count
    guidance_scale: Annotated[float, BeforeValidator(_exponent), Field(ge=1)]
    clips_per_caption: Count
    clips_per_caption_unguided: Count
    captions: Annotated[int, Field(ge=0)]


class Evaluate(Section):
    """`evaluate`: bootstrap and what the listening page shows."""

    seed: Seed
    bootstrap: Count
    listening_captions: Count


class Params(Section):
    """The whole of params.yaml."""

    prepare: Prepare
    decompose: Decompose
    images: Images
    quality: Quality
    encoders: Encoders
    judges: Judges
    codec: Codec
    backbone: Backbone
    embed: Embed
    train_a: TrainA
    train_b: TrainB
    sample: Sample
    evaluate: Evaluate


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises ValueError with one line that names the file, the key, the value and the remedy.
    """
    try:
        with open(path, encoding="utf-8") as file:
            raw = yaml.safe_load(file)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; run from the repository's root") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}: not valid YAML{line}; mend the syntax there") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: holds no sections; take `git checkout {path}` or a file of presets/")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{path}: {_first_line(error)}") from None


def _first_line(error: ValidationError) -> str:
    """Turn pydantic's first complaint into one readable line."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(first["loc"][-1]), _keys_beside(first["loc"]), n=1)
        hint = f"; did you mean {close[0]}?" if close else "; remove it"
        return f"{key}: unknown key{hint}{more}"
    if first["type"] == "missing":
        return f"{key}: missing; every value stands in the file{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}: {message}{more}"
    return f"{key}: {message}, not {first['input']!r}{more}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Names of the schema's fields in the section that holds `location`."""
    section: Any = Params
    for part in location[:-1]:
        field = section.model_fields.get(part)
        if field is None:
            return []
        section = field.annotation
    return list(section.model_fields)

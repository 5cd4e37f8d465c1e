"""Sections of params.yaml for what the experiments stand on: towers, judges, codec, backbone."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from stages.formats.audio import HOP_LENGTH
from stages.params.section import Count, LossWeighting, Positive, Section, Seed, Share


class TowerSize(Section):
    """Width, depth and heads of one transformer tower."""

    width: Count
    blocks: Count
    heads: Count

    def _check(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}; choose heads that do")


class ImageBindSize(Section):
    """Sizes of ImageBind's towers; `patch` is the image patch's side in pixels (224 in all)."""

    embedding_dim: Count
    patch: Count
    text: TowerSize
    vision: TowerSize
    audio: TowerSize

    def _check(self) -> None:
        if 224 % self.patch:
            raise ValueError(f"patch={self.patch} does not divide 224; take 14, 16, 28 or 32")


class ClapSize(Section):
    """Sizes of the conditioning CLAP: BERT text tower, convolutional audio tower, shared space.

    `tokens` is the length of every caption's token sequence, longer captions are cut; published towers have 77.
    """

    embedding_dim: Count
    tokens: Annotated[int, Field(ge=8, le=512)]
    text: TowerSize
    audio_channels: Annotated[list[Count], Field(min_length=3, max_length=3)]


class Schedule(Section):
    """How long and how fast one network is trained.

    `learning_rate` is AdamW's. With a `muon_rate` matrices and kernels are Muon's; 0 leaves them to AdamW.
    """

    updates: Count
    batch_size: Count
    learning_rate: Positive
    muon_rate: Annotated[float, Field(ge=0)]


class TrainedSection(Section):
    """A section of networks that are trained here; `weights` is where published ones would lie."""

    source: Literal["trained"]
    weights: str
    seed: Seed


class PublishedSection(Section):
    """A section of networks by published weights, from the folder `weights`."""

    source: Literal["pretrained"]
    weights: str


class TrainedEncoders(TrainedSection):
    """`encoders`: the towers that condition, ImageBind and CLAP, trained here."""

    imagebind: ImageBindSize
    imagebind_training: Schedule
    clap: ClapSize
    clap_training: Schedule


class PublishedEncoders(PublishedSection):
    """`encoders` by published weights: ImageBind, and whose text features steer.

    `clap` is what the U-Net reads and experiment B learns to produce: Make-An-Audio's own text tower, or LAION-CLAP's
    for a backbone that is trained on it. Sizes stand here because weights do not tell the number of heads.
    """

    imagebind: ImageBindSize
    clap: Literal["make_an_audio", "laion_clap"]


class TrainedJudges(Section):
    """`judges`: the models that only score, trained here; `weights` is where a published CLAP would lie."""

    clap: Literal["trained"]
    weights: str
    seed: Seed
    classifier_channels: list[Count]
    classifier_embedding_dim: Annotated[int, Field(ge=2, le=64)]
    classifier_training: Schedule
    clap_embedding_dim: Count
    clap_training: Schedule


class LaionClapJudges(Section):
    """`judges` with LAION-CLAP for CLAP scores, from the folder `weights`; the source classifier is trained here.

    Where the corpus names no sources, distances are of CLAP's audio embeddings: of their 512 dimensions the
    `distance_dimensions` in which real training clips vary most, since few clips tell nothing about 512.
    """

    clap: Literal["laion_clap"]
    weights: str
    distance_dimensions: Annotated[int, Field(ge=2, le=64)]
    seed: Seed
    classifier_channels: list[Count]
    classifier_embedding_dim: Annotated[int, Field(ge=2, le=64)]
    classifier_training: Schedule


class Vae(Section):
    """Sizes of the mel VAE (diffusers' AutoencoderKL): four levels, downsampling 8."""

    channels: Annotated[list[Count], Field(min_length=4, max_length=4)]
    latent_channels: Count
    layers_per_block: Count
    norm_groups: Count
    kl_weight: Positive
    latent_deviation: Positive
    segment_frames: Annotated[int, Field(ge=16, multiple_of=8)]

    def _check(self) -> None:
        for width in self.channels:
            if width % self.norm_groups:
                raise ValueError(f"norm_groups={self.norm_groups} does not divide channels={width}")


class Vocoder(Section):
    """Sizes of the BigVGAN generator; the upsampling rates multiply to the hop length, 256."""

    initial_channels: Count
    upsample_rates: list[Count]
    upsample_kernel_sizes: list[Count]
    resblock_kernel_sizes: list[Count]
    resblock_dilations: list[Count]
    segment_frames: Count

    def _check(self) -> None:
        if (product := math.prod(self.upsample_rates)) != HOP_LENGTH:
            raise ValueError(f"upsample_rates multiply to {product}, but the mel's hop is {HOP_LENGTH}")
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ValueError("upsample_rates and upsample_kernel_sizes differ in length; give one kernel a rate")
        if self.initial_channels % 2 ** len(self.upsample_rates):
            raise ValueError(
                f"initial_channels={self.initial_channels} cannot be halved {len(self.upsample_rates)} times"
            )


class GeneratorOptions(Section):
    """What a BigVGAN generator is built of, by the names of its published options (`args.yml`, `config.json`).

    Those with one value are as the vocoder of Make-An-Audio has them, which files may leave out.
    """

    num_mels: Count
    upsample_initial_channel: Count
    upsample_rates: list[Count]
    upsample_kernel_sizes: list[Count]
    resblock: Literal["1"] = "1"
    resblock_kernel_sizes: list[Count]
    resblock_dilation_sizes: list[list[Count]]
    activation: Literal["snakebeta"] = "snakebeta"
    snake_logscale: Literal[True] = True
    use_bias_at_final: Literal[True] = True
    use_tanh_at_final: Literal[True] = True

    def _check(self) -> None:
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ValueError("upsample_rates and upsample_kernel_sizes differ in length")
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ValueError("resblock_kernel_sizes and resblock_dilation_sizes differ in length")


class TrainedCodec(TrainedSection):
    """`codec`: mel VAE and BigVGAN, trained here."""

    vae: Vae
    vae_training: Schedule
    vocoder: Vocoder
    vocoder_training: Schedule


class PublishedCodec(PublishedSection):
    """`codec` by published weights: Make-An-Audio's VAE and its BigVGAN."""


class TrainedBackbone(TrainedSection):
    """`backbone`: Make-An-Audio's CLAP-conditioned U-Net, trained here."""

    channels: list[Count]
    layers_per_block: Count
    attention_heads: Count
    norm_groups: Count
    caption_dropout: Share
    prediction: Literal["noise", "velocity"]
    zero_terminal_snr: bool
    pooled_context: bool
    loss_weighting: LossWeighting
    ema_decay: Share
    training: Schedule

    def _check(self) -> None:
        for width in self.channels:
            if width % self.norm_groups or width % self.attention_heads:
                raise ValueError(
                    f"channels={width} is not divisible by norm_groups={self.norm_groups} and "
                    f"attention_heads={self.attention_heads}"
                )
        if self.zero_terminal_snr and self.prediction == "noise":
            raise ValueError(
                "zero_terminal_snr with prediction=noise: where all is noise, the noise tells nothing of the clip; "
                "take prediction=velocity, or zero_terminal_snr=false"
            )


class PublishedBackbone(PublishedSection):
    """`backbone` by published weights: Make-An-Audio's U-Net; they do not tell its heads."""

    attention_heads: Count

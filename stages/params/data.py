"""Sections of params.yaml from captioned audio to accepted pairs."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field

from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE, VAE_DOWNSAMPLING
from stages.params.section import Count, NotNegative, Positive, Section, Seed, Share

SoundSource = Literal[
    "bell", "bird", "clock", "cricket", "dog", "drum", "engine", "fire",
    "footsteps", "frog", "phone", "rain", "siren", "train", "waves", "wind",
]  # fmt: skip
Attribute = Literal["size", "material", "scene", "pace", "loudness", "envelope", "count", "order"]
FEWEST_SOURCES = 4  # with fewer, no composition is left to train on beside the pairs held out for the test


class Prepare(Section):
    """`prepare`: which captioned audio, how many clips, how it is split.

    `sources` and `attributes` are what soundworld's clips hold and what their captions name; `order` is that of two
    sources that follow each other.
    """

    seed: Seed
    corpus: Literal["soundworld", "audiofolder", "esc10", "esc50", "audiocaps", "clotho", "wavcaps"]
    folder: str
    clips: Annotated[int, Field(ge=0)]
    foundation_clips: Annotated[int, Field(ge=0)]
    shard_size: Annotated[int, Field(ge=0)]
    clip_seconds: Positive
    sources: list[SoundSource]
    attributes: list[Attribute]
    compositions: Share
    valid_share: Share
    test_share: Share

    def _check(self) -> None:
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
        if self.corpus == "soundworld":
            self._possible_world()
        if self.corpus != "soundworld" and self.foundation_clips:
            raise ValueError(
                f"foundation_clips={self.foundation_clips}: corpus={self.corpus} has no foundation split; set it to 0"
            )

    def _possible_world(self) -> None:
        if self.clips < 1:
            raise ValueError("clips=0 means 'all', which soundworld has no end of; name a number")
        twice = [name for name, count in Counter([*self.sources, *self.attributes]).items() if count > 1]
        if twice:
            raise ValueError(f"sources or attributes name {', '.join(twice)} more than once; name each once")
        if len(self.sources) < FEWEST_SOURCES:
            raise ValueError(f"sources={self.sources} are too few to hold pairs out; name {FEWEST_SOURCES} or more")
        if not {"pace", "loudness", "envelope"} & set(self.attributes):
            raise ValueError(
                f"attributes={self.attributes} leave nothing that is only heard; add pace, loudness or envelope"
            )


class Decompose(Section):
    """`decompose`: how a caption is split into what is seen and what is heard.

    `added_words` says whether the rules may fill a short part with words that the caption's own entail.
    """

    backend: Literal["rules", "openai"]
    min_words: Count
    max_words: Count
    added_words: Literal["allow", "forbid"]
    model: Annotated[str, Field(min_length=1)]
    temperature: Annotated[NotNegative, Field(le=2)]
    seed: Seed
    prompt: Literal["v1"]
    prompt_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    attempts: Count
    mode: Literal["direct", "batch"]
    budget_usd: Positive

    def _check(self) -> None:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} exceeds max_words={self.max_words}; no caption would fit")


class Flux(Section):
    """`images.flux`: FLUX.1-schnell as the painter; other backends do not read it."""

    model: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(min_length=1)]
    transformer: Literal["bfloat16", "fp8", "nf4"]
    steps: Count
    guidance_scale: NotNegative
    render_size: Annotated[int, Field(ge=64, multiple_of=16)]
    max_sequence_length: Annotated[int, Field(ge=1, le=512)]
    batch_size: Count
    attempts: Count
    prompt: Annotated[str, Field(pattern=r"\{visual_part\}")]


class Images(Section):
    """`images`: who paints the visual parts; with `corpus` nobody, its clips bring their pictures."""

    seed: Seed
    backend: Literal["pictograms", "flux", "corpus"]
    size: Annotated[int, Field(ge=64)]
    shard_size: Annotated[int, Field(ge=0)]
    flux: Flux


class Quality(Section):
    """`quality`: which pairs of parts and which images are good enough."""

    min_words: Count
    max_words: Count
    min_image_size: Count
    min_image_deviation: Positive
    near_duplicate_bits: Annotated[int, Field(ge=0, le=32)]
    profanity: Literal["allow", "reject"]
    undrawn_subjects: Literal["allow", "reject"]
    max_reject_rate: Share

    def _check(self) -> None:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} exceeds max_words={self.max_words}; no caption could pass")

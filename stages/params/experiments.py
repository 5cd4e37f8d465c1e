"""Sections of params.yaml for the experiments, their samples and their evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Count, LossWeighting, NotNegative, Positive, Regime, Section, Seed, Share

FusionKind = Literal["mean", "raw_mean", "weighted", "attention", "text", "image"]


class Embed(Section):
    """`embed`: what ImageBind reads beside the image, and which pairs it finds unfit to train on."""

    text: Literal["text_part", "caption"]
    min_image_text_agreement: Annotated[float, Field(ge=-1, le=1)]
    max_paraphrase_similarity: Annotated[float, Field(ge=-1, le=1)]


class AStage(Section):
    """One of experiment A's two training stages."""

    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Positive


class Memory(Section):
    """How training the U-Net is fitted into a GPU's memory; none of it matters to the miniature.

    bfloat16 halves activations, gradient checkpointing computes them twice instead of keeping them, `adamw_8bit`
    (bitsandbytes, on CUDA alone) holds the optimiser's moments in a quarter of the bytes.
    """

    precision: Literal["float32", "bfloat16"]
    gradient_checkpointing: bool
    optimizer: Literal["adamw", "adamw_8bit"]


class TrainA(Section):
    """`train_a`: fusion and projection in place of CLAP; then the U-Net with them."""

    seed: Seed
    fusion: FusionKind
    modality_dropout: Share
    context_tokens: Count
    caption_dropout: Share
    loss_weighting: LossWeighting
    batch_size: Count
    regime: Regime
    memory: Memory
    stage_1: AStage
    stage_2: AStage

    def _check(self) -> None:
        if self.stage_1.epochs + self.stage_2.epochs < 1:
            raise ValueError("stage_1.epochs and stage_2.epochs are both 0; nothing would be trained")
        _keeps_its_modality(self)


class LossWeights(Section):
    """Weights of experiment B's loss terms.

    contrastive: InfoNCE on each caption's first token, which is CLAP's embedding of the whole caption.
    """

    mse: NotNegative
    cosine: NotNegative
    contrastive: NotNegative

    def _check(self) -> None:
        if self.mse + self.cosine == 0:
            raise ValueError("mse and cosine are both 0; there would be no loss")


class PositionWeights(Section):
    """How much a token counts in MSE and cosine by its place: the first, the other words, padding."""

    first: NotNegative
    words: NotNegative
    padding: NotNegative

    def _check(self) -> None:
        if self.first + self.words == 0:
            raise ValueError("first and words are both 0; nothing of a caption would be learned")


class Flow(Section):
    """A flow that draws experiment B's tokens about the predicted ones, in so many Euler `steps`; 0 takes those.

    noise: what a draw starts from, as a share of the noise learnt from; at 1 it spreads as CLAP's tokens do.
    """

    steps: Annotated[int, Field(ge=0)]
    noise: Share


class Finish(Section):
    """Experiment B's last updates: through the frozen U-Net's denoising loss, the best on the validation split kept."""

    updates: Annotated[int, Field(ge=0)]
    learning_rate: Positive
    loss_weighting: LossWeighting


class TrainB(Section):
    """`train_b`: fused embedding to a token sequence, supervised by CLAP's token features.

    linear_path: a linear map from the embedding to all tokens, beside the transformer.
    centre: takes each modality's mean over the training pairs off its embeddings.
    noise: length of the random vector that training adds to a fused embedding.
    """

    seed: Seed
    fusion: FusionKind
    modality_dropout: Share
    width: Count
    blocks: Count
    heads: Count
    linear_path: bool
    batch_size: Count
    regime: Regime
    epochs: Count
    learning_rate: Positive
    loss_weights: LossWeights
    position_weights: PositionWeights
    centre: bool
    noise: NotNegative
    flow: Flow
    finish: Finish

    def _check(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}; choose heads that do")
        if self.flow.steps and self.finish.updates:
            raise ValueError("flow.steps would draw CLAP's tokens anew and undo finish.updates; set one of them to 0")
        _keeps_its_modality(self)


def _keeps_its_modality(params: TrainA | TrainB) -> None:
    if params.modality_dropout and params.fusion in ("text", "image"):
        raise ValueError(
            f"modality_dropout={params.modality_dropout:g} would drop the {params.fusion} that fusion reads; take 0"
        )


class Sample(Section):
    """`sample_*`: how test clips are generated."""

    seed: Seed
    sampler: Literal["dpm_solver", "ddim"]
    steps: Count
    guidance_scale: Annotated[float, Field(ge=1)]
    guidance_from_timestep: Annotated[int, Field(ge=0, lt=1000)]
    clips_per_caption: Count
    clips_per_caption_unguided: Count
    captions: Annotated[int, Field(ge=0)]

    def _check(self) -> None:
        if self.captions in (1, 2):
            raise ValueError(f"captions={self.captions}: evaluate's intervals need 3; take 0 (all), 3 or more")


class Evaluate(Section):
    """`evaluate`: bootstrap and what the listening page shows."""

    seed: Seed
    bootstrap: Count
    listening_captions: Count

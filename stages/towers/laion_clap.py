"""LAION-CLAP (Wu et al. 2023) through the package `laion-clap`, from local files alone.

The package's `__init__` fetches tokenizers when it is imported, and its loader runs what is in a checkpoint. So its
model's module is imported here without it, weights are read by `stages/weights/`, and the tokenizer comes from a
folder. Checkpoints without fusion are read, see `CHECKPOINTS`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.towers.clap import bert_config
from stages.towers.packages import import_without_init
from stages.towers.roberta import PADDING, ROBERTA, RobertaTower
from stages.weights.fitting import load_exactly, without_prefix
from stages.weights.reading import read_weights

SAMPLE_RATE = 48_000
SAMPLES = 480_000
EMBEDDING_DIM = 512
ROBERTA_WIDTH = 768
CHECKPOINT_FOLDER = "laion_clap"
# Published checkpoints without fusion; of the music ones the audio tower is HTSAT-base.
CHECKPOINTS = (
    "630k-audioset-best.pt",
    "630k-best.pt",
    "music_speech_audioset_epoch_15_esc_89.98.pt",
    "music_audioset_epoch_15_esc_90.14.pt",
    "music_speech_epoch_15_esc_89.25.pt",
)
AUDIO_TOWERS = {96: "HTSAT-tiny", 128: "HTSAT-base", 256: "HTSAT-large"}


class LaionClap(nn.Module):
    """Both towers, to score how well a clip fits a caption."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, 77]` to embeddings `[B, 512]` of length 1."""
        text = {"input_ids": tokens, "attention_mask": (tokens != PADDING).long()}
        embedded: Tensor = self.model.encode_text(text, device=tokens.device)
        return nn.functional.normalize(embedded, dim=-1)

    def embed_audio(self, waveforms: Tensor) -> Tensor:
        """Waveforms `[B, samples]` at 16 kHz in [-1, 1] to embeddings `[B, 512]` of length 1.

        As published: resampled to 48 kHz, quantised to 16 bit, repeated whole times and padded to 10 s; of a longer
        clip the first 10 s count (the publishers' code takes 10 s at random).
        """
        import torchaudio

        resampled = torchaudio.functional.resample(waveforms, 16_000, SAMPLE_RATE)[:, :SAMPLES]
        quantised = (resampled.clamp(-1, 1) * 32767).to(torch.int16).float() / 32767
        repeated = quantised.repeat(1, max(1, SAMPLES // quantised.shape[1]))
        padded = nn.functional.pad(repeated, (0, SAMPLES - repeated.shape[1]))
        hidden = self.model.encode_audio({"waveform": padded}, device=padded.device)["embedding"]
        return nn.functional.normalize(self.model.audio_projection(hidden), dim=-1)


def read_laion_weights(path: str | Path) -> dict[str, Tensor]:
    """A published checkpoint's weights without the `module.` of distributed training.

    Raises ValueError for what `read_weights` refuses, and for a checkpoint with feature fusion.
    """
    weights = {name.removeprefix("module."): value for name, value in read_weights(path, ("state_dict",)).items()}
    if any(".fusion_model." in name or ".mel_conv2d." in name for name in weights):
        raise ValueError(f"{path}: a checkpoint with feature fusion; take one without, such as 630k-audioset-best.pt")
    return weights


def read_roberta_tower(weights: Mapping[str, Tensor], origin: str | Path) -> tuple[RobertaTower, dict[str, Any]]:
    """The text tower alone, with its weights, in evaluation mode, and the sizes that build it again."""
    branch = without_prefix(weights, "text_branch.")
    config = bert_config(branch, origin)
    tower = RobertaTower(config)
    load_exactly(tower.base, branch, origin)
    return tower.eval(), config


def read_laion_clap(weights: Mapping[str, Tensor], origin: str | Path) -> LaionClap:
    """Both towers of the weights by the package's own names, frozen, in evaluation mode; sizes are read off them.

    Raises ValueError, naming the file `origin`, for weights that are missing, unknown or of another shape.
    """
    width = len(weights.get("audio_branch.patch_embed.proj.weight", ()))
    if width not in AUDIO_TOWERS:
        raise ValueError(
            f"{origin}: no audio tower that is known; take a checkpoint of {', '.join(AUDIO_TOWERS.values())}"
        )
    config = bert_config(without_prefix(weights, "text_branch."), origin)
    if config["hidden_size"] != ROBERTA_WIDTH:
        raise ValueError(
            f"{origin}: a text tower of width {config['hidden_size']}; LAION-CLAP's has {ROBERTA_WIDTH}, RoBERTa-base's"
        )
    model = build_laion_clap(width, config)
    load_exactly(model, weights, origin)
    return LaionClap(model).eval().requires_grad_(False)


def build_laion_clap(width: int, text: Mapping[str, Any]) -> Any:
    """The package's model with random weights: an audio tower of `AUDIO_TOWERS` and RoBERTa of the sizes `text`."""
    from transformers import RobertaConfig, RobertaModel

    module = import_without_init("laion_clap.clap_module.model", "laion-clap")
    sizes = json.loads((Path(module.__file__).parent / "model_configs" / f"{AUDIO_TOWERS[width]}.json").read_text())
    # The package would fetch RoBERTa by its name; only the architecture is wanted, its weights are in the checkpoint.
    roberta = RobertaModel(RobertaConfig(**text, **ROBERTA))
    module.RobertaModel = types.SimpleNamespace(from_pretrained=lambda _name: roberta)
    return module.CLAP(sizes["embed_dim"], sizes["audio_cfg"], {**sizes["text_cfg"], "model_type": "roberta"})

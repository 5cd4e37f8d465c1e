"""ImageBind (Girdhar et al. 2023) through the package `imagebind-unofficial`: building, inputs, embeddings.

The package is Meta's code under CC BY-NC-SA 4.0. Its `__init__` imports a data module that needs pytorchvideo and
fails beside a current torchvision, so the model's module is imported here without it; what that data module does
to texts, images and audio is done here instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stages.formats.images import open_image
from stages.params.models import ImageBindSize, TowerSize
from stages.towers.packages import import_without_init

DISTRIBUTION = "imagebind-unofficial"
IMAGE_SIZE = 224
TEXT_LENGTH = 77
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
AUDIO_MEAN, AUDIO_DEVIATION = -4.268, 9.138
AUDIO_MEL_BINS = 128
AUDIO_STRIDE, AUDIO_FRAMES = 16, 256
MODALITIES = ("text", "vision", "audio")
PUBLISHED_AUDIO_STRIDE, PUBLISHED_AUDIO_FRAMES = 10, 204
PUBLISHED_AUDIO_SECONDS, PUBLISHED_AUDIO_CLIPS = 2, 3
PARTS = ("modality_preprocessors", "modality_trunks", "modality_heads", "modality_postprocessors")
# A tower that is built only to be deleted.
UNUSED = TowerSize(width=8, blocks=1, heads=1)


class WithoutMemory(TorchFunctionMode):
    """Within it, networks are built on the meta device: their weights have shapes and no memory.

    Not `torch.device("meta")`, under which ImageBind cannot be built: it computes with a small tensor as it goes.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Send what becomes weights to the meta device, and let the rest be."""
        named = dict(kwargs or {})
        if function in (torch.empty, torch.zeros, torch.ones, torch.randn):
            named["device"] = named.get("device") or "meta"
        return function(*args, **named)


def build_imagebind(size: ImageBindSize, modalities: Sequence[str] = MODALITIES, published: bool = False) -> nn.Module:
    """Build ImageBind with random weights, the towers of `modalities` only.

    Audio patches of ours do not overlap and see 2.56 s; the `published` ones lie 10 apart and see 2.04 s.
    """
    text, vision, audio = (
        getattr(size, name) if name in modalities else UNUSED for name in ("text", "vision", "audio")
    )
    model: nn.Module = import_without_init("imagebind.models.imagebind_model", DISTRIBUTION).ImageBindModel(
        kernel_size=(2, size.patch, size.patch),
        out_embed_dim=size.embedding_dim,
        vision_embed_dim=vision.width,
        vision_num_blocks=vision.blocks,
        vision_num_heads=vision.heads,
        text_embed_dim=text.width,
        text_num_blocks=text.blocks,
        text_num_heads=text.heads,
        audio_embed_dim=audio.width,
        audio_num_blocks=audio.blocks,
        audio_num_heads=audio.heads,
        audio_stride=PUBLISHED_AUDIO_STRIDE if published else AUDIO_STRIDE,
        audio_num_mel_bins=AUDIO_MEL_BINS,
        audio_target_len=PUBLISHED_AUDIO_FRAMES if published else AUDIO_FRAMES,
        audio_drop_path=0.0,
        depth_embed_dim=8,
        depth_num_blocks=1,
        depth_num_heads=1,
        thermal_embed_dim=8,
        thermal_num_blocks=1,
        thermal_num_heads=1,
        imu_embed_dim=8,
        imu_num_blocks=1,
        imu_num_heads=1,
    )
    for part in PARTS:
        towers = getattr(model, part)
        for modality in list(towers):
            if modality not in modalities:
                del towers[modality]
    return model


@cache
def _tokenizer() -> Any:
    module = import_without_init("imagebind.models.multimodal_preprocessors", DISTRIBUTION)
    vocabulary = Path(module.__file__).parent.parent / "bpe" / "bpe_simple_vocab_16e6.txt.gz"
    return module.SimpleTokenizer(bpe_path=str(vocabulary))


def tokenize(texts: Sequence[str]) -> Tensor:
    """CLIP's byte-pair tokens `[B, 77]` of the texts, as ImageBind reads them."""
    tokenizer = _tokenizer()
    return torch.stack([tokenizer(text) for text in texts]) if texts else torch.zeros(0, TEXT_LENGTH, dtype=torch.long)


def read_image(path: str | Path) -> Tensor:
    """Read an image as `[3, 224, 224]` uint8: shorter side to 224 (bicubic), centre crop. Raises as `open_image`."""
    image = open_image(path)
    shorter = min(image.size)
    left, top = (max(0, side - 3 * shorter) // 2 for side in image.size)  # of a long strip only the middle is scaled
    image = image.crop((left, top, image.width - left, image.height - top))
    scale = IMAGE_SIZE / shorter
    if scale != 1:
        width, height = (max(IMAGE_SIZE, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (image.width - IMAGE_SIZE) // 2, (image.height - IMAGE_SIZE) // 2
    image = image.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def audio_features(waveforms: Tensor, kept: int = AUDIO_FRAMES) -> Tensor:
    """Kaldi filterbanks `[B, 1, 128, kept]` of waveforms `[B, samples]` at 16 kHz, normalised as ImageBind does.

    The first `kept` frames of 10 ms are kept; a shorter clip is padded with zeros.
    """
    import torchaudio

    features = []
    for waveform in waveforms:
        bank = torchaudio.compliance.kaldi.fbank(
            (waveform - waveform.mean())[None],
            htk_compat=True,
            sample_frequency=16_000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=AUDIO_MEL_BINS,
            dither=0.0,
            frame_length=25,
            frame_shift=10,
        )
        frames = nn.functional.pad(bank.T[:, :kept], (0, max(0, kept - len(bank))))
        features.append((frames - AUDIO_MEAN) / AUDIO_DEVIATION)
    return torch.stack(features)[:, None]


def embed_waveforms(model: nn.Module, waveforms: Tensor) -> Tensor:
    """Waveforms `[B, samples]` at 16 kHz to embeddings `[B, D]` of length 1 by the model's audio tower.

    One of ours hears the first 2.56 s; a published one, known by its stride, hears as `embed_audio_clips` says.
    """
    entrance: Any = model.get_submodule("modality_preprocessors.audio.rgbt_stem.proj")
    if entrance.stride[0] == PUBLISHED_AUDIO_STRIDE:
        return embed_audio_clips(model, waveforms)
    return embed_audio(model, audio_features(waveforms))


def embed_audio_clips(model: nn.Module, waveforms: Tensor) -> Tensor:
    """Waveforms `[B, samples]` at 16 kHz to embeddings `[B, D]` of length 1 by the published audio tower.

    As published, three evenly spread windows of 2 s are embedded and averaged; a shorter clip is padded with silence.
    """
    window = PUBLISHED_AUDIO_SECONDS * 16_000
    padded = nn.functional.pad(waveforms, (0, max(0, window - waveforms.shape[1])))
    starts = torch.linspace(0, padded.shape[1] - window, PUBLISHED_AUDIO_CLIPS).round().long().tolist()
    windows = [audio_features(padded[:, start : start + window], PUBLISHED_AUDIO_FRAMES) for start in starts]
    return unit(torch.stack([embed_audio(model, features) for features in windows]).mean(dim=0))


def unit(embedding: Tensor) -> Tensor:
    """Scale to length 1 over the last dimension: ImageBind's own text output carries a learned scale."""
    return nn.functional.normalize(embedding, dim=-1)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def embed_texts(model: nn.Module, tokens: Tensor, length: int | None = None) -> Tensor:
    """Tokens `[B, 77]` to embeddings `[B, D]` of length 1.

    The tower is causal and reads the state at a text's end: what comes after `length` tokens, left out those of the
    batch's longest text, is not computed.
    """
    ends = tokens.argmax(dim=1).to(_device(model))
    length = length or int(ends.max()) + 1
    entrance: Any = model.get_submodule("modality_preprocessors.text")
    hidden = entrance.token_embedding(tokens[:, :length].to(ends.device)) + entrance.pos_embed[:, :length]
    hidden = model.get_submodule("modality_trunks.text")(tokens=hidden, attn_mask=entrance.mask[:length, :length])
    embedding = model.get_submodule("modality_heads.text")(hidden, seq_len=ends)
    return unit(model.get_submodule("modality_postprocessors.text")(embedding))


def keep_words(model: nn.Module, words: Tensor) -> Tensor:
    """Give the text tower a table of `words` `[V]` alone, from then on 0 to V - 1; returns that of all it had.

    Other words get no gradient: leaving them out spares the optimiser three quarters of a small model's parameters.
    """
    entrance: Any = model.get_submodule("modality_preprocessors.text")
    table: Tensor = entrance.token_embedding.weight.detach()
    entrance.token_embedding = nn.Embedding.from_pretrained(table[words], freeze=False)
    return table


def embed_images(model: nn.Module, images: Tensor) -> Tensor:
    """Images `[B, 3, 224, 224]` uint8, normalised as CLIP does, to embeddings `[B, D]` of length 1."""
    pixels = images.to(_device(model))
    mean, deviation = (torch.tensor(one, device=pixels.device).view(3, 1, 1) for one in (IMAGE_MEAN, IMAGE_DEVIATION))
    return unit(model({"vision": (pixels.float() / 255 - mean) / deviation})["vision"])


def embed_audio(model: nn.Module, features: Tensor) -> Tensor:
    """Filterbanks `[B, 1, 128, 256]` to embeddings `[B, D]` of length 1."""
    return unit(model({"audio": features.to(_device(model))})["audio"])


def logit_scale(model: nn.Module) -> Tensor:
    """The learned scale of the text tower's similarities, at most 100."""
    scale: Tensor = model.get_submodule("modality_postprocessors.text.1").log_logit_scale.exp().clamp(max=100.0)  # type: ignore[operator]
    return scale
